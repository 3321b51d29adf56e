//! Pipelines: their definitions and versions, and their executions, which run the steps by calling
//! the same operations that any client would.

use serde_json::Value;

use super::{requests, tags};
use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::cloud::service::operations;
use crate::iam::require_role;

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

/// Who assumes the role of a pipeline.
const PRINCIPAL: &str = "sagemaker.amazonaws.com";

/// Work that was under way when the server died is failed.
pub(super) fn recover(cloud: &Cloud) -> anyhow::Result<()> {
    Ok(executions::recover(cloud)?)
}

/// A `ClientRequestToken`, which these operations require (32 to 128 characters).
fn token(input: &Value) -> ApiResult<&str> {
    let token = requests::required(input, "ClientRequestToken")?;
    if (32..=128).contains(&token.len()) {
        return Ok(token);
    }
    Err(ApiError::validation(format!(
        "1 validation error detected: Value '{token}' at 'clientRequestToken' failed to satisfy \
         constraint: Member must have length between 32 and 128"
    )))
}

/// Fails by name for a member that the local cloud does not have.
fn refuse(input: &Value, operation: &str, members: &[&str]) -> ApiResult<()> {
    match members
        .iter()
        .find(|member| input.get(**member).is_some_and(|value| !value.is_null()))
    {
        Some(member) => Err(ApiError::not_implemented(format_args!(
            "{member} of sagemaker:{operation}"
        ))),
        None => Ok(()),
    }
}

/// `ParallelismConfiguration.MaxParallelExecutionSteps`, when it is there.
fn parallelism(input: &Value) -> ApiResult<Option<u64>> {
    match input
        .get("ParallelismConfiguration")
        .filter(|value| !value.is_null())
    {
        None => Ok(None),
        Some(configuration) => configuration
            .get("MaxParallelExecutionSteps")
            .and_then(Value::as_u64)
            .filter(|steps| *steps > 0)
            .map(Some)
            .ok_or_else(|| {
                ApiError::validation(
                    "MaxParallelExecutionSteps of ParallelismConfiguration must be at least 1",
                )
            }),
    }
}
