//! The reports of `mlops runs`.

use std::fmt;

use mlops_core::text::state;
use serde::Serialize;

use super::follow::Followed;
use super::{Logs, RunDetails, RunList, Why};
use crate::aws::state::RunState;
use crate::output::Report;

/// The result of a `runs` command.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum RunsReport {
    /// `runs list`
    List(RunList),
    /// `runs show`
    Show(Box<RunDetails>),
    /// `runs logs`
    Logs(Logs),
    /// `runs logs --follow` and `runs watch`, whose lines are already printed.
    Followed(Followed),
    /// `runs why`
    Why(Box<Why>),
    /// `runs stop` and `runs retry`
    Changed(Changed),
}

/// A run that is being stopped or retried.
#[derive(Debug, Serialize)]
pub struct Changed {
    pub(super) run: String,
    pub(super) status: RunState,
    /// The stage that is retried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stage: Option<String>,
}

impl Report for RunsReport {
    fn is_printed(&self) -> bool {
        matches!(self, Self::Followed(_))
    }
}

impl fmt::Display for RunsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List(list) => list.fmt(f),
            Self::Show(shown) => shown.fmt(f),
            Self::Logs(logs) => logs.fmt(f),
            Self::Followed(_) => Ok(()),
            Self::Why(why) => why.fmt(f),
            Self::Changed(changed) => changed.fmt(f),
        }
    }
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = self.stage.as_ref();
        let stage = stage.map(|stage| format!("  from the stage {stage}"));
        writeln!(
            f,
            "{}  {}{}",
            self.run,
            state(self.status.as_str()),
            mlops_core::text::clean(&stage.unwrap_or_default())
        )
    }
}
