//! How an image is built: the flags, and the image that was built.

use std::path::Path;

use anyhow::Result;
use mlops_core::error::{Failure, Hint};
use mlops_core::names::{Platform, PythonVersion};
use mlops_oci::base::SCRATCH;
use mlops_oci::{Digest, Image};

use crate::config::{Builder, Project};
use crate::context::Context;

/// The flags of a build; mlops.toml has their defaults.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct How {
    /// What builds the image (default: image.builder of mlops.toml)
    #[arg(long, value_enum)]
    builder: Option<Builder>,
    /// What `layers` builds on: scratch, oci:DIR, or an image of a registry
    #[arg(long, value_name = "REF|oci:DIR|scratch")]
    pub(super) base: Option<String>,
    /// The Python of the image, such as 3.12 (default: what the base says)
    #[arg(long, value_name = "VERSION")]
    python: Option<PythonVersion>,
    /// What the image runs on: linux/amd64 or linux/arm64
    #[arg(long)]
    platform: Option<Platform>,
    /// Take any version of what requirements.txt does not pin
    #[arg(long)]
    pub(crate) allow_unpinned: bool,
    /// Whether it must have a base system.
    #[arg(skip)]
    pub(super) for_account: bool,
}

/// What a program alone is built on.
pub(super) const NONE: &str = "none";

/// An image that was made.
pub(crate) struct BuiltImage {
    pub(crate) image: Image,
    /// True when it is in the output directory already.
    pub(crate) saved: bool,
    pub(crate) builder: Builder,
    pub(crate) base: Option<String>,
    pub(crate) base_digest: Option<Digest>,
    pub(crate) platform: Platform,
    pub(crate) python: Option<PythonVersion>,
    pub(crate) packages: Option<usize>,
    pub(crate) cached: bool,
    /// Reasons why the same inputs might give another digest.
    pub(crate) doubts: Vec<String>,
}

impl How {
    /// As mlops.toml has it, for an account or for the local cloud.
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

    /// The requested Python.
    pub(crate) fn python<'a>(&'a self, project: &'a Project) -> Option<&'a PythonVersion> {
        self.python.as_ref().or(project.file.image.python.as_ref())
    }

    /// The base and the directory that its path is relative to.
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

/// Refuses (exit 2) what only the local cloud can run.
pub(crate) fn refuse_without_system(base: Option<&str>) -> Result<()> {
    match base {
        Some(NONE) => Err(Failure::usage(
            "an image of the program alone has no base system, so that SageMaker cannot run it",
        )),
        Some(SCRATCH) => Err(Failure::usage(
            "an image on `scratch` has no base system, so that SageMaker cannot run it",
        )),
        _ => return Ok(()),
    }
    .hint(
        "name a base with a Python, in mlops.toml: [image] base = \
         \"public.ecr.aws/docker/library/python:3.12-slim\"",
    )
    .hint(
        "or let an engine build the Dockerfile: mlops image build --builder docker --into OUT \
         && mlops image push OUT",
    )
}
