//! The one loop that waits for remote work.

use std::future::Future;
use std::time::Duration;

use anyhow::Result;

use crate::error::{Exit, Failure};

/// What one look at remote work found. Failure is an `Err` of the probe.
#[derive(Debug)]
pub enum Poll<T> {
    /// The work is done.
    Ready(T),
    /// The work goes on; the text is the service's own status.
    Pending(String),
}

/// How often to look, and how long to wait.
#[derive(Debug, Clone, Copy)]
pub struct Waiter {
    /// Time between two looks (`--poll-interval`).
    pub interval: Duration,
    /// Time after which waiting ends (`--timeout`); the remote work goes on.
    pub timeout: Duration,
}

impl Waiter {
    /// Looks with `probe` until it is ready. `observe` hears each change of the status.
    /// Gives up after the timeout with exit 5.
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
                        "gave up waiting for {what} after {} s (status: {last}); it still goes on",
                        start.elapsed().as_secs()
                    ),
                ));
            }
            sleep(self.interval).await;
        }
    }
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
    async fn observers_hear_changes_only() {
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
    async fn giving_up_is_exit_5() {
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
