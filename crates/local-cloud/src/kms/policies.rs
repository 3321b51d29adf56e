//! The policies of keys.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Empty, change, keys, not_found, require};
use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::policy::{Call, Document};

/// The policy of the key that a call is about.
pub(super) fn of_key(cloud: &Cloud, call: &Call) -> ApiResult<Option<String>> {
    let id = call.resource.strip_prefix(&cloud.arn("kms", "key/"));
    match id {
        Some(id) => Ok(keys(cloud).get(id)?.map(|key| key.policy)),
        None => Ok(None),
    }
}

/// Checks the policy of a request, so that it can be evaluated.
pub(super) fn check(policy: String) -> ApiResult<String> {
    match Document::parse(&policy) {
        Ok(_) => Ok(policy),
        Err(error) => Err(ApiError::new(
            "MalformedPolicyDocumentException",
            format!("This policy is malformed: {error}"),
        )),
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PolicyOfKey {
    key_id: String,
    policy_name: Option<String>,
}

fn check_name(name: Option<&str>) -> ApiResult<()> {
    match name {
        None | Some("default") => Ok(()),
        Some(_) => Err(not_found("No such policy exists".to_owned())),
    }
}

pub(super) async fn get(cloud: &Cloud, input: PolicyOfKey) -> ApiResult<Value> {
    check_name(input.policy_name.as_deref())?;
    let key = require(cloud, &input.key_id)?;
    Ok(json!({"Policy": key.policy, "PolicyName": "default"}))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PutPolicy {
    key_id: String,
    policy_name: Option<String>,
    policy: String,
}

pub(super) async fn put(cloud: &Cloud, input: PutPolicy) -> ApiResult<Empty> {
    check_name(input.policy_name.as_deref())?;
    let policy = check(input.policy)?;
    change(cloud, &input.key_id, |key| {
        key.policy = policy;
        Ok(Empty {})
    })
}
