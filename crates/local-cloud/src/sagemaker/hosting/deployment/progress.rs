//! How a deployment in progress is described: `PendingDeploymentSummary` and `ProductionVariants`.

use serde_json::{Value, json};

use super::super::spec::FleetSpec;
use super::plan::Wait;
use crate::Cloud;

/// A stage of a deployment, with numbers of instances of the new fleet by variant.
#[derive(Debug)]
pub(super) enum Stage<'a> {
    /// These instances start in addition to those that serve already.
    Launching {
        started: &'a [u32],
        active: &'a [u32],
    },
    Activating(&'a [u32]),
    Baking {
        seconds: u32,
        wait: Wait,
        active: &'a [u32],
    },
}

impl Stage<'_> {
    /// The instances that serve.
    fn active(&self) -> &[u32] {
        match self {
            Self::Launching { active, .. }
            | Self::Activating(active)
            | Self::Baking { active, .. } => active,
        }
    }

    /// `Status` and `StatusMessage` of a variant in a stage (developer guide, "Endpoint
    /// deployment state change").
    fn status(&self, index: usize, count: u32) -> (&'static str, String) {
        let capacity = |active: &[u32]| {
            let active = active[index];
            let kind = if active == count { "full" } else { "canary" };
            format!("{kind} capacity of {active} instance(s).")
        };
        match self {
            Self::Launching { started, active } => {
                let new = started[index].saturating_sub(active[index]);
                ("Creating", format!("Launching {new} instance(s)."))
            }
            Self::Activating(active) => (
                "ActivatingTraffic",
                format!("Activating traffic on {}", capacity(active)),
            ),
            Self::Baking {
                seconds,
                wait,
                active,
            } => {
                let name = match wait {
                    Wait::Interval => "WaitIntervalInSeconds",
                    Wait::Termination => "TerminationWaitInSeconds",
                };
                let capacity = capacity(active);
                let message = format!(
                    "Baking for {seconds} seconds ({name}) with traffic enabled on {capacity}"
                );
                ("Baking", message)
            }
        }
    }
}

/// The members of `PendingDeploymentSummary` in a stage.
pub(super) fn pending(cloud: &Cloud, spec: &FleetSpec, counts: &[u32], stage: &Stage<'_>) -> Value {
    let now = cloud.clock().epoch();
    let variants = spec.variants.iter().enumerate().map(|(index, variant)| {
        let (status, message) = stage.status(index, counts[index]);
        let mut summary = variant.summary();
        summary["CurrentInstanceCount"] = json!(stage.active()[index]);
        summary["InstanceType"] = json!(variant.instance_type);
        summary["VariantStatus"] =
            json!([{"Status": status, "StatusMessage": message, "StartTime": now}]);
        summary
    });
    json!({
        "EndpointConfigName": spec.config,
        "ProductionVariants": variants.collect::<Vec<Value>>(),
    })
}

/// `ProductionVariants` of a fleet that has these numbers of instances.
pub(super) fn current(spec: &FleetSpec, counts: &[usize]) -> Value {
    let variants = spec.variants.iter().zip(counts).map(|(variant, count)| {
        let mut summary = variant.summary();
        summary["CurrentInstanceCount"] = json!(count);
        summary
    });
    variants.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_described_as_in_the_developer_guide() {
        let baking = |wait, active| Stage::Baking {
            seconds: 600,
            wait,
            active,
        };
        for (stage, status, message) in [
            (
                Stage::Launching {
                    started: &[3],
                    active: &[1],
                },
                "Creating",
                "Launching 2 instance(s).",
            ),
            (
                Stage::Activating(&[1]),
                "ActivatingTraffic",
                "Activating traffic on canary capacity of 1 instance(s).",
            ),
            (
                baking(Wait::Termination, &[3]),
                "Baking",
                "Baking for 600 seconds (TerminationWaitInSeconds) with traffic enabled on full capacity \
                 of 3 instance(s).",
            ),
            (
                baking(Wait::Interval, &[1]),
                "Baking",
                "Baking for 600 seconds (WaitIntervalInSeconds) with traffic enabled on canary capacity \
                 of 1 instance(s).",
            ),
        ] {
            assert_eq!(stage.status(0, 3), (status, message.to_owned()));
        }
    }
}
