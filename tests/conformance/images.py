"""Builds program images and pushes them over the distribution protocol, without docker."""

import gzip
import hashlib
import io
import json
import tarfile
import urllib.request

PATH = "/opt/program:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
OCI = "application/vnd.oci.image"


def sha256(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def tarball(files, mode=0o644):
    """Returns a tar file of name -> bytes; the same files give the same bytes."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            archive.addfile(entry, io.BytesIO(content))
    return data.getvalue()


def push(cloud, ecr, repository, programs, environment=()):
    """Pushes programs (name -> bytes, made executable under /opt/program) to an ECR repository.

    Returns the image's URI by digest.
    """
    uri = ecr.describe_repositories(repositoryNames=[repository])["repositories"][0]["repositoryUri"]
    token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]

    def send(method, url, body, content_type="application/octet-stream"):
        url = url if url.startswith("http") else cloud + url
        headers = {"Authorization": "Basic " + token, "Content-Type": content_type}
        with urllib.request.urlopen(urllib.request.Request(url, body, headers, method=method)) as answer:
            return answer.headers

    def blob(body, kind):
        where = send("POST", f"/v2/{repository}/blobs/uploads/", b"")["Location"]
        send("PUT", f"{where}{'&' if '?' in where else '?'}digest={sha256(body)}", body)
        return {"mediaType": f"{OCI}.{kind}", "digest": sha256(body), "size": len(body)}

    layer = tarball({f"opt/program/{name}": text for name, text in programs.items()}, 0o755)
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": [f"PATH={PATH}", *environment], "WorkingDir": "/opt/program"},
        "rootfs": {"type": "layers", "diff_ids": [sha256(layer)]},
    }
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": f"{OCI}.manifest.v1+json",
            "config": blob(json.dumps(config).encode(), "config.v1+json"),
            "layers": [blob(gzip.compress(layer, mtime=0), "layer.v1.tar+gzip")],
        }
    ).encode()
    send("PUT", f"/v2/{repository}/manifests/{sha256(manifest)}", manifest, f"{OCI}.manifest.v1+json")
    return f"{uri}@{sha256(manifest)}"
