//! Deletes a stack and what CloudFormation deletes only when it is empty.

use anyhow::{Result, anyhow};
use mlops_core::error::Hint;

use crate::aws::{Clients, removal};
use crate::context::Context;
use crate::infra::{self, DeployedStack};

/// How often the deletion of a stack is tried.
const ATTEMPTS: usize = 3;

/// The log bucket in the template: the other buckets write to it, so it is emptied last.
const LOG_BUCKET: &str = "LogBucket";

/// Deletes a stack and what is in its buckets and repositories. Tries again: access logs may arrive after
/// their bucket was emptied, and what another service used is often free a moment later.
pub(super) async fn delete(ctx: &Context, clients: &Clients, stack: &DeployedStack) -> Result<()> {
    let mut failure = None;
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            ctx.waiter.pause().await;
        }
        if stack.part.has_contents() {
            empty(ctx, clients, stack).await?;
        }
        failure = infra::delete(clients, ctx.waiter, &ctx.progress, stack).await?;
        if failure.is_none() {
            return Ok(());
        }
    }
    Err(anyhow!(
        "{} could not be deleted: {}",
        stack.name,
        failure.unwrap_or_default()
    ))
    .hint(
        "remove the obstacle, then run the command again: it continues where it stopped. A log bucket that \
         is not empty gets access logs of earlier requests, for some hours",
    )
}

/// Empties what CloudFormation deletes only when it is empty.
async fn empty(ctx: &Context, clients: &Clients, stack: &DeployedStack) -> Result<()> {
    let buckets = stack.resources.iter();
    let mut buckets: Vec<_> = buckets
        .filter(|resource| resource.r#type == "AWS::S3::Bucket")
        .collect();
    buckets.sort_by_key(|bucket| bucket.name == LOG_BUCKET);
    for bucket in &buckets {
        removal::stop_access_logging(clients, &bucket.id).await?;
    }
    for bucket in buckets.into_iter().map(|bucket| bucket.id.as_str()) {
        let task = ctx.progress.items(format!("emptying {bucket}"), 0);
        let progress = |found, removed| {
            task.expect_more(found);
            task.advance(removed);
        };
        let removed = removal::empty_bucket(clients, bucket, &progress).await?;
        task.done(format!("{bucket}: {} deleted", counted(removed, "version")));
    }
    for repository in stack.of_type("AWS::ECR::Repository") {
        let task = ctx.progress.items(format!("emptying {repository}"), 0);
        let progress = |found, removed| {
            task.expect_more(found);
            task.advance(removed);
        };
        let removed = removal::empty_repository(clients, repository, &progress).await?;
        task.done(format!(
            "{repository}: {} deleted",
            counted(removed, "image")
        ));
    }
    for group in stack.of_type("AWS::SageMaker::ModelPackageGroup") {
        let group = group.rsplit('/').next().unwrap_or(group);
        let removed = removal::empty_group(clients, group).await?;
        let removed = counted(removed, "model version");
        ctx.progress.say(format!("{group}: {removed} deleted"));
    }
    Ok(())
}

/// A number of things: `1 image`, `2 images`.
fn counted(count: u64, word: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {word}{plural}")
}
