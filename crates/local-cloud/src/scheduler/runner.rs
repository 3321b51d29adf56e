//! Turns occurrences into invocations, and makes them when they are due.

use futures::future::BoxFuture;
use jiff::Timestamp;
use rusqlite::Transaction;

use super::invocation::Invocation;
use super::store::{self, Occurring};
use super::{invocations, now};
use crate::api::ApiResult;
use crate::attempts::{self, Next, Rows};
use crate::clock::Topic;
use crate::{Cloud, log};

/// Maximum number of occurrences that are read at once.
const BATCH: usize = 100;

/// Milliseconds after which an occurrence counts as missed, for example because the machine was suspended.
const MISSED: i64 = 60_000;

/// The invocations.
struct Invocations;

impl Rows for Invocations {
    const WHAT: &'static str = invocations::WHAT;
    const TOPIC: Topic = Topic("the schedules of EventBridge Scheduler");
    const CONCURRENT: usize = 32;
    const PER_ENDPOINT: usize = 8;

    fn next(cloud: &Cloud, running: &[i64], saturated: &[String]) -> ApiResult<Next> {
        let now = now(cloud);
        cloud.store().transaction(|tx| {
            begin_due(cloud, tx, now)?;
            let first = store::next_invocation(tx, running, saturated)?;
            let occurrence = store::next_occurrence(tx)?;
            let occurrence = occurrence.and_then(|it| Timestamp::from_millisecond(it).ok());
            Ok(match Next::of(first, now) {
                Next::At(time) => Next::At(occurrence.map_or(time, |it| it.min(time))),
                attempt @ Next::Attempt { .. } => attempt,
            })
        })
    }

    fn attempt(cloud: Cloud, number: i64) -> BoxFuture<'static, ApiResult<()>> {
        Box::pin(invocations::attempt(cloud, number))
    }

    fn set_aside(cloud: &Cloud, number: i64) -> ApiResult<()> {
        let write = |tx: &Transaction<'_>| store::set_aside(tx, number);
        cloud.store().transaction(write)
    }
}

/// Continues because a schedule has changed.
pub(super) fn wake(cloud: &Cloud) {
    attempts::wake::<Invocations>(cloud);
}

/// Ends the task, which holds the cloud.
pub(super) fn stop(cloud: &Cloud) {
    attempts::stop::<Invocations>(cloud);
}

/// Continues with the schedules of an earlier server. Occurrences of recurring schedules that were missed are skipped; a
/// one-time schedule that was missed is due.
pub(super) fn recover(cloud: &Cloud) -> ApiResult<()> {
    let now = now(cloud);
    let has_work = cloud.store().transaction(|tx| {
        for occurring in store::due(tx, now, usize::MAX)? {
            skip_missed(tx, occurring, now)?;
        }
        store::has_work(tx)
    })?;
    if has_work {
        wake(cloud);
    }
    Ok(())
}

/// Plans the next occurrence of a recurring schedule instead of one that was missed.
fn skip_missed(tx: &Transaction<'_>, occurring: Occurring, now: i64) -> ApiResult<()> {
    let key = (occurring.group.as_str(), occurring.name.as_str());
    let planned = occurring.schedule.and_then(|schedule| {
        let next = if schedule.configuration.is_once()? {
            Some(occurring.occurrence)
        } else {
            schedule.next(now)?
        };
        Ok((schedule, next))
    });
    match planned {
        Ok((schedule, next)) => {
            store::plan(tx, key, next)?;
            if next.is_none() {
                store::remove_completed(tx, &schedule)?;
            }
            Ok(())
        }
        Err(error) => set_aside(tx, key, &error.to_string()),
    }
}

/// Keeps a schedule that cannot be read without its occurrences.
fn set_aside(tx: &Transaction<'_>, key: (&str, &str), reason: &str) -> ApiResult<()> {
    let (group, name) = key;
    log::write_line(&format!(
        "the schedule {group}/{name} cannot be read, and is not invoked: {reason}"
    ));
    store::plan(tx, key, None)
}

/// Turns the occurrences that are due into invocations, each with its own time in the flexible window.
fn begin_due(cloud: &Cloud, tx: &Transaction<'_>, now: i64) -> ApiResult<()> {
    loop {
        let due = store::due(tx, now, BATCH)?;
        if due.is_empty() {
            return Ok(());
        }
        for occurring in due {
            begin(cloud, tx, occurring, now)?;
        }
    }
}

fn begin(cloud: &Cloud, tx: &Transaction<'_>, occurring: Occurring, now: i64) -> ApiResult<()> {
    let key = (occurring.group.as_str(), occurring.name.as_str());
    let occurrence = occurring.occurrence;
    let is_missed = now - occurrence > MISSED;
    let begun = occurring.schedule.and_then(|schedule| {
        let next = schedule.next(if is_missed { now } else { occurrence })?;
        Ok((schedule, next))
    });
    match begun {
        Ok((schedule, next)) => {
            let due = now.max(occurrence + schedule.configuration.delay());
            let target = schedule.configuration.target.clone();
            let invocation = Invocation::new(schedule.arn(cloud), target, occurrence, due);
            store::add(tx, &schedule, &invocation, due)?;
            store::plan(tx, key, next)
        }
        Err(error) => set_aside(tx, key, &error.to_string()),
    }
}

/// Turns the occurrences that are due into invocations, without making them.
#[cfg(test)]
pub(super) fn begin_due_for_test(cloud: &Cloud) {
    let now = now(cloud);
    let begun = cloud.store().transaction(|tx| begin_due(cloud, tx, now));
    begun.expect("the records of a new cloud");
}
