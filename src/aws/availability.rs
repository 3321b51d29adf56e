//! Whether an account uses services that AWS has closed to new customers at some time. Listing
//! works in a closed account too, so only existing resources or a refusal prove anything.

use anyhow::Result;

use super::{AwsResultExt, Clients};

/// Returns whether the region has a CodeCommit repository.
pub async fn has_repositories(clients: &Clients) -> Result<bool> {
    let answer = clients
        .codecommit
        .list_repositories()
        .send()
        .await
        .aws("cannot list the CodeCommit repositories")?;
    Ok(!answer.repositories().is_empty())
}

/// Returns whether the region has a monitoring schedule of SageMaker Model Monitor.
pub async fn has_monitoring_schedules(clients: &Clients) -> Result<bool> {
    let answer = clients
        .sagemaker
        .list_monitoring_schedules()
        .max_results(1)
        .send()
        .await
        .aws("cannot list the monitoring schedules")?;
    Ok(!answer.monitoring_schedule_summaries().is_empty())
}
