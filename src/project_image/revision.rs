//! The git state of the files in an image.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use mlops_core::error::{Exit, Failure, Hint};
use mlops_core::names::{BranchName, ImageTag};
use mlops_oci::program::REVISION;
use mlops_oci::source::Source;

use crate::config::{FILE, Project};
use crate::git::Repository;

/// The git state of the files in an image.
#[derive(Debug)]
pub(crate) struct Revision {
    pub(crate) commit: String,
    pub(crate) branch: BranchName,
    pub(crate) dirty: bool,
}

/// The commit of a tree, regardless of its branch.
#[derive(Debug)]
pub(crate) struct WorkingTreeState {
    pub(crate) commit: String,
    pub(crate) dirty: bool,
}

impl WorkingTreeState {
    /// Reads the state. A dirty tree requires `allow_dirty`.
    pub(crate) fn read(project: &Project, allow_dirty: bool) -> Result<Self> {
        let repository = Repository::discover(&project.root)?;
        let commit = commit(&repository)?;
        let dirty = dirty(project, &repository, allow_dirty)?;
        Ok(Self { commit, dirty })
    }

    /// Returns the label of the image: the commit, marked if the tree is dirty.
    pub(crate) fn label(&self) -> String {
        label(&self.commit, self.dirty)
    }
}

impl Revision {
    /// Reads the state. `requested` is the branch to use if none is checked out; a dirty tree
    /// requires `allow_dirty`.
    pub(crate) fn read(
        project: &Project,
        requested: Option<&BranchName>,
        allow_dirty: bool,
    ) -> Result<Self> {
        let repository = Repository::discover(&project.root)?;
        let commit = commit(&repository)?;
        let branch = match (repository.current_branch()?, requested) {
            (None, None) => {
                return Err(Failure::usage("no branch is checked out"))
                    .hint("pass the branch that the image belongs to: --branch B");
            }
            (None, Some(requested)) => requested.clone(),
            (Some(current), Some(requested)) if current != requested.as_str() => {
                return Err(Failure::usage(format!(
                    "the current branch is `{current}`, not `{requested}`"
                )))
                .hint(format!("run `git switch {requested}` first"));
            }
            (Some(current), _) => current.parse()?,
        };
        let dirty = dirty(project, &repository, allow_dirty)?;
        Ok(Self {
            commit,
            branch,
            dirty,
        })
    }

    /// Returns the label of the image: the commit, marked if the tree is dirty.
    pub(crate) fn label(&self) -> String {
        label(&self.commit, self.dirty)
    }

    /// Fails if the image's label names another commit of this repository, or uncommitted files. A
    /// label with a commit of another repository comes from the base.
    pub(crate) fn require_maker(&self, project: &Project, image: &Source) -> Result<()> {
        let labels = image
            .labels(REVISION)
            .context("cannot read the image's configuration")?;
        let repository = Repository::discover(&project.root)?;
        for made_of in labels.iter().filter(|made_of| **made_of != self.label()) {
            if repository.has_commit(made_of.trim_end_matches("-dirty"))? {
                return Err(Failure::new(
                    Exit::Failed,
                    format!(
                        "the image was built from {made_of}, not from {}",
                        self.label()
                    ),
                ))
                .hint("rebuild it, switch to its commit, or push it elsewhere with --to");
            }
        }
        Ok(())
    }

    /// Fails if the files changed since they were read: the image may match neither state.
    pub(crate) fn require_unchanged(&self, project: &Project, allow_dirty: bool) -> Result<()> {
        let now = WorkingTreeState::read(project, allow_dirty)?;
        if now.label() == self.label() {
            return Ok(());
        }
        Err(Failure::new(
            Exit::Failed,
            "the files changed while the image was being built",
        ))
        .hint("run the command again")
    }

    /// The commit's tag is for committed files only; the branch's tag moves.
    pub(crate) fn tags(&self) -> Result<Vec<ImageTag>> {
        let branch = self.branch.tag().parse().with_context(|| {
            format!(
                "the branch name `{}` cannot be used as an image tag",
                self.branch
            )
        })?;
        if self.dirty {
            return Ok(vec![branch]);
        }
        Ok(vec![self.commit.parse()?, branch])
    }
}

fn commit(repository: &Repository) -> Result<String> {
    repository
        .head()?
        .ok_or_else(|| Failure::usage("the project has no commit yet"))
        .hint("commit the project first: an image is tagged with its commit")
}

fn dirty(project: &Project, repository: &Repository, allow_dirty: bool) -> Result<bool> {
    let reason = uncommitted(project, repository)?;
    match &reason {
        Some(reason) if !allow_dirty => Err(Failure::new(Exit::Failed, reason.clone()))
            .hint("commit the changes, or pass --allow-dirty; the image then gets no commit tag"),
        _ => Ok(reason.is_some()),
    }
}

/// Returns the first difference between the image's files and the commit.
fn uncommitted(project: &Project, repository: &Repository) -> Result<Option<String>> {
    let directory = &project.file.image.directory;
    if repository.is_dirty(directory)? {
        return Ok(Some(format!(
            "files in {} are not committed",
            directory.display()
        )));
    }
    // The program's layer includes ignored files, except Python's compiled ones.
    let compiled = |file: &PathBuf| {
        file.components()
            .any(|part| part.as_os_str() == "__pycache__")
    };
    let ignored = repository.ignored(&directory.join("program"))?;
    if let Some(file) = ignored.iter().find(|file| !compiled(file)) {
        return Ok(Some(format!(
            "git ignores {}, which would become part of the image",
            file.display()
        )));
    }
    let written = std::fs::read(project.root.join(FILE)).ok();
    let committed = repository.show("HEAD", Path::new(FILE))?;
    if settings(written) != settings(committed) {
        return Ok(Some(format!("[image] of {FILE} is not committed")));
    }
    Ok(None)
}

/// Returns the `[image]` section of mlops.toml; `None` if there is none.
fn settings(text: Option<Vec<u8>>) -> Option<toml::Value> {
    let file: toml::Table = toml::from_slice(&text?).ok()?;
    file.get("image").cloned()
}

fn label(commit: &str, dirty: bool) -> String {
    if dirty {
        format!("{commit}-dirty")
    } else {
        commit.to_owned()
    }
}
