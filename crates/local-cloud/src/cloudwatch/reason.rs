//! Why an alarm changed its state, in AWS's words: `StateReason` and `StateReasonData`. Pure.
//!
//! The words come from notifications of alarms that people published. Unverified against AWS
//! [cloudwatch-alarm-reason]: how missing data points are described that are treated as `missing` or `ignore`, and
//! the order of the clauses if there are more than four data points and missing ones.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::evaluation::{MissingData, Outcome, Rule, State};

/// From this number of data points on, the reason lists only the newest, after the sentence.
const MANY: usize = 5;

/// Maximum number of data points in `StateReasonData`, which has at most 4,000 characters.
const MAX_DATA: usize = 40;

/// A data point of the evaluation range.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    /// The start of its period.
    pub(super) time: Timestamp,
    /// Value and number of samples; `None` if it is missing.
    pub(super) value: Option<(f64, f64)>,
}

/// What the reason is about.
pub(super) struct Subject<'a> {
    pub(super) rule: Rule,
    /// True if the alarm names `DatapointsToAlarm`.
    pub(super) is_m_of_n: bool,
    /// `Statistic` or `ExtendedStatistic`.
    pub(super) statistic: &'a str,
    pub(super) unit: Option<&'a str>,
    /// In seconds.
    pub(super) period: i64,
    /// The evaluation range, the oldest data point first.
    pub(super) points: &'a [Point],
}

/// A number of things, with the verb that follows.
fn counted(number: usize, thing: &str) -> String {
    match number {
        1 => format!("1 {thing} was"),
        _ => format!("{number} {thing}s were"),
    }
}

fn plural(number: usize, thing: &str) -> String {
    match number {
        1 => format!("1 {thing}"),
        _ => format!("{number} {thing}s"),
    }
}

/// A number as Java writes it: `3.0`, `1.5E10`.
fn number(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-3..1e7).contains(&size) {
        let text = format!("{value:E}");
        return match text.split_once('E') {
            Some((digits, power)) if !digits.contains('.') => format!("{digits}.0E{power}"),
            _ => text,
        };
    }
    format!("{value:?}")
}

/// A time as AWS writes it in the JSON of alarms.
pub(super) fn timestamp(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%3f+0000").to_string()
}

impl Subject<'_> {
    /// The evaluated data points, the newest first.
    fn evaluated(&self, outcome: &Outcome) -> Vec<(Timestamp, f64, f64)> {
        let newest_first = outcome.evaluated.iter().rev();
        let points = newest_first.filter_map(|at| {
            let point = self.points.get(*at)?;
            let (value, samples) = point.value?;
            Some((point.time, value, samples))
        });
        points.collect()
    }

    /// `StateReason`
    pub(super) fn text(&self, outcome: &Outcome, state: State) -> String {
        let Rule {
            evaluation_periods: all,
            datapoints_to_alarm: least,
            comparison,
            threshold,
            missing,
        } = self.rule;
        if state == State::InsufficientData {
            let unknown = counted(outcome.filled, "datapoint");
            return format!("Insufficient Data: {unknown} unknown.");
        }
        let treated = match missing {
            MissingData::Missing => "Missing",
            MissingData::Ignore => "Ignore",
            MissingData::Breaching => "Breaching",
            MissingData::NotBreaching => "NonBreaching",
        };
        let filled = counted(outcome.filled, "missing datapoint");
        let evaluated = self.evaluated(outcome);
        if evaluated.is_empty() {
            let periods = plural(outcome.filled, "period");
            return format!(
                "Threshold Crossed: no datapoints were received for {periods} and {filled} treated as \
                 [{treated}]."
            );
        }
        let is_alarm = state == State::Alarm;
        let decides = |value: f64| comparison.is_breach(value, threshold) == is_alarm;
        let deciding = evaluated.iter().filter(|(_, value, _)| decides(*value));
        let shown: Vec<_> = deciding.collect();
        if shown.is_empty() {
            let received = counted(evaluated.len(), "datapoint");
            let periods = plural(evaluated.len() + outcome.filled, "period");
            return format!(
                "Threshold Crossed: {received} received for {periods} and {filled} treated as [{treated}]."
            );
        }
        let not = if is_alarm { "" } else { "not " };
        let listed = shown.iter().take(MANY).map(|(time, value, _)| {
            format!(
                "{} ({})",
                number(*value),
                time.strftime("%d/%m/%y %H:%M:%S")
            )
        });
        let listed = format!("[{}]", listed.collect::<Vec<_>>().join(", "));
        let count = shown.len();
        let mut text = "Threshold Crossed: ".to_owned();
        // Also for one: "1 out of the last 1 datapoints".
        text.push_str(&if self.is_m_of_n {
            format!("{count} out of the last {all} datapoints")
        } else {
            plural(count, "datapoint")
        });
        if count < MANY {
            text.push_str(&format!(" {listed}"));
        }
        let verb = if count == 1 { "was" } else { "were" };
        let words = comparison.words();
        text.push_str(&format!(
            " {verb} {not}{words} the threshold ({})",
            number(threshold)
        ));
        if outcome.filled > 0 {
            text.push_str(&format!(" and {filled} treated as [{treated}]"));
        }
        if count >= MANY {
            text.push_str(&format!(
                ". The most recent datapoints which crossed the threshold: {listed}"
            ));
        }
        if self.is_m_of_n {
            let (least, change) = if is_alarm {
                (least, "OK -> ALARM")
            } else {
                (all + 1 - least, "ALARM -> OK")
            };
            let least = plural(least, "datapoint");
            text.push_str(&format!(" (minimum {least} for {change} transition)"));
        }
        text.push('.');
        text
    }

    /// `StateReasonData`
    pub(super) fn data(&self, outcome: &Outcome, now: Timestamp) -> String {
        let evaluated = self.evaluated(outcome);
        let mut data = json!({"version": "1.0", "queryDate": timestamp(now)});
        if let Some((oldest, _, _)) = evaluated.last() {
            data["startDate"] = timestamp(*oldest).into();
        }
        if let Some(unit) = self.unit {
            data["unit"] = unit.into();
        }
        data["statistic"] = self.statistic.into();
        data["period"] = self.period.into();
        let newest = &evaluated[..evaluated.len().min(MAX_DATA)];
        data["recentDatapoints"] = newest.iter().rev().map(|(_, value, _)| *value).collect();
        data["threshold"] = self.rule.threshold.into();
        let newest = &newest[..newest.len().min(MAX_DATA / 2)];
        data["evaluatedDatapoints"] = if newest.is_empty() {
            let newest = self
                .points
                .iter()
                .rev()
                .take(outcome.filled.min(MAX_DATA / 2));
            newest
                .map(|point| json!({"timestamp": timestamp(point.time)}))
                .collect()
        } else {
            let shown = newest.iter().map(|(time, value, samples)| {
                json!({"timestamp": timestamp(*time), "sampleCount": samples, "value": value})
            });
            Value::Array(shown.collect())
        };
        data.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloudwatch::evaluation::Comparison;

    fn points(end: &str, period: i64, values: &[Option<f64>]) -> Vec<Point> {
        let end: Timestamp = end.parse().unwrap();
        let ago = |at: usize| i64::try_from(values.len() - at).unwrap() * period;
        let point = |(at, value): (usize, &Option<f64>)| Point {
            time: Timestamp::from_second(end.as_second() - ago(at)).unwrap(),
            value: value.map(|value| (value, 5.0)),
        };
        values.iter().enumerate().map(point).collect()
    }

    fn reason(
        (all, least, is_m_of_n): (usize, usize, bool),
        comparison: Comparison,
        threshold: f64,
        missing: MissingData,
        points: &[Point],
    ) -> (String, String) {
        let rule = Rule {
            evaluation_periods: all,
            datapoints_to_alarm: least,
            comparison,
            threshold,
            missing,
        };
        let values: Vec<_> = points.iter().map(|it| it.value.map(|it| it.0)).collect();
        let outcome = rule.evaluate(&values);
        let subject = Subject {
            rule,
            is_m_of_n,
            statistic: "Average",
            unit: None,
            period: points[1].time.as_second() - points[0].time.as_second(),
            points,
        };
        let now = "2022-01-17T14:48:42.271Z".parse().unwrap();
        let text = subject.text(&outcome, outcome.state.unwrap());
        (text, subject.data(&outcome, now))
    }

    /// Reasons from published notifications.
    #[test]
    fn reasons_have_awss_words() {
        use Comparison::Greater;

        let none = MissingData::Missing;
        let at = points(
            "2022-01-17T14:47:00Z",
            300,
            &[
                None,
                None,
                Some(11.488_333_333_333_333),
                Some(15.398_333_333_333_332),
            ],
        );
        let (text, data) = reason((2, 2, true), Greater, 10.0, none, &at);
        assert_eq!(
            text,
            "Threshold Crossed: 2 out of the last 2 datapoints [15.398333333333332 (17/01/22 14:42:00), \
             11.488333333333333 (17/01/22 14:37:00)] were greater than the threshold (10.0) (minimum 2 datapoints \
             for OK -> ALARM transition)."
        );
        assert_eq!(
            data,
            r#"{"version":"1.0","queryDate":"2022-01-17T14:48:42.271+0000","startDate":"2022-01-17T14:37:00.000+0000","statistic":"Average","period":300,"recentDatapoints":[11.488333333333333,15.398333333333332],"threshold":10.0,"evaluatedDatapoints":[{"timestamp":"2022-01-17T14:42:00.000+0000","sampleCount":5.0,"value":15.398333333333332},{"timestamp":"2022-01-17T14:37:00.000+0000","sampleCount":5.0,"value":11.488333333333333}]}"#
        );

        let at = points(
            "2022-11-08T02:45:00Z",
            300,
            &[
                Some(10.791_661_891_275_925),
                Some(1.0),
                Some(10.708_333_333_333_332),
            ],
        );
        let text = reason((4, 2, true), Greater, 10.7, none, &at).0;
        assert!(text.starts_with(
            "Threshold Crossed: 2 out of the last 4 datapoints [10.708333333333332 (08/11/22 02:40:00), \
             10.791661891275925 (08/11/22 02:30:00)] were greater than the threshold (10.7)"
        ));

        let at = points("2021-04-13T16:05:00Z", 60, &[Some(0.5), Some(0.25)]);
        assert_eq!(
            reason((2, 2, true), Greater, 40.0, none, &at).0,
            "Threshold Crossed: 2 out of the last 2 datapoints [0.25 (13/04/21 16:04:00), 0.5 (13/04/21 \
             16:03:00)] were not greater than the threshold (40.0) (minimum 1 datapoint for ALARM -> OK \
             transition)."
        );
    }

    #[test]
    fn reasons_of_other_alarms_have_awss_words() {
        use Comparison::{GreaterOrEqual, Less};

        let none = MissingData::Missing;
        let at = points("2024-10-26T19:00:00Z", 60, &[None, None, Some(3.0)]);
        assert_eq!(
            reason((1, 1, false), GreaterOrEqual, 1.0, none, &at).0,
            "Threshold Crossed: 1 datapoint [3.0 (26/10/24 18:59:00)] was greater than or equal to the threshold \
             (1.0)."
        );
        assert_eq!(
            reason((1, 1, true), GreaterOrEqual, 90.0, none, &at).0,
            "Threshold Crossed: 1 out of the last 1 datapoints [3.0 (26/10/24 18:59:00)] was not greater than or \
             equal to the threshold (90.0) (minimum 1 datapoint for ALARM -> OK transition)."
        );

        let absent = points("2024-10-26T18:38:00Z", 60, &[None, None, None]);
        let (text, data) = reason((1, 1, false), GreaterOrEqual, 1.0, none, &absent);
        assert_eq!(text, "Insufficient Data: 1 datapoint was unknown.");
        assert!(data.ends_with(
            r#""recentDatapoints":[],"threshold":1.0,"evaluatedDatapoints":[{"timestamp":"2024-10-26T18:37:00.000+0000"}]}"#
        ));
        assert!(!data.contains("startDate"));
        assert_eq!(
            reason(
                (3, 3, false),
                GreaterOrEqual,
                1.0,
                MissingData::NotBreaching,
                &absent
            )
            .0,
            "Threshold Crossed: no datapoints were received for 3 periods and 3 missing datapoints were treated as \
             [NonBreaching]."
        );

        let at = points("2026-09-25T22:06:00Z", 900, &[None, None, None, Some(1.0)]);
        assert_eq!(
            reason((2, 2, false), Less, 1.0, MissingData::Breaching, &at).0,
            "Threshold Crossed: 1 datapoint [1.0 (25/09/26 21:51:00)] was not less than the threshold (1.0) and 1 \
             missing datapoint was treated as [Breaching]."
        );

        let at = points("2024-03-16T12:16:00Z", 60, &[None, Some(613.0)]);
        assert_eq!(
            reason(
                (20, 1, true),
                GreaterOrEqual,
                1.0,
                MissingData::NotBreaching,
                &at
            )
            .0,
            "Threshold Crossed: 1 out of the last 20 datapoints [613.0 (16/03/24 12:15:00)] was greater than or \
             equal to the threshold (1.0) and 19 missing datapoints were treated as [NonBreaching] (minimum 1 \
             datapoint for OK -> ALARM transition)."
        );

        let at = points("2020-04-29T23:33:00Z", 60, &[Some(0.0); 6]);
        assert_eq!(
            reason((5, 5, true), Less, 65.0, none, &at).0,
            "Threshold Crossed: 5 out of the last 5 datapoints were less than the threshold (65.0). The most \
             recent datapoints which crossed the threshold: [0.0 (29/04/20 23:32:00), 0.0 (29/04/20 23:31:00), \
             0.0 (29/04/20 23:30:00), 0.0 (29/04/20 23:29:00), 0.0 (29/04/20 23:28:00)] (minimum 5 datapoints for \
             OK -> ALARM transition)."
        );
    }

    #[test]
    fn missing_data_points_alone_can_decide() {
        let at = points("2026-09-25T22:06:00Z", 60, &[None, None, None, Some(5.0)]);
        let text = reason(
            (2, 1, false),
            Comparison::Less,
            1.0,
            MissingData::Breaching,
            &at,
        )
        .0;
        assert_eq!(
            text,
            "Threshold Crossed: 1 datapoint was received for 2 periods and 1 missing datapoint was treated as \
             [Breaching]."
        );
    }

    #[test]
    fn reasons_fit_awss_limits() {
        let many = vec![Some(-1.234_567_890_123_456_7e-100); 1440];
        let at = points("2026-09-25T22:06:00Z", 60, &many);
        let (text, data) = reason(
            (1440, 1440, true),
            Comparison::Less,
            1e300,
            MissingData::Missing,
            &at,
        );
        assert!(
            text.len() <= 1023 && data.len() <= 4000,
            "{} {}",
            text.len(),
            data.len()
        );
    }

    #[test]
    fn numbers_are_javas() {
        for (value, text) in [
            (0.0, "0.0"),
            (10.0, "10.0"),
            (0.001, "0.001"),
            (0.0001, "1.0E-4"),
            (9_999_999.0, "9999999.0"),
            (1.073_741_824e9, "1.073741824E9"),
            (1e10, "1.0E10"),
            (-2.5e-5, "-2.5E-5"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
