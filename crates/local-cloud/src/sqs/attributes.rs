//! The attributes of queues, which are texts in the API.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::invalid_attribute;
use super::redrive::{Allowed, Redrive};
use crate::api::{ApiError, ApiResult};
use crate::policy::Document;

/// The attributes that a request can set.
#[expect(clippy::struct_excessive_bools, reason = "the attributes of the API")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Attributes {
    /// Seconds.
    pub(super) delay: i64,
    /// Bytes.
    pub(super) max_size: i64,
    /// Seconds.
    pub(super) retention: i64,
    /// Seconds that a receive call waits.
    pub(super) wait: i64,
    /// Seconds.
    pub(super) visibility: i64,
    pub(super) policy: Option<String>,
    pub(super) redrive: Option<Redrive>,
    pub(super) redrive_allowed: Option<Allowed>,
    pub(super) kms_key: Option<String>,
    /// Seconds. Nothing is encrypted, so no data key is used again.
    kms_reuse: i64,
    /// The encryption with keys of SQS; kept, but nothing is encrypted.
    sse: bool,
    pub(super) is_fifo: bool,
    pub(super) content_deduplication: bool,
    /// True if messages are duplicates within their group only.
    pub(super) deduplicates_groups: bool,
    /// True for the throughput limit of a group. The local cloud has no such limit.
    limits_groups: bool,
}

impl Attributes {
    /// The defaults of a new queue.
    pub(super) const fn new(is_fifo: bool) -> Self {
        Self {
            delay: 0,
            max_size: 1 << 20,
            retention: 345_600,
            wait: 0,
            visibility: 30,
            policy: None,
            redrive: None,
            redrive_allowed: None,
            kms_key: None,
            kms_reuse: 300,
            sse: true,
            is_fifo,
            content_deduplication: false,
            deduplicates_groups: false,
            limits_groups: false,
        }
    }

    /// Sets the attributes of a request.
    pub(super) fn set(&mut self, given: &BTreeMap<String, String>) -> ApiResult<()> {
        for (name, value) in given {
            self.set_one(name, value)?;
        }
        if self.kms_key.is_some() && given.contains_key("KmsMasterKeyId") {
            if given.get("SqsManagedSseEnabled").map(String::as_str) == Some("true") {
                let message = "You can use one type of server-side encryption (SSE) at one time. You can either \
                     enable KMS SSE or SQS SSE.";
                return Err(ApiError::new("InvalidAttributeValue", message));
            }
            self.sse = false;
        } else if self.sse && given.contains_key("SqsManagedSseEnabled") {
            self.kms_key = None;
        }
        if self.limits_groups && !self.deduplicates_groups {
            let reason = "The value perMessageGroupId is allowed only when the value for DeduplicationScope is \
                          messageGroup.";
            return Err(invalid_attribute("FifoThroughputLimit", reason));
        }
        Ok(())
    }

    fn set_one(&mut self, name: &str, value: &str) -> ApiResult<()> {
        let text = || Some(value.to_owned()).filter(|text| !text.is_empty());
        match name {
            "DelaySeconds" => self.delay = number(name, value, (0, 900))?,
            "MaximumMessageSize" => self.max_size = number(name, value, (1024, 1 << 20))?,
            "MessageRetentionPeriod" => self.retention = number(name, value, (60, 1_209_600))?,
            "ReceiveMessageWaitTimeSeconds" => self.wait = number(name, value, (0, 20))?,
            "VisibilityTimeout" => self.visibility = number(name, value, (0, 43_200))?,
            "KmsDataKeyReusePeriodSeconds" => self.kms_reuse = number(name, value, (60, 86_400))?,
            "Policy" => {
                if let Some(policy) = text() {
                    Document::parse(&policy).map_err(|_| invalid(name))?;
                }
                self.policy = text();
            }
            "RedrivePolicy" => self.redrive = text().map(|it| Redrive::parse(&it)).transpose()?,
            "RedriveAllowPolicy" => {
                self.redrive_allowed = text().map(|it| Allowed::parse(&it)).transpose()?;
            }
            "KmsMasterKeyId" => self.kms_key = text(),
            "SqsManagedSseEnabled" => self.sse = flag(name, value)?,
            "FifoQueue" if self.is_fifo && flag(name, value)? => {}
            "ContentBasedDeduplication" if self.is_fifo => {
                self.content_deduplication = flag(name, value)?;
            }
            "DeduplicationScope" if self.is_fifo => {
                self.deduplicates_groups = one_of(name, value, ["queue", "messageGroup"])?;
            }
            "FifoThroughputLimit" if self.is_fifo => {
                self.limits_groups = one_of(name, value, ["perQueue", "perMessageGroupId"])?;
            }
            // A standard queue is one without the attribute `FifoQueue`.
            _ => return Err(unknown(name)),
        }
        Ok(())
    }

    /// The attributes as the API shows them.
    pub(super) fn shown(&self) -> BTreeMap<&'static str, String> {
        let mut shown = BTreeMap::from([
            ("DelaySeconds", self.delay.to_string()),
            ("MaximumMessageSize", self.max_size.to_string()),
            ("MessageRetentionPeriod", self.retention.to_string()),
            ("ReceiveMessageWaitTimeSeconds", self.wait.to_string()),
            ("VisibilityTimeout", self.visibility.to_string()),
            ("SqsManagedSseEnabled", self.sse.to_string()),
        ]);
        let mut add = |name, value: Option<String>| {
            if let Some(value) = value {
                shown.insert(name, value);
            }
        };
        add("Policy", self.policy.clone());
        add(
            "RedrivePolicy",
            self.redrive.as_ref().map(Redrive::to_string),
        );
        let allowed = self.redrive_allowed.as_ref().map(Allowed::to_string);
        add("RedriveAllowPolicy", allowed);
        add("KmsMasterKeyId", self.kms_key.clone());
        let reuse = self.kms_key.as_ref().map(|_| self.kms_reuse.to_string());
        add("KmsDataKeyReusePeriodSeconds", reuse);
        if self.is_fifo {
            let choice = |is_second, [first, second]: [&str; 2]| {
                Some(if is_second { second } else { first }.to_owned())
            };
            add("FifoQueue", Some("true".to_owned()));
            let by_content = self.content_deduplication.to_string();
            add("ContentBasedDeduplication", Some(by_content));
            let scope = choice(self.deduplicates_groups, ["queue", "messageGroup"]);
            add("DeduplicationScope", scope);
            let limit = choice(self.limits_groups, ["perQueue", "perMessageGroupId"]);
            add("FifoThroughputLimit", limit);
        }
        shown
    }
}

fn unknown(name: &str) -> ApiError {
    ApiError::new("InvalidAttributeName", format!("Unknown Attribute {name}."))
}

fn invalid(name: &str) -> ApiError {
    let message = format!("Invalid value for the parameter {name}.");
    ApiError::new("InvalidAttributeValue", message)
}

fn number(name: &str, value: &str, (least, most): (i64, i64)) -> ApiResult<i64> {
    let value = value.parse().ok();
    let value = value.filter(|value| (least..=most).contains(value));
    value.ok_or_else(|| invalid(name))
}

fn flag(name: &str, value: &str) -> ApiResult<bool> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(invalid(name)),
    }
}

/// True for the second of two values.
fn one_of(name: &str, value: &str, [first, second]: [&str; 2]) -> ApiResult<bool> {
    if value == second {
        return Ok(true);
    }
    if value == first {
        return Ok(false);
    }
    Err(invalid(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(is_fifo: bool, given: &[(&str, &str)]) -> ApiResult<Attributes> {
        let mut attributes = Attributes::new(is_fifo);
        let given = given
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        attributes.set(&given)?;
        Ok(attributes)
    }

    #[test]
    fn values_are_checked() {
        let code = |is_fifo, name: &str, value: &str| {
            let result = set(is_fifo, &[(name, value)]);
            result.err().map(|error| error.code)
        };
        let wrong_value = Some("InvalidAttributeValue".to_owned());
        let wrong_name = Some("InvalidAttributeName".to_owned());
        for (is_fifo, name, value, expected) in [
            (false, "DelaySeconds", "900", &None),
            (false, "DelaySeconds", "901", &wrong_value),
            (false, "DelaySeconds", "x", &wrong_value),
            (false, "MaximumMessageSize", "1023", &wrong_value),
            (false, "MaximumMessageSize", "1048576", &None),
            (false, "MessageRetentionPeriod", "59", &wrong_value),
            (false, "VisibilityTimeout", "43201", &wrong_value),
            (false, "Policy", "{", &wrong_value),
            (false, "Policy", "", &None),
            (false, "FifoQueue", "false", &wrong_name),
            (false, "ContentBasedDeduplication", "true", &wrong_name),
            (true, "ContentBasedDeduplication", "true", &None),
            (true, "FifoQueue", "true", &None),
            (true, "FifoQueue", "false", &wrong_name),
            (true, "DeduplicationScope", "group", &wrong_value),
            (
                true,
                "FifoThroughputLimit",
                "perMessageGroupId",
                &wrong_value,
            ),
            (false, "QueueArn", "x", &wrong_name),
            (false, "SqsManagedSseEnabled", "yes", &wrong_value),
        ] {
            assert_eq!(&code(is_fifo, name, value), expected, "{name} {value}");
        }
    }

    #[test]
    fn a_queue_has_one_kind_of_encryption() {
        let of = |given: &[(&str, &str)]| {
            let attributes = set(false, given).unwrap();
            let shown = attributes.shown();
            let sse = shown["SqsManagedSseEnabled"].clone();
            (shown.get("KmsMasterKeyId").cloned(), sse)
        };
        assert_eq!(of(&[]), (None, "true".to_owned()));
        let key = ("KmsMasterKeyId", "k");
        assert_eq!(of(&[key]), (Some("k".to_owned()), "false".to_owned()));
        assert!(set(false, &[key, ("SqsManagedSseEnabled", "true")]).is_err());
        assert_eq!(of(&[("SqsManagedSseEnabled", "false")]).1, "false");
    }
}
