//! Messages of requests: their attributes, limits and the checks that SQS makes.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::records::Queue;
use super::{invalid, invalid_value, missing, within};
use crate::api::{ApiError, ApiResult};

/// Maximum number of attributes of a message (developer guide, "Message metadata").
const MAX_ATTRIBUTES: usize = 10;

/// Maximum delay of a message, in seconds.
const MAX_DELAY: i64 = 900;

/// Maximum length of a message group id and a deduplication id, in characters.
const MAX_ID: usize = 128;

/// An attribute of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub(super) struct Attribute {
    /// `String`, `Number` or `Binary`, with an optional suffix such as `.int`.
    pub(super) kind: String,
    pub(super) content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    Text(String),
    Bytes(Vec<u8>),
}

/// An attribute as the API has it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Raw {
    data_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    string_value: Option<String>,
    /// In base64, as blobs are in JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    binary_value: Option<String>,
    #[serde(skip_serializing)]
    string_list_values: Vec<String>,
    #[serde(skip_serializing)]
    binary_list_values: Vec<String>,
}

impl TryFrom<Raw> for Attribute {
    type Error = String;

    fn try_from(raw: Raw) -> Result<Self, String> {
        let content = match (raw.string_value, raw.binary_value) {
            (Some(text), None) => Content::Text(text),
            (None, Some(bytes)) => {
                Content::Bytes(STANDARD.decode(bytes).map_err(|error| error.to_string())?)
            }
            _ => return Err("an attribute needs one value".to_owned()),
        };
        Ok(Self {
            kind: raw.data_type,
            content,
        })
    }
}

impl From<Attribute> for Raw {
    fn from(attribute: Attribute) -> Self {
        let (text, bytes) = match attribute.content {
            Content::Text(text) => (Some(text), None),
            Content::Bytes(bytes) => (None, Some(STANDARD.encode(bytes))),
        };
        Self {
            data_type: attribute.kind,
            string_value: text,
            binary_value: bytes,
            ..Self::default()
        }
    }
}

impl Attribute {
    fn size(&self) -> usize {
        let content = match &self.content {
            Content::Text(text) => text.len(),
            Content::Bytes(bytes) => bytes.len(),
        };
        self.kind.len() + content
    }
}

/// The members of `SendMessage`, and of an entry of `SendMessageBatch`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Sent {
    message_body: String,
    delay_seconds: Option<i64>,
    message_attributes: BTreeMap<String, Raw>,
    message_system_attributes: BTreeMap<String, Raw>,
    message_deduplication_id: Option<String>,
    message_group_id: Option<String>,
}

/// A message that was checked.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) body: String,
    /// Seconds, if the message has a delay of its own.
    pub(super) delay: Option<i64>,
    pub(super) attributes: BTreeMap<String, Attribute>,
    pub(super) system: BTreeMap<String, Attribute>,
    pub(super) group: Option<String>,
    /// For FIFO queues.
    pub(super) deduplication: Option<String>,
}

impl Sent {
    /// Checks the message for a queue.
    pub(super) fn check(self, queue: &Queue) -> ApiResult<Message> {
        if self.message_body.is_empty() {
            return Err(missing("MessageBody"));
        }
        if !self.message_body.chars().all(is_allowed) {
            return Err(ApiError::new(
                "InvalidMessageContents",
                "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF | \
                 #xE000 to #xFFFD | #x10000 to #x10FFFF",
            ));
        }
        let attributes = self.message_attributes;
        if attributes.len() > MAX_ATTRIBUTES {
            return Err(invalid(format!(
                "Number of message attributes [{}] exceeds the allowed maximum [{MAX_ATTRIBUTES}].",
                attributes.len()
            )));
        }
        let attributes = attributes
            .into_iter()
            .map(|(name, raw)| {
                check_name(&name)?;
                let attribute = checked(&name, raw)?;
                Ok((name, attribute))
            })
            .collect::<ApiResult<_>>()?;
        let system = self
            .message_system_attributes
            .into_iter()
            .map(|(name, raw)| {
                if name != "AWSTraceHeader" {
                    return Err(invalid(format!(
                        "Message system attribute name '{name}' is invalid."
                    )));
                }
                if raw.data_type != "String" {
                    return Err(invalid(
                        "Message system attribute 'AWSTraceHeader' must be of type String.",
                    ));
                }
                let attribute = checked(&name, raw)?;
                Ok((name, attribute))
            })
            .collect::<ApiResult<_>>()?;
        if let Some(delay) = self.delay_seconds {
            if queue.attributes.is_fifo && delay != 0 {
                return Err(other_type(delay, "DelaySeconds"));
            }
            within(delay, (0, MAX_DELAY), "DelaySeconds")?;
        }
        let mut message = Message {
            body: self.message_body,
            delay: self.delay_seconds,
            attributes,
            system,
            group: self.message_group_id,
            deduplication: self.message_deduplication_id,
        };
        message.check_ids(queue)?;
        let (size, limit) = (message.size(), queue.attributes.max_size);
        if i64::try_from(size).is_ok_and(|size| size <= limit) {
            return Ok(message);
        }
        Err(invalid(format!(
            "One or more parameters are invalid. Reason: Message must be shorter than {limit} bytes."
        )))
    }
}

impl Message {
    /// The size that SQS limits: body and attributes.
    pub(super) fn size(&self) -> usize {
        let attributes = self.attributes.iter();
        let attributes = attributes.map(|(name, attribute)| name.len() + attribute.size());
        self.body.len() + attributes.sum::<usize>()
    }

    /// Checks the message group and the deduplication id, and derives the latter from the body if the queue does so.
    fn check_ids(&mut self, queue: &Queue) -> ApiResult<()> {
        let named = [
            (&self.group, "MessageGroupId"),
            (&self.deduplication, "MessageDeduplicationId"),
        ];
        for (value, name) in named {
            let is_valid = |id: &&String| {
                (1..=MAX_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
            };
            if let Some(id) = value
                && !is_valid(&id)
            {
                let reason = format!(
                    "{name} can only include alphanumeric and punctuation characters. 1 to 128 in length."
                );
                return Err(invalid_value(id, name, &reason));
            }
        }
        if !queue.attributes.is_fifo {
            // A group id of a standard queue is for fairness among tenants, which a single machine does not need.
            return match &self.deduplication {
                Some(id) => Err(other_type(id, "MessageDeduplicationId")),
                None => Ok(()),
            };
        }
        if self.group.is_none() {
            return Err(missing("MessageGroupId"));
        }
        if self.deduplication.is_none() {
            if !queue.attributes.content_deduplication {
                return Err(invalid(
                    "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId \
                     provided explicitly",
                ));
            }
            self.deduplication = Some(hex::encode(Sha256::digest(&self.body)));
        }
        Ok(())
    }
}

fn other_type(value: impl std::fmt::Display, name: &str) -> ApiError {
    let reason = "The request include parameter that is not valid for this queue type.";
    invalid_value(value, name, reason)
}

/// The characters of XML 1.0.
fn is_allowed(sign: char) -> bool {
    matches!(sign, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

fn check_name(name: &str) -> ApiResult<()> {
    let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    let lower = name.to_ascii_lowercase();
    let is_reserved = lower.starts_with("aws.") || lower.starts_with("amazon.");
    let has_dots = name.starts_with('.') || name.ends_with('.') || name.contains("..");
    if !is_reserved && !has_dots && (1..=256).contains(&name.len()) && name.bytes().all(is_valid) {
        return Ok(());
    }
    Err(invalid(format!(
        "Message (user) attribute name '{name}' is invalid. It can contain A-Z, a-z, 0-9, underscores, hyphens \
         and periods, cannot begin or end with a period or have successive periods, and cannot begin with AWS. \
         or Amazon."
    )))
}

/// Fails for an attribute, with the members of the API, that a message of a queue cannot have.
pub(crate) fn check_attribute(name: &str, attribute: Value) -> ApiResult<()> {
    check_name(name)?;
    let raw = serde_json::from_value(attribute).map_err(|error| invalid(error.to_string()))?;
    checked(name, raw).map(drop)
}

fn checked(name: &str, raw: Raw) -> ApiResult<Attribute> {
    if !raw.string_list_values.is_empty() || !raw.binary_list_values.is_empty() {
        let message = "Message attribute list values in SendMessage operation are not supported.";
        return Err(ApiError::new("UnsupportedOperation", message));
    }
    let kind = raw.data_type.split('.').next().unwrap_or_default();
    if !["Binary", "Number", "String"].contains(&kind) || raw.data_type.len() > 256 {
        return Err(invalid(format!(
            "The type of message (user) attribute '{name}' is invalid. You must use only the following supported \
             type prefixes: Binary, Number, String."
        )));
    }
    let kind = kind.to_owned();
    let empty = || {
        invalid(format!(
            "Message (user) attribute '{name}' must contain a non-empty value of type '{kind}'."
        ))
    };
    let attribute = Attribute::try_from(raw).map_err(|_| empty())?;
    match (&attribute.content, kind.as_str()) {
        (Content::Text(text), "String" | "Number") if text.is_empty() => Err(empty()),
        (Content::Text(text), "Number") if text.parse::<f64>().is_err() => Err(invalid(format!(
            "Can't cast the value of message (user) attribute '{name}' to a number."
        ))),
        (Content::Text(text), "String") if !text.chars().all(is_allowed) => Err(ApiError::new(
            "InvalidMessageContents",
            format!("Message (user) attribute '{name}' has invalid characters."),
        )),
        (Content::Text(_), "String" | "Number") => Ok(attribute),
        (Content::Bytes(bytes), "Binary") if !bytes.is_empty() => Ok(attribute),
        _ => Err(empty()),
    }
}
