//! Shows the events of a stack while CloudFormation changes it.

use std::sync::Mutex;

use anyhow::Result;
use aws_sdk_cloudformation::types::ResourceStatus;
use mlops_core::wait::{Poll, Waiter};

use crate::aws::Clients;
use crate::aws::cloudformation as cfn;
use crate::aws::state::StackStatusExt as _;
use crate::progress::{LiveList, Progress};

/// What the loop has seen.
struct Seen {
    last: Option<String>,
    failure: Option<String>,
    /// Why the stack was rolled back, if no resource failed: an export in use, for example.
    rollback: Option<String>,
    list: LiveList,
}

/// Shows the events of a stack after the one with the id `last`, until the stack is idle. Returns
/// its final state (`None` if it is gone) and the first failure.
pub(super) async fn watch(
    clients: &Clients,
    waiter: Waiter,
    progress: &Progress,
    name: &str,
    id: &str,
    verb: &str,
    last: Option<String>,
) -> Result<(Option<cfn::Stack>, Option<String>)> {
    let seen = Mutex::new(Seen {
        last,
        failure: None,
        rollback: None,
        list: progress.list(format!("{name}: {verb}")),
    });
    let stack = waiter
        .until(
            &format!("the stack {name}"),
            |_| {},
            || async {
                // The status first, so that its final event is among the events read afterwards.
                let Some(stack) = cfn::stack(clients, id).await? else {
                    return Ok(Poll::Ready(None));
                };
                let after = seen.lock().ok().and_then(|seen| seen.last.clone());
                let events = cfn::events(clients, id, after.as_deref()).await?;
                if let Ok(mut seen) = seen.lock() {
                    for event in events {
                        seen.show(progress, name, event);
                    }
                }
                if stack.status.is_in_progress() {
                    return Ok(Poll::Pending(stack.status.as_str().to_owned()));
                }
                Ok(Poll::Ready(Some(stack)))
            },
        )
        .await?;
    let seen = seen.into_inner().ok();
    let failure = seen.and_then(|seen| seen.failure.or(seen.rollback));
    Ok((stack, failure))
}

impl Seen {
    fn show(&mut self, progress: &Progress, name: &str, event: cfn::Event) {
        let state = event.status.as_str();
        // The title already shows the stack's own events.
        if event.r#type != "AWS::CloudFormation::Stack" {
            let is_over = !state.ends_with("_IN_PROGRESS");
            self.list
                .set(&event.resource, &event.r#type, state, is_over);
        } else if state.ends_with("ROLLBACK_IN_PROGRESS") && self.rollback.is_none() {
            self.rollback.clone_from(&event.reason);
        }
        if is_failure(&event) {
            let failed = format!(
                "{} ({}): {}",
                event.resource,
                event.r#type,
                event.reason.as_deref().unwrap_or("no reason given")
            );
            progress.say(format!("{name}: {failed}"));
            self.failure.get_or_insert(failed);
        }
        self.last = Some(event.id);
    }
}

/// Returns true for the event that caused the failure, not for resources cancelled because of it.
pub(super) fn is_failure(event: &cfn::Event) -> bool {
    matches!(
        event.status,
        ResourceStatus::CreateFailed | ResourceStatus::UpdateFailed | ResourceStatus::DeleteFailed
    ) && !event
        .reason
        .as_deref()
        .is_some_and(|reason| reason.contains("cancelled"))
}
