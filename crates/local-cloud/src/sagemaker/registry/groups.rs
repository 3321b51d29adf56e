//! Model package groups and their resource policies.

use serde::Deserialize;
use serde_json::{Value, json};

use super::records::{Group, group, group_arn, groups, no_group, packages};
use super::requests::{
    ListRequest, Listing, ResourceName, SortOrder, Stored, absent, check_name, name_of, pick,
};
use super::states::ModelPackageStatus;
use super::{ApiError, ApiResult, Cloud, created, tags};
use crate::api::tags::Tags;
use crate::clock;
use crate::policy::{Call, Document};

const LISTING: Listing = Listing {
    name: "ModelPackageGroupName",
    status: None,
    sort_by: "CreationTime",
    order: SortOrder::Ascending,
};

/// The name in a request that has a name or an ARN.
fn named<'a>(cloud: &Cloud, name_or_arn: &'a str) -> &'a str {
    name_of(cloud, "model-package-group", name_or_arn)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreateGroup {
    model_package_group_name: String,
    tags: Option<Tags>,
}

pub(super) async fn create(cloud: &Cloud, input: Stored<CreateGroup>) -> ApiResult<Value> {
    let name = &input.model_package_group_name;
    check_name(name, "ModelPackageGroupName", 63)?;
    let arn = group_arn(cloud, name);
    let mut described = input.pick(&[
        "ModelPackageGroupName",
        "ModelPackageGroupDescription",
        "ManagedConfiguration",
    ]);
    described["ModelPackageGroupArn"] = arn.clone().into();
    described["ModelPackageGroupStatus"] = ModelPackageStatus::Completed.into();
    created(&mut described, clock::epoch());
    let group = Group {
        described,
        last_version: 0,
        policy: None,
    };
    let groups = groups(cloud);
    cloud.store().transaction(|transaction| {
        if groups.get_in(transaction, name)?.is_some() {
            return Err(ApiError::validation(format!(
                "Model Package Group already exists: {arn}"
            )));
        }
        groups.put_in(transaction, name, &group)?;
        tags::put_in(cloud, transaction, &arn, input.tags.as_ref())
    })?;
    Ok(json!({ "ModelPackageGroupArn": arn }))
}

pub(super) async fn describe(cloud: &Cloud, input: ResourceName) -> ApiResult<Value> {
    Ok(group(cloud, named(cloud, &input.name))?.described)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListGroups {
    cross_account_filter_option: Option<Accounts>,
    #[serde(flatten)]
    list: ListRequest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum Accounts {
    SameAccount,
    CrossAccount,
}

pub(super) async fn list(cloud: &Cloud, input: ListGroups) -> ApiResult<Value> {
    if input.cross_account_filter_option == Some(Accounts::CrossAccount) {
        return Ok(json!({ "ModelPackageGroupSummaryList": [] }));
    }
    let records = groups(cloud)
        .list("")?
        .into_iter()
        .map(|(_, group)| group.described)
        .collect();
    let (page, next) = LISTING.page(records, &input.list)?;
    let page: Vec<Value> = page
        .iter()
        .map(|group| {
            pick(
                group,
                &[
                    "ModelPackageGroupName",
                    "ModelPackageGroupArn",
                    "ModelPackageGroupDescription",
                    "CreationTime",
                    "ModelPackageGroupStatus",
                    "ManagedConfiguration",
                ],
            )
        })
        .collect();
    let mut output = json!({ "ModelPackageGroupSummaryList": page });
    if let Some(next) = next {
        output["NextToken"] = next.into();
    }
    Ok(output)
}

pub(super) async fn delete(cloud: &Cloud, input: ResourceName) -> ApiResult<Value> {
    let name = named(cloud, &input.name);
    group(cloud, name)?;
    let arn = group_arn(cloud, name);
    if !packages(cloud).list(&format!("{name}/"))?.is_empty() {
        return Err(ApiError::new(
            "ConflictException",
            format!(
                "Model Package Group {arn} cannot be deleted because it still contains Model \
                 Packages."
            ),
        ));
    }
    cloud.store().transaction(|transaction| {
        groups(cloud).remove_in(transaction, name)?;
        tags::remove_in(cloud, transaction, &arn)?;
        Ok(json!({}))
    })
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PutPolicy {
    model_package_group_name: String,
    resource_policy: String,
}

pub(super) async fn put_policy(cloud: &Cloud, input: PutPolicy) -> ApiResult<Value> {
    let name = named(cloud, &input.model_package_group_name);
    let policy = input.resource_policy;
    Document::parse(&policy)
        .map_err(|error| ApiError::validation(format!("Invalid resource policy: {error}")))?;
    groups(cloud)
        .update(name, |group| {
            group.policy = Some(policy);
            Ok(())
        })?
        .ok_or_else(|| no_group(cloud, name))?;
    Ok(json!({ "ModelPackageGroupArn": group_arn(cloud, name) }))
}

pub(super) async fn get_policy(cloud: &Cloud, input: ResourceName) -> ApiResult<Value> {
    let name = named(cloud, &input.name);
    let policy = group(cloud, name)?
        .policy
        .ok_or_else(|| no_policy(cloud, name))?;
    Ok(json!({ "ResourcePolicy": policy }))
}

pub(super) async fn delete_policy(cloud: &Cloud, input: ResourceName) -> ApiResult<Value> {
    let name = named(cloud, &input.name);
    groups(cloud)
        .update(name, |group| {
            let policy = group.policy.take();
            policy.map(drop).ok_or_else(|| no_policy(cloud, name))
        })?
        .ok_or_else(|| no_group(cloud, name))?;
    Ok(json!({}))
}

/// The policy of the group that a call is about: of the group itself, or of one of its versions.
pub(in super::super) fn policy_of(cloud: &Cloud, call: &Call) -> ApiResult<Option<String>> {
    let resource = call.resource.strip_prefix(&cloud.arn("sagemaker", ""));
    let name = match resource.and_then(|resource| resource.split_once('/')) {
        Some(("model-package-group", name)) => name,
        Some(("model-package", version)) => match version.split_once('/') {
            Some((group, _)) => group,
            None => return Ok(None),
        },
        _ => return Ok(None),
    };
    Ok(groups(cloud).get(name)?.and_then(|group| group.policy))
}

fn no_policy(cloud: &Cloud, name: &str) -> ApiError {
    absent(format!(
        "Cannot find resource policy for: {}",
        group_arn(cloud, name)
    ))
}
