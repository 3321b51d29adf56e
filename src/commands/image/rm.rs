//! `mlops image rm`: deletes unused images.

use std::collections::BTreeSet;

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};
use mlops_core::error::{Exit, Failure, Hint};
use mlops_oci::Digest;

use super::inventory::Inventory;
use super::removal::{Removal, RemovalItem, check, count};
use crate::aws::ecr::{self, Described};
use crate::context::Context;
use crate::infra;

/// Remove images from the project's repository
///
/// Removes an image with all its tags, and an index together with the images that only it
/// references. Images in use are never removed: those of model versions that are not rejected, of
/// runs in progress and of endpoints, and those that a branch pins or tags. Only branches in this
/// clone are considered, so fetch first. If an image that you name is in use, nothing is removed
/// and the exit code is 3; --untagged and --older-than skip such images.
///
/// Example: mlops image rm --untagged --older-than 30 --dry-run
#[derive(Debug, clap::Args)]
pub struct RmArgs {
    /// Tags, digests, or prefixes of digests
    #[arg(value_name = "REF", required_unless_present_any = ["untagged", "older_than"])]
    references: Vec<String>,
    /// Remove all images without a tag
    #[arg(long, conflicts_with = "references")]
    untagged: bool,
    /// Remove all images pushed more than this many days ago; with --untagged, only the untagged
    /// ones
    #[arg(long, value_name = "DAYS", conflicts_with = "references")]
    #[arg(value_parser = clap::value_parser!(i64).range(0..=36_500))]
    older_than: Option<i64>,
    /// Show what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(ctx: &Context, args: &RmArgs) -> Result<Removal> {
    let project = ctx.project()?;
    let clients = ctx.aws_for(&project).await?;
    let platform = infra::platform(clients, &project).await?;
    let inventory = Inventory::read(clients, &project, &platform).await?;
    let now = ctx.now();
    let mut removal = plan(&inventory, &requested(&inventory, args, now)?);
    if !args.references.is_empty() && !removal.kept.is_empty() {
        let lines = removal.kept.iter().map(|kept| {
            format!(
                "\n  {} is needed: {}",
                kept.digest.short(),
                kept.needed_by.join(", ")
            )
        });
        return Err(Failure::new(
            Exit::Refused,
            format!("nothing was removed:{}", lines.collect::<String>()),
        ))
        .hint("stop using these images first, or drop them from the command");
    }
    if args.dry_run || removal.removed.is_empty() {
        return Ok(removal);
    }
    ctx.progress.say(removal.to_string().trim_end());
    ctx.prompt.require(&format!(
        "Remove {} from {}?",
        count(removal.removed.len()),
        removal.repository
    ))?;
    // The prompt may have been open for a long time.
    let inventory = Inventory::read(clients, &project, &platform).await?;
    check(
        &removal,
        &plan(&inventory, &requested(&inventory, args, now)?),
    )?;
    // ECR keeps the images of an existing index, so delete the index first.
    let (indexes, images): (Vec<Digest>, Vec<Digest>) = removal
        .removed
        .iter()
        .map(|line| line.digest)
        .partition(|digest| inventory.children.contains_key(digest));
    ecr::remove(clients, &removal.repository, &indexes).await?;
    ecr::remove(clients, &removal.repository, &images).await?;
    removal.done = true;
    Ok(removal)
}

/// Returns the images named on the command line.
fn requested(inventory: &Inventory, args: &RmArgs, now: Timestamp) -> Result<BTreeSet<Digest>> {
    if !args.references.is_empty() {
        return args
            .references
            .iter()
            .map(|reference| {
                let image = ecr::choose(&inventory.images, &inventory.repository, reference)?;
                Ok(image.digest)
            })
            .collect();
    }
    let days = args.older_than.unwrap_or_default();
    let limit = now - SignedDuration::from_hours(24 * days);
    let old = |image: &&Described| {
        args.older_than.is_none() || image.pushed.is_some_and(|pushed| pushed < limit)
    };
    let untagged = |image: &&Described| !args.untagged || image.tags.is_empty();
    // Parts of an index are removed with it, and referrers (such as a signature) with their image.
    let by_itself = |image: &&Described| {
        let subject = image.subject.as_ref();
        let belongs = subject.is_some_and(|of| inventory.images.iter().any(|i| i.digest == *of));
        inventory.part_of(image.digest).is_empty() && !belongs
    };
    Ok(inventory
        .images
        .iter()
        .filter(old)
        .filter(untagged)
        .filter(by_itself)
        .map(|image| image.digest)
        .collect())
}

/// Decides which images to remove, along with those that only they reference, and which to keep.
fn plan(inventory: &Inventory, requested: &BTreeSet<Digest>) -> Removal {
    let needs = |digest: Digest, going: &BTreeSet<Digest>| {
        let mut needs = inventory.used_by(digest).needs();
        let indexes = inventory.part_of(digest).into_iter();
        let staying = indexes.filter(|index| !going.contains(index));
        needs.extend(staying.map(|index| format!("index {}", index.short())));
        needs
    };
    let mut going: BTreeSet<Digest> = requested
        .iter()
        .copied()
        .filter(|digest| needs(*digest, requested).is_empty())
        .collect();
    let tagged = |digest: Digest| {
        let mut images = inventory.images.iter();
        images.any(|image| image.digest == digest && !image.tags.is_empty())
    };
    let free: Vec<Digest> = going
        .iter()
        .filter_map(|digest| inventory.children.get(digest))
        .flatten()
        .copied()
        .filter(|part| !tagged(*part) && needs(*part, &going).is_empty())
        .collect();
    going.extend(free);
    let images = || inventory.images.iter();
    Removal {
        repository: inventory.repository.clone(),
        done: false,
        removed: images()
            .filter(|image| going.contains(&image.digest))
            .map(|image| RemovalItem::of(image, Vec::new()))
            .collect(),
        kept: images()
            .filter(|image| requested.contains(&image.digest) && !going.contains(&image.digest))
            .map(|image| RemovalItem::of(image, needs(image.digest, requested)))
            .collect(),
    }
}
