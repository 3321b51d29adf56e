//! Determines the image of a branch: the default rule, and an optional pin.
//!
//! `develop` uses the newest image that was pushed from it. The production branch uses the promoted
//! image. Any branch can have a pin instead: a small file next to mlops.toml, versioned by git. The
//! pin contains the branch's name, so that a merge does not pin another branch.

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

/// The image that a branch is pinned to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// The branch that it was created on; it has no effect on any other.
    pub branch: BranchName,
    /// The ECR repository's name.
    pub repository: String,
    /// The image's digest.
    pub digest: Digest,
    /// The tag that was pinned, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<ImageTag>,
    /// When it was pinned.
    pub pinned: jiff::Timestamp,
}

/// How the image of a branch is selected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// The branch's pin.
    Pinned(Pin),
    /// The promoted image.
    Promoted,
    /// The newest image that was pushed from the branch.
    Newest,
}

impl Rule {
    /// Returns the rule for a branch; `pin` is the file in its commit or working tree.
    pub fn of(branches: &Branches, branch: &BranchName, pin: Option<&Pin>) -> Self {
        match pin {
            Some(pin) if pin.branch == *branch => Self::Pinned(pin.clone()),
            _ if *branch == branches.production && *branch != branches.develop => Self::Promoted,
            _ => Self::Newest,
        }
    }
}

impl Pin {
    /// Parses a pin's file (exit 2 if it is invalid); `place` names its origin in messages.
    pub fn parse(bytes: &[u8], place: &str) -> Result<Self> {
        toml::from_slice(bytes)
            .map_err(|error| {
                let problem = toml_problem(bytes, &error);
                Failure::usage(format!("{FILE} of {place} is invalid: {problem}"))
            })
            .hint(format!(
                "write a valid {FILE} with `mlops image pin REF`, or delete the file to remove the pin"
            ))
    }

    /// Reads the pin at a commit.
    pub fn at(repository: &Repository, commit: &str, place: &str) -> Result<Option<Self>> {
        repository
            .show(commit, Path::new(FILE))?
            .map(|bytes| Self::parse(&bytes, place))
            .transpose()
    }

    /// Reads the pin in a project's working tree.
    pub fn in_tree(root: &Path) -> Result<Option<Self>> {
        match std::fs::read(root.join(FILE)) {
            Ok(bytes) => Self::parse(&bytes, "the working tree").map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {FILE}")),
        }
    }
}

impl fmt::Display for Pin {
    /// Formats the file. The values contain no characters that TOML would escape.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "# The image that this branch uses, written by `mlops image pin`.\n\
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
    fn invalid_pin_files_are_rejected() {
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
        // A merge added the file.
        assert_eq!(rule("develop", Some(pin("feature/x"))), Rule::Newest);
        assert_eq!(rule("main", Some(pin("feature/x"))), Rule::Promoted);
    }
}
