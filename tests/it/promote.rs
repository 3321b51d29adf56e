//! Promotions that are rejected, repeated, or fail.

use serde_json::Value;

use crate::sandbox::{Run, Sandbox};

const TRAIN: &str = r#"#!/usr/bin/env python3
import json, os, pathlib

base = pathlib.Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))
parameters = json.loads((base / "input/config/hyperparameters.json").read_text())
(base / "model/answer.txt").write_text(parameters["answer"])
"#;

/// Replies with the run's parameter; the parameter `broken` makes it exit before it listens.
const SERVE: &str = r#"#!/usr/bin/env python3
import http.server, os, pathlib, sys

base = pathlib.Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))
answer = (base / "model/answer.txt").read_text()
if answer == "broken":
    sys.exit("this model cannot be loaded")

class Handler(http.server.BaseHTTPRequestHandler):
    def reply(self, text):
        self.send_response(200)
        self.send_header("Content-Type", "text/csv")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def do_GET(self):
        self.reply("")

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.reply(answer)

port = int(os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080"))
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"#;

const PIPELINE: &str = r#"{
  "Version": "2020-12-01",
  "Parameters": [
    {"Name": "ImageUri", "Type": "String"},
    {"Name": "RoleArn", "Type": "String"},
    {"Name": "ArtifactBucket", "Type": "String"},
    {"Name": "CommitId", "Type": "String"},
    {"Name": "ModelPackageGroupName", "Type": "String"},
    {"Name": "Answer", "Type": "String", "DefaultValue": "one"},
    {"Name": "Approval", "Type": "String", "DefaultValue": "PendingManualApproval"}
  ],
  "Steps": [
    {"Name": "Train", "Type": "Training", "Arguments": {
      "AlgorithmSpecification": {"TrainingImage": {"Get": "Parameters.ImageUri"}, "TrainingInputMode": "File"},
      "RoleArn": {"Get": "Parameters.RoleArn"},
      "HyperParameters": {"answer": {"Get": "Parameters.Answer"}},
      "OutputDataConfig": {"S3OutputPath": {"Std:Join": {"On": "", "Values": ["s3://", {"Get": "Parameters.ArtifactBucket"}, "/models"]}}},
      "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
      "StoppingCondition": {"MaxRuntimeInSeconds": 600}}},
    {"Name": "Register", "Type": "RegisterModel", "Arguments": {
      "ModelPackageGroupName": {"Get": "Parameters.ModelPackageGroupName"},
      "ModelApprovalStatus": {"Get": "Parameters.Approval"},
      "MetadataProperties": {"CommitId": {"Get": "Parameters.CommitId"}},
      "InferenceSpecification": {
        "Containers": [{"Image": {"Get": "Parameters.ImageUri"}, "ModelDataUrl": {"Get": "Steps.Train.ModelArtifacts.S3ModelArtifacts"}}],
        "SupportedContentTypes": ["text/csv"],
        "SupportedResponseMIMETypes": ["text/csv"]}}}
  ]
}
"#;

/// Creates a project with a small program, deployed and pushed.
pub(crate) fn project() -> Sandbox {
    let sandbox = Sandbox::new();
    let _ = sandbox
        .mlops(["--local", "init", "--name", "small", "--yes"])
        .success();
    sandbox.write("image/requirements.txt", "");
    sandbox.write("image/program/train", TRAIN);
    sandbox.write("image/program/serve", SERVE);
    sandbox.write("pipeline.json", PIPELINE);
    let git = |arguments: &[&str]| {
        let identity = ["-c", "user.name=t", "-c", "user.email=t@localhost"];
        let arguments: Vec<&str> = identity.iter().chain(arguments).copied().collect();
        let _ = sandbox.program("", "git", &arguments).success();
    };
    git(&["add", "-A"]);
    git(&["commit", "-qm", "small"]);
    let _ = sandbox.mlops(["--local", "image", "push"]).success();
    sandbox
}

/// Trains a version, and returns the command's result.
pub(crate) fn train(sandbox: &Sandbox, parameters: &[&str]) -> Run {
    let parameters = parameters.iter().flat_map(|value| ["-p", value]);
    sandbox
        .mlops(["--local", "train"].into_iter().chain(parameters))
        .success()
}

pub(crate) fn promote(sandbox: &Sandbox, version: &str) -> Run {
    sandbox.mlops(["--local", "promote", version, "--yes", "--output", "json"])
}

fn status(sandbox: &Sandbox) -> Value {
    sandbox
        .mlops(["--local", "status", "--output", "json"])
        .success()
        .json()
}

#[test]
fn a_version_is_approved_before_it_is_promoted() {
    let sandbox = project();
    let trained = train(&sandbox, &[]);
    assert!(
        trained.stdout.contains("Next: mlops --local promote 1"),
        "{}",
        trained.stdout
    );

    // The newest version is the default. Without a terminal, nobody can approve it.
    let pending = sandbox.mlops(["--local", "promote"]).code(2);
    assert!(
        pending
            .stderr
            .contains("Version 1 of small is pending approval"),
        "{}",
        pending.stderr
    );
    let planned = ["--local", "promote", "--dry-run", "--output", "json"];
    let planned = sandbox.mlops(planned).success().json();
    assert_eq!(planned["version"], 1, "{planned}");
    assert_eq!(planned["approve"], true, "{planned}");
    assert_eq!(planned["live"], Value::Null, "{planned}");
    let unknown = promote(&sandbox, "9").code(1);
    assert!(
        unknown.stderr.contains("its versions are: 1"),
        "{}",
        unknown.stderr
    );
    let after = status(&sandbox);
    assert_eq!(after["endpoint"], Value::Null);
    assert_eq!(after["models"][0]["status"], "PendingManualApproval");
}

#[test]
fn a_version_is_approved_and_rejected_by_command() {
    let sandbox = project();
    let _ = train(&sandbox, &[]);
    let decide = |verb: &str, version: &str, rest: &[&str]| {
        let words = ["--local", "models", verb, version, "--output", "json"];
        sandbox.mlops(words.iter().chain(rest))
    };
    let note = ["--note", "checked by Ana"];
    let approved = decide("approve", "1", &note).success().json();
    assert_eq!(approved["status"], "Approved", "{approved}");
    assert_eq!(approved["changed"], true, "{approved}");
    let again = decide("approve", "1", &[]).success().json();
    assert_eq!(again["changed"], false, "{again}");
    let shown = sandbox.mlops(["--local", "models", "show", "1"]).success();
    assert!(shown.stdout.contains("checked by Ana"), "{}", shown.stdout);

    let rejected = decide("reject", "1", &[]).success().json();
    assert_eq!(rejected["status"], "Rejected", "{rejected}");
    let refused = promote(&sandbox, "1");
    assert_ne!(refused.code, Some(0), "a rejected version is not deployed");
    let unknown = decide("approve", "9", &[]).code(1);
    assert!(
        unknown.stderr.contains("no version 9"),
        "{}",
        unknown.stderr
    );

    let _ = decide("approve", "1", &[]).success();
    let live = promote(&sandbox, "1").success().json();
    assert_eq!(live["approved_now"], false, "{live}");
    let refused = decide("reject", "1", &[]).code(1);
    assert!(refused.stderr.contains("is live"), "{}", refused.stderr);
}

#[test]
fn a_promotion_can_be_repeated() {
    let sandbox = project();
    let _ = train(&sandbox, &[]);
    let first = promote(&sandbox, "1").success().json();
    assert_eq!(first["sample"]["answer"], "one", "{first}");
    assert_eq!(first["changed"], true);
    assert_eq!(first["approved_now"], true);
    let again = promote(&sandbox, "1").success().json();
    assert_eq!(again["changed"], false, "{again}");
    assert_eq!(
        again["endpoint_configuration"],
        first["endpoint_configuration"]
    );
}

#[test]
fn a_rejected_version_is_not_promoted() {
    let sandbox = project();
    let _ = train(&sandbox, &["Approval=Rejected", "Answer=two"]);
    let rejected = promote(&sandbox, "1").code(3);
    assert!(
        rejected.stderr.contains("was rejected"),
        "{}",
        rejected.stderr
    );
}

#[test]
fn a_version_that_does_not_start_leaves_the_live_one() {
    let sandbox = project();
    let _ = train(&sandbox, &[]);
    let first = promote(&sandbox, "1").success().json();
    let _ = train(&sandbox, &["Answer=broken"]);
    let broken = promote(&sandbox, "2").code(1);
    assert!(
        broken.stderr.contains("ping health check"),
        "{}",
        broken.stderr
    );
    assert!(
        broken.stderr.contains("  this model cannot be loaded"),
        "the last lines of its log: {}",
        broken.stderr
    );
    let after = status(&sandbox);
    assert_eq!(after["live"], 1, "{after}");
    assert_eq!(
        after["endpoint"]["configuration"],
        first["endpoint_configuration"]
    );
    let lineage = sandbox
        .mlops(["--local", "lineage", "--output", "json"])
        .success()
        .json();
    assert_eq!(lineage["version"], 1, "{lineage}");
    assert_eq!(lineage["branch"], "develop", "{lineage}");
    let old = promote(&sandbox, "1").success().json();
    assert_eq!(old["sample"]["answer"], "one", "it still answers: {old}");
    assert_eq!(old["changed"], false, "{old}");
}

#[test]
fn a_promotion_replaces_the_live_version() {
    let sandbox = project();
    let _ = train(&sandbox, &[]);
    let _ = promote(&sandbox, "1").success();
    let _ = train(&sandbox, &["Answer=four"]);
    let newer = promote(&sandbox, "2").success().json();
    assert_eq!(newer["sample"]["answer"], "four", "{newer}");
    assert_eq!(newer["replaced"], 1, "{newer}");
    let stage = |version: &str| {
        let shown = sandbox.mlops(["--local", "models", "show", version, "--output", "json"]);
        shown.success().json()["stage"].clone()
    };
    assert_eq!(stage("1"), "Production/Replaced");
    assert_eq!(stage(&newer["version"].to_string()), "Production/Live");
    assert_eq!(status(&sandbox)["live"], 2);
}
