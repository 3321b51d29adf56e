//! The query protocol (STS, IAM, CloudFormation) and EC2's variant of it.
//!
//! A request is a form: `A.member.1.B=x` (EC2: `A.1.B=x`) becomes `{"A": [{"B": "x"}]}`. Every
//! scalar stays text ([`crate::api::lenient`] parses numbers and booleans). A response is XML:
//! arrays become `<A><member>…</member></A>` (EC2: `<a><item>…</item></a>`). So handlers of EC2
//! return XML names (`vpcSet`, `vpcId`), the others the member names of the API.

use axum::body::Body;
use http::{Response, StatusCode};
use quick_xml::escape::escape;
use serde_json::{Map, Value};

use crate::api::{ApiError, ApiResult};
use crate::cloud::service::{Protocol, Service};

pub(crate) mod form;

pub(crate) use form::decode;

/// Encodes the response of an operation.
pub(crate) fn encode(
    service: &Service,
    operation: &str,
    request_id: &str,
    result: ApiResult<Value>,
) -> Response<Body> {
    let (status, body) = match result {
        Ok(value) => (200, success(service, operation, request_id, &value)),
        Err(error) => {
            return refuse(Flavour::of(service), request_id, &error);
        }
    };
    respond(status, body, request_id)
}

/// The variant of the protocol, for errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// EC2's variant.
    Ec2,
    /// The query protocol, with the service's XML namespace (empty if unknown).
    Query(&'static str),
}

impl Flavour {
    /// The variant that a service uses.
    pub(crate) fn of(service: &Service) -> Self {
        match service.protocol {
            Protocol::Ec2Query { .. } => Self::Ec2,
            Protocol::Query { xml_namespace } => Self::Query(xml_namespace),
            _ => Self::Query(""),
        }
    }
}

/// Encodes an error.
pub(crate) fn refuse(flavour: Flavour, request_id: &str, error: &ApiError) -> Response<Body> {
    respond(
        error.status,
        failure(flavour, request_id, error),
        request_id,
    )
}

fn respond(status: u16, body: String, request_id: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    let headers = response.headers_mut();
    headers.insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("text/xml"),
    );
    if let Ok(value) = request_id.parse() {
        headers.insert("x-amzn-requestid", value);
    }
    response
}

/// Operations whose output is an empty structure. Other operations without an output have no
/// `Result` element, as in the service model (botocore).
const EMPTY_RESULTS: [&str; 6] = [
    "ContinueUpdateRollback",
    "DeleteChangeSet",
    "ExecuteChangeSet",
    "TagResource",
    "UntagResource",
    "UpdateRole",
];

/// Operations and the members of their responses that are maps: `<entry><key>…</key><value>…</value></entry>`.
const MAPS: [(&str, &str); 2] = [
    ("GetSubscriptionAttributes", "Attributes"),
    ("GetTopicAttributes", "Attributes"),
];

fn success(service: &Service, operation: &str, request_id: &str, value: &Value) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    if let Protocol::Ec2Query {
        xml_namespace: namespace,
    } = service.protocol
    {
        xml.push_str(&format!("<{operation}Response xmlns=\"{namespace}\">"));
        xml.push_str(&format!("<requestId>{request_id}</requestId>"));
        members(&mut xml, value, "item");
    } else if let Protocol::Query {
        xml_namespace: namespace,
    } = service.protocol
    {
        xml.push_str(&format!("<{operation}Response xmlns=\"{namespace}\">"));
        let empty = value.as_object().is_none_or(Map::is_empty);
        if !empty || EMPTY_RESULTS.contains(&operation) {
            xml.push_str(&format!("<{operation}Result>"));
            result(&mut xml, operation, value);
            xml.push_str(&format!("</{operation}Result>"));
        }
        xml.push_str(&format!(
            "<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>"
        ));
    }
    xml.push_str(&format!("</{operation}Response>"));
    xml
}

fn failure(flavour: Flavour, request_id: &str, error: &ApiError) -> String {
    let message = xml_text(&error.message);
    let (code, message) = (escape(&error.code), escape(&message));
    let Flavour::Query(namespace) = flavour else {
        return format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>{code}</Code>\
             <Message>{message}</Message></Error></Errors><RequestID>{request_id}</RequestID></Response>"
        );
    };
    let fault = if error.status >= 500 {
        "Receiver"
    } else {
        "Sender"
    };
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ErrorResponse xmlns=\"{namespace}\"><Error><Type>{fault}</Type>\
         <Code>{code}</Code><Message>{message}</Message></Error><RequestId>{request_id}</RequestId>\
         </ErrorResponse>"
    )
}

/// The members of a response.
fn result(xml: &mut String, operation: &str, value: &Value) {
    for (name, value) in value.as_object().into_iter().flatten() {
        if !MAPS.contains(&(operation, name)) {
            element(xml, name, value, "member");
            continue;
        }
        xml.push_str(&format!("<{name}>"));
        for (key, value) in value.as_object().into_iter().flatten() {
            xml.push_str("<entry>");
            element(xml, "key", &Value::from(key.as_str()), "member");
            element(xml, "value", value, "member");
            xml.push_str("</entry>");
        }
        xml.push_str(&format!("</{name}>"));
    }
}

fn members(xml: &mut String, value: &Value, item: &str) {
    if let Value::Object(object) = value {
        for (name, value) in object {
            element(xml, name, value, item);
        }
    }
}

fn element(xml: &mut String, name: &str, value: &Value, item: &str) {
    match value {
        Value::Null => {}
        Value::Array(values) => {
            xml.push_str(&format!("<{name}>"));
            for value in values {
                element(xml, item, value, item);
            }
            xml.push_str(&format!("</{name}>"));
        }
        Value::Object(_) => {
            xml.push_str(&format!("<{name}>"));
            members(xml, value, item);
            xml.push_str(&format!("</{name}>"));
        }
        Value::String(text) => {
            xml.push_str(&format!("<{name}>{}</{name}>", escape(xml_text(text))));
        }
        Value::Bool(_) | Value::Number(_) => xml.push_str(&format!("<{name}>{value}</{name}>")),
    }
}

/// Removes characters that XML 1.0 does not allow.
pub(super) fn xml_text(text: &str) -> String {
    text.chars().filter(|c| is_xml(*c)).collect()
}

/// True for a character that XML 1.0 allows.
fn is_xml(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn answers_are_escaped() {
        let xml = success(
            &crate::sts::SERVICE,
            "X",
            "r",
            &json!({"A": ["<&>", {"B": true}], "C": null}),
        );
        assert!(
            xml.contains("<XResult><A><member>&lt;&amp;&gt;</member><member><B>true</B></member></A></XResult>"),
            "{xml}"
        );
        let map = json!({"Attributes": {"a": "<"}});
        let xml = success(&crate::sts::SERVICE, "GetTopicAttributes", "r", &map);
        let entry = "<Attributes><entry><key>a</key><value>&lt;</value></entry></Attributes>";
        assert!(xml.contains(entry), "{xml}");
    }
}
