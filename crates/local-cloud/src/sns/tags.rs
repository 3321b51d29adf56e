//! The tags of topics.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::topics::{self, limited};
use crate::Cloud;
use crate::api::form;
use crate::api::tags::Tags;
use crate::api::{ApiError, ApiResult};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Tagging {
    #[serde(default)]
    resource_arn: String,
    #[serde(default)]
    tags: Tags,
    #[serde(default, deserialize_with = "form::list")]
    tag_keys: Vec<String>,
}

fn change(
    cloud: &Cloud,
    arn: &str,
    work: impl FnOnce(&mut BTreeMap<String, String>) -> ApiResult<()>,
) -> ApiResult<Value> {
    let changed = topics::change(cloud, arn, |topic| work(&mut topic.tags));
    changed.map_err(absent)?;
    Ok(json!({}))
}

/// The operations on tags have an error of their own for a topic that does not exist.
fn absent(error: ApiError) -> ApiError {
    if error.is_not_found() {
        return ApiError::not_found("ResourceNotFound", "Resource does not exist").status(404);
    }
    error
}

/// `TagResource`
pub(super) async fn add(cloud: &Cloud, input: Tagging) -> ApiResult<Value> {
    change(cloud, &input.resource_arn, |tags| {
        let mut all = tags.clone();
        all.extend(input.tags.into_map());
        *tags = limited(all)?;
        Ok(())
    })
}

/// `UntagResource`
pub(super) async fn remove(cloud: &Cloud, input: Tagging) -> ApiResult<Value> {
    change(cloud, &input.resource_arn, |tags| {
        tags.retain(|key, _| !input.tag_keys.contains(key));
        Ok(())
    })
}

/// `ListTagsForResource`
pub(super) async fn list(cloud: &Cloud, input: Tagging) -> ApiResult<Value> {
    let topic = topics::require(cloud, &input.resource_arn).map_err(absent)?;
    let tags = topic.tags.iter();
    let tags: Vec<Value> = tags
        .map(|(key, value)| json!({"Key": key, "Value": value}))
        .collect();
    Ok(json!({"Tags": tags}))
}
