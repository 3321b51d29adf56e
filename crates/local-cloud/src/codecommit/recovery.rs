//! Cleans up repositories after the server or the machine stopped.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::{bare, records};
use crate::Cloud;
use crate::api::ApiResult;
use crate::beneath;

/// Minimum age of stale lock files and unfinished pushes: git processes end within seconds of their server.
const STALE: Duration = Duration::from_secs(10);

/// Removes directories without a repository, and files that interrupted git processes left behind.
pub(crate) fn recover(cloud: &Cloud) -> ApiResult<()> {
    let mut used = BTreeSet::new();
    for (name, record) in records(cloud).list("")? {
        used.insert(record.directory(&name));
    }
    let entries = std::fs::read_dir(bare::root(cloud));
    for entry in entries.into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if used.contains(entry.file_name().to_string_lossy().as_ref()) {
                tidy(&path);
            } else {
                // No record names it.
                beneath::discard(cloud.directory(), &path);
            }
        }
    }
    Ok(())
}

/// Removes stale lock files and the objects of pushes that were not finished.
fn tidy(repository: &Path) {
    for name in ["HEAD.lock", "packed-refs.lock", "config.lock"] {
        remove_stale(&repository.join(name));
    }
    let mut pending = vec![repository.join("refs")];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let kind = entry.file_type();
            if kind.is_ok_and(|kind| kind.is_dir()) {
                pending.push(entry.path());
            } else if entry.path().extension().is_some_and(|end| end == "lock") {
                remove_stale(&entry.path());
            }
        }
    }
    let objects = std::fs::read_dir(repository.join("objects"));
    for entry in objects.into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("incoming-") || name.starts_with("tmp_objdir-") {
            remove_stale(&entry.path());
        }
    }
}

fn remove_stale(path: &Path) {
    let Ok(found) = path.symlink_metadata() else {
        return;
    };
    let age = found
        .modified()
        .ok()
        .and_then(|modified| SystemTime::now().duration_since(modified).ok());
    if age.is_some_and(|age| age > STALE) {
        // If it stays, git names it in its own error.
        let _ = beneath::remove(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stale_locks_and_unfinished_pushes_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        let old = SystemTime::now() - Duration::from_mins(1);
        let paths = [
            ("HEAD.lock", true),
            ("refs/heads/a/b.lock", true),
            ("refs/heads/a/young.lock", false),
            ("refs/heads/a/b", false),
            ("objects/incoming-x/y", true),
            ("objects/ab/cd", false),
        ];
        for (name, stale) in paths {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let file = std::fs::File::create(&path).unwrap();
            if stale {
                file.set_modified(old).unwrap();
            }
        }
        let incoming = directory.path().join("objects/incoming-x");
        std::fs::File::open(incoming)
            .unwrap()
            .set_modified(old)
            .unwrap();
        tidy(directory.path());
        for (name, stale) in paths {
            assert_eq!(directory.path().join(name).exists(), !stale, "{name}");
        }
    }
}
