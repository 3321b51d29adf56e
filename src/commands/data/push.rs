//! `mlops data push`.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use mlops_core::error::hinted;
use mlops_core::names::DatasetName;
use mlops_core::text::bytes;
use serde::Serialize;

use super::{BucketArgs, Files, dataset};
use crate::aws::error::kind_of;
use crate::aws::s3::S3Uri;
use crate::aws::{ErrorKind, Missing, datasets};
use crate::config::Project;
use crate::context::Context;

/// Arguments of `mlops data push`.
#[derive(Debug, clap::Args)]
pub struct PushArgs {
    /// A directory, or a single file
    #[arg(value_name = "DIR|FILE")]
    path: PathBuf,
    /// The data set [default: the project's]
    name: Option<DatasetName>,
    #[command(flatten)]
    bucket_args: BucketArgs,
}

/// The result of a push.
#[derive(Debug, Serialize)]
pub struct PushReport {
    bucket: String,
    dataset: DatasetName,
    version: String,
    manifest: S3Uri,
    files: usize,
    bytes: u64,
    uploaded: usize,
    uploaded_bytes: u64,
    resumed_bytes: u64,
    unchanged: bool,
}

pub(super) async fn run(
    ctx: &Context,
    project: Option<&Project>,
    args: &PushArgs,
) -> Result<PushReport> {
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
    let bucket = args.bucket_args.bucket(clients, project).await?;
    let total = datasets::total(&files);
    let task = ctx.progress.bytes(format!("Pushing {name}"), total);
    let note = ctx.on_interrupt(datasets::STANDS);
    let pushed = datasets::push(&clients.s3, &bucket, &name, &files, ctx.now(), &|sent| {
        task.advance(sent);
    })
    .await
    .map_err(|error| {
        if kind_of(&error) == Some(ErrorKind::NotFound(Missing::Bucket)) {
            hinted(
                error,
                format!(
                    "create the project's data bucket with `{}`",
                    ctx.command("init")
                ),
            )
        } else {
            error
        }
    })?;
    drop(note);
    drop(task);
    Ok(PushReport {
        manifest: datasets::manifest_uri(&bucket, &name),
        bucket,
        dataset: name,
        version: pushed.version.id,
        files: files.len(),
        bytes: total,
        uploaded: pushed.uploaded,
        uploaded_bytes: pushed.uploaded_bytes,
        resumed_bytes: pushed.resumed_bytes,
        unchanged: pushed.unchanged,
    })
}

impl fmt::Display for PushReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, version) = (&self.dataset, &self.version);
        let (files, size) = (Files(self.files), bytes(self.bytes));
        if self.unchanged {
            return write!(
                f,
                "{name} is unchanged: version {version} has {files}, {size}"
            );
        }
        writeln!(f, "Pushed {name}, version {version}: {files}, {size}")?;
        let sent = bytes(self.uploaded_bytes);
        write!(f, "Uploaded {}, {sent}", Files(self.uploaded))?;
        match self.files - self.uploaded {
            0 => {}
            kept => write!(f, "; {} already uploaded", Files(kept))?,
        }
        match self.resumed_bytes {
            0 => Ok(()),
            resumed => write!(f, "; {} uploaded by an interrupted push", bytes(resumed)),
        }
    }
}
