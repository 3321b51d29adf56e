//! Tags of parameters.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Parameter, Tag, change, require};
use crate::Cloud;
use crate::api::tags::Tags;
use crate::api::{ApiError, ApiResult};
use crate::system_tags;

/// Number of tags that a parameter can have.
const MAX_TAGS: usize = 50;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Tagging {
    resource_type: String,
    resource_id: String,
    #[serde(default)]
    tags: Tags,
    #[serde(default)]
    tag_keys: Vec<String>,
}

impl Tagging {
    /// Refuses the other resources of Systems Manager, which the local cloud does not have.
    fn check(&self) -> ApiResult<()> {
        if self.resource_type == "Parameter" {
            return Ok(());
        }
        Err(ApiError::not_implemented(format_args!(
            "tags of the resource type {} of ssm",
            self.resource_type
        )))
    }
}

/// The error of the tagging operations for a parameter that does not exist.
fn wrong_id(error: ApiError) -> ApiError {
    if error.is_not_found() {
        ApiError::not_found(
            "InvalidResourceId",
            "The resource ID is not valid. Verify that you entered the correct ID and try again.",
        )
    } else {
        error
    }
}

/// Adds tags to a parameter; a tag replaces the one with its key.
pub(super) fn set(parameter: &mut Parameter, tags: &Tags) -> ApiResult<()> {
    for tag in tags.iter() {
        parameter.tags.retain(|own| own.key != tag.key);
        parameter.tags.push(Tag {
            key: tag.key.clone(),
            value: tag.value.clone().unwrap_or_default(),
        });
    }
    let keys = parameter.tags.iter().map(|tag| &tag.key);
    if system_tags::counted(keys) > MAX_TAGS {
        return Err(ApiError::new(
            "TooManyTagsError",
            "The Targets parameter includes too many tags. Remove one or more tags and try the command \
             again.",
        ));
    }
    Ok(())
}

/// `AddTagsToResource`
pub(super) async fn add(cloud: &Cloud, input: Tagging) -> ApiResult<Value> {
    input.check()?;
    change(cloud, &input.resource_id, |parameter| {
        set(parameter, &input.tags)
    })
    .map_err(wrong_id)?;
    Ok(json!({}))
}

/// `RemoveTagsFromResource`
pub(super) async fn remove(cloud: &Cloud, input: Tagging) -> ApiResult<Value> {
    input.check()?;
    change(cloud, &input.resource_id, |parameter| {
        parameter
            .tags
            .retain(|tag| !input.tag_keys.contains(&tag.key));
        Ok(())
    })
    .map_err(wrong_id)?;
    Ok(json!({}))
}

/// `ListTagsForResource`
pub(super) async fn list(cloud: &Cloud, input: Tagging) -> ApiResult<Value> {
    input.check()?;
    let parameter = require(cloud, &input.resource_id).map_err(wrong_id)?;
    Ok(json!({"TagList": parameter.tags}))
}
