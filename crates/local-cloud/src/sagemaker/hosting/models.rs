//! Models: an image, its artifact and its environment, or an approved model package.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::records::Records;
use super::super::{network, requests};
use crate::api::{ApiError, ApiResult};
use crate::s3::objects;
use crate::{Cloud, ecr, iam};

pub(super) const MODELS: Records = Records {
    kind: "model",
    name: "ModelName",
    arn: "ModelArn",
    resource: "model",
    title: "model",
};

/// What a variant runs.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct Container {
    /// The image as it was asked for.
    pub(super) image: String,
    /// `s3://…/model.tar.gz`, if there is one.
    pub(super) model_data: Option<String>,
    pub(super) environment: BTreeMap<String, String>,
}

pub(super) async fn create(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let name = requests::name(&input, "ModelName", 63)?;
    let role = requests::required(&input, "ExecutionRoleArn")?;
    iam::require_role(cloud, role, "sagemaker.amazonaws.com")?;
    let network = &input["VpcConfig"];
    network::require(cloud, &network["Subnets"], &network["SecurityGroupIds"]).await?;
    let container = container(cloud, &input).await?;
    ecr::images::resolve(cloud, &container.image)?;
    if let Some(uri) = &container.model_data {
        let (bucket, key) = objects::parse_uri(uri)?;
        objects::head(cloud, &bucket, &key)
            .map_err(|error| missing(error, &format!("Could not find model data at {uri}.")))?;
    }
    let mut record = requests::pick(
        &input,
        &[
            "ModelName",
            "PrimaryContainer",
            "Containers",
            "InferenceExecutionConfig",
            "ExecutionRoleArn",
            "VpcConfig",
        ],
    );
    record["EnableNetworkIsolation"] = json!(input["EnableNetworkIsolation"] == true);
    let arn = MODELS.create(cloud, name, record, input.get("Tags"))?;
    Ok(json!({"ModelArn": arn}))
}

/// What is not there is SageMaker's `ValidationException`; anything else stays as it is.
fn missing(error: ApiError, message: &str) -> ApiError {
    if error.is_not_found() {
        ApiError::validation(message)
    } else {
        error
    }
}

/// The one container of a model, with what its model package says; `ValidationException` when the
/// package is not approved.
pub(super) async fn container(cloud: &Cloud, model: &Value) -> ApiResult<Container> {
    let definition = match (
        model.get("PrimaryContainer"),
        model["Containers"].as_array(),
    ) {
        (Some(primary), None) => primary,
        (None, Some(containers)) if containers.len() == 1 => &containers[0],
        (None, Some(containers)) if containers.len() > 1 => {
            return Err(ApiError::not_implemented(
                "models of several containers (inference pipelines)",
            ));
        }
        _ => {
            return Err(ApiError::validation(
                "Exactly one of PrimaryContainer and Containers must be specified.",
            ));
        }
    };
    for member in [
        "ModelDataSource",
        "AdditionalModelDataSources",
        "MultiModelConfig",
    ] {
        if definition.get(member).is_some() {
            return Err(ApiError::not_implemented(format_args!(
                "ContainerDefinition.{member}"
            )));
        }
    }
    if definition["Mode"] == "MultiModel" {
        return Err(ApiError::not_implemented("multi-model endpoints"));
    }
    let own = environment(&definition["Environment"])?;
    let Some(package) = requests::optional(definition, "ModelPackageName") else {
        return Ok(Container {
            image: requests::required(definition, "Image")?.to_owned(),
            model_data: requests::optional(definition, "ModelDataUrl").map(str::to_owned),
            environment: own,
        });
    };
    if definition.get("Image").is_some() || definition.get("ModelDataUrl").is_some() {
        return Err(ApiError::validation(
            "You cannot specify Image or ModelDataUrl together with ModelPackageName.",
        ));
    }
    let package = cloud
        .call(
            "sagemaker",
            "DescribeModelPackage",
            json!({"ModelPackageName": package}),
        )
        .await?;
    approved(&package)?;
    let first = &package["InferenceSpecification"]["Containers"][0];
    let mut merged = environment(&first["Environment"])?;
    merged.extend(own);
    Ok(Container {
        image: requests::required(first, "Image")?.to_owned(),
        model_data: requests::optional(first, "ModelDataUrl").map(str::to_owned),
        environment: merged,
    })
}

fn environment(value: &Value) -> ApiResult<BTreeMap<String, String>> {
    if value.is_null() {
        return Ok(BTreeMap::new());
    }
    crate::api::parse(value.clone())
}

/// Only an approved model package can be deployed.
fn approved(package: &Value) -> ApiResult<()> {
    let arn = package["ModelPackageArn"].as_str().unwrap_or_default();
    match package["ModelApprovalStatus"].as_str() {
        Some("Approved") => {}
        status => {
            return Err(ApiError::validation(format!(
                "Cannot create Model with ModelPackage {arn}: its ModelApprovalStatus is {}, only \
                 Approved can be deployed.",
                status.unwrap_or("not set")
            )));
        }
    }
    match package["ModelPackageStatus"].as_str() {
        Some("Completed") => Ok(()),
        status => Err(ApiError::validation(format!(
            "Cannot create Model with ModelPackage {arn}: its ModelPackageStatus is {}.",
            status.unwrap_or("not set")
        ))),
    }
}

pub(super) async fn describe(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let mut found = MODELS.get(cloud, requests::required(&input, MODELS.name)?)?;
    // It never changes, so its description has no such member.
    found["LastModifiedTime"].take();
    Ok(found)
}

pub(super) async fn list(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let (page, token) = MODELS.page(cloud, &input, &["CreationTime"])?;
    Ok(json!({"Models": page, "NextToken": token}))
}

pub(super) async fn delete(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let name = requests::required(&input, MODELS.name)?;
    MODELS.get(cloud, name)?;
    MODELS.remove(cloud, name)?;
    Ok(json!({}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_approved_packages_are_deployed() {
        let package = |approval: &str, status: &str| {
            json!({"ModelPackageArn": "a", "ModelApprovalStatus": approval,
                   "ModelPackageStatus": status})
        };
        assert!(approved(&package("Approved", "Completed")).is_ok());
        for (approval, status) in [
            ("PendingManualApproval", "Completed"),
            ("Rejected", "Completed"),
            ("Approved", "Failed"),
        ] {
            let error = approved(&package(approval, status)).unwrap_err();
            assert_eq!(error.code, "ValidationException", "{approval} {status}");
        }
        assert!(approved(&json!({"ModelPackageStatus": "Completed"})).is_err());
    }
}
