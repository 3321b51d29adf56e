//! Code repositories: git addresses that notebook instances refer to by name.

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::records::Records;
use super::super::requests::{ListRequest, ResourceName, Stored, check_name};
use crate::Cloud;
use crate::api::tags::Tags;
use crate::api::{ApiError, ApiResult};

pub(super) const REPOSITORIES: Records = Records {
    kind: "code-repository",
    name: "CodeRepositoryName",
    arn: "CodeRepositoryArn",
    resource: "code-repository",
    title: "code repository",
    list: "CodeRepositorySummaryList",
    summary: &["CreationTime", "LastModifiedTime", "GitConfig"],
};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreateRepository {
    code_repository_name: String,
    git_config: GitConfig,
    tags: Option<Tags>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GitConfig {
    repository_url: String,
}

pub(super) async fn create(cloud: &Cloud, input: Stored<CreateRepository>) -> ApiResult<Value> {
    let name = &input.code_repository_name;
    check_name(name, REPOSITORIES.name, 63)?;
    let url = &input.git_config.repository_url;
    let loopback = url
        .strip_prefix("http://")
        .is_some_and(|rest| rest.starts_with("127.0.0.1:") || rest.starts_with("localhost:"));
    // The local CodeCommit's clone URL is plain HTTP on loopback; AWS accepts only https.
    if !url.starts_with("https://") && !loopback {
        return Err(ApiError::validation(format!(
            "1 validation error detected: Value '{url}' at 'gitConfig.repositoryUrl' failed to \
             satisfy constraint: Member must satisfy regular expression pattern: https://([^/]+)/?.*"
        )));
    }
    let record = input.pick(&[REPOSITORIES.name, "GitConfig"]);
    REPOSITORIES.create(cloud, name, record, input.tags.as_ref())
}

pub(super) async fn describe(cloud: &Cloud, input: ResourceName) -> ApiResult<Value> {
    REPOSITORIES.get(cloud, &input.name)
}

pub(super) async fn list(cloud: &Cloud, input: ListRequest) -> ApiResult<Value> {
    REPOSITORIES.list(cloud, &input)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UpdateRepository {
    code_repository_name: String,
    git_config: Option<GitSecret>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GitSecret {
    secret_arn: Option<String>,
}

pub(super) async fn update(cloud: &Cloud, input: UpdateRepository) -> ApiResult<Value> {
    let arn = REPOSITORIES.change(cloud, &input.code_repository_name, |record| {
        if let Some(secret) = input.git_config.and_then(|config| config.secret_arn) {
            record["GitConfig"]["SecretArn"] = json!(secret);
        }
        Ok(record["CodeRepositoryArn"].clone())
    })?;
    Ok(json!({"CodeRepositoryArn": arn}))
}

pub(super) async fn delete(cloud: &Cloud, input: ResourceName) -> ApiResult<Value> {
    REPOSITORIES.delete(cloud, &input.name)
}
