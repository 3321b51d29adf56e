"""Bucket names and settings that S3 rejects: lifecycle, notifications, policy, tags."""

import json
import uuid

import boto3
import pytest
from botocore.config import Config
from s3_tools import bucket, code, local_cloud, refused, s3  # noqa: F401


def test_issue_8_3_5_the_owner_can_create_a_bucket_again(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"kept")
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    again = s3.create_bucket(Bucket=bucket)
    assert again["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert again["Location"] == f"/{bucket}"
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    assert s3.head_object(Bucket=bucket, Key="k")["ContentLength"] == 4


def test_in_other_regions_it_is_a_conflict(other_region):
    s3 = other_region
    name = f"test-{uuid.uuid4().hex[:12]}"
    where = {"CreateBucketConfiguration": {"LocationConstraint": "eu-west-1"}}
    s3.create_bucket(Bucket=name, **where)
    answer = refused(s3.create_bucket, Bucket=name, **where)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 409
    assert (answer["Error"]["Code"], answer["Error"]["BucketName"]) == ("BucketAlreadyOwnedByYou", name)


@pytest.fixture
def other_region(tmp_path):
    """A boto3 client of a local cloud in eu-west-1."""
    with local_cloud(tmp_path / "state", "--region", "eu-west-1") as address:
        yield boto3.client(
            "s3", endpoint_url=address["endpoint"], region_name="eu-west-1", aws_access_key_id="test",
            aws_secret_access_key="test", config=Config(retries={"max_attempts": 1}),
        )


def rule(**members):
    """Returns a valid rule with changes; None removes a member."""
    made = {"ID": "r", "Status": "Enabled", "Filter": {"Prefix": "p/"}, "Expiration": {"Days": 30}}
    return {k: v for k, v in {**made, **members}.items() if v is not None}


TAG = {"Key": "k", "Value": "v"}


def move(days, name):
    return {"Days": days, "StorageClass": name}


@pytest.mark.parametrize(
    "rules",
    [
        [rule()],
        [rule(ID=None), rule(ID=None, Filter={"Prefix": "q/"})],
        [rule(ID="i" * 255)],
        [rule(Filter={})],
        [rule(Filter=None, Prefix="p/")],
        [rule(Filter={"Tag": TAG})],
        [rule(Filter={"And": {"Prefix": "p", "Tags": [TAG], "ObjectSizeGreaterThan": 1, "ObjectSizeLessThan": 9}})],
        [rule(Expiration={"Date": "2030-01-01T00:00:00Z"})],
        [rule(Expiration={"ExpiredObjectDeleteMarker": True})],
        [rule(Expiration=None, NoncurrentVersionExpiration={"NoncurrentDays": 3, "NewerNoncurrentVersions": 2})],
        [rule(Expiration=None, AbortIncompleteMultipartUpload={"DaysAfterInitiation": 7})],
        [rule(Expiration={"Days": 400}, Transitions=[move(30, "STANDARD_IA"), move(90, "GLACIER")])],
        [rule(Status="Disabled", Transitions=[move(0, "GLACIER_IR")])],
    ],
)
def test_accepted_lifecycle_rules(s3, bucket, rules):
    put = s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": rules})
    assert put["ResponseMetadata"]["HTTPStatusCode"] == 200
    found = s3.get_bucket_lifecycle_configuration(Bucket=bucket)
    assert found["TransitionDefaultMinimumObjectSize"] == "all_storage_classes_128K"
    assert [r["Status"] for r in found["Rules"]] == [r["Status"] for r in rules]
    assert len({r["ID"] for r in found["Rules"]}) == len(rules)


@pytest.mark.parametrize(
    "expected, rules",
    [
        ("MalformedXML", []),
        ("MalformedXML", [rule(Status="enabled")]),
        ("MalformedXML", [rule(Filter=None)]),
        ("MalformedXML", [rule(Prefix="p/")]),
        ("MalformedXML", [rule(Filter={"Prefix": "p", "ObjectSizeLessThan": 3})]),
        ("MalformedXML", [rule(Filter={"And": {"Prefix": "p"}})]),
        ("MalformedXML", [rule(Expiration={})]),
        ("MalformedXML", [rule(Expiration={"Days": 1, "Date": "2030-01-01T00:00:00Z"})]),
        ("MalformedXML", [rule(Transitions=[move(40, "COLD")])]),
        ("MalformedXML", [rule(Transitions=[{"StorageClass": "GLACIER"}])]),
        ("InvalidArgument", [rule(ID="i" * 256)]),
        ("InvalidArgument", [rule(), rule(Filter={"Prefix": "q/"})]),
        ("InvalidArgument", [rule(Expiration={"Days": 0})]),
        ("InvalidArgument", [rule(Expiration={"Days": -1})]),
        ("InvalidArgument", [rule(Expiration={"Date": "2030-01-01T12:00:00Z"})]),
        ("InvalidArgument", [rule(Transitions=[move(29, "STANDARD_IA")])]),
        ("InvalidArgument", [rule(Transitions=[move(30, "GLACIER")])]),
        ("InvalidArgument", [rule(NoncurrentVersionExpiration={"NoncurrentDays": 0})]),
        ("InvalidArgument",
         [rule(NoncurrentVersionExpiration={"NoncurrentDays": 1, "NewerNoncurrentVersions": 101})]),
        ("InvalidArgument", [rule(AbortIncompleteMultipartUpload={"DaysAfterInitiation": 0})]),
        ("InvalidRequest", [rule(Expiration=None)]),
        ("InvalidRequest", [rule(Filter={"Tag": TAG}, Expiration={"ExpiredObjectDeleteMarker": True})]),
        ("InvalidRequest", [rule(Filter={"Tag": TAG}, AbortIncompleteMultipartUpload={"DaysAfterInitiation": 1})]),
        ("InvalidRequest", [rule(Expiration={"Days": 99}, Transitions=[move(1, "GLACIER"), move(2, "GLACIER")])]),
        ("InvalidRequest", [rule(Transitions=[{"Date": "2030-01-01T00:00:00Z", "StorageClass": "GLACIER"}])]),
        ("InvalidRequest",
         [rule(Filter={"And": {"ObjectSizeGreaterThan": 9, "ObjectSizeLessThan": 9}})]),
        ("InvalidTag", [rule(Filter={"And": {"Tags": [TAG, TAG]}})]),
    ],
)
def test_issue_8_3_5_rejected_lifecycle_rules(s3, bucket, expected, rules):
    put = s3.put_bucket_lifecycle_configuration
    assert code(put, Bucket=bucket, LifecycleConfiguration={"Rules": rules}) == expected
    assert code(s3.get_bucket_lifecycle_configuration, Bucket=bucket) == "NoSuchLifecycleConfiguration"


def queue(name="q", events=("s3:ObjectCreated:*",), filters=None, **members):
    made = {"QueueArn": f"arn:aws:sqs:us-east-1:000000000000:{name}", "Events": list(events), **members}
    if filters is not None:
        made["Filter"] = {"Key": {"FilterRules": [{"Name": n, "Value": v} for n, v in filters]}}
    return made


def test_notifications_get_an_id(s3, bucket):
    configuration = {
        "QueueConfigurations": [
            queue(filters=[("prefix", "a/")]),
            queue(filters=[("Prefix", "b/"), ("suffix", ".csv")], Id="mine"),
            queue(filters=[("prefix", "a/")], events=["s3:ObjectRemoved:Delete"]),
        ],
        "LambdaFunctionConfigurations": [
            {"LambdaFunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:f",
             "Events": ["s3:ObjectTagging:Put"]}
        ],
    }
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=configuration)
    found = s3.get_bucket_notification_configuration(Bucket=bucket)
    assert [q["Id"] == "mine" for q in found["QueueConfigurations"]] == [False, True, False]
    assert all(q["Id"] for q in found["QueueConfigurations"] + found["LambdaFunctionConfigurations"])


@pytest.mark.parametrize(
    "queues",
    [
        [queue(events=["s3:ObjectCreated:Everything"])],
        [{**queue(), "QueueArn": "q"}],
        [{**queue(), "QueueArn": "arn:aws:sns:us-east-1:000000000000:q"}],
        [queue(filters=[("infix", "x")])],
        [queue(filters=[("prefix", "x"), ("prefix", "y")])],
        [queue(), queue("other")],
        [queue(), queue("other", events=["s3:ObjectCreated:Put"])],
        [queue(filters=[("prefix", "a")]), queue("other", filters=[("prefix", "ab"), ("suffix", ".x")])],
        [queue(Id="same", events=["s3:ObjectCreated:Put"]), queue(Id="same", events=["s3:ObjectCreated:Copy"])],
    ],
)
def test_issue_8_3_5_rejected_notifications(s3, bucket, queues):
    put = s3.put_bucket_notification_configuration
    assert code(put, Bucket=bucket, NotificationConfiguration={"QueueConfigurations": queues}) == "InvalidArgument"
    assert "QueueConfigurations" not in s3.get_bucket_notification_configuration(Bucket=bucket)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"Effect": "allow"}, "Invalid effect"),
        ({"Effect": None}, "Missing required field Effect"),
        ({"Principal": None}, "Missing required field Principal"),
        ({"Principal": "me"}, "Invalid principal"),
        ({"Action": None}, "Missing required field Action"),
        ({"Action": "ec2:RunInstances"}, "invalid action"),
        ({"Resource": None}, "Missing required field Resource"),
        ({"Resource": "arn:aws:s3:::another/*"}, "invalid resource"),
        ({"Resource": "x"}, "invalid resource"),
        ({"Actions": "s3:*"}, "Unknown field"),
    ],
)
def test_issue_8_3_5_rejected_policies(s3, bucket, change, message):
    statement = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": f"arn:aws:s3:::{bucket}/*"}
    statement = {k: v for k, v in {**statement, **change}.items() if v is not None}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    answer = refused(s3.put_bucket_policy, Bucket=bucket, Policy=policy)
    assert answer["Error"]["Code"] == "MalformedPolicy"
    assert message in answer["Error"]["Message"]
    assert code(s3.get_bucket_policy, Bucket=bucket) == "NoSuchBucketPolicy"


@pytest.mark.parametrize(
    "expected, tags",
    [
        ("InvalidTag", [TAG, TAG]),
        ("InvalidTag", [{"Key": "k" * 129, "Value": ""}]),
        ("InvalidTag", [{"Key": "k", "Value": "v" * 257}]),
        ("InvalidTag", [{"Key": "a<b", "Value": "v"}]),
        ("InvalidTag", [{"Key": "k", "Value": "a;b"}]),
        ("InvalidTag", [{"Key": "aws:mine", "Value": "v"}]),
        ("BadRequest", [{"Key": f"k{n}", "Value": "v"} for n in range(51)]),
    ],
)
def test_issue_8_3_5_rejected_tags(s3, bucket, expected, tags):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", Tagging="old=1")
    assert code(s3.put_bucket_tagging, Bucket=bucket, Tagging={"TagSet": tags}) == expected
    assert code(s3.get_bucket_tagging, Bucket=bucket) == "NoSuchTagSet"
    assert code(s3.put_object_tagging, Bucket=bucket, Key="k", Tagging={"TagSet": tags}) == expected
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == [{"Key": "old", "Value": "1"}]


def test_the_maximum_number_and_size_of_tags(s3, bucket):
    tags = [{"Key": f"{n}" + "k" * 127, "Value": "v" * 256} for n in range(10)]
    tags[0] = {"Key": "ü _.:/=+-@", "Value": "ü _.:/=+-@"}
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    s3.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": tags})
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == tags
    eleven = {"TagSet": [*tags, TAG]}
    assert code(s3.put_object_tagging, Bucket=bucket, Key="k", Tagging=eleven) == "BadRequest"
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": [{"Key": f"k{n}", "Value": ""} for n in range(50)]})
    assert len(s3.get_bucket_tagging(Bucket=bucket)["TagSet"]) == 50


@pytest.mark.parametrize("header", ["a=1&a=2", "=1"])
def test_rejected_tags_in_a_header(s3, bucket, header):
    for call in [s3.put_object, s3.create_multipart_upload]:
        assert code(call, Bucket=bucket, Key="k", Tagging=header) == "InvalidArgument"
    assert code(s3.put_object, Bucket=bucket, Key="k", Tagging="a=(1)") == "InvalidTag"
