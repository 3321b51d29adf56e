//! `CloudFormation`: stacks that really make, change, roll back and delete resources in the other
//! services of the local cloud.
//!
//! ```text
//! requests ── template (YAML, JSON) ── parameters ── prepare (all that can be refused at once)
//!    │ answers at once                                  │
//!    ├── changes: what an update would do ──────────────┤
//!    └── engine, update: the stack's work ── graph (order) ── intrinsics (values)
//!                                               │
//!                                          resources/*: one handler per type ── Cloud::call
//! ```
//!
//! A stack's record is written before and after each step on a resource, with an event. Where an
//! operation or a resource type is not there, the request is refused by name.

use super::api::operations;

mod changes;
mod engine;
mod graph;
mod intrinsics;
mod parameters;
mod prepare;
mod queries;
mod requests;
mod resources;
mod stacks;
mod template;
mod update;

operations! { "cloudformation":
    "ContinueUpdateRollback" => requests::continue_update_rollback,
    "CreateChangeSet" => requests::create_change_set,
    "CreateStack" => requests::create_stack,
    "DeleteChangeSet" => requests::delete_change_set,
    "DeleteStack" => requests::delete_stack,
    "DescribeChangeSet" => queries::describe_change_set,
    "DescribeStackEvents" => queries::describe_stack_events,
    "DescribeStackResource" => queries::describe_stack_resource,
    "DescribeStackResources" => queries::describe_stack_resources,
    "DescribeStacks" => queries::describe_stacks,
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

/// The resource types that stacks can hold.
pub(crate) fn resource_types() -> Vec<&'static str> {
    resources::names()
}

/// Work that was under way when the server died is failed.
pub(crate) fn recover(cloud: &super::Cloud) -> anyhow::Result<()> {
    for mut stack in stacks::living(cloud)? {
        if !stack.is_busy() {
            continue;
        }
        let status = match stack.status.as_str() {
            "CREATE_IN_PROGRESS" => "CREATE_FAILED",
            "DELETE_IN_PROGRESS" => "DELETE_FAILED",
            "ROLLBACK_IN_PROGRESS" => "ROLLBACK_FAILED",
            "UPDATE_IN_PROGRESS" => "UPDATE_FAILED",
            // The update itself is done; only its leftovers stay behind.
            "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS" => "UPDATE_COMPLETE",
            "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS" => "UPDATE_ROLLBACK_COMPLETE",
            _ => "UPDATE_ROLLBACK_FAILED",
        };
        let reason = Some("InternalServerError".to_owned());
        let owner = stack.clone();
        for resource in &mut stack.resources {
            if let Some(verb) = resource.status.strip_suffix("_IN_PROGRESS") {
                resource.status = format!("{verb}_FAILED");
                resource.reason.clone_from(&reason);
                resource.changed = super::clock::iso();
                stacks::record(cloud, &owner, resource)?;
            }
        }
        stacks::stacks(cloud).put(stack.key(), &stack)?;
        stacks::set_status(cloud, stack.key(), status, reason)?;
    }
    for (key, mut change_set) in changes::change_sets(cloud).list("")? {
        if change_set.status == "CREATE_IN_PROGRESS" {
            "FAILED".clone_into(&mut change_set.status);
            change_set.status_reason = Some("InternalServerError".to_owned());
        } else if change_set.execution_status == "EXECUTE_IN_PROGRESS" {
            "EXECUTE_FAILED".clone_into(&mut change_set.execution_status);
        } else {
            continue;
        }
        changes::change_sets(cloud).put(&key, &change_set)?;
    }
    Ok(())
}
