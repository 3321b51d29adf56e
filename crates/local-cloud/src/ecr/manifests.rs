//! Parses manifests and stores them with their tags.

use mlops_core::names::ImageTag;
use oci_spec::image::{Descriptor, ImageIndex, ImageManifest, MediaType};

use super::announce::{self, Action};
use super::image_id::ImageId;
use super::{Repository, StoredImage, find, layer_records, repositories};
use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::clock;
use crate::cloud::ACCOUNT;
use crate::events;
use crate::limits;

pub(super) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A manifest of one image, or an index of several.
#[derive(Debug)]
pub(super) enum Manifest {
    Image(Box<ImageManifest>),
    Index(Box<ImageIndex>),
}

/// A stored manifest.
#[derive(Debug)]
pub(super) struct StoredManifest {
    /// `sha256:…`
    pub(super) digest: String,
    /// Its media type.
    pub(super) media_type: String,
    /// The manifest's `subject`, for the `OCI-Subject` header.
    pub(super) subject: Option<String>,
    /// True if the repository already had this image and this tag.
    pub(super) known: bool,
}

/// Parses a manifest by its media type.
pub(super) fn read(bytes: &[u8], media_type: &str) -> ApiResult<Manifest> {
    let invalid = |error: &dyn std::fmt::Display| {
        super::invalid(format!(
            "Invalid parameter at 'ImageManifest' failed to satisfy constraint: \
             'Invalid JSON syntax' ({error})"
        ))
    };
    match media_type {
        DOCKER_MANIFEST | OCI_MANIFEST => ImageManifest::from_reader(bytes)
            .map(|manifest| Manifest::Image(Box::new(manifest)))
            .map_err(|error| invalid(&error)),
        DOCKER_LIST | OCI_INDEX => ImageIndex::from_reader(bytes)
            .map(|index| Manifest::Index(Box::new(index)))
            .map_err(|error| invalid(&error)),
        other => Err(super::invalid(format!(
            "Invalid parameter at 'ImageManifestMediaType': '{other}' is not a Docker \
             (schema 2) or OCI manifest"
        ))),
    }
}

/// The media type of a manifest: the request's, which must match the manifest's own.
fn media_type(bytes: &[u8], said: Option<&str>) -> ApiResult<String> {
    let json = limits::document(bytes).map_err(|error| {
        super::invalid(format!(
            "Invalid parameter at 'ImageManifest' failed to satisfy constraint: \
             'Invalid JSON syntax' ({error})"
        ))
    })?;
    let own = json["mediaType"].as_str();
    let said = said
        .map(|said| said.split(';').next().unwrap_or(said).trim())
        .filter(|said| !said.is_empty() && *said != "application/json");
    match (said, own) {
        (Some(said), Some(own)) if said != own => Err(super::invalid(format!(
            "Invalid parameter at 'ImageManifestMediaType': the manifest is of the type '{own}', \
             not '{said}'"
        ))),
        (Some(kind), _) | (None, Some(kind)) => Ok(kind.to_owned()),
        (None, None) if json.get("manifests").is_some() => Ok(OCI_INDEX.to_owned()),
        (None, None) => Ok(OCI_MANIFEST.to_owned()),
    }
}

/// Stores a manifest and moves `tag` to it if the repository allows that. Everything that it
/// references must already be in the repository.
pub(super) fn put(
    cloud: &Cloud,
    name: &str,
    bytes: &[u8],
    said_type: Option<&str>,
    tag: Option<&str>,
) -> ApiResult<StoredManifest> {
    let repository = find(cloud, None, name)?;
    if let Some(tag) = tag {
        tag.parse::<ImageTag>()
            .map_err(|error| super::invalid(format!("Invalid parameter at 'imageTag': {error}")))?;
    }
    let media_type = media_type(bytes, said_type)?;
    let manifest = read(bytes, &media_type)?;
    let (image, parts) = match &manifest {
        Manifest::Image(manifest) => stored_image(cloud, &repository, &media_type, manifest)?,
        Manifest::Index(index) => (stored_index(&repository, &media_type, index)?, Vec::new()),
    };
    let sha256 = cloud.blobs().write(bytes)?;
    cloud.blobs().touch(&sha256);
    let digest = format!("sha256:{sha256}");
    let subject = image.subject.clone();
    let known = cloud.store().transaction(|transaction| {
        let mut repository = repositories(cloud)
            .get_in(transaction, name)?
            .ok_or_else(|| super::not_found(ACCOUNT, name))?;
        // Its blobs may have been removed since they were checked.
        if let Manifest::Index(index) = &manifest {
            stored_index(&repository, &media_type, index)?;
        }
        for part in &parts {
            let key = format!("{name}@{}", part.digest());
            let mut layer = layer_records(cloud)
                .get_in(transaction, &key)?
                .ok_or_else(|| missing_layers(name, &[part.digest().to_string()]))?;
            layer.media_type = Some(part.media_type().to_string());
            layer.released = None;
            layer_records(cloud).put_in(transaction, &key, &layer)?;
        }
        let known = repository.images.contains_key(&digest);
        let moved = match tag {
            Some(tag) => set_tag(&mut repository, tag, &digest)?,
            None => false,
        };
        repository.images.entry(digest.clone()).or_insert(image);
        repositories(cloud).put_in(transaction, name, &repository)?;
        let known = known && !moved;
        if !known {
            let id = ImageId {
                image_digest: Some(digest.clone()),
                image_tag: tag.map(str::to_owned),
            };
            announce::image(transaction, cloud, name, Action::Push, &id)?;
        }
        Ok(known)
    })?;
    events::deliver_soon(cloud);
    Ok(StoredManifest {
        digest,
        media_type,
        subject,
        known,
    })
}

/// Tags an image; true if the tag is new or moved.
fn set_tag(repository: &mut Repository, tag: &str, digest: &str) -> ApiResult<bool> {
    match repository.tags.get(tag) {
        Some(named) if named == digest => Ok(false),
        Some(_) if !repository.mutability.may_move(tag) => Err(ApiError::new(
            "ImageTagAlreadyExistsException",
            format!(
                "The image tag '{tag}' already exists in the '{}' repository and cannot be \
                 overwritten because the tag is immutable.",
                repository.name
            ),
        )),
        _ => {
            repository.tags.insert(tag.to_owned(), digest.to_owned());
            Ok(true)
        }
    }
}

/// The blobs that a manifest needs. A layer with URLs is not pushed.
pub(super) fn parts(manifest: &ImageManifest) -> impl Iterator<Item = &Descriptor> {
    std::iter::once(manifest.config())
        .chain(manifest.layers())
        .filter(|part| part.urls().as_ref().is_none_or(Vec::is_empty))
}

/// True if everything that a manifest references exists. A damaged blob is set aside when it is
/// read; the image then counts as absent, so that the next push uploads the blob again.
pub(super) fn is_whole(
    cloud: &Cloud,
    name: &str,
    bytes: &[u8],
    media_type: &str,
) -> ApiResult<bool> {
    match read(bytes, media_type)? {
        Manifest::Image(manifest) => {
            for part in parts(&manifest) {
                if super::blobs::find(cloud, name, part.digest().as_ref())?.is_none() {
                    return Ok(false);
                }
            }
        }
        Manifest::Index(index) => {
            for child in index.manifests() {
                let sha256 = child.digest().digest();
                let Ok(bytes) = cloud.blobs().read_or_quarantine(sha256) else {
                    return Ok(false);
                };
                if !is_whole(cloud, name, &bytes, child.media_type().as_ref())? {
                    return Ok(false);
                }
            }
        }
    }
    Ok(true)
}

fn missing_layers(name: &str, digests: &[String]) -> ApiError {
    ApiError::not_found(
        "LayersNotFoundException",
        format!(
            "Layers with digests '{digests:?}' required for pushing image into repository with \
             name '{name}' in the registry with id '{ACCOUNT}' do not exist"
        ),
    )
}

/// The record of one image, and the blobs that it consists of.
fn stored_image(
    cloud: &Cloud,
    repository: &Repository,
    media_type: &str,
    manifest: &ImageManifest,
) -> ApiResult<(StoredImage, Vec<Descriptor>)> {
    let parts: Vec<Descriptor> = parts(manifest).cloned().collect();
    let mut missing = Vec::new();
    for part in &parts {
        match super::blobs::find(cloud, &repository.name, part.digest().as_ref())? {
            None => missing.push(part.digest().to_string()),
            Some(layer) if layer.size != part.size() => {
                return Err(super::invalid(format!(
                    "Invalid parameter at 'ImageManifest': {} has {} bytes, not {}",
                    part.digest(),
                    layer.size,
                    part.size()
                )));
            }
            Some(_) => {}
        }
    }
    if !missing.is_empty() {
        return Err(missing_layers(&repository.name, &missing));
    }
    let artifact_type = manifest.artifact_type().as_ref().map_or_else(
        || manifest.config().media_type().to_string(),
        MediaType::to_string,
    );
    let image = StoredImage {
        media_type: media_type.to_owned(),
        artifact_type: Some(artifact_type),
        size: parts.iter().map(Descriptor::size).sum(),
        pushed: clock::epoch(),
        subject: manifest
            .subject()
            .as_ref()
            .map(|of| of.digest().to_string()),
        children: Vec::new(),
    };
    Ok((image, parts))
}

fn stored_index(
    repository: &Repository,
    media_type: &str,
    index: &ImageIndex,
) -> ApiResult<StoredImage> {
    let children: Vec<String> = index
        .manifests()
        .iter()
        .map(|child| child.digest().to_string())
        .collect();
    let missing: Vec<&String> = children
        .iter()
        .filter(|child| !repository.images.contains_key(*child))
        .collect();
    if !missing.is_empty() {
        return Err(ApiError::not_found(
            "ReferencedImagesNotFoundException",
            format!(
                "Images with digests '{missing:?}' required for pushing image into repository \
                 with name '{}' in the registry with id '{ACCOUNT}' do not exist",
                repository.name
            ),
        ));
    }
    Ok(StoredImage {
        media_type: media_type.to_owned(),
        artifact_type: index.artifact_type().as_ref().map(MediaType::to_string),
        size: children
            .iter()
            .filter_map(|child| repository.images.get(child))
            .map(|child| child.size)
            .max()
            .unwrap_or_default(),
        pushed: clock::epoch(),
        subject: index.subject().as_ref().map(|of| of.digest().to_string()),
        children,
    })
}
