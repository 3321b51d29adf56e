//! Refused requests: invalid data, invalid alarms, and AWS's own namespaces.

use serde_json::json;

use super::*;
use crate::cloud::caller::Caller;

#[tokio::test]
async fn namespaces_of_aws_belong_to_the_local_cloud() {
    let at = TestCloud::new();
    let cloud = at.cloud();
    let input =
        json!({"Namespace": "AWS/SageMaker", "MetricData": [{"MetricName": "m", "Value": 1.0}]});
    cloud
        .internally("cloudwatch", "PutMetricData", input.clone())
        .await
        .unwrap();
    let put = cloud.call("cloudwatch", "PutMetricData", input);
    let error = Caller::Root.scope(put).await.unwrap_err();
    assert_eq!(error.code, "InvalidParameterValueException");
    assert_eq!(
        error.message,
        "The value AWS/ for parameter Namespace is invalid."
    );
}

#[tokio::test]
async fn invalid_data_is_refused_and_changes_nothing() {
    let at = TestCloud::new();
    let now = at.cloud().clock().epoch();
    let set = |count: f64, min: f64, max: f64| json!({"SampleCount": count, "Sum": 1.0, "Minimum": min, "Maximum": max});
    let name = json!({"MetricName": "m"});
    for (members, words) in [
        (json!({}), "MetricData.member.2.Value is required"),
        (json!({"Value": 1.0, "Values": [1.0]}), "mutually exclusive"),
        (
            json!({"Value": 1.0, "StatisticValues": set(1.0, 1.0, 1.0)}),
            "mutually exclusive",
        ),
        (json!({"Value": 1e109}), "member.2.Value is invalid"),
        (
            json!({"Values": [1.0, -1e109]}),
            "member.2.Values.member.2 is invalid",
        ),
        (
            json!({"Values": [1.0], "Counts": [1.0, 2.0]}),
            "must be of the same size",
        ),
        (
            json!({"Values": [1.0], "Counts": [-1.0]}),
            "Counts.member.1 is invalid",
        ),
        (
            json!({"Values": vec![1.0; 151]}),
            "must not have a size greater than 150",
        ),
        (
            json!({"StatisticValues": set(0.0, 1.0, 1.0)}),
            "SampleCount is invalid",
        ),
        (
            json!({"StatisticValues": set(1.0, 2.0, 1.0)}),
            "Maximum must not be less",
        ),
        (
            json!({"Value": 1.0, "Timestamp": now - 15.0 * 86_400.0}),
            "two weeks in the past",
        ),
        (
            json!({"Value": 1.0, "Timestamp": now + 7300.0}),
            "two hours in the future",
        ),
        (
            json!({"Value": 1.0, "Timestamp": 1e300}),
            "Timestamp is invalid",
        ),
        (json!({"Value": 1.0, "StorageResolution": 5}), "use 1 or 60"),
        (json!({"Value": 1.0, "Unit": "Apples"}), "enum value set"),
        (
            json!({"Value": 1.0, "Dimensions": [{"Name": ":a", "Value": "b"}]}),
            "member.1.Name is invalid",
        ),
        (
            json!({"Value": 1.0, "Dimensions": [{"Name": "a", "Value": " "}]}),
            "member.1.Value is invalid",
        ),
        (
            json!({"Value": 1.0, "Dimensions": [{"Name": "a", "Value": "b"}, {"Name": "a", "Value": "c"}]}),
            "occurs twice",
        ),
    ] {
        let mut datum = name.clone();
        for (member, value) in members.as_object().unwrap() {
            datum[member] = value.clone();
        }
        let good = json!({"MetricName": "m", "Value": 1.0});
        let input = json!({"Namespace": "Test", "MetricData": [good, datum]});
        let error = refused(&at, "PutMetricData", input).await;
        assert!(error.message.contains(words), "{members}: {error}");
    }
    let many = vec![json!({"MetricName": "m", "Value": 1.0}); 1001];
    let error = refused(
        &at,
        "PutMetricData",
        json!({"Namespace": "T", "MetricData": many}),
    )
    .await;
    assert!(error.message.contains("greater than 1000"), "{error}");
    assert!(rows(&at).is_empty());
}

#[tokio::test]
async fn invalid_alarms_are_refused() {
    let at = TestCloud::new();
    for (members, words) in [
        (json!({"Statistic": null}), "Exactly one of Statistic"),
        (
            json!({"ExtendedStatistic": "p90"}),
            "Exactly one of Statistic",
        ),
        (
            json!({"Statistic": null, "ExtendedStatistic": "tm90"}),
            "NotImplemented",
        ),
        (
            json!({"ComparisonOperator": "GreaterThanUpperThreshold"}),
            "anomaly detection",
        ),
        (
            json!({"Metrics": [{"Id": "a", "Expression": "1"}]}),
            "Metrics of cloudwatch:PutMetricAlarm",
        ),
        (json!({"ThresholdMetricId": "a"}), "ThresholdMetricId"),
        (
            json!({"TreatMissingData": "no"}),
            "TreatMissingData must be one of",
        ),
        (
            json!({"EvaluateLowSampleCountPercentile": "ignore"}),
            "with a percentile",
        ),
        (json!({"Period": 45}), "Period must be"),
        (json!({"Period": 1}), "Period must be"),
        (json!({"EvaluationPeriods": 1441}), "a day"),
        (json!({"Period": 3600, "EvaluationPeriods": 169}), "a week"),
        (
            json!({"DatapointsToAlarm": 2}),
            "less than or equal to EvaluationPeriods",
        ),
        (
            json!({"AlarmActions": ["topic"]}),
            "Invalid arn syntax: topic",
        ),
        (json!({"Threshold": null}), "Threshold"),
        (json!({"AlarmName": "a\u{7}"}), "control characters"),
    ] {
        let mut input = json!({
            "AlarmName": "a", "MetricName": "m", "Namespace": "N", "Statistic": "Sum", "Period": 60,
            "EvaluationPeriods": 1, "Threshold": 1.0, "ComparisonOperator": "GreaterThanThreshold",
        });
        for (member, value) in members.as_object().unwrap() {
            input[member] = value.clone();
        }
        let error = refused(&at, "PutMetricAlarm", input).await;
        assert!(error.message.contains(words), "{members}: {error}");
    }
    assert_eq!(
        call(&at, "DescribeAlarms", json!({})).await["MetricAlarms"],
        json!([])
    );
    let error = refused(&at, "PutCompositeAlarm", json!({})).await;
    assert!(
        error.message.contains("cloudwatch:PutCompositeAlarm"),
        "{error}"
    );
}
