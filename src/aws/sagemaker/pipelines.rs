//! Registers and starts pipelines.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use aws_sdk_sagemaker::types::{Parameter, SortOrder};
use serde::Serialize;

use crate::aws::{AwsResultExt, Clients, Missing};

/// The result of registering a definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Upsert {
    /// The pipeline was created.
    Created,
    /// Its definition or role was updated.
    Updated,
    /// It was already up to date.
    Unchanged,
}

/// A definition that a run can start.
#[derive(Debug, Clone, Copy)]
pub struct Registered {
    /// What was done.
    pub change: Upsert,
    /// The version of the pipeline that has the definition; `None` if SageMaker named none.
    pub version: Option<i64>,
}

/// Creates the pipeline, or updates it if its definition or role differs. Another client may do the same at the same
/// time, with another definition: start the version that is returned.
pub async fn upsert(
    clients: &Clients,
    name: &str,
    definition: &str,
    role: &str,
) -> Result<Registered> {
    let newest = newest_version(clients, name).await?;
    let current = clients
        .sagemaker
        .describe_pipeline()
        .pipeline_name(name)
        .set_pipeline_version_id(newest)
        .send()
        .await
        .aws_if_found(
            format!("cannot describe the pipeline `{name}`"),
            Missing::Resource,
        )?;
    let Some(current) = current else {
        clients
            .sagemaker
            .create_pipeline()
            .pipeline_name(name)
            .pipeline_definition(definition)
            .role_arn(role)
            .send()
            .await
            .aws(format!("cannot create the pipeline `{name}`"))?;
        return Ok(Registered {
            change: Upsert::Created,
            version: None,
        });
    };
    if current.pipeline_definition() == Some(definition) && current.role_arn() == Some(role) {
        return Ok(Registered {
            change: Upsert::Unchanged,
            version: newest,
        });
    }
    let updated = clients
        .sagemaker
        .update_pipeline()
        .pipeline_name(name)
        .pipeline_definition(definition)
        .role_arn(role)
        .send()
        .await
        .aws(format!("cannot update the pipeline `{name}`"))?;
    Ok(Registered {
        change: Upsert::Updated,
        version: updated.pipeline_version_id,
    })
}

/// Returns the id of the pipeline's newest version, if the pipeline exists.
async fn newest_version(clients: &Clients, name: &str) -> Result<Option<i64>> {
    let listed = clients
        .sagemaker
        .list_pipeline_versions()
        .pipeline_name(name)
        .sort_order(SortOrder::Descending)
        .max_results(1)
        .send()
        .await
        .aws_if_found(
            format!("cannot list the versions of the pipeline `{name}`"),
            Missing::Resource,
        )?;
    let versions = listed.and_then(|listed| listed.pipeline_version_summaries);
    Ok(versions.and_then(|versions| versions.first()?.pipeline_version_id))
}

/// Starts a run of a version of the pipeline and returns its ARN.
pub async fn start(
    clients: &Clients,
    name: &str,
    version: Option<i64>,
    parameters: &BTreeMap<String, String>,
    description: &str,
) -> Result<String> {
    let mut request = clients
        .sagemaker
        .start_pipeline_execution()
        .pipeline_name(name)
        .set_pipeline_version_id(version)
        .pipeline_execution_description(description);
    for (name, value) in parameters {
        request = request.pipeline_parameters(Parameter::builder().name(name).value(value).build());
    }
    request
        .send()
        .await
        .aws(format!("cannot start the pipeline `{name}`"))?
        .pipeline_execution_arn
        .context("SageMaker returned no ARN for the run that it started")
}

/// Returns the text of the definition that a run was started with; `None` if the run was deleted.
pub async fn executed_definition(clients: &Clients, run: &str) -> Result<Option<String>> {
    let described = clients
        .sagemaker
        .describe_pipeline_definition_for_execution()
        .pipeline_execution_arn(run)
        .send()
        .await
        .aws_if_found("cannot read the definition of the run", Missing::Resource)?;
    Ok(described.and_then(|described| described.pipeline_definition))
}
