//! Deliveries and confirmations that do not succeed at once.

use super::*;

/// Runs SQL that changes rows.
fn execute(cloud: &Cloud, sql: &str) {
    let write = |tx: &rusqlite::Transaction<'_>| Ok(tx.execute(sql, [])?);
    assert_ne!(cloud.store().transaction(write).unwrap(), 0, "{sql}");
}

/// A number in the database.
fn number(cloud: &Cloud, sql: &str) -> i64 {
    let read = |tx: &rusqlite::Transaction<'_>| Ok(tx.query_row(sql, [], |row| row.get(0))?);
    cloud.store().transaction(read).unwrap()
}

/// The number of the only delivery.
fn delivery(cloud: &Cloud) -> i64 {
    assert_eq!(waiting(cloud), 1);
    number(cloud, "SELECT id FROM sns_deliveries")
}

/// Attempts a delivery; after one transaction, writes fail for a while.
async fn deliver_without_writes(test: &TestCloud, cloud: &Cloud, number: i64) {
    test.refuse_writes_after(1);
    let delivered = super::super::delivery::deliver(cloud.clone(), number);
    let accepted = async {
        crate::clock::sleep(Duration::from_millis(50)).await;
        test.accept_writes();
    };
    let (delivered, ()) = tokio::join!(delivered, accepted);
    delivered.unwrap();
}

#[tokio::test]
async fn a_message_stays_while_its_dead_letter_queue_is_unavailable() {
    let test = TestCloud::new();
    let cloud = test.cloud();
    let topic = topic(&cloud).await;
    cloud
        .call("sqs", "CreateQueue", json!({"QueueName": "q"}))
        .await
        .unwrap();
    let dead = queue(&cloud, "dead", &topic).await;
    let redrive = json!({"deadLetterTargetArn": QUEUE.replace(":q", ":dead")}).to_string();
    let attributes = json!({"Attributes": {"RedrivePolicy": redrive}});
    subscribe(&cloud, &topic, attributes).await.unwrap();
    super::super::delivery::stop(&cloud);
    publish(&cloud, &topic, json!({"Message": "m"}))
        .await
        .unwrap();
    let number = delivery(&cloud);
    deliver_without_writes(&test, &cloud, number).await;
    assert_eq!(delivery(&cloud), number);
    assert!(received(&cloud, &dead).await.is_empty());
    let delivered = super::super::delivery::deliver(cloud.clone(), number);
    delivered.await.unwrap();
    assert_eq!(waiting(&cloud), 0);
    assert_eq!(received(&cloud, &dead).await.len(), 1);
}

#[tokio::test]
async fn a_message_stays_while_its_subscription_cannot_be_read() {
    let test = TestCloud::new();
    let cloud = test.cloud();
    let topic = topic(&cloud).await;
    let url = queue(&cloud, "q", &topic).await;
    subscribe(&cloud, &topic, json!({})).await.unwrap();
    super::super::delivery::stop(&cloud);
    publish(&cloud, &topic, json!({"Message": "m"}))
        .await
        .unwrap();
    let number = delivery(&cloud);
    let kind = "service = 'sns' AND kind = 'subscription'";
    execute(
        &cloud,
        &format!("UPDATE records SET value = 'x' || value WHERE {kind}"),
    );
    let deliver = || super::super::delivery::deliver(cloud.clone(), number);
    deliver().await.unwrap();
    assert_eq!(delivery(&cloud), number);
    // After all its retries, too.
    execute(&cloud, "UPDATE sns_deliveries SET attempts = 200000");
    deliver().await.unwrap();
    assert_eq!(delivery(&cloud), number);
    execute(
        &cloud,
        &format!("UPDATE records SET value = substr(value, 2) WHERE {kind}"),
    );
    deliver().await.unwrap();
    assert_eq!(waiting(&cloud), 0);
    assert_eq!(received(&cloud, &url).await.len(), 1);
}

#[tokio::test]
async fn a_delivery_that_cannot_be_read_stops_no_other() {
    let test = TestCloud::new();
    let cloud = test.cloud();
    let topic = topic(&cloud).await;
    let url = queue(&cloud, "q", &topic).await;
    subscribe(&cloud, &topic, json!({})).await.unwrap();
    test.refuse_writes_after(1);
    publish(&cloud, &topic, json!({"Message": "bad"}))
        .await
        .unwrap();
    super::super::delivery::stop(&cloud);
    test.accept_writes();
    execute(&cloud, "UPDATE sns_contents SET content = 'x'");
    let test = test.crash();
    let cloud = test.cloud();
    publish(&cloud, &topic, json!({"Message": "m"}))
        .await
        .unwrap();
    settle(&cloud).await;
    assert_eq!(received(&cloud, &url).await.len(), 1);
    assert_eq!(waiting(&cloud), 1);
    settle(&cloud).await;
}

#[tokio::test]
async fn a_message_is_stored_once() {
    let test = TestCloud::new();
    let cloud = test.cloud();
    let topic = topic(&cloud).await;
    queue(&cloud, "q", &topic).await;
    queue(&cloud, "other", &topic).await;
    let first = subscribe(&cloud, &topic, json!({})).await.unwrap();
    let endpoint = json!({"Endpoint": QUEUE.replace(":q", ":other")});
    subscribe(&cloud, &topic, endpoint).await.unwrap();
    super::super::delivery::stop(&cloud);
    publish(&cloud, &topic, json!({"Message": "m"}))
        .await
        .unwrap();
    let contents = || number(&cloud, "SELECT count(*) FROM sns_contents");
    assert_eq!((waiting(&cloud), contents()), (2, 1));
    let input = json!({"SubscriptionArn": first});
    cloud.call("sns", "Unsubscribe", input).await.unwrap();
    assert_eq!((waiting(&cloud), contents()), (1, 1));
    let left = super::super::delivery::deliver(cloud.clone(), delivery(&cloud));
    left.await.unwrap();
    assert_eq!((waiting(&cloud), contents()), (0, 0));
}

#[tokio::test]
async fn an_expired_confirmation_is_renewed_and_a_token_can_be_presented_again() {
    let test = TestCloud::new();
    let cloud = test.cloud();
    let topic = topic(&cloud).await;
    let (url, seen) = server(&[200]).await;
    let endpoint = json!({"Protocol": "http", "Endpoint": url});
    subscribe(&cloud, &topic, endpoint).await.unwrap();
    settle(&cloud).await;
    let confirm = async |token: Value| {
        let input = json!({"TopicArn": topic, "Token": token});
        let confirmed = cloud.call("sns", "ConfirmSubscription", input).await;
        confirmed.map(|answer| answer["SubscriptionArn"].clone())
    };
    let token = |index: usize| seen.lock().unwrap()[index].1["Token"].clone();
    let day = Duration::from_hours(24);
    cloud.advance(2 * day).await.unwrap();
    let old = token(0);
    assert_eq!(
        confirm(old.clone()).await.unwrap_err().code,
        "InvalidParameter"
    );
    let raw = json!({"RawMessageDelivery": "true"});
    let endpoint = json!({"Protocol": "http", "Endpoint": url, "Attributes": raw});
    subscribe(&cloud, &topic, endpoint).await.unwrap();
    settle(&cloud).await;
    let new = token(1);
    assert!(confirm(old).await.is_err());
    let arn = confirm(new.clone()).await.unwrap();
    assert_eq!(confirm(new.clone()).await.unwrap(), arn);
    let input = json!({ "SubscriptionArn": arn });
    let shown = cloud.call("sns", "GetSubscriptionAttributes", input).await;
    assert_eq!(shown.unwrap()["Attributes"]["RawMessageDelivery"], "true");
    cloud.advance(2 * day).await.unwrap();
    assert!(confirm(new).await.is_err());
}

#[tokio::test]
async fn endpoints_and_filters_are_bounded_and_their_secrets_stay_secret() {
    let test = TestCloud::new();
    let cloud = test.cloud();
    let topic = topic(&cloud).await;
    for endpoint in [
        "http://127.0.0.1:2/a\nforged".to_owned(),
        "http://127.0.0.1:2/\t".to_owned(),
        format!("http://127.0.0.1:2/{}", "a".repeat(2048)),
    ] {
        let more = json!({"Protocol": "http", "Endpoint": endpoint});
        let error = subscribe(&cloud, &topic, more).await.unwrap_err();
        assert_eq!(error.code, "InvalidParameter", "{error}");
    }
    for host in ["example.com", "127.0.0.1:1"] {
        let endpoint = format!("http://user:password@{host}/a?key=secret");
        let more = json!({"Protocol": "http", "Endpoint": endpoint});
        let error = subscribe(&cloud, &topic, more).await.unwrap_err();
        let is_secret = |word| error.message.contains(word);
        assert!(!["user", "password", "secret"].into_iter().any(is_secret));
        assert_eq!(error.code, "NotImplemented", "{error}");
    }
    let values = vec!["a".repeat(1000); 263];
    let filter = json!({"k": [{"anything-but": values}]}).to_string();
    let attributes = json!({"Attributes": {"FilterPolicy": filter}});
    let error = subscribe(&cloud, &topic, attributes).await.unwrap_err();
    assert_eq!(error.code, "InvalidParameter", "{error}");
}
