//! The IAM statements in a resource's properties, one line each: what `mlops plan` compares.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// The statements that a change adds and removes.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Permissions {
    /// Only before the change.
    pub before: Vec<String>,
    /// Only after the change.
    pub after: Vec<String>,
}

impl Permissions {
    /// Compares the contexts of a change, as CloudFormation returns them.
    pub(super) fn between(before: Option<&str>, after: Option<&str>) -> Self {
        let (before, after) = (of_context(before), of_context(after));
        Self {
            before: before.difference(&after).cloned().collect(),
            after: after.difference(&before).cloned().collect(),
        }
    }

    /// Whether the change touches no permission.
    pub fn is_empty(&self) -> bool {
        self.before.is_empty() && self.after.is_empty()
    }
}

/// The statements of a context: a JSON text with the member `Properties`.
fn of_context(context: Option<&str>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let parsed: Option<Value> = context.and_then(|text| serde_json::from_str(text).ok());
    if let Some(properties) = parsed
        .as_ref()
        .and_then(|context| context.get("Properties"))
    {
        collect(properties, "", &mut found);
    }
    found
}

fn collect(value: &Value, label: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            if let Some(statements) = members.get("Statement") {
                for statement in each(statements) {
                    if let Value::Object(statement) = statement {
                        found.insert(format!("{label}{}", line(statement)));
                    }
                }
                return;
            }
            let own = members.get("PolicyName").and_then(Value::as_str);
            let own = own.map(|name| format!("{name}: "));
            for (name, member) in members {
                match name.as_str() {
                    "AssumeRolePolicyDocument" => collect(member, "trust: ", found),
                    "ManagedPolicyArns" => found.extend(
                        each(member)
                            .into_iter()
                            .map(|arn| format!("attached: {}", text(arn))),
                    ),
                    "PermissionsBoundary" => {
                        found.insert(format!("boundary: {}", text(member)));
                    }
                    _ => collect(member, own.as_deref().unwrap_or(label), found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, label, found)),
        // Policies of registries and repositories are JSON texts.
        Value::String(json) if json.trim_start().starts_with('{') => {
            if let Ok(parsed) = serde_json::from_str(json) {
                collect(&parsed, label, found);
            }
        }
        _ => {}
    }
}

/// An element, or each of a list.
fn each(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        one => vec![one],
    }
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn joined(value: &Value) -> String {
    let mut all: Vec<String> = each(value).into_iter().map(text).collect();
    all.sort();
    all.join(", ")
}

/// One statement in words: `Allow s3:GetObject on ARN, if StringEquals KEY = VALUE`.
fn line(statement: &Map<String, Value>) -> String {
    let get = |name: &str| statement.get(name);
    let mut words = get("Effect").map(text).unwrap_or_default();
    for (name, before) in [("Action", " "), ("NotAction", " everything but ")] {
        if let Some(actions) = get(name) {
            words += &format!("{before}{}", joined(actions));
        }
    }
    for (name, before) in [("Resource", " on "), ("NotResource", " on everything but ")] {
        if let Some(resources) = get(name) {
            words += &format!("{before}{}", joined(resources));
        }
    }
    for (name, before) in [("Principal", " for "), ("NotPrincipal", " for all but ")] {
        match get(name) {
            Some(Value::Object(kinds)) => {
                let kinds: Vec<String> = kinds.values().map(joined).collect();
                words += &format!("{before}{}", kinds.join(", "));
            }
            Some(other) => words += &format!("{before}{}", text(other)),
            None => {}
        }
    }
    if let Some(Value::Object(conditions)) = get("Condition") {
        for (operator, keys) in conditions {
            for (key, values) in keys.as_object().into_iter().flatten() {
                words += &format!(", if {operator} {key} = {}", joined(values));
            }
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn role(action: &str) -> String {
        json!({"Properties": {
            "AssumeRolePolicyDocument": {"Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole",
                "Principal": {"Service": "lambda.amazonaws.com"}}]},
            "ManagedPolicyArns": ["arn:read"],
            "Policies": [{"PolicyName": "p", "PolicyDocument": {"Statement": {"Effect": "Allow",
                "Action": ["s3:PutObject", action], "Resource": "arn:b", "Condition":
                {"StringEquals": {"aws:SourceAccount": "1"}}}}}],
        }})
        .to_string()
    }

    #[test]
    fn statements_before_and_after_are_compared() {
        let (before, after) = (role("s3:GetObject"), role("s3:ListBucket"));
        let found = Permissions::between(Some(&before), Some(&after));
        assert_eq!(
            found.before,
            ["p: Allow s3:GetObject, s3:PutObject on arn:b, if StringEquals aws:SourceAccount = 1"]
        );
        assert_eq!(
            found.after,
            [
                "p: Allow s3:ListBucket, s3:PutObject on arn:b, if StringEquals aws:SourceAccount = 1"
            ]
        );
        assert!(Permissions::between(Some(&before), Some(&before)).is_empty());
        let added = Permissions::between(None, Some(&before));
        assert_eq!(added.before, [""; 0]);
        assert_eq!(added.after[0], "attached: arn:read");
        assert_eq!(
            added.after[2],
            "trust: Allow sts:AssumeRole for lambda.amazonaws.com"
        );
    }
}
