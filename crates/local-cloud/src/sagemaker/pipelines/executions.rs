//! Executions: starting, looking, stopping, retrying.

use std::collections::BTreeMap;

use mlops_pipeline::{Definition, Graph, bind, evaluate};
use serde_json::{Value, json};

use super::records::{
    Execution, Status, StepRecord, compact, execution, execution_key, executions, no_execution,
    parallelism_json, pipeline, pipelines, version_key, versions,
};
use super::{
    ApiError, ApiResult, Cloud, PRINCIPAL, definitions, executor, parallelism, refuse, requests,
    require_role, token,
};
use crate::clock;

/// The ARNs that tokens have started, stopped or retried.
fn tokens(cloud: &Cloud) -> crate::store::Collection<'_, String> {
    cloud.store().collection("sagemaker", "pipeline-token")
}

fn text(input: &Value, member: &str) -> Option<String> {
    requests::optional(input, member).map(str::to_owned)
}

/// `PipelineParameters` of a request.
fn given(input: &Value) -> ApiResult<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for parameter in input
        .get("PipelineParameters")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let name = requests::required(parameter, "Name")?;
        let value = requests::required(parameter, "Value")?;
        if found.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(ApiError::validation(format!(
                "Parameter [{name}] is provided more than once."
            )));
        }
    }
    Ok(found)
}

pub(super) async fn start(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    refuse(
        &input,
        "StartPipelineExecution",
        &[
            "SelectiveExecutionConfig",
            "MlflowExperimentName",
            "PipelineVersionAlias",
        ],
    )?;
    let pipeline = pipeline(cloud, requests::required(&input, "PipelineName")?)?;
    let token = format!("start/{}/{}", pipeline.name, token(&input)?);
    if let Some(arn) = tokens(cloud).get(&token)? {
        return Ok(json!({ "PipelineExecutionArn": arn }));
    }
    let role = text(&input, "RoleArn").unwrap_or_else(|| pipeline.role.clone());
    require_role(cloud, &role, PRINCIPAL)?;
    let version = definitions::version(
        cloud,
        &pipeline,
        definitions::asked_version(&input, &pipeline),
    )?;
    let graph = definitions::check(&version.definition)?;
    let definition = Definition::parse(&version.definition)
        .map_err(|problem| ApiError::validation(problem.to_string()))?;
    let parameters = bind(&definition, &given(&input)?)
        .map_err(|problems| ApiError::validation(problems.join("; ")))?;
    let parallelism = parallelism(&input)?.or(pipeline.parallelism);

    let now = clock::epoch();
    let id = short_id();
    let arn = format!("{}/execution/{id}", pipeline.arn);
    let mut record = Execution {
        display_name: text(&input, "PipelineExecutionDisplayName"),
        description: text(&input, "PipelineExecutionDescription"),
        status: Status::Executing,
        failure: None,
        experiment: None,
        created: now,
        modified: now,
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
    // One transaction: of calls with one token, one starts an execution; the others answer that one.
    let earlier = cloud.store().transaction(|transaction| {
        let earlier = tokens(cloud).get_in(transaction, &token)?;
        if earlier.is_none() {
            tokens(cloud).put_in(transaction, &token, &arn)?;
            executions(cloud).put_in(transaction, &key, &record)?;
        }
        Ok(earlier)
    })?;
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

pub(super) async fn describe(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let execution = execution(cloud, &input)?;
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
        "CreatedBy": {},
        "LastModifiedBy": {},
        "ParallelismConfiguration": parallelism_json(execution.parallelism),
        "PipelineVersionId": execution.version,
        "RoleArn": execution.role,
    })))
}

pub(super) async fn list(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    refuse(&input, "ListPipelineExecutions", &["PipelineVersionAlias"])?;
    let pipeline = pipeline(cloud, requests::required(&input, "PipelineName")?)?;
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
    let listing = requests::Listing {
        name: "PipelineExecutionArn",
        status: None,
        sort_by: "CreationTime",
        descending: true,
    };
    let (mut page, next) = listing.page(records, &input)?;
    for summary in &mut page {
        if let Some(members) = summary.as_object_mut() {
            members.shift_remove("CreationTime");
        }
    }
    Ok(compact(
        json!({ "PipelineExecutionSummaries": page, "NextToken": next }),
    ))
}

pub(super) async fn steps(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let mut steps: Vec<Value> = execution(cloud, &input)?
        .steps
        .iter()
        .map(summary)
        .collect();
    if requests::optional(&input, "SortOrder") != Some("Ascending") {
        steps.reverse();
    }
    let (page, next) = requests::page(steps, &input, 10, 100)?;
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

pub(super) async fn parameters(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let values: Vec<Value> = execution(cloud, &input)?
        .parameters
        .into_iter()
        .map(|(name, value)| {
            let value = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            json!({ "Name": name, "Value": value })
        })
        .collect();
    let (page, next) = requests::page(values, &input, 10, 100)?;
    Ok(compact(
        json!({ "PipelineParameters": page, "NextToken": next }),
    ))
}

pub(super) async fn definition(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let execution = execution(cloud, &input)?;
    Ok(json!({
        "PipelineDefinition": execution.definition,
        "CreationTime": execution.created,
    }))
}

/// Changes an execution in one transaction and answers its ARN.
fn change(
    cloud: &Cloud,
    input: &Value,
    change: impl FnOnce(&mut Execution) -> ApiResult<()>,
) -> ApiResult<(String, Value)> {
    let key = execution_key(cloud, input)?;
    let arn = executions(cloud)
        .update(&key, |execution| {
            change(execution)?;
            execution.modified = clock::epoch();
            Ok(execution.arn.clone())
        })?
        .ok_or_else(|| no_execution(input["PipelineExecutionArn"].as_str().unwrap_or(&key)))?;
    Ok((key, json!({ "PipelineExecutionArn": arn })))
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

pub(super) async fn stop(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    token(&input)?;
    let (_, output) = change(cloud, &input, |execution| match execution.status {
        Status::Executing => {
            execution.status = Status::Stopping;
            Ok(())
        }
        Status::Stopping => Ok(()),
        _ => Err(conflict(execution, "stopped")),
    })?;
    Ok(output)
}

pub(super) async fn retry(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let token = format!("retry/{}", token(&input)?);
    let parallelism = parallelism(&input)?;
    let key = execution_key(cloud, &input)?;
    let (arn, earlier) = cloud.store().transaction(|transaction| {
        if let Some(arn) = tokens(cloud).get_in(transaction, &token)? {
            return Ok((arn, true));
        }
        let mut execution = executions(cloud)
            .get_in(transaction, &key)?
            .ok_or_else(|| no_execution(input["PipelineExecutionArn"].as_str().unwrap_or(&key)))?;
        if !matches!(execution.status, Status::Failed | Status::Stopped) {
            return Err(conflict(&execution, "retried"));
        }
        execution
            .steps
            .retain(|step| step.status == Status::Succeeded);
        execution.status = Status::Executing;
        execution.failure = None;
        execution.parallelism = parallelism.or(execution.parallelism);
        execution.modified = clock::epoch();
        executions(cloud).put_in(transaction, &key, &execution)?;
        tokens(cloud).put_in(transaction, &token, &execution.arn)?;
        Ok((execution.arn, false))
    })?;
    if !earlier {
        executor::spawn(cloud, key);
    }
    Ok(json!({ "PipelineExecutionArn": arn }))
}

pub(super) async fn update(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let parallelism = parallelism(&input)?;
    let (_, output) = change(cloud, &input, |execution| {
        execution.display_name =
            text(&input, "PipelineExecutionDisplayName").or(execution.display_name.take());
        execution.description =
            text(&input, "PipelineExecutionDescription").or(execution.description.take());
        execution.parallelism = parallelism.or(execution.parallelism);
        Ok(())
    })?;
    Ok(output)
}

/// Fails the executions that were under way when the server died.
pub(super) fn recover(cloud: &Cloud) -> ApiResult<()> {
    const REASON: &str = "InternalServerError: the local cloud ended while this was under way.";
    for (key, execution) in executions(cloud).list("")? {
        if !execution.status.goes_on() {
            continue;
        }
        executions(cloud).update(&key, |execution| {
            let now = clock::epoch();
            for step in &mut execution.steps {
                if step.status.goes_on() {
                    step.status = Status::Failed;
                    step.failure = Some(REASON.to_owned());
                    step.ended = Some(now);
                }
            }
            execution.status = Status::Failed;
            execution.failure = Some(REASON.to_owned());
            execution.modified = now;
            Ok(())
        })?;
    }
    Ok(())
}
