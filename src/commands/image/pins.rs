//! Branches that need an image: those that pin it, and those whose tag it carries.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Result, anyhow};
use mlops_core::error::{hinted, message};
use mlops_core::names::BranchName;
use mlops_oci::Digest;

use super::used_by::UsedBy;
use crate::aws::ecr::Described;
use crate::config::Project;
use crate::git::Repository;
use crate::pin::{FILE, Pin};

/// Adds the branches that pin an image, and those whose tag an image carries. Returns the error of
/// the first pin that cannot be read.
pub(super) fn branches(
    project: &Project,
    repository: &str,
    images: &[Described],
    used: &mut BTreeMap<Digest, UsedBy>,
) -> Result<Option<anyhow::Error>> {
    let mut unknown = None;
    let known = &project.file.branches;
    let mut names = BTreeSet::from([known.develop.to_string(), known.production.to_string()]);
    if let Some(git) = Repository::find(&project.root)? {
        let mut seen = BTreeSet::new();
        for (name, commit) in git.heads()? {
            names.insert(name.clone());
            if !seen.insert((name.clone(), commit.clone())) {
                continue;
            }
            match Pin::at(&git, &commit, &format!("`{name}`")) {
                Ok(Some(pin)) if pin.branch.as_str() == name && pin.repository == repository => {
                    used.entry(pin.digest).or_default().pins.insert(name);
                }
                Err(error) if unknown.is_none() => {
                    unknown = Some(unread(&name, &error));
                }
                Ok(_) | Err(_) => {}
            }
        }
    } else {
        unknown = Some(no_repository(&project.root));
    }
    for name in names {
        let Ok(branch) = name.parse::<BranchName>() else {
            continue;
        };
        let tag = branch.tag();
        if let Some(image) = images.iter().find(|image| image.tags.contains(&tag)) {
            let used = used.entry(image.digest).or_default();
            used.branches.insert(name);
        }
    }
    Ok(unknown)
}

fn no_repository(root: &Path) -> anyhow::Error {
    hinted(
        anyhow!(
            "cannot determine which images are pinned: {} is not in a git repository",
            root.display()
        ),
        "run this command in a clone of the project's repository, with its branches fetched",
    )
}

fn unread(branch: &str, error: &anyhow::Error) -> anyhow::Error {
    hinted(
        anyhow!(
            "cannot determine which images are pinned: {}",
            message(error)
        ),
        format!("fix {FILE} on `{branch}`, or delete the local branch if it is no longer needed"),
    )
}
