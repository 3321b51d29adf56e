//! Counts of labels and predictions, of all rows and of each sample at once: a row adds one to the
//! count of its label, prediction and set of samples.

use std::collections::{BTreeSet, HashMap};

use super::rows::Rows;
use super::sample::{MASKS, SAMPLES};

/// Classes with codes below this are counted in an array.
const DENSE: usize = 8;

/// Counts by set of samples.
type Counts = [u64; MASKS];

/// The counts of every pair of classes.
#[derive(Debug, Default)]
pub(super) struct Confusion {
    counts: HashMap<(u32, u32), Counts>,
    /// The codes of the classes that occur, as labels or predictions.
    classes: BTreeSet<u32>,
}

/// A confusion matrix: `matrix[label][prediction]`.
pub(super) type Matrix = Vec<Vec<u64>>;

impl Confusion {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "codes of classes are small whole numbers"
    )]
    pub(super) fn add(&mut self, rows: &Rows) {
        let mut dense = vec![[0; MASKS]; DENSE * DENSE];
        for ((label, prediction), mask) in rows.label.iter().zip(&rows.prediction).zip(&rows.mask) {
            let (label, prediction, mask) = (
                *label as usize,
                *prediction as usize,
                usize::from(*mask) % MASKS,
            );
            if label < DENSE && prediction < DENSE {
                dense[label * DENSE + prediction][mask] += 1;
            } else {
                let pair = (label as u32, prediction as u32);
                self.counts.entry(pair).or_insert([0; MASKS])[mask] += 1;
            }
        }
        for (index, counts) in dense.iter().enumerate() {
            if counts.iter().any(|count| *count > 0) {
                let pair = ((index / DENSE) as u32, (index % DENSE) as u32);
                let sum = self.counts.entry(pair).or_insert([0; MASKS]);
                add(sum, counts);
            }
        }
        let pairs = self.counts.keys();
        self.classes = pairs.flat_map(|pair| [pair.0, pair.1]).collect();
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.classes.extend(other.classes);
        for (pair, counts) in other.counts {
            add(self.counts.entry(pair).or_insert([0; MASKS]), &counts);
        }
    }

    /// The codes of the classes that occur, as labels or predictions.
    pub(super) fn classes(&self) -> &BTreeSet<u32> {
        &self.classes
    }

    /// The matrix of all rows and that of each sample, of the given classes.
    pub(super) fn matrices(&self, classes: &[u32]) -> (Matrix, [Matrix; SAMPLES]) {
        let of = |counts: &dyn Fn(&Counts) -> u64| -> Matrix {
            let row = |label: &u32| {
                let cells = classes.iter();
                cells
                    .map(|prediction| self.counts.get(&(*label, *prediction)).map_or(0, counts))
                    .collect()
            };
            classes.iter().map(row).collect()
        };
        let all = of(&|counts| counts.iter().sum());
        let samples = std::array::from_fn(|sample| {
            of(&|counts| {
                let included = counts.iter().enumerate();
                let included = included.filter(|(mask, _)| mask >> sample & 1 == 1);
                included.map(|(_, count)| count).sum()
            })
        });
        (all, samples)
    }
}

fn add(sum: &mut Counts, more: &Counts) {
    for (sum, more) in sum.iter_mut().zip(more) {
        *sum += more;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_few_and_many_classes_agree() {
        let rows = |shift: f64| Rows {
            label: (0..1000).map(|row| f64::from(row % 3) + shift).collect(),
            prediction: (0..1000)
                .map(|row| f64::from(row % 7 % 3) + shift)
                .collect(),
            mask: (0..1000)
                .map(|row| u8::try_from(row % 32).unwrap())
                .collect(),
            probability: Vec::new(),
        };
        let (mut few, mut many) = (Confusion::default(), Confusion::default());
        few.add(&rows(0.0));
        many.add(&rows(100.0));
        let mut twice = Confusion::default();
        twice.add(&rows(0.0));
        twice.merge(few);
        assert_eq!(twice.classes(), &BTreeSet::from([0, 1, 2]));
        assert_eq!(many.classes(), &BTreeSet::from([100, 101, 102]));
        let (all, samples) = many.matrices(&[100, 101, 102]);
        assert_eq!(all.iter().flatten().sum::<u64>(), 1000);
        let (double, double_samples) = twice.matrices(&[0, 1, 2]);
        let doubled = |matrix: &Matrix| -> Matrix {
            matrix
                .iter()
                .map(|row| row.iter().map(|count| count * 2).collect())
                .collect()
        };
        assert_eq!(double, doubled(&all));
        assert_eq!(
            double_samples,
            std::array::from_fn(|sample| doubled(&samples[sample]))
        );
        let half: u64 = samples[0].iter().flatten().sum();
        assert_eq!(half, 500);
        assert_eq!(
            all[0][1],
            (0..1000).filter(|r| r % 3 == 0 && r % 7 % 3 == 1).count() as u64
        );
    }
}
