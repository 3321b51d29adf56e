//! Lineage: the origin of every artifact. Entities (artifacts, actions, contexts, trial components),
//! the associations between them, and queries over that graph.

use crate::cloud::service::operations;

mod associations;
mod automatic;
mod entities;
mod graph;
mod query;

pub(super) use automatic::{endpoint_deployed, job_finished, package_created};

operations! {
    "CreateArtifact" => entities::create_artifact,
    "DescribeArtifact" => entities::describe_artifact,
    "ListArtifacts" => entities::list_artifacts,
    "UpdateArtifact" => entities::update_artifact,
    "DeleteArtifact" => entities::delete_artifact,
    "CreateAction" => entities::create_action,
    "DescribeAction" => entities::describe_action,
    "ListActions" => entities::list_actions,
    "UpdateAction" => entities::update_action,
    "DeleteAction" => entities::delete_action,
    "CreateContext" => entities::create_context,
    "DescribeContext" => entities::describe_context,
    "ListContexts" => entities::list_contexts,
    "UpdateContext" => entities::update_context,
    "DeleteContext" => entities::delete_context,
    "ListTrialComponents" => entities::list_trial_components,
    "DescribeTrialComponent" => entities::describe_trial_component,
    "AddAssociation" => associations::add,
    "DeleteAssociation" => associations::delete,
    "ListAssociations" => associations::list,
    "QueryLineage" => query::query,
}
