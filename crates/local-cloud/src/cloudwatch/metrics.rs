//! Metrics and their data points: stored as aggregates per second or minute, read per period.
//!
//! ```text
//! PutMetricData ── aggregate of a second or minute ──┬── after 3 hours:  of a minute
//!                                                    ├── after 15 days:  of 5 minutes
//!                                                    ├── after 63 days:  of an hour
//!                                                    └── after 455 days: removed
//! ```

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, Row, Transaction, params};
use serde::{Deserialize, Serialize};

use super::errors::invalid_value;
use super::statistics::{Aggregate, Distribution};
use crate::Cloud;
use crate::api::ApiResult;

pub(super) const MINUTE: i64 = 60;
pub(super) const HOUR: i64 = 3600;
pub(super) const DAY: i64 = 86_400;

/// Age from which data points of a width are kept with another width only; 0 removes them.
const RETENTION: [(i64, i64, i64); 4] = [
    (1, 3 * HOUR, MINUTE),
    (MINUTE, 15 * DAY, 5 * MINUTE),
    (5 * MINUTE, 63 * DAY, HOUR),
    (HOUR, 455 * DAY, 0),
];

/// Maximum number of data points that one transaction moves: others wait for it.
const BATCH: i64 = 1000;

/// A dimension of a request or a response.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Dimension {
    pub(super) name: String,
    pub(super) value: String,
}

/// What identifies a metric.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Metric {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) dimensions: BTreeMap<String, String>,
}

impl Metric {
    /// The metric of a request. `at` is the path of the dimensions in messages.
    pub(super) fn new(
        namespace: &str,
        name: &str,
        dimensions: &[Dimension],
        at: &str,
    ) -> ApiResult<Self> {
        // As for dimensions (unverified against AWS [cloudwatch-metric-name]).
        if !name.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            return Err(invalid_value(format!(
                "The value {name} for parameter MetricName is invalid."
            )));
        }
        let mut own = BTreeMap::new();
        for (index, dimension) in dimensions.iter().enumerate() {
            let path = format!("{at}.member.{}", index + 1);
            let checked = [("Name", &dimension.name), ("Value", &dimension.value)];
            for (member, text) in checked {
                let is_printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
                let is_reserved = member == "Name" && text.starts_with(':');
                if !is_printable || text.trim().is_empty() || is_reserved {
                    return Err(invalid_value(format!(
                        "The value {text} for parameter {path}.{member} is invalid."
                    )));
                }
            }
            if own
                .insert(dimension.name.clone(), dimension.value.clone())
                .is_some()
            {
                return Err(invalid_value(format!(
                    "The value {} for parameter {path}.Name is invalid: it occurs twice.",
                    dimension.name
                )));
            }
        }
        Ok(Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            dimensions: own,
        })
    }

    /// The dimensions as responses show them.
    pub(super) fn shown_dimensions(&self) -> Vec<Dimension> {
        let pairs = self.dimensions.iter();
        pairs
            .map(|(name, value)| Dimension {
                name: name.clone(),
                value: value.clone(),
            })
            .collect()
    }

    fn dimensions_text(&self) -> String {
        serde_json::to_string(&self.dimensions).unwrap_or_default()
    }

    fn id(&self, tx: &Transaction<'_>) -> ApiResult<Option<i64>> {
        let id = tx
            .prepare_cached(
                "SELECT id FROM cloudwatch_metrics WHERE namespace = ?1 AND name = ?2 AND dimensions = ?3",
            )?
            .query_row(
                params![self.namespace, self.name, self.dimensions_text()],
                |row| row.get(0),
            )
            .optional()?;
        Ok(id)
    }
}

/// Where a data point is stored.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// In seconds.
    pub(super) width: i64,
    /// A multiple of the width.
    pub(super) start: i64,
    pub(super) unit: String,
}

/// Rounds down to a multiple.
pub(super) fn floor(time: i64, multiple: i64) -> i64 {
    time.div_euclid(multiple) * multiple
}

fn aggregate(row: &Row<'_>, first: usize) -> rusqlite::Result<Aggregate> {
    let bytes: Option<Vec<u8>> = row.get(first + 4)?;
    Ok(Aggregate {
        count: row.get(first)?,
        sum: row.get(first + 1)?,
        min: row.get(first + 2)?,
        max: row.get(first + 3)?,
        values: bytes.and_then(|bytes| Distribution::from_bytes(&bytes)),
    })
}

/// Adds values to a stored data point.
fn merge(tx: &Transaction<'_>, metric: i64, at: &Place, values: &Aggregate) -> ApiResult<()> {
    let stored = tx
        .prepare_cached(
            "SELECT count, sum, least, most, distribution FROM cloudwatch_points
             WHERE metric = ?1 AND width = ?2 AND start = ?3 AND unit = ?4",
        )?
        .query_row(params![metric, at.width, at.start, at.unit], |row| {
            aggregate(row, 0)
        })
        .optional()?;
    let all = match stored {
        None => values.clone(),
        Some(mut stored) => {
            stored.merge(values);
            stored
        }
    };
    let bytes = all.values.as_ref().map(Distribution::to_bytes);
    tx.prepare_cached(
        "INSERT OR REPLACE INTO cloudwatch_points VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute(params![
        metric, at.width, at.start, at.unit, all.count, all.sum, all.min, all.max, bytes
    ])?;
    Ok(())
}

/// Adds values to data points of a metric, which is created on first use.
pub(super) fn add(
    tx: &Transaction<'_>,
    metric: &Metric,
    points: &BTreeMap<Place, Aggregate>,
    now: i64,
) -> ApiResult<()> {
    let id = match metric.id(tx)? {
        Some(id) => {
            tx.prepare_cached("UPDATE cloudwatch_metrics SET updated = ?2 WHERE id = ?1")?
                .execute([id, now])?;
            id
        }
        None => tx
            .prepare_cached(
                "INSERT INTO cloudwatch_metrics (namespace, name, dimensions, updated)
                 VALUES (?1, ?2, ?3, ?4)",
            )?
            .insert(params![
                metric.namespace,
                metric.name,
                metric.dimensions_text(),
                now
            ])?,
    };
    points
        .iter()
        .try_for_each(|(place, values)| merge(tx, id, place, values))
}

/// The part of a metric that is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range<'a> {
    /// `None` reads data of all units.
    pub(super) unit: Option<&'a str>,
    /// The start of the first period, in seconds.
    pub(super) from: i64,
    /// The time before which data is read, in seconds.
    pub(super) to: i64,
    /// In seconds.
    pub(super) period: i64,
}

/// The aggregates of a metric's periods by their start, for each unit. Data of a lower resolution than the period
/// is not part of it.
pub(super) fn read(
    tx: &Transaction<'_>,
    metric: &Metric,
    range: Range<'_>,
) -> ApiResult<BTreeMap<(i64, String), Aggregate>> {
    let mut found: BTreeMap<(i64, String), Aggregate> = BTreeMap::new();
    let Some(id) = metric.id(tx)? else {
        return Ok(found);
    };
    let mut statement = tx.prepare_cached(
        "SELECT start, unit, count, sum, least, most, distribution FROM cloudwatch_points
         WHERE metric = ?1 AND width = ?2 AND start >= ?3 AND start < ?4",
    )?;
    for (width, _, _) in RETENTION {
        if range.period % width != 0 {
            continue;
        }
        let mut rows = statement.query([id, width, range.from, range.to])?;
        while let Some(row) = rows.next()? {
            let (start, unit): (i64, String) = (row.get(0)?, row.get(1)?);
            if range.unit.is_some_and(|wanted| wanted != unit) {
                continue;
            }
            let period = range.from + floor(start - range.from, range.period);
            let values = aggregate(row, 2)?;
            found
                .entry((period, unit))
                .and_modify(|all| all.merge(&values))
                .or_insert(values);
        }
    }
    Ok(found)
}

/// [`read`] with all units in one.
pub(super) fn read_merged(
    tx: &Transaction<'_>,
    metric: &Metric,
    range: Range<'_>,
) -> ApiResult<BTreeMap<i64, Aggregate>> {
    let mut found: BTreeMap<i64, Aggregate> = BTreeMap::new();
    for ((start, _), values) in read(tx, metric, range)? {
        found
            .entry(start)
            .and_modify(|all| all.merge(&values))
            .or_insert(values);
    }
    Ok(found)
}

/// The metrics that got data at `since` or later, in the order of namespace, name and dimensions.
pub(super) fn list(tx: &Transaction<'_>, since: i64) -> ApiResult<Vec<Metric>> {
    let mut statement = tx.prepare_cached(
        "SELECT namespace, name, dimensions FROM cloudwatch_metrics WHERE updated >= ?1
         ORDER BY namespace, name, dimensions",
    )?;
    let mut rows = statement.query([since])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let dimensions: String = row.get(2)?;
        found.push(Metric {
            namespace: row.get(0)?,
            name: row.get(1)?,
            dimensions: serde_json::from_str(&dimensions)
                .map_err(crate::api::ApiError::internal)?,
        });
    }
    Ok(found)
}

/// Summarizes old data points and removes those that are no longer kept.
pub(super) fn remove_expired(cloud: &Cloud) -> ApiResult<()> {
    let now = cloud.clock().now().as_second();
    let store = cloud.store();
    let metrics: Vec<i64> = store.transaction(|tx| {
        let mut statement = tx.prepare_cached("SELECT id FROM cloudwatch_metrics")?;
        let ids = statement.query_map([], |row| row.get(0))?;
        Ok(ids.collect::<Result<_, _>>()?)
    })?;
    for metric in metrics {
        for (width, age, next) in RETENTION {
            while store.transaction(|tx| summarize(tx, metric, width, now - age, next))? {}
        }
    }
    let oldest = now - 455 * DAY;
    store.transaction(|tx| {
        tx.execute(
            "DELETE FROM cloudwatch_metrics WHERE updated < ?1
             AND NOT EXISTS (SELECT 1 FROM cloudwatch_points WHERE metric = id)",
            [oldest],
        )?;
        Ok(())
    })
}

/// Moves data points from before a time to the next width; true if there may be more.
fn summarize(
    tx: &Transaction<'_>,
    metric: i64,
    width: i64,
    before: i64,
    next: i64,
) -> ApiResult<bool> {
    let old: Vec<(i64, String, Aggregate)> = {
        let mut statement = tx.prepare_cached(
            "SELECT start, unit, count, sum, least, most, distribution FROM cloudwatch_points
             WHERE metric = ?1 AND width = ?2 AND start < ?3 ORDER BY start LIMIT ?4",
        )?;
        let rows = statement.query_map([metric, width, before, BATCH], |row| {
            Ok((row.get(0)?, row.get(1)?, aggregate(row, 2)?))
        })?;
        rows.collect::<Result<_, _>>()?
    };
    let mut moved: BTreeMap<Place, Aggregate> = BTreeMap::new();
    for (start, unit, values) in &old {
        tx.prepare_cached(
            "DELETE FROM cloudwatch_points
             WHERE metric = ?1 AND width = ?2 AND start = ?3 AND unit = ?4",
        )?
        .execute(params![metric, width, start, unit])?;
        if next > 0 {
            let place = Place {
                width: next,
                start: floor(*start, next),
                unit: unit.clone(),
            };
            moved
                .entry(place)
                .and_modify(|all| all.merge(values))
                .or_insert_with(|| values.clone());
        }
    }
    for (place, values) in &moved {
        merge(tx, metric, place, values)?;
    }
    Ok(i64::try_from(old.len()).unwrap_or(BATCH) >= BATCH)
}
