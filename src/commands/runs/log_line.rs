//! A line of a step's log.

use std::fmt;

use jiff::Timestamp;
use mlops_core::text::{clean, exact_time};
use serde::Serialize;

use crate::aws::logs;

/// A line of a step's log.
#[derive(Debug, Clone, Serialize)]
pub(super) struct LogLine {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) step: Option<String>,
    pub(super) time: Option<Timestamp>,
    pub(super) message: String,
    #[serde(skip)]
    pub(super) timestamps: bool,
}

impl LogLine {
    pub(super) fn new(step: Option<&str>, event: logs::LogEvent, timestamps: bool) -> Self {
        Self {
            step: step.map(str::to_owned),
            time: event.time,
            message: event.message,
            timestamps,
        }
    }
}

impl fmt::Display for LogLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.timestamps {
            write!(f, "{}  ", self.time.map(exact_time).unwrap_or_default())?;
        }
        if let Some(step) = &self.step {
            write!(f, "{step}  ")?;
        }
        f.write_str(&clean(&self.message))
    }
}
