//! `mlops monitor` on captured traffic in the local cloud's S3.

use crate::sandbox::Sandbox;
use crate::sdk::Sdk;

const BUCKET: &str = "flights-artifacts-000000000000-us-east-1";
const CAPTURE: &str = "flights-capture-000000000000-us-east-1";

/// Creates a project with a baseline of `delay,distance,origin`.
fn project() -> Sandbox {
    let mut sandbox = Sandbox::new();
    sandbox.write(
        "mlops.toml",
        "name = \"flights\"\naccount = \"000000000000\"\nregion = \"us-east-1\"\n",
    );
    let rows: Vec<String> = (0..300)
        .map(|i| format!("{}.0,{},{}\n", i % 50, i % 90, ["JFK", "LGA"][i % 2]))
        .collect();
    sandbox.write(
        "train.csv",
        format!("delay,distance,origin\n{}", rows.concat()),
    );
    sandbox
        .mlops(["validate", "--suggest", "train.csv"])
        .success();
    sandbox.set("MLOPS_NOW", "2026-02-14T18:00:00Z");
    sandbox
}

/// Returns captured invocations with two rows each.
fn captured(hour: u32, row: impl Fn(usize) -> (String, String)) -> String {
    let events: Vec<String> = (0..150)
        .map(|i| {
            let ((first, a), (second, b)) = (row(2 * i), row(2 * i + 1));
            let payload = |data: String| serde_json::json!({"observedContentType": "text/csv", "data": data, "encoding": "CSV"});
            let event = serde_json::json!({
                "captureData": {
                    "endpointInput": payload(format!("{first}\n{second}\n")),
                    "endpointOutput": payload(format!("{a}\n{b}\n")),
                },
                "eventMetadata": {"eventId": i.to_string(), "inferenceTime": format!("2026-02-14T{hour:02}:25:06Z")},
                "eventVersion": "0",
            });
            format!("{event}\n")
        })
        .collect();
    events.concat()
}

fn usual(i: usize) -> (String, String) {
    (
        format!("{},{}", i % 90, ["JFK", "LGA"][i % 2]),
        format!("{}.5", i % 50),
    )
}

fn unusual(i: usize) -> (String, String) {
    (
        format!("{},{}", i % 90 + 500, ["JFK", "EWR"][i % 2]),
        format!("{}.5", i % 50),
    )
}

/// Puts objects into the artifact bucket of the sandbox's local cloud.
fn put(sandbox: &Sandbox, objects: &[(&str, String)]) {
    let _ = sandbox.mlops(["--local", "init"]).success();
    let sdk = Sdk::of(sandbox);
    for (key, text) in objects {
        sdk.put(CAPTURE, key, text.clone());
    }
}

/// A project with usual traffic captured at 15 h, and unusual traffic at 17 h.
fn monitored() -> Sandbox {
    let sandbox = project();
    put(
        &sandbox,
        &[
            (
                "capture/flights/AllTraffic/2026/02/14/15/a.jsonl",
                captured(15, usual),
            ),
            (
                "capture/flights/AllTraffic/2026/02/14/17/b.jsonl",
                captured(17, unusual),
            ),
        ],
    );
    sandbox
}

#[test]
fn usual_traffic_has_no_violations() {
    let sandbox = monitored();
    let earlier = [
        "--local",
        "monitor",
        "run",
        "--until",
        "2026-02-14T16:00:00Z",
    ];
    let run = sandbox.mlops(earlier).success();
    assert!(
        run.stdout
            .contains("flights, run 2026-02-14T18-00-00Z: 300 rows, baseline of 300 rows"),
        "{}",
        run.stdout
    );
    assert!(run.stdout.contains("no violations"), "{}", run.stdout);
}

#[test]
fn unusual_traffic_drifts() {
    let sandbox = monitored();
    let run = sandbox
        .mlops([
            "--local", "monitor", "run", "--hours", "2", "--output", "json",
        ])
        .code(3);
    let report = run.json();
    assert_eq!(report["rows"], 300);
    assert_eq!(
        report["stored"],
        format!("s3://{BUCKET}/monitoring/flights/2026-02-14T18-00-00Z/")
    );
    let features = report["features"].as_array().unwrap();
    assert_eq!(features.len(), 3);
    assert_eq!(features[0]["feature"], "distance");
    assert_eq!(features[0]["drifted"], true);
    assert!(features[0]["distance"].as_f64().unwrap() > 0.7);
    let delay = features.iter().find(|f| f["feature"] == "delay").unwrap();
    assert_eq!(delay["drifted"], false);
    let checks: Vec<&str> = report["violations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|violation| violation["constraint_check_type"].as_str().unwrap())
        .collect();
    assert_eq!(
        checks,
        [
            "categorical_values_check",
            "baseline_drift_check",
            "baseline_drift_check"
        ]
    );
}

#[test]
fn results_can_be_shown_again() {
    let mut sandbox = monitored();
    let earlier = [
        "--local",
        "monitor",
        "run",
        "--until",
        "2026-02-14T16:00:00Z",
    ];
    let _ = sandbox.mlops(earlier).success();
    sandbox.set("MLOPS_NOW", "2026-02-14T18:05:00Z");
    let run = sandbox
        .mlops([
            "--local", "monitor", "run", "--hours", "2", "--output", "json",
        ])
        .code(3);
    let report = run.json();
    let shown = sandbox
        .mlops(["--local", "monitor", "report", "--output", "json"])
        .success();
    assert_eq!(shown.json()["features"], report["features"]);
    assert_eq!(shown.json()["violations"], report["violations"]);
    let first = sandbox
        .mlops(["--local", "monitor", "report", "2026-02-14T18-00-00Z"])
        .success();
    assert!(first.stdout.contains("no violations"), "{}", first.stdout);
    sandbox
        .mlops(["--local", "monitor", "report", "--html", "drift.html"])
        .success()
        .stdout("wrote drift.html\n");
    let page = std::fs::read_to_string(sandbox.path().join("drift.html")).unwrap();
    assert_eq!(page.matches("<section class=\"card\">").count(), 2);
    let unknown = sandbox
        .mlops(["--local", "monitor", "report", "2020"])
        .code(1);
    assert!(
        unknown
            .stderr
            .contains("hint: the newest are 2026-02-14T18-05-00Z"),
        "{}",
        unknown.stderr
    );
}

#[test]
fn captured_traffic_can_be_validated() {
    let sandbox = monitored();
    let object = format!("s3://{CAPTURE}/capture/flights/AllTraffic/2026/02/14/15");
    let validated = sandbox
        .mlops(["--local", "validate", "--format", "capture", &object])
        .success();
    assert_eq!(validated.stdout, "300 rows, 3 columns: no violations\n");
}

#[test]
fn missing_traffic_is_reported() {
    let sandbox = project();
    put(&sandbox, &[]);
    let report = sandbox.mlops(["--local", "monitor", "report"]).code(1);
    assert!(
        report.stderr.contains("has not been monitored yet"),
        "{}",
        report.stderr
    );
    let run = sandbox.mlops(["--local", "monitor", "run"]).code(1);
    assert!(
        run.stderr.contains(&format!(
            "no captured requests under s3://{CAPTURE}/capture/flights/"
        )),
        "{}",
        run.stderr
    );
}

#[test]
fn thresholds_are_chosen_with_past_traffic() {
    let sandbox = monitored();
    // An hour with longer distances, and otherwise as usual.
    let far = |i: usize| {
        let (_, delay) = usual(i);
        let distance = i % 90 + 500;
        (format!("{distance},{}", ["JFK", "LGA"][i % 2]), delay)
    };
    let key = "capture/flights/AllTraffic/2026/02/14/16/c.jsonl";
    Sdk::of(&sandbox).put(CAPTURE, key, captured(16, far));
    let settings = std::fs::read_to_string(sandbox.path().join("mlops.toml")).unwrap();
    let hourly = "\n[monitor]\nevery_hours = 1\n[retrain]\ncool_down_hours = 24\n";
    sandbox.write("mlops.toml", settings + hourly);
    let tune = [
        "--local",
        "monitor",
        "tune",
        "--days",
        "1",
        "--threshold",
        "1",
    ];
    let tuned = sandbox.mlops([&tune[..], &["--output", "json"]].concat());
    let tuned = tuned.success().json();
    // Unknown values violate the baseline whatever the threshold is; the cool-down allows one run.
    let shown: Vec<(f64, u64, u64, usize)> = tuned["thresholds"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| {
            let retrains = it["retrains"].as_array().unwrap().len();
            let number = |key: &str| it[key].as_u64().unwrap();
            let threshold = it["threshold"].as_f64().unwrap();
            (threshold, number("violated"), number("alarms"), retrains)
        })
        .collect();
    assert_eq!(shown, [(0.1, 2, 1, 1), (1.0, 1, 1, 1)]);
    assert_eq!(tuned["windows"].as_array().unwrap().len(), 24);
    let text = sandbox.mlops(tune).success().stdout;
    assert!(
        text.contains("24 windows of 1 h, 3 with enough rows"),
        "{text}"
    );
    assert!(
        text.lines()
            .any(|line| line.starts_with("0.1 ") && line.contains("today's")),
        "{text}"
    );
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );

    let before = [
        "--local",
        "monitor",
        "tune",
        "--days",
        "1",
        "--threshold",
        "1.5",
    ];
    let wrong = sandbox.mlops(before).code(2);
    assert!(wrong.stderr.contains("from 0 to 1"), "{}", wrong.stderr);
}
