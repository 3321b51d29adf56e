//! Names of images in tables.

use mlops_oci::Digest;

use crate::aws::ecr::is_commit;

/// The tags of an image for people: a commit has a column of its own.
pub(super) fn names(tags: &[String], part_of: &[Digest]) -> String {
    let mut names: Vec<String> = tags.iter().filter(|tag| !is_commit(tag)).cloned().collect();
    names.extend(
        part_of
            .iter()
            .map(|index| format!("(in {})", index.short())),
    );
    names.join(" ")
}
