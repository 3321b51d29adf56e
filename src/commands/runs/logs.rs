//! `mlops runs logs`: what the jobs of a run wrote.

use std::fmt;

use anyhow::{Result, anyhow};
use jiff::Timestamp;
use mlops_core::error::Hint;
use mlops_core::text::{clean, exact_time};
use serde::Serialize;

use super::RunsReport;
use super::follow;
use super::word::run_or_step;
use crate::aws::sagemaker::runs::{self, Run, RunStep};
use crate::aws::{Clients, logs};
use crate::context::Context;

/// Print what the jobs of a run wrote
///
/// Without RUN it is the newest run; the name of a step alone means that step of the newest run, or of
/// a run in progress. With --follow the step may start later. Upper and lower case do not matter in a
/// step's name. With --output json every line has its time; with --follow that is one JSON object per
/// line.
///
/// Example: mlops runs logs train --follow
#[derive(Debug, clap::Args)]
pub struct LogArgs {
    /// The run's id (default: the newest)
    run: Option<String>,
    /// One step only
    step: Option<String>,
    /// Print when each line was written
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
    /// The same lines with their times.
    events: Vec<LogLine>,
}

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
    pub(super) fn new(step: Option<&str>, event: logs::Event, timestamps: bool) -> Self {
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

pub(super) async fn run(
    ctx: &Context,
    clients: &Clients,
    pipeline: &str,
    args: &LogArgs,
) -> Result<RunsReport> {
    let (arn, step) = match (&args.run, &args.step) {
        (Some(only), None) => run_or_step(clients, pipeline, only).await?,
        (run, step) => (
            runs::find(clients, pipeline, run.as_deref()).await?,
            step.clone(),
        ),
    };
    let step = step.as_deref();
    if args.follow {
        let followed = follow::until_over(ctx, clients, &arn, step, args.timestamps).await?;
        return Ok(RunsReport::Followed(followed));
    }
    let run = runs::describe(clients, &arn).await?;
    let mut found = Vec::new();
    for step in chosen(&run, step)? {
        if let Some((group, job)) = step.log() {
            let events = logs::Reader::new(group, job).read(clients).await?;
            found.push(StepLog {
                step: step.name.clone(),
                lines: events.iter().map(|event| event.message.clone()).collect(),
                events: events
                    .into_iter()
                    .map(|event| LogLine::new(None, event, args.timestamps))
                    .collect(),
            });
        }
    }
    Ok(RunsReport::Logs(Logs {
        run: run.run,
        logs: found,
        timestamps: args.timestamps,
    }))
}

/// The steps of this name: of exactly this one, else in any case.
pub(super) fn named<'a>(steps: &'a [RunStep], name: &str) -> Vec<&'a RunStep> {
    let exact: Vec<&RunStep> = steps.iter().filter(|step| step.name == name).collect();
    if !exact.is_empty() {
        return exact;
    }
    let lower = name.to_lowercase();
    let same = |step: &&RunStep| step.name.to_lowercase() == lower;
    steps.iter().filter(same).collect()
}

/// All steps, or those of a name; an error that names the steps there are.
pub(super) fn chosen<'a>(run: &'a Run, name: Option<&str>) -> Result<Vec<&'a RunStep>> {
    let Some(name) = name else {
        return Ok(run.steps.iter().collect());
    };
    let found = named(&run.steps, name);
    if !found.is_empty() {
        return Ok(found);
    }
    let steps: Vec<&str> = run.steps.iter().map(|step| step.name.as_str()).collect();
    Err(anyhow!(
        "the run `{}` has started no step `{name}`",
        run.run
    ))
    .hint(if steps.is_empty() {
        "it has started no step at all".to_owned()
    } else {
        format!("its steps are {}", steps.join(", "))
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steps_name_is_found_in_any_case() {
        let step = |name: &str| RunStep {
            name: name.to_owned(),
            kind: Some("Training"),
            status: "Succeeded".to_owned(),
            started: None,
            ended: None,
            failure: None,
            arn: None,
            outcome: None,
            cached_from: None,
            attempts: None,
        };
        let steps = [step("Train"), step("train"), step("Evaluate")];
        let names = |name: &str| -> Vec<&str> {
            let found = named(&steps, name);
            found.into_iter().map(|step| step.name.as_str()).collect()
        };
        assert_eq!(names("train"), ["train"]);
        assert_eq!(names("TRAIN"), ["Train", "train"]);
        assert_eq!(names("evaluate"), ["Evaluate"]);
        assert!(names("eval").is_empty());
    }
}
