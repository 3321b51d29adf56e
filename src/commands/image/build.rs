//! `mlops image build`: the image of the project's image directory, by a container engine or
//! without one.

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
/// Writes an OCI layout directory, which `mlops image push DIR`, skopeo and others take. A
/// container engine that is there builds image/Dockerfile. Without one (`--builder layers`) the
/// image is made of three parts: the base as it is, a layer of Python packages from
/// image/requirements.txt, and a layer of image/program/ under /opt/program, which comes first in
/// PATH: SageMaker finds `train` and `serve` there. The same inputs give the same digest on
/// any machine and day; what stands against it is said. The packages' layer is kept: after a change
/// of the program pip does not run.
///
/// Example: mlops image build --builder layers --base python:3.12-slim
#[derive(Debug, clap::Args)]
pub struct BuildArgs {
    #[command(flatten)]
    how: How,
    /// The layout directory, which is replaced (default: .mlops/image)
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
    /// Build from files that are not committed; the image says so
    #[arg(long)]
    allow_dirty: bool,
}

/// An image that was built.
#[derive(Debug, Serialize)]
pub struct Built {
    /// The OCI layout.
    pub(super) directory: PathBuf,
    /// Of the manifest, or of the index where an engine made one.
    pub(super) digest: Digest,
    pub(super) builder: Builder,
    /// `scratch` where nothing is below; `null` where the engine does not say.
    pub(super) base: Option<String>,
    pub(super) base_digest: Option<Digest>,
    pub(super) platform: Platform,
    /// The Python that the packages are for; `null` without a layer of packages.
    pub(super) python: Option<PythonVersion>,
    /// How many packages that layer has.
    pub(super) packages: Option<usize>,
    /// True when the layer was made before.
    pub(super) cached: bool,
    pub(super) commit: String,
    /// Whether it contains uncommitted files.
    pub(super) dirty: bool,
    /// Whether the same inputs give the same digest on any machine.
    pub(super) reproducible: bool,
    /// Why not.
    pub(super) because: Vec<String>,
    /// In bytes.
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

/// A path as a person would type it.
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
            let cached = if self.cached { ", made before" } else { "" };
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
