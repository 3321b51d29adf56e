//! Polling of remote work, and back-off between attempts.

use std::future::Future;
use std::time::Duration;

use anyhow::Result;

use crate::error::{Exit, Failure};

/// The result of one probe. A failure is an `Err` of the probe.
#[derive(Debug)]
pub enum Poll<T> {
    /// The work is done.
    Ready(T),
    /// The work is still running; contains the service's own status.
    Pending(String),
}

/// Polling interval and timeout.
#[derive(Debug, Clone, Copy)]
pub struct Waiter {
    /// Time between two polls (`--poll-interval`).
    pub interval: Duration,
    /// Maximum time to wait (`--timeout`); the remote work continues after it.
    pub timeout: Duration,
}

impl Waiter {
    /// Sleeps until the next poll is due, for loops that do not wait for a single status.
    pub async fn pause(&self) {
        sleep(self.interval).await;
    }

    /// Polls with `probe` until it is ready. `observe` is called with each new status. Times out with
    /// exit code 5.
    pub async fn until<T, F, Fut>(
        &self,
        what: &str,
        mut observe: impl FnMut(&str),
        mut probe: F,
    ) -> Result<T>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<Poll<T>>>,
    {
        let start = tokio::time::Instant::now();
        let mut last = String::new();
        loop {
            match probe().await? {
                Poll::Ready(value) => return Ok(value),
                Poll::Pending(status) => {
                    if status != last {
                        observe(&status);
                        last = status;
                    }
                }
            }
            if start.elapsed() + self.interval > self.timeout {
                return Err(Failure::new(
                    Exit::TimedOut,
                    format!(
                        "timed out waiting for {what} after {} s (status: {last}); it is still running",
                        start.elapsed().as_secs()
                    ),
                ));
            }
            sleep(self.interval).await;
        }
    }
}

/// Exponential back-off: a quarter of a second, doubled up to 16 s. Each pause is random, between
/// half and all of that, so that many clients do not retry simultaneously.
#[derive(Debug)]
pub struct Backoff {
    tried: u32,
    attempts: u32,
}

impl Backoff {
    /// Maximum pause that a server can request.
    const LONGEST: Duration = Duration::from_mins(1);

    /// Creates a back-off with this many attempts in total.
    pub fn new(attempts: u32) -> Self {
        Self { tried: 0, attempts }
    }

    /// Returns the number of failed attempts.
    pub fn tried(&self) -> u32 {
        self.tried
    }

    /// Pauses after a failed attempt, at least for the time that the server requested (at most a
    /// minute). Returns false immediately after the last attempt.
    pub async fn pause(&mut self, retry_after: Option<Duration>) -> bool {
        self.tried += 1;
        if self.tried >= self.attempts {
            return false;
        }
        sleep(self.length(retry_after)).await;
        true
    }

    fn length(&self, retry_after: Option<Duration>) -> Duration {
        use std::hash::{BuildHasher, Hasher};

        let full = Duration::from_millis(250 << self.tried.saturating_sub(1).min(6));
        // The standard library's only source of randomness: the keys of a new hasher.
        let chance = std::hash::RandomState::new().build_hasher().finish() % 512;
        let own = full * (512 + u32::try_from(chance).unwrap_or_default()) / 1024;
        own.max(retry_after.unwrap_or_default().min(Self::LONGEST))
    }
}

/// Sleeps until a point in time, for work at a fixed rate. The timer is accurate to about a millisecond.
pub async fn sleep_until(due: tokio::time::Instant) {
    tokio::time::sleep_until(due).await;
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place of the client that sleeps"
)]
async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::{Cell, RefCell};

    const WAITER: Waiter = Waiter {
        interval: Duration::from_millis(1),
        timeout: Duration::from_millis(40),
    };

    #[tokio::test]
    async fn observers_receive_only_changes() {
        let calls = Cell::new(0);
        let heard = RefCell::new(Vec::new());
        let value = WAITER
            .until(
                "a job",
                |status| heard.borrow_mut().push(status.to_owned()),
                || {
                    calls.set(calls.get() + 1);
                    let call = calls.get();
                    async move {
                        Ok(match call {
                            1 | 2 => Poll::Pending("Starting".to_owned()),
                            3 => Poll::Pending("Training".to_owned()),
                            _ => Poll::Ready(7),
                        })
                    }
                },
            )
            .await
            .unwrap();
        assert_eq!(value, 7);
        assert_eq!(*heard.borrow(), ["Starting", "Training"]);
    }

    #[tokio::test]
    async fn attempts_are_counted() {
        let mut pauses = Backoff::new(2);
        assert!(pauses.pause(None).await);
        assert!(!pauses.pause(None).await);
        assert_eq!(pauses.tried(), 2);
    }

    #[test]
    fn pauses_grow_and_a_server_can_request_at_most_a_minute() {
        let pause = |tried, retry_after| Backoff { tried, attempts: 9 }.length(retry_after);
        for (tried, full) in [(1, 250), (2, 500), (7, 16_000), (8, 16_000)] {
            let length = pause(tried, None).as_millis();
            assert!((full / 2..=full).contains(&length), "{tried}: {length}");
        }
        assert_eq!(
            pause(1, Some(Duration::from_secs(7))),
            Duration::from_secs(7)
        );
        assert_eq!(pause(1, Some(Duration::from_hours(1))), Backoff::LONGEST);
        assert!(pause(7, Some(Duration::ZERO)) >= Duration::from_secs(8));
    }

    #[tokio::test]
    async fn a_timeout_is_exit_5() {
        let error = WAITER
            .until(
                "a job",
                |_| {},
                || async { Ok(Poll::<()>::Pending("InProgress".to_owned())) },
            )
            .await
            .unwrap_err();
        assert_eq!(crate::error::exit(&error), Exit::TimedOut);
        assert!(error.to_string().contains("InProgress"));
    }
}
