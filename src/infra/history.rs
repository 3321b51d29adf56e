//! The past deployments of a stack, from its events.

use anyhow::Result;
use aws_sdk_cloudformation::types::StackStatus;
use jiff::Timestamp;
use serde::Serialize;

use super::StackSpec;
use super::deploy::token_prefix;
use super::events::is_failure;
use crate::aws::Clients;
use crate::aws::cloudformation::{self as cfn, Event};
use crate::aws::state::StackStatusExt as _;

/// Maximum number of pages of events to read; a deployment has about 20 events, a page 100.
const PAGES: usize = 3;

/// A deployment of a stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Deployment {
    /// When it began; null if the event is older than those that were read.
    pub started: Option<Timestamp>,
    /// When it ended; null while it is in progress.
    pub ended: Option<Timestamp>,
    /// The stack's status at its end, or now.
    pub status: String,
    /// Why it failed: the first failure.
    pub reason: Option<String>,
}

impl Deployment {
    /// Whether it ended without deploying what it was to deploy.
    pub fn has_failed(&self) -> bool {
        let status = StackStatus::from(self.status.as_str());
        !status.is_in_progress() && !status.is_deployed()
    }
}

/// Returns the last deployments of a stack, newest first; none if it does not exist.
pub async fn last_deployments(
    clients: &Clients,
    stack: &str,
    limit: usize,
) -> Result<Vec<Deployment>> {
    let Some(found) = cfn::stack(clients, stack).await? else {
        return Ok(Vec::new());
    };
    let events = cfn::newest_events(clients, &found.id, PAGES).await?;
    let mut all = deployments(&events, stack);
    all.truncate(limit);
    Ok(all)
}

/// Returns whether the last deployment of this specification was rolled back, as far as the stack's newest events
/// tell. One of this program has a token in its events. One of a pipeline has not: it is known by the resources that
/// it created, whose names end in `suffix`.
pub async fn was_rolled_back(clients: &Clients, spec: &StackSpec, suffix: &str) -> Result<bool> {
    let Some(found) = cfn::stack(clients, &spec.name).await? else {
        return Ok(false);
    };
    let events = cfn::newest_events(clients, &found.id, PAGES).await?;
    let prefix = token_prefix(&spec.hash());
    Ok(ends_rolled_back(&events, &spec.name, &prefix, suffix))
}

fn is_of_stack(event: &Event, stack: &str) -> bool {
    event.r#type == "AWS::CloudFormation::Stack" && event.resource == stack
}

/// Returns whether the newest deployment of a stack whose token has a prefix, or that made a resource with a suffix,
/// ended with a rollback. The newest event is the first one.
fn ends_rolled_back(events: &[Event], stack: &str, prefix: &str, suffix: &str) -> bool {
    let is_rollback = |event: &Event| event.status.as_str().contains("ROLLBACK");
    let end = format!("-{suffix}");
    let own = (0..events.len()).find(|at| {
        let event = &events[*at];
        if is_of_stack(event, stack) {
            let token = event.token.as_deref();
            return token.is_some_and(|token| token.starts_with(prefix));
        }
        // A rollback of a later deployment names it, too.
        let mut older = events[*at..].iter();
        let began = older.find(|event| is_of_stack(event, stack));
        event.physical.ends_with(&end) && !began.is_some_and(is_rollback)
    });
    let Some(own) = own else {
        return false;
    };
    // What the stack did next, if the event is that of a resource.
    let mut from_there = events[..=own].iter().rev();
    from_there
        .find(|event| is_of_stack(event, stack))
        .is_some_and(is_rollback)
}

/// Groups events, newest first, by deployment.
fn deployments(events: &[Event], stack: &str) -> Vec<Deployment> {
    let mut found = Vec::new();
    let mut current: Option<Deployment> = None;
    for event in events {
        if !is_of_stack(event, stack) {
            if let Some(current) = &mut current
                && is_failure(event)
            {
                // Older events follow: the last one that is seen is the first that happened.
                current.reason.clone_from(&event.reason);
            }
            continue;
        }
        let status = StackStatus::from(event.status.as_str());
        if status.is_in_progress() {
            let mut deployment = current.take().unwrap_or_else(|| Deployment {
                started: None,
                ended: None,
                status: status.as_str().to_owned(),
                reason: None,
            });
            if status.begins_deployment() {
                deployment.started = event.time;
                found.push(deployment);
            } else if status.is_busy() {
                current = Some(deployment);
            }
        } else {
            // Without the event that began it, which can be on a page that was not read.
            found.extend(current.take());
            current = Some(Deployment {
                started: None,
                ended: event.time,
                status: status.as_str().to_owned(),
                reason: None,
            });
        }
    }
    found.extend(current);
    found
}

#[cfg(test)]
mod tests {
    use aws_sdk_cloudformation::types::ResourceStatus;

    use super::*;

    fn event(resource: &str, status: &str, second: i64, reason: Option<&str>) -> Event {
        Event {
            id: second.to_string(),
            resource: resource.to_owned(),
            physical: String::new(),
            r#type: if resource == "s" {
                "AWS::CloudFormation::Stack"
            } else {
                "AWS::SageMaker::Endpoint"
            }
            .to_owned(),
            status: ResourceStatus::from(status),
            reason: reason.map(str::to_owned),
            token: None,
            time: Timestamp::from_second(second).ok(),
        }
    }

    #[test]
    fn a_deployment_that_was_rolled_back_is_found_by_its_token() {
        let events = [
            ("UPDATE_COMPLETE", "mlops-b-2"),
            ("UPDATE_ROLLBACK_COMPLETE", "mlops-a-1"),
            ("UPDATE_ROLLBACK_IN_PROGRESS", "mlops-a-1"),
            ("UPDATE_ROLLBACK_COMPLETE", "mlops-b-1"),
        ];
        let events = events.map(|(status, token)| Event {
            token: Some(token.to_owned()),
            ..event("s", status, 1, None)
        });
        let found = |prefix| ends_rolled_back(&events, "s", prefix, "2-abc");
        assert!(found("mlops-a-"));
        assert!(!found("mlops-b-"), "it was repeated, and succeeded");
        assert!(!found("mlops-c-"));
    }

    #[test]
    fn a_deployment_of_a_pipeline_is_found_by_what_it_created() {
        let named = |resource: &str, status: &str, physical: &str| Event {
            physical: physical.to_owned(),
            ..event(resource, status, 1, None)
        };
        let mut events = vec![
            named("s", "UPDATE_IN_PROGRESS", "arn"),
            // A replacement is an update.
            named("Config", "UPDATE_COMPLETE", "arn/f-2-abc"),
            named("s", "UPDATE_ROLLBACK_IN_PROGRESS", "arn"),
            named("Config", "UPDATE_COMPLETE", "arn/f-1-abc"),
            named("Config", "DELETE_COMPLETE", "arn/f-2-abc"),
            named("s", "UPDATE_ROLLBACK_COMPLETE", "arn"),
        ];
        let found = |events: &[Event], suffix| {
            let newest_first: Vec<Event> = events.iter().rev().cloned().collect();
            ends_rolled_back(&newest_first, "s", "mlops-a-", suffix)
        };
        assert!(found(&events, "2-abc"));
        assert!(!found(&events, "12-abc") && !found(&events, "2-abcd"));
        assert!(!found(&events, "1-abc"), "it was returned to");
        events.extend([
            named("s", "UPDATE_IN_PROGRESS", "arn"),
            named("Config", "CREATE_COMPLETE", "arn/f-2-abc"),
            named("s", "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "arn"),
        ]);
        assert!(!found(&events, "2-abc"), "it was repeated, and succeeded");
    }

    #[test]
    fn events_are_grouped_by_deployment() {
        let mut events = vec![
            event("s", "REVIEW_IN_PROGRESS", 0, None),
            event("s", "CREATE_IN_PROGRESS", 1, None),
            event("Endpoint", "CREATE_COMPLETE", 2, None),
            event("s", "CREATE_COMPLETE", 3, None),
            event("s", "UPDATE_IN_PROGRESS", 4, None),
            event("Endpoint", "UPDATE_FAILED", 5, Some("no ping")),
            event(
                "Alarm",
                "UPDATE_FAILED",
                6,
                Some("Resource update cancelled"),
            ),
            event(
                "s",
                "UPDATE_ROLLBACK_IN_PROGRESS",
                7,
                Some("failed: [Endpoint]"),
            ),
            event("s", "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS", 8, None),
            event("s", "UPDATE_ROLLBACK_COMPLETE", 9, None),
            event("s", "UPDATE_IN_PROGRESS", 10, None),
            event("s", "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", 11, None),
        ];
        events.reverse();
        let found = deployments(&events, "s");
        let seconds = |time: Option<Timestamp>| time.map(Timestamp::as_second);
        let short: Vec<_> = found
            .iter()
            .map(|it| (seconds(it.started), seconds(it.ended), it.status.as_str()))
            .collect();
        assert_eq!(
            short,
            [
                (Some(10), None, "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS"),
                (Some(4), Some(9), "UPDATE_ROLLBACK_COMPLETE"),
                (Some(1), Some(3), "CREATE_COMPLETE"),
            ]
        );
        assert_eq!(found[1].reason.as_deref(), Some("no ping"));
        assert_eq!(found[2].reason, None);
        let failed: Vec<_> = found.iter().map(Deployment::has_failed).collect();
        assert_eq!(failed, [false, true, false]);
    }

    #[test]
    fn a_deployment_whose_beginning_was_not_read_is_kept() {
        let events = [
            event("s", "UPDATE_COMPLETE", 9, None),
            event("Endpoint", "UPDATE_COMPLETE", 8, None),
        ];
        let found = deployments(&events, "s");
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].started, found[0].status.as_str()),
            (None, "UPDATE_COMPLETE")
        );
    }
}
