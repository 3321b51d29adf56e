//! Use of keys by services that store something for a caller.

use super::{SERVICE, require};
use crate::api::{ApiError, ApiResult};
use crate::cloud::ACCOUNT;
use crate::cloud::caller::Caller;
use crate::policy::Context;
use crate::{Cloud, authorization};

/// Fails if a key does not exist, is disabled or pending deletion, or if the caller may not do one of these actions
/// with it through the service `via`. The error has a code of KMS.
pub(crate) fn require_use(
    cloud: &Cloud,
    caller: &Caller,
    via: &str,
    key: &str,
    actions: &[&str],
) -> ApiResult<()> {
    let key = require(cloud, key)?;
    key.usable()?;
    for action in actions {
        let mut context = Context::default();
        context.set("kms:CallerAccount", ACCOUNT);
        context.set(
            "kms:ViaService",
            format!("{via}.{}.amazonaws.com", cloud.region()),
        );
        authorization::action(cloud, caller, &SERVICE, action, key.arn.clone(), context)?;
    }
    Ok(())
}

/// Fails if the current caller may not use the key of a topic or of a queue. The codes of the errors begin with `prefix`.
/// Nothing is encrypted, but who may not use the key can neither send nor receive.
pub(crate) fn check_messages(
    cloud: &Cloud,
    key: Option<&str>,
    prefix: &str,
    service: &str,
    actions: &[&str],
) -> ApiResult<()> {
    let Some(key) = key else {
        return Ok(());
    };
    let caller = Caller::current();
    // Everybody in the account can use it, but no service of AWS.
    let managed = format!("alias/aws/{service}");
    if key == managed || key.ends_with(&format!(":{managed}")) {
        return match caller {
            Caller::Service(service) => {
                let principal = &service.principal;
                let message =
                    format!("The policy of {managed} does not allow {principal} to use the key.");
                Err(ApiError::denied(format!("{prefix}AccessDenied"), message).status(400))
            }
            _ => Ok(()),
        };
    }
    require_use(cloud, &caller, service, key, actions).map_err(|error| {
        let code = match error.code.as_str() {
            "NotFoundException" => "NotFound",
            "DisabledException" => "Disabled",
            "KMSInvalidStateException" => "InvalidState",
            _ if error.is_denied() => "AccessDenied",
            _ => return error,
        };
        ApiError {
            code: format!("{prefix}{code}"),
            ..error
        }
    })
}
