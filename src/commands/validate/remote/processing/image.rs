//! The analyzer's image in the project's repository, by its contents.

use anyhow::{Context as _, Result};

use crate::aws::{Clients, ecr};
use crate::context::Context;
use crate::error::{Failure, Hint};
use crate::image::push::{Target, push};
use crate::image::{Image, analyzer};
use crate::names::ImageTag;

/// The address of this binary's image, by digest. It is sent when the registry has it not yet.
pub(super) async fn ensure(ctx: &Context, clients: &Clients, repository: &str) -> Result<String> {
    let image = tokio::task::spawn_blocking(|| -> Result<Image> {
        let own = std::env::current_exe().context("cannot find this program")?;
        analyzer::build(&own)
    })
    .await?
    .hint("run it on Linux: the job's container is made of this very program")?;
    let digest = image.digest().to_owned();
    let hex = digest.trim_start_matches("sha256:");
    let tag: ImageTag = format!("{}{}", analyzer::TAG, &hex[..16]).parse()?;
    let uri = ecr::repository_uri(clients, repository).await?;
    let there = ecr::by_tag(clients, repository, tag.as_str()).await?;
    if there.is_none_or(|there| there.digest != digest) {
        let registry = ctx.registry(clients).await?;
        if cfg!(not(target_arch = "x86_64")) && !registry.is_local() {
            return Err(Failure::usage(
                "SageMaker's Processing instances are x86-64, and this program is not",
            ))
            .hint("run it on an x86-64 machine, or in CI");
        }
        let transfer = ctx.progress.transfer(
            format!("Pushing the analyzer to {repository}"),
            image.size(),
        );
        let target = Target {
            repository,
            tags: &[tag],
            mount_from: &[],
        };
        push(&registry, &target, &image, &transfer)
            .await
            .with_context(|| format!("cannot push the analyzer to `{repository}`"))?;
    }
    Ok(format!("{uri}@{digest}"))
}
