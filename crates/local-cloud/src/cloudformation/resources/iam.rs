//! The IAM types.

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::builder::{
    argument, attached, call, document, element, from, json, json_text, list, name, physical, same,
    search, set, tags_by, text,
};
use super::hooks::Hooks;
use super::table::{Argument, Source, Spelling, Type};
use super::target::{Created, Target};
use crate::api::{ApiError, ApiResult};
use crate::cloudformation::template::text_of;

/// The types of this file.
pub(super) const TYPES: &[Type] = &[
    Type::new("AWS::IAM::Role", "iam")
        .named("RoleName", 64)
        .create(
            "CreateRole",
            &[
                name("RoleName"),
                document("AssumeRolePolicyDocument", "AssumeRolePolicyDocument"),
                same("Description MaxSessionDuration Path PermissionsBoundary"),
            ],
        )
        .attributes(&[
            ("Arn", Source::Part("/Role/Arn")),
            ("RoleId", Source::Part("/Role/RoleId")),
        ])
        .settings(&[
            set(
                "UpdateAssumeRolePolicy",
                &[
                    physical("RoleName"),
                    document("PolicyDocument", "AssumeRolePolicyDocument"),
                ],
            )
            .on_update(),
            set(
                "UpdateRole",
                &[
                    physical("RoleName"),
                    from("Description", "Description").or(r#""""#),
                    from("MaxSessionDuration", "MaxSessionDuration").or("3600"),
                ],
            )
            .on_update(),
            set(
                "PutRolePermissionsBoundary",
                &[physical("RoleName"), same("PermissionsBoundary")],
            )
            .clear("DeleteRolePermissionsBoundary", &[physical("RoleName")])
            .on_update(),
        ])
        .tags(tags_by(
            ["TagRole", "UntagRole"],
            Spelling::Pairs,
            physical("RoleName"),
        ))
        .lists(&[
            attached(
                "ManagedPolicyArns",
                ["AttachRolePolicy", "DetachRolePolicy"],
                &[physical("RoleName"), element("PolicyArn")],
            ),
            list(
                "Policies",
                call(
                    "PutRolePolicy",
                    &[
                        physical("RoleName"),
                        POLICY_NAME,
                        argument("PolicyDocument", Source::Part("/PolicyDocument")).form(json_text),
                    ],
                ),
                call("DeleteRolePolicy", &[physical("RoleName"), POLICY_NAME]),
            ),
        ])
        .found_by("GetRole", &[name("RoleName")], "/Role/RoleName")
        .delete("DeleteRole", &[physical("RoleName")]),
    Type::new("AWS::IAM::Policy", "iam")
        .id(Source::Text("{PolicyName}-{token}"))
        .attributes(&[("Id", Source::Physical)])
        .lists(&[list(
            "Roles",
            call(
                "PutRolePolicy",
                &[
                    element("RoleName"),
                    same("PolicyName"),
                    document("PolicyDocument", "PolicyDocument"),
                ],
            ),
            call(
                "DeleteRolePolicy",
                &[element("RoleName"), same("PolicyName")],
            ),
        )])
        .creates_nothing("its calls on roles follow once its id is recorded")
        .hooks(&Policy, ""),
    Type::new("AWS::IAM::ManagedPolicy", "iam")
        .named("ManagedPolicyName", 128)
        .create(
            "CreatePolicy",
            &[
                name("PolicyName"),
                document("PolicyDocument", "PolicyDocument"),
                same("Description Path"),
            ],
        )
        .id(Source::Part("/Policy/Arn"))
        .attributes(&[("PolicyArn", Source::Physical)])
        .settings(&[set(
            "CreatePolicyVersion",
            &[
                physical("PolicyArn"),
                document("PolicyDocument", "PolicyDocument"),
                json("SetAsDefault", "true"),
            ],
        )
        .on_update()])
        .lists(&[attached(
            "Roles",
            ["AttachRolePolicy", "DetachRolePolicy"],
            &[element("RoleName"), physical("PolicyArn")],
        )])
        .find(
            search(
                call(
                    "ListPolicies",
                    &[text("Scope", "Local"), json("MaxItems", "1000")],
                ),
                "/Policies/*",
                "/Arn",
            )
            .equal(&[("/PolicyName", Source::Name)]),
        )
        .delete("DeletePolicy", &[physical("PolicyArn")])
        .hooks(&ManagedPolicy, ""),
];

const POLICY_NAME: Argument = argument("PolicyName", Source::Part("/PolicyName"));

struct Policy;
struct ManagedPolicy;

#[async_trait]
impl Hooks for Policy {
    async fn create(&self, target: &Target<'_>) -> ApiResult<Created> {
        if super::list(target.properties, "Roles").is_empty() {
            return Err(ApiError::new(
                "InvalidRequest",
                "At least one of [Groups,Roles,Users] must be non-empty.",
            ));
        }
        target.create().await
    }
}

impl ManagedPolicy {
    /// The ids of the versions that are not the default, the oldest first.
    async fn old_versions(target: &Target<'_>) -> ApiResult<Vec<Value>> {
        let input = Map::from_iter([("PolicyArn".to_owned(), target.physical.into())]);
        let answer = target.request("ListPolicyVersions", input).await?;
        let versions = answer["Versions"].as_array().into_iter().flatten();
        let mut found: Vec<Value> = versions
            .filter(|version| text_of(&version["IsDefaultVersion"]) != "true")
            .map(|version| version["VersionId"].clone())
            .collect();
        found.sort_by_key(|id| id.as_str().and_then(|id| id[1..].parse::<u64>().ok()));
        Ok(found)
    }

    async fn delete_version(target: &Target<'_>, version: &Value) -> ApiResult<()> {
        let input = json!({"PolicyArn": target.physical, "VersionId": version});
        let input = input.as_object().cloned().unwrap_or_default();
        target.remove("DeletePolicyVersion", input).await
    }
}

#[async_trait]
impl Hooks for ManagedPolicy {
    async fn update(&self, target: &Target<'_>) -> ApiResult<Map<String, Value>> {
        if target.changes(["PolicyDocument"].into_iter()) {
            // A policy has at most five versions.
            let versions = Self::old_versions(target).await?;
            if let Some(oldest) = versions.first().filter(|_| versions.len() >= 4) {
                Self::delete_version(target, oldest).await?;
            }
        }
        target.update().await
    }

    async fn delete(&self, target: &Target<'_>) -> ApiResult<()> {
        for version in Self::old_versions(target).await? {
            Self::delete_version(target, &version).await?;
        }
        target.delete().await
    }
}
