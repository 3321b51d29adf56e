//! The operations on alarms.

use serde::Deserialize;
use serde_json::{Value, json};

use super::alarms::{Alarm, Configuration, NewState, Record, record_change, records};
use super::errors::{invalid_token, validation};
use super::evaluation::State;
use super::metrics::{Dimension, Metric};
use super::{ALARM_DEFINITIONS, ALARM_STATES, announce, evaluator, tags};
use crate::api::keyed_page::page;
use crate::api::tags::Tags;
use crate::api::{ApiError, ApiResult};
use crate::{Cloud, events};

/// Default number of alarms on a page.
const PAGE: usize = 50;

#[derive(Deserialize)]
pub(super) struct Put {
    #[serde(flatten)]
    configuration: Configuration,
    #[serde(rename = "Tags", default)]
    tags: Tags,
}

/// `PutMetricAlarm`. As in AWS, an update keeps the state and ignores tags. If it replaces the metric, the alarm is
/// evaluated at once.
pub(super) async fn put(cloud: &Cloud, input: Put) -> ApiResult<Value> {
    let configuration = input.configuration;
    configuration.check()?;
    let tags = tags::checked(input.tags)?;
    let name = configuration.alarm_name.clone();
    let now = cloud.clock().now();
    let seconds = crate::clock::seconds(now);
    let has_other_metric = cloud.store().transaction(|tx| {
        let records = records(cloud);
        let mut has_other_metric = false;
        let (change, record) = if let Some(mut record) = records.get_in(tx, &name)? {
            has_other_metric = record.alarm.configuration.metric()? != configuration.metric()?;
            record.alarm.configure(configuration, seconds);
            ("update", record)
        } else {
            let arn = cloud.arn("cloudwatch", format_args!("alarm:{name}"));
            let alarm = Alarm::new(configuration, arn, seconds);
            ("create", Record { alarm, tags })
        };
        record_change(tx, change, &record.alarm, now)?;
        records.put_in(tx, &name, &record)?;
        Ok(has_other_metric)
    })?;
    if has_other_metric {
        evaluator::evaluate_now(cloud, &name)?;
    }
    evaluator::ensure_running(cloud);
    cloud.clock().announce(ALARM_DEFINITIONS);
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Describe {
    #[serde(default)]
    alarm_names: Vec<String>,
    alarm_name_prefix: Option<String>,
    #[serde(default)]
    alarm_types: Vec<String>,
    state_value: Option<State>,
    action_prefix: Option<String>,
    max_records: Option<usize>,
    next_token: Option<String>,
}

/// `DescribeAlarms`
pub(super) async fn describe(cloud: &Cloud, input: Describe) -> ApiResult<Value> {
    if !input.alarm_names.is_empty() && input.alarm_name_prefix.is_some() {
        return Err(validation(
            "AlarmNames and AlarmNamePrefix must not be specified together.",
        ));
    }
    let metric_alarms = |kind: &String| kind == "MetricAlarm";
    let is_wanted = |alarm: &Alarm| {
        let configuration = &alarm.configuration;
        let states = [State::Ok, State::Alarm, State::InsufficientData];
        let mut actions = states
            .into_iter()
            .flat_map(|state| configuration.actions(state));
        (input.alarm_types.is_empty() || input.alarm_types.iter().any(metric_alarms))
            && (input.alarm_names.is_empty()
                || input.alarm_names.contains(&configuration.alarm_name))
            && input
                .state_value
                .is_none_or(|state| state == alarm.state_value)
            && input
                .action_prefix
                .as_ref()
                .is_none_or(|prefix| actions.any(|action| action.starts_with(prefix)))
    };
    let prefix = input.alarm_name_prefix.as_deref().unwrap_or_default();
    let found = records(cloud).list(prefix)?.into_iter();
    let found = found.filter(|(_, record)| is_wanted(&record.alarm));
    let found = found.map(|(name, record)| (name, json!(record.alarm)));
    let size = input.max_records.unwrap_or(PAGE);
    let mut answer = page("MetricAlarms", found, size, input.next_token.as_deref())
        .map_err(|_| invalid_token())?;
    answer["CompositeAlarms"] = json!([]);
    Ok(answer)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DescribeForMetric {
    metric_name: String,
    namespace: String,
    statistic: Option<String>,
    extended_statistic: Option<String>,
    #[serde(default)]
    dimensions: Vec<Dimension>,
    period: Option<i64>,
    unit: Option<String>,
}

/// `DescribeAlarmsForMetric`
pub(super) async fn describe_for_metric(
    cloud: &Cloud,
    input: DescribeForMetric,
) -> ApiResult<Value> {
    let wanted = Metric::new(
        &input.namespace,
        &input.metric_name,
        &input.dimensions,
        "Dimensions",
    )?;
    let statistic = input
        .statistic
        .as_ref()
        .or(input.extended_statistic.as_ref());
    let mut found = Vec::new();
    for (_, record) in records(cloud).list("")? {
        let configuration = &record.alarm.configuration;
        let fits = configuration.metric()? == wanted
            && statistic.is_none_or(|name| name == configuration.statistic_name())
            && input
                .period
                .is_none_or(|period| period == configuration.period)
            && (input.unit.is_none() || input.unit == configuration.unit);
        if fits {
            found.push(json!(record.alarm));
        }
    }
    Ok(json!({"MetricAlarms": found}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Names {
    alarm_names: Vec<String>,
}

/// `DeleteAlarms`.
///
/// Unverified against AWS [cloudwatch-absent-alarms]: names of alarms that do not exist are ignored, as the
/// reference says ("If you specify any incorrect alarm names, the alarms you specify with correct names are still
/// deleted"); so they are in `EnableAlarmActions` and `DisableAlarmActions`.
pub(super) async fn delete(cloud: &Cloud, input: Names) -> ApiResult<Value> {
    let now = cloud.clock().now();
    cloud.store().transaction(|tx| {
        let records = records(cloud);
        for name in &input.alarm_names {
            if let Some(record) = records.get_in(tx, name)? {
                record_change(tx, "delete", &record.alarm, now)?;
                records.remove_in(tx, name)?;
            }
        }
        Ok(())
    })?;
    cloud.clock().announce(ALARM_DEFINITIONS);
    Ok(json!({}))
}

/// `EnableAlarmActions`
pub(super) async fn enable_actions(cloud: &Cloud, input: Names) -> ApiResult<Value> {
    set_actions(cloud, &input.alarm_names, true)
}

/// `DisableAlarmActions`
pub(super) async fn disable_actions(cloud: &Cloud, input: Names) -> ApiResult<Value> {
    set_actions(cloud, &input.alarm_names, false)
}

fn set_actions(cloud: &Cloud, names: &[String], are_enabled: bool) -> ApiResult<Value> {
    let now = cloud.clock().now();
    cloud.store().transaction(|tx| {
        let records = records(cloud);
        for name in names {
            let Some(mut record) = records.get_in(tx, name)? else {
                continue;
            };
            let mut configuration = record.alarm.configuration.clone();
            if configuration.actions_enabled == are_enabled {
                continue;
            }
            configuration.actions_enabled = are_enabled;
            let seconds = crate::clock::seconds(now);
            record.alarm.configure(configuration, seconds);
            record_change(tx, "update", &record.alarm, now)?;
            records.put_in(tx, name, &record)?;
        }
        Ok(())
    })?;
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SetState {
    alarm_name: String,
    state_value: State,
    state_reason: String,
    state_reason_data: Option<String>,
}

/// `SetAlarmState`: until the next evaluation.
pub(super) async fn set_state(cloud: &Cloud, input: SetState) -> ApiResult<Value> {
    if let Some(data) = &input.state_reason_data
        && let Err(error) = crate::limits::document(data.as_bytes())
    {
        let message = format!("StateReasonData is not valid JSON: {error}");
        return Err(ApiError::new("InvalidFormatFault", message));
    }
    let new = NewState {
        value: input.state_value,
        reason: input.state_reason,
        data: input.state_reason_data,
    };
    let now = cloud.clock().now();
    let has_changed = cloud.store().transaction(|tx| {
        let records = records(cloud);
        let Some(mut record) = records.get_in(tx, &input.alarm_name)? else {
            let message = "The alarm does not exist.";
            return Err(ApiError::not_found("ResourceNotFound", message).status(404));
        };
        let before = record.alarm.clone();
        let has_changed = record.alarm.set_state(tx, new, now)?;
        records.put_in(tx, &input.alarm_name, &record)?;
        if has_changed {
            let event = announce::state_change(&before, &record.alarm);
            events::publish_in(tx, cloud, event)?;
        }
        Ok(has_changed)
    })?;
    if has_changed {
        events::deliver_soon(cloud);
        cloud.clock().announce(ALARM_STATES);
    }
    Ok(json!({}))
}
