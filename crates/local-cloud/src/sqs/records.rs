//! The records of queues.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::attributes::Attributes;
use crate::Cloud;
use crate::store::Collection;

/// A queue.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Queue {
    pub(super) name: String,
    /// Identifies the queue in the table of messages. Another queue of the same name has another number.
    pub(super) number: i64,
    /// Seconds.
    pub(super) created: i64,
    /// Seconds.
    pub(super) modified: i64,
    pub(super) attributes: Attributes,
    pub(super) tags: BTreeMap<String, String>,
    /// When it was purged, in milliseconds.
    pub(super) purged: Option<i64>,
}

/// The records of queues, by name.
pub(super) fn records(cloud: &Cloud) -> Collection<'_, Queue> {
    cloud.store().collection("sqs", "queue")
}
