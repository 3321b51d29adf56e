"""A complete pipeline with SageMaker Python SDK 2, in a separate environment (requirements-sdk2.txt)."""

import json
import os
import subprocess
import uuid
from pathlib import Path

import pytest

import images
import roles
import sdk_runs
from test_pipelines_registry import PROGRAMS

SCRIPT = Path(__file__).with_name("sdk2_pipeline.py")


@pytest.fixture(scope="module")
def told(cloud, client, environment, role):
    """Runs sdk2_pipeline.py; returns the JSON that it prints."""
    unique = f"sdk2-{uuid.uuid4().hex[:8]}"
    s3 = client("s3")
    s3.create_bucket(Bucket=unique)
    s3.put_object(Bucket=unique, Key="in/a.csv", Body=b"1,2\n3,4\n")
    client("ecr").create_repository(repositoryName=unique)
    image = images.push(cloud, client("ecr"), unique, PROGRAMS)
    client("sagemaker").create_model_package_group(ModelPackageGroupName=unique)
    python = os.environ.get("MLOPS_SDK2_PYTHON")
    assert python, "MLOPS_SDK2_PYTHON names the Python with requirements-sdk2.txt (.ci/run makes it)"
    done = subprocess.run(
        [python, SCRIPT, unique, image, role, unique, unique],
        env={**environment, "HOME": os.environ["HOME"]},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def role(client):
    return roles.make(client("iam"), *roles.EXECUTION, *roles.PIPELINE)


def test_the_first_run_does_everything(told):
    sdk_runs.require_everything(told, "Register-RegisterModel")


def test_issue_8_3_3_the_second_run_reuses_the_first_ones_results(told):
    sdk_runs.require_reuse(told, "Register-RegisterModel")


def test_issue_8_3_3_a_changed_argument_runs_again(told):
    sdk_runs.require_new_results(told)


def test_a_gate_that_refuses_ends_in_the_fail_step(told):
    sdk_runs.require_refusal(told)


def test_issue_8_3_4_the_sdks_classes_can_read_the_jobs(told):
    attached = told["attached"]
    assert attached["model"].startswith("s3://") and attached["model"].endswith("/model.tar.gz")
    assert attached["kms"] == ""
    assert attached["hyperparameters"]["depth"] == "3"
    assert told["outputs"][0].endswith("/train")
