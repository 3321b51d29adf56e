//! The model registry: the versions of the project's model package group.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context as _, Result};
use aws_sdk_sagemaker::operation::describe_model_package::DescribeModelPackageOutput;
use aws_sdk_sagemaker::types::{
    ModelApprovalStatus, ModelLifeCycle, ModelPackageSortBy, SortOrder,
};
use jiff::Timestamp;
use mlops_core::names::Version;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::timestamp;
use crate::aws::s3::S3Uri;
use crate::aws::state::ModelApproval;
use crate::aws::{AwsResultExt, Clients, Expected, Missing};

/// Suffix of the `CommitId` of a version built from uncommitted files.
pub const DIRTY: &str = "-dirty";

/// Summary of a model version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModelVersion {
    /// Its version in the group.
    pub version: Version,
    /// Its ARN.
    pub arn: String,
    /// Its approval status.
    pub status: ModelApproval,
}

/// Details of a model version.
#[derive(Debug, Clone, Serialize)]
pub struct Model {
    /// Its version in the group.
    pub version: Version,
    /// Its ARN.
    pub arn: String,
    /// Its approval status.
    pub status: ModelApproval,
    /// The approver's comment.
    pub approval_description: Option<String>,
    /// `STAGE/STATUS` of its lifecycle, if set.
    pub stage: Option<Stage>,
    /// When it was registered.
    pub created: Option<Timestamp>,
    /// The commit that it was built from.
    pub commit: Option<String>,
    /// True if it was also built from uncommitted files.
    pub dirty: bool,
    /// The image that serves it.
    pub image: Option<String>,
    /// Its artifact in S3.
    pub artifact: Option<String>,
    /// The run that produced it.
    pub run: Option<String>,
    /// That run's ARN.
    #[serde(skip)]
    pub run_arn: Option<String>,
    /// The location of its model quality file.
    pub metrics_uri: Option<S3Uri>,
    /// Its model quality: each metric's value.
    pub metrics: Map<String, Value>,
    /// Its metadata (image, data version, …).
    pub properties: BTreeMap<String, String>,
    /// When it was last changed; before it has a stage, that is the decision of the approver.
    #[serde(skip)]
    pub changed: Option<Timestamp>,
    /// ARN of the identity that changed it last.
    #[serde(skip)]
    pub changed_by: Option<String>,
}

/// The lifecycle stage of a version: `STAGE/STATUS` as text. Other programs may set any value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    stage: String,
    status: String,
}

impl Stage {
    const PRODUCTION: &'static str = "Production";
    const LIVE: &'static str = "Live";

    fn production(status: &str) -> Self {
        Self {
            stage: Self::PRODUCTION.to_owned(),
            status: status.to_owned(),
        }
    }

    /// The version in production.
    pub fn live() -> Self {
        Self::production(Self::LIVE)
    }

    /// A version that was in production.
    pub fn replaced() -> Self {
        Self::production("Replaced")
    }

    /// Returns whether it marks the version in production.
    pub fn is_live(&self) -> bool {
        self.stage == Self::PRODUCTION && self.status == Self::LIVE
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.stage, self.status)
    }
}

impl Serialize for Stage {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// Lists the newest versions of a group, newest first; none if the group does not exist.
pub async fn list(clients: &Clients, group: &str, limit: usize) -> Result<Vec<ModelVersion>> {
    let mut pages = clients
        .sagemaker
        .list_model_packages()
        .model_package_group_name(group)
        .sort_by(ModelPackageSortBy::CreationTime)
        .sort_order(SortOrder::Descending)
        .max_results(i32::try_from(limit.clamp(1, 100)).unwrap_or(100))
        .into_paginator()
        .send();
    let mut found = Vec::new();
    while let Some(page) = pages.next().await {
        let Some(page) = page.aws_if_found("cannot list the models", Missing::ModelPackageGroup)?
        else {
            break;
        };
        let summaries = page.model_package_summary_list().iter();
        found.extend(summaries.filter_map(|package| {
            Some(ModelVersion {
                version: Version(package.model_package_version()?),
                arn: package.model_package_arn()?.to_owned(),
                status: package.model_approval_status()?.clone().into(),
            })
        }));
        if found.len() >= limit {
            found.truncate(limit);
            break;
        }
    }
    // Versions created within the same second have no defined order.
    found.sort_by_key(|version| std::cmp::Reverse(version.version));
    Ok(found)
}

/// Lists all versions of a group, newest first; none if the group does not exist.
pub async fn all(clients: &Clients, group: &str) -> Result<Vec<ModelVersion>> {
    list(clients, group, usize::MAX).await
}

/// Returns a version of a list.
pub fn find(versions: &[ModelVersion], version: Version) -> Option<&ModelVersion> {
    versions.iter().find(|found| found.version == version)
}

/// Describes a version by its ARN; `None` if it does not exist.
async fn described(clients: &Clients, arn: &str) -> Result<Option<DescribeModelPackageOutput>> {
    clients
        .sagemaker
        .describe_model_package()
        .model_package_name(arn)
        .send()
        .await
        .aws_if_found(
            format!("cannot describe the model package {arn}"),
            Missing::ModelPackage,
        )
}

/// Returns a version with its metrics, by ARN; `None` if it does not exist.
pub async fn describe(clients: &Clients, arn: &str) -> Result<Option<Model>> {
    let described = described(clients, arn).await?;
    let Some(described) = described else {
        return Ok(None);
    };
    let mut model = read(&described)?;
    if let Some(uri) = &model.metrics_uri {
        model.metrics = metrics(clients, uri).await?;
    }
    Ok(Some(model))
}

/// Returns the artifact of a version; `None` if it has none, or was deleted.
pub async fn artifact(clients: &Clients, arn: &str) -> Result<Option<String>> {
    let described = described(clients, arn).await?;
    let containers = described.as_ref().and_then(|described| {
        let specification = described.inference_specification()?;
        specification.containers().first()
    });
    Ok(containers
        .and_then(|container| container.model_data_url())
        .map(str::to_owned))
}

/// Approves a version.
pub async fn approve(clients: &Clients, arn: &str, description: &str) -> Result<()> {
    set_approval(clients, arn, ModelApprovalStatus::Approved, description).await
}

/// Rejects a version.
pub async fn reject(clients: &Clients, arn: &str, description: &str) -> Result<()> {
    set_approval(clients, arn, ModelApprovalStatus::Rejected, description).await
}

/// Sets a version back to pending approval.
pub async fn withdraw_approval(clients: &Clients, arn: &str, description: &str) -> Result<()> {
    let pending = ModelApprovalStatus::PendingManualApproval;
    set_approval(clients, arn, pending, description).await
}

async fn set_approval(
    clients: &Clients,
    arn: &str,
    status: ModelApprovalStatus,
    description: &str,
) -> Result<()> {
    let doing = format!("cannot set the approval of {arn} to {}", status.as_str());
    clients
        .sagemaker
        .update_model_package()
        .model_package_arn(arn)
        .model_approval_status(status)
        .approval_description(description)
        .send()
        .await
        .aws(doing)?;
    Ok(())
}

/// Sets the lifecycle stage of a version.
pub async fn set_stage(
    clients: &Clients,
    arn: &str,
    stage: &Stage,
    description: &str,
) -> Result<()> {
    clients
        .sagemaker
        .update_model_package()
        .model_package_arn(arn)
        .model_life_cycle(
            ModelLifeCycle::builder()
                .stage(&stage.stage)
                .stage_status(&stage.status)
                .stage_description(description)
                .build(),
        )
        .send()
        .await
        .aws(format!("cannot set the stage of {arn}"))?;
    Ok(())
}

/// Returns the ARN of a version of a group.
pub async fn arn(clients: &Clients, group: &str, version: Version) -> Result<String> {
    Ok(format!(
        "arn:aws:sagemaker:{}:{}:model-package/{group}/{version}",
        clients.region(),
        clients.account().await?
    ))
}

impl Model {
    /// Returns the commit, with [`DIRTY`] if uncommitted files were included.
    pub fn revision(&self) -> Option<String> {
        let suffix = if self.dirty { DIRTY } else { "" };
        self.commit
            .as_ref()
            .map(|commit| format!("{commit}{suffix}"))
    }
}

fn read(package: &DescribeModelPackageOutput) -> Result<Model> {
    let properties: BTreeMap<String, String> = package
        .customer_metadata_properties()
        .map(|map| {
            map.iter()
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect()
        })
        .unwrap_or_default();
    let metadata = package.metadata_properties();
    let run_arn = metadata
        .and_then(|metadata| metadata.generated_by())
        .filter(|by| by.contains("/execution/"));
    let revision = metadata
        .and_then(|metadata| metadata.commit_id())
        .map(str::to_owned)
        .or_else(|| properties.get("CommitId").cloned());
    let committed = revision
        .as_deref()
        .and_then(|revision| revision.strip_suffix(DIRTY));
    let container = package
        .inference_specification()
        .and_then(|specification| specification.containers().first());
    Ok(Model {
        version: Version(
            package
                .model_package_version()
                .context("the model package has no version")?,
        ),
        arn: package.model_package_arn().unwrap_or_default().to_owned(),
        status: ModelApproval::of(package.model_approval_status()),
        approval_description: package.approval_description().map(str::to_owned),
        stage: package.model_life_cycle().map(|cycle| Stage {
            stage: cycle.stage().unwrap_or("?").to_owned(),
            status: cycle.stage_status().unwrap_or("?").to_owned(),
        }),
        created: package.creation_time().and_then(timestamp),
        dirty: committed.is_some(),
        commit: committed.map(str::to_owned).or(revision),
        image: container
            .and_then(|container| container.image())
            .map(str::to_owned),
        artifact: container
            .and_then(|container| container.model_data_url())
            .map(str::to_owned),
        run: run_arn.map(|arn| super::runs::id(arn).to_owned()),
        run_arn: run_arn.map(str::to_owned),
        metrics_uri: package
            .model_metrics()
            .and_then(|metrics| metrics.model_quality())
            .and_then(|quality| quality.statistics())
            .and_then(|statistics| statistics.s3_uri())
            .and_then(|uri| uri.parse().ok()),
        metrics: Map::new(),
        properties,
        changed: package.last_modified_time().and_then(timestamp),
        changed_by: package
            .last_modified_by()
            .and_then(|by| by.iam_identity())
            .and_then(|identity| identity.arn())
            .map(str::to_owned),
    })
}

/// A file was deleted, alone or with its bucket.
const DELETED: &[Expected] = &[
    Expected::Missing(Missing::Object),
    Expected::Missing(Missing::Bucket),
];

/// Reads the metrics of a model quality file (format: `{"regression_metrics": {"rmse": {"value":
/// 1}}}`); empty if the object was deleted.
async fn metrics(clients: &Clients, uri: &S3Uri) -> Result<Map<String, Value>> {
    let document = document(clients, uri).await?;
    Ok(document.as_ref().map(quality).unwrap_or_default())
}

/// Reads a JSON document from S3; `None` if it was deleted.
pub(super) async fn document(clients: &Clients, uri: &S3Uri) -> Result<Option<Value>> {
    let object = clients
        .s3
        .get_object()
        .bucket(&uri.bucket)
        .key(&uri.key)
        .send()
        .await
        .aws_unless(format!("cannot read {uri}"), DELETED)?;
    let Some(object) = object else {
        return Ok(None);
    };
    let bytes = object
        .body
        .collect()
        .await
        .with_context(|| format!("cannot read {uri}"))?
        .into_bytes();
    let document = serde_json::from_slice(&bytes).with_context(|| format!("{uri} is not JSON"))?;
    Ok(Some(document))
}

/// Returns the numeric metrics of every `…_metrics` group, in the file's order.
pub(super) fn quality(document: &Value) -> Map<String, Value> {
    let mut found = Map::new();
    for (name, group) in document.as_object().into_iter().flatten() {
        if !name.ends_with("_metrics") {
            continue;
        }
        for (name, metric) in group.as_object().into_iter().flatten() {
            if let Some(value) = metric.get("value").filter(|value| value.is_number()) {
                found.insert(name.clone(), value.clone());
            }
        }
    }
    found
}

/// Formats metrics: `rmse 15.1 · mae 9.31`.
pub fn sentence(metrics: &Map<String, Value>) -> String {
    let parts: Vec<String> = metrics
        .iter()
        .map(|(name, value)| match value.as_f64() {
            Some(number) => format!("{name} {}", significant(number)),
            None => format!("{name} {value}"),
        })
        .collect();
    parts.join(", ")
}

/// Formats a number with four significant digits.
pub fn significant(number: f64) -> String {
    if number == 0.0 || !number.is_finite() {
        return number.to_string();
    }
    #[expect(clippy::cast_possible_truncation, reason = "an exponent is small")]
    let digits = (3 - number.abs().log10().floor() as i32).clamp(0, 12);
    format!("{number:.*}", usize::try_from(digits).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn metrics_are_the_numbers_of_every_group() {
        let document = json!({"version": 0.0, "regression_metrics": {
            "rmse": {"value": 15.1234, "standard_deviation": "NaN"},
            "r2": {"value": "NaN"}, "mae": {"value": 0.012_345}}});
        let metrics = quality(&document);
        assert_eq!(
            Value::Object(metrics.clone()),
            json!({"rmse": 15.1234, "mae": 0.012_345})
        );
        assert_eq!(sentence(&metrics), "rmse 15.12, mae 0.01235");
        assert_eq!(significant(123_456.0), "123456");
    }
}
