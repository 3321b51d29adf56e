"""What the local cloud assumes about AWS: each claim by its id in the sources.

A claim is a function that asks AWS and returns what it was told and what the local cloud says in its place. All of
them create little or nothing, and what they create is removed through the stack of callbacks.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import boto3
from botocore.exceptions import ClientError

Claim = Callable[["Account"], tuple[str, str]]

CLAIMS: dict[str, Claim] = {}


@dataclass
class Account:
    """The account under test."""

    session: boto3.Session
    endpoint: str | None
    # The prefix of every name.
    prefix: str
    # Removes what was created, in reverse order.
    undo: ExitStack

    def client(self, service: str):  # noqa: ANN201
        """A client of a service."""
        return self.session.client(service, endpoint_url=self.endpoint)

    def bucket(self, name: str) -> str:
        """Creates an empty bucket."""
        s3 = self.client("s3")
        bucket = f"{self.prefix}-{name}"
        region = self.session.region_name
        place = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        s3.create_bucket(Bucket=bucket, **place)
        self.undo.callback(s3.delete_bucket, Bucket=bucket)
        return bucket


def claim(identity: str) -> Callable[[Claim], Claim]:
    """Registers the check of a claim."""

    def register(check: Claim) -> Claim:
        CLAIMS[identity] = check
        return check

    return register


def answer(call: Callable[[], object]) -> str:
    """Returns the code and the message of the error of a call."""
    try:
        call()
    except ClientError as error:
        found = error.response["Error"]
        return f"{found['Code']}: {found['Message']}"
    return "accepted"


def template(**sections: object) -> str:
    """A template with one log group, which is never created."""
    resources = {"G": {"Type": "AWS::Logs::LogGroup"}}
    return json.dumps({"Resources": resources, **sections})


def change_set(account: Account, name: str, body: str, parameters: list[dict[str, str]] | None = None) -> str:
    """Returns the error of a change set, which is removed with its stack if there is none."""
    cloudformation = account.client("cloudformation")
    stack = f"{account.prefix}-{name}"

    def create() -> None:
        cloudformation.create_change_set(
            StackName=stack,
            ChangeSetName="c",
            ChangeSetType="CREATE",
            TemplateBody=body,
            Parameters=parameters or [],
        )
        account.undo.callback(cloudformation.delete_stack, StackName=stack)

    return answer(create)


@claim("cfn-duplicate-parameter")
def duplicate_parameter(account: Account) -> tuple[str, str]:
    """The words for a parameter that is given twice."""
    body = template(Parameters={"P": {"Type": "String"}})
    given = [{"ParameterKey": "P", "ParameterValue": value} for value in ("a", "b")]
    return change_set(account, "duplicate", body, given), "ValidationError: Duplicate parameter key P"


@claim("cfn-rule-wording")
def rule(account: Account) -> tuple[str, str]:
    """The words around the description of an assertion that is false."""
    assertion = {"Assert": {"Fn::Equals": ["a", "b"]}, "AssertDescription": "a is not b"}
    body = template(Rules={"R": {"Assertions": [assertion]}})
    return change_set(account, "rule", body), "ValidationError: Template failed validation: Rule R failed: a is not b"


@claim("cfn-stored-list")
def stored_list(account: Account) -> tuple[str, str]:
    """The words for a stored parameter of another type."""
    ssm = account.client("ssm")
    name = f"/{account.prefix}/list"
    ssm.put_parameter(Name=name, Value="a,b", Type="StringList")
    account.undo.callback(ssm.delete_parameter, Name=name)
    body = template(Parameters={"P": {"Type": "AWS::SSM::Parameter::Value<String>", "Default": name}})
    expected = f"ValidationError: Parameter 'P' must be the name of a parameter of another type: {name} is a StringList"
    return change_set(account, "stored", body), expected


@claim("cloudwatch-absent-alarms")
def absent_alarms(account: Account) -> tuple[str, str]:
    """The answer to the deletion of an alarm that does not exist."""
    cloudwatch = account.client("cloudwatch")
    return answer(lambda: cloudwatch.delete_alarms(AlarmNames=[f"{account.prefix}-never"])), "accepted"


@claim("cloudwatch-messages")
def odd_period(account: Account) -> tuple[str, str]:
    """The words for a period that is not a multiple of a minute."""
    cloudwatch = account.client("cloudwatch")
    asked = {"Namespace": "mlops", "MetricName": "m", "StartTime": 1_700_000_000, "EndTime": 1_700_000_600}
    told = answer(lambda: cloudwatch.get_metric_statistics(**asked, Period=90, Statistics=["Sum"]))
    return told, "InvalidParameterValue: The parameter Period must be 1, 5, 10, 20, 30 or a multiple of 60."


@claim("iam-repeated-key")
def repeated_key(account: Account) -> tuple[str, str]:
    """The words for a key that occurs twice in a policy."""
    iam = account.client("iam")
    name = f"{account.prefix}-repeated"
    document = (
        '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Effect": "Deny", '
        '"Action": "s3:GetObject", "Resource": "*"}]}'
    )

    def create() -> None:
        made = iam.create_policy(PolicyName=name, PolicyDocument=document)
        account.undo.callback(iam.delete_policy, PolicyArn=made["Policy"]["Arn"])

    return answer(create), "MalformedPolicyDocument: This policy contains invalid Json"


@claim("s3-repeated-key")
def bucket_policy(account: Account) -> tuple[str, str]:
    """The words for a key that occurs twice in a bucket policy."""
    bucket = account.bucket("policy")
    document = '{"Version": "2012-10-17", "Version": "2012-10-17", "Statement": []}'
    s3 = account.client("s3")
    told = answer(lambda: s3.put_bucket_policy(Bucket=bucket, Policy=document))
    return told, "MalformedPolicy: Policies must be valid JSON and the first byte must be '{'"


