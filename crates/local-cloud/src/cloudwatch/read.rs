//! `GetMetricStatistics` and `GetMetricData`

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::errors::{invalid_combination, invalid_token, invalid_value, validation};
use super::metrics::{self, DAY, Dimension, HOUR, MINUTE, Metric, Range};
use super::statistics::Statistic;
use super::time_of;
use crate::Cloud;
use crate::api::{ApiError, ApiResult};

/// Maximum number of data points that `GetMetricStatistics` returns.
const MAX_POINTS: i64 = 1440;

/// Maximum number of queries of `GetMetricData`.
const MAX_QUERIES: usize = 500;

/// Maximum, and default, number of data points on a page of `GetMetricData`.
const MAX_PAGE: usize = 100_800;

/// Periods below a minute, in seconds.
const SHORT_PERIODS: [i64; 5] = [1, 5, 10, 20, 30];

/// Rounds the start of a request down, by its age; data has a lower resolution the older it is.
fn rounded_start(start: i64, period: i64, now: i64) -> i64 {
    let age = now - start;
    let step = match age {
        _ if period < MINUTE => period,
        _ if age < 15 * DAY => MINUTE,
        _ if age < 63 * DAY => 5 * MINUTE,
        _ => HOUR,
    };
    metrics::floor(start, step)
}

fn check_period(period: i64, parameter: &str) -> ApiResult<()> {
    if SHORT_PERIODS.contains(&period) || (period > 0 && period % MINUTE == 0) {
        return Ok(());
    }
    Err(invalid_value(format!(
        "The parameter {parameter} must be 1, 5, 10, 20, 30 or a multiple of 60."
    )))
}

/// The seconds of a request's times.
fn times(start: f64, end: f64) -> ApiResult<(i64, i64)> {
    let start = time_of(start, "StartTime")?;
    let end = time_of(end, "EndTime")?;
    if start >= end {
        return Err(invalid_value(
            "The parameter StartTime must be less than the parameter EndTime.",
        ));
    }
    // The end is exclusive; rounding it up keeps data from earlier in the same second.
    let partial = i64::from(end.subsec_nanosecond() > 0);
    Ok((start.as_second(), end.as_second() + partial))
}

/// A number with a comma after each group of three digits.
fn grouped(number: i64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetStatistics {
    namespace: String,
    metric_name: String,
    #[serde(default)]
    dimensions: Vec<Dimension>,
    start_time: f64,
    end_time: f64,
    period: i64,
    #[serde(default)]
    statistics: Vec<String>,
    #[serde(default)]
    extended_statistics: Vec<String>,
    unit: Option<String>,
}

/// Statistics, each with its name.
fn parsed(
    names: &[String],
    parse: impl Fn(&str) -> ApiResult<Statistic>,
) -> ApiResult<Vec<(&String, Statistic)>> {
    names.iter().map(|name| Ok((name, parse(name)?))).collect()
}

/// `GetMetricStatistics`
pub(super) async fn statistics(cloud: &Cloud, input: GetStatistics) -> ApiResult<Value> {
    if input.statistics.is_empty() && input.extended_statistics.is_empty() {
        return Err(invalid_combination(
            "At least one of the parameters Statistics and ExtendedStatistics must be specified.",
        ));
    }
    let simple = parsed(&input.statistics, |name| {
        Statistic::parse(name, "Statistics")
    })?;
    let extended = parsed(&input.extended_statistics, |name| {
        Statistic::extended(name, "ExtendedStatistics")
    })?;
    check_period(input.period, "Period")?;
    let (start, end) = times(input.start_time, input.end_time)?;
    let wanted = (end - start) / input.period;
    if wanted > MAX_POINTS {
        return Err(invalid_combination(format!(
            "You have requested up to {} datapoints, which exceeds the limit of {}. You may reduce the \
             datapoints requested by increasing Period, or decreasing the time range.",
            grouped(wanted),
            grouped(MAX_POINTS)
        )));
    }
    let metric = Metric::new(
        &input.namespace,
        &input.metric_name,
        &input.dimensions,
        "Dimensions",
    )?;
    let range = Range {
        unit: input.unit.as_deref(),
        from: rounded_start(start, input.period, cloud.clock().now().as_second()),
        to: end,
        period: input.period,
    };
    let found = cloud
        .store()
        .transaction(|tx| metrics::read(tx, &metric, range))?;
    let points = found.iter().map(|((start, unit), values)| {
        let mut point = Map::new();
        point.insert("Timestamp".to_owned(), json!(start));
        for (name, statistic) in &simple {
            if let Some(value) = values.statistic(*statistic) {
                point.insert((*name).clone(), json!(value));
            }
        }
        point.insert("Unit".to_owned(), json!(unit));
        let mut percentiles = Map::new();
        for (name, statistic) in &extended {
            if let Some(value) = values.statistic(*statistic) {
                percentiles.insert((*name).clone(), json!(value));
            }
        }
        if !percentiles.is_empty() {
            point.insert("ExtendedStatistics".to_owned(), percentiles.into());
        }
        // More than the time and the unit.
        (point.len() > 2).then_some(Value::Object(point))
    });
    let points: Vec<Value> = points.flatten().collect();
    Ok(json!({"Label": input.metric_name, "Datapoints": points}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetData {
    metric_data_queries: Vec<Query>,
    start_time: f64,
    end_time: f64,
    next_token: Option<String>,
    scan_by: Option<String>,
    max_datapoints: Option<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Query {
    id: String,
    metric_stat: Option<MetricStat>,
    expression: Option<String>,
    label: Option<String>,
    return_data: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct MetricStat {
    metric: QueriedMetric,
    period: i64,
    stat: String,
    unit: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct QueriedMetric {
    namespace: Option<String>,
    metric_name: Option<String>,
    #[serde(default)]
    dimensions: Vec<Dimension>,
}

/// A query that was checked.
struct Series {
    id: String,
    label: String,
    metric: Metric,
    statistic: Statistic,
    period: i64,
    unit: Option<String>,
}

impl Query {
    /// Checks the query; `None` if its data is not returned.
    fn check(self, number: usize) -> ApiResult<Option<Series>> {
        let at = format!("MetricDataQueries.member.{number}");
        if self.expression.is_some() {
            return Err(ApiError::not_implemented(
                "metric math and Metrics Insights (Expression) of cloudwatch:GetMetricData",
            ));
        }
        let Some(stat) = self.metric_stat else {
            return Err(validation(format!(
                "The parameter {at} must have MetricStat or Expression."
            )));
        };
        let is_id = |text: &str| {
            text.starts_with(|first: char| first.is_ascii_lowercase())
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        if !is_id(&self.id) {
            return Err(validation(format!(
                "The value {} for parameter {at}.Id is invalid.",
                self.id
            )));
        }
        if self
            .label
            .as_deref()
            .is_some_and(|label| label.contains("${"))
        {
            return Err(ApiError::not_implemented(
                "dynamic labels (Label) of cloudwatch:GetMetricData",
            ));
        }
        let (Some(namespace), Some(name)) = (&stat.metric.namespace, &stat.metric.metric_name)
        else {
            return Err(validation(format!(
                "The parameter {at}.MetricStat.Metric must have Namespace and MetricName."
            )));
        };
        check_period(stat.period, &format!("{at}.MetricStat.Period"))?;
        let dimensions = format!("{at}.MetricStat.Metric.Dimensions");
        let series = Series {
            id: self.id,
            label: self.label.unwrap_or_else(|| name.clone()),
            metric: Metric::new(namespace, name, &stat.metric.dimensions, &dimensions)?,
            statistic: Statistic::parse(&stat.stat, &format!("{at}.MetricStat.Stat"))?,
            period: stat.period,
            unit: stat.unit,
        };
        Ok(self.return_data.unwrap_or(true).then_some(series))
    }
}

/// Where a page begins: the query, and the data point of it.
fn page_start(token: Option<&str>) -> ApiResult<(usize, usize)> {
    let Some(token) = token else {
        return Ok((0, 0));
    };
    let (query, point) = token.split_once('-').ok_or_else(invalid_token)?;
    match (query.parse(), point.parse()) {
        (Ok(query), Ok(point)) => Ok((query, point)),
        _ => Err(invalid_token()),
    }
}

/// `GetMetricData`
pub(super) async fn data(cloud: &Cloud, input: GetData) -> ApiResult<Value> {
    if input.metric_data_queries.len() > MAX_QUERIES {
        return Err(validation(format!(
            "The collection MetricDataQueries must not have a size greater than {MAX_QUERIES}."
        )));
    }
    let (start, end) = times(input.start_time, input.end_time)?;
    let mut room = input.max_datapoints.unwrap_or(MAX_PAGE);
    if !(1..=MAX_PAGE).contains(&room) {
        return Err(validation(format!(
            "The parameter MaxDatapoints must be between 1 and {MAX_PAGE}."
        )));
    }
    let (first, mut skip) = page_start(input.next_token.as_deref())?;
    let mut ids = BTreeSet::new();
    let mut series = Vec::new();
    for (index, query) in input.metric_data_queries.into_iter().enumerate() {
        if !ids.insert(query.id.clone()) {
            return Err(validation(format!(
                "The values for parameter Id in MetricDataQueries are not unique: {}.",
                query.id
            )));
        }
        series.extend(query.check(index + 1)?);
    }
    let now = cloud.clock().now().as_second();
    let is_ascending = input.scan_by.as_deref() == Some("TimestampAscending");
    let mut results = Vec::new();
    let mut next = None;
    for (index, series) in series.iter().enumerate().skip(first) {
        // What did not fit on this page comes on the next one.
        if next.is_none() && room == 0 {
            next = Some(format!("{index}-0"));
        }
        let mut points = Vec::new();
        if next.is_none() {
            points = series.points(cloud, rounded_start(start, series.period, now), end)?;
            if !is_ascending {
                points.reverse();
            }
            points.drain(..skip.min(points.len()));
            if points.len() > room {
                points.truncate(room);
                next = Some(format!("{index}-{}", skip + room));
            }
            room -= points.len();
            skip = 0;
        }
        let (times, values): (Vec<i64>, Vec<f64>) = points.into_iter().unzip();
        results.push(json!({
            "Id": series.id,
            "Label": series.label,
            "Timestamps": times,
            "Values": values,
            "StatusCode": if next.is_none() { "Complete" } else { "PartialData" },
        }));
    }
    Ok(json!({"MetricDataResults": results, "NextToken": next, "Messages": []}))
}

impl Series {
    /// Start and value of each period that has data, the oldest first.
    fn points(&self, cloud: &Cloud, from: i64, to: i64) -> ApiResult<Vec<(i64, f64)>> {
        let range = Range {
            unit: self.unit.as_deref(),
            from,
            to,
            period: self.period,
        };
        let found = cloud
            .store()
            .transaction(|tx| metrics::read_merged(tx, &self.metric, range))?;
        let points = found.into_iter().filter_map(|(start, values)| {
            let value = values.statistic(self.statistic)?;
            Some((start, value))
        });
        Ok(points.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_are_rounded_by_their_age() {
        let now = 1_700_000_123;
        for (age, period, step) in [
            (100, 60, 60),
            (100, 300, 60),
            (100, 10, 10),
            (100, 1, 1),
            (16 * DAY, 300, 300),
            (64 * DAY, 3600, 3600),
        ] {
            let start = now - age;
            let rounded = rounded_start(start, period, now);
            assert_eq!(rounded % step, 0);
            assert!(start - rounded < step, "{age} {period}");
        }
    }

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1608, "1,608"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn periods() {
        for good in [1, 5, 10, 20, 30, 60, 300, 86_400] {
            assert_eq!(check_period(good, "Period"), Ok(()));
        }
        for bad in [0, -60, 2, 15, 61, 90] {
            assert!(check_period(bad, "Period").is_err(), "{bad}");
        }
    }

    #[test]
    fn tokens_are_checked() {
        assert_eq!(page_start(None), Ok((0, 0)));
        assert_eq!(page_start(Some("3-17")), Ok((3, 17)));
        for bad in ["", "3", "-1-2", "a-b", "1-"] {
            assert_eq!(page_start(Some(bad)).unwrap_err().code, "InvalidNextToken");
        }
    }
}
