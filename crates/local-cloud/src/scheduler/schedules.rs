//! The operations on schedules.

use serde::Deserialize;
use serde_json::{Value, json};

use super::configuration::{Configuration, State};
use super::schedule::Schedule;
use super::selection::{Selection, invalid_token};
use super::{conflict, groups, not_found, now, runner, store};
use crate::Cloud;
use crate::api::ApiResult;
use crate::api::keyed_page::page;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Write {
    name: String,
    #[serde(default = "groups::default_name")]
    group_name: String,
    #[serde(flatten)]
    configuration: Configuration,
}

/// `CreateSchedule`
pub(super) async fn create(cloud: &Cloud, input: Write) -> ApiResult<Value> {
    let time = now(cloud);
    let seconds = cloud.clock().epoch();
    input.configuration.check(cloud, seconds)?;
    let schedule = Schedule {
        group: input.group_name,
        name: input.name,
        created: seconds,
        modified: seconds,
        anchor: time,
        configuration: input.configuration,
    };
    let first = schedule.first(time)?;
    cloud.store().transaction(|tx| {
        groups::require_in(cloud, tx, &schedule.group)?;
        if store::get(tx, &schedule.group, &schedule.name)?.is_some() {
            return Err(conflict(format!(
                "Schedule {} already exists.",
                schedule.name
            )));
        }
        store::put(tx, &schedule, first)
    })?;
    runner::wake(cloud);
    Ok(json!({"ScheduleArn": schedule.arn(cloud)}))
}

/// `UpdateSchedule`, which replaces the whole configuration. Occurrences that the old and the new configuration have in
/// common stay as they are planned, so none is repeated or lost. Unverified against AWS [scheduler-update].
pub(super) async fn update(cloud: &Cloud, input: Write) -> ApiResult<Value> {
    let time = now(cloud);
    let seconds = cloud.clock().epoch();
    input.configuration.check(cloud, seconds)?;
    let schedule = cloud.store().transaction(|tx| {
        let found = store::get_planned(tx, &input.group_name, &input.name)?;
        let found = found.ok_or_else(|| not_found("Schedule", &input.name))?;
        let (mut schedule, mut occurrence) = found;
        let old = std::mem::replace(&mut schedule.configuration, input.configuration);
        let new = &schedule.configuration;
        let has_same_times = new.has_times_of(&old);
        if !new.has_expression_of(&old) {
            schedule.anchor = time;
        }
        schedule.modified = seconds;
        if !has_same_times {
            occurrence = schedule.next(time)?;
            store::remove_waiting(tx, &schedule, time)?;
        }
        store::put(tx, &schedule, occurrence)?;
        if occurrence.is_none() {
            store::remove_completed(tx, &schedule)?;
        }
        Ok(schedule)
    })?;
    runner::wake(cloud);
    Ok(json!({"ScheduleArn": schedule.arn(cloud)}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ByName {
    name: String,
    #[serde(default = "groups::default_name")]
    group_name: String,
}

/// `GetSchedule`
pub(super) async fn get(cloud: &Cloud, input: ByName) -> ApiResult<Value> {
    let found = cloud
        .store()
        .transaction(|tx| store::get(tx, &input.group_name, &input.name))?;
    let schedule = found.ok_or_else(|| not_found("Schedule", &input.name))?;
    let mut shown = json!(schedule.configuration);
    shown["Arn"] = schedule.arn(cloud).into();
    shown["CreationDate"] = schedule.created.into();
    shown["LastModificationDate"] = schedule.modified.into();
    shown["GroupName"] = schedule.group.into();
    shown["Name"] = schedule.name.into();
    Ok(shown)
}

/// `DeleteSchedule`
pub(super) async fn delete(cloud: &Cloud, input: ByName) -> ApiResult<Value> {
    let removed = cloud
        .store()
        .transaction(|tx| store::remove(tx, &input.group_name, &input.name))?;
    if removed {
        Ok(json!({}))
    } else {
        Err(not_found("Schedule", &input.name))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct List {
    group_name: Option<String>,
    state: Option<State>,
    #[serde(flatten)]
    selection: Selection,
}

/// `ListSchedules`
pub(super) async fn list(cloud: &Cloud, input: List) -> ApiResult<Value> {
    if let Some(group) = &input.group_name {
        groups::require(cloud, group)?;
    }
    let group = input.group_name.as_deref();
    let all = cloud.store().transaction(|tx| store::list(tx, group))?;
    let found = all.into_iter().filter(|schedule| {
        let state = schedule.configuration.state;
        input.selection.includes(&schedule.name) && input.state.is_none_or(|it| it == state)
    });
    let items = found.map(|schedule| {
        let shown = json!({
            "Arn": schedule.arn(cloud),
            "Name": schedule.name,
            "GroupName": schedule.group,
            "State": schedule.configuration.state,
            "CreationDate": schedule.created,
            "LastModificationDate": schedule.modified,
            "Target": {"Arn": schedule.configuration.target.arn},
        });
        (format!("{}/{}", schedule.group, schedule.name), shown)
    });
    let mut items: Vec<_> = items.collect();
    items.sort_by(|one, other| one.0.cmp(&other.0));
    let (size, token) = (
        input.selection.size(),
        input.selection.next_token.as_deref(),
    );
    page("Schedules", items, size, token).map_err(|_| invalid_token())
}
