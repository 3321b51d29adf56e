//! Identifies the caller, or the reason why that failed, and reads AWS's clock.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Error;
use aws_credential_types::provider::ProvideCredentials;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use jiff::Timestamp;
use mlops_core::error::message;

use super::Clients;
use super::error::{AwsResultExt, ErrorKind, chain, kind_of};

/// The owner of the credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The account.
    pub account: String,
    /// The user or the role session.
    pub arn: String,
}

/// Why there is no caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// No credentials are configured.
    Missing,
    /// The sign-in of IAM Identity Center has expired, or there was none.
    SignIn,
    /// The credentials have expired.
    Expired,
    /// AWS did not accept the credentials.
    Rejected,
    /// No answer from AWS.
    Unreachable,
    /// Anything else.
    Other,
}

/// A failure to identify the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The reason.
    pub reason: Reason,
    /// The error, without a hint.
    pub message: String,
}

/// The result of identifying the caller.
#[derive(Debug)]
pub struct Identified {
    /// The caller.
    pub caller: Result<Caller, Refused>,
    /// AWS's time, from the header `Date` of its response.
    pub date: Option<Timestamp>,
}

/// Asks STS for the owner of the credentials.
pub async fn identify(clients: &Clients) -> Identified {
    let without_date = |caller| Identified { caller, date: None };
    match clients.config.credentials_provider() {
        None => {
            return without_date(Err(Refused {
                reason: Reason::Missing,
                message: "no credentials are configured".to_owned(),
            }));
        }
        Some(provider) => {
            if let Err(error) = provider.provide_credentials().await {
                return without_date(Err(unloaded(&chain(&error))));
            }
        }
    }
    let seen = DateOfResponse::default();
    let answer = clients
        .sts
        .get_caller_identity()
        .customize()
        .interceptor(seen.clone())
        .send()
        .await
        .aws("cannot determine the caller");
    let caller = match answer {
        Ok(answer) => Ok(Caller {
            account: answer.account.unwrap_or_default(),
            arn: answer.arn.unwrap_or_default(),
        }),
        Err(error) => Err(refused(&error)),
    };
    Identified {
        caller,
        date: seen.take(),
    }
}

/// Classifies an error of the credential chain, whose types the SDK does not publish.
fn unloaded(text: &str) -> Refused {
    let has = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    let reason = if has(&["SSO token", "Session token not found or invalid"]) {
        Reason::SignIn
    } else if has(&["dispatch failure", "timed out", "timeout"]) {
        Reason::Unreachable
    } else if has(&["no credentials found in chain"]) {
        Reason::Missing
    } else {
        Reason::Other
    };
    Refused {
        reason,
        message: text.to_owned(),
    }
}

/// Classifies an error of STS.
fn refused(error: &Error) -> Refused {
    let reason = match kind_of(error) {
        None => Reason::Unreachable,
        Some(ErrorKind::ExpiredCredentials) => Reason::Expired,
        Some(ErrorKind::UnknownCredentials | ErrorKind::AccessDenied | ErrorKind::NotEnabled) => {
            Reason::Rejected
        }
        Some(_) => Reason::Other,
    };
    Refused {
        reason,
        message: message(error),
    }
}

/// Keeps the header `Date` of a response, whatever its status.
#[derive(Debug, Clone, Default)]
struct DateOfResponse(Arc<Mutex<Option<Timestamp>>>);

impl DateOfResponse {
    fn take(&self) -> Option<Timestamp> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[dyn_dispatch_hint]
impl Intercept for DateOfResponse {
    fn name(&self) -> &'static str {
        "DateOfResponse"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date").and_then(parsed);
        if let Ok(mut seen) = self.0.lock() {
            *seen = date;
        }
        Ok(())
    }
}

/// Parses the date of an HTTP header: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn parsed(date: &str) -> Option<Timestamp> {
    let format = "%a, %d %b %Y %H:%M:%S GMT";
    let parsed = jiff::fmt::strtime::parse(format, date).ok()?;
    let time = parsed.to_datetime().ok()?;
    Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_of_http_is_a_time() {
        assert_eq!(
            parsed("Sun, 06 Nov 1994 08:49:37 GMT"),
            Some("1994-11-06T08:49:37Z".parse().unwrap())
        );
        assert_eq!(parsed("yesterday"), None);
    }

    #[test]
    fn a_failed_sign_in_is_told_from_missing_credentials() {
        for (text, reason) in [
            (
                "an error occurred while loading credentials: the SSO token has expired and cannot be refreshed",
                Reason::SignIn,
            ),
            (
                "failed to load the cached SSO token: failed to read `/x`",
                Reason::SignIn,
            ),
            (
                "the credential provider was not enabled: no credentials found in chain. Attempted:",
                Reason::Missing,
            ),
            ("dispatch failure: io error", Reason::Unreachable),
            ("process exited with 1", Reason::Other),
        ] {
            assert_eq!(unloaded(text).reason, reason, "{text}");
        }
    }
}
