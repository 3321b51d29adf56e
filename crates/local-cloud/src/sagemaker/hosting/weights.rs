//! `UpdateEndpointWeightsAndCapacities`: other weights and numbers of instances for the same configuration.
//!
//! New instances start first, then the traffic changes, then instances that are no longer needed end. The new
//! numbers are recorded with the end of the change, so a server that dies leaves the old ones.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::requests::absent;
use super::super::states::EndpointStatus;
use super::configs::{MAX_INSTANCES, check_weight};
use super::fleet::{self, Fleet};
use super::record::{ENDPOINTS, in_service, require_idle, settle, specs, status};
use super::spec::FleetSpec;
use super::traffic;
use crate::Cloud;
use crate::api::{ApiError, ApiResult};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UpdateWeights {
    endpoint_name: String,
    #[serde(default)]
    desired_weights_and_capacities: Vec<Change>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Change {
    variant_name: String,
    desired_weight: Option<f64>,
    desired_instance_count: Option<u32>,
}

impl Change {
    fn apply(&self, spec: &mut FleetSpec) -> ApiResult<()> {
        let wanted = &self.variant_name;
        let mut variants = spec.variants.iter_mut();
        let variant = variants
            .find(|variant| variant.name == *wanted)
            .ok_or_else(|| absent(format!("Could not find variant \"{wanted}\".")))?;
        if let Some(count) = self.desired_instance_count {
            if count == 0 {
                return Err(ApiError::validation(format!(
                    "DesiredInstanceCount of variant \"{wanted}\" must be at least 1."
                )));
            }
            if i64::from(count) > MAX_INSTANCES {
                return Err(ApiError::new(
                    "ResourceLimitExceeded",
                    format!("The local cloud runs at most {MAX_INSTANCES} instances of a variant."),
                ));
            }
            variant.count = count;
        }
        if let Some(weight) = self.desired_weight {
            check_weight("DesiredWeight", weight)?;
            variant.weight = weight;
        }
        Ok(())
    }
}

pub(super) async fn update(cloud: &Cloud, input: UpdateWeights) -> ApiResult<Value> {
    let name = input.endpoint_name;
    ENDPOINTS.get(cloud, &name)?;
    let (arn, spec) = ENDPOINTS.change_in(cloud, &name, |transaction, record| {
        require_idle(record)?;
        let arn = record["EndpointArn"].clone();
        let current = specs(cloud).get_in(transaction, &name)?;
        let Some(current) = current.filter(|_| status(record) == Some(EndpointStatus::InService))
        else {
            return Err(ApiError::validation(format!(
                "Cannot update endpoint {arn}: it is not in service."
            )));
        };
        let mut spec = current.clone();
        for change in &input.desired_weights_and_capacities {
            change.apply(&mut spec)?;
        }
        record["EndpointStatus"] = EndpointStatus::Updating.into();
        record["ProductionVariants"] = updating(cloud, &current, &spec);
        Ok((arn, spec))
    })?;
    start(cloud, name, spec);
    Ok(json!({"EndpointArn": arn}))
}

/// `ProductionVariants` while the weights and numbers of instances change.
fn updating(cloud: &Cloud, current: &FleetSpec, wanted: &FleetSpec) -> Value {
    let variants = current.variants.iter().zip(&wanted.variants);
    let variants = variants.map(|(current, wanted)| {
        let mut summary = current.summary();
        summary["DesiredWeight"] = json!(wanted.weight);
        summary["DesiredInstanceCount"] = json!(wanted.count);
        if current.count != wanted.count {
            let direction = if wanted.count > current.count {
                "out"
            } else {
                "in"
            };
            let message = format!(
                "Scaling {direction} desired instance count to {}.",
                wanted.count
            );
            summary["VariantStatus"] = json!([{"Status": "Updating", "StatusMessage": message,
                                               "StartTime": cloud.clock().epoch()}]);
        }
        summary
    });
    variants.collect()
}

fn start(cloud: &Cloud, name: String, spec: FleetSpec) {
    let what = format!("new weights and capacities of endpoint {name}");
    let work = cloud.clock().begin(what.clone());
    let (inner, broken, whose) = (cloud.clone(), cloud.clone(), name.clone());
    cloud.spawn(
        what,
        async move {
            rescale(&inner, &name, spec).await;
            drop(work);
        },
        move |error| async move {
            let reason = format!("InternalServerError: {}", error.message);
            if let Some(fleet) = fleet::serving(&broken, &whose) {
                refuse(&broken, &whose, &fleet, &reason).await;
            }
        },
    );
}

async fn rescale(cloud: &Cloud, name: &str, spec: FleetSpec) {
    let Some(fleet) = fleet::serving(cloud, name) else {
        return;
    };
    fleet.launch(&spec.counts());
    if let Err(reason) = fleet.healthy().await {
        refuse(cloud, name, &fleet, &reason).await;
        return;
    }
    let old = fleet.spec();
    fleet.set_spec(spec.clone());
    traffic::route_all(cloud, name, &fleet);
    let what = format!("endpoint {name}");
    let write = || settle(cloud, name, in_service(&spec, None), Some(&spec));
    if cloud.persist(&what, write).await.is_err() {
        // The state directory was removed.
        fleet.set_spec(old);
        traffic::end(cloud, name).await;
        return;
    }
    fleet::end_all(fleet.release(&spec.counts())).await;
}

/// Goes back to the weights and numbers of instances that the fleet had.
async fn refuse(cloud: &Cloud, name: &str, fleet: &Arc<Fleet>, reason: &str) {
    let spec = fleet.spec();
    let what = format!("endpoint {name}");
    let rolling_back = || {
        ENDPOINTS.change(cloud, name, |record| {
            record["EndpointStatus"] = EndpointStatus::RollingBack.into();
            Ok(())
        })
    };
    let _ = cloud.persist(&what, rolling_back).await;
    traffic::route_all(cloud, name, fleet);
    fleet::end_all(fleet.release(&spec.counts())).await;
    let mut change = in_service(&spec, None);
    change["FailureReason"] = json!(reason);
    let write = || settle(cloud, name, change.clone(), None);
    let _ = cloud.persist(&what, write).await;
}
