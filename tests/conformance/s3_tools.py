"""What the S3 tests share: clients, buckets, errors, and checksums."""

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
    """The response of a call that must fail."""
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
    """Status, headers and body of a plain HTTP request; redirects are not followed."""

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
    """A checksum as S3 writes it, of the algorithms that Python has."""
    digest = {
        "CRC32": lambda: zlib.crc32(data).to_bytes(4, "big"),
        "SHA1": lambda: hashlib.sha1(data).digest(),
        "SHA256": lambda: hashlib.sha256(data).digest(),
    }[algorithm]()
    return base64.b64encode(digest).decode()


def quoted(data):
    """The ETag of an object that came in one piece."""
    return f'"{hashlib.md5(data).hexdigest()}"'


@contextlib.contextmanager
def local_cloud(state, *args):
    """A local cloud of its own; what its address.json has."""
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
    """A local cloud that checks signatures: (endpoint, access key, secret key)."""
    state = tmp_path_factory.mktemp("guarded") / "state"
    with local_cloud(state, "--require-credentials") as found:
        yield found["endpoint"], found["access_key"], found["secret_key"]
