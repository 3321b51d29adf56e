//! Splits JSON Lines and captured traffic into lines. A line ends with LF, CR LF or CR; a CR within
//! an object, an array or a string is white space, as in JSON.

use std::io::{BufRead, ErrorKind, Result};

use memchr::memchr2;

/// Reads lines of JSON one after another, in bounded memory. A byte order mark before the first line
/// is skipped.
pub struct JsonLines<R> {
    input: R,
    limit: usize,
    line: Vec<u8>,
    place: JsonState,
    started: bool,
    is_cut: bool,
}

/// The state of the JSON after the first `read` bytes of a line.
#[derive(Default)]
struct JsonState {
    read: usize,
    depth: usize,
    in_string: bool,
    is_escaped: bool,
}

impl JsonState {
    /// Returns true if no object, array or string is open.
    fn is_between(&mut self, line: &[u8]) -> bool {
        for byte in &line[self.read..] {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' if self.in_string => self.is_escaped = true,
                b'"' => self.in_string = !self.in_string,
                b'{' | b'[' if !self.in_string => self.depth += 1,
                b'}' | b']' if !self.in_string => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
        self.read = line.len();
        self.depth == 0 && !self.in_string
    }
}

impl<R: BufRead> JsonLines<R> {
    /// Reads lines of at most `limit` bytes.
    pub fn new(input: R, limit: usize) -> Self {
        Self {
            input,
            limit,
            line: Vec::new(),
            place: JsonState::default(),
            started: false,
            is_cut: false,
        }
    }

    /// Reads the next line; returns false at the end of the input.
    ///
    /// # Errors
    /// The input cannot be read.
    pub fn advance(&mut self) -> Result<bool> {
        let read = self.read_line()?;
        self.is_cut = self.line.len() == self.limit && self.line.last() != Some(&b'\n');
        if !std::mem::replace(&mut self.started, true) && self.line.starts_with(b"\xef\xbb\xbf") {
            self.line.drain(..3);
        }
        Ok(read)
    }

    /// The current line, including its end.
    pub fn line(&self) -> &[u8] {
        &self.line
    }

    /// Maximum length of a line in bytes.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Returns true if the current line exceeds the limit: it then contains only the line's first
    /// bytes.
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    fn read_line(&mut self) -> Result<bool> {
        self.line.clear();
        self.place = JsonState::default();
        loop {
            let block = match self.input.fill_buf() {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                block => block?,
            };
            // A CR at the end of the last block.
            if self.line.last() == Some(&b'\r')
                && block.first() != Some(&b'\n')
                && self.place.is_between(&self.line)
            {
                return Ok(true);
            }
            if block.is_empty() {
                return Ok(!self.line.is_empty());
            }
            let end = memchr2(b'\n', b'\r', block).map(|at| at + 1);
            let length = end.unwrap_or(block.len());
            // Never keep more than the limit in memory.
            let taken = length.min(self.limit - self.line.len());
            self.line.extend_from_slice(&block[..taken]);
            let is_over = self.line.last() == Some(&b'\n') || self.line.len() == self.limit;
            self.input.consume(taken);
            if is_over {
                return Ok(true);
            }
        }
    }
}
