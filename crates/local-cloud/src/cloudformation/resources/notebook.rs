//! `AWS::SageMaker::NotebookInstance` and its life-cycle configurations.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::sagemaker::{name_of, named, one, retag};
use super::{Handler, Job, Made, Type, differs, is_gone, member};
use crate::api::{ApiError, ApiResult};
use crate::clock;

/// The types of this file.
pub(super) const TYPES: &[Type] = &[
    Type {
        name: "AWS::SageMaker::NotebookInstance",
        properties: &[
            "AdditionalCodeRepositories",
            "DefaultCodeRepository",
            "DirectInternetAccess",
            "InstanceMetadataServiceConfiguration",
            "InstanceType",
            "KmsKeyId",
            "LifecycleConfigName",
            "NotebookInstanceName",
            "PlatformIdentifier",
            "RoleArn",
            "RootAccess",
            "SecurityGroupIds",
            "SubnetId",
            "Tags",
            "VolumeSizeInGB",
        ],
        naming: Some(named("NotebookInstanceName")),
        attributes: &["NotebookInstanceArn", "NotebookInstanceName"],
        handler: &NotebookInstance,
    },
    Type {
        name: "AWS::SageMaker::NotebookInstanceLifecycleConfig",
        properties: &[
            "NotebookInstanceLifecycleConfigName",
            "OnCreate",
            "OnStart",
            "Tags",
        ],
        naming: Some(named("NotebookInstanceLifecycleConfigName")),
        attributes: &[
            "NotebookInstanceLifecycleConfigArn",
            "NotebookInstanceLifecycleConfigName",
        ],
        handler: &LifecycleConfig,
    },
];

struct NotebookInstance;
struct LifecycleConfig;

async fn status(job: &Job<'_>, name: &str) -> ApiResult<(String, String)> {
    let shown = job
        .call(
            "sagemaker",
            "DescribeNotebookInstance",
            one("NotebookInstanceName", name),
        )
        .await?;
    let text = |member: &str| shown[member].as_str().unwrap_or_default().to_owned();
    Ok((text("NotebookInstanceStatus"), text("FailureReason")))
}

/// Waits until the notebook instance rests in a state, and answers it.
async fn settled(job: &Job<'_>, name: &str) -> ApiResult<(String, String)> {
    loop {
        let (status, reason) = status(job, name).await?;
        match status.as_str() {
            "InService" | "Stopped" | "Failed" => return Ok((status, reason)),
            _ => clock::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn reach(job: &Job<'_>, name: &str, wanted: &str) -> ApiResult<()> {
    match settled(job, name).await? {
        (status, _) if status == wanted => Ok(()),
        (status, reason) => Err(ApiError::new(
            "NotStabilized",
            format!("the notebook instance is {status}: {reason}"),
        )),
    }
}

async fn stop(job: &Job<'_>, name: &str) -> ApiResult<()> {
    job.call(
        "sagemaker",
        "StopNotebookInstance",
        one("NotebookInstanceName", name),
    )
    .await?;
    reach(job, name, "Stopped").await
}

#[async_trait]
impl Handler for NotebookInstance {
    async fn create(&self, job: &Job<'_>) -> ApiResult<Made> {
        let mut input = job.pick(&[
            "AdditionalCodeRepositories",
            "DefaultCodeRepository",
            "DirectInternetAccess",
            "InstanceMetadataServiceConfiguration",
            "InstanceType",
            "KmsKeyId",
            "LifecycleConfigName",
            "PlatformIdentifier",
            "RoleArn",
            "RootAccess",
            "SecurityGroupIds",
            "SubnetId",
            "Tags",
            "VolumeSizeInGB",
        ]);
        input.insert("NotebookInstanceName".to_owned(), job.name.into());
        let answer = job
            .call("sagemaker", "CreateNotebookInstance", Value::Object(input))
            .await?;
        let arn = member(&answer, "/NotebookInstanceArn")?;
        Ok(Made {
            attributes: Map::from_iter([
                ("NotebookInstanceArn".to_owned(), arn.as_str().into()),
                ("NotebookInstanceName".to_owned(), job.name.into()),
            ]),
            physical: arn,
        })
    }

    async fn stabilize(&self, job: &Job<'_>, physical: &str) -> ApiResult<()> {
        reach(job, name_of(physical), "InService").await
    }

    async fn update(
        &self,
        job: &Job<'_>,
        physical: &str,
        old: &Map<String, Value>,
    ) -> ApiResult<Map<String, Value>> {
        const MEMBERS: &[&str] = &[
            "AdditionalCodeRepositories",
            "DefaultCodeRepository",
            "InstanceMetadataServiceConfiguration",
            "InstanceType",
            "LifecycleConfigName",
            "RoleArn",
            "RootAccess",
            "VolumeSizeInGB",
        ];
        let name = name_of(physical);
        retag(job, physical, old).await?;
        if differs(old, job.properties, MEMBERS) {
            // Only a stopped instance can be changed; one that ran runs again afterwards.
            let (before, _) = settled(job, name).await?;
            if before == "InService" {
                stop(job, name).await?;
            }
            let mut input = job.pick(MEMBERS);
            input.insert("NotebookInstanceName".to_owned(), name.into());
            for (property, flag) in [
                ("LifecycleConfigName", "DisassociateLifecycleConfig"),
                ("DefaultCodeRepository", "DisassociateDefaultCodeRepository"),
                (
                    "AdditionalCodeRepositories",
                    "DisassociateAdditionalCodeRepositories",
                ),
            ] {
                if old.contains_key(property) && job.get(property).is_none() {
                    input.insert(flag.to_owned(), Value::Bool(true));
                }
            }
            job.call("sagemaker", "UpdateNotebookInstance", Value::Object(input))
                .await?;
            reach(job, name, "Stopped").await?;
            if before == "InService" {
                let input = one("NotebookInstanceName", name);
                job.call("sagemaker", "StartNotebookInstance", input)
                    .await?;
                reach(job, name, "InService").await?;
            }
        }
        Ok(Map::new())
    }

    async fn delete(&self, job: &Job<'_>, physical: &str) -> ApiResult<()> {
        let name = name_of(physical);
        if settled(job, name).await?.0 == "InService" {
            stop(job, name).await?;
        }
        job.call(
            "sagemaker",
            "DeleteNotebookInstance",
            one("NotebookInstanceName", name),
        )
        .await?;
        loop {
            match status(job, name).await {
                Err(error) if is_gone(&error) => return Ok(()),
                Err(error) => return Err(error),
                Ok((status, reason)) if status == "Failed" => {
                    return Err(ApiError::new("NotStabilized", reason));
                }
                Ok(_) => clock::sleep(Duration::from_millis(100)).await,
            }
        }
    }
}

fn scripts(job: &Job<'_>) -> Map<String, Value> {
    job.pick(&["OnCreate", "OnStart"])
}

#[async_trait]
impl Handler for LifecycleConfig {
    async fn create(&self, job: &Job<'_>) -> ApiResult<Made> {
        let mut input = scripts(job);
        input.insert(
            "NotebookInstanceLifecycleConfigName".to_owned(),
            job.name.into(),
        );
        if let Some(tags) = job.get("Tags") {
            input.insert("Tags".to_owned(), tags.clone());
        }
        let operation = "CreateNotebookInstanceLifecycleConfig";
        let answer = job
            .call("sagemaker", operation, Value::Object(input))
            .await?;
        let arn = member(&answer, "/NotebookInstanceLifecycleConfigArn")?;
        Ok(Made {
            attributes: Map::from_iter([
                (
                    "NotebookInstanceLifecycleConfigArn".to_owned(),
                    arn.as_str().into(),
                ),
                (
                    "NotebookInstanceLifecycleConfigName".to_owned(),
                    job.name.into(),
                ),
            ]),
            physical: arn,
        })
    }

    async fn update(
        &self,
        job: &Job<'_>,
        physical: &str,
        old: &Map<String, Value>,
    ) -> ApiResult<Map<String, Value>> {
        retag(job, physical, old).await?;
        if differs(old, job.properties, &["OnCreate", "OnStart"]) {
            let mut input = scripts(job);
            input.insert(
                "NotebookInstanceLifecycleConfigName".to_owned(),
                name_of(physical).into(),
            );
            let operation = "UpdateNotebookInstanceLifecycleConfig";
            job.call("sagemaker", operation, Value::Object(input))
                .await?;
        }
        Ok(Map::new())
    }

    async fn delete(&self, job: &Job<'_>, physical: &str) -> ApiResult<()> {
        job.call(
            "sagemaker",
            "DeleteNotebookInstanceLifecycleConfig",
            json!({"NotebookInstanceLifecycleConfigName": name_of(physical)}),
        )
        .await?;
        Ok(())
    }
}
