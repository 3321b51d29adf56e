//! What a new server does with the endpoints of an earlier one.
//!
//! | the status was | the endpoint becomes |
//! |---|---|
//! | `InService`, `OutOfService` | `InService` with its configuration |
//! | `Updating`, `RollingBack`, `UpdateRollbackFailed` | `InService` with the old configuration, and a reason |
//! | `Creating` | `Failed` |
//! | `Deleting` | nothing: the deletion is completed |
//!
//! The configuration and the fleet of a record change together when a deployment ends, so the old ones are
//! complete, whatever step the deployment had reached.

use std::sync::Arc;

use serde_json::{Value, json};

use super::super::states::EndpointStatus;
use super::capture;
use super::fleet::{self, Fleet};
use super::record::{ENDPOINTS, forget, in_service, merge, specs, status};
use super::spec::FleetSpec;
use super::traffic;
use crate::api::ApiResult;
use crate::{Cloud, beneath};

const INTERRUPTED: &str = "InternalServerError: the local cloud ended during the deployment.";

/// Starts the endpoints again, in the background.
pub(in super::super) fn recover(cloud: &Cloud) -> anyhow::Result<()> {
    // Files of the previous server's processes.
    beneath::discard(cloud.directory(), &cloud.directory().join("endpoints"));
    capture::recover(cloud)?;
    for record in ENDPOINTS.all(cloud)? {
        let name = record["EndpointName"].as_str().unwrap_or_default();
        recover_one(cloud, name, &record)?;
    }
    Ok(())
}

fn recover_one(cloud: &Cloud, name: &str, record: &Value) -> ApiResult<()> {
    let before = status(record);
    match before {
        Some(EndpointStatus::Creating) => {
            let failed = json!({
                "EndpointStatus": EndpointStatus::Failed, "FailureReason": INTERRUPTED,
                "PendingDeploymentSummary": null,
            });
            return change(cloud, name, failed);
        }
        Some(EndpointStatus::Deleting) => return forget(cloud, name),
        Some(EndpointStatus::Failed) | None => return Ok(()),
        Some(_) => {}
    }
    let Some(spec) = specs(cloud).get(name)? else {
        return Ok(());
    };
    let mut after = in_service(&spec, None);
    // For example, the role of the model was deleted.
    if let Err(error) = start(cloud, name, spec) {
        let absent = json!({
            "EndpointStatus": EndpointStatus::OutOfService, "FailureReason": error.message,
        });
        merge(&mut after, absent);
    } else if before == Some(EndpointStatus::InService) {
        return Ok(());
    } else if before != Some(EndpointStatus::OutOfService) {
        after["FailureReason"] = json!(INTERRUPTED);
    }
    after["PendingDeploymentSummary"] = Value::Null;
    change(cloud, name, after)
}

/// Starts a fleet and routes requests to it, which wait until it is healthy.
fn start(cloud: &Cloud, name: &str, spec: FleetSpec) -> ApiResult<()> {
    let counts = spec.counts();
    let fleet = Arc::new(Fleet::new(cloud, name, spec)?);
    fleet.launch(&counts);
    fleet::add(cloud, &fleet);
    fleet::serve(cloud, &fleet);
    traffic::route_all(cloud, name, &fleet);
    Ok(())
}

fn change(cloud: &Cloud, name: &str, after: Value) -> ApiResult<()> {
    ENDPOINTS.change(cloud, name, |record| {
        merge(record, after);
        Ok(())
    })
}
