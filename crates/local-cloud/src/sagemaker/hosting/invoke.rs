//! Forwards one request to a process of an endpoint.

use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;

use super::capture::Exchange;
use super::metrics::{self, Sample};
use super::server::{self, Server};
use super::traffic::{self, Target};
use crate::cloud::ACCOUNT;
use crate::injection::{self, EndpointFault};
use crate::{Cloud, clock};

/// Time within which a container must respond (developer guide).
const TIMEOUT: Duration = Duration::from_mins(1);

/// Time between two attempts to reach a process that is restarting.
const RETRY: Duration = Duration::from_millis(100);

/// Maximum size of a request or response body (service model: `BodyBlob`).
pub(in super::super) const MAX_BODY: usize = 6_291_456;

/// Maximum size of the text of a model's error, in bytes.
const MAX_ERROR: usize = 64 << 10;

/// A request of a client.
#[derive(Debug)]
pub(in super::super) struct Invocation {
    pub(in super::super) endpoint: String,
    pub(in super::super) body: Bytes,
    pub(in super::super) content_type: Option<String>,
    pub(in super::super) accept: Option<String>,
    pub(in super::super) custom_attributes: Option<String>,
    pub(in super::super) target_variant: Option<String>,
    pub(in super::super) inference_id: Option<String>,
    /// When the local cloud received it.
    pub(in super::super) received: Instant,
}

/// The response of a model.
#[derive(Debug)]
pub(in super::super) struct Answer {
    pub(in super::super) body: Bytes,
    pub(in super::super) content_type: Option<String>,
    pub(in super::super) variant: String,
    pub(in super::super) custom_attributes: Option<String>,
}

/// An invocation error.
#[derive(Debug)]
pub(in super::super) enum InvokeError {
    /// `ValidationError`
    Validation(String),
    /// `ModelError`: the process returned an error, or no response.
    Model {
        message: String,
        status: u16,
        original: String,
        log_stream: String,
    },
}

impl InvokeError {
    /// The status code of the container in the metrics.
    fn status(&self) -> u16 {
        match self {
            Self::Model {
                status: status @ 400..,
                ..
            } => *status,
            _ => 500,
        }
    }
}

/// Sends a request to the variant that it names, or to one selected by weight.
pub(in super::super) async fn invoke(
    cloud: &Cloud,
    invocation: &Invocation,
) -> Result<Answer, InvokeError> {
    let missing = || {
        InvokeError::Validation(format!(
            "Endpoint {} of account {ACCOUNT} not found.",
            invocation.endpoint
        ))
    };
    // Held until the response is complete: the instances do not end before that.
    let routes = traffic::of(cloud, &invocation.endpoint).ok_or_else(missing)?;
    let wanted = invocation.target_variant.as_deref();
    let target = routes.choose(wanted).ok_or_else(|| match wanted {
        Some(wanted) => InvokeError::Validation(format!(
            "Variant {wanted} not found for Request for Endpoint {} of account {ACCOUNT}.",
            invocation.endpoint
        )),
        // Unverified against AWS [endpoint-no-weight]: what SageMaker does then.
        None => InvokeError::Validation(format!(
            "No variant of endpoint {} has a weight above 0: name one with TargetVariant.",
            invocation.endpoint
        )),
    })?;
    let sent = Instant::now();
    let time = Timestamp::now();
    let answer = match injection::endpoint(
        cloud.injected(),
        EndpointFault::Http500,
        &invocation.endpoint,
    ) {
        Ok(false) => send(cloud, target, invocation).await,
        Ok(true) => {
            let text = "injected by `mlops local inject http-500`".to_owned();
            let stream = target.next().map(|server| server.log_stream.as_str());
            Err(model_error(cloud, invocation, stream, 500, text))
        }
        Err(error) => Err(failure(cloud, invocation, None, 0, error.message)),
    };
    let model = sent.elapsed();
    let status = answer.as_ref().map_or_else(InvokeError::status, |_| 200);
    if let (Ok(answer), Some(capture)) = (&answer, &target.capture) {
        capture.record(&Exchange {
            variant: &target.series.variant,
            content_type: invocation.content_type.as_deref().unwrap_or_default(),
            input: &invocation.body,
            answer_type: answer.content_type.as_deref().unwrap_or_default(),
            output: &answer.body,
            inference_id: invocation.inference_id.as_deref(),
            custom_attributes: invocation.custom_attributes.as_deref(),
            time,
        });
    }
    let sample = Sample {
        series: target.series.clone(),
        status,
        model,
        overhead: invocation.received.elapsed().saturating_sub(model),
    };
    metrics::record(cloud, sample);
    answer
}

/// The request to a process, which has the time that is left of [`TIMEOUT`]: instances that end wait for it.
fn request(
    client: &reqwest::Client,
    port: u16,
    left: Duration,
    invocation: &Invocation,
) -> reqwest::RequestBuilder {
    let mut request = client
        .post(format!("http://127.0.0.1:{port}/invocations"))
        .timeout(left);
    for (name, value) in [
        ("Content-Type", &invocation.content_type),
        ("Accept", &invocation.accept),
        (
            "X-Amzn-SageMaker-Custom-Attributes",
            &invocation.custom_attributes,
        ),
        ("X-Amzn-SageMaker-Inference-Id", &invocation.inference_id),
    ] {
        if let Some(value) = value {
            request = request.header(name, value);
        }
    }
    request.body(invocation.body.clone())
}

async fn send(
    cloud: &Cloud,
    target: &Target,
    invocation: &Invocation,
) -> Result<Answer, InvokeError> {
    let client = server::client(cloud);
    let started = Instant::now();
    let (mut answer, server) = loop {
        let Some(server) = target.next() else {
            let message = "The variant has no instances.".to_owned();
            return Err(failure(cloud, invocation, None, 0, message));
        };
        let stream = Some(server.log_stream.as_str());
        let left = TIMEOUT.saturating_sub(started.elapsed());
        let ready = server.ready(left).await;
        let port = ready.map_err(|reason| failure(cloud, invocation, stream, 0, reason))?;
        let left = TIMEOUT.saturating_sub(started.elapsed());
        match request(client, port, left, invocation).send().await {
            // The process has just died and its watcher has not noticed: nothing was sent.
            Err(error) if error.is_connect() && !left.is_zero() => clock::sleep(RETRY).await,
            Err(error) => return Err(unreachable(cloud, invocation, server, &error)),
            Ok(answer) => break (answer, server),
        }
    };
    let stream = Some(server.log_stream.as_str());
    let status = answer.status().as_u16();
    let header = |name: &str| {
        let value = answer.headers().get(name)?;
        value.to_str().ok().map(str::to_owned)
    };
    let content_type = header("content-type");
    let custom_attributes = header("x-amzn-sagemaker-custom-attributes");
    let body = at_most(&mut answer, MAX_BODY).await;
    let body = body.map_err(|error| unreachable(cloud, invocation, server, &error))?;
    if !(200..300).contains(&status) {
        let text = String::from_utf8_lossy(&body[..body.len().min(MAX_ERROR)]).into_owned();
        return Err(model_error(cloud, invocation, stream, status, text));
    }
    if body.len() > MAX_BODY {
        let message = format!("The response of container primary is larger than {MAX_BODY} bytes.");
        return Err(failure(cloud, invocation, stream, status, message));
    }
    Ok(Answer {
        body,
        content_type,
        variant: target.series.variant.clone(),
        custom_attributes,
    })
}

/// Reads a body; of a longer one, a little more than `limit`. The rest is never received.
async fn at_most(answer: &mut reqwest::Response, limit: usize) -> reqwest::Result<Bytes> {
    let mut body = answer.chunk().await?.unwrap_or_default();
    while body.len() <= limit {
        let Some(chunk) = answer.chunk().await? else {
            return Ok(body);
        };
        let mut longer = Vec::from(body);
        longer.extend_from_slice(&chunk[..chunk.len().min(limit + 1)]);
        body = longer.into();
    }
    Ok(body)
}

/// The error for a response of the container that is no success.
fn model_error(
    cloud: &Cloud,
    invocation: &Invocation,
    stream: Option<&str>,
    status: u16,
    text: String,
) -> InvokeError {
    let side = if status < 500 { "client" } else { "server" };
    let message = format!(
        "Received {side} error ({status}) from primary with message \"{text}\". See the logs in {} for \
         more information.",
        server::log_group(&invocation.endpoint)
    );
    InvokeError::Model {
        message,
        status,
        original: text,
        log_stream: log_stream(cloud, invocation, stream),
    }
}

/// The error for a request without a response.
fn unreachable(
    cloud: &Cloud,
    invocation: &Invocation,
    server: &Server,
    error: &reqwest::Error,
) -> InvokeError {
    let message = if error.is_timeout() {
        format!(
            "Your invocation timed out while waiting for a response from container primary (after \
             {} s).",
            TIMEOUT.as_secs()
        )
    } else {
        format!("The connection to container primary failed: {error}")
    };
    failure(cloud, invocation, Some(&server.log_stream), 0, message)
}

/// An error whose message the local cloud writes.
fn failure(
    cloud: &Cloud,
    invocation: &Invocation,
    stream: Option<&str>,
    status: u16,
    message: String,
) -> InvokeError {
    InvokeError::Model {
        original: message.clone(),
        message,
        status,
        log_stream: log_stream(cloud, invocation, stream),
    }
}

/// The ARN of an instance's log stream, or of the endpoint's log group.
fn log_stream(cloud: &Cloud, invocation: &Invocation, stream: Option<&str>) -> String {
    let group = server::log_group(&invocation.endpoint);
    match stream {
        Some(stream) => cloud.arn(
            "logs",
            format_args!("log-group:{group}:log-stream:{stream}"),
        ),
        None => cloud.arn("logs", format_args!("log-group:{group}")),
    }
}
