//! What the pipelines of a project need: settings with which builds can do their work, and the executable that they run.

use anyhow::Result;
use mlops_core::error::{Failure, Hint};

use crate::aws::Clients;
use crate::aws::function_code::Code;
use crate::config::{Builder, ImageSection, Project};
use crate::infra::{self, Program};
use crate::scaffold;

/// The version of this program.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Checks the settings of `[delivery]`.
///
/// # Errors
/// Builds could not do their work (exit 2), or mlops.toml lacks the section although pipelines exist.
pub async fn check(clients: &Clients, project: &Project, is_local: bool) -> Result<()> {
    if project.file.delivery.is_none() {
        let existing = infra::branch_stacks(clients, project).await?;
        let names: Vec<&str> = existing.iter().map(|stack| stack.name.as_str()).collect();
        if !names.is_empty() {
            return Err(Failure::usage(format!(
                "mlops.toml has no section [delivery], but its pipelines are deployed: {}",
                names.join(", ")
            )))
            .hint("restore the section; to remove the pipelines, set `branches = []` in it");
        }
        return Ok(());
    }
    check_builder(project, is_local)?;
    let missing = scaffold::missing_buildspecs(&project.root);
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "the project has no {}, which its pipelines run",
        missing.join(", ")
    )))
    .hint(format!(
        "`{}` writes what is missing; commit and push it",
        clients.command("init")
    ))
}

/// Checks that builds can make the project's image: those of the local cloud can.
///
/// # Errors
/// They could not (exit 2).
pub fn check_builder(project: &Project, is_local: bool) -> Result<()> {
    let image = &project.file.image;
    if !is_local && !builds_in_account(image) {
        return Err(Failure::usage(format!(
            "a build of CodeBuild cannot make the project's image with the builder `{}`{}",
            image.builder.as_str(),
            if image.base.is_none() {
                " and without a base"
            } else {
                ""
            }
        )))
        .hint(
            "set `base` in the section [image] of mlops.toml, such as \
             \"public.ecr.aws/docker/library/python:3.12-slim\", or the builder to docker",
        );
    }
    Ok(())
}

/// Whether a build of CodeBuild can make the image: it has Docker if that is the builder, and no podman or buildah.
fn builds_in_account(image: &ImageSection) -> bool {
    match image.builder {
        Builder::Auto | Builder::Layers => image.base.is_some(),
        Builder::Docker => true,
        Builder::Program | Builder::Podman | Builder::Buildah => false,
    }
}

/// Returns an executable as a program of builds.
pub fn program(code: &Code) -> Program {
    Program {
        checksum: code.checksum.clone(),
        architecture: code.architecture.as_str().to_owned(),
        version: VERSION.to_owned(),
    }
}

/// Reads this executable.
///
/// # Errors
/// Builds cannot run it.
pub fn own() -> Result<Code> {
    if cfg!(target_os = "linux") {
        return Code::read(None);
    }
    Err(Failure::usage(
        "the builds of [delivery] need mlops for Linux",
    ))
    .hint("run `mlops init --linux-binary FILE` with the executable for Linux")
}

/// Returns the deployed program of the builds, if it has this version: the executables of several people do not replace
/// each other.
pub async fn deployed(clients: &Clients, project: &Project) -> Result<Option<Program>> {
    let deployed = Program::deployed(clients, project).await?;
    Ok(deployed.filter(|deployed| deployed.version == VERSION))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_needs_a_base_or_docker() {
        for (builder, without, with) in [
            (Builder::Auto, false, true),
            (Builder::Layers, false, true),
            (Builder::Docker, true, true),
            (Builder::Podman, false, false),
            (Builder::Buildah, false, false),
            (Builder::Program, false, false),
        ] {
            for (base, expected) in [(None, without), (Some("python:3.12".to_owned()), with)] {
                let image = ImageSection {
                    builder,
                    base,
                    ..ImageSection::default()
                };
                assert_eq!(builds_in_account(&image), expected, "{image:?}");
            }
        }
    }
}
