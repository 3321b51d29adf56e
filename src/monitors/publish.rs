//! The metrics of a run, in a namespace of ours: customers cannot write into `aws/…`.

use anyhow::Result;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::aws::{Clients, cloudwatch};
use crate::monitoring::MonitoringReport;

/// Maximum length of a metric's name.
const LONGEST: usize = 255;

/// The namespace, which only the monitor's role may write: alarms that start retrainings read it.
fn namespace(endpoint: &str) -> String {
    format!("MLOps/Monitor/{endpoint}")
}

/// Writes the metrics of a run: `runs`, `records`, `unreadable`, `violations`, and the distance of each feature, as AWS
/// names it.
pub(super) async fn publish(
    clients: &Clients,
    report: &MonitoringReport,
    schedule: &str,
    time: Timestamp,
) -> Result<()> {
    let namespace = namespace(&report.endpoint);
    cloudwatch::put_metrics(clients, &namespace, data(report, schedule, time)).await
}

#[expect(
    clippy::cast_precision_loss,
    reason = "CloudWatch's values are doubles"
)]
fn data(report: &MonitoringReport, schedule: &str, time: Timestamp) -> Vec<Value> {
    let dimensions = json!([
        {"Name": "Endpoint", "Value": report.endpoint},
        {"Name": "MonitoringSchedule", "Value": schedule},
    ]);
    let datum = |name: String, value: f64, unit: &str| {
        json!({
            "MetricName": name, "Dimensions": dimensions, "Timestamp": time.as_second(), "Value": value, "Unit": unit,
        })
    };
    let unreadable = report.unreadable.as_ref();
    let unreadable = unreadable.map_or(0, |found| found.invocations);
    let mut data = vec![
        datum("runs".to_owned(), 1.0, "Count"),
        datum("records".to_owned(), report.rows as f64, "Count"),
        datum("unreadable".to_owned(), unreadable as f64, "Count"),
    ];
    // Too few rows prove nothing: they neither set off an alarm nor end one.
    if report
        .minimum_records
        .is_none_or(|minimum| report.rows >= minimum)
    {
        let violations = report.violations.len() as f64;
        data.push(datum("violations".to_owned(), violations, "Count"));
        data.extend(report.features.iter().filter_map(|feature| {
            let name = format!("feature_baseline_drift_{}", feature.feature);
            let value = feature.distance.filter(|_| name.len() <= LONGEST)?;
            Some(datum(name, value, "None"))
        }));
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(rows: u64) -> MonitoringReport {
        MonitoringReport {
            endpoint: "f".to_owned(),
            run: "run".to_owned(),
            rows,
            baseline_rows: None,
            features: Vec::new(),
            violations: Vec::new(),
            minimum_records: Some(10),
            unreadable: None,
        }
    }

    #[test]
    fn too_few_rows_have_no_violations_metric() {
        let time = Timestamp::from_second(1_764_500_000).unwrap();
        let names = |rows| -> Vec<String> {
            let data = data(&report(rows), "f-data-quality", time);
            let names = data
                .iter()
                .map(|it| it["MetricName"].as_str().unwrap().to_owned());
            names.collect()
        };
        assert_eq!(names(10), ["runs", "records", "unreadable", "violations"]);
        assert_eq!(names(9), ["runs", "records", "unreadable"]);
    }
}
