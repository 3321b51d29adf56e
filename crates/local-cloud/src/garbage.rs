//! The garbage collector: removes bytes that no record names.
//!
//! ```text
//! at the start    temporary files, parts of no upload, layers and unpacked images of no image
//! then, and       mark: every SHA-256 in a snapshot of the records
//! every so often  sweep: blobs that are not among them, unless they were used of late (store::usage)
//! ```
//!
//! A mention is enough to keep a blob: wherever a record has 64 hexadecimal digits, they may be a
//! blob's name. So no service can lose bytes because the collector does not know its records; what
//! is kept without need is at most what a record speaks of.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::Cloud;
use super::api::ApiResult;
use super::{beneath, clock, ecr, s3};
use crate::log;

/// The time between two collections.
const INTERVAL: Duration = Duration::from_mins(10);

/// Where directories lie that are about to be removed.
const TRASH: &str = "trash";

/// The length of a hexadecimal SHA-256.
const DIGITS: usize = 64;

/// The hexadecimal SHA-256 of blobs, as numbers.
pub(super) type Marks = HashSet<[u8; 32]>;

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

/// Removes what an end of the server left, which nobody can be using yet, and starts the collector.
/// What cannot be removed keeps no server from starting.
pub(super) fn start(cloud: &Cloud) -> Collector {
    type Step = fn(&Cloud) -> ApiResult<()>;
    let steps: [(&str, Step); 4] = [
        ("temporary files", remove_temporary_files),
        ("parts of uploads", s3::remove_orphaned_parts),
        ("layers", ecr::remove_orphaned_layers),
        ("images", discard_images),
    ];
    for (what, step) in steps {
        if let Err(error) = step(cloud) {
            log::write_line(&format!(
                "warning: cannot remove {what} that are not needed any more: {}",
                error.message
            ));
        }
    }
    let stop = Arc::new(Stop::default());
    let task = tokio::spawn(run(cloud.clone(), stop.clone()));
    Collector { stop, task }
}

/// Removes temporary files, but not those of uploads that may go on.
fn remove_temporary_files(cloud: &Cloud) -> ApiResult<()> {
    let uploads: HashSet<_> = ecr::unfinished_uploads(cloud)?.into_iter().collect();
    for file in entries(&cloud.blobs().temporary_directory()) {
        if !uploads.contains(&file) {
            // What cannot be removed is only space.
            let _ = std::fs::remove_file(file);
        }
    }
    Ok(())
}

impl Collector {
    /// Ends the collector, which lets go of the records.
    pub(super) async fn end(self) {
        self.stop.wanted.store(true, Ordering::Relaxed);
        self.stop.notify.notify_one();
        // It panicked, or it has ended: in either case it is over.
        let _ = self.task.await;
    }
}

async fn run(cloud: Cloud, stop: Arc<Stop>) {
    let mut seen = None;
    loop {
        let (inner, flag) = (cloud.clone(), stop.clone());
        let work = move || {
            empty_trash(&inner);
            // What cannot be forgotten now is forgotten another time.
            let _ = ecr::remove_released_layers(&inner);
            let changes = inner.store().changes();
            // Without a change of the records there is no new garbage.
            if seen != Some(changes) {
                // A collection that fails is tried again; nothing depends on it.
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

/// One collection.
fn collect(cloud: &Cloud, stop: &AtomicBool) -> ApiResult<()> {
    let blobs = cloud.blobs();
    let collection = blobs.begin_collection();
    let marks = cloud.store().snapshot(|connection| {
        let mut marks = Marks::new();
        s3::mark(connection, &mut marks)?;
        super::store::for_each_record(connection, |key, value| {
            mention(key, &mut marks);
            mention(value, &mut marks);
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
                && let Some(number) = number(name)
                && !marks.contains(&number)
            {
                collection.remove(name, &file)?;
            }
        }
    }
    Ok(())
}

/// Marks whatever may be the name of a blob in a text.
pub(super) fn mention(text: &str, marks: &mut Marks) {
    let hexadecimal = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    for run in text.as_bytes().split(|byte| !hexadecimal(byte)) {
        for window in run.windows(DIGITS) {
            let mut number = [0; DIGITS / 2];
            if hex::decode_to_slice(window, &mut number).is_ok() {
                marks.insert(number);
            }
        }
    }
}

fn number(name: &str) -> Option<[u8; 32]> {
    let mut number = [0; DIGITS / 2];
    hex::decode_to_slice(name, &mut number).ok()?;
    Some(number)
}

fn entries(directory: &Path) -> impl Iterator<Item = std::path::PathBuf> {
    std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
}

/// Puts the files of images that are gone into the trash: to rename them takes no time.
fn discard_images(cloud: &Cloud) -> ApiResult<()> {
    let used: HashSet<String> = ecr::digests(cloud)?
        .into_iter()
        .map(|digest| digest.replace(':', "-"))
        .collect();
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

    fn cloud(directory: &Path) -> Cloud {
        Cloud::in_directory(directory)
    }

    #[test]
    fn names_are_found_wherever_they_stand() {
        let name = "ab".repeat(32);
        let found = |text: &str| {
            let mut marks = Marks::new();
            mention(text, &mut marks);
            marks.contains(&number(&name).unwrap())
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

    // Issue 8, 2.5: blobs of deleted objects stayed for ever.
    #[test]
    fn what_no_record_names_is_removed_and_everything_else_kept() {
        let directory = tempfile::tempdir().unwrap();
        let (named, unnamed) = {
            let cloud = cloud(directory.path());
            let named = cloud.blobs().write(b"named").unwrap();
            let unnamed = cloud.blobs().write(b"unnamed").unwrap();
            let records = cloud.store().collection::<String>("test", "text");
            records.put("x", &format!("sha256:{named}")).unwrap();
            // Both were used a moment ago: their records may still come.
            collect(&cloud, &AtomicBool::new(false)).unwrap();
            assert!(cloud.blobs().path(&unnamed).is_file());
            (named, unnamed)
        };
        // Nothing is under way when a server starts.
        let cloud = cloud(directory.path());
        collect(&cloud, &AtomicBool::new(false)).unwrap();
        assert!(cloud.blobs().path(&named).is_file());
        assert!(!cloud.blobs().path(&unnamed).is_file());
    }

    #[test]
    fn an_image_that_nobody_may_change_keeps_no_server_from_starting() {
        use std::os::unix::fs::PermissionsExt;

        beneath::tests::as_ordinary_user(|at| {
            let cloud = Cloud::in_directory(at);
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
            // Nothing can be moved to where the trash is no directory, nor out of this one.
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
            let cloud = Cloud::in_directory(&link);
            cloud.blobs().temporary().unwrap().keep().unwrap().1
        };
        let name = file.file_name().unwrap();
        let cloud = Cloud::in_directory(&state);
        let records = cloud
            .store()
            .collection::<serde_json::Value>("ecr", "upload");
        let upload = serde_json::json!({"repository": "app", "file": file, "started": 0.0});
        records.put("id", &upload).unwrap();
        let other = cloud.blobs().temporary().unwrap().keep().unwrap().1;
        std::fs::remove_file(&link).unwrap();
        let kept = cloud.blobs().temporary_directory().join(name);
        let found = ecr::unfinished_uploads(&cloud).unwrap();
        assert_eq!(found, std::slice::from_ref(&kept));
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
