//! Pushes the analyzer's image to the project's repository; its tag is derived from its contents.

use std::path::Path;

use anyhow::{Context as _, Result};
use mlops_core::error::{Failure, Hint};
use mlops_core::names::ImageTag;
use mlops_oci::cache::Cache;
use mlops_oci::push::{Pushed, Target, push};
use mlops_oci::registry::{ImageReference, Registry};
use mlops_oci::{Image, analyzer};

use super::{Clients, ecr};
use crate::progress::Progress;

/// The analyzer in a repository.
#[derive(Debug)]
pub struct AnalyzerImage {
    /// Its address, by digest.
    pub uri: ImageReference,
    /// Its tag.
    pub tag: ImageTag,
    /// The push; `None` if the image already existed.
    pub pushed: Option<Pushed>,
}

/// Builds the image of this program. `cache` keeps image layers between commands.
///
/// # Errors
/// This machine is not Linux.
pub async fn build(cache: &Path) -> Result<Image> {
    let cache = Cache::new(cache.join("image"));
    tokio::task::spawn_blocking(move || -> Result<Image> {
        let own = std::env::current_exe().context("cannot find this program")?;
        analyzer::build(&own, &cache)
    })
    .await?
    .hint("run this command on Linux: the job's container contains this program")
}

/// Builds the image of this program if instances can run it.
pub async fn own(cache: &Path, local: bool) -> Result<Option<Image>> {
    if cfg!(target_os = "linux") && check_machine(local).is_ok() {
        return build(cache).await.map(Some);
    }
    Ok(None)
}

/// Fails (exit 2) if an account's instances cannot run this program.
pub fn check_machine(local: bool) -> Result<()> {
    if cfg!(target_arch = "x86_64") || local {
        return Ok(());
    }
    Err(Failure::usage(
        "SageMaker's Processing instances are x86-64, and this program is not",
    ))
    .hint("run this command on an x86-64 machine, or in CI")
}

/// Pushes the image unless the repository has it. `registry` is called only if needed.
///
/// # Errors
/// The push fails, or an account's instances have a different architecture.
pub async fn ensure(
    clients: &Clients,
    progress: &Progress,
    repository: &str,
    image: &Image,
    registry: impl AsyncFnOnce() -> Result<Registry>,
) -> Result<AnalyzerImage> {
    let digest = image.digest();
    let tag = analyzer::tag(digest)?;
    let uri = ecr::repository_uri(clients, repository).await?.at(digest);
    let there = ecr::by_tag(clients, repository, tag.as_str()).await?;
    if there.is_some_and(|there| there.digest == digest) {
        return Ok(AnalyzerImage {
            uri,
            tag,
            pushed: None,
        });
    }
    let registry = registry().await?;
    check_machine(registry.is_local())?;
    let transfer = progress.transfer(
        format!("Pushing the analyzer to {repository}"),
        image.size(),
    );
    let tags = [tag];
    let target = Target {
        repository,
        tags: &tags,
        mount_from: &[],
    };
    let pushed = push(&registry, &target, image, &transfer)
        .await
        .with_context(|| format!("cannot push the analyzer to `{repository}`"))?;
    let [tag] = tags;
    Ok(AnalyzerImage {
        uri,
        tag,
        pushed: Some(pushed),
    })
}
