//! Releases: the state of a version in the registry, and of the endpoint that serves it.

use anyhow::{Context as _, Result};
use mlops_core::wait::{Poll, Waiter};

use super::Clients;
use super::hosting::{self, Endpoint};
use super::sagemaker::models::{self, ModelVersion, Stage};

/// Waits until no deployment is in progress, and returns the endpoint.
pub async fn settled(
    clients: &Clients,
    waiter: Waiter,
    name: &str,
    on_change: impl Fn(&str),
) -> Result<Endpoint> {
    waiter
        .until(&format!("the endpoint {name}"), on_change, || async {
            let endpoint = hosting::endpoint(clients, name)
                .await?
                .with_context(|| format!("no endpoint {name}"))?;
            Ok(if endpoint.status.is_changing() {
                Poll::Pending(endpoint.status.to_string())
            } else {
                Poll::Ready(endpoint)
            })
        })
        .await
}

/// Marks `chosen` as the version in production, and all others with that mark as replaced; an
/// interrupted promotion may have left several.
pub async fn mark_live(
    clients: &Clients,
    versions: &[ModelVersion],
    chosen: &ModelVersion,
    description: &str,
) -> Result<()> {
    models::set_stage(clients, &chosen.arn, &Stage::live(), description).await?;
    let others = versions
        .iter()
        .filter(|version| version.version != chosen.version && version.status.is_approved());
    for other in others {
        let stage = models::describe(clients, &other.arn)
            .await?
            .and_then(|model| model.stage);
        if stage.is_some_and(|stage| stage.is_live()) {
            models::set_stage(clients, &other.arn, &Stage::replaced(), description).await?;
        }
    }
    Ok(())
}
