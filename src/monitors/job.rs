//! A monitor as a Processing job of the analyzer's image, which EventBridge Scheduler starts (monitoring.yaml).

use std::collections::BTreeMap;
use std::str::FromStr;

use anyhow::{Context as _, Result};
use clap::ValueEnum as _;
use jiff::{SignedDuration, Timestamp};
use mlops_core::error::{Failure, Hint};
use mlops_core::quote;
use mlops_validation::capture::Window;
use mlops_validation::quality::{self, QualityConstraints};
use mlops_validation::{Baseline, Statistics, files};
use serde::de::DeserializeOwned;

use super::model_quality::{self, QualityComparison};
use super::publish::{self, publish};
use super::run::{Comparison, compare};
use super::{AnyReport, MonitorKind};
use crate::aws::Clients;
use crate::aws::monitoring_store::{self, Store};
use crate::aws::s3;
use crate::monitoring::MonitoringReport;
use crate::monitoring::model_quality::ModelQualityReport;

/// The variable with the kind of the monitor: only a job of the schedule has it.
pub const VARIABLE: &str = "MLOPS_MONITOR";

/// Captured traffic reaches S3 minutes after the request: each window ends this long before the job.
const LAG: SignedDuration = SignedDuration::from_mins(15);

/// The settings of a job, one variable each, because SageMaker limits the value of a variable to 256 characters.
#[derive(Debug)]
struct Settings {
    kind: MonitorKind,
    /// The endpoint, which has the project's name.
    endpoint: String,
    /// The bucket of the captured traffic.
    capture_bucket: String,
    /// The bucket of baseline and results.
    results_bucket: String,
    /// Length of the window, in hours.
    hours: u32,
    /// Hours between the window's end and the job, in addition to [`LAG`].
    delay: u32,
    /// When the job was due.
    time: Timestamp,
    /// Minimum rows for a run to count as healthy.
    minimum_records: u64,
}

impl Settings {
    fn read(environment: &BTreeMap<String, String>) -> Result<Self> {
        fn value<T: FromStr>(environment: &BTreeMap<String, String>, name: &str) -> Result<T> {
            let name = format!("{VARIABLE}_{name}");
            let text = environment.get(&name);
            let value = text.and_then(|text| text.parse().ok());
            value.ok_or_else(|| Failure::usage(format!("{name} is not set, or not valid")))
        }
        let kind = environment.get(VARIABLE).map_or("", String::as_str);
        let kind = MonitorKind::from_str(kind, false).map_err(|_| {
            let known = MonitorKind::value_variants().iter();
            let known: Vec<&str> = known.map(|kind| kind.as_str()).collect();
            let known = known.join(" or ");
            let kind = quote::short(kind);
            Failure::usage(format!("{VARIABLE} is `{kind}`; it can be {known}"))
        })?;
        Ok(Self {
            kind,
            endpoint: value(environment, "ENDPOINT")?,
            capture_bucket: value(environment, "CAPTURE")?,
            results_bucket: value(environment, "RESULTS")?,
            hours: value(environment, "HOURS")?,
            delay: if environment.contains_key("MLOPS_MONITOR_DELAY") {
                value(environment, "DELAY")?
            } else {
                0
            },
            time: value(environment, "TIME")?,
            minimum_records: value(environment, "MINIMUM")?,
        })
    }
}

impl Settings {
    /// The window of the job.
    fn window(&self) -> Result<Window> {
        let delay = LAG + SignedDuration::from_hours(self.delay.into());
        let until = self.time.checked_sub(delay);
        let length = SignedDuration::from_hours(self.hours.into());
        let until = until.context("the window is too early")?;
        Ok(Window {
            since: Some(
                until
                    .checked_sub(length)
                    .context("the window is too long")?,
            ),
            until: Some(until),
        })
    }
}

/// Runs the monitor that the variables describe on the traffic of its window, stores the result, and writes metrics.
/// Without traffic, the metrics still record the run.
///
/// # Errors
/// The settings are not valid, there is no baseline, or a request fails.
pub async fn run(clients: &Clients, environment: &BTreeMap<String, String>) -> Result<AnyReport> {
    let settings = Settings::read(environment)?;
    let endpoint = settings.endpoint.as_str();
    let window = settings.window()?;
    let store = settings.kind.store(&settings.results_bucket, endpoint);
    let traffic = monitoring_store::captured(&settings.capture_bucket, endpoint);
    let (report, data) = match settings.kind {
        MonitorKind::DataQuality => {
            let comparison = Comparison {
                endpoint,
                traffic: &traffic,
                window,
                baseline: Baseline {
                    constraints: required(clients, &store, files::CONSTRAINTS).await?,
                    statistics: stored::<Statistics>(clients, &store, files::STATISTICS).await?,
                },
                store: &store,
                minimum_records: settings.minimum_records,
                now: settings.time,
            };
            let compared = compare(clients, comparison).await?;
            let report = compared.map_or_else(
                || MonitoringReport::empty(endpoint).requiring(settings.minimum_records),
                |(report, _)| report,
            );
            let data = publish::data_quality(&report);
            (AnyReport::DataQuality(Box::new(report)), data)
        }
        MonitorKind::ModelQuality => {
            let quality =
                quality::Settings::parse(|name| environment.get(name).map(String::as_str));
            let baseline: QualityConstraints =
                required(clients, &store, files::CONSTRAINTS).await?;
            let comparison = QualityComparison {
                endpoint,
                traffic: &traffic,
                labels: &monitoring_store::labels(&settings.capture_bucket, endpoint),
                window,
                settings: &quality.map_err(Failure::usage)?,
                baseline: &baseline,
                store: &store,
                minimum_records: settings.minimum_records,
                now: settings.time,
            };
            let compared = model_quality::compare(clients, comparison).await?;
            let report = compared.map_or_else(
                || ModelQualityReport::empty(endpoint, settings.minimum_records),
                |(report, _)| report,
            );
            let data = publish::model_quality(&report);
            (AnyReport::ModelQuality(Box::new(report)), data)
        }
    };
    let monitor = settings.kind.monitor(endpoint);
    publish(clients, endpoint, &monitor, data, settings.time).await?;
    Ok(report)
}

/// Reads a file of the baseline that `mlops monitor enable` stored.
async fn stored<T: DeserializeOwned>(
    clients: &Clients,
    store: &Store,
    name: &str,
) -> Result<Option<T>> {
    let found = s3::get(&clients.s3, &store.baseline(name), None).await?;
    let parsed = found.map(|found| files::parse(name, &found.bytes));
    Ok(parsed.transpose()?)
}

async fn required<T: DeserializeOwned>(clients: &Clients, store: &Store, name: &str) -> Result<T> {
    stored(clients, store, name)
        .await?
        .with_context(|| format!("there is no {}", store.baseline(name)))
        .hint("`mlops monitor enable` stores the project's baseline there")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(changes: &[(&str, &str)]) -> BTreeMap<String, String> {
        let mut all: BTreeMap<String, String> = [
            ("MLOPS_MONITOR", "data-quality"),
            ("MLOPS_MONITOR_ENDPOINT", "flights"),
            ("MLOPS_MONITOR_CAPTURE", "c"),
            ("MLOPS_MONITOR_RESULTS", "r"),
            ("MLOPS_MONITOR_HOURS", "24"),
            ("MLOPS_MONITOR_TIME", "2026-11-30T12:00:00Z"),
            ("MLOPS_MONITOR_MINIMUM", "20"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        for (name, value) in changes {
            all.insert((*name).to_owned(), (*value).to_owned());
        }
        all
    }

    #[test]
    fn a_setting_that_is_not_valid_is_named() {
        let settings = Settings::read(&environment(&[])).unwrap();
        assert_eq!((settings.hours, settings.delay), (24, 0));
        let at = |text: &str| Some(text.parse().unwrap());
        let delayed = Settings::read(&environment(&[("MLOPS_MONITOR_DELAY", "48")])).unwrap();
        let window = Window {
            since: at("2026-11-27T11:45:00Z"),
            until: at("2026-11-28T11:45:00Z"),
        };
        assert_eq!(delayed.window().unwrap(), window);
        let late = environment(&[("MLOPS_MONITOR_DELAY", "4294967295")]);
        assert!(Settings::read(&late).unwrap().window().is_err());
        for (name, value) in [
            ("MLOPS_MONITOR", "mood"),
            ("MLOPS_MONITOR_HOURS", "daily"),
            ("MLOPS_MONITOR_DELAY", "late"),
            ("MLOPS_MONITOR_TIME", "noon"),
        ] {
            let error = Settings::read(&environment(&[(name, value)])).unwrap_err();
            assert!(error.to_string().starts_with(name), "{error}");
        }
    }
}
