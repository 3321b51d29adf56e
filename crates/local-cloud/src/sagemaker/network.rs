//! The VPC of a notebook instance, a model or a job.

use serde::Deserialize;
use serde_json::json;

use crate::Cloud;
use crate::api::{ApiError, ApiResult};

/// `VpcConfig` of a request.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct VpcConfig {
    subnets: Option<Vec<String>>,
    security_group_ids: Option<Vec<String>>,
}

impl VpcConfig {
    /// Fails unless the subnets and security groups exist.
    pub(super) async fn check(&self, cloud: &Cloud) -> ApiResult<()> {
        let ids = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
        require(cloud, &ids(&self.subnets), &ids(&self.security_group_ids)).await
    }
}

/// Fails unless these subnets and security groups exist in EC2, as for AWS, which creates network
/// interfaces there.
pub(super) async fn require(cloud: &Cloud, subnets: &[String], groups: &[String]) -> ApiResult<()> {
    for (operation, member, ids) in [
        ("DescribeSubnets", "SubnetId", subnets),
        ("DescribeSecurityGroups", "GroupId", groups),
    ] {
        if !ids.is_empty() {
            cloud
                .internally("ec2", operation, json!({ member: ids }))
                .await
                .map_err(refused)?;
        }
    }
    Ok(())
}

/// A subnet or group that EC2 does not have is SageMaker's `ValidationException`; any other error
/// is unchanged.
fn refused(error: ApiError) -> ApiError {
    if error.is_not_found() {
        ApiError::validation(error.message)
    } else {
        error
    }
}
