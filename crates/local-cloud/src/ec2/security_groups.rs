//! Security groups and their rules.

use serde::Deserialize;
use serde_json::{Value, json};

use super::cidr::Cidr;
use super::kinds::{SECURITY_GROUP, VPC, VPC_ENDPOINT, changing, dependency, new_id, text};
use super::requests::{Describe, TagSpecifications, required};
use crate::Cloud;
use crate::api::form::{list, whole};
use crate::api::{ApiError, ApiResult};
use crate::cloud::ACCOUNT;

const INGRESS: &str = "ipPermissions";
const EGRESS: &str = "ipPermissionsEgress";

/// The members of a stored permission that hold peers, and the member that names a peer: in requests
/// and in records.
const SOURCES: [(&str, &str, &str); 4] = [
    ("ipRanges", "CidrIp", "cidrIp"),
    ("ipv6Ranges", "CidrIpv6", "cidrIpv6"),
    ("groups", "GroupId", "groupId"),
    ("prefixListIds", "PrefixListId", "prefixListId"),
];

/// Creates a group that allows all outgoing traffic and, with `own`, all traffic among its members.
fn make(
    cloud: &Cloud,
    vpc: &str,
    name: &str,
    description: &str,
    own: bool,
    tags: &Value,
) -> ApiResult<Value> {
    let id = SECURITY_GROUP.new_id();
    let mut ingress = Vec::new();
    if own {
        let pair = json!({"groupId": id, "userId": ACCOUNT});
        ingress.push(permission("-1", None, None, "groups", &pair));
    }
    let everywhere = json!({"cidrIp": "0.0.0.0/0"});
    let group = json!({
        "groupId": id,
        "groupName": name,
        "groupDescription": description,
        "vpcId": vpc,
        "ownerId": ACCOUNT,
        "securityGroupArn": cloud.arn("ec2", format_args!("security-group/{id}")),
        INGRESS: ingress,
        EGRESS: [permission("-1", None, None, "ipRanges", &everywhere)],
        "tagSet": tags,
    });
    SECURITY_GROUP.records(cloud).put(&id, &group)?;
    Ok(group)
}

/// Creates the default group of a new VPC.
pub(super) fn make_default(cloud: &Cloud, vpc: &str) -> ApiResult<()> {
    make(
        cloud,
        vpc,
        "default",
        "default VPC security group",
        true,
        &json!([]),
    )
    .map(drop)
}

/// One permission with one source.
fn permission(
    protocol: &str,
    from: Option<i64>,
    to: Option<i64>,
    member: &str,
    source: &Value,
) -> Value {
    let mut permission = json!({"ipProtocol": protocol});
    if let (Some(from), Some(to)) = (from, to) {
        permission["fromPort"] = json!(from);
        permission["toPort"] = json!(to);
    }
    for (kept, _, _) in SOURCES {
        permission[kept] = json!([]);
    }
    permission[member] = json!([source]);
    permission
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct CreateGroup {
    group_name: String,
    group_description: String,
    vpc_id: String,
    tag_specification: TagSpecifications,
}

pub(super) async fn create(cloud: &Cloud, input: CreateGroup) -> ApiResult<Value> {
    let _change = changing(cloud);
    let name = required(&input.group_name, "GroupName")?;
    // The error has the API's name for `GroupDescription`.
    let description = required(&input.group_description, "Description")?;
    let vpc = required(&input.vpc_id, "VpcId")?;
    VPC.require(cloud, vpc)?;
    if name == "default" || name.starts_with("sg-") {
        return Err(ApiError::new(
            "InvalidParameterValue",
            format!("Cannot use reserved security group name: {name}"),
        ));
    }
    if SECURITY_GROUP
        .in_vpc(cloud, vpc)?
        .iter()
        .any(|group| group["groupName"] == name)
    {
        return Err(ApiError::new(
            "InvalidGroup.Duplicate",
            format!("The security group '{name}' already exists for VPC '{vpc}'"),
        ));
    }
    let tags = input.tag_specification.of(SECURITY_GROUP.name)?;
    let group = make(cloud, vpc, name, description, false, &tags)?;
    Ok(json!({
        "groupId": group["groupId"],
        "securityGroupArn": group["securityGroupArn"],
        "tagSet": group["tagSet"],
    }))
}

pub(super) async fn describe(cloud: &Cloud, input: Describe) -> ApiResult<Value> {
    SECURITY_GROUP.describe(cloud, &input)
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct DeleteGroup {
    group_id: String,
}

pub(super) async fn delete(cloud: &Cloud, input: DeleteGroup) -> ApiResult<Value> {
    let _change = changing(cloud);
    let id = required(&input.group_id, "GroupId")?;
    let group = SECURITY_GROUP.require(cloud, id)?;
    if group["groupName"] == "default" {
        return Err(ApiError::new(
            "CannotDelete",
            format!("the specified group: \"{id}\" name: \"default\" cannot be deleted by a user"),
        ));
    }
    let vpc = text(&group, "vpcId");
    let named = SECURITY_GROUP.in_vpc(cloud, vpc)?.iter().any(|other| {
        other["groupId"] != id
            && [INGRESS, EGRESS].iter().any(|side| {
                other[side].as_array().is_some_and(|permissions| {
                    permissions.iter().any(|permission| refers(permission, id))
                })
            })
    });
    let endpoint = VPC_ENDPOINT.in_vpc(cloud, vpc)?.iter().any(|endpoint| {
        endpoint["groupSet"]
            .as_array()
            .is_some_and(|groups| groups.iter().any(|group| group["groupId"] == id))
    });
    if named || endpoint {
        return Err(dependency(format!("resource {id} has a dependent object")));
    }
    SECURITY_GROUP.records(cloud).remove(id)?;
    Ok(json!({"return": true, "groupId": id}))
}

fn refers(permission: &Value, id: &str) -> bool {
    permission["groups"]
        .as_array()
        .is_some_and(|groups| groups.iter().any(|group| group["groupId"] == id))
}

/// A permission of a request. A rule can also be given by members of the request itself, with
/// `CidrIp` as its only source.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Permission {
    ip_protocol: String,
    #[serde(deserialize_with = "whole")]
    from_port: Option<i64>,
    #[serde(deserialize_with = "whole")]
    to_port: Option<i64>,
    cidr_ip: Option<String>,
    #[serde(deserialize_with = "list")]
    ip_ranges: Vec<Peer>,
    #[serde(deserialize_with = "list")]
    ipv6_ranges: Vec<Peer>,
    #[serde(deserialize_with = "list")]
    groups: Vec<Peer>,
    #[serde(deserialize_with = "list")]
    prefix_list_ids: Vec<Peer>,
}

/// The other end of a rule: a range, a group or a prefix list.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Peer {
    #[serde(
        alias = "CidrIp",
        alias = "CidrIpv6",
        alias = "GroupId",
        alias = "PrefixListId"
    )]
    id: String,
    description: Option<String>,
}

/// The request of the operations that add or remove rules.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ChangeRules {
    group_id: String,
    #[serde(deserialize_with = "list")]
    security_group_rule_id: Vec<String>,
    #[serde(deserialize_with = "list")]
    ip_permissions: Vec<Permission>,
    #[serde(flatten)]
    single: Permission,
}

/// The port range of a permission, if its protocol has ports.
fn ports(protocol: &str, given: &Permission) -> ApiResult<(Option<i64>, Option<i64>)> {
    let ports = (given.from_port, given.to_port);
    match (protocol, ports) {
        ("-1", _) => Ok((None, None)),
        ("tcp" | "udp", (Some(first), Some(last)))
            if (0..=65535).contains(&first) && (first..=65535).contains(&last) =>
        {
            Ok(ports)
        }
        ("tcp" | "udp", _) => Err(ApiError::new(
            "InvalidParameterValue",
            format!(
                "Invalid value for portRange. {protocol} needs FromPort and ToPort between 0 and \
                 65535, in this order"
            ),
        )),
        _ => Ok(ports),
    }
}

/// The rules of a request, one per peer, as records have them.
fn requested(cloud: &Cloud, input: &ChangeRules) -> ApiResult<Vec<Value>> {
    let permissions = if input.ip_permissions.is_empty() {
        std::slice::from_ref(&input.single)
    } else {
        &input.ip_permissions
    };
    let mut found = Vec::new();
    for given in permissions {
        let protocol = protocol(required(&given.ip_protocol, "IpProtocol")?)?;
        let (from, to) = ports(&protocol, given)?;
        let before = found.len();
        if let Some(cidr) = &given.cidr_ip {
            let source = json!({"cidrIp": Cidr::parse(cidr)?.to_string()});
            found.push(permission(&protocol, from, to, "ipRanges", &source));
        }
        let peers = [
            &given.ip_ranges,
            &given.ipv6_ranges,
            &given.groups,
            &given.prefix_list_ids,
        ];
        for ((kept, wire_name, kept_name), peers) in SOURCES.into_iter().zip(peers) {
            for peer in peers {
                let id = required(&peer.id, wire_name)?;
                let mut entry = match kept {
                    "ipRanges" => json!({ kept_name: Cidr::parse(id)?.to_string() }),
                    "groups" => {
                        SECURITY_GROUP.require(cloud, id)?;
                        json!({"groupId": id, "userId": ACCOUNT})
                    }
                    _ => json!({ kept_name: id }),
                };
                if let Some(description) = &peer.description {
                    entry["description"] = json!(description);
                }
                found.push(permission(&protocol, from, to, kept, &entry));
            }
        }
        if found.len() == before {
            return Err(ApiError::new(
                "InvalidParameterValue",
                "A rule needs a range, a group or a prefix list",
            ));
        }
    }
    Ok(found)
}

fn protocol(given: &str) -> ApiResult<String> {
    match given {
        "6" => Ok("tcp".to_owned()),
        "17" => Ok("udp".to_owned()),
        "1" => Ok("icmp".to_owned()),
        "all" => Ok("-1".to_owned()),
        "-1" | "tcp" | "udp" | "icmp" | "icmpv6" => Ok(given.to_owned()),
        other if other.parse::<u8>().is_ok() => Ok(other.to_owned()),
        other => Err(ApiError::new(
            "InvalidParameterValue",
            format!("Invalid value '{other}' for IP protocol. Unknown protocol."),
        )),
    }
}

/// True if a group has the rules of a request to authorize them.
pub(crate) fn has_rules(cloud: &Cloud, request: Value, is_egress: bool) -> ApiResult<bool> {
    let input: ChangeRules = crate::api::parse(request)?;
    let Some(group) = SECURITY_GROUP.records(cloud).get(&input.group_id)? else {
        return Ok(false);
    };
    let side = if is_egress { EGRESS } else { INGRESS };
    let rules = group[side].as_array().map_or(&[][..], Vec::as_slice);
    let wanted = requested(cloud, &input)?;
    let has = |rule: &Value| rules.iter().any(|old| identity(old) == identity(rule));
    Ok(wanted.iter().all(has))
}

/// The members that identify a rule, without its description.
fn identity(permission: &Value) -> Value {
    let sources: Vec<Value> = SOURCES
        .iter()
        .flat_map(|(kept, _, name)| {
            permission[kept]
                .as_array()
                .into_iter()
                .flatten()
                .map(move |source| source[name].clone())
        })
        .collect();
    json!([
        permission["ipProtocol"],
        permission["fromPort"],
        permission["toPort"],
        sources
    ])
}

fn authorize(cloud: &Cloud, input: &ChangeRules, side: &str) -> ApiResult<Value> {
    let _change = changing(cloud);
    let id = required(&input.group_id, "GroupId")?;
    SECURITY_GROUP.require(cloud, id)?;
    let new = requested(cloud, input)?;
    change(cloud, id, side, |rules| {
        for rule in &new {
            if rules.iter().any(|old| identity(old) == identity(rule)) {
                return Err(ApiError::new(
                    "InvalidPermission.Duplicate",
                    format!("the specified rule \"{}\" already exists", identity(rule)),
                ));
            }
            rules.push(rule.clone());
        }
        Ok(())
    })?;
    let rules: Vec<Value> = new
        .iter()
        .map(|permission| {
            let mut rule = json!({
                "securityGroupRuleId": new_id("sgr"),
                "groupId": id,
                "groupOwnerId": ACCOUNT,
                "isEgress": side == EGRESS,
                "ipProtocol": permission["ipProtocol"],
                "fromPort": permission.get("fromPort").cloned().unwrap_or(json!(-1)),
                "toPort": permission.get("toPort").cloned().unwrap_or(json!(-1)),
                "cidrIpv4": permission["ipRanges"][0]["cidrIp"],
                "cidrIpv6": permission["ipv6Ranges"][0]["cidrIpv6"],
                "prefixListId": permission["prefixListIds"][0]["prefixListId"],
                "tagSet": [],
            });
            if let Some(group) = permission["groups"][0]["groupId"].as_str() {
                rule["referencedGroupInfo"] = json!({"groupId": group, "userId": ACCOUNT});
            }
            rule
        })
        .collect();
    Ok(json!({"return": true, "securityGroupRuleSet": rules}))
}

fn revoke(cloud: &Cloud, input: &ChangeRules, side: &str) -> ApiResult<Value> {
    let _change = changing(cloud);
    if !input.security_group_rule_id.is_empty() {
        return Err(ApiError::not_implemented(
            "revoking by SecurityGroupRuleId: pass the permission instead",
        ));
    }
    let id = required(&input.group_id, "GroupId")?;
    SECURITY_GROUP.require(cloud, id)?;
    let gone = requested(cloud, input)?;
    change(cloud, id, side, |rules| {
        for rule in &gone {
            let before = rules.len();
            rules.retain(|old| identity(old) != identity(rule));
            if rules.len() == before {
                return Err(ApiError::not_found(
                    "InvalidPermission.NotFound",
                    "The specified rule does not exist in this security group.",
                ));
            }
        }
        Ok(())
    })?;
    Ok(super::done())
}

fn change(
    cloud: &Cloud,
    id: &str,
    side: &str,
    change: impl FnOnce(&mut Vec<Value>) -> ApiResult<()>,
) -> ApiResult<()> {
    SECURITY_GROUP
        .records(cloud)
        .update(id, |group| match &mut group[side] {
            Value::Array(rules) => change(rules),
            _ => Err(ApiError::internal("a security group without rules")),
        })?
        .ok_or_else(|| SECURITY_GROUP.missing(id))
}

pub(super) async fn authorize_ingress(cloud: &Cloud, input: ChangeRules) -> ApiResult<Value> {
    authorize(cloud, &input, INGRESS)
}

pub(super) async fn authorize_egress(cloud: &Cloud, input: ChangeRules) -> ApiResult<Value> {
    authorize(cloud, &input, EGRESS)
}

pub(super) async fn revoke_ingress(cloud: &Cloud, input: ChangeRules) -> ApiResult<Value> {
    revoke(cloud, &input, INGRESS)
}

pub(super) async fn revoke_egress(cloud: &Cloud, input: ChangeRules) -> ApiResult<Value> {
    revoke(cloud, &input, EGRESS)
}
