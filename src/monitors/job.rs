//! A monitor as a Processing job of the analyzer's image, which EventBridge Scheduler starts (monitoring.yaml).

use std::collections::BTreeMap;
use std::str::FromStr;

use anyhow::{Context as _, Result};
use jiff::{SignedDuration, Timestamp};
use mlops_core::error::{Failure, Hint};
use mlops_core::quote;
use mlops_validation::capture::Window;
use mlops_validation::{Baseline, files};

use super::publish::publish;
use super::run::{Comparison, compare};
use crate::aws::Clients;
use crate::aws::monitoring_store::{self, Store};
use crate::aws::s3;
use crate::monitoring::MonitoringReport;

/// The variable with the kind of the monitor: only a job of the schedule has it.
pub const VARIABLE: &str = "MLOPS_MONITOR";

/// Captured traffic reaches S3 minutes after the request: each window ends this long before the job.
const LAG: SignedDuration = SignedDuration::from_mins(15);

/// The settings of a job. Each is a variable of its own, because SageMaker allows 256 characters for one.
#[derive(Debug)]
struct Settings {
    /// The endpoint, which has the project's name.
    endpoint: String,
    /// The bucket of the captured traffic.
    capture_bucket: String,
    /// The bucket of baseline and results.
    results_bucket: String,
    /// Length of the window, in hours.
    hours: u32,
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
        if kind != "data-quality" {
            return Err(Failure::usage(format!(
                "{VARIABLE} is `{}`; it can be data-quality",
                quote::short(kind)
            )));
        }
        Ok(Self {
            endpoint: value(environment, "ENDPOINT")?,
            capture_bucket: value(environment, "CAPTURE")?,
            results_bucket: value(environment, "RESULTS")?,
            hours: value(environment, "HOURS")?,
            time: value(environment, "TIME")?,
            minimum_records: value(environment, "MINIMUM")?,
        })
    }
}

/// The name of the data quality monitor of an endpoint, in metrics.
pub fn name(endpoint: &str) -> String {
    format!("{endpoint}-data-quality")
}

/// Compares the traffic of the window with the baseline in the artifact bucket, stores the result, and writes metrics.
/// Without traffic, the metrics still record the run.
///
/// # Errors
/// The settings are not valid, there is no baseline, or a request fails.
pub async fn run(
    clients: &Clients,
    environment: &BTreeMap<String, String>,
) -> Result<MonitoringReport> {
    let settings = Settings::read(environment)?;
    let endpoint = settings.endpoint.as_str();
    let store = Store::new(&settings.results_bucket, endpoint);
    let until = settings.time - LAG;
    let window = Window {
        since: Some(until - SignedDuration::from_hours(i64::from(settings.hours))),
        until: Some(until),
    };
    let compared = compare(
        clients,
        Comparison {
            endpoint,
            traffic: &monitoring_store::captured(&settings.capture_bucket, endpoint),
            window,
            baseline: baseline(clients, &store).await?,
            store: &store,
            minimum_records: settings.minimum_records,
            now: settings.time,
        },
    )
    .await?;
    let report = match compared {
        Some((report, _)) => report,
        None => MonitoringReport::empty(endpoint).requiring(settings.minimum_records),
    };
    publish(clients, &report, &name(endpoint), settings.time).await?;
    Ok(report)
}

/// Reads the baseline that `mlops monitor enable` stored.
async fn baseline(clients: &Clients, store: &Store) -> Result<Baseline> {
    let read = async |name: &str| s3::get(&clients.s3, &store.baseline(name), None).await;
    let (constraints, statistics) =
        futures::try_join!(read(files::CONSTRAINTS), read(files::STATISTICS))?;
    let constraints = constraints
        .with_context(|| format!("there is no {}", store.baseline(files::CONSTRAINTS)))
        .hint("`mlops monitor enable` stores the project's baseline there")?;
    Ok(Baseline {
        constraints: files::parse(files::CONSTRAINTS, &constraints.bytes)?,
        statistics: statistics
            .map(|found| files::parse(files::STATISTICS, &found.bytes))
            .transpose()?,
    })
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
        assert_eq!(Settings::read(&environment(&[])).unwrap().hours, 24);
        for (name, value) in [
            ("MLOPS_MONITOR", "mood"),
            ("MLOPS_MONITOR_HOURS", "daily"),
            ("MLOPS_MONITOR_TIME", "noon"),
        ] {
            let error = Settings::read(&environment(&[(name, value)])).unwrap_err();
            assert!(error.to_string().starts_with(name), "{error}");
        }
    }
}
