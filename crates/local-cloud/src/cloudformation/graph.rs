//! The order of a template's resources by their references, which must not form a cycle.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::intrinsics::placeholders;
use super::template::{Template, invalid};
use crate::api::ApiResult;

/// The names that a value refers to by `Ref`, `Fn::GetAtt` and `Fn::Sub`: resources, parameters and pseudo
/// parameters.
pub(crate) fn references(value: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    collect(value, &mut found);
    found
}

fn collect(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Object(object) => {
            for (key, value) in object {
                match (key.as_str(), value) {
                    ("Ref", Value::String(name)) if object.len() == 1 => {
                        found.insert(name.clone());
                    }
                    ("Fn::GetAtt", Value::Array(parts)) if object.len() == 1 => {
                        if let Some(Value::String(name)) = parts.first() {
                            found.insert(name.clone());
                        }
                        parts.iter().skip(1).for_each(|part| collect(part, found));
                    }
                    ("Fn::GetAtt", Value::String(text)) if object.len() == 1 => {
                        let name = text.split('.').next().unwrap_or_default();
                        found.insert(name.to_owned());
                    }
                    ("Fn::Sub", Value::String(text)) if object.len() == 1 => {
                        substituted(text, None, found);
                    }
                    ("Fn::Sub", Value::Array(parts)) if object.len() == 1 => {
                        if let Some(Value::String(text)) = parts.first() {
                            substituted(text, parts.get(1), found);
                        }
                        parts.iter().skip(1).for_each(|part| collect(part, found));
                    }
                    _ => collect(value, found),
                }
            }
        }
        _ => {}
    }
}

/// The attributes that a value refers to by `Fn::GetAtt` and `Fn::Sub`: resource and attribute.
pub(crate) fn attributes(value: &Value) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    let pair = |text: &str| {
        text.split_once('.')
            .map(|(logical, attribute)| (logical.to_owned(), attribute.to_owned()))
    };
    match value {
        Value::Array(items) => items.iter().for_each(|item| found.extend(attributes(item))),
        Value::Object(object) => {
            for (key, value) in object {
                match (key.as_str(), value) {
                    ("Fn::GetAtt", Value::Array(parts)) => {
                        if let [Value::String(logical), Value::String(attribute)] = parts.as_slice()
                        {
                            found.insert((logical.clone(), attribute.clone()));
                        }
                    }
                    ("Fn::GetAtt", Value::String(text)) => found.extend(pair(text)),
                    ("Fn::Sub", Value::String(text)) => {
                        found.extend(placeholders(text).into_iter().filter_map(pair));
                    }
                    ("Fn::Sub", Value::Array(parts)) => {
                        let text = parts.first().and_then(Value::as_str).unwrap_or_default();
                        let own = parts.get(1);
                        found.extend(
                            placeholders(text)
                                .into_iter()
                                .filter(|name| own.is_none_or(|own| own.get(name).is_none()))
                                .filter_map(pair),
                        );
                        found.extend(own.map(attributes).unwrap_or_default());
                    }
                    _ => found.extend(attributes(value)),
                }
            }
        }
        _ => {}
    }
    found
}

fn substituted(text: &str, own: Option<&Value>, found: &mut BTreeSet<String>) {
    for name in placeholders(text) {
        if own.is_some_and(|own| own.get(name).is_some()) {
            continue;
        }
        found.insert(name.split('.').next().unwrap_or(name).to_owned());
    }
}

/// The resources that each resource in `present` depends on.
pub(crate) fn dependencies(
    template: &Template,
    present: &BTreeSet<String>,
) -> ApiResult<BTreeMap<String, BTreeSet<String>>> {
    let mut graph = BTreeMap::new();
    for logical in present {
        let mut needs = needs(template, logical)?;
        needs.retain(|name| present.contains(name));
        graph.insert(logical.clone(), needs);
    }
    Ok(graph)
}

/// The resources of the template that a resource refers to or depends on.
pub(crate) fn needs(template: &Template, logical: &str) -> ApiResult<BTreeSet<String>> {
    let Some(resource) = template.resource(logical) else {
        return Ok(BTreeSet::new());
    };
    let properties = resource.get("Properties");
    let mut needs = properties.map(references).unwrap_or_default();
    needs.extend(depends_on(logical, resource)?);
    needs.retain(|name| template.resource(name).is_some());
    Ok(needs)
}

/// For each resource of an order, the indexes of those that it needs.
pub(crate) fn earlier(template: &Template, order: &[String]) -> ApiResult<Vec<BTreeSet<usize>>> {
    let indexes: BTreeMap<&String, usize> = order.iter().zip(0..).collect();
    let mut found = Vec::new();
    for logical in order {
        let needs = needs(template, logical)?;
        found.push(
            needs
                .iter()
                .filter_map(|name| indexes.get(name).copied())
                .collect(),
        );
    }
    Ok(found)
}

/// The resources that a resource names in `DependsOn`.
pub(crate) fn depends_on(logical: &str, resource: &Value) -> ApiResult<Vec<String>> {
    match resource.get("DependsOn") {
        None => Ok(Vec::new()),
        Some(Value::String(name)) => Ok(vec![name.clone()]),
        Some(Value::Array(names)) if names.iter().all(Value::is_string) => Ok(names
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()),
        Some(_) => Err(invalid(format!(
            "Template format error: DependsOn must be a string or list of strings. ({logical})"
        ))),
    }
}

/// The resources in `present`, each after its dependencies and otherwise in the template's order;
/// `ValidationError` if they form a cycle.
pub(crate) fn order(template: &Template, present: &BTreeSet<String>) -> ApiResult<Vec<String>> {
    let graph = dependencies(template, present)?;
    let mut waiting: Vec<String> = template
        .section("Resources")
        .keys()
        .filter(|name| present.contains(*name))
        .cloned()
        .collect();
    let mut done: BTreeSet<String> = BTreeSet::new();
    let mut ordered = Vec::new();
    while !waiting.is_empty() {
        let Some(next) = waiting
            .iter()
            .position(|name| graph.get(name).is_none_or(|needs| needs.is_subset(&done)))
        else {
            waiting.sort();
            return Err(invalid(format!(
                "Circular dependency between resources: [{}]",
                circle(&graph, &waiting).join(", ")
            )));
        };
        let name = waiting.remove(next);
        done.insert(name.clone());
        ordered.push(name);
    }
    Ok(ordered)
}

/// Of the resources that could not be ordered, those in a cycle: resources that only depend on the cycle are
/// omitted.
fn circle(graph: &BTreeMap<String, BTreeSet<String>>, stuck: &[String]) -> Vec<String> {
    let mut members = stuck.to_vec();
    loop {
        let needed: BTreeSet<&String> = members
            .iter()
            .filter_map(|name| graph.get(name))
            .flatten()
            .collect();
        let kept: Vec<String> = members
            .iter()
            .filter(|name| needed.contains(name))
            .cloned()
            .collect();
        if kept.len() == members.len() {
            return kept;
        }
        members = kept;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ordered(text: &str) -> ApiResult<Vec<String>> {
        let template = Template::parse(text)?;
        let present = template.section("Resources").keys().cloned().collect();
        order(&template, &present)
    }

    #[test]
    fn resources_come_after_their_dependencies() {
        let text = "Resources:\n  A: {Type: T, Properties: {X: !Sub '${B.Arn}-${!Literal}-${C}'}}\n  \
                    B: {Type: T, DependsOn: D}\n  C: {Type: T, Properties: {X: [{Y: !GetAtt D.Arn}]}}\n  \
                    D: {Type: T, Properties: {X: !Ref AWS::Region}}\n  E: {Type: T}";
        assert_eq!(ordered(text).unwrap(), ["D", "B", "C", "A", "E"]);
    }

    #[test]
    fn cycles_are_reported_without_their_dependents() {
        let text = "Resources:\n  A: {Type: T, DependsOn: B}\n  B: {Type: T, Properties: {X: !Ref C}}\n  \
                    C: {Type: T, Properties: {X: !GetAtt A.Y}}\n  D: {Type: T, DependsOn: A}";
        assert_eq!(
            ordered(text).unwrap_err().message,
            "Circular dependency between resources: [A, B, C]"
        );
        let wrong = ordered("Resources: {A: {Type: T, DependsOn: 3}}").unwrap_err();
        assert!(
            wrong
                .message
                .contains("must be a string or list of strings")
        );
    }

    #[test]
    fn a_variable_declared_by_sub_is_not_a_reference() {
        let value = json!({"Fn::Sub": ["${Own}${Other}", {"Own": {"Ref": "Third"}}]});
        assert_eq!(
            references(&value).into_iter().collect::<Vec<_>>(),
            ["Other", "Third"]
        );
    }
}
