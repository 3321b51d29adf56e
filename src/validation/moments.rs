//! Sum, mean, standard deviation and range in one pass, without losing digits.

/// The moments of a stream of finite numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Moments {
    pub(super) count: u64,
    pub(super) min: f64,
    pub(super) max: f64,
    sum: f64,
    /// What the additions to `sum` lost (Neumaier).
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
    pub(super) fn insert(&mut self, value: f64) {
        self.count += 1;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.add(value);
        let delta = value - self.mean;
        self.mean += delta / self.count as f64;
        self.squares += delta * (value - self.mean);
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

    pub(super) fn sum(&self) -> f64 {
        self.sum + self.lost
    }

    pub(super) fn mean(&self) -> f64 {
        self.sum() / self.count as f64
    }

    /// Of the population, as Deequ's `StandardDeviation` and AWS's files have it.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-12 * b.abs()
    }

    /// numpy 2.4.6: `x = 1e6 + (np.arange(10000) * 7919 % 10007) / 7; x.sum(), x.mean(), x.std()`
    #[test]
    fn moments_agree_with_numpy() {
        let value = |i: u32| 1e6 + f64::from(i * 7919 % 10007) / 7.0;
        let mut whole = Moments::default();
        let (mut left, mut right) = (Moments::default(), Moments::default());
        for i in 0..10_000 {
            whole.insert(value(i));
            if i < 3_333 { &mut left } else { &mut right }.insert(value(i));
        }
        left.merge(&right);
        for moments in [whole, left] {
            assert!(close(moments.sum(), NUMPY_SUM), "{}", moments.sum());
            assert!(close(moments.mean(), NUMPY_MEAN));
            assert!(close(moments.std_dev(), NUMPY_STD), "{}", moments.std_dev());
        }
    }

    #[test]
    fn small_values_survive_beside_huge_ones() {
        let mut moments = Moments::default();
        for value in [1.0, 1e100, 1.0, -1e100] {
            moments.insert(value);
        }
        assert!(close(moments.sum(), 2.0));
    }

    const NUMPY_SUM: f64 = 10_007_148_082.571_43;
    const NUMPY_MEAN: f64 = 1_000_714.808_257_143;
    const NUMPY_STD: f64 = 412.704_527_316_250_56;
}
