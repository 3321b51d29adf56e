//! `mlops validate --on processing` in the local cloud. The image contains this same binary, so all
//! tests share one project and one push.

use aws_sdk_sagemaker::types as sm;

use crate::sandbox::{Run, Sandbox, pause};
use crate::sdk::Sdk;

const DATA: &str = "flights-data-000000000000-us-east-1";
const CAPTURE: &str = "flights-capture-000000000000-us-east-1";
const ARTIFACTS: &str = "flights-artifacts-000000000000-us-east-1";

fn rows(row: impl Fn(usize) -> String) -> String {
    let rows: Vec<String> = (0..300).map(|i| row(i) + "\n").collect();
    format!("delay,distance,origin\n{}", rows.concat())
}

fn good(i: usize) -> String {
    format!("{}.0,{},{}", i % 50, i % 90, ["JFK", "LGA"][i % 2])
}

fn spoiled(i: usize) -> String {
    format!(
        "{},{},{}",
        if i.is_multiple_of(2) { "late" } else { "7" },
        i % 90 + 500,
        ["JFK", "EWR"][i % 2]
    )
}

/// Creates a project with a baseline; returns an S3 client of its local cloud.
struct Project {
    sandbox: Sandbox,
    sdk: Sdk,
}

impl Project {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        sandbox.write(
            "mlops.toml",
            "name = \"flights\"\naccount = \"000000000000\"\nregion = \"us-east-1\"\n",
        );
        sandbox.write("train.csv", rows(good));
        sandbox
            .mlops(["validate", "--suggest", "train.csv"])
            .success();
        let _ = sandbox.mlops(["--local", "init"]).success();
        let sdk = Sdk::of(&sandbox);
        Self { sandbox, sdk }
    }

    fn put(&self, bucket: &str, key: &str, text: String) {
        self.sdk.put(bucket, key, text);
    }

    fn get(&self, bucket: &str, key: &str) -> serde_json::Value {
        serde_json::from_slice(&self.sdk.get(bucket, key)).unwrap()
    }

    fn validate(&self, arguments: &[&str]) -> Run {
        let always = ["--local", "--output", "json", "validate"];
        self.sandbox.mlops(always.iter().chain(arguments))
    }

    /// Returns the name and description of the newest job.
    fn newest_job(&self) -> (String, String) {
        let client = aws_sdk_sagemaker::Client::new(&self.sdk.config);
        self.sdk.wait(async {
            let jobs = client
                .list_processing_jobs()
                .sort_by(sm::SortBy::CreationTime)
                .sort_order(sm::SortOrder::Descending)
                .send()
                .await
                .unwrap();
            let newest = &jobs.processing_job_summaries()[0];
            (
                newest.processing_job_name().unwrap().to_owned(),
                newest.exit_message().unwrap_or_default().to_owned(),
            )
        })
    }
}

#[test]
fn a_processing_job_gives_the_same_verdict() {
    let project = Project::new();
    let address = |key: &str| format!("s3://{DATA}/{key}");
    project.put(DATA, "may/good/a.csv", rows(good));
    project.put(DATA, "may/good/b.csv", rows(good));
    // A prefix alone would include this object, too.
    project.put(DATA, "may/good-not/a.csv", "nonsense\n".to_owned());
    project.put(DATA, "may/spoiled.csv", rows(spoiled));
    project.put(
        DATA,
        "may/ragged.csv",
        "delay,distance,origin\n1,2\n".to_owned(),
    );

    let first = project
        .validate(&["--on", "processing", &address("may/good")])
        .success();
    assert_eq!(first.json()["rows"], 600);
    // `mlops init` has pushed it.
    assert!(!first.stderr.contains("Pushing"), "{}", first.stderr);
    let (job, message) = project.newest_job();
    assert!(job.starts_with("flights-validate-20"), "{job}");
    assert_eq!(
        message,
        "Completed: Job completed successfully with no violations."
    );

    let spoiled = address("may/spoiled.csv");
    let here = project.validate(&[&spoiled]).code(3);
    let hasty = project.sandbox.mlops([
        "--local",
        "--timeout",
        "0.01",
        "validate",
        "--on",
        "processing",
        &spoiled,
    ]);
    let hasty = hasty.code(5);
    assert!(!hasty.stderr.contains("Pushing"), "{}", hasty.stderr);
    let (_, id) = hasty.stderr.trim_end().rsplit_once("--resume ").unwrap();
    let there = project
        .validate(&["--on", "processing", "--resume", id, "--output-dir", "out"])
        .code(3);
    for member in ["rows", "columns", "violations", "baseline"] {
        assert_eq!(there.json()[member], here.json()[member], "{member}");
    }
    let count = there.json()["violations"].as_array().unwrap().len();
    let (job, message) = project.newest_job();
    assert_eq!(job, format!("flights-validate-{id}"));
    assert_eq!(
        message,
        format!("CompletedWithViolations: Job completed successfully with {count} violations.")
    );
    let key = format!("validations/{id}/results/constraint_violations.json");
    let kept = project.get(ARTIFACTS, &key);
    assert_eq!(kept["violations"], there.json()["violations"]);
    assert!(project.sandbox.path().join("out/statistics.json").exists());

    let suggested = ["--suggest", "--output-dir", "made", "--on", "processing"];
    for region in ["eu", "us"] {
        let key = format!("parts/region={region}/a.csv");
        project.put(DATA, &key, rows(good));
    }
    let data = [&*address("parts/")];
    let made = project
        .validate(&[&suggested[..], &data].concat())
        .success();
    assert_eq!(made.json()["columns"], 4);
    project
        .validate(&[&["--suggest", "--output-dir", "own"], &data[..]].concat())
        .success();
    for file in ["statistics.json", "constraints.json"] {
        let read = |directory: &str| {
            std::fs::read_to_string(project.sandbox.path().join(directory).join(file)).unwrap()
        };
        assert_eq!(read("made"), read("own"), "{file}");
    }

    let failed = project
        .validate(&["--on", "processing", &address("may/ragged.csv")])
        .code(1);
    for part in [
        "ragged.csv, line 2",
        "last lines of flights-validate-",
        "is Failed",
    ] {
        assert!(failed.stderr.contains(part), "{part}: {}", failed.stderr);
    }
    monitoring_job(&project, &job);
}

/// Captured traffic of two hours.
fn captured_traffic(project: &Project) {
    for (hour, first) in [(15, 0), (17, 500)] {
        let events = (0..100).map(|i| {
            let payload = |data: String| serde_json::json!({"observedContentType": "text/csv", "data": data, "encoding": "CSV"});
            let event = serde_json::json!({
                "captureData": {
                    "endpointInput": payload(format!("{},{}", i % 90 + first, ["JFK", "LGA"][i % 2])),
                    "endpointOutput": payload(format!("{}.5", i % 50)),
                },
                "eventMetadata": {"eventId": i.to_string(), "inferenceTime": format!("2026-02-14T{hour}:25:06Z")},
                "eventVersion": "0",
            });
            format!("{event}\n")
        });
        let key = format!("capture/flights/AllTraffic/2026/02/14/{hour}/a.jsonl");
        project.put(CAPTURE, &key, events.collect());
    }
}

/// A job as the monitoring platform creates it: captured traffic, a window, a script; the image of
/// an earlier job.
fn monitoring_job(project: &Project, earlier: &str) {
    captured_traffic(project);
    for file in ["constraints.json", "statistics.json"] {
        let text = std::fs::read_to_string(project.sandbox.path().join("baseline").join(file));
        project.put(
            ARTIFACTS,
            &format!("validations/hourly/{file}"),
            text.unwrap(),
        );
    }
    project.put(
        ARTIFACTS,
        "validations/hourly/script.py",
        "def preprocess_handler(r):\n    data = r.endpoint_output.data + ',' + r.endpoint_input.data\n    \
         return {str(i).zfill(20): d for i, d in enumerate(data.split(','))}\n"
            .to_owned(),
    );
    let input = |name: &str, bucket: &str, key: &str, path: &str| {
        let s3 = sm::ProcessingS3Input::builder()
            .s3_uri(format!("s3://{bucket}/{key}"))
            .local_path(format!("/opt/ml/processing/{path}"))
            .s3_data_type(sm::ProcessingS3DataType::S3Prefix)
            .s3_input_mode(sm::ProcessingS3InputMode::File)
            .build();
        sm::ProcessingInput::builder()
            .input_name(name)
            .s3_input(s3)
            .build()
    };
    let client = aws_sdk_sagemaker::Client::new(&project.sdk.config);
    let described = project.sdk.wait(async {
        let before = client.describe_processing_job();
        let before = before.processing_job_name(earlier).send().await.unwrap();
        let output = sm::ProcessingS3Output::builder()
            .s3_uri(format!("s3://{ARTIFACTS}/validations/hourly/results"))
            .local_path("/opt/ml/processing/output")
            .s3_upload_mode(sm::ProcessingS3UploadMode::EndOfJob)
            .build();
        let output = sm::ProcessingOutput::builder()
            .output_name("monitoring_output")
            .s3_output(output)
            .build();
        let mut request = client
            .create_processing_job()
            .processing_job_name("hourly-1")
            .role_arn(before.role_arn().unwrap())
            .app_specification(before.app_specification().unwrap().clone())
            .processing_resources(before.processing_resources().unwrap().clone())
            .processing_inputs(input("endpoint", CAPTURE, "capture/", "endpointdata"))
            .processing_inputs(input("baseline", ARTIFACTS, "validations/hourly/", "baseline"))
            .processing_output_config(
                sm::ProcessingOutputConfig::builder().outputs(output).build(),
            );
        for (name, value) in [
            ("dataset_format", r#"{"sagemakerCaptureJson":{"captureIndexNames":["endpointInput","endpointOutput"]}}"#),
            ("dataset_source", "/opt/ml/processing/endpointdata"),
            ("output_path", "/opt/ml/processing/output"),
            ("start_time", "2026-02-14T15:00:00Z"),
            ("end_time", "2026-02-14T16:00:00Z"),
            ("baseline_constraints", "/opt/ml/processing/baseline/constraints.json"),
            ("baseline_statistics", "/opt/ml/processing/baseline/statistics.json"),
            ("record_preprocessor_script", "/opt/ml/processing/baseline/script.py"),
            ("publish_cloudwatch_metrics", "Enabled"),
            ("sagemaker_endpoint_name", "flights"),
            ("sagemaker_monitoring_schedule_name", "hourly"),
        ] {
            request = request.environment(name, value);
        }
        request.send().await.unwrap();
        loop {
            let job = client.describe_processing_job();
            let job = job.processing_job_name("hourly-1").send().await.unwrap();
            if job.processing_job_status() != Some(&sm::ProcessingJobStatus::InProgress) {
                return job;
            }
            pause();
        }
    });
    assert_eq!(
        described.exit_message(),
        Some("Completed: Job completed successfully with no violations."),
        "{described:?}"
    );
    let statistics = project.get(ARTIFACTS, "validations/hourly/results/statistics.json");
    assert_eq!(statistics["dataset"]["item_count"], 100);
    assert_eq!(statistics["features"][1]["name"], "distance");
    for file in ["constraints.json", "constraint_violations.json"] {
        project.get(ARTIFACTS, &format!("validations/hourly/results/{file}"));
    }
}

#[test]
fn data_that_a_job_cannot_read_is_rejected_first() {
    let sandbox = Sandbox::new();
    for (data, message, hint) in [
        ("may.csv", "reads data from S3", "mlops data push"),
        ("-", "reads data from S3", "mlops data push"),
        ("s3://b/k?versionId=1", "has a version id", "a separate key"),
    ] {
        let run = sandbox
            .mlops(["validate", "--on", "processing", data])
            .code(2);
        assert!(run.stderr.contains(message), "{}", run.stderr);
        assert!(run.stderr.contains(hint), "{}", run.stderr);
    }
    let merge = ["validate", "--on", "processing", "--merge", "s3://b/k"];
    let run = sandbox.mlops(merge).code(2);
    assert!(
        run.stderr.contains("--merge cannot be combined with --on"),
        "{}",
        run.stderr
    );
    let run = sandbox
        .mlops(["validate", "a.csv", "--instance-type", "ml.m5.large"])
        .code(2);
    assert!(
        run.stderr.contains("requires --on processing"),
        "{}",
        run.stderr
    );
}
