//! Queues on the clock that tests advance.

use std::time::Duration;

use serde_json::{Value, json};

use crate::api::ApiError;
use crate::cloud::caller::Caller;
use crate::test_cloud::{Refused, TestCloud};
use crate::{Cloud, iam, sts};

/// A queue of a test.
struct Queue {
    cloud: Cloud,
    url: Value,
}

impl Queue {
    async fn new(cloud: &Cloud, name: &str, attributes: Value) -> Self {
        let input = json!({"QueueName": name, "Attributes": attributes});
        let created = cloud.call("sqs", "CreateQueue", input).await.unwrap();
        Self {
            cloud: cloud.clone(),
            url: created["QueueUrl"].clone(),
        }
    }

    async fn call(&self, operation: &str, mut input: Value) -> Result<Value, ApiError> {
        input["QueueUrl"] = self.url.clone();
        self.cloud.call("sqs", operation, input).await
    }

    async fn send(&self, body: &str) -> Value {
        let sent = self.call("SendMessage", json!({"MessageBody": body}));
        sent.await.unwrap()
    }

    /// The messages of a receive call of up to ten.
    async fn receive(&self) -> Vec<Value> {
        let input = json!({"MaxNumberOfMessages": 10, "MessageSystemAttributeNames": ["All"]});
        let received = self.call("ReceiveMessage", input).await.unwrap();
        received["Messages"].as_array().cloned().unwrap_or_default()
    }

    async fn bodies(&self) -> Vec<String> {
        let received = self.receive().await;
        let bodies = received.iter().filter_map(|it| it["Body"].as_str());
        bodies.map(str::to_owned).collect()
    }

    async fn attribute(&self, name: &str) -> Value {
        let input = json!({"AttributeNames": [name]});
        let found = self.call("GetQueueAttributes", input).await.unwrap();
        found["Attributes"][name].clone()
    }

    async fn arn(&self) -> String {
        self.attribute("QueueArn")
            .await
            .as_str()
            .unwrap()
            .to_owned()
    }

    async fn advance(&self, seconds: u64) {
        let advanced = self.cloud.advance(Duration::from_secs(seconds));
        advanced.await.unwrap();
    }
}

fn code(result: Result<Value, ApiError>) -> String {
    result.unwrap_err().code
}

#[tokio::test]
async fn a_received_message_is_invisible_until_its_timeout_and_then_returns() {
    let test = TestCloud::new();
    let queue = Queue::new(&test.cloud(), "q", json!({"VisibilityTimeout": "40"})).await;
    queue.send("a").await;
    let first = queue.receive().await.remove(0);
    assert_eq!(first["Body"], "a");
    assert_eq!(first["MD5OfBody"], "0cc175b9c0f1b6a831c399e269772661");
    assert_eq!(first["Attributes"]["ApproximateReceiveCount"], "1");
    assert!(queue.bodies().await.is_empty());
    assert_eq!(
        queue
            .attribute("ApproximateNumberOfMessagesNotVisible")
            .await,
        "1"
    );
    queue.advance(39).await;
    assert!(queue.bodies().await.is_empty());
    queue.advance(1).await;
    let second = queue.receive().await.remove(0);
    assert_eq!(second["MessageId"], first["MessageId"]);
    assert_eq!(second["Attributes"]["ApproximateReceiveCount"], "2");
    // The old receipt deletes nothing, the new one does, and both calls succeed.
    for (received, left) in [(&first, "1"), (&second, "0")] {
        let receipt = json!({"ReceiptHandle": received["ReceiptHandle"]});
        queue.call("DeleteMessage", receipt).await.unwrap();
        assert_eq!(
            queue
                .attribute("ApproximateNumberOfMessagesNotVisible")
                .await,
            left
        );
    }
    let receipt = json!({"ReceiptHandle": "x"});
    assert_eq!(
        code(queue.call("DeleteMessage", receipt).await),
        "ReceiptHandleIsInvalid"
    );
}

#[tokio::test]
async fn visibility_can_be_changed_while_a_message_is_in_flight() {
    let test = TestCloud::new();
    let queue = Queue::new(&test.cloud(), "q", json!({})).await;
    queue.send("a").await;
    let handle = queue.receive().await[0]["ReceiptHandle"].clone();
    let change = |timeout: i64| {
        let input = json!({"ReceiptHandle": handle, "VisibilityTimeout": timeout});
        queue.call("ChangeMessageVisibility", input)
    };
    change(100).await.unwrap();
    queue.advance(99).await;
    assert!(queue.bodies().await.is_empty());
    change(0).await.unwrap();
    assert_eq!(code(change(1).await), "MessageNotInflight");
    assert_eq!(queue.bodies().await, ["a"]);
    assert_eq!(code(change(43_201).await), "InvalidParameterValueException");
    assert_eq!(code(change(1).await), "InvalidParameterValueException");
}

#[tokio::test]
async fn delays_and_retention_follow_the_clock() {
    let test = TestCloud::new();
    let attributes = json!({"DelaySeconds": "10", "MessageRetentionPeriod": "60"});
    let queue = Queue::new(&test.cloud(), "q", attributes).await;
    queue.send("queue").await;
    let own = json!({"MessageBody": "own", "DelaySeconds": 0});
    queue.call("SendMessage", own).await.unwrap();
    assert_eq!(queue.bodies().await, ["own"]);
    assert_eq!(
        queue.attribute("ApproximateNumberOfMessagesDelayed").await,
        "1"
    );
    queue.advance(10).await;
    assert_eq!(queue.bodies().await, ["queue"]);
    queue.advance(50).await;
    assert!(queue.bodies().await.is_empty());
    assert_eq!(queue.attribute("ApproximateNumberOfMessages").await, "0");
    let rows = || {
        let count = |tx: &rusqlite::Transaction<'_>| {
            let count = "SELECT count(*) FROM sqs_messages";
            Ok(tx.query_row(count, [], |row| row.get::<_, i64>(0))?)
        };
        test.cloud().store().transaction(count).unwrap()
    };
    assert_eq!(rows(), 2);
    super::messages::remove_expired(&test.cloud()).unwrap();
    assert_eq!(rows(), 0);
}

#[tokio::test]
async fn a_long_poll_ends_with_a_message_with_visibility_or_with_time() {
    let test = TestCloud::new();
    let queue = Queue::new(&test.cloud(), "q", json!({})).await;
    let poll = || queue.call("ReceiveMessage", json!({"WaitTimeSeconds": 20}));
    let (received, ()) = tokio::join!(poll(), async {
        queue.send("sent").await;
    });
    assert_eq!(received.unwrap()["Messages"][0]["Body"], "sent");
    // The message returns after 30 seconds of the cloud's time, which pass at once.
    let (first, ()) = tokio::join!(poll(), queue.advance(20));
    assert_eq!(first.unwrap(), json!({}));
    let (second, ()) = tokio::join!(poll(), queue.advance(20));
    assert_eq!(second.unwrap()["Messages"][0]["Body"], "sent");
    // A queue that is deleted ends the wait.
    let (gone, deleted) = tokio::join!(poll(), queue.call("DeleteQueue", json!({})));
    deleted.unwrap();
    assert_eq!(code(gone), "QueueDoesNotExist");
}

#[tokio::test]
async fn messages_that_are_received_too_often_move_to_the_dead_letter_queue() {
    let test = TestCloud::new();
    let cloud = test.cloud();
    let dead = Queue::new(&cloud, "dead", json!({})).await;
    let redrive = json!({"deadLetterTargetArn": dead.arn().await, "maxReceiveCount": 2});
    let attributes = json!({"RedrivePolicy": redrive.to_string(), "VisibilityTimeout": "1"});
    let queue = Queue::new(&cloud, "q", attributes).await;
    queue.send("a").await;
    for _ in 0..2 {
        assert_eq!(queue.bodies().await, ["a"]);
        assert!(dead.bodies().await.is_empty());
        queue.advance(1).await;
    }
    assert!(queue.bodies().await.is_empty());
    let letter = dead.receive().await.remove(0);
    let source = &letter["Attributes"]["DeadLetterQueueSourceArn"];
    assert_eq!(*source, json!(queue.arn().await));
    // It counts the receive calls on all queues.
    assert_eq!(letter["Attributes"]["ApproximateReceiveCount"], "3");
    let sources = dead.call("ListDeadLetterSourceQueues", json!({}));
    assert_eq!(sources.await.unwrap()["queueUrls"], json!([queue.url]));
    for wrong in [
        json!({"deadLetterTargetArn": "arn:aws:sqs:us-east-1:000000000000:no", "maxReceiveCount": 1}),
        json!({"maxReceiveCount": 1}),
    ] {
        let input = json!({"Attributes": {"RedrivePolicy": wrong.to_string()}});
        let refused = queue.call("SetQueueAttributes", input).await;
        assert_eq!(code(refused), "InvalidParameterValueException");
    }
    let deny = json!({"Attributes": {"RedriveAllowPolicy": r#"{"redrivePermission":"denyAll"}"#}});
    dead.call("SetQueueAttributes", deny).await.unwrap();
    let input = json!({"Attributes": {"RedrivePolicy": redrive.to_string()}});
    assert!(queue.call("SetQueueAttributes", input).await.is_err());
}

#[tokio::test]
async fn a_fifo_queue_keeps_the_order_of_a_group_and_drops_duplicates() {
    let test = TestCloud::new();
    let fifo = json!({"FifoQueue": "true", "ContentBasedDeduplication": "true"});
    let queue = Queue::new(&test.cloud(), "q.fifo", fifo).await;
    let send = |body: &str, group: &str| {
        let input = json!({"MessageBody": body, "MessageGroupId": group});
        queue.call("SendMessage", input)
    };
    let first = send("1", "a").await.unwrap();
    let again = send("1", "a").await.unwrap();
    assert_eq!(again["MessageId"], first["MessageId"]);
    assert_eq!(again["SequenceNumber"], first["SequenceNumber"]);
    send("2", "a").await.unwrap();
    send("3", "b").await.unwrap();
    let one = json!({"MaxNumberOfMessages": 1});
    let received = queue.call("ReceiveMessage", one).await.unwrap();
    let received = &received["Messages"][0];
    assert_eq!(received["Body"], "1");
    // The group is blocked, the other one is not.
    assert_eq!(queue.bodies().await, ["3"]);
    let receipt = json!({"ReceiptHandle": received["ReceiptHandle"]});
    queue.call("DeleteMessage", receipt.clone()).await.unwrap();
    assert_eq!(queue.bodies().await, ["2"]);
    queue.advance(31).await;
    // Both return in order, and a receipt that expired deletes nothing.
    let late = queue.receive().await;
    assert_eq!(late.len(), 2);
    queue.advance(31).await;
    let receipt = json!({"ReceiptHandle": late[0]["ReceiptHandle"]});
    assert_eq!(
        code(queue.call("DeleteMessage", receipt).await),
        "InvalidParameterValueException"
    );
    // The interval of five minutes is over.
    queue.advance(300).await;
    let later = send("1", "a").await.unwrap();
    assert_ne!(later["MessageId"], first["MessageId"]);
    let no_group = queue.call("SendMessage", json!({"MessageBody": "x"})).await;
    assert_eq!(code(no_group), "MissingRequiredParameterException");
}

#[tokio::test]
async fn messages_and_their_state_survive_a_crash() {
    let test = TestCloud::new();
    let queue = Queue::new(&test.cloud(), "q", json!({"VisibilityTimeout": "60"})).await;
    queue.send("received").await;
    assert_eq!(queue.bodies().await, ["received"]);
    queue.send("waiting").await;
    let test = test.crash();
    let queue = Queue {
        cloud: test.cloud(),
        url: queue.url,
    };
    assert_eq!(queue.bodies().await, ["waiting"]);
    queue.advance(60).await;
    assert_eq!(queue.bodies().await.len(), 2);
}

#[tokio::test]
async fn attributes_of_messages_are_returned_as_they_are_requested() {
    let test = TestCloud::new();
    let queue = Queue::new(&test.cloud(), "q", json!({"VisibilityTimeout": "0"})).await;
    let text = json!({"DataType": "String", "StringValue": "v"});
    let bytes = json!({"DataType": "Binary.gif", "BinaryValue": "AP8="});
    let input = json!({"MessageBody": "m", "MessageAttributes": {"a.x": text, "b": bytes}});
    let sent = queue.call("SendMessage", input).await.unwrap();
    let receive = async |names: Value| {
        let input = json!({"MessageAttributeNames": names});
        let received = queue.call("ReceiveMessage", input).await.unwrap();
        received["Messages"][0].clone()
    };
    let all = receive(json!(["All"])).await;
    assert_eq!(all["MessageAttributes"]["b"], bytes);
    assert_eq!(
        all["MD5OfMessageAttributes"],
        sent["MD5OfMessageAttributes"]
    );
    let one = receive(json!(["a.*"])).await;
    assert_eq!(one["MessageAttributes"], json!({"a.x": text}));
    assert_ne!(
        one["MD5OfMessageAttributes"],
        sent["MD5OfMessageAttributes"]
    );
    assert_eq!(receive(json!([])).await.get("MessageAttributes"), None);
    for wrong in [
        json!({"a": {"DataType": "Text", "StringValue": "v"}}),
        json!({"a": {"DataType": "Number", "StringValue": "v"}}),
        json!({"a": {"DataType": "String"}}),
        json!({"a..b": {"DataType": "String", "StringValue": "v"}}),
        json!({"AWS.b": {"DataType": "String", "StringValue": "v"}}),
    ] {
        let input = json!({"MessageBody": "m", "MessageAttributes": wrong});
        let refused = queue.call("SendMessage", input).await;
        assert_eq!(code(refused), "InvalidParameterValueException", "{wrong}");
    }
}

#[tokio::test]
async fn entries_of_a_batch_succeed_and_fail_on_their_own() {
    let test = TestCloud::new();
    let queue = Queue::new(&test.cloud(), "q", json!({"MaximumMessageSize": "1024"})).await;
    let long = "x".repeat(1025);
    let entries = json!([
        {"Id": "a", "MessageBody": "1"},
        {"Id": "b", "MessageBody": long},
        {"Id": "c", "MessageBody": "\u{0}"},
    ]);
    let sent = queue.call("SendMessageBatch", json!({"Entries": entries}));
    let sent = sent.await.unwrap();
    assert_eq!(sent["Successful"].as_array().unwrap().len(), 1);
    assert_eq!(sent["Failed"][0]["Code"], "InvalidParameterValue");
    assert_eq!(sent["Failed"][1]["Code"], "InvalidMessageContents");
    let handle = queue.receive().await[0]["ReceiptHandle"].clone();
    let entries = json!([{"Id": "a", "ReceiptHandle": handle}, {"Id": "b", "ReceiptHandle": "x"}]);
    let deleted = queue.call("DeleteMessageBatch", json!({"Entries": entries}));
    let deleted = deleted.await.unwrap();
    assert_eq!(deleted["Successful"], json!([{"Id": "a"}]));
    assert_eq!(deleted["Failed"][0]["Code"], "ReceiptHandleIsInvalid");
}

#[tokio::test]
async fn queues_are_created_once_listed_in_pages_tagged_and_purged() {
    let test = TestCloud::new();
    let cloud = test.cloud();
    let queue = Queue::new(&cloud, "a", json!({"DelaySeconds": "1"})).await;
    let create = |attributes: Value| {
        let input = json!({"QueueName": "a", "Attributes": attributes});
        cloud.call("sqs", "CreateQueue", input)
    };
    assert_eq!(create(json!({})).await.unwrap()["QueueUrl"], queue.url);
    create(json!({"DelaySeconds": "1"})).await.unwrap();
    assert_eq!(
        code(create(json!({"DelaySeconds": "2"})).await),
        "QueueNameExists"
    );
    for name in ["b", "c"] {
        Queue::new(&cloud, name, json!({})).await;
    }
    let mut listed = Vec::new();
    let mut token = Value::Null;
    loop {
        let input = json!({"MaxResults": 2, "NextToken": token});
        let page = cloud.call("sqs", "ListQueues", input).await.unwrap();
        listed.extend(page["QueueUrls"].as_array().unwrap().clone());
        token = page["NextToken"].clone();
        if token.is_null() {
            break;
        }
    }
    assert_eq!(listed.len(), 3);
    let tags = json!({"Tags": {"k": "v", "l": "w"}});
    queue.call("TagQueue", tags).await.unwrap();
    let untag = queue.call("UntagQueue", json!({"TagKeys": ["k"]}));
    untag.await.unwrap();
    let tags = queue.call("ListQueueTags", json!({})).await.unwrap();
    assert_eq!(tags, json!({"Tags": {"l": "w"}}));
    queue.send("m").await;
    queue.call("PurgeQueue", json!({})).await.unwrap();
    queue.advance(2).await;
    assert!(queue.bodies().await.is_empty());
    let again = queue.call("PurgeQueue", json!({})).await;
    assert_eq!(code(again), "PurgeQueueInProgress");
    queue.advance(60).await;
    queue.call("PurgeQueue", json!({})).await.unwrap();
    // A new queue of the same name has none of the old messages.
    queue.send("old").await;
    queue.call("DeleteQueue", json!({})).await.unwrap();
    let queue = Queue::new(&cloud, "a", json!({})).await;
    queue.advance(2).await;
    assert!(queue.bodies().await.is_empty());
}

#[tokio::test]
async fn the_policy_of_a_queue_decides_about_services_and_grants_roles() -> Result<(), Refused> {
    let test = TestCloud::new();
    let cloud = test.cloud();
    let queue = Queue::new(&cloud, "q", json!({})).await;
    let role = iam::trusting(&cloud, "r", "lambda.amazonaws.com", &["none:None"]);
    let session = sts::for_service(&cloud, &role, "me", "lambda.amazonaws.com")?;
    let topic = "arn:aws:sns:us-east-1:000000000000:t";
    let service = |source: &str| Caller::service("sns.amazonaws.com", source);
    let send = async |caller: Caller| {
        let sent = queue.call("SendMessage", json!({"MessageBody": "m"}));
        caller.scope(sent).await.map_err(|error| error.code)
    };
    let denied = Err("AccessDeniedException".to_owned());
    assert_eq!(send(service(topic)).await.map(drop), denied);
    assert_eq!(send(session.caller()).await.map(drop), denied);
    let policy = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage",
         "Resource": queue.arn().await, "Condition": {"ArnEquals": {"aws:SourceArn": topic}}},
        {"Effect": "Allow", "Principal": {"AWS": role}, "Action": "sqs:SendMessage", "Resource": "*"},
    ]});
    let input = json!({"Attributes": {"Policy": policy.to_string()}});
    queue.call("SetQueueAttributes", input).await?;
    send(service(topic)).await.unwrap();
    assert_eq!(
        send(service("arn:aws:sns:us-east-1:000000000000:other"))
            .await
            .map(drop),
        denied
    );
    send(session.caller()).await.unwrap();
    let received = session
        .caller()
        .scope(queue.call("ReceiveMessage", json!({})));
    assert_eq!(code(received.await), "AccessDeniedException");
    let senders: Vec<Value> = queue
        .receive()
        .await
        .iter()
        .map(|it| it["Attributes"]["SenderId"].clone())
        .collect();
    assert_eq!(senders[0], "sns.amazonaws.com");
    assert!(senders[1].as_str().unwrap().ends_with(":me"));
    Ok(())
}

#[tokio::test]
async fn who_may_not_use_the_key_of_a_queue_can_neither_send_nor_receive() -> Result<(), Refused> {
    let test = TestCloud::new();
    let cloud = test.cloud();
    let queue = Queue::new(&cloud, "q", json!({"KmsMasterKeyId": "alias/k"})).await;
    let send = || queue.call("SendMessage", json!({"MessageBody": "m"}));
    assert_eq!(code(send().await), "KmsNotFound");
    let key = cloud.call("kms", "CreateKey", json!({})).await?;
    let key = key["KeyMetadata"]["KeyId"].clone();
    let alias = json!({"AliasName": "alias/k", "TargetKeyId": key});
    cloud.call("kms", "CreateAlias", alias).await?;
    send().await?;
    let actions = ["sqs:*", "kms:Decrypt"];
    let role = iam::trusting(&cloud, "r", "lambda.amazonaws.com", &actions);
    let session = sts::for_service(&cloud, &role, "me", "lambda.amazonaws.com")?;
    let sent = session.caller().scope(send()).await;
    assert_eq!(code(sent), "KmsAccessDenied");
    let received = queue.call("ReceiveMessage", json!({}));
    let received = session.caller().scope(received).await?;
    assert_eq!(received["Messages"][0]["Body"], "m");
    let disable = cloud.call("kms", "DisableKey", json!({"KeyId": key}));
    disable.await?;
    assert_eq!(code(send().await), "KmsDisabled");
    Ok(())
}

#[tokio::test]
async fn a_move_to_the_dead_letter_queue_wakes_its_receivers() {
    let test = TestCloud::new();
    let cloud = test.cloud();
    let dead = Queue::new(&cloud, "dead", json!({})).await;
    let redrive = json!({"deadLetterTargetArn": dead.arn().await, "maxReceiveCount": 1});
    let attributes = json!({"VisibilityTimeout": "0", "RedrivePolicy": redrive.to_string()});
    let queue = Queue::new(&cloud, "q", attributes).await;
    queue.send("a").await;
    assert_eq!(queue.bodies().await, ["a"]);
    let waits = dead.call("ReceiveMessage", json!({"WaitTimeSeconds": 20}));
    let moves = async {
        crate::clock::sleep(Duration::from_millis(50)).await;
        assert!(queue.bodies().await.is_empty());
    };
    let both = async { tokio::join!(waits, moves) };
    let both = tokio::time::timeout(Duration::from_secs(10), both).await;
    let (received, ()) = both.expect("the receiver wakes");
    assert_eq!(received.unwrap()["Messages"][0]["Body"], "a");
}

#[tokio::test]
async fn visibility_ends_twelve_hours_after_a_message_is_received() {
    let test = TestCloud::new();
    let queue = Queue::new(&test.cloud(), "q", json!({})).await;
    queue.send("a").await;
    let handle = queue.receive().await[0]["ReceiptHandle"].clone();
    let change = |timeout: i64| {
        let input = json!({"ReceiptHandle": handle, "VisibilityTimeout": timeout});
        queue.call("ChangeMessageVisibility", input)
    };
    change(40_000).await.unwrap();
    queue.advance(39_000).await;
    assert_eq!(code(change(4201).await), "InvalidParameterValueException");
    change(4100).await.unwrap();
    queue.advance(4101).await;
    assert_eq!(queue.bodies().await, ["a"]);
}
