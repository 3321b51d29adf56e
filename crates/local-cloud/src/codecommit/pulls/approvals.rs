//! Approvals of pull requests. There are no approval rules, so that every pull request can be merged.

use serde::Deserialize;
use serde_json::{Value, json};

use super::announce::Change;
use super::{Pull, change, current, requester};
use crate::Cloud;
use crate::api::{ApiError, ApiResult};

/// Maximum number of approvals of a pull request (quotas of the user guide).
const MAX_APPROVALS: usize = 200;

#[derive(Deserialize, Clone, Copy, PartialEq)]
#[serde(rename_all = "UPPERCASE")]
enum State {
    Approve,
    Revoke,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Update {
    pull_request_id: String,
    revision_id: String,
    approval_state: State,
}

/// Fails unless the revision is the current one.
fn check_revision(pull: &Pull, revision: &str) -> ApiResult<()> {
    if pull.revision() == revision {
        return Ok(());
    }
    Err(ApiError::new(
        "RevisionNotCurrentException",
        format!("The revision {revision} is not the current one of the pull request"),
    ))
}

/// `UpdatePullRequestApprovalState`
pub(super) async fn update(cloud: &Cloud, input: Update) -> ApiResult<Value> {
    let (found, _) = current(cloud, &input.pull_request_id).await?;
    let approver = requester();
    check_revision(&found, &input.revision_id)?;
    if found.author == approver {
        return Err(ApiError::new(
            "PullRequestCannotBeApprovedByAuthorException",
            "The author of a pull request cannot approve it",
        ));
    }
    let is_approval = input.approval_state == State::Approve;
    let text = if is_approval { "APPROVE" } else { "REVOKE" };
    change(cloud, &found, Change::Approval(text), |pull| {
        // The source branch may have been pushed since.
        check_revision(pull, &input.revision_id)?;
        let all: usize = pull.approvals.values().map(Vec::len).sum();
        if all >= MAX_APPROVALS {
            // Those of earlier revisions count no longer.
            pull.approvals.retain(|id, _| *id == input.revision_id);
        }
        let approvers = pull.approvals.entry(input.revision_id).or_default();
        approvers.retain(|known| *known != approver);
        if is_approval && approvers.len() >= MAX_APPROVALS {
            return Err(ApiError::new(
                "MaximumNumberOfApprovalsExceededException",
                format!("The pull request has {MAX_APPROVALS} approvals, the maximum"),
            ));
        }
        if is_approval {
            approvers.push(approver);
        }
        Ok(())
    })?;
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Revision {
    pull_request_id: String,
    revision_id: String,
}

/// `GetPullRequestApprovalStates`
pub(super) async fn get(cloud: &Cloud, input: Revision) -> ApiResult<Value> {
    let (found, _) = current(cloud, &input.pull_request_id).await?;
    let approvers = found
        .approvals
        .get(&input.revision_id)
        .into_iter()
        .flatten();
    let approvals: Vec<Value> = approvers
        .map(|arn| json!({"userArn": arn, "approvalState": "APPROVE"}))
        .collect();
    Ok(json!({"approvals": approvals}))
}

/// `EvaluatePullRequestApprovalRules`
pub(super) async fn evaluate(cloud: &Cloud, input: Revision) -> ApiResult<Value> {
    let (found, _) = current(cloud, &input.pull_request_id).await?;
    check_revision(&found, &input.revision_id)?;
    Ok(json!({"evaluation": {
        "approved": true,
        "overridden": false,
        "approvalRulesSatisfied": [],
        "approvalRulesNotSatisfied": [],
    }}))
}
