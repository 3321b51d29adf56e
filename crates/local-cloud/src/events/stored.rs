//! The records of deliveries.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Transaction, params};
use serde_json::Value;

use super::target::Target;
use crate::api::{ApiError, ApiResult};
use crate::{Cloud, log};

/// The tables. Times are milliseconds since the epoch, by the cloud's clock. A delivery has its target as it was when
/// the event matched; targets are stored once. `events_backlog` has the number of deliveries and the size of their
/// events.
pub(super) const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS events_accepted (
        number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, time INTEGER NOT NULL, event TEXT NOT NULL
    );
    CREATE TABLE IF NOT EXISTS events_targets (number INTEGER PRIMARY KEY AUTOINCREMENT, target TEXT NOT NULL UNIQUE);
    CREATE TABLE IF NOT EXISTS events_deliveries (
        number INTEGER PRIMARY KEY AUTOINCREMENT, event INTEGER NOT NULL, rule TEXT NOT NULL, arn TEXT NOT NULL,
        target INTEGER NOT NULL, due INTEGER NOT NULL, attempts INTEGER NOT NULL, error TEXT
    );
    CREATE INDEX IF NOT EXISTS events_deliveries_arns ON events_deliveries (arn, due, number);
    CREATE INDEX IF NOT EXISTS events_deliveries_events ON events_deliveries (event);
    CREATE INDEX IF NOT EXISTS events_deliveries_targets ON events_deliveries (target);
    CREATE TABLE IF NOT EXISTS events_backlog (
        one INTEGER PRIMARY KEY CHECK (one = 1), deliveries INTEGER NOT NULL, bytes INTEGER NOT NULL
    );
    INSERT OR IGNORE INTO events_backlog VALUES (1, 0, 0);
    CREATE TRIGGER IF NOT EXISTS events_deliveries_added AFTER INSERT ON events_deliveries BEGIN
        UPDATE events_backlog SET deliveries = deliveries + 1;
    END;
    CREATE TRIGGER IF NOT EXISTS events_deliveries_removed AFTER DELETE ON events_deliveries BEGIN
        UPDATE events_backlog SET deliveries = deliveries - 1;
    END;
    CREATE TRIGGER IF NOT EXISTS events_accepted_added AFTER INSERT ON events_accepted BEGIN
        UPDATE events_backlog SET bytes = bytes + length(new.event);
    END;
    CREATE TRIGGER IF NOT EXISTS events_accepted_removed AFTER DELETE ON events_accepted BEGIN
        UPDATE events_backlog SET bytes = bytes - length(old.event);
    END;
";

/// Maximum number of deliveries that wait, and characters in their events.
pub(super) const MAX_BACKLOG: (usize, usize) = if cfg!(test) {
    (2000, 64 << 20)
} else {
    (100_000, 256 << 20)
};

/// The problem of a server that cannot write them.
const WHAT: &str = "the delivery of events";

/// A stored delivery.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) number: i64,
    pub(super) event: i64,
    pub(super) rule: String,
    pub(super) target: Target,
    /// Attempts before this one.
    pub(super) attempts: u32,
    /// The error of the last one.
    pub(super) error: Option<ApiError>,
    /// The id of the event.
    pub(super) id: String,
    /// When the event was accepted.
    pub(super) accepted: Timestamp,
    /// The event.
    pub(super) envelope: Value,
}

/// The first delivery of an ARN that waits.
#[derive(Debug)]
pub(super) struct First {
    pub(super) number: i64,
    pub(super) arn: String,
    pub(super) due: i64,
}

/// True if an event with this number of deliveries can be added.
pub(super) fn has_room(tx: &Transaction<'_>, deliveries: usize, size: usize) -> ApiResult<bool> {
    let (waiting, bytes): (i64, i64) = tx
        .prepare_cached("SELECT deliveries, bytes FROM events_backlog")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let with = |stored: i64, more: usize| usize::try_from(stored).unwrap_or(0) + more;
    Ok(with(waiting, deliveries) <= MAX_BACKLOG.0 && with(bytes, size) <= MAX_BACKLOG.1)
}

/// Writes to the server's log that an event of a service is dropped.
pub(super) fn report_dropped(kind: &str) {
    log::write_line(&format!(
        "dropped an event ({kind}): too many events wait for their delivery"
    ));
}

/// Adds an event; its number.
pub(super) fn add_event(
    tx: &Transaction<'_>,
    id: &str,
    time: Timestamp,
    text: &str,
) -> ApiResult<i64> {
    tx.prepare_cached("INSERT INTO events_accepted (id, time, event) VALUES (?1, ?2, ?3)")?
        .execute(params![id, time.as_millisecond(), text])?;
    Ok(tx.last_insert_rowid())
}

/// Adds a delivery of an event.
pub(super) fn add(
    tx: &Transaction<'_>,
    event: i64,
    rule: &str,
    target: &Target,
    due: Timestamp,
) -> ApiResult<()> {
    let text = serde_json::to_string(target).map_err(ApiError::internal)?;
    tx.prepare_cached("INSERT OR IGNORE INTO events_targets (target) VALUES (?1)")?
        .execute([&text])?;
    tx.prepare_cached(
        "INSERT INTO events_deliveries (event, rule, arn, target, due, attempts)
         SELECT ?1, ?2, ?3, number, ?5, 0 FROM events_targets WHERE target = ?4",
    )?
    .execute(params![event, rule, target.arn, text, due.as_millisecond()])?;
    Ok(())
}

/// The delivery of each ARN that is due first, without those in progress and those of ARNs with too many in
/// progress, in the order of their times. The time of this depends on the number of ARNs, not on that of deliveries.
pub(super) fn firsts(
    tx: &Transaction<'_>,
    running: &[i64],
    saturated: &[String],
) -> ApiResult<Vec<First>> {
    let mut found = tx.prepare_cached(
        "WITH RECURSIVE arns (arn) AS (
             SELECT min(arn) FROM events_deliveries
             UNION ALL
             SELECT (SELECT min(arn) FROM events_deliveries WHERE arn > arns.arn) FROM arns WHERE arn IS NOT NULL
         )
         SELECT d.number, d.arn, d.due FROM arns JOIN events_deliveries d ON d.number = (
             SELECT number FROM events_deliveries
             WHERE arn = arns.arn AND number NOT IN (SELECT value FROM json_each(?1))
             ORDER BY due, number LIMIT 1
         )
         WHERE arns.arn IS NOT NULL AND arns.arn NOT IN (SELECT value FROM json_each(?2))
         ORDER BY d.due, d.number",
    )?;
    let running = Value::from(running).to_string();
    let saturated = Value::from(saturated).to_string();
    let found = found.query_map(params![running, saturated], |row| {
        Ok(First {
            number: row.get(0)?,
            arn: row.get(1)?,
            due: row.get(2)?,
        })
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// True if there is a delivery.
pub(super) fn has_any(cloud: &Cloud) -> ApiResult<bool> {
    cloud.store().transaction(|tx| {
        let mut found = tx.prepare_cached("SELECT 1 FROM events_deliveries LIMIT 1")?;
        Ok(found.exists([])?)
    })
}

/// Reads a delivery with its event.
pub(super) async fn read(cloud: &Cloud, number: i64) -> ApiResult<Option<Stored>> {
    let read = || {
        cloud.store().transaction(|tx| {
            let found = tx
                .prepare_cached(
                    "SELECT d.event, d.rule, t.target, d.attempts, d.error, a.id, a.time, a.event
                     FROM events_deliveries d JOIN events_accepted a ON a.number = d.event
                     JOIN events_targets t ON t.number = d.target WHERE d.number = ?1",
                )?
                .query_row([number], |row| {
                    Ok((
                        row.get::<_, i64>(0)?,
                        row.get::<_, String>(1)?,
                        row.get::<_, String>(2)?,
                        row.get::<_, u32>(3)?,
                        row.get::<_, Option<String>>(4)?,
                        row.get::<_, String>(5)?,
                        row.get::<_, i64>(6)?,
                        row.get::<_, String>(7)?,
                    ))
                })
                .optional()?;
            let Some((event, rule, target, attempts, error, id, accepted, envelope)) = found else {
                return Ok(None);
            };
            Ok(Some(Stored {
                number,
                event,
                rule,
                target: serde_json::from_str(&target).map_err(ApiError::internal)?,
                attempts,
                error: error.as_deref().and_then(error_of),
                id,
                accepted: Timestamp::from_millisecond(accepted).map_err(ApiError::internal)?,
                envelope: serde_json::from_str(&envelope).map_err(ApiError::internal)?,
            }))
        })
    };
    cloud.persist(WHAT, read).await
}

/// The stored form of an error: its status, code and message.
fn text_of(error: &ApiError) -> String {
    serde_json::json!([error.status, error.code, error.message]).to_string()
}

fn error_of(text: &str) -> Option<ApiError> {
    let (status, code, message): (u16, String, String) = serde_json::from_str(text).ok()?;
    Some(ApiError::new(code, message).status(status))
}

/// Records that a delivery is attempted again, with the error of an attempt. An attempt that the local cloud itself
/// could not make has none, and does not count.
pub(super) async fn postpone(
    cloud: &Cloud,
    number: i64,
    due: Timestamp,
    error: Option<&ApiError>,
) -> ApiResult<()> {
    let write = || {
        cloud.store().transaction(|tx| {
            tx.prepare_cached(
                "UPDATE events_deliveries SET due = ?2, attempts = attempts + ?3, error = coalesce(?4, error)
                 WHERE number = ?1",
            )?
            .execute(params![
                number,
                due.as_millisecond(),
                u32::from(error.is_some()),
                error.map(text_of)
            ])?;
            Ok(())
        })
    };
    cloud.persist(WHAT, write).await
}

/// Removes a delivery, and its event and its target after the last one.
pub(super) async fn remove(cloud: &Cloud, stored: &Stored) -> ApiResult<()> {
    let write = || {
        cloud.store().transaction(|tx| {
            tx.prepare_cached(
                "DELETE FROM events_targets WHERE number = (SELECT target FROM events_deliveries WHERE number = ?1)
                 AND NOT EXISTS (SELECT 1 FROM events_deliveries d
                     WHERE d.target = events_targets.number AND d.number != ?1)",
            )?
            .execute([stored.number])?;
            tx.prepare_cached("DELETE FROM events_deliveries WHERE number = ?1")?
                .execute([stored.number])?;
            tx.prepare_cached(
                "DELETE FROM events_accepted WHERE number = ?1
                 AND NOT EXISTS (SELECT 1 FROM events_deliveries WHERE event = ?1)",
            )?
            .execute([stored.event])?;
            Ok(())
        })
    };
    cloud.persist(WHAT, write).await
}
