//! The operations on subscriptions.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::attributes::{DELIVERY_POLICY, SubscriptionAttributes};
use super::endpoint::Protocol;
use super::outbox;
use super::subscription::{State, Subscription, key_of, of_topic, records, remove};
use super::topics::{self, PAGE};
use super::{confirmation, delivery, invalid, not_found, now};
use crate::Cloud;
use crate::api::form;
use crate::api::keyed_page::page;
use crate::api::{ApiError, ApiResult};
use crate::cloud::ACCOUNT;
use crate::cloud::caller::Caller;

/// Maximum number of subscriptions of a topic here; AWS allows 12.5 million.
const MAX_SUBSCRIPTIONS: usize = 1000;

fn require(cloud: &Cloud, arn: &str) -> ApiResult<Subscription> {
    records(cloud)
        .get(key_of(cloud, arn)?)?
        .ok_or_else(|| not_found("Subscription does not exist"))
}

/// The ARN of the subscription of an endpoint, also of one that is not confirmed yet.
pub(crate) fn subscribed(
    cloud: &Cloud,
    topic: &str,
    protocol: &str,
    endpoint: &str,
) -> ApiResult<Option<String>> {
    let Some(name) = topic.strip_prefix(&cloud.arn("sns", "")) else {
        return Ok(None);
    };
    let all = of_topic(cloud, name)?.into_iter();
    let mut all = all.map(|(_, subscription)| subscription);
    let found = all.find(|it| it.protocol.name() == protocol && it.endpoint == endpoint);
    Ok(found.map(|subscription| subscription.arn(cloud)))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Subscribe {
    #[serde(default)]
    topic_arn: String,
    #[serde(default)]
    protocol: String,
    #[serde(default)]
    endpoint: String,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "form::flag")]
    return_subscription_arn: Option<bool>,
}

/// `Subscribe`. An endpoint that is subscribed already keeps its subscription, as in AWS.
pub(super) async fn subscribe(cloud: &Cloud, input: Subscribe) -> ApiResult<Value> {
    let topic = topics::require(cloud, &input.topic_arn)?;
    let protocol = Protocol::parse(&input.protocol)?;
    protocol.check(cloud, &input.endpoint)?;
    let mut attributes = SubscriptionAttributes::default();
    attributes.set(&input.attributes, cloud)?;
    if attributes.is_raw && !protocol.can_be_raw() {
        return Err(invalid(format_args!(
            "Attributes Reason: RawMessageDelivery: Delivery protocol [{}] does not support raw message delivery.",
            input.protocol
        )));
    }
    let principal = match Caller::current() {
        Caller::Session(session) => session.arn.clone(),
        _ => format!("arn:aws:iam::{ACCOUNT}:root"),
    };
    let new = Subscription {
        topic: topic.name.clone(),
        id: uuid::Uuid::new_v4().to_string(),
        protocol,
        endpoint: input.endpoint,
        state: if protocol.needs_confirmation() {
            confirmation::pending(cloud)
        } else {
            State::Confirmed
        },
        used_token: None,
        is_protected: !protocol.needs_confirmation(),
        principal,
        attributes,
    };
    let subscription = add(cloud, new)?;
    delivery::wake(cloud);
    let is_pending = matches!(subscription.state, State::Pending { .. });
    let arn = if is_pending && input.return_subscription_arn != Some(true) {
        "pending confirmation".to_owned()
    } else {
        subscription.arn(cloud)
    };
    Ok(json!({"SubscriptionArn": arn}))
}

/// Stores a subscription with the request to confirm it; returns the existing one of its endpoint, if there is one.
fn add(cloud: &Cloud, new: Subscription) -> ApiResult<Subscription> {
    let now = now(cloud);
    cloud.store().transaction(|tx| {
        if topics::records(cloud).get_in(tx, &new.topic)?.is_none() {
            return Err(not_found("Topic does not exist"));
        }
        let existing = records(cloud).list_in(tx, &format!("{}:", new.topic))?;
        let count = existing.len();
        let mut existing = existing.into_iter().map(|(_, it)| it);
        let same = existing.find(|it| it.protocol == new.protocol && it.endpoint == new.endpoint);
        let wanted = match same {
            Some(found) => match found.state {
                // A repeated request sends the token again, or a new one.
                State::Pending { until, .. } => {
                    let state = if until <= now {
                        confirmation::pending(cloud)
                    } else {
                        found.state.clone()
                    };
                    Subscription {
                        state,
                        attributes: new.attributes,
                        ..found
                    }
                }
                State::Confirmed if found.attributes == new.attributes => return Ok(found),
                State::Confirmed => {
                    return Err(invalid(
                        "Attributes Reason: Subscription already exists with different attributes",
                    ));
                }
            },
            None if count >= MAX_SUBSCRIPTIONS => {
                let message =
                    format!("A topic can have at most {MAX_SUBSCRIPTIONS} subscriptions here");
                return Err(ApiError::new("SubscriptionLimitExceeded", message).status(403));
            }
            None => new,
        };
        records(cloud).put_in(tx, &wanted.key(), &wanted)?;
        confirmation::request(cloud, tx, &wanted)?;
        Ok(wanted)
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ByArn {
    #[serde(default)]
    subscription_arn: String,
}

/// `Unsubscribe`, which succeeds for a subscription that does not exist.
pub(super) async fn unsubscribe(cloud: &Cloud, input: ByArn) -> ApiResult<Value> {
    match key_of(cloud, &input.subscription_arn) {
        Ok(key) => remove(cloud, key)?,
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error),
    }
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct List {
    topic_arn: Option<String>,
    next_token: Option<String>,
}

/// `ListSubscriptions`
pub(super) async fn list(cloud: &Cloud, input: List) -> ApiResult<Value> {
    listed(cloud, records(cloud).list("")?, input.next_token.as_deref())
}

/// `ListSubscriptionsByTopic`
pub(super) async fn list_by_topic(cloud: &Cloud, input: List) -> ApiResult<Value> {
    let topic = topics::require(cloud, input.topic_arn.as_deref().unwrap_or_default())?;
    let found = of_topic(cloud, &topic.name)?;
    listed(cloud, found, input.next_token.as_deref())
}

fn listed(
    cloud: &Cloud,
    found: Vec<(String, Subscription)>,
    token: Option<&str>,
) -> ApiResult<Value> {
    let shown = found.into_iter().map(|(key, it)| (key, it.shown(cloud)));
    page("Subscriptions", shown, PAGE, token).map_err(|_| invalid("NextToken"))
}

/// `GetSubscriptionAttributes`
pub(super) async fn get_attributes(cloud: &Cloud, input: ByArn) -> ApiResult<Value> {
    let found = require(cloud, &input.subscription_arn)?;
    let mut shown = found.attributes.shown();
    let is_pending = matches!(found.state, State::Pending { .. });
    if found.protocol.lane() == Some(outbox::Lane::Http) {
        let policy: Value = serde_json::from_str(DELIVERY_POLICY).map_err(ApiError::internal)?;
        let own = json!({"healthyRetryPolicy": policy["http"]["defaultHealthyRetryPolicy"]});
        shown.insert("EffectiveDeliveryPolicy", own.to_string());
    }
    shown.extend([
        ("SubscriptionArn", found.arn(cloud)),
        ("TopicArn", topics::arn(cloud, &found.topic)),
        ("Protocol", found.protocol.name().to_owned()),
        ("Endpoint", found.endpoint),
        ("Owner", ACCOUNT.to_owned()),
        (
            "ConfirmationWasAuthenticated",
            (found.is_protected && !is_pending).to_string(),
        ),
        ("PendingConfirmation", is_pending.to_string()),
        ("SubscriptionPrincipal", found.principal),
    ]);
    Ok(json!({ "Attributes": shown }))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SetAttributes {
    #[serde(default)]
    subscription_arn: String,
    attribute_name: String,
    #[serde(default)]
    attribute_value: String,
}

/// `SetSubscriptionAttributes`
pub(super) async fn set_attributes(cloud: &Cloud, input: SetAttributes) -> ApiResult<Value> {
    let given = BTreeMap::from([(input.attribute_name, input.attribute_value)]);
    let key = key_of(cloud, &input.subscription_arn)?;
    let changed = records(cloud).update(key, |subscription| {
        subscription.attributes.set(&given, cloud)?;
        if subscription.attributes.is_raw && !subscription.protocol.can_be_raw() {
            return Err(invalid(format_args!(
                "RawMessageDelivery Reason: Delivery protocol [{}] does not support raw message delivery.",
                subscription.protocol.name()
            )));
        }
        Ok(())
    })?;
    changed.ok_or_else(|| not_found("Subscription does not exist"))?;
    Ok(json!({}))
}
