//! The attributes of topics and subscriptions, which are texts in the API.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::filter::Filter;
use super::invalid;
use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::cloud::ACCOUNT;
use crate::policy::Document;

/// The delivery policy of HTTP endpoints (developer guide, "Creating an HTTP/S delivery policy").
pub(super) const DELIVERY_POLICY: &str = r#"{"http":{"defaultHealthyRetryPolicy":{"minDelayTarget":20,"maxDelayTarget":20,"numRetries":3,"numMaxDelayRetries":0,"numNoDelayRetries":0,"numMinDelayRetries":0,"backoffFunction":"linear"},"disableSubscriptionOverrides":false,"defaultRequestPolicy":{"headerContentType":"text/plain; charset=UTF-8"}}}"#;

/// Maximum size of a filter policy, in bytes (developer guide, "Filter policy constraints").
const MAX_FILTER: usize = 256 << 10;

/// Maximum length of the ARN of a queue.
const MAX_ARN: usize = 256;

/// Attributes of topics that the local cloud does not have.
const UNSUPPORTED_OF_TOPICS: [&str; 6] = [
    "ArchivePolicy",
    "BeginningArchiveTime",
    "ContentBasedDeduplication",
    "DataProtectionPolicy",
    "DeliveryPolicy",
    "FifoThroughputScope",
];

/// Attributes of subscriptions that the local cloud does not have.
const UNSUPPORTED_OF_SUBSCRIPTIONS: [&str; 3] =
    ["DeliveryPolicy", "ReplayPolicy", "SubscriptionRoleArn"];

/// The attributes of a topic that a request can set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TopicAttributes {
    display_name: String,
    policy: Option<String>,
    pub(super) kms_key: Option<String>,
    /// The version of signatures; kept, but messages have none.
    signature: Option<String>,
    /// `PassThrough`, if it was set.
    tracing: Option<String>,
}

fn no_attribute(name: &str) -> ApiError {
    invalid(format_args!("AttributeName Reason: {name}"))
}

impl TopicAttributes {
    /// Sets the attributes of a request.
    pub(super) fn set(&mut self, given: &BTreeMap<String, String>) -> ApiResult<()> {
        given
            .iter()
            .try_for_each(|(name, value)| self.set_one(name, value))
    }

    fn set_one(&mut self, name: &str, value: &str) -> ApiResult<()> {
        let text = || Some(value.to_owned()).filter(|text| !text.is_empty());
        match name {
            "DisplayName" if value.chars().count() <= 100 => {
                value.clone_into(&mut self.display_name);
            }
            "DisplayName" => return Err(invalid("DisplayName")),
            "Policy" => {
                if let Some(policy) = text() {
                    Document::parse(&policy)
                        .map_err(|error| invalid(format_args!("Policy Error: {error}")))?;
                }
                self.policy = text();
            }
            "KmsMasterKeyId" => self.kms_key = text(),
            "SignatureVersion" if ["1", "2"].contains(&value) => self.signature = text(),
            "SignatureVersion" => return Err(invalid("SignatureVersion")),
            "TracingConfig" if ["", "PassThrough"].contains(&value) => self.tracing = text(),
            "TracingConfig" if value == "Active" => {
                return Err(ApiError::not_implemented("active tracing of SNS topics"));
            }
            "TracingConfig" => return Err(invalid("TracingConfig")),
            "FifoTopic" if value == "false" => {}
            "FifoTopic" => return Err(ApiError::not_implemented("FIFO topics of SNS")),
            _ if UNSUPPORTED_OF_TOPICS.contains(&name) || name.contains("Feedback") => {
                return Err(ApiError::not_implemented(format_args!(
                    "the attribute {name} of SNS topics"
                )));
            }
            _ => return Err(no_attribute(name)),
        }
        Ok(())
    }

    /// The policy: that of a request, or the default, which allows everything to the account.
    pub(super) fn policy(&self, arn: &str) -> String {
        if let Some(policy) = &self.policy {
            return policy.clone();
        }
        let actions = [
            "GetTopicAttributes",
            "SetTopicAttributes",
            "AddPermission",
            "RemovePermission",
            "DeleteTopic",
            "Subscribe",
            "ListSubscriptionsByTopic",
            "Publish",
        ];
        json!({
            "Version": "2008-10-17",
            "Id": "__default_policy_ID",
            "Statement": [{
                "Sid": "__default_statement_ID",
                "Effect": "Allow",
                "Principal": {"AWS": "*"},
                "Action": actions.map(|action| format!("SNS:{action}")),
                "Resource": arn,
                "Condition": {"StringEquals": {"AWS:SourceOwner": ACCOUNT}},
            }],
        })
        .to_string()
    }

    /// The attributes as the API shows them.
    pub(super) fn shown(&self, arn: &str) -> BTreeMap<&'static str, String> {
        let mut shown = BTreeMap::from([
            ("DisplayName", self.display_name.clone()),
            ("EffectiveDeliveryPolicy", DELIVERY_POLICY.to_owned()),
            ("Owner", ACCOUNT.to_owned()),
            ("Policy", self.policy(arn)),
            ("TopicArn", arn.to_owned()),
        ]);
        for (name, value) in [
            ("KmsMasterKeyId", &self.kms_key),
            ("SignatureVersion", &self.signature),
            ("TracingConfig", &self.tracing),
        ] {
            if let Some(value) = value {
                shown.insert(name, value.clone());
            }
        }
        shown
    }
}

/// The attributes of a subscription that a request can set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SubscriptionAttributes {
    pub(super) is_raw: bool,
    /// The text of the filter policy.
    filter: Option<String>,
    /// True if the filter applies to the body of messages.
    filters_body: bool,
    /// The ARN of the dead-letter queue.
    pub(super) dead_letters: Option<String>,
}

impl SubscriptionAttributes {
    /// Sets the attributes of a request.
    pub(super) fn set(&mut self, given: &BTreeMap<String, String>, cloud: &Cloud) -> ApiResult<()> {
        for (name, value) in given {
            self.set_one(name, value, cloud)?;
        }
        self.filter().map(drop)
    }

    fn set_one(&mut self, name: &str, value: &str, cloud: &Cloud) -> ApiResult<()> {
        match name {
            "RawMessageDelivery" => {
                self.is_raw = match value.to_ascii_lowercase().as_str() {
                    "true" => true,
                    "" | "false" => false,
                    _ => {
                        let reason = format!("Invalid value [{value}]. Must be true or false.");
                        return Err(invalid(format_args!("Attributes Reason: {name}: {reason}")));
                    }
                };
            }
            "FilterPolicy" => {
                self.filter = match value {
                    "" | "{}" => None,
                    text if text.len() > MAX_FILTER => {
                        return Err(invalid(
                            "Attributes Reason: FilterPolicy: it can have at most 256 KB",
                        ));
                    }
                    text => Some(text.to_owned()),
                };
            }
            "FilterPolicyScope" => {
                self.filters_body = match value {
                    "" | "MessageAttributes" => false,
                    "MessageBody" => true,
                    _ => {
                        return Err(invalid(format_args!(
                            "FilterPolicyScope: Invalid value [{value}]. Please use either MessageBody or \
                             MessageAttributes"
                        )));
                    }
                };
            }
            "RedrivePolicy" => self.dead_letters = redrive(value, cloud)?,
            _ if UNSUPPORTED_OF_SUBSCRIPTIONS.contains(&name) => {
                return Err(ApiError::not_implemented(format_args!(
                    "the attribute {name} of SNS subscriptions"
                )));
            }
            _ => return Err(no_attribute(name)),
        }
        Ok(())
    }

    /// The filter, if there is one.
    pub(super) fn filter(&self) -> ApiResult<Option<Filter>> {
        let parse = |text: &String| Filter::parse(text, self.filters_body);
        self.filter.as_ref().map(parse).transpose()
    }

    /// The attributes as the API shows them.
    pub(super) fn shown(&self) -> BTreeMap<&'static str, String> {
        let mut shown = BTreeMap::from([("RawMessageDelivery", self.is_raw.to_string())]);
        if let Some(filter) = &self.filter {
            let scope = if self.filters_body {
                "MessageBody"
            } else {
                "MessageAttributes"
            };
            shown.insert("FilterPolicy", filter.clone());
            shown.insert("FilterPolicyScope", scope.to_owned());
        }
        if let Some(arn) = &self.dead_letters {
            let policy = json!({"deadLetterTargetArn": arn});
            shown.insert("RedrivePolicy", policy.to_string());
        }
        shown
    }
}

/// The ARN of the queue in a redrive policy.
fn redrive(text: &str, cloud: &Cloud) -> ApiResult<Option<String>> {
    if text.is_empty() || text == "{}" {
        return Ok(None);
    }
    let wrong = |reason: &str| invalid(format_args!("RedrivePolicy: {reason}"));
    let policy: Value = serde_json::from_str(text).map_err(|_| wrong("failed to parse JSON."))?;
    let members = policy.as_object().into_iter().flatten();
    let mut members = members.map(|(name, _)| name.as_str());
    let arn = policy["deadLetterTargetArn"].as_str();
    let arn = arn.filter(|_| members.all(|name| name == "deadLetterTargetArn"));
    let arn = arn.ok_or_else(|| wrong("the only member is deadLetterTargetArn."))?;
    if !arn.starts_with(&cloud.arn("sqs", "")) {
        return Err(wrong(
            "deadLetterTargetArn is an invalid arn. The dead-letter queue must be in the same account and region.",
        ));
    }
    if arn.len() > MAX_ARN || arn.contains(char::is_control) {
        return Err(wrong("deadLetterTargetArn is an invalid arn."));
    }
    if arn.ends_with(super::FIFO) {
        return Err(wrong(
            "must use a standard SQS queue as DLQ for a standard topic.",
        ));
    }
    Ok(Some(arn.to_owned()))
}
