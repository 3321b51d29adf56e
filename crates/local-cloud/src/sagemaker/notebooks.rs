//! Notebook instances, their life-cycle configurations, and code repositories: records with AWS's
//! state machine and AWS's checks. No Jupyter runs here, and life-cycle scripts are kept, not run.

use std::time::Duration;

use base64::Engine;
use serde_json::{Value, json};

use super::records::Records;
use super::{network, requests};
use crate::api::{ApiError, ApiResult};
use crate::cloud::service::operations;
use crate::{Cloud, clock, iam};

operations! {
    "CreateNotebookInstance" => create_notebook,
    "DescribeNotebookInstance" => describe_notebook,
    "ListNotebookInstances" => list_notebooks,
    "UpdateNotebookInstance" => update_notebook,
    "DeleteNotebookInstance" => delete_notebook,
    "StartNotebookInstance" => start_notebook,
    "StopNotebookInstance" => stop_notebook,
    "CreateNotebookInstanceLifecycleConfig" => create_lifecycle,
    "DescribeNotebookInstanceLifecycleConfig" => describe_lifecycle,
    "ListNotebookInstanceLifecycleConfigs" => list_lifecycles,
    "UpdateNotebookInstanceLifecycleConfig" => update_lifecycle,
    "DeleteNotebookInstanceLifecycleConfig" => delete_lifecycle,
    "CreateCodeRepository" => create_repository,
    "DescribeCodeRepository" => describe_repository,
    "ListCodeRepositories" => list_repositories,
    "UpdateCodeRepository" => update_repository,
    "DeleteCodeRepository" => delete_repository,
}

const NOTEBOOKS: Records = Records {
    kind: "notebook-instance",
    name: "NotebookInstanceName",
    arn: "NotebookInstanceArn",
    resource: "notebook-instance",
    title: "notebook instance",
};
const LIFECYCLES: Records = Records {
    kind: "notebook-lifecycle",
    name: "NotebookInstanceLifecycleConfigName",
    arn: "NotebookInstanceLifecycleConfigArn",
    resource: "notebook-instance-lifecycle-config",
    title: "notebook instance lifecycle config",
};
const REPOSITORIES: Records = Records {
    kind: "code-repository",
    name: "CodeRepositoryName",
    arn: "CodeRepositoryArn",
    resource: "code-repository",
    title: "code repository",
};

/// How long a notebook instance is Pending or Stopping here.
const TRANSITION: Duration = Duration::from_millis(300);

/// A life-cycle script's limit in characters of Base64 (service model:
/// `NotebookInstanceLifecycleConfigContent`).
const MAX_SCRIPT: usize = 16384;

async fn create_notebook(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let name = requests::name(&input, "NotebookInstanceName", 63)?;
    let instance_type = requests::required(&input, "InstanceType")?;
    if !instance_type.starts_with("ml.") {
        return Err(ApiError::validation(format!(
            "1 validation error detected: Value '{instance_type}' at 'instanceType' failed to \
             satisfy constraint: Member must satisfy enum value set: [ml.t3.medium, ...]"
        )));
    }
    iam::require_role(
        cloud,
        requests::required(&input, "RoleArn")?,
        "sagemaker.amazonaws.com",
    )?;
    check_switches(&input)?;
    let subnet: Vec<&Value> = input.get("SubnetId").into_iter().collect();
    network::require(cloud, &json!(subnet), &input["SecurityGroupIds"]).await?;
    check_references(cloud, &input)?;
    let mut record = requests::pick(
        &input,
        &[
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
        ],
    );
    let or = |member: &str, default: Value| input.get(member).cloned().unwrap_or(default);
    record["SecurityGroups"] = or("SecurityGroupIds", json!([]));
    record["NotebookInstanceLifecycleConfigName"] = or("LifecycleConfigName", Value::Null);
    record["DirectInternetAccess"] = or("DirectInternetAccess", json!("Enabled"));
    record["VolumeSizeInGB"] = or("VolumeSizeInGB", json!(5));
    record["RootAccess"] = or("RootAccess", json!("Enabled"));
    record["PlatformIdentifier"] = or("PlatformIdentifier", json!("notebook-al2-v3"));
    record["NotebookInstanceStatus"] = json!("Pending");
    record["Url"] = json!(format!("{name}.notebook.{}.sagemaker.aws", cloud.region()));
    if record.get("SubnetId").is_some() {
        let id = uuid::Uuid::new_v4().simple().to_string();
        record["NetworkInterfaceId"] = json!(format!("eni-{}", &id[..17]));
    }
    let arn = NOTEBOOKS.create(cloud, name, record, input.get("Tags"))?;
    settle(cloud, name, "Pending", "InService");
    Ok(json!({"NotebookInstanceArn": arn}))
}

fn check_switches(input: &Value) -> ApiResult<()> {
    const SWITCH: &[&str] = &["Enabled", "Disabled"];
    requests::one_of(input, "DirectInternetAccess", SWITCH)?;
    requests::one_of(input, "RootAccess", SWITCH)?;
    requests::one_of(input, "IpAddressType", &["ipv4", "dualstack"])?;
    let size = input.get("VolumeSizeInGB").and_then(Value::as_i64);
    if size.is_some_and(|size| !(5..=16384).contains(&size)) {
        return Err(ApiError::validation(
            "1 validation error detected: Value at 'volumeSizeInGB' failed to satisfy constraint: \
             Member must be between 5 and 16384",
        ));
    }
    if input["DirectInternetAccess"] == "Disabled" && input.get("SubnetId").is_none() {
        return Err(ApiError::validation(
            "DirectInternetAccess can be set to Disabled only if you specify a SubnetId",
        ));
    }
    if input.get("SecurityGroupIds").is_some() && input.get("SubnetId").is_none() {
        return Err(ApiError::validation(
            "SecurityGroupIds can be specified only with a SubnetId",
        ));
    }
    Ok(())
}

/// The life-cycle configuration and the named code repositories must exist.
fn check_references(cloud: &Cloud, input: &Value) -> ApiResult<()> {
    if let Some(config) = requests::optional(input, "LifecycleConfigName") {
        LIFECYCLES.get(cloud, config)?;
    }
    let additional = input["AdditionalCodeRepositories"].as_array();
    if additional.is_some_and(|list| list.len() > 3) {
        return Err(ApiError::validation(
            "A notebook instance can have at most 3 additional code repositories",
        ));
    }
    let default = requests::optional(input, "DefaultCodeRepository");
    let named = additional.into_iter().flatten().filter_map(Value::as_str);
    for repository in default.into_iter().chain(named) {
        // A URL is cloned as it is; a name is a repository of this account.
        if !repository.starts_with("https://") {
            REPOSITORIES.get(cloud, repository)?;
        }
    }
    Ok(())
}

/// Moves a notebook instance from one status to the next after a moment.
fn settle(cloud: &Cloud, name: &str, from: &'static str, to: &'static str) {
    let (inner, whose) = (cloud.clone(), name.to_owned());
    let work = async move {
        clock::sleep(TRANSITION).await;
        arrive(&inner, &whose, from, to, None).await;
    };
    supervise(cloud, name, from, work);
}

/// Does work in the background that ends a status; when it panics, the notebook instance is Failed.
fn supervise(
    cloud: &Cloud,
    name: &str,
    from: &'static str,
    work: impl Future<Output = ()> + Send + 'static,
) {
    let (broken, name) = (cloud.clone(), name.to_owned());
    cloud.spawn(
        format!("notebook instance {name}"),
        work,
        move |error| async move {
            arrive(&broken, &name, from, "Failed", Some(error.message)).await;
        },
    );
}

/// Writes the status after `from`, with the reason of a failure.
async fn arrive(cloud: &Cloud, name: &str, from: &str, to: &str, reason: Option<String>) {
    // The record may be gone when the state directory was removed: nothing to write then.
    let write = || {
        NOTEBOOKS.change(cloud, name, |record| {
            if record["NotebookInstanceStatus"] == from {
                record["NotebookInstanceStatus"] = json!(to);
                if let Some(reason) = &reason {
                    record["FailureReason"] = json!(format!("InternalServerError: {reason}"));
                }
            }
            Ok(())
        })
    };
    let what = format!("notebook instance {name}");
    let _ = cloud.persist(&what, write).await;
}

/// After a restart: what was between two statuses arrives.
pub(super) fn recover(cloud: &Cloud) -> anyhow::Result<()> {
    for record in NOTEBOOKS.all(cloud)? {
        let name = record["NotebookInstanceName"].as_str().unwrap_or_default();
        let arrived = match record["NotebookInstanceStatus"].as_str() {
            Some("Pending") => "InService",
            Some("Stopping") => "Stopped",
            Some("Deleting") => {
                NOTEBOOKS.remove(cloud, name)?;
                continue;
            }
            _ => continue,
        };
        NOTEBOOKS.change(cloud, name, |record| {
            record["NotebookInstanceStatus"] = json!(arrived);
            Ok(())
        })?;
    }
    Ok(())
}

async fn describe_notebook(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    NOTEBOOKS.get(cloud, requests::required(&input, NOTEBOOKS.name)?)
}

async fn list_notebooks(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let mut found = NOTEBOOKS.all(cloud)?;
    let contains = |member: &str, part: Option<&str>, record: &Value| {
        part.is_none_or(|part| requests::optional(record, member).is_some_and(|v| v.contains(part)))
    };
    found.retain(|record| {
        let additional = requests::optional(&input, "AdditionalCodeRepositoryEquals");
        contains(
            "NotebookInstanceLifecycleConfigName",
            requests::optional(&input, "NotebookInstanceLifecycleConfigNameContains"),
            record,
        ) && contains(
            "DefaultCodeRepository",
            requests::optional(&input, "DefaultCodeRepositoryContains"),
            record,
        ) && additional.is_none_or(|wanted| {
            record["AdditionalCodeRepositories"]
                .as_array()
                .is_some_and(|list| list.iter().any(|one| one == wanted))
        })
    });
    let (page, token) = requests::Listing {
        name: "NotebookInstanceName",
        status: Some("NotebookInstanceStatus"),
        sort_by: "Name",
        descending: false,
    }
    .page(found, &input)?;
    let summaries: Vec<Value> = page
        .iter()
        .map(|record| {
            requests::pick(
                record,
                &[
                    "NotebookInstanceName",
                    "NotebookInstanceArn",
                    "NotebookInstanceStatus",
                    "Url",
                    "InstanceType",
                    "CreationTime",
                    "LastModifiedTime",
                    "NotebookInstanceLifecycleConfigName",
                    "DefaultCodeRepository",
                    "AdditionalCodeRepositories",
                ],
            )
        })
        .collect();
    Ok(json!({"NotebookInstances": summaries, "NextToken": token}))
}

/// Refuses an operation in a status that does not allow it, with AWS's message.
fn require_status(record: &Value, allowed: &[&str], operation: &str) -> ApiResult<()> {
    let status = record["NotebookInstanceStatus"]
        .as_str()
        .unwrap_or_default();
    if allowed.contains(&status) {
        return Ok(());
    }
    Err(ApiError::validation(format!(
        "Status ({status}) not in ([{}]). Unable to perform {operation} on Notebook Instance ({}).",
        allowed.join(", "),
        record["NotebookInstanceArn"].as_str().unwrap_or_default()
    )))
}

async fn update_notebook(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let name = requests::required(&input, NOTEBOOKS.name)?;
    NOTEBOOKS.get(cloud, name)?;
    if let Some(role) = requests::optional(&input, "RoleArn") {
        iam::require_role(cloud, role, "sagemaker.amazonaws.com")?;
    }
    check_references(cloud, &input)?;
    requests::one_of(&input, "RootAccess", &["Enabled", "Disabled"])?;
    NOTEBOOKS.change(cloud, name, |record| {
        require_status(record, &["Stopped", "Failed"], "UpdateNotebookInstance")?;
        let smaller = input["VolumeSizeInGB"]
            .as_i64()
            .zip(record["VolumeSizeInGB"].as_i64())
            .is_some_and(|(wanted, now)| wanted < now);
        if smaller {
            return Err(ApiError::validation(
                "The volume of a notebook instance cannot be made smaller",
            ));
        }
        for (flag, member) in [
            (
                "DisassociateLifecycleConfig",
                "NotebookInstanceLifecycleConfigName",
            ),
            ("DisassociateDefaultCodeRepository", "DefaultCodeRepository"),
            (
                "DisassociateAdditionalCodeRepositories",
                "AdditionalCodeRepositories",
            ),
            ("DisassociateAcceleratorTypes", "AcceleratorTypes"),
        ] {
            if input[flag] == true {
                record[member] = Value::Null;
            }
        }
        for (from, to) in [
            ("InstanceType", "InstanceType"),
            ("IpAddressType", "IpAddressType"),
            ("PlatformIdentifier", "PlatformIdentifier"),
            ("RoleArn", "RoleArn"),
            ("LifecycleConfigName", "NotebookInstanceLifecycleConfigName"),
            ("VolumeSizeInGB", "VolumeSizeInGB"),
            ("DefaultCodeRepository", "DefaultCodeRepository"),
            ("AdditionalCodeRepositories", "AdditionalCodeRepositories"),
            ("AcceleratorTypes", "AcceleratorTypes"),
            ("RootAccess", "RootAccess"),
            (
                "InstanceMetadataServiceConfiguration",
                "InstanceMetadataServiceConfiguration",
            ),
        ] {
            if let Some(value) = input.get(from) {
                record[to] = value.clone();
            }
        }
        Ok(())
    })?;
    Ok(json!({}))
}

/// Moves a notebook instance into a passing status and from there on to the next.
fn pass(
    cloud: &Cloud,
    input: &Value,
    operation: &str,
    allowed: &[&str],
    through: (&'static str, &'static str),
) -> ApiResult<Value> {
    let name = requests::required(input, NOTEBOOKS.name)?;
    NOTEBOOKS.change(cloud, name, |record| {
        require_status(record, allowed, operation)?;
        record["NotebookInstanceStatus"] = json!(through.0);
        Ok(())
    })?;
    settle(cloud, name, through.0, through.1);
    Ok(json!({}))
}

async fn start_notebook(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    pass(
        cloud,
        &input,
        "StartNotebookInstance",
        &["Stopped", "Failed"],
        ("Pending", "InService"),
    )
}

async fn stop_notebook(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    pass(
        cloud,
        &input,
        "StopNotebookInstance",
        &["InService"],
        ("Stopping", "Stopped"),
    )
}

async fn delete_notebook(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let name = requests::required(&input, NOTEBOOKS.name)?.to_owned();
    NOTEBOOKS.change(cloud, &name, |record| {
        require_status(record, &["Stopped", "Failed"], "DeleteNotebookInstance")?;
        record["NotebookInstanceStatus"] = json!("Deleting");
        Ok(())
    })?;
    let (inner, whose) = (cloud.clone(), name.clone());
    let work = async move {
        clock::sleep(TRANSITION).await;
        // `recover` finishes a deletion that a crash interrupted.
        let write = || NOTEBOOKS.remove(&inner, &whose);
        let what = format!("deletion of notebook instance {whose}");
        let _ = inner.persist(&what, write).await;
    };
    supervise(cloud, &name, "Deleting", work);
    Ok(json!({}))
}

fn check_scripts(input: &Value) -> ApiResult<()> {
    for member in ["OnCreate", "OnStart"] {
        for hook in input[member].as_array().into_iter().flatten() {
            let content = hook["Content"].as_str().unwrap_or_default();
            let decoded = base64::engine::general_purpose::STANDARD.decode(content);
            if content.len() > MAX_SCRIPT || decoded.is_err() {
                return Err(ApiError::validation(format!(
                    "{member}: Content must be a Base64-encoded script of at most {MAX_SCRIPT} \
                     characters"
                )));
            }
        }
    }
    Ok(())
}

async fn create_lifecycle(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let name = requests::name(&input, LIFECYCLES.name, 63)?;
    check_scripts(&input)?;
    let record = requests::pick(&input, &[LIFECYCLES.name, "OnCreate", "OnStart"]);
    let arn = LIFECYCLES.create(cloud, name, record, input.get("Tags"))?;
    Ok(json!({"NotebookInstanceLifecycleConfigArn": arn}))
}

async fn describe_lifecycle(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    LIFECYCLES.get(cloud, requests::required(&input, LIFECYCLES.name)?)
}

async fn list_lifecycles(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let (page, token) = LIFECYCLES.page(cloud, &input, &["CreationTime", "LastModifiedTime"])?;
    Ok(json!({"NotebookInstanceLifecycleConfigs": page, "NextToken": token}))
}

async fn update_lifecycle(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let name = requests::required(&input, LIFECYCLES.name)?;
    check_scripts(&input)?;
    LIFECYCLES.change(cloud, name, |record| {
        for member in ["OnCreate", "OnStart"] {
            if let Some(hooks) = input.get(member) {
                record[member] = hooks.clone();
            }
        }
        Ok(())
    })?;
    Ok(json!({}))
}

async fn delete_lifecycle(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let name = requests::required(&input, LIFECYCLES.name)?;
    LIFECYCLES.get(cloud, name)?;
    LIFECYCLES.remove(cloud, name)?;
    Ok(json!({}))
}

async fn create_repository(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let name = requests::name(&input, REPOSITORIES.name, 63)?;
    let url = requests::required(&input["GitConfig"], "RepositoryUrl")?;
    let loopback = url
        .strip_prefix("http://")
        .is_some_and(|rest| rest.starts_with("127.0.0.1:") || rest.starts_with("localhost:"));
    // The local CodeCommit's clone URL is plain HTTP on loopback; AWS takes https only.
    if !url.starts_with("https://") && !loopback {
        return Err(ApiError::validation(format!(
            "1 validation error detected: Value '{url}' at 'gitConfig.repositoryUrl' failed to \
             satisfy constraint: Member must satisfy regular expression pattern: https://([^/]+)/?.*"
        )));
    }
    let record = requests::pick(&input, &[REPOSITORIES.name, "GitConfig"]);
    let arn = REPOSITORIES.create(cloud, name, record, input.get("Tags"))?;
    Ok(json!({"CodeRepositoryArn": arn}))
}

async fn describe_repository(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    REPOSITORIES.get(cloud, requests::required(&input, REPOSITORIES.name)?)
}

async fn list_repositories(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let (page, token) = REPOSITORIES.page(
        cloud,
        &input,
        &["CreationTime", "LastModifiedTime", "GitConfig"],
    )?;
    Ok(json!({"CodeRepositorySummaryList": page, "NextToken": token}))
}

async fn update_repository(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let name = requests::required(&input, REPOSITORIES.name)?;
    let arn = REPOSITORIES.change(cloud, name, |record| {
        if let Some(secret) = input["GitConfig"].get("SecretArn") {
            record["GitConfig"]["SecretArn"] = secret.clone();
        }
        Ok(record["CodeRepositoryArn"].clone())
    })?;
    Ok(json!({"CodeRepositoryArn": arn}))
}

async fn delete_repository(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let name = requests::required(&input, REPOSITORIES.name)?;
    REPOSITORIES.get(cloud, name)?;
    REPOSITORIES.remove(cloud, name)?;
    Ok(json!({}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_machine_is_aws_s() {
        let stopped = json!({"NotebookInstanceStatus": "Stopped", "NotebookInstanceArn": "a"});
        let running = json!({"NotebookInstanceStatus": "InService", "NotebookInstanceArn": "a"});
        assert!(require_status(&stopped, &["Stopped", "Failed"], "Delete").is_ok());
        let error = require_status(&running, &["Stopped", "Failed"], "Delete").unwrap_err();
        assert!(
            error
                .message
                .starts_with("Status (InService) not in ([Stopped, Failed])"),
            "{error}"
        );
    }

    #[test]
    fn no_internet_needs_a_subnet() {
        let input = json!({"DirectInternetAccess": "Disabled"});
        assert!(check_switches(&input).is_err());
        let input = json!({"DirectInternetAccess": "Disabled", "SubnetId": "subnet-1"});
        assert!(check_switches(&input).is_ok());
    }

    #[test]
    fn scripts_are_base64() {
        assert!(check_scripts(&json!({"OnStart": [{"Content": "IyEvYmluL3No"}]})).is_ok());
        assert!(check_scripts(&json!({"OnStart": [{"Content": "#!/bin/sh"}]})).is_err());
    }

    #[tokio::test]
    async fn a_transition_that_panics_fails_the_notebook_instance() {
        let at = tempfile::tempdir().unwrap();
        let cloud = Cloud::in_directory(at.path());
        let record = json!({"NotebookInstanceStatus": "Pending"});
        NOTEBOOKS.create(&cloud, "n", record, None).unwrap();
        supervise(&cloud, "n", "Pending", async { panic!("boom") });
        cloud.idle().await;
        let record = NOTEBOOKS.get(&cloud, "n").unwrap();
        assert_eq!(record["NotebookInstanceStatus"], "Failed");
        let reason = record["FailureReason"].as_str().unwrap();
        assert!(reason.contains("boom"), "{reason}");
    }
}
