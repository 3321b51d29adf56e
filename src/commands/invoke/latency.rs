//! Percentiles of measured latencies.

use std::time::Duration;

use serde::Serialize;

/// Latencies in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Latency {
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p95: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

impl Latency {
    /// Computes percentiles by nearest rank; `None` without measurements.
    pub(super) fn of(mut measured: Vec<Duration>) -> Option<Self> {
        measured.sort_unstable();
        let max = *measured.last()?;
        let percentile = |percent: usize| {
            let rank = (measured.len() * percent).div_ceil(100).max(1);
            milliseconds(measured[rank - 1])
        };
        Some(Self {
            p50: percentile(50),
            p90: percentile(90),
            p95: percentile(95),
            p99: percentile(99),
            max: milliseconds(max),
        })
    }
}

/// A duration in milliseconds, to the microsecond.
fn milliseconds(duration: Duration) -> f64 {
    let micros = u32::try_from(duration.as_micros()).unwrap_or(u32::MAX);
    f64::from(micros) / 1000.0
}

/// Formats milliseconds with three digits: `0.52 ms`, `15.2 ms`, `1.20 s`.
pub(super) fn shown(milliseconds: f64) -> String {
    match milliseconds {
        ms if ms < 10.0 => format!("{ms:.2} ms"),
        ms if ms < 100.0 => format!("{ms:.1} ms"),
        ms if ms < 1000.0 => format!("{ms:.0} ms"),
        ms => format!("{:.2} s", ms / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_measured_values() {
        let hundred: Vec<_> = (1..=100).rev().map(Duration::from_millis).collect();
        let found = Latency::of(hundred).unwrap();
        assert_eq!((found.p50, found.p90), (50.0, 90.0));
        assert_eq!((found.p95, found.p99, found.max), (95.0, 99.0, 100.0));
        let one = Latency::of(vec![Duration::from_micros(1500)]).unwrap();
        assert_eq!((one.p50, one.p99, one.max), (1.5, 1.5, 1.5));
        assert_eq!(Latency::of(Vec::new()), None);
    }

    #[test]
    fn latencies_are_shown_with_three_digits() {
        let all = [0.523, 15.24, 152.4, 1523.9].map(shown);
        assert_eq!(all, ["0.52 ms", "15.2 ms", "152 ms", "1.52 s"]);
    }
}
