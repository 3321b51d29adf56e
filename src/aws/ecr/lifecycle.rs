//! Previews which images a lifecycle policy would expire.

use anyhow::{Result, anyhow};
use aws_sdk_ecr::types::LifecyclePolicyPreviewStatus;
use mlops_core::error::Hint;
use mlops_core::wait::{Poll, Waiter};
use mlops_oci::Digest;

use super::parse_digest;
use crate::aws::{AwsResultExt, Clients, Expected};

/// An image that a policy would expire.
#[derive(Debug, Clone)]
pub struct Expiring {
    /// Its digest.
    pub digest: Digest,
    /// The priority of the rule that expires it.
    pub rule: Option<i32>,
}

/// Returns the images that the policy in `text`, or the repository's own policy, would expire.
pub async fn preview(
    clients: &Clients,
    waiter: Waiter,
    repository: &str,
    text: Option<&str>,
) -> Result<Vec<Expiring>> {
    let what = format!("the lifecycle preview of {repository}");
    // Another preview of this repository must end first.
    waiter
        .until(
            &what,
            |_| {},
            || async {
                let started = clients
                    .ecr
                    .start_lifecycle_policy_preview()
                    .repository_name(repository)
                    .set_lifecycle_policy_text(text.map(str::to_owned))
                    .send()
                    .await
                    .aws_unless(
                        format!("cannot preview a lifecycle policy of {repository}"),
                        &[Expected::code("LifecyclePolicyPreviewInProgressException")],
                    )?;
                Ok(match started {
                    Some(_) => Poll::Ready(()),
                    None => Poll::Pending("another preview is in progress".to_owned()),
                })
            },
        )
        .await
        .hint("pass a file with a policy, or set one for the repository")?;
    waiter
        .until(&what, |_| {}, || result(clients, repository))
        .await
}

async fn result(clients: &Clients, repository: &str) -> Result<Poll<Vec<Expiring>>> {
    let mut pages = clients
        .ecr
        .get_lifecycle_policy_preview()
        .repository_name(repository)
        .into_paginator()
        .send();
    let mut found = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.aws(format!("cannot read the lifecycle preview of {repository}"))?;
        match page.status() {
            Some(LifecyclePolicyPreviewStatus::Complete) => {}
            Some(status @ LifecyclePolicyPreviewStatus::InProgress) => {
                return Ok(Poll::Pending(status.as_str().to_owned()));
            }
            status => {
                let status = status.map_or("unknown", |status| status.as_str());
                return Err(anyhow!("the lifecycle preview of {repository} is {status}"));
            }
        }
        for result in page.preview_results() {
            if let Some(digest) = result.image_digest() {
                found.push(Expiring {
                    digest: parse_digest(digest)?,
                    rule: result.applied_rule_priority(),
                });
            }
        }
    }
    Ok(Poll::Ready(found))
}
