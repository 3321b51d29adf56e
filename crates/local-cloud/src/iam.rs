//! IAM: roles and policies, by which `authorization` evaluates the requests of sessions.
//!
//! Requests are checked as by AWS: documents that do not parse, duplicate names, roles that a service
//! may not assume, deletions that would break a dependency.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Cloud;
use super::api::form::whole;
use super::api::page::Page;
use super::api::tags::Tags;
use super::api::{self, ApiError, ApiResult};
use super::cloud::caller::RoleSession;
use super::cloud::service::{RESERVED_TAG, Service, operations};

mod document;
mod policies;
mod roles;
mod simulation;

operations! {
    "AttachRolePolicy" => policies::attach,
    "CreatePolicy" => policies::create,
    "CreatePolicyVersion" => policies::create_version,
    "CreateRole" => roles::create,
    "DeletePolicy" => policies::delete,
    "DeletePolicyVersion" => policies::delete_version,
    "DeleteRole" => roles::delete,
    "DeleteRolePermissionsBoundary" => roles::delete_boundary,
    "DeleteRolePolicy" => roles::delete_policy,
    "DetachRolePolicy" => policies::detach,
    "GetPolicy" => policies::get,
    "GetPolicyVersion" => policies::get_version,
    "GetRole" => roles::get,
    "GetRolePolicy" => roles::get_policy,
    "ListAttachedRolePolicies" => policies::list_attached,
    "ListPolicies" => policies::list,
    "ListPolicyVersions" => policies::list_versions,
    "ListRolePolicies" => roles::list_policies,
    "ListRoleTags" => roles::list_tags,
    "ListRoles" => roles::list,
    "PutRolePermissionsBoundary" => roles::put_boundary,
    "PutRolePolicy" => roles::put_policy,
    "SimulateCustomPolicy" => simulation::custom,
    "SimulatePrincipalPolicy" => simulation::principal,
    "TagRole" => roles::tag,
    "UntagRole" => roles::untag,
    "UpdateAssumeRolePolicy" => roles::update_trust,
    "UpdateRole" => roles::update,
}

/// The service.
pub(crate) const SERVICE: Service = Service {
    resource_policy: Some(roles::trust_policy),
    reserved_tag: ("InvalidInput", RESERVED_TAG),
    ..Service::query(
        "iam",
        "IAM",
        "https://iam.amazonaws.com/doc/2010-05-08/",
        &[OPERATIONS],
    )
};

/// Checks that the role with this ARN exists and that its trust policy lets `principal` (such as
/// `sagemaker.amazonaws.com`) assume it; else `ValidationException`, as SageMaker words it.
pub(crate) fn require_role(cloud: &Cloud, arn: &str, principal: &str) -> ApiResult<()> {
    usable(cloud, arn, principal).map(drop)
}

/// The same; returns the role.
pub(crate) fn usable(cloud: &Cloud, arn: &str, principal: &str) -> ApiResult<AssumedRole> {
    let refused = || {
        ApiError::validation(format!(
            "Could not assume role {arn}. Please ensure that the role exists and allows principal \
             '{principal}' to assume the role."
        ))
    };
    let prefix = format!("arn:aws:iam::{}:role/", super::cloud::ACCOUNT);
    let name = arn
        .strip_prefix(&prefix)
        .and_then(|path| path.rsplit('/').next())
        .ok_or_else(refused)?;
    let role = roles::collection(cloud).get(name)?.ok_or_else(refused)?;
    if role.arn == arn && document::trusts(&role.trust, principal) {
        Ok(role.assumed())
    } else {
        Err(refused())
    }
}

/// The role with this name or ARN.
pub(crate) fn named(cloud: &Cloud, role: &str) -> ApiResult<AssumedRole> {
    let name = role.rsplit('/').next().unwrap_or_default();
    roles::require(cloud, name).map(roles::Role::assumed)
}

/// The policies that decide what a session of a role may do.
#[derive(Debug, Default)]
pub(crate) struct RolePolicies {
    /// The documents of the inline policies.
    pub(crate) inline: Vec<String>,
    /// The attached policies: ARN and document.
    pub(crate) managed: Vec<(String, String)>,
    /// The permissions boundary: ARN and document.
    pub(crate) boundary: Option<(String, String)>,
    /// The tags of the role.
    pub(crate) tags: Vec<(String, String)>,
    /// The ARNs of attached policies of AWS whose documents the local cloud does not have.
    pub(crate) unknown: Vec<String>,
}

/// The current policies of a session's role. If the role was deleted, the session is invalid, even if there is
/// another role of its name.
pub(crate) fn policies_of(cloud: &Cloud, session: &RoleSession) -> ApiResult<RolePolicies> {
    let name = session.role.rsplit('/').next().unwrap_or_default();
    let role = roles::collection(cloud).get(name)?;
    let Some(role) = role.filter(|role| role.is(&session.role_id)) else {
        let message = "The security token included in the request is invalid.";
        return Err(ApiError::denied("InvalidClientTokenId", message));
    };
    let mut found = RolePolicies {
        inline: role.inline.into_values().collect(),
        tags: role
            .tags
            .into_iter()
            .map(|tag| (tag.key, tag.value))
            .collect(),
        ..RolePolicies::default()
    };
    for arn in role.attached {
        match policies::document(cloud, &arn)? {
            Some(document) => found.managed.push((arn, document)),
            None => found.unknown.push(arn),
        }
    }
    if let Some(arn) = role.boundary {
        // Without its document, a boundary allows nothing.
        let document = policies::document(cloud, &arn)?;
        if document.is_none() {
            found.unknown.push(arn.clone());
        }
        found.boundary = Some((arn, document.unwrap_or_else(|| NOTHING.to_owned())));
    }
    Ok(found)
}

/// A policy that allows nothing.
const NOTHING: &str = r#"{"Version": "2012-10-17", "Statement": []}"#;

/// The document of a managed policy; `None` for one of AWS's own that the local cloud does not have.
pub(crate) fn policy_text(cloud: &Cloud, arn: &str) -> ApiResult<Option<String>> {
    policies::document(cloud, arn)
}

/// Checks the text of a session policy, as `AssumeRole` does.
pub(crate) fn session_policy(text: &str) -> ApiResult<String> {
    document::Document::from(text.to_owned()).identity()
}

/// Fails unless a managed policy with this ARN exists.
pub(crate) fn require_policy(cloud: &Cloud, arn: &str) -> ApiResult<()> {
    match policies::document(cloud, arn)? {
        Some(_) => Ok(()),
        None => policies::require(cloud, arn).map(drop),
    }
}

pub(crate) use document::Assumption;
use policies::require_boundary;
#[cfg(test)]
pub(crate) use roles::trusting;

/// A role that the caller may assume.
#[derive(Debug)]
pub(crate) struct AssumedRole {
    pub(crate) arn: String,
    pub(crate) id: String,
    pub(crate) name: String,
    /// The longest session, in seconds.
    pub(crate) max_session: i64,
}

/// The role with this ARN, if it exists and its trust policy allows the request.
pub(crate) fn assumable(
    cloud: &Cloud,
    arn: &str,
    wanted: &Assumption,
) -> ApiResult<Option<AssumedRole>> {
    let name = arn.rsplit('/').next().unwrap_or_default();
    let role = roles::collection(cloud).get(name)?;
    Ok(role
        .filter(|role| role.arn == arn && wanted.is_allowed_by(&role.trust))
        .map(roles::Role::assumed))
}

/// A key and a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tag {
    key: String,
    #[serde(default)]
    value: String,
}

/// The response of an operation that returns no data.
#[derive(Debug, Serialize)]
struct Empty {}

impl From<api::tags::Tag> for Tag {
    fn from(tag: api::tags::Tag) -> Self {
        Self {
            key: tag.key,
            value: tag.value.unwrap_or_default(),
        }
    }
}

/// `MaxItems` and `Marker`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct PageRequest {
    #[serde(deserialize_with = "whole")]
    max_items: Option<i64>,
    marker: Option<String>,
}

impl PageRequest {
    /// `{NAME: […], "IsTruncated": …, "Marker": …}`
    fn cut(&self, name: &str, items: Vec<Value>) -> ApiResult<Value> {
        let size = match self.max_items {
            None => 100,
            Some(limit @ 1..=1000) => usize::try_from(limit).map_err(ApiError::internal)?,
            Some(limit) => {
                return Err(ApiError::new(
                    "ValidationError",
                    format!("MaxItems {limit} is not between 1 and 1000"),
                ));
            }
        };
        let marker = self.marker.as_deref().filter(|marker| !marker.is_empty());
        let page = Page::new(marker, size, |marker| {
            ApiError::new("ValidationError", format!("Invalid Marker: {marker}"))
        })?;
        let (part, next) = page.cut(items);
        let mut answer = json!({ name: part, "IsTruncated": next.is_some() });
        if let Some(next) = next {
            answer["Marker"] = json!(next);
        }
        Ok(answer)
    }
}

fn no_such_entity(message: impl Into<String>) -> ApiError {
    ApiError::not_found("NoSuchEntity", message).status(404)
}

fn already_exists(message: impl Into<String>) -> ApiError {
    ApiError::new("EntityAlreadyExists", message).status(409)
}

fn delete_conflict(message: impl Into<String>) -> ApiError {
    ApiError::new("DeleteConflict", message).status(409)
}

fn limit_exceeded(message: impl Into<String>) -> ApiError {
    ApiError::new("LimitExceeded", message).status(409)
}

/// Checks a name of at most `longest` characters. `member` is the API's name for it.
fn check_name(member: &str, value: &str, longest: usize) -> ApiResult<()> {
    let sound = (1..=longest).contains(&value.len())
        && value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+=,.@_-".contains(&b));
    if sound {
        return Ok(());
    }
    Err(ApiError::new(
        "ValidationError",
        format!(
            "The specified value for {member} is invalid. It must contain only alphanumeric \
             characters and/or the following: +=,.@_-, and be 1 to {longest} characters long"
        ),
    ))
}

/// Checks a path such as `/` or `/team/`; none is `/`.
fn check_path(path: Option<String>) -> ApiResult<String> {
    let path = path.unwrap_or_else(|| "/".to_owned());
    let sound = path.starts_with('/')
        && path.ends_with('/')
        && path.len() <= 512
        && path.bytes().all(|b| (b'!'..=b'~').contains(&b));
    if sound {
        Ok(path)
    } else {
        Err(ApiError::new(
            "ValidationError",
            "The specified value for path is invalid. It must begin and end with / and contain \
             only alphanumeric characters and/or / characters.",
        ))
    }
}

/// An identifier such as `AROA…` (20 characters).
fn unique_id(prefix: &str) -> String {
    let random = uuid::Uuid::new_v4().simple().to_string().to_uppercase();
    format!("{prefix}{}", &random[..16])
}

/// Adds tags, replacing those with the same keys.
fn merge_tags(tags: &mut Vec<Tag>, new: Tags) {
    for tag in new.into_iter().map(Tag::from) {
        tags.retain(|old| old.key != tag.key);
        tags.push(tag);
    }
}
