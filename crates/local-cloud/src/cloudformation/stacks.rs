//! What the local cloud keeps of a stack: its record, its events, its exports.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::template::{Template, invalid};
use crate::api::{ApiError, ApiResult};
use crate::cloud::ACCOUNT;
use crate::store::Collection;
use crate::{Cloud, clock};

/// A stack.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stack {
    /// Its ARN.
    pub(crate) id: String,
    /// Its name.
    pub(crate) name: String,
    /// What it was last deployed with; for a stack in review, nothing.
    #[serde(flatten)]
    pub(crate) source: Source,
    pub(crate) status: String,
    pub(crate) status_reason: Option<String>,
    pub(crate) created: String,
    pub(crate) updated: Option<String>,
    pub(crate) deleted: Option<String>,
    /// `ROLLBACK`, `DELETE` or `DO_NOTHING`.
    pub(crate) on_failure: String,
    pub(crate) termination_protection: bool,
    pub(crate) change_set: Option<String>,
    pub(crate) outputs: Vec<Output>,
    /// Its resources, each after what it needs.
    pub(crate) resources: Vec<Resource>,
    /// Physical resources that an update replaced or no longer has, to be deleted in the clean-up.
    pub(crate) leftovers: Vec<Resource>,
    /// What an update that goes on, or failed to roll back, started from.
    pub(crate) previous: Option<Box<Before>>,
    /// True when a deletion was asked for while the stack was being created.
    pub(crate) delete_requested: bool,
    /// The resources that the deletion under way is to leave.
    #[serde(default)]
    pub(crate) retain: Vec<String>,
    /// The `ClientRequestToken` of the request that is, or was last, worked on; its events have it.
    pub(crate) token: Option<String>,
}

/// What a stack is deployed with.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Source {
    pub(crate) template: String,
    pub(crate) parameters: BTreeMap<String, String>,
    pub(crate) capabilities: Vec<String>,
    pub(crate) tags: Vec<Value>,
    pub(crate) role: Option<String>,
    pub(crate) imports: Vec<String>,
}

/// The state that a failed update goes back to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Before {
    pub(crate) source: Source,
    pub(crate) outputs: Vec<Output>,
    pub(crate) resources: Vec<Resource>,
}

/// An output of a stack.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Output {
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) description: Option<String>,
    pub(crate) export: Option<String>,
}

/// A resource of a stack.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Resource {
    pub(crate) logical: String,
    pub(crate) kind: String,
    /// The physical id, once there is one.
    pub(crate) physical: Option<String>,
    /// Its name, for a type that has one.
    pub(crate) name: String,
    /// The properties it was last made or updated with, functions worked out.
    pub(crate) properties: Map<String, Value>,
    /// What it answers to `Fn::GetAtt`.
    pub(crate) attributes: Map<String, Value>,
    pub(crate) status: String,
    pub(crate) reason: Option<String>,
    pub(crate) changed: String,
    /// `Delete`, `Retain` or `RetainExceptOnCreate`.
    pub(crate) deletion_policy: String,
    /// `Delete` or `Retain`.
    pub(crate) update_replace_policy: String,
    /// While a create call is under way: the physical ids of what was alike before it. What is
    /// alike after a crash and not among these is what the call made.
    #[serde(default)]
    pub(crate) alike: Option<Vec<String>>,
    /// While a change in place is under way: the properties before it.
    #[serde(default)]
    pub(crate) changing: Option<Map<String, Value>>,
}

/// One event of a stack.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[expect(clippy::struct_field_names, reason = "the names of AWS's answer")]
pub(crate) struct Event {
    stack_id: String,
    event_id: String,
    stack_name: String,
    logical_resource_id: String,
    physical_resource_id: String,
    resource_type: String,
    timestamp: String,
    resource_status: String,
    resource_status_reason: Option<String>,
    client_request_token: Option<String>,
}

impl Stack {
    /// The key of the stack's record: `NAME/UUID`, the end of its ARN.
    pub(crate) fn key(&self) -> &str {
        key_of(&self.id)
    }

    /// The resource of this logical id.
    pub(crate) fn resource(&self, logical: &str) -> Option<&Resource> {
        self.resources.iter().find(|found| found.logical == logical)
    }

    /// Puts a resource in the place of the one with its logical id, else at the end.
    pub(crate) fn put(&mut self, resource: Resource) {
        match self
            .resources
            .iter_mut()
            .find(|found| found.logical == resource.logical)
        {
            Some(found) => *found = resource,
            None => self.resources.push(resource),
        }
    }

    /// The template, which was checked when it came in.
    pub(crate) fn parsed(&self) -> ApiResult<Template> {
        Template::parse(&self.source.template)
    }

    /// True while something is being done to the stack.
    pub(crate) fn is_busy(&self) -> bool {
        self.status.ends_with("_IN_PROGRESS") && self.status != "REVIEW_IN_PROGRESS"
    }
}

/// `NAME/UUID` of a stack's ARN.
pub(crate) fn key_of(id: &str) -> &str {
    id.split_once("stack/").map_or(id, |(_, key)| key)
}

/// The stacks' records.
pub(crate) fn stacks(cloud: &Cloud) -> Collection<'_, Stack> {
    cloud.store().collection("cloudformation", "stack")
}

fn events(cloud: &Cloud) -> Collection<'_, Event> {
    cloud.store().collection("cloudformation", "event")
}

/// A new stack's record, kept nowhere yet.
pub(crate) fn new(cloud: &Cloud, name: &str) -> Stack {
    Stack {
        id: cloud.arn(
            "cloudformation",
            format!("stack/{name}/{}", uuid::Uuid::new_v4()),
        ),
        name: name.to_owned(),
        created: clock::iso(),
        on_failure: "ROLLBACK".to_owned(),
        ..Stack::default()
    }
}

/// The stack of this name or ARN; a name finds only a stack that is not deleted.
pub(crate) fn find(cloud: &Cloud, name: &str) -> ApiResult<Option<Stack>> {
    if name.starts_with("arn:") {
        return stacks(cloud).get(key_of(name));
    }
    Ok(stacks(cloud)
        .list(&format!("{name}/"))?
        .into_iter()
        .map(|(_, stack)| stack)
        .find(|stack| stack.status != "DELETE_COMPLETE"))
}

/// The same; `ValidationError` when there is none, in the words of the operations that describe
/// stacks and their resources.
pub(crate) fn get(cloud: &Cloud, name: &str) -> ApiResult<Stack> {
    find(cloud, name)?.ok_or_else(|| missing(name))
}

/// The same, in the words of the operations that change stacks, and of those about events and
/// change sets. Verified (AWS's answers in `LocalStack`'s recordings and in issues) for
/// `DescribeStackEvents`, `UpdateStack`, `CreateChangeSet` and `DeleteChangeSet`; unverified against
/// AWS for the others.
pub(crate) fn require(cloud: &Cloud, name: &str) -> ApiResult<Stack> {
    find(cloud, name)?.ok_or_else(|| invalid(format!("Stack [{name}] does not exist")))
}

/// The error for a stack that is not there.
pub(crate) fn missing(name: &str) -> ApiError {
    invalid(format!("Stack with id {name} does not exist"))
}

/// The stacks of the region that are not deleted.
pub(crate) fn living(cloud: &Cloud) -> ApiResult<Vec<Stack>> {
    Ok(stacks(cloud)
        .list("")?
        .into_iter()
        .map(|(_, stack)| stack)
        .filter(|stack| stack.status != "DELETE_COMPLETE")
        .collect())
}

/// Every export: its name, its value, the ARN of its stack.
pub(crate) fn exports(cloud: &Cloud) -> ApiResult<Vec<(String, String, String)>> {
    let mut found = Vec::new();
    for stack in living(cloud)? {
        for output in stack.outputs {
            if let Some(export) = output.export {
                found.push((export, output.value, stack.id.clone()));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The names of the stacks that import an export.
pub(crate) fn importers(cloud: &Cloud, export: &str) -> ApiResult<Vec<String>> {
    Ok(living(cloud)?
        .into_iter()
        .filter(|stack| stack.source.imports.iter().any(|name| name == export))
        .map(|stack| stack.name)
        .collect())
}

/// Changes a stack's record; `Err` when the record is gone.
pub(crate) fn change<R>(
    cloud: &Cloud,
    key: &str,
    work: impl FnOnce(&mut Stack) -> ApiResult<R>,
) -> ApiResult<R> {
    stacks(cloud)
        .update(key, work)?
        .ok_or_else(|| missing(key.split('/').next().unwrap_or(key)))
}

/// Sets the stack's status and says so in an event of the stack itself.
pub(crate) fn set_status(
    cloud: &Cloud,
    key: &str,
    status: &str,
    reason: Option<String>,
) -> ApiResult<()> {
    let stack = change(cloud, key, |stack| {
        status.clone_into(&mut stack.status);
        stack.status_reason.clone_from(&reason);
        Ok(stack.clone())
    })?;
    record(
        cloud,
        &stack,
        &Resource {
            logical: stack.name.clone(),
            kind: "AWS::CloudFormation::Stack".to_owned(),
            physical: Some(stack.id.clone()),
            status: status.to_owned(),
            reason,
            ..Resource::default()
        },
    )
}

/// Keeps an event for the state that a resource is in.
pub(crate) fn record(cloud: &Cloud, stack: &Stack, resource: &Resource) -> ApiResult<()> {
    static SEQUENCE: AtomicU64 = AtomicU64::new(0);
    let id = uuid::Uuid::new_v4();
    let event = Event {
        stack_id: stack.id.clone(),
        event_id: if resource.kind == "AWS::CloudFormation::Stack" {
            id.to_string()
        } else {
            format!("{}-{}-{id}", resource.logical, resource.status)
        },
        stack_name: stack.name.clone(),
        logical_resource_id: resource.logical.clone(),
        physical_resource_id: resource.physical.clone().unwrap_or_default(),
        resource_type: resource.kind.clone(),
        timestamp: clock::iso(),
        resource_status: resource.status.clone(),
        resource_status_reason: resource.reason.clone(),
        client_request_token: stack.token.clone(),
    };
    let key = format!(
        "{}/{:015}{:09}",
        stack.key(),
        jiff::Timestamp::now().as_millisecond(),
        SEQUENCE.fetch_add(1, Ordering::Relaxed)
    );
    events(cloud).put(&key, &event)
}

/// A stack's events, the newest first.
pub(crate) fn history(cloud: &Cloud, stack: &Stack) -> ApiResult<Vec<Event>> {
    let mut found: Vec<Event> = events(cloud)
        .list(&format!("{}/", stack.key()))?
        .into_iter()
        .map(|(_, event)| event)
        .collect();
    found.reverse();
    Ok(found)
}

/// The pseudo parameters of a stack.
pub(crate) fn pseudo(cloud: &Cloud, stack: &Stack) -> BTreeMap<String, Value> {
    BTreeMap::from(
        [
            ("AWS::AccountId", json!(ACCOUNT)),
            ("AWS::NotificationARNs", json!([])),
            ("AWS::Partition", json!("aws")),
            ("AWS::Region", json!(cloud.region())),
            ("AWS::StackId", json!(stack.id)),
            ("AWS::StackName", json!(stack.name)),
            ("AWS::URLSuffix", json!("amazonaws.com")),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    )
}

/// Nothing in place of an empty list, where AWS leaves the member out.
pub(crate) fn unless_empty(list: Value) -> Value {
    match list {
        Value::Array(items) if items.is_empty() => Value::Null,
        list => list,
    }
}

/// A stack as `DescribeStacks` shows it. (Which members are left out and which are empty is as in
/// the answers of AWS that `LocalStack`'s tests recorded.)
pub(crate) fn described(stack: &Stack) -> Value {
    let template = stack.parsed().ok();
    let outputs: Value = stack
        .outputs
        .iter()
        .map(|output| {
            json!({
                "OutputKey": output.key,
                "OutputValue": output.value,
                "Description": output.description,
                "ExportName": output.export,
            })
        })
        .collect();
    let parameters = template
        .as_ref()
        .map(|template| super::parameters::described(template, &stack.source.parameters));
    json!({
        "StackId": stack.id,
        "StackName": stack.name,
        "ChangeSetId": stack.change_set,
        "Description": template.as_ref().and_then(Template::description),
        "Parameters": parameters.map(unless_empty),
        "CreationTime": stack.created,
        "LastUpdatedTime": stack.updated,
        "DeletionTime": stack.deleted,
        "RollbackConfiguration": {},
        "StackStatus": stack.status,
        "StackStatusReason": stack.status_reason,
        "DisableRollback": stack.on_failure == "DO_NOTHING",
        "NotificationARNs": [],
        "Capabilities": unless_empty(json!(stack.source.capabilities)),
        "Outputs": unless_empty(outputs),
        "RoleARN": stack.source.role,
        "Tags": stack.source.tags,
        "EnableTerminationProtection": stack.termination_protection,
        "DriftInformation": {"StackDriftStatus": "NOT_CHECKED"},
    })
}
