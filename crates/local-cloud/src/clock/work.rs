//! Work that the cloud's time waits for, and its sleep.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::Notify;

use super::{Clock, Sleep, Topic};

/// Maximum real time between two checks of the clock: the machine may have been suspended.
const RECHECK: Duration = Duration::from_secs(30);

/// Work in progress. It is busy while this value exists, except while it sleeps.
#[derive(Debug)]
pub(crate) struct Work {
    clock: Clock,
    number: u64,
}

/// Makes the work busy again when its sleep ends, also if the sleep is cancelled.
struct Asleep<'a>(&'a Work);

impl Drop for Asleep<'_> {
    fn drop(&mut self) {
        let woken = {
            let mut state = self.0.clock.lock();
            let entry = state.work.get_mut(&self.0.number);
            entry.is_some_and(|entry| {
                let was_asleep = entry.asleep.take().is_some();
                if was_asleep {
                    entry.busy_since = Instant::now();
                }
                was_asleep
            })
        };
        if woken {
            self.0.clock.progressed();
        }
    }
}

impl Work {
    pub(super) fn new(clock: Clock, number: u64) -> Self {
        Self { clock, number }
    }

    /// Sleeps for a time of the cloud. A time that is too far away to be written is never reached.
    pub(crate) async fn sleep(&mut self, duration: Duration) {
        let due = self.clock.now().checked_add(duration);
        self.sleep_until(due.unwrap_or(Timestamp::MAX)).await;
    }

    /// Sleeps until a time of the cloud. Can be cancelled; the work is then busy again.
    pub(crate) async fn sleep_until(&mut self, due: Timestamp) {
        self.sleep_or(due, None).await;
    }

    /// Sleeps until a time of the cloud, or until a topic has been announced more than `seen` times: read
    /// [`Clock::announced`] before checking what the topic is about, so that no announcement is missed. The
    /// caller checks which of both happened.
    pub(crate) async fn sleep_until_announced(&mut self, due: Timestamp, topic: Topic, seen: u64) {
        self.sleep_or(due, Some((topic, seen))).await;
    }

    async fn sleep_or(&mut self, due: Timestamp, topic: Option<(Topic, u64)>) {
        let Some(wake) = self.fall_asleep(due, topic) else {
            return;
        };
        let asleep = Asleep(self);
        loop {
            let left = due.duration_since(self.clock.now());
            let left = Duration::try_from(left).unwrap_or_default().min(RECHECK);
            tokio::select! {
                () = wake.notified() => break,
                () = super::sleep(left) => {}
            }
            if self.clock.now() >= due {
                break;
            }
        }
        drop(asleep);
    }

    /// Records that this work sleeps; `None` if what it would wait for has already happened.
    fn fall_asleep(&self, due: Timestamp, topic: Option<(Topic, u64)>) -> Option<Arc<Notify>> {
        let wake = Arc::new(Notify::new());
        {
            let mut state = self.clock.lock();
            let is_announced = topic.is_some_and(|(topic, seen)| {
                let count = state.announcements.get(&topic).copied();
                count.unwrap_or_default() > seen
            });
            if is_announced || state.now() >= due {
                return None;
            }
            let sleep = Sleep {
                due,
                topic: topic.map(|(topic, _)| topic),
                wake: wake.clone(),
            };
            state.work.get_mut(&self.number)?.asleep = Some(sleep);
        }
        self.clock.progressed();
        Some(wake)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.clock.lock().work.remove(&self.number);
        self.clock.progressed();
    }
}
