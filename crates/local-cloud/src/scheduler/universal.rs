//! Universal targets: any operation of the local cloud that is not read-only.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mlops_pipeline::shapes::{Shape, Table};
use serde_json::{Map, Value};

use super::request::Request;
use crate::api::{ApiError, ApiResult};
use crate::cloud::service::Service;
use crate::{Cloud, limits};

/// The beginnings of operations that only read (user guide, "Using universal targets").
const READ_ONLY: [&str; 23] = [
    "get",
    "describe",
    "list",
    "poll",
    "receive",
    "search",
    "scan",
    "query",
    "select",
    "read",
    "lookup",
    "discover",
    "validate",
    "batchGet",
    "batchDescribe",
    "batchRead",
    "transactGet",
    "adminGet",
    "adminList",
    "retrieve",
    "testConnection",
    "isAuthorized",
    "invokeModel",
];

/// The call of `SERVICE:operation` with a JSON text as its input.
pub(super) fn request(cloud: &Cloud, action: &str, text: &str) -> ApiResult<Request> {
    let wrong = |reason: &str| {
        ApiError::validation(format!(
            "Provided Arn arn:aws:scheduler:::aws-sdk:{action} is not supported: {reason}."
        ))
    };
    let (service, operation) = action
        .split_once(':')
        .ok_or_else(|| wrong("it must be arn:aws:scheduler:::aws-sdk:SERVICE:operation"))?;
    let is_camel = operation.starts_with(|first: char| first.is_ascii_lowercase());
    if !is_camel {
        return Err(wrong(
            "the name of the operation begins with a lower-case letter",
        ));
    }
    if READ_ONLY.iter().any(|prefix| operation.starts_with(prefix)) {
        return Err(wrong("the operation only reads"));
    }
    let mut services = cloud.services().iter();
    let found = services.find(|known| identifier(known.sdk_id) == service);
    let found = found.ok_or_else(|| {
        ApiError::not_implemented(format_args!("the service {service} of universal targets"))
    })?;
    let mut operations = found.operations.iter().copied().flatten();
    let known = operations.find(|known| lower_first(known.name) == operation);
    let known = known
        .ok_or_else(|| ApiError::not_implemented(format_args!("{}:{operation}", found.name)))?;
    limits::check_json(text.as_bytes(), limits::MAX_DEPTH).map_err(|reason| wrong(&reason))?;
    let input: Value =
        serde_json::from_str(text).map_err(|_| wrong("the Input is not valid JSON"))?;
    if !input.is_object() {
        return Err(wrong("the Input is not an object"));
    }
    Ok(Request {
        service: found.name,
        operation: known.name.to_owned(),
        input: in_words_of(found, known.name, input),
    })
}

/// The service identifier of AWS's SDK for Java, which is that of universal targets: the service id without spaces.
fn identifier(sdk_id: &str) -> String {
    sdk_id.replace(' ', "").to_ascii_lowercase()
}

fn lower_first(name: &str) -> String {
    let mut letters = name.chars();
    let first = letters.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(letters).collect()
}

/// The input with the member names of the service, some of which begin with a lower-case letter, with bytes in base64,
/// and as texts for a service with forms.
fn in_words_of(service: &Service, operation: &str, input: Value) -> Value {
    let table = Table::of(service.name);
    let named = match table.and_then(|table| Some((table, table.input(operation)?))) {
        Some((table, shape)) => renamed(table, shape, input),
        None => input,
    };
    if service.is_form() {
        as_text(named)
    } else {
        named
    }
}

fn renamed(table: &'static Table, shape: &str, value: Value) -> Value {
    match (table.shape(shape), value) {
        (Some(Shape::Structure(members)), Value::Object(object)) => {
            let renamed = object.into_iter().map(|(name, value)| {
                let exact = members.iter().find(|member| member.name == name);
                let folded = || {
                    let wanted = lower_first(&name);
                    members
                        .iter()
                        .find(|member| lower_first(member.name) == wanted)
                };
                match exact.or_else(folded) {
                    Some(member) => (member.name.to_owned(), renamed(table, member.shape, value)),
                    // The service reports an unknown member.
                    None => (name, value),
                }
            });
            Value::Object(renamed.collect::<Map<_, _>>())
        }
        (Some(Shape::List { item, .. }), Value::Array(items)) => items
            .into_iter()
            .map(|value| renamed(table, item, value))
            .collect(),
        (Some(Shape::Map { value: shape, .. }), Value::Object(object)) => object
            .into_iter()
            .map(|(name, value)| (name, renamed(table, shape, value)))
            .collect(),
        // The input has the text itself (user guide, "Using universal targets": the payload of a function).
        (Some(Shape::Bytes), Value::String(text)) => STANDARD.encode(text).into(),
        (_, value) => value,
    }
}

/// Scalars as the texts of a form.
fn as_text(value: Value) -> Value {
    match value {
        Value::Object(members) => members
            .into_iter()
            .map(|(name, value)| (name, as_text(value)))
            .collect(),
        Value::Array(items) => items.into_iter().map(as_text).collect(),
        Value::Number(number) => number.to_string().into(),
        Value::Bool(value) => value.to_string().into(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::test_cloud::TestCloud;

    #[test]
    fn every_operation_that_writes_is_reachable_and_the_others_are_refused() {
        let test = TestCloud::new();
        let cloud = test.cloud();
        let (mut reachable, mut refused) = (0, 0);
        for service in cloud.services().iter() {
            for operation in service.operations.iter().copied().flatten() {
                let name = lower_first(operation.name);
                let action = format!("{}:{name}", identifier(service.sdk_id));
                let found = request(&cloud, &action, "{}");
                if READ_ONLY.iter().any(|prefix| name.starts_with(prefix)) {
                    assert_eq!(found.unwrap_err().code, "ValidationException", "{action}");
                    refused += 1;
                } else {
                    let found = found.unwrap();
                    assert_eq!(found.service, service.name, "{action}");
                    assert_eq!(found.operation, operation.name);
                    reachable += 1;
                }
            }
        }
        assert!(reachable > 150 && refused > 100, "{reachable} {refused}");
    }

    #[test]
    fn members_have_the_names_of_their_service() {
        let test = TestCloud::new();
        let cloud = test.cloud();
        let input =
            |action: &str, input: Value| request(&cloud, action, &input.to_string()).unwrap().input;
        let given = json!({"LogGroupName": "g", "Tags": {"Team": "ml"}});
        let expected = json!({"logGroupName": "g", "tags": {"Team": "ml"}});
        assert_eq!(input("cloudwatchlogs:createLogGroup", given), expected);
        let given = json!({"QueueName": "q", "Attributes": {"DelaySeconds": "1"}});
        assert_eq!(input("sqs:createQueue", given.clone()), given);
        let given = json!({"TopicArn": "t", "ReturnSubscriptionArn": true, "Protocol": "sqs"});
        assert_eq!(
            input("sns:subscribe", given)["ReturnSubscriptionArn"],
            "true"
        );
        let given = json!({"FunctionName": "f", "InvocationType": "Event", "Payload": "{\"k\":1}"});
        assert_eq!(
            input("lambda:invoke", given)["Payload"],
            STANDARD.encode("{\"k\":1}")
        );
        for (action, text, expected) in [
            ("sqs:SendMessage", "{}", "ValidationException"),
            ("sqs:getQueueUrl", "{}", "ValidationException"),
            ("sqs", "{}", "ValidationException"),
            ("sqs:sendMessage", "x", "ValidationException"),
            ("sqs:sendMessage", "[]", "ValidationException"),
            ("sqs:addPermission", "{}", "NotImplemented"),
            ("dynamodb:putItem", "{}", "NotImplemented"),
        ] {
            let error = request(&cloud, action, text).unwrap_err();
            assert_eq!(error.code, expected, "{action} {text}");
        }
    }
}
