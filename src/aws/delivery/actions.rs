//! The actions of executions, as `ListActionExecutions` returns them.

use anyhow::Result;
use aws_sdk_codepipeline::types::{
    ActionCategory, ActionExecutionDetail, ActionExecutionFilter, ActionTypeId,
};
use jiff::Timestamp;
use serde::Serialize;

use super::builds::Build;
use super::source::Revision;
use crate::aws::sagemaker::runs::Run;
use crate::aws::sagemaker::timestamp;
use crate::aws::state::ActionState;
use crate::aws::{AwsResultExt, Clients, Missing};

/// The provider of builds.
const CODEBUILD: &str = "CodeBuild";

/// An action of an execution: its last attempt.
#[derive(Debug, Clone, Serialize)]
pub struct Action {
    /// Its name.
    pub name: String,
    /// Its provider: `CodeCommit`, `CodeBuild`, `Manual`, …
    pub provider: Option<String>,
    /// Its state.
    pub status: ActionState,
    /// True for a manual approval that waits.
    pub waits_for_approval: bool,
    /// When it started.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// Who changed it last, if a person did: the approver.
    pub updated_by: Option<String>,
    /// What the provider reports: the message of a commit, the note of an approver.
    pub summary: Option<String>,
    /// Why it failed.
    pub failure: Option<String>,
    /// The provider's id: a commit, a build, a stack.
    pub external_id: Option<String>,
    /// The number of attempts, if more than one.
    pub attempts: Option<i32>,
    /// The log stream that the action names, as an ARN.
    pub log_stream_arn: Option<String>,
    /// The build that it started.
    pub build: Option<Build>,
    /// The run of the SageMaker pipeline that its build started.
    pub training: Option<Box<Run>>,
    #[serde(skip)]
    pub(super) is_approval: bool,
    #[serde(skip)]
    pub(super) is_source: bool,
    #[serde(skip)]
    pub(super) branch: Option<String>,
}

impl Action {
    /// Returns whether it is a manual approval.
    pub fn is_approval(&self) -> bool {
        self.is_approval
    }

    /// Returns the id of the build that it started.
    pub fn build_id(&self) -> Option<&str> {
        let is_build = self.provider.as_deref() == Some(CODEBUILD);
        self.external_id.as_deref().filter(|_| is_build)
    }

    /// Returns its revision, if it is a source.
    pub(super) fn revision(&self) -> Option<Revision> {
        self.is_source.then(|| Revision {
            action: self.name.clone(),
            id: self.external_id.clone(),
            summary: self.summary.clone(),
            url: None,
        })
    }
}

/// An action together with its execution and stage.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) execution: String,
    pub(super) stage: String,
    pub(super) action: Action,
}

/// Returns the actions of one execution, the newest first; `None` if the execution does not exist.
pub(super) async fn of_execution(
    clients: &Clients,
    pipeline: &str,
    id: &str,
) -> Result<Option<Vec<Placed>>> {
    let filter = ActionExecutionFilter::builder().pipeline_execution_id(id);
    let mut pages = clients
        .codepipeline
        .list_action_executions()
        .pipeline_name(pipeline)
        .filter(filter.build())
        .into_paginator()
        .send();
    let mut found = Vec::new();
    while let Some(page) = pages.next().await {
        let doing = format!("cannot list the actions of the execution `{id}`");
        let Some(page) = page.aws_if_found(doing, Missing::Resource)? else {
            return Ok(None);
        };
        found.extend(page.action_execution_details().iter().map(placed));
    }
    Ok(Some(found))
}

/// Returns the newest actions of a pipeline, in one request; none if the pipeline was deleted in the meantime.
pub(super) async fn newest(clients: &Clients, pipeline: &str) -> Result<Vec<Placed>> {
    let page = clients
        .codepipeline
        .list_action_executions()
        .pipeline_name(pipeline)
        .send()
        .await
        .aws_if_found(
            format!("cannot list the actions of the pipeline `{pipeline}`"),
            Missing::Resource,
        )?;
    let found = page.and_then(|page| page.action_execution_details);
    let found = found.unwrap_or_default();
    Ok(found.iter().map(placed).collect())
}

fn placed(detail: &ActionExecutionDetail) -> Placed {
    let input = detail.input();
    let result = detail.output().and_then(|output| output.execution_result());
    let kind = input.and_then(|input| input.action_type_id());
    let category = kind.map(ActionTypeId::category);
    let status = ActionState::of(detail.status());
    let is_approval = category == Some(&ActionCategory::Approval);
    let changed = detail.last_update_time().and_then(timestamp);
    let error = result.and_then(|result| result.error_details());
    let text = |text: Option<&str>| text.filter(|it| !it.is_empty()).map(str::to_owned);
    let branch = input
        .and_then(|input| input.resolved_configuration().or(input.configuration()))
        .and_then(|settings| settings.get("BranchName").cloned());
    let action = Action {
        name: detail.action_name().unwrap_or_default().to_owned(),
        provider: kind.map(|kind| kind.provider().to_owned()),
        waits_for_approval: is_approval && status.is_in_progress(),
        started: detail.start_time().and_then(timestamp),
        ended: changed.filter(|_| !status.is_in_progress()),
        updated_by: text(detail.updated_by()),
        summary: text(result.and_then(|result| result.external_execution_summary())),
        failure: error.and_then(|error| text(error.message()).or_else(|| text(error.code()))),
        external_id: text(result.and_then(|result| result.external_execution_id())),
        attempts: None,
        log_stream_arn: text(result.and_then(|result| result.log_stream_arn())),
        build: None,
        training: None,
        is_approval,
        is_source: category == Some(&ActionCategory::Source),
        branch,
        status,
    };
    Placed {
        execution: detail
            .pipeline_execution_id()
            .unwrap_or_default()
            .to_owned(),
        stage: detail.stage_name().unwrap_or_default().to_owned(),
        action,
    }
}
