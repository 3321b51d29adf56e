"""Multipart uploads: checksums in the ways that SDKs send them, completion, copies of parts."""

import base64
import concurrent.futures
import hashlib
import os
import shutil
import subprocess

import boto3
import pytest
from botocore.config import Config
from s3_tools import MIB, body, bucket, checksum, code, fetch, quoted, refused, s3, versioned  # noqa: F401

PART = 5 * MIB


class Upload:
    """A multipart upload with individual calls."""

    def __init__(self, s3, bucket, key="big", **create):
        self.s3 = s3
        self.started = s3.create_multipart_upload(Bucket=bucket, Key=key, **create)
        self.where = {"Bucket": bucket, "Key": key, "UploadId": self.started["UploadId"]}
        self.done = []

    def part(self, data, *members, **kwargs):
        number = len(self.done) + 1
        answer = self.s3.upload_part(**self.where, PartNumber=number, Body=data, **kwargs)
        self.done.append({"PartNumber": number, "ETag": answer["ETag"], **{m: answer[m] for m in members}})
        return answer

    def complete(self, parts=None, **kwargs):
        return self.s3.complete_multipart_upload(
            **self.where, MultipartUpload={"Parts": self.done if parts is None else parts}, **kwargs
        )

    def fail(self, parts=None, **kwargs):
        return code(
            self.s3.complete_multipart_upload, **self.where,
            MultipartUpload={"Parts": self.done if parts is None else parts}, **kwargs,
        )


@pytest.mark.parametrize("create", [{}, {"ACL": "bucket-owner-full-control"}])
@pytest.mark.parametrize("named", [(), ("ChecksumCRC32",)], ids=["bare", "with-checksums"])
def test_issue_8_3_1_raw_calls_as_every_sdk_sends_them(s3, bucket, create, named):
    """No checksum on create, CRC32 on parts: boto3's default since 2025."""
    upload = Upload(s3, bucket, **create)
    assert "ChecksumAlgorithm" not in upload.started
    parts = [b"a" * PART, b"b" * PART, b"c"]
    for data in parts:
        assert upload.part(data, *named)["ChecksumCRC32"] == checksum("CRC32", data)
    assert [p["ChecksumCRC32"] for p in s3.list_parts(**upload.where)["Parts"]] == [
        checksum("CRC32", data) for data in parts
    ]
    answer = upload.complete()
    assert answer["ChecksumType"] == "FULL_OBJECT" and answer["ChecksumCRC64NVME"]
    head = s3.head_object(Bucket=bucket, Key="big", ChecksumMode="ENABLED")
    assert (head["ChecksumType"], head["ChecksumCRC64NVME"]) == ("FULL_OBJECT", answer["ChecksumCRC64NVME"])
    assert "ChecksumCRC32" not in head
    assert body(s3, Bucket=bucket, Key="big", ChecksumMode="ENABLED") == b"".join(parts)


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA1", "SHA256"])
def test_part_checksums_are_checked_for_every_algorithm(s3, bucket, algorithm):
    upload = Upload(s3, bucket)
    member = f"Checksum{algorithm}"
    wrong = {member: checksum(algorithm, b"another")}
    assert code(s3.upload_part, **upload.where, PartNumber=1, Body=b"data", **wrong) == "BadDigest"
    assert "Parts" not in s3.list_parts(**upload.where)
    answer = upload.part(b"data", member, **{member: checksum(algorithm, b"data")})
    assert answer[member] == checksum(algorithm, b"data")
    # A completion with a different checksum for the part, or with one that it does not have.
    part = upload.done[0]
    assert upload.fail([{**part, member: checksum(algorithm, b"another")}]) == "InvalidPart"
    other = "SHA1" if algorithm != "SHA1" else "SHA256"
    assert upload.fail([{**part, f"Checksum{other}": checksum(other, b"data")}]) == "InvalidPart"
    upload.complete()
    assert body(s3, Bucket=bucket, Key="big") == b"data"


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
def test_a_declared_algorithm_is_the_only_one(s3, bucket, algorithm):
    upload = Upload(s3, bucket, ChecksumAlgorithm=algorithm)
    assert upload.started["ChecksumAlgorithm"] == algorithm
    other = "SHA1" if algorithm != "SHA1" else "SHA256"
    answer = refused(
        s3.upload_part, **upload.where, PartNumber=1, Body=b"data", ChecksumAlgorithm=other
    )
    assert answer["Error"]["Code"] == "InvalidRequest"
    expected = f"expected checksum Type: {algorithm.lower()}, actual checksum Type: {other.lower()}"
    assert expected in answer["Error"]["Message"]


def test_parts_of_a_composite_upload_need_their_checksum(client, bucket):
    plain = client("s3", config=Config(request_checksum_calculation="when_required"))
    upload = Upload(plain, bucket, ChecksumAlgorithm="SHA256")
    assert upload.started["ChecksumType"] == "COMPOSITE"
    answer = refused(plain.upload_part, **upload.where, PartNumber=1, Body=b"data")
    assert "actual checksum Type: null" in answer["Error"]["Message"]
    upload.part(b"data", ChecksumSHA256=checksum("SHA256", b"data"))
    bare = refused(plain.complete_multipart_upload, **upload.where, MultipartUpload={"Parts": upload.done})
    assert bare["Error"]["Code"] == "InvalidRequest"
    assert "must include the checksum for each part" in bare["Error"]["Message"]
    full = [{**upload.done[0], "ChecksumSHA256": checksum("SHA256", b"data")}]
    assert upload.fail(full, ChecksumSHA256="bad") == "BadDigest"
    assert upload.fail(full, ChecksumType="FULL_OBJECT") == "InvalidRequest"
    assert upload.fail(full, MpuObjectSize=5) == "InvalidRequest"
    digest = hashlib.sha256(hashlib.sha256(b"data").digest()).digest()
    composite = base64.b64encode(digest).decode() + "-1"
    # The number of parts may be missing.
    answer = upload.complete(full, ChecksumSHA256=composite.removesuffix("-1"), MpuObjectSize=4)
    assert (answer["ChecksumSHA256"], answer["ChecksumType"]) == (composite, "COMPOSITE")


def test_full_object_checksums_are_those_of_the_object(s3, bucket):
    upload = Upload(s3, bucket, ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT")
    parts = [b"a" * PART, b"b"]
    for data in parts:
        upload.part(data)
    whole = checksum("CRC32", b"".join(parts))
    assert upload.fail(ChecksumCRC32=checksum("CRC32", b"other")) == "BadDigest"
    answer = upload.complete(ChecksumCRC32=whole, ChecksumType="FULL_OBJECT")
    assert (answer["ChecksumCRC32"], answer["ChecksumType"]) == (whole, "FULL_OBJECT")
    attributes = s3.get_object_attributes(
        Bucket=bucket, Key="big", ObjectAttributes=["ETag", "Checksum", "ObjectParts", "ObjectSize"]
    )
    # Not quoted, unlike everywhere else.
    assert attributes["ETag"] == answer["ETag"].strip('"')
    assert attributes["Checksum"]["ChecksumCRC32"] == whole
    assert attributes["ObjectParts"]["TotalPartsCount"] == 2
    assert [part["Size"] for part in attributes["ObjectParts"]["Parts"]] == [PART, 1]
    assert attributes["ObjectSize"] == PART + 1


@pytest.mark.parametrize(
    "create, why",
    [
        ({"ChecksumType": "FULL_OBJECT"}, "can only be used with"),
        ({"ChecksumAlgorithm": "SHA1", "ChecksumType": "FULL_OBJECT"}, "cannot be used with"),
        ({"ChecksumAlgorithm": "CRC64NVME", "ChecksumType": "COMPOSITE"}, "cannot be used with"),
    ],
)
def test_invalid_checksum_types(s3, bucket, create, why):
    answer = refused(s3.create_multipart_upload, Bucket=bucket, Key="k", **create)
    assert answer["Error"]["Code"] == "InvalidRequest" and why in answer["Error"]["Message"]


def test_unsupported_checksums_are_rejected_by_name(s3, bucket):
    digest = base64.b64encode(hashlib.sha512(b"x").digest()).decode()
    answer = refused(s3.put_object, Bucket=bucket, Key="k", Body=b"x", ChecksumSHA512=digest)
    assert answer["Error"]["Code"] == "NotImplemented" and "SHA512" in answer["Error"]["Message"]


def test_one_checksum_per_request(s3, bucket):
    two = {f"Checksum{name}": checksum(name, b"x") for name in ["SHA1", "SHA256"]}
    answer = refused(s3.put_object, Bucket=bucket, Key="k", Body=b"x", **two)
    assert "Multiple checksum Types are not allowed" in answer["Error"]["Message"]


@pytest.mark.parametrize("create", [{}, {"ChecksumAlgorithm": "SHA256"}, {"ChecksumAlgorithm": "CRC32"}])
def test_copied_parts_have_the_uploads_checksum(s3, bucket, create):
    data = os.urandom(PART + 10)
    s3.put_object(Bucket=bucket, Key="source +ü%", Body=data)
    upload = Upload(s3, bucket, **create)
    member = f"Checksum{create.get('ChecksumAlgorithm', 'CRC64NVME')}"
    for number, (start, end) in enumerate([(0, PART - 1), (PART, PART + 9)], 1):
        copied = s3.upload_part_copy(
            **upload.where, PartNumber=number, CopySource={"Bucket": bucket, "Key": "source +ü%"},
            CopySourceRange=f"bytes={start}-{end}",
        )["CopyPartResult"]
        assert copied["ETag"] == quoted(data[start : end + 1])
        upload.done.append({"PartNumber": number, "ETag": copied["ETag"], member: copied[member]})
    upload.complete()
    assert body(s3, Bucket=bucket, Key="big") == data


def test_issue_8_3_5_a_completion_can_be_sent_twice(s3, versioned):
    upload = Upload(s3, versioned)
    upload.part(b"data")
    first = upload.complete()
    again = upload.complete()
    for member in ["ETag", "VersionId", "Location", "ChecksumCRC64NVME"]:
        assert again[member] == first[member], member
    # Other parts than those that were completed.
    assert upload.fail([{"PartNumber": 2, "ETag": upload.done[0]["ETag"]}]) == "NoSuchUpload"
    assert upload.fail([{"PartNumber": 1, "ETag": '"0"'}]) == "NoSuchUpload"
    (version,) = s3.list_object_versions(Bucket=versioned)["Versions"]
    assert version["VersionId"] == first["VersionId"]
    # Even after a later version, the response is that of the upload.
    s3.put_object(Bucket=versioned, Key="big", Body=b"later")
    assert upload.complete()["VersionId"] == first["VersionId"]
    s3.delete_object(Bucket=versioned, Key="big", VersionId=first["VersionId"])
    assert upload.fail() == "NoSuchUpload"


def test_concurrent_completions_have_the_same_response(s3, versioned):
    upload = Upload(s3, versioned)
    upload.part(os.urandom(PART))
    upload.part(b"end")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: upload.complete(), range(8)))
    assert len({answer["VersionId"] for answer in answers}) == 1
    assert len(s3.list_object_versions(Bucket=versioned)["Versions"]) == 1


def test_a_part_sent_again_replaces_the_first(s3, bucket):
    upload = Upload(s3, bucket)
    s3.upload_part(**upload.where, PartNumber=1, Body=b"first")
    upload.part(b"second")
    upload.complete()
    assert body(s3, Bucket=bucket, Key="big") == b"second"


def test_uploads_that_cannot_be_completed(s3, bucket):
    upload = Upload(s3, bucket)
    assert upload.fail([]) == "MalformedXML"
    upload.part(b"small")
    upload.part(b"end")
    assert upload.fail() == "EntityTooSmall"
    assert upload.fail([upload.done[1], upload.done[0]]) == "InvalidPartOrder"
    assert upload.fail([{"PartNumber": 9, "ETag": upload.done[0]["ETag"]}]) == "InvalidPart"
    answer = refused(s3.list_parts, Bucket=bucket, Key="big", UploadId="none")
    assert answer["Error"]["Code"] == "NoSuchUpload" and answer["Error"]["UploadId"] == "none"
    s3.abort_multipart_upload(**upload.where)
    assert code(s3.upload_part, **upload.where, PartNumber=1, Body=b"") == "NoSuchUpload"
    for number in [0, 10_001]:
        again = Upload(s3, bucket)
        assert code(s3.upload_part, **again.where, PartNumber=number, Body=b"") == "InvalidArgument"


PARTS = [b"a" * (5 * MIB), b"b" * (5 * MIB), b"c"]


@pytest.fixture
def parts(s3, versioned):
    """Uploads the parts of an object `big`; returns the upload, its address, and its parts."""
    upload = s3.create_multipart_upload(
        Bucket=versioned, Key="big", ContentType="text/csv", Metadata={"m": "1"},
        ChecksumAlgorithm="SHA256",
    )
    where = {"Bucket": versioned, "Key": "big", "UploadId": upload["UploadId"]}
    done = []
    s3.upload_part(**where, PartNumber=1, Body=b"will be replaced", ChecksumAlgorithm="SHA256")
    for number, data in enumerate(PARTS, 1):
        part = s3.upload_part(**where, PartNumber=number, Body=data, ChecksumAlgorithm="SHA256")
        done.append(
            {"PartNumber": number, "ETag": part["ETag"], "ChecksumSHA256": part["ChecksumSHA256"]}
        )
    return upload, where, done


@pytest.fixture
def big(s3, parts):
    """Completes the object `big`; returns its SHA-256, composed of those of its parts."""
    _, where, done = parts
    answer = s3.complete_multipart_upload(**where, MultipartUpload={"Parts": done})
    return answer["ChecksumSHA256"]


def test_unfinished_uploads_are_listed(s3, versioned, parts):
    upload, where, done = parts
    assert upload["ChecksumType"] == "COMPOSITE"
    listed = s3.list_parts(**where, MaxParts=2)
    assert [p["Size"] for p in listed["Parts"]] == [5 * MIB, 5 * MIB]
    assert (listed["IsTruncated"], listed["NextPartNumberMarker"]) == (True, 2)
    (found,) = s3.list_multipart_uploads(Bucket=versioned)["Uploads"]
    assert (found["Key"], found["UploadId"]) == ("big", upload["UploadId"])


def test_a_multipart_upload_is_completed(s3, parts):
    _, where, done = parts
    complete = s3.complete_multipart_upload
    assert code(complete, **where, MultipartUpload={"Parts": done[::-1]}) == "InvalidPartOrder"
    wrong = [{"PartNumber": 1, "ETag": '"0"'}]
    assert code(complete, **where, MultipartUpload={"Parts": wrong}) == "InvalidPart"
    answer = complete(**where, MultipartUpload={"Parts": done})
    digests = b"".join(hashlib.md5(p).digest() for p in PARTS)
    assert answer["ETag"] == f'"{hashlib.md5(digests).hexdigest()}-3"'
    digests = b"".join(hashlib.sha256(p).digest() for p in PARTS)
    composite = base64.b64encode(hashlib.sha256(digests).digest()).decode() + "-3"
    assert answer["ChecksumSHA256"] == composite


def test_an_object_of_parts_is_read(s3, versioned, big):
    got = s3.get_object(Bucket=versioned, Key="big", ChecksumMode="ENABLED")
    assert got["Body"].read() == b"".join(PARTS)
    assert (got["ContentType"], got["Metadata"]) == ("text/csv", {"m": "1"})
    assert (got["ChecksumSHA256"], got["ChecksumType"]) == (big, "COMPOSITE")
    part = s3.get_object(Bucket=versioned, Key="big", PartNumber=3)
    assert (part["PartsCount"], part["Body"].read()) == (3, b"c")
    attributes = s3.get_object_attributes(
        Bucket=versioned, Key="big", ObjectAttributes=["ObjectParts"]
    )["ObjectParts"]
    assert attributes["TotalPartsCount"] == 3
    assert [p["Size"] for p in attributes["Parts"]] == [5 * MIB, 5 * MIB, 1]


def test_an_object_of_parts_is_copied(s3, versioned, big):
    copy = s3.copy_object(
        Bucket=versioned, Key="copy", CopySource={"Bucket": versioned, "Key": "big"}
    )
    assert copy["CopyObjectResult"]["ETag"] == f'"{hashlib.md5(b"".join(PARTS)).hexdigest()}"'


def test_parts_are_copied(s3, versioned, big):
    complete = s3.complete_multipart_upload
    small = s3.create_multipart_upload(Bucket=versioned, Key="small")
    where = {"Bucket": versioned, "Key": "small", "UploadId": small["UploadId"]}
    tags = [
        s3.upload_part_copy(
            **where, PartNumber=n, CopySource={"Bucket": versioned, "Key": "big"},
            CopySourceRange="bytes=0-9",
        )["CopyPartResult"]["ETag"]
        for n in (1, 2)
    ]
    assert tags[0] == f'"{hashlib.md5(b"a" * 10).hexdigest()}"'
    both = [{"PartNumber": n, "ETag": tag} for n, tag in zip((1, 2), tags)]
    assert code(complete, **where, MultipartUpload={"Parts": both}) == "EntityTooSmall"
    only = s3.complete_multipart_upload(**where, MultipartUpload={"Parts": both[:1]})
    assert only["ChecksumType"] == "FULL_OBJECT"
    assert body(s3, Bucket=versioned, Key="small") == b"a" * 10


def test_an_upload_is_aborted(s3, versioned):
    third = s3.create_multipart_upload(Bucket=versioned, Key="third")["UploadId"]
    s3.abort_multipart_upload(Bucket=versioned, Key="third", UploadId=third)
    assert code(s3.list_parts, Bucket=versioned, Key="third", UploadId=third) == "NoSuchUpload"
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=versioned)


def test_transfers_of_boto3_in_threads(s3, bucket, tmp_path):
    data = os.urandom(17 * MIB)
    (tmp_path / "in").write_bytes(data)
    for algorithm in [None, "SHA256", "SHA1"]:
        extra = {"ChecksumAlgorithm": algorithm} if algorithm else {}
        s3.upload_file(str(tmp_path / "in"), bucket, "big", ExtraArgs=extra)
        s3.download_file(bucket, "big", str(tmp_path / "out"))
        assert (tmp_path / "out").read_bytes() == data
    s3.copy({"Bucket": bucket, "Key": "big"}, bucket, "copy")
    assert body(s3, Bucket=bucket, Key="copy") == data


S3FS = """
import os, s3fs
fs = s3fs.S3FileSystem(key="x", secret="y", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
bucket = os.environ["BUCKET"]
data = os.urandom(12 << 20)
with fs.open(f"{bucket}/dir/big.bin", "wb", block_size=5 << 20) as file:
    for at in range(0, len(data), 1 << 20):
        file.write(data[at:at + (1 << 20)])
assert fs.cat(f"{bucket}/dir/big.bin") == data
with fs.open(f"{bucket}/dir/big.bin", "rb", block_size=1 << 20) as file:
    file.seek(11 << 20)
    assert file.read() == data[11 << 20:]
with fs.open(f"{bucket}/dir/big.bin", "ab") as file:
    file.write(b"more")
assert fs.cat(f"{bucket}/dir/big.bin") == data + b"more"
fs.pipe(f"{bucket}/dir/small.txt", b"small")
fs.pipe(f"{bucket}/dir/empty", b"")
fs.copy(f"{bucket}/dir/big.bin", f"{bucket}/copy.bin")
assert fs.info(f"{bucket}/copy.bin")["size"] == len(data) + 4
assert sorted(fs.find(bucket)) == [f"{bucket}/{k}" for k in ["copy.bin", "dir/big.bin", "dir/empty", "dir/small.txt"]]
fs.mv(f"{bucket}/dir/small.txt", f"{bucket}/moved.txt")
fs.rm(f"{bucket}/dir", recursive=True)
assert not fs.exists(f"{bucket}/dir/big.bin") and fs.cat(f"{bucket}/moved.txt") == b"small"
"""


def test_issue_8_3_1_s3fs(environment, bucket):
    run = subprocess.run(
        [os.environ["MLOPS_S3FS_PYTHON"], "-c", S3FS],
        env={**environment, "BUCKET": bucket}, capture_output=True, text=True,
    )
    assert run.returncode == 0, run.stderr


def test_issue_8_3_1_rclone(environment, s3, bucket, tmp_path):
    assert shutil.which("rclone"), "rclone is missing: apt-get install rclone"
    source = tmp_path / "in"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "big.bin").write_bytes(os.urandom(13 * MIB))
    (source / "a b.txt").write_text("hello")
    (source / "empty").write_bytes(b"")
    remote = f":s3,provider=Other,env_auth=true,region=us-east-1,endpoint='{environment['AWS_ENDPOINT_URL']}':{bucket}"

    def rclone(*args):
        run = subprocess.run(
            ["rclone", "--config", str(tmp_path / "none"), "--s3-upload-cutoff", "6M", "--s3-chunk-size", "5M",
             "--retries", "1", "--low-level-retries", "1", *args],
            env={**environment, "HOME": str(tmp_path)}, capture_output=True, text=True,
        )
        assert run.returncode == 0, run.stderr
        return run.stdout

    rclone("copy", str(source), f"{remote}/dir")
    assert s3.head_object(Bucket=bucket, Key="dir/sub/big.bin")["ETag"].endswith('-3"')
    rclone("check", "--download", str(source), f"{remote}/dir")
    rclone("copy", f"{remote}/dir", str(tmp_path / "out"))
    for path in ["sub/big.bin", "a b.txt", "empty"]:
        assert (tmp_path / "out" / path).read_bytes() == (source / path).read_bytes()
    rclone("purge", f"{remote}/dir")
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA256"])
@pytest.mark.parametrize("right", [True, False])
def test_part_checksums_in_a_trailer(cloud, s3, bucket, algorithm, right):
    """The SDKs for Rust, Java and JavaScript send streams this way."""
    upload = Upload(s3, bucket)
    data = os.urandom(100_000)
    sent = checksum(algorithm, data if right else b"other")
    trailer = f"x-amz-checksum-{algorithm.lower()}"
    chunked = b"%x\r\n%s\r\n0\r\n%s:%s\r\n\r\n" % (len(data), data, trailer.encode(), sent.encode())
    answer = fetch(
        f"{cloud}/{bucket}/big?partNumber=1&uploadId={upload.where['UploadId']}", "PUT", chunked,
        {
            "Authorization": "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0",
            "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "Content-Encoding": "aws-chunked",
            "x-amz-decoded-content-length": str(len(data)), "x-amz-trailer": trailer,
            "x-amz-sdk-checksum-algorithm": algorithm,
        },
    )
    if not right:
        assert answer[0] == 400 and b"BadDigest" in answer[2]
        return
    assert (answer[0], answer[1][trailer], answer[1]["ETag"]) == (200, sent, quoted(data))
    upload.complete([{"PartNumber": 1, "ETag": quoted(data), f"Checksum{algorithm}": sent}])
    assert body(s3, Bucket=bucket, Key="big") == data


def test_older_sdks_without_checksums(cloud, bucket):
    """SDKs before 2025, and those configured this way, send no checksums."""
    plain = boto3.client(
        "s3", endpoint_url=cloud, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="y",
        config=Config(request_checksum_calculation="when_required", retries={"max_attempts": 1}),
    )
    upload = Upload(plain, bucket)
    upload.part(b"a" * PART)
    upload.part(b"b", ContentMD5=base64.b64encode(hashlib.md5(b"b").digest()).decode())
    assert upload.complete()["ChecksumCRC64NVME"]
    assert body(plain, Bucket=bucket, Key="big") == b"a" * PART + b"b"
