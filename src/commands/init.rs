//! `mlops init`: the architecture in an account, and a project to work in.

mod report;

use std::path::Path;

use anyhow::{Context as _, Result};

pub use self::report::Initialized;
use self::report::{Deployed, Started};
use crate::aws::{self, AwsResultExt, Clients, ecr};
use crate::config::Project;
use crate::context::Context;
use crate::git::{REMOTE, Repository};
use crate::infra::{self, Network, Platform, StackOutcome, StackSpec, Workbench};
use crate::scaffold;
use mlops_core::error::{Exit, Failure, Hint};
use mlops_core::names::ProjectName;
use mlops_oci::Image;

/// Put the architecture into the account, and start a project
///
/// In a new directory it writes an example project that works, makes it a git repository, and
/// deploys three CloudFormation stacks: the network, the platform (versioned buckets, image
/// repository, model registry, roles) and the workbench (git repositories, notebook). In a project
/// it brings the stacks up to date and writes no file. Running it again changes nothing. With
/// --local the new project remembers the local cloud (`local = true` in mlops.toml): later commands
/// need no --local.
///
/// Example: mlops init --name flights --local
#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// The project's name (default: the directory's)
    ///
    /// Needed where the directory already holds files.
    #[arg(long, value_name = "NAME")]
    name: Option<ProjectName>,
}

/// Starts a project, or brings one up to date.
pub async fn run(ctx: &Context, args: &InitArgs) -> Result<Initialized> {
    let (project, started) = match ctx.config.find_project()? {
        Some(project) => (existing(ctx, args, project).await?, Started::default()),
        None => start(ctx, args).await?,
    };
    let clients = ctx.aws_for(&project).await?;
    let _note = ctx.on_interrupt(format!(
        "what was begun goes on in CloudFormation; `{}` again brings it to its end",
        ctx.command("init")
    ));

    let mut stacks = Vec::new();
    let spec = infra::network(&project);
    let network = Network::read(&spec.name, &deploy(ctx, clients, &spec, &mut stacks).await?)?;
    let analyzer = analyzer(ctx).await?;
    let stack = infra::stack_name(&project.file.name, "platform");
    let before = infra::outputs(clients, &stack).await?;
    let digest = match (&analyzer, &before) {
        (Some(image), _) => Some(image.digest()),
        (None, Some(before)) => infra::analyzer_digest(before)?,
        (None, None) => None,
    };
    let spec = infra::platform_stack(&project, digest);
    // What a stack references must exist: if the repository already exists, push the image first.
    let standing = before.and_then(|outputs| Platform::read(&stack, &outputs).ok());
    let registry = || ctx.registry(clients);
    if let (Some(image), Some(standing)) = (&analyzer, &standing) {
        let repository = &standing.image_repository;
        aws::analyzer::ensure(clients, &ctx.progress, repository, image, registry).await?;
    }
    let mut platform =
        Platform::read(&spec.name, &deploy(ctx, clients, &spec, &mut stacks).await?)?;
    if let (Some(image), None) = (&analyzer, &standing) {
        let repository = &platform.image_repository;
        aws::analyzer::ensure(clients, &ctx.progress, repository, image, registry).await?;
    }
    let spec = infra::workbench_stack(&project, &network, &platform);
    let mut workbench =
        Workbench::read(&spec.name, &deploy(ctx, clients, &spec, &mut stacks).await?)?;
    // The address of a local cloud may have changed since the stacks were made.
    let repository = &platform.image_repository;
    platform.image_repository_uri = ecr::repository_uri(clients, repository).await?.to_string();
    workbench.image_repository_url = clone_url(clients, project.file.name.as_str()).await?;
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

/// The image of this program, where an instance can run it.
async fn analyzer(ctx: &Context) -> Result<Option<Image>> {
    let runs =
        cfg!(target_os = "linux") && aws::analyzer::check_machine(ctx.config.is_local()).is_ok();
    if runs {
        return aws::analyzer::build(&ctx.config.cache).await.map(Some);
    }
    ctx.progress.say(format!(
        "the analyzer's image is made of this program on Linux (x86-64): run `{}` there",
        ctx.command("image push --analyzer")
    ));
    Ok(None)
}

/// A project that is there already: its name, account and region are settled.
async fn existing(ctx: &Context, args: &InitArgs, project: Project) -> Result<Project> {
    if let Some(name) = &args.name
        && *name != project.file.name
    {
        return Err(Failure::usage(format!(
            "this is the project {}, not {name}",
            project.file.name
        )))
        .hint("start another project in a directory of its own");
    }
    let clients = ctx.aws_of(&project).await?;
    let account = clients.account().await?;
    if account != project.file.account || clients.region() != project.file.region {
        return Err(Failure::new(
            Exit::Credentials,
            format!(
                "{} lives in account {} ({}), but these credentials reach {account} ({})",
                project.file.name,
                project.file.account,
                project.file.region,
                clients.region()
            ),
        ))
        .hint(
            "choose another --profile or --region; to move the project, change account and \
             region (and `local`) in mlops.toml, then run `mlops init`",
        );
    }
    infra::check_name(&project.file.name, account, clients.region())?;
    if ctx.config.local && !ctx.config.remembers_local() {
        ctx.progress
            .say("`local = true` at the top of mlops.toml saves the flag --local");
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

/// The project's name by its directory, when that is empty.
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
        .hint(
            "start in an empty directory, or pass --name to start the project among these files",
        );
    }
    let name = directory
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    name.parse()
        .map_err(|error| Failure::usage(format!("{error}")))
        .hint("the directory's name is the project's unless you pass --name")
}

async fn deploy(
    ctx: &Context,
    clients: &Clients,
    spec: &StackSpec,
    stacks: &mut Vec<Deployed>,
) -> Result<std::collections::BTreeMap<String, String>> {
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
    let doing = format!("cannot look at the CodeCommit repository {repository}");
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
