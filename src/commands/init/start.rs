//! A new project: its files and its first commit.

use std::path::Path;

use anyhow::{Context as _, Result};
use mlops_core::error::{Failure, Hint};
use mlops_core::names::ProjectName;

use super::InitArgs;
use super::report::Started;
use crate::config::{CodeSource, NetworkAccess, Project};
use crate::context::Context;
use crate::git::Repository;
use crate::infra;
use crate::scaffold::{self, NewProject};

/// Writes a new project and commits it.
pub(super) async fn start(ctx: &Context, args: &InitArgs) -> Result<(Project, Started)> {
    let directory = &ctx.config.directory;
    let name = match &args.name {
        Some(name) => name.clone(),
        None => name(ctx, directory)?,
    };
    if args.delivery && args.source == Some(CodeSource::Codeconnections) {
        return Err(Failure::usage(
            "--delivery needs repositories in CodeCommit: pipelines of other sources are not supported",
        ))
        .hint("start the commands in the provider's own CI: docs/ci.md");
    }
    if args.delivery && args.linux_binary.is_none() && !cfg!(target_os = "linux") {
        return Err(Failure::usage(
            "the builds of --delivery need mlops for Linux",
        ))
        .hint("pass --linux-binary FILE with the executable for Linux");
    }
    let example = !args.empty && example(ctx)?;
    scaffold::check(directory, example)?;
    let network = match args.network {
        Some(network) => network,
        None => network(ctx)?,
    };
    let before = Repository::find(directory)?;
    let clients = ctx.aws().await?;
    let (account, region) = (clients.account().await?, clients.region());
    infra::check_new_name(&name)?;
    infra::check_name(&name, account, region)?;

    let new = NewProject {
        name: &name,
        account,
        region,
        local: ctx.config.local,
        network,
        source: args.source.unwrap_or_default(),
        provider: args.provider,
        delivery: args.delivery,
        example,
    };
    let files = scaffold::write(directory, &new)?;
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

/// The name of the directory, if it is empty; on a terminal, the user can choose another one.
fn name(ctx: &Context, directory: &Path) -> Result<ProjectName> {
    let derived = name_of(directory);
    if !ctx.prompt.can_ask() {
        return derived;
    }
    let asked = ctx.prompt.name("Name of the project", derived.ok())?;
    asked.context("no name was given")
}

/// Whether to write the example.
fn example(ctx: &Context) -> Result<bool> {
    let chosen = ctx.prompt.choose(
        "What to start with",
        &[
            "a working example: delays of flights",
            "nothing: only mlops.toml",
        ],
        0,
    )?;
    Ok(chosen == 0)
}

/// How notebooks and jobs reach other networks.
fn network(ctx: &Context) -> Result<NetworkAccess> {
    const CHOICES: [(NetworkAccess, &str); 3] = [
        (
            NetworkAccess::Nat,
            "nat: the internet, through a NAT gateway ($37 per month)",
        ),
        (
            NetworkAccess::Endpoints,
            "endpoints: AWS only, through interface endpoints (about $204 per month)",
        ),
        (NetworkAccess::Both, "both (about $241 per month)"),
    ];
    let question = "How notebooks and jobs reach other networks";
    let chosen = ctx
        .prompt
        .choose(question, &CHOICES.map(|(_, text)| text), 0)?;
    Ok(CHOICES
        .get(chosen)
        .map_or(NetworkAccess::Nat, |(network, _)| *network))
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
