//! The operations on endpoints. Deployments run in the background ([`super::deployment`]).

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::requests::{ListRequest, Listing, ResourceName, SortOrder, Stored, check_name};
use super::super::states::EndpointStatus;
use super::configs::{self, CONFIGS};
use super::deployment::{self, Deploy, DeploymentConfig, Policy, alarms};
use super::record::{ENDPOINTS, forget, require_idle, specs, status};
use super::spec::Retained;
use super::traffic;
use crate::Cloud;
use crate::api::tags::Tags;
use crate::api::{ApiError, ApiResult};
use crate::injection::{self, EndpointFault};
use crate::sts;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreateEndpoint {
    endpoint_name: String,
    endpoint_config_name: String,
    /// Kept for updates with `RetainDeploymentConfig`.
    deployment_config: Option<Stored<DeploymentConfig>>,
    tags: Option<Tags>,
}

/// `PendingDeploymentSummary` of a deployment that begins.
fn pending(cloud: &Cloud, config: &str) -> Value {
    json!({"EndpointConfigName": config, "StartTime": cloud.clock().epoch()})
}

pub(super) async fn create(cloud: &Cloud, input: CreateEndpoint) -> ApiResult<Value> {
    let (name, config) = (&input.endpoint_name, &input.endpoint_config_name);
    check_name(name, ENDPOINTS.name, 63)?;
    let counts = configs::counts(&CONFIGS.get(cloud, config)?);
    if let Some(given) = &input.deployment_config {
        let counts: Vec<u32> = counts.iter().map(|(_, count)| *count).collect();
        Policy::read(given)?.check(&counts)?;
    }
    let record = json!({
        "EndpointName": name,
        "EndpointConfigName": config,
        "EndpointStatus": EndpointStatus::Creating,
        "PendingDeploymentSummary": pending(cloud, config),
    });
    let created = ENDPOINTS.create(cloud, name, record, input.tags.as_ref())?;
    let given = input.deployment_config.map(|given| given.members().clone());
    let deploy = Deploy {
        endpoint: input.endpoint_name,
        config: input.endpoint_config_name,
        policy: Policy::default(),
        given,
        retained: Retained::default(),
        is_silent: false,
    };
    deployment::start(cloud, deploy);
    Ok(created)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UpdateEndpoint {
    endpoint_name: String,
    endpoint_config_name: String,
    deployment_config: Option<Stored<DeploymentConfig>>,
    #[serde(default)]
    retain_deployment_config: bool,
    #[serde(default)]
    retain_all_variant_properties: bool,
    #[serde(default)]
    exclude_retained_variant_properties: Vec<VariantProperty>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct VariantProperty {
    variant_property_type: PropertyType,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum PropertyType {
    DesiredInstanceCount,
    DesiredWeight,
    /// Never retained: not supported, according to the service model.
    DataCaptureConfig,
}

impl UpdateEndpoint {
    fn retained(&self) -> Retained {
        let keeps = |property: PropertyType| {
            let excluded = &self.exclude_retained_variant_properties;
            let mut excluded = excluded.iter().map(|it| it.variant_property_type);
            self.retain_all_variant_properties && !excluded.any(|it| it == property)
        };
        Retained {
            counts: keeps(PropertyType::DesiredInstanceCount),
            weights: keeps(PropertyType::DesiredWeight),
        }
    }

    /// The policy of the update: that of the request, or the last one of the endpoint. A request with both
    /// uses its own (unverified against AWS [endpoint-two-deployment-configs]).
    fn policy(&self, record: &Value) -> ApiResult<Policy> {
        let last = &record["LastDeploymentConfig"];
        match &self.deployment_config {
            Some(given) => Policy::read(given),
            None if self.retain_deployment_config && last.is_object() => {
                Policy::read(&crate::api::parse(last.clone())?)
            }
            None => Ok(Policy::default()),
        }
    }
}

/// The numbers of instances that an update leads to.
fn updated_counts(
    cloud: &Cloud,
    endpoint: &str,
    config: &Value,
    retained: Retained,
) -> ApiResult<Vec<u32>> {
    let current = specs(cloud).get(endpoint)?.filter(|_| retained.counts);
    let current = current.map(|spec| spec.variants).unwrap_or_default();
    let counts = configs::counts(config).into_iter().map(|(name, count)| {
        let same = current.iter().find(|variant| variant.name == name);
        same.map_or(count, |variant| variant.count)
    });
    Ok(counts.collect())
}

/// Fails unless the role of the new models may read the alarms, and they exist.
async fn check_alarms(cloud: &Cloud, config: &Value, policy: &Policy) -> ApiResult<()> {
    if policy.alarms.is_empty() {
        return Ok(());
    }
    let role = configs::execution_role(cloud, config)?;
    let session = sts::for_service(cloud, &role, "SageMaker", "sagemaker.amazonaws.com")?;
    alarms::check(cloud, &session.caller(), &policy.alarms).await
}

pub(super) async fn update(cloud: &Cloud, input: UpdateEndpoint) -> ApiResult<Value> {
    let (name, config) = (&input.endpoint_name, &input.endpoint_config_name);
    let policy = input.policy(&ENDPOINTS.get(cloud, name)?)?;
    let record = CONFIGS.get(cloud, config)?;
    let retained = input.retained();
    policy.check(&updated_counts(cloud, name, &record, retained)?)?;
    check_alarms(cloud, &record, &policy).await?;
    let arn = ENDPOINTS.change(cloud, name, |record| {
        require_idle(record)?;
        if status(record) == Some(EndpointStatus::Failed) {
            return Err(ApiError::validation(format!(
                "Cannot update endpoint \"{}\": its status is Failed. Delete it first.",
                record["EndpointArn"].as_str().unwrap_or_default()
            )));
        }
        record["EndpointStatus"] = EndpointStatus::Updating.into();
        record["PendingDeploymentSummary"] = pending(cloud, config);
        Ok(record["EndpointArn"].clone())
    })?;
    let is_silent = injection::endpoint(cloud.injected(), EndpointFault::SilentRollback, name);
    let given = input.deployment_config.map(|given| given.members().clone());
    let deploy = Deploy {
        endpoint: input.endpoint_name,
        config: input.endpoint_config_name,
        policy,
        given,
        retained,
        // An unreadable fault must not stop an update that the record already shows.
        is_silent: is_silent.unwrap_or(false),
    };
    deployment::start(cloud, deploy);
    Ok(json!({"EndpointArn": arn}))
}

pub(super) async fn describe(cloud: &Cloud, input: ResourceName) -> ApiResult<Value> {
    let mut record = ENDPOINTS.get(cloud, &input.name)?;
    if let Value::Object(members) = &mut record {
        members.retain(|_, value| !value.is_null());
    }
    Ok(record)
}

pub(super) async fn list(cloud: &Cloud, input: ListRequest) -> ApiResult<Value> {
    let listing = Listing {
        name: ENDPOINTS.name,
        status: Some("EndpointStatus"),
        sort_by: "CreationTime",
        order: SortOrder::Descending,
    };
    ENDPOINTS.list_of(ENDPOINTS.all(cloud)?, listing, &input)
}

pub(super) async fn delete(cloud: &Cloud, input: ResourceName) -> ApiResult<Value> {
    let name = input.name;
    ENDPOINTS.change(cloud, &name, |record| {
        require_idle(record)?;
        record["EndpointStatus"] = EndpointStatus::Deleting.into();
        Ok(())
    })?;
    let what = format!("deletion of endpoint {name}");
    let (inner, broken, whose, title) = (cloud.clone(), cloud.clone(), name.clone(), what.clone());
    cloud.spawn(
        what.clone(),
        async move {
            traffic::end(&inner, &name).await;
            // `recovery` finishes a deletion that a crash interrupted.
            let _ = inner.persist(&what, || forget(&inner, &name)).await;
        },
        // Dropping the fleet ends the processes.
        move |_| async move {
            let _ = broken.persist(&title, || forget(&broken, &whose)).await;
        },
    );
    Ok(json!({}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excluded_properties_are_not_retained() {
        let retained = |retain: bool, excluded: &[&str]| {
            let excluded = excluded
                .iter()
                .map(|kind| json!({"VariantPropertyType": kind}));
            let input = json!({"EndpointName": "e", "EndpointConfigName": "c",
                               "RetainAllVariantProperties": retain,
                               "ExcludeRetainedVariantProperties": excluded.collect::<Vec<_>>()});
            let Retained { counts, weights } = crate::api::parse::<UpdateEndpoint>(input)
                .unwrap()
                .retained();
            (counts, weights)
        };
        assert_eq!(retained(false, &[]), (false, false));
        assert_eq!(retained(true, &[]), (true, true));
        assert_eq!(retained(true, &["DesiredWeight"]), (true, false));
        let excluded = ["DataCaptureConfig", "DesiredInstanceCount"];
        assert_eq!(retained(true, &excluded), (false, true));
        assert_eq!(retained(false, &["DesiredWeight"]), (false, false));
    }

    #[test]
    fn the_last_deployment_config_is_used_only_if_requested() {
        let rolling = json!({"RollingUpdatePolicy": {"WaitIntervalInSeconds": 1,
                             "MaximumBatchSize": {"Type": "INSTANCE_COUNT", "Value": 1}}});
        let record = json!({"LastDeploymentConfig": rolling});
        let policy = |more: Value| {
            let mut input = json!({"EndpointName": "e", "EndpointConfigName": "c"});
            input
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            crate::api::parse::<UpdateEndpoint>(input)
                .unwrap()
                .policy(&record)
                .unwrap()
        };
        assert_eq!(policy(json!({})), Policy::default());
        let retained = policy(json!({"RetainDeploymentConfig": true}));
        assert_eq!(retained, policy(json!({"DeploymentConfig": rolling})));
        assert_ne!(retained, Policy::default());
        let both = json!({"RetainDeploymentConfig": true, "DeploymentConfig": {}});
        assert_eq!(policy(both), Policy::default());
    }
}
