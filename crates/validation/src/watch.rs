//! Counts that the opt-in checks need from a pass over a column's values: how many match a regular
//! expression, and the newest time.

use std::collections::HashMap;

use jiff::civil::{Date, DateTime};
use jiff::{SignedDuration, Timestamp};
use regex::Regex;
use serde::{Deserialize, Serialize};

use super::Baseline;
use super::opt_in::{DatasetChecks, FeatureChecks};

/// Why two profiles cannot be merged.
pub(super) const DIFFERENT: &str = "the profiles were created for different `mlops_constraints`";

/// Counts over the present values of one column; mergeable, and independent of their order.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "Record", into = "Record")]
pub struct Watch {
    pattern: Option<(Regex, u64)>,
    newest: Option<Newest>,
}

/// The newest time of a column.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Newest {
    /// `None` if no value is a time.
    pub(super) time: Option<Timestamp>,
    /// Number of values that are not times.
    pub(super) others: u64,
}

/// A [`Watch`] as a profile file stores it.
#[derive(Clone, Serialize, Deserialize)]
struct Record {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pattern: Option<(String, u64)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    newest: Option<Newest>,
}

impl From<Watch> for Record {
    fn from(watch: Watch) -> Self {
        Self {
            pattern: watch
                .pattern
                .map(|(regex, count)| (regex.as_str().to_owned(), count)),
            newest: watch.newest,
        }
    }
}

impl TryFrom<Record> for Watch {
    type Error = regex::Error;

    fn try_from(record: Record) -> Result<Self, regex::Error> {
        let pattern = match record.pattern {
            Some((text, count)) => Some((Regex::new(&text)?, count)),
            None => None,
        };
        Ok(Self {
            pattern,
            newest: record.newest,
        })
    }
}

impl Watch {
    /// Returns the counts that a column's checks need; `None` if they need none.
    pub fn new(checks: &FeatureChecks) -> Option<Self> {
        checks.needs_values().then(|| Self {
            pattern: checks
                .pattern
                .as_ref()
                .map(|pattern| (pattern.regex.clone(), 0)),
            newest: checks.freshness.map(|_| Newest::default()),
        })
    }

    /// Adds a present value that occurs `count` times.
    pub fn observe(&mut self, text: &str, count: u64) {
        if let Some((regex, matches)) = &mut self.pattern
            && regex.is_match(text)
        {
            *matches += count;
        }
        if let Some(newest) = &mut self.newest {
            match time(text) {
                // `None` is before every time.
                Some(time) => newest.time = newest.time.max(Some(time)),
                None => newest.others += count,
            }
        }
    }

    /// Merges the counts of another part of the same column.
    ///
    /// # Errors
    /// The other part was counted for different checks.
    pub fn merge(&mut self, other: &Self) -> Result<(), String> {
        let mine = self.pattern.as_ref().map(|(regex, _)| regex.as_str());
        let theirs = other.pattern.as_ref().map(|(regex, _)| regex.as_str());
        if mine != theirs || self.newest.is_some() != other.newest.is_some() {
            return Err(DIFFERENT.to_owned());
        }
        if let (Some((_, mine)), Some((_, theirs))) = (&mut self.pattern, &other.pattern) {
            *mine += theirs;
        }
        if let (Some(mine), Some(theirs)) = (&mut self.newest, other.newest) {
            mine.time = mine.time.max(theirs.time);
            mine.others += theirs.others;
        }
        Ok(())
    }

    /// Number of values that match the expression; `None` if it was not counted.
    pub(super) fn matches(&self, regex: &Regex) -> Option<u64> {
        self.pattern
            .as_ref()
            .filter(|(counted, _)| counted.as_str() == regex.as_str())
            .map(|(_, count)| *count)
    }

    /// The newest time; `None` if times were not examined.
    pub(super) fn newest(&self) -> Option<Newest> {
        self.newest
    }
}

/// What the opt-in checks of a baseline need to count, by column.
///
/// # Errors
/// A check cannot be parsed.
pub fn watches(baseline: Option<&Baseline>) -> Result<HashMap<String, Watch>, String> {
    let Some(baseline) = baseline else {
        return Ok(HashMap::new());
    };
    let defaults = DatasetChecks::of(&baseline.constraints)?;
    let mut found = HashMap::new();
    for feature in &baseline.constraints.features {
        if let Some(watch) = Watch::new(&FeatureChecks::of(feature, &defaults)?) {
            found.insert(feature.name.clone(), watch);
        }
    }
    Ok(found)
}

/// Parses a time: RFC 3339 and ISO 8601, `YYYY-MM-DD HH:MM:SS[.f]`, `YYYY-MM-DD`, seconds or (from
/// 10¹¹ on) milliseconds since 1970. Without a zone it is UTC; a date is its first moment.
fn time(text: &str) -> Option<Timestamp> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    let number = text.strip_prefix('-').unwrap_or(text);
    if !number.is_empty()
        && number
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
    {
        let value: f64 = text.parse().ok()?;
        let seconds = if value.abs() >= 1e11 {
            value / 1000.0
        } else {
            value
        };
        let duration = SignedDuration::try_from_secs_f64(seconds).ok()?;
        return Timestamp::from_duration(duration).ok();
    }
    let civil = match text.parse::<DateTime>() {
        Ok(civil) => civil,
        Err(_) => match text.parse::<Date>() {
            Ok(date) => date.to_datetime(jiff::civil::Time::midnight()),
            Err(_) => return beyond(text),
        },
    };
    // A timestamp's range ends a day before a date's, at 9999-12-30T22:00:00Z.
    let time = jiff::tz::Offset::UTC.to_timestamp(civil);
    Some(time.unwrap_or(if civil.year() > 0 {
        Timestamp::MAX
    } else {
        Timestamp::MIN
    }))
}

/// A date whose year does not have four digits, as written by Spark: the end or the beginning of
/// time.
fn beyond(text: &str) -> Option<Timestamp> {
    let (end, rest) = match text.strip_prefix('+') {
        Some(rest) => (Timestamp::MAX, rest),
        None => (Timestamp::MIN, text.strip_prefix('-')?),
    };
    let (year, rest) = rest.split_once('-')?;
    let digits = year.len() >= 4 && year.bytes().all(|byte| byte.is_ascii_digit());
    // Month and day of any year.
    let month_and_day = rest.get(..5)?;
    let rest = &rest[5..];
    let is_date = format!("2000-{month_and_day}").parse::<Date>().is_ok();
    (digits && is_date && (rest.is_empty() || rest.starts_with([' ', 'T']))).then_some(end)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn watch() -> Watch {
        let feature = serde_json::from_value(json!({
            "name": "t", "inferred_type": "String",
            "mlops_constraints": {"pattern": {"regex": "^2026"}, "freshness": {"max_age": "1h"}},
        }))
        .unwrap();
        Watch::new(&FeatureChecks::of(&feature, &DatasetChecks::default()).unwrap()).unwrap()
    }

    #[test]
    fn times_are_read_in_the_spellings_of_data() {
        let wanted: Timestamp = "2026-03-04T05:06:07Z".parse().unwrap();
        for text in [
            "2026-03-04T05:06:07Z",
            "2026-03-04T06:06:07+01:00",
            "2026-03-04T05:06:07",
            "2026-03-04 05:06:07",
            "1772600767",
            "1772600767000",
        ] {
            assert_eq!(time(text), Some(wanted), "{text}");
        }
        assert_eq!(
            time("2026-03-04 05:06:07.25"),
            "2026-03-04T05:06:07.25Z".parse().ok()
        );
        assert_eq!(time("2026-03-04"), "2026-03-04T00:00:00Z".parse().ok());
        // Issue 8, 4.3: "still valid" is a time.
        for text in ["9999-12-31", "9999-12-31 02:00:00", "+10000-01-01 00:00:00"] {
            assert_eq!(time(text), Some(Timestamp::MAX), "{text}");
        }
        assert!(time("0000-01-01").unwrap() < time("0001-01-01").unwrap());
        assert_eq!(time("-0044-03-15"), Some(Timestamp::MIN));
        for text in [
            "",
            "-",
            ".",
            "-0044-13-15",
            "+1-02-03",
            "+12345-\u{e4}\u{e4}",
            "yesterday",
            "2026-13-01",
            "04/03/2026",
            "1e300",
        ] {
            assert_eq!(time(text), None, "{text}");
        }
    }

    #[test]
    fn merged_parts_equal_the_whole_and_survive_a_file() {
        let values = ["2026-01-01", "2027-01-01", "no time", "2026-02-01"];
        let (mut left, mut right, mut whole) = (watch(), watch(), watch());
        for (i, value) in values.iter().enumerate() {
            if i < 1 { &mut left } else { &mut right }.observe(value, 1);
            whole.observe(value, 1);
        }
        let text = serde_json::to_string(&right).unwrap();
        left.merge(&serde_json::from_str(&text).unwrap()).unwrap();
        let regex = Regex::new("^2026").unwrap();
        for watch in [left, whole] {
            assert_eq!(watch.matches(&regex), Some(2));
            let newest = watch.newest().unwrap();
            assert_eq!(newest.time, "2027-01-01T00:00:00Z".parse().ok());
            assert_eq!(newest.others, 1);
        }
    }

    #[test]
    fn counts_for_other_checks_do_not_merge() {
        let mut other = watch();
        other.pattern = None;
        assert!(watch().merge(&other).is_err());
        assert_eq!(watch().matches(&Regex::new("x").unwrap()), None);
    }
}
