//! How an image is built: what was asked for, and what this machine has.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};

use crate::config::{Builder, Project, installer_environment};
use crate::context::Context;
use crate::error::{Failure, Hint};
use crate::image::base::{Base, SCRATCH};
use crate::image::build::{Contents, layers};
use crate::image::cache::Cache;
use crate::image::dependencies::{self, Dependencies, Step, Wanted};
use crate::image::engine::{self, Engine, Recipe};
use crate::image::pip::{self, Installer};
use crate::image::requirements::Requirements;
use crate::image::{Image, layout, program};
use crate::names::{Platform, PythonVersion};

/// The flags of a build; mlops.toml has their defaults.
#[derive(Debug, Default, clap::Args)]
pub(in crate::commands::image) struct How {
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
    allow_unpinned: bool,
}

/// An image that was made.
pub(in crate::commands::image) struct Made {
    pub(in crate::commands::image) image: Image,
    /// True when it is in the output directory already.
    pub(in crate::commands::image) saved: bool,
    pub(in crate::commands::image) builder: Builder,
    pub(in crate::commands::image) base: Option<String>,
    pub(in crate::commands::image) base_digest: Option<String>,
    pub(in crate::commands::image) platform: Platform,
    pub(in crate::commands::image) python: Option<PythonVersion>,
    pub(in crate::commands::image) packages: Option<usize>,
    pub(in crate::commands::image) cached: bool,
    /// Why the same inputs might give another digest.
    pub(in crate::commands::image) doubts: Vec<String>,
}

impl How {
    fn builder(&self, project: &Project) -> Builder {
        self.builder.unwrap_or(project.file.image.builder)
    }

    fn platform(&self, project: &Project) -> Platform {
        self.platform.unwrap_or(project.file.image.platform)
    }

    /// The base and the directory that its path is relative to.
    fn base<'a>(&'a self, ctx: &'a Context, project: &'a Project) -> Option<(&'a str, &'a Path)> {
        let asked = self.base.as_deref().map(|base| (base, &*ctx.config.directory));
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
pub(in crate::commands::image) async fn make(
    ctx: &Context,
    project: &Project,
    how: &How,
    label: &str,
    output: &Path,
) -> Result<Made> {
    let chosen = choose(ctx, project, how).await?;
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
                base: Some(SCRATCH.to_owned()),
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
        return Err(anyhow!(
            "{name} is there, but its engine does not answer"
        ))
        .hint(format!("start it, {advice}"));
    }
    Ok(Chosen::Engine(engine, program))
}

async fn by_engine(
    ctx: &Context,
    engine: Engine,
    program: &Path,
    directory: &Path,
    platform: Platform,
    label: &str,
    output: &Path,
) -> Result<Made> {
    if !directory.join("Dockerfile").is_file() {
        return Err(anyhow!("there is no {}", directory.join("Dockerfile").display()))
            .hint("write one, or build without an engine: --builder layers");
    }
    let labels = [(program::REVISION.to_owned(), label.to_owned())];
    let recipe = Recipe {
        directory,
        platform,
        labels: &labels,
    };
    ctx.progress
        .say(format!("Building with {}", engine.name()));
    engine::build(engine, program, &recipe, output, &mut |line| {
        ctx.progress.say(line);
    })
    .await?;
    let image = layout::read(output)?;
    Ok(Made {
        saved: true,
        builder: match engine {
            Engine::Docker => Builder::Docker,
            Engine::Podman => Builder::Podman,
            Engine::Buildah => Builder::Buildah,
        },
        base: image.base.clone(),
        base_digest: None,
        platform,
        python: None,
        packages: None,
        cached: false,
        doubts: vec![format!(
            "{} ran the Dockerfile, whose steps may do anything",
            engine.name()
        )],
        image,
    })
}

async fn in_layers(
    ctx: &Context,
    project: &Project,
    how: &How,
    directory: &Path,
    label: &str,
) -> Result<Made> {
    let platform = how.platform(project);
    let cache = Cache::new(ctx.config.cache.join("image"));
    let requirements = Requirements::read(&directory.join("requirements.txt"))?;
    if let Some(requirements) = &requirements
        && !how.allow_unpinned
    {
        dependencies::refuse_loose(requirements)?;
    }
    let base = super::base::find(ctx, how.base(ctx, project), platform, &cache).await?;
    let packages = match requirements {
        Some(requirements) => {
            let asked = how.python.as_ref().or(project.file.image.python.as_ref());
            Some(packages(ctx, requirements, asked, &base, platform, &cache).await?)
        }
        None => None,
    };
    let (name, digest) = (base.name.clone(), base.digest.clone());
    let counted = packages.as_ref().map(|(found, python)| {
        let count = found.installed.len();
        (count, found.cached, found.doubts.clone(), python.clone())
    });
    let (directory, label) = (directory.to_owned(), label.to_owned());
    let image = tokio::task::spawn_blocking(move || {
        let contents = Contents {
            directory: &directory,
            revision: &label,
            dependencies: packages,
        };
        layers(base, contents)
    })
    .await??;
    let (packages, cached, doubts, python) = match counted {
        Some((count, cached, doubts, python)) => (Some(count), cached, doubts, Some(python)),
        None => (None, false, Vec::new(), None),
    };
    Ok(Made {
        image,
        saved: false,
        builder: Builder::Layers,
        base: Some(name),
        base_digest: digest,
        platform,
        python,
        packages,
        cached,
        doubts,
    })
}

/// The layer of the packages, and the Python that it is for.
async fn packages(
    ctx: &Context,
    requirements: Requirements,
    asked: Option<&PythonVersion>,
    base: &Base,
    platform: Platform,
    cache: &Cache,
) -> Result<(Dependencies, PythonVersion)> {
    let known = asked.cloned().or_else(|| base.python());
    if known.is_none() && !base.is_scratch() {
        return Err(Failure::usage(format!(
            "the base {} does not say which Python it has",
            base.name
        )))
        .hint("say it: --python 3.12, or image.python in mlops.toml");
    }
    // The Python of that version weighs the packages' markers as the image's would.
    let own = known
        .as_ref()
        .and_then(|version| ctx.config.program(&format!("python{version}")));
    let default = || ctx.config.python.clone().unwrap_or_else(|| "python3".into());
    let mut installer = Installer {
        python: own.clone().unwrap_or_else(default),
        environment: installer_environment(),
        cache: ctx.config.cache.join("venvs"),
    };
    let python = match pip::inspect(&installer).await {
        Err(_) if own.is_some() => {
            installer.python = default();
            pip::inspect(&installer).await?
        }
        inspected => inspected?,
    };
    let version = known
        .or_else(|| python.minor())
        .ok_or_else(|| anyhow!("Python {} is none for which there are wheels", python.version))?;
    let wanted = Wanted {
        requirements,
        python: version.clone(),
        platform,
    };
    let mut shown = None;
    let dependencies = dependencies::prepare(&wanted, &installer, &python, cache, &mut |step| {
        match step {
            Step::Pip(line) => shown
                .get_or_insert_with(|| {
                    ctx.progress
                        .task("Installing the packages of requirements.txt")
                })
                .detail(line),
            Step::Packing(total) => {
                shown = Some(ctx.progress.items("Packing the packages", total));
            }
            Step::Packed => {
                if let Some(task) = &shown {
                    task.advance(1);
                }
            }
        }
    })
    .await?;
    Ok((dependencies, version))
}
