//! A monitor as a Processing job of the analyzer's image, which EventBridge Scheduler starts (monitoring.yaml).

use anyhow::{Context as _, Result};
use jiff::{SignedDuration, Timestamp};
use mlops_core::error::{Failure, Hint};
use mlops_validation::capture::Window;
use mlops_validation::{Baseline, files};
use serde::Deserialize;

use super::MonitoringReport;
use super::publish::publish;
use super::run::{Comparison, compare};
use crate::aws::Clients;
use crate::aws::monitoring_store::{self, Store};
use crate::aws::s3;

/// The variable of the job with its settings, as JSON.
pub const VARIABLE: &str = "MLOPS_MONITOR";

/// The settings of a job.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The endpoint, which has the project's name.
    endpoint: String,
    /// The bucket of the captured traffic.
    capture_bucket: String,
    /// The bucket of baseline and results.
    artifact_bucket: String,
    /// Length of the window before `time`, in hours.
    hours: u32,
    /// When the job was due: the end of the window.
    time: Timestamp,
    /// Fewest rows with which a run without violations means something.
    minimum_records: u64,
}

/// The name of the data quality monitor of an endpoint, in metrics.
pub fn name(endpoint: &str) -> String {
    format!("{endpoint}-data-quality")
}

/// Compares the traffic of the window with the baseline in the artifact bucket, stores the result, and writes metrics.
///
/// # Errors
/// The settings are not valid, there is no baseline, no traffic, or a request fails.
pub async fn run(clients: &Clients, settings: &str) -> Result<MonitoringReport> {
    let settings: Settings = serde_json::from_str(settings)
        .map_err(|error| Failure::usage(format!("{VARIABLE} is not valid: {error}")))?;
    let endpoint = settings.endpoint.as_str();
    let store = Store::new(&settings.artifact_bucket, endpoint);
    let since = settings
        .time
        .checked_sub(SignedDuration::from_hours(i64::from(settings.hours)))
        .context("the window begins before all times")?;
    let (report, _) = compare(
        clients,
        Comparison {
            endpoint,
            traffic: &monitoring_store::captured(&settings.capture_bucket, endpoint),
            window: Window {
                since: Some(since),
                until: Some(settings.time),
            },
            baseline: baseline(clients, &store).await?,
            store: &store,
            minimum_records: settings.minimum_records,
            now: settings.time,
        },
    )
    .await?;
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
