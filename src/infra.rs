//! The architecture as CloudFormation: templates, stacks, change sets, typed outputs.
//!
//! Every deployment goes through a change set, so what `mlops plan` prints is what `mlops init`
//! does.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow};
use aws_sdk_cloudformation::types::{ResourceStatus, StackStatus};
use serde::Serialize;

use crate::aws::Clients;
use crate::aws::cloudformation::{self as cfn, Change, NewChangeSet};
use crate::config::Project;
use crate::error::Hint;
use crate::progress::Progress;
use crate::wait::{Poll, Waiter};

mod outputs;
mod stacks;

pub use outputs::{Network, Platform, Workbench};
pub use stacks::{
    StackSpec, check_name, endpoint_stack, network, platform_stack, stack_name, validation_stack,
    workbench_stack,
};

/// What a deployment did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// The stack is new.
    Created,
    /// The stack was changed.
    Updated,
    /// There was nothing to change.
    Unchanged,
}

impl Action {
    /// The action as one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Unchanged => "unchanged",
        }
    }
}

/// A stack after a deployment.
#[derive(Debug, Clone, Serialize)]
pub struct StackOutcome {
    /// The stack's name.
    pub stack: String,
    /// What was done.
    pub action: Action,
    /// The changes, resource by resource.
    pub changes: Vec<Change>,
    /// The stack's outputs.
    pub outputs: BTreeMap<String, String>,
}

/// What a deployment would do. Execute it, or discard it.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The stack's name.
    pub stack: String,
    /// True when the stack is new.
    pub create: bool,
    /// The changes, resource by resource.
    pub changes: Vec<Change>,
    change_set: String,
}

/// The outputs of a stack, if it exists.
pub async fn outputs(
    clients: &Clients,
    stack_name: &str,
) -> Result<Option<BTreeMap<String, String>>> {
    Ok(cfn::stack(clients, stack_name)
        .await?
        .map(|stack| stack.outputs))
}

/// What the platform stack of a project made; an error that says `mlops init` when it is not there.
pub async fn platform(clients: &Clients, project: &Project) -> Result<Platform> {
    let name = stack_name(&project.file.name, "platform");
    let outputs = outputs(clients, &name)
        .await?
        .ok_or_else(|| anyhow!("{} has no stack {name} in this account", project.file.name))
        .hint(format!("run `{}`", clients.command("init")))?;
    Platform::read(&name, &outputs)
}

/// The stack, once what ends by itself (a roll-back, a clean-up, a deletion) has ended.
async fn settled(clients: &Clients, waiter: Waiter, name: &str) -> Result<Option<cfn::Stack>> {
    waiter
        .until(
            &format!("the roll-back of {name}"),
            |_| {},
            || async {
                let stack = cfn::stack(clients, name).await?;
                Ok(match stack.as_ref().map(|stack| stack.status.as_str()) {
                    Some(
                        status @ ("ROLLBACK_IN_PROGRESS"
                        | "DELETE_IN_PROGRESS"
                        | "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS"
                        | "UPDATE_ROLLBACK_IN_PROGRESS"
                        | "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS"),
                    ) => Poll::Pending(status.to_owned()),
                    _ => Poll::Ready(stack),
                })
            },
        )
        .await
}

/// Works out what a deployment would do; `None` when the stack is as it should be.
pub async fn prepare(
    clients: &Clients,
    waiter: Waiter,
    spec: &StackSpec,
) -> Result<Option<Prepared>> {
    let mut half_updated = false;
    let create = match settled(clients, waiter, &spec.name).await? {
        None => true,
        Some(stack) => match stack.status {
            StackStatus::DeleteComplete => true,
            // Left by a first deployment that failed or was never executed: it was never in use.
            StackStatus::RollbackComplete
            | StackStatus::RollbackFailed
            | StackStatus::CreateFailed
            | StackStatus::ReviewInProgress => {
                cfn::delete_stack(clients, waiter, &stack.id).await?;
                true
            }
            StackStatus::CreateComplete
            | StackStatus::UpdateComplete
            | StackStatus::UpdateRollbackComplete
            | StackStatus::ImportComplete => false,
            // Its update was left where it failed; CloudFormation takes another one.
            StackStatus::UpdateFailed => {
                half_updated = true;
                false
            }
            status if status.as_str().ends_with("_IN_PROGRESS") => {
                return Err(anyhow!(
                    "the stack {} is being changed ({})",
                    spec.name,
                    status.as_str()
                ))
                .hint("try again when that is done");
            }
            status => {
                return Err(anyhow!(
                    "the stack {} cannot be deployed: it is {} ({})",
                    spec.name,
                    status.as_str(),
                    stack.reason.as_deref().unwrap_or("no reason given")
                ))
                .hint("mend or delete the stack in the CloudFormation console, then try again");
            }
        },
    };
    let name = format!("mlops-{}", uuid::Uuid::new_v4().simple());
    let prepared = cfn::create_change_set(
        clients,
        waiter,
        &NewChangeSet {
            stack: &spec.name,
            name: &name,
            create,
            template: spec.template,
            parameters: &spec.parameters,
            capabilities: spec.capabilities,
        },
    )
    .await?;
    if prepared.is_none() && half_updated {
        return Err(anyhow!(
            "the stack {} is UPDATE_FAILED, and there is nothing to change in it",
            spec.name
        ))
        .hint("roll the stack back in the CloudFormation console, then try again");
    }
    Ok(prepared.map(|(change_set, changes)| Prepared {
        stack: spec.name.clone(),
        create,
        changes,
        change_set,
    }))
}

/// Drops what was prepared.
pub async fn discard(clients: &Clients, waiter: Waiter, prepared: &Prepared) -> Result<()> {
    cfn::delete_change_set(clients, &prepared.change_set).await?;
    // A change set of a new stack leaves the empty stack behind.
    if prepared.create
        && let Some(stack) = cfn::stack(clients, &prepared.stack).await?
        && stack.status == StackStatus::ReviewInProgress
    {
        cfn::delete_stack(clients, waiter, &stack.id).await?;
    }
    Ok(())
}

/// Does what was prepared, with the stack's events as progress. When it fails, the error is the
/// first failing event's reason.
pub async fn execute(
    clients: &Clients,
    waiter: Waiter,
    progress: &Progress,
    prepared: Prepared,
) -> Result<StackOutcome> {
    let name = &prepared.stack;
    let before = cfn::events(clients, name, None).await?;
    let mut last = before.last().map(|event| event.id.clone());
    cfn::execute_change_set(clients, name, &prepared.change_set).await?;
    let mut task = progress.spinner(format!("{name}: deploying"));
    let mut failure: Option<String> = None;
    let what = format!("the stack {name}");
    let seen = std::sync::Mutex::new((&mut last, &mut failure, &mut task));
    let stack = waiter
        .until(
            &what,
            |_| {},
            || async {
                // The status first: its final event is then among the events that are read.
                let stack = cfn::stack(clients, name)
                    .await?
                    .ok_or_else(|| anyhow!("the stack {name} is gone"))?;
                let after = seen.lock().ok().and_then(|seen| seen.0.clone());
                let events = cfn::events(clients, &stack.id, after.as_deref()).await?;
                if let Ok(mut seen) = seen.lock() {
                    for event in events {
                        seen.2.detail(format!(
                            "{name}: {} {} {}",
                            event.r#type,
                            event.resource,
                            event.status.as_str()
                        ));
                        if is_failure(&event) {
                            let failed = format!(
                                "{} ({}): {}",
                                event.resource,
                                event.r#type,
                                event.reason.as_deref().unwrap_or("no reason given")
                            );
                            progress.say(format!("{name}: {failed}"));
                            seen.1.get_or_insert(failed);
                        }
                        *seen.0 = Some(event.id);
                    }
                }
                let status = stack.status.as_str();
                if status.ends_with("_IN_PROGRESS") {
                    return Ok(Poll::Pending(status.to_owned()));
                }
                Ok(Poll::Ready(stack))
            },
        )
        .await?;
    if !matches!(
        stack.status,
        StackStatus::CreateComplete | StackStatus::UpdateComplete
    ) {
        let reason = failure
            .or(stack.reason)
            .unwrap_or_else(|| "CloudFormation gave no reason".to_owned());
        return Err(anyhow!(
            "the stack {name} ended as {}: {reason}",
            stack.status.as_str()
        ))
        .hint("CloudFormation has taken the changes back; mend the cause and run it again");
    }
    let action = if prepared.create {
        Action::Created
    } else {
        Action::Updated
    };
    let count = prepared.changes.len();
    let plural = if count == 1 { "" } else { "s" };
    task.done(format!(
        "{name}: {}, {count} resource{plural}",
        action.as_str()
    ));
    Ok(StackOutcome {
        stack: prepared.stack,
        action,
        changes: prepared.changes,
        outputs: stack.outputs,
    })
}

/// True for the event that began the trouble; what was cancelled because of it is not.
fn is_failure(event: &cfn::Event) -> bool {
    matches!(
        event.status,
        ResourceStatus::CreateFailed | ResourceStatus::UpdateFailed | ResourceStatus::DeleteFailed
    ) && !event
        .reason
        .as_deref()
        .is_some_and(|reason| reason.contains("cancelled"))
}

/// Makes a stack what it should be: twice gives the same state.
pub async fn deploy(
    clients: &Clients,
    waiter: Waiter,
    progress: &Progress,
    spec: &StackSpec,
) -> Result<StackOutcome> {
    if let Some(prepared) = prepare(clients, waiter, spec).await? {
        return execute(clients, waiter, progress, prepared).await;
    }
    progress.say(format!("{}: unchanged", spec.name));
    Ok(StackOutcome {
        stack: spec.name.clone(),
        action: Action::Unchanged,
        changes: Vec::new(),
        outputs: outputs(clients, &spec.name).await?.unwrap_or_default(),
    })
}
