//! Route tables, their routes and associations.

use serde::Deserialize;
use serde_json::{Value, json};

use super::attachments::attached_to;
use super::cidr::Cidr;
use super::kinds::{
    INTERNET_GATEWAY, NAT_GATEWAY, ROUTE_TABLE, SUBNET, VPC, changing, dependency, is_live, new_id,
    text,
};
use super::requests::{Describe, TagSpecifications, required};
use super::states::RouteState;
use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::cloud::ACCOUNT;

/// Creates a route table with the VPC's local route.
pub(super) fn make_table(
    cloud: &Cloud,
    vpc: &str,
    range: &str,
    main: bool,
    tags: &Value,
) -> ApiResult<Value> {
    let id = ROUTE_TABLE.new_id();
    let associations = if main {
        json!([{
            "main": true,
            "routeTableAssociationId": new_id("rtbassoc"),
            "routeTableId": id,
            "associationState": {"state": "associated"},
        }])
    } else {
        json!([])
    };
    let table = json!({
        "routeTableId": id,
        "vpcId": vpc,
        "ownerId": ACCOUNT,
        "associationSet": associations,
        "propagatingVgwSet": [],
        "routeSet": [{
            "destinationCidrBlock": range,
            "gatewayId": "local",
            "origin": "CreateRouteTable",
            "state": RouteState::Active,
        }],
        "tagSet": tags,
    });
    ROUTE_TABLE.records(cloud).put(&id, &table)?;
    Ok(table)
}

/// True for the main table of a VPC, which applies to subnets without an association.
pub(super) fn is_main(table: &Value) -> bool {
    associations(table).any(|association| association["main"] == true)
}

fn associations(table: &Value) -> impl Iterator<Item = &Value> {
    table["associationSet"].as_array().into_iter().flatten()
}

fn list<'a>(table: &'a mut Value, member: &str) -> ApiResult<&'a mut Vec<Value>> {
    table[member]
        .as_array_mut()
        .ok_or_else(|| ApiError::internal(format!("a route table without {member}")))
}

fn change<R>(
    cloud: &Cloud,
    id: &str,
    change: impl FnOnce(&mut Value) -> ApiResult<R>,
) -> ApiResult<R> {
    ROUTE_TABLE
        .records(cloud)
        .update(id, change)?
        .ok_or_else(|| ROUTE_TABLE.missing(id))
}

/// Removes the association of a subnet that is being deleted.
pub(super) fn forget_subnet(cloud: &Cloud, table: &Value, subnet: &str) -> ApiResult<()> {
    change(cloud, text(table, "routeTableId"), |table| {
        list(table, "associationSet")?.retain(|association| association["subnetId"] != subnet);
        Ok(())
    })
}

/// Marks the routes to a target that was deleted.
pub(super) fn blackhole(cloud: &Cloud, table: &Value, member: &str, target: &str) -> ApiResult<()> {
    change(cloud, text(table, "routeTableId"), |table| {
        for route in list(table, "routeSet")? {
            if route[member] == target {
                route["state"] = json!(RouteState::Blackhole);
            }
        }
        Ok(())
    })
}

/// Adds or removes the route of a gateway endpoint; `prefix_list` names its service's addresses.
pub(super) fn set_endpoint(
    cloud: &Cloud,
    table: &str,
    endpoint: &str,
    prefix_list: Option<&str>,
) -> ApiResult<()> {
    change(cloud, table, |table| {
        let routes = list(table, "routeSet")?;
        routes.retain(|route| route["gatewayId"] != endpoint);
        if let Some(prefix_list) = prefix_list {
            routes.push(json!({
                "destinationPrefixListId": prefix_list,
                "gatewayId": endpoint,
                "origin": "CreateRoute",
                "state": RouteState::Active,
            }));
        }
        Ok(())
    })
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct CreateRouteTable {
    vpc_id: String,
    tag_specification: TagSpecifications,
}

pub(super) async fn create_table(cloud: &Cloud, input: CreateRouteTable) -> ApiResult<Value> {
    let _change = changing(cloud);
    let vpc_id = required(&input.vpc_id, "VpcId")?;
    let vpc = VPC.require(cloud, vpc_id)?;
    let tags = input.tag_specification.of(ROUTE_TABLE.name)?;
    let table = make_table(cloud, vpc_id, text(&vpc, "cidrBlock"), false, &tags)?;
    Ok(json!({"routeTable": table}))
}

pub(super) async fn describe(cloud: &Cloud, input: Describe) -> ApiResult<Value> {
    ROUTE_TABLE.describe(cloud, &input)
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct DeleteRouteTable {
    route_table_id: String,
}

pub(super) async fn delete_table(cloud: &Cloud, input: DeleteRouteTable) -> ApiResult<Value> {
    let _change = changing(cloud);
    let id = required(&input.route_table_id, "RouteTableId")?;
    let table = ROUTE_TABLE.require(cloud, id)?;
    if associations(&table).next().is_some() {
        return Err(dependency(format!(
            "The routeTable '{id}' has dependencies and cannot be deleted."
        )));
    }
    ROUTE_TABLE.records(cloud).remove(id)?;
    Ok(super::done())
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct CreateRoute {
    route_table_id: String,
    destination_cidr_block: String,
    gateway_id: String,
    nat_gateway_id: String,
}

pub(super) async fn create_route(cloud: &Cloud, input: CreateRoute) -> ApiResult<Value> {
    let _change = changing(cloud);
    let id = required(&input.route_table_id, "RouteTableId")?;
    let table = ROUTE_TABLE.require(cloud, id)?;
    let vpc = text(&table, "vpcId");
    let destination = Cidr::parse(required(
        &input.destination_cidr_block,
        "DestinationCidrBlock",
    )?)?
    .to_string();
    let (member, target) = match (input.gateway_id.as_str(), input.nat_gateway_id.as_str()) {
        ("", "") => {
            return Err(ApiError::not_implemented(
                "routes to anything but an internet gateway or a NAT gateway",
            ));
        }
        ("", nat) => {
            let gateway = NAT_GATEWAY.require(cloud, nat)?;
            if !is_live(&gateway) {
                return Err(NAT_GATEWAY.missing(nat));
            }
            ("natGatewayId", nat)
        }
        (gateway, _) => {
            INTERNET_GATEWAY.require(cloud, gateway)?;
            if !attached_to(cloud, vpc)? {
                return Err(ApiError::new(
                    "InvalidParameterValue",
                    format!(
                        "route table {id} and network gateway {gateway} belong to different networks"
                    ),
                ));
            }
            ("gatewayId", gateway)
        }
    };
    change(cloud, id, |table| {
        let routes = list(table, "routeSet")?;
        if let Some(old) = routes
            .iter()
            .position(|route| route["destinationCidrBlock"] == destination.as_str())
        {
            let same = routes[old][member] == target;
            // A blackhole route may be replaced; an identical route is not a change.
            if RouteState::of(&routes[old]) == Some(RouteState::Active) && !same {
                return Err(ApiError::new(
                    "RouteAlreadyExists",
                    format!("The route identified by {destination} already exists."),
                ));
            }
            routes.remove(old);
        }
        routes.push(json!({
            "destinationCidrBlock": destination,
            member: target,
            "origin": "CreateRoute",
            "state": RouteState::Active,
        }));
        Ok(())
    })?;
    Ok(super::done())
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct DeleteRoute {
    route_table_id: String,
    destination_cidr_block: String,
}

pub(super) async fn delete_route(cloud: &Cloud, input: DeleteRoute) -> ApiResult<Value> {
    let _change = changing(cloud);
    let id = required(&input.route_table_id, "RouteTableId")?;
    let destination = Cidr::parse(required(
        &input.destination_cidr_block,
        "DestinationCidrBlock",
    )?)?
    .to_string();
    change(cloud, id, |table| {
        let routes = list(table, "routeSet")?;
        let index = routes
            .iter()
            .position(|route| route["destinationCidrBlock"] == destination.as_str())
            .ok_or_else(|| {
                ApiError::not_found(
                    "InvalidRoute.NotFound",
                    format!(
                        "no route with destination-cidr-block {destination} in route table {id}"
                    ),
                )
            })?;
        if routes[index]["gatewayId"] == "local" {
            return Err(ApiError::new(
                "InvalidParameterValue",
                format!("cannot remove local route {destination} in route table {id}"),
            ));
        }
        routes.remove(index);
        Ok(())
    })?;
    Ok(super::done())
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Associate {
    route_table_id: String,
    subnet_id: String,
}

pub(super) async fn associate(cloud: &Cloud, input: Associate) -> ApiResult<Value> {
    let _change = changing(cloud);
    let id = required(&input.route_table_id, "RouteTableId")?;
    let subnet_id = required(&input.subnet_id, "SubnetId")?;
    let table = ROUTE_TABLE.require(cloud, id)?;
    let subnet = SUBNET.require(cloud, subnet_id)?;
    if table["vpcId"] != subnet["vpcId"] {
        return Err(ApiError::new(
            "InvalidParameterValue",
            format!("route table {id} and subnet {subnet_id} belong to different networks"),
        ));
    }
    let of_subnet = |association: &Value| association["subnetId"] == subnet_id;
    for table in ROUTE_TABLE.in_vpc(cloud, text(&subnet, "vpcId"))? {
        if let Some(association) = associations(&table).find(|association| of_subnet(association)) {
            if text(&table, "routeTableId") == id {
                return Ok(answer(association));
            }
            return Err(ApiError::new(
                "Resource.AlreadyAssociated",
                format!(
                    "the specified association for route table {id} conflicts with an existing \
                     association"
                ),
            ));
        }
    }
    let association = json!({
        "main": false,
        "routeTableAssociationId": new_id("rtbassoc"),
        "routeTableId": id,
        "subnetId": subnet_id,
        "associationState": {"state": "associated"},
    });
    change(cloud, id, |table| {
        list(table, "associationSet")?.push(association.clone());
        Ok(())
    })?;
    Ok(answer(&association))
}

fn answer(association: &Value) -> Value {
    json!({
        "associationId": association["routeTableAssociationId"],
        "associationState": association["associationState"],
    })
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Disassociate {
    association_id: String,
}

pub(super) async fn disassociate(cloud: &Cloud, input: Disassociate) -> ApiResult<Value> {
    let _change = changing(cloud);
    let id = required(&input.association_id, "AssociationId")?;
    for (table_id, table) in ROUTE_TABLE.records(cloud).list("")? {
        let Some(found) =
            associations(&table).find(|association| association["routeTableAssociationId"] == id)
        else {
            continue;
        };
        if found["main"] == true {
            return Err(ApiError::new(
                "InvalidParameterValue",
                format!("cannot disassociate the main route table association {id}"),
            ));
        }
        change(cloud, &table_id, |table| {
            list(table, "associationSet")?
                .retain(|association| association["routeTableAssociationId"] != id);
            Ok(())
        })?;
        return Ok(super::done());
    }
    Err(ApiError::not_found(
        "InvalidAssociationID.NotFound",
        format!("The association ID '{id}' does not exist"),
    ))
}
