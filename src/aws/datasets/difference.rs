//! Compares two versions.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Manifest, ManifestFile};

/// A file with different content in two versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// The path in the data set.
    pub path: String,
    /// The size before, in bytes.
    pub before: u64,
    /// The size after, in bytes.
    pub after: u64,
}

/// The differences between two versions, each by path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// Files that only the second has.
    pub added: Vec<ManifestFile>,
    /// Files that only the first has.
    pub removed: Vec<ManifestFile>,
    /// Files with different content.
    pub changed: Vec<Changed>,
    /// Number of unchanged files.
    pub unchanged: usize,
}

/// Compares two manifests by path and SHA-256.
pub fn difference(before: &Manifest, after: &Manifest) -> Difference {
    let mut left: BTreeMap<&str, &ManifestFile> = before
        .files
        .iter()
        .map(|file| (file.path.as_str(), file))
        .collect();
    let mut found = Difference::default();
    for file in &after.files {
        match left.remove(file.path.as_str()) {
            None => found.added.push(file.clone()),
            Some(same) if same.sha256 == file.sha256 => found.unchanged += 1,
            Some(other) => found.changed.push(Changed {
                path: file.path.clone(),
                before: other.size,
                after: file.size,
            }),
        }
    }
    found.removed = left.into_values().cloned().collect();
    found.added.sort_by(|a, b| a.path.cmp(&b.path));
    found.changed.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(files: &[(&str, &str)]) -> Manifest {
        Manifest {
            schema: 1,
            dataset: "d".parse().unwrap(),
            created: jiff::Timestamp::UNIX_EPOCH,
            files: files
                .iter()
                .map(|(path, bytes)| ManifestFile {
                    path: (*path).to_owned(),
                    key: format!("datasets/d/{path}"),
                    version_id: "v".to_owned(),
                    size: bytes.len() as u64,
                    sha256: (*bytes).to_owned(),
                })
                .collect(),
        }
    }

    #[test]
    fn files_are_compared_by_path_and_bytes() {
        let before = manifest(&[("a", "1"), ("b", "22"), ("c", "3"), ("z", "9")]);
        let after = manifest(&[("c", "333"), ("b", "22"), ("x", "7"), ("aa", "1")]);
        let found = difference(&before, &after);
        let paths = |files: &[ManifestFile]| -> Vec<String> {
            files.iter().map(|file| file.path.clone()).collect()
        };
        assert_eq!(paths(&found.added), ["aa", "x"]);
        assert_eq!(paths(&found.removed), ["a", "z"]);
        assert_eq!(
            found.changed,
            [Changed {
                path: "c".to_owned(),
                before: 1,
                after: 3
            }]
        );
        assert_eq!(found.unchanged, 1);
    }
}
