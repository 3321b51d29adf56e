"""boto3 against EventBridge Scheduler, on the clock that tests advance."""

import datetime
import json
import uuid

import pytest
from botocore.exceptions import ClientError

import clock
import roles
from test_cloudformation_types import cfn, create, delete, failure, physical, update  # noqa: F401 (a fixture)

QUEUE_ARN = "arn:aws:sqs:us-east-1:000000000000:"


@pytest.fixture
def scheduler(client):
    return client("scheduler")


@pytest.fixture
def sqs(client):
    return client("sqs")


@pytest.fixture
def name():
    return f"s{uuid.uuid4().hex[:10]}"


@pytest.fixture
def role(client, name):
    """A role that Scheduler can assume, and that may use queues and create log groups."""
    iam = client("iam")
    arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=roles.trust("scheduler"))["Role"]["Arn"]
    allowed = roles.document(roles.allow(["sqs:*", "logs:CreateLogGroup"]))
    iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=allowed)
    return arn


@pytest.fixture
def url(sqs, name):
    return sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "0"})["QueueUrl"]


def refusal(call, **arguments):
    with pytest.raises(ClientError) as raised:
        call(**arguments)
    return raised.value.response["Error"]


def schedule(name, role, expression, target=None, **more):
    return {
        "Name": name,
        "ScheduleExpression": expression,
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "Target": {"Arn": QUEUE_ARN + name, "RoleArn": role, "Input": "due", **(target or {})},
        **more,
    }


def count(sqs, url):
    return len(sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", []))


def at(time):
    return f"at({time.strftime('%Y-%m-%dT%H:%M:%S')})"


def test_a_schedule_through_all_operations(cloud, scheduler, sqs, name, role, url):
    start = clock.now(cloud) + datetime.timedelta(minutes=10)
    made = scheduler.create_schedule(**schedule(name, role, "rate(5 minutes)", StartDate=start, Description="d"))
    assert made["ScheduleArn"].endswith(f":schedule/default/{name}")
    shown = scheduler.get_schedule(Name=name)
    assert abs(shown["StartDate"] - start) < datetime.timedelta(seconds=1)
    assert shown["Target"]["RetryPolicy"] == {"MaximumEventAgeInSeconds": 86400, "MaximumRetryAttempts": 185}
    clock.advance(cloud, 590)
    assert count(sqs, url) == 0
    clock.advance(cloud, 10 + 300)
    assert count(sqs, url) == 2
    assert refusal(scheduler.create_schedule, **schedule(name, role, "rate(1 day)"))["Code"] == "ConflictException"
    scheduler.update_schedule(**schedule(name, role, "rate(1 day)", State="DISABLED"))
    clock.advance(cloud, 3600)
    assert count(sqs, url) == 2
    (listed,) = scheduler.list_schedules(NamePrefix=name, State="DISABLED")["Schedules"]
    assert listed["Target"]["Arn"] == QUEUE_ARN + name
    scheduler.delete_schedule(Name=name)
    assert refusal(scheduler.get_schedule, Name=name)["Code"] == "ResourceNotFoundException"


def test_times_are_those_of_the_zone(cloud, scheduler, sqs, name, role, url):
    zone = "Asia/Kolkata"
    local = clock.now(cloud) + datetime.timedelta(hours=5, minutes=30)
    due = (local + datetime.timedelta(hours=2)).replace(second=0, microsecond=0)
    once = schedule(f"{name}-once", role, at(due), {"Arn": QUEUE_ARN + name}, ScheduleExpressionTimezone=zone)
    scheduler.create_schedule(**once, ActionAfterCompletion="DELETE")
    cron = f"cron({due.minute} {due.hour} * * ? *)"
    daily = schedule(f"{name}-daily", role, cron, {"Arn": QUEUE_ARN + name}, ScheduleExpressionTimezone=zone)
    scheduler.create_schedule(**daily)
    clock.advance(cloud, 7100 - 60)
    assert count(sqs, url) == 0
    clock.advance(cloud, 160)
    assert count(sqs, url) == 2
    assert refusal(scheduler.get_schedule, Name=f"{name}-once")["Code"] == "ResourceNotFoundException"
    clock.advance(cloud, 86400)
    assert count(sqs, url) == 3
    scheduler.delete_schedule(Name=f"{name}-daily")


def test_universal_targets(cloud, client, scheduler, name, role):
    target = {
        "Arn": "arn:aws:scheduler:::aws-sdk:cloudwatchlogs:createLogGroup",
        "Input": json.dumps({"LogGroupName": name}),
    }
    scheduler.create_schedule(**schedule(name, role, "rate(1 day)", target))
    clock.advance(cloud, 0)
    groups = client("logs").describe_log_groups(logGroupNamePrefix=name)["logGroups"]
    assert [group["logGroupName"] for group in groups] == [name]
    for arn, word in [
        ("arn:aws:scheduler:::aws-sdk:sqs:getQueueUrl", "only reads"),
        ("arn:aws:scheduler:::aws-sdk:dynamodb:putItem", "dynamodb"),
        ("arn:aws:ecs:us-east-1:000000000000:cluster/c", "ecs"),
    ]:
        error = refusal(scheduler.create_schedule, **schedule(f"{name}2", role, "rate(1 day)", {"Arn": arn, "Input": "{}"}))
        assert word in error["Message"], error


def test_a_role_without_permission_leads_to_the_dead_letter_queue(cloud, client, scheduler, sqs, name, role, url):
    dead = sqs.create_queue(QueueName=f"{name}-dead")["QueueUrl"]
    allowed = roles.document(roles.allow("sqs:SendMessage", f"{QUEUE_ARN}{name}-dead"))
    client("iam").put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=allowed)
    target = {"DeadLetterConfig": {"Arn": f"{QUEUE_ARN}{name}-dead"}}
    scheduler.create_schedule(**schedule(name, role, "rate(1 day)", target))
    clock.advance(cloud, 0)
    (letter,) = sqs.receive_message(QueueUrl=dead, MessageAttributeNames=["All"])["Messages"]
    assert letter["MessageAttributes"]["ERROR_CODE"]["StringValue"] == "AccessDeniedException"
    assert count(sqs, url) == 0
    iam = client("iam")
    iam.update_assume_role_policy(RoleName=name, PolicyDocument=roles.trust("lambda"))
    error = refusal(scheduler.create_schedule, **schedule(f"{name}2", role, "rate(1 day)"))
    assert "assume the role" in error["Message"]


def test_groups(scheduler, name, role, url):
    arn = scheduler.create_schedule_group(Name=name, Tags=[{"Key": "team", "Value": "ml"}])["ScheduleGroupArn"]
    scheduler.create_schedule(**schedule(name, role, "rate(1 day)", GroupName=name, State="DISABLED"))
    assert scheduler.get_schedule(Name=name, GroupName=name)["GroupName"] == name
    assert refusal(scheduler.get_schedule, Name=name)["Code"] == "ResourceNotFoundException"
    scheduler.tag_resource(ResourceArn=arn, Tags=[{"Key": "stage", "Value": "dev"}])
    scheduler.untag_resource(ResourceArn=arn, TagKeys=["team"])
    assert scheduler.list_tags_for_resource(ResourceArn=arn)["Tags"] == [{"Key": "stage", "Value": "dev"}]
    assert scheduler.get_schedule_group(Name=name)["State"] == "ACTIVE"
    names = [it["Name"] for page in scheduler.get_paginator("list_schedule_groups").paginate() for it in page["ScheduleGroups"]]
    assert {"default", name} <= set(names)
    assert len(scheduler.list_schedules(GroupName=name)["Schedules"]) == 1
    scheduler.delete_schedule_group(Name=name)
    assert refusal(scheduler.list_schedules, GroupName=name)["Code"] == "ResourceNotFoundException"


def test_a_stack(cloud, cfn, scheduler, sqs, name):  # noqa: F811
    trust = json.loads(roles.trust("scheduler"))
    policy = json.loads(roles.document(roles.allow("sqs:SendMessage")))
    resources = {
        "Queue": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": name, "VisibilityTimeout": 0}},
        "Role": {
            "Type": "AWS::IAM::Role",
            "Properties": {
                "AssumeRolePolicyDocument": trust,
                "Policies": [{"PolicyName": "p", "PolicyDocument": policy}],
            },
        },
        "Group": {"Type": "AWS::Scheduler::ScheduleGroup", "Properties": {"Name": name}},
        "Schedule": {
            "Type": "AWS::Scheduler::Schedule",
            "Properties": {
                "Name": name,
                "GroupName": {"Ref": "Group"},
                "ScheduleExpression": "rate(1 hour)",
                "FlexibleTimeWindow": {"Mode": "OFF"},
                "Target": {
                    "Arn": {"Fn::GetAtt": "Queue.Arn"},
                    "RoleArn": {"Fn::GetAtt": "Role.Arn"},
                    "Input": "due",
                    "RetryPolicy": {"MaximumRetryAttempts": 3},
                },
            },
        },
    }
    stack = create(cfn, name, resources)
    assert stack["StackStatus"] == "CREATE_COMPLETE", failure(cfn, stack, "Schedule")
    assert physical(cfn, name, "Schedule") == name
    clock.advance(cloud, 0)
    url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
    assert count(sqs, url) == 1
    resources["Schedule"]["Properties"]["State"] = "DISABLED"
    assert update(cfn, name, resources) == "UPDATE_COMPLETE"
    assert scheduler.get_schedule(Name=name, GroupName=name)["State"] == "DISABLED"
    assert delete(cfn, stack) == "DELETE_COMPLETE"
    assert refusal(scheduler.get_schedule_group, Name=name)["Code"] == "ResourceNotFoundException"
