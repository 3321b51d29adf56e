//! `mlops data`: versioned training data.

use std::str::FromStr;

use anyhow::{Result, anyhow};
use mlops_core::error::{Exit, Failure, Hint};
use mlops_core::names::{DatasetName, InvalidName};
use serde::Serialize;

use crate::aws::Clients;
use crate::aws::datasets::{self, DatasetVersion};
use crate::config::Project;
use crate::context::Context;
use crate::infra;
use crate::output::Report;

mod diff;
mod label;
mod pull;
mod push;
mod verify;
mod versions;

pub use diff::{DiffArgs, DiffReport};
pub use label::{LabelCommand, LabelPushReport};
pub use pull::{PullArgs, PullReport};
pub use push::{PushArgs, PushReport};
pub use verify::{VerifyArgs, VerifyReport};
pub use versions::{VersionsArgs, VersionsReport};

/// Manage versions of training data
#[derive(Debug, clap::Subcommand)]
pub enum DataCommand {
    /// Push a directory or a file as a new version of a data set
    ///
    /// The new version consists of exactly these files. Files whose content is unchanged since the
    /// newest version are not uploaded again; if nothing changed, no version is created. An
    /// interrupted push leaves the newest version intact, and the next push uploads only what is
    /// missing.
    ///
    /// Example: mlops data push data/train flights
    Push(PushArgs),
    /// List the versions of a data set, newest first
    ///
    /// Files and sizes are shown for the newest 20 versions.
    ///
    /// Example: mlops data versions flights
    Versions(VersionsArgs),
    /// Show which files differ between two versions of a data set
    ///
    /// A version is an id, `latest` or `previous`. Prefix it with NAME@ to select a data set other
    /// than the project's.
    ///
    /// Example: mlops data diff flights@previous latest
    Diff(DiffArgs),
    /// Download a version's files into a directory
    ///
    /// Files that already have the right content are kept, and an interrupted pull resumes where it
    /// stopped. Exits with 3 if a file is missing or damaged in S3.
    ///
    /// Example: mlops data pull flights@previous old
    Pull(PullArgs),
    /// Verify a version's files against their checksums
    ///
    /// Downloads every file. Exits with 3 if one is missing or damaged.
    ///
    /// Example: mlops data verify flights
    Verify(VerifyArgs),
    /// Push labels of predictions, for the model quality monitor
    #[command(subcommand)]
    Label(LabelCommand),
}

/// The bucket that stores data sets.
#[derive(Debug, clap::Args)]
struct BucketArgs {
    /// The versioned bucket [default: the project's data bucket]
    #[arg(long)]
    bucket: Option<String>,
}

/// A data set with an optional version: `NAME`, `NAME@VERSION` or `@VERSION`.
#[derive(Debug, Clone, Default)]
struct Target {
    name: Option<DatasetName>,
    version: Option<String>,
}

impl FromStr for Target {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, version) = match text.split_once('@') {
            Some((name, version)) => (name, Some(version)),
            None => (text, None),
        };
        Ok(Self {
            name: match (name, version) {
                ("", Some(_)) => None,
                _ => Some(name.parse()?),
            },
            version: version
                .filter(|version| !version.is_empty())
                .map(str::to_owned),
        })
    }
}

impl BucketArgs {
    /// Returns the bucket given on the command line, or the project's data bucket.
    async fn bucket(&self, clients: &Clients, project: Option<&Project>) -> Result<String> {
        if let Some(bucket) = &self.bucket {
            return Ok(bucket.clone());
        }
        let project = project
            .ok_or_else(|| Failure::usage("no mlops.toml found"))
            .hint("pass --bucket, or run `mlops init` first")?;
        clients.require_cloud_of(project)?;
        Ok(infra::platform(clients, project).await?.data_bucket)
    }
}

fn dataset(name: Option<&DatasetName>, project: Option<&Project>) -> Result<DatasetName> {
    name.cloned()
        .or_else(|| project.map(Project::dataset))
        .ok_or_else(|| Failure::usage("no data set given, and no mlops.toml found"))
        .hint("pass the name of the data set")
}

/// Returns the requested version, or the newest.
async fn find(
    ctx: &Context,
    clients: &Clients,
    bucket: &str,
    name: &DatasetName,
    version: Option<&str>,
) -> Result<DatasetVersion> {
    match version {
        Some(version) => datasets::resolve(&clients.s3, bucket, name, version).await,
        None => datasets::latest(&clients.s3, bucket, name)
            .await?
            .ok_or_else(|| anyhow!("{bucket} has no data set {name}"))
            .hint(format!(
                "push a first version: `{}`",
                ctx.command(&format!("data push DIR {name}"))
            )),
    }
}

/// Runs one of the commands.
pub async fn run(ctx: &Context, command: &DataCommand) -> Result<DataReport> {
    let project = ctx.config.find_project()?;
    let project = project.as_ref();
    match command {
        DataCommand::Push(args) => push::run(ctx, project, args).await.map(DataReport::Pushed),
        DataCommand::Versions(args) => versions::run(ctx, project, args)
            .await
            .map(DataReport::Versions),
        DataCommand::Diff(args) => diff::run(ctx, project, args)
            .await
            .map(DataReport::Difference),
        DataCommand::Pull(args) => pull::run(ctx, project, args).await.map(DataReport::Pulled),
        DataCommand::Verify(args) => verify::run(ctx, project, args)
            .await
            .map(DataReport::Verified),
        DataCommand::Label(command) => label::run(ctx, project, command)
            .await
            .map(DataReport::Labelled),
    }
}

/// The result of a `data` command.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum DataReport {
    /// `mlops data push`
    Pushed(PushReport),
    /// `mlops data versions`
    Versions(VersionsReport),
    /// `mlops data diff`
    Difference(DiffReport),
    /// `mlops data pull`
    Pulled(PullReport),
    /// `mlops data verify`
    Verified(VerifyReport),
    /// `mlops data label push`
    Labelled(LabelPushReport),
}

impl Report for DataReport {
    fn exit(&self) -> Exit {
        let problems = match self {
            Self::Verified(report) => &report.problems,
            Self::Pulled(report) => &report.problems,
            Self::Pushed(_) | Self::Versions(_) | Self::Difference(_) | Self::Labelled(_) => {
                return Exit::Done;
            }
        };
        if problems.is_empty() {
            Exit::Done
        } else {
            Exit::Refused
        }
    }
}

impl std::fmt::Display for DataReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pushed(report) => report.fmt(f),
            Self::Versions(report) => report.fmt(f),
            Self::Difference(report) => report.fmt(f),
            Self::Pulled(report) => report.fmt(f),
            Self::Verified(report) => report.fmt(f),
            Self::Labelled(report) => report.fmt(f),
        }
    }
}

/// "1 file", "2 files".
struct Files(usize);

impl std::fmt::Display for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let plural = if self.0 == 1 { "" } else { "s" };
        write!(f, "{} file{plural}", self.0)
    }
}
