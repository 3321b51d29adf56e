//! `mlops analyze`: the container contract of Model Monitor's analyzer, without a container.

use serde_json::{Value, json};

use crate::sandbox::Sandbox;

const CAPTURE: &str =
    r#"{"sagemakerCaptureJson":{"captureIndexNames":["endpointInput","endpointOutput"]}}"#;
const HEADER: &str = r#"{"csv":{"header":true,"output_columns_position":"START"}}"#;

/// A job's directory instead of /opt/ml, with a baseline of `delay,distance,origin`.
fn job() -> Sandbox {
    let mut sandbox = Sandbox::new();
    let base = sandbox.path().join("ml");
    sandbox.set("SAGEMAKER_BASE_DIR", base.to_str().unwrap());
    sandbox.write("ml/processing/input/train/data.csv", rows(usual));
    let suggested = analyze(&sandbox, HEADER, "input/train", &[]).success();
    assert_eq!(
        suggested.json()["violations"],
        Value::Null,
        "{}",
        suggested.stdout
    );
    assert_eq!(
        message(&sandbox),
        "Completed: Job completed successfully with no violations."
    );
    let output = base.join("processing/output");
    assert!(!output.join("constraint_violations.json").exists());
    std::fs::rename(&output, base.join("processing/baseline")).unwrap();
    sandbox
        .set(
            "baseline_constraints",
            "/opt/ml/processing/baseline/constraints.json",
        )
        .set(
            "baseline_statistics",
            "/opt/ml/processing/baseline/statistics.json",
        );
    sandbox
}

fn usual(i: usize) -> String {
    format!("{}.0,{},{}", i % 50, i % 90, ["JFK", "LGA"][i % 2])
}

fn unusual(i: usize) -> String {
    format!("{}.5,{},{}", i % 50, i % 90 + 500, ["JFK", "EWR"][i % 2])
}

fn rows(row: impl Fn(usize) -> String) -> String {
    let rows: Vec<String> = (0..300).map(|i| row(i) + "\n").collect();
    format!("delay,distance,origin\n{}", rows.concat())
}

/// Runs the analyzer over a directory below /opt/ml/processing.
fn analyze(
    sandbox: &Sandbox,
    format: &str,
    source: &str,
    more: &[(&str, &str)],
) -> crate::sandbox::Run {
    let mut command = sandbox.command("");
    command
        .args(["analyze", "--output", "json"])
        .env("dataset_format", format)
        .env("dataset_source", format!("/opt/ml/processing/{source}"))
        .env("output_path", "/opt/ml/processing/output")
        .env("publish_cloudwatch_metrics", "Disabled")
        .envs(more.iter().copied());
    sandbox.run(command)
}

fn read(sandbox: &Sandbox, file: &str) -> String {
    std::fs::read_to_string(sandbox.path().join("ml").join(file)).unwrap()
}

fn message(sandbox: &Sandbox) -> String {
    read(sandbox, "output/message")
}

/// Returns the failed checks, by column.
fn violations(sandbox: &Sandbox) -> Vec<(String, String)> {
    let text = read(sandbox, "processing/output/constraint_violations.json");
    let file: Value = serde_json::from_str(&text).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    file["violations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| (text(&v["feature_name"]), text(&v["constraint_check_type"])))
        .collect()
}

#[test]
fn violations_are_a_result_and_metrics_are_written() {
    let sandbox = job();
    sandbox.write("ml/processing/input/may/part-0.csv", rows(unusual));
    let run = analyze(
        &sandbox,
        HEADER,
        "input/may",
        &[
            ("publish_cloudwatch_metrics", "Enabled"),
            ("sagemaker_endpoint_name", "flights"),
            ("sagemaker_monitoring_schedule_name", "hourly"),
            ("start_time", "2026-02-14T17:00:00Z"),
            ("end_time", "2026-02-14T18:00:00Z"),
        ],
    )
    .success();
    assert_eq!(run.json()["rows"], 300);
    let found = violations(&sandbox);
    assert_eq!(
        message(&sandbox),
        format!(
            "CompletedWithViolations: Job completed successfully with {} violations.",
            found.len()
        )
    );
    assert!(
        found.contains(&("distance".to_owned(), "baseline_drift_check".to_owned())),
        "{found:?}"
    );
    let statistics: Value =
        serde_json::from_str(&read(&sandbox, "processing/output/statistics.json")).unwrap();
    assert_eq!(statistics["dataset"]["item_count"], 300);
    assert!(read(&sandbox, "processing/output/constraints.json").contains("\"distance\""));

    let metrics: Vec<Value> = read(
        &sandbox,
        "output/metrics/cloudwatch/cloudwatch_metrics.jsonl",
    )
    .lines()
    .map(|line| serde_json::from_str(line).unwrap())
    .collect();
    let metric = |name: &str| metrics.iter().find(|m| m["MetricName"] == name).unwrap();
    assert_eq!(
        *metric("feature_data_distance"),
        json!({
            "MetricName": "feature_data_distance",
            "Timestamp": "2026-02-14T18:00:00Z",
            "Dimensions": [
                {"Name": "Endpoint", "Value": "flights"},
                {"Name": "MonitoringSchedule", "Value": "hourly"},
            ],
            "StatisticValues": {"SampleCount": 300, "Sum": 162_450.0, "Minimum": 500.0, "Maximum": 589.0},
            "Unit": "Count",
        })
    );
    assert_eq!(metric("feature_non_null_origin")["Value"], 1.0);
    let drift = metric("feature_baseline_drift_distance")["Value"].as_f64();
    assert!(drift.unwrap() > 0.7, "{drift:?}");
    // Three columns, each with completeness and drift; two of them are numeric.
    assert_eq!(metrics.len(), 8);
}

#[test]
fn metrics_are_written_when_both_sides_want_them() {
    let sandbox = job();
    analyze(&sandbox, HEADER, "input/train", &[]).success();
    let metrics = sandbox.path().join("ml/output/metrics");
    assert!(!metrics.exists());
    let constraints = read(&sandbox, "processing/baseline/constraints.json");
    sandbox.write(
        "ml/processing/baseline/constraints.json",
        constraints.replace(
            "\"emit_metrics\" : \"Enabled\"",
            "\"emit_metrics\" : \"Disabled\"",
        ),
    );
    let wanted = [("publish_cloudwatch_metrics", "Enabled")];
    analyze(&sandbox, HEADER, "input/train", &wanted).success();
    assert!(!metrics.exists());
}

#[test]
fn data_without_a_header_takes_the_baselines_names() {
    let sandbox = job();
    let all = rows(usual);
    let (_, bare) = all.split_once('\n').unwrap();
    sandbox.write("ml/processing/input/bare/a.csv", bare);
    analyze(&sandbox, r#"{"csv":{"header":false}}"#, "input/bare", &[]).success();
    assert_eq!(violations(&sandbox), []);
    let statistics: Value =
        serde_json::from_str(&read(&sandbox, "processing/output/statistics.json")).unwrap();
    assert_eq!(statistics["dataset"]["item_count"], 300);
}

/// Writes 150 invocations of two rows each to the directory of an hour.
fn captured(hour: u32, row: impl Fn(usize) -> String) -> String {
    let events = (0..150).map(|i| {
        let (first, second) = (row(2 * i), row(2 * i + 1));
        let sides = [&first, &second].map(|row| row.split_once(',').unwrap());
        let payload = |data: String| json!({"observedContentType": "text/csv", "data": data, "encoding": "CSV"});
        let event = json!({
            "captureData": {
                "endpointInput": payload(format!("{}\n{}\n", sides[0].1, sides[1].1)),
                "endpointOutput": payload(format!("{}\n{}\n", sides[0].0, sides[1].0)),
            },
            "eventMetadata": {"eventId": i.to_string(), "inferenceTime": format!("2026-02-14T{hour:02}:25:06Z")},
            "eventVersion": "0",
        });
        format!("{event}\n")
    });
    events.collect()
}

fn with_capture() -> Sandbox {
    let sandbox = job();
    let hour = |hour: u32| {
        format!("ml/processing/endpointdata/flights/AllTraffic/2026/02/14/{hour}/a.jsonl")
    };
    sandbox.write(&hour(15), captured(15, usual));
    sandbox.write(&hour(17), captured(17, unusual));
    // Beyond the window's slack, and not JSON: the file must not even be read.
    sandbox.write(&hour(10), "nonsense\n");
    sandbox
}

#[test]
fn only_traffic_in_the_window_counts() {
    let sandbox = with_capture();
    let window =
        |start: &'static str, end: &'static str| [("start_time", start), ("end_time", end)];
    let run = |more: &[(&str, &str)]| analyze(&sandbox, CAPTURE, "endpointdata", more);
    let quiet = window("2026-02-14T15:00:00Z", "2026-02-14T16:00:00Z");
    assert_eq!(run(&quiet).success().json()["rows"], 300);
    assert_eq!(violations(&sandbox), []);
    let moved = window("2026-02-14T15:30:00Z", "2026-02-14T18:00:00Z");
    assert_eq!(run(&moved).success().json()["rows"], 300);
    assert!(!violations(&sandbox).is_empty());
    let both = window("2026-02-14T15:00:00Z", "2026-02-14T18:00:00Z");
    assert_eq!(run(&both).success().json()["rows"], 600);
    let none = window("2026-02-14T15:26:00Z", "2026-02-14T16:00:00Z");
    let failed = run(&none).code(1);
    assert!(failed.stderr.contains("no data in"), "{}", failed.stderr);
    assert!(
        message(&sandbox).ends_with("from 2026-02-14T15:26:00Z to 2026-02-14T16:00:00Z"),
        "{}",
        message(&sandbox)
    );
    let outputs = r#"{"sagemakerCaptureJson":{"captureIndexNames":["endpointOutput"]}}"#;
    let one = analyze(&sandbox, outputs, "endpointdata", &quiet).success();
    assert_eq!(one.json()["columns"], 1);
}

#[test]
fn scripts_produce_the_records_and_are_called_at_the_end() {
    let sandbox = with_capture();
    sandbox.write(
        "ml/processing/code/scripts.py",
        r#"
import os

def preprocess_handler(inference_record, logger):
    if inference_record.event_metadata.event_id == "0":
        return []
    outputs = inference_record.endpoint_output.data.split()
    inputs = inference_record.endpoint_input.data.split()
    return [
        {str(i).zfill(20): value for i, value in enumerate(f"{o},{d}".split(","))}
        for o, d in zip(outputs, inputs)
    ]

def postprocess_handler():
    directory = os.path.join(os.environ["SAGEMAKER_BASE_DIR"], "processing/output")
    print(sorted(os.listdir(directory)))
    open(os.path.join(directory, "after"), "w").close()
"#,
    );
    let script = "/opt/ml/processing/code/scripts.py";
    let more = [
        ("record_preprocessor_script", script),
        ("post_analytics_processor_script", script),
        ("start_time", "2026-02-14T15:00:00Z"),
        ("end_time", "2026-02-14T16:00:00Z"),
    ];
    let run = analyze(&sandbox, CAPTURE, "endpointdata", &more).success();
    assert_eq!(run.json()["rows"], 298);
    assert_eq!(run.json()["columns"], 3);
    assert_eq!(violations(&sandbox), []);
    assert!(run.stderr.contains("'statistics.json'"), "{}", run.stderr);
    assert!(sandbox.path().join("ml/processing/output/after").exists());

    sandbox.write(
        "ml/processing/code/scripts.py",
        "def preprocess_handler(record):\n    return {'x': 1 / 0}\n",
    );
    let failed = analyze(&sandbox, CAPTURE, "endpointdata", &more).code(1);
    assert!(
        failed.stderr.contains("ZeroDivisionError"),
        "{}",
        failed.stderr
    );
    assert!(
        message(&sandbox)
            .contains("Exception while invoking preprocessor script: event 1 (eventId 0)"),
        "{}",
        message(&sandbox)
    );
}

#[test]
fn an_impossible_job_explains_why_in_its_message() {
    let sandbox = job();
    for (format, source, more, expected) in [
        (
            HEADER,
            "input/train",
            ("analysis_type", "MODEL_BIAS"),
            "analysis_type MODEL_BIAS is not supported",
        ),
        (
            HEADER,
            "input/nothing",
            ("x", ""),
            "cannot read dataset_source",
        ),
        (
            r#"{"avro":{}}"#,
            "input/train",
            ("x", ""),
            "`avro` is none of",
        ),
    ] {
        let failed = analyze(&sandbox, format, source, &[more]).code(1);
        assert!(failed.stderr.contains(expected), "{}", failed.stderr);
        assert!(
            message(&sandbox).contains(expected),
            "{}",
            message(&sandbox)
        );
    }
    sandbox.write(
        "ml/processing/input/ragged/a.csv",
        "delay,distance,origin\n1,2\n",
    );
    analyze(&sandbox, HEADER, "input/ragged", &[]).code(1);
    assert!(
        message(&sandbox).contains("ragged/a.csv, line 2"),
        "{}",
        message(&sandbox)
    );
}
