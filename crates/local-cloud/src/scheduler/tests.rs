//! Schedules on the clock that tests advance.

use std::time::Duration;

use serde_json::{Value, json};

use crate::api::ApiError;
use crate::cloud::caller::Caller;
use crate::test_cloud::TestCloud;
use crate::{Cloud, iam, sts};

mod failures;

const QUEUE: &str = "arn:aws:sqs:us-east-1:000000000000:q";

/// A cloud with the queue `q` and the role `r`, which may send to queues.
async fn prepared() -> (TestCloud, Cloud, String) {
    let test = TestCloud::new();
    let cloud = test.cloud();
    let create = json!({"QueueName": "q", "Attributes": {"VisibilityTimeout": "0"}});
    cloud.call("sqs", "CreateQueue", create).await.unwrap();
    let role = iam::trusting(&cloud, "r", "scheduler.amazonaws.com", &["sqs:*"]);
    (test, cloud, role)
}

/// A request for a schedule of the queue.
fn schedule(role: &str, expression: &str, more: &Value) -> Value {
    let mut input = json!({
        "Name": "s",
        "ScheduleExpression": expression,
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "Target": {"Arn": QUEUE, "RoleArn": role, "Input": "due"},
    });
    for (name, value) in more.as_object().unwrap() {
        if name == "Target" {
            for (name, value) in value.as_object().unwrap() {
                input["Target"][name] = value.clone();
            }
        } else {
            input[name] = value.clone();
        }
    }
    input
}

async fn create(cloud: &Cloud, input: &Value) -> Result<Value, ApiError> {
    cloud
        .call("scheduler", "CreateSchedule", input.clone())
        .await
}

async fn messages(cloud: &Cloud, name: &str) -> Vec<Value> {
    let url = format!("http://127.0.0.1:1/000000000000/{name}");
    let input =
        json!({"QueueUrl": url, "MaxNumberOfMessages": 10, "MessageAttributeNames": ["All"]});
    let received = cloud.call("sqs", "ReceiveMessage", input).await.unwrap();
    received["Messages"].as_array().cloned().unwrap_or_default()
}

async fn count(cloud: &Cloud) -> usize {
    messages(cloud, "q").await.len()
}

async fn advance(cloud: &Cloud, seconds: u64) {
    let by = Duration::from_secs(seconds);
    cloud.advance(by).await.unwrap();
}

/// `at(…)` this number of seconds from now.
fn at(cloud: &Cloud, seconds: i64) -> String {
    let time = cloud.clock().now() + jiff::SignedDuration::from_secs(seconds);
    format!("at({})", time.strftime("%Y-%m-%dT%H:%M:%S"))
}

async fn exists(cloud: &Cloud) -> bool {
    let found = cloud.call("scheduler", "GetSchedule", json!({"Name": "s"}));
    found.await.is_ok()
}

#[tokio::test]
async fn a_rate_begins_at_once_and_repeats_until_it_is_disabled() {
    let (_test, cloud, role) = prepared().await;
    let created = create(&cloud, &schedule(&role, "rate(1 hour)", &json!({})))
        .await
        .unwrap();
    let arn = "arn:aws:scheduler:us-east-1:000000000000:schedule/default/s";
    assert_eq!(created["ScheduleArn"], arn);
    advance(&cloud, 0).await;
    assert_eq!(count(&cloud).await, 1);
    advance(&cloud, 3599).await;
    assert_eq!(count(&cloud).await, 1);
    advance(&cloud, 1).await;
    assert_eq!(count(&cloud).await, 2);
    advance(&cloud, 2 * 3600).await;
    assert_eq!(count(&cloud).await, 4);
    let disabled = schedule(&role, "rate(1 hour)", &json!({"State": "DISABLED"}));
    cloud
        .call("scheduler", "UpdateSchedule", disabled)
        .await
        .unwrap();
    advance(&cloud, 5 * 3600).await;
    assert_eq!(count(&cloud).await, 4);
    assert_eq!(messages(&cloud, "q").await[0]["Body"], "due");
    let shown = cloud.call("scheduler", "GetSchedule", json!({"Name": "s"}));
    let shown = shown.await.unwrap();
    assert_eq!(shown["State"], "DISABLED");
    assert_eq!(shown["ScheduleExpressionTimezone"], "UTC");
    assert_eq!(shown["Target"]["RetryPolicy"]["MaximumRetryAttempts"], 185);
}

#[tokio::test]
async fn a_one_time_schedule_occurs_once_and_can_be_deleted_then() {
    let (_test, cloud, role) = prepared().await;
    let more = json!({"ActionAfterCompletion": "DELETE"});
    let input = schedule(&role, &at(&cloud, 100), &more);
    create(&cloud, &input).await.unwrap();
    assert_eq!(
        create(&cloud, &input).await.unwrap_err().code,
        "ConflictException"
    );
    advance(&cloud, 98).await;
    assert_eq!(count(&cloud).await, 0);
    assert!(exists(&cloud).await);
    advance(&cloud, 3).await;
    assert_eq!(count(&cloud).await, 1);
    assert!(!exists(&cloud).await);
    advance(&cloud, 1000).await;
    assert_eq!(count(&cloud).await, 1);
}

#[tokio::test]
async fn dates_and_flexible_windows_limit_occurrences() {
    let (_test, cloud, role) = prepared().await;
    let now = cloud.clock().epoch();
    let more = json!({"StartDate": now + 100.0, "EndDate": now + 250.0});
    create(&cloud, &schedule(&role, "rate(1 minute)", &more))
        .await
        .unwrap();
    advance(&cloud, 98).await;
    assert_eq!(count(&cloud).await, 0);
    // At 100, 160 and 220.
    advance(&cloud, 1000).await;
    assert_eq!(count(&cloud).await, 3);
    let window = json!({"Name": "f", "FlexibleTimeWindow": {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 10}});
    create(&cloud, &schedule(&role, &at(&cloud, 60), &window))
        .await
        .unwrap();
    advance(&cloud, 58).await;
    assert_eq!(count(&cloud).await, 3);
    advance(&cloud, 603).await;
    assert_eq!(count(&cloud).await, 4);
}

#[tokio::test]
async fn after_a_restart_a_missed_time_is_made_up_for_and_missed_repetitions_are_not() {
    let (test, cloud, role) = prepared().await;
    create(&cloud, &schedule(&role, &at(&cloud, 60), &json!({})))
        .await
        .unwrap();
    let future = json!({"Name": "r", "StartDate": cloud.clock().epoch() + 120.0});
    create(&cloud, &schedule(&role, "rate(1 hour)", &future))
        .await
        .unwrap();
    // The time in which no server runs.
    super::runner::stop(&cloud);
    advance(&cloud, 2 * 3600).await;
    assert_eq!(count(&cloud).await, 0);
    let test = test.crash();
    let cloud = test.cloud();
    advance(&cloud, 0).await;
    assert_eq!(count(&cloud).await, 1);
    advance(&cloud, 3600).await;
    assert_eq!(count(&cloud).await, 2);
}

#[tokio::test]
async fn an_invocation_survives_a_crash() {
    let (test, cloud, role) = prepared().await;
    create(&cloud, &schedule(&role, &at(&cloud, 60), &json!({})))
        .await
        .unwrap();
    super::runner::stop(&cloud);
    // The occurrence becomes an invocation, and nothing more happens.
    advance(&cloud, 60).await;
    super::runner::begin_due_for_test(&cloud);
    let test = test.crash();
    let cloud = test.cloud();
    advance(&cloud, 0).await;
    assert_eq!(count(&cloud).await, 1);
    advance(&cloud, 1000).await;
    assert_eq!(count(&cloud).await, 1);
}

#[tokio::test]
async fn a_role_without_the_permission_fails_into_the_dead_letter_queue() {
    let (_test, cloud, role) = prepared().await;
    let dead = json!({"QueueName": "dead"});
    cloud.call("sqs", "CreateQueue", dead).await.unwrap();
    let policy = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": "arn:aws:sqs:*:*:dead"}]});
    let put = json!({"RoleName": "r", "PolicyName": "test", "PolicyDocument": policy.to_string()});
    cloud.call("iam", "PutRolePolicy", put).await.unwrap();
    let target = json!({"Target": {"DeadLetterConfig": {"Arn": QUEUE.replace(":q", ":dead")}}});
    create(&cloud, &schedule(&role, &at(&cloud, 1), &target))
        .await
        .unwrap();
    advance(&cloud, 2).await;
    assert_eq!(count(&cloud).await, 0);
    let letters = messages(&cloud, "dead").await;
    let attributes = &letters[0]["MessageAttributes"];
    assert_eq!(
        attributes["ERROR_CODE"]["StringValue"],
        "AccessDeniedException"
    );
    assert_eq!(attributes["TARGET_ARN"]["StringValue"], QUEUE);
    let body: Value = serde_json::from_str(letters[0]["Body"].as_str().unwrap()).unwrap();
    assert_eq!(body["MessageBody"], "due");
}

/// The number and the failed attempts of the only invocation.
fn invocation(cloud: &Cloud) -> Option<(i64, i64)> {
    let read = |tx: &rusqlite::Transaction<'_>| {
        let all = "SELECT id, attempts FROM scheduler_invocations";
        let mut all = tx.prepare(all)?;
        let mut rows = all.query([])?;
        let Some(row) = rows.next()? else {
            return Ok(None);
        };
        Ok(Some((row.get(0)?, row.get(1)?)))
    };
    cloud.store().transaction(read).unwrap()
}

#[tokio::test]
async fn a_universal_target_without_input_receives_an_empty_one() {
    let (_test, cloud, role) = prepared().await;
    let mut input = schedule(&role, "rate(1 day)", &json!({}));
    let arn = "arn:aws:scheduler:::aws-sdk:cloudwatchlogs:createLogGroup";
    input["Target"] = json!({"Arn": arn, "RoleArn": role});
    super::runner::stop(&cloud);
    create(&cloud, &input).await.unwrap();
    super::runner::begin_due_for_test(&cloud);
    let number = invocation(&cloud).unwrap().0;
    let read = |tx: &rusqlite::Transaction<'_>| super::store::pending(tx, number);
    let pending = cloud.store().transaction(read).unwrap().unwrap();
    assert_eq!(super::input::text(&cloud, &pending.invocation, 1), "{}");
}

#[tokio::test]
async fn the_input_has_the_values_of_the_invocation() {
    let (_test, cloud, role) = prepared().await;
    let input =
        "<aws.scheduler.schedule-arn> <aws.scheduler.attempt-number> <aws.scheduler.execution-id>";
    let target = json!({"Target": {"Input": input}});
    create(&cloud, &schedule(&role, "rate(1 day)", &target))
        .await
        .unwrap();
    advance(&cloud, 0).await;
    let message = messages(&cloud, "q").await.remove(0);
    let words: Vec<&str> = message["Body"].as_str().unwrap().split(' ').collect();
    assert_eq!(
        words[0],
        "arn:aws:scheduler:us-east-1:000000000000:schedule/default/s"
    );
    assert_eq!((words[1], words[2].len()), ("1", 36));
}

#[tokio::test]
async fn universal_targets_call_any_operation_with_the_role() {
    let (_test, cloud, role) = prepared().await;
    let input = json!({"QueueName": "made"}).to_string();
    let target =
        json!({"Target": {"Arn": "arn:aws:scheduler:::aws-sdk:sqs:createQueue", "Input": input}});
    create(&cloud, &schedule(&role, "rate(1 day)", &target))
        .await
        .unwrap();
    let input = json!({"LogGroupName": "made"}).to_string();
    let denied = json!({"Name": "denied", "Target": {
        "Arn": "arn:aws:scheduler:::aws-sdk:cloudwatchlogs:createLogGroup", "Input": input}});
    create(&cloud, &schedule(&role, "rate(1 day)", &denied))
        .await
        .unwrap();
    advance(&cloud, 0).await;
    let found = cloud.call("sqs", "GetQueueUrl", json!({"QueueName": "made"}));
    assert!(found.await.is_ok());
    let groups = cloud
        .call("logs", "DescribeLogGroups", json!({}))
        .await
        .unwrap();
    assert_eq!(groups["logGroups"], json!([]));
}

#[tokio::test]
async fn requests_are_checked() {
    let (_test, cloud, role) = prepared().await;
    let stranger = iam::trusting(&cloud, "stranger", "lambda.amazonaws.com", &["*"]);
    let target = |member: &str, value: Value| json!({"Target": {member: value}});
    let day = "rate(1 day)";
    for (expression, more, expected) in [
        ("rate(1 week)", json!({}), "ValidationException"),
        (
            day,
            json!({"ScheduleExpressionTimezone": "Nowhere"}),
            "ValidationException",
        ),
        (
            day,
            json!({"FlexibleTimeWindow": {"Mode": "FLEXIBLE"}}),
            "ValidationException",
        ),
        (
            day,
            json!({"FlexibleTimeWindow": {"Mode": "SOON"}}),
            "ValidationException",
        ),
        (day, json!({"StartDate": 5.0}), "ValidationException"),
        (day, json!({"EndDate": 5.0}), "ValidationException"),
        (day, json!({"Name": "a b"}), "ValidationException"),
        (
            day,
            json!({"GroupName": "absent"}),
            "ResourceNotFoundException",
        ),
        (
            day,
            target("RoleArn", stranger.into()),
            "ValidationException",
        ),
        (day, target("Arn", "x".into()), "ValidationException"),
        (
            day,
            target("Arn", "arn:aws:ecs:us-east-1:000000000000:cluster/c".into()),
            "NotImplemented",
        ),
        (
            day,
            target("EcsParameters", json!({"TaskDefinitionArn": "t"})),
            "NotImplemented",
        ),
        (
            day,
            target(
                "EventBridgeParameters",
                json!({"DetailType": "d", "Source": "s"}),
            ),
            "ValidationException",
        ),
        (
            day,
            target(
                "Arn",
                "arn:aws:lambda:us-east-1:000000000000:function:f".into(),
            ),
            "ValidationException",
        ),
        (
            day,
            json!({"KmsKeyArn": "arn:aws:kms:us-east-1:000000000000:key/absent"}),
            "ValidationException",
        ),
    ] {
        let input = schedule(&role, expression, &more);
        let error = create(&cloud, &input).await.unwrap_err();
        assert_eq!(error.code, expected, "{expression} {more}: {error}");
    }
    assert!(!exists(&cloud).await);
}

#[tokio::test]
async fn groups_hold_schedules_and_tags() {
    let (_test, cloud, role) = prepared().await;
    let call = |operation: &'static str, input: Value| {
        let cloud = cloud.clone();
        async move { cloud.call("scheduler", operation, input).await }
    };
    let group = json!({"Name": "g", "Tags": [{"Key": "team", "Value": "ml"}]});
    let arn = call("CreateScheduleGroup", group.clone()).await.unwrap()["ScheduleGroupArn"].clone();
    assert_eq!(
        call("CreateScheduleGroup", group).await.unwrap_err().code,
        "ConflictException"
    );
    for group in ["default", "g"] {
        create(
            &cloud,
            &schedule(&role, "rate(1 day)", &json!({"GroupName": group})),
        )
        .await
        .unwrap();
    }
    let listed = call("ListSchedules", json!({"MaxResults": 1}))
        .await
        .unwrap();
    let token = listed["NextToken"].clone();
    let second = call(
        "ListSchedules",
        json!({"MaxResults": 1, "NextToken": token}),
    )
    .await
    .unwrap();
    assert_eq!(listed["Schedules"][0]["GroupName"], "default");
    assert_eq!(second["Schedules"][0]["GroupName"], "g");
    assert_eq!(second.get("NextToken"), None);
    let groups = call("ListScheduleGroups", json!({})).await.unwrap();
    assert_eq!(groups["ScheduleGroups"].as_array().unwrap().len(), 2);
    call(
        "UntagResource",
        json!({"ResourceArn": arn, "TagKeys": ["team"]}),
    )
    .await
    .unwrap();
    call(
        "TagResource",
        json!({"ResourceArn": arn, "Tags": [{"Key": "k", "Value": "v"}]}),
    )
    .await
    .unwrap();
    let tags = call("ListTagsForResource", json!({"ResourceArn": arn}))
        .await
        .unwrap();
    assert_eq!(tags["Tags"], json!([{"Key": "k", "Value": "v"}]));
    call("DeleteScheduleGroup", json!({"Name": "g"}))
        .await
        .unwrap();
    let left = call("ListSchedules", json!({})).await.unwrap();
    assert_eq!(left["Schedules"].as_array().unwrap().len(), 1);
    assert!(
        call("DeleteScheduleGroup", json!({"Name": "default"}))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_caller_needs_permission_to_pass_the_role() {
    let (_test, cloud, role) = prepared().await;
    let own = iam::trusting(&cloud, "me", "lambda.amazonaws.com", &["scheduler:*"]);
    let session = sts::for_service(&cloud, &own, "me", "lambda.amazonaws.com").unwrap();
    let attempt = async |caller: Caller| {
        let wanted = schedule(&role, "rate(1 day)", &json!({}));
        let created = create(&cloud, &wanted);
        caller.scope(created).await
    };
    let error = attempt(session.caller()).await.unwrap_err();
    assert!(error.message.contains("iam:PassRole"), "{error}");
    let policy = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Action": "iam:PassRole", "Resource": role,
        "Condition": {"StringEquals": {"iam:PassedToService": "scheduler.amazonaws.com"}}}]});
    let put = json!({"RoleName": "me", "PolicyName": "pass", "PolicyDocument": policy.to_string()});
    cloud.call("iam", "PutRolePolicy", put).await.unwrap();
    attempt(session.caller()).await.unwrap();
}
