//! `mlops retrain schedule`, `on-data`, `on-drift` and `off`: the strategies, which are parameters of a stack.

use anyhow::{Result, anyhow};
use mlops_core::error::{Failure, Hint};

use super::RetrainReport;
use super::report::Switched;
use crate::aws::Clients;
use crate::config::Project;
use crate::context::Context;
use crate::delivery;
use crate::infra::{self, Action, DeployedGate, Part, Switches};

/// Deploys the stack with a strategy that is on.
pub(super) async fn switch(
    ctx: &Context,
    project: &Project,
    change: impl FnOnce(&mut Switches),
) -> Result<RetrainReport> {
    let clients = ctx.aws_for(project).await?;
    let deployed = DeployedGate::read(clients, project).await?;
    let mut switches = deployed.map(|gate| gate.switches).unwrap_or_default();
    change(&mut switches);
    let outcome = deploy(ctx, clients, project, &switches).await?;
    Ok(Switched::report(
        ctx,
        outcome.stack,
        outcome.action,
        switches,
    ))
}

/// Updates the stack with a strategy that is off: also without pipelines, and with the executable that it has.
pub(super) async fn switch_off(
    ctx: &Context,
    project: &Project,
    change: impl FnOnce(&mut Switches),
) -> Result<RetrainReport> {
    let clients = ctx.aws_for(project).await?;
    let Some(gate) = DeployedGate::read(clients, project).await? else {
        let stack = Part::Retraining.stack(&project.file.name);
        return Ok(Switched::report(
            ctx,
            stack,
            Action::Unchanged,
            Switches::default(),
        ));
    };
    let mut switches = gate.switches;
    change(&mut switches);
    let spec = infra::retraining_stack_with(project, gate.code, &switches);
    let outcome = infra::deploy(clients, ctx.waiter, &ctx.progress, &spec).await?;
    Ok(Switched::report(
        ctx,
        outcome.stack,
        outcome.action,
        switches,
    ))
}

/// Deploys the stack with these strategies, and the program of the pipelines.
pub(super) async fn deploy(
    ctx: &Context,
    clients: &Clients,
    project: &Project,
    switches: &Switches,
) -> Result<infra::StackOutcome> {
    let develop = &project.file.branches.develop;
    if !project.file.delivered().contains(develop) {
        return Err(Failure::usage(format!(
            "the branch {develop} has no pipelines, which retraining starts"
        )))
        .hint(format!(
            "deploy them: `{}` (docs/delivery.md)",
            ctx.command("init --delivery")
        ));
    }
    let program = delivery::deployed(clients, project).await?;
    let program = program
        .ok_or_else(|| anyhow!("the pipelines are not deployed, or run another version of mlops"))
        .hint(format!("run `{}`", ctx.command("init")))?;
    let spec = infra::retraining_stack(project, &program, switches);
    infra::deploy(clients, ctx.waiter, &ctx.progress, &spec).await
}
