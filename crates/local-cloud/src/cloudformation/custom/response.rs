//! Responses of functions: received at the URL of the request, once.

use axum::body::Body;
use http::{Method, StatusCode};
use http_body_util::{BodyExt, Limited};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::Notify;

use super::{Pending, Request, failed, requests};
use crate::api::{ApiError, ApiResult};
use crate::cloud::service::Route;
use crate::{Cloud, signed_urls};

/// The path before a request's stack, resource and id.
const PATH: &str = "/_mlops/custom-resources/";

/// Longest response, in bytes (User Guide: custom resource response objects).
const MAX_RESPONSE: usize = 4096;

/// The HTTP requests that carry the responses of functions.
pub(in crate::cloudformation) const ROUTE: Route = Route {
    matches: |parts, _| signed_urls::is_below(parts, PATH),
    handle: |cloud, request| Box::pin(handle(cloud, request)),
};

/// The path of the URL for the response to a request.
pub(super) fn path(key: &str, id: &str) -> String {
    format!("{PATH}{key}/{id}")
}

/// Wakes tasks that wait for a response once it is recorded.
#[derive(Debug, Default)]
pub(super) struct Arrivals(Notify);

/// A response as it arrived.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Response {
    Text(String),
    TooLong,
}

/// A response that reports success.
#[derive(Debug, PartialEq)]
pub(super) struct Success {
    pub(super) physical: String,
    /// The values that `Fn::GetAtt` returns.
    pub(super) data: Map<String, Value>,
}

async fn handle(cloud: &Cloud, request: http::Request<Body>) -> http::Response<Body> {
    let (status, text) = match receive(cloud, request).await {
        Ok(()) => (200, String::new()),
        Err(error) => (error.status, error.to_string()),
    };
    let mut response = http::Response::new(Body::from(text));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN);
    response
}

/// Records a response and wakes the task that waits for it.
async fn receive(cloud: &Cloud, request: http::Request<Body>) -> ApiResult<()> {
    let (parts, body) = request.into_parts();
    signed_urls::check(cloud, &parts)?;
    if parts.method != Method::PUT {
        let message = "the response to a custom resource request is a PUT";
        return Err(ApiError::new("MethodNotAllowed", message).status(405));
    }
    let path = parts.uri.path().strip_prefix(PATH).unwrap_or_default();
    let (key, id) = path.rsplit_once('/').unwrap_or_default();
    let response = match Limited::new(body, MAX_RESPONSE).collect().await {
        Ok(body) => String::from_utf8(body.to_bytes().into())
            .map_or_else(|_| Response::Text(String::new()), Response::Text),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Response::TooLong,
        Err(error) => return Err(ApiError::new("IncompleteBody", error.to_string())),
    };
    let is_long = response == Response::TooLong;
    let recorded = requests(cloud).update(key, |pending| {
        if pending.id != id || pending.response.is_some() {
            let message = "the request already has a response, or has ended";
            return Err(ApiError::new("AccessDenied", message).status(403));
        }
        pending.response = Some(response);
        Ok(())
    })?;
    recorded.ok_or_else(|| ApiError::new("AccessDenied", "the request has ended").status(403))?;
    cloud.state::<Arrivals>().0.notify_waiters();
    if is_long {
        let message = format!("a response has at most {MAX_RESPONSE} bytes");
        return Err(ApiError::new("EntityTooLarge", message));
    }
    Ok(())
}

/// Waits for the response to a request.
pub(super) async fn arrived(cloud: &Cloud, key: &str, id: &str) -> ApiResult<Response> {
    loop {
        let notified = cloud.state::<Arrivals>().0.notified();
        tokio::pin!(notified);
        // No response is missed from here on.
        notified.as_mut().enable();
        if let Some(Pending {
            id: of,
            response: Some(response),
            ..
        }) = requests(cloud).get(key)?
            && of == id
        {
            return Ok(response);
        }
        notified.await;
    }
}

/// The status that a function reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Status {
    Success,
    Failed,
}

impl Status {
    fn of(value: &Value) -> Option<Self> {
        Self::deserialize(value).ok()
    }
}

impl Response {
    /// The physical id in the response, regardless of the rest of the response.
    pub(super) fn physical(&self) -> Option<String> {
        let Self::Text(text) = self else { return None };
        let answer: Value = serde_json::from_str(text).ok()?;
        let physical = answer.get("PhysicalResourceId")?.as_str()?;
        (!physical.is_empty()).then(|| physical.to_owned())
    }

    /// True if the function reports success.
    pub(super) fn is_success(&self) -> bool {
        let Self::Text(text) = self else { return false };
        let answer: Value = serde_json::from_str(text).unwrap_or_default();
        Status::of(&answer["Status"]) == Some(Status::Success)
    }

    /// What the function reports; an error if it reports a failure or cannot be parsed.
    pub(super) fn success(&self, request: &Request<'_>, id: &str) -> ApiResult<Success> {
        let text = match self {
            Self::Text(text) => text,
            Self::TooLong => return Err(failed("Response object is too long.")),
        };
        let answer: Map<String, Value> = serde_json::from_str(text)
            .map_err(|_| failed("Invalid response object: no JSON object"))?;
        let member = |name: &str| {
            let found = answer.get(name).filter(|value| !value.is_null());
            found.ok_or_else(|| failed(format!("Vendor response doesn't contain {name} attribute")))
        };
        for (name, own) in [
            ("StackId", request.stack),
            ("RequestId", id),
            ("LogicalResourceId", request.logical),
        ] {
            if member(name)? != own {
                return Err(failed(format!("Invalid {name}")));
            }
        }
        match Status::of(member("Status")?) {
            Some(Status::Success) => {}
            Some(Status::Failed) => {
                let reason = answer.get("Reason").and_then(Value::as_str);
                return Err(failed(format!(
                    "Received response status [FAILED] from custom resource. Message returned: {} \
                     (RequestId: {id})",
                    reason.unwrap_or("no reason given")
                )));
            }
            None => return Err(failed("Invalid Status")),
        }
        let data = match answer.get("Data") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(data)) => data.clone(),
            Some(_) => return Err(failed("Invalid Data: it must be a map of names and values")),
        };
        Ok(Success {
            physical: self
                .physical()
                .ok_or_else(|| failed("Invalid PhysicalResourceId"))?,
            data,
        })
    }
}
