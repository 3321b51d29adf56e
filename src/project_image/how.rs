//! Options of an image build, and its result.

use std::path::Path;

use anyhow::Result;
use mlops_core::error::{Failure, Hint};
use mlops_core::names::{Platform, PythonVersion};
use mlops_oci::base::SCRATCH;
use mlops_oci::{Digest, Image};

use crate::config::{Builder, Project};
use crate::context::Context;

/// The flags of a build; mlops.toml sets their defaults.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct How {
    /// The builder [default: image.builder of mlops.toml]
    #[arg(long, value_enum)]
    builder: Option<Builder>,
    /// The base for `layers`: scratch, oci:DIR, or an image in a registry
    #[arg(long, value_name = "REF|oci:DIR|scratch")]
    pub(super) base: Option<String>,
    /// The Python version of the image, such as 3.12 [default: that of the base]
    #[arg(long, value_name = "VERSION")]
    python: Option<PythonVersion>,
    /// The platform of the image: linux/amd64 or linux/arm64
    #[arg(long)]
    platform: Option<Platform>,
    /// Accept any version of packages that requirements.txt does not pin
    #[arg(long)]
    pub(crate) allow_unpinned: bool,
    /// Whether the image must have a base system.
    #[arg(skip)]
    pub(super) for_account: bool,
}

/// The base of an image with the program alone.
pub(super) const NONE: &str = "none";

/// The result of a build.
pub(crate) struct BuiltImage {
    pub(crate) image: Image,
    /// True if it is already in the output directory.
    pub(crate) saved: bool,
    pub(crate) builder: Builder,
    pub(crate) base: Option<String>,
    pub(crate) base_digest: Option<Digest>,
    pub(crate) platform: Platform,
    pub(crate) python: Option<PythonVersion>,
    pub(crate) packages: Option<usize>,
    pub(crate) cached: bool,
    /// Reasons why the same inputs might give a different digest.
    pub(crate) doubts: Vec<String>,
}

impl How {
    /// Returns the settings of mlops.toml, for an account or for the local cloud.
    pub(crate) fn for_push(for_account: bool) -> Self {
        Self {
            for_account,
            ..Self::default()
        }
    }

    pub(super) fn builder(&self, project: &Project) -> Builder {
        self.builder.unwrap_or(project.file.image.builder)
    }

    pub(crate) fn platform(&self, project: &Project) -> Platform {
        self.platform.unwrap_or(project.file.image.platform)
    }

    /// Returns the requested Python version.
    pub(crate) fn python<'a>(&'a self, project: &'a Project) -> Option<&'a PythonVersion> {
        self.python.as_ref().or(project.file.image.python.as_ref())
    }

    /// Returns the base and the directory that its path is relative to.
    pub(crate) fn base<'a>(
        &'a self,
        ctx: &'a Context,
        project: &'a Project,
    ) -> Option<(&'a str, &'a Path)> {
        let requested = self
            .base
            .as_deref()
            .map(|base| (base, &*ctx.config.directory));
        let written = project.file.image.base.as_deref();
        requested.or_else(|| written.map(|base| (base, &*project.root)))
    }
}

/// Fails (exit 2) for an image that only the local cloud can run.
pub(crate) fn refuse_without_system(base: Option<&str>) -> Result<()> {
    match base {
        Some(NONE) => Err(Failure::usage(
            "SageMaker cannot run an image of the program alone: it has no base system",
        )),
        Some(SCRATCH) => Err(Failure::usage(
            "SageMaker cannot run an image on `scratch`: it has no base system",
        )),
        _ => return Ok(()),
    }
    .hint(
        "set a base with Python in mlops.toml: [image] base = \
         \"public.ecr.aws/docker/library/python:3.12-slim\"",
    )
    .hint(
        "or build the Dockerfile with an engine: mlops image build --builder docker --into OUT \
         && mlops image push OUT",
    )
}
