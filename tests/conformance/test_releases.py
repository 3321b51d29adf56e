"""The stories of releases, on the clock that tests advance: `mlops` deploys, boto3 looks at what is live.

The tests of this file are one story: each starts where the one before it ended.
"""

import contextlib
import json
import os
import signal
import subprocess
import threading
import time

import boto3
import pytest
from botocore.config import Config

import clock
from conftest import BIN, watch

NAME = "rel"
ARTIFACTS = f"{NAME}-artifacts-000000000000-us-east-1"

TRAIN = """#!/usr/bin/env python3
import os, pathlib

base = pathlib.Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))
(base / "model/weights.txt").write_text("VERSION")
"""
EVALUATE = """#!/usr/bin/env python3
import json, os, pathlib

output = pathlib.Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml")) / "processing/evaluation"
output.mkdir(parents=True, exist_ok=True)
(output / "evaluation.json").write_text(json.dumps({"regression_metrics": {"rmse": {"value": 4.25}}}))
"""
SERVE = """#!/usr/bin/env python3
import http.server, os, pathlib

model = pathlib.Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml")) / "model/weights.txt"
ANSWER = model.read_bytes()
print("serving", ANSWER.decode(), flush=True)


class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", str(len(ANSWER)))
        self.end_headers()
        self.wfile.write(ANSWER)

    do_GET = do_POST = answer

    def log_message(self, *_):
        pass


port = int(os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080"))
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""
DEPLOY = """
[deploy]
instance_count = 2
strategy = "canary"
step = 1
bake_seconds = 300

[deploy.alarms]
errors_5xx = 1

[deploy.metrics]
rmse = "lower"
"""


def get(name):
    return {"Get": f"Parameters.{name}"}


def join(*values, on=""):
    return {"Std:Join": {"On": on, "Values": list(values)}}


CLUSTER = {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1}
TRAINED = {"Get": "Steps.Train.ModelArtifacts.S3ModelArtifacts"}
EVALUATION = {"Get": "Steps.Evaluate.ProcessingOutputConfig.Outputs['evaluation'].S3Output.S3Uri"}
PIPELINE = {
    "Version": "2020-12-01",
    "Parameters": [
        {"Name": name, "Type": "String"}
        for name in ("ImageUri", "RoleArn", "ArtifactBucket", "CommitId", "ModelPackageGroupName")
    ],
    "Steps": [
        {
            "Name": "Train",
            "Type": "Training",
            "Arguments": {
                "AlgorithmSpecification": {"TrainingImage": get("ImageUri"), "TrainingInputMode": "File"},
                "RoleArn": get("RoleArn"),
                "OutputDataConfig": {"S3OutputPath": join("s3://", get("ArtifactBucket"), "/models")},
                "ResourceConfig": CLUSTER,
                "StoppingCondition": {"MaxRuntimeInSeconds": 600},
            },
        },
        {
            "Name": "Evaluate",
            "Type": "Processing",
            "DependsOn": ["Train"],
            "Arguments": {
                "ProcessingResources": {"ClusterConfig": CLUSTER},
                "AppSpecification": {"ImageUri": get("ImageUri"), "ContainerEntrypoint": ["evaluate"]},
                "RoleArn": get("RoleArn"),
                "ProcessingOutputConfig": {
                    "Outputs": [
                        {
                            "OutputName": "evaluation",
                            "AppManaged": False,
                            "S3Output": {
                                "S3Uri": join(
                                    "s3:/",
                                    get("ArtifactBucket"),
                                    "runs",
                                    {"Get": "Execution.PipelineExecutionId"},
                                    on="/",
                                ),
                                "LocalPath": "/opt/ml/processing/evaluation",
                                "S3UploadMode": "EndOfJob",
                            },
                        }
                    ]
                },
            },
        },
        {
            "Name": "Register",
            "Type": "RegisterModel",
            "Arguments": {
                "ModelPackageGroupName": get("ModelPackageGroupName"),
                "ModelApprovalStatus": "PendingManualApproval",
                "InferenceSpecification": {
                    "Containers": [{"Image": get("ImageUri"), "ModelDataUrl": TRAINED}],
                    "SupportedContentTypes": ["text/csv"],
                    "SupportedResponseMIMETypes": ["text/csv"],
                },
                "ModelMetrics": {
                    "ModelQuality": {
                        "Statistics": {
                            "ContentType": "application/json",
                            "S3Uri": join(EVALUATION, "evaluation.json", on="/"),
                        }
                    }
                },
                "MetadataProperties": {"CommitId": get("CommitId")},
                "CustomerMetadataProperties": {"CommitId": get("CommitId")},
            },
        },
    ],
}


class Project:
    """A project on a local cloud of its own, whose versions answer with their number."""

    def __init__(self, directory):
        self.directory = directory
        self.trained = 0
        self.mlops("init", "--local", "--name", NAME, "--yes")
        program = directory / "image/program"
        (directory / "image/requirements.txt").write_text("")
        (program / "evaluate").write_text(EVALUATE)
        (program / "serve").write_text(SERVE)
        (directory / "pipeline.json").write_text(json.dumps(PIPELINE))
        settings = directory / "mlops.toml"
        kept = [line for line in settings.read_text().splitlines() if not line.startswith("sample =")]
        settings.write_text("\n".join(without(kept, "[deploy]")) + DEPLOY)

    def environment(self):
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MLOPS_"))}
        identity = {f"GIT_{who}_{what}": "t@localhost" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        return {**kept, **identity, "MLOPS_CACHE_DIR": os.environ.get("MLOPS_CACHE_DIR", str(self.directory / ".cache"))}

    def start(self, *arguments):
        return subprocess.Popen(
            [BIN, *arguments],
            cwd=self.directory,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )

    def run(self, *arguments, code=0):
        """Runs a command to its end; returns (stdout, stderr)."""
        return self.ended(self.start(*arguments), code)

    def ended(self, process, code=0):
        stdout, stderr = process.communicate(timeout=300)
        assert process.returncode == code, f"{process.args}: {process.returncode}\n{stdout}\n{stderr}"
        return stdout, stderr

    def mlops(self, *arguments, code=0):
        return self.run(*arguments, code=code)

    def json(self, *arguments, code=0):
        return json.loads(self.run("--output", "json", *arguments, code=code)[0])

    def endpoint(self):
        return self.json("local", "status")["endpoint"]

    def client(self, service):
        made = boto3.client(
            service,
            endpoint_url=self.endpoint(),
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"max_attempts": 1}, read_timeout=120),
        )
        made.meta.events.register("after-call.*.*", watch)
        return made

    def train(self):
        """Registers the next version, which answers with its number."""
        self.trained += 1
        (self.directory / "image/program/train").write_text(TRAIN.replace("VERSION", str(self.trained)))
        for command in (["add", "-A"], ["commit", "-qm", f"version {self.trained}"]):
            subprocess.run(["git", *command], cwd=self.directory, env=self.environment(), check=True)
        self.mlops("image", "push")
        self.mlops("train")
        packages = self.client("sagemaker").list_model_packages(ModelPackageGroupName=NAME)
        assert len(packages["ModelPackageSummaryList"]) == self.trained

    def live(self):
        """What the endpoint serves: (configuration, response)."""
        sagemaker, runtime = self.client("sagemaker"), self.client("sagemaker-runtime")
        described = sagemaker.describe_endpoint(EndpointName=NAME)
        assert described["EndpointStatus"] == "InService", described
        body = runtime.invoke_endpoint(EndpointName=NAME, Body=b"1")["Body"].read()
        return described["EndpointConfigName"], int(body)

    def wait_for(self, what, found):
        """Waits in real time for what the local cloud does by itself."""
        for _ in range(1200):
            if value := found():
                return value
            time.sleep(0.05)
        raise AssertionError(f"{what} did not happen")

    def shifting(self):
        """Waits until a deployment watches its alarms."""
        sagemaker = self.client("sagemaker")

        def baking():
            with contextlib.suppress(sagemaker.exceptions.ClientError):
                described = sagemaker.describe_endpoint(EndpointName=NAME)
                pending = described.get("PendingDeploymentSummary", {})
                statuses = json.dumps(pending.get("ProductionVariants", []), default=str)
                return described["EndpointStatus"] == "Updating" and "Baking" in statuses

        self.wait_for("baking", baking)

    @contextlib.contextmanager
    def time_passing(self):
        """Advances the clock until the block ends."""
        ended = threading.Event()
        endpoint = self.endpoint()

        def pass_time():
            while not ended.wait(0.2):
                # A server that was killed has no clock.
                with contextlib.suppress(OSError):
                    clock.advance(endpoint, 60)

        thread = threading.Thread(target=pass_time)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def promote(self, *arguments, code=0):
        with self.time_passing():
            return self.run("--output", "json", "promote", "--yes", *arguments, code=code)


def without(lines, section):
    """The lines of a TOML file without a section."""
    kept, inside = [], False
    for line in lines:
        if line.startswith("["):
            inside = line.strip() == section
        if not inside:
            kept.append(line)
    return kept


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("releases"))
    yield project
    project.mlops("local", "stop")


def test_the_first_release(project):
    project.train()
    told = json.loads(project.promote("1")[0])
    assert (told["release"], told["version"], told["changed"]) == (1, 1, True)
    configuration, answer = project.live()
    assert (told["endpoint_configuration"], answer) == (configuration, 1)
    assert project.json("releases", "verify")["matches"] is True
    again = json.loads(project.promote("1")[0])
    assert again["changed"] is False, again


def test_a_canary_that_passes(project):
    project.train()
    before = project.live()[0]
    process = project.start("--output", "json", "promote", "2", "--yes")
    project.shifting()
    # Nothing but time ends the bake: the old configuration is still the endpoint's.
    assert project.client("sagemaker").describe_endpoint(EndpointName=NAME)["EndpointConfigName"] == before
    with project.time_passing():
        told = json.loads(project.ended(process)[0])
    assert told["release"] == 2
    assert project.live() == (told["endpoint_configuration"], 2)
    assert project.json("releases", "verify")["matches"] is True


def test_a_canary_whose_alarm_goes_off_is_rolled_back(project):
    project.train()
    live = project.live()
    process = project.start("promote", "3", "--yes")
    project.shifting()
    project.mlops("local", "inject", "http-500", NAME, "--count", "5")
    runtime = project.client("sagemaker-runtime")
    for _ in range(5):
        with pytest.raises(runtime.exceptions.ModelError):
            runtime.invoke_endpoint(EndpointName=NAME, Body=b"1")
    with project.time_passing():
        _, stderr = project.ended(process, code=1)
    assert "alarm rel-endpoint-errors-5xx: Threshold Crossed" in stderr, stderr
    # The last lines of the new container's log.
    assert "serving 3" in stderr, stderr
    assert project.live() == live
    status = project.json("status")
    assert "promote 3" not in json.dumps(status), status
    shown, _ = project.mlops("status")
    assert "promote 3" not in shown, shown
    outcomes = {release["release"]: release["outcome"] for release in project.json("releases", "list")["releases"]}
    assert outcomes == {1: "replaced", 2: "live", 3: "rolled-back"}
    # Nothing newer is left to promote, and nothing suggests the failed one.
    refused = project.run("promote", "--yes", code=1)
    assert "promote 3" not in refused[1], refused[1]


def test_a_silent_rollback_is_noticed_and_the_stack_is_brought_back(project):
    project.train()
    live = project.live()
    project.mlops("local", "inject", "silent-rollback", NAME)
    _, stderr = project.promote("4", code=1)
    assert project.live()[1] == live[1]
    stack = project.client("cloudformation").describe_stacks(StackName=f"{NAME}-endpoint")["Stacks"][0]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
    assert outputs["EndpointConfigName"] == project.live()[0], stderr
    assert outputs["ReleaseNumber"] == "2"
    assert project.json("releases", "verify")["matches"] is True


def test_the_client_is_killed_and_the_same_command_ends_the_release(project):
    project.train()
    process = project.start("promote", "5", "--yes")
    project.shifting()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    told = json.loads(project.promote("5")[0])
    assert told["version"] == 5
    numbers = [release["release"] for release in project.json("releases", "list")["releases"]]
    assert max(numbers) == told["release"] == 5
    assert project.live() == (told["endpoint_configuration"], 5)
    assert project.json("releases", "verify")["matches"] is True


def test_the_server_is_killed_while_traffic_shifts(project):
    project.train()
    live = project.live()
    process = project.start("promote", "6", "--yes")
    project.shifting()
    os.kill(project.json("local", "status")["pid"], signal.SIGKILL)
    process.kill()
    process.communicate()
    # The next server serves what was live, from one fleet.
    project.mlops("status")

    def settled():
        described = project.client("sagemaker").describe_endpoint(EndpointName=NAME)
        return described if described["EndpointStatus"] == "InService" else None

    with project.time_passing():
        described = project.wait_for("recovery", settled)
    assert described["EndpointConfigName"] == live[0]
    assert {project.live()[1] for _ in range(8)} == {5}
    told = json.loads(project.promote("6")[0])
    assert project.live() == (told["endpoint_configuration"], 6)
    assert project.json("releases", "verify")["matches"] is True


def test_a_rollback_by_hand(project):
    with project.time_passing():
        told = project.json("rollback", "--note", "worse than it looked", "--yes")
    assert told["version"] == 5
    assert project.live() == (told["endpoint_configuration"], 5)
    manifest = project.json("releases", "show")["manifest"]
    assert manifest["note"] == "worse than it looked"
    assert manifest["restores"] is not None
    assert project.json("releases", "verify")["matches"] is True
    # The version that was rolled back from is not suggested again.
    assert "promote 6" not in project.mlops("status")[0]


def test_a_rollback_to_a_release_whose_image_is_gone(project):
    live = project.live()
    releases = project.json("releases", "list")["releases"]
    second = next(release["release"] for release in releases if release["version"] == 2)
    digest = project.json("releases", "show", str(second))["manifest"]["image"]["digest"]
    project.client("ecr").batch_delete_image(repositoryName=NAME, imageIds=[{"imageDigest": digest}])
    _, stderr = project.run("rollback", "--to", str(second), "--yes", code=1)
    assert digest[:19] in stderr, stderr
    assert project.live() == live
    assert len(project.json("releases", "list")["releases"]) == len(releases)


def test_two_promotions_at_once(project):
    project.train()
    project.train()
    with project.time_passing():
        both = [project.start("--output", "json", "promote", version, "--yes") for version in ("7", "8")]
        ended = [process.communicate(timeout=300) for process in both]
    codes = [process.returncode for process in both]
    assert sorted(codes) == [0, 1], (codes, ended)
    winner, loser = (7, 8) if codes[0] == 0 else (8, 7)
    assert project.live()[1] == winner
    sagemaker = project.client("sagemaker")
    packages = sagemaker.list_model_packages(ModelPackageGroupName=NAME)["ModelPackageSummaryList"]
    approval = {package["ModelPackageVersion"]: package["ModelApprovalStatus"] for package in packages}
    assert (approval[winner], approval[loser]) == ("Approved", "PendingManualApproval")
    assert project.json("releases", "verify")["matches"] is True


def test_a_release_that_failed_after_its_client_was_killed_is_not_suggested(project):
    project.train()
    live = project.live()
    process = project.start("promote", str(project.trained), "--yes")
    project.shifting()
    process.kill()
    process.communicate()
    suggestion = f"promote {project.trained}"
    project.mlops("local", "inject", "http-500", NAME, "--count", "5")
    runtime = project.client("sagemaker-runtime")
    for _ in range(5):
        with pytest.raises(runtime.exceptions.ModelError):
            runtime.invoke_endpoint(EndpointName=NAME, Body=b"1")
    cfn = project.client("cloudformation")

    def rolled_back():
        stack = cfn.describe_stacks(StackName=f"{NAME}-endpoint")["Stacks"][0]
        return stack["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"

    with project.time_passing():
        project.wait_for("rollback", rolled_back)
    assert project.live() == live
    assert suggestion not in project.mlops("status")[0]


def test_verify_names_an_artifact_that_was_tampered_with(project):
    manifest = project.json("releases", "show")["manifest"]
    bucket, key = manifest["artifact"]["uri"].removeprefix("s3://").split("/", 1)
    assert bucket == ARTIFACTS
    project.client("s3").put_object(Bucket=bucket, Key=key, Body=b"something else")
    told = project.json("releases", "verify", code=3)
    assert told["matches"] is False
    assert any("artifact" in check["what"].lower() and check["problems"] for check in told["checks"]), told
