//! `mlops image show`: one image, and its users.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Result;
use mlops_core::text::{bytes, clean, table, time};
use mlops_oci::Digest;
use serde::Serialize;

use super::inventory::Inventory;
use super::used_by::UsedBy;
use crate::aws::branch_image;
use crate::aws::ecr::{self, content};
use crate::context::Context;
use crate::infra;

/// Show an image: platforms, layers, labels, scan and users
///
/// REF is a tag, a digest, or a prefix of a digest; the default is the image that `mlops train`
/// would use on the current branch.
///
/// Example: mlops image show develop
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// A tag, a digest, or a prefix of a digest [default: the branch's image]
    #[arg(value_name = "REF")]
    reference: Option<String>,
}

/// One image.
#[derive(Debug, Serialize)]
pub struct ImageDetails {
    repository: String,
    digest: Digest,
    tags: Vec<String>,
    /// Why this is the branch's image, if no REF was given.
    why: Option<String>,
    media_type: Option<String>,
    /// Size of configuration and layers, in bytes.
    size: u64,
    pushed: Option<jiff::Timestamp>,
    /// The git commit that the image was built from, if a tag names one.
    commit: Option<String>,
    /// The indexes that reference the image.
    part_of: Vec<Digest>,
    /// The subject of the image, as a signature refers to its image.
    subject: Option<Digest>,
    /// The state of its scan, if it was scanned.
    scan: Option<String>,
    used_by: UsedBy,
    /// False without permission to read models and endpoints: `used_by` has only branches.
    users_known: bool,
    platforms: Vec<PlatformView>,
}

/// The image for one platform.
#[derive(Debug, Serialize)]
struct PlatformView {
    platform: String,
    digest: Digest,
    created: Option<String>,
    base: Option<String>,
    entrypoint: Vec<String>,
    labels: BTreeMap<String, String>,
    layers: Vec<LayerView>,
}

#[derive(Debug, Serialize)]
struct LayerView {
    digest: Digest,
    /// Compressed size in bytes.
    size: u64,
    media_type: String,
}

pub(super) async fn run(ctx: &Context, args: &ShowArgs) -> Result<ImageDetails> {
    let project = ctx.project()?;
    let clients = ctx.aws_of(&project).await?;
    let platform = infra::platform(clients, &project).await?;
    let (reference, why) = if let Some(reference) = &args.reference {
        (reference.clone(), None)
    } else {
        let image = branch_image::of_checkout(
            clients,
            &project,
            &platform.image_repository,
            &platform.model_package_group,
        )
        .await?;
        (image.digest.to_string(), Some(image.why.to_string()))
    };
    let inventory = Inventory::read_permitted(ctx, clients, &project, &platform).await?;
    let image = ecr::choose(&inventory.images, &inventory.repository, &reference)?;
    let platforms = content::platforms(clients, &inventory.repository, image).await?;
    Ok(ImageDetails {
        repository: inventory.repository.clone(),
        digest: image.digest,
        tags: image.tags.clone(),
        why,
        media_type: image.media_type.clone(),
        size: image.size,
        pushed: image.pushed,
        commit: image.commit().map(str::to_owned),
        part_of: inventory.part_of(image.digest),
        subject: image.subject,
        scan: image.scan.clone(),
        used_by: inventory.used_by(image.digest),
        users_known: inventory.users_known,
        platforms: platforms.into_iter().map(PlatformView::from).collect(),
    })
}

impl From<content::PlatformImage> for PlatformView {
    fn from(platform: content::PlatformImage) -> Self {
        let layers = platform.layers.into_iter().map(|layer| LayerView {
            digest: layer.digest,
            size: layer.size,
            media_type: layer.media_type,
        });
        Self {
            platform: platform.platform,
            digest: platform.digest,
            created: platform.created,
            base: platform.base,
            entrypoint: platform.entrypoint,
            labels: platform.labels,
            layers: layers.collect(),
        }
    }
}

/// Formats a label and its text, without control bytes.
fn line(f: &mut fmt::Formatter<'_>, label: &str, text: &str) -> fmt::Result {
    writeln!(f, "{label:11}{}", clean(text).replace('\n', " "))
}

impl fmt::Display for ImageDetails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        line(f, "image", &self.repository)?;
        line(f, "digest", &self.digest.to_string())?;
        if let Some(why) = &self.why {
            line(f, "", why)?;
        }
        if !self.tags.is_empty() {
            line(f, "tags", &self.tags.join(", "))?;
        }
        line(f, "size", &bytes(self.size))?;
        if let Some(pushed) = self.pushed {
            line(f, "pushed", &time(pushed))?;
        }
        let subject = self.subject.map(|digest| digest.to_string());
        for (label, value) in [("commit", &self.commit), ("refers to", &subject)] {
            if let Some(value) = value {
                line(f, label, value)?;
            }
        }
        for index in &self.part_of {
            line(f, "part of", &index.to_string())?;
        }
        line(f, "scan", self.scan.as_deref().unwrap_or("none"))?;
        let mut needs = self.used_by.needs();
        if !self.users_known {
            needs.push("models and endpoints: unknown".to_owned());
        } else if needs.is_empty() {
            needs.push("nothing".to_owned());
        }
        line(f, "used by", &needs.join(", "))?;
        self.platforms
            .iter()
            .try_for_each(|platform| platform.fmt(f))
    }
}

impl fmt::Display for PlatformView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f)?;
        line(f, "platform", &self.platform)?;
        line(f, "manifest", &self.digest.to_string())?;
        if let Some(created) = &self.created {
            line(f, "created", created)?;
        }
        line(f, "base", self.base.as_deref().unwrap_or("not recorded"))?;
        if !self.entrypoint.is_empty() {
            line(f, "runs", &self.entrypoint.join(" "))?;
        }
        for (name, value) in &self.labels {
            line(f, "label", &format!("{name}={value}"))?;
        }
        let rows = self.layers.iter().map(|layer| {
            let kind = layer.media_type.rsplit('.').next().unwrap_or_default();
            vec![layer.digest.short(), bytes(layer.size), kind.to_owned()]
        });
        f.write_str(&table(&["LAYER", "SIZE", "KIND"], rows))
    }
}
