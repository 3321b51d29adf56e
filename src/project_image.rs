//! The image of a project's image directory: the git state of its files, its build and its push.

use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow};
use mlops_core::error::Failure;
use mlops_core::names::ImageTag;
use mlops_oci::Image;
use mlops_oci::push::{self, Target};
use mlops_oci::registry::{ImageReference, Registry};
use mlops_oci::source::{Compression, Options, Source};

use crate::aws::branch_image::{BranchImage, Why};
use crate::aws::{self, Clients};
use crate::config::Project;
use crate::context::Context;

mod base;
mod how;
mod make;
mod parts;
mod revision;

pub(crate) use how::{How, refuse_without_system};
pub(crate) use make::make;
pub(crate) use revision::{Revision, WorkingTreeState};

/// Default output directory of image builds.
pub(crate) fn default_output(project: &Project) -> PathBuf {
    project.root.join(".mlops/image")
}

/// Builds the image of the working tree and pushes it to the project's repository, under a tag that
/// no branch uses, so that other runs of the branch do not pick it up.
pub(crate) async fn of_working_tree(
    ctx: &Context,
    clients: &Clients,
    project: &Project,
    repository: &str,
    revision: &Revision,
) -> Result<BranchImage> {
    let (image, base) = built(ctx, project, revision, !ctx.config.is_local()).await?;
    revision.require_unchanged(project, true)?;
    let uri = aws::ecr::repository_uri(clients, repository).await?;
    let registry = ctx.registry(clients).await?;
    if !registry.is_local() {
        refuse_without_system(base.as_deref())?;
    }
    // A branch's name cannot contain two consecutive dots.
    let tag = format!("{}..dirty", revision.branch.tag());
    let tag: ImageTag = tag.parse().with_context(|| {
        format!(
            "the branch name `{}` cannot be used as an image tag",
            revision.branch
        )
    })?;
    let mounts = mount_from(&[], &uri, base.as_deref(), &image);
    let target = Target {
        repository,
        tags: &[tag],
        mount_from: &mounts,
    };
    let (_, pushed) = send(ctx, &registry, &target, image, None, repository).await?;
    let described = aws::ecr::by_digest(clients, repository, pushed.digest)
        .await?
        .ok_or_else(|| anyhow!("ECR does not list {} after the push", pushed.digest))?;
    Ok(BranchImage {
        digest: described.digest,
        why: Why::WorkingTree,
    })
}

/// Pushes the image and returns its digest.
pub(crate) async fn send(
    ctx: &Context,
    registry: &Registry,
    target: &Target<'_>,
    source: Source,
    compression: Option<Compression>,
    name: &str,
) -> Result<(Image, push::Pushed)> {
    let cannot = || format!("cannot push the image to `{name}`");
    let title = format!("Pushing to {name}");
    match source {
        Source::Ready(_) if compression.is_some() => Err(Failure::usage(
            "--compression applies only to uncompressed layers; this image is pushed unchanged",
        )),
        Source::Ready(image) => {
            let transfer = ctx.progress.transfer(title, image.size());
            let pushed = push::push(registry, target, &image, &transfer).await;
            Ok((image, pushed.with_context(cannot)?))
        }
        Source::Draft(draft) => {
            let transfer = ctx.progress.transfer(title, draft.layers().iter().sum());
            let options = Options {
                compression: compression.unwrap_or_default(),
            };
            push::push_draft(registry, target, draft, options, &transfer)
                .await
                .with_context(cannot)
        }
    }
}

/// Builds the project's image, and returns its base; an image for an account needs a base system.
pub(crate) async fn built(
    ctx: &Context,
    project: &Project,
    revision: &Revision,
    for_account: bool,
) -> Result<(Source, Option<String>)> {
    let output = default_output(project);
    let how = How::for_push(for_account);
    let made = make(ctx, project, &how, &revision.label(), &output).await?;
    Ok((Source::Ready(made.image), made.base))
}

/// Returns the repositories to mount layers from: the requested ones, and the base's if it is in
/// the same registry.
pub(crate) fn mount_from(
    named: &[String],
    to: &ImageReference,
    base: Option<&str>,
    image: &Source,
) -> Vec<String> {
    let base = base.or(match image {
        Source::Ready(image) => image.base.as_deref(),
        Source::Draft(_) => None,
    });
    let base = base.and_then(|base| base.parse::<ImageReference>().ok());
    let base = base.filter(|base| base.host == to.host && base.repository != to.repository);
    named
        .iter()
        .cloned()
        .chain(base.map(|base| base.repository))
        .collect()
}
