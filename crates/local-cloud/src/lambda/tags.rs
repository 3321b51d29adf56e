//! The tags of functions.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::records::{find, records};
use super::{name_of, not_found};
use crate::Cloud;
use crate::api::ApiResult;
use crate::api::tags::Tags;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Tag {
    resource: String,
    #[serde(default)]
    tags: Tags,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Untag {
    resource: String,
    #[serde(default)]
    tag_keys: Vec<String>,
}

pub(super) async fn list(cloud: &Cloud, input: Tag) -> ApiResult<Value> {
    let name = name_of(cloud, &input.resource, None)?;
    Ok(json!({"Tags": find(cloud, &name)?.tags}))
}

pub(super) async fn tag(cloud: &Cloud, input: Tag) -> ApiResult<Value> {
    change(cloud, &input.resource, |tags| {
        tags.extend(input.tags.into_map());
    })
}

pub(super) async fn untag(cloud: &Cloud, input: Untag) -> ApiResult<Value> {
    change(cloud, &input.resource, |tags| {
        tags.retain(|key, _| !input.tag_keys.contains(key));
    })
}

fn change(
    cloud: &Cloud,
    resource: &str,
    change: impl FnOnce(&mut BTreeMap<String, String>),
) -> ApiResult<Value> {
    let name = name_of(cloud, resource, None)?;
    records(cloud)
        .update(&name, |record| {
            change(&mut record.tags);
            Ok(())
        })?
        .ok_or_else(|| not_found(cloud, &name))?;
    Ok(Value::Null)
}
