//! Renders the report for a terminal.

use std::fmt;

use mlops_core::text;
use mlops_validation::Violation;

use super::{Bin, FeatureReport, MonitoringReport, counted, distance};

const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Width of a sparkline in characters.
const WIDTH: usize = 12;

impl fmt::Display for MonitoringReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = counted(self.rows, "row");
        match self.baseline_rows {
            Some(before) => writeln!(
                f,
                "{}, run {}: {rows}, baseline of {}",
                text::clean(&self.endpoint),
                text::clean(&self.run),
                counted(before, "row")
            )?,
            None => writeln!(
                f,
                "{}, run {}: {rows}; the baseline has no statistics, so drift is not measured",
                text::clean(&self.endpoint),
                text::clean(&self.run)
            )?,
        }
        if !self.features.is_empty() {
            writeln!(f)?;
            f.write_str(&text::table(
                &["FEATURE", "DISTANCE", "LIMIT", "BASELINE", "CURRENT", ""],
                self.features.iter().map(row),
            ))?;
        }
        verdict(f, self.inconclusive(), &self.violations, self.not_read())
    }
}

/// Writes why a run does not count as healthy, or its violations with a note.
pub(super) fn verdict(
    f: &mut fmt::Formatter<'_>,
    inconclusive: Option<String>,
    found: &[Violation],
    note: Option<String>,
) -> fmt::Result {
    writeln!(f)?;
    if let Some(reason) = inconclusive {
        return writeln!(f, "{}", text::clean(&reason));
    }
    if found.is_empty() {
        return writeln!(f, "no violations");
    }
    f.write_str(&violations(found))?;
    writeln!(f)?;
    if let Some(note) = note {
        writeln!(f, "{}", text::clean(&note))?;
    }
    writeln!(f, "{}", counted(found.len() as u64, "violation"))
}

/// Renders violations as a table of at most 80 columns.
pub fn violations(violations: &[Violation]) -> String {
    text::table(
        &["FEATURE", "CHECK", "DESCRIPTION"],
        violations.iter().map(|violation| {
            vec![
                violation.subject(),
                violation.constraint_check_type.clone(),
                violation.description.clone(),
            ]
        }),
    )
}

fn row(feature: &FeatureReport) -> Vec<String> {
    let (before, now) = sparklines(&feature.distribution, WIDTH);
    vec![
        feature.feature.clone(),
        distance(feature),
        format!("{:.3}", feature.threshold),
        before,
        now,
        if feature.drifted { "drift" } else { "" }.to_owned(),
    ]
}

/// Renders both distributions with at most `width` blocks on the same scale.
pub fn sparklines(bins: &[Bin], width: usize) -> (String, String) {
    let size = bins.len().div_ceil(width).max(1);
    let grouped: Vec<(f64, f64)> = bins
        .chunks(size)
        .map(|group| {
            (
                group.iter().map(|bin| bin.baseline).sum(),
                group.iter().map(|bin| bin.current).sum(),
            )
        })
        .collect();
    let top = grouped
        .iter()
        .fold(0.0, |top: f64, (before, now)| top.max(*before).max(*now));
    (
        grouped
            .iter()
            .map(|(before, _)| block(*before, top))
            .collect(),
        grouped.iter().map(|(_, now)| block(*now, top)).collect(),
    )
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and 7"
)]
fn block(value: f64, top: f64) -> char {
    if top <= 0.0 {
        return BLOCKS[0];
    }
    BLOCKS[((value / top * 7.0).round() as usize).min(7)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sparklines_have_one_scale() {
        let bin = |baseline: f64, current: f64| Bin {
            label: String::new(),
            lower: None,
            upper: None,
            baseline,
            current,
        };
        let bins = [bin(1.0, 0.5), bin(0.0, 0.5)];
        assert_eq!(sparklines(&bins, 12), ("█▁".to_owned(), "▅▅".to_owned()));
    }
}
