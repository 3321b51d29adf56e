//! Whether and when a delivery is attempted again.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::stored::Stored;
use crate::api::ApiError;

/// Pause before the first retry. AWS publishes neither this nor [`LONGEST`] (unverified against AWS
/// [events-backoff]).
const FIRST: Duration = Duration::from_secs(1);

/// Longest pause between two attempts: 185 of them fit in a day.
const LONGEST: Duration = Duration::from_secs(460);

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Retry(Timestamp),
    /// No further attempt, with the limit that is reached, if retries could have helped.
    Failed(Option<&'static str>),
}

/// True if an event is older than its target allows.
pub(super) fn has_expired(stored: &Stored, now: Timestamp) -> bool {
    stored.attempts > 0 && now >= end(stored)
}

fn end(stored: &Stored) -> Timestamp {
    let age = SignedDuration::from_secs(stored.target.max_age());
    stored.accepted.checked_add(age).unwrap_or(Timestamp::MAX)
}

/// True for an error that the next attempt would have, too: a permission or a resource is missing, or the request
/// itself is refused.
pub(crate) fn is_final(error: &ApiError) -> bool {
    let refused = [
        "Validation",
        "InvalidParameter",
        "InvalidInput",
        "Malformed",
        "InvalidRequestContent",
        "InvalidMessageContents",
        "MissingParameter",
        "RequestTooLarge",
        "SerializationException",
        "UnsupportedOperation",
        "NotImplemented",
    ];
    error.is_denied()
        || error.is_not_found()
        || refused.iter().any(|code| error.code.contains(code))
}

/// The pause before a retry: twice the one before, and a random part of up to a half.
fn pause(retry: u32) -> Duration {
    let whole = FIRST
        .saturating_mul(2_u32.saturating_pow(retry.min(16)))
        .min(LONGEST);
    let random = f64::from(uuid::Uuid::new_v4().as_bytes()[0]) / 255.0;
    whole.mul_f64(0.5 + random / 2.0)
}

/// When to try again what the local cloud itself cannot do at the moment.
pub(super) fn soon(now: Timestamp) -> Timestamp {
    now.checked_add(FIRST).unwrap_or(Timestamp::MAX)
}

/// When to try again what the local cloud cannot read or record.
pub(super) fn late(now: Timestamp) -> Timestamp {
    now.checked_add(LONGEST).unwrap_or(Timestamp::MAX)
}

/// What follows a failed attempt. At the end of the event's time there is no further attempt, but its target's queue
/// receives it with the last error.
pub(super) fn next(stored: &Stored, error: &ApiError, now: Timestamp) -> Next {
    if is_final(error) {
        return Next::Failed(None);
    }
    let end = end(stored);
    if now >= end {
        return Next::Failed(Some("MaximumEventAgeInSeconds"));
    }
    if stored.attempts >= stored.target.max_retries() {
        return Next::Failed(Some("MaximumRetryAttempts"));
    }
    let due = now.checked_add(pause(stored.attempts));
    Next::Retry(due.unwrap_or(Timestamp::MAX).min(end))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "reads as a table")]
    fn stored(attempts: u32, policy: serde_json::Value) -> Stored {
        let target = json!({"Id": "t", "Arn": "a", "RetryPolicy": policy});
        Stored {
            number: 1,
            event: 1,
            rule: "r".to_owned(),
            target: serde_json::from_value(target).unwrap(),
            attempts,
            error: None,
            id: "e".to_owned(),
            accepted: Timestamp::UNIX_EPOCH,
            envelope: json!({}),
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn pauses_grow_and_fit_into_a_day() {
        let longest = LONGEST.as_secs_f64();
        for retry in 0..185 {
            let pause = pause(retry).as_secs_f64();
            let whole = longest.min(2_f64.powi(retry.try_into().unwrap()));
            assert!(pause >= whole / 2.0 && pause <= whole, "{retry}: {pause}");
        }
        assert!(longest * 185.0 < 86_400.0);
    }

    #[test]
    fn retries_end_with_the_limits() {
        let error = ApiError::internal("broken");
        let next = |attempts, policy, now| super::next(&stored(attempts, policy), &error, at(now));
        assert!(matches!(next(184, json!({}), 0), Next::Retry(_)));
        assert_eq!(
            next(185, json!({}), 0),
            Next::Failed(Some("MaximumRetryAttempts"))
        );
        let none = json!({"MaximumRetryAttempts": 0});
        assert_eq!(next(0, none, 0), Next::Failed(Some("MaximumRetryAttempts")));
        let minute = json!({"MaximumEventAgeInSeconds": 60});
        assert_eq!(next(9, minute.clone(), 59), Next::Retry(at(60)));
        assert_eq!(
            next(9, minute, 60),
            Next::Failed(Some("MaximumEventAgeInSeconds"))
        );
    }

    #[test]
    fn some_errors_are_final() {
        for (error, expected) in [
            (ApiError::denied("AccessDeniedException", "no"), true),
            (ApiError::not_found("ResourceNotFoundException", "no"), true),
            (ApiError::validation("no"), true),
            (ApiError::not_implemented("x"), true),
            (ApiError::internal("no"), false),
            (ApiError::unavailable("no"), false),
            (ApiError::new("AccountLimitExceededException", "no"), false),
            (ApiError::new("ResourceConflictException", "no"), false),
        ] {
            assert_eq!(is_final(&error), expected, "{error}");
        }
    }
}
