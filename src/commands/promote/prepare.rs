//! `mlops promote --prepare`: claims a release, and writes what a pipeline needs to deploy it.

use std::path::Path;

use anyhow::Result;
use mlops_core::names::Version;

use super::PromoteArgs;
use super::report::PreparedReport;
use crate::aws::Clients;
use crate::aws::sagemaker::models;
use crate::config::Project;
use crate::context::Context;
use crate::infra::{self, Platform};
use crate::releases::handover::{self, Handover};
use crate::releases::settings::Settings;
use crate::releases::situation::Situation;
use crate::releases::store::Release;
use crate::releases::{content, deploy, restore};

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
    let challenger = project.file.deploy.challenger.as_ref();
    let report = |release, nothing| PreparedReport {
        model: group.clone(),
        version,
        release,
        nothing,
        directory: directory.to_owned(),
    };
    let nothing = |why: String| Ok(report(None, Some(why)));
    let Some(chosen) = models::find(&situation.versions, version) else {
        return nothing(format!("version {version} does not exist"));
    };
    // The approval may have been withdrawn since its event.
    if !chosen.status.is_approved() {
        return nothing(format!("version {version} is {}", chosen.status));
    }
    if challenger.is_some_and(|other| other.version == version) {
        return nothing(format!("version {version} is the challenger"));
    }
    let serving = situation.serving();
    let claimed = match handover::decide(history, serving, live, &withdrawn, chosen) {
        Handover::Nothing(why) => return nothing(why),
        Handover::Claimed(release) => Some(release),
        Handover::New => None,
    };
    // What a person has claimed, or what is served, is continued as it is.
    let is_fixed =
        |release: &&Release| !release.sealed.manifest.is_of_pipeline() || serving == Some(*release);
    let sealed = if let Some(release) = claimed.filter(is_fixed) {
        release.sealed.clone()
    } else {
        let content = situation.content(ctx, clients, &chosen.arn).await?;
        if !args.allow_dirty {
            content::require_committed(&content, group)?;
        }
        let settings = Settings::of(&project.file.deploy, args.strategy)?;
        let note = args.note.clone();
        let manifest = situation.manifest(ctx, clients, content, settings, note, false);
        // Boxed, because the future would otherwise exceed 16 KiB.
        let manifest = Box::pin(manifest).await?;
        // The settings may have changed since the pipeline claimed the release.
        let same = claimed.filter(|it| it.sealed.manifest.is_same_request(&manifest));
        if let Some(release) = same {
            release.sealed.clone()
        } else {
            let request = situation.request(manifest, None, false);
            deploy::claim(ctx, clients, &request).await?
        }
    };
    let parameters = sealed.parameters();
    let spec = infra::endpoint_stack(project, platform, &parameters);
    infra::clear(clients, ctx.waiter, &ctx.progress, &spec).await?;
    handover::write(directory, project, platform, &sealed)?;
    Ok(report(Some(sealed.manifest.release), None))
}
