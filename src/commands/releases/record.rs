//! `mlops releases verify --record`: proves the release that a pipeline has deployed, and records the outcome.

use anyhow::{Result, anyhow};
use mlops_core::error::{Exit, Failure, Hint};

use super::Place;
use crate::context::Context;
use crate::infra::{self, Part};
use crate::releases::deploy;
use crate::releases::sample::{Sample, SampleAnswer};
use crate::releases::situation::Situation;
use crate::releases::store::Outcome;

/// Waits until the stack is idle, proves a release that it has, and records the outcome. Returns the answer to the
/// sample.
///
/// # Errors
/// The stack has another release, or the release is recorded as one that is not live (exit 3). The endpoint does not
/// serve it, or the answer to the sample is not acceptable; this was recorded.
pub(super) async fn record(
    ctx: &Context,
    place: &Place<'_>,
    number: u32,
) -> Result<Option<SampleAnswer>> {
    let Place {
        clients,
        project,
        platform,
        ..
    } = *place;
    let sample = Sample::read(project)?;
    let stack = Part::Endpoint.stack(&project.file.name);
    let situation = Situation::read(clients, project, platform).await?;
    let release = situation
        .history
        .release(number)
        .ok_or_else(|| anyhow!("{} has no release {number}", project.file.name))
        .hint(format!(
            "list the releases with `{}`",
            ctx.command("releases list")
        ))?;
    infra::idle(clients, ctx.waiter, &stack).await?;
    let outputs = infra::settled_outputs(clients, &stack).await?;
    let checksum = outputs.and_then(|outputs| outputs.get("ReleaseChecksum").cloned());
    let refused = |problem: String| {
        Err(Failure::new(Exit::Refused, problem)).hint(format!(
            "check what is live with `{}`",
            ctx.command("status")
        ))
    };
    if checksum.as_ref() != Some(&release.sealed.sha256) {
        return refused(format!("the stack {stack} does not have release {number}"));
    }
    match release.outcome() {
        // A promotion that lost has recorded that this release was abandoned: the stack shows that it was not.
        None | Some(Outcome::Live | Outcome::Abandoned) => {}
        Some(outcome) => {
            let outcome = outcome.as_str();
            return refused(format!("release {number} is recorded as {outcome}"));
        }
    }
    let manifest = release.sealed.manifest.clone();
    let back = manifest.restores.and(manifest.previous);
    let mut request = situation.request(manifest, sample.as_ref(), false);
    request.rolls_back = back.and_then(|back| situation.history.release(back));
    let deployed = Box::pin(deploy::prove(ctx, clients, &request, release)).await?;
    Ok(deployed.sample)
}
