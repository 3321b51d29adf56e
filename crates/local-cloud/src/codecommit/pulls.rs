//! Pull requests: records that name two branches of a repository. What they compare and merge is in git.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::bare::Bare;
use super::{check_branch, find};
use crate::api::page::Page;
use crate::api::{ApiError, ApiResult};
use crate::cloud::caller::Caller;
use crate::cloud::service::operations;
use crate::{Cloud, sts};

mod announce;
mod approvals;
mod compare;
mod merge;
pub(super) mod stored;

operations! {
    "CreatePullRequest" => create,
    "EvaluatePullRequestApprovalRules" => approvals::evaluate,
    "GetMergeConflicts" => compare::conflicts,
    "GetMergeOptions" => compare::options,
    "GetPullRequest" => get,
    "GetPullRequestApprovalStates" => approvals::get,
    "ListPullRequests" => list,
    "MergeBranchesByFastForward" => merge::branches,
    "MergePullRequestByFastForward" => merge::fast_forward,
    "MergePullRequestBySquash" => merge::squash,
    "UpdatePullRequestApprovalState" => approvals::update,
    "UpdatePullRequestDescription" => update_description,
    "UpdatePullRequestStatus" => update_status,
    "UpdatePullRequestTitle" => update_title,
}

/// Maximum number of open pull requests of a repository (quotas of the user guide).
const MAX_OPEN: usize = 1000;

/// Default and maximum number of pull requests on a page.
const PAGE: usize = 100;

/// Maximum number of characters of a title and of a description (API reference).
const LONGEST_TITLE: usize = 150;
const LONGEST_DESCRIPTION: usize = 10_240;

/// The status of a pull request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Status {
    Open,
    Closed,
}

/// How a pull request was merged.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Merged {
    by: String,
    commit: String,
    option: String,
}

/// A pull request. Its branches have names without `refs/heads/`.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Pull {
    number: u64,
    title: String,
    description: Option<String>,
    created: f64,
    active: f64,
    status: Status,
    author: String,
    token: Option<String>,
    /// The name of the repository.
    repository: String,
    repository_id: String,
    source: String,
    destination: String,
    source_commit: String,
    /// How often the source branch has had another commit than before.
    revisions: u64,
    destination_commit: String,
    merge_base: Option<String>,
    merged: Option<Merged>,
    /// Who approves which revision: the ARNs by revision.
    approvals: BTreeMap<String, Vec<String>>,
}

/// The ARN of the current caller.
fn requester() -> String {
    sts::arn_of(&Caller::current())
}

fn no_pull(id: &str) -> ApiError {
    ApiError::not_found(
        "PullRequestDoesNotExistException",
        format!("The pull request {id} does not exist"),
    )
}

fn closed(pull: &Pull) -> ApiError {
    ApiError::new(
        "PullRequestAlreadyClosedException",
        format!("The pull request {} is closed", pull.number),
    )
}

fn number(id: &str) -> ApiResult<u64> {
    let fits = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
    let number = id.parse().ok().filter(|_| fits);
    number.ok_or_else(|| {
        ApiError::new(
            "InvalidPullRequestIdException",
            "The id of a pull request has digits only",
        )
    })
}

/// The pull request with this id, as it was recorded last.
fn recorded(cloud: &Cloud, id: &str) -> ApiResult<Pull> {
    let found = stored::records(cloud).get(&stored::key(number(id)?))?;
    found.ok_or_else(|| no_pull(id))
}

/// The pull request with this id, with the current commits of its branches while it is open.
async fn current(cloud: &Cloud, id: &str) -> ApiResult<(Pull, Bare)> {
    let mut pull = recorded(cloud, id)?;
    let (record, bare) = find(cloud, &pull.repository)?;
    if record.id != pull.repository_id {
        return Err(no_pull(id));
    }
    if pull.status == Status::Closed {
        return Ok((pull, bare));
    }
    let source = bare.branch(&pull.source).await?;
    let destination = bare.branch(&pull.destination).await?;
    // The last known commit of a branch that was deleted.
    if let Some(source) = source.filter(|source| *source != pull.source_commit) {
        pull = stored::observe(cloud, pull.number, &source)?;
    }
    pull.destination_commit = destination.unwrap_or(pull.destination_commit);
    pull.merge_base =
        compare::merge_base(&bare, &pull.destination_commit, &pull.source_commit).await?;
    Ok((pull, bare))
}

/// The ARN of a pull request's repository, for permissions.
pub(crate) fn repository_of(cloud: &Cloud, id: &str) -> Option<String> {
    let pull = recorded(cloud, id).ok()?;
    Some(cloud.arn("codecommit", pull.repository))
}

/// The reference that a pull request is merged into, for permissions.
pub(crate) fn destination_of(cloud: &Cloud, id: &str) -> Option<String> {
    let pull = recorded(cloud, id).ok()?;
    Some(format!("refs/heads/{}", pull.destination))
}

impl Pull {
    /// The id of its current revision, which a push to its source branch changes.
    fn revision(&self) -> String {
        use sha2::{Digest, Sha256};

        let text = format!("{}:{}:{}", self.number, self.revisions, self.source_commit);
        hex::encode(Sha256::digest(text))
    }

    /// Takes the commit of its source branch; true if it is a new revision.
    fn see(&mut self, source: &str) -> bool {
        let is_new = self.source_commit != source;
        if is_new {
            source.clone_into(&mut self.source_commit);
            self.revisions += 1;
        }
        is_new
    }

    fn described(&self) -> Value {
        let mut merge = json!({"isMerged": self.merged.is_some()});
        if let Some(merged) = &self.merged {
            merge["mergedBy"] = json!(merged.by);
            merge["mergeCommitId"] = json!(merged.commit);
            merge["mergeOption"] = json!(merged.option);
        }
        let mut target = json!({
            "repositoryName": self.repository,
            "sourceReference": format!("refs/heads/{}", self.source),
            "destinationReference": format!("refs/heads/{}", self.destination),
            "sourceCommit": self.source_commit,
            "destinationCommit": self.destination_commit,
            "mergeMetadata": merge,
        });
        if let Some(base) = &self.merge_base {
            target["mergeBase"] = json!(base);
        }
        let mut described = json!({
            "pullRequestId": self.number.to_string(),
            "title": self.title,
            "lastActivityDate": self.active,
            "creationDate": self.created,
            "pullRequestStatus": self.status,
            "authorArn": self.author,
            "pullRequestTargets": [target],
            "revisionId": self.revision(),
            "approvalRules": [],
        });
        if let Some(description) = &self.description {
            described["description"] = json!(description);
        }
        if let Some(token) = &self.token {
            described["clientRequestToken"] = json!(token);
        }
        described
    }

    fn response(&self) -> Value {
        json!({"pullRequest": self.described()})
    }
}

fn check_title(title: &str) -> ApiResult<()> {
    if title.trim().is_empty() {
        let message = "A title is required";
        return Err(ApiError::new("TitleRequiredException", message));
    }
    if title.chars().count() > LONGEST_TITLE {
        let message = format!("A title has at most {LONGEST_TITLE} characters");
        return Err(ApiError::new("InvalidTitleException", message));
    }
    Ok(())
}

fn check_description(description: Option<&str>) -> ApiResult<()> {
    let length = description.map_or(0, |text| text.chars().count());
    if length > LONGEST_DESCRIPTION {
        let message = format!("A description has at most {LONGEST_DESCRIPTION} characters");
        return Err(ApiError::new("InvalidDescriptionException", message));
    }
    Ok(())
}

/// The name of a branch, given with or without `refs/heads/`.
fn branch(reference: &str) -> ApiResult<&str> {
    if reference.starts_with("refs/") && !reference.starts_with("refs/heads/") {
        return Err(ApiError::new(
            "ReferenceTypeNotSupportedException",
            format!("{reference} is not a branch"),
        ));
    }
    let name = reference.strip_prefix("refs/heads/").unwrap_or(reference);
    check_branch(name)
        .map_err(|error| ApiError::new("InvalidReferenceNameException", error.message))?;
    Ok(name)
}

/// The commit of a branch that a request names by its reference.
async fn head(bare: &Bare, name: &str) -> ApiResult<String> {
    bare.branch(name).await?.ok_or_else(|| {
        ApiError::not_found(
            "ReferenceDoesNotExistException",
            format!("The reference refs/heads/{name} does not exist"),
        )
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Target {
    repository_name: String,
    source_reference: String,
    destination_reference: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Create {
    title: String,
    description: Option<String>,
    targets: Vec<Target>,
    client_request_token: Option<String>,
}

async fn create(cloud: &Cloud, input: Create) -> ApiResult<Value> {
    check_title(&input.title)?;
    check_description(input.description.as_deref())?;
    let [target] = &input.targets[..] else {
        let (code, message) = if input.targets.is_empty() {
            ("TargetsRequiredException", "A target is required")
        } else {
            ("InvalidTargetsException", "A pull request has one target")
        };
        return Err(ApiError::new(code, message));
    };
    let (record, bare) = find(cloud, &target.repository_name)?;
    let source = branch(&target.source_reference)?.to_owned();
    let destination = match &target.destination_reference {
        Some(reference) => branch(reference)?.to_owned(),
        None => bare.default_branch().await?.unwrap_or_default(),
    };
    if source == destination {
        let message = "The source and the destination of a pull request must differ";
        return Err(ApiError::new(
            "SourceAndDestinationAreSameException",
            message,
        ));
    }
    let source_commit = head(&bare, &source).await?;
    let destination_commit = head(&bare, &destination).await?;
    let merge_base = compare::merge_base(&bare, &destination_commit, &source_commit).await?;
    let now = cloud.clock().epoch();
    let mut pull = Pull {
        number: 0,
        title: input.title,
        description: input.description,
        created: now,
        active: now,
        status: Status::Open,
        author: requester(),
        token: input.client_request_token,
        repository: target.repository_name.clone(),
        repository_id: record.id,
        source,
        destination,
        source_commit,
        revisions: 1,
        destination_commit,
        merge_base,
        merged: None,
        approvals: BTreeMap::new(),
    };
    let created = cloud.store().transaction(|tx| {
        // It may have been deleted or renamed since.
        let repository = super::records(cloud).get_in(tx, &pull.repository)?;
        if repository.is_none_or(|found| found.id != pull.repository_id) {
            return Err(super::missing(&pull.repository));
        }
        if let Some(token) = &pull.token
            && let Some(number) = stored::tokens(cloud).get_in(tx, token)?
            && let Some(found) = stored::records(cloud).get_in(tx, &stored::key(number))?
        {
            return same(found, &pull);
        }
        if stored::count_open(tx, cloud, &pull.repository_id)? >= MAX_OPEN {
            return Err(ApiError::new(
                "MaximumOpenPullRequestsExceededException",
                format!("The repository has {MAX_OPEN} open pull requests, the maximum"),
            ));
        }
        pull.number = stored::counter(cloud).get_in(tx, "")?.unwrap_or_default() + 1;
        stored::counter(cloud).put_in(tx, "", &pull.number)?;
        if let Some(token) = &pull.token {
            stored::tokens(cloud).put_in(tx, token, &pull.number)?;
        }
        stored::put(tx, cloud, &pull)?;
        announce::publish(tx, cloud, &pull, announce::Change::Created, &pull.author)?;
        Ok(pull)
    })?;
    crate::events::deliver_soon(cloud);
    Ok(created.response())
}

/// The pull request of an earlier request with the same token, if it had the same members.
fn same(earlier: Pull, now: &Pull) -> ApiResult<Pull> {
    let members = |pull: &Pull| {
        (
            pull.title.clone(),
            pull.description.clone(),
            pull.repository_id.clone(),
            pull.source.clone(),
            pull.destination.clone(),
        )
    };
    if members(&earlier) == members(now) {
        return Ok(earlier);
    }
    Err(ApiError::new(
        "IdempotencyParameterMismatchException",
        "The client request token was used with other parameters",
    ))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Id {
    pull_request_id: String,
}

async fn get(cloud: &Cloud, input: Id) -> ApiResult<Value> {
    let (pull, _) = current(cloud, &input.pull_request_id).await?;
    Ok(pull.response())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List {
    repository_name: String,
    author_arn: Option<String>,
    pull_request_status: Option<Status>,
    next_token: Option<String>,
    max_results: Option<usize>,
}

/// `ListPullRequests`: the newest first.
async fn list(cloud: &Cloud, input: List) -> ApiResult<Value> {
    let (record, _) = find(cloud, &input.repository_name)?;
    let found = stored::of_repository(cloud, &record.id)?.into_iter().rev();
    let found = found.filter(|(_, pull)| {
        input
            .author_arn
            .as_ref()
            .is_none_or(|author| *author == pull.author)
            && input
                .pull_request_status
                .is_none_or(|status| status == pull.status)
    });
    let ids = found.map(|(number, _)| number.to_string()).collect();
    let size = input.max_results.unwrap_or(PAGE).clamp(1, PAGE);
    let page = Page::new(input.next_token.as_deref(), size, |_| {
        ApiError::new("InvalidContinuationTokenException", "Invalid token")
    })?;
    let (ids, next): (Vec<String>, _) = page.cut(ids);
    let mut response = json!({"pullRequestIds": ids});
    if let Some(next) = next {
        response["nextToken"] = next.into();
    }
    Ok(response)
}

/// Changes the record of an open pull request, and announces the change.
fn change(
    cloud: &Cloud,
    found: &Pull,
    what: announce::Change<'_>,
    work: impl FnOnce(&mut Pull) -> ApiResult<()>,
) -> ApiResult<Pull> {
    let changed = cloud.store().transaction(|tx| {
        let record = stored::records(cloud).get_in(tx, &stored::key(found.number))?;
        let mut pull = record.ok_or_else(|| no_pull(&found.number.to_string()))?;
        if pull.status == Status::Closed {
            return Err(closed(&pull));
        }
        pull.see(&found.source_commit);
        pull.destination_commit
            .clone_from(&found.destination_commit);
        pull.merge_base.clone_from(&found.merge_base);
        pull.active = cloud.clock().epoch();
        work(&mut pull)?;
        stored::put(tx, cloud, &pull)?;
        announce::publish(tx, cloud, &pull, what, &requester())?;
        Ok(pull)
    })?;
    crate::events::deliver_soon(cloud);
    Ok(changed)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UpdateTitle {
    pull_request_id: String,
    title: String,
}

async fn update_title(cloud: &Cloud, input: UpdateTitle) -> ApiResult<Value> {
    check_title(&input.title)?;
    let (found, _) = current(cloud, &input.pull_request_id).await?;
    let changed = change(cloud, &found, announce::Change::None, |pull| {
        pull.title = input.title;
        Ok(())
    })?;
    Ok(changed.response())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UpdateDescription {
    pull_request_id: String,
    description: String,
}

async fn update_description(cloud: &Cloud, input: UpdateDescription) -> ApiResult<Value> {
    check_description(Some(&input.description))?;
    let (found, _) = current(cloud, &input.pull_request_id).await?;
    let changed = change(cloud, &found, announce::Change::None, |pull| {
        pull.description = Some(input.description).filter(|text| !text.is_empty());
        Ok(())
    })?;
    Ok(changed.response())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UpdateStatus {
    pull_request_id: String,
    pull_request_status: Status,
}

/// `UpdatePullRequestStatus`: a pull request can be closed, and not opened again.
async fn update_status(cloud: &Cloud, input: UpdateStatus) -> ApiResult<Value> {
    let (found, _) = current(cloud, &input.pull_request_id).await?;
    if input.pull_request_status == Status::Open || found.status == Status::Closed {
        return Err(ApiError::new(
            "InvalidPullRequestStatusUpdateException",
            "The status of a pull request can only change from OPEN to CLOSED",
        ));
    }
    let changed = change(cloud, &found, announce::Change::Closed, |pull| {
        pull.status = Status::Closed;
        Ok(())
    })?;
    Ok(changed.response())
}

#[cfg(test)]
mod tests;
