//! The table of messages.

use std::collections::BTreeMap;

use rusqlite::{Row, Transaction, params};

use super::fifo::{self, Accepted};
use super::message::{Attribute, Content, Message};
use super::records::{Queue, records};
use crate::Cloud;
use crate::api::{ApiError, ApiResult};

/// Maximum number of messages of a queue in flight (quotas; FIFO queues since November 2024, too).
const MAX_IN_FLIGHT: i64 = 120_000;

/// A message that is received.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) message: String,
    pub(super) receipt: String,
    pub(super) body: String,
    pub(super) attributes: BTreeMap<String, Attribute>,
    /// The system attributes.
    pub(super) system: BTreeMap<&'static str, String>,
}

/// A row that can be received.
struct Candidate {
    id: i64,
    received: Received,
}

/// Adds a message to a queue.
pub(super) fn insert(
    tx: &Transaction<'_>,
    queue: &Queue,
    message: &Message,
    sender: &str,
    now: i64,
) -> ApiResult<Accepted> {
    if queue.attributes.is_fifo
        && let Some(accepted) = fifo::original(tx, queue, message, now)?
    {
        return Ok(accepted);
    }
    let attributes = if message.attributes.is_empty() {
        None
    } else {
        Some(serde_json::to_string(&message.attributes).map_err(ApiError::internal)?)
    };
    let trace = message.system.values().find_map(|it| match &it.content {
        Content::Text(text) => Some(text.as_str()),
        Content::Bytes(_) => None,
    });
    let id = uuid::Uuid::new_v4().to_string();
    let delay = message.delay.unwrap_or(queue.attributes.delay);
    tx.prepare_cached(
        "INSERT INTO sqs_messages (queue, message, body, attributes, trace, sender, sent, visible, receives,
             all_receives, message_group, deduplication)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, 0, ?9, ?10)",
    )?
    .execute(params![
        queue.number,
        id,
        message.body,
        attributes,
        trace,
        sender,
        now,
        now + delay * 1000,
        message.group,
        message.deduplication,
    ])?;
    let row = tx.last_insert_rowid();
    let accepted = Accepted {
        message: id,
        sequence: fifo::sequence(row),
    };
    if queue.attributes.is_fifo {
        tx.prepare_cached("UPDATE sqs_messages SET sequence = ?2 WHERE id = ?1")?
            .execute(params![row, accepted.sequence])?;
        fifo::remember(tx, queue, message, &accepted, now)?;
    }
    Ok(accepted)
}

/// Messages that were sent before this time have expired.
fn oldest(queue: &Queue, now: i64) -> i64 {
    now - queue.attributes.retention * 1000
}

/// Receives up to `most` messages, which are then invisible for `visibility` milliseconds. Messages that were received
/// too often move to the dead-letter queue. Also returns whether any have moved.
pub(super) fn receive(
    tx: &Transaction<'_>,
    queue: &Queue,
    dead_letters: Option<(&Queue, &str)>,
    most: usize,
    visibility: i64,
    now: i64,
) -> ApiResult<(Vec<Received>, bool)> {
    let mut has_moved = false;
    if let Some((target, source)) = dead_letters
        && let Some(redrive) = &queue.attributes.redrive
    {
        let limit = redrive.max_receives;
        has_moved = move_dead_letters(tx, queue, limit, target, source, now)?;
    }
    let mut found = candidates(tx, queue, most, now)?;
    for candidate in &mut found {
        mark(tx, queue, candidate, now + visibility, now)?;
    }
    let received = found.into_iter().map(|it| it.received).collect();
    Ok((received, has_moved))
}

fn candidates(
    tx: &Transaction<'_>,
    queue: &Queue,
    most: usize,
    now: i64,
) -> ApiResult<Vec<Candidate>> {
    const COLUMNS: &str = "id, message, body, attributes, trace, sender, sent, all_receives, \
        first_received, message_group, deduplication, sequence, source";
    let text = if queue.attributes.is_fifo {
        // Messages of a group are received in order, and none while an earlier one is in flight or delayed.
        format!(
            "SELECT {COLUMNS} FROM sqs_messages AS m WHERE queue = ?1 AND visible <= ?2 AND sent > ?3
             AND NOT EXISTS (SELECT 1 FROM sqs_messages AS b WHERE b.queue = m.queue
                 AND b.message_group = m.message_group AND b.visible > ?2 AND (b.receives > 0 OR b.id < m.id))
             ORDER BY id LIMIT ?4"
        )
    } else {
        format!(
            "SELECT {COLUMNS} FROM sqs_messages WHERE queue = ?1 AND visible <= ?2 AND sent > ?3
             ORDER BY visible, id LIMIT ?4"
        )
    };
    let mut statement = tx.prepare_cached(&text)?;
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let key = params![queue.number, now, oldest(queue, now), most];
    let mut rows = statement.query(key)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(candidate(row)?);
    }
    Ok(found)
}

fn candidate(row: &Row<'_>) -> ApiResult<Candidate> {
    let attributes: Option<String> = row.get("attributes")?;
    let attributes = attributes.map(|text| serde_json::from_str(&text));
    let attributes = attributes.transpose().map_err(ApiError::internal)?;
    let mut system = BTreeMap::from([
        ("SenderId", row.get("sender")?),
        ("SentTimestamp", row.get::<_, i64>("sent")?.to_string()),
        (
            "ApproximateReceiveCount",
            row.get::<_, i64>("all_receives")?.to_string(),
        ),
    ]);
    for (name, column) in [
        ("AWSTraceHeader", "trace"),
        ("MessageGroupId", "message_group"),
        ("MessageDeduplicationId", "deduplication"),
        ("SequenceNumber", "sequence"),
        ("DeadLetterQueueSourceArn", "source"),
    ] {
        if let Some(value) = row.get(column)? {
            system.insert(name, value);
        }
    }
    if let Some(time) = row.get::<_, Option<i64>>("first_received")? {
        system.insert("ApproximateFirstReceiveTimestamp", time.to_string());
    }
    Ok(Candidate {
        id: row.get("id")?,
        received: Received {
            message: row.get("message")?,
            receipt: String::new(),
            body: row.get("body")?,
            attributes: attributes.unwrap_or_default(),
            system,
        },
    })
}

/// Records that a message is received.
fn mark(
    tx: &Transaction<'_>,
    queue: &Queue,
    candidate: &mut Candidate,
    visible: i64,
    now: i64,
) -> ApiResult<()> {
    let received = &mut candidate.received;
    received.receipt = super::receipts::handle(queue, candidate.id);
    tx.prepare_cached(
        "UPDATE sqs_messages SET visible = ?2, receives = receives + 1, all_receives = all_receives + 1,
             first_received = coalesce(first_received, ?3), receipt = ?4, received = ?3
         WHERE id = ?1",
    )?
    .execute(params![candidate.id, visible, now, received.receipt])?;
    let count = received
        .system
        .entry("ApproximateReceiveCount")
        .or_default();
    *count = (count.parse::<i64>().unwrap_or_default() + 1).to_string();
    received
        .system
        .entry("ApproximateFirstReceiveTimestamp")
        .or_insert_with(|| now.to_string());
    Ok(())
}

/// Moves the messages that were received too often to a dead-letter queue. A standard queue keeps the time at which they
/// were sent, a FIFO queue does not (developer guide, "Using dead-letter queues"). Returns whether any have moved.
fn move_dead_letters(
    tx: &Transaction<'_>,
    queue: &Queue,
    max_receives: i64,
    target: &Queue,
    source: &str,
    now: i64,
) -> ApiResult<bool> {
    let moved = tx.prepare_cached(
        "UPDATE sqs_messages SET queue = ?4, visible = ?2, receives = 0, receipt = NULL, source = ?5,
             sent = CASE WHEN ?6 THEN ?2 ELSE sent END
         WHERE queue = ?1 AND receives >= ?3 AND visible <= ?2",
    )?
    .execute(params![
        queue.number,
        now,
        max_receives,
        target.number,
        source,
        target.attributes.is_fifo,
    ])?;
    Ok(moved > 0)
}

/// When the next message that is invisible now becomes visible.
pub(super) fn next_visible(
    tx: &Transaction<'_>,
    queue: &Queue,
    now: i64,
) -> ApiResult<Option<i64>> {
    let mut statement = tx.prepare_cached(
        "SELECT min(visible) FROM sqs_messages WHERE queue = ?1 AND visible > ?2",
    )?;
    Ok(statement.query_row(params![queue.number, now], |row| row.get(0))?)
}

/// Fails if too many messages of a queue are in flight.
pub(super) fn require_capacity(tx: &Transaction<'_>, queue: &Queue, now: i64) -> ApiResult<()> {
    let mut statement = tx.prepare_cached(
        "SELECT count(*) FROM (SELECT 1 FROM sqs_messages
             WHERE queue = ?1 AND visible > ?2 AND receives > 0 LIMIT ?3)",
    )?;
    let key = params![queue.number, now, MAX_IN_FLIGHT];
    let count: i64 = statement.query_row(key, |row| row.get(0))?;
    if count < MAX_IN_FLIGHT {
        return Ok(());
    }
    Err(ApiError::new(
        "OverLimit",
        format!("The maximum number of in flight messages ({MAX_IN_FLIGHT}) is reached."),
    ))
}

/// The numbers of messages of a queue.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) visible: i64,
    pub(super) in_flight: i64,
    pub(super) delayed: i64,
}

pub(super) fn count(tx: &Transaction<'_>, queue: &Queue, now: i64) -> ApiResult<Counts> {
    let mut statement = tx.prepare_cached(
        "SELECT count(*) FILTER (WHERE visible <= ?2), count(*) FILTER (WHERE visible > ?2 AND receives > 0),
             count(*) FILTER (WHERE visible > ?2 AND receives = 0)
         FROM sqs_messages WHERE queue = ?1 AND sent > ?3",
    )?;
    let key = params![queue.number, now, oldest(queue, now)];
    let counts = statement.query_row(key, |row| {
        Ok(Counts {
            visible: row.get(0)?,
            in_flight: row.get(1)?,
            delayed: row.get(2)?,
        })
    });
    Ok(counts?)
}

/// Removes all messages of a queue.
pub(super) fn remove_all(tx: &Transaction<'_>, queue: &Queue) -> ApiResult<()> {
    tx.prepare_cached("DELETE FROM sqs_messages WHERE queue = ?1")?
        .execute([queue.number])?;
    Ok(())
}

/// Removes messages whose retention period is over, and deduplication ids that are no longer needed.
pub(super) fn remove_expired(cloud: &Cloud) -> ApiResult<()> {
    let now = super::now(cloud);
    let queues = records(cloud).list("")?;
    cloud.store().transaction(|tx| {
        let mut statement =
            tx.prepare_cached("DELETE FROM sqs_messages WHERE queue = ?1 AND sent <= ?2")?;
        for (_, queue) in &queues {
            statement.execute(params![queue.number, oldest(queue, now)])?;
        }
        tx.prepare_cached("DELETE FROM sqs_deduplication WHERE time <= ?1")?
            .execute([now - fifo::INTERVAL])?;
        Ok(())
    })
}
