//! Schedule expressions: `at(…)`, `rate(…)` and `cron(…)`.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::cron::Cron;
use crate::api::{ApiError, ApiResult};

/// When a schedule occurs.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expression {
    /// Once, in the time zone of the schedule.
    At(DateTime),
    /// Again and again after this number of seconds.
    Rate(i64),
    Cron(Cron),
}

fn invalid(text: &str) -> ApiError {
    ApiError::validation(format!("Invalid Schedule Expression {text}."))
}

/// The time zone with a name of the IANA database.
pub(super) fn zone(name: &str) -> ApiResult<TimeZone> {
    TimeZone::get(name).map_err(|error| {
        ApiError::validation(format!(
            "Invalid Schedule Expression Timezone {name}: {error}"
        ))
    })
}

impl Expression {
    /// Reads an expression.
    pub(super) fn parse(text: &str) -> ApiResult<Self> {
        let (kind, rest) = text.split_once('(').ok_or_else(|| invalid(text))?;
        let inner = rest.strip_suffix(')').ok_or_else(|| invalid(text))?;
        let parsed = match kind {
            "at" => at(inner).map(Self::At),
            "rate" => rate(inner).map(Self::Rate),
            "cron" => Cron::parse(inner).map(Self::Cron),
            _ => None,
        };
        parsed.ok_or_else(|| invalid(text))
    }

    /// True for a schedule that occurs once.
    pub(super) fn is_once(&self) -> bool {
        matches!(self, Self::At(_))
    }

    /// The first occurrence after a time. A rate counts from `anchor`.
    pub(super) fn next(
        &self,
        after: Timestamp,
        anchor: Timestamp,
        zone: &TimeZone,
    ) -> Option<Timestamp> {
        match self {
            Self::At(time) => {
                // A time that a change of clocks skips is moved by its length, as in most calendars. Unverified against
                // AWS [scheduler-at-gap].
                let time = zone.to_ambiguous_timestamp(*time).compatible().ok()?;
                (time > after).then_some(time)
            }
            Self::Rate(seconds) => {
                if anchor > after {
                    return Some(anchor);
                }
                let passed = after.duration_since(anchor).as_secs();
                let count = passed.checked_div(*seconds)?.checked_add(1)?;
                let offset = SignedDuration::from_secs(count.checked_mul(*seconds)?);
                anchor.checked_add(offset).ok()
            }
            Self::Cron(cron) => cron.next(after, zone),
        }
    }
}

/// `yyyy-mm-ddThh:mm:ss`
fn at(text: &str) -> Option<DateTime> {
    let is_complete = text.len() == 19 && text.as_bytes()[10] == b'T';
    text.parse().ok().filter(|_| is_complete)
}

/// `value unit`, in seconds.
fn rate(text: &str) -> Option<i64> {
    let (value, unit) = text.split_once(' ')?;
    let is_number = (1..=9).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_digit());
    let value: i64 = value.parse().ok().filter(|_| is_number)?;
    let seconds = match unit.trim() {
        "minute" | "minutes" => 60,
        "hour" | "hours" => 3600,
        "day" | "days" => 86_400,
        _ => return None,
    };
    (value > 0).then_some(value * seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_read() {
        for (text, expected) in [
            ("rate(5 minutes)", Some(Expression::Rate(300))),
            ("rate(1 hour)", Some(Expression::Rate(3600))),
            ("rate(2 days)", Some(Expression::Rate(172_800))),
            ("rate(0 days)", None),
            ("rate(-1 days)", None),
            ("rate(1 week)", None),
            ("rate(1minute)", None),
            (
                "at(2030-01-02T03:04:05)",
                at("2030-01-02T03:04:05").map(Expression::At),
            ),
            ("at(2030-01-02T03:04)", None),
            ("at(2030-01-02 03:04:05)", None),
            ("at(2030-02-30T03:04:05)", None),
            ("cron(0 0 * * *)", None),
            ("every(1 day)", None),
            ("rate(1 day", None),
        ] {
            assert_eq!(Expression::parse(text).ok(), expected, "{text}");
        }
        assert!(Expression::parse("cron(0 0 * * ? *)").is_ok());
        assert!(zone("Europe/Berlin").is_ok());
        assert_eq!(
            zone("Europe/Nowhere").unwrap_err().code,
            "ValidationException"
        );
    }

    #[test]
    fn rates_count_from_their_anchor() {
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        let anchor = time("2024-01-01T00:00:30Z");
        let rate = Expression::Rate(300);
        let next = |after: &str| rate.next(time(after), anchor, &TimeZone::UTC);
        assert_eq!(next("2023-12-31T00:00:00Z"), Some(anchor));
        assert_eq!(
            next("2024-01-01T00:00:30Z"),
            Some(time("2024-01-01T00:05:30Z"))
        );
        assert_eq!(
            next("2024-01-01T00:05:29Z"),
            Some(time("2024-01-01T00:05:30Z"))
        );
        assert_eq!(
            next("2024-01-01T00:05:30Z"),
            Some(time("2024-01-01T00:10:30Z"))
        );
        assert_eq!(
            next("2024-01-02T00:00:00Z"),
            Some(time("2024-01-02T00:00:30Z"))
        );
    }

    #[test]
    fn one_time_schedules_occur_in_their_zone() {
        let at = Expression::parse("at(2024-07-01T12:00:00)").unwrap();
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        let berlin = zone("Europe/Berlin").unwrap();
        let noon = time("2024-07-01T10:00:00Z");
        let start = time("2024-01-01T00:00:00Z");
        assert_eq!(at.next(start, start, &berlin), Some(noon));
        assert_eq!(at.next(noon, start, &berlin), None);
    }
}
