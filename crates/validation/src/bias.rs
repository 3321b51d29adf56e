//! Bias metrics of data and predictions, as SageMaker Clarify computes them, and their drift.
//!
//! [`analyze`] reads the data once, in bounded memory, and returns the content of `analysis.json` (the
//! statistics, and the constraints of later runs), confidence intervals, and the violations of a
//! baseline. Names, descriptions, order and spelling are those of Clarify's files. Formulas are in
//! [`Metric`], rules for groups in [`Selection`], the flip test's bound in [`MAX_ROWS`].
//!
//! Rows without a label do not count; rows without a prediction count for pre-training metrics only; rows
//! without a facet's value do not count for that facet. Unverified against AWS [bias-missing]: its open
//! library counts a missing facet as outside of the group and a missing label as unfavorable. Rows without
//! a value of the group variable do not count for CDDL and CDDPL, as in AWS's library.

use serde_json::Map;

use super::clarify::{Analysis, BiasMetric, BiasMetrics, Facet, Facets};
use super::{DataError, Format, NO_ROWS, Source, Violations};

mod bootstrap;
mod config;
mod distributions;
mod drift;
mod flip;
mod metrics;
mod rows;
mod section;
mod selection;
mod settings;
mod tally;
#[cfg(test)]
mod tests;

pub use config::{AnalysisConfig, parse as parse_config};
pub use drift::{BiasBaseline, Check, MetricInterval};
pub use flip::MAX_ROWS;
pub use metrics::Metric;
pub use section::{FacetSection, Scalar, Section};
pub use selection::{MAX_GROUPS, MAX_VALUES, Selection, Value};
pub use settings::{CONFIDENCE, Column, FacetSettings, MAX_COLUMNS, Prediction, Settings};
pub use tally::Skipped;

use tally::{GroupCounts, Tallied, TalliedFacet, Tally};

/// The name of the file with the metrics.
pub const ANALYSIS: &str = "analysis.json";

/// The result of an analysis.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// `analysis.json`.
    pub analysis: Analysis,
    /// Confidence intervals of the finite metrics.
    pub intervals: Vec<MetricInterval>,
    /// `constraint_violations.json`; `None` without a baseline.
    pub violations: Option<Violations>,
    /// Rows of data.
    pub rows: u64,
    /// Rows that did not count.
    pub skipped: Skipped,
}

/// Analyzes data, and compares it with a baseline if there is one.
///
/// # Errors
/// Invalid settings; a source that cannot be read or parsed, by name and line; a column that the data
/// does not have; data without rows ([`DataError::is_empty`]); a baseline without any of the metrics.
pub fn analyze(
    settings: &Settings,
    sources: Vec<Source>,
    format: &Format,
    baseline: Option<&BiasBaseline>,
) -> Result<Outcome, DataError> {
    let invalid = |message: String| DataError::new("the bias analysis", message);
    settings.check().map_err(invalid)?;
    let place = match sources.as_slice() {
        [] => "the data".to_owned(),
        [only] => only.name.clone(),
        [first, ..] => format!("{} and {} more", first.name, sources.len() - 1),
    };
    let mut tally = Tally::new(settings);
    rows::read(settings, sources, format, &mut tally)?;
    if tally.is_empty() {
        return Err(DataError::new(place, NO_ROWS));
    }
    let tallied = tally
        .finish()
        .map_err(|message| DataError::new(place, message))?;
    let (analysis, intervals) = report(settings, &tallied);
    let violations = baseline
        .map(|baseline| drift::check(&analysis, &intervals, baseline))
        .transpose()
        .map_err(|message| DataError::new("the bias baseline", message))?;
    Ok(Outcome {
        analysis,
        intervals,
        violations,
        rows: tallied.rows,
        skipped: tallied.skipped,
    })
}

/// The file, and the intervals of its metrics.
fn report(settings: &Settings, tallied: &Tallied) -> (Analysis, Vec<MetricInterval>) {
    let metrics = [&settings.post_training[..], &settings.pre_training[..]].concat();
    let (mut post, mut pre) = (Vec::new(), Vec::new());
    let mut intervals = Vec::new();
    let factor = bootstrap::factor(settings.confidence);
    let parts = tallied.group_count();
    for (index, TalliedFacet { name: facet, .. }) in tallied.facets.iter().enumerate() {
        let (mut post_groups, mut pre_groups) = (Vec::new(), Vec::new());
        for group in tallied.groups(index) {
            let (mut reports, errors) = group_report(&group, &metrics, parts);
            let found = reports.iter().zip(errors).enumerate();
            intervals.extend(found.filter_map(|(index, (metric, error))| {
                let value = metric.value.filter(|value| value.is_finite())?;
                let reach = factor * error?;
                Some(MetricInterval {
                    post_training: index < settings.post_training.len(),
                    facet: facet.clone(),
                    facet_value: group.text.clone(),
                    metric: metric.name.clone(),
                    low: value - reach,
                    high: value + reach,
                })
            }));
            let pre_reports = reports.split_off(settings.post_training.len());
            for (groups, metrics) in [(&mut post_groups, reports), (&mut pre_groups, pre_reports)] {
                groups.push(Facet {
                    value_or_threshold: group.text.clone(),
                    metrics,
                    others: Map::new(),
                });
            }
        }
        post.push((facet.clone(), post_groups));
        pre.push((facet.clone(), pre_groups));
    }
    let stage = |metrics: &[Metric], facets, text: &str| {
        (!metrics.is_empty()).then(|| BiasMetrics {
            label: tallied.label.clone(),
            facets: Facets(facets),
            label_value_or_threshold: Some(text.to_owned()),
            others: Map::new(),
        })
    };
    let analysis = Analysis {
        version: "1.0".to_owned(),
        explanations: None,
        post_training_bias_metrics: stage(&settings.post_training, post, &tallied.predicted_text),
        pre_training_bias_metrics: stage(&settings.pre_training, pre, &tallied.label_text),
        others: Map::new(),
    };
    (analysis, intervals)
}

/// The metrics of one group, and their standard errors.
fn group_report(
    group: &GroupCounts,
    metrics: &[Metric],
    parts: usize,
) -> (Vec<BiasMetric>, Vec<Option<f64>>) {
    let mut errors = bootstrap::standard_errors(&group.counts, metrics, parts);
    let mut reports = Vec::with_capacity(metrics.len());
    for (metric, standard_error) in metrics.iter().zip(&mut errors) {
        let value = match (metric, &group.flips) {
            (Metric::FT, Some(flips)) => {
                *standard_error = flips.as_ref().ok().map(|flips| flips.standard_error());
                let value = flips.as_ref().map(|flips| flips.value());
                value.map_err(Clone::clone)
            }
            _ => group.counts.metric(*metric).map_err(str::to_owned),
        };
        reports.push(BiasMetric {
            name: metric.name().to_owned(),
            description: metric.description().to_owned(),
            value: value.as_ref().ok().copied(),
            error: value.err(),
            others: Map::new(),
        });
    }
    (reports, errors)
}
