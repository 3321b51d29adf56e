//! Resolves the base of an image.

use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Context as _, Result};
use mlops_core::error::Failure;
use mlops_core::names::Platform;
use mlops_oci::base::{Base, SCRATCH, pull};
use mlops_oci::cache::Cache;
use mlops_oci::registry::{ImageReference, InvalidReference, Registry};

use crate::context::Context;

/// Opens the base, by default `scratch`. `requested` is its name and the directory that paths are
/// relative to.
pub(crate) async fn find(
    ctx: &Context,
    requested: Option<(&str, &Path)>,
    platform: Platform,
    cache: &Cache,
) -> Result<Base> {
    let Some((name, directory)) = requested.filter(|(name, _)| *name != SCRATCH) else {
        return Ok(Base::scratch(platform));
    };
    if let Some(layout) = name.strip_prefix("oci:") {
        let (layout, name) = (directory.join(layout), name.to_owned());
        let read = move || Base::from_layout(&layout, &name, platform);
        return tokio::task::spawn_blocking(read).await?;
    }
    let reference: ImageReference = name
        .parse()
        .map_err(|error: InvalidReference| Failure::usage(error.to_string()))?;
    let registry = registry(ctx, &reference).await?;
    let bar = OnceLock::new();
    let begin = |missing| {
        if missing > 0 {
            let task = ctx.progress.bytes(format!("Pulling {reference}"), missing);
            let _ = bar.set(task);
        }
    };
    let advance = |bytes| {
        if let Some(task) = bar.get() {
            task.advance(bytes);
        }
    };
    pull(&registry, &reference, platform, cache, begin, &advance)
        .await
        .with_context(|| format!("cannot build on {reference}"))
}

/// Returns the registry of a base: the account's own with its token, any other with Docker's or
/// podman's login. A registry on this machine is accessed without TLS.
async fn registry(ctx: &Context, reference: &ImageReference) -> Result<Registry> {
    let of_an_account = reference.host.contains(".dkr.ecr.");
    if of_an_account || (ctx.config.is_local() && reference.is_local()) {
        let own = ctx.registry(ctx.aws().await?).await?;
        if own.contains(reference) {
            return Ok(own);
        }
    }
    let login = ctx.config.registry_credentials().login(reference).await?;
    Registry::of(reference, reference.is_local(), login, ctx.network().await?)
}
