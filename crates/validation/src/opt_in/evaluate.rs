//! Evaluates the opt-in checks.

use jiff::{SignedDuration, Timestamp};

use super::super::check::percent;
use super::super::distance;
use super::super::statistics::FeatureStatistics;
use super::super::violations::Violation;
use super::super::watch::Watch;
use super::{DatasetChecks, FeatureChecks, KEY, Pattern, Range};

/// Maximum error of distinct counts, as a share: three standard errors of `HyperLogLog` with 16,384
/// registers (3 · 1.04 / √16384).
const DISTINCT_ERROR: f64 = 3.0 * 1.04 / 128.0;

/// One column, in the baseline and now.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Column<'a> {
    /// In the baseline, if it has statistics.
    pub(in super::super) before: Option<&'a FeatureStatistics>,
    /// In the data.
    pub(in super::super) now: &'a FeatureStatistics,
    /// What was counted over its values.
    pub(in super::super) watch: Option<&'a Watch>,
    /// Whether distributions are compared (`perform_comparison`).
    pub(in super::super) compare: bool,
    /// The current time.
    pub(in super::super) clock: Timestamp,
}

/// Checks the number of rows.
///
/// # Errors
/// The check compares with the baseline's rows, but the baseline has no statistics.
#[expect(clippy::cast_precision_loss, reason = "counts above 2^53 do not occur")]
pub(in super::super) fn row_count(
    checks: &DatasetChecks,
    rows: u64,
    baseline: Option<u64>,
) -> Result<Option<Violation>, String> {
    let Some(wanted) = checks.row_count else {
        return Ok(None);
    };
    let (min, max) = (wanted.min.unwrap_or(0), wanted.max.unwrap_or(u64::MAX));
    if rows < min || rows > max {
        let expected = between(wanted.min, wanted.max);
        return Ok(Some(Violation::of(
            "Row count",
            "row_count_check",
            format!("Row count requirement is not met. Expected: {expected}. Observed: {rows}."),
        )));
    }
    if wanted.min_ratio.is_none() && wanted.max_ratio.is_none() {
        return Ok(None);
    }
    let before = baseline.filter(|rows| *rows > 0).ok_or_else(|| {
        format!("{KEY}: row_count: a ratio needs the baseline's statistics (--statistics)")
    })?;
    let ratio = rows as f64 / before as f64;
    let fits = ratio >= wanted.min_ratio.unwrap_or(0.0)
        && ratio <= wanted.max_ratio.unwrap_or(f64::INFINITY);
    let text = || {
        format!(
            "Row count requirement is not met. Expected: {} times the baseline's {before} rows. \
             Observed: {rows} rows, {ratio} times.",
            between(wanted.min_ratio, wanted.max_ratio)
        )
    };
    Ok((!fits).then(|| Violation::of("Row count", "row_count_check", text())))
}

/// Returns every violation of a column's opt-in checks.
///
/// # Errors
/// A distance that the column itself requests cannot be measured, or the profile has not counted
/// what a check needs.
pub(in super::super) fn feature(
    checks: &FeatureChecks,
    column: &Column,
) -> Result<Vec<Violation>, String> {
    let name = column.now.name.as_str();
    let present = column.now.common().map_or(0, |common| common.num_present);
    if present == 0 {
        return Ok(Vec::new());
    }
    let mut found: Vec<(&str, String)> = Vec::new();
    if column.compare {
        found.extend(drift(checks, column)?);
    }
    if let Some(wanted) = checks.uniqueness {
        found.extend(uniqueness(wanted, column.now, present));
    }
    if let Some(wanted) = checks.range {
        found.extend(range(wanted, column.now));
    }
    let uncounted = |check: &str| {
        format!(
            "{KEY} of `{name}`: the profile has not counted what {check} needs: create it with \
             these constraints"
        )
    };
    if let Some(wanted) = &checks.pattern {
        let matches = column
            .watch
            .and_then(|watch| watch.matches(&wanted.regex))
            .ok_or_else(|| uncounted("pattern"))?;
        found.extend(pattern(wanted, matches, present));
    }
    if let Some(age) = checks.freshness {
        let newest = column
            .watch
            .and_then(Watch::newest)
            .ok_or_else(|| uncounted("freshness"))?;
        found.extend(freshness(age, newest.time, newest.others, column.clock));
    }
    Ok(found
        .into_iter()
        .map(|(check, text)| Violation::of(name, check, text))
        .collect())
}

fn drift(checks: &FeatureChecks, column: &Column) -> Result<Vec<(&'static str, String)>, String> {
    let unmeasured = |check: &str, own: bool| {
        if own {
            let (name, why) = (
                &column.now.name,
                match column.before {
                    None => "the baseline has no statistics of it (--statistics)",
                    Some(_) => "one side has no distribution to measure it from",
                },
            );
            Err(format!("{KEY} of `{name}`: {check}: {why}"))
        } else {
            Ok(())
        }
    };
    let mut found = Vec::new();
    if let Some(psi) = checks.drift.psi {
        match column
            .before
            .and_then(|before| distance::psi_of(before, column.now, psi.bins))
        {
            Some(index) if index > psi.threshold => found.push((
                "psi_drift_check",
                format!(
                    "Population stability index: {index} exceeds threshold: {}",
                    psi.threshold
                ),
            )),
            Some(_) => {}
            None => unmeasured("psi", checks.own[0])?,
        }
    }
    if let Some(wanted) = checks.drift.wasserstein {
        match column
            .before
            .and_then(|before| distance::wasserstein_of(before, column.now, wanted.normalize))
        {
            Some(distance) if distance > wanted.threshold => {
                let unit = if wanted.normalize {
                    " standard deviations of the baseline"
                } else {
                    ""
                };
                found.push((
                    "wasserstein_drift_check",
                    format!(
                        "Wasserstein distance: {distance}{unit} exceeds threshold: {}",
                        wanted.threshold
                    ),
                ));
            }
            Some(_) => {}
            None => unmeasured("wasserstein", checks.own[1])?,
        }
    }
    if let Some(wanted) = checks.drift.kolmogorov_smirnov {
        match column
            .before
            .and_then(|before| distance::kolmogorov_smirnov_of(before, column.now))
        {
            Some(p) if p < wanted.min_p_value => found.push((
                "kolmogorov_smirnov_drift_check",
                format!(
                    "Kolmogorov-Smirnov p-value: {p:?} is below threshold: {}",
                    wanted.min_p_value
                ),
            )),
            Some(_) => {}
            None => unmeasured("kolmogorov_smirnov", checks.own[2])?,
        }
    }
    Ok(found)
}

/// An estimate is a violation only if it remains one after adding three standard errors.
#[expect(clippy::cast_precision_loss, reason = "counts above 2^53 do not occur")]
fn uniqueness(
    wanted: f64,
    now: &FeatureStatistics,
    present: u64,
) -> Option<(&'static str, String)> {
    let distinct = now.distinct()?;
    let share = distinct / present as f64;
    let most = if present <= super::super::distinct::EXACT as u64 {
        share
    } else {
        share * (1.0 + DISTINCT_ERROR)
    };
    (most < wanted).then(|| {
        (
            "uniqueness_check",
            format!(
                "Uniqueness requirement is not met. Expected distinct values: at least {}. \
                 Observed: about {}.",
                percent(wanted),
                percent(share)
            ),
        )
    })
}

fn range(wanted: Range, now: &FeatureStatistics) -> Option<(&'static str, String)> {
    let expected = between(wanted.min, wanted.max);
    let observed = match &now.numerical_statistics {
        Some(numbers)
            if numbers.min >= wanted.min.unwrap_or(f64::NEG_INFINITY)
                && numbers.max <= wanted.max.unwrap_or(f64::INFINITY) =>
        {
            return None;
        }
        Some(numbers) => format!("{} to {}", numbers.min, numbers.max),
        None => "no numbers".to_owned(),
    };
    Some((
        "range_check",
        format!("Range requirement is not met. Expected: {expected}. Observed: {observed}."),
    ))
}

#[expect(clippy::cast_precision_loss, reason = "counts above 2^53 do not occur")]
fn pattern(wanted: &Pattern, matches: u64, present: u64) -> Option<(&'static str, String)> {
    let share = matches as f64 / present as f64;
    (share < wanted.min_match).then(|| {
        (
            "pattern_check",
            format!(
                "Pattern requirement is not met. Expected match of {}: {}. Observed: Only {} of \
                 values match.",
                wanted.regex.as_str(),
                percent(wanted.min_match),
                percent(share)
            ),
        )
    })
}

fn freshness(
    wanted: SignedDuration,
    newest: Option<Timestamp>,
    others: u64,
    clock: Timestamp,
) -> Option<(&'static str, String)> {
    let observed = match newest {
        None => format!("none of {others} values is a time"),
        Some(newest) => {
            let age = clock.duration_since(newest);
            if age <= wanted {
                return None;
            }
            let age = SignedDuration::from_secs(age.as_secs());
            format!("the newest value is {newest}, {age:#} old")
        }
    };
    Some((
        "freshness_check",
        format!(
            "Freshness requirement is not met. Expected age: at most {wanted:#}. Observed: \
             {observed}."
        ),
    ))
}

fn between<T: std::fmt::Display>(min: Option<T>, max: Option<T>) -> String {
    match (min, max) {
        (Some(min), Some(max)) => format!("{min} to {max}"),
        (Some(min), None) => format!("at least {min}"),
        (None, Some(max)) => format!("at most {max}"),
        (None, None) => "anything".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use serde_json::{Value, json};

    use super::super::super::{Baseline, Constraints, Format, Source, check, profile};
    use super::*;

    fn source(text: &str) -> Vec<Source> {
        let text = text.as_bytes().to_vec();
        vec![Source::stream("data.csv", move || {
            Ok(std::io::Cursor::new(text))
        })]
    }

    fn table(rows: u32, row: impl Fn(u32) -> String) -> String {
        let mut text = "id,amount,day\n".to_owned();
        for i in 0..rows {
            writeln!(text, "{}", row(i)).unwrap();
        }
        text
    }

    /// 2000 rows: unique id, amount of 0 to 99, a day of January.
    fn good() -> String {
        table(2000, |i| {
            format!("ID{i:06},{}.5,2026-01-{:02} 12:00:00", i % 100, i % 28 + 1)
        })
    }

    /// Returns the violations of `data` for the baseline of [`good`] with these opt-in checks.
    fn violations(
        top: &Value,
        features: &Value,
        data: &str,
    ) -> Result<Vec<(String, String)>, String> {
        let statistics = profile(source(&good()), &Format::Csv, None)
            .unwrap()
            .statistics();
        let mut constraints = serde_json::to_value(Constraints::suggest(&statistics)).unwrap();
        constraints[KEY] = top.clone();
        constraints["monitoring_config"]["distribution_constraints"]["comparison_threshold"] =
            json!(1.0);
        for feature in constraints["features"].as_array_mut().unwrap() {
            feature
                .as_object_mut()
                .unwrap()
                .remove("string_constraints");
            if let Some(checks) = features.get(feature["name"].as_str().unwrap()) {
                feature[KEY] = checks.clone();
            }
        }
        let baseline = Baseline {
            constraints: serde_json::from_value(constraints).unwrap(),
            statistics: Some(statistics),
        };
        let profile = profile(source(data), &Format::Csv, Some(&baseline))
            .map_err(|error| error.to_string())?;
        let clock = "2026-02-01T00:00:00Z".parse().unwrap();
        let found = check(&profile, &profile.statistics(), &baseline, clock)?;
        Ok(found
            .violations
            .into_iter()
            .map(|v| (v.constraint_check_type, v.description))
            .collect())
    }

    fn all() -> (Value, Value) {
        (
            json!({"row_count": {"min": 1000, "max_ratio": 1.5},
                   "psi": {"threshold": 0.2},
                   "wasserstein": {"threshold": 0.5, "normalize": true},
                   "kolmogorov_smirnov": {"min_p_value": 0.01}}),
            json!({"id": {"uniqueness": {"min": 1.0}, "pattern": {"regex": "^ID[0-9]{6}$"}},
                   "amount": {"range": {"min": 0, "max": 100}},
                   "day": {"freshness": {"max_age": "5 days"}}}),
        )
    }

    #[test]
    fn data_like_the_baseline_keeps_every_check() {
        let (top, features) = all();
        assert_eq!(violations(&top, &features, &good()).unwrap(), []);
    }

    #[test]
    fn each_check_detects_its_violation() {
        let (top, features) = all();
        let spoiled = table(900, |i| {
            format!("{},{}.5,2026-01-{:02}", i % 700, i % 100 + 60, i % 20 + 1)
        });
        let found = violations(&top, &features, &spoiled).unwrap();
        let kinds: Vec<&str> = found.iter().map(|(kind, _)| kind.as_str()).collect();
        assert_eq!(
            kinds,
            [
                "row_count_check",
                "uniqueness_check",
                "pattern_check",
                "psi_drift_check",
                "wasserstein_drift_check",
                "kolmogorov_smirnov_drift_check",
                "range_check",
                "psi_drift_check",
                "freshness_check",
            ],
            "{found:#?}"
        );
        let text = |i: usize| found[i].1.as_str();
        assert_eq!(
            text(0),
            "Row count requirement is not met. Expected: at least 1000. Observed: 900."
        );
        assert!(
            text(1).ends_with("Observed: about 77.77777777777779%."),
            "{}",
            text(1)
        );
        assert_eq!(
            text(2),
            "Pattern requirement is not met. Expected match of ^ID[0-9]{6}$: 100.0%. Observed: \
             Only 0.0% of values match."
        );
        assert_eq!(
            text(6),
            "Range requirement is not met. Expected: 0 to 100. Observed: 60.5 to 159.5."
        );
        assert_eq!(
            text(8),
            "Freshness requirement is not met. Expected age: at most 120h. Observed: the newest \
             value is 2026-01-20T00:00:00Z, 288h old."
        );
    }

    #[test]
    fn ratios_are_of_the_baselines_rows() {
        let twice = [good(), good().split_once('\n').unwrap().1.to_owned()].concat();
        let top = json!({"row_count": {"max_ratio": 1.5}});
        let found = violations(&top, &json!({}), &twice).unwrap();
        assert!(
            found[0]
                .1
                .contains("at most 1.5 times the baseline's 2000 rows. Observed: 4000"),
            "{found:?}"
        );
    }

    #[test]
    fn an_unmeasurable_distance_is_an_error_only_on_request() {
        let features = json!({"id": {"psi": {"threshold": 0.1}}});
        let error = violations(&json!({}), &features, &good()).unwrap_err();
        assert!(
            error.starts_with("mlops_constraints of `id`: psi: one side has no distribution"),
            "{error}"
        );
    }

    #[test]
    fn invalid_checks_are_rejected_before_the_data_is_read() {
        let error = violations(&json!({"psy": {}}), &json!({}), "").unwrap_err();
        assert!(error.contains("no check `psy`"), "{error}");
    }

    #[test]
    fn a_distance_can_be_switched_off() {
        let features = json!({"id": {"psi": {"threshold": 0.1}}});
        let mut off = features.clone();
        off["id"]["psi"] = json!("Disabled");
        assert_eq!(violations(&json!({}), &off, &good()).unwrap(), []);
    }
}
