//! The operations that only read records.

use serde::Deserialize;
use serde_json::{Value, json};

use super::prepare::{capability, check, list, template_text};
use super::requests::ChangeSetName;
use super::stacks::{self, Resource, Stack};
use super::states::StackStatus;
use super::template::{Template, invalid};
use super::{changes, drift, pages, parameters, parsed, references};
use crate::Cloud;
use crate::api::ApiResult;

/// A page of `all`, and the token of the next page.
fn page<T>(all: Vec<T>, token: Option<&str>) -> ApiResult<(Vec<T>, Option<String>)> {
    pages::page(all, pages::LONGEST, token)
}

/// The members of the requests of this file.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Query {
    stack_name: Option<String>,
    logical_resource_id: Option<String>,
    physical_resource_id: Option<String>,
    change_set_name: Option<String>,
    template_body: Option<String>,
    #[serde(rename = "TemplateURL")]
    template_url: Option<String>,
    export_name: Option<String>,
    #[serde(deserialize_with = "list")]
    stack_status_filter: Vec<String>,
    next_token: Option<String>,
}

impl Query {
    /// The stack for `DescribeStackEvents` and `ListChangeSets`.
    fn required(&self, cloud: &Cloud) -> ApiResult<Stack> {
        match &self.stack_name {
            Some(name) => stacks::require(cloud, name),
            None => Err(invalid("StackName is required")),
        }
    }

    fn stack(&self, cloud: &Cloud) -> ApiResult<Stack> {
        match (&self.stack_name, &self.physical_resource_id) {
            (Some(name), _) => stacks::get(cloud, name),
            (None, Some(physical)) => stacks::living(cloud)?
                .into_iter()
                .find(|stack| {
                    stack
                        .resources
                        .iter()
                        .any(|resource| resource.physical.as_ref() == Some(physical))
                })
                .ok_or_else(|| invalid(format!("Stack for {physical} does not exist"))),
            (None, None) => Err(invalid("StackName is required")),
        }
    }

    fn template(&self, cloud: &Cloud) -> ApiResult<Template> {
        let text = template_text(
            cloud,
            self.template_body.as_deref(),
            self.template_url.as_deref(),
        )?;
        match text {
            Some(text) => Template::parse(&text),
            None => Err(invalid(
                "Either Template URL or Template Body must be specified.",
            )),
        }
    }
}

/// `DescribeStacks`
pub(super) async fn describe_stacks(cloud: &Cloud, request: Query) -> ApiResult<Value> {
    let found = match &request.stack_name {
        Some(name) => vec![stacks::get(cloud, name)?],
        None => stacks::living(cloud)?,
    };
    let shown = found
        .iter()
        .map(|stack| stacks::described(cloud, stack))
        .collect();
    let (shown, next) = page::<Value>(shown, request.next_token.as_deref())?;
    Ok(json!({"Stacks": shown, "NextToken": next}))
}

/// `ListStacks`
pub(super) async fn list_stacks(cloud: &Cloud, request: Query) -> ApiResult<Value> {
    let filter = &request.stack_status_filter;
    let mut found: Vec<Stack> = stacks::stacks(cloud)
        .list("")?
        .into_iter()
        .map(|(_, stack)| stack)
        .filter(|stack| {
            filter.is_empty() || filter.iter().any(|wanted| stack.status.as_str() == wanted)
        })
        .collect();
    found.sort_by(|a, b| b.created.cmp(&a.created));
    let shown = found
        .iter()
        .map(|stack| {
            json!({
                "StackId": stack.id,
                "StackName": stack.name,
                "TemplateDescription": parsed::template(cloud, &stack.deployment.template)
                    .ok()
                    .and_then(|template| template.description().map(str::to_owned)),
                "CreationTime": stack.created,
                "LastUpdatedTime": stack.updated,
                "DeletionTime": stack.deleted,
                "StackStatus": stack.status,
                "StackStatusReason": stack.status_reason,
                "DriftInformation": stacks::drift_of(stack),
            })
        })
        .collect();
    let (shown, next) = page::<Value>(shown, request.next_token.as_deref())?;
    Ok(json!({"StackSummaries": shown, "NextToken": next}))
}

/// `DescribeStackEvents`
pub(super) async fn describe_stack_events(cloud: &Cloud, request: Query) -> ApiResult<Value> {
    let stack = request.required(cloud)?;
    let (events, next) = page(
        stacks::history(cloud, &stack)?,
        request.next_token.as_deref(),
    )?;
    Ok(json!({"StackEvents": events, "NextToken": next}))
}

fn shown(cloud: &Cloud, stack: &Stack, resource: &Resource, time: &str) -> ApiResult<Value> {
    let mut shown = json!({
        "StackName": stack.name,
        "StackId": stack.id,
        "LogicalResourceId": resource.logical,
        "PhysicalResourceId": resource.physical,
        "ResourceType": resource.kind,
        "ResourceStatus": resource.status,
        "ResourceStatusReason": resource.reason,
        "DriftInformation": drift::of_resource(cloud, stack, &resource.logical)?,
    });
    shown[time] = resource.changed.as_str().into();
    Ok(shown)
}

fn one<'a>(stack: &'a Stack, logical: &str) -> ApiResult<&'a Resource> {
    stack.resource(logical).ok_or_else(|| {
        invalid(format!(
            "Resource {logical} does not exist for stack {}",
            stack.name
        ))
    })
}

/// `DescribeStackResource`
pub(super) async fn describe_stack_resource(cloud: &Cloud, request: Query) -> ApiResult<Value> {
    let name = request.stack_name.as_deref();
    let name = name.ok_or_else(|| invalid("StackName is required"))?;
    // Only this operation quotes the name like this.
    let stack = stacks::find(cloud, name)?
        .ok_or_else(|| invalid(format!("Stack '{name}' does not exist")))?;
    let logical = request.logical_resource_id.as_deref().unwrap_or_default();
    let resource = one(&stack, logical)?;
    Ok(json!({"StackResourceDetail": shown(cloud, &stack, resource, "LastUpdatedTimestamp")?}))
}

/// `DescribeStackResources`
pub(super) async fn describe_stack_resources(cloud: &Cloud, request: Query) -> ApiResult<Value> {
    let stack = request.stack(cloud)?;
    let found: Vec<&Resource> = match &request.logical_resource_id {
        Some(logical) => vec![one(&stack, logical)?],
        None => stack.resources.iter().collect(),
    };
    let found: Vec<Value> = found
        .into_iter()
        .map(|resource| shown(cloud, &stack, resource, "Timestamp"))
        .collect::<ApiResult<_>>()?;
    Ok(json!({"StackResources": found}))
}

/// `ListStackResources`
pub(super) async fn list_stack_resources(cloud: &Cloud, request: Query) -> ApiResult<Value> {
    let stack = request.stack(cloud)?;
    let found = stack
        .resources
        .iter()
        .map(|resource| {
            let mut summary = shown(cloud, &stack, resource, "LastUpdatedTimestamp")?;
            if let Some(members) = summary.as_object_mut() {
                members.retain(|name, _| name != "StackId" && name != "StackName");
            }
            Ok(summary)
        })
        .collect::<ApiResult<_>>()?;
    let (found, next) = page::<Value>(found, request.next_token.as_deref())?;
    Ok(json!({"StackResourceSummaries": found, "NextToken": next}))
}

/// `GetTemplate`
pub(super) async fn get_template(cloud: &Cloud, request: Query) -> ApiResult<Value> {
    let stack = request.stack_name.as_deref();
    let text = match (&request.change_set_name, stack) {
        (Some(name), None) if !name.starts_with("arn:") => {
            return Err(invalid("StackName is a required parameter."));
        }
        (Some(name), _) => {
            if let Some(stack) = stack {
                stacks::get(cloud, stack)?;
            }
            changes::find(cloud, name, stack)?.deployment.template
        }
        (None, Some(stack)) => stacks::get(cloud, stack)?.deployment.template,
        (None, None) => {
            return Err(invalid(
                "StackName is required if ChangeSetName is not specified.",
            ));
        }
    };
    Ok(json!({"TemplateBody": text, "StagesAvailable": ["Original", "Processed"]}))
}

fn capabilities(template: &Template) -> (Value, Value) {
    match capability(template) {
        Some((capability, types)) => (
            json!([capability]),
            json!(format!(
                "The following resource(s) require capabilities: [{}]",
                types.join(", ")
            )),
        ),
        None => (Value::Null, Value::Null),
    }
}

/// `GetTemplateSummary`
pub(super) async fn get_template_summary(cloud: &Cloud, request: Query) -> ApiResult<Value> {
    let template = match &request.stack_name {
        Some(_) => {
            let stack = request.stack(cloud)?;
            if stack.status == StackStatus::InReview {
                return Err(invalid(
                    "GetTemplateSummary cannot be called on REVIEW_IN_PROGRESS stacks.",
                ));
            }
            parsed::template(cloud, &stack.deployment.template)?
        }
        None => request.template(cloud)?.into(),
    };
    let mut types: Vec<&str> = template
        .section("Resources")
        .keys()
        .map(|logical| template.resource_type(logical))
        .collect();
    types.sort_unstable();
    types.dedup();
    let (capabilities, reason) = capabilities(&template);
    Ok(json!({
        "Parameters": parameters::declared(&template, true),
        "Description": template.description(),
        "Capabilities": capabilities,
        "CapabilitiesReason": reason,
        "ResourceTypes": types,
        "Version": "2010-09-09",
    }))
}

/// `ValidateTemplate`
pub(super) async fn validate_template(cloud: &Cloud, request: Query) -> ApiResult<Value> {
    let template = request.template(cloud)?;
    check(&template)?;
    references::check_circles(&template)?;
    let (capabilities, reason) = capabilities(&template);
    Ok(json!({
        "Parameters": parameters::declared(&template, false),
        "Description": template.description(),
        "Capabilities": capabilities,
        "CapabilitiesReason": reason,
    }))
}

/// `DescribeChangeSet`
pub(super) async fn describe_change_set(cloud: &Cloud, request: ChangeSetName) -> ApiResult<Value> {
    let found = changes::find(
        cloud,
        &request.change_set_name,
        request.stack_name.as_deref(),
    )?;
    let template = parsed::template(cloud, &found.deployment.template)?;
    let all = found
        .changes
        .iter()
        .map(|change| changes::described(change, request.include_property_values))
        .collect();
    let (shown, next) = page::<Value>(all, request.next_token.as_deref())?;
    Ok(json!({
        "ChangeSetName": found.name,
        "ChangeSetId": found.id,
        "StackId": found.stack_id,
        "StackName": found.stack_name,
        "Description": found.description,
        "Parameters": stacks::unless_empty(parameters::described(&template, &found.deployment.parameters, &found.deployment.resolved)),
        "CreationTime": found.created,
        "ExecutionStatus": found.execution_status,
        "Status": found.status,
        "StatusReason": found.status_reason,
        "NotificationARNs": [],
        "RollbackConfiguration": {},
        "Capabilities": found.deployment.capabilities,
        "Tags": stacks::unless_empty(json!(found.deployment.tags)),
        "Changes": shown,
        "NextToken": next,
        "IncludeNestedStacks": found.include_nested_stacks,
        "OnStackFailure": found.on_failure,
        "DeploymentConfig": found.deployment.config,
    }))
}

/// `ListChangeSets`
pub(super) async fn list_change_sets(cloud: &Cloud, request: Query) -> ApiResult<Value> {
    let stack = request.required(cloud)?;
    let all = changes::change_sets(cloud)
        .list(&format!("{}/", stack.key()))?
        .into_iter()
        .map(|(_, found)| {
            json!({
                "StackId": found.stack_id,
                "StackName": found.stack_name,
                "ChangeSetId": found.id,
                "ChangeSetName": found.name,
                "ExecutionStatus": found.execution_status,
                "Status": found.status,
                "StatusReason": found.status_reason,
                "CreationTime": found.created,
                "Description": found.description,
            })
        })
        .collect();
    let (shown, next) = page::<Value>(all, request.next_token.as_deref())?;
    Ok(json!({"Summaries": shown, "NextToken": next}))
}

/// `ListExports`
pub(super) async fn list_exports(cloud: &Cloud, request: Query) -> ApiResult<Value> {
    let all = stacks::exports(cloud)?
        .into_iter()
        .map(
            |(name, value, stack)| json!({"ExportingStackId": stack, "Name": name, "Value": value}),
        )
        .collect();
    let (shown, next) = page::<Value>(all, request.next_token.as_deref())?;
    Ok(json!({"Exports": shown, "NextToken": next}))
}

/// `ListImports`
pub(super) async fn list_imports(cloud: &Cloud, request: Query) -> ApiResult<Value> {
    let export = request.export_name.as_deref().unwrap_or_default();
    let importers = stacks::importers(cloud, export)?;
    if importers.is_empty() {
        return Err(invalid(format!(
            "Export '{export}' is not imported by any stack."
        )));
    }
    let (shown, next) = page(importers, request.next_token.as_deref())?;
    Ok(json!({"Imports": shown, "NextToken": next}))
}
