//! Reports of model quality: predictions compared with labels.

use std::fmt;

use mlops_core::text;
use mlops_validation::Violation;
use mlops_validation::quality::{
    ComparisonOperator, JoinCounts, QualityConstraints, QualityStatistics,
};
use serde::{Deserialize, Serialize};

use super::counted;
use super::table::verdict;

/// One analysis of predictions and labels.
#[derive(Debug, Clone, Serialize)]
pub struct ModelQualityReport {
    /// The monitored endpoint.
    pub endpoint: String,
    /// Time of the analysis (also the name of its run).
    pub run: String,
    /// Rows with a prediction and a label.
    pub rows: u64,
    /// The share of captured events of the window that have a label, 0 to 1; `None` without events.
    pub join_rate: Option<f64>,
    /// The counts of the join.
    pub counts: JoinCounts,
    /// The metrics that are one number.
    pub metrics: Vec<QualityMetric>,
    /// The violations of the baseline.
    pub violations: Vec<Violation>,
    /// Constraints of the baseline that could not be checked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unchecked: Vec<String>,
    /// Minimum rows for a run to count as healthy.
    pub minimum_records: u64,
}

/// One metric.
#[derive(Debug, Clone, Serialize)]
pub struct QualityMetric {
    /// AWS's name.
    pub metric: String,
    /// Its value; `None` if it is not a number, or infinite.
    pub value: Option<f64>,
    /// Its standard deviation; `None` for fewer than 200 rows.
    pub standard_deviation: Option<f64>,
    /// The limit of the baseline.
    pub threshold: Option<f64>,
    /// The side of the limit that is a violation.
    pub comparison_operator: Option<ComparisonOperator>,
    /// Whether it violates the limit.
    pub violated: bool,
}

/// The files of a run that a report is built from.
#[derive(Debug)]
pub struct QualityFiles<'a> {
    /// `statistics.json`.
    pub statistics: &'a QualityStatistics,
    /// The constraints that were checked.
    pub baseline: &'a QualityConstraints,
    /// The violations.
    pub violations: Vec<Violation>,
    /// Counts of the join, and what AWS's files do not have.
    pub join: Join,
}

/// `join.json` of a run: what AWS's files do not have.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Join {
    /// The counts of the join.
    pub counts: JoinCounts,
    /// The metrics that violate the baseline.
    pub violated: Vec<String>,
    /// Constraints of the baseline that could not be checked.
    pub unchecked: Vec<String>,
}

impl ModelQualityReport {
    /// Builds the report of a run.
    pub fn new(endpoint: &str, run: &str, files: QualityFiles<'_>, minimum_records: u64) -> Self {
        let names = files.statistics.metrics();
        let names = names.into_iter().flat_map(|(_, metrics)| metrics.keys());
        let metrics = names.filter_map(|name| {
            let metric = files.statistics.metric(name)?;
            let constraint = files.baseline.constraint(name);
            let finite = |value: f64| Some(value).filter(|value| value.is_finite());
            Some(QualityMetric {
                metric: name.clone(),
                violated: files.join.violated.contains(name),
                value: finite(metric.value),
                standard_deviation: finite(metric.standard_deviation),
                threshold: constraint.as_ref().and_then(|it| finite(it.threshold)),
                comparison_operator: constraint.map(|it| it.comparison_operator),
            })
        });
        Self {
            endpoint: endpoint.to_owned(),
            run: run.to_owned(),
            rows: files.statistics.dataset.item_count,
            join_rate: files.join.counts.join_rate(),
            metrics: metrics.collect(),
            violations: files.violations,
            unchecked: files.join.unchecked,
            counts: files.join.counts,
            minimum_records,
        }
    }

    /// The report of a window without predictions.
    pub fn empty(endpoint: &str, minimum_records: u64) -> Self {
        Self {
            endpoint: endpoint.to_owned(),
            run: String::new(),
            rows: 0,
            join_rate: None,
            counts: JoinCounts::default(),
            metrics: Vec::new(),
            violations: Vec::new(),
            unchecked: Vec::new(),
            minimum_records,
        }
    }

    /// Why the run does not count as healthy although it found no violations: too few rows, limits that could not be
    /// checked, or predictions or labels that could not be read.
    pub fn inconclusive(&self) -> Option<String> {
        if !self.violations.is_empty() {
            return None;
        }
        let mut reasons = Vec::new();
        if self.rows < self.minimum_records {
            reasons.push(format!(
                "not enough data: {} with a label, and `monitor.minimum_records` is {}",
                counted(self.rows, "row"),
                self.minimum_records
            ));
        }
        if !self.unchecked.is_empty() {
            let names = self.unchecked.join(", ");
            reasons.push(format!("limits that could not be checked: {names}"));
        }
        reasons.extend(self.not_read());
        reasons.extend(self.labels_not_read());
        Some(reasons.join("; ")).filter(|reasons| !reasons.is_empty())
    }

    /// The number of predictions that could not be read, with the first reason.
    fn not_read(&self) -> Option<String> {
        let first = self.counts.first_unreadable_prediction.as_ref()?;
        let count = counted(self.counts.unreadable_predictions, "captured prediction");
        Some(format!("{count} could not be read: {first}"))
    }

    fn labels_not_read(&self) -> Option<String> {
        let first = self.counts.first_unreadable_label.as_ref()?;
        let count = counted(self.counts.unreadable_labels, "label");
        Some(format!("{count} could not be read: {first}"))
    }

    /// What is worth knowing about the join.
    fn notes(&self) -> Vec<String> {
        let counts = &self.counts;
        let mut notes = Vec::new();
        if counts.joined == 0 && counts.labels > 0 {
            let labels = counted(counts.labels, "label");
            notes.push(format!(
                "{labels}, none with the id of one of these predictions"
            ));
        }
        if let Some(first) = &counts.first_mismatch {
            let count = counted(counts.mismatched, "prediction");
            notes.push(format!(
                "{count} with labels for another number of rows: {first}"
            ));
        }
        notes.extend(
            self.labels_not_read()
                .filter(|_| !self.violations.is_empty()),
        );
        if counts.duplicate_predictions > 0 {
            let count = counted(counts.duplicate_predictions, "prediction");
            notes.push(format!(
                "{count} with an id that another one has, too: each counts"
            ));
        }
        notes
    }
}

impl fmt::Display for ModelQualityReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (endpoint, run) = (text::clean(&self.endpoint), text::clean(&self.run));
        let predictions = counted(self.counts.predictions, "prediction");
        write!(f, "{endpoint}, run {run}: {predictions}, ")?;
        match self.join_rate {
            Some(rate) => writeln!(f, "{:.1} % with a label", rate * 100.0)?,
            None => writeln!(f, "no label")?,
        }
        for note in self.notes() {
            writeln!(f, "{}", text::clean(&note))?;
        }
        if !self.metrics.is_empty() {
            writeln!(f)?;
            f.write_str(&text::table(
                &["METRIC", "VALUE", "DEVIATION", "LIMIT", ""],
                self.metrics.iter().map(row),
            ))?;
        }
        verdict(f, self.inconclusive(), &self.violations, self.not_read())
    }
}

fn row(metric: &QualityMetric) -> Vec<String> {
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), super::number);
    let limit = match (metric.threshold, metric.comparison_operator) {
        (Some(threshold), Some(ComparisonOperator::GreaterThanThreshold)) => {
            format!("at most {}", super::number(threshold))
        }
        (Some(threshold), Some(ComparisonOperator::LessThanThreshold)) => {
            format!("at least {}", super::number(threshold))
        }
        _ => "-".to_owned(),
    };
    vec![
        metric.metric.clone(),
        number(metric.value),
        number(metric.standard_deviation),
        limit,
        if metric.violated { "violated" } else { "" }.to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use mlops_validation::RuleSet;
    use mlops_validation::Violations;
    use mlops_validation::quality::check;
    use serde_json::json;

    use super::*;

    /// The report of a regression with an mae of 12 that may be at most `limit`.
    fn report(rows: u64, limit: f64, unchecked: &[&str]) -> ModelQualityReport {
        let metric = |value: f64| json!({"value": value, "standard_deviation": 0.25});
        let statistics: QualityStatistics = serde_json::from_value(json!({
            "dataset": {"item_count": rows}, "regression_metrics": {"mae": metric(12.0), "r2": metric(0.5)},
        }))
        .unwrap();
        let baseline: QualityConstraints =
            serde_json::from_value(json!({"regression_constraints": {
                "mae": {"threshold": limit, "comparison_operator": "GreaterThanThreshold"},
            }}))
            .unwrap();
        let checked = check(&statistics, &baseline, RuleSet::Aws).unwrap();
        let Violations { violations, .. } = checked.violations;
        let join = Join {
            counts: JoinCounts {
                predictions: 40,
                joined: 30,
                ..JoinCounts::default()
            },
            violated: checked.violated,
            unchecked: unchecked.iter().map(|&name| name.to_owned()).collect(),
        };
        let files = QualityFiles {
            statistics: &statistics,
            baseline: &baseline,
            violations,
            join,
        };
        ModelQualityReport::new("flights", "2026-11-30T12-00-00Z", files, 20)
    }

    #[test]
    fn a_run_without_enough_labels_or_with_unchecked_limits_is_not_healthy() {
        let reason = |report: &ModelQualityReport| report.inconclusive().unwrap_or_default();
        assert_eq!(reason(&report(30, 15.0, &[])), "");
        assert!(reason(&report(19, 15.0, &[])).starts_with("not enough data: 19 rows"));
        let unchecked = report(30, 15.0, &["r2"]);
        assert_eq!(reason(&unchecked), "limits that could not be checked: r2");
        // A violation is one, whatever else could not be checked.
        assert_eq!(reason(&report(19, 10.0, &["r2"])), "");
    }

    #[test]
    fn the_table_names_limits_and_violations() {
        let shown = report(30, 10.0, &[]).to_string();
        for part in [
            "40 predictions, 75.0 % with a label",
            "at most 10",
            "violated",
            "1 violation",
        ] {
            assert!(shown.contains(part), "{shown}");
        }
        assert!(
            shown.lines().all(|line| line.chars().count() <= 80),
            "{shown}"
        );
        assert!(
            report(30, 15.0, &[])
                .to_string()
                .ends_with("no violations\n")
        );
    }
}
