//! Subnets and availability zones.

use serde::Deserialize;
use serde_json::{Value, json};

use super::cidr::Cidr;
use super::kinds::{
    NAT_GATEWAY, ROUTE_TABLE, SUBNET, VPC, VPC_ENDPOINT, changing, dependency, is_live, text,
};
use super::requests::{Describe, TagSpecifications, required};
use super::routes;
use super::states::ResourceState;
use crate::Cloud;
use crate::api::form::flag;
use crate::api::{ApiError, ApiResult};
use crate::cloud::ACCOUNT;

/// The letters of this region's zones.
const ZONES: [&str; 3] = ["a", "b", "c"];

/// The id of a zone, as in `use1-az1`: the region's abbreviation and a number.
fn zone_id(region: &str, number: usize) -> String {
    let mut short = String::new();
    for part in region.split('-') {
        match part {
            "northeast" => short.push_str("ne"),
            "northwest" => short.push_str("nw"),
            "southeast" => short.push_str("se"),
            "southwest" => short.push_str("sw"),
            part if short.is_empty() => short.push_str(part),
            part => short.extend(part.chars().next()),
        }
    }
    format!("{short}-az{number}")
}

pub(super) async fn zones(cloud: &Cloud, input: Describe) -> ApiResult<Value> {
    let region = cloud.region();
    let filters = input.filters(&[
        ("zone-name", "zoneName"),
        ("zone-id", "zoneId"),
        ("state", "zoneState"),
        ("region-name", "regionName"),
        ("zone-type", "zoneType"),
        ("opt-in-status", "optInStatus"),
    ])?;
    let names = input.ids;
    if let Some(unknown) = names.iter().find(|name| zone(cloud, name).is_none()) {
        return Err(ApiError::new(
            "InvalidParameterValue",
            format!("Invalid availability zone: [{unknown}]"),
        ));
    }
    let zones: Vec<Value> = ZONES
        .iter()
        .zip(1..)
        .map(|(letter, number)| {
            json!({
                "zoneName": format!("{region}{letter}"),
                "zoneId": zone_id(region, number),
                "zoneState": "available",
                "zoneType": "availability-zone",
                "regionName": region,
                "groupName": format!("{region}-zg-1"),
                "networkBorderGroup": region,
                "optInStatus": "opt-in-not-required",
                "messageSet": [],
            })
        })
        .filter(|zone| names.is_empty() || names.iter().any(|name| name == text(zone, "zoneName")))
        .filter(|zone| filters.iter().all(|filter| filter.matches(zone)))
        .collect();
    Ok(json!({"availabilityZoneInfo": zones}))
}

/// The number of a zone of this region, by its name.
fn zone(cloud: &Cloud, name: &str) -> Option<usize> {
    let letter = name.strip_prefix(cloud.region())?;
    ZONES
        .iter()
        .position(|zone| *zone == letter)
        .map(|index| index + 1)
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct CreateSubnet {
    vpc_id: String,
    cidr_block: String,
    availability_zone: String,
    tag_specification: TagSpecifications,
}

pub(super) async fn create(cloud: &Cloud, input: CreateSubnet) -> ApiResult<Value> {
    let _change = changing(cloud);
    let vpc = required(&input.vpc_id, "VpcId")?;
    let range = Cidr::parse(text(&VPC.require(cloud, vpc)?, "cidrBlock"))?;
    let wanted = required(&input.cidr_block, "CidrBlock")?;
    let cidr = Cidr::network(wanted, "InvalidSubnet.Range")?;
    if !range.contains(cidr) {
        return Err(ApiError::new(
            "InvalidSubnet.Range",
            format!("The CIDR '{wanted}' is invalid."),
        ));
    }
    for subnet in SUBNET.in_vpc(cloud, vpc)? {
        if Cidr::parse(text(&subnet, "cidrBlock"))?.overlaps(cidr) {
            return Err(ApiError::new(
                "InvalidSubnet.Conflict",
                format!("The CIDR '{wanted}' conflicts with another subnet"),
            ));
        }
    }
    let zone_name = match input.availability_zone.as_str() {
        "" => format!("{}{}", cloud.region(), ZONES[0]),
        name => name.to_owned(),
    };
    let number = zone(cloud, &zone_name).ok_or_else(|| {
        ApiError::new(
            "InvalidParameterValue",
            format!("Value ({zone_name}) for parameter availabilityZone is invalid. Subnets can currently only be created in the following availability zones: {}.",
                ZONES.map(|letter| format!("{}{letter}", cloud.region())).join(", ")),
        )
    })?;
    let id = SUBNET.new_id();
    let subnet = json!({
        "subnetId": id,
        "subnetArn": cloud.arn("ec2", format_args!("subnet/{id}")),
        "vpcId": vpc,
        "state": ResourceState::Available,
        "cidrBlock": cidr.to_string(),
        "availableIpAddressCount": cidr.usable(),
        "availabilityZone": zone_name,
        "availabilityZoneId": zone_id(cloud.region(), number),
        "defaultForAz": false,
        "mapPublicIpOnLaunch": false,
        "assignIpv6AddressOnCreation": false,
        "ipv6CidrBlockAssociationSet": [],
        "ownerId": ACCOUNT,
        "tagSet": input.tag_specification.of(SUBNET.name)?,
    });
    SUBNET.records(cloud).put(&id, &subnet)?;
    Ok(json!({"subnet": subnet}))
}

pub(super) async fn describe(cloud: &Cloud, input: Describe) -> ApiResult<Value> {
    SUBNET.describe(cloud, &input)
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct DeleteSubnet {
    subnet_id: String,
}

pub(super) async fn delete(cloud: &Cloud, input: DeleteSubnet) -> ApiResult<Value> {
    let _change = changing(cloud);
    let id = required(&input.subnet_id, "SubnetId")?;
    let subnet = SUBNET.require(cloud, id)?;
    let vpc = text(&subnet, "vpcId");
    let nat = NAT_GATEWAY
        .in_vpc(cloud, vpc)?
        .iter()
        .any(|gateway| text(gateway, "subnetId") == id && is_live(gateway));
    let endpoint = VPC_ENDPOINT.in_vpc(cloud, vpc)?.iter().any(|endpoint| {
        endpoint["subnetIdSet"]
            .as_array()
            .is_some_and(|subnets| subnets.iter().any(|subnet| subnet == id))
    });
    if nat || endpoint {
        return Err(dependency(format!(
            "The subnet '{id}' has dependencies and cannot be deleted."
        )));
    }
    for table in ROUTE_TABLE.in_vpc(cloud, vpc)? {
        routes::forget_subnet(cloud, &table, id)?;
    }
    SUBNET.records(cloud).remove(id)?;
    Ok(super::done())
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ModifySubnet {
    subnet_id: String,
    #[serde(deserialize_with = "flag")]
    map_public_ip_on_launch: Option<bool>,
}

pub(super) async fn modify(cloud: &Cloud, input: ModifySubnet) -> ApiResult<Value> {
    let _change = changing(cloud);
    let id = required(&input.subnet_id, "SubnetId")?;
    let public = input.map_public_ip_on_launch.ok_or_else(|| {
        ApiError::not_implemented("attributes of a subnet other than MapPublicIpOnLaunch")
    })?;
    SUBNET
        .records(cloud)
        .update(id, |subnet| {
            subnet["mapPublicIpOnLaunch"] = json!(public);
            Ok(())
        })?
        .ok_or_else(|| SUBNET.missing(id))?;
    Ok(super::done())
}

#[cfg(test)]
mod tests {
    #[test]
    fn zone_ids_abbreviate_the_region() {
        assert_eq!(super::zone_id("us-east-1", 1), "use1-az1");
        assert_eq!(super::zone_id("eu-west-1", 2), "euw1-az2");
        assert_eq!(super::zone_id("ap-southeast-2", 3), "apse2-az3");
    }
}
