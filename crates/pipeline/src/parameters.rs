//! The parameter values of a run.

use std::collections::BTreeMap;

use mlops_core::quote;
use serde_json::Value;

use super::definition::{Definition, Parameter, ParameterType};

impl Parameter {
    /// Parses the text of a parameter. The error names the expected type.
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
                "parameter `{}` is `{text}`; it must be one of {}",
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

    /// Normalizes an integer's default: 5.0 becomes 5.
    fn whole(&self, default: &Value) -> Value {
        match (self.kind, whole(default)) {
            (ParameterType::Integer, Some(number)) => number.into(),
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

/// Parses a 64-bit integer; JSON Schema accepts 5.0 as one.
pub(super) fn whole(value: &Value) -> Option<i64> {
    /// 2^63, the first number that is too large.
    const END: f64 = 9_223_372_036_854_775_808.0;

    match (value.as_i64(), value.as_f64()) {
        (Some(whole), _) => Some(whole),
        #[expect(clippy::cast_possible_truncation, reason = "is within the range")]
        (None, Some(number))
            if value.is_f64() && number.fract() == 0.0 && (-END..END).contains(&number) =>
        {
            Some(number as i64)
        }
        _ => None,
    }
}

/// Computes the value of every declared parameter from the passed values and the defaults. The
/// error lists every problem: values that are undeclared, missing, of a wrong type or not allowed.
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
    fn all_problems_are_reported_together() {
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

    #[test]
    fn an_integer_fits_in_64_bits() {
        let problems = |number: &str| {
            let text = format!(
                r#"{{"Version": "2020-12-01", "Steps": [], "Parameters": [{{"Name": "P", "Type": "Integer",
                    "DefaultValue": {number}, "EnumValues": [{number}]}}]}}"#
            );
            Definition::checked(&text)
                .err()
                .into_iter()
                .flatten()
                .map(|problem| problem.to_string())
                .collect::<Vec<_>>()
        };
        let limits = [i64::MAX.to_string(), i64::MIN.to_string()];
        for fits in limits
            .iter()
            .map(String::as_str)
            .chain(["0", "-0.0", "5.0", "1e18"])
        {
            assert_eq!(problems(fits), Vec::<String>::new(), "{fits}");
        }
        for wrong in [
            "99999999999999999999",
            "9223372036854775808",
            "-1e19",
            "1e300",
        ] {
            let problems = problems(wrong);
            assert_eq!(problems.len(), 2, "{wrong}: {problems:?}");
            assert!(
                problems[0].starts_with("$.Parameters[0].DefaultValue: ")
                    && problems[0].ends_with(" does not fit in an Integer of 64 bits"),
                "{problems:?}"
            );
        }
        assert!(problems("1.5")[0].ends_with("1.5 is not an Integer"));
    }
}
