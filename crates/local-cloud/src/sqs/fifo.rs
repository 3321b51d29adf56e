//! FIFO queues: duplicates within five minutes, and sequence numbers. The order of groups is in [`super::messages`].

use rusqlite::{OptionalExtension, Transaction, params};

use super::message::Message;
use super::records::Queue;
use crate::api::ApiResult;

/// The deduplication interval, in milliseconds.
pub(super) const INTERVAL: i64 = 5 * 60 * 1000;

/// Sequence numbers begin here, with 20 digits as AWS's have.
const FIRST_SEQUENCE: u128 = 18_800_000_000_000_000_000;

/// The ids of a message that was accepted.
#[derive(Debug, Clone)]
pub(super) struct Accepted {
    pub(super) message: String,
    pub(super) sequence: String,
}

/// The sequence number of a row: 20 digits.
pub(super) fn sequence(row: i64) -> String {
    let number = FIRST_SEQUENCE + u128::try_from(row).unwrap_or_default();
    format!("{number:020}")
}

/// The group within which a message can be a duplicate.
fn scope<'a>(queue: &Queue, message: &'a Message) -> &'a str {
    if queue.attributes.deduplicates_groups {
        message.group.as_deref().unwrap_or_default()
    } else {
        ""
    }
}

/// The message of which this one is a duplicate.
pub(super) fn original(
    tx: &Transaction<'_>,
    queue: &Queue,
    message: &Message,
    now: i64,
) -> ApiResult<Option<Accepted>> {
    let mut statement = tx.prepare_cached(
        "SELECT message, sequence FROM sqs_deduplication
         WHERE queue = ?1 AND message_group = ?2 AND id = ?3 AND time > ?4",
    )?;
    let id = message.deduplication.as_deref().unwrap_or_default();
    let key = params![queue.number, scope(queue, message), id, now - INTERVAL];
    let found = statement.query_row(key, |row| {
        Ok(Accepted {
            message: row.get(0)?,
            sequence: row.get(1)?,
        })
    });
    Ok(found.optional()?)
}

/// Remembers a message for the deduplication interval.
pub(super) fn remember(
    tx: &Transaction<'_>,
    queue: &Queue,
    message: &Message,
    accepted: &Accepted,
    now: i64,
) -> ApiResult<()> {
    tx.prepare_cached("INSERT OR REPLACE INTO sqs_deduplication VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
        .execute(params![
            queue.number,
            scope(queue, message),
            message.deduplication,
            now,
            accepted.message,
            accepted.sequence,
        ])?;
    Ok(())
}
