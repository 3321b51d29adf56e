//! The history of alarms, which outlives them.

use jiff::Timestamp;
use rusqlite::{Transaction, params};
use serde::Deserialize;
use serde_json::{Value, json};

use super::errors::invalid_token;
use super::metrics::DAY;
use super::time_of;
use crate::Cloud;
use crate::api::ApiResult;

/// Retention of items in milliseconds. The user guide states two weeks; the console has shown 30 days since 2023.
const RETENTION: i64 = 30 * DAY * 1000;

/// Maximum, and default, number of items on a page.
const PAGE: usize = 100;

/// Maximum length of `HistoryData`, in characters.
const MAX_DATA: usize = 4095;

/// An item of the history.
pub(super) struct Item<'a> {
    pub(super) alarm: &'a str,
    pub(super) time: Timestamp,
    /// `ConfigurationUpdate`, `StateUpdate` or `Action`.
    pub(super) kind: &'static str,
    pub(super) summary: String,
    pub(super) data: Value,
}

/// Adds an item.
pub(super) fn add(tx: &Transaction<'_>, item: &Item<'_>) -> ApiResult<()> {
    let data = fitting(item.data.clone());
    let summary: String = item.summary.chars().take(255).collect();
    tx.prepare_cached(
        "INSERT INTO cloudwatch_history (alarm, time, kind, summary, data) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![
        item.alarm,
        item.time.as_millisecond(),
        item.kind,
        summary,
        data
    ])?;
    Ok(())
}

/// Shortens the JSON to its limit: removes the data points of the old state, then those of the new one, then all
/// lists and objects.
fn fitting(mut data: Value) -> String {
    for state in ["oldState", "newState"] {
        if data.to_string().chars().count() > MAX_DATA
            && let Some(Value::Object(state)) = data.get_mut(state)
        {
            state.remove("stateReasonData");
        }
    }
    if data.to_string().chars().count() > MAX_DATA
        && let Value::Object(members) = &mut data
    {
        members.retain(|_, member| !member.is_object() && !member.is_array());
    }
    data.to_string()
}

/// Removes items that are no longer kept.
pub(super) fn remove_expired(cloud: &Cloud) -> ApiResult<()> {
    let oldest = cloud.clock().now().as_millisecond() - RETENTION;
    cloud.store().transaction(|tx| {
        tx.execute("DELETE FROM cloudwatch_history WHERE time < ?1", [oldest])?;
        Ok(())
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Describe {
    alarm_name: Option<String>,
    #[serde(default)]
    alarm_types: Vec<String>,
    history_item_type: Option<String>,
    start_date: Option<f64>,
    end_date: Option<f64>,
    max_records: Option<usize>,
    next_token: Option<String>,
    scan_by: Option<String>,
}

/// `DescribeAlarmHistory`
pub(super) async fn describe(cloud: &Cloud, input: Describe) -> ApiResult<Value> {
    let metric_alarms = |kind: &String| kind == "MetricAlarm";
    if !input.alarm_types.is_empty() && !input.alarm_types.iter().any(metric_alarms) {
        return Ok(json!({"AlarmHistoryItems": []}));
    }
    let millisecond = |time: Option<f64>, default: i64, parameter: &str| {
        let time = time.map(|time| time_of(time, parameter)).transpose()?;
        ApiResult::Ok(time.map_or(default, Timestamp::as_millisecond))
    };
    let from = millisecond(input.start_date, i64::MIN, "StartDate")?;
    let to = millisecond(input.end_date, i64::MAX, "EndDate")?;
    let size = input.max_records.unwrap_or(PAGE);
    let is_ascending = input.scan_by.as_deref() == Some("TimestampAscending");
    // A token is the number of the last item.
    let after: Option<i64> = match &input.next_token {
        None => None,
        Some(token) => Some(token.parse().map_err(|_| invalid_token())?),
    };
    let (order, compares) = if is_ascending {
        ("ASC", ">")
    } else {
        ("DESC", "<")
    };
    let sql = format!(
        "SELECT number, alarm, time, kind, summary, data FROM cloudwatch_history
         WHERE (?1 IS NULL OR alarm = ?1) AND (?2 IS NULL OR kind = ?2) AND time >= ?3 AND time <= ?4
             AND (?5 IS NULL OR number {compares} ?5)
         ORDER BY number {order} LIMIT ?6"
    );
    let limit = i64::try_from(size + 1).unwrap_or(i64::MAX);
    let mut items: Vec<(i64, Value)> = cloud.store().transaction(|tx| {
        let mut statement = tx.prepare_cached(&sql)?;
        let rows = statement.query_map(
            params![
                input.alarm_name,
                input.history_item_type,
                from,
                to,
                after,
                limit
            ],
            |row| {
                #[expect(clippy::cast_precision_loss, reason = "milliseconds fit in 53 bits")]
                let time = row.get::<_, i64>(2)? as f64 / 1000.0;
                let item = json!({
                    "AlarmName": row.get::<_, String>(1)?,
                    "AlarmType": "MetricAlarm",
                    "Timestamp": time,
                    "HistoryItemType": row.get::<_, String>(3)?,
                    "HistorySummary": row.get::<_, String>(4)?,
                    "HistoryData": row.get::<_, String>(5)?,
                });
                Ok((row.get(0)?, item))
            },
        )?;
        Ok(rows.collect::<Result<_, _>>()?)
    })?;
    let more = items.len() > size;
    items.truncate(size);
    let next = items
        .last()
        .filter(|_| more)
        .map(|(number, _)| number.to_string());
    let items: Vec<Value> = items.into_iter().map(|(_, item)| item).collect();
    Ok(json!({"AlarmHistoryItems": items, "NextToken": next}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_data_stay_json() {
        let points = "1,".repeat(1500);
        let state = |value: &str| json!({"stateValue": value, "stateReasonData": {"a": points}});
        let data = json!({"version": "1.0", "oldState": state("OK"), "newState": state("ALARM")});
        let text = fitting(data);
        let kept: Value = serde_json::from_str(&text).unwrap();
        assert!(text.len() <= MAX_DATA);
        assert_eq!(kept["oldState"], json!({"stateValue": "OK"}));
        assert_eq!(kept["newState"]["stateReasonData"]["a"], points);
        let huge = fitting(json!({"type": "Update", "updatedAlarm": {"a": "x".repeat(5000)}}));
        assert_eq!(huge, r#"{"type":"Update"}"#);
    }
}
