//! The call of a service that a target is.

use serde_json::Value;

/// A call of a service.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Request {
    /// The name for [`Cloud::call`].
    pub(super) service: &'static str,
    pub(super) operation: String,
    pub(super) input: Value,
}
