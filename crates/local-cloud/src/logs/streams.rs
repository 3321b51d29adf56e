//! Log streams.

use rusqlite::params;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{group_name, invalid, now, require_group, stream_id};
use crate::Cloud;
use crate::api::page::Page;
use crate::api::{ApiError, ApiResult};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LogStreamName {
    log_group_name: String,
    log_stream_name: String,
}

pub(super) async fn create(cloud: &Cloud, input: LogStreamName) -> ApiResult<Value> {
    let name = &input.log_stream_name;
    if name.is_empty() || name.len() > 512 || name.contains([':', '*']) {
        return Err(invalid(format!("`{name}` is not a log stream name")));
    }
    cloud.store().transaction(|tx| {
        require_group(tx, &input.log_group_name)?;
        let added = tx.execute(
            "INSERT OR IGNORE INTO log_streams (log_group, name, created) VALUES (?1, ?2, ?3)",
            params![input.log_group_name, name, now()],
        )?;
        if added == 0 {
            return Err(ApiError::new(
                "ResourceAlreadyExistsException",
                "The specified log stream already exists",
            ));
        }
        Ok(Value::Null)
    })
}

pub(super) async fn delete(cloud: &Cloud, input: LogStreamName) -> ApiResult<Value> {
    cloud.store().transaction(|tx| {
        let id = stream_id(tx, &input.log_group_name, &input.log_stream_name)?;
        tx.execute("DELETE FROM log_events WHERE stream = ?1", [id])?;
        tx.execute("DELETE FROM log_streams WHERE id = ?1", [id])?;
        Ok(Value::Null)
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DescribeStreams {
    log_group_name: Option<String>,
    log_group_identifier: Option<String>,
    #[serde(default)]
    log_stream_name_prefix: String,
    #[serde(default)]
    order_by: OrderBy,
    #[serde(default)]
    descending: bool,
    next_token: Option<String>,
    limit: Option<usize>,
}

#[derive(Deserialize, Default, PartialEq)]
enum OrderBy {
    #[default]
    LogStreamName,
    LastEventTime,
}

pub(super) async fn describe(cloud: &Cloud, input: DescribeStreams) -> ApiResult<Value> {
    let group = group_name(cloud, input.log_group_name, input.log_group_identifier)?;
    if input.order_by == OrderBy::LastEventTime && !input.log_stream_name_prefix.is_empty() {
        return Err(invalid(
            "Cannot order by LastEventTime with a logStreamNamePrefix.",
        ));
    }
    let limit = input.limit.unwrap_or(50).clamp(1, 50);
    let page = Page::new(input.next_token.as_deref(), limit, |_| {
        invalid("The specified nextToken is invalid.")
    })?;
    let direction = if input.descending { "DESC" } else { "ASC" };
    let column = match input.order_by {
        OrderBy::LogStreamName => "name",
        // A stream without events is sorted by its creation time.
        OrderBy::LastEventTime => "coalesce(last, created)",
    };
    let mut streams = cloud.store().transaction(|tx| {
        require_group(tx, &group)?;
        let mut statement = tx.prepare_cached(&format!(
            "SELECT name, created, first, last, ingested, events FROM log_streams
             WHERE log_group = ?1 AND substr(name, 1, length(?2)) = ?2
             ORDER BY {column} {direction}, id {direction} LIMIT ?3 OFFSET ?4"
        ))?;
        let wanted = i64::try_from(limit + 1).map_err(ApiError::internal)?;
        let skip = i64::try_from(page.start()).map_err(ApiError::internal)?;
        let rows = statement.query_map(
            params![group, input.log_stream_name_prefix, wanted, skip],
            |row| {
                let name: String = row.get(0)?;
                let resource = format!("log-group:{group}:log-stream:{name}");
                let mut stream = json!({
                    "logStreamName": name,
                    "creationTime": row.get::<_, i64>(1)?,
                    "arn": cloud.arn("logs", resource),
                    "uploadSequenceToken": format!("{:056}", row.get::<_, i64>(5)?),
                    // AWS reports 0 for every stream since 2019.
                    "storedBytes": 0,
                });
                for (column, member) in [
                    (2, "firstEventTimestamp"),
                    (3, "lastEventTimestamp"),
                    (4, "lastIngestionTime"),
                ] {
                    if let Some(time) = row.get::<_, Option<i64>>(column)? {
                        stream[member] = time.into();
                    }
                }
                Ok(stream)
            },
        )?;
        Ok(rows.collect::<Result<Vec<_>, _>>()?)
    })?;
    let more = streams.len() > limit;
    streams.truncate(limit);
    let mut answer = json!({ "logStreams": streams });
    if more {
        answer["nextToken"] = page.end().to_string().into();
    }
    Ok(answer)
}
