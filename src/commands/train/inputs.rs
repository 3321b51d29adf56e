//! Inputs of a run: the program of the working tree, and a version of the data.

use anyhow::{Result, anyhow};
use mlops_core::error::Hint;

use crate::aws::s3::S3Uri;
use crate::aws::{Clients, datasets};
use crate::config::Project;
use crate::context::Context;
use crate::pin::Rule;

/// Returns whether to package the working tree's program: a pin deliberately selects another image,
/// and images can be built elsewhere.
pub(super) fn has_program(project: &Project, rule: &Rule) -> bool {
    let directory = project.path(&project.file.image.directory);
    !matches!(rule, Rule::Pinned(_)) && directory.is_dir()
}

/// A version of the project's data set and the location of its snapshot.
pub(super) async fn data(
    ctx: &Context,
    clients: &Clients,
    project: &Project,
    bucket: &str,
    requested: Option<&str>,
) -> Result<(String, S3Uri)> {
    let dataset = project.dataset();
    let version = match requested {
        Some(id) => datasets::resolve(&clients.s3, bucket, &dataset, id).await?,
        None => datasets::latest(&clients.s3, bucket, &dataset)
            .await?
            .ok_or_else(|| anyhow!("the data set `{dataset}` has no version yet"))
            .hint(format!(
                "push a first version with `{}`",
                ctx.command(&format!("data push DIRECTORY {dataset}"))
            ))?,
    };
    let total = version.manifest.files.iter().map(|file| file.size).sum();
    let task = ctx.progress.bytes(format!("snapshot of {dataset}"), total);
    let uri =
        datasets::snapshot(&clients.s3, bucket, &version, &|bytes| task.advance(bytes)).await?;
    Ok((version.id, uri))
}
