//! Evaluates intrinsic functions and conditions.
//!
//! Source: the `CloudFormation` Template Reference Guide, "Intrinsic functions".

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine as _;
use serde_json::{Map, Value};

use super::custom;
use super::template::{Template, invalid, lost, text_of};
use crate::api::ApiResult;

mod arguments;
mod branches;
mod cidr;
mod substitution;

pub(crate) use arguments::count;
pub(crate) use substitution::placeholders;
use substitution::{Fragment, fragments};

/// The message for an `Fn::Select` that is wrong in the template itself.
const SELECT: &str = "Template error: Fn::Select requires a list argument with two elements: an integer index and a list";

/// The text in a change set for a value that is unknown until the execution.
pub(crate) const KNOWN_AFTER_APPLY: &str = "{{changeSet:KNOWN_AFTER_APPLY}}";

/// The values of a resource for `Ref` and `Fn::GetAtt`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Known {
    /// The value of `Ref`; `None` before the resource is created.
    pub(crate) reference: Option<String>,
    /// The values of `Fn::GetAtt`.
    pub(crate) attributes: Map<String, Value>,
    /// True in a change set, for a resource that will be created or replaced.
    pub(crate) after_apply: bool,
}

/// Everything that an expression can refer to.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    /// The template.
    pub(crate) template: Arc<Template>,
    /// The parameters' values; a list parameter is an array.
    pub(crate) parameters: BTreeMap<String, Value>,
    /// The pseudo parameters' values.
    pub(crate) pseudo: BTreeMap<String, Value>,
    /// The conditions' values.
    pub(crate) conditions: BTreeMap<String, bool>,
    /// The exports of the region's other stacks.
    pub(crate) exports: BTreeMap<String, String>,
    /// The stack's resources.
    pub(crate) resources: BTreeMap<String, Known>,
}

impl Scope {
    /// A scope without resources, with evaluated conditions.
    pub(crate) fn new(
        template: impl Into<Arc<Template>>,
        parameters: BTreeMap<String, Value>,
        pseudo: BTreeMap<String, Value>,
        exports: BTreeMap<String, String>,
    ) -> ApiResult<Self> {
        let mut scope = Self {
            template: template.into(),
            parameters,
            pseudo,
            conditions: BTreeMap::new(),
            exports,
            resources: BTreeMap::new(),
        };
        let names: Vec<String> = scope
            .template
            .section("Conditions")
            .keys()
            .cloned()
            .collect();
        for name in names {
            scope.condition(&name)?;
        }
        Ok(scope)
    }

    /// The resources whose condition is true.
    pub(crate) fn present(&self) -> ApiResult<BTreeSet<String>> {
        let mut present = BTreeSet::new();
        for (name, resource) in self.template.section("Resources") {
            if self.holds(resource)? {
                present.insert(name.clone());
            }
        }
        Ok(present)
    }

    /// True unless the resource or output has a condition that is false.
    pub(crate) fn holds(&self, member: &Value) -> ApiResult<bool> {
        match member.get("Condition") {
            None => Ok(true),
            Some(Value::String(name)) => self.named_condition(name),
            Some(_) => Err(invalid("Template format error: Condition must be a string")),
        }
    }

    fn named_condition(&self, name: &str) -> ApiResult<bool> {
        self.conditions.get(name).copied().ok_or_else(|| {
            invalid(format!(
                "Template format error: Unresolved condition dependency {name} in the template"
            ))
        })
    }

    /// Evaluates a condition after the conditions that it depends on. Iterative, because a long chain
    /// of conditions would overflow the stack.
    fn condition(&mut self, name: &str) -> ApiResult<()> {
        let mut pending = vec![name.to_owned()];
        let mut begun = BTreeSet::new();
        while let Some(name) = pending.last().cloned() {
            if self.conditions.contains_key(&name) {
                pending.pop();
                continue;
            }
            let expression = self
                .template
                .member("Conditions", &name)
                .cloned()
                .ok_or_else(|| {
                    invalid(format!(
                        "Template format error: Unresolved condition dependency {name} in the Conditions block of the template"
                    ))
                })?;
            begun.insert(name.clone());
            let mut needed = condition_names(&expression);
            needed.retain(|other| !self.conditions.contains_key(other));
            if needed.iter().any(|other| begun.contains(other)) {
                return Err(invalid(
                    "Template format error: Circular dependency between conditions",
                ));
            }
            if needed.is_empty() {
                let value = self.boolean(&expression)?;
                self.conditions.insert(name, value);
                pending.pop();
            } else {
                pending.extend(needed);
            }
        }
        Ok(())
    }

    fn boolean(&self, expression: &Value) -> ApiResult<bool> {
        let wrong = || {
            invalid(format!(
                "Template error: {} is not a condition function",
                brief(expression)
            ))
        };
        let (name, argument) = function(expression).ok_or_else(wrong)?;
        let list = || argument.as_array().map(Vec::as_slice).ok_or_else(wrong);
        match name {
            "Condition" => self.named_condition(argument.as_str().ok_or_else(wrong)?),
            "Fn::Equals" => match list()? {
                [left, right] => {
                    let (left, right) = (self.value(left)?, self.value(right)?);
                    Ok(match (&left, &right) {
                        (Value::Array(_) | Value::Object(_), _)
                        | (_, Value::Array(_) | Value::Object(_)) => left == right,
                        _ => text_of(&left) == text_of(&right),
                    })
                }
                _ => Err(count(name)),
            },
            "Fn::Not" => match list()? {
                [one] => Ok(!self.boolean(one)?),
                _ => Err(count(name)),
            },
            "Fn::And" | "Fn::Or" => {
                let members = list()?;
                if !(2..=10).contains(&members.len()) {
                    return Err(count(name));
                }
                let values: Vec<bool> = members
                    .iter()
                    .map(|member| self.boolean(member))
                    .collect::<ApiResult<_>>()?;
                Ok(if name == "Fn::And" {
                    values.iter().all(|value| *value)
                } else {
                    values.iter().any(|value| *value)
                })
            }
            _ => Err(wrong()),
        }
    }

    /// A value with every function evaluated; `AWS::NoValue` is an error here.
    pub(crate) fn value(&self, value: &Value) -> ApiResult<Value> {
        self.resolve(value)?
            .ok_or_else(|| invalid("Template error: AWS::NoValue is not allowed here"))
    }

    /// The same, as text.
    fn text(&self, value: &Value, of: &str) -> ApiResult<String> {
        match self.value(value)? {
            Value::Array(_) | Value::Object(_) | Value::Null => Err(invalid(format!(
                "Template error: every {of} object requires string parameters, not {}",
                brief(value)
            ))),
            scalar => Ok(text_of(&scalar)),
        }
    }

    /// A value with every function evaluated; `None` for `AWS::NoValue`.
    pub(crate) fn resolve(&self, value: &Value) -> ApiResult<Option<Value>> {
        match value {
            Value::Array(items) => {
                let mut resolved = Vec::with_capacity(items.len());
                for item in items {
                    resolved.extend(self.resolve(item)?);
                }
                Ok(Some(Value::Array(resolved)))
            }
            Value::Object(object) => {
                if let Some((name, argument)) = function(value) {
                    return self.call(name, argument);
                }
                let mut resolved = Map::new();
                for (key, member) in object {
                    if key.starts_with("Fn::") {
                        return Err(invalid(format!(
                            "Template format error: {key} must be the only key of its object"
                        )));
                    }
                    if let Some(member) = self.resolve(member)? {
                        resolved.insert(key.clone(), member);
                    }
                }
                Ok(Some(Value::Object(resolved)))
            }
            Value::String(text) if text.contains("{{resolve:") => Err(invalid(
                "NotImplemented: the local cloud does not have dynamic references ({{resolve:…}})",
            )),
            scalar => Ok(Some(scalar.clone())),
        }
    }

    #[expect(
        clippy::too_many_lines,
        reason = "one arm per function of the language"
    )]
    fn call(&self, name: &str, argument: &Value) -> ApiResult<Option<Value>> {
        let list = || {
            argument.as_array().map(Vec::as_slice).ok_or_else(|| {
                invalid(format!(
                    "Template error: every {name} object requires a list, not {}",
                    brief(argument)
                ))
            })
        };
        let result = match name {
            "Ref" => {
                let reference = argument.as_str().ok_or_else(|| count(name))?;
                if reference == "AWS::NoValue" {
                    return Ok(None);
                }
                self.reference(reference)?
            }
            "Condition" => Value::Bool(self.boolean(&Value::Object(Map::from_iter([(
                name.to_owned(),
                argument.clone(),
            )])))?),
            "Fn::GetAtt" => self.attribute(argument)?,
            "Fn::Sub" => Value::String(self.substitute(argument)?),
            "Fn::Join" => match list()? {
                [separator, parts] => {
                    let separator = self.text(separator, name)?;
                    let parts = match self.value(parts)? {
                        Value::Array(parts) => parts,
                        later if later == KNOWN_AFTER_APPLY => return Ok(Some(later)),
                        _ => return Err(count(name)),
                    };
                    let parts: Vec<String> = parts
                        .iter()
                        .map(|part| self.text(part, name))
                        .collect::<ApiResult<_>>()?;
                    Value::String(parts.join(&separator))
                }
                _ => return Err(count(name)),
            },
            "Fn::Select" => match list()? {
                [index, from] => {
                    let index = self.text(index, name)?;
                    let of = match self.value(from)? {
                        Value::Array(of) => of,
                        later if later == KNOWN_AFTER_APPLY => vec![later],
                        _ => return Err(invalid(SELECT)),
                    };
                    if index.parse::<usize>().is_err() {
                        return Err(invalid(SELECT));
                    }
                    let later = of.iter().find(|one| {
                        one.as_str()
                            .is_some_and(|one| one.contains(KNOWN_AFTER_APPLY))
                    });
                    index
                        .parse::<usize>()
                        .ok()
                        .and_then(|index| of.get(index).or(later).cloned())
                        .ok_or_else(|| match from {
                            Value::Array(_) => invalid(SELECT),
                            _ => invalid(format!(
                                "Template error: Fn::Select cannot select nonexistent value at index {index}"
                            )),
                        })?
                }
                _ => return Err(invalid(SELECT)),
            },
            "Fn::Split" => match list()? {
                [separator, text] => {
                    let separator = self.text(separator, name)?;
                    if separator.is_empty() {
                        return Err(invalid(
                            "Template error: every Fn::Split object requires a delimiter that is not empty.",
                        ));
                    }
                    let text = self.text(text, name)?;
                    text.split(&separator).map(Value::from).collect()
                }
                _ => return Err(count(name)),
            },
            "Fn::If" => match list()? {
                [Value::String(condition), yes, no] => {
                    let branch = if self.named_condition(condition)? {
                        yes
                    } else {
                        no
                    };
                    return self.resolve(branch);
                }
                _ => return Err(count(name)),
            },
            "Fn::Equals" | "Fn::And" | "Fn::Or" | "Fn::Not" => {
                return Err(invalid(format!(
                    "Template error: {name} is allowed in Conditions only"
                )));
            }
            "Fn::FindInMap" => self.find_in_map(list()?)?,
            "Fn::ImportValue" => {
                let export = self.text(argument, name)?;
                match self.exports.get(&export) {
                    Some(value) => Value::String(value.clone()),
                    None => return Err(invalid(format!("No export named {export} found."))),
                }
            }
            "Fn::Base64" => Value::String(
                base64::engine::general_purpose::STANDARD.encode(self.text(argument, name)?),
            ),
            "Fn::GetAZs" => {
                let own = self.reference("AWS::Region")?;
                let region = match self.text(argument, name)? {
                    region if region.is_empty() => text_of(&own),
                    region => region,
                };
                ["a", "b", "c"]
                    .iter()
                    .map(|zone| Value::String(format!("{region}{zone}")))
                    .collect()
            }
            "Fn::Cidr" => self.cidr(list()?)?,
            _ => {
                return Err(invalid(format!(
                    "Template format error: the function {name} is not known to the local cloud"
                )));
            }
        };
        Ok(Some(result))
    }

    fn reference(&self, name: &str) -> ApiResult<Value> {
        if let Some(value) = self.pseudo.get(name).or_else(|| self.parameters.get(name)) {
            return Ok(value.clone());
        }
        match self.resources.get(name) {
            Some(known) if known.after_apply => Ok(KNOWN_AFTER_APPLY.into()),
            Some(Known {
                reference: Some(reference),
                ..
            }) => Ok(reference.clone().into()),
            _ => Err(lost(name)),
        }
    }

    fn attribute(&self, argument: &Value) -> ApiResult<Value> {
        let wrong = || count("Fn::GetAtt");
        let (logical, attribute) = match argument {
            Value::String(text) => text
                .split_once('.')
                .map(|(logical, attribute)| (logical.to_owned(), attribute.to_owned()))
                .ok_or_else(wrong)?,
            Value::Array(parts) => match parts.as_slice() {
                [Value::String(logical), attribute] => {
                    (logical.clone(), self.text(attribute, "Fn::GetAtt")?)
                }
                _ => return Err(wrong()),
            },
            _ => return Err(wrong()),
        };
        let known = self.resources.get(&logical).ok_or_else(|| lost(&logical))?;
        if known.after_apply {
            return Ok(KNOWN_AFTER_APPLY.into());
        }
        known.attributes.get(&attribute).cloned().ok_or_else(|| {
            if custom::is_custom(self.template.resource_type(&logical)) {
                return invalid(format!(
                    "CustomResource attribute error: Vendor response doesn't contain {attribute} attribute of resource {logical}"
                ));
            }
            invalid(format!(
                "Template error: resource {logical} does not support attribute type {attribute} in Fn::GetAtt"
            ))
        })
    }

    fn substitute(&self, argument: &Value) -> ApiResult<String> {
        let wrong = || count("Fn::Sub");
        let (text, own) = match argument {
            Value::String(text) => (text, None),
            Value::Array(parts) => match parts.as_slice() {
                [Value::String(text)] => (text, None),
                [Value::String(text), Value::Object(own)] => (text, Some(own)),
                _ => return Err(wrong()),
            },
            _ => return Err(wrong()),
        };
        let mut result = String::new();
        for fragment in fragments(text) {
            match fragment {
                Fragment::Text(text) => result.push_str(text),
                Fragment::Literal(name) => {
                    result.push_str("${");
                    result.push_str(name);
                    result.push('}');
                }
                Fragment::Variable(name) => {
                    let value = match own.and_then(|own| own.get(name)) {
                        Some(value) => self.value(value)?,
                        None => match name.split_once('.') {
                            Some(_) => self.attribute(&Value::String(name.to_owned()))?,
                            None => self.reference(name)?,
                        },
                    };
                    if value.is_array() || value.is_object() {
                        return Err(invalid(format!(
                            "Template error: variable {name} in Fn::Sub expression does not resolve to a string"
                        )));
                    }
                    result.push_str(&text_of(&value));
                }
            }
        }
        Ok(result)
    }

    fn find_in_map(&self, parts: &[Value]) -> ApiResult<Value> {
        let (keys, default) = match parts {
            [map, top, second] => ([map, top, second], None),
            [map, top, second, options] => ([map, top, second], options.get("DefaultValue")),
            _ => return Err(count("Fn::FindInMap")),
        };
        let [map, top, second] = keys.map(|key| self.text(key, "Fn::FindInMap"));
        let (map, top, second) = (map?, top?, second?);
        let found = self
            .template
            .member("Mappings", &map)
            .and_then(|map| map.get(&top)?.get(&second));
        match (found, default) {
            (Some(value), _) => Ok(value.clone()),
            (None, Some(default)) => self.value(default),
            (None, None) => Err(invalid(format!(
                "Template error: Unable to get mapping for {map}::{top}::{second}"
            ))),
        }
    }

    fn cidr(&self, parts: &[Value]) -> ApiResult<Value> {
        let (block, count, bits) = match parts {
            [block, count] => (block, count, None),
            [block, count, bits] => (block, count, Some(bits)),
            _ => return Err(count("Fn::Cidr")),
        };
        let block = self.text(block, "Fn::Cidr")?;
        let count = self.text(count, "Fn::Cidr")?;
        let bits = bits
            .map(|bits| self.text(bits, "Fn::Cidr"))
            .transpose()?
            .unwrap_or_else(|| "8".to_owned());
        if [&block, &count, &bits]
            .iter()
            .any(|text| text.contains(KNOWN_AFTER_APPLY))
        {
            return Ok(KNOWN_AFTER_APPLY.into());
        }
        let blocks = cidr::subnets(&block, &count, &bits)
            .map_err(|why| invalid(format!("Template error: Fn::Cidr of {block}: {why}")))?;
        Ok(blocks.into_iter().map(Value::String).collect())
    }
}

/// The name and argument of an intrinsic function.
pub(crate) fn function(value: &Value) -> Option<(&str, &Value)> {
    let object = value.as_object().filter(|object| object.len() == 1)?;
    let (name, argument) = object.iter().next()?;
    // A policy document has objects whose only key is `Condition`, which are not functions.
    let is =
        name == "Ref" || name.starts_with("Fn::") || (name == "Condition" && argument.is_string());
    is.then_some((name.as_str(), argument))
}

/// The conditions that an expression names.
pub(crate) fn condition_names(expression: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    match (function(expression), expression) {
        (Some(("Condition", Value::String(name))), _) => {
            found.insert(name.clone());
        }
        (Some(("Fn::If", Value::Array(parts))), _) => {
            found.extend(parts.first().and_then(Value::as_str).map(str::to_owned));
            parts
                .iter()
                .skip(1)
                .for_each(|part| found.extend(condition_names(part)));
        }
        (_, Value::Array(items)) => items
            .iter()
            .for_each(|item| found.extend(condition_names(item))),
        (_, Value::Object(object)) => object
            .values()
            .for_each(|member| found.extend(condition_names(member))),
        _ => {}
    }
    found
}

/// A value as JSON, shortened if it is long.
pub(crate) fn brief(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests;
