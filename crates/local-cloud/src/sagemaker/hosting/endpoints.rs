//! Endpoints: the operations, and the moves between two statuses.
//!
//! An update starts a new fleet and moves the traffic when it is healthy (blue/green, all at
//! once). If it never is, the endpoint stays in service with the configuration it had, and only
//! `FailureReason` tells: as in AWS, a client that looks at the status alone believes a lie.

use serde_json::{Value, json};

use super::super::records::Records;
use super::super::{lineage, requests};
use super::configs::CONFIGS;
use super::fleet::{self, Fleet, Plan};
use crate::api::{ApiError, ApiResult};
use crate::{Cloud, beneath, clock};

pub(super) const ENDPOINTS: Records = Records {
    kind: "endpoint",
    name: "EndpointName",
    arn: "EndpointArn",
    resource: "endpoint",
    title: "endpoint",
};

/// The stored plan of what serves an endpoint.
fn plans(cloud: &Cloud) -> crate::store::Collection<'_, Plan> {
    cloud.store().collection("sagemaker", "endpoint-plan")
}

/// The deployment policies that the local cloud has: all at once, without alarms.
fn check_deployment(config: &Value) -> ApiResult<()> {
    if config.get("RollingUpdatePolicy").is_some() {
        return Err(ApiError::not_implemented("RollingUpdatePolicy"));
    }
    let routing = &config["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]["Type"];
    if routing.is_string() && routing != "ALL_AT_ONCE" {
        return Err(ApiError::not_implemented(format_args!(
            "TrafficRoutingConfiguration of type {routing}"
        )));
    }
    let alarms = &config["AutoRollbackConfiguration"]["Alarms"];
    if alarms.as_array().is_some_and(|alarms| !alarms.is_empty()) {
        return Err(ApiError::not_implemented(
            "AutoRollbackConfiguration.Alarms",
        ));
    }
    Ok(())
}

pub(super) async fn create(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let name = requests::name(&input, "EndpointName", 63)?.to_owned();
    let config = requests::required(&input, "EndpointConfigName")?;
    CONFIGS.get(cloud, config)?;
    check_deployment(&input["DeploymentConfig"])?;
    let record = json!({
        "EndpointName": name,
        "EndpointConfigName": config,
        "EndpointStatus": "Creating",
    });
    let arn = ENDPOINTS.create(cloud, &name, record, input.get("Tags"))?;
    let work = {
        let (cloud, name, config) = (cloud.clone(), name.clone(), config.to_owned());
        async move { deploy(&cloud, &name, &config).await }
    };
    finish(cloud, name, given_policy(&input), "Failed", work);
    Ok(json!({"EndpointArn": arn}))
}

/// Does the work of a deployment in the background, and writes its end. When the work fails or
/// panics, the endpoint has the status `otherwise` and the reason.
fn finish(
    cloud: &Cloud,
    name: String,
    policy: Option<Value>,
    otherwise: &'static str,
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
            if otherwise == "Failed"
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

/// `DeploymentConfig` of a request.
fn given_policy(input: &Value) -> Option<Value> {
    Some(input["DeploymentConfig"].clone()).filter(Value::is_object)
}

/// What a deployment changes in the endpoint's record. `LastDeploymentConfig` is the newest
/// `DeploymentConfig` that was given (unverified against AWS: whether one that is not given removes it).
fn in_service(plan: &Plan, policy: Option<Value>) -> Value {
    let mut change = json!({
        "EndpointStatus": "InService",
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

/// Writes the status in which a deployment ended and the plan that serves now, then the lineage.
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
        // Lineage is an account of the deployment; it cannot undo it.
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
    match record["EndpointStatus"].as_str() {
        Some("Creating" | "Updating" | "Deleting") => Err(ApiError::validation(format!(
            "Cannot update in-progress endpoint \"{}\".",
            record["EndpointArn"].as_str().unwrap_or_default()
        ))),
        _ => Ok(()),
    }
}

pub(super) async fn update(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let name = requests::required(&input, "EndpointName")?.to_owned();
    let config = requests::required(&input, "EndpointConfigName")?.to_owned();
    if input["RetainAllVariantProperties"] == true {
        return Err(ApiError::not_implemented(
            "UpdateEndpoint.RetainAllVariantProperties",
        ));
    }
    check_deployment(&input["DeploymentConfig"])?;
    ENDPOINTS.get(cloud, &name)?;
    CONFIGS.get(cloud, &config)?;
    let arn = ENDPOINTS.change(cloud, &name, |record| {
        busy(record)?;
        if record["EndpointStatus"] == "Failed" {
            return Err(ApiError::validation(format!(
                "Cannot update endpoint \"{}\": its status is Failed. Delete it first.",
                record["EndpointArn"].as_str().unwrap_or_default()
            )));
        }
        record["EndpointStatus"] = json!("Updating");
        record["PendingDeploymentSummary"] = json!({
            "EndpointConfigName": config,
            "StartTime": clock::epoch(),
        });
        Ok(record["EndpointArn"].clone())
    })?;
    let work = {
        let (cloud, name) = (cloud.clone(), name.clone());
        async move { deploy(&cloud, &name, &config).await }
    };
    finish(cloud, name, given_policy(&input), "InService", work);
    Ok(json!({"EndpointArn": arn}))
}

pub(super) async fn update_weights(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let name = requests::required(&input, "EndpointName")?;
    let changes = input["DesiredWeightsAndCapacities"].as_array();
    let arn = ENDPOINTS.change(cloud, name, |record| {
        busy(record)?;
        for change in changes.into_iter().flatten() {
            let wanted = requests::required(change, "VariantName")?;
            let variant = record["ProductionVariants"]
                .as_array_mut()
                .into_iter()
                .flatten()
                .find(|variant| variant["VariantName"] == wanted)
                .ok_or_else(|| requests::absent(format!("Could not find variant \"{wanted}\".")))?;
            let count = change.get("DesiredInstanceCount");
            if count.is_some_and(|count| *count != variant["CurrentInstanceCount"]) {
                return Err(ApiError::not_implemented(
                    "a change of DesiredInstanceCount (deploy a new endpoint configuration)",
                ));
            }
            if let Some(weight) = change["DesiredWeight"].as_f64() {
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

pub(super) async fn describe(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let mut record = ENDPOINTS.get(cloud, requests::required(&input, ENDPOINTS.name)?)?;
    if let Value::Object(members) = &mut record {
        members.retain(|_, value| !value.is_null());
    }
    Ok(record)
}

pub(super) async fn list(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let (page, token) = requests::Listing {
        name: "EndpointName",
        status: Some("EndpointStatus"),
        sort_by: "CreationTime",
        descending: true,
    }
    .page(ENDPOINTS.all(cloud)?, &input)?;
    let members = [
        "EndpointName",
        "EndpointArn",
        "CreationTime",
        "LastModifiedTime",
        "EndpointStatus",
    ];
    let summaries: Vec<Value> = page
        .iter()
        .map(|record| requests::pick(record, &members))
        .collect();
    Ok(json!({"Endpoints": summaries, "NextToken": token}))
}

pub(super) async fn delete(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let name = requests::required(&input, "EndpointName")?.to_owned();
    ENDPOINTS.change(cloud, &name, |record| {
        busy(record)?;
        record["EndpointStatus"] = json!("Deleting");
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
        // The processes end when nobody holds them any more.
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

/// After a restart: what was in service is started again in the background; a creation that was
/// under way failed; an update that was under way left the old configuration in service.
pub(in super::super) fn recover(cloud: &Cloud) -> anyhow::Result<()> {
    // What the processes of the last server left behind.
    beneath::discard(cloud.directory(), &cloud.directory().join("endpoints"));
    for record in ENDPOINTS.all(cloud)? {
        let name = record["EndpointName"].as_str().unwrap_or_default();
        let (status, reason) = match record["EndpointStatus"].as_str() {
            Some("InService") => ("InService", record["FailureReason"].clone()),
            Some("Updating") => ("InService", json!(INTERRUPTED)),
            Some("Creating") => ("Failed", json!(INTERRUPTED)),
            Some("Deleting") => {
                forget(cloud, name)?;
                continue;
            }
            _ => continue,
        };
        let changed = record["EndpointStatus"] != status;
        if changed {
            ENDPOINTS.change(cloud, name, |record| {
                record["EndpointStatus"] = json!(status);
                record["FailureReason"] = reason;
                record["PendingDeploymentSummary"] = Value::Null;
                Ok(())
            })?;
        }
        if status == "InService"
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

    #[test]
    fn a_plan_is_written_with_its_status_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let cloud = Cloud::in_directory(directory.path());
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
    fn a_deployment_under_way_is_left_alone() {
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
        assert_eq!(
            check_deployment(&canary).unwrap_err().code,
            "NotImplemented"
        );
        let plain = json!({"BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0}}});
        assert!(check_deployment(&plain).is_ok());
        assert!(check_deployment(&Value::Null).is_ok());
    }

    #[tokio::test]
    async fn a_deployment_that_panics_ends() {
        let at = tempfile::tempdir().unwrap();
        let cloud = Cloud::in_directory(at.path());
        for (name, before, after) in [
            ("new", "Creating", "Failed"),
            ("old", "Updating", "InService"),
        ] {
            let record = json!({"EndpointStatus": before});
            ENDPOINTS.create(&cloud, name, record, None).unwrap();
            finish(&cloud, name.to_owned(), None, after, async {
                panic!("boom")
            });
            cloud.idle().await;
            let record = ENDPOINTS.get(&cloud, name).unwrap();
            assert_eq!(record["EndpointStatus"], after);
            let reason = record["FailureReason"].as_str().unwrap();
            assert!(reason.starts_with("InternalServerError: "), "{reason}");
            assert!(reason.contains("boom"), "{reason}");
        }
    }
}
