//! awsJson 1.0 and 1.1: the operation is in `X-Amz-Target`; request and response are JSON
//! documents.

use axum::body::Body;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde_json::{Map, Value};

use crate::api::{ApiError, ApiResult};
use crate::limits::{self, MAX_DEPTH};

/// Decodes a request body; an empty one is an empty object.
pub(crate) fn decode(body: &[u8]) -> ApiResult<Value> {
    if body.is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    let wrong = |message: String| ApiError::new("SerializationException", message);
    limits::check_json(body, MAX_DEPTH).map_err(wrong)?;
    serde_json::from_slice(body).map_err(|error| wrong(error.to_string()))
}

/// Removes members that are null: AWS omits a member without a value.
pub(crate) fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// The content type, and so the awsJson version, of a request.
pub(crate) fn content_type(request: &HeaderMap) -> &'static str {
    let is_1_0 = request
        .get(http::header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/x-amz-json-1.0"));
    if is_1_0 {
        "application/x-amz-json-1.0"
    } else {
        "application/x-amz-json-1.1"
    }
}

/// Encodes the response of an operation. Members that are null are omitted.
pub(crate) fn encode(
    content_type: &'static str,
    request_id: &str,
    result: ApiResult<Value>,
) -> Response<Body> {
    let (status, body) = match result {
        Ok(Value::Null) => (200, "{}".to_owned()),
        Ok(mut value) => {
            drop_nulls(&mut value);
            (200, value.to_string())
        }
        Err(error) => (
            error.status,
            serde_json::json!({"__type": error.code, "message": error.message}).to_string(),
        ),
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    let headers = response.headers_mut();
    headers.insert(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static(content_type),
    );
    if let Ok(value) = request_id.parse() {
        headers.insert("x-amzn-requestid", value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issue_8_1_5_deep_json_is_refused() {
        let json = |levels: usize| {
            let (open, close) = ("{\"a\":".repeat(levels), "}".repeat(levels));
            format!("{open}0{close}")
        };
        assert!(decode(json(MAX_DEPTH).as_bytes()).is_ok());
        for levels in [MAX_DEPTH + 1, 127, 100_000] {
            let error = decode(json(levels).as_bytes()).unwrap_err();
            assert_eq!(
                (error.code.as_str(), error.status),
                ("SerializationException", 400)
            );
            assert_eq!(error.message, "nested deeper than 64 levels");
        }
    }

    #[test]
    fn null_members_are_omitted() {
        let mut value = serde_json::json!({"a": null, "b": [{"c": null, "d": 0}], "e": {}});
        drop_nulls(&mut value);
        assert_eq!(value, serde_json::json!({"b": [{"d": 0}], "e": {}}));
    }
}
