//! The VPC that a notebook instance or a model is put into.

use serde_json::{Value, json};

use crate::Cloud;
use crate::api::{ApiError, ApiResult};

/// Subnets and security groups (lists of ids, or null) must exist in EC2, as for AWS, which makes
/// network interfaces there.
pub(super) async fn require(cloud: &Cloud, subnets: &Value, groups: &Value) -> ApiResult<()> {
    for (operation, member, ids) in [
        ("DescribeSubnets", "SubnetId", subnets),
        ("DescribeSecurityGroups", "GroupId", groups),
    ] {
        if ids.as_array().is_some_and(|ids| !ids.is_empty()) {
            cloud
                .call("ec2", operation, json!({ member: ids }))
                .await
                .map_err(refused)?;
        }
    }
    Ok(())
}

/// What EC2 does not know is SageMaker's `ValidationException`; anything else stays as it is.
fn refused(error: ApiError) -> ApiError {
    if error.code.starts_with("Invalid") {
        ApiError::validation(error.message)
    } else {
        error
    }
}
