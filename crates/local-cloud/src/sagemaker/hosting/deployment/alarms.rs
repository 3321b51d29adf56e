//! The alarms of `AutoRollbackConfiguration`, which SageMaker reads with the execution role.

use serde::Deserialize;
use serde_json::json;

use crate::Cloud;
use crate::api::{ApiError, ApiResult, parse};
use crate::cloud::caller::Caller;

/// Announced when the state of an alarm changes.
pub(super) use crate::cloudwatch::ALARM_STATES as CHANGES;

/// The response of `DescribeAlarms`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Described {
    #[serde(default)]
    metric_alarms: Vec<Alarm>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Alarm {
    alarm_name: String,
    state_value: String,
}

async fn describe(cloud: &Cloud, role: &Caller, names: &[String]) -> ApiResult<Vec<Alarm>> {
    let input = json!({"AlarmNames": names, "MaxRecords": 100});
    let described = cloud.call("cloudwatch", "DescribeAlarms", input);
    let described = role.clone().scope(described).await?;
    parse::<Described>(described).map(|described| described.metric_alarms)
}

/// The alarms that are in `ALARM`. One that was deleted after the start of the deployment is not (unverified against
/// AWS [endpoint-alarm-deleted]).
pub(super) async fn tripped(
    cloud: &Cloud,
    role: &Caller,
    names: &[String],
) -> ApiResult<Vec<String>> {
    let alarms = describe(cloud, role, names).await?.into_iter();
    let tripped = alarms.filter(|alarm| alarm.state_value == "ALARM");
    Ok(tripped.map(|alarm| alarm.alarm_name).collect())
}

/// Fails unless every alarm exists and the role may read its state (unverified against AWS
/// [endpoint-alarm-check]: the words, and that the request itself fails).
pub(in super::super) async fn check(
    cloud: &Cloud,
    role: &Caller,
    names: &[String],
) -> ApiResult<()> {
    if names.is_empty() {
        return Ok(());
    }
    let found = describe(cloud, role, names).await.map_err(|error| {
        let denied = error.is_denied();
        let message = format!(
            "The execution role cannot describe the alarms of AutoRollbackConfiguration: {}",
            error.message
        );
        if denied {
            ApiError::validation(message)
        } else {
            error
        }
    })?;
    let is_missing = |name: &&String| !found.iter().any(|alarm| alarm.alarm_name == **name);
    let missing: Vec<&str> = names
        .iter()
        .filter(is_missing)
        .map(String::as_str)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(ApiError::validation(format!(
        "Could not find the alarm(s) {} of AutoRollbackConfiguration.",
        missing.join(", ")
    )))
}
