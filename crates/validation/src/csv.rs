//! Comma-separated values (RFC 4180) with a header line.
//!
//! Lenient if the meaning is clear: accepts a byte order mark, lines that end with LF, CRLF or CR,
//! empty lines, and quotes in the middle of a cell. Rejects, with the line number, rows with a
//! different number of cells than the header, unclosed quotes, and bytes that are not UTF-8.
//!
//! The file is read in blocks. A block is split in place: only the positions of separators are
//! recorded (quotes by the parity of preceding quotes, as in Langdale and Lemire's simdjson). A block
//! with anything irregular, such as a doubled quote or an error, is parsed cell by cell.

use std::collections::HashMap;
use std::io::Read;

use super::DataError;
use super::batch::Batch;
use super::split::split;
use memchr::{memchr, memchr_iter, memchr3, memrchr2};

/// Bytes per block.
const BLOCK: usize = 512 * 1024;
/// Additional bytes per column, so that a block of a wide table contains several rows.
const BLOCK_PER_COLUMN: usize = 256;
/// Maximum length of a row in bytes; a longer one most likely has an unclosed quote.
const MAX_ROW: usize = 64 * 1024 * 1024;
/// Maximum number of cells in a row; with more, the file is not a table.
pub(super) const MAX_CELLS: usize = 1024 * 1024;

/// The rows of one source.
pub(super) struct Reader<'a> {
    name: &'a str,
    input: Box<dyn Read + Send>,
    /// The current block.
    block: Vec<u8>,
    /// The incomplete row at the end of the previous block.
    rest: Vec<u8>,
    /// Number of lines before `rest`.
    lines: u64,
    at_end: bool,
    columns: usize,
}

/// The result of parsing one row.
enum Row {
    Cells,
    Blank,
    /// The block ends before the row does.
    Incomplete,
}

impl<'a> Reader<'a> {
    /// Reads the header and names the columns as Spark does.
    pub(super) fn open(
        name: &'a str,
        input: Box<dyn Read + Send>,
    ) -> Result<(Self, Vec<String>), DataError> {
        let mut reader = Self {
            name,
            input,
            block: Vec::new(),
            rest: Vec::new(),
            lines: 0,
            at_end: false,
            columns: 0,
        };
        let mut header = Batch::default();
        let Some(mut filled) = reader.read_block()? else {
            return Err(DataError::new(name, "the file is empty"));
        };
        let mut at = if reader.block.starts_with(b"\xef\xbb\xbf") {
            3
        } else {
            0
        };
        loop {
            header.clear(0);
            let start = at;
            match row(&reader.block[..filled], &mut at, &mut header) {
                Row::Cells => break,
                Row::Blank if at < filled => {}
                Row::Blank if reader.at_end => {
                    return Err(DataError::new(name, "the file is empty"));
                }
                Row::Blank | Row::Incomplete => {
                    at = start;
                    filled = reader.read_more(filled)?;
                }
            }
        }
        reader.check_text(&reader.block[..at])?;
        let names: Vec<String> = header.cells().map(owned).collect();
        if names.len() > MAX_CELLS {
            let message = format!("more than {MAX_CELLS} columns");
            return Err(DataError::at(name, 1, message));
        }
        reader.columns = names.len();
        let lines = count_lines(&reader.block[..at]);
        reader.keep_rest(at, filled, lines);
        Ok((reader, safe_names(names)))
    }

    /// Creates a reader without input, to parse blocks in tests.
    #[cfg(test)]
    pub(super) fn of_columns(name: &'a str, columns: usize) -> Self {
        Self {
            name,
            input: Box::new(std::io::empty()),
            block: Vec::new(),
            rest: Vec::new(),
            lines: 0,
            at_end: false,
            columns,
        }
    }

    /// Returns whether the last block was the final one.
    pub(super) fn is_at_end(&self) -> bool {
        self.at_end && self.rest.is_empty()
    }

    /// Reads the next rows into the batch; false at the end.
    pub(super) fn fill(&mut self, batch: &mut Batch) -> Result<bool, DataError> {
        let Some(mut filled) = self.read_block()? else {
            return Ok(false);
        };
        loop {
            if self.columns > 1
                && let Some(split) = split(&self.block[..filled], self.columns, batch)
            {
                batch.set(self.columns, split.rows, split.quoted, split.crlf);
                self.keep_rest(split.taken, filled, split.lines);
                std::mem::swap(&mut self.block, &mut batch.bytes);
                return Ok(true);
            }
            if let Some(last) = last_line_end(&self.block[..filled]) {
                let taken = self.take_apart(&self.block[..filled], last, batch)?;
                if taken > 0 {
                    let lines = count_lines(&self.block[..taken]);
                    self.keep_rest(taken, filled, lines);
                    return Ok(true);
                }
            }
            filled = self.read_more(filled)?;
        }
    }

    /// Keeps the bytes after the complete rows of a block for the next one.
    fn keep_rest(&mut self, taken: usize, filled: usize, lines: u64) {
        self.lines += lines;
        self.rest.clear();
        self.rest.extend_from_slice(&self.block[taken..filled]);
    }

    /// Reads the next block after the rest of the previous one and returns its length; `None` at
    /// the end.
    fn read_block(&mut self) -> Result<Option<usize>, DataError> {
        let size = BLOCK.max(self.columns * BLOCK_PER_COLUMN) + self.rest.len();
        if self.block.len() < size {
            self.block.resize(size, 0);
        }
        let held = self.rest.len();
        self.block[..held].copy_from_slice(&self.rest);
        let filled = self.read(held)?;
        Ok((filled > 0).then_some(filled))
    }

    /// Reads more if the block does not contain a complete row.
    fn read_more(&mut self, filled: usize) -> Result<usize, DataError> {
        if self.at_end {
            return Err(DataError::at(
                self.name,
                self.lines + 1,
                "a quote is opened here and never closed",
            ));
        }
        if filled >= MAX_ROW {
            return Err(DataError::at(
                self.name,
                self.lines + 1,
                "a row is longer than 64 MiB: is a quote never closed?",
            ));
        }
        self.block.resize((filled * 2).min(MAX_ROW + 1), 0);
        self.read(filled)
    }

    /// Fills the block except for one byte, which is reserved for the end of the file's last line.
    fn read(&mut self, mut filled: usize) -> Result<usize, DataError> {
        let size = self.block.len() - 1;
        while !self.at_end && filled < size {
            match self.input.read(&mut self.block[filled..size]) {
                Ok(0) => {
                    self.at_end = true;
                    if filled > 0 && self.block[filled - 1] != b'\n' {
                        self.block[filled] = b'\n';
                        filled += 1;
                    }
                }
                Ok(count) => filled += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let line = self.lines + count_lines(&self.block[..filled]) + 1;
                    return Err(DataError::unread(self.name, error).in_line(line));
                }
            }
        }
        Ok(filled)
    }

    /// The slow path: parses cell by cell, with quotes. Returns the length of the complete rows.
    pub(super) fn take_apart(
        &self,
        block: &[u8],
        last_line_end: usize,
        batch: &mut Batch,
    ) -> Result<usize, DataError> {
        self.check_text(&block[..=last_line_end])?;
        batch.clear(self.columns);
        let mut at = 0;
        while at < block.len() {
            let start = at;
            match row(block, &mut at, batch) {
                Row::Blank => {}
                Row::Cells if batch.open_cells() == self.columns => batch.end_row(),
                Row::Cells => {
                    let line = self.lines + count_lines(&block[..start]) + 1;
                    return Err(DataError::at(
                        self.name,
                        line,
                        format!(
                            "{} fields, but there are {} columns",
                            batch.open_cells(),
                            self.columns
                        ),
                    ));
                }
                Row::Incomplete if self.at_end => {
                    let line = self.lines + count_lines(&block[..start]) + 1;
                    return Err(DataError::at(
                        self.name,
                        line,
                        "a quote is opened here and never closed",
                    ));
                }
                Row::Incomplete => return Ok(start),
            }
        }
        Ok(at)
    }

    fn check_text(&self, block: &[u8]) -> Result<(), DataError> {
        let Err(error) = std::str::from_utf8(block) else {
            return Ok(());
        };
        let before = &block[..error.valid_up_to()];
        let byte = block.get(before.len()).copied().unwrap_or_default();
        Err(DataError::at(
            self.name,
            self.lines + count_lines(before) + 1,
            format!("byte 0x{byte:02x} is not UTF-8: convert the file (iconv -f LATIN1 -t UTF-8)"),
        ))
    }
}

/// Parses the rows of a text without a header; they may differ in length.
pub(super) fn table(text: &str) -> Result<Vec<Vec<String>>, String> {
    let text = format!("{text}\n");
    let (mut at, mut table) = (0, Vec::new());
    let mut batch = Batch::default();
    while at < text.len() {
        let start = at;
        batch.clear(0);
        match row(text.as_bytes(), &mut at, &mut batch) {
            Row::Blank => {}
            Row::Cells => table.push(batch.cells().map(owned).collect()),
            Row::Incomplete => {
                let line = count_lines(&text.as_bytes()[..start]) + 1;
                return Err(format!(
                    "line {line}: a quote is opened here and never closed"
                ));
            }
        }
    }
    Ok(table)
}

fn owned(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

/// Names columns as Spark does (`CSVUtils.makeSafeHeader`, which ignores case): an empty name becomes
/// `_cN`, and each of several equal names gets its position as a suffix.
fn safe_names(names: Vec<String>) -> Vec<String> {
    let mut counts: HashMap<String, usize> = HashMap::with_capacity(names.len());
    for name in &names {
        *counts.entry(name.to_lowercase()).or_default() += 1;
    }
    let safe = names.into_iter().enumerate().map(|(index, name)| {
        if name.is_empty() {
            format!("_c{index}")
        } else if counts[&name.to_lowercase()] > 1 {
            format!("{name}{index}")
        } else {
            name
        }
    });
    safe.collect()
}

/// Counts line ends: LF, CRLF or CR.
fn count_lines(text: &[u8]) -> u64 {
    let alone = memchr_iter(b'\r', text).filter(|at| text.get(at + 1) != Some(&b'\n'));
    (memchr_iter(b'\n', text).count() + alone.count()) as u64
}

/// The end of the last line. A carriage return as the very last byte may be half of a CRLF.
fn last_line_end(block: &[u8]) -> Option<usize> {
    let sure = block.strip_suffix(b"\r").unwrap_or(block);
    memrchr2(b'\n', b'\r', sure)
}

/// Parses one row, without its quotes, from `at` on, and moves `at` past it. An incomplete row
/// leaves cells in the batch that do not count.
fn row(block: &[u8], at: &mut usize, batch: &mut Batch) -> Row {
    let blank = match &block[*at..] {
        [b'\r'] => return Row::Incomplete,
        [b'\r', b'\n', ..] => 2,
        [b'\r' | b'\n', ..] => 1,
        _ => 0,
    };
    if blank > 0 {
        *at += blank;
        return Row::Blank;
    }
    let cells = batch.ends.len();
    loop {
        if block.get(*at) == Some(&b'"') {
            *at += 1;
            loop {
                let Some(length) = memchr(b'"', &block[*at..]) else {
                    return Row::Incomplete;
                };
                batch.bytes.extend_from_slice(&block[*at..*at + length]);
                *at += length + 1;
                if block.get(*at) != Some(&b'"') {
                    break;
                }
                batch.bytes.push(b'"');
                *at += 1;
            }
        }
        let Some(length) = memchr3(b',', b'\n', b'\r', &block[*at..]) else {
            return Row::Incomplete;
        };
        let end = *at + length;
        let (is_last, behind) = match &block[end..] {
            [b'\r'] => return Row::Incomplete,
            [b'\r', b'\n', ..] => (true, end + 2),
            [b',', ..] => (false, end + 1),
            _ => (true, end + 1),
        };
        batch.bytes.extend_from_slice(&block[*at..end]);
        batch.end_cell();
        *at = behind;
        if is_last || batch.ends.len() - cells > MAX_CELLS {
            return Row::Cells;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// Returns the bytes seven at a time.
    struct ShortReads(io::Cursor<Vec<u8>>);

    impl Read for ShortReads {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let size = buffer.len().min(7);
            self.0.read(&mut buffer[..size])
        }
    }

    fn rows(text: &[u8]) -> Result<Vec<Vec<String>>, String> {
        let input = Box::new(ShortReads(io::Cursor::new(text.to_vec())));
        let (mut reader, names) = Reader::open("x.csv", input).map_err(|e| e.to_string())?;
        let columns = names.len();
        let mut all = vec![names];
        let mut batch = Batch::default();
        while reader.fill(&mut batch).map_err(|e| e.to_string())? {
            let mut table = vec![Vec::new(); batch.rows()];
            for column in 0..columns {
                for (row, cell) in table.iter_mut().zip(batch.column(column)) {
                    row.push(String::from_utf8(cell.unwrap_or_default().to_vec()).unwrap());
                }
            }
            all.append(&mut table);
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

    /// Issue 8, 4.4. Lines end with CR alone, or with any of the three; a CR in quotes is part of its
    /// cell.
    #[test]
    fn carriage_returns_end_lines() {
        assert_eq!(
            rows(b"a,b\r1,\"x\ry\"\r\r2,\"\"\r\n3,z\n4,\"\"\"\"\r").unwrap(),
            [
                ["a", "b"],
                ["1", "x\ry"],
                ["2", ""],
                ["3", "z"],
                ["4", "\""]
            ]
        );
        assert_eq!(rows(b"a\r1\r\r2").unwrap(), [["a"], ["1"], ["2"]]);
        assert_eq!(
            rows(b"a,b\r\r\n1,2\r\r\n").unwrap(),
            [["a", "b"], ["1", "2"]]
        );
        for (text, message) in [
            (&b"a,b\r1,2\r3\r"[..], "x.csv, line 3: 1 fields"),
            (b"a,b\r\n1,2\r3\n", "x.csv, line 3: 1 fields"),
            (b"a\r1\r\"two\r3\r", "x.csv, line 3: a quote is opened here"),
            (b"\r\r", "x.csv: the file is empty"),
        ] {
            let error = rows(text).unwrap_err();
            assert!(error.starts_with(message), "{error}");
        }
    }

    /// Issue 8, 4.4. Spark's `makeSafeHeader`.
    #[test]
    fn names_that_are_empty_or_repeated_get_their_position() {
        for (header, names) in [
            (",temp,wind", ["_c0", "temp", "wind"]),
            ("a,b,a", ["a0", "b", "a2"]),
            ("a,A,b", ["a0", "A1", "b"]),
            ("\"\",,x", ["_c0", "_c1", "x"]),
            ("\u{fc},\u{dc},_c0", ["\u{fc}0", "\u{dc}1", "_c0"]),
        ] {
            let names: Vec<String> = names.map(str::to_owned).to_vec();
            assert_eq!(rows(format!("{header}\n").as_bytes()).unwrap(), [names]);
        }
    }

    #[test]
    fn one_column_has_no_commas() {
        assert_eq!(
            rows(b"a\n1\n\n\"2\"\n3").unwrap(),
            [["a"], ["1"], ["2"], ["3"]]
        );
    }

    #[test]
    fn broken_input_names_its_line() {
        for (text, message) in [
            (
                b"a\n1\n\"two\n3\n".as_slice(),
                "x.csv, line 3: a quote is opened here and never closed",
            ),
            (
                b"\"a,b\n1,2\n",
                "x.csv, line 1: a quote is opened here and never closed",
            ),
            (
                b"a,b\n1,2\n\n3\n",
                "x.csv, line 4: 1 fields, but there are 2 columns",
            ),
            (
                b"a,b\n\"1\n\",2\n3,4,5\n",
                "x.csv, line 4: 3 fields, but there are 2 columns",
            ),
            (b"", "x.csv: the file is empty"),
            (b"\n\r\n\n", "x.csv: the file is empty"),
        ] {
            assert_eq!(rows(text).unwrap_err(), message);
        }
        let latin = rows(b"city\nMalm\xf6\n").unwrap_err();
        assert!(
            latin.starts_with("x.csv, line 2: byte 0xf6 is not UTF-8"),
            "{latin}"
        );
        let latin = rows(b"city,n\nMalm\xf6,1\n").unwrap_err();
        assert!(latin.starts_with("x.csv, line 2: byte 0xf6"), "{latin}");
        let commas = ",".repeat(MAX_CELLS + 5);
        assert_eq!(
            rows(format!("a,b\n1,2\n{commas}\n").as_bytes()).unwrap_err(),
            "x.csv, line 3: 1048577 fields, but there are 2 columns"
        );
        assert_eq!(
            rows(commas.as_bytes()).unwrap_err(),
            "x.csv, line 1: more than 1048576 columns"
        );
    }

    /// A block boundary may be anywhere: in a cell, a quote, a multi-byte character. The fast and
    /// the slow path must agree with each other and with the `csv` crate.
    #[test]
    fn large_files_are_read_as_the_csv_crate_reads_them() {
        let mut plain = String::from("id,text,n\n");
        let mut quoted = plain.clone();
        let mut simple = plain.clone();
        let mut unix = plain.clone();
        for i in 0..60_000_u32 {
            let n = i.wrapping_mul(2_654_435_761);
            let text = "ä€x".repeat((n % 7) as usize);
            plain.push_str(&format!("{i},{text},{n}\n"));
            let text = if n % 5 == 0 {
                "\"a,\"\"b\"\"\n\""
            } else {
                &text
            };
            quoted.push_str(&format!("{i},{text},{n}\r\n"));
            let text = ["\"\"", "\"a,\nb\"", "x", "", "\"ü\r\n,\""][(n % 5) as usize];
            simple.push_str(&format!("{i},{text},\"{n}\"\r\n"));
            unix.push_str(&format!("\"{i}\",{text},{n}\n"));
        }
        let mac = quoted.replace("\r\n", "\r");
        let mut index = 0;
        let mixed = plain
            .split_inclusive('\n')
            .map(|line| {
                index += 1;
                line.replace('\n', ["\n", "\r", "\r\n"][index % 3])
            })
            .collect();
        for text in [plain, quoted, simple, unix, mac, mixed] {
            let expected: Vec<Vec<String>> = csv::ReaderBuilder::new()
                .has_headers(false)
                .from_reader(text.as_bytes())
                .records()
                .map(|record| record.unwrap().iter().map(str::to_owned).collect())
                .collect();
            assert!(text.len() > 2 * BLOCK);
            let read = rows(text.as_bytes()).unwrap();
            assert_eq!(read.len(), expected.len());
            assert_eq!(read, expected);
        }
    }
}
