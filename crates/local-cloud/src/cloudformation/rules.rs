//! Rules: assertions about the parameters of a template, checked before anything is deployed.
//!
//! Source: the `CloudFormation` User Guide, "Rules syntax" and "Rule-specific intrinsic functions".

use serde_json::Value;

use super::intrinsics::{Scope, brief, count, function};
use super::template::{Template, invalid, text_of};
use crate::api::{ApiError, ApiResult};

/// The members of a rule.
const MEMBERS: &[&str] = &["Assertions", "RuleCondition"];

/// The members of an assertion.
const ASSERTION: &[&str] = &["Assert", "AssertDescription"];

fn malformed(rule: &str, what: &str) -> ApiError {
    invalid(format!("Template format error: Rule {rule} {what}"))
}

/// Refuses rules that are invalid for all values of the parameters.
pub(super) fn check(template: &Template) -> ApiResult<()> {
    for (name, rule) in template.section("Rules") {
        let Some(members) = rule.as_object() else {
            return Err(malformed(name, "must be an object"));
        };
        if let Some(unknown) = members.keys().find(|key| !MEMBERS.contains(&key.as_str())) {
            return Err(malformed(
                name,
                &format!("has the unknown member {unknown}"),
            ));
        }
        if let Some(condition) = members.get("RuleCondition") {
            check_expression(template, condition)?;
        }
        let assertions = members.get("Assertions").and_then(Value::as_array);
        let Some(assertions) = assertions.filter(|list| !list.is_empty()) else {
            return Err(malformed(name, "must have a list of Assertions"));
        };
        for assertion in assertions {
            let sound = assertion.as_object().is_some_and(|members| {
                let description = members.get("AssertDescription");
                members.keys().all(|key| ASSERTION.contains(&key.as_str()))
                    && description.is_none_or(Value::is_string)
            });
            match assertion.get("Assert") {
                Some(expression) if sound => check_expression(template, expression)?,
                _ => {
                    return Err(malformed(
                        name,
                        "has an assertion that is not an Assert with an AssertDescription",
                    ));
                }
            }
        }
    }
    Ok(())
}

/// Fails with the descriptions of the assertions that are false.
pub(super) fn check_assertions(scope: &Scope) -> ApiResult<()> {
    for (name, rule) in scope.template.section("Rules") {
        if let Some(condition) = rule.get("RuleCondition")
            && !is_true(scope, condition)?
        {
            continue;
        }
        let assertions = rule.get("Assertions").and_then(Value::as_array);
        let mut failed = Vec::new();
        for assertion in assertions.into_iter().flatten() {
            let expression = assertion.get("Assert").unwrap_or(&Value::Null);
            if !is_true(scope, expression)? {
                let description = assertion.get("AssertDescription").and_then(Value::as_str);
                failed.push(description.unwrap_or("assertion failed"));
            }
        }
        if !failed.is_empty() {
            // Unverified against AWS [cfn-rule-wording]: the wording around the descriptions.
            return Err(invalid(format!(
                "Template failed validation: Rule {name} failed: {}",
                failed.join("; ")
            )));
        }
    }
    Ok(())
}

/// The arguments of a function; the error for a wrong number of them.
fn two<'a>(name: &str, argument: &'a Value) -> ApiResult<[&'a Value; 2]> {
    match argument.as_array().map(Vec::as_slice) {
        Some([first, second]) => Ok([first, second]),
        _ => Err(count(name)),
    }
}

fn unknown(expression: &Value) -> ApiError {
    match function(expression) {
        Some((name @ ("Fn::ValueOf" | "Fn::ValueOfAll"), _)) => invalid(format!(
            "NotImplemented: the local cloud does not have the rule function {name}"
        )),
        _ => invalid(format!(
            "Template error: {} is not a rule function",
            brief(expression)
        )),
    }
}

fn check_expression(template: &Template, expression: &Value) -> ApiResult<()> {
    let (name, argument) = function(expression).ok_or_else(|| unknown(expression))?;
    match name {
        "Fn::And" | "Fn::Or" | "Fn::Not" => {
            let parts = argument.as_array().ok_or_else(|| count(name))?;
            let fits = match name {
                "Fn::Not" => parts.len() == 1,
                _ => (2..=10).contains(&parts.len()),
            };
            if !fits {
                return Err(count(name));
            }
            parts
                .iter()
                .try_for_each(|part| check_expression(template, part))
        }
        "Fn::Contains" | "Fn::EachMemberEquals" | "Fn::EachMemberIn" | "Fn::Equals" => {
            two(name, argument)?
                .into_iter()
                .try_for_each(|value| check_value(template, value))
        }
        _ => Err(unknown(expression)),
    }
}

/// Values are literals, parameters, and all parameters of a type.
fn check_value(template: &Template, value: &Value) -> ApiResult<()> {
    match (function(value), value) {
        (Some(("Ref", Value::String(name))), _) => {
            if template.member("Parameters", name).is_some() || name.starts_with("AWS::") {
                return Ok(());
            }
            Err(invalid(format!(
                "Template format error: Unresolved dependencies [{name}]. Cannot reference resources in the Rules block of the template"
            )))
        }
        (None, Value::Array(items)) => items
            .iter()
            .try_for_each(|item| check_value(template, item)),
        (Some(("Fn::RefAll", Value::String(_))), _)
        | (None, Value::String(_) | Value::Number(_) | Value::Bool(_)) => Ok(()),
        _ => Err(unknown(value)),
    }
}

fn is_true(scope: &Scope, expression: &Value) -> ApiResult<bool> {
    let (name, argument) = function(expression).ok_or_else(|| unknown(expression))?;
    let parts = || argument.as_array().into_iter().flatten();
    Ok(match name {
        "Fn::And" => {
            for part in parts() {
                if !is_true(scope, part)? {
                    return Ok(false);
                }
            }
            true
        }
        "Fn::Or" => {
            for part in parts() {
                if is_true(scope, part)? {
                    return Ok(true);
                }
            }
            false
        }
        "Fn::Not" => {
            let part = parts().next().ok_or_else(|| count(name))?;
            !is_true(scope, part)?
        }
        "Fn::Equals" => {
            let [left, right] = two(name, argument)?;
            texts(scope, left)? == texts(scope, right)?
        }
        "Fn::Contains" => {
            let [list, value] = two(name, argument)?;
            let list = texts(scope, list)?;
            texts(scope, value)?
                .iter()
                .all(|value| list.contains(value))
        }
        "Fn::EachMemberEquals" => {
            let [list, value] = two(name, argument)?;
            let value = texts(scope, value)?;
            texts(scope, list)?
                .iter()
                .all(|one| value.first() == Some(one))
        }
        "Fn::EachMemberIn" => {
            let [list, allowed] = two(name, argument)?;
            let allowed = texts(scope, allowed)?;
            texts(scope, list)?.iter().all(|one| allowed.contains(one))
        }
        _ => return Err(unknown(expression)),
    })
}

/// A value as a list of texts; a single value becomes a list of one.
fn texts(scope: &Scope, value: &Value) -> ApiResult<Vec<String>> {
    if let Some(("Fn::RefAll", Value::String(kind))) = function(value) {
        let declared = scope.template.section("Parameters").iter();
        let of_kind = declared.filter(|(_, declaration)| {
            declaration.get("Type").and_then(Value::as_str) == Some(kind)
        });
        return Ok(of_kind
            .filter_map(|(name, _)| scope.parameters.get(name))
            .flat_map(flat)
            .collect());
    }
    match value {
        Value::Array(items) => {
            let mut all = Vec::new();
            for item in items {
                all.extend(texts(scope, item)?);
            }
            Ok(all)
        }
        other => Ok(flat(&scope.value(other)?)),
    }
}

fn flat(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().map(text_of).collect(),
        scalar => vec![text_of(scalar)],
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn asserted(rules: &str, version: &str) -> Result<(), String> {
        let text = format!(
            "Parameters: {{V: {{Type: String}}, L: {{Type: CommaDelimitedList}}}}\n\
             Rules: {rules}\nResources: {{A: {{Type: T}}}}"
        );
        let template = Template::parse(&text).map_err(|error| error.message)?;
        check(&template).map_err(|error| error.message)?;
        let parameters = BTreeMap::from([
            ("V".to_owned(), Value::from(version)),
            ("L".to_owned(), Value::from(vec!["a", "b"])),
        ]);
        let scope = Scope::new(template, parameters, BTreeMap::new(), BTreeMap::new()).unwrap();
        check_assertions(&scope).map_err(|error| error.message)
    }

    /// The rule of every stack of CDK.
    const CDK: &str = "{Check: {Assertions: [{Assert: {'Fn::Not': [{'Fn::Contains': [['1', '2'], \
                       {Ref: V}]}]}, AssertDescription: too old}]}}";

    #[test]
    fn assertions_hold_or_name_their_description() {
        assert_eq!(asserted(CDK, "33"), Ok(()));
        let error = asserted(CDK, "2").unwrap_err();
        assert!(error.contains("Rule Check failed: too old"), "{error}");
        let rule = |assert: &str| {
            asserted(
                &format!("{{R: {{Assertions: [{{Assert: {assert}}}]}}}}"),
                "x",
            )
        };
        for holds in [
            "{'Fn::Equals': [{Ref: V}, x]}",
            "{'Fn::Or': [{'Fn::Equals': [a, b]}, {'Fn::Equals': [{Ref: V}, x]}]}",
            "{'Fn::EachMemberIn': [{Ref: L}, [a, b, c]]}",
            "{'Fn::EachMemberEquals': [{'Fn::RefAll': String}, x]}",
            "{'Fn::And': [{'Fn::Contains': [{Ref: L}, b]}, {'Fn::Equals': [1, '1']}]}",
        ] {
            assert_eq!(rule(holds), Ok(()), "{holds}");
        }
        for fails in [
            "{'Fn::EachMemberIn': [{Ref: L}, [a]]}",
            "{'Fn::And': [{'Fn::Equals': [a, a]}, {'Fn::Equals': [a, b]}]}",
            "{'Fn::EachMemberEquals': [{Ref: L}, a]}",
        ] {
            assert!(
                rule(fails).unwrap_err().contains("Rule R failed"),
                "{fails}"
            );
        }
        let skipped = "{R: {RuleCondition: {'Fn::Equals': [a, b]}, Assertions: [{Assert: {'Fn::Equals': [a, b]}}]}}";
        assert_eq!(asserted(skipped, "x"), Ok(()));
    }

    #[test]
    fn invalid_rules_are_refused() {
        for (rules, part) in [
            ("{R: x}", "must be an object"),
            ("{R: {}}", "list of Assertions"),
            ("{R: {Assertions: []}}", "list of Assertions"),
            ("{R: {Assertions: [{}]}}", "not an Assert"),
            (
                "{R: {Assertions: [{Assert: a, Other: b}]}}",
                "not an Assert",
            ),
            (
                "{R: {Assertions: [{Assert: a}], Other: b}}",
                "unknown member Other",
            ),
            ("{R: {Assertions: [{Assert: a}]}}", "not a rule function"),
            (
                "{R: {Assertions: [{Assert: {'Fn::Equals': [a]}}]}}",
                "Fn::Equals",
            ),
            (
                "{R: {Assertions: [{Assert: {'Fn::Equals': [{Ref: A}, a]}}]}}",
                "Unresolved dependencies [A]",
            ),
            (
                "{R: {Assertions: [{Assert: {'Fn::Equals': [{'Fn::ValueOf': [V, a]}, a]}}]}}",
                "does not have the rule function Fn::ValueOf",
            ),
        ] {
            let error = asserted(rules, "x").unwrap_err();
            assert!(error.contains(part), "{rules}: {error}");
        }
    }
}
