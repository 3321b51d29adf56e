//! JSON Lines: one flat object per line.
//!
//! The keys are the columns, in order of first appearance. Keys that a line lacks, and nulls, are
//! missing values; an empty string is a value. Numbers and booleans are represented by their
//! original text. Objects and arrays as values are rejected by name.
//!
//! Lines end with LF, CR LF or CR. A CR inside an object is white space, as in JSON.

use std::collections::HashMap;
use std::io::BufRead;

use super::DataError;
use super::flat::{Scanner, TextRange};
use super::lines::JsonLines;
use super::profile::{MAX_COLUMNS, Profiler};

/// Maximum length of a line in bytes.
pub(super) const MAX_LINE: usize = 64 * 1024 * 1024;

/// Reads a source into the profiler. `partition` has the columns of its directory's name.
pub(super) fn read(
    name: &str,
    input: impl BufRead,
    partition: &[(String, Option<String>)],
    profiler: &mut Profiler,
) -> Result<(), DataError> {
    let mut rows = Rows {
        partition,
        keys: Vec::new(),
        slots: HashMap::new(),
        values: Vec::new(),
        order: Vec::new(),
        placed: false,
        unescaped: String::new(),
    };
    let mut lines = Lines::new(name, input, MAX_LINE);
    let mut read = 0;
    while let Some((number, line)) = lines.next_line()? {
        read += 1;
        rows.add(line, number, profiler)
            .map_err(|message| DataError::at(name, number, message))?;
    }
    if read > 0 && profiler.width() == 0 {
        return Err(DataError::new(name, "no object has a key"));
    }
    Ok(())
}

/// The non-empty lines of a text, with their numbers.
pub(super) struct Lines<'a, R> {
    name: &'a str,
    source: JsonLines<R>,
    number: u64,
}

impl<'a, R: BufRead> Lines<'a, R> {
    pub(super) fn new(name: &'a str, input: R, limit: usize) -> Self {
        Self {
            name,
            source: JsonLines::new(input, limit),
            number: 0,
        }
    }

    /// The name of the source.
    pub(super) fn name(&self) -> &'a str {
        self.name
    }

    /// Returns the next non-empty line.
    pub(super) fn next_line(&mut self) -> Result<Option<(u64, &str)>, DataError> {
        let name = self.name;
        let line = self.next_or_reason()?;
        line.map(|(number, line)| match line {
            Ok(line) => Ok((number, line)),
            Err(message) => Err(DataError::at(name, number, message)),
        })
        .transpose()
    }

    /// Returns the next non-empty line, or the reason why it is not a text of permitted length; the next
    /// call then returns the line after it.
    #[expect(
        clippy::type_complexity,
        reason = "a line with its number, or the reason"
    )]
    pub(super) fn next_or_reason(
        &mut self,
    ) -> Result<Option<(u64, Result<&str, String>)>, DataError> {
        // Skips the rest of a line that was truncated.
        while self.source.is_cut() && self.advance()? {}
        loop {
            if !self.advance()? {
                return Ok(None);
            }
            self.number += 1;
            if self.source.is_cut() {
                let message = format!(
                    "the line is longer than {} MiB: is it JSON Lines?",
                    self.source.limit() / (1024 * 1024)
                );
                return Ok(Some((self.number, Err(message))));
            }
            if !self.source.line().trim_ascii().is_empty() {
                break;
            }
        }
        let line = self.source.line();
        let text = std::str::from_utf8(line).map_err(|error| {
            let byte = line[error.valid_up_to()];
            format!("byte 0x{byte:02x} is not UTF-8: convert the file (iconv -f LATIN1 -t UTF-8)")
        });
        Ok(Some((self.number, text)))
    }

    fn advance(&mut self) -> Result<bool, DataError> {
        let read = self.source.advance();
        read.map_err(|error| DataError::unread(self.name, error))
    }
}

/// The columns of one source, and the current row.
struct Rows<'a> {
    partition: &'a [(String, Option<String>)],
    /// The keys, in order of first appearance.
    keys: Vec<String>,
    slots: HashMap<String, usize>,
    /// The last value of each key, with the number of its line.
    values: Vec<(u64, Option<TextRange>)>,
    /// The source of each of the profiler's columns.
    order: Vec<Filled>,
    /// Whether the partition's columns are in `order`.
    placed: bool,
    unescaped: String,
}

/// The source of a profiler's column.
#[derive(Debug, Clone, Copy)]
enum Filled {
    /// A key of the objects.
    Key(usize),
    /// A directory's name.
    Partition(usize),
    /// Another source of the data set.
    Elsewhere,
}

impl Rows<'_> {
    fn add(&mut self, line: &str, number: u64, profiler: &mut Profiler) -> Result<(), String> {
        let mut scanner = Scanner::with_buffer(line, std::mem::take(&mut self.unescaped));
        if !scanner.take(b'{') {
            return Err(match scanner.peek() {
                Some(b'[') => {
                    "an array is not a row: JSON Lines have one object per line (convert a JSON array \
                               with jq -c '.[]')"
                        .to_owned()
                }
                _ => "not a JSON object: JSON Lines have one object per line".to_owned(),
            });
        }
        let mut members = 0;
        loop {
            let key = match scanner.member(members == 0) {
                Ok(Some(key)) => key,
                Ok(None) => break,
                Err(error) if scanner.peek().is_none() => {
                    return Err(format!(
                        "{error}: an object must not span several lines (convert it \
                         with jq -c .)"
                    ));
                }
                Err(error) => return Err(error),
            };
            let slot = self.slot(scanner.get(&key), members, profiler)?;
            let value = scanner
                .scalar()
                .map_err(|error| format!("`{}`: {error}", self.keys[slot]))?;
            if self.values[slot].0 == number {
                return Err(format!("the key `{}` occurs twice", self.keys[slot]));
            }
            self.values[slot] = (number, value);
            members += 1;
        }
        scanner.end()?;
        self.fill_order(profiler)?;
        profiler.row(self.order.iter().map(|filled| match *filled {
            Filled::Key(slot) => match &self.values[slot] {
                (line, Some(piece)) if *line == number => Some(scanner.get(piece)),
                _ => None,
            },
            Filled::Partition(i) => self.partition[i].1.as_deref(),
            Filled::Elsewhere => None,
        }))?;
        self.unescaped = scanner.into_buffer();
        Ok(())
    }

    /// Returns the index of a key. Most lines have the same keys in the same order.
    fn slot(&mut self, key: &str, likely: usize, profiler: &mut Profiler) -> Result<usize, String> {
        if self.keys.get(likely).is_some_and(|known| known == key) {
            return Ok(likely);
        }
        if let Some(slot) = self.slots.get(key) {
            return Ok(*slot);
        }
        if self.partition.iter().any(|(name, _)| name == key) {
            return Err(format!(
                "the column `{key}` is in the file and in its directory's name"
            ));
        }
        let slot = self.keys.len();
        if slot == MAX_COLUMNS {
            return Err(format!(
                "more than {MAX_COLUMNS} different keys: they must be the names of columns"
            ));
        }
        let column = profiler.ensure_column(key)?;
        self.keys.push(key.to_owned());
        self.slots.insert(key.to_owned(), slot);
        self.values.push((0, None));
        self.place(column, Filled::Key(slot));
        Ok(slot)
    }

    fn place(&mut self, column: usize, filled: Filled) {
        if self.order.len() <= column {
            self.order.resize(column + 1, Filled::Elsewhere);
        }
        self.order[column] = filled;
    }

    /// The partition's columns follow those of the first line.
    fn fill_order(&mut self, profiler: &mut Profiler) -> Result<(), String> {
        if !self.placed {
            for (i, (name, _)) in self.partition.iter().enumerate() {
                let column = profiler.ensure_column(name)?;
                self.place(column, Filled::Partition(i));
            }
            self.placed = true;
        }
        self.order.resize(profiler.width(), Filled::Elsewhere);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Statistics;
    use super::super::types::InferredType;
    use super::*;

    fn read_all(
        sources: &[&[u8]],
        partition: &[(String, Option<String>)],
    ) -> Result<Statistics, String> {
        let mut profiler = Profiler::new(None).unwrap();
        for source in sources {
            read("x.jsonl", *source, partition, &mut profiler).map_err(|e| e.to_string())?;
        }
        Ok(profiler.finish().map_err(|e| e.to_string())?.statistics())
    }

    /// Name, type, present, missing.
    fn shape(statistics: &Statistics) -> Vec<(&str, InferredType, u64, u64)> {
        let features = statistics.features.iter();
        features
            .map(|feature| {
                let common = feature.common().unwrap();
                let (present, missing) = (common.num_present, common.num_missing);
                (
                    feature.name.as_str(),
                    feature.inferred_type,
                    present,
                    missing,
                )
            })
            .collect()
    }

    #[test]
    fn keys_are_columns_in_order_of_appearance() {
        let first = b"\xef\xbb\xbf{\"n\":1,\"s\":\"x\"}\n\n{\"s\":\"\",\"n\":2}\r\n{\"late\":true,\"n\":null}\n";
        let second = b"{\"new\":0.5,\"n\":9223372036854775809}";
        let statistics = read_all(&[first, second], &[]).unwrap();
        assert_eq!(
            shape(&statistics),
            [
                ("n", InferredType::Integral, 3, 1),
                ("s", InferredType::String, 2, 2),
                ("late", InferredType::String, 1, 3),
                ("new", InferredType::Fractional, 1, 3),
            ]
        );
        assert_eq!(statistics.dataset.item_count, 4);
        let numbers = statistics.features[0]
            .numerical_statistics
            .as_ref()
            .unwrap();
        assert!((numbers.max - 9_223_372_036_854_775_809.0).abs() < 1.0);
    }

    #[test]
    fn lines_may_end_with_cr_alone() {
        let expected = [
            ("a", InferredType::Integral, 3, 0),
            ("b", InferredType::String, 2, 1),
        ];
        for rows in [
            "{\"a\":1,\"b\":\"x\"}\r{\"a\":2}\r{\"a\":3,\"b\":\"y\"}",
            "\u{feff}\r\r{\"a\":1,\"b\":\"x\"} \r\r {\"a\":2}\r{\"a\":3,\"b\":\"y\"}\r",
            // Inside an object a CR is white space; in a string `\r`, `{` and `\"` have no meaning.
            "{\"a\":1,\r\"b\":\"\\\\\\\"{\\r\"\r}\n{\"a\":\r\r2}\r{\"a\":3,\r\n",
            "{\"a\":1,\"b\":\"{[\"}\r\n{\"a\":2}\r\r\n{\"a\":3,\"b\":\"]\"}\r\n",
        ] {
            let rows = rows.replace("{\"a\":3,\r\n", "{\"a\":3,\r\"b\":\"y\"}\r\n");
            for capacity in [1, 2, 3, 7, 4096] {
                let mut profiler = Profiler::new(None).unwrap();
                let input = std::io::BufReader::with_capacity(capacity, rows.as_bytes());
                read("x.jsonl", input, &[], &mut profiler).unwrap();
                let statistics = profiler.finish().unwrap().statistics();
                assert_eq!(shape(&statistics), expected, "{rows:?}");
            }
        }
        for (rows, message) in [
            (
                "{\"a\":1}\r{\"a\":[]}",
                "line 2: `a`: an array is nested here",
            ),
            ("{\"a\":1}\r\r\n{\"a\"}\r", "line 3: "),
            ("{\"a\":1}\rx\r", "line 2: not a JSON object"),
            ("{\"a\":\"\r\"}\r{\"a\":1}", "line 1: "),
        ] {
            let error = read_all(&[rows.as_bytes()], &[]).unwrap_err();
            assert!(error.contains(message), "{rows:?}: {error}");
        }
        // The limit applies to lines, not to files.
        let rows = "{\"a\":1}\r".repeat(100);
        let mut lines = Lines::new("x", rows.as_bytes(), 20);
        let mut count = 0;
        while lines.next_line().unwrap().is_some() {
            count += 1;
        }
        assert_eq!(count, 100);
        let mut lines = Lines::new(
            "x",
            &b"{\"a\":\r\r\r\r\r\r\r\r\r\r\r\r\r\r\r\r\r\r1}"[..],
            20,
        );
        assert!(
            lines
                .next_line()
                .unwrap_err()
                .to_string()
                .contains("longer than")
        );
    }

    #[test]
    fn values_of_one_line_do_not_stay_for_the_next() {
        let statistics = read_all(&[b"{\"a\":1,\"b\":2}\n{\"a\":3}\n{\"b\":4}\n"], &[]).unwrap();
        let counts: Vec<_> = shape(&statistics).iter().map(|s| (s.2, s.3)).collect();
        assert_eq!(counts, [(2, 1), (2, 1)]);
    }

    #[test]
    fn a_partition_is_columns_after_those_of_the_file() {
        let pair = |name: &str, value: Option<&str>| (name.to_owned(), value.map(str::to_owned));
        let partition = [pair("year", Some("2026")), pair("part", None)];
        let rows: &[u8] = b"{\"a\":1}\n{\"a\":2,\"late\":3}\n";
        let statistics = read_all(&[rows, rows], &partition).unwrap();
        assert_eq!(
            shape(&statistics),
            [
                ("a", InferredType::Integral, 4, 0),
                ("year", InferredType::Integral, 4, 0),
                ("part", InferredType::Unknown, 0, 4),
                ("late", InferredType::Integral, 2, 2),
            ]
        );
        assert_eq!(
            read_all(&[b"{\"a\":1}\n{\"year\":1}"], &partition).unwrap_err(),
            "x.jsonl, line 2: the column `year` is in the file and in its directory's name"
        );
    }

    #[test]
    fn invalid_lines_are_named() {
        let good = "{\"a\":1}\n";
        for (line, message) in [
            ("[{\"a\":1}]", "line 2: an array is not a row"),
            ("a,b", "line 2: not a JSON object"),
            (
                "{",
                "an object must not span several lines (convert it with jq -c .",
            ),
            (
                "{\"a\":{\"b\":1}}",
                "line 2: `a`: an object is nested here: flatten it",
            ),
            ("{\"a\":[1]}", "line 2: `a`: an array is nested here"),
            ("{\"a\":1,\"a\":2}", "line 2: the key `a` occurs twice"),
            ("{\"a\":1} {\"a\":2}", "line 2: found `{`; expected the end"),
            ("{\"\":1}", "line 2: a column has no name"),
        ] {
            let error = read_all(&[format!("{good}{line}\n").as_bytes()], &[]).unwrap_err();
            assert!(error.contains(message), "{line}: {error}");
        }
        let latin = read_all(&[b"{\"a\":\"Malm\xf6\"}"], &[]).unwrap_err();
        assert!(latin.contains("line 1: byte 0xf6 is not UTF-8"), "{latin}");
        assert_eq!(
            read_all(&[b"{}\n"], &[]).unwrap_err(),
            "x.jsonl: no object has a key"
        );
        assert!(read_all(&[b"\n"], &[]).unwrap_err().contains("no rows"));
    }

    #[test]
    fn keys_without_end_are_refused() {
        use std::fmt::Write as _;
        let mut text = String::new();
        for i in 0..=MAX_COLUMNS {
            write!(text, "{}\"k{i}\":1", if i == 0 { '{' } else { ',' }).unwrap();
        }
        let error = read_all(&[format!("{text}}}").as_bytes()], &[]).unwrap_err();
        assert!(error.contains("more than 16384 different keys"), "{error}");
    }
}
