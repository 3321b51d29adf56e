//! Flow logs: what would be logged, and where to. No packet flows, so no record is ever written.

use serde::Deserialize;
use serde_json::{Value, json};

use super::kinds::{FLOW_LOG, SUBNET, VPC, changing};
use super::requests::{Describe, TagSpecifications, required};
use crate::api::form::{list, whole};
use crate::api::{ApiError, ApiResult};
use crate::s3::buckets;
use crate::{Cloud, clock, iam, logs};

/// The principal that publishes flow logs to a log group.
const PUBLISHER: &str = "vpc-flow-logs.amazonaws.com";

/// The fields of a record if the request names none.
const DEFAULT_FORMAT: &str = "${version} ${account-id} ${interface-id} ${srcaddr} ${dstaddr} ${srcport} \
     ${dstport} ${protocol} ${packets} ${bytes} ${start} ${end} ${action} ${log-status}";

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct CreateFlowLogs {
    #[serde(deserialize_with = "list")]
    resource_id: Vec<String>,
    resource_type: String,
    traffic_type: String,
    log_destination_type: String,
    log_destination: String,
    log_group_name: String,
    deliver_logs_permission_arn: String,
    log_format: String,
    #[serde(deserialize_with = "whole")]
    max_aggregation_interval: Option<i64>,
    destination_options: Value,
    tag_specification: TagSpecifications,
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidParameter", message)
}

/// Where records would go, as members of a flow log's record. The error is why a destination cannot be used.
///
/// Unverified against AWS [flow-log-messages]: the messages for a destination or a role that cannot be used.
fn destination(cloud: &Cloud, input: &CreateFlowLogs) -> ApiResult<Result<Value, String>> {
    let (group, arn) = (&input.log_group_name, &input.log_destination);
    if !group.is_empty() && !arn.is_empty() {
        return Err(invalid(
            "Please only provide LogGroupName or only provide LogDestination.",
        ));
    }
    match input.log_destination_type.as_str() {
        "" | "cloud-watch-logs" => {
            let named = logs::name_of_arn(cloud, arn).ok();
            let name = match &named {
                Some(name) => name,
                None if !arn.is_empty() => {
                    return Ok(Err(format!("LogDestination: {arn} is not a log group")));
                }
                None if group.is_empty() => {
                    return Err(invalid(
                        "LogDestination can't be empty if LogGroupName is not provided.",
                    ));
                }
                None => group,
            };
            let role = &input.deliver_logs_permission_arn;
            if role.is_empty() {
                return Err(invalid(
                    "DeliverLogsPermissionArn can't be empty if LogDestinationType is cloud-watch-logs.",
                ));
            }
            if iam::require_role(cloud, role, PUBLISHER).is_err() {
                return Ok(Err(format!(
                    "Unable to assume given IAM role {role}: it must exist and trust {PUBLISHER}"
                )));
            }
            Ok(Ok(json!({
                "logDestinationType": "cloud-watch-logs",
                "logGroupName": name,
                "logDestination": (!arn.is_empty()).then_some(arn),
                "deliverLogsPermissionArn": role,
            })))
        }
        "s3" => {
            if !group.is_empty() {
                return Err(invalid(
                    "LogDestination type must be cloud-watch-logs if LogGroupName is provided.",
                ));
            }
            if arn.is_empty() {
                return Err(invalid(
                    "LogDestination can't be empty if LogGroupName is not provided.",
                ));
            }
            let bucket = arn.strip_prefix("arn:aws:s3:::").unwrap_or_default();
            let bucket = bucket.split('/').next().unwrap_or_default();
            if bucket.is_empty() || !buckets::exists(cloud, bucket)? {
                return Ok(Err(format!("LogDestination: {bucket} does not exist")));
            }
            Ok(Ok(
                json!({"logDestinationType": "s3", "logDestination": arn}),
            ))
        }
        other => Err(ApiError::not_implemented(format_args!(
            "flow logs to {other}"
        ))),
    }
}

/// `CreateFlowLogs`. The response lists the resources whose flow log could not be created.
pub(super) async fn create(cloud: &Cloud, input: CreateFlowLogs) -> ApiResult<Value> {
    let _change = changing(cloud);
    let kind = match required(&input.resource_type, "ResourceType")? {
        "VPC" => &VPC,
        "Subnet" => &SUBNET,
        other => {
            return Err(ApiError::not_implemented(format_args!(
                "flow logs of type {other}"
            )));
        }
    };
    if input.resource_id.is_empty() {
        required("", "ResourceId")?;
    }
    for id in &input.resource_id {
        kind.require(cloud, id)?;
    }
    let traffic = required(&input.traffic_type, "TrafficType")?;
    if !["ACCEPT", "REJECT", "ALL"].contains(&traffic) {
        return Err(invalid(format!("Invalid TrafficType {traffic}")));
    }
    let interval = input.max_aggregation_interval.unwrap_or(600);
    if ![60, 600].contains(&interval) {
        return Err(invalid("Invalid Flow Log Max Aggregation Interval"));
    }
    let destination = destination(cloud, &input)?;
    let tags = input.tag_specification.of(FLOW_LOG.name)?;
    let (mut made, mut failed) = (Vec::new(), Vec::new());
    for resource in &input.resource_id {
        let destination = match &destination {
            Ok(destination) => destination,
            Err(message) => {
                failed.push(json!({
                    "resourceId": resource,
                    "error": {"code": "400", "message": message},
                }));
                continue;
            }
        };
        let id = FLOW_LOG.new_id();
        let mut record = destination.clone();
        let format = Some(input.log_format.as_str()).filter(|format| !format.is_empty());
        let options = &input.destination_options;
        for (name, value) in [
            ("flowLogId", json!(id)),
            ("flowLogStatus", json!("ACTIVE")),
            ("deliverLogsStatus", json!("SUCCESS")),
            ("resourceId", json!(resource)),
            ("trafficType", json!(traffic)),
            ("maxAggregationInterval", json!(interval)),
            ("logFormat", json!(format.unwrap_or(DEFAULT_FORMAT))),
            ("destinationOptions", shown_options(options)),
            ("creationTime", json!(clock::iso())),
            ("tagSet", tags.clone()),
        ] {
            record[name] = value;
        }
        let same = |(_, other): &(String, Value)| {
            let members = [
                "resourceId",
                "trafficType",
                "logGroupName",
                "logDestination",
            ];
            members.iter().all(|name| other[name] == record[name])
        };
        if FLOW_LOG.records(cloud).list("")?.iter().any(same) {
            return Err(ApiError::new(
                "FlowLogAlreadyExists",
                "Error. There is an existing Flow Log with the same configuration and log destination.",
            ));
        }
        made.push((id, record));
    }
    // After all checks: a request that fails creates nothing.
    for (id, record) in &made {
        FLOW_LOG.records(cloud).put(id, record)?;
    }
    let made: Vec<String> = made.into_iter().map(|(id, _)| id).collect();
    Ok(json!({"flowLogIdSet": made, "unsuccessful": failed}))
}

/// `{"FileFormat": …}` → `{"fileFormat": …}`
fn shown_options(options: &Value) -> Value {
    let Some(members) = options.as_object().filter(|members| !members.is_empty()) else {
        return Value::Null;
    };
    let shown = members.iter().map(|(name, value)| {
        let mut name = name.clone();
        if let Some(first) = name.get_mut(..1) {
            first.make_ascii_lowercase();
        }
        (name, value.clone())
    });
    Value::Object(shown.collect())
}

pub(super) async fn describe(cloud: &Cloud, input: Describe) -> ApiResult<Value> {
    FLOW_LOG.describe(cloud, &input)
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct DeleteFlowLogs {
    #[serde(deserialize_with = "list")]
    flow_log_id: Vec<String>,
}

/// `DeleteFlowLogs`. The response lists the ids that do not exist.
pub(super) async fn delete(cloud: &Cloud, input: DeleteFlowLogs) -> ApiResult<Value> {
    let _change = changing(cloud);
    let mut failed = Vec::new();
    for id in input.flow_log_id {
        if !FLOW_LOG.records(cloud).remove(&id)? {
            let error = FLOW_LOG.missing(&id);
            failed.push(json!({
                "resourceId": id,
                "error": {"code": error.code, "message": error.message},
            }));
        }
    }
    Ok(json!({"unsuccessful": failed}))
}
