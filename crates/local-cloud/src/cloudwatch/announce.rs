//! Announces changes of the states of alarms to EventBridge.

use serde_json::{Map, Value, json};

use super::alarms::Alarm;
use super::reason::timestamp;
use crate::events::Event;

/// The state of an alarm, from its description.
fn state(alarm: &Value) -> Value {
    let time = alarm["StateUpdatedTimestamp"].as_f64();
    let time = time.and_then(|seconds| super::time_of(seconds, "").ok());
    let mut state = json!({
        "value": alarm["StateValue"],
        "reason": alarm["StateReason"],
        "timestamp": time.map(timestamp),
    });
    if !alarm["StateReasonData"].is_null() {
        state["reasonData"] = alarm["StateReasonData"].clone();
    }
    state
}

/// The configuration of an alarm, from its description.
fn configuration(alarm: &Value) -> Value {
    let dimensions = alarm["Dimensions"].as_array().into_iter().flatten();
    let dimensions =
        dimensions.filter_map(|it| Some((it["Name"].as_str()?.to_owned(), it["Value"].clone())));
    let statistic = [&alarm["Statistic"], &alarm["ExtendedStatistic"]];
    let mut metric = json!({
        "metric": {
            "namespace": alarm["Namespace"],
            "name": alarm["MetricName"],
            "dimensions": dimensions.collect::<Map<String, Value>>(),
        },
        "period": alarm["Period"],
        "stat": statistic.into_iter().find(|it| !it.is_null()),
    });
    if !alarm["Unit"].is_null() {
        metric["unit"] = alarm["Unit"].clone();
    }
    let id = uuid::Uuid::new_v4().to_string();
    let mut configuration = json!({
        "metrics": [{"id": id, "metricStat": metric, "returnData": true}],
    });
    if !alarm["AlarmDescription"].is_null() {
        configuration["description"] = alarm["AlarmDescription"].clone();
    }
    configuration
}

/// The event of a change of an alarm's state.
pub(super) fn state_change(before: &Alarm, after: &Alarm) -> Event {
    let resources = vec![after.alarm_arn.clone()];
    let (before, after) = (json!(before), json!(after));
    Event {
        source: "aws.cloudwatch",
        detail_type: "CloudWatch Alarm State Change",
        resources,
        detail: json!({
            "alarmName": after["AlarmName"],
            "configuration": configuration(&after),
            "previousState": state(&before),
            "state": state(&after),
        }),
    }
}
