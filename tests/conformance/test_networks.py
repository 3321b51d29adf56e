"""Corporate networks: a proxy that intercepts TLS, certificate bundles, NO_PROXY, and the ways in
which an AWS configuration provides credentials. (Issue 8, 5.10.)

The proxy takes the place of AWS: it terminates TLS with certificates of its own CA and forwards the
requests to the local cloud.
"""

import base64
import json
import os
import socket
import socketserver
import ssl
import subprocess
import threading
import time
import uuid

import boto3
import botocore.exceptions
import pytest
import roles
import trustme

from conftest import BIN

SAGEMAKER = "api.sagemaker.us-east-1.amazonaws.com"
ISSUER = "Corp Interception"


class Proxy(socketserver.ThreadingTCPServer):
    """A proxy that intercepts TLS for every host, or responds to CONNECT with `status`."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, ca, upstream, status=None, login=None):
        super().__init__(("127.0.0.1", 0), Tunnel)
        self.ca, self.upstream, self.status, self.login = ca, upstream, status, login
        self.targets = []
        self.certificates = {}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def context(self, host):
        if host not in self.certificates:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.ca.issue_cert(host).configure_cert(context)
            self.certificates[host] = context
        return self.certificates[host]


class Tunnel(socketserver.StreamRequestHandler):
    rbufsize = 0

    def handle(self):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = self.rfile.read(1)
            if not byte:
                return
            head += byte
        method, target = head.split(b" ")[:2]
        proxy = self.server
        proxy.targets.append(target.decode())
        if method != b"CONNECT":
            self.wfile.write(b"HTTP/1.1 502 Not for you\r\nContent-Length: 0\r\n\r\n")
            return
        if proxy.login and proxy.login.encode() not in head:
            self.wfile.write(
                b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
            )
            return
        if proxy.status:
            self.wfile.write(f"HTTP/1.1 {proxy.status}\r\nContent-Length: 0\r\n\r\n".encode())
            return
        self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            context = proxy.context(target.decode().rsplit(":", 1)[0])
            inside = context.wrap_socket(self.connection, server_side=True)
        except (ssl.SSLError, ConnectionError):
            return  # The client does not trust the certificate.
        with inside, socket.create_connection(proxy.upstream) as cloud:
            back = threading.Thread(target=relay, args=(cloud, inside), daemon=True)
            back.start()
            relay(inside, cloud)
            back.join()


def relay(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


@pytest.fixture(scope="module")
def ca():
    return trustme.CA(organization_name=ISSUER)


@pytest.fixture(scope="module")
def upstream(cloud):
    host, port = cloud.removeprefix("http://").rsplit(":", 1)
    return host, int(port)


@pytest.fixture
def proxy(ca, upstream):
    with Proxy(ca, upstream) as proxy:
        yield proxy
        proxy.shutdown()


@pytest.fixture
def bundle(ca, tmp_path):
    path = tmp_path / "corp.pem"
    ca.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture
def run(client, tmp_path):
    """Runs mlops in a new project, with only the given environment."""
    name = f"net-{uuid.uuid4().hex[:6]}"
    client("sagemaker").create_model_package_group(ModelPackageGroupName=name)
    project, home = tmp_path / "project", tmp_path / "home"
    project.mkdir()
    home.mkdir()
    (project / "mlops.toml").write_text(
        f'name = "{name}"\naccount = "111122223333"\nregion = "us-east-1"\n'
    )

    def run(*arguments, **variables):
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "MLOPS_CACHE_DIR": str(tmp_path / "cache"),
            **{name: str(value) for name, value in variables.items()},
        }
        return subprocess.run(
            [BIN, *arguments], cwd=project, env=environment, capture_output=True, text=True
        )

    run.home, run.project = home, project
    return run


KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
LIST = ("models", "list", "--output", "json")


def succeeded(run):
    assert run.returncode == 0, run.stderr
    json.loads(run.stdout)


def test_a_bundle_in_the_environment_is_trusted(run, proxy, bundle):
    succeeded(run(*LIST, HTTPS_PROXY=proxy.url, AWS_CA_BUNDLE=bundle, **KEYS))
    assert f"{SAGEMAKER}:443" in proxy.targets


def test_a_bundle_of_the_profile_is_trusted(run, proxy, bundle):
    config = run.home / "config"
    config.write_text(
        f"[profile corp]\nca_bundle = {bundle}\naws_access_key_id = test\n"
        "aws_secret_access_key = test\n"
    )
    succeeded(run(*LIST, "--profile", "corp", https_proxy=proxy.url, AWS_CONFIG_FILE=config))
    succeeded(run(*LIST, AWS_PROFILE="corp", https_proxy=proxy.url, AWS_CONFIG_FILE=config))
    # As in the aws CLI, the variable takes precedence over the profile.
    other = run(
        *LIST,
        AWS_PROFILE="corp",
        https_proxy=proxy.url,
        AWS_CONFIG_FILE=config,
        AWS_CA_BUNDLE="/nowhere.pem",
    )
    assert other.returncode == 2 and "AWS_CA_BUNDLE is set to /nowhere.pem" in other.stderr


def test_an_intercepted_handshake_names_proxy_issuer_and_setting(run, proxy):
    failed = run(*LIST, HTTPS_PROXY=proxy.url, **KEYS)
    assert failed.returncode == 1
    for part in [SAGEMAKER, "is not trusted", ISSUER, proxy.url, "AWS_CA_BUNDLE"]:
        assert part in failed.stderr, failed.stderr


def test_a_bundle_without_the_issuer_is_named(run, proxy, tmp_path):
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    failed = run(*LIST, HTTPS_PROXY=proxy.url, AWS_CA_BUNDLE=other, **KEYS)
    assert failed.returncode == 1
    assert str(other) in failed.stderr and ISSUER in failed.stderr, failed.stderr


@pytest.mark.parametrize("status", ["403 Forbidden", "502 Bad Gateway"])
def test_a_rejected_tunnel_is_reported(run, ca, upstream, status):
    with Proxy(ca, upstream, status=status) as proxy:
        failed = run(*LIST, HTTPS_PROXY=proxy.url, **KEYS)
        proxy.shutdown()
    assert failed.returncode == 1
    assert f"the proxy {proxy.url} refused the tunnel to {SAGEMAKER}:443: {status}" in failed.stderr
    assert "NO_PROXY" in failed.stderr


def test_a_proxy_with_a_login(run, ca, upstream, bundle):
    login = base64.b64encode(b"me:secret").decode()
    with Proxy(ca, upstream, login=login) as proxy:
        failed = run(*LIST, HTTPS_PROXY=proxy.url, AWS_CA_BUNDLE=bundle, **KEYS)
        with_login = proxy.url.replace("http://", "http://me:secret@")
        succeeded(run(*LIST, HTTPS_PROXY=with_login, AWS_CA_BUNDLE=bundle, **KEYS))
        wrong = proxy.url.replace("http://", "http://me:hunter2@")
        refused = run(*LIST, HTTPS_PROXY=wrong, AWS_CA_BUNDLE=bundle, **KEYS)
        proxy.shutdown()
    assert failed.returncode == 1 and "407" in failed.stderr and "login" in failed.stderr
    assert "hunter2" not in refused.stderr and "407" in refused.stderr


def test_an_unreachable_proxy_is_named(run):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    failed = run(*LIST, HTTPS_PROXY=address, **KEYS)
    assert failed.returncode == 1
    assert f"cannot reach the proxy {address}" in failed.stderr


def test_no_proxy_and_this_machine_bypass_the_proxy(run, proxy, cloud):
    succeeded(run(*LIST, AWS_ENDPOINT_URL=cloud, HTTP_PROXY=proxy.url, **KEYS))
    direct = run(*LIST, HTTPS_PROXY=proxy.url, NO_PROXY=".amazonaws.com", **KEYS)
    assert direct.returncode == 1 and "proxy" not in direct.stderr, direct.stderr
    assert proxy.targets == []


@pytest.mark.parametrize("bytes", [b"", b"not a certificate\n"])
def test_a_bundle_without_certificates_is_rejected(run, tmp_path, bytes):
    empty = tmp_path / "empty.pem"
    empty.write_bytes(bytes)
    failed = run(*LIST, AWS_CA_BUNDLE=empty, **KEYS)
    assert failed.returncode == 2 and "contains no certificate" in failed.stderr


def layout(directory):
    """Writes an OCI layout with one layer."""
    import hashlib

    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def blob(data):
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"digest": f"sha256:{digest}", "size": len(data)}

    config = blob(json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {}}).encode())
    kind = "application/vnd.oci.image"
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{kind}.manifest.v1+json",
        "config": {"mediaType": f"{kind}.config.v1+json", **config},
        "layers": [{"mediaType": f"{kind}.layer.v1.tar", **blob(b"layer")}],
    }
    entry = {"mediaType": manifest["mediaType"], **blob(json.dumps(manifest).encode())}
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return directory


def test_the_registry_trusts_the_bundle_too(run, client, proxy, bundle, tmp_path):
    repository = f"net-{uuid.uuid4().hex[:6]}"
    client("ecr").create_repository(repositoryName=repository)
    host = "000000000000.dkr.ecr.us-east-1.amazonaws.com"
    docker = run.home / ".docker"
    docker.mkdir()
    login = base64.b64encode(b"AWS:any").decode()
    (docker / "config.json").write_text(json.dumps({"auths": {host: {"auth": login}}}))
    push = ("image", "push", str(layout(tmp_path / "layout")), "--to", f"{host}/{repository}:1")
    failed = run(*push, HTTPS_PROXY=proxy.url)
    assert failed.returncode == 1
    assert "is not trusted" in failed.stderr and ISSUER in failed.stderr, failed.stderr
    pushed = run(*push, HTTPS_PROXY=proxy.url, AWS_CA_BUNDLE=bundle)
    assert pushed.returncode == 0, pushed.stderr
    images = client("ecr").list_images(repositoryName=repository)["imageIds"]
    assert [image["imageTag"] for image in images] == ["1"]


def with_requirements(run):
    """Writes an image directory with a package that pip must download."""
    program = run.project / "image" / "program"
    program.mkdir(parents=True)
    (program / "train").write_text("#!/bin/sh\n")
    (run.project / "image" / "requirements.txt").write_text("no-such-package==1.0\n")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        who = ["-c", "user.name=x", "-c", "user.email=x@example.com"]
        subprocess.run(["git", *who, *command], cwd=run.project, check=True)


def test_pip_failures_name_the_setting(run, proxy, bundle, tmp_path):
    with_requirements(run)
    build = ("image", "build", "--builder", "layers", "--base", "scratch")
    index = {"PIP_INDEX_URL": "https://sts.us-east-1.amazonaws.com/simple", "PIP_RETRIES": "0"}
    for settings, hints in (
        ({"HTTPS_PROXY": proxy.url}, ("intercept TLS", "AWS_CA_BUNDLE", "PIP_CERT")),
        ({"HTTPS_PROXY": "http://127.0.0.1:9"}, ("proxy", "HTTPS_PROXY", "NO_PROXY")),
        (
            {"HTTPS_PROXY": proxy.url, "PIP_CERT": str(tmp_path / "none.pem")},
            ("existing PEM file", "PIP_CERT", "none.pem"),
        ),
    ):
        failed = run(*build, **index, **settings)
        assert failed.returncode == 1, failed.stderr
        hint = [line for line in failed.stderr.splitlines() if line.startswith("hint: ")]
        assert all(any(part in line for line in hint) for part in hints), failed.stderr


def test_pip_receives_the_bundle(run, bundle, tmp_path):
    seen, python = tmp_path / "seen", tmp_path / "python"
    # A Python that reports itself, so that pip runs in it, too.
    itself = {"version": "3.11.7", "executable": str(python), "pip": "24.0"}
    itself |= {"system": "Linux", "machine": "x86_64"}
    python.write_text(
        f"#!/bin/sh\nif [ \"$2\" = -c ]; then echo '{json.dumps(itself)}'; exit; fi\n"
        f"env >>{seen}\nexit 1\n"
    )
    python.chmod(0o755)
    with_requirements(run)
    run(
        *("image", "build", "--builder", "layers", "--base", "scratch"),
        AWS_CA_BUNDLE=bundle,
        MLOPS_PYTHON=python,
        PIP_INDEX_URL="http://127.0.0.1:9/simple",
        PIP_RETRIES="0",
    )
    assert f"PIP_CERT={bundle}\n" in seen.read_text()


@pytest.fixture(scope="module")
def role(client):
    def role(principal, action="sts:AssumeRole"):
        statement = {"Effect": "Allow", "Principal": principal, "Action": action}
        policy = {"Version": "2012-10-17", "Statement": [statement]}
        iam, name = client("iam"), f"net-{uuid.uuid4().hex[:6]}"
        arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(policy))["Role"]["Arn"]
        # What `mlops models list` does.
        roles.permit(iam, arn, roles.allow(["sagemaker:Describe*", "sagemaker:List*"]))
        return arn

    return role


ROOT = {"AWS": "arn:aws:iam::000000000000:root"}


def test_a_role_session_is_its_own_caller_identity(client, cloud, role):
    arn = role(ROOT)
    answer = client("sts").assume_role(RoleArn=arn, RoleSessionName="me")
    keys = answer["Credentials"]
    session = {
        "endpoint_url": cloud,
        "region_name": "us-east-1",
        "aws_access_key_id": keys["AccessKeyId"],
        "aws_secret_access_key": keys["SecretAccessKey"],
    }
    sts = boto3.client("sts", aws_session_token=keys["SessionToken"], **session)
    name = arn.rsplit("/", 1)[1]
    assert sts.get_caller_identity()["Arn"].endswith(f":assumed-role/{name}/me")
    assert client("sts").get_caller_identity()["Arn"].endswith(":user/local")
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        boto3.client("sts", aws_session_token="wrong", **session).get_caller_identity()
    assert refused.value.response["Error"]["Code"] == "InvalidClientTokenId"


def test_a_role_that_does_not_trust_the_caller_is_rejected(client, role):
    arns = [role({"Service": "sagemaker.amazonaws.com"}), "arn:aws:iam::000000000000:role/none"]
    for arn in arns:
        with pytest.raises(botocore.exceptions.ClientError) as refused:
            client("sts").assume_role(RoleArn=arn, RoleSessionName="me")
        assert refused.value.response["Error"]["Code"] == "AccessDenied"
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        client("sts").assume_role(RoleArn=role(ROOT), RoleSessionName="me", SourceIdentity="me")
    assert "NotImplemented" in str(refused.value) and "SourceIdentity" in str(refused.value)


def test_profiles_with_a_role(run, cloud, role):
    config = run.home / "config"
    config.write_text(
        "[profile base]\naws_access_key_id = test\naws_secret_access_key = test\n"
        f"[profile team]\nrole_arn = {role(ROOT)}\nsource_profile = base\n"
        f"[profile others]\nrole_arn = {role({'Service': 'ec2.amazonaws.com'})}\n"
        "source_profile = base\n"
    )
    variables = {"AWS_ENDPOINT_URL": cloud, "AWS_CONFIG_FILE": config}
    succeeded(run(*LIST, "--profile", "team", **variables))
    failed = run(*LIST, "--profile", "others", **variables)
    assert failed.returncode == 4, failed.stderr
    assert "sts:AssumeRole" in failed.stderr, failed.stderr


def test_a_credential_process(run, client, cloud, role):
    keys = client("sts").assume_role(RoleArn=role(ROOT), RoleSessionName="me")["Credentials"]
    program = run.home / "keys"
    answer = json.dumps({"Version": 1, **keys}, default=lambda time: time.isoformat())
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{answer}\nEND\n")
    program.chmod(0o755)
    config = run.home / "config"
    config.write_text(f"[profile tool]\ncredential_process = {program}\n")
    variables = {"AWS_ENDPOINT_URL": cloud, "AWS_CONFIG_FILE": config}
    succeeded(run(*LIST, "--profile", "tool", **variables))
    program.write_text("#!/bin/sh\nexit 1\n")
    failed = run(*LIST, "--profile", "tool", **variables)
    assert failed.returncode == 4, failed.stderr


def token(**claims):
    def part(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    body = {"iss": "https://ci.example", "sub": "repo:a", "aud": "sts.amazonaws.com", **claims}
    return f"{part({'alg': 'RS256'})}.{part(body)}.c2lnbmF0dXJl"


def test_a_web_identity_can_assume_a_role(client, role):
    federated = {"Federated": "arn:aws:iam::000000000000:oidc-provider/ci.example"}
    arn = role(federated, "sts:AssumeRoleWithWebIdentity")
    answer = client("sts").assume_role_with_web_identity(
        RoleArn=arn,
        RoleSessionName="ci",
        WebIdentityToken=token(exp=int(time.time()) + 600),
    )
    assert answer["SubjectFromWebIdentityToken"] == "repo:a"
    assert answer["AssumedRoleUser"]["Arn"].endswith("/ci")


@pytest.mark.parametrize(
    ("claims", "code"), [({}, 0), ({"exp": 1}, 4), ({"iss": "https://other.example"}, 4)]
)
def test_web_identity(run, cloud, role, claims, code):
    federated = {"Federated": "arn:aws:iam::000000000000:oidc-provider/ci.example"}
    file = run.home / "token"
    file.write_text(token(**{"exp": int(time.time()) + 600, **claims}))
    ended = run(
        *LIST,
        AWS_ENDPOINT_URL=cloud,
        AWS_ROLE_ARN=role(federated, "sts:AssumeRoleWithWebIdentity"),
        AWS_WEB_IDENTITY_TOKEN_FILE=file,
        AWS_ROLE_SESSION_NAME="ci",
    )
    assert ended.returncode == code, ended.stderr
