//! The image of a branch: the rule, and the pin that a branch may have.
//!
//! `develop` follows the newest image that was pushed from it. The production branch has what was
//! promoted. Any branch may have a pin instead: a small file next to mlops.toml that git versions.
//! It names its branch, so that a merge does not pin another branch.

use std::fmt;
use std::path::Path;

use anyhow::{Context as _, Result};
use mlops_core::error::{Failure, Hint};
use mlops_core::names::{BranchName, ImageTag};
use mlops_oci::Digest;
use serde::{Deserialize, Serialize};

use crate::config::{Branches, toml_problem};
use crate::git::Repository;

/// The pin's file, next to `mlops.toml`.
pub const FILE: &str = "image.pin.toml";

/// The image that a branch was told to work with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// The branch that it was made on; on any other it counts for nothing.
    pub branch: BranchName,
    /// The ECR repository's name.
    pub repository: String,
    /// The image's digest.
    pub digest: Digest,
    /// The tag that it was pinned by, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<ImageTag>,
    /// When it was pinned.
    pub pinned: jiff::Timestamp,
}

/// How the image of a branch is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// The branch's pin.
    Pinned(Pin),
    /// What was promoted.
    Promoted,
    /// The newest image that was pushed from the branch.
    Newest,
}

impl Rule {
    /// The rule for a branch; `pin` is the file in its commit or working tree.
    pub fn of(branches: &Branches, branch: &BranchName, pin: Option<&Pin>) -> Self {
        match pin {
            Some(pin) if pin.branch == *branch => Self::Pinned(pin.clone()),
            _ if *branch == branches.production && *branch != branches.develop => Self::Promoted,
            _ => Self::Newest,
        }
    }
}

impl Pin {
    /// Parses a pin's file (exit 2 if it is invalid); `place` is its origin, for messages.
    pub fn parse(bytes: &[u8], place: &str) -> Result<Self> {
        toml::from_slice(bytes)
            .map_err(|error| {
                let problem = toml_problem(bytes, &error);
                Failure::usage(format!("{FILE} of {place} is wrong: {problem}"))
            })
            .hint(format!(
                "`mlops image pin REF` writes {FILE}; without it the branch has no pin"
            ))
    }

    /// The pin at a commit.
    pub fn at(repository: &Repository, commit: &str, place: &str) -> Result<Option<Self>> {
        repository
            .show(commit, Path::new(FILE))?
            .map(|bytes| Self::parse(&bytes, place))
            .transpose()
    }

    /// The pin in a project's working tree.
    pub fn in_tree(root: &Path) -> Result<Option<Self>> {
        match std::fs::read(root.join(FILE)) {
            Ok(bytes) => Self::parse(&bytes, "the working tree").map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {FILE}")),
        }
    }
}

impl fmt::Display for Pin {
    /// As the file is written. The values have no character that TOML would escape.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "# The image that this branch works with, written by `mlops image pin`.\n\
             # `mlops image use newest` removes it."
        )?;
        f.write_str(&toml::to_string(self).map_err(|_| fmt::Error)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(branch: &str) -> Pin {
        Pin {
            branch: branch.parse().unwrap(),
            repository: "flights".to_owned(),
            digest: format!("sha256:{}", "a".repeat(64)).parse().unwrap(),
            tag: Some("develop".parse().unwrap()),
            pinned: "2026-01-02T03:04:05Z".parse().unwrap(),
        }
    }

    #[test]
    fn a_pin_is_read_as_it_was_written() {
        let mut written = pin("feature/x");
        assert_eq!(
            Pin::parse(written.to_string().as_bytes(), "x").unwrap(),
            written
        );
        written.tag = None;
        assert_eq!(
            Pin::parse(written.to_string().as_bytes(), "x").unwrap(),
            written
        );
    }

    #[test]
    fn what_is_no_pin_is_refused() {
        let good = pin("x").to_string();
        for bad in [
            good.replace("sha256:a", "sha256:g"),
            good.replace("sha256:", ""),
            good.replace("repository", "repo"),
            "branch = [".to_owned(),
        ] {
            let error = Pin::parse(bad.as_bytes(), "`x`").unwrap_err();
            assert_eq!(
                mlops_core::error::exit(&error),
                mlops_core::error::Exit::Usage,
                "{bad}"
            );
        }
    }

    #[test]
    fn a_pin_counts_on_its_own_branch_only() {
        let branches = Branches::default();
        let rule = |branch: &str, pin: Option<Pin>| {
            Rule::of(&branches, &branch.parse().unwrap(), pin.as_ref())
        };
        assert_eq!(rule("develop", None), Rule::Newest);
        assert_eq!(rule("main", None), Rule::Promoted);
        assert_eq!(rule("feature/x", None), Rule::Newest);
        assert_eq!(
            rule("feature/x", Some(pin("feature/x"))),
            Rule::Pinned(pin("feature/x"))
        );
        assert_eq!(rule("main", Some(pin("main"))), Rule::Pinned(pin("main")));
        // A merge brought the file along.
        assert_eq!(rule("develop", Some(pin("feature/x"))), Rule::Newest);
        assert_eq!(rule("main", Some(pin("feature/x"))), Rule::Promoted);
    }
}
