//! The pipelines of CodePipeline: their newest executions, and the approvals that wait.

use anyhow::Result;
use jiff::Timestamp;
use serde::Serialize;

use crate::aws::Clients;
use crate::aws::delivery::pipelines::{self, Pipeline};
use crate::aws::delivery::{approvals, executions};
use crate::aws::project_runs::short;
use crate::aws::state::RunState;
use crate::context::Context;

/// The newest execution of a pipeline of CodePipeline.
#[derive(Debug, Clone, Serialize)]
pub struct Delivered {
    /// The pipeline.
    #[serde(flatten)]
    pub pipeline: Pipeline,
    /// The execution's id; null if the pipeline never ran.
    pub run: Option<String>,
    /// Its state.
    pub status: Option<RunState>,
    /// When it started.
    pub started: Option<Timestamp>,
}

/// A decision that a person has to make.
#[derive(Debug, Serialize)]
pub struct Waiting {
    /// What waits.
    pub what: String,
    /// Who decides.
    pub waits_for: &'static str,
    /// The command to decide.
    pub command: String,
    /// The execution of CodePipeline that waits; null for a version.
    pub run: Option<String>,
}

impl Delivered {
    /// Returns the execution if it failed.
    pub(super) fn failed(&self) -> Option<&str> {
        let failed = self.status.as_ref()?.is_failure();
        self.run.as_deref().filter(|_| failed)
    }

    /// Formats the execution: `ml-develop 3f2a9c1e Succeeded`.
    fn words(&self) -> String {
        let name = self.pipeline.short();
        match (&self.run, &self.status) {
            (Some(run), Some(status)) => format!("{name} {} {status}", short(run)),
            _ => format!("{name} never ran"),
        }
    }
}

/// Formats all executions, those that failed first.
pub(super) fn sentence(delivered: &[Delivered]) -> String {
    let mut all: Vec<&Delivered> = delivered.iter().collect();
    all.sort_by_key(|delivered| delivered.failed().is_none());
    let all: Vec<String> = all.into_iter().map(Delivered::words).collect();
    all.join("; ")
}

/// Returns the newest execution of each pipeline, and the approvals that wait. A caller without permission to read
/// them sees the rest of the screen, and why they are missing.
pub(super) async fn read(
    ctx: &Context,
    clients: &Clients,
    project: &str,
) -> Result<(Vec<Delivered>, Vec<Waiting>)> {
    let read = async {
        let pipelines = pipelines::of_project(clients, project).await?;
        futures::try_join!(
            executions::list_all(clients, &pipelines, 1, false),
            approvals::waiting(clients, &pipelines),
        )
        .map(|(newest, waiting)| (pipelines, newest, waiting))
    };
    let ((pipelines, newest, waiting), denied) = pipelines::or_denied(read.await)?;
    if let Some(denied) = denied {
        ctx.progress
            .say(format!("cannot tell what pipelines do: {denied}"));
    }
    let delivered = pipelines.into_iter().map(|pipeline| {
        let mut all = newest.iter();
        let found = all.find(|execution| execution.pipeline == pipeline);
        Delivered {
            run: found.map(|execution| execution.run.clone()),
            status: found.map(|execution| RunState::Delivery(execution.status.clone())),
            started: found.and_then(|execution| execution.started),
            pipeline,
        }
    });
    let waiting = waiting.into_iter().map(|approval| Waiting {
        what: format!("pipeline {}", approval.pipeline.short()),
        waits_for: "an approver",
        command: ctx.command(&format!("approve {}", short(&approval.run))),
        run: Some(approval.run),
    });
    Ok((delivered.collect(), waiting.collect()))
}
