//! The records of stacks, their events and their exports.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::deployment::DeploymentConfig;
use super::parsed;
use super::states::{DeletionPolicy, DriftStatus, OnFailure, ResourceStatus, StackStatus};
use super::template::invalid;
use crate::api::{ApiError, ApiResult};
use crate::cloud::ACCOUNT;
use crate::cloud::caller::{Caller, RoleSession};
use crate::events as bus;
use crate::store::Collection;
use crate::{Cloud, clock};

mod announce;

use announce::put_in;

/// A stack.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stack {
    /// Its ARN.
    pub(crate) id: String,
    /// Its name.
    pub(crate) name: String,
    /// Its last deployment; empty for a stack in review.
    #[serde(flatten)]
    pub(crate) deployment: Deployment,
    pub(crate) status: StackStatus,
    pub(crate) status_reason: Option<String>,
    pub(crate) created: String,
    pub(crate) updated: Option<String>,
    pub(crate) deleted: Option<String>,
    pub(crate) on_failure: OnFailure,
    pub(crate) termination_protection: bool,
    pub(crate) change_set: Option<String>,
    pub(crate) outputs: Vec<Output>,
    /// Its resources, each after those that it depends on.
    pub(crate) resources: Vec<Resource>,
    /// Physical resources that an update replaced or removed; the clean-up deletes them.
    #[serde(rename = "leftovers")]
    pub(crate) pending_deletion: Vec<Resource>,
    /// The state before an update that is in progress or failed to roll back.
    pub(crate) previous: Option<Box<Before>>,
    /// True if a deletion was requested while the stack was being created.
    pub(crate) delete_requested: bool,
    /// The resources that the deletion in progress retains.
    #[serde(default)]
    pub(crate) retain: Vec<String>,
    /// The resources that the roll-back in progress does not change.
    #[serde(default)]
    pub(crate) skip: Vec<String>,
    /// The drift of its resources when they were last checked.
    #[serde(default)]
    pub(crate) drift: Option<Drift>,
    /// The `ClientRequestToken` of the last request that changed the stack; its events have it.
    pub(crate) token: Option<String>,
    /// The session that began the work in progress, if it was one: after a crash, its permissions still count.
    #[serde(default)]
    pub(crate) session: Option<RoleSession>,
}

/// The drift of a stack.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Drift {
    pub(crate) status: DriftStatus,
    /// When it was checked.
    pub(crate) time: String,
}

/// The inputs of a stack's deployment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Deployment {
    pub(crate) template: String,
    pub(crate) parameters: BTreeMap<String, String>,
    /// The values of the parameters that name a parameter of Systems Manager.
    #[serde(default)]
    pub(crate) resolved: BTreeMap<String, String>,
    pub(crate) capabilities: Vec<String>,
    pub(crate) tags: Vec<Value>,
    pub(crate) role: Option<String>,
    pub(crate) imports: Vec<String>,
    #[serde(default)]
    pub(crate) config: Option<DeploymentConfig>,
}

/// The state that a failed update rolls back to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Before {
    #[serde(rename = "source")]
    pub(crate) deployment: Deployment,
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
    /// Its name, for types whose resources have one; for others a token of its create call.
    pub(crate) name: String,
    /// The properties of its last creation or update, functions evaluated.
    pub(crate) properties: Map<String, Value>,
    /// The values of `Fn::GetAtt`.
    pub(crate) attributes: Map<String, Value>,
    pub(crate) status: ResourceStatus,
    pub(crate) reason: Option<String>,
    pub(crate) changed: String,
    pub(crate) deletion_policy: DeletionPolicy,
    pub(crate) update_replace_policy: DeletionPolicy,
    /// The resources that it refers to or depends on: it is deleted before them. `None` in the records of
    /// earlier versions, which needed all resources before them.
    #[serde(default)]
    pub(crate) needs: Option<BTreeSet<String>>,
    /// During a create call: the ids of existing resources that the call could create or conflict with.
    /// After a crash, a resource that is found and not among them is the one that the call created.
    #[serde(default, rename = "alike")]
    pub(crate) existing: Option<Vec<String>>,
    /// During an update in place: the properties before it.
    #[serde(default)]
    pub(crate) changing: Option<Map<String, Value>>,
    /// The properties before an update in place, until the update succeeds. After a failure, it is unknown
    /// which of the new properties were written.
    #[serde(default)]
    pub(crate) unfinished: Option<Map<String, Value>>,
    /// True from the create call until the resource is ready and all its settings are written.
    #[serde(default)]
    pub(crate) incomplete: bool,
}

impl Resource {
    /// The properties to compare these new ones with. After an update that failed, a property is unchanged
    /// only if that update did not change it either.
    pub(crate) fn baseline(&self, wanted: &Map<String, Value>) -> Map<String, Value> {
        let Some(before) = &self.unfinished else {
            return self.properties.clone();
        };
        let names = before.keys().chain(self.properties.keys());
        names
            .filter_map(|name| {
                let is_back = before.get(name) == wanted.get(name);
                let had = if is_back { &self.properties } else { before };
                Some((name.clone(), had.get(name)?.clone()))
            })
            .collect()
    }
}

/// For each of these resources, which are in reverse order of creation, the others that must be deleted before
/// it: those that need it.
pub(crate) fn dependents(resources: &[Resource]) -> Vec<BTreeSet<usize>> {
    let needs = |index: usize, other: &Resource| match &resources[index].needs {
        Some(needs) => needs.contains(&other.logical),
        None => true,
    };
    let indexes = 0..resources.len();
    indexes
        .map(|index| {
            let later = 0..index;
            later
                .filter(|later| needs(*later, &resources[index]))
                .collect()
        })
        .collect()
}

/// For each of these resources, which are in order of creation, the earlier ones that it needs.
pub(crate) fn needed(resources: &[Resource]) -> Vec<BTreeSet<usize>> {
    let needs = |resource: &Resource, other: &Resource| {
        let needs = resource.needs.as_ref();
        needs.is_none_or(|needs| needs.contains(&other.logical))
    };
    let all = resources.iter().enumerate();
    all.map(|(index, resource)| {
        let earlier = 0..index;
        earlier
            .filter(|earlier| needs(resource, &resources[*earlier]))
            .collect()
    })
    .collect()
}

/// One event of a stack.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
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

    /// The resource with this logical id.
    pub(crate) fn resource(&self, logical: &str) -> Option<&Resource> {
        self.resources.iter().find(|found| found.logical == logical)
    }

    /// Replaces the resource with the same logical id, or adds it at the end.
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

    /// True while the engine works on the stack.
    pub(crate) fn is_busy(&self) -> bool {
        self.status.is_busy()
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

/// The record of a new stack, not stored yet.
pub(crate) fn new(cloud: &Cloud, name: &str) -> Stack {
    Stack {
        id: cloud.arn(
            "cloudformation",
            format!("stack/{name}/{}", uuid::Uuid::new_v4()),
        ),
        name: name.to_owned(),
        created: clock::iso(),
        ..Stack::default()
    }
}

/// The stack of this name or ARN; a name finds only a stack that is not deleted.
pub(crate) fn find(cloud: &Cloud, name: &str) -> ApiResult<Option<Stack>> {
    if name.starts_with("arn:") {
        let key = name.strip_prefix(&cloud.arn("cloudformation", "stack/"));
        return key.map_or(Ok(None), |key| stacks(cloud).get(key));
    }
    Ok(stacks(cloud)
        .list(&format!("{name}/"))?
        .into_iter()
        .map(|(_, stack)| stack)
        .find(|stack| stack.status != StackStatus::Deleted))
}

/// The same, or the `ValidationError` of the operations that describe stacks and their resources.
pub(crate) fn get(cloud: &Cloud, name: &str) -> ApiResult<Stack> {
    find(cloud, name)?.ok_or_else(|| missing(name))
}

/// The same, or the error of the operations that change stacks, and of those about events and change
/// sets. Verified (AWS's responses in `LocalStack`'s recordings and in issues) for
/// `DescribeStackEvents`, `UpdateStack`, `CreateChangeSet` and `DeleteChangeSet`; unverified against
/// AWS [cfn-stack-states] for the others.
pub(crate) fn require(cloud: &Cloud, name: &str) -> ApiResult<Stack> {
    find(cloud, name)?.ok_or_else(|| invalid(format!("Stack [{name}] does not exist")))
}

/// The error for a stack that does not exist.
pub(crate) fn missing(name: &str) -> ApiError {
    invalid(format!("Stack with id {name} does not exist"))
}

/// The stacks of the region that are not deleted.
pub(crate) fn living(cloud: &Cloud) -> ApiResult<Vec<Stack>> {
    Ok(stacks(cloud)
        .list("")?
        .into_iter()
        .map(|(_, stack)| stack)
        .filter(|stack| stack.status != StackStatus::Deleted)
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
        .filter(|stack| stack.deployment.imports.iter().any(|name| name == export))
        .map(|stack| stack.name)
        .collect())
}

/// Fails if an output that is exported now would no longer be, or with another value, while another stack
/// imports it.
pub(crate) fn check_imports(cloud: &Cloud, stack: &Stack, outputs: &[Output]) -> ApiResult<()> {
    for old in stack.outputs.iter().filter(|old| old.export.is_some()) {
        let new = outputs.iter().find(|new| new.export == old.export);
        let verb = match new {
            Some(new) if new.value == old.value => continue,
            Some(_) => "updated",
            None => "deleted",
        };
        let export = old.export.as_deref().unwrap_or_default();
        let importers = importers(cloud, export)?;
        if !importers.is_empty() {
            return Err(invalid(format!(
                "Export {export} cannot be {verb} as it is in use by {}",
                importers.join(", ")
            )));
        }
    }
    Ok(())
}

/// Changes a stack, and remembers the caller that begins work on it.
fn changed<R>(stack: &mut Stack, work: impl FnOnce(&mut Stack) -> ApiResult<R>) -> ApiResult<R> {
    let was_busy = stack.is_busy();
    let done = work(stack)?;
    if stack.is_busy() && !was_busy {
        stack.session = Caller::current().session().cloned();
    }
    Ok(done)
}

fn missing_record(key: &str) -> ApiError {
    missing(key.split('/').next().unwrap_or(key))
}

/// Changes a stack's record; fails if it was deleted. Remembers the caller that begins work on the stack.
pub(crate) fn change<R>(
    cloud: &Cloud,
    key: &str,
    work: impl FnOnce(&mut Stack) -> ApiResult<R>,
) -> ApiResult<R> {
    stacks(cloud)
        .update(key, |stack| changed(stack, work))?
        .ok_or_else(|| missing_record(key))
}

/// [`change`], and stores the event of the change in the same transaction.
fn change_with_event(
    cloud: &Cloud,
    key: &str,
    work: impl FnOnce(&mut Stack),
    event: impl FnOnce(&Stack) -> Event,
) -> ApiResult<()> {
    cloud.store().transaction(|tx| {
        let stacks = stacks(cloud);
        let stack = stacks.get_in(tx, key)?;
        let mut stack = stack.ok_or_else(|| missing_record(key))?;
        changed(&mut stack, |stack| {
            work(stack);
            Ok(())
        })?;
        stacks.put_in(tx, key, &stack)?;
        put_in(tx, cloud, &stack, &event(&stack))
    })?;
    bus::deliver_soon(cloud);
    Ok(())
}

/// Sets the stack's status, with an event of the stack itself.
pub(crate) fn set_status(
    cloud: &Cloud,
    key: &str,
    status: StackStatus,
    reason: Option<&str>,
) -> ApiResult<()> {
    let work = |stack: &mut Stack| {
        stack.status = status;
        stack.status_reason = reason.map(str::to_owned);
    };
    change_with_event(cloud, key, work, |stack| Event {
        event_id: uuid::Uuid::new_v4().to_string(),
        logical_resource_id: stack.name.clone(),
        physical_resource_id: stack.id.clone(),
        resource_type: "AWS::CloudFormation::Stack".to_owned(),
        resource_status: status.to_string(),
        resource_status_reason: reason.map(str::to_owned),
        ..Event::of(stack)
    })
}

/// Writes a resource to the stack's record, with an event.
pub(crate) fn set_resource(cloud: &Cloud, key: &str, resource: &Resource) -> ApiResult<()> {
    let work = |stack: &mut Stack| stack.put(resource.clone());
    change_with_event(cloud, key, work, |stack| Event::about(stack, resource))
}

/// Writes a stack, with an event of each of these resources.
pub(crate) fn put_with_events(
    cloud: &Cloud,
    stack: &Stack,
    resources: &[Resource],
) -> ApiResult<()> {
    cloud.store().transaction(|tx| {
        stacks(cloud).put_in(tx, stack.key(), stack)?;
        resources
            .iter()
            .try_for_each(|resource| put_in(tx, cloud, stack, &Event::about(stack, resource)))
    })?;
    bus::deliver_soon(cloud);
    Ok(())
}

/// Stores an event about a resource that is not in the stack's record.
pub(crate) fn record(cloud: &Cloud, stack: &Stack, resource: &Resource) -> ApiResult<()> {
    let event = Event::about(stack, resource);
    let store = cloud.store();
    store.transaction(|tx| put_in(tx, cloud, stack, &event))?;
    bus::deliver_soon(cloud);
    Ok(())
}

impl Event {
    /// An event with the status of a resource.
    fn about(stack: &Stack, resource: &Resource) -> Self {
        let id = uuid::Uuid::new_v4();
        Self {
            event_id: format!("{}-{}-{id}", resource.logical, resource.status),
            logical_resource_id: resource.logical.clone(),
            physical_resource_id: resource.physical.clone().unwrap_or_default(),
            resource_type: resource.kind.clone(),
            resource_status: resource.status.to_string(),
            resource_status_reason: resource.reason.clone(),
            ..Self::of(stack)
        }
    }

    /// An event of a stack, without its subject.
    fn of(stack: &Stack) -> Self {
        Self {
            stack_id: stack.id.clone(),
            stack_name: stack.name.clone(),
            timestamp: clock::iso(),
            client_request_token: stack.token.clone(),
            ..Self::default()
        }
    }
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

/// Null for an empty list, where AWS omits the member.
pub(crate) fn unless_empty(list: Value) -> Value {
    match list {
        Value::Array(items) if items.is_empty() => Value::Null,
        list => list,
    }
}

/// `DriftInformation` of a stack.
pub(crate) fn drift_of(stack: &Stack) -> Value {
    let drift = stack.drift.as_ref();
    json!({
        "StackDriftStatus": drift.map_or(DriftStatus::NotChecked, |drift| drift.status),
        "LastCheckTimestamp": drift.map(|drift| &drift.time),
    })
}

/// A stack as `DescribeStacks` returns it. Which members are omitted and which are empty follows the
/// responses of AWS that `LocalStack`'s tests recorded.
pub(crate) fn described(cloud: &Cloud, stack: &Stack) -> Value {
    let template = parsed::template(cloud, &stack.deployment.template).ok();
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
    let parameters = template.as_ref().map(|template| {
        super::parameters::described(
            template,
            &stack.deployment.parameters,
            &stack.deployment.resolved,
        )
    });
    json!({
        "StackId": stack.id,
        "StackName": stack.name,
        "ChangeSetId": stack.change_set,
        "Description": template.as_ref().and_then(|template| template.description()),
        "Parameters": parameters.map(unless_empty),
        "CreationTime": stack.created,
        "LastUpdatedTime": stack.updated,
        "DeletionTime": stack.deleted,
        "RollbackConfiguration": {},
        "StackStatus": stack.status,
        "StackStatusReason": stack.status_reason,
        "DisableRollback": stack.on_failure == OnFailure::DoNothing,
        "NotificationARNs": [],
        "Capabilities": unless_empty(json!(stack.deployment.capabilities)),
        "Outputs": unless_empty(outputs),
        "RoleARN": stack.deployment.role,
        "Tags": stack.deployment.tags,
        "EnableTerminationProtection": stack.termination_protection,
        "DriftInformation": drift_of(stack),
        "DeploymentConfig": stack.deployment.config,
    })
}

#[cfg(test)]
mod tests;
