"""S3's responses without an object: errors, conditions, ranges, counts."""

import http.client
import urllib.parse
import uuid

import pytest
from s3_tools import body, bucket, code, quoted, refused, s3, status, versioned  # noqa: F401


def raw(s3, method, operation="get_object", headers=None, **params):
    """Sends a presigned request with http.client; returns the raw (status, headers, body)."""
    url = urllib.parse.urlsplit(s3.generate_presigned_url(operation, Params=params))
    connection = http.client.HTTPConnection(url.netloc)
    connection.request(method, f"{url.path}?{url.query}", headers=headers or {})
    answer = connection.getresponse()
    found = (answer.status, answer.headers, answer.read())
    connection.close()
    return found


def test_issue_8_3_5_errors_name_their_subject(s3, bucket):
    missing = f"none-{uuid.uuid4().hex[:8]}"
    for call, kwargs, expected in [
        (s3.get_object, {"Bucket": bucket, "Key": "a b&ü"}, ("NoSuchKey", {"Key": "a b&ü"})),
        (s3.get_object, {"Bucket": missing, "Key": "k"}, ("NoSuchBucket", {"BucketName": missing})),
        (s3.put_object, {"Bucket": missing, "Key": "k"}, ("NoSuchBucket", {"BucketName": missing})),
        (s3.list_objects_v2, {"Bucket": missing}, ("NoSuchBucket", {"BucketName": missing})),
        (s3.delete_bucket, {"Bucket": missing}, ("NoSuchBucket", {"BucketName": missing})),
        (s3.get_bucket_policy, {"Bucket": bucket}, ("NoSuchBucketPolicy", {"BucketName": bucket})),
        (s3.get_bucket_tagging, {"Bucket": bucket}, ("NoSuchTagSet", {"BucketName": bucket})),
        (s3.copy_object, {"Bucket": bucket, "Key": "x", "CopySource": {"Bucket": bucket, "Key": "a+b"}},
         ("NoSuchKey", {"Key": "a+b"})),
        (s3.copy_object, {"Bucket": bucket, "Key": "x", "CopySource": f"{missing}/k"},
         ("NoSuchBucket", {"BucketName": missing})),
        (s3.abort_multipart_upload, {"Bucket": bucket, "Key": "k", "UploadId": "u&1"},
         ("NoSuchUpload", {"UploadId": "u&1"})),
    ]:
        answer = refused(call, **kwargs)
        found, meta = answer["Error"], answer["ResponseMetadata"]
        assert found["Code"] == expected[0], call
        assert {k: found.get(k) for k in expected[1]} == expected[1], call
        # botocore copies these from the body and the headers into the metadata.
        assert meta["RequestId"] == meta["HTTPHeaders"]["x-amz-request-id"]
        assert meta["HostId"] == meta["HTTPHeaders"]["x-amz-id-2"]
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    answer = refused(s3.copy_object, Bucket=missing, Key="x", CopySource=f"{bucket}/k")
    assert answer["Error"]["BucketName"] == missing
    assert refused(s3.delete_bucket, Bucket=bucket)["Error"]["BucketName"] == bucket


def test_error_bodies_have_the_ids(s3, bucket):
    found, headers, text = raw(s3, "GET", Bucket=bucket, Key="none")
    assert found == 404 and headers["Content-Type"] == "application/xml"
    for part in [
        "<Code>NoSuchKey</Code>", "<Key>none</Key>",
        f"<RequestId>{headers['x-amz-request-id']}</RequestId>", f"<HostId>{headers['x-amz-id-2']}</HostId>",
    ]:
        assert part.encode() in text, part
    # HEAD returns the status and no body.
    found, headers, text = raw(s3, "HEAD", "head_object", Bucket=bucket, Key="none")
    assert (found, text) == (404, b"") and headers["x-amz-request-id"]


def test_versions_in_errors(s3, versioned):
    s3.put_object(Bucket=versioned, Key="k", Body=b"x")
    answer = refused(s3.get_object, Bucket=versioned, Key="k", VersionId="none")
    assert (answer["Error"]["Key"], answer["Error"]["VersionId"]) == ("k", "none")
    marker = s3.delete_object(Bucket=versioned, Key="k")["VersionId"]
    answer = refused(s3.get_object, Bucket=versioned, Key="k", VersionId=marker)
    assert (answer["Error"]["Code"], answer["Error"]["Method"]) == ("MethodNotAllowed", "GET")
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    assert (headers["x-amz-delete-marker"], headers["x-amz-version-id"]) == ("true", marker)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_issue_8_3_5_not_modified_has_the_etag_and_no_body(s3, versioned, method):
    put = s3.put_object(Bucket=versioned, Key="k", Body=b"data")
    operation = f"{method.lower()}_object"
    for headers in [{"If-None-Match": put["ETag"]}, {"If-None-Match": "*"},
                    {"If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"}]:
        found, answer, text = raw(s3, method, operation, headers, Bucket=versioned, Key="k")
        assert (found, text) == (304, b"")
        assert (answer["ETag"], answer["x-amz-version-id"]) == (put["ETag"], put["VersionId"])
        assert answer["Last-Modified"]
        assert answer["Content-Type"] is None and answer["Content-Length"] is None
    found, answer, _ = raw(s3, method, operation, {"If-None-Match": '"other"'}, Bucket=versioned, Key="k")
    assert (found, answer["Content-Length"]) == (200, "4")


def test_failed_conditions_are_named(s3, bucket):
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"data")["ETag"]
    where = {"Bucket": bucket, "Key": "k"}
    source = {**where, "CopySource": f"{bucket}/k", "MetadataDirective": "REPLACE"}
    for call, kwargs, condition in [
        (s3.get_object, {**where, "IfMatch": '"0"'}, "If-Match"),
        (s3.get_object, {**where, "IfUnmodifiedSince": "2000-01-01"}, "If-Unmodified-Since"),
        (s3.put_object, {**where, "IfNoneMatch": "*"}, "If-None-Match"),
        (s3.put_object, {**where, "IfMatch": '"0"'}, "If-Match"),
        (s3.copy_object, {**source, "CopySourceIfMatch": '"0"'}, "x-amz-copy-source-If-Match"),
        (s3.copy_object, {**source, "CopySourceIfNoneMatch": etag}, "x-amz-copy-source-If-None-Match"),
    ]:
        answer = refused(call, **kwargs)
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 412
        assert (answer["Error"]["Code"], answer["Error"]["Condition"]) == ("PreconditionFailed", condition)


@pytest.mark.parametrize(
    "range, shown, data",
    [
        ("bytes=2-4", "bytes 2-4/10", b"234"), ("bytes=7-", "bytes 7-9/10", b"789"),
        ("bytes=-2", "bytes 8-9/10", b"89"), ("bytes=0-99", "bytes 0-9/10", b"0123456789"),
        ("bytes=-99", "bytes 0-9/10", b"0123456789"),
    ],
)
def test_issue_8_3_5_head_with_a_range(s3, bucket, range, shown, data):
    s3.put_object(Bucket=bucket, Key="k", Body=b"0123456789")
    for call in [s3.get_object, s3.head_object]:
        found = call(Bucket=bucket, Key="k", Range=range)
        assert found["ResponseMetadata"]["HTTPStatusCode"] == 206
        assert (found["ContentRange"], found["ContentLength"]) == (shown, len(data))
        assert (found["AcceptRanges"], found["ETag"]) == ("bytes", quoted(b"0123456789"))
    assert body(s3, Bucket=bucket, Key="k", Range=range) == data


@pytest.mark.parametrize("content, range", [(b"0123456789", "bytes=10-"), (b"", "bytes=0-5"), (b"", "bytes=-1")])
def test_unsatisfiable_ranges(s3, bucket, content, range):
    s3.put_object(Bucket=bucket, Key="k", Body=content)
    answer = refused(s3.get_object, Bucket=bucket, Key="k", Range=range)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 416
    assert answer["ResponseMetadata"]["HTTPHeaders"]["content-range"] == f"bytes */{len(content)}"
    error = answer["Error"]
    assert (error["Code"], error["RangeRequested"], error["ActualObjectSize"]) == (
        "InvalidRange", range, str(len(content))
    )
    assert status(s3.head_object, Bucket=bucket, Key="k", Range=range) == 416


def test_invalid_ranges_are_ignored(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"0123456789")
    for range in ["bytes=5-2", "lines=1-2", "bytes=x", "bytes=0-1,3-4"]:
        found, headers, text = raw(s3, "GET", headers={"Range": range}, Bucket=bucket, Key="k")
        assert (found, text) == (200, b"0123456789"), range
        assert headers["Content-Range"] is None


def test_issue_8_3_5_the_number_of_tags(s3, versioned):
    version = s3.put_object(Bucket=versioned, Key="k", Body=b"x", Tagging="a=1&b=2&c=3")["VersionId"]
    for call in [s3.get_object, s3.head_object]:
        found = call(Bucket=versioned, Key="k", VersionId=version)
        assert found["ResponseMetadata"]["HTTPHeaders"]["x-amz-tagging-count"] == "3"
        assert found["TagCount"] == 3
    s3.delete_object_tagging(Bucket=versioned, Key="k")
    for call in [s3.get_object, s3.head_object]:
        assert "TagCount" not in call(Bucket=versioned, Key="k")


@pytest.mark.parametrize("asked", ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"])
def test_only_the_requested_attributes(s3, versioned, asked):
    put = s3.put_object(Bucket=versioned, Key="k", Body=b"data")
    found = s3.get_object_attributes(Bucket=versioned, Key="k", ObjectAttributes=[asked])
    expected = {
        "ETag": put["ETag"].strip('"'), "StorageClass": "STANDARD", "ObjectSize": 4,
        "Checksum": {"ChecksumCRC32": put["ChecksumCRC32"], "ChecksumType": "FULL_OBJECT"},
    }
    members = {k: v for k, v in found.items() if k not in ("ResponseMetadata", "LastModified", "VersionId")}
    # An object that was uploaded in one request has no parts.
    assert members == ({asked: expected[asked]} if asked in expected else {})
    assert found["VersionId"] == put["VersionId"]
    assert code(s3.get_object_attributes, Bucket=versioned, Key="none", ObjectAttributes=[asked]) == "NoSuchKey"


def plain(s3, method, path, data=None, headers=None):
    """Sends a request with http.client and any signature; returns (status, headers, body)."""
    signed = "AWS4-HMAC-SHA256 Credential=AK/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(s3.meta.endpoint_url).netloc)
    connection.request(method, path, body=data, headers={"Authorization": signed, **(headers or {})})
    answer = connection.getresponse()
    found = (answer.status, answer.headers, answer.read().decode())
    connection.close()
    return found


def test_a_request_selects_one_subresource(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    for method, path, expected in [
        ("GET", "?policy&acl", "InvalidArgument</Code><Message>Conflicting query string parameters: acl, policy<"),
        ("GET", "?acl&versioning", "<ArgumentName>ResourceType</ArgumentName><ArgumentValue>acl</ArgumentValue>"),
        ("DELETE", "/k?tagging&acl", "Conflicting query string parameters: acl, tagging"),
        ("GET", "/k?versionId=a&versionId=b", "<Code>InvalidArgument</Code>"),
        ("DELETE", "?versioning", "<ResourceType>VERSIONING</ResourceType>"),
        ("DELETE", "/k?acl", "<Code>MethodNotAllowed</Code>"),
    ]:
        found, _, text = plain(s3, method, f"/{bucket}{path}")
        assert found in (400, 405) and expected in text, (path, text)
    assert body(s3, Bucket=bucket, Key="k") == b"x"


def test_a_part_needs_its_upload(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    for method, query in [("PUT", "partNumber=1"), ("PUT", "uploadId=u"), ("DELETE", "partNumber=1")]:
        found, _, text = plain(s3, method, f"/{bucket}/k?{query}", b"part")
        assert found == 400 and "<Code>InvalidArgument</Code>" in text, text
    assert body(s3, Bucket=bucket, Key="k") == b"x"


def test_errors_of_the_protocol_have_a_message(s3, bucket):
    long = "k" * 1025
    for method, path, data, code_, parts in [
        ("PUT", f"/{bucket}?versioning", b"<a", "MalformedXML", [f"<BucketName>{bucket}<"]),
        ("PUT", f"/{bucket}/k?tagging", b"<a></b>", "MalformedXML", [f"<BucketName>{bucket}<", "<Key>k<"]),
        ("PUT", f"/{bucket}/{long}", b"", "KeyTooLongError", ["<Size>1025<", "<MaxSizeAllowed>1024<", f"<Key>{long}<"]),
        ("GET", f"/{bucket}/%ff", None, "InvalidURI", ["<URI>"]),
    ]:
        found, _, text = plain(s3, method, path, data)
        assert found == 400 and f"<Code>{code_}</Code>" in text, text
        assert text.count("<Message>") == 1 and "<Message></Message>" not in text
        for part in parts:
            assert part in text, (part, text[:500])


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("header", ["If-Modified-Since", "If-Unmodified-Since"])
def test_an_invalid_date_is_ignored(s3, bucket, method, header):
    s3.put_object(Bucket=bucket, Key="k", Body=b"data")
    for date in ["garbage", "", "2100-01-01"]:
        found, answer, _ = plain(s3, method, f"/{bucket}/k", headers={header: date})
        assert (found, answer["Content-Length"]) == (200, "4"), date
