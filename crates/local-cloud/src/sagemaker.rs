//! SageMaker AI: one file or folder per family of operations.

use super::Cloud;
use super::cloud::service::{Protocol, Service};

mod announce;
mod authorship;
mod hosting;
mod jobs;
mod lineage;
mod network;
mod notebooks;
mod pipelines;
mod records;
mod registry;
mod requests;
mod runtime_api;
mod states;
mod tags;

/// The service.
pub(crate) const SERVICE: Service = Service {
    checks_limits: true,
    resource_policy: Some(registry::policy_of),
    recover: Some(recover),
    shut_down: Some(|cloud| Box::pin(shut_down(cloud))),
    ..Service::json(
        "sagemaker",
        "SageMaker",
        "SageMaker",
        &[
            hosting::OPERATIONS,
            jobs::OPERATIONS,
            lineage::OPERATIONS,
            notebooks::OPERATIONS,
            pipelines::OPERATIONS,
            registry::OPERATIONS,
            tags::OPERATIONS,
        ],
    )
};

/// SageMaker Runtime: a separate service with the same signing name.
pub(crate) const RUNTIME: Service = Service {
    signing_name: "sagemaker",
    http_operations: runtime_api::OPERATIONS,
    ..Service::new(
        "sagemaker-runtime",
        "SageMaker Runtime",
        Protocol::Rest(runtime_api::REST),
        &[],
    )
};

/// Marks the work that was in progress when the server died as failed (`InternalServerError`).
fn recover(cloud: &Cloud) -> anyhow::Result<()> {
    jobs::recover(cloud)?;
    pipelines::recover(cloud)?;
    hosting::recover(cloud)?;
    notebooks::recover(cloud)?;
    Ok(())
}

/// Ends the processes of jobs, endpoints and notebook instances before the server ends.
async fn shut_down(cloud: &Cloud) {
    tokio::join!(
        jobs::shut_down(cloud),
        hosting::shut_down(cloud),
        notebooks::shut_down(cloud)
    );
}
