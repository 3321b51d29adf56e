//! An SDK error in one line, with its code, its request id and a hint.

use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::error::{Exit, Failure, ServiceAnswer, hinted};
use crate::network::Problem;

/// Turns the SDK's results into ours.
pub trait AwsResultExt<T> {
    /// Says what we were doing; keeps the service's code, message and request id.
    fn aws(self, doing: impl Into<String>) -> anyhow::Result<T>;

    /// Like [`AwsResultExt::aws`], but `None` when the service answers with one of `codes`
    /// ("it does not exist").
    fn aws_unless(self, doing: impl Into<String>, codes: &[&str]) -> anyhow::Result<Option<T>>;
}

impl<T, E, R> AwsResultExt<T> for Result<T, SdkError<E, R>>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    R: RequestIdSource + std::fmt::Debug + Send + Sync + 'static,
{
    fn aws(self, doing: impl Into<String>) -> anyhow::Result<T> {
        self.map_err(|error| describe(&error, &doing.into()))
    }

    fn aws_unless(self, doing: impl Into<String>, codes: &[&str]) -> anyhow::Result<Option<T>> {
        match self {
            Ok(value) => Ok(Some(value)),
            Err(error)
                if error
                    .as_service_error()
                    .and_then(ProvideErrorMetadata::code)
                    .is_some_and(|code| codes.contains(&code)) =>
            {
                Ok(None)
            }
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
