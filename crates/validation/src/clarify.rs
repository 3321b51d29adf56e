//! SageMaker Clarify's `analysis.json` (bias metrics and feature attributions), and the drift of
//! attributions.
//!
//! The file is also the baseline of bias drift and attribution drift. The types are those of files
//! that Clarify wrote (`tests/data/aws-output/clarify`), members in the same order.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::lenient;

/// The whole file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    /// `"1.0"`.
    pub version: String,
    /// Feature attributions, by method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanations: Option<Explanations>,
    /// Bias in the predictions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_training_bias_metrics: Option<BiasMetrics>,
    /// Bias in the data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_training_bias_metrics: Option<BiasMetrics>,
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
    /// The facets, by column.
    pub facets: Facets,
    /// The label's favorable values (`1`, `1,2`) or interval (`(0.5, 1.0]`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_value_or_threshold: Option<String>,
    /// Unknown members, kept.
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

/// The groups of each facet, by the facet's column, in the order of the file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facets(pub Vec<(String, Vec<Facet>)>);

impl Facets {
    /// Returns the groups of a facet; empty if there is no such facet.
    pub fn get(&self, column: &str) -> &[Facet] {
        let mut facets = self.0.iter();
        facets
            .find(|(name, _)| name == column)
            .map_or(&[], |(_, groups)| groups.as_slice())
    }
}

impl Serialize for Facets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, groups)| (name, groups)))
    }
}

impl<'de> Deserialize<'de> for Facets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Facets;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("facets by column")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Facets, A::Error> {
                let mut facets = Vec::new();
                while let Some(facet) = map.next_entry()? {
                    facets.push(facet);
                }
                Ok(Facets(facets))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
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
    /// The metric, which can be infinite (`"Infinity"`); `None` if it could not be computed.
    #[serde(deserialize_with = "read_value", serialize_with = "write_value")]
    pub value: Option<f64>,
    /// Why the metric could not be computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Unknown members, kept.
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

/// Parses a number, the text of one (`"Infinity"`), or null.
fn read_value<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let value = lenient::number(deserializer)?;
    Ok((!value.is_nan()).then_some(value))
}

/// Writes infinity as Clarify does: as the text `"Infinity"` or `"-Infinity"`.
#[expect(clippy::ref_option, reason = "the signature that serde requires")]
fn write_value<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) if value.is_finite() => serializer.serialize_f64(*value),
        Some(f64::INFINITY) => serializer.serialize_str("Infinity"),
        Some(f64::NEG_INFINITY) => serializer.serialize_str("-Infinity"),
        _ => serializer.serialize_none(),
    }
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
                    {"name":"TE","description":"Treatment","value":"-Infinity"},
                    {"name":"RD","description":"Recall","value":null,"error":"no"}]}]}}}"#;
        let read: Analysis = serde_json::from_str(text).unwrap();
        let attributions = read.attributions("label0").unwrap();
        assert_eq!(attributions.values(), [("age", 0.4), ("income", 0.1)]);
        let again: Value = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), again);
        let bias = read.post_training_bias_metrics.unwrap();
        let metrics = &bias.facets.get("age")[0].metrics;
        assert_eq!(metrics[1].value, Some(f64::NEG_INFINITY));
        assert_eq!(metrics[2].value, None);
    }

    /// Whitespace aside, each of Clarify's files is written back byte for byte.
    #[test]
    fn files_of_clarify_are_written_back_in_their_order() {
        let folder = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/data/aws-output/clarify"
        );
        for name in [
            "adult-bias/analysis.json",
            "fraud/bias_1-analysis.json",
            "german-credit/analysis.json",
            "stars-pre-training/analysis.json",
        ] {
            let text = std::fs::read_to_string(format!("{folder}/{name}")).unwrap();
            let read: Analysis = serde_json::from_str(&text).unwrap();
            let parsed: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(
                serde_json::to_string(&read).unwrap(),
                serde_json::to_string(&parsed)
                    .unwrap()
                    .replace(":0}", ":0.0}"),
                "{name}"
            );
        }
    }
}
