//! `Filter.N.Name` and `Filter.N.Value.M`: which records a describe operation returns.

use serde::Deserialize;
use serde_json::Value;

use crate::api::form::list;
use crate::api::{ApiError, ApiResult};

/// A filter of a request.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct FilterRequest {
    name: String,
    #[serde(deserialize_with = "list")]
    value: Vec<String>,
}

impl FilterRequest {
    pub(super) fn new(name: &str, value: Vec<String>) -> Self {
        Self {
            name: name.to_owned(),
            value,
        }
    }
}

/// A filter on this kind of record: a record passes if one of its values matches one of the filter's values.
#[derive(Debug)]
pub(super) struct Filter {
    source: FilterKey,
    values: Vec<String>,
}

#[derive(Debug)]
enum FilterKey {
    Path(&'static str),
    Tag(String),
    TagKey,
}

/// Parses the filters of a request. `known` pairs this kind's filter names with paths into its
/// records; all kinds support `tag:KEY` and `tag-key`.
pub(super) fn read<'a>(
    given: impl IntoIterator<Item = &'a FilterRequest>,
    known: &[(&str, &'static str)],
) -> ApiResult<Vec<Filter>> {
    given
        .into_iter()
        .map(|filter| {
            let name = filter.name.as_str();
            let source = if let Some(key) = name.strip_prefix("tag:") {
                FilterKey::Tag(key.to_owned())
            } else if name == "tag-key" {
                FilterKey::TagKey
            } else if let Some((_, path)) = known.iter().find(|(known, _)| *known == name) {
                FilterKey::Path(path)
            } else {
                return Err(ApiError::new(
                    "InvalidParameterValue",
                    format!("The filter '{name}' is invalid"),
                ));
            };
            Ok(Filter {
                source,
                values: filter.value.clone(),
            })
        })
        .collect()
}

impl Filter {
    /// True if the record passes.
    pub(super) fn matches(&self, record: &Value) -> bool {
        let tags = || record["tagSet"].as_array().into_iter().flatten();
        let text = |tag: &Value, member: &str| tag[member].as_str().unwrap_or_default().to_owned();
        let found: Vec<String> = match &self.source {
            FilterKey::Path(path) => {
                let mut found = Vec::new();
                collect(record, path, &mut found);
                found
            }
            FilterKey::Tag(key) => tags()
                .filter(|tag| tag["key"] == key.as_str())
                .map(|tag| text(tag, "value"))
                .collect(),
            FilterKey::TagKey => tags().map(|tag| text(tag, "key")).collect(),
        };
        found
            .iter()
            .any(|value| self.values.iter().any(|pattern| wild(pattern, value)))
    }
}

/// The values at a dotted path, through lists.
fn collect(value: &Value, path: &str, found: &mut Vec<String>) {
    if let Value::Array(items) = value {
        for item in items {
            collect(item, path, found);
        }
    } else if path.is_empty() {
        match value {
            Value::String(text) => found.push(text.clone()),
            Value::Bool(_) | Value::Number(_) => found.push(value.to_string()),
            _ => {}
        }
    } else {
        let (first, rest) = path.split_once('.').unwrap_or((path, ""));
        collect(&value[first], rest, found);
    }
}

/// Matches EC2's patterns: `*` any text, `?` one character, `\` escapes the next character.
fn wild(pattern: &str, text: &str) -> bool {
    fn matches(pattern: &[char], text: &[char]) -> bool {
        match pattern {
            [] => text.is_empty(),
            ['*', rest @ ..] => (0..=text.len()).any(|skip| matches(rest, &text[skip..])),
            ['?', rest @ ..] => !text.is_empty() && matches(rest, &text[1..]),
            ['\\', c, rest @ ..] | [c, rest @ ..] => {
                text.first() == Some(c) && matches(rest, &text[1..])
            }
        }
    }
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    matches(&pattern, &text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn given(filter: &Value) -> FilterRequest {
        crate::api::parse(filter.clone()).unwrap()
    }

    fn passes(filter: &Value) -> bool {
        let record = json!({
            "vpcId": "vpc-1",
            "associationSet": [{"main": true}, {"main": false, "subnetId": "subnet-2"}],
            "tagSet": [{"key": "Name", "value": "flights-network"}],
        });
        let known = [
            ("vpc-id", "vpcId"),
            ("association.main", "associationSet.main"),
            ("association.subnet-id", "associationSet.subnetId"),
        ];
        read(&[given(filter)], &known)
            .unwrap()
            .iter()
            .all(|filter| filter.matches(&record))
    }

    #[test]
    fn filters_look_into_lists_and_tags() {
        assert!(passes(&json!({"Name": "vpc-id", "Value": ["x", "vpc-1"]})));
        assert!(!passes(&json!({"Name": "vpc-id", "Value": ["vpc-2"]})));
        assert!(passes(
            &json!({"Name": "association.main", "Value": ["true"]})
        ));
        assert!(passes(
            &json!({"Name": "association.subnet-id", "Value": ["subnet-?"]})
        ));
        assert!(passes(&json!({"Name": "tag:Name", "Value": ["flights*"]})));
        assert!(!passes(&json!({"Name": "tag:Name", "Value": ["flights"]})));
        assert!(passes(&json!({"Name": "tag-key", "Value": ["Name"]})));
        let error = read(&[given(&json!({"Name": "color", "Value": ["x"]}))], &[]).unwrap_err();
        assert!(error.message.contains("color"));
    }
}
