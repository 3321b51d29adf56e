//! Pipelines: their definitions and versions, and their executions, which run steps by calling the
//! same operations as any client.

use serde::Deserialize;
use serde_json::Value;

use super::authorship::user_context;
use super::{requests, states, tags};
use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::cloud::service::operations;
use crate::iam::require_role;

mod announce;
mod cache;
mod definitions;
mod executions;
mod executor;
mod plan;
mod records;
mod retries;
mod scope;
mod steps;

operations! {
    "CreatePipeline" => definitions::create,
    "DeletePipeline" => definitions::delete,
    "DescribePipeline" => definitions::describe,
    "DescribePipelineDefinitionForExecution" => executions::definition,
    "DescribePipelineExecution" => executions::describe,
    "ListPipelineExecutionSteps" => executions::steps,
    "ListPipelineExecutions" => executions::list,
    "ListPipelineParametersForExecution" => executions::parameters,
    "ListPipelineVersions" => definitions::list_versions,
    "ListPipelines" => definitions::list,
    "RetryPipelineExecution" => executions::retry,
    "StartPipelineExecution" => executions::start,
    "StopPipelineExecution" => executions::stop,
    "UpdatePipeline" => definitions::update,
    "UpdatePipelineExecution" => executions::update,
    "UpdatePipelineVersion" => definitions::update_version,
}

/// The principal that assumes the role of a pipeline.
const PRINCIPAL: &str = "sagemaker.amazonaws.com";

/// Marks the work that was in progress when the server died as failed.
pub(super) fn recover(cloud: &Cloud) -> anyhow::Result<()> {
    Ok(executions::recover(cloud)?)
}

/// Fails unless a `ClientRequestToken` has the length that these operations require.
fn check_token(token: &str) -> ApiResult<()> {
    if (32..=128).contains(&token.len()) {
        return Ok(());
    }
    Err(ApiError::validation(format!(
        "1 validation error detected: Value '{token}' at 'clientRequestToken' failed to satisfy \
         constraint: Member must have length between 32 and 128"
    )))
}

/// Refuses an unsupported member by name.
fn refuse(operation: &str, members: &[(&str, &Option<Value>)]) -> ApiResult<()> {
    match members.iter().find(|(_, given)| given.is_some()) {
        Some((member, _)) => Err(ApiError::not_implemented(format_args!(
            "{member} of sagemaker:{operation}"
        ))),
        None => Ok(()),
    }
}

/// `ParallelismConfiguration`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Parallelism {
    max_parallel_execution_steps: Option<u64>,
}

/// The maximum number of concurrent steps of a request, if it has one.
fn parallelism(given: Option<Parallelism>) -> ApiResult<Option<u64>> {
    let Some(given) = given else {
        return Ok(None);
    };
    match given.max_parallel_execution_steps {
        Some(steps) if steps > 0 => Ok(Some(steps)),
        _ => Err(ApiError::validation(
            "MaxParallelExecutionSteps of ParallelismConfiguration must be at least 1",
        )),
    }
}
