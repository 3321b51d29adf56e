//! Deliveries that fail, and servers that die.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::iam;

#[tokio::test]
async fn accepted_events_survive_a_crash_at_every_write() {
    for writes in 0..6 {
        let at = cloud();
        rule(
            &at,
            "r",
            json!([{"Id": "a", "Arn": queue_arn("q")}, {"Id": "b", "Arn": queue_arn("q")}]),
        )
        .await;
        let entry = json!({"Source": "my.app", "DetailType": "t", "Detail": "{}"});
        at.refuse_writes_after(writes);
        let accepted = call(&at, "PutEvents", json!({"Entries": [entry]}))
            .await
            .is_ok();
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        at.accept_writes();
        let at = at.crash();
        at.idle().await;
        let delivered = queue(&at, "q").messages.len();
        assert!(
            if accepted {
                delivered >= 2
            } else {
                delivered == 0
            },
            "{writes}: {delivered}"
        );
        assert_eq!(stored(&at), (0, 0), "{writes}");
        // A restart delivers nothing again.
        let at = at.restart().await;
        at.idle().await;
        assert_eq!(queue(&at, "q").messages.len(), delivered);
    }
}

#[tokio::test]
async fn failed_deliveries_are_retried_by_the_clock_also_after_a_crash() {
    let at = cloud();
    rule(
        &at,
        "r",
        json!([{"Id": "a", "Arn": queue_arn("fails-20")}, {"Id": "b", "Arn": queue_arn("good")}]),
    )
    .await;
    send(&at, json!({})).await;
    at.idle().await;
    assert_eq!(queue(&at, "fails-20").failures, 1);
    assert_eq!(queue(&at, "good").messages.len(), 1);
    at.cloud().advance(Duration::from_mins(5)).await.unwrap();
    let failures = queue(&at, "fails-20").failures;
    assert!((4..20).contains(&failures), "{failures}");
    let at = at.crash();
    at.cloud().advance(Duration::from_hours(3)).await.unwrap();
    assert_eq!(queue(&at, "fails-20").messages.len(), 1);
    assert_eq!(queue(&at, "good").messages.len(), 1);
    assert_eq!(stored(&at), (0, 0));
}

/// The attributes of the first message of a queue.
fn attributes(at: &TestCloud, name: &str) -> Value {
    let mut found = json!({});
    let queue = queue(at, name);
    assert_eq!(queue.messages.len(), 1, "{queue:?}");
    for (name, value) in queue.messages[0]["attributes"].as_object().unwrap() {
        found[name] = value["StringValue"].clone();
    }
    assert_eq!(queue.messages[0]["body"]["source"], "my.app");
    found
}

#[tokio::test]
async fn what_cannot_be_delivered_goes_to_the_dead_letter_queue() {
    let at = cloud();
    let dead = |name: &str| json!({"Arn": queue_arn(name)});
    rule(&at, "r", json!([
        {"Id": "a", "Arn": queue_arn("fails-99"), "DeadLetterConfig": dead("dead-a"), "RetryPolicy": {"MaximumRetryAttempts": 2}},
        {"Id": "b", "Arn": queue_arn("fails-98"), "DeadLetterConfig": dead("dead-b"), "RetryPolicy": {"MaximumEventAgeInSeconds": 60}},
        {"Id": "c", "Arn": queue_arn("missing"), "DeadLetterConfig": dead("dead-c")},
        {"Id": "d", "Arn": queue_arn("missing"), "DeadLetterConfig": dead("missing")},
    ])).await;
    send(&at, json!({})).await;
    at.idle().await;
    let arn = format!("arn:aws:events:us-east-1:{ACCOUNT}:rule/r");
    assert_eq!(
        attributes(&at, "dead-c"),
        json!({"RULE_ARN": arn, "TARGET_ARN": queue_arn("missing"),
        "ERROR_CODE": "NO_RESOURCE", "ERROR_MESSAGE": "no queue"})
    );
    at.cloud().advance(Duration::from_secs(59)).await.unwrap();
    assert_eq!(queue(&at, "fails-99").failures, 3);
    assert_eq!(
        attributes(&at, "dead-a"),
        json!({"RULE_ARN": arn, "TARGET_ARN": queue_arn("fails-99"),
        "ERROR_CODE": "INTERNAL_ERROR", "ERROR_MESSAGE": "the queue is broken",
        "EXHAUSTED_RETRY_CONDITION": "MaximumRetryAttempts", "RETRY_ATTEMPTS": "2"})
    );
    assert!(queue(&at, "dead-b").messages.is_empty());
    at.cloud().advance(Duration::from_secs(2)).await.unwrap();
    assert_eq!(
        attributes(&at, "dead-b")["EXHAUSTED_RETRY_CONDITION"],
        "MaximumEventAgeInSeconds"
    );
    // The reason is that of the last attempt.
    let attributes = attributes(&at, "dead-b");
    assert_eq!(attributes["ERROR_CODE"], "INTERNAL_ERROR");
    assert_eq!(attributes["ERROR_MESSAGE"], "the queue is broken");
    assert_eq!(stored(&at), (0, 0));
    assert_eq!(backlog(&at), (0, 0, 0));
}

/// The counted deliveries and characters that wait, and the number of stored targets.
fn backlog(at: &TestCloud) -> (i64, i64, i64) {
    let sql = "SELECT deliveries, bytes, (SELECT count(*) FROM events_targets) FROM events_backlog";
    let cloud = at.cloud();
    let found = cloud.store().transaction(|tx| {
        Ok(tx.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?)
    });
    found.unwrap()
}

#[tokio::test]
async fn the_backlog_is_limited() {
    let at = cloud();
    let targets: Vec<Value> = (0..5)
        .map(|n| json!({"Id": format!("t{n}"), "Arn": queue_arn(&format!("slow-{n}"))}))
        .collect();
    rule(&at, "r", json!(targets)).await;
    let pattern = json!({"source": ["aws.test"]}).to_string();
    let put = json!({"Name": "s", "EventPattern": pattern});
    call(&at, "PutRule", put).await.unwrap();
    let put = json!({"Rule": "s", "Targets": [targets[0]]});
    call(&at, "PutTargets", put).await.unwrap();
    let entry = json!({"Source": "my.app", "DetailType": "t", "Detail": "{}"});
    let other = json!({"Source": "other", "DetailType": "t", "Detail": "{}"});
    for _ in 0..40 {
        let entries = json!({"Entries": vec![&entry; 10]});
        let sent = call(&at, "PutEvents", entries).await.unwrap();
        assert_eq!(sent["FailedEntryCount"], 0, "{sent}");
    }
    assert_eq!(stored(&at), (400, 2000));
    assert_eq!((backlog(&at).0, backlog(&at).2), (2000, 5));
    let sent = json!({"Entries": [other, entry, other]});
    let sent = call(&at, "PutEvents", sent).await.unwrap();
    assert_eq!(sent["FailedEntryCount"], 1, "{sent}");
    assert_eq!(sent["Entries"][1]["ErrorCode"], "ThrottlingException");
    // The operation of a service does not fail.
    let event = Event {
        source: "aws.test",
        detail_type: "t",
        resources: Vec::new(),
        detail: json!({}),
    };
    publish(&at.cloud(), event.clone()).unwrap();
    let cloud = at.cloud();
    cloud
        .store()
        .transaction(|tx| publish_in(tx, &cloud, event))
        .unwrap();
    assert_eq!(stored(&at), (400, 2000));
}

#[tokio::test]
async fn a_delivery_that_cannot_be_read_is_tried_later() {
    let at = cloud();
    rule(&at, "r", json!([{"Id": "a", "Arn": queue_arn("fails-9")}])).await;
    send(&at, json!({})).await;
    at.idle().await;
    let corrupt = |text: &str| {
        let cloud = at.cloud();
        let text = text.to_owned();
        let changed = cloud
            .store()
            .transaction(|tx| Ok(tx.execute("UPDATE events_targets SET target = ?1", [text])?));
        assert_eq!(changed.unwrap(), 1);
    };
    corrupt("{");
    at.cloud().advance(Duration::from_mins(1)).await.unwrap();
    assert_eq!(stored(&at), (1, 1));
    let target = json!({"Id": "a", "Arn": queue_arn("q")});
    corrupt(&target.to_string());
    at.cloud().advance(Duration::from_mins(10)).await.unwrap();
    assert_eq!(queue(&at, "q").messages.len(), 1);
}

#[tokio::test]
async fn a_target_without_a_policy_or_without_its_service_is_refused() {
    let at = cloud();
    let dead = json!({"Arn": queue_arn("dead")});
    rule(
        &at,
        "r",
        json!([{"Id": "a", "Arn": queue_arn("closed"), "DeadLetterConfig": dead}]),
    )
    .await;
    send(&at, json!({})).await;
    at.idle().await;
    assert!(queue(&at, "closed").messages.is_empty());
    assert_eq!(attributes(&at, "dead")["ERROR_CODE"], "NO_PERMISSIONS");
    let function = format!("arn:aws:lambda:us-east-1:{ACCOUNT}:function:f");
    let put = json!({"Rule": "r", "Targets": [{"Id": "b", "Arn": function}]});
    let error = call(&at, "PutTargets", put).await.unwrap_err();
    assert_eq!(error.code, "NotImplemented");
    assert!(error.message.ends_with("the service lambda"), "{error}");
}

#[tokio::test]
async fn many_slow_targets_do_not_hold_up_others() {
    let at = cloud();
    let slow: Vec<Value> = (0..5)
        .map(|n| json!({"Id": format!("t{n}"), "Arn": queue_arn(&format!("slow-{n}"))}))
        .collect();
    rule(&at, "r", json!(slow)).await;
    for n in 0..20 {
        send(&at, json!({"n": n})).await;
    }
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    rule(&at, "s", json!([{"Id": "a", "Arn": queue_arn("q")}])).await;
    for n in 0..5 {
        send(&at, json!({"n": n})).await;
    }
    for _ in 0..100_000 {
        if queue(&at, "q").messages.len() == 5 {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("the other target was not reached");
}

#[tokio::test]
async fn a_slow_target_does_not_hold_up_others() {
    let at = cloud();
    rule(
        &at,
        "r",
        json!([{"Id": "a", "Arn": queue_arn("slow")}, {"Id": "b", "Arn": queue_arn("q")}]),
    )
    .await;
    for n in 0..100 {
        send(&at, json!({"n": n})).await;
    }
    while queue(&at, "q").messages.len() < 100 {
        tokio::task::yield_now().await;
    }
    assert!(queue(&at, "slow").messages.is_empty());
    assert_eq!(stored(&at), (100, 100));
    while queue(&at, "slow").messages.len() < 100 {
        at.cloud().state::<queues::Slow>().0.notify_one();
        tokio::task::yield_now().await;
    }
    at.idle().await;
    assert_eq!(stored(&at), (0, 0));
}

#[tokio::test]
async fn a_target_with_a_role_needs_its_permissions() {
    let at = cloud();
    let cloud = at.cloud();
    let other = iam::trusting(
        &cloud,
        "other",
        "sagemaker.amazonaws.com",
        &["sqs:SendMessage"],
    );
    let role = |id: &str, role: &str| {
        let dead = json!({"Arn": queue_arn(&format!("dead-{id}"))});
        json!({"Id": id, "Arn": queue_arn("q"), "RoleArn": role, "DeadLetterConfig": dead})
    };
    let missing = format!("arn:aws:iam::{ACCOUNT}:role/missing");
    rule(&at, "r", json!([role("a", &other), role("b", &missing)])).await;
    send(&at, json!({})).await;
    at.idle().await;
    for id in ["a", "b"] {
        let attributes = attributes(&at, &format!("dead-{id}"));
        assert_eq!(attributes["ERROR_CODE"], "NO_PERMISSIONS", "{attributes}");
    }
    assert!(queue(&at, "q").messages.is_empty());
}

#[tokio::test]
async fn what_exceeds_the_rate_of_a_build_waits_for_the_next_minute() {
    let at = cloud();
    let build = format!("arn:aws:codebuild:us-east-1:{ACCOUNT}:project/b");
    let role = format!("arn:aws:iam::{ACCOUNT}:role/none");
    let target = json!([{"Id": "b", "Arn": build, "RoleArn": role}]);
    rule(&at, "r", target).await;
    // Nobody can assume the role, so that a delivery ends with its first attempt.
    for _ in 0..61 {
        send(&at, json!({})).await;
    }
    at.idle().await;
    assert_eq!(stored(&at), (1, 1));
    at.cloud().advance(Duration::from_mins(1)).await.unwrap();
    at.idle().await;
    assert_eq!(stored(&at), (0, 0));
}
