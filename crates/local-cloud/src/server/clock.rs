//! The path of the cloud's time: `GET` returns it, `POST` advances it. Requests are signed, with any service
//! name; only the account's own credentials may use it, so that no role can make deployments and alarms of
//! others skip their waits.

use std::time::Duration;

use axum::body::Body;
use http::request::Parts;
use http::{HeaderValue, Method, Response, header};
use serde::Deserialize;

use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::cloud::caller::Caller;
use crate::wire;

/// The path.
pub(super) const PATH: &str = "/_mlops/clock";

/// Maximum number of bytes of a body.
pub(super) const MAX_BODY: usize = 1 << 10;

/// Maximum number of seconds of one request: 30 days, twice as long as CloudWatch accepts old data.
const MAX_SECONDS: f64 = 30.0 * 86_400.0;

/// The body of a request to advance the clock.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    seconds: f64,
}

/// Answers a request of `caller` whose signature was verified.
pub(super) async fn answer(
    cloud: &Cloud,
    caller: &Caller,
    parts: &Parts,
    body: &[u8],
) -> ApiResult<Response<Body>> {
    if !matches!(caller, Caller::Root) {
        let message = "the clock requires the account's own credentials, not those of a role";
        return Err(ApiError::new("AccessDenied", message).status(403));
    }
    let now = match parts.method {
        Method::GET => cloud.clock().now(),
        Method::POST => cloud.advance(duration(body)?).await?,
        _ => {
            let message = format!(
                "{} is not supported for {PATH}: use GET or POST",
                parts.method
            );
            return Err(ApiError::new("MethodNotAllowed", message).status(405));
        }
    };
    let answer = serde_json::json!({"now": now.to_string()}).to_string();
    let mut response = Response::new(Body::from(answer));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    Ok(response)
}

fn duration(body: &[u8]) -> ApiResult<Duration> {
    let wrong = |why: String| {
        ApiError::validation(format!(
            "{why}: the body must be {{\"seconds\": N}}, with N from 0 to {MAX_SECONDS}"
        ))
    };
    let body = wire::json::decode(body).map_err(|error| wrong(error.message))?;
    if !body.is_object() {
        return Err(wrong("not an object".to_owned()));
    }
    let Advance { seconds } =
        serde_json::from_value(body).map_err(|error| wrong(error.to_string()))?;
    if !(0.0..=MAX_SECONDS).contains(&seconds) {
        return Err(wrong(format!("{seconds} seconds")));
    }
    Duration::try_from_secs_f64(seconds).map_err(|error| wrong(error.to_string()))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use jiff::Timestamp;

    use super::*;
    use crate::test_cloud::TestCloud;

    async fn send(cloud: &Cloud, caller: Caller, method: &str, body: &str) -> ApiResult<Timestamp> {
        let request = http::Request::builder().method(method).uri(PATH);
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let answer = answer(cloud, &caller, &parts, body.as_bytes()).await?;
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        Ok(body["now"].as_str().unwrap().parse().unwrap())
    }

    #[tokio::test]
    async fn requests_are_checked() {
        let at = TestCloud::new();
        let cloud = &at.cloud();
        let start = send(cloud, Caller::Root, "GET", "").await.unwrap();
        for body in [
            "",
            "{}",
            "{\"seconds\": -1}",
            "{\"seconds\": 2592000.1}",
            "{\"seconds\": 1e400}",
            "{\"seconds\": \"1\"}",
            "{\"seconds\": 3600, \"minutes\": 1}",
            "[3600]",
        ] {
            let error = send(cloud, Caller::Root, "POST", body).await.unwrap_err();
            assert_eq!(error.code, "ValidationException", "{body}");
            assert!(error.message.contains("\"seconds\""), "{error}");
        }
        let hour = "{\"seconds\": 3600}";
        let error = send(cloud, Caller::Root, "PUT", hour).await.unwrap_err();
        assert_eq!(error.status, 405);
        let error = send(cloud, Caller::LocalCloud, "POST", hour)
            .await
            .unwrap_err();
        assert_eq!(error.code, "AccessDenied");
        let hour_later = start + Duration::from_hours(1);
        assert!(cloud.clock().now() < hour_later);
        let now = send(cloud, Caller::Root, "POST", hour).await.unwrap();
        assert!(now >= hour_later);
    }
}
