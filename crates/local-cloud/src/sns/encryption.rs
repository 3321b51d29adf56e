//! The key of a topic. Nothing is encrypted, but who may not use the key cannot publish.

use super::topics::Topic;
use crate::api::{ApiError, ApiResult};
use crate::cloud::caller::Caller;
use crate::{Cloud, kms};

/// The key that everybody in the account can use, but no service of AWS.
const MANAGED: &str = "alias/aws/sns";

/// The actions of who publishes a message.
const PUBLISH: &[&str] = &["kms:GenerateDataKey", "kms:Decrypt"];

/// Fails if the current caller may not use the key of a topic.
pub(super) fn check(cloud: &Cloud, topic: &Topic) -> ApiResult<()> {
    let Some(key) = &topic.attributes.kms_key else {
        return Ok(());
    };
    let caller = Caller::current();
    if key == MANAGED || key.ends_with(&format!(":{MANAGED}")) {
        return match caller {
            Caller::Service(service) => {
                let message = format!(
                    "The policy of {MANAGED} does not allow {} to use the key.",
                    service.principal
                );
                Err(ApiError::denied("KMSAccessDenied", message).status(400))
            }
            _ => Ok(()),
        };
    }
    kms::require_use(cloud, &caller, "sns", key, PUBLISH).map_err(|error| {
        let code = match error.code.as_str() {
            "NotFoundException" => "KMSNotFound",
            "DisabledException" => "KMSDisabled",
            "KMSInvalidStateException" => "KMSInvalidState",
            _ if error.is_denied() => "KMSAccessDenied",
            _ => return error,
        };
        ApiError {
            code: code.to_owned(),
            ..error
        }
    })
}
