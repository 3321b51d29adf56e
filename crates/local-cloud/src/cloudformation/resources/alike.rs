//! What a create call made that was cut off by the end of the server: found by comparing what is
//! alike before and after.

use serde_json::{Value, json};

use super::{Job, Type, is_gone, member};
use crate::api::{ApiError, ApiResult};
use crate::cloud::ACCOUNT;
use crate::s3::buckets;

/// The physical ids of everything that the create call of this job could make or collide with:
/// what has the resource's name, or its place in a VPC.
///
/// Empty for the types that neither have a name nor stand in the way of another resource (VPCs,
/// internet gateways, addresses, keys), and for those that are deleted with what they belong to.
pub(crate) async fn alike(kind: &Type, job: &Job<'_>) -> ApiResult<Vec<String>> {
    if let Some(found) = in_vpc(kind, job).await? {
        return Ok(found);
    }
    if kind.name == "AWS::S3::Bucket" {
        let found = buckets::exists(job.cloud, job.name)?;
        return Ok(found.then(|| job.name.to_owned()).into_iter().collect());
    }
    let name = job.name;
    let sagemaker = "sagemaker";
    let (service, operation, input, pointer) = match kind.name {
        "AWS::CodeCommit::Repository" => (
            "codecommit",
            "GetRepository",
            json!({"repositoryName": job.text("RepositoryName")}),
            "/repositoryMetadata/repositoryId",
        ),
        "AWS::ECR::Repository" => (
            "ecr",
            "DescribeRepositories",
            json!({"repositoryNames": [name]}),
            "/repositories/0/repositoryName",
        ),
        "AWS::IAM::Role" => (
            "iam",
            "GetRole",
            json!({"RoleName": name}),
            "/Role/RoleName",
        ),
        "AWS::IAM::ManagedPolicy" => {
            let path = job
                .get("Path")
                .map_or("/".to_owned(), super::super::template::text_of);
            let arn = format!("arn:aws:iam::{ACCOUNT}:policy{path}{name}");
            let input = json!({"PolicyArn": arn});
            ("iam", "GetPolicy", input, "/Policy/Arn")
        }
        "AWS::KMS::Alias" => {
            let alias = job.text("AliasName");
            let found = job
                .call("kms", "DescribeKey", json!({"KeyId": alias}))
                .await;
            return Ok(there(found)?.map(|_| alias).into_iter().collect());
        }
        "AWS::Lambda::Function" => (
            "lambda",
            "GetFunctionConfiguration",
            json!({"FunctionName": name}),
            "/FunctionName",
        ),
        "AWS::Logs::LogGroup" => (
            "logs",
            "DescribeLogGroups",
            json!({"logGroupNamePrefix": name}),
            "/logGroups/0/logGroupName",
        ),
        "AWS::SageMaker::Pipeline" => (
            sagemaker,
            "DescribePipeline",
            json!({"PipelineName": name}),
            "/PipelineName",
        ),
        other => {
            // The other SageMaker types with a name are described by it and known by their ARN.
            let (Some("SageMaker"), Some(naming), Some(bare)) = (
                other.split("::").nth(1),
                kind.naming,
                other.rsplit("::").next(),
            ) else {
                return Ok(Vec::new());
            };
            let input = super::sagemaker::one(naming.property, name);
            let answer = job.call(sagemaker, &format!("Describe{bare}"), input).await;
            let arn = there(answer)?.map(|answer| member(&answer, &format!("/{bare}Arn")));
            return arn.into_iter().collect();
        }
    };
    let answer = there(job.call(service, operation, input).await)?;
    let id = answer.and_then(|answer| Some(answer.pointer(pointer)?.as_str()?.to_owned()));
    // A list by prefix may begin with another name.
    let id = id.filter(|id| service != "logs" || id == name);
    Ok(id.into_iter().collect())
}

/// `None` where the service says that it is not there, or that nothing can have such a name. What
/// could not be looked at is not taken for absent: after a crash it would be deleted as ours.
fn there(answer: ApiResult<Value>) -> ApiResult<Option<Value>> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if is_gone(&error) || is_impossible(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// True for the error of a name that breaks the service's rules.
fn is_impossible(error: &ApiError) -> bool {
    error.status == 400 && (error.code.contains("Invalid") || error.code.contains("Validation"))
}

/// What has the resource's place in a VPC; `None` for the types that have none.
async fn in_vpc(kind: &Type, job: &Job<'_>) -> ApiResult<Option<Vec<String>>> {
    // The operation, the list in its answer, the id, and the members that are as in the properties.
    type Pairs = &'static [(&'static str, &'static str)];
    let (operation, list, id, same): (_, _, _, Pairs) = match kind.name {
        "AWS::EC2::Subnet" => (
            "DescribeSubnets",
            "subnetSet",
            "subnetId",
            &[("vpcId", "VpcId"), ("cidrBlock", "CidrBlock")],
        ),
        "AWS::EC2::RouteTable" => (
            "DescribeRouteTables",
            "routeTableSet",
            "routeTableId",
            &[("vpcId", "VpcId")],
        ),
        "AWS::EC2::SecurityGroup" => (
            "DescribeSecurityGroups",
            "securityGroupInfo",
            "groupId",
            &[("vpcId", "VpcId")],
        ),
        "AWS::EC2::NatGateway" => (
            "DescribeNatGateways",
            "natGatewaySet",
            "natGatewayId",
            &[("subnetId", "SubnetId")],
        ),
        "AWS::EC2::VPCEndpoint" => (
            "DescribeVpcEndpoints",
            "vpcEndpointSet",
            "vpcEndpointId",
            &[("vpcId", "VpcId"), ("serviceName", "ServiceName")],
        ),
        "AWS::EC2::SubnetRouteTableAssociation" => (
            "DescribeRouteTables",
            "routeTableSet",
            "",
            &[("routeTableId", "RouteTableId")],
        ),
        "AWS::EC2::VPCGatewayAttachment" => (
            "DescribeInternetGateways",
            "internetGatewaySet",
            "",
            &[("internetGatewayId", "InternetGatewayId")],
        ),
        _ => return Ok(None),
    };
    let answer = job.call("ec2", operation, json!({})).await?;
    let mut found = Vec::new();
    for item in answer[list].as_array().into_iter().flatten() {
        let is_same = |(theirs, ours): &(&str, &str)| {
            job.get(ours).is_none() || item[*theirs] == job.text(ours)
        };
        if !same.iter().all(is_same) {
            continue;
        }
        let text = |value: &Value| value.as_str().map(str::to_owned);
        if kind.name == "AWS::EC2::VPCGatewayAttachment" {
            let vpcs = item["attachmentSet"].as_array().into_iter().flatten();
            found.extend(
                vpcs.filter_map(|attached| text(&attached["vpcId"]))
                    .map(|vpc| format!("IGW|{vpc}")),
            );
        } else if id.is_empty() {
            let subnets = item["associationSet"].as_array().into_iter().flatten();
            found.extend(
                subnets
                    .filter(|association| association["subnetId"] == job.text("SubnetId"))
                    .filter_map(|association| text(&association["routeTableAssociationId"])),
            );
        } else {
            found.extend(text(&item[id]));
        }
    }
    Ok(Some(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issue_8_2_6_what_cannot_be_looked_at_is_not_absent() {
        for code in [
            "RepositoryNotFoundException",
            "NoSuchEntity",
            "ValidationException",
        ] {
            assert!(there(Err(ApiError::new(code, "x"))).unwrap().is_none());
        }
        for (code, status) in [("AccessDeniedException", 400), ("InternalFailure", 500)] {
            assert!(there(Err(ApiError::new(code, "x").status(status))).is_err());
        }
    }
}
