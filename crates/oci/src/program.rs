//! Builds an image from a program's files alone: one reproducible layer without a base system.
//!
//! The layer contains `/opt/program/`: the files of a directory and a `requirements.txt`, sorted, with
//! modification time 0, owner 0 and mode 0644 or 0755, so that the same files give the same digest
//! on every machine. The local cloud runs such an image with this machine's Python; a container engine
//! cannot, because it contains no system.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use flate2::Compression;
use mlops_core::error::Hint;
use oci_spec::image::{Arch, Config, ConfigBuilder};

use super::layer::{self, Layer, Writer};
use super::{Content, Image};

/// The program's directory in the image.
pub const DIRECTORY: &str = "opt/program";

/// The default PATH, for a system that does not set one.
pub(super) const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The label with the git commit (OCI: pre-defined annotation keys).
pub const REVISION: &str = "org.opencontainers.image.revision";

/// Builds the image of the files below `program` and of `requirements`, which may be missing.
///
/// # Errors
///
/// A symbolic link that points outside `program`, a device, a socket or a FIFO is an error that
/// names it. Python's `__pycache__` is omitted: it differs from machine to machine.
pub fn build(program: &Path, requirements: &Path, revision: &str) -> Result<Image> {
    let (layer, scratch) = layer(program, requirements)?;
    layer::image(
        vec![layer],
        Arch::Amd64,
        configuration(revision)?,
        vec![scratch],
    )
}

/// The layer of the program, and its temporary file.
pub(super) fn layer(program: &Path, requirements: &Path) -> Result<(Layer, tempfile::TempPath)> {
    let entries = collect(program)?;
    let scratch = tempfile::NamedTempFile::new().context("cannot create a temporary file")?;
    let mut layer = Writer::new(BufWriter::new(scratch.reopen()?), Compression::default());
    for directory in ["opt", DIRECTORY] {
        layer.directory(Path::new(directory), 0o755)?;
    }
    let mut files = entries;
    if requirements.is_file() {
        let name = PathBuf::from("requirements.txt");
        if files.iter().any(|entry| entry.path == name) {
            bail!(
                "{} and {} would both be {DIRECTORY}/requirements.txt",
                requirements.display(),
                program.join(&name).display()
            );
        }
        files.push(Entry {
            path: name,
            source: requirements.to_owned(),
            kind: Kind::File { executable: false },
        });
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    for entry in &files {
        append(&mut layer, entry)
            .with_context(|| format!("cannot read {}", entry.source.display()))?;
    }
    let (file, finished) = layer.finish()?;
    file.into_inner()
        .map_err(io::IntoInnerError::into_error)
        .context("cannot write the layer")?;
    let scratch = scratch.into_temp_path();
    let layer = finished(Content::file(scratch.to_path_buf()));
    Ok((layer, scratch))
}

fn configuration(revision: &str) -> Result<Config> {
    Ok(ConfigBuilder::default()
        .working_dir(format!("/{DIRECTORY}"))
        .env(vec![format!("PATH=/{DIRECTORY}:{SYSTEM_PATH}")])
        .labels(HashMap::from([(REVISION.to_owned(), revision.to_owned())]))
        .build()?)
}

#[derive(Debug)]
struct Entry {
    /// Path relative to the program's directory.
    path: PathBuf,
    source: PathBuf,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Directory,
    File { executable: bool },
    Link { target: PathBuf },
}

/// Lists everything below a directory.
fn collect(root: &Path) -> Result<Vec<Entry>> {
    let canonical = root
        .canonicalize()
        .with_context(|| format!("cannot read {}", root.display()))
        .hint("put the program in image/program (mlops.toml: [image] directory)")?;
    let mut found = Vec::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(directory) = pending.pop() {
        let listed = std::fs::read_dir(root.join(&directory))
            .with_context(|| format!("cannot read {}", root.join(&directory).display()))?;
        for listed in listed {
            let listed = listed?;
            let name = listed.file_name();
            if name == "__pycache__" {
                continue;
            }
            let path = directory.join(&name);
            let source = listed.path();
            let kind = kind(&source, &canonical)?;
            if matches!(kind, Kind::Directory) {
                pending.push(path.clone());
            }
            found.push(Entry { path, source, kind });
        }
    }
    if found.is_empty() {
        return Err(anyhow!("{} is empty", root.display()))
            .hint("add the programs preprocess, train, evaluate and serve");
    }
    Ok(found)
}

fn kind(source: &Path, root: &Path) -> Result<Kind> {
    let metadata = source
        .symlink_metadata()
        .with_context(|| format!("cannot read {}", source.display()))?;
    if metadata.is_dir() {
        return Ok(Kind::Directory);
    }
    if metadata.is_file() {
        return Ok(Kind::File {
            executable: is_executable(&metadata),
        });
    }
    if metadata.is_symlink() {
        let target = std::fs::read_link(source)?;
        let inside = target.is_relative()
            && source
                .canonicalize()
                .is_ok_and(|real| real.starts_with(root));
        if inside {
            return Ok(Kind::Link { target });
        }
        return Err(anyhow!(
            "{} is a symbolic link to {}, which is outside of {}",
            source.display(),
            target.display(),
            root.display()
        ))
        .hint("copy the file into the program's directory");
    }
    bail!(
        "{} is a device, a socket or a FIFO, which an image cannot contain",
        source.display()
    )
}

#[cfg(unix)]
fn is_executable(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;

    metadata.permissions().mode() & 0o111 != 0
}

#[cfg(not(unix))]
fn is_executable(_metadata: &std::fs::Metadata) -> bool {
    true
}

fn append<W: Write>(layer: &mut Writer<W>, entry: &Entry) -> Result<()> {
    let path = Path::new(DIRECTORY).join(&entry.path);
    match &entry.kind {
        Kind::Directory => layer.directory(&path, 0o755)?,
        Kind::Link { target } => layer.link(&path, target)?,
        Kind::File { executable } => {
            let file = File::open(&entry.source)?;
            let size = file.metadata()?.len();
            let mode = if *executable { 0o755 } else { 0o644 };
            layer.file(&path, mode, size, file)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Digest;
    use super::*;
    use std::io::Read;
    use std::os::unix::fs::{PermissionsExt, symlink};

    const COMMIT: &str = "0123456789012345678901234567890123456789";

    fn program() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("program");
        std::fs::create_dir_all(root.join("lib")).unwrap();
        std::fs::write(root.join("train"), "#!/usr/bin/env python3\n").unwrap();
        std::fs::set_permissions(root.join("train"), PermissionsExt::from_mode(0o700)).unwrap();
        std::fs::write(root.join("lib/features.py"), "X = 1\n").unwrap();
        std::fs::write(directory.path().join("requirements.txt"), "numpy\n").unwrap();
        directory
    }

    fn image(directory: &Path) -> Result<Image> {
        build(
            &directory.join("program"),
            &directory.join("requirements.txt"),
            COMMIT,
        )
    }

    fn unpack(image: &Image) -> Vec<(String, u32, u64, Vec<u8>)> {
        let Content::File { path: layer, .. } = &image.root.blobs[0].content else {
            panic!("a layer is a file");
        };
        let mut archive =
            tar::Archive::new(flate2::read::GzDecoder::new(File::open(layer).unwrap()));
        archive
            .entries()
            .unwrap()
            .map(|entry| {
                let mut entry = entry.unwrap();
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).unwrap();
                let header = entry.header();
                (
                    entry.path().unwrap().to_str().unwrap().to_owned(),
                    header.mode().unwrap(),
                    header.mtime().unwrap() + header.uid().unwrap() + header.gid().unwrap(),
                    bytes,
                )
            })
            .collect()
    }

    #[test]
    fn the_layer_is_sorted_and_marks_executables() {
        let directory = program();
        let found = unpack(&image(directory.path()).unwrap());
        let names: Vec<_> = found
            .iter()
            .map(|(name, mode, zeros, _)| {
                assert_eq!(*zeros, 0, "{name}");
                (name.as_str(), *mode)
            })
            .collect();
        assert_eq!(
            names,
            [
                ("opt", 0o755),
                ("opt/program", 0o755),
                ("opt/program/lib", 0o755),
                ("opt/program/lib/features.py", 0o644),
                ("opt/program/requirements.txt", 0o644),
                ("opt/program/train", 0o755),
            ]
        );
        assert_eq!(found[4].3, b"numpy\n");
    }

    #[test]
    fn the_same_files_give_the_same_digest() {
        let (one, other) = (program(), program());
        let later = std::time::SystemTime::now() + std::time::Duration::from_hours(24);
        let file = File::options()
            .append(true)
            .open(other.path().join("program/train"))
            .unwrap();
        file.set_modified(later).unwrap();
        std::fs::create_dir(other.path().join("program/__pycache__")).unwrap();
        std::fs::write(other.path().join("program/__pycache__/x.pyc"), "x").unwrap();
        let first = image(one.path()).unwrap();
        let second = image(other.path()).unwrap();
        assert_eq!(first.digest(), second.digest());

        std::fs::write(other.path().join("program/lib/features.py"), "X = 2\n").unwrap();
        assert_ne!(first.digest(), image(other.path()).unwrap().digest());
    }

    #[test]
    fn the_configuration_names_commit_and_layer() {
        let directory = program();
        let image = image(directory.path()).unwrap();
        let [layer, config] = &image.root.blobs[..] else {
            panic!("a layer and a configuration");
        };
        let Content::Bytes(bytes) = &config.content else {
            panic!("the configuration is small");
        };
        let config: serde_json::Value = serde_json::from_slice(bytes).unwrap();
        assert_eq!(config["config"]["Labels"][REVISION], COMMIT);
        assert_eq!(config["config"]["WorkingDir"], "/opt/program");
        assert!(config["config"].get("Entrypoint").is_none());
        let Content::File { path, .. } = &layer.content else {
            panic!("the layer is a file");
        };
        let mut tar = Vec::new();
        flate2::read::GzDecoder::new(File::open(path).unwrap())
            .read_to_end(&mut tar)
            .unwrap();
        assert_eq!(
            config["rootfs"]["diff_ids"][0],
            serde_json::json!(Digest::of(&tar))
        );
        assert_eq!(layer.digest, Digest::of(&std::fs::read(path).unwrap()));
        assert_eq!(layer.size, std::fs::metadata(path).unwrap().len());
    }

    #[test]
    fn links_must_not_point_outside_the_program() {
        let directory = program();
        let link = directory.path().join("program/link");
        symlink("lib/features.py", &link).unwrap();
        assert!(image(directory.path()).is_ok());
        for outside in ["../requirements.txt", "/etc/passwd", "nowhere"] {
            std::fs::remove_file(&link).unwrap();
            symlink(outside, &link).unwrap();
            let error = image(directory.path()).unwrap_err();
            assert!(error.to_string().contains("symbolic link"), "{error}");
        }
        std::fs::remove_file(&link).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(&link).unwrap();
        let error = image(directory.path()).unwrap_err();
        assert!(error.to_string().contains("a device"), "{error}");
    }

    #[test]
    fn two_requirements_are_refused() {
        let directory = program();
        std::fs::write(directory.path().join("program/requirements.txt"), "x\n").unwrap();
        let error = image(directory.path()).unwrap_err();
        assert!(error.to_string().contains("would both be"), "{error}");
    }
}
