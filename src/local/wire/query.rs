//! The query protocol (STS, IAM, CloudFormation) and EC2's variant of it.
//!
//! A request is a form: `A.member.1.B=x` (EC2: `A.1.B=x`) becomes `{"A": [{"B": "x"}]}`. Every
//! scalar stays text ([`crate::local::api::lenient`] reads numbers and booleans). A response is
//! XML: arrays become `<A><member>…</member></A>` (EC2: `<a><item>…</item></a>`), so EC2 handlers
//! answer with the XML names (`vpcSet`, `vpcId`), the others with the API's member names.

use std::collections::BTreeMap;

use axum::body::Body;
use http::{Response, StatusCode};
use quick_xml::escape::escape;
use serde_json::{Map, Value};

use crate::local::api::{ApiError, ApiResult};
use crate::local::cloud::Service;

/// The operation and input of a form.
pub(crate) fn decode(body: &[u8]) -> ApiResult<(String, Value)> {
    let mut root = Node::default();
    let mut action = None;
    for (name, value) in url::form_urlencoded::parse(body) {
        match name.as_ref() {
            "Action" => action = Some(value.into_owned()),
            "Version" => {}
            path => root.insert(path, value.into_owned()),
        }
    }
    let action = action.ok_or_else(|| ApiError::new("MissingAction", "the form has no Action"))?;
    let input = match root.into_value() {
        Value::Object(input) => Value::Object(input),
        _ => Value::Object(Map::new()),
    };
    Ok((action, input))
}

#[derive(Debug, Default)]
struct Node {
    text: Option<String>,
    children: BTreeMap<String, Node>,
}

impl Node {
    fn insert(&mut self, path: &str, value: String) {
        let mut node = self;
        for part in path.split('.') {
            node = node.children.entry(part.to_owned()).or_default();
        }
        node.text = Some(value);
    }

    fn into_value(mut self) -> Value {
        if self.children.is_empty() {
            return self
                .text
                .map_or_else(|| Value::Object(Map::new()), Value::String);
        }
        if self.children.len() == 1
            && let Some(member) = self.children.remove("member")
        {
            // An empty list is sent as `A=`; a list as `A.member.N`.
            return member.into_value();
        }
        if self.children.keys().all(|key| key.parse::<u32>().is_ok()) {
            let mut items: Vec<(u32, Node)> = self
                .children
                .into_iter()
                .filter_map(|(key, node)| Some((key.parse().ok()?, node)))
                .collect();
            items.sort_by_key(|(index, _)| *index);
            return Value::Array(
                items
                    .into_iter()
                    .map(|(_, node)| node.into_value())
                    .collect(),
            );
        }
        Value::Object(
            self.children
                .into_iter()
                .map(|(key, node)| (key, node.into_value()))
                .collect(),
        )
    }
}

/// Writes an operation's answer.
pub(crate) fn encode(
    service: Service,
    operation: &str,
    request_id: &str,
    result: ApiResult<Value>,
) -> Response<Body> {
    let (status, body) = match result {
        Ok(value) => (200, success(service, operation, request_id, &value)),
        Err(error) => (error.status, failure(service, request_id, &error)),
    };
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

/// Operations whose output is a structure without members. What else answers nothing has no output
/// in the service's model, and so no `Result` element (botocore's service models).
const EMPTY_RESULTS: [&str; 4] = [
    "ContinueUpdateRollback",
    "DeleteChangeSet",
    "ExecuteChangeSet",
    "UpdateRole",
];

fn success(service: Service, operation: &str, request_id: &str, value: &Value) -> String {
    let namespace = service.xml_namespace();
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    if service == Service::Ec2 {
        xml.push_str(&format!("<{operation}Response xmlns=\"{namespace}\">"));
        xml.push_str(&format!("<requestId>{request_id}</requestId>"));
        members(&mut xml, value, "item");
    } else {
        xml.push_str(&format!("<{operation}Response xmlns=\"{namespace}\">"));
        let empty = value.as_object().is_none_or(Map::is_empty);
        if !empty || EMPTY_RESULTS.contains(&operation) {
            xml.push_str(&format!("<{operation}Result>"));
            members(&mut xml, value, "member");
            xml.push_str(&format!("</{operation}Result>"));
        }
        xml.push_str(&format!(
            "<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>"
        ));
    }
    xml.push_str(&format!("</{operation}Response>"));
    xml
}

fn failure(service: Service, request_id: &str, error: &ApiError) -> String {
    let (code, message) = (escape(&error.code), escape(&error.message));
    if service == Service::Ec2 {
        return format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>{code}</Code>\
             <Message>{message}</Message></Error></Errors><RequestID>{request_id}</RequestID></Response>"
        );
    }
    let fault = if error.status >= 500 {
        "Receiver"
    } else {
        "Sender"
    };
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ErrorResponse xmlns=\"{}\"><Error><Type>{fault}</Type>\
         <Code>{code}</Code><Message>{message}</Message></Error><RequestId>{request_id}</RequestId>\
         </ErrorResponse>",
        service.xml_namespace()
    )
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
            let text: String = text.chars().filter(|c| is_xml(*c)).collect();
            xml.push_str(&format!("<{name}>{}</{name}>", escape(&text)));
        }
        Value::Bool(_) | Value::Number(_) => xml.push_str(&format!("<{name}>{value}</{name}>")),
    }
}

/// The characters that XML 1.0 allows.
fn is_xml(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn forms_become_trees() {
        let (action, input) = decode(
            b"Action=CreateStack&Version=2010-05-15&StackName=s&Capabilities.member.1=CAPABILITY_IAM\
              &Parameters.member.2.ParameterKey=b&Parameters.member.1.ParameterKey=a&Tags.member=",
        )
        .unwrap();
        assert_eq!(action, "CreateStack");
        assert_eq!(
            input,
            json!({
                "StackName": "s",
                "Capabilities": ["CAPABILITY_IAM"],
                "Parameters": [{"ParameterKey": "a"}, {"ParameterKey": "b"}],
                "Tags": "",
            })
        );
        let (_, input) = decode(b"Action=X&Filter.1.Name=n&Filter.1.Value.1=v").unwrap();
        assert_eq!(input, json!({"Filter": [{"Name": "n", "Value": ["v"]}]}));
    }

    #[test]
    fn answers_are_escaped() {
        let xml = success(
            Service::Sts,
            "X",
            "r",
            &json!({"A": ["<&>", {"B": true}], "C": null}),
        );
        assert!(
            xml.contains("<XResult><A><member>&lt;&amp;&gt;</member><member><B>true</B></member></A></XResult>"),
            "{xml}"
        );
    }
}
