//! The metrics of endpoints, which `CloudWatch` receives in batches.
//!
//! ```text
//! invocation ── Sample ── buffer ── (after a moment) by minute ── PutMetricData, as the local cloud itself
//! ```
//!
//! Each request counts for its variant, and for its variant and configuration: during a deployment, the latter
//! distinguishes the new fleet from the old one (developer guide, "Auto-Rollback Configuration and Monitoring").

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::{Cloud, clock, log};

/// Real time between a request and the flush of its metrics. Tests that advance the cloud's time wait for it.
const FLUSH_AFTER: Duration = Duration::from_millis(200);

/// Maximum number of metrics in one request (service model: `PutMetricData`).
const MAX_METRICS: usize = 1000;

/// Maximum number of distinct values of a metric (service model: `Values`).
const MAX_VALUES: usize = 150;

/// Whose metrics these are.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Series {
    pub(super) endpoint: String,
    pub(super) variant: String,
    pub(super) config: String,
}

/// What happened to one request.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) series: Arc<Series>,
    /// The status code of the container. A container that does not respond counts as 500 (unverified against
    /// AWS [endpoint-timeout-metric]).
    pub(super) status: u16,
    /// Time until the container had responded.
    pub(super) model: Duration,
    /// The rest of the time of the request.
    pub(super) overhead: Duration,
}

/// Samples that are not flushed yet, with their minutes since the epoch.
#[derive(Debug, Default)]
struct Buffer(Mutex<Vec<(i64, Sample)>>);

fn buffer(cloud: &Cloud) -> MutexGuard<'_, Vec<(i64, Sample)>> {
    let buffer = &cloud.state::<Buffer>().0;
    buffer.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts a request.
pub(super) fn record(cloud: &Cloud, sample: Sample) {
    let minute = cloud.clock().now().as_second().div_euclid(60);
    let is_first = {
        let mut buffer = buffer(cloud);
        buffer.push((minute, sample));
        buffer.len() == 1
    };
    if !is_first {
        return;
    }
    // The cloud's time does not move past samples that no alarm has seen.
    let work = cloud.clock().begin("metrics of endpoints");
    let (busy, cloud) = (cloud.busy(), cloud.clone());
    tokio::spawn(async move {
        clock::sleep(FLUSH_AFTER).await;
        flush(&cloud).await;
        drop((work, busy));
    });
}

async fn flush(cloud: &Cloud) {
    let samples = std::mem::take(&mut *buffer(cloud));
    let metrics = metrics(&samples);
    for some in metrics.chunks(MAX_METRICS) {
        let input = json!({"Namespace": "AWS/SageMaker", "MetricData": some});
        let put = || cloud.internally("cloudwatch", "PutMetricData", input.clone());
        // While the disk is full, alarms must not miss what happens.
        let result = loop {
            match put().await {
                Err(error) if error.is_unavailable() => clock::sleep(FLUSH_AFTER).await,
                result => break result,
            }
        };
        if let Err(error) = result {
            log::write_line(&format!("metrics of endpoints were lost: {error}"));
        }
    }
}

/// The values of a metric, each with how often it occurred.
type Values = BTreeMap<u64, u32>;

/// The key of a metric: series, whether the configuration is a dimension, minute, name.
type Key<'a> = (&'a Series, bool, i64, &'static str);

/// `MetricData` of these samples.
fn metrics(samples: &[(i64, Sample)]) -> Vec<Value> {
    let mut all: BTreeMap<Key<'_>, Values> = BTreeMap::new();
    for (minute, sample) in samples {
        let is = |hundred: u16| u64::from(sample.status / 100 == hundred);
        for (name, value) in [
            ("Invocations", 1),
            ("Invocation4XXErrors", is(4)),
            ("Invocation5XXErrors", is(5)),
            ("ModelLatency", micros(sample.model)),
            ("OverheadLatency", micros(sample.overhead)),
        ] {
            for with_config in [false, true] {
                let key = (&*sample.series, with_config, *minute, name);
                *all.entry(key).or_default().entry(value).or_default() += 1;
            }
        }
    }
    let mut metrics = Vec::new();
    for ((series, with_config, minute, name), values) in all {
        let mut dimensions = vec![
            json!({"Name": "EndpointName", "Value": series.endpoint}),
            json!({"Name": "VariantName", "Value": series.variant}),
        ];
        if with_config {
            dimensions.push(json!({"Name": "EndpointConfigName", "Value": series.config}));
        }
        let unit = if name.ends_with("Latency") {
            "Microseconds"
        } else {
            "Count"
        };
        let values: Vec<(u64, u32)> = values.into_iter().collect();
        for some in values.chunks(MAX_VALUES) {
            let (values, counts): (Vec<u64>, Vec<u32>) = some.iter().copied().unzip();
            metrics.push(json!({
                "MetricName": name,
                "Dimensions": dimensions,
                "Timestamp": minute * 60,
                "Values": values,
                "Counts": counts,
                "Unit": unit,
            }));
        }
    }
    metrics
}

/// Microseconds with three significant digits, so that many requests have few distinct values.
fn micros(duration: Duration) -> u64 {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let mut step = 1;
    while micros / step >= 1000 {
        step *= 10;
    }
    micros / step * step
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(config: &str, status: u16, model: u64) -> Sample {
        let text = str::to_owned;
        Sample {
            series: Arc::new(Series {
                endpoint: text("e"),
                variant: text("v"),
                config: text(config),
            }),
            status,
            model: Duration::from_micros(model),
            overhead: Duration::from_micros(7),
        }
    }

    fn found<'a>(metrics: &'a [Value], name: &str, dimensions: usize) -> Vec<&'a Value> {
        let of = |metric: &&Value| {
            metric["MetricName"] == name
                && metric["Dimensions"].as_array().unwrap().len() == dimensions
        };
        metrics.iter().filter(of).collect()
    }

    #[test]
    fn requests_are_aggregated_by_minute_and_fleet() {
        let samples = [
            (10, sample("old", 200, 1500)),
            (10, sample("new", 500, 1500)),
            (10, sample("new", 404, 2500)),
            (11, sample("new", 200, 1500)),
        ];
        let metrics = metrics(&samples);
        // Both fleets in the first minute: a separate series for each configuration.
        assert_eq!(found(&metrics, "Invocations", 3).len(), 3);
        let errors = found(&metrics, "Invocation5XXErrors", 3);
        let values: Vec<String> = errors
            .iter()
            .map(|metric| format!("{} {}", metric["Values"], metric["Counts"]))
            .collect();
        assert_eq!(values, ["[0,1] [1,1]", "[0] [1]", "[0] [1]"]);
        let latency = &found(&metrics, "ModelLatency", 3)[0];
        assert_eq!(latency["Unit"], "Microseconds");
        assert_eq!(latency["Timestamp"], 600);
        assert_eq!(latency["Values"], json!([1500, 2500]));
    }

    #[test]
    fn a_variant_has_one_value_for_both_fleets() {
        let samples = [(10, sample("old", 200, 1)), (10, sample("new", 200, 1))];
        let metrics = metrics(&samples);
        let counts: Vec<&Value> = found(&metrics, "Invocations", 2)
            .iter()
            .map(|metric| &metric["Counts"])
            .collect();
        // The series differ by their configuration, which is no dimension here: CloudWatch adds them up.
        assert_eq!(counts, [&json!([1]), &json!([1])]);
    }

    #[test]
    fn latencies_have_three_significant_digits() {
        for (given, wanted) in [(0, 0), (999, 999), (12_345, 12_300), (1_234_567, 1_230_000)] {
            assert_eq!(micros(Duration::from_micros(given)), wanted);
        }
    }

    #[test]
    fn no_metric_has_too_many_values() {
        let samples: Vec<(i64, Sample)> = (0..400).map(|n| (1, sample("c", 200, n))).collect();
        let metrics = metrics(&samples);
        let latencies = found(&metrics, "ModelLatency", 2);
        assert_eq!(latencies.len(), 3);
        let total = latencies
            .iter()
            .map(|metric| metric["Values"].as_array().unwrap().len());
        assert_eq!(total.sum::<usize>(), 400);
    }
}
