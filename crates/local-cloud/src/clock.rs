//! The time of the local cloud.

use std::time::Duration;

/// Sleeps on the server side.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place of the local cloud that sleeps"
)]
pub(crate) async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// The current time, for ages.
pub(crate) fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// The current time as JSON protocols write it: seconds since the epoch with millisecond precision.
pub(crate) fn epoch() -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds fit in 53 bits")]
    let millis = jiff::Timestamp::now().as_millisecond() as f64;
    millis / 1000.0
}

/// The current time as query protocols write it: ISO 8601 with milliseconds.
pub(crate) fn iso() -> String {
    jiff::Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%S.%3fZ")
        .to_string()
}
