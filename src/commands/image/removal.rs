//! The plan of `mlops image rm`.

use std::fmt;

use anyhow::{Result, anyhow};
use jiff::Timestamp;
use mlops_core::error::Hint;
use mlops_core::text::{bytes, table, time};
use mlops_oci::Digest;
use serde::Serialize;

use super::names::names;
use crate::aws::ecr::Described;

/// Images that were removed, or would be.
#[derive(Debug, Serialize)]
pub struct Removal {
    pub(super) repository: String,
    /// False for a dry run.
    pub(super) done: bool,
    pub(super) removed: Vec<RemovalItem>,
    /// Requested images that must be kept.
    pub(super) kept: Vec<RemovalItem>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct RemovalItem {
    pub(super) digest: Digest,
    pub(super) tags: Vec<String>,
    /// Size of configuration and layers, in bytes.
    pub(super) size: u64,
    pub(super) pushed: Option<Timestamp>,
    /// Why the image must be kept.
    pub(super) needed_by: Vec<String>,
}

impl RemovalItem {
    pub(super) fn of(image: &Described, needed_by: Vec<String>) -> Self {
        Self {
            digest: image.digest,
            tags: image.tags.clone(),
            size: image.size,
            pushed: image.pushed,
            needed_by,
        }
    }
}

/// Fails if the current plan removes other images than the plan that was confirmed.
pub(super) fn check(agreed: &Removal, now: &Removal) -> Result<()> {
    if agreed.removed == now.removed {
        return Ok(());
    }
    let gone = |line: &&RemovalItem| !now.removed.contains(line);
    let what = agreed.removed.iter().find(gone).map_or_else(
        || "the images to remove changed".to_owned(),
        |line| format!("{} came into use or changed", line.digest.short()),
    );
    Err(anyhow!("{what} in the meantime; nothing was removed"))
        .hint("check the new plan with --dry-run")
}

pub(super) fn count(number: usize) -> String {
    match number {
        1 => "1 image".to_owned(),
        number => format!("{number} images"),
    }
}

impl fmt::Display for Removal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |line: &RemovalItem| {
            vec![
                line.digest.short(),
                bytes(line.size),
                line.pushed.map(time).unwrap_or_default(),
                names(&line.tags, &[]),
                line.needed_by.join(", "),
            ]
        };
        let verb = if self.done { "Removed" } else { "Would remove" };
        if self.removed.is_empty() {
            writeln!(f, "Nothing to remove from {}.", self.repository)?;
        } else {
            let number = count(self.removed.len());
            writeln!(f, "{verb} {number} from {}:", self.repository)?;
            let rows = self.removed.iter().map(row);
            f.write_str(&table(&["DIGEST", "SIZE", "PUSHED", "TAGS", ""], rows))?;
        }
        if !self.kept.is_empty() {
            writeln!(f, "\nKept {}:", count(self.kept.len()))?;
            let rows = self.kept.iter().map(row);
            f.write_str(&table(
                &["DIGEST", "SIZE", "PUSHED", "TAGS", "NEEDED BY"],
                rows,
            ))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mlops_core::error::Exit;

    #[test]
    fn only_confirmed_images_are_removed() {
        let removal = |digests: &[Digest]| Removal {
            repository: "flights".to_owned(),
            done: false,
            removed: digests
                .iter()
                .map(|digest| RemovalItem {
                    digest: *digest,
                    tags: Vec::new(),
                    size: 1,
                    pushed: None,
                    needed_by: Vec::new(),
                })
                .collect(),
            kept: Vec::new(),
        };
        let [a, b, c] = [b"a", b"b", b"c"].map(|bytes| Digest::of(bytes));
        let agreed = removal(&[a, b]);
        assert!(check(&agreed, &removal(&[a, b])).is_ok());
        let error = check(&agreed, &removal(&[a])).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "{} came into use or changed in the meantime; nothing was removed",
                b.short()
            )
        );
        assert_eq!(mlops_core::error::exit(&error), Exit::Failed);
        assert!(check(&agreed, &removal(&[a, b, c])).is_err());
    }
}
