"""Images from `mlops image build`, with unprivileged buildah and without an engine, read by skopeo."""

import json
import os
import subprocess
import uuid

import pytest

from conftest import BIN


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Creates and commits a project with a Dockerfile on `scratch`."""
    root = tmp_path_factory.mktemp("project")
    program = root / "image/program"
    program.mkdir(parents=True)
    (root / "mlops.toml").write_text('name = "built"\naccount = "000000000000"\nregion = "us-east-1"\n')
    (root / ".gitignore").write_text(".mlops/\n")
    (root / "image/Dockerfile").write_text("FROM scratch\nCOPY program/ /opt/program/\nWORKDIR /opt/program\n")
    (program / "train").write_text("#!/bin/sh\necho trained\n")
    (program / "train").chmod(0o755)
    git = ["git", "-C", str(root), "-c", "user.name=A", "-c", "user.email=a@example.com"]
    for arguments in (["init", "-q", "-b", "develop"], ["add", "-A"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *arguments], check=True)
    return root


@pytest.fixture(scope="module")
def elsewhere(client, tmp_path_factory):
    """Returns skopeo's login, and a function that returns a tag in a new repository."""
    name = f"built-{uuid.uuid4().hex[:8]}"
    ecr = client("ecr")
    uri = ecr.create_repository(repositoryName=name)["repository"]["repositoryUri"]
    token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    file = tmp_path_factory.mktemp("login") / "auth.json"
    file.write_text(json.dumps({"auths": {uri.split("/")[0]: {"auth": token}}}))
    return str(file), lambda tag: f"{uri}:{tag}"


def run(project, *arguments, **environment):
    done = subprocess.run(
        [BIN, "--output", "json", *arguments],
        cwd=project,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def skopeo(login, *arguments):
    done = subprocess.run(
        ["skopeo", *arguments[:1], "--authfile", login, *arguments[1:]], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def head(project):
    return subprocess.check_output(["git", "-C", str(project), "rev-parse", "HEAD"], text=True).strip()


@pytest.mark.parametrize("builder", ["buildah", "layers"])
def test_an_image_is_built_pushed_and_pulled(project, elsewhere, tmp_path, builder):
    built, said = run(project, "image", "build", "--builder", builder, "--into", str(tmp_path / "built"))
    assert built["builder"] == builder
    if builder == "buildah":
        assert "FROM scratch" in said
    login, name = elsewhere
    to = name(builder)
    pushed, _ = run(
        project, "image", "push", str(tmp_path / "built"), "--to", to, "--plain-http", REGISTRY_AUTH_FILE=login
    )
    assert pushed["digest"] == built["digest"]
    config = json.loads(skopeo(login, "inspect", "--tls-verify=false", "--config", f"docker://{to}"))
    assert config["config"]["WorkingDir"] == "/opt/program"
    assert config["config"]["Labels"]["org.opencontainers.image.revision"] == head(project)
    skopeo(login, "copy", "--src-tls-verify=false", f"docker://{to}", f"oci:{tmp_path}/pulled:x")
    index = json.loads((tmp_path / "pulled/index.json").read_text())
    assert index["manifests"][0]["digest"] == built["digest"]
    if builder == "layers":
        # buildah builds on an image of ours, and we build on an image of buildah's.
        check = "FROM oci:%s\nCOPY train /opt/again\n" % (tmp_path / "built")
        (tmp_path / "Dockerfile").write_text(check)
        (tmp_path / "train").write_text("x")
        subprocess.run(
            ["buildah", "build", "--isolation", "chroot", "--iidfile", str(tmp_path / "id"), str(tmp_path)],
            check=True,
        )
        image = (tmp_path / "id").read_text().strip()
        subprocess.run(["buildah", "push", image, f"oci:{tmp_path}/above"], check=True)
        base = f"oci:{tmp_path}/above"
        again, _ = run(project, "image", "build", "--base", base, "--into", str(tmp_path / "again"))
        assert again["base"] == base and again["reproducible"] is True


def test_the_same_inputs_give_the_same_digest(project, tmp_path):
    first, _ = run(project, "image", "build", "--builder", "layers", "--into", str(tmp_path / "one"))
    os.utime(project / "image/program/train", (1, 1))
    second, _ = run(project, "image", "build", "--builder", "layers", "--into", str(tmp_path / "two"))
    assert first["digest"] == second["digest"]
