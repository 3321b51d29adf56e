//! CloudWatch Logs: groups, streams and events, in separate tables because a job may write
//! thousands of lines a second.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use rusqlite::{OptionalExtension, Transaction, params};
use serde_json::json;

use super::api::{ApiError, ApiResult};
use super::cloud::caller::Caller;
use super::cloud::service::{RESERVED_TAG, Service, operations};
use super::{Cloud, authorization, log};

mod events;
mod groups;
mod streams;

operations! {
    "AssociateKmsKey" => groups::associate_key,
    "DisassociateKmsKey" => groups::associate_key,
    "CreateLogGroup" => groups::create,
    "DeleteLogGroup" => groups::delete,
    "DescribeLogGroups" => groups::describe,
    "PutRetentionPolicy" => groups::put_retention,
    "DeleteRetentionPolicy" => groups::delete_retention,
    "TagResource" => groups::tag,
    "UntagResource" => groups::untag,
    "ListTagsForResource" => groups::list_tags,
    "CreateLogStream" => streams::create,
    "DeleteLogStream" => streams::delete,
    "DescribeLogStreams" => streams::describe,
    "PutLogEvents" => events::put,
    "GetLogEvents" => events::get,
    "FilterLogEvents" => events::filter,
}

/// The service.
pub(crate) const SERVICE: Service = Service {
    tables: TABLES,
    reserved_tag: ("InvalidParameterException", RESERVED_TAG),
    ..Service::json("logs", "CloudWatch Logs", "Logs_20140328", &[OPERATIONS])
};

/// The tables of this service. Times are milliseconds since the epoch.
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS log_groups (
        name TEXT PRIMARY KEY, created INTEGER NOT NULL, retention INTEGER, tags TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS log_streams (
        id INTEGER PRIMARY KEY, log_group TEXT NOT NULL, name TEXT NOT NULL, created INTEGER NOT NULL,
        first INTEGER, last INTEGER, ingested INTEGER, events INTEGER NOT NULL DEFAULT 0,
        UNIQUE (log_group, name)
    );
    CREATE TABLE IF NOT EXISTS log_events (
        stream INTEGER NOT NULL, time INTEGER NOT NULL, number INTEGER NOT NULL,
        ingested INTEGER NOT NULL, message TEXT NOT NULL,
        PRIMARY KEY (stream, time, number)
    ) WITHOUT ROWID;
";

/// Adds lines to a stream on behalf of a role, and creates the group and the stream if they do not exist. Each
/// line is its time in milliseconds since the epoch and its text. As in AWS, a program whose role may not write
/// logs runs without them; the server's log says so once.
pub(crate) fn append(
    cloud: &Cloud,
    role: &Caller,
    group: &str,
    stream: &str,
    lines: &[(i64, String)],
) -> ApiResult<()> {
    if let Err(error) = may_append(cloud, role, group, stream) {
        if !error.is_denied() {
            return Err(error);
        }
        let silent = &cloud.state::<Silent>().0;
        let mut silent = silent.lock().unwrap_or_else(PoisonError::into_inner);
        if silent.insert(format!("{group} {stream}")) {
            log::write_line(&format!("no log {group} {stream}: {}", error.message));
        }
        return Ok(());
    }
    cloud.store().transaction(|tx| {
        let now = now();
        tx.prepare_cached("INSERT OR IGNORE INTO log_groups VALUES (?1, ?2, NULL, '{}')")?
            .execute(params![group, now])?;
        tx.prepare_cached(
            "INSERT OR IGNORE INTO log_streams (log_group, name, created) VALUES (?1, ?2, ?3)",
        )?
        .execute(params![group, stream, now])?;
        let id = stream_id(tx, group, stream)?;
        events::insert(
            tx,
            id,
            lines.iter().map(|(time, line)| (*time, line.as_str())),
        )
    })
}

/// The streams that are not written because the role may not write them.
#[derive(Debug, Default)]
struct Silent(Mutex<HashSet<String>>);

/// Fails unless a role may write to a stream and create what is missing.
fn may_append(cloud: &Cloud, role: &Caller, group: &str, stream: &str) -> ApiResult<()> {
    if role.session().is_none() {
        return Ok(());
    }
    let (has_group, has_stream) = cloud.store().transaction(|tx| {
        let has_group = exists(require_group(tx, group))?;
        Ok((
            has_group,
            has_group && exists(stream_id(tx, group, stream))?,
        ))
    })?;
    let input = json!({"logGroupName": group, "logStreamName": stream, "logEvents": []});
    for (operation, needed) in [
        ("CreateLogGroup", !has_group),
        ("CreateLogStream", !has_stream),
        ("PutLogEvents", true),
    ] {
        if needed {
            authorization::operation_of(cloud, role, &SERVICE, operation, &input)?;
        }
    }
    Ok(())
}

/// Whether something was found.
fn exists<T>(found: ApiResult<T>) -> ApiResult<bool> {
    match found {
        Ok(_) => Ok(true),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Every line of a stream in order, with its time; empty if the stream does not exist.
pub(crate) fn lines(cloud: &Cloud, group: &str, stream: &str) -> ApiResult<Vec<(i64, String)>> {
    cloud.store().transaction(|tx| {
        let mut statement = tx.prepare_cached(
            "SELECT time, message FROM log_events WHERE stream =
                 (SELECT id FROM log_streams WHERE log_group = ?1 AND name = ?2)
             ORDER BY time, number",
        )?;
        let rows =
            statement.query_map(params![group, stream], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    })
}

fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidParameterException", message)
}

fn no_group() -> ApiError {
    ApiError::not_found(
        "ResourceNotFoundException",
        "The specified log group does not exist.",
    )
}

fn require_group(tx: &Transaction<'_>, group: &str) -> ApiResult<()> {
    tx.prepare_cached("SELECT 1 FROM log_groups WHERE name = ?1")?
        .query_row([group], |_| Ok(()))
        .optional()?
        .ok_or_else(no_group)
}

fn stream_id(tx: &Transaction<'_>, group: &str, stream: &str) -> ApiResult<i64> {
    require_group(tx, group)?;
    tx.prepare_cached("SELECT id FROM log_streams WHERE log_group = ?1 AND name = ?2")?
        .query_row([group, stream], |row| row.get(0))
        .optional()?
        .ok_or_else(|| {
            ApiError::not_found(
                "ResourceNotFoundException",
                "The specified log stream does not exist.",
            )
        })
}

/// The group of a request that names it by name or by ARN.
fn group_name(
    cloud: &Cloud,
    name: Option<String>,
    identifier: Option<String>,
) -> ApiResult<String> {
    match (name, identifier) {
        (Some(name), None) => Ok(name),
        (None, Some(identifier)) if identifier.starts_with("arn:") => {
            name_of_arn(cloud, &identifier)
        }
        (None, Some(identifier)) => Ok(identifier),
        _ => Err(invalid(
            "Exactly one of logGroupName and logGroupIdentifier must be given",
        )),
    }
}

/// The name in the ARN of a log group of this account and Region. Any other spelling is refused: permissions are
/// evaluated on the ARN.
pub(crate) fn name_of_arn(cloud: &Cloud, arn: &str) -> ApiResult<String> {
    let name = arn.strip_prefix(&cloud.arn("logs", "log-group:"));
    let name = name.map(|name| name.strip_suffix(":*").unwrap_or(name));
    let name = name.filter(|name| !name.contains(':'));
    let refused = || invalid(format!("`{arn}` is not the ARN of a log group"));
    name.map(str::to_owned).ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_can_be_named_by_either_arn() {
        let at = crate::test_cloud::TestCloud::new();
        let cloud = at.cloud();
        let arn = cloud.arn("logs", "log-group:/a/b");
        let name = |identifier: &str| group_name(&cloud, None, Some(identifier.to_owned())).ok();
        for identifier in [arn.as_str(), &format!("{arn}:*"), "/a/b"] {
            assert_eq!(name(identifier).as_deref(), Some("/a/b"), "{identifier}");
        }
        for identifier in [
            "arn:aws:logs:x:log-group:/allowed/:/secret/g",
            "arn:aws:logs:us-east-1:111122223333:log-group:/a/b",
            &format!("{arn}:log-stream:s"),
            &format!("{arn}:*:*"),
        ] {
            assert_eq!(name(identifier), None, "{identifier}");
        }
    }
}
