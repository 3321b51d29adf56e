//! Tags of every SageMaker resource, by its ARN.

use std::collections::BTreeMap;

use rusqlite::Transaction;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::tags::Tags;
use crate::api::{ApiError, ApiResult};
use crate::cloud::service::operations;
use crate::store::Collection;
use crate::{Cloud, system_tags};

operations! {
    "AddTags" => add_tags,
    "ListTags" => list_tags,
    "DeleteTags" => delete_tags,
}

/// Maximum number of tags of a resource.
const MAX: usize = 50;

/// How the existence of a resource of an ARN's type is checked: the operation and the member that names
/// the resource; `true` if that member accepts the complete ARN.
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

/// The tags of each resource, by its ARN.
fn stored(cloud: &Cloud) -> Collection<'_, BTreeMap<String, String>> {
    cloud.store().collection("sagemaker", "tags")
}

/// Adds the tags of a request to a resource, in the transaction that creates the resource: a server
/// that ends in between must not leave a resource without its tags. Writes nothing if the request
/// has no tags.
pub(super) fn put_in(
    cloud: &Cloud,
    transaction: &Transaction<'_>,
    arn: &str,
    tags: Option<&Tags>,
) -> ApiResult<()> {
    let Some(tags) = tags else {
        return Ok(());
    };
    let collection = stored(cloud);
    let mut all = collection.get_in(transaction, arn)?.unwrap_or_default();
    for tag in tags.iter() {
        let (key, value) = (&tag.key, tag.value.clone().unwrap_or_default());
        if key.is_empty() || key.chars().count() > 128 || value.chars().count() > 256 {
            return Err(ApiError::validation(format!(
                "1 validation error detected: the tag `{key}` has a key over 128 or a value over \
                 256 characters"
            )));
        }
        all.insert(key.clone(), value);
    }
    if system_tags::counted(all.keys()) > MAX {
        return Err(ApiError::validation(format!(
            "A resource cannot have more than {MAX} tags"
        )));
    }
    collection.put_in(transaction, arn, &all)
}

/// Removes the tags of a resource, in the transaction that deletes it: a new resource with its name
/// must not inherit them.
pub(super) fn remove_in(cloud: &Cloud, transaction: &Transaction<'_>, arn: &str) -> ApiResult<()> {
    stored(cloud).remove_in(transaction, arn)?;
    Ok(())
}

fn of(cloud: &Cloud, arn: &str) -> ApiResult<Vec<Value>> {
    Ok(stored(cloud)
        .get(arn)?
        .unwrap_or_default()
        .into_iter()
        .map(|(key, value)| json!({"Key": key, "Value": value}))
        .collect())
}

/// Fails unless the resource exists.
async fn check_resource(cloud: &Cloud, arn: &str) -> ApiResult<()> {
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
        .internally("sagemaker", operation, json!({ *member: key }))
        .await?;
    Ok(())
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AddTags {
    resource_arn: String,
    tags: Option<Tags>,
}

async fn add_tags(cloud: &Cloud, input: AddTags) -> ApiResult<Value> {
    let arn = &input.resource_arn;
    check_resource(cloud, arn).await?;
    cloud
        .store()
        .transaction(|transaction| put_in(cloud, transaction, arn, input.tags.as_ref()))?;
    Ok(json!({"Tags": of(cloud, arn)?}))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListTags {
    resource_arn: String,
}

async fn list_tags(cloud: &Cloud, input: ListTags) -> ApiResult<Value> {
    check_resource(cloud, &input.resource_arn).await?;
    // One page: a resource has at most 50 tags, and those of AWS.
    Ok(json!({"Tags": of(cloud, &input.resource_arn)?}))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DeleteTags {
    resource_arn: String,
    tag_keys: Vec<String>,
}

async fn delete_tags(cloud: &Cloud, input: DeleteTags) -> ApiResult<Value> {
    check_resource(cloud, &input.resource_arn).await?;
    stored(cloud).update(&input.resource_arn, |tags| {
        tags.retain(|key, _| !input.tag_keys.contains(key));
        Ok(())
    })?;
    Ok(json!({}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_cloud::TestCloud;

    /// Calls an operation without validating its request, which would refuse the tags.
    async fn call(cloud: &Cloud, operation: &str, input: Value) -> ApiResult<Value> {
        let found = super::super::SERVICE.operation(operation).unwrap();
        (found.run)(cloud, input).await
    }

    #[tokio::test]
    async fn a_resource_whose_tags_cannot_be_written_is_not_created() {
        let at = TestCloud::new();
        let cloud = at.cloud();
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
