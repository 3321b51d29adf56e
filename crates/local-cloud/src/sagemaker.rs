//! SageMaker AI: one file or folder per family of operations.

use serde_json::Value;

use super::Cloud;
use super::api::{ApiError, ApiResult};

mod hosting;
mod jobs;
mod lineage;
mod network;
mod notebooks;
mod pipelines;
mod records;
mod registry;
mod requests;
pub(crate) mod runtime_api;
mod tags;

/// Each family's operations.
const FAMILIES: &[&[&str]] = &[
    hosting::OPERATIONS,
    jobs::OPERATIONS,
    lineage::OPERATIONS,
    notebooks::OPERATIONS,
    pipelines::OPERATIONS,
    registry::OPERATIONS,
    tags::OPERATIONS,
];

/// The operations of SageMaker Runtime.
pub(crate) const RUNTIME_OPERATIONS: &[&str] = runtime_api::OPERATIONS;

/// The operations that this service has.
pub(crate) fn operations() -> Vec<&'static str> {
    FAMILIES.concat()
}

/// Runs one operation.
pub(crate) async fn call(cloud: &Cloud, operation: &str, input: Value) -> ApiResult<Value> {
    let has = |family: &[&str]| family.contains(&operation);
    match operation {
        _ if has(hosting::OPERATIONS) => hosting::call(cloud, operation, input).await,
        _ if has(jobs::OPERATIONS) => jobs::call(cloud, operation, input).await,
        _ if has(lineage::OPERATIONS) => lineage::call(cloud, operation, input).await,
        _ if has(notebooks::OPERATIONS) => notebooks::call(cloud, operation, input).await,
        _ if has(pipelines::OPERATIONS) => pipelines::call(cloud, operation, input).await,
        _ if has(registry::OPERATIONS) => registry::call(cloud, operation, input).await,
        _ if has(tags::OPERATIONS) => tags::call(cloud, operation, input).await,
        _ => Err(ApiError::not_implemented(format_args!(
            "sagemaker:{operation}"
        ))),
    }
}

/// Work that was under way when the server died is failed (`InternalServerError`).
pub(crate) fn recover(cloud: &Cloud) -> anyhow::Result<()> {
    jobs::recover(cloud)?;
    pipelines::recover(cloud)?;
    hosting::recover(cloud)?;
    notebooks::recover(cloud)?;
    Ok(())
}

/// Ends the processes of jobs and endpoints before the server ends.
pub(crate) async fn shut_down(cloud: &Cloud) {
    tokio::join!(jobs::shut_down(cloud), hosting::shut_down(cloud));
}
