//! The result of `mlops status`: one report, or nothing if `--watch` has printed everything.

use std::fmt;

use serde::Serialize;

use super::StatusReport;
use crate::output::Report;

/// The result of `mlops status`.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Status {
    /// One report.
    Shown(Box<StatusReport>),
    /// `--watch` printed everything.
    Watched,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shown(report) => report.fmt(f),
            Self::Watched => Ok(()),
        }
    }
}

impl Report for Status {
    fn is_printed(&self) -> bool {
        matches!(self, Self::Watched)
    }
}
