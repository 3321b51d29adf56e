"""Issue 12: what goes wrong on the way, and what a branch with an older image becomes."""

import os
import signal
import time
from pathlib import Path

import pytest
from delivery import delivered


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    for made in delivered(tmp_path_factory.mktemp("small")):
        made.execution("small-ml-develop", 0)
        made.succeeded("small-ml-develop", 1)
        yield made


def digest(version):
    """The digest of a version's image."""
    [container] = version["InferenceSpecification"]["Containers"]
    return container["Image"].rpartition("@")[2]


def described(project, summary):
    return project.client("sagemaker").describe_model_package(ModelPackageName=summary["ModelPackageArn"])


def test_a_role_without_a_permission_is_named_with_the_statement_to_add(project):
    iam = project.client("iam")
    name = {"RoleName": "small-ml-build", "PolicyName": "role"}
    policy = iam.get_role_policy(**name)["PolicyDocument"]
    without = [statement for statement in policy["Statement"] if statement["Sid"] != "CallValidation"]
    assert len(without) == len(policy["Statement"]) - 1
    project.put_policy(name, {**policy, "Statement": without})
    try:
        number = len(project.executions("small-ml-develop"))
        started = project.client("codepipeline").start_pipeline_execution(name="small-ml-develop")
        assert project.execution("small-ml-develop", number)["status"] == "Failed"
        why = project.mlops("runs", "why", started["pipelineExecutionId"])
    finally:
        project.put_policy(name, policy)
    missing = why["cause"]["permission"]
    assert (missing["role"], missing["action"]) == ("small-ml-build", "lambda:InvokeFunction"), why["cause"]
    assert missing["statement"]["Action"] == "lambda:InvokeFunction"
    assert missing["statement"]["Resource"].endswith(":function:small-validation")


def test_an_exception_in_the_training_script_is_found_with_its_line(project):
    runs = len(project.executions("small-ml-develop"))
    train = Path(project.directory, "image/program/train")
    working = train.read_text()
    train.write_text(working + "\nraise ValueError('the depth is negative')\n")
    line = len(train.read_text().splitlines())
    project.commit("A mistake")
    project.git("push", "-q", "codecommit", "HEAD:refs/heads/develop")
    failed = project.execution("small-ml-develop", runs)
    assert failed["status"] == "Failed"
    why = project.mlops("runs", "why", failed["pipelineExecutionId"])
    assert "the depth is negative" in why["cause"]["what"]
    location = why["cause"]["location"]
    assert location["file"].endswith("train") and location["line"] == line, location
    train.write_text(working)
    project.commit("The mistake is gone")


def test_an_image_with_a_critical_finding_starts_nothing(project):
    images = len(project.executions("small-image-develop"))
    critical = '{"findings": [{"name": "CVE-2026-0001", "severity": "CRITICAL"}]}'
    project.inject_findings(critical)
    [before] = project.client("ecr").describe_images(
        repositoryName="small", imageIds=[{"imageTag": "develop"}]
    )["imageDetails"]
    project.git("commit", "-q", "--allow-empty", "-m", "Vulnerable")
    project.git("push", "-q", "codecommit", "HEAD:refs/heads/develop")
    assert project.execution("small-image-develop", images)["status"] == "Failed"
    [after] = project.client("ecr").describe_images(
        repositoryName="small", imageIds=[{"imageTag": "develop"}]
    )["imageDetails"]
    assert after["imageDigest"] == before["imageDigest"]
    project.inject_findings('{"findings": []}')


def test_two_pushes_at_once_are_both_delivered(project):
    images, runs = (len(project.executions(f"small-{kind}-develop")) for kind in ("image", "ml"))
    commits = []
    for number in range(2):
        project.git("commit", "-q", "--allow-empty", "-m", f"Push {number}")
        commits.append(project.git("rev-parse", "HEAD"))
        project.git("push", "-q", "codecommit", "HEAD:refs/heads/develop")
    for number, commit in enumerate(commits):
        image = project.succeeded("small-image-develop", images + number)
        assert commit in {revision["revisionId"] for revision in image["sourceRevisions"]}
    # The images differ only in the commit that they record.
    versions = []
    for number in range(2):
        run = project.succeeded("small-ml-develop", runs + number)
        versions.append(project.mlops("runs", "show", run["pipelineExecutionId"])["model_version"])
    assert versions[1] == versions[0] + 1


def test_a_run_whose_server_was_killed_fails_and_is_completed_by_a_retry(project):
    runs = len(project.executions("small-ml-develop"))
    versions = len(project.versions())
    client = project.client("codepipeline")
    run = client.start_pipeline_execution(name="small-ml-develop")["pipelineExecutionId"]
    for _ in range(600):
        actions = client.list_action_executions(pipelineName="small-ml-develop")["actionExecutionDetails"]
        own = [action for action in actions if action["pipelineExecutionId"] == run]
        if any(action["actionName"] == "Train" for action in own):
            break
        time.sleep(0.1)
    else:
        raise AssertionError(project.story("small-ml-develop"))
    os.kill(project.mlops("local", "status")["pid"], signal.SIGKILL)
    # Every command starts it again.
    project.mlops("runs", "list")
    project.endpoint = project.mlops("local", "status")["endpoint"]
    failed = project.execution("small-ml-develop", runs)
    assert failed["status"] == "Failed", failed
    why = project.mlops("runs", "why", run)
    assert "the local cloud was stopped" in why["cause"]["what"], why
    project.mlops("runs", "retry", run)
    for _ in range(3000):
        if project.executions("small-ml-develop")[runs]["status"] == "Succeeded":
            break
        time.sleep(0.1)
    else:
        raise AssertionError(project.story("small-ml-develop"))
    assert len(project.versions()) == versions + 1


def test_a_branch_with_an_older_image_is_merged_back_by_pull_request(project):
    older = digest(described(project, project.versions()[0]))
    project.git("checkout", "-q", "-b", "feature/x")
    project.mlops("image", "pin", older)
    project.commit("Work with an older image")
    project.mlops("train")
    assert digest(described(project, project.versions()[-1])) == older

    project.mlops("image", "use", "newest")
    evaluate = Path(project.directory, "image/program/evaluate")
    evaluate.write_text(evaluate.read_text().replace("4.25", "2.5"))
    commit = project.commit("Better, with a new image")
    project.git("push", "-q", "codecommit", "HEAD:refs/heads/feature/x")
    images, runs = (len(project.executions(f"small-{kind}-develop")) for kind in ("image", "ml"))
    client = project.client("codecommit")
    request = client.create_pull_request(
        title="Better",
        targets=[{"repositoryName": "small", "sourceReference": "feature/x", "destinationReference": "develop"}],
    )["pullRequest"]["pullRequestId"]
    merged = client.merge_pull_request_by_fast_forward(
        pullRequestId=request, repositoryName="small", sourceCommitId=commit
    )
    assert merged["pullRequest"]["pullRequestStatus"] == "CLOSED"
    project.succeeded("small-image-develop", images)
    project.succeeded("small-ml-develop", runs)
    [pushed] = project.client("ecr").describe_images(
        repositoryName="small", imageIds=[{"imageTag": "develop"}]
    )["imageDetails"]
    newest = described(project, project.versions()[-1])
    assert newest["CustomerMetadataProperties"]["CommitId"] == commit
    assert digest(newest) == pushed["imageDigest"] != older
