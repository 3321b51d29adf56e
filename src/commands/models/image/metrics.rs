//! The metrics of a run, judged against those of other versions.

use std::collections::BTreeMap;

use mlops_core::names::Version;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::aws::sagemaker::compared::{Compared, Role};
use crate::config::Better;

/// A metric of the run and of the versions that it is compared with.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct MetricRow {
    pub(super) metric: String,
    /// Which value is better; null if nothing declares it.
    pub(super) better: Option<Better>,
    pub(super) new: Option<Value>,
    /// Null if there is no such version.
    pub(super) previous: Option<Against>,
    pub(super) live: Option<Against>,
}

/// A metric of another version.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Against {
    /// Its value there.
    pub(super) value: Option<Value>,
    /// The run's value minus this one.
    pub(super) difference: Option<f64>,
    /// Null if a value is missing, or if they differ and no direction is declared.
    pub(super) verdict: Option<Verdict>,
}

/// How the run's value compares with the other one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    Better,
    Worse,
    Same,
}

impl Against {
    fn new(new: Option<&Value>, other: Option<&Value>, better: Option<Better>) -> Self {
        let number = |value: Option<&Value>| value.and_then(Value::as_f64);
        let difference = number(new).zip(number(other)).map(|(new, old)| new - old);
        let verdict = difference.and_then(|difference| match better {
            _ if difference == 0.0 => Some(Verdict::Same),
            None => None,
            Some(better) if (difference < 0.0) == (better == Better::Lower) => {
                Some(Verdict::Better)
            }
            Some(_) => Some(Verdict::Worse),
        });
        Self {
            value: other.cloned(),
            difference,
            verdict,
        }
    }
}

impl MetricRow {
    /// Returns the metric of the version in a role; `None` if there is no such version.
    pub(super) fn against(&self, role: Role) -> Option<&Against> {
        match role {
            Role::Previous => self.previous.as_ref(),
            Role::Live => self.live.as_ref(),
        }
    }

    /// Returns whether the value differs from another one, but nothing declares which is better.
    pub(super) fn is_undeclared(&self) -> bool {
        let mut others = [&self.previous, &self.live].into_iter().flatten();
        others.any(|other| other.difference.is_some() && other.verdict.is_none())
    }
}

/// Returns a row per metric, in the order of the run's; those that only other versions have come last.
pub(super) fn rows(
    new: &Map<String, Value>,
    previous: Option<&Map<String, Value>>,
    live: Option<&Map<String, Value>>,
    directions: &BTreeMap<String, Better>,
) -> Vec<MetricRow> {
    let mut names: Vec<&String> = new.keys().collect();
    for name in [previous, live].into_iter().flatten().flat_map(Map::keys) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let row = |name: &String| {
        let better = directions.get(name).copied();
        let value = new.get(name);
        let against = |metrics: &Map<String, Value>| Against::new(value, metrics.get(name), better);
        MetricRow {
            metric: name.clone(),
            better,
            new: value.cloned(),
            previous: previous.map(against),
            live: live.map(against),
        }
    };
    names.into_iter().map(row).collect()
}

/// Summarizes the comparison with the version in a role.
pub(super) fn compared(
    rows: &[MetricRow],
    with: Role,
    version: Version,
    same_data: Option<bool>,
) -> Compared {
    let names = |verdict: Verdict| {
        let judged = rows.iter().filter(|row| {
            let against = row.against(with);
            against.is_some_and(|against| against.verdict == Some(verdict))
        });
        judged.map(|row| row.metric.clone()).collect()
    };
    Compared {
        with,
        version,
        better: names(Verdict::Better),
        worse: names(Verdict::Worse),
        same: names(Verdict::Same),
        same_data,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn metrics_are_judged_by_their_declared_direction() {
        let new = object(&json!({"rmse": 4.0, "r2": 0.5, "mape": 0.1, "bias": 1.0}));
        let previous = object(&json!({"rmse": 5.0, "r2": 0.75, "mape": 0.2, "auc": 0.9}));
        let live = object(&json!({"rmse": 3.0, "mape": 0.1}));
        let directions = BTreeMap::from([
            ("rmse".to_owned(), Better::Lower),
            ("r2".to_owned(), Better::Higher),
            ("auc".to_owned(), Better::Higher),
        ]);
        let rows = rows(&new, Some(&previous), Some(&live), &directions);
        let names: Vec<&str> = rows.iter().map(|row| row.metric.as_str()).collect();
        assert_eq!(names, ["rmse", "r2", "mape", "bias", "auc"]);
        let difference = |row: &MetricRow| row.previous.as_ref().unwrap().difference;
        assert_eq!(difference(&rows[0]), Some(-1.0));
        assert_eq!((difference(&rows[3]), difference(&rows[4])), (None, None));
        let undeclared: Vec<bool> = rows.iter().map(MetricRow::is_undeclared).collect();
        assert_eq!(undeclared, [false, false, true, false, false]);

        let with_previous = compared(&rows, Role::Previous, Version(2), Some(true));
        assert_eq!(with_previous.better, ["rmse"]);
        assert_eq!(with_previous.worse, ["r2"]);
        assert!(with_previous.same.is_empty());
        let with_live = compared(&rows, Role::Live, Version(1), None);
        assert!(with_live.better.is_empty());
        assert_eq!(with_live.worse, ["rmse"]);
        // Equal values need no direction.
        assert_eq!(with_live.same, ["mape"]);
    }

    #[test]
    fn without_another_version_nothing_is_judged() {
        let new = object(&json!({"rmse": 4.0}));
        let directions = BTreeMap::from([("rmse".to_owned(), Better::Lower)]);
        let rows = rows(&new, None, None, &directions);
        assert_eq!((&rows[0].previous, &rows[0].live), (&None, &None));
        assert!(!rows[0].is_undeclared());
    }
}
