//! The key of a topic.

use super::topics::Topic;
use crate::api::ApiResult;
use crate::{Cloud, kms};

/// The actions of who publishes a message.
const PUBLISH: &[&str] = &["kms:GenerateDataKey", "kms:Decrypt"];

/// Fails if the current caller may not use the key of a topic.
pub(super) fn check(cloud: &Cloud, topic: &Topic) -> ApiResult<()> {
    let key = topic.attributes.kms_key.as_deref();
    kms::check_messages(cloud, key, "KMS", "sns", PUBLISH)
}
