//! Pushes an image: blobs first, in parallel, each checked for existence before its upload; then
//! manifests by digest, children before the index; then a check of what the registry stored; tags
//! last. A failed push may leave untagged blobs behind, but does not change any tag.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use futures::{StreamExt, TryStreamExt, stream};
use mlops_core::names::ImageTag;

use super::registry::{Fetched, Registry, Stored, TagOrDigest};
use super::{Blob, Digest, Image, Manifest};

mod draft;

pub use draft::push_draft;

/// Maximum number of parallel uploads.
const PARALLEL: usize = 4;

/// The destination of an image.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The repository.
    pub repository: &'a str,
    /// The image's tags; without any, the image is only reachable by digest.
    pub tags: &'a [ImageTag],
    /// Other repositories of the registry to mount blobs from.
    pub mount_from: &'a [String],
}

/// Receives progress events of a push. Blobs are identified by digest.
pub trait Observer: Sync {
    /// The total size turned out to be different.
    fn expect(&self, bytes: u64);
    /// The upload of a blob of `size` bytes starts.
    fn begin(&self, blob: &str, size: u64);
    /// Number of bytes of a blob sent so far; decreases if bytes must be sent again.
    fn position(&self, blob: &str, bytes: u64);
    /// The registry has the blob.
    fn end(&self, blob: &str, size: u64);
}

/// Statistics of a push.
#[derive(Debug, Clone, Copy)]
pub struct Pushed {
    /// The image's digest.
    pub digest: Digest,
    /// Bytes of blobs and manifests that were uploaded.
    pub sent: u64,
    /// Bytes that were already in the registry.
    pub saved: u64,
    /// Bytes that the registry mounted from another repository.
    pub mounted: u64,
    /// Number of requests, including those for tokens.
    pub requests: u64,
}

impl Pushed {
    /// Statistics at the start of a push.
    fn new(digest: Digest) -> Self {
        Self {
            digest,
            sent: 0,
            saved: 0,
            mounted: 0,
            requests: 0,
        }
    }

    /// Counts a blob of `size` bytes.
    fn count(&mut self, size: u64, stored: &Stored) {
        match stored {
            Stored::Sent(sent) => self.sent += sent,
            Stored::Mounted => self.mounted += size,
            Stored::Found => self.saved += size,
        }
    }
}

/// Pushes an image. Existing blobs are not uploaded again, and a tag that already names this image is
/// not written.
///
/// # Errors
///
/// Any refusal of the registry, in its own words, with a hint if a tag is immutable; a blob whose
/// bytes do not match its digest, by name.
pub async fn push(
    registry: &Registry,
    target: &Target<'_>,
    image: &Image,
    observer: &dyn Observer,
) -> Result<Pushed> {
    let requests = registry.requests();
    let mut pushed = Pushed::new(image.digest());
    registry
        .request_access(target.repository, target.mount_from)
        .await;
    let before = current_digests(registry, target).await?;
    let named = before.contains(&Some(pushed.digest));
    if named || has(registry, target, pushed.digest).await? {
        pushed.saved = image.size();
        for blob in blobs(image.manifests()) {
            observer.end(&blob.digest.to_string(), blob.size);
        }
        registry
            .manifest(target.repository, pushed.digest.into())
            .await?;
    } else {
        upload(registry, target, image, observer, &mut pushed).await?;
    }
    set_tags(registry, target, image, &before, &mut pushed).await?;
    pushed.requests = registry.requests() - requests;
    Ok(pushed)
}

/// Returns the current digests of the tags.
async fn current_digests(registry: &Registry, target: &Target<'_>) -> Result<Vec<Option<Digest>>> {
    let mut found = Vec::new();
    for tag in target.tags {
        let digest = registry.manifest_digest(target.repository, tag.into());
        found.push(digest.await?);
    }
    Ok(found)
}

async fn has(registry: &Registry, target: &Target<'_>, digest: Digest) -> Result<bool> {
    let found = registry
        .manifest_digest(target.repository, digest.into())
        .await?;
    Ok(found == Some(digest))
}

/// Returns the blobs of manifests, each once, largest first because their uploads take longest.
fn blobs<'a>(manifests: impl Iterator<Item = &'a Manifest>) -> Vec<&'a Blob> {
    let unique: BTreeMap<_, _> = manifests
        .flat_map(|manifest| &manifest.blobs)
        .map(|blob| (blob.digest, blob))
        .collect();
    let mut blobs: Vec<_> = unique.into_values().collect();
    blobs.sort_by_key(|blob| std::cmp::Reverse(blob.size));
    blobs
}

/// Uploads the parts that the registry lacks, and reads every manifest back.
async fn upload(
    registry: &Registry,
    target: &Target<'_>,
    image: &Image,
    observer: &dyn Observer,
    pushed: &mut Pushed,
) -> Result<()> {
    let mut missing = Vec::new();
    for child in &image.members {
        if has(registry, target, child.digest).await? {
            for blob in &child.blobs {
                pushed.saved += blob.size;
                observer.end(&blob.digest.to_string(), blob.size);
            }
        } else {
            missing.push(child);
        }
    }
    missing.push(&image.root);
    let stored: Vec<_> = stream::iter(blobs(missing.iter().copied()))
        .map(|blob| async move {
            let stored = store(registry, target, blob, observer).await?;
            observer.end(&blob.digest.to_string(), blob.size);
            anyhow::Ok((blob.size, stored))
        })
        .buffer_unordered(PARALLEL)
        .try_collect()
        .await?;
    for (size, stored) in stored {
        pushed.count(size, &stored);
    }
    for manifest in missing {
        put(registry, target, manifest, manifest.digest.into(), pushed).await?;
        registry
            .manifest(target.repository, manifest.digest.into())
            .await
            .context("the registry stored a different image than was pushed")?;
    }
    Ok(())
}

/// Uploads one blob unless it exists.
async fn store(
    registry: &Registry,
    target: &Target<'_>,
    blob: &Blob,
    observer: &dyn Observer,
) -> Result<Stored> {
    if registry.has_blob(target.repository, blob.digest).await? {
        return Ok(Stored::Found);
    }
    let from = mount_source(registry, target, blob).await;
    let name = blob.digest.to_string();
    observer.begin(&name, blob.size);
    registry
        .store(target.repository, blob, from, &|bytes| {
            observer.position(&name, bytes);
        })
        .await
}

/// Returns the repository to mount a blob from. A single candidate is not checked first: a registry
/// that cannot mount opens an upload instead.
async fn mount_source<'a>(
    registry: &Registry,
    target: &Target<'a>,
    blob: &Blob,
) -> Option<&'a str> {
    if let [only] = target.mount_from {
        return Some(only);
    }
    for from in target.mount_from {
        // A repository without read access cannot be a source.
        if registry.has_blob(from, blob.digest).await.unwrap_or(false) {
            return Some(from);
        }
    }
    None
}

async fn put(
    registry: &Registry,
    target: &Target<'_>,
    manifest: &Manifest,
    reference: TagOrDigest<'_>,
    pushed: &mut Pushed,
) -> Result<()> {
    let (kind, bytes) = (&manifest.media_type, &manifest.bytes);
    registry
        .put_manifest(target.repository, kind, bytes, reference)
        .await?;
    pushed.sent += bytes.len() as u64;
    Ok(())
}

/// Sets the image's tags. Tags that name another image go first, because a registry may refuse to move
/// them; if one is refused, those already moved are moved back.
async fn set_tags(
    registry: &Registry,
    target: &Target<'_>,
    image: &Image,
    before: &[Option<Digest>],
    pushed: &mut Pushed,
) -> Result<()> {
    let manifest = &image.root;
    let mut tags: Vec<_> = target.tags.iter().zip(before).collect();
    tags.retain(|(_, found)| **found != Some(manifest.digest));
    tags.sort_by_key(|(_, found)| found.is_none());
    let mut moved: Vec<(&ImageTag, Fetched)> = Vec::new();
    for (index, (tag, found)) in tags.iter().enumerate() {
        // The last tag never has to be moved back.
        let old = match found {
            Some(old) if index + 1 < tags.len() => {
                Some(registry.manifest(target.repository, (*old).into()).await?)
            }
            _ => None,
        };
        let put = put(registry, target, manifest, (*tag).into(), pushed).await;
        if let Err(error) = put {
            let now = registry
                .manifest_digest(target.repository, (*tag).into())
                .await;
            // A concurrent push of the same image set the immutable tag first.
            if now.ok().flatten() != Some(manifest.digest) {
                return Err(restore(registry, target, moved, error).await);
            }
        }
        moved.extend(old.map(|old| (*tag, old)));
    }
    for (tag, _) in tags {
        let found = registry.manifest_digest(target.repository, tag.into());
        let found = found.await?;
        if found != Some(manifest.digest) {
            bail!(
                "the tag `{tag}` points to {} after the push of {}: another client is pushing to it",
                found.map_or_else(|| "nothing".to_owned(), |found| found.to_string()),
                manifest.digest
            );
        }
    }
    Ok(())
}

/// Moves tags back to their previous images, and reports where that fails.
async fn restore(
    registry: &Registry,
    target: &Target<'_>,
    moved: Vec<(&ImageTag, Fetched)>,
    mut error: anyhow::Error,
) -> anyhow::Error {
    for (tag, old) in moved {
        let back = registry
            .put_manifest(target.repository, &old.media_type, &old.bytes, tag.into())
            .await;
        if back.is_err() {
            error = error.context(format!(
                "the tag `{tag}` points to the new image and could not be moved back to {}",
                old.digest
            ));
        }
    }
    error
}
