//! The curves of a binary classification and the areas under them, as Spark's
//! `BinaryClassificationMetrics` computes them, on which AWS's analyzer is built.
//!
//! Thresholds are the distinct probabilities, in descending order. The receiver operating
//! characteristic has a point for each, after (0, 0) and before (1, 1); the precision-recall curve
//! has one for each, after (0, the first precision). An area is the sum of trapezoids, in the order
//! of the points: the area of binary-churn is AWS's to the last digit.
//!
//! Areas are exact: they use all thresholds. Curves have at most about 1,000 points: from 2,000
//! thresholds on, n/1000 neighbors become one point, as by Spark's `numBins` of 1000. unverified
//! against AWS [curve-points]: no public file with more than 2,000 thresholds is known.

use rayon::slice::ParallelSliceMut as _;

use super::rows::Rows;
use super::sample::SAMPLES;

/// Spark's `numBins`.
const POINTS: usize = 1000;

/// The probabilities of rows.
#[derive(Debug, Default)]
pub(super) struct Scores {
    blocks: Vec<Vec<Score>>,
}

/// The probability of a row.
#[derive(Debug, Clone, Copy)]
struct Score {
    probability: f64,
    label: u32,
    mask: u8,
}

/// Areas and curves.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Curves {
    /// The area under the receiver operating characteristic: of all rows, then of each sample.
    pub(super) auc: [f64; SAMPLES + 1],
    /// The area under the precision-recall curve.
    pub(super) au_prc: [f64; SAMPLES + 1],
    pub(super) false_positive_rates: Vec<f64>,
    pub(super) true_positive_rates: Vec<f64>,
    pub(super) precisions: Vec<f64>,
    pub(super) recalls: Vec<f64>,
}

impl Scores {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "codes of classes are small whole numbers"
    )]
    pub(super) fn add(&mut self, rows: &Rows) {
        if rows.probability.is_empty() {
            return;
        }
        let rows = rows.probability.iter().zip(&rows.label).zip(&rows.mask);
        let scores = rows.map(|((probability, label), mask)| Score {
            // -0.0 is the same threshold as 0.0.
            probability: probability + 0.0,
            label: *label as u32,
            mask: *mask,
        });
        self.blocks.push(scores.collect());
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.blocks.extend(other.blocks);
    }

    /// Computes areas and curves; `None` without rows that have a probability.
    pub(super) fn curves(self, positive: u32) -> Option<Curves> {
        let count = self.blocks.iter().map(Vec::len).sum();
        if count == 0 {
            return None;
        }
        let mut scores = Vec::with_capacity(count);
        for block in self.blocks {
            scores.extend_from_slice(&block);
        }
        scores.par_sort_unstable_by(|a, b| b.probability.total_cmp(&a.probability));
        let mut totals = [Point::default(); SAMPLES + 1];
        let mut thresholds = 0;
        for group in groups(&scores) {
            thresholds += 1;
            for score in group {
                score.count(positive, &mut totals);
            }
        }
        let mut curves = Curves::default();
        let mut lines: [Line; SAMPLES + 1] = std::array::from_fn(|index| Line::new(totals[index]));
        let bin = (thresholds / POINTS).max(1);
        let mut drawn = Drawing::new(totals[0]);
        let mut points = [Point::default(); SAMPLES + 1];
        for (index, group) in groups(&scores).enumerate() {
            for score in group {
                score.count(positive, &mut points);
            }
            for (line, point) in lines.iter_mut().zip(points) {
                line.to(point);
            }
            if (index + 1) % bin == 0 || index + 1 == thresholds {
                drawn.add(points[0], &mut curves);
            }
        }
        curves.false_positive_rates.push(1.0);
        curves.true_positive_rates.push(1.0);
        for (index, line) in lines.into_iter().enumerate() {
            (curves.auc[index], curves.au_prc[index]) = line.areas();
        }
        Some(curves)
    }
}

/// Rows of the same probability.
fn groups(scores: &[Score]) -> impl Iterator<Item = &[Score]> {
    scores.chunk_by(|a, b| a.probability.to_bits() == b.probability.to_bits())
}

impl Score {
    #[inline]
    fn count(&self, positive: u32, points: &mut [Point; SAMPLES + 1]) {
        let is_positive = u64::from(self.label == positive);
        // All rows, then the samples.
        let member = self.mask << 1 | 1;
        for (sample, point) in points.iter_mut().enumerate() {
            let included = u64::from(member >> sample & 1);
            point.positive += included & is_positive;
            point.negative += included & (1 - is_positive);
        }
    }
}

/// Numbers of positive and negative rows with at least some probability.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Point {
    positive: u64,
    negative: u64,
}

#[expect(clippy::cast_precision_loss, reason = "counts above 2^53 do not occur")]
fn ratio(part: u64, all: u64) -> f64 {
    part as f64 / all as f64
}

impl Point {
    /// The false positive rate and the true positive rate. Spark's rate is 0 without any such row.
    fn rates(self, total: Point) -> (f64, f64) {
        let rate = |part, all| if all == 0 { 0.0 } else { ratio(part, all) };
        (
            rate(self.negative, total.negative),
            rate(self.positive, total.positive),
        )
    }

    fn precision(self) -> f64 {
        ratio(self.positive, self.positive + self.negative)
    }
}

/// The areas under both curves, up to a point.
struct Line {
    total: Point,
    point: Point,
    precision: f64,
    rates: (f64, f64),
    auc: f64,
    au_prc: f64,
}

impl Line {
    fn new(total: Point) -> Self {
        Self {
            total,
            point: Point::default(),
            precision: f64::NAN,
            rates: (0.0, 0.0),
            auc: 0.0,
            au_prc: 0.0,
        }
    }

    fn to(&mut self, point: Point) {
        // A threshold without rows in one of the samples.
        if point == self.point {
            return;
        }
        let rates = point.rates(self.total);
        let precision = point.precision();
        let before = if self.precision.is_nan() {
            precision
        } else {
            self.precision
        };
        self.auc += (rates.0 - self.rates.0) * (rates.1 + self.rates.1) / 2.0;
        self.au_prc += (rates.1 - self.rates.1) * (precision + before) / 2.0;
        (self.point, self.rates, self.precision) = (point, rates, precision);
    }

    /// Without negative rows the area is 1, as in AWS's file (binary-maintenance). Without positive
    /// rows neither is a number (Spark's is 0, although the data does not support any value).
    fn areas(self) -> (f64, f64) {
        if self.total.positive == 0 {
            return (f64::NAN, f64::NAN);
        }
        let last = (1.0 - self.rates.0) * (1.0 + self.rates.1) / 2.0;
        (self.auc + last, self.au_prc)
    }
}

/// The curves' points.
struct Drawing {
    total: Point,
    is_started: bool,
}

impl Drawing {
    fn new(total: Point) -> Self {
        Self {
            total,
            is_started: false,
        }
    }

    fn add(&mut self, point: Point, curves: &mut Curves) {
        let (false_positive, true_positive) = point.rates(self.total);
        if !std::mem::replace(&mut self.is_started, true) {
            curves.false_positive_rates.push(0.0);
            curves.true_positive_rates.push(0.0);
            curves.precisions.push(point.precision());
            curves.recalls.push(0.0);
        }
        curves.false_positive_rates.push(false_positive);
        curves.true_positive_rates.push(true_positive);
        curves.precisions.push(point.precision());
        curves.recalls.push(true_positive);
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the values are exact")]
mod tests {
    use super::super::sample;
    use super::*;

    fn curves(rows: impl Iterator<Item = (f64, f64)>) -> Option<Curves> {
        let mut block = Rows::default();
        for (index, (probability, label)) in rows.enumerate() {
            block.probability.push(probability);
            block.label.push(label);
            block.mask.push(sample::mask(index as u64));
        }
        let mut scores = Scores::default();
        scores.add(&block);
        scores.curves(1)
    }

    /// The developer guide's example has these points: four positive rows and no negative one.
    #[test]
    fn the_points_of_the_developer_guide() {
        let found = curves([0.9, 0.8, 0.7, 0.6].into_iter().map(|p| (p, 1.0))).unwrap();
        assert_eq!(found.false_positive_rates, [0.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
        assert_eq!(found.true_positive_rates, [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]);
        assert_eq!(found.precisions, [1.0; 5]);
        assert_eq!(found.recalls, [0.0, 0.25, 0.5, 0.75, 1.0]);
        assert_eq!((found.auc[0], found.au_prc[0]), (1.0, 1.0));
    }

    /// `roc_auc_score([0, 0, 1, 1, 0], [.1, .4, .35, .8, .35])` of scikit-learn is 0.75.
    #[test]
    fn equal_probabilities_are_one_threshold() {
        let rows = [(0.1, 0.0), (0.4, 0.0), (0.35, 1.0), (0.8, 1.0), (0.35, 0.0)];
        let found = curves(rows.into_iter()).unwrap();
        assert_eq!(found.auc[0], 0.75);
        assert_eq!(found.recalls, [0.0, 0.5, 0.5, 1.0, 1.0]);
        let third = 1.0 / 3.0;
        assert_eq!(
            found.false_positive_rates,
            [0.0, 0.0, third, 2.0 * third, 1.0, 1.0]
        );
        assert_eq!(found.precisions, [1.0, 1.0, 0.5, 0.5, 0.4]);
    }

    #[test]
    fn one_class_or_no_rows() {
        assert_eq!(curves(std::iter::empty()), None);
        let found = curves([(0.5, 0.0), (0.25, 0.0)].into_iter()).unwrap();
        assert!(found.auc[0].is_nan() && found.au_prc[0].is_nan());
        assert_eq!(found.true_positive_rates, [0.0, 0.0, 0.0, 1.0]);
    }

    #[test]
    fn long_curves_are_shortened_and_areas_are_not() {
        let rows = |count: u32| {
            (0..count).map(move |row| {
                let probability = f64::from(row) / f64::from(count);
                (
                    probability,
                    f64::from(u8::from(
                        row.wrapping_mul(2_654_435_761) % 1000 < row * 1000 / count,
                    )),
                )
            })
        };
        assert_eq!(curves(rows(1999)).unwrap().recalls.len(), 2000);
        let found = curves(rows(2500)).unwrap();
        assert_eq!(found.recalls.len(), 1 + 1250);
        assert_eq!(found.false_positive_rates.len(), 2 + 1250);
        assert_eq!(found.recalls.last(), Some(&1.0));
        // The share of pairs in order.
        let rows: Vec<_> = rows(2500).collect();
        let of = |label: f64| rows.iter().filter(move |row| row.1 == label);
        let pairs =
            of(1.0).flat_map(|one| of(0.0).map(move |zero| f64::from(u8::from(one.0 > zero.0))));
        let (mut sum, mut count) = (0.0, 0.0);
        for pair in pairs {
            sum += pair;
            count += 1.0;
        }
        assert!(
            (found.auc[0] - sum / count).abs() < 1e-13,
            "{} {}",
            found.auc[0],
            sum / count
        );
        for sample in &found.auc[1..] {
            assert!((sample - found.auc[0]).abs() < 0.01 && sample != &found.auc[0]);
        }
    }
}
