//! `AWS::EC2::SecurityGroup` with the rules in it.

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::network::{ec2, made, retag, tags_for};
use super::{Handler, Job, Made, Naming, Type, list, member};
use crate::api::ApiResult;

/// The types of this file.
pub(super) const TYPES: &[Type] = &[Type {
    name: "AWS::EC2::SecurityGroup",
    properties: &[
        "GroupDescription",
        "GroupName",
        "SecurityGroupEgress",
        "SecurityGroupIngress",
        "Tags",
        "VpcId",
    ],
    naming: Some(Naming {
        property: "GroupName",
        longest: 255,
        lower: false,
    }),
    attributes: &["GroupId", "VpcId"],
    handler: &SecurityGroup,
}];

struct SecurityGroup;

/// One rule of a security group, in the form of the API.
pub(super) fn permission(rule: &Map<String, Value>) -> Value {
    let get = |names: &[&str]| names.iter().find_map(|name| rule.get(*name)).cloned();
    let with = |name: &str, value: Option<Value>| match value {
        None => Value::Null,
        Some(value) => {
            let mut target = Map::from_iter([(name.to_owned(), value)]);
            if let Some(description) = rule.get("Description") {
                target.insert("Description".to_owned(), description.clone());
            }
            Value::Array(vec![Value::Object(target)])
        }
    };
    super::prune(json!({
        "IpProtocol": get(&["IpProtocol"]),
        "FromPort": get(&["FromPort"]),
        "ToPort": get(&["ToPort"]),
        "IpRanges": with("CidrIp", get(&["CidrIp"])),
        "Ipv6Ranges": with("CidrIpv6", get(&["CidrIpv6"])),
        "PrefixListIds": with("PrefixListId", get(&["SourcePrefixListId", "DestinationPrefixListId"])),
        "Groups": with("GroupId", get(&["SourceSecurityGroupId", "DestinationSecurityGroupId"])),
    }))
}

fn permissions(properties: &Map<String, Value>, name: &str) -> Vec<Value> {
    list(properties, name)
        .iter()
        .filter_map(Value::as_object)
        .map(permission)
        .collect()
}

/// Calls a rule operation of a group, unless there is no rule.
async fn rules(job: &Job<'_>, id: &str, operation: &str, rules: Vec<Value>) -> ApiResult<()> {
    if !rules.is_empty() {
        ec2(
            job,
            operation,
            json!({"GroupId": id, "IpPermissions": rules}),
        )
        .await?;
    }
    Ok(())
}

/// What EC2 gives every new group: all traffic may go out.
fn allow_all() -> Value {
    json!({"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]})
}

/// The egress rules of a group; without any in the template it keeps EC2's own.
fn egress(properties: &Map<String, Value>) -> Vec<Value> {
    match permissions(properties, "SecurityGroupEgress") {
        rules if rules.is_empty() => vec![allow_all()],
        rules => rules,
    }
}

async fn set_rules(job: &Job<'_>, id: &str, had: (Vec<Value>, Vec<Value>)) -> ApiResult<()> {
    let without = |all: &[Value], some: &[Value]| -> Vec<Value> {
        all.iter()
            .filter(|rule| !some.contains(rule))
            .cloned()
            .collect()
    };
    let ingress = permissions(job.properties, "SecurityGroupIngress");
    let egress = egress(job.properties);
    rules(
        job,
        id,
        "RevokeSecurityGroupIngress",
        without(&had.0, &ingress),
    )
    .await?;
    rules(
        job,
        id,
        "AuthorizeSecurityGroupIngress",
        without(&ingress, &had.0),
    )
    .await?;
    rules(
        job,
        id,
        "RevokeSecurityGroupEgress",
        without(&had.1, &egress),
    )
    .await?;
    rules(
        job,
        id,
        "AuthorizeSecurityGroupEgress",
        without(&egress, &had.1),
    )
    .await
}

#[async_trait]
impl Handler for SecurityGroup {
    async fn create(&self, job: &Job<'_>) -> ApiResult<Made> {
        let answer = ec2(
            job,
            "CreateSecurityGroup",
            json!({
                "GroupName": job.name,
                "GroupDescription": job.text("GroupDescription"),
                "VpcId": job.get("VpcId"),
                "TagSpecification": tags_for(job, "security-group"),
            }),
        )
        .await?;
        let id = member(&answer, "/groupId")?;
        Ok(made(
            id.clone(),
            [("GroupId", id), ("VpcId", job.text("VpcId"))],
        ))
    }

    async fn stabilize(&self, job: &Job<'_>, physical: &str) -> ApiResult<()> {
        set_rules(job, physical, (Vec::new(), vec![allow_all()])).await
    }

    async fn update(
        &self,
        job: &Job<'_>,
        physical: &str,
        old: &Map<String, Value>,
    ) -> ApiResult<Map<String, Value>> {
        let had = (permissions(old, "SecurityGroupIngress"), egress(old));
        set_rules(job, physical, had).await?;
        retag(job, physical, old).await?;
        Ok(Map::new())
    }

    async fn delete(&self, job: &Job<'_>, physical: &str) -> ApiResult<()> {
        ec2(job, "DeleteSecurityGroup", json!({"GroupId": physical})).await?;
        Ok(())
    }
}
