//! Writes an image as an OCI layout directory (OCI image layout 1.0.0), for other tools.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use mlops_core::directory;
use mlops_core::error::{Failure, Hint};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::{Blob, Digest, Image};

/// Writes an image into `directory`. Atomically replaces an existing layout.
///
/// # Errors
/// The directory contains anything but a layout (exit 2), cannot be written, or a blob does not
/// match its digest.
pub fn save(image: &Image, directory: &Path) -> Result<()> {
    replace(directory, |new| {
        let blobs = new.join("blobs/sha256");
        std::fs::create_dir_all(&blobs)?;
        for manifest in image.manifests() {
            for blob in &manifest.blobs {
                write_blob(&blobs, blob)?;
            }
            std::fs::write(blobs.join(manifest.digest.hex()), &manifest.bytes)?;
        }
        let root = &image.root;
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [{
                "mediaType": root.media_type,
                "digest": root.digest,
                "size": root.bytes.len(),
            }],
        });
        std::fs::write(new.join("index.json"), serde_json::to_vec(&index)?)?;
        std::fs::write(new.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
        Ok(())
    })
}

/// Fails for a directory that contains anything but a layout, before anything is built for it.
///
/// # Errors
/// The path is not a directory, or contains other files (exit 2).
pub fn check(directory: &Path) -> Result<()> {
    if directory.symlink_metadata().is_err() {
        return Ok(());
    }
    let empty = std::fs::read_dir(directory)
        .with_context(|| format!("cannot read {}", directory.display()))?
        .next()
        .is_none();
    if empty || directory.join("oci-layout").is_file() {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "{} contains something other than an image, and is not overwritten",
        directory.display()
    )))
    .hint("pass a new or empty directory")
}

/// Lets `write` fill a new directory, which then replaces `directory`.
pub(super) fn replace(directory: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    check(directory)?;
    let (staged, new) = stage(directory)?;
    write(&new).with_context(|| format!("cannot write {}", directory.display()))?;
    publish(directory, &staged)
}

/// Creates a directory next to another one, and returns the path in it to fill.
pub(super) fn stage(directory: &Path) -> Result<(tempfile::TempDir, PathBuf)> {
    let parent = match directory.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    directory::create(parent)?;
    let staged = tempfile::Builder::new()
        .prefix(".image-")
        .tempdir_in(parent)
        .map_err(|error| directory::refused("cannot write to", parent, &error))?;
    let new = staged.path().join("new");
    std::fs::create_dir(&new)?;
    Ok((staged, new))
}

/// Replaces `directory` by what was staged.
pub(super) fn publish(directory: &Path, staged: &tempfile::TempDir) -> Result<()> {
    let old = staged.path().join("old");
    let stood = directory.symlink_metadata().is_ok();
    if stood {
        std::fs::rename(directory, &old)
            .with_context(|| format!("cannot replace {}", directory.display()))?;
    }
    let moved = std::fs::rename(staged.path().join("new"), directory);
    if moved.is_err() && stood {
        std::fs::rename(&old, directory)
            .with_context(|| format!("cannot put {} back", directory.display()))?;
    }
    moved.with_context(|| format!("cannot write {}", directory.display()))
}

/// Writes a blob. Never hard-links a file of the cache or of another layout, whose bytes would then
/// change together.
fn write_blob(blobs: &Path, blob: &Blob) -> Result<()> {
    let path = blobs.join(blob.digest.hex());
    if path.exists() {
        return Ok(());
    }
    let unread = || format!("cannot read {}", blob.place().display());
    let reader = blob.reader().with_context(unread)?;
    let digest = copy(reader, &File::create(&path)?)?;
    if digest != blob.digest {
        bail!(
            "{} has the digest {digest}, not {}",
            blob.place().display(),
            blob.digest
        );
    }
    Ok(())
}

/// Copies bytes and returns their digest.
pub(super) fn copy(mut from: impl Read, mut to: impl Write) -> io::Result<Digest> {
    let mut buffer = vec![0; 256 << 10];
    let mut hash = Sha256::new();
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(hash.into()),
            read => {
                hash.update(&buffer[..read]);
                to.write_all(&buffer[..read])?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Content;
    use super::*;

    #[test]
    fn nothing_else_is_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("notes"), "mine").unwrap();
        let error = replace(directory.path(), |_| Ok(())).unwrap_err();
        assert!(error.to_string().contains("something other"), "{error}");
        assert!(check(&directory.path().join("notes")).is_err());
        let place = directory.path().join("image");
        for word in ["one", "two"] {
            replace(&place, |new| {
                std::fs::write(new.join("oci-layout"), word)?;
                Ok(())
            })
            .unwrap();
            assert_eq!(
                std::fs::read_to_string(place.join("oci-layout")).unwrap(),
                word
            );
        }
        let failed = replace(&place, |_| bail!("a full disk"));
        assert!(failed.is_err());
        assert_eq!(
            std::fs::read_to_string(place.join("oci-layout")).unwrap(),
            "two"
        );
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_blob_that_changed_is_not_written() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, "somewhat longer").unwrap();
        let blob = Blob {
            digest: Digest::of(b"what it was"),
            size: 4,
            content: Content::File {
                path: file,
                offset: 3,
            },
        };
        let error = write_blob(directory.path(), &blob).unwrap_err();
        assert!(error.to_string().contains("has the digest"), "{error}");
    }
}
