//! The IAM types.

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::builder::{
    argument, at, attached, call, document, element, encoded, from, json, json_text, list, name,
    own, physical, read, same, search, set, tags_by, text,
};
use super::errors::existing;
use super::hooks::Hooks;
use super::live;
use super::table::{Argument, Source, Spelling, Type};
use super::target::{Created, Target};
use crate::api::{ApiError, ApiResult};
use crate::cloudformation::stacks;
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
        .live(&[
            read(
                call("GetRole", &[physical("RoleName")]),
                "/Role",
                &[
                    own("Description MaxSessionDuration Path RoleName Tags"),
                    encoded("AssumeRolePolicyDocument", "/AssumeRolePolicyDocument"),
                    at(
                        "PermissionsBoundary",
                        "/PermissionsBoundary/PermissionsBoundaryArn",
                    ),
                ],
            ),
            read(
                call("ListAttachedRolePolicies", &[physical("RoleName")]),
                "",
                &[at("ManagedPolicyArns", "/AttachedPolicies/*/PolicyArn")],
            ),
            read(
                call("ListRolePolicies", &[physical("RoleName")]),
                "",
                &[at("Policies", "/PolicyNames")],
            ),
        ])
        .delete("DeleteRole", &[physical("RoleName")])
        .hooks(&Role, ""),
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
        .live(&[read(
            call("GetPolicy", &[physical("PolicyArn")]),
            "/Policy",
            &[
                own("Description Path"),
                at("ManagedPolicyName", "/PolicyName"),
                at("PolicyDocument", "/DefaultVersionId"),
            ],
        )])
        .delete("DeletePolicy", &[physical("PolicyArn")])
        .hooks(&ManagedPolicy, ""),
];

const POLICY_NAME: Argument = argument("PolicyName", Source::Part("/PolicyName"));

struct Role;
struct Policy;
struct ManagedPolicy;

/// A document in a response of IAM, which encodes it; `None` if the resource has no such policy.
async fn document_of(
    target: &Target<'_>,
    operation: &str,
    input: Value,
    pointer: &str,
) -> ApiResult<Option<Value>> {
    let input = input.as_object().cloned().unwrap_or_default();
    let answer = existing(target.request(operation, input).await)?;
    Ok(answer.and_then(|answer| live::decoded(answer.pointer(pointer)?)))
}

/// The names of inline policies and the ARNs of managed ones that other resources of stacks attach to a role.
fn attached_by_resources(role: &Target<'_>) -> ApiResult<Vec<Value>> {
    let mut found = Vec::new();
    for resource in stacks::living(role.cloud)?
        .into_iter()
        .flat_map(|stack| stack.resources)
    {
        let roles = super::list(&resource.properties, "Roles");
        if roles.iter().any(|name| name == role.physical) {
            match resource.kind.as_str() {
                "AWS::IAM::Policy" => found.extend(resource.properties.get("PolicyName").cloned()),
                "AWS::IAM::ManagedPolicy" => found.extend(resource.physical.map(Value::from)),
                _ => {}
            }
        }
    }
    Ok(found)
}

#[async_trait]
impl Hooks for Role {
    async fn live(&self, target: &Target<'_>) -> ApiResult<Option<Map<String, Value>>> {
        let Some(mut live) = target.live().await? else {
            return Ok(None);
        };
        if let Some(Value::Array(policies)) = live.get_mut("Policies") {
            for policy in policies {
                let input = json!({"RoleName": target.physical, "PolicyName": policy});
                let document =
                    document_of(target, "GetRolePolicy", input, "/PolicyDocument").await?;
                *policy = json!({"PolicyName": policy, "PolicyDocument": document});
            }
        }
        // What other resources of stacks attach to the role is no drift.
        let others = attached_by_resources(target)?;
        for (name, key) in [("Policies", "/PolicyName"), ("ManagedPolicyArns", "")] {
            let wanted = super::list(target.properties, name);
            let is_drift = |one: &Value| {
                let id = one.pointer(key);
                let is_wanted = wanted.iter().any(|other| other.pointer(key) == id);
                is_wanted || !id.is_some_and(|id| others.contains(id))
            };
            if let Some(Value::Array(found)) = live.get_mut(name) {
                found.retain(is_drift);
            }
        }
        Ok(Some(live))
    }
}

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

    fn reads_live(&self) -> bool {
        true
    }

    async fn live(&self, target: &Target<'_>) -> ApiResult<Option<Map<String, Value>>> {
        let mut live = Map::new();
        let mut roles = Vec::new();
        for role in super::list(target.properties, "Roles") {
            let input = json!({"RoleName": role, "PolicyName": target.text("PolicyName")});
            let document = document_of(target, "GetRolePolicy", input, "/PolicyDocument").await?;
            let Some(document) = document else { continue };
            // A document that differs in one role is the one to show.
            if live
                .get("PolicyDocument")
                .is_none_or(|shown| Some(shown) == target.get("PolicyDocument"))
            {
                live.insert("PolicyDocument".to_owned(), document);
            }
            roles.push(role);
        }
        if roles.is_empty() {
            return Ok(None);
        }
        live.insert("PolicyName".to_owned(), target.text("PolicyName").into());
        live.insert("Roles".to_owned(), roles.into());
        Ok(Some(live))
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
    async fn live(&self, target: &Target<'_>) -> ApiResult<Option<Map<String, Value>>> {
        let Some(mut live) = target.live().await? else {
            return Ok(None);
        };
        // The table reads the version of the document.
        if let Some(version) = live.remove("PolicyDocument") {
            let input = json!({"PolicyArn": target.physical, "VersionId": version});
            let pointer = "/PolicyVersion/Document";
            let document = document_of(target, "GetPolicyVersion", input, pointer).await?;
            live.extend(document.map(|document| ("PolicyDocument".to_owned(), document)));
        }
        Ok(Some(live))
    }

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
