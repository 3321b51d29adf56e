//! `mlops data versions`.

use std::fmt;

use anyhow::Result;
use jiff::Timestamp;
use mlops_core::names::DatasetName;
use mlops_core::text::{bytes, clean, time};
use serde::Serialize;

use super::{BucketArgs, dataset};
use crate::aws::datasets::{self, ListedVersion, Manifest};
use crate::config::Project;
use crate::context::Context;

/// Maximum number of manifests to read for one list.
const READ: usize = 20;

/// Arguments of `mlops data versions`.
#[derive(Debug, clap::Args)]
pub struct VersionsArgs {
    /// The data set [default: the project's]
    name: Option<DatasetName>,
    /// Maximum number of versions to list
    #[arg(long, value_name = "NUMBER", default_value_t = 20,
          value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// List all versions
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    #[command(flatten)]
    bucket_args: BucketArgs,
}

/// The versions of a data set.
#[derive(Debug, Serialize)]
pub struct VersionsReport {
    bucket: String,
    dataset: DatasetName,
    versions: Vec<VersionRow>,
    /// True if older versions exist.
    more: bool,
}

/// A version of a data set; `files` and `bytes` are known only if its manifest was read.
#[derive(Debug, Serialize)]
struct VersionRow {
    version: String,
    created: Timestamp,
    files: Option<usize>,
    bytes: Option<u64>,
    latest: bool,
}

impl From<ListedVersion> for VersionRow {
    fn from(version: ListedVersion) -> Self {
        let manifest = version.manifest.as_ref();
        Self {
            version: version.id,
            created: manifest.map_or(version.written, |manifest| manifest.created),
            files: manifest.map(|manifest| manifest.files.len()),
            bytes: manifest.map(Manifest::bytes),
            latest: version.latest,
        }
    }
}

pub(super) async fn run(
    ctx: &Context,
    project: Option<&Project>,
    args: &VersionsArgs,
) -> Result<VersionsReport> {
    let name = dataset(args.name.as_ref(), project)?;
    let clients = ctx.aws().await?;
    let bucket = args.bucket_args.bucket(clients, project).await?;
    let limit = if args.all {
        None
    } else {
        Some(usize::try_from(args.limit)?)
    };
    let task = ctx
        .progress
        .spinner(format!("Listing the versions of {name}"));
    let found = datasets::versions(&clients.s3, &bucket, &name, limit, READ).await?;
    drop(task);
    Ok(VersionsReport {
        bucket,
        dataset: name,
        versions: found.versions.into_iter().map(VersionRow::from).collect(),
        more: found.more,
    })
}

impl fmt::Display for VersionsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.versions.is_empty() {
            return write!(f, "{} has no data set {}", self.bucket, self.dataset);
        }
        // Plain lines: laying out a table of 100,000 rows would be slow.
        let width = |row: &VersionRow| row.version.chars().count();
        let width = self.versions.iter().map(width).max().unwrap_or(0).max(7);
        let head = ("VERSION", "PUSHED", "FILES", "SIZE");
        writeln!(
            f,
            "{:width$}  {:20}  {:>7}  {:>9}",
            head.0, head.1, head.2, head.3
        )?;
        for row in &self.versions {
            let (version, pushed) = (clean(&row.version), time(row.created));
            match (row.files, row.bytes) {
                (Some(files), Some(size)) => writeln!(
                    f,
                    "{version:width$}  {pushed:20}  {files:>7}  {:>9}",
                    bytes(size)
                )?,
                _ => writeln!(f, "{version:width$}  {pushed}")?,
            }
        }
        if self.versions.iter().any(|row| row.files.is_none()) {
            writeln!(f, "Files and sizes are shown for the newest {READ} only")?;
        }
        if self.more {
            writeln!(f, "There are older versions: pass --limit NUMBER or --all")?;
        }
        Ok(())
    }
}
