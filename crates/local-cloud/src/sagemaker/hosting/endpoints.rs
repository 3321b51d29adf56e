//! Endpoints: the operations, and the transitions between statuses.
//!
//! An update starts a new fleet and moves the traffic when it is healthy (blue/green, all at
//! once). If it never is, the endpoint stays in service with its old configuration, and only
//! `FailureReason` shows that: as in AWS, the status alone is misleading.

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::lineage;
use super::super::records::Records;
use super::super::requests::{
    ListRequest, Listing, ResourceName, SortOrder, Stored, absent, check_name,
};
use super::super::states::EndpointStatus;
use super::configs::CONFIGS;
use super::fleet::{self, Fleet, Plan};
use crate::api::tags::Tags;
use crate::api::{ApiError, ApiResult};
use crate::{Cloud, beneath, clock};

pub(super) const ENDPOINTS: Records = Records {
    kind: "endpoint",
    name: "EndpointName",
    arn: "EndpointArn",
    resource: "endpoint",
    title: "endpoint",
    absent: None,
    list: "Endpoints",
    summary: &["CreationTime", "LastModifiedTime", "EndpointStatus"],
};

/// The status of a record.
pub(super) fn status(record: &Value) -> Option<EndpointStatus> {
    EndpointStatus::of(&record["EndpointStatus"])
}

/// The stored plan of an endpoint's fleet.
fn plans(cloud: &Cloud) -> crate::store::Collection<'_, Plan> {
    cloud.store().collection("sagemaker", "endpoint-plan")
}

/// `DeploymentConfig`. The local cloud deploys all at once, without alarms.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct DeploymentConfig {
    rolling_update_policy: Option<Value>,
    blue_green_update_policy: Option<BlueGreenPolicy>,
    auto_rollback_configuration: Option<AutoRollback>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct BlueGreenPolicy {
    traffic_routing_configuration: Option<TrafficRouting>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct TrafficRouting {
    r#type: Option<RoutingType>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum RoutingType {
    AllAtOnce,
    Canary,
    Linear,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct AutoRollback {
    alarms: Option<Vec<Value>>,
}

impl DeploymentConfig {
    /// Refuses unsupported members by name.
    fn check(&self) -> ApiResult<()> {
        if self.rolling_update_policy.is_some() {
            return Err(ApiError::not_implemented("RollingUpdatePolicy"));
        }
        let policy = self.blue_green_update_policy.as_ref();
        let routing = policy.and_then(|policy| policy.traffic_routing_configuration.as_ref());
        if let Some(kind) = routing.and_then(|routing| routing.r#type)
            && kind != RoutingType::AllAtOnce
        {
            return Err(ApiError::not_implemented(format_args!(
                "TrafficRoutingConfiguration of type {}",
                json!(kind)
            )));
        }
        let rollback = self.auto_rollback_configuration.as_ref();
        let alarms = rollback.and_then(|rollback| rollback.alarms.as_ref());
        if alarms.is_some_and(|alarms| !alarms.is_empty()) {
            return Err(ApiError::not_implemented(
                "AutoRollbackConfiguration.Alarms",
            ));
        }
        Ok(())
    }
}

/// A request that deploys a configuration: it creates or updates an endpoint.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DeployRequest {
    endpoint_name: String,
    endpoint_config_name: String,
    deployment_config: Option<Stored<DeploymentConfig>>,
    #[serde(default)]
    retain_all_variant_properties: bool,
    tags: Option<Tags>,
}

impl DeployRequest {
    fn check_policy(&self) -> ApiResult<()> {
        (self.deployment_config.as_ref()).map_or(Ok(()), |config| config.check())
    }

    /// Deploys the configuration in the background. If that fails, the endpoint's status becomes `otherwise`.
    fn start(self, cloud: &Cloud, otherwise: EndpointStatus) {
        let name = self.endpoint_name;
        let policy = self.deployment_config.map(|given| given.members().clone());
        let work = {
            let (cloud, name, config) = (cloud.clone(), name.clone(), self.endpoint_config_name);
            async move { deploy(&cloud, &name, &config).await }
        };
        finish(cloud, name, policy, otherwise, work);
    }
}

pub(super) async fn create(cloud: &Cloud, input: DeployRequest) -> ApiResult<Value> {
    let name = &input.endpoint_name;
    check_name(name, ENDPOINTS.name, 63)?;
    CONFIGS.get(cloud, &input.endpoint_config_name)?;
    input.check_policy()?;
    let record = json!({
        "EndpointName": name,
        "EndpointConfigName": input.endpoint_config_name,
        "EndpointStatus": EndpointStatus::Creating,
    });
    let created = ENDPOINTS.create(cloud, name, record, input.tags.as_ref())?;
    input.start(cloud, EndpointStatus::Failed);
    Ok(created)
}

/// Runs a deployment in the background and records its end. If it fails or panics, the endpoint's
/// status becomes `otherwise`, with the reason.
fn finish(
    cloud: &Cloud,
    name: String,
    policy: Option<Value>,
    otherwise: EndpointStatus,
    work: impl Future<Output = Result<Plan, String>> + Send + 'static,
) {
    let failed =
        move |reason: String| json!({"EndpointStatus": otherwise, "FailureReason": reason});
    let (inner, broken, whose) = (cloud.clone(), cloud.clone(), name.clone());
    cloud.spawn(
        format!("deployment of endpoint {name}"),
        async move {
            let (change, plan) = match work.await {
                Ok(plan) => (in_service(&plan, policy), Some(plan)),
                Err(reason) => (failed(reason), None),
            };
            arrive(&inner, &name, change, plan).await;
        },
        move |error| async move {
            if !ENDPOINTS
                .get(&broken, &whose)
                .is_ok_and(|record| busy(&record).is_err())
            {
                return;
            }
            // A failed endpoint serves nothing.
            if otherwise == EndpointStatus::Failed
                && let Some(fleet) = fleet::switch(&broken, &whose, None)
            {
                fleet.stop().await;
            }
            let reason = format!("InternalServerError: {}", error.message);
            arrive(&broken, &whose, failed(reason), None).await;
        },
    );
}

/// Starts a fleet for a configuration and moves the traffic to it when it is healthy.
async fn deploy(cloud: &Cloud, name: &str, config: &str) -> Result<Plan, String> {
    let plan = Plan::of(cloud, config)
        .await
        .map_err(|error| error.message)?;
    let fleet = Fleet::start(cloud, name, &plan).map_err(|error| error.message)?;
    if let Err(reason) = fleet.healthy().await {
        fleet.stop().await;
        return Err(reason);
    }
    if let Some(old) = fleet::switch(cloud, name, Some(fleet)) {
        let what = format!("end of the old processes of endpoint {name}");
        cloud.spawn(what, async move { old.stop().await }, |_| async {});
    }
    Ok(plan)
}

/// The changes of a deployment to the endpoint's record. `LastDeploymentConfig` is the newest
/// `DeploymentConfig` in a request (unverified against AWS [endpoint-deployment-config]: whether a
/// request without one removes it).
fn in_service(plan: &Plan, policy: Option<Value>) -> Value {
    let mut change = json!({
        "EndpointStatus": EndpointStatus::InService,
        "EndpointConfigName": plan.config,
        "ProductionVariants": plan.summaries(),
        "DataCaptureConfig": plan.capture_summary(),
        "FailureReason": null,
    });
    if let Some(policy) = policy {
        change["LastDeploymentConfig"] = policy;
    }
    change
}

/// Writes the final status of a deployment and the active plan, then the lineage.
async fn arrive(cloud: &Cloud, name: &str, change: Value, plan: Option<Plan>) {
    let deployed = plan.is_some();
    let what = format!("endpoint {name}");
    let write = || write(cloud, name, change.clone(), plan.as_ref());
    let written = cloud.persist(&what, write).await;
    // No record: the state directory was removed while the fleet started.
    if written.is_err() {
        if let Some(fleet) = fleet::switch(cloud, name, None) {
            fleet.stop().await;
        }
        return;
    }
    if deployed && let Ok(record) = ENDPOINTS.get(cloud, name) {
        // An error in the lineage does not undo the deployment.
        let _ = lineage::endpoint_deployed(cloud, &record).await;
    }
}

/// Writes both in one transaction: a server that dies leaves the old configuration with the old
/// plan, or the new one with the new plan.
fn write(cloud: &Cloud, name: &str, change: Value, plan: Option<&Plan>) -> ApiResult<()> {
    ENDPOINTS.change_in(cloud, name, |transaction, record| {
        record["PendingDeploymentSummary"] = Value::Null;
        if let (Value::Object(record), Value::Object(change)) = (record, change) {
            record.extend(change);
        }
        match plan {
            Some(plan) => plans(cloud).put_in(transaction, name, plan),
            None => Ok(()),
        }
    })
}

fn busy(record: &Value) -> ApiResult<()> {
    if status(record).is_some_and(EndpointStatus::is_changing) {
        return Err(ApiError::validation(format!(
            "Cannot update in-progress endpoint \"{}\".",
            record["EndpointArn"].as_str().unwrap_or_default()
        )));
    }
    Ok(())
}

pub(super) async fn update(cloud: &Cloud, input: DeployRequest) -> ApiResult<Value> {
    let (name, config) = (&input.endpoint_name, &input.endpoint_config_name);
    if input.retain_all_variant_properties {
        return Err(ApiError::not_implemented(
            "UpdateEndpoint.RetainAllVariantProperties",
        ));
    }
    input.check_policy()?;
    ENDPOINTS.get(cloud, name)?;
    CONFIGS.get(cloud, config)?;
    let arn = ENDPOINTS.change(cloud, name, |record| {
        busy(record)?;
        if status(record) == Some(EndpointStatus::Failed) {
            return Err(ApiError::validation(format!(
                "Cannot update endpoint \"{}\": its status is Failed. Delete it first.",
                record["EndpointArn"].as_str().unwrap_or_default()
            )));
        }
        record["EndpointStatus"] = EndpointStatus::Updating.into();
        record["PendingDeploymentSummary"] = json!({
            "EndpointConfigName": config,
            "StartTime": clock::epoch(),
        });
        Ok(record["EndpointArn"].clone())
    })?;
    input.start(cloud, EndpointStatus::InService);
    Ok(json!({"EndpointArn": arn}))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UpdateWeights {
    endpoint_name: String,
    #[serde(default)]
    desired_weights_and_capacities: Vec<WeightChange>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WeightChange {
    variant_name: String,
    desired_weight: Option<f64>,
    desired_instance_count: Option<i64>,
}

pub(super) async fn update_weights(cloud: &Cloud, input: UpdateWeights) -> ApiResult<Value> {
    let arn = ENDPOINTS.change(cloud, &input.endpoint_name, |record| {
        busy(record)?;
        for change in &input.desired_weights_and_capacities {
            let wanted = &change.variant_name;
            let variant = record["ProductionVariants"]
                .as_array_mut()
                .into_iter()
                .flatten()
                .find(|variant| variant["VariantName"] == wanted.as_str())
                .ok_or_else(|| absent(format!("Could not find variant \"{wanted}\".")))?;
            let count = change.desired_instance_count;
            if count.is_some_and(|count| variant["CurrentInstanceCount"] != count) {
                return Err(ApiError::not_implemented(
                    "a change of DesiredInstanceCount (deploy a new endpoint configuration)",
                ));
            }
            if let Some(weight) = change.desired_weight {
                if weight < 0.0 {
                    return Err(ApiError::validation("DesiredWeight cannot be negative."));
                }
                variant["CurrentWeight"] = json!(weight);
                variant["DesiredWeight"] = json!(weight);
            }
        }
        Ok(record["EndpointArn"].clone())
    })?;
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
        busy(record)?;
        record["EndpointStatus"] = EndpointStatus::Deleting.into();
        Ok(())
    })?;
    let what = format!("deletion of endpoint {name}");
    let (inner, broken, whose, title) = (cloud.clone(), cloud.clone(), name.clone(), what.clone());
    cloud.spawn(
        what.clone(),
        async move {
            if let Some(fleet) = fleet::switch(&inner, &name, None) {
                fleet.stop().await;
            }
            // `recover` finishes a deletion that a crash interrupted.
            let _ = inner.persist(&what, || forget(&inner, &name)).await;
        },
        // Dropping the fleet ends the processes.
        move |_| async move {
            let _ = broken.persist(&title, || forget(&broken, &whose)).await;
        },
    );
    Ok(json!({}))
}

fn forget(cloud: &Cloud, name: &str) -> ApiResult<()> {
    plans(cloud).remove(name)?;
    ENDPOINTS.remove(cloud, name)
}

/// After a restart: endpoints in service start again in the background; an interrupted creation has
/// failed; an interrupted update leaves the old configuration in service.
pub(in super::super) fn recover(cloud: &Cloud) -> anyhow::Result<()> {
    // Files of the previous server's processes.
    beneath::discard(cloud.directory(), &cloud.directory().join("endpoints"));
    for record in ENDPOINTS.all(cloud)? {
        let name = record["EndpointName"].as_str().unwrap_or_default();
        let before = status(&record);
        let (after, reason) = match before {
            Some(EndpointStatus::InService) => {
                (EndpointStatus::InService, record["FailureReason"].clone())
            }
            Some(EndpointStatus::Updating) => (EndpointStatus::InService, json!(INTERRUPTED)),
            Some(EndpointStatus::Creating) => (EndpointStatus::Failed, json!(INTERRUPTED)),
            Some(EndpointStatus::Deleting) => {
                forget(cloud, name)?;
                continue;
            }
            _ => continue,
        };
        if before != Some(after) {
            ENDPOINTS.change(cloud, name, |record| {
                record["EndpointStatus"] = after.into();
                record["FailureReason"] = reason;
                record["PendingDeploymentSummary"] = Value::Null;
                Ok(())
            })?;
        }
        if after == EndpointStatus::InService
            && let Some(plan) = plans(cloud).get(name)?
        {
            let fleet = Fleet::start(cloud, name, &plan)?;
            fleet::switch(cloud, name, Some(fleet));
        }
    }
    Ok(())
}

const INTERRUPTED: &str = "InternalServerError: the local cloud ended during the deployment.";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_cloud::TestCloud;

    #[test]
    fn a_plan_is_written_with_its_status_or_not_at_all() {
        let directory = TestCloud::new();
        let cloud = directory.cloud();
        let plan: Plan =
            serde_json::from_value(json!({"config": "new", "variants": [], "capture": null}))
                .unwrap();
        assert!(write(&cloud, "e", in_service(&plan, None), Some(&plan)).is_err());
        assert!(plans(&cloud).get("e").unwrap().is_none());

        let old = json!({"EndpointConfigName": "old", "EndpointStatus": "Updating"});
        ENDPOINTS.create(&cloud, "e", old, None).unwrap();
        write(&cloud, "e", in_service(&plan, None), Some(&plan)).unwrap();
        let record = ENDPOINTS.get(&cloud, "e").unwrap();
        assert_eq!(record["EndpointStatus"], "InService");
        assert_eq!(record["EndpointConfigName"], "new");
        assert_eq!(plans(&cloud).get("e").unwrap().unwrap().config, "new");
    }

    #[test]
    fn an_update_during_a_deployment_is_refused() {
        for status in ["Creating", "Updating", "Deleting"] {
            let error = busy(&json!({"EndpointStatus": status, "EndpointArn": "a"})).unwrap_err();
            assert!(error.message.contains("in-progress"), "{status}");
        }
        assert!(busy(&json!({"EndpointStatus": "InService"})).is_ok());
        assert!(busy(&json!({"EndpointStatus": "Failed"})).is_ok());
    }

    #[test]
    fn other_deployment_policies_are_refused_by_name() {
        let canary =
            json!({"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": {"Type": "CANARY"}}});
        let check = |config: Value| crate::api::parse::<DeploymentConfig>(config)?.check();
        let error = check(canary).unwrap_err();
        assert_eq!(error.code, "NotImplemented");
        assert!(error.message.ends_with("of type \"CANARY\""), "{error}");
        let plain = json!({"BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0}}});
        assert!(check(plain).is_ok());
        assert!(check(json!({})).is_ok());
    }

    #[tokio::test]
    async fn a_deployment_that_panics_ends() {
        let at = TestCloud::new();
        let cloud = at.cloud();
        for (name, before, after) in [
            ("new", EndpointStatus::Creating, EndpointStatus::Failed),
            ("old", EndpointStatus::Updating, EndpointStatus::InService),
        ] {
            let record = json!({"EndpointStatus": before});
            ENDPOINTS.create(&cloud, name, record, None).unwrap();
            finish(&cloud, name.to_owned(), None, after, async {
                panic!("boom")
            });
            cloud.idle().await;
            let record = ENDPOINTS.get(&cloud, name).unwrap();
            assert_eq!(status(&record), Some(after));
            let reason = record["FailureReason"].as_str().unwrap();
            assert!(reason.starts_with("InternalServerError: "), "{reason}");
            assert!(reason.contains("boom"), "{reason}");
        }
    }
}
