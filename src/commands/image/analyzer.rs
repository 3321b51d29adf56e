//! `mlops image push --analyzer`: packages this program as an image for Processing jobs.

use std::time::Instant;

use anyhow::Result;

use super::pushed::PushedImage;
use crate::aws::analyzer;
use crate::context::Context;
use crate::infra;

pub(super) async fn push(ctx: &Context) -> Result<PushedImage> {
    let start = Instant::now();
    let project = ctx.project()?;
    let image = analyzer::build(&ctx.config.cache).await?;
    let clients = ctx.aws_for(&project).await?;
    let platform = infra::platform(clients, &project).await?;
    let repository = platform.image_repository;
    let registry = || ctx.registry(clients);
    let there = analyzer::ensure(clients, &ctx.progress, &repository, &image, registry).await?;
    let digest = image.digest();
    if platform.analyzer_digest != Some(digest) {
        ctx.progress.say(format!(
            "the stacks reference a different analyzer: run `{}`",
            ctx.command("init")
        ));
    }
    let pushed = there.pushed.unwrap_or(mlops_oci::push::Pushed {
        digest,
        sent: 0,
        saved: image.size(),
        mounted: 0,
        requests: 0,
    });
    Ok(PushedImage {
        tags: vec![there.tag.to_string()],
        base: Some("this program and its libraries".to_owned()),
        size: image.size(),
        seconds: start.elapsed().as_secs_f64(),
        ..PushedImage::new(&there.uri, pushed)
    })
}
