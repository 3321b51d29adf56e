//! `ReceiveMessage`.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::messages::{self, Received};
use super::queues::{self, Queue};
use super::{QUEUES, digest, encryption, now, within};
use crate::Cloud;
use crate::api::{ApiError, ApiResult};

/// Maximum number of messages of a response.
const MAX_MESSAGES: i64 = 10;

/// Maximum wait for a message, in seconds.
const MAX_WAIT: i64 = 20;

/// Maximum visibility timeout, in seconds.
pub(super) const MAX_VISIBILITY: i64 = 43_200;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Receive {
    #[serde(default)]
    queue_url: String,
    #[serde(default)]
    attribute_names: Vec<String>,
    #[serde(default)]
    message_system_attribute_names: Vec<String>,
    #[serde(default)]
    message_attribute_names: Vec<String>,
    max_number_of_messages: Option<i64>,
    visibility_timeout: Option<i64>,
    wait_time_seconds: Option<i64>,
}

/// The names of system attributes.
const SYSTEM: [&str; 10] = [
    "All",
    "AWSTraceHeader",
    "ApproximateFirstReceiveTimestamp",
    "ApproximateReceiveCount",
    "DeadLetterQueueSourceArn",
    "MessageDeduplicationId",
    "MessageGroupId",
    "SenderId",
    "SentTimestamp",
    "SequenceNumber",
];

/// `ReceiveMessage`. It waits for messages on the cloud's clock.
pub(super) async fn receive(cloud: &Cloud, input: Receive) -> ApiResult<Value> {
    let queue = queues::of_url(cloud, &input.queue_url)?;
    encryption::check(cloud, &queue, encryption::RECEIVE)?;
    let most = input.max_number_of_messages.unwrap_or(1);
    let most = within(most, (1, MAX_MESSAGES), "MaxNumberOfMessages")?;
    let visibility = input
        .visibility_timeout
        .map(|seconds| within(seconds, (0, MAX_VISIBILITY), "VisibilityTimeout"))
        .transpose()?;
    let wait = input.wait_time_seconds.unwrap_or(queue.attributes.wait);
    let wait = within(wait, (0, MAX_WAIT), "WaitTimeSeconds")?;
    let mut names = input.attribute_names;
    names.extend(input.message_system_attribute_names);
    if let Some(unknown) = names.iter().find(|name| !SYSTEM.contains(&name.as_str())) {
        let message = format!("Unknown Attribute {unknown}.");
        return Err(ApiError::new("InvalidAttributeName", message));
    }
    let deadline = cloud.clock().now() + SignedDuration::from_secs(wait);
    let found = wait_for(cloud, &queue, most, visibility, deadline).await?;
    let shown: Vec<Value> = found
        .into_iter()
        .map(|it| shown(it, &names, &input.message_attribute_names))
        .collect();
    if shown.is_empty() {
        return Ok(json!({}));
    }
    Ok(json!({"Messages": shown}))
}

/// Receives messages, or waits until there are some.
async fn wait_for(
    cloud: &Cloud,
    queue: &Queue,
    most: i64,
    visibility: Option<i64>,
    deadline: Timestamp,
) -> ApiResult<Vec<Received>> {
    let clock = cloud.clock();
    // Begins before the first look at the queue, so that time cannot move in between.
    let mut work = clock.begin(format!("a receive call on {}", queue.name));
    loop {
        let seen = clock.announced(QUEUES);
        let (found, next, has_moved) = attempt(cloud, queue, most, visibility)?;
        if has_moved {
            clock.announce(QUEUES);
        }
        if !found.is_empty() || clock.now() >= deadline {
            return Ok(found);
        }
        let next = next.and_then(|next| Timestamp::from_millisecond(next).ok());
        let due = next.map_or(deadline, |next| next.min(deadline));
        work.sleep_until_announced(due, QUEUES, seen).await;
    }
}

/// The messages that can be received now; without any, when the next one can be; and whether messages have moved to the
/// dead-letter queue, where others may wait for them.
fn attempt(
    cloud: &Cloud,
    queue: &Queue,
    most: i64,
    visibility: Option<i64>,
) -> ApiResult<(Vec<Received>, Option<i64>, bool)> {
    let now = now(cloud);
    let most = usize::try_from(most).unwrap_or_default();
    let source = queues::arn(cloud, &queue.name);
    cloud.store().transaction(|tx| {
        let queue = queues::current(cloud, tx, queue)?;
        messages::require_capacity(tx, &queue, now)?;
        let target = match &queue.attributes.redrive {
            Some(redrive) => queues::of_arn_in(cloud, tx, &redrive.target)?,
            None => None,
        };
        let target = target.as_ref().map(|target| (target, source.as_str()));
        let visibility = visibility.unwrap_or(queue.attributes.visibility) * 1000;
        let (found, has_moved) = messages::receive(tx, &queue, target, most, visibility, now)?;
        let next = if found.is_empty() {
            messages::next_visible(tx, &queue, now)?
        } else {
            None
        };
        Ok((found, next, has_moved))
    })
}

/// A message as the response shows it, with the attributes that the request names.
fn shown(message: Received, system: &[String], names: &[String]) -> Value {
    let all = system.iter().any(|name| name == "All");
    let wanted = message.system.into_iter();
    let wanted = wanted.filter(|(name, _)| all || system.iter().any(|it| it == name));
    let wanted: Map<String, Value> = wanted
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    let attributes: BTreeMap<_, _> = message
        .attributes
        .into_iter()
        .filter(|(name, _)| names.iter().any(|wanted| selects(wanted, name)))
        .collect();
    let mut shown = json!({
        "MessageId": message.message,
        "ReceiptHandle": message.receipt,
        "MD5OfBody": digest::of_text(&message.body),
        "Body": message.body,
    });
    if !wanted.is_empty() {
        shown["Attributes"] = wanted.into();
    }
    if !attributes.is_empty() {
        shown["MD5OfMessageAttributes"] = digest::of_attributes(&attributes).into();
        shown["MessageAttributes"] = json!(attributes);
    }
    shown
}

/// True if a name of a request, which can be `All`, `.*` or `PREFIX.*`, selects an attribute.
fn selects(wanted: &str, name: &str) -> bool {
    match wanted.strip_suffix(".*") {
        Some(prefix) => name.starts_with(prefix),
        None => wanted == "All" || wanted == name,
    }
}
