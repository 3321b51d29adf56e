//! What `mlops runs` says.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use crate::aws::sagemaker::runs::{Run, RunStep, RunSummary};
use crate::output::{Report, table};

/// What a `runs` command found.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum RunsReport {
    /// `runs list`
    List(RunList),
    /// `runs show`
    Show(Box<Shown>),
    /// `runs logs`
    Logs(Logs),
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
pub struct Shown {
    #[serde(flatten)]
    pub(super) run: Run,
    pub(super) parameters: BTreeMap<String, String>,
    #[serde(skip)]
    pub(super) now: Timestamp,
}

/// The logs of a run.
#[derive(Debug, Serialize)]
pub struct Logs {
    pub(super) run: String,
    pub(super) logs: Vec<StepLog>,
}

#[derive(Debug, Serialize)]
pub(super) struct StepLog {
    pub(super) step: String,
    pub(super) lines: Vec<String>,
}

/// A run that was asked to stop.
#[derive(Debug, Serialize)]
pub struct Stopped {
    pub(super) run: String,
    pub(super) status: String,
}

impl Report for RunsReport {}

impl fmt::Display for RunsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List(list) => list.fmt(f),
            Self::Show(shown) => shown.fmt(f),
            Self::Logs(logs) => logs.fmt(f),
            Self::Stopped(stopped) => writeln!(f, "{}  {}", stopped.run, stopped.status),
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
                run.status.clone(),
                run.started.map(crate::output::time).unwrap_or_default(),
                run.origin.branch.clone().unwrap_or_default(),
                run.origin.short_commit(),
            ]
        });
        f.write_str(&table(
            &["RUN", "STATUS", "STARTED", "BRANCH", "COMMIT"],
            rows,
        ))
    }
}

/// What there is to know about a step beyond its status.
fn note(step: &RunStep) -> String {
    let cached = step
        .cached_from
        .as_ref()
        .map(|run| format!("cached from {run}"));
    let attempts = step.attempts.map(|count| format!("{count} attempts"));
    let parts = [cached, attempts, step.failure.clone(), step.outcome.clone()];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let run = &self.run;
        writeln!(f, "run       {}  {}", run.run, run.status)?;
        if let Some(started) = run.started {
            writeln!(f, "started   {}", crate::output::time(started))?;
        }
        write!(f, "{}", run.origin)?;
        if let Some(failure) = &run.failure {
            writeln!(f, "failure   {failure}")?;
        }
        let rows = run.steps.iter().map(|step| {
            let time = step.seconds(self.now).map(|s| format!("{s} s"));
            vec![
                step.name.clone(),
                step.kind.unwrap_or("-").to_owned(),
                step.status.clone(),
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

impl fmt::Display for Logs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for log in &self.logs {
            for line in &log.lines {
                writeln!(f, "{}  {}", log.step, crate::output::clean(line))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Issue 8, 3.3: a step whose result came from the cache says from which run.
    #[test]
    fn issue_8_3_3_a_note_names_the_run_of_a_cache_hit() {
        let mut step = RunStep {
            name: "Train".to_owned(),
            kind: Some("Training"),
            status: "Succeeded".to_owned(),
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
