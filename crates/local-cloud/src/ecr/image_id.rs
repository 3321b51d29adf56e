//! Image ids in requests.

use serde::{Deserialize, Serialize};

use super::Repository;
use super::digest::sha256_of;
use crate::api::ApiError;
use crate::cloud::ACCOUNT;

/// An image id: a digest, a tag, or both.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ImageId {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) image_digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) image_tag: Option<String>,
}

impl ImageId {
    pub(super) fn digest(digest: &str) -> Self {
        Self {
            image_digest: Some(digest.to_owned()),
            image_tag: None,
        }
    }

    pub(super) fn tag(tag: &str) -> Self {
        Self {
            image_digest: None,
            image_tag: Some(tag.to_owned()),
        }
    }

    /// The same id with the digest that it resolves to.
    pub(super) fn at(&self, digest: String) -> Self {
        Self {
            image_digest: Some(digest),
            image_tag: self.image_tag.clone(),
        }
    }

    /// The id as in ECR's messages.
    pub(super) fn text(&self) -> String {
        let part = |value: &Option<String>| value.clone().unwrap_or_else(|| "null".to_owned());
        format!(
            "{{imageDigest:'{}', imageTag:'{}'}}",
            part(&self.image_digest),
            part(&self.image_tag)
        )
    }
}

/// Why an image id does not resolve: ECR's failure code and reason.
pub(super) type Miss = (&'static str, &'static str);

impl Repository {
    /// Resolves an image id to a digest.
    pub(super) fn locate(&self, id: &ImageId) -> Result<String, Miss> {
        let absent = ("ImageNotFound", "Requested image not found");
        let tagged = match &id.image_tag {
            Some(tag) => Some(self.tags.get(tag).ok_or(absent)?),
            None => None,
        };
        match (&id.image_digest, tagged) {
            (None, None) => Err((
                "MissingDigestAndTag",
                "Invalid request parameters: both tag and digest cannot be null",
            )),
            (Some(digest), _) if sha256_of(digest).is_none() => Err((
                "InvalidImageDigest",
                "Invalid request parameters: image digest should satisfy the regex \
                 '[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+'",
            )),
            (Some(digest), Some(tagged)) if digest != tagged => Err((
                "ImageTagDoesNotMatchDigest",
                "Invalid request parameters: image tag does not map to image digest",
            )),
            (Some(digest), _) if !self.images.contains_key(digest) => Err(absent),
            (Some(digest), _) | (None, Some(digest)) => Ok(digest.clone()),
        }
    }
}

/// The error for an image that does not exist.
pub(super) fn image_not_found(repository: &str, id: &ImageId) -> ApiError {
    ApiError::not_found(
        "ImageNotFoundException",
        format!(
            "The image with imageId {} does not exist within the repository with name \
             '{repository}' in the registry with id '{ACCOUNT}'",
            id.text()
        ),
    )
}
