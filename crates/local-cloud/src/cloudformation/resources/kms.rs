//! `AWS::KMS::Key` and `AWS::KMS::Alias`.

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::{Handler, Job, Made, Type, differs, document, list, member, removed_tags};
use crate::api::ApiResult;

/// The types of this file.
pub(super) const TYPES: &[Type] = &[
    Type {
        name: "AWS::KMS::Key",
        properties: &[
            "Description",
            "EnableKeyRotation",
            "Enabled",
            "KeyPolicy",
            "KeySpec",
            "KeyUsage",
            "PendingWindowInDays",
            "Tags",
        ],
        naming: None,
        attributes: &["Arn", "KeyId"],
        handler: &Key,
    },
    Type {
        name: "AWS::KMS::Alias",
        properties: &["AliasName", "TargetKeyId"],
        naming: None,
        attributes: &[],
        handler: &Alias,
    },
];

struct Key;
struct Alias;

/// Tags with the names that KMS has for their members.
fn tags(properties: &Map<String, Value>) -> Value {
    list(properties, "Tags")
        .iter()
        .map(|tag| json!({"TagKey": tag.get("Key"), "TagValue": tag.get("Value")}))
        .collect()
}

async fn set(job: &Job<'_>, key: &str, operation: &str) -> ApiResult<()> {
    job.call("kms", operation, json!({"KeyId": key})).await?;
    Ok(())
}

fn is_true(job: &Job<'_>, name: &str, otherwise: bool) -> bool {
    job.get(name).map_or(otherwise, |value| value == true)
}

#[async_trait]
impl Handler for Key {
    async fn create(&self, job: &Job<'_>) -> ApiResult<Made> {
        let answer = job
            .call(
                "kms",
                "CreateKey",
                json!({
                    "Description": job.get("Description"),
                    "KeySpec": job.get("KeySpec"),
                    "KeyUsage": job.get("KeyUsage"),
                    "Policy": job.get("KeyPolicy").map(document),
                    "Tags": job.get("Tags").map(|_| tags(job.properties)),
                }),
            )
            .await?;
        let id = member(&answer, "/KeyMetadata/KeyId")?;
        Ok(Made {
            attributes: Map::from_iter([
                (
                    "Arn".to_owned(),
                    member(&answer, "/KeyMetadata/Arn")?.into(),
                ),
                ("KeyId".to_owned(), id.as_str().into()),
            ]),
            physical: id,
        })
    }

    async fn stabilize(&self, job: &Job<'_>, physical: &str) -> ApiResult<()> {
        if is_true(job, "EnableKeyRotation", false) {
            set(job, physical, "EnableKeyRotation").await?;
        }
        if !is_true(job, "Enabled", true) {
            set(job, physical, "DisableKey").await?;
        }
        Ok(())
    }

    async fn update(
        &self,
        job: &Job<'_>,
        physical: &str,
        old: &Map<String, Value>,
    ) -> ApiResult<Map<String, Value>> {
        let new = job.properties;
        if differs(old, new, &["Enabled"]) {
            let enabled = is_true(job, "Enabled", true);
            set(
                job,
                physical,
                if enabled { "EnableKey" } else { "DisableKey" },
            )
            .await?;
        }
        if differs(old, new, &["EnableKeyRotation"]) {
            let rotates = is_true(job, "EnableKeyRotation", false);
            let operation = if rotates {
                "EnableKeyRotation"
            } else {
                "DisableKeyRotation"
            };
            set(job, physical, operation).await?;
        }
        if differs(old, new, &["Description"]) {
            let input = json!({"KeyId": physical, "Description": job.text("Description")});
            job.call("kms", "UpdateKeyDescription", input).await?;
        }
        if let Some(policy) = job
            .get("KeyPolicy")
            .filter(|_| differs(old, new, &["KeyPolicy"]))
        {
            let input =
                json!({"KeyId": physical, "PolicyName": "default", "Policy": document(policy)});
            job.call("kms", "PutKeyPolicy", input).await?;
        }
        if differs(old, new, &["Tags"]) {
            let removed = removed_tags(old, new);
            if !removed.is_empty() {
                let input = json!({"KeyId": physical, "TagKeys": removed});
                job.call("kms", "UntagResource", input).await?;
            }
            if !list(new, "Tags").is_empty() {
                let input = json!({"KeyId": physical, "Tags": tags(new)});
                job.call("kms", "TagResource", input).await?;
            }
        }
        Ok(Map::new())
    }

    async fn delete(&self, job: &Job<'_>, physical: &str) -> ApiResult<()> {
        job.call(
            "kms",
            "ScheduleKeyDeletion",
            json!({"KeyId": physical, "PendingWindowInDays": job.get("PendingWindowInDays")}),
        )
        .await?;
        Ok(())
    }
}

#[async_trait]
impl Handler for Alias {
    async fn create(&self, job: &Job<'_>) -> ApiResult<Made> {
        let input =
            json!({"AliasName": job.text("AliasName"), "TargetKeyId": job.text("TargetKeyId")});
        job.call("kms", "CreateAlias", input).await?;
        Ok(Made {
            physical: job.text("AliasName"),
            attributes: Map::new(),
        })
    }

    async fn update(
        &self,
        job: &Job<'_>,
        physical: &str,
        _old: &Map<String, Value>,
    ) -> ApiResult<Map<String, Value>> {
        let input = json!({"AliasName": physical, "TargetKeyId": job.text("TargetKeyId")});
        job.call("kms", "UpdateAlias", input).await?;
        Ok(Map::new())
    }

    async fn delete(&self, job: &Job<'_>, physical: &str) -> ApiResult<()> {
        job.call("kms", "DeleteAlias", json!({"AliasName": physical}))
            .await?;
        Ok(())
    }
}
