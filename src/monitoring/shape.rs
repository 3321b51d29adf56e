//! Two distributions over common ranges or categories.

use std::collections::HashMap;

use mlops_validation::kll::Ranks;
use mlops_validation::statistics::FeatureStatistics;
use mlops_validation::types::InferredType;
use serde::Serialize;

/// Maximum number of ranges of a histogram.
const RANGES: u32 = 24;
/// Maximum number of categories shown one by one; the rest is one bin.
const CATEGORIES: usize = 12;

/// A range or category with its share of values, in the baseline and now.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bin {
    /// `LOWER to UPPER`, or the name of the category.
    pub label: String,
    /// The range's lower edge; `None` for a category.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lower: Option<f64>,
    /// The range's upper edge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upper: Option<f64>,
    /// Share of the baseline's values, 0 to 1.
    pub baseline: f64,
    /// Share of the current values, 0 to 1.
    pub current: f64,
}

/// Returns both distributions; empty if one side has none.
pub fn compare(then: &FeatureStatistics, now: &FeatureStatistics) -> Vec<Bin> {
    if then.inferred_type.is_numeric() {
        match (then.ranks(), now.ranks()) {
            (Some(before), Some(after)) => ranges(
                &before,
                &after,
                then.inferred_type == InferredType::Integral,
            ),
            _ => Vec::new(),
        }
    } else {
        categories(then, now)
    }
}

/// Returns ranges between the outermost 1 % of both sides; values beyond count in the outermost
/// ranges.
fn ranges(before: &Ranks, after: &Ranks, whole: bool) -> Vec<Bin> {
    let both = |q: f64, pick: fn(f64, f64) -> f64| {
        before
            .quantile(q)
            .zip(after.quantile(q))
            .map(|(a, b)| pick(a, b))
    };
    let (Some(low), Some(high)) = (both(0.01, f64::min), both(0.99, f64::max)) else {
        return Vec::new();
    };
    let edges = edges(low, high, whole);
    let share = |ranks: &Ranks, i: usize| {
        let from = if i == 0 { 0.0 } else { ranks.below(edges[i]) };
        let to = if i + 2 == edges.len() {
            ranks.total()
        } else {
            ranks.below(edges[i + 1])
        };
        (to - from) / ranks.total()
    };
    (0..edges.len() - 1)
        .map(|i| Bin {
            label: label(&edges, i, whole),
            lower: Some(edges[i]),
            upper: Some(edges[i + 1]),
            baseline: share(before, i),
            current: share(after, i),
        })
        .collect()
}

/// Returns the edges of ranges of equal width; integers are centered in theirs.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 1 and RANGES"
)]
fn edges(low: f64, high: f64, whole: bool) -> Vec<f64> {
    let (start, width, count) = if whole {
        let span = (high - low + 1.0).max(1.0);
        let width = (span / f64::from(RANGES)).ceil().max(1.0);
        let count = (span / width).ceil().clamp(1.0, f64::from(RANGES)) as u32;
        (low - 0.5, width, count)
    } else if high > low {
        (low, (high - low) / f64::from(RANGES), RANGES)
    } else {
        (low - 0.5, 1.0, 1)
    };
    (0..=count).map(|i| start + width * f64::from(i)).collect()
}

fn label(edges: &[f64], i: usize, whole: bool) -> String {
    let (lower, upper) = (edges[i], edges[i + 1]);
    if whole {
        let (first, last) = (lower + 0.5, upper - 0.5);
        if last > first {
            format!("{} to {}", number(first), number(last))
        } else {
            number(first)
        }
    } else {
        format!("{} to {}", number(lower), number(upper))
    }
}

/// Formats a number with at most four significant digits.
pub fn number(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let size = value.abs();
    if !(1e-3..1e7).contains(&size) {
        return format!("{value:.2e}");
    }
    let digits = if size >= 1000.0 {
        0
    } else if size >= 100.0 {
        1
    } else if size >= 1.0 {
        2
    } else {
        4
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts above 2^53 do not occur")]
fn categories(then: &FeatureStatistics, now: &FeatureStatistics) -> Vec<Bin> {
    let shares = |feature: &FeatureStatistics| -> HashMap<String, f64> {
        let all = feature.common().map_or(0, |common| common.num_present) as f64;
        feature
            .categories()
            .into_iter()
            .map(|category| (category.value.clone(), category.count as f64 / all))
            .collect()
    };
    let (before, after) = (shares(then), shares(now));
    if before.is_empty() || after.is_empty() {
        return Vec::new();
    }
    let share =
        |shares: &HashMap<String, f64>, name: &str| shares.get(name).copied().unwrap_or_default();
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort_unstable_by(|a, b| {
        let key = |name: &str| share(&before, name).max(share(&after, name));
        key(b).total_cmp(&key(a)).then(a.cmp(b))
    });
    names.dedup();
    let mut bins: Vec<Bin> = names
        .iter()
        .take(CATEGORIES)
        .map(|name| Bin {
            label: (*name).clone(),
            lower: None,
            upper: None,
            baseline: share(&before, name),
            current: share(&after, name),
        })
        .collect();
    let rest = |side: fn(&Bin) -> f64| 1.0 - bins.iter().map(side).sum::<f64>();
    let (baseline, current) = (rest(|bin| bin.baseline), rest(|bin| bin.current));
    if baseline > 1e-9 || current > 1e-9 {
        bins.push(Bin {
            label: "(others)".to_owned(),
            lower: None,
            upper: None,
            baseline: baseline.max(0.0),
            current: current.max(0.0),
        });
    }
    bins
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the values are exact")]
mod tests {
    use super::*;

    fn ranks(values: impl Iterator<Item = f64>) -> Ranks {
        Ranks::of(std::iter::once(values.collect()))
    }

    #[test]
    fn every_value_is_in_one_range() {
        let before = ranks((0..1000).map(f64::from));
        let after = ranks((500..2500).map(f64::from));
        let bins = ranges(&before, &after, false);
        assert_eq!(bins.len(), 24);
        let sum = |side: fn(&Bin) -> f64| bins.iter().map(side).sum::<f64>();
        assert!((sum(|bin| bin.baseline) - 1.0).abs() < 1e-9);
        assert!((sum(|bin| bin.current) - 1.0).abs() < 1e-9);
        assert_eq!(bins[23].baseline, 0.0);
        assert_eq!(bins[0].current, 0.0);
    }

    #[test]
    fn few_integers_have_one_range_each() {
        let hours = ranks((0..300).map(|i| f64::from(i % 24)));
        let bins = ranges(&hours, &hours, true);
        assert_eq!(bins.len(), 24);
        assert_eq!(bins[5].label, "5");
        assert_eq!((bins[5].lower, bins[5].upper), (Some(4.5), Some(5.5)));
    }

    #[test]
    fn one_value_is_one_range() {
        let same = ranks(std::iter::repeat_n(0.25, 9));
        assert_eq!(ranges(&same, &same, false).len(), 1);
    }

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (1035.4, "1035"),
            (39.9, "39.9"),
            (1e9, "1.00e9"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
