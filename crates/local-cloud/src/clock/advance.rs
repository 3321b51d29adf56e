//! Moving the cloud's time forward.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::{Clock, Saved};
use crate::api::{ApiError, ApiResult};

/// Maximum real time to wait for work that stays busy. The longest wait of work that is not hung is for a
/// container that installs its packages.
pub(crate) const PATIENCE: Duration = Duration::from_mins(5);

impl Clock {
    /// Moves the cloud's time forward, from one due time to the next, and returns the time that it reached. At
    /// each due time, it wakes the work that is due. Before the first move and after each one, it waits until
    /// all work sleeps or has ended. `save` stores the clock before it moves.
    ///
    /// # Errors
    /// `ConflictException` if another advance is in progress; `RequestTimeout`, with the names of the work, if
    /// work stayed busy for `patience` of real time; `ServiceUnavailable` if the server shuts down, because the
    /// work that is due next may have ended with it. The clock stays where it is then.
    pub(crate) async fn advance(
        &self,
        by: Duration,
        patience: Duration,
        save: impl Fn(Saved) -> ApiResult<()>,
    ) -> ApiResult<Timestamp> {
        let Ok(_only) = self.0.advancing.try_lock() else {
            let message =
                "another request is advancing the clock; repeat this one when it has ended";
            return Err(ApiError::new("ConflictException", message).status(409));
        };
        let target = self.now().checked_add(by).map_err(|_| {
            ApiError::validation("the clock cannot be advanced to a time after the year 9999")
        })?;
        loop {
            self.until_idle(patience).await?;
            match self.next_due()?.filter(|due| *due <= target) {
                Some(due) => self.move_to(due, &save)?,
                None if self.now() < target => self.move_to(target, &save)?,
                None => return Ok(self.now()),
            }
        }
    }

    /// Waits until no work is busy, for at most `patience` for any one.
    async fn until_idle(&self, patience: Duration) -> ApiResult<()> {
        let start = Instant::now();
        let mut progress = self.0.progress.subscribe();
        loop {
            progress.borrow_and_update();
            let busy = self.busy();
            let waited = |since: Instant| since.max(start).elapsed();
            let Some(longest) = busy.iter().map(|(_, since)| waited(*since)).max() else {
                return Ok(());
            };
            if longest >= patience {
                let hung = busy.iter().filter(|(_, since)| waited(*since) >= patience);
                let hung: Vec<&str> = hung.map(|(what, _)| what.as_ref()).collect();
                let message = format!(
                    "the clock stays at {}: {} did not finish within {} seconds",
                    self.now(),
                    hung.join(", "),
                    patience.as_secs_f64()
                );
                return Err(ApiError::new("RequestTimeout", message).status(504));
            }
            tokio::select! {
                changed = progress.changed() => changed.map_err(ApiError::internal)?,
                () = super::sleep(patience.saturating_sub(longest)) => {}
            }
        }
    }

    /// The work that is busy, and since when.
    fn busy(&self) -> Vec<(Arc<str>, Instant)> {
        let state = self.lock();
        let busy = state.work.values().filter(|entry| entry.asleep.is_none());
        busy.map(|entry| (entry.what.clone(), entry.busy_since))
            .collect()
    }

    /// The earliest time that any work sleeps until.
    fn next_due(&self) -> ApiResult<Option<Timestamp>> {
        let mut state = self.lock();
        if state.closed {
            let message = format!(
                "the clock stays at {}: the local cloud is shutting down",
                state.now()
            );
            return Err(ApiError::new("ServiceUnavailable", message).status(503));
        }
        let asleep = state.work.values().filter_map(|it| it.asleep.as_ref());
        Ok(asleep.map(|sleep| sleep.due).min())
    }

    /// Ends the advance in progress and refuses further ones; called before the work of services ends.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
    }

    /// Moves to a time and wakes the work that is due. Real time may have passed it already.
    fn move_to(&self, time: Timestamp, save: impl Fn(Saved) -> ApiResult<()>) -> ApiResult<()> {
        let ahead = time.duration_since(super::now());
        // Rounded up, so that the time is reached.
        let millis = ahead
            .saturating_add(SignedDuration::from_nanos(999_999))
            .as_millis();
        let offset = self
            .lock()
            .offset
            .max(i64::try_from(millis).unwrap_or(i64::MAX));
        save(Saved {
            offset,
            reached: time,
        })?;
        {
            let mut state = self.lock();
            state.offset = offset;
            let now = state.now().max(time);
            state.latest = now;
            state.wake(|sleep| sleep.due <= time);
        }
        self.progressed();
        Ok(())
    }
}
