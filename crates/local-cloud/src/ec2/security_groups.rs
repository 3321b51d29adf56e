//! Security groups and their rules.

use serde_json::{Value, json};

use super::cidr::Cidr;
use super::kinds::{
    SECURITY_GROUP, VPC, VPC_ENDPOINT, changing, dependency, given, new_id, number, required, text,
    texts,
};
use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::cloud::ACCOUNT;

const INGRESS: &str = "ipPermissions";
const EGRESS: &str = "ipPermissionsEgress";

/// The members of a permission that hold sources: on the wire, kept, and the one that names them.
const SOURCES: [(&str, &str, &str, &str); 4] = [
    ("IpRanges", "ipRanges", "CidrIp", "cidrIp"),
    ("Ipv6Ranges", "ipv6Ranges", "CidrIpv6", "cidrIpv6"),
    ("Groups", "groups", "GroupId", "groupId"),
    (
        "PrefixListIds",
        "prefixListIds",
        "PrefixListId",
        "prefixListId",
    ),
];

/// Makes a group that lets everything out, and (`own`) everything of its own in.
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

/// Makes the group that a new VPC has.
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
    for (_, kept, _, _) in SOURCES {
        permission[kept] = json!([]);
    }
    permission[member] = json!([source]);
    permission
}

pub(super) async fn create(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let _change = changing(cloud);
    let name = required(&input, "GroupName")?;
    let description = match text(&input, "GroupDescription") {
        "" => required(&input, "Description")?,
        description => description,
    };
    let vpc = required(&input, "VpcId")?;
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
    let tags = SECURITY_GROUP.new_tags(&input)?;
    let group = make(cloud, vpc, name, description, false, &tags)?;
    Ok(json!({
        "groupId": group["groupId"],
        "securityGroupArn": group["securityGroupArn"],
        "tagSet": group["tagSet"],
    }))
}

pub(super) async fn describe(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    SECURITY_GROUP.describe(cloud, &input)
}

pub(super) async fn delete(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let _change = changing(cloud);
    let id = required(&input, "GroupId")?;
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

/// The permissions of a request, one per source.
fn requested(cloud: &Cloud, input: &Value) -> ApiResult<Vec<Value>> {
    let single = [input.clone()];
    let permissions: &[Value] = match input["IpPermissions"].as_array() {
        Some(permissions) => permissions,
        None => &single,
    };
    let mut found = Vec::new();
    for given_permission in permissions {
        let protocol = protocol(required(given_permission, "IpProtocol")?)?;
        let (mut from, mut to) = (
            number(given_permission, "FromPort")?,
            number(given_permission, "ToPort")?,
        );
        if protocol == "-1" {
            (from, to) = (None, None);
        } else if matches!(protocol.as_str(), "tcp" | "udp") {
            match (from, to) {
                (Some(first), Some(last))
                    if (0..=65535).contains(&first) && (first..=65535).contains(&last) => {}
                _ => {
                    return Err(ApiError::new(
                        "InvalidParameterValue",
                        format!(
                            "Invalid value for portRange. {protocol} needs FromPort and ToPort between 0 and 65535, in this order"
                        ),
                    ));
                }
            }
        }
        let before = found.len();
        if let Some(cidr) = given_permission["CidrIp"].as_str() {
            let source = json!({"cidrIp": Cidr::parse(cidr)?.to_string()});
            found.push(permission(&protocol, from, to, "ipRanges", &source));
        }
        for (wire, kept, wire_name, kept_name) in SOURCES {
            let api = if wire == "Groups" {
                "UserIdGroupPairs"
            } else {
                wire
            };
            for source in given(given_permission, wire, api)
                .as_array()
                .into_iter()
                .flatten()
            {
                let name = required(source, wire_name)?;
                let mut entry = json!({});
                match wire {
                    "IpRanges" => entry[kept_name] = json!(Cidr::parse(name)?.to_string()),
                    "Groups" => {
                        SECURITY_GROUP.require(cloud, name)?;
                        entry = json!({"groupId": name, "userId": ACCOUNT});
                    }
                    _ => entry[kept_name] = json!(name),
                }
                if let Some(description) = source["Description"].as_str() {
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

/// What makes a rule the same rule; a description does not.
fn identity(permission: &Value) -> Value {
    let sources: Vec<Value> = SOURCES
        .iter()
        .flat_map(|(_, kept, _, name)| {
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

fn authorize(cloud: &Cloud, input: &Value, side: &str) -> ApiResult<Value> {
    let _change = changing(cloud);
    let id = required(input, "GroupId")?;
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

fn revoke(cloud: &Cloud, input: &Value, side: &str) -> ApiResult<Value> {
    let _change = changing(cloud);
    if !texts(input, "SecurityGroupRuleId").is_empty() {
        return Err(ApiError::not_implemented(
            "revoking by SecurityGroupRuleId: name the permission",
        ));
    }
    let id = required(input, "GroupId")?;
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

pub(super) async fn authorize_ingress(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    authorize(cloud, &input, INGRESS)
}

pub(super) async fn authorize_egress(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    authorize(cloud, &input, EGRESS)
}

pub(super) async fn revoke_ingress(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    revoke(cloud, &input, INGRESS)
}

pub(super) async fn revoke_egress(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    revoke(cloud, &input, EGRESS)
}
