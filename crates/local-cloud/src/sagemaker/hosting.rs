//! Hosting: models, endpoint configurations, and endpoints that are real server processes.
//!
//! ```text
//! operations (models, configs, endpoints) ── records
//!      │ deploy / update / delete                   invoke (runtime_api.rs)
//!      ▼                                              │
//!    fleet ── one per endpoint in service ── server (one process per instance, kept alive)
//!      └── capture (requests and responses to S3)
//! ```

use crate::cloud::service::operations;

mod artifact;
mod capture;
mod configs;
mod endpoints;
mod fleet;
mod invoke;
mod models;
mod server;

pub(super) use endpoints::recover;
pub(super) use fleet::shut_down;
pub(super) use invoke::{Answer, Invocation, InvokeError, MAX_BODY, invoke};

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
    "UpdateEndpointWeightsAndCapacities" => endpoints::update_weights,
    "DeleteEndpoint" => endpoints::delete,
}
