//! Service quotas, and how much of some of them is used.

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::json;

use super::signed::{self, SignedRequest};
use super::{Clients, ec2};

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

#[derive(Deserialize, Default)]
#[serde(default)]
struct ServiceError {
    #[serde(rename = "__type")]
    code: String,
    #[serde(alias = "Message")]
    message: String,
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
    let response = signed::post(
        clients,
        &SignedRequest {
            service: "servicequotas",
            headers: &[
                ("content-type", "application/x-amz-json-1.1"),
                ("x-amz-target", &target),
            ],
            body: json!({"ServiceCode": service, "QuotaCode": code}).to_string(),
        },
    )
    .await?;
    let doing = "cannot read the quota";
    if response.status == 200 {
        let answer: Answer = serde_json::from_slice(&response.body)
            .with_context(|| format!("{doing}: the response cannot be read"))?;
        return Ok(Some(answer.quota));
    }
    let error: ServiceError = serde_json::from_slice(&response.body).unwrap_or_default();
    let code = error.code.rsplit('#').next().unwrap_or_default();
    if code == "NoSuchResourceException" {
        return Ok(None);
    }
    Err(signed::failure(doing, code, &error.message))
}

/// Counts resources of EC2 in the region.
pub async fn in_use(clients: &Clients, counted: Counted) -> Result<usize> {
    let (operation, list) = counted.operation();
    Ok(ec2::list(clients, operation, list, &[]).await?.len())
}
