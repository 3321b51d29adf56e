//! Sum, mean, standard deviation and range in one pass, without losing digits.

/// Number of independent sums, so that additions do not depend on each other.
const LANES: usize = 4;

/// The moments of a stream of finite numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Moments {
    pub(super) count: u64,
    pub(super) min: f64,
    pub(super) max: f64,
    sum: f64,
    /// The rounding errors of additions to `sum` (Neumaier).
    lost: f64,
    mean: f64,
    /// Σ (x − mean)² (Welford).
    squares: f64,
}

impl Default for Moments {
    fn default() -> Self {
        Self {
            count: 0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            sum: 0.0,
            lost: 0.0,
            mean: 0.0,
            squares: 0.0,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts above 2^53 do not occur")]
impl Moments {
    /// Adds a batch: computes its mean and squares in two passes, then merges them (Chan, Golub,
    /// Leveque 1979).
    pub(super) fn extend(&mut self, values: &[f64]) {
        let Some(first) = values.first() else {
            return;
        };
        let n = values.len() as f64;
        let (sum, lost) = sum(values);
        let mean = (sum + lost) / n;
        let (mut min, mut max) = ([*first; LANES], [*first; LANES]);
        let mut squares = [0.0; LANES];
        let (chunks, rest) = values.as_chunks::<LANES>();
        for chunk in chunks {
            for lane in 0..LANES {
                let value = chunk[lane];
                min[lane] = if value < min[lane] { value } else { min[lane] };
                max[lane] = if value > max[lane] { value } else { max[lane] };
                let delta = value - mean;
                squares[lane] += delta * delta;
            }
        }
        for (lane, value) in rest.iter().enumerate() {
            min[lane] = min[lane].min(*value);
            max[lane] = max[lane].max(*value);
            squares[lane] += (value - mean) * (value - mean);
        }
        self.merge(&Self {
            count: values.len() as u64,
            min: min.into_iter().fold(f64::INFINITY, f64::min),
            max: max.into_iter().fold(f64::NEG_INFINITY, f64::max),
            sum,
            lost,
            mean,
            squares: squares.into_iter().sum(),
        });
    }

    /// Adds the same value `count` times.
    pub(super) fn repeat(&mut self, value: f64, count: u64) {
        if count == 0 {
            return;
        }
        let n = count as f64;
        let sum = value * n;
        self.merge(&Self {
            count,
            min: value,
            max: value,
            sum,
            lost: value.mul_add(n, -sum),
            mean: value,
            squares: 0.0,
        });
    }

    pub(super) fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        let (n, m) = (self.count as f64, other.count as f64);
        let delta = other.mean - self.mean;
        self.squares += other.squares + delta * delta * n * m / (n + m);
        self.mean += delta * m / (n + m);
        self.count += other.count;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.add(other.sum);
        self.lost += other.lost;
    }

    /// Returns minimum, maximum, sum, rounding error of the sum, mean, and Σ (x − mean)².
    pub(super) fn to_parts(self) -> [f64; 6] {
        [
            self.min,
            self.max,
            self.sum,
            self.lost,
            self.mean,
            self.squares,
        ]
    }

    /// Restores moments of `count` values from these parts.
    pub(super) fn of_parts(count: u64, parts: [f64; 6]) -> Self {
        let [min, max, sum, lost, mean, squares] = parts;
        Self {
            count,
            min,
            max,
            sum,
            lost,
            mean,
            squares,
        }
    }

    pub(super) fn sum(&self) -> f64 {
        self.sum + self.lost
    }

    pub(super) fn mean(&self) -> f64 {
        self.sum() / self.count as f64
    }

    /// The population standard deviation, as in Deequ's `StandardDeviation` and AWS's files.
    pub(super) fn std_dev(&self) -> f64 {
        (self.squares / self.count as f64).sqrt()
    }

    fn add(&mut self, value: f64) {
        let total = self.sum + value;
        self.lost += if self.sum.abs() >= value.abs() {
            (self.sum - total) + value
        } else {
            (value - total) + self.sum
        };
        self.sum = total;
    }
}

/// The sum and its rounding error: Knuth's two-sum in each lane, then over the lanes.
fn sum(values: &[f64]) -> (f64, f64) {
    let (mut sums, mut lost) = ([0.0; LANES], [0.0; LANES]);
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            (sums[lane], lost[lane]) = two_sum(sums[lane], chunk[lane], lost[lane]);
        }
    }
    let (mut sum, mut off) = (0.0, lost.into_iter().sum());
    for value in sums.iter().chain(rest) {
        (sum, off) = two_sum(sum, *value, off);
    }
    (sum, off)
}

/// `a + b`, and its rounding error added to `lost` (Knuth, TAOCP volume 2, 4.2.2).
fn two_sum(a: f64, b: f64, lost: f64) -> (f64, f64) {
    let sum = a + b;
    let part = sum - a;
    (sum, lost + ((a - (sum - part)) + (b - part)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-12 * b.abs()
    }

    /// numpy 2.4.6: `x = 1e6 + (np.arange(10000) * 7919 % 10007) / 7; x.sum(), x.mean(), x.std()`
    #[test]
    fn moments_agree_with_numpy() {
        let values: Vec<f64> = (0..10_000)
            .map(|i: u32| 1e6 + f64::from(i * 7919 % 10007) / 7.0)
            .collect();
        let of = |parts: &[&[f64]]| {
            let mut all = Moments::default();
            for part in parts {
                let mut moments = Moments::default();
                moments.extend(part);
                all.merge(&moments);
            }
            all
        };
        let whole = of(&[&values]);
        for moments in [whole, of(&[&values[..3_333], &[], &values[3_333..]])] {
            assert_eq!(moments.count, 10_000);
            assert!(close(moments.sum(), NUMPY_SUM), "{}", moments.sum());
            assert!(close(moments.mean(), NUMPY_MEAN));
            assert!(close(moments.std_dev(), NUMPY_STD), "{}", moments.std_dev());
            assert!(close(
                moments.min,
                values.iter().copied().fold(f64::MAX, f64::min)
            ));
            assert!(close(
                moments.max,
                values.iter().copied().fold(f64::MIN, f64::max)
            ));
        }
    }

    #[test]
    fn a_repeated_value_counts_as_many_values() {
        let (mut repeated, mut written) = (Moments::default(), Moments::default());
        repeated.extend(&[1.5, 2.5]);
        repeated.repeat(0.1, 7);
        written.extend(&[1.5, 2.5]);
        written.extend(&[0.1; 7]);
        assert_eq!(repeated.count, written.count);
        assert!(close(repeated.sum(), written.sum()));
        assert!(close(repeated.std_dev(), written.std_dev()));
    }

    #[test]
    fn small_values_are_not_lost_next_to_huge_ones() {
        for values in [
            [1.0, 1e100, 1.0, -1e100].as_slice(),
            &[1e100, 1.0, 0.0, 0.0, -1e100, 1.0],
        ] {
            let mut moments = Moments::default();
            moments.extend(values);
            assert!(close(moments.sum(), 2.0), "{}", moments.sum());
        }
    }

    const NUMPY_SUM: f64 = 10_007_148_082.571_43;
    const NUMPY_MEAN: f64 = 1_000_714.808_257_143;
    const NUMPY_STD: f64 = 412.704_527_316_250_56;
}
