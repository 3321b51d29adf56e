//! Replays captured traffic against other thresholds of drift: how often alarms would have gone off, and how many runs the
//! retrain gate would have started.
//!
//! ```text
//! captured traffic ── a profile per window ── a check per threshold ── alarm (m of n) ── decisions of the gate
//! ```
//!
//! Every window is compared with today's baseline, as if no run had changed it, and runs succeed at once.

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};
use mlops_core::error::{Exit, Failure};
use mlops_validation::capture::{Window, profile_readable};
use mlops_validation::constraints::MonitoringConfig;
use mlops_validation::{self as validation, Baseline, Source};
use serde::Serialize;

use crate::aws::s3::S3Uri;
use crate::aws::{Clients, capture};
use crate::retraining::{Decision, Limits, Outcome, Reason, ReasonKind, State};

/// Periods before those of an alarm whose values replace missing ones, as in the local cloud's CloudWatch
/// (cloudwatch-evaluation-range).
const MORE: usize = 2;

const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// What to replay.
#[derive(Debug)]
pub struct Replay<'a> {
    /// Where the traffic was captured.
    pub traffic: &'a S3Uri,
    /// The end of the last window.
    pub until: Timestamp,
    /// Number of windows.
    pub windows: u32,
    /// Length of a window in hours.
    pub hours: u32,
    /// Minimum rows for a window to count.
    pub minimum_records: u64,
    /// Today's baseline.
    pub baseline: &'a Baseline,
    /// The thresholds to try.
    pub thresholds: &'a [f64],
    /// The one among them that stands for the baseline as it is.
    pub current: f64,
}

/// One window that was replayed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Replayed {
    /// The end of the window.
    pub until: Timestamp,
    /// Rows of captured traffic.
    pub rows: u64,
    /// Captured requests that could not be read.
    pub unreadable: u64,
    /// The number of violations with each threshold; `None` if the window has too few rows.
    pub violations: Option<Vec<usize>>,
}

/// Replays the windows, oldest first; `done` is called after each.
///
/// # Errors
/// Traffic cannot be read, or the baseline requests a check that cannot be performed.
pub async fn replay(
    clients: &Clients,
    replay: &Replay<'_>,
    done: impl Fn(),
) -> Result<Vec<Replayed>> {
    let objects = capture::objects(clients, replay.traffic).await?;
    let length = SignedDuration::from_hours(replay.hours.into());
    let today = &replay.baseline.constraints.monitoring_config;
    let configs = replay.thresholds.iter().map(|threshold| {
        if threshold.total_cmp(&replay.current).is_eq() {
            today.clone()
        } else {
            with_threshold(today, *threshold)
        }
    });
    let configs: Vec<MonitoringConfig> = configs.collect();
    let mut windows = Vec::new();
    for index in (0..replay.windows).rev() {
        let until = replay.until - length * i32::try_from(index)?;
        let window = Window {
            since: Some(until - length),
            until: Some(until),
        };
        let sources: Vec<Source> = objects
            .iter()
            .filter(|object| window.may_hold(&object.key))
            .map(|object| {
                Source::stream(object.to_string(), capture::opener(clients, object, None))
            })
            .collect();
        let (baseline, configs) = (replay.baseline.clone(), configs.clone());
        let minimum = replay.minimum_records;
        let checked =
            tokio::task::spawn_blocking(move || check(sources, window, baseline, configs, minimum));
        let (rows, unreadable, violations) = checked.await??;
        windows.push(Replayed {
            until,
            rows,
            unreadable,
            violations,
        });
        done();
    }
    Ok(windows)
}

/// The settings with another threshold of drift, also for categories if they have one.
fn with_threshold(today: &MonitoringConfig, threshold: f64) -> MonitoringConfig {
    let mut config = today.clone();
    let distribution = config.distribution_constraints.get_or_insert_default();
    distribution.comparison_threshold = Some(threshold);
    if let Some(categorical) = &mut distribution.categorical_comparison_threshold {
        *categorical = threshold;
    }
    config
}

/// The rows of a window, the requests that could not be read, and the number of violations with each of the settings.
fn check(
    sources: Vec<Source>,
    window: Window,
    mut baseline: Baseline,
    configs: Vec<MonitoringConfig>,
    minimum: u64,
) -> Result<(u64, u64, Option<Vec<usize>>)> {
    let (profile, unreadable) = profile_readable(sources, window, Some(&baseline))?;
    let unreadable = unreadable.invocations;
    let profile = match profile {
        Some(profile) if profile.rows() >= minimum => profile,
        few => return Ok((few.map_or(0, |few| few.rows()), unreadable, None)),
    };
    let statistics = profile.statistics();
    let now = window.until.unwrap_or_default();
    let counts = configs.into_iter().map(|config| {
        baseline.constraints.monitoring_config = config;
        let found = validation::check(&profile, &statistics, &baseline, now);
        let found = found.map_err(|text| Failure::new(Exit::Failed, text))?;
        Ok(found.violations.len())
    });
    Ok((
        profile.rows(),
        unreadable,
        Some(counts.collect::<Result<_>>()?),
    ))
}

/// When the alarm of a monitor goes off, and what the gate allows.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// Number of most recent windows that the alarm evaluates.
    pub alarm_periods: u32,
    /// Number of them with violations that set it off.
    pub alarm_datapoints: u32,
    /// The limits of the gate.
    pub limits: Limits,
}

/// What would have happened with one threshold.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Consequence {
    /// The threshold of drift.
    pub threshold: f64,
    /// Windows with violations.
    pub violated: usize,
    /// How often the alarm would have gone off.
    pub alarms: usize,
    /// When runs would have been started.
    pub retrains: Vec<Timestamp>,
}

/// Simulates alarm and gate for the threshold at `index` of the replay's.
pub fn consequence(
    windows: &[Replayed],
    index: usize,
    threshold: f64,
    policy: Policy,
) -> Consequence {
    let is_violated = |window: &Replayed| {
        let counts = window.violations.as_ref();
        counts.is_some_and(|counts| counts.get(index).is_some_and(|count| *count > 0))
    };
    let mut simulation = Simulation {
        gate: State::default(),
        limits: policy.limits,
        is_in_alarm: false,
        result: Consequence {
            threshold,
            violated: windows.iter().filter(|window| is_violated(window)).count(),
            alarms: 0,
            retrains: Vec::new(),
        },
    };
    for (end, window) in windows.iter().enumerate() {
        // CloudWatch evaluates the newest values of a longer time.
        let periods = policy.alarm_periods as usize;
        let first = (end + 1).saturating_sub(periods + MORE);
        let values = windows[first..=end].iter().rev();
        let values = values.filter(|it| it.violations.is_some()).take(periods);
        let violated = values.filter(|it| is_violated(it)).count();
        let is_breaching = violated >= policy.alarm_datapoints as usize;
        let next = windows.get(end + 1).map_or(window.until, |next| next.until);
        simulation.window(window.until, next, is_breaching);
    }
    simulation.result
}

/// Alarm and gate.
struct Simulation {
    gate: State,
    limits: Limits,
    is_in_alarm: bool,
    result: Consequence,
}

impl Simulation {
    /// A job that ran at `now`, and the hours until the next one.
    fn window(&mut self, now: Timestamp, next: Timestamp, is_breaching: bool) {
        if !is_breaching {
            self.is_in_alarm = false;
            return;
        }
        let mut hour = now;
        if !self.is_in_alarm {
            self.go_off(now);
            hour += HOUR;
        }
        // Every hour, the gate sets alarms to OK if a run may start; they go off again.
        while hour < next.max(now + HOUR) {
            if self.gate.closed(hour, self.limits).is_none() {
                self.go_off(hour);
            }
            hour += HOUR;
        }
    }

    fn go_off(&mut self, now: Timestamp) {
        self.is_in_alarm = true;
        self.result.alarms += 1;
        let event = now.to_string();
        let reason = Reason::new(ReasonKind::Drift, "replay", &event);
        if self.gate.decide(&reason, now, self.limits) == Decision::Start {
            self.gate.begin(&reason, now);
            self.gate.started(&event, &event);
            self.gate.end(&event, Some(Outcome::Succeeded));
            self.result.retrains.push(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Days with or without violations.
    fn days(pattern: &str) -> Vec<Replayed> {
        let day = |(number, what): (i64, char)| Replayed {
            until: Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * number),
            rows: 100,
            unreadable: 0,
            violations: (what != '?').then(|| vec![usize::from(what == 'x')]),
        };
        (0..).zip(pattern.chars()).map(day).collect()
    }

    /// Alarms and the days of the runs.
    fn simulate(pattern: &str, (datapoints, periods): (u32, u32)) -> (usize, Vec<i64>) {
        let policy = Policy {
            alarm_periods: periods,
            alarm_datapoints: datapoints,
            limits: Limits {
                cool_down: SignedDuration::from_hours(7 * 24),
                maximum_per_day: 2,
            },
        };
        let found = consequence(&days(pattern), 0, 0.1, policy);
        let day = |time: &Timestamp| time.as_second() / 86400;
        (found.alarms, found.retrains.iter().map(day).collect())
    }

    #[test]
    fn an_outlier_sets_off_an_alarm_of_one_day_only() {
        assert_eq!(simulate("..x....", (1, 1)), (1, vec![2]));
        assert_eq!(simulate("..x....", (2, 3)), (0, vec![]));
        // Too few rows are neither drift nor its end.
        assert_eq!(simulate("..x?x..", (2, 3)), (1, vec![4]));
        assert_eq!(simulate("x?x", (1, 1)), (1, vec![0]));
        assert_eq!(simulate("x??x", (2, 3)), (1, vec![3]));
        assert_eq!(simulate("x.?x", (1, 1)), (2, vec![0]));
    }

    #[test]
    fn lasting_drift_starts_a_run_after_each_cool_down() {
        // Day 0: alarm and run. The alarm stays, until the gate may start a run on day 7.
        assert_eq!(simulate("xxxxxxxxx", (1, 1)), (2, vec![0, 7]));
        assert_eq!(simulate("xx", (1, 1)), (1, vec![0]));
        // It goes off again on day 3, which the gate refuses.
        assert_eq!(simulate("x..x....x", (1, 1)), (3, vec![0, 8]));
    }

    #[test]
    fn a_cool_down_may_end_between_two_windows() {
        let policy = Policy {
            alarm_periods: 1,
            alarm_datapoints: 1,
            limits: Limits {
                cool_down: SignedDuration::from_hours(6),
                maximum_per_day: 2,
            },
        };
        let found = consequence(&days("xx."), 0, 0.1, policy);
        let hours = found.retrains.iter().map(|time| time.as_second() / 3600);
        // Two runs in 24 hours.
        assert_eq!(hours.collect::<Vec<_>>(), [0, 6, 24, 30]);
        assert_eq!(found.alarms, 4);
    }
}
