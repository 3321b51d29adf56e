//! `mlops image pin` and `mlops image use`: select the image that a branch uses.

use std::fmt;
use std::path::Path;

use anyhow::{Context as _, Result};
use mlops_core::error::{Failure, Hint};
use mlops_core::names::BranchName;
use mlops_oci::Digest;
use serde::Serialize;

use crate::aws::ecr;
use crate::config::Project;
use crate::context::Context;
use crate::git::Repository;
use crate::infra;
use crate::pin::{FILE, Pin};

/// Pin the branch to an image
///
/// Resolves the image in ECR and writes its digest to image.pin.toml, which belongs in git. From
/// the commit of that file on, `mlops train` uses this image on this branch. Merging into another
/// branch does not pin that branch. Run `mlops image use newest` to remove the pin.
///
/// Example: mlops image pin develop --commit
#[derive(Debug, clap::Args)]
pub struct PinArgs {
    /// A tag, a digest, or a prefix of a digest
    #[arg(value_name = "REF")]
    reference: String,
    /// Commit the pin file only
    #[arg(long)]
    commit: bool,
}

/// Remove the branch's pin and use the newest image again
///
/// On the production branch, `mlops train` then uses the image of the promoted version.
///
/// Example: mlops image use newest --commit
#[derive(Debug, clap::Args)]
pub struct UseArgs {
    #[arg(value_enum)]
    image: Following,
    /// Commit the change to the pin file only
    #[arg(long)]
    commit: bool,
}

/// The images that a branch can follow.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Following {
    /// The newest image that was pushed from the branch
    Newest,
}

/// The image that the branch uses from now on.
#[derive(Debug, Serialize)]
pub struct PinReport {
    branch: BranchName,
    /// The pinned digest; `null` without a pin.
    digest: Option<Digest>,
    tags: Vec<String>,
    file: &'static str,
    /// False if the file was already up to date.
    changed: bool,
    /// Whether the branch's head commit, which `mlops train` uses, contains the pin.
    committed: bool,
    #[serde(skip)]
    next: String,
}

/// Returns the project's repository and the current branch.
fn branch(project: &Project) -> Result<(Repository, BranchName)> {
    let git = Repository::discover(&project.root)?;
    let branch = git
        .current_branch()?
        .ok_or_else(|| Failure::usage("no branch is checked out, and a pin belongs to a branch"))
        .hint("run `git switch BRANCH` first")?
        .parse()?;
    Ok((git, branch))
}

pub(super) async fn run(ctx: &Context, args: &PinArgs) -> Result<PinReport> {
    let project = ctx.project()?;
    let (git, branch) = branch(&project)?;
    let before = Pin::in_tree(&project.root).ok().flatten();
    let clients = ctx.aws_for(&project).await?;
    let repository = infra::platform(clients, &project).await?.image_repository;
    let images = ecr::list(clients, &repository).await?;
    let image = ecr::choose(&images, &repository, &args.reference)?;
    let mut pin = Pin {
        tag: (image.tags.contains(&args.reference))
            .then(|| args.reference.parse())
            .transpose()?,
        branch: branch.clone(),
        repository,
        digest: image.digest,
        pinned: ctx.now().round(jiff::Unit::Second)?,
    };
    if let Some(before) = before {
        let unchanged = Pin {
            pinned: pin.pinned,
            ..before.clone()
        };
        if unchanged == pin {
            pin = before;
        }
    }
    let text = pin.to_string();
    let path = project.root.join(FILE);
    let changed = std::fs::read_to_string(&path).ok().as_deref() != Some(&text);
    if changed {
        mlops_validation::files::replace(&path, text.as_bytes())?;
    }
    if args.commit {
        git.commit(&[FILE], &format!("Pin the image {}", pin.digest))?;
    }
    Ok(PinReport {
        committed: is_committed(&git, Some(&text))?,
        next: format!("git add {FILE} && git commit -m \"Pin the image\" {FILE}"),
        tags: image.tags.clone(),
        digest: Some(pin.digest),
        branch,
        file: FILE,
        changed,
    })
}

/// Removes the pin; needs no access to AWS.
pub(super) fn follow(ctx: &Context, args: &UseArgs) -> Result<PinReport> {
    let Following::Newest = args.image;
    let project = ctx.project()?;
    let (git, branch) = branch(&project)?;
    let path = project.root.join(FILE);
    let changed = match std::fs::remove_file(&path) {
        Ok(()) => true,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => {
            return Err(error).with_context(|| format!("cannot remove {}", path.display()));
        }
    };
    if args.commit && !is_committed(&git, None)? {
        git.commit(&[FILE], "Follow the newest image")?;
    }
    Ok(PinReport {
        committed: is_committed(&git, None)?,
        next: format!("git commit -m \"Follow the newest image\" {FILE}"),
        digest: None,
        tags: Vec::new(),
        branch,
        file: FILE,
        changed,
    })
}

/// Returns true if the head commit contains the pin file with this text, or no pin file for `None`.
fn is_committed(git: &Repository, text: Option<&str>) -> Result<bool> {
    let found = match git.head()? {
        Some(commit) => git.show(&commit, Path::new(FILE))?,
        None => None,
    };
    Ok(found.as_deref() == text.map(str::as_bytes))
}

impl fmt::Display for PinReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.digest {
            Some(digest) => {
                writeln!(f, "{} is pinned to", self.branch)?;
                writeln!(f, "  {digest}")?;
                if !self.tags.is_empty() {
                    writeln!(f, "  tags: {}", self.tags.join(", "))?;
                }
            }
            None => writeln!(f, "{} has no pin", self.branch)?,
        }
        if self.committed {
            writeln!(f, "The head commit of {} contains this.", self.branch)
        } else {
            writeln!(
                f,
                "\n`mlops train` uses the branch's head commit. Commit the change:\n  {}",
                self.next
            )
        }
    }
}
