//! Builds, reads and pushes container images. Implements OCI and the distribution protocol;
//! independent of AWS.
//!
//! [`program::build`] builds an image from a program's files, [`build::layers`] an image on a base
//! with Python packages, and [`analyzer::build`] an image of this binary; [`engine::build`] uses a
//! container engine; [`source::open`] opens an image that Docker or another builder wrote. All
//! return an [`Image`], whose large parts stay in files; [`push::push`] uploads it.

#![warn(missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use oci_spec::image::{Descriptor, MediaType};

pub mod analyzer;
mod archive;
pub mod base;
pub mod build;
pub mod cache;
mod compress;
mod compression;
#[cfg(feature = "fuzzing")]
pub mod decoders;
pub mod dependencies;
mod digest;
pub mod engine;
mod extents;
mod layer;
pub mod layout;
pub mod pip;
mod process;
pub mod program;
pub mod push;
pub mod registry;
pub mod requirements;
pub mod save;
pub mod source;
mod store;

pub use digest::{Digest, InvalidDigest};

/// An image, ready to be pushed.
#[derive(Debug)]
pub struct Image {
    /// The manifest or index by which the image is pulled.
    root: Manifest,
    /// The manifests that an index references, in upload order.
    members: Vec<Manifest>,
    /// Its base, if known.
    pub base: Option<String>,
    /// Parts of its source that a push skips, one sentence each.
    notes: Vec<String>,
    /// Temporary files, deleted when the image is dropped.
    scratch: Vec<tempfile::TempPath>,
}

/// A manifest and the blobs that it references.
#[derive(Debug)]
struct Manifest {
    digest: Digest,
    media_type: String,
    bytes: Vec<u8>,
    blobs: Vec<Blob>,
}

/// A configuration or a layer.
#[derive(Debug)]
struct Blob {
    digest: Digest,
    /// Size in bytes.
    size: u64,
    content: Content,
}

impl Blob {
    /// Creates a blob from bytes in memory.
    fn of(bytes: Vec<u8>) -> Self {
        Self {
            digest: Digest::of(&bytes),
            size: bytes.len() as u64,
            content: Content::Bytes(bytes),
        }
    }

    /// Returns its descriptor for a manifest.
    fn descriptor(&self, kind: MediaType) -> anyhow::Result<Descriptor> {
        let digest: oci_spec::image::Digest = self.digest.to_string().parse()?;
        Ok(Descriptor::new(kind, self.size, digest))
    }

    /// Reads its bytes from the start, without verifying the digest.
    fn reader(&self) -> io::Result<Box<dyn Read + '_>> {
        Ok(match &self.content {
            Content::Bytes(bytes) => Box::new(&bytes[..]),
            Content::File { path, offset } => {
                let mut file = File::open(path)?;
                file.seek(SeekFrom::Start(*offset))?;
                Box::new(file.take(self.size))
            }
            Content::Extents(extents) => Box::new(extents.reader()?),
        })
    }

    /// Returns the file with its bytes, for error messages.
    fn place(&self) -> &Path {
        match &self.content {
            Content::Bytes(_) => Path::new("memory"),
            Content::File { path, .. } => path,
            Content::Extents(extents) => &extents.source,
        }
    }
}

/// The location of a blob's bytes.
#[derive(Debug, Clone)]
enum Content {
    Bytes(Vec<u8>),
    /// A part of a file, as long as the blob's size.
    File {
        path: PathBuf,
        /// The offset in bytes.
        offset: u64,
    },
    /// A layer that was compressed by this program; its digest is known to be correct.
    Extents(extents::Extents),
}

impl Content {
    /// An entire file.
    fn file(path: impl Into<PathBuf>) -> Self {
        Self::File {
            path: path.into(),
            offset: 0,
        }
    }
}

impl Image {
    /// Creates an image of one manifest, without a base and notes.
    fn new(root: Manifest) -> Self {
        Self {
            root,
            members: Vec::new(),
            base: None,
            notes: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Returns the digest by which the image is pulled.
    pub fn digest(&self) -> Digest {
        self.root.digest
    }

    /// Returns all manifests in upload order: an index follows its members.
    fn manifests(&self) -> impl Iterator<Item = &Manifest> {
        self.members.iter().chain([&self.root])
    }

    /// Returns the values of a label in the configurations of its images.
    ///
    /// # Errors
    /// A configuration cannot be read.
    pub fn labels(&self, name: &str) -> io::Result<BTreeSet<String>> {
        let mut found = BTreeSet::new();
        for manifest in self.manifests() {
            let Ok(value) = serde_json::from_slice::<serde_json::Value>(&manifest.bytes) else {
                continue;
            };
            let config: Option<Digest> = value["config"]["digest"]
                .as_str()
                .and_then(|text| text.parse().ok());
            let blob = manifest
                .blobs
                .iter()
                .find(|blob| Some(blob.digest) == config);
            // Other artifacts can have any configuration.
            if let Some(blob) = blob.filter(|blob| blob.size <= MAX_CONFIGURATION) {
                let mut bytes = Vec::new();
                blob.reader()?.read_to_end(&mut bytes)?;
                found.extend(label(&bytes, name));
            }
        }
        Ok(found)
    }

    /// Returns the size of its blobs in bytes, each counted once.
    pub fn size(&self) -> u64 {
        let blobs: BTreeMap<_, _> = self
            .manifests()
            .flat_map(|manifest| &manifest.blobs)
            .map(|blob| (blob.digest, blob.size))
            .collect();
        blobs.values().sum()
    }
}

/// Maximum size of a configuration to parse, in bytes.
const MAX_CONFIGURATION: u64 = 4 << 20;

/// Returns a label of a configuration.
fn label(configuration: &[u8], name: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(configuration).ok()?;
    Some(value["config"]["Labels"][name].as_str()?.to_owned())
}
