//! Pipelines and their versions.

use mlops_pipeline::{Definition, Graph, Problem, SCHEMA_ONLY, StepType, Words};
use serde_json::{Map, Value, json};

use super::records::{
    Pipeline, Version, compact, executions, parallelism_json, pipeline, pipelines,
};
use super::records::{version_key, versions};
use super::{
    ApiError, ApiResult, Cloud, PRINCIPAL, parallelism, refuse, requests, require_role, tags, token,
};
use crate::clock;
use crate::s3::objects;

/// What Create and Update do not have.
const REFUSED: &[&str] = &["PipelineVersionAliases"];

/// Checks a definition as AWS does when a pipeline is created, and refuses by name what the local
/// cloud does not execute.
pub(super) fn check(text: &str) -> ApiResult<Graph> {
    let definition =
        Definition::checked(text).map_err(|problems| match unsupported(text, &problems) {
            Some(kind) => ApiError::not_implemented(format_args!("the pipeline step type {kind}")),
            None => refusal(problems),
        })?;
    let graph =
        Graph::new(&definition).map_err(|problem| ApiError::validation(problem.to_string()))?;
    for node in &graph.nodes {
        let step = &node.step;
        match &step.kind {
            StepType::Other(kind) => {
                return Err(ApiError::not_implemented(format_args!(
                    "the pipeline step type {kind} (step `{}`)",
                    step.name
                )));
            }
            // The published schema allows any member here.
            StepType::Fail => {
                let members = step.arguments.as_object().into_iter().flat_map(Map::keys);
                if let Some(member) = members.into_iter().find(|name| *name != "ErrorMessage") {
                    return Err(ApiError::not_implemented(format_args!(
                        "the argument {member} of a Fail step (step `{}`)",
                        step.name
                    )));
                }
            }
            StepType::RegisterModel if !step.arguments["ModelMetrics"][SCHEMA_ONLY].is_null() => {
                return Err(ApiError::not_implemented(format_args!(
                    "ModelMetrics.{SCHEMA_ONLY} (step `{}`)",
                    step.name
                )));
            }
            _ => {}
        }
    }
    Ok(graph)
}

/// What is wrong with a definition, each with its place; AWS's own words come first.
fn refusal(mut problems: Vec<Problem>) -> ApiError {
    problems.sort_by_key(|problem| problem.words == Words::Ours);
    let assignment = problems
        .first()
        .is_some_and(|problem| problem.words == Words::Assignment);
    let prefix = if assignment {
        ""
    } else {
        "Unable to parse pipeline definition. "
    };
    let problems: Vec<String> = problems
        .into_iter()
        .map(|problem| match problem.words {
            Words::Ours => problem.to_string(),
            _ => format!("{} ({})", problem.message, problem.path),
        })
        .collect();
    ApiError::validation(format!("{prefix}{}", problems.join("; ")))
}

/// The type of a step that the local cloud does not have, if every problem is inside such steps.
fn unsupported(text: &str, problems: &[Problem]) -> Option<String> {
    let definition: Value = serde_json::from_str(text).ok()?;
    let mut found = Vec::new();
    unsupported_steps(&definition["Steps"], "$.Steps", &mut found);
    let inside = |problem: &Problem, path: &str| {
        problem
            .path
            .strip_prefix(path)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let all = problems
        .iter()
        .all(|problem| found.iter().any(|(path, _)| inside(problem, path)));
    found
        .into_iter()
        .next()
        .filter(|_| all)
        .map(|(_, kind)| kind)
}

/// The paths and types of the steps that the local cloud does not have.
fn unsupported_steps(steps: &Value, path: &str, found: &mut Vec<(String, String)>) {
    for (index, step) in steps.as_array().into_iter().flatten().enumerate() {
        let path = format!("{path}[{index}]");
        let kind = step["Type"].as_str().unwrap_or_default();
        if StepType::OTHERS.contains(&kind) {
            found.push((path.clone(), kind.to_owned()));
        }
        for member in ["IfSteps", "ElseSteps"] {
            let branch = format!("{path}.Arguments.{member}");
            unsupported_steps(&step["Arguments"][member], &branch, found);
        }
    }
}

/// The definition of a request: inline, or an object in S3.
fn definition(cloud: &Cloud, input: &Value) -> ApiResult<Option<String>> {
    let inline = requests::optional(input, "PipelineDefinition");
    let location = input
        .get("PipelineDefinitionS3Location")
        .filter(|value| !value.is_null());
    let text = match (inline, location) {
        (Some(_), Some(_)) => {
            return Err(ApiError::validation(
                "Only one of PipelineDefinition and PipelineDefinitionS3Location can be provided.",
            ));
        }
        (Some(text), None) => text.to_owned(),
        (None, Some(location)) => {
            refuse(location, "PipelineDefinitionS3Location", &["VersionId"])?;
            let bucket = requests::required(location, "Bucket")?;
            let key = requests::required(location, "ObjectKey")?;
            let bytes = objects::read(cloud, bucket, key).map_err(|error| {
                ApiError::validation(format!(
                    "Unable to read the pipeline definition at s3://{bucket}/{key}: {}",
                    error.code
                ))
            })?;
            String::from_utf8(bytes)
                .map_err(|_| ApiError::validation("The pipeline definition is not UTF-8 text."))?
        }
        (None, None) => return Ok(None),
    };
    check(&text)?;
    Ok(Some(text))
}

fn text(input: &Value, member: &str) -> Option<String> {
    requests::optional(input, member).map(str::to_owned)
}

pub(super) async fn create(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    refuse(&input, "CreatePipeline", REFUSED)?;
    let name = requests::name(&input, "PipelineName", 256)?;
    let token = token(&input)?;
    let arn = cloud.arn("sagemaker", format_args!("pipeline/{name}"));
    let exists = || {
        ApiError::validation(format!(
            "Pipeline names must be unique within an AWS account and region. Pipeline with name \
             ({name}) already exists."
        ))
    };
    if let Some(existing) = pipelines(cloud).get(name)? {
        if existing.token == token {
            return Ok(json!({ "PipelineArn": existing.arn }));
        }
        return Err(exists());
    }
    let role = requests::required(&input, "RoleArn")?;
    require_role(cloud, role, PRINCIPAL)?;
    let definition = definition(cloud, &input)?.ok_or_else(|| {
        ApiError::validation(
            "One of PipelineDefinition and PipelineDefinitionS3Location must be provided.",
        )
    })?;
    let now = clock::epoch();
    let record = Pipeline {
        name: name.to_owned(),
        arn: arn.clone(),
        display_name: text(&input, "PipelineDisplayName"),
        description: text(&input, "PipelineDescription"),
        role: role.to_owned(),
        parallelism: parallelism(&input)?,
        created: now,
        modified: now,
        last_run: None,
        version: 1,
        token: token.to_owned(),
    };
    // One transaction: of calls with one token, one makes the pipeline; another's version stays.
    cloud.store().transaction(|transaction| {
        match pipelines(cloud).get_in(transaction, name)? {
            Some(existing) if existing.token == token => return Ok(()),
            Some(_) => return Err(exists()),
            None => {}
        }
        versions(cloud).put_in(
            transaction,
            &version_key(name, 1),
            &new_version(1, definition, now),
        )?;
        pipelines(cloud).put_in(transaction, name, &record)?;
        tags::put_in(cloud, transaction, &arn, input.get("Tags"))
    })?;
    Ok(json!({ "PipelineArn": arn }))
}

fn new_version(id: i64, definition: String, now: f64) -> Version {
    Version {
        id,
        definition,
        created: now,
        display_name: None,
        description: None,
        last_execution: None,
    }
}

/// A version of a pipeline; `ResourceNotFound`.
pub(super) fn version(cloud: &Cloud, pipeline: &Pipeline, id: i64) -> ApiResult<Version> {
    versions(cloud)
        .get(&version_key(&pipeline.name, id))?
        .ok_or_else(|| {
            ApiError::not_found(
                "ResourceNotFound",
                format!("Pipeline '{}' has no version {id}.", pipeline.arn),
            )
        })
}

pub(super) async fn update(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    refuse(&input, "UpdatePipeline", REFUSED)?;
    let current = pipeline(cloud, requests::required(&input, "PipelineName")?)?;
    if let Some(role) = requests::optional(&input, "RoleArn") {
        require_role(cloud, role, PRINCIPAL)?;
    }
    let parallelism = parallelism(&input)?;
    let now = clock::epoch();
    let definition = definition(cloud, &input)?;
    let id = cloud.store().transaction(|transaction| {
        let (pipelines, versions) = (pipelines(cloud), versions(cloud));
        let mut record = pipelines
            .get_in(transaction, &current.name)?
            .unwrap_or_else(|| current.clone());
        let mut id = record.version;
        if let Some(definition) = definition {
            let newest = versions.get_in(transaction, &version_key(&current.name, id))?;
            if newest.is_none_or(|newest| newest.definition != definition) {
                id += 1;
                versions.put_in(
                    transaction,
                    &version_key(&current.name, id),
                    &new_version(id, definition, now),
                )?;
            }
        }
        record.display_name = text(&input, "PipelineDisplayName").or(record.display_name.take());
        record.description = text(&input, "PipelineDescription").or(record.description.take());
        if let Some(role) = text(&input, "RoleArn") {
            record.role = role;
        }
        record.parallelism = parallelism.or(record.parallelism);
        record.modified = now;
        record.version = id;
        pipelines.put_in(transaction, &current.name, &record)?;
        Ok(id)
    })?;
    Ok(json!({ "PipelineArn": current.arn, "PipelineVersionId": id }))
}

/// The version that a request asks for.
pub(super) fn asked_version(input: &Value, pipeline: &Pipeline) -> i64 {
    input
        .get("PipelineVersionId")
        .and_then(Value::as_i64)
        .unwrap_or(pipeline.version)
}

pub(super) async fn describe(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    refuse(&input, "DescribePipeline", &["PipelineVersionAlias"])?;
    let pipeline = pipeline(cloud, requests::required(&input, "PipelineName")?)?;
    let version = version(cloud, &pipeline, asked_version(&input, &pipeline))?;
    Ok(compact(json!({
        "PipelineArn": pipeline.arn,
        "PipelineName": pipeline.name,
        "PipelineDisplayName": pipeline.display_name.as_ref().unwrap_or(&pipeline.name),
        "PipelineDefinition": version.definition,
        "PipelineDescription": pipeline.description,
        "RoleArn": pipeline.role,
        "PipelineStatus": "Active",
        "CreationTime": pipeline.created,
        "LastModifiedTime": pipeline.modified,
        "LastRunTime": pipeline.last_run,
        "CreatedBy": {},
        "LastModifiedBy": {},
        "ParallelismConfiguration": parallelism_json(pipeline.parallelism),
        "PipelineVersionDisplayName": version.display_name,
        "PipelineVersionDescription": version.description,
    })))
}

pub(super) async fn list(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    refuse(&input, "ListPipelines", &["ManagedBy"])?;
    let prefix = requests::optional(&input, "PipelineNamePrefix").unwrap_or_default();
    let records = pipelines(cloud)
        .list(prefix)?
        .into_iter()
        .map(|(_, pipeline)| {
            compact(json!({
                "PipelineArn": pipeline.arn,
                "PipelineName": pipeline.name,
                "PipelineDisplayName": pipeline.display_name.as_ref().unwrap_or(&pipeline.name),
                "PipelineDescription": pipeline.description,
                "RoleArn": pipeline.role,
                "CreationTime": pipeline.created,
                "LastModifiedTime": pipeline.modified,
                "LastExecutionTime": pipeline.last_run,
            }))
        })
        .collect();
    let listing = requests::Listing {
        name: "PipelineName",
        status: None,
        sort_by: "CreationTime",
        descending: true,
    };
    let (page, next) = listing.page(records, &input)?;
    Ok(compact(
        json!({ "PipelineSummaries": page, "NextToken": next }),
    ))
}

pub(super) async fn delete(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    token(&input)?;
    let pipeline = pipeline(cloud, requests::required(&input, "PipelineName")?)?;
    let own = format!("{}/", pipeline.name);
    let runs = executions(cloud).list(&own)?;
    if let Some((_, run)) = runs.iter().find(|(_, run)| run.status.goes_on()) {
        return Err(ApiError::new(
            "ConflictException",
            format!(
                "Pipeline '{}' has a running execution: {}. Stop it before you delete the pipeline.",
                pipeline.arn, run.arn
            ),
        ));
    }
    let kept = versions(cloud).list(&own)?;
    cloud.store().transaction(|transaction| {
        pipelines(cloud).remove_in(transaction, &pipeline.name)?;
        for (key, _) in &runs {
            executions(cloud).remove_in(transaction, key)?;
        }
        for (key, _) in &kept {
            versions(cloud).remove_in(transaction, key)?;
        }
        tags::remove_in(cloud, transaction, &pipeline.arn)
    })?;
    Ok(json!({ "PipelineArn": pipeline.arn }))
}

pub(super) async fn list_versions(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let pipeline = pipeline(cloud, requests::required(&input, "PipelineName")?)?;
    let mut records: Vec<Value> = versions(cloud)
        .list(&format!("{}/", pipeline.name))?
        .into_iter()
        .map(|(_, version)| {
            compact(json!({
                "PipelineArn": pipeline.arn,
                "PipelineVersionId": version.id,
                "CreationTime": version.created,
                "PipelineVersionDescription": version.description,
                "PipelineVersionDisplayName": version.display_name,
                "LastExecutionPipelineExecutionArn": version.last_execution,
            }))
        })
        .filter(|record| requests::in_time(record, &input))
        .collect();
    if requests::optional(&input, "SortOrder") != Some("Ascending") {
        records.reverse();
    }
    let (page, next) = requests::page(records, &input, 10, 100)?;
    Ok(compact(
        json!({ "PipelineVersionSummaries": page, "NextToken": next }),
    ))
}

pub(super) async fn update_version(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    refuse(
        &input,
        "UpdatePipelineVersion",
        &["PipelineVersionAliasOperations"],
    )?;
    let pipeline = pipeline(cloud, requests::required(&input, "PipelineArn")?)?;
    let id = asked_version(&input, &pipeline);
    version(cloud, &pipeline, id)?;
    versions(cloud).update(&version_key(&pipeline.name, id), |record| {
        record.display_name =
            text(&input, "PipelineVersionDisplayName").or(record.display_name.take());
        record.description =
            text(&input, "PipelineVersionDescription").or(record.description.take());
        Ok(())
    })?;
    Ok(json!({ "PipelineArn": pipeline.arn, "PipelineVersionId": id }))
}
