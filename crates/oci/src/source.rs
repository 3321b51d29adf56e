//! Opens images: [`open`] detects the type of a SOURCE.
//!
//! A [`Source`] is [`Source::Ready`] if its manifest is known, as in an OCI layout: its blobs are
//! uploaded unchanged. It is a [`Source::Draft`] if its layers must be compressed first, as in
//! archives of `docker save`: their manifest needs the digests of the compressed layers.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use flate2::read::MultiGzDecoder;
use mlops_core::error::{Failure, Hint};
use tempfile::{NamedTempFile, TempPath};

use super::archive::Archive;
use super::layout::{self, LayoutFiles};
use super::{Image, store};

mod docker;
mod draft;
pub(super) mod name;
#[cfg(test)]
mod tests;

pub use super::compression::Compression;
pub use draft::{Draft, Options};

/// An image to push.
#[derive(Debug)]
pub enum Source {
    /// Its manifest is known.
    Ready(Image),
    /// Its layers must be compressed first.
    Draft(Draft),
}

impl Source {
    /// Returns the values of a label in the configurations of its images.
    ///
    /// # Errors
    /// A configuration cannot be read.
    pub fn labels(&self, name: &str) -> std::io::Result<BTreeSet<String>> {
        match self {
            Self::Ready(image) => image.labels(name),
            Self::Draft(draft) => Ok(draft.label(name).into_iter().collect()),
        }
    }

    /// Returns the parts of it that are not pushed, one sentence each.
    pub fn notes(&self) -> &[String] {
        match self {
            Self::Ready(image) => &image.notes,
            Self::Draft(_) => &[],
        }
    }
}

/// A parsed SOURCE.
#[derive(Debug, PartialEq, Eq)]
enum SourceName<'a> {
    /// A file or directory, and the name of one of its images.
    File(&'a str, Option<&'a str>),
    /// A name in the store of Docker or podman.
    Store(&'a str, &'static [&'static str]),
}

/// Opens the image that `text` names: an OCI layout (a directory or a tar archive), an archive of
/// `docker save` or `podman save`, or else a name in the store of Docker or podman. `:TAG` after a
/// path selects one of several images. The prefixes of skopeo's transports make it explicit:
/// `oci:`, `oci-archive:`, `docker-archive:`, `docker-daemon:`, `containers-storage:`.
///
/// Blocks: indexes an archive, and first copies a gzipped archive or an image of a store to a
/// temporary file.
///
/// # Errors
///
/// Nothing has that name, or it is not an image; exit code 2 if `text` cannot be a name.
pub fn open(text: &str) -> Result<Source> {
    match parse_name(text)? {
        SourceName::File(path, name) => open_path(Path::new(path), name, Vec::new()),
        SourceName::Store(name, engines) => {
            let scratch = store::save(name, engines)?;
            let path = scratch.to_path_buf();
            open_path(&path, None, vec![scratch])
                .with_context(|| format!("cannot read the image `{name}`"))
        }
    }
}

fn parse_name(text: &str) -> Result<SourceName<'_>> {
    let (prefix, rest) = text.split_once(':').unwrap_or(("", text));
    match prefix {
        "oci" | "oci-archive" | "docker-archive" if !Path::new(text).exists() => {
            path_and_name(rest)
                .map(|(path, name)| SourceName::File(path, name))
                .ok_or_else(|| Failure::usage(format!("no file or directory `{rest}`")))
        }
        "docker-daemon" => Ok(SourceName::Store(rest, &["docker"])),
        "containers-storage" => Ok(SourceName::Store(rest, &["podman"])),
        _ => match path_and_name(text) {
            Some((path, name)) => Ok(SourceName::File(path, name)),
            None if is_path_like(text) => {
                Err(Failure::usage(format!("no file or directory `{text}`")))
            }
            None => Ok(SourceName::Store(text, &["docker", "podman"])),
        },
    }
}

/// Splits `text` into an existing path and what follows it after a colon.
fn path_and_name(text: &str) -> Option<(&str, Option<&str>)> {
    if Path::new(text).exists() {
        return Some((text, None));
    }
    text.match_indices(':')
        .map(|(at, _)| (&text[..at], &text[at + 1..]))
        .find(|(path, name)| !path.is_empty() && !name.is_empty() && Path::new(path).exists())
        .map(|(path, name)| (path, Some(name)))
}

fn is_path_like(text: &str) -> bool {
    let plain = text.split(':').next().unwrap_or(text);
    let extension = Path::new(plain).extension();
    text.starts_with(['/', '.', '~'])
        || extension.is_some_and(|end| ["tar", "tgz", "gz"].iter().any(|known| end == *known))
}

fn open_path(path: &Path, name: Option<&str>, scratch: Vec<TempPath>) -> Result<Source> {
    let found =
        std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    if found.is_dir() {
        return layout::read_tree(LayoutFiles::Directory(path), name).map(Source::Ready);
    }
    if !found.is_file() {
        bail!("{} is neither a file nor a directory", path.display());
    }
    if is_gzip(path)? {
        let unpacked =
            unpack(path).with_context(|| format!("cannot decompress {}", path.display()))?;
        let plain = unpacked.to_path_buf();
        let mut scratch = scratch;
        scratch.push(unpacked);
        return open_archive(&plain, name, scratch)
            .with_context(|| format!("cannot read {}", path.display()));
    }
    open_archive(path, name, scratch)
}

fn open_archive(path: &Path, name: Option<&str>, scratch: Vec<TempPath>) -> Result<Source> {
    let archive = Archive::open(path)?;
    let is_layout = archive.has("oci-layout") && archive.has("index.json");
    if !archive.has("manifest.json") && !is_layout {
        return Err(anyhow!("{} does not contain an image", path.display())).hint(
            "pass an OCI layout (with oci-layout and index.json), or an archive from `docker save` \
             (with manifest.json)",
        );
    }
    // Docker since version 25 writes both. The layout's manifest is the one that the image was
    // pulled or built with: use it, unless its layers are uncompressed or parts of it are missing.
    if is_layout {
        let read = layout::read_tree(LayoutFiles::Archive(&archive), name);
        match read {
            Ok(mut image) if !archive.has("manifest.json") || !layout::has_plain_layer(&image) => {
                image.scratch.extend(scratch);
                return Ok(Source::Ready(image));
            }
            Err(error) if !archive.has("manifest.json") => return Err(error),
            _ => {}
        }
    }
    docker::read(&archive, name, scratch).map(Source::Draft)
}

fn is_gzip(path: &Path) -> Result<bool> {
    let mut start = Vec::new();
    File::open(path)
        .and_then(|file| file.take(2).read_to_end(&mut start))
        .with_context(|| format!("cannot read {}", path.display()))?;
    Ok(start == [0x1f, 0x8b])
}

/// Decompresses a file into a temporary one.
fn unpack(path: &Path) -> Result<TempPath> {
    let mut scratch = NamedTempFile::new().context("cannot create a temporary file")?;
    let mut input = MultiGzDecoder::new(File::open(path)?);
    io::copy(&mut input, &mut scratch)?;
    Ok(scratch.into_temp_path())
}
