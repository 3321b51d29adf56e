//! `mlops data verify`.

use std::fmt;

use anyhow::Result;
use mlops_core::error::{Exit, Failure, cause, hinted};
use mlops_core::names::DatasetName;
use mlops_core::text::{bytes, table};
use serde::Serialize;

use super::{BucketArgs, Files, Target, dataset, find};
use crate::aws::datasets::{self, Finding};
use crate::aws::s3::Damaged;
use crate::config::Project;
use crate::context::Context;

/// Arguments of `mlops data verify`.
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// The data set [default: the project's] and its version [default: the newest]
    #[arg(value_name = "NAME[@VERSION]")]
    target: Option<Target>,
    #[command(flatten)]
    bucket_args: BucketArgs,
}

/// The result of a verification.
#[derive(Debug, Serialize)]
pub struct VerifyReport {
    bucket: String,
    dataset: DatasetName,
    version: String,
    files: usize,
    bytes: u64,
    pub(super) problems: Vec<Finding>,
}

pub(super) async fn run(
    ctx: &Context,
    project: Option<&Project>,
    args: &VerifyArgs,
) -> Result<VerifyReport> {
    let target = args.target.clone().unwrap_or_default();
    let name = dataset(target.name.as_ref(), project)?;
    let clients = ctx.aws().await?;
    let bucket = args.bucket_args.bucket(clients, project).await?;
    let version = find(ctx, clients, &bucket, &name, target.version.as_deref())
        .await
        .map_err(|error| match cause::<Damaged>(&error) {
            Some(damaged) => hinted(
                Failure::new(Exit::Refused, damaged.to_string()),
                "push the data set again to create an intact version",
            ),
            None => error,
        })?;
    let size = version.manifest.bytes();
    let task = ctx.progress.bytes(format!("Verifying {name}"), size);
    let advance = |read| task.advance(read);
    let problems = datasets::verify(&clients.s3, &bucket, &version, &advance).await?;
    drop(task);
    Ok(VerifyReport {
        bucket,
        dataset: name,
        version: version.id,
        files: version.manifest.files.len(),
        bytes: size,
        problems,
    })
}

impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, version) = (&self.dataset, &self.version);
        if self.problems.is_empty() {
            let (files, size) = (Files(self.files), bytes(self.bytes));
            return write!(f, "{name}, version {version}, is intact: {files}, {size}");
        }
        writeln!(f, "{name}, version {version}, is damaged")?;
        f.write_str(&problems(&self.problems))?;
        f.write_str("Push the files again to create an intact version")
    }
}

/// Renders the missing and damaged files as a table.
pub(super) fn problems(findings: &[Finding]) -> String {
    let rows = findings
        .iter()
        .map(|finding| vec![finding.path.clone(), finding.problem.clone()]);
    table(&["FILE", "PROBLEM"], rows)
}
