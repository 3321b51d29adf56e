"""No member of a request is dropped: the tables of crates/pipeline/src/shapes are AWS's, and every member is accounted for."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

ROOT = Path(__file__).parents[2]
SHAPES = ROOT / "crates/pipeline/src/shapes"
LISTS = ROOT / "crates/local-cloud/src/requests"
SERVICES = [path.stem for path in SHAPES.glob("*.txt")]


def listed(name):
    """Parses one of the two lists: (service, operation) -> members."""
    found = {}
    for line in (LISTS / f"{name}.txt").read_text().splitlines():
        if not line.startswith("#"):
            service, operation, *members = line.split(" ")
            found.setdefault((service, operation), set()).update(members)
    return found


def test_the_tables_are_those_of_this_botocore():
    made = subprocess.run(
        [sys.executable, ROOT / "tools/api_shapes.py", "--check"], capture_output=True, text=True
    )
    assert made.returncode == 0, made.stdout + made.stderr


def snake(name):
    return re.sub(r"(?<!^)(?=[A-Z][a-z])|(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


@pytest.mark.parametrize("service", SERVICES)
def test_issue_8_4_1_every_member_is_read_rejected_or_harmless(service):
    """A member that no source file of the service names is in unsupported.txt or harmless.txt."""
    page = (ROOT / "docs/local-cloud.md").read_text()
    names = re.search(rf"^\*\*{service}\*\* \(\d+\): (.+)$", page, re.MULTILINE).group(1).split(", ")
    local = ROOT / "crates/local-cloud/src"
    module = service.replace("-", "_")
    files = [local / f"{module}.rs", *(local / module).rglob("*.rs")]
    source = "".join(path.read_text() for path in files if path.exists())
    inputs, members = {}, {}
    for line in (SHAPES / f"{service}.txt").read_text().splitlines():
        kind, name, *words = line.split(" ")
        if kind == ">":
            inputs[name] = words[0]
        elif kind == "{":
            members[name] = [word.split("=")[0].rstrip("!~") for word in words if word]
    lists = [listed("unsupported"), listed("harmless")]
    lost = []
    for operation in names:
        known = set().union(*(each.get((service, of), set()) for each in lists for of in ("*", operation)))
        for member in members.get(inputs[operation], []):
            if member not in known and f'"{member}"' not in source and f"{snake(member)}:" not in source:
                lost.append(f"{operation}.{member}")
    assert not lost, "neither read nor in a list: " + ", ".join(lost)


@pytest.fixture
def unchecked(client):
    """Returns a client that sends requests without validation."""
    return lambda service: client(service, config=Config(parameter_validation=False, retries={"max_attempts": 1}))


def refusal(call, **arguments):
    with pytest.raises(ClientError) as raised:
        call(**arguments)
    return raised.value.response["Error"]


def test_issue_8_4_1_a_value_of_a_wrong_type_is_rejected_in_each_protocol(unchecked):
    sagemaker = unchecked("sagemaker")
    wrong = refusal(sagemaker.describe_model, ModelName=5)
    assert wrong["Code"] == "SerializationException"
    assert wrong["Message"] == "NUMBER_VALUE can not be converted to a String (at ModelName)"
    assert refusal(sagemaker.list_models, MaxResults="5")["Code"] == "SerializationException"
    tags = [{"Key": "a", "Value": 1}]
    wrong = refusal(sagemaker.add_tags, ResourceArn="arn:aws:sagemaker:us-east-1:0:x/y", Tags=tags)
    assert "(at Tags[0].Value)" in wrong["Message"]
    logs = unchecked("logs")
    assert refusal(logs.create_log_group, logGroupName=["g"])["Code"] == "SerializationException"
    assert refusal(unchecked("kms").create_key, Description=5)["Code"] == "SerializationException"
    assert refusal(unchecked("ecr").create_repository, repositoryName=5)["Code"] == "SerializationException"
    assert refusal(unchecked("ec2").describe_vpcs, MaxResults="five")["Code"] == "InvalidParameterValue"
    roles = refusal(unchecked("iam").list_roles, MaxItems="five")
    assert roles["Code"] == "ValidationError"


def test_issue_8_4_1_unsupported_members_are_rejected_by_name(client):
    refused = refusal(client("logs").create_log_group, logGroupName="g", deletionProtectionEnabled=True)
    assert refused["Code"] == "NotImplemented" and "deletionProtectionEnabled" in refused["Message"]
    refused = refusal(client("ec2").describe_vpcs, DryRun=True)
    assert refused["Code"] == "NotImplemented" and "DryRun" in refused["Message"]
