//! The table of deliveries that are not done yet.

use rusqlite::{OptionalExtension, Transaction, params};
use serde::{Deserialize, Serialize};

use super::message::Message;
use crate::api::{ApiError, ApiResult};

/// The tables of this service. The deliveries of a message share its content. `lane` is 1 for HTTP endpoints and 0 for
/// others; `due` is in milliseconds of the cloud's time since the epoch, and absent for a delivery that cannot be read.
/// `sns_deleted` has the number of deleted subscriptions of a topic.
pub(super) const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS sns_contents (
        number INTEGER PRIMARY KEY AUTOINCREMENT, content TEXT NOT NULL
    );
    CREATE TABLE IF NOT EXISTS sns_deliveries (
        id INTEGER PRIMARY KEY AUTOINCREMENT, lane INTEGER NOT NULL, topic TEXT NOT NULL, subscription TEXT NOT NULL,
        protocol TEXT NOT NULL, endpoint TEXT NOT NULL, content INTEGER NOT NULL, attempts INTEGER NOT NULL, due INTEGER
    );
    CREATE INDEX IF NOT EXISTS sns_deliveries_due ON sns_deliveries (lane, due, id, endpoint);
    CREATE INDEX IF NOT EXISTS sns_deliveries_contents ON sns_deliveries (content);
    CREATE INDEX IF NOT EXISTS sns_deliveries_topics ON sns_deliveries (topic, subscription);
    CREATE TABLE IF NOT EXISTS sns_deleted (
        topic TEXT PRIMARY KEY, count INTEGER NOT NULL
    ) WITHOUT ROWID;
";

/// What is delivered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Content {
    Notification(Message),
    /// The request to confirm a subscription, with its token.
    Confirmation {
        token: String,
        time: i64,
    },
}

/// The endpoints that do not wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// Queues and functions.
    Aws,
    /// HTTP endpoints, which can be slow.
    Http,
}

impl Lane {
    fn number(self) -> i64 {
        match self {
            Self::Aws => 0,
            Self::Http => 1,
        }
    }
}

/// Where messages are delivered: a subscription.
#[derive(Debug)]
pub(super) struct Destination<'a> {
    pub(super) lane: Lane,
    pub(super) topic: &'a str,
    /// The key of the subscription.
    pub(super) subscription: String,
    /// The name of its protocol.
    pub(super) protocol: &'static str,
    pub(super) endpoint: &'a str,
}

/// A delivery.
#[derive(Debug)]
pub(super) struct Delivery {
    /// The key of the subscription.
    pub(super) subscription: String,
    /// The name of the protocol.
    pub(super) protocol: String,
    pub(super) content: Content,
    /// The number of attempts that failed.
    pub(super) attempts: u32,
}

/// Adds what is delivered, and returns its number. Add a delivery in the same transaction.
pub(super) fn add(tx: &Transaction<'_>, content: &Content) -> ApiResult<i64> {
    let content = serde_json::to_string(content).map_err(ApiError::internal)?;
    tx.prepare_cached("INSERT INTO sns_contents (content) VALUES (?1)")?
        .execute([content])?;
    Ok(tx.last_insert_rowid())
}

/// Adds a delivery of the content with a number.
pub(super) fn insert(
    tx: &Transaction<'_>,
    to: &Destination<'_>,
    content: i64,
    due: i64,
) -> ApiResult<()> {
    tx.prepare_cached(
        "INSERT INTO sns_deliveries (lane, topic, subscription, protocol, endpoint, content, attempts, due)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?7)",
    )?
    .execute(params![
        to.lane.number(),
        to.topic,
        to.subscription,
        to.protocol,
        to.endpoint,
        content,
        due
    ])?;
    Ok(())
}

/// The delivery of a lane that is due first, without those in progress and those of endpoints with too many in progress:
/// its number, its endpoint, and when it is due.
pub(super) fn next(
    tx: &Transaction<'_>,
    lane: Lane,
    running: &[i64],
    saturated: &[String],
) -> ApiResult<Option<(i64, String, i64)>> {
    let mut statement = tx.prepare_cached(
        "SELECT id, endpoint, due FROM sns_deliveries WHERE lane = ?1 AND due IS NOT NULL
         AND id NOT IN (SELECT value FROM json_each(?2)) AND endpoint NOT IN (SELECT value FROM json_each(?3))
         ORDER BY due, id LIMIT 1",
    )?;
    let (running, saturated) = (
        serde_json::to_string(running).map_err(ApiError::internal)?,
        serde_json::to_string(saturated).map_err(ApiError::internal)?,
    );
    let found = statement.query_row(params![lane.number(), running, saturated], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
    });
    Ok(found.optional()?)
}

/// Reads a delivery.
pub(super) fn get(tx: &Transaction<'_>, id: i64) -> ApiResult<Option<Delivery>> {
    let mut statement = tx.prepare_cached(
        "SELECT d.subscription, d.protocol, c.content, d.attempts FROM sns_deliveries AS d
         JOIN sns_contents AS c ON c.number = d.content WHERE d.id = ?1",
    )?;
    let mut rows = statement.query([id])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let content: String = row.get(2)?;
    Ok(Some(Delivery {
        subscription: row.get(0)?,
        protocol: row.get(1)?,
        content: serde_json::from_str(&content).map_err(ApiError::internal)?,
        attempts: row.get(3)?,
    }))
}

/// Removes a delivery that is done, and its content after the last one.
pub(super) fn remove(tx: &Transaction<'_>, id: i64) -> ApiResult<()> {
    let content: Option<i64> = tx
        .prepare_cached("SELECT content FROM sns_deliveries WHERE id = ?1")?
        .query_row([id], |row| row.get(0))
        .optional()?;
    tx.prepare_cached("DELETE FROM sns_deliveries WHERE id = ?1")?
        .execute([id])?;
    tx.prepare_cached(
        "DELETE FROM sns_contents WHERE number = ?1
         AND NOT EXISTS (SELECT 1 FROM sns_deliveries WHERE content = ?1)",
    )?
    .execute([content])?;
    Ok(())
}

/// Records that a delivery is attempted again, and how many attempts that adds.
pub(super) fn postpone(tx: &Transaction<'_>, id: i64, due: i64, attempts: u32) -> ApiResult<()> {
    tx.prepare_cached(
        "UPDATE sns_deliveries SET attempts = attempts + ?3, due = ?2 WHERE id = ?1",
    )?
    .execute(params![id, due, attempts])?;
    Ok(())
}

/// Keeps a delivery without attempting it again.
pub(super) fn set_aside(tx: &Transaction<'_>, id: i64) -> ApiResult<()> {
    tx.prepare_cached("UPDATE sns_deliveries SET due = NULL WHERE id = ?1")?
        .execute([id])?;
    Ok(())
}

/// Removes the deliveries of a topic, or of one of its subscriptions.
pub(super) fn remove_all(
    tx: &Transaction<'_>,
    topic: &str,
    subscription: Option<&str>,
) -> ApiResult<()> {
    tx.prepare_cached(
        "DELETE FROM sns_deliveries WHERE topic = ?1 AND (?2 IS NULL OR subscription = ?2)",
    )?
    .execute(params![topic, subscription])?;
    tx.prepare_cached(
        "DELETE FROM sns_contents AS c
         WHERE NOT EXISTS (SELECT 1 FROM sns_deliveries AS d WHERE d.content = c.number)",
    )?
    .execute([])?;
    Ok(())
}

/// Counts a deleted subscription of a topic.
pub(super) fn count_deleted(tx: &Transaction<'_>, topic: &str) -> ApiResult<()> {
    tx.prepare_cached(
        "INSERT INTO sns_deleted VALUES (?1, 1) ON CONFLICT (topic) DO UPDATE SET count = count + 1",
    )?
    .execute([topic])?;
    Ok(())
}

/// The number of deleted subscriptions of a topic.
pub(super) fn deleted(tx: &Transaction<'_>, topic: &str) -> ApiResult<i64> {
    let mut statement =
        tx.prepare_cached("SELECT coalesce(sum(count), 0) FROM sns_deleted WHERE topic = ?1")?;
    Ok(statement.query_row([topic], |row| row.get(0))?)
}

/// Forgets the deleted subscriptions of a topic.
pub(super) fn forget_deleted(tx: &Transaction<'_>, topic: &str) -> ApiResult<()> {
    tx.prepare_cached("DELETE FROM sns_deleted WHERE topic = ?1")?
        .execute([topic])?;
    Ok(())
}
