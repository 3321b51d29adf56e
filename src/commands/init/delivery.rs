//! The program of builds and functions, and the pipelines of branches.

use anyhow::{Result, anyhow};
use mlops_core::error::{Failure, Hint};

use super::report::Deployed;
use super::stacks;
use crate::aws::Clients;
use crate::aws::function_code::Code;
use crate::config::{Builder, Project};
use crate::context::Context;
use crate::infra::{self, Platform, Program};
use crate::{program, scaffold};

/// Returns the program of the builds, and the executable to upload, if any.
///
/// # Errors
/// Builds could not do their work, or mlops.toml lacks the section `[delivery]` although pipelines exist.
pub(super) async fn inputs(
    ctx: &Context,
    clients: &Clients,
    project: &Project,
    code: Option<Code>,
) -> Result<(Option<Program>, Option<Code>)> {
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
        return Ok((None, code));
    }
    let image = &project.file.image;
    let builds_nothing = match image.builder {
        Builder::Auto => image.base.is_none(),
        Builder::Program | Builder::Podman | Builder::Buildah => true,
        Builder::Docker | Builder::Layers => false,
    };
    if builds_nothing && !ctx.config.is_local() {
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
    if let Some(path) = scaffold::missing_buildspecs(&project.root).next() {
        return Err(Failure::usage(format!(
            "the project has no {path}, which its pipelines run"
        )))
        .hint(format!(
            "run `{}` in an empty directory and copy its buildspecs/, then commit them",
            ctx.command("init --empty --name x")
        ));
    }
    let program = program::of_builds(clients, project, code.as_ref()).await?;
    if code.is_some() || !cfg!(target_os = "linux") {
        return Ok((program, code));
    }
    // The deployed program needs no upload.
    let own = Code::read(None)?;
    let is_own = program
        .as_ref()
        .is_some_and(|program| program.checksum == own.checksum);
    Ok((program, is_own.then_some(own)))
}

/// Uploads the executable; returns the key of its zip and its architecture.
pub(super) async fn upload(
    ctx: &Context,
    clients: &Clients,
    platform: &Platform,
    code: Code,
) -> Result<(String, String)> {
    let _task = ctx
        .progress
        .task("Uploading mlops for functions and builds");
    let found = (code.key.clone(), code.architecture.as_str().to_owned());
    code.upload(clients, &platform.artifact_bucket).await?;
    Ok(found)
}

/// Deploys the pipelines of the branches that mlops.toml names, and deletes those of other branches. The program's zip
/// must exist: a new pipeline starts at once.
pub(super) async fn branches(
    ctx: &Context,
    clients: &Clients,
    project: &Project,
    program: Option<&Program>,
) -> Result<Vec<Deployed>> {
    let wanted = infra::branch_names(project);
    for stack in infra::branch_stacks(clients, project).await? {
        if wanted.contains_key(&stack.name) {
            continue;
        }
        if let Some(reason) = infra::delete(clients, ctx.waiter, &ctx.progress, &stack).await? {
            return Err(anyhow!("{} could not be deleted: {reason}", stack.name))
                .hint("remove the obstacle, then run the command again");
        }
    }
    let Some(program) = program else {
        return Ok(Vec::new());
    };
    let mut deployed = Vec::new();
    for branch in wanted.values() {
        let spec = infra::branch_stack(project, branch, program);
        deployed.push(stacks::deploy(ctx, clients, &spec).await?.0);
    }
    Ok(deployed)
}
