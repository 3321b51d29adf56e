//! `PutMetricData`

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::errors::{invalid_combination, invalid_value, missing};
use super::metrics::{self, DAY, Dimension, HOUR, MINUTE, Metric, Place};
use super::statistics::Aggregate;
use super::time_of;
use crate::Cloud;
use crate::api::ApiResult;
use crate::cloud::caller::Caller;

/// Maximum number of metrics in a request.
const MAX_METRICS: usize = 1000;

/// Maximum number of values in a metric of a request.
const MAX_VALUES: usize = 150;

/// Age of the oldest data that is accepted, in seconds.
const OLDEST: i64 = 14 * DAY;

/// Maximum time of data ahead of the clock, in seconds.
const NEWEST: i64 = 2 * HOUR;

/// Maximum size of a value: 2^360.
const LARGEST: f64 = 2.348_542_582_773_833_2e108;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Put {
    namespace: String,
    #[serde(default)]
    metric_data: Vec<Datum>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Datum {
    metric_name: String,
    #[serde(default)]
    dimensions: Vec<Dimension>,
    timestamp: Option<f64>,
    value: Option<f64>,
    statistic_values: Option<Set>,
    #[serde(default)]
    values: Vec<f64>,
    #[serde(default)]
    counts: Vec<f64>,
    unit: Option<String>,
    storage_resolution: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Set {
    sample_count: f64,
    sum: f64,
    minimum: f64,
    maximum: f64,
}

/// `PutMetricData`. Only the local cloud itself writes metrics of AWS's namespaces.
pub(super) async fn put(cloud: &Cloud, input: Put) -> ApiResult<Value> {
    if input.namespace.starts_with("AWS/") && !matches!(Caller::current(), Caller::LocalCloud) {
        return Err(invalid_value(
            "The value AWS/ for parameter Namespace is invalid.",
        ));
    }
    let is_printable = |byte: u8| (b' '..=b'~').contains(&byte);
    if input.namespace.trim().is_empty() || !input.namespace.bytes().all(is_printable) {
        return Err(invalid_value(format!(
            "The value {} for parameter Namespace is invalid.",
            input.namespace
        )));
    }
    if input.metric_data.is_empty() {
        return Err(missing("MetricData"));
    }
    if input.metric_data.len() > MAX_METRICS {
        return Err(too_many("MetricData", MAX_METRICS));
    }
    let now = cloud.clock().now().as_second();
    let mut points: BTreeMap<Metric, BTreeMap<Place, Aggregate>> = BTreeMap::new();
    for (index, datum) in input.metric_data.into_iter().enumerate() {
        let at = format!("MetricData.member.{}", index + 1);
        let metric = Metric::new(
            &input.namespace,
            &datum.metric_name,
            &datum.dimensions,
            &format!("{at}.Dimensions"),
        )?;
        let place = datum.place(now, &at)?;
        let Some(values) = datum.values(&at)? else {
            continue;
        };
        points
            .entry(metric)
            .or_default()
            .entry(place)
            .and_modify(|all| all.merge(&values))
            .or_insert(values);
    }
    cloud.store().transaction(|tx| {
        let mut all = points.iter();
        all.try_for_each(|(metric, points)| metrics::add(tx, metric, points, now))
    })?;
    Ok(json!({}))
}

fn too_many(parameter: &str, most: usize) -> crate::api::ApiError {
    invalid_value(format!(
        "The collection {parameter} must not have a size greater than {most}."
    ))
}

/// A value that CloudWatch accepts.
fn checked(value: f64, parameter: &str) -> ApiResult<f64> {
    if value.abs() <= LARGEST {
        return Ok(value);
    }
    Err(invalid_value(format!(
        "The value {value} for parameter {parameter} is invalid."
    )))
}

impl Datum {
    fn place(&self, now: i64, at: &str) -> ApiResult<Place> {
        let width = match self.storage_resolution {
            None | Some(MINUTE) => MINUTE,
            Some(1) => 1,
            Some(other) => {
                return Err(invalid_value(format!(
                    "The value {other} for parameter {at}.StorageResolution is invalid: use 1 or 60."
                )));
            }
        };
        let time = match self.timestamp {
            None => now,
            Some(time) => time_of(time, &format!("{at}.Timestamp"))?.as_second(),
        };
        let limit = match time {
            _ if time < now - OLDEST => "no more than two weeks in the past",
            _ if time > now + NEWEST => "no more than two hours in the future",
            _ => {
                return Ok(Place {
                    width,
                    start: metrics::floor(time, width),
                    unit: self.unit.clone().unwrap_or_else(|| "None".to_owned()),
                });
            }
        };
        Err(invalid_value(format!(
            "The parameter {at}.Timestamp must specify a time {limit}."
        )))
    }

    /// The values; `None` if each count is 0.
    fn values(&self, at: &str) -> ApiResult<Option<Aggregate>> {
        let given = [
            ("Value", self.value.is_some()),
            ("Values", !self.values.is_empty()),
            ("StatisticValues", self.statistic_values.is_some()),
        ];
        let mut given = given.iter().filter(|(_, is_given)| *is_given);
        if let (Some((first, _)), Some((second, _))) = (given.next(), given.next()) {
            return Err(invalid_combination(format!(
                "The parameters {at}.{first} and {at}.{second} are mutually exclusive and you have specified \
                 both."
            )));
        }
        if self.values.len() > MAX_VALUES {
            return Err(too_many(&format!("{at}.Values"), MAX_VALUES));
        }
        if !self.counts.is_empty() && self.counts.len() != self.values.len() {
            return Err(invalid_value(format!(
                "The parameters {at}.Values and {at}.Counts must be of the same size."
            )));
        }
        if let Some(value) = self.value {
            let value = checked(value, &format!("{at}.Value"))?;
            return Ok(Some(Aggregate::of(value, 1.0)));
        }
        if let Some(set) = &self.statistic_values {
            return set.aggregate(&format!("{at}.StatisticValues")).map(Some);
        }
        if self.values.is_empty() {
            return Err(missing(&format!("{at}.Value")));
        }
        let mut all: Option<Aggregate> = None;
        for (index, value) in self.values.iter().enumerate() {
            let value = checked(*value, &format!("{at}.Values.member.{}", index + 1))?;
            let path = format!("{at}.Counts.member.{}", index + 1);
            let count = checked(self.counts.get(index).copied().unwrap_or(1.0), &path)?;
            if count < 0.0 {
                return Err(invalid_value(format!(
                    "The value {count} for parameter {path} is invalid."
                )));
            }
            if count == 0.0 {
                continue;
            }
            let values = Aggregate::of(value, count);
            match &mut all {
                None => all = Some(values),
                Some(all) => all.merge(&values),
            }
        }
        Ok(all)
    }
}

impl Set {
    fn aggregate(&self, at: &str) -> ApiResult<Aggregate> {
        for (member, value) in [
            ("SampleCount", self.sample_count),
            ("Sum", self.sum),
            ("Minimum", self.minimum),
            ("Maximum", self.maximum),
        ] {
            checked(value, &format!("{at}.{member}"))?;
        }
        if self.sample_count <= 0.0 {
            return Err(invalid_value(format!(
                "The value {} for parameter {at}.SampleCount is invalid.",
                self.sample_count
            )));
        }
        if self.minimum > self.maximum {
            return Err(invalid_combination(format!(
                "The parameter {at}.Maximum must not be less than {at}.Minimum."
            )));
        }
        Ok(Aggregate::of_set(
            self.sample_count,
            self.sum,
            self.minimum,
            self.maximum,
        ))
    }
}
