//! The two ways to build an image: an engine runs the Dockerfile, or layers are assembled.

use std::path::Path;

use anyhow::{Result, anyhow};
use mlops_core::error::{Failure, Hint};
use mlops_core::names::{Platform, PythonVersion};
use mlops_oci::base::Base;
use mlops_oci::build::{Contents, layers};
use mlops_oci::cache::Cache;
use mlops_oci::dependencies::{self, BuildStep, Dependencies, PackageRequest};
use mlops_oci::engine::{self, Engine, Recipe};
use mlops_oci::pip::{self, Installer};
use mlops_oci::requirements::Requirements;
use mlops_oci::{layout, program};

use super::how::{BuiltImage, How};
use crate::config::{Builder, Project, installer_environment};
use crate::context::Context;

pub(crate) async fn by_engine(
    ctx: &Context,
    engine: Engine,
    program: &Path,
    directory: &Path,
    platform: Platform,
    label: &str,
    output: &Path,
) -> Result<BuiltImage> {
    if !directory.join("Dockerfile").is_file() {
        return Err(anyhow!("no {}", directory.join("Dockerfile").display()))
            .hint("write one, or build without an engine: --builder layers");
    }
    let labels = [(program::REVISION.to_owned(), label.to_owned())];
    let recipe = Recipe {
        directory,
        platform,
        labels: &labels,
    };
    ctx.progress.say(format!("Building with {}", engine.name()));
    engine::build(engine, program, &recipe, output, &mut |line| {
        ctx.progress.say(line);
    })
    .await?;
    let image = layout::read(output)?;
    Ok(BuiltImage {
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
            "{} ran the Dockerfile, whose steps are not reproducible in general",
            engine.name()
        )],
        image,
    })
}

pub(crate) async fn in_layers(
    ctx: &Context,
    project: &Project,
    how: &How,
    directory: &Path,
    label: &str,
) -> Result<BuiltImage> {
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
        Some(requirements) => Some(
            packages(
                ctx,
                requirements,
                how.python(project),
                &base,
                platform,
                &cache,
            )
            .await?,
        ),
        None => None,
    };
    let (name, digest) = (base.name.clone(), base.digest);
    let counted = packages.as_ref().map(|(found, python)| {
        let count = found.installed.len();
        let mut doubts = found.doubts.clone();
        if how.python(project).is_none() && base.python().is_none() {
            doubts.push(format!(
                "the image's Python version is unknown: this machine's {python} was assumed"
            ));
        }
        (count, found.cached, doubts, python.clone())
    });
    let moves = !base.is_scratch() && !name.starts_with("oci:") && !name.contains("@sha256:");
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
    let (packages, cached, mut doubts, python) = match counted {
        Some((count, cached, doubts, python)) => (Some(count), cached, doubts, Some(python)),
        None => (None, false, Vec::new(), None),
    };
    if moves {
        doubts.push(format!(
            "the base {name} is a tag, which can move: use @sha256:… instead"
        ));
    }
    Ok(BuiltImage {
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

/// Builds the layer of packages; returns it with its Python version.
async fn packages(
    ctx: &Context,
    requirements: Requirements,
    requested: Option<&PythonVersion>,
    base: &Base,
    platform: Platform,
    cache: &Cache,
) -> Result<(Dependencies, PythonVersion)> {
    let known = requested.cloned().or_else(|| base.python());
    if known.is_none() && !base.is_scratch() {
        return Err(Failure::usage(format!(
            "the base {} does not specify its Python version",
            base.name
        )))
        .hint("pass --python 3.12, or set image.python in mlops.toml");
    }
    // A Python of that version evaluates the packages' markers as the image's own would.
    let own = known
        .as_ref()
        .and_then(|version| ctx.config.program(&format!("python{version}")));
    let default = || {
        ctx.config
            .python
            .clone()
            .unwrap_or_else(|| "python3".into())
    };
    let mut installer = Installer {
        python: own.clone().unwrap_or_else(default),
        environment: installer_environment(ctx.config.ca_bundle().as_ref()),
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
        .ok_or_else(|| anyhow!("no wheels exist for Python {}", python.version))?;
    let request = PackageRequest {
        requirements,
        python: version.clone(),
        platform,
    };
    let mut shown = None;
    let dependencies =
        dependencies::prepare(
            &request,
            &installer,
            &python,
            cache,
            &mut |step| match step {
                BuildStep::Pip(line) => shown
                    .get_or_insert_with(|| {
                        ctx.progress
                            .task("Installing the packages of requirements.txt")
                    })
                    .detail(line),
                BuildStep::Packing(total) => {
                    shown = Some(ctx.progress.items("Packing the packages", total));
                }
                BuildStep::Packed => {
                    if let Some(task) = &shown {
                        task.advance(1);
                    }
                }
            },
        )
        .await?;
    Ok((dependencies, version))
}
