//! ECR: the registry's login, and what a repository says of its images.

use anyhow::{Context as _, Result};
use aws_sdk_ecr::types::{ImageDetail, ImageIdentifier};

use super::{AwsResultExt, Clients};
use crate::error::Hint;

/// How to log in to the registry.
#[derive(Clone)]
pub struct Login {
    /// Where the registry answers: `https://ACCOUNT.dkr.ecr.REGION.amazonaws.com`, or the local
    /// cloud's address.
    pub endpoint: String,
    /// base64 of `AWS:PASSWORD`; good for 12 hours.
    pub basic: String,
}

/// An image as the repository describes it.
#[derive(Debug, Clone)]
pub struct Described {
    /// `sha256:…`
    pub digest: String,
    /// Its tags, in order.
    pub tags: Vec<String>,
    /// Configuration and layers, in bytes.
    pub size: u64,
    /// When it was pushed.
    pub pushed: Option<jiff::Timestamp>,
}

/// Asks for a token (`GetAuthorizationToken`).
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
        .context("ECR gave no token")?;
    Ok(Login {
        endpoint: endpoint.to_owned(),
        basic: basic.to_owned(),
    })
}

/// The repository's URI (`HOST/NAME`).
pub async fn repository_uri(clients: &Clients, name: &str) -> Result<String> {
    let answer = clients
        .ecr
        .describe_repositories()
        .repository_names(name)
        .send()
        .await
        .aws_unless(
            format!("cannot look for the image repository `{name}`"),
            &["RepositoryNotFoundException"],
        )?;
    answer
        .and_then(|answer| {
            answer
                .repositories()
                .first()?
                .repository_uri()
                .map(str::to_owned)
        })
        .with_context(|| format!("there is no image repository `{name}`"))
        .hint(format!(
            "run `{}`: it makes the repository",
            clients.command("init")
        ))
}

/// The image that a tag names; `None` when there is no such image or repository.
pub async fn by_tag(clients: &Clients, repository: &str, tag: &str) -> Result<Option<Described>> {
    describe(
        clients,
        repository,
        ImageIdentifier::builder().image_tag(tag).build(),
    )
    .await
}

/// The image with a digest; `None` when there is no such image or repository.
pub async fn by_digest(
    clients: &Clients,
    repository: &str,
    digest: &str,
) -> Result<Option<Described>> {
    describe(
        clients,
        repository,
        ImageIdentifier::builder().image_digest(digest).build(),
    )
    .await
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
            format!("cannot look for an image in `{repository}`"),
            &["ImageNotFoundException", "RepositoryNotFoundException"],
        )?;
    Ok(answer.and_then(|answer| answer.image_details().first().and_then(read)))
}

/// The images of a repository, the newest first.
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
        found.extend(read(&detail));
    }
    found.sort_by(|a: &Described, b| b.pushed.cmp(&a.pushed).then(a.digest.cmp(&b.digest)));
    Ok(found)
}

fn read(detail: &ImageDetail) -> Option<Described> {
    let mut tags = detail.image_tags().to_vec();
    tags.sort();
    Some(Described {
        digest: detail.image_digest()?.to_owned(),
        tags,
        size: detail
            .image_size_in_bytes()
            .and_then(|size| u64::try_from(size).ok())
            .unwrap_or_default(),
        pushed: detail.image_pushed_at().and_then(|time| {
            jiff::Timestamp::new(time.secs(), time.subsec_nanos().cast_signed()).ok()
        }),
    })
}
