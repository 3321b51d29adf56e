//! Reads lines of several sources in blocks, and parses the blocks in parallel while the next ones
//! are read. Results are in the order of the lines, whatever the number of threads.

use std::io::{BufReader, Read};

use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};

use super::super::capture::MAX_LINE;
use super::super::lines::JsonLines;
use super::super::{DataError, Source, decode};

/// Minimum size of a block in bytes, unless its source ends.
const BLOCK: usize = 512 * 1024;

/// Bytes that are in memory at once, plus the same again while they are parsed.
const BATCH: usize = 8 * 1024 * 1024;

/// Consecutive lines of one source.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    pub(super) name: String,
    /// Each line with a line feed.
    text: String,
    /// Number of each line in the source, from 1, and its end in the text.
    lines: Vec<(u64, usize)>,
    /// Lines that are too long or not UTF-8.
    pub(super) unreadable: UnreadableLines,
    /// Bytes that were read.
    size: usize,
    /// Number of lines in earlier chunks.
    pub(super) before: u64,
}

/// Lines that cannot be read.
#[derive(Debug, Default)]
pub(super) struct UnreadableLines {
    pub(super) count: u64,
    /// The number of the first one, and why.
    pub(super) first: Option<(u64, String)>,
}

impl UnreadableLines {
    fn push(&mut self, number: u64, message: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.as_ref().is_none_or(|(first, _)| number < *first) {
            self.first = Some((number, message()));
        }
    }
}

impl Chunk {
    /// The lines that are not blank, with their numbers.
    pub(super) fn lines(&self) -> impl Iterator<Item = (u64, &str)> {
        let mut start = 0;
        self.lines.iter().map(move |(number, end)| {
            let line = &self.text[start..*end];
            start = *end + 1;
            (*number, line)
        })
    }

    /// Refuses lines that cannot be read.
    ///
    /// # Errors
    /// The first of them.
    pub(super) fn all_readable(&self) -> Result<(), DataError> {
        let first = self.unreadable.first.as_ref();
        first.map_or(
            Ok(()),
            |(number, message)| Err(self.error(*number, message)),
        )
    }

    /// An error in a line.
    pub(super) fn error(&self, number: u64, message: &str) -> DataError {
        DataError::at(self.name.as_str(), number, message)
    }
}

/// Parses all lines of the sources: `parse` is called in parallel, `take` in order.
///
/// # Errors
/// The first source that cannot be read, and the first error of `parse` or `take` before it.
pub(super) fn each<T: Send>(
    sources: Vec<Source>,
    parse: impl Fn(&Chunk) -> Result<T, DataError> + Sync,
    mut take: impl FnMut(T) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let mut reader = Reader {
        sources: sources.into_iter(),
        current: None,
        before: 0,
    };
    let mut batch = reader.batch()?;
    while !batch.is_empty() {
        let (next, parsed) = rayon::join(
            || reader.batch(),
            || batch.par_iter().map(&parse).collect::<Vec<_>>(),
        );
        parsed.into_iter().try_for_each(|part| take(part?))?;
        batch = next?;
    }
    Ok(())
}

struct Reader {
    sources: std::vec::IntoIter<Source>,
    current: Option<Open>,
    before: u64,
}

/// A source that is being read.
struct Open {
    name: String,
    lines: JsonLines<BufReader<Box<dyn Read + Send>>>,
    number: u64,
}

impl Reader {
    /// Reads the next blocks; empty at the end.
    fn batch(&mut self) -> Result<Vec<Chunk>, DataError> {
        let (mut chunks, mut bytes) = (Vec::new(), 0);
        while bytes < BATCH {
            let Some(chunk) = self.chunk()? else {
                break;
            };
            bytes += chunk.size;
            chunks.push(chunk);
        }
        Ok(chunks)
    }

    fn chunk(&mut self) -> Result<Option<Chunk>, DataError> {
        loop {
            let open = match &mut self.current {
                Some(open) => open,
                None => match self.sources.next() {
                    Some(source) => self.current.insert(Open::new(source)?),
                    None => return Ok(None),
                },
            };
            let (mut chunk, at_end) = open.chunk()?;
            if at_end {
                self.current = None;
            }
            if !chunk.lines.is_empty() || chunk.unreadable.count > 0 {
                chunk.before = self.before;
                self.before += chunk.lines.len() as u64;
                return Ok(Some(chunk));
            }
        }
    }
}

impl Open {
    fn new(source: Source) -> Result<Self, DataError> {
        let name = source.name;
        let input = (source.open)().map_err(|error| DataError::unread(&name, error))?;
        let input = decode::decoded(&name, input.into_reader())?;
        Ok(Self {
            lines: JsonLines::new(BufReader::with_capacity(256 * 1024, input), MAX_LINE),
            name,
            number: 0,
        })
    }

    /// Reads one block; true if it is the last one.
    fn chunk(&mut self) -> Result<(Chunk, bool), DataError> {
        let mut bytes = Vec::new();
        let mut chunk = Chunk {
            name: self.name.clone(),
            ..Chunk::default()
        };
        let mut at_end = false;
        while bytes.len() < BLOCK {
            if !self.advance()? {
                at_end = true;
                break;
            }
            self.number += 1;
            if self.lines.is_cut() {
                chunk.unreadable.push(self.number, || {
                    format!(
                        "the line is longer than {} MiB: is it JSON Lines?",
                        MAX_LINE >> 20
                    )
                });
                chunk.size = MAX_LINE;
                // The rest of the line.
                while self.lines.is_cut() && self.advance()? {}
                break;
            }
            let line = self.lines.line().trim_ascii();
            if !line.is_empty() {
                bytes.extend_from_slice(line);
                chunk.lines.push((self.number, bytes.len()));
                // No character extends across lines, although all of them are checked at once.
                bytes.push(b'\n');
            }
        }
        chunk.size += bytes.len();
        chunk.text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => chunk.without_other_bytes(error.as_bytes()),
        };
        Ok((chunk, at_end))
    }

    fn advance(&mut self) -> Result<bool, DataError> {
        let read = self.lines.advance();
        read.map_err(|error| DataError::unread(&self.name, error))
    }
}

impl Chunk {
    /// Moves the lines that are not UTF-8 to the unreadable ones; returns the text of the others.
    fn without_other_bytes(&mut self, bytes: &[u8]) -> String {
        let mut text = String::new();
        let mut start = 0;
        for (number, end) in std::mem::take(&mut self.lines) {
            let line = &bytes[start..end];
            start = end + 1;
            match std::str::from_utf8(line) {
                Ok(line) => {
                    text.push_str(line);
                    self.lines.push((number, text.len()));
                    text.push('\n');
                }
                Err(error) => self.unreadable.push(number, || {
                    let byte = line.get(error.valid_up_to()).copied().unwrap_or_default();
                    format!("byte 0x{byte:02x} is not UTF-8: convert the file (iconv -f LATIN1 -t UTF-8)")
                }),
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(name: &str, text: Vec<u8>) -> Source {
        Source::stream(name, move || Ok(std::io::Cursor::new(text)))
    }

    #[test]
    fn lines_keep_their_order_and_numbers() {
        let long: Vec<u8> = (0..200_000)
            .flat_map(|line| format!("{{\"line\":{line}}}\r\n").into_bytes())
            .collect();
        let sources = vec![
            source("a", b"\xef\xbb\xbf1\n\n  \n2".to_vec()),
            source("b", Vec::new()),
            source("c", long),
        ];
        let mut found = Vec::new();
        each(
            sources,
            |chunk| {
                let lines = chunk
                    .lines()
                    .map(|(number, line)| (chunk.name.clone(), number, line.to_owned()));
                Ok((chunk.before, lines.collect::<Vec<_>>()))
            },
            |(before, lines)| {
                assert_eq!(before, found.len() as u64);
                found.extend(lines);
                Ok(())
            },
        )
        .unwrap();
        assert_eq!(found.len(), 200_002);
        assert_eq!(
            found[..2],
            [
                ("a".to_owned(), 1, "1".to_owned()),
                ("a".to_owned(), 4, "2".to_owned())
            ]
        );
        for (index, (name, number, line)) in found[2..].iter().enumerate() {
            assert_eq!(
                (name.as_str(), *number, line),
                ("c", index as u64 + 1, &format!("{{\"line\":{index}}}"))
            );
        }
    }

    #[test]
    fn the_first_error_is_reported() {
        let error = |text: &[u8]| {
            let sources = vec![source("a", b"ok\n".to_vec()), source("b", text.to_vec())];
            let fails = |chunk: &Chunk| {
                chunk.all_readable()?;
                match chunk.lines().find(|(_, line)| *line == "bad") {
                    Some((number, _)) => Err(chunk.error(number, "bad line")),
                    None => Ok(()),
                }
            };
            each(sources, fails, Ok).unwrap_err().to_string()
        };
        assert_eq!(error(b"x\nbad\nbad\n"), "b, line 2: bad line");
        assert_eq!(
            error(b"x\n\nMalm\xf6\n"),
            "b, line 3: byte 0xf6 is not UTF-8: convert the file (iconv -f LATIN1 -t UTF-8)"
        );
        // Two bytes that are one character only if the line end between them is ignored.
        assert_eq!(
            error(b"x\n\xc3\n\xa9\n"),
            "b, line 2: byte 0xc3 is not UTF-8: convert the file (iconv -f LATIN1 -t UTF-8)"
        );
    }

    #[test]
    fn lines_that_cannot_be_read_are_set_apart() {
        let long = std::io::repeat(b'1').take(129 << 20);
        let text = b"a\n\xff\nb\n".chain(long).chain(&b"\nc"[..]);
        let (mut found, mut unreadable) = (Vec::new(), Vec::new());
        each(
            vec![Source::stream("s", || Ok(text))],
            |chunk| {
                let lines = chunk
                    .lines()
                    .map(|(number, line)| (number, line.to_owned()));
                let first = chunk.unreadable.first.clone();
                Ok((lines.collect::<Vec<_>>(), (chunk.unreadable.count, first)))
            },
            |(lines, more)| {
                found.extend(lines);
                unreadable.push(more);
                Ok(())
            },
        )
        .unwrap();
        let line = |number: u64, text: &str| (number, text.to_owned());
        assert_eq!(found, [line(1, "a"), line(3, "b"), line(5, "c")]);
        // The long line ends the first block.
        let (count, first) = &unreadable[0];
        assert_eq!((unreadable.len(), unreadable[1].0, *count), (2, 0, 2));
        let (number, message) = first.as_ref().unwrap();
        assert!(*number == 2 && message.starts_with("byte 0xff is not UTF-8"));
    }
}
