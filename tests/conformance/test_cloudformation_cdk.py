"""What CDK's templates and CLI need of CloudFormation, with boto3: see test_cdk.py for the CLI itself."""

import json
import time
import uuid

import pytest
from botocore.exceptions import ClientError


@pytest.fixture(scope="module")
def cfn(client):
    return client("cloudformation")


@pytest.fixture(scope="module")
def ssm(client):
    return client("ssm")


@pytest.fixture
def name(cfn):
    name = f"cdk-{uuid.uuid4().hex[:10]}"
    yield name
    cfn.delete_stack(StackName=name)


def wait(cfn, stack):
    for _ in range(600):
        found = cfn.describe_stacks(StackName=stack)["Stacks"][0]
        if not found["StackStatus"].endswith("_IN_PROGRESS"):
            return found
        time.sleep(0.05)
    raise AssertionError(found["StackStatus"])


def refusal(call, **arguments):
    with pytest.raises(ClientError) as raised:
        call(**arguments)
    return raised.value.response["Error"]


def parameter(name, **properties):
    given = {"Name": name, "Type": "String", "Value": "one", **properties}
    return {"Type": "AWS::SSM::Parameter", "Properties": given}


def template(resources, **sections):
    return json.dumps({"Resources": resources, **sections})


# --- resource types -------------------------------------------------------------------------


def test_a_parameter_is_created_changed_tagged_and_deleted(cfn, ssm, name):
    path = f"/{name}/a"
    outputs = {
        "Type": {"Value": {"Fn::GetAtt": ["P", "Type"]}},
        "Value": {"Value": {"Fn::GetAtt": ["P", "Value"]}},
        "Name": {"Value": {"Ref": "P"}},
    }
    own = {"Tags": {"team": "ml"}, "Description": "first", "AllowedPattern": "[a-z]+"}
    body = template({"P": parameter(path, **own), "Q": {"Type": "AWS::CDK::Metadata"}}, Outputs=outputs)
    stack_id = cfn.create_stack(StackName=name, TemplateBody=body, Tags=[{"Key": "stage", "Value": "test"}])["StackId"]
    made = wait(cfn, name)
    assert made["StackStatus"] == "CREATE_COMPLETE"
    shown = {output["OutputKey"]: output["OutputValue"] for output in made["Outputs"]}
    assert shown == {"Type": "String", "Value": "one", "Name": path}

    def tags():
        found = ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId=path)["TagList"]
        return {tag["Key"]: tag["Value"] for tag in found}

    system = {
        "aws:cloudformation:stack-name": name,
        "aws:cloudformation:stack-id": stack_id,
        "aws:cloudformation:logical-id": "P",
    }
    assert tags() == {"team": "ml", "stage": "test", **system}
    found = ssm.get_parameter_history(Name=path)["Parameters"]
    assert [(v["Value"], v["Description"], v["AllowedPattern"]) for v in found] == [("one", "first", "[a-z]+")]

    body = template({"P": parameter(path, Value="two", Tags={"owner": "me"})}, Outputs=outputs)
    cfn.update_stack(StackName=name, TemplateBody=body, Tags=[])
    changed = wait(cfn, name)
    assert changed["StackStatus"] == "UPDATE_COMPLETE"
    assert {o["OutputKey"]: o["OutputValue"] for o in changed["Outputs"]}["Value"] == "two"
    assert tags() == {"owner": "me", **system}
    found = ssm.get_parameter_history(Name=path)["Parameters"][-1]
    assert found["Version"] == 2 and "Description" not in found

    cfn.delete_stack(StackName=name)
    assert wait(cfn, stack_id)["StackStatus"] == "DELETE_COMPLETE"
    assert refusal(ssm.get_parameter, Name=path)["Code"] == "ParameterNotFound"


def test_a_parameter_without_a_name_gets_one(cfn, ssm):
    name = f"ssm-{uuid.uuid4().hex[:8]}"
    unnamed = {"Type": "AWS::SSM::Parameter", "Properties": {"Type": "String", "Value": "v"}}
    stack_id = cfn.create_stack(StackName=name, TemplateBody=template({"P": unnamed}))["StackId"]
    assert wait(cfn, name)["StackStatus"] == "CREATE_COMPLETE"
    found = cfn.describe_stack_resource(StackName=name, LogicalResourceId="P")["StackResourceDetail"]
    assert found["PhysicalResourceId"].startswith("CFN-P-")
    cfn.delete_stack(StackName=name)
    assert wait(cfn, stack_id)["StackStatus"] == "DELETE_COMPLETE"


def test_a_parameter_that_exists_is_not_overwritten(cfn, ssm, name):
    ssm.put_parameter(Name=f"/{name}/taken", Value="mine", Type="String")
    cfn.create_stack(StackName=name, TemplateBody=template({"P": parameter(f"/{name}/taken")}))
    assert wait(cfn, name)["StackStatus"] == "ROLLBACK_COMPLETE"
    events = cfn.describe_stack_events(StackName=name)["StackEvents"]
    reasons = [event.get("ResourceStatusReason", "") for event in events]
    assert any("The parameter already exists." in reason for reason in reasons)
    assert ssm.get_parameter(Name=f"/{name}/taken")["Parameter"]["Value"] == "mine"
    ssm.delete_parameter(Name=f"/{name}/taken")


def test_metadata_of_cdk_does_nothing(cfn, name):
    for analytics, status in [("v2:1", "CREATE_COMPLETE"), ("v2:2", "UPDATE_COMPLETE")]:
        body = template({"M": {"Type": "AWS::CDK::Metadata", "Properties": {"Analytics": analytics}}})
        (cfn.create_stack if analytics == "v2:1" else cfn.update_stack)(StackName=name, TemplateBody=body)
        assert wait(cfn, name)["StackStatus"] == status


@pytest.mark.parametrize(
    ("acl", "status"), [("Private", "CREATE_COMPLETE"), ("PublicRead", "ROLLBACK_COMPLETE")]
)
def test_buckets_are_private(cfn, name, acl, status):
    body = template({"B": {"Type": "AWS::S3::Bucket", "Properties": {"AccessControl": acl}}})
    cfn.create_stack(StackName=name, TemplateBody=body)
    assert wait(cfn, name)["StackStatus"] == status
    events = json.dumps(cfn.describe_stack_events(StackName=name)["StackEvents"], default=str)
    assert ("AccessControl PublicRead" in events) == (acl == "PublicRead")


# --- parameters, rules ----------------------------------------------------------------------


def stored(kind, default):
    return {"Stored": {"Type": f"AWS::SSM::Parameter::{kind}", "Default": default}}


def test_parameters_take_values_of_systems_manager(cfn, ssm, name):
    source, target = f"/{name}/source", f"/{name}/target"
    ssm.put_parameter(Name=source, Value="one", Type="String")
    body = template(
        {"P": parameter(target, Value={"Fn::Sub": "got ${Stored}"})}, Parameters=stored("Value<String>", source)
    )
    cfn.create_stack(StackName=name, TemplateBody=body)
    made = wait(cfn, name)
    assert made["Parameters"] == [{"ParameterKey": "Stored", "ParameterValue": source, "ResolvedValue": "one"}]
    assert ssm.get_parameter(Name=target)["Parameter"]["Value"] == "got one"
    assert "No updates" in refusal(cfn.update_stack, StackName=name, UsePreviousTemplate=True)["Message"]

    # A new value is a change.
    ssm.put_parameter(Name=source, Value="two", Overwrite=True)
    previous = [{"ParameterKey": "Stored", "UsePreviousValue": True}]
    cfn.update_stack(StackName=name, UsePreviousTemplate=True, Parameters=previous)
    changed = wait(cfn, name)
    assert (changed["StackStatus"], changed["Parameters"][0]["ResolvedValue"]) == ("UPDATE_COMPLETE", "two")
    assert ssm.get_parameter(Name=target)["Parameter"]["Value"] == "got two"
    ssm.delete_parameter(Name=source)


def test_parameters_of_systems_manager_are_checked(cfn, ssm, name):
    ssm.put_parameter(Name=f"/{name}/list", Value="a,b", Type="StringList")
    resources = {"P": parameter(f"/{name}/x", Value={"Ref": "Stored"})}
    for kind, default, message in [
        ("Value<String>", f"/{name}/none", f"Unable to fetch parameters [/{name}/none] from parameter store"),
        ("Name", f"/{name}/none", f"Unable to fetch parameters [/{name}/none] from parameter store"),
        ("Value<String>", f"/{name}/list", f"/{name}/list is a StringList"),
        ("Value<Number>", "x", "Unrecognized parameter type: AWS::SSM::Parameter::Value<Number>"),
    ]:
        body = template(resources, Parameters=stored(kind, default))
        refused = refusal(cfn.create_stack, StackName=name, TemplateBody=body)
        assert refused["Code"] == "ValidationError" and message in refused["Message"]
    joined = {"P": parameter(f"/{name}/x", Value={"Fn::Join": ["+", {"Ref": "Stored"}]})}
    body = template(joined, Parameters=stored("Value<List<String>>", f"/{name}/list"))
    cfn.create_stack(StackName=name, TemplateBody=body)
    assert wait(cfn, name)["StackStatus"] == "CREATE_COMPLETE"
    assert ssm.get_parameter(Name=f"/{name}/x")["Parameter"]["Value"] == "a+b"
    ssm.delete_parameter(Name=f"/{name}/list")


def test_rules_are_asserted(cfn, name):
    rule = {
        "Assertions": [
            {
                "Assert": {"Fn::Not": [{"Fn::Contains": [["1", "2"], {"Ref": "Version"}]}]},
                "AssertDescription": "version 3 required",
            }
        ]
    }
    body = template(
        {"M": {"Type": "AWS::CDK::Metadata"}},
        Parameters={"Version": {"Type": "String", "Default": "2"}},
        Rules={"CheckVersion": rule},
    )
    refused = refusal(cfn.create_stack, StackName=name, TemplateBody=body)
    assert refused["Code"] == "ValidationError" and "version 3 required" in refused["Message"]
    given = [{"ParameterKey": "Version", "ParameterValue": "3"}]
    cfn.create_stack(StackName=name, TemplateBody=body, Parameters=given)
    assert wait(cfn, name)["StackStatus"] == "CREATE_COMPLETE"
    lookup = body.replace('"Fn::Contains"', '"Fn::ValueOf"')
    refused = refusal(cfn.validate_template, TemplateBody=lookup)
    assert "Fn::ValueOf" in refused["Message"]


# --- options of requests --------------------------------------------------------------------


def test_stacks_are_deployed_in_standard_mode(cfn, client, name):
    body = template({"M": {"Type": "AWS::CDK::Metadata"}})
    for call, arguments in [
        (cfn.create_stack, {"TemplateBody": body}),
        (cfn.create_change_set, {"TemplateBody": body, "ChangeSetName": "c", "ChangeSetType": "CREATE"}),
    ]:
        refused = refusal(call, StackName=name, DeploymentConfig={"Mode": "EXPRESS"}, **arguments)
        assert refused["Code"] == "NotImplemented" and "EXPRESS of DeploymentConfig" in refused["Message"]
    standard = {"Mode": "STANDARD", "DisableRollback": True}
    fails = template(
        {
            "M": {"Type": "AWS::CDK::Metadata"},
            "P": {**parameter(f"/{name}/x", AllowedPattern="[0-9]+"), "DependsOn": "M"},
        }
    )
    cfn.create_stack(StackName=name, TemplateBody=fails, DeploymentConfig=standard)
    failed = wait(cfn, name)
    assert (failed["StackStatus"], failed["DisableRollback"]) == ("CREATE_FAILED", True)
    assert failed["DeploymentConfig"] == standard
    refused = refusal(cfn.delete_stack, StackName=name, DeploymentConfig={"Mode": "EXPRESS"})
    assert refused["Code"] == "NotImplemented"
    cfn.delete_stack(StackName=name, DeploymentConfig={"Mode": "STANDARD"})
    assert wait(cfn, failed["StackId"])["StackStatus"] == "DELETE_COMPLETE"


def test_a_change_set_imports_nothing(cfn, client, name):
    """ImportExistingResources is refused where a resource would be imported."""
    bucket = {"Type": "AWS::S3::Bucket", "DeletionPolicy": "Retain", "Properties": {"BucketName": name}}
    options = {"ChangeSetType": "CREATE", "ImportExistingResources": True, "IncludeNestedStacks": True}
    cfn.create_change_set(StackName=name, ChangeSetName="a", TemplateBody=template({"B": bucket}), **options)
    cfn.get_waiter("change_set_create_complete").wait(StackName=name, ChangeSetName="a", WaiterConfig={"Delay": 1})
    found = cfn.describe_change_set(StackName=name, ChangeSetName="a")
    assert [change["ResourceChange"]["Action"] for change in found["Changes"]] == ["Add"]
    assert found["IncludeNestedStacks"] is True
    client("s3").create_bucket(Bucket=name)
    refused = refusal(
        cfn.create_change_set, StackName=name, ChangeSetName="b", TemplateBody=template({"B": bucket}), **options
    )
    assert refused["Code"] == "NotImplemented"
    assert f"the import of B (AWS::S3::Bucket {name})" in refused["Message"]
    client("s3").delete_bucket(Bucket=name)
