//! `mlops runs show`: a run on one screen.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Result;
use jiff::Timestamp;
use mlops_core::text::{clean, duration, state, table, time};
use serde::Serialize;

use super::RunsReport;
use crate::aws::Clients;
use crate::aws::delivery::executions::{Execution, Revision};
use crate::aws::project_runs::{self, ProjectRun, RunKind, RunRef};
use crate::aws::sagemaker::models;
use crate::aws::sagemaker::runs::{self, Run};
use crate::context::Context;

/// A run.
#[derive(Debug, Serialize)]
pub struct RunDetails {
    /// Of a training; an execution of CodePipeline has it among its fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<RunKind>,
    #[serde(flatten)]
    run: ProjectRun,
    /// Duration; so far, for a run in progress.
    seconds: Option<i64>,
    /// The parameters of a training.
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<BTreeMap<String, String>>,
    /// The next command to run.
    next: Option<String>,
    #[serde(skip)]
    now: Timestamp,
}

pub(super) async fn run(
    ctx: &Context,
    clients: &Clients,
    project: &str,
    run: Option<&str>,
) -> Result<RunsReport> {
    let run = project_runs::find(clients, project, run).await?;
    let parameters = async {
        anyhow::Ok(match &run {
            RunRef::Training { arn } => Some(runs::parameters(clients, arn).await?),
            RunRef::Delivery { .. } => None,
        })
    };
    let (shown, parameters) =
        tokio::try_join!(project_runs::describe(clients, project, &run), parameters)?;
    Ok(RunsReport::Show(Box::new(RunDetails {
        kind: matches!(shown, ProjectRun::Training(_)).then_some(RunKind::Training),
        seconds: shown.seconds(ctx.now()),
        parameters,
        next: next(&shown).map(|next| ctx.command(&next)),
        run: shown,
        now: ctx.now(),
    })))
}

/// The command that a person probably wants next; none for a training, and after a success.
fn next(run: &ProjectRun) -> Option<String> {
    let ProjectRun::Delivery(execution) = run else {
        return None;
    };
    let id = &execution.run;
    if run.parts().iter().any(|part| part.waits_for_approval) {
        Some(format!("approve {id}"))
    } else if !run.status().is_over() {
        Some(format!("runs watch {id}"))
    } else if run.status().has_succeeded() {
        None
    } else {
        Some(format!("runs why {id}"))
    }
}

impl fmt::Display for RunDetails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = state(self.run.status().as_str());
        writeln!(f, "run       {}  {status}", self.run.id())?;
        match &self.run {
            ProjectRun::Training(run) => {
                self.times(f, run.started)?;
                write!(f, "{}", run.origin)?;
                self.model(f)?;
                why_ended(f, run)?;
            }
            ProjectRun::Delivery(execution) => {
                writeln!(f, "pipeline  {}", clean(&execution.pipeline.name))?;
                sources(f, execution)?;
                self.times(f, execution.started)?;
                self.model(f)?;
                if let Some(failure) = &execution.failure {
                    writeln!(f, "status    {}", clean(failure).replace(['\n', '\t'], " "))?;
                }
            }
        }
        self.parts(f)?;
        let parameters = self.parameters.as_ref().filter(|it| !it.is_empty());
        if let Some(parameters) = parameters {
            let rows = parameters.iter();
            let rows = rows.map(|(name, value)| vec![name.clone(), value.clone()]);
            writeln!(f)?;
            f.write_str(&table(&["PARAMETER", "VALUE"], rows))?;
        }
        match &self.next {
            Some(next) => writeln!(f, "\nNext: {next}"),
            None => Ok(()),
        }
    }
}

impl RunDetails {
    fn times(&self, f: &mut fmt::Formatter<'_>, started: Option<Timestamp>) -> fmt::Result {
        if let Some(started) = started {
            writeln!(f, "started   {}", time(started))?;
        }
        if let Some(seconds) = self.seconds {
            writeln!(f, "time      {}", duration(seconds))?;
        }
        Ok(())
    }

    fn model(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.run.model_version() {
            Some(version) => writeln!(f, "model     version {version}"),
            None => Ok(()),
        }
    }

    fn parts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = self.run.parts();
        let has_stages = matches!(self.run, ProjectRun::Delivery(_));
        let rows = parts.iter().map(|part| {
            let name = if part.is_nested {
                format!("└ {}", part.name)
            } else {
                part.name.clone()
            };
            let seconds = part.seconds(self.now).map(duration);
            let stage = has_stages.then(|| part.stage.clone().unwrap_or_default());
            let cells = [
                name,
                part.kind.clone(),
                part.status.clone(),
                seconds.unwrap_or_default(),
                part.note.clone(),
            ];
            stage.into_iter().chain(cells).collect()
        });
        let header: &[&str] = if has_stages {
            &["STAGE", "ACTION", "TYPE", "STATUS", "TIME", "NOTE"]
        } else {
            &["STEP", "TYPE", "STATUS", "TIME", "NOTE"]
        };
        writeln!(f)?;
        f.write_str(&table(header, rows))
    }
}

/// Writes what started an execution.
fn sources(f: &mut fmt::Formatter<'_>, execution: &Execution) -> fmt::Result {
    if let Some(trigger) = &execution.trigger {
        writeln!(f, "event     {}", clean(&trigger.to_string()))?;
    }
    let mut revisions = execution.revisions.iter();
    let commit = revisions.find_map(|revision| Some((revision.commit()?, &revision.summary)));
    let branch = execution.branch.as_deref().unwrap_or_default();
    let (commit, summary) = commit.unzip();
    let commit: String = commit.unwrap_or_default().chars().take(7).collect();
    let summary = summary.and_then(|summary| summary.as_deref());
    let summary = summary
        .and_then(|text| text.lines().next())
        .unwrap_or_default();
    let line = format!("{branch}  {commit}  {summary}");
    writeln!(f, "branch    {}", clean(line.trim_end()))?;
    let image = execution.revisions.iter().find_map(Revision::image);
    match image {
        Some(image) => writeln!(f, "image     {image}"),
        None => Ok(()),
    }
}

/// Writes why a training ended without a model.
fn why_ended(f: &mut fmt::Formatter<'_>, run: &Run) -> fmt::Result {
    match (&run.gate, &run.failure) {
        (Some(gate), _) => {
            writeln!(f, "refused   {}", clean(&gate.message))?;
            for check in &gate.checks {
                writeln!(f, "          {}", clean(&check.to_string()))?;
            }
            if let Some(note) = &gate.note {
                writeln!(f, "          {}", clean(note))?;
            }
            if !gate.metrics.is_empty() {
                writeln!(f, "metrics   {}", models::sentence(&gate.metrics))?;
            }
            Ok(())
        }
        (None, Some(failure)) => writeln!(f, "failure   {}", clean(failure)),
        (None, None) => Ok(()),
    }
}
