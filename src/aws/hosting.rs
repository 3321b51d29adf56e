//! Endpoints: what they serve, and invocations.

use anyhow::Result;
use aws_sdk_sagemaker::operation::describe_endpoint::DescribeEndpointOutput;
use aws_sdk_sagemaker::operation::describe_endpoint_config::DescribeEndpointConfigOutput;
use aws_sdk_sagemaker::operation::describe_model::DescribeModelOutput;
use serde::Serialize;

use super::sagemaker::models::{self, ModelVersion};
use super::state::EndpointState;
use super::{AwsResultExt, Clients, Missing};

/// The current state of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    /// Its name.
    pub name: String,
    /// Its state.
    pub status: EndpointState,
    /// The configuration that is live.
    pub configuration: Option<String>,
    /// Why the last deployment failed, if it did.
    pub failure: Option<String>,
    /// The model package behind the live configuration.
    pub model_package: Option<String>,
}

impl Endpoint {
    /// Returns true if it serves this model package.
    pub fn serves(&self, arn: &str) -> bool {
        self.model_package.as_deref() == Some(arn)
    }

    /// Returns the version that it serves.
    pub fn live<'a>(&self, versions: &'a [ModelVersion]) -> Option<&'a ModelVersion> {
        versions.iter().find(|version| self.serves(&version.arn))
    }
}

/// Returns an endpoint and what it currently serves; `None` if it does not exist.
pub async fn endpoint(clients: &Clients, name: &str) -> Result<Option<Endpoint>> {
    let Some(described) = describe_endpoint(clients, name).await? else {
        return Ok(None);
    };
    let configuration = described.endpoint_config_name().map(str::to_owned);
    let model_package = match &configuration {
        Some(configuration) => model_package(clients, configuration).await?,
        None => None,
    };
    Ok(Some(Endpoint {
        name: name.to_owned(),
        status: EndpointState::of(described.endpoint_status()),
        configuration,
        failure: described.failure_reason().map(str::to_owned),
        model_package,
    }))
}

/// The variable of a container that names the model package it was created from. A model that is created from
/// an image and an artifact, because the package is no longer approved, has it.
pub const PACKAGE_VARIABLE: &str = "MLOPS_MODEL_PACKAGE";

/// What a variant of an endpoint serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Variant {
    /// Its name.
    pub name: String,
    /// Its model.
    pub model: Option<String>,
    /// The model package behind the model.
    pub model_package: Option<String>,
    /// The image that its instances run, by digest.
    pub image: Option<String>,
    /// The model's artifact.
    pub artifact: Option<String>,
}

/// Returns what each variant of an endpoint serves; none if the endpoint or its configuration was deleted.
pub async fn variants(clients: &Clients, endpoint: &str) -> Result<Vec<Variant>> {
    let Some(described) = describe_endpoint(clients, endpoint).await? else {
        return Ok(Vec::new());
    };
    let configuration = match described.endpoint_config_name() {
        Some(name) => describe_configuration(clients, name).await?,
        None => None,
    };
    let mut found = Vec::new();
    for variant in configuration
        .iter()
        .flat_map(DescribeEndpointConfigOutput::production_variants)
    {
        let name = variant.variant_name().unwrap_or_default().to_owned();
        let running = described.production_variants().iter();
        let running = running.filter(|running| running.variant_name() == Some(name.as_str()));
        let image = running
            .flat_map(aws_sdk_sagemaker::types::ProductionVariantSummary::deployed_images)
            .find_map(|image| image.resolved_image().map(str::to_owned));
        let model = variant.model_name().map(str::to_owned);
        let described = match &model {
            Some(model) => describe_model(clients, model).await?,
            None => None,
        };
        let (model_package, artifact) = match &described {
            Some(model) => contents(clients, model).await?,
            None => (None, None),
        };
        found.push(Variant {
            name,
            model,
            model_package,
            image,
            artifact,
        });
    }
    Ok(found)
}

/// Returns the model package of a model, and its artifact.
async fn contents(
    clients: &Clients,
    model: &DescribeModelOutput,
) -> Result<(Option<String>, Option<String>)> {
    let package = package_of(model);
    let mut containers = model
        .primary_container()
        .into_iter()
        .chain(model.containers());
    let own = containers.find_map(|container| container.model_data_url().map(str::to_owned));
    let artifact = match (own, &package) {
        (Some(own), _) => Some(own),
        (None, Some(package)) => models::artifact(clients, package).await?,
        (None, None) => None,
    };
    Ok((package, artifact))
}

/// Returns the model package that a model was created from.
fn package_of(model: &DescribeModelOutput) -> Option<String> {
    let containers = model
        .primary_container()
        .into_iter()
        .chain(model.containers());
    let mut packages = containers.filter_map(|container| {
        let named = container.model_package_name();
        named
            .or_else(|| {
                container
                    .environment()?
                    .get(PACKAGE_VARIABLE)
                    .map(String::as_str)
            })
            .map(str::to_owned)
    });
    packages.next()
}

/// Returns the model package behind an endpoint configuration: that of the first variant's first
/// container.
pub(super) async fn model_package(
    clients: &Clients,
    configuration: &str,
) -> Result<Option<String>> {
    // AWS allows a configuration or model to be deleted while an endpoint serves it.
    let described = describe_configuration(clients, configuration).await?;
    let model = described.as_ref().and_then(|described| {
        let variant = described.production_variants().first()?;
        variant.model_name()
    });
    let Some(model) = model else { return Ok(None) };
    let described = describe_model(clients, model).await?;
    Ok(described.as_ref().and_then(package_of))
}

/// Describes an endpoint; returns `None` if it was deleted.
pub(super) async fn describe_endpoint(
    clients: &Clients,
    name: &str,
) -> Result<Option<DescribeEndpointOutput>> {
    clients
        .sagemaker
        .describe_endpoint()
        .endpoint_name(name)
        .send()
        .await
        .aws_if_found(
            format!("cannot describe the endpoint {name}"),
            Missing::Endpoint,
        )
}

/// Describes an endpoint configuration; returns `None` if it was deleted.
pub(super) async fn describe_configuration(
    clients: &Clients,
    name: &str,
) -> Result<Option<DescribeEndpointConfigOutput>> {
    clients
        .sagemaker
        .describe_endpoint_config()
        .endpoint_config_name(name)
        .send()
        .await
        .aws_if_found(
            format!("cannot describe {name}"),
            Missing::EndpointConfiguration,
        )
}

/// Describes a model; returns `None` if it was deleted.
pub(super) async fn describe_model(
    clients: &Clients,
    name: &str,
) -> Result<Option<DescribeModelOutput>> {
    clients
        .sagemaker
        .describe_model()
        .model_name(name)
        .send()
        .await
        .aws_if_found(format!("cannot describe the model {name}"), Missing::Model)
}

/// Returns the URL of an endpoint's invocations.
pub fn url(clients: &Clients, endpoint: &str) -> String {
    let host = if let Some(url) = clients.endpoint_url() {
        url.trim_end_matches('/').to_owned()
    } else {
        let region = clients.region();
        let suffix = if region.starts_with("cn-") { ".cn" } else { "" };
        format!("https://runtime.sagemaker.{region}.amazonaws.com{suffix}")
    };
    format!("{host}/endpoints/{endpoint}/invocations")
}

/// Lists the endpoint configurations whose names start with a prefix.
pub async fn configuration_names(clients: &Clients, prefix: &str) -> Result<Vec<String>> {
    let mut pages = clients
        .sagemaker
        .list_endpoint_configs()
        .name_contains(prefix)
        .into_paginator()
        .items()
        .send();
    let mut found = Vec::new();
    while let Some(item) = pages.next().await {
        let item = item.aws("cannot list the endpoint configurations")?;
        found.extend(item.endpoint_config_name);
    }
    found.retain(|name| name.starts_with(prefix));
    Ok(found)
}

/// Lists the models whose names start with a prefix.
pub async fn model_names(clients: &Clients, prefix: &str) -> Result<Vec<String>> {
    let mut pages = clients
        .sagemaker
        .list_models()
        .name_contains(prefix)
        .into_paginator()
        .items()
        .send();
    let mut found = Vec::new();
    while let Some(item) = pages.next().await {
        let item = item.aws("cannot list the models")?;
        found.extend(item.model_name);
    }
    found.retain(|name| name.starts_with(prefix));
    Ok(found)
}

/// Deletes an endpoint configuration; ignores a missing one.
pub async fn delete_configuration(clients: &Clients, name: &str) -> Result<()> {
    clients
        .sagemaker
        .delete_endpoint_config()
        .endpoint_config_name(name)
        .send()
        .await
        .aws_if_found(
            format!("cannot delete the endpoint configuration {name}"),
            Missing::EndpointConfiguration,
        )?;
    Ok(())
}

/// Deletes a model; ignores a missing one.
pub async fn delete_model(clients: &Clients, name: &str) -> Result<()> {
    clients
        .sagemaker
        .delete_model()
        .model_name(name)
        .send()
        .await
        .aws_if_found(format!("cannot delete the model {name}"), Missing::Model)?;
    Ok(())
}
