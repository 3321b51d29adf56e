//! `DeploymentConfig`: how the traffic moves to a new fleet, and what makes it move back.

use serde::Deserialize;

use super::plan::{Plan, Step, Wait};
use crate::api::{ApiError, ApiResult};

/// `DeploymentConfig` of a request.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(in super::super) struct DeploymentConfig {
    rolling_update_policy: Option<RollingUpdate>,
    blue_green_update_policy: Option<BlueGreen>,
    auto_rollback_configuration: Option<AutoRollback>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BlueGreen {
    traffic_routing_configuration: TrafficRouting,
    #[serde(default)]
    termination_wait_in_seconds: u32,
    maximum_execution_timeout_in_seconds: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TrafficRouting {
    r#type: RoutingType,
    wait_interval_in_seconds: u32,
    canary_size: Option<Size>,
    linear_step_size: Option<Size>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum RoutingType {
    AllAtOnce,
    Canary,
    Linear,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RollingUpdate {
    maximum_batch_size: Size,
    wait_interval_in_seconds: u32,
    maximum_execution_timeout_in_seconds: Option<u32>,
    rollback_maximum_batch_size: Option<Size>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct AutoRollback {
    alarms: Vec<Alarm>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Alarm {
    alarm_name: Option<String>,
}

/// `CapacitySize`: a part of a variant's instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Size {
    r#type: SizeType,
    value: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum SizeType {
    InstanceCount,
    CapacityPercent,
}

impl Size {
    /// The number of instances that this is of `count`: at least one. A percentage is rounded down, so that
    /// a step is never larger than requested (unverified against AWS [endpoint-capacity-rounding]).
    fn of(self, count: u32) -> u32 {
        let instances = match self.r#type {
            SizeType::InstanceCount => self.value,
            SizeType::CapacityPercent => count * self.value / 100,
        };
        instances.clamp(1, count.max(1))
    }

    /// Fails unless this is between `least` and `most` percent of every variant's instances. A variant of one
    /// instance has no such part (unverified against AWS [endpoint-one-instance]: whether SageMaker also
    /// refuses a percentage of one instance).
    fn check(self, member: &str, least: u32, most: u32, counts: &[u32]) -> ApiResult<()> {
        let is_within = |percent: u32| (least..=most).contains(&percent);
        let fits = match self.r#type {
            SizeType::CapacityPercent => {
                is_within(self.value) && counts.iter().all(|count| *count > 1)
            }
            SizeType::InstanceCount => counts
                .iter()
                .all(|count| self.value <= *count && is_within(self.value * 100 / count)),
        };
        if fits {
            return Ok(());
        }
        let range = match least {
            0 => format!("less than or equal to {most}%"),
            least => format!("between {least}% and {most}%"),
        };
        let counts: Vec<String> = counts.iter().map(u32::to_string).collect();
        Err(ApiError::validation(format!(
            "{member} must be {range} of the instance count of each variant. The variants have {} \
             instance(s).",
            counts.join(", ")
        )))
    }
}

/// How the traffic moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shift {
    AllAtOnce,
    Canary(Size),
    Linear(Size),
    Rolling { batch: Size, back: Option<Size> },
}

/// A checked `DeploymentConfig`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Policy {
    shift: Shift,
    /// Seconds to watch the alarms after each shift of traffic.
    wait: u32,
    /// Seconds to keep the old fleet after the last one.
    termination: u32,
    /// The maximum duration of the deployment in seconds.
    pub(super) timeout: Option<u32>,
    /// The names of the alarms that roll the deployment back.
    pub(in super::super) alarms: Vec<String>,
}

impl Default for Policy {
    /// All at once, without alarms: what SageMaker does without a `DeploymentConfig`.
    fn default() -> Self {
        Self {
            shift: Shift::AllAtOnce,
            wait: 0,
            termination: 0,
            timeout: None,
            alarms: Vec::new(),
        }
    }
}

impl Policy {
    /// Checks the members of a `DeploymentConfig` that depend on each other. The service model's limits have
    /// been checked.
    pub(in super::super) fn read(config: &DeploymentConfig) -> ApiResult<Self> {
        let mut policy = match (
            &config.blue_green_update_policy,
            &config.rolling_update_policy,
        ) {
            (Some(_), Some(_)) => {
                return Err(ApiError::validation(
                    "Only one of BlueGreenUpdatePolicy and RollingUpdatePolicy can be specified in \
                     DeploymentConfig.",
                ));
            }
            (Some(blue_green), None) => Self::blue_green(blue_green)?,
            (None, Some(rolling)) => Self {
                shift: Shift::Rolling {
                    batch: rolling.maximum_batch_size,
                    back: rolling.rollback_maximum_batch_size,
                },
                wait: rolling.wait_interval_in_seconds,
                timeout: rolling.maximum_execution_timeout_in_seconds,
                ..Self::default()
            },
            (None, None) => Self::default(),
        };
        if let Some(timeout) = policy.timeout
            && timeout <= policy.wait + policy.termination
        {
            return Err(ApiError::validation(format!(
                "MaximumExecutionTimeoutInSeconds ({timeout}) must be larger than the total of \
                 WaitIntervalInSeconds ({}) and TerminationWaitInSeconds ({}).",
                policy.wait, policy.termination
            )));
        }
        let alarms = config.auto_rollback_configuration.iter();
        for alarm in alarms.flat_map(|rollback| &rollback.alarms) {
            let name = alarm.alarm_name.clone().ok_or_else(|| {
                ApiError::validation("Every alarm of AutoRollbackConfiguration needs an AlarmName.")
            })?;
            policy.alarms.push(name);
        }
        Ok(policy)
    }

    fn blue_green(config: &BlueGreen) -> ApiResult<Self> {
        let routing = &config.traffic_routing_configuration;
        let kind = routing.r#type;
        let size = |member: &str, size: Option<Size>, wanted: RoutingType| match size {
            None if kind == wanted => Err(ApiError::validation(format!(
                "TrafficRoutingConfiguration of this Type requires {member}."
            ))),
            Some(_) if kind != wanted => Err(ApiError::validation(format!(
                "{member} does not apply to this Type of TrafficRoutingConfiguration."
            ))),
            size => Ok(size),
        };
        let canary = size("CanarySize", routing.canary_size, RoutingType::Canary)?;
        let linear = size(
            "LinearStepSize",
            routing.linear_step_size,
            RoutingType::Linear,
        )?;
        let shift = match (canary, linear) {
            (Some(size), _) => Shift::Canary(size),
            (None, Some(size)) => Shift::Linear(size),
            (None, None) => Shift::AllAtOnce,
        };
        Ok(Self {
            shift,
            wait: routing.wait_interval_in_seconds,
            termination: config.termination_wait_in_seconds,
            timeout: config.maximum_execution_timeout_in_seconds,
            alarms: Vec::new(),
        })
    }

    /// Fails if the sizes do not fit a fleet with these numbers of instances.
    pub(in super::super) fn check(&self, counts: &[u32]) -> ApiResult<()> {
        match self.shift {
            Shift::AllAtOnce => Ok(()),
            Shift::Canary(size) => size.check("CanarySize", 0, 50, counts),
            Shift::Linear(size) => size.check("LinearStepSize", 10, 50, counts),
            Shift::Rolling { batch, back } => {
                batch.check("MaximumBatchSize", 5, 50, counts)?;
                match back {
                    Some(back) => back.check("RollbackMaximumBatchSize", 5, 100, counts),
                    None => Ok(()),
                }
            }
        }
    }

    /// The steps of an update to a fleet with these numbers of instances.
    pub(super) fn plan(&self, counts: &[u32]) -> Plan {
        let all = counts.to_vec();
        let mut steps = Vec::new();
        let bake = |seconds: u32, wait: Wait| (seconds > 0).then_some(Step::Bake { seconds, wait });
        match self.shift {
            Shift::Rolling { batch, .. } => {
                for (active, is_last) in stages(counts, batch) {
                    steps.extend([Step::Launch(active.clone()), Step::Route(active.clone())]);
                    steps.extend(bake(self.wait, Wait::Interval));
                    if !is_last {
                        steps.push(Step::Retire(active));
                    }
                }
            }
            shift => {
                steps.push(Step::Launch(all.clone()));
                let stages = match shift {
                    Shift::Linear(size) => stages(counts, size),
                    Shift::Canary(size) => {
                        let canary = counts.iter().map(|count| size.of(*count)).collect();
                        vec![(canary, false), (all.clone(), true)]
                    }
                    _ => vec![(all.clone(), true)],
                };
                for (active, _) in stages {
                    steps.push(Step::Route(active));
                    steps.extend(bake(self.wait, Wait::Interval));
                }
            }
        }
        steps.extend(bake(self.termination, Wait::Termination));
        steps.extend([Step::Commit, Step::Retire(all)]);
        Plan { steps }
    }

    /// The numbers of instances of the new fleet that still serve after each step of a rollback, from these.
    pub(super) fn retreat(&self, active: &[u32], counts: &[u32]) -> Vec<Vec<u32>> {
        let Shift::Rolling {
            back: Some(size), ..
        } = self.shift
        else {
            return vec![vec![0; active.len()]];
        };
        let mut active = active.to_vec();
        let mut steps = Vec::new();
        loop {
            for (active, count) in active.iter_mut().zip(counts) {
                *active = active.saturating_sub(size.of(*count));
            }
            steps.push(active.clone());
            if active.iter().all(|active| *active == 0) {
                return steps;
            }
        }
    }
}

/// The numbers of active instances after each step of a size, and whether it is the last step.
fn stages(counts: &[u32], size: Size) -> Vec<(Vec<u32>, bool)> {
    let mut stages = Vec::new();
    for number in 1.. {
        let active: Vec<u32> = counts
            .iter()
            .map(|count| (number * size.of(*count)).min(*count))
            .collect();
        let is_last = active == counts;
        stages.push((active, is_last));
        if is_last {
            break;
        }
    }
    stages
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(config: Value) -> ApiResult<Policy> {
        Policy::read(&crate::api::parse(config)?)
    }

    fn blue_green(routing: Value, more: Value) -> Value {
        let mut policy = more;
        policy["TrafficRoutingConfiguration"] = routing;
        json!({"BlueGreenUpdatePolicy": policy})
    }

    fn size(kind: &str, value: u32) -> Value {
        json!({"Type": kind, "Value": value})
    }

    fn canary(kind: &str, value: u32) -> Value {
        let routing =
            json!({"Type": "CANARY", "WaitIntervalInSeconds": 60, "CanarySize": size(kind, value)});
        blue_green(routing, json!({"TerminationWaitInSeconds": 30}))
    }

    fn linear(kind: &str, value: u32) -> Value {
        let routing = json!({"Type": "LINEAR", "WaitIntervalInSeconds": 60,
                             "LinearStepSize": size(kind, value)});
        blue_green(routing, json!({}))
    }

    fn rolling(value: u32, back: Option<u32>) -> Value {
        let back = back.map(|value| size("INSTANCE_COUNT", value));
        json!({"RollingUpdatePolicy": {"MaximumBatchSize": size("INSTANCE_COUNT", value),
               "WaitIntervalInSeconds": 60, "RollbackMaximumBatchSize": back}})
    }

    fn shown(config: Value, counts: &[u32]) -> String {
        let policy = read(config).unwrap();
        policy.check(counts).unwrap();
        policy.plan(counts).to_string()
    }

    #[test]
    fn plans() {
        let all = json!({"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 5});
        let end = "commit, retire";
        for (config, counts, wanted) in [
            (json!({}), &[1][..], format!("launch 1, route 1, {end} 1")),
            (
                blue_green(all, json!({"TerminationWaitInSeconds": 7})),
                &[2, 1],
                format!("launch 2 1, route 2 1, bake 5, wait 7, {end} 2 1"),
            ),
            (
                canary("CAPACITY_PERCENT", 30),
                &[4],
                format!("launch 4, route 1, bake 60, route 4, bake 60, wait 30, {end} 4"),
            ),
            (
                canary("INSTANCE_COUNT", 1),
                &[2, 4],
                format!("launch 2 4, route 1 1, bake 60, route 2 4, bake 60, wait 30, {end} 2 4"),
            ),
            (
                linear("CAPACITY_PERCENT", 50),
                &[4, 2],
                format!("launch 4 2, route 2 1, bake 60, route 4 2, bake 60, {end} 4 2"),
            ),
            (
                linear("INSTANCE_COUNT", 1),
                &[3],
                format!("launch 3, route 1, bake 60, route 2, bake 60, route 3, bake 60, {end} 3"),
            ),
            (
                rolling(1, None),
                &[2],
                format!(
                    "launch 1, route 1, bake 60, retire 1, launch 2, route 2, bake 60, {end} 2"
                ),
            ),
        ] {
            assert_eq!(shown(config, counts), wanted);
        }
    }

    #[test]
    fn a_rolling_update_rolls_back_in_batches() {
        let retreat = |config: Value, active: &[u32]| read(config).unwrap().retreat(active, &[4]);
        assert_eq!(retreat(rolling(1, None), &[3]), [[0]]);
        assert_eq!(retreat(rolling(1, Some(2)), &[3]), [[1], [0]]);
        assert_eq!(retreat(canary("INSTANCE_COUNT", 1), &[1]), [[0]]);
        assert_eq!(retreat(rolling(1, Some(2)), &[0]), [[0]]);
    }

    #[test]
    fn sizes_outside_of_the_documented_ranges_are_refused() {
        for (config, counts, named) in [
            (canary("CAPACITY_PERCENT", 51), &[4][..], "CanarySize"),
            (canary("INSTANCE_COUNT", 2), &[3], "CanarySize"),
            (canary("INSTANCE_COUNT", 1), &[4, 1], "CanarySize"),
            (canary("CAPACITY_PERCENT", 10), &[1], "CanarySize"),
            (linear("CAPACITY_PERCENT", 9), &[4], "LinearStepSize"),
            (linear("CAPACITY_PERCENT", 51), &[4], "LinearStepSize"),
            (linear("INSTANCE_COUNT", 5), &[4], "LinearStepSize"),
            (rolling(3, None), &[4], "MaximumBatchSize"),
            (rolling(1, None), &[1], "MaximumBatchSize"),
            (rolling(1, Some(5)), &[4], "RollbackMaximumBatchSize"),
        ] {
            let error = read(config).unwrap().check(counts).unwrap_err();
            assert_eq!(error.code, "ValidationException");
            assert!(error.message.starts_with(named), "{error}");
        }
        for config in [canary("INSTANCE_COUNT", 2), linear("CAPACITY_PERCENT", 10)] {
            read(config).unwrap().check(&[4]).unwrap();
        }
    }

    #[test]
    fn members_that_contradict_each_other_are_refused() {
        let mut both = rolling(1, None);
        both["BlueGreenUpdatePolicy"] = canary("INSTANCE_COUNT", 1)["BlueGreenUpdatePolicy"].take();
        let routing = |kind: &str, more: Value| {
            let mut routing = json!({"Type": kind, "WaitIntervalInSeconds": 300});
            routing
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            routing
        };
        let one = size("INSTANCE_COUNT", 1);
        let times =
            json!({"TerminationWaitInSeconds": 300, "MaximumExecutionTimeoutInSeconds": 600});
        for (config, named) in [
            (both, "Only one"),
            (
                blue_green(routing("CANARY", json!({})), json!({})),
                "CanarySize",
            ),
            (
                blue_green(routing("LINEAR", json!({})), json!({})),
                "LinearStepSize",
            ),
            (
                blue_green(
                    routing("ALL_AT_ONCE", json!({"CanarySize": one})),
                    json!({}),
                ),
                "CanarySize",
            ),
            (
                blue_green(routing("ALL_AT_ONCE", json!({})), times),
                "MaximumExecutionTimeoutInSeconds",
            ),
            (
                json!({"AutoRollbackConfiguration": {"Alarms": [{}]}}),
                "AlarmName",
            ),
        ] {
            let error = read(config).unwrap_err();
            assert_eq!(error.code, "ValidationException");
            assert!(error.message.contains(named), "{error}");
        }
        let alarms = json!({"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "a"}]}});
        assert_eq!(read(alarms).unwrap().alarms, ["a"]);
    }
}
