//! Selects the version to promote.

use std::collections::BTreeMap;

use anyhow::Result;
use mlops_core::error::{Exit, Failure, Hint, hinted};
use mlops_core::names::Version;

use super::store::{History, Outcome};
use crate::aws::sagemaker::models::{self, ModelVersion};

/// Why a version is never suggested: its newest release failed or was rolled back, or is being rolled back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Withdrawn(BTreeMap<Version, (u32, Outcome)>);

impl Withdrawn {
    /// Reads the outcomes of releases. The newest release of a version decides.
    pub fn of(history: &History) -> Self {
        let mut newest: BTreeMap<Version, (u32, Outcome)> = BTreeMap::new();
        // A rollback that is in progress, or whose client was killed.
        if let Some(pending) = history.pending()
            && pending.sealed.manifest.restores.is_some()
            && let Some(back) = pending.sealed.manifest.previous
            && let Some(back) = history.release(back)
            && back.sealed.manifest.model.version != pending.sealed.manifest.model.version
        {
            let version = back.sealed.manifest.model.version;
            newest.insert(version, (back.number(), Outcome::RolledBack));
        }
        for release in &history.releases {
            // An abandoned release is no evidence against its version.
            if let Some(outcome) = release
                .outcome()
                .filter(|outcome| *outcome != Outcome::Abandoned)
            {
                let version = release.sealed.manifest.model.version;
                newest.entry(version).or_insert((release.number(), outcome));
            }
        }
        newest.retain(|_, (_, outcome)| matches!(outcome, Outcome::Failed | Outcome::RolledBack));
        Self(newest)
    }

    /// Adds the version of a release that failed, although nobody recorded it yet.
    pub(super) fn add_failed(&mut self, version: Version, release: u32) {
        self.0.insert(version, (release, Outcome::Failed));
    }

    /// Returns whether a version must not be suggested.
    pub fn has(&self, version: Version) -> bool {
        self.0.contains_key(&version)
    }

    /// Describes a version: `3 (release 5 was rolled back)`.
    pub(super) fn text(&self, version: Version) -> Option<String> {
        let (release, outcome) = self.0.get(&version)?;
        let what = if *outcome == Outcome::Failed {
            "failed to deploy"
        } else {
            "was rolled back"
        };
        Some(format!("{version} (release {release} {what})"))
    }
}

/// Returns the version that `mlops promote` promotes without an argument: the newest that is approved, or
/// pending approval, newer than the live one, and not withdrawn. `versions` are newest first.
pub fn newest<'a>(
    versions: &'a [ModelVersion],
    live: Option<Version>,
    withdrawn: &Withdrawn,
) -> Option<&'a ModelVersion> {
    versions
        .iter()
        .filter(|version| live.is_none_or(|live| version.version > live))
        .filter(|version| version.status.is_approved() || version.status.is_pending())
        .find(|version| !withdrawn.has(version.version))
}

/// Returns the version of the promotion that a killed client left unfinished, which comes first if it can still
/// be deployed. A release that the deploy pipeline has claimed is not one: it waits for its review, or was rejected.
pub fn unfinished(
    history: &History,
    versions: &[ModelVersion],
    withdrawn: &Withdrawn,
) -> Option<Version> {
    let manifest = &history.pending()?.sealed.manifest;
    if manifest.is_of_pipeline() {
        return None;
    }
    let found = models::find(versions, manifest.model.version)?;
    let is_usable = !found.status.is_rejected() && !withdrawn.has(found.version);
    (manifest.restores.is_none() && is_usable).then_some(found.version)
}

/// Selects the requested version, or the default. `command` formats a command line to suggest.
pub fn choose<'a>(
    group: &str,
    versions: &'a [ModelVersion],
    live: Option<Version>,
    withdrawn: &Withdrawn,
    wanted: Option<Version>,
    command: impl Fn(&str) -> String,
) -> Result<&'a ModelVersion> {
    if versions.is_empty() {
        return Err(anyhow::anyhow!("{group} has no versions yet"))
            .hint(format!("create one with `{}`", command("train")));
    }
    let Some(wanted) = wanted else {
        if let Some(found) = newest(versions, live, withdrawn) {
            return Ok(found);
        }
        let state = live.map_or_else(
            || "no version is live".to_owned(),
            |live| format!("version {live} is live"),
        );
        let left: Vec<String> = versions
            .iter()
            .filter(|version| live.is_none_or(|live| version.version > live))
            .filter_map(|version| withdrawn.text(version.version))
            .collect();
        let left = if left.is_empty() {
            String::new()
        } else {
            format!("; not considered: version {}", left.join(", "))
        };
        return Err(anyhow::anyhow!("nothing to promote: {state}{left}"))
            .hint(format!("train a new version with `{}`", command("train")));
    };
    let Some(found) = versions.iter().find(|version| version.version == wanted) else {
        let all: Vec<String> = versions
            .iter()
            .map(|version| version.version.to_string())
            .collect();
        return Err(anyhow::anyhow!("{group} has no version {wanted}"))
            .hint(format!("its versions are: {}", all.join(", ")));
    };
    if found.status.is_rejected() {
        return Err(hinted(
            Failure::new(
                Exit::Refused,
                format!("version {wanted} of {group} was rejected, so it cannot be deployed"),
            ),
            format!(
                "an approver can reconsider it: `{}`",
                command(&format!("models approve {wanted}"))
            ),
        ));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::state::ModelApproval;
    use crate::releases::store::tests::release;

    fn command(rest: &str) -> String {
        format!("mlops {rest}")
    }

    fn versions(list: &[(i32, &str)]) -> Vec<ModelVersion> {
        list.iter()
            .map(|(version, approval)| ModelVersion {
                version: Version(*version),
                arn: format!("arn/{version}"),
                status: ModelApproval::named(approval),
            })
            .collect()
    }

    /// The history of these releases; none is a rollback.
    fn history(list: &[(u32, i32, &[Outcome])]) -> History {
        let releases = list.iter().map(|(number, version, outcomes)| {
            let mut release = release(*number, *version, outcomes);
            release.sealed.manifest.restores = None;
            release
        });
        History {
            releases: releases.collect(),
            damaged: Vec::new(),
        }
    }

    fn withdrawn(list: &[(u32, i32, &[Outcome])]) -> Withdrawn {
        Withdrawn::of(&history(list))
    }

    #[test]
    fn without_a_version_the_newest_after_the_live_one_is_promoted() {
        let all = versions(&[
            (4, "PendingManualApproval"),
            (3, "Approved"),
            (2, "Rejected"),
            (1, "Approved"),
        ]);
        let none = Withdrawn::default();
        let chosen = |live, withdrawn: &Withdrawn| {
            newest(&all, live, withdrawn).map(|version| version.version.0)
        };
        assert_eq!(chosen(None, &none), Some(4));
        assert_eq!(chosen(Some(Version(4)), &none), None);
        let failed = withdrawn(&[(5, 4, &[Outcome::Failed])]);
        assert_eq!(chosen(None, &failed), Some(3));
        assert_eq!(chosen(Some(Version(3)), &failed), None);
        let error = choose("g", &all, Some(Version(3)), &failed, None, command).unwrap_err();
        assert!(
            error.to_string().contains("4 (release 5 failed to deploy)"),
            "{error}"
        );
        let advice = mlops_core::error::hints(&error).join(" ");
        assert!(!advice.contains("promote"), "{advice}");
    }

    #[test]
    fn the_newest_release_of_a_version_decides() {
        use Outcome::{Abandoned, Failed, Live, RolledBack};
        let found = withdrawn(&[
            (6, 3, &[Abandoned]),
            (5, 3, &[Live, RolledBack]),
            (4, 2, &[Live]),
            (3, 2, &[Failed]),
            (2, 1, &[]),
        ]);
        assert!(found.has(Version(3)));
        assert!(!found.has(Version(2)) && !found.has(Version(1)));
    }

    #[test]
    fn a_rollback_that_was_killed_withdraws_the_version() {
        let mut history = history(&[(3, 1, &[]), (2, 2, &[Outcome::Live]), (1, 1, &[])]);
        assert!(!Withdrawn::of(&history).has(Version(2)));
        let pending = &mut history.releases[0].sealed.manifest;
        (pending.restores, pending.previous) = (Some(1), Some(2));
        let found = Withdrawn::of(&history);
        assert!(found.has(Version(2)) && !found.has(Version(1)));
        // Only the settings are rolled back.
        history.releases[1].sealed.manifest.model.version = Version(1);
        assert_eq!(Withdrawn::of(&history), Withdrawn::default());
    }

    #[test]
    fn what_a_killed_client_left_comes_first_if_it_can_be_deployed() {
        let all = versions(&[
            (4, "Approved"),
            (3, "Rejected"),
            (2, "PendingManualApproval"),
        ]);
        let found = |version, outcomes| {
            unfinished(
                &history(&[(1, version, outcomes)]),
                &all,
                &Withdrawn::default(),
            )
        };
        assert_eq!(found(2, &[]), Some(Version(2)));
        assert_eq!(found(2, &[Outcome::Live]), None);
        assert_eq!(found(3, &[]), None, "rejected");
        assert_eq!(found(9, &[]), None, "deleted");
        let mut rollback = history(&[(1, 2, &[])]);
        rollback.releases[0].sealed.manifest.restores = Some(1);
        let mut reviewed = history(&[(1, 2, &[])]);
        let manifest = &mut reviewed.releases[0].sealed.manifest;
        manifest.created_by =
            "arn:aws:sts::000000000000:assumed-role/flights-deploy-build/x".to_owned();
        assert_eq!(unfinished(&reviewed, &all, &Withdrawn::default()), None);
        assert_eq!(unfinished(&rollback, &all, &Withdrawn::default()), None);
        // CloudFormation has rolled it back since.
        let mut failed = Withdrawn::default();
        failed.add_failed(Version(2), 1);
        assert_eq!(unfinished(&history(&[(1, 2, &[])]), &all, &failed), None);
    }

    #[test]
    fn rejected_and_unknown_versions_are_refused() {
        let all = versions(&[(2, "Rejected"), (1, "Approved")]);
        let none = Withdrawn::default();
        let wanted = |version| choose("g", &all, None, &none, Some(Version(version)), command);
        let error = wanted(2).unwrap_err();
        assert_eq!(mlops_core::error::exit(&error), Exit::Refused);
        let error = wanted(9).unwrap_err();
        assert_eq!(mlops_core::error::exit(&error), Exit::Failed);
        assert_eq!(mlops_core::error::hints(&error), ["its versions are: 2, 1"]);
        assert!(choose("g", &[], None, &none, None, command).is_err());
        // A withdrawn version can be requested.
        let failed = withdrawn(&[(1, 1, &[Outcome::Failed])]);
        assert!(choose("g", &all, None, &failed, Some(Version(1)), command).is_ok());
    }
}
