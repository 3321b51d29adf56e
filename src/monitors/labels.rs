//! Labels (ground truth) of predictions: a file becomes records in the capture bucket.
//!
//! ```text
//! CSV or JSON Lines ── each (reads and checks) ── parts ── ground-truth/ENDPOINT/YYYY/MM/DD/HH/TIME-HASH.jsonl
//! ```
//!
//! The directories are those of AWS's model quality monitor. The names of the objects ascend, because the last label of
//! an event wins.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek as _, SeekFrom};
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use mlops_core::error::{Failure, Hint};
use mlops_core::quote::short;
use mlops_validation::decode::decoded;
use mlops_validation::lines::JsonLines;
use mlops_validation::quality::truth::{RecordChecker, record};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::aws::s3::S3Uri;

/// Maximum length of a line, or of a row with line ends, in bytes.
const MAX_LINE: usize = 1 << 20;

/// The beginning of a file that tells its format.
const START: u64 = 64 << 10;

/// Maximum size of labels from a pipe in bytes.
const MAX_PIPE: u64 = 4 << 30;

/// Minimum size of a part, except for the last one.
const PART: usize = 8 << 20;

/// Where the values are in a file.
#[derive(Debug, Clone)]
pub struct LabelColumns {
    /// The column, or the member of an object, with the event or inference id.
    pub id: String,
    /// That with the label.
    pub label: String,
}

/// A file of labels, which can be read several times.
#[derive(Debug)]
pub struct LabelFile {
    file: File,
    shown: String,
    columns: LabelColumns,
    checker: RecordChecker,
}

impl LabelFile {
    /// Opens a file, and stores what a pipe contains. With a checker that knows the settings of the analysis, labels
    /// must be values that it can use.
    ///
    /// # Errors
    /// The file cannot be read, is neither a file nor a pipe, or a pipe contains more than 4 GiB.
    pub fn open(path: &Path, columns: LabelColumns, checker: RecordChecker) -> Result<Self> {
        let shown = path.display().to_string();
        let doing = || format!("cannot read {shown}");
        let mut file = File::open(path).with_context(doing)?;
        let kind = file.metadata().with_context(doing)?.file_type();
        if !kind.is_file() {
            use std::os::unix::fs::FileTypeExt as _;
            if !kind.is_fifo() {
                return Err(Failure::usage(format!(
                    "{shown} is neither a file nor a pipe"
                )));
            }
            let mut stored = tempfile::tempfile().with_context(doing)?;
            let read = io::copy(&mut file.take(MAX_PIPE + 1), &mut stored).with_context(doing)?;
            if read > MAX_PIPE {
                let reason = format!("{shown} contains more than {} GiB", MAX_PIPE >> 30);
                return Err(Failure::usage(reason));
            }
            file = stored;
        }
        Ok(Self {
            file,
            shown,
            columns,
            checker,
        })
    }

    /// Reads the file from its beginning, and calls `sink` with each record.
    ///
    /// CSV has a header with both columns. A line of JSON is an object with both members, or a record of AWS's format.
    /// The first character that is not white space tells which of them it is; gzip and Zstandard are decompressed.
    ///
    /// # Errors
    /// The file cannot be read or is empty, a line is not valid (with its number), or `sink` fails.
    pub fn each(&self, mut sink: impl FnMut(String) -> Result<()>) -> Result<()> {
        let (shown, columns) = (self.shown.as_str(), &self.columns);
        let doing = || format!("cannot read {shown}");
        let mut file = self.file.try_clone().with_context(doing)?;
        file.seek(SeekFrom::Start(0)).with_context(doing)?;
        let mut input = decoded(shown, Box::new(file))?;
        let mut start = Vec::new();
        input
            .by_ref()
            .take(START)
            .read_to_end(&mut start)
            .with_context(doing)?;
        let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&start);
        let is_json = text.trim_ascii_start().first() == Some(&b'{');
        let input = BufReader::with_capacity(256 << 10, Cursor::new(start).chain(input));
        let mut count = 0_u64;
        let mut check = self.checker.checks();
        let mut checked = |number: u64, record: Result<String, String>| {
            let record = record.and_then(|record| {
                check(&record)?;
                Ok(record)
            });
            let wrong = |reason| Failure::usage(format!("{shown}, line {number}: {reason}"));
            count += 1;
            sink(record.map_err(wrong)?)
        };
        if is_json {
            json_lines(input, shown, columns, &mut checked)?;
        } else {
            csv_rows(input, shown, columns, &mut checked)?;
        }
        if count == 0 {
            return Err(Failure::usage(format!("{shown} has no labels")));
        }
        Ok(())
    }
}

fn json_lines(
    input: impl BufRead,
    shown: &str,
    columns: &LabelColumns,
    sink: &mut impl FnMut(u64, Result<String, String>) -> Result<()>,
) -> Result<()> {
    let mut lines = JsonLines::new(input, MAX_LINE);
    let mut number = 0;
    while lines
        .advance()
        .with_context(|| format!("cannot read {shown}"))?
    {
        number += 1;
        if lines.line().trim_ascii().is_empty() {
            continue;
        }
        sink(number, json_record(lines.line(), columns))?;
    }
    Ok(())
}

/// The record of a line.
fn json_record(line: &[u8], columns: &LabelColumns) -> Result<String, String> {
    if line.len() >= MAX_LINE {
        return Err("the line is too long".to_owned());
    }
    let line = std::str::from_utf8(line).map_err(|_| "it is not UTF-8".to_owned())?;
    let value: Value = serde_json::from_str(line).map_err(|error| format!("not JSON: {error}"))?;
    if value.get("groundTruthData").is_some() {
        // A line may have line ends within it, but a record is one line.
        return Ok(value.to_string());
    }
    let member = |name: &str| match value.get(name) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Number(number)) => Ok(number.to_string()),
        Some(Value::Bool(flag)) => Ok(flag.to_string()),
        Some(_) => Err(format!("`{}` is not a value", short(name))),
        None => Err(format!(
            "it has neither `groundTruthData` nor `{}`",
            short(name)
        )),
    };
    labelled(&member(&columns.id)?, &member(&columns.label)?)
}

/// Limits the bytes between two records.
struct Bounded<R> {
    input: R,
    /// Bytes since the last record.
    read: Rc<Cell<usize>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read.get() > MAX_LINE {
            return Err(io::Error::other("a line is too long"));
        }
        let read = self.input.read(buffer)?;
        self.read.set(self.read.get() + read);
        Ok(read)
    }
}

fn csv_rows(
    input: impl Read,
    shown: &str,
    columns: &LabelColumns,
    sink: &mut impl FnMut(u64, Result<String, String>) -> Result<()>,
) -> Result<()> {
    let read = Rc::new(Cell::new(0));
    let mut reader = csv::Reader::from_reader(Bounded {
        input,
        read: read.clone(),
    });
    let failed = |error: csv::Error| match error.kind() {
        csv::ErrorKind::Io(_) => anyhow::anyhow!("cannot read {shown}: {error}"),
        _ => Failure::usage(format!("{shown}: {error}")),
    };
    let header = reader.headers().map_err(failed)?.clone();
    if header.is_empty() {
        return Ok(());
    }
    let position = |name: &str| {
        let names = || {
            header
                .iter()
                .map(|name| name.trim_start_matches('\u{feff}').trim())
        };
        names()
            .position(|known| known == name)
            .ok_or_else(|| {
                let known: Vec<String> = names().take(20).map(short).collect();
                Failure::usage(format!(
                    "{shown} has no column `{}`; it has {}",
                    short(name),
                    known.join(", ")
                ))
            })
            .hint("name the columns with --id and --label; the first line is the header")
    };
    let (id, label) = (position(&columns.id)?, position(&columns.label)?);
    let mut row = csv::StringRecord::new();
    loop {
        read.set(0);
        if !reader.read_record(&mut row).map_err(failed)? {
            return Ok(());
        }
        let line = row.position().map_or(0, csv::Position::line);
        let cell = |at: usize| row.get(at).unwrap_or_default();
        sink(line, labelled(cell(id), cell(label)))?;
    }
}

/// The record of a label; neither may be empty.
fn labelled(id: &str, label: &str) -> Result<String, String> {
    match (id.trim(), label.trim()) {
        ("", _) => Err("the id is empty".to_owned()),
        (_, "") => Err("the label is empty".to_owned()),
        (id, label) => Ok(record(id, label)),
    }
}

/// Collects records into parts, the contents of objects.
#[derive(Debug, Default)]
pub struct Parts {
    text: String,
}

impl Parts {
    /// Adds a record; returns a part if it is large enough.
    pub fn push(&mut self, record: &str) -> Option<String> {
        self.text.push_str(record);
        self.text.push('\n');
        (self.text.len() >= PART).then(|| std::mem::take(&mut self.text))
    }

    /// The last part, unless it is empty.
    pub fn rest(self) -> Option<String> {
        Some(self.text).filter(|text| !text.is_empty())
    }
}

/// The address of a part, below that of the endpoint's labels. `now` is the time of the push; its nanoseconds tell two
/// pushes of one second apart.
pub fn address(labels: &S3Uri, now: Timestamp, number: usize, part: &str) -> S3Uri {
    let hash = hex::encode(Sha256::digest(part.as_bytes()));
    let time = now.strftime("%Y/%m/%d/%H/%M-%S-%9f");
    labels.join(&format!("{time}-{number:06}-{}.jsonl", &hash[..16]))
}

#[cfg(test)]
mod tests {
    use mlops_validation::quality::Settings;

    use super::*;

    fn read(text: &str) -> Result<Vec<String>> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let columns = LabelColumns {
            id: "id".to_owned(),
            label: "label".to_owned(),
        };
        records(file.path(), columns, None)
    }

    fn records(
        path: &Path,
        columns: LabelColumns,
        settings: Option<Settings>,
    ) -> Result<Vec<String>> {
        let file = LabelFile::open(path, columns, RecordChecker::new(settings))?;
        let mut records = Vec::new();
        // Twice, as a push does.
        file.each(|_| Ok(()))?;
        file.each(|record| {
            records.push(record);
            Ok(())
        })?;
        Ok(records)
    }

    #[test]
    fn csv_and_json_lines_make_the_same_records() {
        let wanted = [record("a", "1.5"), record("b", "late, very")];
        assert_eq!(
            read("x,id,label\n7,a,1.5\n8,b,\"late, very\"\n").unwrap(),
            wanted
        );
        let json =
            "\u{feff}{\"id\": \"a\", \"label\": 1.5}\n\n{\"label\": \"late, very\", \"id\": \"b\"}";
        assert_eq!(read(json).unwrap(), wanted);
        assert_eq!(read(&wanted.join("\n")).unwrap(), wanted);
        let late = format!("{}{}", "\n".repeat(40), wanted.join("\n"));
        assert_eq!(read(&late).unwrap(), wanted);
    }

    #[test]
    fn the_first_wrong_line_is_named() {
        for (text, reason) in [
            ("", "has no labels"),
            ("id,label\n", "has no labels"),
            ("id,value\na,1\n", "no column `label`; it has id, value"),
            ("id,label\na,1\nb\n", "line: 3"),
            ("id,label\na,1\n,2\n", "line 3: the id is empty"),
            ("id,label\na, \n", "line 2: the label is empty"),
            (
                "{\"id\": \"a\", \"label\": 1}\n{\"id\": \"b\"}\n",
                "line 2: it has neither",
            ),
            ("{\"id\": \"a\", \"label\": []}\n", "`label` is not a value"),
            (
                "{\"id\": \"a\", \"label\": null}\n",
                "`label` is not a value",
            ),
            ("{\"id\": \"a\"", "line 1: not JSON"),
            (
                "{\"groundTruthData\": {\"data\": \"1\", \"encoding\": \"CSV\"}}\n",
                "no eventId",
            ),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
        for text in ["id,label\na,", "{\"id\": \""] {
            let long = format!("{text}{}\n", "x".repeat(2 * MAX_LINE));
            let error = read(&long).unwrap_err().to_string();
            assert!(error.contains("too long"), "{error}");
        }
    }

    #[test]
    fn later_parts_have_later_names() {
        let labels = S3Uri::new("bucket", "ground-truth/flights/");
        let at = |text: &str, number| address(&labels, text.parse().unwrap(), number, "x").key;
        let first = at("2026-11-30T09:59:59Z", 0);
        assert!(
            first.starts_with("ground-truth/flights/2026/11/30/09/59-59-000000000-000000-"),
            "{first}"
        );
        assert!(first < at("2026-11-30T09:59:59Z", 1));
        assert!(at("2026-11-30T09:59:59Z", 1) < at("2026-11-30T09:59:59.000000001Z", 0));
        assert!(at("2026-11-30T09:59:59Z", 1) < at("2026-11-30T10:00:00Z", 0));
    }

    #[test]
    fn labels_that_the_analysis_cannot_use_are_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "id,label\na,1\nb,n/a\n").unwrap();
        let columns = LabelColumns {
            id: "id".to_owned(),
            label: "label".to_owned(),
        };
        let settings = Settings::parse(|name| match name {
            "problem_type" => Some("Regression"),
            "inference_attribute" => Some("0"),
            _ => None,
        });
        let error = records(file.path(), columns.clone(), Some(settings.unwrap())).unwrap_err();
        assert!(
            error.to_string().contains("line 3: groundTruthData: `n/a`"),
            "{error}"
        );
        assert_eq!(records(file.path(), columns, None).unwrap().len(), 2);
    }
}
