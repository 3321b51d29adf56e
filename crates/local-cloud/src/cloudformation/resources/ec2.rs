//! The EC2 types.
//!
//! Requests have EC2's wire names (`Tag`, not `Tags`) and responses its XML names, like a client's
//! request after parsing.
#![expect(clippy::unnecessary_wraps, reason = "forms, some of which can fail")]

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::builder::{
    argument, at, attached, call, camel, changed, document, element, from, json, key, name,
    physical, read, same, search, set, tags_by, text,
};
use super::errors::is_refused;
use super::hooks::Hooks;
use super::table::{Argument, Call, Elements, List, Source, Spelling, State, Tags, Type};
use super::target::Target;
use crate::api::ApiResult;
use crate::ec2::has_rules;

/// The types of this file.
pub(super) const TYPES: &[Type] = &[
    Type::new("AWS::EC2::VPC", "ec2")
        .tagged("vpc", "DescribeVpcs", "/vpcId")
        .create("CreateVpc", &[same("CidrBlock InstanceTenancy")])
        .id(Source::Part("/vpc/vpcId"))
        .attributes(&[
            ("VpcId", Source::Physical),
            ("CidrBlock", Source::Property("CidrBlock")),
        ])
        .described(
            DEFAULT_GROUP,
            &[("DefaultSecurityGroup", "/securityGroupInfo/0/groupId")],
        )
        .settings(&[
            set(
                "ModifyVpcAttribute",
                &[
                    physical("VpcId"),
                    from("EnableDnsSupport.Value", "EnableDnsSupport").or("true"),
                ],
            ),
            set(
                "ModifyVpcAttribute",
                &[
                    physical("VpcId"),
                    from("EnableDnsHostnames.Value", "EnableDnsHostnames").or("false"),
                ],
            ),
        ])
        .live(&[
            read(
                call("DescribeVpcs", &[physical("VpcId[]")]),
                "/vpcSet/*",
                &[camel("CidrBlock InstanceTenancy"), at("Tags", "/tagSet")],
            ),
            read(
                call(
                    "DescribeVpcAttribute",
                    &[physical("VpcId"), text("Attribute", "enableDnsSupport")],
                ),
                "",
                &[at("EnableDnsSupport", "/enableDnsSupport/value")],
            ),
            read(
                call(
                    "DescribeVpcAttribute",
                    &[physical("VpcId"), text("Attribute", "enableDnsHostnames")],
                ),
                "",
                &[at("EnableDnsHostnames", "/enableDnsHostnames/value")],
            ),
        ])
        .delete("DeleteVpc", &[physical("VpcId")]),
    Type::new("AWS::EC2::Subnet", "ec2")
        .tagged("subnet", "DescribeSubnets", "/subnetId")
        .create("CreateSubnet", &[same("AvailabilityZone CidrBlock VpcId")])
        .id(Source::Part("/subnet/subnetId"))
        .attributes(&[
            ("SubnetId", Source::Physical),
            ("AvailabilityZone", Source::Part("/subnet/availabilityZone")),
            ("CidrBlock", Source::Property("CidrBlock")),
            ("VpcId", Source::Property("VpcId")),
        ])
        .settings(&[set(
            "ModifySubnetAttribute",
            &[
                physical("SubnetId"),
                from("MapPublicIpOnLaunch.Value", "MapPublicIpOnLaunch").or("false"),
            ],
        )])
        .live(&[read(
            call("DescribeSubnets", &[physical("SubnetId[]")]),
            "/subnetSet/*",
            &[
                camel("AvailabilityZone CidrBlock MapPublicIpOnLaunch VpcId"),
                at("Tags", "/tagSet"),
            ],
        )])
        .delete("DeleteSubnet", &[physical("SubnetId")]),
    Type::new("AWS::EC2::InternetGateway", "ec2")
        .tagged(
            "internet-gateway",
            "DescribeInternetGateways",
            "/internetGatewayId",
        )
        .create("CreateInternetGateway", &[])
        .id(Source::Part("/internetGateway/internetGatewayId"))
        .attributes(&[("InternetGatewayId", Source::Physical)])
        .live(&[read(
            call(
                "DescribeInternetGateways",
                &[physical("InternetGatewayId[]")],
            ),
            "/internetGatewaySet/*",
            &[at("Tags", "/tagSet")],
        )])
        .delete("DeleteInternetGateway", &[physical("InternetGatewayId")]),
    Type::new("AWS::EC2::VPCGatewayAttachment", "ec2")
        .create("AttachInternetGateway", &[same("InternetGatewayId VpcId")])
        .id(Source::Text("IGW|{VpcId}"))
        .settings(&[
            set(
                "DetachInternetGateway",
                &[
                    argument("InternetGatewayId", Source::Previous("InternetGatewayId")),
                    key("VpcId", "VpcId"),
                ],
            )
            .on_update()
            .done_already(&["Gateway.NotAttached", "InvalidInternetGatewayID.NotFound"]),
            set(
                "AttachInternetGateway",
                &[same("InternetGatewayId"), key("VpcId", "VpcId")],
            )
            .on_update(),
        ])
        .find(
            search(
                call(
                    "DescribeInternetGateways",
                    &[from("InternetGatewayId[]", "InternetGatewayId")],
                ),
                "/internetGatewaySet/*/attachmentSet/*",
                "",
            )
            .equal(&[("/vpcId", Source::Property("VpcId"))])
            .id(Source::Text("IGW|{VpcId}")),
        )
        .live(&[read(
            call(
                "DescribeInternetGateways",
                &[from("InternetGatewayId[]", "InternetGatewayId")],
            ),
            "/internetGatewaySet/*/attachmentSet/*",
            &[camel("VpcId")],
        )
        .equal(&[("/vpcId", Source::Property("VpcId"))])])
        .delete("DetachInternetGateway", &[same("InternetGatewayId VpcId")])
        .deleted_already(&["Gateway.NotAttached"])
        .hooks(&Attachment, ""),
    Type::new("AWS::EC2::EIP", "ec2")
        .tagged("elastic-ip", "DescribeAddresses", "/publicIp")
        .create("AllocateAddress", &[same("Domain")])
        .id(Source::Part("/publicIp"))
        .attributes(&[
            ("PublicIp", Source::Physical),
            ("AllocationId", Source::Part("/allocationId")),
        ])
        .api_id(search(
            call("DescribeAddresses", &[physical("PublicIp[]")]),
            "/addressesSet/*",
            "/allocationId",
        ))
        .live(&[read(
            call("DescribeAddresses", &[physical("PublicIp[]")]),
            "/addressesSet/*",
            &[camel("Domain"), at("Tags", "/tagSet")],
        )])
        .delete("ReleaseAddress", &[physical("AllocationId")]),
    Type::new("AWS::EC2::NatGateway", "ec2")
        .tagged("natgateway", "DescribeNatGateways", "/natGatewayId")
        .create(
            "CreateNatGateway",
            &[same("AllocationId ConnectivityType SubnetId")],
        )
        .id(Source::Part("/natGateway/natGatewayId"))
        .attributes(&[("NatGatewayId", Source::Physical)])
        .stable(nat_gateway(&["available"], &["failed", "deleted"]))
        .live(&[read(
            NAT_GATEWAY,
            "/natGatewaySet/*",
            &[
                camel("ConnectivityType SubnetId"),
                at("AllocationId", "/natGatewayAddressSet/0/allocationId"),
                at("Tags", "/tagSet"),
            ],
        )])
        .delete("DeleteNatGateway", &[physical("NatGatewayId")])
        .deleting(nat_gateway(&["deleted"], &["failed"])),
    Type::new("AWS::EC2::RouteTable", "ec2")
        .tagged("route-table", "DescribeRouteTables", "/routeTableId")
        .create("CreateRouteTable", &[same("VpcId")])
        .id(Source::Part("/routeTable/routeTableId"))
        .attributes(&[("RouteTableId", Source::Physical)])
        .live(&[read(
            call("DescribeRouteTables", &[physical("RouteTableId[]")]),
            "/routeTableSet/*",
            &[camel("VpcId"), at("Tags", "/tagSet")],
        )])
        .delete("DeleteRouteTable", &[physical("RouteTableId")]),
    Type::new("AWS::EC2::Route", "ec2")
        .create(
            "CreateRoute",
            &[same(
                "DestinationCidrBlock GatewayId NatGatewayId RouteTableId",
            )],
        )
        .id(Source::Text("{RouteTableId}|{DestinationCidrBlock}"))
        .attributes(&[("CidrBlock", Source::Property("DestinationCidrBlock"))])
        .find(
            search(ROUTE_TABLE, "/routeTableSet/*/routeSet/*", "")
                .equal(&[(
                    "/destinationCidrBlock",
                    Source::Property("DestinationCidrBlock"),
                )])
                .id(Source::Text("{RouteTableId}|{DestinationCidrBlock}")),
        )
        .live(&[read(
            ROUTE_TABLE,
            "/routeTableSet/*/routeSet/*",
            &[camel("DestinationCidrBlock GatewayId NatGatewayId")],
        )
        .equal(&[(
            "/destinationCidrBlock",
            Source::Property("DestinationCidrBlock"),
        )])])
        .delete("DeleteRoute", &[same("DestinationCidrBlock RouteTableId")]),
    Type::new("AWS::EC2::SubnetRouteTableAssociation", "ec2")
        .create("AssociateRouteTable", &[same("RouteTableId SubnetId")])
        .id(Source::Part("/associationId"))
        .attributes(&[("Id", Source::Physical)])
        .find(
            search(
                ROUTE_TABLE,
                "/routeTableSet/*/associationSet/*",
                "/routeTableAssociationId",
            )
            .equal(&[("/subnetId", Source::Property("SubnetId"))]),
        )
        .live(&[read(
            call("DescribeRouteTables", &[]),
            "/routeTableSet/*/associationSet/*",
            &[camel("RouteTableId SubnetId")],
        )
        .equal(&[("/routeTableAssociationId", Source::Physical)])])
        .delete("DisassociateRouteTable", &[physical("AssociationId")]),
    Type::new("AWS::EC2::SecurityGroup", "ec2")
        .tagged("security-group", "DescribeSecurityGroups", "/groupId")
        .named("GroupName", 255)
        .create(
            "CreateSecurityGroup",
            &[name("GroupName"), same("GroupDescription VpcId")],
        )
        .id(Source::Part("/groupId"))
        .attributes(&[
            ("GroupId", Source::Physical),
            ("VpcId", Source::Property("VpcId")),
        ])
        .lists(&[
            rules(
                Elements::Of("SecurityGroupIngress"),
                "AuthorizeSecurityGroupIngress",
                "RevokeSecurityGroupIngress",
            ),
            rules(
                Elements::By("SecurityGroupEgress", egress),
                "AuthorizeSecurityGroupEgress",
                "RevokeSecurityGroupEgress",
            ),
        ])
        .live(&[read(
            call("DescribeSecurityGroups", &[physical("GroupId[]")]),
            "/securityGroupInfo/*",
            &[
                camel("GroupDescription GroupName VpcId"),
                at("SecurityGroupEgress", "/ipPermissionsEgress"),
                at("SecurityGroupIngress", "/ipPermissions"),
                at("Tags", "/tagSet"),
            ],
        )])
        .delete("DeleteSecurityGroup", &[physical("GroupId")])
        .hooks(&SecurityGroup, ""),
    Type::new("AWS::EC2::SecurityGroupIngress", "ec2")
        .create("AuthorizeSecurityGroupIngress", INGRESS)
        .id(RULE_ID)
        .attributes(&[("Id", Source::Physical)])
        .find_by_code()
        .delete("RevokeSecurityGroupIngress", INGRESS)
        .hooks(&Rule { is_egress: false }, ""),
    Type::new("AWS::EC2::SecurityGroupEgress", "ec2")
        .create("AuthorizeSecurityGroupEgress", EGRESS)
        .id(RULE_ID)
        .attributes(&[("Id", Source::Physical)])
        .find_by_code()
        .delete("RevokeSecurityGroupEgress", EGRESS)
        .hooks(&Rule { is_egress: true }, ""),
    Type::new("AWS::EC2::VPCEndpoint", "ec2")
        .tagged("vpc-endpoint", "DescribeVpcEndpoints", "/vpcEndpointId")
        .create(
            "CreateVpcEndpoint",
            &[
                same("PrivateDnsEnabled ServiceName VpcEndpointType VpcId"),
                document("PolicyDocument", "PolicyDocument"),
                from("RouteTableId", "RouteTableIds"),
                from("SecurityGroupId", "SecurityGroupIds"),
                from("SubnetId", "SubnetIds"),
            ],
        )
        .id(Source::Part("/vpcEndpoint/vpcEndpointId"))
        .attributes(&[("Id", Source::Physical)])
        .settings(&[set(
            "ModifyVpcEndpoint",
            &[
                physical("VpcEndpointId"),
                document("PolicyDocument", "PolicyDocument").only_changed(),
                argument("ResetPolicy", Source::Dropped("PolicyDocument")),
                changed("PrivateDnsEnabled", "false"),
                argument("AddRouteTableId", Source::Added("RouteTableIds")),
                argument("RemoveRouteTableId", Source::Removed("RouteTableIds")),
                argument("AddSecurityGroupId", Source::Added("SecurityGroupIds")),
                argument("RemoveSecurityGroupId", Source::Removed("SecurityGroupIds")),
                argument("AddSubnetId", Source::Added("SubnetIds")),
                argument("RemoveSubnetId", Source::Removed("SubnetIds")),
            ],
        )
        .on_update()])
        .live(&[read(
            call("DescribeVpcEndpoints", &[physical("VpcEndpointId[]")]),
            "/vpcEndpointSet/*",
            &[
                camel("PolicyDocument PrivateDnsEnabled ServiceName"),
                camel("VpcEndpointType VpcId"),
                at("RouteTableIds", "/routeTableIdSet"),
                at("SecurityGroupIds", "/groupSet/*/groupId"),
                at("SubnetIds", "/subnetIdSet"),
                at("Tags", "/tagSet"),
            ],
        )])
        .delete("DeleteVpcEndpoints", &[physical("VpcEndpointId[]")]),
    Type::new("AWS::EC2::FlowLog", "ec2")
        .tagged("vpc-flow-log", "DescribeFlowLogs", "/flowLogId")
        .create(
            "CreateFlowLogs",
            &[
                from("ResourceId[]", "ResourceId"),
                same("DeliverLogsPermissionArn DestinationOptions LogDestination LogFormat"),
                same("LogDestinationType LogGroupName MaxAggregationInterval ResourceType"),
                same("TrafficType"),
            ],
        )
        .id(Source::Part("/flowLogIdSet/0"))
        .attributes(&[("Id", Source::Physical)])
        .live(&[read(
            call("DescribeFlowLogs", &[physical("FlowLogId[]")]),
            "/flowLogSet/*",
            &[
                camel("DeliverLogsPermissionArn DestinationOptions LogDestination"),
                camel("LogDestinationType LogFormat"),
                camel("LogGroupName MaxAggregationInterval ResourceId TrafficType"),
                at("Tags", "/tagSet"),
            ],
        )])
        .delete("DeleteFlowLogs", &[physical("FlowLogId[]")]),
];

impl Type {
    /// Resources with tags of this EC2 kind, which are found by the tags that `CloudFormation` adds.
    const fn tagged(self, kind: &'static str, describe: &'static str, id: &'static str) -> Self {
        let resource = physical("ResourceId[]");
        let spelling = Spelling::Specification(kind);
        self.tags(Tags {
            create: "TagSpecification",
            list: "Tag",
            keys: "Tag",
            ..tags_by(["CreateTags", "DeleteTags"], spelling, resource)
        })
        .find(search(call(describe, &[]), "/*/*", id).tagged())
    }
}

/// The security group that a new VPC has.
const DEFAULT_GROUP: Call = call(
    "DescribeSecurityGroups",
    &[json(
        "Filter",
        r#"[{"Name": "vpc-id", "Value": ["{physical}"]}, {"Name": "group-name", "Value": ["default"]}]"#,
    )],
);

const ROUTE_TABLE: Call = call(
    "DescribeRouteTables",
    &[from("RouteTableId[]", "RouteTableId")],
);

const NAT_GATEWAY: Call = call("DescribeNatGateways", &[physical("NatGatewayId[]")]);

const fn nat_gateway(wanted: &'static [&'static str], failed: &'static [&'static str]) -> State {
    State {
        call: NAT_GATEWAY,
        states: &[("/natGatewaySet/0/state", "/natGatewaySet/0/failureMessage")],
        wanted,
        failed,
        message: "NatGateway {physical} is {state}: {reason}",
    }
}

const RULE_ID: Source = Source::Part("/securityGroupRuleSet/0/securityGroupRuleId");

const INGRESS: &[Argument] = &[
    same("GroupId"),
    argument(
        "IpPermissions[]",
        Source::Object(
            "CidrIp CidrIpv6 Description FromPort IpProtocol SourcePrefixListId SourceSecurityGroupId ToPort",
        ),
    )
    .form(permission),
];

const EGRESS: &[Argument] = &[
    same("GroupId"),
    argument(
        "IpPermissions[]",
        Source::Object(
            "CidrIp CidrIpv6 Description DestinationPrefixListId DestinationSecurityGroupId FromPort IpProtocol ToPort",
        ),
    )
    .form(permission),
];

/// The rules in a security group.
const fn rules(elements: Elements, add: &'static str, remove: &'static str) -> List {
    const ARGUMENTS: &[Argument] = &[
        physical("GroupId"),
        element("IpPermissions[]").form(permission),
    ];
    List {
        elements,
        removes_first: true,
        empties: false,
        ..attached("", [add, remove], ARGUMENTS)
    }
}

/// One rule of a security group, in the form of the API.
fn permission(rule: &Value, _: &Map<String, Value>) -> ApiResult<Value> {
    let mut permission = Map::new();
    for name in ["IpProtocol", "FromPort", "ToPort"] {
        if let Some(value) = rule.get(name) {
            permission.insert(name.to_owned(), value.clone());
        }
    }
    for (property, list, member) in [
        ("CidrIp", "IpRanges", "CidrIp"),
        ("CidrIpv6", "Ipv6Ranges", "CidrIpv6"),
        ("SourcePrefixListId", "PrefixListIds", "PrefixListId"),
        ("DestinationPrefixListId", "PrefixListIds", "PrefixListId"),
        ("SourceSecurityGroupId", "Groups", "GroupId"),
        ("DestinationSecurityGroupId", "Groups", "GroupId"),
    ] {
        if let Some(value) = rule.get(property) {
            let mut target = Map::from_iter([(member.to_owned(), value.clone())]);
            if let Some(description) = rule.get("Description") {
                target.insert("Description".to_owned(), description.clone());
            }
            permission.insert(list.to_owned(), json!([target]));
        }
    }
    Ok(Value::Object(permission))
}

/// The egress rules of a group; if the template has none, the group keeps EC2's default rule, which
/// allows all traffic.
fn egress(properties: &Map<String, Value>) -> Vec<Value> {
    match super::list(properties, "SecurityGroupEgress") {
        rules if rules.is_empty() => vec![json!({"IpProtocol": "-1", "CidrIp": "0.0.0.0/0"})],
        rules => rules,
    }
}

/// A permission of a response as the rules of a template: one for each range, group and prefix list.
fn shown_rules(permission: &Value, other: &str) -> Vec<Value> {
    let mut found = Vec::new();
    for (list, member, property) in [
        ("ipRanges", "cidrIp", "CidrIp".to_owned()),
        ("ipv6Ranges", "cidrIpv6", "CidrIpv6".to_owned()),
        ("groups", "groupId", format!("{other}SecurityGroupId")),
        (
            "prefixListIds",
            "prefixListId",
            format!("{other}PrefixListId"),
        ),
    ] {
        for peer in permission[list].as_array().into_iter().flatten() {
            let mut rule = Map::from_iter([(property.clone(), peer[member].clone())]);
            for (name, value) in [
                ("Description", &peer["description"]),
                ("IpProtocol", &permission["ipProtocol"]),
                ("FromPort", &permission["fromPort"]),
                ("ToPort", &permission["toPort"]),
            ] {
                if !value.is_null() {
                    rule.insert(name.to_owned(), value.clone());
                }
            }
            found.push(Value::Object(rule));
        }
    }
    found
}

struct SecurityGroup;

#[async_trait]
impl Hooks for SecurityGroup {
    async fn live(&self, target: &Target<'_>) -> ApiResult<Option<Map<String, Value>>> {
        let Some(mut live) = target.live().await? else {
            return Ok(None);
        };
        for (name, other) in [
            ("SecurityGroupIngress", "Source"),
            ("SecurityGroupEgress", "Destination"),
        ] {
            if let Some(Value::Array(rules)) = live.get_mut(name) {
                *rules = rules
                    .iter()
                    .flat_map(|rule| shown_rules(rule, other))
                    .collect();
            }
        }
        Ok(Some(live))
    }
}

struct Attachment;

/// A rule of a group, which is found and deleted by its properties.
struct Rule {
    is_egress: bool,
}

#[async_trait]
impl Hooks for Rule {
    async fn find(&self, target: &Target<'_>) -> ApiResult<Vec<String>> {
        let arguments = if self.is_egress { EGRESS } else { INGRESS };
        let request = target.input(&call("", arguments), &Value::Null)?;
        let found = match has_rules(target.cloud, request.into(), self.is_egress) {
            // A request that the service refuses creates nothing.
            Err(error) if error.is_gone() || is_refused(&error) => false,
            found => found?,
        };
        let id = found.then(|| target.text("GroupId"));
        Ok(id.into_iter().collect())
    }

    fn reads_live(&self) -> bool {
        true
    }

    async fn live(&self, target: &Target<'_>) -> ApiResult<Option<Map<String, Value>>> {
        // A rule with other properties is another rule.
        let exists = !self.find(target).await?.is_empty();
        Ok(exists.then(|| target.properties.clone()))
    }
}

#[async_trait]
impl Hooks for Attachment {
    async fn update(&self, target: &Target<'_>) -> ApiResult<Map<String, Value>> {
        // The roll-back of an update whose detach call failed: a VPC has only one gateway.
        if !target.find().await?.is_empty() {
            return Ok(Map::new());
        }
        target.update().await
    }
}
