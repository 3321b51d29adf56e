//! Groups of schedules, and their tags.

use std::collections::BTreeMap;

use rusqlite::Transaction;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::selection::{Selection, invalid_token};
use super::{conflict, not_found, store};
use crate::Cloud;
use crate::api::keyed_page::page;
use crate::api::tags::Tags;
use crate::api::{ApiError, ApiResult};
use crate::store::Collection;
use crate::system_tags;

/// The group that always exists.
const DEFAULT: &str = "default";

/// Number of tags that a group can have.
const MAX_TAGS: usize = 50;

/// A group.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Group {
    /// Seconds since the epoch.
    created: f64,
    /// Seconds since the epoch.
    modified: f64,
    tags: BTreeMap<String, String>,
}

/// The records of groups, by name; without the default group.
fn records(cloud: &Cloud) -> Collection<'_, Group> {
    cloud.store().collection("scheduler", "group")
}

/// The name of the default group.
pub(super) fn default_name() -> String {
    DEFAULT.to_owned()
}

/// Fails if a group does not exist.
pub(super) fn require(cloud: &Cloud, name: &str) -> ApiResult<()> {
    find(cloud, name).map(drop)
}

/// [`require`] inside a transaction.
pub(super) fn require_in(cloud: &Cloud, tx: &Transaction<'_>, name: &str) -> ApiResult<()> {
    if name == DEFAULT || records(cloud).get_in(tx, name)?.is_some() {
        return Ok(());
    }
    Err(not_found("Schedule group", name))
}

/// The default group has no record: it has neither tags nor a time of creation.
fn find(cloud: &Cloud, name: &str) -> ApiResult<Group> {
    if name == DEFAULT {
        return Ok(Group {
            created: 0.0,
            modified: 0.0,
            tags: BTreeMap::new(),
        });
    }
    let found = records(cloud).get(name)?;
    found.ok_or_else(|| not_found("Schedule group", name))
}

fn arn(cloud: &Cloud, name: &str) -> String {
    cloud.arn("scheduler", format_args!("schedule-group/{name}"))
}

fn shown(cloud: &Cloud, name: &str, group: &Group) -> Value {
    let mut shown = json!({"Arn": arn(cloud, name), "Name": name, "State": "ACTIVE"});
    if name != DEFAULT {
        shown["CreationDate"] = group.created.into();
        shown["LastModificationDate"] = group.modified.into();
    }
    shown
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Create {
    name: String,
    #[serde(default)]
    tags: Tags,
}

fn limited(tags: BTreeMap<String, String>) -> ApiResult<BTreeMap<String, String>> {
    if system_tags::counted(tags.keys()) > MAX_TAGS {
        return Err(ApiError::validation(format!(
            "A schedule group can have at most {MAX_TAGS} tags."
        )));
    }
    Ok(tags)
}

/// `CreateScheduleGroup`
pub(super) async fn create(cloud: &Cloud, input: Create) -> ApiResult<Value> {
    let seconds = cloud.clock().epoch();
    let group = Group {
        created: seconds,
        modified: seconds,
        tags: limited(input.tags.into_map())?,
    };
    if input.name == DEFAULT || !records(cloud).insert(&input.name, &group)? {
        let message = format!("Schedule group {} already exists.", input.name);
        return Err(conflict(message));
    }
    Ok(json!({"ScheduleGroupArn": arn(cloud, &input.name)}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ByName {
    name: String,
}

/// `GetScheduleGroup`
pub(super) async fn get(cloud: &Cloud, input: ByName) -> ApiResult<Value> {
    let group = find(cloud, &input.name)?;
    Ok(shown(cloud, &input.name, &group))
}

/// `DeleteScheduleGroup`, with its schedules. AWS takes a while, in the state DELETING.
pub(super) async fn delete(cloud: &Cloud, input: ByName) -> ApiResult<Value> {
    if input.name == DEFAULT {
        return Err(ApiError::validation(
            "The default schedule group cannot be deleted.",
        ));
    }
    cloud.store().transaction(|tx| {
        if !records(cloud).remove_in(tx, &input.name)? {
            return Err(not_found("Schedule group", &input.name));
        }
        store::remove_group(tx, &input.name)
    })?;
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct List {
    #[serde(flatten)]
    selection: Selection,
}

/// `ListScheduleGroups`
pub(super) async fn list(cloud: &Cloud, input: List) -> ApiResult<Value> {
    let mut all = records(cloud).list("")?;
    all.push((default_name(), find(cloud, DEFAULT)?));
    all.sort_by(|(one, _), (other, _)| one.cmp(other));
    let found = all
        .iter()
        .filter(|(name, _)| input.selection.includes(name));
    let items: Vec<_> = found
        .map(|(name, group)| (name.clone(), shown(cloud, name, group)))
        .collect();
    let (size, token) = (
        input.selection.size(),
        input.selection.next_token.as_deref(),
    );
    page("ScheduleGroups", items, size, token).map_err(|_| invalid_token())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Tagging {
    resource_arn: String,
    #[serde(default)]
    tags: Tags,
    #[serde(default)]
    tag_keys: Vec<String>,
}

/// The name in the ARN of a group.
fn name_of<'a>(cloud: &Cloud, arn: &'a str) -> ApiResult<&'a str> {
    let prefix = cloud.arn("scheduler", "schedule-group/");
    arn.strip_prefix(&prefix)
        .ok_or_else(|| not_found("Schedule group", arn))
}

fn change(
    cloud: &Cloud,
    arn: &str,
    change: impl FnOnce(&mut BTreeMap<String, String>) -> ApiResult<()>,
) -> ApiResult<Value> {
    let name = name_of(cloud, arn)?;
    if name == DEFAULT {
        return Err(ApiError::not_implemented(
            "tags of the default schedule group",
        ));
    }
    let seconds = cloud.clock().epoch();
    let changed = records(cloud).update(name, |group| {
        group.modified = seconds;
        change(&mut group.tags)
    })?;
    changed.ok_or_else(|| not_found("Schedule group", name))?;
    Ok(json!({}))
}

/// `TagResource`
pub(super) async fn tag(cloud: &Cloud, input: Tagging) -> ApiResult<Value> {
    change(cloud, &input.resource_arn, |tags| {
        let mut all = tags.clone();
        all.extend(input.tags.into_map());
        *tags = limited(all)?;
        Ok(())
    })
}

/// `UntagResource`
pub(super) async fn untag(cloud: &Cloud, input: Tagging) -> ApiResult<Value> {
    change(cloud, &input.resource_arn, |tags| {
        tags.retain(|key, _| !input.tag_keys.contains(key));
        Ok(())
    })
}

/// `ListTagsForResource`
pub(super) async fn list_tags(cloud: &Cloud, input: Tagging) -> ApiResult<Value> {
    let group = find(cloud, name_of(cloud, &input.resource_arn)?)?;
    let tags = group.tags.iter();
    let tags: Vec<Value> = tags
        .map(|(key, value)| json!({"Key": key, "Value": value}))
        .collect();
    Ok(json!({"Tags": tags}))
}
