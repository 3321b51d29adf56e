//! Manual approvals that wait.

use anyhow::Result;
use aws_sdk_codepipeline::types::{ApprovalResult, ApprovalStatus};
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use serde::Serialize;

use super::PARALLEL;
use super::pipelines::Pipeline;
use crate::aws::sagemaker::timestamp;
use crate::aws::state::ActionState;
use crate::aws::{AwsResultExt, Clients, Missing};

/// Maximum length of a note (API reference of `ApprovalResult`).
pub const LONGEST_NOTE: usize = 512;

/// An approval action that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Approval {
    /// The execution.
    pub run: String,
    /// Its pipeline.
    #[serde(flatten)]
    pub pipeline: Pipeline,
    /// The stage.
    pub stage: String,
    /// The action.
    pub action: String,
    /// Since when it waits.
    pub since: Option<Timestamp>,
    #[serde(skip)]
    token: String,
}

/// Lists the approvals that wait in these pipelines, with one request for each.
pub async fn waiting(clients: &Clients, pipelines: &[Pipeline]) -> Result<Vec<Approval>> {
    let requests: Vec<_> = pipelines
        .iter()
        .map(|pipeline| waiting_in(clients, pipeline))
        .collect();
    let found: Vec<Vec<Approval>> = futures::stream::iter(requests)
        .buffered(PARALLEL)
        .try_collect()
        .await?;
    Ok(found.into_iter().flatten().collect())
}

async fn waiting_in(clients: &Clients, pipeline: &Pipeline) -> Result<Vec<Approval>> {
    let state = clients
        .codepipeline
        .get_pipeline_state()
        .name(&pipeline.name)
        .send()
        .await
        .aws_if_found(
            format!("cannot read the state of the pipeline `{}`", pipeline.name),
            Missing::Resource,
        )?;
    let stages = state.and_then(|state| state.stage_states);
    let mut found = Vec::new();
    for stage in stages.unwrap_or_default() {
        let Some(execution) = stage.latest_execution() else {
            continue;
        };
        for action in stage.action_states() {
            // Only an approval has a token.
            let Some((latest, token)) = action
                .latest_execution()
                .and_then(|latest| Some((latest, latest.token()?)))
            else {
                continue;
            };
            if ActionState::of(latest.status()).is_in_progress() {
                found.push(Approval {
                    run: execution.pipeline_execution_id().to_owned(),
                    pipeline: pipeline.clone(),
                    stage: stage.stage_name().unwrap_or_default().to_owned(),
                    action: action.action_name().unwrap_or_default().to_owned(),
                    since: latest.last_status_change().and_then(timestamp),
                    token: token.to_owned(),
                });
            }
        }
    }
    Ok(found)
}

/// Approves or rejects.
pub async fn decide(
    clients: &Clients,
    approval: &Approval,
    approves: bool,
    note: &str,
) -> Result<()> {
    let (status, doing) = if approves {
        (ApprovalStatus::Approved, "approve")
    } else {
        (ApprovalStatus::Rejected, "reject")
    };
    let result = ApprovalResult::builder().summary(note).status(status);
    let (stage, action) = (&approval.stage, &approval.action);
    let doing = format!(
        "cannot {doing} {stage}/{action} of {}",
        approval.pipeline.name
    );
    clients
        .codepipeline
        .put_approval_result()
        .pipeline_name(&approval.pipeline.name)
        .stage_name(stage)
        .action_name(action)
        .result(result.build()?)
        .token(&approval.token)
        .send()
        .await
        .aws(doing)?;
    Ok(())
}
