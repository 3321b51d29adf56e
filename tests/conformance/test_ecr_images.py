"""ECR's image API with boto3: layers in parts, scans, lifecycle previews; buildah's images."""

import json
import subprocess
import urllib.error
import urllib.request

import pytest

import conftest
import images
from test_ecr_codecommit import OCI, Registry, code, layout, sha256

ACCOUNT = "000000000000"


@pytest.fixture(scope="module")
def ecr(client):
    return client("ecr")


def push(ecr, cloud, name, text, tag):
    """Pushes an image of one file; returns its digest."""
    digest = images.push(cloud, ecr, name, {"x": text}).rpartition("@")[2]
    if tag:
        got = ecr.batch_get_image(repositoryName=name, imageIds=[{"imageDigest": digest}])
        ecr.put_image(repositoryName=name, imageManifest=got["images"][0]["imageManifest"], imageTag=tag)
    return digest


def test_layers_by_the_api(ecr, cloud, tmp_path):
    name = "layers"
    ecr.create_repository(repositoryName=name)
    manifest, config, layer = layout(tmp_path / "in", {"a": b"parts"})
    for blob, size in ((config, len(config)), (layer, 50)):
        started = ecr.initiate_layer_upload(repositoryName=name)
        assert started["partSize"] == 10 << 20
        upload = dict(repositoryName=name, uploadId=started["uploadId"])
        assert code(ecr.complete_layer_upload, **upload, layerDigests=[sha256(blob)]) == "EmptyUploadException"
        for start in range(0, len(blob), size):
            part = blob[start : start + size]
            end = start + len(part) - 1
            sent = ecr.upload_layer_part(**upload, partFirstByte=start, partLastByte=end, layerPartBlob=part)
            assert sent["lastByteReceived"] == end
        done = ecr.complete_layer_upload(**upload, layerDigests=[sha256(blob)])
        assert done["layerDigest"] == sha256(blob)
    ecr.put_image(repositoryName=name, imageManifest=manifest.decode(), imageTag="v1")

    upload = dict(repositoryName=name, uploadId=ecr.initiate_layer_upload(repositoryName=name)["uploadId"])
    part = dict(layerPartBlob=b"12345", partLastByte=9)
    assert code(ecr.upload_layer_part, **upload, partFirstByte=5, **part) == "InvalidLayerPartException"
    assert code(ecr.upload_layer_part, **upload, partFirstByte=0, **part) == "InvalidParameterException"
    ecr.upload_layer_part(**upload, partFirstByte=0, partLastByte=4, layerPartBlob=b"12345")
    assert code(ecr.complete_layer_upload, **upload, layerDigests=[sha256(b"x")]) == "InvalidLayerException"
    assert code(ecr.complete_layer_upload, **upload, layerDigests=[sha256(b"x")]) == "UploadNotFoundException"
    upload = dict(repositoryName=name, uploadId=ecr.initiate_layer_upload(repositoryName=name)["uploadId"])
    ecr.upload_layer_part(**upload, partFirstByte=0, partLastByte=len(config) - 1, layerPartBlob=config)
    assert code(ecr.complete_layer_upload, **upload, layerDigests=[sha256(config)]) == "LayerAlreadyExistsException"


def test_layers_are_downloaded_by_signed_url(ecr, cloud, tmp_path):
    name = "downloads"
    ecr.create_repository(repositoryName=name)
    digest = push(ecr, cloud, name, b"download", "v1")
    [image] = ecr.batch_get_image(repositoryName=name, imageIds=[{"imageDigest": digest}])["images"]
    config, layer = [
        part["digest"] for part in (json.loads(image["imageManifest"])["config"], json.loads(image["imageManifest"])["layers"][0])
    ]
    answer = ecr.get_download_url_for_layer(repositoryName=name, layerDigest=config)
    assert answer["layerDigest"] == config
    # No credentials are needed, and the URL gives access to nothing else.
    with urllib.request.urlopen(answer["downloadUrl"]) as response:
        assert sha256(response.read()) == config
    for other in (
        answer["downloadUrl"].replace(config, layer),
        answer["downloadUrl"].partition("?")[0],
        answer["downloadUrl"] + "0",
    ):
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(other)
        assert error.value.code == 401
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(urllib.request.Request(answer["downloadUrl"], method="DELETE"))
    assert error.value.code == 401
    assert code(ecr.get_download_url_for_layer, repositoryName=name, layerDigest=sha256(b"no")) == "LayersNotFoundException"


def test_scans_return_the_loaded_findings(ecr, cloud, state, tmp_path):
    name = "team/scanned"
    ecr.create_repository(repositoryName=name)
    digest = push(ecr, cloud, name, b"scan", "v1")
    image = dict(repositoryName=name, imageId={"imageTag": "v1"})
    # Nothing is known: the status says so, and does not look like a clean result.
    assert code(ecr.describe_image_scan_findings, **image) == "ScanNotFoundException"
    started = ecr.start_image_scan(**image)
    assert started["imageScanStatus"]["status"] == "FINDINGS_UNAVAILABLE"
    assert started["imageId"] == {"imageDigest": digest, "imageTag": "v1"}
    assert code(ecr.describe_image_scan_findings, **image) == "ScanNotFoundException"
    [detail] = ecr.describe_images(repositoryName=name)["imageDetails"]
    assert "imageScanStatus" not in detail

    severities = ["CRITICAL"] + ["HIGH"] * 2 + ["LOW"] * 120
    findings = [
        {"name": f"CVE-{number}", "severity": severity, "attributes": [{"key": "package_name", "value": "x"}]}
        for number, severity in enumerate(severities)
    ]
    file = tmp_path / "findings.json"
    file.write_text(json.dumps({"imageScanFindings": {"findings": findings, "imageScanCompletedAt": "2026-01-02T03:04:05+00:00"}}))
    inject = [conftest.BIN, "local", "inject", "scan", "--state", state, "--repository", name, "--digest"]
    loaded = subprocess.run([*inject, digest, file, "--output", "json"], capture_output=True, text=True, check=True)
    assert json.loads(loaded.stdout)["findings"] == {"CRITICAL": 1, "HIGH": 2, "LOW": 120}
    assert ecr.start_image_scan(**image)["imageScanStatus"]["status"] == "COMPLETE"
    found = ecr.describe_image_scan_findings(**image)
    assert found["imageScanStatus"]["status"] == "COMPLETE"
    assert found["imageScanFindings"]["findingSeverityCounts"] == {"CRITICAL": 1, "HIGH": 2, "LOW": 120}
    pages = ecr.get_paginator("describe_image_scan_findings").paginate(**image, PaginationConfig={"PageSize": 50})
    names = [finding["name"] for page in pages for finding in page["imageScanFindings"]["findings"]]
    assert names == [finding["name"] for finding in findings]
    [detail] = ecr.describe_images(repositoryName=name)["imageDetails"]
    assert detail["imageScanStatus"]["status"] == "COMPLETE"
    assert detail["imageScanFindingsSummary"]["findingSeverityCounts"]["LOW"] == 120
    ecr.get_waiter("image_scan_complete").wait(**image)
    # Other images have no findings, and invalid findings are rejected.
    other = push(ecr, cloud, name, b"another", "v2")
    assert code(ecr.describe_image_scan_findings, repositoryName=name, imageId={"imageDigest": other}) == "ScanNotFoundException"
    file.write_text('{"findings": [{"name": "x", "severity": "awful"}]}')
    refused = subprocess.run([*inject, other, file], capture_output=True, text=True)
    assert refused.returncode == 1 and "awful" in refused.stderr
    refused = subprocess.run([*inject, "sha256:../../x", file], capture_output=True, text=True)
    assert refused.returncode == 2


def test_lifecycle_policy_preview(ecr, cloud):
    name = "lifecycle"
    ecr.create_repository(repositoryName=name)
    pushed = [push(ecr, cloud, name, f"image {n}".encode(), tag) for n, tag in enumerate(["prod-1", "prod-2", "dev-1", None, None])]

    def policy(*rules):
        return json.dumps({"rules": [{"rulePriority": n, "description": "d", "selection": selection, "action": {"type": "expire"}} for n, selection in rules]})

    count = {"countType": "imageCountMoreThan", "countNumber": 1}
    prod = {"tagStatus": "tagged", "tagPatternList": ["prod*"], **count}
    untagged = {"tagStatus": "untagged", **count}
    start, get = ecr.start_lifecycle_policy_preview, ecr.get_lifecycle_policy_preview
    assert code(get, repositoryName=name) == "LifecyclePolicyPreviewNotFoundException"
    assert code(start, repositoryName=name) == "LifecyclePolicyNotFoundException"
    assert code(start, repositoryName=name, lifecyclePolicyText=policy((1, {"tagStatus": "tagged", **count}))) == "InvalidParameterException"
    text = policy((1, prod), (2, untagged), (3, {"tagStatus": "any", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 1}))
    assert start(repositoryName=name, lifecyclePolicyText=text)["status"] == "IN_PROGRESS"
    ecr.get_waiter("lifecycle_policy_preview_complete").wait(repositoryName=name)
    found = get(repositoryName=name)
    assert (found["status"], found["lifecyclePolicyText"]) == ("COMPLETE", text)
    assert found["summary"] == {"expiringImageTotalCount": 2}
    results = {result["imageDigest"]: result for result in found["previewResults"]}
    assert set(results) == {pushed[0], pushed[3]}
    assert results[pushed[0]]["appliedRulePriority"] == 1 and results[pushed[0]]["imageTags"] == ["prod-1"]
    assert results[pushed[3]]["appliedRulePriority"] == 2 and "imageTags" not in results[pushed[3]]
    assert results[pushed[3]]["action"] == {"type": "EXPIRE"}
    [only] = get(repositoryName=name, filter={"tagStatus": "TAGGED"})["previewResults"]
    assert only["imageDigest"] == pushed[0]
    assert get(repositoryName=name, imageIds=[{"imageDigest": pushed[1]}])["previewResults"] == []
    pages = ecr.get_paginator("get_lifecycle_policy_preview").paginate(repositoryName=name, PaginationConfig={"PageSize": 1})
    assert [len(page["previewResults"]) for page in pages] == [1, 1]
    # With the repository's own policy; nothing is deleted.
    ecr.put_lifecycle_policy(repositoryName=name, lifecyclePolicyText=policy((1, prod)))
    start(repositoryName=name)
    assert get(repositoryName=name)["summary"] == {"expiringImageTotalCount": 1}
    assert len(ecr.describe_images(repositoryName=name)["imageDetails"]) == 5


def test_multi_platform_images_are_copied_by_skopeo(ecr, cloud, client, tmp_path):
    ecr.create_repository(repositoryName="multi")
    ecr.create_repository(repositoryName="multi-copy")
    token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    registry = Registry(cloud, token)
    entries = []
    for architecture in ("amd64", "arm64"):
        manifest, config, layer = layout(tmp_path / architecture, {"a": architecture.encode()}, architecture)
        for blob in (config, layer):
            registry.push_blob("multi", blob)
        assert registry("PUT", f"/v2/multi/manifests/{sha256(manifest)}", manifest, Content_Type=OCI)[0] == 201
        entries.append({"mediaType": OCI, "digest": sha256(manifest), "size": len(manifest), "platform": {"os": "linux", "architecture": architecture}})
    kind = "application/vnd.oci.image.index.v1+json"
    index = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": entries}).encode()
    assert registry("PUT", "/v2/multi/manifests/v1", index, Content_Type=kind)[0] == 201
    host = cloud.removeprefix("http://")
    skopeo = ["skopeo", "--insecure-policy", "copy", "--all", "--src-tls-verify=false", "--dest-tls-verify=false", "--src-creds=AWS:x", "--dest-creds=AWS:x"]
    subprocess.run([*skopeo, f"docker://{host}/multi:v1", f"docker://{host}/multi-copy:v1"], check=True, capture_output=True)
    [detail] = ecr.describe_images(repositoryName="multi-copy", imageIds=[{"imageTag": "v1"}])["imageDetails"]
    assert detail["imageDigest"] == sha256(index)
    assert len(ecr.describe_images(repositoryName="multi-copy")["imageDetails"]) == 3
    raw = subprocess.run(["skopeo", "inspect", "--raw", "--tls-verify=false", "--creds=AWS:x", f"docker://{host}/multi-copy:v1"], check=True, capture_output=True)
    assert raw.stdout == index
    # An image that an index references is kept; it is deleted with the index.
    delete = ["skopeo", "delete", "--tls-verify=false", "--creds=AWS:x"]
    refused = subprocess.run([*delete, f"docker://{host}/multi-copy@{entries[0]['digest']}"], capture_output=True, text=True)
    assert refused.returncode != 0
    subprocess.run([*delete, f"docker://{host}/multi-copy:v1"], check=True, capture_output=True)
    subprocess.run([*delete, f"docker://{host}/multi-copy@{entries[0]['digest']}"], check=True, capture_output=True)
