//! Watches what a pushed commit or an approved version started, one run after the other.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use mlops_core::error::{Failure, Hint};
use mlops_core::names::Version;
use mlops_core::quote;
use mlops_core::wait::Poll;

use super::follow;
use crate::aws::project_runs::ProjectRun;
use crate::aws::project_runs::started::{self, Cause, Search};
use crate::aws::{Clients, ecr};
use crate::config::Project;
use crate::context::Context;
use crate::git::Repository;

/// How long pipelines may be idle before a run that should have started is given up: events take seconds.
const STARTS_WITHIN: Duration = Duration::from_mins(1);

/// Follows the image pipeline of a commit, then the ML pipeline of its image.
///
/// # Errors
/// The revision is unknown (exit 2), nothing starts, or a run does not succeed.
pub(super) async fn of_commit(
    ctx: &Context,
    clients: &Clients,
    project: &Project,
    revision: &str,
) -> Result<ProjectRun> {
    let name = project.file.name.as_str();
    let commit = resolve(project, revision)?;
    let short = commit.get(..12).unwrap_or(&commit);
    let what = format!("the commit {short}");
    let built = next(ctx, clients, name, &what, &Cause::Commit(commit.clone())).await?;
    if !built.status().has_succeeded() {
        return Ok(built);
    }
    let image = ecr::by_tag(clients, name, &commit).await?;
    let image = image.with_context(|| format!("the image of {what} is not in the registry"))?;
    let since = match &built {
        ProjectRun::Delivery(execution) => execution.started,
        ProjectRun::Training(_) => None,
    };
    let cause = Cause::Image {
        digest: image.digest,
        since,
    };
    let trained = next(ctx, clients, name, &format!("the image of {what}"), &cause).await?;
    if let Some(version) = trained.model_version() {
        let approve = ctx.command(&format!("models approve {version}"));
        ctx.progress
            .say(format!("version {version} was registered: `{approve}`"));
    }
    Ok(trained)
}

/// Follows the deploy pipeline of a version.
///
/// # Errors
/// Nothing starts, or the run does not succeed.
pub(super) async fn of_version(
    ctx: &Context,
    clients: &Clients,
    project: &str,
    version: Version,
) -> Result<ProjectRun> {
    let what = format!("the approval of version {version}");
    next(ctx, clients, project, &what, &Cause::Version(version)).await
}

/// Waits until the run has started, and follows it.
async fn next(
    ctx: &Context,
    clients: &Clients,
    project: &str,
    what: &str,
    cause: &Cause,
) -> Result<ProjectRun> {
    let idle = std::cell::Cell::new(None);
    let task = ctx.progress.task(format!("Waiting for a run of {what}"));
    let found = ctx
        .waiter
        .until(
            &format!("a run of {what}"),
            |_| {},
            || async {
                match started::search(clients, project, cause).await? {
                    Search::Found(run) => return Ok(Poll::Ready(run)),
                    Search::Busy => idle.set(None),
                    Search::Idle => {
                        let now = tokio::time::Instant::now();
                        let since = idle.get().unwrap_or(now);
                        idle.set(Some(since));
                        if now - since >= STARTS_WITHIN {
                            return Err(nothing(ctx, what));
                        }
                    }
                }
                Ok(Poll::Pending("not started".to_owned()))
            },
        )
        .await?;
    drop(task);
    follow(ctx, clients, project, &found).await
}

fn nothing(ctx: &Context, what: &str) -> anyhow::Error {
    let list = ctx.command("runs list");
    let error = anyhow!("{what} has started no run");
    mlops_core::error::hinted(
        error,
        format!("`{list}` names what has started, and branches without pipelines"),
    )
}

/// Returns the full id of a commit: of this repository, or one that is given in full.
fn resolve(project: &Project, revision: &str) -> Result<String> {
    let repository = Repository::find(&project.root)?;
    let found = match &repository {
        Some(repository) => repository.commit_of(revision)?,
        None => None,
    };
    let is_full = revision.len() == 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit());
    match found {
        Some(commit) => Ok(commit),
        None if is_full => Ok(revision.to_ascii_lowercase()),
        None => Err(Failure::usage(format!(
            "{} is not a commit in this repository",
            quote::short(revision)
        )))
        .hint("pass a branch, HEAD, or the full id of a commit"),
    }
}
