"""boto3 against EventBridge: rules, patterns, and events of services that reach their targets."""

import json
import subprocess
import time
import uuid

import pytest
from botocore.exceptions import ClientError

import clock
import images
import roles
from test_cloudformation_types import cfn, create, delete, physical, update  # noqa: F401 (a fixture)
from test_lambda import archive

ACCOUNT = "000000000000"
REGION = "us-east-1"

# The sample event of event-ruler's documentation.
EVENT = {
    "version": "0",
    "id": "ddddd4-aaaa-7777-4444-345dd43cc333",
    "detail-type": "EC2 Instance State-change Notification",
    "source": "aws.ec2",
    "account": "012345679012",
    "time": "2017-10-02T16:24:49Z",
    "region": "us-east-1",
    "resources": ["arn:aws:ec2:us-east-1:123456789012:instance/i-000000aaaaaa00000"],
    "detail": {
        "c-count": 5,
        "d-count": 3,
        "x-limit": 301.8,
        "source-ip": "10.0.0.33",
        "instance-id": "i-000000aaaaaa00000",
        "state": "running",
        "none": None,
        "empty": "",
        "flag": True,
        "items": [{"name": "a", "size": 1}, {"name": "b", "size": 2}],
    },
}


@pytest.fixture(scope="module")
def events(client):
    return client("events")


@pytest.fixture(scope="module")
def logs(client):
    return client("logs")


def name():
    return "e" + uuid.uuid4().hex[:12]


def wait(read, timeout=120):
    """Returns the first true result."""
    end = time.monotonic() + timeout
    while not (found := read()):
        assert time.monotonic() < end, "nothing arrived"
        time.sleep(0.05)
    return found


@pytest.fixture
def log_target(events, logs):
    """Makes a rule with a log group as its target; returns a function that reads the events in it."""
    rules = []

    def make(pattern, **target):
        rule, group = name(), f"/aws/events/{name()}"
        logs.create_log_group(logGroupName=group)
        events.put_rule(Name=rule, EventPattern=json.dumps(pattern))
        arn = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{group}"
        events.put_targets(Rule=rule, Targets=[{"Id": "t", "Arn": arn, **target}])
        rules.append(rule)

        def read(count=1):
            def found():
                lines = logs.filter_log_events(logGroupName=group)["events"]
                return [json.loads(line["message"]) for line in lines] if len(lines) >= count else None

            return wait(found)

        return read

    yield make
    for rule in rules:
        events.remove_targets(Rule=rule, Ids=["t"])
        events.delete_rule(Name=rule)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ({"source": ["aws.ec2"]}, True),
        ({"source": ["aws.s3", "aws.ec2"], "detail": {"state": ["initializing", "running"]}}, True),
        ({"resources": ["arn:aws:ec2:us-east-1:123456789012:instance/i-000000aaaaaa00000"]}, True),
        ({"detail": {"state": ["stopped"]}}, False),
        ({"time": [{"prefix": "2017-10-02"}]}, True),
        ({"source": [{"prefix": {"equals-ignore-case": "AWS."}}]}, True),
        ({"source": [{"suffix": "ec2"}]}, True),
        ({"source": [{"suffix": {"equals-ignore-case": "EC2"}}]}, True),
        ({"source": [{"suffix": "EC2"}]}, False),
        ({"source": [{"equals-ignore-case": "AWS.EC2"}]}, True),
        ({"detail": {"state": [{"anything-but": "initializing"}]}}, True),
        ({"detail": {"state": [{"anything-but": ["running", "stopped"]}]}}, False),
        ({"detail": {"x-limit": [{"anything-but": [100, 200, 301.8]}]}}, False),
        ({"detail": {"state": [{"anything-but": {"prefix": "init"}}]}}, True),
        ({"detail": {"state": [{"anything-but": {"suffix": ["ing", "ed"]}}]}}, False),
        ({"detail": {"state": [{"anything-but": {"equals-ignore-case": "RUNNING"}}]}}, False),
        ({"detail": {"state": [{"anything-but": {"wildcard": "run*g"}}]}}, False),
        ({"detail": {"c-count": [{"numeric": [">", 0, "<=", 5]}]}}, True),
        ({"detail": {"d-count": [{"numeric": ["<", 3]}]}}, False),
        ({"detail": {"x-limit": [{"numeric": ["=", 3.018e2]}]}}, True),
        ({"detail": {"source-ip": [{"cidr": "10.0.0.0/24"}]}}, True),
        ({"detail": {"source-ip": [{"cidr": "10.0.1.0/24"}]}}, False),
        ({"detail": {"source-ip": [{"cidr": "2001:db8::/56"}]}}, False),
        ({"detail": {"c-count": [{"exists": True}]}}, True),
        ({"detail": {"c-count": [{"exists": False}]}}, False),
        ({"detail": {"absent": [{"exists": False}]}}, True),
        ({"detail": {"items": [{"exists": False}]}}, True),
        ({"detail": {"none": [None], "empty": [""], "flag": [True]}}, True),
        ({"detail": {"none": [""]}}, False),
        ({"detail": {"instance-id": [{"wildcard": "i-*a00000"}]}}, True),
        ({"detail": {"instance-id": [{"wildcard": "i-*b00000"}]}}, False),
        ({"$or": [{"source": ["aws.s3"]}, {"detail": {"state": ["running"]}}]}, True),
        ({"$or": [{"source": ["aws.s3"]}, {"detail": {"state": ["stopped"]}}]}, False),
        ({"detail": {"items": {"name": ["a"], "size": [1]}}}, True),
        ({"detail": {"items": {"name": ["a"], "size": [2]}}}, False),
        ({"detail.state": ["running"]}, True),
    ],
)
def test_patterns_match_as_documented(events, pattern, expected):
    found = events.test_event_pattern(EventPattern=json.dumps(pattern), Event=json.dumps(EVENT))
    assert found["Result"] is expected


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ('{"source": ["aws.health"], "detail": {}}', "Empty objects are not allowed"),
        ('{"detail": {"pipeline": {"slug": "x"}}}', '"slug" must be an object or an array'),
        ('{"source": [{"foo": "x"}]}', "Unrecognized match type foo"),
        ("[]", "Filter is not an object"),
    ],
)
def test_bad_patterns_are_refused_in_the_words_of_aws(events, pattern, reason):
    for call, arguments in (
        (events.put_rule, {"Name": name()}),
        (events.test_event_pattern, {"Event": json.dumps(EVENT)}),
    ):
        with pytest.raises(events.exceptions.InvalidEventPatternException) as raised:
            call(EventPattern=pattern, **arguments)
        message = raised.value.response["Error"]["Message"]
        assert message.startswith(f"Event pattern is not valid. Reason: {reason}"), message


def test_rules_and_their_targets(events):
    rule, arn = name(), f"arn:aws:sqs:{REGION}:{ACCOUNT}:queue"
    made = events.put_rule(Name=rule, EventPattern='{"source": ["a"]}', Tags=[{"Key": "team", "Value": "ml"}])
    assert made["RuleArn"] == f"arn:aws:events:{REGION}:{ACCOUNT}:rule/{rule}"
    events.put_rule(Name=rule, EventPattern='{"source": ["b"]}', State="DISABLED", Description="d")
    found = events.describe_rule(Name=rule)
    assert (found["EventPattern"], found["State"], found["Description"]) == ('{"source": ["b"]}', "DISABLED", "d")
    events.enable_rule(Name=rule)
    assert events.describe_rule(Name=rule)["State"] == "ENABLED"
    events.disable_rule(Name=rule)
    assert events.describe_rule(Name=rule)["State"] == "DISABLED"
    bus = f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/default"
    assert events.describe_event_bus()["Arn"] == bus
    assert [one["Arn"] for one in events.list_event_buses()["EventBuses"]] == [bus]
    assert events.list_tags_for_resource(ResourceARN=made["RuleArn"])["Tags"] == [{"Key": "team", "Value": "ml"}]
    events.tag_resource(ResourceARN=made["RuleArn"], Tags=[{"Key": "stage", "Value": "test"}])
    events.untag_resource(ResourceARN=made["RuleArn"], TagKeys=["team"])
    assert events.list_tags_for_resource(ResourceARN=made["RuleArn"])["Tags"] == [{"Key": "stage", "Value": "test"}]
    target = {
        "Id": "t",
        "Arn": arn,
        "InputTransformer": {"InputPathsMap": {"a": "$.detail.a"}, "InputTemplate": '{"a": <a>}'},
        "RetryPolicy": {"MaximumRetryAttempts": 3, "MaximumEventAgeInSeconds": 60},
        "DeadLetterConfig": {"Arn": arn},
        "SqsParameters": {"MessageGroupId": "g"},
    }
    assert events.put_targets(Rule=rule, Targets=[target])["FailedEntryCount"] == 0
    assert events.list_targets_by_rule(Rule=rule)["Targets"] == [target]
    assert rule in events.list_rule_names_by_target(TargetArn=arn)["RuleNames"]
    pages = events.get_paginator("list_rules").paginate(PaginationConfig={"PageSize": 1})
    assert rule in [one["Name"] for page in pages for one in page["Rules"]]
    with pytest.raises(ClientError, match="Rule can't be deleted since it has targets."):
        events.delete_rule(Name=rule)
    events.remove_targets(Rule=rule, Ids=["t"])
    events.delete_rule(Name=rule)
    with pytest.raises(events.exceptions.ResourceNotFoundException):
        events.describe_rule(Name=rule)
    for arguments in ({"EventBusName": "other"}, {"ScheduleExpression": "rate(1 day)"}):
        with pytest.raises(ClientError, match="NotImplemented"):
            events.put_rule(Name=rule, EventPattern='{"source": ["b"]}', **arguments)


def test_an_event_of_a_client_reaches_a_log_group(events, log_target):
    source = name()
    read = log_target({"source": [source], "detail": {"n": [{"numeric": [">", 1]}]}})
    entries = [{"Source": source, "DetailType": "t", "Detail": json.dumps({"n": n})} for n in (1, 2, 3)]
    sent = events.put_events(Entries=[*entries, {"Source": "aws.s3", "DetailType": "t", "Detail": "{}"}])
    assert sent["FailedEntryCount"] == 1
    assert sent["Entries"][3]["ErrorCode"] == "NotAuthorizedForSourceException"
    found = read(2)
    assert sorted(event["detail"]["n"] for event in found) == [2, 3]
    assert {event["id"] for event in found} == {entry["EventId"] for entry in sent["Entries"][1:3]}


def test_a_git_push_reaches_a_log_group(cloud, client, log_target, tmp_path):
    repository = name()
    codecommit = client("codecommit")
    url = codecommit.create_repository(repositoryName=repository)["repositoryMetadata"]["cloneUrlHttp"]
    arn = f"arn:aws:codecommit:{REGION}:{ACCOUNT}:{repository}"
    pattern = {
        "source": ["aws.codecommit"],
        "detail-type": ["CodeCommit Repository State Change"],
        "resources": [arn],
        "detail": {"referenceType": ["branch"], "referenceName": ["main"]},
    }
    read = log_target(pattern)

    def git(*arguments):
        command = ["git", "-c", "user.name=A", "-c", "user.email=a@example.com", "-C", str(tmp_path), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q", "-b", "main")
    git("commit", "-q", "--allow-empty", "-m", "first")
    first = git("rev-parse", "HEAD")
    git("push", "-q", url, "main", "main:other")
    assert read(1)[0]["detail"]["event"] == "referenceCreated"
    git("commit", "-q", "--allow-empty", "-m", "second")
    git("push", "-q", url, "main")
    second = read(2)[1]["detail"]
    assert (second["event"], second["oldCommitId"], second["commitId"]) == (
        "referenceUpdated",
        first,
        git("rev-parse", "HEAD"),
    )
    assert (second["referenceFullName"], second["repositoryName"]) == ("refs/heads/main", repository)
    # A commit by the API.
    put = codecommit.put_file(
        repositoryName=repository, branchName="main", fileContent=b"x", filePath="f", parentCommitId=second["commitId"]
    )
    assert read(3)[2]["detail"]["commitId"] == put["commitId"]
    assert read(3)[2]["resources"] == [arn]
    codecommit.delete_repository(repositoryName=repository)


def test_an_uploaded_object_reaches_a_function(client, events, logs):
    bucket, function, rule = name(), name(), name()
    s3, lambda_ = client("s3"), client("lambda")
    s3.create_bucket(Bucket=bucket)
    role = roles.make(client("iam"), *roles.EXECUTION, services=["lambda"])
    source = b"def handler(event, context):\n    print('key', event['detail']['object']['key'], event['detail']['reason'])\n"
    made = lambda_.create_function(
        FunctionName=function,
        Runtime="python3.11",
        Handler="index.handler",
        Role=role,
        Code={"ZipFile": archive({"index.py": source})},
    )
    lambda_.get_waiter("function_active_v2").wait(FunctionName=function)
    pattern = {"source": ["aws.s3"], "detail": {"bucket": {"name": [bucket]}, "object": {"key": [{"prefix": "in/"}]}}}
    rule_arn = events.put_rule(Name=rule, EventPattern=json.dumps(pattern))["RuleArn"]
    events.put_targets(Rule=rule, Targets=[{"Id": "t", "Arn": made["FunctionArn"]}])

    def lines():
        try:
            found = logs.filter_log_events(logGroupName=f"/aws/lambda/{function}")["events"]
        except logs.exceptions.ResourceNotFoundException:
            return []
        return [line["message"].strip() for line in found if line["message"].startswith("key ")]

    # Neither the bucket nor the function allows it yet.
    s3.put_object(Bucket=bucket, Key="in/one", Body=b"1")
    s3.put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration={"EventBridgeConfiguration": {}}
    )
    s3.put_object(Bucket=bucket, Key="in/two", Body=b"2")
    time.sleep(0.5)
    lambda_.add_permission(
        FunctionName=function,
        StatementId="events",
        Action="lambda:InvokeFunction",
        Principal="events.amazonaws.com",
        SourceArn=rule_arn,
    )
    s3.put_object(Bucket=bucket, Key="out/three", Body=b"3")
    s3.put_object(Bucket=bucket, Key="in/four", Body=b"4")
    s3.copy_object(Bucket=bucket, Key="in/five", CopySource=f"{bucket}/in/four")
    found = wait(lambda: (all_lines := lines()) and len(all_lines) >= 2 and all_lines)
    assert sorted(found) == ["key in/five CopyObject", "key in/four PutObject"]
    events.remove_targets(Rule=rule, Ids=["t"])
    events.delete_rule(Name=rule)


def test_a_pushed_image_starts_a_pipeline_with_its_digest(cloud, client, events):
    repository, pipeline, rule = name(), name(), name()
    ecr, sagemaker, iam = client("ecr"), client("sagemaker"), client("iam")
    ecr.create_repository(repositoryName=repository)
    runner = roles.make(iam, *roles.PIPELINE, services=["sagemaker"])
    starter = roles.make(iam, roles.allow("sagemaker:StartPipelineExecution"), services=["events"])
    definition = {
        "Version": "2020-12-01",
        "Parameters": [{"Name": "Digest", "Type": "String"}, {"Name": "Constant", "Type": "String"}],
        "Steps": [{"Name": "End", "Type": "Fail", "Arguments": {"ErrorMessage": {"Get": "Parameters.Digest"}}}],
    }
    arn = sagemaker.create_pipeline(
        PipelineName=pipeline,
        PipelineDefinition=json.dumps(definition),
        RoleArn=runner,
        ClientRequestToken=uuid.uuid4().hex,
    )["PipelineArn"]
    pattern = {
        "source": ["aws.ecr"],
        "detail-type": ["ECR Image Action"],
        "detail": {"action-type": ["PUSH"], "result": ["SUCCESS"], "repository-name": [repository], "image-tag": ["develop"]},
    }
    events.put_rule(Name=rule, EventPattern=json.dumps(pattern))
    parameters = [{"Name": "Digest", "Value": "$.detail.image-digest"}, {"Name": "Constant", "Value": "c"}]
    target = {
        "Id": "t",
        "Arn": arn,
        "RoleArn": starter,
        "SageMakerPipelineParameters": {"PipelineParameterList": parameters},
    }
    events.put_targets(Rule=rule, Targets=[target])
    uri = images.push(cloud, ecr, repository, {"run": b"#!/bin/sh\n"})
    digest = uri.rsplit("@", 1)[1]
    manifest = ecr.batch_get_image(repositoryName=repository, imageIds=[{"imageDigest": digest}])["images"][0]
    ecr.put_image(repositoryName=repository, imageManifest=manifest["imageManifest"], imageTag="develop")
    executions = lambda: sagemaker.list_pipeline_executions(PipelineName=pipeline)["PipelineExecutionSummaries"]  # noqa: E731
    execution = wait(executions)[0]["PipelineExecutionArn"]
    found = sagemaker.list_pipeline_parameters_for_execution(PipelineExecutionArn=execution)["PipelineParameters"]
    assert {one["Name"]: one["Value"] for one in found} == {"Digest": digest, "Constant": "c"}
    assert len(executions()) == 1
    events.remove_targets(Rule=rule, Ids=["t"])
    events.delete_rule(Name=rule)


def test_a_transformer_writes_what_a_log_group_receives(cloud, client, log_target):
    repository = name()
    ecr = client("ecr")
    ecr.create_repository(repositoryName=repository)
    transformer = {
        "InputPathsMap": {"digest": "$.detail.image-digest", "tag": "$.detail.image-tag"},
        "InputTemplate": '{"digest": <digest>, "text": "tag <tag>", "rule": <aws.events.rule-name>, "event": <aws.events.event>}',
    }
    pattern = {"source": ["aws.ecr"], "detail": {"repository-name": [repository], "image-tag": [{"exists": True}]}}
    read = log_target(pattern, InputTransformer=transformer)
    uri = images.push(cloud, ecr, repository, {"run": b"#!/bin/sh\n"})
    digest = uri.rsplit("@", 1)[1]
    manifest = ecr.batch_get_image(repositoryName=repository, imageIds=[{"imageDigest": digest}])["images"][0]
    for tag in ("one", "two"):
        ecr.put_image(repositoryName=repository, imageManifest=manifest["imageManifest"], imageTag=tag)
    ecr.batch_delete_image(repositoryName=repository, imageIds=[{"imageTag": "one"}])
    found = read(3)
    # Deliveries have no order.
    assert sorted(one["text"] for one in found) == ["tag one", "tag one", "tag two"]
    assert all(one["digest"] == digest and one["event"]["source"] == "aws.ecr" for one in found)
    assert "detail" not in found[0]["event"]


def test_an_approved_package_and_an_alarm_are_announced(cloud, client, log_target):
    group, alarm = name(), name()
    read = log_target({"source": ["aws.sagemaker"], "detail": {"ModelPackageGroupName": [group]}})
    alarms = log_target({"source": ["aws.cloudwatch"], "detail": {"alarmName": [alarm], "state": {"value": ["ALARM"]}}})
    sagemaker, cloudwatch = client("sagemaker"), client("cloudwatch")
    sagemaker.create_model_package_group(ModelPackageGroupName=group)
    arn = sagemaker.create_model_package(
        ModelPackageGroupName=group, ModelApprovalStatus="PendingManualApproval"
    )["ModelPackageArn"]
    sagemaker.update_model_package(ModelPackageArn=arn, ModelApprovalStatus="Approved")
    found = read(2)
    assert [one["detail"]["ModelApprovalStatus"] for one in found] == ["PendingManualApproval", "Approved"]
    assert (found[1]["detail-type"], found[1]["resources"]) == ("SageMaker Model Package State Change", [arn])
    cloudwatch.put_metric_alarm(
        AlarmName=alarm,
        Namespace=alarm,
        MetricName="m",
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanThreshold",
        Dimensions=[{"Name": "a", "Value": "b"}],
    )
    cloudwatch.set_alarm_state(AlarmName=alarm, StateValue="ALARM", StateReason="a test")
    detail = alarms()[0]["detail"]
    assert detail["state"]["reason"] == "a test"
    assert detail["previousState"]["value"] == "INSUFFICIENT_DATA"
    metric = {"namespace": alarm, "name": "m", "dimensions": {"a": "b"}}
    assert detail["configuration"]["metrics"][0]["metricStat"] == {"metric": metric, "period": 60, "stat": "Sum"}


def test_a_stack_has_a_rule(cfn, events, log_target):  # noqa: F811
    stack = name()
    read = log_target({"source": ["aws.cloudformation"], "detail-type": ["CloudFormation Stack Status Change"]})
    target = {"Id": "t", "Arn": {"Fn::Sub": "arn:aws:sqs:${AWS::Region}:${AWS::AccountId}:q"}}
    rule = {
        "Type": "AWS::Events::Rule",
        "Properties": {
            "EventPattern": {"source": ["aws.ecr"], "detail": {"action-type": ["PUSH"]}},
            "Targets": [target, {**target, "Id": "u", "RetryPolicy": {"MaximumRetryAttempts": 1}}],
        },
    }
    made = create(cfn, stack, {"Rule": rule})
    created = physical(cfn, stack, "Rule")
    found = events.describe_rule(Name=created)
    assert json.loads(found["EventPattern"]) == rule["Properties"]["EventPattern"]
    assert [one["Id"] for one in events.list_targets_by_rule(Rule=created)["Targets"]] == ["t", "u"]
    rule["Properties"]["State"] = "DISABLED"
    rule["Properties"]["Targets"] = [{**target, "Input": "{}"}]
    update(cfn, stack, {"Rule": rule})
    assert events.describe_rule(Name=created)["State"] == "DISABLED"
    targets = events.list_targets_by_rule(Rule=created)["Targets"]
    assert [(one["Id"], one.get("Input")) for one in targets] == [("t", "{}")]
    delete(cfn, made)
    with pytest.raises(events.exceptions.ResourceNotFoundException):
        events.describe_rule(Name=created)
    expected = {"CREATE_IN_PROGRESS", "CREATE_COMPLETE", "UPDATE_COMPLETE", "DELETE_COMPLETE"}
    wait(lambda: expected <= {one["detail"]["status-details"]["status"] for one in read(4)})


def test_undeliverable_events_do_not_block_the_clock(cloud, events):
    rule, source = name(), name()
    events.put_rule(Name=rule, EventPattern=json.dumps({"source": [source]}))
    arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:missing"
    events.put_targets(Rule=rule, Targets=[{"Id": "t", "Arn": arn}])
    events.put_events(Entries=[{"Source": source, "DetailType": "t", "Detail": "{}"}])
    before = clock.now(cloud)
    assert (clock.advance(cloud, 3600) - before).total_seconds() >= 3600
