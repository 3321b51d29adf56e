"""Custom resources: functions that CloudFormation invokes, and their responses."""

import json
import os
import subprocess
import time
import uuid
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

BIN = os.environ.get("MLOPS_BIN", "target/debug/mlops")
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}

LOGS = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"

# Logs each request, and responds as the property Do says.
HANDLER = """
import json, time, urllib.error, urllib.request

def put(event, answer):
    request = urllib.request.Request(event["ResponseURL"], answer.encode(), method="PUT")
    try:
        return urllib.request.urlopen(request).status
    except urllib.error.HTTPError as error:
        return error.code

def handler(event, context):
    print("request " + json.dumps(event))
    properties = event["ResourceProperties"]
    do = properties.get("Do", "")
    if event["RequestType"] == "Delete":
        do = properties.get("DoDelete", "")
    answer = {"Status": "SUCCESS", "PhysicalResourceId": "thing-" + properties.get("Id", "1"),
              "StackId": event["StackId"], "RequestId": event["RequestId"],
              "LogicalResourceId": event["LogicalResourceId"],
              "Data": {"Text": properties.get("Text", ""), "Number": 5}, "NoEcho": True}
    if do == "fail":
        answer.update(Status="FAILED", Reason="no luck today")
    if do == "nameless":
        del answer["PhysicalResourceId"]
    if do == "long":
        answer["Data"]["Text"] = "x" * 5000
    if do == "silent":
        return
    if do == "raise":
        raise ValueError("on purpose")
    if do == "sleep":
        time.sleep(60)
    print("status", put(event, json.dumps(answer)))
    if do == "twice":
        print("status", put(event, json.dumps(answer)))
    if do == "answered":
        time.sleep(60)
"""


def template(resources, outputs=(), kind="Custom::Thing"):
    """A template with a function and custom resources: logical id -> properties."""
    function = {
        "Type": "AWS::Lambda::Function",
        "Properties": {
            "Runtime": "python3.11",
            "Handler": "index.handler",
            "Role": {"Fn::GetAtt": ["Role", "Arn"]},
            "Timeout": 90,
            "Code": {"ZipFile": HANDLER},
        },
    }
    token = {"Fn::GetAtt": ["Function", "Arn"]}
    things = {
        logical: {"Type": kind, "Properties": {"ServiceToken": token, "ServiceTimeout": 60, **properties}}
        for logical, properties in resources.items()
    }
    role = {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": TRUST, "ManagedPolicyArns": [LOGS]}}
    return json.dumps(
        {
            "Resources": {"Role": role, "Function": function, **things},
            "Outputs": {name: {"Value": value} for name, value in outputs},
        }
    )


@pytest.fixture(scope="module")
def cfn(client):
    return client("cloudformation")


@pytest.fixture
def stack(cfn):
    name = f"custom-{uuid.uuid4().hex[:8]}"
    yield name
    cfn.delete_stack(StackName=name)


def wait(cfn, stack, seconds=120):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = cfn.describe_stacks(StackName=stack)["Stacks"][0]
        if not found["StackStatus"].endswith("_IN_PROGRESS"):
            return found
        time.sleep(0.05)
    raise AssertionError(found["StackStatus"])


def create(cfn, stack, body, **more):
    cfn.create_stack(StackName=stack, TemplateBody=body, Capabilities=["CAPABILITY_IAM"], **more)
    return wait(cfn, stack)


def update(cfn, stack, body):
    cfn.update_stack(StackName=stack, TemplateBody=body, Capabilities=["CAPABILITY_IAM"])
    return wait(cfn, stack)


def outputs(found):
    return {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", [])}


def physical(cfn, stack, logical):
    found = cfn.describe_stack_resource(StackName=stack, LogicalResourceId=logical)
    return found["StackResourceDetail"]["PhysicalResourceId"]


def log(client, function):
    logs = client("logs")
    try:
        events = logs.filter_log_events(logGroupName=f"/aws/lambda/{function}")["events"]
    except logs.exceptions.ResourceNotFoundException:
        return []
    return [event["message"] for event in events]


def requests(client, function):
    return [json.loads(line.split(" ", 1)[1]) for line in log(client, function) if line.startswith("request ")]


def reason(cfn, stack, logical):
    """Why a resource failed."""
    events = cfn.describe_stack_events(StackName=stack)["StackEvents"]
    found = [e for e in events if e["LogicalResourceId"] == logical and e["ResourceStatus"].endswith("_FAILED")]
    return found[0]["ResourceStatusReason"]


def test_a_function_creates_changes_and_deletes(cfn, client, stack):
    text = {"Fn::GetAtt": ["Thing", "Text"]}
    shown = [("Text", text), ("Number", {"Fn::GetAtt": ["Thing", "Number"]}), ("Id", {"Ref": "Thing"})]
    given = {"Text": "one", "Size": 7, "Deep": {"List": [True, 1.5]}}
    made = create(cfn, stack, template({"Thing": given, "Next": {"Id": "next", "Text": text}}, shown))
    assert made["StackStatus"] == "CREATE_COMPLETE"
    assert outputs(made) == {"Text": "one", "Number": "5", "Id": "thing-1"}
    function = physical(cfn, stack, "Function")
    first, second = requests(client, function)
    assert second["ResourceProperties"]["Text"] == "one"
    arn = first.pop("ServiceToken")
    assert arn.endswith(f":function:{function}")
    url = first.pop("ResponseURL")
    assert url.startswith("http://") and "Signature=" in url
    assert uuid.UUID(first.pop("RequestId"))
    assert first == {
        "RequestType": "Create",
        "StackId": made["StackId"],
        "LogicalResourceId": "Thing",
        "ResourceType": "Custom::Thing",
        # Every scalar is text.
        "ResourceProperties": {
            "ServiceToken": arn,
            "ServiceTimeout": "60",
            "Text": "one",
            "Size": "7",
            "Deep": {"List": ["true", "1.5"]},
        },
    }

    # In place; what refers to its attributes changes, too.
    given["Text"] = "two"
    body = template({"Thing": given, "Next": {"Id": "next", "Text": text}}, shown)
    cfn.create_change_set(
        StackName=stack, ChangeSetName="c", TemplateBody=body, Capabilities=["CAPABILITY_IAM"]
    )
    cfn.get_waiter("change_set_create_complete").wait(
        StackName=stack, ChangeSetName="c", WaiterConfig={"Delay": 1}
    )
    changes = cfn.describe_change_set(StackName=stack, ChangeSetName="c")["Changes"]
    assert [change["ResourceChange"]["LogicalResourceId"] for change in changes] == ["Thing", "Next"]
    changed = update(cfn, stack, body)
    assert (changed["StackStatus"], outputs(changed)["Text"]) == ("UPDATE_COMPLETE", "two")
    third, fourth = requests(client, function)[2:]
    assert (third["RequestType"], third["PhysicalResourceId"]) == ("Update", "thing-1")
    assert third["OldResourceProperties"]["Text"] == "one"
    assert (fourth["LogicalResourceId"], fourth["ResourceProperties"]["Text"]) == ("Next", "two")

    # Another physical id: the old one is deleted in the clean-up, with its own properties.
    given.update(Id="2", Text="three")
    replaced = update(cfn, stack, template({"Thing": given, "Next": {"Id": "next", "Text": "fixed"}}, shown))
    assert outputs(replaced) == {"Text": "three", "Number": "5", "Id": "thing-2"}
    fifth, sixth, seventh = requests(client, function)[4:]
    assert [event["RequestType"] for event in (fifth, sixth, seventh)] == ["Update", "Update", "Delete"]
    assert (seventh["PhysicalResourceId"], seventh["ResourceProperties"]["Text"]) == ("thing-1", "two")

    cfn.delete_stack(StackName=stack)
    deleted = wait(cfn, made["StackId"])
    assert deleted["StackStatus"] == "DELETE_COMPLETE"
    last = requests(client, function)[7:]
    assert sorted((event["RequestType"], event["PhysicalResourceId"]) for event in last) == [
        ("Delete", "thing-2"),
        ("Delete", "thing-next"),
    ]


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"Do": "fail"}, "Received response status [FAILED] from custom resource. Message returned: no luck today"),
        ({"Do": "silent", "ServiceTimeout": 2}, "did not receive a response from your Custom Resource"),
        ({"Do": "nameless"}, "Invalid PhysicalResourceId"),
        ({"Do": "long"}, "Response object is too long."),
        ({"ServiceTimeout": 3601}, "ServiceTimeout must be an integer from 1 to 3600"),
        ({"ServiceToken": "arn:aws:sns:us-east-1:000000000000:topic"}, "custom resources behind SNS topics"),
        ({"ServiceToken": "token"}, "Invalid service token."),
        (
            {"ServiceToken": "arn:aws:lambda:us-east-1:000000000000:function:none"},
            "Function not found: arn:aws:lambda:us-east-1:000000000000:function:none",
        ),
    ],
)
def test_a_creation_that_fails_names_the_reason_and_is_rolled_back(cfn, client, stack, properties, message):
    made = create(cfn, stack, template({"Thing": {"Id": "7", **properties}}))
    assert made["StackStatus"] == "ROLLBACK_COMPLETE"
    assert message in reason(cfn, stack, "Thing")


def test_a_failed_creation_is_deleted_by_the_id_in_its_response(cfn, client, stack):
    made = create(cfn, stack, template({"Thing": {"Do": "fail", "Id": "7"}}), OnFailure="DO_NOTHING")
    assert made["StackStatus"] == "CREATE_FAILED"
    function = physical(cfn, stack, "Function")
    cfn.delete_stack(StackName=stack)
    assert wait(cfn, made["StackId"])["StackStatus"] == "DELETE_COMPLETE"
    assert [event["RequestType"] for event in requests(client, function)] == ["Create", "Delete"]
    assert requests(client, function)[1]["PhysicalResourceId"] == "thing-7"


def test_a_failed_update_is_reverted(cfn, client, stack):
    create(cfn, stack, template({"Thing": {"Text": "one"}}, kind="AWS::CloudFormation::CustomResource"))
    body = template({"Thing": {"Text": "two", "Do": "fail"}}, kind="AWS::CloudFormation::CustomResource")
    assert update(cfn, stack, body)["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    assert "no luck today" in reason(cfn, stack, "Thing")
    events = requests(client, physical(cfn, stack, "Function"))
    assert [event["RequestType"] for event in events] == ["Create", "Update", "Update"]
    assert events[2]["ResourceProperties"]["Text"] == "one"
    assert events[2]["OldResourceProperties"]["Text"] == "two"
    token = template({"Thing": {"ServiceToken": "arn:aws:lambda:us-east-1:000000000000:function:other"}})
    token = token.replace("Custom::Thing", "AWS::CloudFormation::CustomResource")
    assert update(cfn, stack, token)["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    assert "Modifying service token is not allowed." in reason(cfn, stack, "Thing")


def test_a_roll_back_restores_a_replaced_resource(cfn, client, stack):
    create(cfn, stack, template({"Thing": {"Id": "old"}}))
    body = template({"Thing": {"Id": "new"}, "Zoo": {"Do": "fail"}})
    assert update(cfn, stack, body)["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    assert physical(cfn, stack, "Thing") == "thing-old"
    events = requests(client, physical(cfn, stack, "Function"))
    deleted = [event["PhysicalResourceId"] for event in events if event["RequestType"] == "Delete"]
    assert sorted(deleted) == ["thing-1", "thing-new"]


def test_a_deletion_that_fails_keeps_the_resource(cfn, client, stack):
    made = create(cfn, stack, template({"Thing": {"DoDelete": "fail"}}))
    cfn.delete_stack(StackName=stack)
    assert wait(cfn, stack)["StackStatus"] == "DELETE_FAILED"
    assert "no luck today" in reason(cfn, stack, "Thing")
    cfn.delete_stack(StackName=stack, RetainResources=["Thing"])
    assert wait(cfn, made["StackId"])["StackStatus"] == "DELETE_COMPLETE"


def test_the_url_of_a_response_works_once(cfn, client, stack):
    assert create(cfn, stack, template({"Thing": {"Do": "twice"}}))["StackStatus"] == "CREATE_COMPLETE"
    function = physical(cfn, stack, "Function")
    for _ in range(100):
        statuses = [line.strip() for line in log(client, function) if line.startswith("status")]
        if len(statuses) == 2:
            break
        time.sleep(0.05)
    assert statuses == ["status 200", "status 403"]


def test_an_attribute_that_the_function_did_not_return(cfn, stack):
    missing = [("None", {"Fn::GetAtt": ["Thing", "Missing"]})]
    made = create(cfn, stack, template({"Thing": {}}, missing))
    assert made["StackStatus"] == "ROLLBACK_COMPLETE"
    events = cfn.describe_stack_events(StackName=stack)["StackEvents"]
    reasons = [event.get("ResourceStatusReason", "") for event in events]
    assert any("doesn't contain Missing attribute" in reason for reason in reasons)


def test_invalid_custom_resources_are_refused(cfn, stack):
    for body, message in [
        (template({"Thing": {}}, kind="Custom::a::b"), "Unrecognized resource types: [Custom::a::b]"),
        (template({"Thing": {}}, kind="Custom::" + "x" * 60), "Unrecognized resource types"),
    ]:
        with pytest.raises(ClientError) as error:
            cfn.create_stack(StackName=stack, TemplateBody=body, Capabilities=["CAPABILITY_IAM"])
        assert message in error.value.response["Error"]["Message"]


# --- the server dies ------------------------------------------------------------------------


class Server:
    """A server of its own, which a test can kill."""

    def __init__(self, state):
        self.state = state
        self.start()

    def start(self):
        self.process = subprocess.Popen([BIN, "local", "start", "--port", "0", "--quiet", "--state", self.state])
        for _ in range(1000):
            status = [BIN, "local", "status", "--output", "json", "--state", self.state]
            if json.loads(subprocess.run(status, capture_output=True, text=True).stdout)["running"]:
                break
            assert self.process.poll() is None
            time.sleep(0.01)
        self.endpoint = json.loads((Path(self.state) / "address.json").read_text())["endpoint"]

    def client(self, service):
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"max_attempts": 1}),
        )

    def restart(self):
        self.process.kill()
        self.process.wait()
        self.start()


@pytest.fixture
def server(tmp_path):
    server = Server(str(tmp_path / "state"))
    yield server
    server.process.kill()
    server.process.wait()


def until(condition):
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen")


@pytest.mark.parametrize(("do", "deleted"), [("sleep", None), ("answered", "thing-7")])
def test_an_interrupted_creation_is_deleted(server, do, deleted):
    """With or without a response, the function is asked to delete what it may have created."""
    cfn = server.client("cloudformation")
    body = template({"Thing": {"Do": do, "Id": "7"}, "Zoo": {"Id": "9", "Do": "sleep"}})
    cfn.create_stack(StackName="s", TemplateBody=body, Capabilities=["CAPABILITY_IAM"])
    function = []

    def reached():
        found = cfn.describe_stack_resources(StackName="s")["StackResources"]
        names = {resource["LogicalResourceId"]: resource.get("PhysicalResourceId") for resource in found}
        function[:] = [names.get("Function")]
        if not names.get("Thing"):
            return False
        # The request for Zoo is made at the same time.
        if do == "sleep":
            return any(event["LogicalResourceId"] == "Thing" for event in requests(server.client, function[0]))
        return any(line.startswith("status") for line in log(server.client, function[0]))

    until(reached)
    server.restart()
    cfn = server.client("cloudformation")
    assert wait(cfn, "s")["StackStatus"] == "ROLLBACK_COMPLETE"
    asked = [event for event in requests(server.client, function[0]) if event["LogicalResourceId"] == "Thing"]
    assert [event["RequestType"] for event in asked] == ["Create", "Delete"]
    provisional = asked[1]["PhysicalResourceId"]
    assert provisional == deleted if deleted else provisional.startswith("s-Thing-")


def test_an_interrupted_update_is_reverted(server):
    cfn = server.client("cloudformation")
    assert create(cfn, "s", template({"Thing": {"Id": "old"}}))["StackStatus"] == "CREATE_COMPLETE"
    function = physical(cfn, "s", "Function")
    body = template({"Thing": {"Id": "new", "Do": "sleep"}})
    cfn.update_stack(StackName="s", TemplateBody=body, Capabilities=["CAPABILITY_IAM"])
    until(lambda: len(requests(server.client, function)) == 2)
    server.restart()
    cfn = server.client("cloudformation")
    assert wait(cfn, "s")["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    assert physical(cfn, "s", "Thing") == "thing-old"
    events = requests(server.client, function)
    assert [event["RequestType"] for event in events] == ["Create", "Update", "Update"]
    assert events[2]["ResourceProperties"]["Id"] == "old"
