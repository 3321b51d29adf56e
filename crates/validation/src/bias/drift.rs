//! Bias drift: metrics compared with those of a baseline.
//!
//! The plain check is the one of the developer guide's "Bias Drift Violations": a metric is a violation if
//! it is farther from 0 than the baseline's. It is what AWS's monitor does: of the run in
//! `tests/data/aws-output/clarify/adult-bias`, all confusion matrices follow from the violations' values,
//! and so do the metrics that are none. DI is no exception there: 0.083 after 0.178 is no violation,
//! though farther from 1.

use std::collections::HashMap;

use serde::Serialize;

use super::super::clarify::{Analysis, BiasMetrics, Facet};
use super::super::violations::{Violation, Violations};
use super::selection::spelled;

/// Differences up to this size are rounding: another program may have computed the baseline.
const ROUNDING: f64 = 1e-12;

/// When a metric is a violation.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Check {
    /// If it is farther from 0 than the baseline's.
    #[default]
    FartherFromZero,
    /// If its confidence interval and the allowed range are disjoint. The range is from −(|b| + t) to
    /// |b| + t, for the baseline's metric b and the tolerance t. A metric without an interval is
    /// compared itself.
    Interval {
        /// The tolerance t, at least 0.
        tolerance: f64,
    },
}

/// What a run is compared with.
#[derive(Debug, Clone, PartialEq)]
pub struct BiasBaseline {
    /// The baseline's `analysis.json`.
    pub analysis: Analysis,
    /// The check.
    pub check: Check,
}

/// The confidence interval of a metric.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MetricInterval {
    /// Whether it is a post-training metric.
    pub post_training: bool,
    /// The facet's column.
    pub facet: String,
    /// The facet's group.
    pub facet_value: String,
    /// The metric's name.
    pub metric: String,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// Compares a run with its baseline, in the order of `analysis.json`. Metrics that one of the two lacks,
/// or that could not be computed, are not violations.
///
/// # Errors
/// The tolerance is not a number of at least 0, or the baseline has no metrics of a facet that the run
/// has, so that nothing would be checked.
pub(super) fn check(
    live: &Analysis,
    intervals: &[MetricInterval],
    baseline: &BiasBaseline,
) -> Result<Violations, String> {
    if let Check::Interval { tolerance } = baseline.check
        && !(tolerance >= 0.0 && tolerance.is_finite())
    {
        return Err(format!(
            "the tolerance {tolerance} is not a number of at least 0"
        ));
    }
    let known = &baseline.analysis;
    let mut violations = Vec::new();
    let mut compared = 0;
    for (post_training, live, known) in [
        (
            true,
            &live.post_training_bias_metrics,
            &known.post_training_bias_metrics,
        ),
        (
            false,
            &live.pre_training_bias_metrics,
            &known.pre_training_bias_metrics,
        ),
    ] {
        let (Some(live), Some(known)) = (live, known) else {
            continue;
        };
        let intervals = intervals
            .iter()
            .filter(|interval| interval.post_training == post_training)
            .map(|interval| {
                let MetricInterval {
                    facet,
                    facet_value,
                    metric,
                    ..
                } = interval;
                ([facet, facet_value, metric].map(String::as_str), interval)
            });
        let intervals: Intervals<'_> = intervals.collect();
        compared += stage(live, known, &intervals, baseline.check, &mut violations);
    }
    if compared == 0 {
        return Err("the baseline has none of the metrics of this analysis".to_owned());
    }
    Ok(Violations {
        version: Some("1.0".into()),
        violations,
    })
}

/// Intervals by facet, group and metric.
type Intervals<'a> = HashMap<[&'a str; 3], &'a MetricInterval>;

/// Compares one stage; returns the number of metrics that were compared.
fn stage(
    live: &BiasMetrics,
    known: &BiasMetrics,
    intervals: &Intervals<'_>,
    check: Check,
    violations: &mut Vec<Violation>,
) -> usize {
    let mut compared = 0;
    for (facet, groups) in &live.facets.0 {
        let known = known.facets.get(facet);
        for group in groups {
            let Some(baseline) = matching(group, groups, known) else {
                continue;
            };
            for metric in &group.metrics {
                let expected = baseline
                    .metrics
                    .iter()
                    .find(|known| known.name == metric.name);
                let (Some(value), Some(expected)) =
                    (metric.value, expected.and_then(|known| known.value))
                else {
                    continue;
                };
                compared += 1;
                let key = [facet, &group.value_or_threshold, &metric.name];
                let interval = intervals.get(&key.map(String::as_str));
                if is_violation(value, interval.copied(), expected, check) {
                    violations.push(Violation {
                        facet: Some(facet.clone()),
                        facet_value: Some(group.value_or_threshold.clone()),
                        metric_name: Some(metric.name.clone()),
                        constraint_check_type: "bias_drift_check".to_owned(),
                        description: format!(
                            "Metric value {} doesn't meet the baseline constraint requirement {}",
                            spelled(value),
                            spelled(expected)
                        ),
                        ..Violation::default()
                    });
                }
            }
        }
    }
    compared
}

fn is_violation(
    value: f64,
    interval: Option<&MetricInterval>,
    expected: f64,
    check: Check,
) -> bool {
    let tolerance = match check {
        Check::FartherFromZero => 0.0,
        Check::Interval { tolerance } => tolerance,
    };
    let limit = expected.abs() + tolerance + ROUNDING * expected.abs().max(1.0);
    match (check, interval) {
        (Check::Interval { .. }, Some(interval)) => interval.low > limit || interval.high < -limit,
        _ => value.abs() > limit,
    }
}

/// The baseline's group with the same text. The upper end of an interval is the data's maximum, so
/// intervals match by their lower end; single groups of a facet match each other.
fn matching<'a>(group: &Facet, groups: &[Facet], known: &'a [Facet]) -> Option<&'a Facet> {
    let text = &group.value_or_threshold;
    let lower = |text: &str| -> Option<f64> {
        let (low, high) = text
            .strip_prefix('(')?
            .strip_suffix(']')?
            .split_once(", ")?;
        high.parse::<f64>().ok()?;
        low.parse().ok()
    };
    let exact = known.iter().find(|known| known.value_or_threshold == *text);
    exact
        .or_else(|| {
            let wanted = lower(text)?;
            let same = |known: &&Facet| {
                lower(&known.value_or_threshold).is_some_and(|low| (low - wanted).abs() == 0.0)
            };
            known.iter().find(same)
        })
        .or_else(|| match (groups, known) {
            // A facet whose only group was an interval and is a value now, or is empty.
            ([_], [single])
                if lower(text).is_some()
                    || text.is_empty()
                    || lower(&single.value_or_threshold).is_some() =>
            {
                Some(single)
            }
            _ => None,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_and_the_allowed_range_are_disjoint_on_either_side() {
        let around = |low, high| MetricInterval {
            post_training: true,
            facet: String::new(),
            facet_value: String::new(),
            metric: String::new(),
            low,
            high,
        };
        let check = Check::Interval { tolerance: 0.1 };
        for (low, high, violation) in [
            (0.2, 0.5, false),
            (0.31, 0.5, true),
            (-0.5, -0.2, false),
            (-0.5, -0.31, true),
            (-0.9, 0.9, false),
        ] {
            let value = f64::midpoint(low, high);
            let interval = around(low, high);
            // The range is −0.3 to 0.3, whatever the sign of the baseline.
            for expected in [0.2, -0.2] {
                let found = is_violation(value, Some(&interval), expected, check);
                assert_eq!(found, violation, "{low} {high}");
            }
        }
        assert!(is_violation(-0.31, None, 0.2, check));
        assert!(!is_violation(-0.29, None, 0.2, check));
        assert!(is_violation(-0.21, None, 0.2, Check::FartherFromZero));
        assert!(!is_violation(
            0.2 + 1e-15,
            None,
            0.2,
            Check::FartherFromZero
        ));
        assert!(!is_violation(
            f64::INFINITY,
            None,
            f64::NEG_INFINITY,
            Check::FartherFromZero
        ));
    }

    #[test]
    fn groups_match_by_text_or_by_their_threshold() {
        let group = |text: &str| Facet {
            value_or_threshold: text.to_owned(),
            metrics: Vec::new(),
            others: serde_json::Map::new(),
        };
        let known = [group("a"), group("(40, 75]"), group("(0.5, 1.0]")];
        let find = |text: &str| {
            let live = [group(text), group("other")];
            matching(&live[0], &live, &known).map(|found| found.value_or_threshold.clone())
        };
        assert_eq!(find("a").as_deref(), Some("a"));
        assert_eq!(find("(40, 71]").as_deref(), Some("(40, 75]"));
        assert_eq!(find("(40.0, 71.5]").as_deref(), Some("(40, 75]"));
        assert_eq!(find("(41, 75]"), None);
        assert_eq!(find("b"), None);
        // A single group was a value in a large table, and is an interval in a small one.
        let (one, other) = ([group("0")], [group("(0, 3]")]);
        assert_eq!(matching(&one[0], &one, &other), Some(&other[0]));
        assert_eq!(matching(&group("1"), &[group("1")], &one), None);
    }
}
