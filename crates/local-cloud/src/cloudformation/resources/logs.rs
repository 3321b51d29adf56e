//! `AWS::Logs::LogGroup`.

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::{Handler, Job, Made, Naming, Type, differs, removed_tags, tag_map};
use crate::api::ApiResult;

/// The types of this file.
pub(super) const TYPES: &[Type] = &[Type {
    name: "AWS::Logs::LogGroup",
    properties: &[
        "KmsKeyId",
        "LogGroupClass",
        "LogGroupName",
        "RetentionInDays",
        "Tags",
    ],
    naming: Some(Naming {
        property: "LogGroupName",
        longest: 512,
        lower: false,
    }),
    attributes: &["Arn"],
    handler: &LogGroup,
}];

struct LogGroup;

impl LogGroup {
    async fn retain(job: &Job<'_>) -> ApiResult<()> {
        let (operation, days) = match job.get("RetentionInDays") {
            Some(days) => ("PutRetentionPolicy", days.clone()),
            None => ("DeleteRetentionPolicy", Value::Null),
        };
        job.call(
            "logs",
            operation,
            json!({"logGroupName": job.name, "retentionInDays": days}),
        )
        .await?;
        Ok(())
    }
}

#[async_trait]
impl Handler for LogGroup {
    async fn create(&self, job: &Job<'_>) -> ApiResult<Made> {
        let tags = tag_map(job.properties);
        job.call(
            "logs",
            "CreateLogGroup",
            json!({
                "logGroupName": job.name,
                "kmsKeyId": job.get("KmsKeyId"),
                "logGroupClass": job.get("LogGroupClass"),
                "tags": if tags.is_empty() { Value::Null } else { Value::Object(tags) },
            }),
        )
        .await?;
        let arn = job.cloud.arn("logs", format!("log-group:{}:*", job.name));
        Ok(Made {
            physical: job.name.to_owned(),
            attributes: Map::from_iter([("Arn".to_owned(), Value::from(arn))]),
        })
    }

    async fn stabilize(&self, job: &Job<'_>, _physical: &str) -> ApiResult<()> {
        if job.get("RetentionInDays").is_some() {
            Self::retain(job).await?;
        }
        Ok(())
    }

    async fn update(
        &self,
        job: &Job<'_>,
        _physical: &str,
        old: &Map<String, Value>,
    ) -> ApiResult<Map<String, Value>> {
        if differs(old, job.properties, &["RetentionInDays"]) {
            Self::retain(job).await?;
        }
        if differs(old, job.properties, &["Tags"]) {
            let arn = job.cloud.arn("logs", format!("log-group:{}", job.name));
            let removed = removed_tags(old, job.properties);
            if !removed.is_empty() {
                job.call(
                    "logs",
                    "UntagResource",
                    json!({"resourceArn": arn, "tagKeys": removed}),
                )
                .await?;
            }
            let tags = tag_map(job.properties);
            if !tags.is_empty() {
                job.call(
                    "logs",
                    "TagResource",
                    json!({"resourceArn": arn, "tags": tags}),
                )
                .await?;
            }
        }
        Ok(Map::new())
    }

    async fn delete(&self, job: &Job<'_>, physical: &str) -> ApiResult<()> {
        job.call("logs", "DeleteLogGroup", json!({"logGroupName": physical}))
            .await?;
        Ok(())
    }
}
