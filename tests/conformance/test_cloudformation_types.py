"""CloudFormation types that came with the bootstrap: each resource is found through its own service."""

import io
import json
import os
import subprocess
import time
import uuid
import zipfile

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

BIN = os.environ.get("MLOPS_BIN", "target/debug/mlops")


@pytest.fixture
def cfn(client):
    return client("cloudformation")


@pytest.fixture
def name():
    return f"t{uuid.uuid4().hex[:10]}"


def code(error):
    return error.value.response["Error"]["Code"]


def wait(cfn, stack):
    """Waits until the stack is idle, and returns it."""
    for _ in range(600):
        found = cfn.describe_stacks(StackName=stack)["Stacks"][0]
        if not found["StackStatus"].endswith("_IN_PROGRESS"):
            return found
        time.sleep(0.05)
    raise AssertionError(found)


def create(cfn, name, resources):
    template = json.dumps({"Resources": resources})
    made = cfn.create_stack(StackName=name, TemplateBody=template, Capabilities=["CAPABILITY_IAM"])
    return wait(cfn, made["StackId"])


def update(cfn, name, resources):
    template = json.dumps({"Resources": resources})
    cfn.update_stack(StackName=name, TemplateBody=template, Capabilities=["CAPABILITY_IAM"])
    return wait(cfn, name)["StackStatus"]


def delete(cfn, stack):
    cfn.delete_stack(StackName=stack["StackId"])
    return wait(cfn, stack["StackId"])["StackStatus"]


def physical(cfn, name, logical):
    found = cfn.describe_stack_resource(StackName=name, LogicalResourceId=logical)
    return found["StackResourceDetail"]["PhysicalResourceId"]


def failure(cfn, stack, logical):
    """Returns the reason why a resource failed."""
    for event in cfn.describe_stack_events(StackName=stack["StackId"])["StackEvents"]:
        if event["LogicalResourceId"] == logical and event["ResourceStatus"].endswith("_FAILED"):
            return event["ResourceStatusReason"]
    return None


def trust(service):
    statement = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": service}}
    return {"Version": "2012-10-17", "Statement": [statement]}


def traffic_logs(service="vpc-flow-logs.amazonaws.com", **properties):
    return {
        "Vpc": {"Type": "AWS::EC2::VPC", "Properties": {"CidrBlock": "10.0.0.0/16"}},
        "Group": {"Type": "AWS::Logs::LogGroup"},
        "Role": {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": trust(service)}},
        "Traffic": {
            "Type": "AWS::EC2::FlowLog",
            "Properties": {
                "ResourceId": {"Ref": "Vpc"},
                "ResourceType": "VPC",
                "TrafficType": "ALL",
                "LogGroupName": {"Ref": "Group"},
                "DeliverLogsPermissionArn": {"Fn::GetAtt": ["Role", "Arn"]},
                "Tags": [{"Key": "team", "Value": "ml"}],
                **properties,
            },
        },
    }


def test_a_flow_log(cfn, client, name):
    ec2 = client("ec2")
    stack = create(cfn, name, traffic_logs())
    assert stack["StackStatus"] == "CREATE_COMPLETE", failure(cfn, stack, "Traffic")
    vpc, first = physical(cfn, name, "Vpc"), physical(cfn, name, "Traffic")
    (found,) = ec2.describe_flow_logs(Filters=[{"Name": "resource-id", "Values": [vpc]}])["FlowLogs"]
    assert found["FlowLogId"] == first
    assert found["FlowLogStatus"] == "ACTIVE"
    assert found["LogDestinationType"] == "cloud-watch-logs"
    assert found["LogGroupName"] == physical(cfn, name, "Group")
    assert found["MaxAggregationInterval"] == 600
    assert found["TrafficType"] == "ALL"
    tags = {tag["Key"]: tag["Value"] for tag in found["Tags"]}
    assert tags["team"] == "ml"
    assert tags["aws:cloudformation:logical-id"] == "Traffic"

    # Tags change in place, everything else replaces the flow log.
    assert update(cfn, name, traffic_logs(Tags=[])) == "UPDATE_COMPLETE"
    assert physical(cfn, name, "Traffic") == first
    assert update(cfn, name, traffic_logs(Tags=[], TrafficType="REJECT")) == "UPDATE_COMPLETE"
    second = physical(cfn, name, "Traffic")
    assert second != first
    (found,) = ec2.describe_flow_logs(FlowLogIds=[second])["FlowLogs"]
    assert found["TrafficType"] == "REJECT"
    with pytest.raises(ClientError) as error:
        ec2.describe_flow_logs(FlowLogIds=[first])
    assert code(error) == "InvalidFlowLogId.NotFound"
    assert delete(cfn, stack) == "DELETE_COMPLETE"
    assert ec2.describe_flow_logs(Filters=[{"Name": "resource-id", "Values": [vpc]}])["FlowLogs"] == []


def test_a_flow_log_needs_a_role_that_trusts_it(cfn, name):
    stack = create(cfn, name, traffic_logs("ec2.amazonaws.com"))
    assert stack["StackStatus"] == "ROLLBACK_COMPLETE"
    assert "must exist and trust vpc-flow-logs.amazonaws.com" in failure(cfn, stack, "Traffic")
    delete(cfn, stack)


def test_flow_logs_of_the_api(client, name):
    ec2, s3 = client("ec2"), client("s3")
    vpc = ec2.create_vpc(CidrBlock="10.7.0.0/16")["Vpc"]["VpcId"]
    request = {"ResourceIds": [vpc], "ResourceType": "VPC", "TrafficType": "ALL", "LogDestinationType": "s3"}
    bucket = f"arn:aws:s3:::{name}"
    refused = ec2.create_flow_logs(**request, LogDestination=bucket)
    assert refused["FlowLogIds"] == []
    assert refused["Unsuccessful"][0]["ResourceId"] == vpc
    assert refused["Unsuccessful"][0]["Error"] == {"Code": "400", "Message": f"LogDestination: {name} does not exist"}
    s3.create_bucket(Bucket=name)
    options = {"FileFormat": "parquet", "HiveCompatiblePartitions": True, "PerHourPartition": False}
    made = ec2.create_flow_logs(**request, LogDestination=bucket, DestinationOptions=options)
    (flow_log,) = made["FlowLogIds"]
    (found,) = ec2.describe_flow_logs(FlowLogIds=[flow_log])["FlowLogs"]
    assert found["LogDestination"] == bucket
    assert found["DestinationOptions"] == options
    for wrong, message in [
        ({"LogDestination": bucket}, "There is an existing Flow Log"),
        ({}, "LogDestination can't be empty"),
        ({"LogGroupName": "g"}, "LogDestination type must be cloud-watch-logs"),
        ({"LogDestination": bucket, "MaxAggregationInterval": 5}, "Invalid Flow Log Max Aggregation Interval"),
    ]:
        with pytest.raises(ClientError) as error:
            ec2.create_flow_logs(**request, **wrong)
        assert message in str(error.value)
    # A request that fails creates nothing, also for its first resource.
    other = ec2.create_vpc(CidrBlock="10.8.0.0/16")["Vpc"]["VpcId"]
    with pytest.raises(ClientError):
        ec2.create_flow_logs(**request | {"ResourceIds": [other, vpc]}, LogDestination=bucket)
    assert ec2.describe_flow_logs(Filters=[{"Name": "resource-id", "Values": [other]}])["FlowLogs"] == []
    ec2.delete_vpc(VpcId=other)
    ec2.create_tags(Resources=[flow_log], Tags=[{"Key": "a", "Value": "b"}])
    assert ec2.describe_flow_logs(FlowLogIds=[flow_log])["FlowLogs"][0]["Tags"] == [{"Key": "a", "Value": "b"}]
    assert ec2.delete_flow_logs(FlowLogIds=[flow_log])["Unsuccessful"] == []
    gone = ec2.delete_flow_logs(FlowLogIds=[flow_log])["Unsuccessful"][0]
    assert gone["Error"]["Code"] == "InvalidFlowLogId.NotFound"
    ec2.delete_vpc(VpcId=vpc)
    s3.delete_bucket(Bucket=name)


def test_a_connection(cfn, client, name):
    connections = client("codeconnections")

    def resources(provider="GitHub", **properties):
        given = {"ConnectionName": name, "ProviderType": provider, **properties}
        return {"Connection": {"Type": "AWS::CodeConnections::Connection", "Properties": given}}

    stack = create(cfn, name, resources(Tags=[{"Key": "team", "Value": "ml"}]))
    assert stack["StackStatus"] == "CREATE_COMPLETE", failure(cfn, stack, "Connection")
    arn = physical(cfn, name, "Connection")
    found = connections.get_connection(ConnectionArn=arn)["Connection"]
    assert found == {
        "ConnectionName": name,
        "ConnectionArn": arn,
        "ProviderType": "GitHub",
        "OwnerAccountId": "000000000000",
        "ConnectionStatus": "PENDING",
    }
    tags = {tag["Key"]: tag["Value"] for tag in connections.list_tags_for_resource(ResourceArn=arn)["Tags"]}
    assert tags["team"] == "ml"
    assert tags["aws:cloudformation:stack-name"] == name
    assert update(cfn, name, resources("GitLab")) == "UPDATE_COMPLETE"
    other = physical(cfn, name, "Connection")
    assert other != arn
    with pytest.raises(ClientError) as error:
        connections.get_connection(ConnectionArn=arn)
    assert code(error) == "ResourceNotFoundException"
    listed = connections.list_connections(ProviderTypeFilter="GitLab")["Connections"]
    assert other in [each["ConnectionArn"] for each in listed]
    assert delete(cfn, stack) == "DELETE_COMPLETE"
    assert other not in [each["ConnectionArn"] for each in connections.list_connections()["Connections"]]


def test_connections_of_the_api(client, name):
    connections = client("codeconnections")
    with pytest.raises(ClientError) as error:
        connections.create_connection(ConnectionName=name)
    assert code(error) == "ValidationException"
    made = connections.create_connection(
        ConnectionName=name, ProviderType="Bitbucket", Tags=[{"Key": "a", "Value": "b"}]
    )
    arn = made["ConnectionArn"]
    assert made["Tags"] == [{"Key": "a", "Value": "b"}]
    connections.tag_resource(ResourceArn=arn, Tags=[{"Key": "c", "Value": "d"}])
    connections.untag_resource(ResourceArn=arn, TagKeys=["a"])
    assert connections.list_tags_for_resource(ResourceArn=arn)["Tags"] == [{"Key": "c", "Value": "d"}]
    first = connections.list_connections(MaxResults=1)
    assert len(first["Connections"]) == 1
    connections.delete_connection(ConnectionArn=arn)
    with pytest.raises(ClientError) as error:
        connections.delete_connection(ConnectionArn=arn)
    assert code(error) == "ResourceNotFoundException"


def test_the_settings_of_a_bucket(cfn, client, name):
    s3 = client("s3")

    def resources(**properties):
        return {
            "Logs": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": f"{name}-logs"}},
            "Data": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": f"{name}-data", **properties}},
        }

    lifecycle = {
        "Rules": [
            {
                "Id": "old",
                "Status": "Enabled",
                "NoncurrentVersionExpiration": {"NoncurrentDays": 30, "NewerNoncurrentVersions": 3},
                "NoncurrentVersionTransitions": [{"StorageClass": "GLACIER", "TransitionInDays": 7}],
                "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 2},
            }
        ]
    }
    logging = {"DestinationBucketName": {"Ref": "Logs"}, "LogFilePrefix": "data/"}
    properties = {
        "LoggingConfiguration": logging,
        "OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]},
        "NotificationConfiguration": {"EventBridgeConfiguration": {"EventBridgeEnabled": True}},
        "LifecycleConfiguration": lifecycle,
    }
    stack = create(cfn, name, resources(**properties))
    assert stack["StackStatus"] == "CREATE_COMPLETE", failure(cfn, stack, "Data")
    data = f"{name}-data"
    logged = s3.get_bucket_logging(Bucket=data)["LoggingEnabled"]
    assert logged == {"TargetBucket": f"{name}-logs", "TargetPrefix": "data/"}
    assert s3.get_bucket_notification_configuration(Bucket=data)["EventBridgeConfiguration"] == {}
    owner = s3.get_bucket_ownership_controls(Bucket=data)["OwnershipControls"]["Rules"]
    assert owner == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    (rule,) = s3.get_bucket_lifecycle_configuration(Bucket=data)["Rules"]
    assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": 30, "NewerNoncurrentVersions": 3}
    assert rule["NoncurrentVersionTransitions"] == [{"NoncurrentDays": 7, "StorageClass": "GLACIER"}]

    partitioned = {"PartitionedPrefix": {"PartitionDateSource": "EventTime"}}
    properties["LoggingConfiguration"] = {**logging, "TargetObjectKeyFormat": partitioned}
    assert update(cfn, name, resources(**properties)) == "UPDATE_COMPLETE"
    assert s3.get_bucket_logging(Bucket=data)["LoggingEnabled"]["TargetObjectKeyFormat"] == partitioned
    assert update(cfn, name, resources()) == "UPDATE_COMPLETE"
    assert "LoggingEnabled" not in s3.get_bucket_logging(Bucket=data)
    assert update(cfn, name, resources(LoggingConfiguration={"LogFilePrefix": "own/"})) == "UPDATE_COMPLETE"
    assert s3.get_bucket_logging(Bucket=data)["LoggingEnabled"]["TargetBucket"] == data
    assert delete(cfn, stack) == "DELETE_COMPLETE"


def test_access_logs_of_the_api(client, name):
    s3 = client("s3")
    s3.create_bucket(Bucket=name)
    status = {"LoggingEnabled": {"TargetBucket": f"{name}-none", "TargetPrefix": ""}}
    with pytest.raises(ClientError) as error:
        s3.put_bucket_logging(Bucket=name, BucketLoggingStatus=status)
    assert code(error) == "InvalidTargetBucketForLogging"
    status["LoggingEnabled"]["TargetBucket"] = name
    s3.put_bucket_logging(Bucket=name, BucketLoggingStatus=status)
    assert s3.get_bucket_logging(Bucket=name)["LoggingEnabled"] == status["LoggingEnabled"]
    s3.put_bucket_logging(Bucket=name, BucketLoggingStatus={})
    assert "LoggingEnabled" not in s3.get_bucket_logging(Bucket=name)
    s3.delete_bucket(Bucket=name)


def test_keys_of_log_groups_and_repositories(cfn, client, name):
    logs, codecommit = client("logs"), client("codecommit")

    def resources(key="Key", code="Key"):
        return {
            "Key": {"Type": "AWS::KMS::Key"},
            "Other": {"Type": "AWS::KMS::Key"},
            "Group": {
                "Type": "AWS::Logs::LogGroup",
                "Properties": {
                    "LogGroupName": name,
                    **({"KmsKeyId": {"Fn::GetAtt": [key, "Arn"]}} if key else {}),
                },
            },
            "Code": {
                "Type": "AWS::CodeCommit::Repository",
                "Properties": {"RepositoryName": name, **({"KmsKeyId": {"Ref": code}} if code else {})},
            },
        }

    def shown():
        (group,) = logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"]
        return group.get("kmsKeyId", "").rsplit("/")[-1]

    stack = create(cfn, name, resources())
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    key, other = physical(cfn, name, "Key"), physical(cfn, name, "Other")
    assert shown() == key
    assert codecommit.get_repository(repositoryName=name)["repositoryMetadata"]["kmsKeyId"] == key
    assert update(cfn, name, resources("Other", "Other")) == "UPDATE_COMPLETE"
    assert shown() == other
    assert codecommit.get_repository(repositoryName=name)["repositoryMetadata"]["kmsKeyId"] == other
    assert update(cfn, name, resources(None, None)) == "UPDATE_COMPLETE"
    assert shown() == ""
    assert "kmsKeyId" not in codecommit.get_repository(repositoryName=name)["repositoryMetadata"]
    changed = codecommit.update_repository_encryption_key(repositoryName=name, kmsKeyId=key)
    assert (changed["originalKmsKeyId"], changed["kmsKeyId"]) == ("alias/aws/codecommit", key)
    logs.associate_kms_key(logGroupName=name, kmsKeyId=f"arn:aws:kms:us-east-1:000000000000:key/{key}")
    assert shown() == key
    logs.disassociate_kms_key(logGroupName=name)
    assert shown() == ""
    with pytest.raises(ClientError) as error:
        logs.associate_kms_key(logGroupName=name, kmsKeyId=f"arn:aws:kms:us-east-1:000000000000:key/{uuid.uuid4()}")
    assert code(error) == "InvalidParameterException"
    assert delete(cfn, stack) == "DELETE_COMPLETE"


def zipped(**files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, text in files.items():
            archive.writestr(path.replace("_", "/"), text)
    return buffer.getvalue()


def test_a_repository_begins_with_the_files_of_a_zip(cfn, client, name):
    s3, codecommit = client("s3"), client("codecommit")
    s3.create_bucket(Bucket=name)
    s3.put_object(Bucket=name, Key="seed.zip", Body=zipped(README="read me", image_train="print(1)"))

    def resources(**code):
        place = {"S3": {"Bucket": name, "Key": "seed.zip"}, **code}
        properties = {"RepositoryName": name, "Code": place}
        return {"Code": {"Type": "AWS::CodeCommit::Repository", "Properties": properties}}

    stack = create(cfn, name, resources(BranchName="develop"))
    assert stack["StackStatus"] == "CREATE_COMPLETE", failure(cfn, stack, "Code")
    assert codecommit.list_branches(repositoryName=name)["branches"] == ["develop"]
    file = codecommit.get_file(repositoryName=name, commitSpecifier="develop", filePath="image/train")
    assert file["fileContent"] == b"print(1)"
    # A change of the property has no effect.
    assert update(cfn, name, resources(BranchName="other")) == "UPDATE_COMPLETE"
    assert codecommit.list_branches(repositoryName=name)["branches"] == ["develop"]
    assert delete(cfn, stack) == "DELETE_COMPLETE"
    s3.put_object(Bucket=name, Key="seed.zip", Body=b"no zip")
    stack = create(cfn, name, resources())
    assert stack["StackStatus"] == "ROLLBACK_COMPLETE"
    assert "not a zip" in failure(cfn, stack, "Code")
    delete(cfn, stack)
    s3.delete_object(Bucket=name, Key="seed.zip")
    s3.delete_bucket(Bucket=name)


def detect(cfn, name):
    """Detects the drift of a stack; returns its status and the drifts of its resources by logical id."""
    detection = cfn.detect_stack_drift(StackName=name)["StackDriftDetectionId"]
    for _ in range(600):
        found = cfn.describe_stack_drift_detection_status(StackDriftDetectionId=detection)
        if found["DetectionStatus"] != "DETECTION_IN_PROGRESS":
            break
        time.sleep(0.05)
    assert found["DetectionStatus"] == "DETECTION_COMPLETE", found
    drifts = cfn.describe_stack_resource_drifts(StackName=name)["StackResourceDrifts"]
    return found, {drift["LogicalResourceId"]: drift for drift in drifts}


def differences(drift):
    return {
        (each["DifferenceType"], each["PropertyPath"], each["ExpectedValue"], each["ActualValue"])
        for each in drift["PropertyDifferences"]
    }


def test_drift_of_a_stack_that_was_changed_by_hand(cfn, client, name):
    ec2, iam, kms, logs, s3 = (client(service) for service in ("ec2", "iam", "kms", "logs", "s3"))
    document = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::a/*"}],
    }
    tags = [{"Key": "team", "Value": "ml"}]
    resources = {
        **traffic_logs(),
        "Key": {"Type": "AWS::KMS::Key", "Properties": {"Description": "mine", "EnableKeyRotation": True}},
        "Data": {
            "Type": "AWS::S3::Bucket",
            "Properties": {
                "BucketName": name,
                "VersioningConfiguration": {"Status": "Enabled"},
                "PublicAccessBlockConfiguration": {"BlockPublicAcls": True, "BlockPublicPolicy": True},
                "Tags": tags,
            },
        },
        "Open": {
            "Type": "AWS::EC2::SecurityGroup",
            "Properties": {
                "GroupDescription": "g",
                "VpcId": {"Ref": "Vpc"},
                "SecurityGroupIngress": [
                    {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "CidrIp": "10.0.0.0/16", "Description": "d"}
                ],
            },
        },
        "Grants": {
            "Type": "AWS::IAM::Policy",
            "Properties": {"PolicyName": "grants", "Roles": [{"Ref": "Role"}], "PolicyDocument": document},
        },
        "Handle": {"Type": "AWS::CloudFormation::WaitConditionHandle"},
    }
    resources["Group"] = {"Type": "AWS::Logs::LogGroup", "Properties": {"RetentionInDays": 7, "Tags": tags}}
    resources["Role"]["Properties"]["Policies"] = [{"PolicyName": "own", "PolicyDocument": document}]
    stack = create(cfn, name, resources)
    assert stack["StackStatus"] == "CREATE_COMPLETE", failure(cfn, stack, "Data")
    assert stack["DriftInformation"] == {"StackDriftStatus": "NOT_CHECKED"}
    found, drifts = detect(cfn, name)
    wrong = {key: drift for key, drift in drifts.items() if drift["StackResourceDriftStatus"] != "IN_SYNC"}
    assert not wrong
    assert (found["StackDriftStatus"], found["DriftedStackResourceCount"]) == ("IN_SYNC", 0)
    assert "Handle" not in drifts
    with pytest.raises(ClientError) as error:
        cfn.detect_stack_resource_drift(StackName=name, LogicalResourceId="Handle")
    assert code(error) == "ValidationError"

    group, role = physical(cfn, name, "Open"), physical(cfn, name, "Role")
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Suspended"})
    s3.put_bucket_tagging(Bucket=name, Tagging={"TagSet": [*system(s3, name), {"Key": "team", "Value": "other"}]})
    rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
    iam.put_role_policy(RoleName=role, PolicyName="by-hand", PolicyDocument=json.dumps(document))
    logs.delete_retention_policy(logGroupName=physical(cfn, name, "Group"))
    kms.update_key_description(KeyId=physical(cfn, name, "Key"), Description="yours")
    ec2.delete_flow_logs(FlowLogIds=[physical(cfn, name, "Traffic")])

    found, drifts = detect(cfn, name)
    assert (found["StackDriftStatus"], found["DriftedStackResourceCount"]) == ("DRIFTED", 6)
    status = {key: drift["StackResourceDriftStatus"] for key, drift in drifts.items()}
    assert status == {
        "Vpc": "IN_SYNC",
        "Group": "MODIFIED",
        "Role": "MODIFIED",
        "Traffic": "DELETED",
        "Key": "MODIFIED",
        "Data": "MODIFIED",
        "Open": "MODIFIED",
        "Grants": "IN_SYNC",
    }
    assert differences(drifts["Data"]) == {
        ("NOT_EQUAL", "/VersioningConfiguration/Status", "Enabled", "Suspended"),
        ("NOT_EQUAL", "/Tags/0/Value", "ml", "other"),
    }
    assert differences(drifts["Group"]) == {("REMOVE", "/RetentionInDays", "7", "null")}
    assert differences(drifts["Key"]) == {("NOT_EQUAL", "/Description", "mine", "yours")}
    ((kind, path, _, actual),) = differences(drifts["Open"])
    assert (kind, path) == ("ADD", "/SecurityGroupIngress/1")
    assert json.loads(actual) == {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "CidrIp": "0.0.0.0/0"}
    ((kind, path, _, actual),) = differences(drifts["Role"])
    assert (kind, path, json.loads(actual)["PolicyName"]) == ("ADD", "/Policies/1", "by-hand")
    modified = cfn.describe_stack_resource_drifts(StackName=name, StackResourceDriftStatusFilters=["DELETED"])
    assert [drift["LogicalResourceId"] for drift in modified["StackResourceDrifts"]] == ["Traffic"]
    shown = cfn.describe_stacks(StackName=name)["Stacks"][0]["DriftInformation"]
    assert shown["StackDriftStatus"] == "DRIFTED"
    shown = cfn.describe_stack_resources(StackName=name, LogicalResourceId="Data")["StackResources"][0]
    assert shown["DriftInformation"]["StackResourceDriftStatus"] == "MODIFIED"

    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    s3.put_bucket_tagging(Bucket=name, Tagging={"TagSet": [*system(s3, name), *tags]})
    back = cfn.detect_stack_resource_drift(StackName=name, LogicalResourceId="Data")["StackResourceDrift"]
    assert back["StackResourceDriftStatus"] == "IN_SYNC"
    assert back["PropertyDifferences"] == []
    iam.delete_role_policy(RoleName=role, PolicyName="by-hand")
    assert delete(cfn, stack) == "DELETE_COMPLETE"


def system(s3, bucket):
    """Returns the tags of a bucket that CloudFormation has set."""
    tags = s3.get_bucket_tagging(Bucket=bucket)["TagSet"]
    return [tag for tag in tags if tag["Key"].startswith("aws:")]


def inject(environment, state, *arguments):
    made = subprocess.run(
        [BIN, "local", "inject", *arguments, "--state", state, "--output", "json"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stderr
    return json.loads(made.stdout)


def test_injected_faults_have_the_form_of_the_service(client, environment, state, name):
    once = Config(retries={"total_max_attempts": 1})
    kms, sts, s3, ec2 = (client(service, config=once) for service in ("kms", "sts", "s3", "ec2"))
    for operation, call, throttled, expired in [
        ("kms:ListKeys", kms.list_keys, ("ThrottlingException", 400), ("ExpiredTokenException", 400)),
        ("sts:GetCallerIdentity", sts.get_caller_identity, ("Throttling", 400), ("ExpiredToken", 403)),
        ("s3:ListBuckets", s3.list_buckets, ("SlowDown", 503), ("ExpiredToken", 400)),
        ("ec2:DescribeVpcs", ec2.describe_vpcs, ("RequestLimitExceeded", 503), ("ExpiredToken", 403)),
    ]:
        for fault, wanted in [("throttle", throttled), ("expired-token", expired)]:
            made = inject(environment, state, fault, "--operation", operation)
            assert (made["fault"], made["operation"], made["remaining"]) == (fault, operation, 1)
            with pytest.raises(ClientError) as error:
                call()
            answer = error.value.response
            assert (answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]) == wanted
            call()
    assert inject(environment, state, "list") == {"faults": []}


def test_an_injected_failure_of_a_resource(cfn, environment, state, name):
    inject(environment, state, "resource-failure", "--type", "AWS::Logs::LogGroup", "--logical-id", "Two", "--count", "2")
    groups = {
        "One": {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": f"{name}-1"}},
        "Two": {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": f"{name}-2"}},
    }
    stack = create(cfn, name, groups)
    assert stack["StackStatus"] == "ROLLBACK_COMPLETE"
    assert "mlops local inject" in failure(cfn, stack, "Two")
    assert inject(environment, state, "list")["faults"][0]["remaining"] == 1
    assert inject(environment, state, "clear")["cleared"][0]["logical_id"] == "Two"
    delete(cfn, stack)
    stack = create(cfn, name, groups)
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    assert delete(cfn, stack) == "DELETE_COMPLETE"
