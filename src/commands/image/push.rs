//! `mlops image push`: a program's image, or one that a builder made, into the project's repository.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow};

use super::report::Pushed;
use super::revision::Revision;
use crate::aws;
use crate::config::Project;
use crate::context::Context;
use crate::error::{Failure, Hint};
use crate::image::push::{Registry, push};
use crate::image::{Image, layout, program};
use crate::infra;
use crate::names::BranchName;

/// Push an image to the project's repository
///
/// Without SOURCE the image is made of the project's own image/program/ and
/// image/requirements.txt: one layer, no base system, which the local cloud runs with this
/// machine's Python. For an AWS account build the Dockerfile and push the OCI layout.
///
/// The image gets two tags: the git commit, and the branch with `/` written as `-`. What the
/// registry has is not sent again.
///
/// Example: mlops image push --local
#[derive(Debug, clap::Args)]
pub struct PushArgs {
    /// An OCI layout directory (docker buildx build --output type=oci,tar=false,dest=DIR)
    source: Option<PathBuf>,
    /// The branch that the image belongs to, where git is on none (a checkout by commit, in CI)
    #[arg(long)]
    branch: Option<BranchName>,
    /// Push files that are not committed; the image gets the branch's tag only
    #[arg(long)]
    allow_dirty: bool,
}

pub(super) async fn run(ctx: &Context, args: &PushArgs) -> Result<Pushed> {
    let project = ctx.project()?;
    let revision = Revision::read(&project, args.branch.as_ref(), args.allow_dirty)?;
    let tags = revision.tags()?;
    let image = build(&project, args.source.as_deref(), revision.label()).await?;

    let clients = ctx.aws_for(&project).await?;
    let repository = infra::platform(clients, &project).await?.image_repository;
    // Not the stack's output: a local cloud may have another port than when the stack was made.
    let uri = aws::ecr::repository_uri(clients, &repository).await?;
    let login = aws::ecr::login(clients).await?;
    let registry = Registry::new(&login.endpoint, &login.basic)?;
    if args.source.is_none() && !registry.is_local() {
        return Err(Failure::usage(
            "an image of the program alone has no base system, so that SageMaker cannot run it",
        ))
        .hint(
            "build the Dockerfile and push what Docker wrote: docker buildx build --output \
             type=oci,tar=false,dest=OUT image && mlops image push OUT",
        );
    }

    let start = Instant::now();
    let task = Arc::new(
        ctx.progress
            .bytes(format!("Pushing to {repository}"), image.size()),
    );
    let observer = Arc::clone(&task);
    let pushed = push(&registry, &repository, &image, &tags, move |count| {
        observer.advance(count);
    })
    .await
    .with_context(|| format!("cannot push the image to `{repository}`"))?;
    drop(task);
    let described = aws::ecr::by_digest(clients, &repository, &pushed.digest)
        .await?
        .ok_or_else(|| anyhow!("ECR does not know {} after the push", pushed.digest))?;
    Ok(Pushed {
        image: format!("{uri}@{}", described.digest),
        repository,
        digest: described.digest,
        tags: tags.iter().map(ToString::to_string).collect(),
        commit: revision.commit,
        branch: revision.branch.to_string(),
        dirty: revision.dirty,
        base: match &args.source {
            None => Some("none".to_owned()),
            Some(_) => image.base,
        },
        size: described.size,
        sent: pushed.sent,
        saved: pushed.saved,
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// Builds the program's image, or reads the one in `source`.
async fn build(project: &Project, source: Option<&Path>, label: String) -> Result<Image> {
    let directory = project.path(&project.file.image.directory);
    let source = source.map(Path::to_owned);
    tokio::task::spawn_blocking(move || match source {
        Some(source) => layout::read(&source),
        None => program::build(
            &directory.join("program"),
            &directory.join("requirements.txt"),
            &label,
        ),
    })
    .await?
}
