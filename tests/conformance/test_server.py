"""A separate server: how stopping and restarting affect jobs and endpoints, and access control."""

import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import boto3
import pytest
import roles
from botocore.config import Config
from botocore.exceptions import ClientError

BIN = os.environ.get("MLOPS_BIN", "target/debug/mlops")
OCI = "application/vnd.oci.image"
SERVE = b"""#!/usr/bin/env python3
import os, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if body == b"slow":
            time.sleep(50)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[::-1])

    def log_message(self, *arguments):
        pass

ThreadingHTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler).serve_forever()
"""
# A child that has left the shell's process group, and a shell that ignores SIGTERM.
STUBBORN = b"""#!/bin/sh
trap '' TERM
sleep 600 &
while true; do sleep 1; done
"""


class Server:
    def __init__(self, state, *options, environment=None):
        self.state, self.options, self.environment = state, options, environment or {}

    def mlops(self, *arguments):
        done = subprocess.run([BIN, *arguments, "--state", self.state], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self):
        self.process = subprocess.Popen(
            [BIN, "local", "start", "--port", "0", "--quiet", "--state", self.state, *self.options],
            env={**os.environ, **self.environment},
        )
        for _ in range(1000):
            if json.loads(self.mlops("local", "status", "--output", "json"))["running"]:
                break
            assert self.process.poll() is None
            time.sleep(0.01)
        self.address = json.loads((Path(self.state) / "address.json").read_text())

    def stop(self):
        """Stops the server; returns how many seconds that took."""
        begin = time.monotonic()
        self.mlops("local", "stop")
        seconds = time.monotonic() - begin
        # The lock is released only after the work is done; nothing is left to do in the process.
        assert self.process.wait(1) == 0
        return seconds

    def client(self, service, **credentials):
        return boto3.client(
            service,
            endpoint_url=self.address["endpoint"],
            region_name="us-east-1",
            aws_access_key_id=credentials.get("key", self.address["access_key"]),
            aws_secret_access_key=credentials.get("secret", self.address["secret_key"]),
            config=Config(retries={"max_attempts": 1}, read_timeout=120),
        )

    def processes(self):
        """Returns the command lines of other processes that reference the server's state directory or address."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == self.process.pid:
                continue
            try:
                command = (entry / "cmdline").read_bytes()
                about = command + (entry / "environ").read_bytes() + os.readlink(entry / "cwd").encode()
            except OSError:
                continue
            if self.state.encode() in about or self.address["endpoint"].encode() in about:
                found.append(command.replace(b"\0", b" ").decode())
        return found

    def send(self, method, path, body=None, kind="application/octet-stream", token=None):
        token = token or self.client("ecr").get_authorization_token()["authorizationData"][0]["authorizationToken"]
        url = path if path.startswith("http") else self.address["endpoint"] + path
        headers = {"Authorization": "Basic " + token, "Content-Type": kind}
        return urllib.request.urlopen(urllib.request.Request(url, body, headers, method=method)).headers

    def push(self, name, programs):
        repository = self.client("ecr").create_repository(repositoryName=name)["repository"]["repositoryUri"]

        def blob(body):
            digest = "sha256:" + hashlib.sha256(body).hexdigest()
            where = self.send("POST", f"/v2/{name}/blobs/uploads/", b"")["Location"]
            self.send("PUT", f"{where}{'&' if '?' in where else '?'}digest={digest}", body)
            return {"digest": digest, "size": len(body)}

        tar = io.BytesIO()
        with tarfile.open(fileobj=tar, mode="w") as archive:
            for program, text in programs.items():
                info = tarfile.TarInfo(f"opt/program/{program}")
                info.size, info.mode = len(text), 0o755
                archive.addfile(info, io.BytesIO(text))
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Env": ["PATH=/opt/program:/usr/local/bin:/usr/bin:/bin"], "WorkingDir": "/opt/program"},
            "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(tar.getvalue()).hexdigest()]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{OCI}.manifest.v1+json",
            "config": {"mediaType": f"{OCI}.config.v1+json", **blob(json.dumps(config).encode())},
            "layers": [
                {"mediaType": f"{OCI}.layer.v1.tar+gzip", **blob(gzip.compress(tar.getvalue(), mtime=0))}
            ],
        }
        body = json.dumps(manifest).encode()
        digest = "sha256:" + hashlib.sha256(body).hexdigest()
        self.send("PUT", f"/v2/{name}/manifests/{digest}", body, f"{OCI}.manifest.v1+json")
        return f"{repository}@{digest}"

    def deploy(self, image, role):
        """Creates the endpoint `echo`, in service."""
        s3, sagemaker = self.client("s3"), self.client("sagemaker")
        s3.create_bucket(Bucket="models")
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w:gz"):
            pass
        s3.put_object(Bucket="models", Key="model.tar.gz", Body=data.getvalue())
        container = {"Image": image, "ModelDataUrl": "s3://models/model.tar.gz"}
        sagemaker.create_model(ModelName="echo", ExecutionRoleArn=role, PrimaryContainer=container)
        variant = {"VariantName": "A", "ModelName": "echo", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
        sagemaker.create_endpoint_config(EndpointConfigName="echo", ProductionVariants=[variant])
        sagemaker.create_endpoint(EndpointName="echo", EndpointConfigName="echo")
        sagemaker.get_waiter("endpoint_in_service").wait(
            EndpointName="echo", WaiterConfig={"Delay": 1, "MaxAttempts": 60}
        )

    def invoke(self, body, **credentials):
        runtime = self.client("sagemaker-runtime", **credentials)
        return runtime.invoke_endpoint(EndpointName="echo", Body=body)["Body"].read()


@pytest.fixture
def server(tmp_path, request):
    server = Server(str(tmp_path / "state"), *getattr(request, "param", []))
    server.start()
    yield server
    if server.process.poll() is None:
        server.process.terminate()
        server.process.wait(30)


def until(condition, seconds=30):
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < seconds
        time.sleep(0.05)


def test_stopping_is_quick_and_the_next_start_resumes(server):
    image = server.push("programs", {"serve": SERVE, "stubborn": STUBBORN})
    role = roles.make(server.client("iam"), *roles.EXECUTION, name="r")
    server.deploy(image, role)
    assert server.invoke(b"abc") == b"cba"
    sagemaker = server.client("sagemaker")
    sagemaker.create_processing_job(
        ProcessingJobName="long",
        RoleArn=role,
        AppSpecification={"ImageUri": image, "ContainerEntrypoint": ["stubborn"]},
        ProcessingResources={
            "ClusterConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1}
        },
    )
    until(lambda: any("sleep 600" in process for process in server.processes()))
    assert sum("serve" in process for process in server.processes()) >= 1

    # A request without a response does not delay the server either.
    def slow():
        with pytest.raises(Exception):
            server.invoke(b"slow")

    waiting = threading.Thread(target=slow)
    waiting.start()
    time.sleep(0.5)

    seconds = server.stop()
    assert seconds < 5, seconds
    until(lambda: server.processes() == [], 2)
    waiting.join(5)

    server.start()
    sagemaker = server.client("sagemaker")
    job = sagemaker.describe_processing_job(ProcessingJobName="long")
    assert job["ProcessingJobStatus"] == "Failed"
    assert "local cloud" in job["FailureReason"], job["FailureReason"]
    assert job["ProcessingEndTime"] >= job["ProcessingStartTime"]
    assert sagemaker.describe_endpoint(EndpointName="echo")["EndpointStatus"] == "InService"
    assert server.invoke(b"again") == b"niaga"

    # And once more after `kill -9`.
    server.process.kill()
    server.process.wait()
    until(lambda: server.processes() == [], 5)
    server.start()
    assert server.invoke(b"third") == b"driht"


@pytest.mark.parametrize("server", [["--require-credentials"]], indirect=True)
def test_the_registry_and_invocations_need_the_credentials(server):
    image = server.push("programs", {"serve": SERVE})
    role = roles.make(server.client("iam"), *roles.EXECUTION, name="r")
    server.deploy(image, role)
    assert server.invoke(b"abc") == b"cba"
    for wrong, code in (
        ({"secret": "wrong"}, "SignatureDoesNotMatch"),
        ({"key": "other"}, "InvalidClientTokenId"),
    ):
        with pytest.raises(ClientError) as error:
            server.invoke(b"abc", **wrong)
        assert error.value.response["Error"]["Code"] == code
        assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    with pytest.raises(urllib.error.HTTPError) as error:
        server.send("GET", "/v2/", token="QVdTOmd1ZXNzZWQ=")  # AWS:guessed
    assert error.value.code == 401
