//! `mlops image build`: builds the project's image, with or without a container engine.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use mlops_core::names::{Platform, PythonVersion};
use mlops_core::text::bytes;
use mlops_oci::{Digest, save};
use serde::Serialize;

use crate::config::Builder;
use crate::context::Context;
use crate::project_image::{How, WorkingTreeState, default_output, make};

/// Build the project's image
///
/// Writes an OCI layout directory that `mlops image push DIR`, skopeo and similar tools accept. If
/// a container engine is available, it builds image/Dockerfile. Without one (`--builder layers`),
/// the image consists of the unchanged base, a layer of Python packages from
/// image/requirements.txt, and a layer with image/program/ at /opt/program. That directory comes
/// first in PATH, where SageMaker finds `train` and `serve`. The same inputs give the same digest
/// on any machine at any time; if that cannot be guaranteed, the reasons are listed. The package
/// layer is cached, so pip does not run again when only the program changes.
///
/// Example: mlops image build --builder layers --base python:3.12-slim
#[derive(Debug, clap::Args)]
pub struct BuildArgs {
    #[command(flatten)]
    how: How,
    /// The output directory, which is replaced [default: .mlops/image]
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
    /// Include uncommitted files; the image is labeled as dirty
    #[arg(long)]
    allow_dirty: bool,
}

/// The result of a build.
#[derive(Debug, Serialize)]
pub struct Built {
    /// The OCI layout.
    pub(super) directory: PathBuf,
    /// Digest of the manifest, or of the index if an engine created one.
    pub(super) digest: Digest,
    pub(super) builder: Builder,
    /// `scratch` for an image without a base; `null` if the engine does not report one.
    pub(super) base: Option<String>,
    pub(super) base_digest: Option<Digest>,
    pub(super) platform: Platform,
    /// The Python version of the packages; `null` without a layer of packages.
    pub(super) python: Option<PythonVersion>,
    /// The number of packages in that layer.
    pub(super) packages: Option<usize>,
    /// True if the layer came from the cache.
    pub(super) cached: bool,
    pub(super) commit: String,
    /// Whether the image contains uncommitted files.
    pub(super) dirty: bool,
    /// Whether the same inputs give the same digest on any machine.
    pub(super) reproducible: bool,
    /// Why the image is not reproducible.
    pub(super) because: Vec<String>,
    /// Size in bytes.
    pub(super) size: u64,
    pub(super) seconds: f64,
}

pub(super) async fn run(ctx: &Context, args: &BuildArgs) -> Result<Built> {
    let start = Instant::now();
    let project = ctx.project()?;
    let output = match &args.into {
        Some(into) => ctx.config.directory.join(into),
        None => default_output(&project),
    };
    save::check(&output)?;
    let revision = WorkingTreeState::read(&project, args.allow_dirty)?;
    let made = make(ctx, &project, &args.how, &revision.label(), &output).await?;
    let digest = made.image.digest();
    let size = made.image.size();
    if !made.saved {
        let (image, into) = (made.image, output.clone());
        tokio::task::spawn_blocking(move || save::save(&image, &into)).await??;
    }
    Ok(Built {
        directory: shown(&ctx.config.directory, &output),
        digest,
        builder: made.builder,
        base: made.base,
        base_digest: made.base_digest,
        platform: made.platform,
        python: made.python,
        packages: made.packages,
        cached: made.cached,
        commit: revision.commit,
        dirty: revision.dirty,
        reproducible: made.doubts.is_empty(),
        because: made.doubts,
        size,
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// Returns a path as a person would type it.
fn shown(here: &Path, path: &Path) -> PathBuf {
    path.strip_prefix(here).unwrap_or(path).to_owned()
}

impl fmt::Display for Built {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "built         {}", self.digest)?;
        writeln!(
            f,
            "in            {}, {}",
            self.directory.display(),
            bytes(self.size)
        )?;
        writeln!(
            f,
            "builder       {}, {}",
            self.builder.as_str(),
            self.platform
        )?;
        writeln!(
            f,
            "base          {}",
            self.base.as_deref().unwrap_or("not recorded")
        )?;
        if let (Some(packages), Some(python)) = (self.packages, &self.python) {
            let cached = if self.cached { ", cached" } else { "" };
            writeln!(f, "packages      {packages} for Python {python}{cached}")?;
        }
        let dirty = if self.dirty {
            " (with uncommitted files)"
        } else {
            ""
        };
        writeln!(f, "commit        {}{dirty}", self.commit)?;
        if self.reproducible {
            writeln!(f, "reproducible  yes, {:.1} s", self.seconds)
        } else {
            writeln!(f, "reproducible  no, {:.1} s", self.seconds)?;
            for reason in &self.because {
                writeln!(f, "              {reason}")?;
            }
            Ok(())
        }
    }
}
