//! Executions of pipelines: the operations that start, describe, stop and retry them.

use std::collections::BTreeMap;

use mlops_pipeline::{Definition, Graph, bind, evaluate};
use rusqlite::Transaction;
use serde::Deserialize;
use serde_json::{Value, json};

use super::announce::{self, change_execution};
use super::records::{
    Execution, StepRecord, compact, execution, execution_key, executions, no_execution,
    parallelism_json, pipeline, pipelines, version_key, versions,
};
use super::requests::{ListRequest, Listing, PageRequest, SortOrder};
use super::states::ExecutionStatus;
use super::{
    ApiError, ApiResult, Cloud, PRINCIPAL, Parallelism, check_token, definitions, executor,
    parallelism, refuse, require_role, user_context,
};
use crate::{clock, events};

/// The ARNs of executions that requests with a token started, stopped or retried.
fn tokens(cloud: &Cloud) -> crate::store::Collection<'_, String> {
    cloud.store().collection("sagemaker", "pipeline-token")
}

/// A parameter of a request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Parameter {
    name: String,
    value: String,
}

/// The values of parameters by name; a name can occur only once.
fn given(parameters: Vec<Parameter>) -> ApiResult<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for Parameter { name, value } in parameters {
        if found.contains_key(&name) {
            return Err(ApiError::validation(format!(
                "Parameter [{name}] is provided more than once."
            )));
        }
        found.insert(name, value);
    }
    Ok(found)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct StartExecution {
    pipeline_name: String,
    client_request_token: String,
    pipeline_version_id: Option<i64>,
    role_arn: Option<String>,
    #[serde(default)]
    pipeline_parameters: Vec<Parameter>,
    pipeline_execution_display_name: Option<String>,
    pipeline_execution_description: Option<String>,
    parallelism_configuration: Option<Parallelism>,
    // Unsupported members.
    selective_execution_config: Option<Value>,
    mlflow_experiment_name: Option<Value>,
    pipeline_version_alias: Option<Value>,
}

pub(super) async fn start(cloud: &Cloud, input: StartExecution) -> ApiResult<Value> {
    refuse(
        "StartPipelineExecution",
        &[
            (
                "SelectiveExecutionConfig",
                &input.selective_execution_config,
            ),
            ("MlflowExperimentName", &input.mlflow_experiment_name),
            ("PipelineVersionAlias", &input.pipeline_version_alias),
        ],
    )?;
    let pipeline = pipeline(cloud, &input.pipeline_name)?;
    check_token(&input.client_request_token)?;
    let token = format!("start/{}/{}", pipeline.name, input.client_request_token);
    if let Some(arn) = tokens(cloud).get(&token)? {
        return Ok(json!({ "PipelineExecutionArn": arn }));
    }
    let role = input.role_arn.unwrap_or_else(|| pipeline.role.clone());
    require_role(cloud, &role, PRINCIPAL)?;
    let version = input.pipeline_version_id.unwrap_or(pipeline.version);
    let version = definitions::version(cloud, &pipeline, version)?;
    let graph = definitions::check(&version.definition)?;
    let definition = Definition::parse(&version.definition)
        .map_err(|problem| ApiError::validation(problem.to_string()))?;
    let parameters = bind(&definition, &given(input.pipeline_parameters)?)
        .map_err(|problems| ApiError::validation(problems.join("; ")))?;
    let parallelism = parallelism(input.parallelism_configuration)?.or(pipeline.parallelism);

    let now = clock::epoch();
    let id = short_id();
    let arn = format!("{}/execution/{id}", pipeline.arn);
    let mut record = Execution {
        display_name: input.pipeline_execution_display_name,
        description: input.pipeline_execution_description,
        status: ExecutionStatus::Executing,
        failure: None,
        experiment: None,
        created: now,
        created_by: user_context(),
        modified: now,
        modified_by: user_context(),
        parallelism,
        version: version.id,
        role,
        definition: version.definition,
        parameters,
        steps: Vec::new(),
        pipeline: pipeline.name.clone(),
        arn: arn.clone(),
        id: id.clone(),
    };
    record.experiment = experiment(cloud, &record, &graph, &definition)?;
    let key = format!("{}/{id}", pipeline.name);
    // One transaction: of calls with one token, one starts an execution; the others return it.
    let earlier = cloud.store().transaction(|transaction| {
        let earlier = tokens(cloud).get_in(transaction, &token)?;
        if earlier.is_none() {
            tokens(cloud).put_in(transaction, &token, &arn)?;
            executions(cloud).put_in(transaction, &key, &record)?;
            publish_changes(cloud, transaction, None, &record)?;
        }
        Ok(earlier)
    })?;
    events::deliver_soon(cloud);
    if let Some(arn) = earlier {
        return Ok(json!({ "PipelineExecutionArn": arn }));
    }
    pipelines(cloud).update(&pipeline.name, |pipeline| {
        pipeline.last_run = Some(now);
        Ok(())
    })?;
    versions(cloud).update(&version_key(&pipeline.name, version.id), |version| {
        version.last_execution = Some(arn.clone());
        Ok(())
    })?;
    executor::spawn(cloud, key);
    Ok(json!({ "PipelineExecutionArn": arn }))
}

/// Twelve lower-case letters and digits, as AWS's execution ids.
fn short_id() -> String {
    const DIGITS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut rest = uuid::Uuid::new_v4().as_u128();
    (0..12)
        .map(|_| {
            let digit = DIGITS[usize::try_from(rest % 36).unwrap_or(0)];
            rest /= 36;
            char::from(digit)
        })
        .collect()
}

fn experiment(
    cloud: &Cloud,
    record: &Execution,
    graph: &Graph,
    definition: &Definition,
) -> ApiResult<Option<Value>> {
    let scope = super::scope::Bound::new(cloud, record, graph, None);
    definition
        .pipeline_experiment_config
        .as_ref()
        .filter(|config| !config.is_null())
        .map(|config| evaluate(config, &scope))
        .transpose()
        .map_err(|error| ApiError::validation(format!("PipelineExperimentConfig: {error}")))
}

/// The request of an operation on one execution.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ExecutionArn {
    pipeline_execution_arn: String,
}

pub(super) async fn describe(cloud: &Cloud, input: ExecutionArn) -> ApiResult<Value> {
    let execution = execution(cloud, &input.pipeline_execution_arn)?;
    Ok(compact(json!({
        "PipelineArn": cloud.arn("sagemaker", format_args!("pipeline/{}", execution.pipeline)),
        "PipelineExecutionArn": execution.arn,
        "PipelineExecutionDisplayName": execution.display_name,
        "PipelineExecutionStatus": execution.status,
        "PipelineExecutionDescription": execution.description,
        "PipelineExperimentConfig": execution.experiment,
        "FailureReason": execution.failure,
        "CreationTime": execution.created,
        "LastModifiedTime": execution.modified,
        "CreatedBy": execution.created_by,
        "LastModifiedBy": execution.modified_by,
        "ParallelismConfiguration": parallelism_json(execution.parallelism),
        "PipelineVersionId": execution.version,
        "RoleArn": execution.role,
    })))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListExecutions {
    pipeline_name: String,
    pipeline_version_alias: Option<Value>,
    #[serde(flatten)]
    list: ListRequest,
}

pub(super) async fn list(cloud: &Cloud, input: ListExecutions) -> ApiResult<Value> {
    let alias = [("PipelineVersionAlias", &input.pipeline_version_alias)];
    refuse("ListPipelineExecutions", &alias)?;
    let pipeline = pipeline(cloud, &input.pipeline_name)?;
    let records = executions(cloud)
        .list(&format!("{}/", pipeline.name))?
        .into_iter()
        .map(|(_, execution)| {
            // CreationTime is for the filter and the order only; the summary calls it StartTime.
            compact(json!({
                "PipelineExecutionArn": execution.arn,
                "CreationTime": execution.created,
                "StartTime": execution.created,
                "PipelineExecutionStatus": execution.status,
                "PipelineExecutionDescription": execution.description,
                "PipelineExecutionDisplayName": execution.display_name,
                "PipelineExecutionFailureReason": execution.failure,
            }))
        })
        .collect();
    let listing = Listing {
        name: "PipelineExecutionArn",
        status: None,
        sort_by: "CreationTime",
        order: SortOrder::Descending,
    };
    let (mut page, next) = listing.page(records, &input.list)?;
    for summary in &mut page {
        if let Some(members) = summary.as_object_mut() {
            members.shift_remove("CreationTime");
        }
    }
    Ok(compact(
        json!({ "PipelineExecutionSummaries": page, "NextToken": next }),
    ))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListOfExecution {
    pipeline_execution_arn: String,
    sort_order: Option<SortOrder>,
    #[serde(flatten)]
    page: PageRequest,
}

pub(super) async fn steps(cloud: &Cloud, input: ListOfExecution) -> ApiResult<Value> {
    let mut steps: Vec<Value> = execution(cloud, &input.pipeline_execution_arn)?
        .steps
        .iter()
        .map(summary)
        .collect();
    if input.sort_order != Some(SortOrder::Ascending) {
        steps.reverse();
    }
    let (page, next) = input.page.cut(steps, 10, 100)?;
    Ok(compact(
        json!({ "PipelineExecutionSteps": page, "NextToken": next }),
    ))
}

fn summary(step: &StepRecord) -> Value {
    compact(json!({
        "StepName": step.name,
        "StepDisplayName": step.display_name,
        "StepDescription": step.description,
        "StartTime": step.started,
        "EndTime": step.ended,
        "StepStatus": step.status,
        "FailureReason": step.failure,
        "Metadata": step.metadata,
        "AttemptCount": step.attempts,
        "CacheHitResult": step.cache_hit.as_ref().map(
            |arn| json!({ "SourcePipelineExecutionArn": arn }),
        ),
    }))
}

pub(super) async fn parameters(cloud: &Cloud, input: ListOfExecution) -> ApiResult<Value> {
    let values: Vec<Value> = execution(cloud, &input.pipeline_execution_arn)?
        .parameters
        .into_iter()
        .map(|(name, value)| {
            let value = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            json!({ "Name": name, "Value": value })
        })
        .collect();
    let (page, next) = input.page.cut(values, 10, 100)?;
    Ok(compact(
        json!({ "PipelineParameters": page, "NextToken": next }),
    ))
}

pub(super) async fn definition(cloud: &Cloud, input: ExecutionArn) -> ApiResult<Value> {
    let execution = execution(cloud, &input.pipeline_execution_arn)?;
    Ok(json!({
        "PipelineDefinition": execution.definition,
        "CreationTime": execution.created,
    }))
}

/// Changes an execution in one transaction. Returns its ARN as the response.
fn change(
    cloud: &Cloud,
    arn: &str,
    change: impl FnOnce(&mut Execution) -> ApiResult<()>,
) -> ApiResult<Value> {
    let key = execution_key(cloud, arn)?;
    let arn = change_execution(cloud, &key, |execution| {
        change(execution)?;
        execution.modified = clock::epoch();
        execution.modified_by = user_context();
        Ok(execution.arn.clone())
    })?
    .ok_or_else(|| no_execution(arn))?;
    Ok(json!({ "PipelineExecutionArn": arn }))
}

/// Announces a change of an execution in its transaction.
fn publish_changes(
    cloud: &Cloud,
    transaction: &Transaction<'_>,
    before: Option<&Execution>,
    after: &Execution,
) -> ApiResult<()> {
    let mut changes = announce::changes(before, after).into_iter();
    changes.try_for_each(|event| events::publish_in(transaction, cloud, event))
}

fn conflict(execution: &Execution, verb: &str) -> ApiError {
    ApiError::new(
        "ConflictException",
        format!(
            "Pipeline execution with ARN {} cannot be {verb}: its status is {:?}.",
            execution.arn, execution.status
        ),
    )
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct StopExecution {
    pipeline_execution_arn: String,
    client_request_token: String,
}

pub(super) async fn stop(cloud: &Cloud, input: StopExecution) -> ApiResult<Value> {
    check_token(&input.client_request_token)?;
    let arn = &input.pipeline_execution_arn;
    change(cloud, arn, |execution| match execution.status {
        ExecutionStatus::Executing => {
            execution.status = ExecutionStatus::Stopping;
            Ok(())
        }
        ExecutionStatus::Stopping => Ok(()),
        _ => Err(conflict(execution, "stopped")),
    })
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RetryExecution {
    pipeline_execution_arn: String,
    client_request_token: String,
    parallelism_configuration: Option<Parallelism>,
}

pub(super) async fn retry(cloud: &Cloud, input: RetryExecution) -> ApiResult<Value> {
    check_token(&input.client_request_token)?;
    let token = format!("retry/{}", input.client_request_token);
    let parallelism = parallelism(input.parallelism_configuration)?;
    let key = execution_key(cloud, &input.pipeline_execution_arn)?;
    let (arn, earlier) = cloud.store().transaction(|transaction| {
        if let Some(arn) = tokens(cloud).get_in(transaction, &token)? {
            return Ok((arn, true));
        }
        let mut execution = executions(cloud)
            .get_in(transaction, &key)?
            .ok_or_else(|| no_execution(&input.pipeline_execution_arn))?;
        if !matches!(
            execution.status,
            ExecutionStatus::Failed | ExecutionStatus::Stopped
        ) {
            return Err(conflict(&execution, "retried"));
        }
        let before = execution.clone();
        execution
            .steps
            .retain(|step| step.status == ExecutionStatus::Succeeded);
        execution.status = ExecutionStatus::Executing;
        execution.failure = None;
        execution.parallelism = parallelism.or(execution.parallelism);
        execution.modified = clock::epoch();
        execution.modified_by = user_context();
        executions(cloud).put_in(transaction, &key, &execution)?;
        publish_changes(cloud, transaction, Some(&before), &execution)?;
        tokens(cloud).put_in(transaction, &token, &execution.arn)?;
        Ok((execution.arn, false))
    })?;
    events::deliver_soon(cloud);
    if !earlier {
        executor::spawn(cloud, key);
    }
    Ok(json!({ "PipelineExecutionArn": arn }))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UpdateExecution {
    pipeline_execution_arn: String,
    pipeline_execution_display_name: Option<String>,
    pipeline_execution_description: Option<String>,
    parallelism_configuration: Option<Parallelism>,
}

pub(super) async fn update(cloud: &Cloud, input: UpdateExecution) -> ApiResult<Value> {
    let parallelism = parallelism(input.parallelism_configuration)?;
    change(cloud, &input.pipeline_execution_arn, |execution| {
        let (name, description) = (
            input.pipeline_execution_display_name,
            input.pipeline_execution_description,
        );
        execution.display_name = name.or(execution.display_name.take());
        execution.description = description.or(execution.description.take());
        execution.parallelism = parallelism.or(execution.parallelism);
        Ok(())
    })
}

/// Marks the executions that were in progress when the server died as failed.
pub(super) fn recover(cloud: &Cloud) -> ApiResult<()> {
    const REASON: &str = "InternalServerError: the local cloud ended while this was in progress.";
    for (key, execution) in executions(cloud).list("")? {
        if !execution.status.is_in_progress() {
            continue;
        }
        change_execution(cloud, &key, |execution| {
            let now = clock::epoch();
            for step in &mut execution.steps {
                if step.status.is_in_progress() {
                    step.status = ExecutionStatus::Failed;
                    step.failure = Some(REASON.to_owned());
                    step.ended = Some(now);
                }
            }
            execution.status = ExecutionStatus::Failed;
            execution.failure = Some(REASON.to_owned());
            execution.modified = now;
            Ok(())
        })?;
    }
    Ok(())
}
