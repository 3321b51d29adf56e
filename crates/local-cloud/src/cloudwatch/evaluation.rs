//! The state of an alarm, from the data points of its evaluation range. Pure.
//!
//! AWS: "Configuring how CloudWatch alarms treat missing data". The tests contain its tables.

use serde::{Deserialize, Serialize};

/// The state of an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum State {
    #[serde(rename = "OK")]
    Ok,
    #[serde(rename = "ALARM")]
    Alarm,
    #[serde(rename = "INSUFFICIENT_DATA")]
    InsufficientData,
}

impl State {
    /// As AWS writes it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Alarm => "ALARM",
            Self::InsufficientData => "INSUFFICIENT_DATA",
        }
    }
}

/// What missing data points mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MissingData {
    Missing,
    Ignore,
    Breaching,
    NotBreaching,
}

impl MissingData {
    /// Parses `TreatMissingData`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "missing" => Self::Missing,
            "ignore" => Self::Ignore,
            "breaching" => Self::Breaching,
            "notBreaching" => Self::NotBreaching,
            _ => return None,
        })
    }
}

/// How values are compared with the threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    GreaterOrEqual,
    Greater,
    Less,
    LessOrEqual,
}

impl Comparison {
    /// Parses a `ComparisonOperator` other than those of anomaly detection.
    pub(super) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "GreaterThanOrEqualToThreshold" => Self::GreaterOrEqual,
            "GreaterThanThreshold" => Self::Greater,
            "LessThanThreshold" => Self::Less,
            "LessThanOrEqualToThreshold" => Self::LessOrEqual,
            _ => return None,
        })
    }

    /// True if a value breaches the threshold.
    pub(super) fn is_breach(self, value: f64, threshold: f64) -> bool {
        match self {
            Self::GreaterOrEqual => value >= threshold,
            Self::Greater => value > threshold,
            Self::Less => value < threshold,
            Self::LessOrEqual => value <= threshold,
        }
    }

    /// In the words of AWS's reasons.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::GreaterOrEqual => "greater than or equal to",
            Self::Greater => "greater than",
            Self::Less => "less than",
            Self::LessOrEqual => "less than or equal to",
        }
    }
}

/// When an alarm is in ALARM.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rule {
    /// N of "M out of N".
    pub(super) evaluation_periods: usize,
    /// M of "M out of N".
    pub(super) datapoints_to_alarm: usize,
    pub(super) comparison: Comparison,
    pub(super) threshold: f64,
    pub(super) missing: MissingData,
}

/// The result of an evaluation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    /// `None`: the alarm keeps its state.
    pub(super) state: Option<State>,
    /// The data points that decided, by their position in the range; the oldest first.
    pub(super) evaluated: Vec<usize>,
    /// The number of missing data points that were filled in.
    pub(super) filled: usize,
}

impl Rule {
    /// The number of data points to retrieve: more than are evaluated, in case some are missing.
    ///
    /// Unverified against AWS [cloudwatch-evaluation-range]: AWS's examples retrieve 5 for 3 periods of 5
    /// minutes; it does not publish the number for other periods.
    pub(super) fn range(&self) -> usize {
        self.evaluation_periods + 2
    }

    fn is_breach(&self, value: f64) -> bool {
        self.comparison.is_breach(value, self.threshold)
    }

    /// Evaluates the data points of the range; the oldest first, `None` for a missing one.
    pub(super) fn evaluate(&self, points: &[Option<f64>]) -> Outcome {
        let real: Vec<usize> = (0..points.len())
            .filter(|at| points[*at].is_some())
            .collect();
        // The newest existing data points.
        let skipped = real.len().saturating_sub(self.evaluation_periods);
        let evaluated = real[skipped..].to_vec();
        let filled = self.evaluation_periods - evaluated.len();
        let breaches = |at: &&usize| points[**at].is_some_and(|value| self.is_breach(value));
        let breaching = evaluated.iter().filter(breaches).count();
        let state = match self.missing {
            _ if breaching >= self.datapoints_to_alarm => Some(State::Alarm),
            _ if filled == 0 => Some(State::Ok),
            MissingData::Breaching if breaching + filled >= self.datapoints_to_alarm => {
                Some(State::Alarm)
            }
            MissingData::Breaching | MissingData::NotBreaching => Some(State::Ok),
            // A data point within the threshold is enough.
            MissingData::Missing | MissingData::Ignore if breaching < evaluated.len() => {
                Some(State::Ok)
            }
            MissingData::Ignore => None,
            MissingData::Missing => Some(match evaluated.first() {
                // Premature otherwise: the next data point can be within the threshold.
                Some(oldest) if points.len() - oldest >= self.datapoints_to_alarm => State::Alarm,
                _ => State::InsufficientData,
            }),
        };
        Outcome {
            state,
            evaluated,
            filled,
        }
    }
}

/// Returns true if there are too few samples for a percentile: fewer than 10 divided by the share of values
/// beyond it.
pub(super) fn has_few_samples(percent: f64, samples: f64) -> bool {
    let part = percent / 100.0;
    let beyond = if part >= 0.5 { 1.0 - part } else { part };
    samples * beyond < 10.0 && beyond > 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: Option<State> = Some(State::Ok);
    const ALARM: Option<State> = Some(State::Alarm);
    const INSUFFICIENT: Option<State> = Some(State::InsufficientData);
    const RETAIN: Option<State> = None;

    const TREATMENTS: [MissingData; 4] = [
        MissingData::Missing,
        MissingData::Ignore,
        MissingData::Breaching,
        MissingData::NotBreaching,
    ];

    /// A row of AWS's tables: the data points with the most recent one on the right, how many are filled in,
    /// and the states by treatment.
    type Row = (&'static str, usize, [Option<State>; 4]);

    fn rule(evaluation_periods: usize, datapoints_to_alarm: usize, missing: MissingData) -> Rule {
        Rule {
            evaluation_periods,
            datapoints_to_alarm,
            comparison: Comparison::Greater,
            threshold: 0.0,
            missing,
        }
    }

    fn points(text: &str) -> Vec<Option<f64>> {
        let point = |word| match word {
            "X" => Some(1.0),
            "0" => Some(0.0),
            _ => None,
        };
        text.split(' ').map(point).collect()
    }

    fn check(evaluation_periods: usize, datapoints_to_alarm: usize, rows: &[Row]) {
        for (text, filled, wanted) in rows {
            for (missing, wanted) in TREATMENTS.into_iter().zip(wanted) {
                let rule = rule(evaluation_periods, datapoints_to_alarm, missing);
                let points = points(text);
                let outcome = rule.evaluate(&points);
                assert_eq!(outcome.state, *wanted, "{text} {missing:?}");
                assert_eq!(outcome.filled, *filled, "{text} {missing:?}");
            }
        }
        assert_eq!(rule(3, 3, MissingData::Missing).range(), 5);
    }

    /// "How alarm state is evaluated when data is missing", first table.
    #[test]
    fn three_out_of_three() {
        check(
            3,
            3,
            &[
                ("0 - X - X", 0, [OK, OK, OK, OK]),
                ("0 - - - -", 2, [OK, OK, OK, OK]),
                ("- - - - -", 3, [INSUFFICIENT, RETAIN, ALARM, OK]),
                ("0 X X - X", 0, [ALARM, ALARM, ALARM, ALARM]),
                ("- - X - -", 2, [ALARM, RETAIN, ALARM, OK]),
            ],
        );
    }

    /// The second table.
    #[test]
    fn two_out_of_three() {
        check(
            3,
            2,
            &[
                ("0 - X - X", 0, [ALARM, ALARM, ALARM, ALARM]),
                ("0 0 X 0 X", 0, [ALARM, ALARM, ALARM, ALARM]),
                ("0 - X - -", 1, [OK, OK, ALARM, OK]),
                ("- - - - 0", 2, [OK, OK, ALARM, OK]),
                ("- - - X -", 2, [ALARM, RETAIN, ALARM, OK]),
            ],
        );
    }

    /// "Avoiding premature transitions to alarm state", and the first table of 2018, which names the state.
    #[test]
    fn a_single_breach_is_premature() {
        check(
            3,
            3,
            &[
                ("- - - - X", 2, [INSUFFICIENT, RETAIN, ALARM, OK]),
                ("- - - X -", 2, [INSUFFICIENT, RETAIN, ALARM, OK]),
                ("- - - X 0", 1, [OK, OK, OK, OK]),
                ("- - X - 0", 1, [OK, OK, OK, OK]),
                ("X - - - -", 2, [ALARM, RETAIN, ALARM, OK]),
            ],
        );
        check(3, 2, &[("- - - - X", 2, [INSUFFICIENT, RETAIN, ALARM, OK])]);
    }

    #[test]
    fn one_out_of_one_and_one_out_of_many() {
        check(
            1,
            1,
            &[
                ("- - X", 0, [ALARM, ALARM, ALARM, ALARM]),
                ("X - 0", 0, [OK, OK, OK, OK]),
                // The newest existing data point counts, even if newer ones are missing.
                ("0 X -", 0, [ALARM, ALARM, ALARM, ALARM]),
                ("- - -", 1, [INSUFFICIENT, RETAIN, ALARM, OK]),
            ],
        );
        check(
            3,
            1,
            &[
                ("- - - - X", 2, [ALARM, ALARM, ALARM, ALARM]),
                ("X X 0 0 0", 0, [OK, OK, OK, OK]),
                ("- - 0 0 -", 1, [OK, OK, ALARM, OK]),
            ],
        );
    }

    #[test]
    fn evaluated_data_points_are_the_newest() {
        let rule = rule(2, 2, MissingData::Missing);
        assert_eq!(rule.evaluate(&points("X X - X")).evaluated, [1, 3]);
        assert_eq!(rule.evaluate(&points("- - - X")).evaluated, [3]);
    }

    #[test]
    fn comparisons() {
        for (name, below, equal, above) in [
            ("GreaterThanOrEqualToThreshold", false, true, true),
            ("GreaterThanThreshold", false, false, true),
            ("LessThanThreshold", true, false, false),
            ("LessThanOrEqualToThreshold", true, true, false),
        ] {
            let comparison = Comparison::parse(name).unwrap();
            let found = [4.0, 5.0, 6.0].map(|value| comparison.is_breach(value, 5.0));
            assert_eq!(found, [below, equal, above], "{name}");
        }
        assert_eq!(Comparison::parse("GreaterThanUpperThreshold"), None);
    }

    /// "Percentile-based CloudWatch alarms and low data samples"
    #[test]
    fn few_samples() {
        for (percent, enough) in [(99.0, 1000.0), (50.0, 20.0), (10.0, 100.0)] {
            assert!(has_few_samples(percent, enough - 1.0), "p{percent}");
            assert!(!has_few_samples(percent, enough + 1.0), "p{percent}");
        }
        assert!(!has_few_samples(100.0, 1.0));
    }
}
