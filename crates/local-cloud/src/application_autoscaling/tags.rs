//! Tags of scalable targets.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Target, targets};
use crate::Cloud;
use crate::api::tags::Tags;
use crate::api::{ApiError, ApiResult};

/// Maximum number of tags of a target; AWS's own limit.
const MAX_TAGS: usize = 50;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Tagging {
    #[serde(rename = "ResourceARN")]
    arn: String,
    #[serde(default)]
    tags: Tags,
    #[serde(default)]
    tag_keys: Vec<String>,
}

/// The key of a target's record and the target, by its ARN.
fn require(cloud: &Cloud, arn: &str) -> ApiResult<(String, Target)> {
    let mut all = targets(cloud).list("")?.into_iter();
    all.find(|(_, target)| target.arn == arn).ok_or_else(|| {
        let message = format!("The resource {arn} does not exist");
        ApiError::not_found("ResourceNotFoundException", message)
    })
}

fn change(
    cloud: &Cloud,
    arn: &str,
    change: impl FnOnce(&mut Target) -> ApiResult<()>,
) -> ApiResult<Value> {
    let (key, _) = require(cloud, arn)?;
    targets(cloud).update(&key, change)?;
    Ok(json!({}))
}

pub(super) async fn add(cloud: &Cloud, input: Tagging) -> ApiResult<Value> {
    change(cloud, &input.arn, |target| {
        target.tags.extend(input.tags.into_map());
        if target.tags.len() > MAX_TAGS {
            let message = format!("A scalable target has at most {MAX_TAGS} tags");
            return Err(ApiError::new("TooManyTagsException", message));
        }
        Ok(())
    })
}

pub(super) async fn remove(cloud: &Cloud, input: Tagging) -> ApiResult<Value> {
    change(cloud, &input.arn, |target| {
        target.tags.retain(|key, _| !input.tag_keys.contains(key));
        Ok(())
    })
}

pub(super) async fn list(cloud: &Cloud, input: Tagging) -> ApiResult<Value> {
    let (_, target) = require(cloud, &input.arn)?;
    Ok(json!({"Tags": target.tags}))
}
