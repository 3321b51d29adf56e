"""`mlops image push` against Debian's docker-registry; skopeo reads the result back."""

import base64
import gzip
import hashlib
import json
import os
import random
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest
from conftest import BIN

OCI = "application/vnd.oci.image"
DOCKER = "application/vnd.docker"


def sha256(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Layout:
    """Writes an OCI layout directory."""

    def __init__(self, root):
        self.root = root
        self.blobs = {}
        os.makedirs(root / "blobs/sha256")
        (root / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')

    def blob(self, kind, data):
        self.blobs[sha256(data)] = data
        (self.root / "blobs/sha256" / sha256(data)[7:]).write_bytes(data)
        return {"mediaType": kind, "digest": sha256(data), "size": len(data)}

    def image(self, layers, docker=False):
        kind = f"{DOCKER}.distribution.manifest.v2+json" if docker else f"{OCI}.manifest.v1+json"
        layer = f"{DOCKER}.image.rootfs.diff.tar.gzip" if docker else f"{OCI}.layer.v1.tar+gzip"
        config = f"{DOCKER}.container.image.v1+json" if docker else f"{OCI}.config.v1+json"
        packed = [gzip.compress(data, 1, mtime=0) for data in layers]
        rootfs = {"type": "layers", "diff_ids": [sha256(data) for data in layers]}
        document = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs}
        manifest = {
            "schemaVersion": 2,
            "mediaType": kind,
            "config": self.blob(config, json.dumps(document).encode()),
            "layers": [self.blob(layer, data) for data in packed],
        }
        return self.blob(kind, json.dumps(manifest).encode())

    def index(self, images, docker=False):
        kind = f"{DOCKER}.distribution.manifest.list.v2+json" if docker else f"{OCI}.index.v1+json"
        return self.blob(kind, json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": images}).encode())

    def done(self, root):
        (self.root / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [root]}))
        return root["digest"]


def noise(seed, size):
    return random.Random(seed).randbytes(size)


def start(directory, auth=""):
    """Starts a docker-registry with its store in a directory; returns its address and process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    config = directory / "registry.yml"
    config.write_text(
        "version: 0.1\nlog: {level: error}\nstorage:\n  filesystem:\n"
        f"    rootdirectory: {directory}/store\nhttp:\n  addr: {address}\n{auth}"
    )
    environment = {**os.environ, "OTEL_TRACES_EXPORTER": "none"}
    server = subprocess.Popen(
        ["docker-registry", "serve", str(config)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=environment
    )
    for _ in range(300):
        assert server.poll() is None, "docker-registry has ended"
        try:
            urllib.request.urlopen(f"http://{address}/v2/")
            break
        except urllib.error.HTTPError:
            break
        except OSError:
            time.sleep(0.05)
    return address, server


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    address, server = start(tmp_path_factory.mktemp("registry"))
    yield address
    server.terminate()
    server.wait(30)


@pytest.fixture
def home(tmp_path):
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def push(home, layout, to, *more, code=0):
    """Pushes with nothing but a HOME in the environment; returns the report, or stderr."""
    ran = subprocess.run(
        [os.path.abspath(BIN), "--output", "json", "image", "push", str(layout.root), "--plain-http", "--to", to, *more],
        capture_output=True,
        text=True,
        cwd=home,
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
    )
    assert ran.returncode == code, ran.stderr
    return json.loads(ran.stdout) if code == 0 else ran.stderr


def skopeo(*arguments):
    return subprocess.run(["skopeo", *arguments], check=True, capture_output=True).stdout


def read_back(where, layout, out, multi=False):
    """Checks that skopeo reads exactly the bytes of the layout."""
    raw = skopeo("inspect", "--tls-verify=false", "--raw", f"docker://{where}")
    assert raw == layout.blobs[sha256(raw)]
    every = ["--all"] if multi else []
    skopeo("copy", "--quiet", "--src-tls-verify=false", *every, f"docker://{where}", f"dir:{out}")
    found = {sha256(path.read_bytes()) for path in out.iterdir() if path.name != "version"}
    assert found == set(layout.blobs)
    return sha256(raw)


@pytest.mark.parametrize("docker", [False, True], ids=["oci", "docker"])
def test_an_image_is_preserved_byte_for_byte(registry, home, tmp_path, docker):
    layout = Layout(tmp_path / "layout")
    digest = layout.done(layout.image([noise(1, 3_000_000), noise(2, 10), noise(3, 500_000)], docker))
    to = f"{registry}/flights/{'docker' if docker else 'oci'}:v1"
    report = push(home, layout, to)
    assert report["digest"] == digest
    assert read_back(to, layout, tmp_path / "back") == digest
    again = push(home, layout, to)
    assert (again["sent"], again["requests"]) == (0, 2)


@pytest.mark.parametrize("docker", [False, True], ids=["oci", "docker"])
def test_an_index_is_preserved_with_all_its_images(registry, home, tmp_path, docker):
    layout = Layout(tmp_path / "layout")
    images = []
    for seed, architecture in enumerate(["amd64", "arm64"]):
        image = layout.image([noise(10, 1_000_000), noise(11 + seed, 1000)], docker)
        images.append({**image, "platform": {"os": "linux", "architecture": architecture}})
    digest = layout.done(layout.index(images, docker))
    to = f"{registry}/many/{'docker' if docker else 'oci'}:v1"
    assert push(home, layout, to)["digest"] == digest
    assert read_back(to, layout, tmp_path / "back", multi=True) == digest


def test_layers_are_mounted_from_another_repository(registry, home, tmp_path):
    layout = Layout(tmp_path / "layout")
    layout.done(layout.image([noise(20, 1_000_000), noise(21, 1_000_000)]))
    push(home, layout, f"{registry}/mount/base:v1")
    report = push(home, layout, f"{registry}/mount/app:v1", "--mount-from", "mount/base")
    assert report["mounted"] == report["size"]
    assert report["sent"] < 10_000
    read_back(f"{registry}/mount/app:v1", layout, tmp_path / "back")


def test_concurrent_pushes_both_succeed(registry, home, tmp_path):
    layout = Layout(tmp_path / "layout")
    digest = layout.done(layout.image([noise(30 + i, 1_000_000) for i in range(5)]))
    to = f"{registry}/both/app:v1"
    reports = []
    pushes = [threading.Thread(target=lambda: reports.append(push(home, layout, to))) for _ in range(2)]
    for thread in pushes:
        thread.start()
    for thread in pushes:
        thread.join()
    assert [report["digest"] for report in reports] == [digest, digest]
    read_back(to, layout, tmp_path / "back")


def test_layers_pushed_by_skopeo_are_reused(registry, home, tmp_path):
    layout = Layout(tmp_path / "layout")
    digest = layout.done(layout.image([noise(40, 1_000_000)]))
    skopeo("copy", "--dest-tls-verify=false", f"oci:{layout.root}", f"docker://{registry}/there/app:theirs")
    report = push(home, layout, f"{registry}/there/app:ours")
    assert report["digest"] == digest
    assert report["sent"] == len(layout.blobs[digest]), "the tag only"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """Starts a registry for the user `ann`, whose password contains a colon."""
    directory = tmp_path_factory.mktemp("guarded")
    # libcrypt's bcrypt, the only hash that docker-registry accepts.
    crypt = 'print crypt("se:cret", q($2y$05$abcdefghijklmnopqrstuu))'
    hashed = subprocess.run(["perl", "-e", crypt], check=True, capture_output=True, text=True).stdout
    assert hashed.startswith("$2y$"), hashed
    (directory / "htpasswd").write_text(f"ann:{hashed}\n")
    auth = f"auth:\n  htpasswd:\n    realm: here\n    path: {directory}/htpasswd\n"
    address, server = start(directory, auth)
    yield address
    server.terminate()
    server.wait(30)


def login(home, address, password):
    auth = base64.b64encode(f"ann:{password}".encode()).decode()
    (home / ".docker").mkdir(exist_ok=True)
    (home / ".docker/config.json").write_text(json.dumps({"auths": {address: {"auth": auth}}}))
    return auth


def test_the_login_is_read_from_dockers_configuration(guarded, home, tmp_path):
    layout = Layout(tmp_path / "layout")
    digest = layout.done(layout.image([noise(50, 1_000_000)]))
    to = f"{guarded}/app:v1"
    refused = push(home, layout, to, code=4)
    assert "HTTP 401" in refused
    wrong = login(home, guarded, "wrong")
    refused = push(home, layout, to, code=4)
    assert "HTTP 401" in refused
    assert wrong not in refused
    assert "wrong" not in refused
    login(home, guarded, "se:cret")
    assert push(home, layout, to)["digest"] == digest
    raw = skopeo("inspect", "--raw", "--tls-verify=false", "--creds", "ann:se:cret", f"docker://{to}")
    assert sha256(raw) == digest


class Cutter:
    """Forwards bytes to a registry; breaks connections that carry more than `limit`, once each."""

    def __init__(self, registry, limits):
        self.registry = registry.split(":")[0], int(registry.split(":")[1])
        self.limits = list(limits)
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(self.registry)
            threading.Thread(target=self.carry, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self.carry, args=(server, client, False), daemon=True).start()

    def carry(self, source, sink, up):
        moved = 0
        try:
            while data := source.recv(65536):
                sink.sendall(data)
                moved += len(data)
                with self.lock:
                    if up and self.limits and moved > self.limits[0]:
                        self.limits.pop(0)
                        break
            else:
                sink.shutdown(socket.SHUT_WR)
                return
            for end in (source, sink):
                end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def test_broken_connections_lose_nothing(registry, home, tmp_path):
    layout = Layout(tmp_path / "layout")
    digest = layout.done(layout.image([noise(60, 4_000_000), noise(61, 4_000_000)]))
    cutter = Cutter(registry, [400_000, 2_000_000, 3_960_000])
    report = push(home, layout, f"{cutter.address}/broken/app:v1")
    assert report["digest"] == digest
    assert not cutter.limits, "every connection broke"
    assert report["sent"] > report["size"]
    read_back(f"{registry}/broken/app:v1", layout, tmp_path / "back")
    cutter.listener.close()
