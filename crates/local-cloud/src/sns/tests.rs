//! Topics and their deliveries, on the clock that tests advance.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use http::Request;
use serde_json::{Value, json};

use crate::api::ApiError;
use crate::test_cloud::TestCloud;
use crate::{Cloud, iam, sts};

mod failures;

const QUEUE: &str = "arn:aws:sqs:us-east-1:000000000000:q";

async fn topic(cloud: &Cloud) -> String {
    let created = cloud.call("sns", "CreateTopic", json!({"Name": "t"}));
    created.await.unwrap()["TopicArn"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// A queue `q`, with a policy that allows the topic to send.
async fn queue(cloud: &Cloud, name: &str, topic: &str) -> Value {
    let policy = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage",
        "Resource": "*", "Condition": {"ArnEquals": {"aws:SourceArn": topic}}}]});
    let input = json!({"QueueName": name, "Attributes": {"Policy": policy.to_string()}});
    let created = cloud.call("sqs", "CreateQueue", input).await.unwrap();
    created["QueueUrl"].clone()
}

async fn subscribe(cloud: &Cloud, topic: &str, more: Value) -> Result<Value, ApiError> {
    let mut input = json!({"TopicArn": topic, "Endpoint": QUEUE, "Protocol": "sqs"});
    for (name, value) in more.as_object().unwrap() {
        input[name] = value.clone();
    }
    let answer = cloud.call("sns", "Subscribe", input).await?;
    Ok(answer["SubscriptionArn"].clone())
}

async fn publish(cloud: &Cloud, topic: &str, mut input: Value) -> Result<Value, ApiError> {
    input["TopicArn"] = topic.into();
    cloud.call("sns", "Publish", input).await
}

/// Waits until all deliveries that are due have been attempted.
async fn settle(cloud: &Cloud) {
    cloud.advance(Duration::ZERO).await.unwrap();
}

/// The messages that a queue has, without deleting them.
async fn received(cloud: &Cloud, url: &Value) -> Vec<Value> {
    let input =
        json!({"QueueUrl": url, "MaxNumberOfMessages": 10, "MessageAttributeNames": ["All"]});
    let received = cloud.call("sqs", "ReceiveMessage", input).await.unwrap();
    received["Messages"].as_array().cloned().unwrap_or_default()
}

fn body(message: &Value) -> Value {
    serde_json::from_str(message["Body"].as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn a_message_arrives_in_a_queue_in_its_envelope_or_raw() {
    let test = TestCloud::new();
    let cloud = test.cloud();
    let topic = topic(&cloud).await;
    let url = queue(&cloud, "q", &topic).await;
    let arn = subscribe(&cloud, &topic, json!({})).await.unwrap();
    let attributes = json!({"a": {"DataType": "String", "StringValue": "v"}});
    let input = json!({"Message": "m", "Subject": "s", "MessageAttributes": attributes});
    let published = publish(&cloud, &topic, input.clone()).await.unwrap();
    settle(&cloud).await;
    let messages = received(&cloud, &url).await;
    assert_eq!(messages.len(), 1);
    let envelope = body(&messages[0]);
    assert_eq!(envelope["Type"], "Notification");
    assert_eq!(envelope["MessageId"], published["MessageId"]);
    assert_eq!(envelope["TopicArn"], topic.as_str());
    assert_eq!(
        (&envelope["Subject"], &envelope["Message"]),
        (&json!("s"), &json!("m"))
    );
    assert_eq!(
        envelope["MessageAttributes"],
        json!({"a": {"Type": "String", "Value": "v"}})
    );
    let raw = json!({"SubscriptionArn": arn, "AttributeName": "RawMessageDelivery", "AttributeValue": "true"});
    cloud
        .call("sns", "SetSubscriptionAttributes", raw)
        .await
        .unwrap();
    publish(&cloud, &topic, input).await.unwrap();
    let structured = json!({"default": "d", "sqs": "for queues"}).to_string();
    let input = json!({"Message": structured, "MessageStructure": "json"});
    publish(&cloud, &topic, input).await.unwrap();
    settle(&cloud).await;
    let messages = received(&cloud, &url).await;
    assert_eq!(messages[0]["Body"], "m");
    assert_eq!(messages[0]["MessageAttributes"], attributes);
    assert_eq!(messages[1]["Body"], "for queues");
}

#[tokio::test]
async fn a_queue_without_a_policy_receives_nothing_and_the_dead_letter_queue_does() {
    let test = TestCloud::new();
    let cloud = test.cloud();
    let topic = topic(&cloud).await;
    let create = json!({"QueueName": "q"});
    let url = cloud.call("sqs", "CreateQueue", create).await.unwrap()["QueueUrl"].clone();
    let dead = queue(&cloud, "dead", &topic).await;
    let target = QUEUE.replace(":q", ":dead");
    let redrive = json!({"deadLetterTargetArn": target}).to_string();
    let attributes = json!({"Attributes": {"RedrivePolicy": redrive}});
    subscribe(&cloud, &topic, attributes).await.unwrap();
    publish(&cloud, &topic, json!({"Message": "m"}))
        .await
        .unwrap();
    settle(&cloud).await;
    assert!(received(&cloud, &url).await.is_empty());
    let letters = received(&cloud, &dead).await;
    assert_eq!(body(&letters[0])["Message"], "m");
    assert_eq!(waiting(&cloud), 0);
}

fn waiting(cloud: &Cloud) -> i64 {
    let count = |tx: &rusqlite::Transaction<'_>| {
        let count = "SELECT count(*) FROM sns_deliveries";
        Ok(tx.query_row(count, [], |row| row.get(0))?)
    };
    cloud.store().transaction(count).unwrap()
}

#[tokio::test]
async fn an_accepted_message_is_delivered_after_a_crash() {
    let test = TestCloud::new();
    let cloud = test.cloud();
    let topic = topic(&cloud).await;
    let url = queue(&cloud, "q", &topic).await;
    subscribe(&cloud, &topic, json!({})).await.unwrap();
    // The delivery cannot be made before the crash: each write fails after the one that accepts the message.
    test.refuse_writes_after(1);
    publish(&cloud, &topic, json!({"Message": "m"}))
        .await
        .unwrap();
    super::delivery::stop(&cloud);
    test.accept_writes();
    assert_eq!(waiting(&cloud), 1);
    let test = test.crash();
    let cloud = test.cloud();
    settle(&cloud).await;
    assert_eq!(received(&cloud, &url).await.len(), 1);
    assert_eq!(waiting(&cloud), 0);
}

/// A server that records requests and answers with the next of some statuses, the last one again and again.
async fn server(statuses: &'static [u16]) -> (String, Arc<Mutex<Vec<(String, Value)>>>) {
    let seen = Arc::<Mutex<Vec<(String, Value)>>>::default();
    let recorded = seen.clone();
    let answer = move |request: Request<Body>| {
        let recorded = recorded.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
            let kind = parts.headers["x-amz-sns-message-type"].to_str().unwrap();
            let text = String::from_utf8_lossy(&body).into_owned();
            let value = serde_json::from_slice(&body).unwrap_or(Value::from(text));
            let mut recorded = recorded.lock().unwrap();
            let status = statuses.get(recorded.len()).or(statuses.last()).unwrap();
            recorded.push((kind.to_owned(), value));
            http::StatusCode::from_u16(*status).unwrap()
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let app = axum::Router::new().fallback(answer);
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, seen)
}

#[tokio::test]
async fn an_http_endpoint_confirms_its_subscription_and_is_retried() {
    let test = TestCloud::new();
    let cloud = test.cloud();
    let topic = topic(&cloud).await;
    // The confirmation, three failures and a success.
    let (url, seen) = server(&[200, 500, 503, 429, 200]).await;
    let endpoint = json!({"Protocol": "http", "Endpoint": url});
    let arn = subscribe(&cloud, &topic, endpoint).await.unwrap();
    assert_eq!(arn, "pending confirmation");
    publish(&cloud, &topic, json!({"Message": "too early"}))
        .await
        .unwrap();
    settle(&cloud).await;
    let (kind, request) = seen.lock().unwrap()[0].clone();
    assert_eq!(kind, "SubscriptionConfirmation");
    let link = request["SubscribeURL"].as_str().unwrap();
    let link = link.strip_prefix(cloud.endpoint()).unwrap();
    let link = Request::get(link).body(Body::empty()).unwrap();
    let (parts, body) = link.into_parts();
    assert!(
        super::confirmation::is_link(&parts, false) && !super::confirmation::is_link(&parts, true)
    );
    let followed = super::confirmation::follow(&cloud, Request::from_parts(parts, body));
    assert_eq!(followed.await.status(), 200);
    publish(&cloud, &topic, json!({"Message": "m"}))
        .await
        .unwrap();
    settle(&cloud).await;
    let count = || seen.lock().unwrap().len();
    assert_eq!(count(), 2);
    for expected in [3, 4, 5] {
        cloud.advance(Duration::from_secs(19)).await.unwrap();
        assert_eq!(count(), expected - 1);
        cloud.advance(Duration::from_secs(1)).await.unwrap();
        assert_eq!(count(), expected);
    }
    assert_eq!(waiting(&cloud), 0);
    let (kind, message) = seen.lock().unwrap()[4].clone();
    assert_eq!(
        (kind.as_str(), &message["Message"]),
        ("Notification", &json!("m"))
    );
    let listed = cloud
        .call("sns", "ListSubscriptions", json!({}))
        .await
        .unwrap();
    let arn = listed["Subscriptions"][0]["SubscriptionArn"]
        .as_str()
        .unwrap();
    assert!(arn.starts_with(&topic), "{arn}");
}

#[tokio::test]
async fn endpoints_that_cannot_be_reached_are_refused_by_name() {
    let test = TestCloud::new();
    let cloud = test.cloud();
    let topic = topic(&cloud).await;
    for (protocol, endpoint, expected) in [
        ("http", "http://example.com/", "NotImplemented"),
        ("http", "http://127.0.0.1.example.com/", "NotImplemented"),
        ("http", "http://169.254.169.254/latest", "NotImplemented"),
        // The local cloud itself.
        ("http", "http://localhost:1/", "NotImplemented"),
        ("http", "https://localhost:2/", "InvalidParameter"),
        ("https", "x", "InvalidParameter"),
        ("sms", "+15550100", "NotImplemented"),
        (
            "firehose",
            "arn:aws:firehose:us-east-1:000000000000:d",
            "NotImplemented",
        ),
        ("email", "nobody", "InvalidParameter"),
        ("sqs", "q", "InvalidParameter"),
        (
            "sqs",
            "arn:aws:sqs:us-east-1:000000000000:q.fifo",
            "InvalidParameter",
        ),
        ("lambda", "f", "InvalidParameter"),
        ("fax", "1", "InvalidParameter"),
    ] {
        let more = json!({"Protocol": protocol, "Endpoint": endpoint});
        let error = subscribe(&cloud, &topic, more).await.unwrap_err();
        assert_eq!(error.code, expected, "{protocol} {endpoint}: {error}");
    }
    let mail = json!({"Protocol": "email", "Endpoint": "a@example.com"});
    let arn = subscribe(&cloud, &topic, mail).await.unwrap();
    assert_eq!(arn, "pending confirmation");
    publish(&cloud, &topic, json!({"Message": "m"}))
        .await
        .unwrap();
    assert_eq!(waiting(&cloud), 0);
    let input = json!({"TopicArn": topic});
    let shown = cloud
        .call("sns", "GetTopicAttributes", input)
        .await
        .unwrap();
    assert_eq!(shown["Attributes"]["SubscriptionsPending"], "1");
    for refused in [
        json!({"Name": "t.fifo", "Attributes": {"FifoTopic": "true"}}),
        json!({"Name": "u", "Attributes": {"DeliveryPolicy": "{}"}}),
        json!({"Name": "u", "Attributes": {"TracingConfig": "Active"}}),
    ] {
        let error = cloud.call("sns", "CreateTopic", refused).await.unwrap_err();
        assert_eq!(error.code, "NotImplemented");
    }
}

#[tokio::test]
async fn messages_are_checked() {
    let test = TestCloud::new();
    let cloud = test.cloud();
    let topic = topic(&cloud).await;
    for (input, expected) in [
        (json!({"Message": ""}), "InvalidParameter"),
        (json!({"Message": "x".repeat(262_145)}), "InvalidParameter"),
        (
            json!({"Message": "m", "Subject": "a\nb"}),
            "InvalidParameter",
        ),
        (
            json!({"Message": "m", "MessageStructure": "json"}),
            "InvalidParameter",
        ),
        (
            json!({"Message": "{}", "MessageStructure": "json"}),
            "InvalidParameter",
        ),
        (
            json!({"Message": "m", "MessageAttributes": {"a": {"DataType": "Number", "StringValue": "x"}}}),
            "ParameterValueInvalid",
        ),
        (
            json!({"Message": "m", "MessageAttributes": {"a b": {"DataType": "String", "StringValue": "x"}}}),
            "ParameterValueInvalid",
        ),
        (
            json!({"Message": "m", "MessageAttributes": {"a": {"DataType": "Binary", "BinaryValue": "!"}}}),
            "ParameterValueInvalid",
        ),
        (
            json!({"Message": "m", "PhoneNumber": "1"}),
            "NotImplemented",
        ),
    ] {
        let error = publish(&cloud, &topic, input.clone()).await.unwrap_err();
        assert_eq!(error.code, expected, "{error}");
    }
    let entries = json!([{"Id": "a", "Message": "1"}, {"Id": "b", "Message": ""}]);
    let input = json!({"TopicArn": topic, "PublishBatchRequestEntries": entries});
    let answer = cloud.call("sns", "PublishBatch", input).await.unwrap();
    assert_eq!(answer["Successful"][0]["Id"], "a");
    assert_eq!(answer["Failed"][0]["Id"], "b");
}

#[tokio::test]
async fn roles_publish_by_their_policies_and_services_by_the_topics() {
    let test = TestCloud::new();
    let cloud = test.cloud();
    let topic = topic(&cloud).await;
    let role = iam::trusting(&cloud, "r", "lambda.amazonaws.com", &["none:None"]);
    let session = sts::for_service(&cloud, &role, "me", "lambda.amazonaws.com").unwrap();
    let rule = "arn:aws:events:us-east-1:000000000000:rule/r";
    let service = || crate::cloud::caller::Caller::service("events.amazonaws.com", rule);
    let send = async |caller: crate::cloud::caller::Caller| {
        let published = publish(&cloud, &topic, json!({"Message": "m"}));
        caller.scope(published).await.map_err(|error| error.code)
    };
    let denied = "AuthorizationError";
    assert_eq!(send(session.caller()).await.unwrap_err(), denied);
    assert_eq!(send(service()).await.unwrap_err(), denied);
    let policy = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "sns:Publish",
         "Resource": topic},
        {"Effect": "Allow", "Principal": {"AWS": role}, "Action": "sns:Publish", "Resource": topic},
    ]});
    let input =
        json!({"TopicArn": topic, "AttributeName": "Policy", "AttributeValue": policy.to_string()});
    cloud
        .call("sns", "SetTopicAttributes", input)
        .await
        .unwrap();
    send(session.caller()).await.unwrap();
    send(service()).await.unwrap();
    let key = json!({"TopicArn": topic, "AttributeName": "KmsMasterKeyId", "AttributeValue": "alias/aws/sns"});
    cloud.call("sns", "SetTopicAttributes", key).await.unwrap();
    send(session.caller()).await.unwrap();
    assert_eq!(send(service()).await.unwrap_err(), "KMSAccessDenied");
}

#[tokio::test]
async fn subscriptions_are_created_once_and_end_with_their_topic() {
    let test = TestCloud::new();
    let cloud = test.cloud();
    let topic = topic(&cloud).await;
    let first = subscribe(&cloud, &topic, json!({})).await.unwrap();
    assert_eq!(subscribe(&cloud, &topic, json!({})).await.unwrap(), first);
    let other = json!({"Attributes": {"RawMessageDelivery": "true"}});
    assert!(subscribe(&cloud, &topic, other).await.is_err());
    let unsubscribe = json!({"SubscriptionArn": first});
    for _ in 0..2 {
        let done = cloud.call("sns", "Unsubscribe", unsubscribe.clone());
        done.await.unwrap();
    }
    let input = json!({"TopicArn": topic});
    let shown = cloud.call("sns", "GetTopicAttributes", input.clone());
    assert_eq!(
        shown.await.unwrap()["Attributes"]["SubscriptionsDeleted"],
        "1"
    );
    subscribe(&cloud, &topic, json!({})).await.unwrap();
    cloud.call("sns", "DeleteTopic", input).await.unwrap();
    let listed = cloud.call("sns", "ListSubscriptions", json!({})).await;
    assert_eq!(listed.unwrap()["Subscriptions"], json!([]));
}
