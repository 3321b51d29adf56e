//! References within a template: every target must be declared, and deployed resources must not
//! refer to skipped ones.
//!
//! The messages are those of AWS (recorded in the tests of moto and `LocalStack`, and in issues).

use std::collections::BTreeSet;

use serde_json::Value;

use super::intrinsics::{Scope, function};
use super::template::{Template, invalid};
use super::{custom, functions, graph, resources};
use crate::api::ApiResult;

/// The parameters that every template has (user guide, "Pseudo parameters reference").
const PSEUDO: &[&str] = &[
    "AWS::AccountId",
    "AWS::NoValue",
    "AWS::NotificationARNs",
    "AWS::Partition",
    "AWS::Region",
    "AWS::StackId",
    "AWS::StackName",
    "AWS::URLSuffix",
];

/// The members of a resource or output that hold expressions.
const EXPRESSIONS: &[&str] = &["Export", "Properties", "Value"];

fn expressions(member: &Value) -> impl Iterator<Item = &Value> {
    let members = member.as_object().into_iter().flatten();
    members
        .filter(|(key, _)| EXPRESSIONS.contains(&key.as_str()))
        .map(|(_, value)| value)
}

fn unresolved(section: &str, names: &BTreeSet<String>) -> ApiResult<()> {
    if names.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    // Only the first of these sections has the prefix.
    let prefix = if section == "Resources" {
        "Template format error: "
    } else {
        ""
    };
    Err(invalid(format!(
        "{prefix}Unresolved resource dependencies [{}] in the {section} block of the template",
        names.join(", ")
    )))
}

/// Refuses references to undeclared names and to attributes that a type lacks. Both are errors for
/// all values of the parameters.
pub(super) fn check(template: &Template) -> ApiResult<()> {
    check_conditions(template)?;
    for section in ["Resources", "Outputs"] {
        let mut missing = BTreeSet::new();
        for (name, member) in template.section(section) {
            match member.get("Condition") {
                Some(Value::String(condition))
                    if template.member("Conditions", condition).is_none() =>
                {
                    return Err(invalid(format!(
                        "Template format error: Unresolved condition dependency {condition} in the {section} block of the template"
                    )));
                }
                _ => {}
            }
            missing.extend(
                graph::depends_on(name, member)?
                    .into_iter()
                    .filter(|name| template.resource(name).is_none()),
            );
            for value in expressions(member) {
                missing.extend(
                    graph::references(value)
                        .into_iter()
                        .filter(|name| !is_declared(template, name)),
                );
                check_attributes(template, value)?;
                check_branches(template, value)?;
            }
            check_export(template, name, member)?;
        }
        unresolved(section, &missing)?;
    }
    Ok(())
}

/// Refuses dependency cycles among all resources, regardless of their conditions.
pub(super) fn check_circles(template: &Template) -> ApiResult<()> {
    let all = template.section("Resources").keys().cloned().collect();
    graph::order(template, &all).map(|_| ())
}

fn is_declared(template: &Template, name: &str) -> bool {
    PSEUDO.contains(&name)
        || template.member("Parameters", name).is_some()
        || template.resource(name).is_some()
}

fn check_conditions(template: &Template) -> ApiResult<()> {
    let mut wrong = BTreeSet::new();
    for expression in template.section("Conditions").values() {
        wrong.extend(graph::references(expression).into_iter().filter(|name| {
            !PSEUDO.contains(&name.as_str()) && template.member("Parameters", name).is_none()
        }));
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let wrong: Vec<String> = wrong.into_iter().collect();
    Err(invalid(format!(
        "Template format error: Unresolved dependencies [{}]. Cannot reference resources in the Conditions block of the template",
        wrong.join(", ")
    )))
}

fn check_attributes(template: &Template, value: &Value) -> ApiResult<()> {
    for (logical, attribute) in graph::attributes(value) {
        let name = template.resource_type(&logical);
        // A custom resource has the attributes that its function returns.
        if custom::is_custom(name) {
            continue;
        }
        let kind = resources::by_name(name);
        if kind.is_some_and(|kind| !kind.has_attribute(&attribute)) {
            return Err(invalid(format!(
                "Template error: resource {logical} does not support attribute type {attribute} in Fn::GetAtt"
            )));
        }
    }
    Ok(())
}

/// Refuses an `Fn::If` whose condition is not declared.
fn check_branches(template: &Template, value: &Value) -> ApiResult<()> {
    if let Some(("Fn::If", Value::Array(parts))) = function(value)
        && let Some(Value::String(condition)) = parts.first()
        && template.member("Conditions", condition).is_none()
    {
        return Err(invalid(format!(
            "Template error: unresolved condition dependency {condition} in Fn::If"
        )));
    }
    match value {
        Value::Array(items) => items
            .iter()
            .try_for_each(|item| check_branches(template, item)),
        Value::Object(members) => members
            .values()
            .try_for_each(|member| check_branches(template, member)),
        _ => Ok(()),
    }
}

/// Refuses export names that depend on resources or other stacks.
fn check_export(template: &Template, output: &str, member: &Value) -> ApiResult<()> {
    let Some(export) = member.get("Export") else {
        return Ok(());
    };
    let text = export.to_string();
    let depends = graph::references(export)
        .iter()
        .any(|name| template.resource(name).is_some())
        || ["\"Fn::ImportValue\"", "\"Fn::GetAZs\""]
            .iter()
            .any(|function| text.contains(function));
    if depends {
        return Err(invalid(format!(
            "Template format error: Output {output} is malformed.  The Name field of Export must not depend on any resources, imported values, or Fn::GetAZs."
        )));
    }
    Ok(())
}

/// Refuses references from deployed resources to those whose condition is false, in the selected branches,
/// and dependency cycles.
pub(super) fn check_present(scope: &Scope) -> ApiResult<()> {
    let template = &scope.template;
    let present = scope.present()?;
    graph::order(template, &present)?;
    for section in ["Resources", "Outputs"] {
        let mut missing = BTreeSet::new();
        for member in template.section(section).values() {
            if !scope.holds(member)? {
                continue;
            }
            for value in expressions(member) {
                let left_out =
                    |name: &String| template.resource(name).is_some() && !present.contains(name);
                let references = graph::references(&scope.chosen(value));
                missing.extend(references.into_iter().filter(left_out));
            }
        }
        unresolved(section, &missing)?;
    }
    Ok(())
}

/// Evaluates every expression with the values that are known before the deployment, so that an error is
/// reported at once and not in the middle of it.
pub(super) fn check_expressions(scope: &Scope) -> ApiResult<()> {
    let mut scope = scope.clone();
    let present = scope.present()?;
    for logical in &present {
        scope
            .resources
            .entry(logical.clone())
            .or_default()
            .after_apply = true;
    }
    for section in ["Resources", "Outputs"] {
        for (name, member) in scope.template.section(section) {
            if !scope.holds(member)? {
                continue;
            }
            for value in expressions(member) {
                match scope.resolve(value) {
                    Ok(Some(Value::Array(_))) if section == "Outputs" => {
                        return Err(functions::malformed(name));
                    }
                    // The export may exist by then: AWS resolves it during the deployment.
                    Err(error) if error.message.starts_with("No export named ") => {}
                    Err(error) => return Err(error),
                    Ok(_) => {}
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn checked(text: &str) -> Result<(), String> {
        check(&Template::parse(text).unwrap()).map_err(|error| error.message)
    }

    fn present(text: &str) -> Result<(), String> {
        let template = Template::parse(text).unwrap();
        check(&template).unwrap();
        let scope =
            Scope::new(template, BTreeMap::new(), BTreeMap::new(), BTreeMap::new()).unwrap();
        check_present(&scope).map_err(|error| error.message)
    }

    const NEVER: &str = "Conditions: {Never: !Equals [a, b]}\n";

    #[test]
    fn issue_8_3_6_undeclared_names_are_reported() {
        for (text, message) in [
            (
                "Resources: {A: {Type: T, Properties: {X: !Ref B, Y: !Sub '${C}-${AWS::Region}'}}}",
                "Template format error: Unresolved resource dependencies [B, C] in the Resources block of the template",
            ),
            (
                "Resources: {A: {Type: T, DependsOn: [B]}}",
                "Template format error: Unresolved resource dependencies [B] in the Resources block of the template",
            ),
            (
                "Resources: {A: {Type: T}}\nOutputs: {O: {Value: !GetAtt B.Arn}}",
                "Unresolved resource dependencies [B] in the Outputs block of the template",
            ),
            (
                "Resources: {A: {Type: T, Condition: C}}",
                "Template format error: Unresolved condition dependency C in the Resources block of the template",
            ),
            (
                "Resources: {A: {Type: T}}\nOutputs: {O: {Value: x, Condition: C}}",
                "Template format error: Unresolved condition dependency C in the Outputs block of the template",
            ),
            (
                "Resources: {A: {Type: T, Properties: {X: [!If [C, 1, 2]]}}}",
                "Template error: unresolved condition dependency C in Fn::If",
            ),
            (
                "Conditions: {C: !Equals [!Ref A, x]}\nResources: {A: {Type: T}}",
                "Template format error: Unresolved dependencies [A]. Cannot reference resources in the Conditions block of the template",
            ),
            (
                "Resources: {A: {Type: 'AWS::S3::Bucket'}}\nOutputs: {O: {Value: !GetAtt A.Nope}}",
                "Template error: resource A does not support attribute type Nope in Fn::GetAtt",
            ),
            (
                "Resources: {A: {Type: T}}\nOutputs: {O: {Value: x, Export: {Name: !Sub '${A}-x'}}}",
                "Template format error: Output O is malformed.  The Name field of Export must not depend on any resources, imported values, or Fn::GetAZs.",
            ),
        ] {
            assert_eq!(checked(text), Err(message.to_owned()), "{text}");
        }
        let fine = "Parameters: {P: {Type: String}}\nResources: {A: {Type: T, DependsOn: B, Properties: \
                    {X: !Ref P, Y: !Sub ['${V}', {V: !Ref AWS::NoValue}]}}, B: {Type: T}}\n\
                    Outputs: {O: {Value: !Ref A, Export: {Name: !Sub '${AWS::StackName}-A'}}}";
        assert_eq!(checked(fine), Ok(()));
    }

    #[test]
    fn issue_8_3_6_deployed_resources_cannot_refer_to_skipped_ones() {
        let skipped = "Resources:\n  A: {Type: T, Condition: Never}\n  B: {Type: T}\n";
        let output = |output: &str| present(&format!("{NEVER}{skipped}Outputs: {{O: {output}}}"));
        assert_eq!(
            output("{Value: !Ref A}"),
            Err(
                "Unresolved resource dependencies [A] in the Outputs block of the template"
                    .to_owned()
            )
        );
        assert_eq!(output("{Value: !Ref A, Condition: Never}"), Ok(()));
        assert_eq!(output("{Value: !If [Never, !GetAtt A.Arn, none]}"), Ok(()));
        assert_eq!(output("{Value: !Ref B}"), Ok(()));
        let resource = |properties: &str| {
            present(&format!("{NEVER}{skipped}  C: {{Type: T, {properties}}}\n"))
        };
        assert_eq!(
            resource("Properties: {X: !Sub '${A.Arn}'}"),
            Err("Template format error: Unresolved resource dependencies [A] in the Resources block of the template".to_owned())
        );
        assert_eq!(
            resource("Condition: Never, Properties: {X: !Ref A}"),
            Ok(())
        );
        assert_eq!(resource("DependsOn: A"), Ok(()));
        assert_eq!(
            resource("Properties: {X: !If [Never, !Ref A, !Ref B]}"),
            Ok(())
        );
    }
}
