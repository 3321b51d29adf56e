//! Typed outputs of the stacks.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, anyhow};
use mlops_core::error::Hint;
use mlops_core::names::ProjectName;
use mlops_oci::Digest;
use serde::{Serialize, Serializer};

use super::part::Part;

/// What commands need to know about the stacks data, registry and governance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Platform {
    /// Bucket for data sets.
    pub data_bucket: String,
    /// Bucket for the output of runs, models and monitoring.
    pub artifact_bucket: String,
    /// Bucket for captured requests and predictions.
    pub capture_bucket: String,
    /// The ECR repository's name.
    pub image_repository: String,
    /// The repository's URI, without a tag.
    pub image_repository_uri: String,
    /// The model package group.
    pub model_package_group: String,
    /// ARN of the role of pipelines and jobs.
    pub execution_role: String,
    /// ARN of the role of endpoints.
    pub endpoint_role: String,
    /// ARN of the role of data scientists and notebooks.
    pub notebook_role: String,
    /// ARN of the role of validations.
    pub validation_role: String,
    /// ARN of the role with which CloudFormation deploys releases.
    pub deployer_role: String,
    /// ARN of the key for data, artifacts, images and notebook volumes.
    pub key: String,
    /// Digest of the image of Processing jobs for `validate` and `monitor`; the text `none` before
    /// the first push.
    #[serde(serialize_with = "digest_or_none")]
    pub analyzer_digest: Option<Digest>,
}

/// Outputs of the network stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Network {
    /// The VPC.
    pub vpc: String,
    /// The private subnets.
    pub private_subnets: Vec<String>,
    /// The security group of training and processing jobs.
    pub security_group: String,
}

/// Outputs of the stacks code and workbench.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Workbench {
    /// The repository with image, pipeline and settings; none with a connection.
    pub image_repository_url: Option<String>,
    /// The repository with exploratory notebooks; none with a connection.
    pub eda_repository_url: Option<String>,
    /// ARN of the connection to the provider of the repositories.
    pub connection: Option<String>,
    /// The notebook instance.
    pub notebook: String,
}

/// The value of the output `AnalyzerDigest` without an image.
pub(super) const NO_ANALYZER: &str = "none";

#[expect(clippy::ref_option, reason = "serde passes the field by reference")]
fn digest_or_none<S: Serializer>(digest: &Option<Digest>, to: S) -> Result<S::Ok, S::Error> {
    match digest {
        Some(digest) => digest.serialize(to),
        None => to.serialize_str(NO_ANALYZER),
    }
}

/// Parses the digest of the analyzer's image in the outputs of the registry stack.
pub fn analyzer_digest(outputs: &BTreeMap<String, String>) -> Result<Option<Digest>> {
    const NAME: &str = "AnalyzerDigest";
    match outputs.get(NAME).map(String::as_str) {
        None | Some(NO_ANALYZER) => Ok(None),
        Some(text) => Ok(Some(text.parse().with_context(|| {
            format!("the output {NAME} of the registry stack is invalid")
        })?)),
    }
}

impl Platform {
    /// The stacks whose outputs it consists of.
    pub const PARTS: [Part; 3] = [Part::Data, Part::Registry, Part::Governance];

    /// Reads the outputs of its three stacks, which have different names.
    pub fn read(project: &ProjectName, outputs: &BTreeMap<String, String>) -> Result<Self> {
        let place = format!("{project} (data, registry, governance)");
        let output = |name| output(&place, outputs, name);
        Ok(Self {
            data_bucket: output("DataBucket")?,
            artifact_bucket: output("ArtifactBucket")?,
            capture_bucket: output("CaptureBucket")?,
            image_repository: output("ImageRepositoryName")?,
            image_repository_uri: output("ImageRepositoryUri")?,
            model_package_group: output("ModelPackageGroupName")?,
            execution_role: output("TrainingRoleArn")?,
            endpoint_role: output("EndpointRoleArn")?,
            notebook_role: output("DataScientistRoleArn")?,
            validation_role: output("ValidationRoleArn")?,
            deployer_role: output("DeployerRoleArn")?,
            key: output("KeyArn")?,
            analyzer_digest: analyzer_digest(outputs)?,
        })
    }
}

impl Network {
    /// Reads the outputs of the network stack.
    pub fn read(project: &ProjectName, outputs: &BTreeMap<String, String>) -> Result<Self> {
        let place = format!("{project} (network)");
        let output = |name| output(&place, outputs, name);
        Ok(Self {
            vpc: output("VpcId")?,
            private_subnets: output("PrivateSubnetIds")?
                .split(',')
                .map(str::to_owned)
                .collect(),
            security_group: output("JobSecurityGroupId")?,
        })
    }
}

impl Workbench {
    /// Reads the outputs of its two stacks, which have different names.
    pub fn read(project: &ProjectName, outputs: &BTreeMap<String, String>) -> Result<Self> {
        let place = format!("{project} (code, workbench)");
        let output = |name| output(&place, outputs, name);
        Ok(Self {
            image_repository_url: outputs.get("ImageRepositoryCloneUrl").cloned(),
            eda_repository_url: outputs.get("EdaRepositoryCloneUrl").cloned(),
            connection: outputs.get("ConnectionArn").cloned(),
            notebook: output("NotebookName")?,
        })
    }
}

fn output(stack: &str, outputs: &BTreeMap<String, String>, name: &str) -> Result<String> {
    outputs
        .get(name)
        .cloned()
        .ok_or_else(|| anyhow!("the stack {stack} has no output {name}"))
        .hint("the stack is incomplete, or was deployed by an older version of mlops: run `mlops init`")
}
