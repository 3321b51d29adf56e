//! Hosting: models, endpoint configurations, and endpoints that are real server processes.
//!
//! ```text
//! operations (models, configs, endpoints, weights) ── record: Describe response and fleet specification
//!      │ deploy / update / rescale / delete                 invoke (runtime_api.rs)
//!      ▼                                                      │ reads
//!  deployment (policy → plan → steps) ── fleets ── split ── traffic (in memory) ── server (one process per
//!      └── alarms, on the cloud's clock        │                │                  instance, kept alive)
//!                                              └── capture      └── metrics
//! ```

use crate::cloud::service::operations;

mod artifact;
mod capacity;
mod capture;
mod configs;
mod deployment;
mod endpoints;
mod fleet;
mod invoke;
mod metrics;
mod models;
mod record;
mod recovery;
mod server;
mod spec;
mod traffic;
mod weights;

pub(super) use invoke::{Answer, Invocation, InvokeError, MAX_BODY, invoke};
pub(super) use recovery::recover;
pub(super) use traffic::shut_down;

operations! {
    "CreateModel" => models::create,
    "DescribeModel" => models::describe,
    "ListModels" => models::list,
    "DeleteModel" => models::delete,
    "CreateEndpointConfig" => configs::create,
    "DescribeEndpointConfig" => configs::describe,
    "ListEndpointConfigs" => configs::list,
    "DeleteEndpointConfig" => configs::delete,
    "CreateEndpoint" => endpoints::create,
    "DescribeEndpoint" => endpoints::describe,
    "ListEndpoints" => endpoints::list,
    "UpdateEndpoint" => endpoints::update,
    "UpdateEndpointWeightsAndCapacities" => weights::update,
    "DeleteEndpoint" => endpoints::delete,
}
