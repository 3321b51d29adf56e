//! Measures how far the distribution of a column has moved (Deequ's `Distance`).
//!
//! Numbers: the maximum difference of the two cumulative distributions, from the KLL sketches; by AWS's rules
//! from Deequ's rank map, and only if the type is still the baseline's. Categories: the maximum difference of
//! one category's share, or the chi-squared test. `Robust` subtracts what chance explains: 1.8 ·
//! √((n+m)/(n·m)), 1.8 being Deequ's constant for α ≈ 0.003. For the chi-squared test `Robust` is the p-value
//! and `Simple` the statistic, as in Deequ.
//!
//! A distance or statistic above the threshold is drift. For a p-value it is the reverse: drift is a p-value
//! *below* the threshold (unverified against AWS [drift-threshold]: its analyzer is closed, and its
//! documentation does not mention the direction).

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::constraints::{CategoricalMethod, ComparisonMethod, Constraints, Rules};
use super::distance;
use super::kll::Ranks;
use super::rule_set::RuleSet;
use super::statistics::{FeatureStatistics, Statistics};

/// Deequ's `defaultCAlpha`.
const C_ALPHA: f64 = 1.8;
/// Deequ's `defaultAbsThresholdCochran`: minimum expected count of each of two categories.
const COCHRAN: f64 = 10.0;
/// Deequ's `defaultAbsThresholdYates`: of more categories, a fifth may have a smaller count.
const YATES: f64 = 5.0;

/// The method of a distance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Method {
    /// Numbers: the maximum difference of the cumulative distributions.
    #[serde(rename = "linf_simple")]
    Simple,
    /// The same, minus what chance explains.
    #[serde(rename = "linf_robust")]
    Robust,
    /// Categories: the maximum difference of a share.
    #[serde(rename = "categorical_linf_simple")]
    CategoricalSimple,
    /// The same, minus what chance explains.
    #[serde(rename = "categorical_linf_robust")]
    CategoricalRobust,
    /// Categories: the chi-squared statistic.
    #[serde(rename = "chi_squared_statistic")]
    ChiSquaredStatistic,
    /// Categories: the chi-squared test's p-value.
    #[serde(rename = "chi_squared_p_value")]
    ChiSquaredPValue,
}

impl Method {
    fn of(numeric: bool, rules: &Rules) -> Self {
        use CategoricalMethod::{ChiSquared, LInfinity};
        use ComparisonMethod as C;
        match (numeric, rules.categorical_method, rules.method) {
            (true, _, C::Simple) => Self::Simple,
            (true, _, C::Robust) => Self::Robust,
            (false, LInfinity, C::Simple) => Self::CategoricalSimple,
            (false, LInfinity, C::Robust) => Self::CategoricalRobust,
            (false, ChiSquared, C::Simple) => Self::ChiSquaredStatistic,
            (false, ChiSquared, C::Robust) => Self::ChiSquaredPValue,
        }
    }

    /// Returns whether a value is drift.
    fn drifted(self, value: f64, threshold: f64) -> bool {
        if self == Self::ChiSquaredPValue {
            value < threshold
        } else {
            value > threshold
        }
    }
}

/// The drift of one column.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Drift {
    /// The column.
    pub feature: String,
    /// The method of the distance.
    pub method: Method,
    /// The distance, 0 to 1 (a statistic has no upper bound; a small p-value is a large distance);
    /// `None` if one side has nothing to compare.
    pub distance: Option<f64>,
    /// The threshold: a greater distance is drift; a smaller p-value is drift.
    pub threshold: f64,
    /// Whether it is drift.
    pub drifted: bool,
}

impl Drift {
    /// The description of a violation; `None` without drift.
    pub fn description(&self) -> Option<String> {
        let distance = self.distance.filter(|_| self.drifted)?;
        Some(if self.method == Method::ChiSquaredPValue {
            format!(
                "Baseline drift p-value (ChiSquared): {distance:?} is below threshold: {}",
                self.threshold
            )
        } else {
            format!(
                "Baseline drift distance: {distance} exceeds threshold: {}",
                self.threshold
            )
        })
    }
}

/// The drift of every column that both baseline and data have, in the baseline's order.
pub fn compare(
    baseline: &Statistics,
    current: &Statistics,
    constraints: &Constraints,
) -> Vec<Drift> {
    let current = current.by_name();
    let constrained = constraints.by_name();
    baseline
        .features
        .iter()
        .filter_map(|before| {
            let name = before.name.as_str();
            let rules = constraints.rules_of(constrained.get(name).copied());
            Some(feature(before, current.get(name)?, &rules))
        })
        .collect()
}

/// The drift of one column by its rules.
pub fn feature(before: &FeatureStatistics, now: &FeatureStatistics, rules: &Rules) -> Drift {
    let numeric = before.inferred_type.is_numeric();
    let method = Method::of(numeric, rules);
    let threshold = if numeric {
        rules.threshold
    } else {
        rules.categorical_threshold
    };
    // AWS reports no drift for columns that became text or a different type of number.
    let comparable =
        rules.set == RuleSet::Mlops || !numeric || before.inferred_type == now.inferred_type;
    let distance = (rules.compare && comparable)
        .then(|| measure(before, now, method, rules.set))
        .flatten();
    Drift {
        feature: before.name.clone(),
        method,
        distance,
        threshold,
        drifted: distance.is_some_and(|distance| method.drifted(distance, threshold)),
    }
}

/// One distance; `None` if one side has nothing to compare.
pub fn measure(
    before: &FeatureStatistics,
    now: &FeatureStatistics,
    method: Method,
    set: RuleSet,
) -> Option<f64> {
    let numbers = |method| {
        let (before, now) = (before.ranks_by(set)?, now.ranks_by(set)?);
        Some(numerical(&before, &now, method))
    };
    match method {
        Method::Simple => numbers(ComparisonMethod::Simple),
        Method::Robust => numbers(ComparisonMethod::Robust),
        Method::CategoricalSimple => categorical(before, now, ComparisonMethod::Simple),
        Method::CategoricalRobust => categorical(before, now, ComparisonMethod::Robust),
        Method::ChiSquaredStatistic => chi_squared(before, now).map(|(statistic, _)| statistic),
        Method::ChiSquaredPValue => chi_squared(before, now).map(|(_, p)| p),
    }
}

/// The distance of two numeric distributions, 0 to 1.
pub fn numerical(before: &Ranks, now: &Ranks, method: ComparisonMethod) -> f64 {
    let distance = distance::greatest_difference(before, now);
    correct(distance, before.total(), now.total(), method)
}

/// The categories of a column with their counts, and the number of present values; `None` if it has
/// none or too many.
#[expect(clippy::cast_precision_loss, reason = "counts above 2^53 do not occur")]
fn counts(feature: &FeatureStatistics) -> Option<(BTreeMap<&str, f64>, f64)> {
    let counts: BTreeMap<&str, f64> = feature
        .categories()
        .into_iter()
        .map(|category| (category.value.as_str(), category.count as f64))
        .collect();
    let present = feature.common()?.num_present as f64;
    (!counts.is_empty() && present > 0.0).then_some((counts, present))
}

/// The shares of every category of either side, then and now; `None` if one side has none or too many.
pub(super) fn category_shares(
    before: &FeatureStatistics,
    now: &FeatureStatistics,
) -> Option<Vec<(f64, f64)>> {
    let ((before, n), (now, m)) = (counts(before)?, counts(now)?);
    let names: BTreeSet<&str> = before.keys().chain(now.keys()).copied().collect();
    let share = |counts: &BTreeMap<&str, f64>, name| counts.get(name).copied().unwrap_or_default();
    let shares = names
        .into_iter()
        .map(|name| (share(&before, name) / n, share(&now, name) / m));
    Some(shares.collect())
}

/// The distance of two categorical distributions; `None` if one has too many categories.
fn categorical(
    before: &FeatureStatistics,
    now: &FeatureStatistics,
    method: ComparisonMethod,
) -> Option<f64> {
    let distance = category_shares(before, now)?
        .into_iter()
        .map(|(before, now)| (before - now).abs())
        .fold(0.0, f64::max);
    let ((_, n), (_, m)) = (counts(before)?, counts(now)?);
    Some(correct(distance, n, m, method))
}

/// Deequ's chi-squared test: its statistic and p-value.
///
/// Only the baseline's categories count. Its counts are scaled to the sum of the current ones, and the
/// smallest expected category is merged into the next until two have at least 10 (Cochran), or of more
/// than two at most a fifth has less than 5 (Yates). `None` if only one remains.
///
/// Deequ uses the number of the *sample's* categories for that, including new ones, and gives up on a sample
/// with a single category. We use the baseline's categories, so that such a collapse is detected. A sample
/// without any of the baseline's categories has the maximum distance.
fn chi_squared(before: &FeatureStatistics, now: &FeatureStatistics) -> Option<(f64, f64)> {
    let ((expected, _), (observed, _)) = (counts(before)?, counts(now)?);
    let seen = |name: &str| observed.get(name).copied().unwrap_or_default();
    let all: f64 = expected.keys().map(|name| seen(name)).sum();
    let baseline: f64 = expected.values().sum();
    if all <= 0.0 {
        return Some((f64::INFINITY, 0.0));
    }
    let mut cells: Vec<(f64, f64)> = expected
        .iter()
        .filter(|(_, count)| **count > 0.0)
        .map(|(name, count)| (count / baseline * all, seen(name)))
        .collect();
    while cells.len() >= 2 {
        let (least, allowed) = if cells.len() == 2 {
            (COCHRAN, 0)
        } else {
            (YATES, cells.len() / 5)
        };
        let small = cells.iter().filter(|(count, _)| *count < least).count();
        if small <= allowed {
            let (expected, observed): (Vec<f64>, Vec<f64>) = cells.into_iter().unzip();
            return Some(distance::chi_squared(&observed, &expected));
        }
        let (first, second) = (take_least(&mut cells), take_least(&mut cells));
        cells.push((first.0 + second.0, first.1 + second.1));
    }
    None
}

/// Removes the cell with the smallest expected count.
fn take_least(cells: &mut Vec<(f64, f64)>) -> (f64, f64) {
    let least = cells
        .iter()
        .enumerate()
        .min_by(|(_, a), (_, b)| a.0.total_cmp(&b.0));
    let index = least.map_or(0, |(index, _)| index);
    cells.remove(index)
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

    /// Deequ's `getRankMap` and `numericalDistance`, computed by hand: {0: 2, 1: 1} of the levels [0,
    /// 0, 1] and [0], against {0: 1, 1: 1, 2: 1}.
    #[test]
    fn deequs_rank_map_counts_an_item_once() {
        let a = Ranks::of_distinct([vec![0.0, 0.0, 1.0], vec![0.0]].into_iter());
        assert_eq!((a.total(), a.up_to(0.0), a.up_to(1.0)), (3.0, 2.0, 3.0));
        let b = Ranks::of_distinct(std::iter::once(vec![0.0, 0.0, 1.0, 1.0, 2.0, 2.0]));
        assert_eq!(b.total(), 3.0);
        let distance = numerical(&a, &b, ComparisonMethod::Simple);
        assert!((distance - 1.0 / 3.0).abs() < 1e-12, "{distance}");
        assert_eq!(numerical(&a, &b, ComparisonMethod::Robust), 0.0);
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

    /// Deequ's `KLLDistanceTest`, `linf_simple` of categories.
    #[test]
    fn deequs_published_categories() {
        let a = text(&[("a", 10), ("b", 20), ("c", 25), ("d", 10), ("e", 5)]);
        let b = text(&[("a", 11), ("b", 20), ("c", 25), ("d", 10), ("e", 10)]);
        let other = text(&[("f", 11), ("a", 20), ("c", 25), ("d", 10), ("e", 10)]);
        for (b, simple) in [
            (&b, 0.060_150_375_939_849_62),
            (&other, 0.285_714_285_714_285_7),
        ] {
            assert_eq!(
                measure(&a, b, Method::CategoricalSimple, RuleSet::Aws),
                Some(simple)
            );
            assert_eq!(
                measure(&a, b, Method::CategoricalRobust, RuleSet::Aws),
                Some(0.0)
            );
        }
    }

    /// A column whose categories are `a`, `b`, … with these counts; 0 is no category.
    fn letters(counts: &[u64]) -> FeatureStatistics {
        let buckets: Vec<(String, u64)> = ('a'..)
            .zip(counts)
            .filter(|(_, count)| **count > 0)
            .map(|(name, count)| (name.to_string(), *count))
            .collect();
        let buckets: Vec<(&str, u64)> = buckets.iter().map(|(n, c)| (n.as_str(), *c)).collect();
        text(&buckets)
    }

    /// Deequ's `KLLDistanceTest`, the chi-squared tests: sample, baseline, statistic.
    #[test]
    fn deequs_published_chi_squared_statistics() {
        let missing_sample = [207, 20, 25, 14, 25, 0, 13];
        let missing_baseline = [223, 20, 25, 12, 13, 15];
        for (sample, baseline, statistic) in [
            (
                &missing_sample[..],
                &missing_baseline[..],
                28.175_042_782_458_068,
            ),
            (
                &[100, 20, 25, 10, 5, 2],
                &[100, 22, 25, 5, 13, 2],
                8.789_790_456_457_125,
            ),
            (
                &[100, 40, 30, 10],
                &[100, 40, 30, 0, 4],
                0.387_543_252_595_156_26,
            ),
            (&[100, 4, 3, 27], &[100, 4, 3, 34], 1.150_790_166_812_992_5),
            (
                &[100, 4, 3, 27, 20, 20, 20, 20],
                &[100, 2, 1, 34, 20, 20, 20, 20],
                6.827_423_492_761_593,
            ),
        ] {
            let (sample, baseline) = (letters(sample), letters(baseline));
            let ours = measure(
                &baseline,
                &sample,
                Method::ChiSquaredStatistic,
                RuleSet::Aws,
            )
            .unwrap();
            assert!((ours / statistic - 1.0).abs() < 1e-12, "{ours} {statistic}");
        }
        let (sample, baseline) = (letters(&missing_sample), letters(&missing_baseline));
        let p = measure(&baseline, &sample, Method::ChiSquaredPValue, RuleSet::Aws).unwrap();
        assert!((p / 3.364_019_129_847_850_6e-5 - 1.0).abs() < 1e-9, "{p}");
        let few = letters(&[100, 4, 3]);
        assert_eq!(
            measure(&few, &few, Method::ChiSquaredPValue, RuleSet::Aws),
            None
        );
    }

    /// Deequ's `KLLDistanceTest`, "should compute correct chisquare test".
    #[test]
    fn a_small_p_value_is_drift() {
        let sample = letters(&[207, 20, 25, 14, 25]);
        let baseline = letters(&[223, 20, 25, 12, 13]);
        let p = measure(&baseline, &sample, Method::ChiSquaredPValue, RuleSet::Aws).unwrap();
        assert!((p / 0.013_227_994_814_265_176 - 1.0).abs() < 1e-9, "{p}");
        let constraints: Constraints = serde_json::from_value(serde_json::json!({
            "features": [],
            "monitoring_config": {"distribution_constraints": {
                "categorical_comparison_threshold": 0.05, "categorical_drift_method": "ChiSquared"}}
        }))
        .unwrap();
        let rules = constraints.rules_of(None);
        let drift = feature(&baseline, &sample, &rules);
        assert!(drift.drifted);
        let description = drift.description().unwrap();
        assert!(
            description.ends_with("is below threshold: 0.05"),
            "{description}"
        );
        assert_eq!(feature(&sample, &sample, &rules).description(), None);
    }

    #[test]
    fn a_collapse_into_one_or_only_new_categories_is_drift() {
        let baseline = text(&[("a", 500), ("b", 500)]);
        for sample in [text(&[("a", 900)]), text(&[("z", 900)])] {
            let p = measure(&baseline, &sample, Method::ChiSquaredPValue, RuleSet::Aws).unwrap();
            assert!(p < 1e-9, "{p}");
        }
    }
}
