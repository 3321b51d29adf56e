//! Evaluates a template for a stack: the properties of its resources, its outputs and its imports.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::intrinsics::{Known, Scope};
use super::resources::{self, Type};
use super::stacks::{self, Output, Resource, Stack};
use super::template::{invalid, text_of};
use super::{custom, functions, parameters, parsed};
use crate::Cloud;
use crate::api::ApiResult;

/// The values that the expressions of a stack's template can use.
pub(crate) fn scope(cloud: &Cloud, stack: &Stack) -> ApiResult<Scope> {
    let template = parsed::template(cloud, &stack.deployment.template)?;
    let deployment = &stack.deployment;
    let values = parameters::values(&template, &deployment.parameters, &deployment.resolved);
    let exports = stacks::exports(cloud)?
        .into_iter()
        .filter(|(_, _, owner)| *owner != stack.id)
        .map(|(name, value, _)| (name, value))
        .collect();
    let mut scope = Scope::new(template, values, stacks::pseudo(cloud, stack), exports)?;
    scope.resources = known(&stack.resources);
    Ok(scope)
}

fn known(resources: &[Resource]) -> BTreeMap<String, Known> {
    resources
        .iter()
        .map(|resource| {
            let known = Known {
                reference: resource.physical.clone(),
                attributes: resource.attributes.clone(),
                after_apply: false,
            };
            (resource.logical.clone(), known)
        })
        .collect()
}

/// A resource's type and its properties: functions evaluated, scalars in the API's types, and the stack's
/// tags added to its own.
pub(crate) fn desired(
    scope: &Scope,
    stack: &Stack,
    logical: &str,
) -> ApiResult<(&'static Type, Map<String, Value>)> {
    let kind = kind_of(scope.template.resource_type(logical))?;
    let raw = scope
        .template
        .resource(logical)
        .and_then(|resource| resource.get("Properties"));
    let mut properties = match raw.map(|raw| scope.resolve(raw)).transpose()?.flatten() {
        Some(Value::Object(properties)) if kind.name == custom::TYPE => {
            custom::as_text(&properties)
        }
        Some(Value::Object(properties)) => resources::coerce(kind, &properties),
        _ => Map::new(),
    };
    if kind.is_taggable() && !stack.deployment.tags.is_empty() {
        let mut tags = resources::tags(&properties);
        for tag in &stack.deployment.tags {
            if !tags.iter().any(|own| own.get("Key") == tag.get("Key")) {
                tags.push(tag.clone());
            }
        }
        properties.insert("Tags".to_owned(), kind.tag_property(tags));
    }
    Ok((kind, properties))
}

/// The type with this name.
pub(crate) fn kind_of(name: &str) -> ApiResult<&'static Type> {
    resources::by_name(name).ok_or_else(|| {
        invalid(format!(
            "Template format error: Unrecognized resource types: [{name}]"
        ))
    })
}

/// The outputs of a stack whose resources exist.
pub(crate) fn outputs(scope: &Scope) -> ApiResult<Vec<Output>> {
    let mut found = Vec::new();
    for (key, output) in scope.template.section("Outputs") {
        if !scope.holds(output)? {
            continue;
        }
        let text = |value: &Value| match scope.value(value)? {
            Value::Array(_) | Value::Object(_) | Value::Null => Err(functions::malformed(key)),
            scalar => Ok(text_of(&scalar)),
        };
        found.push(Output {
            key: key.clone(),
            value: text(output.get("Value").unwrap_or(&Value::Null))?,
            description: output.get("Description").map(text_of),
            export: output
                .get("Export")
                .and_then(|export| export.get("Name"))
                .map(text)
                .transpose()?,
        });
    }
    Ok(found)
}

/// The exports that a template imports.
pub(crate) fn imports(scope: &Scope) -> Vec<String> {
    let mut found = BTreeSet::new();
    for section in ["Resources", "Outputs"] {
        for member in scope.template.section(section).values() {
            if scope.holds(member).unwrap_or_default() {
                scope.imports(member, &mut found);
            }
        }
    }
    found.into_iter().collect()
}

/// Fails if another stack has an export of the same name.
pub(crate) fn check_exports(cloud: &Cloud, stack: &Stack, outputs: &[Output]) -> ApiResult<()> {
    let taken = stacks::exports(cloud)?;
    for export in outputs.iter().filter_map(|output| output.export.as_ref()) {
        if let Some((_, _, owner)) = taken
            .iter()
            .find(|(name, _, owner)| name == export && *owner != stack.id)
        {
            let owner = stacks::key_of(owner).split('/').next().unwrap_or_default();
            return Err(invalid(format!(
                "Export with name {export} is already exported by stack {owner}"
            )));
        }
    }
    Ok(())
}
