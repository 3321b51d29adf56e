#!/usr/bin/env python3
"""Measures what the evaluation of policies adds to a request.

usage: benches/policy.py MLOPS

The same request (GetParameter of Systems Manager) is sent 2,000 times with the account's own credentials, which
are not evaluated, and 2,000 times with a session of a role with ten inline policies of ten statements, two
conditions each, and a permissions boundary. The two alternate. Each is signed once, so the client costs the same.
"""

import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

MLOPS = os.path.abspath(sys.argv[1])
REQUESTS, ROUNDS = 200, 10
TRUST = {"Effect": "Allow", "Principal": {"AWS": "000000000000"}, "Action": "sts:AssumeRole"}


def start(state):
    """Returns a new server and its endpoint."""
    command = [MLOPS, "local", "start", "--port", "0", "--quiet", "--state", state]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while True:
        try:
            return server, json.loads(Path(state, "address.json").read_text())["endpoint"]
        except (OSError, ValueError, KeyError):
            if server.poll() is not None:
                raise SystemExit("the server ended") from None
            time.sleep(0.01)


def document(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def statements(policy):
    """Returns ten statements that do not apply and, in the last policy, one that does."""
    condition = {"StringEquals": {"aws:PrincipalTag/team": "blue"}, "Bool": {"aws:SecureTransport": "true"}}
    made = [
        {
            "Effect": "Allow",
            "Action": ["ssm:Get*", "sagemaker:Create*"],
            "Resource": f"arn:aws:ssm:*:*:parameter/p{policy}/{index}/*",
            "Condition": condition,
        }
        for index in range(10)
    ]
    return [*made, {"Effect": "Allow", "Action": "ssm:GetParameter", "Resource": "*"}] if policy == 9 else made


def signed(endpoint, keys):
    """Returns the headers of a signed request, and its body."""
    body = json.dumps({"Name": "bench"})
    headers = {"X-Amz-Target": "AmazonSSM.GetParameter", "Content-Type": "application/x-amz-json-1.1"}
    request = AWSRequest("POST", endpoint + "/", headers=headers, data=body)
    SigV4Auth(Credentials(*keys), "ssm", "us-east-1").add_auth(request)
    return dict(request.headers), body


def measure(connection, headers, body):
    """Returns the milliseconds of each request."""
    times = []
    for _ in range(REQUESTS):
        begin = time.perf_counter()
        connection.request("POST", "/", body=body, headers=headers)
        answer = connection.getresponse()
        content = answer.read()
        times.append((time.perf_counter() - begin) * 1000)
        assert answer.status == 200, content
    return times


def main():
    with tempfile.TemporaryDirectory() as directory:
        server, endpoint = start(f"{directory}/state")
        root = ("AK", "SK")
        session = boto3.Session(*root, region_name="us-east-1")
        iam, ssm, sts = (session.client(name, endpoint_url=endpoint) for name in ("iam", "ssm", "sts"))
        ssm.put_parameter(Name="bench", Value="x", Type="String")
        everything = document({"Effect": "Allow", "Action": "*", "Resource": "*"})
        boundary = iam.create_policy(PolicyName="b", PolicyDocument=everything)["Policy"]["Arn"]
        trust = document(TRUST)
        role = iam.create_role(RoleName="r", AssumeRolePolicyDocument=trust, PermissionsBoundary=boundary)["Role"]
        for policy in range(10):
            text = document(*statements(policy))
            iam.put_role_policy(RoleName="r", PolicyName=f"p{policy}", PolicyDocument=text)
        given = sts.assume_role(RoleArn=role["Arn"], RoleSessionName="bench")["Credentials"]
        keys = (given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])
        connection = http.client.HTTPConnection(endpoint.removeprefix("http://"))
        requests = {"account": signed(endpoint, root), "session": signed(endpoint, keys)}
        times = {name: [] for name in requests}
        for _ in range(ROUNDS):
            for name, (headers, body) in requests.items():
                times[name] += measure(connection, headers, body)
        for name, found in times.items():
            print(f"{name}: p50 {statistics.median(found):.3f} ms, p90 {statistics.quantiles(found, n=10)[8]:.3f} ms")
        added = statistics.median(times["session"]) - statistics.median(times["account"])
        print(f"added at p50: {added:.3f} ms")
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
