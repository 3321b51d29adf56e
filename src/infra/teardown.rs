//! Deletes the stacks of a project: those that only cost money, or everything.

use anyhow::{Result, anyhow};
use aws_sdk_cloudformation::types::{ResourceStatus, StackStatus};
use mlops_core::error::Hint;
use mlops_core::wait::Waiter;

use super::events::watch;
use super::part::{PARTS, Part};
use super::stacks::DELETION_TAG;
use crate::aws::Clients;
use crate::aws::cloudformation::{self as cfn, Resource};
use crate::aws::state::StackStatusExt as _;
use crate::config::Project;
use crate::progress::Progress;

/// The policy with which resources with data outlive their stack, and what replaces it.
const RETAIN: &str = "DeletionPolicy: RetainExceptOnCreate";
const DELETE: &str = "DeletionPolicy: Delete";

/// A stack that exists.
#[derive(Debug, Clone)]
pub struct DeployedStack {
    /// The part of the architecture.
    pub part: Part,
    /// The stack's name.
    pub name: String,
    /// Its ARN.
    pub id: String,
    /// Its resources that exist.
    pub resources: Vec<Resource>,
}

impl DeployedStack {
    /// The physical ids of its resources of a type.
    pub fn of_type<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a str> {
        let all = self.resources.iter();
        all.filter(move |resource| resource.r#type == kind)
            .map(|resource| resource.id.as_str())
    }
}

/// Returns the stacks of the project's parts, in the order in which they can be deleted. The stacks of its branches
/// must be deleted before.
pub(super) async fn deployed_parts(
    clients: &Clients,
    project: &Project,
) -> Result<Vec<DeployedStack>> {
    let found = PARTS.map(|part| deployed_stack(clients, project, part));
    let found = futures::future::try_join_all(found).await?;
    Ok(found.into_iter().flatten().rev().collect())
}

/// Returns the project's stack of a part, if it exists.
pub async fn deployed_stack(
    clients: &Clients,
    project: &Project,
    part: Part,
) -> Result<Option<DeployedStack>> {
    find(clients, part, part.stack(&project.file.name)).await
}

/// Returns a stack of a part by its name, if it exists.
pub(super) async fn find(
    clients: &Clients,
    part: Part,
    name: String,
) -> Result<Option<DeployedStack>> {
    let Some(stack) = cfn::stack(clients, &name).await? else {
        return Ok(None);
    };
    if stack.status == StackStatus::DeleteComplete {
        return Ok(None);
    }
    let mut resources = cfn::resources(clients, &name).await?;
    resources.retain(Resource::exists);
    Ok(Some(DeployedStack {
        part,
        name,
        id: stack.id,
        resources,
    }))
}

/// Lets CloudFormation delete a stack's resources with data, too. Their templates protect them: this
/// changes the template, and nothing else. Returns only if the deployed template protects nothing any
/// more: whoever empties a bucket before may lose the data and keep the bucket.
pub async fn unprotect(
    clients: &Clients,
    waiter: Waiter,
    progress: &Progress,
    stack: &DeployedStack,
) -> Result<()> {
    let Some(current) = idle(clients, waiter, progress, stack).await? else {
        return Ok(());
    };
    // A stack whose creation failed has no protected resources.
    if current.status.has_failed_to_create() || current.status.is_empty() {
        return Ok(());
    }
    let name = &stack.name;
    let template = cfn::template(clients, &stack.id).await?;
    if !template.contains(RETAIN) {
        return Ok(());
    }
    if let Some(hint) = obstacle(name, &current.status) {
        return Err(anyhow!(
            "{name} is {}: CloudFormation would keep its data, so nothing of it was emptied",
            current.status.as_str()
        ))
        .hint(hint);
    }
    let template = template.replace(RETAIN, DELETE);
    let last = cfn::newest_event(clients, &stack.id).await?;
    let tag = (DELETION_TAG, "with-data");
    if cfn::update_template(clients, &current, &template, tag).await? {
        let last = last.map(|event| event.id);
        let verb = "preparing the deletion";
        let (ended, failure) =
            watch(clients, waiter, progress, name, &stack.id, verb, last).await?;
        if let Some(ended) = ended.filter(|ended| !ended.status.is_deployed()) {
            return Err(anyhow!(
                "the deletion policies of {name} could not be changed: {}",
                failure.or(ended.reason).unwrap_or_default()
            ))
            .hint("fix the cause, then run the command again");
        }
    }
    if cfn::template(clients, &stack.id).await?.contains(RETAIN) {
        return Err(anyhow!(
            "{name} still keeps its data when it is deleted, so nothing of it was emptied"
        ))
        .hint(
            "look at the stack's events in the CloudFormation console, then run the command again",
        );
    }
    Ok(())
}

/// What to do with a stack whose state does not allow an update.
fn obstacle(stack: &str, status: &StackStatus) -> Option<String> {
    match status {
        StackStatus::UpdateRollbackFailed => Some(format!(
            "run `aws cloudformation continue-update-rollback --stack-name {stack}`, then this command \
             again"
        )),
        StackStatus::DeleteFailed => Some(format!(
            "delete {stack} and what it keeps in the AWS console, then run this command again"
        )),
        _ => None,
    }
}

/// Deletes a stack; ignores a missing one. Returns the reason if a resource could not be deleted: the
/// resource and what the service said.
pub async fn delete(
    clients: &Clients,
    waiter: Waiter,
    progress: &Progress,
    stack: &DeployedStack,
) -> Result<Option<String>> {
    let Some(current) = idle(clients, waiter, progress, stack).await? else {
        return Ok(None);
    };
    if current.status == StackStatus::DeleteComplete {
        return Ok(None);
    }
    let last = cfn::newest_event(clients, &stack.id).await?;
    let last = last.map(|event| event.id);
    cfn::begin_deletion(clients, &stack.id).await?;
    let (name, verb) = (&stack.name, "deleting");
    let (ended, failure) = watch(clients, waiter, progress, name, &stack.id, verb, last).await?;
    match ended {
        Some(ended) if ended.status != StackStatus::DeleteComplete => {
            let reason = failure.or(ended.reason);
            Ok(Some(reason.unwrap_or_else(|| {
                "CloudFormation gave no reason".to_owned()
            })))
        }
        _ => {
            progress.say(format!("{name}: deleted"));
            Ok(None)
        }
    }
}

/// Returns the resources that a deleted stack left behind, as `TYPE ID`.
pub async fn left_behind(clients: &Clients, stack: &DeployedStack) -> Result<Vec<String>> {
    let resources = cfn::resources(clients, &stack.id).await?.into_iter();
    let left = resources.filter(|resource| resource.status == Some(ResourceStatus::DeleteSkipped));
    Ok(left
        .map(|resource| format!("{} {}", resource.r#type, resource.id))
        .collect())
}

/// Waits until nobody changes the stack; returns its state, if it exists.
async fn idle(
    clients: &Clients,
    waiter: Waiter,
    progress: &Progress,
    stack: &DeployedStack,
) -> Result<Option<cfn::Stack>> {
    let Some(current) = cfn::stack(clients, &stack.id).await? else {
        return Ok(None);
    };
    if !current.status.is_busy() {
        return Ok(Some(current));
    }
    let status = current.status.as_str();
    progress.say(format!("{}: waiting ({status})", stack.name));
    let last = cfn::newest_event(clients, &stack.id).await?;
    let last = last.map(|event| event.id);
    let (ended, _) = watch(
        clients,
        waiter,
        progress,
        &stack.name,
        &stack.id,
        "waiting",
        last,
    )
    .await?;
    Ok(ended)
}
