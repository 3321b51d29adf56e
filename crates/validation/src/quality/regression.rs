//! The metrics of a regression: `mae`, `mse`, `rmse` and `r2`, as Spark's `RegressionMetrics` defines
//! them (`r2` is 1 − Σ(y − ŷ)² / Σ(y − ȳ)²).

use super::rows::Rows;
use super::sample::SAMPLES;
use super::{Metrics, metric};

/// The sums of all rows, and of each sample.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Errors([Sums; SAMPLES + 1]);

/// Sums of rows. The labels' squares are around their mean, so that large labels lose no digits.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    count: f64,
    absolute: f64,
    squared: f64,
    mean: f64,
    around_mean: f64,
}

impl Sums {
    /// Merges by the formula of Chan, Golub and `LeVeque`.
    fn merge(&mut self, other: &Self) {
        let count = self.count + other.count;
        if other.count == 0.0 {
            return;
        }
        let difference = other.mean - self.mean;
        self.mean += difference * (other.count / count);
        self.around_mean +=
            other.around_mean + difference * difference * (self.count * other.count / count);
        self.absolute += other.absolute;
        self.squared += other.squared;
        self.count = count;
    }

    /// The metrics in AWS's order. Errors that are too large for a double are infinite. `r2` is not a
    /// number if the variance of the labels is 0, or too large for a double.
    fn metrics(&self) -> [f64; 4] {
        let mse = self.squared / self.count;
        let r2 = if self.around_mean > 0.0 && self.around_mean.is_finite() {
            1.0 - self.squared / self.around_mean
        } else {
            f64::NAN
        };
        [self.absolute / self.count, mse, mse.sqrt(), r2]
    }
}

impl Errors {
    pub(super) fn of(rows: &Rows) -> Self {
        let mut all = [Sums::default(); SAMPLES + 1];
        let values = || rows.label.iter().zip(&rows.prediction).zip(&rows.mask);
        for ((label, prediction), mask) in values() {
            let error = label - prediction;
            let (absolute, squared) = (error.abs(), error * error);
            // The last bit is for all rows. A product has no branch to mispredict.
            for (sample, sums) in all.iter_mut().enumerate() {
                let weight = f64::from((mask | 1 << SAMPLES) >> sample & 1);
                sums.count += weight;
                sums.absolute += weight * absolute;
                sums.squared += weight * squared;
                sums.mean += weight * label;
            }
        }
        for sums in &mut all {
            sums.mean /= sums.count.max(1.0);
        }
        for ((label, _), mask) in values() {
            for (sample, sums) in all.iter_mut().enumerate() {
                let weight = f64::from((mask | 1 << SAMPLES) >> sample & 1);
                let difference = label - sums.mean;
                sums.around_mean += weight * (difference * difference);
            }
        }
        Self(all)
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (sums, more) in self.0.iter_mut().zip(&other.0) {
            sums.merge(more);
        }
    }

    /// The members of `regression_metrics`.
    pub(super) fn metrics(&self, rows: u64) -> Metrics {
        let of_all = self.0[SAMPLES].metrics();
        let names = ["mae", "mse", "rmse", "r2"].iter().enumerate();
        names
            .map(|(index, name)| {
                let samples = std::array::from_fn(|sample| self.0[sample].metrics()[index]);
                ((*name).to_owned(), metric(of_all[index], samples, rows))
            })
            .collect()
    }
}
