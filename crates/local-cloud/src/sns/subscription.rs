//! A subscription and its record.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::attributes::SubscriptionAttributes;
use super::endpoint::Protocol;
use super::outbox::{self, Destination};
use super::{invalid, not_found};
use crate::Cloud;
use crate::api::ApiResult;
use crate::cloud::ACCOUNT;
use crate::store::Collection;

/// Whether messages are delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum State {
    /// Until someone presents the token, at most until this time in milliseconds.
    Pending {
        token: String,
        until: i64,
    },
    Confirmed,
}

/// The token with which a subscription was confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct UsedToken {
    /// The hex SHA-256 of the token.
    pub(super) digest: String,
    /// When it expires, in milliseconds.
    pub(super) until: i64,
}

/// A subscription.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Subscription {
    pub(super) topic: String,
    /// The last part of its ARN.
    pub(super) id: String,
    pub(super) protocol: Protocol,
    pub(super) endpoint: String,
    pub(super) state: State,
    #[serde(default)]
    pub(super) used_token: Option<UsedToken>,
    /// True if only a signed request of the account may delete it.
    pub(super) is_protected: bool,
    /// The ARN of who created it.
    pub(super) principal: String,
    pub(super) attributes: SubscriptionAttributes,
}

impl Subscription {
    /// The key of its record.
    pub(super) fn key(&self) -> String {
        format!("{}:{}", self.topic, self.id)
    }

    /// The ARN.
    pub(super) fn arn(&self, cloud: &Cloud) -> String {
        cloud.arn("sns", self.key())
    }

    /// Where its messages are delivered; `None` for e-mail.
    pub(super) fn destination(&self) -> Option<Destination<'_>> {
        Some(Destination {
            lane: self.protocol.lane()?,
            topic: &self.topic,
            subscription: self.key(),
            protocol: self.protocol.name(),
            endpoint: &self.endpoint,
        })
    }

    /// The subscription as lists show it.
    pub(super) fn shown(&self, cloud: &Cloud) -> Value {
        let arn = match self.state {
            State::Pending { .. } => "PendingConfirmation".to_owned(),
            State::Confirmed => self.arn(cloud),
        };
        json!({
            "SubscriptionArn": arn,
            "Owner": ACCOUNT,
            "Protocol": self.protocol,
            "Endpoint": self.endpoint,
            "TopicArn": cloud.arn("sns", &self.topic),
        })
    }
}

/// The records of subscriptions, by the name of the topic and the id.
pub(super) fn records(cloud: &Cloud) -> Collection<'_, Subscription> {
    cloud.store().collection("sns", "subscription")
}

/// The subscriptions of a topic, by their keys.
pub(super) fn of_topic(cloud: &Cloud, topic: &str) -> ApiResult<Vec<(String, Subscription)>> {
    records(cloud).list(&format!("{topic}:"))
}

/// The key in the ARN of a subscription.
pub(super) fn key_of<'a>(cloud: &Cloud, arn: &'a str) -> ApiResult<&'a str> {
    let parts = arn.split(':').count();
    if parts < 6 || !arn.starts_with("arn:") {
        return Err(invalid(format_args!(
            "SubscriptionArn Reason: An ARN must have at least 6 elements, not {parts}"
        )));
    }
    let key = arn.strip_prefix(&cloud.arn("sns", ""));
    key.filter(|_| parts == 7)
        .ok_or_else(|| not_found("Subscription does not exist"))
}

/// Removes a subscription and its deliveries.
pub(super) fn remove(cloud: &Cloud, key: &str) -> ApiResult<()> {
    let topic = key.split(':').next().unwrap_or_default();
    cloud.store().transaction(|tx| {
        if !records(cloud).remove_in(tx, key)? {
            return Ok(());
        }
        outbox::remove_all(tx, topic, Some(key))?;
        outbox::count_deleted(tx, topic)
    })
}
