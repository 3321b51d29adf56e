//! `mlops notebook logs`: what life-cycle scripts and JupyterLab wrote.

use std::fmt;

use anyhow::Result;
use jiff::Timestamp;
use mlops_core::text::{clean, exact_time};
use serde::Serialize;

use super::NotebookArgs;
use crate::aws::sagemaker::notebooks::LOG_GROUP;
use crate::aws::{Clients, logs};

/// Print the notebook's life-cycle logs
///
/// Prints the newest lines of the scripts that ran when the notebook was created and started; with
/// --jupyter, those of JupyterLab, too. The logs of earlier starts are in the same streams.
///
/// Example: mlops notebook logs --tail 50
#[derive(Debug, clap::Args)]
pub struct LogArgs {
    #[command(flatten)]
    pub(super) notebook: NotebookArgs,
    /// Print the log of JupyterLab, too
    #[arg(long)]
    jupyter: bool,
    /// Maximum number of lines of each log
    #[arg(long, value_name = "NUMBER", default_value_t = 200, value_parser = clap::value_parser!(i32).range(1..=10_000))]
    tail: i32,
    /// Print the time of each line
    #[arg(long)]
    timestamps: bool,
}

/// The logs of a notebook.
#[derive(Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "named as in the JSON")]
pub struct Logs {
    notebook: String,
    logs: Vec<Stream>,
    #[serde(skip)]
    timestamps: bool,
}

/// A log stream.
#[derive(Debug, Serialize)]
pub(super) struct Stream {
    /// Its name without that of the notebook, such as `LifecycleConfigOnStart`.
    pub(super) stream: String,
    pub(super) events: Vec<Line>,
}

/// A line of a log.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    time: Option<Timestamp>,
    message: String,
}

pub(super) async fn run(clients: &Clients, name: &str, args: &LogArgs) -> Result<Logs> {
    let mut found = streams(clients, name, args.tail).await?;
    if !args.jupyter {
        found.retain(Stream::is_of_a_script);
    }
    Ok(Logs {
        notebook: name.to_owned(),
        logs: found,
        timestamps: args.timestamps,
    })
}

/// The end of each life-cycle log.
pub(super) async fn lifecycle(clients: &Clients, name: &str, tail: i32) -> Result<Vec<Stream>> {
    let mut found = streams(clients, name, tail).await?;
    found.retain(Stream::is_of_a_script);
    Ok(found)
}

async fn streams(clients: &Clients, name: &str, tail: i32) -> Result<Vec<Stream>> {
    let found = logs::tails(clients, LOG_GROUP, name, tail).await?;
    let prefix = format!("{name}/");
    Ok(found
        .into_iter()
        .map(|(stream, events)| Stream {
            stream: stream.trim_start_matches(&prefix).to_owned(),
            events: events
                .into_iter()
                .map(|event| Line {
                    time: event.time,
                    message: event.message,
                })
                .collect(),
        })
        .collect())
}

impl Stream {
    fn is_of_a_script(&self) -> bool {
        self.stream.starts_with("LifecycleConfig")
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&clean(&self.message))
    }
}

impl fmt::Display for Logs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.logs.is_empty() {
            return writeln!(f, "the notebook {} has written no log", self.notebook);
        }
        for log in &self.logs {
            for line in &log.events {
                if self.timestamps {
                    write!(f, "{}  ", line.time.map(exact_time).unwrap_or_default())?;
                }
                writeln!(f, "{}  {line}", clean(&log.stream))?;
            }
        }
        Ok(())
    }
}
