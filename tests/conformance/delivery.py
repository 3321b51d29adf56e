"""A small project of `mlops init` with its pipelines on a local cloud of its own, driven with git and watched with
boto3."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import boto3
from conftest import BIN, watch

SMALL = Path(__file__).parents[1] / "small"
OVER = {"Succeeded", "Failed", "Stopped", "Superseded", "Cancelled"}
UNITTEST = """import unittest


class Nothing(unittest.TestCase):
    def test_the_trainer_writes_a_model(self):
        with open("image/program/train") as file:
            self.assertIn("weights.txt", file.read())
"""


class Project:
    """A project with its own local cloud."""

    def __init__(self, directory):
        self.directory = directory
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "GIT_", "MLOPS_LOCAL"))}
        self.environment = kept | {"GIT_TERMINAL_PROMPT": "0"}

    def run(self, *command):
        return subprocess.run(
            command, cwd=self.directory, env=self.environment, capture_output=True, text=True, timeout=300
        )

    def mlops(self, *arguments, code=0):
        ran = self.run(BIN, *arguments, "--output", "json")
        assert ran.returncode == code, f"{arguments}: {ran.returncode}\n{ran.stdout}\n{ran.stderr}"
        return json.loads(ran.stdout)

    def git(self, *arguments):
        ran = self.run("git", "-c", "user.name=t", "-c", "user.email=t@localhost", *arguments)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.strip()

    def write(self, path, text):
        with open(Path(self.directory, path), "w") as file:
            file.write(text)

    def commit(self, message):
        self.git("add", "-A")
        self.git("commit", "-qm", message)
        return self.git("rev-parse", "HEAD")

    def client(self, service):
        made = boto3.client(
            service, endpoint_url=self.endpoint, region_name="us-east-1", aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        made.meta.events.register("after-call.*.*", watch)
        return made

    def executions(self, pipeline):
        """The executions of a pipeline, oldest first."""
        found = self.client("codepipeline").list_pipeline_executions(pipelineName=pipeline)
        return list(reversed(found["pipelineExecutionSummaries"]))

    def execution(self, pipeline, number):
        """Waits until the execution with this number, from 0, is over."""
        for _ in range(3000):
            found = self.executions(pipeline)
            if len(found) > number and found[number]["status"] in OVER:
                return found[number]
            time.sleep(0.1)
        raise AssertionError(f"{pipeline} {number} does not end: {found}\n{self.story(pipeline)}")

    def story(self, pipeline):
        """What happened in a pipeline, with the logs of the builds that failed."""
        actions = self.client("codepipeline").list_action_executions(pipelineName=pipeline)["actionExecutionDetails"]
        lines = []
        for action in actions:
            result = action.get("output", {}).get("executionResult", {})
            lines.append(f"{action['stageName']}.{action['actionName']}: {action['status']} {result}")
            build = result.get("externalExecutionId", "")
            if action["status"] == "Failed" and ":" in build:
                group, stream = build.split(":")
                log = self.client("logs").get_log_events(
                    logGroupName=f"/aws/codebuild/{group}", logStreamName=stream, startFromHead=True
                )
                lines.extend("    " + event["message"].rstrip() for event in log["events"])
        return "\n".join(lines)

    def succeeded(self, pipeline, number):
        execution = self.execution(pipeline, number)
        assert execution["status"] == "Succeeded", self.story(pipeline)
        return execution

    def inject_findings(self, findings):
        """What scans find in each image from now on."""
        self.write("findings.json", findings)
        self.mlops("local", "inject", "scan", "--repository", "small", "findings.json")
        os.remove(Path(self.directory, "findings.json"))

    def put_policy(self, name, document):
        """Replaces an inline policy of a role, as CloudFormation would."""
        self.client("iam").put_role_policy(**name, PolicyDocument=json.dumps(document))

    def answer(self):
        """What the endpoint predicts."""
        runtime = self.client("sagemaker-runtime")
        return runtime.invoke_endpoint(EndpointName="small", Body=b"1,2")["Body"].read()

    def waits_for_review(self):
        """Waits until a deployment waits for a person."""
        for _ in range(600):
            if any(waiting["run"] for waiting in self.mlops("status")["waiting"]):
                return
            time.sleep(0.1)
        raise AssertionError(self.story("small-deploy"))

    def releases(self):
        """The number, the version and the outcome of each release, newest first."""
        listed = self.mlops("releases", "list")["releases"]
        return [(release["release"], release["version"], release["outcome"]) for release in listed]

    def versions(self):
        listed = self.client("sagemaker").list_model_packages(
            ModelPackageGroupName="small", SortBy="CreationTime", SortOrder="Ascending"
        )
        return listed["ModelPackageSummaryList"]


def delivered(directory):
    """A project whose pipelines have run once, for the commit with which they were added."""
    made = Project(directory)
    made.mlops("init", "--local", "--name", "small", "--yes")
    try:
        made.endpoint = made.mlops("local", "status")["endpoint"]
        for name in ("train", "serve"):
            shutil.copy(SMALL / name, Path(made.directory, "image/program"))
        made.write("image/program/evaluate", (SMALL / "evaluate").read_text().replace("RMSE", "4.25"))
        made.write("image/requirements.txt", "")
        made.write("tests/test_program.py", UNITTEST)
        shutil.copy(SMALL / "pipeline.json", made.directory)
        settings = Path(made.directory, "mlops.toml").read_text().replace("sample =", "# sample =")
        made.write("mlops.toml", settings + "\n[delivery]\n")
        made.mlops("validate", "--suggest", "data/train/flights.csv")
        made.commit("A small project that delivers")
        made.mlops("data", "push", "data/train", "small")
        made.inject_findings('{"findings": []}')
        made.git("push", "-q", "codecommit", "HEAD:refs/heads/develop")
        made.mlops("init", "--yes")
        yield made
    finally:
        made.run(BIN, "local", "stop")
