//! CloudWatch: metrics and metric alarms, by the cloud's time ([`crate::clock::Clock`]).
//!
//! ```text
//! PutMetricData ── put ── metrics (aggregates in tables) ──┬── read ── GetMetricData, GetMetricStatistics
//!                                                          │
//! PutMetricAlarm ── requests ── alarms (records) ──── evaluator: each minute of the clock
//!                                   │                      │
//!                                   │               evaluation, reason (pure)
//!                                   └──── history ◄────────┘ a change of state; announces ALARM_STATES
//! ```
//!
//! Alarms are evaluated while a server runs, with or without clients; they do not keep a server running. Their
//! actions are stored, but none is executed: the history shows each as failed, as AWS shows an action that failed. Composite
//! alarms, metric math, anomaly detection and dashboards are refused by name.

use futures::future::BoxFuture;
use jiff::Timestamp;

use super::Cloud;
use super::api::ApiResult;
use super::clock::Topic;
use super::cloud::service::{Housekeeping, Service, operations};

mod alarms;
mod announce;
mod errors;
mod evaluation;
mod evaluator;
mod history;
mod list;
mod metrics;
mod put;
mod read;
mod reason;
mod requests;
mod statistics;
mod tags;

operations! {
    "DeleteAlarms" => requests::delete,
    "DescribeAlarmHistory" => history::describe,
    "DescribeAlarms" => requests::describe,
    "DescribeAlarmsForMetric" => requests::describe_for_metric,
    "DisableAlarmActions" => requests::disable_actions,
    "EnableAlarmActions" => requests::enable_actions,
    "GetMetricData" => read::data,
    "GetMetricStatistics" => read::statistics,
    "ListMetrics" => list::list,
    "ListTagsForResource" => tags::list,
    "PutMetricAlarm" => requests::put,
    "PutMetricData" => put::put,
    "SetAlarmState" => requests::set_state,
    "TagResource" => tags::add,
    "UntagResource" => tags::remove,
}

/// Announced after the state of an alarm has changed: work that watches alarms sleeps until then
/// ([`crate::clock::Work::sleep_until_announced`]).
pub(crate) const ALARM_STATES: Topic = Topic("the states of alarms");

/// Announced after an alarm was created, changed or deleted.
const ALARM_DEFINITIONS: Topic = Topic("the definitions of alarms");

/// Maximum size of a request body, in bytes, with and without its compression.
const MAX_BODY: usize = 1 << 20;

/// The members of responses that are times, for CBOR.
const TIMES: &[&str] = &[
    "AlarmConfigurationUpdatedTimestamp",
    "StateTransitionedTimestamp",
    "StateUpdatedTimestamp",
    "Timestamp",
    "Timestamps",
];

/// The codes of errors in the query protocol, by the name of their shape, where both differ.
const QUERY_CODES: &[(&str, &str)] = &[
    ("AccessDeniedException", "AccessDenied"),
    ("InternalFailure", "InternalServiceError"),
    ("InvalidFormatFault", "InvalidFormat"),
    (
        "InvalidParameterCombinationException",
        "InvalidParameterCombination",
    ),
    ("InvalidParameterValueException", "InvalidParameterValue"),
    ("LimitExceededFault", "LimitExceeded"),
    ("MissingRequiredParameterException", "MissingParameter"),
    ("ValidationException", "ValidationError"),
];

/// The service.
pub(crate) const SERVICE: Service = Service {
    signing_name: "monitoring",
    tables: TABLES,
    checks_limits: true,
    max_body: MAX_BODY,
    cbor_times: Some(TIMES),
    query_codes: QUERY_CODES,
    reserved_tag: (
        "InvalidParameterValueException",
        "aws: prefixed tag key names are not allowed for external use.",
    ),
    housekeeping: Housekeeping {
        remove_expired: Some(remove_expired),
        ..Housekeeping::NONE
    },
    recover: Some(recover),
    shut_down: Some(shut_down),
    ..Service::json(
        "cloudwatch",
        "CloudWatch",
        "GraniteServiceVersion20100801",
        &[OPERATIONS],
    )
};

/// The tables of this service. Times of metrics are seconds since the epoch, those of the history milliseconds.
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS cloudwatch_metrics (
        id INTEGER PRIMARY KEY, namespace TEXT NOT NULL, name TEXT NOT NULL, dimensions TEXT NOT NULL,
        updated INTEGER NOT NULL, UNIQUE (namespace, name, dimensions)
    );
    CREATE TABLE IF NOT EXISTS cloudwatch_points (
        metric INTEGER NOT NULL, width INTEGER NOT NULL, start INTEGER NOT NULL, unit TEXT NOT NULL,
        count REAL NOT NULL, sum REAL NOT NULL, least REAL NOT NULL, most REAL NOT NULL, distribution BLOB,
        PRIMARY KEY (metric, width, start, unit)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS cloudwatch_history (
        number INTEGER PRIMARY KEY AUTOINCREMENT, alarm TEXT NOT NULL, time INTEGER NOT NULL,
        kind TEXT NOT NULL, summary TEXT NOT NULL, data TEXT NOT NULL
    );
    CREATE INDEX IF NOT EXISTS cloudwatch_history_times ON cloudwatch_history (time);
";

fn recover(cloud: &Cloud) -> anyhow::Result<()> {
    Ok(evaluator::recover(cloud)?)
}

fn shut_down(cloud: &Cloud) -> BoxFuture<'_, ()> {
    evaluator::stop(cloud);
    Box::pin(std::future::ready(()))
}

/// Summarizes and removes old data of metrics, and removes old items of the history.
fn remove_expired(cloud: &Cloud) -> ApiResult<()> {
    metrics::remove_expired(cloud)?;
    history::remove_expired(cloud)
}

/// A time of a request.
fn time_of(seconds: f64, parameter: &str) -> ApiResult<Timestamp> {
    let wrong = || {
        errors::invalid_value(format!(
            "The value {seconds} for parameter {parameter} is invalid."
        ))
    };
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
    let milliseconds = (seconds * 1000.0).round() as i64;
    // The years 1 to 9999.
    if !(-6.2e10..2.5e11).contains(&seconds) {
        return Err(wrong());
    }
    Timestamp::from_millisecond(milliseconds).map_err(|_| wrong())
}

#[cfg(test)]
mod tests;
