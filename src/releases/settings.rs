//! The deployment settings of a release: how they fit together, and the parameters of endpoint.yaml that
//! they become.

use anyhow::Result;
use mlops_core::error::{Failure, Hint};
use serde::{Deserialize, Serialize};

use crate::config::{
    AlarmSection, AutoscalingSection, ChallengerSection, DeploySection, StepSize, Strategy,
};

/// Maximum number of alarms of a deployment; SageMaker's limit.
const MAX_ALARMS: usize = 10;

/// Maximum number of alarms by name, with which the list of names is padded to a fixed length: a template
/// selects its items by number.
pub const CUSTOM_ALARMS: usize = 8;

/// The shortest time in which an alarm is evaluated with data of the new instances, in seconds: the period of
/// the alarms of endpoint.yaml.
const SHORTEST_BAKE: u32 = 60;

/// The value of a parameter that is not used. Parameters cannot be absent.
pub const NONE: &str = "none";

/// The settings of one release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The endpoint's instance type.
    pub instance_type: String,
    /// The number of instances.
    pub instance_count: u32,
    /// Share of requests to capture, in percent.
    pub capture_percent: u32,
    /// How traffic moves to the release.
    pub strategy: Strategy,
    /// The part of the capacity that moves first; null if all of it does.
    pub step: Option<StepSize>,
    /// Time to watch the alarms after each step, in seconds.
    pub bake_seconds: u32,
    /// The alarms that roll the deployment back.
    pub alarms: AlarmSection,
    /// Automatic scaling.
    pub autoscaling: Option<AutoscalingSection>,
    /// A second version that receives a share of the requests.
    pub challenger: Option<ChallengerSection>,
}

impl Settings {
    /// Returns the settings of `mlops.toml`, with the strategy of a flag.
    ///
    /// # Errors
    /// They do not fit together, so AWS would refuse the deployment (exit 2).
    pub fn of(section: &DeploySection, strategy: Option<Strategy>) -> Result<Self> {
        let strategy = strategy.unwrap_or(section.strategy);
        let step = (strategy != Strategy::AllAtOnce)
            .then(|| section.step.unwrap_or(StepSize::Instances(1)));
        let settings = Self {
            instance_type: section.instance_type.clone(),
            instance_count: section.instance_count,
            capture_percent: section.capture_percent,
            strategy,
            step,
            bake_seconds: section.bake_seconds,
            alarms: section.alarms.clone(),
            autoscaling: section.autoscaling.clone(),
            challenger: section.challenger.clone(),
        };
        match settings.problem() {
            None => Ok(settings),
            Some((problem, hint)) => Err(Failure::usage(problem)).hint(hint),
        }
    }

    /// Returns what AWS would refuse or what would have no effect, and what to change in mlops.toml.
    fn problem(&self) -> Option<(String, String)> {
        self.step_problem()
            .or_else(|| self.alarm_problem())
            .or_else(|| self.scaling_problem())
    }

    /// Returns why the step does not fit the instances, of which automatic scaling changes the number.
    fn step_problem(&self) -> Option<(String, String)> {
        let step = self.step?;
        let word = self.strategy.as_str();
        let count = self.instance_count;
        let (fewest, most) = match &self.autoscaling {
            Some(scaling) => (count.min(scaling.min), count.max(scaling.max)),
            None => (count, count),
        };
        if fewest < 2 {
            let (has, which) = if count < 2 {
                (format!("the endpoint has {count}"), "deploy.instance_count")
            } else {
                (
                    format!("automatic scaling may leave {fewest}"),
                    "deploy.autoscaling.min",
                )
            };
            return Some((
                format!("the strategy {word} needs at least 2 instances, and {has}"),
                format!("set {which} to 2 or more, or deploy.strategy to \"all-at-once\""),
            ));
        }
        let least_share = match self.strategy {
            Strategy::AllAtOnce | Strategy::Canary => 1,
            Strategy::Linear => 10,
            Strategy::Rolling => 5,
        };
        let shares = format!("\"{least_share}%\" to \"50%\"");
        let (fits, limit) = match step {
            StepSize::Percent(share) => ((least_share..=50).contains(&share), shares),
            StepSize::Instances(instances) => {
                // A canary of a few instances may be less than a percent.
                let least = match self.strategy {
                    Strategy::AllAtOnce | Strategy::Canary => 1,
                    Strategy::Linear | Strategy::Rolling => {
                        most.saturating_mul(least_share).div_ceil(100)
                    }
                };
                let largest = fewest / 2;
                let instances_text = if fewest == most {
                    format!("{fewest} instances")
                } else {
                    format!("{fewest} to {most} instances")
                };
                let limit = if least <= largest {
                    format!("{least} to {largest} of {instances_text}")
                } else {
                    shares
                };
                ((least..=largest).contains(&instances), limit)
            }
        };
        (!fits).then(|| {
            (
                format!("a step of {step} is not possible with the strategy {word}"),
                format!("set deploy.step to {limit}"),
            )
        })
    }

    /// Returns why the alarms cannot roll a deployment back.
    fn alarm_problem(&self) -> Option<(String, String)> {
        let custom = &self.alarms.custom;
        let alarms = self.alarm_count();
        if alarms > 0 && self.bake_seconds < SHORTEST_BAKE {
            return Some((
                format!(
                    "deploy.alarms has no effect with a deploy.bake_seconds of {}: an alarm needs a minute to \
                     notice the new instances",
                    self.bake_seconds
                ),
                format!(
                    "set deploy.bake_seconds to {SHORTEST_BAKE} or more (300 is usual), or remove the alarms"
                ),
            ));
        }
        if alarms > MAX_ALARMS || custom.len() > CUSTOM_ALARMS {
            return Some((
                format!(
                    "deploy.alarms has {alarms} alarms, and a deployment watches at most {MAX_ALARMS}, \
                     {CUSTOM_ALARMS} of them by name"
                ),
                "combine alarms into a composite alarm, and name that one".to_owned(),
            ));
        }
        if let Some(twice) = custom
            .iter()
            .enumerate()
            .find(|(index, name)| custom[..*index].contains(name))
        {
            return Some((
                format!("deploy.alarms.custom names {} twice", twice.1),
                "remove one of them".to_owned(),
            ));
        }
        None
    }

    /// Returns why automatic scaling cannot start with the number of instances.
    fn scaling_problem(&self) -> Option<(String, String)> {
        let scaling = self.autoscaling.as_ref()?;
        let count = self.instance_count;
        (!(scaling.min..=scaling.max).contains(&count)).then(|| {
            (
                format!(
                    "deploy.instance_count is {count}, outside of deploy.autoscaling ({} to {})",
                    scaling.min, scaling.max
                ),
                "start with a number of instances between min and max".to_owned(),
            )
        })
    }

    /// Returns the number of alarms that the deployment watches.
    pub fn alarm_count(&self) -> usize {
        let own = [
            self.alarms.errors_5xx.is_some(),
            self.alarms.latency_ms.is_some(),
        ];
        own.into_iter().filter(|is_set| *is_set).count() + self.alarms.custom.len()
    }

    /// Returns the names of the alarms that the deployment of an endpoint watches; endpoint.yaml creates the
    /// first two.
    pub fn alarm_names(&self, endpoint: &str) -> Vec<String> {
        let own = [
            (self.alarms.errors_5xx, "errors-5xx"),
            (self.alarms.latency_ms, "latency"),
        ];
        own.into_iter()
            .filter(|(limit, _)| limit.is_some())
            .map(|(_, name)| format!("{endpoint}-endpoint-{name}"))
            .chain(self.alarms.custom.iter().cloned())
            .collect()
    }

    /// Returns the parameters of endpoint.yaml.
    pub fn parameters(&self) -> Vec<(&'static str, String)> {
        let number = |value: Option<u32>| value.map_or_else(|| NONE.to_owned(), |n| n.to_string());
        let scaling = self.autoscaling.as_ref();
        let percent = self.challenger.as_ref().map_or(0, |other| other.percent);
        let (kind, size) = match self.step {
            Some(StepSize::Percent(share)) => ("CAPACITY_PERCENT", share),
            Some(StepSize::Instances(count)) => ("INSTANCE_COUNT", count),
            None => ("INSTANCE_COUNT", 1),
        };
        let mut custom = self.alarms.custom.clone();
        custom.resize(CUSTOM_ALARMS, NONE.to_owned());
        vec![
            ("InstanceType", self.instance_type.clone()),
            ("InstanceCount", self.instance_count.to_string()),
            ("CapturePercent", self.capture_percent.to_string()),
            ("Strategy", self.strategy.as_str().to_owned()),
            ("StepType", kind.to_owned()),
            ("StepSize", size.to_string()),
            ("BakeSeconds", self.bake_seconds.to_string()),
            ("Errors5xx", number(self.alarms.errors_5xx)),
            (
                "LatencyMicroseconds",
                number(
                    self.alarms
                        .latency_ms
                        .map(|limit| limit.saturating_mul(1000)),
                ),
            ),
            ("CustomAlarms", custom.join(",")),
            ("Guard", "on".to_owned()),
            ("MinInstances", number(scaling.map(|scaling| scaling.min))),
            ("MaxInstances", number(scaling.map(|scaling| scaling.max))),
            (
                "InvocationsPerInstance",
                number(scaling.map(|scaling| scaling.invocations_per_instance)),
            ),
            ("MainWeight", (100 - percent).to_string()),
            ("ChallengerWeight", percent.to_string()),
        ]
    }

    /// Describes the strategy: `canary of 10%, 300 s after each step`.
    pub fn strategy_text(&self) -> String {
        let mut text = self.strategy.as_str().to_owned();
        if let Some(step) = self.step {
            text.push_str(&format!(", steps of {step}"));
        }
        if self.bake_seconds > 0 {
            text.push_str(&format!(", bakes {} s", self.bake_seconds));
        }
        text
    }

    /// Lists the alarms: `5xx >= 5, latency >= 200 ms, flights-drift`; `none`.
    pub fn alarm_text(&self) -> String {
        let own = [
            self.alarms
                .errors_5xx
                .map(|count| format!("5xx >= {count}/min")),
            self.alarms
                .latency_ms
                .map(|limit| format!("latency >= {limit} ms")),
        ];
        let all: Vec<String> = own
            .into_iter()
            .flatten()
            .chain(self.alarms.custom.iter().cloned())
            .collect();
        if all.is_empty() {
            NONE.to_owned()
        } else {
            all.join(", ")
        }
    }

    /// Describes the instances: `2 x ml.m5.large, scales 1 to 4`.
    pub fn instance_text(&self) -> String {
        let mut text = format!("{} x {}", self.instance_count, self.instance_type);
        if let Some(scaling) = &self.autoscaling {
            text.push_str(&format!(", scales {} to {}", scaling.min, scaling.max));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Result<Settings> {
        let section: DeploySection = toml::from_str(text).unwrap();
        Settings::of(&section, None)
    }

    #[test]
    fn combinations_that_aws_refuses_are_refused_before_anything_starts() {
        let names: Vec<String> = (0..9).map(|n| format!("\"a{n}\"")).collect();
        let nine = format!("bake_seconds = 60\nalarms.custom = [{}]", names.join(", "));
        let ten = format!(
            "bake_seconds = 60\nalarms = {{errors_5xx = 1, latency_ms = 1, custom = [{}]}}",
            names[..8].join(", ")
        );
        for (text, reason) in [
            ("strategy = \"canary\"", "at least 2 instances"),
            (
                "strategy = \"canary\"\ninstance_count = 1\nstep = \"10%\"",
                "at least 2 instances",
            ),
            (
                "strategy = \"canary\"\ninstance_count = 4\nstep = \"51%\"",
                "a step of 51%",
            ),
            (
                "strategy = \"canary\"\ninstance_count = 4\nstep = 3",
                "a step of 3 instances",
            ),
            (
                "strategy = \"linear\"\ninstance_count = 4\nstep = \"5%\"",
                "a step of 5%",
            ),
            (
                "strategy = \"rolling\"\ninstance_count = 4\nstep = \"4%\"",
                "a step of 4%",
            ),
            (nine.as_str(), "9 alarms"),
            ("bake_seconds = 60\nalarms.custom = [\"a\", \"a\"]", "twice"),
            ("alarms.errors_5xx = 1", "no effect"),
            ("bake_seconds = 59\nalarms.custom = [\"a\"]", "no effect"),
            (
                "strategy = \"linear\"\ninstance_count = 11",
                "a step of 1 instance",
            ),
            (
                "strategy = \"rolling\"\ninstance_count = 21",
                "a step of 1 instance",
            ),
            (
                "strategy = \"canary\"\ninstance_count = 2\n\
                 autoscaling = {min = 1, max = 4, invocations_per_instance = 9}",
                "automatic scaling may leave 1",
            ),
            (
                "strategy = \"canary\"\ninstance_count = 4\nstep = 2\n\
                 autoscaling = {min = 2, max = 4, invocations_per_instance = 9}",
                "a step of 2 instances",
            ),
            (
                "strategy = \"linear\"\ninstance_count = 4\n\
                 autoscaling = {min = 2, max = 11, invocations_per_instance = 9}",
                "a step of 1 instance",
            ),
            (
                "instance_count = 5\nautoscaling = {min = 1, max = 4, invocations_per_instance = 9}",
                "outside of",
            ),
        ] {
            let error = settings(text).unwrap_err();
            assert!(error.to_string().contains(reason), "{text}: {error}");
            assert_eq!(
                mlops_core::error::exit(&error),
                mlops_core::error::Exit::Usage
            );
        }
        assert_eq!(settings(&ten).unwrap().alarm_count(), 10);
        for fits in [
            "strategy = \"canary\"\ninstance_count = 200",
            "strategy = \"linear\"\ninstance_count = 11\nstep = 2",
            "strategy = \"rolling\"\ninstance_count = 20",
        ] {
            settings(fits).unwrap();
        }
        let canary = settings("strategy = \"canary\"\ninstance_count = 2\nstep = \"50%\"").unwrap();
        assert_eq!(canary.strategy_text(), "canary, steps of 50%");
        // A flag may choose a strategy that needs no step.
        let section: DeploySection =
            toml::from_str("strategy = \"canary\"\nstep = \"50%\"").unwrap();
        assert_eq!(
            Settings::of(&section, Some(Strategy::AllAtOnce))
                .unwrap()
                .step,
            None
        );
    }

    #[test]
    fn every_parameter_has_a_value() {
        let settings = settings("").unwrap();
        for (name, value) in settings.parameters() {
            assert!(!value.is_empty(), "{name}");
        }
        let parameters = settings.parameters();
        let custom = parameters.iter().find(|(name, _)| *name == "CustomAlarms");
        assert_eq!(custom.unwrap().1.split(',').count(), CUSTOM_ALARMS);
    }
}
