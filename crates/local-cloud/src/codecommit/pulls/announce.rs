//! The events of pull requests, in the form of the samples of the user guide, without the link to AWS's console.

use jiff::Timestamp;
use rusqlite::Transaction;
use serde_json::json;

use super::{Pull, Status};
use crate::Cloud;
use crate::api::ApiResult;
use crate::events::{self, Event};

/// What happened to a pull request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change<'a> {
    /// Nothing that has an event.
    None,
    Created,
    Closed,
    Merged,
    /// Its source branch was pushed to.
    Pushed,
    /// The approval of this revision was given or revoked (`APPROVE`, `REVOKE`).
    Approval(&'a str),
}

/// Stores the event of a change with it, which the caller with this ARN made.
pub(super) fn publish(
    tx: &Transaction<'_>,
    cloud: &Cloud,
    pull: &Pull,
    change: Change<'_>,
    caller: &str,
) -> ApiResult<()> {
    let (name, text) = match change {
        Change::None => return Ok(()),
        Change::Created => ("pullRequestCreated", "Created".to_owned()),
        Change::Closed => ("pullRequestStatusChanged", "Closed".to_owned()),
        Change::Merged => ("pullRequestMergeStatusUpdated", "Merged".to_owned()),
        Change::Pushed => ("pullRequestSourceBranchUpdated", "Updated".to_owned()),
        Change::Approval(state) => (
            "pullRequestApprovalStateChanged",
            format!("Approval state: {state}"),
        ),
    };
    let is_open = pull.status == Status::Open;
    let mut detail = json!({
        "author": pull.author,
        "callerUserArn": caller,
        "creationDate": date(pull.created),
        "destinationCommit": pull.destination_commit,
        "destinationReference": format!("refs/heads/{}", pull.destination),
        "event": name,
        "isMerged": if pull.merged.is_some() { "True" } else { "False" },
        "lastModifiedDate": date(pull.active),
        "notificationBody": format!(
            "A pull request event occurred in the following AWS CodeCommit repository: {}. User: {caller}. Event: \
             {text}. Pull request: {}",
            pull.repository, pull.number
        ),
        "pullRequestId": pull.number.to_string(),
        "pullRequestStatus": if is_open { "Open" } else { "Closed" },
        "repositoryNames": [pull.repository],
        "revisionId": pull.revision(),
        "sourceCommit": pull.source_commit,
        "sourceReference": format!("refs/heads/{}", pull.source),
        "title": pull.title,
    });
    if let Some(description) = &pull.description {
        detail["description"] = json!(description);
    }
    if let Some(merged) = &pull.merged {
        detail["mergeOption"] = json!(merged.option);
    }
    if let Change::Approval(state) = change {
        detail["approvalStatus"] = json!(state);
    }
    let event = Event {
        source: "aws.codecommit",
        detail_type: "CodeCommit Pull Request State Change",
        resources: vec![cloud.arn("codecommit", &pull.repository)],
        detail,
    };
    events::publish_in(tx, cloud, event)
}

/// `Wed Nov 06 19:10:58 UTC 2019`
fn date(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "seconds since the epoch")]
    let time = Timestamp::from_second(seconds as i64).unwrap_or_default();
    time.strftime("%a %b %d %H:%M:%S UTC %Y").to_string()
}
