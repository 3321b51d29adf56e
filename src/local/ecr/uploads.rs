//! Uploads under way. What has arrived lies in a temporary file of `Cloud::blobs`, so that memory
//! stays small and a client can go on where a connection broke.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use axum::body::Body;
use http_body_util::BodyExt;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

use super::registry::{Refusal, Registered};
use super::{Layer, layers};
use crate::local::Cloud;
use crate::local::api::ApiError;
use crate::local::store::Collection;

#[derive(Debug, Serialize, Deserialize)]
struct Upload {
    repository: String,
    file: PathBuf,
}

fn uploads(cloud: &Cloud) -> Collection<'_, Upload> {
    cloud.store().collection("ecr", "upload")
}

/// The uploads that a request writes to right now.
static WRITING: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// While it lives, no other request writes to the upload.
struct Writing(String);

impl Writing {
    fn begin(id: &str) -> Registered<Self> {
        let mut writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        if !writing.insert(id.to_owned()) {
            return Err(Refusal::new(
                409,
                "BLOB_UPLOAD_INVALID",
                "another request writes to this upload",
            ));
        }
        Ok(Self(id.to_owned()))
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        let mut writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        writing.remove(&self.0);
    }
}

fn find(cloud: &Cloud, repository: &str, id: &str) -> Registered<Upload> {
    uploads(cloud)
        .get(id)?
        .filter(|upload| upload.repository == repository && upload.file.is_file())
        .ok_or_else(|| {
            Refusal::new(
                404,
                "BLOB_UPLOAD_UNKNOWN",
                "blob upload unknown to registry",
            )
        })
}

/// Starts an upload and returns its id.
pub(super) fn start(cloud: &Cloud, repository: &str) -> Registered<String> {
    let id = uuid::Uuid::new_v4().to_string();
    let (_, file) = cloud
        .blobs()
        .temporary()
        .map_err(ApiError::from)?
        .keep()
        .map_err(ApiError::internal)?;
    let upload = Upload {
        repository: repository.to_owned(),
        file,
    };
    uploads(cloud).put(&id, &upload)?;
    Ok(id)
}

/// How many bytes have arrived.
pub(super) fn received(cloud: &Cloud, repository: &str, id: &str) -> Registered<u64> {
    let upload = find(cloud, repository, id)?;
    Ok(upload.file.metadata().map_err(ApiError::from)?.len())
}

/// Appends a body, which begins at `start` where the client says so, and returns how many bytes
/// have arrived altogether.
pub(super) async fn append(
    cloud: &Cloud,
    repository: &str,
    id: &str,
    start: Option<u64>,
    mut body: Body,
) -> Registered<u64> {
    let _writing = Writing::begin(id)?;
    let mut received = received(cloud, repository, id)?;
    if start.is_some_and(|start| start != received) {
        return Err(Refusal::new(
            416,
            "BLOB_UPLOAD_INVALID",
            format!("the upload goes on at byte {received}"),
        ));
    }
    let upload = find(cloud, repository, id)?;
    let mut file = tokio::fs::OpenOptions::new()
        .append(true)
        .open(&upload.file)
        .await
        .map_err(ApiError::from)?;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Refusal::new(
                400,
                "BLOB_UPLOAD_INVALID",
                format!("the body broke off: {error}"),
            )
        })?;
        if let Ok(data) = frame.into_data() {
            file.write_all(&data).await.map_err(ApiError::from)?;
            received += data.len() as u64;
        }
    }
    file.flush().await.map_err(ApiError::from)?;
    Ok(received)
}

/// Ends an upload whose bytes must have this digest; the repository has the blob then. A wrong
/// digest ends the upload too.
pub(super) async fn finish(
    cloud: &Cloud,
    repository: &str,
    id: &str,
    sha256: &str,
) -> Registered<()> {
    let _writing = Writing::begin(id)?;
    let upload = find(cloud, repository, id)?;
    uploads(cloud).remove(id)?;
    let path = upload.file.clone();
    let (found, size) = tokio::task::spawn_blocking(move || hash(&path))
        .await
        .map_err(ApiError::internal)?
        .map_err(ApiError::from)?;
    let file = std::fs::File::open(&upload.file).map_err(ApiError::from)?;
    let path = tempfile::TempPath::try_from_path(&upload.file).map_err(ApiError::from)?;
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
        .map_err(ApiError::from)?;
    keep(cloud, repository, sha256, size)
}

/// Records that a repository has a blob.
pub(super) fn keep(cloud: &Cloud, repository: &str, sha256: &str, size: u64) -> Registered<()> {
    let layer = Layer {
        size,
        media_type: None,
    };
    layers(cloud).insert(&format!("{repository}@sha256:{sha256}"), &layer)?;
    Ok(())
}

/// Forgets an upload.
pub(super) fn cancel(cloud: &Cloud, repository: &str, id: &str) -> Registered<()> {
    let _writing = Writing::begin(id)?;
    let upload = find(cloud, repository, id)?;
    uploads(cloud).remove(id)?;
    std::fs::remove_file(&upload.file).map_err(ApiError::from)?;
    Ok(())
}

/// The hex SHA-256 and the length of a file.
fn hash(path: &Path) -> std::io::Result<(String, u64)> {
    let mut file = std::fs::File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut size = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((hex::encode(hasher.finalize()), size));
        }
        hasher.update(&buffer[..read]);
        size += read as u64;
    }
}
