//! The cloud's time: its clock, and where its offset is kept.

use std::time::Duration;

use jiff::Timestamp;

use super::Cloud;
use crate::api::ApiResult;
use crate::clock::{Clock, PATIENCE, Saved};
use crate::store::Store;

/// Service, kind and key of the record of the clock.
const RECORD: (&str, &str, &str) = ("mlops", "clock", "clock");

/// Continues the clock of an earlier server.
pub(super) fn open(store: &Store) -> ApiResult<Clock> {
    let (service, kind, key) = RECORD;
    let saved = store.collection::<Saved>(service, kind).get(key)?;
    Ok(Clock::new(saved.unwrap_or_default()))
}

impl Cloud {
    /// The cloud's time, which tests can advance.
    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Moves the cloud's time forward ([`Clock::advance`]) and returns the time that it reached.
    pub(crate) async fn advance(&self, by: Duration) -> ApiResult<Timestamp> {
        let (service, kind, key) = RECORD;
        let records = self.store().collection::<Saved>(service, kind);
        let save = |saved| records.put(key, &saved);
        self.clock().advance(by, PATIENCE, save).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_cloud::TestCloud;

    #[tokio::test]
    async fn the_offset_survives_a_crash() {
        let at = TestCloud::new();
        let day = Duration::from_hours(24);
        let start = at.cloud().clock().now();
        let reached = at.cloud().advance(day).await.unwrap();
        assert!(reached >= start + day);
        let at = at.crash();
        assert!(at.cloud().clock().now() >= reached);
        assert!(at.cloud().clock().now() < reached + day);
    }
}
