//! Delivers events to targets: at least once, in the background, by the cloud's time.
//!
//! ```text
//! events_deliveries ── due ── attempt ──┬── delivered ─────────────────────── removed
//!        ▲                             ├── refused for good ── dead letters ─ removed
//!        └── later, with more pauses ──┴── failed ── retries used up ──┘
//! ```
//!
//! One task takes what is due. Attempts run concurrently, at most [`PER_TARGET`] for one target, and one for each
//! target even if others use all of [`CONCURRENT`], so that slow targets do not hold up the others.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::Either;
use jiff::Timestamp;
use tokio::task::AbortHandle;

use super::retries::{self, Next};
use super::stored::{self, First, Stored};
use super::{attempt, dead_letters};
use crate::api::{ApiError, ApiResult};
use crate::clock::{self, Topic, Work};
use crate::cloud::Busy;
use crate::{Cloud, attempts, log};

/// Announced when a delivery has been stored, or an attempt has ended.
const DELIVERIES: Topic = Topic("deliveries of events");

/// Maximum number of concurrent attempts, if more than one is for the same target.
const CONCURRENT: usize = 32;

/// Maximum number of concurrent attempts.
const MOST: usize = 256;

/// Maximum number of concurrent attempts for one target.
const PER_TARGET: usize = 8;

/// Timeout of an attempt, in real time. Starting a build or a pipeline takes a few seconds on a busy machine.
const TIMEOUT: Duration = Duration::from_mins(1);

/// The task that delivers; it begins with the first event.
#[derive(Debug, Default)]
struct Worker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    task: Option<AbortHandle>,
    /// The server is not idle while something is due.
    busy: Option<Busy>,
    /// Deliveries in progress.
    numbers: BTreeSet<i64>,
    /// The number of those, by ARN of their target.
    targets: HashMap<String, usize>,
    /// Deliveries whose attempts cannot be recorded; the next start continues them.
    stuck: BTreeSet<i64>,
    /// True once all services have recovered, so that targets are as they were.
    is_ready: bool,
    is_stopped: bool,
}

fn state(cloud: &Cloud) -> MutexGuard<'_, State> {
    let worker = &cloud.state::<Worker>().0;
    worker.lock().unwrap_or_else(PoisonError::into_inner)
}

/// True once a delivery has been stored: until then, there is nothing to wake.
#[derive(Debug, Default)]
struct HasStored(AtomicBool);

/// Call this before the transaction that stores a delivery is committed.
pub(super) fn will_store(cloud: &Cloud) {
    cloud.state::<HasStored>().0.store(true, Ordering::SeqCst);
}

/// Delivers what is due, if anything has been stored.
pub(super) fn wake(cloud: &Cloud) {
    if !cloud.state::<HasStored>().0.load(Ordering::SeqCst) {
        return;
    }
    let mut state = state(cloud);
    if state.is_stopped || (cloud.is_recovering() && !state.is_ready) {
        return;
    }
    if state.busy.is_none() {
        state.busy = Some(cloud.busy());
    }
    if state.task.as_ref().is_some_and(|task| !task.is_finished()) {
        // With the lock, so that the task does not regard the server as idle in between.
        cloud.clock().announce(DELIVERIES);
        return;
    }
    let work = cloud.clock().begin("the delivery of events");
    state.task = Some(tokio::spawn(run(cloud.clone(), work)).abort_handle());
}

/// Ends the task, which holds the cloud.
pub(super) fn stop(cloud: &Cloud) {
    let mut state = state(cloud);
    state.is_stopped = true;
    state.busy = None;
    if let Some(task) = state.task.take() {
        task.abort();
    }
}

/// Continues deliveries after a restart, and delivers what services have announced while they recovered.
pub(super) fn recover(cloud: &Cloud) -> ApiResult<()> {
    state(cloud).is_ready = true;
    if stored::has_any(cloud)? {
        will_store(cloud);
        wake(cloud);
    }
    Ok(())
}

async fn run(cloud: Cloud, mut work: Work) {
    let clock = cloud.clock();
    loop {
        let seen = clock.announced(DELIVERIES);
        let started = cloud.persist("the delivery of events", || start_due(&cloud));
        let next = match started.await {
            Ok(next) => next,
            Err(error) => {
                log::write_line(&format!("cannot deliver events: {error}"));
                let later = clock.now().checked_add(attempts::PAUSE);
                later.unwrap_or(Timestamp::MAX)
            }
        };
        let now = clock.now();
        if next > now {
            let mut state = state(&cloud);
            // An event may have been accepted in between.
            if state.numbers.is_empty() && clock.announced(DELIVERIES) == seen {
                state.busy = None;
            }
        }
        work.sleep_until_announced(next, DELIVERIES, seen).await;
    }
}

impl State {
    /// True if another attempt for a target may run.
    fn has_slot(&self, arn: &str) -> bool {
        match self.targets.get(arn) {
            None => self.numbers.len() < MOST,
            Some(count) => *count < PER_TARGET && self.numbers.len() < CONCURRENT,
        }
    }

    /// The targets without a slot.
    fn saturated(&self) -> Vec<String> {
        let arns = self.targets.keys();
        arns.filter(|arn| !self.has_slot(arn)).cloned().collect()
    }
}

/// Starts attempts for what is due, as many as may run. Returns when the next delivery is due; those that wait for
/// others to end do not count.
fn start_due(cloud: &Cloud) -> ApiResult<Timestamp> {
    loop {
        let (running, saturated) = {
            let state = state(cloud);
            let running = state.numbers.union(&state.stuck).copied();
            (running.collect::<Vec<_>>(), state.saturated())
        };
        let now = cloud.clock().now();
        let firsts = cloud
            .store()
            .transaction(|tx| stored::firsts(tx, &running, &saturated))?;
        let mut has_started = false;
        for First { number, arn, due } in firsts {
            let due = Timestamp::from_millisecond(due).unwrap_or(Timestamp::MAX);
            if due > now {
                if has_started {
                    break;
                }
                return Ok(due);
            }
            {
                let mut state = state(cloud);
                if !state.has_slot(&arn) {
                    continue;
                }
                state.numbers.insert(number);
                *state.targets.entry(arn.clone()).or_default() += 1;
            }
            has_started = true;
            start(cloud, number, arn);
        }
        if !has_started {
            return Ok(Timestamp::MAX);
        }
    }
}

/// Ends an attempt also if it panics.
struct Running {
    cloud: Cloud,
    number: i64,
    arn: String,
    /// Time does not move during an attempt.
    _work: Work,
}

impl Drop for Running {
    fn drop(&mut self) {
        {
            let mut state = state(&self.cloud);
            state.numbers.remove(&self.number);
            if let Some(count) = state.targets.get_mut(&self.arn) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    state.targets.remove(&self.arn);
                }
            }
        }
        self.cloud.clock().announce(DELIVERIES);
    }
}

fn start(cloud: &Cloud, number: i64, arn: String) {
    // Until the result is recorded, also after a panic: otherwise, the delivery would begin again at once.
    let running = Arc::new(Running {
        cloud: cloud.clone(),
        number,
        arn,
        _work: cloud.clock().begin("the delivery of an event"),
    });
    let (owned, own) = (cloud.clone(), running.clone());
    let work = async move {
        if let Err(error) = deliver(&owned, number).await {
            postpone_unknown(&owned, number, &error).await;
        }
        drop(own);
    };
    let broken = cloud.clone();
    // An event whose delivery panics would panic again at once.
    cloud.spawn("the delivery of an event", work, move |error| async move {
        let failed = async {
            let Some(stored) = stored::read(&broken, number).await? else {
                return Ok(());
            };
            finish(&broken, &stored, Err(error)).await
        };
        if let Err(error) = failed.await {
            postpone_unknown(&broken, number, &error).await;
        }
        drop(running);
    });
}

/// Attempts a delivery later whose record cannot be used.
async fn postpone_unknown(cloud: &Cloud, number: i64, error: &ApiError) {
    let due = retries::late(cloud.clock().now());
    let code = &error.code;
    log::write_line(&format!("cannot deliver the event {number}: {code}"));
    if stored::postpone(cloud, number, due, None).await.is_err() {
        log::write_line(&format!(
            "cannot record the delivery {number}; it continues after a restart"
        ));
        state(cloud).stuck.insert(number);
    }
}

async fn deliver(cloud: &Cloud, number: i64) -> ApiResult<()> {
    let Some(stored) = stored::read(cloud, number).await? else {
        return Ok(());
    };
    let result = if retries::has_expired(&stored, cloud.clock().now()) {
        let error = stored.error.clone();
        Err(error.unwrap_or_else(|| ApiError::new("EventExpired", "The event is too old.")))
    } else {
        let attempt = std::pin::pin!(attempt::attempt(cloud, &stored));
        let timeout = std::pin::pin!(clock::sleep(TIMEOUT));
        match futures::future::select(attempt, timeout).await {
            Either::Left((result, _)) => result,
            Either::Right(_) => Err(ApiError::internal("the target did not answer in time")),
        }
    };
    finish(cloud, &stored, result).await
}

/// Records the result of an attempt.
async fn finish(cloud: &Cloud, stored: &Stored, result: ApiResult<()>) -> ApiResult<()> {
    let now = cloud.clock().now();
    let Err(error) = result else {
        return stored::remove(cloud, stored).await;
    };
    match retries::next(stored, &error, now) {
        Next::Retry(due) => stored::postpone(cloud, stored.number, due, Some(&error)).await,
        Next::Failed(exhausted) => {
            let sent = dead_letters::send(cloud, stored, &error, exhausted).await;
            if sent.is_ok() {
                return stored::remove(cloud, stored).await;
            }
            let due = retries::soon(now);
            stored::postpone(cloud, stored.number, due, None).await
        }
    }
}
