//! `mlops validate --on lambda` in the local cloud: the function runs this same binary. All tests
//! share one project and one deployment.

use mlops::commands::validate::lambda_binary as binary;
use serde_json::{Value, json};

use crate::sandbox::{Run, Sandbox};
use crate::sdk::Sdk;

const DATA: &str = "flights-data-000000000000-us-east-1";
const ARTIFACTS: &str = "flights-artifacts-000000000000-us-east-1";

fn rows(row: impl Fn(usize) -> String) -> String {
    let rows: Vec<String> = (0..300).map(|i| row(i) + "\n").collect();
    format!("delay,distance,origin\n{}", rows.concat())
}

fn good(i: usize) -> String {
    format!("{}.0,{},{}", i % 50, i % 90, ["JFK", "LGA"][i % 2])
}

fn spoiled(i: usize) -> String {
    let delay = if i.is_multiple_of(2) { "late" } else { "7" };
    format!("{delay},{},{}", i % 90 + 500, ["JFK", "EWR"][i % 2])
}

/// Creates a project with a baseline, initialized, and returns clients of its local cloud.
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

    fn on_lambda(&self, arguments: &[&str]) -> Run {
        let always = ["--local", "--output", "json", "validate", "--on", "lambda"];
        self.sandbox.mlops(always.iter().chain(arguments))
    }

    fn revision(&self) -> String {
        let client = aws_sdk_lambda::Client::new(&self.sdk.config);
        let shown = client
            .get_function_configuration()
            .function_name("flights-validation")
            .send();
        let shown = self.sdk.wait(shown).unwrap();
        shown.revision_id.unwrap()
    }

    /// Invokes the function with a custom event; returns the response, and whether it is an error.
    fn invoke(&self, event: &Value) -> (Value, bool) {
        let client = aws_sdk_lambda::Client::new(&self.sdk.config);
        let invoke = client
            .invoke()
            .function_name("flights-validation")
            .payload(event.to_string().into_bytes().into());
        let answer = self.sdk.wait(invoke.send()).unwrap();
        let payload = answer.payload.unwrap().into_inner();
        (
            serde_json::from_slice(&payload).unwrap(),
            answer.function_error.is_some(),
        )
    }
}

#[test]
fn a_function_gives_the_same_verdict() {
    let project = Project::new();
    let spoiled_at = format!("s3://{DATA}/may/spoiled.csv");
    let good_at = format!("s3://{DATA}/may/good");
    project.put(DATA, "may/spoiled.csv", rows(spoiled));
    project.put(DATA, "may/good/a.csv", rows(good));
    project.put(DATA, "may/good/b.csv", rows(good));
    project.put(
        DATA,
        "may/ragged.csv",
        "delay,distance,origin\n1,2\n".into(),
    );

    // The first validation deploys the function.
    let far = project.on_lambda(&[&spoiled_at]).code(3);
    let here = project
        .sandbox
        .mlops(["--local", "--output", "json", "validate", &spoiled_at])
        .code(3);
    assert_eq!(far.json()["violations"], here.json()["violations"]);
    assert!(far.json()["violations"].as_array().unwrap().len() >= 4);
    assert_eq!(far.json()["rows"], 300);
    let revision = project.revision();

    // The second validation finds it up to date; its results are also written here.
    let far = project
        .on_lambda(&[&good_at, "--output-dir", "report"])
        .success();
    assert_eq!(far.json()["rows"], 600);
    assert_eq!(project.revision(), revision);
    assert!(!far.stderr.contains("validation: "), "{}", far.stderr);
    let report = project.sandbox.path().join("report");
    for name in [
        "statistics.json",
        "constraints.json",
        "constraint_violations.json",
    ] {
        assert!(report.join(name).is_file(), "{name}");
    }

    // A baseline created there equals the one created here.
    let _ = project
        .on_lambda(&[&good_at, "--suggest", "--output-dir", "far"])
        .success();
    let _ = project
        .sandbox
        .mlops([
            "--local",
            "validate",
            "--suggest",
            &good_at,
            "--output-dir",
            "here",
        ])
        .success();
    let read = |directory: &str| {
        let path = project.sandbox.path().join(directory);
        std::fs::read(path.join("constraints.json")).unwrap()
    };
    assert_eq!(read("far"), read("here"));

    // A failure of the function is an error of this command.
    let ragged = format!("s3://{DATA}/may/ragged.csv");
    let run = project.on_lambda(&[&ragged]).code(1);
    assert!(
        run.stderr
            .contains("the function flights-validation failed: ")
            && run.stderr.contains(&ragged),
        "{}",
        run.stderr
    );
    let run = project
        .on_lambda(&[&format!("s3://{DATA}/nowhere/")])
        .code(1);
    assert!(run.stderr.contains("no such object"), "{}", run.stderr);

    data_sets(&project);

    // Functions survive a restart of the server.
    let _ = project.sandbox.mlops(["local", "stop"]).success();
    let far = project.on_lambda(&[&good_at]).success();
    assert_eq!(far.json()["rows"], 600);
    assert_eq!(project.revision(), revision);

    events_of_others(&project, &spoiled_at);
}

/// `--dataset` checks the snapshot that a run would read, in every place.
fn data_sets(project: &Project) {
    let run = |arguments: &[&str]| {
        let always = ["--local", "--output", "json"];
        project.sandbox.mlops(always.iter().chain(arguments))
    };
    let none = run(&["validate", "--dataset"]).code(1);
    assert!(
        none.stderr.contains("`flights` has no version yet"),
        "{}",
        none.stderr
    );
    let push = |text: String| {
        project.sandbox.write("versions/may.csv", text);
        let pushed = run(&["data", "push", "versions", "flights"])
            .success()
            .json();
        pushed["version"].as_str().unwrap().to_owned()
    };
    let first = push(rows(good));
    let second = push(rows(spoiled));

    let here = run(&["validate", "--dataset"]).code(3).json();
    assert_eq!(
        (&here["dataset"], &here["data_version"]),
        (&json!("flights"), &json!(second))
    );
    let snapshot = format!("snapshots/flights/{second}/may.csv");
    assert_eq!(project.sdk.get(DATA, &snapshot), rows(spoiled).into_bytes());
    let far = project.on_lambda(&["--dataset"]).code(3).json();
    assert_eq!(far["data_version"], second.as_str(), "{far}");
    assert_eq!(far["violations"], here["violations"]);
    let previous = ["--dataset", "flights", "--data-version", "previous"];
    let far = project.on_lambda(&previous).success().json();
    assert_eq!(
        (&far["data_version"], &far["rows"]),
        (&json!(first), &json!(300))
    );
    let named = ["--local", "validate", "--dataset", "--data-version", &first];
    let named = project.sandbox.mlops(named).success();
    assert!(
        named
            .stdout
            .starts_with(&format!("data set flights, version {first}\n300 rows")),
        "{}",
        named.stdout
    );

    for (wrong, text) in [
        (&["validate", "--data-version", &first][..], "--dataset"),
        (
            &["validate", "x.csv", "--data-version", &first],
            "cannot be used with",
        ),
        (&["validate", "x.csv", "--dataset"], "cannot be used with"),
        (&["validate", "--dataset", "--on", "spark"], "--on spark"),
    ] {
        let wrong = run(wrong).code(2);
        assert!(wrong.stderr.contains(text), "{text}: {}", wrong.stderr);
    }
}

/// Events without an output: nothing is written.
fn events_of_others(project: &Project, data: &str) {
    let constraints = format!("{ARTIFACTS}/validations/mine/constraints.json");
    let text = std::fs::read_to_string(project.sandbox.path().join("baseline/constraints.json"));
    project.put(
        ARTIFACTS,
        "validations/mine/constraints.json",
        text.unwrap(),
    );
    let constraints = format!("s3://{constraints}");
    let (answer, failed) = project.invoke(&json!({"data": [data], "constraints": constraints}));
    assert!(!failed, "{answer}");
    assert_eq!(answer["rows"], 300);
    assert_eq!(answer["files"], json!([]));
    assert_eq!(
        answer["violation_count"],
        answer["violations"].as_array().unwrap().len()
    );
    let (answer, failed) = project.invoke(&json!({"data": ["/etc/passwd"], "suggest": true}));
    assert!(failed);
    assert_eq!(answer["errorType"], "Validation.BadEvent");
    assert_eq!(
        answer["errorMessage"],
        "`/etc/passwd` is not an S3 address (s3://…)"
    );
    let wrong = json!({"data": [data], "constraints": data});
    let (answer, failed) = project.invoke(&wrong);
    assert!(failed);
    let message = answer["errorMessage"].as_str().unwrap();
    assert!(
        message.starts_with(&format!("{data}: not a Model Monitor file")),
        "{message}"
    );
}

#[test]
fn invalid_functions_are_rejected_before_anything_is_uploaded() {
    let sandbox = Sandbox::new();
    sandbox.write("train.csv", rows(good));
    sandbox.write("script", "#!/bin/sh\n");
    let run = |arguments: &[&str]| {
        let always = ["validate", "--suggest", "--output-dir", "b"];
        let run = sandbox.mlops(always.iter().chain(arguments));
        (run.code, run.stderr)
    };
    let (code, stderr) = run(&["--on", "lambda", "train.csv"]);
    assert_eq!(code, Some(2));
    assert!(
        stderr.contains("`train.csv` is not an S3 address"),
        "{stderr}"
    );
    let (code, stderr) = run(&["--on", "lambda", "s3://b/k", "--function-binary", "script"]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("script is a script"), "{stderr}");
    assert!(stderr.contains("zigbuild"), "{stderr}");
    let (code, stderr) = run(&["train.csv", "--function-binary", "script"]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("requires --on lambda"), "{stderr}");
}

#[test]
fn a_bootstrap_without_a_runtime_api_is_explained() {
    let sandbox = Sandbox::new();
    let bootstrap = sandbox.path().join("bootstrap");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_mlops"), &bootstrap).unwrap();
    let run = sandbox
        .program("", bootstrap.to_str().unwrap(), &[])
        .code(2);
    assert!(
        run.stderr.contains("AWS_LAMBDA_RUNTIME_API is not set"),
        "{}",
        run.stderr
    );
}

/// Amazon Linux 2023 has glibc 2.34: a binary that needs a newer symbol does not start there.
#[test]
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn the_binary_needs_no_glibc_newer_than_lambda_has() {
    let bytes = std::fs::read(env!("CARGO_BIN_EXE_mlops")).unwrap();
    let needs = binary::needs("mlops", &bytes).unwrap();
    let newest = needs.glibc.expect("it is linked with glibc");
    assert!(newest >= (2, 17), "{newest:?} is no version of this decade");
    assert!(
        newest <= binary::GLIBC,
        "the binary needs GLIBC_{}.{}: build it with cargo-zigbuild for …-gnu.2.34",
        newest.0,
        newest.1
    );
}
