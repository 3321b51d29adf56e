//! `mlops rollback`: returns to an earlier release.

use std::fmt;

use anyhow::Result;
use mlops_core::names::Version;
use serde::Serialize;

use crate::aws::state::EndpointState;
use crate::context::Context;
use crate::infra;
use crate::output::Report;
use crate::releases::deploy;
use crate::releases::plan::Comparison;
use crate::releases::rollback::{self, Target};
use crate::releases::sample::{Sample, SampleAnswer};
use crate::releases::situation::Situation;

/// Return to an earlier release
///
/// Deploys the release before the live one again, with exactly its parameters, as a new release with
/// the same proof. The release that is rolled back is never suggested for promotion again. Refuses
/// before it changes anything if the image or the artifact was deleted. Asks if the version was
/// rejected in the meantime.
///
/// Example: mlops rollback
#[derive(Debug, clap::Args)]
pub struct RollbackArgs {
    /// The release to return to [default: the one before the live release]
    #[arg(long, value_name = "N")]
    to: Option<u32>,
    /// The reason, which the manifest and the outcome of the release keep
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

/// The release that is live after a rollback.
#[derive(Debug, Serialize)]
pub struct RollbackReport {
    /// The model package group.
    pub model: String,
    /// The version that is live.
    pub version: Version,
    /// The new release.
    pub release: u32,
    /// The release whose deployment it repeats.
    pub restores: u32,
    /// The release that was rolled back.
    pub rolled_back: u32,
    /// The version that was live before.
    pub rolled_back_version: Version,
    /// SHA-256 of the manifest.
    pub manifest_sha256: String,
    /// The endpoint's name.
    pub endpoint: String,
    /// The endpoint's status.
    pub endpoint_status: EndpointState,
    /// The live endpoint configuration.
    pub endpoint_configuration: String,
    /// Whether the model was created from its approved package, instead of from image and artifact.
    pub from_package: bool,
    /// The sample and its prediction; null if mlops.toml names no sample.
    pub sample: Option<SampleAnswer>,
    /// The next command to run.
    #[serde(skip)]
    pub next: String,
}

/// Runs the command.
pub async fn run(ctx: &Context, args: &RollbackArgs) -> Result<RollbackReport> {
    let project = ctx.project()?;
    let sample = Sample::read(&project)?;
    let clients = ctx.aws_for(&project).await?;
    let platform = infra::platform(clients, &project).await?;
    let name = project.file.name.as_str();
    let group = &platform.model_package_group;
    let situation = Situation::read(clients, &project, &platform).await?;
    let history = &situation.history;
    let command = |rest: &str| ctx.command(rest);
    let serving = rollback::serving(history, name, situation.endpoint.as_ref(), command)?;
    let chosen = rollback::choose(history, serving, args.to, command)?;
    let task = ctx
        .progress
        .spinner("checking the release and its artifact");
    let read = |bytes| task.advance(bytes);
    let target = Target::find(clients, history, &situation.versions, chosen, &read).await?;
    drop(task);

    // A client that was killed may have deployed it already: then the release before it is rolled back.
    let pending = history
        .pending()
        .map(|pending| pending.sealed.manifest.previous);
    let rolled_back = match pending.flatten().and_then(|number| history.release(number)) {
        Some(before) if history.pending() == Some(serving) => before,
        _ => serving,
    };
    let by = clients.caller().await?.to_owned();
    let manifest = target.manifest(history, rolled_back, args.note.clone(), by, ctx.now());
    let comparison = Comparison::new(Some(&rolled_back.sealed.manifest), &manifest);
    ask(ctx, &comparison, &target, chosen.number())?;
    let version = manifest.model.version;
    let from_package = target.is_approved();
    let mut request = situation.request(manifest, sample.as_ref(), false);
    request.rolls_back = Some(rolled_back);
    let deployed = Box::pin(deploy::deploy(ctx, clients, &request)).await?;
    Ok(RollbackReport {
        model: group.clone(),
        version,
        release: deployed.sealed.manifest.release,
        restores: chosen.number(),
        rolled_back: rolled_back.number(),
        rolled_back_version: rolled_back.sealed.manifest.model.version,
        manifest_sha256: deployed.sealed.sha256,
        endpoint: deployed.endpoint.name,
        endpoint_status: deployed.endpoint.status,
        endpoint_configuration: deployed.endpoint.configuration.unwrap_or_default(),
        from_package,
        sample: deployed.sample,
        next: ctx.command("releases list"),
    })
}

/// Shows what changes, and asks: about a version that is not approved always, otherwise on a terminal.
fn ask(ctx: &Context, comparison: &Comparison, target: &Target<'_>, number: u32) -> Result<()> {
    for line in comparison.to_string().lines() {
        ctx.progress.say(line);
    }
    let version = target.release.sealed.manifest.model.version;
    if !target.is_approved() {
        let state = target.approval.as_ref().map_or_else(
            || "no longer in the registry".to_owned(),
            |approval| format!("{approval} in the registry"),
        );
        return ctx.prompt.require(&format!(
            "Version {version} of release {number} is {state}. It was approved when it was deployed. Deploy \
             it again, from its image and artifact?"
        ));
    }
    if ctx.prompt.can_ask() {
        return ctx.prompt.require(&format!(
            "Return to release {number} (version {version}) as release {}?",
            comparison.release
        ));
    }
    Ok(())
}

impl Report for RollbackReport {}

impl fmt::Display for RollbackReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Version {} of {} is live again, as release {}.",
            self.version, self.model, self.release
        )?;
        writeln!(f, "  repeats        release {}", self.restores)?;
        writeln!(
            f,
            "  rolled back    release {}, version {}",
            self.rolled_back, self.rolled_back_version
        )?;
        writeln!(
            f,
            "  endpoint       {} ({})",
            self.endpoint, self.endpoint_status
        )?;
        writeln!(f, "  configuration  {}", self.endpoint_configuration)?;
        if !self.from_package {
            writeln!(
                f,
                "  model          from its image and artifact: its package is not approved"
            )?;
        }
        if let Some(sample) = &self.sample {
            writeln!(
                f,
                "  prediction     {} for {}",
                mlops_core::text::clean(&sample.answer),
                sample.file.display()
            )?;
        }
        write!(f, "Next: see what was deployed with `{}`", self.next)
    }
}
