//! Reads archives of `docker save` and `podman save`: manifest.json lists the configuration and the
//! layers of each image. (Format: moby, image/spec/v1.2.md, "Combined Image JSON + Filesystem
//! Changeset Format".)

use std::io::Read;

use anyhow::{Context as _, Result, anyhow, bail};
use mlops_core::error::Hint;
use serde::Deserialize;
use tempfile::TempPath;

use super::draft::{Draft, Format, SourceLayer};
use super::name::{NamedImage, choose_by_name};
use crate::Digest;
use crate::archive::{Archive, Location};
use crate::layout::{BASE, MAX_LAYERS, MAX_MANIFEST};

/// One image of manifest.json.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default, deserialize_with = "or_nothing")]
    repo_tags: Vec<String>,
    #[serde(default, deserialize_with = "or_nothing")]
    layers: Vec<String>,
}

/// The parts of a configuration that a push needs.
#[derive(Debug, Deserialize)]
struct Configuration {
    rootfs: RootFs,
    #[serde(default)]
    config: Option<Runtime>,
}

#[derive(Debug, Deserialize)]
struct RootFs {
    #[serde(default, deserialize_with = "or_nothing")]
    diff_ids: Vec<Digest>,
}

#[derive(Debug, Deserialize)]
struct Runtime {
    #[serde(rename = "Labels", default)]
    labels: Option<std::collections::HashMap<String, String>>,
}

/// Go encodes an empty list as null.
fn or_nothing<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(
    from: D,
) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// Reads the image of an archive; `name` selects one of several.
pub(super) fn read(archive: &Archive, name: Option<&str>, scratch: Vec<TempPath>) -> Result<Draft> {
    let shown = archive.path().display().to_string();
    let all: Vec<Saved> = serde_json::from_slice(&archive.read("manifest.json", MAX_MANIFEST)?)
        .with_context(|| format!("cannot read manifest.json in {shown}"))?;
    let saved = choose(&shown, &all, name)?;
    let config = archive.read(&saved.config, MAX_MANIFEST)?;
    check_digest(&shown, &saved.config, &config)?;
    let configuration: Configuration = serde_json::from_slice(&config)
        .with_context(|| format!("cannot read the configuration {} in {shown}", saved.config))?;
    let diff_ids = configuration.rootfs.diff_ids;
    if saved.layers.len() != diff_ids.len() {
        bail!(
            "{shown} contains {} layers, but its configuration lists {}",
            saved.layers.len(),
            diff_ids.len()
        );
    }
    if diff_ids.len() > MAX_LAYERS {
        bail!("the image in {shown} has more than {MAX_LAYERS} layers");
    }
    let mut layers = Vec::new();
    for (name, diff_id) in saved.layers.iter().zip(diff_ids) {
        let place = archive.place(name)?;
        layers.push(SourceLayer {
            name: name.clone(),
            path: archive.path().to_owned(),
            format: sniff(archive, place)
                .with_context(|| format!("cannot read the layer {name} in {shown}"))?,
            place,
            diff_id,
        });
    }
    let base = configuration
        .config
        .and_then(|config| config.labels)
        .and_then(|mut labels| labels.remove(BASE));
    Ok(Draft::new(config, layers, base, scratch))
}

/// Returns the only image, or the one with this name. An image may have several entries, one per
/// name.
fn choose<'a>(shown: &str, all: &'a [Saved], name: Option<&str>) -> Result<&'a Saved> {
    let named: Vec<NamedImage<'a, &'a Saved>> = all
        .iter()
        .map(|saved| NamedImage {
            image: saved,
            names: saved.repo_tags.iter().map(String::as_str).collect(),
        })
        .collect();
    let found = choose_by_name(&named, name, |one, other| {
        one.config == other.config && one.layers == other.layers
    });
    if let [one] = found[..] {
        return Ok(one);
    }
    let tags: Vec<&str> = all
        .iter()
        .flat_map(|saved| &saved.repo_tags)
        .map(String::as_str)
        .collect();
    let error = match name {
        Some(name) => anyhow!("{shown} contains {} images `{name}`", found.len()),
        None => anyhow!("{shown} contains {} images, not one", found.len()),
    };
    Err(error).hint(if tags.is_empty() {
        "save only the image to push: docker save IMAGE > FILE".to_owned()
    } else {
        format!(
            "select the image to push with {shown}:NAME; the names are {}",
            tags.join(", ")
        )
    })
}

/// Verifies a file whose name is its digest.
fn check_digest(shown: &str, name: &str, bytes: &[u8]) -> Result<()> {
    let stem = name.rsplit('/').next().unwrap_or(name);
    let stem = stem.strip_suffix(".json").unwrap_or(stem);
    let found = Digest::of(bytes);
    if Digest::from_hex(stem).is_some_and(|named| named != found) {
        bail!("{name} in {shown} has the digest {found}");
    }
    Ok(())
}

/// Detects a layer's compression by its first bytes.
fn sniff(archive: &Archive, place: Location) -> Result<Format> {
    let mut start = Vec::new();
    archive.reader(place)?.take(6).read_to_end(&mut start)?;
    Ok(match &start[..] {
        [0x1f, 0x8b, ..] => Format::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Format::Zstd,
        [b'B', b'Z', b'h', ..] => {
            bail!("it is compressed with bzip2, which registries do not support")
        }
        [0xfd, b'7', b'z', b'X', b'Z', 0] => {
            bail!("it is compressed with xz, which registries do not support")
        }
        _ => Format::Plain,
    })
}
