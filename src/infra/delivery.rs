//! The delivery of branches. What all branches share is the part [`Part::Delivery`]; each branch has a stack of its
//! own beside it, which imports from the shared one. The stacks that exist are those that import: nothing else
//! records them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use mlops_core::names::BranchName;

use super::part::Part;
use super::program::Program;
use super::stacks::{StackSpec, project_name};
use super::teardown::{DeployedStack, deployed_parts, find};
use crate::aws::Clients;
use crate::aws::cloudformation as cfn;
use crate::config::Project;

/// The pipelines of a branch.
pub(super) const BRANCH: &str = include_str!("templates/branch.yaml");

/// An output that every stack of a branch imports.
const IMPORTED: &str = "Bucket";

/// The name of a branch's stack. Names of stacks have only letters, digits and `-`; mlops.toml has no two branches with
/// the same one.
fn stack_of(project: &Project, branch: &BranchName) -> String {
    let shared = Part::Delivery.stack(&project.file.name);
    format!("{shared}-{}", branch.stack_suffix())
}

/// The stacks of the branches that mlops.toml names, with the branches.
pub fn branch_names(project: &Project) -> BTreeMap<String, BranchName> {
    let branches = project.file.delivered().into_iter();
    branches
        .map(|branch| (stack_of(project, &branch), branch))
        .collect()
}

/// The stack of a branch's pipelines.
pub fn branch_stack(project: &Project, branch: &BranchName, program: &Program) -> StackSpec {
    StackSpec {
        name: stack_of(project, branch),
        ..StackSpec::new(
            project,
            Part::Delivery,
            BRANCH,
            vec![
                project_name(project),
                ("Branch", branch.to_string()),
                ("Tag", branch.tag()),
                ("ProgramKey", program.key()),
            ],
        )
    }
}

/// Returns the project's stacks, in the order in which they can be deleted.
pub async fn deployed_stacks(clients: &Clients, project: &Project) -> Result<Vec<DeployedStack>> {
    let mut stacks = branch_stacks(clients, project).await?;
    stacks.extend(deployed_parts(clients, project).await?);
    Ok(stacks)
}

/// Returns the stacks of branches that exist: those that import, whether or not mlops.toml names them, and those that it
/// names, because the remains of a failed first deployment import nothing. A team's own stack that imports from the
/// shared one has another name.
pub async fn branch_stacks(clients: &Clients, project: &Project) -> Result<Vec<DeployedStack>> {
    let shared = Part::Delivery.stack(&project.file.name);
    let mut names: BTreeSet<String> = branch_names(project).into_keys().collect();
    if cfn::stack(clients, &shared).await?.is_some() {
        let importing = cfn::importers(clients, &format!("{shared}-{IMPORTED}")).await?;
        let prefix = format!("{shared}-");
        names.extend(
            importing
                .into_iter()
                .filter(|name| name.starts_with(&prefix)),
        );
    }
    let mut found = Vec::new();
    for name in names {
        found.extend(find(clients, Part::Delivery, name).await?);
    }
    Ok(found)
}
