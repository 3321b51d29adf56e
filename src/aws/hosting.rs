//! Model versions and the endpoint that serves one of them.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use aws_sdk_sagemaker::operation::describe_model_package::DescribeModelPackageOutput;
use aws_sdk_sagemaker::primitives::Blob;
use aws_sdk_sagemaker::types::{
    ModelApprovalStatus, ModelLifeCycle, ModelPackageSortBy, SortOrder,
};
use serde::Serialize;

use super::{AwsResultExt, Clients};
use crate::names::Version;

/// A version of a model package group, in one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModelVersion {
    /// Its number.
    pub version: Version,
    /// Its ARN.
    pub arn: String,
    /// `Approved`, `Rejected` or `PendingManualApproval`.
    pub approval: String,
}

/// A version with everything that was recorded of it.
#[derive(Debug, Clone, Serialize)]
pub struct ModelDetails {
    /// Number, ARN and approval.
    #[serde(flatten)]
    pub version: ModelVersion,
    /// `STAGE/STATUS` of its life cycle, if set.
    pub stage: Option<String>,
    /// The image by digest.
    pub image: Option<String>,
    /// `s3://…/model.tar.gz`
    pub artifact: Option<String>,
    /// The git commit.
    pub commit: Option<String>,
    /// The pipeline execution that registered it (`MetadataProperties.GeneratedBy`).
    pub generated_by: Option<String>,
    /// `CustomerMetadataProperties`.
    pub properties: BTreeMap<String, String>,
    /// Where the model's quality was written (`ModelMetrics.ModelQuality.Statistics`).
    pub quality: Option<String>,
}

/// An endpoint as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    /// Its name.
    pub name: String,
    /// `InService`, `Updating`, …
    pub status: String,
    /// The configuration that is live.
    pub configuration: Option<String>,
    /// Why the last deployment failed, if it did.
    pub failure: Option<String>,
    /// The model package behind the live configuration.
    pub model_package: Option<String>,
}

/// The versions of a group, newest first; none when there is no such group.
pub async fn versions(clients: &Clients, group: &str) -> Result<Vec<ModelVersion>> {
    let mut pages = clients
        .sagemaker
        .list_model_packages()
        .model_package_group_name(group)
        .sort_by(ModelPackageSortBy::CreationTime)
        .sort_order(SortOrder::Descending)
        .into_paginator()
        .send();
    let mut found = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.aws_unless(
            format!("cannot list the versions of {group}"),
            &["ResourceNotFound", "ValidationException"],
        )?;
        let Some(page) = page else { break };
        found.extend(
            page.model_package_summary_list()
                .iter()
                .filter_map(|package| {
                    Some(ModelVersion {
                        version: Version(package.model_package_version()?),
                        arn: package.model_package_arn()?.to_owned(),
                        approval: package.model_approval_status()?.as_str().to_owned(),
                    })
                }),
        );
    }
    found.sort_by_key(|version| std::cmp::Reverse(version.version));
    Ok(found)
}

/// Everything that was recorded of a version.
pub async fn details(clients: &Clients, arn: &str) -> Result<ModelDetails> {
    let package = clients
        .sagemaker
        .describe_model_package()
        .model_package_name(arn)
        .send()
        .await
        .aws(format!("cannot describe {arn}"))?;
    read_details(&package).with_context(|| format!("{arn} is not a version of a group"))
}

fn read_details(package: &DescribeModelPackageOutput) -> Option<ModelDetails> {
    let container = package
        .inference_specification()
        .and_then(|specification| specification.containers().first());
    let metadata = package.metadata_properties();
    let properties: BTreeMap<String, String> = package
        .customer_metadata_properties()
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    Some(ModelDetails {
        version: ModelVersion {
            version: Version(package.model_package_version()?),
            arn: package.model_package_arn()?.to_owned(),
            approval: package.model_approval_status()?.as_str().to_owned(),
        },
        stage: package.model_life_cycle().map(|cycle| {
            format!(
                "{}/{}",
                cycle.stage().unwrap_or("?"),
                cycle.stage_status().unwrap_or("?")
            )
        }),
        image: container
            .and_then(|container| container.image())
            .map(str::to_owned),
        artifact: container
            .and_then(|container| container.model_data_url())
            .map(str::to_owned),
        commit: metadata
            .and_then(|metadata| metadata.commit_id())
            .map(str::to_owned)
            .or_else(|| properties.get("CommitId").cloned()),
        generated_by: metadata
            .and_then(|metadata| metadata.generated_by())
            .map(str::to_owned),
        quality: package
            .model_metrics()
            .and_then(|metrics| metrics.model_quality()?.statistics()?.s3_uri())
            .map(str::to_owned),
        properties,
    })
}

/// Approves a version.
pub async fn approve(clients: &Clients, arn: &str, description: &str) -> Result<()> {
    clients
        .sagemaker
        .update_model_package()
        .model_package_arn(arn)
        .model_approval_status(ModelApprovalStatus::Approved)
        .approval_description(description)
        .send()
        .await
        .aws(format!("cannot approve {arn}"))?;
    Ok(())
}

/// Sets the life-cycle stage of a version.
pub async fn set_stage(
    clients: &Clients,
    arn: &str,
    stage: &str,
    status: &str,
    description: &str,
) -> Result<()> {
    clients
        .sagemaker
        .update_model_package()
        .model_package_arn(arn)
        .model_life_cycle(
            ModelLifeCycle::builder()
                .stage(stage)
                .stage_status(status)
                .stage_description(description)
                .build(),
        )
        .send()
        .await
        .aws(format!("cannot set the stage of {arn}"))?;
    Ok(())
}

/// An endpoint and what it really serves; `None` when there is none.
pub async fn endpoint(clients: &Clients, name: &str) -> Result<Option<Endpoint>> {
    let described = clients
        .sagemaker
        .describe_endpoint()
        .endpoint_name(name)
        .send()
        .await
        .aws_unless(
            format!("cannot describe the endpoint {name}"),
            &["ValidationException", "ResourceNotFound"],
        )?;
    let Some(described) = described else {
        return Ok(None);
    };
    let configuration = described.endpoint_config_name().map(str::to_owned);
    let model_package = match &configuration {
        Some(configuration) => model_package(clients, configuration).await?,
        None => None,
    };
    Ok(Some(Endpoint {
        name: name.to_owned(),
        status: described
            .endpoint_status()
            .map_or("Unknown", |status| status.as_str())
            .to_owned(),
        configuration,
        failure: described.failure_reason().map(str::to_owned),
        model_package,
    }))
}

/// The model package behind an endpoint configuration: of its first variant's first container.
async fn model_package(clients: &Clients, configuration: &str) -> Result<Option<String>> {
    // AWS allows a configuration or a model to be deleted while the endpoint serves it.
    let gone = &["ValidationException", "ResourceNotFound"];
    let described = clients
        .sagemaker
        .describe_endpoint_config()
        .endpoint_config_name(configuration)
        .send()
        .await
        .aws_unless(format!("cannot describe {configuration}"), gone)?;
    let model = described.as_ref().and_then(|described| {
        let variant = described.production_variants().first()?;
        variant.model_name()
    });
    let Some(model) = model else { return Ok(None) };
    let described = clients
        .sagemaker
        .describe_model()
        .model_name(model)
        .send()
        .await
        .aws_unless(format!("cannot describe the model {model}"), gone)?;
    Ok(described.and_then(|described| {
        described
            .primary_container()
            .into_iter()
            .chain(described.containers())
            .find_map(|container| container.model_package_name().map(str::to_owned))
    }))
}

/// Sends one request to an endpoint and answers its body as text.
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
