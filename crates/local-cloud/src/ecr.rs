//! ECR: repositories, their images, and the OCI registry at /v2/.
//!
//! A repository is one record that holds its images and tags, so that a push changes both or
//! neither. Manifests, configurations and layers are in `Cloud::blobs`; each layer of a repository has a
//! record. Error messages follow those of AWS.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Cloud;
use super::api::page::Page;
use super::api::tags::Tags;
use super::api::{ApiError, ApiResult};
use super::clock;
use super::cloud::ACCOUNT;
use super::cloud::service::{Housekeeping, RESERVED_TAG, Route, Service, operations};
use super::store::Collection;
use super::wire::dialect::is_registry;

pub(crate) mod analyzer;
mod announce;
pub(crate) mod auth;
pub(crate) mod blobs;
mod digest;
mod image_id;
pub(crate) mod images;
mod layers;
mod lifecycle;
mod manifests;
mod orphans;
mod refusal;
pub(crate) mod registry;
pub(crate) mod scan;
mod settings;
mod states;
mod uploads;

operations! {
    "BatchCheckLayerAvailability" => layers::batch_check_layer_availability,
    "BatchDeleteImage" => images::batch_delete_image,
    "BatchGetImage" => images::batch_get_image,
    "CompleteLayerUpload" => layers::complete_layer_upload,
    "CreateRepository" => create_repository,
    "DeleteLifecyclePolicy" => settings::delete_lifecycle_policy,
    "DeleteRepository" => delete_repository,
    "DeleteRepositoryPolicy" => settings::delete_repository_policy,
    "DescribeImages" => images::describe_images,
    "DescribeImageScanFindings" => scan::describe_image_scan_findings,
    "DescribeRepositories" => describe_repositories,
    "GetAuthorizationToken" => auth::get_authorization_token,
    "GetDownloadUrlForLayer" => layers::get_download_url_for_layer,
    "GetLifecyclePolicy" => settings::get_lifecycle_policy,
    "GetLifecyclePolicyPreview" => lifecycle::get_lifecycle_policy_preview,
    "GetRepositoryPolicy" => settings::get_repository_policy,
    "InitiateLayerUpload" => layers::initiate_layer_upload,
    "ListImages" => images::list_images,
    "ListTagsForResource" => settings::list_tags_for_resource,
    "PutImage" => images::put_image,
    "PutImageScanningConfiguration" => settings::put_image_scanning_configuration,
    "PutImageTagMutability" => settings::put_image_tag_mutability,
    "PutLifecyclePolicy" => settings::put_lifecycle_policy,
    "SetRepositoryPolicy" => settings::set_repository_policy,
    "StartImageScan" => scan::start_image_scan,
    "StartLifecyclePolicyPreview" => lifecycle::start_lifecycle_policy_preview,
    "TagResource" => settings::tag_resource,
    "UntagResource" => settings::untag_resource,
    "UploadLayerPart" => layers::upload_layer_part,
}

/// The service: its API, and the OCI registry at `/v2/`.
pub(crate) const SERVICE: Service = Service {
    routes: &[Route {
        matches: is_registry,
        handle: |cloud, request| Box::pin(registry::handle(cloud, request)),
    }],
    resource_policy: Some(settings::repository_policy),
    reserved_tag: ("InvalidTagParameterException", RESERVED_TAG),
    housekeeping: Housekeeping {
        temporary_files: Some(uploads::files),
        images: Some(orphans::digests),
        remove_orphans: Some(orphans::remove_orphaned_layers),
        remove_expired: Some(orphans::remove_released_layers),
        ..Housekeeping::NONE
    },
    ..Service::json(
        "ecr",
        "ECR",
        "AmazonEC2ContainerRegistry_V20150921",
        &[OPERATIONS],
    )
};

/// A repository with its images.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Repository {
    name: String,
    /// Seconds since the epoch.
    created: f64,
    mutability: Mutability,
    scan_on_push: bool,
    encryption: Value,
    resource_tags: BTreeMap<String, String>,
    lifecycle_policy: Option<String>,
    policy: Option<String>,
    /// By digest (`sha256:…`).
    images: BTreeMap<String, StoredImage>,
    /// Image tag to digest.
    tags: BTreeMap<String, String>,
}

/// Whether tags can be moved to another image.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Mutability {
    /// `MUTABLE`, `IMMUTABLE`, or one of them `_WITH_EXCLUSION`.
    mode: String,
    exclusions: Vec<ExclusionFilter>,
}

/// An exception from a repository's tag mutability.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ExclusionFilter {
    filter_type: String,
    filter: String,
}

/// An image of a repository. Its manifest is the blob of its digest.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct StoredImage {
    media_type: String,
    artifact_type: Option<String>,
    /// Configuration and layers, in bytes; of an index, the largest of its images.
    size: u64,
    /// Seconds since the epoch.
    pushed: f64,
    /// The digest of the manifest that this one refers to (`subject`).
    subject: Option<String>,
    /// The digests of an index's manifests.
    children: Vec<String>,
}

/// A configuration or layer in a repository.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Layer {
    size: u64,
    /// Known once a manifest names the layer.
    media_type: Option<String>,
    /// When the last image that needed the layer was deleted, in seconds since the epoch.
    #[serde(default)]
    released: Option<f64>,
}

fn repositories(cloud: &Cloud) -> Collection<'_, Repository> {
    cloud.store().collection("ecr", "repository")
}

/// Keys are `repository@digest`; a repository's name has no `@`.
fn layer_records(cloud: &Cloud) -> Collection<'_, Layer> {
    cloud.store().collection("ecr", "layer")
}

/// The host, the start of every repository URI: `127.0.0.1:PORT`.
pub(crate) fn registry_host(cloud: &Cloud) -> &str {
    let endpoint = cloud.endpoint();
    endpoint.strip_prefix("http://").unwrap_or(endpoint)
}

/// Returns the repository, or ECR's `RepositoryNotFoundException`.
fn find(cloud: &Cloud, registry: Option<&str>, name: &str) -> ApiResult<Repository> {
    let registry = registry.unwrap_or(ACCOUNT);
    if registry == ACCOUNT
        && let Some(repository) = repositories(cloud).get(name)?
    {
        return Ok(repository);
    }
    Err(not_found(registry, name))
}

fn not_found(registry: &str, name: &str) -> ApiError {
    ApiError::not_found(
        "RepositoryNotFoundException",
        format!(
            "The repository with name '{name}' does not exist in the registry with id '{registry}'"
        ),
    )
}

/// Changes a repository in one transaction.
fn change<R>(
    cloud: &Cloud,
    name: &str,
    work: impl FnOnce(&mut Repository) -> ApiResult<R>,
) -> ApiResult<R> {
    repositories(cloud)
        .update(name, work)?
        .ok_or_else(|| not_found(ACCOUNT, name))
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidParameterException", message)
}

/// One page of `items`. Tokens are in Base64, as those of ECR.
fn page<T>(
    items: Vec<T>,
    token: Option<&str>,
    size: Option<usize>,
) -> ApiResult<(Vec<T>, Option<String>)> {
    let decoded = |token: &str| String::from_utf8(STANDARD.decode(token).ok()?).ok();
    let token = token.map(|token| decoded(token).unwrap_or_default());
    let size = size.unwrap_or(100);
    if !(1..=1000).contains(&size) {
        return Err(invalid(
            "Invalid parameter at 'maxResults' failed to satisfy constraint: \
             'Member must have value between 1 and 1000'",
        ));
    }
    let page = Page::new(token.as_deref(), size, |_| {
        invalid("Invalid parameter at 'nextToken': invalid token")
    })?;
    let (items, next) = page.cut(items);
    Ok((items, next.map(|next| STANDARD.encode(next))))
}

impl Mutability {
    /// Checks the setting of a request (ECR's own rules: one to five wildcard filters with
    /// `_WITH_EXCLUSION`, none without).
    fn new(mode: Option<String>, exclusions: Vec<ExclusionFilter>) -> ApiResult<Self> {
        let mode = mode.unwrap_or_else(|| "MUTABLE".to_owned());
        match (mode.as_str(), exclusions.len()) {
            ("MUTABLE" | "IMMUTABLE", 0)
            | ("MUTABLE_WITH_EXCLUSION" | "IMMUTABLE_WITH_EXCLUSION", 1..=5) => {}
            ("MUTABLE" | "IMMUTABLE", _) => {
                return Err(invalid(format!(
                    "Invalid parameter at 'imageTagMutabilityExclusionFilters': \
                     they cannot be combined with {mode}"
                )));
            }
            ("MUTABLE_WITH_EXCLUSION" | "IMMUTABLE_WITH_EXCLUSION", _) => {
                return Err(invalid(format!(
                    "Invalid parameter at 'imageTagMutabilityExclusionFilters': \
                     {mode} needs one to five of them"
                )));
            }
            _ => {
                return Err(invalid(format!(
                    "Invalid parameter at 'imageTagMutability': '{mode}' is not one of MUTABLE, \
                     IMMUTABLE, MUTABLE_WITH_EXCLUSION, IMMUTABLE_WITH_EXCLUSION"
                )));
            }
        }
        for exclusion in &exclusions {
            let sound = exclusion.filter_type == "WILDCARD"
                && (1..=128).contains(&exclusion.filter.len())
                && exclusion.filter.matches('*').count() <= 2
                && exclusion
                    .filter
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._*-".contains(&b));
            if !sound {
                return Err(invalid(
                    "Invalid parameter at 'imageTagMutabilityExclusionFilters': a filter is of \
                     the type WILDCARD and has letters, digits, '.', '_', '-' and at most two '*'",
                ));
            }
        }
        Ok(Self { mode, exclusions })
    }

    /// True if `tag` may be moved to another image.
    fn may_move(&self, tag: &str) -> bool {
        let excluded = self
            .exclusions
            .iter()
            .any(|exclusion| matches_wildcard(&exclusion.filter, tag));
        self.mode.starts_with("MUTABLE") != excluded
    }
}

/// True if `text` matches `pattern`, in which `*` matches any characters.
fn matches_wildcard(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(text) = text.strip_prefix(first) else {
        return false;
    };
    (0..=text.len())
        .filter(|&start| text.is_char_boundary(start))
        .any(|start| matches_wildcard(rest, &text[start..]))
}

impl Repository {
    fn arn(&self, cloud: &Cloud) -> String {
        cloud.arn("ecr", format_args!("repository/{}", self.name))
    }

    fn describe(&self, cloud: &Cloud) -> Value {
        let mut described = json!({
            "repositoryArn": self.arn(cloud),
            "registryId": ACCOUNT,
            "repositoryName": self.name,
            "repositoryUri": format!("{}/{}", registry_host(cloud), self.name),
            "createdAt": self.created,
            "imageTagMutability": self.mutability.mode,
            "imageScanningConfiguration": {"scanOnPush": self.scan_on_push},
            "encryptionConfiguration": self.encryption,
        });
        if !self.mutability.exclusions.is_empty() {
            described["imageTagMutabilityExclusionFilters"] = json!(self.mutability.exclusions);
        }
        described
    }

    /// The tags of an image, in order.
    fn tags_of(&self, digest: &str) -> Vec<&str> {
        self.tags
            .iter()
            .filter(|(_, of)| *of == digest)
            .map(|(tag, _)| tag.as_str())
            .collect()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CreateRepository {
    registry_id: Option<String>,
    repository_name: String,
    #[serde(default)]
    tags: Tags,
    image_tag_mutability: Option<String>,
    #[serde(default)]
    image_tag_mutability_exclusion_filters: Vec<ExclusionFilter>,
    #[serde(default)]
    image_scanning_configuration: ScanningConfiguration,
    encryption_configuration: Option<EncryptionConfiguration>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ScanningConfiguration {
    #[serde(default)]
    scan_on_push: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EncryptionConfiguration {
    encryption_type: String,
    kms_key: Option<String>,
}

async fn create_repository(cloud: &Cloud, input: CreateRepository) -> ApiResult<Value> {
    if input.registry_id.is_some_and(|id| id != ACCOUNT) {
        return Err(invalid(
            "Invalid parameter at 'registryId': it is another account's",
        ));
    }
    check_name(&input.repository_name)?;
    let encryption = encryption(cloud, input.encryption_configuration).await?;
    let repository = Repository {
        created: clock::epoch(),
        mutability: Mutability::new(
            input.image_tag_mutability,
            input.image_tag_mutability_exclusion_filters,
        )?,
        scan_on_push: input.image_scanning_configuration.scan_on_push,
        encryption,
        resource_tags: input.tags.into_map(),
        lifecycle_policy: None,
        policy: None,
        images: BTreeMap::new(),
        tags: BTreeMap::new(),
        name: input.repository_name,
    };
    if !repositories(cloud).insert(&repository.name, &repository)? {
        return Err(ApiError::new(
            "RepositoryAlreadyExistsException",
            format!(
                "The repository with name '{}' already exists in the registry with id '{ACCOUNT}'",
                repository.name
            ),
        ));
    }
    Ok(json!({"repository": repository.describe(cloud)}))
}

/// The encryption of a new repository; a key that does not exist is refused.
async fn encryption(cloud: &Cloud, asked: Option<EncryptionConfiguration>) -> ApiResult<Value> {
    let Some(asked) = asked else {
        return Ok(json!({"encryptionType": "AES256"}));
    };
    match (asked.encryption_type.as_str(), asked.kms_key) {
        ("AES256", None) => Ok(json!({"encryptionType": "AES256"})),
        (kind @ ("KMS" | "KMS_DSSE"), Some(key)) => {
            cloud
                .call("kms", "DescribeKey", json!({"KeyId": key}))
                .await
                .map_err(|error| ApiError::new("KmsException", error.message))?;
            Ok(json!({"encryptionType": kind, "kmsKey": key}))
        }
        (kind @ ("KMS" | "KMS_DSSE"), None) => Ok(json!({
            "encryptionType": kind,
            "kmsKey": cloud.arn("kms", "alias/aws/ecr"),
        })),
        (kind, _) => Err(invalid(format!(
            "Invalid parameter at 'encryptionConfiguration': '{kind}' with these members"
        ))),
    }
}

/// The pattern of `RepositoryName` in ECR's service model, 2 to 256 characters.
fn check_name(name: &str) -> ApiResult<()> {
    let part = |part: &str| {
        let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let separators = |run: &str| {
            run.is_empty() || matches!(run, "." | "_" | "__") || run.bytes().all(|b| b == b'-')
        };
        part.starts_with(edge) && part.ends_with(edge) && part.split(edge).all(separators)
    };
    if (2..=256).contains(&name.len()) && name.split('/').all(part) {
        return Ok(());
    }
    Err(invalid(
        "Invalid parameter at 'repositoryName' failed to satisfy constraint: 'must satisfy regular \
         expression '(?:[a-z0-9]+(?:[._-][a-z0-9]+)*/)*[a-z0-9]+(?:[._-][a-z0-9]+)*''",
    ))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DescribeRepositories {
    registry_id: Option<String>,
    repository_names: Option<Vec<String>>,
    next_token: Option<String>,
    max_results: Option<usize>,
}

async fn describe_repositories(cloud: &Cloud, input: DescribeRepositories) -> ApiResult<Value> {
    if let Some(names) = input.repository_names {
        let described = names
            .iter()
            .map(|name| Ok(find(cloud, input.registry_id.as_deref(), name)?.describe(cloud)))
            .collect::<ApiResult<Vec<_>>>()?;
        return Ok(json!({"repositories": described}));
    }
    let all = repositories(cloud)
        .list("")?
        .into_iter()
        .map(|(_, repository)| repository.describe(cloud))
        .collect();
    let (repositories, next) = page(all, input.next_token.as_deref(), input.max_results)?;
    Ok(with_token(json!({"repositories": repositories}), next))
}

fn with_token(mut answer: Value, next: Option<String>) -> Value {
    if let Some(next) = next {
        answer["nextToken"] = Value::String(next);
    }
    answer
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeleteRepository {
    registry_id: Option<String>,
    repository_name: String,
    #[serde(default)]
    force: bool,
}

async fn delete_repository(cloud: &Cloud, input: DeleteRepository) -> ApiResult<Value> {
    let name = &input.repository_name;
    let repository = find(cloud, input.registry_id.as_deref(), name)?;
    if !input.force && !repository.images.is_empty() {
        return Err(ApiError::new(
            "RepositoryNotEmptyException",
            format!(
                "The repository with name '{name}' in registry with id '{ACCOUNT}' cannot be \
                 deleted because it still contains images"
            ),
        ));
    }
    lifecycle::forget(cloud, name)?;
    let kept = layer_records(cloud).list(&format!("{name}@"))?;
    // In one transaction: a new repository with this name must not have the layers of this one.
    cloud.store().transaction(|transaction| {
        repositories(cloud).remove_in(transaction, name)?;
        for (key, _) in &kept {
            layer_records(cloud).remove_in(transaction, key)?;
        }
        Ok(())
    })?;
    Ok(json!({"repository": repository.describe(cloud)}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repository_names_follow_the_pattern_of_the_service_model() {
        for good in ["flights", "a/b-c/d.e", "x__y", "x--y", "0a"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in [
            "a", "A/b", "a//b", "../x", "a/", "-a1", "a..b", "a___b", "a@b",
        ] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn exclusions_invert_the_mutability_mode() {
        let filter = |filter: &str| ExclusionFilter {
            filter_type: "WILDCARD".to_owned(),
            filter: filter.to_owned(),
        };
        let mutability = Mutability::new(
            Some("IMMUTABLE_WITH_EXCLUSION".to_owned()),
            vec![filter("dev*"), filter("feature-*-x")],
        )
        .unwrap();
        assert!(mutability.may_move("develop"));
        assert!(mutability.may_move("feature-1-x"));
        assert!(!mutability.may_move("feature-1-y"));
        assert!(!mutability.may_move("main"));
        assert!(Mutability::new(Some("IMMUTABLE".to_owned()), vec![filter("a")]).is_err());
        assert!(Mutability::new(Some("IMMUTABLE_WITH_EXCLUSION".to_owned()), vec![]).is_err());
        assert!(Mutability::new(None, vec![]).unwrap().may_move("x"));
    }
}
