//! ECR: the registry's login, and the images of a repository.

use anyhow::{Context as _, Result, anyhow};
use aws_sdk_ecr::operation::describe_repositories::DescribeRepositoriesOutput;
use aws_sdk_ecr::types::{ImageDetail, ImageFailure, ImageFailureCode, ImageIdentifier};
use mlops_core::error::{Failure, Hint};
use mlops_oci::Digest;
use mlops_oci::registry::ImageReference;

use super::{AwsResultExt, Clients, Expected, Missing};

pub mod content;
pub mod lifecycle;
pub mod scan;

/// How to log in to the registry.
#[derive(Clone)]
pub struct Login {
    /// The registry's endpoint: `https://ACCOUNT.dkr.ecr.REGION.amazonaws.com`, or the local cloud's
    /// address.
    pub endpoint: String,
    /// base64 of `AWS:PASSWORD`; valid for 12 hours.
    pub basic: String,
}

/// An image as the repository describes it.
#[derive(Debug, Clone)]
pub struct Described {
    /// Its digest.
    pub digest: Digest,
    /// Its tags, in order.
    pub tags: Vec<String>,
    /// Size of configuration and layers, in bytes.
    pub size: u64,
    /// When it was pushed.
    pub pushed: Option<jiff::Timestamp>,
    /// The media type of its manifest.
    pub media_type: Option<String>,
    /// The digest of the manifest that it refers to (a signature refers to its image this way).
    pub subject: Option<Digest>,
    /// The state of its scan, if it was scanned.
    pub scan: Option<String>,
}

impl Described {
    /// Returns the tag that is a git commit (40 hexadecimal digits), as set by `mlops image push`.
    pub fn commit(&self) -> Option<&str> {
        self.tags
            .iter()
            .map(String::as_str)
            .find(|tag| is_commit(tag))
    }

    /// Returns true if the manifest is an index of several images.
    pub fn is_index(&self) -> bool {
        matches!(
            self.media_type.as_deref(),
            Some(
                "application/vnd.oci.image.index.v1+json"
                    | "application/vnd.docker.distribution.manifest.list.v2+json"
            )
        )
    }
}

/// Returns true for a full git commit id.
pub fn is_commit(tag: &str) -> bool {
    tag.len() == 40 && tag.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Resolves REF among `images`: a tag, a digest, or a prefix of a digest (at least four hexadecimal
/// digits, with or without `sha256:`). Exit 2 if none or more than one matches.
pub fn choose<'a>(
    images: &'a [Described],
    repository: &str,
    reference: &str,
) -> Result<&'a Described> {
    let tagged = |image: &&Described| image.tags.iter().any(|tag| tag == reference);
    if let Some(found) = images.iter().find(tagged) {
        return Ok(found);
    }
    let prefix = reference.strip_prefix("sha256:").unwrap_or(reference);
    let hexadecimal = prefix.len() >= 4
        && prefix
            .bytes()
            .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let mut found = images
        .iter()
        .filter(|image| hexadecimal && image.digest.hex().starts_with(prefix));
    match (found.next(), found.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(Failure::usage(format!(
            "{repository} has no image `{reference}`"
        )))
        .hint("pass a tag, a digest, or a prefix of a digest, as listed by `mlops image list`"),
        (Some(first), Some(second)) => Err(Failure::usage(format!(
            "more than one image begins with `{reference}`: {} and {}",
            first.digest, second.digest
        )))
        .hint("pass a longer prefix of the digest"),
    }
}

/// Requests a token (`GetAuthorizationToken`).
pub async fn login(clients: &Clients) -> Result<Login> {
    let answer = clients
        .ecr
        .get_authorization_token()
        .send()
        .await
        .aws("cannot log in to the image registry")?;
    let data = answer.authorization_data().first();
    let (endpoint, basic) = data
        .and_then(|data| data.proxy_endpoint().zip(data.authorization_token()))
        .context("ECR returned no token")?;
    Ok(Login {
        endpoint: endpoint.to_owned(),
        basic: basic.to_owned(),
    })
}

/// Returns the repository's URI (`HOST/NAME`).
pub async fn repository_uri(clients: &Clients, name: &str) -> Result<ImageReference> {
    let answer = clients
        .ecr
        .describe_repositories()
        .repository_names(name)
        .send()
        .await
        .aws_if_found(
            format!("cannot describe the image repository `{name}`"),
            Missing::Repository,
        )?;
    let repositories = answer
        .as_ref()
        .map(DescribeRepositoriesOutput::repositories);
    let uri = repositories
        .and_then(|found| found.first()?.repository_uri())
        .with_context(|| format!("no image repository `{name}`"))
        .hint(format!(
            "create the repository with `{}`",
            clients.command("init")
        ))?;
    uri.parse()
        .with_context(|| format!("ECR returned an invalid URI for `{name}`"))
}

/// Returns the image with a tag; `None` if the image or the repository does not exist.
pub async fn by_tag(clients: &Clients, repository: &str, tag: &str) -> Result<Option<Described>> {
    describe(
        clients,
        repository,
        ImageIdentifier::builder().image_tag(tag).build(),
    )
    .await
}

/// Returns the image with a digest; `None` if the image or the repository does not exist.
pub async fn by_digest(
    clients: &Clients,
    repository: &str,
    digest: Digest,
) -> Result<Option<Described>> {
    describe(clients, repository, identifier(digest)).await
}

/// Returns an image identifier for ECR's requests.
fn identifier(digest: Digest) -> ImageIdentifier {
    ImageIdentifier::builder()
        .image_digest(digest.to_string())
        .build()
}

async fn describe(
    clients: &Clients,
    repository: &str,
    id: ImageIdentifier,
) -> Result<Option<Described>> {
    let answer = clients
        .ecr
        .describe_images()
        .repository_name(repository)
        .image_ids(id)
        .send()
        .await
        .aws_unless(
            format!("cannot describe an image in `{repository}`"),
            &[
                Expected::Missing(Missing::Image),
                Expected::Missing(Missing::Repository),
            ],
        )?;
    let Some(answer) = answer else {
        return Ok(None);
    };
    let first = answer.image_details().first();
    let image = first.map(read).transpose()?.flatten();
    image
        .map(Some)
        .with_context(|| format!("ECR returned no image of `{repository}`"))
}

/// Lists the images of a repository, newest first.
pub async fn list(clients: &Clients, repository: &str) -> Result<Vec<Described>> {
    let mut pages = clients
        .ecr
        .describe_images()
        .repository_name(repository)
        .into_paginator()
        .items()
        .send();
    let mut found = Vec::new();
    while let Some(detail) = pages.next().await {
        let detail = detail.aws(format!("cannot list the images of `{repository}`"))?;
        found.extend(read(&detail)?);
    }
    found.sort_by(|a: &Described, b| b.pushed.cmp(&a.pushed).then(a.digest.cmp(&b.digest)));
    Ok(found)
}

/// Parses a digest in a response.
fn parse_digest(text: &str) -> Result<Digest> {
    text.parse().context("ECR returned an invalid digest")
}

/// Parses an image of a response; one without a digest is incomplete.
fn read(detail: &ImageDetail) -> Result<Option<Described>> {
    let Some(digest) = detail.image_digest() else {
        return Ok(None);
    };
    let mut tags = detail.image_tags().to_vec();
    tags.sort();
    Ok(Some(Described {
        digest: parse_digest(digest)?,
        tags,
        size: detail
            .image_size_in_bytes()
            .and_then(|size| u64::try_from(size).ok())
            .unwrap_or_default(),
        // ECR's own precision: seconds are a binary fraction on the wire.
        pushed: detail
            .image_pushed_at()
            .and_then(|time| jiff::Timestamp::from_millisecond(time.to_millis().ok()?).ok()),
        media_type: detail.image_manifest_media_type().map(str::to_owned),
        subject: detail
            .subject_manifest_digest()
            .map(parse_digest)
            .transpose()?,
        scan: detail
            .image_scan_status()
            .and_then(|status| Some(status.status()?.as_str().to_owned())),
    }))
}

/// Returns whether a repository exists.
pub async fn exists(clients: &Clients, name: &str) -> Result<bool> {
    let found = clients
        .ecr
        .describe_repositories()
        .repository_names(name)
        .send()
        .await
        .aws_if_found(
            format!("cannot look for the repository {name}"),
            Missing::Repository,
        )?;
    Ok(found.is_some())
}

/// Deletes images by digest, with all their tags; returns those that ECR did not delete. An image that was
/// already deleted is not among them.
pub async fn delete_images(
    clients: &Clients,
    repository: &str,
    digests: &[Digest],
) -> Result<Vec<ImageFailure>> {
    let mut failures = Vec::new();
    // Maximum number of images per call.
    for part in digests.chunks(100) {
        let ids = part.iter().copied().map(identifier);
        let answer = clients
            .ecr
            .batch_delete_image()
            .repository_name(repository)
            .set_image_ids(Some(ids.collect()))
            .send()
            .await
            .aws(format!("cannot remove images of `{repository}`"))?;
        let failed = answer.failures.unwrap_or_default();
        failures.extend(
            failed
                .into_iter()
                .filter(|failure| failure.failure_code() != Some(&ImageFailureCode::ImageNotFound)),
        );
    }
    Ok(failures)
}

/// Deletes images by digest, with all their tags. An index must precede its images.
pub async fn remove(clients: &Clients, repository: &str, digests: &[Digest]) -> Result<()> {
    let failures = delete_images(clients, repository, digests).await?;
    if let Some(failure) = failures.first() {
        let digest = failure.image_id().and_then(|id| id.image_digest());
        return Err(anyhow!(
            "ECR did not remove {}: {}",
            digest.unwrap_or("an image"),
            failure.failure_reason().unwrap_or("no reason given")
        ))
        .hint("run the command again to remove the remaining images");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the digest with this prefix.
    fn full(start: &str) -> Digest {
        format!("sha256:{start:0<64}").parse().unwrap()
    }

    fn image(digest: &str, tags: &[&str]) -> Described {
        Described {
            digest: full(digest),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            size: 0,
            pushed: None,
            media_type: None,
            subject: None,
            scan: None,
        }
    }

    #[test]
    fn a_reference_is_a_tag_or_a_unique_prefix() {
        let images = [
            image("abcd11", &["v1"]),
            image("abcd22", &["abcd11", "abcde"]),
        ];
        let chosen = |reference: &str| choose(&images, "r", reference).map(|i| i.digest);
        assert_eq!(chosen("v1").unwrap(), full("abcd11"));
        assert_eq!(chosen("sha256:abcd2").unwrap(), full("abcd22"));
        // Tags take precedence, even if they look like a digest.
        assert_eq!(chosen("abcd11").unwrap(), full("abcd22"));
        assert_eq!(chosen("sha256:abcd11").unwrap(), full("abcd11"));
        for bad in ["abcd", "abc", "v2", "", "sha256:"] {
            let error = chosen(bad).unwrap_err();
            assert_eq!(
                mlops_core::error::exit(&error),
                mlops_core::error::Exit::Usage,
                "{bad}"
            );
        }
        assert!(
            chosen("abcd")
                .unwrap_err()
                .to_string()
                .contains("more than one")
        );
    }
}
