//! `mlops validate --dataset`: a version of a data set, from the snapshot that runs read.

use anyhow::Result;
use mlops_core::error::Failure;
use mlops_core::names::DatasetName;
use mlops_core::s3::S3Object;
use serde::Serialize;

use super::location::DataLocation;
use super::{On, ValidateArgs};
use crate::context::Context;
use crate::{infra, project_data};

/// The version of a data set that was validated.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ValidatedVersion {
    pub(super) dataset: DatasetName,
    pub(super) data_version: String,
}

/// Returns the version that `--dataset` selects, and the arguments with its snapshot as data.
pub(super) async fn resolve(
    ctx: &Context,
    args: &ValidateArgs,
    name: Option<&DatasetName>,
) -> Result<(ValidatedVersion, ValidateArgs)> {
    if args.on == On::Spark {
        return Err(Failure::usage(
            "--dataset cannot be combined with --on spark",
        ));
    }
    let project = ctx.project()?;
    let dataset = name.cloned().unwrap_or_else(|| project.dataset());
    let clients = ctx.aws_for(&project).await?;
    let bucket = infra::platform(clients, &project).await?.data_bucket;
    let requested = args.data_version.as_deref();
    let snapshot = project_data::snapshot(ctx, clients, &bucket, &dataset, requested).await?;
    let resolved = ValidateArgs {
        data: vec![DataLocation::S3(S3Object {
            uri: snapshot.uri,
            version_id: None,
        })],
        ..args.clone()
    };
    let version = ValidatedVersion {
        dataset,
        data_version: snapshot.version,
    };
    Ok((version, resolved))
}
