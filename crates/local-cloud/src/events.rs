//! EventBridge: rules on the default event bus, and the delivery of what they match.
//!
//! ```text
//! PutEvents ────────────┐
//! services: publish(_in) ┴─ bus ── compiled (rules in memory) ── pattern (pure)
//!                            │
//!                   events_accepted, events_deliveries (one per target), events_targets
//!                            │  brake: not too many in a minute
//!                        delivery ── attempt ── transform (pure) ── kinds ── Cloud::call
//!                            ├── retries (pure)
//!                            └── dead_letters ── SQS
//! ```
//!
//! An event is stored with its deliveries before its sender is answered, in the transaction that causes it where the
//! sender uses [`publish_in`]. An event that no rule matches is not stored. Deliveries follow the cloud's clock and
//! continue after a crash. Other event buses, schedules, archives, pipes and API destinations are refused by name.

use futures::future::BoxFuture;

use super::Cloud;
use super::cloud::service::{RESERVED_TAG, Service, operations};

mod attempt;
mod brake;
mod bus;
mod buses;
mod compiled;
mod dead_letters;
mod delivery;
mod kinds;
mod path;
pub(crate) mod pattern;
mod put;
mod retries;
mod rules;
mod stored;
mod tags;
mod target;
mod targets;
mod test_pattern;
mod transform;

pub(crate) use attempt::delivering_rule;
pub(crate) use dead_letters::error_text;
pub(crate) use retries::is_final;

pub(crate) use bus::{Event, deliver_soon, is_ignored, is_ignored_in, publish, publish_in, update};

operations! {
    "DeleteRule" => rules::delete,
    "DescribeEventBus" => buses::describe,
    "DescribeRule" => rules::describe,
    "DisableRule" => rules::disable,
    "EnableRule" => rules::enable,
    "ListEventBuses" => buses::list,
    "ListRuleNamesByTarget" => targets::list_names,
    "ListRules" => rules::list,
    "ListTagsForResource" => tags::list,
    "ListTargetsByRule" => targets::list,
    "PutEvents" => put::put_events,
    "PutRule" => rules::put,
    "PutTargets" => targets::put,
    "RemoveTargets" => targets::remove,
    "TagResource" => tags::add,
    "TestEventPattern" => test_pattern::test,
    "UntagResource" => tags::remove,
}

/// The service.
pub(crate) const SERVICE: Service = Service {
    tables: stored::TABLES,
    checks_limits: true,
    reserved_tag: ("ValidationException", RESERVED_TAG),
    recover: Some(recover),
    shut_down: Some(shut_down),
    ..Service::json("events", "EventBridge", "AWSEvents", &[OPERATIONS])
};

fn recover(cloud: &Cloud) -> anyhow::Result<()> {
    Ok(delivery::recover(cloud)?)
}

fn shut_down(cloud: &Cloud) -> BoxFuture<'_, ()> {
    delivery::stop(cloud);
    Box::pin(std::future::ready(()))
}

#[cfg(test)]
mod tests;
