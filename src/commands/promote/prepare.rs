//! `mlops promote --prepare`: claims a release, and writes what a pipeline needs to deploy it.

use std::path::Path;

use anyhow::Result;
use mlops_core::error::{Exit, Failure, Hint};
use mlops_core::names::Version;

use super::PromoteArgs;
use super::report::PreparedReport;
use crate::aws::Clients;
use crate::config::Project;
use crate::context::Context;
use crate::infra::Platform;
use crate::releases::handover::{self, Handover};
use crate::releases::settings::Settings;
use crate::releases::situation::Situation;
use crate::releases::{candidate, content, deploy, restore};

pub(super) async fn run(
    ctx: &Context,
    clients: &Clients,
    project: &Project,
    platform: &Platform,
    args: &PromoteArgs,
    version: Version,
    directory: &Path,
) -> Result<PreparedReport> {
    handover::wait(ctx, clients, project, platform).await?;
    let situation = Situation::read(clients, project, platform).await?;
    let (history, live) = (&situation.history, situation.live());
    let withdrawn = restore::withdrawn(clients, project, platform, history).await?;
    let group = &platform.model_package_group;
    let command = |rest: &str| ctx.command(rest);
    let versions = &situation.versions;
    let chosen = candidate::choose(group, versions, live, &withdrawn, Some(version), command)?;
    if !chosen.status.is_approved() {
        let status = &chosen.status;
        return Err(Failure::new(
            Exit::Refused,
            format!(
                "version {version} of {group} is {status}: a pipeline deploys what was approved"
            ),
        ))
        .hint(format!(
            "an approver approves it: `{}`",
            ctx.command(&format!("models approve {version}"))
        ));
    }
    let challenger = project.file.deploy.challenger.as_ref();
    let mut report = PreparedReport {
        model: group.clone(),
        version,
        release: None,
        nothing: None,
        directory: directory.to_owned(),
    };
    if challenger.is_some_and(|other| other.version == version) {
        report.nothing = Some(format!("version {version} is the challenger"));
        return Ok(report);
    }
    let serving = situation.serving();
    let sealed = match handover::decide(history, serving, live, &withdrawn, chosen) {
        Handover::Nothing(why) => {
            report.nothing = Some(why);
            return Ok(report);
        }
        Handover::Claimed(release) => release.sealed.clone(),
        Handover::New => {
            let content = situation.content(ctx, clients, &chosen.arn).await?;
            if !args.allow_dirty {
                content::require_committed(&content, group)?;
            }
            let settings = Settings::of(&project.file.deploy, args.strategy)?;
            let note = args.note.clone();
            let manifest = situation.manifest(ctx, clients, content, settings, note, false);
            // Boxed, because the future would otherwise exceed 16 KiB.
            let request = situation.request(Box::pin(manifest).await?, None, false);
            deploy::claim(ctx, clients, &request).await?
        }
    };
    handover::write(directory, project, platform, &sealed)?;
    report.release = Some(sealed.manifest.release);
    Ok(report)
}
