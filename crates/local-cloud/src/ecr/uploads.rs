//! Uploads in progress. Received bytes are in a temporary file of `Cloud::blobs`, which saves
//! memory and lets a client resume after a broken connection. Bytes are hashed once, while a
//! separate thread writes them and the next ones are received.

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

/// Bytes per batch sent to the writing thread.
const BATCH: usize = 512 << 10;

/// Maximum number of batches waiting to be written.
const WAITING: usize = 4;

/// How long an unfinished upload is kept.
const LIFETIME_SECONDS: f64 = 24.0 * 3600.0;

/// How long a request waits, in steps of [`STEP`], for a previous request on the same upload whose
/// connection broke but whose bytes are still being written.
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

/// Progress of an upload: the hash and the number of bytes in its file.
#[derive(Debug, Default)]
struct Progress {
    hasher: Sha256,
    size: u64,
}

/// The uploads that this server receives. Shared, because a thread that writes must not keep the
/// cloud open.
#[derive(Debug, Default)]
struct Receiving {
    /// Uploads that a request is writing to.
    writing: Mutex<BTreeSet<String>>,
    /// Hashes in progress. The file of any other upload is read again.
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

/// Locks an upload against writes of other requests until dropped.
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

/// Returns the upload with the current path of its file: the state directory may have been renamed
/// or moved since the upload began.
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

/// Starts an upload and returns its id. Removes uploads that are older than a day.
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

/// Removes an upload and its file.
fn forget(cloud: &Cloud, id: &str, upload: &Upload) -> Registered<()> {
    uploads(cloud).remove(id)?;
    Receiving::of(cloud).progress().remove(id);
    match std::fs::remove_file(&upload.file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(ApiError::from(error).into()),
        _ => Ok(()),
    }
}

/// The error for bytes that could not be stored.
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

/// Returns the number of bytes received.
pub(super) async fn received(cloud: &Cloud, repository: &str, id: &str) -> Registered<u64> {
    let _writing = Writing::begin(cloud, id).await?;
    length(&find(cloud, repository, id)?)
}

fn length(upload: &Upload) -> Registered<u64> {
    Ok(upload.file.metadata().map_err(ApiError::from)?.len())
}

/// Appends a body and returns the total number of bytes received. `start` is the body's offset, if
/// the client sent one. If the bytes cannot be stored, the upload is removed.
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
            format!("the upload continues at byte {received}"),
        )
        .at(received, id));
    }
    let (sender, batches) = mpsc::channel(WAITING);
    let path = upload.file.clone();
    // If the client disconnects, this future is dropped, but the thread still writes the bytes received.
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
            // The thread has failed; its result holds the error.
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
            format!("the body ended early: {error}"),
        )),
    }
}

/// Writes and hashes batches until the channel closes; returns the size of the file.
#[expect(
    clippy::needless_pass_by_value,
    reason = "dropping it at the end of this thread unlocks the upload"
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

/// Completes an upload: verifies its digest and adds the blob to the repository. A wrong digest
/// also ends the upload.
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

/// Cancels an upload for its client.
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
