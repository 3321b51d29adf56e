//! Pulls a base from a registry and caches it by digest, so that a base given by digest needs no
//! registry the second time.

use anyhow::{Context as _, Result, bail};
use futures::{StreamExt, TryStreamExt};
use mlops_core::error::Failure;
use mlops_core::names::Platform;
use oci_spec::image::{ImageIndex, ImageManifest};
use serde_json::Value;

use super::super::cache::Cache;
use super::super::registry::{ImageReference, Registry, TagOrDigest};
use super::super::{Blob, Content, Digest, Image, Manifest};
use super::{Base, choose};

/// Maximum number of parallel downloads.
const AT_ONCE: usize = 4;

/// Pulls the image for a platform. `begin` receives the number of missing bytes, `advance` the number of
/// bytes as they arrive.
///
/// # Errors
/// The image does not exist or does not support the platform; or a blob cannot be read or does not
/// match its digest.
pub async fn pull(
    registry: &Registry,
    reference: &ImageReference,
    platform: Platform,
    cache: &Cache,
    begin: impl FnOnce(u64),
    advance: &(dyn Fn(u64) + Sync),
) -> Result<Base> {
    let name = reference.to_string();
    let repository = &reference.repository;
    let mut manifest = manifest(registry, repository, reference.target(), cache).await?;
    let value: Value = serde_json::from_slice(&manifest.bytes)?;
    if value.get("manifests").is_some() {
        let index = ImageIndex::from_reader(&manifest.bytes[..])
            .with_context(|| format!("cannot parse the index of {name}"))?;
        let chosen = choose(index.manifests(), platform).ok_or_else(|| {
            Failure::usage(format!("the base {name} has no image for {platform}"))
        })?;
        let digest = Digest::described(chosen)
            .with_context(|| format!("cannot parse the index of {name}"))?;
        manifest = self::manifest(registry, repository, digest.into(), cache).await?;
        if manifest.digest != digest {
            bail!("the registry returned {} for {digest}", manifest.digest);
        }
    }
    let read = ImageManifest::from_reader(&manifest.bytes[..]).with_context(|| {
        format!(
            "the manifest {} does not describe an image",
            manifest.digest
        )
    })?;
    let mut missing: Vec<(Digest, u64)> = Vec::new();
    for part in read.layers().iter().chain([read.config()]) {
        let digest = Digest::described(part)
            .with_context(|| format!("cannot parse the manifest {}", manifest.digest))?;
        let known = missing.iter().any(|(found, _)| *found == digest);
        if !known && !cache.has(digest, part.size()) {
            missing.push((digest, part.size()));
        }
        manifest.blobs.push(Blob {
            size: part.size(),
            content: Content::file(cache.blob(digest)),
            digest,
        });
    }
    begin(missing.iter().map(|(_, size)| size).sum());
    let workshop = cache.workshop()?;
    futures::stream::iter(missing)
        .map(|(digest, size)| {
            let into = workshop.path().join(digest.hex());
            async move {
                registry
                    .blob(repository, digest, size, &into, advance)
                    .await?;
                cache.adopt(&into, digest).map(drop)
            }
        })
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await
        .with_context(|| format!("cannot pull {name}"))?;
    Base::of(&Image::new(manifest), &name, platform)
}

/// Returns a manifest, from the cache if it is requested by digest.
async fn manifest(
    registry: &Registry,
    repository: &str,
    target: TagOrDigest<'_>,
    cache: &Cache,
) -> Result<Manifest> {
    if let TagOrDigest::Digest(digest) = target
        && let Ok(bytes) = std::fs::read(cache.blob(digest))
        && Digest::of(&bytes) == digest
    {
        return Ok(Manifest {
            digest,
            media_type: String::new(),
            bytes,
            blobs: Vec::new(),
        });
    }
    let fetched = registry.manifest(repository, target).await?;
    let workshop = cache.workshop()?;
    let file = workshop.path().join("manifest");
    std::fs::write(&file, &fetched.bytes)?;
    cache.adopt(&file, fetched.digest)?;
    Ok(Manifest {
        digest: fetched.digest,
        media_type: fetched.media_type,
        bytes: fetched.bytes,
        blobs: Vec::new(),
    })
}
