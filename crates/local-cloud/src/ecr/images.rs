//! Images of a repository: the operations on them, and resolving an image URI for other services.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Value, json};

use super::announce::{self, Action};
use super::digest::{digest_of, sha256_of};
use super::image_id::{ImageId, Miss, image_not_found};
use super::manifests::{self, Manifest};
use super::states::{ImageStatus, TagStatus};
use super::{Repository, StoredImage, blobs, find, page, scan, with_token};
use crate::api::{ApiError, ApiResult};
use crate::cloud::ACCOUNT;
use crate::cloud::caller::Caller;
use crate::{Cloud, authorization, events};

/// An image as other services need it to run a program.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    /// The repository's name.
    pub(crate) repository: String,
    /// The digest of the image's manifest (not of an index that names it): `sha256:…`.
    pub(crate) digest: String,
    /// The OCI image configuration.
    pub(crate) config: Value,
    /// The layers, from the bottom.
    pub(crate) layers: Vec<Layer>,
}

/// A layer; its bytes are the blob of its digest.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    /// `sha256:…`
    pub(crate) digest: String,
    /// The media type, which determines the compression.
    pub(crate) media_type: String,
}

impl Repository {
    fn detail(&self, cloud: &Cloud, digest: &str, image: &StoredImage) -> ApiResult<Value> {
        let tags = self.tags_of(digest);
        let mut detail = json!({
            "registryId": ACCOUNT,
            "repositoryName": self.name,
            "imageDigest": digest,
            "imageSizeInBytes": image.size,
            "imagePushedAt": image.pushed,
            "imageManifestMediaType": image.media_type,
            "imageStatus": ImageStatus::Active,
        });
        if !tags.is_empty() {
            detail["imageTags"] = json!(tags);
        }
        if let Some(kind) = &image.artifact_type {
            detail["artifactMediaType"] = json!(kind);
        }
        if let Some(subject) = &image.subject {
            detail["subjectManifestDigest"] = json!(subject);
        }
        scan::describe(cloud, &self.name, digest, &mut detail)?;
        Ok(detail)
    }

    /// Removes an image with its tags, or one tag (the last tag also removes the image).
    fn remove(&mut self, id: &ImageId) -> Result<Vec<ImageId>, Miss> {
        let digest = self.locate(id)?;
        let tags: Vec<String> = self
            .tags_of(&digest)
            .into_iter()
            .map(str::to_owned)
            .collect();
        let one_of_many = id.image_digest.is_none() && tags.len() > 1;
        if !one_of_many
            && self
                .images
                .values()
                .any(|image| image.children.contains(&digest))
        {
            return Err((
                "ImageReferencedByManifestList",
                "Requested image referenced by manifest list",
            ));
        }
        let gone: Vec<String> = match &id.image_tag {
            Some(tag) if one_of_many => vec![tag.clone()],
            _ => {
                self.images.remove(&digest);
                tags
            }
        };
        self.tags.retain(|tag, _| !gone.contains(tag));
        if gone.is_empty() {
            return Ok(vec![ImageId::digest(&digest)]);
        }
        Ok(gone
            .into_iter()
            .map(|tag| ImageId {
                image_digest: Some(digest.clone()),
                image_tag: Some(tag),
            })
            .collect())
    }
}

fn failure(id: &ImageId, (code, reason): Miss) -> Value {
    json!({"imageId": id, "failureCode": code, "failureReason": reason})
}

/// Removes one image or tag on behalf of the registry.
pub(super) fn remove(cloud: &Cloud, name: &str, id: &ImageId) -> ApiResult<()> {
    cloud.store().transaction(|transaction| {
        let repositories = super::repositories(cloud);
        let mut repository = repositories
            .get_in(transaction, name)?
            .ok_or_else(|| super::not_found(ACCOUNT, name))?;
        let removed = repository.remove(id).map_err(|(code, reason)| {
            if code == "ImageReferencedByManifestList" {
                ApiError::new(code, reason)
            } else {
                image_not_found(name, id)
            }
        })?;
        for id in &removed {
            announce::image(transaction, cloud, name, Action::Delete, id)?;
        }
        repositories.put_in(transaction, name, &repository)
    })?;
    events::deliver_soon(cloud);
    Ok(())
}

/// Fails unless a role may pull the images of a repository.
pub(crate) fn may_pull(cloud: &Cloud, role: &Caller, repository: &str) -> ApiResult<()> {
    let input = json!({ "repositoryName": repository });
    for operation in [
        "GetAuthorizationToken",
        "BatchGetImage",
        "GetDownloadUrlForLayer",
    ] {
        authorization::operation_of(cloud, role, &super::SERVICE, operation, &input)?;
    }
    Ok(())
}

/// Resolves an image URI: `HOST/REPOSITORY[:TAG][@DIGEST]`, where HOST is this registry by any
/// loopback name, or ECR's own name for account and region. Of an index, it selects the image for this
/// machine. `ValidationException`, as in SageMaker, if any part of it does not exist.
pub(crate) fn resolve(cloud: &Cloud, uri: &str) -> ApiResult<Image> {
    let (host, rest) = uri
        .split_once('/')
        .filter(|(host, _)| host.contains(['.', ':']) || *host == "localhost")
        .ok_or_else(|| {
            ApiError::validation(format!(
                "The image `{uri}` has no registry: an image URI is HOST/REPOSITORY@DIGEST"
            ))
        })?;
    if !is_this_registry(cloud, host) {
        if super::analyzer::is_aws(uri)
            && let Some(own) = super::analyzer::newest(cloud)?
        {
            return resolve(cloud, &own);
        }
        return Err(ApiError::validation(format!(
            "Requested image {uri} not found: the local cloud has only its own registry and \
             cannot pull from `{host}`"
        )));
    }
    let (rest, digest) = match rest.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest.to_owned())),
        None => (rest, None),
    };
    let (name, tag) = match rest.split_once(':') {
        Some((name, tag)) => (name, Some(tag.to_owned())),
        None => (rest, digest.is_none().then(|| "latest".to_owned())),
    };
    let not_found =
        |why: &str| ApiError::validation(format!("Requested image {uri} not found. {why}"));
    let repository = super::repositories(cloud)
        .get(name)?
        .ok_or_else(|| not_found(&format!("No repository `{name}`.")))?;
    let id = ImageId {
        image_digest: digest,
        image_tag: tag,
    };
    let mut digest = repository
        .locate(&id)
        .map_err(|(_, reason)| not_found(reason))?;
    loop {
        let stored = repository
            .images
            .get(&digest)
            .ok_or_else(|| not_found("Its manifest is missing."))?;
        let bytes = blobs::manifest(cloud, &digest)?
            .ok_or_else(|| not_found("Its manifest is missing."))?;
        match manifests::read(&bytes, &stored.media_type)? {
            Manifest::Index(index) => {
                digest = index
                    .manifests()
                    .iter()
                    .find(|child| {
                        child.platform().as_ref().is_none_or(|platform| {
                            platform.os().to_string() == "linux"
                                && platform.architecture().to_string() == architecture()
                        })
                    })
                    .map(|child| child.digest().to_string())
                    .ok_or_else(|| {
                        not_found(&format!("It has no image for linux/{}.", architecture()))
                    })?;
            }
            Manifest::Image(manifest) => {
                let config = manifest.config().digest().to_string();
                let config =
                    blobs::configuration(cloud.blobs(), sha256_of(&config).unwrap_or_default())?;
                return Ok(Image {
                    repository: name.to_owned(),
                    digest,
                    config: serde_json::from_slice(&config).map_err(|error| {
                        not_found(&format!("Its configuration cannot be read: {error}."))
                    })?,
                    layers: manifest
                        .layers()
                        .iter()
                        .map(|layer| Layer {
                            digest: layer.digest().to_string(),
                            media_type: layer.media_type().to_string(),
                        })
                        .collect(),
                });
            }
        }
    }
}

/// This machine's architecture in OCI's terms.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn is_this_registry(cloud: &Cloud, host: &str) -> bool {
    let name = host
        .rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
        .map_or(host, |(name, _)| name)
        .trim_start_matches('[')
        .trim_end_matches(']');
    name == "localhost"
        || name.ends_with(".localhost")
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
        || name == format!("{ACCOUNT}.dkr.ecr.{}.amazonaws.com", cloud.region())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListImages {
    registry_id: Option<String>,
    repository_name: String,
    image_ids: Option<Vec<ImageId>>,
    next_token: Option<String>,
    max_results: Option<usize>,
    #[serde(default)]
    filter: ImageFilter,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ImageFilter {
    #[serde(default)]
    tag_status: TagStatus,
    image_status: Option<ImageStatus>,
}

impl ImageFilter {
    fn admits(&self, tagged: bool) -> bool {
        self.tag_status.selects(tagged) && self.image_status != Some(ImageStatus::Other)
    }
}

pub(super) async fn list_images(cloud: &Cloud, input: ListImages) -> ApiResult<Value> {
    let repository = find(cloud, input.registry_id.as_deref(), &input.repository_name)?;
    let mut ids = Vec::new();
    for digest in repository.images.keys() {
        let tags = repository.tags_of(digest);
        if !input.filter.admits(!tags.is_empty()) {
            continue;
        }
        if tags.is_empty() {
            ids.push(ImageId::digest(digest));
        }
        ids.extend(tags.into_iter().map(|tag| ImageId {
            image_digest: Some(digest.clone()),
            image_tag: Some(tag.to_owned()),
        }));
    }
    let (ids, next) = page(ids, input.next_token.as_deref(), input.max_results)?;
    Ok(with_token(json!({"imageIds": ids}), next))
}

pub(super) async fn describe_images(cloud: &Cloud, input: ListImages) -> ApiResult<Value> {
    let repository = find(cloud, input.registry_id.as_deref(), &input.repository_name)?;
    let details: Vec<Value> = if let Some(ids) = &input.image_ids {
        let mut digests = BTreeSet::new();
        for id in ids {
            digests.insert(
                repository
                    .locate(id)
                    .map_err(|_| image_not_found(&repository.name, id))?,
            );
        }
        digests
            .iter()
            .filter_map(|digest| Some((digest, repository.images.get(digest)?)))
            .map(|(digest, image)| repository.detail(cloud, digest, image))
            .collect::<ApiResult<_>>()?
    } else {
        repository
            .images
            .iter()
            .filter(|(digest, _)| input.filter.admits(!repository.tags_of(digest).is_empty()))
            .map(|(digest, image)| repository.detail(cloud, digest, image))
            .collect::<ApiResult<_>>()?
    };
    let (details, next) = page(details, input.next_token.as_deref(), input.max_results)?;
    Ok(with_token(json!({"imageDetails": details}), next))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ImageBatch {
    registry_id: Option<String>,
    repository_name: String,
    image_ids: Vec<ImageId>,
}

fn image_answer(cloud: &Cloud, repository: &Repository, id: &ImageId) -> ApiResult<Value> {
    let digest = id.image_digest.as_deref().unwrap_or_default();
    let bytes = blobs::manifest(cloud, digest)?
        .ok_or_else(|| ApiError::internal(format_args!("the manifest {digest} is missing")))?;
    Ok(json!({
        "registryId": ACCOUNT,
        "repositoryName": repository.name,
        "imageId": id,
        "imageManifest": String::from_utf8(bytes).map_err(ApiError::internal)?,
        "imageManifestMediaType": repository.images.get(digest).map(|image| &image.media_type),
    }))
}

pub(super) async fn batch_get_image(cloud: &Cloud, input: ImageBatch) -> ApiResult<Value> {
    let repository = find(cloud, input.registry_id.as_deref(), &input.repository_name)?;
    let (mut images, mut failures) = (Vec::new(), Vec::new());
    for id in input.image_ids {
        match repository.locate(&id) {
            Ok(digest) => {
                let id = ImageId {
                    image_digest: Some(digest),
                    ..id
                };
                images.push(image_answer(cloud, &repository, &id)?);
            }
            Err(miss) => failures.push(failure(&id, miss)),
        }
    }
    Ok(json!({"images": images, "failures": failures}))
}

pub(super) async fn batch_delete_image(cloud: &Cloud, input: ImageBatch) -> ApiResult<Value> {
    find(cloud, input.registry_id.as_deref(), &input.repository_name)?;
    let name = &input.repository_name;
    let answer = cloud.store().transaction(|transaction| {
        let mut repository = super::repositories(cloud)
            .get_in(transaction, name)?
            .ok_or_else(|| super::not_found(ACCOUNT, name))?;
        let mut before = repository.images.clone();
        let (mut gone, mut failures) = (Vec::new(), Vec::new());
        for id in &input.image_ids {
            match repository.remove(id) {
                Ok(removed) => gone.extend(removed),
                Err(miss) => failures.push(failure(id, miss)),
            }
        }
        for id in &gone {
            announce::image(transaction, cloud, name, Action::Delete, id)?;
        }
        super::repositories(cloud).put_in(transaction, name, &repository)?;
        before.retain(|digest, _| !repository.images.contains_key(digest));
        super::orphans::release(cloud, transaction, &repository, &before)?;
        Ok(json!({"imageIds": gone, "failures": failures}))
    })?;
    events::deliver_soon(cloud);
    Ok(answer)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PutImage {
    registry_id: Option<String>,
    repository_name: String,
    image_manifest: String,
    image_manifest_media_type: Option<String>,
    image_tag: Option<String>,
    image_digest: Option<String>,
}

pub(super) async fn put_image(cloud: &Cloud, input: PutImage) -> ApiResult<Value> {
    let name = &input.repository_name;
    find(cloud, input.registry_id.as_deref(), name)?;
    let bytes = input.image_manifest.as_bytes();
    if let Some(digest) = &input.image_digest
        && *digest != digest_of(bytes)
    {
        return Err(ApiError::new(
            "ImageDigestDoesNotMatchException",
            format!("The image digest '{digest}' does not match the manifest"),
        ));
    }
    let kept = manifests::put(
        cloud,
        name,
        bytes,
        input.image_manifest_media_type.as_deref(),
        input.image_tag.as_deref(),
    )?;
    if kept.known {
        return Err(ApiError::new(
            "ImageAlreadyExistsException",
            format!(
                "Image with digest '{}' and tag '{}' already exists in the repository with name \
                 '{name}' in registry with id '{ACCOUNT}'",
                kept.digest,
                input.image_tag.as_deref().unwrap_or("null")
            ),
        ));
    }
    let id = ImageId {
        image_digest: Some(kept.digest),
        image_tag: input.image_tag,
    };
    Ok(json!({"image": {
        "registryId": ACCOUNT,
        "repositoryName": name,
        "imageId": id,
        "imageManifest": input.image_manifest,
        "imageManifestMediaType": kept.media_type,
    }}))
}
