//! Forwards one request to a process of an endpoint.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;

use super::super::states::EndpointStatus;
use super::capture::Exchange;
use super::endpoints::{ENDPOINTS, status};
use super::fleet;
use super::server::{self, Server};
use crate::cloud::ACCOUNT;
use crate::{Cloud, clock};

/// Time within which a container must respond (developer guide).
const TIMEOUT: Duration = Duration::from_mins(1);

/// Time between two attempts to reach a process that is restarting.
const RETRY: Duration = Duration::from_millis(100);

/// Maximum size of a request or response body (service model: `BodyBlob`).
pub(in super::super) const MAX_BODY: usize = 6_291_456;

/// A request of a client.
#[derive(Debug, Default)]
pub(in super::super) struct Invocation {
    pub(in super::super) endpoint: String,
    pub(in super::super) body: Vec<u8>,
    pub(in super::super) content_type: Option<String>,
    pub(in super::super) accept: Option<String>,
    pub(in super::super) custom_attributes: Option<String>,
    pub(in super::super) target_variant: Option<String>,
    pub(in super::super) inference_id: Option<String>,
}

/// The response of a model.
#[derive(Debug)]
pub(in super::super) struct Answer {
    pub(in super::super) body: Vec<u8>,
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
    let record = ENDPOINTS
        .get(cloud, &invocation.endpoint)
        .map_err(|_| missing())?;
    if !status(&record).is_some_and(EndpointStatus::serves) {
        return Err(missing());
    }
    let variants = &record["ProductionVariants"];
    let variant = match &invocation.target_variant {
        Some(wanted) => variants
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|variant| variant["VariantName"].as_str())
            .find(|name| name == wanted)
            .ok_or_else(|| {
                InvokeError::Validation(format!(
                    "Variant {wanted} not found for Request for Endpoint {} of account {ACCOUNT}.",
                    invocation.endpoint
                ))
            })?,
        None => choose(variants, uuid::Uuid::new_v4().as_u128()).ok_or_else(missing)?,
    };
    let fleet = fleet::serving(cloud, &invocation.endpoint).ok_or_else(missing)?;
    let server = fleet.next(variant).ok_or_else(missing)?;
    let time = Timestamp::now();
    let answer = send(cloud, server, invocation, variant).await?;
    if let Some(capture) = &fleet.capture {
        capture.record(&Exchange {
            variant,
            content_type: invocation.content_type.as_deref().unwrap_or_default(),
            input: &invocation.body,
            answer_type: answer.content_type.as_deref().unwrap_or_default(),
            output: &answer.body,
            inference_id: invocation.inference_id.as_deref(),
            custom_attributes: invocation.custom_attributes.as_deref(),
            time,
        });
    }
    Ok(answer)
}

/// Selects a variant by weight; `random` is any 128-bit number.
fn choose(variants: &Value, random: u128) -> Option<&str> {
    let variants: Vec<(&str, f64)> = variants
        .as_array()?
        .iter()
        .filter_map(|variant| {
            Some((
                variant["VariantName"].as_str()?,
                variant["CurrentWeight"].as_f64()?,
            ))
        })
        .collect();
    let total: f64 = variants.iter().map(|(_, weight)| weight).sum();
    #[expect(clippy::cast_precision_loss, reason = "a share of the traffic")]
    let mut left = (random % (1 << 32)) as f64 / f64::from(u32::MAX) * total;
    let mut last = None;
    for (name, weight) in variants {
        if weight <= 0.0 {
            continue;
        }
        last = Some(name);
        if left < weight {
            break;
        }
        left -= weight;
    }
    last
}

/// The request to a process.
fn request(
    client: &reqwest::Client,
    port: u16,
    invocation: &Invocation,
) -> reqwest::RequestBuilder {
    let mut request = client.post(format!("http://127.0.0.1:{port}/invocations"));
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
    server: &Server,
    invocation: &Invocation,
    variant: &str,
) -> Result<Answer, InvokeError> {
    let failed = |message: String, status: u16, original: String| InvokeError::Model {
        message,
        status,
        original,
        log_stream: cloud.arn(
            "logs",
            format_args!(
                "log-group:{}:log-stream:{}",
                server::log_group(&invocation.endpoint),
                server.log_stream
            ),
        ),
    };
    let client =
        server::client(TIMEOUT).map_err(|error| failed(error.message, 0, String::new()))?;
    let unreachable = |error: reqwest::Error| {
        let message = if error.is_timeout() {
            format!(
                "Your invocation timed out while waiting for a response from container primary \
                 (after {} s).",
                TIMEOUT.as_secs()
            )
        } else {
            format!("The connection to container primary failed: {error}")
        };
        failed(message.clone(), 0, message)
    };
    let started = Instant::now();
    let answer = loop {
        let left = TIMEOUT.saturating_sub(started.elapsed());
        let ready = server.ready(left).await;
        let port = ready.map_err(|reason| failed(reason.clone(), 0, reason))?;
        match request(&client, port, invocation).send().await {
            // The process has just died and its watcher has not noticed: nothing was sent.
            Err(error) if error.is_connect() && !left.is_zero() => clock::sleep(RETRY).await,
            sent => break sent.map_err(&unreachable)?,
        }
    };
    let status = answer.status().as_u16();
    let header = |name: &str| {
        let value = answer.headers().get(name)?;
        value.to_str().ok().map(str::to_owned)
    };
    let content_type = header("content-type");
    let custom_attributes = header("x-amzn-sagemaker-custom-attributes");
    let body = answer.bytes().await.map_err(&unreachable)?.to_vec();
    if !(200..300).contains(&status) {
        let text = String::from_utf8_lossy(&body).into_owned();
        let side = if status < 500 { "client" } else { "server" };
        return Err(failed(
            format!(
                "Received {side} error ({status}) from primary with message \"{text}\". See the \
                 logs in {} for more information.",
                server::log_group(&invocation.endpoint)
            ),
            status,
            text,
        ));
    }
    if body.len() > MAX_BODY {
        let message = format!("The response of container primary is larger than {MAX_BODY} bytes.");
        return Err(failed(message.clone(), status, message));
    }
    Ok(Answer {
        body,
        content_type,
        variant: variant.to_owned(),
        custom_attributes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn traffic_is_distributed_by_weight() {
        let variants = json!([
            {"VariantName": "a", "CurrentWeight": 1.0},
            {"VariantName": "off", "CurrentWeight": 0.0},
            {"VariantName": "b", "CurrentWeight": 3.0},
        ]);
        let share = |wanted: &str| {
            (0..1000_u128)
                .filter(|i| choose(&variants, i * ((1 << 32) / 1000)) == Some(wanted))
                .count()
        };
        assert!((240..=260).contains(&share("a")), "{}", share("a"));
        assert_eq!(share("off"), 0);
        assert_eq!(share("a") + share("b"), 1000);
        assert_eq!(choose(&json!([]), 1), None);
        assert_eq!(choose(&variants, u128::MAX), Some("b"));
    }
}
