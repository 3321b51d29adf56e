//! The program of builds and functions, and the pipelines of branches.

use std::path::Path;

use anyhow::{Result, anyhow};
use mlops_core::error::{Failure, Hint};

use super::report::Deployed;
use super::stacks;
use crate::aws::Clients;
use crate::aws::function_code::Code;
use crate::config::{FILE, Project};
use crate::context::Context;
use crate::delivery;
use crate::infra::{self, Platform, Program};
use crate::scaffold;

/// Returns the program of functions and builds, if they are to be deployed, and the executable to upload, if any.
pub(super) async fn inputs(
    clients: &Clients,
    project: &Project,
    code: Option<Code>,
) -> Result<(Option<Program>, Option<Code>)> {
    if let Some(code) = code {
        return Ok((Some(delivery::program(&code)), Some(code)));
    }
    if project.file.delivery.is_none() {
        return Ok((None, None));
    }
    // It was uploaded before the stack that names it.
    if let Some(program) = delivery::deployed(clients, project).await? {
        return Ok((Some(program), None));
    }
    let own = delivery::own()?;
    Ok((Some(delivery::program(&own)), Some(own)))
}

/// Adds the section `[delivery]` to mlops.toml, if the pipelines could work with it.
pub(super) async fn add_section(
    ctx: &Context,
    clients: &Clients,
    project: &Project,
) -> Result<Project> {
    let section = scaffold::delivery_section(project.file.branches.develop.as_str());
    let (extended, text) = project.with_section(&format!("\n{section}"))?;
    delivery::check_builder(&extended, ctx.config.is_local())?;
    infra::check_source(clients, &extended).await?;
    mlops_validation::files::replace(&project.path(Path::new(FILE)), text.as_bytes())?;
    ctx.progress
        .say(format!("added the section [delivery] to {FILE}: commit it"));
    Ok(extended)
}

/// Writes the files that the builds of `[delivery]` run. If some were missing, the pipelines would not find them in the
/// repository: the error (exit 2) asks to commit them.
pub(super) fn add_buildspecs(project: &Project) -> Result<()> {
    if project.file.delivery.is_none() {
        return Ok(());
    }
    let missing = scaffold::missing_buildspecs(&project.root);
    if missing.is_empty() {
        return Ok(());
    }
    scaffold::write_some(&project.root, &missing)?;
    Err(Failure::usage(format!(
        "the project had no {}, which its pipelines run: written, and nothing was deployed",
        missing.join(", ")
    )))
    .hint("commit and push these files, then run the command again")
}

/// Uploads the executable, if there is one.
pub(super) async fn upload(
    ctx: &Context,
    clients: &Clients,
    platform: &Platform,
    code: Option<Code>,
) -> Result<()> {
    let Some(code) = code else {
        return Ok(());
    };
    let _task = ctx
        .progress
        .task("Uploading mlops for functions and builds");
    code.upload(clients, &platform.artifact_bucket).await
}

/// Deploys the pipelines of the branches that mlops.toml names, and deletes those of other branches. The program's zip
/// must exist: a new pipeline starts at once.
pub(super) async fn branches(
    ctx: &Context,
    clients: &Clients,
    project: &Project,
    program: Option<&Program>,
) -> Result<Vec<Deployed>> {
    let Some(program) = program else {
        return Ok(Vec::new());
    };
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
    let mut deployed = Vec::new();
    for branch in wanted.values() {
        let spec = infra::branch_stack(project, branch, program);
        deployed.push(stacks::deploy(ctx, clients, &spec).await?.0);
    }
    Ok(deployed)
}
