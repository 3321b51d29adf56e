"""IAM, KMS and EC2 networks with boto3: the records that other services check."""

import json

import pytest
from botocore.exceptions import ClientError

TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "sagemaker.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
    ],
}
READ = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*"}],
}
AWS_POLICY = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"


def refused(code, call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    assert caught.value.response["Error"]["Code"] == code
    return caught.value.response["Error"]["Message"]


def sized(policy, size):
    """The policy with as many characters as IAM counts, and white space, which it does not count."""
    statement = dict(policy["Statement"][0], Sid="")
    empty = len(json.dumps({**policy, "Statement": [statement]}, separators=(",", ":")))
    statement["Sid"] = "a" * (size - empty)
    return json.dumps({**policy, "Statement": [statement]}, indent=2)


def test_policies_have_a_largest_size(client):
    iam = client("iam")
    name = "conf-largest"
    too_large = refused(
        "LimitExceeded",
        iam.create_role,
        RoleName=name,
        AssumeRolePolicyDocument=sized(TRUST, 2049),
    )
    assert too_large == "Cannot exceed quota for ACLSizePerRole: 2048"
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=sized(TRUST, 2048))
    iam.put_role_policy(RoleName=name, PolicyName="a", PolicyDocument=sized(READ, 10_000))
    second = {"RoleName": name, "PolicyName": "b"}
    too_large = refused(
        "LimitExceeded", iam.put_role_policy, **second, PolicyDocument=sized(READ, 241)
    )
    assert too_large == f"Maximum policy size of 10240 bytes exceeded for role {name}"
    iam.put_role_policy(**second, PolicyDocument=sized(READ, 240))

    too_large = refused(
        "LimitExceeded", iam.create_policy, PolicyName=name, PolicyDocument=sized(READ, 6145)
    )
    assert too_large == "Cannot exceed quota for PolicySize: 6144"
    made = iam.create_policy(PolicyName=name, PolicyDocument=sized(READ, 6144))["Policy"]
    refused(
        "LimitExceeded",
        iam.create_policy_version,
        PolicyArn=made["Arn"],
        PolicyDocument=sized(READ, 6145),
    )
    iam.delete_policy(PolicyArn=made["Arn"])


def test_roles(client):
    iam = client("iam")
    role = iam.create_role(
        RoleName="conf-role",
        Path="/team/",
        AssumeRolePolicyDocument=json.dumps(TRUST),
        Description="d",
        Tags=[{"Key": "a", "Value": "1"}],
    )["Role"]
    assert role["Arn"] == "arn:aws:iam::000000000000:role/team/conf-role"
    assert role["RoleId"].startswith("AROA") and len(role["RoleId"]) == 20
    assert role["AssumeRolePolicyDocument"] == TRUST
    refused(
        "EntityAlreadyExists",
        iam.create_role,
        RoleName="conf-role",
        AssumeRolePolicyDocument=json.dumps(TRUST),
    )
    refused("MalformedPolicyDocument", iam.create_role, RoleName="x", AssumeRolePolicyDocument="{")

    iam.update_role(RoleName="conf-role", Description="e", MaxSessionDuration=7200)
    trust = json.loads(json.dumps(TRUST).replace("sagemaker", "lambda"))
    iam.update_assume_role_policy(RoleName="conf-role", PolicyDocument=json.dumps(trust))
    iam.tag_role(RoleName="conf-role", Tags=[{"Key": "b", "Value": "2"}, {"Key": "a", "Value": "3"}])
    iam.untag_role(RoleName="conf-role", TagKeys=["b"])
    found = iam.get_role(RoleName="conf-role")["Role"]
    assert (found["Description"], found["MaxSessionDuration"]) == ("e", 7200)
    assert found["AssumeRolePolicyDocument"] == trust
    assert found["Tags"] == [{"Key": "a", "Value": "3"}]
    assert iam.list_role_tags(RoleName="conf-role")["Tags"] == found["Tags"]
    listed = iam.list_roles(PathPrefix="/team/")
    assert [r["RoleName"] for r in listed["Roles"]] == ["conf-role"]
    assert listed["IsTruncated"] is False

    iam.put_role_policy(RoleName="conf-role", PolicyName="p", PolicyDocument=json.dumps(READ))
    assert iam.get_role_policy(RoleName="conf-role", PolicyName="p")["PolicyDocument"] == READ
    assert iam.list_role_policies(RoleName="conf-role")["PolicyNames"] == ["p"]
    message = refused("DeleteConflict", iam.delete_role, RoleName="conf-role")
    assert message == "Cannot delete entity, must delete policies first."
    iam.delete_role_policy(RoleName="conf-role", PolicyName="p")
    refused("NoSuchEntity", iam.get_role_policy, RoleName="conf-role", PolicyName="p")
    iam.delete_role(RoleName="conf-role")
    refused("NoSuchEntity", iam.get_role, RoleName="conf-role")


def test_lists_of_roles_are_paged(client):
    iam = client("iam")
    names = [f"conf-page-{n}" for n in range(5)]
    for name in names:
        iam.create_role(RoleName=name, Path="/page/", AssumeRolePolicyDocument=json.dumps(TRUST))
    pages = list(
        iam.get_paginator("list_roles").paginate(
            PathPrefix="/page/", PaginationConfig={"PageSize": 2}
        )
    )
    assert [len(page["Roles"]) for page in pages] == [2, 2, 1]
    assert [role["RoleName"] for page in pages for role in page["Roles"]] == names
    for name in names:
        iam.delete_role(RoleName=name)


def test_policies(client):
    iam = client("iam")
    policy = iam.create_policy(PolicyName="conf-policy", PolicyDocument=json.dumps(READ))["Policy"]
    arn = policy["Arn"]
    assert arn == "arn:aws:iam::000000000000:policy/conf-policy"
    assert (policy["DefaultVersionId"], policy["AttachmentCount"]) == ("v1", 0)
    refused("EntityAlreadyExists", iam.create_policy, PolicyName="conf-policy", PolicyDocument=json.dumps(READ))
    refused("MalformedPolicyDocument", iam.create_policy, PolicyName="x", PolicyDocument="[]")

    other = json.loads(json.dumps(READ).replace("GetObject", "PutObject"))
    version = iam.create_policy_version(
        PolicyArn=arn, PolicyDocument=json.dumps(other), SetAsDefault=True
    )["PolicyVersion"]
    assert (version["VersionId"], version["IsDefaultVersion"]) == ("v2", True)
    assert iam.get_policy_version(PolicyArn=arn, VersionId="v2")["PolicyVersion"]["Document"] == other
    assert iam.get_policy_version(PolicyArn=arn, VersionId="v1")["PolicyVersion"]["Document"] == READ
    assert [v["VersionId"] for v in iam.list_policy_versions(PolicyArn=arn)["Versions"]] == ["v2", "v1"]
    refused("DeleteConflict", iam.delete_policy_version, PolicyArn=arn, VersionId="v2")

    iam.create_role(RoleName="conf-attach", AssumeRolePolicyDocument=json.dumps(TRUST))
    iam.attach_role_policy(RoleName="conf-attach", PolicyArn=arn)
    iam.attach_role_policy(RoleName="conf-attach", PolicyArn=AWS_POLICY)
    refused(
        "NoSuchEntity",
        iam.attach_role_policy,
        RoleName="conf-attach",
        PolicyArn="arn:aws:iam::000000000000:policy/none",
    )
    attached = iam.list_attached_role_policies(RoleName="conf-attach")["AttachedPolicies"]
    assert attached == [
        {"PolicyName": "conf-policy", "PolicyArn": arn},
        {"PolicyName": "AmazonS3ReadOnlyAccess", "PolicyArn": AWS_POLICY},
    ]
    assert iam.get_policy(PolicyArn=arn)["Policy"]["AttachmentCount"] == 1
    assert arn in [p["Arn"] for p in iam.list_policies(Scope="Local")["Policies"]]
    refused("DeleteConflict", iam.delete_role, RoleName="conf-attach")
    refused("DeleteConflict", iam.delete_policy, PolicyArn=arn)
    iam.detach_role_policy(RoleName="conf-attach", PolicyArn=arn)
    iam.detach_role_policy(RoleName="conf-attach", PolicyArn=AWS_POLICY)
    iam.delete_role(RoleName="conf-attach")
    refused("DeleteConflict", iam.delete_policy, PolicyArn=arn)
    iam.delete_policy_version(PolicyArn=arn, VersionId="v1")
    iam.delete_policy(PolicyArn=arn)
    refused("NoSuchEntity", iam.get_policy, PolicyArn=arn)


@pytest.fixture
def kms(client):
    return client("kms")


@pytest.fixture
def key(kms):
    """Creates a key; returns its metadata."""
    return kms.create_key(Description="d", Tags=[{"TagKey": "a", "TagValue": "1"}])["KeyMetadata"]


def test_keys_and_aliases(kms, key):
    assert key["Arn"] == f"arn:aws:kms:us-east-1:000000000000:key/{key['KeyId']}"
    assert (key["KeyState"], key["Enabled"], key["KeySpec"]) == ("Enabled", True, "SYMMETRIC_DEFAULT")
    kms.create_alias(AliasName="alias/conf", TargetKeyId=key["KeyId"])
    refused("AlreadyExistsException", kms.create_alias, AliasName="alias/conf", TargetKeyId=key["KeyId"])
    refused("NotFoundException", kms.create_alias, AliasName="alias/conf2", TargetKeyId="none")
    refused("InvalidAliasNameException", kms.create_alias, AliasName="conf", TargetKeyId=key["KeyId"])
    assert kms.describe_key(KeyId="alias/conf")["KeyMetadata"]["Arn"] == key["Arn"]
    assert kms.describe_key(KeyId=key["Arn"])["KeyMetadata"]["Description"] == "d"
    aliases = kms.list_aliases(KeyId=key["KeyId"])["Aliases"]
    assert [(a["AliasName"], a["TargetKeyId"]) for a in aliases] == [("alias/conf", key["KeyId"])]
    assert key["KeyId"] in [k["KeyId"] for k in kms.list_keys()["Keys"]]
    kms.delete_alias(AliasName="alias/conf")


def test_key_policies(kms, key):
    policy = json.loads(kms.get_key_policy(KeyId=key["KeyId"], PolicyName="default")["Policy"])
    assert policy["Statement"][0]["Principal"] == {"AWS": "arn:aws:iam::000000000000:root"}
    policy["Id"] = "mine"
    kms.put_key_policy(KeyId=key["KeyId"], Policy=json.dumps(policy))
    assert json.loads(kms.get_key_policy(KeyId=key["KeyId"])["Policy"]) == policy
    refused("MalformedPolicyDocumentException", kms.put_key_policy, KeyId=key["KeyId"], Policy="{}")


def test_key_rotation(kms, key):
    assert kms.get_key_rotation_status(KeyId=key["KeyId"])["KeyRotationEnabled"] is False
    kms.enable_key_rotation(KeyId=key["KeyId"], RotationPeriodInDays=180)
    rotation = kms.get_key_rotation_status(KeyId=key["KeyId"])
    assert (rotation["KeyRotationEnabled"], rotation["RotationPeriodInDays"]) == (True, 180)
    kms.disable_key_rotation(KeyId=key["KeyId"])
    assert kms.get_key_rotation_status(KeyId=key["KeyId"])["KeyRotationEnabled"] is False


def test_key_settings(kms, key):
    kms.tag_resource(KeyId=key["KeyId"], Tags=[{"TagKey": "b", "TagValue": "2"}])
    kms.untag_resource(KeyId=key["KeyId"], TagKeys=["a"])
    assert kms.list_resource_tags(KeyId=key["KeyId"])["Tags"] == [{"TagKey": "b", "TagValue": "2"}]
    kms.update_key_description(KeyId=key["KeyId"], Description="e")
    kms.disable_key(KeyId=key["KeyId"])
    found = kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]
    assert (found["KeyState"], found["Enabled"], found["Description"]) == ("Disabled", False, "e")
    kms.enable_key(KeyId=key["KeyId"])


def test_an_alias_is_moved_and_deleted(kms, key):
    kms.create_alias(AliasName="alias/conf", TargetKeyId=key["KeyId"])
    second = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.update_alias(AliasName="alias/conf", TargetKeyId=second)
    assert kms.describe_key(KeyId="alias/conf")["KeyMetadata"]["KeyId"] == second
    kms.delete_alias(AliasName="alias/conf")
    refused("NotFoundException", kms.describe_key, KeyId="alias/conf")


def test_key_deletion(kms, key):
    second = key["KeyId"]
    gone = kms.schedule_key_deletion(KeyId=second, PendingWindowInDays=7)
    assert (gone["KeyState"], gone["PendingWindowInDays"]) == ("PendingDeletion", 7)
    refused("KMSInvalidStateException", kms.enable_key, KeyId=second)
    kms.cancel_key_deletion(KeyId=second)
    assert kms.describe_key(KeyId=second)["KeyMetadata"]["KeyState"] == "Disabled"
    # Nothing is encrypted here, and no operation pretends that it is.
    refused("NotImplemented", kms.encrypt, KeyId=second, Plaintext=b"x")


def tagged(kind, name):
    return [{"ResourceType": kind, "Tags": [{"Key": "Name", "Value": name}]}]


@pytest.fixture
def vpc(client):
    """Creates an empty VPC 10.1.0.0/16."""
    ec2 = client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.1.0.0/16", TagSpecifications=tagged("vpc", "conf"))["Vpc"]
    yield vpc["VpcId"]
    ec2.delete_vpc(VpcId=vpc["VpcId"])


def test_vpcs(client, vpc):
    ec2 = client("ec2")
    found = ec2.describe_vpcs(Filters=[{"Name": "tag:Name", "Values": ["con*"]}])["Vpcs"]
    assert [v["VpcId"] for v in found] == [vpc]
    assert (found[0]["CidrBlock"], found[0]["State"], found[0]["IsDefault"]) == ("10.1.0.0/16", "available", False)
    assert found[0]["CidrBlockAssociationSet"][0]["CidrBlock"] == "10.1.0.0/16"
    refused("InvalidVpcID.NotFound", ec2.describe_vpcs, VpcIds=["vpc-00000000000000000"])
    refused("InvalidVpc.Range", ec2.create_vpc, CidrBlock="10.0.0.0/8")
    refused("InvalidParameterValue", ec2.create_vpc, CidrBlock="10.0.0.0")

    def dns(attribute, member):
        return ec2.describe_vpc_attribute(VpcId=vpc, Attribute=attribute)[member]["Value"]

    assert dns("enableDnsSupport", "EnableDnsSupport") is True
    assert dns("enableDnsHostnames", "EnableDnsHostnames") is False
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})
    assert dns("enableDnsHostnames", "EnableDnsHostnames") is True

    groups = ec2.describe_security_groups(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["SecurityGroups"]
    assert [g["GroupName"] for g in groups] == ["default"]
    tables = ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["RouteTables"]
    assert tables[0]["Associations"][0]["Main"] is True
    assert tables[0]["Routes"][0]["GatewayId"] == "local"


def test_subnets(client, vpc):
    ec2 = client("ec2")
    zones = [z["ZoneName"] for z in ec2.describe_availability_zones()["AvailabilityZones"]]
    assert zones == ["us-east-1a", "us-east-1b", "us-east-1c"]
    subnet = ec2.create_subnet(
        VpcId=vpc,
        CidrBlock="10.1.1.0/24",
        AvailabilityZone="us-east-1b",
        TagSpecifications=tagged("subnet", "conf"),
    )["Subnet"]
    assert (subnet["AvailableIpAddressCount"], subnet["AvailabilityZone"]) == (251, "us-east-1b")
    assert subnet["MapPublicIpOnLaunch"] is False
    refused("InvalidSubnet.Range", ec2.create_subnet, VpcId=vpc, CidrBlock="10.2.0.0/24")
    refused("InvalidSubnet.Conflict", ec2.create_subnet, VpcId=vpc, CidrBlock="10.1.1.128/25")
    refused("InvalidVpcID.NotFound", ec2.create_subnet, VpcId="vpc-0", CidrBlock="10.1.2.0/24")
    ec2.modify_subnet_attribute(SubnetId=subnet["SubnetId"], MapPublicIpOnLaunch={"Value": True})
    found = ec2.describe_subnets(SubnetIds=[subnet["SubnetId"]])["Subnets"][0]
    assert found["MapPublicIpOnLaunch"] is True
    refused("DependencyViolation", ec2.delete_vpc, VpcId=vpc)

    ec2.create_tags(Resources=[subnet["SubnetId"]], Tags=[{"Key": "k", "Value": "v"}])
    ec2.delete_tags(Resources=[subnet["SubnetId"]], Tags=[{"Key": "Name"}])
    tags = ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [subnet["SubnetId"]]}])["Tags"]
    assert tags == [
        {"Key": "k", "Value": "v", "ResourceId": subnet["SubnetId"], "ResourceType": "subnet"}
    ]
    ec2.delete_subnet(SubnetId=subnet["SubnetId"])
    refused("InvalidSubnetID.NotFound", ec2.describe_subnets, SubnetIds=[subnet["SubnetId"]])


def test_internet_access(client, vpc):
    ec2 = client("ec2")
    public = ec2.create_subnet(VpcId=vpc, CidrBlock="10.1.0.0/24")["Subnet"]["SubnetId"]
    address = ec2.allocate_address(Domain="vpc")
    refused(
        "Gateway.NotAttached",
        ec2.create_nat_gateway,
        SubnetId=public,
        AllocationId=address["AllocationId"],
    )
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    refused("Resource.AlreadyAssociated", ec2.attach_internet_gateway, InternetGatewayId=gateway, VpcId=vpc)
    described = ec2.describe_internet_gateways(Filters=[{"Name": "attachment.vpc-id", "Values": [vpc]}])
    assert described["InternetGateways"][0]["InternetGatewayId"] == gateway
    nat = ec2.create_nat_gateway(SubnetId=public, AllocationId=address["AllocationId"])["NatGateway"]
    assert nat["NatGatewayAddresses"][0]["PublicIp"] == address["PublicIp"]
    used = ec2.describe_addresses(AllocationIds=[address["AllocationId"]])["Addresses"][0]
    assert used["AssociationId"] == nat["NatGatewayAddresses"][0]["AssociationId"]
    refused("InvalidIPAddress.InUse", ec2.release_address, AllocationId=address["AllocationId"])
    refused("DependencyViolation", ec2.delete_subnet, SubnetId=public)
    refused("DependencyViolation", ec2.detach_internet_gateway, InternetGatewayId=gateway, VpcId=vpc)

    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", NatGatewayId=nat["NatGatewayId"])
    refused(
        "RouteAlreadyExists",
        ec2.create_route,
        RouteTableId=table,
        DestinationCidrBlock="0.0.0.0/0",
        GatewayId=gateway,
    )
    association = ec2.associate_route_table(RouteTableId=table, SubnetId=public)["AssociationId"]
    found = ec2.describe_route_tables(Filters=[{"Name": "association.subnet-id", "Values": [public]}])
    assert [t["RouteTableId"] for t in found["RouteTables"]] == [table]
    routes = {r["DestinationCidrBlock"]: r for r in found["RouteTables"][0]["Routes"]}
    assert routes["0.0.0.0/0"]["NatGatewayId"] == nat["NatGatewayId"]
    refused("DependencyViolation", ec2.delete_route_table, RouteTableId=table)

    ec2.delete_nat_gateway(NatGatewayId=nat["NatGatewayId"])
    state = ec2.describe_nat_gateways(NatGatewayIds=[nat["NatGatewayId"]])["NatGateways"][0]["State"]
    assert state == "deleted"
    routes = ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"][0]["Routes"]
    assert [r["State"] for r in routes] == ["active", "blackhole"]
    ec2.delete_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0")
    refused("InvalidRoute.NotFound", ec2.delete_route, RouteTableId=table, DestinationCidrBlock="0.0.0.0/0")
    ec2.disassociate_route_table(AssociationId=association)
    ec2.delete_route_table(RouteTableId=table)
    ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    ec2.delete_internet_gateway(InternetGatewayId=gateway)
    ec2.release_address(AllocationId=address["AllocationId"])
    refused("InvalidAllocationID.NotFound", ec2.describe_addresses, AllocationIds=[address["AllocationId"]])
    ec2.delete_subnet(SubnetId=public)


def test_security_groups(client, vpc):
    ec2 = client("ec2")
    group = ec2.create_security_group(GroupName="conf", Description="d", VpcId=vpc)["GroupId"]
    refused("InvalidGroup.Duplicate", ec2.create_security_group, GroupName="conf", Description="d", VpcId=vpc)
    rule = {
        "IpProtocol": "tcp",
        "FromPort": 443,
        "ToPort": 443,
        "IpRanges": [{"CidrIp": "10.1.0.0/16", "Description": "in"}],
    }
    answer = ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
    assert answer["SecurityGroupRules"][0]["CidrIpv4"] == "10.1.0.0/16"
    refused("InvalidPermission.Duplicate", ec2.authorize_security_group_ingress, GroupId=group, IpPermissions=[rule])
    other = ec2.create_security_group(GroupName="conf2", Description="d", VpcId=vpc)["GroupId"]
    pair = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}
    ec2.authorize_security_group_egress(GroupId=other, IpPermissions=[pair])
    found = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]
    assert found["IpPermissions"][0]["IpRanges"] == rule["IpRanges"]
    assert found["IpPermissionsEgress"][0]["IpRanges"] == [{"CidrIp": "0.0.0.0/0"}]
    refused("DependencyViolation", ec2.delete_security_group, GroupId=group)
    ec2.revoke_security_group_egress(GroupId=other, IpPermissions=[pair])
    ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[rule])
    refused("InvalidPermission.NotFound", ec2.revoke_security_group_ingress, GroupId=group, IpPermissions=[rule])
    assert ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"] == []
    for gone in (group, other):
        ec2.delete_security_group(GroupId=gone)
    refused("InvalidGroup.NotFound", ec2.describe_security_groups, GroupIds=[group])


def test_endpoints(client, vpc):
    ec2 = client("ec2")
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    s3 = ec2.create_vpc_endpoint(
        VpcId=vpc, ServiceName="com.amazonaws.us-east-1.s3", RouteTableIds=[table]
    )["VpcEndpoint"]
    assert (s3["VpcEndpointType"], s3["RouteTableIds"]) == ("Gateway", [table])
    routes = ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"][0]["Routes"]
    assert routes[1]["GatewayId"] == s3["VpcEndpointId"]
    refused("InvalidServiceName", ec2.create_vpc_endpoint, VpcId=vpc, ServiceName="com.example.s3")

    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.1.3.0/24")["Subnet"]["SubnetId"]
    group = ec2.create_security_group(GroupName="conf", Description="d", VpcId=vpc)["GroupId"]
    api = ec2.create_vpc_endpoint(
        VpcId=vpc,
        VpcEndpointType="Interface",
        ServiceName="com.amazonaws.us-east-1.sagemaker.api",
        SubnetIds=[subnet],
        SecurityGroupIds=[group],
    )["VpcEndpoint"]
    assert [g["GroupId"] for g in api["Groups"]] == [group]
    assert api["PrivateDnsEnabled"] is True and len(api["NetworkInterfaceIds"]) == 1
    refused("DependencyViolation", ec2.delete_security_group, GroupId=group)
    ec2.modify_vpc_endpoint(VpcEndpointId=api["VpcEndpointId"], PrivateDnsEnabled=False)
    ec2.modify_vpc_endpoint(VpcEndpointId=s3["VpcEndpointId"], RemoveRouteTableIds=[table])
    found = ec2.describe_vpc_endpoints(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["VpcEndpoints"]
    found = {e["VpcEndpointId"]: e for e in found}
    assert found[s3["VpcEndpointId"]]["RouteTableIds"] == []
    assert found[api["VpcEndpointId"]]["PrivateDnsEnabled"] is False
    assert len(ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"][0]["Routes"]) == 1

    gone = ec2.delete_vpc_endpoints(VpcEndpointIds=[s3["VpcEndpointId"], api["VpcEndpointId"], "vpce-0"])
    assert [u["ResourceId"] for u in gone["Unsuccessful"]] == ["vpce-0"]
    ec2.delete_security_group(GroupId=group)
    ec2.delete_subnet(SubnetId=subnet)
    ec2.delete_route_table(RouteTableId=table)
