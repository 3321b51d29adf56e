//! Custom resources: a Lambda function of the template's author creates, changes and deletes them.
//!
//! ```text
//! engine ── request ── function          (a request has a URL for the response)
//!    └── response ◄── PUT of the URL ──┘ (kept in the request's record)
//! ```
//!
//! The last request of each resource is a record, so a response that arrived before the server died
//! is not lost: the next server finds out what the function created.
//!
//! Source: the `CloudFormation` User Guide, "Custom resource request objects" and "response objects".

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::template::text_of;
use crate::api::{ApiError, ApiResult};
use crate::store::Collection;
use crate::{Cloud, clock, signed_urls};

mod response;
pub(super) mod work;

pub(super) use response::ROUTE;
use response::Response;

/// The schema's name of every custom resource.
pub(super) const TYPE: &str = "AWS::CloudFormation::CustomResource";

/// The time for a response without `ServiceTimeout`, in seconds; also the longest.
const MAX_TIMEOUT: i64 = 3600;

/// Pauses between the attempts to invoke a function that failed: Lambda's for asynchronous events.
const PAUSES: [Duration; 2] = [Duration::from_mins(1), Duration::from_mins(2)];

/// True for the type of a custom resource.
pub(super) fn is_custom(kind: &str) -> bool {
    kind == TYPE || kind.starts_with("Custom::")
}

/// True for a type name that a custom resource can have.
pub(super) fn is_name(kind: &str) -> bool {
    kind == TYPE
        || kind.strip_prefix("Custom::").is_some_and(|name| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "_@-".contains(c);
            !name.is_empty() && kind.len() <= 60 && name.chars().all(allowed)
        })
}

/// The properties as a function receives them: every scalar is text.
pub(super) fn as_text(properties: &Map<String, Value>) -> Map<String, Value> {
    let members = properties.iter();
    members
        .map(|(name, value)| (name.clone(), text(value)))
        .collect()
}

fn text(value: &Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(as_text(members)),
        Value::Array(items) => items.iter().map(text).collect(),
        scalar => Value::String(text_of(scalar)),
    }
}

/// The type of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Action {
    Create,
    Update,
    Delete,
}

/// A request to a function.
#[derive(Debug)]
struct Request<'a> {
    action: Action,
    /// The ARN of the stack.
    stack: &'a str,
    logical: &'a str,
    kind: &'a str,
    /// For a creation, the id of the resource if the function does not return one.
    physical: &'a str,
    properties: &'a Map<String, Value>,
    old: Option<&'a Map<String, Value>>,
}

/// The last request of a resource, with its response once there is one.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Pending {
    /// The `RequestId`.
    id: String,
    action: Action,
    physical: String,
    response: Option<Response>,
}

/// The last requests, by stack and logical id.
fn requests(cloud: &Cloud) -> Collection<'_, Pending> {
    cloud.store().collection("cloudformation", "custom")
}

fn key_of(stack: &str, logical: &str) -> String {
    format!("{}/{logical}", super::stacks::key_of(stack))
}

fn failed(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidRequest", message)
}

/// The function of a custom resource. SNS topics are refused by name.
fn function_of(properties: &Map<String, Value>) -> ApiResult<&str> {
    let token = properties.get("ServiceToken").and_then(Value::as_str);
    let token = token.unwrap_or_default();
    match token.split(':').nth(2) {
        Some("lambda") if token.starts_with("arn:") => Ok(token),
        Some("sns") => Err(ApiError::not_implemented(format_args!(
            "custom resources behind SNS topics ({token})"
        ))),
        _ => Err(failed("Invalid service token.")),
    }
}

/// The time that the function has for a response, in seconds.
fn timeout_of(properties: &Map<String, Value>) -> ApiResult<i64> {
    let Some(given) = properties.get("ServiceTimeout") else {
        return Ok(MAX_TIMEOUT);
    };
    let seconds = text_of(given).parse().ok();
    seconds
        .filter(|seconds| (1..=MAX_TIMEOUT).contains(seconds))
        .ok_or_else(|| {
            failed(format!(
                "ServiceTimeout must be an integer from 1 to {MAX_TIMEOUT}, not {given}"
            ))
        })
}

/// The reason why a request failed.
#[derive(Debug)]
enum RequestFailure {
    /// The function was not invoked and changed nothing.
    NotInvoked(ApiError),
    Other(ApiError),
}

impl From<ApiError> for RequestFailure {
    fn from(error: ApiError) -> Self {
        Self::Other(error)
    }
}

impl From<RequestFailure> for ApiError {
    fn from(failure: RequestFailure) -> Self {
        match failure {
            RequestFailure::NotInvoked(error) | RequestFailure::Other(error) => error,
        }
    }
}

/// Sends a request to the function and waits for its response.
async fn send(cloud: &Cloud, request: &Request<'_>) -> Result<response::Success, RequestFailure> {
    let function = function_of(request.properties).map_err(RequestFailure::NotInvoked)?;
    let timeout = match timeout_of(request.properties) {
        // An invalid time must not make the resource undeletable.
        Err(_) if request.action == Action::Delete => MAX_TIMEOUT,
        timeout => timeout.map_err(RequestFailure::NotInvoked)?,
    };
    let id = uuid::Uuid::new_v4().to_string();
    let key = key_of(request.stack, request.logical);
    let pending = Pending {
        id: id.clone(),
        action: request.action,
        physical: request.physical.to_owned(),
        response: None,
    };
    requests(cloud).put(&key, &pending)?;
    let url = signed_urls::sign(cloud, &response::path(&key, &id), timeout);
    let mut event = json!({
        "RequestType": request.action,
        "ServiceToken": function,
        "ResponseURL": url,
        "StackId": request.stack,
        "RequestId": id,
        "LogicalResourceId": request.logical,
        "ResourceType": request.kind,
        "ResourceProperties": request.properties,
    });
    if request.action != Action::Create {
        event["PhysicalResourceId"] = request.physical.into();
    }
    if let Some(old) = request.old {
        event["OldResourceProperties"] = json!(old);
    }
    let seconds = Duration::from_secs(timeout.unsigned_abs());
    let arrived = response::arrived(cloud, &key, &id);
    let invoked = invoke(cloud, function, &event);
    tokio::pin!(arrived, invoked);
    let mut answered = false;
    let waited = async {
        loop {
            tokio::select! {
                biased;
                response = &mut arrived => return response.map_err(RequestFailure::from),
                result = &mut invoked, if !answered => {
                    result?;
                    answered = true;
                }
            }
        }
    };
    let response = tokio::time::timeout(seconds, waited).await;
    let response = response.unwrap_or_else(|_| {
        Err(RequestFailure::Other(failed(format!(
            "CloudFormation did not receive a response from your Custom Resource. Please check your logs \
             for requestId [{id}]. If you are using the Python cfn-response module, you may need to update \
             your Lambda function so that CloudFormation can attach the updated version."
        ))))
    })?;
    Ok(response.success(request, &id)?)
}

/// Invokes the function as Lambda does with an asynchronous event: up to three times if it fails.
/// A request whose third attempt failed has failed. Unverified against AWS [custom-third-attempt],
/// which probably waits until the timeout.
async fn invoke(cloud: &Cloud, function: &str, event: &Value) -> Result<(), RequestFailure> {
    let payload = STANDARD.encode(event.to_string());
    let mut pauses = PAUSES.iter();
    let mut was_invoked = false;
    loop {
        let input = json!({"FunctionName": function, "Payload": payload});
        let error = match cloud.call("lambda", "Invoke", input).await {
            Ok(answer) if answer.get("FunctionError").is_none() => return Ok(()),
            Ok(answer) => {
                was_invoked = true;
                message_of(&answer)
            }
            Err(error) if error.code == "TooManyRequestsException" => error.message,
            Err(error) => {
                let message = &error.message;
                let error = failed(format!(
                    "The function {function} cannot be invoked: {message}"
                ));
                return Err(if was_invoked {
                    RequestFailure::Other(error)
                } else {
                    RequestFailure::NotInvoked(error)
                });
            }
        };
        match pauses.next() {
            Some(pause) => clock::sleep(*pause).await,
            None => {
                return Err(RequestFailure::Other(failed(format!(
                    "The function {function} failed three times and sent no response. Last error: {error}"
                ))));
            }
        }
    }
}

/// The error that a function ended with.
fn message_of(answer: &Value) -> String {
    let payload = answer["Payload"].as_str().unwrap_or_default();
    let bytes = STANDARD.decode(payload).unwrap_or_default();
    let error: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let message = error["errorMessage"].as_str().unwrap_or("no message");
    message.chars().take(1000).collect()
}

#[cfg(test)]
mod tests;
