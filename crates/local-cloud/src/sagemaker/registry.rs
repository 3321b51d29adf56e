//! The model registry: model package groups, and their versions.

use serde_json::Value;

use super::authorship::user_context;
use super::{announce, lineage, requests, states, tags};
use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::cloud::service::operations;

mod groups;
mod packages;
mod records;

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

pub(super) use groups::policy_of;

/// The members of a new record that only AWS sets.
fn created(record: &mut Value, now: f64) {
    record["CreationTime"] = now.into();
    record["CreatedBy"] = user_context();
}
