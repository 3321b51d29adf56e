//! The kinds of resources in a network: the form of their ids, and how they are found and described.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use super::requests::Describe;
use super::states::ResourceState;
use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::store::Collection;

/// A kind of resource.
#[derive(Debug)]
pub(super) struct Kind {
    /// The resource type of `TagSpecification` and `DescribeTags`.
    pub(super) name: &'static str,
    /// The prefix of ids, without the hyphen.
    pub(super) prefix: &'static str,
    /// The member that holds the id.
    pub(super) id: &'static str,
    /// The list in the response.
    set: &'static str,
    /// The error code of an absent resource.
    not_found: &'static str,
    /// The kind in the message of that error.
    called: &'static str,
    /// Filter names with the paths of their values in a record.
    filters: &'static [(&'static str, &'static str)],
}

pub(super) const VPC: Kind = Kind {
    name: "vpc",
    prefix: "vpc",
    id: "vpcId",
    set: "vpcSet",
    not_found: "InvalidVpcID.NotFound",
    called: "vpc ID",
    filters: &[
        ("vpc-id", "vpcId"),
        ("cidr", "cidrBlock"),
        (
            "cidr-block-association.cidr-block",
            "cidrBlockAssociationSet.cidrBlock",
        ),
        ("is-default", "isDefault"),
        ("owner-id", "ownerId"),
        ("state", "state"),
    ],
};

pub(super) const SUBNET: Kind = Kind {
    name: "subnet",
    prefix: "subnet",
    id: "subnetId",
    set: "subnetSet",
    not_found: "InvalidSubnetID.NotFound",
    called: "subnet ID",
    filters: &[
        ("subnet-id", "subnetId"),
        ("vpc-id", "vpcId"),
        ("availability-zone", "availabilityZone"),
        ("cidr-block", "cidrBlock"),
        ("map-public-ip-on-launch", "mapPublicIpOnLaunch"),
        ("owner-id", "ownerId"),
        ("state", "state"),
    ],
};

pub(super) const INTERNET_GATEWAY: Kind = Kind {
    name: "internet-gateway",
    prefix: "igw",
    id: "internetGatewayId",
    set: "internetGatewaySet",
    not_found: "InvalidInternetGatewayID.NotFound",
    called: "internetGateway ID",
    filters: &[
        ("internet-gateway-id", "internetGatewayId"),
        ("attachment.vpc-id", "attachmentSet.vpcId"),
        ("attachment.state", "attachmentSet.state"),
        ("owner-id", "ownerId"),
    ],
};

pub(super) const ADDRESS: Kind = Kind {
    name: "elastic-ip",
    prefix: "eipalloc",
    id: "allocationId",
    set: "addressesSet",
    not_found: "InvalidAllocationID.NotFound",
    called: "allocation ID",
    filters: &[
        ("allocation-id", "allocationId"),
        ("association-id", "associationId"),
        ("domain", "domain"),
        ("public-ip", "publicIp"),
    ],
};

pub(super) const NAT_GATEWAY: Kind = Kind {
    name: "natgateway",
    prefix: "nat",
    id: "natGatewayId",
    set: "natGatewaySet",
    not_found: "NatGatewayNotFound",
    called: "NAT gateway",
    filters: &[
        ("nat-gateway-id", "natGatewayId"),
        ("subnet-id", "subnetId"),
        ("vpc-id", "vpcId"),
        ("state", "state"),
    ],
};

pub(super) const ROUTE_TABLE: Kind = Kind {
    name: "route-table",
    prefix: "rtb",
    id: "routeTableId",
    set: "routeTableSet",
    not_found: "InvalidRouteTableID.NotFound",
    called: "routeTable ID",
    filters: &[
        ("route-table-id", "routeTableId"),
        ("vpc-id", "vpcId"),
        ("association.main", "associationSet.main"),
        ("association.subnet-id", "associationSet.subnetId"),
        (
            "association.route-table-association-id",
            "associationSet.routeTableAssociationId",
        ),
        (
            "route.destination-cidr-block",
            "routeSet.destinationCidrBlock",
        ),
        ("route.gateway-id", "routeSet.gatewayId"),
        ("route.nat-gateway-id", "routeSet.natGatewayId"),
        ("owner-id", "ownerId"),
    ],
};

pub(super) const SECURITY_GROUP: Kind = Kind {
    name: "security-group",
    prefix: "sg",
    id: "groupId",
    set: "securityGroupInfo",
    not_found: "InvalidGroup.NotFound",
    called: "security group",
    filters: &[
        ("group-id", "groupId"),
        ("group-name", "groupName"),
        ("description", "groupDescription"),
        ("vpc-id", "vpcId"),
        ("ip-permission.cidr", "ipPermissions.ipRanges.cidrIp"),
        ("ip-permission.group-id", "ipPermissions.groups.groupId"),
        ("owner-id", "ownerId"),
    ],
};

pub(super) const VPC_ENDPOINT: Kind = Kind {
    name: "vpc-endpoint",
    prefix: "vpce",
    id: "vpcEndpointId",
    set: "vpcEndpointSet",
    not_found: "InvalidVpcEndpointId.NotFound",
    called: "Vpc Endpoint Id",
    filters: &[
        ("vpc-endpoint-id", "vpcEndpointId"),
        ("vpc-endpoint-type", "vpcEndpointType"),
        ("vpc-endpoint-state", "state"),
        ("vpc-id", "vpcId"),
        ("service-name", "serviceName"),
    ],
};

pub(super) const FLOW_LOG: Kind = Kind {
    name: "vpc-flow-log",
    prefix: "fl",
    id: "flowLogId",
    set: "flowLogSet",
    not_found: "InvalidFlowLogId.NotFound",
    called: "flow log ID",
    filters: &[
        ("deliver-log-status", "deliverLogsStatus"),
        ("flow-log-id", "flowLogId"),
        ("log-destination-type", "logDestinationType"),
        ("log-group-name", "logGroupName"),
        ("resource-id", "resourceId"),
        ("traffic-type", "trafficType"),
    ],
};

/// Every kind.
pub(super) const ALL: [&Kind; 9] = [
    &VPC,
    &SUBNET,
    &INTERNET_GATEWAY,
    &ADDRESS,
    &NAT_GATEWAY,
    &ROUTE_TABLE,
    &SECURITY_GROUP,
    &VPC_ENDPOINT,
    &FLOW_LOG,
];

impl Kind {
    /// The records, under their ids.
    pub(super) fn records<'a>(&self, cloud: &'a Cloud) -> Collection<'a, Value> {
        cloud.store().collection("ec2", self.name)
    }

    /// A new id: the prefix and 17 hexadecimal digits.
    pub(super) fn new_id(&self) -> String {
        new_id(self.prefix)
    }

    /// A record; the kind's "not found" error when there is none.
    pub(super) fn require(&self, cloud: &Cloud, id: &str) -> ApiResult<Value> {
        self.records(cloud).get(id)?.ok_or_else(|| self.missing(id))
    }

    /// The kind's "not found" error.
    pub(super) fn missing(&self, id: &str) -> ApiError {
        ApiError::not_found(
            self.not_found,
            format!("The {} '{id}' does not exist", self.called),
        )
    }

    /// Every record of a VPC.
    pub(super) fn in_vpc(&self, cloud: &Cloud, vpc: &str) -> ApiResult<Vec<Value>> {
        Ok(self
            .records(cloud)
            .list("")?
            .into_iter()
            .map(|(_, record)| record)
            .filter(|record| text(record, "vpcId") == vpc)
            .collect())
    }

    /// The response of a describe operation: by ids, by filters, in pages.
    pub(super) fn describe(&self, cloud: &Cloud, input: &Describe) -> ApiResult<Value> {
        let mut records = if input.ids.is_empty() {
            let all = self.records(cloud).list("")?;
            all.into_iter().map(|(_, record)| record).collect()
        } else {
            let one = |id: &String| self.require(cloud, id);
            input
                .ids
                .iter()
                .map(one)
                .collect::<ApiResult<Vec<Value>>>()?
        };
        let filters = input.filters(self.filters)?;
        records.retain(|record| filters.iter().all(|filter| filter.matches(record)));
        input.page(self.set, records)
    }
}

/// A new id: a prefix and 17 hexadecimal digits.
pub(super) fn new_id(prefix: &str) -> String {
    let random = uuid::Uuid::new_v4().simple().to_string();
    format!("{prefix}-{}", &random[..17])
}

/// Held while the network changes.
#[derive(Debug, Default)]
struct Change(Mutex<()>);

/// Serializes changes of the network, so that checks are still valid when the change is written.
pub(super) fn changing(cloud: &Cloud) -> MutexGuard<'_, ()> {
    let lock = &cloud.state::<Change>().0;
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// False for a deleted resource whose record is kept only so that it can be described.
pub(super) fn is_live(record: &Value) -> bool {
    ResourceState::of(record) != Some(ResourceState::Deleted)
}

/// The text of a record's member; empty if absent.
pub(super) fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap_or_default()
}

/// The error for a resource that another one still depends on.
pub(super) fn dependency(message: impl Into<String>) -> ApiError {
    ApiError::new("DependencyViolation", message)
}
