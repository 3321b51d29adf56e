//! `mlops data label push` and `mlops monitor run --kind model-quality` on captured traffic in the local cloud's S3.

use crate::sandbox::Sandbox;
use crate::sdk::Sdk;

const CAPTURE: &str = "flights-capture-000000000000-us-east-1";

/// A project whose endpoint predicted 300 delays of 10 minutes between 17 h and 18 h.
fn project(section: &str) -> Sandbox {
    let mut sandbox = Sandbox::new();
    sandbox.write(
        "mlops.toml",
        format!(
            "name = \"flights\"\naccount = \"000000000000\"\nregion = \"us-east-1\"\n{section}"
        ),
    );
    sandbox.set("MLOPS_NOW", "2026-02-14T18:00:00Z");
    let _ = sandbox.mlops(["--local", "init"]).success();
    let events: Vec<String> = (0..300)
        .map(|i| {
            let payload = |data: &str| serde_json::json!({"observedContentType": "text/csv", "data": data, "encoding": "CSV"});
            let event = serde_json::json!({
                "captureData": {"endpointInput": payload("7,JFK"), "endpointOutput": payload("10.0")},
                "eventMetadata": {"eventId": format!("e-{i}"), "inferenceTime": "2026-02-14T17:25:06Z"},
                "eventVersion": "0",
            });
            format!("{event}\n")
        })
        .collect();
    let key = "capture/flights/AllTraffic/2026/02/14/17/a.jsonl";
    Sdk::of(&sandbox).put(CAPTURE, key, events.concat());
    sandbox
}

const REGRESSION: &str = "[monitor.model_quality]\nproblem_type = \"regression\"\n";

/// Labels of the first `count` events: the delay was `more` minutes longer or shorter than predicted.
fn labels(count: usize, more: f64) -> String {
    let rows: Vec<String> = (0..count)
        .map(|i| {
            format!(
                "e-{i},{}\n",
                if i % 2 == 0 { 10.0 + more } else { 10.0 - more }
            )
        })
        .collect();
    format!("event,delay\n{}", rows.concat())
}

fn push(sandbox: &Sandbox, text: &str) -> serde_json::Value {
    sandbox.write("labels.csv", text);
    let push = [
        "--local",
        "data",
        "label",
        "push",
        "labels.csv",
        "--id",
        "event",
        "--label",
        "delay",
        "--output",
        "json",
    ];
    sandbox.mlops(push).success().json()
}

const RUN: [&str; 5] = ["--local", "monitor", "run", "--kind", "model-quality"];

#[test]
fn predictions_are_compared_with_their_labels() {
    let mut sandbox = project(REGRESSION);
    let none = sandbox.mlops(RUN).code(1);
    assert!(none.stderr.contains("--suggest"), "{}", none.stderr);

    let pushed = push(&sandbox, &labels(250, 2.0));
    assert_eq!(
        (&pushed["labels"], &pushed["objects"]),
        (&250.into(), &1.into())
    );
    assert_eq!(
        pushed["stored"],
        format!("s3://{CAPTURE}/ground-truth/flights/")
    );
    let suggested = sandbox.mlops([&RUN[..], &["--suggest"]].concat()).success();
    assert!(
        suggested
            .stdout
            .contains("83.3 % of the predictions have a label"),
        "{}",
        suggested.stdout
    );
    let limits = sandbox
        .path()
        .join("baseline/model_quality_constraints.json");
    assert!(std::fs::read_to_string(limits).unwrap().contains("\"mae\""));

    let same = sandbox.mlops(RUN).success();
    assert!(
        same.stdout.contains("300 predictions, 83.3 % with a label"),
        "{}",
        same.stdout
    );
    assert!(same.stdout.contains("no violations"), "{}", same.stdout);
    let (table, _) = same.stdout.split_once("stored in").unwrap();
    assert!(
        table.lines().all(|line| line.chars().count() <= 80),
        "{table}"
    );

    // A correction: of two labels of one event, the later one counts.
    sandbox.set("MLOPS_NOW", "2026-02-15T09:00:00Z");
    let _ = push(&sandbox, &labels(250, 6.0));
    let worse = sandbox
        .mlops([&RUN[..], &["--output", "json"]].concat())
        .code(3)
        .json();
    assert_eq!(worse["rows"], 250);
    assert_eq!(worse["counts"]["duplicate_labels"], 250);
    let violated = |name: &str| {
        let mut metrics = worse["metrics"].as_array().unwrap().iter();
        metrics.find(|it| it["metric"] == name).unwrap()["violated"].clone()
    };
    assert_eq!(
        (violated("mae"), violated("rmse")),
        (true.into(), true.into())
    );
    let first = worse["violations"][0]["description"].as_str().unwrap();
    assert!(
        first.starts_with("Metric ") && first.contains("GreaterThanThreshold"),
        "{first}"
    );

    let report = ["--local", "monitor", "report", "--kind", "model-quality"];
    let shown = sandbox.mlops(report).success();
    assert!(
        shown.stdout.contains("violated") && shown.stdout.contains("at most 2"),
        "{}",
        shown.stdout
    );
    let earlier = sandbox
        .mlops([&report[..], &["2026-02-14T18-00-00Z"]].concat())
        .success();
    assert!(
        earlier.stdout.contains("no violations"),
        "{}",
        earlier.stdout
    );
    let html = sandbox
        .mlops([&report[..], &["--html", "x.html"]].concat())
        .code(2);
    assert!(html.stderr.contains("not supported"), "{}", html.stderr);

    // The results of data quality are others.
    let other = sandbox.mlops(["--local", "monitor", "report"]).code(1);
    assert!(
        other.stderr.contains("has not been monitored yet"),
        "{}",
        other.stderr
    );
    let status = ["--local", "monitor", "status", "--output", "json"];
    let status = sandbox.mlops(status).success().json();
    assert_eq!(status["newest"], serde_json::Value::Null);
    assert_eq!(status["newest_model_quality"]["rows"], 250);
}

#[test]
fn few_labels_prove_nothing() {
    let sandbox = project(REGRESSION);
    let unlabelled = sandbox.mlops([&RUN[..], &["--suggest"]].concat()).code(3);
    assert!(
        unlabelled.stderr.contains("not enough data: 0 rows"),
        "{}",
        unlabelled.stderr
    );
    let limits = "baseline/model_quality_constraints.json";
    assert!(!sandbox.path().join(limits).exists());
    let constraint = r#"{"threshold": 5.0, "comparison_operator": "GreaterThanThreshold"}"#;
    sandbox.write(
        limits,
        format!(r#"{{"regression_constraints": {{"mae": {constraint}}}}}"#),
    );
    let _ = push(&sandbox, &labels(19, 2.0));
    // Nothing was predicted in this time.
    let window = [
        "--since",
        "2026-02-14T12:00:00Z",
        "--until",
        "2026-02-14T13:00:00Z",
    ];
    let empty = sandbox.mlops([&RUN[..], &window].concat()).code(1);
    assert!(
        empty.stderr.contains("no captured requests"),
        "{}",
        empty.stderr
    );
    let few = sandbox.mlops(RUN).code(3);
    assert!(
        few.stdout.contains("not enough data: 19 rows with a label"),
        "{}",
        few.stdout
    );
}

#[test]
fn a_file_that_is_not_valid_is_not_pushed_in_part() {
    let sandbox = project("");
    let push = ["--local", "data", "label", "push", "labels.csv"];
    for (text, reason) in [
        (
            "id,label\na,1\nb,\n",
            "labels.csv, line 3: the label is empty",
        ),
        (
            "event,label\na,1\n",
            "labels.csv has no column `id`; it has event, label",
        ),
        ("", "labels.csv has no labels"),
    ] {
        sandbox.write("labels.csv", text);
        let refused = sandbox.mlops(push).code(2);
        assert!(refused.stderr.contains(reason), "{}", refused.stderr);
    }
    let _ = sandbox
        .mlops(["--local", "data", "label", "push", "none.csv"])
        .code(1);
    assert_eq!(
        Sdk::of(&sandbox).keys(CAPTURE, "ground-truth/"),
        Vec::<String>::new()
    );
    let unset = sandbox.mlops(RUN).code(2);
    assert!(
        unset.stderr.contains("[monitor.model_quality]"),
        "{}",
        unset.stderr
    );
    let wrong = ["--local", "monitor", "run", "--suggest"];
    assert!(
        sandbox
            .mlops(wrong)
            .code(2)
            .stderr
            .contains("--kind model-quality")
    );
    sandbox.write(
        "mlops.toml",
        "name = \"flights\"\naccount = \"000000000000\"\nregion = \"us-east-1\"\n[monitor.model_quality]\nproblem_type = \"regression\"\nprobability_attribute = \"p\"\n",
    );
    let misfit = sandbox.mlops(["config", "show"]).code(2);
    assert!(
        misfit.stderr.contains("monitor.model_quality: "),
        "{}",
        misfit.stderr
    );
}
