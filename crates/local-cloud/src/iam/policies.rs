//! Managed policies, their versions, and the roles they are attached to.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::document::{Document, encoded};
use super::{
    Empty, PageRequest, Tag, already_exists, check_name, check_path, delete_conflict,
    limit_exceeded, no_such_entity, roles, unique_id,
};
use crate::Cloud;
use crate::api::tags::Tags;
use crate::api::{ApiError, ApiResult, lenient};
use crate::clock;
use crate::cloud::ACCOUNT;
use crate::store::Collection;

/// Prefix of the ARNs of AWS's own policies. Any may be attached; none has a record.
const AWS_MANAGED: &str = "arn:aws:iam::aws:policy/";

/// Maximum number of versions of a policy.
const VERSIONS: usize = 5;

/// Maximum size of a managed policy (IAM's quotas).
const LARGEST: usize = 6_144;

/// The text of a managed policy that is valid and within IAM's quota.
fn checked(document: Document) -> ApiResult<String> {
    let size = document.size();
    let text = document.identity()?;
    if size > LARGEST {
        return Err(limit_exceeded(format!(
            "Cannot exceed quota for PolicySize: {LARGEST}"
        )));
    }
    Ok(text)
}

/// The record of a managed policy, under its ARN.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Policy {
    name: String,
    id: String,
    arn: String,
    path: String,
    description: Option<String>,
    created: String,
    updated: String,
    tags: Vec<Tag>,
    default: u32,
    next: u32,
    versions: Vec<PolicyVersion>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct PolicyVersion {
    number: u32,
    document: String,
    created: String,
}

impl Policy {
    fn shape(&self, usage: Usage, whole: bool) -> Value {
        let mut shape = json!({
            "PolicyName": self.name,
            "PolicyId": self.id,
            "Arn": self.arn,
            "Path": self.path,
            "DefaultVersionId": version_id(self.default),
            "AttachmentCount": usage.attachments,
            "PermissionsBoundaryUsageCount": usage.boundaries,
            "IsAttachable": true,
            "CreateDate": self.created,
            "UpdateDate": self.updated,
        });
        if whole {
            shape["Description"] = json!(self.description);
            shape["Tags"] = json!(self.tags);
        }
        shape
    }

    fn version_shape(&self, version: &PolicyVersion, whole: bool) -> Value {
        let mut shape = json!({
            "VersionId": version_id(version.number),
            "IsDefaultVersion": version.number == self.default,
            "CreateDate": version.created,
        });
        if whole {
            shape["Document"] = json!(encoded(&version.document));
        }
        shape
    }
}

fn version_id(number: u32) -> String {
    format!("v{number}")
}

fn collection(cloud: &Cloud) -> Collection<'_, Policy> {
    cloud.store().collection("iam", "policy")
}

fn missing(arn: &str) -> ApiError {
    no_such_entity(format!("Policy {arn} was not found."))
}

fn missing_version(arn: &str, version: &str) -> ApiError {
    no_such_entity(format!(
        "Policy {arn} version {version} does not exist or is not attachable."
    ))
}

/// AWS's own policies whose documents are known here.
const KNOWN: &[(&str, &str)] = &[
    (
        "arn:aws:iam::aws:policy/AdministratorAccess",
        r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}"#,
    ),
    (
        "arn:aws:iam::aws:policy/AWSCloudFormationReadOnlyAccess",
        r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Resource": "*", "Action": [
            "cloudformation:Describe*", "cloudformation:EstimateTemplateCost", "cloudformation:Get*",
            "cloudformation:List*", "cloudformation:ValidateTemplate", "cloudformation:Detect*"]}]}"#,
    ),
    // Version 87, of 2022: the actions of services that the local cloud has.
    (
        "arn:aws:iam::aws:policy/ReadOnlyAccess",
        r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Resource": "*", "Action": [
            "cloudformation:Describe*", "cloudformation:Detect*", "cloudformation:Estimate*",
            "cloudformation:Get*", "cloudformation:List*", "codecommit:BatchGet*", "codecommit:Describe*",
            "codecommit:Get*", "codecommit:GitPull", "codecommit:List*", "ec2:Describe*", "ec2:Get*",
            "ecr:BatchCheck*", "ecr:BatchGet*", "ecr:Describe*", "ecr:Get*", "ecr:List*", "iam:Generate*",
            "iam:Get*", "iam:List*", "iam:Simulate*", "kms:Describe*", "kms:Get*", "kms:List*",
            "lambda:Get*", "lambda:List*", "logs:Describe*", "logs:FilterLogEvents", "logs:Get*",
            "logs:ListTagsLogGroup", "logs:StartQuery", "logs:StopQuery", "s3:DescribeJob", "s3:Get*",
            "s3:List*", "sagemaker:Describe*", "sagemaker:GetSearchSuggestions", "sagemaker:List*",
            "sagemaker:Search", "ssm:Describe*", "ssm:Get*", "ssm:List*"]}]}"#,
    ),
    (
        "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole",
        r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Resource": "*",
            "Action": ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"]}]}"#,
    ),
];

/// The document of a policy's default version; `None` for one of AWS's own that is not known here.
pub(super) fn document(cloud: &Cloud, arn: &str) -> ApiResult<Option<String>> {
    if arn.starts_with(AWS_MANAGED) {
        let known = KNOWN.iter().find(|(known, _)| *known == arn);
        return Ok(known.map(|(_, document)| (*document).to_owned()));
    }
    text(cloud, arn).map(Some)
}

pub(super) fn require(cloud: &Cloud, arn: &str) -> ApiResult<Policy> {
    if arn.starts_with(AWS_MANAGED) {
        return Err(ApiError::not_implemented(format_args!(
            "the text of AWS's own policy {arn}"
        )));
    }
    collection(cloud).get(arn)?.ok_or_else(|| missing(arn))
}

/// The document of a policy's default version.
pub(super) fn text(cloud: &Cloud, arn: &str) -> ApiResult<String> {
    let policy = require(cloud, arn)?;
    let mut versions = policy.versions.into_iter();
    versions
        .find(|version| version.number == policy.default)
        .map(|version| version.document)
        .ok_or_else(|| ApiError::internal(format_args!("{arn} has no default version")))
}

/// Fails unless a policy can be a permissions boundary: it exists.
pub(super) fn require_boundary(cloud: &Cloud, arn: &str) -> ApiResult<()> {
    if arn.starts_with(AWS_MANAGED) || collection(cloud).get(arn)?.is_some() {
        return Ok(());
    }
    Err(no_such_entity(format!(
        "Scope ARN: {arn} does not exist or is not attachable."
    )))
}

/// How many roles use a policy.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Usage {
    attachments: usize,
    boundaries: usize,
}

fn usage(cloud: &Cloud, arn: &str) -> ApiResult<Usage> {
    let mut usage = Usage::default();
    for (_, role) in roles::collection(cloud).list("")? {
        usage.attachments += usize::from(role.attached.iter().any(|attached| attached == arn));
        usage.boundaries += usize::from(role.boundary.as_deref() == Some(arn));
    }
    Ok(usage)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreatePolicy {
    policy_name: String,
    path: Option<String>,
    policy_document: Document,
    description: Option<String>,
    #[serde(default)]
    tags: Tags,
}

pub(super) async fn create(cloud: &Cloud, input: CreatePolicy) -> ApiResult<Value> {
    let name = input.policy_name;
    check_name("policyName", &name, 128)?;
    let path = check_path(input.path)?;
    let arn = format!("arn:aws:iam::{ACCOUNT}:policy{path}{name}");
    let now = clock::iso();
    let policy = Policy {
        id: unique_id("ANPA"),
        description: input.description,
        created: now.clone(),
        updated: now.clone(),
        tags: input.tags.into_iter().map(Tag::from).collect(),
        default: 1,
        next: 2,
        versions: vec![PolicyVersion {
            number: 1,
            document: checked(input.policy_document)?,
            created: now,
        }],
        name: name.clone(),
        arn: arn.clone(),
        path,
    };
    // Names are unique in the account, whatever their paths.
    let taken = collection(cloud)
        .list("")?
        .iter()
        .any(|(_, policy)| policy.name == name);
    if taken || !collection(cloud).insert(&arn, &policy)? {
        return Err(already_exists(format!(
            "A policy called {name} already exists. Duplicate names are not allowed."
        )));
    }
    Ok(json!({"Policy": policy.shape(Usage::default(), true)}))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PolicyArn {
    policy_arn: String,
    #[serde(flatten)]
    page: PageRequest,
}

pub(super) async fn get(cloud: &Cloud, input: PolicyArn) -> ApiResult<Value> {
    let policy = require(cloud, &input.policy_arn)?;
    Ok(json!({"Policy": policy.shape(usage(cloud, &policy.arn)?, true)}))
}

pub(super) async fn delete(cloud: &Cloud, input: PolicyArn) -> ApiResult<Empty> {
    let policy = require(cloud, &input.policy_arn)?;
    if usage(cloud, &policy.arn)? != Usage::default() {
        return Err(delete_conflict(
            "Cannot delete a policy attached to entities.",
        ));
    }
    if policy.versions.len() > 1 {
        return Err(delete_conflict(
            "This policy has more than one version. Before you delete a policy, you must delete \
             the policy's versions. The default version is deleted with the policy.",
        ));
    }
    collection(cloud).remove(&policy.arn)?;
    Ok(Empty {})
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListPolicies {
    #[serde(default)]
    path_prefix: String,
    scope: Option<String>,
    #[serde(flatten)]
    page: PageRequest,
}

pub(super) async fn list(cloud: &Cloud, input: ListPolicies) -> ApiResult<Value> {
    if !matches!(input.scope.as_deref(), Some("Local")) {
        return Err(ApiError::not_implemented(
            "listing AWS's own policies: pass Scope=Local",
        ));
    }
    let mut policies = Vec::new();
    for (arn, policy) in collection(cloud).list("")? {
        if policy.path.starts_with(&input.path_prefix) {
            policies.push(policy.shape(usage(cloud, &arn)?, false));
        }
    }
    input.page.cut("Policies", policies)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreateVersion {
    policy_arn: String,
    policy_document: Document,
    #[serde(default, deserialize_with = "lenient::bool")]
    set_as_default: bool,
}

pub(super) async fn create_version(cloud: &Cloud, input: CreateVersion) -> ApiResult<Value> {
    let document = checked(input.policy_document)?;
    let arn = input.policy_arn;
    let shape = collection(cloud).update(&arn, |policy| {
        if policy.versions.len() >= VERSIONS {
            return Err(limit_exceeded(format!(
                "A managed policy can have up to {VERSIONS} versions. Before you create a new \
                 version, you must delete an existing version."
            )));
        }
        let version = PolicyVersion {
            number: policy.next,
            document,
            created: clock::iso(),
        };
        policy.next += 1;
        policy.updated.clone_from(&version.created);
        if input.set_as_default {
            policy.default = version.number;
        }
        let shape = policy.version_shape(&version, false);
        policy.versions.push(version);
        Ok(shape)
    })?;
    Ok(json!({"PolicyVersion": shape.ok_or_else(|| missing(&arn))?}))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct OneVersion {
    policy_arn: String,
    version_id: String,
}

pub(super) async fn get_version(cloud: &Cloud, input: OneVersion) -> ApiResult<Value> {
    let policy = require(cloud, &input.policy_arn)?;
    let version = policy
        .versions
        .iter()
        .find(|version| version_id(version.number) == input.version_id)
        .ok_or_else(|| missing_version(&policy.arn, &input.version_id))?;
    Ok(json!({"PolicyVersion": policy.version_shape(version, true)}))
}

pub(super) async fn delete_version(cloud: &Cloud, input: OneVersion) -> ApiResult<Empty> {
    let arn = input.policy_arn;
    collection(cloud)
        .update(&arn, |policy| {
            if version_id(policy.default) == input.version_id {
                return Err(delete_conflict(
                    "Cannot delete the default version of a policy.",
                ));
            }
            let before = policy.versions.len();
            policy
                .versions
                .retain(|version| version_id(version.number) != input.version_id);
            if policy.versions.len() == before {
                return Err(missing_version(&arn, &input.version_id));
            }
            Ok(Empty {})
        })?
        .ok_or_else(|| missing(&arn))
}

pub(super) async fn list_versions(cloud: &Cloud, input: PolicyArn) -> ApiResult<Value> {
    let policy = require(cloud, &input.policy_arn)?;
    let versions = policy
        .versions
        .iter()
        .rev()
        .map(|version| policy.version_shape(version, false))
        .collect();
    input.page.cut("Versions", versions)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Attachment {
    role_name: String,
    policy_arn: String,
}

pub(super) async fn attach(cloud: &Cloud, input: Attachment) -> ApiResult<Empty> {
    let arn = input.policy_arn;
    if !arn.starts_with(AWS_MANAGED) && collection(cloud).get(&arn)?.is_none() {
        return Err(no_such_entity(format!(
            "Policy {arn} does not exist or is not attachable."
        )));
    }
    roles::change(cloud, &input.role_name, |role| {
        if !role.attached.contains(&arn) {
            role.attached.push(arn);
        }
        Ok(Empty {})
    })
}

pub(super) async fn detach(cloud: &Cloud, input: Attachment) -> ApiResult<Empty> {
    roles::change(cloud, &input.role_name, |role| {
        let before = role.attached.len();
        role.attached.retain(|arn| *arn != input.policy_arn);
        if role.attached.len() == before {
            return Err(missing(&input.policy_arn));
        }
        Ok(Empty {})
    })
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct AttachedTo {
    role_name: String,
    #[serde(flatten)]
    page: PageRequest,
}

pub(super) async fn list_attached(cloud: &Cloud, input: AttachedTo) -> ApiResult<Value> {
    let policies = roles::require(cloud, &input.role_name)?
        .attached
        .into_iter()
        .map(|arn| {
            let name = arn.rsplit('/').next().unwrap_or_default();
            json!({"PolicyName": name, "PolicyArn": arn})
        })
        .collect();
    input.page.cut("AttachedPolicies", policies)
}
