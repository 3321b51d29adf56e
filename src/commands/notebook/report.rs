//! The reports of `mlops notebook`.

use std::fmt;

use mlops_core::text::{clean, state, time};
use serde::Serialize;

use super::change::Changed;
use super::logs::Logs;
use super::open::Opened;
use crate::aws::sagemaker::notebooks::Notebook;
use crate::context::Context;
use crate::output::Report;

/// The result of a `notebook` command.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum NotebookReport {
    /// `notebook start` and `notebook stop`
    Changed(Changed),
    /// `notebook status`
    Status(Box<Status>),
    /// `notebook open`
    Opened(Opened),
    /// `notebook logs`
    Logs(Logs),
}

/// The state of a notebook.
#[derive(Debug, Serialize)]
pub struct Status {
    #[serde(flatten)]
    notebook: Notebook,
    #[serde(skip)]
    next: String,
}

impl NotebookReport {
    pub(super) fn status(ctx: &Context, notebook: Notebook) -> Self {
        let next = if notebook.status.is_in_service() {
            "notebook open"
        } else if notebook.failure_reason.is_some() {
            "notebook logs"
        } else {
            "notebook start"
        };
        let next = ctx.command(next);
        Self::Status(Box::new(Status { notebook, next }))
    }
}

impl Report for NotebookReport {}

impl fmt::Display for NotebookReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed(changed) => changed.fmt(f),
            Self::Status(status) => status.fmt(f),
            Self::Opened(opened) => opened.fmt(f),
            Self::Logs(logs) => logs.fmt(f),
        }
    }
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let already = if self.changed_now { "" } else { "already " };
        let Notebook {
            notebook, status, ..
        } = &self.notebook;
        writeln!(
            f,
            "notebook {notebook} is {already}{}",
            state(status.as_str())
        )?;
        writeln!(f, "next: {}", self.next)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Notebook {
            notebook,
            status,
            failure_reason,
            instance_type,
            volume_gib,
            lifecycle_configuration,
            repositories,
            changed,
        } = &self.notebook;
        let mut row = |label: &str, value: String| writeln!(f, "{label:<14}{value}");
        row("notebook", clean(notebook))?;
        row("status", state(status.as_str()))?;
        if let Some(reason) = failure_reason {
            row("reason", clean(reason))?;
        }
        row(
            "instance",
            clean(instance_type.as_deref().unwrap_or("unknown")),
        )?;
        if let Some(size) = volume_gib {
            row("volume", format!("{size} GiB"))?;
        }
        if let Some(configuration) = lifecycle_configuration {
            row("life cycle", clean(configuration))?;
        }
        if !repositories.is_empty() {
            row("repositories", clean(&repositories.join(", ")))?;
        }
        if let Some(changed) = changed {
            row("changed", time(*changed))?;
        }
        row("next", self.next.clone())
    }
}
