//! The protocol of Scheduler: REST-JSON. The members of a request are in its path, query and body.

use axum::body::Body;
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Map, Value, json};

use crate::api::{ApiError, ApiResult};
use crate::cloud::service::{BodyLimit, Rest};
use crate::wire::json::drop_nulls;
use crate::wire::rest;
use crate::{Cloud, recorded};

/// Maximum size of a request, in bytes: an input of 256 KB in JSON, with every character escaped.
const MAX_REQUEST: usize = 2 << 20;

/// The protocol.
pub(super) const REST: Rest = Rest {
    limit,
    handle: |cloud, parts, body| Box::pin(async move { handle(cloud, parts, &body).await }),
    refuse,
};

fn unknown(parts: &Parts) -> ApiError {
    ApiError::not_implemented(format_args!(
        "scheduler {} {}",
        parts.method,
        parts.uri.path()
    ))
}

fn limit(parts: &Parts) -> ApiResult<BodyLimit> {
    route(parts).ok_or_else(|| unknown(parts))?;
    let message = format!("Request must be smaller than {MAX_REQUEST} bytes");
    Ok(BodyLimit {
        bytes: MAX_REQUEST,
        error: ApiError::validation(message).status(413),
    })
}

/// Runs the operation of one request.
async fn handle(cloud: &Cloud, parts: &Parts, body: &[u8]) -> Response<Body> {
    let Some((operation, mut input)) = route(parts) else {
        return refuse(&unknown(parts));
    };
    let result = async {
        let wrong = |message| ApiError::new("SerializationException", message);
        rest::add_body(&mut input, body, wrong)?;
        recorded::record_call(cloud, &super::SERVICE, operation);
        let input = Value::Object(input);
        cloud.request(&super::SERVICE, operation, input).await
    };
    match result.await {
        Ok(mut answer) => {
            drop_nulls(&mut answer);
            respond(StatusCode::OK, answer.to_string())
        }
        Err(error) => refuse(&error),
    }
}

/// The operation, and the members in path and query.
fn route(parts: &Parts) -> Option<(&'static str, Map<String, Value>)> {
    let segments = rest::segments(parts)?;
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let (operation, label) = match (parts.method.as_str(), &segments[..]) {
        ("GET", ["schedules"]) => ("ListSchedules", None),
        ("POST", ["schedules", name]) => ("CreateSchedule", Some(("Name", *name))),
        ("PUT", ["schedules", name]) => ("UpdateSchedule", Some(("Name", *name))),
        ("GET", ["schedules", name]) => ("GetSchedule", Some(("Name", *name))),
        ("DELETE", ["schedules", name]) => ("DeleteSchedule", Some(("Name", *name))),
        ("GET", ["schedule-groups"]) => ("ListScheduleGroups", None),
        ("POST", ["schedule-groups", name]) => ("CreateScheduleGroup", Some(("Name", *name))),
        ("GET", ["schedule-groups", name]) => ("GetScheduleGroup", Some(("Name", *name))),
        ("DELETE", ["schedule-groups", name]) => ("DeleteScheduleGroup", Some(("Name", *name))),
        ("GET", ["tags", arn]) => ("ListTagsForResource", Some(("ResourceArn", *arn))),
        ("POST", ["tags", arn]) => ("TagResource", Some(("ResourceArn", *arn))),
        ("DELETE", ["tags", arn]) => ("UntagResource", Some(("ResourceArn", *arn))),
        _ => return None,
    };
    let mut input = Map::new();
    if let Some((member, value)) = label {
        input.insert(member.to_owned(), value.into());
    }
    rest::add_query(&mut input, parts, |name| match name {
        "ScheduleGroup" | "groupName" => "GroupName",
        "clientToken" => "ClientToken",
        name => name,
    });
    Some((operation, input))
}

/// An error: the code in a header, the message in the body.
fn refuse(error: &ApiError) -> Response<Body> {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_REQUEST);
    let mut response = respond(status, json!({"Message": error.message}).to_string());
    if let Ok(code) = HeaderValue::from_str(&error.code) {
        response.headers_mut().insert("x-amzn-errortype", code);
    }
    response
}

fn respond(status: StatusCode, body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    if let Ok(id) = HeaderValue::from_str(&uuid::Uuid::new_v4().to_string()) {
        headers.insert("x-amzn-requestid", id);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Method, Request};

    #[test]
    fn operations_and_members_are_read_from_path_and_query() {
        let found = |method: Method, path: &str| {
            let request = Request::builder().method(method).uri(path).body(());
            route(&request.unwrap().into_parts().0)
        };
        let (operation, input) =
            found(Method::DELETE, "/schedules/a?groupName=g&clientToken=t").unwrap();
        assert_eq!(operation, "DeleteSchedule");
        let expected = json!({"Name": "a", "GroupName": "g", "ClientToken": "t"});
        assert_eq!(Value::Object(input), expected);
        let (operation, input) =
            found(Method::GET, "/schedules?ScheduleGroup=g&MaxResults=5").unwrap();
        assert_eq!(operation, "ListSchedules");
        assert_eq!(
            Value::Object(input),
            json!({"GroupName": "g", "MaxResults": "5"})
        );
        let path =
            "/tags/arn%3Aaws%3Ascheduler%3Aus-east-1%3A0%3Aschedule-group%2Fg?TagKeys=a&TagKeys=b";
        let (operation, input) = found(Method::DELETE, path).unwrap();
        assert_eq!(operation, "UntagResource");
        assert_eq!(
            input["ResourceArn"],
            "arn:aws:scheduler:us-east-1:0:schedule-group/g"
        );
        assert_eq!(input["TagKeys"], json!(["a", "b"]));
        // The name in the path counts.
        let (_, input) = found(Method::POST, "/schedules/a?Name=b").unwrap();
        assert_eq!(input["Name"], "a");
        assert!(found(Method::PATCH, "/schedules/a").is_none());
    }
}
