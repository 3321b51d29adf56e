//! Compares captured traffic with a baseline, and stores the result.
//!
//! ```text
//! captured objects of the window ── profile ── check against the baseline ── report
//!                                                      └── files of the run in the artifact bucket
//! ```

use anyhow::Result;
use jiff::Timestamp;
use mlops_core::error::{Exit, Failure};
use mlops_validation::capture::{Window, profile_readable};
use mlops_validation::statistics::Dataset;
use mlops_validation::{
    self as validation, Baseline, Constraints, Source, Statistics, Violations, files,
};

use crate::aws::monitoring_store::Store;
use crate::aws::s3::S3Uri;
use crate::aws::{Clients, capture};
use crate::monitoring::MonitoringReport;

/// The baseline that a run was compared with, stored next to its result.
pub const BASELINE_CONSTRAINTS: &str = "baseline_constraints.json";
/// Its statistics.
pub const BASELINE_STATISTICS: &str = "baseline_statistics.json";

/// The captured requests that could not be read.
pub const UNREADABLE: &str = "unreadable.json";

/// What to compare.
#[derive(Debug)]
pub struct Comparison<'a> {
    /// The endpoint.
    pub endpoint: &'a str,
    /// Where the results are.
    pub store: &'a Store,
    /// Where the traffic was captured.
    pub traffic: &'a S3Uri,
    /// The time of the traffic.
    pub window: Window,
    /// What it is compared with.
    pub baseline: Baseline,
    /// Minimum rows for a run to count as healthy.
    pub minimum_records: u64,
    /// The time of the run, which names it.
    pub now: Timestamp,
}

/// Compares the traffic and stores the result; returns the report and the name of the run, or `None` if no traffic was
/// captured in the window.
///
/// # Errors
/// Something cannot be read, checked or written.
pub async fn compare(
    clients: &Clients,
    comparison: Comparison<'_>,
) -> Result<Option<(MonitoringReport, String)>> {
    let Comparison {
        traffic,
        window,
        baseline,
        now,
        store,
        ..
    } = &comparison;
    let (window, now) = (*window, *now);
    let mut objects = capture::objects(clients, traffic).await?;
    objects.retain(|object| window.may_hold(&object.key));
    if objects.is_empty() {
        return Ok(None);
    }
    let sources: Vec<Source> = objects
        .iter()
        .map(|object| Source::stream(object.to_string(), capture::opener(clients, object, None)))
        .collect();
    let known = baseline.clone();
    // A client chooses the content of its requests: one that cannot be read must not end the comparison.
    let profiled =
        tokio::task::spawn_blocking(move || profile_readable(sources, window, Some(&known)));
    let (profile, unreadable) = profiled.await??;
    let failed = |text: String| Failure::new(Exit::Failed, text);
    let (statistics, violations) = match &profile {
        Some(profile) => {
            let statistics = profile.statistics();
            let found = validation::check(profile, &statistics, baseline, now);
            (statistics, found.map_err(failed)?)
        }
        None if unreadable.invocations == 0 => return Ok(None),
        // Nothing could be read, which is the result.
        None => (nothing(), Violations::default()),
    };
    let run = run_name(now);
    let rules = baseline.constraints.rules_of(None).set;
    let suggested = Constraints::suggest_by(&statistics, rules);
    let mut results = vec![
        (UNREADABLE, files::render(&unreadable)?),
        (BASELINE_CONSTRAINTS, files::render(&baseline.constraints)?),
        (files::STATISTICS, files::render(&statistics)?),
        (files::CONSTRAINTS, files::render(&suggested)?),
    ];
    if let Some(before) = &baseline.statistics {
        results.push((BASELINE_STATISTICS, files::render(before)?));
    }
    // The violations are written last: a run that has them is complete.
    results.push((files::VIOLATIONS, files::render(&violations)?));
    for (name, bytes) in results {
        store.put(clients, &run, name, bytes).await?;
    }
    let report =
        MonitoringReport::new(comparison.endpoint, &run, baseline, &statistics, violations)
            .requiring(comparison.minimum_records)
            .without(unreadable);
    Ok(Some((report, run)))
}

/// The statistics of no rows.
fn nothing() -> Statistics {
    Statistics {
        version: 0.0,
        dataset: Dataset { item_count: 0 },
        features: Vec::new(),
    }
}

/// The name of a run.
pub(super) fn run_name(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H-%M-%SZ").to_string()
}

/// Builds the error of a window without traffic for `mlops monitor run`.
pub fn no_traffic(address: &S3Uri, window: Window) -> anyhow::Error {
    let (when, hint) = if window == Window::default() {
        (
            "",
            "send requests to the endpoint; they are captured within a minute or two",
        )
    } else {
        (
            " in that time",
            "omit --since, --until and --hours to read everything",
        )
    };
    mlops_core::error::hinted(
        Failure::new(
            Exit::Failed,
            format!("no captured requests under {address}{when}"),
        ),
        hint,
    )
}
