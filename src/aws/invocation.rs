//! Requests to an endpoint's model, and what the model or SageMaker answers.

use std::path::Path;

use anyhow::{Result, anyhow};
use aws_sdk_sagemakerruntime::Client;
use aws_sdk_sagemakerruntime::error::SdkError;
use aws_sdk_sagemakerruntime::operation::invoke_endpoint::InvokeEndpointError;
use aws_sdk_sagemakerruntime::primitives::Blob;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_types::request_id::RequestId as _;
use mlops_core::error::{Exit, Failure, ServiceAnswer, cause, hinted};
use mlops_core::quote::capped;

use super::error::RequestIdSource;
use super::{AwsResultExt, Clients};

/// Maximum size in bytes of a request's body on AWS. Unverified against AWS [invoke-body-limit]: the
/// developer guide allows 25 MB, the service model's `BodyBlob` 6 MiB.
const LARGEST: usize = 25 << 20;

/// Maximum size in bytes of a request's body on the local cloud (service model, `BodyBlob`).
const LARGEST_LOCAL: usize = 6_291_456;

/// The code of an error that the model caused.
const MODEL_ERROR: &str = "ModelError";

/// A request without its body.
#[derive(Debug, Clone, Default)]
pub struct Header {
    /// The media type of the body.
    pub content_type: Option<String>,
    /// The media type that the response should have.
    pub accept: Option<String>,
    /// The variant that should answer; otherwise, the variants' weights decide.
    pub target_variant: Option<String>,
}

/// The response of a model.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The body.
    pub body: Vec<u8>,
    /// Its media type.
    pub content_type: Option<String>,
    /// The variant that answered.
    pub variant: Option<String>,
}

/// A request that was not answered.
#[derive(Debug)]
pub struct Refused {
    /// What failed, in a few words: `model error 500`, `ValidationError`, `no connection`.
    pub kind: String,
    /// The status and the text of the model's answer, if it answered.
    pub model: Option<(u16, String)>,
    /// The error for a person.
    pub error: anyhow::Error,
}

impl Refused {
    /// Whether the model answered with an error, or did not answer; its log shows why.
    pub fn is_of_the_model(&self) -> bool {
        let answer = cause::<Failure>(&self.error).and_then(Failure::answer);
        answer.is_some_and(|answer| answer.code == MODEL_ERROR)
    }
}

/// Returns the maximum size in bytes of a request's body.
pub fn largest(clients: &Clients) -> usize {
    if clients.is_local() {
        LARGEST_LOCAL
    } else {
        LARGEST
    }
}

/// Returns the media type of a file, by its extension.
pub fn content_type(file: &Path) -> &'static str {
    let extension = file.extension().and_then(|extension| extension.to_str());
    match extension {
        Some("csv") => "text/csv",
        Some("json") => "application/json",
        Some("jsonl" | "ndjson") => "application/jsonlines",
        Some("txt") => "text/plain",
        _ => "application/octet-stream",
    }
}

/// Sends a request to an endpoint.
pub async fn send(
    client: &Client,
    endpoint: &str,
    header: &Header,
    body: Vec<u8>,
) -> Result<Answer, Refused> {
    let sent = client
        .invoke_endpoint()
        .endpoint_name(endpoint)
        .set_content_type(header.content_type.clone())
        .set_accept(header.accept.clone())
        .set_target_variant(header.target_variant.clone())
        .body(Blob::new(body))
        .send()
        .await;
    match sent {
        // A login page or a proxy may answer in SageMaker's place, with 200.
        Ok(answer) if answer.request_id().is_none() => Err(Refused {
            kind: "invalid response".to_owned(),
            model: None,
            error: hinted(
                anyhow!(
                    "the response to the request does not come from SageMaker: it has no request id"
                ),
                "check the network: a proxy or a login page may answer in its place",
            ),
        }),
        Ok(answer) => Ok(Answer {
            body: answer.body.map(Blob::into_inner).unwrap_or_default(),
            content_type: answer.content_type,
            variant: answer.invoked_production_variant,
        }),
        Err(error) => Err(refused(error, endpoint)),
    }
}

fn refused(
    error: SdkError<InvokeEndpointError, aws_smithy_runtime_api::http::Response>,
    endpoint: &str,
) -> Refused {
    if let Some(InvokeEndpointError::ModelError(model)) = error.as_service_error() {
        let status = model.original_status_code().unwrap_or_default();
        let original = model.original_message().or(model.message());
        let original = original.unwrap_or("no message").trim();
        let message = match status {
            // SageMaker reports no status if the container did not answer.
            0 => format!("the model did not answer: {}", capped(original)),
            _ => format!("the model answered {status}: {}", capped(original)),
        };
        let request_id = error.raw_response().and_then(RequestIdSource::request_id);
        let answer = ServiceAnswer {
            code: MODEL_ERROR.to_owned(),
            message: original.to_owned(),
            request_id: request_id.map(str::to_owned),
        };
        let group = super::endpoint_failure::log_group(endpoint);
        let stream = model
            .log_stream_arn()
            .and_then(|arn| arn.split(":log-stream:").nth(1));
        let place = match stream {
            Some(stream) => format!("log group {group}, stream {stream}"),
            None => format!("log group {group}"),
        };
        return Refused {
            kind: match status {
                0 => "no answer of the model".to_owned(),
                _ => format!("model error {status}"),
            },
            model: model
                .original_status_code()
                .and_then(|status| u16::try_from(status).ok())
                .filter(|status| *status > 0)
                .map(|status| (status, original.to_owned())),
            error: hinted(Failure::answered(Exit::Failed, message, answer), place),
        };
    }
    let kind = match &error {
        SdkError::ServiceError(service) => service.err().code().unwrap_or("unknown").to_owned(),
        SdkError::TimeoutError(_) => "timeout".to_owned(),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => "timeout".to_owned(),
        SdkError::DispatchFailure(_) => "no connection".to_owned(),
        _ => "invalid response".to_owned(),
    };
    let described = Err::<(), _>(error).aws(format!("cannot invoke the endpoint {endpoint}"));
    Refused {
        kind,
        model: None,
        error: described
            .err()
            .unwrap_or_else(|| anyhow!("cannot invoke {endpoint}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_media_type_follows_the_extension() {
        for (file, wanted) in [
            ("rows.csv", "text/csv"),
            ("a/row.json", "application/json"),
            ("rows.jsonl", "application/jsonlines"),
            ("image.png", "application/octet-stream"),
            ("row", "application/octet-stream"),
        ] {
            assert_eq!(content_type(Path::new(file)), wanted, "{file}");
        }
    }
}
