//! Tables with a prediction and a label in each row: the data of a baseline.

use std::io::Read;

use serde_json::Value;

use super::super::batch::Batch;
use super::super::{DataError, Format, Source, csv, decode, parquet};
use super::arrays;
use super::chunks::{self, Chunk};
use super::event::{Cursor, Scalar};
use super::join::Converter;
use super::payload::check_documents;
use super::rows::Rows;
use super::sample;
use super::settings::{Attribute, Settings};
use super::tally::Tally;
use super::values::{Cell, Classes, number};

/// Maximum number of column names in an error.
const SHOWN: usize = 20;

/// Reads all rows of a table. Rows are numbered across the sources.
pub(super) fn read(
    sources: Vec<Source>,
    format: &Format,
    settings: &Settings,
    classes: &Classes,
) -> Result<Tally, DataError> {
    let mut table = TableReader {
        settings,
        classes,
        attributes: Attributes::of(settings)
            .map_err(|message| DataError::new("the settings", message))?,
        tally: Tally::new(settings.problem),
        rows: 0,
    };
    match format {
        Format::Csv => sources
            .into_iter()
            .try_for_each(|source| table.csv(source))?,
        Format::Parquet => sources
            .into_iter()
            .try_for_each(|source| table.parquet(source))?,
        Format::Jsonl => table.jsonl(sources)?,
        Format::Capture(_) => {
            return Err(DataError::new(
                "the data",
                "captured traffic is not a table: it must be joined with ground truth",
            ));
        }
    }
    Ok(table.tally)
}

/// The attributes of a table: the label, and the prediction or the probability or both.
struct Attributes<'a> {
    /// In the order label, prediction, probability.
    all: Vec<&'a Attribute>,
    has_prediction: bool,
}

impl<'a> Attributes<'a> {
    fn of(settings: &'a Settings) -> Result<Self, String> {
        let label = settings.label.as_ref();
        let label = label.ok_or("ground_truth_attribute is not set: a table needs it")?;
        let others = [&settings.prediction, &settings.probability];
        Ok(Self {
            all: [label]
                .into_iter()
                .chain(others.into_iter().flatten())
                .collect(),
            has_prediction: settings.prediction.is_some(),
        })
    }

    /// Adds a value of the attribute at `index`.
    fn push(
        &self,
        index: usize,
        cell: Cell<'_>,
        converter: &mut Converter<'_>,
        rows: &mut Rows,
    ) -> Result<(), String> {
        match (index, self.has_prediction) {
            (0, _) => rows.label.push(converter.value(cell)?),
            (1, true) => rows.prediction.push(converter.value(cell)?),
            _ => rows.probability.push(number(cell)?),
        }
        Ok(())
    }

    /// The positions of the columns.
    fn positions(&self, names: &[String]) -> Result<Vec<usize>, String> {
        let position = |attribute: &Attribute| {
            let found = match attribute {
                Attribute::Name(wanted) => names.iter().position(|name| name == wanted),
                Attribute::Index(index) => (*index < names.len()).then_some(*index),
                Attribute::Path(path) => {
                    return Err(format!("`{path}` is a JSON path: use the name of a column"));
                }
            };
            found.ok_or_else(|| {
                let mut known = names
                    .iter()
                    .take(SHOWN)
                    .cloned()
                    .collect::<Vec<_>>()
                    .join("`, `");
                if names.len() > SHOWN {
                    known.push_str("`, `…");
                }
                format!("there is no column `{attribute}`; there are `{known}`")
            })
        };
        self.all
            .iter()
            .map(|attribute| position(attribute))
            .collect()
    }
}

struct TableReader<'a> {
    settings: &'a Settings,
    classes: &'a Classes,
    attributes: Attributes<'a>,
    tally: Tally,
    /// Number of rows so far.
    rows: u64,
}

impl TableReader<'_> {
    fn add(&mut self, mut rows: Rows) -> Result<(), DataError> {
        set_masks(&mut rows, self.rows);
        self.rows += rows.label.len() as u64;
        self.tally.merge(Tally::of(rows, self.settings))
    }

    fn csv(&mut self, source: Source) -> Result<(), DataError> {
        let name = source.name;
        let input = (source.open)().map_err(|error| DataError::unread(&name, error))?;
        let input: Box<dyn Read + Send> = decode::decoded(&name, input.into_reader())?;
        let (mut reader, names) = csv::Reader::open(&name, input)?;
        let positions = self.attributes.positions(&names);
        let positions = positions.map_err(|message| DataError::at(name.as_str(), 1, message))?;
        let (mut now, mut next) = (Batch::default(), Batch::default());
        let (mut more, mut rows_before) = (reader.fill(&mut now)?, 0);
        while more {
            let (filled, parsed) = rayon::join(
                || {
                    if reader.is_at_end() {
                        Ok(false)
                    } else {
                        reader.fill(&mut next)
                    }
                },
                || self.batch(&now, &positions, rows_before),
            );
            let rows = parsed.map_err(|message| DataError::new(name.as_str(), message))?;
            rows_before += rows.label.len();
            self.add(rows)?;
            more = filled?;
            std::mem::swap(&mut now, &mut next);
        }
        Ok(())
    }

    fn batch(&self, batch: &Batch, positions: &[usize], before: usize) -> Result<Rows, String> {
        let mut rows = Rows::default();
        let mut converter = Converter::new(self.settings.problem, self.classes);
        for (index, position) in positions.iter().enumerate() {
            for (row, cell) in batch.column(*position).enumerate() {
                let cell = match cell.map(std::str::from_utf8) {
                    None => Ok(Cell::Missing),
                    Some(Ok(text)) => Ok(Cell::Text(text)),
                    Some(Err(_)) => Err("the text is not UTF-8".to_owned()),
                };
                cell.and_then(|cell| self.attributes.push(index, cell, &mut converter, &mut rows))
                    .map_err(|message| self.in_row(index, before + row, &message))?;
            }
        }
        Ok(rows)
    }

    /// Names the row, from 1 without the header, and the column.
    fn in_row(&self, index: usize, row: usize, message: &str) -> String {
        format!(
            "row {}, `{}`: {message}",
            row + 1,
            self.attributes.all[index]
        )
    }

    fn parquet(&mut self, source: Source) -> Result<(), DataError> {
        let name = source.name;
        let input = (source.open)().map_err(|error| DataError::unread(&name, error))?;
        let selection = parquet::select(&name, input, &|names| self.attributes.positions(names))?;
        let mut before = 0;
        for batch in selection {
            let columns = batch?;
            let mut rows = Rows::default();
            let mut converter = Converter::new(self.settings.problem, self.classes);
            for (index, column) in columns.iter().enumerate() {
                let mut row = before;
                arrays::cells(column, &mut |cell| {
                    row += 1;
                    self.attributes
                        .push(index, cell, &mut converter, &mut rows)
                        .map_err(|message| self.in_row(index, row - 1, &message))
                })
                .map_err(|message| DataError::new(name.as_str(), message))?;
            }
            before += rows.label.len();
            self.add(rows)?;
        }
        Ok(())
    }

    fn jsonl(&mut self, sources: Vec<Source>) -> Result<(), DataError> {
        let (settings, classes, attributes) = (self.settings, self.classes, &self.attributes);
        let tally = &mut self.tally;
        chunks::each(
            sources,
            |chunk| {
                chunk.all_readable()?;
                let mut rows = jsonl_rows(chunk, settings, classes, attributes)?;
                set_masks(&mut rows, chunk.before);
                Ok(Tally::of(rows, settings))
            },
            |part| tally.merge(part),
        )
    }
}

/// Sets the samples of rows whose first one has a number.
fn set_masks(rows: &mut Rows, first: u64) {
    let count = rows.label.len() as u64;
    rows.mask = (first..first + count)
        .map(|row| sample::mask(sample::key(0, row)))
        .collect();
}

fn jsonl_rows(
    chunk: &Chunk,
    settings: &Settings,
    classes: &Classes,
    attributes: &Attributes<'_>,
) -> Result<Rows, DataError> {
    let mut rows = Rows::default();
    let mut converter = Converter::new(settings.problem, classes);
    let has_paths = attributes
        .all
        .iter()
        .any(|attribute| matches!(attribute, Attribute::Path(_)));
    for (number, line) in chunk.lines() {
        let mut push = |index: usize, cell: Cell<'_>| {
            attributes
                .push(index, cell, &mut converter, &mut rows)
                .map_err(|message| format!("`{}`: {message}", attributes.all[index]))
        };
        let read = if has_paths {
            nested_row(line, attributes, &mut push)
        } else {
            flat_row(line, attributes, &mut push)
        };
        read.map_err(|message| chunk.error(number, &message))?;
    }
    Ok(rows)
}

type Push<'p> = dyn FnMut(usize, Cell<'_>) -> Result<(), String> + 'p;

/// Reads members of an object; other members may be nested.
fn flat_row(line: &str, attributes: &Attributes<'_>, push: &mut Push<'_>) -> Result<(), String> {
    let mut cursor = Cursor { text: line, at: 0 };
    let (mut member, mut found) = (0, [false; 3]);
    cursor.object(|cursor, key| {
        let is_wanted = |attribute: &Attribute| match attribute {
            Attribute::Name(name) => name == key,
            Attribute::Index(index) => *index == member,
            Attribute::Path(_) => false,
        };
        let wanted: Vec<usize> = (0..attributes.all.len())
            .filter(|index| is_wanted(attributes.all[*index]))
            .collect();
        member += 1;
        if wanted.is_empty() {
            return cursor.skip();
        }
        let scalar = cursor.scalar()?;
        for index in wanted {
            if std::mem::replace(&mut found[index], true) {
                return Err(format!("the key `{key}` occurs twice"));
            }
            match &scalar {
                Scalar::Text(text) => push(index, Cell::Text(text))?,
                Scalar::Null => push(index, Cell::Missing)?,
                Scalar::Nested => return Err(format!("`{key}` is an array or an object")),
            }
        }
        Ok(())
    })?;
    if cursor.peek() != 0 {
        return Err(cursor.unexpected());
    }
    (0..attributes.all.len())
        .filter(|index| !found[*index])
        .try_for_each(|index| push(index, Cell::Missing))
}

fn nested_row(line: &str, attributes: &Attributes<'_>, push: &mut Push<'_>) -> Result<(), String> {
    check_documents(line)?;
    let row: Value = serde_json::from_str(line).map_err(|error| format!("not JSON: {error}"))?;
    for (index, attribute) in attributes.all.iter().enumerate() {
        let found = match attribute {
            Attribute::Path(path) => path.find(&row),
            Attribute::Name(name) => row.get(name).into_iter().collect(),
            Attribute::Index(index) => row
                .as_object()
                .and_then(|members| members.values().nth(*index))
                .into_iter()
                .collect(),
        };
        match found[..] {
            [] | [Value::Null] => push(index, Cell::Missing)?,
            [Value::String(text)] => push(index, Cell::Text(text))?,
            [Value::Number(number)] => push(index, Cell::Text(&number.to_string()))?,
            [Value::Bool(flag)] => push(index, Cell::Text(if *flag { "true" } else { "false" }))?,
            _ => return Err(format!("`{attribute}` is not one number or text per row")),
        }
    }
    Ok(())
}
