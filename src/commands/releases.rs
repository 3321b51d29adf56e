//! `mlops releases`: what was deployed to production, when, by whom, and whether it still is what it was.

use anyhow::{Result, anyhow};
use mlops_core::error::Hint;

use crate::aws::{Clients, hosting};
use crate::config::Project;
use crate::context::Context;
use crate::infra::{self, Part, Platform};
use crate::output::Report;
use crate::releases::plan::Comparison;
use crate::releases::proof;
use crate::releases::store::{Release, Store};
use crate::releases::verify::{self, Subject};

mod record;
mod report;
mod verified;

pub use report::{Compared, Listed, ReleaseList, Shown};
pub use verified::Verified;

/// Show and verify what was deployed to production
#[derive(Debug, clap::Subcommand)]
pub enum ReleasesCommand {
    /// List the releases, newest first
    ///
    /// Example: mlops releases list
    List(ListArgs),
    /// Show a release: its manifest and what became of it
    ///
    /// Example: mlops releases show 3
    Show(ShowArgs),
    /// Compare two releases
    ///
    /// Example: mlops releases diff 2 3
    Diff(DiffArgs),
    /// Recompute every checksum of a release
    ///
    /// Reads the manifest, the artifact, the image's manifest, the data, the pipeline definition and
    /// the template again and compares their checksums with the release's. If the release is
    /// deployed, also compares it with what the endpoint serves. Exits with 3 and names what no
    /// longer matches. With --record, first proves the release that a pipeline has deployed, as
    /// `mlops promote` does, and records that it is live, or why not.
    ///
    /// Example: mlops releases verify
    Verify(VerifyArgs),
}

/// Arguments of `mlops releases list`.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Maximum number of releases
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
}

/// Arguments of `mlops releases show`.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// The release's number [default: the live release]
    release: Option<u32>,
}

/// Arguments of `mlops releases diff`.
#[derive(Debug, clap::Args)]
pub struct DiffArgs {
    /// The release to compare with
    #[arg(value_name = "A")]
    before: u32,
    /// The release to compare
    #[arg(value_name = "B")]
    after: u32,
}

/// Arguments of `mlops releases verify`.
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// The release's number [default: the live release]
    release: Option<u32>,
    /// Prove that the endpoint serves the release, send it the sample request, and record the outcome
    #[arg(long, requires = "release")]
    record: bool,
}

/// The result of a command.
#[derive(Debug, serde::Serialize)]
#[serde(untagged)]
pub enum Releases {
    /// `list`
    List(ReleaseList),
    /// `show`
    Show(Box<Shown>),
    /// `diff`
    Diff(Compared),
    /// `verify`
    Verify(Verified),
}

/// The releases of the project's endpoint.
struct Place<'a> {
    clients: &'a Clients,
    project: &'a Project,
    platform: &'a Platform,
    store: Store,
}

/// Runs the command.
pub async fn run(ctx: &Context, command: &ReleasesCommand) -> Result<Releases> {
    let project = ctx.project()?;
    let clients = ctx.aws_of(&project).await?;
    let platform = infra::platform(clients, &project).await?;
    let place = Place {
        clients,
        project: &project,
        platform: &platform,
        store: Store::new(&platform.artifact_bucket, project.file.name.as_str()),
    };
    match command {
        ReleasesCommand::List(args) => list(ctx, &place, args).await.map(Releases::List),
        ReleasesCommand::Show(args) => {
            let (release, live) = place.find(ctx, args.release).await?;
            Ok(Releases::Show(Box::new(Shown::new(release, live))))
        }
        ReleasesCommand::Diff(args) => {
            let (before, after) = futures::try_join!(
                place.find(ctx, Some(args.before)),
                place.find(ctx, Some(args.after))
            )?;
            let (before, after) = (before.0.sealed.manifest, after.0.sealed.manifest);
            Ok(Releases::Diff(Compared(Comparison::between(
                &before, &after,
            ))))
        }
        ReleasesCommand::Verify(args) => verify(ctx, &place, args).await.map(Releases::Verify),
    }
}

async fn list(ctx: &Context, place: &Place<'_>, args: &ListArgs) -> Result<ReleaseList> {
    let name = place.project.file.name.as_str();
    let (history, endpoint) = futures::try_join!(
        place.store.history(place.clients, args.limit.into()),
        hosting::endpoint(place.clients, name)
    )?;
    let live = endpoint
        .as_ref()
        .and_then(|endpoint| proof::serving(&history, endpoint))
        .map(Release::number);
    let releases = history
        .releases
        .iter()
        .map(|release| Listed::new(release, live));
    Ok(ReleaseList {
        endpoint: name.to_owned(),
        releases: releases.collect(),
        damaged: history.damaged.clone(),
        promote: ctx.command("promote"),
    })
}

async fn verify(ctx: &Context, place: &Place<'_>, args: &VerifyArgs) -> Result<Verified> {
    let sample = match args.release {
        Some(number) if args.record => Box::pin(record::record(ctx, place, number)).await?,
        _ => None,
    };
    let (release, is_live) = place.find(ctx, args.release).await?;
    let manifest = &release.sealed.manifest;
    let stack = Part::Endpoint.stack(&place.project.file.name);
    let subject = Subject {
        release: &release,
        store: &place.store,
        stack: &stack,
        is_live,
    };
    let task = ctx
        .progress
        .spinner(format!("verifying release {}", manifest.release));
    let read = |bytes| task.advance(bytes);
    let checks = verify::verify(place.clients, subject, &read).await?;
    drop(task);
    Ok(Verified {
        release: manifest.release,
        version: manifest.model.version,
        matches: checks.iter().all(|check| check.problems.is_empty()),
        checks,
        sample,
    })
}

impl Place<'_> {
    /// Reads a release; without a number, the one that the endpoint serves, or served last. Also returns whether
    /// the endpoint serves it.
    async fn find(&self, ctx: &Context, number: Option<u32>) -> Result<(Release, bool)> {
        let name = self.project.file.name.as_str();
        let Some(number) = number else {
            let (history, endpoint) = futures::try_join!(
                self.store.history(self.clients, crate::releases::RECENT),
                hosting::endpoint(self.clients, name)
            )?;
            let serving = endpoint
                .as_ref()
                .and_then(|endpoint| proof::serving(&history, endpoint));
            return serving
                .or_else(|| history.live())
                .cloned()
                .map(|release| (release, serving.is_some()))
                .ok_or_else(|| anyhow!("no release of {name} is live"))
                .hint(format!("deploy one with `{}`", ctx.command("promote")));
        };
        let (found, endpoint) = futures::try_join!(
            self.store.read(self.clients, number),
            hosting::endpoint(self.clients, name)
        )?;
        let release = found
            .ok_or_else(|| anyhow!("{name} has no release {number}"))
            .hint(format!(
                "list the releases with `{}`",
                ctx.command("releases list")
            ))?;
        let configuration = endpoint.and_then(|endpoint| endpoint.configuration);
        let is_live = configuration.is_some_and(|name| proof::is_of(&name, &release.sealed));
        Ok((release, is_live))
    }
}

impl Report for Releases {
    fn exit(&self) -> mlops_core::error::Exit {
        match self {
            Self::Verify(verified) => verified.exit(),
            _ => mlops_core::error::Exit::Done,
        }
    }
}

impl std::fmt::Display for Releases {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::List(list) => list.fmt(f),
            Self::Show(shown) => shown.fmt(f),
            Self::Diff(compared) => compared.fmt(f),
            Self::Verify(verified) => verified.fmt(f),
        }
    }
}
