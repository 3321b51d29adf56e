//! Notebook instances: their states, and the URLs that open them.

use anyhow::{Result, anyhow};
use aws_sdk_sagemaker::operation::describe_notebook_instance::DescribeNotebookInstanceOutput;
use jiff::Timestamp;
use mlops_core::error::Hint;
use serde::Serialize;

use super::timestamp;
use crate::aws::state::NotebookState;
use crate::aws::{AwsResultExt, Clients, Missing};

/// The log group of notebook instances. Streams are named `INSTANCE/LifecycleConfigOnStart`.
pub const LOG_GROUP: &str = "/aws/sagemaker/NotebookInstances";

/// Time in which a URL can be opened, in seconds (SageMaker's API reference).
pub const URL_SECONDS: u32 = 300;

/// A notebook instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Notebook {
    /// Its name.
    pub notebook: String,
    /// Its state.
    pub status: NotebookState,
    /// Why it failed, if it did.
    pub failure_reason: Option<String>,
    /// Its instance type.
    pub instance_type: Option<String>,
    /// The size of its volume, in GiB.
    pub volume_gib: Option<i32>,
    /// The configuration whose scripts run when it starts.
    pub lifecycle_configuration: Option<String>,
    /// The repositories in its volume; the first is opened.
    pub repositories: Vec<String>,
    /// The time of its last change.
    pub changed: Option<Timestamp>,
}

impl Notebook {
    fn of(name: &str, found: DescribeNotebookInstanceOutput) -> Self {
        let first = found.default_code_repository;
        let others = found.additional_code_repositories.unwrap_or_default();
        Self {
            notebook: name.to_owned(),
            status: NotebookState::of(found.notebook_instance_status.as_ref()),
            failure_reason: found.failure_reason,
            instance_type: found.instance_type.map(|it| it.as_str().to_owned()),
            volume_gib: found.volume_size_in_gb,
            lifecycle_configuration: found.notebook_instance_lifecycle_config_name,
            repositories: first.into_iter().chain(others).collect(),
            changed: found.last_modified_time.as_ref().and_then(timestamp),
        }
    }
}

/// Returns a notebook instance; the error suggests `mlops init` if it does not exist.
pub async fn describe(clients: &Clients, name: &str) -> Result<Notebook> {
    let found = clients
        .sagemaker
        .describe_notebook_instance()
        .notebook_instance_name(name)
        .send()
        .await
        .aws_if_found(
            format!("cannot describe the notebook instance {name}"),
            Missing::Notebook,
        )?
        .ok_or_else(|| anyhow!("there is no notebook instance {name} in this account"))
        .hint(format!("run `{}`", clients.command("init")))?;
    Ok(Notebook::of(name, found))
}

/// Starts a stopped or failed notebook instance.
pub async fn start(clients: &Clients, name: &str) -> Result<()> {
    clients
        .sagemaker
        .start_notebook_instance()
        .notebook_instance_name(name)
        .send()
        .await
        .aws(format!("cannot start the notebook instance {name}"))?;
    Ok(())
}

/// Stops a notebook instance that is in service.
pub async fn stop(clients: &Clients, name: &str) -> Result<()> {
    clients
        .sagemaker
        .stop_notebook_instance()
        .notebook_instance_name(name)
        .send()
        .await
        .aws(format!("cannot stop the notebook instance {name}"))?;
    Ok(())
}

/// Returns a URL that opens JupyterLab, for a session of this many seconds.
pub async fn presigned_url(clients: &Clients, name: &str, seconds: i32) -> Result<String> {
    let answer = clients
        .sagemaker
        .create_presigned_notebook_instance_url()
        .notebook_instance_name(name)
        .session_expiration_duration_in_seconds(seconds)
        .send()
        .await
        .aws(format!("cannot open the notebook instance {name}"))?;
    answer
        .authorized_url
        .ok_or_else(|| anyhow!("SageMaker returned no URL for the notebook instance {name}"))
}
