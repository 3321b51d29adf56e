//! The result: attributions per row, and the part of `analysis.json`.

use serde_json::{Map, Value, json};

use super::super::clarify::Explanations;
use super::settings::Aggregation;
use super::table::push_csv;

/// The attributions of a sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// The features, in the order of the sample.
    pub features: Vec<String>,
    /// The outputs of the model.
    pub labels: Vec<Label>,
    /// Number of predictions that the model made.
    pub predictions: u64,
    rows: usize,
    /// Rows × outputs × features.
    local: Vec<f64>,
}

/// The attributions of one output.
#[derive(Debug, Clone, PartialEq)]
pub struct Label {
    /// `label0`, or the name from the settings.
    pub name: String,
    /// The mean prediction for the background: the prediction without any feature. Log-odds with
    /// `use_logit`.
    pub expected_value: f64,
    /// The aggregated attribution of each feature.
    pub global: Vec<f64>,
}

impl Explanation {
    /// Aggregates the attributions of rows (rows × outputs × features, at least one row).
    pub(super) fn new(
        features: Vec<String>,
        names: Vec<String>,
        expected: Vec<f64>,
        local: Vec<f64>,
        predictions: u64,
        aggregation: Aggregation,
    ) -> Self {
        let width = features.len() * names.len();
        let labels = names.into_iter().zip(expected).enumerate();
        let labels = labels.map(|(output, (name, expected_value))| {
            let global = (0..features.len()).map(|feature| {
                let column = output * features.len() + feature;
                aggregation.of(local.iter().skip(column).step_by(width).copied())
            });
            Label {
                name,
                expected_value,
                global: global.collect(),
            }
        });
        Self {
            labels: labels.collect(),
            predictions,
            rows: local.len() / width,
            features,
            local,
        }
    }

    /// Number of explained rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The attributions of a row for one output, in the order of the features. They add up to the
    /// difference between the row's prediction and the expected value. `None` beyond the sample.
    pub fn local(&self, row: usize, label: usize) -> Option<&[f64]> {
        let width = self.features.len();
        let start = (row * self.labels.len() + label) * width;
        (label < self.labels.len())
            .then(|| self.local.get(start..start + width))
            .flatten()
    }

    /// The section `explanations` of `analysis.json`.
    pub fn explanations(&self) -> Explanations {
        let label = |label: &Label| {
            let values = self.features.iter().cloned();
            let values = values.zip(label.global.iter().map(|value| json!(value)));
            let values: Map<String, Value> = values.collect();
            let section = json!({
                "global_shap_values": values,
                "expected_value": label.expected_value,
            });
            (label.name.clone(), section)
        };
        Explanations {
            kernel_shap: Some(self.labels.iter().map(label).collect()),
            others: Map::new(),
        }
    }

    /// The file `explanations_shap/out.csv`: a header, and one line per row in the order of the
    /// sample. A column is named after the feature and the label (`age_label0`).
    ///
    /// Unverified against AWS [shap-out-labels]: public notebooks show the columns of a single label;
    /// of several, all features of the first label come first here.
    pub fn to_csv(&self) -> String {
        let mut text = String::new();
        for (index, label) in self.labels.iter().enumerate() {
            for (column, feature) in self.features.iter().enumerate() {
                if index + column > 0 {
                    text.push(',');
                }
                push_csv(&mut text, &format!("{feature}_{}", label.name));
            }
        }
        text.push('\n');
        let width = self.features.len() * self.labels.len();
        for row in self.local.chunks_exact(width) {
            for (column, value) in row.iter().enumerate() {
                if column > 0 {
                    text.push(',');
                }
                // `{:?}` writes small numbers with an exponent.
                text.push_str(&format!("{value:?}"));
            }
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explanation() -> Explanation {
        let names = |names: [&str; 2]| names.map(str::to_owned).to_vec();
        // Two rows, two outputs, two features.
        let local = vec![1.0, -2.0, 0.5, 1e-7, 3.0, 4.0, -0.5, 0.0];
        Explanation::new(
            names(["a", "b,c"]),
            names(["label0", "label1"]),
            vec![0.25, 0.75],
            local,
            9,
            Aggregation::MeanAbs,
        )
    }

    #[test]
    fn the_section_has_the_layout_of_clarify() {
        let found = serde_json::to_string(&explanation().explanations()).unwrap();
        let expected = concat!(
            r#"{"kernel_shap":{"label0":{"global_shap_values":{"a":2.0,"b,c":3.0},"#,
            r#""expected_value":0.25},"label1":{"global_shap_values":{"a":0.5,"b,c":5e-8},"#,
            r#""expected_value":0.75}}}"#
        );
        assert_eq!(found, expected);
    }

    #[test]
    fn local_values_are_written_as_csv() {
        let expected = "a_label0,\"b,c_label0\",a_label1,\"b,c_label1\"\n\
                        1.0,-2.0,0.5,1e-7\n3.0,4.0,-0.5,0.0\n";
        assert_eq!(explanation().to_csv(), expected);
    }

    #[test]
    fn local_values_are_found_by_row_and_label() {
        let explanation = explanation();
        assert_eq!(explanation.rows(), 2);
        assert_eq!(explanation.local(1, 0), Some(&[3.0, 4.0][..]));
        assert_eq!(explanation.local(0, 1), Some(&[0.5, 1e-7][..]));
        assert_eq!(explanation.local(2, 0), None);
        assert_eq!(explanation.local(0, 2), None);
    }
}
