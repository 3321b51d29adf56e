"""Issue 12: a push starts everything. A small project of `mlops init` with its pipelines, driven with git and watched
with boto3: the pipelines, builds and runs work with the roles of its own stacks."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import boto3
import pytest

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


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project whose pipelines have run once, for the commit with which they were added."""
    made = Project(tmp_path_factory.mktemp("small"))
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
        made.write("findings.json", '{"findings": []}')
        made.mlops("local", "inject", "scan", "--repository", "small", "findings.json")
        os.remove(Path(made.directory, "findings.json"))
        made.git("push", "-q", "codecommit", "HEAD:refs/heads/develop")
        made.mlops("init", "--yes")
        yield made
    finally:
        made.run(BIN, "local", "stop")


def test_new_pipelines_deliver_the_head_of_their_branch(project):
    execution = project.succeeded("small-image-develop", 0)
    assert execution["trigger"]["triggerType"] == "CreatePipeline"
    # When the second pipeline was created, there was no image yet.
    assert project.execution("small-ml-develop", 0)["status"] == "Failed"
    execution = project.succeeded("small-ml-develop", 1)
    assert execution["trigger"]["triggerType"] == "CloudWatchEvent"
    [version] = project.versions()
    assert version["ModelApprovalStatus"] == "PendingManualApproval"


def test_a_push_becomes_a_version_with_its_commit_and_its_image(project):
    number = len(project.executions("small-image-develop"))
    runs = len(project.executions("small-ml-develop"))
    evaluate = Path(project.directory, "image/program/evaluate")
    evaluate.write_text(evaluate.read_text().replace("4.25", "3.5"))
    # It starts so slowly that the deploy pipeline, too, sees its promotion.
    serve = Path(project.directory, "image/program/serve")
    serve.write_text(serve.read_text().replace("import ", "import time; time.sleep(5)\nimport ", 1))
    commit = project.commit("A better model")
    project.git("push", "-q", "codecommit", "HEAD:refs/heads/develop")

    image = project.succeeded("small-image-develop", number)
    revisions = {revision["actionName"]: revision["revisionId"] for revision in image["sourceRevisions"]}
    assert revisions["Code"] == commit
    [pushed] = project.client("ecr").describe_images(
        repositoryName="small", imageIds=[{"imageTag": commit}]
    )["imageDetails"]

    run = project.succeeded("small-ml-develop", runs)
    revisions = {revision["actionName"]: revision["revisionId"] for revision in run["sourceRevisions"]}
    assert revisions["Image"] == pushed["imageDigest"]
    # An image has two tags, and each of them is an event.
    assert len(project.executions("small-ml-develop")) == runs + 1
    version = project.client("sagemaker").describe_model_package(
        ModelPackageName=project.versions()[-1]["ModelPackageArn"]
    )
    assert version["CustomerMetadataProperties"]["CommitId"] == commit
    [container] = version["InferenceSpecification"]["Containers"]
    assert container["Image"].endswith(pushed["imageDigest"])


def test_an_approved_version_is_deployed_and_proven(project):
    # A new pipeline starts once, and deploys nothing then.
    created = project.execution("small-deploy", 0)
    assert (created["status"], created["trigger"]["triggerType"]) == ("Stopped", "CreatePipeline")
    project.mlops("models", "approve", "1")
    execution = project.succeeded("small-deploy", 1)
    assert execution["trigger"]["triggerType"] == "CloudWatchEvent"
    assert project.releases() == [(1, 1, "live")]
    assert project.answer() == b"1\n"
    # The role of the builds claimed and proved it, the deployer's changed the endpoint.
    shown = project.mlops("releases", "show", "1")
    assert ":assumed-role/small-deploy-build/" in shown["manifest"]["created_by"]
    [stack] = project.client("cloudformation").describe_stacks(StackName="small-endpoint")["Stacks"]
    assert stack["RoleARN"].endswith(":role/small-deployer")
    run = project.mlops("runs", "show", execution["pipelineExecutionId"])
    assert run["model_version"] == 1


def test_a_promotion_deploys_by_itself_however_many_events_arrive(project):
    promoted = project.mlops("promote", "2", "--yes")
    assert promoted["version"] == 2 and promoted["approved_now"] and promoted["changed"]
    # Its own approval was an event.
    assert project.execution("small-deploy", 2)["status"] == "Stopped"
    client = project.client("codepipeline")
    # So is a repeated one, and the approval of a version that is older by now.
    for number, version in ((3, "2"), (4, "1")):
        client.start_pipeline_execution(name="small-deploy", variables=[{"name": "Version", "value": version}])
        assert project.execution("small-deploy", number)["status"] == "Stopped"
    assert project.releases() == [(2, 2, "live"), (1, 1, "replaced")]
    # The stages that a release sets are no approvals.
    assert len(project.executions("small-deploy")) == 5


def test_a_push_to_a_branch_without_rules_starts_nothing(project):
    before = len(project.executions("small-image-develop"))
    project.git("push", "-q", "codecommit", "HEAD:refs/heads/other")
    # The next push to develop is delivered after everything that this one could have started.
    project.git("commit", "-q", "--allow-empty", "-m", "Nothing new")
    commit = project.git("rev-parse", "HEAD")
    project.git("push", "-q", "codecommit", "HEAD:refs/heads/develop")
    project.succeeded("small-image-develop", before)
    found = project.executions("small-image-develop")
    assert len(found) == before + 1
    assert commit in {revision["revisionId"] for revision in found[-1]["sourceRevisions"]}


def test_bad_data_is_not_trained_on(project):
    project.execution("small-ml-develop", len(project.executions("small-ml-develop")) - 1)
    runs = len(project.executions("small-ml-develop"))
    versions = len(project.versions())
    project.mlops("data", "push", "data/spoiled.csv", "small")
    project.client("codepipeline").start_pipeline_execution(name="small-ml-develop")
    assert project.execution("small-ml-develop", runs)["status"] == "Failed"
    actions = project.client("codepipeline").list_action_executions(pipelineName="small-ml-develop")
    newest = actions["actionExecutionDetails"][0]
    assert (newest["stageName"], newest["status"]) == ("Validate", "Failed"), project.story("small-ml-develop")
    assert len(project.versions()) == versions
    project.mlops("data", "push", "data/train", "small")


def test_a_deployment_is_reviewed_if_the_settings_say_so(project):
    settings = Path(project.directory, "mlops.toml").read_text()
    project.write("mlops.toml", settings.replace("[delivery]", "[delivery]\nreview = true"))
    project.mlops("init", "--yes")
    # A second version that was never live.
    project.mlops("train")
    *_, rejected, approved = (version["ModelPackageVersion"] for version in project.versions())
    before = len(project.executions("small-deploy"))
    live = project.releases()
    # Both are approved before the first one is reviewed: the second one waits for its turn.
    project.mlops("models", "approve", str(rejected))
    project.waits_for_review()
    project.mlops("models", "approve", str(approved))
    assert [release[2] for release in project.releases()][0] == "in-progress"
    changes = project.client("cloudformation").describe_change_set(
        StackName="small-endpoint", ChangeSetName="small-deploy"
    )
    assert changes["ExecutionStatus"] == "AVAILABLE"
    project.mlops("reject", "--note", "not this one")
    assert project.execution("small-deploy", before)["status"] == "Failed"

    project.waits_for_review()
    assert project.releases()[1:] == [(live[0][0] + 1, rejected, "abandoned"), *live]
    project.mlops("approve", "--note", "looks right")
    project.succeeded("small-deploy", before + 1)
    assert project.releases()[0][1:] == (approved, "live")
    project.write("mlops.toml", settings)
    project.mlops("init", "--yes")


def test_a_deployment_that_fails_is_rolled_back_and_not_repeated(project):
    number = len(project.executions("small-image-develop"))
    runs = len(project.executions("small-ml-develop"))
    before = len(project.executions("small-deploy"))
    serve = Path(project.directory, "image/program/serve")
    working = serve.read_text()
    serve.write_text("#!/usr/bin/env python3\nraise SystemExit('this model cannot be loaded')\n")
    project.commit("A model that does not start")
    project.git("push", "-q", "codecommit", "HEAD:refs/heads/develop")
    project.succeeded("small-image-develop", number)
    project.succeeded("small-ml-develop", runs)
    serve.write_text(working)
    live = project.releases()
    version = project.versions()[-1]["ModelPackageVersion"]
    project.mlops("models", "approve", str(version))
    failed = project.execution("small-deploy", before)
    assert failed["status"] == "Failed", project.story("small-deploy")
    assert project.answer() == b"1\n"
    why = project.mlops("runs", "why", failed["pipelineExecutionId"])
    assert why["cause"], why
    # Another event for it finds what happened in the stack's events.
    client = project.client("codepipeline")
    client.start_pipeline_execution(name="small-deploy", variables=[{"name": "Version", "value": str(version)}])
    assert project.execution("small-deploy", before + 1)["status"] == "Stopped"
    assert project.releases() == [(live[0][0] + 1, version, "in-progress"), *live]
    none = project.run(BIN, "promote", "--yes")
    assert none.returncode == 1 and f"release {live[0][0] + 1} failed to deploy" in none.stderr, none.stderr


def test_branches_come_and_go_with_the_settings(project):
    cfn = project.client("cloudformation")
    settings = Path(project.directory, "mlops.toml").read_text()
    project.write("mlops.toml", settings.replace("[delivery]", '[delivery]\nbranches = ["develop", "feature/x"]'))
    planned = project.mlops("plan", code=3)
    effects = {stack["stack"]: stack["effect"] for stack in planned["stacks"]}
    assert effects["small-delivery-feature-x"] == "create"
    assert effects["small-delivery-develop"] == effects["small-validation"] == "unchanged"
    project.mlops("init", "--yes")
    assert project.executions("small-image-feature-x")
    project.write("mlops.toml", settings)
    effects = {stack["stack"]: stack["effect"] for stack in project.mlops("plan", code=3)["stacks"]}
    assert effects["small-delivery-feature-x"] == "delete"
    project.mlops("init", "--yes")
    names = {stack["StackName"] for stack in cfn.describe_stacks()["Stacks"]}
    assert "small-delivery-develop" in names and "small-delivery-feature-x" not in names
    assert project.mlops("plan")["stacks"]


def test_everything_can_be_removed(project):
    removed = project.mlops("destroy", "--delete-data", "--yes")
    assert removed["left"] == []
    assert project.client("codepipeline").list_pipelines()["pipelines"] == []
    assert project.client("codebuild").list_projects()["projects"] == []
