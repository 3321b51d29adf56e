//! VPCs. A new one has a main route table and a default security group, as in AWS.

use serde_json::{Value, json};

use super::cidr::Cidr;
use super::kinds::{
    Kind, NAT_GATEWAY, ROUTE_TABLE, SECURITY_GROUP, SUBNET, VPC, VPC_ENDPOINT, changing,
    dependency, flag, new_id, required, text,
};
use super::{gateways, routes, security_groups};
use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::cloud::ACCOUNT;

/// What only this room reads; the wire leaves it out.
const PRIVATE: [&str; 2] = ["enableDnsSupport", "enableDnsHostnames"];

pub(super) async fn create(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let _change = changing(cloud);
    let cidr = Cidr::network(required(&input, "CidrBlock")?, "InvalidVpc.Range")?;
    let id = VPC.new_id();
    let tenancy = match input["InstanceTenancy"].as_str() {
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
        "state": "available",
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
        "tagSet": VPC.new_tags(&input)?,
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

pub(super) async fn describe(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let mut answer = VPC.describe(cloud, &input)?;
    if let Value::Array(vpcs) = &mut answer["vpcSet"] {
        *vpcs = vpcs.drain(..).map(public).collect();
    }
    Ok(answer)
}

pub(super) async fn delete(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let _change = changing(cloud);
    let id = required(&input, "VpcId")?;
    VPC.require(cloud, id)?;
    let in_use = || {
        dependency(format!(
            "The vpc '{id}' has dependencies and cannot be deleted."
        ))
    };
    let holds = |kind: &Kind, extra: fn(&Value) -> bool| -> ApiResult<bool> {
        Ok(kind.in_vpc(cloud, id)?.iter().any(extra))
    };
    let live = |record: &Value| text(record, "state") != "deleted";
    if holds(&SUBNET, |_| true)?
        || holds(&NAT_GATEWAY, live)?
        || holds(&VPC_ENDPOINT, live)?
        || holds(&ROUTE_TABLE, |table| !routes::is_main(table))?
        || holds(&SECURITY_GROUP, |group| {
            text(group, "groupName") != "default"
        })?
        || gateways::attached_to(cloud, id)?
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

pub(super) async fn modify(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let _change = changing(cloud);
    let id = required(&input, "VpcId")?;
    let support = flag(&input, "EnableDnsSupport")?;
    let hostnames = flag(&input, "EnableDnsHostnames")?;
    if input.get("EnableNetworkAddressUsageMetrics").is_some() {
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

pub(super) async fn describe_attribute(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let id = required(&input, "VpcId")?;
    let vpc = VPC.require(cloud, id)?;
    let attribute = required(&input, "Attribute")?;
    if !PRIVATE.contains(&attribute) {
        return Err(ApiError::not_implemented(format_args!(
            "the VPC attribute {attribute}"
        )));
    }
    Ok(json!({"vpcId": id, attribute: {"value": vpc[attribute]}}))
}
