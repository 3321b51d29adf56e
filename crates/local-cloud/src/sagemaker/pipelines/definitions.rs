//! Pipelines and their versions.

use mlops_pipeline::{Definition, Graph, Problem, SCHEMA_ONLY, StepType, Words};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::records::{
    Pipeline, Version, compact, executions, parallelism_json, pipeline, pipelines,
};
use super::records::{version_key, versions};
use super::requests::{ListRequest, Listing, PageRequest, SortOrder, TimeBounds, check_name};
use super::states::PipelineStatus;
use super::{
    ApiError, ApiResult, Cloud, PRINCIPAL, Parallelism, check_token, parallelism, refuse,
    require_role, tags, user_context,
};
use crate::api::tags::Tags;
use crate::clock;
use crate::cloud::caller::Caller;
use crate::s3::objects;

/// Checks a definition as AWS does when a pipeline is created, and refuses unsupported steps by name.
pub(super) fn check(text: &str) -> ApiResult<Graph> {
    let definition =
        Definition::checked(text).map_err(|problems| match unsupported(text, &problems) {
            Some(kind) => ApiError::not_implemented(format_args!("the pipeline step type {kind}")),
            None => refusal(problems),
        })?;
    if definition.mlflow_config.is_some() {
        return Err(ApiError::not_implemented(
            "MlflowConfig of a pipeline definition",
        ));
    }
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

/// The problems of a definition with their positions; starts with AWS's own words.
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

/// The definition in a request: inline, or an object in S3.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DefinitionSource {
    pipeline_definition: Option<String>,
    #[serde(rename = "PipelineDefinitionS3Location")]
    location: Option<S3Location>,
}

/// `PipelineDefinitionS3Location`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct S3Location {
    bucket: String,
    object_key: String,
    version_id: Option<Value>,
}

impl DefinitionSource {
    /// Reads and validates the definition, if present.
    fn read(&self, cloud: &Cloud) -> ApiResult<Option<String>> {
        let text = match (&self.pipeline_definition, &self.location) {
            (Some(_), Some(_)) => {
                return Err(ApiError::validation(
                    "Only one of PipelineDefinition and PipelineDefinitionS3Location can be \
                     provided.",
                ));
            }
            (Some(text), None) => text.clone(),
            (None, Some(location)) => location.read(cloud)?,
            (None, None) => return Ok(None),
        };
        check(&text)?;
        Ok(Some(text))
    }
}

impl S3Location {
    fn read(&self, cloud: &Cloud) -> ApiResult<String> {
        refuse(
            "PipelineDefinitionS3Location",
            &[("VersionId", &self.version_id)],
        )?;
        let (bucket, key) = (&self.bucket, &self.object_key);
        let bytes = objects::read(cloud, &Caller::current(), bucket, key).map_err(|error| {
            ApiError::validation(format!(
                "Unable to read the pipeline definition at s3://{bucket}/{key}: {}",
                error.code
            ))
        })?;
        String::from_utf8(bytes)
            .map_err(|_| ApiError::validation("The pipeline definition is not UTF-8 text."))
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreatePipeline {
    pipeline_name: String,
    pipeline_display_name: Option<String>,
    pipeline_description: Option<String>,
    #[serde(flatten)]
    definition: DefinitionSource,
    client_request_token: String,
    role_arn: String,
    parallelism_configuration: Option<Parallelism>,
    tags: Option<Tags>,
    pipeline_version_aliases: Option<Value>,
}

pub(super) async fn create(cloud: &Cloud, input: CreatePipeline) -> ApiResult<Value> {
    let aliases = [("PipelineVersionAliases", &input.pipeline_version_aliases)];
    refuse("CreatePipeline", &aliases)?;
    let (name, token) = (&input.pipeline_name, input.client_request_token);
    check_name(name, "PipelineName", 256)?;
    check_token(&token)?;
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
    require_role(cloud, &input.role_arn, PRINCIPAL)?;
    let definition = input.definition.read(cloud)?.ok_or_else(|| {
        ApiError::validation(
            "One of PipelineDefinition and PipelineDefinitionS3Location must be provided.",
        )
    })?;
    let now = clock::epoch();
    let record = Pipeline {
        name: name.clone(),
        arn: arn.clone(),
        display_name: input.pipeline_display_name,
        description: input.pipeline_description,
        role: input.role_arn,
        parallelism: parallelism(input.parallelism_configuration)?,
        created: now,
        created_by: user_context(),
        modified: now,
        modified_by: user_context(),
        last_run: None,
        version: 1,
        token,
    };
    // One transaction: of calls with one token, one creates the pipeline; the others return it.
    cloud.store().transaction(|transaction| {
        match pipelines(cloud).get_in(transaction, name)? {
            Some(existing) if existing.token == record.token => return Ok(()),
            Some(_) => return Err(exists()),
            None => {}
        }
        versions(cloud).put_in(
            transaction,
            &version_key(name, 1),
            &new_version(1, definition, now),
        )?;
        pipelines(cloud).put_in(transaction, name, &record)?;
        tags::put_in(cloud, transaction, &arn, input.tags.as_ref())
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

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UpdatePipeline {
    pipeline_name: String,
    pipeline_display_name: Option<String>,
    pipeline_description: Option<String>,
    #[serde(flatten)]
    definition: DefinitionSource,
    role_arn: Option<String>,
    parallelism_configuration: Option<Parallelism>,
    pipeline_version_aliases: Option<Value>,
}

pub(super) async fn update(cloud: &Cloud, input: UpdatePipeline) -> ApiResult<Value> {
    let aliases = [("PipelineVersionAliases", &input.pipeline_version_aliases)];
    refuse("UpdatePipeline", &aliases)?;
    let current = pipeline(cloud, &input.pipeline_name)?;
    if let Some(role) = &input.role_arn {
        require_role(cloud, role, PRINCIPAL)?;
    }
    let parallelism = parallelism(input.parallelism_configuration)?;
    let now = clock::epoch();
    let definition = input.definition.read(cloud)?;
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
        record.display_name = input.pipeline_display_name.or(record.display_name.take());
        record.description = input.pipeline_description.or(record.description.take());
        if let Some(role) = input.role_arn {
            record.role = role;
        }
        record.parallelism = parallelism.or(record.parallelism);
        record.modified = now;
        record.modified_by = user_context();
        record.version = id;
        pipelines.put_in(transaction, &current.name, &record)?;
        Ok(id)
    })?;
    Ok(json!({ "PipelineArn": current.arn, "PipelineVersionId": id }))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[expect(clippy::struct_field_names, reason = "the API's names")]
pub(super) struct DescribePipeline {
    pipeline_name: String,
    pipeline_version_id: Option<i64>,
    pipeline_version_alias: Option<Value>,
}

pub(super) async fn describe(cloud: &Cloud, input: DescribePipeline) -> ApiResult<Value> {
    let alias = [("PipelineVersionAlias", &input.pipeline_version_alias)];
    refuse("DescribePipeline", &alias)?;
    let pipeline = pipeline(cloud, &input.pipeline_name)?;
    let id = input.pipeline_version_id.unwrap_or(pipeline.version);
    let version = version(cloud, &pipeline, id)?;
    Ok(compact(json!({
        "PipelineArn": pipeline.arn,
        "PipelineName": pipeline.name,
        "PipelineDisplayName": pipeline.display_name.as_ref().unwrap_or(&pipeline.name),
        "PipelineDefinition": version.definition,
        "PipelineDescription": pipeline.description,
        "RoleArn": pipeline.role,
        "PipelineStatus": PipelineStatus::Active,
        "CreationTime": pipeline.created,
        "LastModifiedTime": pipeline.modified,
        "LastRunTime": pipeline.last_run,
        "CreatedBy": pipeline.created_by,
        "LastModifiedBy": pipeline.modified_by,
        "ParallelismConfiguration": parallelism_json(pipeline.parallelism),
        "PipelineVersionDisplayName": version.display_name,
        "PipelineVersionDescription": version.description,
    })))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListPipelines {
    #[serde(default)]
    pipeline_name_prefix: String,
    managed_by: Option<Value>,
    #[serde(flatten)]
    list: ListRequest,
}

pub(super) async fn list(cloud: &Cloud, input: ListPipelines) -> ApiResult<Value> {
    refuse("ListPipelines", &[("ManagedBy", &input.managed_by)])?;
    let records = pipelines(cloud)
        .list(&input.pipeline_name_prefix)?
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
    let listing = Listing {
        name: "PipelineName",
        status: None,
        sort_by: "CreationTime",
        order: SortOrder::Descending,
    };
    let (page, next) = listing.page(records, &input.list)?;
    Ok(compact(
        json!({ "PipelineSummaries": page, "NextToken": next }),
    ))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DeletePipeline {
    pipeline_name: String,
    client_request_token: String,
}

pub(super) async fn delete(cloud: &Cloud, input: DeletePipeline) -> ApiResult<Value> {
    check_token(&input.client_request_token)?;
    let pipeline = pipeline(cloud, &input.pipeline_name)?;
    let own = format!("{}/", pipeline.name);
    let runs = executions(cloud).list(&own)?;
    if let Some((_, run)) = runs.iter().find(|(_, run)| run.status.is_in_progress()) {
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

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListVersions {
    pipeline_name: String,
    sort_order: Option<SortOrder>,
    #[serde(flatten)]
    times: TimeBounds,
    #[serde(flatten)]
    page: PageRequest,
}

pub(super) async fn list_versions(cloud: &Cloud, input: ListVersions) -> ApiResult<Value> {
    let pipeline = pipeline(cloud, &input.pipeline_name)?;
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
        .filter(|record| input.times.include(record))
        .collect();
    if input.sort_order != Some(SortOrder::Ascending) {
        records.reverse();
    }
    let (page, next) = input.page.cut(records, 10, 100)?;
    Ok(compact(
        json!({ "PipelineVersionSummaries": page, "NextToken": next }),
    ))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[expect(clippy::struct_field_names, reason = "the API's names")]
pub(super) struct UpdateVersion {
    pipeline_arn: String,
    pipeline_version_id: Option<i64>,
    pipeline_version_display_name: Option<String>,
    pipeline_version_description: Option<String>,
    pipeline_version_alias_operations: Option<Value>,
}

pub(super) async fn update_version(cloud: &Cloud, input: UpdateVersion) -> ApiResult<Value> {
    let operations = &input.pipeline_version_alias_operations;
    refuse(
        "UpdatePipelineVersion",
        &[("PipelineVersionAliasOperations", operations)],
    )?;
    let pipeline = pipeline(cloud, &input.pipeline_arn)?;
    let id = input.pipeline_version_id.unwrap_or(pipeline.version);
    version(cloud, &pipeline, id)?;
    versions(cloud).update(&version_key(&pipeline.name, id), |record| {
        let (name, description) = (
            input.pipeline_version_display_name,
            input.pipeline_version_description,
        );
        record.display_name = name.or(record.display_name.take());
        record.description = description.or(record.description.take());
        Ok(())
    })?;
    Ok(json!({ "PipelineArn": pipeline.arn, "PipelineVersionId": id }))
}
