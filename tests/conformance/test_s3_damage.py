"""Issue 8, 2.1: bytes that were damaged on disk are an error that names the object, never data."""

import hashlib
import io
import json
import os
import uuid
import zipfile

import pytest
from s3_tools import MIB, body, bucket, code, refused, s3, status, versioned  # noqa: F401
from test_jobs_logs import process, push, role, sagemaker, shell  # noqa: F401


def flip(path):
    with open(path, "r+b") as file:
        file.seek(os.path.getsize(path) // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


def shorten(path):
    os.truncate(path, os.path.getsize(path) - 1)


def same_size_and_time(path):
    found = os.stat(path)
    flip(path)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def another_file(path):
    size = os.path.getsize(path)
    with open(path + ".new", "wb") as file:
        file.write(b"\0" * size)
    os.replace(path + ".new", path)


DAMAGE = [flip, shorten, same_size_and_time, another_file, os.remove]


@pytest.fixture
def damage(state):
    """Damages these bytes in the state directory."""

    def damage(data, how=flip):
        name = hashlib.sha256(data).hexdigest()
        how(os.path.join(state, "blobs", name[:2], name))

    return damage


def is_damage(answer, key):
    found = answer["Error"]
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 500
    assert found["Code"] == "InternalError"
    assert key in found["Message"] and "damaged" in found["Message"]
    return True


@pytest.mark.parametrize("size", [100, 3 * MIB])
@pytest.mark.parametrize("how", DAMAGE)
def test_no_reader_gets_damaged_bytes(s3, bucket, damage, how, size):
    data, key = os.urandom(size), "dir/data.bin"
    s3.put_object(Bucket=bucket, Key=key, Body=data)
    where, source = {"Bucket": bucket, "Key": key}, {"CopySource": {"Bucket": bucket, "Key": key}}
    # Read once before the damage: a verification must not be cached beyond a change.
    assert body(s3, **where) == data
    damage(data, how)
    assert is_damage(refused(s3.get_object, **where), f"{bucket}/{key}")
    assert is_damage(refused(s3.get_object, **where, Range="bytes=0-0"), key)
    assert is_damage(refused(s3.get_object, **where, PartNumber=1), key)
    assert is_damage(refused(s3.copy_object, Bucket=bucket, Key="copy", **source), key)
    assert is_damage(
        refused(s3.copy_object, Bucket=bucket, Key="copy", **source, ChecksumAlgorithm="SHA1"), key
    )
    upload = {"Bucket": bucket, "Key": "big", "UploadId": s3.create_multipart_upload(Bucket=bucket, Key="big")["UploadId"]}
    assert is_damage(refused(s3.upload_part_copy, **upload, PartNumber=1, **source), key)
    assert is_damage(
        refused(s3.get_object_attributes, **where, ObjectAttributes=["Checksum"]), key
    )
    # A HEAD request for the checksum verifies the bytes; its response has no body.
    assert code(s3.head_object, **where, ChecksumMode="ENABLED") == "500"
    # Without it, HEAD detects what file metadata shows: that the bytes are missing or truncated.
    if how in (shorten, os.remove):
        assert status(s3.head_object, **where) == 500
        assert is_damage(refused(s3.get_object_attributes, **where, ObjectAttributes=["ETag"]), key)
    else:
        assert s3.head_object(**where)["ContentLength"] == size
    assert [o["Key"] for o in s3.list_objects_v2(Bucket=bucket)["Contents"]] == [key]
    # Uploading the same bytes again, under any key, repairs every object that has them.
    s3.put_object(Bucket=bucket, Key="again", Body=data)
    assert body(s3, **where) == data
    s3.copy_object(Bucket=bucket, Key="copy", **source)
    assert body(s3, Bucket=bucket, Key="copy") == data


def test_a_damaged_version_is_named(s3, versioned, damage):
    data = os.urandom(50)
    version = s3.put_object(Bucket=versioned, Key="k", Body=data)["VersionId"]
    s3.put_object(Bucket=versioned, Key="k", Body=b"newer")
    damage(data)
    assert body(s3, Bucket=versioned, Key="k") == b"newer"
    assert is_damage(refused(s3.get_object, Bucket=versioned, Key="k", VersionId=version), version)


@pytest.mark.parametrize("how", [flip, shorten, os.remove])
def test_a_damaged_part_cannot_be_completed(s3, bucket, state, how):
    upload = s3.create_multipart_upload(Bucket=bucket, Key="big")["UploadId"]
    where = {"Bucket": bucket, "Key": "big", "UploadId": upload}
    part = s3.upload_part(**where, PartNumber=1, Body=b"data of the part")
    directory = os.path.join(state, "uploads", upload)
    (name,) = os.listdir(directory)
    how(os.path.join(directory, name))
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    assert is_damage(refused(s3.complete_multipart_upload, **where, MultipartUpload=parts), "big")
    # After uploading it again, the upload completes.
    s3.upload_part(**where, PartNumber=1, Body=b"data of the part")
    s3.complete_multipart_upload(**where, MultipartUpload=parts)
    assert body(s3, Bucket=bucket, Key="big") == b"data of the part"


def test_a_multipart_upload_replaces_damaged_bytes(s3, bucket, damage):
    data = os.urandom(100)
    s3.put_object(Bucket=bucket, Key="k", Body=data)
    damage(data)
    where = {"Bucket": bucket, "Key": "again", "UploadId": s3.create_multipart_upload(Bucket=bucket, Key="again")["UploadId"]}
    part = s3.upload_part(**where, PartNumber=1, Body=data)
    s3.complete_multipart_upload(**where, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
    assert body(s3, Bucket=bucket, Key="k") == data


def test_a_job_does_not_run_on_damaged_input(s3, bucket, damage, process):
    data = os.urandom(1000)
    s3.put_object(Bucket=bucket, Key="in/data.bin", Body=data)
    given = {
        "InputName": "data",
        "S3Input": {
            "S3Uri": f"s3://{bucket}/in/", "LocalPath": "/opt/ml/processing/input", "S3DataType": "S3Prefix",
            "S3InputMode": "File",
        },
    }
    assert process("true", ProcessingInputs=[given])["ProcessingJobStatus"] == "Completed"
    damage(data)
    job = process("true", ProcessingInputs=[given])
    assert job["ProcessingJobStatus"] == "Failed"
    assert f"s3://{bucket}/in/data.bin" in job["FailureReason"] and "damaged" in job["FailureReason"]
    s3.put_object(Bucket=bucket, Key="in/data.bin", Body=data)
    assert process("true", ProcessingInputs=[given])["ProcessingJobStatus"] == "Completed"


def test_a_function_is_not_created_from_damaged_code(client, s3, bucket, damage):
    trust = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}]}
    made = client("iam").create_role(
        RoleName=f"damaged-{uuid.uuid4().hex[:8]}", AssumeRolePolicyDocument=json.dumps(trust)
    )
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("handler.py", f"# {uuid.uuid4()}\ndef handler(event, context):\n    return 1\n")
    s3.put_object(Bucket=bucket, Key="code.zip", Body=file.getvalue())
    damage(file.getvalue())
    answer = refused(
        client("lambda").create_function, FunctionName=f"damaged-{uuid.uuid4().hex[:8]}", Role=made["Role"]["Arn"],
        Runtime="python3.11", Handler="handler.handler", Code={"S3Bucket": bucket, "S3Key": "code.zip"},
    )
    assert answer["Error"]["Code"] == "InvalidParameterValueException"
    assert f"s3://{bucket}/code.zip" in answer["Error"]["Message"]
    assert "damaged" in answer["Error"]["Message"]
