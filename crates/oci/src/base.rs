//! The base of a program's image: nothing (`scratch`), or an image, whose variant for the platform
//! is used with its configuration and layers unchanged.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use mlops_core::error::{Failure, Hint};
use mlops_core::names::{Platform, PythonVersion};
use oci_spec::image::{Descriptor, ImageIndex, ImageManifest, MediaType};
use serde_json::{Value, json};

use super::layer::Layer;
use super::{Blob, Digest, Image, MAX_CONFIGURATION, layout};

mod pull;

pub use pull::pull;

/// The name of the empty base.
pub const SCRATCH: &str = "scratch";

/// A base image.
#[derive(Debug)]
pub struct Base {
    /// Its name: `scratch`, a reference, or `oci:DIR`.
    pub name: String,
    /// The digest of the manifest for the platform.
    pub digest: Option<Digest>,
    pub(super) layers: Vec<Layer>,
    /// The image's configuration, unchanged.
    pub(super) configuration: Value,
}

impl Base {
    /// The empty base.
    pub fn scratch(platform: Platform) -> Self {
        Self {
            name: SCRATCH.to_owned(),
            digest: None,
            layers: Vec::new(),
            configuration: json!({ "architecture": platform.architecture(), "os": "linux" }),
        }
    }

    /// Opens an OCI layout directory, named as the user spelled it.
    ///
    /// # Errors
    /// The directory is not a layout, or has no image for the platform.
    pub fn from_layout(directory: &Path, name: &str, platform: Platform) -> Result<Self> {
        Self::of(&layout::read(directory)?, name, platform)
    }

    /// Wraps an image that was read or pulled.
    ///
    /// # Errors
    /// The image does not support the platform, or cannot be a base.
    pub(super) fn of(image: &Image, name: &str, platform: Platform) -> Result<Self> {
        let mut current = &image.root;
        loop {
            let value: Value = serde_json::from_slice(&current.bytes)
                .with_context(|| format!("the manifest {} is not JSON", current.digest))?;
            if value.get("manifests").is_none() {
                break;
            }
            let index = ImageIndex::from_reader(&current.bytes[..])?;
            let chosen = choose(index.manifests(), platform).ok_or_else(|| {
                Failure::usage(format!("the base {name} has no image for {platform}"))
            })?;
            let digest = Digest::described(chosen)?;
            if digest == current.digest {
                bail!("the index {digest} references itself");
            }
            current = image
                .manifests()
                .find(|manifest| manifest.digest == digest)
                .with_context(|| format!("the base {name} lacks the manifest {digest}"))?;
        }
        let manifest = ImageManifest::from_reader(&current.bytes[..]).with_context(|| {
            format!("the manifest {} does not describe an image", current.digest)
        })?;
        let blob = |part: &Descriptor| {
            let digest = Digest::described(part)?;
            current
                .blobs
                .iter()
                .find(|blob| blob.digest == digest)
                .with_context(|| format!("the base {name} lacks the blob {digest}"))
        };
        let configuration = configuration(blob(manifest.config())?)?;
        let architecture = configuration["architecture"].as_str().unwrap_or_default();
        if configuration["os"] != "linux" || architecture != platform.architecture() {
            return Err(Failure::usage(format!(
                "the base {name} is for {}/{architecture}, not for {platform}",
                configuration["os"].as_str().unwrap_or("an unknown system"),
            )))
            .hint("pass a different base, or a different --platform");
        }
        let diff_ids: Vec<Digest> =
            serde_json::from_value(configuration["rootfs"]["diff_ids"].clone()).with_context(
                || format!("cannot read `rootfs.diff_ids` in the configuration of the base {name}"),
            )?;
        if diff_ids.len() != manifest.layers().len() {
            bail!(
                "the base {name} has {} layers, but its configuration lists {}",
                manifest.layers().len(),
                diff_ids.len()
            );
        }
        let layers = manifest
            .layers()
            .iter()
            .zip(diff_ids)
            .map(|(layer, diff_id)| {
                let blob = blob(layer)?;
                Ok(Layer {
                    blob: Blob {
                        digest: blob.digest,
                        size: blob.size,
                        content: blob.content.clone(),
                    },
                    diff_id,
                    media_type: media_type(layer)?,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Self {
            name: name.to_owned(),
            digest: Some(current.digest),
            layers,
            configuration,
        })
    }

    /// Returns whether it has no files, so that a container engine cannot run an image built on it.
    pub fn is_scratch(&self) -> bool {
        self.layers.is_empty()
    }

    /// Returns the version of its Python, if its environment defines one, as in Docker's official
    /// images.
    pub fn python(&self) -> Option<PythonVersion> {
        let version = self.variable("PYTHON_VERSION")?;
        let mut parts = version.split('.');
        format!("{}.{}", parts.next()?, parts.next()?).parse().ok()
    }

    /// Returns a variable of its environment.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.configuration["config"]["Env"]
            .as_array()?
            .iter()
            .filter_map(Value::as_str)
            .filter_map(|pair| pair.split_once('='))
            .find(|(found, _)| *found == name)
            .map(|(_, value)| value)
    }
}

/// Returns the descriptor for a platform. Attestations and the like have the platform `unknown`.
pub(super) fn choose(manifests: &[Descriptor], platform: Platform) -> Option<&Descriptor> {
    manifests.iter().find(|found| {
        found.platform().as_ref().is_some_and(|found| {
            found.os().to_string() == "linux"
                && found.architecture().to_string() == platform.architecture()
        })
    })
}

/// Returns the layer's OCI media type. Docker's types differ only in name.
fn media_type(layer: &Descriptor) -> Result<MediaType> {
    Ok(match layer.media_type() {
        kind @ (MediaType::ImageLayer | MediaType::ImageLayerGzip | MediaType::ImageLayerZstd) => {
            kind.clone()
        }
        MediaType::Other(kind) if kind == "application/vnd.docker.image.rootfs.diff.tar.gzip" => {
            MediaType::ImageLayerGzip
        }
        MediaType::Other(kind) if kind == "application/vnd.docker.image.rootfs.diff.tar" => {
            MediaType::ImageLayer
        }
        kind => {
            return Err(anyhow!(
                "the base has a layer of the unsupported type {kind}"
            ))
            .hint("use a base with layers of the types tar, tar+gzip or tar+zstd");
        }
    })
}

fn configuration(blob: &Blob) -> Result<Value> {
    if blob.size > MAX_CONFIGURATION {
        bail!("the configuration {} is larger than 4 MiB", blob.digest);
    }
    let mut bytes = Vec::new();
    blob.reader()
        .and_then(|mut reader| reader.read_to_end(&mut bytes))
        .with_context(|| format!("cannot read {}", blob.place().display()))?;
    let digest = Digest::of(&bytes);
    if digest != blob.digest {
        bail!("the configuration {} has the digest {digest}", blob.digest);
    }
    let value: Value = serde_json::from_slice(&bytes)
        .with_context(|| format!("the configuration {digest} is not JSON"))?;
    if !value.is_object() || !(value["config"].is_object() || value["config"].is_null()) {
        bail!("the configuration {digest} does not describe an image");
    }
    Ok(value)
}
