//! Layers that no image needs any more, for the garbage collector: without a record their bytes are
//! nobody's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rusqlite::Transaction;

use super::manifests::{self, Manifest, sha256_of};
use super::{Layer, Repository, StoredImage, layers, repositories, uploads};
use crate::local::Cloud;
use crate::local::api::ApiResult;
use crate::local::clock;

/// How long a layer that no image needs is kept: its push may still be under way.
const PUSH: Duration = Duration::from_hours(24);

/// How long a layer is kept after the last image that needed it was deleted.
const RELEASED: Duration = Duration::from_mins(10);

/// The digests of all images of all repositories.
pub(crate) fn digests(cloud: &Cloud) -> ApiResult<BTreeSet<String>> {
    let all = repositories(cloud).list("")?;
    Ok(all
        .into_iter()
        .flat_map(|(_, repository)| repository.images.into_keys())
        .collect())
}

/// The files of uploads under way.
pub(crate) fn unfinished_uploads(cloud: &Cloud) -> ApiResult<Vec<PathBuf>> {
    uploads::files(cloud)
}

/// The configurations and layers that images consist of; `None` when a manifest cannot be read.
fn needed(cloud: &Cloud, images: &BTreeMap<String, StoredImage>) -> Option<BTreeSet<String>> {
    let mut needed = BTreeSet::new();
    for (digest, image) in images {
        let bytes = std::fs::read(cloud.blobs().path(sha256_of(digest)?)).ok()?;
        if let Manifest::Image(manifest) = manifests::read(&bytes, &image.media_type).ok()? {
            needed.extend(manifests::parts(&manifest).map(|part| part.digest().to_string()));
        }
    }
    Some(needed)
}

/// Notes which layers no image of a repository needs after some were removed. They are kept for
/// [`RELEASED`]: a client may put the same manifest again, without its layers.
pub(super) fn release(
    cloud: &Cloud,
    transaction: &Transaction<'_>,
    repository: &Repository,
    removed: &BTreeMap<String, StoredImage>,
) -> ApiResult<()> {
    // Where a manifest cannot be read, nothing is known to be needless.
    let (Some(gone), Some(needed)) = (needed(cloud, removed), needed(cloud, &repository.images))
    else {
        return Ok(());
    };
    for digest in gone.difference(&needed) {
        let key = format!("{}@{digest}", repository.name);
        if let Some(mut layer) = layers(cloud).get_in(transaction, &key)? {
            layer.released = Some(clock::epoch());
            layers(cloud).put_in(transaction, &key, &layer)?;
        }
    }
    Ok(())
}

/// Forgets the layers of images that were deleted long ago.
pub(crate) fn remove_released_layers(cloud: &Cloud) -> ApiResult<()> {
    let end = clock::epoch() - RELEASED.as_secs_f64();
    let is_due = |layer: &Layer| layer.released.is_some_and(|released| released < end);
    for (key, layer) in layers(cloud).list("")? {
        if !is_due(&layer) {
            continue;
        }
        cloud.store().transaction(|transaction| {
            // An image that needs the layer again, and its push, take the note back.
            let found = layers(cloud).get_in(transaction, &key)?;
            if found.as_ref().is_some_and(is_due) {
                layers(cloud).remove_in(transaction, &key)?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Forgets layers of repositories that are gone, of images that are gone, and those that were pushed
/// long ago and that no image needs. For the start only: no push may be under way.
pub(crate) fn remove_orphaned_layers(cloud: &Cloud) -> ApiResult<()> {
    let repositories: BTreeMap<_, _> = repositories(cloud).list("")?.into_iter().collect();
    let needed: BTreeMap<_, _> = repositories
        .iter()
        .map(|(name, repository)| (name, needed(cloud, &repository.images)))
        .collect();
    for (key, layer) in layers(cloud).list("")? {
        let Some((name, digest)) = key.split_once('@') else {
            continue;
        };
        let orphaned = match needed.get(&name.to_owned()) {
            None => true,
            Some(None) => false,
            Some(Some(needed)) => {
                !needed.contains(digest) && (layer.released.is_some() || is_old(cloud, digest))
            }
        };
        if orphaned {
            layers(cloud).remove(&key)?;
        }
    }
    Ok(())
}

/// True when the layer's bytes were stored long ago, or are gone.
fn is_old(cloud: &Cloud, digest: &str) -> bool {
    let path = cloud.blobs().path(sha256_of(digest).unwrap_or_default());
    let stored = path.metadata().and_then(|found| found.modified());
    let age = stored.map(|stored| SystemTime::now().duration_since(stored));
    // A time in the future says nothing about the age.
    age.is_ok_and(|age| age.is_ok_and(|age| age > PUSH))
}
