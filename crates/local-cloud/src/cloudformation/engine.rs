//! What is done to a stack after the request was answered: create, delete, and the steps on one
//! resource that those and an update ([`super::update`]) are made of.
//!
//! Every step is kept in the stack's record before the next begins, so that a server that dies
//! leaves a stack that says what it has.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::intrinsics::{Known, Scope};
use super::resources::{self, Job, Type};
use super::stacks::{self, Output, Resource, Stack};
use super::template::{invalid, text_of};
use super::{functions, graph, parameters};
use crate::Cloud;
use crate::api::{ApiError, ApiResult};

/// Works on one stack.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    pub(super) cloud: Cloud,
    pub(super) key: String,
}

/// Why a stack could not be made or changed: the resource that failed, if it was one.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Failure {
    /// This resource failed; its event says why.
    Resource(String, &'static str),
    /// Something else.
    Other(String),
    /// The user asked for the deletion of a stack that was being made.
    Cancelled,
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::Other(error.message)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Resource(logical, verb) => {
                write!(
                    f,
                    "The following resource(s) failed to {verb}: [{logical}]. "
                )
            }
            // AWS adds the full stop also where the message has one.
            // Most messages end with a full stop of their own.
            Failure::Other(message) => write!(f, "{}. ", message.trim_end_matches('.')),
            Failure::Cancelled => f.write_str("Resource creation cancelled"),
        }
    }
}

/// What is known for the expressions of a stack's template.
pub(crate) fn scope(cloud: &Cloud, stack: &Stack) -> ApiResult<Scope> {
    let template = stack.parsed()?;
    let values = parameters::values(&template, &stack.source.parameters);
    let exports = stacks::exports(cloud)?
        .into_iter()
        .filter(|(_, _, owner)| *owner != stack.id)
        .map(|(name, value, _)| (name, value))
        .collect();
    let mut scope = Scope::new(template, values, stacks::pseudo(cloud, stack), exports)?;
    scope.resources = known(&stack.resources);
    Ok(scope)
}

fn known(resources: &[Resource]) -> BTreeMap<String, Known> {
    resources
        .iter()
        .map(|resource| {
            let known = Known {
                reference: resource.physical.clone(),
                attributes: resource.attributes.clone(),
                after_apply: false,
            };
            (resource.logical.clone(), known)
        })
        .collect()
}

/// A resource's type and its properties: functions worked out, scalars in the API's types, the
/// stack's tags among its own.
pub(crate) fn desired(
    scope: &Scope,
    stack: &Stack,
    logical: &str,
) -> ApiResult<(&'static Type, Map<String, Value>)> {
    let kind = kind_of(scope.template.resource_type(logical))?;
    let raw = scope
        .template
        .resource(logical)
        .and_then(|resource| resource.get("Properties"));
    let mut properties = match raw.map(|raw| scope.resolve(raw)).transpose()?.flatten() {
        Some(Value::Object(properties)) => resources::coerce(kind, &properties),
        _ => Map::new(),
    };
    if kind.is_taggable() && !stack.source.tags.is_empty() {
        let mut tags = resources::list(&properties, "Tags");
        for tag in &stack.source.tags {
            if !tags.iter().any(|own| own.get("Key") == tag.get("Key")) {
                tags.push(tag.clone());
            }
        }
        properties.insert("Tags".to_owned(), Value::Array(tags));
    }
    Ok((kind, properties))
}

/// The type of this name.
pub(crate) fn kind_of(name: &str) -> ApiResult<&'static Type> {
    resources::by_name(name).ok_or_else(|| {
        invalid(format!(
            "Template format error: Unrecognized resource types: [{name}]"
        ))
    })
}

/// The outputs of a stack whose resources are there, and the exports that it imports.
pub(crate) fn outputs(scope: &Scope) -> ApiResult<Vec<Output>> {
    let mut found = Vec::new();
    for (key, output) in scope.template.section("Outputs") {
        if !scope.holds(output)? {
            continue;
        }
        let text = |value: &Value| match scope.value(value)? {
            Value::Array(_) | Value::Object(_) | Value::Null => Err(functions::malformed(key)),
            scalar => Ok(text_of(&scalar)),
        };
        found.push(Output {
            key: key.clone(),
            value: text(output.get("Value").unwrap_or(&Value::Null))?,
            description: output.get("Description").map(text_of),
            export: output
                .get("Export")
                .and_then(|export| export.get("Name"))
                .map(text)
                .transpose()?,
        });
    }
    Ok(found)
}

/// The exports that a template imports.
pub(crate) fn imports(scope: &Scope) -> Vec<String> {
    let mut found = BTreeSet::new();
    for section in ["Resources", "Outputs"] {
        for member in scope.template.section(section).values() {
            if scope.holds(member).unwrap_or_default() {
                scope.imports(member, &mut found);
            }
        }
    }
    found.into_iter().collect()
}

/// Refuses exports that another stack has.
pub(crate) fn check_exports(cloud: &Cloud, stack: &Stack, outputs: &[Output]) -> ApiResult<()> {
    let taken = stacks::exports(cloud)?;
    for export in outputs.iter().filter_map(|output| output.export.as_ref()) {
        if let Some((_, _, owner)) = taken
            .iter()
            .find(|(name, _, owner)| name == export && *owner != stack.id)
        {
            let owner = stacks::key_of(owner).split('/').next().unwrap_or_default();
            return Err(invalid(format!(
                "Export with name {export} is already exported by stack {owner}"
            )));
        }
    }
    Ok(())
}

/// The reason of a failed resource, in the words of AWS's resource handlers.
fn reason(kind: &Type, error: &ApiError) -> String {
    let code = match error.code.as_str() {
        "InvalidRequest" => return error.message.clone(),
        code if resources::is_gone(error) || code.contains("NotFound") => "NotFound",
        code if code.contains("AlreadyExists") || code.contains("AlreadyOwned") => "AlreadyExists",
        "NotStabilized" => "NotStabilized",
        _ if error.status >= 500 => "GeneralServiceException",
        _ => "InvalidRequest",
    };
    format!(
        "Resource handler returned message: \"{} (Service: {}, Status Code: {}, Error Code: {})\" \
         (RequestToken: {}, HandlerErrorCode: {code})",
        error.message,
        kind.service(),
        error.status,
        error.code,
        uuid::Uuid::new_v4()
    )
}

impl Engine {
    /// Works on the stack of this key.
    pub(crate) fn new(cloud: &Cloud, key: &str) -> Self {
        Self {
            cloud: cloud.clone(),
            key: key.to_owned(),
        }
    }

    /// The stack as it is now.
    pub(super) fn stack(&self) -> ApiResult<Stack> {
        stacks::stacks(&self.cloud)
            .get(&self.key)?
            .ok_or_else(|| stacks::missing(&self.key))
    }

    pub(super) fn status(&self, status: &str, reason: Option<String>) -> ApiResult<()> {
        stacks::set_status(&self.cloud, &self.key, status, reason)
    }

    /// Writes the status in which work ends, as soon as it can be written.
    pub(super) async fn end(&self, status: &str, reason: String) {
        let what = format!("stack {}", self.key);
        let write = || self.status(status, Some(reason.clone()));
        // Any other error means that the record was deleted; there is nobody to notify.
        let _ = self.cloud.persist(&what, write).await;
    }

    /// Keeps a resource in the stack's record, with an event.
    pub(super) fn keep(
        &self,
        resource: &mut Resource,
        status: &str,
        reason: Option<String>,
    ) -> ApiResult<()> {
        self.mark(resource, status, reason);
        let stack = stacks::change(&self.cloud, &self.key, |stack| {
            stack.put(resource.clone());
            Ok(stack.clone())
        })?;
        stacks::record(&self.cloud, &stack, resource)
    }

    /// Says in an event what state a resource is in that is no longer in the stack's record.
    fn tell(&self, resource: &mut Resource, status: &str, reason: Option<String>) -> ApiResult<()> {
        self.mark(resource, status, reason);
        stacks::record(&self.cloud, &self.stack()?, resource)
    }

    #[expect(clippy::unused_self, reason = "a step of the engine like the others")]
    fn mark(&self, resource: &mut Resource, status: &str, reason: Option<String>) {
        status.clone_into(&mut resource.status);
        resource.reason = reason;
        resource.changed = crate::clock::iso();
    }

    /// Makes a resource. `verb` is `CREATE`, or `UPDATE` where it replaces one.
    pub(super) async fn build(
        &self,
        logical: &str,
        verb: &'static str,
        before: Option<String>,
    ) -> Result<(), Failure> {
        let stack = self.stack()?;
        let failed = || {
            let verb = if verb == "CREATE" { "create" } else { "update" };
            Failure::Resource(logical.to_owned(), verb)
        };
        let scope = scope(&self.cloud, &stack)?;
        let mut resource = Resource {
            logical: logical.to_owned(),
            kind: scope.template.resource_type(logical).to_owned(),
            ..Resource::default()
        };
        self.policies(&scope, &mut resource);
        let in_progress = format!("{verb}_IN_PROGRESS");
        self.keep(&mut resource, &in_progress, before)?;
        let (kind, properties) = match desired(&scope, &stack, logical) {
            Ok(desired) => desired,
            Err(error) => {
                self.keep(
                    &mut resource,
                    &format!("{verb}_FAILED"),
                    Some(error.message),
                )?;
                return Err(failed());
            }
        };
        resource.name = kind.name_for(&stack, logical, &properties);
        resource.properties = properties;
        let result = self.create(kind, &mut resource, &in_progress).await;
        match result {
            Ok(()) => {
                self.keep(&mut resource, &format!("{verb}_COMPLETE"), None)?;
                Ok(())
            }
            Err(error) => {
                let reason = reason(kind, &error);
                self.keep(&mut resource, &format!("{verb}_FAILED"), Some(reason))?;
                Err(failed())
            }
        }
    }

    async fn create(
        &self,
        kind: &Type,
        resource: &mut Resource,
        in_progress: &str,
    ) -> ApiResult<()> {
        resources::check(kind, &resource.logical, &resource.properties)?;
        let stack = self.stack()?;
        let properties = kind.with_system_tags(&stack, &resource.logical, &resource.properties);
        let name = resource.name.clone();
        let job = Job {
            cloud: &self.cloud,
            properties: &properties,
            name: &name,
        };
        // Kept before the call: a server that dies during it can find what the call made.
        resource.alike = Some(resources::alike(kind, &job).await?);
        stacks::change(&self.cloud, &self.key, |stack| {
            stack.put(resource.clone());
            Ok(())
        })?;
        let made = kind.handler.create(&job).await;
        resource.alike = None;
        let made = made?;
        resource.physical = Some(made.physical.clone());
        resource.attributes = made.attributes;
        let initiated = Some("Resource creation Initiated".to_owned());
        self.keep(resource, in_progress, initiated)?;
        kind.handler.stabilize(&job, &made.physical).await
    }

    /// Changes a resource in place to these properties. `verb` is `update`, or `roll back`.
    pub(super) async fn change(
        &self,
        resource: &mut Resource,
        properties: Map<String, Value>,
    ) -> Result<(), Failure> {
        let kind = kind_of(&resource.kind)?;
        let old = std::mem::replace(&mut resource.properties, properties);
        resource.changing = Some(old.clone());
        self.keep(resource, "UPDATE_IN_PROGRESS", None)?;
        let physical = resource.physical.clone().unwrap_or_default();
        let stack = self.stack()?;
        let tagged = |of| kind.with_system_tags(&stack, &resource.logical, of);
        let (new, old) = (tagged(&resource.properties), tagged(&old));
        let job = Job {
            cloud: &self.cloud,
            properties: &new,
            name: &resource.name,
        };
        let result = match resources::check(kind, &resource.logical, &resource.properties) {
            Ok(()) => kind.handler.update(&job, &physical, &old).await,
            Err(error) => Err(error),
        };
        resource.changing = None;
        match result {
            Ok(attributes) => {
                resource.attributes.extend(attributes);
                self.keep(resource, "UPDATE_COMPLETE", None)?;
                Ok(())
            }
            Err(error) => {
                let reason = reason(kind, &error);
                self.keep(resource, "UPDATE_FAILED", Some(reason))?;
                Err(Failure::Resource(resource.logical.clone(), "update"))
            }
        }
    }

    /// Takes over what the template says about the end of a resource.
    #[expect(clippy::unused_self, reason = "a step of the engine like the others")]
    pub(super) fn policies(&self, scope: &Scope, resource: &mut Resource) {
        let of = |name: &str| {
            scope
                .template
                .resource(&resource.logical)
                .and_then(|found| found.get(name)?.as_str())
                .unwrap_or("Delete")
                .to_owned()
        };
        let (deletion, replace) = (of("DeletionPolicy"), of("UpdateReplacePolicy"));
        resource.deletion_policy = deletion;
        resource.update_replace_policy = replace;
    }

    /// Removes a resource of the stack's record; answers whether it is gone.
    async fn remove(&self, resource: &Resource, retain: bool) -> ApiResult<bool> {
        let mut resource = resource.clone();
        if resource.status == "DELETE_COMPLETE" || resource.status == "DELETE_SKIPPED" {
            return Ok(true);
        }
        if resource.physical.is_some() && retain {
            self.keep(&mut resource, "DELETE_SKIPPED", None)?;
            return Ok(true);
        }
        self.keep(&mut resource, "DELETE_IN_PROGRESS", None)?;
        match self.delete_physical(&resource).await {
            Ok(()) => {
                self.keep(&mut resource, "DELETE_COMPLETE", None)?;
                Ok(true)
            }
            Err(reason) => {
                self.keep(&mut resource, "DELETE_FAILED", Some(reason))?;
                Ok(false)
            }
        }
    }

    pub(super) async fn delete_physical(&self, resource: &Resource) -> Result<(), String> {
        let Some(physical) = &resource.physical else {
            return Ok(());
        };
        let kind = kind_of(&resource.kind).map_err(|error| error.message)?;
        let job = Job {
            cloud: &self.cloud,
            properties: &resource.properties,
            name: &resource.name,
        };
        match kind.handler.delete(&job, physical).await {
            Err(error) if !resources::is_gone(&error) => Err(reason(kind, &error)),
            _ => Ok(()),
        }
    }

    /// Deletes what an update left behind, the last made first. What cannot be deleted stays
    /// behind for good, as in AWS: its event says so.
    pub(super) async fn clean_up(&self) -> ApiResult<()> {
        while let Some(mut resource) = self.stack()?.leftovers.pop() {
            if resource.physical.is_some() {
                if resource.deletion_policy == "Delete" {
                    self.tell(&mut resource, "DELETE_IN_PROGRESS", None)?;
                    match self.delete_physical(&resource).await {
                        Ok(()) => self.tell(&mut resource, "DELETE_COMPLETE", None)?,
                        Err(reason) => self.tell(&mut resource, "DELETE_FAILED", Some(reason))?,
                    }
                } else {
                    self.tell(&mut resource, "DELETE_SKIPPED", None)?;
                }
            }
            stacks::change(&self.cloud, &self.key, |stack| {
                stack.leftovers.pop();
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Makes every resource of the stack, then its outputs. The status is `CREATE_IN_PROGRESS`.
    pub(crate) async fn run_create(self) {
        let result = match self.create_all().await {
            Ok(()) => self.status("CREATE_COMPLETE", None),
            Err(Failure::Cancelled) => self.delete_all().await,
            Err(failure) => self.create_failed(&failure).await,
        };
        if let Err(error) = result {
            self.end("CREATE_FAILED", error.message).await;
        }
    }

    async fn create_all(&self) -> Result<(), Failure> {
        let begun = scope(&self.cloud, &self.stack()?)?;
        for logical in graph::order(&begun.template, &begun.present()?)? {
            if self.stack()?.delete_requested {
                return Err(Failure::Cancelled);
            }
            self.build(&logical, "CREATE", None).await?;
        }
        if self.stack()?.delete_requested {
            return Err(Failure::Cancelled);
        }
        self.publish()?;
        Ok(())
    }

    /// Keeps the outputs, and the exports that are imported.
    pub(super) fn publish(&self) -> ApiResult<()> {
        let stack = self.stack()?;
        let scope = scope(&self.cloud, &stack)?;
        let outputs = outputs(&scope)?;
        check_exports(&self.cloud, &stack, &outputs)?;
        let imports = imports(&scope);
        stacks::change(&self.cloud, &self.key, |stack| {
            stack.outputs = outputs;
            stack.source.imports = imports;
            Ok(())
        })
    }

    pub(super) async fn create_failed(&self, failure: &Failure) -> ApiResult<()> {
        let stack = self.stack()?;
        match stack.on_failure.as_str() {
            "DO_NOTHING" => self.status("CREATE_FAILED", Some(failure.to_string())),
            "DELETE" => {
                let reason = format!("{failure}Delete requested by user.");
                self.status("DELETE_IN_PROGRESS", Some(reason))?;
                self.delete_all().await
            }
            _ => {
                let reason = format!("{failure}Rollback requested by user.");
                self.status("ROLLBACK_IN_PROGRESS", Some(reason))?;
                self.undo_create().await
            }
        }
    }

    /// Removes what was made. The status is `ROLLBACK_IN_PROGRESS`.
    pub(super) async fn undo_create(&self) -> ApiResult<()> {
        let failed = self
            .remove_all(|resource| resource.deletion_policy == "Retain")
            .await?;
        if failed.is_empty() {
            self.status("ROLLBACK_COMPLETE", None)
        } else {
            self.status("ROLLBACK_FAILED", Some(failed_to_delete(&failed)))
        }
    }

    /// Removes the stack's resources, the last made first; answers those that could not be.
    async fn remove_all(&self, retain: impl Fn(&Resource) -> bool) -> ApiResult<Vec<String>> {
        let mut failed = Vec::new();
        for resource in self.stack()?.resources.iter().rev() {
            if !self.remove(resource, retain(resource)).await? {
                failed.push(resource.logical.clone());
            }
        }
        Ok(failed)
    }

    /// Deletes the stack. The status is `DELETE_IN_PROGRESS`.
    pub(crate) async fn run_delete(self) {
        if let Err(error) = self.delete_all().await {
            self.end("DELETE_FAILED", error.message).await;
        }
    }

    pub(super) async fn delete_all(&self) -> ApiResult<()> {
        let stack = self.stack()?;
        if stack.status != "DELETE_IN_PROGRESS" {
            self.status("DELETE_IN_PROGRESS", Some("User Initiated".to_owned()))?;
        }
        for export in stack
            .outputs
            .iter()
            .filter_map(|output| output.export.as_ref())
        {
            let importers = stacks::importers(&self.cloud, export)?;
            if !importers.is_empty() {
                let reason = format!(
                    "Delete canceled. Cannot delete export {export} as it is in use by {}.",
                    importers.join(", ")
                );
                return self.status("DELETE_FAILED", Some(reason));
            }
        }
        let keeps = |resource: &Resource| {
            resource.deletion_policy.starts_with("Retain")
                || stack.retain.contains(&resource.logical)
        };
        let failed = self.remove_all(keeps).await?;
        self.clean_up().await?;
        if !failed.is_empty() {
            return self.status("DELETE_FAILED", Some(failed_to_delete(&failed)));
        }
        stacks::change(&self.cloud, &self.key, |stack| {
            stack.deleted = Some(crate::clock::iso());
            stack.outputs.clear();
            stack.previous = None;
            Ok(())
        })?;
        super::changes::forget(&self.cloud, &self.key, None)?;
        self.status("DELETE_COMPLETE", None)
    }
}

fn failed_to_delete(failed: &[String]) -> String {
    format!(
        "The following resource(s) failed to delete: [{}]. ",
        failed.join(", ")
    )
}
