//! The quality of a model: metrics of predictions compared with the ground truth, their limits, and
//! the files of both.
//!
//! [`analyse`] joins captured predictions with labels (or reads merged lines, or a table), computes
//! the metrics of AWS's analyzer, suggests constraints and checks them. Shapes, names and figures
//! follow AWS's own files (tests/data/aws-output/model-quality) and the developer guide; unknown
//! members are kept.
//!
//! Memory: 16 bytes per label while predictions are joined, and 16 bytes per row that has a
//! probability, to sort them; everything else is counted as it is read.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::capture::Window;
use super::statistics::Dataset;
use super::violations::Violations;
use super::{DataError, Format, NO_ROWS, Source, lenient};

mod arrays;
mod chunks;
mod classification;
mod confusion;
mod curve;
mod event;
mod java;
mod join;
mod labels;
mod limits;
mod path;
mod payload;
mod regression;
mod rows;
mod sample;
mod settings;
mod table;
mod tally;
#[cfg(test)]
mod tests;
pub mod truth;
mod values;

use classification::Named;
pub use join::JoinCounts;
pub use limits::{Checked, check};
pub use path::Path;
pub use settings::{Attribute, Settings};
use tally::{Kind, Tally};
use values::{Classes, POSITIVE};

/// The type of a model, by the prefix of its files' members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// `regression_…`
    Regression,
    /// `binary_classification_…`
    BinaryClassification,
    /// `multiclass_classification_…`
    MulticlassClassification,
}

impl Problem {
    /// Parses `Regression`, `BinaryClassification` or `MulticlassClassification` in any case; `None`
    /// for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        [
            Self::Regression,
            Self::BinaryClassification,
            Self::MulticlassClassification,
        ]
        .into_iter()
        .find(|problem| problem.name().eq_ignore_ascii_case(text))
    }

    /// The name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Regression => "Regression",
            Self::BinaryClassification => "BinaryClassification",
            Self::MulticlassClassification => "MulticlassClassification",
        }
    }

    /// The prefix of files' members.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Regression => "regression",
            Self::BinaryClassification => "binary_classification",
            Self::MulticlassClassification => "multiclass_classification",
        }
    }
}

/// `statistics.json` of model quality.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QualityStatistics {
    /// Always 0.0.
    #[serde(default)]
    pub version: f64,
    /// The data set as a whole.
    pub dataset: Dataset,
    /// The metrics of a regression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regression_metrics: Option<Metrics>,
    /// The metrics of a binary classification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binary_classification_metrics: Option<Metrics>,
    /// The metrics of a classification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multiclass_classification_metrics: Option<Metrics>,
}

/// Metrics by name, in the order of the file.
pub type Metrics = Map<String, Value>;

/// A metric with its standard deviation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// The metric; may be infinite (`"Infinity"` in the file).
    #[serde(deserialize_with = "lenient::number")]
    pub value: f64,
    /// Over five samples of 80 %; not a number for fewer than 200 rows (`"NaN"`).
    #[serde(
        default = "unknown",
        deserialize_with = "lenient::number",
        serialize_with = "lenient::write"
    )]
    pub standard_deviation: f64,
}

fn unknown() -> f64 {
    f64::NAN
}

impl QualityStatistics {
    /// The model's kind and its metrics; `None` if the file has none.
    pub fn metrics(&self) -> Option<(Problem, &Metrics)> {
        [
            (Problem::Regression, &self.regression_metrics),
            (
                Problem::BinaryClassification,
                &self.binary_classification_metrics,
            ),
            (
                Problem::MulticlassClassification,
                &self.multiclass_classification_metrics,
            ),
        ]
        .into_iter()
        .find_map(|(problem, metrics)| Some((problem, metrics.as_ref()?)))
    }

    /// Returns one metric that is a number (not a matrix or a curve).
    pub fn metric(&self, name: &str) -> Option<Metric> {
        let (_, metrics) = self.metrics()?;
        serde_json::from_value(metrics.get(name)?.clone()).ok()
    }
}

/// A metric as AWS writes it. AWS's files have `"NaN"` or null for a deviation that was not computed,
/// and null for a metric that is not a number (binary-maintenance).
///
/// An infinite metric, which JSON has no number for, is `"Infinity"` or `"-Infinity"`, so that it is
/// compared with thresholds when the file is read: the errors of a regression may be too large for a
/// double. unverified against AWS [infinite-metric]: how AWS writes it.
fn metric(value: f64, samples: [f64; sample::SAMPLES], rows: u64) -> Value {
    let deviation = sample::deviation(samples, rows);
    let deviation = if deviation.is_finite() {
        json!(deviation)
    } else {
        json!("NaN")
    };
    let value = if value.is_infinite() {
        json!(java::double(value))
    } else {
        finite(value)
    };
    json!({ "value": value, "standard_deviation": deviation })
}

/// A number; null if it is not one.
fn finite(value: f64) -> Value {
    if value.is_finite() {
        json!(value)
    } else {
        Value::Null
    }
}

/// `constraints.json` of model quality.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct QualityConstraints {
    /// Always 0.0.
    #[serde(default)]
    pub version: f64,
    /// Limits of a regression's metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regression_constraints: Option<Map<String, Value>>,
    /// Limits of a binary classification's metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binary_classification_constraints: Option<Map<String, Value>>,
    /// Limits of a classification's metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multiclass_classification_constraints: Option<Map<String, Value>>,
}

/// The limit of one metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QualityConstraint {
    /// The threshold of a violation; not a number (null or `"NaN"` in the file) if the baseline's
    /// metric was not.
    #[serde(
        deserialize_with = "lenient::number",
        serialize_with = "lenient::write"
    )]
    pub threshold: f64,
    /// The side of the threshold that is a violation.
    pub comparison_operator: ComparisonOperator,
    /// Unknown members (`additional_properties`), kept.
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

/// When a metric is a violation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ComparisonOperator {
    /// If it is less than the threshold.
    LessThanThreshold,
    /// If it is greater than the threshold.
    GreaterThanThreshold,
}

impl QualityConstraints {
    /// The constraint of one metric, for any kind of model.
    pub fn constraint(&self, metric: &str) -> Option<QualityConstraint> {
        let value = [
            &self.regression_constraints,
            &self.binary_classification_constraints,
            &self.multiclass_classification_constraints,
        ]
        .into_iter()
        .flatten()
        .find_map(|constraints| constraints.get(metric))?;
        serde_json::from_value(value.clone()).ok()
    }
}

/// The data of an analysis.
#[derive(Debug)]
pub enum Data {
    /// Captured traffic and ground truth, to be joined.
    Captures {
        /// Captured traffic, JSON Lines. May have events outside of the window.
        captures: Vec<Source>,
        /// Ground truth records, JSON Lines, in the order in which they were written: of records
        /// with the same id, the last one wins.
        labels: Vec<Source>,
    },
    /// Lines with `captureData` and `groundTruthData` together, as AWS's merge job writes them.
    Merged(Vec<Source>),
    /// A table with a column of predictions and a column of labels.
    Table {
        /// The parts of the table.
        sources: Vec<Source>,
        /// CSV, JSON Lines or Parquet.
        format: Format,
    },
}

/// The result of an analysis.
#[derive(Debug, Clone, PartialEq)]
pub struct QualityReport {
    /// `statistics.json`. Has no metrics if nothing was joined.
    pub statistics: QualityStatistics,
    /// `constraints.json` that the statistics suggest.
    pub constraints: QualityConstraints,
    /// `constraint_violations.json`; `None` without a baseline.
    pub violations: Option<Violations>,
    /// The metrics of the violations, by their names in the statistics.
    pub violated: Vec<String>,
    /// Constraints of the baseline that could not be checked, because their metric was not computed
    /// or is not a number. They are not among the violations (AWS has none for them), so a report
    /// without violations is healthy only if this is empty.
    pub unchecked: Vec<String>,
    /// How predictions and labels met.
    pub counts: JoinCounts,
}

/// Computes the quality of a model: reads or joins the data, computes metrics with their standard
/// deviations, suggests constraints, and checks the baseline's.
///
/// The result depends neither on the number of threads nor on the clock. Without joined rows, the
/// report has counts, no metrics and no violations: the caller decides whether that is healthy.
///
/// # Errors
/// The first source that cannot be read; a merged line, or a row of a table, that cannot be parsed, by name and line (of
/// [`Data::Captures`], such lines are counted and skipped); a table without rows ([`DataError::is_empty`]); classes that
/// do not fit the problem; constraints of another problem.
pub fn analyse(
    settings: &Settings,
    data: Data,
    window: Window,
    baseline: Option<&QualityConstraints>,
) -> Result<QualityReport, DataError> {
    let classes = Classes::new(settings.problem);
    let (tally, counts) = match data {
        Data::Captures { captures, labels } => {
            join::join(captures, labels, window, settings, &classes)?
        }
        Data::Merged(sources) => join::merged(sources, window, settings, &classes)?,
        Data::Table { sources, format } => {
            let tally = table::read(sources, &format, settings, &classes)?;
            if tally.rows == 0 {
                return Err(DataError::new("the table", NO_ROWS));
            }
            let counts = JoinCounts {
                incomplete_rows: tally.incomplete,
                ..JoinCounts::default()
            };
            (tally, counts)
        }
    };
    let statistics = statistics(settings, tally, &classes.into_names())
        .map_err(|message| DataError::new("the data", message))?;
    let checked = baseline
        .map(|baseline| check(&statistics, baseline, settings.rules))
        .transpose()
        .map_err(|message| DataError::new("the baseline", message))?;
    let (violations, violated, unchecked) = match checked {
        Some(checked) => (
            Some(checked.violations),
            checked.violated,
            checked.unchecked,
        ),
        None => (None, Vec::new(), Vec::new()),
    };
    Ok(QualityReport {
        constraints: QualityConstraints::suggest(&statistics),
        statistics,
        violations,
        violated,
        unchecked,
        counts,
    })
}

fn statistics(
    settings: &Settings,
    tally: Tally,
    names: &[String],
) -> Result<QualityStatistics, String> {
    let rows = tally.rows;
    let mut statistics = QualityStatistics {
        version: 0.0,
        dataset: Dataset { item_count: rows },
        regression_metrics: None,
        binary_classification_metrics: None,
        multiclass_classification_metrics: None,
    };
    if rows == 0 {
        return Ok(statistics);
    }
    match tally.kind {
        Kind::Regression(errors) => statistics.regression_metrics = Some(errors.metrics(rows)),
        Kind::Classes(confusion, scores) if settings.problem == Problem::BinaryClassification => {
            let classes = Named::binary(&confusion, names)?;
            let positive = classes.codes.get(1).copied().unwrap_or(POSITIVE);
            let curves = scores.curves(positive);
            let metrics = classification::binary(&confusion, &classes, curves, rows);
            statistics.binary_classification_metrics = Some(metrics);
        }
        Kind::Classes(confusion, _) => {
            let classes = Named::multiclass(&confusion, names)?;
            let metrics = classification::multiclass(&confusion, &classes, rows);
            statistics.multiclass_classification_metrics = Some(metrics);
        }
    }
    Ok(statistics)
}
