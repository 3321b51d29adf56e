//! CloudWatch: the alarms of deployments, without its SDK crate.

use anyhow::Result;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::Clients;
use super::signed;

/// An alarm.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Alarm {
    /// Its name.
    #[serde(rename = "AlarmName")]
    pub name: String,
    /// `OK`, `ALARM` or `INSUFFICIENT_DATA`.
    #[serde(rename = "StateValue")]
    pub state: String,
    /// Why it is in this state.
    #[serde(rename = "StateReason", default)]
    pub reason: String,
    /// Since when it is in this state.
    #[serde(rename = "StateUpdatedTimestamp", default, deserialize_with = "epoch")]
    pub since: Option<Timestamp>,
}

impl Alarm {
    /// Returns whether it is in the state ALARM.
    pub fn is_in_alarm(&self) -> bool {
        self.state == "ALARM"
    }
}

/// An alarm that went off, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Triggered {
    /// The alarm's name.
    pub name: String,
    /// Why it went off.
    pub reason: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Described {
    metric_alarms: Vec<Alarm>,
    composite_alarms: Vec<Alarm>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct History {
    alarm_history_items: Vec<HistoryItem>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct HistoryItem {
    history_data: String,
    #[serde(deserialize_with = "epoch")]
    timestamp: Option<Timestamp>,
}

/// Reads a time as the JSON protocol writes it: seconds since 1970.
fn epoch<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
    let seconds: Option<f64> = Option::deserialize(from)?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the milliseconds of a date"
    )]
    Ok(seconds.and_then(|at| Timestamp::from_millisecond((at * 1000.0).round() as i64).ok()))
}

/// Returns the alarms with these names that exist.
pub async fn alarms(clients: &Clients, names: &[String]) -> Result<Vec<Alarm>> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let input = json!({"AlarmNames": names, "AlarmTypes": ["MetricAlarm", "CompositeAlarm"]});
    let found: Described = call(clients, "DescribeAlarms", &input).await?;
    Ok([found.metric_alarms, found.composite_alarms].concat())
}

/// Returns which of these alarms went off: those whose history has a transition to ALARM after the time that `since`
/// returns for the alarm, and those that the reason of a failure names. An alarm that was in ALARM before may have
/// nothing to do with it.
pub async fn triggered(
    clients: &Clients,
    names: &[String],
    since: impl Fn(&str) -> Timestamp,
    failure: &str,
) -> Result<Vec<Triggered>> {
    let mut found = Vec::new();
    for alarm in alarms(clients, names).await? {
        let since = since(&alarm.name);
        let input = json!({
            "AlarmName": alarm.name,
            "HistoryItemType": "StateUpdate",
            "StartDate": since.as_second(),
            "ScanBy": "TimestampDescending",
        });
        let history: History = call(clients, "DescribeAlarmHistory", &input).await?;
        // `StartDate` has a resolution of a second.
        let mut transitions = history
            .alarm_history_items
            .iter()
            .filter(|item| item.timestamp.is_none_or(|time| time > since));
        let blamed = || {
            (alarm.is_in_alarm() && names_alarm(failure, &alarm.name)).then(|| alarm.reason.clone())
        };
        let transition = transitions.find_map(|item| reason(&item.history_data));
        if let Some(reason) = transition.or_else(blamed) {
            found.push(Triggered {
                name: alarm.name,
                reason,
            });
        }
    }
    Ok(found)
}

/// Returns whether a text contains the name as a complete word: `small-errors` does not name the alarm `errors`.
fn names_alarm(text: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    text.match_indices(name).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + name.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

/// Returns the reason of a transition to ALARM; `None` for any other transition.
fn reason(history: &str) -> Option<String> {
    let data: Value = serde_json::from_str(history).ok()?;
    let new = &data["newState"];
    (new["stateValue"] == "ALARM").then(|| new["stateReason"].as_str().unwrap_or("").to_owned())
}

/// Returns the names of the metric alarms with this prefix that are in ALARM, at most 100.
pub async fn in_alarm(clients: &Clients, prefix: &str) -> Result<Vec<String>> {
    let input = json!({
        "AlarmNamePrefix": prefix, "StateValue": "ALARM", "AlarmTypes": ["MetricAlarm"], "MaxRecords": 100,
    });
    let found: Described = call(clients, "DescribeAlarms", &input).await?;
    let alarms = found.metric_alarms.into_iter();
    Ok(alarms.map(|alarm| alarm.name).collect())
}

/// Sets an alarm to OK. CloudWatch evaluates it again with its next period.
pub async fn set_ok(clients: &Clients, alarm: &str, reason: &str) -> Result<()> {
    let input = json!({"AlarmName": alarm, "StateValue": "OK", "StateReason": reason});
    let _: Value = call(clients, "SetAlarmState", &input).await?;
    Ok(())
}

/// Maximum number of metrics in a request.
const DATA: usize = 1000;

/// Writes metrics: each is a `MetricDatum`.
pub async fn put_metrics(clients: &Clients, namespace: &str, data: Vec<Value>) -> Result<()> {
    for data in data.chunks(DATA) {
        let input = json!({"Namespace": namespace, "MetricData": data});
        let _: Value = call(clients, "PutMetricData", &input).await?;
    }
    Ok(())
}

async fn call<T: DeserializeOwned>(clients: &Clients, operation: &str, input: &Value) -> Result<T> {
    let target = format!("GraniteServiceVersion20100801.{operation}");
    let answer = signed::json(
        clients,
        "monitoring",
        "application/x-amz-json-1.0",
        &target,
        input,
    );
    answer
        .await?
        .map_err(|error| error.explain(&format!("cannot call {operation}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_has_metric_and_composite_alarms() {
        let found: Described = serde_json::from_value(json!({
            "MetricAlarms": [{
                "AlarmName": "flights-5xx", "StateValue": "ALARM", "StateReason": "Threshold Crossed",
                "StateUpdatedTimestamp": 1_795_996_800.25,
            }],
            "CompositeAlarms": [{"AlarmName": "all", "StateValue": "OK"}],
        }))
        .unwrap();
        let alarm = &found.metric_alarms[0];
        assert!(alarm.is_in_alarm());
        let millisecond = alarm.since.map(Timestamp::as_millisecond);
        assert_eq!(millisecond, Some(1_795_996_800_250));
        assert_eq!(found.composite_alarms[0].since, None);
    }

    #[test]
    fn a_reason_names_an_alarm_as_a_whole_word() {
        let reason = "rolled back because of alarms in ALARM state: small-errors, drift.";
        assert!(names_alarm(reason, "small-errors") && names_alarm(reason, "drift"));
        assert!(!names_alarm(reason, "errors") && !names_alarm(reason, "small"));
    }

    #[test]
    fn only_a_transition_to_alarm_went_off() {
        let data = |state: &str| {
            json!({"version": "1.0", "oldState": {"stateValue": "OK"},
                   "newState": {"stateValue": state, "stateReason": "Threshold Crossed"}})
            .to_string()
        };
        assert_eq!(reason(&data("ALARM")).as_deref(), Some("Threshold Crossed"));
        assert_eq!(reason(&data("OK")), None);
        assert_eq!(reason("not JSON"), None);
    }
}
