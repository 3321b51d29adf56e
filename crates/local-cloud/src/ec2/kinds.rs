//! The kinds of things in a network: how their ids look, and how they are found and described.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use super::filters;
use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::store::Collection;

/// A kind of thing.
#[derive(Debug)]
pub(super) struct Kind {
    /// The resource type of `TagSpecification` and `DescribeTags`.
    pub(super) name: &'static str,
    /// How ids start, without the hyphen.
    pub(super) prefix: &'static str,
    /// The member that holds the id.
    pub(super) id: &'static str,
    /// The request's list of ids.
    ids: &'static str,
    /// The answer's list.
    set: &'static str,
    /// The error code when there is no such thing.
    not_found: &'static str,
    /// What the error calls it.
    called: &'static str,
    /// Filter names and where in a record their values are.
    filters: &'static [(&'static str, &'static str)],
}

pub(super) const VPC: Kind = Kind {
    name: "vpc",
    prefix: "vpc",
    id: "vpcId",
    ids: "VpcId",
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
    ids: "SubnetId",
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
    ids: "InternetGatewayId",
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
    ids: "AllocationId",
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
    ids: "NatGatewayId",
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
    ids: "RouteTableId",
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
    ids: "GroupId",
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
    ids: "VpcEndpointId",
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

/// Every kind.
pub(super) const ALL: [&Kind; 8] = [
    &VPC,
    &SUBNET,
    &INTERNET_GATEWAY,
    &ADDRESS,
    &NAT_GATEWAY,
    &ROUTE_TABLE,
    &SECURITY_GROUP,
    &VPC_ENDPOINT,
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

    /// Answers a describe operation: by ids, by filters, in pages.
    pub(super) fn describe(&self, cloud: &Cloud, input: &Value) -> ApiResult<Value> {
        let ids = texts(input, self.ids);
        let mut records = if ids.is_empty() {
            let all = self.records(cloud).list("")?;
            all.into_iter().map(|(_, record)| record).collect()
        } else {
            let one = |id: &String| self.require(cloud, id);
            ids.iter().map(one).collect::<ApiResult<Vec<Value>>>()?
        };
        let filters = filters::parse(input, self.filters)?;
        records.retain(|record| filters.iter().all(|filter| filter.matches(record)));
        let (part, next) = page(input, records)?;
        let mut answer = json!({ self.set: part });
        if let Some(next) = next {
            answer["nextToken"] = json!(next);
        }
        Ok(answer)
    }

    /// The tags that the request gives to a new thing of this kind.
    pub(super) fn new_tags(&self, input: &Value) -> ApiResult<Value> {
        let mut tags = Vec::new();
        let specifications = given(input, "TagSpecification", "TagSpecifications");
        for specification in specifications.as_array().into_iter().flatten() {
            let kind = text(specification, "ResourceType");
            if kind != self.name {
                return Err(ApiError::new(
                    "InvalidParameterValue",
                    format!("'{kind}' is not a valid taggable resource type for this operation."),
                ));
            }
            super::tags::merge(&mut tags, given(specification, "Tag", "Tags"));
        }
        Ok(Value::Array(tags))
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

/// One change of the network at a time, so that what a change checked still holds when it writes.
pub(super) fn changing(cloud: &Cloud) -> MutexGuard<'_, ()> {
    let lock = &cloud.state::<Change>().0;
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A member's text; none is empty.
pub(super) fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap_or_default()
}

/// A member's text; `MissingParameter` when there is none.
pub(super) fn required<'a>(input: &'a Value, member: &str) -> ApiResult<&'a str> {
    let found = text(input, member);
    if found.is_empty() {
        return Err(ApiError::new(
            "MissingParameter",
            format!("The request must contain the parameter {member}"),
        ));
    }
    Ok(found)
}

/// A list member by its name on the wire, or by its name in the API (as CloudFormation has it).
pub(super) fn given<'a>(input: &'a Value, wire: &str, api: &str) -> &'a Value {
    input.get(wire).unwrap_or(&input[api])
}

/// The texts of a list member: `VpcId` on the wire, `VpcIds` in the API.
pub(super) fn texts(input: &Value, wire: &str) -> Vec<String> {
    given(input, wire, &format!("{wire}s"))
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|value| value.as_str().map(str::to_owned))
        .collect()
}

/// A member that is true or false, as JSON or as text; a wrapper `{"Value": …}` is opened.
pub(super) fn flag(input: &Value, member: &str) -> ApiResult<Option<bool>> {
    let value = &input[member];
    match value.get("Value").unwrap_or(value) {
        Value::Null => Ok(None),
        Value::Bool(value) => Ok(Some(*value)),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Ok(Some(true)),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Ok(Some(false)),
        other => Err(ApiError::new(
            "InvalidParameterValue",
            format!("Value ({other}) for parameter {member} is invalid"),
        )),
    }
}

/// A whole number, as JSON or as text.
pub(super) fn number(input: &Value, member: &str) -> ApiResult<Option<i64>> {
    match &input[member] {
        Value::Null => Ok(None),
        Value::Number(number) => Ok(number.as_i64()),
        Value::String(text) => text.parse().map(Some).map_err(|_| {
            ApiError::new(
                "InvalidParameterValue",
                format!("Value ({text}) for parameter {member} is invalid"),
            )
        }),
        other => Err(ApiError::new(
            "InvalidParameterValue",
            format!("Value ({other}) for parameter {member} is invalid"),
        )),
    }
}

/// Something still depends on a thing that was to go.
pub(super) fn dependency(message: impl Into<String>) -> ApiError {
    ApiError::new("DependencyViolation", message)
}

fn page(input: &Value, records: Vec<Value>) -> ApiResult<(Vec<Value>, Option<String>)> {
    let start: usize = match text(input, "NextToken") {
        "" => 0,
        token => token.parse().map_err(|_| {
            ApiError::new(
                "InvalidNextToken",
                format!("The token '{token}' is invalid"),
            )
        })?,
    };
    let Some(limit) = number(input, "MaxResults")? else {
        return Ok((records.into_iter().skip(start).collect(), None));
    };
    let limit = usize::try_from(limit.max(1)).map_err(ApiError::internal)?;
    let end = start.saturating_add(limit);
    let more = end < records.len();
    let part = records.into_iter().take(end).skip(start).collect();
    Ok((part, more.then(|| end.to_string())))
}
