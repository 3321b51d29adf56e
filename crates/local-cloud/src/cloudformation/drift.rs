//! Drift: the live resources of a stack, read through their own services, compared with the properties that
//! the template sets.
//!
//! A type whose live properties are not read is `NOT_CHECKED`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::evaluate::kind_of;
use super::pages::{self, page};
use super::prepare::{Others, list, refuse};
use super::resources::{Target, differences};
use super::stacks::{self, Resource, Stack};
use super::states::{DetectionStatus, DriftStatus, ResourceDriftStatus, StackStatus};
use super::template::invalid;
use crate::api::form::whole;
use crate::api::{ApiError, ApiResult};
use crate::cloud::caller::Caller;
use crate::store::Collection;
use crate::{Cloud, clock};

/// A detection of drift.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Detection {
    stack_id: String,
    status: DetectionStatus,
    reason: Option<String>,
    drift: Option<DriftStatus>,
    drifted: usize,
    time: String,
}

/// The drift of a resource when it was last checked.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct ResourceDrift {
    logical: String,
    physical: String,
    kind: String,
    status: ResourceDriftStatus,
    expected: Map<String, Value>,
    actual: Option<Map<String, Value>>,
    differences: Vec<Value>,
    time: String,
}

/// The detections, by their ids.
fn detections(cloud: &Cloud) -> Collection<'_, Detection> {
    cloud
        .store()
        .collection("cloudformation", "drift_detection")
}

/// The results; their keys are `STACK NAME/STACK UUID/LOGICAL ID`.
fn results(cloud: &Cloud) -> Collection<'_, ResourceDrift> {
    cloud.store().collection("cloudformation", "drift")
}

fn key_of(stack: &Stack, logical: &str) -> String {
    format!("{}/{logical}", stack.key())
}

/// `DriftInformation` of a resource.
pub(super) fn of_resource(cloud: &Cloud, stack: &Stack, logical: &str) -> ApiResult<Value> {
    let found = results(cloud).get(&key_of(stack, logical))?;
    Ok(json!({
        "StackResourceDriftStatus": found.as_ref().map_or(ResourceDriftStatus::NotChecked, |found| found.status),
        "LastCheckTimestamp": found.map(|found| found.time),
    }))
}

/// Forgets what is known about the drift of a stack that is deleted.
pub(super) fn forget(cloud: &Cloud, stack: &Stack) -> ApiResult<()> {
    for (key, _) in results(cloud).list(&format!("{}/", stack.key()))? {
        results(cloud).remove(&key)?;
    }
    for (id, detection) in detections(cloud).list("")? {
        if detection.stack_id == stack.id {
            detections(cloud).remove(&id)?;
        }
    }
    Ok(())
}

/// Fails the detections that were in progress when the server died.
pub(super) fn recover(cloud: &Cloud) -> ApiResult<()> {
    for (id, detection) in detections(cloud).list("")? {
        if detection.status == DetectionStatus::InProgress {
            end(cloud, &id, Err(ApiError::internal("InternalServerError")))?;
        }
    }
    Ok(())
}

fn end(cloud: &Cloud, id: &str, result: ApiResult<(DriftStatus, usize)>) -> ApiResult<()> {
    detections(cloud).update(id, |detection| {
        detection.time = clock::iso();
        match result {
            Ok((drift, drifted)) => {
                detection.status = DetectionStatus::Complete;
                detection.drift = Some(drift);
                detection.drifted = drifted;
            }
            Err(error) => {
                detection.status = DetectionStatus::Failed;
                detection.reason = Some(error.message);
            }
        }
        Ok(())
    })?;
    Ok(())
}

/// Compares one resource and stores the result.
async fn check(cloud: &Cloud, stack: &Stack, resource: &Resource) -> ApiResult<ResourceDrift> {
    let kind = kind_of(&resource.kind)?;
    let physical = resource.physical.clone().unwrap_or_default();
    let mut found = ResourceDrift {
        logical: resource.logical.clone(),
        physical: physical.clone(),
        kind: resource.kind.clone(),
        status: ResourceDriftStatus::NotChecked,
        expected: resource.properties.clone(),
        actual: None,
        differences: Vec::new(),
        time: clock::iso(),
    };
    if kind.detects_drift() {
        let target = Target {
            cloud,
            kind,
            properties: &resource.properties,
            previous: None,
            name: &resource.name,
            physical: &physical,
        };
        // Properties that no response shows, such as the code of a function, cannot drift.
        found.expected.retain(|name, _| kind.reads_property(name));
        found.actual = kind.steps().live(&target).await?;
        found.status = match &mut found.actual {
            None => ResourceDriftStatus::Deleted,
            Some(actual) => {
                actual.retain(|name, _| found.expected.contains_key(name));
                found.differences = differences(kind, &found.expected, actual);
                if found.differences.is_empty() {
                    ResourceDriftStatus::InSync
                } else {
                    ResourceDriftStatus::Modified
                }
            }
        };
        results(cloud).put(&key_of(stack, &resource.logical), &found)?;
    }
    Ok(found)
}

impl ResourceDrift {
    fn has_drifted(&self) -> bool {
        matches!(
            self.status,
            ResourceDriftStatus::Modified | ResourceDriftStatus::Deleted
        )
    }

    /// As `DescribeStackResourceDrifts` returns it.
    fn described(&self, stack: &Stack) -> Value {
        let text = |properties: &Map<String, Value>| json!(properties).to_string();
        json!({
            "StackId": stack.id,
            "LogicalResourceId": self.logical,
            "PhysicalResourceId": self.physical,
            "ResourceType": self.kind,
            "ExpectedProperties": text(&self.expected),
            "ActualProperties": self.actual.as_ref().map(text),
            "PropertyDifferences": self.differences,
            "StackResourceDriftStatus": self.status,
            "Timestamp": self.time,
        })
    }
}

/// The stack, if it is in a state in which drift can be detected (User Guide, "Detecting drift").
///
/// Unverified against AWS [drift-message]: the message.
fn checkable(cloud: &Cloud, name: &str) -> ApiResult<Stack> {
    let stack = stacks::require(cloud, name)?;
    match stack.status {
        StackStatus::Created
        | StackStatus::Updated
        | StackStatus::UpdateRolledBack
        | StackStatus::UpdateRollbackFailed => Ok(stack),
        other => Err(invalid(format!(
            "Drift detection cannot be performed on stack [{}] while stack is in {other} state",
            stack.id
        ))),
    }
}

fn resource<'a>(stack: &'a Stack, logical: &str) -> ApiResult<&'a Resource> {
    let found = stack.resource(logical);
    found
        .filter(|found| found.physical.is_some())
        .ok_or_else(|| {
            invalid(format!(
                "Resource {logical} does not exist for stack {}",
                stack.name
            ))
        })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DetectStack {
    stack_name: String,
    #[serde(default, deserialize_with = "list")]
    logical_resource_ids: Vec<String>,
    #[serde(flatten)]
    others: Others,
}

/// `DetectStackDrift`
pub(super) async fn detect(cloud: &Cloud, request: DetectStack) -> ApiResult<Value> {
    refuse(&request.others)?;
    let stack = checkable(cloud, &request.stack_name)?;
    for logical in &request.logical_resource_ids {
        resource(&stack, logical)?;
    }
    let id = uuid::Uuid::new_v4().to_string();
    let detection = Detection {
        stack_id: stack.id.clone(),
        time: clock::iso(),
        ..Detection::default()
    };
    detections(cloud).insert(&id, &detection)?;
    let (then, key, only) = (cloud.clone(), id.clone(), request.logical_resource_ids);
    let work = async move {
        let result = check_all(&then, &stack, &only).await;
        // Any other error means that the record was deleted with its stack.
        let write = || end(&then, &key, result.clone());
        let _ = then.persist(&format!("drift detection {key}"), write).await;
    };
    let broken = id.clone();
    let (last, caller) = (cloud.clone(), Caller::current());
    let what = format!("drift detection {id}");
    cloud.spawn(what, caller.scope(work), move |error| async move {
        // If the record cannot be written, the next start tries again.
        let _ = end(&last, &broken, Err(error));
    });
    Ok(json!({"StackDriftDetectionId": id}))
}

/// Checks the resources of a stack, or only some of them; returns the stack's status and the number of
/// resources that have drifted.
async fn check_all(
    cloud: &Cloud,
    stack: &Stack,
    only: &[String],
) -> ApiResult<(DriftStatus, usize)> {
    let (mut drifted, mut checked) = (0, 0);
    for resource in &stack.resources {
        let is_wanted = only.is_empty() || only.contains(&resource.logical);
        if resource.physical.is_none() || resource.status.is_removed() || !is_wanted {
            continue;
        }
        let found = check(cloud, stack, resource).await?;
        checked += usize::from(found.status != ResourceDriftStatus::NotChecked);
        drifted += usize::from(found.has_drifted());
    }
    let status = match (drifted, checked) {
        (0, 0) => DriftStatus::NotChecked,
        (0, _) => DriftStatus::InSync,
        _ => DriftStatus::Drifted,
    };
    stacks::change(cloud, stack.key(), |stack| {
        stack.drift = Some(stacks::Drift {
            status,
            time: clock::iso(),
        });
        Ok(())
    })?;
    Ok((status, drifted))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DetectResource {
    stack_name: String,
    logical_resource_id: String,
    #[serde(flatten)]
    others: Others,
}

/// `DetectStackResourceDrift`
pub(super) async fn detect_resource(cloud: &Cloud, request: DetectResource) -> ApiResult<Value> {
    refuse(&request.others)?;
    let stack = checkable(cloud, &request.stack_name)?;
    let resource = resource(&stack, &request.logical_resource_id)?;
    if !kind_of(&resource.kind)?.detects_drift() {
        return Err(invalid(format!(
            "Drift detection is not supported for resource type {}",
            resource.kind
        )));
    }
    let found = check(cloud, &stack, resource).await?;
    Ok(json!({"StackResourceDrift": found.described(&stack)}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DetectionId {
    stack_drift_detection_id: String,
    #[serde(flatten)]
    others: Others,
}

/// `DescribeStackDriftDetectionStatus`
pub(super) async fn status(cloud: &Cloud, request: DetectionId) -> ApiResult<Value> {
    refuse(&request.others)?;
    let id = request.stack_drift_detection_id;
    let found = detections(cloud)
        .get(&id)?
        .ok_or_else(|| invalid(format!("Stack drift detection id {id} does not exist")))?;
    let is_complete = found.status == DetectionStatus::Complete;
    Ok(json!({
        "StackId": found.stack_id,
        "StackDriftDetectionId": id,
        "StackDriftStatus": found.drift,
        "DetectionStatus": found.status,
        "DetectionStatusReason": found.reason,
        "DriftedStackResourceCount": is_complete.then_some(found.drifted),
        "Timestamp": found.time,
    }))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DescribeDrifts {
    stack_name: String,
    #[serde(default, deserialize_with = "list")]
    stack_resource_drift_status_filters: Vec<String>,
    #[serde(default, deserialize_with = "whole")]
    max_results: Option<i64>,
    next_token: Option<String>,
    #[serde(flatten)]
    others: Others,
}

/// `DescribeStackResourceDrifts`
pub(super) async fn describe(cloud: &Cloud, request: DescribeDrifts) -> ApiResult<Value> {
    refuse(&request.others)?;
    let stack = stacks::require(cloud, &request.stack_name)?;
    let filters = &request.stack_resource_drift_status_filters;
    let found = results(cloud).list(&format!("{}/", stack.key()))?;
    let shown: Vec<Value> = found
        .into_iter()
        .map(|(_, found)| found)
        .filter(|found| stack.resource(&found.logical).is_some())
        .filter(|found| {
            filters.is_empty() || filters.iter().any(|name| name == found.status.as_str())
        })
        .map(|found| found.described(&stack))
        .collect();
    let size = match request.max_results.map(usize::try_from) {
        None => pages::LONGEST,
        Some(Ok(size @ 1..=pages::LONGEST)) => size,
        Some(_) => return Err(invalid("MaxResults must be between 1 and 100")),
    };
    let (shown, next) = page(shown, size, request.next_token.as_deref())?;
    Ok(json!({"StackResourceDrifts": shown, "NextToken": next}))
}
