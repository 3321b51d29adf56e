//! The files of model quality: metrics of predictions compared with the ground truth, and their
//! limits.
//!
//! The shapes follow the developer guide. The metrics are not computed yet; reports of model
//! quality use these types. Unknown members are kept.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::lenient;
use super::statistics::Dataset;

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
    /// The metric.
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

/// `constraints.json` of model quality.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// The threshold of a violation.
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

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the values are exact")]
mod tests {
    use super::*;

    const STATISTICS: &str = r#"{"version":0.0,"dataset":{"item_count":500},
        "binary_classification_metrics":{
            "confusion_matrix":{"0":{"0":200,"1":10},"1":{"0":20,"1":270}},
            "recall":{"value":0.93,"standard_deviation":0.01},
            "auc":{"value":0.97,"standard_deviation":"NaN"}}}"#;

    #[test]
    fn metrics_are_read_and_written_back() {
        let read: QualityStatistics = serde_json::from_str(STATISTICS).unwrap();
        assert_eq!(read.metrics().unwrap().0, Problem::BinaryClassification);
        assert_eq!(read.metric("recall").unwrap().value, 0.93);
        let auc = read.metric("auc").unwrap();
        assert!(auc.standard_deviation.is_nan());
        assert_eq!(
            serde_json::to_value(auc).unwrap()["standard_deviation"],
            "NaN"
        );
        assert_eq!(read.metric("confusion_matrix"), None);
        let again: Value = serde_json::from_str(STATISTICS).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), again);
    }

    #[test]
    fn constraints_are_read_and_written_back() {
        let text = r#"{"version":0.0,"regression_constraints":{
            "mae":{"threshold":1.5,"comparison_operator":"GreaterThanThreshold","additional_properties":null},
            "r2":{"threshold":0.8,"comparison_operator":"LessThanThreshold"}}}"#;
        let read: QualityConstraints = serde_json::from_str(text).unwrap();
        let mae = read.constraint("mae").unwrap();
        assert_eq!(mae.threshold, 1.5);
        assert_eq!(
            mae.comparison_operator,
            ComparisonOperator::GreaterThanThreshold
        );
        assert_eq!(read.constraint("rmse"), None);
        let again: Value = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), again);
    }
}
