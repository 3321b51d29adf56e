//! Errors in a template's functions and conditions that do not depend on its parameters. Evaluation finds
//! the same errors; this check also covers branches that are not selected, and `ValidateTemplate`, which has
//! no values.

use std::collections::BTreeMap;

use serde_json::Value;

use super::intrinsics::{brief, condition_names, count, function};
use super::template::{Template, invalid};
use crate::api::{ApiError, ApiResult};

/// Refuses unknown functions, wrong numbers of arguments, missing mappings, and conditions that are not
/// declared or depend on themselves.
pub(super) fn check(template: &Template) -> ApiResult<()> {
    conditions(template)?;
    for (section, members) in [
        ("Resources", &["Properties"][..]),
        ("Outputs", &["Value", "Export"]),
    ] {
        for (name, member) in template.section(section) {
            let export = member.get("Export").and_then(|export| export.get("Name"));
            if section == "Outputs" && (is_list(member.get("Value")) || is_list(export)) {
                return Err(malformed(name));
            }
            if !matches!(member.get("Condition"), None | Some(Value::String(_))) {
                return Err(invalid("Template format error: Condition must be a string"));
            }
            for value in members.iter().filter_map(|name| member.get(*name)) {
                values(template, value)?;
            }
        }
    }
    Ok(())
}

/// The error for an output, or an export name, that is not text.
pub(super) fn malformed(output: &str) -> ApiError {
    invalid(format!(
        "Template format error: Output {output} is malformed. The Value field of every Outputs member must evaluate to a String."
    ))
}

/// True for a list or a map, including the result of a function.
fn is_list(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Array(_)) => true,
        Some(value @ Value::Object(_)) => match function(value) {
            Some((name, _)) => matches!(name, "Fn::Cidr" | "Fn::GetAZs" | "Fn::Split"),
            None => true,
        },
        _ => false,
    }
}

/// Checks every function call in a value.
fn values(template: &Template, value: &Value) -> ApiResult<()> {
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| values(template, item)),
        Value::Object(members) => match function(value) {
            Some((name, argument)) => {
                call(template, name, argument)?;
                values(template, argument)
            }
            None => members.iter().try_for_each(|(key, member)| {
                if key.starts_with("Fn::") {
                    return Err(invalid(format!(
                        "Template format error: {key} must be the only key of its object"
                    )));
                }
                values(template, member)
            }),
        },
        _ => Ok(()),
    }
}

/// Checks the number of a function's arguments, and those that cannot be functions themselves.
fn call(template: &Template, name: &str, argument: &Value) -> ApiResult<()> {
    let parts = argument.as_array().map(Vec::as_slice);
    let fits = match name {
        "Ref" | "Condition" => argument.is_string(),
        "Fn::GetAtt" => match (argument, parts) {
            (Value::String(text), _) => text.contains('.'),
            (_, Some([Value::String(_), _])) => true,
            _ => false,
        },
        "Fn::Sub" => {
            argument.is_string()
                || matches!(
                    parts,
                    Some([Value::String(_)] | [Value::String(_), Value::Object(_)])
                )
        }
        "Fn::Join" | "Fn::Select" | "Fn::Split" => matches!(parts, Some([_, _])),
        "Fn::If" => matches!(parts, Some([Value::String(_), _, _])),
        "Fn::FindInMap" => match parts {
            Some([map, top, second]) => return mapping(template, [map, top, second]),
            Some([_, _, _, options]) => options.get("DefaultValue").is_some(),
            _ => false,
        },
        "Fn::Cidr" => matches!(parts, Some([_, _] | [_, _, _])),
        "Fn::Base64" | "Fn::GetAZs" | "Fn::ImportValue" => !argument.is_array(),
        "Fn::Equals" | "Fn::And" | "Fn::Or" | "Fn::Not" => {
            return Err(invalid(format!(
                "Template error: {name} is allowed in Conditions only"
            )));
        }
        _ => {
            return Err(invalid(format!(
                "Template format error: the function {name} is not known to the local cloud"
            )));
        }
    };
    if fits { Ok(()) } else { Err(count(name)) }
}

/// Refuses a lookup that fails for every value of the parameters: in a missing map, or with literal keys
/// that the map lacks.
fn mapping(template: &Template, keys: [&Value; 3]) -> ApiResult<()> {
    let [map, top, second] = keys.map(Value::as_str);
    let Some(map) = map else {
        if template.section("Mappings").is_empty() {
            return Err(absent(keys[0]));
        }
        return Ok(());
    };
    let Some(found) = template.member("Mappings", map) else {
        return Err(absent(keys[0]));
    };
    let Some(top) = top else {
        return Ok(());
    };
    let there = match (found.get(top), second) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(found), Some(second)) => found.get(second).is_some(),
    };
    if there {
        return Ok(());
    }
    let second = second.map_or_else(|| keys[2].to_string(), str::to_owned);
    Err(invalid(format!(
        "Template error: Unable to get mapping for {map}::{top}::{second}"
    )))
}

fn absent(map: &Value) -> ApiError {
    let map = map.as_str().map_or_else(|| map.to_string(), str::to_owned);
    invalid(format!(
        "Template error: Mapping named '{map}' is not present in the 'Mappings' section of template."
    ))
}

fn conditions(template: &Template) -> ApiResult<()> {
    let all = template.section("Conditions");
    let mut needs = BTreeMap::new();
    for (name, expression) in all {
        boolean(template, expression)?;
        let others = condition_names(expression);
        if let Some(other) = others.iter().find(|other| !all.contains_key(*other)) {
            return Err(invalid(format!(
                "Template format error: Unresolved condition dependency {other} in the Conditions block of the template"
            )));
        }
        needs.insert(name.as_str(), others);
    }
    // Topological order (Kahn): conditions that remain at the end depend on each other.
    let mut waiting: BTreeMap<&str, usize> = BTreeMap::new();
    let mut needed_by: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, others) in &needs {
        waiting.insert(name, others.len());
        for other in others {
            needed_by.entry(other).or_default().push(name);
        }
    }
    let mut ready: Vec<&str> = waiting
        .iter()
        .filter(|(_, count)| **count == 0)
        .map(|(name, _)| *name)
        .collect();
    let mut done = 0;
    while let Some(name) = ready.pop() {
        done += 1;
        for dependent in needed_by.get(name).into_iter().flatten() {
            if let Some(count) = waiting.get_mut(dependent) {
                *count -= 1;
                if *count == 0 {
                    ready.push(dependent);
                }
            }
        }
    }
    if done < needs.len() {
        return Err(invalid(
            "Template format error: Circular dependency between conditions",
        ));
    }
    Ok(())
}

/// Checks an expression that must be a condition.
fn boolean(template: &Template, expression: &Value) -> ApiResult<()> {
    let wrong = || {
        invalid(format!(
            "Template error: {} is not a condition function",
            brief(expression)
        ))
    };
    let (name, argument) = function(expression).ok_or_else(wrong)?;
    let list = || argument.as_array().ok_or_else(wrong);
    match name {
        "Condition" if argument.is_string() => Ok(()),
        "Fn::Equals" => match list()?.as_slice() {
            [left, right] => {
                values(template, left)?;
                values(template, right)
            }
            _ => Err(count(name)),
        },
        "Fn::Not" | "Fn::And" | "Fn::Or" => {
            let members = list()?;
            let fits = match name {
                "Fn::Not" => members.len() == 1,
                _ => (2..=10).contains(&members.len()),
            };
            if !fits {
                return Err(count(name));
            }
            members
                .iter()
                .try_for_each(|member| boolean(template, member))
        }
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Result<(), String> {
        check(&Template::parse(text).unwrap()).map_err(|error| error.message)
    }

    /// A template with one property, and a map.
    fn property(value: &str) -> Result<(), String> {
        checked(&format!(
            "Mappings: {{M: {{a: {{b: c}}}}}}\nConditions: {{C: !Equals [a, b]}}\n\
             Resources: {{A: {{Type: T, Properties: {{X: {value}}}}}}}"
        ))
    }

    #[test]
    fn functions_that_fail_for_all_parameters_are_refused() {
        for (value, part) in [
            ("{'Fn::Nope': a}", "the function Fn::Nope is not known"),
            ("!If [C, a, {'Fn::Length': [a]}]", "Fn::Length is not known"),
            ("{Ref: [A]}", "every Ref object requires"),
            ("!Join [a]", "every Fn::Join object requires"),
            ("[{Y: !Join ['', !Split [a]]}]", "every Fn::Split object"),
            ("!Select [1]", "Fn::Select requires a list argument"),
            ("!Sub [1]", "Fn::Sub"),
            ("!GetAtt A", "every Fn::GetAtt object requires two"),
            ("!Cidr [a]", "every Fn::Cidr object requires"),
            ("!If [C, a]", "every Fn::If object requires"),
            ("!Equals [a, b]", "allowed in Conditions only"),
            ("{'Fn::Sub': a, Y: b}", "must be the only key"),
            ("!FindInMap [M, a]", "every Fn::FindInMap object requires"),
            ("!FindInMap [N, a, b]", "Mapping named 'N' is not present"),
            (
                "!FindInMap [M, x, !Ref A]",
                "Unable to get mapping for M::x",
            ),
            ("!FindInMap [M, a, x]", "Unable to get mapping for M::a::x"),
        ] {
            let error = property(value).unwrap_err();
            assert!(error.contains(part), "{value}: {error}");
        }
        for value in [
            "!FindInMap [M, !Ref 'AWS::Region', x]",
            "!FindInMap [!Ref 'AWS::Region', a, x]",
            "!FindInMap [N, a, b, {DefaultValue: x}]",
            "!If [C, !Sub '${A}', !Ref 'AWS::NoValue']",
            "!GetAZs ''",
            "{Statement: [{Condition: {StringEquals: {a: b}}}]}",
        ] {
            assert_eq!(property(value), Ok(()), "{value}");
        }
        let none = "Resources: {A: {Type: T, Properties: {X: !FindInMap [!Ref A, a, b]}}}";
        assert!(checked(none).unwrap_err().contains("is not present"));
    }

    #[test]
    fn a_long_chain_of_conditions_is_checked_and_evaluated() {
        use crate::cloudformation::intrinsics::Scope;

        let mut text = "Conditions:\n  C0: !Equals [a, a]\n".to_owned();
        for index in 1..3000 {
            text += &format!("  C{index}: !Not [{{Condition: C{}}}]\n", index - 1);
        }
        let template = Template::parse(&(text.clone() + "Resources: {A: {Type: T}}")).unwrap();
        check(&template).unwrap();
        let scope = Scope::new(template, BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        assert!(scope.is_ok());
        let circle = text + "  D: !Not [{Condition: E}]\n  E: !Not [{Condition: D}]\n";
        let error = checked(&(circle + "Resources: {A: {Type: T}}")).unwrap_err();
        assert!(error.contains("Circular dependency"), "{error}");
    }

    #[test]
    fn an_output_is_text() {
        let output = |value: &str| {
            checked(&format!(
                "Resources: {{A: {{Type: T}}}}\nOutputs: {{O: {{Value: {value}}}}}"
            ))
        };
        for value in ["[a, b]", "[]", "{a: b}", "!Split [a, b]", "!GetAZs ''"] {
            let error = output(value).unwrap_err();
            assert!(error.contains("Output O is malformed"), "{value}: {error}");
            assert!(!error.ends_with(".."), "{error}");
        }
        for value in ["a", "1", "!Join ['', [a]]", "!Select [0, !GetAZs '']"] {
            assert_eq!(output(value), Ok(()), "{value}");
        }
    }

    #[test]
    fn conditions_are_checked_without_values() {
        let conditions = |text: &str| {
            checked(&format!(
                "Conditions: {text}\nResources: {{A: {{Type: T}}}}"
            ))
        };
        for (text, part) in [
            ("{C: a}", "is not a condition function"),
            ("{C: !Sub a}", "is not a condition function"),
            ("{C: !Equals [a]}", "every Fn::Equals object requires"),
            (
                "{C: !And [!Equals [a, b]]}",
                "every Fn::And object requires",
            ),
            (
                "{C: !Not [{Condition: D}]}",
                "Unresolved condition dependency D",
            ),
            (
                "{C: !Not [{Condition: D}], D: !Not [{Condition: C}]}",
                "Circular dependency between conditions",
            ),
            (
                "{C: !Equals [!FindInMap [M, a, b], b]}",
                "Mapping named 'M' is not present",
            ),
        ] {
            let error = conditions(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert_eq!(
            conditions("{C: !Or [{Condition: D}, !Equals [a, b]], D: !Not [!Equals [a, b]]}"),
            Ok(())
        );
    }
}
