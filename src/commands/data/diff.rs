//! `mlops data diff`.

use std::fmt;
use std::str::FromStr;

use anyhow::Result;
use jiff::Timestamp;
use mlops_core::names::{DatasetName, InvalidName};
use mlops_core::text::{bytes, table};
use serde::Serialize;

use super::{BucketArgs, Files, Target, dataset, find};
use crate::aws::datasets::{self, Changed, DatasetVersion, ManifestFile};
use crate::config::Project;
use crate::context::Context;

/// Arguments of `mlops data diff`.
#[derive(Debug, clap::Args)]
pub struct DiffArgs {
    /// The version to compare from
    #[arg(value_name = "[NAME@]VERSION")]
    before: Side,
    /// The version to compare with [default: latest]
    #[arg(value_name = "[NAME@]VERSION")]
    after: Option<Side>,
    #[command(flatten)]
    bucket_args: BucketArgs,
}

/// A version, optionally with its data set. A value without `@` is a version.
#[derive(Debug, Clone)]
struct Side(Target);

impl FromStr for Side {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains('@') {
            return text.parse().map(Self);
        }
        Ok(Self(Target {
            name: None,
            version: Some(text.to_owned()),
        }))
    }
}

/// The differences between two versions.
#[derive(Debug, Serialize)]
pub struct DiffReport {
    bucket: String,
    before: Summary,
    after: Summary,
    added: Vec<FileRow>,
    removed: Vec<FileRow>,
    changed: Vec<Changed>,
    unchanged: usize,
}

/// One of the two versions.
#[derive(Debug, Serialize)]
struct Summary {
    dataset: DatasetName,
    version: String,
    created: Timestamp,
    files: usize,
    bytes: u64,
}

/// A file of one version.
#[derive(Debug, Serialize)]
struct FileRow {
    path: String,
    bytes: u64,
}

impl From<&DatasetVersion> for Summary {
    fn from(version: &DatasetVersion) -> Self {
        Self {
            dataset: version.manifest.dataset.clone(),
            version: version.id.clone(),
            created: version.manifest.created,
            files: version.manifest.files.len(),
            bytes: version.manifest.bytes(),
        }
    }
}

impl From<ManifestFile> for FileRow {
    fn from(file: ManifestFile) -> Self {
        Self {
            path: file.path,
            bytes: file.size,
        }
    }
}

pub(super) async fn run(
    ctx: &Context,
    project: Option<&Project>,
    args: &DiffArgs,
) -> Result<DiffReport> {
    let before = &args.before.0;
    let after = args.after.as_ref().map(|side| &side.0);
    let named = after.and_then(|after| after.name.as_ref());
    let name = dataset(before.name.as_ref().or(named), project)?;
    let other = named.unwrap_or(&name);
    let clients = ctx.aws().await?;
    let bucket = args.bucket_args.bucket(clients, project).await?;
    let (before, after) = tokio::try_join!(
        find(ctx, clients, &bucket, &name, before.version.as_deref()),
        find(
            ctx,
            clients,
            &bucket,
            other,
            after.and_then(|after| after.version.as_deref())
        ),
    )?;
    let found = datasets::difference(&before.manifest, &after.manifest);
    Ok(DiffReport {
        bucket,
        before: Summary::from(&before),
        after: Summary::from(&after),
        added: found.added.into_iter().map(FileRow::from).collect(),
        removed: found.removed.into_iter().map(FileRow::from).collect(),
        changed: found.changed,
        unchanged: found.unchanged,
    })
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (files, size) = (Files(self.files), bytes(self.bytes));
        write!(f, "{}@{}  {files}, {size}", self.dataset, self.version)
    }
}

impl fmt::Display for DiffReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "before  {}\nafter   {}", self.before, self.after)?;
        let mut rows = Vec::new();
        let row =
            |what: &str, path: &str, size: String| vec![what.to_owned(), path.to_owned(), size];
        for file in &self.added {
            rows.push(row("added", &file.path, bytes(file.bytes)));
        }
        for file in &self.removed {
            rows.push(row("removed", &file.path, bytes(file.bytes)));
        }
        for file in &self.changed {
            let size = format!("{} -> {}", bytes(file.before), bytes(file.after));
            rows.push(row("changed", &file.path, size));
        }
        if rows.is_empty() {
            return write!(f, "The files are the same");
        }
        f.write_str(&table(&["CHANGE", "FILE", "SIZE"], rows))?;
        write!(
            f,
            "{} added, {} removed, {} changed, {} the same",
            self.added.len(),
            self.removed.len(),
            self.changed.len(),
            self.unchanged
        )
    }
}
