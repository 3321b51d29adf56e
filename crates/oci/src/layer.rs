//! Writes layers and assembles images from them. Both are reproducible (sorted by the caller, time
//! 0, owner 0): the same files give the same digest on every machine.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::Path;

use anyhow::{Result, bail};
use flate2::Compression;
use flate2::write::GzEncoder;
use oci_spec::image::{
    Arch, Config, ImageConfigurationBuilder, ImageManifestBuilder, MediaType, Os, RootFsBuilder,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Blob, Content, Digest, Image, Manifest};

/// A layer in progress: a gzipped tar archive.
pub(super) struct Writer<W: Write> {
    archive: tar::Builder<Hashing<GzEncoder<Hashing<W>>>>,
}

/// A finished layer.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) blob: Blob,
    /// The digest of the archive before compression.
    pub(super) diff_id: Digest,
    pub(super) media_type: MediaType,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(inner: W, compression: Compression) -> Self {
        let gzip = GzEncoder::new(Hashing::new(inner), compression);
        Self {
            archive: tar::Builder::new(Hashing::new(gzip)),
        }
    }

    /// Adds a directory; its parents must have been added.
    pub(super) fn directory(&mut self, path: &Path, mode: u32) -> io::Result<()> {
        let mut header = header(tar::EntryType::Directory, mode, 0);
        self.archive.append_data(&mut header, path, io::empty())
    }

    /// Adds a symbolic link.
    pub(super) fn link(&mut self, path: &Path, target: &Path) -> io::Result<()> {
        let mut header = header(tar::EntryType::Symlink, 0o777, 0);
        self.archive.append_link(&mut header, path, target)
    }

    /// Adds a file of `size` bytes.
    ///
    /// # Errors
    /// The reader returns fewer bytes, or fails.
    pub(super) fn file(
        &mut self,
        path: &Path,
        mode: u32,
        size: u64,
        reader: impl Read,
    ) -> Result<()> {
        let mut header = header(tar::EntryType::Regular, mode, size);
        let mut reader = reader.take(size);
        self.archive.append_data(&mut header, path, &mut reader)?;
        if reader.limit() > 0 {
            bail!("the file was truncated while it was being read");
        }
        Ok(())
    }

    /// Finishes the archive; returns the writer, and a function that creates the layer.
    pub(super) fn finish(self) -> io::Result<(W, impl FnOnce(Content) -> Layer)> {
        let (gzip, diff_id, _) = self.archive.into_inner()?.finish();
        let (inner, digest, size) = gzip.finish()?.finish();
        let layer = move |content| Layer {
            blob: Blob {
                digest,
                size,
                content,
            },
            diff_id,
            media_type: MediaType::ImageLayerGzip,
        };
        Ok((inner, layer))
    }
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// The parts of an image.
pub(super) struct Parts {
    /// The layers, lowest first.
    pub(super) layers: Vec<Layer>,
    /// The image's configuration without `rootfs`.
    pub(super) configuration: Value,
    /// Annotations of the manifest.
    pub(super) annotations: BTreeMap<String, String>,
    /// The name of the base.
    pub(super) base: Option<String>,
    /// Temporary files of layers; they must live as long as the image.
    pub(super) scratch: Vec<tempfile::TempPath>,
}

/// Assembles an image from layers, lowest first. Its configuration contains no time.
pub(super) fn image(
    layers: Vec<Layer>,
    architecture: Arch,
    config: Config,
    scratch: Vec<tempfile::TempPath>,
) -> Result<Image> {
    let configuration = serde_json::to_value(
        ImageConfigurationBuilder::default()
            .architecture(architecture)
            .os(Os::Linux)
            .config(config)
            .rootfs(
                RootFsBuilder::default()
                    .typ("layers")
                    .diff_ids(Vec::<String>::new())
                    .build()?,
            )
            .build()?,
    )?;
    assemble(Parts {
        layers,
        configuration,
        annotations: BTreeMap::new(),
        base: None,
        scratch,
    })
}

/// Assembles an image. The same parts give the same bytes.
pub(super) fn assemble(parts: Parts) -> Result<Image> {
    let mut configuration = parts.configuration;
    let diff_ids: Vec<Digest> = parts.layers.iter().map(|layer| layer.diff_id).collect();
    configuration["rootfs"] = json!({ "type": "layers", "diff_ids": diff_ids });
    // Labels are an unordered map, but the same image must have the same bytes.
    configuration["config"]["Labels"].sort_all_objects();
    let config = Blob::of(serde_json::to_vec(&configuration)?);
    let described = parts
        .layers
        .iter()
        .map(|layer| layer.blob.descriptor(layer.media_type.clone()))
        .collect::<Result<Vec<_>>>()?;
    let manifest = ImageManifestBuilder::default()
        .schema_version(2_u32)
        .media_type(MediaType::ImageManifest)
        .config(config.descriptor(MediaType::ImageConfig)?)
        .layers(described)
        .build()?;
    let mut manifest = serde_json::to_value(&manifest)?;
    if !parts.annotations.is_empty() {
        manifest["annotations"] = serde_json::to_value(&parts.annotations)?;
    }
    let manifest = serde_json::to_vec(&manifest)?;
    let mut blobs: Vec<Blob> = parts.layers.into_iter().map(|layer| layer.blob).collect();
    blobs.push(config);
    Ok(Image {
        base: parts.base,
        scratch: parts.scratch,
        ..Image::new(Manifest {
            digest: Digest::of(&manifest),
            media_type: MediaType::ImageManifest.to_string(),
            bytes: manifest,
            blobs,
        })
    })
}

/// Forwards bytes, and counts and hashes them.
struct Hashing<W> {
    inner: W,
    hasher: Sha256,
    count: u64,
}

impl<W: Write> Hashing<W> {
    fn new(inner: W) -> Self {
        Self {
            inner,
            hasher: Sha256::new(),
            count: 0,
        }
    }

    /// Returns the writer, the digest and the number of bytes.
    fn finish(self) -> (W, Digest, u64) {
        (self.inner, self.hasher.into(), self.count)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.count += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
