//! SNS: standard topics.
//!
//! ```text
//! Publish ── filter ── deliveries (a table) ── delivery: two tasks ── SQS, Lambda (the policies of queue and
//!                                                 │                    function decide)
//! Subscribe ── a request to confirm ──────────────┤
//!                                                 └── http: POST to a loopback address
//! ```
//!
//! A delivery is a row from the moment that a message is accepted until it arrives, moves to the dead-letter queue of
//! the subscription, or is given up. Retries use the cloud's time, by AWS's delivery policies.
//!
//! Messages have no signature, because the local cloud has no certificate that a client could verify it with:
//! `SignatureVersion`, `Signature` and `SigningCertURL` are absent. The local cloud reaches loopback addresses only, so
//! other HTTP endpoints, SMS, mobile push and Firehose are refused by name. E-mail subscriptions wait for a confirmation
//! that nobody can give.

use futures::future::BoxFuture;

use super::Cloud;
use super::api::ApiError;
use super::cloud::service::{RESERVED_TAG, Route, Service, operations};

mod attributes;
mod confirmation;
mod delivery;
mod encryption;
mod endpoint;
mod filter;
mod message;
mod outbox;
mod publish;
mod subscription;
mod subscriptions;
mod tags;
mod topics;

operations! {
    "ConfirmSubscription" => confirmation::confirm,
    "CreateTopic" => topics::create,
    "DeleteTopic" => topics::delete,
    "GetSubscriptionAttributes" => subscriptions::get_attributes,
    "GetTopicAttributes" => topics::get_attributes,
    "ListSubscriptions" => subscriptions::list,
    "ListSubscriptionsByTopic" => subscriptions::list_by_topic,
    "ListTagsForResource" => tags::list,
    "ListTopics" => topics::list,
    "Publish" => publish::publish,
    "PublishBatch" => publish::publish_batch,
    "SetSubscriptionAttributes" => subscriptions::set_attributes,
    "SetTopicAttributes" => topics::set_attributes,
    "Subscribe" => subscriptions::subscribe,
    "TagResource" => tags::add,
    "Unsubscribe" => subscriptions::unsubscribe,
    "UntagResource" => tags::remove,
}

/// The end of the names of FIFO topics and queues.
const FIFO: &str = ".fifo";

/// The service.
pub(crate) const SERVICE: Service = Service {
    tables: outbox::TABLES,
    query_codes: &[("AccessDenied", "AuthorizationError")],
    reserved_tag: ("InvalidParameter", RESERVED_TAG),
    resource_policy: Some(topics::policy_of),
    routes: &[Route {
        matches: confirmation::is_link,
        handle: |cloud, request| Box::pin(confirmation::follow(cloud, request)),
    }],
    recover: Some(recover),
    shut_down: Some(shut_down),
    ..Service::query(
        "sns",
        "SNS",
        "http://sns.amazonaws.com/doc/2010-03-31/",
        &[OPERATIONS],
    )
};

pub(crate) use subscriptions::subscribed;

/// The service principal for which deliveries are made.
const PRINCIPAL: &str = "sns.amazonaws.com";

fn recover(cloud: &Cloud) -> anyhow::Result<()> {
    Ok(delivery::recover(cloud)?)
}

fn shut_down(cloud: &Cloud) -> BoxFuture<'_, ()> {
    delivery::stop(cloud);
    Box::pin(std::future::ready(()))
}

/// `InvalidParameter`
fn invalid(message: impl std::fmt::Display) -> ApiError {
    ApiError::new("InvalidParameter", format!("Invalid parameter: {message}"))
}

/// `NotFound`
fn not_found(message: &str) -> ApiError {
    ApiError::not_found("NotFound", message).status(404)
}

/// The cloud's time in milliseconds.
fn now(cloud: &Cloud) -> i64 {
    cloud.clock().now().as_millisecond()
}

#[cfg(test)]
mod tests;
