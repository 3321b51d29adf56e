//! `DeploymentConfig`: how a stack is deployed.
//!
//! Source: the `CloudFormation` API Reference, `DeploymentConfig`, and the User Guide, "express mode".

use serde::{Deserialize, Serialize};

use super::template::invalid;
use crate::api::{ApiError, ApiResult, lenient};

/// How a stack is deployed. `STANDARD`, which waits until each resource is ready, is the only mode here.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct DeploymentConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<String>,
    #[serde(deserialize_with = "lenient::bool")]
    disable_rollback: bool,
}

impl DeploymentConfig {
    /// Refuses the modes that the local cloud does not have.
    pub(super) fn check(&self) -> ApiResult<()> {
        match self.mode.as_deref() {
            None | Some("STANDARD") => Ok(()),
            Some("EXPRESS") => Err(ApiError::not_implemented(
                "the mode EXPRESS of DeploymentConfig in cloudformation",
            )),
            Some(other) => Err(invalid(format!(
                "1 validation error detected: Value '{other}' at 'deploymentConfig.mode' failed to satisfy constraint: Member must satisfy enum value set: [STANDARD, EXPRESS]"
            ))),
        }
    }

    /// True if a failed operation leaves the stack unchanged.
    pub(super) fn disables_rollback(&self) -> bool {
        self.disable_rollback
    }
}
