//! An invocation of a target.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::targets::Target;

/// An occurrence of a schedule for which the target is called, with the target as it was then.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Invocation {
    pub(super) id: String,
    /// The ARN of the schedule.
    pub(super) schedule: String,
    pub(super) target: Target,
    /// The time of the occurrence, in milliseconds.
    scheduled: i64,
    /// The time of the first attempt, in milliseconds.
    pub(super) begun: i64,
}

impl Invocation {
    /// A new invocation of the schedule with an ARN.
    pub(super) fn new(schedule: String, target: Target, scheduled: i64, begun: i64) -> Self {
        Self {
            id: uuid::Uuid::new_v4().to_string(),
            schedule,
            target,
            scheduled,
            begun,
        }
    }

    /// The time of the occurrence as the API writes it.
    pub(super) fn scheduled_time(&self) -> String {
        let time = Timestamp::from_millisecond(self.scheduled).unwrap_or_default();
        time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }
}
