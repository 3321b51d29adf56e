//! Writes values to requests and finds them in responses.

use serde_json::{Map, Value, json};

use super::table::{Spelling, Tags};
use super::tags as tags_of;
use crate::cloudformation::template::text_of;

/// The items at a path: `*` is each element of a list, or the value of each member of an object.
pub(super) fn items<'a>(answer: &'a Value, path: &str) -> Vec<&'a Value> {
    let mut found = vec![answer];
    for name in path.split('/').filter(|name| !name.is_empty()) {
        found = found
            .into_iter()
            .flat_map(|value| match name {
                "*" => match value {
                    Value::Array(items) => items.iter().collect(),
                    Value::Object(members) => members.values().collect(),
                    _ => Vec::new(),
                },
                name => value.get(name).into_iter().collect::<Vec<_>>(),
            })
            .collect();
    }
    found
}

/// Puts a value at a member's path: see [`Argument::member`].
pub(super) fn put(input: &mut Map<String, Value>, member: &str, value: Value) {
    if let Some((outer, inner)) = member.split_once('.') {
        let outer = input.entry(outer).or_insert_with(|| json!({}));
        if let Value::Object(outer) = outer {
            put(outer, inner, value);
        }
    } else if let Some(name) = member.strip_suffix("[]") {
        input.insert(name.to_owned(), Value::Array(vec![value]));
    } else if member.is_empty() {
        if let Value::Object(members) = value {
            input.extend(members);
        }
    } else {
        input.insert(member.to_owned(), value);
    }
}

/// The tags in the create call.
pub(super) fn created_tags(tags: Tags, properties: &Map<String, Value>) -> Value {
    let value = spelled_tags(tags, properties).unwrap_or_default();
    match tags.spelling {
        Spelling::Specification(kind) => json!([{"ResourceType": kind, "Tag": value}]),
        _ => value,
    }
}

/// The tags in the form of the API; `None` without tags.
pub(super) fn spelled_tags(tags: Tags, properties: &Map<String, Value>) -> Option<Value> {
    let found = tags_of(properties);
    let pairs = found.iter().map(|tag| (tag.get("Key"), tag.get("Value")));
    let spelled = match tags.spelling {
        Spelling::Pairs | Spelling::Specification(_) => Value::Array(found.clone()),
        Spelling::LowerPairs => pairs
            .map(|(key, value)| json!({"key": key, "value": value}))
            .collect(),
        Spelling::TagPairs => pairs
            .map(|(key, value)| json!({"TagKey": key, "TagValue": value}))
            .collect(),
        Spelling::Object => pairs
            .filter_map(|(key, value)| Some((key?.as_str()?.to_owned(), value?.clone())))
            .collect(),
    };
    (!found.is_empty()).then_some(spelled)
}

/// The keys of tags to remove, in the form of the API; `None` without keys.
pub(super) fn spelled_keys(tags: Tags, keys: Vec<Value>) -> Option<Value> {
    if keys.is_empty() {
        return None;
    }
    Some(match tags.spelling {
        Spelling::Specification(_) => keys.into_iter().map(|key| json!({"Key": key})).collect(),
        _ => Value::Array(keys),
    })
}

/// Numbers and booleans as a form writes them.
pub(super) fn as_text(value: Value) -> Value {
    match value {
        Value::Object(object) => object
            .into_iter()
            .map(|(name, value)| (name, as_text(value)))
            .collect(),
        Value::Array(items) => items.into_iter().map(as_text).collect(),
        Value::Null => Value::Null,
        scalar => Value::String(text_of(&scalar)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_have_paths() {
        let mut input = Map::new();
        put(&mut input, "A.B", json!(1));
        put(&mut input, "A.C", json!(2));
        put(&mut input, "D[]", json!(3));
        put(&mut input, "", json!({"E": 4}));
        let wanted = json!({"A": {"B": 1, "C": 2}, "D": [3], "E": 4});
        assert_eq!(Value::Object(input), wanted);
        let answer = json!({"set": [{"in": [1, 2]}, {"in": [3]}, {}]});
        assert_eq!(
            items(&answer, "/set/*/in/*"),
            [&json!(1), &json!(2), &json!(3)]
        );
        let page = json!({"vpcSet": [1, 2], "nextToken": "t"});
        assert_eq!(items(&page, "/*/*"), [&json!(1), &json!(2)]);
        assert_eq!(items(&answer, ""), [&answer]);
    }
}
