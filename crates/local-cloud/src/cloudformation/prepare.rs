//! The checks of a request that deploys a template, before any work starts.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::deployment::DeploymentConfig;
use super::evaluate::{kind_of, scope};
use super::parameters::{self, Given};
use super::stacks::{Deployment, Stack};
use super::states::{self, OnFailure};
use super::template::{MAX_BODY, MAX_OBJECT, Template, invalid};
use super::{functions, references, resources, rules};
use crate::api::{ApiError, ApiResult, lenient};
use crate::cloud::caller::Caller;
use crate::s3::objects;
use crate::{Cloud, iam, system_tags};

/// The principal that assumes the role of a stack.
pub(super) const PRINCIPAL: &str = "cloudformation.amazonaws.com";

/// The members that `CreateStack`, `UpdateStack` and `CreateChangeSet` share.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the members of AWS's requests"
)]
pub(super) struct Deploy {
    pub(super) stack_name: String,
    template_body: Option<String>,
    #[serde(rename = "TemplateURL")]
    template_url: Option<String>,
    #[serde(deserialize_with = "lenient::bool")]
    use_previous_template: bool,
    #[serde(deserialize_with = "list")]
    pub(super) parameters: Vec<Given>,
    #[serde(deserialize_with = "list")]
    capabilities: Vec<String>,
    #[serde(deserialize_with = "some_list")]
    tags: Option<Vec<Value>>,
    #[serde(rename = "RoleARN")]
    role: Option<String>,
    #[serde(deserialize_with = "lenient::bool")]
    pub(super) disable_rollback: bool,
    pub(super) on_failure: Option<String>,
    #[serde(deserialize_with = "lenient::bool")]
    pub(super) enable_termination_protection: bool,
    pub(super) change_set_name: Option<String>,
    pub(super) change_set_type: Option<String>,
    pub(super) on_stack_failure: Option<String>,
    pub(super) description: Option<String>,
    pub(super) client_request_token: Option<String>,
    deployment_config: Option<DeploymentConfig>,
    /// Changes nothing: templates with nested stacks are refused by the name of their type.
    #[serde(deserialize_with = "lenient::bool")]
    pub(super) include_nested_stacks: bool,
    #[serde(deserialize_with = "lenient::bool")]
    pub(super) import_existing_resources: bool,
    /// AWS detects a repeated `CreateChangeSet` by it; the local cloud by its name.
    #[serde(rename = "ClientToken")]
    _client_token: Option<String>,
    #[serde(flatten)]
    others: Others,
}

/// The members of a request that its operation does not read.
pub(super) type Others = Map<String, Value>;

/// Fails with `NotImplemented` for a member that the local cloud would ignore, unless it requests nothing.
pub(super) fn refuse(others: &Others) -> ApiResult<()> {
    for (name, value) in others {
        let is_set = match value {
            Value::Null | Value::Bool(false) => false,
            Value::String(text) => !text.is_empty() && text != "false",
            Value::Array(items) => !items.is_empty(),
            Value::Object(members) => refuse(members).is_err(),
            Value::Bool(true) | Value::Number(_) => true,
        };
        if is_set {
            return Err(ApiError::not_implemented(format_args!(
                "the parameter {name} of cloudformation"
            )));
        }
    }
    Ok(())
}

/// A list; the query protocol sends an empty one as empty text.
pub(super) fn list<'de, T: serde::de::DeserializeOwned, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(text) if text.is_empty() => Ok(Vec::new()),
        Value::Null => Ok(Vec::new()),
        value => serde_json::from_value(value).map_err(serde::de::Error::custom),
    }
}

fn some_list<'de, T: serde::de::DeserializeOwned, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<T>>, D::Error> {
    list(deserializer).map(Some)
}

impl Deploy {
    /// The action if the creation or update fails.
    pub(super) fn failure_action(&self) -> ApiResult<OnFailure> {
        let config = self.deployment_config.as_ref();
        let disable_rollback =
            self.disable_rollback || config.is_some_and(DeploymentConfig::disables_rollback);
        match self
            .on_failure
            .as_deref()
            .or(self.on_stack_failure.as_deref())
        {
            Some(_) if disable_rollback => Err(invalid(
                "Only one of DisableRollback and OnFailure can be specified",
            )),
            Some(text) => states::parse(text).ok_or_else(|| {
                invalid(format!(
                    "1 validation error detected: Value '{text}' at 'onFailure' failed to satisfy constraint: Member must satisfy enum value set: [ROLLBACK, DELETE, DO_NOTHING]"
                ))
            }),
            None if disable_rollback => Ok(OnFailure::DoNothing),
            None => Ok(OnFailure::Rollback),
        }
    }
}

/// The text of the template in a request, or at the URL in it.
pub(super) fn template_text(
    cloud: &Cloud,
    body: Option<&str>,
    url: Option<&str>,
) -> ApiResult<Option<String>> {
    match (body, url) {
        (Some(_), Some(_)) => Err(invalid(
            "Only one of TemplateBody or TemplateURL may be specified",
        )),
        (Some(body), None) if body.len() > MAX_BODY => Err(invalid(format!(
            "1 validation error detected: Value at 'templateBody' failed to satisfy constraint: Member must have length less than or equal to {MAX_BODY}"
        ))),
        (Some(body), None) => Ok(Some(body.to_owned())),
        (None, Some(url)) => fetch(cloud, url).map(Some),
        (None, None) => Ok(None),
    }
}

/// Reads a template from the local cloud's S3, by a URL with the bucket in its path or its host.
fn fetch(cloud: &Cloud, text: &str) -> ApiResult<String> {
    let wrong = || invalid("TemplateURL must be a supported URL.");
    let url = url::Url::parse(text).map_err(|_| wrong())?;
    let path = percent_encoding::percent_decode_str(url.path().trim_start_matches('/'))
        .decode_utf8()
        .map_err(|_| wrong())?
        .into_owned();
    let host = url.host_str().unwrap_or_default();
    let in_path = host.starts_with("s3.") || host.starts_with("s3-") || !host.contains(".s3");
    let (bucket, key) = if in_path {
        path.split_once('/').ok_or_else(wrong)?
    } else {
        (host.split(".s3").next().unwrap_or_default(), path.as_str())
    };
    let bytes = objects::read(cloud, &Caller::current(), bucket, key)
        .map_err(|error| invalid(format!("S3 error: {}", error.message)))?;
    if bytes.len() > MAX_OBJECT {
        return Err(invalid(format!(
            "Template may not exceed {MAX_OBJECT} bytes in size."
        )));
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

/// Checks a request against the stack that it creates or changes; returns what to deploy.
pub(super) async fn deployment(
    cloud: &Cloud,
    request: &Deploy,
    stack: &Stack,
    existing: bool,
) -> ApiResult<Deployment> {
    refuse(&request.others)?;
    if let Some(config) = &request.deployment_config {
        config.check()?;
    }
    let given = template_text(
        cloud,
        request.template_body.as_deref(),
        request.template_url.as_deref(),
    )?;
    let text = match given {
        Some(_) if request.use_previous_template => {
            return Err(invalid(
                "Only one of TemplateBody, TemplateURL or UsePreviousTemplate may be specified",
            ));
        }
        Some(text) => text,
        None if request.use_previous_template && existing => stack.deployment.template.clone(),
        None => {
            return Err(invalid(
                "Either Template URL or Template Body must be specified.",
            ));
        }
    };
    let template = Template::parse(&text)?;
    check(&template)?;
    let parameters = parameters::resolve(
        &template,
        &request.parameters,
        existing.then_some(&stack.deployment.parameters),
    )?;
    let resolved = parameters::stored::resolve(cloud, &template, &parameters).await?;
    check_capabilities(&template, &request.capabilities)?;
    let role = request.role.as_ref().or(stack.deployment.role.as_ref());
    if let Some(role) = role {
        check_role(cloud, role)?;
    }
    let tags = match &request.tags {
        Some(tags) => tags.clone(),
        None => stack.deployment.tags.clone(),
    };
    for tag in &tags {
        let key = tag.get("Key").and_then(Value::as_str).unwrap_or_default();
        if key.is_empty() || system_tags::is_reserved(key) {
            return Err(invalid(if key.is_empty() {
                "Tag keys must not be empty"
            } else {
                system_tags::RESERVED
            }));
        }
    }
    let deployment = Deployment {
        template: text,
        parameters,
        resolved,
        capabilities: request.capabilities.clone(),
        tags,
        role: role.cloned(),
        imports: stack.deployment.imports.clone(),
        config: request.deployment_config.clone(),
    };
    let mut after = stack.clone();
    after.deployment = deployment.clone();
    let scope = scope(cloud, &after)?;
    rules::check_assertions(&scope)?;
    references::check_present(&scope)?;
    references::check_expressions(&scope)?;
    Ok(deployment)
}

/// Refuses a change set that would import a resource: one that is new to the stack, has a custom name in the
/// template and is not deleted with the stack, if a resource of this name exists (User Guide, "Import AWS
/// resources into a CloudFormation stack automatically").
pub(super) async fn refuse_imports(
    cloud: &Cloud,
    stack: &Stack,
    deployment: &Deployment,
) -> ApiResult<()> {
    let mut after = stack.clone();
    after.deployment = deployment.clone();
    let scope = scope(cloud, &after)?;
    for logical in scope.present()? {
        let resource = scope.template.resource(&logical).unwrap_or(&Value::Null);
        let is_new = stack
            .resource(&logical)
            .is_none_or(|old| old.physical.is_none());
        let retained = resource["DeletionPolicy"]
            .as_str()
            .is_some_and(|policy| policy.starts_with("Retain"));
        let kind = kind_of(scope.template.resource_type(&logical))?;
        let property = kind.naming.map(|naming| naming.property);
        let name = property.and_then(|property| resource["Properties"][property].as_str());
        let (true, true, Some(property), Some(name)) = (is_new, retained, property, name) else {
            continue;
        };
        let properties = Map::from_iter([(property.to_owned(), name.into())]);
        let target = resources::Target {
            cloud,
            kind,
            properties: &properties,
            previous: None,
            name,
            physical: "",
        };
        if !kind.steps().find(&target).await?.is_empty() {
            return Err(ApiError::not_implemented(format_args!(
                "the import of {logical} ({} {name}), which exists already",
                kind.name
            )));
        }
    }
    Ok(())
}

/// Refuses errors in a template that do not depend on its parameters, for the operations that deploy one and
/// for `ValidateTemplate`.
pub(super) fn check(template: &Template) -> ApiResult<()> {
    check_types(template)?;
    parameters::check_declared(template)?;
    references::check(template)?;
    rules::check(template)?;
    functions::check(template)
}

/// Refuses resource types that the local cloud lacks, by name.
fn check_types(template: &Template) -> ApiResult<()> {
    let mut unknown: Vec<&str> = template
        .section("Resources")
        .keys()
        .map(|logical| template.resource_type(logical))
        .filter(|kind| resources::by_name(kind).is_none())
        .collect();
    unknown.sort_unstable();
    unknown.dedup();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(invalid(format!(
        "Template format error: Unrecognized resource types: [{}] (NotImplemented: the local cloud does not have them)",
        unknown.join(", ")
    )))
}

/// The capability that a template needs, and the types that need it.
pub(super) fn capability(template: &Template) -> Option<(&'static str, Vec<String>)> {
    let mut types = Vec::new();
    let mut named = false;
    for (logical, resource) in template.section("Resources") {
        let kind = template.resource_type(logical);
        if kind.starts_with("AWS::IAM::") {
            let name = resources::by_name(kind).and_then(|kind| kind.naming);
            named |= name.is_some_and(|naming| {
                resource
                    .get("Properties")
                    .is_some_and(|properties| properties.get(naming.property).is_some())
            });
            types.push(kind.to_owned());
        }
    }
    types.sort();
    types.dedup();
    let capability = if named {
        "CAPABILITY_NAMED_IAM"
    } else {
        "CAPABILITY_IAM"
    };
    (!types.is_empty()).then_some((capability, types))
}

fn check_capabilities(template: &Template, given: &[String]) -> ApiResult<()> {
    let has = |name: &str| given.iter().any(|given| given == name);
    match capability(template) {
        Some((needed, _)) if !has(needed) && !has("CAPABILITY_NAMED_IAM") => Err(ApiError::new(
            "InsufficientCapabilitiesException",
            format!("Requires capabilities : [{needed}]"),
        )),
        _ => Ok(()),
    }
}

/// Fails unless the role of a stack exists and trusts `CloudFormation`.
pub(super) fn check_role(cloud: &Cloud, arn: &str) -> ApiResult<()> {
    match iam::usable(cloud, arn, PRINCIPAL) {
        Ok(_) => Ok(()),
        Err(error) if error.status < 500 => Err(invalid(format!(
            "Role {arn} is invalid or cannot be assumed"
        ))),
        Err(error) => Err(error),
    }
}
