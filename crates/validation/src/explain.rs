//! Compares one column with its baseline, using everything that the checks use.

use serde::Serialize;

use super::constraints::{FeatureConstraints, Rules};
use super::drift::{self, Drift, Method};
use super::opt_in::{DatasetChecks, DriftChecks, FeatureChecks};
use super::statistics::{FeatureStatistics, Statistics};
use super::types::InferredType;
use super::violations::{Violation, Violations};
use super::{Baseline, distance};

/// The quantiles to show.
const QUANTILES: [f64; 7] = [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99];
/// Maximum number of categories to show, most frequent of either side first.
const CATEGORIES: usize = 10;

/// One column in the baseline and in the data.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// The column.
    pub feature: String,
    /// In the baseline; `None` without statistics.
    pub baseline: Option<Side>,
    /// In the data; `None` if it has no such column.
    pub current: Option<Side>,
    /// Quantiles of a numeric column.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub quantiles: Vec<Quantile>,
    /// The most frequent categories of any other column.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub categories: Vec<CategoryShare>,
    /// Every measurable distance; those with a threshold are checks.
    pub distances: Vec<Distance>,
    /// The column's violations.
    pub violations: Vec<Violation>,
}

/// The statistics of a column on one side.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Side {
    /// Its type.
    pub inferred_type: InferredType,
    /// Number of present values.
    pub num_present: u64,
    /// Number of missing values.
    pub num_missing: u64,
    /// The share of rows that have a value, 0 to 1.
    pub completeness: f64,
    /// Approximate number of distinct values.
    pub distinct: Option<f64>,
    /// The mean, for numbers.
    pub mean: Option<f64>,
    /// The standard deviation of the population.
    pub std_dev: Option<f64>,
    /// The minimum.
    pub min: Option<f64>,
    /// The maximum.
    pub max: Option<f64>,
}

/// A quantile: the value that a share of all numbers does not exceed, by the sketches.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Quantile {
    /// The share, 0 to 1.
    pub share: f64,
    /// In the baseline.
    pub baseline: Option<f64>,
    /// In the data.
    pub current: Option<f64>,
}

/// The frequency of a category.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CategoryShare {
    /// The category.
    pub value: String,
    /// Its share of the baseline's values, 0 to 1; `None` if its categories are unknown.
    pub baseline: Option<f64>,
    /// Its share of the data's values.
    pub current: Option<f64>,
}

/// How far the column moved, by one method.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Distance {
    /// The method.
    pub method: &'static str,
    /// The measured value.
    pub value: f64,
    /// The threshold of drift; `None` if the constraints do not use this method.
    pub threshold: Option<f64>,
    /// Whether there is drift; `None` without a threshold.
    pub drifted: Option<bool>,
}

/// The constraints of a column.
///
/// # Errors
/// The column does not exist; the error suggests similar names.
pub fn find<'a>(
    baseline: &'a Baseline,
    name: &str,
) -> Result<&'a FeatureConstraints, Vec<&'a str>> {
    let features = &baseline.constraints.features;
    features
        .iter()
        .find(|feature| feature.name == name)
        .ok_or_else(|| nearest(name, features.iter().map(|feature| feature.name.as_str())))
}

/// Compares one column of the baseline with the same column of the data.
///
/// # Errors
/// The column's opt-in checks cannot be parsed.
pub fn explain(
    feature: &FeatureConstraints,
    baseline: &Baseline,
    current: &Statistics,
    violations: &Violations,
) -> Result<Explanation, String> {
    let name = &feature.name;
    let of = |statistics: &'_ Statistics| -> Option<FeatureStatistics> {
        statistics
            .features
            .iter()
            .find(|feature| feature.name == *name)
            .cloned()
    };
    let (before, now) = (baseline.statistics.as_ref().and_then(of), of(current));
    let numeric = feature.inferred_type.is_numeric();
    let both = before.as_ref().zip(now.as_ref());
    let distances = match both {
        Some((before, now)) => {
            let rules = baseline.constraints.rules_of(Some(feature));
            let defaults = DatasetChecks::of(&baseline.constraints)?;
            let checks = FeatureChecks::of(feature, &defaults)?;
            distances(before, now, &rules, &checks.drift)
        }
        None => Vec::new(),
    };
    Ok(Explanation {
        feature: name.clone(),
        baseline: before.as_ref().and_then(side),
        current: now.as_ref().and_then(side),
        quantiles: if numeric {
            quantiles(before.as_ref(), now.as_ref())
        } else {
            Vec::new()
        },
        categories: if numeric {
            Vec::new()
        } else {
            categories(before.as_ref(), now.as_ref())
        },
        distances,
        violations: violations
            .violations
            .iter()
            .filter(|violation| violation.feature_name.as_ref() == Some(name))
            .cloned()
            .collect(),
    })
}

fn side(feature: &FeatureStatistics) -> Option<Side> {
    let common = feature.common()?;
    let numbers = feature.numerical_statistics.as_ref();
    Some(Side {
        inferred_type: feature.inferred_type,
        num_present: common.num_present,
        num_missing: common.num_missing,
        completeness: common.completeness(),
        distinct: feature.distinct(),
        mean: numbers.map(|numbers| numbers.mean),
        std_dev: numbers.map(|numbers| numbers.std_dev),
        min: numbers.map(|numbers| numbers.min),
        max: numbers.map(|numbers| numbers.max),
    })
}

fn quantiles(before: Option<&FeatureStatistics>, now: Option<&FeatureStatistics>) -> Vec<Quantile> {
    let (before, now) = (
        before.and_then(FeatureStatistics::ranks),
        now.and_then(FeatureStatistics::ranks),
    );
    QUANTILES
        .iter()
        .map(|share| Quantile {
            share: *share,
            baseline: before.as_ref().and_then(|ranks| ranks.quantile(*share)),
            current: now.as_ref().and_then(|ranks| ranks.quantile(*share)),
        })
        .filter(|quantile| quantile.baseline.is_some() || quantile.current.is_some())
        .collect()
}

#[expect(clippy::cast_precision_loss, reason = "counts above 2^53 do not occur")]
fn categories(
    before: Option<&FeatureStatistics>,
    now: Option<&FeatureStatistics>,
) -> Vec<CategoryShare> {
    let mut found: Vec<CategoryShare> = Vec::new();
    let sides = [before, now].map(|side| {
        side.map_or(Vec::new(), |feature| {
            let all = feature.common().map_or(0, |common| common.num_present) as f64;
            feature
                .categories()
                .into_iter()
                .map(|category| (category.value.as_str(), category.count as f64 / all))
                .collect()
        })
    });
    for (i, side) in sides.iter().enumerate() {
        for (value, share) in side {
            let index = found
                .iter()
                .position(|known| known.value == *value)
                .unwrap_or_else(|| {
                    found.push(CategoryShare {
                        value: (*value).to_owned(),
                        baseline: (!sides[0].is_empty()).then_some(0.0),
                        current: (!sides[1].is_empty()).then_some(0.0),
                    });
                    found.len() - 1
                });
            let slot = &mut found[index];
            *(if i == 0 {
                &mut slot.baseline
            } else {
                &mut slot.current
            }) = Some(*share);
        }
    }
    let most = |share: &CategoryShare| {
        let of = |side: Option<f64>| side.unwrap_or_default();
        of(share.baseline).max(of(share.current))
    };
    found.sort_by(|a, b| most(b).total_cmp(&most(a)).then(a.value.cmp(&b.value)));
    found.truncate(CATEGORIES);
    found
}

fn distances(
    before: &FeatureStatistics,
    now: &FeatureStatistics,
    rules: &Rules,
    wanted: &DriftChecks,
) -> Vec<Distance> {
    let verdict: Drift = drift::feature(before, now, rules);
    let methods: &[(Method, &'static str)] = if before.inferred_type.is_numeric() {
        &[
            (Method::Simple, "linf_simple"),
            (Method::Robust, "linf_robust"),
        ]
    } else {
        &[
            (Method::CategoricalSimple, "categorical_linf_simple"),
            (Method::CategoricalRobust, "categorical_linf_robust"),
            (Method::ChiSquaredStatistic, "chi_squared_statistic"),
            (Method::ChiSquaredPValue, "chi_squared_p_value"),
        ]
    };
    let aws = methods.iter().filter_map(|(method, name)| {
        let checked = verdict.distance.is_some() && verdict.method == *method;
        Some(Distance {
            method: name,
            value: drift::measure(before, now, *method, rules.set)?,
            threshold: checked.then_some(verdict.threshold),
            drifted: checked.then_some(verdict.drifted),
        })
    });
    let own = |method, value: Option<f64>, threshold: Option<f64>, small: bool| {
        let (value, threshold) = (value?, threshold.filter(|_| rules.compare));
        Some(Distance {
            method,
            value,
            threshold,
            drifted: threshold.map(|threshold| {
                if small {
                    value < threshold
                } else {
                    value > threshold
                }
            }),
        })
    };
    let bins = wanted.psi.map_or(10, |psi| psi.bins);
    let far = |normalize: bool| {
        let threshold = wanted
            .wasserstein
            .filter(|wanted| wanted.normalize == normalize)
            .map(|wanted| wanted.threshold);
        let name = if normalize {
            "wasserstein_normalized"
        } else {
            "wasserstein"
        };
        let value = distance::wasserstein_of(before, now, normalize);
        own(name, value, threshold, false)
    };
    let psi = distance::psi_of(before, now, bins);
    let p = distance::kolmogorov_smirnov_of(before, now);
    aws.chain(own("psi", psi, wanted.psi.map(|psi| psi.threshold), false))
        .chain(far(false))
        .chain(far(true))
        .chain(own(
            "kolmogorov_smirnov_p_value",
            p,
            wanted.kolmogorov_smirnov.map(|wanted| wanted.min_p_value),
            true,
        ))
        .collect()
}

/// Returns at most three similar names, closest first.
fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let wanted = name.to_lowercase();
    let mut far: Vec<(usize, &str)> = names
        .map(|known| (edits(&wanted, &known.to_lowercase()), known))
        .collect();
    far.sort_by_key(|(edits, _)| *edits);
    far.into_iter().take(3).map(|(_, known)| known).collect()
}

/// Levenshtein's distance.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = corner + usize::from(x != *y);
            corner = row[j + 1];
            row[j + 1] = replaced.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similar_names_are_ordered_by_distance() {
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("", "abc"), 3);
        let names = ["arr_delay", "origin", "dep_delay", "distance"];
        assert_eq!(
            nearest("Dep_dely", names.into_iter()),
            ["dep_delay", "arr_delay", "distance"]
        );
    }
}
