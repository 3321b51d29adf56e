//! Issue 12: `mlops runs why`. One project, whose runs really fail in many ways.

use serde_json::{Value, json};
use snapbox::str;

use crate::sandbox::Sandbox;
use crate::small_project;

const ACCOUNT: &str = "000000000000";

/// A program that fails as its hyperparameter `mode` requires.
const TRAIN: &str = r#"#!/usr/bin/env python3
import json, os, pathlib, sys, time

base = pathlib.Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))


def check(mode):
    if mode == "raise":
        raise ValueError("no rows are left")
    if mode == "late":
        time.sleep(1)
        raise ValueError("too late")
    if mode == "text":
        return float("JFK")
    if mode == "import":
        import no_such_module
    if mode == "file":
        (base / "input/data/train/none.csv").read_text()
    if mode == "kill":
        os.kill(os.getpid(), 9)
    if mode == "crash":
        os.kill(os.getpid(), 11)
    if mode == "chained":
        try:
            return {}["distance"]
        except KeyError as error:
            raise RuntimeError("no distance") from error
    if mode == "odd":
        print("the reactor is offline")
        sys.exit(3)
    if mode == "slow":
        time.sleep(300)


mode = json.loads((base / "input/config/hyperparameters.json").read_text())["mode"]
print("reading", flush=True)
check(mode)
(base / "model/weights.txt").write_text("1.0")
"#;

const PIPELINE: &str = r#"{
  "Version": "2020-12-01",
  "Parameters": [
    {"Name": "ImageUri", "Type": "String"},
    {"Name": "RoleArn", "Type": "String"},
    {"Name": "ModelPackageGroupName", "Type": "String"},
    {"Name": "Mode", "Type": "String", "DefaultValue": "ok"},
    {"Name": "Input", "Type": "String", "DefaultValue": "s3://small-data-000000000000-us-east-1/datasets/small/"},
    {"Name": "Output", "Type": "String", "DefaultValue": "s3://small-artifacts-000000000000-us-east-1/models"},
    {"Name": "Seconds", "Type": "Integer", "DefaultValue": 600},
    {"Name": "MinScore", "Type": "Float", "DefaultValue": 0.5}
  ],
  "Steps": [
    {"Name": "Train", "Type": "Training", "Arguments": {
      "AlgorithmSpecification": {"TrainingImage": {"Get": "Parameters.ImageUri"}, "TrainingInputMode": "File"},
      "RoleArn": {"Get": "Parameters.RoleArn"},
      "HyperParameters": {"mode": {"Get": "Parameters.Mode"}},
      "InputDataConfig": [{"ChannelName": "train", "DataSource": {"S3DataSource": {
        "S3DataType": "S3Prefix", "S3Uri": {"Get": "Parameters.Input"}}}}],
      "OutputDataConfig": {"S3OutputPath": {"Get": "Parameters.Output"}},
      "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
      "StoppingCondition": {"MaxRuntimeInSeconds": {"Get": "Parameters.Seconds"}}}},
    {"Name": "Gate", "Type": "Condition", "DependsOn": ["Train"], "Arguments": {
      "Conditions": [{"Type": "GreaterThanOrEqualTo", "LeftValue": 0.75, "RightValue": {"Get": "Parameters.MinScore"}}],
      "IfSteps": [{"Name": "Register", "Type": "RegisterModel", "Arguments": {
        "ModelPackageGroupName": {"Get": "Parameters.ModelPackageGroupName"},
        "InferenceSpecification": {"Containers": [{"Image": {"Get": "Parameters.ImageUri"},
          "ModelDataUrl": {"Get": "Steps.Train.ModelArtifacts.S3ModelArtifacts"}}],
          "SupportedContentTypes": ["text/csv"], "SupportedResponseMIMETypes": ["text/csv"]}}}],
      "ElseSteps": [{"Name": "Refuse", "Type": "Fail", "Arguments": {"ErrorMessage": "the model is not good enough"}}]}}
  ]
}
"#;

/// The number of the line in the program that contains a text.
fn line_of(text: &str) -> usize {
    TRAIN.lines().position(|line| line.contains(text)).unwrap() + 1
}

/// A deployed project with data.
fn project(sandbox: &Sandbox) {
    let init = ["init", "--local", "--name", "small", "--yes"];
    let _ = sandbox.mlops(init).success();
    small_project::write(sandbox);
    sandbox.write("image/program/train", TRAIN);
    define(sandbox, PIPELINE);
    let _ = sandbox.mlops(["image", "push"]).success();
    sandbox.write("rows/a.csv", "1,2\n");
    let _ = sandbox.mlops(["data", "push", "rows", "small"]).success();
}

fn define(sandbox: &Sandbox, pipeline: &str) {
    sandbox.write("pipeline.json", pipeline);
    small_project::commit(sandbox);
}

/// Trains with parameters, and returns the explanation of the run, which did not succeed.
fn why(sandbox: &Sandbox, parameters: &[&str]) -> Value {
    let flags = parameters.iter().flat_map(|it| ["-p", *it]);
    let run = sandbox.mlops(["train"].into_iter().chain(flags));
    assert!(
        matches!(run.code, Some(1 | 3)),
        "{parameters:?}: {}",
        run.stderr
    );
    let why = ["runs", "why", "--output", "json"];
    let why = sandbox.mlops(why).success().json();
    if let Some(what) = why["cause"]["what"].as_str() {
        // `train` explains a failure in the same words.
        let is_explained = run.stderr.contains(what) || why["outcome"] != "failed";
        assert!(is_explained, "{what}: {}", run.stderr);
    }
    why
}

#[track_caller]
fn is_caused_by(why: &Value, kind: &str, parts: &[&str]) {
    assert_eq!(why["cause"]["kind"], kind, "{why:#}");
    let cause = format!("{} {}", why["cause"]["what"], why["cause"]["fix"]);
    for part in parts {
        assert!(cause.contains(part), "{part}: {why:#}");
    }
}

#[test]
fn issue_12_runs_why_names_the_cause_of_real_failures() {
    let sandbox = Sandbox::new();
    project(&sandbox);
    programs(&sandbox);
    one_screen(&sandbox);
    ended_otherwise(&sandbox);
    data_and_permissions(&sandbox);
    definitions(&sandbox);
    without_a_failure(&sandbox);
}

/// What the program itself does.
fn programs(sandbox: &Sandbox) {
    let raised = why(sandbox, &["Mode=raise"]);
    let line = line_of("no rows are left");
    let what = format!("train line {line}: ValueError: no rows are left");
    is_caused_by(&raised, "exception", &[&what]);
    assert_eq!(
        raised["cause"]["location"]["function"], "check",
        "{raised:#}"
    );
    let levels = raised["levels"].as_array().unwrap();
    let kinds: Vec<&Value> = levels.iter().map(|level| &level["kind"]).collect();
    assert_eq!(kinds, ["run", "step", "job"], "{raised:#}");
    assert!(
        levels[2]["id"]
            .as_str()
            .unwrap()
            .contains(":training-job/pipelines-")
    );
    let last = raised["log"]["lines"].as_array().unwrap().last();
    assert_eq!(last, Some(&json!("ValueError: no rows are left")));
    assert_eq!(raised["log"]["group"], "/aws/sagemaker/TrainingJobs");

    let module = why(sandbox, &["Mode=import"]);
    let place = format!("(train line {})", line_of("import no_such_module"));
    is_caused_by(
        &module,
        "import-error",
        &["`no_such_module`", "requirements.txt", &place],
    );
    let file = why(sandbox, &["Mode=file"]);
    is_caused_by(&file, "missing-input", &["none.csv"]);
    let killed = why(sandbox, &["Mode=kill"]);
    is_caused_by(&killed, "out-of-memory", &["137"]);
    is_caused_by(
        &why(sandbox, &["Mode=crash"]),
        "segmentation-fault",
        &["139"],
    );
    let chained = why(sandbox, &["Mode=chained"]);
    let what = format!(
        "train line {}: RuntimeError: no distance",
        line_of("raise RuntimeError")
    );
    is_caused_by(&chained, "exception", &[&what]);
}

fn one_screen(sandbox: &Sandbox) {
    is_caused_by(&why(sandbox, &["Mode=text"]), "text-for-number", &["JFK"]);
    let shown = sandbox.mlops(["runs", "why"]).success();
    let lines: Vec<&str> = shown.stdout.lines().collect();
    assert!(lines.len() <= 24, "{}", shown.stdout);
    assert!(
        lines.iter().all(|line| line.chars().count() <= 80),
        "{}",
        shown.stdout
    );
    let _ = shown.stderr("").stdout(str![[r#"
run     [..]  Failed
step    Train  Failed
job     pipelines-[..]-Train-[..]  Failed
reason  AlgorithmError: See job logs for more information, exit code: 1

log     /aws/sagemaker/TrainingJobs
        pipelines-[..]-Train-[..]/algo-1-[..]
...
  reading
  Traceback (most recent call last):
    File "/opt/program/train", line [..], in <module>
...
    File "/opt/program/train", line [..], in check
      return float("JFK")
...
  ValueError: could not convert string to float: 'JFK'

cause   the data contains text where a number is expected: `ValueError: could
        not convert string to float: 'JFK'` (train line [..])
fix     check the column in the data (`mlops validate`), a header that is read
        as a row, and the delimiter
next    mlops runs logs [..] Train

"#]]);

    let unknown = why(sandbox, &["Mode=odd"]);
    assert_eq!(unknown["cause"], Value::Null, "{unknown:#}");
    assert_eq!(unknown["outcome"], "failed", "{unknown:#}");
    let shown = sandbox.mlops(["runs", "why"]).success().stdout;
    for part in [
        "\ncause   unknown\n",
        "the reactor is offline",
        "exit code: 3",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

fn ended_otherwise(sandbox: &Sandbox) {
    let late = why(sandbox, &["Mode=slow", "Seconds=1"]);
    is_caused_by(&late, "time-limit", &["MaxRuntimeInSeconds"]);
    let gate = why(sandbox, &["MinScore=0.9"]);
    assert_eq!(gate["outcome"], "refused", "{gate:#}");
    is_caused_by(&gate, "gate", &["at least", "-p MinScore="]);
    assert_eq!(gate["levels"][1]["name"], "Refuse", "{gate:#}");
}

fn data_and_permissions(sandbox: &Sandbox) {
    let nothing = format!("Input=s3://small-data-{ACCOUNT}-us-east-1/nothing/");
    is_caused_by(&why(sandbox, &[&nothing]), "no-data", &["/nothing/"]);
    let bucket = "Input=s3://no-such-bucket-of-ours/x";
    is_caused_by(
        &why(sandbox, &[bucket]),
        "missing-bucket",
        &["no-such-bucket-of-ours"],
    );

    let output = format!("Output=s3://small-data-{ACCOUNT}-us-east-1/models");
    let denied = why(sandbox, &[&output]);
    is_caused_by(&denied, "permission", &["small-training", "s3:PutObject"]);
    let statement = &denied["cause"]["permission"]["statement"];
    assert_eq!(statement["Effect"], "Allow", "{denied:#}");
    assert_eq!(statement["Action"], "s3:PutObject", "{denied:#}");
    let expected = format!("arn:aws:s3:::small-data-{ACCOUNT}-us-east-1/models/pipelines-*");
    assert_eq!(statement["Resource"], expected, "{denied:#}");
    let shown = sandbox.mlops(["runs", "why"]).success().stdout;
    assert!(
        shown.contains("\n         \"Action\": \"s3:PutObject\",\n"),
        "{shown}"
    );
}

/// What is wrong in the pipeline's definition.
fn definitions(sandbox: &Sandbox) {
    let image = format!("\"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/small:nothing\"");
    let train = r#"{"TrainingImage": {"Get": "Parameters.ImageUri"}"#;
    let other = format!("{{\"TrainingImage\": {image}");
    define(sandbox, &PIPELINE.replace(train, &other));
    is_caused_by(&why(sandbox, &[]), "image", &["mlops image list"]);

    let artifact = r#"{"Get": "Steps.Train.ModelArtifacts.S3ModelArtifacts"}"#;
    let nothing = format!("\"s3://small-artifacts-{ACCOUNT}-us-east-1/models/none/model.tar.gz\"");
    define(sandbox, &PIPELINE.replace(artifact, &nothing));
    let missing = why(sandbox, &[]);
    is_caused_by(&missing, "missing-model", &["none/model.tar.gz"]);
    assert_eq!(missing["levels"][1]["name"], "Register", "{missing:#}");

    let role = format!("\"RoleArn\": \"arn:aws:iam::{ACCOUNT}:role/small-endpoint\"");
    let step = r#""RoleArn": {"Get": "Parameters.RoleArn"}"#;
    define(sandbox, &PIPELINE.replace(step, &role));
    let passed = why(sandbox, &[]);
    is_caused_by(
        &passed,
        "permission",
        &["small-training", "iam:PassRole", "role/small-endpoint"],
    );

    // Two steps that fail: the first one by time is explained, the other one is named.
    let (head, rest) = PIPELINE.split_once("    {\"Name\": \"Train\"").unwrap();
    let (train, _) = rest.split_once(",\n    {\"Name\": \"Gate\"").unwrap();
    let second = train.replace("{\"Get\": \"Parameters.Mode\"}", "\"late\"");
    define(
        sandbox,
        &format!("{head}    {{\"Name\": \"Second\"{second},\n    {{\"Name\": \"Train\"{rest}"),
    );
    let first = why(sandbox, &["Mode=raise"]);
    is_caused_by(&first, "exception", &["no rows are left"]);
    assert_eq!(first["levels"][1]["name"], "Train", "{first:#}");
    assert_eq!(first["also_failed"], json!(["Second"]), "{first:#}");
    define(sandbox, PIPELINE);
}

/// Runs that did not fail.
fn without_a_failure(sandbox: &Sandbox) {
    let why = |run: &str| -> (Value, String) {
        let json = sandbox.mlops(["runs", "why", run, "--output", "json"]);
        let text = sandbox.mlops(["runs", "why", run]).success().stdout;
        (json.success().json(), text)
    };
    let detached = ["train", "--detach", "-p", "Mode=slow", "--output", "json"];
    let started = sandbox.mlops(detached).success().json();
    let run = started["run"].as_str().unwrap();
    let (running, text) = why(run);
    assert_eq!(running["outcome"], "in-progress", "{running:#}");
    assert_eq!(running["cause"], Value::Null, "{running:#}");
    assert!(text.contains("it is in progress"), "{text}");
    let _ = sandbox.mlops(["runs", "stop", run]).success();
    while why(run).0["outcome"] == "in-progress" {
        crate::sandbox::pause();
    }
    let (stopped, text) = why(run);
    assert_eq!(stopped["outcome"], "stopped", "{stopped:#}");
    assert_eq!(stopped["cause"], Value::Null, "{stopped:#}");
    assert!(text.contains("it was stopped"), "{text}");

    let succeeded = ["train", "--output", "json"];
    let run = sandbox.mlops(succeeded).success().json();
    let (done, text) = why(run["run"].as_str().unwrap());
    assert_eq!(done["outcome"], "succeeded", "{done:#}");
    assert!(text.contains("did not fail"), "{text}");
    let unknown = sandbox.mlops(["runs", "why", "nothing"]).code(1);
    assert!(
        unknown.stderr.contains("no run `nothing`"),
        "{}",
        unknown.stderr
    );
}
