"""Issue 12: a push starts everything. A small project of `mlops init` with its pipelines, driven with git and watched
with boto3: the pipelines, builds and runs work with the roles of its own stacks."""

import os
import time
from pathlib import Path

import pytest
from conftest import BIN
from delivery import delivered


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    yield from delivered(tmp_path_factory.mktemp("small"))


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
    own = project.execution("small-deploy", 2)
    assert own["status"] == "Stopped"
    log = project.run(BIN, "runs", "logs", own["pipelineExecutionId"], "Prepare").stdout
    assert "version 2 is live already, as release 2" in log, log
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
