//! Registers and starts pipelines.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use aws_sdk_sagemaker::types::Parameter;
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

/// Creates the pipeline, or updates it if its definition or role differs.
pub async fn upsert(clients: &Clients, name: &str, definition: &str, role: &str) -> Result<Upsert> {
    let current = clients
        .sagemaker
        .describe_pipeline()
        .pipeline_name(name)
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
        return Ok(Upsert::Created);
    };
    if current.pipeline_definition() == Some(definition) && current.role_arn() == Some(role) {
        return Ok(Upsert::Unchanged);
    }
    clients
        .sagemaker
        .update_pipeline()
        .pipeline_name(name)
        .pipeline_definition(definition)
        .role_arn(role)
        .send()
        .await
        .aws(format!("cannot update the pipeline `{name}`"))?;
    Ok(Upsert::Updated)
}

/// Starts a run and returns its ARN.
pub async fn start(
    clients: &Clients,
    name: &str,
    parameters: &BTreeMap<String, String>,
    description: &str,
) -> Result<String> {
    let mut request = clients
        .sagemaker
        .start_pipeline_execution()
        .pipeline_name(name)
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
