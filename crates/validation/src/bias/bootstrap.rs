//! Confidence intervals of metrics: the normal bootstrap interval, which the developer guide names for
//! bias drift ("Monitor Bias Drift for Models in Production"): value ± z · standard deviation of the
//! metric over resampled data.
//!
//! A resample of n rows with replacement is a multinomial sample of the counts, so the rows are not
//! needed. Resamples in which a metric is undefined or infinite do not count; if that is more than half
//! of them, there is no interval. The flip test's standard error is that of the mean of its flips, with
//! the neighbors fixed. Number of resamples and seed are unverified against AWS [bias-bootstrap].

use rayon::prelude::*;
use statrs::distribution::{ContinuousCDF, Normal};

use super::metrics::{CELLS, Cells, Counts, Metric};
use crate::random::Random;

/// Number of resamples: the standard errors are within 3 %.
const RESAMPLES: u64 = 500;

/// Fewest resamples, for counts with many groups: within 7 %.
const FEWEST: u64 = 100;

/// Budget of binomial numbers for all groups of an analysis, about a second of one processor. With it,
/// [`FEWEST`] resamples are drawn of up to 20,000 counts.
const BUDGET: u64 = 2_000_000;

/// Budget of binomial numbers beyond which there are no intervals, about ten seconds of one processor.
/// It suffices for [`FEWEST`] resamples of 200,000 counts.
const MAX_BUDGET: u64 = 10 * BUDGET;

/// Seed of the resamples ("bootstrp" in ASCII).
const SEED: u64 = 0x626f_6f74_7374_7270;

/// Returns the factor of the standard error for a confidence level (1.96 for 0.95).
pub(super) fn factor(confidence: f64) -> f64 {
    Normal::standard().inverse_cdf(f64::midpoint(1.0, confidence))
}

/// Returns the bootstrap standard error of each metric; `None` if it has none, or if [`FEWEST`] resamples
/// exceed [`MAX_BUDGET`]. `parts` is the number of calls among which the budgets are divided.
pub(super) fn standard_errors(
    counts: &Counts,
    metrics: &[Metric],
    parts: usize,
) -> Vec<Option<f64>> {
    let (cells, places) = nonzero(counts);
    let Some(resamples) = resamples(cells.len().max(counts.groups.len()), parts) else {
        return vec![None; metrics.len()];
    };
    let samples: Vec<Vec<f64>> = (0..resamples)
        .into_par_iter()
        .map(|stream| {
            let drawn = Random::new(SEED, stream).resample(&cells);
            let counts = rebuilt(&drawn, &places, counts.groups.len());
            let values = metrics.iter().map(|metric| counts.metric(*metric));
            values.map(|value| value.unwrap_or(f64::NAN)).collect()
        })
        .collect();
    (0..metrics.len())
        .map(|metric| {
            let values = samples.iter().map(|sample| sample[metric]);
            let finite: Vec<f64> = values.filter(|value| value.is_finite()).collect();
            (finite.len() * 2 > samples.len()).then(|| deviation(&finite))
        })
        .collect()
}

/// The number of resamples of `counts` counts in each of `parts` calls.
fn resamples(counts: usize, parts: usize) -> Option<u64> {
    let work = (counts as u64).saturating_mul(parts as u64).max(1);
    (MAX_BUDGET / work >= FEWEST).then(|| (BUDGET / work).clamp(FEWEST, RESAMPLES))
}

/// The place of a count: its group, and its index in the cells.
type Place = (Option<usize>, usize);

/// The counts that are not 0, disjoint: those of the groups, and of the rows without a group.
fn nonzero(counts: &Counts) -> (Vec<u64>, Vec<Place>) {
    let mut rest = counts.all;
    let mut found = Vec::new();
    for (group, cells) in counts.groups.iter().enumerate() {
        for index in 0..CELLS {
            rest.0[index] = rest.0[index].saturating_sub(cells.0[index]);
            found.push((cells.0[index], (Some(group), index)));
        }
    }
    found.extend((0..CELLS).map(|index| (rest.0[index], (None, index))));
    found.into_iter().filter(|(count, _)| *count > 0).unzip()
}

fn rebuilt(drawn: &[u64], places: &[Place], groups: usize) -> Counts {
    let mut counts = Counts {
        all: Cells::default(),
        groups: vec![Cells::default(); groups],
    };
    for (count, (group, index)) in drawn.iter().zip(places) {
        counts.all.0[*index] += count;
        if let Some(group) = group {
            counts.groups[*group].0[*index] += count;
        }
    }
    counts
}

#[expect(clippy::cast_precision_loss, reason = "at most 500 values")]
fn deviation(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / (count - 1.0)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 800 rows outside of the group (a quarter positive), 200 inside (half positive).
    fn counts() -> Counts {
        let all = Cells([600, 0, 0, 200, 0, 0, 100, 0, 0, 100, 0, 0]);
        Counts {
            all,
            groups: Vec::new(),
        }
    }

    #[test]
    fn standard_errors_are_those_of_proportions() {
        let errors = standard_errors(&counts(), &[Metric::CI, Metric::DPL, Metric::CDDL], 1);
        // Twice that of the share 0.2 of 1,000 rows; and of a difference of proportions.
        let ci = 2.0 * (0.2_f64 * 0.8 / 1_000.0).sqrt();
        let dpl = (0.25_f64 * 0.75 / 800.0 + 0.5 * 0.5 / 200.0).sqrt();
        assert!(
            (errors[0].unwrap() / ci - 1.0).abs() < 0.1,
            "{errors:?} {ci}"
        );
        assert!(
            (errors[1].unwrap() / dpl - 1.0).abs() < 0.1,
            "{errors:?} {dpl}"
        );
        assert_eq!(errors[2], None);
        assert_eq!(
            standard_errors(&counts(), &[Metric::CI, Metric::DPL, Metric::CDDL], 1),
            errors
        );
        assert!((factor(0.95) - 1.959_963_984_540_054).abs() < 1e-9);
    }

    #[test]
    fn there_are_no_intervals_beyond_the_budget() {
        assert_eq!(resamples(12, 1), Some(RESAMPLES));
        assert_eq!(resamples(80, 100), Some(250));
        assert_eq!(resamples(200, 1_000), Some(FEWEST));
        assert_eq!(resamples(201, 1_000), None);
        let errors = standard_errors(&counts(), &[Metric::CI, Metric::DPL], 1_000_000);
        assert_eq!(errors, [None, None]);
        // Strata without rows cost time, too.
        let mut strata = counts();
        strata.groups = vec![Cells::default(); 2_000];
        assert_eq!(standard_errors(&strata, &[Metric::CI], 101), [None]);
    }

    #[test]
    fn groups_and_rows_without_one_are_resampled_together() {
        let mut counts = counts();
        let group = Cells([300, 0, 0, 100, 0, 0, 50, 0, 0, 50, 0, 0]);
        counts.groups = vec![group];
        let (cells, places) = nonzero(&counts);
        assert_eq!(cells.iter().sum::<u64>(), 1_000);
        assert_eq!(rebuilt(&cells, &places, 1), counts);
    }
}
