//! VPC endpoints: gateways in route tables, interfaces in subnets.

use serde_json::{Value, json};

use super::kinds::{
    ROUTE_TABLE, SECURITY_GROUP, SUBNET, VPC, VPC_ENDPOINT, changing, flag, new_id, required, text,
    texts,
};
use super::routes;
use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::clock;
use crate::cloud::ACCOUNT;
use crate::limits;

/// What an endpoint allows when it is not told.
const OPEN_POLICY: &str =
    r#"{"Statement":[{"Action":"*","Effect":"Allow","Principal":"*","Resource":"*"}]}"#;

pub(super) async fn create(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let _change = changing(cloud);
    let vpc_id = required(&input, "VpcId")?;
    VPC.require(cloud, vpc_id)?;
    let service = required(&input, "ServiceName")?;
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
        "state": "available",
        "ownerId": ACCOUNT,
        "creationTimestamp": clock::iso(),
        "policyDocument": policy(&input)?.unwrap_or_else(|| OPEN_POLICY.to_owned()),
        "privateDnsEnabled": false,
        "requesterManaged": false,
        "routeTableIdSet": [],
        "subnetIdSet": [],
        "groupSet": [],
        "networkInterfaceIdSet": [],
        "dnsEntrySet": [],
        "tagSet": VPC_ENDPOINT.new_tags(&input)?,
    });
    match text(&input, "VpcEndpointType") {
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
            let tables = texts(&input, "RouteTableId");
            in_vpc(cloud, &ROUTE_TABLE, &tables, vpc_id)?;
            endpoint["vpcEndpointType"] = json!("Gateway");
            endpoint["routeTableIdSet"] = json!(tables);
            for table in &tables {
                routes::set_endpoint(cloud, table, &id, Some(&prefix_list(name)))?;
            }
        }
        "Interface" => {
            let subnets = texts(&input, "SubnetId");
            in_vpc(cloud, &SUBNET, &subnets, vpc_id)?;
            let mut groups = texts(&input, "SecurityGroupId");
            in_vpc(cloud, &SECURITY_GROUP, &groups, vpc_id)?;
            if groups.is_empty() {
                groups = default_group(cloud, vpc_id)?;
            }
            endpoint["vpcEndpointType"] = json!("Interface");
            endpoint["ipAddressType"] = json!("ipv4");
            endpoint["privateDnsEnabled"] =
                json!(flag(&input, "PrivateDnsEnabled")?.unwrap_or(true));
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

/// The policy of a request: text, or (from CloudFormation) the document itself.
fn policy(input: &Value) -> ApiResult<Option<String>> {
    match &input["PolicyDocument"] {
        Value::Null => Ok(None),
        Value::String(text) => {
            let wrong = |message: &str| ApiError::new("InvalidPolicyDocument", message);
            match limits::document(text.as_bytes()) {
                Ok(Value::Object(_)) => Ok(Some(text.clone())),
                Ok(_) => Err(wrong("The policy is not a JSON object")),
                Err(error) => Err(wrong(&format!("The policy is not a JSON object: {error}"))),
            }
        }
        document => Ok(Some(document.to_string())),
    }
}

/// The id of a service's list of addresses: the same for every endpoint of it.
fn prefix_list(service: &str) -> String {
    let id = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_DNS, service.as_bytes());
    format!("pl-{}", &id.simple().to_string()[..8])
}

fn in_vpc(cloud: &Cloud, kind: &super::kinds::Kind, ids: &[String], vpc: &str) -> ApiResult<()> {
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

pub(super) async fn describe(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    VPC_ENDPOINT.describe(cloud, &input)
}

/// A member of a record, with what the request adds and without what it removes.
fn edited(record: &Value, member: &str, input: &Value, noun: &str) -> Vec<String> {
    let removed = texts(input, &format!("Remove{noun}"));
    let mut ids: Vec<String> = record[member]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|id| id.as_str().or_else(|| id["groupId"].as_str()))
        .filter(|id| !removed.iter().any(|removed| removed == id))
        .map(str::to_owned)
        .collect();
    for id in texts(input, &format!("Add{noun}")) {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}

pub(super) async fn modify(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let _change = changing(cloud);
    let id = required(&input, "VpcEndpointId")?;
    let mut endpoint = VPC_ENDPOINT.require(cloud, id)?;
    let vpc = text(&endpoint, "vpcId").to_owned();
    if flag(&input, "ResetPolicy")? == Some(true) {
        endpoint["policyDocument"] = json!(OPEN_POLICY);
    }
    if let Some(policy) = policy(&input)? {
        endpoint["policyDocument"] = json!(policy);
    }
    if let Some(enabled) = flag(&input, "PrivateDnsEnabled")? {
        endpoint["privateDnsEnabled"] = json!(enabled);
    }
    if endpoint["vpcEndpointType"] == "Gateway" {
        let tables = edited(&endpoint, "routeTableIdSet", &input, "RouteTableId");
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
        let subnets = edited(&endpoint, "subnetIdSet", &input, "SubnetId");
        in_vpc(cloud, &SUBNET, &subnets, &vpc)?;
        let groups = edited(&endpoint, "groupSet", &input, "SecurityGroupId");
        in_vpc(cloud, &SECURITY_GROUP, &groups, &vpc)?;
        set_groups(cloud, &mut endpoint, &groups)?;
        if endpoint["subnetIdSet"] != json!(subnets) {
            set_subnets(&mut endpoint, &subnets);
        }
    }
    VPC_ENDPOINT.records(cloud).put(id, &endpoint)?;
    Ok(super::done())
}

/// Endpoints that are not there are named in the answer; the others go.
pub(super) async fn delete(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let _change = changing(cloud);
    let mut failed = Vec::new();
    for id in texts(&input, "VpcEndpointId") {
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
