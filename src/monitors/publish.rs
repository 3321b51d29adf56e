//! The metrics of a run, in a namespace of ours: customers cannot write into `aws/…`.

use anyhow::Result;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::aws::{Clients, cloudwatch};
use crate::monitoring::MonitoringReport;
use crate::monitoring::model_quality::ModelQualityReport;

/// Maximum length of a metric's name.
const LONGEST: usize = 255;

/// CloudWatch refuses values whose magnitude is greater than 2 to the power of 360, or less than its reciprocal.
const LARGEST: f64 = 2.348_542_582_773_833_3e108;

/// The namespace, which only the monitor's role may write: alarms that start retrainings read it.
fn namespace(endpoint: &str) -> String {
    format!("MLOps/Monitor/{endpoint}")
}

/// A metric of a run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Datum {
    name: String,
    value: f64,
    /// Whether it counts something.
    is_count: bool,
}

#[expect(
    clippy::cast_precision_loss,
    reason = "CloudWatch's values are doubles"
)]
fn count(name: &str, value: u64) -> Datum {
    Datum {
        name: name.to_owned(),
        value: value as f64,
        is_count: true,
    }
}

fn number(name: String, value: Option<f64>) -> Option<Datum> {
    let is_accepted =
        |value: &f64| *value == 0.0 || (LARGEST.recip()..=LARGEST).contains(&value.abs());
    let value = value
        .filter(is_accepted)
        .filter(|_| name.len() <= LONGEST)?;
    Some(Datum {
        name,
        value,
        is_count: false,
    })
}

/// The metrics of data quality: `runs`, `records`, `unreadable`, `violations`, and the distance of each feature, as AWS
/// names it.
pub(super) fn data_quality(report: &MonitoringReport) -> Vec<Datum> {
    let unreadable = report.unreadable.as_ref();
    let mut data = vec![
        count("runs", 1),
        count("records", report.rows),
        count("unreadable", unreadable.map_or(0, |it| it.invocations)),
    ];
    // Too few rows prove nothing: they neither set off an alarm nor end one.
    if report
        .minimum_records
        .is_none_or(|minimum| report.rows >= minimum)
    {
        data.push(count("violations", report.violations.len() as u64));
        data.extend(report.features.iter().filter_map(|feature| {
            let name = format!("feature_baseline_drift_{}", feature.feature);
            number(name, feature.distance)
        }));
    }
    data
}

/// The metrics of model quality: `runs`, `predictions`, `records` (with a label), `unreadable` predictions and labels,
/// `unlabelled` (1 if labels are missing, and there are not enough), `violations`, and those of the model, as AWS names them.
pub(super) fn model_quality(report: &ModelQualityReport) -> Vec<Datum> {
    let (minimum, counts) = (report.minimum_records, &report.counts);
    let is_unlabelled = counts.joined < counts.predictions && report.rows < minimum;
    let unreadable = counts.unreadable_predictions + counts.unreadable_labels;
    let mut data = vec![
        count("runs", 1),
        count("predictions", counts.predictions),
        count("records", report.rows),
        count("unreadable", unreadable),
        count("unlabelled", u64::from(is_unlabelled)),
    ];
    if report.rows >= minimum {
        // A limit that could not be checked is not met, nor exceeded.
        if !report.violations.is_empty() || report.unchecked.is_empty() {
            data.push(count("violations", report.violations.len() as u64));
        }
        let metrics = report.metrics.iter();
        data.extend(metrics.filter_map(|metric| number(metric.metric.clone(), metric.value)));
    }
    data
}

/// Writes the metrics of a run of a monitor, first those that alarms read: a request with one value that is refused
/// writes none.
pub(super) async fn publish(
    clients: &Clients,
    endpoint: &str,
    monitor: &str,
    data: Vec<Datum>,
    time: Timestamp,
) -> Result<()> {
    let dimensions = json!([
        {"Name": "Endpoint", "Value": endpoint},
        {"Name": "MonitoringSchedule", "Value": monitor},
    ]);
    let (counts, numbers): (Vec<Datum>, Vec<Datum>) = data.into_iter().partition(|it| it.is_count);
    for data in [counts, numbers] {
        let data = data.into_iter().map(|datum| -> Value {
            json!({
                "MetricName": datum.name, "Dimensions": dimensions, "Timestamp": time.as_second(), "Value": datum.value,
                "Unit": if datum.is_count { "Count" } else { "None" },
            })
        });
        cloudwatch::put_metrics(clients, &namespace(endpoint), data.collect()).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use mlops_validation::quality::JoinCounts;

    use super::*;
    use crate::monitoring::model_quality::QualityMetric;

    fn names(data: Vec<Datum>) -> Vec<String> {
        data.into_iter().map(|datum| datum.name).collect()
    }

    #[test]
    fn too_few_rows_have_no_violations_metric() {
        let report = |rows| MonitoringReport {
            rows,
            minimum_records: Some(10),
            ..MonitoringReport::empty("f")
        };
        let few = ["runs", "records", "unreadable"];
        assert_eq!(names(data_quality(&report(9))), few);
        let enough = ["runs", "records", "unreadable", "violations"];
        assert_eq!(names(data_quality(&report(10))), enough);
    }

    #[test]
    fn values_that_cloudwatch_refuses_are_left_out() {
        let name = || "mse".to_owned();
        for value in [0.0, -1.5, 2e108, 1e-100] {
            assert!(number(name(), Some(value)).is_some(), "{value}");
        }
        for value in [3e108, -3e108, 1e-110, f64::NAN, f64::INFINITY] {
            assert_eq!(number(name(), Some(value)), None, "{value}");
        }
        assert_eq!(number("x".repeat(256), Some(1.0)), None);
    }

    #[test]
    fn a_model_without_enough_labels_has_no_quality() {
        let report = |rows| ModelQualityReport {
            endpoint: "f".to_owned(),
            run: "run".to_owned(),
            rows,
            join_rate: None,
            counts: JoinCounts {
                predictions: 10,
                ..JoinCounts::default()
            },
            metrics: vec![QualityMetric {
                metric: "mae".to_owned(),
                value: Some(1.5),
                standard_deviation: None,
                threshold: None,
                comparison_operator: None,
                violated: false,
            }],
            violations: Vec::new(),
            unchecked: Vec::new(),
            minimum_records: 10,
        };
        let few = ["runs", "predictions", "records", "unreadable", "unlabelled"];
        let found = model_quality(&report(9));
        assert_eq!(names(found.clone()), few);
        assert_eq!(found[4], count("unlabelled", 1));
        let enough = [&few[..], &["violations", "mae"]].concat();
        assert_eq!(names(model_quality(&report(10))), enough);
        // A limit that could not be checked is no end of an alarm.
        let mut unchecked = report(10);
        unchecked.unchecked.push("r2".to_owned());
        let rest = [&few[..], &["mae"]].concat();
        assert_eq!(names(model_quality(&unchecked)), rest);
    }
}
