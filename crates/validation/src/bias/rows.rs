//! Reads the rows of all formats, through the crate's readers.

use std::collections::HashSet;
use std::io::{BufReader, Cursor, Read};
use std::ops::Range;

use super::super::batch::Batch;
use super::super::capture::{self, MergedRow, Window};
use super::super::flat::{Scanner, TextRange};
use super::super::jsonl::{self, Lines};
use super::super::parquet::Texts;
use super::super::{DataError, Format, Input, Source, csv, decode};
use super::settings::{Column, Prediction, Settings};

/// A byte order mark.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// Maximum length of the first line of CSV in bytes.
const MAX_HEADER: u64 = 16 * 1024 * 1024;

/// Receives rows.
pub(super) trait Rows {
    /// Begins rows with these columns, of which those in `features` can be features of the model.
    /// Returns the indices of the wanted ones, ascending.
    fn layout(&mut self, names: &[String], features: Range<usize>) -> Result<Vec<usize>, String>;

    /// Adds a row: the wanted columns, `None` if missing.
    fn row(&mut self, cells: &[Option<&str>]) -> Result<(), String>;
}

/// Reads all sources in order.
///
/// # Errors
/// The first source that cannot be read, parsed or added, by name and line.
pub(super) fn read(
    settings: &Settings,
    sources: Vec<Source>,
    format: &Format,
    rows: &mut impl Rows,
) -> Result<(), DataError> {
    for source in sources {
        let name = source.name;
        let input = (source.open)().map_err(|error| DataError::unread(&name, error))?;
        let partition = source.partition;
        match format {
            Format::Csv => {
                let input = decode::decoded(&name, input.into_reader())?;
                let input = with_header(&name, input, &settings.headers)?;
                csv_rows(&name, input, &partition, rows)?;
            }
            Format::Parquet => parquet_rows(&name, input, &partition, rows)?,
            Format::Jsonl => {
                let input = decode::decoded(&name, input.into_reader())?;
                json_rows(&name, input, &partition, rows)?;
            }
            Format::Capture(window) => {
                let input = decode::decoded(&name, input.into_reader())?;
                captured_rows(&name, input, *window, settings, rows)?;
            }
        }
    }
    Ok(())
}

/// Columns of a source's location.
type Partition = [(String, Option<String>)];

/// Begins rows whose last columns are the partition's. Returns the wanted columns of the source
/// itself, and the wanted values of the partition.
fn begin<'a>(
    mut names: Vec<String>,
    partition: &'a Partition,
    rows: &mut impl Rows,
) -> Result<(Vec<usize>, Vec<Option<&'a str>>), String> {
    if let Some((key, _)) = partition.iter().find(|(key, _)| names.contains(key)) {
        return Err(format!(
            "the column `{key}` is both in the file and in its directory's name"
        ));
    }
    let own = names.len();
    names.extend(partition.iter().map(|(key, _)| key.clone()));
    let (inside, outside): (Vec<usize>, Vec<usize>) = rows
        .layout(&names, 0..names.len())?
        .into_iter()
        .partition(|index| *index < own);
    let constants = outside
        .iter()
        .map(|index| partition[index - own].1.as_deref());
    Ok((inside, constants.collect()))
}

/// Adds a header to CSV without one. AWS's configuration lists the columns of a file without a header;
/// a file whose first line is that list has one.
fn with_header(
    name: &str,
    mut input: Box<dyn Read + Send>,
    headers: &[String],
) -> Result<Box<dyn Read + Send>, DataError> {
    if headers.is_empty() {
        return Ok(input);
    }
    let mut start = Vec::new();
    let mut end = loop {
        let before = start.len();
        (&mut input)
            .take(64 * 1024)
            .read_to_end(&mut start)
            .map_err(|error| DataError::unread(name, error))?;
        let new = start[before..].iter();
        if let Some(end) = new.clone().position(|byte| matches!(byte, b'\n' | b'\r')) {
            break before + end;
        }
        if start.len() == before {
            break before;
        }
        if start.len() as u64 > MAX_HEADER {
            return Err(DataError::at(name, 1, "the line is longer than 16 MiB"));
        }
    };
    // One mark only: more are part of the first value.
    if start.starts_with(MARK) {
        start.drain(..MARK.len());
        end -= MARK.len();
    }
    let first = String::from_utf8_lossy(&start[..end]);
    let cells = csv::table(&first).map_err(|message| DataError::at(name, 1, message))?;
    let cells = cells.into_iter().next().unwrap_or_default();
    if cells
        .iter()
        .map(|cell| cell.trim())
        .eq(headers.iter().map(String::as_str))
    {
        return Ok(Box::new(Cursor::new(start).chain(input)));
    }
    if cells.len() != headers.len() {
        return Err(DataError::at(
            name,
            1,
            format!(
                "{} values, but `headers` has {} names",
                cells.len(),
                headers.len()
            ),
        ));
    }
    let quoted: Vec<String> = headers
        .iter()
        .map(|header| format!("\"{}\"", header.replace('"', "\"\"")))
        .collect();
    let line = format!("{}\n", quoted.join(","));
    Ok(Box::new(
        Cursor::new(line).chain(Cursor::new(start)).chain(input),
    ))
}

fn csv_rows(
    name: &str,
    input: Box<dyn Read + Send>,
    partition: &Partition,
    rows: &mut impl Rows,
) -> Result<(), DataError> {
    let (mut reader, names) = csv::Reader::open(name, input)?;
    let (wanted, constants) =
        begin(names, partition, rows).map_err(|message| DataError::at(name, 1, message))?;
    let mut batch = Batch::default();
    let mut read = 0;
    while reader.fill(&mut batch)? {
        let mut columns: Vec<_> = wanted.iter().map(|index| batch.column(*index)).collect();
        let mut cells: Vec<Option<&str>> = Vec::with_capacity(wanted.len() + constants.len());
        for _ in 0..batch.rows() {
            read += 1;
            cells.clear();
            for column in &mut columns {
                let cell = column.next().flatten().map(std::str::from_utf8).transpose();
                cells.push(cell.map_err(|error| DataError::new(name, error.to_string()))?);
            }
            cells.extend(&constants);
            rows.row(&cells)
                .map_err(|message| DataError::new(name, format!("row {read}: {message}")))?;
        }
    }
    Ok(())
}

fn parquet_rows(
    name: &str,
    input: Input,
    partition: &Partition,
    rows: &mut impl Rows,
) -> Result<(), DataError> {
    let file = Texts::open(name, input)?;
    let (wanted, constants) =
        begin(file.names(), partition, rows).map_err(|message| DataError::new(name, message))?;
    let mut read = 0;
    for batch in file.read(&wanted)? {
        let batch = batch?;
        let columns = batch
            .columns()
            .map_err(|message| DataError::new(name, message))?;
        for row in 0..batch.rows() {
            read += 1;
            let cells = columns.iter().map(|column| column[row].as_deref());
            let cells: Vec<Option<&str>> = cells.chain(constants.iter().copied()).collect();
            rows.row(&cells)
                .map_err(|message| DataError::new(name, format!("row {read}: {message}")))?;
        }
    }
    Ok(())
}

/// The columns of rows that have their names, and which of them are wanted.
#[derive(Default)]
struct Named {
    names: Vec<String>,
    wanted: Vec<usize>,
}

impl Named {
    /// Adds a row of names and values. Most rows have the same names in the same order.
    fn add(
        &mut self,
        names: &[&str],
        values: &[Option<&str>],
        features: Range<usize>,
        rows: &mut impl Rows,
    ) -> Result<(), String> {
        if !self
            .names
            .iter()
            .map(String::as_str)
            .eq(names.iter().copied())
        {
            let mut known = HashSet::with_capacity(names.len());
            if let Some(name) = names.iter().find(|name| !known.insert(**name)) {
                return Err(format!("the column `{name}` occurs twice"));
            }
            self.names = names.iter().map(|name| (*name).to_owned()).collect();
            self.wanted = rows.layout(&self.names, features)?;
        }
        let cells: Vec<Option<&str>> = self.wanted.iter().map(|index| values[*index]).collect();
        rows.row(&cells)
    }
}

fn json_rows(
    name: &str,
    input: Box<dyn Read + Send>,
    partition: &Partition,
    rows: &mut impl Rows,
) -> Result<(), DataError> {
    let input = BufReader::with_capacity(256 * 1024, input);
    let mut lines = Lines::new(name, input, jsonl::MAX_LINE);
    let mut named = Named::default();
    while let Some((number, line)) = lines.next_line()? {
        json_row(line, partition, &mut named, rows)
            .map_err(|message| DataError::at(name, number, message))?;
    }
    Ok(())
}

fn json_row(
    line: &str,
    partition: &Partition,
    named: &mut Named,
    rows: &mut impl Rows,
) -> Result<(), String> {
    let mut scanner = Scanner::new(line);
    if !scanner.take(b'{') {
        return Err("not a JSON object: JSON Lines have one object per line".to_owned());
    }
    let mut members: Vec<(TextRange, Option<TextRange>)> = Vec::new();
    while let Some(key) = scanner.member(members.is_empty())? {
        let value = scanner
            .scalar()
            .map_err(|error| format!("`{}`: {error}", scanner.get(&key)))?;
        members.push((key, value));
    }
    scanner.end()?;
    let own = members.iter();
    let (mut names, mut values): (Vec<&str>, Vec<Option<&str>>) = own
        .map(|(key, value)| {
            (
                scanner.get(key),
                value.as_ref().map(|value| scanner.get(value)),
            )
        })
        .unzip();
    names.extend(partition.iter().map(|(key, _)| key.as_str()));
    values.extend(partition.iter().map(|(_, value)| value.as_deref()));
    named.add(&names, &values, 0..names.len(), rows)
}

fn captured_rows(
    name: &str,
    input: Box<dyn Read + Send>,
    window: Window,
    settings: &Settings,
    rows: &mut impl Rows,
) -> Result<(), DataError> {
    let input = BufReader::with_capacity(256 * 1024, input);
    let mut lines = Lines::new(name, input, capture::MAX_LINE);
    let features = settings.features();
    let mut named = Named::default();
    while let Some((number, line)) = lines.next_line()? {
        let added = capture::merged(line, window).and_then(|table| {
            table
                .iter()
                .try_for_each(|row| captured_row(row, settings, &features, &mut named, rows))
        });
        added.map_err(|message| DataError::at(name, number, message))?;
    }
    Ok(())
}

/// Names the values of a row: a single unnamed output is the prediction, unnamed inputs are the
/// features of `headers` in order, a single value of ground truth is the label. Other unnamed values
/// are `_c0`, `_c1`, …, output first.
fn captured_row(
    row: &MergedRow,
    settings: &Settings,
    features: &[&str],
    named: &mut Named,
    rows: &mut impl Rows,
) -> Result<(), String> {
    let inputs = &row.cells[row.outputs..];
    let unnamed = inputs.iter().filter(|(name, _)| name.is_none()).count();
    if unnamed > 0 && !features.is_empty() && unnamed != features.len() {
        return Err(format!(
            "the input has {unnamed} values, but `headers` has {} features",
            features.len()
        ));
    }
    let prediction = settings.prediction.as_ref().map(Prediction::column);
    let mut names = Vec::with_capacity(row.cells.len() + row.truth.len());
    let mut features = features.iter();
    for (index, (name, _)) in row.cells.iter().enumerate() {
        let output = index < row.outputs;
        names.push(match (name, prediction) {
            (Some(name), _) => name.clone(),
            (None, Some(Column::Name(name))) if output && row.outputs == 1 => name.clone(),
            _ if output => format!("_c{index}"),
            _ => match features.next() {
                Some(feature) => (*feature).to_owned(),
                None => format!("_c{index}"),
            },
        });
    }
    for (index, (name, _)) in row.truth.iter().enumerate() {
        names.push(match (&settings.label, name) {
            (Some(Column::Name(label)), _) if row.truth.len() == 1 => label.clone(),
            (_, Some(name)) => name.clone(),
            _ => format!("_t{index}"),
        });
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let values: Vec<Option<&str>> = row
        .cells
        .iter()
        .chain(&row.truth)
        .map(|(_, value)| value.as_deref())
        .collect();
    named.add(&names, &values, row.outputs..row.cells.len(), rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_byte_order_mark_is_skipped() {
        let headers = ["a".to_owned(), "b".to_owned()];
        let read = |text: &str| {
            let input = Box::new(Cursor::new(text.to_owned()));
            let mut text = String::new();
            with_header("t", input, &headers)
                .unwrap()
                .read_to_string(&mut text)
                .unwrap();
            text
        };
        for (text, expected) in [
            ("a,b\n1,2\n", "a,b\n1,2\n"),
            ("\u{feff}a,b\n1,2\n", "a,b\n1,2\n"),
            ("\u{feff}1,2\n", "\"a\",\"b\"\n1,2\n"),
            ("\u{feff}a,b", "a,b"),
            ("\u{feff}\u{feff}a,b\n", "\"a\",\"b\"\n\u{feff}a,b\n"),
        ] {
            assert_eq!(read(text), expected, "{text:?}");
        }
        let marks = "\u{feff}".repeat(200_000);
        assert!(read(&format!("{marks}1,2\n")).starts_with("\"a\",\"b\"\n\u{feff}"));
    }
}
