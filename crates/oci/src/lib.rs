//! Container images: what they are made of, and the push. Knows OCI and the distribution
//! protocol, not AWS.
//!
//! [`program::build`] makes an image of a program's files, [`build::layers`] one on a base with the
//! Python packages, [`engine::build`] lets a container engine build, [`analyzer::build`] makes one
//! of this very binary; [`source::open`] finds one that Docker or another builder made. All give an
//! [`Image`], whose large parts stay in files; [`push::push`] sends it.

#![warn(missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

pub mod analyzer;
mod archive;
pub mod base;
pub mod build;
pub mod cache;
mod compress;
#[cfg(feature = "fuzzing")]
pub mod decoders;
pub mod dependencies;
pub mod engine;
mod layer;
pub mod layout;
mod pieces;
pub mod pip;
mod process;
pub mod program;
pub mod push;
pub mod registry;
pub mod requirements;
pub mod save;
pub mod source;
mod store;

/// An image, ready to be pushed.
#[derive(Debug)]
pub struct Image {
    /// Manifests in the order in which a registry takes them: what an index names before the
    /// index; the last one is the image.
    manifests: Vec<Manifest>,
    /// What it was built on, where that is known.
    pub base: Option<String>,
    /// What its source names and a push leaves out, a sentence each.
    notes: Vec<String>,
    /// Removes the layers that were built for this push.
    scratch: Vec<tempfile::TempPath>,
}

/// A manifest and the blobs that it names.
#[derive(Debug)]
struct Manifest {
    /// `sha256:…`
    digest: String,
    media_type: String,
    bytes: Vec<u8>,
    blobs: Vec<Blob>,
}

/// A configuration or a layer.
#[derive(Debug)]
struct Blob {
    /// `sha256:…`
    digest: String,
    /// In bytes.
    size: u64,
    content: Content,
}

impl Blob {
    /// Its bytes, from the first one; nobody has checked their digest.
    fn reader(&self) -> io::Result<Box<dyn Read + '_>> {
        Ok(match &self.content {
            Content::Bytes(bytes) => Box::new(&bytes[..]),
            Content::File { path, offset } => {
                let mut file = File::open(path)?;
                file.seek(SeekFrom::Start(*offset))?;
                Box::new(file.take(self.size))
            }
            Content::Pieces(pieces) => Box::new(pieces.reader()?),
        })
    }

    /// The file that its bytes are first looked for in; for an error.
    fn place(&self) -> &Path {
        match &self.content {
            Content::Bytes(_) => Path::new("memory"),
            Content::File { path, .. } => path,
            Content::Pieces(pieces) => &pieces.source,
        }
    }
}

/// Where a blob's bytes are.
#[derive(Debug, Clone)]
enum Content {
    Bytes(Vec<u8>),
    /// As many bytes of a file as the blob's size says.
    File {
        path: PathBuf,
        /// Where they begin, in bytes.
        offset: u64,
    },
    /// What was compressed here: its digest is known to be right.
    Pieces(pieces::Pieces),
}

impl Content {
    /// A whole file.
    fn file(path: impl Into<PathBuf>) -> Self {
        Self::File {
            path: path.into(),
            offset: 0,
        }
    }
}

impl Image {
    /// The digest by which the image is pulled: `sha256:…`.
    pub fn digest(&self) -> &str {
        self.manifests
            .last()
            .map_or("", |manifest| manifest.digest.as_str())
    }

    /// The values that the configurations of its images have under a label.
    ///
    /// # Errors
    /// A configuration cannot be read.
    pub fn labels(&self, name: &str) -> io::Result<BTreeSet<String>> {
        let mut found = BTreeSet::new();
        for manifest in &self.manifests {
            let Ok(value) = serde_json::from_slice::<serde_json::Value>(&manifest.bytes) else {
                continue;
            };
            let config = value["config"]["digest"].as_str();
            let blob = manifest
                .blobs
                .iter()
                .find(|blob| Some(blob.digest.as_str()) == config);
            // Other artifacts may have anything for a configuration.
            if let Some(blob) = blob.filter(|blob| blob.size <= MAX_CONFIGURATION) {
                let mut bytes = Vec::new();
                blob.reader()?.read_to_end(&mut bytes)?;
                found.extend(label(&bytes, name));
            }
        }
        Ok(found)
    }

    /// The size of its blobs in bytes, each counted once.
    pub fn size(&self) -> u64 {
        let blobs: BTreeMap<_, _> = self
            .manifests
            .iter()
            .flat_map(|manifest| &manifest.blobs)
            .map(|blob| (&blob.digest, blob.size))
            .collect();
        blobs.values().sum()
    }
}

/// The largest configuration that is looked into, in bytes.
const MAX_CONFIGURATION: u64 = 4 << 20;

/// A label of a configuration.
fn label(configuration: &[u8], name: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(configuration).ok()?;
    Some(value["config"]["Labels"][name].as_str()?.to_owned())
}

/// The digest of bytes as OCI writes it.
fn digest_of(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};

    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}
