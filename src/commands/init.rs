//! `mlops init`: deploys the architecture and creates a project.

mod delivery;
mod report;
mod seed;
mod stacks;
mod start;

use std::path::PathBuf;

use anyhow::Result;

pub use self::report::Initialized;
use self::report::Started;
use self::stacks::Deployments;
use crate::aws::ecr;
use crate::aws::function_code::Code;
use crate::config::{CodeProvider, CodeSource, NetworkAccess, Project};
use crate::context::Context;
use crate::infra::{self, DeployedGate, Network, Part, Platform, Workbench};
use mlops_core::error::{Exit, Failure, Hint};
use mlops_core::names::ProjectName;

/// Create a project and deploy the architecture to the account
///
/// In a new directory, writes a working example project, creates a git repository, and deploys
/// six CloudFormation stacks: data (key, versioned buckets), network, registry (images, model
/// versions), code (git repositories), governance (a role per actor) and workbench (notebook). In
/// an existing project, updates the stacks and writes no files, except with --delivery. With the section `[delivery]` of mlops.toml, deploys
/// pipelines that start by themselves: one stack for what they share, and one for each branch. Running it again changes nothing,
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
    /// Let pushes to the develop branch build images and train with them: adds the section
    /// `[delivery]` to mlops.toml
    #[arg(long)]
    delivery: bool,
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
    let project = if args.delivery && project.file.delivery.is_none() {
        delivery::add_section(ctx, clients, &project).await?
    } else {
        project
    };
    let _note = ctx.on_interrupt(format!(
        "CloudFormation continues in the background; run `{}` again to finish",
        ctx.command("init")
    ));

    infra::check_source(clients, &project).await?;
    delivery::add_buildspecs(&project)?;
    crate::delivery::check(clients, &project, ctx.config.is_local()).await?;
    let (program, code) = delivery::inputs(clients, &project, code).await?;
    let program = program.as_ref();
    let name = &project.file.name;
    // The notebook and the pipelines read the repositories when they are created: the first commits come before.
    let (last, first): (Vec<Part>, Vec<Part>) = Part::initial(&project.file)
        .partition(|part| matches!(part, Part::Workbench | Part::Delivery));
    let mut deployments = Deployments::default();
    let parts = first.into_iter();
    deployments
        .deploy(ctx, clients, &project, parts, program)
        .await?;
    let mut platform = Platform::read(name, &deployments.outputs)?;
    // Functions and builds find the program when they are deployed.
    delivery::upload(ctx, clients, &platform, code).await?;
    let (repositories, url) = seed::all(ctx, clients, &project).await?;
    let parts = last.into_iter();
    deployments
        .deploy(ctx, clients, &project, parts, program)
        .await?;

    let network = Network::read(name, &deployments.outputs)?;
    let mut workbench = Workbench::read(name, &deployments.outputs)?;
    let mut deployed = deployments.into_stacks();
    if let Some(program) = program {
        let (key, architecture) = (program.key(), &program.architecture);
        let spec = infra::validation_stack(&project, &platform, &key, architecture);
        deployed.push(stacks::deploy(ctx, clients, &spec).await?.0);
        // Keeps the strategies that `mlops retrain` switched on; updates the program and the limits.
        if let Some(gate) = DeployedGate::read(clients, &project).await? {
            let spec = infra::retraining_stack(&project, program, &gate.switches);
            deployed.push(stacks::deploy(ctx, clients, &spec).await?.0);
        }
    }
    deployed.extend(delivery::branches(ctx, clients, &project, program).await?);
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
        next: if project.file.delivery.is_some() {
            ctx.config.first_command("runs watch --commit HEAD")
        } else if project.path(&project.file.image.directory).is_dir() {
            ctx.config.first_command("image push")
        } else {
            "write image/ and pipeline.json (docs/contract.md)".to_owned()
        },
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
