//! The push: blobs first, in parallel, each asked for before it is sent; then manifests by their
//! digests, children before the index; then a look at what the registry has; tags last. What fails
//! on the way leaves blobs without a name behind and every tag as it was.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use futures::{StreamExt, TryStreamExt, stream};
use mlops_core::names::ImageTag;

use super::registry::{Fetched, Registry, Stored};
use super::{Blob, Image, Manifest};

mod draft;

pub use draft::push_draft;

/// How many blobs are on their way at once.
const PARALLEL: usize = 4;

/// Where an image goes.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The repository.
    pub repository: &'a str,
    /// What names the image there; without any it has its digest only.
    pub tags: &'a [ImageTag],
    /// Other repositories of the registry that may have some of the blobs.
    pub mount_from: &'a [String],
}

/// Hears how a push goes on. Blobs are named by their digests.
pub trait Observer: Sync {
    /// The whole has so many bytes, other than was thought.
    fn expect(&self, bytes: u64);
    /// A blob of `size` bytes starts to be sent.
    fn begin(&self, blob: &str, size: u64);
    /// So many of its bytes have left; fewer than before when they must be sent again.
    fn position(&self, blob: &str, bytes: u64);
    /// The registry has it.
    fn end(&self, blob: &str, size: u64);
}

/// What a push did.
#[derive(Debug, Default)]
pub struct Pushed {
    /// The image's digest.
    pub digest: String,
    /// Bytes of blobs and manifests that went over the wire.
    pub sent: u64,
    /// Bytes that the registry had already.
    pub saved: u64,
    /// Bytes that the registry took over from another repository.
    pub mounted: u64,
    /// Requests, those for tokens among them.
    pub requests: u64,
}

impl Pushed {
    /// Counts a blob of `size` bytes.
    fn count(&mut self, size: u64, stored: &Stored) {
        match stored {
            Stored::Sent(sent) => self.sent += sent,
            Stored::Mounted => self.mounted += size,
            Stored::Found => self.saved += size,
        }
    }
}

/// Pushes an image. What the registry has is not sent again; a tag that names this image already
/// is left alone.
///
/// # Errors
///
/// Any refusal of the registry, in its own words; a tag that may not move has a hint. A blob whose
/// bytes do not have its digest is named.
pub async fn push(
    registry: &Registry,
    target: &Target<'_>,
    image: &Image,
    observer: &dyn Observer,
) -> Result<Pushed> {
    let requests = registry.requests();
    let mut pushed = Pushed {
        digest: image.digest().to_owned(),
        ..Pushed::default()
    };
    registry.wants(target.repository, target.mount_from).await;
    let before = tagged(registry, target).await?;
    let named = before
        .iter()
        .any(|found| found.as_ref() == Some(&pushed.digest));
    if named || has(registry, target, &pushed.digest).await? {
        pushed.saved = image.size();
        for blob in blobs(image.manifests.iter()) {
            observer.end(&blob.digest, blob.size);
        }
        registry.manifest(target.repository, &pushed.digest).await?;
    } else {
        upload(registry, target, image, observer, &mut pushed).await?;
    }
    name(registry, target, image, &before, &mut pushed).await?;
    pushed.requests = registry.requests() - requests;
    Ok(pushed)
}

/// The digests that the tags have now.
async fn tagged(registry: &Registry, target: &Target<'_>) -> Result<Vec<Option<String>>> {
    let mut found = Vec::new();
    for tag in target.tags {
        let digest = registry.manifest_digest(target.repository, tag.as_str());
        found.push(digest.await?);
    }
    Ok(found)
}

async fn has(registry: &Registry, target: &Target<'_>, digest: &str) -> Result<bool> {
    let found = registry.manifest_digest(target.repository, digest).await?;
    Ok(found.as_deref() == Some(digest))
}

/// The blobs of manifests, each once, the largest first: what takes longest begins first.
fn blobs<'a>(manifests: impl Iterator<Item = &'a Manifest>) -> Vec<&'a Blob> {
    let unique: BTreeMap<_, _> = manifests
        .flat_map(|manifest| &manifest.blobs)
        .map(|blob| (&blob.digest, blob))
        .collect();
    let mut blobs: Vec<_> = unique.into_values().collect();
    blobs.sort_by_key(|blob| std::cmp::Reverse(blob.size));
    blobs
}

/// Sends what the registry does not have of an image, and reads every manifest back.
async fn upload(
    registry: &Registry,
    target: &Target<'_>,
    image: &Image,
    observer: &dyn Observer,
    pushed: &mut Pushed,
) -> Result<()> {
    let (root, children) = image.manifests.split_last().context("the image is empty")?;
    let mut missing = Vec::new();
    for child in children {
        if has(registry, target, &child.digest).await? {
            for blob in &child.blobs {
                pushed.saved += blob.size;
                observer.end(&blob.digest, blob.size);
            }
        } else {
            missing.push(child);
        }
    }
    missing.push(root);
    let stored: Vec<_> = stream::iter(blobs(missing.iter().copied()))
        .map(|blob| async move {
            let stored = store(registry, target, blob, observer).await?;
            observer.end(&blob.digest, blob.size);
            anyhow::Ok((blob.size, stored))
        })
        .buffer_unordered(PARALLEL)
        .try_collect()
        .await?;
    for (size, stored) in stored {
        pushed.count(size, &stored);
    }
    for manifest in missing {
        put(registry, target, manifest, &manifest.digest, pushed).await?;
        registry
            .manifest(target.repository, &manifest.digest)
            .await
            .context("the image is not what was pushed")?;
    }
    Ok(())
}

/// Brings one blob to the registry, unless it is there.
async fn store(
    registry: &Registry,
    target: &Target<'_>,
    blob: &Blob,
    observer: &dyn Observer,
) -> Result<Stored> {
    if registry.has_blob(target.repository, &blob.digest).await? {
        return Ok(Stored::Found);
    }
    let from = source(registry, target, blob).await;
    observer.begin(&blob.digest, blob.size);
    registry
        .store(target.repository, blob, from, &|bytes| {
            observer.position(&blob.digest, bytes);
        })
        .await
}

/// The repository to take a blob from. The only one is not asked first: a registry that cannot
/// mount from it opens an upload instead.
async fn source<'a>(registry: &Registry, target: &Target<'a>, blob: &Blob) -> Option<&'a str> {
    if let [only] = target.mount_from {
        return Some(only);
    }
    for from in target.mount_from {
        // A repository that may not be read has nothing for us.
        if registry.has_blob(from, &blob.digest).await.unwrap_or(false) {
            return Some(from);
        }
    }
    None
}

async fn put(
    registry: &Registry,
    target: &Target<'_>,
    manifest: &Manifest,
    reference: &str,
    pushed: &mut Pushed,
) -> Result<()> {
    let (kind, bytes) = (&manifest.media_type, &manifest.bytes);
    registry
        .put_manifest(target.repository, kind, bytes, reference)
        .await?;
    pushed.sent += bytes.len() as u64;
    Ok(())
}

/// Gives the image its tags. Those that name another image go first, as a registry may refuse to
/// move them; when one is refused, those that were moved are moved back.
async fn name(
    registry: &Registry,
    target: &Target<'_>,
    image: &Image,
    before: &[Option<String>],
    pushed: &mut Pushed,
) -> Result<()> {
    let Some(manifest) = image.manifests.last() else {
        bail!("the image is empty");
    };
    let mut tags: Vec<_> = target.tags.iter().zip(before).collect();
    tags.retain(|(_, found)| found.as_ref() != Some(&manifest.digest));
    tags.sort_by_key(|(_, found)| found.is_none());
    let mut moved: Vec<(&ImageTag, Fetched)> = Vec::new();
    for (index, (tag, found)) in tags.iter().enumerate() {
        // The last one needs no way back.
        let old = match found {
            Some(old) if index + 1 < tags.len() => {
                Some(registry.manifest(target.repository, old).await?)
            }
            _ => None,
        };
        let put = put(registry, target, manifest, tag.as_str(), pushed).await;
        if let Err(error) = put {
            let now = registry
                .manifest_digest(target.repository, tag.as_str())
                .await;
            // Another push of the same image was faster, and the tag does not move.
            if now.ok().flatten().as_ref() != Some(&manifest.digest) {
                return Err(restore(registry, target, moved, error).await);
            }
        }
        moved.extend(old.map(|old| (*tag, old)));
    }
    for (tag, _) in tags {
        let found = registry.manifest_digest(target.repository, tag.as_str());
        let found = found.await?;
        if found.as_ref() != Some(&manifest.digest) {
            bail!(
                "the tag `{tag}` names {} after the push of {}: somebody else pushes to it",
                found.as_deref().unwrap_or("nothing"),
                manifest.digest
            );
        }
    }
    Ok(())
}

/// Moves tags back to what they named, and says so where that fails.
async fn restore(
    registry: &Registry,
    target: &Target<'_>,
    moved: Vec<(&ImageTag, Fetched)>,
    mut error: anyhow::Error,
) -> anyhow::Error {
    for (tag, old) in moved {
        let back = registry
            .put_manifest(target.repository, &old.media_type, &old.bytes, tag.as_str())
            .await;
        if back.is_err() {
            error = error.context(format!(
                "the tag `{tag}` names the new image and could not be moved back to {}",
                old.digest
            ));
        }
    }
    error
}
