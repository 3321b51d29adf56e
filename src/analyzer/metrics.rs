//! CloudWatch metrics: one JSON record per line, published by the monitoring platform in the
//! namespace `/aws/sagemaker/Endpoints/data-metrics`. The file of a plain Processing job is not
//! collected.
//!
//! Names and statistics match the built-in container ("CloudWatch Metrics" in the developer guide):
//! `feature_data_NAME` (sum, minimum, maximum, number of values), `feature_non_null_NAME`
//! (completeness, 0 to 1) and `feature_baseline_drift_NAME` (the distance).

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use mlops_validation::{Baseline, Statistics, drift};
use serde_json::{Value, json};

use super::job::AnalyzerJob;

/// The file in the directory that the platform collects; only the directory is documented.
const FILE: &str = "output/metrics/cloudwatch/cloudwatch_metrics.jsonl";

/// Returns the records of an analysis, for every column with `emit_metrics` enabled in the
/// baseline.
pub(super) fn lines(
    job: &AnalyzerJob,
    baseline: Option<&Baseline>,
    statistics: &Statistics,
    now: jiff::Timestamp,
) -> Vec<Value> {
    let known = baseline.map(|baseline| (&baseline.constraints, baseline.constraints.by_name()));
    let emits = |name: &str| {
        known.as_ref().is_none_or(|(constraints, features)| {
            constraints
                .rules_of(features.get(name).copied())
                .emit_metrics
        })
    };
    let template = Template::new(job, now);
    let record =
        |name: String, value: (&str, Value), unit: &str| template.record(&name, value, unit);
    let mut records = Vec::new();
    for feature in &statistics.features {
        let name = &feature.name;
        if !emits(name) {
            continue;
        }
        // Without values there is no minimum and no maximum.
        if let Some(numbers) = &feature.numerical_statistics
            && numbers.common.num_present > 0
        {
            let values = json!({
                "SampleCount": numbers.common.num_present,
                "Sum": numbers.sum,
                "Minimum": numbers.min,
                "Maximum": numbers.max,
            });
            records.push(record(
                format!("feature_data_{name}"),
                ("StatisticValues", values),
                "Count",
            ));
        }
        if let Some(common) = feature.common() {
            records.push(record(
                format!("feature_non_null_{name}"),
                ("Value", json!(common.completeness())),
                "None",
            ));
        }
    }
    let Some(Baseline {
        constraints,
        statistics: Some(before),
    }) = baseline
    else {
        return records;
    };
    for drift in drift::compare(before, statistics, constraints) {
        if let Some(distance) = drift.distance
            && distance.is_finite()
            && emits(&drift.feature)
        {
            records.push(record(
                format!("feature_baseline_drift_{}", drift.feature),
                ("Value", json!(distance)),
                "None",
            ));
        }
    }
    records
}

/// Returns a record for each value.
pub(super) fn records(
    job: &AnalyzerJob,
    values: Vec<(String, Value)>,
    now: jiff::Timestamp,
) -> Vec<Value> {
    let template = Template::new(job, now);
    let records = values.into_iter();
    let records = records.map(|(name, value)| template.record(&name, ("Value", value), "None"));
    records.collect()
}

/// What all records of a job have in common.
struct Template {
    time: String,
    dimensions: Vec<Value>,
}

impl Template {
    fn new(job: &AnalyzerJob, now: jiff::Timestamp) -> Self {
        let time = job.window.until.unwrap_or(now);
        let dimensions = [
            ("Endpoint", &job.endpoint),
            ("MonitoringSchedule", &job.schedule),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some(json!({"Name": name, "Value": value.as_ref()?})));
        Self {
            time: time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            dimensions: dimensions.collect(),
        }
    }

    fn record(&self, name: &str, (kind, value): (&str, Value), unit: &str) -> Value {
        json!({
            "MetricName": name,
            "Timestamp": self.time,
            "Dimensions": self.dimensions,
            kind: value,
            "Unit": unit,
        })
    }
}

/// Writes the records, if there are any.
pub(super) fn write(base: &Path, records: &[Value]) -> Result<Option<PathBuf>> {
    if records.is_empty() {
        return Ok(None);
    }
    let path = base.join(FILE);
    let write = || -> std::io::Result<()> {
        std::fs::create_dir_all(path.parent().unwrap_or(base))?;
        let mut file = std::io::BufWriter::new(std::fs::File::create(&path)?);
        for record in records {
            writeln!(file, "{record}")?;
        }
        file.flush()
    };
    write().with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Some(path))
}
