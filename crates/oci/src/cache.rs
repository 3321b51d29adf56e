//! What images are made of, kept between commands: blobs by their digest, and records that name
//! them. Deleting the directory costs time and nothing else.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use mlops_core::directory;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::{NamedTempFile, TempDir};

/// The cache of blobs.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// The cache in this directory, which is made when something is kept.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a blob is or would be. `digest` is `sha256:` and hexadecimal, as a caller has made or
    /// checked it.
    pub(super) fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        self.root.join("blobs/sha256").join(hex)
    }

    /// A file to write a blob into, on the blobs' own file system.
    pub(super) fn begin(&self) -> Result<NamedTempFile> {
        let directory = self.root.join("blobs/sha256");
        directory::create(&directory)?;
        tempfile::Builder::new()
            .prefix(".begun-")
            .tempfile_in(&directory)
            .map_err(|error| directory::refused("cannot write to", &directory, &error))
    }

    /// A directory for files that become blobs, on the blobs' own file system.
    pub(super) fn workshop(&self) -> Result<TempDir> {
        let directory = self.root.join("blobs/sha256");
        directory::create(&directory)?;
        tempfile::Builder::new()
            .prefix(".begun-")
            .tempdir_in(&directory)
            .map_err(|error| directory::refused("cannot write to", &directory, &error))
    }

    /// Keeps a file of a workshop whose digest was checked.
    pub(super) fn adopt(&self, file: &Path, digest: &str) -> Result<PathBuf> {
        let path = self.blob(digest);
        publish(file)?;
        std::fs::rename(file, &path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Whether a blob of this size is there.
    pub(super) fn has(&self, digest: &str, size: u64) -> bool {
        std::fs::metadata(self.blob(digest)).is_ok_and(|file| file.is_file() && file.len() == size)
    }

    /// Keeps a file that was written and whose digest is known.
    pub(super) fn insert(&self, file: NamedTempFile, digest: &str) -> Result<PathBuf> {
        let path = self.blob(digest);
        publish(file.path())?;
        file.persist(&path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// What was kept under a name, when the blob that it names is there too.
    ///
    /// # Errors
    /// The record cannot be read. One that is not understood counts as none.
    pub(super) fn record<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        #[derive(serde::Deserialize)]
        struct Named {
            digest: String,
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
        let Ok(named) = serde_json::from_slice::<Named>(&bytes) else {
            return Ok(None);
        };
        let there = self.has(&named.digest, named.size);
        Ok(there.then(|| serde_json::from_slice(&bytes).ok()).flatten())
    }

    /// Keeps a record under a name.
    pub(super) fn keep<T: Serialize>(&self, name: &str, record: &T) -> Result<()> {
        let path = self.root.join(format!("{name}.json"));
        let directory = path.parent().unwrap_or(&self.root);
        directory::create(directory)?;
        let mut file = tempfile::Builder::new().tempfile_in(directory)?;
        serde_json::to_writer(&mut file, record)?;
        file.persist(&path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(())
    }

    /// A file to lock while what has this name is made.
    pub(super) fn lock(&self, name: &str) -> Result<File> {
        let path = self.root.join(format!("{name}.lock"));
        let directory = path.parent().unwrap_or(&self.root);
        directory::create(directory)?;
        File::create(&path).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Lets others read a file, as layouts hold it under a second name.
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
