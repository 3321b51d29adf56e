//! Rewrites the lines of captured traffic before the engine or a script reads them.

use std::io::{self, BufReader, Read};
use std::path::Path;

use mlops_validation::decode::decoded;
use mlops_validation::lines::JsonLines;
use serde_json::Value;

use super::job::Sides;

/// Maximum length of a line in bytes (an endpoint's payload is at most 25 MB).
const MAX_LINE: usize = 128 << 20;

/// A file's bytes, decompressed.
pub(super) fn read(file: &Path) -> io::Result<Box<dyn Read + Send>> {
    let input = Box::new(std::fs::File::open(file)?);
    // The caller adds the file's name to an error.
    decoded("", input).map_err(|error| {
        let text = error.to_string();
        io::Error::other(text.trim_start_matches(": ").to_owned())
    })
}

/// Removes the side of an invocation that the analysis ignores.
pub(super) fn cut(line: &mut Vec<u8>, sides: Sides) -> io::Result<()> {
    let Some(ignored) = sides.ignored() else {
        return Ok(());
    };
    // The engine reports lines that are not invocations, with their line numbers.
    if let Ok(mut event) = serde_json::from_slice::<Value>(line) {
        if let Some(data) = event["captureData"].as_object_mut() {
            data.remove(ignored);
        }
        line.clear();
        serde_json::to_writer(&mut *line, &event)?;
        line.push(b'\n');
    }
    Ok(())
}

/// Edits lines one by one with `change`; drops lines that become empty.
pub(super) struct Lines<F> {
    input: JsonLines<BufReader<Box<dyn Read + Send>>>,
    change: F,
    line: Vec<u8>,
    read: usize,
}

impl<F: FnMut(&mut Vec<u8>) -> io::Result<()>> Lines<F> {
    pub(super) fn new(input: Box<dyn Read + Send>, change: F) -> Self {
        let input = BufReader::with_capacity(256 << 10, input);
        Self {
            input: JsonLines::new(input, MAX_LINE),
            change,
            line: Vec::new(),
            read: 0,
        }
    }
}

impl<F: FnMut(&mut Vec<u8>) -> io::Result<()>> Read for Lines<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.read == self.line.len() {
            self.line.clear();
            self.read = 0;
            if !self.input.advance()? {
                return Ok(0);
            }
            if self.input.is_cut() {
                return Err(io::Error::other("a line is longer than 128 MiB"));
            }
            self.line.extend_from_slice(self.input.line());
            (self.change)(&mut self.line)?;
        }
        let rest = &self.line[self.read..];
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.read += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = r#"{"captureData":{"endpointInput":{"data":"1"},"endpointOutput":{"data":"2"}},"eventVersion":"0"}"#;
    const OUTPUT: &str =
        "{\"captureData\":{\"endpointOutput\":{\"data\":\"2\"}},\"eventVersion\":\"0\"}\n";

    fn output_only(input: String) -> String {
        let mut text = String::new();
        Lines::new(Box::new(io::Cursor::new(input)), |line: &mut Vec<u8>| {
            cut(line, Sides::Output)
        })
        .read_to_string(&mut text)
        .unwrap();
        text
    }

    #[test]
    fn one_side_of_an_invocation_is_removed() {
        let found = output_only(format!("{EVENT}\nnot JSON\n"));
        assert_eq!(found, format!("{OUTPUT}not JSON\n"));
    }

    #[test]
    fn lines_end_as_the_engine_reads_them() {
        for text in [
            format!("{EVENT}\r{EVENT}"),
            format!("{EVENT}\r\n{EVENT}\r"),
            format!("\u{feff}{EVENT}\n{EVENT}\n"),
        ] {
            assert_eq!(output_only(text), OUTPUT.repeat(2));
        }
    }
}
