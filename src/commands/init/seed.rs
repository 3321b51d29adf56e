//! The first commits of the two repositories.

use anyhow::{Context as _, Result};
use aws_sdk_codecommit::primitives::Blob;
use aws_sdk_codecommit::types::PutFileEntry;
use serde::Serialize;

use crate::aws::{AwsResultExt, Clients};
use crate::config::{CodeSource, Project, shell};
use crate::context::Context;
use crate::git::{REMOTE, Repository};
use crate::scaffold;

/// Git's credential helper for CodeCommit: it signs with the credentials of the AWS CLI.
const CODECOMMIT: &str = "!aws codecommit credential-helper $@";

/// Result of seeding a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Seed {
    /// Its first commit.
    Pushed,
    /// Nothing: it has commits.
    Unchanged,
    /// Nothing: it is still empty.
    Empty,
}

/// What the two repositories got.
#[derive(Debug, Serialize)]
pub(super) struct Seeds {
    pub(super) image: Seed,
    pub(super) exploration: Seed,
}

/// Pushes the first commits of the git repositories, if they are in CodeCommit; returns the address of the
/// project's own.
pub(super) async fn all(
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
    seeds.exploration = exploration(clients, project).await?;
    if let Some(repository) = Repository::find(&project.root)? {
        repository.set_remote(REMOTE, &url)?;
        if ctx.config.local {
            repository.set_credential_helper(&url, &ctx.config.local_state())?;
        }
        seeds.image = image(ctx, project, &repository)?;
    }
    if project.file.delivery.is_some() {
        production(clients, project).await?;
    }
    Ok((seeds, Some(url)))
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

/// Pushes the project's branch with git, so that the repository and the working copy have one history.
/// A failure is only reported: the project works without it, and the user may not use CodeCommit.
pub(super) fn image(ctx: &Context, project: &Project, repository: &Repository) -> Result<Seed> {
    let branch = &project.file.branches.develop;
    if repository.branch_head(branch)?.is_none() {
        return Ok(Seed::Empty);
    }
    // The local cloud's helper is in the repository's configuration.
    let profile = ctx.config.profile.as_deref();
    let helper = profile.map_or_else(
        || CODECOMMIT.to_owned(),
        |name| CODECOMMIT.replace("aws ", &format!("aws --profile {} ", shell::word(name))),
    );
    let helper = (!ctx.config.local).then_some(helper.as_str());
    match repository.seed(REMOTE, branch, helper) {
        Ok(true) => Ok(Seed::Pushed),
        Ok(false) => Ok(Seed::Unchanged),
        Err(error) => {
            ctx.progress.say(format!(
                "{branch} was not pushed to CodeCommit: {}",
                mlops_core::error::message(&error)
            ));
            ctx.progress.say(format!(
                "push it with `git push {REMOTE} {branch}` once git has credentials for CodeCommit"
            ));
            Ok(Seed::Empty)
        }
    }
}

/// Creates the production branch at the newest commit of the develop branch, if it does not exist: the deploy pipeline
/// reads it, and only approvers can push to it from then on.
async fn production(clients: &Clients, project: &Project) -> Result<()> {
    let repository = project.file.name.as_str();
    let branches = &project.file.branches;
    let (production, develop) = (branches.production.as_str(), branches.develop.as_str());
    let listed = clients.codecommit.list_branches();
    let mut pages = listed.repository_name(repository).into_paginator().send();
    let mut existing = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.aws(format!("cannot list the branches of {repository}"))?;
        existing.extend(page.branches.unwrap_or_default());
    }
    let exists = |branch| existing.iter().any(|name| name == branch);
    // A repository without the develop branch gets it with a later `mlops init`.
    if exists(production) || !exists(develop) {
        return Ok(());
    }
    let doing = format!("cannot read the branch {develop} of {repository}");
    let head = clients.codecommit.get_branch();
    let head = head.repository_name(repository).branch_name(develop);
    let head = head.send().await.aws(&doing)?.branch;
    let commit = head.and_then(|head| head.commit_id).context(doing)?;
    clients
        .codecommit
        .create_branch()
        .repository_name(repository)
        .branch_name(production)
        .commit_id(commit)
        .send()
        .await
        .aws(format!(
            "cannot create the branch {production} of {repository}"
        ))?;
    Ok(())
}

/// Commits the notebooks to the empty repository for exploration, with one call and without git: nobody
/// has a working copy of it yet.
pub(super) async fn exploration(clients: &Clients, project: &Project) -> Result<Seed> {
    let name = format!("{}-eda", project.file.name);
    let doing = format!("cannot commit the notebooks to {name}");
    let branches = clients.codecommit.list_branches().repository_name(&name);
    let branches = branches.send().await.aws(&doing)?;
    if !branches.branches().is_empty() {
        return Ok(Seed::Unchanged);
    }
    let files =
        scaffold::exploration(&project.file.name, scaffold::has_example(&project.root)).into_iter();
    let files: Result<Vec<PutFileEntry>, _> = files
        .map(|(path, bytes)| {
            PutFileEntry::builder()
                .file_path(path)
                .file_content(Blob::new(bytes))
                .build()
        })
        .collect();
    clients
        .codecommit
        .create_commit()
        .repository_name(&name)
        .branch_name(project.file.branches.develop.as_str())
        .author_name("mlops")
        .commit_message(format!("Start the exploration of {}", project.file.name))
        .set_put_files(Some(files.with_context(|| doing.clone())?))
        .send()
        .await
        .aws(&doing)?;
    Ok(Seed::Pushed)
}
