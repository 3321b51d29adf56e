//! The record of an endpoint, and the specification of the fleet that it serves with.
//!
//! Both change in one transaction, so a server that dies leaves the old configuration with the old fleet, or
//! the new one with the new fleet.

use serde_json::{Value, json};

use super::super::announce;
use super::super::records::Records;
use super::super::states::EndpointStatus;
use super::spec::FleetSpec;
use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::store::Collection;

pub(super) const ENDPOINTS: Records = Records {
    kind: "endpoint",
    name: "EndpointName",
    arn: "EndpointArn",
    resource: "endpoint",
    title: "endpoint",
    absent: None,
    list: "Endpoints",
    summary: &["CreationTime", "LastModifiedTime", "EndpointStatus"],
    announce: Some(announce::endpoint),
};

/// The status of a record.
pub(super) fn status(record: &Value) -> Option<EndpointStatus> {
    EndpointStatus::of(&record["EndpointStatus"])
}

/// The specifications of the fleets in service, by endpoint.
pub(super) fn specs(cloud: &Cloud) -> Collection<'_, FleetSpec> {
    cloud.store().collection("sagemaker", "endpoint-plan")
}

/// Fails while the endpoint changes.
pub(super) fn require_idle(record: &Value) -> ApiResult<()> {
    if status(record).is_some_and(EndpointStatus::is_changing) {
        return Err(ApiError::validation(format!(
            "Cannot update in-progress endpoint \"{}\".",
            record["EndpointArn"].as_str().unwrap_or_default()
        )));
    }
    Ok(())
}

/// The members of a record that a fleet in service determines. `LastDeploymentConfig` is the newest
/// `DeploymentConfig` in a request (unverified against AWS [endpoint-deployment-config]: whether a
/// request without one removes it).
pub(super) fn in_service(spec: &FleetSpec, policy: Option<&Value>) -> Value {
    let mut change = json!({
        "EndpointStatus": EndpointStatus::InService,
        "EndpointConfigName": spec.config,
        "ProductionVariants": spec.summaries(),
        "DataCaptureConfig": spec.capture_summary(),
        "FailureReason": null,
    });
    if let Some(policy) = policy {
        change["LastDeploymentConfig"] = policy.clone();
    }
    change
}

/// Ends a change of an endpoint: merges members into its record, and stores the specification of the fleet
/// that serves from now on.
pub(super) fn settle(
    cloud: &Cloud,
    name: &str,
    change: Value,
    spec: Option<&FleetSpec>,
) -> ApiResult<()> {
    ENDPOINTS.change_in(cloud, name, |transaction, record| {
        record["PendingDeploymentSummary"] = Value::Null;
        merge(record, change);
        match spec {
            Some(spec) => specs(cloud).put_in(transaction, name, spec),
            None => Ok(()),
        }
    })
}

/// Replaces members of a record.
pub(super) fn merge(record: &mut Value, change: Value) {
    if let (Value::Object(record), Value::Object(change)) = (record, change) {
        record.extend(change);
    }
}

/// Removes an endpoint.
pub(super) fn forget(cloud: &Cloud, name: &str) -> ApiResult<()> {
    specs(cloud).remove(name)?;
    ENDPOINTS.remove(cloud, name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_cloud::TestCloud;

    #[test]
    fn a_specification_is_written_with_its_status_or_not_at_all() {
        let directory = TestCloud::new();
        let cloud = directory.cloud();
        let spec = FleetSpec {
            config: "new".to_owned(),
            ..FleetSpec::default()
        };
        let change = || in_service(&spec, None);
        assert!(settle(&cloud, "e", change(), Some(&spec)).is_err());
        assert!(specs(&cloud).get("e").unwrap().is_none());

        let old = json!({"EndpointConfigName": "old", "EndpointStatus": "Updating"});
        ENDPOINTS.create(&cloud, "e", old, None).unwrap();
        settle(&cloud, "e", change(), Some(&spec)).unwrap();
        let record = ENDPOINTS.get(&cloud, "e").unwrap();
        assert_eq!(record["EndpointStatus"], "InService");
        assert_eq!(record["EndpointConfigName"], "new");
        assert_eq!(specs(&cloud).get("e").unwrap().unwrap().config, "new");
    }

    #[test]
    fn a_change_during_another_is_refused() {
        for status in ["Creating", "Updating", "RollingBack", "Deleting"] {
            let record = json!({"EndpointStatus": status, "EndpointArn": "a"});
            let error = require_idle(&record).unwrap_err();
            assert!(error.message.contains("in-progress"), "{status}");
        }
        for status in ["InService", "Failed", "UpdateRollbackFailed"] {
            assert!(require_idle(&json!({"EndpointStatus": status})).is_ok());
        }
    }
}
