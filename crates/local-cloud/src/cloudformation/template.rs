//! Templates: parses YAML or JSON text to a JSON value in which every intrinsic has its long form.
//!
//! Source of the format: the `CloudFormation` User Guide, "Template anatomy" and "Template formats".

use std::sync::LazyLock;

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};
use serde_json::{Map, Number, Value};

use super::states::{self, DeletionPolicy};
use crate::api::{ApiError, ApiResult};
use crate::limits::{self, MAX_DOCUMENT_DEPTH};

mod shape;

/// Maximum size of a template in a request, in bytes, as on AWS.
pub(crate) const MAX_BODY: usize = 51_200;
/// Maximum size of a template in S3, in bytes, as on AWS.
pub(crate) const MAX_OBJECT: usize = 1_048_576;

const SECTIONS: &[&str] = &[
    "AWSTemplateFormatVersion",
    "Conditions",
    "Description",
    "Mappings",
    "Metadata",
    "Outputs",
    "Parameters",
    "Resources",
    "Rules",
];

const RESOURCE_KEYS: &[&str] = &[
    "Condition",
    "CreationPolicy",
    "DeletionPolicy",
    "DependsOn",
    "Metadata",
    "Properties",
    "Type",
    "UpdatePolicy",
    "UpdateReplacePolicy",
];

/// A parsed template whose sections have been checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Template {
    root: Map<String, Value>,
}

/// A `ValidationError`, `CloudFormation`'s error for a wrong request.
pub(crate) fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("ValidationError", message)
}

impl Template {
    /// Parses YAML or JSON; a `ValidationError` has the reason.
    pub(crate) fn parse(text: &str) -> ApiResult<Self> {
        let root = if text.trim_start().starts_with('{') {
            let wrong = |message: String| {
                invalid(format!(
                    "Template format error: JSON not well-formed. ({message})"
                ))
            };
            limits::check_json(text.as_bytes(), MAX_DOCUMENT_DEPTH).map_err(wrong)?;
            serde_json::from_str(text).map_err(|error| {
                wrong(format!("line {}, column {}", error.line(), error.column()))
            })?
        } else {
            yaml(text)?
        };
        // The long form of `!Ref x` has more levels.
        if !limits::is_within(&root, MAX_DOCUMENT_DEPTH) {
            let message = limits::too_deep(MAX_DOCUMENT_DEPTH);
            return Err(invalid(format!("Template format error: {message}")));
        }
        let Value::Object(root) = root else {
            return Err(invalid("Template format error: unsupported structure."));
        };
        if let Some(path) = shape::null(&root) {
            return Err(invalid(format!(
                "[{path}] 'null' values are not allowed in templates"
            )));
        }
        let template = Self { root };
        template.check()?;
        Ok(template)
    }

    fn check(&self) -> ApiResult<()> {
        if self.root.contains_key("Transform") {
            return Err(invalid(
                "NotImplemented: the local cloud does not have template transforms (macros, SAM)",
            ));
        }
        let unknown: Vec<&str> = names(&self.root, SECTIONS);
        if !unknown.is_empty() {
            return Err(invalid(format!(
                "Invalid template property or properties [{}]",
                unknown.join(", ")
            )));
        }
        if let Some(version) = self.root.get("AWSTemplateFormatVersion")
            && version != "2010-09-09"
        {
            return Err(invalid(format!(
                "Template format error: {} is not a supported value for AWSTemplateFormatVersion.",
                text_of(version)
            )));
        }
        if !matches!(self.root.get("Description"), None | Some(Value::String(_))) {
            return Err(invalid(
                "Template format error: Description must be a string.",
            ));
        }
        for section in SECTIONS {
            if !matches!(*section, "AWSTemplateFormatVersion" | "Description")
                && !matches!(self.root.get(*section), None | Some(Value::Object(_)))
            {
                return Err(invalid(format!(
                    "Template format error: {section} must be an object."
                )));
            }
        }
        if self.resources().is_none_or(Map::is_empty) {
            return Err(invalid(
                "Template format error: At least one Resources member must be defined.",
            ));
        }
        for (section, limit) in [("Resources", 500), ("Outputs", 200), ("Parameters", 200)] {
            for name in self.section(section).keys() {
                if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric()) {
                    return Err(invalid(format!(
                        "Template format error: {} name {name} is non alphanumeric.",
                        section.trim_end_matches('s')
                    )));
                }
            }
            if self.section(section).len() > limit {
                return Err(invalid(format!(
                    "Template format error: Number of {}, {}, is greater than maximum allowed, {limit}",
                    section.to_lowercase(),
                    self.section(section).len()
                )));
            }
        }
        for (name, resource) in self.section("Resources") {
            check_resource(name, resource)?;
        }
        for (name, mapping) in self.section("Mappings") {
            shape::check_mapping(name, mapping)?;
        }
        let outputs = self.section("Outputs").values();
        if outputs
            .into_iter()
            .any(|output| output.get("Value").is_none())
        {
            return Err(invalid(
                "Template format error: Every Outputs member must contain a Value object",
            ));
        }
        Ok(())
    }

    fn resources(&self) -> Option<&Map<String, Value>> {
        self.root.get("Resources").and_then(Value::as_object)
    }

    /// A section's members; none if the template lacks the section.
    pub(crate) fn section(&self, name: &str) -> &Map<String, Value> {
        static EMPTY: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
        self.root
            .get(name)
            .and_then(Value::as_object)
            .unwrap_or(&EMPTY)
    }

    /// One resource of the template.
    pub(crate) fn resource(&self, logical: &str) -> Option<&Value> {
        self.resources()?.get(logical)
    }

    /// The type of a resource.
    pub(crate) fn resource_type(&self, logical: &str) -> &str {
        self.resource(logical)
            .and_then(|resource| resource.get("Type"))
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// The template's own description.
    pub(crate) fn description(&self) -> Option<&str> {
        self.root.get("Description").and_then(Value::as_str)
    }

    /// One member of one section.
    pub(crate) fn member(&self, section: &str, name: &str) -> Option<&Value> {
        self.root.get(section)?.get(name)
    }
}

fn check_resource(name: &str, resource: &Value) -> ApiResult<()> {
    let Value::Object(resource) = resource else {
        return Err(invalid(
            "Template format error: Any Resources member must be an object.",
        ));
    };
    let unknown = names(resource, RESOURCE_KEYS);
    if !unknown.is_empty() {
        return Err(invalid(format!(
            "Invalid template resource property '{}'",
            unknown.join("', '")
        )));
    }
    if !matches!(resource.get("Type"), Some(Value::String(_))) {
        return Err(invalid(format!(
            "Template format error: [/Resources/{name}] Every Resources object must contain a Type member."
        )));
    }
    if !matches!(resource.get("Properties"), None | Some(Value::Object(_))) {
        return Err(invalid(format!(
            "Template format error: [/Resources/{name}/Properties] must be an object"
        )));
    }
    for key in ["CreationPolicy", "UpdatePolicy"] {
        if resource.contains_key(key) {
            return Err(invalid(format!(
                "NotImplemented: the local cloud does not have the resource attribute {key} ({name})"
            )));
        }
    }
    for key in ["DeletionPolicy", "UpdateReplacePolicy"] {
        let Some(value) = resource.get(key) else {
            continue;
        };
        match value.as_str().and_then(states::parse::<DeletionPolicy>) {
            Some(DeletionPolicy::Snapshot) => {
                return Err(invalid(format!(
                    "Template error: resource type of {name} does not support deletion policy Snapshot"
                )));
            }
            Some(DeletionPolicy::Delete | DeletionPolicy::Retain) => {}
            Some(DeletionPolicy::RetainExceptOnCreate) if key == "DeletionPolicy" => {}
            _ => {
                return Err(invalid(format!(
                    "Template error: Unrecognized {key} {} for resource {name}",
                    text_of(value)
                )));
            }
        }
    }
    Ok(())
}

fn names<'a>(object: &'a Map<String, Value>, known: &[&str]) -> Vec<&'a str> {
    object
        .keys()
        .map(String::as_str)
        .filter(|key| !known.contains(key))
        .collect()
}

/// A scalar as `CloudFormation` converts it to text; other values as JSON.
pub(crate) fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Parses one YAML document from the parser's events. The parser's own tree would turn `000000000000` into 0
/// and `3.10` into 3.1, and has no limit on depth.
fn yaml(text: &str) -> ApiResult<Value> {
    let wrong = |message: String| {
        invalid(format!(
            "Template format error: YAML not well-formed. ({message})"
        ))
    };
    let mut stack: Vec<Open> = Vec::new();
    let mut document = None;
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| {
            let at = error.marker();
            wrong(format!("line {}, column {}", at.line(), at.col() + 1))
        })?;
        let at = || {
            format!(
                "line {}, column {}",
                span.start.line(),
                span.start.col() + 1
            )
        };
        let done = match event {
            Event::MappingStart(_, tag) => {
                stack.push(Open::mapping(tag.as_deref()));
                None
            }
            Event::SequenceStart(_, tag) => {
                stack.push(Open::sequence(tag.as_deref()));
                None
            }
            Event::MappingEnd | Event::SequenceEnd => match stack.pop() {
                Some(open) => Some(tagged(open.tag.as_deref(), open.value).map_err(wrong)?),
                None => None,
            },
            Event::Scalar(text, style, _, tag) => {
                let in_key = stack.last().is_some_and(Open::wants_key);
                let value = if in_key || style != ScalarStyle::Plain || is_string(tag.as_deref()) {
                    Value::String(text.into_owned())
                } else {
                    plain(&text)
                };
                let tag = tag.as_deref().map(name_of);
                Some(tagged(tag.as_deref(), value).map_err(wrong)?)
            }
            Event::Alias(_) => {
                return Err(wrong(format!(
                    "aliases are not supported in templates, {}",
                    at()
                )));
            }
            Event::DocumentStart(_) if document.is_some() => {
                return Err(wrong("a template is one document".to_owned()));
            }
            _ => None,
        };
        if stack.len() > MAX_DOCUMENT_DEPTH {
            return Err(wrong(limits::too_deep(MAX_DOCUMENT_DEPTH)));
        }
        if let Some(value) = done {
            match stack.last_mut() {
                Some(open) => open
                    .add(value)
                    .map_err(|message| wrong(format!("{message}, {}", at())))?,
                None => document = Some(value),
            }
        }
    }
    document.ok_or_else(|| invalid("Template format error: unsupported structure."))
}

/// A mapping or sequence that is not complete yet.
struct Open {
    tag: Option<String>,
    value: Value,
    key: Option<String>,
}

impl Open {
    fn mapping(tag: Option<&Tag>) -> Self {
        Self {
            tag: tag.map(name_of),
            value: Value::Object(Map::new()),
            key: None,
        }
    }

    fn sequence(tag: Option<&Tag>) -> Self {
        Self {
            tag: tag.map(name_of),
            value: Value::Array(Vec::new()),
            key: None,
        }
    }

    fn wants_key(&self) -> bool {
        self.value.is_object() && self.key.is_none()
    }

    fn add(&mut self, value: Value) -> Result<(), String> {
        match (&mut self.value, self.key.take()) {
            (Value::Array(items), _) => items.push(value),
            (Value::Object(object), Some(key)) => {
                object.insert(key, value);
            }
            (Value::Object(object), None) => match value {
                Value::String(key) if key == "<<" => {
                    return Err("merge keys (<<) are not supported in templates".to_owned());
                }
                Value::String(key) if object.contains_key(&key) => {
                    return Err(format!("the key {key} occurs twice"));
                }
                Value::String(key) => self.key = Some(key),
                _ => return Err("a key must be text".to_owned()),
            },
            _ => {}
        }
        Ok(())
    }
}

fn name_of(tag: &Tag) -> String {
    if tag.is_yaml_core_schema() {
        format!("!!{}", tag.suffix)
    } else {
        tag.suffix.clone()
    }
}

fn is_string(tag: Option<&Tag>) -> bool {
    tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str")
}

/// Converts a short-form intrinsic (`!Ref x`) to its long form (`{"Ref": "x"}`).
fn tagged(tag: Option<&str>, value: Value) -> Result<Value, String> {
    let Some(tag) = tag else {
        return Ok(value);
    };
    let (name, value) = match tag {
        "!!str" | "!!int" | "!!float" | "!!bool" | "!!null" | "!!map" | "!!seq" => {
            return Ok(value);
        }
        "Ref" | "Condition" => (tag.to_owned(), value),
        "GetAtt" => (
            "Fn::GetAtt".to_owned(),
            match value {
                Value::String(text) => match text.split_once('.') {
                    Some((logical, attribute)) => {
                        Value::Array(vec![logical.into(), attribute.into()])
                    }
                    // Refused later, like the long form.
                    None => Value::String(text),
                },
                value => value,
            },
        ),
        "And" | "Base64" | "Cidr" | "Equals" | "FindInMap" | "GetAZs" | "If" | "ImportValue"
        | "Join" | "Not" | "Or" | "Select" | "Split" | "Sub" => (format!("Fn::{tag}"), value),
        _ => return Err(format!("the tag !{tag} is not known")),
    };
    Ok(Value::Object(Map::from_iter([(name, value)])))
}

/// A plain scalar: null, a boolean, a number that is written in its canonical form, or text.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => match text.parse::<i64>() {
            Ok(number) if number.to_string() == text => Value::Number(number.into()),
            _ => text
                .parse::<f64>()
                .ok()
                .filter(|_| text.bytes().any(|b| b == b'.') && !text.ends_with('0'))
                .and_then(Number::from_f64)
                .filter(|number| number.to_string() == text)
                .map_or_else(|| Value::String(text.to_owned()), Value::Number),
        },
    }
}

/// The error for a reference that cannot be resolved while a resource is created.
pub(super) fn lost(name: &str) -> ApiError {
    invalid(format!(
        "Template format error: Unresolved resource dependencies [{name}] in the Resources block of the template"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn bucket(properties: &str) -> ApiResult<Value> {
        let indented = properties.replace('\n', "\n      ");
        let template = Template::parse(&format!(
            "Resources:\n  B:\n    Type: AWS::S3::Bucket\n    Properties:\n      {indented}\n"
        ))?;
        Ok(template.resource("B").unwrap()["Properties"].clone())
    }

    #[test]
    fn short_forms_are_converted_to_long_forms() {
        let properties = bucket(
            "A: !Ref X\nB: !GetAtt X.Outputs.Y\nC: !Sub ['${A}-b', {A: !Ref Z}]\n\
             D: !If [IsProd, !Ref AWS::NoValue, 1]\nE: !Join ['-', [a, !Ref X]]\nF: !GetAZs ''\n\
             G: !Base64\n  Fn::Sub: hello\nH: !Select [0, !Split [',', 'a,b']]",
        )
        .unwrap();
        assert_eq!(
            properties,
            json!({
                "A": {"Ref": "X"},
                "B": {"Fn::GetAtt": ["X", "Outputs.Y"]},
                "C": {"Fn::Sub": ["${A}-b", {"A": {"Ref": "Z"}}]},
                "D": {"Fn::If": ["IsProd", {"Ref": "AWS::NoValue"}, 1]},
                "E": {"Fn::Join": ["-", ["a", {"Ref": "X"}]]},
                "F": {"Fn::GetAZs": ""},
                "G": {"Fn::Base64": {"Fn::Sub": "hello"}},
                "H": {"Fn::Select": [0, {"Fn::Split": [",", "a,b"]}]},
            })
        );
    }

    #[test]
    fn scalars_keep_their_spelling() {
        let properties = bucket(
            "Account: 000000000000\nVersion: 3.10\nPolicy: 2012-10-17\nOctal: 010\nOne: 1\n\
             Half: 0.5\nYes: true\nQuoted: '1'\nCidr: 10.0.0.0/16",
        )
        .unwrap();
        assert_eq!(
            properties,
            json!({
                "Account": "000000000000", "Version": "3.10", "Policy": "2012-10-17",
                "Octal": "010", "One": 1, "Half": 0.5, "Yes": true, "Quoted": "1",
                "Cidr": "10.0.0.0/16",
            })
        );
    }

    #[test]
    fn invalid_templates_are_refused() {
        let message = |text: &str| Template::parse(text).unwrap_err().message;
        for (text, part) in [
            ("", "unsupported structure"),
            ("a: [", "YAML not well-formed. (line "),
            ("{\"Resources\": ", "JSON not well-formed. (line 1, column "),
            ("Resources: {}", "At least one Resources member"),
            (
                "Resorces: {}",
                "Invalid template property or properties [Resorces]",
            ),
            ("Resources: {A: {}}", "must contain a Type member"),
            (
                "Resources: {A: {Type: T, Properties: {X: [1, {Y: }]}}}",
                "[/Resources/A/Properties/X/1/Y] 'null' values are not allowed in templates",
            ),
            ("Resources: {A-b: {Type: T}}", "non alphanumeric"),
            (
                "Resources: {A: {Type: T, Props: {}}}",
                "Invalid template resource property 'Props'",
            ),
            (
                "Resources: {A: {Type: T}, A: {Type: T}}",
                "the key A occurs twice",
            ),
            (
                "Resources: {A: &x {Type: T}, B: *x}",
                "aliases are not supported",
            ),
            (
                "Resources: {A: !Foo {Type: T}}",
                "the tag !Foo is not known",
            ),
            (
                "Resources: {A: {Type: T}}\nTransform: AWS::Serverless-2016-10-31",
                "transforms",
            ),
            (
                "Resources: {A: {Type: T}}\nOutputs: {O: {}}",
                "must contain a Value",
            ),
        ] {
            assert!(message(text).contains(part), "{text}: {}", message(text));
        }
        let deep = format!("Resources: {}", "[".repeat(150));
        assert!(message(&deep).contains("nested deeper"));
        // At a greater depth the parser itself fails.
        assert!(message(&"[".repeat(40_000)).contains("YAML not well-formed"));
    }

    #[test]
    fn issue_8_1_5_short_forms_count_as_the_levels_that_they_are() {
        let message = |text: &str| Template::parse(text).unwrap_err().message;
        // Each `!Not [` is two levels.
        let nots = |levels: usize| {
            let (open, close) = ("!Not [".repeat(levels), "]".repeat(levels));
            format!("Resources: {{A: {{Type: T}}}}\nConditions: {{C: {open}x{close}}}")
        };
        assert!(Template::parse(&nots(45)).is_ok());
        assert!(message(&nots(60)).contains("nested deeper than 100 levels"));
        let json = |levels: usize| {
            let (open, close) = ("[".repeat(levels), "]".repeat(levels));
            format!(
                "{{\"Metadata\": {{\"M\": {open}{close}}}, \"Resources\": {{\"A\": {{\"Type\": \"T\"}}}}}}"
            )
        };
        assert!(Template::parse(&json(98)).is_ok());
        for levels in [99, 120, 50_000] {
            assert!(message(&json(levels)).contains("nested deeper than 100 levels"));
        }
    }
}
