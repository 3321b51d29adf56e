//! `mlops image list`: the contents of the project's repository.

use std::fmt;
use std::path::PathBuf;

use anyhow::Result;
use mlops_core::text::{bytes, table, time};
use mlops_oci::Digest;
use serde::Serialize;

use super::inventory::Inventory;
use super::names::names;
use super::used_by::UsedBy;
use crate::context::Context;
use crate::infra;

/// List the images in the project's repository, newest first
///
/// Shows the commit that each image was built from, and the model versions, endpoints and branches
/// that use it.
///
/// Example: mlops image list --output json
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// List the images that the repository's lifecycle policy, or the policy in FILE, would expire;
    /// removes nothing
    #[arg(long, value_name = "FILE", num_args = 0..=1)]
    #[expect(clippy::option_option, reason = "a flag with an optional value")]
    pub(super) lifecycle_preview: Option<Option<PathBuf>>,
}

/// The images of a repository.
#[derive(Debug, Serialize)]
pub struct ImageList {
    repository: String,
    images: Vec<Listing>,
    /// False without permission to read models and endpoints: `used_by` has only branches.
    users_known: bool,
    #[serde(skip)]
    push: String,
}

#[derive(Debug, Serialize)]
struct Listing {
    digest: Digest,
    tags: Vec<String>,
    /// Size of configuration and layers, in bytes.
    size: u64,
    pushed: Option<jiff::Timestamp>,
    /// The git commit that the image was built from, if a tag names one.
    commit: Option<String>,
    /// The indexes that reference the image.
    part_of: Vec<Digest>,
    /// The state of its scan, if it was scanned.
    scan: Option<String>,
    used_by: UsedBy,
}

pub(super) async fn run(ctx: &Context) -> Result<ImageList> {
    let project = ctx.project()?;
    let clients = ctx.aws_of(&project).await?;
    let platform = infra::platform(clients, &project).await?;
    let inventory = Inventory::read_permitted(ctx, clients, &project, &platform).await?;
    let images = inventory
        .images
        .iter()
        .map(|image| Listing {
            commit: image.commit().map(str::to_owned),
            part_of: inventory.part_of(image.digest),
            used_by: inventory.used_by(image.digest),
            digest: image.digest,
            tags: image.tags.clone(),
            size: image.size,
            pushed: image.pushed,
            scan: image.scan.clone(),
        })
        .collect();
    Ok(ImageList {
        images,
        users_known: inventory.users_known,
        repository: inventory.repository,
        push: ctx.command("image push"),
    })
}

impl fmt::Display for ImageList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.images.is_empty() {
            return writeln!(
                f,
                "{} has no image: push one with `{}`",
                self.repository, self.push
            );
        }
        let rows = self.images.iter().map(|image| {
            vec![
                image.digest.short(),
                bytes(image.size),
                image.pushed.map(time).unwrap_or_default(),
                image
                    .commit
                    .iter()
                    .flat_map(|c| c.chars().take(7))
                    .collect(),
                names(&image.tags, &image.part_of),
                image.used_by.brief(),
            ]
        });
        let header = ["DIGEST", "SIZE", "PUSHED", "COMMIT", "TAGS", "USED BY"];
        f.write_str(&table(&header, rows))
    }
}
