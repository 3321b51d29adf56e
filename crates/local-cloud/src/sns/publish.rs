//! `Publish` and `PublishBatch`.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Value, json};

use super::filter::{Filter, Subject};
use super::message::{MAX_SIZE, Message, Published};
use super::outbox::{self, Content};
use super::subscription::{self, State};
use super::topics::{self, Topic};
use super::{delivery, encryption, invalid, not_found, now};
use crate::Cloud;
use crate::api::form;
use crate::api::{ApiError, ApiResult};

/// Maximum number of entries of a batch.
const MAX_ENTRIES: usize = 10;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Publish {
    topic_arn: Option<String>,
    target_arn: Option<String>,
    #[serde(flatten)]
    message: Published,
}

/// Accepts messages: those that pass the filter of a subscription are stored for it, in one transaction.
fn accept(cloud: &Cloud, topic: &Topic, messages: &[Message]) -> ApiResult<()> {
    let mut wanted = Vec::new();
    for (_, subscription) in subscription::of_topic(cloud, &topic.name)? {
        if subscription.state == State::Confirmed && subscription.protocol.lane().is_some() {
            let filter = subscription.attributes.filter()?;
            wanted.push((subscription, filter));
        }
    }
    // Not in the transaction: a message of 256 KB can have a thousand filters.
    let receivers: Vec<Vec<_>> = messages
        .iter()
        .map(|message| {
            let subject = Subject::of(message);
            let passes = |filter: &Option<Filter>| {
                let filter = filter.as_ref();
                filter.is_none_or(|filter| filter.matches(&subject))
            };
            let receivers = wanted.iter().filter(|(_, filter)| passes(filter));
            receivers
                .filter_map(|(subscription, _)| subscription.destination())
                .collect()
        })
        .collect();
    let now = now(cloud);
    cloud.store().transaction(|tx| {
        if topics::records(cloud).get_in(tx, &topic.name)?.is_none() {
            return Err(not_found("Topic does not exist"));
        }
        for (message, receivers) in messages.iter().zip(&receivers) {
            if receivers.is_empty() {
                continue;
            }
            let content = outbox::add(tx, &Content::Notification(message.clone()))?;
            for to in receivers {
                outbox::insert(tx, to, content, now)?;
            }
        }
        Ok(())
    })?;
    delivery::wake(cloud);
    Ok(())
}

fn topic_to_publish(cloud: &Cloud, arn: &str) -> ApiResult<Topic> {
    let topic = topics::require(cloud, arn)?;
    encryption::check(cloud, &topic)?;
    Ok(topic)
}

/// `Publish`
pub(super) async fn publish(cloud: &Cloud, input: Publish) -> ApiResult<Value> {
    let ((Some(arn), None) | (None, Some(arn))) = (input.topic_arn, input.target_arn) else {
        return Err(invalid(
            "TopicArn or TargetArn Reason: exactly one value is required",
        ));
    };
    let topic = topic_to_publish(cloud, &arn)?;
    let message = [input.message.check(now(cloud))?];
    accept(cloud, &topic, &message)?;
    let [message] = message;
    Ok(json!({"MessageId": message.id}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PublishBatch {
    #[serde(default)]
    topic_arn: String,
    #[serde(default, deserialize_with = "form::list")]
    publish_batch_request_entries: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    id: String,
    #[serde(flatten)]
    message: Published,
}

fn check_entries(entries: &[Entry]) -> ApiResult<()> {
    let refused = |code: &str, message: &str| Err(ApiError::new(code, message));
    if entries.is_empty() {
        return refused(
            "EmptyBatchRequest",
            "The batch request doesn't contain any entries.",
        );
    }
    if entries.len() > MAX_ENTRIES {
        return refused(
            "TooManyEntriesInBatchRequest",
            "The batch request contains more entries than permissible.",
        );
    }
    let is_id = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let mut seen = BTreeSet::new();
    for entry in entries {
        if !(1..=80).contains(&entry.id.len()) || !entry.id.bytes().all(is_id) {
            return refused(
                "InvalidBatchEntryId",
                "The Id of a batch entry in a batch request doesn't abide by the specification.",
            );
        }
        if !seen.insert(&entry.id) {
            return refused(
                "BatchEntryIdsNotDistinct",
                "Two or more batch entries in the request have the same Id.",
            );
        }
    }
    let size: usize = entries.iter().map(|entry| entry.message.size()).sum();
    if size > MAX_SIZE {
        return refused(
            "BatchRequestTooLong",
            "The length of all the batch messages put together is more than the limit.",
        );
    }
    Ok(())
}

/// `PublishBatch`
pub(super) async fn publish_batch(cloud: &Cloud, input: PublishBatch) -> ApiResult<Value> {
    let topic = topic_to_publish(cloud, &input.topic_arn)?;
    let entries = input.publish_batch_request_entries;
    check_entries(&entries)?;
    let (mut successful, mut failed, mut messages) = (Vec::new(), Vec::new(), Vec::new());
    let now = now(cloud);
    for entry in entries {
        match entry.message.check(now) {
            Ok(message) => {
                successful.push(json!({"Id": entry.id, "MessageId": message.id}));
                messages.push(message);
            }
            Err(error) => failed.push(json!({
                "Id": entry.id,
                "Code": error.code,
                "Message": error.message,
                "SenderFault": true,
            })),
        }
    }
    accept(cloud, &topic, &messages)?;
    Ok(json!({"Successful": successful, "Failed": failed}))
}
