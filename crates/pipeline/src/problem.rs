//! What is wrong with a definition, and where.

use std::fmt;

use mlops_core::quote;

/// Something that is wrong with a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where, as a JSON path (`$.Steps[2].Arguments.RoleArn`).
    pub path: String,
    /// What.
    pub message: String,
    /// Whose words the message has.
    pub words: Words,
}

/// Whose words a message has. AWS's come without a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Words {
    /// AWS's, for a definition that cannot be parsed.
    Parsing,
    /// AWS's, for a function in a place of another type.
    Assignment,
    /// Ours.
    Ours,
}

impl Problem {
    /// A problem at a JSON path.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            path: quote::bounded(&path.into()),
            message: quote::bounded(&message.into()),
            words: Words::Ours,
        }
    }

    /// What AWS cannot parse at a JSON path, in its own words.
    pub(super) fn parsing(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            words: Words::Parsing,
            ..Self::new(path, message)
        }
    }

    /// A function at a JSON path, in a place of another type.
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
