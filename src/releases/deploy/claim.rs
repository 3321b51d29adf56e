//! Claims a release that a pipeline deploys.

use anyhow::Result;

use super::super::manifest::Sealed;
use super::super::race::Seen;
use super::{Deployment, Request};
use crate::aws::Clients;
use crate::context::Context;
use crate::infra::Part;

/// Writes the manifest of a release whose stack somebody else deploys.
///
/// # Errors
/// Another client deployed a release after what the request was made from was read; nothing was changed.
pub async fn claim(ctx: &Context, clients: &Clients, request: &Request<'_>) -> Result<Sealed> {
    let sealed = request.manifest.clone().seal()?;
    let deployment = Deployment::new(ctx, clients, request, sealed, true).await;
    let before = Seen::of(request.history, request.endpoint);
    // Boxed, because the future would otherwise exceed 16 KiB.
    let before = Box::pin(deployment.follow_up(&before)).await?;
    let stack = Part::Endpoint.stack(&request.project.file.name);
    let seen = deployment.reserve(&before, &stack).await?;
    // What became of the release before it is read from the stack's events.
    if let Some(left) = seen.left() {
        deployment.close(left, seen.endpoint.as_ref()).await?;
    }
    Ok(deployment.sealed)
}
