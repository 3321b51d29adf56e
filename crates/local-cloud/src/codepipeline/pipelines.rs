//! The operations on pipelines and their tags.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Value, json};

use super::catalog::ACTION_TYPES;
use super::declaration::Declaration;
use super::engine::{self, CHANGES, New};
use super::records::{
    Pipeline, Trigger, TriggerType, ended, jobs, key, numbers, open, pipeline, pipelines, prefix,
    tokens, versions,
};
use super::{PRINCIPAL, executor, paged, requester, structure};
use crate::api::tags::Tags;
use crate::api::{ApiError, ApiResult};
use crate::{Cloud, iam};

/// Maximum number of tags (quotas of the user guide).
const MAX_TAGS: usize = 50;

/// Maximum number of pipelines (quotas of the user guide).
const MAX_PIPELINES: usize = 1000;

#[derive(Deserialize)]
pub(super) struct Create {
    pipeline: Declaration,
    #[serde(default)]
    tags: Tags,
}

/// Checks a structure and its role.
fn check(cloud: &Cloud, declaration: &Declaration) -> ApiResult<()> {
    structure::check(declaration, cloud.region())?;
    let role = &declaration.role_arn;
    iam::usable(cloud, role, PRINCIPAL).map_err(|_| {
        structure::structure(format!(
            "CodePipeline is not authorized to perform AssumeRole on role {role}"
        ))
    })?;
    Ok(())
}

fn checked_tags(tags: Tags) -> ApiResult<BTreeMap<String, String>> {
    let tags = tags.into_map();
    check_tags(&tags)?;
    Ok(tags)
}

fn check_tags(tags: &BTreeMap<String, String>) -> ApiResult<()> {
    if tags.len() > MAX_TAGS {
        let message = format!("A pipeline can have at most {MAX_TAGS} tags");
        return Err(ApiError::new("TooManyTagsException", message));
    }
    Ok(())
}

/// `CreatePipeline`. As on AWS, the first execution starts at once.
///
/// Unverified against AWS [codepipeline-first-execution]: none starts if a variable has no default.
pub(super) async fn create(cloud: &Cloud, input: Create) -> ApiResult<Value> {
    let mut declaration = input.pipeline;
    check(cloud, &declaration)?;
    declaration.version = 1;
    let tags = checked_tags(input.tags)?;
    let name = declaration.name.clone();
    let now = cloud.clock().epoch();
    let record = Pipeline {
        declaration: declaration.clone(),
        created: now,
        updated: now,
        tags: tags.clone(),
        executions: 0,
        arrivals: 0,
        transitions: BTreeMap::new(),
        entered: BTreeMap::new(),
        runs: BTreeMap::new(),
    };
    cloud.store().transaction(|tx| {
        let existing = pipelines(cloud).keys_in(tx, "")?;
        if existing.contains(&name) {
            let message =
                format!("A pipeline with the name '{name}' already exists in the account");
            return Err(ApiError::new("PipelineNameInUseException", message));
        }
        if existing.len() >= MAX_PIPELINES {
            let message = format!("The account has {MAX_PIPELINES} pipelines, the maximum");
            return Err(ApiError::new("LimitExceededException", message));
        }
        pipelines(cloud).put_in(tx, &name, &record)?;
        versions(cloud).put_in(tx, &key(&name, 1), &declaration)
    })?;
    executor::ensure_running(cloud);
    if let Some(variables) = defaults(&declaration) {
        engine::change(cloud, &name, |board| {
            board.start(New {
                trigger: Trigger {
                    trigger_type: TriggerType::CreatePipeline,
                    trigger_detail: requester(),
                },
                variables,
                overrides: Vec::new(),
            })
        })?;
    }
    let mut response = json!({"pipeline": declaration});
    if !tags.is_empty() {
        response["tags"] = self::tags(&tags).into();
    }
    Ok(response)
}

/// The values of variables without a request; `None` if one has no default.
fn defaults(declaration: &Declaration) -> Option<BTreeMap<String, String>> {
    let variables = declaration.variables.iter();
    variables
        .map(|variable| Some((variable.name.clone(), variable.default_value.clone()?)))
        .collect()
}

#[derive(Deserialize)]
pub(super) struct Update {
    pipeline: Declaration,
}

/// `UpdatePipeline`. Executions in progress continue with the structure that they began with, and a closed transition
/// keeps holding them, even if the new structure does not have its stage.
///
/// Unverified against AWS [codepipeline-update-running]: none becomes `Cancelled`, the status of executions whose
/// pipeline "was updated before the pipeline execution could be completed" (API reference), because the user guide
/// does not have when that happens.
pub(super) async fn update(cloud: &Cloud, input: Update) -> ApiResult<Value> {
    let mut declaration = input.pipeline;
    let name = declaration.name.clone();
    pipeline(cloud, &name)?;
    check(cloud, &declaration)?;
    let updated = engine::change(cloud, &name, |board| {
        let entries = board.entries.iter();
        let used = entries.flat_map(|entry| &entry.structure.stages);
        let used: BTreeSet<String> = used.map(|stage| stage.name.clone()).collect();
        let pipeline = &mut board.pipeline;
        declaration.version = pipeline.declaration.version + 1;
        pipeline.declaration = declaration.clone();
        pipeline.updated = crate::clock::seconds(board.now);
        let stages = &declaration.stages;
        pipeline
            .transitions
            .retain(|name, _| used.contains(name) || stages.iter().any(|it| it.name == *name));
        let key = key(&name, declaration.version);
        versions(cloud).put_in(board.tx, &key, &declaration)?;
        Ok(declaration)
    })?;
    Ok(json!({"pipeline": updated}))
}

#[derive(Deserialize)]
pub(super) struct Get {
    name: String,
    version: Option<i64>,
}

/// `GetPipeline`
pub(super) async fn get(cloud: &Cloud, input: Get) -> ApiResult<Value> {
    let found = pipeline(cloud, &input.name)?;
    let declaration = match input.version {
        None => found.declaration,
        Some(version) => versions(cloud)
            .get(&key(&input.name, version))?
            .ok_or_else(|| {
                let message = format!("Pipeline {} has no version {version}", input.name);
                ApiError::not_found("PipelineVersionNotFoundException", message)
            })?,
    };
    Ok(json!({
        "pipeline": declaration,
        "metadata": {
            "pipelineArn": cloud.arn("codepipeline", &input.name),
            "created": found.created,
            "updated": found.updated,
        },
    }))
}

#[derive(Deserialize)]
pub(super) struct Name {
    name: String,
}

/// `DeletePipeline`. As on AWS, an absent pipeline is no error, and executions in progress end without a trace.
pub(super) async fn delete(cloud: &Cloud, input: Name) -> ApiResult<Value> {
    let name = &input.name;
    let prefix = prefix(name);
    cloud.store().transaction(|tx| {
        macro_rules! clear {
            ($collection:expr) => {
                for key in $collection.keys_in(tx, &prefix)? {
                    $collection.remove_in(tx, &key)?;
                }
            };
        }
        clear!(versions(cloud));
        clear!(open(cloud));
        clear!(ended(cloud));
        clear!(numbers(cloud));
        clear!(tokens(cloud));
        for (id, job) in jobs(cloud).list_in(tx, "")? {
            if job.pipeline == *name {
                jobs(cloud).remove_in(tx, &id)?;
            }
        }
        pipelines(cloud).remove_in(tx, name)
    })?;
    cloud.clock().announce(CHANGES);
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct List {
    next_token: Option<String>,
    max_results: Option<usize>,
}

/// `ListPipelines`
pub(super) async fn list(cloud: &Cloud, input: List) -> ApiResult<Value> {
    let found = pipelines(cloud).list("")?.into_iter();
    let found = found.map(|(name, pipeline)| {
        json!({
            "name": name,
            "version": pipeline.declaration.version,
            "pipelineType": pipeline.declaration.pipeline_type,
            "executionMode": pipeline.declaration.execution_mode,
            "created": pipeline.created,
            "updated": pipeline.updated,
        })
    });
    let size = input.max_results.unwrap_or(MAX_PIPELINES);
    paged(
        "pipelines",
        found.collect(),
        size,
        input.next_token.as_deref(),
    )
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListTypes {
    action_owner_filter: Option<String>,
    region_filter: Option<String>,
    next_token: Option<String>,
}

/// `ListActionTypes`: the types that run here.
pub(super) async fn list_types(cloud: &Cloud, input: ListTypes) -> ApiResult<Value> {
    let is_here = input
        .region_filter
        .is_none_or(|region| region == cloud.region());
    let is_wanted = is_here && input.action_owner_filter.is_none_or(|owner| owner == "AWS");
    let types = ACTION_TYPES.iter().filter(|_| is_wanted);
    let types = types.map(super::catalog::ActionType::described).collect();
    paged(
        "actionTypes",
        types,
        ACTION_TYPES.len(),
        input.next_token.as_deref(),
    )
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Tagging {
    resource_arn: String,
    #[serde(default)]
    tags: Tags,
    #[serde(default)]
    tag_keys: Vec<String>,
    next_token: Option<String>,
    max_results: Option<usize>,
}

/// The name of the pipeline with an ARN.
fn named(cloud: &Cloud, arn: &str) -> ApiResult<String> {
    let name = arn.strip_prefix(&cloud.arn("codepipeline", ""));
    let name = name.filter(|name| !name.contains([':', '/']));
    name.map(str::to_owned).ok_or_else(|| {
        ApiError::new(
            "InvalidArnException",
            format!("{arn} is not the ARN of a pipeline"),
        )
    })
}

fn no_resource(arn: &str) -> ApiError {
    let message = format!("The resource {arn} does not exist");
    ApiError::not_found("ResourceNotFoundException", message)
}

fn change_tags(
    cloud: &Cloud,
    arn: &str,
    change: impl FnOnce(&mut BTreeMap<String, String>),
) -> ApiResult<Value> {
    let name = named(cloud, arn)?;
    let changed = pipelines(cloud).update(&name, |pipeline| {
        change(&mut pipeline.tags);
        check_tags(&pipeline.tags)
    })?;
    changed.map(|()| json!({})).ok_or_else(|| no_resource(arn))
}

/// `TagResource`
pub(super) async fn tag(cloud: &Cloud, input: Tagging) -> ApiResult<Value> {
    change_tags(cloud, &input.resource_arn, |tags| {
        tags.extend(input.tags.into_map());
    })
}

/// `UntagResource`
pub(super) async fn untag(cloud: &Cloud, input: Tagging) -> ApiResult<Value> {
    change_tags(cloud, &input.resource_arn, |tags| {
        tags.retain(|key, _| !input.tag_keys.contains(key));
    })
}

/// `ListTagsForResource`
pub(super) async fn list_tags(cloud: &Cloud, input: Tagging) -> ApiResult<Value> {
    let found = pipelines(cloud).get(&named(cloud, &input.resource_arn)?)?;
    let found = found.ok_or_else(|| no_resource(&input.resource_arn))?;
    let tags = self::tags(&found.tags);
    let size = input.max_results.unwrap_or(MAX_TAGS);
    paged("tags", tags, size, input.next_token.as_deref())
}

fn tags(tags: &BTreeMap<String, String>) -> Vec<Value> {
    let tags = tags.iter();
    tags.map(|(key, value)| json!({"key": key, "value": value}))
        .collect()
}
