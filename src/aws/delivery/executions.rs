//! Executions of the project's pipelines.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, anyhow};
use aws_sdk_codepipeline::error::SdkError;
use aws_sdk_codepipeline::types::{PipelineExecution, PipelineVariable, StageRetryMode};
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use mlops_core::error::Hint;
use mlops_core::names::Version;
use mlops_core::wait::{Poll, Waiter};
use serde::Serialize;

use super::PARALLEL;
pub use super::actions::Action;
use super::actions::{self, Placed};
use super::builds;
use super::pipelines::{self, Pipeline, PipelineKind};
pub use super::source::{Revision, Trigger};
use crate::aws::sagemaker::{runs, timestamp};
use crate::aws::state::{ActionState, DeliveryState, RunState};
use crate::aws::{AwsResultExt, Clients, Expected, Missing};

/// The summary of an execution.
#[derive(Debug, Clone)]
pub struct ExecutionSummary {
    /// Its id, a UUID.
    pub run: String,
    /// Its pipeline.
    pub pipeline: Pipeline,
    /// Its state.
    pub status: DeliveryState,
    /// What CodePipeline says about the state.
    pub summary: Option<String>,
    /// When it started.
    pub started: Option<Timestamp>,
    /// When it last changed.
    pub changed: Option<Timestamp>,
    /// What started it.
    pub trigger: Option<Trigger>,
    /// The revisions of its sources.
    pub revisions: Vec<Revision>,
    /// The branch of its repository, once the source action has started.
    pub branch: Option<String>,
    /// The builds that it started.
    pub builds: Vec<String>,
}

/// A stage of an execution.
#[derive(Debug, Clone, Serialize)]
pub struct Stage {
    /// Its name.
    pub name: String,
    /// Its state, from its actions.
    pub status: ActionState,
    /// Its actions, in the order in which they started.
    pub actions: Vec<Action>,
}

/// An execution with its stages.
#[derive(Debug, Clone, Serialize)]
pub struct Execution {
    /// Its id, a UUID.
    pub run: String,
    /// Its pipeline.
    #[serde(flatten)]
    pub pipeline: Pipeline,
    /// Its state.
    pub status: RunState,
    /// What CodePipeline says about the state.
    pub failure: Option<String>,
    /// When it started: its first action; null while it waits for an earlier execution.
    pub started: Option<Timestamp>,
    /// When it last changed.
    pub changed: Option<Timestamp>,
    /// What started it.
    pub trigger: Option<Trigger>,
    /// The branch.
    pub branch: Option<String>,
    /// The revisions of its sources.
    pub revisions: Vec<Revision>,
    /// The model version that came out, or that is deployed.
    pub model_version: Option<Version>,
    /// The stages that were entered, in that order.
    pub stages: Vec<Stage>,
}

impl Execution {
    /// Returns how long it took, or has taken until `now`, in seconds.
    pub fn seconds(&self, now: Timestamp) -> Option<i64> {
        let end = if self.status.is_over() {
            self.changed?
        } else {
            now
        };
        Some((end.as_second() - self.started?.as_second()).max(0))
    }

    /// Returns its actions with their stages.
    pub fn actions(&self) -> impl Iterator<Item = (&Stage, &Action)> {
        let stages = self.stages.iter();
        stages.flat_map(|stage| stage.actions.iter().map(move |action| (stage, action)))
    }

    /// Returns the actions that failed, in the order of their ends.
    pub fn failed_actions(&self) -> Vec<(&Stage, &Action)> {
        let failed = self.actions();
        let failed = failed.filter(|(_, action)| action.status.has_failed());
        let mut failed: Vec<_> = failed.collect();
        failed.sort_by_key(|(_, action)| (action.ended.is_none(), action.ended));
        failed
    }
}

/// Lists the newest executions of a pipeline, newest first; none if the pipeline was deleted in the meantime.
/// `with_actions` adds the branch and the builds, with one more request.
pub async fn list(
    clients: &Clients,
    pipeline: &Pipeline,
    limit: usize,
    with_actions: bool,
) -> Result<Vec<ExecutionSummary>> {
    let name = &pipeline.name;
    let request = clients
        .codepipeline
        .list_pipeline_executions()
        .pipeline_name(name)
        .max_results(i32::try_from(limit.clamp(1, 100)).unwrap_or(100));
    let (page, newest) = futures::try_join!(
        async {
            request.send().await.aws_if_found(
                format!("cannot list the executions of the pipeline `{name}`"),
                Missing::Resource,
            )
        },
        async {
            if with_actions {
                actions::newest(clients, name).await
            } else {
                Ok(Vec::new())
            }
        }
    )?;
    let page = page.and_then(|page| page.pipeline_execution_summaries);
    let found = page.unwrap_or_default().into_iter().map(|summary| {
        let id = summary.pipeline_execution_id().unwrap_or_default();
        let own = || newest.iter().filter(|placed| placed.execution == id);
        let revisions = summary.source_revisions().iter().map(|revision| Revision {
            action: revision.action_name().to_owned(),
            id: revision.revision_id().map(str::to_owned),
            summary: revision.revision_summary().map(str::to_owned),
            url: revision.revision_url().map(str::to_owned),
        });
        ExecutionSummary {
            run: id.to_owned(),
            pipeline: pipeline.clone(),
            status: DeliveryState::of(summary.status()),
            summary: summary.status_summary().map(str::to_owned),
            started: summary.start_time().and_then(timestamp),
            changed: summary.last_update_time().and_then(timestamp),
            trigger: Trigger::of(summary.trigger()),
            revisions: revisions.collect(),
            branch: own().find_map(|placed| placed.action.branch.clone()),
            builds: own()
                .filter_map(|placed| placed.action.build_id().map(str::to_owned))
                .collect(),
        }
    });
    Ok(found.collect())
}

/// Lists the newest executions of each pipeline.
pub async fn list_all(
    clients: &Clients,
    pipelines: &[Pipeline],
    limit: usize,
    with_actions: bool,
) -> Result<Vec<ExecutionSummary>> {
    let requests: Vec<_> = pipelines
        .iter()
        .map(|pipeline| list(clients, pipeline, limit, with_actions))
        .collect();
    let found: Vec<Vec<ExecutionSummary>> = futures::stream::iter(requests)
        .buffered(PARALLEL)
        .try_collect()
        .await?;
    Ok(found.into_iter().flatten().collect())
}

/// Returns the state of an execution with this complete id; `None` if the pipeline has none.
pub async fn state(
    clients: &Clients,
    pipeline: &Pipeline,
    id: &str,
) -> Result<Option<DeliveryState>> {
    let found = get(clients, pipeline, id).await?;
    Ok(found.map(|execution| DeliveryState::of(execution.status())))
}

/// Returns the version that an execution of the deploy pipeline got with its event; `None` without one.
pub async fn version(clients: &Clients, pipeline: &Pipeline, id: &str) -> Result<Option<Version>> {
    let found = get(clients, pipeline, id).await?;
    Ok(found.as_ref().and_then(version_of))
}

/// What became of a request to start an execution.
#[derive(Debug)]
pub enum Started {
    /// The execution's id.
    Execution(String),
    /// CodePipeline refused: nothing was started.
    Refused(anyhow::Error),
}

/// Starts an execution with a variable, its name and its value.
///
/// # Errors
/// It is not known whether it was started.
pub async fn start(
    clients: &Clients,
    pipeline: &str,
    (name, value): (&str, &str),
    token: &str,
) -> Result<Started> {
    let variable = PipelineVariable::builder()
        .name(name)
        .value(value)
        .build()?;
    let started = clients
        .codepipeline
        .start_pipeline_execution()
        .name(pipeline)
        .variables(variable)
        .client_request_token(token)
        .send()
        .await;
    let is_refused = matches!(
        &started,
        Err(SdkError::ServiceError(refused)) if refused.raw().status().is_client_error()
    );
    match started.aws(format!("cannot start the pipeline {pipeline}")) {
        Err(error) if is_refused => Ok(Started::Refused(error)),
        Err(error) => Err(error),
        Ok(started) => {
            let execution = started.pipeline_execution_id;
            execution
                .map(Started::Execution)
                .ok_or_else(|| anyhow!("CodePipeline returned no execution"))
        }
    }
}

/// Returns the reason that an execution of the ML pipeline got when it was started (`Reason`): any text, chosen by
/// whoever started it.
///
/// # Errors
/// The execution does not exist.
pub async fn reason(clients: &Clients, pipeline: &str, id: &str) -> Result<Option<String>> {
    let pipeline = Pipeline {
        name: pipeline.to_owned(),
        kind: PipelineKind::Ml,
        tag: None,
    };
    let found = get(clients, &pipeline, id).await?;
    let found = found.ok_or_else(|| anyhow!("{} has no execution `{id}`", pipeline.name))?;
    let mut variables = found.variables().iter();
    let reason = variables.find(|variable| variable.name() == Some("Reason"));
    let reason = reason.and_then(|variable| variable.resolved_value());
    Ok(reason.map(str::to_owned))
}

fn version_of(execution: &PipelineExecution) -> Option<Version> {
    let mut variables = execution.variables().iter();
    let version = variables.find(|variable| variable.name() == Some("Version"))?;
    version.resolved_value()?.parse().ok()
}

async fn get(
    clients: &Clients,
    pipeline: &Pipeline,
    id: &str,
) -> Result<Option<PipelineExecution>> {
    let found = clients
        .codepipeline
        .get_pipeline_execution()
        .pipeline_name(&pipeline.name)
        .pipeline_execution_id(id)
        .send()
        .await
        .aws_if_found(
            format!("cannot describe the execution `{id}`"),
            Missing::Resource,
        )?;
    Ok(found.and_then(|found| found.pipeline_execution))
}

/// Describes an execution with its actions, their builds, and the runs of SageMaker's pipeline `project` that the
/// builds started.
pub async fn describe(
    clients: &Clients,
    project: &str,
    pipeline: &Pipeline,
    id: &str,
) -> Result<Execution> {
    let mut execution = outline(clients, pipeline, id).await?;
    add_builds(clients, project, &mut execution.stages).await?;
    let trained = execution
        .actions()
        .filter_map(|(_, it)| it.training.as_ref());
    let made = trained.filter_map(|run| run.model_version).last();
    execution.model_version = made.or(execution.model_version);
    Ok(execution)
}

/// Describes an execution with its actions, but without what they started.
pub async fn outline(clients: &Clients, pipeline: &Pipeline, id: &str) -> Result<Execution> {
    // In this order: if the execution has ended, so have its actions.
    let described = get(clients, pipeline, id).await?;
    let found = actions::of_execution(clients, &pipeline.name, id).await?;
    let described = described
        .ok_or_else(|| anyhow!("the pipeline {} has no execution `{id}`", pipeline.name))
        .hint(format!(
            "list the runs with `{}`",
            clients.command("runs list")
        ))?;
    let stages = stages(found.unwrap_or_default());
    let actions = || stages.iter().flat_map(|stage| &stage.actions);
    let artifacts = described.artifact_revisions();
    let revisions = actions().filter_map(Action::revision);
    let revisions = revisions.map(|mut revision| {
        let mut same = artifacts.iter();
        let same = same.find(|it| it.revision_id() == revision.id.as_deref());
        revision.url = same.and_then(|it| it.revision_url()).map(str::to_owned);
        revision
    });
    let branch = actions().find_map(|action| action.branch.clone());
    let times = actions().flat_map(|action| [action.started, action.ended]);
    let summary = described.status_summary();
    let summary = summary.filter(|summary| !summary.is_empty());
    Ok(Execution {
        run: id.to_owned(),
        pipeline: pipeline.clone(),
        status: RunState::Delivery(DeliveryState::of(described.status())),
        failure: summary.map(str::to_owned),
        started: actions().filter_map(|action| action.started).min(),
        changed: times.flatten().max(),
        trigger: Trigger::of(described.trigger()),
        branch: branch.or_else(|| pipeline.tag.clone()),
        revisions: revisions.collect(),
        model_version: version_of(&described),
        stages,
    })
}

/// Groups the actions, newest first, by stage. Of an action that was retried, the last attempt is kept.
fn stages(newest_first: Vec<Placed>) -> Vec<Stage> {
    let mut attempts: BTreeMap<(String, String), i32> = BTreeMap::new();
    for placed in &newest_first {
        let name = (placed.stage.clone(), placed.action.name.clone());
        *attempts.entry(name).or_default() += 1;
    }
    let mut stages: Vec<Stage> = Vec::new();
    for placed in newest_first {
        let Placed {
            stage, mut action, ..
        } = placed;
        let name = (stage, action.name.clone());
        let Some(count) = attempts.remove(&name) else {
            continue;
        };
        action.attempts = Some(count).filter(|count| *count > 1);
        match stages.iter_mut().find(|known| known.name == name.0) {
            Some(known) => known.actions.push(action),
            None => stages.push(Stage {
                name: name.0,
                status: action.status.clone(),
                actions: vec![action],
            }),
        }
    }
    stages.reverse();
    for stage in &mut stages {
        stage.actions.reverse();
        stage.status = ActionState::of_stage(stage.actions.iter().map(|it| &it.status));
    }
    stages
}

/// Adds the builds of the actions, and the runs that they started.
async fn add_builds(clients: &Clients, project: &str, stages: &mut [Stage]) -> Result<()> {
    let actions = || stages.iter().flat_map(|stage| &stage.actions);
    let ids = actions().filter_map(|action| action.build_id().map(str::to_owned));
    let ids: Vec<String> = ids.collect();
    if ids.is_empty() {
        return Ok(());
    }
    let building = actions().filter(|action| action.build_id().is_some());
    let since = building.filter_map(|action| action.started).min();
    let (builds, trained) = futures::try_join!(
        builds::describe(clients, &ids),
        runs::of_builds(clients, project, &ids, since)
    )?;
    for action in stages.iter_mut().flat_map(|stage| &mut stage.actions) {
        let Some(id) = action.build_id().map(str::to_owned) else {
            continue;
        };
        action.build = builds.iter().find(|build| build.id == id).cloned();
        let run = trained
            .iter()
            .rfind(|run| run.origin.build.as_ref() == Some(&id));
        action.training = run.cloned().map(Box::new);
    }
    Ok(())
}

/// Stops an execution: its actions end first, unless they are abandoned.
pub async fn stop(clients: &Clients, pipeline: &str, id: &str, abandon: bool) -> Result<()> {
    clients
        .codepipeline
        .stop_pipeline_execution()
        .pipeline_name(pipeline)
        .pipeline_execution_id(id)
        .abandon(abandon)
        .reason("stopped by `mlops runs stop`")
        .send()
        .await
        .aws(format!("cannot stop the execution `{id}`"))?;
    Ok(())
}

/// Stops what is in progress in a project's pipelines: builds, which CodePipeline would leave running, and executions.
/// Waits until nothing is: the end of an execution lets the next one in the queue begin. Returns the executions.
pub async fn stop_all(
    clients: &Clients,
    waiter: Waiter,
    project: &str,
) -> Result<BTreeSet<String>> {
    let pipelines = &pipelines::of_project(clients, project).await?;
    let stopped = &RefCell::new(BTreeSet::new());
    let what = format!("the end of the executions of {project}");
    let look = || async move {
        let all = list_all(clients, pipelines, 100, false).await?;
        let running = all.iter().filter(|it| !it.status.is_over());
        let running: Vec<_> = running.collect();
        for found in &running {
            stop_now(clients, &found.pipeline, &found.run).await?;
            let name = format!("{} {}", found.pipeline.name, found.run);
            stopped.borrow_mut().insert(name);
        }
        Ok(match running.len() {
            0 => Poll::Ready(()),
            count => Poll::Pending(format!("{count} in progress")),
        })
    };
    waiter.until(&what, |_| {}, look).await?;
    Ok(stopped.take())
}

/// Stops an execution and its builds. First the builds: an interrupted command finds them again.
async fn stop_now(clients: &Clients, pipeline: &Pipeline, id: &str) -> Result<()> {
    let execution = outline(clients, pipeline, id).await?;
    let running = execution
        .actions()
        .filter(|(_, it)| it.status.is_in_progress());
    for build in running.filter_map(|(_, action)| action.build_id()) {
        builds::stop(clients, build).await?;
    }
    clients
        .codepipeline
        .stop_pipeline_execution()
        .pipeline_name(&pipeline.name)
        .pipeline_execution_id(id)
        .abandon(true)
        .reason("stopped by `mlops destroy`")
        .send()
        .await
        .aws_unless(format!("cannot stop the execution `{id}`"), &NOT_RUNNING)?;
    Ok(())
}

/// The execution has ended, or its stop was requested before.
const NOT_RUNNING: [Expected; 2] = [
    Expected::code("PipelineExecutionNotStoppableException"),
    Expected::code("DuplicatedStopRequestException"),
];

/// What to retry of a stage. The deploy pipeline begins with its preparation again: what it wrote may be out of date, and
/// a change set is executed once.
fn retry_mode(kind: PipelineKind) -> StageRetryMode {
    match kind {
        PipelineKind::Deploy => StageRetryMode::AllActions,
        PipelineKind::Image | PipelineKind::Ml => StageRetryMode::FailedActions,
    }
}

/// Retries the failed actions, or all of a deployment, of the stage at which an execution ended. Returns the stage.
pub async fn retry(clients: &Clients, execution: &Execution) -> Result<String> {
    let id = &execution.run;
    let ended = execution.stages.last();
    let stage = ended
        .filter(|stage| {
            let ended_early = !stage.status.has_succeeded() || execution.status.was_stopped();
            ended_early && execution.status.is_over()
        })
        .ok_or_else(|| {
            anyhow!(
                "the execution {id} has no failed stage to retry ({})",
                execution.status
            )
        })
        .hint(format!(
            "inspect it with `{}`",
            clients.command(&format!("runs show {id}"))
        ))?;
    clients
        .codepipeline
        .retry_stage_execution()
        .pipeline_name(&execution.pipeline.name)
        .pipeline_execution_id(id)
        .stage_name(&stage.name)
        .retry_mode(retry_mode(execution.pipeline.kind))
        .send()
        .await
        .aws(format!(
            "cannot retry the stage {} of the execution `{id}`",
            stage.name
        ))?;
    Ok(stage.name.clone())
}
