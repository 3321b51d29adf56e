//! Data validation: readers → statistics → constraints → violations, and drift.
//!
//! The engine reads tables in one pass and in bounded memory. It reads and writes the files of
//! SageMaker Model Monitor's analyzer: `statistics.json`, `constraints.json`,
//! `constraint_violations.json`. The algorithms are those of Deequ 2.0.2, the public library that
//! the analyzer is built on. The crate does not depend on AWS, the command line or a terminal:
//! sources are readers with a name.
//!
//! A [`Profile`] is the result of one pass. It can be merged with the profile of another part of the
//! data, and becomes [`Statistics`] at the end.

#![warn(missing_docs)]

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::PathBuf;

use mlops_core::quote;

pub mod attribution;
mod batch;
pub mod bias;
pub mod capture;
mod categories;
pub mod check;
pub mod clarify;
mod column;
pub mod constraints;
mod csv;
pub mod dataset;
pub mod decode;
pub mod distance;
mod distinct;
pub mod drift;
pub mod explain;
pub mod files;
mod flat;
mod hash;
mod hours;
mod jsonl;
pub mod kll;
mod lenient;
pub mod lines;
mod moments;
mod number;
pub mod opt_in;
mod parquet;
pub mod profile;
mod profile_file;
#[cfg(test)]
mod properties;
pub mod quality;
mod random;
mod rule_set;
mod shared;
mod split;
pub mod statistics;
pub mod types;
pub mod violations;
pub mod watch;

use batch::Batch;
pub use check::check;
pub use constraints::Constraints;
pub use profile::{Profile, Profiler};
pub use rule_set::RuleSet;
pub use statistics::Statistics;
pub use violations::{Violation, Violations};

/// The reference that data is compared with.
#[derive(Debug, Clone)]
pub struct Baseline {
    /// The constraints on the data.
    pub constraints: Constraints,
    /// The distributions to measure drift from; without them drift is not checked.
    pub statistics: Option<Statistics>,
}

/// The format of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values with a header line.
    Csv,
    /// Apache Parquet.
    Parquet,
    /// JSON Lines: one flat object per line.
    Jsonl,
    /// Traffic that an endpoint captured, as JSON Lines.
    Capture(capture::Window),
}

/// The opened bytes of a source.
pub enum Input {
    /// A file that several threads can read at different positions.
    File(File),
    /// Bytes that arrive once, in order.
    Stream(Box<dyn Read + Send>),
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => f.debug_tuple("File").field(file).finish(),
            Self::Stream(_) => f.write_str("Stream"),
        }
    }
}

impl Input {
    /// The bytes in order.
    pub fn into_reader(self) -> Box<dyn Read + Send> {
        match self {
            Self::File(file) => Box::new(file),
            Self::Stream(stream) => stream,
        }
    }
}

/// Columns from a source's location, with the same value in each row; `None` is a missing value.
pub type Partition = Vec<(String, Option<String>)>;

/// A named source of bytes, opened on first use.
pub struct Source {
    /// A path or an address, for messages.
    pub name: String,
    /// Opens the bytes.
    pub open: Box<dyn FnOnce() -> io::Result<Input> + Send>,
    /// The partition of the source (`year=2026/month=05`): columns after those of the source itself,
    /// with the same value in every row. `None` is a missing value.
    pub partition: Partition,
}

impl Source {
    /// Creates a source for a file on this machine.
    pub fn file(path: PathBuf) -> Self {
        Self {
            name: path.display().to_string(),
            open: Box::new(move || Ok(Input::File(File::open(path)?))),
            partition: Vec::new(),
        }
    }

    /// Bytes that arrive once, in order.
    pub fn stream<R: Read + Send + 'static>(
        name: impl Into<String>,
        open: impl FnOnce() -> io::Result<R> + Send + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            open: Box::new(move || Ok(Input::Stream(Box::new(open()?)))),
            partition: Vec::new(),
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Source").field(&self.name).finish()
    }
}

/// Minimum size of a batch in bytes for processing in parallel; below this size, parallelism costs
/// more than it saves.
const SMALL: usize = 128 * 1024;

/// The message for data without rows.
const NO_ROWS: &str = "no rows";

/// Data or a file that cannot be parsed: location and reason.
#[derive(Debug)]
pub struct DataError {
    place: String,
    line: Option<u64>,
    message: String,
    source: Option<io::Error>,
}

impl DataError {
    /// Creates an error about a source as a whole.
    pub fn new(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            place: quote::bounded(&place.into()),
            line: None,
            message: quote::bounded(&message.into()),
            source: None,
        }
    }

    /// Creates an error for a source that cannot be opened or read. Keeps the hint and exit code of
    /// a remote error.
    pub fn unread(place: impl Into<String>, error: io::Error) -> Self {
        Self {
            place: quote::bounded(&place.into()),
            line: None,
            message: error.to_string(),
            source: Some(error),
        }
    }

    /// Adds a line number, counted from 1.
    #[must_use]
    pub fn in_line(mut self, line: u64) -> Self {
        self.line = Some(line);
        self
    }

    /// Returns whether the data has no rows.
    pub fn is_empty(&self) -> bool {
        self.message == NO_ROWS
    }

    /// Creates an error about a line of a source, counted from 1.
    pub fn at(place: impl Into<String>, line: u64, message: impl Into<String>) -> Self {
        Self {
            place: quote::bounded(&place.into()),
            line: Some(line),
            message: quote::bounded(&message.into()),
            source: None,
        }
    }
}

impl fmt::Display for DataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place)?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for DataError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let inner = self.source.as_ref()?.get_ref()?;
        Some(inner)
    }
}

/// Profiles all sources in order as one data set.
///
/// # Errors
/// The first source that cannot be read or parsed, by name and line; or data without rows.
pub fn profile(
    sources: Vec<Source>,
    format: &Format,
    baseline: Option<&Baseline>,
) -> Result<Profile, DataError> {
    let mut profiler = Profiler::new(baseline)?;
    for source in sources {
        let name = source.name;
        let partition = source.partition;
        let input = (source.open)().map_err(|error| DataError::unread(&name, error))?;
        match format {
            Format::Csv => {
                let input = decode::decoded(&name, input.into_reader())?;
                csv(&name, input, &partition, &mut profiler)?;
            }
            Format::Parquet => parquet::read(&name, input, &partition, &mut profiler)?,
            Format::Jsonl => {
                let input = decode::decoded(&name, input.into_reader())?;
                let input = BufReader::with_capacity(256 * 1024, input);
                jsonl::read(&name, input, &partition, &mut profiler)?;
            }
            Format::Capture(window) => {
                let input = decode::decoded(&name, input.into_reader())?;
                let input = BufReader::with_capacity(256 * 1024, input);
                capture::read(&name, input, *window, &mut profiler)?;
            }
        }
    }
    profiler.finish()
}

/// Profiles a CSV source: reads and splits the next block while the columns process the last one.
fn csv(
    name: &str,
    input: Box<dyn Read + Send>,
    partition: &[(String, Option<String>)],
    profiler: &mut Profiler,
) -> Result<(), DataError> {
    let (mut reader, names) = csv::Reader::open(name, input)?;
    profiler
        .begin(names, partition)
        .map_err(|message| DataError::at(name, 1, message))?;
    let (mut now, mut next) = (Batch::default(), Batch::default());
    let mut more = reader.fill(&mut now)?;
    while more {
        if reader.is_at_end() {
            profiler.batch(&now, now.bytes.len() > SMALL);
            break;
        }
        let (filled, ()) = rayon::join(|| reader.fill(&mut next), || profiler.batch(&now, true));
        more = filled?;
        std::mem::swap(&mut now, &mut next);
    }
    profiler.end(partition);
    Ok(())
}

/// Reads and splits (CSV) or decodes (Parquet) every source on one thread and does nothing else: the
/// lower bound that benchmarks compare a profile with. Returns the numbers of rows and columns.
///
/// # Errors
/// As [`profile`]; captured traffic and JSON Lines are refused.
pub fn parse_only(sources: Vec<Source>, format: &Format) -> Result<(u64, usize), DataError> {
    let (mut rows, mut columns) = (0, 0);
    for source in sources {
        let name = source.name;
        let input = (source.open)().map_err(|error| DataError::unread(&name, error))?;
        match format {
            Format::Csv => {
                let input = decode::decoded(&name, input.into_reader())?;
                let (mut reader, names) = csv::Reader::open(&name, input)?;
                columns = names.len();
                let mut batch = Batch::default();
                while reader.fill(&mut batch)? {
                    rows += batch.rows() as u64;
                }
            }
            Format::Parquet => {
                let (more, width) = parquet::decode(&name, input)?;
                rows += more;
                columns = width;
            }
            Format::Jsonl | Format::Capture(_) => {
                return Err(DataError::new(
                    name,
                    "only CSV and Parquet can be parsed without a profile",
                ));
            }
        }
    }
    Ok((rows, columns))
}
