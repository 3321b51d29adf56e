//! The data of a run or a validation: a version of a data set, as a snapshot that jobs can read.

use anyhow::{Result, anyhow};
use mlops_core::error::Hint;
use mlops_core::names::DatasetName;

use crate::aws::s3::S3Uri;
use crate::aws::{Clients, datasets};
use crate::context::Context;

/// A version of a data set, and where its files are.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// The version's id.
    pub(crate) version: String,
    /// The prefix of the files; ends in `/`.
    pub(crate) uri: S3Uri,
}

/// Returns the snapshot of a version: an id, `latest` or `previous`; by default the newest. The first
/// use of a version copies its files.
pub(crate) async fn snapshot(
    ctx: &Context,
    clients: &Clients,
    bucket: &str,
    dataset: &DatasetName,
    requested: Option<&str>,
) -> Result<Snapshot> {
    let version = match requested {
        Some(id) => datasets::resolve(&clients.s3, bucket, dataset, id).await?,
        None => datasets::latest(&clients.s3, bucket, dataset)
            .await?
            .ok_or_else(|| anyhow!("the data set `{dataset}` has no version yet"))
            .hint(format!(
                "push a first version with `{}`",
                ctx.command(&format!("data push DIRECTORY {dataset}"))
            ))?,
    };
    let total = version.manifest.bytes();
    let task = ctx.progress.bytes(format!("snapshot of {dataset}"), total);
    let uri =
        datasets::snapshot(&clients.s3, bucket, &version, &|bytes| task.advance(bytes)).await?;
    Ok(Snapshot {
        version: version.id,
        uri,
    })
}
