//! The newest runs of a project, of both kinds, as one list.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use anyhow::Result;
use jiff::Timestamp;
use mlops_core::names::Version;
use serde::Serialize;

use super::RunRef;
use crate::aws::Clients;
use crate::aws::delivery::executions::{self, ExecutionSummary, Revision, Trigger};
use crate::aws::delivery::pipelines::{self, Pipeline, PipelineKind};
use crate::aws::sagemaker::gate::Gate;
use crate::aws::sagemaker::runs::{self, Origin, RunSummary};
use crate::aws::state::RunState;

/// What kind of run it is. The names in JSON are a contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RunKind {
    /// An execution of the SageMaker pipeline.
    Training,
    /// An execution of an image pipeline.
    Image,
    /// An execution of an ML pipeline.
    Ml,
    /// An execution of the deploy pipeline.
    Deploy,
}

impl RunKind {
    /// The kind as a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Training => "training",
            Self::Image => "image",
            Self::Ml => "ml",
            Self::Deploy => "deploy",
        }
    }
}

impl From<PipelineKind> for RunKind {
    fn from(kind: PipelineKind) -> Self {
        match kind {
            PipelineKind::Image => Self::Image,
            PipelineKind::Ml => Self::Ml,
            PipelineKind::Deploy => Self::Deploy,
        }
    }
}

/// What started an execution of CodePipeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunSource {
    /// The event, or who started it.
    pub trigger: Option<Trigger>,
    /// The revisions of its sources.
    pub revisions: Vec<Revision>,
}

/// A run of a list.
#[derive(Debug, Clone, Serialize)]
pub struct ListedRun {
    /// The execution's id.
    pub run: String,
    /// What kind of run it is.
    pub kind: RunKind,
    /// The pipeline of CodePipeline; null for a training.
    pub pipeline: Option<String>,
    /// The execution whose build started it.
    pub part_of: Option<String>,
    /// The state: that of the execution, unless a gate refused the model.
    pub status: RunState,
    /// The execution's own state.
    pub execution_status: String,
    /// When it started.
    pub started: Option<Timestamp>,
    /// Duration; so far, for a run in progress.
    pub seconds: Option<i64>,
    /// The model version that came out.
    pub model_version: Option<Version>,
    /// Why a gate refused it.
    pub gate: Option<Gate>,
    /// Its inputs.
    #[serde(flatten)]
    pub origin: Origin,
    /// What started it; null for a training.
    pub source: Option<RunSource>,
    /// Why it failed.
    pub failure: Option<String>,
}

/// The newest runs, and the pipelines of the project.
#[derive(Debug)]
pub struct History {
    entries: Vec<Entry>,
    /// The project's pipelines of CodePipeline.
    pub pipelines: Vec<Pipeline>,
    /// Why they could not be read, if the caller lacks the permission.
    pub denied: Option<String>,
}

/// A run of the history: after the execution that it belongs to.
#[derive(Debug)]
struct Entry {
    summary: Summary,
    part_of: Option<String>,
}

#[derive(Debug)]
enum Summary {
    Training(String, Box<RunSummary>),
    Delivery(Box<ExecutionSummary>),
}

impl Entry {
    fn reference(&self) -> RunRef {
        match &self.summary {
            Summary::Training(arn, _) => RunRef::Training { arn: arn.clone() },
            Summary::Delivery(execution) => RunRef::Delivery {
                pipeline: execution.pipeline.clone(),
                id: execution.run.clone(),
            },
        }
    }

    fn started(&self) -> Option<Timestamp> {
        match &self.summary {
            Summary::Training(_, run) => run.started,
            Summary::Delivery(execution) => execution.started,
        }
    }

    fn has_failed(&self) -> bool {
        match &self.summary {
            Summary::Training(_, run) => run.is_over() && !run.status.has_succeeded(),
            Summary::Delivery(execution) => execution.status.has_failed(),
        }
    }
}

/// Lists the newest runs of both kinds: one request for SageMaker, one for the pipelines, and two for each pipeline.
/// Runs that belong to an execution follow it, and do not count for `limit`.
pub async fn newest(clients: &Clients, project: &str, limit: usize) -> Result<History> {
    let delivered = async {
        let pipelines = pipelines::of_project(clients, project).await?;
        let executed = executions::list_all(clients, &pipelines, limit, true).await?;
        anyhow::Ok((pipelines, executed))
    };
    let (trained, delivered) = futures::join!(runs::list(clients, project, limit), delivered);
    let ((pipelines, executed), denied) = pipelines::or_denied(delivered)?;
    Ok(History {
        entries: arrange(trained?, executed, limit),
        pipelines,
        denied,
    })
}

/// Sorts runs, newest first, each followed by the runs that it started.
fn arrange(
    trained: Vec<(String, RunSummary)>,
    executed: Vec<ExecutionSummary>,
    limit: usize,
) -> Vec<Entry> {
    let builds = executed.iter().flat_map(|execution| {
        let builds = execution.builds.iter();
        builds.map(|build| (build.clone(), execution.run.clone()))
    });
    let builds: BTreeMap<String, String> = builds.collect();
    let mut parts: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
    let mut tops: Vec<Entry> = Vec::new();
    for (arn, run) in trained {
        let part_of = run.origin.build.as_ref();
        let part_of = part_of.and_then(|build| builds.get(build)).cloned();
        let summary = Summary::Training(arn, Box::new(run));
        match part_of {
            Some(execution) => parts.entry(execution.clone()).or_default().push(Entry {
                summary,
                part_of: Some(execution),
            }),
            None => tops.push(Entry {
                summary,
                part_of: None,
            }),
        }
    }
    tops.extend(executed.into_iter().map(|execution| Entry {
        summary: Summary::Delivery(Box::new(execution)),
        part_of: None,
    }));
    // The sort is stable: SageMaker's order of runs of the same second is kept.
    tops.sort_by_key(|entry| Reverse(entry.started()));
    tops.truncate(limit);
    let mut entries = Vec::new();
    for top in tops {
        let id = top.reference().id().to_owned();
        entries.push(top);
        entries.extend(parts.remove(&id).unwrap_or_default());
    }
    entries
}

impl History {
    /// Returns the newest run.
    pub fn first(&self) -> Option<RunRef> {
        self.entries.first().map(Entry::reference)
    }

    /// Returns the ids of all runs with their states.
    pub fn states(&self) -> Vec<(String, String)> {
        let entries = self.entries.iter();
        let state = |entry: &Entry| match &entry.summary {
            Summary::Training(_, run) => (run.run.clone(), run.status.to_string()),
            Summary::Delivery(execution) => (execution.run.clone(), execution.status.to_string()),
        };
        entries.map(state).collect()
    }

    /// Returns the newest run of SageMaker.
    pub fn first_training(&self) -> Option<RunRef> {
        let mut trained = self.trained();
        trained.next().map(|(arn, _)| RunRef::Training {
            arn: arn.to_owned(),
        })
    }

    /// Returns the runs of SageMaker with their ARNs.
    pub fn trained(&self) -> impl Iterator<Item = (&str, &RunSummary)> {
        self.entries
            .iter()
            .filter_map(|entry| match &entry.summary {
                Summary::Training(arn, run) => Some((arn.as_str(), &**run)),
                Summary::Delivery(_) => None,
            })
    }

    /// Returns the newest run that did not succeed. A run that belongs to an execution is explained with it.
    pub fn first_failed(&self) -> Option<RunRef> {
        let failed = self.entries.iter().find(|entry| {
            let is_part = entry.part_of.is_some();
            !is_part && entry.has_failed()
        });
        failed.map(Entry::reference)
    }

    /// Adds what the lists of the services lack: durations, model versions, and gates that refused a model.
    pub async fn complete(self, clients: &Clients, now: Timestamp) -> Result<Vec<ListedRun>> {
        let trained = self.trained();
        let trained = trained.map(|(arn, run)| (arn.to_owned(), run.clone()));
        let completed = runs::complete(clients, trained.collect(), now).await?;
        let mut completed = completed.into_iter();
        let entries = self.entries.into_iter();
        let listed = entries.filter_map(|entry| {
            Some(match entry.summary {
                Summary::Training(..) => training(completed.next()?, entry.part_of),
                Summary::Delivery(execution) => delivery(*execution, now),
            })
        });
        let mut listed: Vec<ListedRun> = listed.collect();
        let versions: BTreeMap<String, Version> = listed
            .iter()
            .filter_map(|run| Some((run.part_of.clone()?, run.model_version?)))
            .collect();
        for run in &mut listed {
            run.model_version = run.model_version.or(versions.get(&run.run).copied());
        }
        Ok(listed)
    }
}

fn training(run: RunSummary, part_of: Option<String>) -> ListedRun {
    ListedRun {
        run: run.run,
        kind: RunKind::Training,
        pipeline: None,
        part_of,
        status: run.status,
        execution_status: run.execution_status.to_string(),
        started: run.started,
        seconds: run.seconds,
        model_version: run.model_version,
        gate: run.gate,
        origin: run.origin,
        source: None,
        failure: run.failure,
    }
}

fn delivery(execution: ExecutionSummary, now: Timestamp) -> ListedRun {
    let end = if execution.status.is_over() {
        execution.changed
    } else {
        Some(now)
    };
    let seconds = execution
        .started
        .zip(end)
        .map(|(start, end)| (end.as_second() - start.as_second()).max(0));
    let commit = execution.revisions.iter().find_map(Revision::commit);
    ListedRun {
        kind: execution.pipeline.kind.into(),
        part_of: None,
        execution_status: execution.status.to_string(),
        started: execution.started,
        seconds,
        model_version: None,
        gate: None,
        origin: Origin {
            branch: execution.branch.or(execution.pipeline.tag),
            commit: commit.map(str::to_owned),
            image: execution.revisions.iter().find_map(Revision::image),
            ..Origin::default()
        },
        failure: execution
            .summary
            .filter(|summary| execution.status.has_failed() && !summary.is_empty()),
        run: execution.run,
        pipeline: Some(execution.pipeline.name),
        status: RunState::Delivery(execution.status),
        source: Some(RunSource {
            trigger: execution.trigger,
            revisions: execution.revisions,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::state::{DeliveryState, ExecutionState};

    fn second(second: i64) -> Option<Timestamp> {
        Timestamp::from_second(second).ok()
    }

    fn trained(id: &str, at: i64, status: &str, build: Option<&str>) -> (String, RunSummary) {
        let execution = ExecutionState::named(status);
        let run = RunSummary {
            run: id.to_owned(),
            status: RunState::new(execution.clone(), false),
            execution_status: execution,
            started: second(at),
            seconds: None,
            model_version: None,
            gate: None,
            origin: Origin {
                build: build.map(str::to_owned),
                ..Origin::default()
            },
            failure: None,
        };
        (format!("arn/execution/{id}"), run)
    }

    fn executed(id: &str, at: i64, status: &str, build: &str) -> ExecutionSummary {
        ExecutionSummary {
            run: id.to_owned(),
            pipeline: Pipeline {
                name: "f-ml-develop".to_owned(),
                kind: PipelineKind::Ml,
                tag: Some("develop".to_owned()),
            },
            status: DeliveryState::named(status),
            summary: None,
            started: second(at),
            changed: second(at + 60),
            trigger: None,
            revisions: Vec::new(),
            branch: None,
            builds: vec![build.to_owned()],
        }
    }

    fn history(limit: usize) -> History {
        let trained = vec![
            trained("alone", 300, "Failed", None),
            trained("second", 220, "Failed", Some("p:2")),
            trained("first", 110, "Succeeded", Some("p:1")),
            trained("orphan", 50, "Succeeded", Some("p:0")),
        ];
        let executed = vec![
            executed("e2", 200, "Failed", "p:2"),
            executed("e1", 100, "Succeeded", "p:1"),
        ];
        History {
            entries: arrange(trained, executed, limit),
            pipelines: Vec::new(),
            denied: None,
        }
    }

    fn ids(history: &History) -> Vec<String> {
        let entries = history.entries.iter();
        entries
            .map(|entry| entry.reference().id().to_owned())
            .collect()
    }

    #[test]
    fn a_run_follows_the_execution_whose_build_started_it() {
        let all = history(10);
        assert_eq!(
            ids(&all),
            ["alone", "e2", "second", "e1", "first", "orphan"]
        );
        let parts: Vec<Option<&str>> = all.entries.iter().map(|it| it.part_of.as_deref()).collect();
        assert_eq!(
            parts,
            [None, None, Some("e2"), None, Some("e1"), None],
            "the pipeline of the orphan's build was deleted"
        );
        // What belongs to an execution does not count.
        assert_eq!(ids(&history(2)), ["alone", "e2", "second"]);
    }

    #[test]
    fn the_newest_failure_is_that_of_a_whole_execution() {
        let mut all = history(10);
        assert_eq!(all.first().unwrap().id(), "alone");
        assert_eq!(all.first_failed().unwrap().id(), "alone");
        all.entries.remove(0);
        assert_eq!(all.first_failed().unwrap().id(), "e2");
        assert_eq!(all.first_training().unwrap().id(), "second");
    }

    #[test]
    fn an_execution_has_the_fields_of_a_run() {
        let mut execution = executed("e1", 100, "Succeeded", "p:1");
        execution.revisions = vec![Revision {
            action: "Code".to_owned(),
            id: Some("a1".repeat(20)),
            summary: None,
            url: None,
        }];
        let listed = delivery(execution, second(1000).unwrap());
        let json = serde_json::to_value(&listed).unwrap();
        assert_eq!(json["kind"], "ml");
        assert_eq!(json["seconds"], 60);
        assert_eq!(json["branch"], "develop");
        assert_eq!(json["commit"], "a1".repeat(20));
        assert_eq!(json["status"], "Succeeded");
        let running = delivery(executed("e", 100, "InProgress", "p"), second(1000).unwrap());
        assert_eq!(running.seconds, Some(900));
    }
}
