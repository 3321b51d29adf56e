//! The reports of `mlops runs`.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use mlops_core::text::{duration, state, table};
use serde::Serialize;

use super::follow::Followed;
use super::{Logs, Why};
use crate::aws::sagemaker::models;
use crate::aws::sagemaker::runs::{Run, RunStep, RunSummary};
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
    /// `runs logs --follow`, whose lines are already printed.
    Followed(Followed),
    /// `runs why`
    Why(Box<Why>),
    /// `runs stop`
    Stopped(Stopped),
}

/// The newest runs.
#[derive(Debug, Serialize)]
pub struct RunList {
    pub(super) runs: Vec<RunSummary>,
    #[serde(skip)]
    pub(super) train: String,
}

/// A run.
#[derive(Debug, Serialize)]
pub struct RunDetails {
    #[serde(flatten)]
    pub(super) run: Run,
    /// Duration; so far, for a run in progress.
    pub(super) seconds: Option<i64>,
    pub(super) parameters: BTreeMap<String, String>,
    #[serde(skip)]
    pub(super) now: Timestamp,
}

/// A run that is being stopped.
#[derive(Debug, Serialize)]
pub struct Stopped {
    pub(super) run: String,
    pub(super) status: RunState,
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
            Self::Stopped(stopped) => {
                writeln!(f, "{}  {}", stopped.run, state(stopped.status.as_str()))
            }
        }
    }
}

impl fmt::Display for RunList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.runs.is_empty() {
            return writeln!(f, "no runs yet: start one with `{}`", self.train);
        }
        let rows = self.runs.iter().map(|run| {
            vec![
                run.run.clone(),
                run.status.to_string(),
                run.started.map(mlops_core::text::time).unwrap_or_default(),
                run.seconds.map(duration).unwrap_or_default(),
                run.model_version
                    .map(|version| version.to_string())
                    .unwrap_or_default(),
                run.origin.branch.clone().unwrap_or_default(),
                run.origin.short_commit() + if run.origin.dirty { models::DIRTY } else { "" },
            ]
        });
        f.write_str(&table(
            &[
                "RUN", "STATUS", "STARTED", "TIME", "MODEL", "BRANCH", "COMMIT",
            ],
            rows,
        ))?;
        let refused = self
            .runs
            .iter()
            .filter_map(|run| Some((run, run.gate.as_ref()?)));
        for (index, (run, gate)) in refused.enumerate() {
            if index == 0 {
                writeln!(f)?;
            }
            writeln!(
                f,
                "{} refused: {}",
                run.run,
                mlops_core::text::clean(&gate.sentence())
            )?;
        }
        Ok(())
    }
}

/// Returns details of a step beyond its status.
fn note(step: &RunStep) -> String {
    let cached = step
        .cached_from
        .as_ref()
        .map(|run| format!("cached from {run}"));
    let attempts = step.attempts.map(|count| format!("{count} attempts"));
    let parts = [cached, attempts, step.failure.clone(), step.outcome.clone()];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

impl fmt::Display for RunDetails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let run = &self.run;
        writeln!(f, "run       {}  {}", run.run, state(run.status.as_str()))?;
        if let Some(started) = run.started {
            writeln!(f, "started   {}", mlops_core::text::time(started))?;
        }
        if let Some(seconds) = self.seconds {
            writeln!(f, "time      {}", duration(seconds))?;
        }
        write!(f, "{}", run.origin)?;
        if let Some(version) = run.model_version {
            writeln!(f, "model     version {version}")?;
        }
        match (&run.gate, &run.failure) {
            (Some(gate), _) => {
                writeln!(f, "refused   {}", mlops_core::text::clean(&gate.message))?;
                for check in &gate.checks {
                    writeln!(
                        f,
                        "          {}",
                        mlops_core::text::clean(&check.to_string())
                    )?;
                }
                if let Some(note) = &gate.note {
                    writeln!(f, "          {}", mlops_core::text::clean(note))?;
                }
                if !gate.metrics.is_empty() {
                    writeln!(f, "metrics   {}", models::sentence(&gate.metrics))?;
                }
            }
            (None, Some(failure)) => {
                writeln!(f, "failure   {}", mlops_core::text::clean(failure))?;
            }
            (None, None) => {}
        }
        let rows = run.steps.iter().map(|step| {
            let time = step.seconds(self.now).map(duration);
            vec![
                step.name.clone(),
                step.shown_kind().to_owned(),
                step.shown_status().to_owned(),
                time.unwrap_or_default(),
                note(step),
            ]
        });
        writeln!(f)?;
        f.write_str(&table(&["STEP", "TYPE", "STATUS", "TIME", "NOTE"], rows))?;
        if !self.parameters.is_empty() {
            let rows = self
                .parameters
                .iter()
                .map(|(name, value)| vec![name.clone(), value.clone()]);
            writeln!(f)?;
            f.write_str(&table(&["PARAMETER", "VALUE"], rows))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_sagemaker::types::StepStatus;
    use mlops_pipeline::StepType;

    use super::*;

    /// Issue 8, 3.3: a step whose result came from the cache names the run that produced it.
    #[test]
    fn issue_8_3_3_a_note_names_the_run_of_a_cache_hit() {
        let mut step = RunStep {
            name: "Train".to_owned(),
            kind: Some(StepType::Training),
            status: StepStatus::Succeeded.into(),
            started: None,
            ended: None,
            failure: None,
            arn: None,
            outcome: None,
            cached_from: Some("abcdef123456".to_owned()),
            attempts: None,
        };
        assert_eq!(note(&step), "cached from abcdef123456");
        step.cached_from = None;
        step.attempts = Some(3);
        step.failure = Some("no rows".to_owned());
        assert_eq!(note(&step), "3 attempts; no rows");
    }
}
