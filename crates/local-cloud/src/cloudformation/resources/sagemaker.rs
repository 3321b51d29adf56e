//! The `SageMaker` types that are made by one call and work at once: model package groups, code
//! repositories, models, endpoint configurations, pipelines.

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::{Handler, Job, Made, Naming, Type, differs, document, list, member, removed_tags};
use crate::api::{ApiError, ApiResult};

/// The types of this file.
pub(super) const TYPES: &[Type] = &[
    Type {
        name: "AWS::SageMaker::ModelPackageGroup",
        properties: &[
            "ModelPackageGroupDescription",
            "ModelPackageGroupName",
            "Tags",
        ],
        naming: Some(named("ModelPackageGroupName")),
        attributes: &[
            "CreationTime",
            "ModelPackageGroupArn",
            "ModelPackageGroupStatus",
        ],
        handler: &MODEL_PACKAGE_GROUP,
    },
    Type {
        name: "AWS::SageMaker::CodeRepository",
        properties: &["CodeRepositoryName", "GitConfig", "Tags"],
        naming: Some(named("CodeRepositoryName")),
        attributes: &["CodeRepositoryArn", "CodeRepositoryName"],
        handler: &CODE_REPOSITORY,
    },
    Type {
        name: "AWS::SageMaker::Model",
        properties: &[
            "Containers",
            "EnableNetworkIsolation",
            "ExecutionRoleArn",
            "ModelName",
            "PrimaryContainer",
            "Tags",
            "VpcConfig",
        ],
        naming: Some(named("ModelName")),
        attributes: &["ModelArn", "ModelName"],
        handler: &MODEL,
    },
    Type {
        name: "AWS::SageMaker::EndpointConfig",
        properties: &[
            "DataCaptureConfig",
            "EndpointConfigName",
            "ExecutionRoleArn",
            "KmsKeyId",
            "ProductionVariants",
            "Tags",
            "VpcConfig",
        ],
        naming: Some(named("EndpointConfigName")),
        attributes: &["EndpointConfigArn", "EndpointConfigName"],
        handler: &ENDPOINT_CONFIG,
    },
    Type {
        name: "AWS::SageMaker::Pipeline",
        properties: &[
            "ParallelismConfiguration",
            "PipelineDefinition",
            "PipelineDescription",
            "PipelineDisplayName",
            "PipelineName",
            "RoleArn",
            "Tags",
        ],
        naming: Some(Naming {
            property: "PipelineName",
            longest: 256,
            lower: false,
        }),
        attributes: &[],
        handler: &Pipeline,
    },
];

/// The naming of a `SageMaker` resource with names of at most 63 bytes.
pub(super) const fn named(property: &'static str) -> Naming {
    Naming {
        property,
        longest: 63,
        lower: false,
    }
}

/// A type that one call makes and one removes.
struct Simple {
    create: &'static str,
    delete: &'static str,
    describe: &'static str,
    name: &'static str,
    arn: &'static str,
    /// What the create operation takes as it stands in the properties.
    members: &'static [&'static str],
    /// The members that an update operation takes.
    update: Option<(&'static str, &'static [&'static str])>,
}

const MODEL_PACKAGE_GROUP: Simple = Simple {
    create: "CreateModelPackageGroup",
    delete: "DeleteModelPackageGroup",
    describe: "DescribeModelPackageGroup",
    name: "ModelPackageGroupName",
    arn: "ModelPackageGroupArn",
    members: &["ModelPackageGroupDescription", "Tags"],
    update: None,
};

const CODE_REPOSITORY: Simple = Simple {
    create: "CreateCodeRepository",
    delete: "DeleteCodeRepository",
    describe: "DescribeCodeRepository",
    name: "CodeRepositoryName",
    arn: "CodeRepositoryArn",
    members: &["GitConfig", "Tags"],
    update: Some(("UpdateCodeRepository", &["GitConfig"])),
};

const MODEL: Simple = Simple {
    create: "CreateModel",
    delete: "DeleteModel",
    describe: "DescribeModel",
    name: "ModelName",
    arn: "ModelArn",
    members: &[
        "Containers",
        "EnableNetworkIsolation",
        "ExecutionRoleArn",
        "PrimaryContainer",
        "Tags",
        "VpcConfig",
    ],
    update: None,
};

const ENDPOINT_CONFIG: Simple = Simple {
    create: "CreateEndpointConfig",
    delete: "DeleteEndpointConfig",
    describe: "DescribeEndpointConfig",
    name: "EndpointConfigName",
    arn: "EndpointConfigArn",
    members: &[
        "DataCaptureConfig",
        "ExecutionRoleArn",
        "KmsKeyId",
        "ProductionVariants",
        "Tags",
        "VpcConfig",
    ],
    update: None,
};

/// The name at the end of an ARN.
pub(super) fn name_of(physical: &str) -> &str {
    physical.rsplit_once('/').map_or(physical, |(_, name)| name)
}

/// Makes the tags of the resource those of the properties.
pub(super) async fn retag(job: &Job<'_>, arn: &str, old: &Map<String, Value>) -> ApiResult<()> {
    if !differs(old, job.properties, &["Tags"]) {
        return Ok(());
    }
    let removed = removed_tags(old, job.properties);
    if !removed.is_empty() {
        let input = json!({"ResourceArn": arn, "TagKeys": removed});
        job.call("sagemaker", "DeleteTags", input).await?;
    }
    let tags = list(job.properties, "Tags");
    if !tags.is_empty() {
        let input = json!({"ResourceArn": arn, "Tags": tags});
        job.call("sagemaker", "AddTags", input).await?;
    }
    Ok(())
}

/// A request that names one resource.
pub(super) fn one(member: &str, name: &str) -> Value {
    Value::Object(Map::from_iter([(member.to_owned(), Value::from(name))]))
}

#[async_trait]
impl Handler for Simple {
    async fn create(&self, job: &Job<'_>) -> ApiResult<Made> {
        let mut input = job.pick(self.members);
        input.insert(self.name.to_owned(), job.name.into());
        let answer = job
            .call("sagemaker", self.create, Value::Object(input))
            .await?;
        let arn = member(&answer, &format!("/{}", self.arn))?;
        let mut attributes = Map::new();
        attributes.insert(self.arn.to_owned(), arn.as_str().into());
        attributes.insert(self.name.to_owned(), job.name.into());
        if self.name == "ModelPackageGroupName" {
            let shown = job
                .call("sagemaker", self.describe, one(self.name, job.name))
                .await?;
            for name in ["CreationTime", "ModelPackageGroupStatus"] {
                attributes.insert(name.to_owned(), shown[name].clone());
            }
        }
        Ok(Made {
            physical: arn,
            attributes,
        })
    }

    async fn update(
        &self,
        job: &Job<'_>,
        physical: &str,
        old: &Map<String, Value>,
    ) -> ApiResult<Map<String, Value>> {
        if let Some((operation, members)) = self.update
            && differs(old, job.properties, members)
        {
            let mut input = job.pick(members);
            // Only the secret can change: UpdateCodeRepository takes nothing else.
            if let Some(git) = input.get_mut("GitConfig").and_then(Value::as_object_mut) {
                git.retain(|name, _| name == "SecretArn");
            }
            input.insert(self.name.to_owned(), name_of(physical).into());
            job.call("sagemaker", operation, Value::Object(input))
                .await?;
        }
        retag(job, physical, old).await?;
        Ok(Map::new())
    }

    async fn delete(&self, job: &Job<'_>, physical: &str) -> ApiResult<()> {
        job.call("sagemaker", self.delete, one(self.name, name_of(physical)))
            .await?;
        Ok(())
    }
}

struct Pipeline;

impl Pipeline {
    /// The request of `CreatePipeline` and `UpdatePipeline`.
    fn input(job: &Job<'_>, name: &str) -> ApiResult<Value> {
        let mut input = job.pick(&[
            "ParallelismConfiguration",
            "PipelineDescription",
            "PipelineDisplayName",
            "RoleArn",
        ]);
        input.insert("PipelineName".to_owned(), name.into());
        let definition = job.get("PipelineDefinition").cloned().unwrap_or_default();
        match (
            definition.get("PipelineDefinitionBody"),
            definition.get("PipelineDefinitionS3Location"),
        ) {
            (Some(body), None) => {
                input.insert("PipelineDefinition".to_owned(), document(body).into());
            }
            (None, Some(location)) => {
                let mut shown = Map::new();
                for (ours, theirs) in [
                    ("Bucket", "Bucket"),
                    ("Key", "ObjectKey"),
                    ("Version", "VersionId"),
                ] {
                    if let Some(value) = location.get(ours) {
                        shown.insert(theirs.to_owned(), value.clone());
                    }
                }
                input.insert(
                    "PipelineDefinitionS3Location".to_owned(),
                    Value::Object(shown),
                );
            }
            _ => {
                return Err(ApiError::new(
                    "InvalidRequest",
                    "#/PipelineDefinition: exactly one of PipelineDefinitionBody and PipelineDefinitionS3Location is required",
                ));
            }
        }
        Ok(Value::Object(input))
    }
}

#[async_trait]
impl Handler for Pipeline {
    async fn create(&self, job: &Job<'_>) -> ApiResult<Made> {
        let mut input = Self::input(job, job.name)?;
        input["ClientRequestToken"] = uuid::Uuid::new_v4().simple().to_string().into();
        if let Some(tags) = job.get("Tags") {
            input["Tags"] = tags.clone();
        }
        job.call("sagemaker", "CreatePipeline", input).await?;
        Ok(Made {
            physical: job.name.to_owned(),
            attributes: Map::new(),
        })
    }

    async fn update(
        &self,
        job: &Job<'_>,
        physical: &str,
        old: &Map<String, Value>,
    ) -> ApiResult<Map<String, Value>> {
        job.call("sagemaker", "UpdatePipeline", Self::input(job, physical)?)
            .await?;
        retag(
            job,
            &job.cloud.arn("sagemaker", format!("pipeline/{physical}")),
            old,
        )
        .await?;
        Ok(Map::new())
    }

    async fn delete(&self, job: &Job<'_>, physical: &str) -> ApiResult<()> {
        job.call(
            "sagemaker",
            "DeletePipeline",
            json!({
                "PipelineName": physical,
                "ClientRequestToken": uuid::Uuid::new_v4().simple().to_string(),
            }),
        )
        .await?;
        Ok(())
    }
}
