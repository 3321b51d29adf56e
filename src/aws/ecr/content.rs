//! Reads the contents of an image from ECR: its manifests and configurations.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, anyhow, bail};
use aws_sdk_ecr::types::ImageIdentifier;
use mlops_oci::{Digest, registry};
use oci_spec::image::{Descriptor, ImageIndex, ImageManifest};
use serde::Deserialize;

use super::{Described, identifier, parse_digest};
use crate::aws::{AwsResultExt, Clients, Missing};

/// Maximum size in bytes of a configuration to read.
const MAX_CONFIG: u64 = 16 << 20;

/// The annotations and labels that name the base image (OCI: pre-defined annotation keys).
const BASE_NAME: &str = "org.opencontainers.image.base.name";
const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";

/// The image for one platform.
#[derive(Debug, Clone)]
pub struct PlatformImage {
    /// Digest of its manifest.
    pub digest: Digest,
    /// `linux/amd64`; from the index for entries of an index, otherwise from the configuration.
    pub platform: String,
    /// The layers, bottom first.
    pub layers: Vec<StoredLayer>,
    /// When it was built, according to its configuration.
    pub created: Option<String>,
    /// The labels of its configuration.
    pub labels: BTreeMap<String, String>,
    /// The base image, if the manifest or its labels name one.
    pub base: Option<String>,
    /// The command that it runs.
    pub entrypoint: Vec<String>,
}

/// A layer.
#[derive(Debug, Clone)]
pub struct StoredLayer {
    /// Digest of its compressed bytes.
    pub digest: Digest,
    /// Compressed size in bytes.
    pub size: u64,
    /// The media type, which includes the compression.
    pub media_type: String,
}

/// The part of an image configuration that is reported.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Configuration {
    architecture: String,
    os: String,
    variant: Option<String>,
    created: Option<String>,
    config: Option<Process>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Process {
    labels: Option<BTreeMap<String, String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
}

/// Reads the manifests with these digests, by digest; skips missing ones.
async fn manifests(
    clients: &Clients,
    repository: &str,
    digests: &[Digest],
) -> Result<BTreeMap<Digest, String>> {
    let mut found = BTreeMap::new();
    // Maximum number of manifests per call.
    for part in digests.chunks(100) {
        let ids = part.iter().copied().map(identifier);
        let answer = clients
            .ecr
            .batch_get_image()
            .repository_name(repository)
            .set_image_ids(Some(ids.collect()))
            .send()
            .await
            .aws(format!("cannot read manifests of `{repository}`"))?;
        for image in answer.images() {
            let digest = image.image_id().and_then(|id| id.image_digest());
            if let (Some(digest), Some(text)) = (digest, image.image_manifest()) {
                let digest = parse_digest(digest)?;
                check(digest, text.as_bytes())?;
                found.insert(digest, text.to_owned());
            }
        }
    }
    Ok(found)
}

/// Returns the manifest of an image as the registry has it, unverified; `None` if the image does not exist.
pub async fn image_manifest(
    clients: &Clients,
    repository: &str,
    digest: &str,
) -> Result<Option<String>> {
    let answer = clients
        .ecr
        .batch_get_image()
        .repository_name(repository)
        .image_ids(ImageIdentifier::builder().image_digest(digest).build())
        .send()
        .await
        .aws_if_found(
            format!("cannot read a manifest of `{repository}`"),
            Missing::Repository,
        )?;
    let image = answer.and_then(|answer| answer.images?.into_iter().next());
    Ok(image.and_then(|image| image.image_manifest))
}

/// Verifies content against its digest.
fn check(digest: Digest, bytes: &[u8]) -> Result<()> {
    let found = Digest::of(bytes);
    if found == digest {
        return Ok(());
    }
    Err(anyhow!(
        "the registry returned the wrong content for {digest}: its digest is {found}"
    ))
}

/// Returns the images that each index among `images` references.
pub async fn children(
    clients: &Clients,
    repository: &str,
    images: &[Described],
) -> Result<BTreeMap<Digest, Vec<Digest>>> {
    let indexes: Vec<Digest> = images
        .iter()
        .filter(|image| image.is_index())
        .map(|image| image.digest)
        .collect();
    manifests(clients, repository, &indexes)
        .await?
        .into_iter()
        .map(|(digest, text)| {
            let index = index(digest, &text)?;
            Ok((digest, members(digest, &index)?))
        })
        .collect()
}

fn index(digest: Digest, text: &str) -> Result<ImageIndex> {
    ImageIndex::from_reader(text.as_bytes())
        .with_context(|| format!("cannot read the index {digest}"))
}

/// Returns the manifests that an index references.
fn members(digest: Digest, index: &ImageIndex) -> Result<Vec<Digest>> {
    let members = index.manifests().iter().map(Digest::described);
    members
        .collect::<Result<_, _>>()
        .with_context(|| format!("cannot read the index {digest}"))
}

/// Returns the image of each platform; an image that is not an index has one.
pub async fn platforms(
    clients: &Clients,
    repository: &str,
    image: &Described,
) -> Result<Vec<PlatformImage>> {
    let digest = image.digest;
    let mut texts = manifests(clients, repository, &[digest]).await?;
    let text = texts
        .remove(&digest)
        .with_context(|| format!("ECR has no manifest {digest}"))?;
    if !image.is_index() {
        return Ok(vec![
            platform(clients, repository, digest, &text, None).await?,
        ]);
    }
    let index = index(digest, &text)?;
    let digests = members(digest, &index)?;
    let texts = manifests(clients, repository, &digests).await?;
    let mut found = Vec::new();
    for (child, digest) in index.manifests().iter().zip(digests) {
        let text = texts
            .get(&digest)
            .with_context(|| format!("ECR has no manifest {digest}, which the index references"))?;
        found.push(platform(clients, repository, digest, text, Some(child)).await?);
    }
    Ok(found)
}

async fn platform(
    clients: &Clients,
    repository: &str,
    digest: Digest,
    text: &str,
    entry: Option<&Descriptor>,
) -> Result<PlatformImage> {
    let manifest = ImageManifest::from_reader(text.as_bytes())
        .with_context(|| format!("cannot read the manifest {digest}"))?;
    let config = configuration(clients, repository, manifest.config()).await?;
    let process = config.config.unwrap_or_default();
    let labels = process.labels.unwrap_or_default();
    let annotations = manifest.annotations().as_ref();
    let named = |key: &str| {
        let annotation = annotations.and_then(|found| found.get(key));
        annotation.or_else(|| labels.get(key)).cloned()
    };
    let base = match (named(BASE_NAME), named(BASE_DIGEST)) {
        (Some(name), Some(digest)) if !name.contains('@') => Some(format!("{name}@{digest}")),
        (name, digest) => name.or(digest),
    };
    let platform = match entry.and_then(|entry| entry.platform().as_ref()) {
        Some(platform) => name(
            &platform.os().to_string(),
            &platform.architecture().to_string(),
            platform.variant().as_deref(),
        ),
        None => name(&config.os, &config.architecture, config.variant.as_deref()),
    };
    let entrypoint = process.entrypoint.into_iter().chain(process.cmd).flatten();
    let layers = manifest.layers().iter().map(|layer| {
        Ok(StoredLayer {
            digest: Digest::described(layer)?,
            size: layer.size(),
            media_type: layer.media_type().to_string(),
        })
    });
    let layers = layers
        .collect::<Result<_>>()
        .with_context(|| format!("cannot read the manifest {digest}"))?;
    Ok(PlatformImage {
        digest,
        platform,
        layers,
        created: config.created,
        base,
        entrypoint: entrypoint.collect(),
        labels,
    })
}

fn name(os: &str, architecture: &str, variant: Option<&str>) -> String {
    match (os, architecture, variant) {
        ("", "", _) => "not recorded".to_owned(),
        (os, architecture, None) => format!("{os}/{architecture}"),
        (os, architecture, Some(variant)) => format!("{os}/{architecture}/{variant}"),
    }
}

/// Reads a configuration. An artifact that is not an image has nothing to report.
async fn configuration(
    clients: &Clients,
    repository: &str,
    config: &Descriptor,
) -> Result<Configuration> {
    let media_type = config.media_type().to_string();
    let of_an_image = matches!(
        media_type.as_str(),
        "application/vnd.oci.image.config.v1+json"
            | "application/vnd.docker.container.image.v1+json"
    );
    if !of_an_image {
        return Ok(Configuration::default());
    }
    let digest = Digest::described(config).context("cannot parse a manifest")?;
    if config.size() > MAX_CONFIG {
        bail!("the configuration {digest} has {} bytes", config.size());
    }
    let answer = clients
        .ecr
        .get_download_url_for_layer()
        .repository_name(repository)
        .layer_digest(digest.to_string())
        .send()
        .await
        .aws(format!("cannot read the configuration {digest}"))?;
    let url = answer
        .download_url()
        .context("ECR returned no download URL")?;
    // The URL is signed, so errors must not repeat it.
    let doing = || format!("cannot read the configuration {digest}");
    let bytes = registry::download(url, config.size(), clients.network())
        .await
        .with_context(doing)?;
    check(digest, &bytes)?;
    serde_json::from_slice(&bytes)
        .with_context(|| format!("cannot read the configuration {digest}"))
}
