//! Endpoint configurations: variants and data capture. They are immutable.

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::records::Records;
use super::super::requests::{ListRequest, ResourceName, Stored, check_name, null};
use super::capture::{self, DataCaptureConfig};
use super::models::MODELS;
use crate::Cloud;
use crate::api::tags::Tags;
use crate::api::{ApiError, ApiResult};

pub(super) const CONFIGS: Records = Records {
    kind: "endpoint-config",
    name: "EndpointConfigName",
    arn: "EndpointConfigArn",
    resource: "endpoint-config",
    title: "endpoint configuration",
    absent: None,
    list: "EndpointConfigs",
    summary: &["CreationTime"],
    announce: None,
};

/// Maximum number of processes per variant.
pub(super) const MAX_INSTANCES: i64 = 4;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreateConfig {
    endpoint_config_name: String,
    #[serde(default)]
    production_variants: Vec<Stored<ProductionVariant>>,
    data_capture_config: Option<DataCaptureConfig>,
    tags: Option<Tags>,
    // Unsupported members.
    async_inference_config: Option<Value>,
    explainer_config: Option<Value>,
    #[serde(default)]
    shadow_production_variants: Vec<Value>,
    cross_region_traffic_config: Option<Value>,
}

/// A variant: how many instances run a model, and their share of the traffic.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ProductionVariant {
    variant_name: String,
    model_name: Option<String>,
    instance_type: Option<String>,
    initial_instance_count: Option<i64>,
    initial_variant_weight: Option<f64>,
    // Unsupported members.
    serverless_config: Option<Value>,
    instance_pools: Option<Value>,
    managed_instance_scaling: Option<Value>,
}

pub(super) async fn create(cloud: &Cloud, input: Stored<CreateConfig>) -> ApiResult<Value> {
    let name = &input.endpoint_config_name;
    check_name(name, CONFIGS.name, 63)?;
    for (member, given) in [
        (
            "AsyncInferenceConfig",
            input.async_inference_config.is_some(),
        ),
        ("ExplainerConfig", input.explainer_config.is_some()),
        (
            "ShadowProductionVariants",
            !input.shadow_production_variants.is_empty(),
        ),
        (
            "CrossRegionTrafficConfig",
            input.cross_region_traffic_config.is_some(),
        ),
    ] {
        if given {
            return Err(ApiError::not_implemented(format_args!(
                "CreateEndpointConfig.{member}"
            )));
        }
    }
    if !(1..=10).contains(&input.production_variants.len()) {
        return Err(ApiError::validation(
            "ProductionVariants must have between 1 and 10 members.",
        ));
    }
    let mut names = Vec::new();
    let mut variants = Vec::new();
    for variant in &input.production_variants {
        let checked = check_variant(cloud, variant)?;
        if names.contains(&&variant.variant_name) {
            return Err(ApiError::validation(format!(
                "Duplicate variant name {}.",
                json!(variant.variant_name)
            )));
        }
        names.push(&variant.variant_name);
        variants.push(checked);
    }
    if let Some(config) = &input.data_capture_config {
        capture::Settings::read(config)?;
    }
    let mut record = input.pick(&[
        "EndpointConfigName",
        "DataCaptureConfig",
        "KmsKeyId",
        "ExecutionRoleArn",
        "VpcConfig",
        "EnableNetworkIsolation",
        "MetricsConfig",
    ]);
    record["ProductionVariants"] = variants.into();
    CONFIGS.create(cloud, name, record, input.tags.as_ref())
}

/// Checks a variant and fills in its defaults.
/// Fails for a weight that is negative or no 32-bit float, as in the service model.
pub(super) fn check_weight(member: &str, weight: f64) -> ApiResult<()> {
    if weight < 0.0 {
        return Err(ApiError::validation(format!(
            "{member} cannot be negative."
        )));
    }
    if weight > f64::from(f32::MAX) {
        return Err(ApiError::validation(format!("{member} is too large.")));
    }
    Ok(())
}

fn check_variant(cloud: &Cloud, variant: &Stored<ProductionVariant>) -> ApiResult<Value> {
    check_name(&variant.variant_name, "VariantName", 63)?;
    for (member, given) in [
        ("ServerlessConfig", &variant.serverless_config),
        ("InstancePools", &variant.instance_pools),
        ("ManagedInstanceScaling", &variant.managed_instance_scaling),
    ] {
        if given.is_some() {
            return Err(ApiError::not_implemented(format_args!(
                "ProductionVariant.{member}"
            )));
        }
    }
    let Some(model) = &variant.model_name else {
        return Err(ApiError::not_implemented(
            "variants without ModelName (inference components)",
        ));
    };
    MODELS.get(cloud, model)?;
    if variant.instance_type.is_none() {
        return Err(null("InstanceType"));
    }
    let count = variant.initial_instance_count.unwrap_or(1);
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
    if let Some(weight) = variant.initial_variant_weight {
        check_weight("InitialVariantWeight", weight)?;
    }
    let mut complete = variant.members().clone();
    complete["InitialInstanceCount"] = json!(count);
    if variant.initial_variant_weight.is_none() {
        complete["InitialVariantWeight"] = json!(1.0);
    }
    Ok(complete)
}

/// The variants of a configuration with their numbers of instances.
pub(super) fn counts(config: &Value) -> Vec<(String, u32)> {
    let variants = config["ProductionVariants"].as_array();
    let variants = variants.into_iter().flatten().map(|variant| {
        let name = variant["VariantName"].as_str().unwrap_or_default();
        let count = variant["InitialInstanceCount"].as_u64();
        let count = count.and_then(|count| u32::try_from(count).ok());
        (name.to_owned(), count.unwrap_or(1))
    });
    variants.collect()
}

/// The ARN of the execution role: that of the first variant's model.
pub(super) fn execution_role(cloud: &Cloud, config: &Value) -> ApiResult<String> {
    let model = config["ProductionVariants"][0]["ModelName"].as_str();
    let model = MODELS.get(cloud, model.unwrap_or_default())?;
    let role = model["ExecutionRoleArn"].as_str();
    Ok(role.unwrap_or_default().to_owned())
}

pub(super) async fn describe(cloud: &Cloud, input: ResourceName) -> ApiResult<Value> {
    CONFIGS.get_unchanging(cloud, &input.name)
}

pub(super) async fn list(cloud: &Cloud, input: ListRequest) -> ApiResult<Value> {
    CONFIGS.list(cloud, &input)
}

pub(super) async fn delete(cloud: &Cloud, input: ResourceName) -> ApiResult<Value> {
    CONFIGS.delete(cloud, &input.name)
}
