//! How an image is built: what was asked for, and what this machine has.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use mlops_core::error::{Failure, Hint};
use mlops_core::names::{Platform, PythonVersion};
use mlops_oci::base::SCRATCH;
use mlops_oci::engine::Engine;
use mlops_oci::{Image, program};

use super::parts::{by_engine, in_layers};
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
    base: Option<String>,
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
    for_account: bool,
}

/// What a program alone is built on.
const NONE: &str = "none";

/// An image that was made.
pub(crate) struct Made {
    pub(crate) image: Image,
    /// True when it is in the output directory already.
    pub(crate) saved: bool,
    pub(crate) builder: Builder,
    pub(crate) base: Option<String>,
    pub(crate) base_digest: Option<String>,
    pub(crate) platform: Platform,
    pub(crate) python: Option<PythonVersion>,
    pub(crate) packages: Option<usize>,
    pub(crate) cached: bool,
    /// Why the same inputs might give another digest.
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

    fn builder(&self, project: &Project) -> Builder {
        self.builder.unwrap_or(project.file.image.builder)
    }

    pub(crate) fn platform(&self, project: &Project) -> Platform {
        self.platform.unwrap_or(project.file.image.platform)
    }

    /// The Python that was asked for.
    pub(crate) fn python<'a>(&'a self, project: &'a Project) -> Option<&'a PythonVersion> {
        self.python.as_ref().or(project.file.image.python.as_ref())
    }

    /// The base and the directory that its path is relative to.
    pub(crate) fn base<'a>(
        &'a self,
        ctx: &'a Context,
        project: &'a Project,
    ) -> Option<(&'a str, &'a Path)> {
        let asked = self
            .base
            .as_deref()
            .map(|base| (base, &*ctx.config.directory));
        let written = project.file.image.base.as_deref();
        asked.or_else(|| written.map(|base| (base, &*project.root)))
    }
}

/// Who builds.
enum Chosen {
    Engine(Engine, PathBuf),
    Layers,
    Program,
}

/// Makes the image; an engine writes it to `output`.
pub(crate) async fn make(
    ctx: &Context,
    project: &Project,
    how: &How,
    label: &str,
    output: &Path,
) -> Result<Made> {
    let chosen = choose(ctx, project, how).await?;
    if how.for_account {
        match chosen {
            Chosen::Engine(..) => {}
            Chosen::Program => refuse_without_system(Some(NONE))?,
            Chosen::Layers => {
                let base = how.base(ctx, project).map_or(SCRATCH, |(name, _)| name);
                refuse_without_system(Some(base))?;
            }
        }
    }
    let directory = project.path(&project.file.image.directory);
    let platform = how.platform(project);
    match chosen {
        Chosen::Engine(engine, program) => {
            by_engine(ctx, engine, &program, &directory, platform, label, output).await
        }
        Chosen::Layers => in_layers(ctx, project, how, &directory, label).await,
        Chosen::Program => {
            let label = label.to_owned();
            let image = tokio::task::spawn_blocking(move || {
                program::build(
                    &directory.join("program"),
                    &directory.join("requirements.txt"),
                    &label,
                )
            })
            .await??;
            Ok(Made {
                image,
                saved: false,
                builder: Builder::Program,
                base: Some(NONE.to_owned()),
                base_digest: None,
                platform: Platform::Amd64,
                python: None,
                packages: None,
                cached: false,
                doubts: Vec::new(),
            })
        }
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

async fn choose(ctx: &Context, project: &Project, how: &How) -> Result<Chosen> {
    let with_base = how.base(ctx, project).is_some();
    let builder = how.builder(project);
    let engine = match builder {
        Builder::Layers => return Ok(Chosen::Layers),
        Builder::Auto if with_base => return Ok(Chosen::Layers),
        Builder::Program => None,
        Builder::Auto if ctx.config.is_local() => None,
        Builder::Docker => Some(Engine::Docker),
        Builder::Podman => Some(Engine::Podman),
        Builder::Buildah => Some(Engine::Buildah),
        Builder::Auto => {
            let directory = project.path(&project.file.image.directory);
            if directory.join("Dockerfile").is_file() {
                for engine in Engine::ALL {
                    if let Some(program) = ctx.config.program(engine.name())
                        && engine.answers(&program).await
                    {
                        return Ok(Chosen::Engine(engine, program));
                    }
                }
            }
            return Ok(Chosen::Layers);
        }
    };
    if how.base.is_some() {
        return Err(Failure::usage(format!(
            "--base is for --builder layers; {} takes no base",
            builder.as_str()
        )));
    }
    let Some(engine) = engine else {
        return Ok(Chosen::Program);
    };
    let name = engine.name();
    let advice = "or build without an engine: --builder layers";
    let program = ctx
        .config
        .program(name)
        .ok_or_else(|| anyhow!("{name} is not on PATH"))
        .hint(format!("install {name}, {advice}"))?;
    if !engine.answers(&program).await {
        return Err(anyhow!("{name} is there, but its engine does not answer"))
            .hint(format!("start it, {advice}"));
    }
    Ok(Chosen::Engine(engine, program))
}
