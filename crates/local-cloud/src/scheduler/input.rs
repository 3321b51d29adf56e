//! The input of targets: the text of the schedule with the values of an invocation, or a notification.

use serde_json::json;

use super::invocation::Invocation;
use crate::Cloud;
use crate::cloud::ACCOUNT;

/// The text that a target receives.
pub(super) fn text(cloud: &Cloud, invocation: &Invocation, attempt: u32) -> String {
    let Some(input) = &invocation.target.input else {
        if invocation.target.is_universal() {
            // Its input has the members of the operation, none of which the notification has.
            return "{}".to_owned();
        }
        return notification(cloud, invocation);
    };
    // User guide, "Adding context attributes".
    [
        ("<aws.scheduler.schedule-arn>", invocation.schedule.clone()),
        (
            "<aws.scheduler.scheduled-time>",
            invocation.scheduled_time(),
        ),
        ("<aws.scheduler.execution-id>", invocation.id.clone()),
        ("<aws.scheduler.attempt-number>", attempt.to_string()),
    ]
    .iter()
    .fold(input.clone(), |text, (name, value)| {
        text.replace(name, value)
    })
}

/// What a target receives if the schedule has no input. Unverified against AWS [scheduler-notification]: its members.
fn notification(cloud: &Cloud, invocation: &Invocation) -> String {
    json!({
        "version": "0",
        "id": invocation.id,
        "detail-type": "Scheduled Event",
        "source": "aws.scheduler",
        "account": ACCOUNT,
        "time": invocation.scheduled_time(),
        "region": cloud.region(),
        "resources": [invocation.schedule],
        "detail": "{}",
    })
    .to_string()
}
