//! Formats an SDK error as one line with its code, request id and a hint.

use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use mlops_core::error::{Exit, Failure, ServiceAnswer, cause, hinted};
use mlops_core::network::Problem;

mod kind;

pub use kind::{ErrorKind, Missing};

/// Converts results of the SDK.
pub trait AwsResultExt<T> {
    /// Adds the failed operation; keeps the service's code, message and request id.
    fn aws(self, doing: impl Into<String>) -> anyhow::Result<T>;

    /// Like [`AwsResultExt::aws`], but returns `None` if the requested resource does not exist.
    fn aws_if_found(self, doing: impl Into<String>, missing: Missing) -> anyhow::Result<Option<T>>;

    /// Like [`AwsResultExt::aws`], but returns `None` for an error that the caller expects: the
    /// resource does not exist, or is being changed by another client. Every other failure remains
    /// an error, because a failed request reveals nothing about what exists.
    fn aws_unless(
        self,
        doing: impl Into<String>,
        expected: &[Expected],
    ) -> anyhow::Result<Option<T>>;
}

/// An error that is part of a service's contract: a kind, one error code, or one code together with
/// its message if the service uses the code for every invalid request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// The requested resource does not exist.
    Missing(Missing),
    /// The caller lacks permission. Only for optional requests, whose result is an optimization or
    /// is repeated by a later call; the caller must not draw any conclusions.
    AccessDenied,
    /// The service does not support the operation; see [`Expected::AccessDenied`].
    NotImplemented,
    /// An unambiguous code: see [`Expected::code`].
    #[doc(hidden)]
    Code(&'static str),
    /// A code with its message: see [`Expected::message`].
    #[doc(hidden)]
    Message {
        code: &'static str,
        starts: &'static str,
        ends: &'static str,
    },
}

/// Ambiguous codes, which services use for every invalid request.
const AMBIGUOUS: [&str; 4] = [
    "ValidationException",
    "ValidationError",
    "InvalidParameterException",
    "InvalidParameterValue",
];

/// Codes that have a kind, and are therefore not compared as text.
const UNANSWERED: [&str; 3] = ["AccessDenied", "AccessDeniedException", "NotImplemented"];

impl Expected {
    /// A code with one meaning.
    ///
    /// # Panics
    ///
    /// Panics for an ambiguous code, and for one with an [`ErrorKind`]. Use this in constants,
    /// where the compiler reports it.
    pub const fn code(code: &'static str) -> Self {
        assert!(
            !is_one_of(code, &AMBIGUOUS),
            "this code does not mean one thing only"
        );
        assert!(
            !is_one_of(code, &UNANSWERED) && !kind::is_missing_code(code),
            "this code is an error kind"
        );
        Self::Code(code)
    }

    /// An ambiguous code together with the start and the end of its message, without the full stop.
    ///
    /// # Panics
    ///
    /// Panics if both texts are empty.
    pub const fn message(code: &'static str, starts: &'static str, ends: &'static str) -> Self {
        assert!(!starts.is_empty() || !ends.is_empty());
        Self::Message { code, starts, ends }
    }

    /// Returns whether an error has this code and message.
    pub fn matches(&self, code: Option<&str>, message: Option<&str>) -> bool {
        let kind = ErrorKind::of(code, message);
        match self {
            Self::Missing(missing) => {
                matches!(kind, ErrorKind::NotFound(found) if missing.is(found))
            }
            Self::AccessDenied => kind == ErrorKind::AccessDenied,
            Self::NotImplemented => kind == ErrorKind::NotImplemented,
            Self::Code(expected) => code == Some(*expected),
            Self::Message {
                code: expected,
                starts,
                ends,
            } => {
                let message = message.unwrap_or_default().trim().trim_end_matches('.');
                code == Some(*expected) && message.starts_with(starts) && message.ends_with(ends)
            }
        }
    }
}

/// Returns whether a service's error is one of the expected ones.
fn is_expected<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>, expected: &[Expected]) -> bool {
    error.as_service_error().is_some_and(|error| {
        expected
            .iter()
            .any(|expected| expected.matches(error.code(), error.message()))
    })
}

const fn is_one_of(code: &str, of: &[&str]) -> bool {
    let mut index = 0;
    while index < of.len() {
        if same(code.as_bytes(), of[index].as_bytes()) {
            return true;
        }
        index += 1;
    }
    false
}

/// `==`, which is not yet available for text in constants.
const fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut index = 0;
    while index < a.len() {
        if a[index] != b[index] {
            return false;
        }
        index += 1;
    }
    true
}

impl<T, E, R> AwsResultExt<T> for Result<T, SdkError<E, R>>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    R: RequestIdSource + std::fmt::Debug + Send + Sync + 'static,
{
    fn aws(self, doing: impl Into<String>) -> anyhow::Result<T> {
        self.map_err(|error| describe(&error, &doing.into()))
    }

    fn aws_if_found(self, doing: impl Into<String>, missing: Missing) -> anyhow::Result<Option<T>> {
        self.aws_unless(doing, &[Expected::Missing(missing)])
    }

    fn aws_unless(
        self,
        doing: impl Into<String>,
        expected: &[Expected],
    ) -> anyhow::Result<Option<T>> {
        match self {
            Ok(value) => Ok(Some(value)),
            Err(error) if is_expected(&error, expected) => Ok(None),
            Err(error) => Err(describe(&error, &doing.into())),
        }
    }
}

/// Returns the kind of the service's error behind an error; `None` if no service returned one.
pub fn kind_of(error: &anyhow::Error) -> Option<ErrorKind> {
    let answer = cause::<Failure>(error)?.answer()?;
    Some(ErrorKind::of(Some(&answer.code), Some(&answer.message)))
}

/// Reads the request id and the status from the raw HTTP response.
pub trait RequestIdSource {
    /// `x-amzn-requestid` or `x-amz-request-id`.
    fn request_id(&self) -> Option<&str>;

    /// The HTTP status.
    fn http_status(&self) -> u16;
}

impl RequestIdSource for aws_smithy_runtime_api::http::Response {
    fn request_id(&self) -> Option<&str> {
        self.headers()
            .get("x-amzn-requestid")
            .or_else(|| self.headers().get("x-amz-request-id"))
    }

    fn http_status(&self) -> u16 {
        self.status().as_u16()
    }
}

fn describe<E, R>(error: &SdkError<E, R>, doing: &str) -> anyhow::Error
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    R: RequestIdSource + std::fmt::Debug + 'static,
{
    let SdkError::ServiceError(service) = error else {
        if let Some(problem) = Problem::of(error) {
            let failure = Failure::new(Exit::Failed, format!("{doing}: {problem}"));
            return hinted(failure, problem.hint.clone());
        }
        let cause = chain(error);
        let (exit, hint) = transport(error, &cause);
        return hinted(Failure::new(exit, format!("{doing}: {cause}")), hint);
    };
    // The response to a HEAD request of S3 has no body, so its denial has neither code nor message.
    let bare = match service.raw().http_status() {
        403 => ("AccessDenied", "the service gives no reason (403)"),
        _ => ("unknown error", "no message"),
    };
    let code = service.err().code().unwrap_or(bare.0);
    let message = service.err().message().unwrap_or(bare.1).trim();
    let request = service
        .raw()
        .request_id()
        .map(|id| format!(" (request {id})"))
        .unwrap_or_default();
    let kind = ErrorKind::of(Some(code), Some(message));
    let answer = ServiceAnswer {
        code: code.to_owned(),
        message: message.to_owned(),
        request_id: service.raw().request_id().map(str::to_owned),
    };
    let text = format!("{doing}: {code}: {message}{request}");
    let error = Failure::answered(kind.exit(), text, answer);
    match kind.hint() {
        Some(hint) => hinted(error, hint),
        None => error,
    }
}

fn transport<E, R>(error: &SdkError<E, R>, cause: &str) -> (Exit, &'static str) {
    if cause.contains("credential") || cause.contains("token") {
        return (
            Exit::Credentials,
            "no usable AWS credentials: run `aws configure` or `aws sso login`, pass --profile, \
             or use --local",
        );
    }
    match error {
        SdkError::TimeoutError(_) => (
            Exit::Failed,
            "the service did not respond in time: check the network and --endpoint-url",
        ),
        _ => (
            Exit::Failed,
            "check the network, the region and --endpoint-url",
        ),
    }
}

/// Returns the innermost causes of an error that never reached the service.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if parts.last() != Some(&text) {
            parts.push(text);
        }
        next = error.source();
    }
    parts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issue_8_2_6_an_expected_error_is_one_code_or_one_wording() {
        let code = Expected::code("PreconditionFailed");
        assert!(code.matches(Some("PreconditionFailed"), None));
        assert!(!code.matches(Some("PreconditionFailedException"), None));
        assert!(!code.matches(None, None));
        let text = Expected::message("ValidationError", "Stack:", " can not be updated");
        let says = |message| text.matches(Some("ValidationError"), Some(message));
        assert!(says("Stack:arn is in a state and can not be updated."));
        assert!(!says("Stack:arn can not be created"));
        assert!(!says("Rate exceeded"));
        assert!(!text.matches(Some("ValidationError"), None));
        let words = Some("Stack:arn can not be updated");
        assert!(!text.matches(Some("Throttling"), words));
        let missing = Expected::Missing(Missing::Endpoint);
        let words = Some("Could not find endpoint \"arn:aws:sagemaker:r:0:endpoint/e\".");
        assert!(missing.matches(Some("ValidationException"), words));
        assert!(missing.matches(Some("ResourceNotFound"), None));
        let other = Some("Could not find endpoint configuration \"c\".");
        assert!(!missing.matches(Some("ValidationException"), other));
        assert!(Expected::AccessDenied.matches(Some("AccessDeniedException"), None));
        assert!(!Expected::NotImplemented.matches(Some("AccessDenied"), None));
    }

    #[test]
    #[should_panic(expected = "does not mean one thing only")]
    fn the_code_of_every_wrong_request_is_not_expected_by_itself() {
        let _ = Expected::code("ValidationException");
    }

    #[test]
    #[should_panic(expected = "is an error kind")]
    fn absence_is_expected_by_its_kind_only() {
        let _ = Expected::code("NoSuchKey");
    }
}
