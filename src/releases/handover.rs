//! Hands a release over to a pipeline, which deploys it with actions of CloudFormation.
//!
//! ```text
//! approval ── event ── prepare: wait ── decide ── claim ── files ── change set ── (review) ── execute ── prove
//!                                         └── nothing to do: the execution stops
//! ```
//!
//! A version may be approved by `mlops promote`, which deploys it itself: it claims the release before it approves.
//! Its own event, and repeated events, find the release live. A client that was killed between the two leaves a claimed
//! release, which the pipeline then deploys. All of it is one stage of the pipeline: while one execution is in it,
//! another one waits before it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use mlops_core::error::{Exit, Failure, Hint};
use mlops_core::names::Version;
use mlops_validation::files;
use serde_json::json;

use super::candidate::Withdrawn;
use super::manifest::Sealed;
use super::store::{History, Outcome, Release, Store};
use crate::aws::Clients;
use crate::aws::sagemaker::models::ModelVersion;
use crate::config::Project;
use crate::context::Context;
use crate::infra::{self, Part, Platform};

/// The name of the template in a directory.
const TEMPLATE: &str = "endpoint.yaml";

/// The name of the template configuration in a directory: CodePipeline's format for parameters.
const CONFIGURATION: &str = "configuration.json";

/// The name of the file with the release's number.
const NUMBER: &str = "number";

/// For how long a release without an outcome, on whose stack CloudFormation does not work, may still be in the hands of
/// its client: it executes the change set, or proves what was deployed.
const LEASE: Duration = Duration::from_mins(1);

/// What a pipeline is to deploy.
#[derive(Debug, PartialEq)]
pub enum Handover<'a> {
    /// A release that has to be claimed first.
    New,
    /// A release that was claimed before.
    Claimed(&'a Release),
    /// Nothing new, for this reason.
    Nothing(String),
}

/// Decides what is to be deployed for an approved version. `serving` is the release that the endpoint serves, `live` the
/// version.
pub fn decide<'a>(
    history: &'a History,
    serving: Option<&'a Release>,
    live: Option<Version>,
    withdrawn: &Withdrawn,
    chosen: &ModelVersion,
) -> Handover<'a> {
    let version = chosen.version;
    let is_of = |release: &&Release| release.sealed.manifest.model.package_arn == chosen.arn;
    let is_claim = |release: &&Release| {
        let manifest = &release.sealed.manifest;
        let is_current = manifest.template_sha256 == infra::endpoint_template_sha256();
        is_of(release) && is_current && manifest.restores.is_none()
    };
    if let Some(release) = serving.filter(is_of) {
        let number = release.number();
        return match release.outcome() {
            // A promotion that lost may have recorded that it was abandoned.
            None | Some(Outcome::Abandoned) if is_claim(&release) => Handover::Claimed(release),
            Some(outcome @ (Outcome::Failed | Outcome::RolledBack)) => Handover::Nothing(format!(
                "the endpoint serves version {version}, but its release {number} is recorded as {}",
                outcome.as_str()
            )),
            _ => Handover::Nothing(format!(
                "version {version} is live already, as release {number}"
            )),
        };
    }
    let was_live = |release: &&Release| {
        let mut events = release.events.iter();
        is_of(release) && events.any(|event| event.outcome == Outcome::Live)
    };
    if let Some(text) = withdrawn.text(version) {
        return Handover::Nothing(format!("version {text}"));
    }
    if let Some(release) = history.releases.iter().find(was_live) {
        let number = release.number();
        return Handover::Nothing(format!(
            "version {version} was live before, as release {number}"
        ));
    }
    if let Some(release) = history.pending().filter(is_claim) {
        return Handover::Claimed(release);
    }
    match live.filter(|live| *live >= version) {
        Some(live) => Handover::Nothing(format!(
            "version {live} is live, and version {version} is not newer"
        )),
        None => Handover::New,
    }
}

/// Waits while another client deploys a release: while CloudFormation works on the stack, and until the newest release
/// has an outcome, or nobody has worked on it for a minute. Times out with exit code 5.
pub async fn wait(
    ctx: &Context,
    clients: &Clients,
    project: &Project,
    platform: &Platform,
) -> Result<()> {
    let name = &project.file.name;
    let store = Store::new(&platform.artifact_bucket, name.as_str());
    let stack = Part::Endpoint.stack(name);
    let own = clients.caller().await?;
    let start = tokio::time::Instant::now();
    let (mut idle, mut last) = (start, None);
    loop {
        // In this order: a claim is written before CloudFormation begins, and has its outcome after the end.
        let is_busy = infra::is_busy(clients, &stack).await?;
        let history = store.history(clients, 1).await?;
        let foreign = history
            .pending()
            .filter(|pending| !is_same_identity(own, &pending.sealed.manifest.created_by));
        let seen = (is_busy, foreign.map(Release::number));
        if seen == (false, None) {
            return Ok(());
        }
        if last != Some(seen) {
            let what = foreign.map_or_else(
                || format!("CloudFormation is working on {stack}"),
                |other| {
                    let manifest = &other.sealed.manifest;
                    format!(
                        "{} deploys version {} as release {}",
                        manifest.created_by, manifest.model.version, manifest.release
                    )
                },
            );
            ctx.progress.say(format!("{what}: waiting for the end"));
        }
        if is_busy || last != Some(seen) {
            idle = tokio::time::Instant::now();
        } else if idle.elapsed() >= LEASE {
            return Ok(());
        }
        last = Some(seen);
        if start.elapsed() + ctx.waiter.interval > ctx.waiter.timeout {
            return Err(Failure::new(
                Exit::TimedOut,
                format!(
                    "timed out waiting for another deployment of {name} after {} s; it is still running",
                    ctx.waiter.timeout.as_secs()
                ),
            ))
            .hint("allow more time with --timeout SECONDS");
        }
        ctx.waiter.pause().await;
    }
}

/// Whether two ARNs are of the same user or role; sessions of a role have different names.
fn is_same_identity(a: &str, b: &str) -> bool {
    let identity = |arn: &str| match arn.split_once(":assumed-role/") {
        Some((account, role)) => {
            let role = role.split('/').next().unwrap_or_default();
            format!("{account}:assumed-role/{role}")
        }
        None => arn.to_owned(),
    };
    identity(a) == identity(b)
}

/// Writes the files that deploy a release. Files of these names are replaced.
///
/// # Errors
/// The directory is a link: a repository must not choose where the files are written.
pub fn write(
    directory: &Path,
    project: &Project,
    platform: &Platform,
    sealed: &Sealed,
) -> Result<()> {
    let spec = infra::endpoint_stack(project, platform, &sealed.parameters());
    let parameters: BTreeMap<&str, String> = spec.parameters.into_iter().collect();
    let configuration = format!("{:#}\n", json!({"Parameters": parameters}));
    let number = format!("{}\n", sealed.manifest.release);
    if directory.is_symlink() {
        return Err(Failure::usage(format!(
            "{} is a link, not a directory",
            directory.display()
        )));
    }
    mlops_core::directory::create(directory)?;
    for (name, text) in [
        (TEMPLATE, spec.template),
        (CONFIGURATION, &configuration),
        (NUMBER, &number),
    ] {
        files::replace(&directory.join(name), text.as_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::state::ModelApproval;
    use crate::releases::store::Outcome;
    use crate::releases::store::tests::release;

    /// A release of version `version`, whose package is `arn/VERSION`, with the current template.
    fn made(number: u32, version: i32, outcomes: &[Outcome]) -> Release {
        let mut release = release(number, version, outcomes);
        let manifest = &mut release.sealed.manifest;
        manifest.model.package_arn = format!("arn/{version}");
        manifest.restores = None;
        manifest.template_sha256 = infra::endpoint_template_sha256();
        release
    }

    fn chosen(version: i32) -> ModelVersion {
        ModelVersion {
            version: Version(version),
            arn: format!("arn/{version}"),
            status: ModelApproval::named("Approved"),
        }
    }

    /// The decision for a version, when the endpoint serves release `serving`.
    fn decided(history: &History, serving: Option<u32>, version: i32) -> Handover<'_> {
        let serving = serving.and_then(|number| history.release(number));
        let live = serving.map(|release| release.sealed.manifest.model.version);
        let withdrawn = Withdrawn::of(history);
        decide(history, serving, live, &withdrawn, &chosen(version))
    }

    fn history(releases: Vec<Release>) -> History {
        History {
            releases,
            damaged: Vec::new(),
        }
    }

    fn reason(handover: Handover<'_>) -> String {
        match handover {
            Handover::Nothing(reason) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_version_is_deployed_once_however_many_events_arrive() {
        use Outcome::Live;
        let none = history(Vec::new());
        assert_eq!(decided(&none, None, 1), Handover::New);
        let before = history(vec![made(1, 1, &[Live])]);
        assert_eq!(decided(&before, Some(1), 2), Handover::New);
        // Somebody claimed it: `mlops promote`, or an earlier execution of the pipeline.
        let claimed = history(vec![made(2, 2, &[]), made(1, 1, &[Live])]);
        let release = claimed.release(2).unwrap();
        assert_eq!(decided(&claimed, Some(1), 2), Handover::Claimed(release));
        assert_eq!(decided(&claimed, Some(2), 2), Handover::Claimed(release));
        let live = history(vec![made(2, 2, &[Live]), made(1, 1, &[Live])]);
        let why = reason(decided(&live, Some(2), 2));
        assert_eq!(why, "version 2 is live already, as release 2");
    }

    #[test]
    fn what_was_live_before_does_not_come_back_by_an_event() {
        use Outcome::{Live, RolledBack};
        // `mlops promote 1` has returned to it since; a late event for version 2 arrives.
        let returned = history(vec![
            made(3, 1, &[Live]),
            made(2, 2, &[Live]),
            made(1, 1, &[Live]),
        ]);
        let why = reason(decided(&returned, Some(3), 2));
        assert_eq!(why, "version 2 was live before, as release 2");
        // The endpoint was deleted.
        let why = reason(decided(&returned, None, 2));
        assert_eq!(why, "version 2 was live before, as release 2");
        let rolled_back = history(vec![made(2, 2, &[Live, RolledBack]), made(1, 1, &[Live])]);
        let why = reason(decided(&rolled_back, Some(1), 2));
        assert_eq!(why, "version 2 (release 2 was rolled back)");
        let newer = history(vec![made(2, 2, &[Live])]);
        let why = reason(decided(&newer, Some(2), 1));
        assert_eq!(why, "version 2 is live, and version 1 is not newer");
    }

    #[test]
    fn a_served_release_is_proven_or_named_as_what_it_is() {
        use Outcome::{Abandoned, Failed, Live};
        let with = |outcome| history(vec![made(2, 2, &[outcome]), made(1, 1, &[Live])]);
        let failed = with(Failed);
        let why = reason(decided(&failed, Some(2), 2));
        assert!(why.contains("release 2 is recorded as failed"), "{why}");
        let abandoned = with(Abandoned);
        let release = abandoned.release(2).unwrap();
        assert_eq!(decided(&abandoned, Some(2), 2), Handover::Claimed(release));
    }

    #[test]
    fn a_claim_with_another_template_is_not_continued() {
        let mut release = made(1, 1, &[]);
        release.sealed.manifest.template_sha256 = "other".to_owned();
        let history = history(vec![release]);
        assert_eq!(decided(&history, None, 1), Handover::New);
        // The endpoint serves it: whoever deployed it records it.
        let why = reason(decided(&history, Some(1), 1));
        assert_eq!(why, "version 1 is live already, as release 1");
    }

    #[test]
    fn sessions_of_a_role_are_the_same_identity() {
        let role = "arn:aws:sts::000000000000:assumed-role/small-deploy-build/";
        let same = |a: &str, b: &str| is_same_identity(a, b);
        assert!(same(&format!("{role}one"), &format!("{role}two")));
        assert!(!same(
            &format!("{role}one"),
            "arn:aws:sts::000000000000:assumed-role/small-ml-engineer/one"
        ));
        let user = "arn:aws:iam::000000000000:user/";
        assert!(!same(&format!("{user}anna"), &format!("{user}ben")));
        assert!(same(&format!("{user}anna"), &format!("{user}anna")));
    }
}
