//! Roles, their trust policies, inline policies and tags.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::document::{Document, encoded, size};
use super::{
    AssumedRole, Empty, PageRequest, Tag, already_exists, check_name, check_path, delete_conflict,
    limit_exceeded, merge_tags, no_such_entity, require_boundary, unique_id,
};
use crate::Cloud;
use crate::api::form::{list as form_list, whole};
use crate::api::tags::Tags;
use crate::api::{ApiError, ApiResult};
use crate::clock;
use crate::cloud::ACCOUNT;
use crate::policy::Call;
use crate::store::Collection;

/// Maximum size of a role's inline policies together (IAM's quotas).
const LARGEST_INLINE: usize = 10_240;

/// The record of a role, under its name.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Role {
    pub(super) name: String,
    path: String,
    pub(super) id: String,
    pub(super) arn: String,
    created: String,
    pub(super) trust: String,
    description: Option<String>,
    max_session: i64,
    pub(super) boundary: Option<String>,
    pub(super) tags: Vec<Tag>,
    /// Inline policies by name.
    pub(super) inline: BTreeMap<String, String>,
    /// ARNs of the managed policies, in the order they were attached.
    pub(super) attached: Vec<String>,
}

impl Role {
    pub(super) fn assumed(self) -> AssumedRole {
        AssumedRole {
            arn: self.arn,
            id: self.id,
            name: self.name,
            max_session: self.max_session,
        }
    }

    /// True if this is the role with an id.
    pub(super) fn is(&self, id: &str) -> bool {
        self.id == id
    }

    /// The API's shape of a role. Lists of roles omit tags and boundary, as in IAM.
    fn shape(&self, whole: bool) -> Value {
        let mut shape = json!({
            "Path": self.path,
            "RoleName": self.name,
            "RoleId": self.id,
            "Arn": self.arn,
            "CreateDate": self.created,
            "AssumeRolePolicyDocument": encoded(&self.trust),
            "Description": self.description,
            "MaxSessionDuration": self.max_session,
        });
        if whole {
            shape["Tags"] = json!(self.tags);
            shape["RoleLastUsed"] = json!({});
            if let Some(arn) = &self.boundary {
                shape["PermissionsBoundary"] = json!({
                    "PermissionsBoundaryType": "PermissionsBoundaryPolicy",
                    "PermissionsBoundaryArn": arn,
                });
            }
        }
        shape
    }
}

/// The trust policy of the role that a call of STS is about.
pub(super) fn trust_policy(cloud: &Cloud, call: &Call) -> ApiResult<Option<String>> {
    if !call.action.starts_with("sts:") {
        return Ok(None);
    }
    let name = call.resource.rsplit('/').next().unwrap_or_default();
    let role = collection(cloud).get(name)?;
    Ok(role
        .filter(|role| role.arn == call.resource)
        .map(|role| role.trust))
}

/// Every role, under its name.
pub(super) fn collection(cloud: &Cloud) -> Collection<'_, Role> {
    cloud.store().collection("iam", "role")
}

/// Changes a role; `NoSuchEntity` when there is none.
pub(super) fn change<R>(
    cloud: &Cloud,
    name: &str,
    change: impl FnOnce(&mut Role) -> ApiResult<R>,
) -> ApiResult<R> {
    collection(cloud)
        .update(name, change)?
        .ok_or_else(|| missing(name))
}

/// A role; `NoSuchEntity` when there is none.
pub(super) fn require(cloud: &Cloud, name: &str) -> ApiResult<Role> {
    collection(cloud).get(name)?.ok_or_else(|| missing(name))
}

fn missing(name: &str) -> ApiError {
    no_such_entity(format!("The role with name {name} cannot be found."))
}

/// Creates a role that a service can assume and that may do these actions; returns its ARN. For tests.
#[cfg(test)]
pub(crate) fn trusting(cloud: &Cloud, name: &str, service: &str, actions: &[&str]) -> String {
    let policy = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": actions, "Resource": "*"}]});
    let trust = json!({"Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole",
                                      "Principal": {"Service": service}}]});
    let role = Role {
        name: name.to_owned(),
        path: "/".to_owned(),
        id: unique_id("AROA"),
        arn: format!("arn:aws:iam::{ACCOUNT}:role/{name}"),
        created: clock::iso(),
        trust: trust.to_string(),
        description: None,
        max_session: 3600,
        boundary: None,
        tags: Vec::new(),
        inline: BTreeMap::from([("test".to_owned(), policy.to_string())]),
        attached: Vec::new(),
    };
    let roles = collection(cloud);
    roles.put(name, &role).expect("a role in a new cloud");
    role.arn
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreateRole {
    role_name: String,
    path: Option<String>,
    assume_role_policy_document: Document,
    description: Option<String>,
    #[serde(default, deserialize_with = "whole")]
    max_session_duration: Option<i64>,
    permissions_boundary: Option<String>,
    #[serde(default)]
    tags: Tags,
}

pub(super) async fn create(cloud: &Cloud, input: CreateRole) -> ApiResult<Value> {
    let name = input.role_name;
    check_name("roleName", &name, 64)?;
    let path = check_path(input.path)?;
    if let Some(arn) = &input.permissions_boundary {
        require_boundary(cloud, arn)?;
    }
    let role = Role {
        arn: format!("arn:aws:iam::{ACCOUNT}:role{path}{name}"),
        id: unique_id("AROA"),
        created: clock::iso(),
        trust: input.assume_role_policy_document.trust()?,
        description: input.description,
        max_session: check_session(input.max_session_duration.unwrap_or(3600))?,
        boundary: input.permissions_boundary,
        tags: input.tags.into_iter().map(Tag::from).collect(),
        inline: BTreeMap::new(),
        attached: Vec::new(),
        name: name.clone(),
        path,
    };
    if !collection(cloud).insert(&name, &role)? {
        return Err(already_exists(format!(
            "Role with name {name} already exists."
        )));
    }
    Ok(json!({"Role": role.shape(true)}))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PutBoundary {
    role_name: String,
    permissions_boundary: String,
}

pub(super) async fn put_boundary(cloud: &Cloud, input: PutBoundary) -> ApiResult<Empty> {
    require_boundary(cloud, &input.permissions_boundary)?;
    change(cloud, &input.role_name, |role| {
        role.boundary = Some(input.permissions_boundary);
        Ok(Empty {})
    })
}

/// Unverified against AWS [boundary-absent]: that it succeeds for a role without a boundary.
pub(super) async fn delete_boundary(cloud: &Cloud, input: RoleName) -> ApiResult<Empty> {
    change(cloud, &input.role_name, |role| {
        role.boundary = None;
        Ok(Empty {})
    })
}

fn check_session(seconds: i64) -> ApiResult<i64> {
    if (3600..=43200).contains(&seconds) {
        Ok(seconds)
    } else {
        Err(ApiError::new(
            "ValidationError",
            format!("MaxSessionDuration {seconds} is not between 3600 and 43200"),
        ))
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RoleName {
    role_name: String,
    #[serde(flatten)]
    page: PageRequest,
}

pub(super) async fn get(cloud: &Cloud, input: RoleName) -> ApiResult<Value> {
    Ok(json!({"Role": require(cloud, &input.role_name)?.shape(true)}))
}

pub(super) async fn delete(cloud: &Cloud, input: RoleName) -> ApiResult<Empty> {
    let role = require(cloud, &input.role_name)?;
    if !role.attached.is_empty() {
        return Err(delete_conflict(
            "Cannot delete entity, must detach all policies first.",
        ));
    }
    if !role.inline.is_empty() {
        return Err(delete_conflict(
            "Cannot delete entity, must delete policies first.",
        ));
    }
    collection(cloud).remove(&role.name)?;
    Ok(Empty {})
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListRoles {
    #[serde(default)]
    path_prefix: String,
    #[serde(flatten)]
    page: PageRequest,
}

pub(super) async fn list(cloud: &Cloud, input: ListRoles) -> ApiResult<Value> {
    let roles = collection(cloud)
        .list("")?
        .into_iter()
        .filter(|(_, role)| role.path.starts_with(&input.path_prefix))
        .map(|(_, role)| role.shape(false))
        .collect();
    input.page.cut("Roles", roles)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UpdateRole {
    role_name: String,
    description: Option<String>,
    #[serde(default, deserialize_with = "whole")]
    max_session_duration: Option<i64>,
}

pub(super) async fn update(cloud: &Cloud, input: UpdateRole) -> ApiResult<Empty> {
    change(cloud, &input.role_name, |role| {
        if let Some(seconds) = input.max_session_duration {
            role.max_session = check_session(seconds)?;
        }
        if let Some(description) = input.description {
            role.description = Some(description);
        }
        Ok(Empty {})
    })
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UpdateTrust {
    role_name: String,
    policy_document: Document,
}

pub(super) async fn update_trust(cloud: &Cloud, input: UpdateTrust) -> ApiResult<Empty> {
    let trust = input.policy_document.trust()?;
    change(cloud, &input.role_name, |role| {
        role.trust = trust;
        Ok(Empty {})
    })
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PutPolicy {
    role_name: String,
    policy_name: String,
    policy_document: Document,
}

pub(super) async fn put_policy(cloud: &Cloud, input: PutPolicy) -> ApiResult<Empty> {
    check_name("policyName", &input.policy_name, 128)?;
    let document = input.policy_document.identity()?;
    change(cloud, &input.role_name, |role| {
        role.inline.insert(input.policy_name, document);
        if role.inline.values().map(|text| size(text)).sum::<usize>() > LARGEST_INLINE {
            return Err(limit_exceeded(format!(
                "Maximum policy size of {LARGEST_INLINE} bytes exceeded for role {}",
                role.name
            )));
        }
        Ok(Empty {})
    })
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PolicyOfRole {
    role_name: String,
    policy_name: String,
}

fn missing_policy(name: &str) -> ApiError {
    no_such_entity(format!("The role policy with name {name} cannot be found."))
}

pub(super) async fn get_policy(cloud: &Cloud, input: PolicyOfRole) -> ApiResult<Value> {
    let role = require(cloud, &input.role_name)?;
    let document = role
        .inline
        .get(&input.policy_name)
        .ok_or_else(|| missing_policy(&input.policy_name))?;
    Ok(json!({
        "RoleName": role.name,
        "PolicyName": input.policy_name,
        "PolicyDocument": encoded(document),
    }))
}

pub(super) async fn delete_policy(cloud: &Cloud, input: PolicyOfRole) -> ApiResult<Empty> {
    change(cloud, &input.role_name, |role| {
        role.inline
            .remove(&input.policy_name)
            .map(|_| Empty {})
            .ok_or_else(|| missing_policy(&input.policy_name))
    })
}

pub(super) async fn list_policies(cloud: &Cloud, input: RoleName) -> ApiResult<Value> {
    let role = require(cloud, &input.role_name)?;
    let names = role.inline.into_keys().map(Value::String).collect();
    input.page.cut("PolicyNames", names)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct TagRole {
    role_name: String,
    tags: Tags,
}

pub(super) async fn tag(cloud: &Cloud, input: TagRole) -> ApiResult<Empty> {
    change(cloud, &input.role_name, |role| {
        merge_tags(&mut role.tags, input.tags);
        Ok(Empty {})
    })
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UntagRole {
    role_name: String,
    #[serde(deserialize_with = "form_list")]
    tag_keys: Vec<String>,
}

pub(super) async fn untag(cloud: &Cloud, input: UntagRole) -> ApiResult<Empty> {
    change(cloud, &input.role_name, |role| {
        role.tags.retain(|tag| !input.tag_keys.contains(&tag.key));
        Ok(Empty {})
    })
}

pub(super) async fn list_tags(cloud: &Cloud, input: RoleName) -> ApiResult<Value> {
    let role = require(cloud, &input.role_name)?;
    let tags = role.tags.iter().map(|tag| json!(tag)).collect();
    input.page.cut("Tags", tags)
}
