//! The tables of schedules and of invocations that are not done yet.

use rusqlite::{OptionalExtension, Transaction, params};

use super::invocation::Invocation;
use super::schedule::Schedule;
use crate::api::{ApiError, ApiResult};

/// The tables of this service. Times are milliseconds of the cloud's time since the epoch. `occurrence` is the next
/// occurrence of a schedule, if there is one. `due` is absent for an invocation that cannot be read.
pub(super) const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS scheduler_schedules (
        group_name TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, occurrence INTEGER,
        PRIMARY KEY (group_name, name)
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS scheduler_schedules_occurrences ON scheduler_schedules (occurrence)
        WHERE occurrence IS NOT NULL;
    CREATE TABLE IF NOT EXISTS scheduler_invocations (
        id INTEGER PRIMARY KEY AUTOINCREMENT, group_name TEXT NOT NULL, name TEXT NOT NULL, arn TEXT NOT NULL,
        value TEXT NOT NULL, attempts INTEGER NOT NULL, due INTEGER
    );
    CREATE INDEX IF NOT EXISTS scheduler_invocations_due ON scheduler_invocations (due, id, arn);
    CREATE INDEX IF NOT EXISTS scheduler_invocations_names ON scheduler_invocations (group_name, name);
";

fn decode<T: serde::de::DeserializeOwned>(text: &str) -> ApiResult<T> {
    serde_json::from_str(text).map_err(ApiError::internal)
}

fn encode<T: serde::Serialize>(value: &T) -> ApiResult<String> {
    serde_json::to_string(value).map_err(ApiError::internal)
}

/// Reads a schedule.
pub(super) fn get(tx: &Transaction<'_>, group: &str, name: &str) -> ApiResult<Option<Schedule>> {
    let mut statement = tx.prepare_cached(
        "SELECT value FROM scheduler_schedules WHERE group_name = ?1 AND name = ?2",
    )?;
    let found: Option<String> = statement
        .query_row([group, name], |row| row.get(0))
        .optional()?;
    found.map(|text| decode(&text)).transpose()
}

/// Reads a schedule with its next occurrence.
pub(super) fn get_planned(
    tx: &Transaction<'_>,
    group: &str,
    name: &str,
) -> ApiResult<Option<(Schedule, Option<i64>)>> {
    let mut statement = tx.prepare_cached(
        "SELECT value, occurrence FROM scheduler_schedules WHERE group_name = ?1 AND name = ?2",
    )?;
    let found: Option<(String, Option<i64>)> = statement
        .query_row([group, name], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    found
        .map(|(text, occurrence)| Ok((decode(&text)?, occurrence)))
        .transpose()
}

/// Adds or replaces a schedule.
pub(super) fn put(
    tx: &Transaction<'_>,
    schedule: &Schedule,
    occurrence: Option<i64>,
) -> ApiResult<()> {
    tx.prepare_cached("INSERT OR REPLACE INTO scheduler_schedules VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![
            schedule.group,
            schedule.name,
            encode(schedule)?,
            occurrence,
        ])?;
    Ok(())
}

/// Changes when a schedule occurs next.
pub(super) fn plan(
    tx: &Transaction<'_>,
    (group, name): (&str, &str),
    occurrence: Option<i64>,
) -> ApiResult<()> {
    tx.prepare_cached(
        "UPDATE scheduler_schedules SET occurrence = ?3 WHERE group_name = ?1 AND name = ?2",
    )?
    .execute(params![group, name, occurrence])?;
    Ok(())
}

/// Removes a schedule with its invocations; false if it does not exist.
pub(super) fn remove(tx: &Transaction<'_>, group: &str, name: &str) -> ApiResult<bool> {
    let removed = tx
        .prepare_cached("DELETE FROM scheduler_schedules WHERE group_name = ?1 AND name = ?2")?
        .execute([group, name])?;
    tx.prepare_cached("DELETE FROM scheduler_invocations WHERE group_name = ?1 AND name = ?2")?
        .execute([group, name])?;
    Ok(removed == 1)
}

/// Removes the schedules of a group with their invocations.
pub(super) fn remove_group(tx: &Transaction<'_>, group: &str) -> ApiResult<()> {
    for table in ["scheduler_schedules", "scheduler_invocations"] {
        tx.prepare_cached(&format!("DELETE FROM {table} WHERE group_name = ?1"))?
            .execute([group])?;
    }
    Ok(())
}

/// The schedules of a group, or all, in the order of groups and names.
pub(super) fn list(tx: &Transaction<'_>, group: Option<&str>) -> ApiResult<Vec<Schedule>> {
    let mut statement = tx.prepare_cached(
        "SELECT value FROM scheduler_schedules WHERE ?1 IS NULL OR group_name = ?1
         ORDER BY group_name, name",
    )?;
    let mut rows = statement.query([group])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let text: String = row.get(0)?;
        found.push(decode(&text)?);
    }
    Ok(found)
}

/// An occurrence that is due.
#[derive(Debug)]
pub(super) struct Occurring {
    pub(super) group: String,
    pub(super) name: String,
    /// An error if it cannot be read.
    pub(super) schedule: ApiResult<Schedule>,
    pub(super) occurrence: i64,
}

/// The occurrences that are due, the earliest first.
pub(super) fn due(tx: &Transaction<'_>, now: i64, most: usize) -> ApiResult<Vec<Occurring>> {
    let mut statement = tx.prepare_cached(
        "SELECT group_name, name, value, occurrence FROM scheduler_schedules WHERE occurrence <= ?1
         ORDER BY occurrence LIMIT ?2",
    )?;
    let mut rows = statement.query(params![now, i64::try_from(most).unwrap_or(i64::MAX)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let text: String = row.get(2)?;
        found.push(Occurring {
            group: row.get(0)?,
            name: row.get(1)?,
            schedule: decode(&text),
            occurrence: row.get(3)?,
        });
    }
    Ok(found)
}

/// When the first of the schedules occurs.
pub(super) fn next_occurrence(tx: &Transaction<'_>) -> ApiResult<Option<i64>> {
    let mut statement = tx.prepare_cached("SELECT min(occurrence) FROM scheduler_schedules")?;
    Ok(statement.query_row([], |row| row.get(0))?)
}

/// Adds an invocation.
pub(super) fn add(
    tx: &Transaction<'_>,
    schedule: &Schedule,
    invocation: &Invocation,
    due: i64,
) -> ApiResult<()> {
    tx.prepare_cached(
        "INSERT INTO scheduler_invocations (group_name, name, arn, value, attempts, due)
         VALUES (?1, ?2, ?3, ?4, 0, ?5)",
    )?
    .execute(params![
        schedule.group,
        schedule.name,
        invocation.target.arn,
        encode(invocation)?,
        due
    ])?;
    Ok(())
}

/// The invocation that is due first, without those in progress and those of targets with too many in progress: its
/// number, the ARN of its target, and when it is due.
pub(super) fn next_invocation(
    tx: &Transaction<'_>,
    running: &[i64],
    saturated: &[String],
) -> ApiResult<Option<(i64, String, i64)>> {
    let mut statement = tx.prepare_cached(
        "SELECT id, arn, due FROM scheduler_invocations WHERE due IS NOT NULL
         AND id NOT IN (SELECT value FROM json_each(?1)) AND arn NOT IN (SELECT value FROM json_each(?2))
         ORDER BY due, id LIMIT 1",
    )?;
    let without = [encode(&running)?, encode(&saturated)?];
    let found = statement.query_row(without, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    Ok(found.optional()?)
}

/// True if there is an occurrence or an invocation to come.
pub(super) fn has_work(tx: &Transaction<'_>) -> ApiResult<bool> {
    Ok(next_occurrence(tx)?.is_some() || next_invocation(tx, &[], &[])?.is_some())
}

/// An invocation in the table.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) id: i64,
    pub(super) group: String,
    pub(super) name: String,
    pub(super) invocation: Invocation,
    /// The number of attempts that failed.
    pub(super) attempts: u32,
}

/// Reads an invocation.
pub(super) fn pending(tx: &Transaction<'_>, id: i64) -> ApiResult<Option<Pending>> {
    let mut statement = tx.prepare_cached(
        "SELECT group_name, name, value, attempts FROM scheduler_invocations WHERE id = ?1",
    )?;
    let mut rows = statement.query([id])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let text: String = row.get(2)?;
    Ok(Some(Pending {
        id,
        group: row.get(0)?,
        name: row.get(1)?,
        invocation: decode(&text)?,
        attempts: row.get(3)?,
    }))
}

/// Records that an invocation is attempted again, and how many attempts that adds.
pub(super) fn postpone(tx: &Transaction<'_>, id: i64, due: i64, attempts: u32) -> ApiResult<()> {
    tx.prepare_cached(
        "UPDATE scheduler_invocations SET attempts = attempts + ?3, due = ?2 WHERE id = ?1",
    )?
    .execute(params![id, due, attempts])?;
    Ok(())
}

/// Keeps an invocation without attempting it again.
pub(super) fn set_aside(tx: &Transaction<'_>, id: i64) -> ApiResult<()> {
    tx.prepare_cached("UPDATE scheduler_invocations SET due = NULL WHERE id = ?1")?
        .execute([id])?;
    Ok(())
}

/// Removes the invocations of a schedule that wait for their time in a flexible window.
pub(super) fn remove_waiting(tx: &Transaction<'_>, schedule: &Schedule, now: i64) -> ApiResult<()> {
    tx.prepare_cached(
        "DELETE FROM scheduler_invocations WHERE group_name = ?1 AND name = ?2 AND attempts = 0 AND due > ?3",
    )?
    .execute(params![schedule.group, schedule.name, now])?;
    Ok(())
}

/// Removes an invocation that is done, and its schedule if nothing is left to do and it is to be deleted then.
pub(super) fn finish(tx: &Transaction<'_>, pending: &Pending) -> ApiResult<()> {
    tx.prepare_cached("DELETE FROM scheduler_invocations WHERE id = ?1")?
        .execute([pending.id])?;
    match get(tx, &pending.group, &pending.name)? {
        Some(schedule) => remove_completed(tx, &schedule),
        None => Ok(()),
    }
}

/// Removes a schedule without further occurrences and invocations, if it is to be deleted then.
pub(super) fn remove_completed(tx: &Transaction<'_>, schedule: &Schedule) -> ApiResult<()> {
    if !schedule.configuration.is_deleted_after_completion() {
        return Ok(());
    }
    tx.prepare_cached(
        "DELETE FROM scheduler_schedules AS s WHERE group_name = ?1 AND name = ?2 AND occurrence IS NULL
         AND NOT EXISTS (SELECT 1 FROM scheduler_invocations AS i
             WHERE i.group_name = s.group_name AND i.name = s.name)",
    )?
    .execute([&schedule.group, &schedule.name])?;
    Ok(())
}
