//! The local cache of a project (`LOCAL_CUSTOM_CACHE`): the files of `cache/paths` in the buildspec, restored before
//! the next build. One tar for each project.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

use super::globs::{Layout, Rules, is_inside, select};
use super::interrupt::{Interrupt, Limited};
use super::log::BuildLog;
use super::records::projects;
use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::beneath::{self, Directory};
use crate::unpack::{self, Unpacker};

/// Maximum size of the cached files of a project, in bytes.
const MAX_BYTES: u64 = 4 << 30;

/// Maximum number of caches; the oldest is removed.
const MAX_CACHES: usize = 50;

fn directory(cloud: &Cloud) -> PathBuf {
    cloud.directory().join("build-caches")
}

/// The file of a cache, whose id a project has for its whole life: a new project of the same name has another one.
fn file(cloud: &Cloud, id: &str) -> PathBuf {
    directory(cloud).join(format!("{id}.tar"))
}

/// A new id.
pub(super) fn new_id() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// Removes a cache.
pub(super) fn forget(cloud: &Cloud, id: &str) {
    // A file that cannot be removed is one of those that are removed when there are too many.
    let _ = std::fs::remove_file(file(cloud, id));
}

/// Restores the files of the cache below the root of a build.
pub(super) fn restore(
    cloud: &Cloud,
    id: &str,
    root: &Directory,
    interrupt: &Interrupt,
) -> ApiResult<bool> {
    if id.is_empty() {
        // The project did not exist any more when the build started.
        return Ok(false);
    }
    let Ok(cache) = File::open(file(cloud, id)) else {
        return Ok(false);
    };
    unpack_into(root, cache, interrupt)?;
    Ok(true)
}

fn unpack_into(root: &Directory, cache: File, interrupt: &Interrupt) -> ApiResult<()> {
    let mut unpacker = Unpacker::new(root, "cache", MAX_BYTES).through_no_link();
    let cache = Limited::new(std::io::BufReader::new(cache), u64::MAX, interrupt);
    unpack::entries(cache, |entry| {
        interrupt.check()?;
        let path = unpacker.place(&entry.path()?)?;
        // Not one of these directories itself: it becomes /tmp, and the server writes next to it.
        if !is_inside(&path) {
            return Err(unpacker.refuse(&path, "it is not inside of a directory of the build"));
        }
        unpacker.entry(&path, entry)
    })
}

/// Replaces the cache of a project with the files of a build. Returns their number; `None` if the project was deleted.
pub(super) fn save(
    cloud: &Cloud,
    (project, id): (&str, &str),
    paths: &[String],
    (root, layout): (&Directory, &Layout),
    log: &BuildLog,
    interrupt: &Interrupt,
) -> ApiResult<Option<usize>> {
    use std::os::unix::fs::PermissionsExt;

    let rules = Rules {
        files: paths,
        links: true,
        ..Rules::default()
    };
    let selection = select(root, layout, &rules, interrupt)?;
    for path in &selection.unmatched {
        log.container(&format!("Skipping invalid cache path {path}"));
    }
    std::fs::create_dir_all(directory(cloud))?;
    let new = tempfile::NamedTempFile::new_in(directory(cloud))?;
    let mut builder = Builder::new(std::io::BufWriter::new(new));
    let mut left = MAX_BYTES;
    for selected in selection.files.values() {
        interrupt.check()?;
        let mut header = Header::new_gnu();
        if let Some(target) = &selected.link {
            header.set_entry_type(EntryType::Symlink);
            header.set_size(0);
            header.set_mode(0o777);
            builder.append_link(&mut header, &selected.path, target)?;
            continue;
        }
        let Some(file) = root.file(&selected.path)? else {
            continue;
        };
        let metadata = file.metadata()?;
        left = left.checked_sub(metadata.len()).ok_or_else(|| {
            ApiError::validation(format!(
                "the files of the cache have more than {MAX_BYTES} bytes"
            ))
        })?;
        header.set_size(metadata.len());
        header.set_mode(metadata.permissions().mode() & 0o777);
        let mut contents = Limited::new(file.take(metadata.len()), u64::MAX, interrupt);
        builder.append_data(&mut header, &selected.path, &mut contents)?;
        if contents.into_inner().limit() > 0 {
            return Err(ApiError::validation(format!(
                "{} became shorter while it was read",
                selected.path.display()
            )));
        }
    }
    let mut writer = builder.into_inner()?;
    writer.flush()?;
    let new = writer
        .into_inner()
        .map_err(|error| ApiError::from(error.into_error()))?;
    let is_current = || -> ApiResult<bool> {
        let found = projects(cloud).get(project)?;
        Ok(found.is_some_and(|found| found.cache == id))
    };
    if !is_current()? {
        return Ok(None);
    }
    new.persist(file(cloud, id)).map_err(|error| error.error)?;
    if !is_current()? {
        // It was deleted in the meantime.
        forget(cloud, id);
        return Ok(None);
    }
    remove_oldest(&directory(cloud), MAX_CACHES);
    Ok(Some(selection.files.len()))
}

/// Removes the caches that were not written for the longest time, so that at most `kept` remain.
fn remove_oldest(directory: &Path, kept: usize) {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    files.sort();
    let excess = files.len().saturating_sub(kept);
    for (_, path) in files.into_iter().take(excess) {
        let _ = std::fs::remove_file(path);
    }
}

/// Removes files of caches that were not completed.
pub(super) fn recover(cloud: &Cloud) {
    let entries = std::fs::read_dir(directory(cloud))
        .into_iter()
        .flatten()
        .flatten();
    for path in entries.map(|entry| entry.path()) {
        if path.extension().is_none_or(|extension| extension != "tar") {
            beneath::discard(cloud.directory(), &path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Restores a cache with one entry below a root with the directories of a build.
    fn restored(entry: EntryType, path: &str, target: &str) -> (ApiResult<()>, tempfile::TempDir) {
        let at = tempfile::tempdir().unwrap();
        for name in ["src", "home", "tmp"] {
            std::fs::create_dir(at.path().join(name)).unwrap();
        }
        let mut file = tempfile::tempfile().unwrap();
        let mut builder = Builder::new(&mut file);
        let mut header = Header::new_gnu();
        header.set_entry_type(entry);
        header.set_size(0);
        header.set_mode(0o755);
        if target.is_empty() {
            builder
                .append_data(&mut header, path, std::io::empty())
                .unwrap();
        } else {
            builder.append_link(&mut header, path, target).unwrap();
        }
        builder.into_inner().unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        let root = Directory::open(at.path(), "/opt/codebuild").unwrap();
        let result = unpack_into(&root, file, &Interrupt::default());
        (result, at)
    }

    #[test]
    fn a_cache_replaces_no_directory_of_a_build() {
        for path in [
            "tmp",
            "src",
            "home",
            "src-other",
            "control",
            "control/plan",
            "./tmp",
        ] {
            for (kind, target) in [(EntryType::Symlink, "/"), (EntryType::Regular, "")] {
                let (result, at) = restored(kind, path, target);
                let error = result.unwrap_err();
                assert!(error.message.contains("not inside"), "{path}: {error}");
                let tmp = at.path().join("tmp").symlink_metadata().unwrap();
                assert!(tmp.is_dir(), "{path}");
                assert_eq!(std::fs::read_dir(at.path()).unwrap().count(), 3, "{path}");
            }
        }
        for path in ["tmp/a", "src/a/b", "src-other/a", "home/.m2/x"] {
            let (result, at) = restored(EntryType::Symlink, path, "/elsewhere");
            result.unwrap();
            assert!(at.path().join(path).is_symlink(), "{path}");
        }
    }

    #[test]
    fn the_oldest_caches_are_removed() {
        let at = tempfile::tempdir().unwrap();
        for (index, name) in ["a", "b", "c"].iter().enumerate() {
            let file = File::create(at.path().join(name)).unwrap();
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(index as u64 + 1);
            file.set_modified(time).unwrap();
        }
        remove_oldest(at.path(), 2);
        assert!(!at.path().join("a").exists());
        assert!(at.path().join("b").exists() && at.path().join("c").exists());
    }
}
