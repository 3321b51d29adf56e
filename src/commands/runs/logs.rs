//! `mlops runs logs`: the logs of a run's jobs and builds.

use std::fmt;

use anyhow::Result;
use mlops_core::text::clean;
use serde::Serialize;

use super::RunsReport;
use super::follow;
use super::log_line::LogLine;
use super::steps::chosen;
use super::word::run_or_step;
use crate::aws::{Clients, logs, project_runs};
use crate::context::Context;

/// Print the logs of a run's jobs and builds
///
/// Without RUN, prints the newest run. A step's or action's name alone selects it in the newest run,
/// or in a run in progress. With --follow, the step need not have started. Names are
/// case-insensitive. With --output json, every line has a timestamp; with --follow, the output is
/// one JSON object per line.
///
/// Example: mlops runs logs train --follow
#[derive(Debug, clap::Args)]
pub struct LogArgs {
    /// The run's id [default: the newest]
    run: Option<String>,
    /// Print this step or action only
    step: Option<String>,
    /// Print the time of each line
    #[arg(long)]
    timestamps: bool,
    /// Print new lines as they are written, until the run ends
    #[arg(long, short)]
    follow: bool,
}

/// The logs of a run.
#[derive(Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "named as in the JSON")]
pub struct Logs {
    run: String,
    logs: Vec<StepLog>,
    #[serde(skip)]
    timestamps: bool,
}

#[derive(Debug, Serialize)]
struct StepLog {
    step: String,
    lines: Vec<String>,
    /// The same lines with their timestamps.
    events: Vec<LogLine>,
}

pub(super) async fn run(
    ctx: &Context,
    clients: &Clients,
    project: &str,
    args: &LogArgs,
) -> Result<RunsReport> {
    let (run, step) = match (&args.run, &args.step) {
        (Some(only), None) => run_or_step(clients, project, only).await?,
        (run, step) => (
            project_runs::find(clients, project, run.as_deref()).await?,
            step.clone(),
        ),
    };
    let step = step.as_deref();
    if args.follow {
        let followed =
            follow::until_over(ctx, clients, project, &run, step, args.timestamps).await?;
        return Ok(RunsReport::Followed(followed));
    }
    let parts = project_runs::describe(clients, project, &run)
        .await?
        .parts();
    let mut found = Vec::new();
    for part in chosen(run.id(), &parts, step)? {
        if let Some(log) = &part.log {
            let mut reader = logs::Reader::new(log.clone());
            let events = reader.read(clients).await?;
            if reader.is_missing() {
                ctx.progress
                    .say(format!("the log of `{}` does not exist", clean(&part.name)));
            }
            found.push(StepLog {
                step: part.name.clone(),
                lines: events.iter().map(|event| event.message.clone()).collect(),
                events: events
                    .into_iter()
                    .map(|event| LogLine::new(None, event, args.timestamps))
                    .collect(),
            });
        }
    }
    Ok(RunsReport::Logs(Logs {
        run: run.id().to_owned(),
        logs: found,
        timestamps: args.timestamps,
    }))
}

impl fmt::Display for Logs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for log in &self.logs {
            for line in &log.events {
                let line = LogLine {
                    step: Some(log.step.clone()),
                    timestamps: self.timestamps,
                    ..line.clone()
                };
                writeln!(f, "{line}")?;
            }
        }
        Ok(())
    }
}
