//! The values that a start passes for the declared parameters.

use std::collections::BTreeMap;

use serde_json::Value;

use super::definition::{Definition, Parameter, ParameterType};
use crate::quote;

impl Parameter {
    /// The typed value of a text that a start passes; the error says what it should be.
    pub fn read(&self, text: &str) -> Result<Value, String> {
        let wrong = || {
            quote::bounded(&format!(
                "parameter `{}` is `{text}`, not a {}",
                self.name,
                self.noun()
            ))
        };
        let value = match self.kind {
            ParameterType::String => Value::String(text.to_owned()),
            ParameterType::Integer => text.parse::<i64>().map_err(|_| wrong())?.into(),
            ParameterType::Float => text
                .parse::<f64>()
                .ok()
                .and_then(serde_json::Number::from_f64)
                .ok_or_else(wrong)?
                .into(),
            ParameterType::Boolean => match text {
                "true" | "True" => Value::Bool(true),
                "false" | "False" => Value::Bool(false),
                _ => return Err(wrong()),
            },
        };
        match &self.enum_values {
            Some(allowed) if !allowed.contains(&value) => Err(format!(
                "parameter `{}` is `{text}`; it can be {}",
                self.name,
                allowed
                    .iter()
                    .map(|value| value
                        .as_str()
                        .map_or_else(|| value.to_string(), str::to_owned))
                    .collect::<Vec<_>>()
                    .join(", ")
            )),
            _ => Ok(value),
        }
    }

    /// The default of a whole number without its fraction: JSON Schema counts 5.0 as an integer.
    fn whole(&self, default: &Value) -> Value {
        match (self.kind, default.as_f64()) {
            #[expect(clippy::cast_possible_truncation, reason = "saturates beyond 2^63")]
            (ParameterType::Integer, Some(number)) if default.is_f64() => (number as i64).into(),
            _ => default.clone(),
        }
    }

    fn noun(&self) -> &'static str {
        match self.kind {
            ParameterType::String => "text",
            ParameterType::Integer => "whole number",
            ParameterType::Float => "number",
            ParameterType::Boolean => "boolean (true or false)",
        }
    }
}

/// The value of every declared parameter, from what a start passes and the defaults. The error
/// holds everything that is wrong: undeclared, missing, of another type, not allowed.
pub fn bind(
    definition: &Definition,
    given: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, Value>, Vec<String>> {
    let mut problems = Vec::new();
    for name in given.keys() {
        if definition.parameter(name).is_none() {
            let declared: Vec<&str> = definition
                .parameters
                .iter()
                .map(|parameter| parameter.name.as_str())
                .collect();
            problems.push(if declared.is_empty() {
                format!("parameter `{name}` is not declared: the pipeline declares none")
            } else {
                format!(
                    "parameter `{name}` is not declared: the pipeline declares {}",
                    declared.join(", ")
                )
            });
        }
    }
    let mut values = BTreeMap::new();
    for parameter in &definition.parameters {
        match (given.get(&parameter.name), &parameter.default_value) {
            (Some(text), _) => match parameter.read(text) {
                Ok(value) => {
                    values.insert(parameter.name.clone(), value);
                }
                Err(problem) => problems.push(problem),
            },
            (None, Some(default)) => {
                values.insert(parameter.name.clone(), parameter.whole(default));
            }
            (None, None) => problems.push(format!(
                "parameter `{}` has no default and no value was given",
                parameter.name
            )),
        }
    }
    if problems.is_empty() {
        Ok(values)
    } else {
        Err(problems)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn bound(given: &[(&str, &str)]) -> Result<BTreeMap<String, Value>, Vec<String>> {
        let definition = serde_json::from_value(json!({"Version": "2020-12-01", "Steps": [],
        "Parameters": [
            {"Name": "Uri", "Type": "String"},
            {"Name": "Count", "Type": "Integer", "DefaultValue": 1},
            {"Name": "Folds", "Type": "Integer", "DefaultValue": 5.0},
            {"Name": "Max", "Type": "Float", "DefaultValue": 6.0},
            {"Name": "Flag", "Type": "Boolean", "DefaultValue": false},
            {"Name": "Status", "Type": "String", "DefaultValue": "A", "EnumValues": ["A", "B"]}
        ]}))
        .unwrap();
        let given = given
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        bind(&definition, &given)
    }

    #[test]
    fn values_are_typed() {
        let values = bound(&[
            ("Uri", "s3://x"),
            ("Count", "3"),
            ("Max", "2"),
            ("Flag", "true"),
        ]);
        assert_eq!(
            json!(values.unwrap()),
            json!({"Uri": "s3://x", "Count": 3, "Folds": 5, "Max": 2.0, "Flag": true, "Status": "A"})
        );
    }

    #[test]
    fn everything_wrong_is_said_at_once() {
        let problems = bound(&[
            ("Count", "1.5"),
            ("Status", "C"),
            ("Nope", "1"),
            ("Max", "NaN"),
        ])
        .unwrap_err();
        assert_eq!(problems.len(), 5, "{problems:?}");
        for part in [
            "`Nope` is not declared",
            "`Uri` has no default",
            "not a whole number",
            "A, B",
        ] {
            assert!(
                problems.iter().any(|p| p.contains(part)),
                "{part}: {problems:?}"
            );
        }
    }
}
