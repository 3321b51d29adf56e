//! `mlops init`: deploys the architecture and creates a project.

mod report;
mod seed;
mod stacks;
mod start;

use std::path::PathBuf;

use anyhow::{Context as _, Result};

pub use self::report::Initialized;
use self::report::{Seeds, Started};
use self::seed::Seed;
use self::stacks::Deployments;
use crate::aws::function_code::Code;
use crate::aws::{AwsResultExt, Clients, ecr};
use crate::config::{CodeProvider, CodeSource, NetworkAccess, Project};
use crate::context::Context;
use crate::git::{REMOTE, Repository};
use crate::infra::{self, Network, PARTS, Part, Platform, Workbench};
use mlops_core::error::{Exit, Failure, Hint};
use mlops_core::names::ProjectName;

/// Create a project and deploy the architecture to the account
///
/// In a new directory, writes a working example project, creates a git repository, and deploys
/// six CloudFormation stacks: data (key, versioned buckets), network, registry (images, model
/// versions), code (git repositories), governance (a role per actor) and workbench (notebook). In
/// an existing project, updates the stacks and writes no files. Running it again changes nothing,
/// and after an interruption it continues. On a terminal, prompts for options that no flag sets. With --local,
/// the new project remembers the local cloud (`local = true` in mlops.toml), and later commands do
/// not need --local.
///
/// Example: mlops init --name flights --local
#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// The project's name [default: the name of the directory]; required if the directory is not
    /// empty
    #[arg(long, value_name = "NAME")]
    name: Option<ProjectName>,
    /// How notebooks and jobs reach other networks [default: nat]
    #[arg(long, value_enum, value_name = "ACCESS")]
    network: Option<NetworkAccess>,
    /// Where the git repositories are [default: codecommit]
    #[arg(long, value_enum, value_name = "SOURCE")]
    source: Option<CodeSource>,
    /// The provider of the git repositories, with --source codeconnections [default: github]
    #[arg(long, value_enum, value_name = "PROVIDER")]
    provider: Option<CodeProvider>,
    /// Also deploy the function of `mlops validate --on lambda`, with this executable for Linux
    /// (docs/validation.md); without the flag, the first such validation deploys it with the
    /// executable that runs the command
    #[arg(long, value_name = "FILE")]
    linux_binary: Option<PathBuf>,
    /// Write no example: only mlops.toml and what every project needs
    #[arg(long)]
    empty: bool,
}

/// Creates a project, or updates an existing one.
pub async fn run(ctx: &Context, args: &InitArgs) -> Result<Initialized> {
    let binary = args.linux_binary.as_deref();
    let code = binary.map(|file| Code::read(Some(file))).transpose()?;
    let (project, started) = match ctx.config.find_project()? {
        Some(project) => (existing(ctx, args, project).await?, Started::default()),
        None => start::start(ctx, args).await?,
    };
    let clients = ctx.aws_for(&project).await?;
    let _note = ctx.on_interrupt(format!(
        "CloudFormation continues in the background; run `{}` again to finish",
        ctx.command("init")
    ));

    infra::check_source(clients, &project).await?;
    let name = &project.file.name;
    let initial = PARTS.into_iter().filter(|part| part.is_deployed_by_init());
    let (last, first): (Vec<Part>, Vec<Part>) = initial.partition(|part| *part == Part::Workbench);
    let mut deployments = Deployments::default();
    let parts = first.into_iter();
    deployments.deploy(ctx, clients, &project, parts).await?;
    // The notebook clones the repositories when it is created: their first commits come before it.
    let (repositories, url) = seed(ctx, clients, &project).await?;
    let parts = last.into_iter();
    deployments.deploy(ctx, clients, &project, parts).await?;

    let network = Network::read(name, &deployments.outputs)?;
    let mut platform = Platform::read(name, &deployments.outputs)?;
    let mut workbench = Workbench::read(name, &deployments.outputs)?;
    let mut deployed = deployments.into_stacks();
    if let Some(code) = code {
        deployed.push(stacks::validation(ctx, clients, &project, &platform, code).await?);
    }
    // The address of a local cloud may have changed since the stacks were created.
    let repository = &platform.image_repository;
    platform.image_repository_uri = ecr::repository_uri(clients, repository).await?.to_string();
    if url.is_some() {
        workbench.image_repository_url = url;
    }

    Ok(Initialized {
        name: project.file.name.clone(),
        account: project.file.account.clone(),
        region: project.file.region.clone(),
        directory: project.root.clone(),
        files: started.files,
        commit: started.commit,
        stacks: deployed,
        network,
        platform,
        workbench,
        repositories,
        program: ctx.config.path_of_mlops(),
        next: if project.path(&project.file.image.directory).is_dir() {
            ctx.config.first_command("image push")
        } else {
            "write image/ and pipeline.json (docs/contract.md)".to_owned()
        },
    })
}

/// Pushes the first commits of the git repositories, if they are in CodeCommit; returns the address of the
/// project's own.
async fn seed(
    ctx: &Context,
    clients: &Clients,
    project: &Project,
) -> Result<(Seeds, Option<String>)> {
    let mut seeds = Seeds {
        image: Seed::Empty,
        exploration: Seed::Empty,
    };
    if project.file.architecture.source != CodeSource::Codecommit {
        return Ok((seeds, None));
    }
    let url = clone_url(clients, project.file.name.as_str()).await?;
    seeds.exploration = seed::exploration(clients, project).await?;
    if let Some(repository) = Repository::find(&project.root)? {
        repository.set_remote(REMOTE, &url)?;
        if ctx.config.local {
            repository.set_credential_helper(&url, &ctx.config.local_state())?;
        }
        seeds.image = seed::image(ctx, project, &repository)?;
    }
    Ok((seeds, Some(url)))
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
    let architecture = &project.file.architecture;
    for (flag, wanted, known) in [
        (
            "network",
            args.network.map(NetworkAccess::as_str),
            architecture.network.as_str(),
        ),
        (
            "source",
            args.source.map(CodeSource::as_str),
            architecture.source.as_str(),
        ),
        (
            "provider",
            args.provider.map(CodeProvider::as_str),
            architecture.provider.as_str(),
        ),
    ] {
        if let Some(wanted) = wanted
            && wanted != known
        {
            return Err(Failure::usage(format!(
                "mlops.toml says {flag} = \"{known}\", not \"{wanted}\""
            )))
            .hint("change it in the section [architecture], then look at `mlops plan`");
        }
    }
    if ctx.config.local && !ctx.config.remembers_local() {
        ctx.progress.say(
            "add `local = true` at the top of mlops.toml to use the local cloud without --local",
        );
    }
    Ok(project)
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
