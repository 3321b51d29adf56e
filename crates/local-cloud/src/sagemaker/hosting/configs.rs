//! Endpoint configurations: variants and what is captured. They never change once made.

use serde_json::{Value, json};

use super::super::records::Records;
use super::super::requests;
use super::capture;
use super::models::MODELS;
use crate::Cloud;
use crate::api::{ApiError, ApiResult};

pub(super) const CONFIGS: Records = Records {
    kind: "endpoint-config",
    name: "EndpointConfigName",
    arn: "EndpointConfigArn",
    resource: "endpoint-config",
    title: "endpoint configuration",
};

/// The most processes that the local cloud runs for one variant.
const MAX_INSTANCES: i64 = 4;

pub(super) async fn create(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let name = requests::name(&input, "EndpointConfigName", 63)?;
    for member in [
        "AsyncInferenceConfig",
        "ExplainerConfig",
        "ShadowProductionVariants",
        "CrossRegionTrafficConfig",
    ] {
        if input.get(member).is_some_and(|value| *value != json!([])) {
            return Err(ApiError::not_implemented(format_args!(
                "CreateEndpointConfig.{member}"
            )));
        }
    }
    let variants = input["ProductionVariants"].as_array();
    let variants = variants
        .filter(|list| (1..=10).contains(&list.len()))
        .ok_or_else(|| {
            ApiError::validation("ProductionVariants must have between 1 and 10 members.")
        })?;
    let mut checked = Vec::new();
    for variant in variants {
        let variant = check_variant(cloud, variant)?;
        if checked
            .iter()
            .any(|other: &Value| other["VariantName"] == variant["VariantName"])
        {
            return Err(ApiError::validation(format!(
                "Duplicate variant name {}.",
                variant["VariantName"]
            )));
        }
        checked.push(variant);
    }
    if let Some(config) = input.get("DataCaptureConfig") {
        capture::Settings::read(config)?;
    }
    let mut record = requests::pick(
        &input,
        &[
            "EndpointConfigName",
            "DataCaptureConfig",
            "KmsKeyId",
            "ExecutionRoleArn",
            "VpcConfig",
            "EnableNetworkIsolation",
            "MetricsConfig",
        ],
    );
    record["ProductionVariants"] = checked.into();
    let arn = CONFIGS.create(cloud, name, record, input.get("Tags"))?;
    Ok(json!({"EndpointConfigArn": arn}))
}

fn check_variant(cloud: &Cloud, variant: &Value) -> ApiResult<Value> {
    requests::name(variant, "VariantName", 63)?;
    for member in [
        "ServerlessConfig",
        "InstancePools",
        "ManagedInstanceScaling",
    ] {
        if variant.get(member).is_some() {
            return Err(ApiError::not_implemented(format_args!(
                "ProductionVariant.{member}"
            )));
        }
    }
    let Some(model) = requests::optional(variant, "ModelName") else {
        return Err(ApiError::not_implemented(
            "variants without ModelName (inference components)",
        ));
    };
    MODELS.get(cloud, model)?;
    requests::required(variant, "InstanceType")?;
    let mut variant = variant.clone();
    let count = variant["InitialInstanceCount"].as_i64().unwrap_or(1);
    if count < 1 {
        return Err(ApiError::validation(
            "1 validation error detected: Value at 'initialInstanceCount' failed to satisfy \
             constraint: Member must have value greater than or equal to 1",
        ));
    }
    if count > MAX_INSTANCES {
        return Err(ApiError::new(
            "ResourceLimitExceeded",
            format!("The local cloud runs at most {MAX_INSTANCES} instances of a variant."),
        ));
    }
    variant["InitialInstanceCount"] = json!(count);
    if variant.get("InitialVariantWeight").is_none() {
        variant["InitialVariantWeight"] = json!(1.0);
    }
    Ok(variant)
}

pub(super) async fn describe(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let mut found = CONFIGS.get(cloud, requests::required(&input, CONFIGS.name)?)?;
    // It never changes, so its description has no such member.
    found["LastModifiedTime"].take();
    Ok(found)
}

pub(super) async fn list(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let (page, token) = CONFIGS.page(cloud, &input, &["CreationTime"])?;
    Ok(json!({"EndpointConfigs": page, "NextToken": token}))
}

pub(super) async fn delete(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let name = requests::required(&input, CONFIGS.name)?;
    CONFIGS.get(cloud, name)?;
    CONFIGS.remove(cloud, name)?;
    Ok(json!({}))
}
