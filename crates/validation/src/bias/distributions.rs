//! The distributions that a bootstrap needs.

use crate::random::Random;

/// Up to this many trials, a binomial number is counted trial by trial.
const TRIALS: u64 = 24;

impl Random {
    /// A standard normal number (Marsaglia's polar method).
    fn normal(&mut self) -> f64 {
        loop {
            let (x, y) = (2.0 * self.unit() - 1.0, 2.0 * self.unit() - 1.0);
            let square = x * x + y * y;
            if square > 0.0 && square < 1.0 {
                return x * (-2.0 * square.ln() / square).sqrt();
            }
        }
    }

    /// A gamma number of a shape of at least 1, scale 1 (Marsaglia and Tsang, 2000).
    fn gamma(&mut self, shape: f64) -> f64 {
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 && self.unit().ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return d * v;
            }
        }
    }

    /// The number of successes in `trials` trials of probability `p`. The median of the trials'
    /// uniform numbers is a beta number, which halves the trials (Relles, 1972): exact, in
    /// logarithmic time.
    #[expect(clippy::cast_precision_loss, reason = "counts above 2^53 do not occur")]
    pub(super) fn binomial(&mut self, mut trials: u64, mut p: f64) -> u64 {
        let mut successes = 0;
        while trials > TRIALS && p > 0.0 && p < 1.0 {
            let rank = trials / 2 + 1;
            let after = trials - rank + 1;
            let (x, y) = (self.gamma(rank as f64), self.gamma(after as f64));
            let median = x / (x + y);
            if median >= p {
                trials = rank - 1;
                p /= median;
            } else {
                successes += rank;
                trials = after - 1;
                p = (p - median) / (1.0 - median);
            }
        }
        if p <= 0.0 || p >= 1.0 {
            return if p <= 0.0 {
                successes
            } else {
                successes + trials
            };
        }
        (0..trials).fold(successes, |sum, _| sum + u64::from(self.unit() < p))
    }

    /// Draws as many rows as `counts` has, with replacement, and returns how many are of each kind.
    #[expect(clippy::cast_precision_loss, reason = "counts above 2^53 do not occur")]
    pub(super) fn resample(&mut self, counts: &[u64]) -> Vec<u64> {
        let mut rest: u64 = counts.iter().sum();
        let mut open = rest;
        let mut drawn = Vec::with_capacity(counts.len());
        for count in counts {
            let some = if *count == rest {
                open
            } else {
                self.binomial(open, *count as f64 / rest as f64)
            };
            drawn.push(some);
            open -= some;
            rest -= count;
        }
        drawn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    fn binomial_numbers_have_their_mean_and_variance() {
        let mut random = Random::new(7, 0);
        for (trials, p) in [(10, 0.3), (1_000, 0.5), (1_000, 0.01), (2_000_000, 0.2)] {
            let draws: Vec<f64> = (0..4_000)
                .map(|_| random.binomial(trials, p) as f64)
                .collect();
            let mean = draws.iter().sum::<f64>() / 4_000.0;
            let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 4_000.0;
            let expected = trials as f64 * p * (1.0 - p);
            let error = (expected / 4_000.0).sqrt();
            assert!(
                (mean - trials as f64 * p).abs() < 4.0 * error,
                "{trials} {p} {mean}"
            );
            assert!(
                (variance / expected - 1.0).abs() < 0.1,
                "{trials} {p} {variance}"
            );
        }
        assert_eq!(random.binomial(100, 0.0), 0);
        assert_eq!(random.binomial(100, 1.0), 100);
    }

    #[test]
    fn a_resample_has_the_same_number_of_rows() {
        let counts = [5, 0, 1_000, 37, 0];
        for stream in 0..50 {
            let drawn = Random::new(1, stream).resample(&counts);
            assert_eq!(drawn.iter().sum::<u64>(), 1_042);
            assert_eq!((drawn[1], drawn[4]), (0, 0));
        }
        let other = Random::new(1, 3).resample(&counts);
        assert_eq!(Random::new(1, 3).resample(&counts), other);
        assert_ne!(Random::new(1, 4).resample(&counts), other);
    }
}
