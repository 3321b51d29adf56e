//! Lambda's protocol: REST-JSON. The members of a request are in its path, query, headers and body;
//! those of `Invoke`'s response are in headers, and its payload is the body.

use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use serde_json::{Map, Value, json};

use super::invoke::MAX_PAYLOAD;
use crate::api::{ApiError, ApiResult};
use crate::cloud::service::{BodyLimit, Rest};
use crate::wire::json::drop_nulls;
use crate::wire::rest;
use crate::{Cloud, recorded};

/// Maximum size of a request with a zip: 50 MB in base64 (Lambda's own number).
const MAX_REQUEST: usize = 70_167_211;

/// The protocol.
pub(super) const REST: Rest = Rest {
    limit,
    handle: |cloud, parts, body| Box::pin(async move { handle(cloud, parts, &body).await }),
    refuse,
};

fn unknown(parts: &Parts) -> ApiError {
    ApiError::not_implemented(format_args!("lambda {} {}", parts.method, parts.uri.path()))
}

fn limit(parts: &Parts) -> ApiResult<BodyLimit> {
    let (operation, _) = route(parts).ok_or_else(|| unknown(parts))?;
    let bytes = match operation {
        // The operation itself reports the limit, with the payload's size.
        "Invoke" => 2 * MAX_PAYLOAD,
        _ => MAX_REQUEST,
    };
    let error = format!("Request must be smaller than {bytes} bytes for the {operation} operation");
    Ok(BodyLimit {
        bytes,
        error: ApiError::new("RequestEntityTooLargeException", error).status(413),
    })
}

/// Runs the operation of one request.
async fn handle(cloud: &Cloud, parts: &Parts, body: &[u8]) -> Response<Body> {
    let Some((operation, mut input)) = route(parts) else {
        return refuse(&unknown(parts));
    };
    let result = async {
        if operation == "Invoke" {
            for (member, header) in [
                ("InvocationType", "x-amz-invocation-type"),
                ("LogType", "x-amz-log-type"),
                ("ClientContext", "x-amz-client-context"),
            ] {
                if let Some(value) = parts.headers.get(header).and_then(|v| v.to_str().ok()) {
                    input.insert(member.to_owned(), json!(value));
                }
            }
            input.insert("Payload".to_owned(), json!(STANDARD.encode(body)));
        } else {
            rest::add_body(&mut input, body, |message| {
                ApiError::new(
                    "InvalidRequestContentException",
                    format!("Could not parse request body into json: {message}"),
                )
            })?;
        }
        recorded::record_call(cloud, &super::SERVICE, operation);
        cloud
            .request(&super::SERVICE, operation, Value::Object(input))
            .await
    }
    .await;
    match result {
        Ok(answer) => succeed(operation, answer),
        Err(error) => refuse(&error),
    }
}

/// The operation, and the members in path and query.
fn route(parts: &Parts) -> Option<(&'static str, Map<String, Value>)> {
    let segments = rest::segments(parts)?;
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let mut input = Map::new();
    let (operation, label) = match (parts.method.as_str(), &segments[..]) {
        ("POST", ["2015-03-31", "functions"]) => ("CreateFunction", None),
        ("GET", ["2015-03-31", "functions"]) => ("ListFunctions", None),
        ("GET", ["2015-03-31", "functions", name]) => ("GetFunction", Some(*name)),
        ("DELETE", ["2015-03-31", "functions", name]) => ("DeleteFunction", Some(*name)),
        ("GET", ["2015-03-31", "functions", name, "configuration"]) => {
            ("GetFunctionConfiguration", Some(*name))
        }
        ("PUT", ["2015-03-31", "functions", name, "configuration"]) => {
            ("UpdateFunctionConfiguration", Some(*name))
        }
        ("PUT", ["2015-03-31", "functions", name, "code"]) => ("UpdateFunctionCode", Some(*name)),
        ("POST", ["2015-03-31", "functions", name, "invocations"]) => ("Invoke", Some(*name)),
        ("POST", ["2015-03-31", "functions", name, "policy"]) => ("AddPermission", Some(*name)),
        ("GET", ["2015-03-31", "functions", name, "policy"]) => ("GetPolicy", Some(*name)),
        ("DELETE", ["2015-03-31", "functions", name, "policy", statement]) => {
            input.insert("StatementId".to_owned(), json!(statement));
            ("RemovePermission", Some(*name))
        }
        ("GET", ["2017-03-31", "tags", resource]) => ("ListTags", Some(*resource)),
        ("POST", ["2017-03-31", "tags", resource]) => ("TagResource", Some(*resource)),
        ("DELETE", ["2017-03-31", "tags", resource]) => ("UntagResource", Some(*resource)),
        _ => return None,
    };
    if let Some(label) = label {
        let member = if segments.get(1) == Some(&"tags") {
            "Resource"
        } else {
            "FunctionName"
        };
        input.insert(member.to_owned(), json!(label));
    }
    rest::add_query(&mut input, parts, |name| match name {
        "tagKeys" => "TagKeys",
        name => name,
    });
    Some((operation, input))
}

fn succeed(operation: &str, mut answer: Value) -> Response<Body> {
    if operation == "Invoke" {
        return invoked(&answer).unwrap_or_else(|error| refuse(&error));
    }
    let status = match operation {
        "AddPermission" | "CreateFunction" => StatusCode::CREATED,
        "DeleteFunction" | "RemovePermission" | "TagResource" | "UntagResource" => {
            StatusCode::NO_CONTENT
        }
        _ => StatusCode::OK,
    };
    drop_nulls(&mut answer);
    let body = if status == StatusCode::NO_CONTENT {
        Body::empty()
    } else {
        Body::from(answer.to_string())
    };
    respond(status, body, None)
}

fn invoked(answer: &Value) -> ApiResult<Response<Body>> {
    let text = |member: &str| answer[member].as_str();
    let payload = STANDARD
        .decode(text("Payload").unwrap_or_default())
        .map_err(ApiError::internal)?;
    let status = answer["StatusCode"]
        .as_u64()
        .and_then(|status| u16::try_from(status).ok())
        .and_then(|status| StatusCode::from_u16(status).ok())
        .unwrap_or(StatusCode::OK);
    let mut response = respond(status, Body::from(payload), text("RequestId"));
    for (header, member) in [
        ("x-amz-function-error", "FunctionError"),
        ("x-amz-log-result", "LogResult"),
        ("x-amz-executed-version", "ExecutedVersion"),
    ] {
        if let Some(value) = text(member).and_then(|value| HeaderValue::from_str(value).ok()) {
            response
                .headers_mut()
                .insert(HeaderName::from_static(header), value);
        }
    }
    Ok(response)
}

/// An error: the code in a header, the message in the body under the name in the error's shape.
fn refuse(error: &ApiError) -> Response<Body> {
    let member = match error.code.as_str() {
        "ResourceNotFoundException" | "ServiceException" => "Message",
        _ => "message",
    };
    let kind = if error.status < 500 {
        "User"
    } else {
        "Service"
    };
    let body = json!({"Type": kind, member: error.message});
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_REQUEST);
    let mut response = respond(status, Body::from(body.to_string()), None);
    if let Ok(code) = HeaderValue::from_str(&error.code) {
        response.headers_mut().insert("x-amzn-errortype", code);
    }
    response
}

fn respond(status: StatusCode, body: Body, request_id: Option<&str>) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let id = request_id.map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned);
    let headers = response.headers_mut();
    headers.insert(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert("x-amzn-requestid", id);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Method, Request};

    fn parts(method: Method, path: &str) -> Parts {
        let request = Request::builder().method(method).uri(path).body(());
        request.unwrap().into_parts().0
    }

    #[test]
    fn operations_are_determined_by_method_and_path() {
        let found = |method, path: &str| route(&parts(method, path)).map(|(name, _)| name);
        let functions = "/2015-03-31/functions";
        assert_eq!(
            found(Method::POST, "/2015-03-31/functions/"),
            Some("CreateFunction")
        );
        assert_eq!(found(Method::GET, functions), Some("ListFunctions"));
        assert_eq!(
            found(Method::GET, &format!("{functions}/f")),
            Some("GetFunction")
        );
        assert_eq!(
            found(Method::POST, &format!("{functions}/f/invocations")),
            Some("Invoke")
        );
        for (method, rest) in [
            (Method::PATCH, "/f"),
            (Method::POST, "/f/versions"),
            (Method::POST, "/a/b/invocations"),
        ] {
            assert_eq!(found(method, &format!("{functions}{rest}")), None, "{rest}");
        }
    }

    #[test]
    fn names_and_tag_keys_are_read_from_path_and_query() {
        let path = "/2017-03-31/tags/arn%3Aaws%3Alambda%3Aus-east-1%3A0%3Afunction%3Af?tagKeys=a&tagKeys=b%20c";
        let (operation, input) = route(&parts(Method::DELETE, path)).unwrap();
        assert_eq!(operation, "UntagResource");
        assert_eq!(input["Resource"], "arn:aws:lambda:us-east-1:0:function:f");
        assert_eq!(input["TagKeys"], json!(["a", "b c"]));
    }
}
