//! What both kinds of job requests have in common, checked before anything is recorded.

use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use crate::api::{ApiError, ApiResult};
use crate::s3;
use crate::{Cloud, runtime};

/// A member that must be there.
pub(super) fn required<'a>(request: &'a Value, member: &str) -> ApiResult<&'a Value> {
    let found = member.split('.').fold(request, |value, part| &value[part]);
    if found.is_null() {
        let path = member.replace('.', "/");
        return Err(ApiError::validation(format!(
            "1 validation error detected: Value null at '{path}' failed to satisfy constraint: Member must not be null"
        )));
    }
    Ok(found)
}

/// A text that must be there.
pub(super) fn text<'a>(request: &'a Value, member: &str) -> ApiResult<&'a str> {
    required(request, member)?
        .as_str()
        .ok_or_else(|| ApiError::validation(format!("{member} must be a string")))
}

/// The list under a member; empty when it is not there.
pub(super) fn items<'a>(request: &'a Value, member: &str) -> &'a [Value] {
    request[member].as_array().map_or(&[], Vec::as_slice)
}

/// The words under a member.
pub(super) fn words(request: &Value, member: &str) -> Vec<String> {
    items(request, member)
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

/// The name of a job: `[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}`.
pub(super) fn name(request: &Value, member: &str) -> ApiResult<String> {
    let name = text(request, member)?;
    let sound = (1..=63).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        && !name.starts_with('-')
        && !name.ends_with('-');
    if !sound {
        return Err(ApiError::validation(format!(
            "1 validation error detected: Value '{name}' at '{member}' failed to satisfy constraint: Member must satisfy regular expression pattern: ^[a-zA-Z0-9](-*[a-zA-Z0-9]){{0,62}}$"
        )));
    }
    Ok(name.to_owned())
}

/// Refuses, by name, what the local cloud would otherwise silently leave out.
pub(super) fn refuse(request: &Value, members: &[&str]) -> ApiResult<()> {
    for member in members {
        let given = member.split('.').fold(request, |value, part| &value[part]);
        let empty = match given {
            Value::Null | Value::Bool(false) => true,
            Value::Array(items) => items.is_empty(),
            Value::Object(members) => members.is_empty(),
            _ => false,
        };
        if !empty {
            return Err(ApiError::not_implemented(format_args!("{member} of jobs")));
        }
    }
    Ok(())
}

/// One instance: the host runtime has one machine.
pub(super) fn one_instance(resources: &Value) -> ApiResult<()> {
    match resources["InstanceCount"].as_u64() {
        Some(1) => Ok(()),
        Some(0) | None => Err(ApiError::validation("InstanceCount must be 1 or more")),
        Some(count) => Err(ApiError::not_implemented(format_args!(
            "jobs on {count} instances: the host runtime has one machine"
        ))),
    }
}

/// The role exists and SageMaker may assume it.
pub(super) fn role(cloud: &Cloud, request: &Value) -> ApiResult<()> {
    crate::iam::require_role(cloud, text(request, "RoleArn")?, "sagemaker.amazonaws.com")
}

/// The subnets and security groups exist.
pub(super) async fn network(cloud: &Cloud, vpc: &Value) -> ApiResult<()> {
    let groups = &vpc["SecurityGroupIds"];
    super::super::network::require(cloud, &vpc["Subnets"], groups).await
}

/// The image exists, with a loopback or ECR address, or is AWS's analyzer, which the runtime replaces.
pub(super) fn image(cloud: &Cloud, uri: &str) -> ApiResult<()> {
    if crate::ecr::analyzer::is_aws(uri) {
        return Ok(());
    }
    crate::ecr::images::resolve(cloud, uri).map(drop)
}

/// The bucket of an S3 URI exists, and the URI is one that a job may name.
pub(super) fn uri(cloud: &Cloud, uri: &str) -> ApiResult<()> {
    // A job's S3 URI has no version: AWS takes the query for a part of the key.
    if uri.contains("?versionId=") || uri.contains("&versionId=") {
        return Err(ApiError::validation(format!(
            "`{uri}` has a versionId: SageMaker reads the current version of an object only; copy that version to a prefix of its own"
        )));
    }
    let (bucket, _) = s3::objects::parse_uri(uri)?;
    if !s3::buckets::exists(cloud, &bucket)? {
        return Err(ApiError::validation(format!(
            "Could not access S3 bucket {bucket} of {uri}: NoSuchBucket: The specified bucket does not exist"
        )));
    }
    Ok(())
}

/// A path of the container as a path below /opt/ml, which is all that belongs to a job.
pub(super) fn local_path(path: &str) -> ApiResult<PathBuf> {
    let refused = || {
        ApiError::validation(format!(
            "LocalPath `{path}` must be an absolute path under {}/processing",
            runtime::MOUNT
        ))
    };
    let below = Path::new(path)
        .strip_prefix(runtime::MOUNT)
        .map_err(|_| refused())?;
    let plain = below
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    if !plain || !below.starts_with("processing") {
        return Err(refused());
    }
    Ok(below.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_local_path_stays_below_the_job() {
        assert_eq!(
            local_path("/opt/ml/processing/input").unwrap(),
            Path::new("processing/input")
        );
        for bad in [
            "/opt/ml/processing/../../x",
            "/etc",
            "processing/x",
            "/opt/ml/model",
            "/opt/mlx/processing",
        ] {
            assert!(local_path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn job_names_are_as_sagemaker_has_them() {
        let given = |name: &str| super::name(&json!({ "N": name }), "N");
        assert!(given("pipelines-x1--Train").is_ok());
        for bad in ["", "-a", "a-", "a_b", &"a".repeat(64)] {
            assert!(given(bad).is_err(), "{bad}");
        }
    }
}
