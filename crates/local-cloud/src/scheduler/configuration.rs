//! The configuration of a schedule: what a request sets.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::expression::{self, Expression};
use super::targets::Target;
use super::{PRINCIPAL, targets};
use crate::api::{ApiError, ApiResult};
use crate::cloud::caller::Caller;
use crate::{Cloud, iam, kms};

/// Number of milliseconds that a start date can be in the past.
const PAST_START: f64 = 300.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum State {
    Enabled,
    Disabled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Action {
    None,
    Delete,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Mode {
    Off,
    Flexible,
}

/// `FlexibleTimeWindow`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Window {
    mode: Mode,
    #[serde(skip_serializing_if = "Option::is_none")]
    maximum_window_in_minutes: Option<i64>,
}

/// The configuration, with the names of the API.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Configuration {
    schedule_expression: String,
    #[serde(default = "utc")]
    schedule_expression_timezone: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_date: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_date: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(default = "enabled")]
    pub(super) state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    kms_key_arn: Option<String>,
    pub(super) target: Target,
    flexible_time_window: Window,
    #[serde(default = "no_action")]
    action_after_completion: Action,
}

fn utc() -> String {
    "UTC".to_owned()
}

fn enabled() -> State {
    State::Enabled
}

fn no_action() -> Action {
    Action::None
}

fn time(seconds: f64, name: &str) -> ApiResult<Timestamp> {
    #[expect(clippy::cast_possible_truncation, reason = "checked by the conversion")]
    let milliseconds = (seconds * 1000.0) as i64;
    Timestamp::from_millisecond(milliseconds)
        .map_err(|_| ApiError::validation(format!("{name} is not a valid time.")))
}

impl Configuration {
    /// Checks what the service model does not. `seconds` is the current time.
    pub(super) fn check(&self, cloud: &Cloud, seconds: f64) -> ApiResult<()> {
        let wrong = |message: &str| Err(ApiError::validation(message));
        Expression::parse(&self.schedule_expression)?;
        self.zone()?;
        match &self.flexible_time_window {
            Window {
                mode: Mode::Off,
                maximum_window_in_minutes: Some(_),
            } => return wrong("MaximumWindowInMinutes must not be set if the Mode is OFF."),
            Window {
                mode: Mode::Flexible,
                maximum_window_in_minutes: None,
            } => return wrong("MaximumWindowInMinutes must be set if the Mode is FLEXIBLE."),
            _ => {}
        }
        // The messages about dates are unverified against AWS [scheduler-dates].
        if self
            .start_date
            .is_some_and(|start| start < seconds - PAST_START)
        {
            return wrong("The StartDate you specify cannot be earlier than 5 minutes ago.");
        }
        if self.end_date.is_some_and(|end| end < seconds) {
            return wrong("The EndDate you specify cannot be in the past.");
        }
        if let (Some(start), Some(end)) = (self.start_date, self.end_date)
            && end <= start
        {
            return wrong("The StartDate must come before the EndDate.");
        }
        if iam::require_role(cloud, &self.target.role_arn, PRINCIPAL).is_err() {
            return wrong(
                "The execution role you provide must allow AWS EventBridge Scheduler to assume the role.",
            );
        }
        if let Some(key) = &self.kms_key_arn {
            let actions = ["kms:DescribeKey", "kms:GenerateDataKey", "kms:Decrypt"];
            kms::require_use(cloud, &Caller::current(), "scheduler", key, &actions)
                .map_err(|error| ApiError::validation(error.message))?;
        }
        targets::check(cloud, &self.target)
    }

    fn zone(&self) -> ApiResult<TimeZone> {
        expression::zone(&self.schedule_expression_timezone)
    }

    /// True if the schedule occurs once.
    pub(super) fn is_once(&self) -> ApiResult<bool> {
        Ok(Expression::parse(&self.schedule_expression)?.is_once())
    }

    /// True if the schedule is deleted when it has no further occurrence. A disabled schedule is not complete: it may be
    /// enabled again.
    pub(super) fn is_deleted_after_completion(&self) -> bool {
        self.action_after_completion == Action::Delete && self.state == State::Enabled
    }

    /// True if another configuration has the same expression, in the same time zone.
    pub(super) fn has_expression_of(&self, other: &Self) -> bool {
        self.schedule_expression == other.schedule_expression
            && self.schedule_expression_timezone == other.schedule_expression_timezone
    }

    /// True if a schedule with another configuration occurs at the same times.
    pub(super) fn has_times_of(&self, other: &Self) -> bool {
        let times = |it: &Self| (it.start_date, it.end_date, it.state);
        self.has_expression_of(other) && times(self) == times(other)
    }

    /// The first occurrence after a time. `created` is the time from which a rate without a start date counts. Times are
    /// milliseconds.
    pub(super) fn next(&self, after: i64, created: i64) -> ApiResult<Option<i64>> {
        if self.state == State::Disabled {
            return Ok(None);
        }
        let expression = Expression::parse(&self.schedule_expression)?;
        let milliseconds = |time| Timestamp::from_millisecond(time).map_err(ApiError::internal);
        let created = milliseconds(created)?;
        let mut after = milliseconds(after)?;
        let mut anchor = created;
        let mut end = None;
        if !expression.is_once() {
            if let Some(start) = self.start_date {
                let start = time(start, "StartDate")?;
                anchor = start;
                // An occurrence can be at the start date itself.
                let before = start - jiff::SignedDuration::from_millis(1);
                after = after.max(before);
            }
            end = self.end_date.map(|end| time(end, "EndDate")).transpose()?;
        }
        let next = expression.next(after, anchor, &self.zone()?);
        let next = next.filter(|next| end.is_none_or(|end| *next <= end));
        Ok(next.map(Timestamp::as_millisecond))
    }

    /// A random time in the flexible window, in milliseconds.
    pub(super) fn delay(&self) -> i64 {
        let minutes = self.flexible_time_window.maximum_window_in_minutes;
        let window = minutes.unwrap_or_default() * 60_000;
        if window == 0 {
            return 0;
        }
        let (random, _) = uuid::Uuid::new_v4().as_u64_pair();
        let random = i64::try_from(random >> 1).unwrap_or_default();
        // Whole seconds are easier to read in logs.
        random % window / 1000 * 1000
    }
}
