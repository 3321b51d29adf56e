//! The garbage collector: removes blobs that no record mentions.
//!
//! ```text
//! at the start      temporary files, remaining files of services, unpacked images without an image
//! then, and every   mark: every SHA-256 in a snapshot of the records
//! 10 minutes        sweep: all other blobs, except recently used ones (store::usage)
//! ```
//!
//! A mention is enough to keep a blob: any 64 hexadecimal digits in a record can be its name. So no
//! service can lose bytes because the collector does not understand its records; at worst, a blob
//! is kept longer than necessary.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::Cloud;
use super::api::ApiResult;
use super::cloud::service::Housekeeping;
use super::{beneath, clock};
use crate::log;

/// The time between two collections.
const INTERVAL: Duration = Duration::from_mins(10);

/// Directory, within the state directory, of files that are about to be removed.
const TRASH: &str = "trash";

/// The length of a hexadecimal SHA-256.
const DIGITS: usize = 64;

/// SHA-256 digests of blobs.
type Digests = HashSet<[u8; 32]>;

/// The running collector.
#[derive(Debug)]
pub(super) struct Collector {
    stop: Arc<Stop>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Stop {
    wanted: AtomicBool,
    notify: Notify,
}

/// Removes what an earlier server left behind, while nothing can be in use, and starts the
/// collector. A file that cannot be removed does not prevent the server from starting.
pub(super) fn start(cloud: &Cloud) -> Collector {
    let warn = |what: &str, result: ApiResult<()>| {
        if let Err(error) = result {
            log::write_line(&format!(
                "warning: cannot remove unused {what}: {}",
                error.message
            ));
        }
    };
    warn("temporary files", remove_temporary_files(cloud));
    for service in cloud.services().iter() {
        if let Some(remove) = service.housekeeping.remove_orphans {
            warn(&format!("data of {}", service.name), remove(cloud));
        }
    }
    warn("files of images", discard_images(cloud));
    let stop = Arc::new(Stop::default());
    let task = tokio::spawn(run(cloud.clone(), stop.clone()));
    Collector { stop, task }
}

/// Removes temporary files, except those that a service still needs.
fn remove_temporary_files(cloud: &Cloud) -> ApiResult<()> {
    let mut needed = HashSet::new();
    for files in housekeeping(cloud).filter_map(|it| it.temporary_files) {
        needed.extend(files(cloud)?);
    }
    for file in entries(&cloud.blobs().temporary_directory()) {
        if !needed.contains(&file) {
            // A file that remains costs disk space, nothing else.
            let _ = std::fs::remove_file(file);
        }
    }
    Ok(())
}

fn housekeeping(cloud: &Cloud) -> impl Iterator<Item = &'static Housekeeping> {
    cloud.services().iter().map(|service| &service.housekeeping)
}

impl Collector {
    /// Stops the collector, which then releases the records.
    pub(super) async fn end(self) {
        self.stop.wanted.store(true, Ordering::Relaxed);
        self.stop.notify.notify_one();
        // A panic of the task also ends it.
        let _ = self.task.await;
    }
}

async fn run(cloud: Cloud, stop: Arc<Stop>) {
    let mut seen = None;
    loop {
        let (inner, flag) = (cloud.clone(), stop.clone());
        let work = move || {
            empty_trash(&inner);
            for remove in housekeeping(&inner).filter_map(|it| it.remove_expired) {
                // The next collection tries again.
                let _ = remove(&inner);
            }
            let changes = inner.store().changes();
            // New garbage requires a change of the records.
            if seen != Some(changes) {
                // The next collection tries again; nothing depends on it.
                let _ = collect(&inner, &flag.wanted);
            }
            changes
        };
        seen = tokio::task::spawn_blocking(work).await.ok();
        if stop.wanted.load(Ordering::Relaxed) {
            return;
        }
        tokio::select! {
            () = stop.notify.notified() => return,
            () = clock::sleep(INTERVAL) => {}
        }
    }
}

/// Collects garbage once.
fn collect(cloud: &Cloud, stop: &AtomicBool) -> ApiResult<()> {
    let blobs = cloud.blobs();
    let collection = blobs.begin_collection();
    let marks = cloud.store().snapshot(|connection| {
        let mut marks = Digests::new();
        for (table, column) in housekeeping(cloud).flat_map(|it| it.blob_columns) {
            super::store::for_each_text(connection, table, column, |name| {
                mark(name, &mut marks);
            })?;
        }
        super::store::for_each_record(connection, |key, value| {
            mark(key, &mut marks);
            mark(value, &mut marks);
        })?;
        Ok(marks)
    })?;
    for directory in entries(blobs.directory()) {
        for file in entries(&directory) {
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            let name = file.file_name().and_then(|name| name.to_str());
            if let Some(name) = name
                && let Some(digest) = parse_digest(name)
                && !marks.contains(&digest)
            {
                collection.remove(name, &file)?;
            }
        }
    }
    Ok(())
}

/// Marks everything in a text that can be the name of a blob.
fn mark(text: &str, marks: &mut Digests) {
    let hexadecimal = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    for run in text.as_bytes().split(|byte| !hexadecimal(byte)) {
        for window in run.windows(DIGITS) {
            let mut digest = [0; DIGITS / 2];
            if hex::decode_to_slice(window, &mut digest).is_ok() {
                marks.insert(digest);
            }
        }
    }
}

fn parse_digest(name: &str) -> Option<[u8; 32]> {
    let mut digest = [0; DIGITS / 2];
    hex::decode_to_slice(name, &mut digest).ok()?;
    Some(digest)
}

fn entries(directory: &Path) -> impl Iterator<Item = std::path::PathBuf> {
    std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
}

/// Moves the files of deleted images to the trash: renaming takes no time.
fn discard_images(cloud: &Cloud) -> ApiResult<()> {
    let mut used = HashSet::new();
    for digests in housekeeping(cloud).filter_map(|it| it.images) {
        used.extend(
            digests(cloud)?
                .iter()
                .map(|digest| digest.replace(':', "-")),
        );
    }
    let trash = cloud.directory().join(TRASH);
    for image in entries(&cloud.directory().join("images")) {
        let name = image.file_name().unwrap_or_default().to_string_lossy();
        if used.contains(name.as_ref()) {
            continue;
        }
        let target = trash.join(uuid::Uuid::new_v4().to_string());
        let moved = std::fs::create_dir_all(&trash).and_then(|()| std::fs::rename(&image, target));
        if moved.is_err() {
            beneath::discard(cloud.directory(), &image);
        }
    }
    Ok(())
}

fn empty_trash(cloud: &Cloud) {
    for directory in entries(&cloud.directory().join(TRASH)) {
        beneath::discard(cloud.directory(), &directory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_cloud::TestCloud;

    fn cloud(directory: &Path) -> Cloud {
        TestCloud::in_directory(directory)
    }

    #[test]
    fn names_are_found_at_any_position() {
        let name = "ab".repeat(32);
        let found = |text: &str| {
            let mut marks = Digests::new();
            mark(text, &mut marks);
            marks.contains(&parse_digest(&name).unwrap())
        };
        for text in [
            name.clone(),
            format!("repository@sha256:{name}"),
            format!("{{\"code\":\"{name}\"}}"),
            format!("{name}0123"),
        ] {
            assert!(found(&text), "{text}");
        }
        assert!(!found(&name[1..]));
        assert!(!found(""));
    }

    // Issue 8, 2.5: blobs of deleted objects were never removed.
    #[test]
    fn blobs_without_a_record_are_removed_and_all_others_kept() {
        let directory = tempfile::tempdir().unwrap();
        let (named, unnamed) = {
            let cloud = cloud(directory.path());
            let named = cloud.blobs().write(b"named").unwrap();
            let unnamed = cloud.blobs().write(b"unnamed").unwrap();
            let records = cloud.store().collection::<String>("test", "text");
            records.put("x", &format!("sha256:{named}")).unwrap();
            // Both were just used: their records may still be written.
            collect(&cloud, &AtomicBool::new(false)).unwrap();
            assert!(cloud.blobs().path(&unnamed).is_file());
            (named, unnamed)
        };
        // Nothing is in progress when a server starts.
        let cloud = cloud(directory.path());
        collect(&cloud, &AtomicBool::new(false)).unwrap();
        assert!(cloud.blobs().path(&named).is_file());
        assert!(!cloud.blobs().path(&unnamed).is_file());
    }

    #[test]
    fn a_read_only_image_does_not_prevent_the_server_from_starting() {
        use std::os::unix::fs::PermissionsExt;

        beneath::tests::as_ordinary_user(|at| {
            let cloud = TestCloud::in_directory(at);
            let mode = |path: &Path, bits: u32| {
                let bits = std::fs::Permissions::from_mode(bits);
                std::fs::set_permissions(path, bits).unwrap();
            };
            let image = |name: &str| {
                let image = at.join("images").join(name);
                std::fs::create_dir_all(image.join("opt")).unwrap();
                std::fs::write(image.join("opt/file"), "x").unwrap();
                mode(&image.join("opt"), 0o500);
                image
            };
            let first = image("sha256-1");
            discard_images(&cloud).unwrap();
            assert!(!first.exists());
            assert_eq!(entries(&at.join(TRASH)).count(), 1);
            empty_trash(&cloud);
            assert_eq!(entries(&at.join(TRASH)).count(), 0);
            // Nothing can be moved if the trash is not a directory, nor out of a read-only
            // directory.
            std::fs::remove_dir(at.join(TRASH)).unwrap();
            std::fs::write(at.join(TRASH), "").unwrap();
            let second = image("sha256-2");
            mode(&at.join("images"), 0o500);
            discard_images(&cloud).unwrap();
            assert!(!second.exists());
        });
    }

    #[test]
    fn an_unfinished_upload_is_kept_however_the_state_is_named() {
        let at = tempfile::tempdir().unwrap();
        let (state, link) = (at.path().join("state"), at.path().join("link"));
        std::fs::create_dir(&state).unwrap();
        std::os::unix::fs::symlink(&state, &link).unwrap();
        let file = {
            let cloud = TestCloud::in_directory(&link);
            cloud.blobs().temporary().unwrap().keep().unwrap().1
        };
        let name = file.file_name().unwrap();
        let cloud = TestCloud::in_directory(&state);
        let records = cloud
            .store()
            .collection::<serde_json::Value>("ecr", "upload");
        let upload = serde_json::json!({"repository": "app", "file": file, "started": 0.0});
        records.put("id", &upload).unwrap();
        let other = cloud.blobs().temporary().unwrap().keep().unwrap().1;
        std::fs::remove_file(&link).unwrap();
        let kept = cloud.blobs().temporary_directory().join(name);
        let files = crate::ecr::SERVICE.housekeeping.temporary_files.unwrap();
        assert_eq!(files(&cloud).unwrap(), std::slice::from_ref(&kept));
        remove_temporary_files(&cloud).unwrap();
        assert!(kept.is_file());
        assert!(!other.exists());
    }

    #[test]
    fn an_upload_of_a_blob_that_is_being_collected_keeps_it() {
        let directory = tempfile::tempdir().unwrap();
        let names: Vec<String> = {
            let cloud = cloud(directory.path());
            (0..300_u32)
                .map(|number| cloud.blobs().write(&number.to_le_bytes()).unwrap())
                .collect()
        };
        // All are garbage now; threads upload half of them again, with a pause before the record.
        let cloud = cloud(directory.path());
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (cloud, names) = (&cloud, &names);
                scope.spawn(move || {
                    let records = cloud.store().collection::<String>("test", "text");
                    for number in (0..300_u32).filter(|number| number % 8 == thread) {
                        let name = cloud.blobs().write(&number.to_le_bytes()).unwrap();
                        assert_eq!(name, names[number as usize]);
                        std::thread::yield_now();
                        records.put(&name, &name).unwrap();
                    }
                });
            }
            for _ in 0..5 {
                collect(&cloud, &AtomicBool::new(false)).unwrap();
            }
        });
        for (number, name) in names.iter().enumerate() {
            let there = cloud.blobs().path(name).is_file();
            assert_eq!(there, number % 8 < 4, "{number}");
        }
    }
}
