//! The states of functions. Records and responses have their names as text.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `State` of a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum FunctionState {
    Pending,
    Active,
    Failed,
}

impl FunctionState {
    /// The state in a function's configuration.
    pub(super) fn of(configuration: &Value) -> Option<Self> {
        Self::deserialize(&configuration["State"]).ok()
    }

    /// AWS's name of the state.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Active => "Active",
            Self::Failed => "Failed",
        }
    }
}

/// `LastUpdateStatus` of a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum UpdateStatus {
    InProgress,
    Successful,
    Failed,
}

impl UpdateStatus {
    /// The status of the last update in a function's configuration.
    pub(super) fn of(configuration: &Value) -> Option<Self> {
        Self::deserialize(&configuration["LastUpdateStatus"]).ok()
    }
}
