//! Targets, rows and servers that fail, and occurrences that must not be lost.

use super::*;

#[tokio::test]
async fn an_unavailable_target_is_retried_by_the_policy() {
    let (test, cloud, role) = prepared().await;
    let target = json!({"Target": {"RetryPolicy": {"MaximumRetryAttempts": 2}}});
    create(&cloud, &schedule(&role, &at(&cloud, 60), &target))
        .await
        .unwrap();
    super::super::runner::stop(&cloud);
    advance(&cloud, 60).await;
    super::super::runner::begin_due_for_test(&cloud);
    let number = invocation(&cloud).unwrap().0;
    for expected in [Some((number, 1)), Some((number, 2)), None] {
        // The invocation is read, sending fails, and recording the failure does not.
        test.refuse_writes_after(1);
        attempt_without_writes(&test, &cloud, number).await;
        assert_eq!(invocation(&cloud), expected);
    }
    assert_eq!(count(&cloud).await, 0);
}

/// Attempts an invocation; writes are accepted again while it waits for them.
async fn attempt_without_writes(test: &TestCloud, cloud: &Cloud, number: i64) {
    let attempted = super::super::invocations::attempt(cloud.clone(), number);
    let accepted = async {
        crate::clock::sleep(Duration::from_millis(50)).await;
        test.accept_writes();
    };
    let (attempted, ()) = tokio::join!(attempted, accepted);
    attempted.unwrap();
}

/// Changes the rows of a table.
fn execute(cloud: &Cloud, sql: &str) {
    let write = |tx: &rusqlite::Transaction<'_>| Ok(tx.execute(sql, [])?);
    assert_ne!(cloud.store().transaction(write).unwrap(), 0, "{sql}");
}

#[tokio::test]
async fn an_invocation_stays_while_its_dead_letter_queue_is_unavailable() {
    let (test, cloud, role) = prepared().await;
    let dead = json!({"QueueName": "dead"});
    cloud.call("sqs", "CreateQueue", dead).await.unwrap();
    let target = json!({"Target": {
        "Arn": QUEUE.replace(":q", ":absent"),
        "DeadLetterConfig": {"Arn": QUEUE.replace(":q", ":dead")},
    }});
    create(&cloud, &schedule(&role, &at(&cloud, 1), &target))
        .await
        .unwrap();
    super::super::runner::stop(&cloud);
    advance(&cloud, 2).await;
    super::super::runner::begin_due_for_test(&cloud);
    let number = invocation(&cloud).unwrap().0;
    test.refuse_writes_after(1);
    attempt_without_writes(&test, &cloud, number).await;
    assert!(invocation(&cloud).is_some());
    assert!(messages(&cloud, "dead").await.is_empty());
    let attempted = super::super::invocations::attempt(cloud.clone(), number);
    attempted.await.unwrap();
    assert_eq!(invocation(&cloud), None);
    assert_eq!(messages(&cloud, "dead").await.len(), 1);
}

#[tokio::test]
async fn a_window_that_is_longer_than_the_interval_loses_no_occurrence() {
    let (_test, cloud, role) = prepared().await;
    let more = json!({
        "EndDate": cloud.clock().epoch() + 630.0,
        "FlexibleTimeWindow": {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 60},
    });
    create(&cloud, &schedule(&role, "rate(1 minute)", &more))
        .await
        .unwrap();
    advance(&cloud, 2 * 3600).await;
    let input = json!({
        "QueueUrl": "http://127.0.0.1:1/000000000000/q",
        "AttributeNames": ["ApproximateNumberOfMessages"],
    });
    let shown = cloud.call("sqs", "GetQueueAttributes", input).await;
    let sent = shown.unwrap()["Attributes"]["ApproximateNumberOfMessages"].clone();
    assert_eq!(sent, "11");
}

#[tokio::test]
async fn an_update_neither_repeats_nor_loses_an_occurrence() {
    let (_test, cloud, role) = prepared().await;
    let update = async |expression: &str, more: Value| {
        let input = schedule(&role, expression, &more);
        let updated = cloud.call("scheduler", "UpdateSchedule", input);
        updated.await.unwrap();
    };
    let expression = at(&cloud, 60);
    create(&cloud, &schedule(&role, &expression, &json!({})))
        .await
        .unwrap();
    advance(&cloud, 61).await;
    assert_eq!(count(&cloud).await, 1);
    update(&expression, json!({"Description": "done"})).await;
    advance(&cloud, 100).await;
    assert_eq!(count(&cloud).await, 1);
    let expression = at(&cloud, 60);
    let window = json!({"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 600});
    update(&expression, json!({"FlexibleTimeWindow": window})).await;
    advance(&cloud, 150).await;
    update(
        &expression,
        json!({"FlexibleTimeWindow": window, "Description": "waits"}),
    )
    .await;
    advance(&cloud, 36_060).await;
    assert_eq!(count(&cloud).await, 2);
}

#[tokio::test]
async fn a_schedule_is_deleted_when_it_is_complete_and_not_when_it_is_disabled() {
    let (test, cloud, role) = prepared().await;
    let more = |more: Value| {
        let mut all = json!({
            "ActionAfterCompletion": "DELETE", "EndDate": cloud.clock().epoch() + 3700.0,
        });
        for (name, value) in more.as_object().unwrap() {
            all[name] = value.clone();
        }
        all
    };
    super::super::runner::stop(&cloud);
    create(&cloud, &schedule(&role, "rate(1 hour)", &more(json!({}))))
        .await
        .unwrap();
    // An invocation that ends while the schedule is disabled.
    super::super::runner::begin_due_for_test(&cloud);
    let disabled = schedule(&role, "rate(1 hour)", &more(json!({"State": "DISABLED"})));
    cloud
        .call("scheduler", "UpdateSchedule", disabled)
        .await
        .unwrap();
    let number = invocation(&cloud).unwrap().0;
    let attempted = super::super::invocations::attempt(cloud.clone(), number);
    attempted.await.unwrap();
    assert_eq!(count(&cloud).await, 1);
    assert!(exists(&cloud).await);
    let enabled = schedule(&role, "rate(1 hour)", &more(json!({})));
    cloud
        .call("scheduler", "UpdateSchedule", enabled)
        .await
        .unwrap();
    // Its last occurrence is missed.
    advance(&cloud, 2 * 3600).await;
    let test = test.crash();
    assert!(!exists(&test.cloud()).await);
}

#[tokio::test]
async fn a_row_that_cannot_be_read_stops_no_other() {
    let (test, cloud, role) = prepared().await;
    for name in ["bad", "s"] {
        let input = schedule(&role, &at(&cloud, 60), &json!({ "Name": name }));
        create(&cloud, &input).await.unwrap();
    }
    execute(
        &cloud,
        "UPDATE scheduler_schedules SET value = 'x' WHERE name = 'bad'",
    );
    advance(&cloud, 61).await;
    assert_eq!(count(&cloud).await, 1);
    let input = schedule(&role, &at(&cloud, 60), &json!({"Name": "next"}));
    create(&cloud, &input).await.unwrap();
    super::super::runner::stop(&cloud);
    advance(&cloud, 61).await;
    super::super::runner::begin_due_for_test(&cloud);
    execute(&cloud, "UPDATE scheduler_invocations SET value = 'x'");
    execute(
        &cloud,
        "UPDATE scheduler_schedules SET occurrence = 1 WHERE name = 'bad'",
    );
    let test = test.crash();
    let cloud = test.cloud();
    let input = schedule(&role, "rate(1 day)", &json!({"Name": "last"}));
    create(&cloud, &input).await.unwrap();
    advance(&cloud, 1).await;
    assert_eq!(count(&cloud).await, 2);
}

#[tokio::test]
async fn nothing_begins_after_the_end_of_the_server() {
    let (_test, cloud, role) = prepared().await;
    super::super::runner::stop(&cloud);
    create(&cloud, &schedule(&role, "rate(1 day)", &json!({})))
        .await
        .unwrap();
    advance(&cloud, 10).await;
    assert_eq!(count(&cloud).await, 0);
}
