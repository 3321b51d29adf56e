"""The CI files of a new project and docs/ci.md: linters, and the roles that CI systems assume.

check-jsonschema has the schemas of GitHub's workflows and of GitLab CI, zizmor audits workflows, shellcheck reads the
scripts; none uses the network. (actionlint has no package that installs without a download from GitHub.)
"""

import base64
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import boto3
import botocore.exceptions
import pytest
import yaml

from conftest import BIN

ROOT = Path(__file__).parents[2]
SCAFFOLD = ROOT / "src/scaffold/files"
WORKFLOW = SCAFFOLD / "github/workflows/mlops.yml"
GITLAB = SCAFFOLD / "gitlab-ci.yml"
PAGE = (ROOT / "docs/ci.md").read_text()
TOOLS = Path(sys.executable).parent
ACCOUNT = "000000000000"

SCHEMAS = {
    WORKFLOW: ["--builtin-schema", "vendor.github-workflows"],
    GITLAB: ["--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci"],
}


def schema(like, file):
    command = [TOOLS / "check-jsonschema", *SCHEMAS[like], file]
    return subprocess.run(command, capture_output=True, text=True)


def audit(file):
    options = ["--offline", "--no-progress", "--color", "never", "--config", Path(__file__).parent / "zizmor.yml"]
    return subprocess.run([TOOLS / "zizmor", *options, file], capture_output=True, text=True)


@pytest.mark.parametrize("file", SCHEMAS, ids=lambda file: file.name)
def test_ci_files_match_their_schemas(file):
    checked = schema(file, file)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [(WORKFLOW, "id-token: write", "id-tokens: write"), (GITLAB, "extends: .aws", "extend: .aws")],
    ids=["github", "gitlab"],
)
def test_the_schemas_find_a_misspelled_key(file, old, new, tmp_path):
    text = file.read_text()
    assert old in text
    broken = tmp_path / "broken.yml"
    broken.write_text(text.replace(old, new))
    assert schema(file, broken).returncode == 1


def test_the_workflow_passes_the_security_audit(tmp_path):
    checked = audit(WORKFLOW)
    assert checked.returncode == 0, checked.stdout
    # The name of a branch in a script can be shell code.
    broken = tmp_path / "broken.yml"
    broken.write_text(WORKFLOW.read_text().replace("run: ci/train.sh", "run: ci/train.sh ${{ github.ref_name }}"))
    assert "template-injection" in audit(broken).stdout


def scripts():
    """The shell scripts of a new project, of its jobs, and of the page."""
    for file in sorted(SCAFFOLD.glob("ci/*.sh")):
        yield file.name, file.read_text()
    jobs = yaml.safe_load(WORKFLOW.read_text())["jobs"].items()
    for name, job in jobs:
        yield f"github {name}", "\n".join(step["run"] for step in job["steps"] if "run" in step)
    for name, job in yaml.safe_load(GITLAB.read_text()).items():
        if isinstance(job, dict):
            lines = job.get("before_script", []) + job.get("script", [])
            yield f"gitlab {name}", "\n".join(lines)
    for number, text in enumerate(re.findall(r"^```sh[^\n]*\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)):
        yield f"page {number}", text


@pytest.mark.parametrize(("name", "text"), list(scripts()))
def test_scripts_pass_shellcheck(name, text):
    # SC1091: the virtual environment of a job does not exist here.
    command = [TOOLS / "shellcheck", "--shell", "sh", "--exclude", "SC1091", "-"]
    checked = subprocess.run(command, input=text, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


def test_the_workflow_refers_to_what_exists():
    text = WORKFLOW.read_text()
    workflow = yaml.safe_load(text)
    for job in workflow["jobs"].values():
        assert job.get("needs", "test") in workflow["jobs"]
        # A job that signs in needs a token; any other must not have one.
        signs_in = any("configure-aws-credentials" in step.get("uses", "") for step in job["steps"])
        assert (job.get("permissions", {}).get("id-token") == "write") is signs_in
    # YAML 1.1 parses the key `on` as a boolean.
    inputs = set(workflow[True]["workflow_dispatch"]["inputs"])
    assert set(re.findall(r"inputs\.(\w+)", text)) == inputs
    variables = set(re.findall(r"vars\.(\w+)", text))
    assert variables == set(re.findall(r"^\| `([A-Z_]+)` \|", PAGE, re.MULTILINE))


def blocks(attribute):
    """The JSON blocks of the page with an attribute, by its value, for the local cloud's account."""
    found = re.findall(rf"^```json {attribute}=(\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return {name: json.loads(text.replace("111122223333", ACCOUNT)) for name, text in found}


def token(issuer, audience, subject):
    def part(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    claims = {"iss": issuer, "sub": subject, "aud": audience, "exp": int(time.time()) + 600}
    return f"{part({'alg': 'RS256'})}.{part(claims)}.c2lnbmF0dXJl"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The project `flights` on a local cloud of its own: run(*ARGUMENTS, VARIABLE=…), in its directory."""
    root = tmp_path_factory.mktemp("flights")
    outside = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}

    def run(*arguments, **variables):
        return subprocess.run(
            arguments, cwd=root, env={**outside, **variables}, capture_output=True, text=True
        )

    created = run(BIN, "init", "--local", "--name", "flights", "--empty")
    assert created.returncode == 0, created.stderr
    yield run
    run(BIN, "local", "stop")


@pytest.fixture(scope="module")
def account(project):
    """The variables of the account's own credentials, and those alone."""
    found = json.loads(project(BIN, "local", "env", "--output", "json").stdout)
    return {name: value for name, value in found.items() if value}


def made(account, service, **credentials):
    return boto3.client(
        service,
        endpoint_url=account["AWS_ENDPOINT_URL"],
        region_name="us-east-1",
        aws_access_key_id=account["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=account["AWS_SECRET_ACCESS_KEY"],
        **credentials,
    )


GITHUB_ISSUER = ("https://token.actions.githubusercontent.com", "sts.amazonaws.com")
GITLAB_ISSUER = ("https://gitlab.com", "https://gitlab.com")


@pytest.mark.parametrize(
    ("trust", "issuer", "subject", "others"),
    [
        (
            "github-develop",
            GITHUB_ISSUER,
            "repo:TEAM@1234567/flights@89012345:ref:refs/heads/develop",
            [
                "repo:TEAM@1234567/flights@89012345:pull_request",
                "repo:TEAM@1234567/flights@89012345:ref:refs/heads/main",
                "repo:TEAM/flights:ref:refs/heads/develop",
            ],
        ),
        (
            "gitlab-develop",
            GITLAB_ISSUER,
            "project_path:TEAM/flights:ref_type:branch:ref:develop",
            ["project_path:TEAM/flights:ref_type:branch:ref:main"],
        ),
    ],
)
def test_a_job_becomes_the_data_scientist(project, account, tmp_path, trust, issuer, subject, others):
    iam, role = made(account, "iam"), f"ci-{trust}"
    arn = iam.create_role(RoleName=role, AssumeRolePolicyDocument=json.dumps(blocks("trust")[trust]))["Role"]["Arn"]
    permissions = json.dumps(blocks("permissions")["develop"])
    iam.put_role_policy(RoleName=role, PolicyName="assume", PolicyDocument=permissions)

    def listed(identity, audience=issuer[1], actor="data-scientist"):
        configuration = tmp_path / "aws"
        variables = {
            "OIDC_TOKEN": token(issuer[0], audience, identity),
            "OIDC_ROLE_ARN": arn,
            "PROJECT_ROLE_ARN": f"arn:aws:iam::{ACCOUNT}:role/flights-{actor}",
            "AWS_CONFIG_FILE": str(configuration),
        }
        signed = project("sh", SCAFFOLD / "ci/sign-in.sh", **variables)
        assert signed.returncode == 0, signed.stderr
        assert configuration.stat().st_mode & 0o077 == 0
        endpoint = {"AWS_ENDPOINT_URL": account["AWS_ENDPOINT_URL"], "AWS_EC2_METADATA_DISABLED": "true"}
        return project(BIN, "models", "list", "--output", "json", **variables, **endpoint)

    allowed = listed(subject)
    assert allowed.returncode == 0, allowed.stderr
    assert json.loads(allowed.stdout)["models"] == []
    for other in others:
        assert listed(other).returncode == 4, other
    assert listed(subject, audience="https://example.com").returncode == 4
    assert listed(subject, actor="ml-engineer").returncode == 4


def test_the_roles_of_a_project_accept_no_session_tags(account):
    """Why the workflow has `role-skip-session-tagging`."""
    iam, sts = made(account, "iam"), made(account, "sts")
    # What configure-aws-credentials does for the second role, with credentials of the first.
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": ACCOUNT}}]}
    arn = iam.create_role(RoleName="ci-tags", AssumeRolePolicyDocument=json.dumps(policy))["Role"]["Arn"]
    allow = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["sts:AssumeRole", "sts:TagSession"], "Resource": "*"}]}
    iam.put_role_policy(RoleName="ci-tags", PolicyName="assume", PolicyDocument=json.dumps(allow))
    keys = sts.assume_role(RoleArn=arn, RoleSessionName="first")["Credentials"]
    chained = boto3.client(
        "sts",
        endpoint_url=account["AWS_ENDPOINT_URL"],
        region_name="us-east-1",
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["SessionToken"],
    )
    second = {"RoleArn": f"arn:aws:iam::{ACCOUNT}:role/flights-data-scientist", "RoleSessionName": "second"}
    chained.assume_role(**second)
    with pytest.raises(botocore.exceptions.ClientError, match="sts:TagSession"):
        chained.assume_role(**second, Tags=[{"Key": "GitHub", "Value": "Actions"}])
    for step in yaml.safe_load(WORKFLOW.read_text())["jobs"]["train"]["steps"]:
        if step.get("with", {}).get("role-chaining"):
            assert step["with"]["role-skip-session-tagging"] is True


def test_production_has_a_subject_of_its_own():
    [(name, subject)] = blocks("subject").items()
    develop = blocks("trust")["github-develop"]["Statement"][0]["Condition"]["StringEquals"]
    assert name == "github-production"
    repository = develop["token.actions.githubusercontent.com:sub"].split(":ref:")[0]
    environment = yaml.safe_load(WORKFLOW.read_text())["jobs"]["promote"]["environment"]
    assert subject == f"{repository}:environment:{environment}"
