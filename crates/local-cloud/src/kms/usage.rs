//! Use of keys by services that store something for a caller.

use super::{SERVICE, require};
use crate::api::ApiResult;
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
