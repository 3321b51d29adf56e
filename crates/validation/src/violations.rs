//! `constraint_violations.json` in all four shapes: data quality, model quality, bias drift and
//! attribution drift. The present members distinguish them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The whole file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Violations {
    /// `"1.0"` in files about bias and explainability; absent for data quality.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Value>,
    /// The violations.
    #[serde(default)]
    pub violations: Vec<Violation>,
}

/// One violation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Violation {
    /// The column, in a file about data quality.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feature_name: Option<String>,
    /// The facet, in a file about bias.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facet: Option<String>,
    /// The facet's value, in a file about bias.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facet_value: Option<String>,
    /// The label, in a file about explainability.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The metric, except in files about data quality.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric_name: Option<String>,
    /// The check.
    pub constraint_check_type: String,
    /// Expected and observed values.
    pub description: String,
}

impl Violation {
    /// A violation in a column.
    pub(super) fn of(feature: &str, check: &str, description: String) -> Self {
        Self {
            feature_name: Some(feature.to_owned()),
            constraint_check_type: check.to_owned(),
            description,
            ..Self::default()
        }
    }

    /// Returns the subject of the violation: the column, the facet with its metric, or the metric.
    pub fn subject(&self) -> String {
        let parts = [
            &self.feature_name,
            &self.facet,
            &self.facet_value,
            &self.label,
            &self.metric_name,
        ];
        let parts: Vec<&str> = parts.into_iter().flatten().map(String::as_str).collect();
        parts.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_four_shapes_are_read_and_written_back() {
        for (text, subject) in [
            (
                r#"{"violations":[{"feature_name":"a","constraint_check_type":"data_type_check","description":"x"}]}"#,
                "a",
            ),
            (
                r#"{"violations":[{"metric_name":"gini","constraint_check_type":"LessThanThreshold","description":"Metric gini with 0.6111 was LessThanThreshold 0.6611"}]}"#,
                "gini",
            ),
            (
                r#"{"version":"1.0","violations":[{"facet":"Age","facet_value":"40","metric_name":"CI","constraint_check_type":"bias_drift_check","description":"x"}]}"#,
                "Age 40 CI",
            ),
            (
                r#"{"version":"1.0","violations":[{"label":"label0","metric_name":"shap","constraint_check_type":"feature_attribution_drift_check","description":"x"}]}"#,
                "label0 shap",
            ),
        ] {
            let read: Violations = serde_json::from_str(text).unwrap();
            assert_eq!(read.violations[0].subject(), subject);
            let again: Value = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_value(&read).unwrap(), again);
        }
    }
}
