//! `[deploy]` of `mlops.toml`: what a release of the model runs on, how its traffic is shifted, and when it
//! is rolled back.
//!
//! Each value is checked here, when the file is read. How the values fit together (a canary of 60 %, one
//! instance with a share in percent) depends on flags too: `releases::settings` checks that.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use mlops_core::error::Failure;
use mlops_core::names::Version;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `[deploy]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeploySection {
    /// The endpoint's instance type.
    pub instance_type: String,
    /// The number of instances.
    pub instance_count: u32,
    /// Share of requests to capture, in percent.
    pub capture_percent: u32,
    /// A file with a request body that `promote` sends once, relative to the project.
    pub sample: Option<PathBuf>,
    /// How traffic moves to a new release.
    pub strategy: Strategy,
    /// The part of the capacity that a canary, a linear step or a rolling batch has.
    pub step: Option<StepSize>,
    /// Time in seconds to watch the alarms after each step, before the next one.
    pub bake_seconds: u32,
    /// The number of earlier releases whose models and configurations are kept.
    pub keep: u32,
    /// The alarms that roll a deployment back.
    pub alarms: AlarmSection,
    /// Automatic scaling of the number of instances.
    pub autoscaling: Option<AutoscalingSection>,
    /// A second version that receives a share of the requests.
    pub challenger: Option<ChallengerSection>,
    /// What the response to the sample must look like.
    pub expect: ExpectSection,
    /// For `promote --if-better`: whether a lower or a higher value of a metric is better.
    pub metrics: BTreeMap<String, Better>,
}

impl Default for DeploySection {
    fn default() -> Self {
        Self {
            instance_type: "ml.m5.large".to_owned(),
            instance_count: 1,
            capture_percent: 100,
            sample: None,
            strategy: Strategy::default(),
            step: None,
            bake_seconds: 0,
            keep: 3,
            alarms: AlarmSection::default(),
            autoscaling: None,
            challenger: None,
            expect: ExpectSection::default(),
            metrics: BTreeMap::new(),
        }
    }
}

/// Maximum wait between two steps, in seconds; SageMaker's limit.
const LONGEST_BAKE: u32 = 3600;

impl DeploySection {
    /// Checks the ranges of single values.
    pub(super) fn check(&self) -> Result<(), String> {
        let alarms = &self.alarms;
        let checks = [
            (
                self.capture_percent <= 100,
                "deploy.capture_percent is a share in percent, at most 100",
            ),
            (
                self.instance_count > 0,
                "deploy.instance_count is at least 1",
            ),
            (
                self.bake_seconds <= LONGEST_BAKE,
                "deploy.bake_seconds is at most 3600",
            ),
            (
                alarms.errors_5xx != Some(0),
                "deploy.alarms.errors_5xx is at least 1",
            ),
            (
                alarms.latency_ms != Some(0),
                "deploy.alarms.latency_ms is at least 1",
            ),
            (
                alarms.custom.iter().all(|name| is_alarm_name(name)),
                "deploy.alarms.custom has names of alarms: 1 to 255 characters, without commas",
            ),
            (
                self.autoscaling.as_ref().is_none_or(|scaling| {
                    scaling.min > 0
                        && scaling.min <= scaling.max
                        && scaling.invocations_per_instance > 0
                }),
                "deploy.autoscaling needs min >= 1, max >= min and invocations_per_instance >= 1",
            ),
            (
                self.challenger
                    .as_ref()
                    .is_none_or(|other| (1..=50).contains(&other.percent)),
                "deploy.challenger.percent is a share of the requests from 1 to 50",
            ),
            (
                self.expect
                    .status
                    .is_none_or(|status| status == 200 || (300..=599).contains(&status)),
                // SageMaker does not report which 2xx status the container returned.
                "deploy.expect.status is 200 (for any 2xx), or an HTTP status from 300 to 599",
            ),
            (
                self.sample.is_some() || self.expect == ExpectSection::default(),
                "deploy.expect has no effect without deploy.sample, the request that is sent",
            ),
            (
                self.expect
                    .json
                    .as_ref()
                    .is_none_or(|pointer| pointer.is_empty() || pointer.starts_with('/')),
                "deploy.expect.json is a JSON pointer such as /predictions/0",
            ),
            (
                !matches!((self.expect.min, self.expect.max), (Some(min), Some(max)) if min > max),
                "deploy.expect.min is greater than deploy.expect.max",
            ),
        ];
        match checks.iter().find(|(holds, _)| !holds) {
            Some((_, problem)) => Err((*problem).to_owned()),
            None => Ok(()),
        }
    }
}

/// The template passes the names as one list.
fn is_alarm_name(name: &str) -> bool {
    (1..=255).contains(&name.chars().count()) && !name.contains(',') && name != "none"
}

/// How traffic moves from the old release to the new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// All requests at once, when the new instances are healthy
    #[default]
    AllAtOnce,
    /// A part of the requests first, the rest after the bake time
    Canary,
    /// In equal steps, with a bake time after each
    Linear,
    /// Replace instances in batches, with a bake time after each
    Rolling,
}

impl Strategy {
    /// Returns the name in mlops.toml.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AllAtOnce => "all-at-once",
            Self::Canary => "canary",
            Self::Linear => "linear",
            Self::Rolling => "rolling",
        }
    }
}

/// A part of the endpoint's capacity: `"10%"`, or a number of instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepSize {
    /// A share of the instances, in percent.
    Percent(u32),
    /// A number of instances.
    Instances(u32),
}

impl fmt::Display for StepSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent(share) => write!(f, "{share}%"),
            Self::Instances(1) => f.write_str("1 instance"),
            Self::Instances(count) => write!(f, "{count} instances"),
        }
    }
}

impl FromStr for StepSize {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || {
            Failure::usage(format!(
                "`{text}` is neither a share (\"10%\") nor a number of instances (1)"
            ))
        };
        let (digits, is_share) = match text.strip_suffix('%') {
            Some(digits) => (digits, true),
            None => (text, false),
        };
        let number: u32 = digits.trim().parse().map_err(|_| wrong())?;
        match (number, is_share) {
            (0, _) => Err(wrong()),
            (share, true) if share <= 100 => Ok(Self::Percent(share)),
            (_, true) => Err(wrong()),
            (count, false) => Ok(Self::Instances(count)),
        }
    }
}

impl Serialize for StepSize {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Percent(share) => to.serialize_str(&format!("{share}%")),
            Self::Instances(count) => to.serialize_u32(*count),
        }
    }
}

impl<'de> Deserialize<'de> for StepSize {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u32),
            Text(String),
        }

        let text = match Written::deserialize(from)? {
            Written::Number(number) => number.to_string(),
            Written::Text(text) => text,
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// `[deploy.alarms]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AlarmSection {
    /// Responses with status 5xx in one minute that trigger the alarm.
    pub errors_5xx: Option<u32>,
    /// Average model latency in one minute that triggers the alarm, in milliseconds.
    pub latency_ms: Option<u32>,
    /// Names of other alarms of the account.
    pub custom: Vec<String>,
}

/// `[deploy.autoscaling]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AutoscalingSection {
    /// The smallest number of instances.
    pub min: u32,
    /// The largest number of instances.
    pub max: u32,
    /// Requests per instance and minute to aim at.
    pub invocations_per_instance: u32,
}

/// `[deploy.challenger]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChallengerSection {
    /// The version of the model.
    pub version: Version,
    /// Its share of the requests, in percent.
    pub percent: u32,
}

/// `[deploy.expect]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExpectSection {
    /// The HTTP status; 200 is any 2xx [default: any 2xx].
    pub status: Option<u16>,
    /// The content type, without parameters.
    pub content_type: Option<String>,
    /// A JSON pointer to a value that the response must have.
    pub json: Option<String>,
    /// The smallest value: of the number at `json`, or of the first number of the response.
    pub min: Option<f64>,
    /// The largest value.
    pub max: Option<f64>,
}

/// Which value of a metric is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// An error: lower values are better.
    Lower,
    /// A score: higher values are better.
    Higher,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(text: &str) -> Result<DeploySection, String> {
        let section: DeploySection = toml::from_str(text).map_err(|error| error.to_string())?;
        section.check().map(|()| section)
    }

    #[test]
    fn a_step_is_a_share_or_a_number_of_instances() {
        let step = |text: &str| section(&format!("step = {text}\n")).map(|section| section.step);
        assert_eq!(step("\"10%\"").unwrap(), Some(StepSize::Percent(10)));
        assert_eq!(step("2").unwrap(), Some(StepSize::Instances(2)));
        for bad in ["0", "\"101%\"", "\"ten\"", "1.5", "true"] {
            assert!(step(bad).is_err(), "{bad}");
        }
        let shown = toml::to_string(&section("step = \"10%\"\n").unwrap()).unwrap();
        assert_eq!(section(&shown).unwrap().step, Some(StepSize::Percent(10)));
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for bad in [
            "capture_percent = 101",
            "instance_count = 0",
            "bake_seconds = 3601",
            "alarms.errors_5xx = 0",
            "alarms.latency_ms = 0",
            "alarms.custom = [\"a,b\"]",
            "autoscaling = {min = 2, max = 1, invocations_per_instance = 10}",
            "challenger = {version = 1, percent = 51}",
            "sample = \"a\"\nexpect.status = 20",
            "sample = \"a\"\nexpect.status = 201",
            "sample = \"a\"\nexpect.json = \"a\"",
            "sample = \"a\"\nexpect = {min = 2.0, max = 1.0}",
            "expect = {min = 0.0}",
            "strategy = \"blue\"",
            "metrics.rmse = \"up\"",
        ] {
            assert!(section(bad).is_err(), "{bad}");
        }
        let all = "strategy = \"canary\"\nsample = \"a\"\nmetrics.rmse = \"lower\"\nexpect = {min = 0.0, max = 1.0}\n\
                   alarms.custom = [\"a\"]\nautoscaling = {min = 1, max = 4, invocations_per_instance = 9}\n";
        section(all).unwrap();
    }
}
