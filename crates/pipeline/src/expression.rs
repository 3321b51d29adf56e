//! Expressions: `Get`, `Std:Join`, `Std:JsonGet`, and the paths in them.

use std::fmt;

use mlops_core::quote;
use serde_json::{Map, Value};

/// Why an expression has no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpressionError(pub String);

impl fmt::Display for ExpressionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ExpressionError {}

fn error(message: impl Into<String>) -> ExpressionError {
    ExpressionError(quote::bounded(&message.into()))
}

/// The target of `{"Get": …}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// `Parameters.NAME`
    Parameter(String),
    /// `Execution.NAME`
    Execution(String),
    /// `Steps.NAME.PATH`: a member of the step's Describe response.
    Step {
        /// The step.
        step: String,
        /// The path in the response.
        path: Path,
    },
    /// `Steps.NAME.PropertyFiles.FILE`, for `Std:JsonGet` only.
    PropertyFile {
        /// The step.
        step: String,
        /// The property file's name.
        file: String,
    },
}

impl Reference {
    /// The members of `Execution` (SageMaker Python SDK: `ExecutionVariables`).
    pub const EXECUTION: &[&str] = &[
        "PipelineName",
        "PipelineArn",
        "PipelineExecutionId",
        "PipelineExecutionArn",
        "StartDateTime",
        "CurrentDateTime",
        "TrainingJobName",
        "ProcessingJobName",
    ];

    /// Parses the text of a `Get`.
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        let (root, rest) = text.split_once('.').ok_or_else(|| {
            error(format!(
                "`{text}` is not a reference: expected Parameters.…, Execution.… or Steps.…"
            ))
        })?;
        match root {
            "Parameters" => Ok(Self::Parameter(rest.to_owned())),
            "Execution" if Self::EXECUTION.contains(&rest) => Ok(Self::Execution(rest.to_owned())),
            "Execution" => Err(error(format!(
                "`{text}`: no execution variable `{rest}`; available: {}",
                Self::EXECUTION.join(", ")
            ))),
            "Steps" => {
                let end = rest.find(['.', '[']).unwrap_or(rest.len());
                let (step, path) = rest.split_at(end);
                let path = path.strip_prefix('.').unwrap_or(path);
                if let Some(file) = path.strip_prefix("PropertyFiles.") {
                    return Ok(Self::PropertyFile {
                        step: step.to_owned(),
                        file: file.to_owned(),
                    });
                }
                Ok(Self::Step {
                    step: step.to_owned(),
                    path: Path::parse(path)?,
                })
            }
            _ => Err(error(format!(
                "`{text}` is not a reference: expected Parameters.…, Execution.… or Steps.…"
            ))),
        }
    }
}

/// A path into a JSON document: `a.b[0]['k']`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path(Vec<Segment>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Key(String),
    Index(usize),
}

impl Path {
    /// Parses a path; a leading `$.` is allowed.
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        let bad = |what: &str| error(format!("`{text}` is not a path: {what}"));
        let mut segments = Vec::new();
        let mut rest = text.strip_prefix("$.").unwrap_or(text);
        while !rest.is_empty() {
            if let Some(inner) = rest.strip_prefix('[') {
                let (segment, after) = if let Some(quote @ ('\'' | '"')) = inner.chars().next() {
                    let (key, after) = inner[1..]
                        .split_once(quote)
                        .ok_or_else(|| bad("a quote is not closed"))?;
                    (Segment::Key(key.to_owned()), after)
                } else {
                    let end = inner.find(']').ok_or_else(|| bad("`[` is not closed"))?;
                    let index = inner[..end]
                        .parse()
                        .map_err(|_| bad("`[` and `]` must contain a number or a quoted key"))?;
                    (Segment::Index(index), &inner[end..])
                };
                segments.push(segment);
                rest = after
                    .strip_prefix(']')
                    .ok_or_else(|| bad("`[` is not closed"))?;
                if let Some(after) = rest.strip_prefix('.') {
                    if after.is_empty() {
                        return Err(bad("it ends with a dot"));
                    }
                    rest = after;
                }
            } else {
                let end = rest.find(['.', '[']).unwrap_or(rest.len());
                if end == 0 {
                    return Err(bad("a name is empty"));
                }
                segments.push(Segment::Key(rest[..end].to_owned()));
                rest = &rest[end..];
                if let Some(after) = rest.strip_prefix('.') {
                    if after.is_empty() {
                        return Err(bad("it ends with a dot"));
                    }
                    rest = after;
                }
            }
        }
        Ok(Self(segments))
    }

    /// Returns true for the empty path.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the value at this path. `['k']` on a list finds the element with a member `…Name` equal
    /// to `k`, as SageMaker does for `Outputs['train']`.
    pub fn find<'a>(&self, document: &'a Value) -> Option<&'a Value> {
        self.0
            .iter()
            .try_fold(document, |value, segment| match (segment, value) {
                (Segment::Key(key), Value::Object(members)) => members.get(key),
                (Segment::Key(key), Value::Array(items)) => {
                    items.iter().find(|item| named(item, key))
                }
                (Segment::Index(index), Value::Array(items)) => items.get(*index),
                _ => None,
            })
    }
}

fn named(item: &Value, name: &str) -> bool {
    item.as_object().is_some_and(|members| {
        members
            .iter()
            .any(|(key, value)| key.ends_with("Name") && value.as_str() == Some(name))
    })
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Key(key) if key.contains(['.', '[', ' ']) => write!(f, "['{key}']")?,
                Segment::Key(key) if position == 0 => f.write_str(key)?,
                Segment::Key(key) => write!(f, ".{key}")?,
            }
        }
        Ok(())
    }
}

/// The values that an expression can refer to.
pub trait Scope {
    /// A parameter's value, typed.
    fn parameter(&self, name: &str) -> Option<Value>;
    /// An execution variable's value.
    fn execution(&self, name: &str) -> Option<Value>;
    /// The Describe response of a finished step.
    fn step(&self, name: &str) -> Option<Value>;
    /// The contents of a property file of a finished step.
    fn property_file(&self, step: &str, file: &str) -> Result<Value, ExpressionError>;
    /// The contents of a JSON object in S3.
    fn json_object(&self, uri: &str) -> Result<Value, ExpressionError>;
}

/// Returns whether an object is a function call, not data.
#[derive(Debug, Clone, Copy)]
pub(super) enum Call<'a> {
    Get(&'a Value),
    Join(&'a Value),
    JsonGet(&'a Value),
    Unknown(&'a str),
}

/// The function that `members` calls, if it calls one.
pub(super) fn call(members: &Map<String, Value>) -> Option<Call<'_>> {
    let (key, argument) = members.iter().next()?;
    if members.len() != 1 {
        return None;
    }
    match key.as_str() {
        "Get" => Some(Call::Get(argument)),
        "Std:Join" => Some(Call::Join(argument)),
        "Std:JsonGet" => Some(Call::JsonGet(argument)),
        other if other.starts_with("Std:") => Some(Call::Unknown(other)),
        _ => None,
    }
}

/// Evaluates an expression: replaces every function call in it by its value.
pub fn evaluate(expression: &Value, scope: &dyn Scope) -> Result<Value, ExpressionError> {
    match expression {
        Value::Array(items) => items.iter().map(|item| evaluate(item, scope)).collect(),
        Value::Object(members) => match call(members) {
            Some(Call::Get(reference)) => get(reference, scope),
            Some(Call::Join(argument)) => join(argument, scope),
            Some(Call::JsonGet(argument)) => json_get(argument, scope),
            Some(Call::Unknown(name)) => Err(error(format!("no function `{name}`"))),
            None => members
                .iter()
                .map(|(key, value)| Ok((key.clone(), evaluate(value, scope)?)))
                .collect::<Result<Map<_, _>, _>>()
                .map(Value::Object),
        },
        other => Ok(other.clone()),
    }
}

fn get(reference: &Value, scope: &dyn Scope) -> Result<Value, ExpressionError> {
    let text = reference
        .as_str()
        .ok_or_else(|| error("the argument of Get is not text"))?;
    match Reference::parse(text)? {
        Reference::Parameter(name) => scope
            .parameter(&name)
            .ok_or_else(|| error(format!("parameter `{name}` has no value"))),
        Reference::Execution(name) => scope
            .execution(&name)
            .ok_or_else(|| error(format!("execution variable `{name}` has no value here"))),
        Reference::Step { step, path } => {
            let response = scope
                .step(&step)
                .ok_or_else(|| error(format!("step `{step}` has no result")))?;
            path.find(&response)
                .cloned()
                .ok_or_else(|| error(format!("the result of step `{step}` has no `{path}`")))
        }
        Reference::PropertyFile { .. } => {
            Err(error(format!("`{text}` can be used in Std:JsonGet only")))
        }
    }
}

fn join(argument: &Value, scope: &dyn Scope) -> Result<Value, ExpressionError> {
    let on = argument.get("On").and_then(Value::as_str).unwrap_or("");
    let values = argument
        .get("Values")
        .and_then(Value::as_array)
        .ok_or_else(|| error("Std:Join has no list Values"))?;
    let parts = values
        .iter()
        .map(|value| match evaluate(value, scope)? {
            Value::String(text) => Ok(text),
            scalar @ (Value::Number(_) | Value::Bool(_)) => Ok(scalar.to_string()),
            other => Err(error(format!("Std:Join cannot join {other}"))),
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Value::String(parts.join(on)))
}

fn json_get(argument: &Value, scope: &dyn Scope) -> Result<Value, ExpressionError> {
    let path = match argument.get("Path") {
        Some(path) => evaluate(path, scope)?,
        None => return Err(error("Std:JsonGet has no Path")),
    };
    let path = path
        .as_str()
        .ok_or_else(|| error("the Path of Std:JsonGet is not text"))?;
    let (document, place) = if let Some(uri) = argument.get("S3Uri") {
        let uri = evaluate(uri, scope)?;
        let uri = uri
            .as_str()
            .ok_or_else(|| error("the S3Uri of Std:JsonGet is not text"))?;
        (scope.json_object(uri)?, uri.to_owned())
    } else {
        let text = argument
            .pointer("/PropertyFile/Get")
            .and_then(Value::as_str)
            .ok_or_else(|| error("Std:JsonGet has neither PropertyFile nor S3Uri"))?;
        let Reference::PropertyFile { step, file } = Reference::parse(text)? else {
            return Err(error(format!("`{text}` does not name a property file")));
        };
        let place = format!("property file `{file}` of step `{step}`");
        (scope.property_file(&step, &file)?, place)
    };
    Path::parse(path)?
        .find(&document)
        .cloned()
        .ok_or_else(|| error(format!("{place} has no `{path}`")))
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    pub(in super::super) struct Fixed;

    impl Scope for Fixed {
        fn parameter(&self, name: &str) -> Option<Value> {
            (name == "Max").then(|| json!(6.5))
        }
        fn execution(&self, name: &str) -> Option<Value> {
            (name == "PipelineExecutionId").then(|| json!("abc"))
        }
        fn step(&self, name: &str) -> Option<Value> {
            (name == "Prep").then(|| {
                json!({"ProcessingOutputConfig": {"Outputs": [
                    {"OutputName": "test", "S3Output": {"S3Uri": "s3://b/test"}},
                    {"OutputName": "train", "S3Output": {"S3Uri": "s3://b/train"}}]}})
            })
        }
        fn property_file(&self, _: &str, file: &str) -> Result<Value, ExpressionError> {
            if file != "Eval" {
                return Err(error("no such file"));
            }
            Ok(json!({"a.b": {"list": [{"value": 1}, {"value": 2}]}, "rmse": 5}))
        }
        fn json_object(&self, uri: &str) -> Result<Value, ExpressionError> {
            Err(error(format!("no object {uri}")))
        }
    }

    fn value(expression: &Value) -> Result<Value, String> {
        evaluate(expression, &Fixed).map_err(|error| error.0)
    }

    #[test]
    fn functions_nest() {
        let expression = json!({"Uri": {"Std:Join": {"On": "/", "Values": [
            "s3:/", {"Get": "Execution.PipelineExecutionId"}, {"Get": "Parameters.Max"}, 3, true]}}});
        assert_eq!(
            value(&expression),
            Ok(json!({"Uri": "s3://abc/6.5/3/true"}))
        );
    }

    #[test]
    fn named_lists_are_found_by_name() {
        let get = |path: &str| value(&json!({ "Get": format!("Steps.Prep.{path}") }));
        assert_eq!(
            get("ProcessingOutputConfig.Outputs['train'].S3Output.S3Uri"),
            Ok(json!("s3://b/train"))
        );
        assert_eq!(
            get("ProcessingOutputConfig.Outputs[0].S3Output.S3Uri"),
            Ok(json!("s3://b/test"))
        );
        let error = get("ProcessingOutputConfig.Outputs['x'].S3Output").unwrap_err();
        assert!(error.contains("step `Prep` has no"), "{error}");
    }

    #[test]
    fn property_files_are_read_by_path() {
        let get = |file: &str, path: &str| {
            value(&json!({"Std:JsonGet": {
                "PropertyFile": {"Get": format!("Steps.E.PropertyFiles.{file}")}, "Path": path}}))
        };
        assert_eq!(get("Eval", "['a.b'].list[1].value"), Ok(json!(2)));
        assert_eq!(get("Eval", "rmse"), Ok(json!(5)));
        assert!(get("Eval", "mae").unwrap_err().contains("has no `mae`"));
        assert!(get("Other", "mae").is_err());
    }

    #[test]
    fn invalid_paths_and_references_are_rejected() {
        for bad in ["a..b", "a.", "[x]", "a['b]", ".a", "a[0"] {
            assert!(Path::parse(bad).is_err(), "{bad}");
        }
        for bad in ["X.y", "Parameters", "Execution.Nope"] {
            assert!(Reference::parse(bad).is_err(), "{bad}");
        }
        assert!(value(&json!({"Get": "Steps.E.PropertyFiles.Eval"})).is_err());
        assert!(value(&json!({"Std:Upper": "x"})).is_err());
    }

    #[test]
    fn unrecognized_data_is_passed_through() {
        let data = json!({"Get": "Parameters.Max", "Other": 1});
        assert_eq!(value(&json!({"d": data})), Ok(json!({"d": data})));
    }
}
