//! A template's parameters: their types, limits and values.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::template::{Template, invalid, text_of};
use crate::api::{ApiResult, lenient};

pub(super) mod stored;

/// A parameter in a request.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Given {
    parameter_key: String,
    parameter_value: Option<String>,
    #[serde(deserialize_with = "lenient::bool")]
    use_previous_value: bool,
}

impl Given {
    /// True if the parameter keeps the stack's current value.
    pub(crate) fn keeps_previous(&self) -> bool {
        self.use_previous_value
    }

    /// A parameter with a value.
    #[cfg(test)]
    pub(crate) fn new(key: &str, value: &str) -> Self {
        Self {
            parameter_key: key.to_owned(),
            parameter_value: Some(value.to_owned()),
            use_previous_value: false,
        }
    }
}

/// The value of each parameter of the template, as text: the one in the request, the stack's current value
/// if the request keeps it, or the default.
pub(crate) fn resolve(
    template: &Template,
    given: &[Given],
    previous: Option<&BTreeMap<String, String>>,
) -> ApiResult<BTreeMap<String, String>> {
    check_declared(template)?;
    let declared = template.section("Parameters");
    let unknown: Vec<&str> = given
        .iter()
        .map(|given| given.parameter_key.as_str())
        .filter(|key| !declared.contains_key(*key))
        .collect();
    if !unknown.is_empty() {
        return Err(invalid(format!(
            "Parameters: [{}] do not exist in the template",
            unknown.join(", ")
        )));
    }
    for (index, one) in given.iter().enumerate() {
        let key = &one.parameter_key;
        if given[..index]
            .iter()
            .any(|other| other.parameter_key == *key)
        {
            // The wording is unverified against AWS [cfn-duplicate-parameter]. Dropping one of the
            // two values would be worse.
            return Err(invalid(format!("Duplicate parameter key {key}")));
        }
        let value = one.parameter_value.as_deref().unwrap_or_default();
        if one.use_previous_value && !value.is_empty() {
            return Err(invalid(format!(
                "Invalid input for parameter key {key}. Cannot specify usePreviousValue as true and non empty value for a parameter"
            )));
        }
    }
    let mut values = BTreeMap::new();
    let mut missing = Vec::new();
    for (name, declaration) in declared {
        let kind = type_of(declaration)?;
        let given = given.iter().find(|given| given.parameter_key == *name);
        let value = match given {
            Some(given) if given.use_previous_value => Some(
                previous
                    .and_then(|previous| previous.get(name))
                    .cloned()
                    .ok_or_else(|| {
                        invalid(format!(
                            "Invalid input for parameter key {name}. Cannot specify usePreviousValue as true for a parameter key not in the previous template"
                        ))
                    })?,
            ),
            Some(given) => given.parameter_value.clone(),
            None => None,
        };
        let value = value.or_else(|| declaration.get("Default").map(text_of));
        match value {
            Some(value) => {
                check(name, kind, declaration, &value)?;
                values.insert(name.clone(), value);
            }
            None => missing.push(name.as_str()),
        }
    }
    if !missing.is_empty() {
        return Err(invalid(format!(
            "Parameters: [{}] must have values",
            missing.join(", ")
        )));
    }
    Ok(values)
}

/// The members of a parameter's declaration (user guide, "Parameters": properties).
const PROPERTIES: &[&str] = &[
    "AllowedPattern",
    "AllowedValues",
    "ConstraintDescription",
    "Default",
    "Description",
    "MaxLength",
    "MaxValue",
    "MinLength",
    "MinValue",
    "NoEcho",
    "Type",
];

/// Refuses declarations that are invalid for every value: unknown properties, a missing or unknown type, and
/// a default outside the parameter's own limits (the user guide requires it to be within them).
pub(crate) fn check_declared(template: &Template) -> ApiResult<()> {
    let format = |message: &str| invalid(format!("Template format error: {message}"));
    for (name, declaration) in template.section("Parameters") {
        let kind = type_of(declaration)?;
        check_type(kind)?;
        let properties = declaration.as_object().into_iter().flatten();
        for (property, value) in properties {
            let is_scalar = !value.is_array() && !value.is_object();
            match property.as_str() {
                "AllowedValues" if !value.is_array() => {
                    return Err(format("Every AllowedValues member must be a list."));
                }
                "AllowedValues" => {}
                known if !PROPERTIES.contains(&known) => {
                    return Err(invalid(format!(
                        "Invalid template parameter property '{known}'"
                    )));
                }
                "Description" | "ConstraintDescription" if value.is_string() => {}
                known if !is_scalar || matches!(known, "Description" | "ConstraintDescription") => {
                    return Err(format(&format!("Every {known} member must be a string.")));
                }
                "MaxLength" | "MaxValue" | "MinLength" | "MinValue"
                    if number(&text_of(value)).is_none() =>
                {
                    return Err(format(&format!(
                        "Every {property} member must be a number."
                    )));
                }
                _ => {}
            }
        }
        if let Some(default) = declaration.get("Default") {
            check(name, kind, declaration, &text_of(default))?;
        }
    }
    Ok(())
}

fn type_of(declaration: &Value) -> ApiResult<&str> {
    declaration
        .get("Type")
        .and_then(Value::as_str)
        .ok_or_else(|| {
            invalid("Template format error: Every Parameters object must contain a Type member.")
        })
}

/// A finite number in decimal notation. Rust also parses `inf` and `NaN`, which are not numbers in a
/// template.
fn number(text: &str) -> Option<f64> {
    let decimal = |b: u8| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E');
    text.bytes()
        .all(decimal)
        .then(|| text.parse().ok())
        .flatten()
        .filter(|number: &f64| number.is_finite())
}

fn check_type(kind: &str) -> ApiResult<()> {
    let known = |kind: &str| {
        matches!(kind, "String" | "Number")
            || (kind.starts_with("AWS::")
                && ["::Id", "::GroupName", "::KeyName", "::Name"]
                    .iter()
                    .any(|end| kind.ends_with(end)))
    };
    let value = stored::value_type(kind).unwrap_or(kind);
    let inner = value
        .strip_prefix("List<")
        .and_then(|rest| rest.strip_suffix('>'));
    let is_number = value != kind && inner.unwrap_or(value) == "Number";
    if value == "CommaDelimitedList" || (known(inner.unwrap_or(value)) && !is_number) {
        return Ok(());
    }
    Err(invalid(format!(
        "Template format error: Unrecognized parameter type: {kind}"
    )))
}

fn is_list(kind: &str) -> bool {
    kind == "CommaDelimitedList" || kind.starts_with("List<")
}

fn check(name: &str, kind: &str, declaration: &Value, value: &str) -> ApiResult<()> {
    let says = |otherwise: String| {
        let constraint = declaration
            .get("ConstraintDescription")
            .and_then(Value::as_str);
        invalid(match constraint {
            Some(text) => format!("Parameter '{name}' failed to satisfy constraint: {text}"),
            None => format!("Parameter '{name}' {otherwise}"),
        })
    };
    let limit = |key: &str| {
        declaration
            .get(key)
            .map(text_of)
            .and_then(|text| number(&text))
    };
    let members: Vec<&str> = if is_list(kind) {
        value.split(',').map(str::trim).collect()
    } else {
        vec![value]
    };
    for member in &members {
        if let Some(Value::Array(allowed)) = declaration.get("AllowedValues")
            && !allowed.iter().any(|allowed| text_of(allowed) == *member)
        {
            return Err(says("must be one of AllowedValues".to_owned()));
        }
        if kind.contains("Number") {
            let number = number(member).ok_or_else(|| says("must be a number.".to_owned()))?;
            if let Some(least) = limit("MinValue").filter(|least| number < *least) {
                return Err(says(format!("must be a number not less than {least}")));
            }
            if let Some(most) = limit("MaxValue").filter(|most| number > *most) {
                return Err(says(format!("must be a number not greater than {most}")));
            }
        }
    }
    if kind != "Number" {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a parameter is at most 4096 bytes"
        )]
        let length = value.chars().count() as f64;
        if let Some(least) = limit("MinLength").filter(|least| length < *least) {
            return Err(says(format!("must contain at least {least} characters")));
        }
        if let Some(most) = limit("MaxLength").filter(|most| length > *most) {
            return Err(says(format!("must contain at most {most} characters")));
        }
    }
    if value.len() > 4096 {
        return Err(invalid(format!(
            "Parameter '{name}' must contain at most 4096 characters"
        )));
    }
    if let Some(pattern) = declaration.get("AllowedPattern").and_then(Value::as_str) {
        let whole = regex::Regex::new(&format!("^(?:{pattern})$")).map_err(|error| {
            invalid(format!(
                "the local cloud cannot read the AllowedPattern of {name}: {error}"
            ))
        })?;
        if !members.iter().all(|member| whole.is_match(member)) {
            return Err(says(format!("must match pattern {pattern}")));
        }
    }
    Ok(())
}

/// The values as expressions see them: a list parameter is an array, and the name of a parameter of
/// Systems Manager is replaced by the value that was found for it.
pub(crate) fn values(
    template: &Template,
    texts: &BTreeMap<String, String>,
    resolved: &BTreeMap<String, String>,
) -> BTreeMap<String, Value> {
    texts
        .iter()
        .map(|(name, text)| {
            let kind = declared_type(template, name);
            let kind = stored::value_type(kind).unwrap_or(kind);
            let text = resolved.get(name).unwrap_or(text);
            let value = if is_list(kind) {
                text.split(',')
                    .map(|part| Value::from(part.trim()))
                    .collect()
            } else {
                Value::from(text.as_str())
            };
            (name.clone(), value)
        })
        .collect()
}

/// The type of a parameter; empty if it is not declared.
fn declared_type<'a>(template: &'a Template, name: &str) -> &'a str {
    template
        .member("Parameters", name)
        .and_then(|declaration| declaration.get("Type")?.as_str())
        .unwrap_or_default()
}

fn hides(declaration: &Value) -> bool {
    matches!(
        declaration.get("NoEcho").map(text_of).as_deref(),
        Some("true" | "True")
    )
}

/// The parameters as `DescribeStacks` returns them; a `NoEcho` value is masked.
pub(crate) fn described(
    template: &Template,
    texts: &BTreeMap<String, String>,
    resolved: &BTreeMap<String, String>,
) -> Value {
    template
        .section("Parameters")
        .iter()
        .filter_map(|(name, declaration)| {
            let shown = |text| if hides(declaration) { "****" } else { text };
            let mut parameter =
                json!({"ParameterKey": name, "ParameterValue": shown(texts.get(name)?)});
            if let Some(value) = resolved.get(name) {
                parameter["ResolvedValue"] = shown(value).into();
            }
            Some(parameter)
        })
        .collect()
}

/// The parameters as `GetTemplateSummary` (with `constraints`) and `ValidateTemplate` declare them.
pub(crate) fn declared(template: &Template, constraints: bool) -> Value {
    template
        .section("Parameters")
        .iter()
        .map(|(name, declaration)| {
            let mut shown = json!({
                "ParameterKey": name,
                "DefaultValue": declaration.get("Default").map(text_of),
                "NoEcho": hides(declaration),
                "Description": declaration.get("Description"),
            });
            if constraints {
                shown["ParameterType"] = declaration.get("Type").cloned().unwrap_or_default();
                shown["ParameterConstraints"] = json!({
                    "AllowedValues": declaration
                        .get("AllowedValues")
                        .and_then(Value::as_array)
                        .map(|values| values.iter().map(text_of).collect::<Vec<_>>()),
                });
            }
            shown
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: &str = "Parameters:\n  \
        Name: {Type: String, AllowedPattern: '[a-z]+', MinLength: 2, MaxLength: 5}\n  \
        Size: {Type: Number, Default: 3, MinValue: 1, MaxValue: 9}\n  \
        Env: {Type: String, Default: dev, AllowedValues: [dev, prod]}\n  \
        Zones: {Type: CommaDelimitedList, Default: 'a, b'}\n  \
        Ports: {Type: List<Number>, Default: '80,443'}\n  \
        Vpc: {Type: 'AWS::EC2::VPC::Id', Default: vpc-1}\n  \
        Secret: {Type: String, Default: s3cret, NoEcho: true}\n\
        Resources: {R: {Type: T}}";

    #[test]
    fn values_come_from_the_request_the_stack_or_the_defaults() {
        let template = Template::parse(TEMPLATE).unwrap();
        let texts = resolve(&template, &[Given::new("Name", "abc")], None).unwrap();
        let seen = values(&template, &texts, &BTreeMap::new());
        assert_eq!(seen["Zones"], json!(["a", "b"]));
        assert_eq!(seen["Ports"], json!(["80", "443"]));
        assert_eq!(seen["Size"], json!("3"));
        let shown = described(&template, &texts, &BTreeMap::new());
        assert_eq!(
            shown[6],
            json!({"ParameterKey": "Secret", "ParameterValue": "****"})
        );
        let again = Given {
            parameter_key: "Name".to_owned(),
            use_previous_value: true,
            ..Given::default()
        };
        assert_eq!(
            resolve(&template, std::slice::from_ref(&again), Some(&texts)).unwrap()["Name"],
            "abc"
        );
        assert!(resolve(&template, std::slice::from_ref(&again), None).is_err());
        // Issue 8, 3.6.
        let both = Given {
            parameter_value: Some("xyz".to_owned()),
            ..again.clone()
        };
        let error = resolve(&template, &[both], Some(&texts)).unwrap_err();
        assert_eq!(
            error.message,
            "Invalid input for parameter key Name. Cannot specify usePreviousValue as true and non empty value for a parameter"
        );
        // Some clients of the query protocol also send an empty value.
        let empty = Given {
            parameter_value: Some(String::new()),
            ..again.clone()
        };
        assert!(resolve(&template, &[empty], Some(&texts)).is_ok());
        let twice = [again, Given::new("Name", "xyz")];
        let error = resolve(&template, &twice, Some(&texts)).unwrap_err();
        assert!(error.message.contains("Duplicate parameter key Name"));
    }

    #[test]
    fn values_outside_the_limits_are_refused() {
        let template = Template::parse(TEMPLATE).unwrap();
        for (key, value, part) in [
            ("Name", "abcdef", "at most 5 characters"),
            ("Name", "a", "at least 2 characters"),
            ("Name", "ab1", "must match pattern [a-z]+"),
            ("Size", "x", "must be a number"),
            ("Size", "0", "not less than 1"),
            ("Size", "10", "not greater than 9"),
            ("Env", "test", "must be one of AllowedValues"),
            ("Ports", "80,x", "must be a number"),
            (
                "Nope",
                "x",
                "Parameters: [Nope] do not exist in the template",
            ),
        ] {
            let mut given = vec![Given::new(key, value)];
            if key != "Name" {
                given.push(Given::new("Name", "abc"));
            }
            let error = resolve(&template, &given, None).unwrap_err();
            assert!(
                error.message.contains(part),
                "{key}={value}: {}",
                error.message
            );
        }
        for value in ["inf", "NaN", "1e999", "0x10", ""] {
            let given = [Given::new("Name", "abc"), Given::new("Size", value)];
            let error = resolve(&template, &given, None).unwrap_err();
            assert!(error.message.contains("must be a number"), "{value}");
        }
        let error = resolve(&template, &[], None).unwrap_err();
        assert_eq!(error.message, "Parameters: [Name] must have values");
    }

    #[test]
    fn parameter_declarations_are_validated_without_values() {
        let checked = |declaration: &str| {
            let text = format!("Parameters: {{P: {declaration}}}\nResources: {{R: {{Type: T}}}}");
            check_declared(&Template::parse(&text).unwrap()).map_err(|error| error.message)
        };
        for (declaration, part) in [
            (
                "{Default: a}",
                "Every Parameters object must contain a Type member.",
            ),
            (
                "text",
                "Every Parameters object must contain a Type member.",
            ),
            (
                "{Type: [String]}",
                "Every Parameters object must contain a Type member.",
            ),
            ("{Type: Strin}", "Unrecognized parameter type: Strin"),
            (
                "{Type: 'AWS::SSM::Parameter::Value<Number>'}",
                "Unrecognized parameter type: AWS::SSM::Parameter::Value<Number>",
            ),
            (
                "{Type: List<Nope>}",
                "Unrecognized parameter type: List<Nope>",
            ),
            (
                "{Type: String, DefaultValue: a}",
                "Invalid template parameter property 'DefaultValue'",
            ),
            (
                "{Type: String, Default: [a]}",
                "Every Default member must be a string.",
            ),
            (
                "{Type: String, AllowedValues: a}",
                "Every AllowedValues member must be a list.",
            ),
            (
                "{Type: String, MinLength: a}",
                "Every MinLength member must be a number.",
            ),
            ("{Type: Number, Default: a}", "must be a number"),
            ("{Type: Number, Default: 1e999}", "must be a number"),
            (
                "{Type: Number, Default: 9, MaxValue: 8}",
                "not greater than 8",
            ),
            (
                "{Type: String, Default: c, AllowedValues: [a, b]}",
                "one of AllowedValues",
            ),
        ] {
            let error = checked(declaration).unwrap_err();
            assert!(error.contains(part), "{declaration}: {error}");
        }
        for declaration in [
            "{Type: String}",
            "{Type: String, Default: ''}",
            "{Type: Number, Default: 99999999999999999999, Description: d, NoEcho: true}",
            "{Type: 'List<AWS::EC2::Subnet::Id>', Default: 'a, b'}",
            "{Type: Number, Default: '-1.5e3', MinValue: '-2000', MaxValue: 0}",
            "{Type: 'AWS::SSM::Parameter::Value<String>', Default: /a/b}",
            "{Type: 'AWS::SSM::Parameter::Value<List<AWS::EC2::Subnet::Id>>', Default: /a/b}",
            "{Type: 'AWS::SSM::Parameter::Name', Default: /a/b}",
        ] {
            assert_eq!(checked(declaration), Ok(()), "{declaration}");
        }
    }
}
