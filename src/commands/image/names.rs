//! Image names in tables.

use mlops_oci::Digest;

use crate::aws::ecr::is_commit;

/// Returns the tags of an image without the commit, which has its own column.
pub(super) fn names(tags: &[String], part_of: &[Digest]) -> String {
    let mut names: Vec<String> = tags.iter().filter(|tag| !is_commit(tag)).cloned().collect();
    names.extend(
        part_of
            .iter()
            .map(|index| format!("(in {})", index.short())),
    );
    names.join(" ")
}
