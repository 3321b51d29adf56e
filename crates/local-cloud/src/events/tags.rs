//! Tags of rules.

use serde::Deserialize;
use serde_json::{Value, json};

use super::rules::{self, Rule};
use crate::api::tags::Tags;
use crate::api::{ApiError, ApiResult};
use crate::{Cloud, system_tags};

/// Maximum number of tags of a rule; AWS's own limit.
const MAX_TAGS: usize = 50;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Tagging {
    #[serde(rename = "ResourceARN")]
    resource_arn: String,
    #[serde(default)]
    tags: Tags,
    #[serde(default)]
    tag_keys: Vec<String>,
}

/// The name in the ARN of a rule.
fn name_of<'a>(cloud: &Cloud, arn: &'a str) -> ApiResult<&'a str> {
    let prefix = rules::arn(cloud, "");
    arn.strip_prefix(&prefix).ok_or_else(|| {
        ApiError::not_implemented(format_args!("tags of {arn}, only those of rules"))
    })
}

fn change(cloud: &Cloud, arn: &str, change: impl FnOnce(&mut Rule)) -> ApiResult<Value> {
    rules::change(cloud, name_of(cloud, arn)?, |rule| {
        change(rule);
        if system_tags::counted(rule.tags.keys()) > MAX_TAGS {
            return Err(rules::limit_exceeded());
        }
        Ok(())
    })?;
    Ok(json!({}))
}

/// `TagResource`
pub(super) async fn add(cloud: &Cloud, input: Tagging) -> ApiResult<Value> {
    let tags = input.tags.into_map();
    change(cloud, &input.resource_arn, |rule| rule.tags.extend(tags))
}

/// `UntagResource`
pub(super) async fn remove(cloud: &Cloud, input: Tagging) -> ApiResult<Value> {
    change(cloud, &input.resource_arn, |rule| {
        rule.tags.retain(|key, _| !input.tag_keys.contains(key));
    })
}

/// `ListTagsForResource`
pub(super) async fn list(cloud: &Cloud, input: Tagging) -> ApiResult<Value> {
    let rule = rules::require(cloud, name_of(cloud, &input.resource_arn)?)?;
    let tags = rule.tags.iter();
    let tags = tags.map(|(key, value)| json!({"Key": key, "Value": value}));
    Ok(json!({"Tags": tags.collect::<Vec<_>>()}))
}
