//! awsJson 1.0 and 1.1: the operation in `X-Amz-Target`, one JSON document each way.

use axum::body::Body;
use http::{HeaderMap, Response, StatusCode};
use serde_json::{Map, Value};

use crate::local::api::{ApiError, ApiResult};

/// Reads a request body; an empty one is an empty object.
pub(crate) fn decode(body: &[u8]) -> ApiResult<Value> {
    if body.is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    serde_json::from_slice(body)
        .map_err(|error| ApiError::new("SerializationException", error.to_string()))
}

/// AWS leaves out a member that has no value; it never answers `null`.
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

/// Writes an operation's answer. Members that are null are left out.
pub(crate) fn encode(
    request: &HeaderMap,
    request_id: &str,
    result: ApiResult<Value>,
) -> Response<Body> {
    let content_type = request
        .get(http::header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .filter(|value| value.starts_with("application/x-amz-json-"))
        .unwrap_or("application/x-amz-json-1.1");
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
    if let Ok(value) = content_type.parse() {
        headers.insert(http::header::CONTENT_TYPE, value);
    }
    if let Ok(value) = request_id.parse() {
        headers.insert("x-amzn-requestid", value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_members_are_left_out() {
        let mut value = serde_json::json!({"a": null, "b": [{"c": null, "d": 0}], "e": {}});
        drop_nulls(&mut value);
        assert_eq!(value, serde_json::json!({"b": [{"d": 0}], "e": {}}));
    }
}
