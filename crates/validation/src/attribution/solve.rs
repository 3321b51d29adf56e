//! The weighted least squares of Kernel SHAP.
//!
//! The attributions φ minimize Σ w(S) (v(S) − Σ(i in S) φ(i))² over the coalitions S, under the
//! efficiency constraint: they add up to the total Δ, the difference between the row's prediction
//! and the expected one. With φ = Δ/M + u and Σ u = 0, u solves the symmetric equations P G P u = P b,
//! where G is the weighted Gram matrix of the coalitions and P the projection onto Σ u = 0.
//!
//! Too few coalitions for a unique solution give the one with the smallest attributions u: what the
//! coalitions do not explain is divided equally. (The `shap` package eliminates one feature first,
//! so that this case depends on the order of its features.)

use super::coalitions::{Coalitions, float, members};

/// A pivot below this share of the largest one means that the equations have no unique solution.
const SINGULAR: f64 = 1e-10;

/// The equations of one set of coalitions, for any number of outputs.
#[derive(Debug)]
pub(super) struct Equations {
    features: usize,
    /// The lower triangle of the Cholesky factor, or the projected Gram matrix if it is singular; row
    /// by row.
    matrix: Vec<f64>,
    is_singular: bool,
}

impl Equations {
    pub(super) fn new(coalitions: &Coalitions) -> Self {
        let features = coalitions.features();
        let mut matrix = gram(coalitions);
        project(&mut matrix, features);
        // The projection has the eigenvalue 0 for (1, …, 1): another value makes it invertible and
        // does not change solutions with Σ u = 0.
        let trace: f64 = (0..features).map(|i| matrix[i * features + i]).sum();
        let shift = trace / float(features) / float(features);
        let mut factor: Vec<f64> = matrix.iter().map(|value| value + shift).collect();
        let is_singular = !factorize(&mut factor, features);
        Self {
            features,
            matrix: if is_singular { matrix } else { factor },
            is_singular,
        }
    }

    /// Computes the attributions of one output. `values` has v(S) for each coalition, the difference
    /// to the expected prediction, and `total` is that of the row itself.
    pub(super) fn solve(&self, coalitions: &Coalitions, values: &[f64], total: f64) -> Vec<f64> {
        let share = total / float(self.features);
        let mut right = vec![0.0; self.features];
        for (weight, run) in coalitions.runs() {
            for index in run {
                let mask = coalitions.mask(index);
                let size = mask.iter().map(|word| word.count_ones()).sum::<u32>();
                let residual = weight * (values[index] - f64::from(size) * share);
                members(mask).for_each(|feature| right[feature] += residual);
            }
        }
        center(&mut right);
        let mut solution = if self.is_singular {
            self.smallest(&right)
        } else {
            self.substitute(right)
        };
        center(&mut solution);
        for value in &mut solution {
            *value += share;
        }
        solution
    }

    /// Solves with the Cholesky factor.
    fn substitute(&self, mut x: Vec<f64>) -> Vec<f64> {
        let n = self.features;
        for i in 0..n {
            let row = &self.matrix[i * n..i * n + i];
            let known: f64 = row.iter().zip(&x).map(|(a, b)| a * b).sum();
            x[i] = (x[i] - known) / self.matrix[i * n + i];
        }
        for i in (0..n).rev() {
            x[i] /= self.matrix[i * n + i];
            let value = x[i];
            let row = &self.matrix[i * n..i * n + i];
            for (x, a) in x.iter_mut().zip(row) {
                *x -= a * value;
            }
        }
        x
    }

    /// The smallest solution of singular equations. Conjugate gradients that start at 0 stay in the
    /// range of the matrix, which contains the right side.
    fn smallest(&self, right: &[f64]) -> Vec<f64> {
        let n = self.features;
        let mut x = vec![0.0; n];
        let mut residual = right.to_vec();
        let mut direction = residual.clone();
        let mut squared = dot(&residual, &residual);
        let target = squared * 1e-28;
        for _ in 0..4 * n {
            if squared <= target {
                break;
            }
            let image: Vec<f64> = self
                .matrix
                .chunks_exact(n)
                .map(|row| dot(row, &direction))
                .collect();
            let curvature = dot(&direction, &image);
            if curvature <= 0.0 {
                break;
            }
            let step = squared / curvature;
            for i in 0..n {
                x[i] += step * direction[i];
                residual[i] -= step * image[i];
            }
            let next = dot(&residual, &residual);
            let ratio = next / squared;
            for i in 0..n {
                direction[i] = residual[i] + ratio * direction[i];
            }
            squared = next;
        }
        x
    }
}

/// The weighted Gram matrix: entry (i, j) is the weight of all coalitions that include both features.
/// Coalitions of equal weight are counted, 64 at once.
fn gram(coalitions: &Coalitions) -> Vec<f64> {
    let n = coalitions.features();
    let mut matrix = vec![0.0; n * n];
    for (weight, run) in coalitions.runs() {
        let words = run.len().div_ceil(64);
        let mut columns = vec![0_u64; n * words];
        for (at, index) in run.enumerate() {
            for feature in members(coalitions.mask(index)) {
                columns[feature * words + at / 64] |= 1 << (at % 64);
            }
        }
        let column = |feature: usize| &columns[feature * words..(feature + 1) * words];
        for i in 0..n {
            for j in 0..=i {
                let both = column(i).iter().zip(column(j));
                let count: u32 = both.map(|(a, b)| (a & b).count_ones()).sum();
                matrix[i * n + j] += weight * f64::from(count);
            }
        }
    }
    for i in 0..n {
        for j in 0..i {
            matrix[j * n + i] = matrix[i * n + j];
        }
    }
    matrix
}

/// Subtracts the means of rows and columns: P G P of a symmetric matrix.
fn project(matrix: &mut [f64], n: usize) {
    let mean = |row: &[f64]| row.iter().sum::<f64>() / float(n);
    let means: Vec<f64> = matrix.chunks_exact(n).map(mean).collect();
    let all = mean(&means);
    for (row, row_mean) in matrix.chunks_exact_mut(n).zip(&means) {
        for (value, column_mean) in row.iter_mut().zip(&means) {
            *value += all - row_mean - column_mean;
        }
    }
}

/// Replaces the lower triangle by its Cholesky factor; false if the matrix is singular.
fn factorize(matrix: &mut [f64], n: usize) -> bool {
    let largest = (0..n).map(|i| matrix[i * n + i]).fold(0.0, f64::max);
    for i in 0..n {
        let (above, rest) = matrix.split_at_mut(i * n);
        let row = &mut rest[..=i];
        for j in 0..i {
            let other = &above[j * n..=j * n + j];
            let known = dot(&row[..j], &other[..j]);
            row[j] = (row[j] - known) / other[j];
        }
        let pivot = row[i] - dot(&row[..i], &row[..i]);
        if pivot.is_nan() || pivot <= SINGULAR * largest {
            return false;
        }
        row[i] = pivot.sqrt();
    }
    true
}

fn center(values: &mut [f64]) {
    let mean = values.iter().sum::<f64>() / float(values.len());
    for value in values {
        *value -= mean;
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn solved(coalitions: &Coalitions, game: impl Fn(&[usize]) -> f64) -> Vec<f64> {
        let values: Vec<f64> = (0..coalitions.len())
            .map(|i| game(&members(coalitions.mask(i)).collect::<Vec<_>>()))
            .collect();
        let all: Vec<usize> = (0..coalitions.features()).collect();
        Equations::new(coalitions).solve(coalitions, &values, game(&all))
    }

    /// Shapley's definition: the mean contribution of a feature over all orders.
    fn shapley(features: usize, game: impl Fn(&[usize]) -> f64) -> Vec<f64> {
        let factorial = |n: usize| (1..=n).map(float).product::<f64>();
        (0..features)
            .map(|feature| {
                let subsets = (0..1_u64 << features).filter(|bits| bits >> feature & 1 == 0);
                subsets
                    .map(|bits| {
                        let without: Vec<usize> = members(&[bits]).collect();
                        let with: Vec<usize> = members(&[bits | 1 << feature]).collect();
                        let size = without.len();
                        let weight = factorial(size) * factorial(features - size - 1);
                        weight / factorial(features) * (game(&with) - game(&without))
                    })
                    .sum()
            })
            .collect()
    }

    #[test]
    fn all_coalitions_give_the_shapley_values() {
        let game = |members: &[usize]| {
            let sum: f64 = members.iter().map(|i| float(i * i) - 3.0).sum();
            sum.sin() * 5.0 + if members.contains(&1) { sum } else { 0.0 }
        };
        for features in 2..=9 {
            // An empty coalition is worth 0, as the differences to the expected prediction are.
            let game = |members: &[usize]| game(members) - game(&[]);
            let coalitions = Coalitions::new(features, 1 << 20, &mut Random::new(0, 0));
            let found = solved(&coalitions, game);
            for (found, expected) in found.iter().zip(shapley(features, game)) {
                assert!((found - expected).abs() < 1e-11, "{found} {expected}");
            }
        }
    }

    #[test]
    fn a_linear_game_is_solved_exactly_by_samples() {
        for (features, samples) in [(20, 200), (70, 300), (130, 600)] {
            let coalitions = Coalitions::new(features, samples, &mut Random::new(5, 0));
            let found = solved(&coalitions, |members| {
                members.iter().map(|i| float(*i) - 7.5).sum()
            });
            for (feature, found) in found.iter().enumerate() {
                assert!((found - (float(feature) - 7.5)).abs() < 1e-9, "{found}");
            }
        }
    }

    /// One coalition of three of eight features: they share its value, the others share the rest.
    #[test]
    fn what_few_coalitions_do_not_explain_is_divided_equally() {
        let coalitions = Coalitions::new(8, 1, &mut Random::new(1, 0));
        let inside: Vec<usize> = members(coalitions.mask(0)).collect();
        let outside = 8 - inside.len();
        let found = Equations::new(&coalitions).solve(&coalitions, &[6.0], 10.0);
        for (feature, found) in found.iter().enumerate() {
            let expected = if inside.contains(&feature) {
                6.0 / float(inside.len())
            } else {
                4.0 / float(outside)
            };
            assert!((found - expected).abs() < 1e-9, "{found} {expected}");
        }
    }

    #[test]
    fn attributions_add_up_to_the_total() {
        for samples in [1, 3, 5, 40, 1000] {
            let coalitions = Coalitions::new(12, samples, &mut Random::new(9, 0));
            let found = solved(&coalitions, |members| float(members.len()).sqrt());
            let sum: f64 = found.iter().sum();
            assert!((sum - 12_f64.sqrt()).abs() < 1e-12, "{sum}");
        }
    }
}
