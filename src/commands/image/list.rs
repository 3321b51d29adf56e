//! `mlops image list`: what the project's repository holds.

use anyhow::Result;

use super::report::{Listed, Listing};
use crate::aws;
use crate::context::Context;
use crate::infra;

pub(super) async fn run(ctx: &Context) -> Result<Listed> {
    let project = ctx.project()?;
    let clients = ctx.aws().await?;
    let repository = infra::platform(clients, &project).await?.image_repository;
    let images = aws::ecr::list(clients, &repository)
        .await?
        .into_iter()
        .map(|image| Listing {
            digest: image.digest,
            tags: image.tags,
            size: image.size,
            pushed: image
                .pushed
                .map(|time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
        })
        .collect();
    Ok(Listed {
        repository,
        images,
        push: ctx.command("image push"),
    })
}
