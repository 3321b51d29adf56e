"""STS, the door, and what is refused by name."""

import urllib.error
import urllib.request

import pytest
from botocore.exceptions import ClientError


def test_get_caller_identity(client):
    identity = client("sts").get_caller_identity()
    assert identity["Account"] == "000000000000"
    assert identity["Arn"] == "arn:aws:iam::000000000000:user/local"


def test_an_operation_that_is_not_there_is_refused_by_name(client):
    with pytest.raises(ClientError) as refused:
        client("sts").get_session_token()
    assert refused.value.response["Error"]["Code"] == "NotImplemented"
    assert "GetSessionToken" in refused.value.response["Error"]["Message"]


def test_a_service_that_is_not_there_is_refused_by_name(client):
    with pytest.raises(ClientError) as refused:
        client("dynamodb").list_tables()
    assert refused.value.response["Error"]["Code"] == "NotImplemented"
    assert "DynamoDB" in refused.value.response["Error"]["Message"]


def test_an_unsigned_request_is_refused(cloud):
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(cloud + "/")
    assert refused.value.code == 403
