//! `mlops validate --explain FEATURE`: one column, in the baseline and now.

use std::fmt;

use anyhow::Result;
use serde::Serialize;

use crate::error::{Exit, Failure, Hint};
use crate::monitoring::{self, Bin};
use crate::output;
use crate::validation::constraints::FeatureConstraints;
use crate::validation::explain::{self, Explanation, Side};
use crate::validation::{Baseline, Statistics, Violations};

/// Characters of a sparkline.
const WIDTH: usize = 24;

/// One column, in the baseline and now, with its distributions over common ranges or categories.
#[derive(Debug, Serialize)]
pub(super) struct Explained {
    #[serde(flatten)]
    explanation: Explanation,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    distribution: Vec<Bin>,
}

/// Refuses a column that the baseline does not have, before any data is read.
pub(super) fn find<'a>(baseline: &'a Baseline, name: &str) -> Result<&'a FeatureConstraints> {
    explain::find(baseline, name).map_err(|nearest| {
        let failure = Failure::usage(format!("the baseline has no column `{name}`"));
        if nearest.is_empty() {
            return failure;
        }
        Err::<(), _>(failure)
            .hint(format!("the nearest names are {}", nearest.join(", ")))
            .unwrap_err()
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
