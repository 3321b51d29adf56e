//! A small project whose complete pipeline runs in a second or two: no packages, no data.

use crate::sandbox::Sandbox;

/// Prints two lines, the second after a pause.
const TRAIN: &str = r#"#!/usr/bin/env python3
import os, pathlib, time

base = pathlib.Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))
print("first line", flush=True)
time.sleep(0.5)
print("last line", flush=True)
(base / "model/weights.txt").write_text("1.0")
"#;

const SERVE: &str = r#"#!/usr/bin/env python3
import http.server, os

class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"1\n")

    do_GET = do_POST = answer

port = int(os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080"))
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"#;

/// The metric that [`evaluate`] writes at first.
pub(crate) const RMSE: &str = "4.25";

/// Returns a program that writes this metric.
pub(crate) fn evaluate(rmse: &str) -> String {
    format!(
        r#"#!/usr/bin/env python3
import json, os, pathlib

base = pathlib.Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))
output = base / "processing/evaluation"
output.mkdir(parents=True, exist_ok=True)
metrics = {{"rmse": {{"value": {rmse}}}, "mean_absolute_percentage_error": {{"value": 0.125}}}}
(output / "evaluation.json").write_text(json.dumps({{"regression_metrics": metrics}}))
"#
    )
}

const PIPELINE: &str = r#"{
  "Version": "2020-12-01",
  "Parameters": [
    {"Name": "ImageUri", "Type": "String"},
    {"Name": "RoleArn", "Type": "String"},
    {"Name": "ArtifactBucket", "Type": "String"},
    {"Name": "CommitId", "Type": "String"},
    {"Name": "ModelPackageGroupName", "Type": "String"},
    {"Name": "MaxRmse", "Type": "Float", "DefaultValue": 10.0}
  ],
  "Steps": [
    {"Name": "Train", "Type": "Training", "Arguments": {
      "AlgorithmSpecification": {"TrainingImage": {"Get": "Parameters.ImageUri"}, "TrainingInputMode": "File"},
      "RoleArn": {"Get": "Parameters.RoleArn"},
      "OutputDataConfig": {"S3OutputPath": {"Std:Join": {"On": "", "Values": ["s3://", {"Get": "Parameters.ArtifactBucket"}, "/models"]}}},
      "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
      "StoppingCondition": {"MaxRuntimeInSeconds": 600}}},
    {"Name": "Evaluate", "Type": "Processing", "DependsOn": ["Train"], "Arguments": {
      "ProcessingResources": {"ClusterConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1}},
      "AppSpecification": {"ImageUri": {"Get": "Parameters.ImageUri"}, "ContainerEntrypoint": ["evaluate"]},
      "RoleArn": {"Get": "Parameters.RoleArn"},
      "ProcessingOutputConfig": {"Outputs": [{"OutputName": "evaluation", "AppManaged": false, "S3Output": {
        "S3Uri": {"Std:Join": {"On": "/", "Values": ["s3:/", {"Get": "Parameters.ArtifactBucket"}, "runs", {"Get": "Execution.PipelineExecutionId"}]}},
        "LocalPath": "/opt/ml/processing/evaluation", "S3UploadMode": "EndOfJob"}}]}},
     "PropertyFiles": [{"PropertyFileName": "Evaluation", "OutputName": "evaluation", "FilePath": "evaluation.json"}]},
    {"Name": "Gate", "Type": "Condition", "Arguments": {
      "Conditions": [{"Type": "LessThanOrEqualTo",
        "LeftValue": {"Std:JsonGet": {"PropertyFile": {"Get": "Steps.Evaluate.PropertyFiles.Evaluation"}, "Path": "regression_metrics.rmse.value"}},
        "RightValue": {"Get": "Parameters.MaxRmse"}}],
      "IfSteps": [{"Name": "Register", "Type": "RegisterModel", "Arguments": {
        "ModelPackageGroupName": {"Get": "Parameters.ModelPackageGroupName"},
        "ModelApprovalStatus": "PendingManualApproval",
        "InferenceSpecification": {"Containers": [{"Image": {"Get": "Parameters.ImageUri"}, "ModelDataUrl": {"Get": "Steps.Train.ModelArtifacts.S3ModelArtifacts"}}],
          "SupportedContentTypes": ["text/csv"], "SupportedResponseMIMETypes": ["text/csv"]},
        "ModelMetrics": {"ModelQuality": {"Statistics": {"ContentType": "application/json", "S3Uri": {"Std:Join": {"On": "/", "Values": [
          {"Get": "Steps.Evaluate.ProcessingOutputConfig.Outputs['evaluation'].S3Output.S3Uri"}, "evaluation.json"]}}}}},
        "MetadataProperties": {"CommitId": {"Get": "Parameters.CommitId"}},
        "CustomerMetadataProperties": {"CommitId": {"Get": "Parameters.CommitId"}}}}],
      "ElseSteps": [{"Name": "Refuse", "Type": "Fail", "Arguments": {"ErrorMessage": "the model is not good enough"}}]}}
  ]
}
"#;

/// Creates a project on the local cloud with a small program, deployed and pushed.
pub(crate) fn project(sandbox: &Sandbox) {
    let _ = sandbox
        .mlops(["init", "--local", "--name", "small", "--yes"])
        .success();
    write(sandbox);
    let _ = sandbox.mlops(["image", "push"]).success();
}

/// Replaces the program and the pipeline of a project by small ones, and commits them.
pub(crate) fn write(sandbox: &Sandbox) {
    sandbox.write("image/requirements.txt", "");
    sandbox.write("image/program/train", TRAIN);
    sandbox.write("image/program/evaluate", evaluate(RMSE));
    sandbox.write("image/program/serve", SERVE);
    sandbox.write("pipeline.json", PIPELINE);
    let toml = std::fs::read_to_string(sandbox.path().join("mlops.toml")).unwrap();
    sandbox.write("mlops.toml", toml.replace("sample =", "# sample ="));
    commit(sandbox);
}

/// Commits everything.
pub(crate) fn commit(sandbox: &Sandbox) {
    let _ = sandbox.program("", "git", &["add", "-A"]).success();
    let commit = [
        "-c",
        "user.name=t",
        "-c",
        "user.email=t@localhost",
        "commit",
        "-qm",
        "small",
    ];
    let _ = sandbox.program("", "git", &commit).success();
}
