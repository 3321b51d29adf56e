"""Third-party clients against the local cloud: boto3, the aws CLI, skopeo, git.

Run by .ci/run, with the binary in MLOPS_BIN, in several processes (pytest-xdist, one file at a time in
each). In each process, one server with its own state directory serves all tests.
"""

import json
import os
import subprocess
import tempfile

import boto3
import pytest
from botocore.config import Config

import shapes
import used_operations

BIN = os.environ.get("MLOPS_BIN", "target/debug/mlops")

# Responses since the last test that violate AWS's service models.
BROKEN = []


def pytest_addoption(parser):
    parser.addoption("--all-operations", action="store_true", help="fail if no test uses an operation")


def pytest_configure(config):
    config.pluginmanager.register(used_operations.Plugin(config))


def watch(model, http_response, **_):
    """A handler for botocore's after-call event: records the operation and checks its response."""
    if http_response.status_code < 300:
        used_operations.USED.add((model.service_model.service_name, model.name))
    BROKEN.extend(shapes.findings(model, http_response))


@pytest.fixture(autouse=True)
def answers_match_models():
    """Fails a test if a response in it, or in its fixtures, violated the service's model."""
    yield
    found = sorted(set(BROKEN))
    BROKEN.clear()
    assert not found, "answers that AWS's service models do not allow:\n" + "\n".join(found)


@pytest.fixture(scope="session")
def state():
    """The state directory of this session's local cloud."""
    with tempfile.TemporaryDirectory(prefix="mlops-conformance-") as directory:
        yield os.path.join(directory, "state")


@pytest.fixture(scope="session")
def cloud(state):
    """The endpoint of a running local cloud."""
    server = subprocess.Popen(
        [BIN, "local", "start", "--port", "0", "--state", state, "--quiet"],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for _ in range(1000):
            status = subprocess.run(
                [BIN, "local", "status", "--state", state, "--output", "json"],
                capture_output=True,
                text=True,
            )
            endpoint = json.loads(status.stdout or "{}").get("endpoint")
            if endpoint:
                break
            assert server.poll() is None, server.stderr.read()
        yield endpoint
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture(scope="session")
def client(cloud):
    """Makes a boto3 client: client("s3"), client("s3", config=Config(...))."""

    def make(service, **kwargs):
        kwargs.setdefault("config", Config(retries={"max_attempts": 1}, read_timeout=120))
        made = boto3.client(
            service,
            endpoint_url=cloud,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            **kwargs,
        )
        made.meta.events.register("after-call.*.*", watch)
        return made

    return make


@pytest.fixture(scope="session")
def environment(cloud):
    """The environment for a subprocess that should talk to the local cloud."""
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith("AWS_")},
        "AWS_ENDPOINT_URL": cloud,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
