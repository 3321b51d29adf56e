//! The EC2 types that join networks: attachments, route tables and routes, rules of security
//! groups, VPC endpoints.

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::network::{ec2, made, retag, tags_for};
use super::security_group::permission;
use super::{Handler, Job, Made, Type, differs, document, is_gone, list, member};
use crate::api::{ApiError, ApiResult};

/// The types of this file.
pub(super) const TYPES: &[Type] = &[
    Type {
        name: "AWS::EC2::VPCGatewayAttachment",
        properties: &["InternetGatewayId", "VpcId"],
        naming: None,
        attributes: &[],
        handler: &GatewayAttachment,
    },
    Type {
        name: "AWS::EC2::RouteTable",
        properties: &["Tags", "VpcId"],
        naming: None,
        attributes: &["RouteTableId"],
        handler: &RouteTable,
    },
    Type {
        name: "AWS::EC2::Route",
        properties: &[
            "DestinationCidrBlock",
            "GatewayId",
            "NatGatewayId",
            "RouteTableId",
        ],
        naming: None,
        attributes: &["CidrBlock"],
        handler: &Route,
    },
    Type {
        name: "AWS::EC2::SubnetRouteTableAssociation",
        properties: &["RouteTableId", "SubnetId"],
        naming: None,
        attributes: &["Id"],
        handler: &Association,
    },
    Type {
        name: "AWS::EC2::SecurityGroupIngress",
        properties: &[
            "CidrIp",
            "CidrIpv6",
            "Description",
            "FromPort",
            "GroupId",
            "IpProtocol",
            "SourcePrefixListId",
            "SourceSecurityGroupId",
            "ToPort",
        ],
        naming: None,
        attributes: &["Id"],
        handler: &Rule("Ingress"),
    },
    Type {
        name: "AWS::EC2::SecurityGroupEgress",
        properties: &[
            "CidrIp",
            "CidrIpv6",
            "Description",
            "DestinationPrefixListId",
            "DestinationSecurityGroupId",
            "FromPort",
            "GroupId",
            "IpProtocol",
            "ToPort",
        ],
        naming: None,
        attributes: &["Id"],
        handler: &Rule("Egress"),
    },
    Type {
        name: "AWS::EC2::VPCEndpoint",
        properties: &[
            "PolicyDocument",
            "PrivateDnsEnabled",
            "RouteTableIds",
            "SecurityGroupIds",
            "ServiceName",
            "SubnetIds",
            "Tags",
            "VpcEndpointType",
            "VpcId",
        ],
        naming: None,
        attributes: &["Id"],
        handler: &VpcEndpoint,
    },
];

struct GatewayAttachment;
struct RouteTable;
struct Route;
struct Association;
/// A rule of a security group; which way it goes is part of the operations' names.
struct Rule(&'static str);
struct VpcEndpoint;

#[async_trait]
impl Handler for GatewayAttachment {
    async fn create(&self, job: &Job<'_>) -> ApiResult<Made> {
        let input =
            json!({"InternetGatewayId": job.text("InternetGatewayId"), "VpcId": job.text("VpcId")});
        ec2(job, "AttachInternetGateway", input).await?;
        Ok(made(format!("IGW|{}", job.text("VpcId")), []))
    }

    async fn update(
        &self,
        job: &Job<'_>,
        _physical: &str,
        old: &Map<String, Value>,
    ) -> ApiResult<Map<String, Value>> {
        let vpc = job.text("VpcId");
        let input = json!({"InternetGatewayId": old.get("InternetGatewayId"), "VpcId": vpc});
        ec2(job, "DetachInternetGateway", input).await?;
        let input = json!({"InternetGatewayId": job.text("InternetGatewayId"), "VpcId": vpc});
        ec2(job, "AttachInternetGateway", input).await?;
        Ok(Map::new())
    }

    async fn delete(&self, job: &Job<'_>, _physical: &str) -> ApiResult<()> {
        let input =
            json!({"InternetGatewayId": job.text("InternetGatewayId"), "VpcId": job.text("VpcId")});
        match ec2(job, "DetachInternetGateway", input).await {
            Err(error) if error.code != "Gateway.NotAttached" => Err(error),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Handler for RouteTable {
    async fn create(&self, job: &Job<'_>) -> ApiResult<Made> {
        let input =
            json!({"VpcId": job.text("VpcId"), "TagSpecification": tags_for(job, "route-table")});
        let answer = ec2(job, "CreateRouteTable", input).await?;
        let id = member(&answer, "/routeTable/routeTableId")?;
        Ok(made(id.clone(), [("RouteTableId", id)]))
    }

    async fn update(
        &self,
        job: &Job<'_>,
        physical: &str,
        old: &Map<String, Value>,
    ) -> ApiResult<Map<String, Value>> {
        retag(job, physical, old).await?;
        Ok(Map::new())
    }

    async fn delete(&self, job: &Job<'_>, physical: &str) -> ApiResult<()> {
        ec2(job, "DeleteRouteTable", json!({"RouteTableId": physical})).await?;
        Ok(())
    }
}

fn route(job: &Job<'_>) -> Value {
    Value::Object(job.pick(&[
        "DestinationCidrBlock",
        "GatewayId",
        "NatGatewayId",
        "RouteTableId",
    ]))
}

#[async_trait]
impl Handler for Route {
    async fn create(&self, job: &Job<'_>) -> ApiResult<Made> {
        ec2(job, "CreateRoute", route(job)).await?;
        let block = job.text("DestinationCidrBlock");
        Ok(made(
            format!("{}|{block}", job.text("RouteTableId")),
            [("CidrBlock", block)],
        ))
    }

    async fn update(
        &self,
        job: &Job<'_>,
        _physical: &str,
        _old: &Map<String, Value>,
    ) -> ApiResult<Map<String, Value>> {
        ec2(job, "ReplaceRoute", route(job)).await?;
        Ok(Map::new())
    }

    async fn delete(&self, job: &Job<'_>, _physical: &str) -> ApiResult<()> {
        let input = Value::Object(job.pick(&["DestinationCidrBlock", "RouteTableId"]));
        ec2(job, "DeleteRoute", input).await?;
        Ok(())
    }
}

#[async_trait]
impl Handler for Association {
    async fn create(&self, job: &Job<'_>) -> ApiResult<Made> {
        let input = Value::Object(job.pick(&["RouteTableId", "SubnetId"]));
        let answer = ec2(job, "AssociateRouteTable", input).await?;
        let id = member(&answer, "/associationId")?;
        Ok(made(id.clone(), [("Id", id)]))
    }

    async fn update(
        &self,
        _job: &Job<'_>,
        _physical: &str,
        _old: &Map<String, Value>,
    ) -> ApiResult<Map<String, Value>> {
        Ok(Map::new())
    }

    async fn delete(&self, job: &Job<'_>, physical: &str) -> ApiResult<()> {
        ec2(
            job,
            "DisassociateRouteTable",
            json!({"AssociationId": physical}),
        )
        .await?;
        Ok(())
    }
}

#[async_trait]
impl Handler for Rule {
    async fn create(&self, job: &Job<'_>) -> ApiResult<Made> {
        let operation = format!("AuthorizeSecurityGroup{}", self.0);
        let input = json!({
            "GroupId": job.text("GroupId"),
            "IpPermissions": [permission(job.properties)],
        });
        let answer = ec2(job, &operation, input).await?;
        let id = member(&answer, "/securityGroupRuleSet/0/securityGroupRuleId")?;
        Ok(made(id.clone(), [("Id", id)]))
    }

    async fn update(
        &self,
        _job: &Job<'_>,
        _physical: &str,
        _old: &Map<String, Value>,
    ) -> ApiResult<Map<String, Value>> {
        // Every other property makes a new rule.
        Err(ApiError::not_implemented(
            "a change of the description of a security group's rule",
        ))
    }

    async fn delete(&self, job: &Job<'_>, _physical: &str) -> ApiResult<()> {
        let operation = format!("RevokeSecurityGroup{}", self.0);
        let input = json!({
            "GroupId": job.text("GroupId"),
            "IpPermissions": [permission(job.properties)],
        });
        ec2(job, &operation, input).await?;
        Ok(())
    }
}

/// The lists that `ModifyVpcEndpoint` adds to and removes from: the property, the wire name.
const LISTS: [(&str, &str); 3] = [
    ("RouteTableIds", "RouteTableId"),
    ("SecurityGroupIds", "SecurityGroupId"),
    ("SubnetIds", "SubnetId"),
];

#[async_trait]
impl Handler for VpcEndpoint {
    async fn create(&self, job: &Job<'_>) -> ApiResult<Made> {
        let mut input = json!({
            "VpcId": job.text("VpcId"),
            "ServiceName": job.text("ServiceName"),
            "VpcEndpointType": job.get("VpcEndpointType"),
            "PolicyDocument": job.get("PolicyDocument").map(document),
            "PrivateDnsEnabled": job.get("PrivateDnsEnabled").map(Value::to_string),
            "TagSpecification": tags_for(job, "vpc-endpoint"),
        });
        for (property, wire) in LISTS {
            if !job.list(property).is_empty() {
                input[wire] = job.list(property).into();
            }
        }
        let answer = ec2(job, "CreateVpcEndpoint", input).await?;
        let id = member(&answer, "/vpcEndpoint/vpcEndpointId")?;
        Ok(made(id.clone(), [("Id", id)]))
    }

    async fn update(
        &self,
        job: &Job<'_>,
        physical: &str,
        old: &Map<String, Value>,
    ) -> ApiResult<Map<String, Value>> {
        let new = job.properties;
        if differs(
            old,
            new,
            &[
                "PolicyDocument",
                "PrivateDnsEnabled",
                "RouteTableIds",
                "SecurityGroupIds",
                "SubnetIds",
            ],
        ) {
            let mut input = json!({"VpcEndpointId": physical});
            for (property, wire) in LISTS {
                let (had, has) = (list(old, property), list(new, property));
                for (verb, all, some) in [("Add", &has, &had), ("Remove", &had, &has)] {
                    let ids: Vec<_> = all.iter().filter(|id| !some.contains(id)).collect();
                    if !ids.is_empty() {
                        input[format!("{verb}{wire}")] = json!(ids);
                    }
                }
            }
            if differs(old, new, &["PolicyDocument"]) {
                match job.get("PolicyDocument") {
                    Some(policy) => input["PolicyDocument"] = document(policy).into(),
                    None => input["ResetPolicy"] = "true".into(),
                }
            }
            if differs(old, new, &["PrivateDnsEnabled"]) {
                let enabled = job
                    .get("PrivateDnsEnabled")
                    .is_some_and(|value| value == true);
                input["PrivateDnsEnabled"] = enabled.to_string().into();
            }
            ec2(job, "ModifyVpcEndpoint", input).await?;
        }
        retag(job, physical, old).await?;
        Ok(Map::new())
    }

    async fn delete(&self, job: &Job<'_>, physical: &str) -> ApiResult<()> {
        let answer = ec2(
            job,
            "DeleteVpcEndpoints",
            json!({"VpcEndpointId": [physical]}),
        )
        .await?;
        // The operation answers 200 and says in its body what it did not do.
        if let Some(failed) = answer.pointer("/unsuccessful/0/error") {
            let text = |name: &str| failed[name].as_str().unwrap_or_default().to_owned();
            let error = ApiError::new(text("code"), text("message"));
            return if is_gone(&error) { Ok(()) } else { Err(error) };
        }
        Ok(())
    }
}
