//! The model as the engine calls it: batches of rows in, predictions out.

use std::fmt;

use super::super::DataError;
use super::coalitions::{Coalitions, includes};
use super::table::{Table, csv_length, push_csv};

/// Maximum number of outputs of a model.
pub const MAX_OUTPUTS: usize = 1000;

/// Maximum number of batches in parallel.
pub const MAX_PARALLEL: usize = 64;

/// A model: an endpoint, a container, or a function of this process.
pub trait Model: Sync {
    /// The error of a failed request. It is passed on unchanged.
    type Error: Send;

    /// Predicts a batch of rows, in order. Several threads call this at the same time, at most
    /// [`Limits::parallel`]. The prediction of a row must not depend on the rest of the batch.
    ///
    /// # Errors
    /// The request failed; the explanation then ends with this error.
    fn predict(&self, rows: &Rows<'_>) -> Result<Predictions, Self::Error>;
}

impl<F, E> Model for F
where
    F: Fn(&Rows<'_>) -> Result<Predictions, E> + Sync,
    E: Send,
{
    type Error = E;

    fn predict(&self, rows: &Rows<'_>) -> Result<Predictions, E> {
        self(rows)
    }
}

/// The predictions for a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Predictions {
    /// Number of outputs for each row: 1 for a regression or a probability, or one per class.
    pub outputs: usize,
    /// The outputs row by row: rows × outputs numbers.
    pub values: Vec<f64>,
}

impl Predictions {
    /// Predictions of a model with one output: one number per row.
    pub fn single(values: Vec<f64>) -> Self {
        Self { outputs: 1, values }
    }
}

/// Limits of a batch and of the number of batches in parallel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Maximum number of rows in a batch.
    pub rows: usize,
    /// Maximum size of a batch as CSV in bytes. (A single row may be longer.)
    pub bytes: usize,
    /// Maximum number of batches in parallel.
    pub parallel: usize,
}

impl Default for Limits {
    /// 1,000 rows, and 5 MB, because an endpoint accepts at most 6 MB per request; two in parallel.
    fn default() -> Self {
        Self {
            rows: 1000,
            bytes: 5_000_000,
            parallel: 2,
        }
    }
}

impl Limits {
    pub(super) fn check(&self) -> Result<(), DataError> {
        let bad = |name: &str, value: usize, most: usize| {
            let message = format!("{name} must be from 1 to {most}, not {value}");
            Err(DataError::new("limits of a batch", message))
        };
        for (name, value, most) in [
            ("rows", self.rows, 1_000_000),
            ("bytes", self.bytes, 1 << 30),
            ("parallel", self.parallel, MAX_PARALLEL),
        ] {
            if !(1..=most).contains(&value) {
                return bad(name, value, most);
            }
        }
        Ok(())
    }
}

/// A failed explanation.
#[derive(Debug)]
pub enum Error<E> {
    /// The settings, the rows or the predictions are not usable.
    Input(DataError),
    /// The model failed.
    Model(E),
}

impl<E> From<DataError> for Error<E> {
    fn from(error: DataError) -> Self {
        Self::Input(error)
    }
}

impl<E: fmt::Display> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(error) => error.fmt(f),
            Self::Model(error) => error.fmt(f),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for Error<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Input(error) => error.source(),
            Self::Model(error) => error.source(),
        }
    }
}

/// A row of the sample with its coalitions.
#[derive(Debug)]
pub(super) struct Subject {
    /// The row in the sample.
    pub(super) row: usize,
    /// The features whose value differs from that of some background row, in ascending order: bit
    /// `i` of a coalition is feature `varying[i]`. The others have no effect.
    pub(super) varying: Vec<usize>,
    pub(super) coalitions: Coalitions,
}

/// The origin of a row's cells.
#[derive(Debug, Clone, Copy)]
pub(super) enum Origin<'a> {
    /// A background row.
    Background(usize),
    /// A row of the sample.
    Sample(&'a Subject),
    /// A background row with the features of a coalition taken from the sample.
    Mixed {
        subject: &'a Subject,
        mask: &'a [u64],
        background: usize,
    },
}

/// A batch of rows. The cells are not copied: a batch refers to the sample and the background.
#[derive(Debug)]
pub struct Rows<'a> {
    pub(super) sample: &'a Table,
    pub(super) background: &'a Table,
    pub(super) origins: Vec<Origin<'a>>,
}

impl<'a> Rows<'a> {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.origins.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.origins.is_empty()
    }

    /// The names of the features.
    pub fn columns(&self) -> &'a [String] {
        self.sample.columns()
    }

    /// The rows, each as its cells in the order of [`Rows::columns`]. A missing value is empty.
    pub fn iter(&self) -> impl Iterator<Item = impl Iterator<Item = &'a str>> {
        let (sample, background) = (self.sample, self.background);
        self.origins.iter().map(move |origin| Cells {
            sample,
            background,
            origin: *origin,
            feature: 0,
            varying: 0,
        })
    }

    /// The rows as CSV without a header, one line per row: the body of a `text/csv` request.
    pub fn to_csv(&self) -> String {
        if self.sample.needs_quotes() || self.background.needs_quotes() {
            return self.to_quoted_csv();
        }
        let mut text = String::new();
        let mut runs = Vec::new();
        let mut mask: &[u64] = &[];
        for origin in &self.origins {
            let (row, background) = match *origin {
                Origin::Background(row) => (0, row),
                Origin::Sample(subject) => (subject.row, 0),
                Origin::Mixed {
                    subject,
                    background,
                    ..
                } => (subject.row, background),
            };
            // The rows of a coalition follow each other.
            if !matches!(origin, Origin::Mixed { mask: next, .. } if std::ptr::eq(*next, mask)) {
                self.set_runs(origin, &mut runs);
                mask = match origin {
                    Origin::Mixed { mask, .. } => mask,
                    Origin::Background(_) | Origin::Sample(_) => &[],
                };
            }
            let start = text.len();
            for run in &runs {
                if run.start > 0 {
                    text.push(',');
                }
                text.push_str(if run.is_sample {
                    self.sample.span(row, run.start, run.end)
                } else {
                    self.background.span(background, run.start, run.end)
                });
            }
            end_line(&mut text, start);
            if start == 0 {
                text.reserve((text.len() + 8) * self.origins.len());
            }
        }
        text
    }

    /// Divides the features into runs that come from the same table. Features with the same value in
    /// both extend a run.
    fn set_runs(&self, origin: &Origin<'_>, runs: &mut Vec<Run>) {
        let whole = |is_sample| Run {
            is_sample,
            start: 0,
            end: self.columns().len(),
        };
        runs.clear();
        let (subject, mask) = match origin {
            Origin::Background(_) => return runs.push(whole(false)),
            Origin::Sample(_) => return runs.push(whole(true)),
            Origin::Mixed { subject, mask, .. } => (subject, mask),
        };
        for (bit, feature) in subject.varying.iter().enumerate() {
            let mut next = whole(includes(mask, bit));
            if let Some(run) = runs.last_mut() {
                if run.is_sample == next.is_sample {
                    continue;
                }
                run.end = *feature;
                next.start = *feature;
            }
            runs.push(next);
        }
    }

    fn to_quoted_csv(&self) -> String {
        let mut text = String::new();
        for row in self.iter() {
            let start = text.len();
            for (column, cell) in row.enumerate() {
                if column > 0 {
                    text.push(',');
                }
                push_csv(&mut text, cell);
            }
            end_line(&mut text, start);
        }
        text
    }
}

/// Ends a line of CSV. One empty cell would be an empty line, which readers skip.
fn end_line(text: &mut String, start: usize) {
    text.push_str(if text.len() == start { "\"\"\n" } else { "\n" });
}

/// Adjacent features from the same table.
struct Run {
    is_sample: bool,
    start: usize,
    end: usize,
}

struct Cells<'a> {
    sample: &'a Table,
    background: &'a Table,
    origin: Origin<'a>,
    feature: usize,
    /// The next varying feature of the subject.
    varying: usize,
}

impl<'a> Iterator for Cells<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let feature = self.feature;
        if feature == self.sample.columns().len() {
            return None;
        }
        self.feature += 1;
        Some(match self.origin {
            Origin::Background(row) => self.background.cell(row, feature),
            Origin::Sample(subject) => self.sample.cell(subject.row, feature),
            Origin::Mixed {
                subject,
                mask,
                background,
            } => {
                let bit = self.varying;
                let varies = subject.varying.get(bit) == Some(&feature);
                self.varying += usize::from(varies);
                if varies && !includes(mask, bit) {
                    self.background.cell(background, feature)
                } else {
                    self.sample.cell(subject.row, feature)
                }
            }
        })
    }
}

/// Number of rows of a batch, so that it respects both limits whatever cells its rows combine.
pub(super) fn batch_rows(limits: &Limits, sample: &Table, background: &Table) -> usize {
    let longest = |table: &Table, column: usize| {
        let lengths = (0..table.rows()).map(|row| csv_length(table.cell(row, column)));
        lengths.max().unwrap_or_default()
    };
    let row: usize = (0..sample.columns().len())
        .map(|column| longest(sample, column).max(longest(background, column)) + 1)
        .sum();
    (limits.bytes / (row + 2)).clamp(1, limits.rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn table(rows: &[[&str; 3]]) -> Table {
        let columns = ["a", "b", "c"].map(str::to_owned).to_vec();
        Table::from_rows("t", columns, rows.iter().copied()).unwrap()
    }

    #[test]
    fn coalitions_take_cells_of_the_row_and_of_the_background() {
        let sample = table(&[["1", "x,y", ""]]);
        let background = table(&[["0", "x,y", "9"], ["", "x,y", "8"]]);
        let subject = Subject {
            row: 0,
            varying: vec![0, 2],
            coalitions: Coalitions::new(2, 10, &mut Random::new(0, 0)),
        };
        let mixed = |mask, background| Origin::Mixed {
            subject: &subject,
            mask,
            background,
        };
        let origins = vec![
            Origin::Background(0),
            Origin::Sample(&subject),
            mixed(&[0b01][..], 0),
            mixed(&[0b10], 1),
        ];
        let rows = Rows {
            sample: &sample,
            background: &background,
            origins,
        };
        assert_eq!(rows.len(), 4);
        assert!(!rows.is_empty());
        assert_eq!(rows.columns(), ["a", "b", "c"]);
        let expected = "0,\"x,y\",9\n1,\"x,y\",\n1,\"x,y\",9\n,\"x,y\",\n";
        assert_eq!(rows.to_csv(), expected);
        let cells: Vec<Vec<&str>> = rows.iter().map(Iterator::collect).collect();
        assert_eq!(cells[2], ["1", "x,y", "9"]);
    }

    /// Without quotes, runs of cells are copied: the result is that of single cells.
    #[test]
    fn csv_without_quotes_has_the_same_cells() {
        let wide = |offset: usize| {
            let columns: Vec<String> = (0..70).map(|i| format!("f{i}")).collect();
            // Every third column is the same in both tables.
            let cell = |i: usize| match i % 3 {
                0 => i.to_string(),
                _ => "x".repeat(i % 5 + offset),
            };
            let rows = [
                (0..70).map(cell).collect::<Vec<_>>(),
                vec![String::new(); 70],
            ];
            Table::from_rows("t", columns, rows).unwrap()
        };
        let (sample, background) = (wide(1), wide(0));
        let varying: Vec<usize> = (0..70).filter(|i| i % 3 != 0).collect();
        let subject = Subject {
            row: 0,
            coalitions: Coalitions::new(varying.len(), 200, &mut Random::new(0, 0)),
            varying,
        };
        let mut origins = vec![Origin::Sample(&subject), Origin::Background(1)];
        for index in 0..subject.coalitions.len() {
            origins.push(Origin::Mixed {
                subject: &subject,
                mask: subject.coalitions.mask(index),
                background: 0,
            });
        }
        let rows = Rows {
            sample: &sample,
            background: &background,
            origins,
        };
        assert_eq!(rows.len(), 202);
        assert_eq!(rows.to_csv(), rows.to_quoted_csv());
        let one = Table::from_rows("t", vec!["a".to_owned()], [[""]]).unwrap();
        let rows = Rows {
            sample: &one,
            background: &one,
            origins: vec![Origin::Background(0)],
        };
        assert_eq!(rows.to_csv(), "\"\"\n");
    }

    #[test]
    fn a_batch_respects_rows_and_bytes() {
        let sample = table(&[["1234567890", "a,b", ""]]);
        let background = table(&[["1", "2", "3"]]);
        let rows = |rows, bytes| {
            let limits = Limits {
                rows,
                bytes,
                parallel: 1,
            };
            batch_rows(&limits, &sample, &background)
        };
        // The longest row is 1234567890,"a,b",3 with its line break: 19 bytes, and 2 for an empty row.
        assert_eq!(rows(1000, 210), 10);
        assert_eq!(rows(7, 210), 7);
        assert_eq!(rows(1000, 5), 1);
    }

    #[test]
    fn limits_have_bounds() {
        Limits::default().check().unwrap();
        let limits = Limits {
            parallel: 65,
            ..Limits::default()
        };
        let error = limits.check().unwrap_err().to_string();
        let expected = "limits of a batch: parallel must be from 1 to 64, not 65";
        assert_eq!(error, expected);
    }
}
