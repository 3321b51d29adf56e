#!/usr/bin/env python3
"""Measures what the evaluation of a session's requests costs: p50 of small requests as root and as a session.

    python3 benches/permissions.py target/release/mlops       # with boto3

The role has ten inline statements, two managed policies and a boundary, as the roles of the templates do. The
server requires credentials, so that the signatures of both are verified and only the evaluation differs. Requests are
signed beforehand and alternate on two kept-alive connections.
"""

import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse

import boto3
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

TURNS = 3000


def document(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(action, resource):
    return {"Effect": "Allow", "Action": action, "Resource": resource}


def role(client):
    """A role like that of the templates; returns its ARN."""
    iam = client("iam")
    root = {"AWS": "arn:aws:iam::000000000000:root"}
    trust = {**allow("sts:AssumeRole", None), "Principal": root}
    del trust["Resource"]
    boundary = iam.create_policy(PolicyName="boundary", PolicyDocument=document(allow("*", "*")))["Policy"]["Arn"]
    arn = iam.create_role(
        RoleName="bench", AssumeRolePolicyDocument=document(trust), PermissionsBoundary=boundary
    )["Role"]["Arn"]
    others = [allow(f"sagemaker:Describe{name}", f"arn:aws:sagemaker:*:*:{name}/*") for name in "ABCDEFGH"]
    used = [allow("ecr:Describe*", "*"), allow("s3:GetObject", "arn:aws:s3:::bench/*")]
    iam.put_role_policy(RoleName="bench", PolicyName="bench", PolicyDocument=document(*others, *used))
    for name in ("one", "two"):
        policy = iam.create_policy(PolicyName=name, PolicyDocument=document(*others))["Policy"]["Arn"]
        iam.attach_role_policy(RoleName="bench", PolicyArn=policy)
    return arn


def signed(keys, endpoint, kind):
    """A signed request: method, path, body, headers."""
    if kind == "s3":
        request = AWSRequest("HEAD", f"{endpoint}/bench/key")
        S3SigV4Auth(keys, "s3", "us-east-1").add_auth(request)
    else:
        body = json.dumps({"repositoryNames": ["bench"]})
        target = "AmazonEC2ContainerRegistry_V20150921.DescribeRepositories"
        headers = {"X-Amz-Target": target, "Content-Type": "application/x-amz-json-1.1"}
        request = AWSRequest("POST", f"{endpoint}/", headers=headers, data=body)
        SigV4Auth(keys, "ecr", "us-east-1").add_auth(request)
    return request.method, urllib.parse.urlsplit(request.url).path, request.body, dict(request.headers)


def main():
    program = sys.argv[1]
    with tempfile.TemporaryDirectory() as state:
        start = [program, "local", "start", "--detach", "--port", "0", "--state", f"{state}/s"]
        subprocess.run([*start, "--require-credentials"], check=True, capture_output=True)
        try:
            with open(f"{state}/s/address.json") as file:
                measure(json.load(file))
        finally:
            subprocess.run([program, "local", "stop", "--state", f"{state}/s"], capture_output=True)


def measure(address):
    endpoint, own = address["endpoint"], (address["access_key"], address["secret_key"])

    def client(service):
        return boto3.client(
            service, endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id=own[0], aws_secret_access_key=own[1]
        )

    client("s3").create_bucket(Bucket="bench")
    client("s3").put_object(Bucket="bench", Key="key", Body=b"x")
    client("ecr").create_repository(repositoryName="bench")
    keys = client("sts").assume_role(RoleArn=role(client), RoleSessionName="bench")["Credentials"]
    callers = {
        "root": Credentials(*own),
        "session": Credentials(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"]),
    }
    host = urllib.parse.urlsplit(endpoint).netloc
    for kind in ("ecr DescribeRepositories", "s3 HeadObject"):
        requests = {who: signed(found, endpoint, kind.split()[0]) for who, found in callers.items()}
        connections = {who: http.client.HTTPConnection(host) for who in callers}
        times = {who: [] for who in callers}
        for turn in range(TURNS):
            for who, (method, path, body, headers) in requests.items():
                begun = time.perf_counter()
                connections[who].request(method, path, body, headers)
                answer = connections[who].getresponse()
                answer.read()
                if turn > TURNS // 10:
                    times[who].append(time.perf_counter() - begun)
                assert answer.status == 200, (who, answer.status)
        p50 = {who: statistics.median(found) * 1000 for who, found in times.items()}
        print(f"{kind}: root {p50['root']:.3f} ms, session {p50['session']:.3f} ms, "
              f"+{p50['session'] - p50['root']:.3f} ms")


if __name__ == "__main__":
    main()
