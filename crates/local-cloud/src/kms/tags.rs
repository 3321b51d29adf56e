//! Tags of keys.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Empty, PageRequest, change, require, stored};
use crate::Cloud;
use crate::api::tags::Tags;
use crate::api::{ApiError, ApiResult};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct TagKey {
    key_id: String,
    tags: Tags,
}

pub(super) async fn add(cloud: &Cloud, input: TagKey) -> ApiResult<Empty> {
    let tags = stored(input.tags)?;
    change(cloud, &input.key_id, |key| {
        for tag in tags {
            key.tags.retain(|old| old.tag_key != tag.tag_key);
            key.tags.push(tag);
        }
        Ok(Empty {})
    })
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UntagKey {
    key_id: String,
    tag_keys: Vec<String>,
}

pub(super) async fn remove(cloud: &Cloud, input: UntagKey) -> ApiResult<Empty> {
    change(cloud, &input.key_id, |key| {
        key.tags
            .retain(|tag| !input.tag_keys.contains(&tag.tag_key));
        Ok(Empty {})
    })
}

pub(super) async fn list(cloud: &Cloud, page: PageRequest) -> ApiResult<Value> {
    let name = page
        .key_id
        .as_deref()
        .ok_or_else(|| ApiError::validation("KeyId is required"))?;
    let tags = require(cloud, name)?
        .tags
        .iter()
        .map(|tag| json!(tag))
        .collect();
    page.cut("Tags", tags)
}
