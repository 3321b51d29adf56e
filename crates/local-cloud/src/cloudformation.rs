//! `CloudFormation`: stacks that create, change, roll back and delete real resources in the other services
//! of the local cloud.
//!
//! ```text
//! requests ── template (YAML, JSON) ── parameters ── prepare (all checks before the response)
//!    │ returns after the checks                         │
//!    ├── changes: what an update would do ──────────────┤
//!    └── engine, update, recovery: the work ── graph, parallel (order) ── evaluate, intrinsics (values)
//!                                               │
//!                                          resources: one table per type ── Cloud::call
//!                                          custom: resources of functions in the template
//! drift: live resources compared with the template
//! ```
//!
//! A stack's record is written before and after each step on a resource, with an event. A request with an
//! operation or a resource type that the local cloud lacks is refused by name.

use super::cloud::service::{RESERVED_TAG, Service, operations};

mod changes;
mod custom;
mod deployment;
mod drift;
mod engine;
mod evaluate;
mod failure;
mod functions;
mod graph;
pub(crate) mod intrinsics;
mod pages;
mod parallel;
mod parameters;
mod parsed;
mod prepare;
mod queries;
mod recovery;
mod references;
mod requests;
mod resources;
mod rules;
mod stacks;
mod states;
pub(crate) mod template;
mod update;

operations! {
    "ContinueUpdateRollback" => requests::continue_update_rollback,
    "CreateChangeSet" => requests::create_change_set,
    "CreateStack" => requests::create_stack,
    "DeleteChangeSet" => requests::delete_change_set,
    "DeleteStack" => requests::delete_stack,
    "DescribeChangeSet" => queries::describe_change_set,
    "DescribeStackDriftDetectionStatus" => drift::status,
    "DescribeStackEvents" => queries::describe_stack_events,
    "DescribeStackResourceDrifts" => drift::describe,
    "DescribeStackResource" => queries::describe_stack_resource,
    "DescribeStackResources" => queries::describe_stack_resources,
    "DescribeStacks" => queries::describe_stacks,
    "DetectStackDrift" => drift::detect,
    "DetectStackResourceDrift" => drift::detect_resource,
    "ExecuteChangeSet" => requests::execute_change_set,
    "GetTemplate" => queries::get_template,
    "GetTemplateSummary" => queries::get_template_summary,
    "ListChangeSets" => queries::list_change_sets,
    "ListExports" => queries::list_exports,
    "ListImports" => queries::list_imports,
    "ListStackResources" => queries::list_stack_resources,
    "ListStacks" => queries::list_stacks,
    "UpdateStack" => requests::update_stack,
    "UpdateTerminationProtection" => requests::update_termination_protection,
    "ValidateTemplate" => queries::validate_template,
}

/// The service.
pub(crate) const SERVICE: Service = Service {
    reserved_tag: ("ValidationError", RESERVED_TAG),
    routes: &[custom::ROUTE],
    recover: Some(|cloud| {
        drift::recover(cloud)?;
        recovery::recover(cloud)
    }),
    ..Service::query(
        "cloudformation",
        "CloudFormation",
        "http://cloudformation.amazonaws.com/doc/2010-05-15/",
        &[OPERATIONS],
    )
};

/// The ARN of a change set's stack.
pub(crate) fn stack_of(cloud: &super::Cloud, change_set: &str) -> Option<String> {
    let found = changes::find(cloud, change_set, None).ok()?;
    Some(found.stack_id)
}

/// The resource types that stacks can contain.
pub(crate) fn resource_types() -> Vec<&'static str> {
    resources::names()
}
