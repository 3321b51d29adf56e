//! Metrics and alarms by the cloud's time, without a server.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::test_cloud::{Refused, TestCloud};

mod refused;

async fn call(at: &TestCloud, operation: &str, input: Value) -> Value {
    let result = at.call("cloudwatch", operation, input).await;
    result.unwrap_or_else(|error| panic!("{operation}: {error}"))
}

async fn refused(at: &TestCloud, operation: &str, input: Value) -> Refused {
    at.call("cloudwatch", operation, input).await.unwrap_err()
}

/// Longer than from any second to the next evaluation of an alarm with a period of a minute.
const EVALUATED: u64 = 70;

async fn advance(at: &TestCloud, seconds: u64) {
    at.cloud()
        .advance(Duration::from_secs(seconds))
        .await
        .unwrap();
}

/// The start of the current minute.
fn minute(at: &TestCloud) -> i64 {
    metrics::floor(at.cloud().clock().now().as_second(), 60)
}

async fn put(at: &TestCloud, datum: Value) {
    let input = json!({"Namespace": "Test", "MetricData": [datum]});
    call(at, "PutMetricData", input).await;
}

/// One value of the metric `errors`, now.
async fn put_value(at: &TestCloud, value: f64) {
    put(at, json!({"MetricName": "errors", "Value": value})).await;
}

/// An alarm on the metric `errors`, with other members than the usual ones.
async fn alarm(at: &TestCloud, name: &str, members: Value) {
    let mut input = json!({
        "AlarmName": name, "MetricName": "errors", "Namespace": "Test", "Statistic": "Sum", "Period": 60,
        "EvaluationPeriods": 1, "Threshold": 0.0, "ComparisonOperator": "GreaterThanThreshold",
    });
    for (member, value) in members.as_object().unwrap() {
        input[member] = value.clone();
    }
    call(at, "PutMetricAlarm", input).await;
}

async fn described(at: &TestCloud, name: &str) -> Value {
    let found = call(at, "DescribeAlarms", json!({"AlarmNames": [name]})).await;
    found["MetricAlarms"][0].clone()
}

async fn state(at: &TestCloud, name: &str) -> String {
    described(at, name).await["StateValue"]
        .as_str()
        .unwrap_or("absent")
        .to_owned()
}

async fn history(at: &TestCloud, name: &str) -> Vec<String> {
    let input = json!({"AlarmName": name, "ScanBy": "TimestampAscending"});
    let found = call(at, "DescribeAlarmHistory", input).await;
    let items = found["AlarmHistoryItems"].as_array().unwrap().iter();
    items
        .map(|item| item["HistorySummary"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn an_alarm_follows_its_metric() {
    let at = TestCloud::new();
    let action = "arn:aws:sns:us-east-1:000000000000:topic";
    let members =
        json!({"TreatMissingData": "notBreaching", "AlarmActions": [action], "OKActions": []});
    alarm(&at, "a", members).await;
    let created = described(&at, "a").await;
    assert_eq!(created["StateValue"], "INSUFFICIENT_DATA");
    assert_eq!(created["StateReason"], "Unchecked: Initial alarm creation");
    assert_eq!(
        created["AlarmArn"],
        "arn:aws:cloudwatch:us-east-1:000000000000:alarm:a"
    );
    let cloud = at.cloud();
    let seen = cloud.clock().announced(ALARM_STATES);

    advance(&at, EVALUATED).await;
    let quiet = described(&at, "a").await;
    assert_eq!(quiet["StateValue"], "OK");
    assert_eq!(
        quiet["StateReason"],
        "Threshold Crossed: no datapoints were received for 1 period and 1 missing datapoint was treated as \
         [NonBreaching]."
    );
    let data =
        json!([{"MetricName": "errors", "Value": 2.0}, {"MetricName": "errors", "Value": 3.0}]);
    call(
        &at,
        "PutMetricData",
        json!({"Namespace": "Test", "MetricData": data}),
    )
    .await;
    advance(&at, EVALUATED).await;
    let breached = described(&at, "a").await;
    assert_eq!(breached["StateValue"], "ALARM");
    let reason = breached["StateReason"].as_str().unwrap();
    assert!(
        reason.starts_with("Threshold Crossed: 1 datapoint [5.0 ("),
        "{reason}"
    );
    assert!(
        reason.ends_with(")] was greater than the threshold (0.0)."),
        "{reason}"
    );
    let data: Value = serde_json::from_str(breached["StateReasonData"].as_str().unwrap()).unwrap();
    assert_eq!(data["evaluatedDatapoints"][0]["sampleCount"], 2.0);
    // The evaluation range has more periods than are evaluated.
    advance(&at, 300).await;
    assert_eq!(state(&at, "a").await, "OK");
    assert_eq!(cloud.clock().announced(ALARM_STATES), seen + 3);
    assert_eq!(
        history(&at, "a").await,
        [
            "Alarm \"a\" created",
            "Alarm updated from INSUFFICIENT_DATA to OK",
            "Alarm updated from OK to ALARM",
            &format!("Failed to execute action {action}"),
            "Alarm updated from ALARM to OK",
        ]
    );
}

/// A deployment whose stack lets an alarm watch the new instances must not see the state of the old ones.
#[tokio::test]
async fn an_alarm_with_another_metric_is_evaluated_at_once() {
    let at = TestCloud::new();
    let members = json!({"TreatMissingData": "notBreaching"});
    alarm(&at, "a", members.clone()).await;
    put_value(&at, 1.0).await;
    advance(&at, EVALUATED).await;
    assert_eq!(state(&at, "a").await, "ALARM");
    let mut changed = members;
    changed["AlarmDescription"] = json!("errors");
    alarm(&at, "a", changed.clone()).await;
    assert_eq!(state(&at, "a").await, "ALARM");
    changed["Dimensions"] = json!([{"Name": "EndpointConfigName", "Value": "new"}]);
    alarm(&at, "a", changed).await;
    assert_eq!(state(&at, "a").await, "OK");
}

#[tokio::test]
async fn work_that_watches_alarms_is_never_overtaken() {
    let at = TestCloud::new();
    alarm(&at, "a", json!({"TreatMissingData": "notBreaching"})).await;
    advance(&at, EVALUATED).await;
    let cloud = at.cloud();
    let mut work = cloud.clock().begin("a deployment");
    let end = cloud.clock().now() + Duration::from_hours(1);
    let watcher = tokio::spawn(async move {
        let clock = cloud.clock();
        loop {
            let seen = clock.announced(ALARM_STATES);
            let input = json!({"AlarmNames": ["a"]});
            let found = cloud
                .call("cloudwatch", "DescribeAlarms", input)
                .await
                .unwrap();
            let now = clock.now();
            if found["MetricAlarms"][0]["StateValue"] == "ALARM" || now >= end {
                return (now, end);
            }
            work.sleep_until_announced(end, ALARM_STATES, seen).await;
        }
    });
    put_value(&at, 1.0).await;
    // The data is gone from the evaluation range at the end, but the watcher saw the alarm in between.
    advance(&at, 3600).await;
    let (seen, end) = watcher.await.unwrap();
    assert!(seen < end - Duration::from_mins(50), "{seen} {end}");
    assert_eq!(state(&at, "a").await, "OK");
}

#[tokio::test]
async fn windows_slide_by_the_minute() {
    let at = TestCloud::new();
    let members = json!({
        "Period": 300, "EvaluationPeriods": 2, "DatapointsToAlarm": 2, "Threshold": 9.0,
        "TreatMissingData": "breaching", "ComparisonOperator": "LessThanThreshold",
    });
    alarm(&at, "a", members).await;
    // Ten each in two minutes that are five minutes apart, at any offset from a clock interval of five minutes.
    let start = minute(&at);
    for (age, value) in [(120, 10.0), (420, 10.0)] {
        put(
            &at,
            json!({"MetricName": "errors", "Value": value, "Timestamp": start - age}),
        )
        .await;
    }
    advance(&at, EVALUATED).await;
    assert_eq!(state(&at, "a").await, "OK");
    // Both leave the four periods of the evaluation range, one after the other.
    advance(&at, 1200).await;
    assert_eq!(state(&at, "a").await, "ALARM");
}

#[tokio::test]
async fn high_resolution_alarms_are_evaluated_every_ten_seconds() {
    let at = TestCloud::new();
    alarm(
        &at,
        "short",
        json!({"Period": 10, "TreatMissingData": "notBreaching"}),
    )
    .await;
    alarm(&at, "long", json!({"TreatMissingData": "notBreaching"})).await;
    let datum = json!({"MetricName": "errors", "Value": 1.0, "StorageResolution": 1});
    put(&at, datum.clone()).await;
    advance(&at, 20).await;
    assert_eq!(state(&at, "short").await, "ALARM");
    advance(&at, 50).await;
    assert_eq!(state(&at, "short").await, "OK");
    assert_eq!(state(&at, "long").await, "ALARM");
    // Data of a minute is not part of shorter periods.
    advance(&at, 300).await;
    put_value(&at, 1.0).await;
    advance(&at, EVALUATED).await;
    assert_eq!(state(&at, "short").await, "OK");
    assert_eq!(state(&at, "long").await, "ALARM");
}

#[tokio::test]
async fn a_state_that_was_set_lasts_until_the_next_evaluation() {
    let at = TestCloud::new();
    alarm(&at, "kept", json!({"TreatMissingData": "ignore"})).await;
    alarm(&at, "reset", json!({"TreatMissingData": "missing"})).await;
    for name in ["kept", "reset"] {
        let input = json!({"AlarmName": name, "StateValue": "ALARM", "StateReason": "test"});
        call(&at, "SetAlarmState", input).await;
        assert_eq!(described(&at, name).await["StateReason"], "test");
    }
    advance(&at, EVALUATED).await;
    assert_eq!(state(&at, "kept").await, "ALARM");
    assert_eq!(state(&at, "reset").await, "INSUFFICIENT_DATA");
    assert_eq!(
        described(&at, "reset").await["StateReason"],
        "Insufficient Data: 1 datapoint was unknown."
    );
    let input = json!({"AlarmName": "no", "StateValue": "OK", "StateReason": "test"});
    assert_eq!(
        refused(&at, "SetAlarmState", input).await.code,
        "ResourceNotFound"
    );
    let input = json!({"AlarmName": "kept", "StateValue": "OK", "StateReason": "t", "StateReasonData": "{"});
    assert_eq!(
        refused(&at, "SetAlarmState", input).await.code,
        "InvalidFormatFault"
    );
}

#[tokio::test]
async fn an_update_keeps_the_state_and_a_deletion_ends_the_evaluation() {
    let at = TestCloud::new();
    alarm(&at, "a", json!({})).await;
    put_value(&at, 1.0).await;
    advance(&at, EVALUATED).await;
    assert_eq!(state(&at, "a").await, "ALARM");
    alarm(&at, "a", json!({"Threshold": 0.5})).await;
    assert_eq!(state(&at, "a").await, "ALARM");
    alarm(&at, "a", json!({"Threshold": 100.0})).await;
    put_value(&at, 1.0).await;
    advance(&at, EVALUATED).await;
    assert_eq!(state(&at, "a").await, "OK");
    call(&at, "DeleteAlarms", json!({"AlarmNames": ["a", "never"]})).await;
    advance(&at, 600).await;
    assert_eq!(state(&at, "a").await, "absent");
    let history = history(&at, "a").await;
    assert_eq!(history.last().unwrap(), "Alarm \"a\" deleted");
}

#[tokio::test]
async fn few_samples_of_a_percentile_change_nothing() {
    let at = TestCloud::new();
    let members = json!({
        "Statistic": null, "ExtendedStatistic": "p90", "EvaluateLowSampleCountPercentile": "ignore",
        "Threshold": 5.0,
    });
    alarm(&at, "a", members).await;
    put(
        &at,
        json!({"MetricName": "errors", "Values": [10.0], "Counts": [99.0]}),
    )
    .await;
    advance(&at, EVALUATED).await;
    assert_eq!(state(&at, "a").await, "INSUFFICIENT_DATA");
    put(
        &at,
        json!({"MetricName": "errors", "Values": [10.0], "Counts": [101.0]}),
    )
    .await;
    advance(&at, EVALUATED).await;
    assert_eq!(state(&at, "a").await, "ALARM");
}

#[tokio::test]
async fn alarms_and_data_survive_a_crash() {
    let at = TestCloud::new();
    alarm(&at, "a", json!({"TreatMissingData": "notBreaching"})).await;
    put_value(&at, 1.0).await;
    let at = at.crash();
    advance(&at, EVALUATED).await;
    assert_eq!(state(&at, "a").await, "ALARM");
    let at = at.restart().await;
    assert_eq!(state(&at, "a").await, "ALARM");
    advance(&at, 600).await;
    assert_eq!(state(&at, "a").await, "OK");
}

fn rows(at: &TestCloud) -> Vec<(i64, i64)> {
    let cloud = at.cloud();
    cloud
        .store()
        .transaction(|tx| {
            let sql = "SELECT width, count(*) FROM cloudwatch_points GROUP BY width ORDER BY width";
            let mut statement = tx.prepare(sql)?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .unwrap()
}

/// The sum and the number of samples of all data.
async fn total(at: &TestCloud, period: i64) -> (f64, f64) {
    let now = minute(at) + 60;
    let input = |stat: &str| {
        json!({
            "StartTime": now - 400 * metrics::DAY, "EndTime": now,
            "MetricDataQueries": [{"Id": "m", "MetricStat": {
                "Metric": {"Namespace": "Test", "MetricName": "errors"}, "Period": period, "Stat": stat,
            }}],
        })
    };
    let mut sums = [0.0, 0.0];
    for (sum, stat) in sums.iter_mut().zip(["Sum", "SampleCount"]) {
        let found = call(at, "GetMetricData", input(stat)).await;
        let values = found["MetricDataResults"][0]["Values"].as_array().unwrap();
        *sum = values.iter().filter_map(Value::as_f64).sum();
    }
    (sums[0], sums[1])
}

#[tokio::test]
async fn data_is_aggregated_and_summarized_with_age() {
    let at = TestCloud::new();
    let start = minute(&at);
    let datum = |second: i64, resolution: i64| {
        json!({"MetricName": "errors", "Value": 2.0, "Timestamp": start - 60 + second,
            "StorageResolution": resolution})
    };
    let data: Vec<Value> = (0..1000).map(|number| datum(number % 60, 60)).collect();
    for _ in 0..3 {
        call(
            &at,
            "PutMetricData",
            json!({"Namespace": "Test", "MetricData": data}),
        )
        .await;
    }
    for second in 0..60 {
        put(&at, datum(second, 1)).await;
    }
    assert_eq!(rows(&at), [(1, 60), (60, 1)]);
    let all = (6120.0, 3060.0);
    assert_eq!(total(&at, 3600).await, all);
    for (days, expected) in [(1, (60, 1)), (16, (300, 1)), (64, (3600, 1))] {
        let left = Duration::from_hours(24 * days);
        let passed = at.cloud().clock().now().as_second() - start;
        let step = i64::try_from(left.as_secs()).unwrap() - passed;
        let mut left = u64::try_from(step).unwrap();
        while left > 0 {
            let part = left.min(29 * 86_400);
            advance(&at, part).await;
            left -= part;
        }
        remove_expired(&at.cloud()).unwrap();
        assert_eq!(rows(&at), [expected], "after {days} days");
        assert_eq!(total(&at, 3600).await, all);
    }
    // What has a lower resolution is not part of shorter periods.
    assert_eq!(total(&at, 60).await, (0.0, 0.0));
    for _ in 0..14 {
        advance(&at, 30 * 86_400).await;
    }
    remove_expired(&at.cloud()).unwrap();
    assert!(rows(&at).is_empty());
    let cloud = at.cloud();
    let names = cloud
        .store()
        .transaction(|tx| metrics::list(tx, 0))
        .unwrap();
    assert!(names.is_empty());
}

#[tokio::test]
async fn pages_of_data() {
    let at = TestCloud::new();
    let start = minute(&at) - 600;
    for number in 0..10 {
        for name in ["errors", "other"] {
            let time = start + 60 * number;
            put(
                &at,
                json!({"MetricName": name, "Value": number, "Timestamp": time}),
            )
            .await;
        }
    }
    let query = |id: &str, name: &str| {
        json!({"Id": id, "MetricStat": {
            "Metric": {"Namespace": "Test", "MetricName": name}, "Period": 60, "Stat": "Average"}})
    };
    let mut input = json!({
        "StartTime": start, "EndTime": start + 600, "MaxDatapoints": 7, "ScanBy": "TimestampAscending",
        "MetricDataQueries": [query("a", "errors"), query("n", "none"), query("b", "other")],
    });
    let mut found: std::collections::BTreeMap<String, Vec<Value>> =
        std::collections::BTreeMap::new();
    let mut pages = 0;
    loop {
        let page = call(&at, "GetMetricData", input.clone()).await;
        pages += 1;
        for result in page["MetricDataResults"].as_array().unwrap() {
            let values = result["Values"].as_array().unwrap();
            let times = result["Timestamps"].as_array().unwrap();
            assert_eq!(values.len(), times.len());
            let id = result["Id"].as_str().unwrap().to_owned();
            found.entry(id).or_default().extend(values.iter().cloned());
        }
        match page["NextToken"].as_str() {
            Some(token) => input["NextToken"] = token.into(),
            None => break,
        }
    }
    assert_eq!(pages, 3);
    let all: Vec<Value> = (0..10).map(|number| json!(f64::from(number))).collect();
    assert_eq!((&found["a"], &found["b"]), (&all, &all));
    assert!(found["n"].is_empty());
    input["NextToken"] = "x".into();
    assert_eq!(
        refused(&at, "GetMetricData", input).await.code,
        "InvalidNextToken"
    );
}
