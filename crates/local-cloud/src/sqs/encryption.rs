//! The key of a queue.

use super::records::Queue;
use crate::api::ApiResult;
use crate::{Cloud, kms};

/// The actions of who sends a message.
pub(super) const SEND: &[&str] = &["kms:GenerateDataKey", "kms:Decrypt"];

/// The actions of who receives messages.
pub(super) const RECEIVE: &[&str] = &["kms:Decrypt"];

/// Fails if the current caller may not use the key of a queue.
pub(super) fn check(cloud: &Cloud, queue: &Queue, actions: &[&str]) -> ApiResult<()> {
    let key = queue.attributes.kms_key.as_deref();
    kms::check_messages(cloud, key, "Kms", "sqs", actions)
}
