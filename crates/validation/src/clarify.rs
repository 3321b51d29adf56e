//! SageMaker Clarify's `analysis.json` (bias metrics and feature attributions), and the drift of
//! attributions.
//!
//! Bias metrics and SHAP values are not computed yet: the types parse and write the file, which is
//! also the baseline of bias drift and attribution drift. The members inside a facet are unverified
//! against AWS [clarify-facet]: the developer guide shows only the outer ones.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The whole file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    /// `"1.0"`.
    pub version: String,
    /// Feature attributions, by method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanations: Option<Explanations>,
    /// Bias in the data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_training_bias_metrics: Option<BiasMetrics>,
    /// Bias in the predictions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_training_bias_metrics: Option<BiasMetrics>,
    /// Unknown members, kept.
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

/// Feature attributions, by method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanations {
    /// SHAP values by label (`label0`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_shap: Option<Map<String, Value>>,
    /// Unknown members, kept.
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

/// Feature attributions of one label.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attributions {
    /// The mean attribution of each feature, in the file's order.
    pub global_shap_values: Map<String, Value>,
    /// The prediction without any feature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_value: Option<f64>,
    /// Unknown members, kept.
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

/// Bias metrics of every facet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BiasMetrics {
    /// The predicted column.
    pub label: String,
    /// The label's value or threshold that is the favorable outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_value_or_threshold: Option<String>,
    /// The facets, by column.
    pub facets: HashMap<String, Vec<Facet>>,
    /// Unknown members, kept.
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

/// One group of a facet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facet {
    /// The group.
    pub value_or_threshold: String,
    /// Its metrics.
    pub metrics: Vec<BiasMetric>,
    /// Unknown members, kept.
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

/// One bias metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BiasMetric {
    /// `CI`, `DPL`, …
    pub name: String,
    /// Its description.
    #[serde(default)]
    pub description: String,
    /// The metric; `None` if it could not be computed.
    pub value: Option<f64>,
    /// Unknown members, kept.
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

impl Analysis {
    /// The attributions of a label; `None` if the file has none.
    pub fn attributions(&self, label: &str) -> Option<Attributions> {
        let labels = self.explanations.as_ref()?.kernel_shap.as_ref()?;
        serde_json::from_value(labels.get(label)?.clone()).ok()
    }
}

impl Attributions {
    /// Returns the attribution of each feature for which it is a number.
    pub fn values(&self) -> Vec<(&str, f64)> {
        self.global_shap_values
            .iter()
            .filter_map(|(feature, value)| Some((feature.as_str(), value.as_f64()?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_analysis_is_read_and_written_back() {
        let text = r#"{"version":"1.0",
            "explanations":{"kernel_shap":{"label0":{"global_shap_values":{"age":0.4,"income":0.1},"expected_value":0.2}}},
            "post_training_bias_metrics":{"label":"target","label_value_or_threshold":"1",
                "facets":{"age":[{"value_or_threshold":"40","metrics":[
                    {"name":"DPPL","description":"Difference","value":0.07},
                    {"name":"RD","description":"Recall","value":null}]}]}}}"#;
        let read: Analysis = serde_json::from_str(text).unwrap();
        let attributions = read.attributions("label0").unwrap();
        assert_eq!(attributions.values(), [("age", 0.4), ("income", 0.1)]);
        let again: Value = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), again);
    }
}
