//! Builds the layer of a program's Python packages: the result of `pip install --target` of
//! requirements.txt for the image's platform and Python version, cached by the hash of its inputs.
//!
//! Only wheels are accepted, so no code of a package runs, and a machine of another platform can
//! build the layer. Wheels may require the C library of [`GLIBC`] or an older one.

use std::collections::BTreeMap;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use flate2::Compression;
use mlops_core::error::Hint;
use mlops_core::names::{Platform, PythonVersion};
use oci_spec::image::MediaType;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::cache::Cache;
use super::layer::{Layer, Writer};
use super::pip::{self, Installer, NetworkProblem, Python};
use super::requirements::{Requirements, listing, unpinned};
use super::{Blob, Content, Digest, process};

mod tree;

use tree::InstalledTree;

/// The packages' directory in the image, without the leading `/`.
pub const DIRECTORY: &str = "opt/mlops/python";

/// The newest version of glibc 2 that wheels may require: that of Amazon Linux 2023. Debian 12 and
/// Ubuntu 22.04 have a newer one.
const GLIBC: u32 = 34;

/// Increment this when the same inputs produce different bytes.
const FORMAT: &str = "dependencies 1";

/// The packages to install, and their Python version and platform.
#[derive(Debug)]
pub struct PackageRequest {
    /// The packages.
    pub requirements: Requirements,
    /// The Python version of the image.
    pub python: PythonVersion,
    /// The platform of the image.
    pub platform: Platform,
}

/// The layer of the packages.
#[derive(Debug)]
pub struct Dependencies {
    pub(super) layer: Layer,
    /// Name and version of each package.
    pub installed: BTreeMap<String, String>,
    /// Whether it came from the cache.
    pub cached: bool,
    /// Reasons why another machine or day might produce different bytes; empty if there are none.
    pub doubts: Vec<String>,
}

/// The cache's record of a layer.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    digest: Digest,
    size: u64,
    diff_id: Digest,
    installed: BTreeMap<String, String>,
    markers: Vec<String>,
}

/// Progress events.
#[derive(Debug)]
pub enum BuildStep<'a> {
    /// A line of pip's output.
    Pip(&'a str),
    /// Packing starts, with the number of files.
    Packing(u64),
    /// One file was packed.
    Packed,
}

/// Returns the layer from the cache, or builds it.
///
/// # Errors
/// pip cannot run or fails: no network, no wheel for the platform, a wrong hash.
pub async fn prepare(
    request: &PackageRequest,
    installer: &Installer,
    python: &Python,
    cache: &Cache,
    on_step: &mut (dyn FnMut(BuildStep<'_>) + Send),
) -> Result<Dependencies> {
    let name = format!("dependencies/{}", key(request, installer, python)?);
    let firm = request.requirements.loose().is_empty();
    // Requirements without a fixed version are resolved each time.
    if firm && let Some(record) = cache.record::<Record>(&name)? {
        return Ok(dependencies(request, python, cache, record, true));
    }
    let lock = cache.lock(&name)?;
    let _lock = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock)).await??;
    if firm && let Some(record) = cache.record::<Record>(&name)? {
        return Ok(dependencies(request, python, cache, record, true));
    }
    let directory = tempfile::tempdir().context("cannot create a temporary directory")?;
    let target = directory.path().join("target");
    install(
        request,
        installer,
        python,
        directory.path(),
        &target,
        on_step,
    )
    .await?;
    let tree = InstalledTree::read(&target)?;
    on_step(BuildStep::Packing(tree.count()));
    let (sender, mut packed) = tokio::sync::mpsc::unbounded_channel();
    let cache_ = cache.clone();
    let packing = tokio::task::spawn_blocking(move || {
        pack(&tree, &target, &cache_, || {
            let _ = sender.send(());
        })
    });
    while packed.recv().await.is_some() {
        on_step(BuildStep::Packed);
    }
    let record = packing.await??;
    cache.store(&name, &record)?;
    Ok(dependencies(request, python, cache, record, false))
}

/// Computes the hash of every input that affects the layer.
fn key(request: &PackageRequest, installer: &Installer, python: &Python) -> Result<String> {
    let mut hash = Sha256::new();
    for part in [
        FORMAT,
        request.platform.as_str(),
        request.python.as_str(),
        python.pip(),
        &python.version,
        &python.system,
        &python.machine,
    ] {
        hash.update(part);
        hash.update([0]);
    }
    // A different index may have a different file for the same name and version.
    for (name, value) in &installer.environment {
        if name.as_encoded_bytes().starts_with(b"PIP_") {
            hash.update(name.as_encoded_bytes());
            hash.update([0]);
            hash.update(value.as_encoded_bytes());
            hash.update([0]);
        }
    }
    for (name, value) in &installer.environment {
        let places = value.to_str().unwrap_or_default().split_whitespace();
        for place in places.filter(|place| name == "PIP_FIND_LINKS" && !place.contains("://")) {
            hash.update(listing(Path::new(place))?);
        }
    }
    let settings = installer.environment.iter();
    let mut settings = settings.filter(|(name, _)| name == "PIP_CONFIG_FILE");
    if let Some((_, file)) = settings.next() {
        hash.update(
            std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?,
        );
    }
    request.requirements.fingerprint(&mut hash);
    Ok(hex::encode(&hash.finalize()[..16]))
}

async fn install(
    request: &PackageRequest,
    installer: &Installer,
    python: &Python,
    scratch: &Path,
    target: &Path,
    on_step: &mut (dyn FnMut(BuildStep<'_>) + Send),
) -> Result<()> {
    let home = scratch.join("home");
    std::fs::create_dir_all(&home)?;
    std::fs::create_dir_all(target)?;
    let mut pip = pip::command(
        &python.executable,
        &installer.environment,
        &home,
        &installer.cache.join("pip"),
    );
    pip.args([
        "-m",
        "pip",
        "install",
        "--no-input",
        "--disable-pip-version-check",
    ])
    .args([
        "--progress-bar",
        "off",
        "--no-compile",
        "--only-binary",
        ":all:",
    ])
    .args([
        "--implementation",
        "cp",
        "--python-version",
        request.python.as_str(),
    ]);
    for tag in tags(request.platform) {
        pip.args(["--platform", &tag]);
    }
    if request.requirements.is_hashed() {
        pip.arg("--require-hashes");
    }
    pip.arg("--target")
        .arg(target)
        .arg("--requirement")
        .arg(&request.requirements.file);
    let log = scratch.join("pip.log");
    pip.arg("--log").arg(&log);
    let ended = process::run(
        &mut pip,
        "install the packages of requirements.txt",
        &mut |line| on_step(BuildStep::Pip(line)),
    )
    .await;
    let Err(error) = ended else {
        return Ok(());
    };
    Err(error).hint(match NetworkProblem::in_log(&log) {
        Some(trouble) => trouble.hint(&installer.environment),
        None => format!(
            "each package needs a wheel for Python {} on {} (glibc 2.{GLIBC}) that pip can reach; \
             for packages without one, build the image with Docker, podman or buildah",
            request.python, request.platform
        ),
    })
}

/// Returns the acceptable wheel platforms, best first. pip does not infer that newer ones include
/// older ones.
fn tags(platform: Platform) -> Vec<String> {
    let (machine, oldest) = match platform {
        Platform::Amd64 => ("x86_64", 5),
        Platform::Arm64 => ("aarch64", 17),
    };
    (oldest..=GLIBC)
        .rev()
        .flat_map(|minor| {
            // Names from before PEP 600.
            let legacy = match minor {
                17 => Some("manylinux2014"),
                12 if oldest < 12 => Some("manylinux2010"),
                5 => Some("manylinux1"),
                _ => None,
            };
            std::iter::once(format!("manylinux_2_{minor}_{machine}"))
                .chain(legacy.map(|name| format!("{name}_{machine}")))
        })
        .chain([format!("linux_{machine}")])
        .collect()
}

fn pack(tree: &InstalledTree, root: &Path, cache: &Cache, step: impl FnMut()) -> Result<Record> {
    let file = cache.begin()?;
    let mut layer = Writer::new(BufWriter::new(file.reopen()?), Compression::default());
    let place = Path::new(DIRECTORY);
    let mut above: Vec<PathBuf> = place.ancestors().map(Path::to_owned).collect();
    above.pop();
    for directory in above.iter().rev() {
        layer.directory(directory, 0o755)?;
    }
    tree.write(root, place, &mut layer, step)?;
    let (inner, finished) = layer.finish()?;
    inner
        .into_inner()
        .map_err(io::IntoInnerError::into_error)
        .context("cannot write the layer")?;
    let layer = finished(Content::Bytes(Vec::new()));
    cache.insert(file, layer.blob.digest)?;
    Ok(Record {
        digest: layer.blob.digest,
        size: layer.blob.size,
        diff_id: layer.diff_id,
        installed: tree.installed.clone(),
        markers: tree.markers.iter().cloned().collect(),
    })
}

fn dependencies(
    request: &PackageRequest,
    python: &Python,
    cache: &Cache,
    record: Record,
    cached: bool,
) -> Dependencies {
    let doubts = doubts(request, python, &record);
    let path = cache.blob(record.digest);
    Dependencies {
        layer: Layer {
            blob: Blob {
                digest: record.digest,
                size: record.size,
                content: Content::file(path),
            },
            diff_id: record.diff_id,
            media_type: MediaType::ImageLayerGzip,
        },
        installed: record.installed,
        cached,
        doubts,
    }
}

/// Returns the reasons why the same requirements.txt might produce different bytes elsewhere or
/// later.
fn doubts(request: &PackageRequest, python: &Python, record: &Record) -> Vec<String> {
    let requirements = &request.requirements;
    let mut found = Vec::new();
    let loose = requirements.loose();
    if !loose.is_empty() {
        found.push(format!("requirements.txt does not pin {}", list(&loose)));
    }
    if !requirements.is_hashed() {
        let unpinned: Vec<&str> = unpinned(requirements, &record.installed)
            .into_iter()
            .filter(|name| !loose.iter().any(|text| begins_with(text, name)))
            .collect();
        if !unpinned.is_empty() {
            found.push(format!(
                "requirements.txt does not list {}, which other packages need",
                list(&unpinned)
            ));
        }
        found.push("requirements.txt has no hashes".to_owned());
    }
    // pip evaluates markers with the Python that runs it, not with the target's.
    let machine = match request.platform {
        Platform::Amd64 => "x86_64",
        Platform::Arm64 => "aarch64",
    };
    let mut unsure = Vec::new();
    if python.minor().as_ref() != Some(&request.python) {
        unsure.extend([
            "python_version",
            "python_full_version",
            "implementation_version",
        ]);
    }
    if python.machine != machine {
        unsure.push("platform_machine");
    }
    if python.system != "Linux" {
        unsure.extend(["sys_platform", "platform_system", "os_name"]);
    }
    let weighed = record
        .markers
        .iter()
        .map(String::as_str)
        .chain(requirements.markers())
        .any(|marker| unsure.iter().any(|variable| marker.contains(variable)));
    if weighed {
        found.push(format!(
            "packages depend on the Python version or the machine, and pip ran with Python {} on {} {}",
            python.version, python.system, python.machine
        ));
    }
    found
}

/// Returns whether a requirement's text is about this package.
fn begins_with(text: &str, name: &str) -> bool {
    let end = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || "._-".contains(c)))
        .unwrap_or(text.len());
    super::requirements::normalized(&text[..end]) == name
}

/// Lists at most five names, and the number of others.
fn list(names: &[&str]) -> String {
    const SHOWN: usize = 5;
    let shown = names
        .iter()
        .take(SHOWN)
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Fails if requirements have no fixed version.
///
/// # Errors
/// At least one requirement has no fixed version (exit 2).
pub fn refuse_loose(requirements: &Requirements) -> Result<()> {
    let loose = requirements.loose();
    if loose.is_empty() {
        return Ok(());
    }
    Err(mlops_core::error::Failure::usage(format!(
        "{} does not pin {}",
        requirements.file.display(),
        list(&loose)
    )))
    .hint(
        "write NAME==VERSION for each (`pip freeze`, or `uv pip compile --generate-hashes`), or \
         pass --allow-unpinned",
    )
}
