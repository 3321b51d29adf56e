//! Names of images in tables.

use crate::aws::ecr::is_commit;

/// The first digits of a digest: enough to name an image by.
pub(super) fn short(digest: &str) -> String {
    let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
    hex.chars().take(12).collect()
}

/// The tags of an image for people: a commit has a column of its own.
pub(super) fn names(tags: &[String], part_of: &[String]) -> String {
    let mut names: Vec<String> = tags.iter().filter(|tag| !is_commit(tag)).cloned().collect();
    names.extend(part_of.iter().map(|index| format!("(in {})", short(index))));
    names.join(" ")
}
