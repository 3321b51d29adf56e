//! The work on a stack after its request was answered: its creation, its deletion, and the steps on one
//! resource that these and an update ([`super::update`]) consist of.
//!
//! Each step is written to the stack's record before the next begins, so that the record is complete even
//! if the server dies.

use serde_json::{Map, Value};

use super::custom;
use super::evaluate::{check_exports, desired, imports, kind_of, outputs, scope};
use super::graph;
use super::intrinsics::Scope;
use super::resources::{self, Target, Type};
use super::stacks::{self, Resource, Stack};
use super::states::{self, Creation, DeletionPolicy, OnFailure, ResourceStatus, StackStatus};
use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::faults::{self, Point};

/// Works on one stack.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    pub(super) cloud: Cloud,
    pub(super) key: String,
}

/// Why a stack could not be created or changed.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Failure {
    /// This resource failed to be created or updated; its event has the reason.
    Resource(String, &'static str),
    /// Something else failed.
    Other(String),
    /// The user requested the deletion of a stack that was being created.
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
            // Most messages have a full stop already.
            Failure::Other(message) => write!(f, "{}. ", message.trim_end_matches('.')),
            Failure::Cancelled => f.write_str("Resource creation cancelled"),
        }
    }
}

/// The reason of a failed resource, in the words of AWS's resource handlers.
pub(super) fn reason(kind: &Type, error: &ApiError) -> String {
    let code = match error.code.as_str() {
        "InvalidRequest" => return error.message.clone(),
        _ if error.is_denied() => "AccessDenied",
        code if error.is_gone() || code.contains("NotFound") => "NotFound",
        code if code.contains("AlreadyExists") || code.contains("AlreadyOwned") => "AlreadyExists",
        "NotStabilized" => "NotStabilized",
        _ if error.status >= 500 => "GeneralServiceException",
        _ => "InvalidRequest",
    };
    format!(
        "Resource handler returned message: \"{} (Service: {}, Status Code: {}, Error Code: {})\" \
         (RequestToken: {}, HandlerErrorCode: {code})",
        error.message,
        kind.display_service(),
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

    /// The current record of the stack.
    pub(super) fn stack(&self) -> ApiResult<Stack> {
        stacks::stacks(&self.cloud)
            .get(&self.key)?
            .ok_or_else(|| stacks::missing(&self.key))
    }

    pub(super) fn status(&self, status: StackStatus, reason: Option<String>) -> ApiResult<()> {
        stacks::set_status(&self.cloud, &self.key, status, reason)
    }

    /// Writes the final status of the work, as soon as the state can be written.
    pub(super) async fn end(&self, status: StackStatus, reason: String) {
        let what = format!("stack {}", self.key);
        let write = || self.status(status, Some(reason.clone()));
        // Any other error means that the record was deleted; there is nobody to notify.
        let _ = self.cloud.persist(&what, write).await;
    }

    /// Writes a resource to the stack's record, with an event.
    pub(super) fn keep(
        &self,
        resource: &mut Resource,
        status: ResourceStatus,
        reason: Option<String>,
    ) -> ApiResult<()> {
        mark(resource, status, reason);
        let stack = stacks::change(&self.cloud, &self.key, |stack| {
            stack.put(resource.clone());
            Ok(stack.clone())
        })?;
        stacks::record(&self.cloud, &stack, resource)
    }

    /// Writes an event about a resource that is no longer in the stack's record.
    fn report(
        &self,
        resource: &mut Resource,
        status: ResourceStatus,
        reason: Option<String>,
    ) -> ApiResult<()> {
        mark(resource, status, reason);
        stacks::record(&self.cloud, &self.stack()?, resource)
    }

    /// Creates a resource; `note` is the reason of its first event.
    pub(super) async fn build(
        &self,
        logical: &str,
        creation: Creation,
        note: Option<String>,
    ) -> Result<(), Failure> {
        let stack = self.stack()?;
        let failed = || Failure::Resource(logical.to_owned(), creation.verb());
        let scope = scope(&self.cloud, &stack)?;
        let mut resource = Resource {
            logical: logical.to_owned(),
            kind: scope.template.resource_type(logical).to_owned(),
            ..Resource::default()
        };
        set_policies(&scope, &mut resource);
        self.keep(&mut resource, creation.in_progress(), note)?;
        let (kind, properties) = match desired(&scope, &stack, logical) {
            Ok(desired) => desired,
            Err(error) => {
                self.keep(&mut resource, creation.failed(), Some(error.message))?;
                return Err(failed());
            }
        };
        resource.name = kind.name_for(&stack, logical, &properties);
        resource.properties = properties;
        match self.create(kind, &mut resource, creation).await {
            Ok(()) => {
                resource.incomplete = false;
                self.keep(&mut resource, creation.complete(), None)?;
                Ok(())
            }
            Err(error) => {
                let reason = reason(kind, &error);
                self.keep(&mut resource, creation.failed(), Some(reason))?;
                Err(failed())
            }
        }
    }

    async fn create(
        &self,
        kind: &Type,
        resource: &mut Resource,
        creation: Creation,
    ) -> ApiResult<()> {
        resources::check(kind, &resource.logical, &resource.properties)?;
        let stack = self.stack()?;
        if kind.name == custom::TYPE {
            self.create_custom(&stack, resource).await?;
            let initiated = Some("Resource creation Initiated".to_owned());
            return self.keep(resource, creation.in_progress(), initiated);
        }
        let properties = kind.with_system_tags(&stack, &resource.logical, &resource.properties);
        let name = resource.name.clone();
        let target = Target {
            cloud: &self.cloud,
            kind,
            properties: &properties,
            previous: None,
            name: &name,
            physical: "",
        };
        // Recorded before the call: a server that dies during it can find what the call created.
        resource.existing = Some(kind.steps().find(&target).await?);
        stacks::change(&self.cloud, &self.key, |stack| {
            stack.put(resource.clone());
            Ok(())
        })?;
        faults::point(&self.cloud, Point::Create, kind.name).await?;
        let created = kind.steps().create(&target).await;
        faults::point(&self.cloud, Point::Created, kind.name).await?;
        resource.existing = None;
        let created = created?;
        resource.physical = Some(created.physical.clone());
        resource.attributes = created.attributes;
        resource.incomplete = true;
        let initiated = Some("Resource creation Initiated".to_owned());
        self.keep(resource, creation.in_progress(), initiated)?;
        faults::point(&self.cloud, Point::Recorded, kind.name).await?;
        let target = Target {
            physical: &created.physical,
            ..target
        };
        kind.steps().settle(&target).await
    }

    /// Updates a resource in place to these properties.
    pub(super) async fn change(
        &self,
        resource: &mut Resource,
        properties: Map<String, Value>,
    ) -> Result<(), Failure> {
        let kind = kind_of(&resource.kind)?;
        let old = resource.baseline(&properties);
        resource.properties = properties;
        resource.changing = Some(old.clone());
        resource.unfinished = Some(old.clone());
        self.keep(resource, ResourceStatus::Updating, None)?;
        let physical = resource.physical.clone().unwrap_or_default();
        let stack = self.stack()?;
        let tagged = |of| kind.with_system_tags(&stack, &resource.logical, of);
        let (new, old) = (tagged(&resource.properties), tagged(&old));
        let target = Target {
            cloud: &self.cloud,
            kind,
            properties: &new,
            previous: Some(&old),
            name: &resource.name,
            physical: &physical,
        };
        let result = match resources::check(kind, &resource.logical, &resource.properties) {
            Ok(()) if kind.name == custom::TYPE => self.change_custom(&stack, resource, &old).await,
            Ok(()) => kind.steps().update(&target).await,
            Err(error) => Err(error),
        };
        resource.changing = None;
        match result {
            Ok(attributes) => {
                resource.attributes.extend(attributes);
                resource.unfinished = None;
                self.keep(resource, ResourceStatus::Updated, None)?;
                Ok(())
            }
            Err(error) => {
                let reason = reason(kind, &error);
                self.keep(resource, ResourceStatus::UpdateFailed, Some(reason))?;
                Err(Failure::Resource(resource.logical.clone(), "update"))
            }
        }
    }

    /// Deletes or retains a resource of the stack; returns false if it could not be deleted.
    async fn remove(&self, resource: &Resource, retain: bool) -> ApiResult<bool> {
        let mut resource = resource.clone();
        if resource.status.is_removed() {
            return Ok(true);
        }
        if resource.physical.is_some() && retain {
            self.keep(&mut resource, ResourceStatus::DeleteSkipped, None)?;
            return Ok(true);
        }
        self.keep(&mut resource, ResourceStatus::Deleting, None)?;
        match self.delete_physical(&resource).await {
            Ok(()) => {
                self.keep(&mut resource, ResourceStatus::Deleted, None)?;
                Ok(true)
            }
            Err(reason) => {
                self.keep(&mut resource, ResourceStatus::DeleteFailed, Some(reason))?;
                Ok(false)
            }
        }
    }

    pub(super) async fn delete_physical(&self, resource: &Resource) -> Result<(), String> {
        let Some(physical) = &resource.physical else {
            return Ok(());
        };
        let kind = kind_of(&resource.kind).map_err(|error| error.message)?;
        let target = Target {
            cloud: &self.cloud,
            kind,
            properties: &resource.properties,
            previous: None,
            name: &resource.name,
            physical,
        };
        let point = faults::point(&self.cloud, Point::Delete, kind.name).await;
        point.map_err(|error| error.message)?;
        let deleted = if kind.name == custom::TYPE {
            self.delete_custom(resource, physical).await
        } else {
            kind.steps().delete(&target).await
        };
        match deleted {
            Err(error) if !error.is_gone() => Err(reason(kind, &error)),
            _ => Ok(()),
        }
    }

    /// Deletes the resources that an update replaced or removed, in reverse order of creation. A
    /// resource that cannot be deleted is kept, as on AWS, and an event reports it.
    pub(super) async fn clean_up(&self) -> ApiResult<()> {
        while let Some(mut resource) = self.stack()?.pending_deletion.pop() {
            if resource.physical.is_some() {
                if resource.deletion_policy == DeletionPolicy::Delete {
                    self.report(&mut resource, ResourceStatus::Deleting, None)?;
                    let (status, reason) = match self.delete_physical(&resource).await {
                        Ok(()) => (ResourceStatus::Deleted, None),
                        Err(reason) => (ResourceStatus::DeleteFailed, Some(reason)),
                    };
                    self.report(&mut resource, status, reason)?;
                } else {
                    self.report(&mut resource, ResourceStatus::DeleteSkipped, None)?;
                }
            }
            stacks::change(&self.cloud, &self.key, |stack| {
                stack.pending_deletion.pop();
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Creates the resources of the stack, then its outputs. The status is [`StackStatus::Creating`].
    pub(crate) async fn run_create(self) {
        let result = match self.create_all().await {
            Ok(()) => self.status(StackStatus::Created, None),
            Err(Failure::Cancelled) => self.delete_all().await,
            Err(failure) => self.create_failed(&failure).await,
        };
        if let Err(error) = result {
            self.end(StackStatus::CreateFailed, error.message).await;
        }
    }

    async fn create_all(&self) -> Result<(), Failure> {
        let begun = scope(&self.cloud, &self.stack()?)?;
        for logical in graph::order(&begun.template, &begun.present()?)? {
            if self.stack()?.delete_requested {
                return Err(Failure::Cancelled);
            }
            self.build(&logical, Creation::New, None).await?;
        }
        if self.stack()?.delete_requested {
            return Err(Failure::Cancelled);
        }
        self.publish()?;
        Ok(())
    }

    /// Writes the outputs, and the names of imported exports.
    pub(super) fn publish(&self) -> ApiResult<()> {
        let stack = self.stack()?;
        let scope = scope(&self.cloud, &stack)?;
        let outputs = outputs(&scope)?;
        check_exports(&self.cloud, &stack, &outputs)?;
        let imports = imports(&scope);
        stacks::change(&self.cloud, &self.key, |stack| {
            stack.outputs = outputs;
            stack.deployment.imports = imports;
            Ok(())
        })
    }

    pub(super) async fn create_failed(&self, failure: &Failure) -> ApiResult<()> {
        let stack = self.stack()?;
        match stack.on_failure {
            OnFailure::DoNothing => {
                self.status(StackStatus::CreateFailed, Some(failure.to_string()))
            }
            OnFailure::Delete => {
                let reason = format!("{failure}Delete requested by user.");
                self.status(StackStatus::Deleting, Some(reason))?;
                self.delete_all().await
            }
            OnFailure::Rollback => {
                let reason = format!("{failure}Rollback requested by user.");
                self.status(StackStatus::RollingBack, Some(reason))?;
                self.undo_create().await
            }
        }
    }

    /// Deletes the created resources. The status is [`StackStatus::RollingBack`].
    pub(super) async fn undo_create(&self) -> ApiResult<()> {
        let failed = self
            .remove_all(|resource| resource.deletion_policy == DeletionPolicy::Retain)
            .await?;
        if failed.is_empty() {
            self.status(StackStatus::RolledBack, None)
        } else {
            self.status(StackStatus::RollbackFailed, Some(failed_to_delete(&failed)))
        }
    }

    /// Deletes the stack's resources in reverse order of creation; returns those that could not be deleted.
    async fn remove_all(&self, retain: impl Fn(&Resource) -> bool) -> ApiResult<Vec<String>> {
        let mut failed = Vec::new();
        for resource in self.stack()?.resources.iter().rev() {
            if !self.remove(resource, retain(resource)).await? {
                failed.push(resource.logical.clone());
            }
        }
        Ok(failed)
    }

    /// Deletes the stack. The status is [`StackStatus::Deleting`].
    pub(crate) async fn run_delete(self) {
        if let Err(error) = self.delete_all().await {
            self.end(StackStatus::DeleteFailed, error.message).await;
        }
    }

    pub(super) async fn delete_all(&self) -> ApiResult<()> {
        let stack = self.stack()?;
        if stack.status != StackStatus::Deleting {
            self.status(StackStatus::Deleting, Some("User Initiated".to_owned()))?;
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
                return self.status(StackStatus::DeleteFailed, Some(reason));
            }
        }
        let keeps = |resource: &Resource| {
            resource.deletion_policy.retains() || stack.retain.contains(&resource.logical)
        };
        let failed = self.remove_all(keeps).await?;
        self.clean_up().await?;
        if !failed.is_empty() {
            return self.status(StackStatus::DeleteFailed, Some(failed_to_delete(&failed)));
        }
        stacks::change(&self.cloud, &self.key, |stack| {
            stack.deleted = Some(crate::clock::iso());
            stack.outputs.clear();
            stack.previous = None;
            Ok(())
        })?;
        super::changes::forget(&self.cloud, &self.key, None)?;
        self.status(StackStatus::Deleted, None)
    }
}

fn mark(resource: &mut Resource, status: ResourceStatus, reason: Option<String>) {
    resource.status = status;
    resource.reason = reason;
    resource.changed = crate::clock::iso();
}

/// Copies `DeletionPolicy` and `UpdateReplacePolicy` from the template.
pub(super) fn set_policies(scope: &Scope, resource: &mut Resource) {
    let of = |name: &str| {
        let found = scope.template.resource(&resource.logical);
        let text = found.and_then(|found| found.get(name)?.as_str());
        text.and_then(states::parse).unwrap_or_default()
    };
    let (deletion, replace) = (of("DeletionPolicy"), of("UpdateReplacePolicy"));
    resource.deletion_policy = deletion;
    resource.update_replace_policy = replace;
}

fn failed_to_delete(failed: &[String]) -> String {
    format!(
        "The following resource(s) failed to delete: [{}]. ",
        failed.join(", ")
    )
}
