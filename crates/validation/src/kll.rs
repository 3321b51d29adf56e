//! Deequ's KLL quantile sketch (`QuantileNonSample`), item for item.
//!
//! Each item of level `i` represents 2^i values. The capacity of a level shrinks with its height:
//! `2 * (ceil(k * c^i / 2) + 1)`. Compaction is deterministic, so the same values in the same
//! order give the same sketch as Deequ's.

/// Deequ's `DEFAULT_SKETCH_SIZE`, which AWS's analyzer uses.
pub const SKETCH_SIZE: u32 = 2048;
/// Deequ's `DEFAULT_SHRINKING_FACTOR`.
pub const SHRINKING_FACTOR: f64 = 0.64;
/// Number of buckets in `statistics.json`.
pub const BUCKETS: u32 = 10;

#[derive(Debug, Clone, Default)]
struct Compactor {
    /// The values as [`key`]s.
    items: Vec<i64>,
    compactions: u64,
    odd: bool,
}

impl Compactor {
    /// Compacts the level: moves every second of its sorted items up. A last item without a partner
    /// remains (the newest one, in unsorted order).
    fn compact(&mut self, into: &mut Vec<i64>, lowest: bool) {
        if self.compactions % 2 == 1 {
            self.odd = !self.odd;
        }
        self.compactions += 1;
        let rest = if self.items.len() % 2 == 1 {
            self.items.pop()
        } else {
            None
        };
        if lowest {
            self.items.sort_unstable();
        } else {
            #[expect(
                clippy::stable_sort_primitive,
                reason = "some sorted runs, one after the other: the stable sort merges them"
            )]
            self.items.sort();
        }
        into.extend(self.items.iter().skip(usize::from(self.odd)).step_by(2));
        self.items.clear();
        self.items.extend(rest);
    }
}

/// Maps a double to an integer with the order of `f64::total_cmp`, which is Java's `Double.compare`:
/// integers sort faster.
fn key(value: f64) -> i64 {
    flip(value.to_bits().cast_signed())
}

fn value(key: i64) -> f64 {
    f64::from_bits(flip(key).cast_unsigned())
}

/// Reverses the order of negative numbers; its own inverse.
fn flip(bits: i64) -> i64 {
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}

fn values(keys: &[i64]) -> Vec<f64> {
    keys.iter().copied().map(value).collect()
}

/// A sketch of the distribution of a stream of numbers.
#[derive(Debug, Clone)]
pub struct Sketch {
    size: u32,
    shrinking: f64,
    levels: Vec<Compactor>,
    capacities: Vec<usize>,
    len: usize,
    capacity: usize,
}

impl Default for Sketch {
    fn default() -> Self {
        Self::new(SKETCH_SIZE, SHRINKING_FACTOR)
    }
}

impl Sketch {
    /// An empty sketch with Deequ's parameters k and c.
    pub fn new(size: u32, shrinking: f64) -> Self {
        let mut sketch = Self {
            size,
            shrinking,
            levels: Vec::new(),
            capacities: Vec::new(),
            len: 0,
            capacity: 0,
        };
        sketch.grow();
        sketch
    }

    /// Adds one value, which must be finite.
    pub fn insert(&mut self, value: f64) {
        self.extend(&[value]);
    }

    /// Adds values in order; all must be finite.
    pub fn extend(&mut self, mut values: &[f64]) {
        while !values.is_empty() {
            // As many values as fit before an insertion would trigger a compaction.
            let room = (self.capacity + 1).saturating_sub(self.len).max(1);
            let (now, later) = values.split_at(room.min(values.len()));
            self.levels[0].items.extend(now.iter().copied().map(key));
            self.len += now.len();
            if self.len > self.capacity {
                self.condense();
            }
            values = later;
        }
    }

    /// Adds the same finite value `count` times.
    pub fn repeat(&mut self, value: f64, mut count: u64) {
        let many = [value; 1024];
        while count > 0 {
            let now = usize::try_from(count).unwrap_or(usize::MAX).min(many.len());
            self.extend(&many[..now]);
            count -= now as u64;
        }
    }

    /// Merges the values of another sketch.
    pub fn merge(&mut self, other: &Self) {
        while self.levels.len() < other.levels.len() {
            self.grow();
        }
        for (mine, theirs) in self.levels.iter_mut().zip(&other.levels) {
            mine.items.extend_from_slice(&theirs.items);
        }
        self.len = self.levels.iter().map(|level| level.items.len()).sum();
        while self.len >= self.capacity && self.condense() {}
    }

    /// The items of each level, as `statistics.json` stores them.
    pub fn levels(&self) -> impl Iterator<Item = Vec<f64>> {
        self.levels.iter().map(|level| values(&level.items))
    }

    /// Each level: its items, how often it was compacted, and where its next compaction starts.
    pub(super) fn compactors(&self) -> impl Iterator<Item = (Vec<f64>, u64, bool)> {
        let levels = self.levels.iter();
        levels.map(|level| (values(&level.items), level.compactions, level.odd))
    }

    /// Restores a sketch of Deequ's size from these levels; `None` if there are none or too many.
    pub(super) fn of_compactors(levels: Vec<(Vec<f64>, u64, bool)>) -> Option<Self> {
        if levels.is_empty() || levels.len() > 64 {
            return None;
        }
        let mut sketch = Self::default();
        while sketch.levels.len() < levels.len() {
            sketch.grow();
        }
        for (level, (items, compactions, odd)) in sketch.levels.iter_mut().zip(levels) {
            sketch.len += items.len();
            *level = Compactor {
                items: items.into_iter().map(key).collect(),
                compactions,
                odd,
            };
        }
        Some(sketch)
    }

    /// Counts of [`BUCKETS`] equal ranges between `min` and `max`, with their bounds.
    pub fn buckets(&self, min: f64, max: f64) -> Vec<(f64, f64, f64)> {
        let ranks = Ranks::of(self.levels());
        let bound = |i: u32| {
            let share = f64::from(i) / f64::from(BUCKETS);
            if (max - min).is_finite() {
                min + (max - min) * f64::from(i) / f64::from(BUCKETS)
            } else {
                min * (1.0 - share) + max * share
            }
        };
        (0..BUCKETS)
            .map(|i| {
                let (low, high) = (bound(i), bound(i + 1));
                let below = if i + 1 == BUCKETS {
                    ranks.up_to(high)
                } else {
                    ranks.below(high)
                };
                (low, high, below - ranks.below(low))
            })
            .collect()
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_possible_wrap,
        reason = "between 2 and the sketch size; there are at most 64 levels"
    )]
    fn grow(&mut self) {
        let height = self.levels.len() as i32;
        let half = (f64::from(self.size) * self.shrinking.powi(height) / 2.0).ceil() as usize;
        self.levels.push(Compactor::default());
        self.capacities.push(2 * (half + 1));
        self.capacity = self.capacities.iter().sum();
    }

    /// Compacts the lowest full level; returns false if none is full.
    fn condense(&mut self) -> bool {
        let Some(height) = self
            .levels
            .iter()
            .zip(&self.capacities)
            .position(|(level, capacity)| level.items.len() >= *capacity)
        else {
            return false;
        };
        if height + 1 == self.levels.len() {
            self.grow();
        }
        let (lower, upper) = self.levels.split_at_mut(height + 1);
        lower[height].compact(&mut upper[0].items, height == 0);
        self.len = self.levels.iter().map(|level| level.items.len()).sum();
        true
    }
}

/// The ranks of a sketch's items: sorted, each with the weight of all items up to it.
#[derive(Debug, Clone)]
pub struct Ranks {
    items: Vec<(f64, f64)>,
}

impl Ranks {
    /// The ranks of a sketch's levels, lowest first. Equal items add up their weights, so that the
    /// total is the number of values.
    pub fn of(levels: impl Iterator<Item = Vec<f64>>) -> Self {
        Self::combined(levels, |known, more| known + more)
    }

    /// Ranks like Deequ's `getRankMap`: of equal items, only that of the highest level counts. The
    /// total is about the number of distinct values.
    pub fn of_distinct(levels: impl Iterator<Item = Vec<f64>>) -> Self {
        Self::combined(levels, f64::max)
    }

    /// Ranks with one weight per distinct item.
    fn combined(levels: impl Iterator<Item = Vec<f64>>, combine: impl Fn(f64, f64) -> f64) -> Self {
        let mut weighted: Vec<(f64, f64)> = Vec::new();
        let mut weight = 1.0;
        for level in levels {
            weighted.extend(level.into_iter().map(|item| (item, weight)));
            weight *= 2.0;
        }
        weighted.retain(|(item, _)| item.is_finite());
        weighted.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let mut items: Vec<(f64, f64)> = Vec::with_capacity(weighted.len());
        for (item, weight) in weighted {
            match items.last_mut() {
                #[expect(clippy::float_cmp, reason = "the same item again")]
                Some(last) if last.0 == item => last.1 = combine(last.1, weight),
                _ => items.push((item, weight)),
            }
        }
        let mut total = 0.0;
        for (_, weight) in &mut items {
            total += *weight;
            *weight = total;
        }
        Self { items }
    }

    /// The weight of all items: the number of values in the sketch.
    pub fn total(&self) -> f64 {
        self.items.last().map_or(0.0, |(_, rank)| *rank)
    }

    /// The number of values up to `value`.
    pub fn up_to(&self, value: f64) -> f64 {
        self.rank(self.items.partition_point(|(item, _)| *item <= value))
    }

    /// The number of values below `value`.
    pub fn below(&self, value: f64) -> f64 {
        self.rank(self.items.partition_point(|(item, _)| *item < value))
    }

    /// The value that a share `q` (0 to 1) of all values does not exceed; `None` without values.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let wanted = q * self.total();
        let index = self.items.partition_point(|(_, rank)| *rank < wanted);
        self.items
            .get(index.min(self.items.len().saturating_sub(1)))
            .map(|(item, _)| *item)
    }

    /// The distinct items, in order.
    pub fn items(&self) -> impl Iterator<Item = f64> {
        self.items.iter().map(|(item, _)| *item)
    }

    fn rank(&self, index: usize) -> f64 {
        index
            .checked_sub(1)
            .map_or(0.0, |index| self.items[index].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weight(sketch: &Sketch) -> usize {
        sketch
            .levels()
            .enumerate()
            .map(|(i, level)| level.len() << i)
            .sum()
    }

    /// Values that look random and never repeat: i * 7919 mod 100003.
    fn scattered(n: u32) -> impl Iterator<Item = f64> {
        (0..n).map(|i| f64::from((u64::from(i) * 7919 % 100_003) as u32))
    }

    #[test]
    fn the_levels_weigh_the_number_of_values() {
        let mut sketch = Sketch::default();
        for (n, value) in scattered(60_000).enumerate() {
            sketch.insert(value);
            if n % 9_973 == 0 {
                assert_eq!(weight(&sketch), n + 1);
            }
        }
        assert_eq!(weight(&sketch), 60_000);
        assert!(sketch.levels().count() > 4);
    }

    /// Computed with Deequ's rules by this Python program:
    /// ```python
    /// import math
    /// k, c = 8, .64
    /// cap = lambda h: 2 * (math.ceil(k * c**h / 2) + 1)
    /// L, N, off = [[]], [0], [0]
    /// for v in [i * 37 % 101 for i in range(40)]:
    ///     L[0].append(v)
    ///     if sum(map(len, L)) > sum(cap(h) for h in range(len(L))):
    ///         for h in range(len(L)):
    ///             if len(L[h]) >= cap(h):
    ///                 if h + 1 == len(L): L.append([]); N.append(0); off.append(0)
    ///                 if N[h] % 2: off[h] = 1 - off[h]
    ///                 n = len(L[h]) // 2 * 2
    ///                 L[h+1] += sorted(L[h][:n])[off[h]::2]
    ///                 L[h] = L[h][n:]; N[h] += 1
    ///                 break
    /// print(L)
    /// ```
    #[test]
    fn compaction_follows_deequ() {
        let mut sketch = Sketch::new(8, 0.64);
        for i in 0..40 {
            sketch.insert(f64::from(i * 37 % 101));
        }
        let levels: Vec<Vec<f64>> = sketch.levels().collect();
        assert_eq!(levels, KLL_ORACLE.map(<[f64]>::to_vec).to_vec());
    }

    #[test]
    fn ranks_are_approximately_correct() {
        let mut sketch = Sketch::default();
        for value in scattered(100_003) {
            sketch.insert(value);
        }
        let ranks = Ranks::of(sketch.levels());
        for q in [0.01, 0.25, 0.5, 0.9, 0.99] {
            let value = ranks.quantile(q).unwrap();
            assert!((value / 100_003.0 - q).abs() < 0.005, "{q}: {value}");
        }
    }

    #[test]
    fn merging_keeps_the_weight_and_the_ranks() {
        let (mut left, mut right, mut whole) =
            (Sketch::default(), Sketch::default(), Sketch::default());
        for (i, value) in scattered(50_000).enumerate() {
            if i < 20_000 { &mut left } else { &mut right }.insert(value);
            whole.insert(value);
        }
        left.merge(&right);
        assert_eq!(weight(&left), 50_000);
        let ranks = |sketch: &Sketch| Ranks::of(sketch.levels());
        for x in [10_000.0, 50_000.0, 90_000.0] {
            let difference = (ranks(&left).up_to(x) - ranks(&whole).up_to(x)).abs();
            assert!(difference / 50_000.0 < 0.005, "{x}: {difference}");
        }
    }

    #[test]
    fn the_last_bucket_holds_the_maximum() {
        let mut sketch = Sketch::default();
        for i in 0..=10 {
            sketch.insert(f64::from(i));
        }
        let counts: Vec<f64> = sketch.buckets(0.0, 10.0).iter().map(|b| b.2).collect();
        assert_eq!(counts, [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0]);
    }

    const KLL_ORACLE: [&[f64]; 3] = [
        &[
            80.0, 16.0, 53.0, 90.0, 26.0, 63.0, 100.0, 36.0, 73.0, 9.0, 46.0, 83.0, 19.0, 56.0,
            93.0, 29.0,
        ],
        &[],
        &[0.0, 20.0, 37.0, 50.0, 67.0, 84.0],
    ];
}
