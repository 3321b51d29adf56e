//! The reports of `mlops monitor`.

use std::fmt;

use mlops_core::error::Exit;

use super::{MonitorReport, Monitored};
use crate::output::Report;

impl Report for MonitorReport {
    fn exit(&self) -> Exit {
        match self {
            Self::Monitored(monitored) => monitored.exit,
            Self::Suggested(_) | Self::Switched(_) | Self::Status(_) | Self::Tuned(_) => Exit::Done,
        }
    }
}

impl fmt::Display for MonitorReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Monitored(monitored) => monitored.fmt(f),
            Self::Suggested(suggested) => suggested.fmt(f),
            Self::Switched(switched) => switched.fmt(f),
            Self::Status(status) => status.fmt(f),
            Self::Tuned(tuned) => tuned.fmt(f),
        }
    }
}

impl fmt::Display for Monitored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.page {
            Some(page) => writeln!(f, "wrote {}", page.display()),
            None => write!(f, "{}\nstored in {}", self.report, self.stored),
        }
    }
}
