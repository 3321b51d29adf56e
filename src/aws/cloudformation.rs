//! CloudFormation: stacks, their change sets and events.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow};
use aws_sdk_cloudformation::types::{
    Capability, ChangeSetStatus, ChangeSetType, Parameter, ResourceStatus, StackStatus,
};
use serde::Serialize;

use super::{AwsResultExt, Clients, Expected};
use crate::error::Hint;
use crate::wait::{Poll, Waiter};

/// A stack as it is now.
#[derive(Debug, Clone)]
pub struct Stack {
    /// Its ARN, which names it even after it was deleted.
    pub id: String,
    /// Its status.
    pub status: StackStatus,
    /// Why it has this status, where CloudFormation says.
    pub reason: Option<String>,
    /// Its outputs.
    pub outputs: BTreeMap<String, String>,
}

/// What a change set would do to one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// `Add`, `Modify`, `Remove`, …
    pub action: String,
    /// The name in the template.
    pub resource: String,
    /// The resource type.
    pub r#type: String,
    /// True when the resource is, or may be, made anew.
    pub replaced: bool,
}

/// Something that happened in a stack.
#[derive(Debug, Clone)]
pub struct Event {
    /// The event's own id.
    pub id: String,
    /// The name in the template.
    pub resource: String,
    /// The resource type.
    pub r#type: String,
    /// The resource's status.
    pub status: ResourceStatus,
    /// Why, where CloudFormation says.
    pub reason: Option<String>,
}

/// The stack with this name or ARN, if there is one.
pub async fn stack(clients: &Clients, name: &str) -> Result<Option<Stack>> {
    let answer = clients
        .cloudformation
        .describe_stacks()
        .stack_name(name)
        .send()
        .await
        // CloudFormation has no code of its own for "there is none".
        .aws_unless(
            format!("cannot look at the stack {name}"),
            &[Expected::message(
                "ValidationError",
                "Stack with id ",
                " does not exist",
            )],
        )?;
    let stack = answer.and_then(|answer| answer.stacks.unwrap_or_default().into_iter().next());
    Ok(stack.and_then(|stack| {
        Some(Stack {
            id: stack.stack_id.clone().unwrap_or_else(|| name.to_owned()),
            status: stack.stack_status?,
            reason: stack.stack_status_reason,
            outputs: stack
                .outputs
                .unwrap_or_default()
                .into_iter()
                .filter_map(|output| Some((output.output_key?, output.output_value?)))
                .collect(),
        })
    }))
}

/// A change set to be made.
#[derive(Debug)]
pub struct NewChangeSet<'a> {
    /// The stack.
    pub stack: &'a str,
    /// The change set's own name.
    pub name: &'a str,
    /// True when the stack is new.
    pub create: bool,
    /// The template's text.
    pub template: &'a str,
    /// The template's parameters.
    pub parameters: &'a [(&'static str, String)],
    /// What the template needs the caller to allow (`CAPABILITY_NAMED_IAM`).
    pub capabilities: &'a [&'static str],
}

/// Makes a change set and waits until CloudFormation has worked it out: its id and changes, or
/// `None` when it would change nothing (it is removed then).
pub async fn create_change_set(
    clients: &Clients,
    waiter: Waiter,
    new: &NewChangeSet<'_>,
) -> Result<Option<(String, Vec<Change>)>> {
    let doing = format!("cannot prepare the stack {}", new.stack);
    let parameters = new.parameters.iter().map(|(key, value)| {
        Parameter::builder()
            .parameter_key(*key)
            .parameter_value(value)
            .build()
    });
    let kind = if new.create {
        ChangeSetType::Create
    } else {
        ChangeSetType::Update
    };
    let made = clients
        .cloudformation
        .create_change_set()
        .stack_name(new.stack)
        .change_set_name(new.name)
        .change_set_type(kind)
        .template_body(new.template)
        .set_parameters(Some(parameters.collect()))
        .set_capabilities(Some(
            new.capabilities
                .iter()
                .map(|name| Capability::from(*name))
                .collect(),
        ))
        .send()
        .await
        .aws(&doing)?;
    let id = made
        .id
        .ok_or_else(|| anyhow!("{doing}: CloudFormation did not name the change set"))?;
    let what = format!("the change set of {}", new.stack);
    let (status, reason) = waiter
        .until(
            &what,
            |_| {},
            || async {
                let answer = clients
                    .cloudformation
                    .describe_change_set()
                    .change_set_name(&id)
                    .send()
                    .await
                    .aws(&doing)?;
                Ok(match answer.status {
                    Some(status @ (ChangeSetStatus::CreateComplete | ChangeSetStatus::Failed)) => {
                        Poll::Ready((status, answer.status_reason.unwrap_or_default()))
                    }
                    status => Poll::Pending(
                        status.map_or_else(String::new, |status| status.as_str().to_owned()),
                    ),
                })
            },
        )
        .await?;
    if status == ChangeSetStatus::CreateComplete {
        let changes = changes(clients, &id, &doing).await?;
        return Ok(Some((id, changes)));
    }
    delete_change_set(clients, &id).await?;
    // The only way in which CloudFormation says "nothing to do".
    if reason.contains("didn't contain changes") || reason.contains("No updates are to be") {
        return Ok(None);
    }
    Err(anyhow!("{doing}: {reason}"))
}

async fn changes(clients: &Clients, id: &str, doing: &str) -> Result<Vec<Change>> {
    let mut pages = clients
        .cloudformation
        .describe_change_set()
        .change_set_name(id)
        .into_paginator()
        .send();
    let mut found = Vec::new();
    while let Some(page) = pages.next().await {
        for change in page.aws(doing)?.changes.unwrap_or_default() {
            let Some(change) = change.resource_change else {
                continue;
            };
            found.push(Change {
                action: change
                    .action
                    .map_or_else(String::new, |action| action.as_str().to_owned()),
                resource: change.logical_resource_id.unwrap_or_default(),
                r#type: change.resource_type.unwrap_or_default(),
                replaced: change
                    .replacement
                    .is_some_and(|replacement| replacement.as_str() != "False"),
            });
        }
    }
    Ok(found)
}

/// Removes a change set that is not to be executed.
pub async fn delete_change_set(clients: &Clients, id: &str) -> Result<()> {
    clients
        .cloudformation
        .delete_change_set()
        .change_set_name(id)
        .send()
        .await
        .aws("cannot remove the change set")?;
    Ok(())
}

/// Starts the changes of a change set.
pub async fn execute_change_set(clients: &Clients, stack: &str, id: &str) -> Result<()> {
    clients
        .cloudformation
        .execute_change_set()
        .change_set_name(id)
        .send()
        .await
        .aws(format!("cannot deploy the stack {stack}"))?;
    Ok(())
}

/// The events of a stack after the one with the id `after`, oldest first.
pub async fn events(clients: &Clients, stack: &str, after: Option<&str>) -> Result<Vec<Event>> {
    let mut pages = clients
        .cloudformation
        .describe_stack_events()
        .stack_name(stack)
        .into_paginator()
        .send();
    let mut found = Vec::new();
    'pages: while let Some(page) = pages.next().await {
        let page = page.aws(format!("cannot read the events of {stack}"))?;
        for event in page.stack_events.unwrap_or_default() {
            let Some(id) = event.event_id else { continue };
            if Some(id.as_str()) == after {
                break 'pages;
            }
            let Some(status) = event.resource_status else {
                continue;
            };
            found.push(Event {
                id,
                status,
                resource: event.logical_resource_id.unwrap_or_default(),
                r#type: event.resource_type.unwrap_or_default(),
                reason: event.resource_status_reason,
            });
        }
    }
    found.reverse();
    Ok(found)
}

/// Deletes a stack by its ARN and waits until it is gone.
pub async fn delete_stack(clients: &Clients, waiter: Waiter, id: &str) -> Result<()> {
    let doing = format!("cannot delete the stack {id}");
    clients
        .cloudformation
        .delete_stack()
        .stack_name(id)
        .send()
        .await
        .aws(&doing)?;
    waiter
        .until(
            &format!("the deletion of {id}"),
            |_| {},
            || async {
                let Some(stack) = stack(clients, id).await? else {
                    return Ok(Poll::Ready(()));
                };
                match stack.status {
                    StackStatus::DeleteComplete => Ok(Poll::Ready(())),
                    StackStatus::DeleteFailed => {
                        let reason = stack.reason.unwrap_or_default();
                        Err(anyhow!("{doing}: {reason}")).hint(
                            "remove what stands in the way, then try again: the CloudFormation \
                             console lists the stack's events",
                        )
                    }
                    status => Ok(Poll::Pending(status.as_str().to_owned())),
                }
            },
        )
        .await
}
