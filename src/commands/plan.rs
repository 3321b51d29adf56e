//! `mlops plan`: what `mlops init` would change.

use anyhow::Result;
use futures::future::join_all;

use crate::aws::{self, cloudformation};
use crate::context::Context;
use crate::delivery;
use crate::infra::{self, DeployedGate, Inputs, PARTS, Part, Platform};

mod report;

pub use report::Plan;

/// Show what `mlops init` would change in the account
///
/// Computes a change set for each stack and deletes it: no resource changes. A template that is too
/// long for a request is stored in the artifact bucket first. Exits with 0 if there is nothing to do,
/// and with 3 if there are changes.
///
/// Example: mlops plan
#[derive(Debug, clap::Args)]
pub struct PlanArgs {}

/// Runs the command.
pub async fn run(ctx: &Context, _args: &PlanArgs) -> Result<Plan> {
    let project = ctx.project()?;
    let clients = ctx.aws_for(&project).await?;
    infra::check_source(clients, &project).await?;
    delivery::check(clients, &project, ctx.config.is_local()).await?;
    let name = &project.file.name;
    let described = PARTS.map(async |part| {
        let stack = cloudformation::stack(clients, &part.stack(name)).await?;
        anyhow::Ok((part, stack))
    });
    let (described, analyzer) = futures::try_join!(
        futures::future::try_join_all(described),
        aws::analyzer::own(&ctx.config.cache, ctx.config.is_local()),
    )?;
    let deployed: Vec<_> = described
        .iter()
        .filter(|(_, stack)| {
            stack
                .as_ref()
                .is_some_and(|stack| !stack.outputs.is_empty())
        })
        .map(|(part, _)| *part)
        .collect();
    let analyzer = match analyzer {
        Some(image) => Some(image.digest()),
        None => infra::deployed_analyzer(clients, &project).await?,
    };
    let program = match project.file.delivery {
        None => None,
        Some(_) => match delivery::deployed(clients, &project).await? {
            Some(program) => Some(program),
            None => Some(delivery::program(&delivery::own()?)),
        },
    };
    let inputs = Inputs { analyzer, program };
    let mut specs: Vec<_> = Part::initial(&project.file)
        .map(|part| {
            let is_new = !deployed.contains(&part);
            let spec = infra::initial_stack(&project, part, &inputs);
            (part, is_new, spec)
        })
        .collect();
    let branches = infra::branch_stacks(clients, &project).await?;
    let wanted = infra::branch_names(&project);
    if let Some(program) = &inputs.program {
        // Before the roles exist, nothing is known of the function that uses one.
        if Platform::PARTS.iter().all(|part| deployed.contains(part)) {
            let outputs = described.iter().filter_map(|(_, stack)| stack.as_ref());
            let outputs = outputs.flat_map(|stack| stack.outputs.clone()).collect();
            let platform = Platform::read(name, &outputs)?;
            let (key, architecture) = (program.key(), &program.architecture);
            let spec = infra::validation_stack(&project, &platform, &key, architecture);
            let is_new = !deployed.contains(&Part::Validation);
            specs.push((Part::Validation, is_new, spec));
        }
        if let Some(gate) = DeployedGate::read(clients, &project).await? {
            let spec = infra::retraining_stack(&project, program, &gate.switches);
            specs.push((Part::Retraining, false, spec));
        }
        specs.extend(wanted.iter().map(|(stack, branch)| {
            let mut same = branches.iter().filter(|known| known.name == *stack);
            // The remains of a failed first deployment have no resources.
            let is_new = same.all(|known| known.resources.is_empty());
            let spec = infra::branch_stack(&project, branch, program);
            (Part::Delivery, is_new, spec)
        }));
    }
    let task = ctx
        .progress
        .spinner(format!("{name}: computing the changes"));
    let previews = specs.iter().map(|(part, is_new, spec)| {
        let kind = (*part, *is_new);
        infra::preview(clients, ctx.waiter, &ctx.progress, kind, spec, &deployed)
    });
    // Each stack is finished, so that none of them keeps its change set because another one failed.
    let previews = join_all(previews).await;
    drop(task);
    let mut stacks = previews.into_iter().collect::<Result<Vec<_>>>()?;
    let removed = branches
        .iter()
        .filter(|stack| !wanted.contains_key(&stack.name));
    stacks.extend(removed.map(infra::preview_deletion));
    Ok(Plan::new(&project, stacks, ctx.command("init")))
}
