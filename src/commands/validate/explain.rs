//! `mlops validate --explain FEATURE`: compares one column with its baseline.

use std::fmt;

use anyhow::Result;
use mlops_core::error::{Exit, Failure, hinted};
use mlops_core::text;
use mlops_validation::constraints::FeatureConstraints;
use mlops_validation::explain::{self, Explanation, Side};
use mlops_validation::{Baseline, Statistics, Violations};
use serde::Serialize;

use crate::monitoring::{self, Bin};

/// Width of a sparkline in characters.
const WIDTH: usize = 24;

/// One column in the baseline and in the data, with distributions over common ranges or categories.
#[derive(Debug, Serialize)]
pub(super) struct Explained {
    #[serde(flatten)]
    explanation: Explanation,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    distribution: Vec<Bin>,
}

/// Rejects a column that the baseline does not have, before reading any data.
pub(super) fn find<'a>(baseline: &'a Baseline, name: &str) -> Result<&'a FeatureConstraints> {
    explain::find(baseline, name).map_err(|nearest| {
        hinted(
            Failure::usage(format!("the baseline has no column `{name}`")),
            format!("similar names: {}", nearest.join(", ")),
        )
    })
}

/// Explains one column of the data.
pub(super) fn explain(
    feature: &FeatureConstraints,
    baseline: &Baseline,
    current: &Statistics,
    violations: &Violations,
) -> Result<Explained> {
    let explanation = explain::explain(feature, baseline, current, violations)
        .map_err(|text| Failure::new(Exit::Failed, text))?;
    let of = |statistics: &Statistics| {
        statistics
            .features
            .iter()
            .find(|found| found.name == feature.name)
            .cloned()
    };
    let before = baseline.statistics.as_ref().and_then(of);
    Ok(Explained {
        distribution: before
            .zip(of(current))
            .map(|(before, now)| monitoring::distribution(&before, &now))
            .unwrap_or_default(),
        explanation,
    })
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let explanation = &self.explanation;
        let (before, now) = (explanation.baseline, explanation.current);
        let (left, right) = monitoring::sparklines(&self.distribution, WIDTH);
        let mut rows = vec![];
        if !left.is_empty() {
            rows.push(vec!["distribution".to_owned(), left, right]);
        }
        rows.extend(sides(before, now));
        rows.extend(explanation.quantiles.iter().map(|quantile| {
            vec![
                format!("{} %", quantile.share * 100.0),
                optional(quantile.baseline),
                optional(quantile.current),
            ]
        }));
        rows.extend(explanation.categories.iter().map(|category| {
            vec![
                shorten(&category.value),
                percent(category.baseline),
                percent(category.current),
            ]
        }));
        let name = text::clean(&explanation.feature).to_uppercase();
        f.write_str(&text::table(
            &[&shorten(&name), "BASELINE", "CURRENT"],
            rows,
        ))?;
        if !explanation.distances.is_empty() {
            writeln!(f)?;
            let rows = explanation.distances.iter().map(|distance| {
                vec![
                    distance.method.to_owned(),
                    monitoring::number(distance.value),
                    optional(distance.threshold),
                    match distance.drifted {
                        Some(true) => "drift",
                        Some(false) => "ok",
                        None => "not checked",
                    }
                    .to_owned(),
                ]
            });
            f.write_str(&text::table(
                &["METHOD", "DISTANCE", "THRESHOLD", "VERDICT"],
                rows,
            ))?;
        }
        if explanation.violations.is_empty() {
            return writeln!(f, "\nno violations");
        }
        write!(f, "\n{}", monitoring::violations(&explanation.violations))
    }
}

fn sides(before: Option<Side>, now: Option<Side>) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut row = |name: &str, text: &dyn Fn(Side) -> Option<String>| {
        let cells = [before, now].map(|side| side.and_then(text));
        if cells.iter().any(Option::is_some) {
            let [before, now] = cells.map(|cell| cell.unwrap_or_else(|| "-".to_owned()));
            rows.push(vec![name.to_owned(), before, now]);
        }
    };
    row("type", &|side| Some(side.inferred_type.to_string()));
    row("present", &|side| Some(side.num_present.to_string()));
    row("missing", &|side| Some(side.num_missing.to_string()));
    row("complete", &|side| Some(percent(Some(side.completeness))));
    row("distinct", &|side| {
        side.distinct.map(|count| format!("{count:.0}"))
    });
    row("mean", &|side| side.mean.map(monitoring::number));
    row("std_dev", &|side| side.std_dev.map(monitoring::number));
    row("min", &|side| side.min.map(monitoring::number));
    row("max", &|side| side.max.map(monitoring::number));
    rows
}

fn optional(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), monitoring::number)
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.2} %", share * 100.0))
}

/// Shortens a name to 24 characters, for the first column of an 80-column table.
fn shorten(text: &str) -> String {
    if text.chars().count() > 24 {
        text.chars().take(23).chain(['…']).collect()
    } else {
        text.to_owned()
    }
}
