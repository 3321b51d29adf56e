//! Resolves a branch to an image digest: its pin, the promoted image, or the newest image pushed
//! from it.

use std::fmt;

use anyhow::{Context as _, Result, anyhow};
use mlops_core::error::{Failure, Hint};
use mlops_core::names::{BranchName, Version};
use mlops_oci::Digest;
use mlops_oci::registry::ImageReference;
use serde::Serialize;

use super::sagemaker::models::{self, Model, ModelVersion, Stage};
use super::{Clients, ecr, hosting};
use crate::config::Project;
use crate::git::Repository;
use crate::pin::{Pin, Rule};

/// The location of a branch's images.
#[derive(Debug, Clone, Copy)]
pub struct Registries<'a> {
    /// The project, which is also its endpoint's name.
    pub project: &'a str,
    /// The ECR repository's name.
    pub repository: &'a str,
    /// The model package group.
    pub group: &'a str,
}

/// An image by digest, and why it was chosen.
#[derive(Debug, Clone, Serialize)]
pub struct BranchImage {
    /// Its digest.
    pub digest: Digest,
    /// Why it was chosen.
    pub why: Why,
}

/// The reason why a branch uses an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "rule", rename_all = "lowercase")]
pub enum Why {
    /// The branch has a pin.
    Pinned {
        /// The branch.
        branch: BranchName,
    },
    /// It is the newest image pushed from the branch.
    Newest {
        /// The branch.
        branch: BranchName,
    },
    /// It was built from the working tree.
    WorkingTree,
    /// The command line names it.
    Given,
    /// It is the image of the promoted version.
    Promoted {
        /// The version.
        version: Version,
    },
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pinned { branch } => write!(f, "pinned in {branch}"),
            Self::Newest { branch } => write!(f, "newest from {branch}"),
            Self::WorkingTree => f.write_str("built from the working tree"),
            Self::Given => f.write_str("given with --image"),
            Self::Promoted { version } => write!(f, "promoted as version {version}"),
        }
    }
}

/// Resolves the image of a branch; an error suggests how to create one.
pub async fn find(
    clients: &Clients,
    place: Registries<'_>,
    branch: &BranchName,
    rule: &Rule,
) -> Result<BranchImage> {
    match rule {
        Rule::Pinned(pin) => pinned(clients, place.repository, branch, pin).await,
        Rule::Promoted => promoted(clients, place, branch).await,
        Rule::Newest => newest(clients, place.repository, branch).await,
    }
}

/// Fails (exit 2) if the branch is pinned to an image other than `digest`.
pub fn require_pin(branch: &BranchName, rule: &Rule, digest: Digest) -> Result<()> {
    match rule {
        Rule::Pinned(pin) if pin.digest != digest => Err(Failure::usage(format!(
            "`{branch}` is pinned to {}, so it cannot use {digest}",
            pin.digest
        )))
        .hint("omit --image to use the pinned image")
        .hint("remove the pin with `mlops image use newest --commit` to use other images"),
        _ => Ok(()),
    }
}

/// Resolves an image that the command line names by its digest. A pin and the promoted image take
/// precedence: other images are refused (exit 2).
pub async fn given(
    clients: &Clients,
    place: Registries<'_>,
    branch: &BranchName,
    rule: &Rule,
    digest: Digest,
) -> Result<BranchImage> {
    require_pin(branch, rule, digest)?;
    if *rule == Rule::Promoted {
        let promoted = promoted(clients, place, branch).await?;
        if promoted.digest != digest {
            return Err(Failure::usage(format!(
                "`{branch}` uses only the promoted image, {} ({}), so it cannot use {digest}",
                promoted.digest, promoted.why
            )))
            .hint("omit --image, or train with it on another branch and promote the version");
        }
    }
    let image = ecr::by_digest(clients, place.repository, digest)
        .await?
        .ok_or_else(|| Failure::usage(format!("{} has no image {digest}", place.repository)))
        .hint(format!(
            "list the images with `{}`",
            clients.command("image list")
        ))?;
    Ok(BranchImage {
        digest: image.digest,
        why: Why::Given,
    })
}

/// Resolves the image of the current branch (develop if no branch is checked out), using the pin of
/// its head commit.
pub async fn of_checkout(
    clients: &Clients,
    project: &Project,
    repository: &str,
    group: &str,
) -> Result<BranchImage> {
    let git = Repository::discover(&project.root)?;
    let branch = git.branch_or(&project.file.branches.develop)?;
    let pin = match git.branch_head(&branch)? {
        Some(commit) => Pin::at(&git, &commit, &format!("`{branch}`"))?,
        None => None,
    };
    let rule = Rule::of(&project.file.branches, &branch, pin.as_ref());
    let place = Registries {
        project: project.file.name.as_str(),
        repository,
        group,
    };
    find(clients, place, &branch, &rule).await
}

async fn newest(clients: &Clients, repository: &str, branch: &BranchName) -> Result<BranchImage> {
    let tag = branch.tag();
    let image = ecr::by_tag(clients, repository, &tag)
        .await?
        .ok_or_else(|| {
            anyhow!("no image was pushed from `{branch}`: {repository} has no tag `{tag}`")
        })
        .hint(format!(
            "push one with `{}`, or pin an existing one with `{}`",
            clients.command("image push"),
            clients.command("image pin REF")
        ))?;
    Ok(BranchImage {
        digest: image.digest,
        why: Why::Newest {
            branch: branch.clone(),
        },
    })
}

async fn pinned(
    clients: &Clients,
    repository: &str,
    branch: &BranchName,
    pin: &Pin,
) -> Result<BranchImage> {
    let hint = format!(
        "pin a different image with `{}`, or use the newest with `{}`",
        clients.command("image pin REF"),
        clients.command("image use newest")
    );
    if pin.repository != repository {
        return Err(anyhow!(
            "`{branch}` is pinned to an image of `{}`, but the project's repository is \
             `{repository}`",
            pin.repository
        ))
        .hint(hint);
    }
    let image = ecr::by_digest(clients, repository, pin.digest)
        .await?
        .ok_or_else(|| {
            anyhow!(
                "the image that `{branch}` is pinned to is not in {repository}: {}",
                pin.digest
            )
        })
        .hint(hint)?;
    Ok(BranchImage {
        digest: image.digest,
        why: Why::Pinned {
            branch: branch.clone(),
        },
    })
}

async fn promoted(
    clients: &Clients,
    place: Registries<'_>,
    branch: &BranchName,
) -> Result<BranchImage> {
    let versions = models::all(clients, place.group).await?;
    let endpoint = hosting::endpoint(clients, place.project).await?;
    let live = endpoint
        .as_ref()
        .and_then(|endpoint| endpoint.live(&versions));
    let model = match (live, &endpoint) {
        (Some(live), _) => models::describe(clients, &live.arn).await?,
        (None, Some(endpoint)) => {
            return Err(anyhow!(
                "`{branch}` uses the promoted image, but the endpoint {} serves no known version \
                 of {}",
                endpoint.name,
                place.group
            ))
            .hint(format!(
                "promote a version with `{}`, or pin an image with `{}`",
                clients.command("promote"),
                clients.command("image pin REF")
            ));
        }
        (None, None) => marked_live(clients, &versions).await?,
    }
    .ok_or_else(|| {
        anyhow!("`{branch}` uses the promoted image, but no version has been promoted yet")
    })
    .hint(format!(
        "promote a version with `{}`, or pin an image with `{}`",
        clients.command("promote"),
        clients.command("image pin REF")
    ))?;
    let version = model.version;
    let uri = model
        .image
        .with_context(|| format!("version {version} of {} names no image", place.group))?;
    let digest = digest_in(&uri, place.repository)
        .ok_or_else(|| {
            anyhow!(
                "version {version} is live, but its image is not a digest in {}: {uri}",
                place.repository
            )
        })
        .hint(format!(
            "pin an image with `{}`",
            clients.command("image pin REF")
        ))?;
    let image = ecr::by_digest(clients, place.repository, digest)
        .await?
        .ok_or_else(|| {
            anyhow!(
                "the image of the promoted version {version} is not in {}: {digest}",
                place.repository
            )
        })
        .hint(format!(
            "promote a different version with `{}`, or pin an image with `{}`",
            clients.command("promote"),
            clients.command("image pin REF")
        ))?;
    Ok(BranchImage {
        digest: image.digest,
        why: Why::Promoted { version },
    })
}

/// Returns the version that `mlops promote` marked as live, if no endpoint determines it.
async fn marked_live(clients: &Clients, versions: &[ModelVersion]) -> Result<Option<Model>> {
    for version in versions.iter().filter(|v| v.status.is_approved()) {
        let model = models::describe(clients, &version.arn).await?;
        if let Some(model) = model
            && model.stage.as_ref().is_some_and(Stage::is_live)
        {
            return Ok(Some(model));
        }
    }
    Ok(None)
}

/// Parses the digest of `HOST/REPOSITORY[:TAG]@DIGEST` if it is in this repository.
fn digest_in(uri: &str, repository: &str) -> Option<Digest> {
    let image: ImageReference = uri.parse().ok()?;
    image.digest.filter(|_| image.repository == repository)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_digests_of_this_repository_are_used() {
        let digest = Digest::of(b"");
        let uri = format!("127.0.0.1:4566/team/flights@{digest}");
        assert_eq!(digest_in(&uri, "team/flights"), Some(digest));
        assert_eq!(digest_in(&uri, "flights"), None);
        let both = format!("h.example/flights:v1@{digest}");
        assert_eq!(digest_in(&both, "flights"), Some(digest));
        assert_eq!(digest_in("h.example/flights:v1", "flights"), None);
        assert_eq!(digest_in("h.example/flights@sha256:ab", "flights"), None);
    }

    #[test]
    fn branches_become_tags() {
        let branch: BranchName = "feature/x".parse().unwrap();
        assert_eq!(branch.tag(), "feature-x");
    }
}
