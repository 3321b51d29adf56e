//! Tags of every SageMaker resource, by its ARN.

use std::collections::BTreeMap;

use rusqlite::Transaction;
use serde::Deserialize;
use serde_json::{Value, json};

use super::requests;
use crate::api::{ApiError, ApiResult};
use crate::cloud::service::operations;
use crate::{Cloud, system_tags};

operations! {
    "AddTags" => add_tags,
    "ListTags" => list_tags,
    "DeleteTags" => delete_tags,
}

/// The most tags that a resource can have.
const MAX: usize = 50;

/// How a resource type of an ARN is looked up: the operation and its name member; `true` where the
/// member takes the whole ARN.
const TYPES: &[(&str, &str, &str, bool)] = &[
    ("action", "DescribeAction", "ActionName", false),
    ("artifact", "DescribeArtifact", "ArtifactArn", true),
    (
        "code-repository",
        "DescribeCodeRepository",
        "CodeRepositoryName",
        false,
    ),
    ("context", "DescribeContext", "ContextName", false),
    ("endpoint", "DescribeEndpoint", "EndpointName", false),
    (
        "endpoint-config",
        "DescribeEndpointConfig",
        "EndpointConfigName",
        false,
    ),
    (
        "experiment-trial-component",
        "DescribeTrialComponent",
        "TrialComponentName",
        false,
    ),
    ("model", "DescribeModel", "ModelName", false),
    (
        "model-package",
        "DescribeModelPackage",
        "ModelPackageName",
        true,
    ),
    (
        "model-package-group",
        "DescribeModelPackageGroup",
        "ModelPackageGroupName",
        false,
    ),
    (
        "notebook-instance",
        "DescribeNotebookInstance",
        "NotebookInstanceName",
        false,
    ),
    (
        "notebook-instance-lifecycle-config",
        "DescribeNotebookInstanceLifecycleConfig",
        "NotebookInstanceLifecycleConfigName",
        false,
    ),
    ("pipeline", "DescribePipeline", "PipelineName", false),
    (
        "processing-job",
        "DescribeProcessingJob",
        "ProcessingJobName",
        false,
    ),
    (
        "training-job",
        "DescribeTrainingJob",
        "TrainingJobName",
        false,
    ),
];

type Tags = BTreeMap<String, String>;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tag {
    key: String,
    value: String,
}

/// Adds the `Tags` member of a request to a resource, in the transaction that creates the resource:
/// a server that ends in between must not leave one without its tags. Without the member nothing.
pub(super) fn put_in(
    cloud: &Cloud,
    transaction: &Transaction<'_>,
    arn: &str,
    tags: Option<&Value>,
) -> ApiResult<()> {
    let Some(tags) = tags.filter(|tags| !tags.is_null()) else {
        return Ok(());
    };
    let tags: Vec<Tag> = crate::api::parse(tags.clone())?;
    let collection = cloud.store().collection::<Tags>("sagemaker", "tags");
    let mut stored = collection.get_in(transaction, arn)?.unwrap_or_default();
    for tag in tags {
        if tag.key.is_empty() || tag.key.chars().count() > 128 || tag.value.chars().count() > 256 {
            return Err(ApiError::validation(format!(
                "1 validation error detected: the tag `{}` has a key over 128 or a value over \
                 256 characters",
                tag.key
            )));
        }
        stored.insert(tag.key, tag.value);
    }
    if system_tags::counted(stored.keys()) > MAX {
        return Err(ApiError::validation(format!(
            "A resource cannot have more than {MAX} tags"
        )));
    }
    collection.put_in(transaction, arn, &stored)
}

/// Forgets the tags of a resource, in the transaction that deletes it: a new one of its name must
/// not have them.
pub(super) fn remove_in(cloud: &Cloud, transaction: &Transaction<'_>, arn: &str) -> ApiResult<()> {
    cloud
        .store()
        .collection::<Tags>("sagemaker", "tags")
        .remove_in(transaction, arn)?;
    Ok(())
}

fn of(cloud: &Cloud, arn: &str) -> ApiResult<Vec<Value>> {
    Ok(cloud
        .store()
        .collection::<Tags>("sagemaker", "tags")
        .get(arn)?
        .unwrap_or_default()
        .into_iter()
        .map(|(key, value)| json!({"Key": key, "Value": value}))
        .collect())
}

/// The resource of a request, after a look that it exists.
async fn resource<'a>(cloud: &Cloud, input: &'a Value) -> ApiResult<&'a str> {
    let arn = requests::required(input, "ResourceArn")?;
    let prefix = cloud.arn("sagemaker", "");
    let (kind, name) = arn
        .strip_prefix(&prefix)
        .and_then(|rest| rest.split_once('/'))
        .ok_or_else(|| {
            ApiError::validation(format!(
                "`{arn}` is not the ARN of a resource of this account"
            ))
        })?;
    let Some((_, operation, member, whole)) = TYPES.iter().find(|(known, ..)| *known == kind)
    else {
        return Err(ApiError::validation(format!(
            "resources of type `{kind}` cannot have tags"
        )));
    };
    let key = if *whole { arn } else { name };
    cloud
        .call("sagemaker", operation, json!({ *member: key }))
        .await?;
    Ok(arn)
}

async fn add_tags(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let arn = resource(cloud, &input).await?;
    cloud
        .store()
        .transaction(|transaction| put_in(cloud, transaction, arn, input.get("Tags")))?;
    Ok(json!({"Tags": of(cloud, arn)?}))
}

async fn list_tags(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let arn = resource(cloud, &input).await?;
    // One page: a resource has at most 50 tags, and those of AWS.
    Ok(json!({"Tags": of(cloud, arn)?}))
}

async fn delete_tags(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let arn = resource(cloud, &input).await?;
    let keys: Vec<String> = crate::api::parse(input["TagKeys"].clone())?;
    cloud
        .store()
        .collection::<Tags>("sagemaker", "tags")
        .update(arn, |stored| {
            stored.retain(|key, _| !keys.contains(key));
            Ok(())
        })?;
    Ok(json!({}))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls an operation past the checks of its request, as far as the tags.
    async fn call(cloud: &Cloud, operation: &str, input: Value) -> ApiResult<Value> {
        let found = super::super::SERVICE.operation(operation).unwrap();
        (found.run)(cloud, input).await
    }

    #[tokio::test]
    async fn a_resource_whose_tags_cannot_be_written_is_not_created() {
        let at = tempfile::tempdir().unwrap();
        let cloud = Cloud::in_directory(at.path());
        let source = json!({"SourceUri": "s3://b/k"});
        let uri = "https://example.com/r.git";
        for (create, describe, name, more) in [
            (
                "CreateModelPackageGroup",
                "DescribeModelPackageGroup",
                "ModelPackageGroupName",
                json!({}),
            ),
            (
                "CreateCodeRepository",
                "DescribeCodeRepository",
                "CodeRepositoryName",
                json!({"GitConfig": {"RepositoryUrl": uri}}),
            ),
            (
                "CreateNotebookInstanceLifecycleConfig",
                "DescribeNotebookInstanceLifecycleConfig",
                "NotebookInstanceLifecycleConfigName",
                json!({}),
            ),
            (
                "CreateAction",
                "DescribeAction",
                "ActionName",
                json!({"ActionType": "T", "Source": source}),
            ),
            (
                "CreateContext",
                "DescribeContext",
                "ContextName",
                json!({"ContextType": "T", "Source": source}),
            ),
        ] {
            let mut input = more;
            input[name] = json!("one");
            input["Tags"] = json!([{"Key": "k".repeat(129), "Value": "v"}]);
            let error = call(&cloud, create, input.clone()).await.unwrap_err();
            assert!(error.message.contains("over 128"), "{create}: {error}");
            let given = json!({ name: "one" });
            assert!(
                call(&cloud, describe, given.clone()).await.is_err(),
                "{create} left a resource without its tags"
            );
            input["Tags"] = json!([{"Key": "k", "Value": "v"}]);
            let created = call(&cloud, create, input.clone()).await.unwrap();
            let arn = created.as_object().unwrap().values().next().unwrap();
            let tags = call(&cloud, "ListTags", json!({"ResourceArn": arn})).await;
            assert_eq!(tags.unwrap()["Tags"], input["Tags"], "{create}");
            let again = call(&cloud, create, input).await.unwrap_err();
            assert!(again.message.contains("exist"), "{create}: {again}");
        }
    }
}
