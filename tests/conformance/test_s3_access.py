"""Access to S3: presigned URLs and forms, unsigned requests, and required credentials."""

import base64
import hashlib
import hmac
import json
import re
import urllib.parse
import uuid
from datetime import datetime, timedelta, timezone

import boto3
import pytest
from botocore.config import Config
from s3_tools import body, bucket, code, fetch, guarded, quoted, s3, versioned  # noqa: F401

KEYS = ["s3v4", "s3"]


def get(*args, **kwargs):
    answer = fetch(*args, **kwargs)
    return answer[0], answer[2]


def make(endpoint, access="test", secret="test", **config):
    return boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id=access,
        aws_secret_access_key=secret, config=Config(retries={"max_attempts": 1}, **config),
    )


def encoded(fields, file=b"data", name="f.txt", boundary="x" * 20):
    """Encodes a form, with the file last: (headers, body)."""
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
        for key, value in fields.items()
    ]
    if file is not None:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        parts.append((head + "Content-Type: text/plain\r\n\r\n").encode() + file + b"\r\n")
    parts.append(f"--{boundary}--\r\n".encode())
    return {"Content-Type": f"multipart/form-data; boundary={boundary}"}, b"".join(parts)


def send(post, file=b"data", change=None, **kwargs):
    """Sends the form of generate_presigned_post: (status, headers, body)."""
    fields = {**post["fields"], **(change or {})}
    fields = {key: value for key, value in fields.items() if value is not None}
    headers, data = encoded(fields, file, **kwargs)
    return fetch(post["url"], "POST", data, headers)


def error(answer):
    return answer[0], re.search(rb"<Code>(.*?)</Code>", answer[2])[1].decode()


@pytest.mark.parametrize("version", KEYS)
def test_issue_8_3_5_presigned_post(cloud, s3, bucket, version):
    signer = make(cloud, signature_version=version)
    post = signer.generate_presigned_post(bucket, "dir/ü +%.txt")
    status, headers, text = send(post, b"hello")
    assert (status, text) == (204, b"")
    assert headers["ETag"] == quoted(b"hello")
    assert headers["Location"].endswith(urllib.parse.quote("dir/ü +%.txt"))
    assert body(s3, Bucket=bucket, Key="dir/ü +%.txt") == b"hello"


def test_a_form_is_streamed_regardless_of_the_file_contents(cloud, s3, bucket):
    post = make(cloud).generate_presigned_post(bucket, "k")
    for data in [b"", b"\r\n--xxxx", b"\r\n--" + b"x" * 19, bytes(range(256)) * 20_000]:
        assert send(post, data)[0] == 204
        assert body(s3, Bucket=bucket, Key="k") == data


def test_object_metadata_in_a_form(cloud, s3, versioned):
    fields = {
        "Content-Type": "text/csv", "Cache-Control": "no-cache", "x-amz-meta-m": "1",
        "x-amz-server-side-encryption": "AES256", "x-amz-storage-class": "STANDARD_IA",
        "tagging": "<Tagging><TagSet><Tag><Key>a</Key><Value>b c</Value></Tag></TagSet></Tagging>",
        "x-amz-checksum-sha1": base64.b64encode(hashlib.sha1(b"data").digest()).decode(),
    }
    post = make(cloud).generate_presigned_post(
        versioned, "k", Fields=dict(fields), Conditions=[{k: v} for k, v in fields.items()]
    )
    status, headers, _ = send(post)
    assert status == 204
    found = s3.get_object(Bucket=versioned, Key="k", VersionId=headers["x-amz-version-id"])
    assert (found["ContentType"], found["CacheControl"], found["Metadata"], found["StorageClass"]) == (
        "text/csv", "no-cache", {"m": "1"}, "STANDARD_IA"
    )
    assert s3.get_object_tagging(Bucket=versioned, Key="k")["TagSet"] == [{"Key": "a", "Value": "b c"}]
    assert error(send(post, b"other")) == (400, "BadDigest")


def test_the_file_name_in_the_key(cloud, s3, bucket):
    post = make(cloud).generate_presigned_post(bucket, "in/${filename}")
    assert send(post, name="C:\\\\temp\\\\a b.txt")[0] == 204
    assert body(s3, Bucket=bucket, Key="in/a b.txt") == b"data"
    # The policy is checked against the expanded key.
    exact = make(cloud).generate_presigned_post(bucket, "in/x.txt")
    assert send(exact, change={"key": "in/${filename}"}, name="x.txt")[0] == 204
    assert error(send(exact, change={"key": "in/${filename}"}, name="y.txt")) == (403, "AccessDenied")


def test_the_response_that_the_form_requests(cloud, bucket):
    def post(**fields):
        return make(cloud).generate_presigned_post(
            bucket, "a&b", Fields=fields, Conditions=[{k: v} for k, v in fields.items()]
        )

    for asked, expected in [("200", 200), ("201", 201), ("204", 204), ("404", 204), ("x", 204)]:
        status, headers, text = send(post(success_action_status=asked))
        assert status == expected, asked
        if expected == 201:
            assert headers["Content-Type"] == "application/xml"
            assert f"<Bucket>{bucket}</Bucket><Key>a&amp;b</Key>".encode() in text
            assert b"<ETag>&quot;" + hashlib.md5(b"data").hexdigest().encode() in text
            assert f"<Location>{cloud}/{bucket}/a%26b</Location>".encode() in text
    for name in ["success_action_redirect", "redirect"]:
        status, headers, _ = send(post(**{name: "http://example.com/done?x=1"}))
        assert status == 303
        where = urllib.parse.urlsplit(headers["Location"])
        assert where.netloc == "example.com"
        assert dict(urllib.parse.parse_qsl(where.query)) == {
            "x": "1", "bucket": bucket, "key": "a&b", "etag": quoted(b"data")
        }
    # Anything but a URL is ignored.
    assert send(post(success_action_redirect="not a url"))[0] == 204


def test_forms_that_the_policy_does_not_allow(cloud, s3, bucket):
    post = make(cloud).generate_presigned_post(
        bucket, "user/${filename}",
        Fields={"acl": "private", "Content-Type": "image/png"},
        Conditions=[
            {"acl": "private"}, ["starts-with", "$Content-Type", "image/"], ["content-length-range", 2, 10],
        ],
    )
    assert send(post, b"1" * 10)[0] == 204
    assert send(post, b"12", {"x-ignore-me": "1"})[0] == 204
    for file, change, expected in [
        (b"1" * 11, {}, (400, "EntityTooLarge")),
        (b"1" * 5_000_000, {}, (400, "EntityTooLarge")),
        (b"1", {}, (400, "EntityTooSmall")),
        (b"12", {"key": "other/x"}, (403, "AccessDenied")),
        (b"12", {"acl": "public-read"}, (403, "AccessDenied")),
        (b"12", {"Content-Type": "text/html"}, (403, "AccessDenied")),
        (b"12", {"Content-Type": None}, (403, "AccessDenied")),
        (b"12", {"x-amz-meta-more": "1"}, (403, "AccessDenied")),
        (b"12", {"policy": "!"}, (400, "InvalidPolicyDocument")),
        *[
            (b"12", {"policy": base64.b64encode(json.dumps(policy).encode()).decode()}, (400, "InvalidPolicyDocument"))
            for policy in [
                {}, {"expiration": "2099-01-01T00:00:00Z"}, {"expiration": "2099-01-01", "conditions": []},
                {"expiration": "2099-01-01 00:00:00+00:00", "conditions": []},
                {"expiration": "2099-01-01T00:00:00Z", "conditions": [{}]},
                {"expiration": "2099-01-01T00:00:00Z", "conditions": [["like", "$key", "x"]]},
            ]
        ],
        (b"12", {"policy": None}, (400, "InvalidArgument")),
        (b"12", {"key": None}, (400, "InvalidArgument")),
        (b"12", {"x-amz-meta-big": "x" * 30_000}, (400, "MaxPostPreDataLengthExceededError")),
        (None, {}, (400, "InvalidArgument")),
    ]:
        assert error(send(post, file, change)) == expected, change
    names = [o["Key"] for o in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    assert names == ["user/f.txt"]
    # For a different bucket, and for none.
    other = dict(post, url=post["url"].replace(bucket, f"other-{uuid.uuid4().hex[:8]}"))
    assert error(send(other, b"12")) == (403, "AccessDenied")
    assert error(send(dict(post, url=f"{post['url']}/key"), b"12")) == (405, "MethodNotAllowed")


def test_a_form_expires_and_needs_credentials(cloud, bucket):
    signer = make(cloud)
    assert error(send(signer.generate_presigned_post(bucket, "k", ExpiresIn=-5))) == (403, "AccessDenied")
    # A policy remains valid beyond the day on which it was signed.
    assert send(signer.generate_presigned_post(bucket, "k", ExpiresIn=7 * 24 * 3600))[0] == 204
    url = f"{cloud}/{bucket}"
    assert error(send({"url": url, "fields": {"key": "k"}})) == (403, "AccessDenied")
    headers, data = encoded({"key": "k"})
    assert error(fetch(url, "POST", data[:40], headers))[0] == 400
    assert error(fetch(url, "POST", data, {"Content-Type": "multipart/form-data"}))[0] == 400
    # A page of a different origin must not send it either.
    post = signer.generate_presigned_post(bucket, "k")
    headers, data = encoded(post["fields"])
    assert fetch(post["url"], "POST", data, {**headers, "Origin": "https://evil.example"})[0] == 403


@pytest.mark.parametrize("version", KEYS)
def test_signatures_of_forms_are_checked(guarded, version):
    endpoint, access, secret = guarded
    signer = make(endpoint, access, secret, signature_version=version)
    name = f"forms-{uuid.uuid4().hex[:8]}"
    make(endpoint, access, secret).create_bucket(Bucket=name)
    post = signer.generate_presigned_post(name, "k")
    assert send(post)[0] == 204
    assert body(make(endpoint, access, secret), Bucket=name, Key="k") == b"data"
    for other in [make(endpoint, access, "wrong", signature_version=version),
                  make(endpoint, "wrong", secret, signature_version=version)]:
        assert error(send(other.generate_presigned_post(name, "k")))[0] == 403
    # A policy that was modified after signing.
    policy = json.loads(base64.b64decode(post["fields"]["policy"]))
    policy["expiration"] = "2099-01-01T00:00:00Z"
    forged = base64.b64encode(json.dumps(policy).encode()).decode()
    assert error(send(post, change={"policy": forged})) == (403, "SignatureDoesNotMatch")
    signature = "x-amz-signature" if version == "s3v4" else "signature"
    assert error(send(post, change={signature: None})) == (400, "InvalidArgument")
    assert error(send({"url": f"{endpoint}/{name}", "fields": {"key": "k"}})) == (403, "AccessDenied")


def test_a_form_signed_a_day_ago_is_still_valid(guarded):
    """The policy's expiration counts, not the date of the signature."""
    endpoint, access, secret = guarded
    name = f"forms-{uuid.uuid4().hex[:8]}"
    make(endpoint, access, secret).create_bucket(Bucket=name)
    then = datetime.now(timezone.utc) - timedelta(days=1)
    day, time = then.strftime("%Y%m%d"), then.strftime("%Y%m%dT%H%M%SZ")
    fields = {
        "key": "k", "x-amz-algorithm": "AWS4-HMAC-SHA256", "x-amz-date": time,
        "x-amz-credential": f"{access}/{day}/us-east-1/s3/aws4_request",
    }
    end = (then + timedelta(days=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
    policy = {"expiration": end, "conditions": [{"bucket": name}, *({k: v} for k, v in fields.items())]}
    text = base64.b64encode(json.dumps(policy).encode()).decode()
    key = b"AWS4" + secret.encode()
    for field in [day, "us-east-1", "s3", "aws4_request", text]:
        key = hmac.new(key, field.encode(), hashlib.sha256).digest()
    signed = {"url": f"{endpoint}/{name}", "fields": {**fields, "policy": text, "x-amz-signature": key.hex()}}
    assert send(signed)[0] == 204


def test_presigned_urls(s3, versioned, cloud):
    version = s3.put_object(Bucket=versioned, Key="k", Body=b"one")["VersionId"]
    s3.put_object(Bucket=versioned, Key="k", Body=b"two")
    url = s3.generate_presigned_url("get_object", Params={"Bucket": versioned, "Key": "k"})
    # boto3's default: version 2 of the signature.
    assert "AWSAccessKeyId=" in url
    assert get(url) == (200, b"two")
    expired = s3.generate_presigned_url(
        "get_object", Params={"Bucket": versioned, "Key": "k"}, ExpiresIn=-5
    )
    assert get(expired)[0] == 403
    url = s3.generate_presigned_url(
        "get_object", Params={"Bucket": versioned, "Key": "k", "VersionId": version}
    )
    assert get(url) == (200, b"one")
    url = s3.generate_presigned_url("put_object", Params={"Bucket": versioned, "Key": "p"})
    assert get(url, "PUT", b"put")[0] == 200
    assert body(s3, Bucket=versioned, Key="p") == b"put"
    s4 = boto3.client(
        "s3", endpoint_url=cloud, region_name="us-east-1", aws_access_key_id="x",
        aws_secret_access_key="y", config=Config(signature_version="s3v4"),
    )
    url = s4.generate_presigned_url(
        "put_object", Params={"Bucket": versioned, "Key": "q", "Metadata": {"m": "1"}}
    )
    assert get(url, "PUT", b"four", {"x-amz-meta-m": "1"})[0] == 200
    assert s3.head_object(Bucket=versioned, Key="q")["Metadata"] == {"m": "1"}
    url = s4.generate_presigned_url(
        "get_object", Params={"Bucket": versioned, "Key": "k"}, ExpiresIn=60
    )
    assert get(url) == (200, b"two")
    old = url.replace("X-Amz-Expires=60", "X-Amz-Expires=0")
    assert get(old)[0] == 403
    start = url.index("X-Amz-Date=") + len("X-Amz-Date=")
    old = url[:start] + "20200101T000000Z" + url[start + 16 :]
    code, text = get(old)
    assert code == 403 and b"Request has expired" in text


def test_unsigned_and_cross_origin_requests(s3, bucket, cloud):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    url = f"{cloud}/{bucket}/k"
    code, text = get(url)
    assert code == 403 and b"not signed" in text
    signed = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"})
    assert get(signed, headers={"Origin": "https://evil.example"})[0] == 403
    assert get(signed, headers={"Sec-Fetch-Site": "cross-site"})[0] == 403
    assert get(signed, headers={"Host": "evil.example"})[0] == 403


def test_virtual_hosts(s3, bucket, cloud):
    s3.put_object(Bucket=bucket, Key="dir/k", Body=b"x")
    port = cloud.rsplit(":", 1)[1]
    signed = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "dir/k"})
    url = signed.replace(f"/{bucket}/", "/", 1)
    for host in [f"{bucket}.localhost:{port}", f"{bucket}.s3.us-east-1.amazonaws.com"]:
        assert get(url, headers={"Host": host}) == (200, b"x"), host


def test_required_credentials(guarded):
    endpoint, access, secret = guarded

    def make(service, key=access, secret=secret, **config):
        return boto3.client(
            service, endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id=key,
            aws_secret_access_key=secret, config=Config(retries={"max_attempts": 1}, **config),
        )

    s3 = make("s3")
    s3.create_bucket(Bucket="guarded")
    for key in ["a", "../b c/ü&+"]:
        s3.put_object(Bucket="guarded", Key=key, Body=b"x" * 100_000, ChecksumAlgorithm="SHA1")
        assert body(s3, Bucket="guarded", Key=key) == b"x" * 100_000
    assert s3.list_objects_v2(Bucket="guarded", Prefix="../")["KeyCount"] == 1
    wrong = {"key": access, "secret": "wrong"}
    assert code(make("s3", **wrong).list_objects_v2, Bucket="guarded") == "SignatureDoesNotMatch"
    assert code(make("s3", key="other").list_objects_v2, Bucket="guarded") in (
        "InvalidAccessKeyId", "NotSignedUp", "AccessDenied",
    )
    for version in ["s3", "s3v4"]:
        url = make("s3", signature_version=version).generate_presigned_url(
            "get_object", Params={"Bucket": "guarded", "Key": "a"}, ExpiresIn=60
        )
        assert get(url) == (200, b"x" * 100_000), version
        assert get(url.replace("/a?", "/b?"))[0] == 403
        assert get(url.replace("Signature=", "Signature=0"))[0] in (400, 403)

    assert make("sts").get_caller_identity()["Account"] == "000000000000"
    assert code(make("sts", **wrong).get_caller_identity) == "SignatureDoesNotMatch"
    assert code(make("sts", key="other").get_caller_identity) == "InvalidClientTokenId"
    assert code(make("logs", **wrong).describe_log_groups) == "SignatureDoesNotMatch"
    assert make("logs").describe_log_groups()["logGroups"] == []
