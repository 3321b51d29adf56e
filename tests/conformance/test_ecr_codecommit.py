"""ECR with its registry, and CodeCommit with git: boto3, skopeo, git and plain HTTP."""

import base64
import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile
import urllib.error
import urllib.request
import uuid

import pytest
from botocore.exceptions import ClientError

ACCOUNT = "000000000000"
OCI = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def code(call, **arguments):
    with pytest.raises(ClientError) as error:
        call(**arguments)
    return error.value.response["Error"]["Code"]


def sha256(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def layout(directory, files, label="x"):
    """Writes an OCI layout with one gzip'd layer; returns the manifest's digest and the blobs."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    layer = gzip.compress(tar.getvalue(), mtime=0)
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Labels": {"label": label}},
            "rootfs": {"type": "layers", "diff_ids": [sha256(tar.getvalue())]},
        }
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": sha256(config),
                "size": len(config),
            },
            "layers": [
                {
                    "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                    "digest": sha256(layer),
                    "size": len(layer),
                }
            ],
        }
    ).encode()
    index = {
        "schemaVersion": 2,
        "manifests": [{"mediaType": OCI, "digest": sha256(manifest), "size": len(manifest)}],
    }
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for blob in (layer, config, manifest):
        (blobs / sha256(blob)[7:]).write_bytes(blob)
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (directory / "index.json").write_text(json.dumps(index))
    return manifest, config, layer


class Registry:
    """A client of the distribution protocol over plain HTTP."""

    def __init__(self, cloud, token):
        self.cloud = cloud
        self.token = token

    def __call__(self, method, path, body=None, **headers):
        url = path if path.startswith("http") else self.cloud + path
        request = urllib.request.Request(url, data=body, method=method)
        if self.token:
            request.add_header("Authorization", "Basic " + self.token)
        for name, value in headers.items():
            request.add_header(name.replace("_", "-"), value)
        try:
            with urllib.request.urlopen(request) as response:
                return response.status, response.headers, response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()

    def push_blob(self, repository, data):
        status, headers, _ = self("POST", f"/v2/{repository}/blobs/uploads/", b"")
        assert status == 202
        status, headers, _ = self(
            "PUT", f"{headers['Location']}?digest={sha256(data)}", data
        )
        assert (status, headers["Docker-Content-Digest"]) == (201, sha256(data))


@pytest.fixture(scope="module")
def ecr(client):
    return client("ecr")


@pytest.fixture(scope="module")
def token(ecr, cloud):
    [data] = ecr.get_authorization_token()["authorizationData"]
    assert data["proxyEndpoint"] == cloud
    user, password = base64.b64decode(data["authorizationToken"]).decode().split(":", 1)
    assert user == "AWS" and len(password) >= 32
    return data["authorizationToken"]


@pytest.fixture(scope="module")
def registry(cloud, token):
    return Registry(cloud, token)


@pytest.fixture(scope="module")
def skopeo(cloud, token):
    credentials = base64.b64decode(token).decode()

    def run(verb, *arguments, check=True):
        options = {
            "copy": ["--dest-tls-verify=false", "--dest-creds", credentials],
            "pull": ["--src-tls-verify=false", "--src-creds", credentials],
        }.get(verb, ["--tls-verify=false", "--creds", credentials])
        verb = "copy" if verb == "pull" else verb
        result = subprocess.run(
            ["skopeo", "--insecure-policy", verb, *options, *arguments],
            capture_output=True,
            text=True,
        )
        if check:
            assert result.returncode == 0, result.stderr
        return result

    return run


def test_repositories(ecr, cloud):
    made = ecr.create_repository(
        repositoryName="team/made",
        imageScanningConfiguration={"scanOnPush": True},
        tags=[{"Key": "team", "Value": "a"}],
    )["repository"]
    assert made["repositoryArn"] == f"arn:aws:ecr:us-east-1:{ACCOUNT}:repository/team/made"
    assert made["repositoryUri"] == cloud.removeprefix("http://") + "/team/made"
    assert made["registryId"] == ACCOUNT
    assert made["imageTagMutability"] == "MUTABLE"
    assert made["imageScanningConfiguration"] == {"scanOnPush": True}
    assert made["encryptionConfiguration"] == {"encryptionType": "AES256"}
    assert code(ecr.create_repository, repositoryName="team/made") == "RepositoryAlreadyExistsException"
    assert code(ecr.create_repository, repositoryName="Bad") == "InvalidParameterException"
    [found] = ecr.describe_repositories(repositoryNames=["team/made"])["repositories"]
    assert found == made
    assert code(ecr.describe_repositories, repositoryNames=["none"]) == "RepositoryNotFoundException"
    ecr.create_repository(repositoryName="team/second")
    first = ecr.describe_repositories(maxResults=1)
    assert len(first["repositories"]) == 1
    names = [
        r["repositoryName"]
        for page in ecr.get_paginator("describe_repositories").paginate(
            PaginationConfig={"PageSize": 1}
        )
        for r in page["repositories"]
    ]
    assert {"team/made", "team/second"} <= set(names) and len(names) == len(set(names))
    assert ecr.delete_repository(repositoryName="team/second")["repository"]["repositoryName"] == "team/second"
    assert code(ecr.delete_repository, repositoryName="team/second") == "RepositoryNotFoundException"


def test_repository_settings(ecr):
    name = "settings"
    arn = ecr.create_repository(repositoryName=name)["repository"]["repositoryArn"]
    ecr.tag_resource(resourceArn=arn, tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    ecr.untag_resource(resourceArn=arn, tagKeys=["a"])
    assert ecr.list_tags_for_resource(resourceArn=arn)["tags"] == [{"Key": "b", "Value": "2"}]

    filters = [{"filterType": "WILDCARD", "filter": "develop*"}]
    put = ecr.put_image_tag_mutability(
        repositoryName=name,
        imageTagMutability="IMMUTABLE_WITH_EXCLUSION",
        imageTagMutabilityExclusionFilters=filters,
    )
    assert put["imageTagMutabilityExclusionFilters"] == filters
    [found] = ecr.describe_repositories(repositoryNames=[name])["repositories"]
    assert found["imageTagMutability"] == "IMMUTABLE_WITH_EXCLUSION"
    assert found["imageTagMutabilityExclusionFilters"] == filters
    assert code(
        ecr.put_image_tag_mutability,
        repositoryName=name,
        imageTagMutability="IMMUTABLE_WITH_EXCLUSION",
    ) == "InvalidParameterException"
    ecr.put_image_scanning_configuration(
        repositoryName=name, imageScanningConfiguration={"scanOnPush": True}
    )
    [found] = ecr.describe_repositories(repositoryNames=[name])["repositories"]
    assert found["imageScanningConfiguration"]["scanOnPush"] is True

    assert code(ecr.get_lifecycle_policy, repositoryName=name) == "LifecyclePolicyNotFoundException"
    policy = json.dumps(
        {
            "rules": [
                {
                    "rulePriority": 1,
                    "selection": {
                        "tagStatus": "untagged",
                        "countType": "imageCountMoreThan",
                        "countNumber": 5,
                    },
                    "action": {"type": "expire"},
                }
            ]
        }
    )
    ecr.put_lifecycle_policy(repositoryName=name, lifecyclePolicyText=policy)
    assert ecr.get_lifecycle_policy(repositoryName=name)["lifecyclePolicyText"] == policy
    assert code(
        ecr.put_lifecycle_policy, repositoryName=name, lifecyclePolicyText='{"rules": [{}]}' + " " * 100
    ) == "InvalidParameterException"
    assert ecr.delete_lifecycle_policy(repositoryName=name)["lifecyclePolicyText"] == policy
    assert code(ecr.delete_lifecycle_policy, repositoryName=name) == "LifecyclePolicyNotFoundException"

    assert code(ecr.get_repository_policy, repositoryName=name) == "RepositoryPolicyNotFoundException"
    policy = json.dumps({"Version": "2012-10-17", "Statement": []})
    ecr.set_repository_policy(repositoryName=name, policyText=policy)
    assert ecr.get_repository_policy(repositoryName=name)["policyText"] == policy
    assert ecr.delete_repository_policy(repositoryName=name)["policyText"] == policy
    assert code(ecr.get_repository_policy, repositoryName=name) == "RepositoryPolicyNotFoundException"


def test_skopeo_pushes_inspects_pulls_and_deletes(ecr, cloud, skopeo, tmp_path):
    name = "skopeo/flights"
    ecr.create_repository(repositoryName=name)
    host = cloud.removeprefix("http://")
    # Larger than any buffer in between.
    manifest, config, layer = layout(tmp_path / "in", {"big": os.urandom(3 << 20)})
    skopeo("copy", f"oci:{tmp_path / 'in'}", f"docker://{host}/{name}:v1")
    [detail] = ecr.describe_images(repositoryName=name, imageIds=[{"imageTag": "v1"}])["imageDetails"]
    assert detail["imageDigest"] == sha256(manifest)
    assert detail["imageTags"] == ["v1"]
    assert detail["imageSizeInBytes"] == len(layer) + len(config)
    assert detail["imageManifestMediaType"] == OCI
    assert detail["artifactMediaType"] == "application/vnd.oci.image.config.v1+json"

    seen = json.loads(skopeo("inspect", f"docker://{host}/{name}:v1").stdout)
    assert seen["Digest"] == sha256(manifest)
    assert seen["Layers"] == [sha256(layer)]
    assert seen["RepoTags"] == ["v1"]
    skopeo("pull", f"docker://{host}/{name}@{sha256(manifest)}", f"oci:{tmp_path / 'out'}")
    assert (tmp_path / "out/blobs/sha256" / sha256(layer)[7:]).read_bytes() == layer

    skopeo("delete", f"docker://{host}/{name}:v1")
    assert ecr.list_images(repositoryName=name)["imageIds"] == []
    missing = skopeo("copy", f"oci:{tmp_path / 'in'}", f"docker://{host}/nowhere:v1", check=False)
    assert missing.returncode != 0 and "nowhere" in missing.stderr


def test_docker_manifests(ecr, cloud, skopeo, tmp_path):
    ecr.create_repository(repositoryName="docker")
    host = cloud.removeprefix("http://")
    layout(tmp_path / "in", {"a": b"docker"})
    skopeo("copy", "--format", "v2s2", f"oci:{tmp_path / 'in'}", f"docker://{host}/docker:v1")
    [detail] = ecr.describe_images(repositoryName="docker")["imageDetails"]
    assert detail["imageManifestMediaType"] == "application/vnd.docker.distribution.manifest.v2+json"
    assert detail["artifactMediaType"] == "application/vnd.docker.container.image.v1+json"


def test_images_by_the_api(ecr, registry, tmp_path):
    name = "api"
    ecr.create_repository(repositoryName=name)
    manifest, config, layer = layout(tmp_path / "in", {"a": b"api"})
    put = dict(repositoryName=name, imageManifest=manifest.decode(), imageTag="one")
    assert code(ecr.put_image, **put) == "LayersNotFoundException"
    for blob in (config, layer):
        registry.push_blob(name, blob)
    found = ecr.batch_check_layer_availability(
        repositoryName=name, layerDigests=[sha256(layer), sha256(b"x"), "nonsense"]
    )
    assert [entry["layerAvailability"] for entry in found["layers"]] == ["AVAILABLE", "UNAVAILABLE"]
    assert found["layers"][0]["layerSize"] == len(layer)
    assert found["failures"][0]["failureCode"] == "InvalidLayerDigest"

    image = ecr.put_image(**put)["image"]
    assert image["imageId"] == {"imageDigest": sha256(manifest), "imageTag": "one"}
    assert code(ecr.put_image, **put) == "ImageAlreadyExistsException"
    assert code(ecr.put_image, **{**put, "imageDigest": sha256(b"x")}) == "ImageDigestDoesNotMatchException"
    ecr.put_image(**{**put, "imageTag": "two"})
    ids = ecr.list_images(repositoryName=name)["imageIds"]
    assert ids == [
        {"imageDigest": sha256(manifest), "imageTag": "one"},
        {"imageDigest": sha256(manifest), "imageTag": "two"},
    ]
    got = ecr.batch_get_image(
        repositoryName=name, imageIds=[{"imageTag": "two"}, {"imageTag": "three"}]
    )
    assert got["images"][0]["imageManifest"] == manifest.decode()
    assert got["failures"][0]["failureCode"] == "ImageNotFound"
    assert code(
        ecr.describe_images, repositoryName=name, imageIds=[{"imageTag": "three"}]
    ) == "ImageNotFoundException"
    assert code(
        ecr.describe_image_scan_findings, repositoryName=name, imageId={"imageTag": "one"}
    ) == "ScanNotFoundException"
    assert code(
        ecr.describe_image_scan_findings, repositoryName=name, imageId={"imageTag": "three"}
    ) == "ImageNotFoundException"
    assert ecr.describe_images(repositoryName=name, filter={"tagStatus": "UNTAGGED"})["imageDetails"] == []

    assert code(ecr.delete_repository, repositoryName=name) == "RepositoryNotEmptyException"
    gone = ecr.batch_delete_image(repositoryName=name, imageIds=[{"imageTag": "one"}])
    assert gone["imageIds"] == [{"imageDigest": sha256(manifest), "imageTag": "one"}]
    gone = ecr.batch_delete_image(
        repositoryName=name, imageIds=[{"imageTag": "two"}, {"imageTag": "one"}]
    )
    assert gone["imageIds"] == [{"imageDigest": sha256(manifest), "imageTag": "two"}]
    assert gone["failures"][0]["failureCode"] == "ImageNotFound"
    assert ecr.describe_images(repositoryName=name)["imageDetails"] == []
    ecr.put_image(**put)
    ecr.delete_repository(repositoryName=name, force=True)
    assert code(ecr.list_images, repositoryName=name) == "RepositoryNotFoundException"


def test_immutable_tags(ecr, registry, tmp_path):
    name = "immutable"
    ecr.create_repository(
        repositoryName=name,
        imageTagMutability="IMMUTABLE_WITH_EXCLUSION",
        imageTagMutabilityExclusionFilters=[{"filterType": "WILDCARD", "filter": "dev*"}],
    )
    manifests = []
    for text in ("one", "two"):
        manifest, config, layer = layout(tmp_path / text, {"a": text.encode()}, text)
        registry.push_blob(name, config)
        registry.push_blob(name, layer)
        manifests.append(manifest)
    for tag in ("v1", "develop"):
        assert registry("PUT", f"/v2/{name}/manifests/{tag}", manifests[0], Content_Type=OCI)[0] == 201
    status, _, body = registry("PUT", f"/v2/{name}/manifests/v1", manifests[1], Content_Type=OCI)
    assert status == 400
    assert json.loads(body)["errors"][0]["code"] == "TAG_INVALID"
    assert registry("PUT", f"/v2/{name}/manifests/develop", manifests[1], Content_Type=OCI)[0] == 201
    assert registry("PUT", f"/v2/{name}/manifests/v1", manifests[0], Content_Type=OCI)[0] == 201
    assert code(
        ecr.put_image, repositoryName=name, imageManifest=manifests[1].decode(), imageTag="v1"
    ) == "ImageTagAlreadyExistsException"
    details = ecr.describe_images(repositoryName=name)["imageDetails"]
    tags = {detail["imageDigest"]: detail["imageTags"] for detail in details}
    assert tags == {sha256(manifests[0]): ["v1"], sha256(manifests[1]): ["develop"]}


@pytest.fixture
def repository(ecr):
    """Creates a repository; returns its name."""
    name = f"r{uuid.uuid4().hex[:10]}"
    ecr.create_repository(repositoryName=name)
    return name


@pytest.fixture
def pushed(registry, repository, tmp_path):
    """Pushes an image as `v1`; returns its manifest, and the path of the repository's manifests."""
    manifest, config, layer = layout(tmp_path / "in", {"a": b"protocol"})
    put = f"/v2/{repository}/manifests/"
    registry.push_blob(repository, config)
    registry.push_blob(repository, layer)
    registry("PUT", put + "v1", manifest, Content_Type=OCI)
    return manifest, put


def error(answer):
    return answer[0], json.loads(answer[2])["errors"][0]["code"]


def test_the_registry_requires_a_login(cloud, registry):
    status, headers, _ = Registry(cloud, None)("GET", "/v2/")
    assert status == 401 and headers["WWW-Authenticate"].startswith("Basic realm=")
    assert Registry(cloud, base64.b64encode(b"you:x").decode())("GET", "/v2/")[0] == 401
    status, headers, body = registry("GET", "/v2/")
    assert (status, body) == (200, b"{}")
    assert headers["Docker-Distribution-Api-Version"] == "registry/2.0"


def test_a_chunked_blob_upload(registry, repository):
    uploads = f"/v2/{repository}/blobs/uploads/"
    assert error(registry("POST", "/v2/none/blobs/uploads/", b"")) == (404, "NAME_UNKNOWN")
    # With a status request in between, and one chunk that is out of order.
    status, headers, _ = registry("POST", uploads, b"")
    upload = headers["Location"]
    assert headers["Range"] == "0-0"
    assert registry("PATCH", upload, b"hello ", Content_Range="0-5")[1]["Range"] == "0-5"
    assert registry("PATCH", upload, b"x", Content_Range="9-9")[0] == 416
    status, headers, _ = registry("GET", upload)
    assert (status, headers["Range"]) == (204, "0-5")
    data = b"hello world"
    status, headers, _ = registry("PUT", f"{upload}?digest={sha256(data)}", b"world")
    assert (status, headers["Location"]) == (201, f"/v2/{repository}/blobs/{sha256(data)}")
    assert error(registry("GET", upload)) == (404, "BLOB_UPLOAD_UNKNOWN")


def test_other_blob_uploads(registry, repository):
    """A wrong digest; a cancelled upload; an upload in a single request."""
    uploads = f"/v2/{repository}/blobs/uploads/"
    data = b"hello world"
    _, headers, _ = registry("POST", uploads, b"")
    wrong = registry("PUT", f"{headers['Location']}?digest={sha256(b'other')}", data)
    assert error(wrong) == (400, "DIGEST_INVALID")
    assert registry("GET", headers["Location"])[0] == 404
    _, headers, _ = registry("POST", uploads, b"")
    assert registry("DELETE", headers["Location"])[0] == 204
    assert registry("PUT", f"{headers['Location']}?digest={sha256(data)}", data)[0] == 404
    assert registry("POST", f"{uploads}?digest={sha256(b'once')}", b"once")[0] == 201


def test_blobs_are_read_and_never_deleted(registry, repository):
    data = b"hello world"
    registry.push_blob(repository, data)
    blob = f"/v2/{repository}/blobs/{sha256(data)}"
    status, headers, body = registry("HEAD", blob)
    assert (status, headers["Content-Length"], body) == (200, "11", b"")
    assert registry("GET", blob)[2] == data
    status, headers, body = registry("GET", blob, Range="bytes=6-")
    assert (status, headers["Content-Range"], body) == (206, "bytes 6-10/11", b"world")
    assert registry("GET", blob, Range="bytes=99-")[0] == 416
    assert error(registry("GET", f"/v2/{repository}/blobs/{sha256(b'none')}")) == (404, "BLOB_UNKNOWN")
    assert error(registry("DELETE", blob)) == (405, "UNSUPPORTED")


def test_blobs_are_mounted_from_another_repository(ecr, registry, repository):
    data = b"hello world"
    registry.push_blob(repository, data)
    ecr.create_repository(repositoryName="v2")
    assert registry("HEAD", f"/v2/v2/blobs/{sha256(data)}")[0] == 404
    assert registry("POST", f"/v2/v2/blobs/uploads/?mount={sha256(data)}&from={repository}", b"")[0] == 201
    assert registry("GET", f"/v2/v2/blobs/{sha256(data)}")[2] == data
    assert registry("POST", f"/v2/v2/blobs/uploads/?mount={sha256(b'no')}&from={repository}", b"")[0] == 202


def test_manifests(registry, repository, tmp_path):
    manifest, config, layer = layout(tmp_path / "in", {"a": b"protocol"})
    put = f"/v2/{repository}/manifests/"
    assert error(registry("PUT", put + "v1", manifest, Content_Type=OCI)) == (400, "MANIFEST_BLOB_UNKNOWN")
    registry.push_blob(repository, config)
    registry.push_blob(repository, layer)
    assert error(registry("PUT", put + "v1", b"{}", Content_Type=OCI)) == (400, "MANIFEST_INVALID")
    assert error(registry("PUT", put + sha256(b""), manifest, Content_Type=OCI)) == (400, "DIGEST_INVALID")
    assert error(registry("PUT", put + "-bad", manifest, Content_Type=OCI)) == (400, "MANIFEST_INVALID")
    status, headers, _ = registry("PUT", put + "v1", manifest, Content_Type=OCI)
    assert (status, headers["Docker-Content-Digest"]) == (201, sha256(manifest))
    status, headers, body = registry("GET", put + "v1")
    assert (status, headers["Content-Type"], body) == (200, OCI, manifest)
    assert registry("HEAD", put + sha256(manifest))[1]["Content-Length"] == str(len(manifest))
    assert error(registry("GET", put + "none")) == (404, "MANIFEST_UNKNOWN")


def test_lists_of_tags_are_paged(registry, repository, pushed):
    manifest, put = pushed
    registry("PUT", put + "v2", manifest, Content_Type=OCI)
    status, headers, body = registry("GET", f"/v2/{repository}/tags/list?n=1")
    assert json.loads(body) == {"name": repository, "tags": ["v1"]}
    assert "last=v1" in headers["Link"]
    assert json.loads(registry("GET", f"/v2/{repository}/tags/list?n=5&last=v1")[2])["tags"] == ["v2"]


def test_an_index_requires_its_images_and_protects_them(ecr, registry, repository, pushed):
    manifest, put = pushed
    entry = {"mediaType": OCI, "digest": sha256(manifest), "size": len(manifest)}
    entry["platform"] = {"os": "linux", "architecture": "amd64"}
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}).encode()
    broken = index.replace(sha256(manifest).encode(), sha256(b"no").encode())
    assert error(registry("PUT", put + "all", broken, Content_Type=INDEX)) == (400, "MANIFEST_BLOB_UNKNOWN")
    assert registry("PUT", put + "all", index, Content_Type=INDEX)[0] == 201
    assert error(registry("DELETE", put + sha256(manifest))) == (405, "UNSUPPORTED")
    failed = ecr.batch_delete_image(repositoryName=repository, imageIds=[{"imageDigest": sha256(manifest)}])
    assert failed["failures"][0]["failureCode"] == "ImageReferencedByManifestList"
    assert registry("DELETE", put + "all")[0] == 202


def test_referrers_of_an_image(registry, repository, pushed):
    manifest, put = pushed
    signature = json.loads(manifest)
    signature["artifactType"] = "application/x-signature"
    signature["subject"] = {"mediaType": OCI, "digest": sha256(manifest), "size": len(manifest)}
    signature = json.dumps(signature).encode()
    status, headers, _ = registry("PUT", put + sha256(signature), signature, Content_Type=OCI)
    assert headers["OCI-Subject"] == sha256(manifest)
    status, headers, body = registry("GET", f"/v2/{repository}/referrers/{sha256(manifest)}")
    [found] = json.loads(body)["manifests"]
    assert (found["digest"], found["artifactType"]) == (sha256(signature), "application/x-signature")
    other = registry("GET", f"/v2/{repository}/referrers/{sha256(manifest)}?artifactType=none")
    assert json.loads(other[2])["manifests"] == []


def test_tags_and_manifests_are_deleted(registry, pushed):
    manifest, put = pushed
    registry("PUT", put + "v2", manifest, Content_Type=OCI)
    assert registry("DELETE", put + "v2")[0] == 202
    assert registry("GET", put + "v1")[0] == 200
    assert registry("DELETE", put + sha256(manifest))[0] == 202
    assert registry("GET", put + "v1")[0] == 404


@pytest.fixture(scope="module")
def codecommit(client):
    return client("codecommit")


def test_repositories_of_git(codecommit, cloud):
    made = codecommit.create_repository(
        repositoryName="flights-c", repositoryDescription="one", tags={"team": "a"}
    )["repositoryMetadata"]
    assert made["cloneUrlHttp"] == f"{cloud}/v1/repos/flights-c"
    assert made["Arn"] == f"arn:aws:codecommit:us-east-1:{ACCOUNT}:flights-c"
    assert made["accountId"] == ACCOUNT and "defaultBranch" not in made
    assert code(codecommit.create_repository, repositoryName="flights-c") == "RepositoryNameExistsException"
    for bad in ("..", "a b", "x.git"):
        assert code(codecommit.create_repository, repositoryName=bad) == "InvalidRepositoryNameException"
    codecommit.update_repository_description(
        repositoryName="flights-c", repositoryDescription="two"
    )
    found = codecommit.get_repository(repositoryName="flights-c")["repositoryMetadata"]
    assert found["repositoryDescription"] == "two"
    assert found["repositoryId"] == made["repositoryId"]
    assert code(codecommit.get_repository, repositoryName="none") == "RepositoryDoesNotExistException"
    batch = codecommit.batch_get_repositories(repositoryNames=["flights-c", "none"])
    assert [r["repositoryName"] for r in batch["repositories"]] == ["flights-c"]
    assert batch["repositoriesNotFound"] == ["none"]
    listed = codecommit.list_repositories()["repositories"]
    assert {"repositoryName": "flights-c", "repositoryId": made["repositoryId"]} in listed
    codecommit.create_repository(repositoryName="renamed-c")
    rename = dict(oldName="renamed-c", newName="flights-c")
    assert code(codecommit.update_repository_name, **rename) == "RepositoryNameExistsException"
    codecommit.update_repository_name(oldName="renamed-c", newName="renamed-d")
    assert code(codecommit.get_repository, repositoryName="renamed-c") == "RepositoryDoesNotExistException"
    codecommit.put_file(
        repositoryName="renamed-d", branchName="main", filePath="a", fileContent=b"a"
    )
    arn = made["Arn"]
    codecommit.tag_resource(resourceArn=arn, tags={"b": "2"})
    codecommit.untag_resource(resourceArn=arn, tagKeys=["team"])
    assert codecommit.list_tags_for_resource(resourceArn=arn)["tags"] == {"b": "2"}
    gone = codecommit.delete_repository(repositoryName="flights-c")
    assert gone["repositoryId"] == made["repositoryId"]
    assert "repositoryId" not in codecommit.delete_repository(repositoryName="flights-c")


class History:
    """A repository with three commits."""

    def __init__(self, codecommit, name):
        self.name = name
        codecommit.create_repository(repositoryName=name)
        first = codecommit.put_file(
            repositoryName=name,
            branchName="main",
            filePath="docs/a.txt",
            fileContent=b"one\n",
            commitMessage="first",
            name="Ada",
            email="ada@example.com",
        )
        second = codecommit.create_commit(
            repositoryName=name,
            branchName="main",
            parentCommitId=first["commitId"],
            authorName="Ada",
            email="ada@example.com",
            commitMessage="second",
            putFiles=[
                {"filePath": "run", "fileContent": b"#!/bin/sh\n", "fileMode": "EXECUTABLE"},
                {"filePath": "docs/b.txt", "fileContent": b"b"},
            ],
            deleteFiles=[{"filePath": "docs/a.txt"}],
        )
        third = codecommit.create_commit(
            repositoryName=name,
            branchName="main",
            parentCommitId=second["commitId"],
            setFileModes=[{"filePath": "run", "fileMode": "NORMAL"}],
        )
        self.first, self.second, self.third = first, second, third


@pytest.fixture
def history(codecommit):
    return History(codecommit, f"h{uuid.uuid4().hex[:10]}")


def test_put_file_commits_a_file(codecommit, history):
    name, first = history.name, history.first
    commit = codecommit.get_commit(repositoryName=name, commitId=first["commitId"])["commit"]
    assert commit["message"].strip() == "first" and commit["parents"] == []
    assert commit["author"]["name"] == "Ada" and commit["author"]["email"] == "ada@example.com"
    assert commit["treeId"] == first["treeId"]
    metadata = codecommit.get_repository(repositoryName=name)["repositoryMetadata"]
    assert metadata["defaultBranch"] == "main"


def test_put_file_requires_the_parent_and_a_change(codecommit):
    name = f"h{uuid.uuid4().hex[:10]}"
    codecommit.create_repository(repositoryName=name)
    first = codecommit.put_file(
        repositoryName=name,
        branchName="main",
        filePath="docs/a.txt",
        fileContent=b"one\n",
        commitMessage="first",
        name="Ada",
        email="ada@example.com",
    )
    same = dict(repositoryName=name, branchName="main", filePath="docs/a.txt", fileContent=b"one\n")
    assert code(codecommit.put_file, **same) == "ParentCommitIdRequiredException"
    same["parentCommitId"] = first["commitId"]
    assert code(codecommit.put_file, **same) == "SameFileContentException"


def test_create_commit_adds_updates_and_deletes_files(codecommit, history):
    name, first, second, third = history.name, history.first, history.second, history.third
    assert [f["absolutePath"] for f in second["filesAdded"]] == ["run", "docs/b.txt"]
    assert [f["absolutePath"] for f in second["filesDeleted"]] == ["docs/a.txt"]
    assert third["filesUpdated"][0]["fileMode"] == "NORMAL"
    outdated = dict(
        repositoryName=name,
        branchName="main",
        parentCommitId=first["commitId"],
        deleteFiles=[{"filePath": "run"}],
    )
    assert code(codecommit.create_commit, **outdated) == "ParentCommitIdOutdatedException"
    outdated["parentCommitId"] = third["commitId"]
    outdated["deleteFiles"] = [{"filePath": "none"}]
    assert code(codecommit.create_commit, **outdated) == "FileDoesNotExistException"


def test_files_and_folders(codecommit, history):
    name, second, third = history.name, history.second, history.third
    file = codecommit.get_file(
        repositoryName=name, commitSpecifier=second["commitId"], filePath="run"
    )
    assert file["fileContent"] == b"#!/bin/sh\n"
    assert file["fileMode"] == "EXECUTABLE" and file["fileSize"] == 10
    missing = dict(repositoryName=name, filePath="docs/a.txt")
    assert code(codecommit.get_file, **missing) == "FileDoesNotExistException"
    assert code(codecommit.get_file, **{**missing, "filePath": "../x"}) == "InvalidPathException"
    assert code(
        codecommit.get_file, **missing, commitSpecifier="none"
    ) == "CommitDoesNotExistException"
    folder = codecommit.get_folder(repositoryName=name, folderPath="/")
    assert [f["relativePath"] for f in folder["files"]] == ["run"]
    assert [f["relativePath"] for f in folder["subFolders"]] == ["docs"]
    assert folder["commitId"] == third["commitId"]
    folder = codecommit.get_folder(repositoryName=name, commitSpecifier="main", folderPath="docs")
    assert [f["absolutePath"] for f in folder["files"]] == ["docs/b.txt"]
    assert code(
        codecommit.get_folder, repositoryName=name, folderPath="none"
    ) == "FolderDoesNotExistException"


def test_differences(codecommit, history):
    name, first = history.name, history.first
    differences = codecommit.get_differences(
        repositoryName=name,
        beforeCommitSpecifier=first["commitId"],
        afterCommitSpecifier="main",
    )["differences"]
    changed = {(d.get("afterBlob") or d["beforeBlob"])["path"]: d["changeType"] for d in differences}
    assert changed == {"docs/a.txt": "D", "docs/b.txt": "A", "run": "A"}


def test_branches(codecommit, history):
    name, first, third = history.name, history.first, history.third
    codecommit.create_branch(repositoryName=name, branchName="feature/x", commitId=first["commitId"])
    assert codecommit.list_branches(repositoryName=name)["branches"] == ["feature/x", "main"]
    branch = codecommit.get_branch(repositoryName=name, branchName="feature/x")["branch"]
    assert branch == {"branchName": "feature/x", "commitId": first["commitId"]}
    again = dict(repositoryName=name, branchName="feature/x", commitId=first["commitId"])
    assert code(codecommit.create_branch, **again) == "BranchNameExistsException"
    again = dict(repositoryName=name, branchName="y", commitId="0" * 40)
    assert code(codecommit.create_branch, **again) == "CommitDoesNotExistException"
    assert code(
        codecommit.delete_branch, repositoryName=name, branchName="main"
    ) == "DefaultBranchCannotBeDeletedException"
    codecommit.update_default_branch(repositoryName=name, defaultBranchName="feature/x")
    gone = codecommit.delete_branch(repositoryName=name, branchName="main")
    assert gone["deletedBranch"]["commitId"] == third["commitId"]
    assert code(
        codecommit.get_branch, repositoryName=name, branchName="main"
    ) == "BranchDoesNotExistException"


def test_git_clones_and_pushes(codecommit, tmp_path):
    url = codecommit.create_repository(repositoryName="pushed")["repositoryMetadata"]["cloneUrlHttp"]

    def git(*arguments, cwd=tmp_path, check=True):
        result = subprocess.run(
            ["git", "-c", "user.name=A", "-c", "user.email=a@example.com", *arguments],
            cwd=cwd,
            capture_output=True,
            text=True,
        )
        if check:
            assert result.returncode == 0, result.stderr
        return result

    work = tmp_path / "work"
    git("clone", url, str(work))
    git("checkout", "-b", "develop", cwd=work)
    # More than git sends at once, so that the body is chunked.
    (work / "big.bin").write_bytes(os.urandom(3 << 20))
    (work / "text.txt").write_text("compress me\n" * 10000)
    git("add", ".", cwd=work)
    git("commit", "-m", "first", cwd=work)
    git("push", "origin", "develop", cwd=work)
    head = git("rev-parse", "HEAD", cwd=work).stdout.strip()
    branch = codecommit.get_branch(repositoryName="pushed", branchName="develop")["branch"]
    assert branch["commitId"] == head
    metadata = codecommit.get_repository(repositoryName="pushed")["repositoryMetadata"]
    assert metadata["defaultBranch"] == "develop"
    text = codecommit.get_file(repositoryName="pushed", filePath="text.txt")
    assert text["fileContent"] == b"compress me\n" * 10000

    # Commits by the API are pulled, and vice versa.
    put = codecommit.put_file(
        repositoryName="pushed",
        branchName="develop",
        filePath="api.txt",
        fileContent=b"x",
        parentCommitId=head,
    )
    git("pull", "--ff-only", "origin", "develop", cwd=work)
    assert git("rev-parse", "HEAD", cwd=work).stdout.strip() == put["commitId"]
    # With many refs, git compresses its request.
    for number in range(60):
        git("branch", f"b{number}", cwd=work)
    git("push", "--all", "origin", cwd=work)
    git("clone", url + ".git", str(tmp_path / "again"))
    assert (tmp_path / "again/big.bin").read_bytes() == (work / "big.bin").read_bytes()
    assert len(codecommit.list_branches(repositoryName="pushed")["branches"]) == 61
    assert git("clone", url + "-none", str(tmp_path / "none"), check=False).returncode != 0
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(url + "/config")
    assert error.value.code == 404
