//! Tags of alarms.

use serde::Deserialize;
use serde_json::{Value, json};

use super::alarms::{Record, records};
use super::errors::{invalid_value, validation};
use crate::Cloud;
use crate::api::tags::Tags;
use crate::api::{ApiError, ApiResult};
use crate::system_tags;

/// Number of tags that an alarm can have.
const MAX_TAGS: usize = 50;

#[derive(Deserialize)]
pub(super) struct Tagging {
    #[serde(rename = "ResourceARN")]
    arn: String,
    #[serde(rename = "Tags", default)]
    tags: Tags,
    #[serde(rename = "TagKeys", default)]
    keys: Vec<String>,
}

/// The tags of a new alarm.
pub(super) fn checked(tags: Tags) -> ApiResult<Vec<(String, String)>> {
    let mut own = Vec::new();
    add_to(&mut own, tags)?;
    Ok(own)
}

/// Adds tags; a tag replaces the one with its key.
fn add_to(own: &mut Vec<(String, String)>, tags: Tags) -> ApiResult<()> {
    for tag in tags {
        own.retain(|(key, _)| *key != tag.key);
        own.push((tag.key, tag.value.unwrap_or_default()));
    }
    if system_tags::counted(own.iter().map(|(key, _)| key)) > MAX_TAGS {
        return Err(validation(format!(
            "A resource can have at most {MAX_TAGS} tags."
        )));
    }
    Ok(())
}

/// The name in the ARN of an alarm.
fn name_of<'a>(cloud: &Cloud, arn: &'a str) -> ApiResult<&'a str> {
    let prefix = cloud.arn("cloudwatch", "alarm:");
    if let Some(name) = arn.strip_prefix(&prefix) {
        return Ok(name);
    }
    let kinds = ["dashboard/", "insight-rule/", "metric-stream/"];
    if kinds.iter().any(|kind| arn.contains(&format!(":{kind}"))) {
        return Err(ApiError::not_implemented(format_args!("tags of {arn}")));
    }
    Err(invalid_value(format!(
        "The value {arn} for parameter ResourceARN is invalid."
    )))
}

fn absent(name: &str) -> ApiError {
    let message = format!("The alarm {name} does not exist.");
    ApiError::not_found("ResourceNotFoundException", message).status(404)
}

fn change(
    cloud: &Cloud,
    arn: &str,
    change: impl FnOnce(&mut Record) -> ApiResult<()>,
) -> ApiResult<Value> {
    let name = name_of(cloud, arn)?;
    let changed = records(cloud).update(name, change)?;
    changed.ok_or_else(|| absent(name))?;
    Ok(json!({}))
}

/// `TagResource`
pub(super) async fn add(cloud: &Cloud, input: Tagging) -> ApiResult<Value> {
    change(cloud, &input.arn, |record| {
        add_to(&mut record.tags, input.tags)
    })
}

/// `UntagResource`
pub(super) async fn remove(cloud: &Cloud, input: Tagging) -> ApiResult<Value> {
    change(cloud, &input.arn, |record| {
        record.tags.retain(|(key, _)| !input.keys.contains(key));
        Ok(())
    })
}

/// `ListTagsForResource`
pub(super) async fn list(cloud: &Cloud, input: Tagging) -> ApiResult<Value> {
    let name = name_of(cloud, &input.arn)?;
    let record = records(cloud).get(name)?.ok_or_else(|| absent(name))?;
    let tags = record.tags.iter();
    let tags: Vec<Value> = tags
        .map(|(key, value)| json!({"Key": key, "Value": value}))
        .collect();
    Ok(json!({"Tags": tags}))
}
