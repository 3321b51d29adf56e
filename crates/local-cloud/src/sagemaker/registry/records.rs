//! The records of model package groups and model packages.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::requests::{absent, name_of};
use super::{ApiError, ApiResult, Cloud};
use crate::store::Collection;

/// A model package group.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Group {
    /// The members of `DescribeModelPackageGroup`.
    pub(super) described: Value,
    /// The last assigned version number. Numbers of deleted packages are not reused.
    pub(super) last_version: i64,
    /// The resource policy.
    pub(super) policy: Option<String>,
}

/// The groups, by name.
pub(super) fn groups(cloud: &Cloud) -> Collection<'_, Group> {
    cloud.store().collection("sagemaker", "model-package-group")
}

/// The ARN of a group.
pub(super) fn group_arn(cloud: &Cloud, name: &str) -> String {
    cloud.arn("sagemaker", format_args!("model-package-group/{name}"))
}

/// The error for a group that does not exist.
pub(super) fn no_group(cloud: &Cloud, name: &str) -> ApiError {
    absent(format!(
        "ModelPackageGroup {} does not exist.",
        group_arn(cloud, name)
    ))
}

/// A group by name.
pub(super) fn group(cloud: &Cloud, name: &str) -> ApiResult<Group> {
    groups(cloud)
        .get(name)?
        .ok_or_else(|| no_group(cloud, name))
}

/// The next version of a group.
pub(super) fn next_version(
    cloud: &Cloud,
    transaction: &rusqlite::Transaction<'_>,
    name: &str,
) -> ApiResult<i64> {
    let groups = groups(cloud);
    let mut group = groups
        .get_in(transaction, name)?
        .ok_or_else(|| no_group(cloud, name))?;
    group.last_version += 1;
    groups.put_in(transaction, name, &group)?;
    Ok(group.last_version)
}

/// The packages, by [`key`].
pub(super) fn packages(cloud: &Cloud) -> Collection<'_, Value> {
    cloud.store().collection("sagemaker", "model-package")
}

/// The key of a package: its name, or `GROUP/000000001` so that versions sort. A version with leading zeros is the
/// key of no package: permissions are evaluated on the name as it is given.
pub(super) fn key(name: &str) -> String {
    match name.split_once('/') {
        Some((group, version)) if version.starts_with('0') => format!("{group}/-{version}"),
        Some((group, version)) => format!("{group}/{version:0>9}"),
        None => name.to_owned(),
    }
}

/// A package and its key, by its name, `GROUP/VERSION`, or ARN.
pub(super) fn package(cloud: &Cloud, name_or_arn: &str) -> ApiResult<(String, Value)> {
    let name = name_of(cloud, "model-package", name_or_arn);
    let key = key(name);
    match packages(cloud).get(&key)? {
        Some(record) => Ok((key, record)),
        None => Err(no_package(cloud, name)),
    }
}

/// The error for a package that does not exist.
pub(super) fn no_package(cloud: &Cloud, name: &str) -> ApiError {
    absent(format!(
        "ModelPackage {} does not exist.",
        cloud.arn("sagemaker", format_args!("model-package/{name}"))
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_has_one_spelling() {
        assert_eq!(key("g/1"), "g/000000001");
        for other in ["g/01", "g/001", "g/000000001", "g/0000000001"] {
            assert_ne!(key(other), key("g/1"), "{other}");
        }
    }
}
