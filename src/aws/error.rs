//! An SDK error in one line, with its code, its request id and a hint.

use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use mlops_core::error::{Exit, Failure, ServiceAnswer, hinted};
use mlops_core::network::Problem;

/// Turns the SDK's results into ours.
pub trait AwsResultExt<T> {
    /// Adds what we were doing; keeps the service's code, message and request id.
    fn aws(self, doing: impl Into<String>) -> anyhow::Result<T>;

    /// Like [`AwsResultExt::aws`], but `None` for an error that the caller expects: the requested
    /// thing does not exist, or is being changed by another client. Every other failure stays an
    /// error: a request that failed reveals nothing about what exists.
    fn aws_unless(
        self,
        doing: impl Into<String>,
        expected: &[Expected],
    ) -> anyhow::Result<Option<T>>;
}

/// An error that is part of a service's contract, such as "it does not exist": one error code or, if
/// the service uses that code for every invalid request, one code together with its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    code: &'static str,
    starts: &'static str,
    ends: &'static str,
}

/// Ambiguous codes: services use them for every invalid request.
const AMBIGUOUS: [&str; 4] = [
    "ValidationException",
    "ValidationError",
    "InvalidParameterException",
    "InvalidParameterValue",
];

/// Codes of requests that the caller may not make, or that the service does not support.
const UNANSWERED: [&str; 3] = ["AccessDenied", "AccessDeniedException", "NotImplemented"];

impl Expected {
    /// A code with one meaning.
    ///
    /// # Panics
    ///
    /// With an ambiguous code. Use it in constants, where the compiler reports this.
    pub const fn code(code: &'static str) -> Self {
        assert!(
            !is_one_of(code, &AMBIGUOUS) && !is_one_of(code, &UNANSWERED),
            "this code does not mean one thing only"
        );
        Self {
            code,
            starts: "",
            ends: "",
        }
    }

    /// A code that needs its message: how that begins, and how it ends before the full stop.
    ///
    /// # Panics
    ///
    /// Without any text.
    pub const fn message(code: &'static str, starts: &'static str, ends: &'static str) -> Self {
        assert!(!starts.is_empty() || !ends.is_empty());
        Self { code, starts, ends }
    }

    /// The caller lacks permission, or the service cannot answer. Only for optional questions: the
    /// answer is
    /// an optimization or comes with a later call anyway, and the caller must assume nothing.
    ///
    /// # Panics
    ///
    /// With any other code.
    pub const fn unanswered(code: &'static str) -> Self {
        assert!(is_one_of(code, &UNANSWERED));
        Self {
            code,
            starts: "",
            ends: "",
        }
    }

    /// Whether an error has this code and this message.
    pub fn says(&self, code: Option<&str>, message: Option<&str>) -> bool {
        let message = message.unwrap_or_default().trim().trim_end_matches('.');
        code == Some(self.code) && message.starts_with(self.starts) && message.ends_with(self.ends)
    }
}

/// Whether a service's error is one of the expected ones.
fn is_expected<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>, expected: &[Expected]) -> bool {
    error.as_service_error().is_some_and(|error| {
        expected
            .iter()
            .any(|expected| expected.says(error.code(), error.message()))
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

/// `==`, which constants cannot use on text yet.
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

/// The raw HTTP response's request id.
pub trait RequestIdSource {
    /// `x-amzn-requestid` or `x-amz-request-id`.
    fn request_id(&self) -> Option<&str>;
}

impl RequestIdSource for aws_smithy_runtime_api::http::Response {
    fn request_id(&self) -> Option<&str> {
        self.headers()
            .get("x-amzn-requestid")
            .or_else(|| self.headers().get("x-amz-request-id"))
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
    let code = service.err().code().unwrap_or("unknown error");
    let message = service.err().message().unwrap_or("no message").trim();
    let request = service
        .raw()
        .request_id()
        .map(|id| format!(" (request {id})"))
        .unwrap_or_default();
    let (exit, hint) = classify(code);
    let answer = ServiceAnswer {
        code: code.to_owned(),
        message: message.to_owned(),
        request_id: service.raw().request_id().map(str::to_owned),
    };
    let error = Failure::answered(exit, format!("{doing}: {code}: {message}{request}"), answer);
    match hint {
        Some(hint) => hinted(error, hint),
        None => error,
    }
}

/// The exit code and hint of an error code.
fn classify(code: &str) -> (Exit, Option<&'static str>) {
    match code {
        "ExpiredToken" | "ExpiredTokenException" | "RequestExpired" => (
            Exit::Credentials,
            Some("the credentials have expired: run `aws sso login`, or renew them"),
        ),
        "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "InvalidSignatureException"
        | "AuthFailure" => (
            Exit::Credentials,
            Some("AWS does not know these credentials: check --profile"),
        ),
        "AccessDenied"
        | "AccessDeniedException"
        | "UnauthorizedOperation"
        | "AllAccessDisabled" => (
            Exit::Credentials,
            Some("the message names the missing permission: ask the account's owner for it"),
        ),
        "OptInRequired" => (
            Exit::Credentials,
            Some("this service or region is not enabled in the account"),
        ),
        "NotImplemented" => (
            Exit::Failed,
            Some("the local cloud does not have this; docs/local-cloud.md lists what it has"),
        ),
        "ResourceLimitExceeded" | "LimitExceededException" | "ServiceQuotaExceededException" => (
            Exit::Failed,
            Some("raise the quota in the Service Quotas console, or remove what is unused"),
        ),
        "ThrottlingException" | "Throttling" | "SlowDown" | "TooManyRequestsException" => (
            Exit::Failed,
            Some("AWS asks to slow down: try again in a minute"),
        ),
        _ => (Exit::Failed, None),
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
            "the service did not answer in time: check the network and --endpoint-url",
        ),
        _ => (
            Exit::Failed,
            "check the network, the region and --endpoint-url",
        ),
    }
}

/// The innermost causes of an error that never reached the service.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
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
    fn issue_8_2_6_absence_is_one_code_or_one_wording() {
        let code = Expected::code("ResourceNotFound");
        assert!(code.says(Some("ResourceNotFound"), None));
        assert!(!code.says(Some("ResourceNotFoundException"), None));
        assert!(!code.says(None, None));
        let text = Expected::message("ValidationException", "Could not find endpoint \"", "\"");
        let says = |message| text.says(Some("ValidationException"), Some(message));
        assert!(says(
            "Could not find endpoint \"arn:aws:sagemaker:r:0:endpoint/e\"."
        ));
        assert!(!says("Could not find endpoint configuration \"c\"."));
        assert!(!says("1 validation error detected"));
        assert!(!text.says(Some("ValidationException"), None));
        let ends = Expected::message("ValidationError", "Stack with id ", " does not exist");
        assert!(ends.says(
            Some("ValidationError"),
            Some("Stack with id s does not exist")
        ));
        assert!(!ends.says(Some("ValidationError"), Some("Rate exceeded")));
        assert!(!ends.says(Some("Throttling"), Some("Stack with id s does not exist")));
    }

    #[test]
    #[should_panic(expected = "does not mean one thing only")]
    fn the_code_of_every_wrong_request_is_not_expected_by_itself() {
        let _ = Expected::code("ValidationException");
    }
}
