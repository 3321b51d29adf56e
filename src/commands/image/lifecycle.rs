//! `mlops image list --lifecycle-preview`: images that a lifecycle policy would expire.

use std::fmt;
use std::path::Path;

use anyhow::{Context as _, Result};
use mlops_core::error::Failure;
use mlops_core::text::{bytes, table, time};
use mlops_oci::Digest;
use serde::Serialize;

use super::inventory::Inventory;
use super::names::names;
use crate::aws::ecr::lifecycle;
use crate::context::Context;
use crate::infra;

/// The effect of a lifecycle policy.
#[derive(Debug, Serialize)]
pub struct Preview {
    repository: String,
    /// The policy's file; `null` for the repository's own policy.
    policy: Option<String>,
    /// The number of images in the repository.
    total: usize,
    /// Images that would expire, in ECR's order.
    expiring: Vec<ExpiringImage>,
}

#[derive(Debug, Serialize)]
struct ExpiringImage {
    digest: Digest,
    tags: Vec<String>,
    /// Size of configuration and layers, in bytes.
    size: u64,
    pushed: Option<jiff::Timestamp>,
    /// The priority of the rule.
    rule: Option<i32>,
    /// Why the image is still needed; ECR does not know its users.
    needed_by: Vec<String>,
}

pub(super) async fn run(ctx: &Context, file: Option<&Path>) -> Result<Preview> {
    let project = &ctx.project()?;
    let text = file.map(read).transpose()?;
    let clients = ctx.aws_for(project).await?;
    let platform = infra::platform(clients, project).await?;
    let repository = platform.image_repository.clone();
    let expiring = lifecycle::preview(clients, ctx.waiter, &repository, text.as_deref()).await?;
    let inventory = Inventory::read(clients, project, &platform).await?;
    let images = expiring.into_iter().map(|expiring| {
        let image = inventory
            .images
            .iter()
            .find(|i| i.digest == expiring.digest);
        ExpiringImage {
            tags: image.map(|image| image.tags.clone()).unwrap_or_default(),
            size: image.map(|image| image.size).unwrap_or_default(),
            pushed: image.and_then(|image| image.pushed),
            rule: expiring.rule,
            needed_by: inventory.used_by(expiring.digest).needs(),
            digest: expiring.digest,
        }
    });
    Ok(Preview {
        expiring: images.collect(),
        total: inventory.images.len(),
        policy: file.map(|file| file.display().to_string()),
        repository,
    })
}

/// Reads a policy; ECR validates it.
fn read(file: &Path) -> Result<String> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_str::<serde_json::Value>(&text)
        .map_err(|error| Failure::usage(format!("{} is not JSON: {error}", file.display())))?;
    Ok(text)
}

impl fmt::Display for Preview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policy = match &self.policy {
            Some(file) => format!("the policy in {file}"),
            None => "its lifecycle policy".to_owned(),
        };
        writeln!(
            f,
            "Of {} images in {}, {policy} would expire {}.",
            self.total,
            self.repository,
            self.expiring.len()
        )?;
        if self.expiring.is_empty() {
            return Ok(());
        }
        let rows = self.expiring.iter().map(|image| {
            vec![
                image.digest.short(),
                bytes(image.size),
                image.pushed.map(time).unwrap_or_default(),
                image.rule.map(|rule| rule.to_string()).unwrap_or_default(),
                names(&image.tags, &[]),
                image.needed_by.join(", "),
            ]
        });
        let header = ["DIGEST", "SIZE", "PUSHED", "RULE", "TAGS", "NEEDED BY"];
        f.write_str(&table(&header, rows))
    }
}
