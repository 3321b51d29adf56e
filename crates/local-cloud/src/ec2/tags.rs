//! Tags of anything in a network.

use serde_json::{Value, json};

use super::filters;
use super::kinds::{ALL, Kind, changing, given, text, texts};
use crate::api::{ApiError, ApiResult};
use crate::{Cloud, system_tags};

/// Adds tags of a request (`Key`, `Value`) to a record's, replacing those with the same keys.
pub(super) fn merge(tags: &mut Vec<Value>, new: &Value) {
    for tag in new.as_array().into_iter().flatten() {
        let key = text(tag, "Key");
        tags.retain(|old| text(old, "key") != key);
        tags.push(json!({"key": key, "value": text(tag, "Value")}));
    }
}

fn kind_of(id: &str) -> ApiResult<&'static Kind> {
    let prefix = id.rsplit_once('-').map_or("", |(prefix, _)| prefix);
    ALL.into_iter()
        .find(|kind| kind.prefix == prefix)
        .ok_or_else(|| ApiError::new("InvalidID", format!("The ID '{id}' is not valid")))
}

fn change(cloud: &Cloud, input: &Value, change: impl Fn(&mut Vec<Value>)) -> ApiResult<Value> {
    let _change = changing(cloud);
    let ids = match texts(input, "ResourceId") {
        ids if ids.is_empty() => texts(input, "Resource"),
        ids => ids,
    };
    for id in &ids {
        kind_of(id)?.require(cloud, id)?;
    }
    for id in &ids {
        kind_of(id)?.records(cloud).update(id, |record| {
            if let Value::Array(tags) = &mut record["tagSet"] {
                change(tags);
            }
            Ok(())
        })?;
    }
    Ok(super::done())
}

pub(super) async fn create(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    change(cloud, &input, |tags| {
        merge(tags, given(&input, "Tag", "Tags"));
    })
}

/// Without tags, all but those of AWS are removed; with a value, only a tag that has it.
pub(super) async fn delete(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let Some(wanted) = given(&input, "Tag", "Tags").as_array() else {
        return change(cloud, &input, |tags| {
            tags.retain(|tag| system_tags::is_reserved(text(tag, "key")));
        });
    };
    change(cloud, &input, |tags| {
        tags.retain(|tag| {
            !wanted.iter().any(|wanted| {
                text(wanted, "Key") == text(tag, "key")
                    && wanted
                        .get("Value")
                        .is_none_or(|value| value == &tag["value"])
            })
        });
    })
}

pub(super) async fn describe(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let filters = filters::parse(
        &input,
        &[
            ("key", "key"),
            ("value", "value"),
            ("resource-id", "resourceId"),
            ("resource-type", "resourceType"),
        ],
    )?;
    let mut found = Vec::new();
    for kind in ALL {
        for (id, record) in kind.records(cloud).list("")? {
            for tag in record["tagSet"].as_array().into_iter().flatten() {
                found.push(json!({
                    "resourceId": id,
                    "resourceType": kind.name,
                    "key": tag["key"],
                    "value": tag["value"],
                }));
            }
        }
    }
    found.retain(|tag| filters.iter().all(|filter| filter.matches(tag)));
    Ok(json!({"tagSet": found}))
}
