//! Models: an image, its artifact and its environment, or an approved model package.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::network::VpcConfig;
use super::super::records::Records;
use super::super::requests::{ListRequest, ResourceName, Stored, check_name, null};
use super::super::states::{ModelApprovalStatus, ModelPackageStatus};
use crate::api::tags::Tags;
use crate::api::{ApiError, ApiResult};
use crate::cloud::caller::Caller;
use crate::s3::objects;
use crate::{Cloud, ecr, iam};

pub(super) const MODELS: Records = Records {
    kind: "model",
    name: "ModelName",
    arn: "ModelArn",
    resource: "model",
    title: "model",
    absent: None,
    list: "Models",
    summary: &["CreationTime"],
    announce: None,
};

/// The container of a variant.
#[derive(Debug, Clone, PartialEq, serde::Serialize, Deserialize)]
pub(super) struct Container {
    /// The image as it was requested.
    pub(super) image: String,
    /// `s3://…/model.tar.gz`, if there is one.
    pub(super) model_data: Option<String>,
    pub(super) environment: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreateModel {
    model_name: String,
    execution_role_arn: Option<String>,
    vpc_config: Option<VpcConfig>,
    #[serde(default)]
    enable_network_isolation: bool,
    #[serde(flatten)]
    containers: Containers,
    tags: Option<Tags>,
}

/// The containers of a model, in a request or in a record.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Containers {
    primary_container: Option<ContainerDefinition>,
    containers: Option<Vec<ContainerDefinition>>,
}

/// `ContainerDefinition`, in a model or in the specification of a model package.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ContainerDefinition {
    image: Option<String>,
    model_data_url: Option<String>,
    model_package_name: Option<String>,
    environment: Option<BTreeMap<String, String>>,
    mode: Option<ContainerMode>,
    // Unsupported members.
    model_data_source: Option<Value>,
    additional_model_data_sources: Option<Value>,
    multi_model_config: Option<Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum ContainerMode {
    SingleModel,
    MultiModel,
}

/// The members of a model package's description that a deployment needs.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Package {
    #[serde(default)]
    model_package_arn: String,
    model_approval_status: Option<ModelApprovalStatus>,
    model_package_status: Option<ModelPackageStatus>,
    inference_specification: Option<Specification>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Specification {
    containers: Vec<ContainerDefinition>,
}

pub(super) async fn create(cloud: &Cloud, input: Stored<CreateModel>) -> ApiResult<Value> {
    let name = &input.model_name;
    check_name(name, MODELS.name, 63)?;
    let role = input.execution_role_arn.as_deref();
    let role = role.ok_or_else(|| null("ExecutionRoleArn"))?;
    iam::require_role(cloud, role, "sagemaker.amazonaws.com")?;
    if let Some(network) = &input.vpc_config {
        network.check(cloud).await?;
    }
    let container = input.containers.resolve(cloud).await?;
    ecr::images::resolve(cloud, &container.image)?;
    if let Some(uri) = &container.model_data {
        let (bucket, key) = objects::parse_uri(uri)?;
        objects::head(cloud, &Caller::LocalCloud, &bucket, &key)
            .map_err(|error| missing(error, &format!("Could not find model data at {uri}.")))?;
    }
    let mut record = input.pick(&[
        "ModelName",
        "PrimaryContainer",
        "Containers",
        "InferenceExecutionConfig",
        "ExecutionRoleArn",
        "VpcConfig",
    ]);
    record["EnableNetworkIsolation"] = json!(input.enable_network_isolation);
    MODELS.create(cloud, name, record, input.tags.as_ref())
}

/// An absent object is SageMaker's `ValidationException`; any other error is unchanged.
fn missing(error: ApiError, message: &str) -> ApiError {
    if error.is_not_found() {
        ApiError::validation(message)
    } else {
        error
    }
}

/// The one container of a model, by the model's record.
pub(super) async fn container(cloud: &Cloud, model: &Value) -> ApiResult<Container> {
    let containers: Containers = crate::api::parse(model.clone())?;
    containers.resolve(cloud).await
}

impl Containers {
    /// The one container, completed by its model package; `ValidationException` if the package is
    /// not approved.
    async fn resolve(&self, cloud: &Cloud) -> ApiResult<Container> {
        let definition = match (&self.primary_container, self.containers.as_deref()) {
            (Some(primary), None) => primary,
            (None, Some([only])) => only,
            (None, Some([_, _, ..])) => {
                return Err(ApiError::not_implemented(
                    "models of several containers (inference pipelines)",
                ));
            }
            _ => {
                return Err(ApiError::validation(
                    "Exactly one of PrimaryContainer and Containers must be specified.",
                ));
            }
        };
        definition.check()?;
        let Some(package) = &definition.model_package_name else {
            return definition.container(BTreeMap::new());
        };
        if definition.image.is_some() || definition.model_data_url.is_some() {
            return Err(ApiError::validation(
                "You cannot specify Image or ModelDataUrl together with ModelPackageName.",
            ));
        }
        let input = json!({"ModelPackageName": package});
        let package = cloud.internally("sagemaker", "DescribeModelPackage", input);
        let package = package.await?;
        let package: Package = crate::api::parse(package)?;
        package.check_approved()?;
        let specification = package.inference_specification;
        let first = specification.and_then(|found| found.containers.into_iter().next());
        let first = first.ok_or_else(|| null("Image"))?;
        first.container(definition.environment.clone().unwrap_or_default())
    }
}

impl ContainerDefinition {
    /// Refuses unsupported members by name.
    fn check(&self) -> ApiResult<()> {
        for (member, given) in [
            ("ModelDataSource", &self.model_data_source),
            (
                "AdditionalModelDataSources",
                &self.additional_model_data_sources,
            ),
            ("MultiModelConfig", &self.multi_model_config),
        ] {
            if given.is_some() {
                return Err(ApiError::not_implemented(format_args!(
                    "ContainerDefinition.{member}"
                )));
            }
        }
        if self.mode == Some(ContainerMode::MultiModel) {
            return Err(ApiError::not_implemented("multi-model endpoints"));
        }
        Ok(())
    }

    /// The container; variables in `own` override those of the definition.
    fn container(&self, own: BTreeMap<String, String>) -> ApiResult<Container> {
        let mut environment = self.environment.clone().unwrap_or_default();
        environment.extend(own);
        Ok(Container {
            image: self.image.clone().ok_or_else(|| null("Image"))?,
            model_data: self.model_data_url.clone(),
            environment,
        })
    }
}

impl Package {
    /// Fails unless the package is approved and complete.
    fn check_approved(&self) -> ApiResult<()> {
        let arn = &self.model_package_arn;
        if self.model_approval_status != Some(ModelApprovalStatus::Approved) {
            return Err(ApiError::validation(format!(
                "Cannot create Model with ModelPackage {arn}: its ModelApprovalStatus is {}, only \
                 Approved can be deployed.",
                self.model_approval_status
                    .map_or("not set", ModelApprovalStatus::name)
            )));
        }
        if self.model_package_status != Some(ModelPackageStatus::Completed) {
            return Err(ApiError::validation(format!(
                "Cannot create Model with ModelPackage {arn}: its ModelPackageStatus is {}.",
                self.model_package_status
                    .map_or("not set", ModelPackageStatus::name)
            )));
        }
        Ok(())
    }
}

pub(super) async fn describe(cloud: &Cloud, input: ResourceName) -> ApiResult<Value> {
    MODELS.get_unchanging(cloud, &input.name)
}

pub(super) async fn list(cloud: &Cloud, input: ListRequest) -> ApiResult<Value> {
    MODELS.list(cloud, &input)
}

pub(super) async fn delete(cloud: &Cloud, input: ResourceName) -> ApiResult<Value> {
    MODELS.delete(cloud, &input.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_approved_packages_are_deployed() {
        let approved = |package: Value| crate::api::parse::<Package>(package)?.check_approved();
        let package = |approval: &str, status: &str| {
            json!({"ModelPackageArn": "a", "ModelApprovalStatus": approval,
                   "ModelPackageStatus": status})
        };
        assert!(approved(package("Approved", "Completed")).is_ok());
        for (approval, status) in [
            ("PendingManualApproval", "Completed"),
            ("Rejected", "Completed"),
            ("Approved", "Failed"),
        ] {
            let error = approved(package(approval, status)).unwrap_err();
            assert_eq!(error.code, "ValidationException", "{approval} {status}");
        }
        assert!(approved(json!({"ModelPackageStatus": "Completed"})).is_err());
    }
}
