//! Rolls back: deploys an earlier release again, with its exact parameters, as a new release.
//!
//! The model is created from its package, as before. AWS refuses a package that is no longer approved; the
//! release was approved when it was deployed, so its model is then created from the image and the artifact
//! that its manifest names.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow};
use jiff::Timestamp;
use mlops_core::error::{Exit, Failure, Hint};
use mlops_oci::Digest;

use super::content::{current_artifact, gone};
use super::manifest::{Artifact, Challenger, Image, Manifest};
use super::settings::NONE;
use super::store::{History, Outcome, Release};
use super::{proof, prune};
use crate::aws::hosting::Endpoint;
use crate::aws::sagemaker::models::{ModelVersion, find};
use crate::aws::state::ModelApproval;
use crate::aws::{Clients, ecr};
use crate::config::shell;
use crate::infra;

/// The release to return to.
#[derive(Debug)]
pub struct Target<'a> {
    /// The release.
    pub release: &'a Release,
    /// The approval of its version in the registry now; `None` if the version was deleted.
    pub approval: Option<ModelApproval>,
    /// Its artifact, as it is now.
    artifact: Option<Artifact>,
    /// The reference of its image, as it is now.
    image: String,
    /// The artifact and the image of its challenger.
    challenger: Option<(Option<Artifact>, String)>,
}

/// Returns the release that the endpoint serves, which is to be rolled back.
pub fn serving<'a>(
    history: &'a History,
    name: &str,
    endpoint: Option<&Endpoint>,
    command: impl Fn(&str) -> String,
) -> Result<&'a Release> {
    if let Some(found) = endpoint.and_then(|endpoint| proof::serving(history, endpoint)) {
        return Ok(found);
    }
    let configuration = endpoint.and_then(|endpoint| endpoint.configuration.as_deref());
    let number = configuration.and_then(|configuration| prune::number(name, configuration));
    usable(history, number)?;
    Err(anyhow!(
        "no release of {name} is live, so there is nothing to roll back"
    ))
    .hint(format!("deploy one with `{}`", command("promote")))
}

/// Fails (exit 3) if the documents of a release cannot be read.
fn usable(history: &History, number: Option<u32>) -> Result<()> {
    match number.and_then(|number| history.damaged(number)) {
        Some(damaged) => Err(Failure::new(Exit::Refused, damaged.problem.clone())),
        None => Ok(()),
    }
}

/// Fails (exit 3) if a manifest is not the one whose outcome was recorded, or deploys another endpoint than its own.
fn intact(release: &Release) -> Result<()> {
    let manifest = &release.sealed.manifest;
    if manifest.parameters.get("EndpointName") != Some(&manifest.endpoint) {
        return Err(Failure::new(
            Exit::Refused,
            format!(
                "the manifest of release {} has parameters of another endpoint than {}; nothing was changed",
                release.number(),
                manifest.endpoint
            ),
        ));
    }
    match &release.recorded_sha256 {
        Some(recorded) if *recorded != release.sealed.sha256 => Err(Failure::new(
            Exit::Refused,
            format!(
                "the manifest of release {} was changed: its checksum is {}, but its outcome has {recorded}; \
                 nothing was changed",
                release.number(),
                release.sealed.sha256
            ),
        )),
        _ => Ok(()),
    }
}

/// Selects the release to return to: the requested one, or the newest before the live one that was live and
/// was not rolled back.
pub fn choose<'a>(
    history: &'a History,
    serving: &Release,
    wanted: Option<u32>,
    command: impl Fn(&str) -> String,
) -> Result<&'a Release> {
    let list = || format!("list the releases with `{}`", command("releases list"));
    // A killed client may have left a rollback unfinished.
    let unfinished = history
        .pending()
        .and_then(|pending| pending.sealed.manifest.restores);
    let Some(wanted) = wanted.or(unfinished) else {
        let live = &serving.sealed.manifest;
        return history
            .releases
            .iter()
            .filter(|release| release.number() < live.release)
            .filter(|release| release.outcome() == Some(Outcome::Live))
            .find(|release| !is_repeated(&release.sealed.manifest, live))
            .ok_or_else(|| {
                anyhow!(
                    "there is no release before release {} to return to",
                    live.release
                )
            })
            .hint(list());
    };
    usable(history, Some(wanted))?;
    let found = history
        .release(wanted)
        .ok_or_else(|| anyhow!("there is no release {wanted}"))
        .hint(list())?;
    let was_live = found
        .events
        .iter()
        .any(|event| event.outcome == Outcome::Live);
    if !was_live {
        return Err(anyhow!("release {wanted} was never live")).hint(list());
    }
    if found.number() == serving.number() {
        return Err(anyhow!("release {wanted} is live")).hint(list());
    }
    Ok(found)
}

/// Returns whether a release deployed the same content as the live one, which would be no way back.
fn is_repeated(release: &Manifest, live: &Manifest) -> bool {
    release.model.package_arn == live.model.package_arn
        && release.image == live.image
        && release.settings == live.settings
}

impl<'a> Target<'a> {
    /// Checks that everything which the release needs still exists.
    ///
    /// # Errors
    /// The manifest was changed (exit 3), or the image or the artifact was deleted or overwritten.
    pub async fn find(
        clients: &Clients,
        history: &History,
        versions: &[ModelVersion],
        release: &'a Release,
        read: &(dyn Fn(u64) + Sync),
    ) -> Result<Self> {
        intact(release)?;
        let manifest = &release.sealed.manifest;
        let number = manifest.release;
        let (image, artifact) = futures::try_join!(
            image(clients, number, &manifest.image),
            artifact(clients, history, number, manifest.artifact.as_ref(), read)
        )?;
        let challenger = match &manifest.challenger {
            Some(other) => Some(futures::try_join!(
                self::artifact(clients, history, number, other.artifact.as_ref(), read),
                self::image(clients, number, &other.image)
            )?),
            None => None,
        };
        let approval = |version| find(versions, version).map(|found| found.status.clone());
        let second = manifest.challenger.as_ref();
        let is_refused = |approval: &Option<ModelApproval>| {
            !approval.as_ref().is_some_and(ModelApproval::is_approved)
        };
        // The version that is shown is the one that cannot be deployed from its package.
        let main = approval(manifest.model.version);
        let approval = match second.map(|other| approval(other.version)) {
            Some(other) if !is_refused(&main) && is_refused(&other) => other,
            _ => main,
        };
        Ok(Self {
            release,
            approval,
            artifact,
            image,
            challenger,
        })
    }

    /// Returns whether its model can be created from its package.
    pub fn is_approved(&self) -> bool {
        self.approval
            .as_ref()
            .is_some_and(ModelApproval::is_approved)
    }

    /// Returns the manifest of the rollback.
    pub fn manifest(
        &self,
        history: &History,
        serving: &Release,
        note: Option<String>,
        by: String,
        now: Timestamp,
    ) -> Manifest {
        let earlier = &self.release.sealed.manifest;
        let mut parameters: BTreeMap<String, String> = earlier.parameters.clone();
        let mut set = |name: &str, value: String| {
            parameters.insert(name.to_owned(), value);
        };
        let address = |artifact: &Option<Artifact>| {
            let artifact = artifact.as_ref();
            artifact.map_or_else(|| NONE.to_owned(), |artifact| artifact.uri.to_string())
        };
        for name in [
            "ImageUri",
            "ModelDataUrl",
            "ChallengerImageUri",
            "ChallengerDataUrl",
        ] {
            set(name, NONE.to_owned());
        }
        if self.is_approved() {
            set("Source", "package".to_owned());
        } else {
            set("Source", "image".to_owned());
            set("ImageUri", self.image.clone());
            set("ModelDataUrl", address(&self.artifact));
            if let Some((artifact, image)) = &self.challenger {
                set("ChallengerImageUri", image.clone());
                set("ChallengerDataUrl", address(artifact));
            }
        }
        Manifest {
            release: history.next_number(),
            created: now,
            created_by: by,
            note,
            previous: Some(serving.number()),
            restores: Some(earlier.release),
            artifact: self.artifact.clone(),
            challenger: earlier.challenger.clone().map(|other| Challenger {
                artifact: self
                    .challenger
                    .as_ref()
                    .and_then(|(artifact, _)| artifact.clone()),
                ..other
            }),
            template_sha256: infra::endpoint_template_sha256(),
            parameters,
            ..earlier.clone()
        }
    }
}

/// Returns the reference of a release's image, if it still exists.
async fn image(clients: &Clients, number: u32, image: &Image) -> Result<String> {
    let (Some(repository), Some(digest)) = (&image.repository, &image.digest) else {
        return Ok(image.uri.clone());
    };
    let digest: Digest = digest.parse()?;
    if ecr::by_digest(clients, repository, digest).await?.is_none() {
        return Err(gone(&format!("the image {digest} of release {number}")))
            .hint("push the image again, or promote another version");
    }
    // A local cloud may have had another port.
    let uri = ecr::repository_uri(clients, repository).await?;
    Ok(uri.at(digest).to_string())
}

/// Returns a release's artifact, if its bytes are still at its address: SageMaker reads the current version.
async fn artifact(
    clients: &Clients,
    history: &History,
    number: u32,
    artifact: Option<&Artifact>,
    read: &(dyn Fn(u64) + Sync),
) -> Result<Option<Artifact>> {
    let Some(artifact) = artifact else {
        return Ok(None);
    };
    let uri = &artifact.uri;
    match current_artifact(clients, history, uri, read).await? {
        Some(current) if current.sha256 == artifact.sha256 => Ok(Some(current)),
        Some(_) => Err(anyhow!(
            "the artifact {uri} of release {number} was overwritten; nothing was changed"
        ))
        .hint(restoring(artifact)),
        None => {
            Err(gone(&format!("the artifact {uri} of release {number}"))).hint(restoring(artifact))
        }
    }
}

/// Suggests how to make a version of an object the current one.
fn restoring(artifact: &Artifact) -> String {
    match &artifact.version_id {
        Some(version) => format!(
            "if its version still exists, restore it: aws s3api copy-object --bucket {} --key {} \
             --copy-source {}",
            shell::word(&artifact.uri.bucket),
            shell::word(&artifact.uri.key),
            shell::word(&format!(
                "{}/{}?versionId={version}",
                artifact.uri.bucket, artifact.uri.key
            ))
        ),
        None => "upload it again, or promote another version".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::releases::store::tests::release;

    fn command(rest: &str) -> String {
        format!("mlops {rest}")
    }

    fn history(list: &[(u32, i32, &[Outcome])]) -> History {
        let releases = list.iter().map(|(number, version, outcomes)| {
            let mut release = release(*number, *version, outcomes);
            let manifest = &mut release.sealed.manifest;
            manifest.model.package_arn = format!("arn/{version}");
            manifest.restores = None;
            let own = ("EndpointName".to_owned(), manifest.endpoint.clone());
            manifest.parameters.extend([own]);
            release
        });
        History {
            releases: releases.collect(),
            damaged: Vec::new(),
        }
    }

    #[test]
    fn a_release_that_was_tampered_with_is_not_used() {
        let mut history = history(&[(2, 2, &[Outcome::Live]), (1, 1, &[Outcome::Live])]);
        assert!(intact(&history.releases[1]).is_ok());
        let mut other = history.releases[1].clone();
        let foreign = ("EndpointName".to_owned(), "payments".to_owned());
        other.sealed.manifest.parameters.extend([foreign]);
        let error = intact(&other).unwrap_err();
        assert!(error.to_string().contains("another endpoint"), "{error}");
        history.releases[1].recorded_sha256 = Some("other".to_owned());
        let error = intact(&history.releases[1]).unwrap_err();
        assert_eq!(mlops_core::error::exit(&error), Exit::Refused);
        let damaged = history.releases.pop().unwrap();
        history.damaged.push(super::super::store::Damaged {
            release: damaged.number(),
            problem: "unreadable".to_owned(),
        });
        let error = choose(&history, &history.releases[0], Some(1), command).unwrap_err();
        assert_eq!(mlops_core::error::exit(&error), Exit::Refused, "{error}");
        let endpoint = |configuration: &str| Endpoint {
            name: "flights".to_owned(),
            status: crate::aws::state::EndpointState::named("InService"),
            configuration: Some(configuration.to_owned()),
            failure: None,
            model_package: None,
        };
        let live = endpoint("flights-1-1a2b3c4d");
        let error = serving(&history, "flights", Some(&live), command).unwrap_err();
        assert_eq!(error.to_string(), "unreadable");
        let error = serving(&history, "flights", None, command).unwrap_err();
        assert!(
            error.to_string().contains("nothing to roll back"),
            "{error}"
        );
    }

    #[test]
    fn the_way_back_is_the_newest_release_that_was_not_rolled_back() {
        use Outcome::{Abandoned, Failed, Live, RolledBack};
        let history = history(&[
            (6, 4, &[Live]),
            (5, 2, &[Live]),
            (4, 3, &[Live, RolledBack]),
            (3, 3, &[Failed]),
            (2, 2, &[Live]),
            (1, 1, &[Live]),
        ]);
        let chosen = |serving: u32, wanted| {
            let serving = history.release(serving).unwrap();
            choose(&history, serving, wanted, command).map(Release::number)
        };
        assert_eq!(chosen(6, None).unwrap(), 5);
        // Release 2 has the same content as release 5.
        assert_eq!(chosen(5, None).unwrap(), 1);
        assert_eq!(chosen(6, Some(4)).unwrap(), 4);
        for (wanted, text) in [(3, "never live"), (6, "is live"), (9, "no release 9")] {
            let error = chosen(6, Some(wanted)).unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
        }
        assert!(chosen(1, None).is_err());
        let abandoned = [(2, 2, &[Abandoned][..]), (1, 1, &[Live][..])];
        let abandoned = super::tests::history(&abandoned);
        assert!(choose(&abandoned, &abandoned.releases[1], None, command).is_err());
    }

    #[test]
    fn a_rollback_that_was_interrupted_is_completed() {
        let mut history = history(&[
            (3, 1, &[]),
            (2, 2, &[Outcome::Live]),
            (1, 1, &[Outcome::Live]),
        ]);
        history.releases[0].sealed.manifest.restores = Some(1);
        // The endpoint may serve it already.
        for serving in [0, 1] {
            let chosen = choose(&history, &history.releases[serving], None, command);
            assert_eq!(chosen.unwrap().number(), 1);
        }
    }
}
