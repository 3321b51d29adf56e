//! Topics: their records, and the operations on them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::attributes::TopicAttributes;
use super::subscription::{self, State};
use super::{invalid, not_found, outbox};
use crate::Cloud;
use crate::api::keyed_page::page;
use crate::api::tags::Tags;
use crate::api::{ApiError, ApiResult};
use crate::policy::Call;
use crate::store::Collection;
use crate::system_tags;

/// Maximum length of a topic's name.
const MAX_NAME: usize = 256;

/// Number of topics and of subscriptions on a page.
pub(super) const PAGE: usize = 100;

/// Number of tags that a topic can have.
const MAX_TAGS: usize = 50;

/// A topic.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Topic {
    pub(super) name: String,
    pub(super) attributes: TopicAttributes,
    pub(super) tags: BTreeMap<String, String>,
}

/// Refuses tags that are more than a topic can have.
pub(super) fn limited(tags: BTreeMap<String, String>) -> ApiResult<BTreeMap<String, String>> {
    if system_tags::counted(tags.keys()) > MAX_TAGS {
        let message = "Could not complete request: tag quota of per resource exceeded";
        return Err(ApiError::new("TagLimitExceeded", message));
    }
    Ok(tags)
}

/// The records of topics, by name.
pub(super) fn records(cloud: &Cloud) -> Collection<'_, Topic> {
    cloud.store().collection("sns", "topic")
}

/// The ARN of a topic.
pub(super) fn arn(cloud: &Cloud, name: &str) -> String {
    cloud.arn("sns", name)
}

/// The name in the ARN of a topic.
pub(super) fn name_of<'a>(cloud: &Cloud, arn: &'a str) -> ApiResult<&'a str> {
    let parts: Vec<&str> = arn.split(':').collect();
    if parts.len() != 6 || parts[0] != "arn" || parts[2] != "sns" {
        return Err(invalid(format_args!(
            "TopicArn Reason: An ARN must have at least 6 elements, not {}",
            parts.len()
        )));
    }
    arn.strip_prefix(&cloud.arn("sns", ""))
        .ok_or_else(|| not_found("Topic does not exist"))
}

/// The topic with an ARN.
pub(super) fn require(cloud: &Cloud, arn: &str) -> ApiResult<Topic> {
    let name = name_of(cloud, arn)?;
    records(cloud)
        .get(name)?
        .ok_or_else(|| not_found("Topic does not exist"))
}

/// Changes the topic with an ARN.
pub(super) fn change<R>(
    cloud: &Cloud,
    arn: &str,
    change: impl FnOnce(&mut Topic) -> ApiResult<R>,
) -> ApiResult<R> {
    let changed = records(cloud).update(name_of(cloud, arn)?, change)?;
    changed.ok_or_else(|| not_found("Topic does not exist"))
}

/// The policy of the topic that a call is about.
pub(super) fn policy_of(cloud: &Cloud, call: &Call) -> ApiResult<Option<String>> {
    let Some(name) = call.resource.strip_prefix(&cloud.arn("sns", "")) else {
        return Ok(None);
    };
    let topic = records(cloud).get(name)?;
    Ok(topic.map(|topic| topic.attributes.policy(&call.resource)))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Create {
    #[serde(default)]
    name: String,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    #[serde(default)]
    tags: Tags,
}

fn check_name(name: &str) -> ApiResult<()> {
    if name.ends_with(super::FIFO) {
        return Err(ApiError::not_implemented("FIFO topics of SNS"));
    }
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(is_name) {
        return Ok(());
    }
    Err(invalid("Topic Name"))
}

/// `CreateTopic`. As in AWS, a topic that exists is returned if it has the attributes and tags of the request.
pub(super) async fn create(cloud: &Cloud, input: Create) -> ApiResult<Value> {
    check_name(&input.name)?;
    let mut topic = Topic {
        name: input.name.clone(),
        attributes: TopicAttributes::default(),
        tags: limited(input.tags.into_map())?,
    };
    topic.attributes.set(&input.attributes)?;
    let answer = json!({"TopicArn": arn(cloud, &input.name)});
    if records(cloud).insert(&input.name, &topic)? {
        return Ok(answer);
    }
    let existing = require(cloud, &arn(cloud, &input.name))?;
    let mut same = existing.attributes.clone();
    same.set(&input.attributes)?;
    if same != existing.attributes {
        return Err(invalid(
            "Attributes Reason: Topic already exists with different attributes",
        ));
    }
    if !topic.tags.is_empty() && topic.tags != existing.tags {
        return Err(invalid(
            "Tags Reason: Topic already exists with different tags",
        ));
    }
    Ok(answer)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ByArn {
    #[serde(default)]
    topic_arn: String,
}

/// `DeleteTopic`, which succeeds for a topic that does not exist.
pub(super) async fn delete(cloud: &Cloud, input: ByArn) -> ApiResult<Value> {
    let name = match name_of(cloud, &input.topic_arn) {
        Ok(name) => name,
        Err(error) if error.is_not_found() => return Ok(json!({})),
        Err(error) => return Err(error),
    };
    cloud.store().transaction(|tx| {
        records(cloud).remove_in(tx, name)?;
        let subscriptions = subscription::records(cloud);
        for (key, _) in subscriptions.list_in(tx, &format!("{name}:"))? {
            subscriptions.remove_in(tx, &key)?;
        }
        outbox::forget_deleted(tx, name)?;
        outbox::remove_all(tx, name, None)
    })?;
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct List {
    next_token: Option<String>,
}

/// `ListTopics`
pub(super) async fn list(cloud: &Cloud, input: List) -> ApiResult<Value> {
    let topics = records(cloud).list("")?.into_iter();
    let topics = topics.map(|(name, _)| {
        let shown = json!({"TopicArn": arn(cloud, &name)});
        (name, shown)
    });
    page("Topics", topics, PAGE, input.next_token.as_deref()).map_err(|_| invalid("NextToken"))
}

/// `GetTopicAttributes`
pub(super) async fn get_attributes(cloud: &Cloud, input: ByArn) -> ApiResult<Value> {
    let topic = require(cloud, &input.topic_arn)?;
    let mut shown = topic.attributes.shown(&input.topic_arn);
    let subscriptions = subscription::of_topic(cloud, &topic.name)?;
    let pending = subscriptions
        .iter()
        .filter(|(_, it)| matches!(it.state, State::Pending { .. }))
        .count();
    let confirmed = subscriptions.len() - pending;
    shown.insert("SubscriptionsConfirmed", confirmed.to_string());
    let deleted = cloud
        .store()
        .transaction(|tx| outbox::deleted(tx, &topic.name))?;
    shown.insert("SubscriptionsDeleted", deleted.to_string());
    shown.insert("SubscriptionsPending", pending.to_string());
    Ok(json!({ "Attributes": shown }))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SetAttributes {
    #[serde(default)]
    topic_arn: String,
    attribute_name: String,
    #[serde(default)]
    attribute_value: String,
}

/// `SetTopicAttributes`
pub(super) async fn set_attributes(cloud: &Cloud, input: SetAttributes) -> ApiResult<Value> {
    let given = BTreeMap::from([(input.attribute_name, input.attribute_value)]);
    change(cloud, &input.topic_arn, |topic| {
        topic.attributes.set(&given)
    })?;
    Ok(json!({}))
}
