//! VPCs. A new one has a main route table and a default security group, as in AWS.

use serde::Deserialize;
use serde_json::{Value, json};

use super::attachments::attached_to;
use super::cidr::Cidr;
use super::kinds::{
    Kind, NAT_GATEWAY, ROUTE_TABLE, SECURITY_GROUP, SUBNET, VPC, VPC_ENDPOINT, changing,
    dependency, is_live, new_id, text,
};
use super::requests::{Describe, TagSpecifications, required};
use super::states::ResourceState;
use super::{routes, security_groups};
use crate::Cloud;
use crate::api::form::flag;
use crate::api::{ApiError, ApiResult};
use crate::cloud::ACCOUNT;

/// Members of a record that are omitted from responses; `DescribeVpcAttribute` returns them one by one.
const PRIVATE: [&str; 2] = ["enableDnsSupport", "enableDnsHostnames"];

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct CreateVpc {
    cidr_block: String,
    instance_tenancy: Option<String>,
    tag_specification: TagSpecifications,
}

pub(super) async fn create(cloud: &Cloud, input: CreateVpc) -> ApiResult<Value> {
    let _change = changing(cloud);
    let cidr = Cidr::network(
        required(&input.cidr_block, "CidrBlock")?,
        "InvalidVpc.Range",
    )?;
    let id = VPC.new_id();
    let tenancy = match input.instance_tenancy.as_deref() {
        None => "default",
        Some(tenancy @ ("default" | "dedicated")) => tenancy,
        Some(other) => {
            return Err(ApiError::new(
                "InvalidParameterValue",
                format!("Value ({other}) for parameter instanceTenancy is invalid"),
            ));
        }
    };
    let vpc = json!({
        "vpcId": id,
        "state": ResourceState::Available,
        "cidrBlock": cidr.to_string(),
        "cidrBlockAssociationSet": [{
            "associationId": new_id("vpc-cidr-assoc"),
            "cidrBlock": cidr.to_string(),
            "cidrBlockState": {"state": "associated"},
        }],
        "dhcpOptionsId": "default",
        "instanceTenancy": tenancy,
        "isDefault": false,
        "ownerId": ACCOUNT,
        "tagSet": input.tag_specification.of(VPC.name)?,
        "enableDnsSupport": true,
        "enableDnsHostnames": false,
    });
    VPC.records(cloud).put(&id, &vpc)?;
    routes::make_table(cloud, &id, &cidr.to_string(), true, &json!([]))?;
    security_groups::make_default(cloud, &id)?;
    Ok(json!({"vpc": public(vpc)}))
}

fn public(mut vpc: Value) -> Value {
    if let Value::Object(members) = &mut vpc {
        for private in PRIVATE {
            members.remove(private);
        }
    }
    vpc
}

pub(super) async fn describe(cloud: &Cloud, input: Describe) -> ApiResult<Value> {
    let mut answer = VPC.describe(cloud, &input)?;
    if let Value::Array(vpcs) = &mut answer["vpcSet"] {
        *vpcs = vpcs.drain(..).map(public).collect();
    }
    Ok(answer)
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct DeleteVpc {
    vpc_id: String,
}

pub(super) async fn delete(cloud: &Cloud, input: DeleteVpc) -> ApiResult<Value> {
    let _change = changing(cloud);
    let id = required(&input.vpc_id, "VpcId")?;
    VPC.require(cloud, id)?;
    let in_use = || {
        dependency(format!(
            "The vpc '{id}' has dependencies and cannot be deleted."
        ))
    };
    let holds = |kind: &Kind, extra: fn(&Value) -> bool| -> ApiResult<bool> {
        Ok(kind.in_vpc(cloud, id)?.iter().any(extra))
    };
    if holds(&SUBNET, |_| true)?
        || holds(&NAT_GATEWAY, is_live)?
        || holds(&VPC_ENDPOINT, is_live)?
        || holds(&ROUTE_TABLE, |table| !routes::is_main(table))?
        || holds(&SECURITY_GROUP, |group| {
            text(group, "groupName") != "default"
        })?
        || attached_to(cloud, id)?
    {
        return Err(in_use());
    }
    for kind in [&ROUTE_TABLE, &SECURITY_GROUP] {
        for record in kind.in_vpc(cloud, id)? {
            kind.records(cloud).remove(text(&record, kind.id))?;
        }
    }
    VPC.records(cloud).remove(id)?;
    Ok(super::done())
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ModifyVpc {
    vpc_id: String,
    #[serde(deserialize_with = "flag")]
    enable_dns_support: Option<bool>,
    #[serde(deserialize_with = "flag")]
    enable_dns_hostnames: Option<bool>,
    #[serde(deserialize_with = "flag")]
    enable_network_address_usage_metrics: Option<bool>,
}

pub(super) async fn modify(cloud: &Cloud, input: ModifyVpc) -> ApiResult<Value> {
    let _change = changing(cloud);
    let id = required(&input.vpc_id, "VpcId")?;
    let support = input.enable_dns_support;
    let hostnames = input.enable_dns_hostnames;
    if input.enable_network_address_usage_metrics.is_some() {
        return Err(ApiError::not_implemented(
            "EnableNetworkAddressUsageMetrics of a VPC",
        ));
    }
    VPC.records(cloud)
        .update(id, |vpc| {
            if let Some(support) = support {
                vpc["enableDnsSupport"] = json!(support);
            }
            if let Some(hostnames) = hostnames {
                vpc["enableDnsHostnames"] = json!(hostnames);
            }
            Ok(())
        })?
        .ok_or_else(|| VPC.missing(id))?;
    Ok(super::done())
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct DescribeAttribute {
    vpc_id: String,
    attribute: String,
}

pub(super) async fn describe_attribute(
    cloud: &Cloud,
    input: DescribeAttribute,
) -> ApiResult<Value> {
    let id = required(&input.vpc_id, "VpcId")?;
    let vpc = VPC.require(cloud, id)?;
    let attribute = required(&input.attribute, "Attribute")?;
    if !PRIVATE.contains(&attribute) {
        return Err(ApiError::not_implemented(format_args!(
            "the VPC attribute {attribute}"
        )));
    }
    Ok(json!({"vpcId": id, attribute: {"value": vpc[attribute]}}))
}
