//! Builds an image with the requested or an available builder.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use mlops_core::error::{Failure, Hint};
use mlops_core::names::Platform;
use mlops_oci::base::SCRATCH;
use mlops_oci::engine::Engine;
use mlops_oci::program;

use super::how::{BuiltImage, How, NONE, refuse_without_system};
use super::parts::{by_engine, in_layers};
use crate::config::{Builder, Project};
use crate::context::Context;

/// The builder to use.
enum BuildMethod {
    Engine(Engine, PathBuf),
    Layers,
    Program,
}

/// Builds the image; an engine writes it to `output`.
pub(crate) async fn make(
    ctx: &Context,
    project: &Project,
    how: &How,
    label: &str,
    output: &Path,
) -> Result<BuiltImage> {
    let chosen = choose(ctx, project, how).await?;
    if how.for_account {
        match chosen {
            BuildMethod::Engine(..) => {}
            BuildMethod::Program => refuse_without_system(Some(NONE))?,
            BuildMethod::Layers => {
                let base = how.base(ctx, project).map_or(SCRATCH, |(name, _)| name);
                refuse_without_system(Some(base))?;
            }
        }
    }
    let directory = project.path(&project.file.image.directory);
    let platform = how.platform(project);
    match chosen {
        BuildMethod::Engine(engine, program) => {
            by_engine(ctx, engine, &program, &directory, platform, label, output).await
        }
        BuildMethod::Layers => in_layers(ctx, project, how, &directory, label).await,
        BuildMethod::Program => {
            let label = label.to_owned();
            let image = tokio::task::spawn_blocking(move || {
                program::build(
                    &directory.join("program"),
                    &directory.join("requirements.txt"),
                    &label,
                )
            })
            .await??;
            Ok(BuiltImage {
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

async fn choose(ctx: &Context, project: &Project, how: &How) -> Result<BuildMethod> {
    let with_base = how.base(ctx, project).is_some();
    let builder = how.builder(project);
    let engine = match builder {
        Builder::Layers => return Ok(BuildMethod::Layers),
        Builder::Auto if with_base => return Ok(BuildMethod::Layers),
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
                        && engine.is_running(&program).await
                    {
                        return Ok(BuildMethod::Engine(engine, program));
                    }
                }
            }
            return Ok(BuildMethod::Layers);
        }
    };
    if how.base.is_some() {
        return Err(Failure::usage(format!(
            "--base requires --builder layers; {} does not support it",
            builder.as_str()
        )));
    }
    let Some(engine) = engine else {
        return Ok(BuildMethod::Program);
    };
    let name = engine.name();
    let advice = "or build without an engine: --builder layers";
    let program = ctx
        .config
        .program(name)
        .ok_or_else(|| anyhow!("{name} is not on PATH"))
        .hint(format!("install {name}, {advice}"))?;
    if !engine.is_running(&program).await {
        return Err(anyhow!(
            "{name} is installed, but its engine does not respond"
        ))
        .hint(format!("start it, {advice}"));
    }
    Ok(BuildMethod::Engine(engine, program))
}
