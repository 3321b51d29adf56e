//! Aggregates of values, and the statistics of them. Pure.

use std::collections::BTreeMap;

use super::errors::invalid_value;
use crate::api::{ApiError, ApiResult};

/// Maximum number of distinct values that an aggregate keeps. Beyond it, values lose precision.
const MAX_DISTINCT: usize = 2000;

/// Bits of a number's mantissa.
const MANTISSA_BITS: u32 = 52;

/// Bits of the mantissa that remain in the first loss of precision: the error is then below 0.4 %.
const FIRST_COARSE_BITS: u32 = 7;

/// How often each value occurred. The number of values is bounded: if there are too many, neighbours are
/// merged. (CloudWatch also merges neighbouring values for its percentiles.)
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Distribution {
    /// Bits of the mantissa that values keep.
    bits: u32,
    /// Counts by the bits of the value, which sort like the values: none is negative.
    counts: BTreeMap<u64, f64>,
}

impl Distribution {
    fn new() -> Self {
        Self {
            bits: MANTISSA_BITS,
            counts: BTreeMap::new(),
        }
    }

    /// The value without the bits that this distribution does not keep.
    fn rounded(&self, bits: u64) -> u64 {
        if self.bits == MANTISSA_BITS {
            return bits;
        }
        let lost = MANTISSA_BITS - self.bits;
        // To the middle of the range that becomes one value.
        (bits >> lost << lost) | (1 << (lost - 1))
    }

    fn add(&mut self, value: u64, count: f64) {
        *self.counts.entry(self.rounded(value)).or_default() += count;
        while self.counts.len() > MAX_DISTINCT && self.bits > 0 {
            self.coarsen(self.bits.min(FIRST_COARSE_BITS + 1) - 1);
        }
    }

    fn coarsen(&mut self, bits: u32) {
        self.bits = bits.min(self.bits);
        for (value, count) in std::mem::take(&mut self.counts) {
            *self.counts.entry(self.rounded(value)).or_default() += count;
        }
    }

    fn merge(&mut self, other: &Self) {
        if other.bits < self.bits {
            self.coarsen(other.bits);
        }
        for (value, count) in &other.counts {
            self.add(*value, *count);
        }
    }

    /// The smallest value that at least `percent` of all values do not exceed.
    ///
    /// Unverified against AWS [cloudwatch-percentile]: CloudWatch does not publish how it interpolates; this is
    /// the nearest rank.
    fn percentile(&self, percent: f64) -> Option<f64> {
        let total: f64 = self.counts.values().sum();
        let rank = total * percent / 100.0;
        let mut seen = 0.0;
        let mut last = None;
        for (value, count) in &self.counts {
            seen += count;
            last = Some(f64::from_bits(*value));
            if seen >= rank {
                break;
            }
        }
        last
    }

    /// As bytes, for storage: the bits, then each value and its count.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.bits.to_le_bytes().to_vec();
        for (value, count) in &self.counts {
            bytes.extend(value.to_le_bytes());
            bytes.extend(count.to_le_bytes());
        }
        bytes
    }

    /// Reads [`Distribution::to_bytes`]; `None` for other bytes.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (bits, rest) = bytes.split_at_checked(4)?;
        let bits = u32::from_le_bytes(bits.try_into().ok()?);
        let pairs = rest.chunks_exact(16);
        if bits > MANTISSA_BITS || !pairs.remainder().is_empty() {
            return None;
        }
        let mut counts = BTreeMap::new();
        for pair in pairs {
            let value = u64::from_le_bytes(pair[..8].try_into().ok()?);
            counts.insert(value, f64::from_le_bytes(pair[8..].try_into().ok()?));
        }
        Some(Self { bits, counts })
    }
}

/// Values, summarized.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Aggregate {
    pub(super) count: f64,
    pub(super) sum: f64,
    pub(super) min: f64,
    pub(super) max: f64,
    /// `None` if not every value is known, or one is negative: percentiles then do not exist, as in
    /// CloudWatch.
    pub(super) values: Option<Distribution>,
}

impl Aggregate {
    /// `count` times the same value.
    pub(super) fn of(value: f64, count: f64) -> Self {
        Self::of_set(count, value * count, value, value)
    }

    /// A statistic set. Its values are known if they are all the same.
    pub(super) fn of_set(count: f64, sum: f64, min: f64, max: f64) -> Self {
        #[expect(clippy::float_cmp, reason = "only equal numbers are the same value")]
        let is_known = min == max && min >= 0.0;
        let values = is_known.then(|| {
            let mut values = Distribution::new();
            // -0.0 has the bits of a negative number.
            values.add((min + 0.0).to_bits(), count);
            values
        });
        Self {
            count,
            sum,
            min,
            max,
            values,
        }
    }

    /// Adds other values.
    pub(super) fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        match (&mut self.values, &other.values) {
            (Some(values), Some(more)) => values.merge(more),
            _ => self.values = None,
        }
    }

    /// A statistic of the values; `None` if it does not exist.
    pub(super) fn statistic(&self, statistic: Statistic) -> Option<f64> {
        let value = match statistic {
            Statistic::SampleCount => self.count,
            Statistic::Sum => self.sum,
            Statistic::Average => self.sum / self.count,
            Statistic::Minimum => self.min,
            Statistic::Maximum => self.max,
            Statistic::Percentile(percent) => {
                let found = self.values.as_ref()?.percentile(percent)?;
                // A merged value can be outside of what occurred.
                found.clamp(self.min, self.max)
            }
        };
        value.is_finite().then_some(value)
    }
}

/// A statistic.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Statistic {
    SampleCount,
    Average,
    Sum,
    Minimum,
    Maximum,
    /// From 0 to 100.
    Percentile(f64),
}

/// The statistics that are not percentiles, by name.
const SIMPLE: [(&str, Statistic); 5] = [
    ("SampleCount", Statistic::SampleCount),
    ("Average", Statistic::Average),
    ("Sum", Statistic::Sum),
    ("Minimum", Statistic::Minimum),
    ("Maximum", Statistic::Maximum),
];

/// The other extended statistics of CloudWatch: trimmed mean, winsorized mean, trimmed count, trimmed sum,
/// percentile rank, interquartile mean.
const UNSUPPORTED: [&str; 6] = ["tm", "wm", "tc", "ts", "pr", "iqm"];

impl Statistic {
    /// Parses a statistic of the parameter `parameter`.
    pub(super) fn parse(text: &str, parameter: &str) -> ApiResult<Self> {
        match SIMPLE.iter().find(|(name, _)| *name == text) {
            Some((_, statistic)) => Ok(*statistic),
            None => Self::extended(text, parameter),
        }
    }

    /// Parses an extended statistic of the parameter `parameter`.
    pub(super) fn extended(text: &str, parameter: &str) -> ApiResult<Self> {
        if let Some(percent) = text.strip_prefix('p').and_then(percent) {
            return Ok(Self::Percentile(percent));
        }
        let lower = text.to_ascii_lowercase();
        let rest = UNSUPPORTED.iter().find_map(|name| lower.strip_prefix(name));
        if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(is_bound)) {
            return Err(ApiError::not_implemented(format_args!(
                "the statistic {text} of cloudwatch"
            )));
        }
        Err(invalid_value(format!(
            "The value {text} for parameter {parameter} is not supported."
        )))
    }
}

fn is_bound(first: char) -> bool {
    first == '(' || first.is_ascii_digit()
}

/// A number from 0 to 100 with up to ten decimal places.
fn percent(text: &str) -> Option<f64> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |text: &str, longest: usize| {
        (1..=longest).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    let percent: f64 = text.parse().ok()?;
    (is_number(whole, 3) && is_number(decimals, 10) && percent <= 100.0).then_some(percent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: impl IntoIterator<Item = f64>) -> Aggregate {
        let mut values = values.into_iter();
        let mut all = Aggregate::of(values.next().unwrap(), 1.0);
        values.for_each(|value| all.merge(&Aggregate::of(value, 1.0)));
        all
    }

    fn percentile(of: &Aggregate, percent: f64) -> Option<f64> {
        of.statistic(Statistic::Percentile(percent))
    }

    #[test]
    fn statistics_of_values() {
        let all = of((1..=100).map(f64::from));
        for (statistic, wanted) in [
            (Statistic::SampleCount, 100.0),
            (Statistic::Sum, 5050.0),
            (Statistic::Average, 50.5),
            (Statistic::Minimum, 1.0),
            (Statistic::Maximum, 100.0),
            (Statistic::Percentile(0.0), 1.0),
            (Statistic::Percentile(50.0), 50.0),
            (Statistic::Percentile(90.5), 91.0),
            (Statistic::Percentile(100.0), 100.0),
        ] {
            assert_eq!(all.statistic(statistic), Some(wanted), "{statistic:?}");
        }
        let mut counted = Aggregate::of(1.0, 99.0);
        counted.merge(&Aggregate::of(500.0, 1.0));
        assert_eq!(percentile(&counted, 99.0), Some(1.0));
        assert_eq!(percentile(&counted, 99.9), Some(500.0));
    }

    #[test]
    fn percentiles_need_every_value() {
        let mut set = Aggregate::of_set(3.0, 6.0, 1.0, 3.0);
        assert_eq!(percentile(&set, 50.0), None);
        assert_eq!(set.statistic(Statistic::Average), Some(2.0));
        set.merge(&Aggregate::of(2.0, 1.0));
        assert_eq!(percentile(&set, 50.0), None);
        assert_eq!(
            percentile(&Aggregate::of_set(3.0, 6.0, 2.0, 2.0), 50.0),
            Some(2.0)
        );
        assert_eq!(percentile(&of([1.0, -1.0]), 50.0), None);
        assert_eq!(percentile(&of([-0.0, 1.0]), 10.0), Some(0.0));
    }

    #[test]
    fn a_distribution_is_bounded_and_stays_close() {
        let all = of((0..100_000).map(|number| f64::from(number).powf(1.5)));
        let values = all.values.as_ref().unwrap();
        assert!(values.counts.len() <= MAX_DISTINCT);
        for percent in [1.0, 50.0, 90.0, 99.0, 99.99] {
            let exact = (percent * 1000.0 - 1.0_f64).powf(1.5);
            let found = percentile(&all, percent).unwrap();
            assert!(
                (found / exact - 1.0).abs() < 0.01,
                "p{percent}: {found} {exact}"
            );
        }
        assert_eq!(percentile(&all, 100.0), Some(all.max));
        // Even with the widest range of values.
        let wide = of((-360..360).flat_map(|power: i32| {
            (0..20).map(move |part| (1.0 + f64::from(part) / 20.0) * 2.0_f64.powi(power))
        }));
        assert!(wide.values.unwrap().counts.len() <= MAX_DISTINCT);
        let bytes = values.to_bytes();
        assert_eq!(Distribution::from_bytes(&bytes).as_ref(), Some(values));
        assert_eq!(Distribution::from_bytes(&bytes[1..]), None);
    }

    #[test]
    fn names_of_statistics() {
        let parse = |text| Statistic::parse(text, "Stat");
        assert_eq!(parse("Sum"), Ok(Statistic::Sum));
        assert_eq!(parse("p99.9"), Ok(Statistic::Percentile(99.9)));
        assert_eq!(parse("p100"), Ok(Statistic::Percentile(100.0)));
        assert_eq!(parse("p0.0"), Ok(Statistic::Percentile(0.0)));
        for text in [
            "tm99",
            "TM(10%:90%)",
            "wm98",
            "tc90",
            "ts1",
            "PR(:300)",
            "IQM",
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.message.starts_with("NotImplemented"), "{error}");
            assert!(error.message.contains(text), "{error}");
        }
        for text in ["sum", "p", "p101", "p1e1", "p-1", "p99.", "p.5", "tmx", "x"] {
            assert_eq!(
                parse(text).unwrap_err().code,
                "InvalidParameterValueException"
            );
        }
        assert!(Statistic::extended("Sum", "ExtendedStatistics").is_err());
    }
}
