//! Integration with shells and scripts: completions, aliases, help, errors as JSON.

use serde_json::Value;

use crate::sandbox::{Run, Sandbox};

/// Returns fish's candidates for the last of `words`.
fn offered(sandbox: &mut Sandbox, words: &[&str]) -> Vec<String> {
    sandbox.set("MLOPS_COMPLETE", "fish");
    let words = ["--", "mlops"].iter().chain(words);
    let run = sandbox.mlops(words).success();
    let lines = run.stdout.lines();
    lines
        .map(|line| line.split('\t').next().unwrap().to_owned())
        .collect()
}

fn project(sandbox: &Sandbox) {
    sandbox.write(
        "mlops.toml",
        "name = \"flights\"\naccount = \"000000000000\"\nregion = \"us-east-1\"\n",
    );
    sandbox.write(
        "pipeline.json",
        r#"{"Version": "2020-12-01", "Steps": [{"Name": "Stop", "Type": "Fail",
            "Arguments": {"ErrorMessage": "no"}}]}"#,
    );
    sandbox
        .program("", "git", &["init", "-q", "-b", "develop"])
        .success();
    let who = ["-c", "user.name=x", "-c", "user.email=x@example.com"];
    let commit = ["commit", "-q", "--allow-empty", "-m", "x"];
    sandbox
        .program("", "git", &[&who[..], &commit].concat())
        .success();
    sandbox
        .program("", "git", &["branch", "feature/one"])
        .success();
}

/// Issue 8, 5.1: hidden commands are not offered, and files only where they are expected.
#[test]
fn completions_offer_commands_and_files_where_they_belong() {
    let mut sandbox = Sandbox::new();
    sandbox.write("data.csv", "a\n1\n");
    let commands = offered(&mut sandbox, &[""]);
    for command in ["init", "runs", "validate", "help"] {
        assert!(commands.iter().any(|it| it == command), "{commands:?}");
    }
    for hidden in ["markdown-help", "analyze", "job-process", "data.csv"] {
        assert!(!commands.iter().any(|it| it == hidden), "{commands:?}");
    }
    assert_eq!(offered(&mut sandbox, &["validate", "da"]), ["data.csv"]);
    for words in [
        ["runs", "show", ""].as_slice(),
        &["models", "show", ""],
        &["image", "show", ""],
        &["lineage", ""],
        &["config", "show", "da"],
        &["train", "--branch", "da"],
    ] {
        let found = offered(&mut sandbox, words);
        assert!(
            !found.iter().any(|it| it == "data.csv"),
            "{words:?}: {found:?}"
        );
    }
}

/// Issue 8, 5.1.
#[test]
fn completions_offer_branches_and_steps() {
    let mut sandbox = Sandbox::new();
    project(&sandbox);
    let branches = offered(&mut sandbox, &["train", "--branch", ""]);
    assert_eq!(branches, ["develop", "feature/one"]);
    let steps = offered(&mut sandbox, &["runs", "logs", "fb9lk2vgt5sk", ""]);
    assert!(steps.contains(&"Stop".to_owned()), "{steps:?}");
}

/// Issue 8, 5.1. A completion does not start a local cloud.
#[test]
fn completions_offer_runs_and_versions_of_a_running_cloud() {
    let mut sandbox = Sandbox::new();
    project(&sandbox);
    let found = offered(&mut sandbox, &["--local", "runs", "show", ""]);
    assert!(!found.iter().any(|it| it.len() == 12), "{found:?}");
    assert!(!sandbox.path().join(".mlops/local/records.sqlite").exists());
    sandbox.set("MLOPS_COMPLETE", "");
    let start = ["local", "start", "--detach", "--port", "0"];
    sandbox.mlops(start).success();
    let status = sandbox.mlops(["local", "status", "--output", "json"]);
    let endpoint = status.success().json()["endpoint"].clone();
    let call = |operation: &str, input: Value| {
        let target = format!("X-Amz-Target: SageMaker.{operation}");
        let run = sandbox.program(
            "",
            "curl",
            &[
                "-sS", "--fail-with-body", "-X", "POST", endpoint.as_str().unwrap(),
                "-H", &target,
                "-H", "Content-Type: application/x-amz-json-1.1",
                "-H", "Authorization: AWS4-HMAC-SHA256 Credential=AK/20260101/us-east-1/sagemaker/aws4_request, SignedHeaders=host, Signature=0",
                "-d", &input.to_string(),
            ],
        );
        run.success().json()
    };
    call(
        "CreateModelPackageGroup",
        serde_json::json!({"ModelPackageGroupName": "flights"}),
    );
    call(
        "CreateModelPackage",
        serde_json::json!({"ModelPackageGroupName": "flights", "ModelApprovalStatus": "Approved"}),
    );
    // A shell gets no candidates if the response takes longer than a second, as on a busy machine.
    for _ in 0..30 {
        let versions = offered(&mut sandbox, &["--local", "promote", ""]);
        if versions.contains(&"1".to_owned()) {
            return;
        }
    }
    panic!("version 1 is never offered");
}

fn refusal(run: &Run) -> Value {
    assert_eq!(run.stdout, "", "{}", run.stderr);
    serde_json::from_str(&run.stderr).unwrap_or_else(|error| panic!("{error}: {}", run.stderr))
}

/// Issue 8, 5.5.
#[test]
fn errors_are_json_by_flag_or_environment() {
    let mut sandbox = Sandbox::new();
    for words in [
        ["config", "show", "--output", "json"].as_slice(),
        &["config", "show", "-o", "json"],
        &["-ojson", "config", "show"],
        &["-qo", "json", "config", "show"],
        &["config", "show", "--output=json"],
    ] {
        let run = sandbox.mlops(words).code(2);
        let error = refusal(&run);
        assert_eq!(error["kind"], "usage", "{words:?}");
        assert_eq!(error["exit_code"], 2);
        assert_eq!(error["code"], Value::Null);
        assert!(
            error["message"]
                .as_str()
                .unwrap()
                .starts_with("no mlops.toml")
        );
        assert_eq!(error["error"], error["message"]);
        assert_eq!(error["hints"].as_array().unwrap().len(), 1);
    }
    sandbox.set("MLOPS_OUTPUT", "json");
    assert_eq!(
        refusal(&sandbox.mlops(["config", "show"]).code(2))["kind"],
        "usage"
    );
    let human = sandbox
        .mlops(["config", "show", "--output", "human"])
        .code(2);
    assert!(human.stderr.starts_with("error: "), "{}", human.stderr);
}

/// Issue 8, 5.5: also errors of the parser.
#[test]
fn an_invalid_command_line_is_reported_as_json() {
    let sandbox = Sandbox::new();
    for (words, part) in [
        (["-o", "json", "runs", "shwo"].as_slice(), "shwo"),
        (&["-o", "json", "runs"], "no command"),
        (&["-qo", "json", "bogus"], "bogus"),
        (&["promote", "--output", "json", "x"], "x"),
        (
            &["-o", "json", "local", "start", "--port", "99999999"],
            "99999999",
        ),
        (&["-o", "json", "config", "show", "--nothing"], "--nothing"),
    ] {
        let run = sandbox.mlops(words).code(2);
        let error = refusal(&run);
        assert_eq!(error["kind"], "usage");
        assert!(error["message"].as_str().unwrap().contains(part), "{error}");
    }
}

/// Issue 8, 5.5: the service's own code and request id.
#[test]
fn an_error_of_a_service_keeps_its_code_and_request() {
    let mut sandbox = Sandbox::new();
    project(&sandbox);
    let start = [
        "local",
        "start",
        "--detach",
        "--port",
        "0",
        "--require-credentials",
    ];
    sandbox.mlops(start).success();
    let status = sandbox.mlops(["local", "status", "--output", "json"]);
    let endpoint = status.success().json()["endpoint"].clone();
    sandbox.set("AWS_ENDPOINT_URL", endpoint.as_str().unwrap());
    sandbox.set("AWS_ACCESS_KEY_ID", "unknown");
    sandbox.set("AWS_SECRET_ACCESS_KEY", "unknown");
    let run = sandbox.mlops(["models", "list", "-o", "json"]).code(4);
    let error = refusal(&run);
    assert_eq!(error["kind"], "credentials");
    assert_eq!(error["code"], "InvalidClientTokenId");
    assert!(!error["request_id"].as_str().unwrap().is_empty());
    let line = error["error"].as_str().unwrap();
    assert!(line.contains(error["message"].as_str().unwrap()), "{line}");
}

/// Issue 8, 5.1.
#[test]
fn global_options_are_apart_and_last() {
    let sandbox = Sandbox::new();
    for words in [
        ["--help"].as_slice(),
        &["runs", "logs", "--help"],
        &["promote", "-h"],
    ] {
        let help = sandbox.mlops(words).success().stdout;
        let global = help.find("Global options:").unwrap();
        assert!(help[global..].contains("--profile"), "{help}");
        assert!(!help[..global].contains("--profile"), "{help}");
        assert!(!help[global..].contains("Options:\n"), "{help}");
        for line in help.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
    let help = sandbox.mlops(["--help"]).success().stdout;
    let at = |text: &str| help.find(text).unwrap_or_else(|| panic!("{text}: {help}"));
    assert!(at("  init ") < at("  data "));
    assert!(at("  data ") < at("  train "));
    assert!(at("  train ") < at("  promote "));
    assert!(at("  promote ") < at("  local "));
    for hidden in ["markdown-help", "analyze", "job-process"] {
        assert!(!help.contains(hidden), "{help}");
    }
}

/// Issue 8, 5.7.
#[test]
fn common_alternatives_work() {
    let sandbox = Sandbox::new();
    let help = sandbox.mlops(["runs", "logs", "--help"]).success().stdout;
    assert_eq!(
        sandbox.mlops(["help", "runs", "logs"]).success().stdout,
        help
    );
    assert_eq!(sandbox.mlops(["help", "logs"]).success().stdout, help);
    assert_eq!(
        sandbox.mlops(["run", "log", "--help"]).success().stdout,
        help
    );
    let version = sandbox.mlops(["version"]).success().stdout;
    assert_eq!(sandbox.mlops(["--version"]).success().stdout, version);
    let json = sandbox.mlops(["version", "-o", "json"]).success().json();
    assert!(version.contains(json["version"].as_str().unwrap()));
}
