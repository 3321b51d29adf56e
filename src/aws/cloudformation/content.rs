//! The content of a stack: its resources and its template.

use anyhow::{Context as _, Result};
use aws_sdk_cloudformation::types::{Capability, Parameter, ResourceStatus, Tag};

use super::Stack;
use crate::aws::{AwsResultExt, Clients, Expected, Missing};

/// A resource of a stack.
#[derive(Debug, Clone)]
pub struct Resource {
    /// The name in the template.
    pub name: String,
    /// Its type.
    pub r#type: String,
    /// Its physical id; empty if it was not created.
    pub id: String,
    /// Its status.
    pub status: Option<ResourceStatus>,
}

impl Resource {
    /// Returns whether it exists, according to CloudFormation.
    pub fn exists(&self) -> bool {
        !self.id.is_empty() && self.status != Some(ResourceStatus::DeleteComplete)
    }
}

/// Returns the resources of a stack; none if it does not exist.
pub async fn resources(clients: &Clients, stack: &str) -> Result<Vec<Resource>> {
    let mut pages = clients
        .cloudformation
        .list_stack_resources()
        .stack_name(stack)
        .into_paginator()
        .send();
    let mut found = Vec::new();
    while let Some(page) = pages.next().await {
        let doing = format!("cannot list the resources of the stack {stack}");
        let Some(page) = page.aws_if_found(doing, Missing::Stack)? else {
            return Ok(Vec::new());
        };
        let all = page
            .stack_resource_summaries
            .unwrap_or_default()
            .into_iter();
        found.extend(all.map(|resource| Resource {
            name: resource.logical_resource_id.unwrap_or_default(),
            r#type: resource.resource_type.unwrap_or_default(),
            id: resource.physical_resource_id.unwrap_or_default(),
            status: resource.resource_status,
        }));
    }
    Ok(found)
}

/// No stack imports the value, or nothing exports it.
const NOT_IMPORTED: [Expected; 1] = [Expected::message(
    "ValidationError",
    "Export '",
    "' is not imported by any stack",
)];

/// Returns the names of the stacks that import a value, by the name of its export.
pub async fn importers(clients: &Clients, export: &str) -> Result<Vec<String>> {
    let doing = format!("cannot find the stacks that import {export}");
    let list = clients.cloudformation.list_imports().export_name(export);
    let mut pages = list.into_paginator().send();
    let mut found = Vec::new();
    while let Some(page) = pages.next().await {
        let Some(page) = page.aws_unless(&doing, &NOT_IMPORTED)? else {
            break;
        };
        found.extend(page.imports.unwrap_or_default());
    }
    Ok(found)
}

/// Returns the text of a stack's template.
pub async fn template(clients: &Clients, stack: &str) -> Result<String> {
    let doing = format!("cannot read the template of the stack {stack}");
    clients
        .cloudformation
        .get_template()
        .stack_name(stack)
        .send()
        .await
        .aws(&doing)?
        .template_body
        .context(doing)
}

/// Updates a stack to another template with the same parameters, and gives it a tag. A template alone
/// whose only change is a deletion policy is no change to CloudFormation. Returns false if nothing
/// changes. A stack whose state does not allow an update is an error.
pub async fn update_template(
    clients: &Clients,
    stack: &Stack,
    template: &str,
    tag: (&str, &str),
) -> Result<bool> {
    const SAME: Expected =
        Expected::message("ValidationError", "No updates are to be performed", "");

    let parameters = stack.parameters.keys().map(|key| {
        Parameter::builder()
            .parameter_key(key)
            .use_previous_value(true)
            .build()
    });
    let updated = clients
        .cloudformation
        .update_stack()
        .stack_name(&stack.id)
        .template_body(template)
        .set_parameters(Some(parameters.collect()))
        .capabilities(Capability::CapabilityNamedIam)
        .tags(Tag::builder().key(tag.0).value(tag.1).build())
        .send()
        .await
        .aws_unless(format!("cannot update the stack {}", stack.id), &[SAME])?;
    Ok(updated.is_some())
}

/// Starts the deletion of a stack by its ARN.
pub async fn begin_deletion(clients: &Clients, id: &str) -> Result<()> {
    clients
        .cloudformation
        .delete_stack()
        .stack_name(id)
        .send()
        .await
        .aws(format!("cannot delete the stack {id}"))?;
    Ok(())
}
