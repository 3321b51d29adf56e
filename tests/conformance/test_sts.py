"""STS, unsigned requests, and unknown services and operations."""

import urllib.error
import urllib.request

import pytest
from botocore.exceptions import ClientError


def test_get_caller_identity(client):
    identity = client("sts").get_caller_identity()
    assert identity["Account"] == "000000000000"
    assert identity["Arn"] == "arn:aws:iam::000000000000:user/local"


def test_an_unknown_operation_is_rejected_by_name(client):
    with pytest.raises(ClientError) as refused:
        client("sts").get_federation_token(Name="me")
    assert refused.value.response["Error"]["Code"] == "NotImplemented"
    assert "GetFederationToken" in refused.value.response["Error"]["Message"]


def test_an_unknown_service_is_rejected_by_name(client):
    with pytest.raises(ClientError) as refused:
        client("dynamodb").list_tables()
    assert refused.value.response["Error"]["Code"] == "NotImplemented"
    assert "DynamoDB" in refused.value.response["Error"]["Message"]


def test_an_unsigned_request_is_rejected(cloud):
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(cloud + "/")
    assert refused.value.code == 403
