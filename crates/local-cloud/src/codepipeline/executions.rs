//! The operations that start, show and stop executions.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::catalog::{self, Provider};
use super::declaration::Declaration;
use super::engine::{self, MAX_OPEN, New};
use super::records::{
    Execution, ExecutionStatus, RevisionOverride, RevisionType, Stop, Trigger, TriggerType,
    execution, no_execution, pipeline, tokens,
};
use super::requester;
use crate::api::{ApiError, ApiResult};
use crate::{Cloud, events};

#[derive(Deserialize)]
struct Variable {
    name: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Start {
    name: String,
    #[serde(default)]
    variables: Vec<Variable>,
    client_request_token: Option<String>,
    #[serde(default)]
    source_revisions: Vec<RevisionOverride>,
}

/// `StartPipelineExecution`
pub(super) async fn start(cloud: &Cloud, input: Start) -> ApiResult<Value> {
    let token = input
        .client_request_token
        .map(|token| format!("{}/{token}", input.name));
    let (given, overrides) = (input.variables, input.source_revisions);
    let id = engine::change(cloud, &input.name, |board| {
        if let Some(token) = &token
            && let Some(id) = tokens(cloud).get_in(board.tx, token)?
        {
            return Ok(id);
        }
        let declaration = &board.pipeline.declaration;
        let variables = variables(declaration, given)?;
        check_overrides(declaration, &overrides)?;
        if board.is_full() {
            return Err(limit());
        }
        let id = board.start(New {
            trigger: trigger(),
            variables,
            overrides,
        })?;
        if let Some(token) = &token {
            tokens(cloud).put_in(board.tx, token, &id)?;
        }
        Ok(id)
    })?;
    Ok(json!({"pipelineExecutionId": id}))
}

/// `ConcurrentPipelineExecutionsLimitExceededException`
pub(super) fn limit() -> ApiError {
    ApiError::new(
        "ConcurrentPipelineExecutionsLimitExceededException",
        format!("The pipeline has reached the limit of {MAX_OPEN} concurrent pipeline executions"),
    )
}

/// What starts an execution: a rule of EventBridge, or a person or a program.
fn trigger() -> Trigger {
    match events::delivering_rule() {
        Some(trigger_detail) => Trigger {
            trigger_type: TriggerType::CloudWatchEvent,
            trigger_detail,
        },
        None => Trigger {
            trigger_type: TriggerType::StartPipelineExecution,
            trigger_detail: requester(),
        },
    }
}

/// The values of a pipeline's variables. Unverified against AWS [codepipeline-variable-words]: the messages.
fn variables(
    declaration: &Declaration,
    given: Vec<Variable>,
) -> ApiResult<BTreeMap<String, String>> {
    let mut values = BTreeMap::new();
    for Variable { name, value } in given {
        let mut declared = declaration.variables.iter();
        if !declared.any(|variable| variable.name == name) {
            return Err(ApiError::validation(format!(
                "The pipeline does not declare the variable {name}"
            )));
        }
        if values.insert(name.clone(), value).is_some() {
            return Err(ApiError::validation(format!(
                "The variable {name} has more than one value"
            )));
        }
    }
    for variable in &declaration.variables {
        if values.contains_key(&variable.name) {
            continue;
        }
        let default = variable.default_value.clone().ok_or_else(|| {
            ApiError::validation(format!(
                "The variable {} has no default value and needs a value",
                variable.name
            ))
        })?;
        values.insert(variable.name.clone(), default);
    }
    Ok(values)
}

/// Unverified against AWS [codepipeline-override-words]: the messages.
fn check_overrides(declaration: &Declaration, overrides: &[RevisionOverride]) -> ApiResult<()> {
    for wanted in overrides {
        let name = &wanted.action_name;
        let mut sources = declaration.stages[0].actions.iter();
        let source = sources.find(|action| action.name == *name);
        let kind = source.and_then(|action| catalog::find(&action.action_type_id));
        let Some(kind) = kind else {
            return Err(ApiError::validation(format!(
                "The pipeline has no source action {name}"
            )));
        };
        let fits = match wanted.revision_type {
            RevisionType::CommitId => kind.runs == Provider::CodeCommit,
            RevisionType::ImageDigest => kind.runs == Provider::Ecr,
            RevisionType::S3ObjectVersionId | RevisionType::S3ObjectKey => {
                kind.runs == Provider::S3
            }
        };
        if !fits {
            return Err(ApiError::validation(format!(
                "The revision type {} is not one of the source action {name} ({})",
                json!(wanted.revision_type).as_str().unwrap_or_default(),
                kind.provider
            )));
        }
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Get {
    pipeline_name: String,
    pipeline_execution_id: String,
}

/// `GetPipelineExecution`
pub(super) async fn get(cloud: &Cloud, input: Get) -> ApiResult<Value> {
    let name = &input.pipeline_name;
    pipeline(cloud, name)?;
    let found = execution(cloud, name, &input.pipeline_execution_id)?;
    let revisions: Vec<Value> = found.revisions.iter().map(revision).collect();
    let variables = found.variables.iter();
    let variables: Vec<Value> = variables
        .map(|(name, value)| json!({"name": name, "resolvedValue": value}))
        .collect();
    let mut described = json!({
        "pipelineName": name,
        "pipelineVersion": found.version,
        "artifactRevisions": revisions,
        "variables": variables,
    });
    describe(&found, &mut described);
    Ok(json!({"pipelineExecution": described}))
}

/// Adds the members that an execution has in all responses.
pub(super) fn describe(execution: &Execution, described: &mut Value) {
    described["pipelineExecutionId"] = json!(execution.id);
    described["status"] = json!(execution.status);
    described["trigger"] = json!(execution.trigger);
    described["executionMode"] = json!(execution.mode);
    described["executionType"] = json!(execution.kind());
    if let Some(summary) = &execution.summary {
        described["statusSummary"] = json!(summary);
    }
    if let Some(rollback) = &execution.rollback {
        described["rollbackMetadata"] =
            json!({"rollbackTargetPipelineExecutionId": rollback.target});
    }
}

fn revision(revision: &super::records::Revision) -> Value {
    let mut described = json!({
        "name": revision.artifact,
        "revisionId": revision.id,
        "created": revision.created,
    });
    if let Some(summary) = &revision.summary {
        described["revisionSummary"] = json!(summary);
    }
    described
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StopExecution {
    pipeline_name: String,
    pipeline_execution_id: String,
    #[serde(default)]
    abandon: bool,
    reason: Option<String>,
}

/// `StopPipelineExecution`
pub(super) async fn stop(cloud: &Cloud, input: StopExecution) -> ApiResult<Value> {
    let (name, id) = (&input.pipeline_name, &input.pipeline_execution_id);
    pipeline(cloud, name)?;
    // Fails if there is no such execution.
    execution(cloud, name, id).map_err(|error| match error.code.as_str() {
        // The operation has no error of its own for it.
        "PipelineExecutionNotFoundException" => not_stoppable(&no_execution(name, id).message),
        _ => error,
    })?;
    engine::change(cloud, name, |board| {
        let at = board.position(id).ok_or_else(|| {
            not_stoppable("The pipeline execution is not in progress, so that it cannot be stopped")
        })?;
        let execution = &board.entries[at].execution;
        let was_abandoned = execution
            .stop
            .as_ref()
            .is_some_and(|stop| stop.is_abandoned);
        if execution.status == ExecutionStatus::Stopping && (!input.abandon || was_abandoned) {
            return Err(ApiError::new(
                "DuplicatedStopRequestException",
                format!("The pipeline execution {id} is already in a Stopping state"),
            ));
        }
        let stop = Stop {
            reason: input.reason,
            is_abandoned: input.abandon,
        };
        board.stop(at, stop)
    })?;
    Ok(json!({"pipelineExecutionId": id}))
}

fn not_stoppable(message: &str) -> ApiError {
    ApiError::new("PipelineExecutionNotStoppableException", message)
}
