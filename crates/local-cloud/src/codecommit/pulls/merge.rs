//! Merges: a branch is moved first, and the pull request is closed then. A merge that was cut off in between can be
//! repeated.

use std::ffi::OsStr;

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::bare::{Bare, line};
use super::super::{announce as pushes, author, changes, find, no_branch};
use super::announce::Change;
use super::compare::{self, Commits, Level, Strategy};
use super::{Merged, Pull, Status, change, closed, current, head, requester};
use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::cloud::caller::Caller;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FastForward {
    pull_request_id: String,
    repository_name: String,
    source_commit_id: Option<String>,
}

/// The pull request of a merge, with the current commits of its branches.
async fn open(
    cloud: &Cloud,
    id: &str,
    repository: &str,
    source: Option<&str>,
) -> ApiResult<(Pull, Bare)> {
    let (mut pull, bare) = current(cloud, id).await?;
    if pull.repository != repository {
        return Err(ApiError::new(
            "RepositoryNotAssociatedWithPullRequestException",
            format!("The pull request {id} is not one of the repository {repository}"),
        ));
    }
    if pull.status == Status::Closed {
        return Err(closed(&pull));
    }
    pull.source_commit = head(&bare, &pull.source).await?;
    pull.destination_commit = head(&bare, &pull.destination).await?;
    if source.is_some_and(|source| source != pull.source_commit) {
        return Err(ApiError::new(
            "TipOfSourceReferenceIsDifferentException",
            format!("The tip of the source branch is {}", pull.source_commit),
        ));
    }
    Ok((pull, bare))
}

fn manual() -> ApiError {
    ApiError::new(
        "ManualMergeRequiredException",
        "The pull request cannot be merged automatically; merge the branches with git",
    )
}

/// Moves the destination branch to a commit, and closes the pull request.
async fn finish(
    cloud: &Cloud,
    bare: &Bare,
    pull: &Pull,
    commit: String,
    option: &str,
) -> ApiResult<Value> {
    if commit != pull.destination_commit {
        let old = Some(pull.destination_commit.as_str());
        pushes::before(cloud, &pull.repository, &Caller::current()).await?;
        bare.set_branch(&pull.destination, &commit, old).await?;
        changes::after(cloud, &pull.repository, &Caller::current()).await;
    }
    let merged = Merged {
        by: requester(),
        commit,
        option: option.to_owned(),
    };
    let changed = change(cloud, pull, Change::Merged, |pull| {
        pull.status = Status::Closed;
        pull.merged = Some(merged);
        Ok(())
    })?;
    Ok(changed.response())
}

/// `MergePullRequestByFastForward`
pub(super) async fn fast_forward(cloud: &Cloud, input: FastForward) -> ApiResult<Value> {
    let (id, repository) = (&input.pull_request_id, &input.repository_name);
    let source = input.source_commit_id.as_deref();
    let (pull, bare) = open(cloud, id, repository, source).await?;
    if !compare::is_ahead(&bare, &pull.destination_commit, &pull.source_commit).await? {
        return Err(manual());
    }
    let commit = pull.source_commit.clone();
    finish(cloud, &bare, &pull, commit, "FAST_FORWARD_MERGE").await
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Squash {
    pull_request_id: String,
    repository_name: String,
    source_commit_id: Option<String>,
    #[serde(default)]
    conflict_detail_level: Level,
    #[serde(default)]
    conflict_resolution_strategy: Strategy,
    commit_message: Option<String>,
    author_name: Option<String>,
    email: Option<String>,
}

/// `MergePullRequestBySquash`: one commit on the destination branch with all changes of the source branch.
pub(super) async fn squash(cloud: &Cloud, input: Squash) -> ApiResult<Value> {
    input.conflict_resolution_strategy.check()?;
    author::check(input.author_name.as_deref(), input.email.as_deref())?;
    let (id, repository) = (&input.pull_request_id, &input.repository_name);
    let source = input.source_commit_id.as_deref();
    let (pull, bare) = open(cloud, id, repository, source).await?;
    let (destination, source) = (&pull.destination_commit, &pull.source_commit);
    let level = input.conflict_detail_level;
    if !compare::conflicting(&bare, destination, source, level)
        .await?
        .is_empty()
    {
        return Err(manual());
    }
    let tree = compare::merged_tree(&bare, destination, source).await?;
    let tree = tree.ok_or_else(manual)?;
    if bare
        .object(&format!("{destination}^{{tree}}"))
        .await?
        .as_ref()
        == Some(&tree)
    {
        // Everything is there already, as after a merge that was cut off.
        let commit = destination.clone();
        return finish(cloud, &bare, &pull, commit, "SQUASH_MERGE").await;
    }
    let message = input
        .commit_message
        .unwrap_or_else(|| format!("Squashed commit of {}\n\n{}", pull.source, pull.title));
    author::check_message(&message)?;
    let name = input.author_name.unwrap_or_else(|| "local".to_owned());
    let email = input.email.unwrap_or_default();
    let (name, email) = (OsStr::new(&name), OsStr::new(&email));
    let environment = [
        ("GIT_AUTHOR_NAME", name),
        ("GIT_AUTHOR_EMAIL", email),
        ("GIT_COMMITTER_NAME", name),
        ("GIT_COMMITTER_EMAIL", email),
    ];
    let arguments = ["commit-tree", tree.as_str(), "-p", destination.as_str()];
    let made = bare
        .run(&arguments, &environment, message.as_bytes())
        .await?;
    finish(cloud, &bare, &pull, line(&made), "SQUASH_MERGE").await
}

/// `MergeBranchesByFastForward`
pub(super) async fn branches(cloud: &Cloud, input: Commits) -> ApiResult<Value> {
    let (_, bare) = find(cloud, &input.repository_name)?;
    let source = compare::commit(&bare, &input.source_commit_specifier).await?;
    let destination = compare::commit(&bare, &input.destination_commit_specifier).await?;
    if !compare::is_ahead(&bare, &destination, &source).await? {
        return Err(manual());
    }
    let target = input.target_branch.as_ref();
    let target = target.unwrap_or(&input.destination_commit_specifier);
    let target = super::branch(target)
        .map_err(|error| ApiError::new("InvalidTargetBranchException", error.message))?;
    let tip = bare
        .branch(target)
        .await?
        .ok_or_else(|| no_branch(target))?;
    if !compare::is_ahead(&bare, &tip, &source).await? {
        return Err(manual());
    }
    pushes::before(cloud, &input.repository_name, &Caller::current()).await?;
    bare.set_branch(target, &source, Some(&tip)).await?;
    changes::after(cloud, &input.repository_name, &Caller::current()).await;
    let tree = bare.object(&format!("{source}^{{tree}}")).await?;
    Ok(json!({"commitId": source, "treeId": tree}))
}
