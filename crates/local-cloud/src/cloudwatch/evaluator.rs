//! Evaluates alarms by the cloud's time: every ten seconds those with periods below a minute, each hour those that
//! look back for more than a day, and each minute the others.
//!
//! The window of an alarm ends with the last complete minute (or ten seconds), whatever its period: an alarm with a
//! period of five minutes is evaluated at the end of minutes 5, 6 and 7. An evaluation takes place a few seconds
//! after the end of its window, so that data which is written every second is complete.

use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use tokio::task::AbortHandle;

use super::alarms::{Configuration, NewState, records};
use super::evaluation::has_few_samples;
use super::metrics::{self, DAY, HOUR, MINUTE, Range, floor};
use super::reason::{Point, Subject};
use super::statistics::Statistic;
use super::{ALARM_DEFINITIONS, ALARM_STATES, announce};
use crate::api::{ApiError, ApiResult};
use crate::cloud::catch_panic;
use crate::{Cloud, events};

/// Time between the end of a window and its evaluation, in seconds.
const DELAY: i64 = 5;

/// Time between evaluations of alarms with periods below a minute, in seconds.
const SHORT_STEP: i64 = 10;

/// The task that evaluates alarms; it begins with the first alarm.
#[derive(Debug, Default)]
struct Evaluator(Mutex<Option<AbortHandle>>);

/// Starts the evaluation of alarms, if it is not running.
pub(super) fn ensure_running(cloud: &Cloud) {
    let evaluator = &cloud.state::<Evaluator>().0;
    let mut task = evaluator.lock().unwrap_or_else(PoisonError::into_inner);
    if task.as_ref().is_some_and(|task| !task.is_finished()) {
        return;
    }
    // Busy before the request that created the alarm is answered.
    let work = cloud.clock().begin("the evaluation of alarms");
    *task = Some(tokio::spawn(run(cloud.clone(), work)).abort_handle());
}

/// Ends the evaluation: its task holds the cloud.
pub(super) fn stop(cloud: &Cloud) {
    let evaluator = &cloud.state::<Evaluator>().0;
    let task = evaluator
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    if let Some(task) = task {
        task.abort();
    }
}

/// Continues the evaluation after a restart.
pub(super) fn recover(cloud: &Cloud) -> ApiResult<()> {
    if !records(cloud).list("")?.is_empty() {
        ensure_running(cloud);
    }
    Ok(())
}

/// The end of the last window of a step that can be evaluated at this time.
fn window_end(now: Timestamp, step: i64) -> i64 {
    floor(now.as_second() - DELAY, step)
}

/// Seconds between evaluations of an alarm. Alarms over more than a day are evaluated once an hour, according to
/// third-party guides (unverified against AWS [cloudwatch-alarm-interval]).
fn step_of(configuration: &Configuration) -> i64 {
    let periods = i64::try_from(configuration.evaluation_periods).unwrap_or(i64::MAX);
    if configuration.period < MINUTE {
        SHORT_STEP
    } else if configuration.period.saturating_mul(periods) > DAY {
        HOUR
    } else {
        MINUTE
    }
}

async fn run(cloud: Cloud, mut work: crate::clock::Work) {
    let clock = cloud.clock();
    let mut last = [HOUR, MINUTE, SHORT_STEP].map(|step| (step, window_end(clock.now(), step)));
    loop {
        let seen = clock.announced(ALARM_DEFINITIONS);
        let due = cloud
            .persist("the evaluation of alarms", || next_due(&cloud, &last))
            .await
            .unwrap_or_else(|error| {
                crate::log::write_line(&format!("cannot evaluate alarms: {error}"));
                clock.now() + SignedDuration::from_secs(MINUTE)
            });
        work.sleep_until_announced(due, ALARM_DEFINITIONS, seen)
            .await;
        let now = clock.now();
        for (step, evaluated) in &mut last {
            let end = window_end(now, *step);
            if end > *evaluated {
                *evaluated = end;
                // A panic ends this evaluation only.
                let evaluation = evaluate_all(&cloud, *step, end);
                if let Err(error) = catch_panic("the evaluation of alarms", evaluation).await {
                    crate::log::write_line(&format!("cannot evaluate alarms: {error}"));
                }
            }
        }
    }
}

/// When the next window is evaluated; never if there is no alarm.
fn next_due(cloud: &Cloud, last: &[(i64, i64)]) -> ApiResult<Timestamp> {
    let alarms = records(cloud).list("")?;
    let mut steps: Vec<i64> = alarms
        .iter()
        .map(|(_, record)| step_of(&record.alarm.configuration))
        .collect();
    steps.dedup();
    let due = last.iter().filter(|(step, _)| steps.contains(step));
    let due = due.map(|(step, evaluated)| evaluated + step + DELAY).min();
    let due = due.map(|seconds| Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX));
    Ok(due.unwrap_or(Timestamp::MAX))
}

async fn evaluate_all(cloud: &Cloud, step: i64, end: i64) -> ApiResult<()> {
    let names = cloud.persist("the evaluation of alarms", || {
        let alarms = records(cloud).list("")?.into_iter();
        let alarms = alarms.filter(|(_, record)| step_of(&record.alarm.configuration) == step);
        Ok(alarms.map(|(name, _)| name).collect::<Vec<String>>())
    });
    let mut has_changed = false;
    for name in names.await? {
        let what = format!("the state of the alarm {name}");
        let evaluated = cloud.persist(&what, || evaluate(cloud, &name, end)).await;
        match evaluated {
            Ok(changed) => has_changed |= changed,
            Err(error) => crate::log::write_line(&format!("cannot evaluate {name}: {error}")),
        }
        tokio::task::yield_now().await;
    }
    if has_changed {
        cloud.clock().announce(ALARM_STATES);
    }
    Ok(())
}

/// Evaluates an alarm whose metric was replaced, because its state is that of the old one. AWS does so with the next
/// minute, which is before the instances of a deployment have started; here, they start in less.
pub(super) fn evaluate_now(cloud: &Cloud, name: &str) -> ApiResult<()> {
    let Some(record) = records(cloud).get(name)? else {
        return Ok(());
    };
    let step = step_of(&record.alarm.configuration);
    if evaluate(cloud, name, window_end(cloud.clock().now(), step))? {
        cloud.clock().announce(ALARM_STATES);
    }
    Ok(())
}

/// Evaluates an alarm with the window that ends at `end`; true if its state changed. An alarm that was deleted in
/// the meantime is left alone.
fn evaluate(cloud: &Cloud, name: &str, end: i64) -> ApiResult<bool> {
    let now = cloud.clock().now();
    let has_changed = cloud.store().transaction(|tx| {
        let records = records(cloud);
        let Some(mut record) = records.get_in(tx, name)? else {
            return Ok(false);
        };
        let configuration = &record.alarm.configuration;
        let (rule, statistic) = (configuration.rule()?, configuration.statistic_value()?);
        let periods = i64::try_from(rule.range()).map_err(ApiError::internal)?;
        let range = Range {
            unit: configuration.unit.as_deref(),
            from: end - periods * configuration.period,
            to: end,
            period: configuration.period,
        };
        let found = metrics::read_merged(tx, &configuration.metric()?, range)?;
        let starts = (0..periods).map(|number| range.from + number * range.period);
        let points: Vec<Point> = starts
            .map(|start| {
                let values = found.get(&start);
                Ok(Point {
                    time: Timestamp::from_second(start).map_err(ApiError::internal)?,
                    value: values
                        .and_then(|values| Some((values.statistic(statistic)?, values.count))),
                })
            })
            .collect::<ApiResult<_>>()?;
        let values: Vec<_> = points
            .iter()
            .map(|it| it.value.map(|(value, _)| value))
            .collect();
        let outcome = rule.evaluate(&values);
        if let Statistic::Percentile(percent) = statistic
            && configuration.ignores_few_samples()
        {
            let samples = outcome.evaluated.iter().filter_map(|at| points[*at].value);
            let samples: f64 = samples.map(|(_, samples)| samples).sum();
            if has_few_samples(percent, samples) {
                return Ok(false);
            }
        }
        let Some(state) = outcome.state else {
            return Ok(false);
        };
        let subject = Subject {
            rule,
            is_m_of_n: configuration.datapoints_to_alarm.is_some(),
            statistic: configuration.statistic_name(),
            unit: configuration.unit.as_deref(),
            period: configuration.period,
            points: &points,
        };
        let new = NewState {
            value: state,
            reason: subject.text(&outcome, state),
            data: Some(subject.data(&outcome, now)),
        };
        let before = record.alarm.clone();
        let has_changed = record.alarm.set_state(tx, new, now)?;
        if has_changed {
            records.put_in(tx, name, &record)?;
            let event = announce::state_change(&before, &record.alarm);
            events::publish_in(tx, cloud, event)?;
        }
        Ok(has_changed)
    })?;
    events::deliver_soon(cloud);
    Ok(has_changed)
}
