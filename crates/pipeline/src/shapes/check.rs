//! Compares a value with a shape.

use serde_json::{Map, Value};

use super::{Limits, Shape, Table};

/// How a request encodes numbers and booleans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scalars {
    /// As JSON numbers and booleans.
    Json,
    /// As text, because forms have no other types; empty text can also represent an empty list or
    /// structure.
    Text,
}

/// A mismatch at one location of a value.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// The location: `AppSpecification.ContainerArguments[1]`.
    pub path: String,
    /// The kind of mismatch.
    pub fault: Fault,
}

/// The kind of a mismatch.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// The structure has no such member.
    Unknown {
        /// The member.
        member: String,
        /// The members that the structure has.
        known: Vec<&'static str>,
    },
    /// The value has another JSON type.
    Type {
        /// The expected type: `String`, `Integer`, `List`, …
        wanted: &'static str,
        /// The type of the value: `NUMBER`, `STRING`, `OBJECT`, …
        found: &'static str,
    },
    /// The value violates a limit, in the words of AWS's messages ("Member must …").
    Limit {
        /// The value as AWS's messages print it.
        value: String,
        /// The constraint.
        constraint: String,
    },
    /// A function call whose value cannot be used here; contains the complete message.
    Call(String),
}

/// Checks an object in place of a scalar of type `wanted`: returns `None` if it is not a function
/// call, otherwise whether its value can be used.
pub type Calls<'a> = dyn Fn(&Map<String, Value>, &'static str) -> Option<Result<(), String>> + 'a;

/// A comparison of values with a table's shapes.
pub struct Check<'a> {
    /// The shapes.
    pub table: &'a Table,
    /// How the value encodes numbers and booleans.
    pub scalars: Scalars,
    /// Whether to check required members, lengths, ranges, patterns and enumerations, too.
    pub limits: bool,
    /// Accepts expressions of a pipeline definition in place of scalars.
    pub calls: Option<&'a Calls<'a>>,
}

impl Check<'_> {
    /// Returns every mismatch between `value` and the shape of this name.
    pub fn run(&self, shape: &str, value: &Value) -> Vec<Finding> {
        let mut found = Vec::new();
        self.value(shape, value, self.scalars, "", &mut found);
        found
    }

    fn value(
        &self,
        name: &str,
        value: &Value,
        scalars: Scalars,
        path: &str,
        found: &mut Vec<Finding>,
    ) {
        let Some(shape) = self.table.shape(name) else {
            return;
        };
        let text = scalars == Scalars::Text;
        let empty = text && value == "";
        match (shape, value) {
            (Shape::Structure(_), Value::Object(members)) => {
                self.structure(name, members, path, found);
            }
            (Shape::List { item, limits }, Value::Array(items)) => {
                self.length(*limits, items.len(), value, path, found);
                for (index, inner) in items.iter().enumerate() {
                    self.value(item, inner, scalars, &format!("{path}[{index}]"), found);
                }
            }
            (
                Shape::Map {
                    key,
                    value: inner,
                    limits,
                },
                Value::Object(members),
            ) => {
                self.length(*limits, members.len(), value, path, found);
                for (name, value) in members {
                    let path = join(path, name);
                    self.value(key, &Value::String(name.clone()), scalars, &path, found);
                    self.value(inner, value, scalars, &path, found);
                }
            }
            (Shape::Structure(_) | Shape::List { .. } | Shape::Map { .. }, _) if empty => {}
            // A form cannot distinguish a map from a list of entries; the handler accepts either.
            (Shape::Map { .. }, Value::Array(_)) if text => {}
            (Shape::Structure(_) | Shape::List { .. } | Shape::Map { .. }, _) => {
                push(found, path, mismatch(shape, value));
            }
            (_, value) => match self.call(shape, value) {
                Some(Ok(())) => {}
                Some(Err(message)) => push(found, path, Fault::Call(message)),
                None => self.scalar(shape, value, text, path, found),
            },
        }
    }

    /// The function call in place of a scalar, if any.
    fn call(&self, shape: &Shape, value: &Value) -> Option<Result<(), String>> {
        (self.calls?)(value.as_object()?, shape.type_name())
    }

    fn structure(
        &self,
        name: &str,
        given: &Map<String, Value>,
        path: &str,
        found: &mut Vec<Finding>,
    ) {
        let members = self.table.members(name);
        for (name, value) in given {
            let Some(member) = members.iter().find(|member| member.name == name) else {
                let fault = Fault::Unknown {
                    member: name.clone(),
                    known: members.iter().map(|member| member.name).collect(),
                };
                push(found, path, fault);
                continue;
            };
            if value.is_null() && self.calls.is_none() {
                continue;
            }
            let scalars = if member.as_text {
                Scalars::Text
            } else {
                self.scalars
            };
            self.value(member.shape, value, scalars, &join(path, name), found);
        }
        if self.limits {
            for member in members.iter().filter(|member| member.required) {
                if given.get(member.name).is_none_or(Value::is_null) {
                    let fault = Fault::Limit {
                        value: "null".to_owned(),
                        constraint: "Member must not be null".to_owned(),
                    };
                    push(found, &join(path, member.name), fault);
                }
            }
        }
    }

    fn scalar(
        &self,
        shape: &Shape,
        value: &Value,
        text: bool,
        path: &str,
        found: &mut Vec<Finding>,
    ) {
        let fits = match (shape, value) {
            (Shape::Text { .. } | Shape::Choice(_) | Shape::Bytes, value) => value.is_string(),
            (Shape::Whole(_), Value::String(digits)) => text && digits.parse::<i64>().is_ok(),
            (Shape::Whole(_), value) => {
                value.is_i64()
                    || value.is_u64()
                    // JSON Schema's integers are numbers without a fraction, such as 5.0.
                    || self.calls.is_some()
                        && value.as_f64().is_some_and(|number| number.fract() == 0.0)
            }
            (Shape::Number(_), Value::String(digits)) => text && digits.parse::<f64>().is_ok(),
            (Shape::Number(_), value) => value.is_number(),
            (Shape::Boolean, Value::String(word)) => {
                text && (word.eq_ignore_ascii_case("true") || word.eq_ignore_ascii_case("false"))
            }
            (Shape::Boolean, value) => value.is_boolean(),
            (Shape::Time, value) => value.is_number() || text && value.is_string(),
            _ => true,
        };
        if !fits {
            push(found, path, mismatch(shape, value));
        } else if self.limits {
            self.scalar_limits(shape, value, path, found);
        }
    }

    fn scalar_limits(&self, shape: &Shape, value: &Value, path: &str, found: &mut Vec<Finding>) {
        match (shape, value) {
            (Shape::Text { limits, pattern }, Value::String(text)) => {
                self.length(*limits, text.chars().count(), value, path, found);
                if let Some(pattern) = pattern
                    && !pattern.matches(text)
                {
                    let constraint = format!(
                        "Member must satisfy regular expression pattern: {}",
                        pattern.source
                    );
                    push(found, path, limit(value, constraint));
                }
            }
            (Shape::Choice(words), Value::String(text)) if !words.contains(&text.as_str()) => {
                let constraint =
                    format!("Member must satisfy enum value set: [{}]", words.join(", "));
                push(found, path, limit(value, constraint));
            }
            (Shape::Whole(limits) | Shape::Number(limits), value) => {
                let number = value
                    .as_f64()
                    .or_else(|| value.as_str().and_then(|text| text.parse().ok()));
                let Some(number) = number else { return };
                if limits.min.is_some_and(|min| number < min) {
                    let constraint = format!(
                        "Member must have value greater than or equal to {}",
                        shown(limits.min)
                    );
                    push(found, path, limit(value, constraint));
                }
                if limits.max.is_some_and(|max| number > max) {
                    let constraint = format!(
                        "Member must have value less than or equal to {}",
                        shown(limits.max)
                    );
                    push(found, path, limit(value, constraint));
                }
            }
            _ => {}
        }
    }

    fn length(
        &self,
        limits: Limits,
        length: usize,
        value: &Value,
        path: &str,
        found: &mut Vec<Finding>,
    ) {
        if !self.limits {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "lengths are far below 2^53")]
        let length = length as f64;
        if limits.min.is_some_and(|min| length < min) {
            let constraint = format!(
                "Member must have length greater than or equal to {}",
                shown(limits.min)
            );
            push(found, path, limit(value, constraint));
        }
        if limits.max.is_some_and(|max| length > max) {
            let constraint = format!(
                "Member must have length less than or equal to {}",
                shown(limits.max)
            );
            push(found, path, limit(value, constraint));
        }
    }
}

impl Shape {
    /// The type's name in AWS's messages.
    fn type_name(&self) -> &'static str {
        match self {
            Self::Structure(_) => "Structure",
            Self::List { .. } => "List",
            Self::Map { .. } => "Map",
            Self::Text { .. } | Self::Choice(_) => "String",
            Self::Whole(_) => "Integer",
            Self::Number(_) => "Float",
            Self::Boolean => "Boolean",
            Self::Time => "Timestamp",
            Self::Bytes => "Blob",
        }
    }
}

/// Maximum length of a value in a message, in characters.
const SHOWN: usize = 200;

fn limit(value: &Value, constraint: String) -> Fault {
    let text = value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned);
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    Fault::Limit {
        value: shown,
        constraint,
    }
}

fn shown(limit: Option<f64>) -> String {
    limit.unwrap_or_default().to_string()
}

fn mismatch(shape: &Shape, value: &Value) -> Fault {
    Fault::Type {
        wanted: shape.type_name(),
        found: match value {
            Value::Null => "NULL",
            Value::Bool(_) => "BOOLEAN",
            Value::Number(_) => "NUMBER",
            Value::String(_) => "STRING",
            Value::Array(_) => "LIST",
            Value::Object(_) => "OBJECT",
        },
    }
}

fn push(found: &mut Vec<Finding>, path: &str, fault: Fault) {
    found.push(Finding {
        path: path.to_owned(),
        fault,
    });
}

fn join(path: &str, member: &str) -> String {
    if path.is_empty() {
        member.to_owned()
    } else {
        format!("{path}.{member}")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(operation: &str, value: &Value) -> Vec<(String, Fault)> {
        let table = Table::of("sagemaker").unwrap();
        let check = Check {
            table,
            scalars: Scalars::Json,
            limits: true,
            calls: None,
        };
        check
            .run(table.input(operation).unwrap(), value)
            .into_iter()
            .map(|finding| (finding.path, finding.fault))
            .collect()
    }

    fn processing() -> Value {
        json!({
            "ProcessingJobName": "p",
            "ProcessingResources": {"ClusterConfig": {
                "InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1}},
            "AppSpecification": {"ImageUri": "i", "ContainerArguments": ["--splits", "5"]},
            "RoleArn": "arn:aws:iam::000000000000:role/r",
            "StoppingCondition": null,
            "Environment": {"A": "b"},
        })
    }

    #[test]
    fn a_valid_request_has_no_findings() {
        assert_eq!(found("CreateProcessingJob", &processing()), []);
    }

    /// Issue 8, 4.1: values that are not text where text is required are found at any depth.
    #[test]
    fn issue_8_4_1_values_of_the_wrong_type_are_found_in_lists_maps_and_structures() {
        for (pointer, value, path, wanted, kind) in [
            (
                "/AppSpecification/ContainerArguments/1",
                json!(5),
                "AppSpecification.ContainerArguments[1]",
                "String",
                "NUMBER",
            ),
            (
                "/AppSpecification/ContainerArguments/1",
                json!(null),
                "AppSpecification.ContainerArguments[1]",
                "String",
                "NULL",
            ),
            (
                "/Environment/A",
                json!(true),
                "Environment.A",
                "String",
                "BOOLEAN",
            ),
            ("/Environment", json!([]), "Environment", "Map", "LIST"),
            (
                "/AppSpecification/ContainerArguments",
                json!("--splits"),
                "AppSpecification.ContainerArguments",
                "List",
                "STRING",
            ),
            (
                "/AppSpecification",
                json!("x"),
                "AppSpecification",
                "Structure",
                "STRING",
            ),
            (
                "/ProcessingResources/ClusterConfig/InstanceCount",
                json!("1"),
                "ProcessingResources.ClusterConfig.InstanceCount",
                "Integer",
                "STRING",
            ),
            (
                "/ProcessingResources/ClusterConfig/InstanceCount",
                json!(1.5),
                "ProcessingResources.ClusterConfig.InstanceCount",
                "Integer",
                "NUMBER",
            ),
        ] {
            let mut request = processing();
            *request.pointer_mut(pointer).unwrap() = value;
            assert_eq!(
                found("CreateProcessingJob", &request),
                [(
                    path.to_owned(),
                    Fault::Type {
                        wanted,
                        found: kind
                    }
                )]
            );
        }
    }

    #[test]
    fn unknown_members_and_broken_limits_are_found() {
        let mut request = processing();
        request["AppSpecification"]["ContainerArgument"] = json!(["x"]);
        let faults = found("CreateProcessingJob", &request);
        assert!(
            matches!(&faults[..], [(path, Fault::Unknown { member, known })]
                if path == "AppSpecification" && member == "ContainerArgument"
                    && known.contains(&"ContainerArguments")),
            "{faults:?}"
        );
        for (pointer, value, expected) in [
            (
                "/ProcessingJobName",
                json!("-a"),
                "regular expression pattern",
            ),
            ("/RoleArn", json!(null), "must not be null"),
            (
                "/ProcessingResources/ClusterConfig/InstanceCount",
                json!(0),
                "greater than or equal to 1",
            ),
            (
                "/AppSpecification/ContainerArguments",
                json!([]),
                "length greater",
            ),
        ] {
            let mut request = processing();
            *request.pointer_mut(pointer).unwrap() = value;
            let faults = found("CreateProcessingJob", &request);
            assert!(
                matches!(&faults[..], [(_, Fault::Limit { constraint, .. })]
                    if constraint.contains(expected)),
                "{pointer}: {faults:?}"
            );
        }
    }

    #[test]
    fn forms_write_everything_as_text() {
        let table = Table::of("ec2").unwrap();
        let check = Check {
            table,
            scalars: Scalars::Text,
            limits: false,
            calls: None,
        };
        let input = table.input("DescribeVpcs").unwrap();
        let sound = json!({"MaxResults": "5", "DryRun": "false", "VpcId": "",
            "Filter": [{"Name": "vpc-id", "Value": ["v"]}]});
        assert_eq!(check.run(input, &sound), []);
        let wrong = json!({"MaxResults": "five", "Filters": []});
        assert_eq!(check.run(input, &wrong).len(), 2);
    }
}
