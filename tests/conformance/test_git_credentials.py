"""git over HTTP if credentials are required (issue 8, 1.3): CodeCommit's signature, as created by the
aws CLI's credential helper and git-remote-codecommit."""

import base64
import datetime
import os
import subprocess
import urllib.error
import urllib.request

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from test_server import Server

NAME = "flights"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    server = Server(str(tmp_path_factory.mktemp("guarded") / "state"), "--require-credentials")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def url(guarded):
    address = guarded.address
    codecommit = boto3.client(
        "codecommit",
        endpoint_url=address["endpoint"],
        region_name="us-east-1",
        aws_access_key_id=address["access_key"],
        aws_secret_access_key=address["secret_key"],
    )
    return codecommit.create_repository(repositoryName=NAME)["repositoryMetadata"]["cloneUrlHttp"]


def git(directory, guarded, *arguments, secret=None, region="us-east-1"):
    """Runs git with the aws CLI as its credential helper, as AWS documents it."""
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "GIT_"))},
        "AWS_ACCESS_KEY_ID": guarded.address["access_key"],
        "AWS_SECRET_ACCESS_KEY": secret or guarded.address["secret_key"],
        "AWS_DEFAULT_REGION": region,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_GLOBAL": "/dev/null",
    }
    options = {
        "user.name": "A",
        "user.email": "a@example.com",
        "credential.helper": "!aws codecommit credential-helper --ignore-host-check $@",
        "credential.UseHttpPath": "true",
    }
    flags = [part for key, value in options.items() for part in ("-c", f"{key}={value}")]
    return subprocess.run(
        ["git", *flags, *arguments], cwd=directory, env=environment, capture_output=True, text=True
    )


def test_the_aws_credential_helper_authorizes_git(guarded, url, tmp_path):
    def run(*arguments, directory="work"):
        done = git(tmp_path / directory, guarded, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    run("clone", url, "work", directory="")
    (tmp_path / "work" / "a").write_text("a")
    run("add", ".")
    run("commit", "-m", "first")
    run("push", "origin", "HEAD:refs/heads/main")
    run("fetch", "origin")
    assert run("rev-parse", "HEAD") == run("rev-parse", "origin/main")
    # With .git at its end, the URL is a different string, which is signed as it is.
    run("clone", url + ".git", "again", directory="")
    assert (tmp_path / "again" / "a").read_text() == "a"


def test_wrong_keys_and_regions_are_rejected(guarded, url, tmp_path):
    assert git(tmp_path, guarded, "ls-remote", url).returncode == 0
    for options in ({"secret": "another"}, {"region": "eu-west-1"}):
        done = git(tmp_path, guarded, "ls-remote", url, **options)
        assert done.returncode != 0, options
    done = git(tmp_path, guarded, "-c", "credential.helper=", "ls-remote", url)
    assert done.returncode != 0


def password(secret, path, host, moment):
    """Computes the signature of git-remote-codecommit (its function `sign`)."""
    request = AWSRequest(method="GIT", url=f"https://{host}{path}")
    request.context["timestamp"] = moment.strftime("%Y%m%dT%H%M%S")
    signer = SigV4Auth(Credentials("x", secret), "codecommit", "us-east-1")
    canonical = f"GIT\n{path}\n\nhost:{host}\n\nhost\n"
    signature = signer.signature(signer.string_to_sign(request, canonical), request)
    return f"{request.context['timestamp']}Z{signature}"


def test_the_signature_is_checked_for_path_age_and_user(guarded, url):
    key, secret = guarded.address["access_key"], guarded.address["secret_key"]
    path = f"/v1/repos/{NAME}"
    now = datetime.datetime.now(datetime.timezone.utc)

    def status(user, word):
        request = urllib.request.Request(f"{url}/info/refs?service=git-upload-pack")
        basic = base64.b64encode(f"{user}:{word}".encode()).decode()
        request.add_header("Authorization", f"Basic {basic}")
        try:
            return urllib.request.urlopen(request).status
        except urllib.error.HTTPError as error:
            assert error.headers["WWW-Authenticate"].startswith("Basic")
            return error.code

    good = password(secret, path, "127.0.0.1", now)
    assert status(key, good) == 200
    minutes = datetime.timedelta(minutes=1)
    assert status(key, password(secret, path, "127.0.0.1", now - 14 * minutes)) == 200
    for user, word in [
        ("AKIDEXAMPLE", good),
        (key + "%token", good),
        (key, good[:-1] + ("0" if good[-1] != "0" else "1")),
        (key, good[:16]),
        (key, ""),
        (key, secret),
        (key, password(secret, "/v1/repos/other", "127.0.0.1", now)),
        (key, password(secret, path, "git-codecommit.us-east-1.amazonaws.com", now)),
        (key, password(secret, path, "127.0.0.1", now - 16 * minutes)),
        (key, password(secret, path, "127.0.0.1", now + 16 * minutes)),
    ]:
        assert status(user, word) == 401, (user, word)


def test_other_services_require_credentials_too(guarded):
    """Every request without credentials is rejected, and reveals nothing else."""
    endpoint = guarded.address["endpoint"]
    signed = "AWS4-HMAC-SHA256 Credential=AK/20260101/us-east-1/{}/aws4_request, SignedHeaders=host, Signature=0"
    basic = "Basic " + base64.b64encode(b"AWS:token").decode()
    for method, path, authorization in [
        ("GET", "/v2/", None),
        ("GET", "/v2/", basic),
        ("GET", "/v2/flights/tags/list", basic),
        ("GET", "/v2/flights/blobs/sha256:" + 64 * "0" + "?X-Mlops-Download=x", None),
        ("POST", f"/v2/{NAME}/blobs/uploads/", basic),
        ("GET", "/", None),
        ("GET", "/", signed.format("s3")),
        ("GET", "/b/k?AWSAccessKeyId=AK&Signature=x&Expires=99999999999", None),
        ("GET", "/b/k?X-Amz-Credential=AK%2F20260101%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Signature=0"
         "&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=20260101T000000Z&X-Amz-Expires=60"
         "&X-Amz-SignedHeaders=host", None),
        ("GET", "/2015-03-31/functions/", signed.format("lambda")),
        ("POST", "/endpoints/x/invocations", signed.format("sagemaker")),
        ("POST", "/", signed.format("sts")),
    ]:
        request = urllib.request.Request(endpoint + path, method=method)
        if authorization:
            request.add_header("Authorization", authorization)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request)
        # S3 returns 400 if parts of the signature are missing.
        assert refused.value.code in (400, 401, 403), (method, path, refused.value.code)
