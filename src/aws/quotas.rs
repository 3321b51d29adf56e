//! Service quotas, and how much of some of them is used.

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::json;

use super::{Clients, ec2, signed};

/// A quota of the account in the region.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Quota {
    /// Its name, such as `VPCs per Region`.
    #[serde(rename = "QuotaName")]
    pub name: String,
    /// Its value.
    pub value: f64,
}

/// Resources of EC2 that can be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// VPCs.
    Vpcs,
    /// Internet gateways.
    InternetGateways,
    /// Elastic IP addresses.
    Addresses,
}

impl Counted {
    /// The operation that lists the resources, and the list in its response.
    fn operation(self) -> (&'static str, &'static str) {
        match self {
            Self::Vpcs => ("DescribeVpcs", "vpcSet"),
            Self::InternetGateways => ("DescribeInternetGateways", "internetGatewaySet"),
            Self::Addresses => ("DescribeAddresses", "addressesSet"),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    quota: Quota,
}

/// Returns a quota: the value that applies to the account, or AWS's default.
pub async fn quota(clients: &Clients, service: &str, code: &str) -> Result<Quota> {
    match request(clients, "GetServiceQuota", service, code).await? {
        Some(quota) => Ok(quota),
        None => request(clients, "GetAWSDefaultServiceQuota", service, code)
            .await?
            .with_context(|| format!("{service} has no quota {code}")),
    }
}

async fn request(
    clients: &Clients,
    operation: &str,
    service: &str,
    code: &str,
) -> Result<Option<Quota>> {
    let target = format!("ServiceQuotasV20190624.{operation}");
    let input = json!({"ServiceCode": service, "QuotaCode": code});
    let content_type = "application/x-amz-json-1.1";
    let answer =
        signed::json::<Answer>(clients, "servicequotas", content_type, &target, &input).await?;
    match answer {
        Ok(answer) => Ok(Some(answer.quota)),
        Err(error) if error.code() == "NoSuchResourceException" => Ok(None),
        Err(error) => Err(error.explain("cannot read the quota")),
    }
}

/// Counts resources of EC2 in the region.
pub async fn in_use(clients: &Clients, counted: Counted) -> Result<usize> {
    let (operation, list) = counted.operation();
    Ok(ec2::list(clients, operation, list, &[]).await?.len())
}
