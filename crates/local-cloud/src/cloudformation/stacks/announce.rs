//! Stores the events of stacks, and announces them to EventBridge.

use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Transaction;
use serde_json::json;

use super::{Event, Stack, bus, events};
use crate::Cloud;
use crate::api::ApiResult;

impl Event {
    /// The event as EventBridge announces it.
    fn announcement(&self, stack: &Stack) -> bus::Event {
        let mut detail = json!({
            "stack-id": self.stack_id,
            "status-details": {
                "status": self.resource_status,
                "status-reason": self.resource_status_reason.as_deref().unwrap_or_default(),
            },
            "client-request-token": self.client_request_token.as_deref().unwrap_or_default(),
        });
        let is_stack = self.physical_resource_id == stack.id;
        if !is_stack {
            detail["logical-resource-id"] = self.logical_resource_id.as_str().into();
            detail["physical-resource-id"] = self.physical_resource_id.as_str().into();
            detail["resource-type"] = self.resource_type.as_str().into();
        }
        bus::Event {
            source: "aws.cloudformation",
            detail_type: if is_stack {
                "CloudFormation Stack Status Change"
            } else {
                "CloudFormation Resource Status Change"
            },
            resources: vec![self.stack_id.clone()],
            detail,
        }
    }
}

/// Stores an event in the transaction that changes what it is about, and announces it to EventBridge.
pub(super) fn put_in(
    tx: &Transaction<'_>,
    cloud: &Cloud,
    stack: &Stack,
    event: &Event,
) -> ApiResult<()> {
    static SEQUENCE: AtomicU64 = AtomicU64::new(0);
    let key = format!(
        "{}/{:015}{:09}",
        stack.key(),
        jiff::Timestamp::now().as_millisecond(),
        SEQUENCE.fetch_add(1, Ordering::Relaxed)
    );
    events(cloud).put_in(tx, &key, event)?;
    bus::publish_in(tx, cloud, event.announcement(stack))
}
