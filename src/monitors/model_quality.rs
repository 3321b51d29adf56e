//! Compares predictions with labels, and stores the result.
//!
//! ```text
//! captured objects of the window ─┬─ join, metrics ── check against the baseline ── report
//! labels since its beginning ─────┘                          └── files of the run in the artifact bucket
//! ```

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};
use mlops_validation::capture::Window;
use mlops_validation::quality::{self, Data, QualityConstraints, QualityReport, Settings};
use mlops_validation::{Source, Violations, files};

use super::run::{BASELINE_CONSTRAINTS, run_name};
use crate::aws::monitoring_store::Store;
use crate::aws::s3::S3Uri;
use crate::aws::{Clients, capture};
use crate::monitoring::model_quality::{Join, ModelQualityReport, QualityFiles};

/// The counts of the join, and what could not be checked.
pub const JOIN: &str = "join.json";

/// Labels are stored by the hour of the machine that pushed them, whose clock may be slow.
const SKEW: SignedDuration = SignedDuration::from_hours(24);

/// What to compare.
#[derive(Debug)]
pub struct QualityComparison<'a> {
    /// The endpoint.
    pub endpoint: &'a str,
    /// Where the results are.
    pub store: &'a Store,
    /// Where the traffic was captured.
    pub traffic: &'a S3Uri,
    /// Where the labels are.
    pub labels: &'a S3Uri,
    /// The time of the predictions.
    pub window: Window,
    /// What to compute.
    pub settings: &'a Settings,
    /// The limits.
    pub baseline: &'a QualityConstraints,
    /// Minimum rows for a run to count as healthy.
    pub minimum_records: u64,
    /// The time of the run, which names it.
    pub now: Timestamp,
}

/// Computes the quality of the window's predictions; `None` if there are none.
///
/// # Errors
/// Something cannot be read, or the baseline does not fit the problem type.
pub async fn analyse(
    clients: &Clients,
    (traffic, labels): (&S3Uri, &S3Uri),
    window: Window,
    settings: &Settings,
    baseline: Option<&QualityConstraints>,
) -> Result<Option<QualityReport>> {
    let sources = async |address: &S3Uri, window: Window| -> Result<Vec<Source>> {
        let mut objects = capture::objects(clients, address).await?;
        objects.retain(|object| window.may_hold(&object.key));
        let sources = objects.iter().map(|object| {
            Source::stream(object.to_string(), capture::opener(clients, object, None))
        });
        Ok(sources.collect())
    };
    // A label is later than its prediction, however late.
    let since = Window {
        since: window.since.and_then(|since| since.checked_sub(SKEW).ok()),
        until: None,
    };
    let (captures, labels) = futures::try_join!(sources(traffic, window), sources(labels, since))?;
    if captures.is_empty() {
        return Ok(None);
    }
    let (settings, baseline) = (settings.clone(), baseline.cloned());
    let report = tokio::task::spawn_blocking(move || {
        let data = Data::Captures { captures, labels };
        quality::analyse(&settings, data, window, baseline.as_ref())
    });
    let report = report.await??;
    let counts = &report.counts;
    let is_empty = counts.predictions == 0 && counts.unreadable_predictions == 0;
    Ok((!is_empty).then_some(report))
}

/// Compares predictions with labels and stores the result; returns the report and the name of the run, or `None` if the
/// window has no predictions.
///
/// # Errors
/// Something cannot be read, checked or written.
pub async fn compare(
    clients: &Clients,
    comparison: QualityComparison<'_>,
) -> Result<Option<(ModelQualityReport, String)>> {
    let QualityComparison {
        store, baseline, ..
    } = &comparison;
    let addresses = (comparison.traffic, comparison.labels);
    let (window, settings) = (comparison.window, comparison.settings);
    let analysed = analyse(clients, addresses, window, settings, Some(baseline)).await?;
    let Some(quality) = analysed else {
        return Ok(None);
    };
    let run = run_name(comparison.now);
    let violations = quality.violations.unwrap_or_default();
    let join = Join {
        counts: quality.counts,
        violated: quality.violated,
        unchecked: quality.unchecked,
    };
    // The violations are written last: a run that has them is complete.
    for (name, bytes) in [
        (JOIN, files::render(&join)?),
        (BASELINE_CONSTRAINTS, files::render(baseline)?),
        (files::STATISTICS, files::render(&quality.statistics)?),
        (files::CONSTRAINTS, files::render(&quality.constraints)?),
        (files::VIOLATIONS, files::render(&violations)?),
    ] {
        store.put(clients, &run, name, bytes).await?;
    }
    let files = QualityFiles {
        statistics: &quality.statistics,
        baseline,
        violations: violations.violations,
        join,
    };
    let minimum = comparison.minimum_records;
    let report = ModelQualityReport::new(comparison.endpoint, &run, files, minimum);
    Ok(Some((report, run)))
}

/// Reads the report of a run.
///
/// # Errors
/// A file cannot be read or parsed, or is missing.
pub async fn read(
    clients: &Clients,
    store: &Store,
    endpoint: &str,
    run: &str,
    minimum_records: u64,
) -> Result<ModelQualityReport> {
    let get = async |name: &str| store.require(clients, run, name).await;
    let statistics = files::parse(files::STATISTICS, &get(files::STATISTICS).await?)?;
    let baseline = files::parse(BASELINE_CONSTRAINTS, &get(BASELINE_CONSTRAINTS).await?)?;
    let violations: Violations = files::parse(files::VIOLATIONS, &get(files::VIOLATIONS).await?)?;
    let join = files::parse(JOIN, &get(JOIN).await?)?;
    let files = QualityFiles {
        statistics: &statistics,
        baseline: &baseline,
        violations: violations.violations,
        join,
    };
    Ok(ModelQualityReport::new(
        endpoint,
        run,
        files,
        minimum_records,
    ))
}
