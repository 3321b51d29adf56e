//! Compares the properties of a template with those of the live resource.

use serde_json::{Map, Value, json};

use super::Type;
use super::schema::Schema;
use crate::cloudformation::template::text_of;

/// A difference between a property of the template and its live value, as `DescribeStackResourceDrifts`
/// returns it.
pub(crate) fn differences(
    kind: &Type,
    expected: &Map<String, Value>,
    actual: &Map<String, Value>,
) -> Vec<Value> {
    let schema = Schema::of(kind.name);
    let mut found = Vec::new();
    for (name, wanted) in expected {
        let of = schema.and_then(|schema| schema.member(name));
        compare(
            of,
            &format!("/{name}"),
            wanted,
            actual.get(name),
            &mut found,
        );
    }
    found
}

fn difference(kind: &str, path: &str, expected: &Value, actual: &Value) -> Value {
    let text = |value: &Value| match value {
        Value::Null => "null".to_owned(),
        value => text_of(value),
    };
    json!({
        "PropertyPath": path,
        "ExpectedValue": text(expected),
        "ActualValue": text(actual),
        "DifferenceType": kind,
    })
}

/// A document that is JSON text, as a value.
fn parsed(value: &Value) -> Option<Value> {
    match value {
        Value::String(text) if text.trim_start().starts_with(['{', '[']) => {
            serde_json::from_str(text).ok()
        }
        value @ (Value::Object(_) | Value::Array(_)) => Some(value.clone()),
        _ => None,
    }
}

/// Adds the differences at a path. Members that a service adds to an object of the template are its
/// defaults, and no drift; an element that it adds to a list is.
fn compare(
    schema: Option<Schema>,
    path: &str,
    expected: &Value,
    actual: Option<&Value>,
    found: &mut Vec<Value>,
) {
    let Some(actual) = actual else {
        found.push(difference("REMOVE", path, expected, &Value::Null));
        return;
    };
    match (expected, actual) {
        (Value::Object(wanted), Value::Object(live)) => {
            if schema.is_none_or(Schema::is_document) {
                if expected != actual {
                    found.push(difference("NOT_EQUAL", path, expected, actual));
                }
                return;
            }
            for (name, value) in wanted {
                let of = schema.and_then(|schema| schema.member(name));
                compare(of, &format!("{path}/{name}"), value, live.get(name), found);
            }
            if schema.is_some_and(Schema::is_map) {
                for (name, value) in live.iter().filter(|(name, _)| !wanted.contains_key(*name)) {
                    let path = format!("{path}/{name}");
                    found.push(difference("ADD", &path, &Value::Null, value));
                }
            }
        }
        (Value::Array(wanted), Value::Array(live)) => {
            compare_lists(schema.and_then(Schema::item), path, wanted, live, found);
        }
        (wanted, live) if parsed(wanted).is_some() && parsed(wanted) == parsed(live) => {}
        (wanted, live) if text_of(wanted) == text_of(live) => {}
        (wanted, live) => found.push(difference("NOT_EQUAL", path, wanted, live)),
    }
}

/// Elements are compared in any order: services return many lists in an order of their own.
fn compare_lists(
    schema: Option<Schema>,
    path: &str,
    wanted: &[Value],
    live: &[Value],
    found: &mut Vec<Value>,
) {
    let mut left: Vec<&Value> = live.iter().collect();
    let mut missing = Vec::new();
    for (index, element) in wanted.iter().enumerate() {
        let is_same = |other: &&Value| {
            let mut differences = Vec::new();
            compare(schema, "", element, Some(other), &mut differences);
            differences.is_empty()
        };
        match left.iter().position(is_same) {
            Some(at) => drop(left.remove(at)),
            None => missing.push((index, element)),
        }
    }
    let mut left = left.into_iter();
    for (index, element) in missing {
        let path = format!("{path}/{index}");
        match left.next() {
            Some(other) => compare(schema, &path, element, Some(other), found),
            None => found.push(difference("REMOVE", &path, element, &Value::Null)),
        }
    }
    for (index, other) in left.enumerate() {
        let path = format!("{path}/{}", wanted.len() + index);
        found.push(difference("ADD", &path, &Value::Null, other));
    }
}

#[cfg(test)]
mod tests {
    use super::super::by_name;
    use super::*;

    fn found(kind: &str, expected: &Value, actual: &Value) -> Vec<(String, String)> {
        let of = |value: &Value| value.as_object().cloned().unwrap();
        differences(by_name(kind).unwrap(), &of(expected), &of(actual))
            .iter()
            .map(|found| {
                let text = |name: &str| found[name].as_str().unwrap().to_owned();
                (text("DifferenceType"), text("PropertyPath"))
            })
            .collect()
    }

    #[test]
    fn differences_have_paths_and_kinds() {
        let expected = json!({
            "Timeout": 3, "Handler": "a", "Environment": {"Variables": {"A": "1", "B": "2"}},
            "Tags": [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "1"}],
            "EphemeralStorage": {"Size": 512},
        });
        let same = json!({
            "Timeout": "3", "Handler": "a", "Environment": {"Variables": {"B": "2", "A": "1"}},
            "Tags": [{"Key": "b", "Value": "1"}, {"Key": "a", "Value": "1"}],
            "EphemeralStorage": {"Size": 512, "Default": true},
        });
        let kind = "AWS::Lambda::Function";
        assert_eq!(found(kind, &expected, &same), []);
        let other = json!({
            "Timeout": 4, "Environment": {"Variables": {"A": "3", "C": "1"}},
            "Tags": [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}, {"Key": "c", "Value": "1"}],
            "EphemeralStorage": {},
        });
        let mut shown = found(kind, &expected, &other);
        shown.sort();
        let shown: Vec<String> = shown
            .into_iter()
            .map(|(kind, path)| format!("{kind} {path}"))
            .collect();
        assert_eq!(
            shown,
            [
                "ADD /Environment/Variables/C",
                "ADD /Tags/2",
                "NOT_EQUAL /Environment/Variables/A",
                "NOT_EQUAL /Tags/1/Value",
                "NOT_EQUAL /Timeout",
                "REMOVE /Environment/Variables/B",
                "REMOVE /EphemeralStorage/Size",
                "REMOVE /Handler",
            ]
        );
    }

    #[test]
    fn documents_are_compared_as_a_whole() {
        let kind = "AWS::KMS::Key";
        let policy = json!({"Version": "1", "Statement": [{"Effect": "Allow"}]});
        let text = policy.to_string();
        let expected = json!({"KeyPolicy": policy});
        assert_eq!(found(kind, &expected, &json!({"KeyPolicy": text})), []);
        let other =
            json!({"KeyPolicy": {"Version": "1", "Statement": [{"Effect": "Allow"}], "Id": "x"}});
        let differs = found(kind, &expected, &other);
        assert_eq!(differs, [("NOT_EQUAL".to_owned(), "/KeyPolicy".to_owned())]);
    }
}
