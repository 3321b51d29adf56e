//! Internet gateways, elastic addresses and NAT gateways.

use std::net::Ipv4Addr;

use serde::Deserialize;
use serde_json::{Value, json};

use super::attachments::{attached_to, is_attached};
use super::cidr::Cidr;
use super::kinds::{
    ADDRESS, INTERNET_GATEWAY, NAT_GATEWAY, ROUTE_TABLE, SUBNET, VPC, changing, dependency,
    is_live, new_id, text,
};
use super::requests::{Describe, TagSpecifications, required};
use super::routes;
use super::states::ResourceState;
use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::clock;
use crate::cloud::ACCOUNT;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct CreateInternetGateway {
    tag_specification: TagSpecifications,
}

pub(super) async fn create_internet(
    cloud: &Cloud,
    input: CreateInternetGateway,
) -> ApiResult<Value> {
    let id = INTERNET_GATEWAY.new_id();
    let gateway = json!({
        "internetGatewayId": id,
        "attachmentSet": [],
        "ownerId": ACCOUNT,
        "tagSet": input.tag_specification.of(INTERNET_GATEWAY.name)?,
    });
    INTERNET_GATEWAY.records(cloud).put(&id, &gateway)?;
    Ok(json!({"internetGateway": gateway}))
}

pub(super) async fn describe_internet(cloud: &Cloud, input: Describe) -> ApiResult<Value> {
    INTERNET_GATEWAY.describe(cloud, &input)
}

/// An internet gateway and a VPC.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Attachment {
    internet_gateway_id: String,
    vpc_id: String,
}

pub(super) async fn attach(cloud: &Cloud, input: Attachment) -> ApiResult<Value> {
    let _change = changing(cloud);
    let id = required(&input.internet_gateway_id, "InternetGatewayId")?;
    let vpc = required(&input.vpc_id, "VpcId")?;
    let gateway = INTERNET_GATEWAY.require(cloud, id)?;
    VPC.require(cloud, vpc)?;
    if gateway["attachmentSet"][0].is_object() {
        return Err(ApiError::new(
            "Resource.AlreadyAssociated",
            format!(
                "resource {id} is already attached to network {}",
                text(&gateway["attachmentSet"][0], "vpcId")
            ),
        ));
    }
    if attached_to(cloud, vpc)? {
        return Err(ApiError::new(
            "InvalidParameterValue",
            format!("Network {vpc} already has an internet gateway attached"),
        ));
    }
    INTERNET_GATEWAY.records(cloud).update(id, |gateway| {
        gateway["attachmentSet"] = json!([{"vpcId": vpc, "state": ResourceState::Available}]);
        Ok(())
    })?;
    Ok(super::done())
}

pub(super) async fn detach(cloud: &Cloud, input: Attachment) -> ApiResult<Value> {
    let _change = changing(cloud);
    let id = required(&input.internet_gateway_id, "InternetGatewayId")?;
    let vpc = required(&input.vpc_id, "VpcId")?;
    let gateway = INTERNET_GATEWAY.require(cloud, id)?;
    if !is_attached(&gateway, vpc) {
        return Err(ApiError::new(
            "Gateway.NotAttached",
            format!("resource {id} is not attached to network {vpc}"),
        ));
    }
    // Public addresses of the VPC are mapped through its internet gateway.
    let mapped = NAT_GATEWAY
        .in_vpc(cloud, vpc)?
        .iter()
        .any(|nat| is_live(nat) && text(nat, "connectivityType") == "public");
    if mapped {
        return Err(dependency(format!(
            "Network {vpc} has some mapped public address(es). Please unmap those public \
             address(es) before detaching the gateway."
        )));
    }
    INTERNET_GATEWAY.records(cloud).update(id, |gateway| {
        gateway["attachmentSet"] = json!([]);
        Ok(())
    })?;
    Ok(super::done())
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct DeleteInternetGateway {
    internet_gateway_id: String,
}

pub(super) async fn delete_internet(
    cloud: &Cloud,
    input: DeleteInternetGateway,
) -> ApiResult<Value> {
    let _change = changing(cloud);
    let id = required(&input.internet_gateway_id, "InternetGatewayId")?;
    let gateway = INTERNET_GATEWAY.require(cloud, id)?;
    if gateway["attachmentSet"][0].is_object() {
        return Err(dependency(format!(
            "The internetGateway '{id}' has dependencies and cannot be deleted."
        )));
    }
    INTERNET_GATEWAY.records(cloud).remove(id)?;
    Ok(super::done())
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct AllocateAddress {
    domain: String,
    tag_specification: TagSpecifications,
}

/// Allocates an address from 198.51.100.0/24, which RFC 5737 reserves for documentation.
pub(super) async fn allocate_address(cloud: &Cloud, input: AllocateAddress) -> ApiResult<Value> {
    let _change = changing(cloud);
    if input.domain == "standard" {
        return Err(ApiError::new(
            "InvalidParameterValue",
            "Invalid value 'standard' for domain. Only 'vpc' is supported.",
        ));
    }
    let taken: Vec<Value> = ADDRESS
        .records(cloud)
        .list("")?
        .into_iter()
        .map(|(_, address)| address["publicIp"].clone())
        .collect();
    let public = (1..=254)
        .map(|last| Ipv4Addr::new(198, 51, 100, last).to_string())
        .find(|address| !taken.iter().any(|taken| taken == address))
        .ok_or_else(|| {
            ApiError::new(
                "AddressLimitExceeded",
                "The maximum number of addresses has been reached.",
            )
        })?;
    let id = ADDRESS.new_id();
    let address = json!({
        "allocationId": id,
        "publicIp": public,
        "domain": "vpc",
        "publicIpv4Pool": "amazon",
        "networkBorderGroup": cloud.region(),
        "tagSet": input.tag_specification.of(ADDRESS.name)?,
    });
    ADDRESS.records(cloud).put(&id, &address)?;
    Ok(json!({
        "allocationId": id,
        "publicIp": public,
        "domain": "vpc",
        "publicIpv4Pool": "amazon",
        "networkBorderGroup": cloud.region(),
    }))
}

pub(super) async fn describe_addresses(cloud: &Cloud, input: Describe) -> ApiResult<Value> {
    ADDRESS.describe(cloud, &input)
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ReleaseAddress {
    allocation_id: String,
}

pub(super) async fn release_address(cloud: &Cloud, input: ReleaseAddress) -> ApiResult<Value> {
    let _change = changing(cloud);
    let id = required(&input.allocation_id, "AllocationId")?;
    let address = ADDRESS.require(cloud, id)?;
    if address["associationId"].is_string() {
        return Err(ApiError::new(
            "InvalidIPAddress.InUse",
            format!("Address {} is in use.", text(&address, "publicIp")),
        ));
    }
    ADDRESS.records(cloud).remove(id)?;
    Ok(super::done())
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct CreateNatGateway {
    subnet_id: String,
    connectivity_type: String,
    allocation_id: String,
    tag_specification: TagSpecifications,
}

pub(super) async fn create_nat(cloud: &Cloud, input: CreateNatGateway) -> ApiResult<Value> {
    let _change = changing(cloud);
    let subnet_id = required(&input.subnet_id, "SubnetId")?;
    let subnet = SUBNET.require(cloud, subnet_id)?;
    let connectivity = match input.connectivity_type.as_str() {
        "" => "public",
        given => given,
    };
    let id = NAT_GATEWAY.new_id();
    let mut address = json!({
        "networkInterfaceId": new_id("eni"),
        "privateIp": private_address(&subnet)?,
        "isPrimary": true,
        "status": "succeeded",
    });
    if connectivity == "public" {
        let allocation_id = required(&input.allocation_id, "AllocationId")?;
        let allocation = ADDRESS.require(cloud, allocation_id)?;
        if allocation["associationId"].is_string() {
            return Err(ApiError::new(
                "Resource.AlreadyAssociated",
                format!("Elastic IP address [{allocation_id}] is already associated"),
            ));
        }
        let vpc = text(&subnet, "vpcId");
        if !attached_to(cloud, vpc)? {
            return Err(ApiError::new(
                "Gateway.NotAttached",
                format!("Network {vpc} has no Internet gateway attached"),
            ));
        }
        let association = new_id("eipassoc");
        address["allocationId"] = json!(allocation_id);
        address["publicIp"] = allocation["publicIp"].clone();
        address["associationId"] = json!(association);
        ADDRESS.records(cloud).update(allocation_id, |record| {
            record["associationId"] = json!(association);
            record["networkInterfaceId"] = address["networkInterfaceId"].clone();
            record["privateIpAddress"] = address["privateIp"].clone();
            Ok(())
        })?;
    }
    let gateway = json!({
        "natGatewayId": id,
        "subnetId": subnet_id,
        "vpcId": subnet["vpcId"],
        "state": ResourceState::Available,
        "connectivityType": connectivity,
        "createTime": clock::iso(),
        "natGatewayAddressSet": [address],
        "tagSet": input.tag_specification.of(NAT_GATEWAY.name)?,
    });
    NAT_GATEWAY.records(cloud).put(&id, &gateway)?;
    Ok(json!({"natGateway": gateway}))
}

/// An address in the middle of a subnet. Nothing else in the local cloud assigns addresses.
fn private_address(subnet: &Value) -> ApiResult<String> {
    let range = Cidr::parse(text(subnet, "cidrBlock"))?;
    Ok(range.middle().to_string())
}

pub(super) async fn describe_nat(cloud: &Cloud, input: Describe) -> ApiResult<Value> {
    NAT_GATEWAY.describe(cloud, &input)
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct DeleteNatGateway {
    nat_gateway_id: String,
}

/// Deletes a NAT gateway. It can still be described, as in AWS (for about an hour).
pub(super) async fn delete_nat(cloud: &Cloud, input: DeleteNatGateway) -> ApiResult<Value> {
    let _change = changing(cloud);
    let id = required(&input.nat_gateway_id, "NatGatewayId")?;
    let gateway = NAT_GATEWAY.require(cloud, id)?;
    if !is_live(&gateway) {
        return Err(NAT_GATEWAY.missing(id));
    }
    let allocation = text(&gateway["natGatewayAddressSet"][0], "allocationId");
    ADDRESS.records(cloud).update(allocation, |address| {
        if let Value::Object(members) = address {
            for member in ["associationId", "networkInterfaceId", "privateIpAddress"] {
                members.remove(member);
            }
        }
        Ok(())
    })?;
    NAT_GATEWAY.records(cloud).update(id, |gateway| {
        gateway["state"] = json!(ResourceState::Deleted);
        gateway["deleteTime"] = json!(clock::iso());
        Ok(())
    })?;
    for table in ROUTE_TABLE.in_vpc(cloud, text(&gateway, "vpcId"))? {
        routes::blackhole(cloud, &table, "natGatewayId", id)?;
    }
    Ok(json!({"natGatewayId": id}))
}
