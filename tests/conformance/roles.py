"""Roles for the tests: what AWS would require of a role that runs jobs, functions and pipelines, and sessions."""

import json
import uuid

import boto3
from botocore.config import Config

# What the documentation of SageMaker and Lambda requires of an execution role (developer guide, "SageMaker
# roles"), for every bucket, image and log group of a test.
EXECUTION = [
    {
        "Effect": "Allow",
        "Resource": "*",
        "Action": [
            "s3:GetObject", "s3:GetObjectVersion", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket",
            "ecr:GetAuthorizationToken", "ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer",
            "ecr:BatchGetImage",
            "logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents",
            "cloudwatch:PutMetricData",
        ],
    },
]

# In addition, of the role of a pipeline (developer guide, "IAM Access Management" of pipelines).
PIPELINE = [
    {"Effect": "Allow", "Action": "sagemaker:*", "Resource": "*"},
    {
        "Effect": "Allow",
        "Action": "iam:PassRole",
        "Resource": "*",
        "Condition": {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
    },
]

ROOT = {"AWS": "arn:aws:iam::000000000000:root"}


def trust(*services):
    """A trust policy for services and for the account itself."""
    statements = [
        {"Effect": "Allow", "Principal": {"Service": f"{service}.amazonaws.com"}, "Action": "sts:AssumeRole"}
        for service in services
    ]
    statements.append({"Effect": "Allow", "Principal": ROOT, "Action": ["sts:AssumeRole", "sts:TagSession"]})
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def document(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(action, resource="*", **rest):
    return {"Effect": "Allow", "Action": action, "Resource": resource, **rest}


def deny(action, resource="*", **rest):
    return {**allow(action, resource, **rest), "Effect": "Deny"}


def permit(iam, role, *statements):
    """Replaces the inline policy of a role."""
    iam.put_role_policy(RoleName=role.rsplit("/", 1)[-1], PolicyName="test", PolicyDocument=document(*statements))


def make(iam, *statements, services=("sagemaker",), name=None, **kwargs):
    """Creates a role with these statements; returns its ARN."""
    name = name or f"role-{uuid.uuid4().hex[:10]}"
    arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust(*services), **kwargs)["Role"]["Arn"]
    if statements:
        permit(iam, arn, *statements)
    return arn


class Session:
    """A session of a role: client("s3"), and the credentials as environment variables."""

    def __init__(self, endpoint, credentials, watch=None):
        self.endpoint, self.credentials, self.watch = endpoint, credentials, watch

    def client(self, service, **config):
        made = boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=self.credentials["AccessKeyId"],
            aws_secret_access_key=self.credentials["SecretAccessKey"],
            aws_session_token=self.credentials["SessionToken"],
            config=Config(retries={"max_attempts": 1}, **config),
        )
        if self.watch:
            made.meta.events.register("after-call.*.*", self.watch)
        return made

    @property
    def environment(self):
        return {
            "AWS_ACCESS_KEY_ID": self.credentials["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": self.credentials["SecretAccessKey"],
            "AWS_SESSION_TOKEN": self.credentials["SessionToken"],
        }


def assume(client, endpoint, role, name="tester", watch=None, **kwargs):
    answer = client("sts").assume_role(RoleArn=role, RoleSessionName=name, **kwargs)
    return Session(endpoint, answer["Credentials"], watch)
