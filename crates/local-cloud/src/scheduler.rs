//! `EventBridge` Scheduler: schedules and their groups.
//!
//! ```text
//! rest ── Cloud::call ── schedules (a table) ──── runner: one task, sleeps until the next due time
//!                             │                      │
//!                        expression, cron            ├── invocations (a table), until done or given up
//!                        (when it occurs)            └── targets, universal ── Cloud::call with the role
//! ```
//!
//! A schedule has the time of its next occurrence, and the time in its flexible window at which the target is called.
//! Both are in its row, so a schedule without work costs nothing. An occurrence becomes an invocation in the transaction
//! that computes the next occurrence, so none is lost or repeated by a crash; the call of the target itself is made at
//! least once.
//!
//! AWS has no times at which nothing runs. Here, a one-time schedule that was missed is invoked when the server starts,
//! and occurrences of recurring schedules that were missed are skipped.

use futures::future::BoxFuture;

use super::Cloud;
use super::api::ApiError;
use super::cloud::service::{Protocol, RESERVED_TAG, Service, operations};

mod configuration;
mod cron;
mod expression;
mod groups;
mod input;
mod invocation;
mod invocations;
mod request;
mod rest;
mod runner;
mod schedule;
mod schedules;
mod selection;
mod store;
mod targets;
mod universal;

operations! {
    "CreateSchedule" => schedules::create,
    "CreateScheduleGroup" => groups::create,
    "DeleteSchedule" => schedules::delete,
    "DeleteScheduleGroup" => groups::delete,
    "GetSchedule" => schedules::get,
    "GetScheduleGroup" => groups::get,
    "ListScheduleGroups" => groups::list,
    "ListSchedules" => schedules::list,
    "ListTagsForResource" => groups::list_tags,
    "TagResource" => groups::tag,
    "UntagResource" => groups::untag,
    "UpdateSchedule" => schedules::update,
}

/// The service.
pub(crate) const SERVICE: Service = Service {
    tables: store::TABLES,
    checks_limits: true,
    reserved_tag: ("ValidationException", RESERVED_TAG),
    recover: Some(recover),
    shut_down: Some(shut_down),
    ..Service::new(
        "scheduler",
        "Scheduler",
        Protocol::Rest(rest::REST),
        &[OPERATIONS],
    )
};

/// The service principal that assumes the roles of schedules.
const PRINCIPAL: &str = "scheduler.amazonaws.com";

fn recover(cloud: &Cloud) -> anyhow::Result<()> {
    Ok(runner::recover(cloud)?)
}

fn shut_down(cloud: &Cloud) -> BoxFuture<'_, ()> {
    runner::stop(cloud);
    Box::pin(std::future::ready(()))
}

/// `ResourceNotFoundException`
fn not_found(what: &str, name: &str) -> ApiError {
    let message = format!("{what} {name} does not exist.");
    ApiError::not_found("ResourceNotFoundException", message).status(404)
}

/// `ConflictException`
fn conflict(message: String) -> ApiError {
    ApiError::new("ConflictException", message).status(409)
}

/// The cloud's time in milliseconds.
fn now(cloud: &Cloud) -> i64 {
    cloud.clock().now().as_millisecond()
}

#[cfg(test)]
mod tests;
