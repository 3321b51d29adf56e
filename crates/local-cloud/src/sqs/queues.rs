//! Queues: their records, and the operations on them.

use std::collections::BTreeMap;

use rusqlite::Transaction;
use serde::Deserialize;
use serde_json::{Value, json};

use super::attributes::Attributes;
pub(super) use super::records::{Queue, records};
use super::{invalid, messages, missing, now, within};
use crate::Cloud;
use crate::api::keyed_page;
use crate::api::tags::Tags;
use crate::api::{ApiError, ApiResult};
use crate::cloud::ACCOUNT;
use crate::policy::Call;
use crate::system_tags;

/// The suffix of the names of FIFO queues.
const FIFO: &str = ".fifo";

/// Maximum length of a queue's name.
const MAX_NAME: usize = 80;

/// Maximum and default number of queues on a page.
const PAGE: i64 = 1000;

/// Time between two purges of a queue, in milliseconds.
const PURGE_PAUSE: i64 = 60_000;

/// Number of tags that a queue can have.
const MAX_TAGS: usize = 50;

/// Refuses tags that are more than a queue can have.
pub(super) fn limited(tags: BTreeMap<String, String>) -> ApiResult<BTreeMap<String, String>> {
    if system_tags::counted(tags.keys()) > MAX_TAGS {
        return Err(invalid(format!(
            "Too many tags added for queue. A queue can have at most {MAX_TAGS} tags."
        )));
    }
    Ok(tags)
}

/// The ARN of a queue.
pub(super) fn arn(cloud: &Cloud, name: &str) -> String {
    cloud.arn("sqs", name)
}

/// The URL of a queue at this server. Requests can name any server, because its port can change.
fn url(cloud: &Cloud, name: &str) -> String {
    format!("{}/{ACCOUNT}/{name}", cloud.endpoint())
}

fn absent() -> ApiError {
    let message = "The specified queue does not exist.";
    ApiError::not_found("QueueDoesNotExist", message)
}

/// The name in a URL: its last segment, for which permissions are evaluated.
fn name_of(url: &str) -> ApiResult<&str> {
    if url.is_empty() {
        return Err(missing("QueueUrl"));
    }
    let path = url.split_once("://").map(|(_, rest)| rest);
    let path = path.and_then(|rest| rest.split_once('/'));
    let parts = path.and_then(|(_, path)| path.split_once('/'));
    let Some((account, name)) = parts else {
        let message = format!("The address {url} is not valid for this endpoint.");
        return Err(ApiError::not_found("InvalidAddress", message).status(404));
    };
    if account == ACCOUNT {
        Ok(name)
    } else {
        Err(absent())
    }
}

/// The queue that a request names.
pub(super) fn of_url(cloud: &Cloud, url: &str) -> ApiResult<Queue> {
    records(cloud).get(name_of(url)?)?.ok_or_else(absent)
}

/// The queue with an ARN, in a transaction.
pub(super) fn of_arn_in(
    cloud: &Cloud,
    tx: &Transaction<'_>,
    arn: &str,
) -> ApiResult<Option<Queue>> {
    match arn.strip_prefix(&cloud.arn("sqs", "")) {
        Some(name) => records(cloud).get_in(tx, name),
        None => Ok(None),
    }
}

/// The queue with an ARN.
pub(super) fn of_arn(cloud: &Cloud, arn: &str) -> ApiResult<Option<Queue>> {
    match arn.strip_prefix(&cloud.arn("sqs", "")) {
        Some(name) => records(cloud).get(name),
        None => Ok(None),
    }
}

/// A queue as it is in a transaction; an error if it was deleted in the meantime.
pub(super) fn current(cloud: &Cloud, tx: &Transaction<'_>, queue: &Queue) -> ApiResult<Queue> {
    let found = records(cloud).get_in(tx, &queue.name)?;
    found
        .filter(|found| found.number == queue.number)
        .ok_or_else(absent)
}

/// Changes the queue that a request names.
pub(super) fn change<R>(
    cloud: &Cloud,
    url: &str,
    change: impl FnOnce(&mut Queue) -> ApiResult<R>,
) -> ApiResult<R> {
    let changed = records(cloud).update(name_of(url)?, change)?;
    changed.ok_or_else(absent)
}

/// The policy of the queue that a call is about.
pub(super) fn policy_of(cloud: &Cloud, call: &Call) -> ApiResult<Option<String>> {
    let queue = of_arn(cloud, &call.resource)?;
    Ok(queue.and_then(|queue| queue.attributes.policy))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Create {
    #[serde(default)]
    queue_name: String,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    #[serde(default, alias = "tags")]
    tags: Tags,
}

fn check_name(name: &str) -> ApiResult<()> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let plain = name.strip_suffix(FIFO).unwrap_or(name);
    if (1..=MAX_NAME).contains(&name.len()) && !plain.is_empty() && plain.bytes().all(is_name) {
        return Ok(());
    }
    Err(invalid(
        "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length",
    ))
}

/// `CreateQueue`. As in AWS, a queue that exists is returned if it has the attributes of the request.
pub(super) async fn create(cloud: &Cloud, input: Create) -> ApiResult<Value> {
    let name = input.queue_name;
    if name.is_empty() {
        return Err(missing("QueueName"));
    }
    check_name(&name)?;
    let is_fifo = name.ends_with(FIFO);
    if is_fifo && input.attributes.get("FifoQueue").map(String::as_str) != Some("true") {
        return Err(invalid(
            "The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, must end \
             with .fifo suffix and be 1 to 80 in length, and its attribute FifoQueue must be true.",
        ));
    }
    let seconds = now(cloud) / 1000;
    let mut queue = Queue {
        name: name.clone(),
        number: new_number(),
        created: seconds,
        modified: seconds,
        attributes: Attributes::new(is_fifo),
        tags: limited(input.tags.into_map())?,
        purged: None,
    };
    queue.attributes.set(&input.attributes)?;
    if let Some(redrive) = &queue.attributes.redrive {
        redrive.check(cloud, &queue)?;
    }
    let answer = json!({"QueueUrl": url(cloud, &name)});
    if records(cloud).insert(&name, &queue)? {
        return Ok(answer);
    }
    let existing = records(cloud).get(&name)?.ok_or_else(absent)?;
    let shown = existing.attributes.shown();
    let wanted = queue.attributes.shown();
    for given in input.attributes.keys() {
        if shown.get(given.as_str()) != wanted.get(given.as_str()) {
            return Err(ApiError::new(
                "QueueNameExists",
                format!(
                    "A queue already exists with the same name and a different value for attribute {given}"
                ),
            ));
        }
    }
    Ok(answer)
}

/// A number that no other queue has.
fn new_number() -> i64 {
    let (high, _) = uuid::Uuid::new_v4().as_u64_pair();
    i64::try_from(high >> 1).unwrap_or_default()
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ByUrl {
    #[serde(default)]
    pub(super) queue_url: String,
}

/// `DeleteQueue`
pub(super) async fn delete(cloud: &Cloud, input: ByUrl) -> ApiResult<Value> {
    let name = name_of(&input.queue_url)?;
    cloud.store().transaction(|tx| {
        let records = records(cloud);
        let queue = records.get_in(tx, name)?.ok_or_else(absent)?;
        records.remove_in(tx, name)?;
        messages::remove_all(tx, &queue)
    })?;
    // Who waits for messages of this queue need not wait any longer.
    cloud.clock().announce(super::QUEUES);
    Ok(Value::Null)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetUrl {
    #[serde(default)]
    queue_name: String,
    #[serde(rename = "QueueOwnerAWSAccountId")]
    owner: Option<String>,
}

/// `GetQueueUrl`
pub(super) async fn get_url(cloud: &Cloud, input: GetUrl) -> ApiResult<Value> {
    let name = input.queue_name;
    if name.is_empty() {
        return Err(missing("QueueName"));
    }
    let is_own = input.owner.is_none_or(|owner| owner == ACCOUNT);
    if !is_own || records(cloud).get(&name)?.is_none() {
        return Err(absent());
    }
    Ok(json!({"QueueUrl": url(cloud, &name)}))
}

/// The members that select a page of queues.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListPage {
    next_token: Option<String>,
    max_results: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct List {
    queue_name_prefix: Option<String>,
    #[serde(flatten)]
    page: ListPage,
}

/// `ListQueues`
pub(super) async fn list(cloud: &Cloud, input: List) -> ApiResult<Value> {
    let prefix = input.queue_name_prefix.unwrap_or_default();
    let queues = records(cloud).list(&prefix)?.into_iter();
    page(
        cloud,
        "QueueUrls",
        queues.map(|(name, _)| name),
        &input.page,
    )
}

/// A page of the URLs of queues. There is a token only if the request has `MaxResults`, as in AWS.
pub(super) fn page(
    cloud: &Cloud,
    member: &str,
    names: impl Iterator<Item = String>,
    page: &ListPage,
) -> ApiResult<Value> {
    let size = within(page.max_results.unwrap_or(PAGE), (1, PAGE), "MaxResults")?;
    let items = names.map(|name| {
        let url = url(cloud, &name);
        (name, url.into())
    });
    let size = usize::try_from(size).unwrap_or_default();
    let mut answer = keyed_page::page(member, items, size, page.next_token.as_deref())
        .map_err(|_| invalid("Invalid or expired next token."))?;
    if page.max_results.is_none()
        && let Some(answer) = answer.as_object_mut()
    {
        answer.remove("NextToken");
    }
    Ok(answer)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetAttributes {
    #[serde(default)]
    queue_url: String,
    #[serde(default)]
    attribute_names: Vec<String>,
}

/// The attributes that no request sets.
const READ_ONLY: [&str; 6] = [
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesDelayed",
    "ApproximateNumberOfMessagesNotVisible",
    "CreatedTimestamp",
    "LastModifiedTimestamp",
    "QueueArn",
];

/// The attributes that requests can set, by name: a queue may lack a value for one.
const SETTABLE: [&str; 15] = [
    "ContentBasedDeduplication",
    "DeduplicationScope",
    "DelaySeconds",
    "FifoQueue",
    "FifoThroughputLimit",
    "KmsDataKeyReusePeriodSeconds",
    "KmsMasterKeyId",
    "MaximumMessageSize",
    "MessageRetentionPeriod",
    "Policy",
    "ReceiveMessageWaitTimeSeconds",
    "RedriveAllowPolicy",
    "RedrivePolicy",
    "SqsManagedSseEnabled",
    "VisibilityTimeout",
];

/// `GetQueueAttributes`
pub(super) async fn get_attributes(cloud: &Cloud, input: GetAttributes) -> ApiResult<Value> {
    let queue = of_url(cloud, &input.queue_url)?;
    let names = input.attribute_names;
    let known = |name: &String| {
        let name = name.as_str();
        name == "All" || READ_ONLY.contains(&name) || SETTABLE.contains(&name)
    };
    if let Some(unknown) = names.iter().find(|name| !known(name)) {
        let message = format!("Unknown Attribute {unknown}.");
        return Err(ApiError::new("InvalidAttributeName", message));
    }
    if names.is_empty() {
        return Ok(json!({}));
    }
    let now = now(cloud);
    let counts = cloud
        .store()
        .transaction(|tx| messages::count(tx, &queue, now))?;
    let mut shown = queue.attributes.shown();
    let values = [
        counts.visible.to_string(),
        counts.delayed.to_string(),
        counts.in_flight.to_string(),
        queue.created.to_string(),
        queue.modified.to_string(),
        arn(cloud, &queue.name),
    ];
    shown.extend(READ_ONLY.into_iter().zip(values));
    if !names.iter().any(|name| name == "All") {
        shown.retain(|shown, _| names.iter().any(|name| name == shown));
    }
    Ok(json!({ "Attributes": shown }))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SetAttributes {
    #[serde(default)]
    queue_url: String,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
}

/// `SetQueueAttributes`
pub(super) async fn set_attributes(cloud: &Cloud, input: SetAttributes) -> ApiResult<Value> {
    let seconds = now(cloud) / 1000;
    let mut changed = of_url(cloud, &input.queue_url)?;
    changed.attributes.set(&input.attributes)?;
    if input.attributes.contains_key("RedrivePolicy")
        && let Some(redrive) = &changed.attributes.redrive
    {
        redrive.check(cloud, &changed)?;
    }
    change(cloud, &input.queue_url, |queue| {
        let before = queue.attributes.clone();
        queue.attributes.set(&input.attributes)?;
        if queue.attributes != before {
            queue.modified = seconds;
        }
        Ok(())
    })?;
    cloud.clock().announce(super::QUEUES);
    Ok(Value::Null)
}

/// `PurgeQueue`
pub(super) async fn purge(cloud: &Cloud, input: ByUrl) -> ApiResult<Value> {
    let name = name_of(&input.queue_url)?;
    let now = now(cloud);
    cloud.store().transaction(|tx| {
        let records = records(cloud);
        let mut queue = records.get_in(tx, name)?.ok_or_else(absent)?;
        if queue.purged.is_some_and(|time| now < time + PURGE_PAUSE) {
            let message =
                format!("Only one PurgeQueue operation on {name} is allowed every 60 seconds.");
            return Err(ApiError::new("PurgeQueueInProgress", message).status(403));
        }
        queue.purged = Some(now);
        messages::remove_all(tx, &queue)?;
        records.put_in(tx, name, &queue)
    })?;
    Ok(Value::Null)
}
