//! Tags of network resources.

use serde::Deserialize;
use serde_json::{Value, json};

use super::kinds::{ALL, Kind, changing, text};
use super::requests::{Describe, merge};
use crate::api::form::list;
use crate::api::tags::Tags;
use crate::api::{ApiError, ApiResult};
use crate::{Cloud, system_tags};

fn kind_of(id: &str) -> ApiResult<&'static Kind> {
    let prefix = id.rsplit_once('-').map_or("", |(prefix, _)| prefix);
    ALL.into_iter()
        .find(|kind| kind.prefix == prefix)
        .ok_or_else(|| ApiError::new("InvalidID", format!("The ID '{id}' is not valid")))
}

fn change(cloud: &Cloud, ids: &[String], change: impl Fn(&mut Vec<Value>)) -> ApiResult<Value> {
    let _change = changing(cloud);
    for id in ids {
        kind_of(id)?.require(cloud, id)?;
    }
    for id in ids {
        kind_of(id)?.records(cloud).update(id, |record| {
            if let Value::Array(tags) = &mut record["tagSet"] {
                change(tags);
            }
            Ok(())
        })?;
    }
    Ok(super::done())
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct TagResources {
    #[serde(deserialize_with = "list")]
    resource_id: Vec<String>,
    tag: Option<Tags>,
}

pub(super) async fn create(cloud: &Cloud, input: TagResources) -> ApiResult<Value> {
    let new = input.tag.unwrap_or_default();
    change(cloud, &input.resource_id, |tags| merge(tags, new.iter()))
}

/// Removes tags: all except AWS's if the request names none; with a value, only a tag that has this value.
pub(super) async fn delete(cloud: &Cloud, input: TagResources) -> ApiResult<Value> {
    let Some(wanted) = input.tag.filter(|tags| !tags.is_empty()) else {
        return change(cloud, &input.resource_id, |tags| {
            tags.retain(|tag| system_tags::is_reserved(text(tag, "key")));
        });
    };
    change(cloud, &input.resource_id, |tags| {
        tags.retain(|tag| {
            !wanted.iter().any(|wanted| {
                tag["key"] == wanted.key.as_str()
                    && (wanted.value.as_deref()).is_none_or(|value| tag["value"] == value)
            })
        });
    })
}

pub(super) async fn describe(cloud: &Cloud, input: Describe) -> ApiResult<Value> {
    let filters = input.filters(&[
        ("key", "key"),
        ("value", "value"),
        ("resource-id", "resourceId"),
        ("resource-type", "resourceType"),
    ])?;
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
