"""Code shared by the S3 tests: clients, buckets, errors, and checksums."""

import base64
import contextlib
import hashlib
import json
import os
import subprocess
import time
import urllib.error
import urllib.request
import uuid
import zlib

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def s3(client):
    return client("s3", config=Config(retries={"max_attempts": 1}, max_pool_connections=32))


@pytest.fixture
def bucket(s3):
    name = f"test-{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=name)
    return name


@pytest.fixture
def versioned(s3, bucket):
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    return bucket


def refused(call, **kwargs):
    """Returns the response of a call that must fail."""
    with pytest.raises(ClientError) as error:
        call(**kwargs)
    return error.value.response


def code(call, **kwargs):
    return refused(call, **kwargs)["Error"]["Code"]


def status(call, **kwargs):
    return refused(call, **kwargs)["ResponseMetadata"]["HTTPStatusCode"]


def body(s3, **kwargs):
    return s3.get_object(**kwargs)["Body"].read()


def fetch(url, method="GET", data=None, headers=None):
    """Returns status, headers and body of a plain HTTP request; does not follow redirects."""

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_):
            return None

    request = urllib.request.Request(url, method=method, data=data, headers=headers or {})
    try:
        with urllib.request.build_opener(Stay).open(request) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def checksum(algorithm, data):
    """Returns a checksum in S3's format, for the algorithms that Python supports."""
    digest = {
        "CRC32": lambda: zlib.crc32(data).to_bytes(4, "big"),
        "SHA1": lambda: hashlib.sha1(data).digest(),
        "SHA256": lambda: hashlib.sha256(data).digest(),
    }[algorithm]()
    return base64.b64encode(digest).decode()


def quoted(data):
    """Returns the ETag of an object that was uploaded in one request."""
    return f'"{hashlib.md5(data).hexdigest()}"'


@contextlib.contextmanager
def local_cloud(state, *args):
    """Starts a separate local cloud; yields the contents of its address.json."""
    mlops = os.environ.get("MLOPS_BIN", "target/debug/mlops")
    server = subprocess.Popen(
        [mlops, "local", "start", "--port", "0", "--state", str(state), "--quiet", *args]
    )
    try:
        address = state / "address.json"
        for _ in range(1000):
            if address.exists():
                break
            assert server.poll() is None
            time.sleep(0.02)
        yield json.loads(address.read_text())
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """Starts a local cloud that checks signatures: (endpoint, access key, secret key)."""
    state = tmp_path_factory.mktemp("guarded") / "state"
    with local_cloud(state, "--require-credentials") as found:
        yield found["endpoint"], found["access_key"], found["secret_key"]
