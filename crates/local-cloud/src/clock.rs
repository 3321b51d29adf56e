//! The two times of the local cloud.
//!
//! **Real time** is that of the machine: the functions of this module. Signatures, sessions, timeouts of
//! processes and connections, health checks and logs use it.
//!
//! **The cloud's time** is that of a [`Clock`]: real time plus an offset that only grows. Metrics, alarms and
//! the waits of deployments use it, so that a test can skip them:
//!
//! ```text
//! Clock::begin ── Work (busy) ── sleep_until(due) ── asleep ──┬─ real time reaches `due` ───┐
//!                   ▲                                        ├─ advance() reaches `due` ───┤
//!                   │                                        └─ announce(topic) ───────────┤
//!                   └───────────────── busy again, before anything else happens ───────────┘
//! ```
//!
//! [`Clock::advance`] moves from one due time to the next. At each one it wakes the work that is due, and
//! waits until no work is busy. Work that wakes is busy from the moment that it is woken, not from the moment
//! that its task runs, so time never overtakes it. The offset is saved before time moves, so time does not run
//! backwards after a restart.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};

mod advance;
mod work;

pub(crate) use advance::PATIENCE;
pub(crate) use work::Work;

/// Sleeps on the server side, in real time.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place of the local cloud that sleeps"
)]
pub(crate) async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// The current real time, for ages.
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// The current real time as JSON protocols write it: seconds since the epoch with millisecond precision.
pub(crate) fn epoch() -> f64 {
    seconds(now())
}

/// The current real time as query protocols write it: ISO 8601 with milliseconds.
pub(crate) fn iso() -> String {
    now().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// A time as JSON protocols write it: seconds since the epoch with millisecond precision.
pub(crate) fn seconds(time: Timestamp) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds fit in 53 bits")]
    let millis = time.as_millisecond() as f64;
    millis / 1000.0
}

/// Something that sleeping work can be notified of, such as a change of an alarm's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Topic(pub(crate) &'static str);

/// The part of a clock that survives a restart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Saved {
    /// The offset from real time, in milliseconds.
    offset: i64,
    /// The time that [`Clock::advance`] reached last. The machine's clock may have been set back since.
    reached: Timestamp,
}

/// The cloud's time; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Clock(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Changes whenever work begins, falls asleep, wakes or ends.
    progress: watch::Sender<u64>,
    /// Held by the one advance in progress.
    advancing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    /// In milliseconds.
    offset: i64,
    /// The latest time that was reported: the machine's clock may be set back.
    latest: Timestamp,
    /// True while the server shuts down.
    closed: bool,
    next: u64,
    work: BTreeMap<u64, Entry>,
    announcements: BTreeMap<Topic, u64>,
}

/// A piece of work.
#[derive(Debug)]
struct Entry {
    /// Its name in the error of an advance that times out.
    what: Arc<str>,
    /// When it became busy the last time.
    busy_since: Instant,
    /// `None` while it is busy.
    asleep: Option<Sleep>,
}

#[derive(Debug)]
struct Sleep {
    due: Timestamp,
    topic: Option<Topic>,
    wake: Arc<Notify>,
}

impl State {
    fn now(&mut self) -> Timestamp {
        let offset = SignedDuration::from_millis(self.offset);
        let time = now().checked_add(offset).unwrap_or(Timestamp::MAX);
        self.latest = self.latest.max(time);
        self.latest
    }

    /// Wakes sleeping work; it is busy from now on.
    fn wake(&mut self, wanted: impl Fn(&Sleep) -> bool) {
        for entry in self.work.values_mut() {
            if let Some(sleep) = entry.asleep.take_if(|sleep| wanted(sleep)) {
                entry.busy_since = Instant::now();
                sleep.wake.notify_one();
            }
        }
    }
}

impl Clock {
    /// Continues the clock of an earlier server.
    pub(crate) fn new(saved: Saved) -> Self {
        let behind = saved.reached.duration_since(now()).as_millis();
        let behind = i64::try_from(behind).unwrap_or(i64::MAX).saturating_add(1);
        let state = State {
            offset: saved.offset.max(behind),
            ..State::default()
        };
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            progress: watch::Sender::new(0),
            advancing: tokio::sync::Mutex::new(()),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn progressed(&self) {
        self.0.progress.send_modify(|count| *count += 1);
    }

    /// The cloud's time. It never runs backwards.
    pub(crate) fn now(&self) -> Timestamp {
        self.lock().now()
    }

    /// The cloud's time as JSON protocols write it: seconds since the epoch with millisecond precision.
    pub(crate) fn epoch(&self) -> f64 {
        seconds(self.now())
    }

    /// Begins work. [`Clock::advance`] waits while it is busy: until it sleeps or is dropped. `what` names it
    /// in the error of an advance that times out.
    pub(crate) fn begin(&self, what: impl Into<Arc<str>>) -> Work {
        let number = {
            let mut state = self.lock();
            state.next += 1;
            let number = state.next;
            let entry = Entry {
                what: what.into(),
                busy_since: Instant::now(),
                asleep: None,
            };
            state.work.insert(number, entry);
            number
        };
        self.progressed();
        Work::new(self.clone(), number)
    }

    /// The number of announcements of a topic so far.
    pub(crate) fn announced(&self, topic: Topic) -> u64 {
        let state = self.lock();
        state.announcements.get(&topic).copied().unwrap_or_default()
    }

    /// Wakes all work that waits for this topic.
    pub(crate) fn announce(&self, topic: Topic) {
        {
            let mut state = self.lock();
            *state.announcements.entry(topic).or_default() += 1;
            state.wake(|sleep| sleep.topic == Some(topic));
        }
        self.progressed();
    }
}

#[cfg(test)]
mod tests;
