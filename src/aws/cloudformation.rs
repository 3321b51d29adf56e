//! CloudFormation: stacks, their change sets and events.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, anyhow};
use aws_sdk_cloudformation::types::{
    Capability, ChangeSetStatus, ChangeSetType, ExecutionStatus, Parameter, Replacement,
    ResourceStatus, StackEvent, StackStatus, Tag,
};
use jiff::Timestamp;
use mlops_core::error::Hint;
use mlops_core::wait::{Poll, Waiter};
use serde::Serialize;

use super::{AwsResultExt, Clients, Expected, Missing};

mod content;
mod source;

pub use source::{LONGEST, LONGEST_INLINE, TemplateSource};

pub use content::{Resource, begin_deletion, importers, resources, template, update_template};

/// The current state of a stack.
#[derive(Debug, Clone)]
pub struct Stack {
    /// Its ARN, which identifies it even after it was deleted.
    pub id: String,
    /// Its status.
    pub status: StackStatus,
    /// The reason of this status, if CloudFormation reports one.
    pub reason: Option<String>,
    /// Its parameters.
    pub parameters: BTreeMap<String, String>,
    /// Its outputs.
    pub outputs: BTreeMap<String, String>,
}

/// A change that a change set would make to one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// `Add`, `Modify`, `Remove`, …
    pub action: String,
    /// The name in the template.
    pub resource: String,
    /// The resource type.
    pub r#type: String,
    /// Whether the resource is, or may be, replaced.
    pub replaced: bool,
    /// Whether the replacement depends on values that are known only during the deployment.
    pub conditional: bool,
    /// The properties that change.
    pub properties: Vec<String>,
    /// The resource before the change, as JSON with the member `Properties`.
    #[serde(skip)]
    pub before: Option<String>,
    /// The resource after the change, as JSON with the member `Properties`.
    #[serde(skip)]
    pub after: Option<String>,
}

/// An event of a stack.
#[derive(Debug, Clone)]
pub struct Event {
    /// The event's id.
    pub id: String,
    /// The name in the template.
    pub resource: String,
    /// The resource's physical id; empty before it has one.
    pub physical: String,
    /// The resource type.
    pub r#type: String,
    /// The resource's status.
    pub status: ResourceStatus,
    /// The reason, if CloudFormation reports one.
    pub reason: Option<String>,
    /// The token of the request that caused it.
    pub token: Option<String>,
    /// When it happened.
    pub time: Option<Timestamp>,
}

/// The stack is being changed, or was created in the meantime.
const BUSY: [Expected; 2] = [
    Expected::message("ValidationError", "Stack:", " can not be updated"),
    Expected::message("ValidationError", "Stack:", " can not be created"),
];

/// Returns the stack with this name or ARN, if it exists.
pub async fn stack(clients: &Clients, name: &str) -> Result<Option<Stack>> {
    let doing = format!("cannot describe the stack {name}");
    let answer = clients
        .cloudformation
        .describe_stacks()
        .stack_name(name)
        .send()
        .await
        .aws_if_found(&doing, Missing::Stack)?;
    let Some(answer) = answer else {
        return Ok(None);
    };
    let stack = answer.stacks.unwrap_or_default().into_iter().next();
    let stack = stack.with_context(|| format!("{doing}: the response has no stack"))?;
    Ok(Some(Stack {
        id: stack.stack_id.unwrap_or_else(|| name.to_owned()),
        status: stack
            .stack_status
            .with_context(|| format!("{doing}: the response has no status"))?,
        reason: stack.stack_status_reason,
        parameters: values(stack.parameters),
        outputs: stack
            .outputs
            .unwrap_or_default()
            .into_iter()
            .filter_map(|output| Some((output.output_key?, output.output_value?)))
            .collect(),
    }))
}

/// A change set to create.
#[derive(Debug)]
pub struct NewChangeSet<'a> {
    /// The stack.
    pub stack: &'a str,
    /// The name of the change set.
    pub name: &'a str,
    /// Its description.
    pub description: &'a str,
    /// True if the stack is new.
    pub create: bool,
    /// The template.
    pub template: &'a TemplateSource<'a>,
    /// The template's parameters.
    pub parameters: &'a [(&'static str, String)],
    /// The capabilities that the template needs (`CAPABILITY_NAMED_IAM`).
    pub capabilities: &'a [&'static str],
    /// The stack's tags; if there are none, it keeps those that it has.
    pub tags: &'a [(&'static str, &'static str)],
    /// ARN of the role with which CloudFormation deploys it.
    pub role: Option<&'a str>,
}

/// Creates a change set and returns its id. Returns `None` if the stack already has one with this
/// name, or is not in the state that the caller saw: of two concurrent clients, CloudFormation
/// admits one.
pub async fn create_change_set(
    clients: &Clients,
    new: &NewChangeSet<'_>,
) -> Result<Option<String>> {
    const TAKEN: [Expected; 3] = [
        Expected::code("AlreadyExistsException"),
        Expected::message("ValidationError", "Stack [", "]"),
        Expected::Missing(Missing::Stack),
    ];

    let doing = format!("cannot create a change set for the stack {}", new.stack);
    let parameters = new.parameters.iter().map(|(key, value)| {
        Parameter::builder()
            .parameter_key(*key)
            .parameter_value(value)
            .build()
    });
    let tags = new
        .tags
        .iter()
        .map(|(key, value)| Tag::builder().key(*key).value(*value).build());
    let (body, url) = match new.template {
        TemplateSource::Body(text) => (Some((*text).to_owned()), None),
        TemplateSource::Url(url) => (None, Some(url.clone())),
    };
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
        .description(new.description)
        .set_template_body(body)
        .set_template_url(url)
        .set_role_arn(new.role.map(str::to_owned))
        .set_parameters(Some(parameters.collect()))
        .set_tags((!new.tags.is_empty()).then(|| tags.collect()))
        .set_capabilities(Some(
            new.capabilities
                .iter()
                .map(|name| Capability::from(*name))
                .collect(),
        ))
        .send()
        .await
        .aws_unless(&doing, &[&TAKEN[..], &BUSY].concat())?;
    let Some(made) = made else { return Ok(None) };
    let id = made.id;
    id.map(Some)
        .ok_or_else(|| anyhow!("{doing}: CloudFormation returned no change set id"))
}

/// The current state of a change set.
#[derive(Debug, Clone)]
pub struct ChangeSet {
    /// Its ARN.
    pub id: String,
    /// Its description.
    pub description: Option<String>,
    /// Whether CloudFormation has computed it.
    pub status: ChangeSetStatus,
    /// The reason of this status, if CloudFormation reports one.
    pub reason: String,
    /// Whether it can be, or was, executed.
    pub execution: Option<ExecutionStatus>,
    /// The stack's parameters after its execution.
    pub parameters: BTreeMap<String, String>,
}

impl ChangeSet {
    /// Whether it can never be executed.
    pub fn is_spent(&self) -> bool {
        let being_made = matches!(
            self.status,
            ChangeSetStatus::CreatePending | ChangeSetStatus::CreateInProgress
        );
        !being_made
            && !matches!(
                self.execution,
                Some(ExecutionStatus::Available | ExecutionStatus::ExecuteInProgress)
            )
    }

    /// Returns true if CloudFormation found no changes: a failure that only its message identifies.
    fn is_empty(&self) -> bool {
        self.reason.contains("didn't contain changes")
            || self.reason.contains("No updates are to be performed")
    }
}

/// Returns a change set by name and stack, or by ARN; `None` if the change set or its stack was
/// deleted.
pub async fn change_set(clients: &Clients, stack: &str, name: &str) -> Result<Option<ChangeSet>> {
    const DELETED: &[Expected] = &[
        Expected::Missing(Missing::ChangeSet),
        Expected::Missing(Missing::Stack),
    ];

    let doing = format!("cannot describe a change set of the stack {stack}");
    let found = clients
        .cloudformation
        .describe_change_set()
        .set_stack_name((!name.starts_with("arn:")).then(|| stack.to_owned()))
        .change_set_name(name)
        .send()
        .await
        .aws_unless(&doing, DELETED)?;
    let Some(found) = found else { return Ok(None) };
    Ok(Some(ChangeSet {
        id: found.change_set_id.unwrap_or_else(|| name.to_owned()),
        description: found.description,
        status: found
            .status
            .with_context(|| format!("{doing}: the response has no status"))?,
        reason: found.status_reason.unwrap_or_default(),
        execution: found.execution_status,
        parameters: values(found.parameters),
    }))
}

fn values(parameters: Option<Vec<Parameter>>) -> BTreeMap<String, String> {
    let parameters = parameters.unwrap_or_default().into_iter();
    parameters
        .filter_map(|parameter| Some((parameter.parameter_key?, parameter.parameter_value?)))
        .collect()
}

/// The outcome of computing a change set.
#[derive(Debug)]
pub enum Planned {
    /// It can be executed, and would make these changes.
    Changes(Vec<Change>),
    /// It would change nothing, and was deleted.
    Nothing,
    /// Another client deleted it.
    Gone,
}

/// Waits until CloudFormation has computed a change set.
pub async fn planned(clients: &Clients, waiter: Waiter, stack: &str, id: &str) -> Result<Planned> {
    let doing = format!("cannot create a change set for the stack {stack}");
    let done = waiter
        .until(
            &format!("the change set of {stack}"),
            |_| {},
            || async {
                Ok(match change_set(clients, stack, id).await? {
                    Some(found)
                        if matches!(
                            found.status,
                            ChangeSetStatus::CreatePending | ChangeSetStatus::CreateInProgress
                        ) =>
                    {
                        Poll::Pending(found.status.as_str().to_owned())
                    }
                    found => Poll::Ready(found),
                })
            },
        )
        .await?;
    let Some(done) = done else {
        return Ok(Planned::Gone);
    };
    if done.status == ChangeSetStatus::CreateComplete {
        return Ok(match changes(clients, id, &doing).await? {
            Some(changes) => Planned::Changes(changes),
            None => Planned::Gone,
        });
    }
    delete_change_set(clients, id).await?;
    if done.is_empty() {
        return Ok(Planned::Nothing);
    }
    Err(anyhow!("{doing}: {}", done.reason))
}

async fn changes(clients: &Clients, id: &str, doing: &str) -> Result<Option<Vec<Change>>> {
    let mut pages = clients
        .cloudformation
        .describe_change_set()
        .change_set_name(id)
        .include_property_values(true)
        .into_paginator()
        .send();
    let mut found = Vec::new();
    while let Some(page) = pages.next().await {
        let Some(page) = page.aws_if_found(doing, Missing::ChangeSet)? else {
            return Ok(None);
        };
        for change in page.changes.unwrap_or_default() {
            let Some(change) = change.resource_change else {
                continue;
            };
            let mut properties: Vec<String> = change
                .details
                .unwrap_or_default()
                .into_iter()
                .filter_map(|detail| detail.target?.name)
                .collect();
            properties.sort();
            properties.dedup();
            found.push(Change {
                properties,
                conditional: change.replacement == Some(Replacement::Conditional),
                before: change.before_context,
                after: change.after_context,
                action: change
                    .action
                    .map_or_else(String::new, |action| action.as_str().to_owned()),
                resource: change.logical_resource_id.unwrap_or_default(),
                r#type: change.resource_type.unwrap_or_default(),
                replaced: change
                    .replacement
                    .is_some_and(|replacement| replacement != Replacement::False),
            });
        }
    }
    Ok(Some(found))
}

/// Deletes a change set that will not be executed; ignores a missing one.
pub async fn delete_change_set(clients: &Clients, id: &str) -> Result<()> {
    clients
        .cloudformation
        .delete_change_set()
        .change_set_name(id)
        .send()
        .await
        .aws_if_found("cannot delete the change set", Missing::ChangeSet)?;
    Ok(())
}

/// Executes a change set. Returns false if it can no longer be executed because another one was.
/// The stack's events carry `token`.
pub async fn execute_change_set(
    clients: &Clients,
    stack: &str,
    id: &str,
    token: &str,
) -> Result<bool> {
    const SPENT: [Expected; 3] = [
        Expected::Missing(Missing::ChangeSet),
        Expected::code("InvalidChangeSetStatus"),
        Expected::code("InvalidChangeSetStatusException"),
    ];

    let begun = clients
        .cloudformation
        .execute_change_set()
        .change_set_name(id)
        .client_request_token(token)
        .send()
        .await
        .aws_unless(
            format!("cannot deploy the stack {stack}"),
            &[&SPENT[..], &BUSY].concat(),
        )?;
    Ok(begun.is_some())
}

/// Returns the newest event of a stack.
pub async fn newest_event(clients: &Clients, stack: &str) -> Result<Option<Event>> {
    let page = clients
        .cloudformation
        .describe_stack_events()
        .stack_name(stack)
        .send()
        .await
        .aws(format!("cannot read the events of {stack}"))?;
    Ok(page
        .stack_events
        .unwrap_or_default()
        .into_iter()
        .find_map(read))
}

fn read(event: StackEvent) -> Option<Event> {
    Some(Event {
        id: event.event_id?,
        status: event.resource_status?,
        resource: event.logical_resource_id.unwrap_or_default(),
        physical: event.physical_resource_id.unwrap_or_default(),
        r#type: event.resource_type.unwrap_or_default(),
        reason: event.resource_status_reason,
        token: event.client_request_token,
        time: event
            .timestamp
            .and_then(|time| Timestamp::from_millisecond(time.to_millis().ok()?).ok()),
    })
}

/// Returns the newest events of a stack, newest first; at most `pages` pages of a hundred.
pub async fn newest_events(clients: &Clients, stack: &str, pages: usize) -> Result<Vec<Event>> {
    let mut stream = clients
        .cloudformation
        .describe_stack_events()
        .stack_name(stack)
        .into_paginator()
        .send();
    let mut found = Vec::new();
    for _ in 0..pages {
        let Some(page) = stream.next().await else {
            break;
        };
        let page = page.aws(format!("cannot read the events of {stack}"))?;
        found.extend(
            page.stack_events
                .unwrap_or_default()
                .into_iter()
                .filter_map(read),
        );
    }
    Ok(found)
}

/// Returns the events of a stack after the one with the id `after`, oldest first.
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
            let Some(event) = read(event) else { continue };
            if Some(event.id.as_str()) == after {
                break 'pages;
            }
            found.push(event);
        }
    }
    found.reverse();
    Ok(found)
}

/// Deletes a stack by its ARN and waits until it is deleted.
pub async fn delete_stack(clients: &Clients, waiter: Waiter, id: &str) -> Result<()> {
    begin_deletion(clients, id).await?;
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
                        Err(anyhow!("cannot delete the stack {id}: {reason}")).hint(
                            "remove the obstacle, then retry; the CloudFormation \
                             console shows the cause in the stack's events",
                        )
                    }
                    status => Ok(Poll::Pending(status.as_str().to_owned())),
                }
            },
        )
        .await
}
