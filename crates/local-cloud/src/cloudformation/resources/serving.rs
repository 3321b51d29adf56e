//! `AWS::SageMaker::Endpoint`: the one type whose success is never taken on trust. An endpoint that
//! went back to its old configuration is in service again, and the update failed all the same.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::sagemaker::{name_of, named, one, retag};
use super::{Handler, Job, Made, Type, differs, is_gone, member};
use crate::api::{ApiError, ApiResult};
use crate::clock;

/// The types of this file.
pub(super) const TYPES: &[Type] = &[Type {
    name: "AWS::SageMaker::Endpoint",
    properties: &[
        "DeploymentConfig",
        "EndpointConfigName",
        "EndpointName",
        "RetainDeploymentConfig",
        "Tags",
    ],
    naming: Some(named("EndpointName")),
    attributes: &["EndpointArn", "EndpointName"],
    handler: &Endpoint,
}];

struct Endpoint;

fn failed(message: impl Into<String>) -> ApiError {
    ApiError::new("NotStabilized", message)
}

async fn describe(job: &Job<'_>, name: &str) -> ApiResult<Value> {
    job.call("sagemaker", "DescribeEndpoint", one("EndpointName", name))
        .await
}

/// Waits until the endpoint is in service with the configuration that it was given.
async fn in_service(job: &Job<'_>, name: &str) -> ApiResult<()> {
    loop {
        let shown = describe(job, name).await?;
        let reason = shown["FailureReason"]
            .as_str()
            .unwrap_or("no reason was given");
        match shown["EndpointStatus"].as_str().unwrap_or_default() {
            "Creating" | "Updating" | "SystemUpdating" | "RollingBack" => {
                clock::sleep(Duration::from_millis(100)).await;
            }
            "InService" => {
                let wanted = job.text("EndpointConfigName");
                let live = shown["EndpointConfigName"].as_str().unwrap_or_default();
                if live == name_of(&wanted) {
                    return Ok(());
                }
                return Err(failed(format!(
                    "the endpoint went back to the configuration {live}: {reason}"
                )));
            }
            status => return Err(failed(format!("the endpoint is {status}: {reason}"))),
        }
    }
}

#[async_trait]
impl Handler for Endpoint {
    async fn create(&self, job: &Job<'_>) -> ApiResult<Made> {
        let mut input = job.pick(&["DeploymentConfig", "Tags"]);
        input.insert("EndpointName".to_owned(), job.name.into());
        let config = job.text("EndpointConfigName");
        input.insert("EndpointConfigName".to_owned(), name_of(&config).into());
        let answer = job
            .call("sagemaker", "CreateEndpoint", Value::Object(input))
            .await?;
        let arn = member(&answer, "/EndpointArn")?;
        Ok(Made {
            attributes: Map::from_iter([
                ("EndpointArn".to_owned(), arn.as_str().into()),
                ("EndpointName".to_owned(), job.name.into()),
            ]),
            physical: arn,
        })
    }

    async fn stabilize(&self, job: &Job<'_>, physical: &str) -> ApiResult<()> {
        in_service(job, name_of(physical)).await
    }

    async fn update(
        &self,
        job: &Job<'_>,
        physical: &str,
        old: &Map<String, Value>,
    ) -> ApiResult<Map<String, Value>> {
        let name = name_of(physical);
        retag(job, physical, old).await?;
        if differs(
            old,
            job.properties,
            &["DeploymentConfig", "EndpointConfigName"],
        ) {
            let config = job.text("EndpointConfigName");
            let shown = describe(job, name).await?;
            // A roll-back finds the endpoint where it wants it when SageMaker has gone back already.
            let is_there = shown["EndpointConfigName"].as_str() == Some(name_of(&config))
                && shown["EndpointStatus"] == "InService";
            if !is_there {
                let mut input = job.pick(&["DeploymentConfig", "RetainDeploymentConfig"]);
                input.insert("EndpointName".to_owned(), name.into());
                input.insert("EndpointConfigName".to_owned(), name_of(&config).into());
                job.call("sagemaker", "UpdateEndpoint", Value::Object(input))
                    .await?;
                in_service(job, name).await?;
            }
        }
        Ok(Map::new())
    }

    async fn delete(&self, job: &Job<'_>, physical: &str) -> ApiResult<()> {
        let name = name_of(physical);
        // An endpoint that is being made or changed cannot be deleted.
        loop {
            let shown = describe(job, name).await?;
            match shown["EndpointStatus"].as_str().unwrap_or_default() {
                "Creating" | "Updating" | "SystemUpdating" | "RollingBack" => {
                    clock::sleep(Duration::from_millis(100)).await;
                }
                _ => break,
            }
        }
        job.call("sagemaker", "DeleteEndpoint", json!({"EndpointName": name}))
            .await?;
        loop {
            match describe(job, name).await {
                Err(error) if is_gone(&error) => return Ok(()),
                Err(error) => return Err(error),
                Ok(shown) if shown["EndpointStatus"] == "Failed" => {
                    return Err(failed(format!(
                        "the endpoint could not be deleted: {}",
                        shown["FailureReason"]
                            .as_str()
                            .unwrap_or("no reason was given")
                    )));
                }
                Ok(_) => clock::sleep(Duration::from_millis(100)).await,
            }
        }
    }
}
