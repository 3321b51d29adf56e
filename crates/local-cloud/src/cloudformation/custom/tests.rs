use axum::body::Body;
use serde_json::json;

use super::*;
use crate::cloudformation::engine::Engine;
use crate::cloudformation::stacks::{self, Resource};
use crate::test_cloud::TestCloud;

fn object(mut value: Value) -> Map<String, Value> {
    std::mem::take(value.as_object_mut().unwrap())
}

#[test]
fn functions_receive_text_and_topics_are_refused() {
    let properties = object(json!({"A": 1, "B": [true, {"C": 1.5}], "D": "x"}));
    let text = as_text(&properties);
    assert_eq!(
        Value::Object(text),
        json!({"A": "1", "B": ["true", {"C": "1.5"}], "D": "x"})
    );
    let lambda = "arn:aws:lambda:us-east-1:000000000000:function:f";
    let of = |token: &str| function_of(&object(json!({"ServiceToken": token}))).map(str::to_owned);
    assert_eq!(of(lambda), Ok(lambda.to_owned()));
    let error = of("arn:aws:sns:us-east-1:000000000000:t").unwrap_err();
    assert_eq!(error.code, "NotImplemented");
    assert!(error.message.contains("SNS topics"), "{error}");
    assert_eq!(of("f").unwrap_err().message, "Invalid service token.");
}

#[test]
fn timeouts_and_type_names_have_limits() {
    let of = |properties: Value| timeout_of(&object(properties));
    assert_eq!(of(json!({})), Ok(3600));
    assert_eq!(of(json!({"ServiceTimeout": "5"})), Ok(5));
    for wrong in ["0", "3601", "x"] {
        assert!(of(json!({"ServiceTimeout": wrong})).is_err(), "{wrong}");
    }
    for name in ["Custom::A", "Custom::a_b-c@2", TYPE] {
        assert!(is_name(name), "{name}");
    }
    let long = format!("Custom::{}", "x".repeat(53));
    for name in ["Custom::", "Custom::a::b", "Custom", &long] {
        assert!(!is_name(name), "{name}");
    }
}

#[tokio::test]
async fn an_invalid_timeout_invokes_nothing_and_prevents_no_deletion() {
    let test = TestCloud::new();
    let cloud = test.cloud();
    let properties = object(json!({
        "ServiceToken": cloud.arn("lambda", "function:absent"), "ServiceTimeout": "99999",
    }));
    for (action, part) in [
        (Action::Create, "ServiceTimeout must be"),
        (Action::Update, "ServiceTimeout must be"),
        // The request was sent to the function.
        (Action::Delete, "cannot be invoked"),
    ] {
        let request = Request {
            action,
            stack: "arn:s",
            logical: "Thing",
            kind: "Custom::Thing",
            physical: "p",
            properties: &properties,
            old: None,
        };
        let failure = send(&cloud, &request).await.unwrap_err();
        assert!(
            matches!(&failure, RequestFailure::NotInvoked(error) if error.message.contains(part)),
            "{failure:?}"
        );
    }
}

#[test]
fn each_lost_resource_is_left_once() {
    let test = TestCloud::new();
    let cloud = test.cloud();
    let stack = stacks::new(&cloud, "s");
    stacks::stacks(&cloud).insert(stack.key(), &stack).unwrap();
    let resource = Resource {
        logical: "Thing".to_owned(),
        physical: Some("old".to_owned()),
        ..Resource::default()
    };
    let response = json!({"Status": "SUCCESS", "PhysicalResourceId": "new"});
    let pending = Pending {
        id: "r1".to_owned(),
        action: Action::Update,
        physical: "old".to_owned(),
        response: Some(Response::Text(response.to_string())),
    };
    let key = key_of(&stack.id, "Thing");
    requests(&cloud).put(&key, &pending).unwrap();
    let engine = Engine::new(&cloud, stack.key());
    for _ in 0..2 {
        engine.leave_lost_custom(&resource).unwrap();
    }
    let left = stacks::get(&cloud, "s").unwrap().pending_deletion;
    let left: Vec<_> = left.iter().map(|left| left.physical.as_deref()).collect();
    assert_eq!(left, [Some("new")]);
}

const KEY: &str = "s/1/Thing";

/// A cloud with a request that waits for its response.
fn waiting(test: &TestCloud) -> Cloud {
    let cloud = test.cloud();
    let pending = Pending {
        id: "r1".to_owned(),
        action: Action::Create,
        physical: "p".to_owned(),
        response: None,
    };
    requests(&cloud).put(KEY, &pending).unwrap();
    cloud
}

async fn put(cloud: &Cloud, method: &str, url: &str, body: impl Into<Body>) -> u16 {
    let path = url.strip_prefix(cloud.endpoint()).unwrap_or(url);
    let request = http::Request::builder().method(method).uri(path);
    let request = request.body(body.into()).unwrap();
    (ROUTE.handle)(cloud, request).await.status().as_u16()
}

#[tokio::test]
async fn a_response_is_taken_once_from_the_url_of_its_request() {
    let test = TestCloud::new();
    let cloud = waiting(&test);
    let url = |id: &str, lifetime| signed_urls::sign(&cloud, &response::path(KEY, id), lifetime);
    assert_eq!(put(&cloud, "GET", &url("r1", 60), "{}").await, 405);
    assert_eq!(put(&cloud, "PUT", &url("r1", -1), "{}").await, 403);
    assert_eq!(put(&cloud, "PUT", &url("r0", 60), "{}").await, 403);
    assert_eq!(
        put(&cloud, "PUT", &response::path(KEY, "r1"), "{}").await,
        403
    );

    let arrived = response::arrived(&cloud, KEY, "r1");
    let own = url("r1", 60);
    let (arrived, status) = tokio::join!(arrived, put(&cloud, "PUT", &own, "{\"a\": 1}"));
    assert_eq!(status, 200);
    assert_eq!(arrived, Ok(Response::Text("{\"a\": 1}".to_owned())));
    assert_eq!(put(&cloud, "PUT", &own, "{}").await, 403);
}

#[tokio::test]
async fn a_response_that_is_too_long_fails_the_request() {
    let test = TestCloud::new();
    let cloud = waiting(&test);
    let url = signed_urls::sign(&cloud, &response::path(KEY, "r1"), 60);
    assert_eq!(put(&cloud, "PUT", &url, "x".repeat(4097)).await, 400);
    let arrived = response::arrived(&cloud, KEY, "r1").await;
    assert_eq!(arrived, Ok(Response::TooLong));
}

#[test]
fn responses_succeed_or_say_why_not() {
    let none = Map::new();
    let request = Request {
        action: Action::Create,
        stack: "arn:s",
        logical: "Thing",
        kind: "Custom::Thing",
        physical: "p",
        properties: &none,
        old: None,
    };
    let response = |change: Value| {
        let mut answer = object(json!({
            "Status": "SUCCESS", "PhysicalResourceId": "id", "StackId": "arn:s", "RequestId": "r1",
            "LogicalResourceId": "Thing", "Data": {"A": "b"},
        }));
        answer.extend(object(change));
        Response::Text(Value::Object(answer).to_string()).success(&request, "r1")
    };
    let success = response(json!({"NoEcho": true})).unwrap();
    assert_eq!(success.physical, "id");
    assert_eq!(Value::Object(success.data), json!({"A": "b"}));
    assert!(response(json!({"Data": null})).unwrap().data.is_empty());
    for (change, message) in [
        (
            json!({"Status": "FAILED", "Reason": "no luck"}),
            "Received response status [FAILED] from custom resource. Message returned: no luck (RequestId: r1)",
        ),
        (json!({"Status": "DONE"}), "Invalid Status"),
        (
            json!({"Status": null}),
            "Vendor response doesn't contain Status attribute",
        ),
        (json!({"RequestId": "r2"}), "Invalid RequestId"),
        (
            json!({"PhysicalResourceId": ""}),
            "Invalid PhysicalResourceId",
        ),
        (
            json!({"Data": "text"}),
            "Invalid Data: it must be a map of names and values",
        ),
    ] {
        assert_eq!(response(change).unwrap_err().message, message);
    }
    let other = |response: Response| response.success(&request, "r1").unwrap_err().message;
    assert_eq!(other(Response::TooLong), "Response object is too long.");
    assert!(other(Response::Text("x".to_owned())).contains("no JSON object"));
}
