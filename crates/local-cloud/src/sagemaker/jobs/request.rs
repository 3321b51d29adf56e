//! Common parts of both kinds of job requests, checked before anything is recorded.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::super::network::VpcConfig;
use crate::api::{ApiError, ApiResult};
use crate::s3;
use crate::sts::ServiceSession;
use crate::{Cloud, runtime};

/// The error for a member that a job needs although the service model does not require it.
pub(super) fn null(path: &str) -> ApiError {
    ApiError::validation(format!(
        "1 validation error detected: Value null at '{path}' failed to satisfy constraint: Member must not be null"
    ))
}

/// The instances of a job: `ClusterConfig` or `ResourceConfig`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Instances {
    pub(super) instance_count: Option<u64>,
    pub(super) instance_type: Option<String>,
    #[serde(rename = "VolumeSizeInGB")]
    pub(super) volume_size: Option<u64>,
}

impl Instances {
    /// One instance: the host runtime has one machine.
    pub(super) fn check(&self) -> ApiResult<()> {
        match self.instance_count {
            Some(1) => Ok(()),
            Some(0) | None => Err(ApiError::validation("InstanceCount must be 1 or more")),
            Some(count) => Err(ApiError::not_implemented(format_args!(
                "jobs on {count} instances: the host runtime has one machine"
            ))),
        }
    }
}

/// How long a job may run, and whether it may use the network.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Bounds {
    stopping_condition: Option<StoppingCondition>,
    enable_network_isolation: bool,
    network_config: Option<NetworkConfig>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct StoppingCondition {
    max_runtime_in_seconds: Option<u64>,
}

/// `NetworkConfig` of a processing job. A training job's request has these members itself.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct NetworkConfig {
    enable_network_isolation: bool,
    pub(super) vpc_config: Option<VpcConfig>,
}

impl Bounds {
    /// The maximum run time in seconds; a day by default.
    pub(super) fn seconds(&self) -> u64 {
        let condition = self.stopping_condition.as_ref();
        let seconds = condition.and_then(|condition| condition.max_runtime_in_seconds);
        seconds.unwrap_or(24 * 3600)
    }

    /// True if the program must not reach the network.
    pub(super) fn is_isolated(&self) -> bool {
        let network = self.network_config.as_ref();
        self.enable_network_isolation
            || network.is_some_and(|network| network.enable_network_isolation)
    }
}

/// The name of a job: `[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}`.
pub(super) fn check_name(name: &str, member: &str) -> ApiResult<()> {
    let sound = (1..=63).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        && !name.starts_with('-')
        && !name.ends_with('-');
    if !sound {
        return Err(ApiError::validation(format!(
            "1 validation error detected: Value '{name}' at '{member}' failed to satisfy constraint: Member must satisfy regular expression pattern: ^[a-zA-Z0-9](-*[a-zA-Z0-9]){{0,62}}$"
        )));
    }
    Ok(())
}

/// Refuses, by name, members that the local cloud would otherwise ignore.
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

/// Fails unless the role exists and SageMaker may assume it.
pub(super) fn role(cloud: &Cloud, arn: &str) -> ApiResult<()> {
    crate::iam::require_role(cloud, arn, "sagemaker.amazonaws.com")
}

/// The session with which SageMaker uses a role.
pub(super) fn session(cloud: &Cloud, role: &str) -> ApiResult<Arc<ServiceSession>> {
    crate::sts::for_service(cloud, role, "SageMaker", "sagemaker.amazonaws.com").map(Arc::new)
}

/// Fails unless the image exists, with a loopback or ECR address, or is AWS's analyzer, which the runtime
/// replaces.
pub(super) fn image(cloud: &Cloud, uri: &str) -> ApiResult<()> {
    if crate::ecr::analyzer::is_aws(uri) {
        return Ok(());
    }
    crate::ecr::images::resolve(cloud, uri).map(drop)
}

/// Fails unless the bucket of an S3 URI exists and a job may use the URI.
pub(super) fn uri(cloud: &Cloud, uri: &str) -> ApiResult<()> {
    // A job's S3 URI has no version: AWS treats the query as part of the key.
    if uri.contains("?versionId=") || uri.contains("&versionId=") {
        return Err(ApiError::validation(format!(
            "`{uri}` has a versionId: SageMaker reads the current version of an object only; copy that version to a separate prefix"
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

/// Converts a path of the container to a path below /opt/ml, the only directory of a job.
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
    fn job_names_follow_sagemakers_pattern() {
        let given = |name: &str| check_name(name, "N");
        assert!(given("pipelines-x1--Train").is_ok());
        for bad in ["", "-a", "a-", "a_b", &"a".repeat(64)] {
            assert!(given(bad).is_err(), "{bad}");
        }
    }
}
