//! Attachments of internet gateways to VPCs.

use serde_json::Value;

use super::kinds::INTERNET_GATEWAY;
use crate::Cloud;
use crate::api::ApiResult;

/// True if this internet gateway is attached to the VPC.
pub(super) fn is_attached(gateway: &Value, vpc: &str) -> bool {
    gateway["attachmentSet"][0]["vpcId"] == vpc
}

/// True if any internet gateway is attached to the VPC.
pub(super) fn attached_to(cloud: &Cloud, vpc: &str) -> ApiResult<bool> {
    Ok(INTERNET_GATEWAY
        .records(cloud)
        .list("")?
        .iter()
        .any(|(_, gateway)| is_attached(gateway, vpc)))
}
