//! `SendMessage` and `SendMessageBatch`.

use serde::Deserialize;
use serde_json::Value;

use super::fifo::Accepted;
use super::message::{Message, Sent};
use super::queues::{self, Queue};
use super::{QUEUES, batch, digest, encryption, messages, now};
use crate::api::{ApiError, ApiResult};
use crate::cloud::caller::Caller;
use crate::{Cloud, sts};

/// Maximum size of all messages of a batch.
const MAX_BATCH: usize = 1 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Send {
    #[serde(default)]
    queue_url: String,
    #[serde(flatten)]
    message: Sent,
}

/// The queue that a request names, if the caller may use its key.
fn queue_to_send(cloud: &Cloud, url: &str) -> ApiResult<Queue> {
    let queue = queues::of_url(cloud, url)?;
    encryption::check(cloud, &queue, encryption::SEND)?;
    Ok(queue)
}

/// Stores messages in one transaction; with the queue as it is then.
fn store(cloud: &Cloud, queue: &Queue, messages: &[Message]) -> ApiResult<Vec<Accepted>> {
    let caller = Caller::current();
    let (sender, now) = (sts::caller_id(&caller), now(cloud));
    let accepted = cloud.store().transaction(|tx| {
        let queue = queues::current(cloud, tx, queue)?;
        let messages = messages.iter();
        messages
            .map(|message| messages::insert(tx, &queue, message, sender, now))
            .collect::<ApiResult<Vec<_>>>()
    })?;
    cloud.clock().announce(QUEUES);
    Ok(accepted)
}

fn answer(queue: &Queue, message: &Message, accepted: &Accepted) -> Value {
    let mut answer = digest::of_message(message);
    answer["MessageId"] = accepted.message.as_str().into();
    if queue.attributes.is_fifo {
        answer["SequenceNumber"] = accepted.sequence.as_str().into();
    }
    answer
}

/// `SendMessage`
pub(super) async fn send(cloud: &Cloud, input: Send) -> ApiResult<Value> {
    let queue = queue_to_send(cloud, &input.queue_url)?;
    let message = [input.message.check(&queue)?];
    let accepted = store(cloud, &queue, &message)?;
    let [message] = &message;
    let accepted = accepted
        .first()
        .ok_or_else(|| ApiError::internal("nothing was stored"))?;
    Ok(answer(&queue, message, accepted))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SendBatch {
    #[serde(default)]
    queue_url: String,
    #[serde(default)]
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    id: String,
    #[serde(flatten)]
    message: Sent,
}

/// `SendMessageBatch`
pub(super) async fn send_batch(cloud: &Cloud, input: SendBatch) -> ApiResult<Value> {
    let queue = queue_to_send(cloud, &input.queue_url)?;
    let ids = input.entries.iter().map(|entry| entry.id.as_str());
    batch::check(ids, "SendMessageBatchRequestEntry")?;
    let (mut ids, mut messages) = (Vec::new(), Vec::new());
    let mut results: Vec<(String, ApiResult<Value>)> = Vec::new();
    for entry in input.entries {
        match entry.message.check(&queue) {
            Ok(message) => {
                ids.push(entry.id);
                messages.push(message);
            }
            Err(error) => results.push((entry.id, Err(error))),
        }
    }
    let size: usize = messages.iter().map(Message::size).sum();
    if size > MAX_BATCH {
        return Err(ApiError::new(
            "BatchRequestTooLong",
            format!(
                "Batch requests cannot be longer than {MAX_BATCH} bytes. You have sent {size} bytes."
            ),
        ));
    }
    let accepted = store(cloud, &queue, &messages)?;
    let sent = ids.into_iter().zip(&messages).zip(&accepted);
    let sent = sent.map(|((id, message), accepted)| (id, Ok(answer(&queue, message, accepted))));
    results.extend(sent);
    batch::answer(results)
}
