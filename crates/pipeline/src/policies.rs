//! Caching and retries of a step: `CacheConfig` and `RetryPolicies`.

use std::time::Duration;

use jiff::{Span, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `CacheConfig` of a step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CacheConfig {
    /// Whether an earlier result may be reused.
    #[serde(default)]
    pub enabled: bool,
    /// Maximum age of that result, as an ISO 8601 duration. Without it, any age is accepted
    /// (unverified against AWS [cache-duration]: the developer guide requires a duration, the
    /// schema does not).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expire_after: Option<String>,
}

impl CacheConfig {
    /// Parses the duration of `ExpireAfter`. AWS's examples also omit the `P` and use lower case:
    /// `P30D`, `p30d`, `30d`, `T16m`.
    pub fn age(&self) -> Result<Option<Span>, String> {
        let Some(text) = &self.expire_after else {
            return Ok(None);
        };
        let upper = text.to_ascii_uppercase();
        let iso = if upper.starts_with('P') {
            upper
        } else {
            format!("P{upper}")
        };
        iso.parse::<Span>()
            .ok()
            .filter(|span| span.is_positive())
            .map(Some)
            .ok_or_else(|| format!("`{text}` is not an ISO 8601 duration, such as P30D or PT1H"))
    }

    /// Returns whether a result of `then` can still be reused at `now`.
    pub fn is_fresh(&self, then: Timestamp, now: Timestamp) -> bool {
        match self.age() {
            Ok(None) => true,
            // A duration beyond the calendar's end never expires.
            Ok(Some(age)) => then
                .to_zoned(jiff::tz::TimeZone::UTC)
                .checked_add(age)
                .map_or(true, |end| end.timestamp() >= now),
            Err(_) => false,
        }
    }
}

/// The reason of a step's failure, as retry policies classify it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exception {
    /// The service that the step called had an internal error.
    #[serde(rename = "Step.SERVICE_FAULT")]
    ServiceFault,
    /// The service that the step called throttled it.
    #[serde(rename = "Step.THROTTLING")]
    Throttling,
    /// The job failed with an `InternalServerError`.
    #[serde(rename = "SageMaker.JOB_INTERNAL_ERROR")]
    JobInternalError,
    /// No instance was available for the job.
    #[serde(rename = "SageMaker.CAPACITY_ERROR")]
    CapacityError,
    /// A quota of the account was exceeded.
    #[serde(rename = "SageMaker.RESOURCE_LIMIT")]
    ResourceLimit,
    /// A quota of EMR was exceeded.
    #[serde(rename = "Emr.RESOURCE_LIMIT")]
    EmrResourceLimit,
}

/// One of a step's `RetryPolicies`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RetryPolicy {
    #[serde(rename = "ExceptionType", deserialize_with = "one_or_more")]
    exceptions: Vec<Exception>,
    #[serde(default = "second")]
    interval_seconds: f64,
    #[serde(default = "double")]
    backoff_rate: f64,
    max_attempts: Option<f64>,
    expire_after_min: Option<f64>,
}

fn second() -> f64 {
    1.0
}

fn double() -> f64 {
    2.0
}

/// A list of exception types; the published schema has a single one.
fn one_or_more<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<Exception>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given {
        One(Exception),
        More(Vec<Exception>),
    }
    Ok(match Given::deserialize(from)? {
        Given::One(one) => vec![one],
        Given::More(more) => more,
    })
}

/// Default number of retries (developer guide).
const ATTEMPTS: f64 = 5.0;

/// Maximum values that AWS accepts (developer guide): 12 hours, 20 attempts, 10 days.
const MAX_INTERVAL: f64 = 43_200.0;
const MAX_ATTEMPTS: f64 = 20.0;
const MAX_EXPIRE: f64 = 14_400.0;

impl RetryPolicy {
    /// Parses a policy. The error describes the problem.
    pub fn parse(policy: &Value) -> Result<Self, String> {
        let wrong = |what: &str| {
            format!(
                "ExceptionType is {what} of Step.SERVICE_FAULT, Step.THROTTLING, \
                 SageMaker.JOB_INTERNAL_ERROR, SageMaker.CAPACITY_ERROR, SageMaker.RESOURCE_LIMIT"
            )
        };
        let read = Self::deserialize(policy).map_err(|_| wrong("not a list"))?;
        // The published schema requires one exception, which a list can replace but not omit.
        if read.exceptions.is_empty() {
            return Err(wrong("empty; it needs at least one"));
        }
        let within = |name: &str, value: f64, max: f64| {
            if (0.0..=max).contains(&value) {
                Ok(())
            } else {
                Err(format!("{name} is {value}; it can be 0 to {max}"))
            }
        };
        within("IntervalSeconds", read.interval_seconds, MAX_INTERVAL)?;
        within(
            "MaxAttempts",
            read.max_attempts.unwrap_or(0.0),
            MAX_ATTEMPTS,
        )?;
        within(
            "ExpireAfterMin",
            read.expire_after_min.unwrap_or(0.0),
            MAX_EXPIRE,
        )?;
        if read.backoff_rate < 1.0 || !read.backoff_rate.is_finite() {
            return Err(format!(
                "BackoffRate is {}; it must be 1 or more",
                read.backoff_rate
            ));
        }
        if read.max_attempts.is_some() && read.expire_after_min.is_some() {
            return Err("only one of MaxAttempts and ExpireAfterMin can be given".to_owned());
        }
        Ok(read)
    }

    /// AWS's behavior without a policy: faults and throttling of the called services are retried (the
    /// developer guide gives no numbers; these are the defaults of a policy).
    pub fn automatic() -> Self {
        Self {
            exceptions: vec![Exception::ServiceFault, Exception::Throttling],
            interval_seconds: second(),
            backoff_rate: double(),
            max_attempts: None,
            expire_after_min: None,
        }
    }

    /// Whether the policy applies to this exception.
    pub fn covers(&self, exception: Exception) -> bool {
        self.exceptions.contains(&exception)
    }

    /// Time to wait before the next attempt, after `retries` by this policy in a step that started
    /// `elapsed` ago; `None` if the policy gives up.
    pub fn wait(&self, retries: u32, elapsed: Duration) -> Option<Duration> {
        let more = match self.expire_after_min {
            Some(minutes) => elapsed.as_secs_f64() < minutes * 60.0,
            None => f64::from(retries) < self.max_attempts.unwrap_or(ATTEMPTS),
        };
        let power = i32::try_from(retries).unwrap_or(i32::MAX);
        let seconds = self.interval_seconds * self.backoff_rate.powi(power);
        // The maximum interval also caps the back-off.
        more.then(|| Duration::from_secs_f64(seconds.min(MAX_INTERVAL)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cache(text: &str) -> CacheConfig {
        CacheConfig {
            enabled: true,
            expire_after: Some(text.to_owned()),
        }
    }

    /// Issue 8, 3.3: the durations of AWS's guide and of the SDK's documentation.
    #[test]
    fn issue_8_3_3_a_result_expires_after_its_iso_duration() {
        let then: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        for (text, last) in [
            ("PT1H", "2026-01-31T13:00:00Z"),
            ("T16m", "2026-01-31T12:16:00Z"),
            ("30d", "2026-03-02T12:00:00Z"),
            ("p30d", "2026-03-02T12:00:00Z"),
            ("P1M", "2026-02-28T12:00:00Z"),
            ("30dT5h", "2026-03-02T17:00:00Z"),
            ("P2W", "2026-02-14T12:00:00Z"),
            ("5y", "2031-01-31T12:00:00Z"),
        ] {
            let last: Timestamp = last.parse().unwrap();
            let later = last + jiff::SignedDuration::from_millis(1);
            assert!(cache(text).is_fresh(then, last), "{text}");
            assert!(!cache(text).is_fresh(then, later), "{text}");
        }
        for wrong in ["", "P", "1 day", "-P1D", "PT0S", "tomorrow"] {
            assert!(cache(wrong).age().is_err(), "{wrong}");
            assert!(!cache(wrong).is_fresh(then, then), "{wrong}");
        }
        let forever = CacheConfig {
            enabled: true,
            expire_after: None,
        };
        assert!(forever.is_fresh(then, then + jiff::SignedDuration::from_hours(1_000_000)));
    }

    /// Issue 8, 3.3: interval, back-off and both limits.
    #[test]
    fn issue_8_3_3_retries_back_off_until_their_limit() {
        let policy = |value: Value| RetryPolicy::parse(&value).unwrap();
        let at = Duration::from_secs;
        let counted = policy(json!({"ExceptionType": ["SageMaker.CAPACITY_ERROR"],
            "IntervalSeconds": 3, "BackoffRate": 2.5, "MaxAttempts": 2}));
        assert!(counted.covers(Exception::CapacityError));
        assert!(!counted.covers(Exception::ServiceFault));
        assert_eq!(counted.wait(0, at(9_999_999)), Some(at(3)));
        assert_eq!(counted.wait(1, at(0)), Some(Duration::from_millis(7_500)));
        assert_eq!(counted.wait(2, at(0)), None);
        let timed = policy(json!({"ExceptionType": ["Step.THROTTLING"], "ExpireAfterMin": 1}));
        assert_eq!(timed.wait(40, at(59)), Some(at(43_200)));
        assert_eq!(timed.wait(0, at(60)), None);
        let default = policy(json!({"ExceptionType": "Step.SERVICE_FAULT"}));
        assert_eq!(default.wait(4, at(0)), Some(at(16)));
        assert_eq!(default.wait(5, at(0)), None);
        let never = policy(json!({"ExceptionType": ["Step.THROTTLING"], "MaxAttempts": 0}));
        assert_eq!(never.wait(0, at(0)), None);
        assert_eq!(RetryPolicy::automatic().wait(5, at(0)), None);
    }

    #[test]
    fn impossible_policies_are_refused() {
        for (policy, expected) in [
            (json!({"ExceptionType": ["Step.FAULT"]}), "ExceptionType"),
            (
                json!({"ExceptionType": []}),
                "ExceptionType is empty; it needs at least one of Step.SERVICE_FAULT",
            ),
            (
                json!({"ExceptionType": ["Step.THROTTLING"], "MaxAttempts": 1, "ExpireAfterMin": 1}),
                "only one of",
            ),
            (
                json!({"ExceptionType": ["Step.THROTTLING"], "MaxAttempts": 21}),
                "MaxAttempts is 21; it can be 0 to 20",
            ),
            (
                json!({"ExceptionType": ["Step.THROTTLING"], "IntervalSeconds": 43_201}),
                "IntervalSeconds",
            ),
            (
                json!({"ExceptionType": ["Step.THROTTLING"], "ExpireAfterMin": -1}),
                "ExpireAfterMin",
            ),
            (
                json!({"ExceptionType": ["Step.THROTTLING"], "BackoffRate": 0.5}),
                "BackoffRate",
            ),
        ] {
            let error = RetryPolicy::parse(&policy).unwrap_err();
            assert!(error.contains(expected), "{policy}: {error}");
        }
    }
}
