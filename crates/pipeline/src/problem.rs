//! Problems of a definition, and their locations.

use std::fmt;

use mlops_core::quote;

/// A problem of a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The location, as a JSON path (`$.Steps[2].Arguments.RoleArn`).
    pub path: String,
    /// The message.
    pub message: String,
    /// The origin of the message's wording.
    pub words: Words,
}

/// The origin of a message's wording. AWS's messages have no location.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Words {
    /// AWS's message for a definition that cannot be parsed.
    Parsing,
    /// AWS's message for a function in place of a value of another type.
    Assignment,
    /// A message of this program.
    Ours,
}

impl Problem {
    /// Creates a problem at a JSON path.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            path: quote::bounded(&path.into()),
            message: quote::bounded(&message.into()),
            words: Words::Ours,
        }
    }

    /// Creates a parse error at a JSON path, in AWS's own words.
    pub(super) fn parsing(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            words: Words::Parsing,
            ..Self::new(path, message)
        }
    }

    /// Creates a problem for a function at a JSON path, in place of a value of another type.
    pub(super) fn assignment(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            words: Words::Assignment,
            ..Self::new(path, message)
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

impl std::error::Error for Problem {}
