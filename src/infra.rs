//! The architecture in CloudFormation: templates, stacks, change sets, typed outputs.
//!
//! Every deployment uses a change set, so `mlops plan` prints exactly what `mlops init` does.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow};
use mlops_core::error::{Failure, Hint};
use mlops_core::wait::{Poll, Waiter};
use mlops_oci::Digest;
use serde::Serialize;

use crate::aws::Clients;
use crate::aws::cloudformation::{self as cfn, Change};
use crate::aws::state::StackStatusExt as _;
use crate::config::Project;

mod delivery;
mod deploy;
mod events;
mod history;
mod monitoring;
mod outline;
mod outputs;
mod part;
mod preview;
mod program;
mod retraining;
mod stacks;
mod statements;
mod teardown;

pub use delivery::{branch_names, branch_stack, branch_stacks, deployed_stacks};
pub use deploy::{
    Prepared, StackFailed, clear, deploy, discard, execute, is_deployed, lost, prepare, unchanged,
};
pub use history::{Deployment, last_deployments, was_rolled_back};
pub use monitoring::monitoring_stack;
pub use outputs::{Network, Platform, Workbench, analyzer_digest};
pub use part::{PARTS, Part};
pub use preview::{Effect, ResourcePreview, StackEffect, StackPreview, preview, preview_deletion};
pub use program::Program;
pub use retraining::{DeployedGate, Switches, retraining_stack, retraining_stack_with};
pub use stacks::{
    Inputs, StackSpec, buckets, capture_uri, check_name, check_new_name, endpoint_stack,
    endpoint_template_sha256, initial_stack, validation_stack,
};
pub use statements::Permissions;
pub use teardown::{DeployedStack, delete, deployed_stack, left_behind, unprotect};

/// The outcome of a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// The stack was created.
    Created,
    /// The stack was changed.
    Updated,
    /// The stack was already up to date.
    Unchanged,
}

impl Action {
    /// The action as one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Unchanged => "unchanged",
        }
    }
}

/// A stack after a deployment.
#[derive(Debug, Clone, Serialize)]
pub struct StackOutcome {
    /// The stack's name.
    pub stack: String,
    /// The action taken.
    pub action: Action,
    /// The changes, resource by resource.
    pub changes: Vec<Change>,
    /// The stack's outputs.
    pub outputs: BTreeMap<String, String>,
}

/// Returns the outputs of a stack, if it exists.
pub async fn outputs(
    clients: &Clients,
    stack_name: &str,
) -> Result<Option<BTreeMap<String, String>>> {
    Ok(cfn::stack(clients, stack_name)
        .await?
        .map(|stack| stack.outputs))
}

/// Returns the outputs of a stack if it exists and no deployment of it is in progress.
pub async fn settled_outputs(
    clients: &Clients,
    stack_name: &str,
) -> Result<Option<BTreeMap<String, String>>> {
    let stack = cfn::stack(clients, stack_name).await?;
    Ok(stack
        .filter(|stack| stack.status.is_settled())
        .map(|stack| stack.outputs))
}

/// Returns the value of a parameter of a stack, with which it was or is being deployed.
pub async fn parameter(clients: &Clients, stack_name: &str, name: &str) -> Result<Option<String>> {
    let stack = cfn::stack(clients, stack_name).await?;
    Ok(stack.and_then(|stack| stack.parameters.get(name).cloned()))
}

/// Waits until CloudFormation does not work on a stack.
pub async fn idle(clients: &Clients, waiter: Waiter, stack_name: &str) -> Result<()> {
    let what = format!("the stack {stack_name}");
    let look = || async {
        Ok(match cfn::stack(clients, stack_name).await? {
            Some(stack) if stack.status.is_busy() => {
                Poll::Pending(stack.status.as_str().to_owned())
            }
            _ => Poll::Ready(()),
        })
    };
    waiter.until(&what, |_| {}, look).await
}

/// Returns whether CloudFormation works on a stack.
pub async fn is_busy(clients: &Clients, stack_name: &str) -> Result<bool> {
    let stack = cfn::stack(clients, stack_name).await?;
    Ok(stack.is_some_and(|stack| stack.status.is_busy()))
}

/// Fails (exit 2) if mlops.toml names another source of the git repositories than the one that is
/// deployed: the notebook imports the repositories of CodeCommit, so CloudFormation can neither remove
/// them nor add them to a project in use.
pub async fn check_source(clients: &Clients, project: &Project) -> Result<()> {
    let stack = Part::Code.stack(&project.file.name);
    let deployed = cfn::stack(clients, &stack).await?;
    let wanted = project.file.architecture.source.as_str();
    let known = deployed.filter(|stack| !stack.outputs.is_empty());
    match known.and_then(|stack| stack.parameters.get("Source").cloned()) {
        Some(known) if known != wanted => Err(Failure::usage(format!(
            "the git repositories of {} are in {known}, and the source of a deployed project cannot be \
             changed to {wanted}",
            project.file.name
        )))
        .hint(format!(
            "set source = \"{known}\" in the section [architecture] of mlops.toml, or create another project"
        )),
        _ => Ok(()),
    }
}

/// Returns the digest of the analyzer's image that the registry stack names, if any.
pub async fn deployed_analyzer(clients: &Clients, project: &Project) -> Result<Option<Digest>> {
    let stack = Part::Registry.stack(&project.file.name);
    match outputs(clients, &stack).await? {
        Some(outputs) => analyzer_digest(&outputs),
        None => Ok(None),
    }
}

/// Reads what commands need to know about a project's stacks; the error suggests `mlops init` if one
/// does not exist.
pub async fn platform(clients: &Clients, project: &Project) -> Result<Platform> {
    let project = &project.file.name;
    let read = async |part: Part| {
        let name = part.stack(project);
        outputs(clients, &name)
            .await?
            .ok_or_else(|| anyhow!("{project} has no stack {name} in this account"))
            .hint(format!("run `{}`", clients.command("init")))
    };
    let [data, registry, governance] = Platform::PARTS;
    // Boxed: every command that needs the platform would be as large as three requests.
    let reads = [data, registry, governance].map(|part| Box::pin(read(part)));
    let found = futures::future::try_join_all(reads).await?;
    let all = found.into_iter().flatten().collect();
    Platform::read(project, &all)
}
