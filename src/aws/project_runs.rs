//! The runs of a project, of both kinds: executions of its SageMaker pipeline, and of its pipelines of CodePipeline.
//!
//! ```text
//! word or nothing ── find ──→ RunRef ── describe ──→ ProjectRun ── parts ──→ steps or actions, with their logs
//! project ── newest ──→ History: a run that a build started belongs to the execution of that build
//! commit, image or version ── started::search ──→ RunRef of the execution that it started
//! ```

use anyhow::{Result, anyhow};
use jiff::Timestamp;
use mlops_core::error::{Failure, Hint, hinted};
use mlops_core::names::Version;
use serde::Serialize;

use super::Clients;
use super::delivery::executions::{self, Execution};
use super::delivery::pipelines::{self, Pipeline};
use super::sagemaker::runs::{self, Run};
use super::state::RunState;

mod history;
mod parts;
pub mod started;

pub use history::{History, ListedRun, RunKind, RunSource, newest};
pub use parts::RunPart;

/// Fewest characters of an execution's id that identify it.
const SHORTEST: usize = 4;

/// Length of the id of an execution of CodePipeline, a UUID.
const UUID: usize = 36;

/// Number of newest executions of each pipeline to search for an abbreviated id.
const SEARCHED: usize = 100;

/// Where a run is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunRef {
    /// An execution of the SageMaker pipeline.
    Training {
        /// Its ARN.
        arn: String,
    },
    /// An execution of a pipeline of CodePipeline.
    Delivery {
        /// The pipeline.
        pipeline: Pipeline,
        /// The execution's id.
        id: String,
    },
}

impl RunRef {
    /// The run's id.
    pub fn id(&self) -> &str {
        match self {
            Self::Training { arn } => runs::id(arn),
            Self::Delivery { id, .. } => id,
        }
    }
}

/// A run of either kind. In JSON, each kind has its own fields.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum ProjectRun {
    /// An execution of the SageMaker pipeline.
    Training(Box<Run>),
    /// An execution of a pipeline of CodePipeline.
    Delivery(Box<Execution>),
}

impl ProjectRun {
    /// Its id.
    pub fn id(&self) -> &str {
        match self {
            Self::Training(run) => &run.run,
            Self::Delivery(execution) => &execution.run,
        }
    }

    /// Its state.
    pub fn status(&self) -> &RunState {
        match self {
            Self::Training(run) => &run.status,
            Self::Delivery(execution) => &execution.status,
        }
    }

    /// How long it took, or has taken until `now`, in seconds.
    pub fn seconds(&self, now: Timestamp) -> Option<i64> {
        match self {
            Self::Training(run) => run.seconds(now),
            Self::Delivery(execution) => execution.seconds(now),
        }
    }

    /// The model version that came out.
    pub fn model_version(&self) -> Option<Version> {
        match self {
            Self::Training(run) => run.model_version,
            Self::Delivery(execution) => execution.model_version,
        }
    }
}

/// Returns the first characters of an execution's UUID, for people; other ids are short.
pub fn short(id: &str) -> &str {
    if is_uuid_prefix(id) {
        id.split('-').next().unwrap_or(id)
    } else {
        id
    }
}

/// Returns true for a UUID, or the beginning of one. Ids of SageMaker's executions have 12 characters without a
/// hyphen, so that a beginning of more than 8 characters cannot be one of them.
fn is_uuid_prefix(word: &str) -> bool {
    let is_right = |(at, c): (usize, char)| match at {
        8 | 13 | 18 | 23 => c == '-',
        _ => c.is_ascii_hexdigit(),
    };
    (SHORTEST..=UUID).contains(&word.len()) && word.chars().enumerate().all(is_right)
}

/// Returns true if a word is the id of an execution of CodePipeline, or the beginning of it.
pub fn identifies(word: &str, id: &str) -> bool {
    is_uuid_prefix(word) && id.starts_with(&word.to_lowercase())
}

/// Finds a run: by its id (for an execution of CodePipeline, the beginning is enough), or the newest.
pub async fn find(clients: &Clients, project: &str, run: Option<&str>) -> Result<RunRef> {
    match run {
        Some(word) if is_uuid_prefix(word) => match find_execution(clients, project, word).await? {
            Some(found) => Ok(found),
            None if word.len() < UUID => training(clients, project, run).await,
            None => Err(anyhow!("no run `{word}`")).hint(format!(
                "list the runs with `{}`",
                clients.command("runs list")
            )),
        },
        Some(_) => training(clients, project, run).await,
        None => {
            let history = newest(clients, project, 1).await?;
            match history.first() {
                Some(found) => Ok(found),
                None => training(clients, project, None).await,
            }
        }
    }
}

async fn training(clients: &Clients, project: &str, run: Option<&str>) -> Result<RunRef> {
    let arn = runs::find(clients, project, run).await?;
    Ok(RunRef::Training { arn })
}

/// Finds an execution of CodePipeline by its id or the beginning of it. Several are an error (exit 2).
async fn find_execution(clients: &Clients, project: &str, word: &str) -> Result<Option<RunRef>> {
    let pipelines = pipelines::of_project(clients, project).await?;
    if word.len() == UUID {
        let id = word.to_lowercase();
        for pipeline in pipelines {
            if executions::state(clients, &pipeline, &id).await?.is_some() {
                return Ok(Some(RunRef::Delivery { pipeline, id }));
            }
        }
        return Ok(None);
    }
    let all = executions::list_all(clients, &pipelines, SEARCHED, false).await?;
    let mut matching = all.into_iter().filter(|found| identifies(word, &found.run));
    let Some(first) = matching.next() else {
        return Ok(None);
    };
    let others: Vec<String> = matching.map(|found| found.run).collect();
    if others.is_empty() {
        return Ok(Some(RunRef::Delivery {
            pipeline: first.pipeline,
            id: first.run,
        }));
    }
    let error = Failure::usage(format!("several executions begin with `{word}`"));
    let names = [vec![first.run], others].concat().join(", ");
    Err(hinted(error, format!("pass more of the id: {names}")))
}

/// Describes a run.
pub async fn describe(clients: &Clients, project: &str, run: &RunRef) -> Result<ProjectRun> {
    Ok(match run {
        RunRef::Training { arn } => {
            ProjectRun::Training(Box::new(runs::describe(clients, arn).await?))
        }
        RunRef::Delivery { pipeline, id } => ProjectRun::Delivery(Box::new(
            executions::describe(clients, project, pipeline, id).await?,
        )),
    })
}

/// Returns true if the run exists; `find` does not look up complete ids of SageMaker's runs.
pub async fn exists(clients: &Clients, run: &RunRef) -> Result<bool> {
    match run {
        RunRef::Training { arn } => runs::exists(clients, arn).await,
        RunRef::Delivery { .. } => Ok(true),
    }
}

/// Stops a run, and returns its state. `abandon` does not wait for the actions of an execution of CodePipeline.
pub async fn stop(clients: &Clients, run: &RunRef, abandon: bool) -> Result<RunState> {
    match run {
        RunRef::Training { .. } if abandon => {
            let error = Failure::usage("--abandon is for executions of CodePipeline");
            Err(hinted(
                error,
                "a run of SageMaker stops its jobs: drop --abandon",
            ))
        }
        RunRef::Training { arn } => {
            runs::stop(clients, arn).await?;
            runs::state(clients, arn).await
        }
        RunRef::Delivery { pipeline, id } => {
            executions::stop(clients, &pipeline.name, id, abandon).await?;
            delivery_state(clients, pipeline, id).await
        }
    }
}

/// Continues a failed or stopped run where it ended. Returns its state and, of an execution of CodePipeline, the stage.
pub async fn retry(clients: &Clients, run: &RunRef) -> Result<(RunState, Option<String>)> {
    match run {
        RunRef::Training { arn } => {
            runs::retry(clients, arn).await?;
            Ok((runs::state(clients, arn).await?, None))
        }
        RunRef::Delivery { pipeline, id } => {
            let execution = executions::outline(clients, pipeline, id).await?;
            let stage = executions::retry(clients, &execution).await?;
            Ok((delivery_state(clients, pipeline, id).await?, Some(stage)))
        }
    }
}

async fn delivery_state(clients: &Clients, pipeline: &Pipeline, id: &str) -> Result<RunState> {
    let state = executions::state(clients, pipeline, id).await?;
    let state = state.ok_or_else(|| anyhow!("the execution {id} was deleted"))?;
    Ok(RunState::Delivery(state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_sagemaker_is_not_the_beginning_of_a_uuid() {
        for word in [
            "3f2a",
            "3f2a9c1e",
            "3f2a9c1e-",
            "3f2a9c1e-8b1d-4c3e-9f00-0123456789ab",
        ] {
            assert!(is_uuid_prefix(word), "{word}");
        }
        for word in [
            "3f2",
            "fb9lk2vgt5sk",
            "abcdef123456",
            "Train",
            "3f2a9c1e8",
            "3f2a9c1e-8b1d-4c3e-9f00-0123456789abc",
        ] {
            assert!(!is_uuid_prefix(word), "{word}");
        }
        assert_eq!(short("3f2a9c1e-8b1d-4c3e-9f00-0123456789ab"), "3f2a9c1e");
        assert_eq!(short("fb9lk2vgt5sk"), "fb9lk2vgt5sk");
    }
}
