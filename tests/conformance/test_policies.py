"""IAM's policy simulator and permissions boundaries with boto3."""

import json

import pytest
from botocore.exceptions import ClientError

ACCOUNT = "000000000000"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ],
}
OBJECT = "arn:aws:s3:::data/in/a.csv"


def document(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(action, resource="*", **more):
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def deny(action, resource="*", **more):
    return allow(action, resource, **more) | {"Effect": "Deny"}


def decisions(answer):
    return [(it["EvalActionName"], it["EvalDecision"]) for it in answer["EvaluationResults"]]


def refused(code, call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    assert caught.value.response["Error"]["Code"] == code
    return caught.value.response["Error"]["Message"]


@pytest.fixture
def role(client):
    """A role of data scientists, who may not approve."""
    iam = client("iam")
    made = iam.create_role(
        RoleName="simulated",
        AssumeRolePolicyDocument=json.dumps(TRUST),
        Tags=[{"Key": "team", "Value": "blue"}],
    )["Role"]
    yield made
    for name in iam.list_role_policies(RoleName="simulated")["PolicyNames"]:
        iam.delete_role_policy(RoleName="simulated", PolicyName=name)
    for policy in iam.list_attached_role_policies(RoleName="simulated")["AttachedPolicies"]:
        iam.detach_role_policy(RoleName="simulated", PolicyArn=policy["PolicyArn"])
    iam.delete_role(RoleName="simulated")


def test_custom_policies_are_simulated(client):
    iam = client("iam")
    policy = document(allow("s3:Get*", "arn:aws:s3:::data/*"), deny("s3:GetObjectVersion"))
    answer = iam.simulate_custom_policy(
        PolicyInputList=[policy],
        ActionNames=["s3:GetObject", "s3:GetObjectVersion", "s3:PutObject"],
        ResourceArns=[OBJECT],
    )
    assert decisions(answer) == [
        ("s3:GetObject", "allowed"),
        ("s3:GetObjectVersion", "explicitDeny"),
        ("s3:PutObject", "implicitDeny"),
    ]
    assert answer["IsTruncated"] is False
    first, second, third = answer["EvaluationResults"]
    assert first["EvalResourceName"] == OBJECT
    [matched] = first["MatchedStatements"]
    assert matched["SourcePolicyId"] == "PolicyInputList.1"
    start, end = matched["StartPosition"], matched["EndPosition"]
    assert (start["Line"], end["Line"]) == (1, 1)
    assert json.loads(policy[start["Column"] - 1 : end["Column"]])["Action"] == "s3:Get*"
    [matched] = second["MatchedStatements"]
    start, end = matched["StartPosition"], matched["EndPosition"]
    assert json.loads(policy[start["Column"] - 1 : end["Column"]])["Effect"] == "Deny"
    assert third["MatchedStatements"] == []
    [specific] = first["ResourceSpecificResults"]
    assert (specific["EvalResourceName"], specific["EvalResourceDecision"]) == (OBJECT, "allowed")


def test_conditions_read_the_context(client):
    iam = client("iam")
    approved = {"StringEquals": {"sagemaker:ModelApprovalStatus": "Approved"}}
    tags = {"ForAllValues:StringEquals": {"aws:TagKeys": ["team"]}}
    policy = document(
        allow("sagemaker:UpdateModelPackage", Condition=approved), allow("sagemaker:AddTags", Condition=tags)
    )

    def simulate(action, *entries):
        answer = iam.simulate_custom_policy(
            PolicyInputList=[policy],
            ActionNames=[action],
            ContextEntries=[
                {"ContextKeyName": name, "ContextKeyType": kind, "ContextKeyValues": values}
                for name, kind, values in entries
            ],
        )
        [result] = answer["EvaluationResults"]
        return result["EvalDecision"], result["MissingContextValues"]

    update = "sagemaker:UpdateModelPackage"
    key = "sagemaker:ModelApprovalStatus"
    assert simulate(update) == ("implicitDeny", [key.lower()])
    assert simulate(update, (key, "string", ["Approved"])) == ("allowed", [])
    assert simulate(update, (key, "string", ["Rejected"])) == ("implicitDeny", [])
    assert simulate("sagemaker:AddTags", ("aws:TagKeys", "stringList", ["team"])) == ("allowed", [])
    assert simulate("sagemaker:AddTags", ("aws:TagKeys", "stringList", ["team", "x"])) == ("implicitDeny", [])


def test_resource_policies_and_boundaries_are_simulated(client):
    iam = client("iam")
    caller = f"arn:aws:iam::{ACCOUNT}:user/ana"
    bucket = document({**allow("s3:GetObject", OBJECT), "Principal": {"AWS": caller}})

    def simulate(**more):
        answer = iam.simulate_custom_policy(
            ActionNames=["s3:GetObject"], ResourceArns=[OBJECT], CallerArn=caller, **more
        )
        [result] = answer["EvaluationResults"]
        return result

    nothing = [document(allow("ec2:*"))]
    assert simulate(PolicyInputList=nothing)["EvalDecision"] == "implicitDeny"
    assert simulate(PolicyInputList=nothing, ResourcePolicy=bucket)["EvalDecision"] == "allowed"
    everything = [document(allow("*"))]
    bounded = simulate(PolicyInputList=everything, PermissionsBoundaryPolicyInputList=nothing)
    assert bounded["EvalDecision"] == "implicitDeny"
    assert bounded["PermissionsBoundaryDecisionDetail"] == {"AllowedByPermissionsBoundary": False}
    within = simulate(PolicyInputList=everything, PermissionsBoundaryPolicyInputList=everything)
    assert within["EvalDecision"] == "allowed"
    assert within["PermissionsBoundaryDecisionDetail"] == {"AllowedByPermissionsBoundary": True}


def test_the_policies_of_a_role_are_simulated(client, role):
    iam = client("iam")
    own = "arn:aws:s3:::data/${aws:PrincipalTag/team}/*"
    iam.put_role_policy(RoleName="simulated", PolicyName="own", PolicyDocument=document(allow("s3:GetObject", own)))
    managed = iam.create_policy(PolicyName="simulated-deny", PolicyDocument=document(deny("s3:*", f"{OBJECT}*")))
    arn = managed["Policy"]["Arn"]
    iam.attach_role_policy(RoleName="simulated", PolicyArn=arn)
    answer = iam.simulate_principal_policy(
        PolicySourceArn=role["Arn"],
        ActionNames=["s3:GetObject"],
        ResourceArns=["arn:aws:s3:::data/blue/x", "arn:aws:s3:::data/red/x", OBJECT],
    )
    assert [it["EvalDecision"] for it in answer["EvaluationResults"]] == ["allowed", "implicitDeny", "explicitDeny"]
    first, _, third = answer["EvaluationResults"]
    assert first["MatchedStatements"][0]["SourcePolicyType"] == "role"
    assert third["MatchedStatements"][0]["SourcePolicyId"] == "simulated-deny"
    # The boundary of the role counts.
    iam.put_role_permissions_boundary(RoleName="simulated", PermissionsBoundary=arn)
    answer = iam.simulate_principal_policy(
        PolicySourceArn=role["Arn"], ActionNames=["s3:GetObject"], ResourceArns=["arn:aws:s3:::data/blue/x"]
    )
    assert decisions(answer) == [("s3:GetObject", "implicitDeny")]
    iam.delete_role_permissions_boundary(RoleName="simulated")
    iam.detach_role_policy(RoleName="simulated", PolicyArn=arn)
    iam.delete_policy(PolicyArn=arn)
    unknown = f"arn:aws:iam::{ACCOUNT}:role/nobody"
    refused("NoSuchEntity", iam.simulate_principal_policy, PolicySourceArn=unknown, ActionNames=["s3:GetObject"])


def test_a_policy_of_aws_is_simulated_if_its_text_is_known(client, role):
    iam = client("iam")
    iam.attach_role_policy(RoleName="simulated", PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess")
    answer = iam.simulate_principal_policy(PolicySourceArn=role["Arn"], ActionNames=["s3:GetObject"])
    assert decisions(answer) == [("s3:GetObject", "allowed")]


def test_the_number_of_decisions_is_limited(client):
    actions = [f"s3:Get{number}" for number in range(100)]
    arns = [f"arn:aws:s3:::b/{number}" for number in range(51)]
    call = client("iam").simulate_custom_policy
    message = refused("InvalidInput", call, PolicyInputList=[document(allow("s3:*"))], ActionNames=actions, ResourceArns=arns)
    assert "5000 decisions" in message


def test_simulations_are_paged_and_checked(client):
    iam = client("iam")
    arguments = {"PolicyInputList": [document(allow("s3:*"))], "ActionNames": ["s3:GetObject", "ec2:RunInstances"]}
    pages = iam.get_paginator("simulate_custom_policy").paginate(**arguments, PaginationConfig={"PageSize": 1})
    found = [decisions(page) for page in pages]
    assert found == [[("s3:GetObject", "allowed")], [("ec2:RunInstances", "implicitDeny")]]
    broken = {**arguments, "PolicyInputList": [document({**allow("s3:*"), "Condition": {"Like": {"a": "b"}}})]}
    message = refused("InvalidInput", iam.simulate_custom_policy, **broken)
    assert "Invalid Condition type : Like" in message
    refused("InvalidInput", iam.simulate_custom_policy, PolicyInputList=["{"], ActionNames=["s3:GetObject"])
    message = refused("NotImplemented", iam.simulate_custom_policy, **arguments, ResourceHandlingOption="EC2-VPC-EBS")
    assert "ResourceHandlingOption" in message


def test_permissions_boundaries(client, role):
    iam = client("iam")
    missing = f"arn:aws:iam::{ACCOUNT}:policy/missing"
    trust = json.dumps(TRUST)
    message = refused(
        "NoSuchEntity",
        iam.create_role,
        RoleName="bounded",
        AssumeRolePolicyDocument=trust,
        PermissionsBoundary=missing,
    )
    assert message == f"Scope ARN: {missing} does not exist or is not attachable."
    arn = iam.create_policy(PolicyName="limit", PolicyDocument=document(allow("s3:*")))["Policy"]["Arn"]
    iam.create_role(RoleName="bounded", AssumeRolePolicyDocument=trust, PermissionsBoundary=arn)
    boundary = iam.get_role(RoleName="bounded")["Role"]["PermissionsBoundary"]
    assert boundary["PermissionsBoundaryArn"] == arn
    assert iam.get_policy(PolicyArn=arn)["Policy"]["PermissionsBoundaryUsageCount"] == 1
    refused("DeleteConflict", iam.delete_policy, PolicyArn=arn)
    iam.delete_role_permissions_boundary(RoleName="bounded")
    assert "PermissionsBoundary" not in iam.get_role(RoleName="bounded")["Role"]
    refused("NoSuchEntity", iam.put_role_permissions_boundary, RoleName="bounded", PermissionsBoundary=missing)
    iam.put_role_permissions_boundary(RoleName="bounded", PermissionsBoundary=arn)
    assert iam.get_role(RoleName="bounded")["Role"]["PermissionsBoundary"] == boundary
    iam.delete_role(RoleName="bounded")
    iam.delete_policy(PolicyArn=arn)


def test_a_stack_sets_changes_and_removes_a_boundary(client):
    cloudformation, iam = client("cloudformation"), client("iam")

    def template(boundary):
        properties = {"RoleName": "stack-bounded", "AssumeRolePolicyDocument": TRUST}
        if boundary:
            properties["PermissionsBoundary"] = {"Ref": boundary}
        limit = {"PolicyDocument": json.loads(document(allow("s3:*")))}
        resources = {name: {"Type": "AWS::IAM::ManagedPolicy", "Properties": limit} for name in ("One", "Two")}
        resources["Role"] = {"Type": "AWS::IAM::Role", "Properties": properties}
        return json.dumps({"Resources": resources})

    def boundary():
        role = iam.get_role(RoleName="stack-bounded")["Role"]
        return role.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn", "")

    more = {"StackName": "bounded", "Capabilities": ["CAPABILITY_NAMED_IAM"]}
    cloudformation.create_stack(TemplateBody=template("One"), **more)
    cloudformation.get_waiter("stack_create_complete").wait(StackName="bounded", WaiterConfig={"Delay": 1})
    assert "One" in boundary()
    for name in ("Two", None):
        cloudformation.update_stack(TemplateBody=template(name), **more)
        cloudformation.get_waiter("stack_update_complete").wait(StackName="bounded", WaiterConfig={"Delay": 1})
        assert "Two" in boundary() if name else boundary() == ""
    cloudformation.delete_stack(StackName="bounded")
    cloudformation.get_waiter("stack_delete_complete").wait(StackName="bounded", WaiterConfig={"Delay": 1})
