//! How far the distribution of a column has moved (Deequ's `Distance`).
//!
//! Numbers: the greatest difference of the two cumulative distributions, from the KLL sketches.
//! Categories: the greatest difference of one category's share. `Robust` takes off what chance
//! explains: 1.8 · √((n+m)/(n·m)), 1.8 being Deequ's constant for α ≈ 0.003.

use std::collections::HashMap;

use serde::Serialize;

use super::constraints::{CategoricalMethod, ComparisonMethod, Constraints};
use super::kll::Ranks;
use super::statistics::{FeatureStatistics, Statistics};

/// Deequ's `defaultCAlpha`.
const C_ALPHA: f64 = 1.8;

/// The drift of one column.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Drift {
    /// The column.
    pub feature: String,
    /// How far it moved, 0 to 1; `None` when one side has nothing to compare.
    pub distance: Option<f64>,
    /// A greater distance is drift.
    pub threshold: f64,
    /// Whether it is drift.
    pub drifted: bool,
}

/// The drift of every column of the baseline, in its order.
///
/// # Errors
/// The constraints ask for a method that is not here.
pub fn compare(
    baseline: &Statistics,
    current: &Statistics,
    constraints: &Constraints,
) -> Result<Vec<Drift>, String> {
    baseline
        .features
        .iter()
        .filter_map(|before| {
            let now = current.features.iter().find(|f| f.name == before.name)?;
            Some(feature(before, now, constraints))
        })
        .collect()
}

fn feature(
    before: &FeatureStatistics,
    now: &FeatureStatistics,
    constraints: &Constraints,
) -> Result<Drift, String> {
    let rules = constraints.rules(&before.name);
    let numeric = before.inferred_type.is_numeric();
    let threshold = if numeric {
        rules.threshold
    } else {
        rules.categorical_threshold
    };
    let distance = if !rules.compare {
        None
    } else if numeric {
        before
            .ranks()
            .zip(now.ranks())
            .map(|(before, now)| numerical(&before, &now, rules.method))
    } else if rules.categorical_method == CategoricalMethod::ChiSquared {
        return Err(format!(
            "the baseline asks for categorical_drift_method ChiSquared for `{}`, which mlops does \
             not have; use LInfinity",
            before.name
        ));
    } else {
        categorical(before, now, rules.method)
    };
    Ok(Drift {
        feature: before.name.clone(),
        distance,
        threshold,
        drifted: distance.is_some_and(|distance| distance > threshold),
    })
}

/// The distance of two numeric distributions, 0 to 1.
pub fn numerical(before: &Ranks, now: &Ranks, method: ComparisonMethod) -> f64 {
    let (n, m) = (before.total(), now.total());
    let distance = before
        .items()
        .chain(now.items())
        .map(|x| (before.up_to(x) / n - now.up_to(x) / m).abs())
        .fold(0.0, f64::max);
    correct(distance, n, m, method)
}

/// The distance of two categorical distributions; `None` when one has too many categories.
#[expect(clippy::cast_precision_loss, reason = "counts above 2^53 do not occur")]
fn categorical(
    before: &FeatureStatistics,
    now: &FeatureStatistics,
    method: ComparisonMethod,
) -> Option<f64> {
    let side = |feature: &FeatureStatistics| {
        let shares: HashMap<String, f64> = feature
            .categories()
            .into_iter()
            .map(|category| (category.value.clone(), category.count as f64))
            .collect();
        let present = feature.common()?.num_present as f64;
        (!shares.is_empty() && present > 0.0).then_some((shares, present))
    };
    let ((before, n), (now, m)) = (side(before)?, side(now)?);
    let share = |counts: &HashMap<String, f64>, key: &str, all: f64| {
        counts.get(key).copied().unwrap_or_default() / all
    };
    let distance = before
        .keys()
        .chain(now.keys())
        .map(|key| (share(&before, key, n) - share(&now, key, m)).abs())
        .fold(0.0, f64::max);
    Some(correct(distance, n, m, method))
}

fn correct(distance: f64, n: f64, m: f64, method: ComparisonMethod) -> f64 {
    match method {
        ComparisonMethod::Simple => distance,
        ComparisonMethod::Robust => (distance - C_ALPHA * ((n + m) / (n * m)).sqrt()).max(0.0),
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the values are exact")]
mod tests {
    use super::*;

    fn ranks(values: &[f64]) -> Ranks {
        Ranks::of(std::iter::once(values.to_vec()))
    }

    /// Deequ's `DistanceTest`: sketches of {1,2,3,4} and {2,3,4,5}.
    #[test]
    fn deequs_published_example() {
        let (a, b) = (ranks(&[1.0, 2.0, 3.0, 4.0]), ranks(&[2.0, 3.0, 4.0, 5.0]));
        assert_eq!(numerical(&a, &b, ComparisonMethod::Simple), 0.25);
        assert_eq!(numerical(&a, &b, ComparisonMethod::Robust), 0.0);
    }

    /// numpy: `abs(np.mean(a) - np.mean(b))` of 0/1 columns; repeated items keep their weight.
    #[test]
    fn repeated_items_keep_their_weight() {
        let a = Ranks::of([vec![0.0, 1.0], vec![0.0, 0.0, 1.0]].into_iter());
        let b = ranks(&[0.0, 1.0, 1.0, 1.0]);
        assert_eq!(a.total(), 8.0);
        let distance = numerical(&a, &b, ComparisonMethod::Simple);
        assert!((distance - 0.375).abs() < 1e-12, "{distance}");
    }

    fn text(buckets: &[(&str, u64)]) -> FeatureStatistics {
        let present: u64 = buckets.iter().map(|(_, count)| count).sum();
        let buckets: Vec<_> = buckets
            .iter()
            .map(|(value, count)| serde_json::json!({"value": value, "count": count}))
            .collect();
        serde_json::from_value(serde_json::json!({
            "name": "origin", "inferred_type": "String",
            "string_statistics": {
                "common": {"num_present": present, "num_missing": 0.0},
                "distinct_count": buckets.len(),
                "distribution": {"categorical": {"buckets": buckets}},
            }
        }))
        .unwrap()
    }

    #[test]
    fn categories_are_compared_by_share() {
        let (a, b) = (
            text(&[("x", 500), ("y", 500)]),
            text(&[("x", 700), ("z", 300)]),
        );
        let simple = categorical(&a, &b, ComparisonMethod::Simple).unwrap();
        assert!((simple - 0.5).abs() < 1e-12);
        let robust = categorical(&a, &b, ComparisonMethod::Robust).unwrap();
        assert!((robust - (0.5 - 1.8 * (2000.0f64 / 1e6).sqrt())).abs() < 1e-12);
    }

    #[test]
    fn the_chi_squared_method_is_refused_by_name() {
        let one = |f: FeatureStatistics| Statistics {
            version: 0.0,
            dataset: super::super::statistics::Dataset { item_count: 1 },
            features: vec![f],
        };
        let a = one(text(&[("x", 1)]));
        let mut constraints = Constraints::suggest(&a);
        if let Some(distribution) = &mut constraints.monitoring_config.distribution_constraints {
            distribution.categorical_drift_method = Some(CategoricalMethod::ChiSquared);
        }
        let error = compare(&a, &a, &constraints).unwrap_err();
        assert!(error.contains("ChiSquared"), "{error}");
    }
}
