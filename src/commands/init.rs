//! `mlops init`: deploys the architecture and creates a project.

mod registry;
mod report;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};

pub use self::report::Initialized;
use self::report::{Deployed, Started};
use crate::aws::{AwsResultExt, Clients, ecr};
use crate::config::Project;
use crate::context::Context;
use crate::git::{REMOTE, Repository};
use crate::infra::{self, Network, Platform, StackOutcome, StackSpec, Workbench};
use crate::scaffold;
use mlops_core::error::{Exit, Failure, Hint};
use mlops_core::names::ProjectName;

/// Create a project and deploy the architecture to the account
///
/// In a new directory, writes a working example project, creates a git repository, and deploys
/// five CloudFormation stacks: data (key, versioned buckets), network, registry (images, model
/// versions), governance (a role per actor) and workbench (git repositories, notebook). In an
/// existing project, updates the stacks and writes no files. Running it again changes nothing. With --local, the new
/// project remembers the local cloud (`local = true` in mlops.toml), and later commands do not need
/// --local.
///
/// Example: mlops init --name flights --local
#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// The project's name [default: the name of the directory]; required if the directory is not
    /// empty
    #[arg(long, value_name = "NAME")]
    name: Option<ProjectName>,
}

/// Outputs of stacks.
type Outputs = BTreeMap<String, String>;

/// Creates a project, or updates an existing one.
pub async fn run(ctx: &Context, args: &InitArgs) -> Result<Initialized> {
    let (project, started) = match ctx.config.find_project()? {
        Some(project) => (existing(ctx, args, project).await?, Started::default()),
        None => start(ctx, args).await?,
    };
    let clients = ctx.aws_for(&project).await?;
    let _note = ctx.on_interrupt(format!(
        "CloudFormation continues in the background; run `{}` again to finish",
        ctx.command("init")
    ));

    let name = &project.file.name;
    let mut stacks = Vec::new();
    let mut outputs = deploy(ctx, clients, &infra::data_stack(&project), &mut stacks).await?;
    let spec = infra::network_stack(&project);
    let network = Network::read(&spec.name, &deploy(ctx, clients, &spec, &mut stacks).await?)?;
    outputs.extend(registry::deploy(ctx, clients, &project, &mut stacks).await?);
    let spec = infra::governance_stack(&project);
    outputs.extend(deploy(ctx, clients, &spec, &mut stacks).await?);
    let mut platform = Platform::read(name, &outputs)?;
    let spec = infra::workbench_stack(&project);
    let mut workbench =
        Workbench::read(&spec.name, &deploy(ctx, clients, &spec, &mut stacks).await?)?;
    // The address of a local cloud may have changed since the stacks were created.
    let repository = &platform.image_repository;
    platform.image_repository_uri = ecr::repository_uri(clients, repository).await?.to_string();
    workbench.image_repository_url = clone_url(clients, name.as_str()).await?;
    if let Some(repository) = Repository::find(&project.root)? {
        repository.set_remote(REMOTE, &workbench.image_repository_url)?;
        if ctx.config.local {
            let url = &workbench.image_repository_url;
            repository.set_credential_helper(url, &ctx.config.local_state())?;
        }
    }

    Ok(Initialized {
        name: project.file.name.clone(),
        account: project.file.account.clone(),
        region: project.file.region.clone(),
        directory: project.root,
        files: started.files,
        commit: started.commit,
        stacks,
        network,
        platform,
        workbench,
        program: ctx.config.path_of_mlops(),
        next: ctx.config.first_command("image push"),
    })
}

/// Checks an existing project against the name, account and region of this command.
async fn existing(ctx: &Context, args: &InitArgs, project: Project) -> Result<Project> {
    if let Some(name) = &args.name
        && *name != project.file.name
    {
        return Err(Failure::usage(format!(
            "this directory contains the project {}, not {name}",
            project.file.name
        )))
        .hint("create the other project in a separate directory");
    }
    let clients = ctx.aws_of(&project).await?;
    let account = clients.account().await?;
    if account != project.file.account || clients.region() != project.file.region {
        return Err(Failure::new(
            Exit::Credentials,
            format!(
                "{} belongs to account {} ({}), but these credentials are for {account} ({})",
                project.file.name,
                project.file.account,
                project.file.region,
                clients.region()
            ),
        ))
        .hint(
            "pass a different --profile or --region; to move the project, change account and \
             region (and `local`) in mlops.toml, then run `mlops init`",
        );
    }
    infra::check_name(&project.file.name, account, clients.region())?;
    if ctx.config.local && !ctx.config.remembers_local() {
        ctx.progress.say(
            "add `local = true` at the top of mlops.toml to use the local cloud without --local",
        );
    }
    Ok(project)
}

/// Writes a new project and commits it.
async fn start(ctx: &Context, args: &InitArgs) -> Result<(Project, Started)> {
    let directory = &ctx.config.directory;
    let name = match &args.name {
        Some(name) => name.clone(),
        None => name_of(directory)?,
    };
    scaffold::check(directory)?;
    let before = Repository::find(directory)?;
    let clients = ctx.aws().await?;
    let (account, region) = (clients.account().await?, clients.region());
    infra::check_name(&name, account, region)?;

    let files = scaffold::write(directory, &name, account, region, ctx.config.local)?;
    let project = ctx.project()?;
    let repository = match before {
        Some(repository) => repository,
        None => Repository::init(directory, &project.file.branches.develop)?,
    };
    let mut commit = None;
    if repository.head()?.is_none() {
        repository.begin_branch(&project.file.branches.develop)?;
        repository.commit(&files, &format!("Start {name}"))?;
        commit = repository.head()?;
    }
    Ok((project, Started { files, commit }))
}

/// Derives the project's name from an empty directory.
fn name_of(directory: &Path) -> Result<ProjectName> {
    const OURS: [&str; 2] = [".git", ".mlops"];

    let foreign = std::fs::read_dir(directory)
        .with_context(|| format!("cannot read {}", directory.display()))?
        .flatten()
        .map(|entry| entry.file_name())
        .find(|name| !OURS.iter().any(|ours| name == ours));
    if let Some(foreign) = foreign {
        return Err(Failure::usage(format!(
            "{} is not empty: it has {}",
            directory.display(),
            foreign.display()
        )))
        .hint("use an empty directory, or pass --name to create the project next to these files");
    }
    let name = directory
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    name.parse()
        .map_err(|error| Failure::usage(format!("{error}")))
        .hint("the project is named after the directory unless you pass --name")
}

async fn deploy(
    ctx: &Context,
    clients: &Clients,
    spec: &StackSpec,
    stacks: &mut Vec<Deployed>,
) -> Result<Outputs> {
    let StackOutcome {
        stack,
        action,
        changes,
        outputs,
    } = infra::deploy(clients, ctx.waiter, &ctx.progress, spec).await?;
    stacks.push(Deployed {
        stack,
        action,
        changes: changes.len(),
    });
    Ok(outputs)
}

async fn clone_url(clients: &Clients, repository: &str) -> Result<String> {
    let doing = format!("cannot read the CodeCommit repository {repository}");
    clients
        .codecommit
        .get_repository()
        .repository_name(repository)
        .send()
        .await
        .aws(&doing)?
        .repository_metadata
        .and_then(|metadata| metadata.clone_url_http)
        .context(doing)
}
