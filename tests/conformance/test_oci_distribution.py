"""The conformance cases of the OCI distribution specification 1.1 against the registry at /v2/.

The suite itself is a Go program that needs a Go toolchain and modules from the network. Its cases
(pull, push, content discovery, content management) are reimplemented here under the suite's names,
followed by cases that the suite does not have: broken connections, damaged files, a full disk,
concurrent pushes.
"""

import concurrent.futures
import hashlib
import http.client
import json
import os
import resource
import socket
import subprocess
import tempfile
import time
import urllib.parse
from base64 import b64encode
from pathlib import Path

import pytest

import conftest

REPOSITORY = "oci/conformance"
OTHER = "oci/crossmount"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
EMPTY = "application/vnd.oci.empty.v1+json"
ERROR_CODES = {
    "BLOB_UNKNOWN",
    "BLOB_UPLOAD_INVALID",
    "BLOB_UPLOAD_UNKNOWN",
    "DIGEST_INVALID",
    "MANIFEST_BLOB_UNKNOWN",
    "MANIFEST_INVALID",
    "MANIFEST_UNKNOWN",
    "NAME_INVALID",
    "NAME_UNKNOWN",
    "SIZE_INVALID",
    "UNAUTHORIZED",
    "DENIED",
    "UNSUPPORTED",
    "TOOMANYREQUESTS",
}
DUMMY = "sha256:" + "1" * 64
NOWHERE = ".INVALID_MANIFEST_NAME"


def sha256(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def descriptor(data, media_type, **more):
    return {"mediaType": media_type, "digest": sha256(data), "size": len(data), **more}


def manifest(config, layers, **more):
    return json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers, **more}).encode()


def some_config(label):
    return json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}, "config": {"Labels": {"case": label}}}).encode()


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        return self.json["errors"][0]["code"]

    @property
    def location(self):
        """Returns the path and query of Location."""
        assert self.headers["Location"]
        url = urllib.parse.urlsplit(self.headers["Location"])
        return url.path + ("?" + url.query if url.query else "")


class Raw:
    """A plain HTTP/1.1 client: one connection per request, no retries, no redirects."""

    def __init__(self, endpoint):
        self.host = urllib.parse.urlsplit(endpoint).netloc
        self.basic = "Basic " + b64encode(b"AWS:any").decode()

    def connect(self):
        return http.client.HTTPConnection(self.host, timeout=120)

    def __call__(self, method, path, body=None, query=None, **headers):
        if query:
            path += ("&" if "?" in path else "?") + urllib.parse.urlencode(query)
        headers = {name.replace("_", "-"): str(value) for name, value in headers.items()}
        connection = self.connect()
        try:
            connection.request(method, path, body, {"Authorization": self.basic, **headers})
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def begin(self, name=REPOSITORY):
        answer = self("POST", f"/v2/{name}/blobs/uploads/", Content_Length=0)
        assert answer.status == 202
        return answer

    def put_blob(self, data, name=REPOSITORY):
        where = self.begin(name).location
        answer = self("PUT", where, data, {"digest": sha256(data)}, Content_Type="application/octet-stream")
        assert answer.status == 201, answer.body
        return answer

    def put_manifest(self, data, reference=None, name=REPOSITORY, kind=MANIFEST):
        return self("PUT", f"/v2/{name}/manifests/{reference or sha256(data)}", data, Content_Type=kind)


def blob_path(digest, name=REPOSITORY):
    return f"/v2/{name}/blobs/{digest}"


def manifest_path(reference, name=REPOSITORY):
    return f"/v2/{name}/manifests/{reference}"


@pytest.fixture(scope="module")
def oci(client, cloud):
    ecr = client("ecr")
    for name in (REPOSITORY, OTHER):
        ecr.create_repository(repositoryName=name)
    return Raw(cloud)


class Image:
    """Pushes an image of one layer to a repository."""

    def __init__(self, oci, label, name=REPOSITORY, tags=()):
        self.config, self.layer = some_config(label), f"layer of {label}".encode() * 99
        oci.put_blob(self.config, name)
        oci.put_blob(self.layer, name)
        self.manifest = manifest(descriptor(self.config, CONFIG), [descriptor(self.layer, LAYER)])
        for reference in tags or (None,):
            answer = oci.put_manifest(self.manifest, reference, name)
            assert answer.status == 201, answer.body
        self.digest = sha256(self.manifest)


# -- Pull


@pytest.fixture(scope="module")
def pulled(oci):
    return Image(oci, "pull", tags=["tagtest0"])


def test_pull__base_api(oci):
    assert oci("GET", "/v2/").status == 200


def test_pull__head_request_to_nonexistent_blob_should_result_in_404_response(oci):
    answer = oci("HEAD", blob_path(DUMMY))
    assert (answer.status, answer.body) == (404, b"")


def test_pull__head_request_to_existing_blob_should_yield_200(oci, pulled):
    answer = oci("HEAD", blob_path(sha256(pulled.config)))
    assert answer.status == 200
    assert answer.headers["Docker-Content-Digest"] == sha256(pulled.config)
    assert answer.headers["Content-Length"] == str(len(pulled.config))


def test_pull__get_nonexistent_blob_should_result_in_404_response(oci):
    answer = oci("GET", blob_path(DUMMY))
    assert (answer.status, answer.code) == (404, "BLOB_UNKNOWN")


def test_pull__get_request_to_existing_blob_url_should_yield_200(oci, pulled):
    answer = oci("GET", blob_path(sha256(pulled.config)))
    assert (answer.status, answer.body) == (200, pulled.config)


def test_pull__head_request_to_nonexistent_manifest_should_return_404(oci):
    assert oci("HEAD", manifest_path(NOWHERE)).status == 404


@pytest.mark.parametrize("by", ["digest", "tag"])
def test_pull__head_request_to_manifest_path_should_yield_200_response(oci, pulled, by):
    reference = pulled.digest if by == "digest" else "tagtest0"
    answer = oci("HEAD", manifest_path(reference), Accept=MANIFEST)
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Docker-Content-Digest"] == pulled.digest
    assert answer.headers["Content-Type"] == MANIFEST
    assert answer.headers["Content-Length"] == str(len(pulled.manifest))


def test_pull__get_nonexistent_manifest_should_return_404(oci):
    answer = oci("GET", manifest_path(NOWHERE))
    assert (answer.status, answer.code) == (404, "MANIFEST_UNKNOWN")


@pytest.mark.parametrize("by", ["digest", "tag"])
def test_pull__get_request_to_manifest_path_should_yield_200_response(oci, pulled, by):
    reference = pulled.digest if by == "digest" else "tagtest0"
    answer = oci("GET", manifest_path(reference), Accept=MANIFEST)
    assert (answer.status, answer.body) == (200, pulled.manifest)


def test_pull__400_response_body_should_contain_oci_conforming_json_message(oci):
    answer = oci.put_manifest(b"blablabla", "sha256:totallywrong")
    assert answer.status == 400
    assert answer.code in ERROR_CODES
    assert set(answer.json["errors"][0]) <= {"code", "message", "detail"}


def test_pull__ranges_of_a_blob(oci, pulled):
    path, size = blob_path(sha256(pulled.layer)), len(pulled.layer)
    for text, start, end in (("0-0", 0, 0), ("5-9", 5, 9), (f"{size - 3}-", size - 3, size - 1), ("-4", size - 4, size - 1), ("0-999999", 0, size - 1)):
        answer = oci("GET", path, Range=f"bytes={text}")
        assert (answer.status, answer.body) == (206, pulled.layer[start : end + 1])
        assert answer.headers["Content-Range"] == f"bytes {start}-{end}/{size}"
    answer = oci("GET", path, Range=f"bytes={size}-")
    assert (answer.status, answer.headers["Content-Range"]) == (416, f"bytes */{size}")
    # Anything but a single range is ignored (RFC 9110).
    assert oci("GET", path, Range="bytes=9-5").body == pulled.layer


# -- Push


def test_push__blob_upload_streamed(oci):
    data = b"streamed"
    # PATCH request with blob in body should yield 202 response
    answer = oci("PATCH", oci.begin().location, data, Content_Type="application/octet-stream")
    assert answer.status == 202
    # PUT request to session URL with digest should yield 201 response
    answer = oci("PUT", answer.location, None, {"digest": sha256(data)}, Content_Length=0)
    assert answer.status == 201 and answer.location == blob_path(sha256(data))


def test_push__blob_upload_monolithic(oci):
    data = b"monolithic"
    # GET nonexistent blob should result in 404 response
    assert oci("GET", blob_path(sha256(data))).status == 404
    # POST request with digest and blob should yield a 201
    answer = oci("POST", f"/v2/{REPOSITORY}/blobs/uploads/", data, {"digest": sha256(data)}, Content_Type="application/octet-stream")
    assert answer.status == 201 and answer.location == blob_path(sha256(data))
    # GET request to blob URL from prior request should yield 200
    assert oci("GET", answer.location).body == data
    # POST request should yield a session ID; PUT upload of a blob should yield a 201 Response
    assert oci.put_blob(b"monolithic by PUT").location == blob_path(sha256(b"monolithic by PUT"))
    # GET request to existing blob should yield 200 response
    assert oci("GET", blob_path(sha256(b"monolithic by PUT"))).status == 200


def test_push__out_of_order_blob_upload_should_return_416(oci):
    where = oci.begin().location
    answer = oci("PATCH", where, b"second", Content_Range="5-10", Content_Length=6)
    assert answer.status == 416


def test_push__blob_upload_chunked(oci):
    data = b"first chunk, second chunk"
    first, second = data[:11], data[11:]
    # PATCH request with first chunk should return 202
    answer = oci("PATCH", oci.begin().location, first, Content_Range=f"0-{len(first) - 1}", Content_Length=len(first))
    assert answer.status == 202 and answer.headers["Range"] == f"0-{len(first) - 1}"
    # Retry previous blob chunk should return 416
    again = oci("PATCH", answer.location, first, Content_Range=f"0-{len(first) - 1}", Content_Length=len(first))
    assert again.status == 416
    assert again.headers["Range"] == f"0-{len(first) - 1}"
    # Get on stale blob upload should return 204 with a range and location
    state = oci("GET", answer.location)
    assert state.status == 204 and state.location
    assert state.headers["Range"] == f"0-{len(first) - 1}"
    # PATCH request with second chunk should return 202
    end = len(data) - 1
    answer = oci("PATCH", state.location, second, Content_Range=f"{len(first)}-{end}", Content_Length=len(second))
    assert answer.status == 202 and answer.headers["Range"] == f"0-{end}"
    # PUT request with digest should return 201
    answer = oci("PUT", answer.location, None, {"digest": sha256(data)}, Content_Length=0)
    assert answer.status == 201 and answer.location == blob_path(sha256(data))
    assert oci("GET", answer.location).body == data


def test_push__put_request_with_final_chunk_should_return_201(oci):
    data = b"one chunk by PATCH, the last by PUT"
    answer = oci("PATCH", oci.begin().location, data[:9], Content_Range="0-8", Content_Length=9)
    answer = oci("PUT", answer.location, data[9:], {"digest": sha256(data)}, Content_Range=f"9-{len(data) - 1}", Content_Length=len(data) - 9)
    assert answer.status == 201
    assert oci("GET", blob_path(sha256(data))).body == data


def test_push__a_chunk_of_the_wrong_length(oci):
    where = oci.begin().location
    answer = oci("PATCH", where, b"12345", Content_Range="0-9", Content_Length=5)
    assert (answer.status, answer.code) == (400, "SIZE_INVALID")
    assert oci("PATCH", where, b"12345", Content_Range="five").status == 416


def test_push__a_cancelled_upload(oci):
    where = oci.begin().location
    assert oci("PATCH", where, b"gone").status == 202
    assert oci("DELETE", where).status == 204
    for method in ("GET", "PATCH", "DELETE"):
        answer = oci(method, where)
        assert (answer.status, answer.code) == (404, "BLOB_UPLOAD_UNKNOWN")


def test_push__a_wrong_digest(oci):
    for digest, code in ((DUMMY, "DIGEST_INVALID"), ("md5:1", "DIGEST_INVALID"), ("", "DIGEST_INVALID")):
        answer = oci("PUT", oci.begin().location, b"other bytes", {"digest": digest})
        assert (answer.status, answer.code) == (400, code)
    assert oci("HEAD", blob_path(DUMMY)).status == 404


def test_push__cross_repository_blob_mount(oci):
    data = b"mounted"
    oci.put_blob(data)
    uploads = f"/v2/{OTHER}/blobs/uploads/"
    # Cross-mounting of a blob without the from argument should yield session id
    answer = oci("POST", uploads, None, {"mount": sha256(data)}, Content_Length=0)
    assert answer.status == 202 and answer.location.startswith(uploads)
    # POST request to mount another repository's blob should return 201 or 202
    answer = oci("POST", uploads, None, {"mount": sha256(data), "from": REPOSITORY}, Content_Length=0)
    assert answer.status == 201 and answer.location == blob_path(sha256(data), OTHER)
    # GET request to test digest within cross-mount namespace should return 200
    assert oci("GET", blob_path(sha256(data), OTHER)).body == data
    # Cross-mounting of nonexistent blob should yield session id
    answer = oci("POST", uploads, None, {"mount": DUMMY, "from": REPOSITORY}, Content_Length=0)
    assert answer.status == 202 and answer.location.startswith(uploads)


def test_push__manifest_upload(oci):
    image = Image(oci, "push", tags=["pushed0"])
    # GET nonexistent manifest should return 404
    assert oci("GET", manifest_path(NOWHERE)).status == 404
    # PUT should accept a manifest upload
    for number in range(4):
        answer = oci.put_manifest(image.manifest, f"pushed{number}")
        assert answer.status == 201 and answer.location
        assert answer.headers["Docker-Content-Digest"] == image.digest
    # GET request to manifest URL (digest) should yield 200 response
    assert oci("GET", manifest_path(image.digest), Accept=MANIFEST).body == image.manifest


def test_push__registry_should_accept_a_manifest_upload_with_no_layers(oci):
    config = some_config("no layers")
    oci.put_blob(config)
    data = manifest(descriptor(config, CONFIG), [])
    assert oci.put_manifest(data, "emptylayer").status == 201
    assert oci("GET", manifest_path(sha256(data))).body == data


def test_push__a_manifest_without_its_blobs(oci):
    config = some_config("never pushed")
    answer = oci.put_manifest(manifest(descriptor(config, CONFIG), []), "missing")
    assert (answer.status, answer.code) == (400, "MANIFEST_BLOB_UNKNOWN")
    oci.put_blob(config)
    wrong = {**descriptor(config, CONFIG), "size": len(config) + 1}
    answer = oci.put_manifest(manifest(wrong, []), "missing")
    assert (answer.status, answer.code) == (400, "MANIFEST_INVALID")
    assert oci("HEAD", manifest_path("missing")).status == 404


def test_push__a_manifest_over_4_mib_is_rejected(oci):
    config = some_config("large")
    oci.put_blob(config)
    large = manifest(descriptor(config, CONFIG), [], annotations={"x": "x" * (4 << 20)})
    assert oci.put_manifest(large, "large").status == 413


# -- Content discovery


@pytest.fixture(scope="module")
def listed(client, oci):
    name = "oci/discovery"
    client("ecr").create_repository(repositoryName=name)
    Image(oci, "tags", name, tags=["test0", "test1", "test2", "test3", "A_10.x"])
    return name


def test_discovery__get_request_to_list_tags_should_yield_200_response(oci, listed):
    answer = oci("GET", f"/v2/{listed}/tags/list")
    # In lexical order.
    assert answer.status == 200
    assert answer.json == {"name": listed, "tags": ["A_10.x", "test0", "test1", "test2", "test3"]}
    assert answer.headers["Link"] is None
    missing = oci("GET", "/v2/oci/none/tags/list")
    assert (missing.status, missing.code) == (404, "NAME_UNKNOWN")


def test_discovery__get_number_of_tags_should_be_limitable_by_n_query_parameter(oci, listed):
    answer = oci("GET", f"/v2/{listed}/tags/list", None, {"n": 2})
    assert answer.json["tags"] == ["A_10.x", "test0"]
    link = answer.headers["Link"]
    assert link.startswith("<") and link.endswith('>; rel="next"')
    assert oci("GET", f"/v2/{listed}/tags/list", None, {"n": 0}).json["tags"] == []


def test_discovery__get_start_of_tag_is_set_by_last_query_parameter(oci, listed):
    answer = oci("GET", f"/v2/{listed}/tags/list", None, {"n": 2, "last": "test0"})
    assert answer.json["tags"] == ["test1", "test2"]
    assert oci("GET", f"/v2/{listed}/tags/list", None, {"last": "test3"}).json["tags"] == []


def test_discovery__links_page_through_all_tags(oci, listed):
    found, path = [], f"/v2/{listed}/tags/list?n=2"
    while path:
        answer = oci("GET", path)
        found += answer.json["tags"]
        link = answer.headers["Link"]
        path = link and link[1 : link.index(">")]
    assert found == ["A_10.x", "test0", "test1", "test2", "test3"]


@pytest.fixture(scope="module")
def referred(oci):
    """Creates a subject with five referrers of two types, as the suite does."""
    empty = b"{}"
    oci.put_blob(empty)
    config = some_config("subject")
    layer = b"layer of the subject"
    subject = manifest(descriptor(config, CONFIG), [descriptor(layer, LAYER)])
    annotated = {"org.opencontainers.conformance.test": "x"}
    found = {"subject": subject, "A": [], "B": []}

    def refer(kind, data, media_type, to=subject):
        answer = oci.put_manifest(data, kind=media_type)
        assert answer.status == 201, answer.body
        assert answer.headers["OCI-Subject"] == sha256(to)
        if to is subject:
            found[kind].append(sha256(data))
        return sha256(data)

    def referrers(kind):
        blob = f"reference {kind}".encode()
        oci.put_blob(blob)
        of, to = f"application/vnd.nhl.peanut.butter.bagel.{kind}", descriptor(subject, MANIFEST)
        # config.MediaType = artifactType
        refer(kind, manifest(descriptor(blob, of), [descriptor(layer, LAYER)], subject=to, annotations=annotated), MANIFEST)
        # ArtifactType, config.MediaType = emptyJSON
        refer(kind, manifest(descriptor(empty, EMPTY), [descriptor(blob, of)], artifactType=of, subject=to, annotations=annotated), MANIFEST)

    # Before the subject, and after it.
    oci.put_blob(layer)
    referrers("A")
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [], "subject": descriptor(subject, MANIFEST), "annotations": annotated}
    refer("B", json.dumps({**index, "artifactType": "application/vnd.index"}).encode(), INDEX)
    oci.put_blob(config)
    assert oci.put_manifest(subject, "subject").status == 201
    referrers("B")
    # For a subject that does not exist.
    missing = manifest(descriptor(some_config("missing subject"), CONFIG), [])
    data = manifest(descriptor(empty, EMPTY), [], artifactType="application/x", subject=descriptor(missing, MANIFEST), annotations=annotated)
    found["missing"] = sha256(missing), refer("A", data, MANIFEST, missing)
    return found


def referrers(oci, digest, **query):
    answer = oci("GET", f"/v2/{REPOSITORY}/referrers/{digest}", None, query)
    assert (answer.status, answer.headers["Content-Type"]) == (200, INDEX)
    assert answer.json["schemaVersion"] == 2 and answer.json["mediaType"] == INDEX
    return answer


def test_discovery__referrers_of_nonexistent_blob_should_result_in_empty_200_response(oci):
    assert referrers(oci, DUMMY).json["manifests"] == []
    assert oci("GET", f"/v2/{REPOSITORY}/referrers/latest").status == 400


def test_discovery__referrers_of_existing_blob_should_yield_200(oci, referred):
    found = referrers(oci, sha256(referred["subject"])).json["manifests"]
    assert {entry["digest"] for entry in found} == {*referred["A"], *referred["B"]} and len(found) == 5
    for entry in found:
        assert entry["annotations"] == {"org.opencontainers.conformance.test": "x"}
        assert entry["artifactType"].startswith("application/vnd.")
        assert entry["size"] == len(oci("GET", manifest_path(entry["digest"])).body)


def test_discovery__referrers_with_filter_should_yield_200(oci, referred):
    answer = referrers(oci, sha256(referred["subject"]), artifactType="application/vnd.nhl.peanut.butter.bagel.A")
    assert answer.headers["OCI-Filters-Applied"] == "artifactType"
    assert {entry["digest"] for entry in answer.json["manifests"]} == set(referred["A"])
    assert len(referred["A"]) == 2


def test_discovery__referrers_of_missing_manifest_should_yield_200(oci, referred):
    subject, referrer = referred["missing"]
    assert [entry["digest"] for entry in referrers(oci, subject).json["manifests"]] == [referrer]


# -- Content management


def test_management__manifest_delete(client, oci):
    name = "oci/management"
    client("ecr").create_repository(repositoryName=name)
    image = Image(oci, "management", name, tags=["tagtest0", "tagtest1"])

    def tags():
        return oci("GET", f"/v2/{name}/tags/list").json["tags"]

    # DELETE request to manifest tag should return 202, unless tag deletion is disallowed
    assert oci("DELETE", manifest_path("tagtest0", name)).status == 202
    # GET request to tags list should reflect manifest deletion
    assert tags() == ["tagtest1"]
    assert oci("GET", manifest_path("tagtest0", name)).status == 404
    # DELETE request to manifest (digest) should yield 202 response unless already deleted
    assert oci("DELETE", manifest_path(image.digest, name)).status == 202
    # GET request to deleted manifest URL should yield 404 response, unless delete is disallowed
    answer = oci("GET", manifest_path(image.digest, name))
    assert (answer.status, answer.code) == (404, "MANIFEST_UNKNOWN")
    assert oci("DELETE", manifest_path(image.digest, name)).status == 404
    assert tags() == []


def test_management__blob_delete(oci):
    # DELETE request to blob URL: ECR does not support it (405), as the specification allows.
    oci.put_blob(b"stays")
    answer = oci("DELETE", blob_path(sha256(b"stays")))
    assert (answer.status, answer.code) == (405, "UNSUPPORTED")
    assert oci("GET", blob_path(sha256(b"stays"))).body == b"stays"


# -- Cases that the suite does not have


def broken_patch(oci, where, data, announced, chunk_range=None):
    """Sends `data` as the beginning of a longer body, then disconnects."""
    host, port = oci.host.split(":")
    with socket.create_connection((host, int(port))) as connection:
        content_range = f"Content-Range: {chunk_range}\r\n" if chunk_range else ""
        head = f"PATCH {where} HTTP/1.1\r\nHost: {oci.host}\r\nAuthorization: {oci.basic}\r\nContent-Length: {announced}\r\n{content_range}\r\n"
        connection.sendall(head.encode() + data)
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(60)
        while connection.recv(65536):
            pass


def test_an_upload_resumes_where_the_connection_broke(oci):
    data = os.urandom(5 << 20)
    where = oci.begin().location
    # At 10 %, 50 % and 99 %: each time, send the rest from the registry's offset.
    reached = 0
    for part in (len(data) // 10, len(data) // 2, len(data) * 99 // 100):
        broken_patch(oci, where, data[reached:part], len(data) - reached)
        state = oci("GET", where)
        assert state.status == 204
        reached = int(state.headers["Range"].removeprefix("0-")) + 1
        assert reached == part, "what arrived is kept"
    answer = oci("PATCH", where, data[reached:], Content_Range=f"{reached}-{len(data) - 1}")
    assert answer.status == 202
    assert oci("PUT", where, None, {"digest": sha256(data)}, Content_Length=0).status == 201
    assert oci("GET", blob_path(sha256(data))).body == data


def test_concurrent_pushes(client, oci):
    name = "oci/race"
    ecr = client("ecr")
    ecr.create_repository(repositoryName=name, imageTagMutability="IMMUTABLE")
    data = os.urandom(2 << 20)
    oci.put_blob(data, name)
    manifests = []
    for number in range(8):
        config = some_config(f"race {number}")
        oci.put_blob(config, name)
        manifests.append(manifest(descriptor(config, CONFIG), [descriptor(data, LAYER)]))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        # All of them push the same blob and the same image.
        blobs = list(pool.map(lambda _: oci.put_blob(data + b"same", name).status, range(8)))
        same = list(pool.map(lambda _: oci.put_manifest(manifests[0], "same", name).status, range(8)))
        # Eight images compete for one immutable tag.
        wanted = list(pool.map(lambda m: oci.put_manifest(m, "one", name).status, manifests))
    assert set(blobs) == set(same) == {201}
    assert sorted(wanted) == [201] + [400] * 7
    kept = oci("GET", manifest_path("one", name)).body
    assert manifests.index(kept) == wanted.index(201)
    # The images that lost were not stored without their tag.
    digests = {detail["imageDigest"] for detail in ecr.describe_images(repositoryName=name)["imageDetails"]}
    assert digests == {sha256(kept), sha256(manifests[0])}


def blob_file(state, digest):
    hex_digest = digest.removeprefix("sha256:")
    return Path(state) / "blobs" / hex_digest[:2] / hex_digest


@pytest.mark.parametrize("damage", ["bytes", "length", "gone"])
def test_a_damaged_blob_is_never_returned(oci, state, damage):
    image = Image(oci, f"damage {damage}", tags=[f"damaged-{damage}"])
    file, path = blob_file(state, sha256(image.layer)), blob_path(sha256(image.layer))
    assert oci("GET", path).body == image.layer
    if damage == "gone":
        file.unlink()
    else:
        # Replaced, so that it is a different file regardless of the clock's resolution.
        other = file.with_name("other")
        other.write_bytes(image.layer[:-1] + (b"?" if damage == "bytes" else b""))
        other.replace(file)
    answer = oci("GET", path)
    assert answer.status == (500 if damage == "bytes" else 404)
    assert image.layer[:20] not in answer.body
    # From then on it counts as missing, so that a client uploads it again.
    assert oci("HEAD", path).status == 404
    assert oci.put_manifest(image.manifest, "again").code == "MANIFEST_BLOB_UNKNOWN"
    oci.put_blob(image.layer)
    assert oci("GET", path).body == image.layer
    assert oci("GET", path, Range="bytes=0-3").body == image.layer[:4]


def test_a_damaged_manifest_is_never_returned(oci, state):
    image = Image(oci, "damaged manifest", tags=["damaged-manifest"])
    blob_file(state, image.digest).write_bytes(image.manifest.replace(b"2", b"3", 1))
    assert oci("GET", manifest_path("damaged-manifest")).status == 500
    assert oci("HEAD", manifest_path("damaged-manifest")).status == 404
    assert oci.put_manifest(image.manifest, "damaged-manifest").status == 201
    assert oci("GET", manifest_path("damaged-manifest")).body == image.manifest


def test_every_request_needs_a_token(oci, pulled, cloud):
    for credentials in ("Basic " + b64encode(b"AWS:").decode(), "Basic " + b64encode(b"me:x").decode(), "Bearer x", ""):
        for method, path in (("GET", "/v2/"), ("GET", manifest_path("tagtest0")), ("POST", f"/v2/{REPOSITORY}/blobs/uploads/")):
            answer = oci(method, path, Authorization=credentials)
            assert (answer.status, answer.code) == (401, "UNAUTHORIZED")
            assert answer.headers["WWW-Authenticate"].startswith("Basic realm=")
            assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"


def test_a_full_disk_leaves_nothing():
    """A server that cannot write files over 8 MiB: writing fails as on a full disk."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (8 << 20, 8 << 20))

    with tempfile.TemporaryDirectory(prefix="mlops-full-") as directory:
        state = os.path.join(directory, "state")
        # Python and its children ignore SIGXFSZ: the write fails instead.
        server = subprocess.Popen(
            [conftest.BIN, "local", "start", "--port", "0", "--state", state, "--quiet"],
            preexec_fn=limit,
            restore_signals=False,
        )
        try:
            endpoint = None
            for _ in range(6000):
                try:
                    endpoint = json.loads(Path(state, "address.json").read_text())["endpoint"]
                    break
                except (OSError, ValueError, KeyError):
                    assert server.poll() is None
                    time.sleep(0.01)
            import boto3

            boto3.client("ecr", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x").create_repository(repositoryName="full")
            oci = Raw(endpoint)
            data = os.urandom(12 << 20)
            where = oci.begin("full").location
            answer = oci("PATCH", where, data)
            assert answer.status >= 500, answer.body
            assert oci("GET", where).status == 404, "the upload has ended"
            where = oci.begin("full").location
            assert oci("PUT", where, data, {"digest": sha256(data)}).status >= 500
            assert oci("HEAD", blob_path(sha256(data), "full")).status == 404
            assert os.listdir(os.path.join(state, "blobs/tmp")) == [], "no bytes are left"
            # Smaller uploads are still accepted.
            oci.put_blob(data[: 1 << 20], "full")
            assert oci("GET", blob_path(sha256(data[: 1 << 20]), "full")).body == data[: 1 << 20]
        finally:
            server.terminate()
            server.wait(30)
