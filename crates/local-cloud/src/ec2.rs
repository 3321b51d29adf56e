//! EC2's network: VPCs and their parts, as records that other services check.
//!
//! No packet flows. Requests are checked as by AWS: address ranges, references to resources that do
//! not exist, deletions that would break a dependency. Records have the member names of the XML
//! responses (`vpcId`, `tagSet`), so a describe operation returns them unchanged.

use serde_json::Value;

use super::cloud::service::{Protocol, Service, operations};

mod attachments;
mod cidr;
mod endpoints;
mod filters;
mod flow_logs;
mod gateways;
mod kinds;
mod requests;
mod routes;
mod security_groups;
mod states;
mod subnets;
mod tags;
mod vpcs;

pub(crate) use security_groups::has_rules;

operations! {
    "AllocateAddress" => gateways::allocate_address,
    "AssociateRouteTable" => routes::associate,
    "AttachInternetGateway" => gateways::attach,
    "AuthorizeSecurityGroupEgress" => security_groups::authorize_egress,
    "AuthorizeSecurityGroupIngress" => security_groups::authorize_ingress,
    "CreateFlowLogs" => flow_logs::create,
    "CreateInternetGateway" => gateways::create_internet,
    "CreateNatGateway" => gateways::create_nat,
    "CreateRoute" => routes::create_route,
    "CreateRouteTable" => routes::create_table,
    "CreateSecurityGroup" => security_groups::create,
    "CreateSubnet" => subnets::create,
    "CreateTags" => tags::create,
    "CreateVpc" => vpcs::create,
    "CreateVpcEndpoint" => endpoints::create,
    "DeleteFlowLogs" => flow_logs::delete,
    "DeleteInternetGateway" => gateways::delete_internet,
    "DeleteNatGateway" => gateways::delete_nat,
    "DeleteRoute" => routes::delete_route,
    "DeleteRouteTable" => routes::delete_table,
    "DeleteSecurityGroup" => security_groups::delete,
    "DeleteSubnet" => subnets::delete,
    "DeleteTags" => tags::delete,
    "DeleteVpc" => vpcs::delete,
    "DeleteVpcEndpoints" => endpoints::delete,
    "DescribeAddresses" => gateways::describe_addresses,
    "DescribeAvailabilityZones" => subnets::zones,
    "DescribeFlowLogs" => flow_logs::describe,
    "DescribeInternetGateways" => gateways::describe_internet,
    "DescribeNatGateways" => gateways::describe_nat,
    "DescribeRouteTables" => routes::describe,
    "DescribeSecurityGroups" => security_groups::describe,
    "DescribeSubnets" => subnets::describe,
    "DescribeTags" => tags::describe,
    "DescribeVpcAttribute" => vpcs::describe_attribute,
    "DescribeVpcEndpoints" => endpoints::describe,
    "DescribeVpcs" => vpcs::describe,
    "DetachInternetGateway" => gateways::detach,
    "DisassociateRouteTable" => routes::disassociate,
    "ModifySubnetAttribute" => subnets::modify,
    "ModifyVpcAttribute" => vpcs::modify,
    "ModifyVpcEndpoint" => endpoints::modify,
    "ReleaseAddress" => gateways::release_address,
    "RevokeSecurityGroupEgress" => security_groups::revoke_egress,
    "RevokeSecurityGroupIngress" => security_groups::revoke_ingress,
}

/// The service.
pub(crate) const SERVICE: Service = Service {
    // Verified against AWS (in issues).
    reserved_tag: (
        "InvalidParameterValue",
        "Value ( {key} ) for parameter key is invalid. Tag keys starting with 'aws:' are reserved \
         for internal use",
    ),
    ..Service::new(
        "ec2",
        "EC2",
        Protocol::Ec2Query {
            xml_namespace: "http://ec2.amazonaws.com/doc/2016-11-15/",
        },
        &[OPERATIONS],
    )
};

/// The response of a change that returns no data.
fn done() -> Value {
    serde_json::json!({"return": true})
}
