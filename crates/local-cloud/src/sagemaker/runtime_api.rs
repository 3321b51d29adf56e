//! SageMaker Runtime: invoking endpoints, over REST-JSON.

use std::time::Instant;

use axum::body::Body;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use serde_json::{Value, json};

use super::hosting::{self, Answer, Invocation, InvokeError, MAX_BODY};
use crate::api::{ApiError, ApiResult};
use crate::cloud::service::{BodyLimit, Rest};
use crate::{Cloud, authorization, injection};

/// The operations that this service has.
pub(crate) const OPERATIONS: &[&str] = &["InvokeEndpoint"];

/// The protocol.
pub(crate) const REST: Rest = Rest {
    limit,
    handle: |cloud, parts, body| Box::pin(handle(cloud, parts, body)),
    refuse,
};

/// Refuses anything but a supported invocation.
fn limit(parts: &Parts) -> ApiResult<BodyLimit> {
    if endpoint(parts).is_none() {
        return Err(ApiError::not_implemented(format_args!(
            "sagemaker-runtime {} {}",
            parts.method,
            parts.uri.path()
        )));
    }
    for header in ["target-model", "target-container-hostname", "session-id"] {
        if text(&parts.headers, &format!("x-amzn-sagemaker-{header}")).is_some() {
            return Err(ApiError::not_implemented(format_args!(
                "InvokeEndpoint with X-Amzn-SageMaker-{header}"
            )));
        }
    }
    let error = format!(
        "1 validation error detected: Value at 'body' failed to satisfy constraint: Member must \
         have length less than or equal to {MAX_BODY}"
    );
    Ok(BodyLimit {
        bytes: MAX_BODY,
        error: ApiError::new("ValidationError", error),
    })
}

/// Invokes an endpoint.
async fn handle(cloud: &Cloud, parts: &Parts, body: Bytes) -> Response<Body> {
    let received = Instant::now();
    crate::recorded::record(cloud, "sagemaker-runtime", OPERATIONS[0]);
    let endpoint = endpoint(parts).unwrap_or_default();
    let input = json!({ "EndpointName": endpoint });
    if let Err(error) = permit(cloud, &input) {
        return refuse(&error);
    }
    let header = |name: &str| text(&parts.headers, name).map(str::to_owned);
    let invocation = Invocation {
        endpoint,
        body,
        content_type: header("content-type"),
        accept: header("accept"),
        custom_attributes: header("x-amzn-sagemaker-custom-attributes"),
        target_variant: header("x-amzn-sagemaker-target-variant"),
        inference_id: header("x-amzn-sagemaker-inference-id"),
        received,
    };
    match hosting::invoke(cloud, &invocation).await {
        Ok(answer) => succeed(answer),
        Err(InvokeError::Validation(message)) => {
            error(400, "ValidationError", &json!({"Message": message}))
        }
        Err(InvokeError::Model {
            message,
            status,
            original,
            log_stream,
        }) => error(
            424,
            "ModelError",
            &json!({
                "Message": message,
                "OriginalStatusCode": status,
                "OriginalMessage": original,
                "LogStreamArn": log_stream,
            }),
        ),
    }
}

/// Fails unless the current caller may invoke an endpoint.
fn permit(cloud: &Cloud, input: &Value) -> ApiResult<()> {
    injection::request(cloud.injected(), &super::RUNTIME, "InvokeEndpoint")?;
    authorization::operation(cloud, &super::RUNTIME, "InvokeEndpoint", input)
}

/// NAME of `POST /endpoints/NAME/invocations`.
fn endpoint(parts: &Parts) -> Option<String> {
    let name = parts
        .uri
        .path()
        .strip_prefix("/endpoints/")?
        .strip_suffix("/invocations")?;
    let name = percent_encoding::percent_decode_str(name)
        .decode_utf8()
        .ok()?;
    (parts.method == Method::POST && !name.contains('/')).then(|| name.into_owned())
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn succeed(answer: Answer) -> Response<Body> {
    let mut response = Response::new(Body::from(answer.body));
    for (name, value) in [
        ("content-type", answer.content_type),
        ("x-amzn-invoked-production-variant", Some(answer.variant)),
        (
            "x-amzn-sagemaker-custom-attributes",
            answer.custom_attributes,
        ),
    ] {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
            response
                .headers_mut()
                .insert(HeaderName::from_static(name), value);
        }
    }
    identify(response)
}

fn refuse(api: &ApiError) -> Response<Body> {
    error(api.status, &api.code, &json!({"Message": api.message}))
}

/// An error as REST-JSON writes it: the code in a header, the members in the body.
fn error(status: u16, code: &str, members: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(members.to_string()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    let headers = response.headers_mut();
    headers.insert(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    if let Ok(code) = HeaderValue::from_str(code) {
        headers.insert("x-amzn-errortype", code);
    }
    identify(response)
}

fn identify(mut response: Response<Body>) -> Response<Body> {
    if let Ok(id) = HeaderValue::from_str(&uuid::Uuid::new_v4().to_string()) {
        response.headers_mut().insert("x-amzn-requestid", id);
    }
    response
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn parts(method: &str, path: &str) -> Parts {
        Request::builder()
            .method(method)
            .uri(path)
            .body(())
            .unwrap()
            .into_parts()
            .0
    }

    #[test]
    fn only_invocations_are_served() {
        assert_eq!(
            endpoint(&parts("POST", "/endpoints/flights-endpoint/invocations")).as_deref(),
            Some("flights-endpoint")
        );
        for (method, path) in [
            ("GET", "/endpoints/a/invocations"),
            ("POST", "/endpoints/a/async-invocations"),
            ("POST", "/endpoints/a/b/invocations"),
            ("POST", "/endpoints/a%2Fb/invocations"),
        ] {
            assert_eq!(endpoint(&parts(method, path)), None, "{method} {path}");
        }
    }
}
