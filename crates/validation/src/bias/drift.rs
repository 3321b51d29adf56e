//! Bias drift: metrics compared with those of a baseline.
//!
//! The plain check is the one of the developer guide's "Bias Drift Violations": a metric is a violation if
//! it is farther from 0 than the baseline's. It is what AWS's monitor does: of the run in
//! `tests/data/aws-output/clarify/adult-bias`, all confusion matrices follow from the violations' values,
//! and so do the metrics that are none. DI is no exception there: 0.083 after 0.178 is no violation,
//! though farther from 1.

use serde::Serialize;

use super::super::clarify::{Analysis, BiasMetrics, Facet};
use super::super::violations::{Violation, Violations};
use super::selection::spelled;

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
            .filter(|interval| interval.post_training == post_training);
        let intervals: Vec<&MetricInterval> = intervals.collect();
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

/// Compares one stage; returns the number of metrics that were compared.
fn stage(
    live: &BiasMetrics,
    known: &BiasMetrics,
    intervals: &[&MetricInterval],
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
                let interval = intervals.iter().find(|interval| {
                    interval.facet == *facet
                        && interval.facet_value == group.value_or_threshold
                        && interval.metric == metric.name
                });
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
    match (check, interval) {
        (Check::FartherFromZero, _) => value.abs() > expected.abs(),
        (Check::Interval { tolerance }, None) => value.abs() > expected.abs() + tolerance,
        (Check::Interval { tolerance }, Some(interval)) => {
            let limit = expected.abs() + tolerance;
            interval.low > limit || interval.high < -limit
        }
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
