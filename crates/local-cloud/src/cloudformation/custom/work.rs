//! Steps of the engine on a custom resource.

use serde_json::{Map, Value};

use super::{
    Action, Pending, Request, RequestFailure, failed, function_of, key_of, requests, send,
    timeout_of,
};
use crate::api::ApiResult;
use crate::cloudformation::engine::Engine;
use crate::cloudformation::stacks::{self, Resource, Stack};
use crate::cloudformation::states::{DeletionPolicy, ResourceStatus};

impl Engine {
    /// Creates a custom resource. Its physical id is recorded before the request, so that rolling
    /// back a request without a response deletes what the function may have created, as on AWS.
    pub(in crate::cloudformation) async fn create_custom(
        &self,
        stack: &Stack,
        resource: &mut Resource,
    ) -> ApiResult<()> {
        function_of(&resource.properties)?;
        timeout_of(&resource.properties)?;
        let random = uuid::Uuid::new_v4().simple().to_string().to_uppercase();
        let provisional = format!("{}-{}-{}", stack.name, resource.logical, &random[..12]);
        resource.physical = Some(provisional.clone());
        stacks::change(&self.cloud, &self.key, |stack| {
            stack.put(resource.clone());
            Ok(())
        })?;
        let request = Request {
            action: Action::Create,
            stack: &stack.id,
            logical: &resource.logical,
            kind: &resource.kind,
            physical: &provisional,
            properties: &resource.properties,
            old: None,
        };
        match send(&self.cloud, &request).await {
            Ok(made) => {
                resource.physical = Some(made.physical);
                resource.attributes = made.data;
                Ok(())
            }
            Err(RequestFailure::NotInvoked(error)) => {
                resource.physical = None;
                Err(error)
            }
            Err(RequestFailure::Other(error)) => {
                // The resource to delete has the id that the function returned, even if it failed.
                if let Some(named) = self.named_by_creation(&stack.id, resource)? {
                    resource.physical = Some(named);
                }
                Err(error)
            }
        }
    }

    /// Changes a custom resource. If the function returns another physical id, the old one is deleted
    /// in the clean-up.
    ///
    /// Unverified against AWS [custom-replacement-rollback]: if the update fails after a
    /// replacement, the roll-back restores the old resource without an `Update` request to its
    /// function.
    pub(in crate::cloudformation) async fn change_custom(
        &self,
        stack: &Stack,
        resource: &mut Resource,
        old: &Map<String, Value>,
    ) -> ApiResult<Map<String, Value>> {
        let token = "ServiceToken";
        if old.get(token) != resource.properties.get(token) {
            resource.properties.clone_from(old);
            return Err(failed("Modifying service token is not allowed."));
        }
        let physical = resource.physical.clone().unwrap_or_default();
        let request = Request {
            action: Action::Update,
            stack: &stack.id,
            logical: &resource.logical,
            kind: &resource.kind,
            physical: &physical,
            properties: &resource.properties,
            old: Some(old),
        };
        let made = match send(&self.cloud, &request).await {
            Ok(made) => made,
            Err(RequestFailure::NotInvoked(error)) => {
                // Nothing was changed, so there is nothing to revert.
                resource.properties.clone_from(old);
                return Err(error);
            }
            Err(RequestFailure::Other(error)) => return Err(error),
        };
        let mut left = resource.clone();
        resource.attributes = made.data;
        if made.physical == physical {
            return Ok(resource.attributes.clone());
        }
        left.properties.clone_from(old);
        left.deletion_policy = resource.update_replace_policy;
        resource.physical = Some(made.physical);
        // The replaced resource and its replacement are recorded in one step.
        stacks::change(&self.cloud, &self.key, |stack| {
            stack.pending_deletion.push(left);
            stack.put(resource.clone());
            Ok(())
        })?;
        let replaced = "Requested update required the provider to create a new physical resource";
        self.keep(
            resource,
            ResourceStatus::Updating,
            Some(replaced.to_owned()),
        )?;
        Ok(resource.attributes.clone())
    }

    /// Deletes a custom resource.
    pub(in crate::cloudformation) async fn delete_custom(
        &self,
        resource: &Resource,
        physical: &str,
    ) -> ApiResult<()> {
        let stack = self.stack()?;
        // The response to a creation that was cut off may name another id.
        let named = self.named_by_creation(&stack.id, resource)?;
        let request = Request {
            action: Action::Delete,
            stack: &stack.id,
            logical: &resource.logical,
            kind: &resource.kind,
            physical: named.as_deref().unwrap_or(physical),
            properties: &resource.properties,
            old: None,
        };
        send(&self.cloud, &request).await?;
        requests(&self.cloud).remove(&key_of(&stack.id, &resource.logical))?;
        Ok(())
    }

    /// The physical id in the response to the request that created the resource, if this was the last
    /// request and the resource still has its provisional id.
    fn named_by_creation(&self, stack: &str, resource: &Resource) -> ApiResult<Option<String>> {
        let pending = requests(&self.cloud).get(&key_of(stack, &resource.logical))?;
        Ok(pending
            .filter(|pending| {
                pending.action == Action::Create
                    && resource.physical.as_ref() == Some(&pending.physical)
            })
            .and_then(|pending| pending.response?.physical()))
    }

    /// Schedules a custom resource whose creation failed for the clean-up; an update creates it again.
    pub(in crate::cloudformation) fn leave_failed_custom(&self, old: &Resource) -> ApiResult<()> {
        let mut left = old.clone();
        left.deletion_policy = DeletionPolicy::Delete;
        stacks::change(&self.cloud, &self.key, |stack| {
            stack.pending_deletion.push(left);
            Ok(())
        })
    }

    /// After the server died during an update, schedules unrecorded resources of a function for the clean-up.
    pub(in crate::cloudformation) fn leave_lost_custom(
        &self,
        resource: &Resource,
    ) -> ApiResult<()> {
        let stack = self.stack()?;
        let key = key_of(&stack.id, &resource.logical);
        let Some(Pending {
            action: Action::Update,
            physical,
            response: Some(response),
            ..
        }) = requests(&self.cloud).get(&key)?
        else {
            return Ok(());
        };
        let Some(lost) = response.physical().filter(|_| response.is_success()) else {
            return Ok(());
        };
        if resource.physical.as_ref() != Some(&physical) || lost == physical {
            return Ok(());
        }
        let mut left = resource.clone();
        left.physical = Some(lost);
        left.deletion_policy = DeletionPolicy::Delete;
        stacks::change(&self.cloud, &self.key, |stack| {
            // An earlier start may have left it already.
            let is_left = stack
                .pending_deletion
                .iter()
                .any(|other| other.logical == left.logical && other.physical == left.physical);
            if !is_left {
                stack.pending_deletion.push(left);
            }
            Ok(())
        })
    }
}
