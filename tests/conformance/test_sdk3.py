"""A complete pipeline with SageMaker Python SDK 3, in a separate environment (requirements-sdk3.txt)."""

import io
import json
import os
import subprocess
import tarfile
import uuid
from pathlib import Path

import pytest

import images
import roles
import sdk_runs
from test_pipelines_registry import PROGRAMS

SCRIPT = Path(__file__).with_name("sdk3_pipeline.py")

# What SDK 3 requires of the role of any training job, in addition to EXECUTION.
NETWORK = [
    "ec2:CreateNetworkInterface", "ec2:CreateNetworkInterfacePermission", "ec2:DeleteNetworkInterface",
    "ec2:DeleteNetworkInterfacePermission", "ec2:DescribeDhcpOptions", "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSecurityGroups", "ec2:DescribeSubnets", "ec2:DescribeVpcs",
]

# What SDK 3 calls with the caller's credentials, in addition to EXECUTION and PIPELINE.
CALLER = ["iam:GetRole", "iam:SimulatePrincipalPolicy", "logs:DescribeLogStreams", "logs:GetLogEvents"]


@pytest.fixture(scope="module")
def name(client):
    """The name of the bucket, the repository and the model package group; NAME-code is a second bucket."""
    name = f"sdk3-{uuid.uuid4().hex[:8]}"
    s3 = client("s3")
    s3.create_bucket(Bucket=name)
    s3.create_bucket(Bucket=f"{name}-code")
    s3.put_object(Bucket=name, Key="in/a.csv", Body=b"1,2\n3,4\n")
    s3.put_object(Bucket=name, Key="direct/all.csv", Body=b"5,6\n")
    client("ecr").create_repository(repositoryName=name)
    client("sagemaker").create_model_package_group(ModelPackageGroupName=name)
    return name


@pytest.fixture(scope="module")
def role(client):
    """The role of the caller, the pipeline and the jobs."""
    return roles.make(client("iam"), *roles.EXECUTION, *roles.PIPELINE, roles.allow(NETWORK), roles.allow(CALLER))


@pytest.fixture(scope="module")
def narrow(client, name):
    """A role for jobs that may not write to NAME-code."""
    denied = roles.deny("s3:PutObject", f"arn:aws:s3:::{name}-code/*")
    return roles.make(client("iam"), *roles.EXECUTION, roles.allow(NETWORK), denied)


@pytest.fixture(scope="module")
def weak(client):
    """A role for jobs without the permissions that the SDK requires."""
    return roles.make(client("iam"), *roles.EXECUTION)


@pytest.fixture(scope="module")
def told(cloud, client, environment, name, role, narrow, weak):
    """Runs sdk3_pipeline.py; returns the JSON that it prints."""
    image = images.push(cloud, client("ecr"), name, PROGRAMS)
    python = os.environ.get("MLOPS_SDK3_PYTHON")
    assert python, "MLOPS_SDK3_PYTHON names the Python with requirements-sdk3.txt (.ci/run makes it)"
    session = roles.assume(client, cloud, role, "notebook")
    done = subprocess.run(
        [python, SCRIPT, name, image, role, narrow, weak],
        env={**environment, **session.environment, "HOME": os.environ["HOME"]},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def trained(client):
    """Returns the files in the archive of a model."""

    def read(uri):
        bucket, key = uri.removeprefix("s3://").split("/", 1)
        body = client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
        with tarfile.open(fileobj=io.BytesIO(body)) as archive:
            files = [member for member in archive.getmembers() if member.isfile()]
            return {member.name.removeprefix("./"): archive.extractfile(member).read() for member in files}

    return read


def decisions(told, role, action):
    """Resources and decisions about an action of a role, in the SDK's calls of SimulatePrincipalPolicy."""
    return {
        (resource, decision)
        for request in told["simulated"]
        if request["PolicySourceArn"] == role
        for resource in request["ResourceArns"] or ["*"]
        for name, decision in zip(request["ActionNames"], request["decisions"], strict=True)
        if name == action
    }


def test_the_first_run_does_everything(told):
    sdk_runs.require_everything(told, "Create", "Register")


def test_the_second_run_reuses_the_first_ones_results(told):
    sdk_runs.require_reuse(told, "Register")


def test_a_changed_argument_runs_again(told):
    sdk_runs.require_new_results(told)


def test_a_gate_that_refuses_ends_in_the_fail_step(told):
    assert "Register" not in sdk_runs.require_refusal(told)


def test_the_training_step_runs_the_source_code(told, trained, role):
    job = told["trained"]
    assert job["status"] == "Completed" and job["role"] == role
    assert job["channels"] == ["code", "sm_drivers", "train"]
    assert job["hyperparameters"] == {"mode": "good", "depth": "3"}
    assert trained(job["model"]) == {"model.txt": b"1,2\n3,4\n", "depth.json": b"3"}
    assert told["outputs"][0].endswith("/Prepare/output/train")


def test_a_model_trainer_trains_without_a_pipeline(told, trained, role):
    job = told["direct"]
    assert job["status"] == "Completed" and job["role"] == role
    assert trained(job["model"]) == {"model.txt": b"5,6\n", "depth.json": b"5"}
    assert "training in mode good on algo-1 of ml.m5.large" in job["log"]


def test_a_failed_job_is_an_error_with_its_reason(told):
    failed = told["failed"]
    assert "AlgorithmError" in failed["failure"] and "train.py" in failed["failure"]
    assert "the column is missing" in failed["log"]


def test_the_sdk_checks_the_roles_with_the_policy_simulator(told, role, weak):
    for action in [*NETWORK, "ecr:GetAuthorizationToken", "cloudwatch:PutMetricData"]:
        assert decisions(told, role, action) == {("*", "allowed")}, action
    for action in NETWORK:
        assert decisions(told, weak, action) == {("*", "implicitDeny")}, action
    refusal = told["refusal"].splitlines()
    assert refusal[0] == f"IAM role '{weak}' cannot be used for 'training' workloads."
    assert refusal[1] == "Missing permissions: " + ", ".join(NETWORK)
    assert told["unchecked"] is None


def test_the_sdk_chooses_the_bucket_of_the_code_with_the_policy_simulator(told, name, role, narrow):
    everything = f"arn:aws:s3:::{name}-code/*"
    assert (everything, "allowed") in decisions(told, role, "s3:PutObject")
    assert decisions(told, narrow, "s3:PutObject") == {(everything, "explicitDeny")}
    assert told["staged"] == {role: [f"{name}-code"], narrow: [name]}
