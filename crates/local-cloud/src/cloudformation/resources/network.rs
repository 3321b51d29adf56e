//! The EC2 types that are networks themselves: VPC, subnet, gateways.
//!
//! Requests have EC2's wire names (`Tag`, not `Tags`) and answers its XML names, as a client's
//! request has after it was read.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::{Handler, Job, Made, Type, differs, is_gone, list, member, removed_tags};
use crate::api::{ApiError, ApiResult};
use crate::clock;

/// The types of this file.
pub(super) const TYPES: &[Type] = &[
    Type {
        name: "AWS::EC2::VPC",
        properties: &[
            "CidrBlock",
            "EnableDnsHostnames",
            "EnableDnsSupport",
            "InstanceTenancy",
            "Tags",
        ],
        naming: None,
        attributes: &["CidrBlock", "DefaultSecurityGroup", "VpcId"],
        handler: &Vpc,
    },
    Type {
        name: "AWS::EC2::Subnet",
        properties: &[
            "AvailabilityZone",
            "CidrBlock",
            "MapPublicIpOnLaunch",
            "Tags",
            "VpcId",
        ],
        naming: None,
        attributes: &["AvailabilityZone", "CidrBlock", "SubnetId", "VpcId"],
        handler: &Subnet,
    },
    Type {
        name: "AWS::EC2::InternetGateway",
        properties: &["Tags"],
        naming: None,
        attributes: &["InternetGatewayId"],
        handler: &InternetGateway,
    },
    Type {
        name: "AWS::EC2::EIP",
        properties: &["Domain", "Tags"],
        naming: None,
        attributes: &["AllocationId", "PublicIp"],
        handler: &Eip,
    },
    Type {
        name: "AWS::EC2::NatGateway",
        properties: &["AllocationId", "ConnectivityType", "SubnetId", "Tags"],
        naming: None,
        attributes: &["NatGatewayId"],
        handler: &NatGateway,
    },
];

struct Vpc;
struct Subnet;
struct InternetGateway;
struct Eip;
struct NatGateway;

/// Calls EC2.
pub(super) async fn ec2(job: &Job<'_>, operation: &str, input: Value) -> ApiResult<Value> {
    job.call("ec2", operation, input).await
}

/// The tags of a request that makes a resource of this EC2 kind.
pub(super) fn tags_for(job: &Job<'_>, kind: &str) -> Value {
    match job.get("Tags") {
        Some(Value::Array(tags)) if !tags.is_empty() => {
            json!([{"ResourceType": kind, "Tag": tags}])
        }
        _ => Value::Null,
    }
}

/// Makes the tags of the resource those of the properties.
pub(super) async fn retag(job: &Job<'_>, id: &str, old: &Map<String, Value>) -> ApiResult<()> {
    if !differs(old, job.properties, &["Tags"]) {
        return Ok(());
    }
    let removed: Vec<Value> = removed_tags(old, job.properties)
        .into_iter()
        .map(|key| json!({"Key": key}))
        .collect();
    if !removed.is_empty() {
        ec2(
            job,
            "DeleteTags",
            json!({"ResourceId": [id], "Tag": removed}),
        )
        .await?;
    }
    let tags = list(job.properties, "Tags");
    if !tags.is_empty() {
        ec2(job, "CreateTags", json!({"ResourceId": [id], "Tag": tags})).await?;
    }
    Ok(())
}

/// A resource with these attributes.
pub(super) fn made<const N: usize>(physical: String, attributes: [(&str, String); N]) -> Made {
    Made {
        physical,
        attributes: attributes
            .map(|(name, value)| (name.to_owned(), Value::String(value)))
            .into_iter()
            .collect(),
    }
}

impl Vpc {
    async fn set(job: &Job<'_>, id: &str, old: &Map<String, Value>) -> ApiResult<()> {
        for (name, otherwise) in [("EnableDnsSupport", true), ("EnableDnsHostnames", false)] {
            if differs(old, job.properties, &[name]) {
                let value = job.get(name).map_or(otherwise, |value| value == true);
                let mut input = json!({"VpcId": id});
                input[name] = json!({"Value": value.to_string()});
                ec2(job, "ModifyVpcAttribute", input).await?;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Handler for Vpc {
    async fn create(&self, job: &Job<'_>) -> ApiResult<Made> {
        let answer = ec2(
            job,
            "CreateVpc",
            json!({
                "CidrBlock": job.get("CidrBlock"),
                "InstanceTenancy": job.get("InstanceTenancy"),
                "TagSpecification": tags_for(job, "vpc"),
            }),
        )
        .await?;
        let id = member(&answer, "/vpc/vpcId")?;
        let groups = ec2(
            job,
            "DescribeSecurityGroups",
            json!({"Filter": [
                {"Name": "vpc-id", "Value": [id]},
                {"Name": "group-name", "Value": ["default"]},
            ]}),
        )
        .await?;
        let group = member(&groups, "/securityGroupInfo/0/groupId")?;
        Ok(made(
            id.clone(),
            [
                ("VpcId", id),
                ("CidrBlock", job.text("CidrBlock")),
                ("DefaultSecurityGroup", group),
            ],
        ))
    }

    async fn stabilize(&self, job: &Job<'_>, physical: &str) -> ApiResult<()> {
        Self::set(job, physical, &Map::new()).await
    }

    async fn update(
        &self,
        job: &Job<'_>,
        physical: &str,
        old: &Map<String, Value>,
    ) -> ApiResult<Map<String, Value>> {
        Self::set(job, physical, old).await?;
        retag(job, physical, old).await?;
        Ok(Map::new())
    }

    async fn delete(&self, job: &Job<'_>, physical: &str) -> ApiResult<()> {
        ec2(job, "DeleteVpc", json!({"VpcId": physical})).await?;
        Ok(())
    }
}

impl Subnet {
    async fn set(job: &Job<'_>, id: &str, old: &Map<String, Value>) -> ApiResult<()> {
        if differs(old, job.properties, &["MapPublicIpOnLaunch"]) {
            let value = job
                .get("MapPublicIpOnLaunch")
                .is_some_and(|value| value == true);
            let input =
                json!({"SubnetId": id, "MapPublicIpOnLaunch": {"Value": value.to_string()}});
            ec2(job, "ModifySubnetAttribute", input).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Handler for Subnet {
    async fn create(&self, job: &Job<'_>) -> ApiResult<Made> {
        let answer = ec2(
            job,
            "CreateSubnet",
            json!({
                "VpcId": job.text("VpcId"),
                "CidrBlock": job.get("CidrBlock"),
                "AvailabilityZone": job.get("AvailabilityZone"),
                "TagSpecification": tags_for(job, "subnet"),
            }),
        )
        .await?;
        let id = member(&answer, "/subnet/subnetId")?;
        Ok(made(
            id.clone(),
            [
                ("SubnetId", id),
                (
                    "AvailabilityZone",
                    member(&answer, "/subnet/availabilityZone")?,
                ),
                ("CidrBlock", job.text("CidrBlock")),
                ("VpcId", job.text("VpcId")),
            ],
        ))
    }

    async fn stabilize(&self, job: &Job<'_>, physical: &str) -> ApiResult<()> {
        Self::set(job, physical, &Map::new()).await
    }

    async fn update(
        &self,
        job: &Job<'_>,
        physical: &str,
        old: &Map<String, Value>,
    ) -> ApiResult<Map<String, Value>> {
        Self::set(job, physical, old).await?;
        retag(job, physical, old).await?;
        Ok(Map::new())
    }

    async fn delete(&self, job: &Job<'_>, physical: &str) -> ApiResult<()> {
        ec2(job, "DeleteSubnet", json!({"SubnetId": physical})).await?;
        Ok(())
    }
}

#[async_trait]
impl Handler for InternetGateway {
    async fn create(&self, job: &Job<'_>) -> ApiResult<Made> {
        let input = json!({"TagSpecification": tags_for(job, "internet-gateway")});
        let answer = ec2(job, "CreateInternetGateway", input).await?;
        let id = member(&answer, "/internetGateway/internetGatewayId")?;
        Ok(made(id.clone(), [("InternetGatewayId", id)]))
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
        let input = json!({"InternetGatewayId": physical});
        ec2(job, "DeleteInternetGateway", input).await?;
        Ok(())
    }
}

#[async_trait]
impl Handler for Eip {
    async fn create(&self, job: &Job<'_>) -> ApiResult<Made> {
        let answer = ec2(
            job,
            "AllocateAddress",
            json!({
                "Domain": job.get("Domain"),
                "TagSpecification": tags_for(job, "elastic-ip"),
            }),
        )
        .await?;
        let address = member(&answer, "/publicIp")?;
        let allocation = member(&answer, "/allocationId")?;
        Ok(made(
            address.clone(),
            [("PublicIp", address), ("AllocationId", allocation)],
        ))
    }

    async fn update(
        &self,
        job: &Job<'_>,
        physical: &str,
        old: &Map<String, Value>,
    ) -> ApiResult<Map<String, Value>> {
        if differs(old, job.properties, &["Domain"]) {
            let what = "a change of the property Domain of AWS::EC2::EIP";
            return Err(ApiError::not_implemented(what));
        }
        retag(job, &allocation(job, physical).await?, old).await?;
        Ok(Map::new())
    }

    async fn delete(&self, job: &Job<'_>, physical: &str) -> ApiResult<()> {
        let input = json!({"AllocationId": allocation(job, physical).await?});
        ec2(job, "ReleaseAddress", input).await?;
        Ok(())
    }
}

/// The allocation id of an Elastic IP, whose physical id is its address.
async fn allocation(job: &Job<'_>, address: &str) -> ApiResult<String> {
    let answer = ec2(job, "DescribeAddresses", json!({"PublicIp": [address]})).await?;
    member(&answer, "/addressesSet/0/allocationId").map_err(|_| {
        ApiError::new(
            "InvalidAddress.NotFound",
            format!("Address '{address}' not found."),
        )
    })
}

/// Waits until the NAT gateway is in this state.
async fn nat_gateway(job: &Job<'_>, id: &str, wanted: &str) -> ApiResult<()> {
    loop {
        let answer = ec2(job, "DescribeNatGateways", json!({"NatGatewayId": [id]})).await;
        let answer = match answer {
            Err(error) if is_gone(&error) && wanted == "deleted" => return Ok(()),
            answer => answer?,
        };
        let shown = &answer["natGatewaySet"][0];
        match shown["state"].as_str().unwrap_or("deleted") {
            state if state == wanted => return Ok(()),
            "failed" => {
                let reason = shown["failureMessage"]
                    .as_str()
                    .unwrap_or("no reason was given");
                return Err(ApiError::new("NotStabilized", reason));
            }
            "deleted" => {
                return Err(ApiError::new(
                    "NotStabilized",
                    format!("NatGateway {id} was deleted"),
                ));
            }
            _ => clock::sleep(Duration::from_millis(100)).await,
        }
    }
}

#[async_trait]
impl Handler for NatGateway {
    async fn create(&self, job: &Job<'_>) -> ApiResult<Made> {
        let answer = ec2(
            job,
            "CreateNatGateway",
            json!({
                "SubnetId": job.text("SubnetId"),
                "AllocationId": job.get("AllocationId"),
                "ConnectivityType": job.get("ConnectivityType"),
                "TagSpecification": tags_for(job, "natgateway"),
            }),
        )
        .await?;
        let id = member(&answer, "/natGateway/natGatewayId")?;
        Ok(made(id.clone(), [("NatGatewayId", id)]))
    }

    async fn stabilize(&self, job: &Job<'_>, physical: &str) -> ApiResult<()> {
        nat_gateway(job, physical, "available").await
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
        ec2(job, "DeleteNatGateway", json!({"NatGatewayId": physical})).await?;
        nat_gateway(job, physical, "deleted").await
    }
}
