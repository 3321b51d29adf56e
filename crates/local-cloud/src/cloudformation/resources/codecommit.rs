//! `AWS::CodeCommit::Repository`.

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::{Handler, Job, Made, Type, differs, member, removed_tags, tag_map};
use crate::api::ApiResult;

/// The types of this file.
pub(super) const TYPES: &[Type] = &[Type {
    name: "AWS::CodeCommit::Repository",
    properties: &["RepositoryDescription", "RepositoryName", "Tags"],
    naming: None,
    attributes: &["Arn", "CloneUrlHttp", "Name"],
    handler: &Repository,
}];

struct Repository;

impl Repository {
    /// The name of the repository with this id, which is what the API's other operations want.
    async fn name(job: &Job<'_>, id: &str) -> ApiResult<Option<String>> {
        let answer = job
            .call("codecommit", "ListRepositories", json!({}))
            .await?;
        Ok(answer["repositories"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|repository| repository["repositoryId"] == id)
            .and_then(|repository| repository["repositoryName"].as_str())
            .map(str::to_owned))
    }
}

fn attributes(answer: &Value) -> ApiResult<Map<String, Value>> {
    [
        ("Arn", "Arn"),
        ("CloneUrlHttp", "cloneUrlHttp"),
        ("Name", "repositoryName"),
    ]
    .into_iter()
    .map(|(ours, theirs)| {
        Ok((
            ours.to_owned(),
            Value::String(member(answer, &format!("/repositoryMetadata/{theirs}"))?),
        ))
    })
    .collect()
}

#[async_trait]
impl Handler for Repository {
    async fn create(&self, job: &Job<'_>) -> ApiResult<Made> {
        let tags = tag_map(job.properties);
        let answer = job
            .call(
                "codecommit",
                "CreateRepository",
                json!({
                    "repositoryName": job.text("RepositoryName"),
                    "repositoryDescription": job.get("RepositoryDescription"),
                    "tags": if tags.is_empty() { Value::Null } else { Value::Object(tags) },
                }),
            )
            .await?;
        Ok(Made {
            physical: member(&answer, "/repositoryMetadata/repositoryId")?,
            attributes: attributes(&answer)?,
        })
    }

    async fn update(
        &self,
        job: &Job<'_>,
        _physical: &str,
        old: &Map<String, Value>,
    ) -> ApiResult<Map<String, Value>> {
        let new = job.properties;
        let name = job.text("RepositoryName");
        if differs(old, new, &["RepositoryName"]) {
            let input = json!({"oldName": old.get("RepositoryName"), "newName": name});
            job.call("codecommit", "UpdateRepositoryName", input)
                .await?;
        }
        if differs(old, new, &["RepositoryDescription"]) {
            let text = job.text("RepositoryDescription");
            let input = json!({"repositoryName": name, "repositoryDescription": text});
            job.call("codecommit", "UpdateRepositoryDescription", input)
                .await?;
        }
        if differs(old, new, &["Tags"]) {
            let arn = job.cloud.arn("codecommit", &name);
            let removed = removed_tags(old, new);
            if !removed.is_empty() {
                let input = json!({"resourceArn": arn, "tagKeys": removed});
                job.call("codecommit", "UntagResource", input).await?;
            }
            let tags = tag_map(new);
            if !tags.is_empty() {
                let input = json!({"resourceArn": arn, "tags": tags});
                job.call("codecommit", "TagResource", input).await?;
            }
        }
        let input = json!({"repositoryName": name});
        attributes(&job.call("codecommit", "GetRepository", input).await?)
    }

    async fn delete(&self, job: &Job<'_>, physical: &str) -> ApiResult<()> {
        // By id and not by the template's name: the repository may have been renamed, and another
        // one may have its name now.
        if let Some(name) = Self::name(job, physical).await? {
            job.call(
                "codecommit",
                "DeleteRepository",
                json!({"repositoryName": name}),
            )
            .await?;
        }
        Ok(())
    }
}
