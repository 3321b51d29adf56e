//! Dates and times of Parquet: compared exactly, and formatted like Spark's cast to text, over the
//! whole range of every unit.

use super::super::{hash, number};

/// One day in nanoseconds.
const DAY: i128 = 86_400 * SECOND;
const SECOND: i128 = 1_000_000_000;

/// The unit of a stored number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// Days since 1970: a date.
    Days,
    /// Milliseconds since 1970 of which only the date counts (Arrow's `Date64`).
    DateMilliseconds,
    Seconds,
    Milliseconds,
    Microseconds,
    Nanoseconds,
}

impl Unit {
    fn nanoseconds(self) -> i128 {
        match self {
            Self::Days => DAY,
            Self::Seconds => SECOND,
            Self::DateMilliseconds | Self::Milliseconds => 1_000_000,
            Self::Microseconds => 1_000,
            Self::Nanoseconds => 1,
        }
    }
}

/// A time since 1970, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instant {
    nanoseconds: i128,
    date: bool,
}

impl Instant {
    pub(super) fn of(value: i64, unit: Unit) -> Self {
        let nanoseconds = i128::from(value) * unit.nanoseconds();
        let date = matches!(unit, Unit::Days | Unit::DateMilliseconds);
        Self {
            nanoseconds: if date {
                nanoseconds.div_euclid(DAY) * DAY
            } else {
                nanoseconds
            },
            date,
        }
    }

    /// A hash of the instant, the same in every unit.
    pub(super) fn key(self) -> u64 {
        let microseconds = self.nanoseconds.div_euclid(1_000);
        let rest = self.nanoseconds.rem_euclid(1_000);
        match i64::try_from(microseconds) {
            Ok(microseconds) if rest == 0 => number::key_of_integer(microseconds),
            _ => {
                let bytes = self.nanoseconds.to_le_bytes();
                hash::of_text(&bytes)
            }
        }
    }

    /// Formats as `2024-05-01`, `2024-05-01 02:00:00`, `2024-05-01 02:00:00.25`. Years above 9999 or
    /// below 0 have a sign, as in Java.
    pub(super) fn text(self) -> String {
        let days = self.nanoseconds.div_euclid(DAY);
        let (year, month, day) = civil(days);
        let sign = match year {
            ..0 => "-",
            10_000.. => "+",
            _ => "",
        };
        let date = format!("{sign}{:04}-{month:02}-{day:02}", year.unsigned_abs());
        if self.date {
            return date;
        }
        let time = self.nanoseconds.rem_euclid(DAY);
        let (seconds, fraction) = (time / SECOND, time % SECOND);
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        let text = format!("{date} {hours:02}:{minutes:02}:{:02}", seconds % 60);
        if fraction == 0 {
            return text;
        }
        let digits = format!("{fraction:09}");
        format!("{text}.{}", digits.trim_end_matches('0'))
    }
}

/// Year, month and day of a day since 1970 in the proleptic Gregorian calendar (Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`).
fn civil(days: i128) -> (i128, i128, i128) {
    // Days since 0000-03-01, in eras of 400 years.
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + i128::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Issue 8, 4.3. Spark 3: years beyond four digits have a sign; year 0 is 1 BC.
    #[test]
    fn every_unit_is_written_over_its_whole_range() {
        for (value, unit, text) in [
            (0, Unit::Days, "1970-01-01"),
            (-1, Unit::Days, "1969-12-31"),
            (2_932_896, Unit::Days, "9999-12-31"),
            (2_932_897, Unit::Days, "+10000-01-01"),
            (-719_162, Unit::Days, "0001-01-01"),
            (-719_163, Unit::Days, "0000-12-31"),
            (-719_529, Unit::Days, "-0001-12-31"),
            (i64::from(i32::MAX), Unit::Days, "+5881580-07-11"),
            (i64::from(i32::MIN), Unit::Days, "-5877641-06-23"),
            (86_400_000 * 2 + 5, Unit::DateMilliseconds, "1970-01-03"),
            (-1, Unit::DateMilliseconds, "1969-12-31"),
            (253_402_221_600, Unit::Seconds, "9999-12-31 02:00:00"),
            (-62_135_596_800, Unit::Seconds, "0001-01-01 00:00:00"),
            (i64::MAX, Unit::Seconds, "+292277026596-12-04 15:30:07"),
            (-1, Unit::Milliseconds, "1969-12-31 23:59:59.999"),
            (
                253_402_300_799_999_999,
                Unit::Microseconds,
                "9999-12-31 23:59:59.999999",
            ),
            (
                i64::MAX,
                Unit::Microseconds,
                "+294247-01-10 04:00:54.775807",
            ),
            (
                i64::MIN,
                Unit::Microseconds,
                "-290308-12-21 19:59:05.224192",
            ),
            (i64::MAX, Unit::Nanoseconds, "2262-04-11 23:47:16.854775807"),
            (1_500_000_000, Unit::Nanoseconds, "1970-01-01 00:00:01.5"),
        ] {
            assert_eq!(Instant::of(value, unit).text(), text, "{value} {unit:?}");
        }
    }

    /// Every day of jiff's range is formatted as jiff does.
    #[test]
    fn days_are_those_of_another_calendar() {
        let epoch = jiff::civil::date(1970, 1, 1);
        for days in (-719_528..2_932_897).step_by(31).chain(-800..800) {
            let date = epoch.checked_add(jiff::Span::new().days(days)).unwrap();
            assert_eq!(Instant::of(days, Unit::Days).text(), date.to_string());
        }
    }

    #[test]
    fn instants_are_distinguished_in_every_unit() {
        let key = |value, unit| Instant::of(value, unit).key();
        assert_eq!(key(7, Unit::Seconds), key(7_000_000_000, Unit::Nanoseconds));
        assert_eq!(key(1, Unit::Days), key(86_400_000_000, Unit::Microseconds));
        for (one, other, unit) in [
            (7_000_000_001, 7_000_000_002, Unit::Nanoseconds),
            (i64::MAX, i64::MAX - 1, Unit::Seconds),
            (i64::from(i32::MAX), i64::from(i32::MAX) - 1, Unit::Days),
        ] {
            assert_ne!(key(one, unit), key(other, unit), "{unit:?}");
        }
    }
}
