//! The drift of attributions: how well the live data preserves the baseline's ranking of features.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::super::DataError;
use super::super::clarify::{Attributions, Explanations};
use super::super::violations::{Violation, Violations};

/// AWS reports a violation if a score is below this one.
pub const THRESHOLD: f64 = 0.9;

/// The name of the baseline's file in errors.
const BASELINE: &str = "baseline of attributions";

/// The name of the live analysis in errors.
const LIVE: &str = "attributions of the live data";

/// The result of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct Drift {
    /// The labels, in the baseline's order.
    pub labels: Vec<LabelDrift>,
    /// `constraint_violations.json`: one violation for each label below the threshold.
    pub violations: Violations,
}

/// The drift of one label.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelDrift {
    /// The label, as the live analysis names it.
    pub label: String,
    /// The score from 0 to 1; 1 is the same ranking.
    pub score: f64,
    /// The features, in the baseline's ranking.
    pub features: Vec<RankedFeature>,
}

/// A feature in both rankings.
#[derive(Debug, Clone, PartialEq)]
pub struct RankedFeature {
    /// The feature.
    pub name: String,
    /// Its attribution in the baseline.
    pub baseline: f64,
    /// Its attribution in the live data.
    pub live: f64,
    /// Its rank in the baseline, from 1. Features of equal attribution share the best rank.
    pub baseline_rank: usize,
    /// Its rank in the live data.
    pub live_rank: usize,
}

/// Compares the rankings of all labels.
///
/// The score is the normalized discounted cumulative gain (nDCG) of scikit-learn's `ndcg_score`, to
/// which the developer guide refers ("Model feature attribution drift violations"): features are
/// ranked by their live attribution, the gain is the baseline's attribution, and the discount of rank
/// i is 1 / log2(i + 1). Features of equal live attribution receive the mean discount of their ranks.
///
/// - Signs: only sizes count, because `median` can be negative. (`ndcg_score` refuses negative gains.)
/// - A baseline without any attribution other than 0: the score is 1 if that is also true of the live
///   data, otherwise 0. (`ndcg_score` returns 0 for both.)
/// - Labels: with one label on each side, the names may differ, because Clarify names the label of
///   JSON predictions after a score.
///
/// Unverified against AWS [shap-drift-edges]: what Clarify does in these cases.
///
/// # Errors
/// An analysis without Kernel SHAP values, with a value that is not a number, or with other labels or
/// features than the other one: it then belongs to another model.
pub fn compare(
    baseline: &Explanations,
    live: &Explanations,
    threshold: f64,
) -> Result<Drift, DataError> {
    let baseline = labels(BASELINE, baseline)?;
    let live = labels(LIVE, live)?;
    if let ([(_, before)], [(name, now)]) = (baseline.as_slice(), live.as_slice()) {
        return Ok(Drift::new(vec![label(name, before, now)?], threshold));
    }
    let names = |labels: &[(String, Values)]| labels.iter().map(|(name, _)| name.clone()).collect();
    same_names("label", &names(&baseline), &names(&live))?;
    let live: HashMap<String, Values> = live.into_iter().collect();
    let drifts = baseline.iter().filter_map(|(name, before)| {
        let now = live.get(name)?;
        Some(label(name, before, now))
    });
    Ok(Drift::new(drifts.collect::<Result<_, _>>()?, threshold))
}

impl Drift {
    fn new(labels: Vec<LabelDrift>, threshold: f64) -> Self {
        let violated = labels.iter().filter(|label| label.score < threshold);
        let violations = violated.map(|label| Violation {
            label: Some(label.label.clone()),
            metric_name: Some("shap".to_owned()),
            constraint_check_type: "feature_attribution_drift_check".to_owned(),
            // `{:?}` writes 1 as 1.0, as Python does.
            description: format!(
                "Feature attribution drift {:?} exceeds threshold {threshold:?}",
                label.score
            ),
            ..Violation::default()
        });
        Self {
            violations: Violations {
                version: Some(Value::from("1.0")),
                violations: violations.collect(),
            },
            labels,
        }
    }
}

/// The features of a label with the sizes of their attributions, in the file's order.
type Values = Vec<(String, f64)>;

/// Reads the values of each label.
fn labels(place: &str, explanations: &Explanations) -> Result<Vec<(String, Values)>, DataError> {
    let labels = explanations.kernel_shap.iter().flatten();
    let labels = labels.map(|(name, value)| {
        let read: Attributions = serde_json::from_value(value.clone())
            .map_err(|error| DataError::new(place, format!("label `{name}`: {error}")))?;
        let values = read.global_shap_values.iter().map(|(feature, value)| {
            let value = value.as_f64().ok_or_else(|| {
                let message = format!("label `{name}`: the value of `{feature}` is not a number");
                DataError::new(place, message)
            })?;
            Ok((feature.clone(), value))
        });
        let values: Values = values.collect::<Result<_, DataError>>()?;
        if values.is_empty() {
            return Err(DataError::new(
                place,
                format!("label `{name}` has no features"),
            ));
        }
        Ok((name.clone(), values))
    });
    let labels: Vec<_> = labels.collect::<Result<_, _>>()?;
    if labels.is_empty() {
        return Err(DataError::new(place, "no Kernel SHAP values"));
    }
    Ok(labels)
}

/// Checks that both sides have the same labels or features.
fn same_names(
    what: &str,
    baseline: &HashSet<String>,
    live: &HashSet<String>,
) -> Result<(), DataError> {
    for (names, others, place, other) in [
        (baseline, live, LIVE, "the baseline"),
        (live, baseline, BASELINE, "the live data"),
    ] {
        // The first in alphabetical order, so that the message is always the same.
        if let Some(name) = names.difference(others).min() {
            let message = format!(
                "the {what} `{name}` of {other} is missing: is the baseline that of this model?"
            );
            return Err(DataError::new(place, message));
        }
    }
    Ok(())
}

fn label(name: &str, baseline: &Values, live: &Values) -> Result<LabelDrift, DataError> {
    let names = |values: &Values| values.iter().map(|(feature, _)| feature.clone()).collect();
    same_names("feature", &names(baseline), &names(live))?;
    let lookup: HashMap<&str, f64> = live.iter().map(|(f, value)| (f.as_str(), *value)).collect();
    let mut features: Vec<RankedFeature> = baseline
        .iter()
        .map(|(feature, value)| RankedFeature {
            name: feature.clone(),
            baseline: *value,
            live: lookup.get(feature.as_str()).copied().unwrap_or_default(),
            baseline_rank: 0,
            live_rank: 0,
        })
        .collect();
    let score = score(&features);
    rank(&mut features, |f| f.live, |f| &mut f.live_rank);
    rank(&mut features, |f| f.baseline, |f| &mut f.baseline_rank);
    Ok(LabelDrift {
        label: name.to_owned(),
        score,
        features,
    })
}

/// Sorts features by the size of a value and numbers them.
fn rank(
    features: &mut [RankedFeature],
    value: impl Fn(&RankedFeature) -> f64,
    place: impl Fn(&mut RankedFeature) -> &mut usize,
) {
    features.sort_by(|a, b| value(b).abs().total_cmp(&value(a).abs()));
    let mut first = 1;
    let mut last = f64::NAN;
    for (number, feature) in (1..).zip(features.iter_mut()) {
        let size = value(feature).abs();
        if size < last || number == 1 {
            first = number;
            last = size;
        }
        *place(feature) = first;
    }
}

/// The nDCG of the baseline's attributions in the live order.
fn score(features: &[RankedFeature]) -> f64 {
    let mut pairs: Vec<(f64, f64)> = features
        .iter()
        .map(|feature| (feature.live.abs(), feature.baseline.abs()))
        .collect();
    let mut gains: Vec<f64> = pairs.iter().map(|(_, gain)| *gain).collect();
    gains.sort_by(|a, b| b.total_cmp(a));
    let discount = |rank: u32| 1.0 / f64::from(rank + 1).log2();
    let ideal: f64 = gains
        .iter()
        .zip(1..)
        .map(|(gain, rank)| gain * discount(rank))
        .sum();
    if ideal <= 0.0 {
        let is_zero = pairs.iter().all(|(live, _)| *live == 0.0);
        return f64::from(u8::from(is_zero));
    }
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut found = 0.0;
    let mut ranks = 1..;
    // The sizes are not negative, so that equal numbers have equal bits.
    for tied in pairs.chunk_by(|a, b| a.0.to_bits() == b.0.to_bits()) {
        let gain: f64 = tied.iter().map(|(_, gain)| gain).sum();
        let discounts: f64 = ranks.by_ref().take(tied.len()).map(discount).sum();
        found += gain / super::coalitions::float(tied.len()) * discounts;
    }
    (found / ideal).min(1.0)
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the values are exact")]
mod tests {
    use super::super::super::clarify::Analysis;
    use super::*;

    fn side(labels: &[(&str, &[(&str, f64)])]) -> Explanations {
        let labels = labels.iter().map(|(label, values)| {
            let values: serde_json::Map<String, Value> = values
                .iter()
                .map(|(feature, value)| ((*feature).to_owned(), Value::from(*value)))
                .collect();
            (
                (*label).to_owned(),
                serde_json::json!({ "global_shap_values": values }),
            )
        });
        Explanations {
            kernel_shap: Some(labels.collect()),
            others: serde_json::Map::new(),
        }
    }

    fn one(values: &[(&str, f64)]) -> Explanations {
        side(&[("label0", values)])
    }

    fn score_of(baseline: &[(&str, f64)], live: &[(&str, f64)]) -> f64 {
        compare(&one(baseline), &one(live), THRESHOLD)
            .unwrap()
            .labels[0]
            .score
    }

    /// The developer guide's worked example: attributions of 0.70, 0.50, 0.05 in training, and the
    /// reverse order live, give 0.69.
    #[test]
    fn the_worked_example_of_the_developer_guide() {
        let baseline = [("SAT score", 0.70), ("GPA", 0.50), ("Class rank", 0.05)];
        let live = [("SAT score", 0.10), ("GPA", 0.20), ("Class rank", 0.70)];
        assert!((score_of(&baseline, &live) - 0.69).abs() < 0.005);
        assert!((score_of(&baseline, &baseline) - 1.0).abs() < 1e-12);
    }

    /// `sklearn.metrics.ndcg_score([baseline], [live])` of scikit-learn 1.9.1
    /// (`tests/oracles/attribution_values.py`).
    #[test]
    fn scores_agree_with_scikit_learn() {
        let names = ["a", "b", "c", "d", "e"];
        let baseline = [0.4, 0.1, 0.3, 0.05, 0.2];
        for (live, expected) in [
            ([0.1, 0.2, 0.3, 0.4, 0.5], 0.770_737_758_688_209_2),
            ([0.3, 0.1, 0.3, 0.1, 0.1], 0.963_878_623_770_023_3),
            ([0.0; 5], 0.823_713_306_835_955),
            ([0.05, 0.4, 0.0, 0.4, 0.0], 0.700_691_266_099_228_6),
        ] {
            let side = |values: [f64; 5]| names.into_iter().zip(values).collect::<Vec<_>>();
            let found = score_of(&side(baseline), &side(live));
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
    }

    /// AWS's own baseline and violation. The live attributions are not public.
    #[test]
    fn the_violation_has_the_text_of_aws() {
        let read = |text: &str| -> Analysis { serde_json::from_str(text).unwrap() };
        let baseline = read(include_str!(
            "../../../../tests/data/aws-output/clarify/weather-shap-drift/analysis-baseline.json"
        ));
        let baseline = baseline.explanations.unwrap();
        let same = compare(&baseline, &baseline, THRESHOLD).unwrap();
        assert!((same.labels[0].score - 1.0).abs() < 1e-12);
        assert_eq!(same.violations.violations, []);
        assert_eq!(same.labels[0].features[0].name, "co");

        let expected: Violations = serde_json::from_str(include_str!(
            "../../../../tests/data/aws-output/clarify/weather-shap-drift/constraint_violations.json"
        ))
        .unwrap();
        let drift = LabelDrift {
            label: "label0".to_owned(),
            score: 0.860_173_572_903_856,
            features: Vec::new(),
        };
        assert_eq!(Drift::new(vec![drift], THRESHOLD).violations, expected);
    }

    #[test]
    fn a_score_below_the_threshold_is_a_violation() {
        let baseline = side(&[
            ("0", &[("a", 0.7), ("b", 0.5), ("c", 0.05)]),
            ("1", &[("a", 0.7), ("b", 0.5), ("c", 0.05)]),
        ]);
        let live = side(&[
            ("1", &[("a", 0.1), ("b", 0.2), ("c", 0.7)]),
            ("0", &[("c", 0.1), ("b", 0.2), ("a", 0.7)]),
        ]);
        let drift = compare(&baseline, &live, THRESHOLD).unwrap();
        assert_eq!(drift.labels[0].score, 1.0);
        let violations = serde_json::to_value(&drift.violations).unwrap();
        assert_eq!(violations["version"], "1.0");
        assert_eq!(violations["violations"].as_array().unwrap().len(), 1);
        let violation = &violations["violations"][0];
        assert_eq!(violation["label"], "1");
        assert_eq!(violation["metric_name"], "shap");
        let text = violation["description"].as_str().unwrap();
        let expected = "Feature attribution drift 0.6876396241226223 exceeds threshold 0.9";
        assert_eq!(text, expected);
        assert_eq!(
            compare(&baseline, &live, 0.6)
                .unwrap()
                .violations
                .violations,
            []
        );
    }

    #[test]
    fn ranks_are_shared_by_equal_attributions() {
        let baseline = [("a", 0.1), ("b", -0.4), ("c", 0.1), ("d", 0.2)];
        let live = [("a", 0.0), ("b", 0.0), ("c", 0.5), ("d", 0.0)];
        let drift = compare(&one(&baseline), &one(&live), THRESHOLD).unwrap();
        let ranks: Vec<(&str, usize, usize)> = drift.labels[0]
            .features
            .iter()
            .map(|f| (f.name.as_str(), f.baseline_rank, f.live_rank))
            .collect();
        assert_eq!(ranks, [("b", 1, 2), ("d", 2, 2), ("c", 3, 1), ("a", 3, 2)]);
    }

    #[test]
    fn attributions_of_zero_have_a_score() {
        let (zero, some) = ([("a", 0.0), ("b", -0.0)], [("a", 0.1), ("b", 0.2)]);
        assert_eq!(score_of(&zero, &zero), 1.0);
        assert_eq!(score_of(&zero, &some), 0.0);
        let none = score_of(&some, &zero);
        assert!(none > 0.0 && none < 1.0, "{none}");
        let negative = [("a", -0.1), ("b", -0.2)];
        assert!((score_of(&some, &negative) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn the_names_of_single_labels_may_differ() {
        let live = side(&[("0.7956783771514893", &[("a", 0.3)])]);
        let drift = compare(&one(&[("a", 0.1)]), &live, THRESHOLD).unwrap();
        assert_eq!(drift.labels[0].label, "0.7956783771514893");
    }

    #[test]
    fn analyses_of_another_model_are_refused() {
        let error = |baseline: &Explanations, live: &Explanations| {
            compare(baseline, live, THRESHOLD).unwrap_err().to_string()
        };
        let (a, ab) = (one(&[("a", 0.1)]), one(&[("a", 0.1), ("b", 0.2)]));
        let tail = "is missing: is the baseline that of this model?";
        let expected =
            format!("attributions of the live data: the feature `b` of the baseline {tail}");
        assert_eq!(error(&ab, &a), expected);
        let expected = format!("baseline of attributions: the feature `b` of the live data {tail}");
        assert_eq!(error(&a, &ab), expected);
        let two = side(&[("0", &[("a", 0.1)]), ("1", &[("a", 0.1)])]);
        let expected =
            format!("attributions of the live data: the label `0` of the baseline {tail}");
        assert_eq!(error(&two, &a), expected);
        let empty = Explanations {
            kernel_shap: None,
            others: serde_json::Map::new(),
        };
        let expected = "baseline of attributions: no Kernel SHAP values";
        assert_eq!(error(&empty, &a), expected);
        let none = one(&[]);
        let expected = "attributions of the live data: label `label0` has no features";
        assert_eq!(error(&a, &none), expected);
        let mut text = one(&[("a", 0.1)]);
        text.kernel_shap = serde_json::from_str(
            r#"{"label0":{"global_shap_values":{"a":"high"},"expected_value":0}}"#,
        )
        .unwrap();
        let expected = "baseline of attributions: label `label0`: the value of `a` is not a number";
        assert_eq!(error(&text, &a), expected);
    }
}
