//! Notebook instances, their life-cycle configurations, and code repositories.
//!
//! ```text
//! operations (here, lifecycles, repositories) ── records
//!      │ transitions ── statuses                    presigned ── URLs, JupyterLab
//!      ▼                                              │
//!    machines ── one machine per running instance (runtime/notebook) ── volumes
//! ```

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::network;
use super::records::Records;
use super::requests::{ListRequest, Listing, ResourceName, SortOrder, Stored, check_name};
use super::states::NotebookStatus;
use crate::api::tags::Tags;
use crate::api::{ApiError, ApiResult};
use crate::cloud::service::operations;
use crate::{Cloud, iam};

mod lifecycles;
mod machines;
mod presigned;
mod repositories;
mod transitions;
mod volumes;

use lifecycles::LIFECYCLES;
use repositories::REPOSITORIES;

pub(super) use machines::shut_down;
pub(super) use transitions::recover;

operations! {
    "CreateNotebookInstance" => create,
    "DescribeNotebookInstance" => describe,
    "ListNotebookInstances" => list,
    "UpdateNotebookInstance" => update,
    "DeleteNotebookInstance" => transitions::delete,
    "StartNotebookInstance" => transitions::start,
    "StopNotebookInstance" => transitions::stop,
    "CreatePresignedNotebookInstanceUrl" => presigned::create,
    "CreateNotebookInstanceLifecycleConfig" => lifecycles::create,
    "DescribeNotebookInstanceLifecycleConfig" => lifecycles::describe,
    "ListNotebookInstanceLifecycleConfigs" => lifecycles::list,
    "UpdateNotebookInstanceLifecycleConfig" => lifecycles::update,
    "DeleteNotebookInstanceLifecycleConfig" => lifecycles::delete,
    "CreateCodeRepository" => repositories::create,
    "DescribeCodeRepository" => repositories::describe,
    "ListCodeRepositories" => repositories::list,
    "UpdateCodeRepository" => repositories::update,
    "DeleteCodeRepository" => repositories::delete,
}

const NOTEBOOKS: Records = Records {
    kind: "notebook-instance",
    name: "NotebookInstanceName",
    arn: "NotebookInstanceArn",
    resource: "notebook-instance",
    title: "notebook instance",
    absent: Some("RecordNotFound"),
    list: "NotebookInstances",
    summary: &[
        "NotebookInstanceStatus",
        "Url",
        "InstanceType",
        "CreationTime",
        "LastModifiedTime",
        "NotebookInstanceLifecycleConfigName",
        "DefaultCodeRepository",
        "AdditionalCodeRepositories",
    ],
    announce: None,
};

/// The platform of a new notebook instance: since 15 May 2026 the default, since 1 July 2026 the only one.
const PLATFORM: &str = "notebook-al2023-v1";

/// Refuses the platforms with Amazon Linux 1 and 2, with AWS's message for the former.
fn check_platform(platform: &str) -> ApiResult<()> {
    if platform == PLATFORM {
        return Ok(());
    }
    // Unverified against AWS [notebook-platform-message]: that the message is the same for Amazon Linux 2.
    Err(ApiError::validation(format!(
        "Platform identifier ({platform}) is not supported for this service."
    )))
}

/// A setting that is on or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Switch {
    Enabled,
    Disabled,
}

/// The members that name other resources.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct References {
    lifecycle_config_name: Option<String>,
    default_code_repository: Option<String>,
    additional_code_repositories: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CreateNotebook {
    notebook_instance_name: String,
    instance_type: String,
    role_arn: String,
    #[serde(flatten)]
    references: References,
    #[serde(flatten)]
    settings: Settings,
    platform_identifier: Option<String>,
    tags: Option<Tags>,
}

/// The network settings, which are checked together.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Settings {
    subnet_id: Option<String>,
    security_group_ids: Option<Vec<String>>,
    direct_internet_access: Option<Switch>,
    root_access: Option<Switch>,
    #[serde(rename = "VolumeSizeInGB")]
    volume_size: Option<i64>,
}

async fn create(cloud: &Cloud, input: Stored<CreateNotebook>) -> ApiResult<Value> {
    let name = &input.notebook_instance_name;
    check_name(name, NOTEBOOKS.name, 63)?;
    let instance_type = &input.instance_type;
    if !instance_type.starts_with("ml.") {
        return Err(ApiError::validation(format!(
            "1 validation error detected: Value '{instance_type}' at 'instanceType' failed to \
             satisfy constraint: Member must satisfy enum value set: [ml.t3.medium, ...]"
        )));
    }
    iam::require_role(cloud, &input.role_arn, "sagemaker.amazonaws.com")?;
    let platform = input.platform_identifier.as_deref().unwrap_or(PLATFORM);
    check_platform(platform)?;
    let settings = &input.settings;
    settings.check()?;
    let groups = settings.security_group_ids.as_deref().unwrap_or_default();
    network::require(cloud, settings.subnet_id.as_slice(), groups).await?;
    input.references.check(cloud)?;
    let mut record = input.pick(&[
        "NotebookInstanceName",
        "InstanceType",
        "SubnetId",
        "IpAddressType",
        "RoleArn",
        "KmsKeyId",
        "DefaultCodeRepository",
        "AdditionalCodeRepositories",
        "AcceleratorTypes",
        "InstanceMetadataServiceConfiguration",
    ]);
    let switch = |given: Option<Switch>| json!(given.unwrap_or(Switch::Enabled));
    record["SecurityGroups"] = json!(groups);
    record["NotebookInstanceLifecycleConfigName"] = json!(input.references.lifecycle_config_name);
    record["DirectInternetAccess"] = switch(settings.direct_internet_access);
    record["VolumeSizeInGB"] = json!(settings.volume_size.unwrap_or(5));
    record["RootAccess"] = switch(settings.root_access);
    record["PlatformIdentifier"] = json!(platform);
    record["NotebookInstanceStatus"] = NotebookStatus::Pending.into();
    record["Url"] = json!(format!("{name}.notebook.{}.sagemaker.aws", cloud.region()));
    if settings.subnet_id.is_some() {
        let id = uuid::Uuid::new_v4().simple().to_string();
        record["NetworkInterfaceId"] = json!(format!("eni-{}", &id[..17]));
    }
    let created = NOTEBOOKS.create(cloud, name, record, input.tags.as_ref())?;
    transitions::boot(cloud, name, NotebookStatus::Pending);
    Ok(created)
}

impl Settings {
    fn check(&self) -> ApiResult<()> {
        if (self.volume_size).is_some_and(|size| !(5..=16384).contains(&size)) {
            return Err(ApiError::validation(
                "1 validation error detected: Value at 'volumeSizeInGB' failed to satisfy \
                 constraint: Member must be between 5 and 16384",
            ));
        }
        if self.subnet_id.is_some() {
            return Ok(());
        }
        if self.direct_internet_access == Some(Switch::Disabled) {
            return Err(ApiError::validation(
                "DirectInternetAccess can be set to Disabled only if you specify a SubnetId",
            ));
        }
        if self.security_group_ids.is_some() {
            return Err(ApiError::validation(
                "SecurityGroupIds can be specified only with a SubnetId",
            ));
        }
        Ok(())
    }
}

impl References {
    /// The life-cycle configuration and the named code repositories must exist.
    fn check(&self, cloud: &Cloud) -> ApiResult<()> {
        if let Some(config) = &self.lifecycle_config_name {
            LIFECYCLES.get(cloud, config)?;
        }
        let additional = self
            .additional_code_repositories
            .as_deref()
            .unwrap_or_default();
        if additional.len() > 3 {
            return Err(ApiError::validation(
                "A notebook instance can have at most 3 additional code repositories",
            ));
        }
        for repository in self.default_code_repository.iter().chain(additional) {
            // A URL is used unchanged; a name is a repository of this account.
            if !repository.starts_with("https://") {
                REPOSITORIES.get(cloud, repository)?;
            }
        }
        Ok(())
    }
}

/// The status of a record.
fn status(record: &Value) -> Option<NotebookStatus> {
    NotebookStatus::of(&record["NotebookInstanceStatus"])
}

async fn describe(cloud: &Cloud, input: ResourceName) -> ApiResult<Value> {
    NOTEBOOKS.get(cloud, &input.name)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListNotebooks {
    notebook_instance_lifecycle_config_name_contains: Option<String>,
    default_code_repository_contains: Option<String>,
    additional_code_repository_equals: Option<String>,
    #[serde(flatten)]
    list: ListRequest,
}

async fn list(cloud: &Cloud, input: ListNotebooks) -> ApiResult<Value> {
    let mut found = NOTEBOOKS.all(cloud)?;
    let contains = |record: &Value, member: &str, part: Option<&str>| {
        part.is_none_or(|part| {
            let text = record[member].as_str();
            text.is_some_and(|text| text.contains(part))
        })
    };
    found.retain(|record| {
        let lifecycle = input
            .notebook_instance_lifecycle_config_name_contains
            .as_deref();
        let default = input.default_code_repository_contains.as_deref();
        let additional = input.additional_code_repository_equals.as_deref();
        contains(record, "NotebookInstanceLifecycleConfigName", lifecycle)
            && contains(record, "DefaultCodeRepository", default)
            && additional.is_none_or(|wanted| {
                record["AdditionalCodeRepositories"]
                    .as_array()
                    .is_some_and(|list| list.iter().any(|one| one == wanted))
            })
    });
    let listing = Listing {
        name: NOTEBOOKS.name,
        status: Some("NotebookInstanceStatus"),
        sort_by: "Name",
        order: SortOrder::Ascending,
    };
    NOTEBOOKS.list_of(found, listing, &input.list)
}

/// Refuses an operation in a status that does not allow it, with AWS's message.
fn require_status(record: &Value, allowed: &[NotebookStatus], operation: &str) -> ApiResult<()> {
    let found = status(record);
    if found.is_some_and(|found| allowed.contains(&found)) {
        return Ok(());
    }
    let allowed: Vec<&str> = allowed.iter().map(|status| status.name()).collect();
    Err(ApiError::validation(format!(
        "Status ({}) not in ([{}]). Unable to perform {operation} on Notebook Instance ({}).",
        found.map_or("", NotebookStatus::name),
        allowed.join(", "),
        record["NotebookInstanceArn"].as_str().unwrap_or_default()
    )))
}

/// The statuses in which a notebook instance can be started, changed or deleted.
const AT_REST: &[NotebookStatus] = &[NotebookStatus::Stopped, NotebookStatus::Failed];

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[expect(clippy::struct_excessive_bools, reason = "the API's members")]
struct UpdateNotebook {
    notebook_instance_name: String,
    role_arn: Option<String>,
    platform_identifier: Option<String>,
    #[serde(flatten)]
    references: References,
    #[serde(rename = "VolumeSizeInGB")]
    volume_size: Option<i64>,
    #[serde(default)]
    disassociate_lifecycle_config: bool,
    #[serde(default)]
    disassociate_default_code_repository: bool,
    #[serde(default)]
    disassociate_additional_code_repositories: bool,
    #[serde(default)]
    disassociate_accelerator_types: bool,
}

async fn update(cloud: &Cloud, input: Stored<UpdateNotebook>) -> ApiResult<Value> {
    let name = &input.notebook_instance_name;
    NOTEBOOKS.get(cloud, name)?;
    if let Some(role) = &input.role_arn {
        iam::require_role(cloud, role, "sagemaker.amazonaws.com")?;
    }
    if let Some(platform) = &input.platform_identifier {
        check_platform(platform)?;
    }
    input.references.check(cloud)?;
    NOTEBOOKS.change(cloud, name, |record| {
        require_status(record, AT_REST, "UpdateNotebookInstance")?;
        let smaller = input
            .volume_size
            .zip(record["VolumeSizeInGB"].as_i64())
            .is_some_and(|(wanted, now)| wanted < now);
        if smaller {
            return Err(ApiError::validation(
                "The volume of a notebook instance cannot be made smaller",
            ));
        }
        for (disassociate, member) in [
            (
                input.disassociate_lifecycle_config,
                "NotebookInstanceLifecycleConfigName",
            ),
            (
                input.disassociate_default_code_repository,
                "DefaultCodeRepository",
            ),
            (
                input.disassociate_additional_code_repositories,
                "AdditionalCodeRepositories",
            ),
            (input.disassociate_accelerator_types, "AcceleratorTypes"),
        ] {
            if disassociate {
                record[member] = Value::Null;
            }
        }
        if let Some(config) = &input.references.lifecycle_config_name {
            record["NotebookInstanceLifecycleConfigName"] = json!(config);
        }
        let changed = input.pick(&[
            "InstanceType",
            "IpAddressType",
            "PlatformIdentifier",
            "RoleArn",
            "VolumeSizeInGB",
            "DefaultCodeRepository",
            "AdditionalCodeRepositories",
            "AcceleratorTypes",
            "RootAccess",
            "InstanceMetadataServiceConfiguration",
        ]);
        if let (Value::Object(record), Value::Object(changed)) = (record, changed) {
            record.extend(changed);
        }
        Ok(())
    })?;
    Ok(json!({}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_machine_matches_aws() {
        let stopped = json!({"NotebookInstanceStatus": "Stopped", "NotebookInstanceArn": "a"});
        let running = json!({"NotebookInstanceStatus": "InService", "NotebookInstanceArn": "a"});
        assert!(require_status(&stopped, AT_REST, "Delete").is_ok());
        let error = require_status(&running, AT_REST, "Delete").unwrap_err();
        assert!(
            error
                .message
                .starts_with("Status (InService) not in ([Stopped, Failed])"),
            "{error}"
        );
    }

    #[test]
    fn no_internet_needs_a_subnet() {
        let check = |settings: Value| crate::api::parse::<Settings>(settings)?.check();
        let alone = json!({"DirectInternetAccess": "Disabled"});
        assert!(check(alone).is_err());
        let inside = json!({"DirectInternetAccess": "Disabled", "SubnetId": "subnet-1"});
        assert!(check(inside).is_ok());
    }
}
