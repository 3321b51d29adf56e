//! `AWS::ECR::Repository`.

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::{Handler, Job, Made, Naming, Type, differs, document, list, member, removed_tags};
use crate::api::ApiResult;

/// The types of this file.
pub(super) const TYPES: &[Type] = &[Type {
    name: "AWS::ECR::Repository",
    properties: &[
        "EmptyOnDelete",
        "EncryptionConfiguration",
        "ImageScanningConfiguration",
        "ImageTagMutability",
        "ImageTagMutabilityExclusionFilters",
        "LifecyclePolicy",
        "RepositoryName",
        "RepositoryPolicyText",
        "Tags",
    ],
    naming: Some(Naming {
        property: "RepositoryName",
        longest: 256,
        lower: true,
    }),
    attributes: &["Arn", "RepositoryUri"],
    handler: &Repository,
}];

struct Repository;

/// Sets or removes the life-cycle policy and the repository policy, where they differ from `old`.
async fn policies(job: &Job<'_>, physical: &str, old: &Map<String, Value>) -> ApiResult<()> {
    if differs(old, job.properties, &["LifecyclePolicy"]) {
        let text = job
            .get("LifecyclePolicy")
            .and_then(|policy| policy.get("LifecyclePolicyText"));
        let (operation, text) = match text {
            Some(text) => ("PutLifecyclePolicy", Some(document(text))),
            None => ("DeleteLifecyclePolicy", None),
        };
        let input = json!({"repositoryName": physical, "lifecyclePolicyText": text});
        job.call("ecr", operation, input).await?;
    }
    if differs(old, job.properties, &["RepositoryPolicyText"]) {
        let (operation, text) = match job.get("RepositoryPolicyText") {
            Some(text) => ("SetRepositoryPolicy", Some(document(text))),
            None => ("DeleteRepositoryPolicy", None),
        };
        let input = json!({"repositoryName": physical, "policyText": text});
        job.call("ecr", operation, input).await?;
    }
    Ok(())
}

/// `ImageTagMutabilityExclusionFilterType` and `…Value` are `filterType` and `filter` in the API.
fn exclusion_filters(job: &Job<'_>) -> Option<Vec<Value>> {
    let filters = job.get("ImageTagMutabilityExclusionFilters")?.as_array()?;
    let one = |filter: &Value| {
        json!({
            "filterType": filter.get("ImageTagMutabilityExclusionFilterType"),
            "filter": filter.get("ImageTagMutabilityExclusionFilterValue"),
        })
    };
    Some(filters.iter().map(one).collect())
}

/// `{"ScanOnPush": true}` → `{"scanOnPush": true}`
fn lower_first(value: &Value) -> Value {
    value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| {
            let mut name = name.clone();
            if let Some(first) = name.get_mut(..1) {
                first.make_ascii_lowercase();
            }
            (name, value.clone())
        })
        .collect()
}

#[async_trait]
impl Handler for Repository {
    async fn create(&self, job: &Job<'_>) -> ApiResult<Made> {
        let answer = job
            .call(
                "ecr",
                "CreateRepository",
                json!({
                    "repositoryName": job.name,
                    "imageTagMutability": job.get("ImageTagMutability"),
                    "imageTagMutabilityExclusionFilters": exclusion_filters(job),
                    "imageScanningConfiguration": job.get("ImageScanningConfiguration").map(lower_first),
                    "encryptionConfiguration": job.get("EncryptionConfiguration").map(lower_first),
                    "tags": job.get("Tags"),
                }),
            )
            .await?;
        Ok(Made {
            physical: job.name.to_owned(),
            attributes: Map::from_iter([
                (
                    "Arn".to_owned(),
                    member(&answer, "/repository/repositoryArn")?.into(),
                ),
                (
                    "RepositoryUri".to_owned(),
                    member(&answer, "/repository/repositoryUri")?.into(),
                ),
            ]),
        })
    }

    async fn stabilize(&self, job: &Job<'_>, physical: &str) -> ApiResult<()> {
        policies(job, physical, &Map::new()).await
    }

    async fn update(
        &self,
        job: &Job<'_>,
        physical: &str,
        old: &Map<String, Value>,
    ) -> ApiResult<Map<String, Value>> {
        const MUTABILITY: &[&str] = &["ImageTagMutability", "ImageTagMutabilityExclusionFilters"];
        let new = job.properties;
        if differs(old, new, MUTABILITY) {
            let mutability = job
                .get("ImageTagMutability")
                .cloned()
                .unwrap_or("MUTABLE".into());
            let input = json!({
                "repositoryName": physical,
                "imageTagMutability": mutability,
                "imageTagMutabilityExclusionFilters": exclusion_filters(job),
            });
            job.call("ecr", "PutImageTagMutability", input).await?;
        }
        if differs(old, new, &["ImageScanningConfiguration"]) {
            let scanning = job
                .get("ImageScanningConfiguration")
                .map_or(json!({"scanOnPush": false}), lower_first);
            let input = json!({"repositoryName": physical, "imageScanningConfiguration": scanning});
            job.call("ecr", "PutImageScanningConfiguration", input)
                .await?;
        }
        policies(job, physical, old).await?;
        if differs(old, new, &["Tags"]) {
            let arn = job.cloud.arn("ecr", format!("repository/{physical}"));
            let removed = removed_tags(old, new);
            if !removed.is_empty() {
                let input = json!({"resourceArn": arn, "tagKeys": removed});
                job.call("ecr", "UntagResource", input).await?;
            }
            if !list(new, "Tags").is_empty() {
                let input = json!({"resourceArn": arn, "tags": list(new, "Tags")});
                job.call("ecr", "TagResource", input).await?;
            }
        }
        Ok(Map::new())
    }

    async fn delete(&self, job: &Job<'_>, physical: &str) -> ApiResult<()> {
        let force = job.get("EmptyOnDelete").is_some_and(|value| value == true);
        job.call(
            "ecr",
            "DeleteRepository",
            json!({"repositoryName": physical, "force": force}),
        )
        .await?;
        Ok(())
    }
}
