"""Protocol details for all kinds of clients: errors of absent services in their own protocol, and
requests that wait for `100 Continue`."""

import io
import subprocess

import boto3
import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

# botocore's names of the local cloud's services; test_zz_coverage.py covers their operations.
HERE = {
    "application-autoscaling",
    "cloudformation",
    "cloudwatch",
    "codebuild",
    "codecommit",
    "codeconnections",
    "codepipeline",
    "ec2",
    "ecr",
    "events",
    "iam",
    "kms",
    "lambda",
    "logs",
    "s3",
    "sagemaker",
    "sagemaker-runtime",
    "scheduler",
    "sns",
    "sqs",
    "ssm",
    "sts",
}
# botocore sends bearer tokens only to HTTPS endpoints, and signs with version 4A only with an extra
# package.
NOT_CALLED = {"account-access-runtime", "codecatalyst", "cloudfront-keyvaluestore"}
SESSION = botocore.session.get_session()


def smallest(shape, seen=()):
    """Returns a valid value of a shape, with required members only."""
    if shape.name in seen:
        return {}
    if shape.type_name == "structure":
        return {
            name: smallest(shape.members[name], (*seen, shape.name))
            for name in shape.members
            if name in shape.required_members or shape.members[name].serialization.get("location") == "uri"
        }
    if shape.type_name == "list":
        return [smallest(shape.member, seen)] * max(1, shape.metadata.get("min", 0))
    if shape.type_name == "map":
        return {}
    if shape.type_name == "string":
        if shape.name.lower().endswith("arn"):
            return "arn:aws:kinesisvideo:us-east-1:000000000000:channel/x/1"
        return (shape.enum or ["x" * max(1, shape.metadata.get("min", 0))])[0]
    if shape.type_name in ("integer", "long"):
        return max(1, shape.metadata.get("min", 0))
    return {"boolean": True, "blob": b"x", "float": 1.0, "double": 1.0, "timestamp": 0}[shape.type_name]


def simplest(model):
    """Returns the operation with the smallest input; a signed one if possible."""
    found = []
    for name in model.operation_names:
        operation = model.operation_model(name)
        shape = operation.input_shape
        # Sign-in's other operations use a separate endpoint, regardless of `endpoint_url`.
        if operation.has_event_stream_input or (model.service_name == "signin" and "OAuth2" not in name):
            continue
        size = len(str(smallest(shape))) if shape else 0
        found.append((operation.auth_type == "none", size, name))
    return model.operation_model(min(found)[-1])


@pytest.mark.parametrize("service", sorted(set(SESSION.get_available_services()) - HERE - NOT_CALLED))
def test_issue_8_3_7_an_absent_service_is_reported_in_its_own_protocol(cloud, service):
    client = boto3.client(
        service,
        endpoint_url=cloud,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(
            retries={"max_attempts": 0}, inject_host_prefix=False, parameter_validation=False, read_timeout=20
        ),
    )
    operation = simplest(client.meta.service_model)
    parameters = smallest(operation.input_shape) if operation.input_shape else {}
    with pytest.raises(ClientError) as raised:
        client._make_api_call(operation.name, parameters)
    error = raised.value.response["Error"]
    assert error["Code"] == "NotImplemented", error
    assert error["Message"].startswith("NotImplemented: "), error
    assert client.meta.service_model.metadata["serviceId"] in error["Message"], error
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501


def test_issue_8_3_7_the_aws_cli_shows_the_name(environment):
    done = subprocess.run(
        ["aws", "dynamodb", "list-tables"], env=environment, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "NotImplemented" in done.stderr and "the service DynamoDB" in done.stderr, done.stderr


@pytest.fixture(scope="module")
def bucket(client):
    client("s3").create_bucket(Bucket="wire")
    return "wire"


def test_issue_8_3_2_an_empty_file_and_the_next_request_on_its_connection(client, bucket, tmp_path):
    """After a response without `100 Continue`, botocore misreads the next response on the connection."""
    empty = tmp_path / "empty"
    empty.touch()
    s3 = client("s3", config=Config(retries={"max_attempts": 0}, read_timeout=20, max_pool_connections=1))
    for options in ({}, {"ContentType": "text/csv"}, {"ContentMD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}):
        with open(empty, "rb") as body:
            s3.put_object(Bucket=bucket, Key="empty", Body=body, **options)
        s3.put_object(Bucket=bucket, Key="full", Body=io.BytesIO(b"full"))
        with pytest.raises(ClientError, match="NoSuchBucket"), open(empty, "rb") as body:
            s3.put_object(Bucket="no-such-bucket", Key="empty", Body=body)
        s3.put_object(Bucket=bucket, Key="full", Body=io.BytesIO(b"fuller"))
    assert s3.head_object(Bucket=bucket, Key="empty")["ContentLength"] == 0
    assert s3.get_object(Bucket=bucket, Key="full")["Body"].read() == b"fuller"


def test_issue_8_3_2_aws_s3_sync_of_a_folder_with_empty_files(bucket, environment, tmp_path):
    for name in ("a/__init__.py", "a/empty", "empty", "full", "more"):
        path = tmp_path / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" if name in ("full", "more") else b"")
    # A single connection, so that full files follow empty ones.
    config = tmp_path / "config"
    config.write_text("[default]\ns3 =\n  max_concurrent_requests = 1\n")
    once = {**environment, "AWS_MAX_ATTEMPTS": "1", "AWS_CONFIG_FILE": str(config)}
    sync = ["aws", "--cli-read-timeout", "20", "s3", "sync"]
    there = f"s3://{bucket}/folder"
    up = subprocess.run([*sync, str(tmp_path / "folder"), there], env=once, capture_output=True, text=True)
    assert up.returncode == 0, up.stderr
    again = tmp_path / "again"
    down = subprocess.run([*sync, there, str(again)], env=once, capture_output=True, text=True)
    assert down.returncode == 0, down.stderr
    sizes = {str(path.relative_to(again)): path.stat().st_size for path in again.rglob("*") if path.is_file()}
    assert sizes == {"a/__init__.py": 0, "a/empty": 0, "empty": 0, "full": 1, "more": 1}


def test_issue_8_1_5_a_deep_form_is_a_client_error(client):
    iam = client("iam")

    def deepen(params, **_):
        params["body"]["A" + ".A" * 1000] = "x"

    iam.meta.events.register("before-call.iam.ListRoles", deepen)
    with pytest.raises(ClientError) as raised:
        iam.list_roles()
    assert raised.value.response["Error"]["Code"] == "MalformedQueryString"
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
