//! The coalitions that Kernel SHAP evaluates: sets of features that have the value of the row, while
//! the others have a background row's value.
//!
//! As in the `shap` package: the smallest and largest sizes, which have the largest Shapley kernel
//! weights, are enumerated as long as the number of samples suffices; the rest is drawn at random,
//! each coalition together with its complement. With a sufficient number of samples every coalition
//! is included, and the result is exact.

use std::collections::HashMap;
use std::ops::Range;

use crate::random::Random;

/// From this number of features on, the number of coalitions does not limit the samples.
const MANY: usize = 31;

/// The number of draws per missing sample after which sampling stops, because almost all draws
/// repeat earlier ones.
const DRAWS: usize = 4;

/// Weighted coalitions of one row. A coalition is a set of bits: bit `i` is feature `i`.
#[derive(Debug)]
pub(super) struct Coalitions {
    features: usize,
    words: usize,
    masks: Vec<u64>,
    /// Runs of coalitions with the same weight: the weight, and the end of the run.
    runs: Vec<(f64, usize)>,
}

/// Returns whether a coalition includes a feature.
pub(super) fn includes(mask: &[u64], feature: usize) -> bool {
    mask[feature / 64] >> (feature % 64) & 1 == 1
}

/// The features of a coalition in ascending order.
pub(super) fn members(mask: &[u64]) -> impl Iterator<Item = usize> {
    mask.iter().enumerate().flat_map(|(word, bits)| {
        let mut rest = *bits;
        std::iter::from_fn(move || {
            (rest != 0).then(|| {
                let bit = rest.trailing_zeros() as usize;
                rest &= rest - 1;
                word * 64 + bit
            })
        })
    })
}

/// Maximum number of coalitions for a number of features and samples: neither the empty nor the full
/// coalition counts.
pub(super) fn count(features: usize, samples: usize) -> usize {
    if features < 2 {
        0
    } else if features < MANY {
        samples.min((1 << features) - 2)
    } else {
        samples
    }
}

impl Coalitions {
    /// Selects up to `samples` coalitions; none for fewer than two features.
    pub(super) fn new(features: usize, samples: usize, random: &mut Random) -> Self {
        let mut coalitions = Self {
            features,
            words: features.div_ceil(64),
            masks: Vec::new(),
            runs: Vec::new(),
        };
        let samples = count(features, samples);
        if samples > 0 {
            let sizes = Sizes::new(features);
            let complete = coalitions.enumerate(&sizes, samples);
            let left = samples - coalitions.len();
            if complete < sizes.weights.len() && left > 0 {
                coalitions.draw(&sizes, complete, left, random);
            }
        }
        coalitions
    }

    /// Number of coalitions.
    pub(super) fn len(&self) -> usize {
        self.runs.last().map_or(0, |(_, end)| *end)
    }

    /// Number of features.
    pub(super) fn features(&self) -> usize {
        self.features
    }

    /// The bits of one coalition.
    pub(super) fn mask(&self, index: usize) -> &[u64] {
        &self.masks[index * self.words..(index + 1) * self.words]
    }

    /// Runs of coalitions with the same weight. All weights add up to 1.
    pub(super) fn runs(&self) -> impl Iterator<Item = (f64, Range<usize>)> {
        let mut start = 0;
        self.runs.iter().map(move |(weight, end)| {
            let run = start..*end;
            start = *end;
            (*weight, run)
        })
    }

    /// Adds all coalitions of the sizes for which the samples suffice, and returns the number of
    /// these sizes. (A size includes that of the complements.)
    fn enumerate(&mut self, sizes: &Sizes, samples: usize) -> usize {
        let (mut left, mut done) = (float(samples), 0.0);
        for (index, weight) in sizes.weights.iter().enumerate() {
            let size = index + 1;
            let one_sided = binomial(self.features, size);
            let number = one_sided * sizes.sides(size);
            // The share of the samples that this size would receive in a random selection.
            if left * (weight / (1.0 - done)) / number < 1.0 - 1e-8 {
                return index;
            }
            left -= number;
            done += weight;
            combinations(self.features, size, |members| {
                let mask = mask_of(self.words, members);
                self.masks.extend_from_slice(&mask);
                if sizes.is_paired(size) {
                    self.masks.extend(complement(&mask, self.features));
                }
            });
            self.runs
                .push((weight / number, self.masks.len() / self.words));
        }
        sizes.weights.len()
    }

    /// Draws `left` different coalitions of the sizes that were not enumerated. A repetition
    /// increases the weight.
    fn draw(&mut self, sizes: &Sizes, complete: usize, left: usize, random: &mut Random) {
        let mut cumulative = Vec::new();
        let mut total = 0.0;
        for (index, weight) in sizes.weights.iter().enumerate().skip(complete) {
            // A draw adds two coalitions if the size is paired.
            total += weight / sizes.sides(index + 1);
            cumulative.push(total);
        }
        let mut order: Vec<usize> = (0..self.features).collect();
        let mut drawn: Vec<(Vec<u64>, u32)> = Vec::new();
        let mut seen: HashMap<Vec<u64>, usize> = HashMap::new();
        for _ in 0..left * DRAWS {
            if drawn.len() >= left {
                break;
            }
            let point = random.unit() * total;
            let index = cumulative.partition_point(|end| *end <= point);
            let size = complete + index.min(cumulative.len() - 1) + 1;
            shuffle(&mut order, size, random);
            let mask = mask_of(self.words, &order[..size]);
            let pair = sizes.is_paired(size);
            if let Some(&at) = seen.get(&mask) {
                drawn[at].1 += 1;
                if pair && let Some(other) = drawn.get_mut(at + 1) {
                    other.1 += 1;
                }
                continue;
            }
            seen.insert(mask.clone(), drawn.len());
            let other = complement(&mask, self.features).collect();
            drawn.push((mask, 1));
            if pair && drawn.len() < left {
                drawn.push((other, 1));
            }
        }
        // Runs of equal weight allow the solver to count instead of to add.
        drawn.sort_by_key(|(_, times)| *times);
        let sum: f64 = drawn.iter().map(|(_, times)| f64::from(*times)).sum();
        let rest: f64 = sizes.weights[complete..].iter().sum();
        for run in drawn.chunk_by(|a, b| a.1 == b.1) {
            for (mask, _) in run {
                self.masks.extend_from_slice(mask);
            }
            let weight = rest * f64::from(run[0].1) / sum;
            self.runs.push((weight, self.masks.len() / self.words));
        }
    }
}

/// The sizes of coalitions up to half of the features, and their shares of the Shapley kernel's
/// total weight.
struct Sizes {
    /// The share of size `index + 1`, including that of the complements.
    weights: Vec<f64>,
    /// Up to this size, the complement has another size.
    paired: usize,
}

impl Sizes {
    /// The kernel weight of a size s of M features is (M − 1) / (s (M − s)), all coalitions of the
    /// size together (Lundberg and Lee, 2017).
    fn new(features: usize) -> Self {
        let paired = (features - 1) / 2;
        let mut weights: Vec<f64> = (1..=features / 2)
            .map(|size| {
                let weight = float(features - 1) / (float(size) * float(features - size));
                if size <= paired { 2.0 * weight } else { weight }
            })
            .collect();
        let sum: f64 = weights.iter().sum();
        for weight in &mut weights {
            *weight /= sum;
        }
        Self { weights, paired }
    }

    fn is_paired(&self, size: usize) -> bool {
        size <= self.paired
    }

    fn sides(&self, size: usize) -> f64 {
        if self.is_paired(size) { 2.0 } else { 1.0 }
    }
}

fn mask_of(words: usize, members: &[usize]) -> Vec<u64> {
    let mut mask = vec![0; words];
    for member in members {
        mask[member / 64] |= 1_u64 << (member % 64);
    }
    mask
}

fn complement(mask: &[u64], features: usize) -> impl Iterator<Item = u64> {
    mask.iter().enumerate().map(move |(word, bits)| {
        let width = (features - word * 64).min(64);
        !bits & (u64::MAX >> (64 - width))
    })
}

/// Moves a random selection of `size` elements to the front (Fisher and Yates).
fn shuffle(order: &mut [usize], size: usize, random: &mut Random) {
    for at in 0..size {
        let rest = (order.len() - at) as u64;
        let offset = usize::try_from(random.below(rest)).unwrap_or_default();
        order.swap(at, at + offset);
    }
}

/// Calls `each` with every combination of `size` of `features`, in lexicographic order.
fn combinations(features: usize, size: usize, mut each: impl FnMut(&[usize])) {
    let mut members: Vec<usize> = (0..size).collect();
    loop {
        each(&members);
        let last = |at: usize| features - size + at;
        let Some(at) = (0..size).rev().find(|at| members[*at] < last(*at)) else {
            return;
        };
        members[at] += 1;
        for next in at + 1..size {
            members[next] = members[next - 1] + 1;
        }
    }
}

fn binomial(n: usize, k: usize) -> f64 {
    (1..=k)
        .fold(1.0, |product, i| product * float(n - k + i) / float(i))
        .round()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "numbers of features and samples are far below 2^53"
)]
pub(super) fn float(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(coalitions: &Coalitions) -> Vec<(Vec<usize>, f64)> {
        coalitions
            .runs()
            .flat_map(|(weight, run)| run.map(move |index| (index, weight)))
            .map(|(index, weight)| (members(coalitions.mask(index)).collect(), weight))
            .collect()
    }

    fn weight(coalitions: &Coalitions) -> f64 {
        all(coalitions).iter().map(|(_, weight)| weight).sum()
    }

    /// With enough samples, each coalition occurs once, with the Shapley kernel's weight
    /// (M − 1) / (C(M, s) s (M − s)), up to a common factor.
    #[test]
    fn sufficient_samples_include_every_coalition_with_its_kernel_weight() {
        for features in 2..=11 {
            let coalitions = Coalitions::new(features, 1 << 20, &mut Random::new(0, 0));
            let mut found = all(&coalitions);
            assert_eq!(found.len(), (1 << features) - 2);
            let (m, factor) = (float(features), found[0].1 * float(features));
            for (members, weight) in &found {
                let s = float(members.len());
                let kernel = (m - 1.0) / (binomial(features, members.len()) * s * (m - s));
                assert!(
                    (weight / kernel / factor - 1.0).abs() < 1e-12,
                    "{members:?}"
                );
            }
            assert!((weight(&coalitions) - 1.0).abs() < 1e-12);
            found.sort_by(|a, b| a.0.cmp(&b.0));
            found.dedup_by(|a, b| a.0 == b.0);
            assert_eq!(found.len(), (1 << features) - 2);
        }
    }

    #[test]
    fn fewer_samples_enumerate_small_sizes_and_draw_pairs() {
        let coalitions = Coalitions::new(70, 1000, &mut Random::new(7, 1));
        let found = all(&coalitions);
        assert_eq!(found.len(), 1000);
        assert!((weight(&coalitions) - 1.0).abs() < 1e-12);
        let of_size = |size| found.iter().filter(|(m, _)| m.len() == size).count();
        assert_eq!((of_size(1), of_size(69)), (70, 70));
        for (members, _) in &found {
            let rest: Vec<usize> = (0..70).filter(|i| !members.contains(i)).collect();
            let partner = found.iter().any(|(other, _)| *other == rest);
            assert!(partner || members.len() == 35, "{members:?}");
        }
        let again = Coalitions::new(70, 1000, &mut Random::new(7, 1));
        assert_eq!(coalitions.masks, again.masks);
        let other = Coalitions::new(70, 1000, &mut Random::new(7, 2));
        assert_ne!(coalitions.masks, other.masks);
    }

    /// The drawn sizes have the kernel's shares of the weight, also the middle one, whose coalitions
    /// are drawn without their complements.
    #[test]
    fn drawn_sizes_have_their_share_of_the_weight() {
        let mut found = [0.0; 13];
        for seed in 0..60 {
            let coalitions = Coalitions::new(14, 300, &mut Random::new(seed, 0));
            for (members, weight) in all(&coalitions) {
                found[members.len() - 1] += weight / 60.0;
            }
        }
        for (index, share) in Sizes::new(14).weights.iter().enumerate() {
            let both = match 12 - index {
                other if other == index => found[index],
                other => found[index] + found[other],
            };
            assert!(
                (both / share - 1.0).abs() < 0.1,
                "{}: {both} {share}",
                index + 1
            );
        }
    }

    #[test]
    fn any_number_of_samples_has_different_coalitions_and_the_total_weight() {
        for features in [2, 3, 5, 8, 64, 65, 130] {
            for samples in [1, 2, 3, 9, 40, 200] {
                let coalitions = Coalitions::new(features, samples, &mut Random::new(3, 0));
                let found = all(&coalitions);
                assert!(found.len() <= samples && !found.is_empty());
                assert!(
                    (weight(&coalitions) - 1.0).abs() < 1e-9,
                    "{features} {samples}"
                );
                let mut sets: Vec<_> = found.into_iter().map(|(members, _)| members).collect();
                assert!(sets.iter().all(|m| !m.is_empty() && m.len() < features));
                let number = sets.len();
                sets.sort();
                sets.dedup();
                assert_eq!(sets.len(), number);
            }
        }
    }

    #[test]
    fn fewer_than_two_features_need_no_coalition() {
        for features in [0, 1] {
            assert_eq!(
                Coalitions::new(features, 10, &mut Random::new(0, 0)).len(),
                0
            );
        }
        assert_eq!(count(3, 100), 6);
        assert_eq!(count(3, 4), 4);
        assert_eq!(count(40, 100), 100);
    }

    #[test]
    fn members_are_listed_in_order() {
        let mask = mask_of(2, &[64, 3, 127, 0]);
        assert_eq!(members(&mask).collect::<Vec<_>>(), [0, 3, 64, 127]);
        assert!(includes(&mask, 64) && !includes(&mask, 65));
    }
}
