//! The random samples that standard deviations come from.
//!
//! "Model Monitor computes standard deviation by randomly sampling 80% of the data 5 times, computing
//! the metric, and taking the standard deviation for those results", from 200 rows on (developer
//! guide). Which rows AWS draws is not known; its figures are those of samples without replacement
//! with the standard deviation of the population: in a public run with one error in 201 rows the
//! deviation of the accuracy is 0.00239 = 0.4/167, which is an error that one of five samples of
//! about 160 rows lacks (the deviation of a sample would be 0.447/n, of n = 187 rows).
//!
//! A row's samples are a function of its key (the hash of its id, or its number in a table) and of
//! [`SEED`]. They depend neither on the order of files nor on the number of threads, and no sample is
//! copied: a row carries one bit per sample.

use crate::random::mix;

/// Number of samples.
pub(super) const SAMPLES: usize = 5;

/// Minimum number of rows for a standard deviation.
pub(super) const MINIMUM_ROWS: u64 = 200;

/// Number of different masks.
pub(super) const MASKS: usize = 1 << SAMPLES;

/// The seed of the random numbers: the first digits of the golden ratio, as in `SplitMix64`.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// Bits of the random number per sample.
const LANE: u32 = 12;

/// 80 % of 2^12; the exact share is 80.005 %.
const SHARE: u64 = 3277;

/// Returns the samples that contain a row: bit i for sample i.
#[expect(clippy::cast_possible_truncation, reason = "one bit per sample")]
pub(super) fn mask(key: u64) -> u8 {
    let random = mix(key.wrapping_add(SEED));
    (0..SAMPLES as u32).fold(0, |mask, sample| {
        let lane = (random >> (sample * LANE)) & ((1 << LANE) - 1);
        mask | (u8::from(lane < SHARE) << sample)
    })
}

/// The key of a row of an event or a table.
pub(super) fn key(id: u64, row: u64) -> u64 {
    id.wrapping_add(mix(row))
}

/// The standard deviation of the population of samples; not a number if any of them is not, or with
/// fewer than [`MINIMUM_ROWS`] rows.
pub(super) fn deviation(samples: [f64; SAMPLES], rows: u64) -> f64 {
    if rows < MINIMUM_ROWS {
        return f64::NAN;
    }
    let count = f64::from(u8::try_from(SAMPLES).unwrap_or(u8::MAX));
    let mean = samples.iter().sum::<f64>() / count;
    let squares: f64 = samples.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / count).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_contain_80_percent_and_are_independent() {
        let masks: Vec<u8> = (0..100_000).map(|row| mask(key(42, row))).collect();
        for sample in 0..SAMPLES {
            let count = masks.iter().filter(|mask| *mask >> sample & 1 == 1).count();
            assert!((79_500..80_500).contains(&count), "{count}");
            for other in 0..sample {
                let both = masks
                    .iter()
                    .filter(|mask| *mask >> sample & *mask >> other & 1 == 1);
                let both = both.count();
                assert!((63_400..64_600).contains(&both), "{both}");
            }
        }
        assert_eq!(
            masks[..4],
            (0..4).map(|row| mask(key(42, row))).collect::<Vec<_>>()
        );
    }

    /// AWS's figure in the module's comment.
    #[test]
    fn deviations_are_those_of_the_population() {
        let samples = [
            1.0 - 1.0 / 167.0,
            1.0 - 1.0 / 167.0,
            1.0,
            1.0 - 1.0 / 167.0,
            1.0 - 1.0 / 167.0,
        ];
        assert!((deviation(samples, 201) - 0.00239).abs() < 6e-6);
        assert!(deviation(samples, 199).is_nan());
        assert!(deviation([f64::NAN; 5], 201).is_nan());
    }
}
