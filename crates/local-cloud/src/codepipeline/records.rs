//! The records of pipelines and their executions.
//!
//! Executions in progress are separate from those that have ended, so that the engine reads only the former.

use std::collections::BTreeMap;

use rusqlite::Transaction;
use serde::{Deserialize, Serialize};

use super::declaration::{Action, Declaration, ExecutionMode, RetryMode, Stage};
use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::codebuild::CloneReference;
use crate::store::Collection;

/// A pipeline.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Pipeline {
    pub(super) declaration: Declaration,
    pub(super) created: f64,
    pub(super) updated: f64,
    pub(super) tags: BTreeMap<String, String>,
    /// The number of executions so far.
    pub(super) executions: u64,
    /// The number of times that an execution has arrived before a stage.
    pub(super) arrivals: u64,
    /// Transitions that were disabled or enabled again, by the stage that they lead to.
    pub(super) transitions: BTreeMap<String, Transition>,
    /// The number of the last execution that entered each stage.
    pub(super) entered: BTreeMap<String, u64>,
    /// The last run of each action, by `STAGE/ACTION`: the number of the execution and the run's id.
    pub(super) runs: BTreeMap<String, (u64, String)>,
}

/// A transition into a stage.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Transition {
    pub(super) is_enabled: bool,
    pub(super) reason: Option<String>,
    pub(super) changed_by: String,
    pub(super) changed: f64,
}

/// The status of an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ExecutionStatus {
    InProgress,
    Stopping,
    Stopped,
    Succeeded,
    Superseded,
    Failed,
}

/// The status of a stage in an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum StageStatus {
    InProgress,
    Stopping,
    Stopped,
    Succeeded,
    Failed,
    Skipped,
}

/// The status of a run of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ActionStatus {
    InProgress,
    Abandoned,
    Succeeded,
    Failed,
}

/// What started an execution.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Trigger {
    pub(super) trigger_type: TriggerType,
    pub(super) trigger_detail: String,
}

/// The kinds of triggers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum TriggerType {
    CreatePipeline,
    StartPipelineExecution,
    CloudWatchEvent,
    ManualRollback,
    AutomatedRollback,
}

/// A revision that replaces the newest one of a source action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RevisionOverride {
    pub(super) action_name: String,
    pub(super) revision_type: RevisionType,
    pub(super) revision_value: String,
}

/// The kinds of revisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum RevisionType {
    CommitId,
    ImageDigest,
    S3ObjectVersionId,
    S3ObjectKey,
}

/// A source revision of an execution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Revision {
    /// The source action.
    pub(super) action: String,
    /// Its output artifact.
    pub(super) artifact: String,
    pub(super) id: String,
    pub(super) summary: Option<String>,
    pub(super) created: f64,
}

/// An artifact in the artifact bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Location {
    pub(super) bucket: String,
    pub(super) key: String,
    /// The commit that a build clones, for an artifact of the format `CODEBUILD_CLONE_REF`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) clone: Option<CloneReference>,
}

/// A request to stop an execution.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Stop {
    pub(super) reason: Option<String>,
    pub(super) is_abandoned: bool,
}

/// What a rollback execution restores.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Rollback {
    /// The id of the execution that succeeded in the stage.
    pub(super) target: String,
    /// The stage, by its name.
    pub(super) stage: String,
}

/// An execution of a pipeline.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Execution {
    pub(super) id: String,
    /// Its position among the executions of the pipeline, from 1.
    pub(super) number: u64,
    /// The version of the pipeline.
    pub(super) version: i64,
    pub(super) mode: ExecutionMode,
    pub(super) status: ExecutionStatus,
    pub(super) summary: Option<String>,
    pub(super) started: f64,
    pub(super) updated: f64,
    pub(super) trigger: Trigger,
    pub(super) stop: Option<Stop>,
    pub(super) variables: BTreeMap<String, String>,
    pub(super) overrides: Vec<RevisionOverride>,
    pub(super) revisions: Vec<Revision>,
    /// The artifacts so far, by name.
    pub(super) artifacts: BTreeMap<String, Location>,
    /// The variables that actions have produced, by namespace.
    pub(super) outputs: BTreeMap<String, BTreeMap<String, String>>,
    pub(super) rollback: Option<Rollback>,
    /// The order of its arrival before the stage that it waits for.
    pub(super) arrival: u64,
    /// The stages that it has entered, in order.
    pub(super) stages: Vec<StageRun>,
}

/// A stage that an execution has entered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct StageRun {
    pub(super) name: String,
    pub(super) status: StageStatus,
    pub(super) automatic_retries: u32,
    pub(super) manual_retries: u32,
    /// True if the last retry was automatic.
    pub(super) last_retry_was_automatic: bool,
    /// Every run of its actions, in order.
    pub(super) runs: Vec<ActionRun>,
}

/// A run of an action.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ActionRun {
    pub(super) id: String,
    pub(super) action: String,
    pub(super) status: ActionStatus,
    /// True if a retry of the stage runs the action again.
    pub(super) is_replaced: bool,
    pub(super) started: f64,
    pub(super) updated: f64,
    pub(super) updated_by: Option<String>,
    /// When it fails unless it has ended, in milliseconds since the epoch.
    pub(super) deadline: i64,
    pub(super) summary: Option<String>,
    /// The token of an approval.
    pub(super) token: Option<String>,
    /// True if the subscribers of an approval's topic have been notified, or if it has no topic.
    #[serde(default)]
    pub(super) is_notified: bool,
    pub(super) external_id: Option<String>,
    pub(super) log_stream: Option<String>,
    pub(super) error: Option<ErrorDetails>,
    pub(super) percent: Option<u8>,
    /// The configuration with the values of variables.
    pub(super) configuration: BTreeMap<String, String>,
    pub(super) inputs: Vec<(String, Location)>,
    pub(super) outputs: Vec<(String, Location)>,
    pub(super) variables: BTreeMap<String, String>,
    pub(super) revision: Option<Revision>,
}

/// Why an action failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ErrorDetails {
    pub(super) code: String,
    pub(super) message: String,
}

impl ActionRun {
    /// A run of an action that begins now.
    pub(super) fn begin(action: &Action, now: f64, deadline: i64) -> Self {
        Self {
            id: uuid::Uuid::new_v4().to_string(),
            action: action.name.clone(),
            status: ActionStatus::InProgress,
            is_replaced: false,
            started: now,
            updated: now,
            updated_by: None,
            deadline,
            summary: None,
            token: None,
            is_notified: false,
            external_id: None,
            log_stream: None,
            error: None,
            percent: None,
            configuration: BTreeMap::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            variables: BTreeMap::new(),
            revision: None,
        }
    }

    /// True before it has ended.
    pub(super) fn is_open(&self) -> bool {
        self.status == ActionStatus::InProgress
    }
}

impl StageRun {
    /// A stage that an execution enters.
    pub(super) fn begin(stage: &Stage) -> Self {
        Self {
            name: stage.name.clone(),
            status: StageStatus::InProgress,
            automatic_retries: 0,
            manual_retries: 0,
            last_retry_was_automatic: false,
            runs: Vec::new(),
        }
    }

    /// The run of an action that counts.
    pub(super) fn current(&self, action: &str) -> Option<&ActionRun> {
        let mut runs = self.runs.iter().rev();
        runs.find(|run| run.action == action && !run.is_replaced)
    }

    /// Makes the next runs of actions possible after a failure.
    pub(super) fn retry(&mut self, mode: RetryMode) {
        self.status = StageStatus::InProgress;
        for run in &mut self.runs {
            if mode == RetryMode::AllActions || run.status != ActionStatus::Succeeded {
                run.is_replaced = true;
            }
        }
    }
}

impl Execution {
    /// The run with this id, and its stage.
    pub(super) fn run(&self, id: &str) -> Option<(&StageRun, &ActionRun)> {
        self.stages
            .iter()
            .find_map(|stage| Some((stage, stage.runs.iter().find(|run| run.id == id)?)))
    }

    /// The run with this id.
    pub(super) fn run_mut(&mut self, id: &str) -> Option<&mut ActionRun> {
        let mut runs = self.stages.iter_mut().flat_map(|stage| &mut stage.runs);
        runs.find(|run| run.id == id)
    }

    /// The runs that have not ended.
    pub(super) fn open_runs(&self) -> impl Iterator<Item = (&StageRun, &ActionRun)> {
        let stages = self.stages.iter();
        stages
            .flat_map(|stage| stage.runs.iter().map(move |run| (stage, run)))
            .filter(|(_, run)| run.is_open())
    }

    /// The last visit of a stage.
    pub(super) fn stage(&self, name: &str) -> Option<&StageRun> {
        self.stages.iter().rev().find(|stage| stage.name == name)
    }

    /// Its type in responses.
    pub(super) fn kind(&self) -> &'static str {
        if self.rollback.is_some() {
            "ROLLBACK"
        } else {
            "STANDARD"
        }
    }
}

/// The pipelines, by name.
pub(super) fn pipelines(cloud: &Cloud) -> Collection<'_, Pipeline> {
    cloud.store().collection("codepipeline", "pipeline")
}

/// Every version of the pipelines' structures, under [`key`].
pub(super) fn versions(cloud: &Cloud) -> Collection<'_, Declaration> {
    cloud.store().collection("codepipeline", "version")
}

/// The executions in progress, under [`key`].
pub(super) fn open(cloud: &Cloud) -> Collection<'_, Execution> {
    cloud.store().collection("codepipeline", "open")
}

/// The executions that have ended, under [`key`].
pub(super) fn ended(cloud: &Cloud) -> Collection<'_, Execution> {
    cloud.store().collection("codepipeline", "ended")
}

/// The numbers of executions, under `PIPELINE/ID`.
pub(super) fn numbers(cloud: &Cloud) -> Collection<'_, u64> {
    cloud.store().collection("codepipeline", "number")
}

/// The ids of the executions that requests with a token started, under `PIPELINE/TOKEN`.
pub(super) fn tokens(cloud: &Cloud) -> Collection<'_, String> {
    cloud.store().collection("codepipeline", "token")
}

/// The action that a job of a function belongs to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) pipeline: String,
    /// The number of the execution.
    pub(super) number: u64,
}

/// The jobs of functions, under their ids, which are those of the actions' runs. They are kept as long as their
/// executions.
pub(super) fn jobs(cloud: &Cloud) -> Collection<'_, Job> {
    cloud.store().collection("codepipeline", "job")
}

/// The prefix of the keys of a pipeline. A name has no slash.
pub(super) fn prefix(pipeline: &str) -> String {
    format!("{pipeline}/")
}

/// The key of a version or an execution, which sorts by number.
pub(super) fn key(pipeline: &str, number: impl std::fmt::Display) -> String {
    format!("{pipeline}/{number:0>12}")
}

/// `PipelineNotFoundException`
pub(super) fn no_pipeline(name: &str) -> ApiError {
    let account = crate::cloud::ACCOUNT;
    ApiError::not_found(
        "PipelineNotFoundException",
        format!("Account '{account}' does not have a pipeline with name '{name}'"),
    )
}

/// `PipelineExecutionNotFoundException`
pub(super) fn no_execution(pipeline: &str, id: &str) -> ApiError {
    ApiError::not_found(
        "PipelineExecutionNotFoundException",
        format!("Pipeline {pipeline} does not have an execution with id {id}"),
    )
}

/// `StageNotFoundException`
pub(super) fn no_stage(pipeline: &str, stage: &str) -> ApiError {
    ApiError::not_found(
        "StageNotFoundException",
        format!("Pipeline {pipeline} does not have a stage named {stage}"),
    )
}

/// The pipeline with this name.
pub(super) fn pipeline(cloud: &Cloud, name: &str) -> ApiResult<Pipeline> {
    let found = pipelines(cloud).get(name)?;
    found.ok_or_else(|| no_pipeline(name))
}

/// An execution, in progress or not, by its number.
pub(super) fn numbered(cloud: &Cloud, name: &str, number: u64) -> ApiResult<Option<Execution>> {
    let key = key(name, number);
    match open(cloud).get(&key)? {
        Some(found) => Ok(Some(found)),
        None => ended(cloud).get(&key),
    }
}

/// An execution, in progress or not, by its id.
pub(super) fn execution(cloud: &Cloud, name: &str, id: &str) -> ApiResult<Execution> {
    let number = numbers(cloud).get(&format!("{name}/{id}"))?;
    let found = number.map(|number| numbered(cloud, name, number));
    let found = found.transpose()?.flatten();
    found.ok_or_else(|| no_execution(name, id))
}

/// At most `count` executions of a pipeline whose numbers are below `end`, the newest first.
pub(super) fn executions(
    cloud: &Cloud,
    name: &str,
    end: Option<u64>,
    count: usize,
) -> ApiResult<Vec<Execution>> {
    let end = end.map(|end| key(name, end));
    let prefix = prefix(name);
    // One that ends in between is in both.
    let open = open(cloud).list(&prefix)?.into_iter();
    let mut found: BTreeMap<String, Execution> = open
        .filter(|(key, _)| end.as_ref().is_none_or(|end| key < end))
        .collect();
    found.extend(ended(cloud).last(&prefix, end.as_deref(), count)?);
    Ok(found.into_values().rev().take(count).collect())
}

/// The structure that an execution runs with.
pub(super) fn structure_in(
    cloud: &Cloud,
    tx: &Transaction<'_>,
    name: &str,
    version: i64,
) -> ApiResult<Declaration> {
    let found = versions(cloud).get_in(tx, &key(name, version))?;
    found.ok_or_else(|| ApiError::internal(format_args!("{name} has no version {version}")))
}
