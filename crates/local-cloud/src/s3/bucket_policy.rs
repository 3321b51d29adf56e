//! Validation of bucket policies.

use serde_json::{Map, Value};

use crate::api::{ApiError, ApiResult};
use crate::limits;
use crate::policy::{Document, STATEMENT_ELEMENTS};

/// Maximum size of a bucket policy, in bytes.
const MAX_SIZE: usize = 20 * 1024;

fn malformed(message: impl Into<String>) -> ApiError {
    ApiError::new("MalformedPolicy", message)
}

/// A string or a list of strings; `None` for anything else.
fn texts(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::String(text) => Some(vec![text]),
        Value::Array(values) => values.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

/// Fails if S3 would not accept the document as the policy of `bucket`.
pub(super) fn check(bucket: &str, text: &str) -> ApiResult<()> {
    if text.len() > MAX_SIZE {
        return Err(malformed(
            "Policy exceeds the maximum allowed document size.",
        ));
    }
    // The message for a repeated key is unverified against AWS [s3-repeated-key].
    let policy = limits::document(text.as_bytes()).map_err(|error| {
        malformed(format!(
            "Policies must be valid JSON and the first byte must be '{{' ({error})"
        ))
    })?;
    let Some(policy) = policy.as_object() else {
        return Err(malformed(
            "Policies must be valid JSON and the first byte must be '{'",
        ));
    };
    if let Some(unknown) = policy
        .keys()
        .find(|name| !matches!(name.as_str(), "Version" | "Id" | "Statement"))
    {
        return Err(malformed(format!("Unknown field {unknown}")));
    }
    if let Some(version) = policy.get("Version")
        && !matches!(version.as_str(), Some("2012-10-17" | "2008-10-17"))
    {
        return Err(malformed("The policy must contain a valid version string"));
    }
    let statements = match policy.get("Statement") {
        Some(Value::Array(statements)) if !statements.is_empty() => statements.as_slice(),
        Some(statement @ Value::Object(_)) => std::slice::from_ref(statement),
        Some(Value::Array(_)) => {
            return Err(malformed("Could not parse the policy: Statement is empty!"));
        }
        _ => return Err(malformed("Missing required field Statement")),
    };
    for statement in statements {
        let Some(statement) = statement.as_object() else {
            return Err(malformed(
                "Could not parse the policy: Statement is not an object",
            ));
        };
        check_statement(bucket, statement)?;
    }
    Document::parse(text).map_err(|error| malformed(format!("Policy is malformed: {error}")))?;
    Ok(())
}

/// Returns the one of two fields that a statement has (true for the first); it must have exactly
/// one.
fn one_of<'a>(statement: &'a Map<String, Value>, names: [&str; 2]) -> ApiResult<(bool, &'a Value)> {
    match (statement.get(names[0]), statement.get(names[1])) {
        (Some(value), None) => Ok((true, value)),
        (None, Some(value)) => Ok((false, value)),
        (Some(_), Some(_)) => Err(malformed(format!(
            "Statement cannot have both {} and {}",
            names[0], names[1]
        ))),
        (None, None) => Err(malformed(format!("Missing required field {}", names[0]))),
    }
}

fn check_statement(bucket: &str, statement: &Map<String, Value>) -> ApiResult<()> {
    if let Some(unknown) = statement
        .keys()
        .find(|name| !STATEMENT_ELEMENTS.contains(&name.as_str()))
    {
        return Err(malformed(format!("Unknown field {unknown}")));
    }
    match statement.get("Effect").map(Value::as_str) {
        Some(Some("Allow" | "Deny")) => {}
        Some(effect) => {
            return Err(malformed(format!(
                "Invalid effect: {}",
                effect.unwrap_or("")
            )));
        }
        None => return Err(malformed("Missing required field Effect")),
    }
    let (_, principal) = one_of(statement, ["Principal", "NotPrincipal"])?;
    let known = match principal {
        Value::String(text) => text == "*",
        Value::Object(kinds) => {
            !kinds.is_empty()
                && kinds.iter().all(|(kind, value)| {
                    matches!(
                        kind.as_str(),
                        "AWS" | "Service" | "Federated" | "CanonicalUser"
                    ) && texts(value).is_some_and(|texts| !texts.is_empty())
                })
        }
        _ => false,
    };
    if !known {
        return Err(malformed("Invalid principal in policy"));
    }
    let (_, action) = one_of(statement, ["Action", "NotAction"])?;
    let actions = texts(action).unwrap_or_default();
    let named = |action: &&str| *action == "*" || action.to_ascii_lowercase().starts_with("s3:");
    if actions.is_empty() || !actions.iter().all(named) {
        return Err(malformed("Policy has invalid action"));
    }
    let (positive, resource) = one_of(statement, ["Resource", "NotResource"])?;
    let resources = texts(resource).unwrap_or_default();
    if resources.is_empty()
        || !resources
            .iter()
            .all(|resource| covers_only(bucket, resource, positive))
    {
        return Err(malformed("Policy has invalid resource"));
    }
    if statement
        .get("Condition")
        .is_some_and(|condition| !condition.is_object())
    {
        return Err(malformed("Policy has invalid condition"));
    }
    Ok(())
}

/// True if a resource is the bucket or in it. `NotResource` may name other buckets.
fn covers_only(bucket: &str, resource: &str, positive: bool) -> bool {
    if resource == "*" {
        return true;
    }
    let Some(name) = resource
        .strip_prefix("arn:")
        .and_then(|rest| rest.split_once(":s3:::"))
        .map(|(_partition, name)| name)
    else {
        return false;
    };
    let (of, _) = name.split_once('/').unwrap_or((name, ""));
    !positive || of == bucket || matches_wildcard(of, bucket)
}

/// `*` matches any text, `?` any one character.
fn matches_wildcard(pattern: &str, text: &str) -> bool {
    glob::Pattern::new(&pattern.replace('[', "[[]")).is_ok_and(|pattern| pattern.matches(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_policy_must_be_complete_and_name_its_bucket() {
        let statement = json!({"Effect": "Deny", "Principal": "*", "Action": "s3:*",
                               "Resource": ["arn:aws:s3:::b", "arn:aws:s3:::b/*"]});
        let with = |name: &str, value: Value| {
            let mut statement = statement.clone();
            if value.is_null() {
                statement.as_object_mut().unwrap().remove(name);
            } else {
                statement[name] = value;
            }
            check("b", &json!({"Statement": [statement]}).to_string()).map_err(|e| e.message)
        };
        let none = || Value::Null;
        assert_eq!(with("Sid", json!("x")), Ok(()));
        assert_eq!(with("Principal", json!({"AWS": ["*"]})), Ok(()));
        assert_eq!(with("Resource", json!("arn:aws:s3:::?/x")), Ok(()));
        for (name, value, expected) in [
            ("Principal", none(), "Missing required field Principal"),
            ("Principal", json!("me"), "Invalid principal in policy"),
            (
                "Principal",
                json!({"Who": "me"}),
                "Invalid principal in policy",
            ),
            ("Effect", json!("allow"), "Invalid effect: allow"),
            ("Action", none(), "Missing required field Action"),
            ("Action", json!("GetObject"), "Policy has invalid action"),
            (
                "Resource",
                json!("arn:aws:s3:::other/*"),
                "Policy has invalid resource",
            ),
            ("Resource", json!("b"), "Policy has invalid resource"),
            ("Resources", json!("*"), "Unknown field Resources"),
        ] {
            assert_eq!(with(name, value), Err(expected.to_owned()), "{name}");
        }
        for text in [
            "",
            "[]",
            "{}",
            r#"{"Statement": []}"#,
            r#"{"Version": "1", "Statement": {}}"#,
        ] {
            assert_eq!(
                check("b", text).unwrap_err().code,
                "MalformedPolicy",
                "{text}"
            );
        }
    }
}
