//! CodeCommit: repositories as bare git repositories in the state directory.
//!
//! A record holds what git does not store (description, tags, times). Branches, commits and files
//! are in git, so the API and `git push` to /v1/repos/NAME see the same data.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::api::tags::Tags;
use super::api::{ApiError, ApiResult};
use super::clock;
use super::cloud::ACCOUNT;
use super::cloud::caller::Caller;
use super::cloud::service::{Route, Service, operations};
use super::store::Collection;
use super::wire::dialect::is_git;
use super::{Cloud, system_tags};
use bare::Bare;

mod announce;
pub(crate) mod archive;
mod author;
mod bare;
mod changes;
mod checkout;
mod commits;
pub(crate) mod git;
mod permissions;
mod programs;
pub(crate) mod pulls;
mod recovery;
mod write;

pub(crate) use checkout::{Wanted, checkout};

operations! {
    "BatchGetRepositories" => batch_get_repositories,
    "CreateBranch" => create_branch,
    "CreateCommit" => write::create_commit,
    "CreateRepository" => create_repository,
    "DeleteBranch" => delete_branch,
    "DeleteRepository" => delete_repository,
    "GetBranch" => get_branch,
    "GetCommit" => commits::get_commit,
    "GetDifferences" => commits::get_differences,
    "GetFile" => commits::get_file,
    "GetFolder" => commits::get_folder,
    "GetRepository" => get_repository,
    "ListBranches" => list_branches,
    "ListRepositories" => list_repositories,
    "ListTagsForResource" => list_tags_for_resource,
    "PutFile" => write::put_file,
    "TagResource" => tag_resource,
    "UntagResource" => untag_resource,
    "UpdateDefaultBranch" => update_default_branch,
    "UpdateRepositoryDescription" => update_repository_description,
    "UpdateRepositoryEncryptionKey" => update_key,
    "UpdateRepositoryName" => update_repository_name,
}

/// The service: its API, and git's protocol at `/v1/repos/`.
pub(crate) const SERVICE: Service = Service {
    routes: &[Route {
        matches: is_git,
        handle: |cloud, request| Box::pin(git::handle(cloud, request)),
    }],
    reserved_tag: (
        "InvalidSystemTagUsageException",
        "The specified tag is not valid. Key names cannot be prefixed with aws:.",
    ),
    recover: Some(|cloud| {
        recovery::recover(cloud)?;
        Ok(announce::recover(cloud)?)
    }),
    ..Service::json(
        "codecommit",
        "CodeCommit",
        "CodeCommit_20150413",
        &[OPERATIONS, pulls::OPERATIONS],
    )
};

/// The key of repositories without a key of their own.
const AWS_KEY: &str = "alias/aws/codecommit";

/// A repository, without its git objects.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct RepositoryRecord {
    id: String,
    /// The name of its directory; `NAME.git` if an earlier version created it.
    #[serde(default)]
    directory: Option<String>,
    description: Option<String>,
    /// Seconds since the epoch.
    created: f64,
    /// Seconds since the epoch: the last push or change.
    modified: f64,
    kms_key: Option<String>,
    tags: BTreeMap<String, String>,
}

fn records(cloud: &Cloud) -> Collection<'_, RepositoryRecord> {
    cloud.store().collection("codecommit", "repository")
}

impl RepositoryRecord {
    /// The name of the git directory of the repository `name`.
    fn directory(&self, name: &str) -> String {
        self.directory
            .clone()
            .unwrap_or_else(|| format!("{name}.git"))
    }
}

/// The record of a repository, and its git directory.
fn find(cloud: &Cloud, name: &str) -> ApiResult<(RepositoryRecord, Bare)> {
    check_name(name)?;
    let record = records(cloud).get(name)?.ok_or_else(|| missing(name))?;
    let bare = Bare::of(cloud, &record.directory(name));
    Ok((record, bare))
}

fn missing(name: &str) -> ApiError {
    ApiError::not_found(
        "RepositoryDoesNotExistException",
        format!("{name} does not exist"),
    )
}

/// Records that a repository changed.
fn touch(cloud: &Cloud, name: &str) -> ApiResult<()> {
    records(cloud).update(name, |record| {
        record.modified = clock::epoch();
        Ok(())
    })?;
    Ok(())
}

/// `[\w\.-]{1,100}`, not ending in `.git`, and never a path.
fn check_name(name: &str) -> ApiResult<()> {
    if name.is_empty() {
        return Err(ApiError::new(
            "RepositoryNameRequiredException",
            "A repository name is required",
        ));
    }
    let sound = name.len() <= 100
        && !name.to_ascii_lowercase().ends_with(".git")
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if sound {
        return Ok(());
    }
    Err(ApiError::new(
        "InvalidRepositoryNameException",
        "A repository name has up to 100 letters, digits, periods, underscores and dashes, does \
         not start with a period and does not end in .git",
    ))
}

fn check_branch(name: &str) -> ApiResult<()> {
    if name.is_empty() {
        return Err(ApiError::new(
            "BranchNameRequiredException",
            "A branch name is required",
        ));
    }
    name.parse::<mlops_core::names::BranchName>()
        .map(|_| ())
        .map_err(|error| ApiError::new("InvalidBranchNameException", error.to_string()))
}

fn no_branch(name: &str) -> ApiError {
    ApiError::not_found(
        "BranchDoesNotExistException",
        format!("The branch {name} does not exist"),
    )
}

async fn describe(cloud: &Cloud, name: &str) -> ApiResult<Value> {
    let (record, bare) = find(cloud, name)?;
    let mut described = json!({
        "accountId": ACCOUNT,
        "repositoryId": record.id,
        "repositoryName": name,
        "lastModifiedDate": record.modified,
        "creationDate": record.created,
        "cloneUrlHttp": format!("{}/v1/repos/{name}", cloud.endpoint()),
        // The local cloud has no SSH server; the address must not be an address of AWS.
        "cloneUrlSsh": format!(
            "ssh://{}/v1/repos/{name}",
            cloud.endpoint().trim_start_matches("http://")
        ),
        "Arn": cloud.arn("codecommit", name),
    });
    if let Some(branch) = bare.default_branch().await? {
        described["defaultBranch"] = json!(branch);
    }
    if let Some(description) = record.description {
        described["repositoryDescription"] = json!(description);
    }
    if let Some(key) = record.kms_key {
        described["kmsKeyId"] = json!(key);
    }
    Ok(described)
}

fn check_description(description: Option<&str>) -> ApiResult<()> {
    if description.is_some_and(|text| text.chars().count() > 1000) {
        return Err(ApiError::new(
            "InvalidRepositoryDescriptionException",
            "A description has at most 1000 characters",
        ));
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CreateRepository {
    repository_name: String,
    repository_description: Option<String>,
    #[serde(default)]
    tags: Tags,
    kms_key_id: Option<String>,
}

async fn check_key(cloud: &Cloud, key: &str) -> ApiResult<()> {
    let found = cloud.call("kms", "DescribeKey", json!({"KeyId": key}));
    match found.await {
        Ok(found) if found["KeyMetadata"]["KeyState"] == "Enabled" => Ok(()),
        Ok(_) => Err(ApiError::new(
            "EncryptionKeyDisabledException",
            format!("The encryption key {key} is not enabled"),
        )),
        Err(error) if error.is_gone() || error.is_not_found() => Err(ApiError::not_found(
            "EncryptionKeyNotFoundException",
            error.message,
        )),
        Err(error) => Err(error),
    }
}

async fn create_repository(cloud: &Cloud, input: CreateRepository) -> ApiResult<Value> {
    let name = &input.repository_name;
    check_name(name)?;
    check_description(input.repository_description.as_deref())?;
    let exists = || {
        ApiError::new(
            "RepositoryNameExistsException",
            format!("Repository named {name} already exists"),
        )
    };
    if records(cloud).get(name)?.is_some() {
        return Err(exists());
    }
    if let Some(key) = &input.kms_key_id {
        check_key(cloud, key).await?;
    }
    // A directory without a record is removed at the next start.
    let directory = bare::new_directory();
    let repository = Bare::of(cloud, &directory);
    repository.create().await?;
    let now = clock::epoch();
    let record = RepositoryRecord {
        id: uuid::Uuid::new_v4().to_string(),
        directory: Some(directory),
        description: input.repository_description,
        created: now,
        modified: now,
        kms_key: input.kms_key_id,
        tags: input.tags.into_map(),
    };
    if !records(cloud).insert(name, &record)? {
        repository.remove()?;
        return Err(exists());
    }
    Ok(json!({"repositoryMetadata": describe(cloud, name).await?}))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RepositoryName {
    #[serde(default)]
    repository_name: String,
}

async fn get_repository(cloud: &Cloud, input: RepositoryName) -> ApiResult<Value> {
    Ok(json!({"repositoryMetadata": describe(cloud, &input.repository_name).await?}))
}

/// Deletes a repository. As in AWS, an absent repository is no error.
async fn delete_repository(cloud: &Cloud, input: RepositoryName) -> ApiResult<Value> {
    let name = &input.repository_name;
    check_name(name)?;
    let removed = cloud.store().transaction(|tx| {
        let record = records(cloud).get_in(tx, name)?;
        if let Some(record) = &record {
            announce::forget_in(tx, cloud, &record.id)?;
            records(cloud).remove_in(tx, name)?;
            pulls::stored::remove(tx, cloud, &record.id)?;
        }
        Ok(record)
    })?;
    let Some(record) = removed else {
        return Ok(json!({}));
    };
    // No record names the directory any more; the next start removes what remains of it.
    Bare::of(cloud, &record.directory(name)).remove()?;
    Ok(json!({"repositoryId": record.id}))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListRepositories {
    sort_by: Option<String>,
    order: Option<String>,
}

async fn list_repositories(cloud: &Cloud, input: ListRepositories) -> ApiResult<Value> {
    let mut all = records(cloud).list("")?;
    if input.sort_by.as_deref() == Some("lastModifiedDate") {
        all.sort_by(|(_, a), (_, b)| a.modified.total_cmp(&b.modified));
    }
    if input.order.as_deref() == Some("descending") {
        all.reverse();
    }
    let listed: Vec<Value> = all
        .iter()
        .map(|(name, record)| json!({"repositoryName": name, "repositoryId": record.id}))
        .collect();
    Ok(json!({"repositories": listed}))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BatchGetRepositories {
    repository_names: Vec<String>,
}

async fn batch_get_repositories(cloud: &Cloud, input: BatchGetRepositories) -> ApiResult<Value> {
    let (mut found, mut not_found) = (Vec::new(), Vec::new());
    for name in &input.repository_names {
        match describe(cloud, name).await {
            Ok(described) => found.push(described),
            Err(error) if error.is_not_found() => not_found.push(name),
            Err(error) => return Err(error),
        }
    }
    Ok(json!({"repositories": found, "repositoriesNotFound": not_found}))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UpdateRepositoryDescription {
    repository_name: String,
    repository_description: Option<String>,
}

async fn update_repository_description(
    cloud: &Cloud,
    input: UpdateRepositoryDescription,
) -> ApiResult<Value> {
    check_name(&input.repository_name)?;
    check_description(input.repository_description.as_deref())?;
    records(cloud)
        .update(&input.repository_name, |record| {
            record.description = input.repository_description;
            record.modified = clock::epoch();
            Ok(Value::Null)
        })?
        .ok_or_else(|| missing(&input.repository_name))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UpdateKey {
    repository_name: String,
    kms_key_id: String,
}

/// `UpdateRepositoryEncryptionKey`. AWS's managed key is stored as no key, because the local cloud does not
/// encrypt.
async fn update_key(cloud: &Cloud, input: UpdateKey) -> ApiResult<Value> {
    check_name(&input.repository_name)?;
    let key = Some(input.kms_key_id).filter(|key| key != AWS_KEY);
    if let Some(key) = &key {
        check_key(cloud, key).await?;
    }
    records(cloud)
        .update(&input.repository_name, |record| {
            let before = std::mem::replace(&mut record.kms_key, key);
            record.modified = clock::epoch();
            Ok(json!({
                "repositoryId": record.id,
                "kmsKeyId": record.kms_key.as_deref().unwrap_or(AWS_KEY),
                "originalKmsKeyId": before.as_deref().unwrap_or(AWS_KEY),
            }))
        })?
        .ok_or_else(|| missing(&input.repository_name))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UpdateRepositoryName {
    old_name: String,
    new_name: String,
}

async fn update_repository_name(cloud: &Cloud, input: UpdateRepositoryName) -> ApiResult<Value> {
    check_name(&input.old_name)?;
    check_name(&input.new_name)?;
    let records = records(cloud);
    cloud.store().transaction(|transaction| {
        let mut record = records
            .get_in(transaction, &input.old_name)?
            .ok_or_else(|| missing(&input.old_name))?;
        if records.get_in(transaction, &input.new_name)?.is_some() {
            return Err(ApiError::new(
                "RepositoryNameExistsException",
                format!("Repository named {} already exists", input.new_name),
            ));
        }
        record.directory = Some(record.directory(&input.old_name));
        record.modified = clock::epoch();
        records.put_in(transaction, &input.new_name, &record)?;
        records.remove_in(transaction, &input.old_name)?;
        pulls::stored::rename(transaction, cloud, &record.id, &input.new_name)?;
        Ok(Value::Null)
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OneBranch {
    #[serde(default)]
    repository_name: String,
    #[serde(default)]
    branch_name: String,
    commit_id: Option<String>,
}

async fn create_branch(cloud: &Cloud, input: OneBranch) -> ApiResult<Value> {
    let (_, bare) = find(cloud, &input.repository_name)?;
    check_branch(&input.branch_name)?;
    let commit = input.commit_id.unwrap_or_default();
    if !bare::is_object_id(&commit) {
        return Err(ApiError::new(
            "InvalidCommitIdException",
            "A commit is named by its 40 hexadecimal digits",
        ));
    }
    if bare.commit(&commit).await?.is_none() {
        return Err(ApiError::not_found(
            "CommitDoesNotExistException",
            format!("The commit {commit} does not exist"),
        ));
    }
    if bare.branch(&input.branch_name).await?.is_some() {
        return Err(ApiError::new(
            "BranchNameExistsException",
            format!("The branch {} already exists", input.branch_name),
        ));
    }
    announce::before(cloud, &input.repository_name, &Caller::current()).await?;
    bare.set_branch(&input.branch_name, &commit, None).await?;
    changes::after(cloud, &input.repository_name, &Caller::current()).await;
    Ok(Value::Null)
}

async fn delete_branch(cloud: &Cloud, input: OneBranch) -> ApiResult<Value> {
    let (_, bare) = find(cloud, &input.repository_name)?;
    let name = &input.branch_name;
    check_branch(name)?;
    if bare.default_branch().await?.as_ref() == Some(name) {
        return Err(ApiError::new(
            "DefaultBranchCannotBeDeletedException",
            format!("{name} is the default branch and cannot be deleted"),
        ));
    }
    let Some(commit) = bare.branch(name).await? else {
        return Ok(json!({}));
    };
    announce::before(cloud, &input.repository_name, &Caller::current()).await?;
    bare.delete_branch(name, &commit).await?;
    changes::after(cloud, &input.repository_name, &Caller::current()).await;
    Ok(json!({"deletedBranch": {"branchName": name, "commitId": commit}}))
}

async fn get_branch(cloud: &Cloud, input: OneBranch) -> ApiResult<Value> {
    let (_, bare) = find(cloud, &input.repository_name)?;
    let name = &input.branch_name;
    check_branch(name)?;
    let commit = bare.branch(name).await?.ok_or_else(|| no_branch(name))?;
    Ok(json!({"branch": {"branchName": name, "commitId": commit}}))
}

async fn list_branches(cloud: &Cloud, input: RepositoryName) -> ApiResult<Value> {
    let (_, bare) = find(cloud, &input.repository_name)?;
    Ok(json!({"branches": bare.branches().await?}))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UpdateDefaultBranch {
    repository_name: String,
    default_branch_name: String,
}

async fn update_default_branch(cloud: &Cloud, input: UpdateDefaultBranch) -> ApiResult<Value> {
    let (_, bare) = find(cloud, &input.repository_name)?;
    let name = &input.default_branch_name;
    check_branch(name)?;
    if bare.branch(name).await?.is_none() {
        return Err(no_branch(name));
    }
    bare.set_default_branch(name).await?;
    touch(cloud, &input.repository_name)?;
    Ok(Value::Null)
}

/// The repository of an ARN.
fn resource(cloud: &Cloud, arn: &str) -> ApiResult<String> {
    let name = arn
        .strip_prefix(&cloud.arn("codecommit", ""))
        .ok_or_else(|| {
            ApiError::new(
                "InvalidResourceArnException",
                format!("{arn} is not the ARN of a repository here"),
            )
        })?;
    check_name(name)?;
    Ok(name.to_owned())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourceTags {
    resource_arn: String,
    #[serde(default)]
    tags: Tags,
    #[serde(default)]
    tag_keys: Vec<String>,
}

async fn tag_resource(cloud: &Cloud, input: ResourceTags) -> ApiResult<Value> {
    let name = resource(cloud, &input.resource_arn)?;
    records(cloud)
        .update(&name, |record| {
            record.tags.extend(input.tags.into_map());
            if system_tags::counted(record.tags.keys()) > 50 {
                return Err(ApiError::new(
                    "TooManyTagsException",
                    "A repository has at most 50 tags",
                ));
            }
            Ok(Value::Null)
        })?
        .ok_or_else(|| missing(&name))
}

async fn untag_resource(cloud: &Cloud, input: ResourceTags) -> ApiResult<Value> {
    let name = resource(cloud, &input.resource_arn)?;
    records(cloud)
        .update(&name, |record| {
            record.tags.retain(|key, _| !input.tag_keys.contains(key));
            Ok(Value::Null)
        })?
        .ok_or_else(|| missing(&name))
}

async fn list_tags_for_resource(cloud: &Cloud, input: ResourceTags) -> ApiResult<Value> {
    let name = resource(cloud, &input.resource_arn)?;
    let record = records(cloud).get(&name)?.ok_or_else(|| missing(&name))?;
    Ok(json!({"tags": record.tags}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_the_state_directory() {
        for good in ["flights", "flights-eda", "A.b_c-1"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in [
            "", ".", "..", "../x", "a/b", "x.git", "x.GIT", "a b", "ä", ".hidden",
        ] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
