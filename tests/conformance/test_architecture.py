"""What `mlops init` deploys, with boto3: every resource of every stack is found through its own service with
the properties of the template. After `mlops destroy --delete-data`, none of it is."""

import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import boto3
import pytest
from botocore.exceptions import ClientError

import templates
from conftest import BIN

PARTS = ["data", "network", "registry", "code", "governance", "workbench"]
NAME = "arch"
SOON = {"Delay": 1, "MaxAttempts": 120}
UNKNOWN = "{{changeSet:KNOWN_AFTER_APPLY}}"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project on its own local cloud."""
    root = tmp_path_factory.mktemp("project")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}

    def mlops(*arguments, code=0):
        ran = subprocess.run([BIN, *arguments], cwd=root, env=environment, capture_output=True, text=True)
        assert ran.returncode == code, ran.stderr
        return json.loads(ran.stdout) if "json" in arguments else ran.stdout

    mlops("init", "--local", "--name", NAME, "--network", "both")
    yield root, mlops
    mlops("local", "stop")


@pytest.fixture(scope="module")
def client(project):
    _, mlops = project
    values = mlops("local", "env", "--output", "json")

    def client(service):
        return boto3.client(
            service,
            endpoint_url=values["AWS_ENDPOINT_URL"],
            aws_access_key_id=values["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=values["AWS_SECRET_ACCESS_KEY"],
            region_name="us-east-1",
        )

    return client


def leaves(value):
    """The scalars in a value, as text; JSON texts and policies are read."""
    if isinstance(value, dict):
        for member in value.values():
            yield from leaves(member)
    elif isinstance(value, list):
        for member in value:
            yield from leaves(member)
    elif isinstance(value, bool):
        yield str(value).lower()
    elif isinstance(value, str):
        text = unquote(value) if value.startswith("%7B") else value
        if text.lstrip().startswith("{") and not text.startswith(UNKNOWN):
            yield from leaves(json.loads(text))
        else:
            yield {"True": "true", "False": "false"}.get(text, text)
    elif value is not None:
        yield f"{value:g}" if isinstance(value, float) else str(value)


def role(iam, name):
    inline = iam.list_role_policies(RoleName=name)["PolicyNames"]
    return [
        iam.get_role(RoleName=name)["Role"],
        [iam.get_role_policy(RoleName=name, PolicyName=policy) for policy in inline],
        iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"],
    ]


def managed(iam, arn):
    policy = iam.get_policy(PolicyArn=arn)["Policy"]
    return [policy, iam.get_policy_version(PolicyArn=arn, VersionId=policy["DefaultVersionId"])]


def bucket(s3, name):
    notification = s3.get_bucket_notification_configuration(Bucket=name)
    return [
        name,
        s3.get_bucket_versioning(Bucket=name),
        s3.get_bucket_encryption(Bucket=name),
        s3.get_public_access_block(Bucket=name),
        s3.get_bucket_ownership_controls(Bucket=name),
        s3.get_bucket_lifecycle_configuration(Bucket=name),
        s3.get_bucket_tagging(Bucket=name),
        s3.get_bucket_logging(Bucket=name).get("LoggingEnabled", {}),
        "EventBridgeConfiguration" in notification,
    ]


def key(kms, name):
    return [
        kms.describe_key(KeyId=name)["KeyMetadata"],
        kms.get_key_policy(KeyId=name, PolicyName="default"),
        kms.get_key_rotation_status(KeyId=name)["KeyRotationEnabled"],
        kms.list_resource_tags(KeyId=name)["Tags"],
    ]


def repository(ecr, name):
    found = ecr.describe_repositories(repositoryNames=[name])["repositories"][0]
    return [
        found,
        ecr.list_tags_for_resource(resourceArn=found["repositoryArn"])["tags"],
        json.loads(ecr.get_lifecycle_policy(repositoryName=name)["lifecyclePolicyText"]),
    ]


def code(codecommit, identifier):
    listed = codecommit.list_repositories()["repositories"]
    name = next(found["repositoryName"] for found in listed if found["repositoryId"] == identifier)
    found = codecommit.get_repository(repositoryName=name)["repositoryMetadata"]
    tags = codecommit.list_tags_for_resource(resourceArn=found["Arn"])["tags"]
    return [found, list(tags), list(tags.values())]


def tagged(service, found, arn):
    return [found, service.list_tags(ResourceArn=arn)["Tags"]]


def last(identifier):
    return identifier.rsplit("/", 1)[-1]


def ec2(operation, argument, member):
    def find(service, identifier):
        found = getattr(service, operation)(**{argument: [identifier]})[member]
        assert len(found) == 1
        return found

    return find


def vpc(service, identifier):
    attributes = [
        service.describe_vpc_attribute(VpcId=identifier, Attribute=name) for name in ("enableDnsSupport", "enableDnsHostnames")
    ]
    return [service.describe_vpcs(VpcIds=[identifier])["Vpcs"], attributes]


def route(service, identifier):
    table, block = identifier.split("|")
    routes = service.describe_route_tables(RouteTableIds=[table])["RouteTables"][0]["Routes"]
    return [table, [found for found in routes if found.get("DestinationCidrBlock") == block]]


def association(service, identifier):
    tables = service.describe_route_tables()["RouteTables"]
    found = [a for table in tables for a in table["Associations"] if a.get("RouteTableAssociationId") == identifier]
    assert len(found) == 1
    return found


def attachment(service, identifier):
    network = identifier.split("|")[1]
    gateways = service.describe_internet_gateways()["InternetGateways"]
    return [g for g in gateways if any(a["VpcId"] == network for a in g["Attachments"])]


def rule(service, identifier):
    groups = service.describe_security_groups()["SecurityGroups"]
    return [[g["GroupId"], g["IpPermissions"], g["IpPermissionsEgress"]] for g in groups]


FIND = {
    "AWS::S3::Bucket": ("s3", bucket),
    "AWS::S3::BucketPolicy": ("s3", lambda s3, name: [name, s3.get_bucket_policy(Bucket=name)["Policy"]]),
    "AWS::KMS::Key": ("kms", key),
    "AWS::KMS::Alias": ("kms", lambda kms, name: [a for a in kms.list_aliases()["Aliases"] if a["AliasName"] == name]),
    "AWS::EC2::VPC": ("ec2", vpc),
    "AWS::EC2::Subnet": ("ec2", ec2("describe_subnets", "SubnetIds", "Subnets")),
    "AWS::EC2::InternetGateway": ("ec2", ec2("describe_internet_gateways", "InternetGatewayIds", "InternetGateways")),
    "AWS::EC2::VPCGatewayAttachment": ("ec2", attachment),
    "AWS::EC2::EIP": ("ec2", ec2("describe_addresses", "PublicIps", "Addresses")),
    "AWS::EC2::NatGateway": ("ec2", ec2("describe_nat_gateways", "NatGatewayIds", "NatGateways")),
    "AWS::EC2::RouteTable": ("ec2", ec2("describe_route_tables", "RouteTableIds", "RouteTables")),
    "AWS::EC2::Route": ("ec2", route),
    "AWS::EC2::SubnetRouteTableAssociation": ("ec2", association),
    "AWS::EC2::SecurityGroup": ("ec2", ec2("describe_security_groups", "GroupIds", "SecurityGroups")),
    "AWS::EC2::SecurityGroupIngress": ("ec2", rule),
    "AWS::EC2::SecurityGroupEgress": ("ec2", rule),
    "AWS::EC2::FlowLog": ("ec2", ec2("describe_flow_logs", "FlowLogIds", "FlowLogs")),
    "AWS::EC2::VPCEndpoint": ("ec2", ec2("describe_vpc_endpoints", "VpcEndpointIds", "VpcEndpoints")),
    "AWS::ECR::Repository": ("ecr", repository),
    "AWS::CodeCommit::Repository": ("codecommit", code),
    "AWS::IAM::Role": ("iam", role),
    "AWS::IAM::ManagedPolicy": ("iam", managed),
    "AWS::SageMaker::ModelPackageGroup": (
        "sagemaker",
        lambda s, arn: [
            tagged(s, s.describe_model_package_group(ModelPackageGroupName=last(arn)), arn),
            s.get_model_package_group_policy(ModelPackageGroupName=last(arn))["ResourcePolicy"],
        ],
    ),
    "AWS::SageMaker::CodeRepository": (
        "sagemaker",
        lambda s, arn: s.describe_code_repository(CodeRepositoryName=last(arn)),
    ),
    "AWS::SageMaker::NotebookInstanceLifecycleConfig": (
        "sagemaker",
        lambda s, arn: s.describe_notebook_instance_lifecycle_config(NotebookInstanceLifecycleConfigName=last(arn)),
    ),
    "AWS::SageMaker::NotebookInstance": (
        "sagemaker",
        lambda s, arn: tagged(s, s.describe_notebook_instance(NotebookInstanceName=last(arn)), arn),
    ),
}

# Properties that no operation returns.
WITHOUT_ANSWER = {"PendingWindowInDays", "MinimumInstanceMetadataServiceVersion", "ResourceType"}


def expected(cfn, s3, stack):
    """The properties of a stack's resources, from a change set of the same template under another name."""
    described = cfn.describe_stacks(StackName=stack)["Stacks"][0]
    name = {"StackName": f"{stack}-again", "ChangeSetName": "properties"}
    cfn.create_change_set(
        **name,
        ChangeSetType="CREATE",
        **templates.source(
            s3, f"{NAME}-artifacts-000000000000-us-east-1", cfn.get_template(StackName=stack)["TemplateBody"]
        ),
        Parameters=described.get("Parameters", []),
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )
    cfn.get_waiter("change_set_create_complete").wait(**name, WaiterConfig=SOON)
    pages = cfn.get_paginator("describe_change_set").paginate(**name, IncludePropertyValues=True)
    changes = [change["ResourceChange"] for page in pages for change in page["Changes"]]
    cfn.delete_stack(StackName=name["StackName"])
    return {c["LogicalResourceId"]: json.loads(c["AfterContext"])["Properties"] for c in changes}


def resources(cfn, part):
    pages = cfn.get_paginator("list_stack_resources").paginate(StackName=f"{NAME}-{part}")
    return [summary for page in pages for summary in page["StackResourceSummaries"]]


@pytest.mark.parametrize("part", PARTS)
def test_every_resource_has_the_properties_of_the_template(client, part):
    cfn = client("cloudformation")
    wanted = expected(cfn, client("s3"), f"{NAME}-{part}")
    found = resources(cfn, part)
    assert {resource["LogicalResourceId"] for resource in found} == set(wanted)
    for resource in found:
        service, find = FIND[resource["ResourceType"]]
        shown = set(leaves(find(client(service), resource["PhysicalResourceId"])))
        properties = {k: v for k, v in wanted[resource["LogicalResourceId"]].items() if k not in WITHOUT_ANSWER}
        missing = [leaf for leaf in leaves(properties) if UNKNOWN not in leaf and leaf not in shown]
        assert not missing, f"{resource['LogicalResourceId']}: {missing}"


def test_the_repositories_have_their_first_commits(project, client):
    root, _ = project
    codecommit = client("codecommit")
    head = subprocess.run(["git", "rev-parse", "develop"], cwd=root, capture_output=True, text=True, check=True)
    branch = codecommit.get_branch(repositoryName=NAME, branchName="develop")["branch"]
    assert branch["commitId"] == head.stdout.strip()
    files = codecommit.get_folder(repositoryName=f"{NAME}-eda", folderPath="/")["files"]
    assert {file["relativePath"] for file in files} == {
        ".gitignore",
        "01-the-data.ipynb",
        "02-production.ipynb",
        "README.md",
    }


def test_the_notebooks_run(project, client, tmp_path):
    root, mlops = project
    mlops("data", "push", "data/train", NAME)
    capture = f"{NAME}-capture-000000000000-us-east-1"
    data = {"endpointInput": {"data": "3,1598,23,71.1,93.5,10.4,9.0,B6,JFK,SJU\n104,266,22,72.0,93.5,13.8,9.0,B6,JFK,BTV"}}
    data["endpointOutput"] = {"data": "12.5\n99.0\n"}
    client("s3").put_object(
        Bucket=capture,
        Key=f"capture/{NAME}/AllTraffic/2026/01/01/00/a.jsonl",
        Body=json.dumps({"captureData": data}).encode(),
    )
    exports = mlops("local", "env", "--output", "json")
    environment = {**os.environ, **{name: value for name, value in exports.items() if value is not None}}
    for name, text in [("01-the-data.ipynb", "18,000 rows, 11 columns"), ("02-production.ipynb", "2 requests in production")]:
        blob = client("codecommit").get_file(repositoryName=f"{NAME}-eda", filePath=name)["fileContent"]
        cells = [cell["source"] for cell in json.loads(blob)["cells"] if cell["cell_type"] == "code"]
        program = tmp_path / f"{name}.py"
        program.write_text("\n\n".join("".join(lines) for lines in cells))
        ran = subprocess.run([sys.executable, program], env=environment, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        assert text in ran.stdout


@pytest.fixture(scope="module")
def actor(project):
    """Clients with a session of one of the project's roles."""
    _, mlops = project

    def actor(role, service):
        values = mlops("local", "env", "--role", f"{NAME}-{role}", "--output", "json")
        return boto3.client(
            service,
            endpoint_url=values["AWS_ENDPOINT_URL"],
            aws_access_key_id=values["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=values["AWS_SECRET_ACCESS_KEY"],
            aws_session_token=values["AWS_SESSION_TOKEN"],
            region_name="us-east-1",
        )

    return actor


def refused(call, **arguments):
    with pytest.raises(ClientError) as error:
        call(**arguments)
    assert error.value.response["Error"]["Code"] in ("AccessDenied", "AccessDeniedException")
    return error.value.response["Error"]["Message"]


def test_only_the_approver_writes_to_the_production_branch(client, actor):
    root = client("codecommit")
    head = root.get_branch(repositoryName=NAME, branchName="develop")["branch"]["commitId"]
    branch = {"repositoryName": NAME, "commitId": head}
    for role in ("data-scientist", "ml-engineer"):
        message = refused(actor(role, "codecommit").create_branch, branchName="main", **branch)
        assert "explicit deny" in message, message
    actor("data-scientist", "codecommit").create_branch(branchName="feature", **branch)
    root.create_branch(branchName="main", **branch)
    file = {"repositoryName": NAME, "filePath": "a.txt", "fileContent": b"a", "parentCommitId": head}
    for role in ("data-scientist", "ml-engineer"):
        message = refused(actor(role, "codecommit").put_file, branchName="main", **file)
        assert "explicit deny" in message, message
    actor("data-scientist", "codecommit").put_file(branchName="develop", **file)


def test_only_the_approver_approves(client, actor):
    [image] = [i for i in client("ecr").describe_images(repositoryName=NAME)["imageDetails"] if i.get("imageTags")]
    uri = client("ecr").describe_repositories(repositoryNames=[NAME])["repositories"][0]["repositoryUri"]
    version = {
        "ModelPackageGroupName": NAME,
        "InferenceSpecification": {
            "Containers": [{"Image": f"{uri}@{image['imageDigest']}"}],
            "SupportedContentTypes": ["text/csv"],
            "SupportedResponseMIMETypes": ["text/csv"],
        },
    }
    training = actor("training", "sagemaker")
    refused(training.create_model_package, ModelApprovalStatus="Approved", **version)
    package = training.create_model_package(ModelApprovalStatus="PendingManualApproval", **version)["ModelPackageArn"]
    for role in ("data-scientist", "ml-engineer", "training", "reader"):
        update = actor(role, "sagemaker").update_model_package
        refused(update, ModelPackageArn=package, ModelApprovalStatus="Approved")
    approver = actor("approver", "sagemaker")
    approver.update_model_package(ModelPackageArn=package, ModelApprovalStatus="Approved")
    assert approver.describe_model_package(ModelPackageName=package)["ModelApprovalStatus"] == "Approved"


def test_a_role_cannot_become_another_one(actor):
    for role in ("training", "data-scientist", "ml-build"):
        sts = actor(role, "sts")
        refused(sts.assume_role, RoleArn=f"arn:aws:iam::000000000000:role/{NAME}-approver", RoleSessionName="test")


def test_a_resource_that_cannot_be_deleted_is_named(project, client):
    root, mlops = project
    ec2 = client("ec2")
    [network] = [r["PhysicalResourceId"] for r in resources(client("cloudformation"), "network") if r["ResourceType"] == "AWS::EC2::VPC"]
    subnet = ec2.create_subnet(VpcId=network, CidrBlock="10.0.200.0/24")["Subnet"]["SubnetId"]
    ran = subprocess.run([BIN, "destroy", "--yes"], cwd=root, capture_output=True, text=True)
    assert ran.returncode == 1, ran.stderr
    [error] = [line for line in ran.stderr.splitlines() if line.startswith("error")]
    assert f"{NAME}-network could not be deleted: Vpc (AWS::EC2::VPC): " in error
    assert network in error
    ec2.delete_subnet(SubnetId=subnet)
    mlops("destroy", "--yes")
    mlops("init")


def test_after_destroy_nothing_is_found(project, client):
    _, mlops = project
    cfn = client("cloudformation")
    before = [resource for part in PARTS for resource in resources(cfn, part)]
    # Of another project, whose name begins with the same letters.
    other = f"/aws/lambda/{NAME}-2-validation"
    client("logs").create_log_group(logGroupName=other)
    report = mlops("destroy", "--delete-data", "--yes", "--output", "json")
    assert report["left"] == []
    for resource in before:
        kind, identifier = resource["ResourceType"], resource["PhysicalResourceId"]
        if kind == "AWS::KMS::Key":
            state = client("kms").describe_key(KeyId=identifier)["KeyMetadata"]["KeyState"]
            assert state == "PendingDeletion"
            continue
        if kind == "AWS::EC2::NatGateway":
            [gateway] = client("ec2").describe_nat_gateways(NatGatewayIds=[identifier])["NatGateways"]
            assert gateway["State"] == "deleted"
            continue
        service, find = FIND[kind]
        try:
            shown = find(client(service), identifier)
        except (ClientError, AssertionError, StopIteration, IndexError):
            continue
        if kind.startswith("AWS::EC2::SecurityGroup"):
            continue  # Only the groups of other networks.
        assert not list(leaves(shown)), f"{resource['LogicalResourceId']}: {shown}"
    for service, operation, member in [
        ("s3", "list_buckets", "Buckets"),
        ("ecr", "describe_repositories", "repositories"),
        ("codecommit", "list_repositories", "repositories"),
        ("iam", "list_roles", "Roles"),
        ("sagemaker", "list_models", "Models"),
        ("sagemaker", "list_notebook_instances", "NotebookInstances"),
    ]:
        assert getattr(client(service), operation)()[member] == [], operation
    # SageMaker's own log groups are shared by all projects of an account.
    groups = client("logs").describe_log_groups()["logGroups"]
    assert [group["logGroupName"] for group in groups if NAME in group["logGroupName"]] == [other]
