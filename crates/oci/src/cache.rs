//! A persistent cache of image parts: blobs by digest, and records that reference them. Deleting
//! the directory costs only time.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use mlops_core::directory;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::{NamedTempFile, TempDir};

use super::Digest;

/// The cache of blobs.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// Returns the cache in this directory, which is created on first use.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the path of a blob, whether or not it exists.
    pub(super) fn blob(&self, digest: Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.hex())
    }

    /// Creates a temporary file for a blob, on the blobs' file system.
    pub(super) fn begin(&self) -> Result<NamedTempFile> {
        let directory = self.root.join("blobs/sha256");
        directory::create(&directory)?;
        tempfile::Builder::new()
            .prefix(".begun-")
            .tempfile_in(&directory)
            .map_err(|error| directory::refused("cannot write to", &directory, &error))
    }

    /// Creates a temporary directory for files that become blobs, on the blobs' file system.
    pub(super) fn workshop(&self) -> Result<TempDir> {
        let directory = self.root.join("blobs/sha256");
        directory::create(&directory)?;
        tempfile::Builder::new()
            .prefix(".begun-")
            .tempdir_in(&directory)
            .map_err(|error| directory::refused("cannot write to", &directory, &error))
    }

    /// Moves a file of a temporary directory into the cache; its digest was verified.
    pub(super) fn adopt(&self, file: &Path, digest: Digest) -> Result<PathBuf> {
        let path = self.blob(digest);
        publish(file)?;
        std::fs::rename(file, &path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Returns whether a blob of this size exists.
    pub(super) fn has(&self, digest: Digest, size: u64) -> bool {
        std::fs::metadata(self.blob(digest)).is_ok_and(|file| file.is_file() && file.len() == size)
    }

    /// Moves a file with a known digest into the cache.
    pub(super) fn insert(&self, file: NamedTempFile, digest: Digest) -> Result<PathBuf> {
        let path = self.blob(digest);
        publish(file.path())?;
        file.persist(&path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Returns the record with a name, if the blob that it references exists too.
    ///
    /// # Errors
    /// The record cannot be read. A record that cannot be parsed counts as absent.
    pub(super) fn record<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        #[derive(serde::Deserialize)]
        struct BlobOf {
            digest: Digest,
            size: u64,
        }
        let path = self.root.join(format!("{name}.json"));
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        let Ok(blob) = serde_json::from_slice::<BlobOf>(&bytes) else {
            return Ok(None);
        };
        let there = self.has(blob.digest, blob.size);
        Ok(there.then(|| serde_json::from_slice(&bytes).ok()).flatten())
    }

    /// Stores a record under a name.
    pub(super) fn store<T: Serialize>(&self, name: &str, record: &T) -> Result<()> {
        let path = self.root.join(format!("{name}.json"));
        let directory = path.parent().unwrap_or(&self.root);
        directory::create(directory)?;
        let mut file = tempfile::Builder::new().tempfile_in(directory)?;
        serde_json::to_writer(&mut file, record)?;
        file.persist(&path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(())
    }

    /// Returns a file to lock while something with this name is built.
    pub(super) fn lock(&self, name: &str) -> Result<File> {
        let path = self.root.join(format!("{name}.lock"));
        let directory = path.parent().unwrap_or(&self.root);
        directory::create(directory)?;
        File::create(&path).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Makes a file readable for others, because layouts hard-link it.
fn publish(file: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;

        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644))
            .with_context(|| format!("cannot change {}", file.display()))?;
    }
    #[cfg(not(unix))]
    let _ = file;
    Ok(())
}
