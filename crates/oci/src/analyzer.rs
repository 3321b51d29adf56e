//! Builds the analyzer image: this binary with its shared libraries, as a replacement for AWS's
//! analyzer image. It contains no shell and no Python.
//!
//! The image has two reproducible layers: one with the loader, the libraries, the certificates and
//! /tmp, and one with the binary at /opt/mlops/bin/mlops without its debugging information. A new
//! version of `mlops` uploads only the second.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context as _, Result};
use flate2::Compression;
use mlops_core::names::ImageTag;
use oci_spec::image::{ConfigBuilder, MediaType};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::cache::Cache;
use super::layer::{self, Layer, Writer};
use super::{Blob, Content, Digest, Image};

mod libraries;
mod strip;

use libraries::regular;

/// The binary's path in the image.
pub const PROGRAM: &str = "/opt/mlops/bin/mlops";

/// Prefix of the tags of analyzer images, which share a repository with the project's own images.
pub const TAG: &str = "analyzer-";

/// The tag of an analyzer image. It is derived from the image, so it never moves.
pub fn tag(digest: Digest) -> Result<ImageTag> {
    Ok(format!("{TAG}{}", &digest.hex()[..16]).parse()?)
}

/// The subcommand that implements the container contract of Model Monitor's analyzer.
pub const COMMAND: &str = "analyze";

/// Increment this when the same files produce different bytes.
const FORMAT: &str = "analyzer 1";

/// The certificate authorities, at the path of Debian and Amazon Linux.
const CERTIFICATES: &str = "etc/ssl/certs/ca-certificates.crt";

/// Builds the image of `program`, a `mlops` binary for Linux. The cache keeps its layers until the
/// files they were built from change.
///
/// # Errors
/// The program is not a `mlops` binary for Linux, or one of its libraries is missing.
pub fn build(program: &Path, cache: &Cache) -> Result<Image> {
    let libraries = libraries::of(program)?;
    let mut files: Vec<LayerFile> = libraries
        .files
        .iter()
        .map(|(place, file)| LayerFile::new(place, file, 0o755))
        .collect();
    let certificates = Path::new("/").join(CERTIFICATES);
    if certificates.exists() {
        files.push(LayerFile::new(
            Path::new(CERTIFICATES),
            &regular(&certificates)?,
            0o644,
        ));
    }
    files.sort();
    let base = cached_layer(cache, "base", &files, true, Compression::default())?;
    let inside = Path::new(PROGRAM)
        .strip_prefix("/")
        .unwrap_or(Path::new(""));
    let own = [LayerFile::new(inside, &regular(program)?, 0o755)];
    // Fast compression takes a few seconds for a debug build, instead of ten.
    let own = cached_layer(cache, "program", &own, false, Compression::fast())?;
    let config = ConfigBuilder::default()
        .entrypoint(vec![PROGRAM.to_owned(), COMMAND.to_owned()])
        .working_dir("/")
        .env(vec![
            "PATH=/opt/mlops/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
                .to_owned(),
        ])
        .labels(HashMap::from([
            (
                "org.opencontainers.image.title".to_owned(),
                "mlops analyzer".to_owned(),
            ),
            (
                "org.opencontainers.image.version".to_owned(),
                env!("CARGO_PKG_VERSION").to_owned(),
            ),
        ]))
        .build()?;
    layer::image(vec![base, own], libraries.architecture, config, Vec::new())
}

/// A file of a layer.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct LayerFile {
    /// Path relative to /.
    place: PathBuf,
    file: PathBuf,
    mode: u32,
}

impl LayerFile {
    fn new(place: &Path, file: &Path, mode: u32) -> Self {
        Self {
            place: place.to_owned(),
            file: file.to_owned(),
            mode,
        }
    }
}

/// The cache's record of a layer.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    digest: Digest,
    size: u64,
    diff_id: Digest,
}

/// Returns the layer of these files, from the cache unless the files changed.
fn cached_layer(
    cache: &Cache,
    name: &str,
    files: &[LayerFile],
    with_tmp: bool,
    compression: Compression,
) -> Result<Layer> {
    let name = format!("analyzer/{name}-{}", identity(files)?);
    let _lock = {
        let lock = cache.lock(&name)?;
        lock.lock()?;
        lock
    };
    let record = if let Some(record) = cache.record::<Record>(&name)? {
        record
    } else {
        let record = make(cache, files, with_tmp, compression)?;
        cache.store(&name, &record)?;
        record
    };
    Ok(Layer {
        blob: Blob {
            content: Content::file(cache.blob(record.digest)),
            digest: record.digest,
            size: record.size,
        },
        diff_id: record.diff_id,
        media_type: MediaType::ImageLayerGzip,
    })
}

/// Returns the metadata of files, to detect changes without reading them.
fn identity(files: &[LayerFile]) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(FORMAT);
    for source in files {
        let metadata = std::fs::metadata(&source.file)
            .with_context(|| format!("cannot read {}", source.file.display()))?;
        hash.update(source.place.as_os_str().as_encoded_bytes());
        hash.update([0]);
        hash.update(source.file.as_os_str().as_encoded_bytes());
        hash.update([0]);
        hash.update(metadata.len().to_le_bytes());
        let modified = metadata.modified()?.duration_since(UNIX_EPOCH);
        hash.update(modified.unwrap_or_default().as_nanos().to_le_bytes());
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;

            hash.update(metadata.ino().to_le_bytes());
            hash.update(metadata.ctime().to_le_bytes());
            hash.update(metadata.ctime_nsec().to_le_bytes());
        }
    }
    Ok(hex::encode(&hash.finalize()[..16]))
}

fn make(
    cache: &Cache,
    files: &[LayerFile],
    with_tmp: bool,
    compression: Compression,
) -> Result<Record> {
    let scratch = cache.begin()?;
    let mut writer = Writer::new(BufWriter::new(scratch.reopen()?), compression);
    directories(
        &mut writer,
        files.iter().map(|source| source.place.as_path()),
    )?;
    if with_tmp {
        writer.directory(Path::new("tmp"), 0o1777)?;
    }
    for source in files {
        append(&mut writer, source)
            .with_context(|| format!("cannot read {}", source.file.display()))?;
    }
    let (file, finished) = writer.finish()?;
    file.into_inner()
        .map_err(io::IntoInnerError::into_error)
        .context("cannot write the layer")?;
    let layer = finished(Content::Bytes(Vec::new()));
    cache.insert(scratch, layer.blob.digest)?;
    Ok(Record {
        digest: layer.blob.digest,
        size: layer.blob.size,
        diff_id: layer.diff_id,
    })
}

/// Adds the parent directories of files, each once, in order.
fn directories<'a, W: io::Write>(
    writer: &mut Writer<W>,
    files: impl IntoIterator<Item = &'a Path>,
) -> io::Result<()> {
    let above: BTreeSet<&Path> = files
        .into_iter()
        .flat_map(|file| file.ancestors().skip(1))
        .filter(|directory| !directory.as_os_str().is_empty())
        .collect();
    above
        .into_iter()
        .try_for_each(|directory| writer.directory(directory, 0o755))
}

fn append<W: io::Write>(writer: &mut Writer<W>, source: &LayerFile) -> Result<()> {
    let program = Path::new("/").join(&source.place) == Path::new(PROGRAM);
    let (reader, size) = if program {
        strip::open(&source.file)?
    } else {
        let file = File::open(&source.file)?;
        let size = file.metadata()?.len();
        (Box::new(file) as Box<dyn io::Read>, size)
    };
    writer.file(&source.place, source.mode, size, reader)
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    /// Any small program works.
    const PROGRAM_HERE: &str = "/bin/ls";

    /// Returns name, mode and size of each entry of a layer.
    fn entries(bytes: &[u8]) -> Vec<(String, u32, u64)> {
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(bytes));
        archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let header = entry.header();
                assert!(matches!(
                    header.entry_type(),
                    tar::EntryType::Regular | tar::EntryType::Directory
                ));
                (
                    entry.path().unwrap().display().to_string(),
                    header.mode().unwrap(),
                    entry.size(),
                )
            })
            .collect()
    }

    /// Builds the image of a program, with a separate cache.
    fn image(program: &Path) -> (Image, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let image = build(program, &Cache::new(directory.path())).unwrap();
        (image, directory)
    }

    fn content(content: &Content) -> Vec<u8> {
        match content {
            Content::Bytes(bytes) => bytes.clone(),
            Content::File { path, .. } => std::fs::read(path).unwrap(),
            Content::Extents(_) => panic!("nothing of it was compressed by blocks"),
        }
    }

    #[test]
    fn the_image_contains_the_program_and_its_dependencies() {
        let (image, _cache) = image(Path::new(PROGRAM_HERE));
        let [base, own, config] = &image.root.blobs[..] else {
            panic!("two layers and a configuration");
        };
        let base = entries(&content(&base.content));
        let has = |name: &str, mode: u32| {
            base.iter()
                .any(|(found, bits, _)| found.contains(name) && *bits == mode)
        };
        assert!(has("libc.so.6", 0o755), "{base:?}");
        assert!(has("ld-linux", 0o755), "{base:?}");
        assert!(has("tmp", 0o1777), "{base:?}");
        let own = entries(&content(&own.content));
        let size = std::fs::metadata(PROGRAM_HERE).unwrap().len();
        assert_eq!(
            own.last().unwrap(),
            &("opt/mlops/bin/mlops".to_owned(), 0o755, size)
        );
        let config: serde_json::Value = serde_json::from_slice(&content(&config.content)).unwrap();
        assert_eq!(
            config["config"]["Entrypoint"],
            serde_json::json!(["/opt/mlops/bin/mlops", "analyze"])
        );
        assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), 2);
    }

    /// Does what a container engine does, as far as an unprivileged user can, without Docker.
    #[test]
    fn the_image_runs_with_nothing_but_its_own_files() {
        let (image, _cache) = image(Path::new(PROGRAM_HERE));
        let root = tempfile::tempdir().unwrap();
        for blob in &image.root.blobs[..2] {
            let bytes = content(&blob.content);
            tar::Archive::new(flate2::read::GzDecoder::new(&bytes[..]))
                .unpack(root.path())
                .unwrap();
        }
        let run = std::process::Command::new("unshare")
            .args(["--user", "--map-root-user", "chroot"])
            .arg(root.path())
            .args([PROGRAM, "/"])
            .output();
        let Ok(run) = run else {
            return;
        };
        let said = String::from_utf8_lossy(&run.stderr);
        if said.starts_with("unshare: ") {
            // This kernel has no user namespaces.
            return;
        }
        assert!(run.status.success(), "{said}");
        let listed = String::from_utf8(run.stdout).unwrap();
        for directory in ["lib", "opt", "tmp"] {
            assert!(listed.lines().any(|line| line == directory), "{listed}");
        }
    }

    #[test]
    fn the_same_program_gives_the_same_image() {
        let copy = tempfile::NamedTempFile::new().unwrap();
        let mut bytes = Vec::new();
        File::open(PROGRAM_HERE)
            .unwrap()
            .read_to_end(&mut bytes)
            .unwrap();
        std::fs::write(copy.path(), &bytes).unwrap();
        let (first, _kept) = image(Path::new(PROGRAM_HERE));
        let digest = || image(copy.path()).0.digest();
        for _ in 0..8 {
            // A map of labels without a fixed order would cause occasional differences.
            assert_eq!(digest(), first.digest());
        }
        bytes.push(0);
        std::fs::write(copy.path(), &bytes).unwrap();
        assert_ne!(digest(), first.digest());
    }

    #[test]
    fn the_cache_follows_the_program() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::new(directory.path().join("cache"));
        let program = directory.path().join("program");
        std::fs::copy(PROGRAM_HERE, &program).unwrap();
        let first = build(&program, &cache).unwrap();
        let blobs = || std::fs::read_dir(directory.path().join("cache/blobs/sha256")).unwrap();
        assert_eq!(blobs().count(), 2);
        let again = build(&program, &cache).unwrap();
        assert_eq!(again.digest(), first.digest());
        let mut bytes = std::fs::read(&program).unwrap();
        bytes.push(0);
        std::fs::write(&program, bytes).unwrap();
        assert_ne!(build(&program, &cache).unwrap().digest(), first.digest());
        // A deleted blob is rebuilt.
        for blob in blobs() {
            std::fs::remove_file(blob.unwrap().path()).unwrap();
        }
        build(&program, &cache).unwrap();
        assert_eq!(blobs().count(), 2);
    }
}
