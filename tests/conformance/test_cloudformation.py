"""CloudFormation: stacks, change sets, rollback, exports, and rejected requests."""

import json
import subprocess
import time
import uuid

import pytest
from botocore.exceptions import ClientError


@pytest.fixture
def cfn(client):
    return client("cloudformation")


@pytest.fixture
def name():
    return f"t{uuid.uuid4().hex[:10]}"


def wait(cfn, stack):
    """Waits until the stack is idle, and returns it."""
    for _ in range(600):
        found = cfn.describe_stacks(StackName=stack)["Stacks"][0]
        status = found["StackStatus"]
        if not status.endswith("_IN_PROGRESS") or status == "REVIEW_IN_PROGRESS":
            return found
        time.sleep(0.05)
    raise AssertionError(status)


def changed(cfn, stack, change_set):
    for _ in range(600):
        found = cfn.describe_change_set(StackName=stack, ChangeSetName=change_set)
        if found["Status"] not in ("CREATE_PENDING", "CREATE_IN_PROGRESS"):
            return found
        time.sleep(0.05)
    raise AssertionError(found)


def system_tags(name, stack_id, logical):
    """Returns the tags that CloudFormation adds to a resource."""
    return {
        "aws:cloudformation:stack-name": name,
        "aws:cloudformation:stack-id": stack_id,
        "aws:cloudformation:logical-id": logical,
    }


def code(error):
    return error.value.response["Error"]["Code"], error.value.response["Error"]["Message"]


def buckets(name, **properties):
    return json.dumps(
        {
            "Description": "one bucket",
            "Parameters": {"Env": {"Type": "String", "Default": "dev", "AllowedValues": ["dev", "prod"]}},
            "Resources": {
                "Bucket": {
                    "Type": "AWS::S3::Bucket",
                    "Properties": {"BucketName": {"Fn::Sub": name + "-${Env}"}, **properties},
                }
            },
            "Outputs": {"Bucket": {"Value": {"Ref": "Bucket"}}, "Arn": {"Value": {"Fn::GetAtt": ["Bucket", "Arn"]}}},
        }
    )


@pytest.fixture
def stack(cfn, name):
    """Creates a stack with one bucket, by a change set; returns the stack's id."""
    made = cfn.create_change_set(
        StackName=name, ChangeSetName="first", ChangeSetType="CREATE", TemplateBody=buckets(name)
    )
    changed(cfn, name, "first")
    cfn.execute_change_set(ChangeSetName=made["Id"])
    assert wait(cfn, name)["StackStatus"] == "CREATE_COMPLETE"
    return made["StackId"]


def test_a_stack_is_created_from_a_change_set(cfn, client, name):
    s3 = client("s3")
    made = cfn.create_change_set(
        StackName=name,
        ChangeSetName="first",
        ChangeSetType="CREATE",
        TemplateBody=buckets(name),
        Tags=[{"Key": "team", "Value": "ml"}],
    )
    assert cfn.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"] == "REVIEW_IN_PROGRESS"
    first = changed(cfn, name, "first")
    assert (first["Status"], first["ExecutionStatus"]) == ("CREATE_COMPLETE", "AVAILABLE")
    assert [c["ResourceChange"]["Action"] for c in first["Changes"]] == ["Add"]
    assert [s["ChangeSetName"] for s in cfn.list_change_sets(StackName=name)["Summaries"]] == ["first"]
    cfn.execute_change_set(ChangeSetName=made["Id"])
    stack = wait(cfn, name)
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    assert stack["StackId"] == made["StackId"]
    outputs = {o["OutputKey"]: o["OutputValue"] for o in stack["Outputs"]}
    assert outputs == {"Bucket": f"{name}-dev", "Arn": f"arn:aws:s3:::{name}-dev"}
    tags = {t["Key"]: t["Value"] for t in s3.get_bucket_tagging(Bucket=f"{name}-dev")["TagSet"]}
    assert tags == {"team": "ml", **system_tags(name, made["StackId"], "Bucket")}
    assert cfn.describe_change_set(ChangeSetName=made["Id"])["ExecutionStatus"] == "EXECUTE_COMPLETE"


def test_a_change_set_without_changes_fails(cfn, stack, name):
    cfn.create_change_set(StackName=name, ChangeSetName="same", TemplateBody=buckets(name))
    same = changed(cfn, name, "same")
    assert same["Status"] == "FAILED"
    assert "didn't contain changes" in same["StatusReason"]
    cfn.delete_change_set(StackName=name, ChangeSetName="same")
    with pytest.raises(ClientError) as error:
        cfn.describe_change_set(StackName=name, ChangeSetName="same")
    assert code(error)[0] in ("ChangeSetNotFound", "ChangeSetNotFoundException")
    with pytest.raises(ClientError) as error:
        cfn.update_stack(StackName=name, UsePreviousTemplate=True)
    assert code(error) == ("ValidationError", "No updates are to be performed.")


def test_an_update_in_place(cfn, client, stack, name):
    s3 = client("s3")
    versioned = buckets(name, VersioningConfiguration={"Status": "Enabled"})
    cfn.create_change_set(StackName=name, ChangeSetName="versions", TemplateBody=versioned)
    change = changed(cfn, name, "versions")["Changes"][0]["ResourceChange"]
    assert (change["Action"], change["Replacement"], change["Scope"]) == ("Modify", "False", ["Properties"])
    assert change["PhysicalResourceId"] == f"{name}-dev"
    assert change["Details"][0]["Target"]["Name"] == "VersioningConfiguration"
    assert change["Details"][0]["ChangeSource"] == "DirectModification"
    cfn.execute_change_set(StackName=name, ChangeSetName="versions")
    assert wait(cfn, name)["StackStatus"] == "UPDATE_COMPLETE"
    assert s3.get_bucket_versioning(Bucket=f"{name}-dev")["Status"] == "Enabled"


def test_a_replacement(cfn, client, stack, name):
    s3 = client("s3")
    cfn.create_change_set(
        StackName=name,
        ChangeSetName="prod",
        UsePreviousTemplate=True,
        Parameters=[{"ParameterKey": "Env", "ParameterValue": "prod"}],
    )
    change = changed(cfn, name, "prod")["Changes"][0]["ResourceChange"]
    assert change["Replacement"] == "True"
    assert change["Details"][0]["Target"]["RequiresRecreation"] == "Always"
    assert change["Details"][0]["CausingEntity"] == "Env"
    cfn.execute_change_set(StackName=name, ChangeSetName="prod")
    stack = wait(cfn, name)
    assert stack["Outputs"][0]["OutputValue"] == f"{name}-prod"
    with pytest.raises(ClientError):
        s3.head_bucket(Bucket=f"{name}-dev")
    events = cfn.describe_stack_events(StackName=name)["StackEvents"]
    statuses = [(e["LogicalResourceId"], e["ResourceStatus"]) for e in reversed(events)]
    tail = statuses[statuses.index((name, "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS")):]
    assert tail[0] == (name, "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS")
    assert statuses[-4:] == [
        (name, "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS"),
        ("Bucket", "DELETE_IN_PROGRESS"),
        ("Bucket", "DELETE_COMPLETE"),
        (name, "UPDATE_COMPLETE"),
    ]


def test_a_protected_stack_is_not_deleted(cfn, stack, name):
    cfn.update_termination_protection(StackName=name, EnableTerminationProtection=True)
    with pytest.raises(ClientError) as error:
        cfn.delete_stack(StackName=name)
    assert "TerminationProtection is enabled" in code(error)[1]


def test_a_stack_is_deleted(cfn, client, stack, name):
    s3 = client("s3")
    cfn.update_termination_protection(StackName=name, EnableTerminationProtection=True)
    cfn.update_termination_protection(StackName=name, EnableTerminationProtection=False)
    cfn.delete_stack(StackName=name)
    assert wait(cfn, stack)["StackStatus"] == "DELETE_COMPLETE"
    with pytest.raises(ClientError) as error:
        cfn.describe_stacks(StackName=name)
    assert code(error) == ("ValidationError", f"Stack with id {name} does not exist")
    with pytest.raises(ClientError):
        s3.head_bucket(Bucket=f"{name}-dev")
    gone = cfn.list_stacks(StackStatusFilter=["DELETE_COMPLETE"])["StackSummaries"]
    assert name in [s["StackName"] for s in gone]


def test_a_failed_creation_is_rolled_back(cfn, client, name):
    template = f"""
Resources:
  Bucket:
    Type: AWS::S3::Bucket
    Properties: {{BucketName: {name}-good}}
  Policy:
    Type: AWS::S3::BucketPolicy
    DependsOn: Bucket
    Properties:
      Bucket: {name}-missing
      PolicyDocument: {{Version: 2012-10-17, Statement: []}}
"""
    stack = cfn.create_stack(StackName=name, TemplateBody=template)["StackId"]
    found = wait(cfn, name)
    assert found["StackStatus"] == "ROLLBACK_COMPLETE"
    events = list(reversed(cfn.describe_stack_events(StackName=name)["StackEvents"]))
    failed = [e for e in events if e["ResourceStatus"] == "CREATE_FAILED"]
    assert [e["LogicalResourceId"] for e in failed] == ["Policy"]
    assert "The specified bucket does not exist" in failed[0]["ResourceStatusReason"]
    rollback = [e for e in events if e["ResourceStatus"] == "ROLLBACK_IN_PROGRESS"][0]
    assert rollback["ResourceStatusReason"] == (
        "The following resource(s) failed to create: [Policy]. Rollback requested by user."
    )
    assert ("Bucket", "CREATE_IN_PROGRESS", "Resource creation Initiated") in [
        (e["LogicalResourceId"], e["ResourceStatus"], e.get("ResourceStatusReason")) for e in events
    ]
    with pytest.raises(ClientError):
        client("s3").head_bucket(Bucket=f"{name}-good")
    with pytest.raises(ClientError) as error:
        cfn.update_stack(StackName=name, TemplateBody=template)
    assert "is in ROLLBACK_COMPLETE state and can not be updated." in code(error)[1]
    cfn.delete_stack(StackName=name)
    assert wait(cfn, stack)["StackStatus"] == "DELETE_COMPLETE"


def test_a_failure_can_be_kept_or_deleted(cfn, client, name):
    template = json.dumps(
        {
            "Resources": {
                "Group": {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": f"/{name}"}},
                "Bad": {
                    "Type": "AWS::S3::Bucket",
                    "DependsOn": ["Group"],
                    "Properties": {"BucketName": "Not_A_Bucket"},
                },
            }
        }
    )
    cfn.create_stack(StackName=name, TemplateBody=template, OnFailure="DO_NOTHING")
    assert wait(cfn, name)["StackStatus"] == "CREATE_FAILED"
    groups = client("logs").describe_log_groups(logGroupNamePrefix=f"/{name}")["logGroups"]
    assert [g["logGroupName"] for g in groups] == [f"/{name}"]
    states = {r["LogicalResourceId"]: r["ResourceStatus"] for r in cfn.list_stack_resources(StackName=name)["StackResourceSummaries"]}
    assert states == {"Group": "CREATE_COMPLETE", "Bad": "CREATE_FAILED"}
    cfn.delete_stack(StackName=name)
    other = cfn.create_stack(StackName=f"{name}-2", TemplateBody=template, OnFailure="DELETE")["StackId"]
    assert wait(cfn, other)["StackStatus"] == "DELETE_COMPLETE"


def test_a_failed_update_is_rolled_back(cfn, client, name):
    logs = client("logs")

    def template(days, bucket):
        resources = {
            "Group": {
                "Type": "AWS::Logs::LogGroup",
                "Properties": {"LogGroupName": f"/{name}", "RetentionInDays": days},
            },
            "Other": {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": f"/{name}-other-{days}"}},
        }
        if bucket:
            resources["New"] = {"Type": "AWS::CloudFormation::WaitConditionHandle", "DependsOn": "Other"}
            resources["Bad"] = {
                "Type": "AWS::S3::Bucket",
                "DependsOn": ["Group", "New"],
                "Properties": {"BucketName": bucket},
            }
        return json.dumps({"Resources": resources, "Outputs": {"Days": {"Value": days}}})

    cfn.create_stack(StackName=name, TemplateBody=template("7", None))
    assert wait(cfn, name)["StackStatus"] == "CREATE_COMPLETE"
    before = cfn.get_template(StackName=name)["TemplateBody"]
    cfn.update_stack(StackName=name, TemplateBody=template("14", "Not_A_Bucket"))
    stack = wait(cfn, name)
    assert stack["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    assert stack["Outputs"][0]["OutputValue"] == "7"
    assert cfn.get_template(StackName=name)["TemplateBody"] == before
    groups = logs.describe_log_groups(logGroupNamePrefix=f"/{name}")["logGroups"]
    assert [(g["logGroupName"], g.get("retentionInDays")) for g in groups] == [
        (f"/{name}", 7),
        (f"/{name}-other-7", None),
    ]
    resources = cfn.describe_stack_resources(StackName=name)["StackResources"]
    assert sorted((r["LogicalResourceId"], r["PhysicalResourceId"]) for r in resources) == [
        ("Group", f"/{name}"),
        ("Other", f"/{name}-other-7"),
    ]
    statuses = [
        (e["LogicalResourceId"], e["ResourceStatus"])
        for e in reversed(cfn.describe_stack_events(StackName=name)["StackEvents"])
    ]
    for expected in [
        (name, "UPDATE_ROLLBACK_IN_PROGRESS"),
        ("Bad", "CREATE_FAILED"),
        (name, "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS"),
        ("New", "DELETE_COMPLETE"),
    ]:
        assert expected in statuses
    with pytest.raises(ClientError) as error:
        cfn.continue_update_rollback(StackName=name)
    assert code(error)[0] == "ValidationError"
    cfn.delete_stack(StackName=name)


def test_exports_and_imports(cfn, name):
    exporter = json.dumps(
        {
            "Resources": {"H": {"Type": "AWS::CloudFormation::WaitConditionHandle"}},
            "Outputs": {"H": {"Value": {"Ref": "H"}, "Export": {"Name": {"Fn::Sub": "${AWS::StackName}-H"}}}},
        }
    )
    importer = json.dumps(
        {
            "Resources": {"H": {"Type": "AWS::CloudFormation::WaitConditionHandle"}},
            "Outputs": {"Got": {"Value": {"Fn::ImportValue": f"{name}-H"}}},
        }
    )
    first = cfn.create_stack(StackName=name, TemplateBody=exporter)["StackId"]
    handle = wait(cfn, name)["Outputs"][0]["OutputValue"]
    exports = {e["Name"]: (e["Value"], e["ExportingStackId"]) for e in cfn.list_exports()["Exports"]}
    assert exports[f"{name}-H"] == (handle, first)
    with pytest.raises(ClientError):
        cfn.list_imports(ExportName=f"{name}-H")
    second = cfn.create_stack(StackName=f"{name}-2", TemplateBody=importer)["StackId"]
    assert wait(cfn, second)["Outputs"][0]["OutputValue"] == handle
    assert cfn.list_imports(ExportName=f"{name}-H")["Imports"] == [f"{name}-2"]
    cfn.delete_stack(StackName=name)
    blocked = wait(cfn, first)
    assert blocked["StackStatus"] == "DELETE_FAILED"
    assert f"as it is in use by {name}-2" in blocked["StackStatusReason"]
    cfn.delete_stack(StackName=f"{name}-2")
    assert wait(cfn, second)["StackStatus"] == "DELETE_COMPLETE"
    cfn.delete_stack(StackName=name)
    assert wait(cfn, first)["StackStatus"] == "DELETE_COMPLETE"


def test_requests_that_are_rejected_immediately(cfn, name):
    def create(template, **kwargs):
        with pytest.raises(ClientError) as error:
            cfn.create_stack(StackName=name, TemplateBody=template, **kwargs)
        return code(error)

    handle = "Resources: {H: {Type: 'AWS::CloudFormation::WaitConditionHandle'}}\n"
    assert "Unrecognized resource types: [AWS::RDS::DBInstance]" in create("Resources: {F: {Type: 'AWS::RDS::DBInstance'}}")[1]
    assert create(handle + "Parameters: {P: {Type: String}}") == ("ValidationError", "Parameters: [P] must have values")
    limited = handle + "Parameters: {P: {Type: Number, MaxValue: 3, Default: 9}}"
    assert create(limited) == ("ValidationError", "Parameter 'P' must be a number not greater than 3")
    unknown = [{"ParameterKey": "Q", "ParameterValue": "x"}]
    assert create(handle, Parameters=unknown)[1] == "Parameters: [Q] do not exist in the template"
    role = "Resources: {R: {Type: 'AWS::IAM::Role', Properties: {AssumeRolePolicyDocument: {}}}}"
    assert create(role) == ("InsufficientCapabilitiesException", "Requires capabilities : [CAPABILITY_IAM]")
    circle = "Resources: {A: {Type: 'AWS::CloudFormation::WaitConditionHandle', DependsOn: B}, B: {Type: 'AWS::CloudFormation::WaitConditionHandle', DependsOn: A}}"
    assert create(circle)[1] == "Circular dependency between resources: [A, B]"
    assert "[Nope]" in create(handle + "Outputs: {O: {Value: !Ref Nope}}")[1]
    assert create(handle, RoleARN="arn:aws:iam::000000000000:role/nobody-has-it")[0] == "ValidationError"
    for ignored in (
        {"TimeoutInMinutes": 5},
        {"NotificationARNs": ["arn:aws:sns:us-east-1:000000000000:topic"]},
        {"ResourceTypes": ["AWS::S3::*"]},
        {"StackPolicyURL": "https://s3.amazonaws.com/bucket/policy"},
        {"RetainExceptOnCreate": True},
    ):
        refused, message = create(handle, **ignored)
        assert refused == "NotImplemented" and next(iter(ignored)) in message
    with pytest.raises(ClientError) as error:
        cfn.delete_stack(StackName=name, DeletionMode="FORCE_DELETE_STACK")
    assert code(error)[0] == "NotImplemented"
    with pytest.raises(ClientError) as error:
        cfn.create_stack(StackName="-bad-", TemplateBody=handle)
    assert code(error)[0] == "ValidationError"
    assert cfn.list_stacks(StackStatusFilter=["CREATE_IN_PROGRESS"])["StackSummaries"] == []


def test_a_token_appears_in_events_and_makes_creation_idempotent(cfn, name):
    handle = "Resources: {H: {Type: 'AWS::CloudFormation::WaitConditionHandle'}}\n"
    request = {"StackName": name, "TemplateBody": handle, "ClientRequestToken": "first-1"}
    made = cfn.create_stack(**request, NotificationARNs=[], RetainExceptOnCreate=False)["StackId"]
    assert cfn.create_stack(**request)["StackId"] == made
    with pytest.raises(ClientError) as error:
        cfn.create_stack(**{**request, "ClientRequestToken": "second-2"})
    assert code(error)[0] == "AlreadyExistsException"
    assert wait(cfn, made)["StackStatus"] == "CREATE_COMPLETE"
    events = cfn.describe_stack_events(StackName=made)["StackEvents"]
    assert {event["ClientRequestToken"] for event in events} == {"first-1"}
    cfn.delete_stack(StackName=name, ClientRequestToken="third-3")
    assert wait(cfn, made)["StackStatus"] == "DELETE_COMPLETE"
    events = cfn.describe_stack_events(StackName=made)["StackEvents"]
    tokens = {event["ResourceStatus"].split("_")[0]: event["ClientRequestToken"] for event in events}
    assert tokens == {"CREATE": "first-1", "DELETE": "third-3"}


def test_templates_are_described(cfn, name):
    template = """
Description: a secret
Parameters:
  Secret: {Type: String, NoEcho: true, Default: s3cret}
  Size: {Type: Number, Default: 3, Description: how many}
Resources:
  Handle: {Type: 'AWS::CloudFormation::WaitConditionHandle'}
  Role: {Type: 'AWS::IAM::Role', Properties: {RoleName: r, AssumeRolePolicyDocument: {}}}
"""
    shown = cfn.validate_template(TemplateBody=template)
    assert shown["Description"] == "a secret"
    assert shown["Capabilities"] == ["CAPABILITY_NAMED_IAM"]
    assert [(p["ParameterKey"], p["NoEcho"]) for p in shown["Parameters"]] == [("Secret", True), ("Size", False)]
    summary = cfn.get_template_summary(TemplateBody=template)
    assert summary["ResourceTypes"] == ["AWS::CloudFormation::WaitConditionHandle", "AWS::IAM::Role"]
    assert summary["Parameters"][1]["ParameterType"] == "Number"
    only = "Parameters: {Secret: {Type: String, NoEcho: true}}\nResources: {Handle: {Type: 'AWS::CloudFormation::WaitConditionHandle'}}"
    given = [{"ParameterKey": "Secret", "ParameterValue": "abc"}]
    cfn.create_stack(StackName=name, TemplateBody=only, Parameters=given)
    assert wait(cfn, name)["Parameters"] == [{"ParameterKey": "Secret", "ParameterValue": "****"}]
    detail = cfn.describe_stack_resource(StackName=name, LogicalResourceId="Handle")["StackResourceDetail"]
    assert detail["ResourceStatus"] == "CREATE_COMPLETE"
    assert detail["PhysicalResourceId"].startswith("http")
    with pytest.raises(ClientError) as error:
        cfn.create_stack(StackName=name, TemplateBody=only, Parameters=given)
    assert code(error)[0] == "AlreadyExistsException"
    cfn.delete_stack(StackName=name)


def test_an_unknown_property_fails_the_resource(cfn, name):
    template = "Resources: {B: {Type: 'AWS::S3::Bucket', Properties: {Bucketname: x}}}"
    cfn.create_stack(StackName=name, TemplateBody=template, DisableRollback=True)
    assert wait(cfn, name)["StackStatus"] == "CREATE_FAILED"
    events = cfn.describe_stack_events(StackName=name)["StackEvents"]
    reasons = [e.get("ResourceStatusReason", "") for e in events]
    assert any("extraneous key [Bucketname] is not permitted" in reason for reason in reasons)
    cfn.delete_stack(StackName=name)


NETWORK = """
Parameters:
  Retained: {Type: String, Default: 'no'}
Resources:
  Vpc:
    Type: AWS::EC2::VPC
    Properties:
      CidrBlock: 10.0.0.0/16
      EnableDnsSupport: true
      EnableDnsHostnames: true
      Tags: [{Key: Name, Value: !Ref 'AWS::StackName'}]
  Public:
    Type: AWS::EC2::Subnet
    Properties:
      VpcId: !Ref Vpc
      CidrBlock: !Select [0, !Cidr [!GetAtt Vpc.CidrBlock, 2, 8]]
      AvailabilityZone: !Select [0, !GetAZs '']
      MapPublicIpOnLaunch: true
  Private:
    Type: AWS::EC2::Subnet
    Properties:
      VpcId: !Ref Vpc
      CidrBlock: !Select [1, !Cidr [!GetAtt Vpc.CidrBlock, 2, 8]]
      AvailabilityZone: !Select [1, !GetAZs '']
  Gateway: {Type: 'AWS::EC2::InternetGateway'}
  Attachment:
    Type: AWS::EC2::VPCGatewayAttachment
    Properties: {VpcId: !Ref Vpc, InternetGatewayId: !Ref Gateway}
  Address:
    Type: AWS::EC2::EIP
    DependsOn: Attachment
    Properties: {Domain: vpc}
  Nat:
    Type: AWS::EC2::NatGateway
    Properties: {SubnetId: !Ref Public, AllocationId: !GetAtt Address.AllocationId}
  PublicTable: {Type: 'AWS::EC2::RouteTable', Properties: {VpcId: !Ref Vpc}}
  PrivateTable: {Type: 'AWS::EC2::RouteTable', Properties: {VpcId: !Ref Vpc}}
  Out:
    Type: AWS::EC2::Route
    DependsOn: Attachment
    Properties: {RouteTableId: !Ref PublicTable, DestinationCidrBlock: 0.0.0.0/0, GatewayId: !Ref Gateway}
  OutPrivate:
    Type: AWS::EC2::Route
    Properties: {RouteTableId: !Ref PrivateTable, DestinationCidrBlock: 0.0.0.0/0, NatGatewayId: !Ref Nat}
  Joined:
    Type: AWS::EC2::SubnetRouteTableAssociation
    Properties: {RouteTableId: !Ref PrivateTable, SubnetId: !Ref Private}
  Group:
    Type: AWS::EC2::SecurityGroup
    Properties:
      GroupDescription: jobs
      VpcId: !Ref Vpc
      SecurityGroupIngress: [{IpProtocol: tcp, FromPort: 443, ToPort: 443, CidrIp: 10.0.0.0/16}]
  Self:
    Type: AWS::EC2::SecurityGroupIngress
    Properties: {GroupId: !Ref Group, IpProtocol: -1, SourceSecurityGroupId: !Ref Group}
  Down:
    Type: AWS::EC2::SecurityGroupEgress
    Properties: {GroupId: !Ref Group, IpProtocol: tcp, FromPort: 80, ToPort: 80, CidrIp: 10.1.0.0/16}
  S3:
    Type: AWS::EC2::VPCEndpoint
    Properties:
      VpcId: !Ref Vpc
      ServiceName: !Sub 'com.amazonaws.${AWS::Region}.s3'
      VpcEndpointType: Gateway
      RouteTableIds: [!Ref PrivateTable]
Outputs:
  VpcId: {Value: !Ref Vpc}
  Subnets: {Value: !Join [',', [!Ref Public, !Ref Private]]}
  Group: {Value: !GetAtt Group.GroupId}
"""


def test_a_network(cfn, client, name):
    ec2 = client("ec2")
    stack_id = cfn.create_stack(StackName=name, TemplateBody=NETWORK)["StackId"]
    stack = wait(cfn, name)
    reasons = [e["ResourceStatusReason"] for e in cfn.describe_stack_events(StackName=name)["StackEvents"] if e["ResourceStatus"].endswith("_FAILED")]
    assert stack["StackStatus"] == "CREATE_COMPLETE", reasons
    outputs = {o["OutputKey"]: o["OutputValue"] for o in stack["Outputs"]}
    subnets = ec2.describe_subnets(SubnetIds=outputs["Subnets"].split(","))["Subnets"]
    assert sorted((s["CidrBlock"], s["AvailabilityZone"], s["MapPublicIpOnLaunch"]) for s in subnets) == [
        ("10.0.0.0/24", "us-east-1a", True),
        ("10.0.1.0/24", "us-east-1b", False),
    ]
    group = ec2.describe_security_groups(GroupIds=[outputs["Group"]])["SecurityGroups"][0]
    assert len(group["IpPermissions"]) == 2
    vpc = ec2.describe_vpcs(VpcIds=[outputs["VpcId"]])["Vpcs"][0]
    assert {"Key": "Name", "Value": name} in vpc["Tags"]
    cfn.delete_stack(StackName=name)
    gone = wait(cfn, stack_id)
    reasons = [
        (e["LogicalResourceId"], e.get("ResourceStatusReason"))
        for e in cfn.describe_stack_events(StackName=stack_id)["StackEvents"]
        if e["ResourceStatus"] == "DELETE_FAILED"
    ]
    assert gone["StackStatus"] == "DELETE_COMPLETE", reasons


PLATFORM = """
Parameters: {Name: {Type: String}, Days: {Type: Number, Default: 30}}
Resources:
  Key:
    Type: AWS::KMS::Key
    Properties: {Description: data, EnableKeyRotation: true, PendingWindowInDays: 7}
  Alias:
    Type: AWS::KMS::Alias
    Properties: {AliasName: !Sub 'alias/${Name}', TargetKeyId: !Ref Key}
  Data:
    Type: AWS::S3::Bucket
    Properties:
      BucketEncryption:
        ServerSideEncryptionConfiguration:
          - ServerSideEncryptionByDefault: {SSEAlgorithm: 'aws:kms', KMSMasterKeyID: !GetAtt Key.Arn}
            BucketKeyEnabled: true
      PublicAccessBlockConfiguration:
        {BlockPublicAcls: true, BlockPublicPolicy: true, IgnorePublicAcls: true, RestrictPublicBuckets: true}
      LifecycleConfiguration:
        Rules: [{Id: old, Status: Enabled, Prefix: snapshots/, ExpirationInDays: !Ref Days}]
  DataPolicy:
    Type: AWS::S3::BucketPolicy
    Properties:
      Bucket: !Ref Data
      PolicyDocument:
        Version: 2012-10-17
        Statement:
          - Effect: Deny
            Principal: '*'
            Action: 's3:*'
            Resource: !Sub '${Data.Arn}/*'
            Condition: {Bool: {'aws:SecureTransport': 'false'}}
  Role:
    Type: AWS::IAM::Role
    Properties:
      AssumeRolePolicyDocument:
        Version: 2012-10-17
        Statement: [{Effect: Allow, Principal: {Service: sagemaker.amazonaws.com}, Action: 'sts:AssumeRole'}]
      Policies:
        - PolicyName: data
          PolicyDocument:
            Version: 2012-10-17
            Statement: [{Effect: Allow, Action: 's3:GetObject', Resource: !Sub '${Data.Arn}/*'}]
  More:
    Type: AWS::IAM::Policy
    Properties:
      PolicyName: more
      Roles: [!Ref Role]
      PolicyDocument:
        Version: 2012-10-17
        Statement: [{Effect: Allow, Action: 'logs:*', Resource: '*'}]
  Managed:
    Type: AWS::IAM::ManagedPolicy
    Properties:
      Roles: [!Ref Role]
      PolicyDocument:
        Version: 2012-10-17
        Statement: [{Effect: Allow, Action: 'ecr:*', Resource: '*'}]
  Images:
    Type: AWS::ECR::Repository
    Properties:
      RepositoryName: !Ref Name
      ImageTagMutability: IMMUTABLE
      ImageScanningConfiguration: {ScanOnPush: 'true'}
  Code:
    Type: AWS::CodeCommit::Repository
    Properties: {RepositoryName: !Ref Name, RepositoryDescription: code}
  Group:
    Type: AWS::Logs::LogGroup
    DeletionPolicy: Retain
    Properties: {RetentionInDays: 7, LogGroupName: !Sub '/kept/${Name}'}
Outputs:
  Bucket: {Value: !Ref Data}
  RoleArn: {Value: !GetAtt Role.Arn}
  Uri: {Value: !GetAtt Images.RepositoryUri}
  Clone: {Value: !GetAtt Code.CloneUrlHttp}
  Managed: {Value: !Ref Managed}
"""


def test_a_platform(cfn, client, name):
    given = [{"ParameterKey": "Name", "ParameterValue": name}]
    stack_id = cfn.create_stack(
        StackName=name, TemplateBody=PLATFORM, Parameters=given, Capabilities=["CAPABILITY_IAM"]
    )["StackId"]
    stack = wait(cfn, name)
    reasons = [e["ResourceStatusReason"] for e in cfn.describe_stack_events(StackName=name)["StackEvents"] if e["ResourceStatus"].endswith("_FAILED")]
    assert stack["StackStatus"] == "CREATE_COMPLETE", reasons
    outputs = {o["OutputKey"]: o["OutputValue"] for o in stack["Outputs"]}
    assert outputs["Bucket"].startswith(f"{name}-data-")
    s3, iam, ecr = client("s3"), client("iam"), client("ecr")
    rule = s3.get_bucket_lifecycle_configuration(Bucket=outputs["Bucket"])["Rules"][0]
    assert (rule["ID"], rule["Expiration"]["Days"]) == ("old", 30)
    assert "aws:SecureTransport" in s3.get_bucket_policy(Bucket=outputs["Bucket"])["Policy"]
    role = outputs["RoleArn"].split("/")[-1]
    assert sorted(iam.list_role_policies(RoleName=role)["PolicyNames"]) == ["data", "more"]
    attached = iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
    assert [p["PolicyArn"] for p in attached] == [outputs["Managed"]]
    found = ecr.describe_repositories(repositoryNames=[name])["repositories"][0]
    assert found["repositoryUri"] == outputs["Uri"]
    assert found["imageTagMutability"] == "IMMUTABLE"

    given.append({"ParameterKey": "Days", "ParameterValue": "9"})
    changed_template = PLATFORM.replace("IMMUTABLE", "MUTABLE").replace("'logs:*'", "'logs:PutLogEvents'").replace("'ecr:*'", "'ecr:Get*'")
    cfn.update_stack(StackName=name, TemplateBody=changed_template, Parameters=given, Capabilities=["CAPABILITY_IAM"])
    stack = wait(cfn, name)
    reasons = [e["ResourceStatusReason"] for e in cfn.describe_stack_events(StackName=name)["StackEvents"] if e["ResourceStatus"].endswith("_FAILED")]
    assert stack["StackStatus"] == "UPDATE_COMPLETE", reasons
    rule = s3.get_bucket_lifecycle_configuration(Bucket=outputs["Bucket"])["Rules"][0]
    assert rule["Expiration"]["Days"] == 9
    found = ecr.describe_repositories(repositoryNames=[name])["repositories"][0]
    assert found["imageTagMutability"] == "MUTABLE"
    policy = iam.get_role_policy(RoleName=role, PolicyName="more")["PolicyDocument"]
    assert policy["Statement"][0]["Action"] == "logs:PutLogEvents"

    cfn.delete_stack(StackName=name)
    gone = wait(cfn, stack_id)
    events = cfn.describe_stack_events(StackName=stack_id)["StackEvents"]
    assert gone["StackStatus"] == "DELETE_COMPLETE", [
        (e["LogicalResourceId"], e.get("ResourceStatusReason")) for e in events if e["ResourceStatus"] == "DELETE_FAILED"
    ]
    assert ("Group", "DELETE_SKIPPED") in [(e["LogicalResourceId"], e["ResourceStatus"]) for e in events]
    groups = client("logs").describe_log_groups(logGroupNamePrefix=f"/kept/{name}")["logGroups"]
    assert len(groups) == 1


def test_a_failed_rollback_can_be_continued(cfn, client, name):
    """The old role is deleted when the update fails, so the pipeline cannot be rolled back to it at first."""
    iam = client("iam")
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
        ],
    }

    def role(which):
        made = iam.create_role(RoleName=f"{name}-{which}", AssumeRolePolicyDocument=json.dumps(trust))
        return made["Role"]["Arn"]

    def template(arn, broken):
        body = {"Version": "2020-12-01", "Steps": [{"Name": "F", "Type": "Fail", "Arguments": {"ErrorMessage": "x"}}]}
        resources = {
            "Pipeline": {
                "Type": "AWS::SageMaker::Pipeline",
                "Properties": {
                    "PipelineName": name,
                    "RoleArn": arn,
                    "PipelineDefinition": {"PipelineDefinitionBody": json.dumps(body)},
                },
            }
        }
        if broken:
            resources["Bad"] = {
                "Type": "AWS::S3::Bucket",
                "DependsOn": "Pipeline",
                "Properties": {"BucketName": "Not_A_Bucket"},
            }
        return json.dumps({"Resources": resources})

    old, new = role("old"), role("new")
    cfn.create_stack(StackName=name, TemplateBody=template(old, False))
    assert wait(cfn, name)["StackStatus"] == "CREATE_COMPLETE"
    iam.delete_role(RoleName=f"{name}-old")
    cfn.update_stack(StackName=name, TemplateBody=template(new, True))
    stack = wait(cfn, name)
    assert stack["StackStatus"] == "UPDATE_ROLLBACK_FAILED"
    assert client("sagemaker").describe_pipeline(PipelineName=name)["RoleArn"] == new
    role("old")
    cfn.continue_update_rollback(StackName=name)
    assert wait(cfn, name)["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    assert client("sagemaker").describe_pipeline(PipelineName=name)["RoleArn"] == old
    cfn.delete_stack(StackName=name)


HANDLE = "AWS::CloudFormation::WaitConditionHandle"
# Issue 8, 3.6. `Made` exists, `Skipped` does not.
SKIPPED = """
Parameters: {Make: {Type: String, Default: 'no'}}
Conditions: {Makes: !Equals [!Ref Make, 'yes']}
Resources:
  Made: {Type: 'AWS::Logs::LogGroup', Properties: {LogGroupName: /NAME}}
  Skipped: {Type: 'AWS::Logs::LogGroup', Condition: Makes, Properties: {LogGroupName: /NAME-skipped}}
"""


def test_3_6_an_output_of_a_skipped_resource(cfn, name):
    template = SKIPPED.replace("NAME", name)
    unconditional = template + "Outputs: {Arn: {Value: !GetAtt Skipped.Arn}}"
    refused = ("ValidationError", "Unresolved resource dependencies [Skipped] in the Outputs block of the template")
    for request in (
        lambda: cfn.create_stack(StackName=name, TemplateBody=unconditional),
        lambda: cfn.create_change_set(
            StackName=name, ChangeSetName="c", ChangeSetType="CREATE", TemplateBody=unconditional
        ),
    ):
        with pytest.raises(ClientError) as error:
            request()
        assert code(error) == refused
    assert cfn.validate_template(TemplateBody=unconditional)["Parameters"][0]["ParameterKey"] == "Make"
    with pytest.raises(ClientError):
        cfn.describe_stacks(StackName=name)

    conditional = template + "Outputs: {Arn: {Condition: Makes, Value: !GetAtt Skipped.Arn}, Made: {Value: !Ref Made}}"
    cfn.create_stack(StackName=name, TemplateBody=conditional)
    stack = wait(cfn, name)
    assert [o["OutputKey"] for o in stack["Outputs"]] == ["Made"]
    with pytest.raises(ClientError) as error:
        cfn.update_stack(StackName=name, TemplateBody=unconditional)
    assert code(error) == refused
    makes = [{"ParameterKey": "Make", "ParameterValue": "yes"}]
    cfn.update_stack(StackName=name, TemplateBody=unconditional, Parameters=makes)
    assert [o["OutputKey"] for o in wait(cfn, name)["Outputs"]] == ["Arn"]

    refers = template + "  User: {Type: 'AWS::Logs::LogGroup', Properties: {LogGroupName: !Sub '${Skipped}-user'}}"
    with pytest.raises(ClientError) as error:
        cfn.create_stack(StackName=f"{name}-2", TemplateBody=refers)
    assert code(error)[1] == (
        "Template format error: Unresolved resource dependencies [Skipped] in the Resources block of the template"
    )
    cfn.delete_stack(StackName=name)


@pytest.mark.parametrize(
    "template, message",
    [
        (
            f"Resources: {{A: {{Type: '{HANDLE}', DependsOn: Nope}}}}",
            "Template format error: Unresolved resource dependencies [Nope] in the Resources block of the template",
        ),
        (
            "Resources: {A: {Type: 'AWS::Logs::LogGroup', Properties: {LogGroupName: !Ref Nope}}}",
            "Template format error: Unresolved resource dependencies [Nope] in the Resources block of the template",
        ),
        (
            f"Resources: {{A: {{Type: '{HANDLE}'}}}}\nOutputs: {{O: {{Value: !Ref Nope}}}}",
            "Unresolved resource dependencies [Nope] in the Outputs block of the template",
        ),
        (
            f"Resources: {{A: {{Type: '{HANDLE}', Condition: Nope}}}}",
            "Template format error: Unresolved condition dependency Nope in the Resources block of the template",
        ),
        (
            f"Resources: {{A: {{Type: '{HANDLE}', DependsOn: B}}, B: {{Type: '{HANDLE}', DependsOn: A}}}}",
            "Circular dependency between resources: [A, B]",
        ),
        (f"Resources: {{A: {{Type: '{HANDLE}', Properties: }}}}", "[/Resources/A/Properties] 'null' values are not allowed in templates"),
        (
            f"Mappings: {{M: {{A: {{B: {{C: d}}}}}}}}\nResources: {{A: {{Type: '{HANDLE}'}}}}",
            "Template format error: Every Mappings attribute must be a String or a List.",
        ),
    ],
)
def test_3_6_validate_template_refuses(cfn, template, message):
    with pytest.raises(ClientError) as error:
        cfn.validate_template(TemplateBody=template)
    assert code(error) == ("ValidationError", message)


GROUP = "Resources: {A: {Type: 'AWS::Logs::LogGroup', Properties: {LogGroupName: %s}}}"


@pytest.mark.parametrize(
    "template, part",
    [
        (f"Parameters: {{P: {{Default: a}}}}\n{GROUP % 'a'}", "must contain a Type member"),
        (f"Parameters: {{P: {{Type: Strin}}}}\n{GROUP % 'a'}", "Unrecognized parameter type: Strin"),
        (f"Parameters: {{P: {{Type: Number, Default: a}}}}\n{GROUP % 'a'}", "must be a number"),
        (f"Parameters: {{P: {{Type: String, Defualt: a}}}}\n{GROUP % 'a'}", "Invalid template parameter property 'Defualt'"),
        (GROUP % "!FindInMap [M, a, b]", "Mapping named 'M' is not present"),
        (f"Mappings: {{N: {{a: {{b: c}}}}}}\n{GROUP % '!FindInMap [M, a, b]'}", "Mapping named 'M' is not present"),
        (f"Mappings: {{M: {{a: {{b: c}}}}}}\n{GROUP % '!FindInMap [M, a, c]'}", "Unable to get mapping for M::a::c"),
        (GROUP % "{'Fn::Nope': a}", "the function Fn::Nope is not known"),
        (GROUP % "!Join [a]", "every Fn::Join object requires"),
        (f"Conditions: {{C: !Not [Condition: C]}}\n{GROUP % 'a'}", "Circular dependency between conditions"),
        (f"{GROUP % 'a'}\nOutputs: {{O: {{Value: [a, b]}}}}", "Output O is malformed"),
        (f"{GROUP % 'a'}\nOutputs: {{O: {{Value: !Split [',', 'a,b']}}}}", "Output O is malformed"),
    ],
)
def test_create_and_validate_reject_the_same_templates(cfn, name, template, part):
    messages = []
    for call, more in [(cfn.validate_template, {}), (cfn.create_stack, {"StackName": name})]:
        with pytest.raises(ClientError) as error:
            call(TemplateBody=template, **more)
        assert code(error)[0] == "ValidationError"
        messages.append(code(error)[1])
    assert part in messages[0] and messages[0] == messages[1]
    assert not messages[0].endswith("..")


def test_a_list_parameter_cannot_be_an_output(cfn, name):
    template = f"Parameters: {{P: {{Type: CommaDelimitedList, Default: 'a,b'}}}}\n{GROUP % name}\n"
    with pytest.raises(ClientError) as error:
        cfn.create_stack(StackName=name, TemplateBody=template + "Outputs: {O: {Value: !Ref P}}")
    assert "Output O is malformed" in code(error)[1]


def test_3_6_a_value_and_the_previous_value(cfn, name):
    template = f"Parameters: {{P: {{Type: String}}}}\nResources: {{H: {{Type: '{HANDLE}'}}}}\nOutputs: {{P: {{Value: !Ref P}}}}"
    both = [{"ParameterKey": "P", "ParameterValue": "b", "UsePreviousValue": True}]
    previous = [{"ParameterKey": "P", "UsePreviousValue": True}]
    with pytest.raises(ClientError) as error:
        cfn.create_change_set(
            StackName=name, ChangeSetName="c", ChangeSetType="CREATE", TemplateBody=template, Parameters=previous
        )
    assert code(error)[1] == "Cannot specify UsePreviousValue on Parameters when ChangeSetType is CREATE"
    cfn.create_stack(StackName=name, TemplateBody=template, Parameters=[{"ParameterKey": "P", "ParameterValue": "a"}])
    wait(cfn, name)
    refused = (
        "ValidationError",
        "Invalid input for parameter key P. Cannot specify usePreviousValue as true and non empty value for a parameter",
    )
    for request in (
        lambda: cfn.update_stack(StackName=name, UsePreviousTemplate=True, Parameters=both),
        lambda: cfn.create_change_set(StackName=name, ChangeSetName="c", TemplateBody=template, Parameters=both),
    ):
        with pytest.raises(ClientError) as error:
            request()
        assert code(error) == refused
    with pytest.raises(ClientError) as error:
        cfn.update_stack(StackName=name, UsePreviousTemplate=True, Parameters=previous)
    assert code(error)[1] == "No updates are to be performed."
    cfn.delete_stack(StackName=name)


def test_3_6_resources_carry_the_tags_of_their_stack(cfn, client, name):
    """The provider schemas specify which types get them (`tagging.cloudFormationSystemTags`)."""
    template = f"""
Parameters: {{Days: {{Type: Number, Default: 7}}, Role: {{Type: String}}}}
Resources:
  Vpc: {{Type: 'AWS::EC2::VPC', Properties: {{CidrBlock: 10.0.0.0/16, Tags: [{{Key: Name, Value: mine}}]}}}}
  Bucket: {{Type: 'AWS::S3::Bucket', Properties: {{BucketName: {name}}}}}
  Group: {{Type: 'AWS::Logs::LogGroup', Properties: {{LogGroupName: /{name}, RetentionInDays: !Ref Days}}}}
  Images: {{Type: 'AWS::ECR::Repository', Properties: {{RepositoryName: {name}}}}}
  Code: {{Type: 'AWS::CodeCommit::Repository', Properties: {{RepositoryName: {name}}}}}
  Models: {{Type: 'AWS::SageMaker::ModelPackageGroup', Properties: {{ModelPackageGroupName: {name}}}}}
  Pipeline:
    Type: AWS::SageMaker::Pipeline
    Properties:
      PipelineName: {name}
      RoleArn: !Ref Role
      PipelineDefinition:
        PipelineDefinitionBody: '{{"Version": "2020-12-01", "Steps": [{{"Name": "F", "Type": "Fail", "Arguments": {{"ErrorMessage": "x"}}}}]}}'
  Key: {{Type: 'AWS::KMS::Key', Properties: {{PendingWindowInDays: 7, Tags: [{{Key: a, Value: b}}]}}}}
Outputs: {{Vpc: {{Value: !Ref Vpc}}, Key: {{Value: !Ref Key}}}}
"""
    iam = client("iam")
    statement = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
    trust = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    given = [{"ParameterKey": "Role", "ParameterValue": role}]
    team = [{"Key": "team", "Value": "ml"}]
    stack_id = cfn.create_stack(StackName=name, TemplateBody=template, Parameters=given, Tags=team)["StackId"]
    stack = wait(cfn, name)
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    assert stack["Tags"] == team
    outputs = {o["OutputKey"]: o["OutputValue"] for o in stack["Outputs"]}
    ec2, s3, logs, ecr = client("ec2"), client("s3"), client("logs"), client("ecr")
    codecommit, sagemaker, kms = client("codecommit"), client("sagemaker"), client("kms")
    arn = "arn:aws:{}:us-east-1:000000000000:{}".format

    def pairs(tags):
        return {t["Key"]: t["Value"] for t in tags}

    def found():
        return {
            "Vpc": pairs(ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [outputs["Vpc"]]}])["Tags"]),
            "Bucket": pairs(s3.get_bucket_tagging(Bucket=name)["TagSet"]),
            "Group": logs.list_tags_for_resource(resourceArn=arn("logs", f"log-group:/{name}"))["tags"],
            "Images": pairs(ecr.list_tags_for_resource(resourceArn=arn("ecr", f"repository/{name}"))["tags"]),
            "Code": codecommit.list_tags_for_resource(resourceArn=f"arn:aws:codecommit:us-east-1:000000000000:{name}")["tags"],
            "Models": pairs(sagemaker.list_tags(ResourceArn=arn("sagemaker", f"model-package-group/{name}"))["Tags"]),
            "Pipeline": pairs(sagemaker.list_tags(ResourceArn=arn("sagemaker", f"pipeline/{name}"))["Tags"]),
            "Key": {t["TagKey"]: t["TagValue"] for t in kms.list_resource_tags(KeyId=outputs["Key"])["Tags"]},
        }

    def expected(own):
        tags = {logical: {**own, **system_tags(name, stack_id, logical)} for logical in found()}
        tags["Vpc"]["Name"] = "mine"
        tags["Key"] = {**own, "a": "b"}
        return tags

    assert found() == expected({"team": "ml"})
    # Other tags and an update in place do not change them.
    days = [*given, {"ParameterKey": "Days", "ParameterValue": "14"}]
    cfn.update_stack(StackName=name, TemplateBody=template, Parameters=days, Tags=[{"Key": "cost", "Value": "1"}])
    assert wait(cfn, name)["StackStatus"] == "UPDATE_COMPLETE"
    assert found() == expected({"cost": "1"})

    # Nobody else can set, change or remove them.
    mine, key = [{"Key": "aws:mine", "Value": "x"}], "aws:cloudformation:stack-name"
    models, images = arn("sagemaker", f"model-package-group/{name}"), arn("ecr", f"repository/{name}")
    group, code_arn = arn("logs", f"log-group:/{name}"), f"arn:aws:codecommit:us-east-1:000000000000:{name}"
    for refused, request in [
        ("InvalidParameterValue", lambda: ec2.create_tags(Resources=[outputs["Vpc"]], Tags=mine)),
        ("InvalidParameterValue", lambda: ec2.delete_tags(Resources=[outputs["Vpc"]], Tags=[{"Key": key}])),
        ("InvalidParameterValue", lambda: ec2.create_vpc(CidrBlock="10.1.0.0/16", TagSpecifications=[{"ResourceType": "vpc", "Tags": mine}])),
        ("InvalidTag", lambda: s3.put_bucket_tagging(Bucket=name, Tagging={"TagSet": team})),
        ("InvalidTag", lambda: s3.put_bucket_tagging(Bucket=name, Tagging={"TagSet": mine})),
        ("InvalidTag", lambda: s3.delete_bucket_tagging(Bucket=name)),
        ("ValidationException", lambda: sagemaker.add_tags(ResourceArn=models, Tags=mine)),
        ("ValidationException", lambda: sagemaker.delete_tags(ResourceArn=models, TagKeys=[key])),
        ("InvalidTagParameterException", lambda: ecr.tag_resource(resourceArn=images, tags=mine)),
        ("InvalidTagParameterException", lambda: ecr.untag_resource(resourceArn=images, tagKeys=[key])),
        ("InvalidParameterException", lambda: logs.tag_resource(resourceArn=group, tags={"aws:mine": "x"})),
        ("InvalidParameterException", lambda: logs.untag_resource(resourceArn=group, tagKeys=[key])),
        ("InvalidSystemTagUsageException", lambda: codecommit.tag_resource(resourceArn=code_arn, tags={"aws:mine": "x"})),
        ("InvalidSystemTagUsageException", lambda: codecommit.untag_resource(resourceArn=code_arn, tagKeys=[key])),
        ("TagException", lambda: kms.tag_resource(KeyId=outputs["Key"], Tags=[{"TagKey": "aws:mine", "TagValue": "x"}])),
        ("InvalidInput", lambda: iam.tag_role(RoleName=name, Tags=mine)),
        ("ValidationError", lambda: cfn.update_stack(StackName=name, UsePreviousTemplate=True, Parameters=days, Tags=mine)),
    ]:
        with pytest.raises(ClientError) as error:
            request()
        assert code(error)[0] == refused
    ec2.delete_tags(Resources=[outputs["Vpc"]])
    kept = s3.get_bucket_tagging(Bucket=name)["TagSet"]
    s3.put_bucket_tagging(Bucket=name, Tagging={"TagSet": [*kept, {"Key": "by", "Value": "hand"}]})
    tags = found()
    assert tags["Vpc"] == system_tags(name, stack_id, "Vpc")
    assert tags["Bucket"] == {"cost": "1", "by": "hand", **system_tags(name, stack_id, "Bucket")}
    cfn.delete_stack(StackName=name)
    assert wait(cfn, stack_id)["StackStatus"] == "DELETE_COMPLETE"

    reserved = f"Resources: {{B: {{Type: 'AWS::S3::Bucket', Properties: {{Tags: [{{Key: 'aws:mine', Value: x}}]}}}}}}"
    cfn.create_stack(StackName=name, TemplateBody=reserved)
    assert wait(cfn, name)["StackStatus"] == "ROLLBACK_COMPLETE"
    events = cfn.describe_stack_events(StackName=name)["StackEvents"]
    reasons = [e.get("ResourceStatusReason", "") for e in events]
    assert any("aws: prefixed tag key names are not allowed for external use." in reason for reason in reasons)
    cfn.delete_stack(StackName=name)


@pytest.mark.parametrize(
    "arguments, blocks",
    [
        # The case cidr-ipv6.
        (["2001:db8::/56", 2, 64], "2001:db8::/64,2001:db8:0:1::/64"),
        (["2001:db8:1234:1a00::/56", "3", "64"], "2001:db8:1234:1a00::/64,2001:db8:1234:1a01::/64,2001:db8:1234:1a02::/64"),
        (["10.0.0.0/16", 2], "10.0.0.0/24,10.0.1.0/24"),
        (["10.0.0.0/16", 2, 10], "10.0.0.0/22,10.0.4.0/22"),
    ],
)
def test_3_6_cidr_ipv6(cfn, name, arguments, blocks):
    template = json.dumps(
        {
            "Resources": {"Handle": {"Type": HANDLE}},
            "Outputs": {"Blocks": {"Value": {"Fn::Join": [",", {"Fn::Cidr": arguments}]}}},
        }
    )
    cfn.create_stack(StackName=name, TemplateBody=template)
    assert wait(cfn, name)["Outputs"][0]["OutputValue"] == blocks
    cfn.delete_stack(StackName=name)


def test_3_6_a_stack_that_does_not_exist(cfn):
    """The wording differs by operation, and clients compare it."""
    handle = f"Resources: {{H: {{Type: '{HANDLE}'}}}}"
    by_id, in_brackets = "Stack with id no-such does not exist", "Stack [no-such] does not exist"
    of = {"StackName": "no-such"}
    for message, request in [
        (by_id, lambda: cfn.describe_stacks(**of)),
        (by_id, lambda: cfn.describe_stack_resources(**of)),
        (by_id, lambda: cfn.list_stack_resources(**of)),
        (by_id, lambda: cfn.get_template(**of)),
        ("Stack 'no-such' does not exist", lambda: cfn.describe_stack_resource(**of, LogicalResourceId="H")),
        (in_brackets, lambda: cfn.describe_stack_events(**of)),
        (in_brackets, lambda: cfn.update_stack(**of, TemplateBody=handle)),
        (in_brackets, lambda: cfn.create_change_set(**of, ChangeSetName="c", TemplateBody=handle)),
        (in_brackets, lambda: cfn.list_change_sets(**of)),
        (in_brackets, lambda: cfn.describe_change_set(**of, ChangeSetName="c")),
        (in_brackets, lambda: cfn.delete_change_set(**of, ChangeSetName="c")),
        (in_brackets, lambda: cfn.execute_change_set(**of, ChangeSetName="c")),
        (in_brackets, lambda: cfn.update_termination_protection(**of, EnableTerminationProtection=True)),
        (in_brackets, lambda: cfn.continue_update_rollback(**of)),
    ]:
        with pytest.raises(ClientError) as error:
            request()
        assert code(error) == ("ValidationError", message)
    assert cfn.delete_stack(**of)["ResponseMetadata"]["HTTPStatusCode"] == 200


def test_3_6_a_stack_in_review_does_not_exist_for_updates(cfn, name):
    handle = f"Resources: {{H: {{Type: '{HANDLE}'}}}}"
    made = cfn.create_change_set(StackName=name, ChangeSetName="one", ChangeSetType="CREATE", TemplateBody=handle)
    changed(cfn, name, "one")
    with pytest.raises(ClientError) as error:
        cfn.create_change_set(StackName=name, ChangeSetName="two", TemplateBody=handle)
    assert code(error)[1] == f"Stack [{name}] does not exist"
    with pytest.raises(ClientError) as error:
        cfn.create_change_set(StackName=name, ChangeSetName="one", ChangeSetType="CREATE", TemplateBody=handle)
    assert code(error)[0] == "AlreadyExistsException"
    with pytest.raises(ClientError) as error:
        cfn.get_template_summary(StackName=name)
    assert code(error)[1] == "GetTemplateSummary cannot be called on REVIEW_IN_PROGRESS stacks."
    cfn.execute_change_set(ChangeSetName=made["Id"])
    assert wait(cfn, name)["StackStatus"] == "CREATE_COMPLETE"
    with pytest.raises(ClientError) as error:
        cfn.execute_change_set(ChangeSetName=made["Id"])
    assert code(error)[0] in ("InvalidChangeSetStatus", "ChangeSetNotFound")
    cfn.delete_stack(StackName=name)


def reasons(cfn, stack, status):
    events = cfn.describe_stack_events(StackName=stack)["StackEvents"]
    return [
        e["ResourceStatusReason"]
        for e in events
        if e["ResourceType"] == "AWS::CloudFormation::Stack" and e["ResourceStatus"] == status and "ResourceStatusReason" in e
    ]


def test_3_6_reasons_name_the_resources(cfn, client, name):
    def template(bucket, group, more=""):
        return f"""
Resources:
  Bucket: {{Type: 'AWS::S3::Bucket', Properties: {{BucketName: {bucket}}}}}
  Group: {{Type: 'AWS::Logs::LogGroup', DependsOn: Bucket, Properties: {{LogGroupName: {group}, RetentionInDays: 7}}}}
{more}
"""

    # A creation.
    failed = cfn.create_stack(StackName=name, TemplateBody=template("Not_A_Bucket", f"/{name}"))["StackId"]
    assert wait(cfn, name)["StackStatus"] == "ROLLBACK_COMPLETE"
    made = "The following resource(s) failed to create: [Bucket]. Rollback requested by user."
    assert reasons(cfn, name, "ROLLBACK_IN_PROGRESS") == [made]
    cfn.delete_stack(StackName=name)
    assert wait(cfn, failed)["StackStatus"] == "DELETE_COMPLETE"

    # An update in place, and a new resource in an update.
    cfn.create_stack(StackName=name, TemplateBody=template(name, f"/{name}"))
    stack_id = wait(cfn, name)["StackId"]
    cfn.update_stack(StackName=name, TemplateBody=template(name, f"/{name}").replace("Days: 7", "Days: 8"))
    stack = wait(cfn, name)
    assert stack["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    assert reasons(cfn, name, "UPDATE_ROLLBACK_IN_PROGRESS") == ["The following resource(s) failed to update: [Group]. "]
    new = "  New: {Type: 'AWS::S3::Bucket', Properties: {BucketName: Not_A_Bucket}}"
    cfn.update_stack(StackName=name, TemplateBody=template(name, f"/{name}", new))
    assert wait(cfn, name)["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    assert reasons(cfn, name, "UPDATE_ROLLBACK_IN_PROGRESS")[0] == "The following resource(s) failed to create: [New]. "

    # A deletion.
    client("s3").put_object(Bucket=name, Key="k", Body=b"x")
    cfn.delete_stack(StackName=name)
    stack = wait(cfn, name)
    assert stack["StackStatus"] == "DELETE_FAILED"
    assert stack["StackStatusReason"] == "The following resource(s) failed to delete: [Bucket]. "
    client("s3").delete_object(Bucket=name, Key="k")
    cfn.delete_stack(StackName=name)
    assert wait(cfn, stack_id)["StackStatus"] == "DELETE_COMPLETE"

    # Failures after the resources.
    export = f"Resources: {{H: {{Type: '{HANDLE}'}}}}\nOutputs: {{O: {{Value: x, Export: {{Name: {name}}}}}}}"
    first = cfn.create_stack(StackName=f"{name}-1", TemplateBody=export)["StackId"]
    wait(cfn, first)
    cfn.create_stack(StackName=f"{name}-2", TemplateBody=export)
    wait(cfn, f"{name}-2")
    assert reasons(cfn, f"{name}-2", "ROLLBACK_IN_PROGRESS") == [
        f"Export with name {name} is already exported by stack {name}-1. Rollback requested by user."
    ]
    for stack in (f"{name}-1", f"{name}-2"):
        cfn.delete_stack(StackName=stack)


def test_the_aws_cli_deploys_waits_and_reports_the_reason(environment, cfn, name, tmp_path):
    """`aws cloudformation deploy`, which many CI pipelines use, parses wordings and statuses."""

    def aws(*arguments):
        return subprocess.run(
            ["aws", "cloudformation", *arguments, "--output", "json"], capture_output=True, text=True, env=environment
        )

    template = tmp_path / "template.yaml"
    deploy = ["deploy", "--stack-name", name, "--template-file", str(template)]

    def in_a_new_second():
        """The client names a change set by the current second, so two deployments within one would collide."""
        now = int(time.time())
        while int(time.time()) == now:
            time.sleep(0.01)

    template.write_text(
        f"Parameters: {{Days: {{Type: Number, Default: 7}}}}\nResources:\n"
        f"  Group: {{Type: 'AWS::Logs::LogGroup', Properties: {{LogGroupName: /{name}, RetentionInDays: !Ref Days}}}}\n"
        "Outputs: {Days: {Value: !Ref Days}}\n"
    )
    made = aws(*deploy, "--parameter-overrides", "Days=14")
    assert made.returncode == 0 and "Successfully created/updated stack" in made.stdout, made.stderr
    # The parameter keeps its value: the client sends UsePreviousValue.
    in_a_new_second()
    again = aws(*deploy, "--no-fail-on-empty-changeset")
    assert again.returncode == 0 and "No changes to deploy" in again.stdout, again.stderr
    in_a_new_second()
    empty = aws(*deploy, "--fail-on-empty-changeset")
    assert empty.returncode != 0 and "No changes to deploy" in empty.stderr
    assert cfn.describe_stacks(StackName=name)["Stacks"][0]["Outputs"][0]["OutputValue"] == "14"
    in_a_new_second()
    prepared = aws(*deploy, "--no-execute-changeset", "--parameter-overrides", "Days=30")
    assert prepared.returncode == 0 and "describe-change-set" in prepared.stdout, prepared.stderr
    in_a_new_second()
    failed = aws(*deploy, "--parameter-overrides", "Days=8")
    assert failed.returncode != 0 and "Failed to create/update the stack" in failed.stderr
    assert aws("wait", "stack-exists", "--stack-name", name).returncode == 0
    assert aws("wait", "stack-rollback-complete", "--stack-name", name).returncode == 0
    missing = aws("describe-stacks", "--stack-name", f"{name}-no")
    assert f"Stack with id {name}-no does not exist" in missing.stderr
    none = aws("update-stack", "--stack-name", name, "--use-previous-template", "--parameters", "ParameterKey=Days,UsePreviousValue=true")
    assert "No updates are to be performed." in none.stderr
    assert aws("delete-stack", "--stack-name", name).returncode == 0
    assert aws("wait", "stack-delete-complete", "--stack-name", name).returncode == 0


@pytest.mark.parametrize(
    "expression, message",
    [
        ("!Select [x, [a]]", "Template error: Fn::Select requires a list argument with two elements: an integer index and a list"),
        ("!Select [7, [a]]", "Template error: Fn::Select requires a list argument with two elements: an integer index and a list"),
        ("!FindInMap [M, nope, B]", "Template error: Unable to get mapping for M::nope::B"),
        (
            "!GetAtt Bucket",
            "Template error: every Fn::GetAtt object requires two non-empty parameters, the resource name and the resource attribute",
        ),
        ("!If [Nope, a, b]", "Template error: unresolved condition dependency Nope in Fn::If"),
        ("!Ref Nope", "Template format error: Unresolved resource dependencies [Nope] in the Resources block of the template"),
    ],
)
def test_an_invalid_expression_is_rejected_immediately(cfn, name, expression, message):
    """An error of the request, not of the resource, as LocalStack's tests recorded from AWS."""
    template = f"""
Mappings: {{M: {{A: {{B: c}}}}}}
Resources:
  Bucket: {{Type: 'AWS::S3::Bucket'}}
  Group: {{Type: 'AWS::Logs::LogGroup', Properties: {{LogGroupName: {expression}}}}}
"""
    with pytest.raises(ClientError) as error:
        cfn.create_change_set(StackName=name, ChangeSetName="c", ChangeSetType="CREATE", TemplateBody=template)
    assert code(error) == ("ValidationError", message)
    with pytest.raises(ClientError) as error:
        cfn.create_stack(StackName=name, TemplateBody=template)
    assert code(error) == ("ValidationError", message)


def test_a_reason_names_the_resource_with_invalid_properties(cfn, name):
    template = "Resources: {Policy: {Type: 'AWS::S3::BucketPolicy', Properties: {Bucketname: x}}}"
    cfn.create_stack(StackName=name, TemplateBody=template)
    assert wait(cfn, name)["StackStatus"] == "ROLLBACK_COMPLETE"
    events = cfn.describe_stack_events(StackName=name)["StackEvents"]
    assert [e["ResourceStatusReason"] for e in events if e["ResourceStatus"] == "CREATE_FAILED"] == [
        "Properties validation failed for resource Policy with message:\n"
        "#: extraneous key [Bucketname] is not permitted\n"
        "#: required key [Bucket] not found\n"
        "#: required key [PolicyDocument] not found"
    ]
    assert reasons(cfn, name, "ROLLBACK_IN_PROGRESS") == [
        "The following resource(s) failed to create: [Policy]. Rollback requested by user."
    ]
    cfn.delete_stack(StackName=name)


def test_empty_members_are_omitted(cfn, name):
    """As in AWS's own answers (recorded by LocalStack's tests): clients test `"Outputs" in stack`."""
    template = f"Resources: {{H: {{Type: '{HANDLE}'}}}}"
    cfn.create_change_set(StackName=name, ChangeSetName="c", ChangeSetType="CREATE", TemplateBody=template)
    found = changed(cfn, name, "c")
    assert not {"Parameters", "Tags"} & found.keys()
    assert (found["Capabilities"], found["NotificationARNs"], found["RollbackConfiguration"]) == ([], [], {})
    cfn.execute_change_set(StackName=name, ChangeSetName="c")
    stack = wait(cfn, name)
    assert not {"Parameters", "Outputs", "Capabilities", "StackStatusReason"} & stack.keys()
    assert (stack["Tags"], stack["NotificationARNs"], stack["RollbackConfiguration"]) == ([], [], {})
    shown = cfn.validate_template(TemplateBody=template)
    assert "Capabilities" not in shown and shown["Parameters"] == []
    cfn.delete_stack(StackName=name)
