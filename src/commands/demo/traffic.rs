//! The traffic of the demo's endpoint.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use mlops_core::wait::{Poll, Waiter};

use super::story::{ENDPOINT, TRAFFIC};
use crate::aws::s3::S3Uri;
use crate::aws::{AwsResultExt, Clients, capture};
use crate::context::Context;

/// Sends the rows of a later month to the endpoint, as an application would.
pub(super) async fn send(ctx: &Context, directory: &Path) -> Result<i32> {
    let connection = ctx.connect_local(&directory.join(".mlops/local")).await?;
    let clients = Clients::of_endpoint(
        &connection.endpoint,
        &connection.access_key,
        &connection.secret_key,
        None,
    );
    let path = directory.join(TRAFFIC.0);
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let rows: Vec<&str> = text.lines().collect();
    let task = ctx.progress.items("sending requests", rows.len() as u64);
    for batch in rows.chunks(TRAFFIC.1) {
        clients
            .runtime
            .invoke_endpoint()
            .endpoint_name(ENDPOINT)
            .content_type("text/csv")
            .accept("text/csv")
            .body(aws_sdk_sagemakerruntime::primitives::Blob::new(
                format!("{}\n", batch.join("\n")).into_bytes(),
            ))
            .send()
            .await
            .aws("cannot invoke the endpoint")?;
        task.advance(batch.len() as u64);
    }
    task.done(format!("{} flights predicted", rows.len()));
    captured(ctx, &clients, rows.len().div_ceil(TRAFFIC.1)).await?;
    Ok(0)
}

/// Waits until the endpoint has written every request to S3; capture is batched.
async fn captured(ctx: &Context, clients: &Clients, requests: usize) -> Result<()> {
    let endpoint = clients
        .sagemaker
        .describe_endpoint()
        .endpoint_name(ENDPOINT)
        .send()
        .await
        .aws("cannot describe the endpoint")?;
    let to: S3Uri = endpoint
        .data_capture_config()
        .and_then(|config| config.destination_s3_uri())
        .context("data capture is disabled for the endpoint")?
        .parse()?;
    let waiter = Waiter {
        interval: Duration::from_millis(200),
        timeout: Duration::from_mins(1),
    };
    let mut task = ctx.progress.task("waiting for captured requests");
    waiter
        .until(
            "captured requests",
            |status| task.set(status),
            || async {
                let lines = capture::lines(clients, &to).await?;
                Ok(if lines >= requests {
                    Poll::Ready(())
                } else {
                    Poll::Pending(format!("{lines} of {requests} requests captured"))
                })
            },
        )
        .await
}
