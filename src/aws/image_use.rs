//! Who uses the images of a repository: model versions, and endpoints of the account.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use aws_sdk_sagemaker::operation::describe_endpoint::DescribeEndpointOutput;
use aws_sdk_sagemaker::types::{
    DeployedImage, EndpointStatus, InferenceSpecification, PendingProductionVariantSummary,
    ProductionVariantSummary,
};
use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;

use super::ecr::Described;
use super::sagemaker::models;
use super::{AwsResultExt, Clients};
use crate::names::Version;

/// How many descriptions are asked for at once.
const AT_ONCE: usize = 8;

/// What SageMaker answers for an endpoint, configuration or model that does not exist.
const GONE: &[&str] = &["ValidationException", "ResourceNotFound"];

/// A model version that names an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UsingVersion {
    /// Its version in the group.
    pub version: Version,
    /// `Approved`, `Rejected` or `PendingManualApproval`.
    pub status: String,
}

/// Who uses one image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Users {
    /// The versions of the project's models, newest first.
    pub models: Vec<UsingVersion>,
    /// The endpoints that run it, or are about to.
    pub endpoints: BTreeSet<String>,
}

/// Who uses each image of a repository, by digest; what names a tag counts for the image that has
/// it now.
pub async fn users(
    clients: &Clients,
    repository: &str,
    group: &str,
    images: &[Described],
) -> Result<BTreeMap<String, Users>> {
    let mut users: BTreeMap<String, Users> = BTreeMap::new();
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

/// The digest of an image URI of this repository.
fn digest(uri: &str, repository: &str, images: &[Described]) -> Option<String> {
    if let Some(digest) = super::branch_image::digest_in(uri, repository) {
        return Some(digest.to_owned());
    }
    let (_, path) = uri.split_once('/')?;
    let (name, tag) = path.split_once(':').unwrap_or((path, "latest"));
    images
        .iter()
        .find(|image| name == repository && image.tags.iter().any(|found| found == tag))
        .map(|image| image.digest.clone())
}

/// The images that model packages name, by ARN.
async fn package_images(
    clients: &Clients,
    arns: &[String],
) -> Result<BTreeMap<String, Vec<String>>> {
    let mut found = BTreeMap::new();
    // The most that one call takes.
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
    }
    Ok(found)
}

/// Every endpoint of the account and region with the images that it runs.
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

/// The images of an endpoint; none when it is gone.
async fn endpoint(clients: &Clients, name: &str) -> Result<BTreeSet<String>> {
    let described = clients
        .sagemaker
        .describe_endpoint()
        .endpoint_name(name)
        .send()
        .await
        .aws_unless(format!("cannot describe the endpoint {name}"), GONE)?;
    let Some(described) = described else {
        return Ok(BTreeSet::new());
    };
    let mut uris: BTreeSet<String> = deployed(&described)
        .filter_map(|image| image.resolved_image().or(image.specified_image()))
        .map(str::to_owned)
        .collect();
    // A deployment under way (or that failed) names its images by its configuration only.
    let settled = described.endpoint_status() == Some(&EndpointStatus::InService);
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

/// The images that are running, or being started.
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

/// The images of an endpoint configuration's models; none of those that are gone.
async fn configured(clients: &Clients, configuration: &str) -> Result<Vec<String>> {
    let described = clients
        .sagemaker
        .describe_endpoint_config()
        .endpoint_config_name(configuration)
        .send()
        .await
        .aws_unless(format!("cannot describe {configuration}"), GONE)?;
    let Some(described) = described else {
        return Ok(Vec::new());
    };
    let models = described
        .production_variants()
        .iter()
        .chain(described.shadow_production_variants())
        .filter_map(|variant| variant.model_name());
    let (mut uris, mut packages) = (Vec::new(), Vec::new());
    for name in models {
        let model = clients
            .sagemaker
            .describe_model()
            .model_name(name)
            .send()
            .await
            .aws_unless(format!("cannot describe the model {name}"), GONE)?;
        let Some(model) = model else { continue };
        let containers = model.primary_container().into_iter();
        for container in containers.chain(model.containers()) {
            uris.extend(container.image().map(str::to_owned));
            packages.extend(container.model_package_name().map(str::to_owned));
        }
    }
    let named = package_images(clients, &packages)
        .await
        .context("cannot tell which images an endpoint uses")?;
    uris.extend(named.into_values().flatten());
    Ok(uris)
}
