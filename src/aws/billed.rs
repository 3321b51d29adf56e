//! What is billed by the hour, whether or not it is used. Prices are not known here.

use std::fmt;

use anyhow::Result;
use aws_sdk_sagemaker::operation::describe_endpoint_config::DescribeEndpointConfigOutput;
use aws_sdk_sagemaker::types::NotebookInstanceStatus;
use serde::Serialize;

use super::hosting;
use super::{AwsResultExt, Clients, Expected, Missing, ec2};

/// A resource that is billed by the hour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Billed {
    /// The kind of resource.
    pub kind: BilledKind,
    /// Its name or id.
    pub name: String,
    /// The number of units that are billed each hour.
    pub count: u32,
    /// The unit: an instance type, or what else is counted.
    pub unit: String,
}

/// A kind of resource that is billed by the hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BilledKind {
    /// The instances of an endpoint.
    Endpoint,
    /// A running notebook instance.
    Notebook,
    /// A NAT gateway, whose public address is billed too.
    NatGateway,
    /// An interface endpoint, in each of its zones.
    InterfaceEndpoint,
}

impl fmt::Display for Billed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            BilledKind::Endpoint => "endpoint",
            BilledKind::Notebook => "notebook",
            BilledKind::NatGateway => "NAT gateway",
            BilledKind::InterfaceEndpoint => "interface endpoint",
        };
        write!(f, "{kind} {} ({} x {})", self.name, self.count, self.unit)
    }
}

/// A notebook instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Notebook {
    /// Its name.
    pub name: String,
    /// Its status, as SageMaker reports it.
    pub status: String,
    /// Why it failed, if it did.
    pub failure: Option<String>,
    #[serde(skip)]
    instance_type: String,
}

impl Notebook {
    /// Returns what is billed while it runs.
    pub fn billed(&self) -> Option<Billed> {
        let is_billed = matches!(
            NotebookInstanceStatus::from(self.status.as_str()),
            NotebookInstanceStatus::InService
                | NotebookInstanceStatus::Pending
                | NotebookInstanceStatus::Stopping
                | NotebookInstanceStatus::Updating
        );
        is_billed.then(|| Billed {
            kind: BilledKind::Notebook,
            name: self.name.clone(),
            count: 1,
            unit: self.instance_type.clone(),
        })
    }
}

/// SageMaker's answer about a notebook instance that does not exist.
const NO_NOTEBOOK: Expected = Expected::message("ValidationException", "RecordNotFound", "");

/// Returns a notebook instance, if it exists.
pub async fn notebook(clients: &Clients, name: &str) -> Result<Option<Notebook>> {
    let answer = clients
        .sagemaker
        .describe_notebook_instance()
        .notebook_instance_name(name)
        .send()
        .await
        .aws_unless(
            format!("cannot describe the notebook {name}"),
            &[NO_NOTEBOOK, Expected::Missing(Missing::Resource)],
        )?;
    Ok(answer.map(|answer| Notebook {
        name: name.to_owned(),
        status: answer
            .notebook_instance_status
            .map_or_else(|| "unknown".to_owned(), |status| status.as_str().to_owned()),
        failure: answer.failure_reason,
        instance_type: answer
            .instance_type
            .map_or_else(|| "?".to_owned(), |it| it.as_str().to_owned()),
    }))
}

/// Returns what is billed for an endpoint: the current instances of its variants.
pub async fn endpoint(clients: &Clients, name: &str) -> Result<Vec<Billed>> {
    let Some(described) = hosting::describe_endpoint(clients, name).await? else {
        return Ok(Vec::new());
    };
    let configuration = match described.endpoint_config_name() {
        Some(configuration) => hosting::describe_configuration(clients, configuration).await?,
        None => None,
    };
    let type_of = |variant: Option<&str>| {
        let variants = configuration
            .as_ref()
            .map(DescribeEndpointConfigOutput::production_variants)
            .unwrap_or_default();
        let found = variants.iter().find(|it| it.variant_name() == variant);
        let found = found.and_then(|it| it.instance_type());
        found.map_or_else(|| "instance".to_owned(), |it| it.as_str().to_owned())
    };
    let variants = described.production_variants().iter();
    // A serverless variant has no instances, and is billed by the request.
    let billed = variants.filter_map(|variant| {
        let count = u32::try_from(variant.current_instance_count()?).ok()?;
        (count > 0).then(|| Billed {
            kind: BilledKind::Endpoint,
            name: name.to_owned(),
            count,
            unit: type_of(variant.variant_name()),
        })
    });
    Ok(billed.collect())
}

/// Returns what is billed for a VPC: NAT gateways, and interface endpoints.
pub async fn network(clients: &Clients, vpc: &str) -> Result<Vec<Billed>> {
    let filter = [("vpc-id", vpc)];
    let (gateways, endpoints) = tokio::try_join!(
        ec2::list(clients, "DescribeNatGateways", "natGatewaySet", &filter),
        ec2::list(clients, "DescribeVpcEndpoints", "vpcEndpointSet", &filter),
    )?;
    let gateways = gateways
        .iter()
        .filter(|gateway| matches!(gateway.text("state"), "pending" | "available"))
        .map(|gateway| Billed {
            kind: BilledKind::NatGateway,
            name: gateway.text("natGatewayId").to_owned(),
            count: 1,
            unit: "gateway and public address".to_owned(),
        });
    let endpoints = endpoints
        .iter()
        .filter(|endpoint| endpoint.text("vpcEndpointType") == "Interface")
        .map(|endpoint| Billed {
            kind: BilledKind::InterfaceEndpoint,
            name: short(endpoint.text("serviceName")).to_owned(),
            count: endpoint
                .lists
                .get("subnetIdSet")
                .and_then(|count| u32::try_from(*count).ok())
                .unwrap_or(1),
            unit: "zone".to_owned(),
        });
    Ok(gateways.chain(endpoints).collect())
}

/// `sagemaker.api` of `com.amazonaws.eu-west-1.sagemaker.api`.
fn short(service: &str) -> &str {
    service
        .strip_prefix("com.amazonaws.")
        .and_then(|rest| rest.split_once('.'))
        .map_or(service, |(_region, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_notebook_is_not_billed_by_the_hour() {
        let notebook = |status: &str| Notebook {
            name: "flights".to_owned(),
            status: status.to_owned(),
            failure: None,
            instance_type: "ml.t3.medium".to_owned(),
        };
        let billed = notebook("InService").billed().unwrap();
        assert_eq!(billed.to_string(), "notebook flights (1 x ml.t3.medium)");
        for status in ["Stopped", "Failed", "Deleting"] {
            assert_eq!(notebook(status).billed(), None, "{status}");
        }
    }

    #[test]
    fn an_interface_endpoint_has_a_short_name() {
        assert_eq!(
            short("com.amazonaws.eu-west-1.sagemaker.api"),
            "sagemaker.api"
        );
        assert_eq!(short("other"), "other");
    }
}
