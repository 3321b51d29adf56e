//! Operations on received messages, which are named by the handles of their receipts.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rusqlite::{OptionalExtension, Transaction, params};
use serde::Deserialize;
use serde_json::{Value, json};

use super::queues::{self, Queue};
use super::receive::MAX_VISIBILITY;
use super::{QUEUES, batch, invalid_value, missing, now, within};
use crate::Cloud;
use crate::api::{ApiError, ApiResult};

/// A new handle for the receipt of a message.
pub(super) fn handle(queue: &Queue, id: i64) -> String {
    let nonce = uuid::Uuid::new_v4().simple();
    STANDARD.encode(format!("{} {id} {nonce}", queue.number))
}

/// The number of the message in a handle of this queue.
fn parse(queue: &Queue, handle: &str) -> ApiResult<i64> {
    if handle.is_empty() {
        return Err(missing("ReceiptHandle"));
    }
    let found = || {
        let text = String::from_utf8(STANDARD.decode(handle).ok()?).ok()?;
        let mut parts = text.split(' ');
        let (number, id, nonce) = (parts.next()?, parts.next()?, parts.next()?);
        let is_own = number.parse() == Ok(queue.number) && nonce.len() == 32;
        is_own.then(|| id.parse().ok()).flatten()
    };
    found().ok_or_else(|| {
        let message =
            format!("The input receipt handle \"{handle}\" is not a valid receipt handle.");
        ApiError::new("ReceiptHandleIsInvalid", message)
    })
}

/// When a message with this receipt becomes visible, and when it was received; `None` if it was deleted, or received
/// again since.
fn times(
    tx: &Transaction<'_>,
    queue: &Queue,
    id: i64,
    handle: &str,
) -> ApiResult<Option<(i64, i64)>> {
    let mut statement = tx.prepare_cached(
        "SELECT visible, received FROM sqs_messages WHERE id = ?1 AND queue = ?2 AND receipt = ?3",
    )?;
    let found = statement.query_row(params![id, queue.number, handle], |row| {
        Ok((row.get(0)?, row.get(1)?))
    });
    Ok(found.optional()?)
}

/// Deletes a message. An old receipt of a message that was received again since deletes nothing.
fn delete_one(tx: &Transaction<'_>, queue: &Queue, handle: &str, now: i64) -> ApiResult<()> {
    let id = parse(queue, handle)?;
    let Some((visible, _)) = times(tx, queue, id, handle)? else {
        return Ok(());
    };
    if queue.attributes.is_fifo && visible <= now {
        let reason = "The receipt handle has expired.";
        return Err(invalid_value(handle, "ReceiptHandle", reason));
    }
    tx.prepare_cached("DELETE FROM sqs_messages WHERE id = ?1")?
        .execute([id])?;
    Ok(())
}

fn change_one(
    tx: &Transaction<'_>,
    queue: &Queue,
    handle: &str,
    timeout: Option<i64>,
    now: i64,
) -> ApiResult<()> {
    let timeout = timeout.ok_or_else(|| missing("VisibilityTimeout"))?;
    let timeout = within(timeout, (0, MAX_VISIBILITY), "VisibilityTimeout")?;
    let id = parse(queue, handle)?;
    let Some((visible, received)) = times(tx, queue, id, handle)? else {
        let reason = "Message does not exist or is not available for visibility timeout change.";
        return Err(invalid_value(handle, "ReceiptHandle", reason));
    };
    if visible <= now {
        let message = "The specified message isn't in flight.";
        return Err(ApiError::new("MessageNotInflight", message));
    }
    if now + timeout * 1000 > received + MAX_VISIBILITY * 1000 {
        let reason = "Total VisibilityTimeout for the message is beyond the limit [43200 seconds].";
        return Err(invalid_value(timeout, "VisibilityTimeout", reason));
    }
    tx.prepare_cached("UPDATE sqs_messages SET visible = ?2 WHERE id = ?1")?
        .execute(params![id, now + timeout * 1000])?;
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Receipt {
    #[serde(default)]
    queue_url: String,
    #[serde(default, rename = "ReceiptHandle")]
    handle: String,
    visibility_timeout: Option<i64>,
}

/// `DeleteMessage`
pub(super) async fn delete(cloud: &Cloud, input: Receipt) -> ApiResult<Value> {
    let (queue, now) = (queues::of_url(cloud, &input.queue_url)?, now(cloud));
    cloud
        .store()
        .transaction(|tx| delete_one(tx, &queue, &input.handle, now))?;
    // The next message of a FIFO queue's group may be visible.
    if queue.attributes.is_fifo {
        cloud.clock().announce(QUEUES);
    }
    Ok(Value::Null)
}

/// `ChangeMessageVisibility`
pub(super) async fn change_visibility(cloud: &Cloud, input: Receipt) -> ApiResult<Value> {
    let (queue, now) = (queues::of_url(cloud, &input.queue_url)?, now(cloud));
    let (handle, timeout) = (&input.handle, input.visibility_timeout);
    cloud
        .store()
        .transaction(|tx| change_one(tx, &queue, handle, timeout, now))?;
    cloud.clock().announce(QUEUES);
    Ok(Value::Null)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Batch {
    #[serde(default)]
    queue_url: String,
    #[serde(default)]
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    id: String,
    #[serde(default)]
    receipt_handle: String,
    visibility_timeout: Option<i64>,
}

fn for_each(
    cloud: &Cloud,
    input: Batch,
    shape: &str,
    work: impl Fn(&Transaction<'_>, &Queue, &Entry, i64) -> ApiResult<()>,
) -> ApiResult<Value> {
    let (queue, now) = (queues::of_url(cloud, &input.queue_url)?, now(cloud));
    batch::check(input.entries.iter().map(|entry| entry.id.as_str()), shape)?;
    let answer = cloud.store().transaction(|tx| {
        let entries = input.entries.into_iter();
        let results = entries.map(|entry| {
            let result = work(tx, &queue, &entry, now).map(|()| json!({}));
            (entry.id, result)
        });
        batch::answer(results.collect())
    })?;
    cloud.clock().announce(QUEUES);
    Ok(answer)
}

/// `DeleteMessageBatch`
pub(super) async fn delete_batch(cloud: &Cloud, input: Batch) -> ApiResult<Value> {
    for_each(
        cloud,
        input,
        "DeleteMessageBatchRequestEntry",
        |tx, queue, entry, now| delete_one(tx, queue, &entry.receipt_handle, now),
    )
}

/// `ChangeMessageVisibilityBatch`
pub(super) async fn change_visibility_batch(cloud: &Cloud, input: Batch) -> ApiResult<Value> {
    for_each(
        cloud,
        input,
        "ChangeMessageVisibilityBatchRequestEntry",
        |tx, queue, entry, now| {
            let timeout = entry.visibility_timeout;
            change_one(tx, queue, &entry.receipt_handle, timeout, now)
        },
    )
}
