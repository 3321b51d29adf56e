//! The model registry: model package groups, and their versions.

use serde_json::Value;

use super::{lineage, requests, tags};
use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::cloud::service::operations;

mod groups;
mod packages;

operations! {
    "BatchDescribeModelPackage" => packages::batch_describe,
    "CreateModelPackage" => packages::create,
    "CreateModelPackageGroup" => groups::create,
    "DeleteModelPackage" => packages::delete,
    "DeleteModelPackageGroup" => groups::delete,
    "DeleteModelPackageGroupPolicy" => groups::delete_policy,
    "DescribeModelPackage" => packages::describe,
    "DescribeModelPackageGroup" => groups::describe,
    "GetModelPackageGroupPolicy" => groups::get_policy,
    "ListModelPackageGroups" => groups::list,
    "ListModelPackages" => packages::list,
    "PutModelPackageGroupPolicy" => groups::put_policy,
    "UpdateModelPackage" => packages::update,
}

/// The last part of an ARN of this kind, or the name itself.
fn name_of<'a>(cloud: &Cloud, kind: &str, name_or_arn: &'a str) -> &'a str {
    name_or_arn
        .strip_prefix(&format!("{}/", cloud.arn("sagemaker", kind)))
        .unwrap_or(name_or_arn)
}

/// The members that only AWS can set, for a new record.
fn created(record: &mut Value, now: f64) {
    record["CreationTime"] = now.into();
    record["CreatedBy"] = serde_json::json!({});
}
