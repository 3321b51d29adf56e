//! Comma-separated values: a header line, then rows of as many fields.
//!
//! RFC 4180 with LF or CRLF, a UTF-8 byte order mark is skipped. An empty field is a missing
//! value, quoted or not. One row is held in memory at a time.

use std::io::{BufRead, Read};
use std::ops::Range;

use super::DataError;
use super::profile::Profiler;

/// A longer row is an error: most likely an unclosed quote.
const MAX_ROW: u64 = 64 * 1024 * 1024;

/// Reads a whole CSV source into the profiler.
pub(super) fn read(
    name: &str,
    input: impl BufRead,
    profiler: &mut Profiler,
) -> Result<(), DataError> {
    let mut rows = Rows::new(name, input);
    let Some(header) = rows.next_row()? else {
        return Err(DataError::new(name, "the file is empty"));
    };
    let columns: Vec<String> = header.fields().map(str::to_owned).collect();
    profiler
        .columns(columns)
        .map_err(|message| DataError::at(name, 1, message))?;
    while let Some(row) = rows.next_row()? {
        let line = row.line;
        profiler
            .row(row.fields())
            .map_err(|message| DataError::at(name, line, message))?;
    }
    Ok(())
}

/// The rows of one source.
pub(super) struct Rows<'a, R> {
    name: &'a str,
    input: R,
    /// Lines read so far.
    lines: u64,
    raw: Vec<u8>,
    row: Row,
}

/// One row: its fields without quotes.
#[derive(Debug, Default)]
pub(super) struct Row {
    text: String,
    fields: Vec<Range<usize>>,
    /// The line it starts in, from 1.
    pub(super) line: u64,
}

impl Row {
    pub(super) fn fields(&self) -> impl ExactSizeIterator<Item = &str> {
        self.fields.iter().map(|range| &self.text[range.clone()])
    }
}

impl<'a, R: BufRead> Rows<'a, R> {
    pub(super) fn new(name: &'a str, input: R) -> Self {
        Self {
            name,
            input,
            lines: 0,
            raw: Vec::new(),
            row: Row::default(),
        }
    }

    /// The next row that is not an empty line.
    pub(super) fn next_row(&mut self) -> Result<Option<&Row>, DataError> {
        loop {
            self.raw.clear();
            if !self.next_line()? {
                return Ok(None);
            }
            self.row.line = self.lines;
            if self.lines == 1 && self.raw.starts_with(b"\xef\xbb\xbf") {
                self.raw.drain(..3);
            }
            if !content(&self.raw).is_empty() {
                break;
            }
        }
        if self.raw.contains(&b'"') {
            self.quoted()?;
        } else {
            self.plain()?;
        }
        Ok(Some(&self.row))
    }

    /// Appends the next line to `raw`; false at the end.
    fn next_line(&mut self) -> Result<bool, DataError> {
        let room = MAX_ROW - self.raw.len() as u64;
        let read = (&mut self.input)
            .take(room)
            .read_until(b'\n', &mut self.raw)
            .map_err(|error| DataError::at(self.name, self.lines + 1, error.to_string()))?;
        if read > 0 {
            self.lines += 1;
        }
        if self.raw.len() as u64 >= MAX_ROW {
            return Err(DataError::at(
                self.name,
                self.row.line.max(1),
                "a row is longer than 64 MiB: is a quote never closed?",
            ));
        }
        Ok(read > 0)
    }

    fn plain(&mut self) -> Result<(), DataError> {
        let text = self.utf8(content(&self.raw), self.lines)?;
        self.row.text.clear();
        self.row.text.push_str(text);
        self.row.fields.clear();
        let mut start = 0;
        for (comma, _) in self.row.text.match_indices(',') {
            self.row.fields.push(start..comma);
            start = comma + 1;
        }
        self.row.fields.push(start..self.row.text.len());
        Ok(())
    }

    /// A row with quotes: may go over several lines.
    fn quoted(&mut self) -> Result<(), DataError> {
        let mut fields: Vec<Range<usize>> = Vec::new();
        let mut out: Vec<u8> = Vec::with_capacity(self.raw.len());
        let (mut at, mut start, mut inside) = (0, 0, false);
        loop {
            let Some(&byte) = self.raw.get(at) else {
                if !inside {
                    break;
                }
                if !self.next_line()? {
                    return Err(DataError::at(
                        self.name,
                        self.row.line,
                        "a quote is opened here and never closed",
                    ));
                }
                continue;
            };
            at += 1;
            match byte {
                b'"' if inside && self.raw.get(at) == Some(&b'"') => {
                    out.push(b'"');
                    at += 1;
                }
                b'"' if inside => inside = false,
                b'"' if out.len() == start => inside = true,
                b',' if !inside => {
                    fields.push(start..out.len());
                    start = out.len();
                }
                b'\n' if !inside => break,
                b'\r' if !inside && self.raw.get(at) == Some(&b'\n') => {}
                other => out.push(other),
            }
        }
        fields.push(start..out.len());
        let text = self.utf8(&out, self.row.line)?.to_owned();
        self.row.text = text;
        self.row.fields = fields;
        Ok(())
    }

    fn utf8<'b>(&self, bytes: &'b [u8], line: u64) -> Result<&'b str, DataError> {
        std::str::from_utf8(bytes).map_err(|error| {
            let byte = bytes.get(error.valid_up_to()).copied().unwrap_or_default();
            DataError::at(
                self.name,
                line,
                format!(
                    "byte 0x{byte:02x} is not UTF-8: convert the file (iconv -f LATIN1 -t UTF-8)"
                ),
            )
        })
    }
}

/// A line without its end.
fn content(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &[u8]) -> Result<Vec<Vec<String>>, String> {
        let mut rows = Rows::new("x.csv", text);
        let mut all = Vec::new();
        while let Some(row) = rows.next_row().map_err(|error| error.to_string())? {
            all.push(row.fields().map(str::to_owned).collect());
        }
        Ok(all)
    }

    #[test]
    fn quotes_line_ends_and_byte_order_mark() {
        assert_eq!(
            rows(b"\xef\xbb\xbfa,b\r\n\"x, \"\"y\"\"\r\nz\",2\r\n\r\n,\"\"\nlast,5\" pipe")
                .unwrap(),
            [
                vec!["a", "b"],
                vec!["x, \"y\"\r\nz", "2"],
                vec!["", ""],
                vec!["last", "5\" pipe"],
            ]
        );
    }

    #[test]
    fn broken_input_names_its_line() {
        let unclosed = rows(b"a\n1\n\"two\n3\n").unwrap_err();
        assert_eq!(
            unclosed,
            "x.csv, line 3: a quote is opened here and never closed"
        );
        let latin = rows(b"city\nMalm\xf6\n").unwrap_err();
        assert!(
            latin.starts_with("x.csv, line 2: byte 0xf6 is not UTF-8"),
            "{latin}"
        );
    }
}
