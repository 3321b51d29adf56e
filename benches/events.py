#!/usr/bin/env python3
"""Measures the delivery of events on the local cloud.

usage: PYTHON benches/events.py MLOPS          PYTHON has boto3 (tests/conformance/requirements.txt)

Starts a local cloud in a temporary directory and prints
  - the events per second that PutEvents accepts with 100 rules, of which one matches, and the server's CPU time
    for each; all that matched are counted in the queue of the rule;
  - from the start of PutEvents to the arrival in the queue (SentTimestamp), for single events: median and p99;
  - from the end of `git push` to the start of the build that its rule starts.

Requests are made with plain sockets, so that the result is the server's and not an SDK's. Limited to about a minute.
"""

import http.client
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

import boto3

mlops = os.path.abspath(sys.argv[1])
sys.stdout.reconfigure(line_buffering=True)
RULES, CLIENTS, SECONDS, BATCH = 100, 4, 10, 10
SINGLE, PUSHES = 500, 10
AUTHORIZATION = (
    "AWS4-HMAC-SHA256 Credential=AK/20260101/us-east-1/events/aws4_request, SignedHeaders=host, Signature=0"
)
HEADERS = {
    "Authorization": AUTHORIZATION,
    "Content-Type": "application/x-amz-json-1.1",
    "X-Amz-Target": "AWSEvents.PutEvents",
}
ACCOUNT = "000000000000"


def entries(source, count, number):
    detail = json.dumps({"kind": "order", "amount": 12.5, "number": number, "tags": ["a", "b"], "path": "x/y.csv"})
    entry = {"Source": source, "DetailType": "Order Placed", "Detail": detail}
    return json.dumps({"Entries": [entry] * count}).encode()


def put(connection, body):
    connection.request("POST", "/", body, HEADERS)
    answer = connection.getresponse()
    text = answer.read()
    assert answer.status == 200 and json.loads(text)["FailedEntryCount"] == 0, text


def connect(endpoint):
    return http.client.HTTPConnection(urllib.parse.urlsplit(endpoint).netloc, timeout=60)


def cpu(pid):
    """The CPU time of a process in seconds."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rule(events, sqs, name, pattern):
    queue = sqs.create_queue(QueueName=name)["QueueUrl"]
    arn = f"arn:aws:sqs:us-east-1:{ACCOUNT}:{name}"
    policy = {
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "sqs:SendMessage", "Resource": arn,
        }],
    }
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": json.dumps(policy)})
    events.put_rule(Name=name, EventPattern=json.dumps(pattern))
    events.put_targets(Rule=name, Targets=[{"Id": "queue", "Arn": arn}])
    return queue


def depth(sqs, queue):
    name = "ApproximateNumberOfMessages"
    return int(sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=[name])["Attributes"][name])


def throughput(endpoint, server, sqs, queue):
    sent = [0] * CLIENTS
    end = time.monotonic() + SECONDS

    def work(index):
        connection = connect(endpoint)
        while time.monotonic() < end:
            put(connection, entries("bench.busy", BATCH, sent[index]))
            sent[index] += BATCH

    before, start = cpu(server.pid), time.monotonic()
    threads = [threading.Thread(target=work, args=[index]) for index in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds, total = time.monotonic() - start, sum(sent)
    last, still = -1, time.monotonic()
    while depth(sqs, queue) < total and time.monotonic() - still < 10:
        found = depth(sqs, queue)
        if found != last:
            last, still = found, time.monotonic()
        time.sleep(0.2)
    delivered, drained = depth(sqs, queue), time.monotonic() - start
    used = cpu(server.pid) - before
    print(f"accepted            {total / seconds:8.0f} events/s ({total} in {seconds:.1f} s, {RULES} rules)")
    print(f"delivered           {delivered / drained:8.0f} events/s (all of them after {drained:.1f} s)")
    print(f"CPU of the server   {used / total * 1e6:8.0f} us for each event, matched and delivered")
    print(f"lost                {total - delivered:8d}")


def latency(endpoint, sqs, queue):
    connection, starts = connect(endpoint), {}
    for number in range(SINGLE):
        starts[number] = time.time()
        put(connection, entries("bench.single", 1, number))
        time.sleep(0.005)
    times = []
    while len(times) < SINGLE:
        received = sqs.receive_message(
            QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=5, AttributeNames=["SentTimestamp"]
        ).get("Messages", [])
        assert received, f"{SINGLE - len(times)} events did not arrive"
        for message in received:
            number = json.loads(message["Body"])["detail"]["number"]
            times.append(int(message["Attributes"]["SentTimestamp"]) - starts[number] * 1000)
    times.sort()
    print(
        f"event to target     median {statistics.median(times):.1f} ms, p99 {times[int(SINGLE * 0.99)]:.1f} ms "
        f"({SINGLE} events)"
    )


def pushes(endpoint, client, directory):
    codecommit, codebuild, events, iam = (client(name) for name in ("codecommit", "codebuild", "events", "iam"))
    url = codecommit.create_repository(repositoryName="bench")["repositoryMetadata"]["cloneUrlHttp"]

    def role(name, service, actions):
        trust = {"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"},
        ]}
        arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
        policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]}
        iam.put_role_policy(RoleName=name, PolicyName="bench", PolicyDocument=json.dumps(policy))
        return arn

    build = role("build", "codebuild.amazonaws.com", ["logs:*", "codecommit:GitPull"])
    project = codebuild.create_project(
        name="bench",
        source={"type": "NO_SOURCE", "buildspec": "version: 0.2\nphases: {build: {commands: [\"true\"]}}"},
        artifacts={"type": "NO_ARTIFACTS"},
        environment={
            "type": "LINUX_CONTAINER", "computeType": "BUILD_GENERAL1_SMALL",
            "image": "aws/codebuild/amazonlinux-x86_64-standard:5.0",
        },
        serviceRole=build,
    )["project"]["arn"]
    starter = role("starter", "events.amazonaws.com", ["codebuild:StartBuild"])
    events.put_rule(Name="pushes", EventPattern=json.dumps({"source": ["aws.codecommit"]}))
    events.put_targets(Rule="pushes", Targets=[{"Id": "build", "Arn": project, "RoleArn": starter}])
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}

    def git(*arguments):
        author = ["-c", "user.name=b", "-c", "user.email=b@localhost"]
        subprocess.run(["git", *author, *arguments], cwd=directory, env=environment, check=True, capture_output=True)

    git("init", "-q")
    times, known = [], set()
    for number in range(PUSHES):
        git("commit", "-q", "--allow-empty", "-m", str(number))
        git("push", "-q", url, "HEAD:refs/heads/develop")
        pushed = time.time()
        while not (new := set(codebuild.list_builds_for_project(projectName="bench")["ids"]) - known):
            time.sleep(0.01)
        known |= new
        [started] = codebuild.batch_get_builds(ids=list(new))["builds"]
        times.append((started["startTime"].timestamp() - pushed) * 1000)
        while codebuild.batch_get_builds(ids=list(new))["builds"][0]["buildStatus"] == "IN_PROGRESS":
            time.sleep(0.05)
    print(f"git push to build   median {statistics.median(times):.0f} ms, longest {max(times):.0f} ms ({PUSHES} pushes)")


with tempfile.TemporaryDirectory() as directory:
    state = os.path.join(directory, "state")
    server = subprocess.Popen([mlops, "local", "start", "--port", "0", "--state", state, "--quiet"])
    try:
        endpoint = None
        while not endpoint:
            status = subprocess.run(
                [mlops, "local", "status", "--state", state, "--output", "json"], capture_output=True, text=True
            )
            endpoint = json.loads(status.stdout or "{}").get("endpoint")

        def client(service):
            return boto3.client(
                service, endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="a",
                aws_secret_access_key="b",
            )

        events, sqs = client("events"), client("sqs")
        for number in range(RULES - 2):
            pattern = {
                "source": [f"bench.other{number % 7}", {"prefix": f"bench.none{number}"}],
                "detail": {"path": [{"suffix": f".{number}"}, {"wildcard": f"*/{number}/*"}], "amount": [{"numeric": [">", number]}]},
            }
            rule(events, sqs, f"other-{number}", pattern)
        busy = rule(events, sqs, "busy", {"source": ["bench.busy"], "detail": {"amount": [{"numeric": [">", 10]}]}})
        single = rule(events, sqs, "single", {"source": ["bench.single"]})
        latency(endpoint, sqs, single)
        throughput(endpoint, server, sqs, busy)
        work = os.path.join(directory, "work")
        os.mkdir(work)
        pushes(endpoint, client, work)
    finally:
        server.terminate()
        server.wait(30)
