//! Uploads in progress. What has arrived is in a temporary file of `Cloud::blobs`, which keeps memory
//! small and lets a client resume after a broken connection. Bytes are hashed once, while a separate
//! thread writes them and the next ones are received.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::refusal::{Refusal, Registered};
use super::{Layer, layer_records};
use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::clock;
use crate::store::Collection;

/// How much is gathered before it is handed to the writing thread.
const BATCH: usize = 512 << 10;

/// How many batches may wait to be written.
const WAITING: usize = 4;

/// How long an unfinished upload is kept.
const LIFETIME_SECONDS: f64 = 24.0 * 3600.0;

/// How long a request waits for the one before it on the same upload, in steps of [`STEP`]: its
/// connection is broken, but what it brought is still being written.
const STEPS: u32 = 500;
const STEP: Duration = Duration::from_millis(10);

#[derive(Debug, Serialize, Deserialize)]
struct Upload {
    repository: String,
    file: PathBuf,
    /// Seconds since the epoch.
    #[serde(default)]
    started: f64,
}

fn uploads(cloud: &Cloud) -> Collection<'_, Upload> {
    cloud.store().collection("ecr", "upload")
}

/// How far an upload is: the hash and the number of the bytes in its file.
#[derive(Debug, Default)]
struct Progress {
    hasher: Sha256,
    size: u64,
}

/// The uploads that this server receives. Shared, because a thread that writes must not keep the
/// cloud open.
#[derive(Debug, Default)]
struct Receiving {
    /// Those that a request is writing to.
    writing: Mutex<BTreeSet<String>>,
    /// Those that have a hash so far; the file of another upload is read again.
    progress: Mutex<BTreeMap<String, Progress>>,
}

impl Receiving {
    fn of(cloud: &Cloud) -> &Arc<Self> {
        cloud.state()
    }

    fn writing(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn progress(&self) -> MutexGuard<'_, BTreeMap<String, Progress>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// While it lives, no other request writes to the upload.
#[derive(Debug)]
struct Writing {
    receiving: Arc<Receiving>,
    id: String,
}

impl Writing {
    async fn begin(cloud: &Cloud, id: &str) -> Registered<Self> {
        let receiving = Receiving::of(cloud);
        for _ in 0..STEPS {
            if receiving.writing().insert(id.to_owned()) {
                return Ok(Self {
                    receiving: receiving.clone(),
                    id: id.to_owned(),
                });
            }
            clock::sleep(STEP).await;
        }
        Err(Refusal::new(
            409,
            "BLOB_UPLOAD_INVALID",
            "another request writes to this upload",
        ))
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.receiving.writing().remove(&self.id);
    }
}

/// The upload with its file as it is called now: the state directory may have been named otherwise,
/// or may have been elsewhere, when the upload began.
fn in_place(cloud: &Cloud, mut upload: Upload) -> Upload {
    if let Some(name) = upload.file.file_name() {
        upload.file = cloud.blobs().temporary_directory().join(name);
    }
    upload
}

fn find(cloud: &Cloud, repository: &str, id: &str) -> Registered<Upload> {
    uploads(cloud)
        .get(id)?
        .map(|upload| in_place(cloud, upload))
        .filter(|upload| upload.repository == repository && upload.file.is_file())
        .ok_or_else(|| {
            Refusal::new(
                404,
                "BLOB_UPLOAD_UNKNOWN",
                "blob upload unknown to registry",
            )
        })
}

/// Starts an upload and returns its id. Removes uploads that were not finished within a day.
pub(super) fn start(cloud: &Cloud, repository: &str) -> Registered<String> {
    let now = clock::epoch();
    for (id, upload) in uploads(cloud).list("")? {
        if upload.started + LIFETIME_SECONDS < now && !Receiving::of(cloud).writing().contains(&id)
        {
            forget(cloud, &id, &in_place(cloud, upload))?;
        }
    }
    let id = uuid::Uuid::new_v4().to_string();
    let (_, file) = cloud
        .blobs()
        .temporary()
        .map_err(|error| storage(&error))?
        .keep()
        .map_err(ApiError::internal)?;
    let upload = Upload {
        repository: repository.to_owned(),
        file,
        started: now,
    };
    uploads(cloud).put(&id, &upload)?;
    Ok(id)
}

/// The files of all uploads in progress.
pub(super) fn files(cloud: &Cloud) -> ApiResult<Vec<PathBuf>> {
    let all = uploads(cloud).list("")?;
    Ok(all
        .into_iter()
        .map(|(_, upload)| in_place(cloud, upload).file)
        .collect())
}

/// Forgets an upload with all its bytes.
fn forget(cloud: &Cloud, id: &str, upload: &Upload) -> Registered<()> {
    uploads(cloud).remove(id)?;
    Receiving::of(cloud).progress().remove(id);
    match std::fs::remove_file(&upload.file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(ApiError::from(error).into()),
        _ => Ok(()),
    }
}

/// The refusal for bytes that could not be stored.
fn storage(error: &io::Error) -> Refusal {
    let status = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => 507,
        _ => 500,
    };
    Refusal::new(
        status,
        "UNKNOWN",
        format!("the local cloud cannot store the bytes: {error}"),
    )
}

/// How many bytes have arrived.
pub(super) async fn received(cloud: &Cloud, repository: &str, id: &str) -> Registered<u64> {
    let _writing = Writing::begin(cloud, id).await?;
    length(&find(cloud, repository, id)?)
}

fn length(upload: &Upload) -> Registered<u64> {
    Ok(upload.file.metadata().map_err(ApiError::from)?.len())
}

/// Appends a body, which begins at `start` where the client says so, and returns how many bytes
/// have arrived altogether. Bytes that cannot be stored end the upload: nothing of it is left.
pub(super) async fn append(
    cloud: &Cloud,
    repository: &str,
    id: &str,
    start: Option<u64>,
    mut body: Body,
) -> Registered<u64> {
    let writing = Writing::begin(cloud, id).await?;
    let upload = find(cloud, repository, id)?;
    let received = length(&upload)?;
    if start.is_some_and(|start| start != received) {
        return Err(Refusal::new(
            416,
            "BLOB_UPLOAD_INVALID",
            format!("the upload goes on at byte {received}"),
        )
        .at(received, id));
    }
    let (sender, batches) = mpsc::channel(WAITING);
    let path = upload.file.clone();
    // A client that goes away drops this future, but not the thread: it writes what it has.
    let writer = tokio::task::spawn_blocking(move || drain(batches, &path, received, writing));
    let arrived = forward(&mut body, sender).await;
    match writer.await.map_err(ApiError::internal)? {
        Ok(size) => arrived.map(|()| size),
        Err(error) => {
            forget(cloud, id, &upload)?;
            Err(storage(&error))
        }
    }
}

/// Hands a body to the writing thread in batches.
async fn forward(body: &mut Body, sender: mpsc::Sender<Vec<Bytes>>) -> Registered<()> {
    let (mut batch, mut gathered) = (Vec::new(), 0);
    let broken = loop {
        match body.frame().await {
            None => break None,
            Some(Err(error)) => break Some(error),
            Some(Ok(frame)) => {
                let Ok(data) = frame.into_data() else {
                    continue;
                };
                gathered += data.len();
                batch.push(data);
            }
        }
        if gathered >= BATCH {
            gathered = 0;
            // The thread ended with an error, which its result has.
            if sender.send(std::mem::take(&mut batch)).await.is_err() {
                return Ok(());
            }
        }
    };
    let _ = sender.send(batch).await;
    match broken {
        None => Ok(()),
        Some(error) => Err(Refusal::new(
            400,
            "BLOB_UPLOAD_INVALID",
            format!("the body broke off: {error}"),
        )),
    }
}

/// Writes and hashes what comes, until no more does; the size of the file then.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the upload is free again when this thread ends"
)]
fn drain(
    mut batches: mpsc::Receiver<Vec<Bytes>>,
    path: &Path,
    received: u64,
    writing: Writing,
) -> io::Result<u64> {
    let known = writing.receiving.progress().remove(&writing.id);
    let mut progress = match known {
        Some(progress) if progress.size == received => progress,
        _ => hash(path)?,
    };
    let mut file = OpenOptions::new().append(true).open(path)?;
    while let Some(batch) = batches.blocking_recv() {
        for bytes in batch {
            file.write_all(&bytes)?;
            progress.hasher.update(&bytes);
            progress.size += bytes.len() as u64;
        }
    }
    let size = progress.size;
    let id = writing.id.clone();
    writing.receiving.progress().insert(id, progress);
    Ok(size)
}

/// Ends an upload whose bytes must have this digest; the repository has the blob then. A wrong
/// digest ends the upload too.
pub(super) async fn finish(
    cloud: &Cloud,
    repository: &str,
    id: &str,
    sha256: &str,
) -> Registered<()> {
    let _writing = Writing::begin(cloud, id).await?;
    let upload = find(cloud, repository, id)?;
    uploads(cloud).remove(id)?;
    let received = length(&upload)?;
    let known = Receiving::of(cloud).progress().remove(id);
    let progress = match known {
        Some(progress) if progress.size == received => progress,
        _ => {
            let path = upload.file.clone();
            tokio::task::spawn_blocking(move || hash(&path))
                .await
                .map_err(ApiError::internal)?
                .map_err(ApiError::from)?
        }
    };
    let file = File::open(&upload.file).map_err(ApiError::from)?;
    let path = tempfile::TempPath::try_from_path(&upload.file).map_err(ApiError::from)?;
    let found = hex::encode(progress.hasher.finalize());
    if found != sha256 {
        return Err(Refusal::new(
            400,
            "DIGEST_INVALID",
            format!("the digest of the upload is sha256:{found}, not sha256:{sha256}"),
        ));
    }
    cloud
        .blobs()
        .adopt(tempfile::NamedTempFile::from_parts(file, path), sha256)
        .map_err(|error| storage(&error))?;
    keep(cloud, repository, sha256, received)
}

/// Records that a repository has a blob.
pub(super) fn keep(cloud: &Cloud, repository: &str, sha256: &str, size: u64) -> Registered<()> {
    let layer = Layer {
        size,
        media_type: None,
        released: None,
    };
    let key = format!("{repository}@sha256:{sha256}");
    if !layer_records(cloud).insert(&key, &layer)? {
        layer_records(cloud).update(&key, |layer| {
            layer.released = None;
            Ok(())
        })?;
    }
    Ok(())
}

/// Forgets an upload that its client gives up.
pub(super) async fn cancel(cloud: &Cloud, repository: &str, id: &str) -> Registered<()> {
    let _writing = Writing::begin(cloud, id).await?;
    let upload = find(cloud, repository, id)?;
    forget(cloud, id, &upload)
}

/// Reads a file for its hash.
fn hash(path: &Path) -> io::Result<Progress> {
    let mut file = File::open(path)?;
    let mut progress = Progress::default();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(progress);
        }
        progress.hasher.update(&buffer[..read]);
        progress.size += read as u64;
    }
}
