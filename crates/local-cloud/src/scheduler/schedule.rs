//! A schedule, and when it occurs.

use serde::{Deserialize, Serialize};

use super::configuration::Configuration;
use crate::Cloud;
use crate::api::ApiResult;

/// Milliseconds of the precision of invocations.
const PRECISION: i64 = 60_000;

/// A schedule.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Schedule {
    pub(super) group: String,
    pub(super) name: String,
    /// Seconds since the epoch.
    pub(super) created: f64,
    /// Seconds since the epoch.
    pub(super) modified: f64,
    /// The time from which a rate without a start date counts, in milliseconds.
    pub(super) anchor: i64,
    pub(super) configuration: Configuration,
}

impl Schedule {
    /// The ARN.
    pub(super) fn arn(&self, cloud: &Cloud) -> String {
        arn(cloud, &self.group, &self.name)
    }

    /// The first occurrence, if the schedule is created now. A rate occurs at once, and so does a one-time schedule of the
    /// last minute: AWS invokes with a precision of a minute. An earlier time never occurs. Unverified against AWS
    /// [scheduler-past-at].
    pub(super) fn first(&self, now: i64) -> ApiResult<Option<i64>> {
        let before = if self.configuration.is_once()? {
            PRECISION
        } else {
            1
        };
        self.next(now - before)
    }

    /// The first occurrence after a time.
    pub(super) fn next(&self, after: i64) -> ApiResult<Option<i64>> {
        self.configuration.next(after, self.anchor)
    }
}

/// The ARN of the schedule with a name.
fn arn(cloud: &Cloud, group: &str, name: &str) -> String {
    cloud.arn("scheduler", format_args!("schedule/{group}/{name}"))
}
