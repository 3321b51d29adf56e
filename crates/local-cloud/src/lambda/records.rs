//! The records of functions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::states::FunctionState;
use super::{conflict, not_found};
use crate::Cloud;
use crate::api::ApiResult;
use crate::store::Collection;

/// The record of a function.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct FunctionRecord {
    /// The response of `GetFunctionConfiguration`.
    pub(super) configuration: Value,
    /// The hex SHA-256 of its zip.
    pub(super) code: String,
    /// Its tags.
    pub(super) tags: BTreeMap<String, String>,
    /// The statements of its policy.
    #[serde(default)]
    pub(super) policy: Vec<Value>,
    /// The plan that invocations run; `None` until the function is active. During an update it is
    /// the previous one.
    pub(super) active: Option<Plan>,
}

/// The plan of an invocation: code, settings and limits.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) name: String,
    pub(super) arn: String,
    /// The hex SHA-256 of the zip.
    pub(super) code: String,
    /// The ARN of its role.
    #[serde(default)]
    pub(super) role: String,
    pub(super) runtime: String,
    pub(super) handler: String,
    /// Seconds.
    pub(super) timeout: u64,
    /// MB; reported to the function, but not enforced.
    pub(super) memory: u64,
    pub(super) environment: BTreeMap<String, String>,
    pub(super) log_group: String,
    /// Environments of another revision are not reused.
    pub(super) revision: String,
}

pub(super) fn records(cloud: &Cloud) -> Collection<'_, FunctionRecord> {
    cloud.store().collection("lambda", "function")
}

pub(super) fn find(cloud: &Cloud, name: &str) -> ApiResult<FunctionRecord> {
    records(cloud)
        .get(name)?
        .ok_or_else(|| not_found(cloud, name))
}

/// The plan that an invocation runs now.
pub(super) fn active(cloud: &Cloud, name: &str) -> ApiResult<Plan> {
    let record = find(cloud, name)?;
    let state = FunctionState::of(&record.configuration);
    record.active.ok_or_else(|| {
        conflict(format!(
            "The operation cannot be performed at this time. The function is currently in the \
             following state: {}",
            state.map_or("", FunctionState::name)
        ))
    })
}
