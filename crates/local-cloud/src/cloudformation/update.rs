//! Updates of a stack, and the roll-back of those that failed.

use std::collections::BTreeSet;

use super::custom;
use super::engine::{Engine, set_policies};
use super::evaluate::{desired, scope};
use super::failure::{Failure, reason};
use super::graph;
use super::parallel::{self, AfterFailure};
use super::resources::create_only_changes;
use super::stacks::{self, Before, Resource};
use super::states::{Creation, DeletionPolicy, OnFailure, ResourceStatus, StackStatus};
use crate::api::ApiResult;

impl Engine {
    /// Updates the stack to its new deployment; `previous` holds the state before. The status is
    /// [`StackStatus::Updating`]. Returns whether the update succeeded.
    pub(crate) async fn run_update(self) -> bool {
        let result = match self.update_all().await {
            Ok(()) => self.updated().await.map(|()| true),
            Err(failure) if matches!(self.stack(), Ok(stack) if stack.on_failure == OnFailure::DoNothing) => {
                self.status(StackStatus::UpdateFailed, Some(failure.to_string()))
                    .map(|()| false)
            }
            Err(failure) => self
                .roll_back(Some(failure.to_string()))
                .await
                .map(|()| false),
        };
        match result {
            Ok(done) => done,
            Err(error) => {
                self.end(StackStatus::UpdateRollbackFailed, error.message)
                    .await;
                false
            }
        }
    }

    /// Resumes a roll-back that failed.
    pub(crate) async fn run_continue_rollback(self) {
        if let Err(error) = self.roll_back(None).await {
            self.end(StackStatus::UpdateRollbackFailed, error.message)
                .await;
        }
    }

    async fn update_all(&self) -> Result<(), Failure> {
        let begun = scope(&self.cloud, &self.stack()?)?;
        let order = graph::order(&begun.template, &begun.present()?)?;
        let waits_for = graph::earlier(&begun.template, &order)?;
        let update = async |index: usize| self.update_one(&order[index]).await;
        self.together(&waits_for, update).await?;
        let wanted: BTreeSet<&String> = order.iter().collect();
        stacks::change(&self.cloud, &self.key, |stack| {
            let (mut kept, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut stack.resources)
                .into_iter()
                .partition(|resource| wanted.contains(&resource.logical));
            kept.sort_by_key(|resource| order.iter().position(|name| *name == resource.logical));
            stack.resources = kept;
            stack.pending_deletion.extend(gone);
            let before: Vec<String> = stack
                .previous
                .iter()
                .flat_map(|before| &before.resources)
                .map(|resource| resource.logical.clone())
                .collect();
            stack
                .pending_deletion
                .sort_by_key(|resource| before.iter().position(|name| *name == resource.logical));
            Ok(())
        })?;
        self.publish()?;
        Ok(())
    }

    async fn update_one(&self, logical: &str) -> Result<(), Failure> {
        let stack = self.stack()?;
        let Some(old) = stack.resource(logical).filter(|old| old.physical.is_some()) else {
            return self.build(logical, Creation::New, None).await;
        };
        if custom::is_custom(&old.kind) && old.status == ResourceStatus::CreateFailed {
            self.leave_failed_custom(old)?;
            return self.build(logical, Creation::New, None).await;
        }
        if old.incomplete {
            self.leave_incomplete(old).await?;
            return self.build(logical, Creation::New, None).await;
        }
        let now = scope(&self.cloud, &stack)?;
        let mut resource = old.clone();
        set_policies(&now, &mut resource)?;
        let failed = |message: String| {
            let mut failed = old.clone();
            self.keep(&mut failed, ResourceStatus::UpdateFailed, Some(message))?;
            Err(Failure::of(logical, "update"))
        };
        let (kind, properties) = match desired(&now, &stack, logical) {
            Ok(desired) => desired,
            Err(error) => return failed(error.message),
        };
        let changes = create_only_changes(kind, &old.baseline(&properties), &properties);
        if changes.is_empty() {
            return Ok(stacks::change(&self.cloud, &self.key, |stack| {
                if let Some(found) = stack
                    .resources
                    .iter_mut()
                    .find(|found| found.logical == logical)
                {
                    found.clone_from(&resource);
                }
                Ok(())
            })?);
        }
        if !changes.iter().any(|(_, recreates)| *recreates) {
            if let Err(error) = kind.check_changes(&changes) {
                return failed(reason(kind, &error));
            }
            return self.change(&mut resource, properties).await;
        }
        let name = kind
            .naming
            .and_then(|naming| properties.get(naming.property));
        if name.is_some_and(|name| *name == old.name) {
            return failed(format!(
                "CloudFormation cannot update a stack when a custom-named resource requires replacing. Rename {} and update the stack again.",
                old.name
            ));
        }
        // The new resource is created first, so that others can refer to it before the old one is deleted.
        let mut left = old.clone();
        left.deletion_policy = resource.update_replace_policy;
        stacks::change(&self.cloud, &self.key, |stack| {
            stack.pending_deletion.push(left);
            Ok(())
        })?;
        let replacing = "Requested update requires the creation of a new physical resource; hence creating one.";
        self.build(logical, Creation::Replacement, Some(replacing.to_owned()))
            .await
    }

    /// Deletes a resource whose creation failed halfway, in an update without roll-back. It is deleted
    /// before the next attempt, which can create one of the same name.
    async fn leave_incomplete(&self, old: &Resource) -> Result<(), Failure> {
        let mut left = old.clone();
        if left.deletion_policy == DeletionPolicy::Retain {
            return Ok(stacks::change(&self.cloud, &self.key, |stack| {
                stack.pending_deletion.push(left);
                Ok(())
            })?);
        }
        if let Err(reason) = self.delete_physical(&left).await {
            self.keep(&mut left, ResourceStatus::UpdateFailed, Some(reason))?;
            return Err(Failure::of(&old.logical, "update"));
        }
        Ok(())
    }

    async fn updated(&self) -> ApiResult<()> {
        self.status(StackStatus::CleaningUp, None)?;
        self.finish(StackStatus::Updated).await
    }

    /// Deletes what the update replaced or removed, then sets this status.
    pub(super) async fn finish(&self, status: StackStatus) -> ApiResult<()> {
        self.clean_up().await?;
        stacks::change(&self.cloud, &self.key, |stack| {
            stack.previous = None;
            Ok(())
        })?;
        self.status(status, None)
    }

    /// Restores the state before the update: reverts updated resources, reinstates replaced ones and
    /// deletes new ones.
    pub(super) async fn roll_back(&self, reason: Option<String>) -> ApiResult<()> {
        self.status(StackStatus::UpdateRollingBack, reason)?;
        let before: Before = match self.stack()?.previous {
            Some(before) => *before,
            None => return self.status(StackStatus::UpdateRolledBack, None),
        };
        let skip = self.stack()?.skip;
        let waits_for = stacks::needed(&before.resources);
        let revert = async |index: usize| {
            let old = &before.resources[index];
            let is_skipped = skip.contains(&old.logical);
            match self.revert(old, is_skipped).await {
                Ok(true) => Ok(()),
                Ok(false) => Err(Ok(old.logical.clone())),
                Err(error) => Err(Err(error)),
            }
        };
        // The next attempt also reverts what waits for a resource that cannot be reverted now.
        let failures = parallel::run(&waits_for, AfterFailure::SkipDependents, revert);
        let failed: Vec<String> = failures.await.into_iter().collect::<ApiResult<_>>()?;
        if !failed.is_empty() {
            let reason = format!(
                "The following resource(s) failed to update: [{}]. ",
                failed.join(", ")
            );
            return self.status(StackStatus::UpdateRollbackFailed, Some(reason));
        }
        stacks::change(&self.cloud, &self.key, |stack| {
            let restored: Vec<Resource> = before
                .resources
                .iter()
                .map(|old| {
                    // The function that changed a custom resource back may have replaced it.
                    let current = stack.resource(&old.logical);
                    let current = current.filter(|current| custom::is_custom(&current.kind));
                    current.unwrap_or(old).clone()
                })
                .collect();
            let created: Vec<Resource> = std::mem::take(&mut stack.resources)
                .into_iter()
                .filter(|resource| {
                    !before
                        .resources
                        .iter()
                        .any(|old| old.logical == resource.logical)
                })
                .map(|mut resource| {
                    if resource.deletion_policy == DeletionPolicy::RetainExceptOnCreate {
                        resource.deletion_policy = DeletionPolicy::Delete;
                    }
                    resource
                })
                .collect();
            stack.pending_deletion.extend(created);
            stack.pending_deletion.retain(|left| {
                !restored
                    .iter()
                    .any(|old| old.logical == left.logical && old.physical == left.physical)
            });
            stack.resources = restored;
            stack.outputs.clone_from(&before.outputs);
            stack.deployment.clone_from(&before.deployment);
            Ok(())
        })?;
        self.status(StackStatus::RollbackCleaningUp, None)?;
        self.finish(StackStatus::UpdateRolledBack).await
    }

    /// Restores a resource to the state before the update; returns false if it could not be changed back.
    async fn revert(&self, old: &Resource, is_skipped: bool) -> ApiResult<bool> {
        let current = self.stack()?.resource(&old.logical).cloned();
        match current {
            Some(_) if is_skipped => {
                let mut skipped = old.clone();
                self.keep(&mut skipped, ResourceStatus::Updated, None)?;
            }
            Some(mut current) if current.physical == old.physical => {
                let was = current.properties.clone();
                if was == old.properties {
                    return Ok(true);
                }
                let changed = self.change(&mut current, old.properties.clone()).await;
                if changed.is_err() {
                    // ContinueUpdateRollback reverts the same change once more.
                    current.properties = was;
                    self.put_back(None, &current)?;
                    return Ok(false);
                }
            }
            Some(current) => {
                let mut restored = old.clone();
                self.put_back(Some(current), &restored)?;
                self.keep(&mut restored, ResourceStatus::Updated, None)?;
            }
            None => self.put_back(None, old)?,
        }
        Ok(true)
    }

    /// Reinstates the old resource and schedules the new one for the clean-up.
    fn put_back(&self, current: Option<Resource>, old: &Resource) -> ApiResult<()> {
        stacks::change(&self.cloud, &self.key, |stack| {
            if let Some(mut current) = current {
                current.deletion_policy = DeletionPolicy::Delete;
                stack.pending_deletion.push(current);
            }
            stack
                .pending_deletion
                .retain(|left| left.logical != old.logical || left.physical != old.physical);
            match stack
                .resources
                .iter_mut()
                .find(|found| found.logical == old.logical)
            {
                Some(found) => found.clone_from(old),
                None => stack.resources.push(old.clone()),
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests;
