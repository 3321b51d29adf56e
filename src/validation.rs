//! Data validation: readers → statistics → constraints → violations, and drift.
//!
//! The engine reads tables in one pass and in bounded memory, and speaks the files of SageMaker
//! Model Monitor's analyzer: `statistics.json`, `constraints.json`, `constraint_violations.json`.
//! The algorithms are those of Deequ 2.0.2, the public library that the analyzer is built on.
//! Nothing here knows AWS, the command line or a terminal: sources are readers with a name.
//!
//! A [`Profile`] is what one pass found out; it can be merged with the profile of another part of
//! the data, and becomes [`Statistics`] at the end.

use std::fmt;
use std::io::{self, BufReader, Read};

pub mod capture;
mod categories;
pub mod check;
pub mod clarify;
pub mod constraints;
pub mod csv;
pub mod distance;
mod distinct;
pub mod drift;
pub mod explain;
pub mod files;
pub mod kll;
mod lenient;
mod moments;
pub mod opt_in;
pub mod profile;
#[cfg(test)]
mod properties;
pub mod quality;
pub mod statistics;
pub mod types;
pub mod violations;
pub mod watch;

pub use check::check;
pub use constraints::Constraints;
pub use profile::{Profile, Profiler};
pub use statistics::Statistics;
pub use violations::{Violation, Violations};

/// What data is compared with.
#[derive(Debug, Clone)]
pub struct Baseline {
    /// What must hold.
    pub constraints: Constraints,
    /// The distributions that drift is measured from; without them there is no drift check.
    pub statistics: Option<Statistics>,
}

/// How the bytes of a source are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values with a header line.
    Csv,
    /// What an endpoint captured, JSON Lines.
    Capture(capture::Window),
}

/// Bytes with a name; opened when its turn comes.
pub struct Source {
    /// A path or an address, for messages.
    pub name: String,
    /// Opens the bytes.
    pub open: Box<dyn FnOnce() -> io::Result<Box<dyn Read + Send>> + Send>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Source").field(&self.name).finish()
    }
}

/// The message when there is nothing to look at.
const NO_ROWS: &str = "there are no rows";

/// Data or a file that cannot be understood: where, and why.
#[derive(Debug)]
pub struct DataError {
    place: String,
    line: Option<u64>,
    message: String,
}

impl DataError {
    /// An error about a whole source.
    pub fn new(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            line: None,
            message: message.into(),
        }
    }

    /// Whether there was no data at all.
    pub fn is_empty(&self) -> bool {
        self.message == NO_ROWS
    }

    /// An error in a line of a source, counted from 1.
    pub fn at(place: impl Into<String>, line: u64, message: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            line: Some(line),
            message: message.into(),
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

impl std::error::Error for DataError {}

/// Reads every source in order as one data set.
///
/// # Errors
/// The first source that cannot be read or understood, by name and line; no data at all.
pub fn profile(
    sources: Vec<Source>,
    format: &Format,
    baseline: Option<&Baseline>,
) -> Result<Profile, DataError> {
    let mut profiler = Profiler::new(baseline)?;
    for source in sources {
        let name = source.name;
        let input = (source.open)().map_err(|error| DataError::new(&name, error.to_string()))?;
        let input = BufReader::with_capacity(256 * 1024, input);
        match format {
            Format::Csv => csv::read(&name, input, &mut profiler)?,
            Format::Capture(window) => capture::read(&name, input, *window, &mut profiler)?,
        }
    }
    profiler.finish()
}
