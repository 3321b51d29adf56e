//! Targets of rules: where matching events go.

use serde::Deserialize;
use serde_json::{Value, json};

use super::kinds::Kind;
use super::path::Path;
use super::target::Target;
use super::{buses, rules};
use crate::Cloud;
use crate::api::{ApiError, ApiResult};

/// Maximum number of targets of a rule; AWS's own limit.
const MAX_TARGETS: usize = 5;

/// Maximum number of targets in a request; AWS's own limit.
const MAX_ENTRIES: usize = 10;

/// Fails for a target that is not valid or not supported.
fn check(cloud: &Cloud, target: &Target) -> ApiResult<()> {
    let id = &target.id;
    let kind = Kind::of(cloud, &target.arn)?;
    let inputs = [
        target.input.is_some(),
        target.input_path.is_some(),
        target.input_transformer.is_some(),
    ];
    if inputs.into_iter().filter(|is_set| *is_set).count() > 1 {
        return Err(ApiError::validation(format!(
            "Only one of Input, InputPath, or InputTransformer must be provided for target {id}."
        )));
    }
    if let Some(input) = &target.input
        && let Err(error) = serde_json::from_str::<Value>(input)
    {
        return Err(ApiError::validation(format!(
            "JSON syntax error in input for target {id}: {error}"
        )));
    }
    if let Some(path) = &target.input_path
        && Path::parse(path).is_none()
    {
        return Err(ApiError::validation(format!(
            "Invalid InputPath for target {id}."
        )));
    }
    if let Some(transformer) = &target.input_transformer {
        transformer.check().map_err(|reason| {
            ApiError::validation(format!(
                "Invalid InputTransformer for target {id}: {reason}."
            ))
        })?;
    }
    if target.role_arn.is_none() && kind.needs_role() {
        return Err(ApiError::validation(format!(
            "RoleArn is required for target {}.",
            target.arn
        )));
    }
    if target.sqs_parameters.is_some() && !kind.is_queue() {
        return Err(ApiError::validation(format!(
            "Parameter(s) SqsParameters not valid for target {id}."
        )));
    }
    if target.pipeline_parameters.is_some() && !kind.has_pipeline_parameters() {
        return Err(ApiError::validation(format!(
            "Parameter(s) SageMakerPipelineParameters not valid for target {id}."
        )));
    }
    // This server may have been built without the service.
    cloud.services().named(kind.service())?;
    let queues = cloud.arn("sqs", "");
    if let Some(arn) = target.dead_letters()
        && !arn.starts_with(&queues)
    {
        return Err(ApiError::validation(format!(
            "Parameter {arn} is not valid. Reason: the dead-letter queue of target {id} is not an SQS queue \
             of this account and region."
        )));
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PutTargets {
    rule: String,
    event_bus_name: Option<String>,
    targets: Vec<Target>,
}

fn too_many_entries() -> ApiError {
    ApiError::validation(format!(
        "1 validation error detected: the maximum number of entries per request is {MAX_ENTRIES}"
    ))
}

/// `PutTargets`: a target replaces the one with its id. Unverified against AWS [events-put-targets]: the messages
/// for targets that are not valid.
pub(super) async fn put(cloud: &Cloud, input: PutTargets) -> ApiResult<Value> {
    buses::check(cloud, input.event_bus_name.as_deref())?;
    if input.targets.len() > MAX_ENTRIES {
        return Err(too_many_entries());
    }
    for target in &input.targets {
        check(cloud, target)?;
    }
    rules::change(cloud, &input.rule, |rule| {
        for target in input.targets {
            rule.targets.retain(|own| own.id != target.id);
            rule.targets.push(target);
        }
        if rule.targets.len() > MAX_TARGETS {
            return Err(rules::limit_exceeded());
        }
        Ok(())
    })?;
    Ok(json!({"FailedEntryCount": 0, "FailedEntries": []}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RemoveTargets {
    rule: String,
    event_bus_name: Option<String>,
    ids: Vec<String>,
}

/// `RemoveTargets`. Events that have matched before are still delivered.
pub(super) async fn remove(cloud: &Cloud, input: RemoveTargets) -> ApiResult<Value> {
    buses::check(cloud, input.event_bus_name.as_deref())?;
    if input.ids.len() > MAX_ENTRIES {
        return Err(too_many_entries());
    }
    let failed: Vec<Value> = rules::change(cloud, &input.rule, |rule| {
        let mut failed = Vec::new();
        for id in &input.ids {
            if !rule.targets.iter().any(|target| target.id == *id) {
                failed.push(json!({
                    "TargetId": id,
                    "ErrorCode": "ResourceNotFoundException",
                    "ErrorMessage": format!("Rule {} does not have a target with the Id {id}.", rule.name),
                }));
            }
        }
        rule.targets
            .retain(|target| !input.ids.contains(&target.id));
        Ok(failed)
    })?;
    Ok(json!({"FailedEntryCount": failed.len(), "FailedEntries": failed}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListTargets {
    rule: String,
    event_bus_name: Option<String>,
    next_token: Option<String>,
    limit: Option<usize>,
}

/// `ListTargetsByRule`
pub(super) async fn list(cloud: &Cloud, input: ListTargets) -> ApiResult<Value> {
    buses::check(cloud, input.event_bus_name.as_deref())?;
    let mut targets = rules::require(cloud, &input.rule)?.targets;
    targets.sort_by(|a, b| a.id.cmp(&b.id));
    let targets = targets.into_iter().map(|target| {
        let id = target.id.clone();
        Ok((
            id,
            serde_json::to_value(target).map_err(ApiError::internal)?,
        ))
    });
    let targets = targets.collect::<ApiResult<Vec<_>>>()?;
    buses::keyed("Targets", targets, input.limit, input.next_token.as_deref())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListNames {
    target_arn: String,
    event_bus_name: Option<String>,
    next_token: Option<String>,
    limit: Option<usize>,
}

/// `ListRuleNamesByTarget`
pub(super) async fn list_names(cloud: &Cloud, input: ListNames) -> ApiResult<Value> {
    buses::check(cloud, input.event_bus_name.as_deref())?;
    let rules = rules::records(cloud).list("")?.into_iter();
    let has_target = |rule: &rules::Rule| {
        let mut targets = rule.targets.iter();
        targets.any(|target| target.arn == input.target_arn)
    };
    let names = rules
        .filter(|(_, rule)| has_target(rule))
        .map(|(name, _)| (name.clone(), name.into()));
    buses::keyed("RuleNames", names, input.limit, input.next_token.as_deref())
}
