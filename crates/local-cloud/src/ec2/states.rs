//! The states of network resources. Records and responses have their names as text.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The state of a VPC, subnet, NAT gateway, endpoint or attachment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ResourceState {
    Available,
    Deleted,
}

impl ResourceState {
    /// The state of a record.
    pub(super) fn of(record: &Value) -> Option<Self> {
        Self::deserialize(&record["state"]).ok()
    }
}

/// The state of a route: `blackhole` if its target was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RouteState {
    Active,
    Blackhole,
}

impl RouteState {
    /// The state of a route of a record.
    pub(super) fn of(route: &Value) -> Option<Self> {
        Self::deserialize(&route["state"]).ok()
    }
}
