//! Template parameters that name a parameter of Systems Manager: its value is read when a stack or a
//! change set is created, and again at each update.
//!
//! Source: the `CloudFormation` User Guide, "Specify existing resources at runtime with
//! CloudFormation-supplied parameter types".

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{declared_type, is_list};
use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::cloudformation::template::{Template, invalid};

/// The type of a parameter that holds the name of a parameter of Systems Manager.
const NAME: &str = "AWS::SSM::Parameter::Name";

/// Maximum number of names per `GetParameters` call.
const BATCH: usize = 10;

/// The type of the value that a parameter's name is replaced by: `T` of
/// `AWS::SSM::Parameter::Value<T>`.
pub(super) fn value_type(kind: &str) -> Option<&str> {
    kind.strip_prefix("AWS::SSM::Parameter::Value<")?
        .strip_suffix('>')
}

/// The values of the parameters of Systems Manager that the template's parameters name.
pub(in crate::cloudformation) async fn resolve(
    cloud: &Cloud,
    template: &Template,
    texts: &BTreeMap<String, String>,
) -> ApiResult<BTreeMap<String, String>> {
    let references: Vec<(&String, &String, Option<&str>)> = texts
        .iter()
        .filter_map(|(parameter, name)| {
            let kind = declared_type(template, parameter);
            let value = value_type(kind);
            (value.is_some() || kind == NAME).then_some((parameter, name, value))
        })
        .collect();
    let names: BTreeSet<&String> = references.iter().map(|(_, name, _)| *name).collect();
    let names: Vec<&String> = names.into_iter().collect();
    let mut found = BTreeMap::new();
    let mut missing = Vec::new();
    for batch in names.chunks(BATCH) {
        let input = json!({"Names": batch});
        let answer = cloud.call("ssm", "GetParameters", input).await;
        let answer = answer.map_err(|error| ApiError {
            code: "ValidationError".to_owned(),
            ..error
        })?;
        for parameter in answer["Parameters"].as_array().into_iter().flatten() {
            let text = |member: &str| parameter[member].as_str().unwrap_or_default().to_owned();
            // A request may identify a parameter by its name or by its ARN.
            for identifier in ["Name", "ARN"] {
                let identifier = text(identifier) + &text("Selector");
                found.insert(identifier, (text("Type"), text("Value")));
            }
        }
        let invalid = answer["InvalidParameters"].as_array();
        missing.extend(
            invalid
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned),
        );
    }
    if !missing.is_empty() {
        return Err(invalid(format!(
            "Unable to fetch parameters [{}] from parameter store for this account.",
            missing.join(",")
        )));
    }
    let mut resolved = BTreeMap::new();
    for (parameter, name, value) in references {
        let (kind, text) = found.get(name).ok_or_else(|| {
            ApiError::internal(format_args!(
                "GetParameters returned neither a value nor an error for {name}"
            ))
        })?;
        let Some(value) = value else { continue };
        if is_list(value) != (kind == "StringList") {
            // Unverified against AWS [cfn-stored-list]: the wording.
            return Err(invalid(format!(
                "Parameter '{parameter}' must be the name of a parameter of another type: {name} is a {kind}"
            )));
        }
        resolved.insert(parameter.clone(), text.clone());
    }
    Ok(resolved)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloudformation::parameters::values;
    use crate::test_cloud::TestCloud;

    #[tokio::test]
    async fn names_are_replaced_by_values() {
        let test = TestCloud::new();
        let cloud = test.cloud();
        for (name, kind, value) in [("/a/one", "String", "1"), ("list", "StringList", "x,y")] {
            let input = json!({"Name": name, "Type": kind, "Value": value});
            cloud.call("ssm", "PutParameter", input).await.unwrap();
        }
        let template = Template::parse(
            "Parameters:\n  One: {Type: 'AWS::SSM::Parameter::Value<String>'}\n  \
             Old: {Type: 'AWS::SSM::Parameter::Value<String>'}\n  \
             Arn: {Type: 'AWS::SSM::Parameter::Value<String>'}\n  \
             OldArn: {Type: 'AWS::SSM::Parameter::Value<String>'}\n  \
             Many: {Type: 'AWS::SSM::Parameter::Value<List<String>>'}\n  \
             ManyArn: {Type: 'AWS::SSM::Parameter::Value<List<String>>'}\n  \
             Name: {Type: 'AWS::SSM::Parameter::Name'}\nResources: {R: {Type: T}}",
        )
        .unwrap();
        let (one_arn, list_arn) = (
            cloud.arn("ssm", "parameter/a/one"),
            cloud.arn("ssm", "parameter/list"),
        );
        let old_arn = format!("{one_arn}:1");
        let texts = |one: &str, many: &str| {
            let pairs = [
                ("One", one),
                ("Old", "/a/one:1"),
                ("Arn", &one_arn),
                ("OldArn", &old_arn),
                ("ManyArn", &list_arn),
                ("Many", many),
                ("Name", "list"),
            ];
            BTreeMap::from(pairs.map(|(name, text)| (name.to_owned(), text.to_owned())))
        };
        let given = texts("/a/one", "list");
        let resolved = resolve(&cloud, &template, &given).await.unwrap();
        let seen = values(&template, &given, &resolved);
        assert_eq!(
            json!(seen),
            json!({
                "One": "1", "Old": "1", "Arn": "1", "OldArn": "1",
                "Many": ["x", "y"], "ManyArn": ["x", "y"], "Name": "list",
            })
        );
        for (one, many, part) in [
            ("/a/two", "list", "Unable to fetch parameters [/a/two] from"),
            ("list", "list", "list is a StringList"),
            ("/a/one", "/a/one", "/a/one is a String"),
        ] {
            let error = resolve(&cloud, &template, &texts(one, many))
                .await
                .unwrap_err();
            assert!(error.message.contains(part), "{error}");
        }
    }
}
