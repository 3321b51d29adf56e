//! Confirmation of subscriptions by their endpoints.

use std::collections::BTreeMap;

use axum::body::Body;
use http::request::Parts;
use http::{Method, Request, Response};
use rusqlite::Transaction;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::message::{encoded, timestamp};
use super::outbox::{self, Content};
use super::subscription::{self, State, Subscription, UsedToken};
use super::{invalid, now, topics};
use crate::Cloud;
use crate::api::form;
use crate::api::{ApiError, ApiResult};
use crate::cloud::caller::Caller;
use crate::wire::query::{self, Flavour};

/// How long a token is valid, in milliseconds (API reference, `ConfirmSubscription`: two days).
const LIFETIME: i64 = 2 * 86_400_000;

/// The state of a new subscription, and of one whose token has expired.
pub(super) fn pending(cloud: &Cloud) -> State {
    let random = || uuid::Uuid::new_v4().simple().to_string();
    State::Pending {
        token: random() + &random() + &random(),
        until: now(cloud) + LIFETIME,
    }
}

/// Stores the request to confirm a subscription for delivery. Nothing delivers e-mail.
pub(super) fn request(cloud: &Cloud, tx: &Transaction<'_>, new: &Subscription) -> ApiResult<()> {
    let (State::Pending { token, .. }, Some(to)) = (&new.state, new.destination()) else {
        return Ok(());
    };
    let time = now(cloud);
    let token = token.clone();
    let content = outbox::add(tx, &Content::Confirmation { token, time })?;
    outbox::insert(tx, &to, content, time)
}

/// The document of a request to confirm a subscription.
pub(super) fn document(
    cloud: &Cloud,
    subscription: &Subscription,
    token: &str,
    time: i64,
) -> Value {
    let arn = topics::arn(cloud, &subscription.topic);
    let link = format!(
        "{}/?Action=ConfirmSubscription&TopicArn={}&Token={token}",
        cloud.endpoint(),
        encoded(&arn)
    );
    json!({
        "Type": "SubscriptionConfirmation",
        "MessageId": uuid::Uuid::new_v4().to_string(),
        "Token": token,
        "TopicArn": arn,
        "Message": format!(
            "You have chosen to subscribe to the topic {arn}.\nTo confirm the subscription, visit the SubscribeURL \
             included in this message."
        ),
        "SubscribeURL": link,
        "Timestamp": timestamp(time),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Confirm {
    #[serde(default)]
    topic_arn: String,
    #[serde(default)]
    token: String,
    #[serde(default, deserialize_with = "form::flag")]
    authenticate_on_unsubscribe: Option<bool>,
}

/// What is kept of a token.
fn digest(token: &str) -> String {
    hex::encode(Sha256::digest(token))
}

/// `ConfirmSubscription`. A token can be presented again until it expires.
pub(super) async fn confirm(cloud: &Cloud, input: Confirm) -> ApiResult<Value> {
    let topic = topics::require(cloud, &input.topic_arn)?;
    let now = now(cloud);
    let found = subscription::of_topic(cloud, &topic.name)?.into_iter();
    let mut found = found.filter(|(_, subscription)| match &subscription.state {
        State::Pending { token, .. } => *token == input.token,
        State::Confirmed => {
            let used = subscription.used_token.as_ref();
            used.is_some_and(|used| used.digest == digest(&input.token))
        }
    });
    let (key, _) = found.next().ok_or_else(|| invalid("Token"))?;
    let protects = input.authenticate_on_unsubscribe == Some(true);
    let confirmed = subscription::records(cloud).update(&key, |subscription| {
        let until = match (&subscription.state, &subscription.used_token) {
            (State::Pending { token, until }, _) if *token == input.token => *until,
            (State::Confirmed, Some(used)) if used.digest == digest(&input.token) => used.until,
            // Another request has changed it in the meantime.
            _ => return Err(invalid("Token")),
        };
        if until <= now {
            return Err(invalid("Token Reason: the token has expired"));
        }
        if subscription.state != State::Confirmed {
            let digest = digest(&input.token);
            subscription.used_token = Some(UsedToken { digest, until });
            subscription.state = State::Confirmed;
            subscription.is_protected = protects;
        }
        Ok(subscription.arn(cloud))
    })?;
    let arn = confirmed.ok_or_else(|| invalid("Token"))?;
    Ok(json!({"SubscriptionArn": arn}))
}

/// The parameters of a link.
fn parameters(parts: &Parts) -> BTreeMap<String, String> {
    let query = parts.uri.query().unwrap_or_default().as_bytes();
    url::form_urlencoded::parse(query).into_owned().collect()
}

/// True for the links in messages, which are requests without a signature.
pub(super) fn is_link(parts: &Parts, is_signed: bool) -> bool {
    let action = || parameters(parts).remove("Action");
    !is_signed
        && parts.method == Method::GET
        && parts.uri.path() == "/"
        && matches!(
            action().as_deref(),
            Some("ConfirmSubscription" | "Unsubscribe")
        )
}

/// Follows a link. Whoever has it may do so, as in AWS, except where unsubscribing needs a signature.
pub(super) async fn follow(cloud: &Cloud, request: Request<Body>) -> Response<Body> {
    let (parts, _) = request.into_parts();
    let mut input = parameters(&parts);
    let action = input.remove("Action").unwrap_or_default();
    let id = uuid::Uuid::new_v4().to_string();
    let result = async {
        if action == "Unsubscribe" {
            return unsubscribe(cloud, input.get("SubscriptionArn"));
        }
        let input = json!({"TopicArn": input.get("TopicArn"), "Token": input.get("Token")});
        cloud.call("sns", "ConfirmSubscription", input).await
    };
    let result = Caller::LocalCloud.scope(result).await;
    match cloud.services().named("sns") {
        Ok(service) => query::encode(service, &action, &id, result),
        Err(error) => query::refuse(Flavour::Query(""), &id, &error),
    }
}

fn unsubscribe(cloud: &Cloud, arn: Option<&String>) -> ApiResult<Value> {
    let arn = arn.map(String::as_str).unwrap_or_default();
    let key = subscription::key_of(cloud, arn)?;
    let found = subscription::records(cloud).get(key)?;
    if found.is_some_and(|found| found.is_protected) {
        let message = "This subscription can only be deleted by a signed request";
        return Err(ApiError::denied("AuthorizationError", message));
    }
    subscription::remove(cloud, key)?;
    Ok(json!({}))
}
