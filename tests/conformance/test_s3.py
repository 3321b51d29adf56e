"""The local cloud's S3 with boto3 and the aws CLI."""

import base64
import concurrent.futures
import hashlib
import json
import subprocess
import sys
import uuid
import zlib
from pathlib import Path

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from s3_tools import MIB, body, bucket, code, s3, status, versioned  # noqa: F401

AWS = str(Path(sys.executable).parent / "aws")


def test_buckets(s3, bucket):
    assert s3.head_bucket(Bucket=bucket)["BucketRegion"] == "us-east-1"
    assert s3.get_bucket_location(Bucket=bucket)["LocationConstraint"] is None
    names = [b["Name"] for b in s3.list_buckets(Prefix=bucket)["Buckets"]]
    assert names == [bucket]
    page = s3.list_buckets(MaxBuckets=1)
    assert len(page["Buckets"]) == 1
    assert code(
        s3.create_bucket,
        Bucket=bucket + "-x",
        CreateBucketConfiguration={"LocationConstraint": "eu-west-1"},
    ) == "IllegalLocationConstraintException"
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert code(s3.delete_bucket, Bucket=bucket) == "BucketNotEmpty"
    s3.delete_object(Bucket=bucket, Key="k")
    s3.delete_bucket(Bucket=bucket)
    assert code(s3.head_bucket, Bucket=bucket) == "404"
    assert code(s3.list_objects_v2, Bucket=bucket) == "NoSuchBucket"
    assert code(s3.put_object, Bucket=bucket, Key="k", Body=b"x") == "NoSuchBucket"


def test_default_bucket_settings(s3, bucket):
    rule = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"][0]
    assert rule["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    block = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    assert block == {
        "BlockPublicAcls": True,
        "IgnorePublicAcls": True,
        "BlockPublicPolicy": True,
        "RestrictPublicBuckets": True,
    }
    controls = s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]
    assert controls == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)


def test_bucket_encryption(s3, bucket):
    key = "arn:aws:kms:us-east-1:000000000000:key/1"
    s3.put_bucket_encryption(
        Bucket=bucket,
        ServerSideEncryptionConfiguration={
            "Rules": [
                {
                    "ApplyServerSideEncryptionByDefault": {
                        "SSEAlgorithm": "aws:kms",
                        "KMSMasterKeyID": key,
                    },
                    "BucketKeyEnabled": True,
                }
            ]
        },
    )
    rule = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"][0]
    assert rule["ApplyServerSideEncryptionByDefault"]["KMSMasterKeyID"] == key
    put = s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert (put["ServerSideEncryption"], put["SSEKMSKeyId"]) == ("aws:kms", key)
    s3.delete_bucket_encryption(Bucket=bucket)
    put = s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert put["ServerSideEncryption"] == "AES256"


def test_public_access_block(s3, bucket):
    s3.put_public_access_block(
        Bucket=bucket, PublicAccessBlockConfiguration={"BlockPublicAcls": False}
    )
    block = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    assert block["BlockPublicAcls"] is False
    s3.delete_public_access_block(Bucket=bucket)
    assert (
        code(s3.get_public_access_block, Bucket=bucket) == "NoSuchPublicAccessBlockConfiguration"
    )


def test_bucket_policy(s3, bucket):
    assert code(s3.get_bucket_policy, Bucket=bucket) == "NoSuchBucketPolicy"
    policy = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Principal": "*",
                         "Action": "s3:*", "Resource": f"arn:aws:s3:::{bucket}/*"}]})
    s3.put_bucket_policy(Bucket=bucket, Policy=policy)
    assert json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"]) == json.loads(policy)
    assert code(s3.put_bucket_policy, Bucket=bucket, Policy="{}") == "MalformedPolicy"
    s3.delete_bucket_policy(Bucket=bucket)
    assert code(s3.get_bucket_policy, Bucket=bucket) == "NoSuchBucketPolicy"


def test_bucket_lifecycle(s3, bucket):
    assert (
        code(s3.get_bucket_lifecycle_configuration, Bucket=bucket)
        == "NoSuchLifecycleConfiguration"
    )
    s3.put_bucket_lifecycle_configuration(
        Bucket=bucket,
        LifecycleConfiguration={
            "Rules": [
                {
                    "ID": "snapshots",
                    "Status": "Enabled",
                    "Filter": {"Prefix": "snapshots/"},
                    "Expiration": {"Days": 30},
                }
            ]
        },
    )
    (found,) = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert (found["ID"], found["Filter"], found["Expiration"]) == (
        "snapshots",
        {"Prefix": "snapshots/"},
        {"Days": 30},
    )
    s3.delete_bucket_lifecycle(Bucket=bucket)
    assert status(s3.get_bucket_lifecycle_configuration, Bucket=bucket) == 404


def test_bucket_tagging(s3, bucket):
    assert code(s3.get_bucket_tagging, Bucket=bucket) == "NoSuchTagSet"
    tags = [{"Key": "project", "Value": "flights + co"}]
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": tags})
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == tags
    s3.delete_bucket_tagging(Bucket=bucket)
    assert code(s3.get_bucket_tagging, Bucket=bucket) == "NoSuchTagSet"


def test_bucket_ownership_controls(s3, bucket):
    s3.put_bucket_ownership_controls(
        Bucket=bucket, OwnershipControls={"Rules": [{"ObjectOwnership": "ObjectWriter"}]}
    )
    controls = s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]
    assert controls["Rules"][0]["ObjectOwnership"] == "ObjectWriter"
    s3.delete_bucket_ownership_controls(Bucket=bucket)
    assert (
        code(s3.get_bucket_ownership_controls, Bucket=bucket) == "OwnershipControlsNotFoundError"
    )


def test_bucket_notifications(s3, bucket):
    empty = s3.get_bucket_notification_configuration(Bucket=bucket)
    assert "EventBridgeConfiguration" not in empty
    s3.put_bucket_notification_configuration(
        Bucket=bucket,
        NotificationConfiguration={
            "EventBridgeConfiguration": {},
            "QueueConfigurations": [
                {"QueueArn": "arn:aws:sqs:us-east-1:000000000000:q", "Events": ["s3:ObjectCreated:*"]}
            ],
        },
    )
    found = s3.get_bucket_notification_configuration(Bucket=bucket)
    assert found["EventBridgeConfiguration"] == {}
    assert found["QueueConfigurations"][0]["Events"] == ["s3:ObjectCreated:*"]


def test_objects_keep_their_metadata(s3, bucket):
    data = b"0123456789"
    put = s3.put_object(
        Bucket=bucket,
        Key="dir/ü ?&+%.txt",
        Body=data,
        ContentType="text/plain",
        CacheControl="no-cache",
        ContentDisposition="attachment",
        ContentEncoding="identity",
        ContentLanguage="de",
        Metadata={"owner": "me"},
        Tagging="a=1&b=x%20y",
    )
    assert put["ETag"] == f'"{hashlib.md5(data).hexdigest()}"'
    assert "VersionId" not in put
    got = s3.get_object(Bucket=bucket, Key="dir/ü ?&+%.txt")
    assert got["Body"].read() == data
    for name, value in {
        "ContentType": "text/plain",
        "CacheControl": "no-cache",
        "ContentDisposition": "attachment",
        "ContentEncoding": "identity",
        "ContentLanguage": "de",
        "Metadata": {"owner": "me"},
        "ContentLength": 10,
        "TagCount": 2,
        "ServerSideEncryption": "AES256",
    }.items():
        assert got[name] == value, name
    head = s3.head_object(Bucket=bucket, Key="dir/ü ?&+%.txt")
    assert (head["ETag"], head["Metadata"]) == (put["ETag"], {"owner": "me"})
    assert head["LastModified"] == got["LastModified"]
    got = s3.get_object(Bucket=bucket, Key="dir/ü ?&+%.txt", ResponseContentType="x/y")
    assert got["ContentType"] == "x/y"
    s3.put_object(Bucket=bucket, Key="plain", Body=b"")
    assert s3.head_object(Bucket=bucket, Key="plain")["ContentType"] == "binary/octet-stream"
    assert body(s3, Bucket=bucket, Key="plain") == b""
    assert code(s3.get_object, Bucket=bucket, Key="none") == "NoSuchKey"
    assert code(s3.head_object, Bucket=bucket, Key="none") == "404"


def test_ranges_and_read_conditions(s3, bucket):
    put = s3.put_object(Bucket=bucket, Key="k", Body=b"0123456789")
    got = s3.get_object(Bucket=bucket, Key="k", Range="bytes=2-4")
    assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert (got["ContentRange"], got["Body"].read()) == ("bytes 2-4/10", b"234")
    assert body(s3, Bucket=bucket, Key="k", Range="bytes=-3") == b"789"
    assert body(s3, Bucket=bucket, Key="k", Range="bytes=8-99") == b"89"
    assert code(s3.get_object, Bucket=bucket, Key="k", Range="bytes=10-") == "InvalidRange"
    assert body(s3, Bucket=bucket, Key="k", IfMatch=put["ETag"]) == b"0123456789"
    assert code(s3.get_object, Bucket=bucket, Key="k", IfMatch='"x"') == "PreconditionFailed"
    assert status(s3.get_object, Bucket=bucket, Key="k", IfNoneMatch=put["ETag"]) == 304
    modified = s3.head_object(Bucket=bucket, Key="k")["LastModified"]
    assert status(s3.get_object, Bucket=bucket, Key="k", IfModifiedSince=modified) == 304
    assert status(s3.head_object, Bucket=bucket, Key="k", IfNoneMatch=put["ETag"]) == 304
    big = bytes(range(256)) * 4096
    s3.put_object(Bucket=bucket, Key="big", Body=big)
    assert body(s3, Bucket=bucket, Key="big") == big
    assert body(s3, Bucket=bucket, Key="big", Range="bytes=1000-700000") == big[1000:700001]


def test_keys_are_text_and_never_paths(s3, bucket, state):
    for key in ["../../etc/x", "a/../b", "/lead", "a//b", ".", "..", "x" * 1024]:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
        assert body(s3, Bucket=bucket, Key=key) == key.encode()
    found = [o["Key"] for o in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    assert found == sorted(found, key=str.encode)
    assert "../../etc/x" in found and "a/../b" in found
    assert status(s3.put_object, Bucket=bucket, Key="x" * 1025, Body=b"") == 400


def test_versions(s3, versioned):
    ids = [
        s3.put_object(Bucket=versioned, Key="k", Body=str(n).encode())["VersionId"]
        for n in range(3)
    ]
    assert len(set(ids)) == 3
    assert body(s3, Bucket=versioned, Key="k") == b"2"
    assert body(s3, Bucket=versioned, Key="k", VersionId=ids[0]) == b"0"
    marker = s3.delete_object(Bucket=versioned, Key="k")
    assert marker["DeleteMarker"] is True
    with pytest.raises(ClientError) as error:
        s3.get_object(Bucket=versioned, Key="k")
    assert error.value.response["Error"]["Code"] == "NoSuchKey"
    headers = error.value.response["ResponseMetadata"]["HTTPHeaders"]
    assert headers["x-amz-delete-marker"] == "true"
    assert code(s3.get_object, Bucket=versioned, Key="k", VersionId=marker["VersionId"]) == (
        "MethodNotAllowed"
    )
    assert "Contents" not in s3.list_objects_v2(Bucket=versioned)
    s3.put_object(Bucket=versioned, Key="l", Body=b"l")
    listed = s3.list_object_versions(Bucket=versioned)
    assert [v["VersionId"] for v in listed["Versions"] if v["Key"] == "k"] == ids[::-1]
    assert [v["IsLatest"] for v in listed["Versions"]] == [False, False, False, True]
    (found,) = listed["DeleteMarkers"]
    assert (found["VersionId"], found["IsLatest"]) == (marker["VersionId"], True)
    page = s3.list_object_versions(Bucket=versioned, MaxKeys=2, Prefix="k")
    assert page["IsTruncated"] is True
    rest = s3.list_object_versions(
        Bucket=versioned,
        Prefix="k",
        KeyMarker=page["NextKeyMarker"],
        VersionIdMarker=page["NextVersionIdMarker"],
    )
    assert [v["VersionId"] for v in rest["Versions"]] == [ids[1], ids[0]]
    removed = s3.delete_object(Bucket=versioned, Key="k", VersionId=marker["VersionId"])
    assert removed["DeleteMarker"] is True
    assert body(s3, Bucket=versioned, Key="k") == b"2"
    s3.delete_object(Bucket=versioned, Key="k", VersionId=ids[2])
    assert body(s3, Bucket=versioned, Key="k") == b"1"
    assert code(s3.get_object, Bucket=versioned, Key="k", VersionId=ids[2]) == "NoSuchVersion"


def test_suspended_versioning(s3, versioned):
    ids = [s3.put_object(Bucket=versioned, Key="k", Body=b"x")["VersionId"] for _ in range(2)]
    s3.put_bucket_versioning(Bucket=versioned, VersioningConfiguration={"Status": "Suspended"})
    assert s3.get_bucket_versioning(Bucket=versioned)["Status"] == "Suspended"
    put = s3.put_object(Bucket=versioned, Key="k", Body=b"null one")
    # A write returns no version id, a read returns `null`.
    assert "VersionId" not in put
    assert s3.head_object(Bucket=versioned, Key="k")["VersionId"] == "null"
    s3.put_object(Bucket=versioned, Key="k", Body=b"null two")
    found = s3.list_object_versions(Bucket=versioned, Prefix="k")["Versions"]
    assert [v["VersionId"] for v in found] == ["null", ids[1], ids[0]]
    assert body(s3, Bucket=versioned, Key="k", VersionId="null") == b"null two"


def test_delete_many(s3, versioned):
    for key in ["a", "b & c", "d"]:
        s3.put_object(Bucket=versioned, Key=key, Body=b"x")
    version = s3.put_object(Bucket=versioned, Key="d", Body=b"y")["VersionId"]
    answer = s3.delete_objects(
        Bucket=versioned,
        Delete={"Objects": [{"Key": "a"}, {"Key": "b & c"}, {"Key": "d", "VersionId": version}]},
    )
    deleted = {d["Key"]: d for d in answer["Deleted"]}
    assert deleted["a"]["DeleteMarker"] is True and deleted["b & c"]["DeleteMarkerVersionId"]
    assert deleted["d"]["VersionId"] == version
    assert [o["Key"] for o in s3.list_objects_v2(Bucket=versioned)["Contents"]] == ["d"]
    quiet = s3.delete_objects(
        Bucket=versioned, Delete={"Objects": [{"Key": "d"}, {"Key": "none"}], "Quiet": True}
    )
    assert "Deleted" not in quiet and "Errors" not in quiet


def test_listing(s3, bucket):
    keys = ["a", "b/1", "b/2/x", "b/2/y", "c d/&", "é/1"]
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    pages = s3.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, Delimiter="/", PaginationConfig={"PageSize": 1}
    )
    found, prefixes = [], []
    for page in pages:
        assert page["KeyCount"] == 1
        found += [o["Key"] for o in page.get("Contents", [])]
        prefixes += [p["Prefix"] for p in page.get("CommonPrefixes", [])]
    assert found == ["a"]
    assert prefixes == ["b/", "c d/", "é/"]
    page = s3.list_objects_v2(Bucket=bucket, Prefix="b/", Delimiter="/", FetchOwner=True)
    assert [o["Key"] for o in page["Contents"]] == ["b/1"]
    assert page["Contents"][0]["Owner"]["ID"]
    assert page["Contents"][0]["Size"] == 1
    assert page["CommonPrefixes"] == [{"Prefix": "b/2/"}]
    page = s3.list_objects_v2(Bucket=bucket, StartAfter="b/2/x")
    assert [o["Key"] for o in page["Contents"]] == ["b/2/y", "c d/&", "é/1"]
    assert s3.list_objects_v2(Bucket=bucket, MaxKeys=0)["KeyCount"] == 0
    assert code(s3.list_objects_v2, Bucket=bucket, ContinuationToken="zz") == "InvalidArgument"
    found = []
    for page in s3.get_paginator("list_objects").paginate(
        Bucket=bucket, PaginationConfig={"PageSize": 2}
    ):
        found += [o["Key"] for o in page["Contents"]]
    assert found == keys
    page = s3.list_objects(Bucket=bucket, Delimiter="/", MaxKeys=2)
    assert (page["IsTruncated"], page["NextMarker"]) == (True, "b/")


def test_checksums(s3, bucket):
    data = b"The quick brown fox jumps over the lazy dog"
    expected = {
        "CRC32": base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode(),
        "SHA1": base64.b64encode(hashlib.sha1(data).digest()).decode(),
        "SHA256": base64.b64encode(hashlib.sha256(data).digest()).decode(),
        # 0x22620404
        "CRC32C": "ImIEBA==",
    }
    for algorithm, value in expected.items():
        if algorithm == "CRC32C":
            put = s3.put_object(Bucket=bucket, Key="k", Body=data, ChecksumCRC32C=value)
        else:
            put = s3.put_object(Bucket=bucket, Key="k", Body=data, ChecksumAlgorithm=algorithm)
        assert put[f"Checksum{algorithm}"] == value
        head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
        assert head[f"Checksum{algorithm}"] == value
        assert head["ChecksumType"] == "FULL_OBJECT"
        assert f"Checksum{algorithm}" not in s3.head_object(Bucket=bucket, Key="k")
        wrong = base64.b64encode(b"\0" * len(base64.b64decode(value))).decode()
        assert (
            code(s3.put_object, Bucket=bucket, Key="k", Body=data, **{f"Checksum{algorithm}": wrong})
            == "BadDigest"
        )
    attributes = s3.get_object_attributes(
        Bucket=bucket, Key="k", ObjectAttributes=["Checksum", "ObjectSize", "ETag", "StorageClass"]
    )
    assert attributes["ObjectSize"] == len(data)
    assert attributes["ETag"] == hashlib.md5(data).hexdigest()
    assert attributes["StorageClass"] == "STANDARD"
    assert attributes["Checksum"]["ChecksumCRC32C"] == expected["CRC32C"]
    assert code(s3.put_object, Bucket=bucket, Key="k", Body=data,
                ContentMD5=base64.b64encode(b"0" * 16).decode()) == "BadDigest"
    # The rejected requests changed nothing.
    assert body(s3, Bucket=bucket, Key="k") == data


def test_default_checksum_is_crc64nvme(client, bucket):
    plain = client("s3", config=Config(request_checksum_calculation="when_required"))
    put = plain.put_object(Bucket=bucket, Key="k", Body=b"123456789")
    # The check value of CRC-64/NVME.
    expected = base64.b64encode(0xAE8B14860A799888.to_bytes(8, "big")).decode()
    assert put["ChecksumCRC64NVME"] == expected


def test_conditional_writes_race(s3, bucket):
    def attempt(n):
        try:
            s3.put_object(Bucket=bucket, Key="lock", Body=str(n).encode(), IfNoneMatch="*")
            return n
        except ClientError as error:
            assert error.response["Error"]["Code"] == "PreconditionFailed"
            return None

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        won = [n for n in pool.map(attempt, range(48)) if n is not None]
    assert len(won) == 1
    assert body(s3, Bucket=bucket, Key="lock") == str(won[0]).encode()

    s3.put_object(Bucket=bucket, Key="counter", Body=b"0")

    def increment(_):
        while True:
            got = s3.get_object(Bucket=bucket, Key="counter")
            value = int(got["Body"].read())
            try:
                s3.put_object(
                    Bucket=bucket, Key="counter", Body=str(value + 1).encode(), IfMatch=got["ETag"]
                )
                return
            except ClientError as error:
                assert error.response["Error"]["Code"] == "PreconditionFailed"

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(increment, range(24)))
    assert body(s3, Bucket=bucket, Key="counter") == b"24"
    assert code(s3.put_object, Bucket=bucket, Key="no", Body=b"", IfMatch='"x"') == "NoSuchKey"
    assert code(s3.delete_object, Bucket=bucket, Key="counter", IfMatch='"x"') == (
        "PreconditionFailed"
    )


def test_copy(s3, versioned):
    first = s3.put_object(
        Bucket=versioned, Key="a b/ü", Body=b"1", Metadata={"m": "1"}, ContentType="text/x",
        Tagging="t=1",
    )
    s3.put_object(Bucket=versioned, Key="a b/ü", Body=b"2")
    source = {"Bucket": versioned, "Key": "a b/ü", "VersionId": first["VersionId"]}
    copy = s3.copy_object(Bucket=versioned, Key="copy", CopySource=source)
    assert copy["CopyObjectResult"]["ETag"] == first["ETag"]
    assert copy["CopySourceVersionId"] == first["VersionId"]
    got = s3.get_object(Bucket=versioned, Key="copy")
    assert (got["Body"].read(), got["Metadata"], got["ContentType"]) == (b"1", {"m": "1"}, "text/x")
    assert s3.get_object_tagging(Bucket=versioned, Key="copy")["TagSet"] == [
        {"Key": "t", "Value": "1"}
    ]
    s3.copy_object(
        Bucket=versioned, Key="copy", CopySource=source, MetadataDirective="REPLACE",
        Metadata={"n": "2"}, TaggingDirective="REPLACE", Tagging="u=2",
    )
    assert s3.head_object(Bucket=versioned, Key="copy")["Metadata"] == {"n": "2"}
    assert s3.get_object_tagging(Bucket=versioned, Key="copy")["TagSet"][0]["Key"] == "u"
    itself = {"Bucket": versioned, "Key": "copy"}
    assert code(s3.copy_object, Bucket=versioned, Key="copy", CopySource=itself) == "InvalidRequest"
    assert code(
        s3.copy_object, Bucket=versioned, Key="copy", CopySource=source, IfNoneMatch="*"
    ) == "PreconditionFailed"
    assert code(
        s3.copy_object, Bucket=versioned, Key="x", CopySource=source, CopySourceIfMatch='"x"'
    ) == "PreconditionFailed"
    gone = {"Bucket": versioned, "Key": "none"}
    assert code(s3.copy_object, Bucket=versioned, Key="x", CopySource=gone) == "NoSuchKey"
    sha = s3.copy_object(Bucket=versioned, Key="x", CopySource=source, ChecksumAlgorithm="SHA256")
    assert sha["CopyObjectResult"]["ChecksumSHA256"] == base64.b64encode(
        hashlib.sha256(b"1").digest()
    ).decode()


def test_object_tags(s3, versioned):
    version = s3.put_object(Bucket=versioned, Key="k", Body=b"x")["VersionId"]
    assert s3.get_object_tagging(Bucket=versioned, Key="k")["TagSet"] == []
    tags = [{"Key": "a", "Value": "@1"}]
    answer = s3.put_object_tagging(Bucket=versioned, Key="k", Tagging={"TagSet": tags})
    assert answer["VersionId"] == version
    assert s3.get_object_tagging(Bucket=versioned, Key="k", VersionId=version)["TagSet"] == tags
    twice = {"TagSet": tags + tags}
    assert code(s3.put_object_tagging, Bucket=versioned, Key="k", Tagging=twice) == "InvalidTag"
    s3.delete_object_tagging(Bucket=versioned, Key="k")
    assert s3.get_object_tagging(Bucket=versioned, Key="k")["TagSet"] == []


def test_unknown_operations_are_rejected_by_name(s3, bucket):
    with pytest.raises(ClientError) as error:
        s3.get_bucket_accelerate_configuration(Bucket=bucket)
    assert error.value.response["Error"]["Code"] == "NotImplemented"
    assert "GetBucketAccelerateConfiguration" in error.value.response["Error"]["Message"]


def test_the_aws_cli(environment, tmp_path):
    def aws(*args):
        run = subprocess.run([AWS, *args], env=environment, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        return run.stdout

    bucket = f"cli-{uuid.uuid4().hex[:12]}"
    aws("s3", "mb", f"s3://{bucket}")
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "in" / "a.txt").write_text("hello")
    (tmp_path / "in" / "sub" / "big.bin").write_bytes(b"z" * (9 * MIB))
    aws("s3", "cp", str(tmp_path / "in" / "a.txt"), f"s3://{bucket}/one.txt")
    assert aws("s3", "cp", f"s3://{bucket}/one.txt", "-") == "hello"
    aws("s3", "sync", str(tmp_path / "in"), f"s3://{bucket}/dir")
    listed = aws("s3", "ls", "--recursive", f"s3://{bucket}/dir/")
    assert [line.split()[2:] for line in listed.splitlines()] == [
        ["5", "dir/a.txt"],
        [str(9 * MIB), "dir/sub/big.bin"],
    ]
    assert aws("s3", "sync", str(tmp_path / "in"), f"s3://{bucket}/dir") == ""
    aws("s3", "sync", f"s3://{bucket}/dir", str(tmp_path / "out"))
    assert (tmp_path / "out" / "sub" / "big.bin").read_bytes() == b"z" * (9 * MIB)
    aws("s3", "rb", "--force", f"s3://{bucket}")


def test_the_data_commands(state, s3, tmp_path):
    """Checks `mlops data push`, `versions` and `verify` by the resulting objects."""
    import os

    mlops = os.environ.get("MLOPS_BIN", "target/debug/mlops")
    status = json.loads(
        subprocess.run(
            [mlops, "local", "status", "--state", state, "--output", "json"],
            capture_output=True, text=True,
        ).stdout
    )
    env = {
        **{k: v for k, v in os.environ.items() if not k.startswith("AWS_")},
        "AWS_ENDPOINT_URL": status["endpoint"], "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    bucket = f"data-{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=bucket)

    def data(*args, exit=0):
        run = subprocess.run(
            [os.path.abspath(mlops), "data", *args, "--bucket", bucket, "--output", "json"],
            capture_output=True, text=True, env=env, cwd=tmp_path,
        )
        assert run.returncode == exit, run.stderr
        return json.loads(run.stdout) if run.stdout else run.stderr

    (tmp_path / "d" / "sub").mkdir(parents=True)
    (tmp_path / "d" / "a b.csv").write_text("x,y\n1,2\n")
    (tmp_path / "d" / "sub" / "big.bin").write_bytes(os.urandom(65 * MIB))
    assert "versioning is not enabled" in data("push", "d", "flights", exit=1)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    # The rejected push left its files, but no manifest.
    assert data("versions", "flights")["versions"] == []
    first = data("push", "d", "flights")
    assert (first["files"], first["uploaded"], first["unchanged"]) == (2, 2, False)
    big = s3.head_object(Bucket=bucket, Key="datasets/flights/sub/big.bin")
    assert big["ETag"].endswith('-9"')  # parts of 8 MiB
    manifest = json.loads(body(s3, Bucket=bucket, Key="datasets/flights/manifest.json"))
    assert [f["path"] for f in manifest["files"]] == ["a b.csv", "sub/big.bin"]
    entry = manifest["files"][0]
    got = body(s3, Bucket=bucket, Key=entry["key"], VersionId=entry["version_id"])
    assert hashlib.sha256(got).hexdigest() == entry["sha256"]
    again = data("push", "d", "flights")
    assert (again["version"], again["unchanged"]) == (first["version"], True)
    (tmp_path / "d" / "a b.csv").write_text("x,y\n1,3\n")
    second = data("push", "d", "flights")
    assert (second["uploaded"], second["version"] != first["version"]) == (1, True)
    rows = data("versions", "flights")["versions"]
    assert [r["version"] for r in rows] == [second["version"], first["version"]]
    assert [r["latest"] for r in rows] == [True, False]
    assert data("verify", "flights")["problems"] == []
    assert data("verify", f"flights@{first['version']}")["files"] == 2
    assert "no version" in data("verify", "flights@none", exit=1)
    s3.delete_object(Bucket=bucket, Key=entry["key"], VersionId=entry["version_id"])
    (problem,) = data("verify", f"flights@{first['version']}", exit=3)["problems"]
    assert problem["path"] == "a b.csv" and "deleted" in problem["problem"]
    (tmp_path / "e").mkdir()
    assert "contains no files" in data("push", "e", "flights", exit=2)


