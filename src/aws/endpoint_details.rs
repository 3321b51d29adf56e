//! Everything that `mlops endpoint show` prints about an endpoint.

use anyhow::Result;
use aws_sdk_sagemaker::operation::describe_endpoint::DescribeEndpointOutput;
use aws_sdk_sagemaker::operation::describe_endpoint_config::DescribeEndpointConfigOutput;
use aws_sdk_sagemaker::types::{
    AutoRollbackConfig, CapacitySize, CapacitySizeType, DeploymentConfig, ProductionVariantSummary,
    TrafficRoutingConfigType,
};
use jiff::Timestamp;
use serde::Serialize;

use super::Clients;
use super::hosting;
use super::sagemaker::timestamp;
use super::state::EndpointState;

/// An endpoint.
#[derive(Debug, Clone, Serialize)]
pub struct Details {
    /// Its name.
    pub endpoint: String,
    /// Its state.
    pub status: EndpointState,
    /// Why the last deployment failed, if it did.
    pub failure: Option<String>,
    /// The configuration that is live.
    pub configuration: Option<String>,
    /// The configuration that is being deployed.
    pub pending_configuration: Option<String>,
    /// The model package behind the live configuration.
    pub model_package: Option<String>,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// When it was last changed.
    pub changed: Option<Timestamp>,
    /// How the last deployment moved the traffic.
    pub strategy: Option<String>,
    /// The variants.
    pub variants: Vec<Variant>,
    /// What is captured; null if capture was never configured.
    pub capture: Option<CaptureSettings>,
    /// The names of the alarms that roll a deployment back.
    #[serde(skip)]
    pub alarm_names: Vec<String>,
}

/// A production variant.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Variant {
    /// Its name.
    pub variant: String,
    /// Its share of the traffic, relative to the other variants'.
    pub weight: Option<f32>,
    /// The weight that it will have when the change in progress is done.
    pub desired_weight: Option<f32>,
    /// The number of its instances.
    pub instances: Option<i32>,
    /// The number of instances that it will have.
    pub desired_instances: Option<i32>,
    /// Its instance type.
    pub instance_type: Option<String>,
    /// The image that it runs, by digest.
    pub image: Option<String>,
}

/// The capture of requests and responses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CaptureSettings {
    /// Whether it is on.
    pub enabled: bool,
    /// `Started` or `Stopped`.
    pub status: Option<String>,
    /// The share of captured requests, in percent.
    pub percent: Option<i32>,
    /// Where captured requests are written.
    pub destination: Option<String>,
}

/// Describes an endpoint; returns `None` if it does not exist.
pub async fn details(clients: &Clients, name: &str) -> Result<Option<Details>> {
    let Some(described) = hosting::describe_endpoint(clients, name).await? else {
        return Ok(None);
    };
    let configuration = described.endpoint_config_name().map(str::to_owned);
    let mut model_package = None;
    let mut variants: Vec<Variant> = described
        .production_variants()
        .iter()
        .map(variant)
        .collect();
    if let Some(configuration) = &configuration {
        model_package = hosting::model_package(clients, configuration).await?;
        let described = hosting::describe_configuration(clients, configuration).await?;
        for configured in described
            .iter()
            .flat_map(DescribeEndpointConfigOutput::production_variants)
        {
            let same = |variant: &&mut Variant| configured.variant_name() == Some(&variant.variant);
            if let Some(variant) = variants.iter_mut().find(same) {
                variant.instance_type = configured
                    .instance_type()
                    .map(|kind| kind.as_str().to_owned());
            }
        }
    }
    Ok(Some(Details {
        endpoint: name.to_owned(),
        status: EndpointState::of(described.endpoint_status()),
        failure: described.failure_reason().map(str::to_owned),
        pending_configuration: described
            .pending_deployment_summary()
            .and_then(|pending| pending.endpoint_config_name())
            .map(str::to_owned),
        configuration,
        model_package,
        created: described.creation_time().and_then(timestamp),
        changed: described.last_modified_time().and_then(timestamp),
        strategy: described.last_deployment_config().map(strategy),
        alarm_names: alarms(&described),
        variants,
        capture: described
            .data_capture_config()
            .map(|capture| CaptureSettings {
                enabled: capture.enable_capture().unwrap_or_default(),
                status: capture
                    .capture_status()
                    .map(|status| status.as_str().to_owned()),
                percent: capture.current_sampling_percentage(),
                destination: capture.destination_s3_uri().map(str::to_owned),
            }),
    }))
}

fn alarms(described: &DescribeEndpointOutput) -> Vec<String> {
    let rollback = described
        .last_deployment_config()
        .and_then(|config| config.auto_rollback_configuration());
    let alarms = rollback.map(AutoRollbackConfig::alarms).unwrap_or_default();
    let names = alarms.iter().filter_map(|alarm| alarm.alarm_name());
    names.map(str::to_owned).collect()
}

fn variant(summary: &ProductionVariantSummary) -> Variant {
    let image = summary.deployed_images().first();
    Variant {
        variant: summary.variant_name().unwrap_or_default().to_owned(),
        weight: summary.current_weight(),
        desired_weight: summary.desired_weight(),
        instances: summary.current_instance_count(),
        desired_instances: summary.desired_instance_count(),
        instance_type: None,
        image: image
            .and_then(|image| image.resolved_image().or(image.specified_image()))
            .map(str::to_owned),
    }
}

/// Formats how a deployment moves the traffic: `canary: 10 %, the rest after 300 s`.
fn strategy(config: &DeploymentConfig) -> String {
    if let Some(rolling) = config.rolling_update_policy() {
        let batch = rolling.maximum_batch_size().map(size).unwrap_or_default();
        let wait = rolling.wait_interval_in_seconds().unwrap_or_default();
        return format!("rolling: {batch} at a time, {wait} s between them");
    }
    let routing = config
        .blue_green_update_policy()
        .and_then(|policy| policy.traffic_routing_configuration());
    let Some(routing) = routing else {
        return "all at once".to_owned();
    };
    let wait = routing.wait_interval_in_seconds().unwrap_or_default();
    match routing.r#type() {
        Some(TrafficRoutingConfigType::Canary) => {
            let canary = routing.canary_size().map(size).unwrap_or_default();
            format!("canary: {canary}, the rest after {wait} s")
        }
        Some(TrafficRoutingConfigType::Linear) => {
            let step = routing.linear_step_size().map(size).unwrap_or_default();
            format!("linear: {step} every {wait} s")
        }
        Some(TrafficRoutingConfigType::AllAtOnce) | None => "all at once".to_owned(),
        Some(other) => other.as_str().to_owned(),
    }
}

fn size(size: &CapacitySize) -> String {
    let value = size.value().unwrap_or_default();
    match size.r#type() {
        Some(CapacitySizeType::CapacityPercent) => format!("{value} %"),
        _ if value == 1 => "1 instance".to_owned(),
        _ => format!("{value} instances"),
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_sagemaker::types::{
        BlueGreenUpdatePolicy, RollingUpdatePolicy, TrafficRoutingConfig,
    };

    use super::*;

    fn capacity(kind: CapacitySizeType, value: i32) -> CapacitySize {
        CapacitySize::builder().r#type(kind).value(value).build()
    }

    #[test]
    fn a_strategy_is_one_phrase() {
        let shifting = |routing: TrafficRoutingConfig| {
            let policy = BlueGreenUpdatePolicy::builder();
            let policy = policy.traffic_routing_configuration(routing).build();
            strategy(
                &DeploymentConfig::builder()
                    .blue_green_update_policy(policy)
                    .build(),
            )
        };
        let routing = || TrafficRoutingConfig::builder().wait_interval_in_seconds(300);
        let percent = capacity(CapacitySizeType::CapacityPercent, 10);
        let canary = routing()
            .r#type(TrafficRoutingConfigType::Canary)
            .canary_size(percent);
        assert_eq!(
            shifting(canary.build()),
            "canary: 10 %, the rest after 300 s"
        );
        let one = capacity(CapacitySizeType::InstanceCount, 1);
        let linear = routing()
            .r#type(TrafficRoutingConfigType::Linear)
            .linear_step_size(one.clone());
        assert_eq!(shifting(linear.build()), "linear: 1 instance every 300 s");
        let rolling = RollingUpdatePolicy::builder()
            .maximum_batch_size(one)
            .wait_interval_in_seconds(60)
            .build();
        let rolling = DeploymentConfig::builder()
            .rolling_update_policy(rolling)
            .build();
        assert_eq!(
            strategy(&rolling),
            "rolling: 1 instance at a time, 60 s between them"
        );
        assert_eq!(
            strategy(&DeploymentConfig::builder().build()),
            "all at once"
        );
    }
}
