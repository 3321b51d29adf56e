//! Updates of a stack, and the way back from one that failed.

use std::collections::BTreeSet;

use super::engine::{Engine, Failure, desired, scope};
use super::graph;
use super::resources::create_only_changes;
use super::stacks::{self, Before, Resource};
use crate::api::ApiResult;

impl Engine {
    /// Updates the stack to its new source. The status is `UPDATE_IN_PROGRESS`, and `previous`
    /// holds what it was.
    pub(crate) async fn run_update(self) -> bool {
        let result = match self.update_all().await {
            Ok(()) => self.updated().await.map(|()| true),
            Err(failure) if matches!(self.stack(), Ok(stack) if stack.on_failure == "DO_NOTHING") => {
                self.status("UPDATE_FAILED", Some(failure.to_string()))
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
                self.end("UPDATE_ROLLBACK_FAILED", error.message).await;
                false
            }
        }
    }

    /// Tries again to go back. The status is `UPDATE_ROLLBACK_FAILED`.
    pub(crate) async fn run_continue_rollback(self) {
        if let Err(error) = self.roll_back(None).await {
            self.end("UPDATE_ROLLBACK_FAILED", error.message).await;
        }
    }

    async fn update_all(&self) -> Result<(), Failure> {
        let begun = scope(&self.cloud, &self.stack()?)?;
        let order = graph::order(&begun.template, &begun.present()?)?;
        for logical in &order {
            self.update_one(logical).await?;
        }
        let wanted: BTreeSet<&String> = order.iter().collect();
        stacks::change(&self.cloud, &self.key, |stack| {
            let (mut kept, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut stack.resources)
                .into_iter()
                .partition(|resource| wanted.contains(&resource.logical));
            kept.sort_by_key(|resource| order.iter().position(|name| *name == resource.logical));
            stack.resources = kept;
            stack.leftovers.extend(gone);
            let before: Vec<String> = stack
                .previous
                .iter()
                .flat_map(|before| &before.resources)
                .map(|resource| resource.logical.clone())
                .collect();
            stack
                .leftovers
                .sort_by_key(|resource| before.iter().position(|name| *name == resource.logical));
            Ok(())
        })?;
        self.publish()?;
        Ok(())
    }

    async fn update_one(&self, logical: &str) -> Result<(), Failure> {
        let stack = self.stack()?;
        let Some(old) = stack.resource(logical).filter(|old| old.physical.is_some()) else {
            return self.build(logical, "CREATE", None).await;
        };
        let now = scope(&self.cloud, &stack)?;
        let mut resource = old.clone();
        self.policies(&now, &mut resource);
        let failed = |message: String| {
            let mut failed = old.clone();
            self.keep(&mut failed, "UPDATE_FAILED", Some(message))?;
            Err(Failure::Resource(logical.to_owned(), "update"))
        };
        let (kind, properties) = match desired(&now, &stack, logical) {
            Ok(desired) => desired,
            Err(error) => return failed(error.message),
        };
        let changes = create_only_changes(kind, &old.properties, &properties);
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
        // The new one is made first, so that what refers to the old one can be pointed at it.
        let mut left = old.clone();
        left.deletion_policy = resource.update_replace_policy;
        stacks::change(&self.cloud, &self.key, |stack| {
            stack.leftovers.push(left);
            Ok(())
        })?;
        let replacing = "Requested update requires the creation of a new physical resource; hence creating one.";
        self.build(logical, "UPDATE", Some(replacing.to_owned()))
            .await
    }

    async fn updated(&self) -> ApiResult<()> {
        self.status("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", None)?;
        self.finish("UPDATE_COMPLETE").await
    }

    /// Deletes the leftovers, then ends in this status.
    pub(super) async fn finish(&self, status: &str) -> ApiResult<()> {
        self.clean_up().await?;
        stacks::change(&self.cloud, &self.key, |stack| {
            stack.previous = None;
            Ok(())
        })?;
        self.status(status, None)
    }

    /// Goes back to what the update started from: what it changed is changed back, what it replaced
    /// is pointed at again, what it made is deleted.
    pub(super) async fn roll_back(&self, reason: Option<String>) -> ApiResult<()> {
        self.status("UPDATE_ROLLBACK_IN_PROGRESS", reason)?;
        let before: Before = match self.stack()?.previous {
            Some(before) => *before,
            None => return self.status("UPDATE_ROLLBACK_COMPLETE", None),
        };
        let mut failed = Vec::new();
        for old in &before.resources {
            let current = self.stack()?.resource(&old.logical).cloned();
            match current {
                Some(mut current) if current.physical == old.physical => {
                    let touched = current.properties != old.properties;
                    let was = current.properties.clone();
                    if touched
                        && self
                            .change(&mut current, old.properties.clone())
                            .await
                            .is_err()
                    {
                        failed.push(old.logical.clone());
                        // ContinueUpdateRollback has the same way to go once more.
                        current.properties = was;
                        self.put_back(None, &current)?;
                    }
                }
                Some(current) => {
                    let mut restored = old.clone();
                    self.put_back(Some(current), &restored)?;
                    self.keep(&mut restored, "UPDATE_COMPLETE", None)?;
                }
                None => self.put_back(None, old)?,
            }
        }
        if !failed.is_empty() {
            let reason = format!(
                "The following resource(s) failed to update: [{}]. ",
                failed.join(", ")
            );
            return self.status("UPDATE_ROLLBACK_FAILED", Some(reason));
        }
        stacks::change(&self.cloud, &self.key, |stack| {
            let made: Vec<Resource> = std::mem::take(&mut stack.resources)
                .into_iter()
                .filter(|resource| {
                    !before
                        .resources
                        .iter()
                        .any(|old| old.logical == resource.logical)
                })
                .map(|mut resource| {
                    if resource.deletion_policy == "RetainExceptOnCreate" {
                        "Delete".clone_into(&mut resource.deletion_policy);
                    }
                    resource
                })
                .collect();
            stack.leftovers.extend(made);
            stack.leftovers.retain(|left| {
                !before
                    .resources
                    .iter()
                    .any(|old| old.logical == left.logical && old.physical == left.physical)
            });
            stack.resources.clone_from(&before.resources);
            stack.outputs.clone_from(&before.outputs);
            stack.source.clone_from(&before.source);
            Ok(())
        })?;
        self.status("UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS", None)?;
        self.finish("UPDATE_ROLLBACK_COMPLETE").await
    }

    /// Puts the old resource in its place again and leaves the new one for the clean-up.
    fn put_back(&self, current: Option<Resource>, old: &Resource) -> ApiResult<()> {
        stacks::change(&self.cloud, &self.key, |stack| {
            if let Some(mut current) = current {
                "Delete".clone_into(&mut current.deletion_policy);
                stack.leftovers.push(current);
            }
            stack
                .leftovers
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
