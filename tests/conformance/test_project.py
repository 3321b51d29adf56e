"""Issue 8, 5.3 and 5.9: other clients using `mlops local env`, and the CI files of a new project."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from conftest import BIN

SCAFFOLD = Path(__file__).parents[2] / "src/scaffold/files"
AWS = Path(sys.executable).parent / "aws"


@pytest.mark.parametrize(
    "client",
    [
        f"'{sys.executable}' -c 'import boto3; print(boto3.client(\"sts\").get_caller_identity()[\"Account\"])'",
        f"'{AWS}' sts get-caller-identity --query Account --output text",
    ],
)
def test_issue_8_5_3_a_shell_uses_the_local_cloud(cloud, state, client):
    # Existing variables must not win: a profile that does not exist, a session of a different
    # account.
    environment = {
        **os.environ,
        "AWS_PROFILE": "nowhere",
        "AWS_SESSION_TOKEN": "real",
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
    }
    script = f"eval \"$('{BIN}' local env --state '{state}')\" && {client}"
    ran = subprocess.run(["sh", "-eu", "-c", script], env=environment, capture_output=True, text=True)
    assert ran.stdout.strip() == "000000000000", ran.stderr
    assert cloud in ran.stderr


def scripts():
    """Returns the commands of both CI files that call the project's scripts."""
    github = yaml.safe_load((SCAFFOLD / "github/workflows/mlops.yml").read_text())
    # YAML 1.1 parses the key `on` as a boolean.
    assert set(github[True]) == {"push", "pull_request", "workflow_dispatch"}
    for job in github["jobs"].values():
        yield from (step["run"] for step in job["steps"] if "run" in step)
    gitlab = yaml.safe_load((SCAFFOLD / "gitlab-ci.yml").read_text())
    assert gitlab["train"]["variables"]["BRANCH"] == "$CI_COMMIT_BRANCH"
    for job in gitlab["stages"]:
        assert gitlab[job]["stage"] == job
        yield from gitlab[job]["script"]
    yield from gitlab["default"]["before_script"]


def test_issue_8_5_9_ci_files_call_the_projects_scripts():
    found = list(scripts())
    # In GitHub's workflow, an action signs in.
    calls = {"test": 2, "pipeline": 2, "train": 2, "promote": 2, "sign-in": 2}
    for script, count in calls.items():
        assert found.count(f"ci/{script}.sh") == count, script
        assert os.access(SCAFFOLD / f"ci/{script}.sh", os.X_OK)
    for script in found:
        subprocess.run(["sh", "-n", "-c", script], check=True)
