//! Model package groups and their resource policies.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{ApiError, ApiResult, Cloud, created, name_of, requests, tags};
use crate::clock;
use crate::limits;
use crate::store::Collection;

/// A group.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Group {
    /// The members of `DescribeModelPackageGroup`.
    described: Value,
    /// The version that was given last. Versions of deleted packages are not given again.
    last_version: i64,
    /// The resource policy.
    policy: Option<String>,
}

const LISTING: requests::Listing = requests::Listing {
    name: "ModelPackageGroupName",
    status: None,
    sort_by: "CreationTime",
    descending: false,
};

fn collection(cloud: &Cloud) -> Collection<'_, Group> {
    cloud.store().collection("sagemaker", "model-package-group")
}

fn arn(cloud: &Cloud, name: &str) -> String {
    cloud.arn("sagemaker", format_args!("model-package-group/{name}"))
}

/// The group of a name or an ARN.
fn required<'a>(cloud: &Cloud, input: &'a Value) -> ApiResult<&'a str> {
    let name = requests::required(input, "ModelPackageGroupName")?;
    Ok(name_of(cloud, "model-package-group", name))
}

fn missing(cloud: &Cloud, name: &str) -> ApiError {
    requests::absent(format!(
        "ModelPackageGroup {} does not exist.",
        arn(cloud, name)
    ))
}

/// The next version of a group.
pub(super) fn next_version(
    cloud: &Cloud,
    transaction: &rusqlite::Transaction<'_>,
    name: &str,
) -> ApiResult<i64> {
    let groups = collection(cloud);
    let mut group = groups
        .get_in(transaction, name)?
        .ok_or_else(|| missing(cloud, name))?;
    group.last_version += 1;
    groups.put_in(transaction, name, &group)?;
    Ok(group.last_version)
}

/// Fails when there is no such group.
pub(super) fn exists(cloud: &Cloud, name: &str) -> ApiResult<()> {
    collection(cloud)
        .get(name)?
        .map(|_| ())
        .ok_or_else(|| missing(cloud, name))
}

pub(super) async fn create(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let name = requests::name(&input, "ModelPackageGroupName", 63)?;
    let arn = arn(cloud, name);
    let mut described = requests::pick(
        &input,
        &[
            "ModelPackageGroupName",
            "ModelPackageGroupDescription",
            "ManagedConfiguration",
        ],
    );
    described["ModelPackageGroupArn"] = arn.clone().into();
    described["ModelPackageGroupStatus"] = "Completed".into();
    created(&mut described, clock::epoch());
    let group = Group {
        described,
        last_version: 0,
        policy: None,
    };
    let groups = collection(cloud);
    cloud.store().transaction(|transaction| {
        if groups.get_in(transaction, name)?.is_some() {
            return Err(ApiError::validation(format!(
                "Model Package Group already exists: {arn}"
            )));
        }
        groups.put_in(transaction, name, &group)?;
        tags::put_in(cloud, transaction, &arn, input.get("Tags"))
    })?;
    Ok(json!({ "ModelPackageGroupArn": arn }))
}

pub(super) async fn describe(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let name = required(cloud, &input)?;
    let group = collection(cloud)
        .get(name)?
        .ok_or_else(|| missing(cloud, name))?;
    Ok(group.described)
}

pub(super) async fn list(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    if requests::optional(&input, "CrossAccountFilterOption") == Some("CrossAccount") {
        return Ok(json!({ "ModelPackageGroupSummaryList": [] }));
    }
    let records = collection(cloud)
        .list("")?
        .into_iter()
        .map(|(_, group)| group.described)
        .collect();
    let (page, next) = LISTING.page(records, &input)?;
    let page: Vec<Value> = page
        .iter()
        .map(|group| {
            requests::pick(
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

pub(super) async fn delete(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let name = required(cloud, &input)?;
    exists(cloud, name)?;
    if super::packages::any(cloud, name)? {
        return Err(ApiError::new(
            "ConflictException",
            format!(
                "Model Package Group {} cannot be deleted because it still contains Model Packages.",
                arn(cloud, name)
            ),
        ));
    }
    cloud.store().transaction(|transaction| {
        collection(cloud).remove_in(transaction, name)?;
        tags::remove_in(cloud, transaction, &arn(cloud, name))?;
        Ok(json!({}))
    })
}

pub(super) async fn put_policy(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let name = required(cloud, &input)?;
    let policy = requests::required(&input, "ResourcePolicy")?;
    let document = limits::document(policy.as_bytes())
        .map_err(|error| ApiError::validation(format!("Invalid resource policy: {error}")))?;
    if document.get("Statement").is_none() {
        return Err(ApiError::validation(
            "Invalid resource policy: it has no Statement",
        ));
    }
    collection(cloud)
        .update(name, |group| {
            group.policy = Some(policy.to_owned());
            Ok(())
        })?
        .ok_or_else(|| missing(cloud, name))?;
    Ok(json!({ "ModelPackageGroupArn": arn(cloud, name) }))
}

pub(super) async fn get_policy(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let name = required(cloud, &input)?;
    let policy = collection(cloud)
        .get(name)?
        .ok_or_else(|| missing(cloud, name))?
        .policy
        .ok_or_else(|| no_policy(cloud, name))?;
    Ok(json!({ "ResourcePolicy": policy }))
}

pub(super) async fn delete_policy(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let name = required(cloud, &input)?;
    collection(cloud)
        .update(name, |group| {
            group
                .policy
                .take()
                .map(|_| ())
                .ok_or_else(|| no_policy(cloud, name))
        })?
        .ok_or_else(|| missing(cloud, name))?;
    Ok(json!({}))
}

fn no_policy(cloud: &Cloud, name: &str) -> ApiError {
    ApiError::validation(format!(
        "Cannot find resource policy for: {}",
        arn(cloud, name)
    ))
}
