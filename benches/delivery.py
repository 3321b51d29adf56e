#!/usr/bin/env python3
"""Measures the delivery of a push on the local cloud: from `git push` to the model version, and to the endpoint.

usage: PYTHON benches/delivery.py MLOPS        PYTHON has boto3 and pytest (tests/conformance/requirements.txt)

Creates the small project of the conformance tests in a temporary directory, with its pipelines, and prints the medians
of a few pushes:
  - from the end of `git push` to the start of the build of the image;
  - from the end of that build to the start of the ML pipeline: negative, because the image's event comes before it;
  - from `git push` to the version, and how much of it is not spent in the commands of builds: what the events, the
    pipelines and the preparation of builds take;
  - the same for the deployment, from the approval to the proof.
Takes about two minutes with an optimized program.
"""

import os
import pathlib
import statistics
import sys
import tempfile
import time

os.environ["MLOPS_BIN"] = os.path.abspath(sys.argv[1])
sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests/conformance"))
sys.stdout.reconfigure(line_buffering=True)
from delivery import delivered  # noqa: E402

PUSHES = 3
COMMANDS = {"INSTALL", "PRE_BUILD", "BUILD", "POST_BUILD"}


def actions(project, pipeline, execution):
    listed = project.client("codepipeline").list_action_executions(
        pipelineName=pipeline, filter={"pipelineExecutionId": execution["pipelineExecutionId"]}
    )
    return listed["actionExecutionDetails"]


def in_commands(project, actions):
    """The seconds that the commands of the builds, and the deployment, took."""
    ids, seconds = [], 0.0
    for action in actions:
        kind = action["input"]["actionTypeId"]["provider"]
        if kind == "CodeBuild":
            ids.append(action["output"]["executionResult"]["externalExecutionId"])
        elif kind == "CloudFormation":
            seconds += (action["lastUpdateTime"] - action["startTime"]).total_seconds()
    for build in project.client("codebuild").batch_get_builds(ids=ids)["builds"]:
        for phase in build["phases"]:
            if phase["phaseType"] in COMMANDS:
                seconds += (phase["endTime"] - phase["startTime"]).total_seconds()
    return seconds


def main(project):
    project.execution("small-ml-develop", 0)
    project.succeeded("small-ml-develop", 1)
    figures = {"push to build": [], "image to ML pipeline": [], "push to version": [], "of it not in commands": []}
    for number in range(PUSHES):
        images, runs = (len(project.executions(f"small-{kind}-develop")) for kind in ("image", "ml"))
        project.git("commit", "-q", "--allow-empty", "-m", f"Push {number}")
        project.git("push", "-q", "codecommit", "HEAD:refs/heads/develop")
        pushed = time.time()
        image = project.succeeded("small-image-develop", images)
        run = project.succeeded("small-ml-develop", runs)
        steps = actions(project, "small-image-develop", image)
        build = next(action for action in steps if action["actionName"] == "Build")
        figures["push to build"].append(build["startTime"].timestamp() - pushed)
        # The branch's tag is the last thing that the build writes.
        figures["image to ML pipeline"].append((run["startTime"] - build["lastUpdateTime"]).total_seconds())
        whole = run["lastUpdateTime"].timestamp() - pushed
        figures["push to version"].append(whole)
        all_steps = steps + actions(project, "small-ml-develop", run)
        figures["of it not in commands"].append(whole - in_commands(project, all_steps))
    deployments = {"approval to proof": [], "of it not in commands": []}
    versions = [version["ModelPackageVersion"] for version in project.versions()]
    for version in versions[-PUSHES:]:
        number = len(project.executions("small-deploy"))
        project.mlops("models", "approve", str(version))
        approved = time.time()
        run = project.succeeded("small-deploy", number)
        whole = run["lastUpdateTime"].timestamp() - approved
        deployments["approval to proof"].append(whole)
        steps = actions(project, "small-deploy", run)
        deployments["of it not in commands"].append(whole - in_commands(project, steps))
    for group in (figures, deployments):
        for name, values in group.items():
            print(f"{name:<24} {statistics.median(values):6.2f} s  ({', '.join(f'{value:.2f}' for value in values)})")


with tempfile.TemporaryDirectory() as directory:
    for made in delivered(directory):
        main(made)
