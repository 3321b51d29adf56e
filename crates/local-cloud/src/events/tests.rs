//! Rules and deliveries. Queues are those of a small service of this file, which fails as a test wants.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::*;
use crate::api::{ApiError, ApiResult};
use crate::cloud::ACCOUNT;
use crate::cloud::service::Service;
use crate::policy::Call;
use crate::test_cloud::{Refused, TestCloud};

/// Queues that store their messages. `fails-N` fails N times before.
mod queues {
    use super::*;

    operations! {
        "SendMessage" => send,
    }

    pub(super) const SERVICE: Service = Service {
        resource_policy: Some(policy),
        ..Service::json("sqs", "SQS", "AmazonSQS", &[OPERATIONS])
    };

    /// Every queue except `closed` accepts messages of EventBridge.
    #[expect(clippy::unnecessary_wraps, reason = "the type of such functions")]
    fn policy(_: &Cloud, call: &Call) -> ApiResult<Option<String>> {
        let policy = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sqs:SendMessage",
            "Principal": {"Service": "events.amazonaws.com"}, "Resource": "*"}]});
        Ok((!call.resource.ends_with(":closed")).then(|| policy.to_string()))
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Send {
        queue_url: String,
        message_body: String,
        message_attributes: Option<Value>,
        message_group_id: Option<String>,
    }

    /// A queue: its messages, and how often sending has failed.
    #[derive(Debug, Default, Serialize, Deserialize)]
    pub(super) struct Queue {
        pub(super) messages: Vec<Value>,
        pub(super) failures: usize,
    }

    /// Ends the wait of the queue `slow`.
    #[derive(Debug, Default)]
    pub(super) struct Slow(pub(super) Notify);

    async fn send(cloud: &Cloud, input: Send) -> ApiResult<Value> {
        let name = input.queue_url.rsplit('/').next().unwrap_or_default();
        if name.starts_with("slow") {
            cloud.state::<Slow>().0.notified().await;
        }
        if name == "missing" {
            return Err(ApiError::not_found("QueueDoesNotExist", "no queue"));
        }
        let queues = cloud.store().collection::<Queue>("sqs", "queue");
        let mut queue = queues.get(name)?.unwrap_or_default();
        let fails = name.strip_prefix("fails-").and_then(|n| n.parse().ok());
        let is_failure = queue.failures < fails.unwrap_or(0);
        if is_failure {
            queue.failures += 1;
        } else {
            queue.messages.push(json!({
                "body": serde_json::from_str::<Value>(&input.message_body).unwrap_or_default(),
                "attributes": input.message_attributes,
                "group": input.message_group_id,
            }));
        }
        queues.put(name, &queue)?;
        if is_failure {
            return Err(ApiError::internal("the queue is broken"));
        }
        Ok(json!({}))
    }

    pub(super) fn queue(at: &TestCloud, name: &str) -> Queue {
        let queues = at.cloud();
        let queues = queues.store().collection::<Queue>("sqs", "queue");
        queues.get(name).unwrap().unwrap_or_default()
    }
}

use queues::queue;

mod failures;

static SERVICES: &[&Service] = &[
    &SERVICE,
    &queues::SERVICE,
    &crate::codebuild::SERVICE,
    &crate::sts::SERVICE,
    &crate::iam::SERVICE,
];

fn cloud() -> TestCloud {
    TestCloud::with_services(SERVICES)
}

fn queue_arn(name: &str) -> String {
    format!("arn:aws:sqs:us-east-1:{ACCOUNT}:{name}")
}

async fn call(at: &TestCloud, operation: &str, input: Value) -> Result<Value, Refused> {
    at.call("events", operation, input).await
}

/// A rule for the source `my.app`, with these targets.
async fn rule(at: &TestCloud, name: &str, targets: Value) {
    let pattern = json!({"source": ["my.app"]}).to_string();
    let put = json!({"Name": name, "EventPattern": pattern});
    call(at, "PutRule", put).await.unwrap();
    if targets != json!([]) {
        let put = json!({"Rule": name, "Targets": targets});
        call(at, "PutTargets", put).await.unwrap();
    }
}

async fn send(at: &TestCloud, detail: Value) {
    let entry = json!({"Source": "my.app", "DetailType": "t", "Detail": detail.to_string()});
    let sent = call(at, "PutEvents", json!({"Entries": [entry]}))
        .await
        .unwrap();
    assert_eq!(sent["FailedEntryCount"], 0, "{sent}");
}

/// The numbers of stored events and deliveries.
fn stored(at: &TestCloud) -> (i64, i64) {
    let count = |table: &str| {
        let sql = format!("SELECT count(*) FROM {table}");
        let cloud = at.cloud();
        let count = cloud
            .store()
            .transaction(|tx| Ok(tx.query_row(&sql, [], |row| row.get(0))?));
        count.unwrap()
    };
    (count("events_accepted"), count("events_deliveries"))
}

#[tokio::test]
async fn rules_are_put_described_listed_and_deleted() {
    let at = cloud();
    let pattern = r#"{"source": ["a"]}"#;
    let put = json!({"Name": "r", "EventPattern": pattern, "Description": "d", "Tags": [{"Key": "k", "Value": "v"}]});
    let answer = call(&at, "PutRule", put).await.unwrap();
    let arn = format!("arn:aws:events:us-east-1:{ACCOUNT}:rule/r");
    assert_eq!(answer, json!({"RuleArn": arn}));
    let described = call(
        &at,
        "DescribeRule",
        json!({"Name": "r", "EventBusName": "default"}),
    )
    .await
    .unwrap();
    let mut expected = json!({"Name": "r", "Arn": arn, "EventPattern": pattern, "State": "ENABLED",
        "EventBusName": "default", "Description": "d"});
    let listed = call(&at, "ListRules", json!({"NamePrefix": "r"}))
        .await
        .unwrap();
    assert_eq!(listed, json!({"Rules": [expected]}));
    expected["CreatedBy"] = ACCOUNT.into();
    assert_eq!(described, expected);
    let tags = call(&at, "ListTagsForResource", json!({"ResourceARN": arn}))
        .await
        .unwrap();
    assert_eq!(tags, json!({"Tags": [{"Key": "k", "Value": "v"}]}));
    call(&at, "DisableRule", json!({"Name": "r"}))
        .await
        .unwrap();
    let described = call(&at, "DescribeRule", json!({"Name": "r"}))
        .await
        .unwrap();
    assert_eq!(described["State"], "DISABLED");
    let target = json!({"Id": "t", "Arn": queue_arn("q")});
    call(&at, "PutTargets", json!({"Rule": "r", "Targets": [target]}))
        .await
        .unwrap();
    let names = call(
        &at,
        "ListRuleNamesByTarget",
        json!({"TargetArn": queue_arn("q")}),
    )
    .await
    .unwrap();
    assert_eq!(names, json!({"RuleNames": ["r"]}));
    let targets = call(&at, "ListTargetsByRule", json!({"Rule": "r"}))
        .await
        .unwrap();
    assert_eq!(targets, json!({"Targets": [target]}));
    let error = call(&at, "DeleteRule", json!({"Name": "r"}))
        .await
        .unwrap_err();
    assert_eq!(error.message, "Rule can't be deleted since it has targets.");
    let removed = call(
        &at,
        "RemoveTargets",
        json!({"Rule": "r", "Ids": ["t", "x"]}),
    )
    .await
    .unwrap();
    assert_eq!(removed["FailedEntries"][0]["TargetId"], "x");
    for _ in 0..2 {
        call(&at, "DeleteRule", json!({"Name": "r"})).await.unwrap();
    }
    let error = call(&at, "DescribeRule", json!({"Name": "r"}))
        .await
        .unwrap_err();
    assert_eq!(error.message, "Rule r does not exist on EventBus default.");
    let bus = call(&at, "DescribeEventBus", json!({})).await.unwrap();
    let buses = call(&at, "ListEventBuses", json!({})).await.unwrap();
    assert_eq!(buses, json!({"EventBuses": [bus]}));
}

#[tokio::test]
async fn what_is_not_supported_or_not_valid_is_refused() {
    let at = cloud();
    rule(&at, "r", json!([])).await;
    for (operation, input, code) in [
        (
            "PutRule",
            json!({"Name": "x", "EventPattern": "{}"}),
            "InvalidEventPatternException",
        ),
        ("PutRule", json!({"Name": "x"}), "ValidationException"),
        (
            "PutRule",
            json!({"Name": "x", "EventPattern": "{\"a\": [1]}", "EventBusName": "mine"}),
            "NotImplemented",
        ),
        (
            "DescribeRule",
            json!({"Name": "r", "EventBusName": "mine"}),
            "NotImplemented",
        ),
        (
            "PutTargets",
            json!({"Rule": "none", "Targets": [{"Id": "t", "Arn": queue_arn("q")}]}),
            "ResourceNotFoundException",
        ),
        (
            "PutTargets",
            json!({"Rule": "r", "Targets": [{"Id": "t", "Arn": "arn:aws:kinesis:us-east-1:000000000000:stream/s"}]}),
            "NotImplemented",
        ),
        (
            "PutTargets",
            json!({"Rule": "r", "Targets": [{"Id": "t", "Arn": "arn:aws:sqs:eu-west-1:000000000000:q"}]}),
            "NotImplemented",
        ),
        (
            "PutTargets",
            json!({"Rule": "r", "Targets": [{"Id": "t", "Arn": "q"}]}),
            "ValidationException",
        ),
        (
            "PutTargets",
            json!({"Rule": "r", "Targets": [{"Id": "t", "Arn": "arn:aws:codepipeline:us-east-1:000000000000:p"}]}),
            "ValidationException",
        ),
        (
            "PutTargets",
            json!({"Rule": "r", "Targets": [{"Id": "t", "Arn": queue_arn("q"), "Input": "{"}]}),
            "ValidationException",
        ),
        (
            "PutTargets",
            json!({"Rule": "r", "Targets": [{"Id": "t", "Arn": queue_arn("q"), "InputPath": "detail"}]}),
            "ValidationException",
        ),
        (
            "PutTargets",
            json!({"Rule": "r", "Targets": [{"Id": "t", "Arn": queue_arn("q"), "Input": "1", "InputPath": "$"}]}),
            "ValidationException",
        ),
        (
            "PutTargets",
            json!({"Rule": "r", "Targets": [{"Id": "t", "Arn": queue_arn("q"), "InputTransformer": {"InputTemplate": "<x>"}}]}),
            "ValidationException",
        ),
        (
            "PutTargets",
            json!({"Rule": "r", "Targets": [{"Id": "t", "Arn": queue_arn("q"), "DeadLetterConfig": {"Arn": "arn:aws:sns:us-east-1:000000000000:t"}}]}),
            "ValidationException",
        ),
    ] {
        let error = call(&at, operation, input.clone()).await.unwrap_err();
        assert_eq!(error.code, code, "{operation} {input}: {error}");
    }
    let targets: Vec<Value> = (0..6)
        .map(|n| json!({"Id": format!("t{n}"), "Arn": queue_arn("q")}))
        .collect();
    let error = call(&at, "PutTargets", json!({"Rule": "r", "Targets": targets}))
        .await
        .unwrap_err();
    assert_eq!(error.code, "LimitExceededException");
}

#[tokio::test]
async fn an_entry_that_is_not_valid_fails_alone() {
    let at = cloud();
    let entries = json!([
        {"Source": "aws.s3", "DetailType": "t", "Detail": "{}"},
        {"Source": "a", "DetailType": "t", "Detail": "[]"},
        {"Source": "a", "DetailType": "t"},
        {"Source": "a", "DetailType": "t", "Detail": "{}"},
    ]);
    let sent = call(&at, "PutEvents", json!({"Entries": entries}))
        .await
        .unwrap();
    assert_eq!(sent["FailedEntryCount"], 3);
    let codes: Vec<_> = (0..3)
        .map(|n| sent["Entries"][n]["ErrorCode"].clone())
        .collect();
    assert_eq!(
        codes,
        [
            "NotAuthorizedForSourceException",
            "MalformedDetail",
            "InvalidArgument"
        ]
    );
}

#[tokio::test]
async fn an_event_reaches_every_target_in_its_form() {
    let at = cloud();
    let transformer =
        json!({"InputPathsMap": {"n": "$.detail.n"}, "InputTemplate": "{\"number\": <n>}"});
    rule(&at, "r", json!([
        {"Id": "a", "Arn": queue_arn("whole")},
        {"Id": "b", "Arn": queue_arn("part"), "InputPath": "$.detail"},
        {"Id": "c", "Arn": queue_arn("constant"), "Input": "[1]"},
        {"Id": "d", "Arn": queue_arn("text"), "InputTransformer": transformer, "SqsParameters": {"MessageGroupId": "g"}},
    ])).await;
    send(&at, json!({"n": 5})).await;
    at.idle().await;
    let whole = queue(&at, "whole").messages[0]["body"].clone();
    assert_eq!(whole["detail"], json!({"n": 5}));
    assert_eq!(
        (&whole["source"], &whole["detail-type"]),
        (&json!("my.app"), &json!("t"))
    );
    assert_eq!(queue(&at, "part").messages[0]["body"], json!({"n": 5}));
    assert_eq!(queue(&at, "constant").messages[0]["body"], json!([1]));
    let text = &queue(&at, "text").messages[0];
    assert_eq!(
        (&text["body"], &text["group"]),
        (&json!({"number": 5}), &json!("g"))
    );
    assert_eq!(stored(&at), (0, 0));
}

#[tokio::test]
async fn an_event_without_a_rule_is_not_stored() {
    let at = cloud();
    rule(&at, "r", json!([{"Id": "a", "Arn": queue_arn("q")}])).await;
    assert!(is_ignored(&at.cloud(), "aws.ecr"));
    assert!(!is_ignored(&at.cloud(), "my.app"));
    call(&at, "DisableRule", json!({"Name": "r"}))
        .await
        .unwrap();
    send(&at, json!({})).await;
    assert_eq!(stored(&at), (0, 0));
    call(&at, "EnableRule", json!({"Name": "r"})).await.unwrap();
    send(&at, json!({})).await;
    assert_eq!(stored(&at), (1, 1));
    at.idle().await;
    assert_eq!(queue(&at, "q").messages.len(), 1);
}

#[tokio::test]
async fn an_event_belongs_to_the_transaction_of_its_cause() {
    let at = cloud();
    let cloud = at.cloud();
    let pattern = json!({"source": ["aws.test"]}).to_string();
    call(
        &at,
        "PutRule",
        json!({"Name": "r", "EventPattern": pattern}),
    )
    .await
    .unwrap();
    let targets = json!([{"Id": "t", "Arn": queue_arn("q")}]);
    call(&at, "PutTargets", json!({"Rule": "r", "Targets": targets}))
        .await
        .unwrap();
    let event = |n: i32| Event {
        source: "aws.test",
        detail_type: "t",
        resources: Vec::new(),
        detail: json!({"n": n}),
    };
    for (n, fails) in [(1, true), (2, false)] {
        let result = cloud.store().transaction(|tx| {
            publish_in(tx, &cloud, event(n))?;
            if fails {
                Err(ApiError::internal("no"))
            } else {
                Ok(())
            }
        });
        assert_eq!(result.is_err(), fails);
    }
    deliver_soon(&cloud);
    publish(&cloud, event(3)).unwrap();
    at.idle().await;
    let numbers: Vec<Value> = queue(&at, "q")
        .messages
        .iter()
        .map(|it| it["body"]["detail"]["n"].clone())
        .collect();
    assert_eq!(numbers, [2, 3]);
}

#[tokio::test]
async fn a_log_group_and_a_function_receive_events() {
    let at = TestCloud::new();
    let group = json!({"logGroupName": "/aws/events/all"});
    at.call("logs", "CreateLogGroup", group).await.unwrap();
    let logs = format!("arn:aws:logs:us-east-1:{ACCOUNT}:log-group:/aws/events/all:*");
    let function = format!("arn:aws:lambda:us-east-1:{ACCOUNT}:function:f");
    let now = at.cloud().clock().now().as_millisecond();
    let template = json!({
        "InputPathsMap": {"n": "$.detail.n"},
        "InputTemplate": format!(r#"{{"timestamp": {now}, "message": "n is <n>"}}"#),
    });
    let old = json!({"InputTemplate": r#"{"timestamp": 5, "message": "too old"}"#});
    rule(
        &at,
        "r",
        json!([
            {"Id": "a", "Arn": logs},
            {"Id": "b", "Arn": function},
        ]),
    )
    .await;
    rule(
        &at,
        "s",
        json!([{"Id": "a", "Arn": logs, "InputTransformer": template}, {"Id": "b", "Arn": logs, "InputTransformer": old}]),
    )
    .await;
    send(&at, json!({"n": 1})).await;
    send(&at, json!({"n": 2})).await;
    at.idle().await;
    let lines = |stream: &str| crate::logs::lines(&at.cloud(), "/aws/events/all", stream).unwrap();
    let details: Vec<Value> = lines("r")
        .iter()
        .map(|(_, line)| serde_json::from_str::<Value>(line).unwrap()["detail"]["n"].clone())
        .collect();
    assert_eq!(details, [1, 2]);
    assert_eq!(
        lines("s")
            .iter()
            .map(|(_, line)| line.as_str())
            .collect::<Vec<_>>(),
        ["n is 1", "n is 2"]
    );
    // The function does not exist and CloudWatch Logs refuses old lines, so these events are dropped.
    assert_eq!(stored(&at), (0, 0));
}

#[tokio::test]
async fn many_events_against_many_rules_are_all_delivered() {
    let at = cloud();
    for n in 0..100 {
        let pattern =
            json!({"source": ["my.app"], "detail": {"n": [n], "kind": [{"prefix": "a"}]}})
                .to_string();
        call(
            &at,
            "PutRule",
            json!({"Name": format!("r{n}"), "EventPattern": pattern}),
        )
        .await
        .unwrap();
        let targets = json!([{"Id": "t", "Arn": queue_arn("q")}]);
        call(
            &at,
            "PutTargets",
            json!({"Rule": format!("r{n}"), "Targets": targets}),
        )
        .await
        .unwrap();
    }
    for n in 0..200 {
        send(&at, json!({"n": n % 100, "kind": "abc"})).await;
    }
    at.idle().await;
    assert_eq!(queue(&at, "q").messages.len(), 200);
}
