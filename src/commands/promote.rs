//! `mlops promote`: deploys a model version to production.

use anyhow::{Context as _, Result};
use mlops_core::error::Hint;
use mlops_core::names::Version;

use crate::aws::sagemaker::models;
use crate::aws::{Clients, hosting, lineage, release};
use crate::context::Context;
use crate::infra;

mod report;
mod sample;

pub use report::{PromoteReport, SampleAnswer};
use sample::Sample;

/// Deploy a model version to production
///
/// Deploys the version with CloudFormation, checks that the endpoint really serves it, and sends it
/// a sample request. If the version is pending approval, asks before approving it. Without VERSION,
/// promotes the newest approved version after the live one.
///
/// Example: mlops promote 3
#[derive(Debug, clap::Args)]
pub struct PromoteArgs {
    /// The version, as shown by `mlops models list`
    version: Option<Version>,
    /// Promote a version that was trained with --working-tree
    #[arg(long)]
    allow_dirty: bool,
}

/// Runs the command.
pub async fn run(ctx: &Context, args: &PromoteArgs) -> Result<PromoteReport> {
    let project = ctx.project()?;
    let sample = Sample::read(&project)?;
    let clients = ctx.aws_for(&project).await?;
    let platform = infra::platform(clients, &project).await?;
    let group = &platform.model_package_group;
    let name = project.file.name.as_str();

    let versions = models::all(clients, group).await?;
    let before = hosting::endpoint(clients, name).await?;
    let live = before
        .as_ref()
        .and_then(|endpoint| endpoint.live(&versions));
    let chosen = release::choose(group, &versions, live, args.version, |rest| {
        ctx.command(rest)
    })?;
    if !args.allow_dirty {
        release::require_committed(clients, group, &chosen.arn).await?;
    }
    let approved_now = !chosen.status.is_approved();
    if approved_now {
        ctx.prompt.require(&format!(
            "Version {} of {group} is pending approval. Approve it and deploy it to production?",
            chosen.version
        ))?;
    }

    let stack = infra::endpoint_stack(&project, &platform, &chosen.arn);
    let outcome = deploy(ctx, clients, &stack, name, &chosen.arn, approved_now).await?;
    let requested = outcome
        .outputs
        .get("EndpointConfigName")
        .cloned()
        .with_context(|| {
            format!(
                "the stack {} has no output EndpointConfigName",
                outcome.stack
            )
        })?;
    let endpoint = release::settled(clients, ctx.waiter, name, |status| {
        ctx.progress.say(format!("endpoint {name}: {status}"));
    })
    .await?;
    release::verify(&endpoint, &requested, &chosen.arn)?;

    let answered = match sample {
        Some(sample) => Some(sample.send(clients, name).await?),
        None => None,
    };
    let description = format!("endpoint {name}");
    release::mark_live(clients, &versions, chosen, &description).await?;
    let replaced = live.filter(|live| live.version != chosen.version);
    if let Some(model) = models::describe(clients, &chosen.arn).await? {
        lineage::register(clients, name, &model).await?;
    }

    Ok(PromoteReport {
        model: group.clone(),
        version: chosen.version,
        model_package_arn: chosen.arn.clone(),
        approved_now,
        changed: outcome.action != infra::Action::Unchanged,
        endpoint: endpoint.name,
        endpoint_status: endpoint.status,
        endpoint_configuration: requested,
        replaced: replaced.map(|old| old.version),
        sample: answered,
        next: ctx.command("monitor run"),
    })
}

/// Deploys the endpoint's stack. Reserves the deployment before approving the version, so that a
/// promotion that loses a race changes nothing.
async fn deploy(
    ctx: &Context,
    clients: &Clients,
    stack: &infra::StackSpec,
    endpoint: &str,
    package: &str,
    approve: bool,
) -> Result<infra::StackOutcome> {
    let status = ctx.command("status");
    let _note = ctx.on_interrupt(format!(
        "a deployment of {} that has started continues; check it with `{status}`",
        stack.name
    ));
    let prepared = infra::prepare(clients, ctx.waiter, &ctx.progress, stack).await?;
    if approve
        && let Err(error) = models::approve(clients, package, "approved by `mlops promote`").await
    {
        if let Some(prepared) = &prepared {
            let discarded = infra::discard(clients, ctx.waiter, prepared).await;
            if let Err(left) = discarded {
                ctx.progress
                    .say(format!("the change set was not deleted: {left:#}"));
            }
        }
        return Err(error);
    }
    let Some(prepared) = prepared else {
        return infra::unchanged(clients, &ctx.progress, stack).await;
    };
    let own = prepared.clone();
    let outcome = infra::execute(clients, ctx.waiter, &ctx.progress, prepared)
        .await
        .hint(format!(
            "the endpoint still serves the previous version; check it with `{status}`"
        ))?;
    if let Some(outcome) = outcome {
        return Ok(outcome);
    }
    // The other promotion may be of this version, and rely on its approval.
    if approve && !is_needed(clients, &own, endpoint, package).await? {
        let why = "another promotion started first";
        models::withdraw_approval(clients, package, why).await?;
    }
    Err(infra::lost(clients, &stack.name))
}

/// Returns true if a model package is live, or another deployment of it is prepared or in progress.
async fn is_needed(
    clients: &Clients,
    own: &infra::Prepared,
    endpoint: &str,
    package: &str,
) -> Result<bool> {
    if infra::is_deployed(clients, own, "ModelPackageArn", package).await? {
        return Ok(true);
    }
    let endpoint = hosting::endpoint(clients, endpoint).await?;
    Ok(endpoint.is_some_and(|endpoint| endpoint.serves(package)))
}
