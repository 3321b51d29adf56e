//! Delivers stored messages, and retries by AWS's delivery policies (developer guide, "Amazon SNS message delivery
//! retries").

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::future::BoxFuture;
use rusqlite::Transaction;
use serde_json::json;

use super::confirmation;
use super::endpoint::Protocol;
use super::message::Message;
use super::outbox::{self, Content, Delivery, Lane};
use super::subscription::{self, State, Subscription};
use super::{PRINCIPAL, now, topics};
use crate::api::{ApiError, ApiResult};
use crate::attempts::{self, Next, Rows};
use crate::clock::Topic;
use crate::cloud::caller::Caller;
use crate::cloud::catch_panic;
use crate::{Cloud, events, log, sqs};

/// The problem of a server that cannot write deliveries.
const WHAT: &str = "the deliveries of SNS";

/// Timeout of a request to an HTTP endpoint, in real time (developer guide: 15 seconds).
const TIMEOUT: Duration = Duration::from_secs(15);

/// Milliseconds before a dead letter is sent again that its queue could not accept.
const LATER: i64 = 20_000;

/// Deliveries to queues and functions.
struct ToAws;

/// Deliveries to HTTP endpoints.
struct ToHttp;

fn next(cloud: &Cloud, lane: Lane, running: &[i64], saturated: &[String]) -> ApiResult<Next> {
    let read = |tx: &Transaction<'_>| outbox::next(tx, lane, running, saturated);
    let first = cloud.store().transaction(read)?;
    Ok(Next::of(first, now(cloud)))
}

fn set_aside(cloud: &Cloud, id: i64) -> ApiResult<()> {
    let write = |tx: &Transaction<'_>| outbox::set_aside(tx, id);
    cloud.store().transaction(write)
}

impl Rows for ToAws {
    const WHAT: &'static str = WHAT;
    const TOPIC: Topic = Topic("deliveries of SNS to queues and functions");
    const CONCURRENT: usize = 32;
    const PER_ENDPOINT: usize = 8;

    fn next(cloud: &Cloud, running: &[i64], saturated: &[String]) -> ApiResult<Next> {
        next(cloud, Lane::Aws, running, saturated)
    }

    fn attempt(cloud: Cloud, number: i64) -> BoxFuture<'static, ApiResult<()>> {
        Box::pin(deliver(cloud, number))
    }

    fn set_aside(cloud: &Cloud, number: i64) -> ApiResult<()> {
        set_aside(cloud, number)
    }
}

impl Rows for ToHttp {
    const WHAT: &'static str = "the deliveries of SNS to HTTP endpoints";
    const TOPIC: Topic = Topic("deliveries of SNS to HTTP endpoints");
    const CONCURRENT: usize = 64;
    /// Several endpoints that hang leave room for others.
    const PER_ENDPOINT: usize = 4;

    fn next(cloud: &Cloud, running: &[i64], saturated: &[String]) -> ApiResult<Next> {
        next(cloud, Lane::Http, running, saturated)
    }

    fn attempt(cloud: Cloud, number: i64) -> BoxFuture<'static, ApiResult<()>> {
        Box::pin(deliver(cloud, number))
    }

    fn set_aside(cloud: &Cloud, number: i64) -> ApiResult<()> {
        set_aside(cloud, number)
    }
}

/// The client for HTTP endpoints.
#[derive(Debug)]
struct Client(reqwest::Client);

impl Default for Client {
    fn default() -> Self {
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(TIMEOUT)
            .user_agent("Amazon Simple Notification Service Agent")
            .build();
        Self(client.expect("a client without special settings"))
    }
}

/// Starts deliveries that were stored. The tasks are busy before this returns.
pub(super) fn wake(cloud: &Cloud) {
    attempts::wake::<ToAws>(cloud);
    attempts::wake::<ToHttp>(cloud);
}

/// Ends the tasks, which hold the cloud.
pub(super) fn stop(cloud: &Cloud) {
    attempts::stop::<ToAws>(cloud);
    attempts::stop::<ToHttp>(cloud);
}

/// Continues the deliveries of an earlier server.
pub(super) fn recover(cloud: &Cloud) -> ApiResult<()> {
    let has_some = |tx: &Transaction<'_>| -> ApiResult<bool> {
        let has_http = outbox::next(tx, Lane::Http, &[], &[])?.is_some();
        Ok(has_http || outbox::next(tx, Lane::Aws, &[], &[])?.is_some())
    };
    if cloud.store().transaction(has_some)? {
        wake(cloud);
    }
    Ok(())
}

/// The outcome of an attempt that failed.
enum Failure {
    /// Another attempt can succeed.
    Temporary(String),
    /// None can: the endpoint does not exist, or its policy does not allow the delivery.
    Permanent(String),
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        let text = error.to_string();
        if events::is_final(&error) {
            Self::Permanent(text)
        } else {
            Self::Temporary(text)
        }
    }
}

/// Attempts a delivery, and records its outcome. If it cannot be recorded, the delivery is repeated after a restart.
pub(super) async fn deliver(cloud: Cloud, id: i64) -> ApiResult<()> {
    let read = || cloud.store().transaction(|tx| outbox::get(tx, id));
    let Some(delivery) = cloud.persist(WHAT, read).await? else {
        return Ok(());
    };
    let protocol = Protocol::parse(&delivery.protocol)?;
    let arn = cloud.arn("sns", &delivery.subscription);
    let what = format!("a delivery to the subscription {arn}");
    let attempt = async { Ok(attempt(&cloud, &delivery).await) };
    // A delivery that panics would panic again.
    let outcome = catch_panic(&what, attempt)
        .await
        .unwrap_or_else(|error| Err(Failure::Permanent(error.message)));
    let reason = match outcome {
        Ok(()) => return remove(&cloud, id).await,
        Err(Failure::Temporary(reason)) => {
            if let Some(pause) = pause(protocol, delivery.attempts) {
                return postpone(&cloud, id, pause, 1).await;
            }
            reason
        }
        Err(Failure::Permanent(reason)) => reason,
    };
    log::write_line(&format!("{what} failed: {reason}"));
    if let Content::Notification(message) = &delivery.content {
        // Its errors are outcomes: an error that is left is a panic.
        let buried = async { Ok(bury(&cloud, &delivery.subscription, message).await) };
        if catch_panic(&what, buried).await?.is_err() {
            return postpone(&cloud, id, LATER, 0).await;
        }
    }
    remove(&cloud, id).await
}

async fn remove(cloud: &Cloud, id: i64) -> ApiResult<()> {
    let write = || cloud.store().transaction(|tx| outbox::remove(tx, id));
    cloud.persist(WHAT, write).await
}

async fn postpone(cloud: &Cloud, id: i64, pause: i64, attempts: u32) -> ApiResult<()> {
    let due = now(cloud) + pause;
    let write = || {
        let postpone = |tx: &Transaction<'_>| outbox::postpone(tx, id, due, attempts);
        cloud.store().transaction(postpone)
    };
    cloud.persist(WHAT, write).await
}

/// Milliseconds before the next attempt, after `failed` attempts before this one; `None` if it was the last.
fn pause(protocol: Protocol, failed: u32) -> Option<i64> {
    let seconds = match protocol {
        // Three retries, 20 seconds apart.
        Protocol::Http | Protocol::Https => (failed < 3).then_some(20),
        // Three at once, two after a second, ten with a pause that grows to 20 seconds, then 100,000.
        _ => match failed {
            0..3 => Some(0),
            3..5 => Some(1),
            5..15 => Some((1_i64 << (failed - 5).min(5)).min(20)),
            15..100_015 => Some(20),
            _ => None,
        },
    };
    seconds.map(|seconds| seconds * 1000)
}

async fn attempt(cloud: &Cloud, delivery: &Delivery) -> Result<(), Failure> {
    let Some(subscription) = subscription::records(cloud).get(&delivery.subscription)? else {
        // It was deleted in the meantime.
        return Ok(());
    };
    match &delivery.content {
        Content::Notification(message) => notify(cloud, &subscription, message).await,
        // It was confirmed in the meantime.
        Content::Confirmation { .. } if subscription.state == State::Confirmed => Ok(()),
        Content::Confirmation { token, time } => {
            let document = confirmation::document(cloud, &subscription, token, *time);
            let id = document["MessageId"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            let kind = "SubscriptionConfirmation";
            let body = document.to_string();
            post(cloud, &subscription, kind, &id, body).await
        }
    }
}

async fn notify(
    cloud: &Cloud,
    subscription: &Subscription,
    message: &Message,
) -> Result<(), Failure> {
    let topic = topics::arn(cloud, &subscription.topic);
    let caller = Caller::service(PRINCIPAL, topic);
    match subscription.protocol {
        Protocol::Sqs => {
            let url = sqs::url(cloud, &subscription.endpoint);
            let Some(input) = message.for_queue(cloud, subscription, &url) else {
                let reason = "a queue accepts at most 10 message attributes";
                return Err(Failure::Permanent(reason.to_owned()));
            };
            let sent = cloud.call("sqs", "SendMessage", input);
            caller.scope(sent).await?;
            Ok(())
        }
        Protocol::Lambda => {
            let event = message.event(cloud, subscription).to_string();
            let input = json!({
                "FunctionName": subscription.endpoint,
                "InvocationType": "Event",
                "Payload": STANDARD.encode(event),
            });
            let invoked = cloud.call("lambda", "Invoke", input);
            caller.scope(invoked).await?;
            Ok(())
        }
        Protocol::Http | Protocol::Https => {
            let body = if subscription.attributes.is_raw {
                message.text_for(subscription.protocol).to_owned()
            } else {
                message.envelope(cloud, subscription).to_string()
            };
            post(cloud, subscription, "Notification", &message.id, body).await
        }
        Protocol::Email | Protocol::EmailJson => {
            Err(Failure::Permanent("no e-mail is sent".to_owned()))
        }
    }
}

/// Sends a request to an HTTP endpoint. As in AWS, client errors other than 429 are final.
async fn post(
    cloud: &Cloud,
    subscription: &Subscription,
    kind: &str,
    id: &str,
    body: String,
) -> Result<(), Failure> {
    // The endpoint was checked, but this server may have moved to its port since.
    subscription
        .protocol
        .check(cloud, &subscription.endpoint)
        .map_err(|error| Failure::Permanent(error.message))?;
    let client = &cloud.state::<Client>().0;
    let topic = topics::arn(cloud, &subscription.topic);
    let mut request = client
        .post(&subscription.endpoint)
        .header("content-type", "text/plain; charset=UTF-8")
        .header("x-amz-sns-message-type", kind)
        .header("x-amz-sns-message-id", id)
        .header("x-amz-sns-topic-arn", topic);
    if kind == "Notification" {
        request = request.header("x-amz-sns-subscription-arn", subscription.arn(cloud));
        if subscription.attributes.is_raw {
            request = request.header("x-amz-sns-rawdelivery", "true");
        }
    }
    let response = request.body(body).send().await;
    // The URL may have a password.
    let response = response.map_err(|error| {
        let error = anyhow::Error::new(error.without_url());
        Failure::Temporary(format!("{error:#}"))
    })?;
    let status = response.status();
    let reason = format!("the endpoint returned {status}");
    if status.is_success() {
        Ok(())
    } else if status.is_client_error() && status.as_u16() != 429 {
        Err(Failure::Permanent(reason))
    } else {
        Err(Failure::Temporary(reason))
    }
}

/// Sends a message that cannot be delivered to the dead-letter queue of its subscription, if there is one. Without a
/// queue, or if the queue refuses it, the message is dropped; the server's log has the reason.
///
/// # Errors
/// The subscription cannot be read, or the queue cannot accept the message, at the moment.
async fn bury(cloud: &Cloud, subscription: &str, message: &Message) -> ApiResult<()> {
    let Some(subscription) = subscription::records(cloud).get(subscription)? else {
        return Ok(());
    };
    let Some(arn) = &subscription.attributes.dead_letters else {
        return Ok(());
    };
    let url = sqs::url(cloud, arn);
    let input = match message.for_queue(cloud, &subscription, &url) {
        Some(input) => input,
        None => {
            json!({"QueueUrl": url, "MessageBody": message.text_for(subscription.protocol)})
        }
    };
    let caller = Caller::service(PRINCIPAL, topics::arn(cloud, &subscription.topic));
    let sent = cloud.call("sqs", "SendMessage", input);
    if let Err(refused) = caller.scope(sent).await {
        log::write_line(&format!("cannot send a message of SNS to {arn}: {refused}"));
        if refused.is_unavailable() {
            return Err(refused);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throttling_is_temporary() {
        for (error, expected) in [
            (
                ApiError::new("TooManyRequestsException", "no").status(429),
                true,
            ),
            (ApiError::unavailable("no"), true),
            (ApiError::denied("AccessDenied", "no"), false),
            (ApiError::new("InvalidMessageContents", "no"), false),
        ] {
            let code = error.code.clone();
            let is_temporary = matches!(error.into(), Failure::Temporary(_));
            assert_eq!(is_temporary, expected, "{code}");
        }
    }

    #[test]
    fn retries_follow_the_policies_of_aws() {
        let http: Vec<_> = (0..5).map(|it| pause(Protocol::Http, it)).collect();
        assert_eq!(http, [Some(20_000), Some(20_000), Some(20_000), None, None]);
        let aws: Vec<_> = (0..16).filter_map(|it| pause(Protocol::Sqs, it)).collect();
        let seconds = [0, 0, 0, 1, 1, 1, 2, 4, 8, 16, 20, 20, 20, 20, 20, 20];
        assert_eq!(aws, seconds.map(|it| it * 1000));
        assert_eq!(pause(Protocol::Lambda, 100_014), Some(20_000));
        assert_eq!(pause(Protocol::Lambda, 100_015), None);
    }
}
