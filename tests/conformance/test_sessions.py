"""Sessions: their credentials are always verified, in every protocol, also where any others are accepted."""

import base64
import json
import subprocess
import urllib.request
import uuid

import pytest
import roles
from botocore.exceptions import ClientError
from conftest import BIN, watch
from s3_tools import fetch
from test_s3_access import send

WRONG = [("SecretAccessKey", "x" * 40), ("SessionToken", "x" * 64), ("AccessKeyId", "ASIA" + "X" * 16)]


def code(call, *args, **kwargs):
    with pytest.raises(ClientError) as refused:
        call(*args, **kwargs)
    return refused.value.response["Error"]["Code"]


@pytest.fixture(scope="module")
def role(client):
    return roles.make(client("iam"), roles.allow("*"))


@pytest.fixture
def session(client, cloud, role):
    return roles.assume(client, cloud, role, watch=watch)


@pytest.fixture
def bucket(client):
    name = f"sessions-{uuid.uuid4().hex[:8]}"
    client("s3").create_bucket(Bucket=name)
    return name


def changed(session, member, value):
    return roles.Session(session.endpoint, {**session.credentials, member: value})


REFUSALS = {"SignatureDoesNotMatch", "InvalidClientTokenId", "InvalidAccessKeyId"}


@pytest.mark.parametrize("member,value", WRONG)
def test_each_protocol_verifies_a_session(session, member, value):
    forged = changed(session, member, value)
    assert code(forged.client("sts").get_caller_identity) in REFUSALS
    assert code(forged.client("ecr").describe_repositories) in REFUSALS
    assert code(forged.client("ec2").describe_vpcs) in REFUSALS
    assert code(forged.client("lambda").list_functions) in REFUSALS
    assert code(forged.client("s3").list_buckets) in REFUSALS
    assert session.client("sts").get_caller_identity()["Arn"].endswith("/tester")


@pytest.mark.parametrize("version", ["s3v4", "s3"])
def test_presigned_urls_and_forms_of_a_session(session, bucket, version):
    session.client("s3").put_object(Bucket=bucket, Key="k", Body=b"x" * 100_000)
    s3 = session.client("s3", signature_version=version)
    url = s3.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "k"})
    assert urllib.request.urlopen(url).read() == b"x" * 100_000
    forged = changed(session, "SecretAccessKey", "x" * 40).client("s3", signature_version=version)
    status, _, text = fetch(forged.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "k"}))
    assert status == 403 and b"SignatureDoesNotMatch" in text
    for signer, expected in ((s3, 204), (forged, 403)):
        post = signer.generate_presigned_post(bucket, "form")
        assert send(post)[0] == expected


def test_streamed_bodies_of_a_session(session, bucket):
    s3 = session.client("s3")
    for algorithm in ["CRC32", "SHA256", "SHA1"]:
        s3.put_object(Bucket=bucket, Key="k", Body=b"y" * 300_000, ChecksumAlgorithm=algorithm)
        assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"y" * 300_000


def test_the_aws_cli_streams_with_a_session(session, bucket, environment, tmp_path):
    file = tmp_path / "large"
    file.write_bytes(b"z" * (20 << 20))
    for command in (["s3", "cp", str(file), f"s3://{bucket}/large"], ["s3", "ls", f"s3://{bucket}"]):
        done = subprocess.run(["aws", *command], env={**environment, **session.environment}, capture_output=True)
        assert done.returncode == 0, done.stderr


def test_a_token_of_the_registry_belongs_to_its_session(client, cloud, session):
    name = f"sessions-{uuid.uuid4().hex[:8]}"
    client("ecr").create_repository(repositoryName=name)
    token = session.client("ecr").get_authorization_token()["authorizationData"][0]["authorizationToken"]
    assert base64.b64decode(token).startswith(b"AWS:")
    status, _, _ = fetch(f"{cloud}/v2/{name}/tags/list", headers={"Authorization": f"Basic {token}"})
    assert status == 200


def test_git_verifies_a_session(client, cloud, session, environment, tmp_path):
    name = f"sessions-{uuid.uuid4().hex[:8]}"
    client("codecommit").create_repository(repositoryName=name)
    helper = "!aws codecommit credential-helper --ignore-host-check $@"
    command = ["git", "-c", f"credential.helper={helper}", "-c", "credential.UseHttpPath=true", "ls-remote"]
    # Under this name the server asks git for credentials.
    url = cloud.replace("127.0.0.1", "git-codecommit.us-east-1.localhost") + f"/v1/repos/{name}"
    env = {**environment, "GIT_TERMINAL_PROMPT": "0", "HOME": str(tmp_path)}

    def run(own):
        return subprocess.run([*command, url], env={**env, **own.environment}, capture_output=True, text=True)

    done = run(session)
    assert done.returncode == 0, done.stderr
    for member, value in WRONG:
        assert run(changed(session, member, value)).returncode != 0
    assert subprocess.run(["git", "ls-remote", url], env=env, capture_output=True).returncode != 0


def test_get_session_token(client, cloud, session):
    answer = client("sts").get_session_token()
    own = roles.Session(cloud, answer["Credentials"], watch)
    assert own.client("sts").get_caller_identity()["Arn"] == client("sts").get_caller_identity()["Arn"]
    own.client("s3").list_buckets()
    for member, value in WRONG:
        assert code(changed(own, member, value).client("s3").list_buckets) in REFUSALS
    assert code(session.client("sts").get_session_token) == "AccessDenied"
    assert code(client("sts").get_session_token, DurationSeconds=7200) == "ValidationError"


def test_local_env_prints_a_session_of_any_role(client, cloud, state):
    arn = roles.make(client("iam"))
    trust = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    name = arn.rsplit("/", 1)[1]
    client("iam").update_assume_role_policy(RoleName=name, PolicyDocument=roles.document(trust))

    def env(*args):
        command = [BIN, "local", "env", "--state", state, *args]
        return subprocess.run(command, capture_output=True, text=True)

    found = json.loads(env("--role", name, "--output", "json").stdout)
    keys = {
        "AccessKeyId": found["AWS_ACCESS_KEY_ID"],
        "SecretAccessKey": found["AWS_SECRET_ACCESS_KEY"],
        "SessionToken": found["AWS_SESSION_TOKEN"],
    }
    identity = roles.Session(cloud, keys, watch).client("sts").get_caller_identity()
    assert identity["Arn"].endswith(f":assumed-role/{name}/mlops-local-env")
    lines = env("--role", arn).stdout
    assert "export AWS_SESSION_TOKEN=" in lines and "unset AWS_SESSION_TOKEN" not in lines, lines
    absent = env("--role", "nobody")
    assert absent.returncode == 1 and "cannot be found" in absent.stderr, absent.stderr
