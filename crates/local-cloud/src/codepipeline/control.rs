//! The operations that people steer executions with: approvals, retries, rollbacks and transitions.

use serde::Deserialize;
use serde_json::{Value, json};

use super::declaration::{ExecutionMode, RetryMode};
use super::engine::{self, Board};
use super::executions::limit;
use super::outcome::{Ended, Failure, Output};
use super::plan;
use super::records::{
    ActionStatus, ExecutionStatus, StageStatus, Transition, Trigger, TriggerType, no_stage,
    numbered, pipeline,
};
use super::requester;
use crate::Cloud;
use crate::api::{ApiError, ApiResult};

/// Maximum number of runs of actions in an execution that is retried: twice the maximum number of actions.
const MAX_RUNS: usize = 1000;

#[derive(Deserialize)]
struct ApprovalResult {
    summary: String,
    status: ApprovalStatus,
}

#[derive(Deserialize, Clone, Copy, PartialEq)]
enum ApprovalStatus {
    Approved,
    Rejected,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Approve {
    pipeline_name: String,
    stage_name: String,
    action_name: String,
    result: ApprovalResult,
    token: String,
}

/// `PutApprovalResult`
pub(super) async fn approve(cloud: &Cloud, input: Approve) -> ApiResult<Value> {
    let (name, stage, action) = (&input.pipeline_name, &input.stage_name, &input.action_name);
    let found = pipeline(cloud, name)?;
    let is_known = found.declaration.action(stage, action).is_some();
    let is_completed = is_completed(cloud, name, &format!("{stage}/{action}"), &input.token)?;
    let approved = engine::change(cloud, name, |board| {
        let Some((number, id)) = waiting(board, stage, action, &input.token) else {
            return Err(if !is_known && found.declaration.stage(stage).is_none() {
                no_stage(name, stage)
            } else if !is_known {
                let message = format!("Stage {stage} does not have an action named {action}");
                ApiError::not_found("ActionNotFoundException", message)
            } else if is_completed {
                let message = "The approval action has already been approved or rejected.";
                ApiError::new("ApprovalAlreadyCompletedException", message)
            } else {
                let message = "The approval request already received a response or has expired.";
                ApiError::new("InvalidApprovalTokenException", message)
            });
        };
        let summary = Some(input.result.summary).filter(|summary| !summary.is_empty());
        let updated_by = Some(requester());
        let ended = match input.result.status {
            ApprovalStatus::Approved => Ended::Succeeded(Box::new(Output {
                summary,
                updated_by,
                ..Output::default()
            })),
            ApprovalStatus::Rejected => Ended::Failed(Failure {
                error: None,
                summary,
                external_id: None,
                updated_by,
            }),
        };
        let now = board.seconds();
        board.finish(number, &id, &ended)?;
        Ok(now)
    })?;
    Ok(json!({"approvedAt": approved}))
}

/// The run of an action that waits for an approval with this token: the number of its execution, and its id.
fn waiting(board: &Board<'_>, stage: &str, action: &str, token: &str) -> Option<(u64, String)> {
    board.entries.iter().find_map(|entry| {
        let mut runs = entry.execution.open_runs();
        let run = runs.find(|(of, run)| {
            of.name == stage && run.action == action && run.token.as_deref() == Some(token)
        });
        run.map(|(_, run)| (entry.execution.number, run.id.clone()))
    })
}

/// True if the last run of an approval had this token, and has ended.
fn is_completed(cloud: &Cloud, pipeline: &str, action: &str, token: &str) -> ApiResult<bool> {
    let found = self::pipeline(cloud, pipeline)?;
    let Some((number, run)) = found.runs.get(action) else {
        return Ok(false);
    };
    let execution = numbered(cloud, pipeline, *number)?;
    let run = execution.as_ref().and_then(|execution| execution.run(run));
    Ok(run.is_some_and(|(_, run)| run.token.as_deref() == Some(token) && !run.is_open()))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Retry {
    pipeline_name: String,
    stage_name: String,
    pipeline_execution_id: String,
    #[serde(rename = "retryMode")]
    mode: RetryMode,
}

/// `RetryStageExecution`: continues an execution whose stage failed or was stopped.
pub(super) async fn retry(cloud: &Cloud, input: Retry) -> ApiResult<Value> {
    let (name, stage, id) = (
        &input.pipeline_name,
        &input.stage_name,
        &input.pipeline_execution_id,
    );
    let found = pipeline(cloud, name)?;
    if found.declaration.stage(stage).is_none() {
        return Err(no_stage(name, stage));
    }
    engine::change(cloud, name, |board| {
        if board.position(id).is_some() {
            return Err(not_retryable(&format!("The execution {id} is in progress")));
        }
        check_retry(board, stage, id)?;
        if board.is_full() {
            return Err(limit());
        }
        let at = board.reopen(id)?;
        board.retry(at, input.mode, false)
    })?;
    Ok(json!({"pipelineExecutionId": id}))
}

fn not_retryable(why: &str) -> ApiError {
    let message = format!(
        "Unable to retry. The pipeline structure or stage state might have changed while actions awaited retry, or \
         the stage contains no failed actions. {why}"
    );
    ApiError::new("StageNotRetryableException", message)
}

fn check_retry(board: &Board<'_>, stage: &str, id: &str) -> ApiResult<()> {
    let execution = board.find(id).map_err(|error| match error.code.as_str() {
        // The operation has no error of its own for it.
        "PipelineExecutionNotFoundException" => not_retryable(&error.message),
        _ => error,
    })?;
    let is_retryable = matches!(
        execution.status,
        ExecutionStatus::Failed | ExecutionStatus::Stopped
    );
    let last = execution.stages.last();
    let Some(last) = last.filter(|last| last.name == stage && is_retryable) else {
        return Err(not_retryable(&format!(
            "The stage {stage} did not fail in it"
        )));
    };
    let failed = |status| matches!(status, ActionStatus::Failed | ActionStatus::Abandoned);
    let has_failed = last
        .runs
        .iter()
        .any(|run| !run.is_replaced && failed(run.status));
    if last.status == StageStatus::Failed && !has_failed {
        return Err(not_retryable("It has no failed action"));
    }
    if execution.version != board.pipeline.declaration.version {
        return Err(not_retryable("The pipeline was updated since"));
    }
    if execution
        .stages
        .iter()
        .map(|it| it.runs.len())
        .sum::<usize>()
        >= MAX_RUNS
    {
        return Err(not_retryable(&format!(
            "The execution has {MAX_RUNS} runs of actions, the maximum of the local cloud"
        )));
    }
    let entered = board.pipeline.entered.get(stage);
    let is_latest = entered.is_none_or(|number| *number == execution.number);
    if !is_latest && execution.mode != ExecutionMode::Parallel {
        let message =
            "The stage has been entered by a later execution, so that this one cannot be retried";
        return Err(ApiError::new(
            "NotLatestPipelineExecutionException",
            message,
        ));
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RollBack {
    pipeline_name: String,
    stage_name: String,
    target_pipeline_execution_id: String,
}

/// `RollbackStage`: a new execution of one stage, with the artifacts and variables of an earlier execution.
///
/// Unverified against AWS [codepipeline-rollback-stages]: the execution ends after the stage.
pub(super) async fn roll_back(cloud: &Cloud, input: RollBack) -> ApiResult<Value> {
    let (name, stage) = (&input.pipeline_name, &input.stage_name);
    let target = &input.target_pipeline_execution_id;
    let id = engine::change(cloud, name, |board| {
        let declaration = &board.pipeline.declaration;
        let (version, mode) = (declaration.version, declaration.execution_mode);
        let position = declaration.stage(stage);
        let position = position.ok_or_else(|| no_stage(name, stage))?;
        if position == 0 {
            return Err(unable("A source stage cannot be rolled back"));
        }
        if mode == ExecutionMode::Parallel {
            return Err(unable(
                "Stages of a pipeline in the mode PARALLEL cannot be rolled back",
            ));
        }
        let found = board.find(target)?;
        if found.version != version {
            return Err(ApiError::new(
                "PipelineExecutionOutdatedException",
                format!("The execution {target} ran with another version of the pipeline"),
            ));
        }
        if !plan::can_restore(&found, stage, version) {
            return Err(unable(&format!(
                "The execution {target} did not succeed in the stage, or is a rollback itself"
            )));
        }
        let is_running = board.entries.iter().any(|entry| {
            let last = entry.execution.stages.last();
            last.is_some_and(|last| {
                let is_open =
                    matches!(last.status, StageStatus::InProgress | StageStatus::Stopping);
                last.name == *stage && is_open
            })
        });
        if is_running {
            return Err(unable("The stage is running"));
        }
        if board.is_full_of_rollbacks(0) {
            return Err(unable(
                "Too many executions of the pipeline are in progress",
            ));
        }
        let trigger = Trigger {
            trigger_type: TriggerType::ManualRollback,
            trigger_detail: requester(),
        };
        board.roll_back(&found, stage, trigger)
    })?;
    Ok(json!({"pipelineExecutionId": id}))
}

fn unable(why: &str) -> ApiError {
    let message = format!("Unable to roll back the stage. {why}");
    ApiError::new("UnableToRollbackStageException", message)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TransitionRequest {
    pipeline_name: String,
    stage_name: String,
    transition_type: TransitionType,
    reason: Option<String>,
}

#[derive(Deserialize, Clone, Copy, PartialEq)]
enum TransitionType {
    Inbound,
    Outbound,
}

/// `DisableStageTransition`
pub(super) async fn disable_transition(
    cloud: &Cloud,
    input: TransitionRequest,
) -> ApiResult<Value> {
    set_transition(cloud, input, false)
}

/// `EnableStageTransition`
pub(super) async fn enable_transition(cloud: &Cloud, input: TransitionRequest) -> ApiResult<Value> {
    set_transition(cloud, input, true)
}

/// Only the transition into a stage: permissions are those for the named stage, and the transition out of it is the
/// one into the next. A stage that the pipeline no longer has can be opened for executions that still run with it.
fn set_transition(cloud: &Cloud, input: TransitionRequest, is_enabled: bool) -> ApiResult<Value> {
    let (name, stage) = (&input.pipeline_name, &input.stage_name);
    if input.transition_type == TransitionType::Outbound {
        return Err(ApiError::not_implemented(
            "transitionType Outbound of codepipeline; name the stage that follows, with Inbound,",
        ));
    }
    engine::change(cloud, name, |board| {
        if !board.has_stage(stage) {
            return Err(no_stage(name, stage));
        }
        let transition = Transition {
            is_enabled,
            reason: input.reason.filter(|_| !is_enabled),
            changed_by: requester(),
            changed: board.seconds(),
        };
        board.pipeline.transitions.insert(stage.clone(), transition);
        Ok(())
    })?;
    Ok(json!({}))
}
