//! `AWS::IAM::Role`, `AWS::IAM::Policy` and `AWS::IAM::ManagedPolicy`.

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::{
    Handler, Job, Made, Naming, Type, differs, document, is_gone, list, member, removed_tags,
};
use crate::api::ApiResult;
use crate::cloudformation::template::text_of;

/// The types of this file.
pub(super) const TYPES: &[Type] = &[
    Type {
        name: "AWS::IAM::Role",
        properties: &[
            "AssumeRolePolicyDocument",
            "Description",
            "ManagedPolicyArns",
            "MaxSessionDuration",
            "Path",
            "Policies",
            "RoleName",
            "Tags",
        ],
        naming: Some(Naming {
            property: "RoleName",
            longest: 64,
            lower: false,
        }),
        attributes: &["Arn", "RoleId"],
        handler: &Role,
    },
    Type {
        name: "AWS::IAM::Policy",
        properties: &["PolicyDocument", "PolicyName", "Roles"],
        naming: None,
        attributes: &["Id"],
        handler: &Policy,
    },
    Type {
        name: "AWS::IAM::ManagedPolicy",
        properties: &[
            "Description",
            "ManagedPolicyName",
            "Path",
            "PolicyDocument",
            "Roles",
        ],
        naming: Some(Naming {
            property: "ManagedPolicyName",
            longest: 128,
            lower: false,
        }),
        attributes: &["PolicyArn"],
        handler: &ManagedPolicy,
    },
];

struct Role;
struct Policy;
struct ManagedPolicy;

async fn iam(job: &Job<'_>, operation: &str, input: Value) -> ApiResult<Value> {
    job.call("iam", operation, input).await
}

/// The same, where what is to be removed may be gone.
async fn iam_unless_gone(job: &Job<'_>, operation: &str, input: Value) -> ApiResult<()> {
    match iam(job, operation, input).await {
        Err(error) if !is_gone(&error) => Err(error),
        _ => Ok(()),
    }
}

/// Members of `old` that are not in `new`.
fn removed(old: &[Value], new: &[Value]) -> Vec<Value> {
    old.iter()
        .filter(|value| !new.contains(value))
        .cloned()
        .collect()
}

fn inline_names(properties: &Map<String, Value>) -> Vec<Value> {
    list(properties, "Policies")
        .iter()
        .filter_map(|policy| policy.get("PolicyName").cloned())
        .collect()
}

/// Makes the role's policies those of the properties; `old` says which it had.
async fn role_policies(job: &Job<'_>, role: &str, old: &Map<String, Value>) -> ApiResult<()> {
    let (had, has) = (
        list(old, "ManagedPolicyArns"),
        job.list("ManagedPolicyArns"),
    );
    for arn in removed(&has, &had) {
        iam(
            job,
            "AttachRolePolicy",
            json!({"RoleName": role, "PolicyArn": arn}),
        )
        .await?;
    }
    for arn in removed(&had, &has) {
        iam_unless_gone(
            job,
            "DetachRolePolicy",
            json!({"RoleName": role, "PolicyArn": arn}),
        )
        .await?;
    }
    for policy in removed(&job.list("Policies"), &list(old, "Policies")) {
        let text = policy.get("PolicyDocument").map(document);
        let input = json!({
            "RoleName": role,
            "PolicyName": policy.get("PolicyName"),
            "PolicyDocument": text,
        });
        iam(job, "PutRolePolicy", input).await?;
    }
    for name in removed(&inline_names(old), &inline_names(job.properties)) {
        iam_unless_gone(
            job,
            "DeleteRolePolicy",
            json!({"RoleName": role, "PolicyName": name}),
        )
        .await?;
    }
    Ok(())
}

#[async_trait]
impl Handler for Role {
    async fn create(&self, job: &Job<'_>) -> ApiResult<Made> {
        let answer = iam(
            job,
            "CreateRole",
            json!({
                "RoleName": job.name,
                "Path": job.get("Path"),
                "AssumeRolePolicyDocument": job.get("AssumeRolePolicyDocument").map(document),
                "Description": job.get("Description"),
                "MaxSessionDuration": job.get("MaxSessionDuration").map(text_of),
                "Tags": job.get("Tags"),
            }),
        )
        .await?;
        Ok(Made {
            physical: job.name.to_owned(),
            attributes: Map::from_iter([
                ("Arn".to_owned(), member(&answer, "/Role/Arn")?.into()),
                ("RoleId".to_owned(), member(&answer, "/Role/RoleId")?.into()),
            ]),
        })
    }

    async fn stabilize(&self, job: &Job<'_>, physical: &str) -> ApiResult<()> {
        role_policies(job, physical, &Map::new()).await
    }

    async fn update(
        &self,
        job: &Job<'_>,
        physical: &str,
        old: &Map<String, Value>,
    ) -> ApiResult<Map<String, Value>> {
        let new = job.properties;
        if differs(old, new, &["AssumeRolePolicyDocument"]) {
            let text = job.get("AssumeRolePolicyDocument").map(document);
            let input = json!({"RoleName": physical, "PolicyDocument": text});
            iam(job, "UpdateAssumeRolePolicy", input).await?;
        }
        if differs(old, new, &["Description", "MaxSessionDuration"]) {
            let duration = job
                .get("MaxSessionDuration")
                .map_or("3600".to_owned(), text_of);
            let input = json!({
                "RoleName": physical,
                "Description": job.text("Description"),
                "MaxSessionDuration": duration,
            });
            iam(job, "UpdateRole", input).await?;
        }
        if differs(old, new, &["Tags"]) {
            let gone = removed_tags(old, new);
            if !gone.is_empty() {
                iam(
                    job,
                    "UntagRole",
                    json!({"RoleName": physical, "TagKeys": gone}),
                )
                .await?;
            }
            if !list(new, "Tags").is_empty() {
                iam(
                    job,
                    "TagRole",
                    json!({"RoleName": physical, "Tags": list(new, "Tags")}),
                )
                .await?;
            }
        }
        role_policies(job, physical, old).await?;
        Ok(Map::new())
    }

    async fn delete(&self, job: &Job<'_>, physical: &str) -> ApiResult<()> {
        for arn in job.list("ManagedPolicyArns") {
            iam_unless_gone(
                job,
                "DetachRolePolicy",
                json!({"RoleName": physical, "PolicyArn": arn}),
            )
            .await?;
        }
        for name in inline_names(job.properties) {
            iam_unless_gone(
                job,
                "DeleteRolePolicy",
                json!({"RoleName": physical, "PolicyName": name}),
            )
            .await?;
        }
        iam(job, "DeleteRole", json!({"RoleName": physical})).await?;
        Ok(())
    }
}

async fn put_inline(job: &Job<'_>) -> ApiResult<()> {
    for role in job.list("Roles") {
        let input = json!({
            "RoleName": role,
            "PolicyName": job.text("PolicyName"),
            "PolicyDocument": job.get("PolicyDocument").map(document),
        });
        iam(job, "PutRolePolicy", input).await?;
    }
    Ok(())
}

#[async_trait]
impl Handler for Policy {
    async fn create(&self, job: &Job<'_>) -> ApiResult<Made> {
        if job.list("Roles").is_empty() {
            return Err(crate::api::ApiError::new(
                "InvalidRequest",
                "At least one of [Groups,Roles,Users] must be non-empty.",
            ));
        }
        let physical = format!(
            "{}-{}",
            job.text("PolicyName"),
            uuid::Uuid::new_v4().simple()
        );
        Ok(Made {
            attributes: Map::from_iter([("Id".to_owned(), physical.as_str().into())]),
            physical,
        })
    }

    async fn stabilize(&self, job: &Job<'_>, _physical: &str) -> ApiResult<()> {
        put_inline(job).await
    }

    async fn update(
        &self,
        job: &Job<'_>,
        _physical: &str,
        old: &Map<String, Value>,
    ) -> ApiResult<Map<String, Value>> {
        put_inline(job).await?;
        let renamed = differs(old, job.properties, &["PolicyName"]);
        for role in list(old, "Roles") {
            if renamed || !job.list("Roles").contains(&role) {
                let input = json!({"RoleName": role, "PolicyName": old.get("PolicyName")});
                iam_unless_gone(job, "DeleteRolePolicy", input).await?;
            }
        }
        Ok(Map::new())
    }

    async fn delete(&self, job: &Job<'_>, _physical: &str) -> ApiResult<()> {
        for role in job.list("Roles") {
            let input = json!({"RoleName": role, "PolicyName": job.text("PolicyName")});
            iam_unless_gone(job, "DeleteRolePolicy", input).await?;
        }
        Ok(())
    }
}

/// The ids of the versions of a managed policy that are not its default, the oldest first.
async fn old_versions(job: &Job<'_>, arn: &str) -> ApiResult<Vec<Value>> {
    let answer = iam(job, "ListPolicyVersions", json!({"PolicyArn": arn})).await?;
    let mut found: Vec<Value> = answer["Versions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|version| text_of(&version["IsDefaultVersion"]) != "true")
        .map(|version| version["VersionId"].clone())
        .collect();
    found.sort_by_key(|id| id.as_str().and_then(|id| id[1..].parse::<u64>().ok()));
    Ok(found)
}

async fn attach(job: &Job<'_>, arn: &str, old: &[Value]) -> ApiResult<()> {
    for role in removed(&job.list("Roles"), old) {
        iam(
            job,
            "AttachRolePolicy",
            json!({"RoleName": role, "PolicyArn": arn}),
        )
        .await?;
    }
    for role in removed(old, &job.list("Roles")) {
        iam_unless_gone(
            job,
            "DetachRolePolicy",
            json!({"RoleName": role, "PolicyArn": arn}),
        )
        .await?;
    }
    Ok(())
}

#[async_trait]
impl Handler for ManagedPolicy {
    async fn create(&self, job: &Job<'_>) -> ApiResult<Made> {
        let answer = iam(
            job,
            "CreatePolicy",
            json!({
                "PolicyName": job.name,
                "Path": job.get("Path"),
                "Description": job.get("Description"),
                "PolicyDocument": job.get("PolicyDocument").map(document),
            }),
        )
        .await?;
        let arn = member(&answer, "/Policy/Arn")?;
        Ok(Made {
            attributes: Map::from_iter([("PolicyArn".to_owned(), arn.as_str().into())]),
            physical: arn,
        })
    }

    async fn stabilize(&self, job: &Job<'_>, physical: &str) -> ApiResult<()> {
        attach(job, physical, &[]).await
    }

    async fn update(
        &self,
        job: &Job<'_>,
        physical: &str,
        old: &Map<String, Value>,
    ) -> ApiResult<Map<String, Value>> {
        if differs(old, job.properties, &["PolicyDocument"]) {
            // A policy has at most five versions.
            let versions = old_versions(job, physical).await?;
            if let Some(oldest) = versions.first().filter(|_| versions.len() >= 4) {
                let input = json!({"PolicyArn": physical, "VersionId": oldest});
                iam(job, "DeletePolicyVersion", input).await?;
            }
            let input = json!({
                "PolicyArn": physical,
                "PolicyDocument": job.get("PolicyDocument").map(document),
                "SetAsDefault": "true",
            });
            iam(job, "CreatePolicyVersion", input).await?;
        }
        attach(job, physical, &list(old, "Roles")).await?;
        Ok(Map::new())
    }

    async fn delete(&self, job: &Job<'_>, physical: &str) -> ApiResult<()> {
        for role in job.list("Roles") {
            iam_unless_gone(
                job,
                "DetachRolePolicy",
                json!({"RoleName": role, "PolicyArn": physical}),
            )
            .await?;
        }
        for version in old_versions(job, physical).await? {
            let input = json!({"PolicyArn": physical, "VersionId": version});
            iam_unless_gone(job, "DeletePolicyVersion", input).await?;
        }
        iam(job, "DeletePolicy", json!({"PolicyArn": physical})).await?;
        Ok(())
    }
}
