//! Who created or changed a record.

use serde_json::{Value, json};

use crate::cloud::caller::Caller;
use crate::sts;

/// The current caller as `UserContext` (botocore), without the members of Studio; empty for the local cloud's own
/// work.
/// Unverified against AWS [sagemaker-user-context]: the members of `IamIdentity` for a session of a role.
pub(super) fn user_context() -> Value {
    if matches!(Caller::current(), Caller::LocalCloud) {
        return json!({});
    }
    let (id, arn) = sts::identity();
    json!({ "IamIdentity": { "Arn": arn, "PrincipalId": id } })
}
