//! `mlops image push`: pushes an image to the project's repository or to any registry.

use std::time::Instant;

use anyhow::{Context as _, Result, anyhow};
use mlops_core::error::Hint;
use mlops_core::names::{BranchName, ImageTag};
use mlops_oci::push::Target;
use mlops_oci::registry::{ImageReference, Registry};
use mlops_oci::source::{self, Compression, Source};

use super::pushed::PushedImage;
use super::scan::{self, FailOn};
use crate::aws;
use crate::context::Context;
use crate::infra;
use crate::project_image::{Revision, built, mount_from, refuse_without_system, send};

mod place;

/// Compression formats for layers.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum LayerFormat {
    /// Supported by every registry and every runtime
    Gzip,
    /// Smaller and faster; needs Docker 23 or containerd 1.5, or newer, to run
    Zstd,
}

impl From<LayerFormat> for Compression {
    fn from(format: LayerFormat) -> Self {
        match format {
            LayerFormat::Gzip => Self::Gzip,
            LayerFormat::Zstd => Self::Zstd,
        }
    }
}

/// Push an image to the project's repository, or to any registry
///
/// Without SOURCE, builds the project's image first, as `mlops image build` does (mlops.toml:
/// `[image]`). On the local cloud, the default is the program alone: a single layer without a base
/// system that runs with this machine's Python.
///
/// The image gets two tags: the git commit, and the branch with `/` replaced by `-`. With --to, it
/// gets only the given tag; git and AWS are not used, and credentials come from Docker's or
/// podman's login.
///
/// Layers that the registry already has are not uploaded again. Tags are written last, when the
/// image is complete; with --fail-on, the branch's tag after the scan.
///
/// Example: mlops image push --local
///
/// Example: mlops image push OUT --to registry.example/team/flights:1.4
#[derive(Debug, clap::Args)]
pub struct PushArgs {
    /// An OCI layout (directory or tar), an archive from `docker save`, or a name in Docker's or
    /// podman's store; PATH:TAG selects one of several images
    #[arg(conflicts_with = "analyzer")]
    source: Option<String>,
    /// Compression for layers that are not compressed yet [default: gzip]
    #[arg(long, value_enum, value_name = "FORMAT")]
    compression: Option<LayerFormat>,
    /// Push to this registry and tag instead of the project's repository
    #[arg(long, value_name = "HOST/REPO:TAG", value_parser = place::destination, conflicts_with = "branch")]
    to: Option<ImageReference>,
    /// Use HTTP without TLS with --to; credentials are then sent to this machine only
    #[arg(long, requires = "to")]
    plain_http: bool,
    /// Mount layers from this other repository of the registry; can be repeated
    #[arg(long, value_name = "REPOSITORY", value_parser = place::repository)]
    mount_from: Vec<String>,
    /// The branch that the image belongs to, for a checkout without a branch (as in CI)
    #[arg(long)]
    branch: Option<BranchName>,
    /// Include uncommitted files; the image gets only the branch's tag
    #[arg(long)]
    allow_dirty: bool,
    /// Wait for the scan before the branch's tag is written; exit with 3 and do not write it if any
    /// finding has this severity or a higher one
    #[arg(long, value_enum, value_name = "SEVERITY", conflicts_with_all = ["to", "analyzer", "allow_dirty"])]
    fail_on: Option<FailOn>,
    /// Push this program as the image that `validate` and `monitor` use for Processing jobs
    #[arg(long, conflicts_with_all = ["to", "branch", "allow_dirty", "mount_from"])]
    analyzer: bool,
}

pub(super) async fn run(ctx: &Context, args: &PushArgs) -> Result<PushedImage> {
    match &args.to {
        _ if args.analyzer => super::analyzer::push(ctx).await,
        Some(to) => push_to(ctx, args, to).await,
        None => push_to_project(ctx, args).await,
    }
}

async fn push_to(ctx: &Context, args: &PushArgs, to: &ImageReference) -> Result<PushedImage> {
    let start = Instant::now();
    let project = match &args.source {
        Some(_) => None,
        None => Some(
            ctx.project()
                .hint("or pass an image: mlops image push SOURCE --to HOST/REPO:TAG")?,
        ),
    };
    let revision = project
        .as_ref()
        .map(|project| Revision::read(project, args.branch.as_ref(), args.allow_dirty))
        .transpose()?;
    let (image, base) = match (&project, &revision) {
        (Some(project), Some(revision)) => built(ctx, project, revision, false).await?,
        _ => (open(ctx, args.source.as_deref()).await?, None),
    };
    let login = ctx.config.registry_credentials().login(to).await?;
    let registry = Registry::of(to, args.plain_http, login, ctx.network().await?)?;
    let tags: Vec<ImageTag> = to.tag.iter().cloned().collect();
    let mounts = mount_from(&args.mount_from, to, base.as_deref(), &image);
    let target = Target {
        repository: &to.repository,
        tags: &tags,
        mount_from: &mounts,
    };
    let name = to.to_string();
    let (image, pushed) = send(
        ctx,
        &registry,
        &target,
        image,
        args.compression.map(Compression::from),
        &name,
    )
    .await?;
    let size = image.size();
    Ok(PushedImage {
        tags: tags.iter().map(ToString::to_string).collect(),
        commit: revision.as_ref().map(|revision| revision.commit.clone()),
        branch: revision
            .as_ref()
            .map(|revision| revision.branch.to_string()),
        dirty: revision.is_some_and(|revision| revision.dirty),
        base: base.or(image.base),
        size,
        seconds: start.elapsed().as_secs_f64(),
        ..PushedImage::new(to, pushed)
    })
}

async fn push_to_project(ctx: &Context, args: &PushArgs) -> Result<PushedImage> {
    let project = ctx.project()?;
    let revision = Revision::read(&project, args.branch.as_ref(), args.allow_dirty)?;
    let tags = revision.tags()?;
    let (image, base) = if let Some(source) = &args.source {
        let image = open(ctx, Some(source)).await?;
        revision.require_maker(&project, &image)?;
        (image, None)
    } else {
        let built = built(ctx, &project, &revision, !ctx.config.is_local()).await?;
        revision.require_unchanged(&project, args.allow_dirty)?;
        built
    };

    let clients = ctx.aws_for(&project).await?;
    let repository = infra::platform(clients, &project).await?.image_repository;
    // Not the stack's output: a local cloud may have had a different port when the stack was
    // created.
    let uri = aws::ecr::repository_uri(clients, &repository).await?;
    let registry = ctx.registry(clients).await?;
    if args.source.is_none() && !registry.is_local() {
        refuse_without_system(base.as_deref())?;
    }

    let start = Instant::now();
    let mounts = mount_from(&args.mount_from, &uri, base.as_deref(), &image);
    let compression = args.compression.map(Compression::from);
    // The branch's tag is the last one: it starts what follows.
    let first = match args.fail_on {
        Some(_) => &tags[..tags.len() - 1],
        None => &tags[..],
    };
    let target = |tags| Target {
        repository: &repository,
        tags,
        mount_from: &mounts,
    };
    let (mut image, mut pushed) = send(
        ctx,
        &registry,
        &target(first),
        image,
        compression,
        &repository,
    )
    .await?;
    if let Some(fail_on) = args.fail_on {
        scan::gate(ctx, clients, &repository, pushed.digest, fail_on).await?;
        let branch = target(&tags[first.len()..]);
        let ready = Source::Ready(image);
        let (again, tagged) = send(ctx, &registry, &branch, ready, None, &repository).await?;
        image = again;
        pushed.requests += tagged.requests;
    }
    let described = aws::ecr::by_digest(clients, &repository, pushed.digest)
        .await?
        .ok_or_else(|| anyhow!("ECR does not list {} after the push", pushed.digest))?;
    Ok(PushedImage {
        tags: tags.iter().map(ToString::to_string).collect(),
        commit: Some(revision.commit),
        branch: Some(revision.branch.to_string()),
        dirty: revision.dirty,
        base: base.or(image.base),
        size: described.size,
        seconds: start.elapsed().as_secs_f64(),
        ..PushedImage::new(&uri, pushed)
    })
}

/// Opens the image in `source`.
async fn open(ctx: &Context, source: Option<&str>) -> Result<Source> {
    let source = source.context("no image to push")?.to_owned();
    let opened = tokio::task::spawn_blocking(move || source::open(&source)).await??;
    for note in opened.notes() {
        ctx.progress.say(note);
    }
    Ok(opened)
}
