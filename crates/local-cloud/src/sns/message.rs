//! Messages: the checks of a request, and the forms in which they are delivered.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::endpoint::Protocol;
use super::subscription::Subscription;
use super::{invalid, topics};
use crate::api::{ApiError, ApiResult};
use crate::{Cloud, sqs};

/// Maximum size of a message with its attributes, in bytes.
pub(super) const MAX_SIZE: usize = 256 << 10;

/// Maximum number of message attributes that a queue accepts.
const MAX_RAW_ATTRIBUTES: usize = 10;

/// The value of a message attribute, with the names of the API. Binary values are in base64.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Attribute {
    pub(super) data_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) string_value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) binary_value: Option<String>,
}

impl Attribute {
    fn value(&self) -> &str {
        let value = self.string_value.as_ref().or(self.binary_value.as_ref());
        value.map_or("", String::as_str)
    }

    fn check(&self, name: &str) -> ApiResult<()> {
        let wrong = |reason: &str| {
            let message = format!(
                "Invalid parameter: Message Reason: The message attribute '{name}' {reason}"
            );
            ApiError::new("ParameterValueInvalid", message)
        };
        let kind = self.data_type.split('.').next().unwrap_or_default();
        if !["Binary", "Number", "String"].contains(&kind) {
            return Err(wrong(
                "has an invalid message attribute type, the set of supported type prefixes is \
                              Binary, Number, and String.",
            ));
        }
        let is_binary = kind == "Binary";
        let has_value = match (&self.string_value, &self.binary_value) {
            (Some(text), None) => !is_binary && !text.is_empty(),
            (None, Some(bytes)) => is_binary && !bytes.is_empty(),
            _ => false,
        };
        if !has_value {
            return Err(wrong(
                "must contain non-empty message attribute value for its type.",
            ));
        }
        if kind == "Number" && self.value().parse::<f64>().is_err() {
            return Err(wrong("must contain a number."));
        }
        if self.data_type == "String.Array"
            && !serde_json::from_str::<Value>(self.value()).is_ok_and(|it| it.is_array())
        {
            return Err(wrong("must contain a JSON array."));
        }
        // A raw message for a queue has the attributes. Attributes for phones have a reserved prefix.
        let own = name.strip_prefix("AWS.SNS.").unwrap_or(name);
        sqs::check_attribute(own, json!(self)).map_err(|error| wrong(&error.message))
    }
}

/// The members of `Publish` that make a message, and of an entry of `PublishBatch`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Published {
    message: String,
    subject: Option<String>,
    message_structure: Option<String>,
    message_attributes: BTreeMap<String, Attribute>,
}

/// A message that was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Message {
    pub(super) id: String,
    /// Milliseconds.
    time: i64,
    subject: Option<String>,
    /// The text for protocols without one of their own.
    pub(super) text: String,
    /// Texts for single protocols, by their names.
    texts: BTreeMap<String, String>,
    pub(super) attributes: BTreeMap<String, Attribute>,
}

impl Published {
    /// The size that SNS limits.
    pub(super) fn size(&self) -> usize {
        let attributes = self.message_attributes.iter();
        let attributes =
            attributes.map(|(name, it)| name.len() + it.data_type.len() + it.value().len());
        self.message.len() + attributes.sum::<usize>()
    }

    /// Checks the message.
    pub(super) fn check(self, time: i64) -> ApiResult<Message> {
        if self.message.is_empty() {
            return Err(invalid("Empty message"));
        }
        if self.size() > MAX_SIZE {
            return Err(invalid("Message too long"));
        }
        for (name, attribute) in &self.message_attributes {
            attribute.check(name)?;
        }
        if let Some(subject) = &self.subject {
            let is_plain = subject
                .bytes()
                .all(|byte| byte == b' ' || byte.is_ascii_graphic());
            if !(1..=100).contains(&subject.len()) || !is_plain || subject.starts_with(' ') {
                return Err(invalid("Subject"));
            }
        }
        let (text, texts) = match self.message_structure.as_deref() {
            None | Some("") => (self.message, BTreeMap::new()),
            Some("json") => structured(&self.message)?,
            Some(_) => return Err(invalid("MessageStructure")),
        };
        Ok(Message {
            id: uuid::Uuid::new_v4().to_string(),
            time,
            subject: self.subject,
            text,
            texts,
            attributes: self.message_attributes,
        })
    }
}

/// The default text and those of single protocols in a message with the structure `json`.
fn structured(message: &str) -> ApiResult<(String, BTreeMap<String, String>)> {
    let wrong = |reason: &str| invalid(format_args!("Message Structure - {reason}"));
    let members: Map<String, Value> =
        serde_json::from_str(message).map_err(|_| wrong("JSON message body failed to parse"))?;
    // Members that are not text are ignored, as in AWS.
    let mut texts: BTreeMap<String, String> = members
        .into_iter()
        .filter_map(|(name, value)| match value {
            Value::String(text) => Some((name, text)),
            _ => None,
        })
        .collect();
    let default = texts
        .remove("default")
        .ok_or_else(|| wrong("No default entry in JSON message body"))?;
    Ok((default, texts))
}

/// A time as messages have it.
pub(super) fn timestamp(milliseconds: i64) -> String {
    let time = Timestamp::from_millisecond(milliseconds).unwrap_or_default();
    time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// Percent-encodes a value of a link.
pub(super) fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

impl Message {
    /// The text for a protocol.
    pub(super) fn text_for(&self, protocol: Protocol) -> &str {
        self.texts.get(protocol.name()).unwrap_or(&self.text)
    }

    /// The document that is delivered to a queue or an HTTP endpoint.
    pub(super) fn envelope(&self, cloud: &Cloud, subscription: &Subscription) -> Value {
        let mut envelope = json!({
            "Type": "Notification",
            "MessageId": self.id,
            "TopicArn": topics::arn(cloud, &subscription.topic),
        });
        if let Some(subject) = &self.subject {
            envelope["Subject"] = subject.as_str().into();
        }
        envelope["Message"] = self.text_for(subscription.protocol).into();
        envelope["Timestamp"] = timestamp(self.time).into();
        envelope["UnsubscribeURL"] = unsubscribe_link(cloud, subscription).into();
        let attributes = self.shown_attributes();
        if !attributes.is_empty() {
            envelope["MessageAttributes"] = attributes.into();
        }
        envelope
    }

    /// The event for a function.
    pub(super) fn event(&self, cloud: &Cloud, subscription: &Subscription) -> Value {
        let arn = subscription.arn(cloud);
        json!({"Records": [{
            "EventSource": "aws:sns",
            "EventVersion": "1.0",
            "EventSubscriptionArn": arn,
            "Sns": {
                "Type": "Notification",
                "MessageId": self.id,
                "TopicArn": topics::arn(cloud, &subscription.topic),
                "Subject": self.subject,
                "Message": self.text_for(subscription.protocol),
                "Timestamp": timestamp(self.time),
                "UnsubscribeUrl": unsubscribe_link(cloud, subscription),
                "MessageAttributes": self.shown_attributes(),
            },
        }]})
    }

    fn shown_attributes(&self) -> Map<String, Value> {
        let attributes = self.attributes.iter();
        let shown = attributes.map(|(name, attribute)| {
            let shown = json!({"Type": attribute.data_type, "Value": attribute.value()});
            (name.clone(), shown)
        });
        shown.collect()
    }

    /// The request that sends the message to a queue; `None` for a raw message with more attributes than a queue
    /// accepts, which SNS discards.
    pub(super) fn for_queue(
        &self,
        cloud: &Cloud,
        subscription: &Subscription,
        url: &str,
    ) -> Option<Value> {
        if !subscription.attributes.is_raw {
            let body = self.envelope(cloud, subscription).to_string();
            return Some(json!({"QueueUrl": url, "MessageBody": body}));
        }
        (self.attributes.len() <= MAX_RAW_ATTRIBUTES).then(|| {
            json!({
                "QueueUrl": url,
                "MessageBody": self.text_for(subscription.protocol),
                "MessageAttributes": self.attributes,
            })
        })
    }
}

fn unsubscribe_link(cloud: &Cloud, subscription: &Subscription) -> String {
    format!(
        "{}/?Action=Unsubscribe&SubscriptionArn={}",
        cloud.endpoint(),
        encoded(&subscription.arn(cloud))
    )
}
