//! Endpoints: what they serve, and invocations.

use anyhow::Result;
use aws_sdk_sagemaker::operation::describe_endpoint::DescribeEndpointOutput;
use aws_sdk_sagemaker::operation::describe_endpoint_config::DescribeEndpointConfigOutput;
use aws_sdk_sagemaker::operation::describe_model::DescribeModelOutput;
use aws_sdk_sagemaker::primitives::Blob;
use serde::Serialize;

use super::sagemaker::models::ModelVersion;
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
    Ok(described.and_then(|described| {
        described
            .primary_container()
            .into_iter()
            .chain(described.containers())
            .find_map(|container| container.model_package_name().map(str::to_owned))
    }))
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

/// Sends one request to an endpoint and returns the response body as text.
pub async fn invoke(
    clients: &Clients,
    endpoint: &str,
    content_type: &str,
    body: Vec<u8>,
) -> Result<String> {
    let answer = clients
        .runtime
        .invoke_endpoint()
        .endpoint_name(endpoint)
        .content_type(content_type)
        .body(Blob::new(body))
        .send()
        .await
        .aws(format!("cannot invoke the endpoint {endpoint}"))?;
    let body = answer.body.map(Blob::into_inner).unwrap_or_default();
    Ok(String::from_utf8_lossy(&body).into_owned())
}
