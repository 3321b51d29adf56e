//! The analyzer's image in the project's repository, uploaded if it is missing.

use anyhow::Result;
use mlops_oci::registry::ImageReference;

use crate::aws::{Clients, analyzer};
use crate::context::Context;

/// Returns the address of this binary's image, by digest.
pub(super) async fn ensure(
    ctx: &Context,
    clients: &Clients,
    repository: &str,
) -> Result<ImageReference> {
    let image = analyzer::build(&ctx.config.cache).await?;
    let registry = || ctx.registry(clients);
    let there = analyzer::ensure(clients, &ctx.progress, repository, &image, registry).await?;
    Ok(there.uri)
}
