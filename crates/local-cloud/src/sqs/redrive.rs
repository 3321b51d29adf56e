//! Dead-letter queues: which queue takes the messages that are received too often, and who may use it.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::invalid_attribute;
use super::queues::{self, ListPage, Queue, page, records};
use crate::Cloud;
use crate::api::ApiResult;

/// Maximum of `maxReceiveCount` (developer guide, "SQS redrive policy").
const MAX_RECEIVES: i64 = 1000;

/// Number of queues that `RedriveAllowPolicy` can list.
const MAX_SOURCES: usize = 10;

/// `RedrivePolicy`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Redrive {
    /// The ARN of the dead-letter queue.
    pub(super) target: String,
    pub(super) max_receives: i64,
}

impl Redrive {
    /// Reads the JSON of the attribute. The count can be a number or the text of one.
    pub(super) fn parse(text: &str) -> ApiResult<Self> {
        let wrong = |reason: &str| {
            let reason =
                format!("Value {text} for parameter RedrivePolicy is invalid. Reason: {reason}");
            super::invalid(reason)
        };
        let policy: Value = serde_json::from_str(text)
            .ok()
            .filter(Value::is_object)
            .ok_or_else(|| wrong("Redrive policy is not a valid JSON map."))?;
        let has = ["deadLetterTargetArn", "maxReceiveCount"];
        let mut members = policy.as_object().into_iter().flatten();
        if let Some((name, _)) = members.find(|(name, _)| !has.contains(&name.as_str())) {
            return Err(wrong(&format!("Unknown member: {name}.")));
        }
        if let Some(absent) = has.iter().find(|name| policy.get(**name).is_none()) {
            return Err(wrong(&format!(
                "Redrive policy does not contain mandatory attribute: {absent}."
            )));
        }
        let count = &policy["maxReceiveCount"];
        let count = count
            .as_i64()
            .or_else(|| count.as_str().and_then(|text| text.parse().ok()));
        let max_receives = count
            .filter(|count| (1..=MAX_RECEIVES).contains(count))
            .ok_or_else(|| {
                wrong("Invalid value for maxReceiveCount. Must be an integer between 1 and 1000.")
            })?;
        let target = policy["deadLetterTargetArn"].as_str();
        let target = target.ok_or_else(|| wrong("The deadLetterTargetArn is not an ARN."))?;
        Ok(Self {
            target: target.to_owned(),
            max_receives,
        })
    }

    /// Fails if the queue cannot have this dead-letter queue.
    pub(super) fn check(&self, cloud: &Cloud, queue: &Queue) -> ApiResult<()> {
        let wrong = |reason: &str| {
            let message =
                format!("Value {self} for parameter RedrivePolicy is invalid. Reason: {reason}");
            super::invalid(message)
        };
        let target = queues::of_arn(cloud, &self.target)?
            .ok_or_else(|| wrong("Dead letter target does not exist."))?;
        if target.attributes.is_fifo != queue.attributes.is_fifo {
            return Err(wrong(
                "Dead-letter queue must be same type of queue as the source.",
            ));
        }
        let source = queues::arn(cloud, &queue.name);
        let allowed = target.attributes.redrive_allowed;
        if allowed.is_some_and(|allowed| !allowed.allows(&source)) {
            // Unverified against AWS [sqs-redrive-denied]: the message.
            return Err(wrong(
                "The RedriveAllowPolicy of the dead-letter queue does not allow this source queue.",
            ));
        }
        Ok(())
    }
}

impl fmt::Display for Redrive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policy = json!({
            "deadLetterTargetArn": self.target,
            "maxReceiveCount": self.max_receives,
        });
        policy.fmt(f)
    }
}

/// `RedriveAllowPolicy`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Allowed {
    All,
    Nobody,
    /// ARNs.
    Queues(Vec<String>),
}

impl Allowed {
    /// Reads the JSON of the attribute.
    pub(super) fn parse(text: &str) -> ApiResult<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        struct Policy {
            redrive_permission: String,
            source_queue_arns: Option<Vec<String>>,
        }
        let wrong = |reason: &str| invalid_attribute("RedriveAllowPolicy", reason);
        let policy: Policy =
            serde_json::from_str(text).map_err(|error| wrong(&error.to_string()))?;
        match (policy.redrive_permission.as_str(), policy.source_queue_arns) {
            ("allowAll", None) => Ok(Self::All),
            ("denyAll", None) => Ok(Self::Nobody),
            ("byQueue", Some(arns)) if (1..=MAX_SOURCES).contains(&arns.len()) => {
                Ok(Self::Queues(arns))
            }
            ("byQueue", _) => Err(wrong("byQueue needs 1 to 10 sourceQueueArns.")),
            ("allowAll" | "denyAll", Some(_)) => {
                Err(wrong("sourceQueueArns can only be specified with byQueue."))
            }
            _ => Err(wrong(
                "redrivePermission must be allowAll, denyAll or byQueue.",
            )),
        }
    }

    fn allows(&self, source: &str) -> bool {
        match self {
            Self::All => true,
            Self::Nobody => false,
            Self::Queues(arns) => arns.iter().any(|arn| arn == source),
        }
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policy = match self {
            Self::All => json!({"redrivePermission": "allowAll"}),
            Self::Nobody => json!({"redrivePermission": "denyAll"}),
            Self::Queues(arns) => {
                json!({"redrivePermission": "byQueue", "sourceQueueArns": arns})
            }
        };
        policy.fmt(f)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListSources {
    queue_url: String,
    #[serde(flatten)]
    page: ListPage,
}

/// `ListDeadLetterSourceQueues`
pub(super) async fn list_sources(cloud: &Cloud, input: ListSources) -> ApiResult<Value> {
    let queue = queues::of_url(cloud, &input.queue_url)?;
    let arn = queues::arn(cloud, &queue.name);
    let all = records(cloud).list("")?.into_iter();
    let sources = all.filter(|(_, source)| {
        let redrive = source.attributes.redrive.as_ref();
        redrive.is_some_and(|redrive| redrive.target == arn)
    });
    page(
        cloud,
        "queueUrls",
        sources.map(|(name, _)| name),
        &input.page,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_read_and_written() {
        let text = r#"{"deadLetterTargetArn":"arn:aws:sqs:r:1:d","maxReceiveCount":"3"}"#;
        let policy = Redrive::parse(text).unwrap();
        assert_eq!(policy.max_receives, 3);
        assert_eq!(Redrive::parse(&policy.to_string()).unwrap(), policy);
        for wrong in [
            "x",
            "[]",
            r#"{"deadLetterTargetArn": "a"}"#,
            r#"{"maxReceiveCount": 1}"#,
            r#"{"deadLetterTargetArn": "a", "maxReceiveCount": 0}"#,
            r#"{"deadLetterTargetArn": "a", "maxReceiveCount": 1001}"#,
            r#"{"deadLetterTargetArn": "a", "maxReceiveCount": 1, "more": 1}"#,
            r#"{"deadLetterTargetArn": 1, "maxReceiveCount": 1}"#,
        ] {
            assert!(Redrive::parse(wrong).is_err(), "{wrong}");
        }
        for (text, allows) in [
            (r#"{"redrivePermission":"allowAll"}"#, true),
            (r#"{"redrivePermission":"denyAll"}"#, false),
            (
                r#"{"redrivePermission":"byQueue","sourceQueueArns":["a"]}"#,
                true,
            ),
            (
                r#"{"redrivePermission":"byQueue","sourceQueueArns":["b"]}"#,
                false,
            ),
        ] {
            let policy = Allowed::parse(text).unwrap();
            assert_eq!(policy.allows("a"), allows, "{text}");
            assert_eq!(policy.to_string(), text);
        }
        assert!(Allowed::parse(r#"{"redrivePermission":"byQueue"}"#).is_err());
        assert!(Allowed::parse(r#"{"redrivePermission":"some"}"#).is_err());
    }
}
