//! The image of the analyzer: this very binary, with the libraries it was linked with, in place of
//! AWS's analyzer image. There is no shell and no Python in it.
//!
//! Two reproducible layers: the loader, the libraries, the certificates and /tmp; and the binary
//! at /opt/mlops/bin/mlops, so that a new version of `mlops` sends the second only.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use flate2::Compression;
use oci_spec::image::ConfigBuilder;

use super::layer::{self, Layer, Writer};
use super::{Content, Image};

mod libraries;

use libraries::{Libraries, regular};

/// Where the binary lies in the image.
pub const PROGRAM: &str = "/opt/mlops/bin/mlops";

/// How the tags of analyzer images begin, beside the project's own images.
pub const TAG: &str = "analyzer-";

/// The subcommand that follows the container contract of Model Monitor's analyzer.
pub const COMMAND: &str = "analyze";

/// The certificate authorities, where Debian and Amazon Linux have them.
const CERTIFICATES: &str = "etc/ssl/certs/ca-certificates.crt";

/// Builds the image of `program`, a `mlops` binary for Linux.
///
/// # Errors
/// It is no such program, or a library that it needs is not on this machine.
pub fn build(program: &Path) -> Result<Image> {
    let libraries = libraries::of(program)?;
    let base = base(&libraries)?;
    let scratch = tempfile::NamedTempFile::new().context("cannot make a temporary file")?;
    // The digest is worked out before every job: the fastest level costs a second, not ten.
    let mut writer = Writer::new(BufWriter::new(scratch.reopen()?), Compression::fast());
    let inside = Path::new(PROGRAM)
        .strip_prefix("/")
        .unwrap_or(Path::new(""));
    directories(&mut writer, [inside])?;
    append(&mut writer, inside, 0o755, program)?;
    let (file, finished) = writer.finish()?;
    file.into_inner()
        .map_err(io::IntoInnerError::into_error)
        .context("cannot write the layer")?;
    let scratch = scratch.into_temp_path();
    let own = finished(Content::file(scratch.to_path_buf()));
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
    layer::image(
        vec![base, own],
        libraries.architecture,
        config,
        vec![scratch],
    )
}

/// The loader, the libraries, the certificates and /tmp.
fn base(libraries: &Libraries) -> Result<Layer> {
    let mut files: Vec<(PathBuf, PathBuf, u32)> = libraries
        .files
        .iter()
        .map(|(place, file)| (place.clone(), file.clone(), 0o755))
        .collect();
    let certificates = Path::new("/").join(CERTIFICATES);
    if certificates.exists() {
        files.push((CERTIFICATES.into(), regular(&certificates)?, 0o644));
    }
    files.sort();
    let mut writer = Writer::new(Vec::new(), Compression::default());
    directories(&mut writer, files.iter().map(|(place, ..)| place.as_path()))?;
    writer.directory(Path::new("tmp"), 0o1777)?;
    for (place, file, mode) in &files {
        append(&mut writer, place, *mode, file)?;
    }
    let (bytes, finished) = writer.finish()?;
    Ok(finished(Content::Bytes(bytes)))
}

/// Adds the directories above files, each once, in order.
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

fn append<W: io::Write>(
    writer: &mut Writer<W>,
    place: &Path,
    mode: u32,
    source: &Path,
) -> Result<()> {
    let mut add = || -> Result<()> {
        let file = File::open(source)?;
        let size = file.metadata()?.len();
        writer.file(place, mode, size, file)
    };
    add().with_context(|| format!("cannot read {}", source.display()))
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    /// Any small program will do.
    const PROGRAM_HERE: &str = "/bin/ls";

    /// Name, mode and size of what a layer holds.
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

    fn content(content: &Content) -> Vec<u8> {
        match content {
            Content::Bytes(bytes) => bytes.clone(),
            Content::File { path, .. } => std::fs::read(path).unwrap(),
            Content::Pieces(_) => panic!("nothing of it was compressed by blocks"),
        }
    }

    #[test]
    fn the_image_holds_the_program_and_all_that_it_needs() {
        let image = build(Path::new(PROGRAM_HERE)).unwrap();
        let [base, own, config] = &image.manifests[0].blobs[..] else {
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

    /// Without Docker: what a container engine does, as far as a user may.
    #[test]
    fn the_image_runs_with_nothing_but_its_own_files() {
        let image = build(Path::new(PROGRAM_HERE)).unwrap();
        let root = tempfile::tempdir().unwrap();
        for blob in &image.manifests[0].blobs[..2] {
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
        let first = build(Path::new(PROGRAM_HERE)).unwrap();
        for _ in 0..8 {
            // The order of a map of labels would differ now and then.
            assert_eq!(build(copy.path()).unwrap().digest(), first.digest());
        }
        bytes.push(0);
        std::fs::write(copy.path(), &bytes).unwrap();
        assert_ne!(build(copy.path()).unwrap().digest(), first.digest());
    }
}
