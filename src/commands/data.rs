//! `mlops data`: the training data, as versions.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context as _, Result, anyhow};

use crate::aws::Clients;
use crate::aws::datasets;
use crate::config::Project;
use crate::context::Context;
use crate::error::{Failure, Hint, hinted, message};
use crate::infra;
use crate::names::DatasetName;

mod report;

pub use report::{DataReport, PushReport, VerifyReport, VersionRow, VersionsReport};

/// Push training data and look at its versions
#[derive(Debug, clap::Subcommand)]
pub enum DataCommand {
    /// Push a directory or a file as a new version of a data set
    ///
    /// The data set then consists of exactly these files. Files that the newest version has with
    /// the same bytes are not sent again; when nothing differs the newest version stays.
    ///
    /// Example: mlops data push data/train flights
    Push(PushArgs),
    /// List the versions of a data set, newest first
    ///
    /// Example: mlops data versions flights
    Versions(VersionsArgs),
    /// Read a version's files back and compare them with their checksums
    ///
    /// Exit code 3 says that a file is missing or damaged.
    ///
    /// Example: mlops data verify flights
    Verify(VerifyArgs),
}

/// Arguments of `mlops data push`.
#[derive(Debug, clap::Args)]
pub struct PushArgs {
    /// The directory, or one file
    #[arg(value_name = "DIR|FILE")]
    path: PathBuf,
    /// The data set (default: the project's)
    name: Option<DatasetName>,
    #[command(flatten)]
    place: Place,
}

/// Arguments of `mlops data versions`.
#[derive(Debug, clap::Args)]
pub struct VersionsArgs {
    /// The data set (default: the project's)
    name: Option<DatasetName>,
    #[command(flatten)]
    place: Place,
}

/// Arguments of `mlops data verify`.
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// The data set (default: the project's) and its version (default: the newest)
    #[arg(value_name = "NAME[@VERSION]")]
    target: Option<Target>,
    #[command(flatten)]
    place: Place,
}

/// Where data sets lie.
#[derive(Debug, clap::Args)]
struct Place {
    /// The versioned bucket (default: the project's data bucket)
    #[arg(long)]
    bucket: Option<String>,
}

/// A data set, perhaps with a version.
#[derive(Debug, Clone)]
struct Target {
    name: DatasetName,
    version: Option<String>,
}

impl FromStr for Target {
    type Err = crate::names::InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, version) = match text.split_once('@') {
            Some((name, version)) => (name, Some(version.to_owned())),
            None => (text, None),
        };
        Ok(Self {
            name: name.parse()?,
            version,
        })
    }
}

impl Place {
    /// The bucket that was named, or the one of the project's platform.
    async fn bucket(&self, clients: &Clients, project: Option<&Project>) -> Result<String> {
        if let Some(bucket) = &self.bucket {
            return Ok(bucket.clone());
        }
        let project = project
            .ok_or_else(|| Failure::usage("there is no mlops.toml here"))
            .hint("pass --bucket, or run `mlops init` first")?;
        Ok(infra::platform(clients, project).await?.data_bucket)
    }
}

fn dataset(name: Option<&DatasetName>, project: Option<&Project>) -> Result<DatasetName> {
    name.cloned()
        .or_else(|| project.map(Project::dataset))
        .ok_or_else(|| Failure::usage("there is no mlops.toml here that names a data set"))
        .hint("name the data set")
}

/// Runs one of the commands.
pub async fn run(ctx: &Context, command: &DataCommand) -> Result<DataReport> {
    let project = ctx.config.find_project()?;
    let project = project.as_ref();
    match command {
        DataCommand::Push(args) => push(ctx, project, args).await.map(DataReport::Pushed),
        DataCommand::Versions(args) => versions(ctx, project, args).await.map(DataReport::Versions),
        DataCommand::Verify(args) => verify(ctx, project, args).await.map(DataReport::Verified),
    }
}

async fn push(ctx: &Context, project: Option<&Project>, args: &PushArgs) -> Result<PushReport> {
    let name = dataset(args.name.as_ref(), project)?;
    let path = args.path.clone();
    let task = ctx.progress.task(format!("Reading {}", path.display()));
    let files = tokio::task::spawn_blocking(move || datasets::gather(&path))
        .await
        .context("reading the files")??;
    drop(task);
    let clients = match project {
        Some(project) => ctx.aws_for(project).await?,
        None => ctx.aws().await?,
    };
    let bucket = args.place.bucket(clients, project).await?;
    let total = datasets::total(&files);
    let task = ctx.progress.bytes(format!("Pushing {name}"), total);
    let pushed = datasets::push(&clients.s3, &bucket, &name, &files, ctx.now(), &|sent| {
        task.advance(sent);
    })
    .await
    .map_err(|error| {
        if message(&error).contains("NoSuchBucket") {
            hinted(
                error,
                format!("`{}` makes the project's data bucket", ctx.command("init")),
            )
        } else {
            error
        }
    })?;
    drop(task);
    Ok(PushReport {
        manifest: format!("s3://{bucket}/datasets/{name}/manifest.json"),
        bucket,
        dataset: name,
        version: pushed.version.id,
        files: files.len(),
        bytes: total,
        uploaded: pushed.uploaded,
        uploaded_bytes: pushed.uploaded_bytes,
        unchanged: pushed.unchanged,
    })
}

async fn versions(
    ctx: &Context,
    project: Option<&Project>,
    args: &VersionsArgs,
) -> Result<VersionsReport> {
    let name = dataset(args.name.as_ref(), project)?;
    let clients = ctx.aws().await?;
    let bucket = args.place.bucket(clients, project).await?;
    let found = datasets::versions(&clients.s3, &bucket, &name).await?;
    Ok(VersionsReport {
        bucket,
        dataset: name,
        versions: found
            .into_iter()
            .enumerate()
            .map(|(index, version)| VersionRow::new(version, index == 0))
            .collect(),
    })
}

async fn verify(
    ctx: &Context,
    project: Option<&Project>,
    args: &VerifyArgs,
) -> Result<VerifyReport> {
    let target = args.target.as_ref();
    let name = dataset(target.map(|target| &target.name), project)?;
    let clients = ctx.aws().await?;
    let bucket = args.place.bucket(clients, project).await?;
    let version = match target.and_then(|target| target.version.as_deref()) {
        Some(version) => datasets::resolve(&clients.s3, &bucket, &name, version).await?,
        None => datasets::latest(&clients.s3, &bucket, &name)
            .await?
            .ok_or_else(|| anyhow!("{bucket} has no data set {name}"))
            .hint(format!(
                "push one: `{}`",
                ctx.command(&format!("data push DIR {name}"))
            ))?,
    };
    let row = VersionRow::new(version.clone(), false);
    let task = ctx.progress.bytes(format!("Verifying {name}"), row.bytes);
    let advance = |read| task.advance(read);
    let problems = datasets::verify(&clients.s3, &bucket, &version, &advance).await?;
    drop(task);
    Ok(VerifyReport {
        bucket,
        dataset: name,
        version: row.version,
        files: row.files,
        bytes: row.bytes,
        problems,
    })
}
