"""A local cloud with endpoints, for the tests of deployments. Containers are real processes."""

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
import uuid

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

import clock
import images
import roles
from conftest import BIN, watch

SERVE = b'''#!/usr/bin/env python3
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Type", "text/csv")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer(200, b"")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if body == b"fail":
            return self.answer(500, b"broken")
        if body == b"slow":
            time.sleep(0.5)
        self.answer(200, os.environ["ANSWER"].encode())

    def log_message(self, *arguments):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128


Server(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler).serve_forever()
'''

ALARMS = {"Action": "cloudwatch:DescribeAlarms", "Effect": "Allow", "Resource": "*"}


class Cloud:
    """A local cloud of this file: some tests kill it."""

    def __init__(self, directory):
        self.state = os.path.join(directory, "state")
        self.endpoint = self.server = None
        self.start()

    def start(self):
        self.server = subprocess.Popen(
            [BIN, "local", "start", "--port", "0", "--state", self.state, "--quiet"],
            stderr=subprocess.PIPE,
            env={**os.environ, "MLOPS_LOCAL_FAULT": "limit health-check 5"},
        )
        for _ in range(1000):
            arguments = [BIN, "local", "status", "--state", self.state, "--output", "json"]
            status = json.loads(subprocess.run(arguments, capture_output=True).stdout or "{}")
            self.endpoint = status.get("endpoint")
            if self.endpoint:
                return
            assert self.server.poll() is None, self.server.stderr.read()
        raise AssertionError("the server does not start")

    def kill(self):
        self.server.send_signal(signal.SIGKILL)
        self.server.wait(30)

    def stop(self):
        self.server.terminate()
        self.server.wait(30)

    def client(self, service):
        client = boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"max_attempts": 1}, read_timeout=120, max_pool_connections=50),
        )
        client.meta.events.register("after-call.*.*", watch)
        return client

    def advance(self, seconds):
        clock.advance(self.endpoint, seconds)

    def inject(self, *arguments):
        subprocess.run([BIN, "local", "inject", *arguments, "--state", self.state, "--quiet"], check=True)


@pytest.fixture(scope="module")
def server():
    with tempfile.TemporaryDirectory(prefix="mlops-endpoints-") as directory:
        server = Cloud(directory)
        yield server
        server.stop()


@pytest.fixture(scope="module")
def role(server):
    return roles.make(server.client("iam"), *roles.EXECUTION, ALARMS)


@pytest.fixture(scope="module")
def image(server):
    ecr = server.client("ecr")
    ecr.create_repository(repositoryName="hosting")
    return images.push(server.endpoint, ecr, "hosting", {"serve": SERVE, "requirements.txt": b""})


@pytest.fixture(scope="module")
def bucket(server):
    server.client("s3").create_bucket(Bucket="endpoints")
    return "endpoints"


class Deployments:
    """Makes models and configurations, and endpoints that are deleted after the test."""

    def __init__(self, server, role, image, bucket):
        self.server, self.role, self.image, self.bucket = server, role, image, bucket
        self.names = []

    @property
    def sagemaker(self):
        return self.server.client("sagemaker")

    def model(self, answer, role=None):
        name = f"m-{uuid.uuid4().hex[:8]}"
        container = {"Image": self.image, "Environment": {"ANSWER": answer}}
        self.sagemaker.create_model(
            ModelName=name, ExecutionRoleArn=role or self.role, PrimaryContainer=container
        )
        return name

    def config(self, *variants, capture=False, role=None):
        """A configuration with variants (answer, instances, weight)."""
        name = f"c-{variants[0][0]}-{uuid.uuid4().hex[:8]}"
        made = []
        for index, (answer, count, *weight) in enumerate(variants):
            made.append({
                "VariantName": "AllTraffic" if len(variants) == 1 else f"v{index}",
                "ModelName": self.model(answer, role),
                "InstanceType": "ml.m5.large",
                "InitialInstanceCount": count,
                "InitialVariantWeight": weight[0] if weight else 1.0,
            })
        more = {}
        if capture:
            more["DataCaptureConfig"] = {
                "EnableCapture": True,
                "InitialSamplingPercentage": 100,
                "DestinationS3Uri": f"s3://{self.bucket}/capture",
                "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
                "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"]},
            }
        self.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=made, **more)
        return name

    def endpoint(self, config, **more):
        endpoint = Endpoint(self.server, f"e-{uuid.uuid4().hex[:8]}")
        self.names.append(endpoint.name)
        self.sagemaker.create_endpoint(EndpointName=endpoint.name, EndpointConfigName=config, **more)
        assert endpoint.settled()["EndpointStatus"] == "InService"
        return endpoint

    def close(self):
        for name in self.names:
            Endpoint(self.server, name).settled()
            with contextlib.suppress(ClientError):
                self.sagemaker.delete_endpoint(EndpointName=name)


class Endpoint:
    def __init__(self, server, name):
        self.server, self.name = server, name
        self.runtime = server.client("sagemaker-runtime")

    def describe(self):
        return self.server.client("sagemaker").describe_endpoint(EndpointName=self.name)

    def wait(self, done, what):
        for _ in range(1200):
            found = self.describe()
            if done(found):
                return found
            time.sleep(0.05)
        raise AssertionError(f"no {what}: {found}")

    def settled(self):
        passing = ("Creating", "Updating", "RollingBack", "Deleting")
        return self.wait(lambda found: found["EndpointStatus"] not in passing, "end of the deployment")

    def stage(self, status, message=""):
        """Waits until the first variant of the deployment has this status."""

        def reached(found):
            pending = found.get("PendingDeploymentSummary", {}).get("ProductionVariants", [])
            stages = [stage for variant in pending for stage in variant.get("VariantStatus", [])]
            assert found["EndpointStatus"] == "Updating", found
            return any(it["Status"] == status and message in it["StatusMessage"] for it in stages)

        return self.wait(reached, f"stage {status}")

    def update(self, config, deployment=None, **more):
        if deployment:
            more["DeploymentConfig"] = deployment
        self.server.client("sagemaker").update_endpoint(
            EndpointName=self.name, EndpointConfigName=config, **more
        )

    def ask(self, body="1", **more):
        answer = self.runtime.invoke_endpoint(
            EndpointName=self.name, ContentType="text/csv", Body=body, **more
        )
        return answer["Body"].read().decode()

    def shares(self, count=20, **more):
        answers = [self.ask(**more) for _ in range(count)]
        return {answer: answers.count(answer) for answer in sorted(set(answers))}


@pytest.fixture
def deployments(server, role, image, bucket):
    made = Deployments(server, role, image, bucket)
    yield made
    made.close()


def size(value, kind="INSTANCE_COUNT"):
    return {"Type": kind, "Value": value}


def blue_green(kind, wait, *alarms, termination=0, **routing):
    policy = {
        "TrafficRoutingConfiguration": {"Type": kind, "WaitIntervalInSeconds": wait, **routing},
        "TerminationWaitInSeconds": termination,
    }
    return {"BlueGreenUpdatePolicy": policy, **rollback(*alarms)}


def canary(wait, *alarms, **more):
    return blue_green("CANARY", wait, *alarms, CanarySize=size(1), **more)


def rolling(wait, *alarms, **more):
    policy = {"MaximumBatchSize": size(1), "WaitIntervalInSeconds": wait, **more}
    return {"RollingUpdatePolicy": policy, **rollback(*alarms)}


def rollback(*alarms):
    if not alarms:
        return {}
    return {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": alarm} for alarm in alarms]}}


@pytest.fixture
def alarm(server):
    """An alarm in OK, of a metric that nobody writes."""
    name = f"alarm-{uuid.uuid4().hex[:8]}"
    server.client("cloudwatch").put_metric_alarm(
        AlarmName=name, Namespace="test", MetricName="m", Statistic="Sum", Period=60, EvaluationPeriods=1,
        Threshold=1, ComparisonOperator="GreaterThanOrEqualToThreshold", TreatMissingData="notBreaching",
    )
    return name


def trip(server, alarm):
    server.client("cloudwatch").set_alarm_state(AlarmName=alarm, StateValue="ALARM", StateReason="test")


def refused(call, code="ValidationException"):
    with pytest.raises(ClientError) as error:
        call()
    assert error.value.response["Error"]["Code"] == code, error.value
    return error.value.response["Error"]["Message"]


def is_about(share, wanted):
    return abs(share - wanted) <= 2
