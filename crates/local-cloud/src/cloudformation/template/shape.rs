//! The shape of a template, apart from its sections.

use serde_json::{Map, Value};

use super::invalid;
use crate::api::ApiResult;

/// The path of the first null.
pub(super) fn null(members: &Map<String, Value>) -> Option<String> {
    fn within(value: &Value) -> Option<String> {
        match value {
            Value::Null => Some(String::new()),
            Value::Array(items) => items
                .iter()
                .enumerate()
                .find_map(|(index, item)| within(item).map(|rest| format!("/{index}{rest}"))),
            Value::Object(members) => null(members),
            _ => None,
        }
    }
    members
        .iter()
        .find_map(|(name, member)| within(member).map(|rest| format!("/{name}{rest}")))
}

/// Checks that mappings have two levels of keys with text or lists below.
pub(super) fn check_mapping(name: &str, mapping: &Value) -> ApiResult<()> {
    let Value::Object(top) = mapping else {
        return Err(invalid(format!(
            "Template format error: Every Mappings member {name} must be a map"
        )));
    };
    for (key, second) in top {
        let Value::Object(second) = second else {
            return Err(invalid(format!(
                "Template format error: Every Mappings member {key} must be a map"
            )));
        };
        let nested = |value: &Value| {
            value.is_object()
                || value.as_array().is_some_and(|items| {
                    items.iter().any(|item| item.is_object() || item.is_array())
                })
        };
        if second.values().any(nested) {
            return Err(invalid(
                "Template format error: Every Mappings attribute must be a String or a List.",
            ));
        }
    }
    Ok(())
}
