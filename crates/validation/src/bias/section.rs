//! Settings from a project's `[monitor.bias]` section.

use mlops_core::quote::short;
use serde::Deserialize;
use serde_json::Value as Json;

use super::config::chosen;
use super::metrics::Metric;
use super::selection::{Selection, Value};
use super::settings::{CONFIDENCE, Column, FacetSettings, Prediction, Settings};

/// The section `[monitor.bias]` of a project.
///
/// ```toml
/// [monitor.bias]
/// label = "target"
/// prediction = "predicted"
/// favorable = [1]
/// facet = [{ name = "sex", values = ["f"] }, { name = "age", threshold = 40 }]
/// ```
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// The facets.
    #[serde(default)]
    pub facet: Vec<FacetSection>,
    /// The column of labels.
    pub label: Option<String>,
    /// The column of predicted labels or predicted numbers.
    pub prediction: Option<String>,
    /// The column with the probability of the positive class, instead of `prediction`.
    pub probability: Option<String>,
    /// The threshold of `probability`, by default 0.5.
    pub probability_threshold: Option<f64>,
    /// The favorable values of label and prediction.
    #[serde(default)]
    pub favorable: Vec<Scalar>,
    /// The number above which label and prediction are favorable, for regressions.
    pub threshold: Option<f64>,
    /// The column of the strata of CDDL and CDDPL.
    pub group: Option<String>,
    /// The metrics, by name; by default all that label and prediction suffice for.
    pub metrics: Option<Vec<String>>,
    /// The confidence level of intervals, by default 0.95.
    pub confidence: Option<f64>,
}

/// A facet in a project's section. Without values and threshold, each value is a group.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FacetSection {
    /// The column.
    pub name: String,
    /// The values of the group.
    #[serde(default)]
    pub values: Vec<Scalar>,
    /// The number above which rows are in the group.
    pub threshold: Option<f64>,
}

/// A text, number or truth value.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Scalar {
    /// `true` or `false`.
    Truth(bool),
    /// An integer.
    Integer(i64),
    /// A number with a fraction.
    Number(f64),
    /// A text.
    Text(String),
}

impl Scalar {
    fn value(&self) -> Value {
        Value::new(match self {
            Self::Truth(value) => value.to_string(),
            Self::Integer(value) => value.to_string(),
            Self::Number(value) => format!("{value:?}"),
            Self::Text(value) => value.clone(),
        })
    }
}

impl Section {
    /// The settings of the section; `headers` names the columns as in [`Settings::headers`]. Values
    /// and thresholds are taken literally, regardless of the data. AWS's rule, which chooses by
    /// the data, does not apply.
    ///
    /// # Errors
    /// The first setting that is missing, contradictory or out of range.
    pub fn settings(&self, headers: Vec<String>) -> Result<Settings, String> {
        let selection = |what: &str, values: &[Scalar], threshold: Option<f64>| match threshold {
            Some(_) if !values.is_empty() => Err(format!("{what} has both values and a threshold")),
            Some(threshold) => Ok(Selection::Above(threshold)),
            None if values.is_empty() => Ok(Selection::Each),
            None => Ok(Selection::Values(
                values.iter().map(Scalar::value).collect(),
            )),
        };
        let named = |name: &Option<String>| name.clone().map(Column::Name);
        let prediction = match (named(&self.prediction), named(&self.probability)) {
            (Some(_), Some(_)) => {
                return Err("`prediction` and `probability` are both set: keep one".to_owned());
            }
            (Some(column), None) => Some(Prediction::Label(column)),
            (None, Some(column)) => Some(Prediction::Probability {
                column,
                threshold: self.probability_threshold.unwrap_or(0.5),
            }),
            (None, None) => None,
        };
        if self.probability_threshold.is_some() && self.probability.is_none() {
            return Err("`probability_threshold` is set, but `probability` is not".to_owned());
        }
        let facets = self.facet.iter().map(|facet| {
            Ok(FacetSettings {
                column: Column::Name(facet.name.clone()),
                selection: selection(
                    &format!("the facet `{}`", short(&facet.name)),
                    &facet.values,
                    facet.threshold,
                )?,
            })
        });
        let (pre_training, post_training) = self.stages()?;
        let settings = Settings {
            label: named(&self.label),
            prediction,
            favorable: selection("the favorable outcome", &self.favorable, self.threshold)?,
            facets: facets.collect::<Result<_, String>>()?,
            group: named(&self.group),
            ignored: Vec::new(),
            headers,
            pre_training,
            post_training,
            confidence: self.confidence.unwrap_or(CONFIDENCE),
        };
        settings.check()?;
        Ok(settings)
    }

    /// The named metrics, or all that the columns suffice for.
    fn stages(&self) -> Result<(Vec<Metric>, Vec<Metric>), String> {
        let Some(names) = &self.metrics else {
            let predicted = self.prediction.is_some() || self.probability.is_some();
            let labeled = self.label.is_some();
            let (pre, post) = (Metric::PRE_TRAINING.iter(), Metric::POST_TRAINING.iter());
            return Ok((
                pre.filter(|_| labeled).copied().collect(),
                post.filter(|metric| predicted && (labeled || !metric.needs_labels()))
                    .copied()
                    .collect(),
            ));
        };
        let all = [&Metric::PRE_TRAINING[..], &Metric::POST_TRAINING[..]].concat();
        let names = Json::from(names.clone());
        let chosen = chosen(Some(&names), &all).map_err(|error| format!("`metrics`: {error}"))?;
        Ok(chosen
            .into_iter()
            .partition(|metric| Metric::PRE_TRAINING.contains(metric)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_becomes_settings() {
        let section = |text: &str| -> Result<Settings, String> {
            let section: Section = serde_json::from_str(text).map_err(|e| e.to_string())?;
            section.settings(Vec::new())
        };
        let settings = section(
            r#"{"facet":[{"name":"age","threshold":40},{"name":"sex","values":["f",2]}],
                "label":"y","probability":"p","favorable":[true]}"#,
        )
        .unwrap();
        assert_eq!(settings.facets[0].selection, Selection::Above(40.0));
        assert_eq!(
            settings.facets[1].selection,
            Selection::Values(vec![Value::new("f"), Value::new("2")])
        );
        assert_eq!(
            settings.favorable,
            Selection::Values(vec![Value::new("true")])
        );
        assert_eq!(settings.post_training.len(), 13);
        let labels = section(r#"{"facet":[{"name":"a"}],"label":"y","threshold":0.5}"#).unwrap();
        assert_eq!(labels.post_training, []);
        let predictions = section(r#"{"facet":[{"name":"a"}],"prediction":"y","favorable":[1]}"#);
        let predictions = predictions.unwrap();
        assert_eq!(predictions.pre_training, []);
        assert_eq!(predictions.post_training.len(), 4);
        for (text, message) in [
            (r#"{"label":"y","favorable":[1]}"#, "no facet"),
            (
                r#"{"facet":[{"name":"a"}],"label":"y"}"#,
                "no favorable values",
            ),
            (
                r#"{"facet":[{"name":"a"}],"favorable":[1]}"#,
                "nothing to compute",
            ),
            (
                r#"{"facet":[{"name":"a","values":[1],"threshold":2}]}"#,
                "both values and a threshold",
            ),
            (
                r#"{"facet":[{"name":"a"}],"prediction":"p","probability":"q"}"#,
                "`prediction` and `probability` are both set",
            ),
            (
                r#"{"facet":[{"name":"a"}],"label":"y","probability_threshold":0.1}"#,
                "`probability` is not",
            ),
            (
                r#"{"facet":[{"name":"a"}],"probability":"p","probability_threshold":7,"favorable":[1]}"#,
                "the probability threshold 7 is not between 0 and 1",
            ),
            (
                r#"{"facet":[{"name":"a"}],"label":"y","favorable":[1],"metrics":["XX"]}"#,
                "`metrics`: \"XX\" is not one of",
            ),
            (r#"{"facets":[]}"#, "unknown field"),
        ] {
            let error = section(text).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }
}
