//! Cron expressions in AWS's dialect: minutes, hours, day of month, month, day of week, year.
//!
//! Why not a crate: croner 3 has `L`, `W` and `#`, but counts weekdays from 0, has an optional year and seconds, and
//! accepts expressions that AWS refuses (`*` or numbers in both fields for days, lists with `L`).

use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan};

/// The years that a cron expression can name.
const YEARS: (i64, i64) = (1970, 2199);

const MONTHS: [&str; 12] = [
    "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// A cron expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cron {
    minutes: Vec<bool>,
    hours: Vec<bool>,
    days: Days,
    months: Vec<bool>,
    years: Vec<bool>,
}

/// The days on which an expression occurs, within its months.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Days {
    /// Days of the month.
    Of(Vec<bool>),
    /// `L`: the last day of the month.
    Last,
    /// `nW`: the weekday that is nearest to a day, in the same month.
    Nearest(i64),
    /// Days of the week, from 1 for Sunday.
    Weekdays(Vec<bool>),
    /// `nL`: the last such weekday of the month.
    LastWeekday(i64),
    /// `n#m`: the `m`th such weekday of the month.
    Nth(i64, i64),
}

/// The limits and the names of a field's values; names begin with the value 1.
struct Field {
    limits: (i64, i64),
    names: &'static [&'static str],
    can_step: bool,
}

const fn numbers(least: i64, most: i64) -> Field {
    Field {
        limits: (least, most),
        names: &[],
        can_step: true,
    }
}

impl Field {
    fn value(&self, text: &str) -> Option<i64> {
        let upper = text.to_ascii_uppercase();
        if let Some(at) = self.names.iter().position(|name| *name == upper) {
            return i64::try_from(at + 1).ok();
        }
        let is_number = (1..=4).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        let value = text.parse().ok().filter(|_| is_number)?;
        let (least, most) = self.limits;
        (least..=most).contains(&value).then_some(value)
    }

    /// The values of a list of single values, ranges and steps, by their distance from the least.
    fn set(&self, text: &str) -> Option<Vec<bool>> {
        let (least, most) = self.limits;
        let size = most - least + 1;
        let mut set = vec![false; usize::try_from(size).ok()?];
        for item in text.split(',') {
            let (range, step) = match item.split_once('/') {
                Some((range, step)) if self.can_step => {
                    let step: i64 = step.parse().ok()?;
                    (range, (1..=size).contains(&step).then_some(Some(step))?)
                }
                Some(_) => return None,
                None => (item, None),
            };
            let (first, last) = match range.split_once('-') {
                _ if range == "*" => (least, most),
                Some((first, last)) => (self.value(first)?, self.value(last)?),
                // A step continues to the end.
                None if step.is_some() => (self.value(range)?, most),
                None => (self.value(range)?, self.value(range)?),
            };
            // A range can contain the end of the week, such as FRI-MON.
            let length = (last - first).rem_euclid(size);
            let step = usize::try_from(step.unwrap_or(1)).ok()?;
            for offset in (0..=length).step_by(step) {
                let at = (first - least + offset).rem_euclid(size);
                set[usize::try_from(at).ok()?] = true;
            }
        }
        Some(set)
    }
}

impl Cron {
    /// Reads the six fields; `None` if they are not a valid expression.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minutes, hours, day, month, weekday, year] = fields[..] else {
            return None;
        };
        let days = match (day, weekday) {
            ("?", "?") => return None,
            (day, "?") => of_month(day)?,
            ("?", weekday) => of_week(weekday)?,
            // One of both must be a question mark.
            _ => return None,
        };
        let months = Field {
            names: &MONTHS,
            ..numbers(1, 12)
        };
        Some(Self {
            minutes: numbers(0, 59).set(minutes)?,
            hours: numbers(0, 23).set(hours)?,
            days,
            months: months.set(month)?,
            years: numbers(YEARS.0, YEARS.1).set(year)?,
        })
    }

    /// The first occurrence after a time. A time that a change of clocks skips does not occur; one that it repeats
    /// occurs once.
    pub(super) fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let start = after.to_zoned(zone.clone()).date();
        // The day before: the offset of a zone can change the date.
        let mut date = start.yesterday().ok()?;
        loop {
            let year = i64::from(date.year());
            if year > YEARS.1 {
                return None;
            }
            if !has(&self.years, year - YEARS.0) || !has(&self.months, i64::from(date.month()) - 1)
            {
                date = date.first_of_month().checked_add(1.month()).ok()?;
                continue;
            }
            if self.days.contain(date)
                && let Some(found) = self.times(date).find_map(|time| {
                    let found = zone.to_ambiguous_timestamp(time);
                    let is_skipped = matches!(found.offset(), AmbiguousOffset::Gap { .. });
                    let found = found.compatible().ok().filter(|_| !is_skipped)?;
                    (found > after).then_some(found)
                })
            {
                return Some(found);
            }
            date = date.tomorrow().ok()?;
        }
    }

    /// The times of a day.
    fn times(&self, date: Date) -> impl Iterator<Item = DateTime> + use<'_> {
        let hours = (0_i8..24).filter(|hour| has(&self.hours, i64::from(*hour)));
        hours.flat_map(move |hour| {
            let minutes = (0_i8..60).filter(|minute| has(&self.minutes, i64::from(*minute)));
            minutes.map(move |minute| date.at(hour, minute, 0, 0))
        })
    }
}

fn has(set: &[bool], at: i64) -> bool {
    usize::try_from(at).is_ok_and(|at| set.get(at) == Some(&true))
}

fn of_month(text: &str) -> Option<Days> {
    let field = numbers(1, 31);
    if text == "L" {
        return Some(Days::Last);
    }
    if let Some(day) = text.strip_suffix('W') {
        return field.value(day).map(Days::Nearest);
    }
    field.set(text).map(Days::Of)
}

fn of_week(text: &str) -> Option<Days> {
    let field = Field {
        limits: (1, 7),
        names: &WEEKDAYS,
        can_step: false,
    };
    // The last day of the week.
    if text == "L" {
        return field.set("7").map(Days::Weekdays);
    }
    if let Some((weekday, number)) = text.split_once('#') {
        let number = numbers(1, 5).value(number)?;
        return Some(Days::Nth(field.value(weekday)?, number));
    }
    if let Some(weekday) = text.strip_suffix('L').and_then(|day| field.value(day)) {
        return Some(Days::LastWeekday(weekday));
    }
    field.set(text).map(Days::Weekdays)
}

impl Days {
    fn contain(&self, date: Date) -> bool {
        let day = i64::from(date.day());
        let length = i64::from(date.days_in_month());
        let weekday = i64::from(date.weekday().to_sunday_one_offset());
        match self {
            Self::Of(days) => has(days, day - 1),
            Self::Last => day == length,
            Self::Nearest(wanted) => nearest(date, *wanted) == Some(date),
            Self::Weekdays(days) => has(days, weekday - 1),
            Self::LastWeekday(wanted) => weekday == *wanted && day + 7 > length,
            Self::Nth(wanted, number) => weekday == *wanted && (day - 1) / 7 + 1 == *number,
        }
    }
}

/// The weekday nearest to a day of a date's month; `None` if the month is shorter.
fn nearest(date: Date, wanted: i64) -> Option<Date> {
    let day = i8::try_from(wanted).ok()?;
    let target = Date::new(date.year(), date.month(), day).ok()?;
    let is_first = day == 1;
    let is_last = day == date.days_in_month();
    match target.weekday() {
        Weekday::Saturday if is_first => target.checked_add(2.days()).ok(),
        Weekday::Saturday => target.yesterday().ok(),
        Weekday::Sunday if is_last => target.checked_sub(2.days()).ok(),
        Weekday::Sunday => target.tomorrow().ok(),
        _ => Some(target),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first occurrences after a time, in a zone.
    fn occurrences(text: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let cron = Cron::parse(text).unwrap_or_else(|| panic!("{text}"));
        let zone = TimeZone::get(zone).unwrap();
        let mut at: Timestamp = after.parse().unwrap();
        let mut found = Vec::new();
        while let Some(next) = cron.next(at, &zone).filter(|_| found.len() < count) {
            let shown = next.to_zoned(zone.clone());
            found.push(shown.strftime("%Y-%m-%d %a %H:%M").to_string());
            at = next;
        }
        found
    }

    #[test]
    fn expressions_occur_when_aws_documents() {
        let after = "2024-01-15T12:00:30Z";
        for (text, expected) in [
            // The examples of the user guide, with other years.
            (
                "0 10 * * ? *",
                &["2024-01-16 Tue 10:00", "2024-01-17 Wed 10:00"][..],
            ),
            ("15 12 * * ? *", &["2024-01-15 Mon 12:15"]),
            (
                "0 18 ? * MON-FRI *",
                &["2024-01-15 Mon 18:00", "2024-01-16 Tue 18:00"],
            ),
            (
                "0 8 1 * ? *",
                &["2024-02-01 Thu 08:00", "2024-03-01 Fri 08:00"],
            ),
            (
                "0/15 * * * ? *",
                &["2024-01-15 Mon 12:15", "2024-01-15 Mon 12:30"],
            ),
            ("0/10 * ? * MON-FRI *", &["2024-01-15 Mon 12:10"]),
            ("0/5 8-17 ? * MON-FRI *", &["2024-01-15 Mon 12:05"]),
            (
                "0 9 ? * 2#1 *",
                &["2024-02-05 Mon 09:00", "2024-03-04 Mon 09:00"],
            ),
            (
                "15 10 ? * 6L 2024-2025",
                &["2024-01-26 Fri 10:15", "2024-02-23 Fri 10:15"],
            ),
            (
                "0 0 L * ? *",
                &["2024-01-31 Wed 00:00", "2024-02-29 Thu 00:00"],
            ),
            ("0 0 ? * L *", &["2024-01-20 Sat 00:00"]),
            // The first of June 2024 is a Saturday, the 30th a Sunday.
            ("0 0 1W 6 ? 2024", &["2024-06-03 Mon 00:00"]),
            ("0 0 30W 6 ? 2024", &["2024-06-28 Fri 00:00"]),
            (
                "0 0 16W 3,6 ? 2024",
                &["2024-03-15 Fri 00:00", "2024-06-17 Mon 00:00"],
            ),
            (
                "0 0 31W * ? 2024",
                &["2024-01-31 Wed 00:00", "2024-03-29 Fri 00:00"],
            ),
            (
                "0 0 ? * 3#5 2024",
                &["2024-01-30 Tue 00:00", "2024-04-30 Tue 00:00"],
            ),
            (
                "0 0 ? * FRI-MON *",
                &["2024-01-19 Fri 00:00", "2024-01-20 Sat 00:00"],
            ),
            (
                "0 0 29 FEB ? *",
                &["2024-02-29 Thu 00:00", "2028-02-29 Tue 00:00"],
            ),
            (
                "5,50 */6 * * ? *",
                &[
                    "2024-01-15 Mon 12:05",
                    "2024-01-15 Mon 12:50",
                    "2024-01-15 Mon 18:05",
                ],
            ),
        ] {
            let found = occurrences(text, "UTC", after, expected.len());
            assert_eq!(found, expected, "{text}");
        }
        assert!(occurrences("0 0 1 1 ? 2023", "UTC", after, 1).is_empty());
        assert!(occurrences("0 0 30 2 ? *", "UTC", after, 1).is_empty());
    }

    #[test]
    fn changed_clocks_skip_and_repeat_nothing() {
        let berlin = "Europe/Berlin";
        let spring = occurrences("30 2 * * ? *", berlin, "2024-03-29T12:00:00Z", 2);
        // 02:30 on the 31st does not exist.
        assert_eq!(spring, ["2024-03-30 Sat 02:30", "2024-04-01 Mon 02:30"]);
        let autumn = occurrences("30 2 * * ? *", berlin, "2024-10-26T12:00:00Z", 2);
        // 02:30 on the 27th exists twice.
        assert_eq!(autumn, ["2024-10-27 Sun 02:30", "2024-10-28 Mon 02:30"]);
        let ahead = occurrences("0 0 1 * ? *", "Pacific/Auckland", "2024-01-31T10:00:00Z", 1);
        assert_eq!(ahead, ["2024-02-01 Thu 00:00"]);
    }

    #[test]
    fn invalid_expressions_are_refused() {
        for text in [
            "",
            "* * * * *",
            "* * * * * *",
            "* * ? * ? *",
            "* * 1 * MON *",
            "60 * * * ? *",
            "* 24 * * ? *",
            "* * 0 * ? *",
            "* * 32 * ? *",
            "* * * 13 ? *",
            "* * ? * 0 *",
            "* * ? * 8 *",
            "* * ? * 2#6 *",
            "* * ? * 2#1,3#1 *",
            "* * ? * 2/2 *",
            "* * 1,L * ? *",
            "* * LW * ? *",
            "* * * * ? 1969",
            "* * * * ? 2200",
            "*/0 * * * ? *",
            "1-x * * * ? *",
            "-1 * * * ? *",
            "+1 * * * ? *",
            "* * * ABC ? *",
            "? * * * ? *",
        ] {
            assert_eq!(Cron::parse(text), None, "{text}");
        }
    }
}
