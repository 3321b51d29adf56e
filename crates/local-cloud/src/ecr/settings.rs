//! Settings of a repository: tag mutability, scanning, policies, resource tags.

use serde::Deserialize;
use serde_json::{Value, json};

use super::lifecycle::{Policy, no_lifecycle_policy};
use super::{ExclusionFilter, Mutability, ScanningConfiguration, change, find, invalid, not_found};
use crate::api::tags::Tags;
use crate::api::{ApiError, ApiResult};
use crate::clock;
use crate::cloud::ACCOUNT;
use crate::policy::{Call, Document};
use crate::{Cloud, system_tags};

/// The policy of the repository that a call is about.
pub(super) fn repository_policy(cloud: &Cloud, call: &Call) -> ApiResult<Option<String>> {
    let prefix = cloud.arn("ecr", "repository/");
    let Some(name) = call.resource.strip_prefix(&prefix) else {
        return Ok(None);
    };
    match find(cloud, None, name) {
        Ok(repository) => Ok(repository.policy),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RepositoryName {
    registry_id: Option<String>,
    repository_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PutImageTagMutability {
    repository_name: String,
    image_tag_mutability: String,
    #[serde(default)]
    image_tag_mutability_exclusion_filters: Vec<ExclusionFilter>,
}

pub(super) async fn put_image_tag_mutability(
    cloud: &Cloud,
    input: PutImageTagMutability,
) -> ApiResult<Value> {
    let mutability = Mutability::new(
        Some(input.image_tag_mutability),
        input.image_tag_mutability_exclusion_filters,
    )?;
    let mut answer = json!({
        "registryId": ACCOUNT,
        "repositoryName": input.repository_name,
        "imageTagMutability": mutability.mode,
    });
    if !mutability.exclusions.is_empty() {
        answer["imageTagMutabilityExclusionFilters"] = json!(mutability.exclusions);
    }
    change(cloud, &input.repository_name, |repository| {
        repository.mutability = mutability;
        Ok(answer)
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PutImageScanningConfiguration {
    repository_name: String,
    image_scanning_configuration: ScanningConfiguration,
}

pub(super) async fn put_image_scanning_configuration(
    cloud: &Cloud,
    input: PutImageScanningConfiguration,
) -> ApiResult<Value> {
    let scan_on_push = input.image_scanning_configuration.scan_on_push;
    change(cloud, &input.repository_name, |repository| {
        repository.scan_on_push = scan_on_push;
        Ok(json!({
            "registryId": ACCOUNT,
            "repositoryName": repository.name,
            "imageScanningConfiguration": {"scanOnPush": scan_on_push},
        }))
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PutLifecyclePolicy {
    repository_name: String,
    lifecycle_policy_text: String,
}

/// Stores the policy without applying it: AWS applies policies within a day.
pub(super) async fn put_lifecycle_policy(
    cloud: &Cloud,
    input: PutLifecyclePolicy,
) -> ApiResult<Value> {
    Policy::parse(&input.lifecycle_policy_text)?;
    change(cloud, &input.repository_name, |repository| {
        let answer = json!({
            "registryId": ACCOUNT,
            "repositoryName": repository.name,
            "lifecyclePolicyText": input.lifecycle_policy_text,
        });
        repository.lifecycle_policy = Some(input.lifecycle_policy_text);
        Ok(answer)
    })
}

fn lifecycle_answer(name: &str, policy: Option<String>) -> ApiResult<Value> {
    let policy = policy.ok_or_else(|| no_lifecycle_policy(name))?;
    Ok(json!({
        "registryId": ACCOUNT,
        "repositoryName": name,
        "lifecyclePolicyText": policy,
        "lastEvaluatedAt": clock::epoch(),
    }))
}

pub(super) async fn get_lifecycle_policy(cloud: &Cloud, input: RepositoryName) -> ApiResult<Value> {
    let repository = find(cloud, input.registry_id.as_deref(), &input.repository_name)?;
    lifecycle_answer(&repository.name, repository.lifecycle_policy)
}

pub(super) async fn delete_lifecycle_policy(
    cloud: &Cloud,
    input: RepositoryName,
) -> ApiResult<Value> {
    change(cloud, &input.repository_name, |repository| {
        lifecycle_answer(&repository.name, repository.lifecycle_policy.take())
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SetRepositoryPolicy {
    repository_name: String,
    policy_text: String,
}

pub(super) async fn set_repository_policy(
    cloud: &Cloud,
    input: SetRepositoryPolicy,
) -> ApiResult<Value> {
    let wrong = |why: &str| {
        invalid(format!(
            "Invalid parameter at 'PolicyText' failed to satisfy constraint: \
             'Invalid repository policy provided{why}'"
        ))
    };
    Document::parse(&input.policy_text).map_err(|error| wrong(&format!(": {error}")))?;
    change(cloud, &input.repository_name, |repository| {
        repository.policy = Some(input.policy_text);
        policy_answer(&repository.name, repository.policy.clone())
    })
}

fn policy_answer(name: &str, policy: Option<String>) -> ApiResult<Value> {
    let policy = policy.ok_or_else(|| {
        ApiError::not_found(
            "RepositoryPolicyNotFoundException",
            format!(
                "Repository policy does not exist for the repository with name '{name}' in the \
                 registry with id '{ACCOUNT}'"
            ),
        )
    })?;
    Ok(json!({"registryId": ACCOUNT, "repositoryName": name, "policyText": policy}))
}

pub(super) async fn get_repository_policy(
    cloud: &Cloud,
    input: RepositoryName,
) -> ApiResult<Value> {
    let repository = find(cloud, input.registry_id.as_deref(), &input.repository_name)?;
    policy_answer(&repository.name, repository.policy)
}

pub(super) async fn delete_repository_policy(
    cloud: &Cloud,
    input: RepositoryName,
) -> ApiResult<Value> {
    change(cloud, &input.repository_name, |repository| {
        policy_answer(&repository.name, repository.policy.take())
    })
}

/// The repository of an ARN.
fn repository_name(cloud: &Cloud, arn: &str) -> ApiResult<String> {
    arn.strip_prefix(&cloud.arn("ecr", "repository/"))
        .map(str::to_owned)
        .ok_or_else(|| {
            invalid(format!(
                "Invalid parameter at 'resourceArn': '{arn}' is not the ARN of a repository here"
            ))
        })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TagResource {
    resource_arn: String,
    tags: Tags,
}

pub(super) async fn tag_resource(cloud: &Cloud, input: TagResource) -> ApiResult<Value> {
    let name = repository_name(cloud, &input.resource_arn)?;
    change(cloud, &name, |repository| {
        repository.resource_tags.extend(input.tags.into_map());
        if system_tags::counted(repository.resource_tags.keys()) > 50 {
            return Err(ApiError::new(
                "TooManyTagsException",
                "The list of tags on the repository is over the limit of 50",
            ));
        }
        Ok(json!({}))
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UntagResource {
    resource_arn: String,
    tag_keys: Vec<String>,
}

pub(super) async fn untag_resource(cloud: &Cloud, input: UntagResource) -> ApiResult<Value> {
    let name = repository_name(cloud, &input.resource_arn)?;
    change(cloud, &name, |repository| {
        repository
            .resource_tags
            .retain(|key, _| !input.tag_keys.contains(key));
        Ok(json!({}))
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListTagsForResource {
    resource_arn: String,
}

pub(super) async fn list_tags_for_resource(
    cloud: &Cloud,
    input: ListTagsForResource,
) -> ApiResult<Value> {
    let name = repository_name(cloud, &input.resource_arn)?;
    let repository = super::repositories(cloud)
        .get(&name)?
        .ok_or_else(|| not_found(ACCOUNT, &name))?;
    let tags: Vec<_> = repository
        .resource_tags
        .into_iter()
        .map(|(key, value)| json!({"Key": key, "Value": value}))
        .collect();
    Ok(json!({"tags": tags}))
}
