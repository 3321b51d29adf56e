//! Finds the users of a repository's images: model versions, runs in progress, and endpoints of the
//! account.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Context as _, Result};
use aws_sdk_sagemaker::operation::describe_endpoint::DescribeEndpointOutput;
use aws_sdk_sagemaker::types::{
    BatchDescribeModelPackageError, DeployedImage, InferenceSpecification,
    PendingProductionVariantSummary, ProductionVariantSummary,
};
use futures::{StreamExt, TryStreamExt, stream};
use mlops_core::error::Failure;
use mlops_core::names::Version;
use mlops_oci::Digest;
use mlops_oci::registry::{ImageReference, TagOrDigest};
use serde::Serialize;

use super::ecr::Described;
use super::sagemaker::{models, runs};
use super::state::{EndpointState, ModelApproval};
use super::{AwsResultExt, Clients, ErrorKind, Expected, Missing, hosting};

/// Maximum number of Describe calls in parallel.
const AT_ONCE: usize = 8;

/// A model version that references an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UsingVersion {
    /// Its version in the group.
    pub version: Version,
    /// Its approval status.
    pub status: ModelApproval,
}

/// The users of one image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Users {
    /// The versions of the project's models, newest first.
    pub models: Vec<UsingVersion>,
    /// The runs in progress that use the image, by id.
    pub runs: BTreeSet<String>,
    /// The endpoints that run it, or are about to.
    pub endpoints: BTreeSet<String>,
}

/// The scope of the search.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// The ECR repository's name.
    pub repository: &'a str,
    /// The model package group.
    pub group: &'a str,
    /// The pipeline.
    pub pipeline: &'a str,
}

/// Finds the users of each image of a repository, by digest. A reference by tag counts for the
/// image that currently has the tag.
pub async fn users(
    clients: &Clients,
    scope: Scope<'_>,
    images: &[Described],
) -> Result<BTreeMap<Digest, Users>> {
    let Scope {
        repository,
        group,
        pipeline,
    } = scope;
    let mut users: BTreeMap<Digest, Users> = BTreeMap::new();
    // Runs first: one that ends in the meantime has registered its model by the time models are
    // listed.
    for run in running(clients, pipeline).await? {
        // A parameter may also contain the digest alone.
        let alone = |text: &str| {
            let digest: Option<Digest> = text.parse().ok();
            digest.filter(|digest| images.iter().any(|image| image.digest == *digest))
        };
        let parameters = run.parameters.iter();
        let named =
            parameters.filter_map(|text| alone(text).or_else(|| digest(text, repository, images)));
        for digest in run.image.into_iter().chain(named) {
            users.entry(digest).or_default().runs.insert(run.id.clone());
        }
    }
    let mut versions = models::all(clients, group).await?;
    versions.sort_by_key(|version| std::cmp::Reverse(version.version));
    let arns: Vec<String> = versions.iter().map(|version| version.arn.clone()).collect();
    let by_package = package_images(clients, &arns).await?;
    for version in versions {
        for uri in by_package.get(&version.arn).into_iter().flatten() {
            if let Some(digest) = digest(uri, repository, images) {
                let models = &mut users.entry(digest).or_default().models;
                let using = UsingVersion {
                    version: version.version,
                    status: version.status.clone(),
                };
                if !models.contains(&using) {
                    models.push(using);
                }
            }
        }
    }
    for (endpoint, uris) in endpoints(clients).await? {
        for uri in uris {
            if let Some(digest) = digest(&uri, repository, images) {
                users
                    .entry(digest)
                    .or_default()
                    .endpoints
                    .insert(endpoint.clone());
            }
        }
    }
    Ok(users)
}

/// Returns the digest of an image URI of this repository.
fn digest(uri: &str, repository: &str, images: &[Described]) -> Option<Digest> {
    let uri: ImageReference = uri.parse().ok()?;
    if uri.repository != repository {
        return None;
    }
    match uri.target() {
        TagOrDigest::Digest(digest) => Some(digest),
        TagOrDigest::Tag(tag) => images
            .iter()
            .find(|image| image.tags.iter().any(|found| found == tag))
            .map(|image| image.digest),
    }
}

/// A run in progress, with its possible references to images.
struct RunningRun {
    id: String,
    /// The image in the description.
    image: Option<Digest>,
    /// The values of its parameters.
    parameters: Vec<String>,
}

/// Returns the runs in progress.
async fn running(clients: &Clients, pipeline: &str) -> Result<Vec<RunningRun>> {
    let listed = runs::list(clients, pipeline, usize::MAX).await?;
    let going = listed.into_iter().filter(|(_, run)| !run.is_over());
    stream::iter(going.map(|(arn, run)| async move {
        let parameters = runs::parameters(clients, &arn).await?;
        Ok(RunningRun {
            id: run.run,
            image: run.origin.image,
            parameters: parameters.into_values().collect(),
        })
    }))
    .buffered(AT_ONCE)
    .try_collect()
    .await
}

/// Returns the images of model packages, by ARN; skips deleted packages.
async fn package_images(
    clients: &Clients,
    arns: &[String],
) -> Result<BTreeMap<String, Vec<String>>> {
    let mut found = BTreeMap::new();
    // Maximum number of packages per call.
    for part in arns.chunks(100) {
        let answer = clients
            .sagemaker
            .batch_describe_model_package()
            .set_model_package_arn_list(Some(part.to_vec()))
            .send()
            .await
            .aws("cannot describe the models")?;
        for (arn, package) in answer.model_package_summaries().into_iter().flatten() {
            let containers = package
                .inference_specification()
                .map(InferenceSpecification::containers)
                .unwrap_or_default();
            let images = containers
                .iter()
                .filter_map(|c| c.image().map(str::to_owned));
            found.insert(arn.clone(), images.collect());
        }
        if let Some(errors) = answer.batch_describe_model_package_error_map() {
            check(errors)?;
        }
    }
    Ok(found)
}

/// Returns an error for the first model that could not be described, unless it was deleted.
fn check(errors: &HashMap<String, BatchDescribeModelPackageError>) -> Result<()> {
    let first = errors
        .iter()
        .filter(|(_, error)| {
            let deleted = Expected::Missing(Missing::ModelPackage);
            !deleted.matches(error.error_code(), error.error_response())
        })
        .min_by_key(|(arn, _)| *arn);
    let Some((arn, error)) = first else {
        return Ok(());
    };
    let kind = ErrorKind::of(error.error_code(), error.error_response());
    let code = error.error_code().unwrap_or("unknown error");
    let why = error.error_response().unwrap_or("no message");
    let text = format!("cannot describe the model {arn}: {code}: {why}");
    Err(Failure::new(kind.exit(), text))
}

/// Lists every endpoint of the account and region with the images that it runs.
async fn endpoints(clients: &Clients) -> Result<Vec<(String, BTreeSet<String>)>> {
    let names = clients
        .sagemaker
        .list_endpoints()
        .into_paginator()
        .items()
        .send()
        .collect::<Result<Vec<_>, _>>()
        .await
        .aws("cannot list the endpoints")?
        .into_iter()
        .filter_map(|endpoint| endpoint.endpoint_name);
    stream::iter(names.map(|name| async move {
        let uris = endpoint(clients, &name).await?;
        Ok((name, uris))
    }))
    .buffered(AT_ONCE)
    .try_collect()
    .await
}

/// Returns the images of an endpoint; empty if it was deleted.
async fn endpoint(clients: &Clients, name: &str) -> Result<BTreeSet<String>> {
    let Some(described) = hosting::describe_endpoint(clients, name).await? else {
        return Ok(BTreeSet::new());
    };
    let mut uris: BTreeSet<String> = deployed(&described)
        .filter_map(|image| image.resolved_image().or(image.specified_image()))
        .map(str::to_owned)
        .collect();
    // The images of a deployment in progress (or failed) are found only through its configuration.
    let settled = EndpointState::of(described.endpoint_status()).is_in_service();
    if !settled || uris.is_empty() {
        let pending = described.pending_deployment_summary();
        let configurations = described
            .endpoint_config_name()
            .into_iter()
            .chain(pending.and_then(|pending| pending.endpoint_config_name()));
        for configuration in configurations.collect::<BTreeSet<_>>() {
            uris.extend(configured(clients, configuration).await?);
        }
    }
    Ok(uris)
}

/// Returns the images that are running, or being started.
fn deployed(endpoint: &DescribeEndpointOutput) -> impl Iterator<Item = &DeployedImage> {
    let running = endpoint
        .production_variants()
        .iter()
        .chain(endpoint.shadow_production_variants())
        .flat_map(ProductionVariantSummary::deployed_images);
    let starting = endpoint
        .pending_deployment_summary()
        .into_iter()
        .flat_map(|pending| {
            pending
                .production_variants()
                .iter()
                .chain(pending.shadow_production_variants())
        })
        .flat_map(PendingProductionVariantSummary::deployed_images);
    running.chain(starting)
}

/// Returns the images of an endpoint configuration's models; skips deleted ones.
async fn configured(clients: &Clients, configuration: &str) -> Result<Vec<String>> {
    let Some(described) = hosting::describe_configuration(clients, configuration).await? else {
        return Ok(Vec::new());
    };
    let models = described
        .production_variants()
        .iter()
        .chain(described.shadow_production_variants())
        .filter_map(|variant| variant.model_name());
    let (mut uris, mut packages) = (Vec::new(), Vec::new());
    for name in models {
        let Some(model) = hosting::describe_model(clients, name).await? else {
            continue;
        };
        let containers = model.primary_container().into_iter();
        for container in containers.chain(model.containers()) {
            uris.extend(container.image().map(str::to_owned));
            packages.extend(container.model_package_name().map(str::to_owned));
        }
    }
    let named = package_images(clients, &packages)
        .await
        .context("cannot determine which images an endpoint uses")?;
    uris.extend(named.into_values().flatten());
    Ok(uris)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mlops_core::error::Exit;

    #[test]
    fn a_model_that_cannot_be_described_is_an_error_unless_it_was_deleted() {
        let error = |(code, response): (&str, &str)| {
            BatchDescribeModelPackageError::builder()
                .error_code(code)
                .error_response(response)
                .build()
        };
        let gone = ("ValidationException", "ModelPackage arn does not exist.");
        let errors = |list: &[(&str, (&str, &str))]| {
            let list = list.iter();
            check(
                &list
                    .map(|(arn, said)| ((*arn).to_owned(), error(*said)))
                    .collect(),
            )
        };
        assert!(errors(&[]).is_ok());
        assert!(errors(&[("a", gone), ("b", ("ResourceNotFound", "why"))]).is_ok());
        assert!(errors(&[("a", ("ValidationException", "why"))]).is_err());
        let failed = errors(&[
            ("a", gone),
            ("c", ("InternalFailure", "why")),
            ("b", ("AccessDeniedException", "why")),
        ]);
        let failed = failed.unwrap_err();
        assert_eq!(
            failed.to_string(),
            "cannot describe the model b: AccessDeniedException: why"
        );
        assert_eq!(mlops_core::error::exit(&failed), Exit::Credentials);
    }
}
