//! Checks the members of a request before its operation runs, for every service.
//!
//! A handler reads the members that it needs and ignores the rest. Without this check, a misspelled
//! member or a number in place of text would be dropped and the request would succeed.

use std::collections::HashMap;
use std::sync::LazyLock;

use mlops_core::quote;
use mlops_pipeline::shapes::{Check, Fault, Finding, Scalars, Table};
use serde_json::Value;

use super::api::{ApiError, ApiResult};
use super::cloud::service::{Protocol, Service};
use super::system_tags;

/// Fails if the input has a member that the operation does not have, or a value of another type.
/// For services that check limits, also fails if a required member is missing or a value violates a
/// constraint of the service model.
pub(super) fn check(service: &Service, operation: &str, input: &Value) -> ApiResult<()> {
    let Some(table) = Table::of(service.name) else {
        return Ok(());
    };
    let Some(shape) = table.input(operation) else {
        return Ok(());
    };
    let check = Check {
        table,
        scalars: if service.is_form() {
            Scalars::Text
        } else {
            Scalars::Json
        },
        limits: service.checks_limits,
        calls: None,
    };
    let mut found = check.run(shape, input);
    // The limit applies to the tags of the user: CloudFormation and pipelines add some.
    if found.iter().any(is_tag_limit) {
        let counted = check.run(shape, &system_tags::with_counted(input));
        if !counted.iter().any(is_tag_limit) {
            found.retain(|finding| !is_tag_limit(finding));
        }
    }
    if found.is_empty() {
        return check_supported(service, operation, input);
    }
    let first = |wanted: fn(&Fault) -> bool| found.iter().find(|finding| wanted(&finding.fault));
    if let Some(finding) = first(|fault| matches!(fault, Fault::Type { .. })) {
        return Err(type_error(service, finding));
    }
    if let Some(finding) = first(|fault| matches!(fault, Fault::Unknown { .. })) {
        return Err(unknown_member(service, operation, finding));
    }
    let limits: Vec<String> = found.iter().filter_map(violation).collect();
    Err(ApiError::validation(format!(
        "{} validation error{} detected: {}",
        limits.len(),
        if limits.len() == 1 { "" } else { "s" },
        limits.join("; ")
    )))
}

/// True if there are too many tags.
fn is_tag_limit(finding: &Finding) -> bool {
    finding.path == "Tags" && matches!(finding.fault, Fault::Limit { .. })
}

/// Members that AWS supports and the local cloud does not, by service and operation.
static UNSUPPORTED: LazyLock<HashMap<(&str, &str), Vec<&str>>> = LazyLock::new(|| {
    let mut members: HashMap<(&str, &str), Vec<&str>> = HashMap::new();
    for line in include_str!("requests/unsupported.txt").lines() {
        let mut words = line.split(' ');
        if let (Some(service), Some(operation)) = (words.next(), words.next())
            && service != "#"
        {
            members
                .entry((service, operation))
                .or_default()
                .extend(words);
        }
    }
    members
});

/// Fails if the request sets an unsupported member, and names it.
fn check_supported(service: &Service, operation: &str, input: &Value) -> ApiResult<()> {
    let service = service.name;
    for of in ["*", operation] {
        for member in UNSUPPORTED.get(&(service, of)).into_iter().flatten() {
            if is_set(input, member) {
                return Err(ApiError::not_implemented(format_args!(
                    "{member} of {service}:{operation}"
                )));
            }
        }
    }
    Ok(())
}

/// True if the value has this member, which can be a path (`A.B[].C`), with a value other than its
/// default.
fn is_set(value: &Value, path: &str) -> bool {
    let (name, rest) = path
        .split_once('.')
        .map_or((path, None), |(name, rest)| (name, Some(rest)));
    let member = |name: &str| value.get(name).unwrap_or(&Value::Null);
    match (name.strip_suffix("[]"), rest) {
        (_, None) => !is_default(member(name)),
        (None, Some(rest)) => is_set(member(name), rest),
        (Some(name), Some(rest)) => {
            let items = member(name).as_array();
            items.into_iter().flatten().any(|item| is_set(item, rest))
        }
    }
}

/// True for a value that means the same as an absent member.
fn is_default(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty() || text.eq_ignore_ascii_case("false"),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}

fn type_error(service: &Service, finding: &Finding) -> ApiError {
    let Fault::Type { wanted, found } = finding.fault else {
        return ApiError::internal("not a type");
    };
    // The messages of AWS's JSON protocols.
    let text = match (wanted, found) {
        ("Structure" | "Map" | "List", _) => format!("Expected a {wanted}, found {found}_VALUE"),
        (_, "OBJECT") => "Start of structure or map found where not expected".to_owned(),
        (_, "LIST") => "Start of list found where not expected".to_owned(),
        _ => format!("{found}_VALUE can not be converted to a {wanted}"),
    };
    let place = if finding.path.is_empty() {
        "the request"
    } else {
        &finding.path
    };
    let code = if service.is_form() {
        form_error_code(service)
    } else {
        "SerializationException"
    };
    ApiError::new(code, format!("{text} (at {place})"))
}

fn unknown_member(service: &Service, operation: &str, finding: &Finding) -> ApiError {
    let Fault::Unknown { member, known } = &finding.fault else {
        return ApiError::internal("not an unknown member");
    };
    if matches!(service.protocol, Protocol::Ec2Query { .. }) {
        let path = if finding.path.is_empty() {
            member.clone()
        } else {
            format!("{}.{member}", finding.path)
        };
        return ApiError::new(
            "UnknownParameter",
            format!("The parameter {path} is not recognized"),
        );
    }
    let place = if finding.path.is_empty() {
        format!("the request of {operation}")
    } else {
        format!("{} of {operation}", finding.path)
    };
    let code = if service.is_form() {
        form_error_code(service)
    } else {
        "ValidationException"
    };
    ApiError::new(
        code,
        format!(
            "Unknown member '{}' in {}; its members are {}",
            quote::short(member),
            quote::bounded(&place),
            known.join(", ")
        ),
    )
}

/// The error code for an invalid request in the query protocols.
fn form_error_code(service: &Service) -> &'static str {
    match service.protocol {
        Protocol::Ec2Query { .. } => "InvalidParameterValue",
        _ => "ValidationError",
    }
}

/// `Value 'x' at 'tags.1.member.key' failed to satisfy constraint: Member must …`
fn violation(finding: &Finding) -> Option<String> {
    let Fault::Limit { value, constraint } = &finding.fault else {
        return None;
    };
    let value = if value == "null" && constraint == "Member must not be null" {
        "null".to_owned()
    } else {
        format!("'{value}'")
    };
    Some(format!(
        "Value {value} at '{}' failed to satisfy constraint: {constraint}",
        constraint_path(&finding.path)
    ))
}

/// Converts `Tags[0].Key` to the notation of AWS's messages: `tags.1.member.key`.
fn constraint_path(path: &str) -> String {
    path.split('.')
        .map(|part| {
            let (name, indexes) = part.split_once('[').unwrap_or((part, ""));
            let mut chars = name.chars();
            let mut text: String = chars
                .next()
                .map(|first| first.to_lowercase().chain(chars).collect())
                .unwrap_or_default();
            for index in indexes.split('[').filter(|index| !index.is_empty()) {
                let number = index.trim_end_matches(']').parse().unwrap_or(0usize);
                text.push_str(&format!(".{}.member", number + 1));
            }
            text
        })
        .collect::<Vec<_>>()
        .join(".")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(service: &Service, operation: &str, input: &Value) -> (String, String) {
        let error = check(service, operation, input).unwrap_err();
        (error.code, error.message)
    }

    #[test]
    fn each_protocol_has_its_own_words() {
        let (code, message) = refused(
            &crate::sagemaker::SERVICE,
            "DescribeModel",
            &json!({"ModelName": 5}),
        );
        assert_eq!(code, "SerializationException");
        assert_eq!(
            message,
            "NUMBER_VALUE can not be converted to a String (at ModelName)"
        );
        let (code, message) = refused(
            &crate::logs::SERVICE,
            "CreateLogGroup",
            &json!({"logGroupName": "g", "tagz": {}}),
        );
        assert_eq!(code, "ValidationException");
        assert!(message.contains("Unknown member 'tagz'"), "{message}");
        let (code, message) = refused(
            &crate::ec2::SERVICE,
            "DescribeVpcs",
            &json!({"VpcIds": ["v"]}),
        );
        assert_eq!(code, "UnknownParameter");
        assert_eq!(message, "The parameter VpcIds is not recognized");
        let (code, _) = refused(&crate::iam::SERVICE, "GetRole", &json!({"RoleName": ["a"]}));
        assert_eq!(code, "ValidationError");
        assert!(check(&crate::iam::SERVICE, "GetRole", &json!({"RoleName": "a"})).is_ok());
    }

    /// Issue 8, 4.1: members that only AWS supports are refused by name, not dropped.
    #[test]
    fn issue_8_4_1_unsupported_members_are_refused_by_name() {
        let (code, message) = refused(
            &crate::ec2::SERVICE,
            "DeleteVpc",
            &json!({"VpcId": "v", "DryRun": "true"}),
        );
        assert_eq!(code, "NotImplemented");
        assert!(message.contains("DryRun of ec2:DeleteVpc"), "{message}");
        let operation = "UpdateEndpointWeightsAndCapacities";
        let scale = |update: Value| {
            json!({"EndpointName": "e", "DesiredWeightsAndCapacities": [
                {"VariantName": "v"}, {"VariantName": "w", "ServerlessUpdateConfig": update}]})
        };
        let update = scale(json!({"MaxConcurrency": 5}));
        let (code, message) = refused(&crate::sagemaker::SERVICE, operation, &update);
        assert_eq!(code, "NotImplemented");
        assert!(message.contains("ServerlessUpdateConfig"), "{message}");
        assert!(check(&crate::sagemaker::SERVICE, operation, &scale(json!({}))).is_ok());
        let quiet = json!({"VpcId": "v", "DryRun": "false"});
        assert!(check(&crate::ec2::SERVICE, "DeleteVpc", &quiet).is_ok());
        for ((service, operation), members) in UNSUPPORTED.iter() {
            let table = Table::of(service).unwrap();
            let input = table.input(operation).unwrap_or("-");
            for member in members {
                let mut shape = input;
                for name in member.split('.') {
                    let mut known = table.members(shape).iter();
                    let found = known.find(|known| known.name == name.trim_end_matches("[]"));
                    assert!(found.is_some() || *operation == "*", "{operation} {member}");
                    shape = found.map_or("-", |found| table.element(found.shape));
                }
            }
        }
    }

    #[test]
    fn tags_that_the_server_adds_are_beyond_the_limit_of_tags() {
        let add = |users: usize, added: &[&str]| {
            let users = (0..users).map(|number| format!("key-{number}"));
            let tags: Vec<Value> = users
                .chain(added.iter().map(|key| (*key).to_owned()))
                .map(|key| json!({"Key": key, "Value": "v"}))
                .collect();
            json!({"ResourceArn": "arn:aws:sagemaker:us-east-1:000000000000:model/m", "Tags": tags})
        };
        let stack = [
            "aws:cloudformation:stack-id",
            "aws:cloudformation:logical-id",
        ];
        for added in [&stack[..], &system_tags::OF_PIPELINES] {
            let input = add(50, added);
            assert_eq!(check(&crate::sagemaker::SERVICE, "AddTags", &input), Ok(()));
            let (code, message) = refused(&crate::sagemaker::SERVICE, "AddTags", &add(51, added));
            assert_eq!(code, "ValidationException");
            assert!(message.contains("less than or equal to 50"), "{message}");
        }
    }

    #[test]
    fn all_violated_limits_are_reported_together() {
        let (code, message) = refused(
            &crate::sagemaker::SERVICE,
            "AddTags",
            &json!({"Tags": [{"Key": "", "Value": "v"}]}),
        );
        assert_eq!(code, "ValidationException");
        assert!(
            message.starts_with("2 validation errors detected: Value '' at 'tags.1.member.key'")
                && message.contains(
                    "Value null at 'resourceArn' failed to satisfy constraint: \
                                     Member must not be null"
                ),
            "{message}"
        );
    }

    #[test]
    fn every_operation_of_the_local_cloud_has_a_shape() {
        for (service, operations) in super::super::operations() {
            let Some(table) = Table::of(service) else {
                assert!(matches!(service, "s3" | "sagemaker-runtime"), "{service}");
                continue;
            };
            for operation in operations {
                assert!(
                    table.has(operation),
                    "run tools/api_shapes.py: {service} {operation}"
                );
            }
        }
    }
}
