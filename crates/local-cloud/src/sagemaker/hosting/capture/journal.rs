//! The journal of captured requests: files that hold lines until they are written to S3.
//!
//! A line is in the file before the client receives the response, so a kill -9 of the server loses no line of
//! a request that was answered. The first line of a file names the object that it becomes; a server that finds
//! files of an earlier one writes their objects, unless they exist.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::api::{ApiError, ApiResult};
use crate::cloud::caller::Caller;
use crate::s3::objects;
use crate::sts::{self, ServiceSession};
use crate::{Cloud, clock, log};

/// The directory of the files in the state directory.
const DIRECTORY: &str = "capture";

/// An object is written when it has this many bytes…
const FLUSH_BYTES: usize = 1 << 20;
/// … or this long after its first record.
const FLUSH_AFTER: Duration = Duration::from_secs(1);

/// The first line of a file: the object that it becomes, and the role that writes it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Head {
    bucket: String,
    key: String,
    role: String,
}

/// A file of the journal.
#[derive(Debug)]
struct Segment {
    path: PathBuf,
    head: Head,
    file: File,
    bytes: usize,
    /// True after a write that failed: its last line may be cut off, so nothing more is appended.
    is_broken: bool,
}

impl Segment {
    fn create(directory: &Path, head: Head) -> ApiResult<Self> {
        std::fs::create_dir_all(directory)?;
        let path = directory.join(uuid::Uuid::new_v4().simple().to_string());
        let mut file = File::options().append(true).create_new(true).open(&path)?;
        let mut line = serde_json::to_vec(&head).map_err(ApiError::internal)?;
        line.push(b'\n');
        file.write_all(&line)?;
        Ok(Self {
            path,
            head,
            file,
            bytes: 0,
            is_broken: false,
        })
    }

    fn append(&mut self, line: &str) -> ApiResult<()> {
        if let Err(error) = self.file.write_all(line.as_bytes()) {
            self.is_broken = true;
            return Err(error.into());
        }
        self.bytes += line.len();
        Ok(())
    }
}

/// The journal of one fleet.
#[derive(Debug)]
pub(super) struct Journal {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    cloud: Cloud,
    session: Arc<ServiceSession>,
    /// The files that are no objects yet, by variant. The last one of a variant grows, unless it is broken.
    growing: Mutex<BTreeMap<String, Vec<Segment>>>,
    /// Files whose objects could not be written yet. Locked while objects are written.
    sealed: tokio::sync::Mutex<Vec<(PathBuf, Head)>>,
    /// Notified when a file is new or has its size, and at the end.
    changed: Notify,
    has_ended: AtomicBool,
}

impl Journal {
    /// Starts a journal whose objects are written on behalf of a session.
    pub(super) fn start(cloud: &Cloud, session: &Arc<ServiceSession>) -> Self {
        let shared = Arc::new(Shared {
            cloud: cloud.clone(),
            session: session.clone(),
            growing: Mutex::default(),
            sealed: tokio::sync::Mutex::default(),
            changed: Notify::new(),
            has_ended: AtomicBool::new(false),
        });
        tokio::spawn(flush_regularly(shared.clone()));
        Self { shared }
    }

    /// Appends a line. `place` is the bucket and the key of the object, if the line is its first one.
    pub(super) fn append(
        &self,
        variant: &str,
        mut line: String,
        place: impl FnOnce() -> (String, String),
    ) {
        line.push('\n');
        match self.shared.append(variant, &line, place) {
            Ok(false) => {}
            Ok(true) => self.shared.changed.notify_one(),
            // As in AWS, a full disk stops the capture, not the endpoint.
            Err(error) => log::write_line(&format!("a request was not captured: {error}")),
        }
    }

    /// Writes the objects of all lines and ends the journal. What cannot be written now is written by the
    /// next server.
    pub(super) async fn finish(&self) {
        self.shared.has_ended.store(true, Ordering::Release);
        self.shared.changed.notify_one();
        self.shared.flush().await;
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.shared.has_ended.store(true, Ordering::Release);
        self.shared.changed.notify_one();
    }
}

impl Shared {
    fn growing(&self) -> MutexGuard<'_, BTreeMap<String, Vec<Segment>>> {
        self.growing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a line; true if there is something to do for the task that writes objects.
    fn append(
        &self,
        variant: &str,
        line: &str,
        place: impl FnOnce() -> (String, String),
    ) -> ApiResult<bool> {
        let mut growing = self.growing();
        let last = growing.get_mut(variant).and_then(|all| all.last_mut());
        if let Some(segment) = last.filter(|segment| !segment.is_broken) {
            segment.append(line)?;
            return Ok(segment.bytes >= FLUSH_BYTES);
        }
        let (bucket, key) = place();
        let caller = self.session.caller();
        let role = caller.session().map(|session| session.role.clone());
        let role = role.unwrap_or_default();
        let directory = self.cloud.directory().join(DIRECTORY);
        let mut segment = Segment::create(&directory, Head { bucket, key, role })?;
        segment.append(line)?;
        growing.entry(variant.to_owned()).or_default().push(segment);
        Ok(true)
    }

    fn has_full(&self) -> bool {
        let growing = self.growing();
        let mut segments = growing.values().flatten();
        segments.any(|segment| segment.bytes >= FLUSH_BYTES)
    }

    /// Writes the objects of all files. True if all could be written.
    async fn flush(&self) -> bool {
        let mut sealed = self.sealed.lock().await;
        let taken = std::mem::take(&mut *self.growing());
        let segments = taken.into_values().flatten();
        sealed.extend(segments.map(|segment| (segment.path, segment.head)));
        let files = std::mem::take(&mut *sealed);
        let (cloud, caller) = (self.cloud.clone(), self.session.caller());
        let write = move || {
            let mut left = files;
            left.retain(|(path, head)| !is_done(path, head, write(&cloud, &caller, path, head)));
            left
        };
        // A panic leaves the files to the next server.
        *sealed = tokio::task::spawn_blocking(write).await.unwrap_or_default();
        sealed.is_empty()
    }
}

async fn flush_regularly(shared: Arc<Shared>) {
    let mut is_clean = true;
    while !shared.has_ended.load(Ordering::Acquire) {
        if is_clean {
            shared.changed.notified().await;
        }
        // The server must not become idle while records wait to be written.
        let _busy = shared.cloud.busy();
        let wait = clock::sleep(FLUSH_AFTER);
        tokio::pin!(wait);
        while !shared.has_full() && !shared.has_ended.load(Ordering::Acquire) {
            tokio::select! {
                () = &mut wait => break,
                () = shared.changed.notified() => {}
            }
        }
        is_clean = shared.flush().await;
    }
}

/// Writes the object of a file.
fn write(cloud: &Cloud, caller: &Caller, path: &Path, head: &Head) -> ApiResult<()> {
    let lines = lines(&std::fs::read(path)?);
    if lines.is_empty() {
        return Ok(());
    }
    objects::put(
        cloud,
        caller,
        &head.bucket,
        &head.key,
        &lines,
        "application/jsonlines",
    )
    .map(drop)
}

/// The complete lines of a file after the first one.
fn lines(bytes: &[u8]) -> Vec<u8> {
    let mut lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    lines.retain(|line| line.ends_with(b"\n"));
    lines.into_iter().skip(1).flatten().copied().collect()
}

/// Removes a file whose object was written, or can never be written: if the bucket was deleted, the lines are
/// lost, as in AWS. False if the write must be repeated, for example on a full disk.
fn is_done(path: &Path, head: &Head, written: ApiResult<()>) -> bool {
    match written {
        Err(error) if error.is_unavailable() => return false,
        Err(error) => {
            let place = format!("s3://{}/{}", head.bucket, head.key);
            log::write_line(&format!("captured requests were lost ({place}): {error}"));
        }
        Ok(()) => {}
    }
    let _ = std::fs::remove_file(path);
    true
}

/// Writes the objects of the files that an earlier server left.
pub(in super::super) fn recover(cloud: &Cloud) -> ApiResult<()> {
    let directory = cloud.directory().join(DIRECTORY);
    let entries = match std::fs::read_dir(&directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        let bytes = std::fs::read(&path)?;
        let first = bytes.split(|byte| *byte == b'\n').next();
        let Ok(head) = serde_json::from_slice::<Head>(first.unwrap_or_default()) else {
            // Cut off before its first record.
            std::fs::remove_file(&path)?;
            continue;
        };
        let written = recover_file(cloud, &path, &head);
        is_done(&path, &head, written);
    }
    Ok(())
}

fn recover_file(cloud: &Cloud, path: &Path, head: &Head) -> ApiResult<()> {
    let service = "sagemaker.amazonaws.com";
    let session = sts::for_service(cloud, &head.role, "SageMaker", service)?;
    // The earlier server may have died after it had written the object.
    match objects::head(cloud, &Caller::LocalCloud, &head.bucket, &head.key) {
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() => write(cloud, &session.caller(), path, head),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::s3::buckets;
    use crate::test_cloud::TestCloud;

    const TRUST: &str = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
        "Action": "sts:AssumeRole", "Principal": {"Service": "sagemaker.amazonaws.com"}}]}"#;
    const ALLOW: &str = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
        "Action": "s3:*", "Resource": "*"}]}"#;

    /// A cloud with a bucket, and a journal that has written nothing to it.
    async fn journal(at: &TestCloud) -> Journal {
        let cloud = at.cloud();
        let role = json!({"RoleName": "r", "AssumeRolePolicyDocument": TRUST});
        let role = cloud.call("iam", "CreateRole", role).await.unwrap();
        let policy = json!({"RoleName": "r", "PolicyName": "p", "PolicyDocument": ALLOW});
        cloud.call("iam", "PutRolePolicy", policy).await.unwrap();
        buckets::create(&cloud, "bucket").unwrap();
        let role = role["Role"]["Arn"].as_str().unwrap();
        let session =
            sts::for_service(&cloud, role, "SageMaker", "sagemaker.amazonaws.com").unwrap();
        Journal::start(&cloud, &Arc::new(session))
    }

    fn place() -> (String, String) {
        ("bucket".to_owned(), "key".to_owned())
    }

    fn size(cloud: &Cloud) -> Option<u64> {
        let object = objects::head(cloud, &Caller::LocalCloud, "bucket", "key").ok()?;
        let file = objects::open(cloud, &Caller::LocalCloud, &object).unwrap();
        Some(file.metadata().unwrap().len())
    }

    fn files(cloud: &Cloud) -> usize {
        let files = std::fs::read_dir(cloud.directory().join(DIRECTORY));
        files.map_or(0, Iterator::count)
    }

    #[tokio::test]
    async fn a_crash_loses_no_line() {
        let at = TestCloud::new();
        let journal = journal(&at).await;
        journal.append("v", "first".to_owned(), place);
        journal.append("v", "second".to_owned(), place);
        assert_eq!(size(&at.cloud()), None);
        // What a kill -9 in the middle of a record leaves.
        let path = std::fs::read_dir(at.path().join(DIRECTORY)).unwrap();
        let path = path.map(|entry| entry.unwrap().path()).next().unwrap();
        let mut file = File::options().append(true).open(path).unwrap();
        file.write_all(b"thi").unwrap();
        let at = at.crash();
        assert_eq!(size(&at.cloud()), Some(13));
        assert_eq!(files(&at.cloud()), 0);
    }

    #[tokio::test]
    async fn finishing_writes_everything_once() {
        let at = TestCloud::new();
        let journal = journal(&at).await;
        journal.append("v", "first".to_owned(), place);
        journal.finish().await;
        assert_eq!((size(&at.cloud()), files(&at.cloud())), (Some(6), 0));
        let at = at.crash();
        assert_eq!(size(&at.cloud()), Some(6));
    }

    #[tokio::test]
    async fn a_line_that_is_cut_off_does_not_damage_the_next_one() {
        let at = TestCloud::new();
        let journal = journal(&at).await;
        journal.append("v", "first".to_owned(), place);
        // A disk that is full in the middle of a line.
        if let Some(segment) = journal.shared.growing().values_mut().flatten().next() {
            segment.file.write_all(b"sec").unwrap();
            segment.file = File::open(&segment.path).unwrap();
        }
        journal.append("v", "second".to_owned(), place);
        journal.append("v", "third line".to_owned(), || {
            ("bucket".to_owned(), "other".to_owned())
        });
        journal.finish().await;
        let cloud = at.cloud();
        assert_eq!((size(&cloud), files(&cloud)), (Some(6), 0));
        let other = objects::head(&cloud, &Caller::LocalCloud, "bucket", "other").unwrap();
        let file = objects::open(&cloud, &Caller::LocalCloud, &other).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 11);
    }

    #[tokio::test]
    async fn a_full_disk_delays_the_object() {
        let at = TestCloud::new();
        let journal = journal(&at).await;
        journal.append("v", "first".to_owned(), place);
        at.refuse_writes_after(0);
        journal.finish().await;
        assert_eq!((size(&at.cloud()), files(&at.cloud())), (None, 1));
        at.accept_writes();
        journal.finish().await;
        assert_eq!((size(&at.cloud()), files(&at.cloud())), (Some(6), 0));
    }
}
