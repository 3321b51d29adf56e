//! `mlops data pull`.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use mlops_core::error::Hint;
use mlops_core::names::DatasetName;
use mlops_core::text::bytes;
use serde::Serialize;

use super::{BucketArgs, Files, Target, dataset, find, verify};
use crate::aws::datasets::{self, Finding};
use crate::config::Project;
use crate::context::Context;

/// Arguments of `mlops data pull`.
#[derive(Debug, clap::Args)]
pub struct PullArgs {
    /// The data set [default: the project's] and its version [default: the newest]
    #[arg(value_name = "NAME[@VERSION]")]
    target: Option<Target>,
    /// The target directory [default: the name of the data set]
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
    #[command(flatten)]
    bucket_args: BucketArgs,
}

/// The result of a pull.
#[derive(Debug, Serialize)]
pub struct PullReport {
    bucket: String,
    dataset: DatasetName,
    version: String,
    directory: PathBuf,
    files: usize,
    bytes: u64,
    /// Files downloaded from S3, and their size in bytes.
    fetched: usize,
    fetched_bytes: u64,
    /// Bytes that an earlier, interrupted pull had downloaded.
    resumed_bytes: u64,
    /// Files that already had the right content.
    kept: usize,
    /// Files that had different content and were replaced.
    replaced: Vec<String>,
    /// Files in the directory that are not part of the version.
    others: usize,
    pub(super) problems: Vec<Finding>,
}

pub(super) async fn run(
    ctx: &Context,
    project: Option<&Project>,
    args: &PullArgs,
) -> Result<PullReport> {
    let target = args.target.clone().unwrap_or_default();
    let name = dataset(target.name.as_ref(), project)?;
    let directory = args
        .directory
        .clone()
        .unwrap_or_else(|| PathBuf::from(name.to_string()));
    let clients = ctx.aws().await?;
    let bucket = args.bucket_args.bucket(clients, project).await?;
    let version = find(ctx, clients, &bucket, &name, target.version.as_deref()).await?;
    let (files, size) = (version.manifest.files.len(), version.manifest.bytes());
    let id = version.id.clone();

    let task = ctx
        .progress
        .spinner(format!("Comparing {}", directory.display()));
    let root = directory.clone();
    let plan = tokio::task::spawn_blocking(move || datasets::plan(&version, &root, &|_| {}))
        .await
        .context("comparing files")??;
    drop(task);
    if let Some(first) = plan.replaced.first() {
        let others = match plan.replaced.len() - 1 {
            0 => String::new(),
            more => format!(" and {}", Files(more)),
        };
        ctx.prompt
            .require(&format!(
                "{first}{others} in {} would be overwritten: the version has different content. Continue?",
                directory.display()
            ))
            .hint("or pull into an empty directory")?;
    }
    let task = ctx.progress.bytes(format!("Pulling {name}"), plan.bytes);
    let note = ctx.on_interrupt("the files downloaded so far are kept: pull again to resume");
    let pulled = datasets::pull(&clients.s3, &bucket, &plan, &|bytes| task.advance(bytes)).await?;
    drop(note);
    drop(task);
    Ok(PullReport {
        bucket,
        dataset: name,
        version: id,
        directory,
        files,
        bytes: size,
        fetched: pulled.fetched,
        fetched_bytes: pulled.fetched_bytes,
        resumed_bytes: pulled.resumed_bytes,
        kept: plan.kept,
        replaced: plan.replaced,
        others: plan.others,
        problems: pulled.problems,
    })
}

impl fmt::Display for PullReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, version) = (&self.dataset, &self.version);
        let directory = self.directory.display();
        if self.problems.is_empty() {
            let (files, size) = (Files(self.files), bytes(self.bytes));
            writeln!(
                f,
                "{name}, version {version}, is in {directory}: {files}, {size}"
            )?;
        } else {
            writeln!(f, "{name}, version {version}, is incomplete in S3")?;
            f.write_str(&verify::problems(&self.problems))?;
        }
        let fetched = bytes(self.fetched_bytes);
        write!(f, "Downloaded {}, {fetched}", Files(self.fetched))?;
        if self.kept > 0 {
            write!(f, "; {} already there", Files(self.kept))?;
        }
        if self.resumed_bytes > 0 {
            let resumed = bytes(self.resumed_bytes);
            write!(f, "; {resumed} downloaded by an interrupted pull")?;
        }
        if self.others > 0 {
            write!(
                f,
                "\n{} in {directory} not part of the version: kept",
                Files(self.others)
            )?;
        }
        Ok(())
    }
}
