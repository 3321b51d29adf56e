//! The work on a stack after its request was answered: its creation, its deletion, and the steps on one
//! resource that these and an update ([`super::update`]) consist of.
//!
//! Resources that do not depend on each other are worked on at once ([`super::parallel`]). Each step on a
//! resource is written to the stack's record before the next one on it begins, so that the record is complete
//! even if the server dies. A step changes the record of its own resource only, in one transaction, so
//! concurrent steps do not overwrite each other.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::custom;
use super::evaluate::{check_exports, desired, imports, kind_of, outputs, scope};
use super::failure::{Ended, Failure, reason};
use super::graph;
use super::intrinsics::Scope;
use super::parallel::{self, AfterFailure};
use super::resources::{self, Target, Type};
use super::stacks::{self, Resource, Stack};
use super::states::{self, Creation, DeletionPolicy, OnFailure, ResourceStatus, StackStatus};
use crate::Cloud;
use crate::api::ApiResult;
use crate::cloud::caller::Caller;
use crate::faults::{self, Point};
use crate::injection::{self, Step};

/// Works on one stack.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    pub(super) cloud: Cloud,
    pub(super) key: String,
    /// Cancelled when a resource fails: no other is created, and nothing waits until one is ready.
    failed: CancellationToken,
}

impl Engine {
    /// Works on the stack of this key.
    pub(crate) fn new(cloud: &Cloud, key: &str) -> Self {
        Self {
            cloud: cloud.clone(),
            key: key.to_owned(),
            failed: CancellationToken::new(),
        }
    }

    /// Processes resources concurrently, in template order. After a failure, no further resource is started and
    /// those in progress are cancelled.
    pub(super) async fn together<F: Future<Output = Result<(), Failure>>>(
        &self,
        waits_for: &[BTreeSet<usize>],
        work: impl Fn(usize) -> F,
    ) -> Result<(), Failure> {
        let failures = parallel::run(waits_for, AfterFailure::Stop, |index| {
            let work = work(index);
            async move { work.await.inspect_err(|_| self.failed.cancel()) }
        });
        Failure::together(failures.await)
    }

    /// The current record of the stack.
    pub(super) fn stack(&self) -> ApiResult<Stack> {
        stacks::stacks(&self.cloud)
            .get(&self.key)?
            .ok_or_else(|| stacks::missing(&self.key))
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "the callers compose a text for it"
    )]
    pub(super) fn status(&self, status: StackStatus, reason: Option<String>) -> ApiResult<()> {
        stacks::set_status(&self.cloud, &self.key, status, reason.as_deref())
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
        stacks::set_resource(&self.cloud, &self.key, resource)
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
        let failed = || Failure::of(logical, creation.verb());
        let scope = scope(&self.cloud, &stack)?;
        let mut resource = Resource {
            logical: logical.to_owned(),
            kind: scope.template.resource_type(logical).to_owned(),
            ..Resource::default()
        };
        set_policies(&scope, &mut resource)?;
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
            Err(ended) => {
                let reason = match ended {
                    Ended::Failed(error) => reason(kind, &error),
                    Ended::Cancelled => format!("Resource {} cancelled", creation.noun()),
                };
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
    ) -> Result<(), Ended> {
        resources::check(kind, &resource.logical, &resource.properties)?;
        let stack = self.stack()?;
        if kind.name == custom::TYPE {
            self.create_custom(&stack, resource).await?;
            let initiated = Some("Resource creation Initiated".to_owned());
            return Ok(self.keep(resource, creation.in_progress(), initiated)?);
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
        // AWS makes no such call, so it needs no permission.
        let find = kind.steps().find(&target);
        let existing = Caller::LocalCloud.scope(find).await?;
        if self.failed.is_cancelled() {
            return Err(Ended::Cancelled);
        }
        resource.existing = Some(existing);
        stacks::change(&self.cloud, &self.key, |stack| {
            stack.put(resource.clone());
            Ok(())
        })?;
        let at = |point| faults::point(&self.cloud, point, kind.name, &resource.logical);
        at(Point::Create).await?;
        let failure = self.injected(kind, resource, Step::Create);
        let created = match failure {
            Ok(()) => kind.steps().create(&target).await,
            Err(error) => Err(error),
        };
        at(Point::Created).await?;
        resource.existing = None;
        let created = created?;
        resource.physical = Some(created.physical.clone());
        resource.attributes = created.attributes;
        resource.incomplete = true;
        let initiated = Some("Resource creation Initiated".to_owned());
        self.keep(resource, creation.in_progress(), initiated)?;
        let target = Target {
            physical: &created.physical,
            ..target
        };
        let ready = async {
            faults::point(&self.cloud, Point::Recorded, kind.name, &resource.logical).await?;
            kind.steps().settle(&target).await
        };
        // The roll-back deletes the resource, however far its settings have come.
        tokio::select! {
            biased;
            result = ready => Ok(result?),
            () = self.failed.cancelled() => Err(Ended::Cancelled),
        }
    }

    /// Fails if a person has injected a failure of this step.
    fn injected(&self, kind: &Type, resource: &Resource, step: Step) -> ApiResult<()> {
        injection::resource(self.cloud.injected(), kind.name, &resource.logical, step)
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
        let at = faults::point(&self.cloud, Point::Update, kind.name, &resource.logical);
        let checked = at
            .await
            .and_then(|()| resources::check(kind, &resource.logical, &resource.properties));
        let fault = || self.injected(kind, resource, Step::Update);
        let result = match checked.and_then(|()| fault()) {
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
                Err(Failure::of(&resource.logical, "update"))
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
        let at = faults::point(&self.cloud, Point::Delete, kind.name, &resource.logical);
        at.await
            .and_then(|()| self.injected(kind, resource, Step::Delete))
            .map_err(|error| reason(kind, &error))?;
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

    /// Deletes the resources that an update replaced or removed, each before those that it needs. A
    /// resource that cannot be deleted is kept, as on AWS, and an event reports it.
    pub(super) async fn clean_up(&self) -> ApiResult<()> {
        let mut pending = self.stack()?.pending_deletion;
        pending.reverse();
        let waits_for = stacks::dependents(&pending);
        let failures = parallel::run(&waits_for, AfterFailure::Stop, |index| {
            self.clean_up_one(&pending[index])
        });
        failures.await.into_iter().next().map_or(Ok(()), Err)
    }

    async fn clean_up_one(&self, pending: &Resource) -> ApiResult<()> {
        let mut resource = pending.clone();
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
            stack.pending_deletion.retain(|left| left != pending);
            Ok(())
        })
    }

    /// Creates the resources of the stack, then its outputs. The status is [`StackStatus::Creating`].
    pub(crate) async fn run_create(self) {
        let result = match self.create_all().await {
            Ok(()) => self.status(StackStatus::Created, None),
            Err(failure) => self.create_failed(&failure).await,
        };
        if let Err(error) = result {
            self.end(StackStatus::CreateFailed, error.message).await;
        }
    }

    async fn create_all(&self) -> Result<(), Failure> {
        let begun = scope(&self.cloud, &self.stack()?)?;
        let order = graph::order(&begun.template, &begun.present()?)?;
        let waits_for = graph::earlier(&begun.template, &order)?;
        let create = async |index: usize| {
            if self.stack()?.delete_requested {
                return Err(Failure::Cancelled);
            }
            self.build(&order[index], Creation::New, None).await
        };
        self.together(&waits_for, create).await?;
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
        stacks::check_imports(&self.cloud, &stack, &outputs)?;
        let imports = imports(&scope);
        stacks::change(&self.cloud, &self.key, |stack| {
            stack.outputs = outputs;
            stack.deployment.imports = imports;
            Ok(())
        })
    }

    pub(super) async fn create_failed(&self, failure: &Failure) -> ApiResult<()> {
        let stack = self.stack()?;
        if stack.delete_requested {
            return self.delete_all().await;
        }
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

    /// Deletes the stack's resources, dependents first. Returns those that could not be deleted; their
    /// dependencies are kept, too.
    ///
    /// Unverified against AWS [cfn-failed-deletion]: whether it tries to delete the dependencies of such a resource.
    async fn remove_all(&self, retain: impl Fn(&Resource) -> bool) -> ApiResult<Vec<String>> {
        let mut resources = self.stack()?.resources;
        resources.reverse();
        let waits_for = stacks::dependents(&resources);
        let remove = async |index: usize| {
            let resource = &resources[index];
            match self.remove(resource, retain(resource)).await {
                Ok(true) => Ok(()),
                Ok(false) => Err(Ok(resource.logical.clone())),
                Err(error) => Err(Err(error)),
            }
        };
        let failures = parallel::run(&waits_for, AfterFailure::SkipDependents, remove);
        failures.await.into_iter().collect()
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
        super::drift::forget(&self.cloud, &stack)?;
        self.status(StackStatus::Deleted, None)
    }
}

fn mark(resource: &mut Resource, status: ResourceStatus, reason: Option<String>) {
    resource.status = status;
    resource.reason = reason;
    resource.changed = crate::clock::iso();
}

/// Copies `DeletionPolicy`, `UpdateReplacePolicy` and what the resource needs from the template.
pub(super) fn set_policies(scope: &Scope, resource: &mut Resource) -> ApiResult<()> {
    let of = |name: &str| {
        let found = scope.template.resource(&resource.logical);
        let text = found.and_then(|found| found.get(name)?.as_str());
        text.and_then(states::parse).unwrap_or_default()
    };
    let (deletion, replace) = (of("DeletionPolicy"), of("UpdateReplacePolicy"));
    resource.deletion_policy = deletion;
    resource.update_replace_policy = replace;
    resource.needs = Some(graph::needs(&scope.template, &resource.logical)?);
    Ok(())
}

fn failed_to_delete(failed: &[String]) -> String {
    format!(
        "The following resource(s) failed to delete: [{}]. ",
        failed.join(", ")
    )
}

#[cfg(test)]
mod tests;
