//! `CodePipeline`: pipelines that run sources, builds, functions, approvals and deployments.
//!
//! ```text
//! pipelines (CRUD) ── structure, references (pure checks)
//! executions, control ──┐
//! actions (their ends) ─┼── engine::change ── plan (pure: what starts next) ── records, events
//! executor (timeouts) ──┘         │
//!                                 └── executor ── actions: CodeCommit, ECR, S3, CodeBuild, Lambda, approval, CloudFormation,
//!                                     each through Cloud::call in the session of the pipeline's role
//! state, history (read only)
//! ```
//!
//! A step is written before the next one begins. An action runs in the background and writes its end through the
//! engine; an approval and a function's job wait as records. Webhooks, custom actions, triggers of connections,
//! rules of stages and cross-region actions are refused by name.

use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::api::page::Page;
use super::api::{ApiError, ApiResult};
use super::cloud::caller::Caller;
use super::cloud::service::{Housekeeping, RESERVED_TAG, Service, operations};
use super::{Cloud, sts};

mod actions;
mod announce;
mod catalog;
mod control;
mod declaration;
mod engine;
mod executions;
mod executor;
mod history;
mod jobs;
mod outcome;
mod pipelines;
mod plan;
mod records;
mod recovery;
mod references;
mod retention;
mod state;
mod structure;

operations! {
    "CreatePipeline" => pipelines::create,
    "DeletePipeline" => pipelines::delete,
    "DisableStageTransition" => control::disable_transition,
    "EnableStageTransition" => control::enable_transition,
    "GetPipeline" => pipelines::get,
    "GetPipelineExecution" => executions::get,
    "GetPipelineState" => state::get,
    "ListActionExecutions" => history::actions,
    "ListActionTypes" => pipelines::list_types,
    "ListPipelineExecutions" => history::executions,
    "ListPipelines" => pipelines::list,
    "ListTagsForResource" => pipelines::list_tags,
    "PutApprovalResult" => control::approve,
    "PutJobFailureResult" => jobs::fail,
    "PutJobSuccessResult" => jobs::succeed,
    "RetryStageExecution" => control::retry,
    "RollbackStage" => control::roll_back,
    "StartPipelineExecution" => executions::start,
    "StopPipelineExecution" => executions::stop,
    "TagResource" => pipelines::tag,
    "UntagResource" => pipelines::untag,
    "UpdatePipeline" => pipelines::update,
}

/// The principal that assumes the roles of pipelines.
const PRINCIPAL: &str = "codepipeline.amazonaws.com";

/// The members of responses that are times, for CBOR.
const TIMES: &[&str] = &[
    "approvedAt",
    "created",
    "lastChangedAt",
    "lastStatusChange",
    "lastUpdateTime",
    "startTime",
    "updated",
];

/// The service.
pub(crate) const SERVICE: Service = Service {
    checks_limits: true,
    cbor_times: Some(TIMES),
    reserved_tag: ("InvalidTagsException", RESERVED_TAG),
    housekeeping: Housekeeping {
        remove_expired: Some(retention::remove_expired),
        ..Housekeeping::NONE
    },
    recover: Some(|cloud| Ok(recovery::recover(cloud)?)),
    shut_down: Some(shut_down),
    ..Service::json(
        "codepipeline",
        "CodePipeline",
        "CodePipeline_20150709",
        &[OPERATIONS],
    )
};

fn shut_down(cloud: &Cloud) -> BoxFuture<'_, ()> {
    executor::stop(cloud);
    actions::lambda::stop(cloud);
    Box::pin(std::future::ready(()))
}

/// The ARN of the current caller.
fn requester() -> String {
    sts::arn_of(&Caller::current())
}

/// A page of a list, as the member `name`.
fn paged(name: &str, items: Vec<Value>, size: usize, token: Option<&str>) -> ApiResult<Value> {
    let page = Page::new(token, size, |_| {
        ApiError::new("InvalidNextTokenException", "The next token is not valid")
    })?;
    let (items, next) = page.cut(items);
    let mut response = json!({ name: items });
    if let Some(next) = next {
        response["nextToken"] = next.into();
    }
    Ok(response)
}

#[cfg(test)]
mod tests;
