//! Monitoring reports: production data compared with its baseline.
//!
//! A [`MonitoringReport`] is built from the three files of an analysis and the baseline; it renders as a
//! table and as one self-contained HTML page. [`model_quality`] compares predictions with labels.

use mlops_validation::capture::Unreadable;
use mlops_validation::types::InferredType;
use mlops_validation::{Baseline, Statistics, Violation, Violations, drift};
use serde::Serialize;

mod html;
pub mod model_quality;
mod shape;
mod table;

pub use shape::{Bin, compare as distribution, number};
pub use table::{sparklines, violations};

/// One analysis of production data.
#[derive(Debug, Clone, Serialize)]
pub struct MonitoringReport {
    /// The monitored endpoint.
    pub endpoint: String,
    /// Time of the analysis (also the name of its run).
    pub run: String,
    /// Rows of production data.
    pub rows: u64,
    /// Rows of the baseline; `None` if it has no statistics.
    pub baseline_rows: Option<u64>,
    /// Columns of the baseline that production data has too, largest drift first.
    pub features: Vec<FeatureReport>,
    /// The violations of the constraints.
    pub violations: Vec<Violation>,
    /// Minimum rows of production data for a run to count as healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_records: Option<u64>,
    /// The captured requests that could not be read, and are not part of the report.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<Unreadable>,
}

/// One column in the baseline and now.
#[derive(Debug, Clone, Serialize)]
pub struct FeatureReport {
    /// The column.
    pub feature: String,
    /// Its type in the baseline.
    pub inferred_type: InferredType,
    /// How far its distribution moved, 0 to 1; `None` if it cannot be measured.
    pub distance: Option<f64>,
    /// The drift threshold.
    pub threshold: f64,
    /// Whether the column drifted.
    pub drifted: bool,
    /// Both distributions over common ranges or categories; empty if there is none.
    pub distribution: Vec<Bin>,
}

impl MonitoringReport {
    /// Compares production data with the baseline.
    pub fn new(
        endpoint: &str,
        run: &str,
        baseline: &Baseline,
        current: &Statistics,
        violations: Violations,
    ) -> Self {
        let mut features = Vec::new();
        if let Some(before) = &baseline.statistics {
            for drift in drift::compare(before, current, &baseline.constraints) {
                let find = |statistics: &Statistics| {
                    statistics
                        .features
                        .iter()
                        .find(|feature| feature.name == drift.feature)
                        .cloned()
                };
                let Some((then, now)) = find(before).zip(find(current)) else {
                    continue;
                };
                features.push(FeatureReport {
                    inferred_type: then.inferred_type,
                    distribution: shape::compare(&then, &now),
                    feature: drift.feature,
                    distance: drift.distance,
                    threshold: drift.threshold,
                    drifted: drift.drifted,
                });
            }
        }
        features.sort_by(|a, b| {
            let key = |feature: &FeatureReport| feature.distance.unwrap_or(-1.0);
            key(b).total_cmp(&key(a))
        });
        Self {
            endpoint: endpoint.to_owned(),
            run: run.to_owned(),
            rows: current.dataset.item_count,
            baseline_rows: baseline.statistics.as_ref().map(|s| s.dataset.item_count),
            features,
            violations: violations.violations,
            minimum_records: None,
            unreadable: None,
        }
    }

    /// The report of a window without traffic.
    pub fn empty(endpoint: &str) -> Self {
        Self {
            endpoint: endpoint.to_owned(),
            run: String::new(),
            rows: 0,
            baseline_rows: None,
            features: Vec::new(),
            violations: Vec::new(),
            minimum_records: None,
            unreadable: None,
        }
    }

    /// Requires this many rows for a run to count as healthy.
    #[must_use]
    pub fn requiring(mut self, rows: u64) -> Self {
        self.minimum_records = Some(rows);
        self
    }

    /// Adds the requests that could not be read, if there are any.
    #[must_use]
    pub fn without(mut self, unreadable: Unreadable) -> Self {
        self.unreadable = Some(unreadable).filter(|found| found.invocations > 0);
        self
    }

    /// Why the run does not count as healthy although it found no violations: too few rows, or requests that could not
    /// be read.
    pub fn inconclusive(&self) -> Option<String> {
        if !self.violations.is_empty() {
            return None;
        }
        let too_few = self.minimum_records.filter(|minimum| self.rows < *minimum);
        let too_few = too_few.map(|minimum| {
            format!(
                "not enough data: {}, and `monitor.minimum_records` is {minimum}",
                counted(self.rows, "row")
            )
        });
        let reasons: Vec<String> = too_few.into_iter().chain(self.not_read()).collect();
        Some(reasons.join("; ")).filter(|reasons| !reasons.is_empty())
    }

    /// The number of requests that could not be read, with the first reason.
    fn not_read(&self) -> Option<String> {
        let unreadable = self.unreadable.as_ref()?;
        let first = unreadable.reasons.first().map_or("", String::as_str);
        Some(format!(
            "{} could not be read: {first}",
            counted(unreadable.invocations, "captured request")
        ))
    }

    /// Returns the features that drifted.
    pub fn drifted(&self) -> impl Iterator<Item = &FeatureReport> {
        self.features.iter().filter(|feature| feature.drifted)
    }

    /// Renders a self-contained HTML page.
    pub fn html(&self) -> String {
        html::page(self)
    }
}

/// Formats a distance with three digits, or explains why there is none.
fn distance(feature: &FeatureReport) -> String {
    feature
        .distance
        .map_or_else(|| "-".to_owned(), |distance| format!("{distance:.3}"))
}

/// `1 row`, `2 rows`.
fn counted(count: u64, what: &str) -> String {
    if count == 1 {
        format!("1 {what}")
    } else {
        format!("{count} {what}s")
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use mlops_validation::{self as validation, Constraints, Format, Source};

    /// The example project's training data.
    fn flights() -> Vec<Source> {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("src/scaffold/files/data/train/flights.csv");
        vec![Source::file(path)]
    }

    /// Captured July traffic with an invented prediction as the first column.
    fn july() -> Vec<Source> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("src/scaffold/files/data/production/july.csv");
        let lines: Vec<String> = std::fs::read_to_string(path)
            .unwrap()
            .lines()
            .map(|row| {
                let delay = row.split(',').next().unwrap();
                let payload = |data: &str| serde_json::json!({"data": data, "encoding": "CSV"});
                let event = serde_json::json!({
                    "captureData": {"endpointInput": payload(row), "endpointOutput": payload(delay)},
                    "eventMetadata": {}, "eventVersion": "0",
                });
                format!("{event}\n")
            })
            .collect();
        let lines = std::io::Cursor::new(lines.concat());
        vec![Source::stream("july.jsonl", || Ok(lines))]
    }

    #[test]
    fn july_differs_from_the_first_months() {
        let statistics = validation::profile(flights(), &Format::Csv, None)
            .unwrap()
            .statistics();
        let baseline = Baseline {
            constraints: Constraints::suggest(&statistics),
            statistics: Some(statistics),
        };
        let format = Format::Capture(validation::capture::Window::default());
        let profile = validation::profile(july(), &format, Some(&baseline)).unwrap();
        let current = profile.statistics();
        let violations =
            validation::check(&profile, &current, &baseline, jiff::Timestamp::UNIX_EPOCH).unwrap();
        let report = MonitoringReport::new(
            "flights",
            "2026-11-22T17-33-14Z",
            &baseline,
            &current,
            violations,
        );
        assert_eq!(report.features.len(), 11);
        assert_eq!(report.rows, 4_000);
        let drifted: Vec<&str> = report.drifted().map(|f| f.feature.as_str()).collect();
        assert_eq!(drifted[0], "temp", "{drifted:?}");
        assert!(!drifted.contains(&"distance"));
        // AWS does not measure drift of columns with few values.
        assert!(report.drifted().all(|feature| feature.distance.is_some()));
        let few = report.features.iter().filter(|it| it.distance.is_none());
        assert!(few.count() < 5);
        let text = report.to_string();
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        let page = report.html();
        assert_eq!(
            page.matches("<section class=\"card\">").count(),
            drifted.len()
        );
    }
}
