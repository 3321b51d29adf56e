//! `mlops promote`: deploys a model version to production as a release.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use mlops_core::names::Version;

use crate::aws::sagemaker::models::ModelVersion;
use crate::config::{Project, Strategy};
use crate::context::Context;
use crate::infra;
use crate::releases::candidate;
use crate::releases::content::{self, Content};
use crate::releases::deploy::{self, Deployed};
use crate::releases::gate::{self, Measured};
use crate::releases::manifest::Manifest;
use crate::releases::plan::Comparison;
use crate::releases::restore;
use crate::releases::sample::Sample;
use crate::releases::settings::Settings;
use crate::releases::situation::Situation;
use crate::releases::store::Release;

mod prepare;
mod report;

pub use report::{PlannedReport, PreparedReport, PromoteReport, Promotion};

/// Deploy a model version to production
///
/// Deploys the version with CloudFormation as a numbered release, checks that the endpoint really
/// serves it, and sends it a sample request. Shows what changes before it asks. If the version is
/// pending approval, asks before approving it. Without VERSION, promotes the newest version after
/// the live one that was neither rejected nor rolled back, and did not fail to deploy.
///
/// Example: mlops promote 3
#[derive(Debug, clap::Args)]
pub struct PromoteArgs {
    /// The version, as shown by `mlops models list`
    version: Option<Version>,
    /// Show what would change, and deploy nothing
    #[arg(long)]
    dry_run: bool,
    /// How to move the traffic [default: deploy.strategy of mlops.toml]
    #[arg(long, value_enum)]
    strategy: Option<Strategy>,
    /// Deploy only if this metric is better than that of the live release; otherwise exit with 3
    #[arg(long, value_name = "METRIC")]
    if_better: Option<String>,
    /// Compare the metric even if it was measured on another version of the data
    #[arg(long, requires = "if_better")]
    allow_other_data: bool,
    /// The reason, which the release's manifest keeps
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// Promote a version that was trained with --working-tree
    #[arg(long)]
    allow_dirty: bool,
    /// Claim the release of an approved version, and write its template, parameters and number into this directory,
    /// for a pipeline that deploys it. Waits while another client deploys; writes nothing if there is nothing to do
    #[arg(long, value_name = "DIR", requires = "version", conflicts_with_all = ["dry_run", "if_better"])]
    prepare: Option<PathBuf>,
}

/// Runs the command.
pub async fn run(ctx: &Context, args: &PromoteArgs) -> Result<Promotion> {
    let project = ctx.project()?;
    let settings = Settings::of(&project.file.deploy, args.strategy)?;
    let sample = Sample::read(&project)?;
    let clients = ctx.aws_for(&project).await?;
    let platform = infra::platform(clients, &project).await?;
    if let (Some(version), Some(directory)) = (args.version, &args.prepare) {
        let prepared = prepare::run(ctx, clients, &project, &platform, args, version, directory);
        return Box::pin(prepared).await.map(Promotion::Prepared);
    }
    let group = &platform.model_package_group;
    let situation = Situation::read(clients, &project, &platform).await?;
    let (history, live) = (&situation.history, situation.live());
    let withdrawn = restore::withdrawn(clients, &project, &platform, history).await?;
    let unfinished = candidate::unfinished(history, &situation.versions, &withdrawn);
    let chosen = candidate::choose(
        group,
        &situation.versions,
        live,
        &withdrawn,
        args.version.or(unfinished),
        |rest| ctx.command(rest),
    )?;

    let content = situation.content(ctx, clients, &chosen.arn).await?;
    if !args.allow_dirty {
        content::require_committed(&content, group)?;
    }
    let serving = situation.serving();
    if let Some(metric) = &args.if_better {
        let endpoint = situation.endpoint.as_ref();
        let is_serving = endpoint.is_some_and(|endpoint| endpoint.configuration.is_some());
        let before = gate::baseline(history, serving, is_serving, &chosen.arn)?;
        better(args, metric, &project, &content, before)?;
    }
    let approve = !chosen.status.is_approved();
    let note = args.note.clone();
    // Boxed, because the future would otherwise exceed 16 KiB.
    let manifest = situation.manifest(ctx, clients, content, settings, note, approve);
    let manifest = Box::pin(manifest).await?;
    let comparison = Comparison::new(serving.map(|live| &live.sealed.manifest), &manifest);
    if args.dry_run {
        return Ok(Promotion::Planned(Box::new(PlannedReport {
            model: group.clone(),
            version: chosen.version,
            approve,
            comparison,
        })));
    }

    let already = deploy::already(clients, &project, serving, &manifest).await?;
    let request = situation.request(manifest, sample.as_ref(), approve);
    let deployed = if let Some(release) = already {
        deploy::prove(ctx, clients, &request, release).await?
    } else {
        ask(ctx, &comparison, chosen, group)?;
        Box::pin(deploy::deploy(ctx, clients, &request)).await?
    };
    let replaced = live.filter(|live| *live != chosen.version);
    Ok(Promotion::Live(Box::new(report(
        ctx, group, chosen, approve, deployed, replaced,
    ))))
}

/// Fails (exit 3) unless the candidate is better than a release.
fn better(
    args: &PromoteArgs,
    metric: &str,
    project: &Project,
    content: &Content,
    before: Option<&Release>,
) -> Result<()> {
    let data = |manifest: &Manifest| manifest.data.as_ref().map(|data| data.version.clone());
    let declared: &BTreeMap<_, _> = &project.file.deploy.metrics;
    let direction = gate::direction(metric, &content.model.properties, declared)?;
    let name = format!("version {}", content.version.version);
    let live = before.map(|before| &before.sealed.manifest);
    let live_name = live.map(|live| format!("version {}", live.model.version));
    let live_data = live.and_then(data);
    gate::check(
        metric,
        direction,
        Measured {
            name: &name,
            metrics: &content.model.metrics,
            data_version: content.data.as_ref().map(|data| data.version.as_str()),
        },
        live.zip(live_name.as_deref()).map(|(live, name)| Measured {
            name,
            metrics: &live.metrics,
            data_version: live_data.as_deref(),
        }),
        args.allow_other_data,
    )
}

/// Shows what changes, and asks: about an approval always, about a deployment on a terminal.
fn ask(ctx: &Context, comparison: &Comparison, chosen: &ModelVersion, group: &str) -> Result<()> {
    for line in comparison.to_string().lines() {
        ctx.progress.say(line);
    }
    let version = chosen.version;
    if !chosen.status.is_approved() {
        return ctx.prompt.require(&format!(
            "Version {version} of {group} is pending approval. Approve it and deploy it to production?"
        ));
    }
    if ctx.prompt.can_ask() {
        let release = comparison.release;
        return ctx.prompt.require(&format!(
            "Deploy version {version} of {group} to production as release {release}?"
        ));
    }
    Ok(())
}

fn report(
    ctx: &Context,
    group: &str,
    chosen: &ModelVersion,
    approve: bool,
    deployed: Deployed,
    replaced: Option<Version>,
) -> PromoteReport {
    let configuration = deployed.endpoint.configuration.unwrap_or_default();
    PromoteReport {
        model: group.to_owned(),
        version: chosen.version,
        release: deployed.sealed.manifest.release,
        model_package_arn: chosen.arn.clone(),
        approved_now: approve,
        changed: deployed.changed,
        manifest_sha256: deployed.sealed.sha256,
        endpoint: deployed.endpoint.name,
        endpoint_status: deployed.endpoint.status,
        endpoint_configuration: configuration,
        replaced,
        sample: deployed.sample,
        next: ctx.command("monitor run"),
    }
}
