//! The key of a queue. Nothing is encrypted, but who may not use the key can neither send nor receive.

use super::records::Queue;
use crate::api::{ApiError, ApiResult};
use crate::cloud::caller::Caller;
use crate::{Cloud, kms};

/// The key that everybody in the account can use, but no service of AWS.
const MANAGED: &str = "alias/aws/sqs";

/// The actions of who sends a message.
pub(super) const SEND: &[&str] = &["kms:GenerateDataKey", "kms:Decrypt"];

/// The actions of who receives messages.
pub(super) const RECEIVE: &[&str] = &["kms:Decrypt"];

/// Fails if the current caller may not use the key of a queue.
pub(super) fn check(cloud: &Cloud, queue: &Queue, actions: &[&str]) -> ApiResult<()> {
    let Some(key) = &queue.attributes.kms_key else {
        return Ok(());
    };
    let caller = Caller::current();
    let is_managed = key == MANAGED || key.ends_with(&format!(":{MANAGED}"));
    if is_managed {
        return match caller {
            Caller::Service(service) => Err(ApiError::denied(
                "KmsAccessDenied",
                format!(
                    "The policy of {MANAGED} does not allow {} to use the key.",
                    service.principal
                ),
            )
            .status(400)),
            _ => Ok(()),
        };
    }
    kms::require_use(cloud, &caller, "sqs", key, actions).map_err(|error| {
        let code = match error.code.as_str() {
            "NotFoundException" => "KmsNotFound",
            "DisabledException" => "KmsDisabled",
            "KMSInvalidStateException" => "KmsInvalidState",
            _ if error.is_denied() => "KmsAccessDenied",
            _ => return error,
        };
        ApiError {
            code: code.to_owned(),
            ..error
        }
    })
}
