//! Pulling blobs: whole or in ranges, and never damaged ones.
//!
//! A file is hashed before it is answered, unless this process has hashed it and it has not been
//! touched since. A damaged one is set aside: clients see that the blob is missing, and the next
//! push of it mends the repository.

use std::collections::BTreeMap;
use std::io::SeekFrom;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use axum::body::Body;
use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use http::request::Parts;
use http::{Method, Response};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::manifests::{digest_of, sha256_of};
use super::registry::{Refusal, Registered, header, send, sha256};
use super::uploads::sha256_of_file;
use super::{Layer, layers};
use crate::local::Cloud;
use crate::local::api::{ApiError, ApiResult};

/// What a file is known by: inode, length, and the times of its last changes in nanoseconds.
type Stamp = (u64, u64, i64, i64, i64, i64);

/// The files that were hashed and found sound, as they were then.
static SOUND: Mutex<BTreeMap<PathBuf, Stamp>> = Mutex::new(BTreeMap::new());

fn stamp(path: &Path) -> std::io::Result<Stamp> {
    let found = path.metadata()?;
    Ok((
        found.ino(),
        found.len(),
        found.mtime(),
        found.mtime_nsec(),
        found.ctime(),
        found.ctime_nsec(),
    ))
}

/// Notes that a file has just been written with the bytes of its name.
pub(super) fn remember(cloud: &Cloud, sha256: &str) {
    let path = cloud.blobs().path(sha256);
    if let Ok(stamp) = stamp(&path) {
        let mut sound = SOUND.lock().unwrap_or_else(PoisonError::into_inner);
        sound.insert(path, stamp);
    }
}

/// True when the file's bytes are those of its name.
fn is_sound(path: &Path, sha256: &str) -> std::io::Result<bool> {
    let now = stamp(path)?;
    let known = || SOUND.lock().unwrap_or_else(PoisonError::into_inner);
    if known().get(path) == Some(&now) {
        return Ok(true);
    }
    let sound = sha256_of_file(path)? == sha256;
    if sound {
        known().insert(path.to_owned(), now);
    }
    Ok(sound)
}

/// Hashes the file of a layer unless it is as it was when it was last found sound; a damaged one is
/// refused.
pub(crate) fn require_sound(path: &Path, sha256: &str) -> ApiResult<()> {
    if is_sound(path, sha256)? {
        return Ok(());
    }
    Err(ApiError::validation(format!(
        "the layer sha256:{sha256} in the local cloud's state directory is damaged: push the image again"
    )))
}

fn damaged(digest: &str) -> Refusal {
    Refusal::new(
        500,
        "UNKNOWN",
        format!(
            "the file of {digest} in the local cloud's state directory was damaged and has been \
             set aside: push it again"
        ),
    )
}

/// The record of a blob that a repository has; `None` also when its file is not whole.
pub(super) fn find(cloud: &Cloud, repository: &str, digest: &str) -> ApiResult<Option<Layer>> {
    let Some(sha256) = sha256_of(digest) else {
        return Ok(None);
    };
    let whole = |layer: &Layer| {
        let file = cloud.blobs().path(sha256).metadata();
        file.is_ok_and(|file| file.len() == layer.size)
    };
    Ok(layers(cloud)
        .get(&format!("{repository}@{digest}"))?
        .filter(whole))
}

/// The bytes of a manifest; `None` when its file is gone.
pub(super) fn manifest(cloud: &Cloud, digest: &str) -> Registered<Option<Vec<u8>>> {
    let hex = sha256(digest)?;
    match cloud.blobs().read(hex) {
        Ok(bytes) if digest_of(&bytes) == digest => Ok(Some(bytes)),
        Ok(_) => {
            cloud.blobs().set_aside(hex).map_err(ApiError::from)?;
            Err(damaged(digest))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ApiError::from(error).into()),
    }
}

/// Answers GET and HEAD of a blob.
pub(super) async fn answer(
    cloud: &Cloud,
    name: &str,
    digest: &str,
    parts: &Parts,
) -> Registered<Response<Body>> {
    let hex = sha256(digest)?.to_owned();
    let unknown = || Refusal::new(404, "BLOB_UNKNOWN", "blob unknown to registry");
    let layer = find(cloud, name, digest)?.ok_or_else(unknown)?;
    let builder = Response::builder()
        .header("docker-content-digest", digest)
        .header(ACCEPT_RANGES, "bytes")
        .header(CONTENT_TYPE, "application/octet-stream");
    if parts.method == Method::HEAD {
        return Ok(send(
            builder.header(CONTENT_LENGTH, layer.size),
            Body::empty(),
        ));
    }
    let (status, start, end) = match header(parts, &RANGE).and_then(|text| range(text, layer.size))
    {
        None => (200, 0, layer.size),
        Some(Ok((start, end))) => (206, start, end),
        Some(Err(())) => {
            return Ok(send(
                Response::builder()
                    .status(416)
                    .header(CONTENT_RANGE, format!("bytes */{}", layer.size)),
                Body::empty(),
            ));
        }
    };
    let path = cloud.blobs().path(&hex);
    let mut file = tokio::fs::File::open(&path).await.map_err(ApiError::from)?;
    let inner = cloud.clone();
    let sound = tokio::task::spawn_blocking(move || {
        let sound = is_sound(&path, &hex)?;
        if !sound {
            inner.blobs().set_aside(&hex)?;
        }
        std::io::Result::Ok(sound)
    });
    if !sound
        .await
        .map_err(ApiError::internal)?
        .map_err(ApiError::from)?
    {
        return Err(damaged(digest));
    }
    file.seek(SeekFrom::Start(start))
        .await
        .map_err(ApiError::from)?;
    let mut builder = builder.status(status).header(CONTENT_LENGTH, end - start);
    if status == 206 {
        builder = builder.header(
            CONTENT_RANGE,
            format!("bytes {start}-{}/{}", end - 1, layer.size),
        );
    }
    let stream = ReaderStream::with_capacity(file.take(end - start), 512 << 10);
    Ok(send(builder, Body::from_stream(stream)))
}

/// One range of bytes as (start, end), end excluded. `None`: the header is to be ignored;
/// `Some(Err)`: the range lies outside.
fn range(text: &str, size: u64) -> Option<Result<(u64, u64), ()>> {
    let (start, end) = text.strip_prefix("bytes=")?.split_once('-')?;
    if end.contains(',') {
        return None;
    }
    let found = if start.is_empty() {
        let last: u64 = end.parse().ok()?;
        (size.saturating_sub(last), size)
    } else {
        let start: u64 = start.parse().ok()?;
        let end = if end.is_empty() {
            size
        } else {
            let end: u64 = end.parse().ok()?;
            // RFC 9110: a range that ends before it begins is no range at all.
            if end < start {
                return None;
            }
            end.saturating_add(1).min(size)
        };
        (start, end)
    };
    Some(if found.0 < found.1 {
        Ok(found)
    } else {
        Err(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_http() {
        assert_eq!(range("bytes=0-3", 10), Some(Ok((0, 4))));
        assert_eq!(range("bytes=4-", 10), Some(Ok((4, 10))));
        assert_eq!(range("bytes=-3", 10), Some(Ok((7, 10))));
        assert_eq!(range("bytes=-30", 10), Some(Ok((0, 10))));
        assert_eq!(range("bytes=8-99", 10), Some(Ok((8, 10))));
        assert_eq!(range("bytes=10-", 10), Some(Err(())));
        assert_eq!(range("bytes=0-0", 0), Some(Err(())));
        assert_eq!(range("bytes=5-2", 10), None);
        assert_eq!(range("bytes=0-1,4-5", 10), None);
        assert_eq!(range("lines=1-2", 10), None);
    }

    #[test]
    fn a_file_that_was_touched_is_hashed_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        std::fs::write(&path, "one").unwrap();
        let name = hex::encode(<sha2::Sha256 as sha2::Digest>::digest("one"));
        assert!(is_sound(&path, &name).unwrap());
        // The same length, another file: the inode says so, whatever the clock does.
        std::fs::write(directory.path().join("y"), "two").unwrap();
        std::fs::rename(directory.path().join("y"), &path).unwrap();
        assert!(!is_sound(&path, &name).unwrap());
    }
}
