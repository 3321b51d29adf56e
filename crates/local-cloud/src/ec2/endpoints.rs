//! VPC endpoints: gateways in route tables, interfaces in subnets.

use serde::Deserialize;
use serde_json::{Value, json};

use super::kinds::{
    Kind, ROUTE_TABLE, SECURITY_GROUP, SUBNET, VPC, VPC_ENDPOINT, changing, new_id, text,
};
use super::requests::{Describe, TagSpecifications, required};
use super::routes;
use super::states::ResourceState;
use crate::Cloud;
use crate::api::form::{flag, list};
use crate::api::{ApiError, ApiResult};
use crate::clock;
use crate::cloud::ACCOUNT;
use crate::limits;

/// The policy of an endpoint that is created without one.
const OPEN_POLICY: &str =
    r#"{"Statement":[{"Action":"*","Effect":"Allow","Principal":"*","Resource":"*"}]}"#;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct CreateEndpoint {
    vpc_id: String,
    service_name: String,
    vpc_endpoint_type: String,
    policy_document: Option<String>,
    #[serde(deserialize_with = "list")]
    route_table_id: Vec<String>,
    #[serde(deserialize_with = "list")]
    subnet_id: Vec<String>,
    #[serde(deserialize_with = "list")]
    security_group_id: Vec<String>,
    #[serde(deserialize_with = "flag")]
    private_dns_enabled: Option<bool>,
    tag_specification: TagSpecifications,
}

pub(super) async fn create(cloud: &Cloud, input: CreateEndpoint) -> ApiResult<Value> {
    let _change = changing(cloud);
    let vpc_id = required(&input.vpc_id, "VpcId")?;
    VPC.require(cloud, vpc_id)?;
    let service = required(&input.service_name, "ServiceName")?;
    let regional = format!("com.amazonaws.{}.", cloud.region());
    let notebook = format!("aws.sagemaker.{}.", cloud.region());
    if !service.starts_with(&regional) && !service.starts_with(&notebook) {
        return Err(ApiError::new(
            "InvalidServiceName",
            format!("The Vpc Endpoint Service '{service}' does not exist"),
        ));
    }
    let id = VPC_ENDPOINT.new_id();
    let mut endpoint = json!({
        "vpcEndpointId": id,
        "vpcId": vpc_id,
        "serviceName": service,
        "state": ResourceState::Available,
        "ownerId": ACCOUNT,
        "creationTimestamp": clock::iso(),
        "policyDocument": policy(input.policy_document)?.unwrap_or_else(|| OPEN_POLICY.to_owned()),
        "privateDnsEnabled": false,
        "requesterManaged": false,
        "routeTableIdSet": [],
        "subnetIdSet": [],
        "groupSet": [],
        "networkInterfaceIdSet": [],
        "dnsEntrySet": [],
        "tagSet": input.tag_specification.of(VPC_ENDPOINT.name)?,
    });
    match input.vpc_endpoint_type.as_str() {
        "" | "Gateway" => {
            let name = service.strip_prefix(&regional).unwrap_or_default();
            if !matches!(name, "s3" | "dynamodb") {
                return Err(ApiError::new(
                    "InvalidParameter",
                    format!(
                        "Endpoint type (Gateway) does not match available service types ([Interface]) of {service}."
                    ),
                ));
            }
            let tables = input.route_table_id;
            in_vpc(cloud, &ROUTE_TABLE, &tables, vpc_id)?;
            endpoint["vpcEndpointType"] = json!("Gateway");
            endpoint["routeTableIdSet"] = json!(tables);
            for table in &tables {
                routes::set_endpoint(cloud, table, &id, Some(&prefix_list(name)))?;
            }
        }
        "Interface" => {
            let subnets = input.subnet_id;
            in_vpc(cloud, &SUBNET, &subnets, vpc_id)?;
            let mut groups = input.security_group_id;
            in_vpc(cloud, &SECURITY_GROUP, &groups, vpc_id)?;
            if groups.is_empty() {
                groups = default_group(cloud, vpc_id)?;
            }
            endpoint["vpcEndpointType"] = json!("Interface");
            endpoint["ipAddressType"] = json!("ipv4");
            endpoint["privateDnsEnabled"] = json!(input.private_dns_enabled.unwrap_or(true));
            set_groups(cloud, &mut endpoint, &groups)?;
            set_subnets(&mut endpoint, &subnets);
        }
        other => {
            return Err(ApiError::not_implemented(format_args!(
                "VPC endpoints of type {other}"
            )));
        }
    }
    VPC_ENDPOINT.records(cloud).put(&id, &endpoint)?;
    Ok(json!({"vpcEndpoint": endpoint}))
}

/// The policy of a request, which must be a JSON object.
fn policy(given: Option<String>) -> ApiResult<Option<String>> {
    let Some(text) = given else {
        return Ok(None);
    };
    let wrong = |message: &str| ApiError::new("InvalidPolicyDocument", message);
    match limits::document(text.as_bytes()) {
        Ok(Value::Object(_)) => Ok(Some(text)),
        Ok(_) => Err(wrong("The policy is not a JSON object")),
        Err(error) => Err(wrong(&format!("The policy is not a JSON object: {error}"))),
    }
}

/// The id of a service's list of addresses: the same for every endpoint of it.
fn prefix_list(service: &str) -> String {
    let id = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_DNS, service.as_bytes());
    format!("pl-{}", &id.simple().to_string()[..8])
}

fn in_vpc(cloud: &Cloud, kind: &Kind, ids: &[String], vpc: &str) -> ApiResult<()> {
    for id in ids {
        if text(&kind.require(cloud, id)?, "vpcId") != vpc {
            return Err(ApiError::new(
                "InvalidParameter",
                format!("{id} does not belong to {vpc}"),
            ));
        }
    }
    Ok(())
}

fn default_group(cloud: &Cloud, vpc: &str) -> ApiResult<Vec<String>> {
    Ok(SECURITY_GROUP
        .in_vpc(cloud, vpc)?
        .iter()
        .filter(|group| group["groupName"] == "default")
        .map(|group| text(group, "groupId").to_owned())
        .collect())
}

fn set_groups(cloud: &Cloud, endpoint: &mut Value, groups: &[String]) -> ApiResult<()> {
    let mut set = Vec::new();
    for id in groups {
        let group = SECURITY_GROUP.require(cloud, id)?;
        set.push(json!({"groupId": id, "groupName": group["groupName"]}));
    }
    endpoint["groupSet"] = Value::Array(set);
    Ok(())
}

fn set_subnets(endpoint: &mut Value, subnets: &[String]) {
    let interfaces: Vec<String> = subnets.iter().map(|_| new_id("eni")).collect();
    endpoint["networkInterfaceIdSet"] = json!(interfaces);
    endpoint["subnetIdSet"] = json!(subnets);
}

pub(super) async fn describe(cloud: &Cloud, input: Describe) -> ApiResult<Value> {
    VPC_ENDPOINT.describe(cloud, &input)
}

/// The ids of a record's member, with those that the request adds and without those that it removes.
fn edited(record: &Value, member: &str, added: Vec<String>, removed: &[String]) -> Vec<String> {
    let mut ids: Vec<String> = record[member]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|id| id.as_str().or_else(|| id["groupId"].as_str()))
        .filter(|id| !removed.iter().any(|removed| removed == id))
        .map(str::to_owned)
        .collect();
    for id in added {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ModifyEndpoint {
    vpc_endpoint_id: String,
    #[serde(deserialize_with = "flag")]
    reset_policy: Option<bool>,
    policy_document: Option<String>,
    #[serde(deserialize_with = "flag")]
    private_dns_enabled: Option<bool>,
    #[serde(deserialize_with = "list")]
    add_route_table_id: Vec<String>,
    #[serde(deserialize_with = "list")]
    remove_route_table_id: Vec<String>,
    #[serde(deserialize_with = "list")]
    add_subnet_id: Vec<String>,
    #[serde(deserialize_with = "list")]
    remove_subnet_id: Vec<String>,
    #[serde(deserialize_with = "list")]
    add_security_group_id: Vec<String>,
    #[serde(deserialize_with = "list")]
    remove_security_group_id: Vec<String>,
}

pub(super) async fn modify(cloud: &Cloud, input: ModifyEndpoint) -> ApiResult<Value> {
    let _change = changing(cloud);
    let id = required(&input.vpc_endpoint_id, "VpcEndpointId")?;
    let mut endpoint = VPC_ENDPOINT.require(cloud, id)?;
    let vpc = text(&endpoint, "vpcId").to_owned();
    if input.reset_policy == Some(true) {
        endpoint["policyDocument"] = json!(OPEN_POLICY);
    }
    if let Some(policy) = policy(input.policy_document)? {
        endpoint["policyDocument"] = json!(policy);
    }
    if let Some(enabled) = input.private_dns_enabled {
        endpoint["privateDnsEnabled"] = json!(enabled);
    }
    if endpoint["vpcEndpointType"] == "Gateway" {
        let tables = edited(
            &endpoint,
            "routeTableIdSet",
            input.add_route_table_id,
            &input.remove_route_table_id,
        );
        in_vpc(cloud, &ROUTE_TABLE, &tables, &vpc)?;
        let service = text(&endpoint, "serviceName")
            .rsplit('.')
            .next()
            .unwrap_or_default();
        let list = prefix_list(service);
        for table in ROUTE_TABLE.in_vpc(cloud, &vpc)? {
            let table = text(&table, "routeTableId");
            let here = tables.iter().any(|id| id == table);
            routes::set_endpoint(cloud, table, id, here.then_some(list.as_str()))?;
        }
        endpoint["routeTableIdSet"] = json!(tables);
    } else {
        let subnets = edited(
            &endpoint,
            "subnetIdSet",
            input.add_subnet_id,
            &input.remove_subnet_id,
        );
        in_vpc(cloud, &SUBNET, &subnets, &vpc)?;
        let groups = edited(
            &endpoint,
            "groupSet",
            input.add_security_group_id,
            &input.remove_security_group_id,
        );
        in_vpc(cloud, &SECURITY_GROUP, &groups, &vpc)?;
        set_groups(cloud, &mut endpoint, &groups)?;
        if endpoint["subnetIdSet"] != json!(subnets) {
            set_subnets(&mut endpoint, &subnets);
        }
    }
    VPC_ENDPOINT.records(cloud).put(id, &endpoint)?;
    Ok(super::done())
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct DeleteEndpoints {
    #[serde(deserialize_with = "list")]
    vpc_endpoint_id: Vec<String>,
}

/// Deletes endpoints. The response names those that do not exist.
pub(super) async fn delete(cloud: &Cloud, input: DeleteEndpoints) -> ApiResult<Value> {
    let _change = changing(cloud);
    let mut failed = Vec::new();
    for id in input.vpc_endpoint_id {
        let Some(endpoint) = VPC_ENDPOINT.records(cloud).get(&id)? else {
            let error = VPC_ENDPOINT.missing(&id);
            failed.push(json!({
                "resourceId": id,
                "error": {"code": error.code, "message": error.message},
            }));
            continue;
        };
        for table in ROUTE_TABLE.in_vpc(cloud, text(&endpoint, "vpcId"))? {
            routes::set_endpoint(cloud, text(&table, "routeTableId"), &id, None)?;
        }
        VPC_ENDPOINT.records(cloud).remove(&id)?;
    }
    Ok(json!({"unsuccessful": failed}))
}
