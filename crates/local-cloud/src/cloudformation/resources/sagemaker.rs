//! The `SageMaker` types.
#![expect(clippy::unnecessary_wraps, reason = "forms, some of which can fail")]

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::builder::{
    argument, at, call, changed, document, from, json_text, name, own, physical, read, same,
    search, set, tags_by, text,
};
use super::hooks::Hooks;
use super::table::{Argument, Call, Read, Source, Spelling, State, Tags, Type};
use super::target::Target;
use crate::api::{ApiError, ApiResult};

/// The types of this file.
pub(super) const TYPES: &[Type] = &[
    kind("AWS::SageMaker::ModelPackageGroup", "ModelPackageGroupName")
        .create(
            "CreateModelPackageGroup",
            &[
                name("ModelPackageGroupName"),
                same("ModelPackageGroupDescription"),
            ],
        )
        .id(Source::Part("/ModelPackageGroupArn"))
        .attributes(&[("ModelPackageGroupArn", Source::Physical)])
        .described(
            MODEL_PACKAGE_GROUP,
            &[
                ("CreationTime", "/CreationTime"),
                ("ModelPackageGroupStatus", "/ModelPackageGroupStatus"),
            ],
        )
        .settings(&[set(
            "PutModelPackageGroupPolicy",
            &[
                name("ModelPackageGroupName"),
                document("ResourcePolicy", "ModelPackageGroupPolicy"),
            ],
        )
        .clear(
            "DeleteModelPackageGroupPolicy",
            &[name("ModelPackageGroupName")],
        )])
        .find(search(MODEL_PACKAGE_GROUP, "", "/ModelPackageGroupArn"))
        .live(&[
            read(
                MODEL_PACKAGE_GROUP,
                "",
                &[own("ModelPackageGroupDescription ModelPackageGroupName")],
            ),
            read(
                call(
                    "GetModelPackageGroupPolicy",
                    &[name("ModelPackageGroupName")],
                ),
                "",
                &[at("ModelPackageGroupPolicy", "/ResourcePolicy")],
            ),
            TAG_LIST,
        ])
        .delete("DeleteModelPackageGroup", &[name("ModelPackageGroupName")]),
    kind("AWS::SageMaker::CodeRepository", "CodeRepositoryName")
        .create(
            "CreateCodeRepository",
            &[name("CodeRepositoryName"), same("GitConfig")],
        )
        .id(Source::Part("/CodeRepositoryArn"))
        .attributes(&[
            ("CodeRepositoryArn", Source::Physical),
            ("CodeRepositoryName", Source::Name),
        ])
        .settings(&[set(
            "UpdateCodeRepository",
            &[
                name("CodeRepositoryName"),
                from("GitConfig", "GitConfig").form(only_secret),
            ],
        )
        .on_update()])
        .found_by(
            "DescribeCodeRepository",
            &[name("CodeRepositoryName")],
            "/CodeRepositoryArn",
        )
        .live(&[
            read(
                call("DescribeCodeRepository", &[name("CodeRepositoryName")]),
                "",
                &[own("CodeRepositoryName GitConfig")],
            ),
            TAG_LIST,
        ])
        .delete("DeleteCodeRepository", &[name("CodeRepositoryName")]),
    kind("AWS::SageMaker::Model", "ModelName")
        .create(
            "CreateModel",
            &[
                name("ModelName"),
                same("Containers EnableNetworkIsolation ExecutionRoleArn"),
                same("PrimaryContainer VpcConfig"),
            ],
        )
        .id(Source::Part("/ModelArn"))
        .attributes(&[("ModelArn", Source::Physical), ("ModelName", Source::Name)])
        .found_by("DescribeModel", &[name("ModelName")], "/ModelArn")
        .live(&[
            read(
                call("DescribeModel", &[name("ModelName")]),
                "",
                &[
                    own("Containers EnableNetworkIsolation ExecutionRoleArn"),
                    own("ModelName PrimaryContainer VpcConfig"),
                ],
            ),
            TAG_LIST,
        ])
        .delete("DeleteModel", &[name("ModelName")]),
    kind("AWS::SageMaker::EndpointConfig", "EndpointConfigName")
        .create(
            "CreateEndpointConfig",
            &[
                name("EndpointConfigName"),
                same("DataCaptureConfig ExecutionRoleArn KmsKeyId ProductionVariants"),
                same("VpcConfig"),
            ],
        )
        .id(Source::Part("/EndpointConfigArn"))
        .attributes(&[
            ("EndpointConfigArn", Source::Physical),
            ("EndpointConfigName", Source::Name),
        ])
        .found_by(
            "DescribeEndpointConfig",
            &[name("EndpointConfigName")],
            "/EndpointConfigArn",
        )
        .live(&[
            read(
                call("DescribeEndpointConfig", &[name("EndpointConfigName")]),
                "",
                &[
                    own("DataCaptureConfig EndpointConfigName ExecutionRoleArn"),
                    own("KmsKeyId ProductionVariants VpcConfig"),
                ],
            ),
            TAG_LIST,
        ])
        .delete("DeleteEndpointConfig", &[name("EndpointConfigName")]),
    kind("AWS::SageMaker::Endpoint", "EndpointName")
        .create(
            "CreateEndpoint",
            &[
                name("EndpointName"),
                from("EndpointConfigName", "EndpointConfigName").form(name_of_arn),
                same("DeploymentConfig"),
            ],
        )
        .id(Source::Part("/EndpointArn"))
        .attributes(&[
            ("EndpointArn", Source::Physical),
            ("EndpointName", Source::Name),
        ])
        .settings(&[set("UpdateEndpoint", ENDPOINT_UPDATE).on_update()])
        .stable(ENDPOINT_STATE)
        .find(search(ENDPOINT, "", "/EndpointArn"))
        .live(&[
            read(ENDPOINT, "", &[own("EndpointConfigName EndpointName")]),
            TAG_LIST,
        ])
        .delete("DeleteEndpoint", &[name("EndpointName")])
        .deleting(State {
            wanted: &[],
            failed: &["Failed"],
            message: "the endpoint could not be deleted: {reason}",
            ..ENDPOINT_STATE
        })
        .hooks(&Endpoint, ""),
    kind("AWS::SageMaker::NotebookInstance", "NotebookInstanceName")
        .create(
            "CreateNotebookInstance",
            &[
                name("NotebookInstanceName"),
                same("AdditionalCodeRepositories DefaultCodeRepository"),
                same("DirectInternetAccess"),
                same("InstanceMetadataServiceConfiguration InstanceType KmsKeyId"),
                same("LifecycleConfigName"),
                same("PlatformIdentifier RoleArn RootAccess SecurityGroupIds SubnetId"),
                same("VolumeSizeInGB"),
            ],
        )
        .id(Source::Part("/NotebookInstanceArn"))
        .attributes(&[
            ("NotebookInstanceArn", Source::Physical),
            ("NotebookInstanceName", Source::Name),
        ])
        .settings(&[set("UpdateNotebookInstance", NOTEBOOK_SETTINGS).on_update()])
        .stable(NOTEBOOK_STATE)
        .find(search(NOTEBOOK, "", "/NotebookInstanceArn"))
        .live(&[
            read(
                NOTEBOOK,
                "",
                &[
                    own("AdditionalCodeRepositories DefaultCodeRepository"),
                    own("DirectInternetAccess InstanceType KmsKeyId"),
                    own("InstanceMetadataServiceConfiguration NotebookInstanceName"),
                    own("PlatformIdentifier RoleArn"),
                    own("RootAccess SubnetId VolumeSizeInGB"),
                    at(
                        "LifecycleConfigName",
                        "/NotebookInstanceLifecycleConfigName",
                    ),
                    at("SecurityGroupIds", "/SecurityGroups"),
                ],
            ),
            TAG_LIST,
        ])
        .delete("DeleteNotebookInstance", &[name("NotebookInstanceName")])
        .deleting(State {
            wanted: &[],
            message: "{reason}",
            ..NOTEBOOK_STATE
        })
        .hooks(&NotebookInstance, ""),
    kind(
        "AWS::SageMaker::NotebookInstanceLifecycleConfig",
        "NotebookInstanceLifecycleConfigName",
    )
    .create("CreateNotebookInstanceLifecycleConfig", SCRIPTS)
    .id(Source::Part("/NotebookInstanceLifecycleConfigArn"))
    .attributes(&[
        ("NotebookInstanceLifecycleConfigArn", Source::Physical),
        ("NotebookInstanceLifecycleConfigName", Source::Name),
    ])
    .settings(&[set(
        "UpdateNotebookInstanceLifecycleConfig",
        &[
            name("NotebookInstanceLifecycleConfigName"),
            changed("OnCreate", "[]"),
            changed("OnStart", "[]"),
        ],
    )
    .on_update()])
    .found_by(
        "DescribeNotebookInstanceLifecycleConfig",
        &[name("NotebookInstanceLifecycleConfigName")],
        "/NotebookInstanceLifecycleConfigArn",
    )
    .live(&[
        read(
            call(
                "DescribeNotebookInstanceLifecycleConfig",
                &[name("NotebookInstanceLifecycleConfigName")],
            ),
            "",
            &[own("NotebookInstanceLifecycleConfigName OnCreate OnStart")],
        ),
        TAG_LIST,
    ])
    .delete(
        "DeleteNotebookInstanceLifecycleConfig",
        &[name("NotebookInstanceLifecycleConfigName")],
    ),
    Type::new("AWS::SageMaker::Pipeline", "sagemaker")
        .named("PipelineName", 256)
        .create(
            "CreatePipeline",
            &[
                name("PipelineName"),
                argument("ClientRequestToken", Source::Token),
                from("", "PipelineDefinition").form(definition),
                same("ParallelismConfiguration PipelineDescription PipelineDisplayName"),
                same("RoleArn"),
            ],
        )
        .settings(&[set(
            "UpdatePipeline",
            &[
                physical("PipelineName"),
                from("", "PipelineDefinition").form(definition),
                same("ParallelismConfiguration PipelineDescription PipelineDisplayName"),
                same("RoleArn"),
            ],
        )
        .on_update()])
        .tags(Tags {
            resource: text("ResourceArn", PIPELINE_ARN),
            ..TAGS
        })
        .found_by("DescribePipeline", &[name("PipelineName")], "/PipelineName")
        .live(&[
            read(
                call("DescribePipeline", &[name("PipelineName")]),
                "",
                &[
                    own("ParallelismConfiguration PipelineDescription"),
                    own("PipelineDisplayName PipelineName RoleArn"),
                    at(
                        "PipelineDefinition/PipelineDefinitionBody",
                        "/PipelineDefinition",
                    ),
                ],
            ),
            read(
                call("ListTags", &[text("ResourceArn", PIPELINE_ARN)]),
                "",
                &[own("Tags")],
            ),
        ])
        .delete(
            "DeletePipeline",
            &[
                physical("PipelineName"),
                argument("ClientRequestToken", Source::Token),
            ],
        ),
];

/// A type whose resources have names of at most 63 bytes, and an ARN as physical id.
const fn kind(name: &'static str, property: &'static str) -> Type {
    Type::new(name, "sagemaker").named(property, 63).tags(TAGS)
}

const TAGS: Tags = tags_by(
    ["AddTags", "DeleteTags"],
    Spelling::Pairs,
    physical("ResourceArn"),
);

const TAG_LIST: Read = read(
    call("ListTags", &[physical("ResourceArn")]),
    "",
    &[own("Tags")],
);

const PIPELINE_ARN: &str = "arn:aws:sagemaker:{region}:{account}:pipeline/{physical}";

const MODEL_PACKAGE_GROUP: Call = call(
    "DescribeModelPackageGroup",
    &[name("ModelPackageGroupName")],
);

const ENDPOINT: Call = call("DescribeEndpoint", &[name("EndpointName")]);

const ENDPOINT_UPDATE: &[Argument] = &[
    name("EndpointName"),
    from("EndpointConfigName", "EndpointConfigName").form(name_of_arn),
    same("DeploymentConfig ExcludeRetainedVariantProperties"),
    same("RetainAllVariantProperties RetainDeploymentConfig"),
];

const ENDPOINT_STATE: State = State {
    call: ENDPOINT,
    states: &[("/EndpointStatus", "/FailureReason")],
    wanted: &["InService"],
    failed: &["OutOfService", "Deleting", "Failed", "UpdateRollbackFailed"],
    message: "the endpoint is {state}: {reason}",
};

const NOTEBOOK: Call = call("DescribeNotebookInstance", &[name("NotebookInstanceName")]);

const NOTEBOOK_STATE: State = State {
    call: NOTEBOOK,
    states: &[("/NotebookInstanceStatus", "/FailureReason")],
    wanted: &["InService", "Stopped"],
    failed: &["Failed"],
    message: "the notebook instance is {state}: {reason}",
};

const NOTEBOOK_RUNS: State = State {
    wanted: &["InService"],
    ..NOTEBOOK_STATE
};

const NOTEBOOK_SETTINGS: &[Argument] = &[
    name("NotebookInstanceName"),
    same("AdditionalCodeRepositories DefaultCodeRepository"),
    same("InstanceMetadataServiceConfiguration"),
    same("InstanceType LifecycleConfigName RoleArn RootAccess VolumeSizeInGB"),
    argument(
        "DisassociateLifecycleConfig",
        Source::Dropped("LifecycleConfigName"),
    ),
    argument(
        "DisassociateDefaultCodeRepository",
        Source::Dropped("DefaultCodeRepository"),
    ),
    argument(
        "DisassociateAdditionalCodeRepositories",
        Source::Dropped("AdditionalCodeRepositories"),
    ),
];

const SCRIPTS: &[Argument] = &[
    name("NotebookInstanceLifecycleConfigName"),
    same("OnCreate OnStart"),
];

/// The secret of a `GitConfig`: `UpdateCodeRepository` accepts nothing else.
fn only_secret(git: &Value, _: &Map<String, Value>) -> ApiResult<Value> {
    let secret = git.get("SecretArn");
    Ok(secret.map_or_else(|| json!({}), |secret| json!({"SecretArn": secret})))
}

/// The name at the end of an ARN.
fn name_of_arn(value: &Value, _: &Map<String, Value>) -> ApiResult<Value> {
    let name = value.as_str().and_then(|arn| arn.rsplit('/').next());
    Ok(name.map_or_else(|| value.clone(), Value::from))
}

/// The members of a pipeline's request for its definition.
fn definition(value: &Value, properties: &Map<String, Value>) -> ApiResult<Value> {
    let body = value.get("PipelineDefinitionBody");
    match (body, value.get("PipelineDefinitionS3Location")) {
        (Some(body), None) => Ok(json!({"PipelineDefinition": json_text(body, properties)?})),
        (None, Some(location)) => {
            let names = [
                ("Bucket", "Bucket"),
                ("Key", "ObjectKey"),
                ("Version", "VersionId"),
            ];
            let members = names.into_iter();
            let members: Map<String, Value> = members
                .filter_map(|(ours, theirs)| Some((theirs.to_owned(), location.get(ours)?.clone())))
                .collect();
            Ok(json!({"PipelineDefinitionS3Location": members}))
        }
        _ => Err(ApiError::new(
            "InvalidRequest",
            "#/PipelineDefinition: exactly one of PipelineDefinitionBody and PipelineDefinitionS3Location is required",
        )),
    }
}

/// After a failed update, an endpoint that has rolled back is in service with its previous configuration and a
/// `FailureReason`: the resource fails, and so the stack rolls back (unverified against AWS
/// [cloudformation-endpoint-rollback]). Without a reason the rollback goes unnoticed, as other tools have
/// found (hashicorp/terraform-provider-aws#46663).
struct Endpoint;

impl Endpoint {
    async fn configuration(target: &Target<'_>) -> ApiResult<(Value, Value)> {
        let wanted = target
            .get("EndpointConfigName")
            .cloned()
            .unwrap_or_default();
        let shown = target.call(&ENDPOINT, &Value::Null).await?;
        Ok((name_of_arn(&wanted, target.properties)?, shown))
    }

    async fn check(target: &Target<'_>) -> ApiResult<()> {
        let (wanted, shown) = Self::configuration(target).await?;
        let live = &shown["EndpointConfigName"];
        match shown["FailureReason"].as_str() {
            Some(reason) if *live != wanted => Err(ApiError::new(
                "NotStabilized",
                format!(
                    "the endpoint went back to the configuration {}: {reason}",
                    live.as_str().unwrap_or_default(),
                ),
            )),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Hooks for Endpoint {
    async fn settle(&self, target: &Target<'_>) -> ApiResult<()> {
        target.settle().await?;
        Self::check(target).await
    }

    async fn update(&self, target: &Target<'_>) -> ApiResult<Map<String, Value>> {
        let properties = ENDPOINT_UPDATE.iter().flat_map(Argument::properties);
        if !target.changes(properties) {
            return target.update().await;
        }
        // If SageMaker has rolled back on its own, the roll-back of the stack has nothing to change. Settings
        // of deployments apply to the next one.
        let (wanted, shown) = Self::configuration(target).await?;
        if shown["EndpointConfigName"] == wanted && ENDPOINT_STATE.holds(&shown) {
            target.retag().await?;
            return Ok(Map::new());
        }
        let attributes = target.update().await?;
        Self::check(target).await?;
        Ok(attributes)
    }

    async fn live(&self, target: &Target<'_>) -> ApiResult<Option<Map<String, Value>>> {
        let Some(mut live) = target.live().await? else {
            return Ok(None);
        };
        // The template may name the configuration by its ARN.
        if let Some(wanted) = target.get("EndpointConfigName")
            && live.get("EndpointConfigName") == Some(&name_of_arn(wanted, target.properties)?)
        {
            live.insert("EndpointConfigName".to_owned(), wanted.clone());
        }
        Ok(Some(live))
    }

    async fn delete(&self, target: &Target<'_>) -> ApiResult<()> {
        // SageMaker does not delete an endpoint that is being created or updated.
        target.rest(&ENDPOINT_STATE).await?;
        target.delete().await
    }
}

/// A notebook instance is stopped before it is changed or deleted.
struct NotebookInstance;

impl NotebookInstance {
    /// Stops the instance if it runs; returns whether it ran.
    async fn stop(target: &Target<'_>) -> ApiResult<bool> {
        let shown = target.rest(&NOTEBOOK_STATE).await?;
        let runs = NOTEBOOK_RUNS.holds(&shown);
        if runs {
            Self::run(target, "StopNotebookInstance").await?;
        }
        Ok(runs)
    }

    async fn run(target: &Target<'_>, operation: &'static str) -> ApiResult<()> {
        let input = target.input(&NOTEBOOK, &Value::Null)?;
        target.request(operation, input).await?;
        target.reach(&NOTEBOOK_STATE).await.map(drop)
    }
}

#[async_trait]
impl Hooks for NotebookInstance {
    async fn update(&self, target: &Target<'_>) -> ApiResult<Map<String, Value>> {
        let settings = NOTEBOOK_SETTINGS.iter().flat_map(Argument::properties);
        let ran = target.changes(settings) && Self::stop(target).await?;
        let attributes = target.update().await?;
        if ran {
            Self::run(target, "StartNotebookInstance").await?;
        }
        Ok(attributes)
    }

    async fn delete(&self, target: &Target<'_>) -> ApiResult<()> {
        Self::stop(target).await?;
        target.delete().await
    }
}
