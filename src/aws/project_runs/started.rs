//! The run that a commit, an image or an approved version started.
//!
//! ```text
//! commit ── image pipeline ── digest ── ML pipeline ── version ── approval ── deploy pipeline
//! ```

use anyhow::Result;
use jiff::Timestamp;
use mlops_core::error::{Failure, Hint};
use mlops_core::names::Version;
use mlops_oci::Digest;

use super::RunRef;
use crate::aws::Clients;
use crate::aws::delivery::executions::{self, ExecutionSummary};
use crate::aws::delivery::pipelines::{self, Pipeline, PipelineKind};

/// What started a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// A pushed commit, which starts an image pipeline.
    Commit(String),
    /// An image, which starts an ML pipeline: not before `since`, because the same image may have been pushed earlier.
    Image {
        /// The image.
        digest: Digest,
        /// When the execution that pushed it started.
        since: Option<Timestamp>,
    },
    /// An approved version, which starts the deploy pipeline.
    Version(Version),
}

impl Cause {
    fn kind(&self) -> PipelineKind {
        match self {
            Self::Commit(_) => PipelineKind::Image,
            Self::Image { .. } => PipelineKind::Ml,
            Self::Version(_) => PipelineKind::Deploy,
        }
    }
}

/// What is known about a run that may not have started yet.
#[derive(Debug, PartialEq, Eq)]
pub enum Search {
    /// The run with this cause: the newest, or the first of an image.
    Found(RunRef),
    /// None, but the pipelines are busy: it may be waiting for an earlier execution.
    Busy,
    /// None, and the pipelines are idle.
    Idle,
}

/// Number of newest executions of each pipeline that are searched.
const SEARCHED: usize = 20;

/// Searches the newest executions for the run with this cause.
///
/// # Errors
/// The project has no pipelines (exit 2).
pub async fn search(clients: &Clients, project: &str, cause: &Cause) -> Result<Search> {
    let mut pipelines = pipelines::of_project(clients, project).await?;
    pipelines.retain(|pipeline| pipeline.kind == cause.kind());
    if pipelines.is_empty() {
        return Err(Failure::usage(format!(
            "{project} has no pipeline that starts by itself"
        )))
        .hint(format!(
            "deploy them with `{}` (docs/delivery.md)",
            clients.command("init --delivery")
        ));
    }
    let mut executed = executions::list_all(clients, &pipelines, SEARCHED, false).await?;
    executed.sort_by_key(|execution| std::cmp::Reverse(execution.started));
    match cause {
        // A later run with the same image is a retraining.
        Cause::Image { .. } => executed.reverse(),
        // The deploy pipeline stops an execution that has nothing to deploy: another one does, or did.
        Cause::Version(_) => executed.retain(|execution| !execution.status.was_stopped()),
        Cause::Commit(_) => {}
    }
    for execution in &executed {
        let is_wanted = match cause {
            Cause::Version(version) => {
                let (pipeline, id) = (&execution.pipeline, &execution.run);
                executions::version(clients, pipeline, id).await? == Some(*version)
            }
            _ => is_caused(execution, cause),
        };
        if is_wanted {
            return Ok(Search::Found(reference(execution)));
        }
    }
    let is_busy = executed.iter().any(|it| !it.status.is_over());
    Ok(if is_busy { Search::Busy } else { Search::Idle })
}

fn reference(execution: &ExecutionSummary) -> RunRef {
    RunRef::Delivery {
        pipeline: Pipeline::clone(&execution.pipeline),
        id: execution.run.clone(),
    }
}

/// Whether the sources of an execution are what the cause names.
fn is_caused(execution: &ExecutionSummary, cause: &Cause) -> bool {
    let mut revisions = execution.revisions.iter();
    match cause {
        Cause::Commit(commit) => revisions.any(|it| it.commit() == Some(commit)),
        Cause::Image { digest, since } => {
            let is_later = match (execution.started, since) {
                (Some(started), Some(since)) => started >= *since,
                _ => true,
            };
            is_later && revisions.any(|it| it.image() == Some(*digest))
        }
        Cause::Version(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::delivery::executions::Revision;
    use crate::aws::state::DeliveryState;

    fn execution(revision: &str, started: &str) -> ExecutionSummary {
        ExecutionSummary {
            run: "3f2a9c1e-8b1d-4c3e-9f00-0123456789ab".to_owned(),
            pipeline: Pipeline {
                name: "flights-ml-develop".to_owned(),
                kind: PipelineKind::Ml,
                tag: Some("develop".to_owned()),
            },
            status: DeliveryState::of(None),
            summary: None,
            started: Some(started.parse().unwrap()),
            changed: None,
            trigger: None,
            revisions: vec![Revision {
                action: "Source".to_owned(),
                id: Some(revision.to_owned()),
                summary: None,
                url: None,
            }],
            branch: None,
            builds: Vec::new(),
        }
    }

    #[test]
    fn a_commit_starts_the_execution_with_its_revision() {
        let commit = "a1".repeat(20);
        let found = execution(&commit, "2026-11-30T12:00:00Z");
        assert!(is_caused(&found, &Cause::Commit(commit)));
        assert!(!is_caused(&found, &Cause::Commit("b2".repeat(20))));
    }

    #[test]
    fn an_image_that_was_pushed_before_does_not_count() {
        let text = format!("sha256:{}", "0".repeat(64));
        let found = execution(&text, "2026-11-30T12:00:00Z");
        let digest: Digest = text.parse().unwrap();
        for (since, expected) in [
            (None, true),
            (Some("2026-11-30T12:00:00Z"), true),
            (Some("2026-11-30T12:00:01Z"), false),
        ] {
            let since = since.map(|time| time.parse().unwrap());
            let cause = Cause::Image { digest, since };
            assert_eq!(is_caused(&found, &cause), expected, "{since:?}");
        }
    }
}
