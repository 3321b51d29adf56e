//! Pulling blobs, complete or in ranges.
//!
//! The blob store verifies a file before it is read. A damaged one is set aside: clients see that
//! the blob is missing, and the next push of it repairs the repository.

use std::io::SeekFrom;

use axum::body::Body;
use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use http::request::Parts;
use http::{Method, Response};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::digest::sha256_of;
use super::refusal::{Refusal, Registered, header, send, sha256};
use super::{Layer, layer_records};
use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::store::{Blobs, is_damage};

/// Refuses an image layer whose file is damaged or missing. A damaged file is set aside, so that the next
/// push uploads the layer again.
pub(crate) fn require_sound(blobs: &Blobs, sha256: &str) -> ApiResult<()> {
    match blobs.reader(sha256) {
        Ok(_) => Ok(()),
        Err(error) if is_damage(&error) => {
            blobs.quarantine(&error)?;
            Err(ApiError::validation(format!(
                "the layer sha256:{sha256} in the local cloud's state directory is damaged: push \
                 the image again"
            )))
        }
        Err(error) => Err(error.into()),
    }
}

/// The bytes of an image's configuration; fails as for a layer.
pub(super) fn configuration(blobs: &Blobs, sha256: &str) -> ApiResult<Vec<u8>> {
    blobs.read_or_quarantine(sha256).map_err(|error| {
        if !is_damage(&error) {
            return error.into();
        }
        ApiError::validation(format!(
            "the configuration sha256:{sha256} in the local cloud's state directory is damaged: \
             push the image again"
        ))
    })
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

/// The record of a blob that a repository has; `None` also when its file is incomplete. The blob can be
/// read even if its image is deleted in the meantime.
pub(super) fn find(cloud: &Cloud, repository: &str, digest: &str) -> ApiResult<Option<Layer>> {
    let Some(sha256) = sha256_of(digest) else {
        return Ok(None);
    };
    let key = format!("{repository}@{digest}");
    let look_up = || layer_records(cloud).get(&key);
    let found = cloud.blobs().leased(look_up, |_| sha256.to_owned())?;
    let whole = |layer: &Layer| {
        let file = cloud.blobs().path(sha256).metadata();
        file.is_ok_and(|file| file.len() == layer.size)
    };
    Ok(found.filter(whole))
}

/// The bytes of a manifest; `None` when its file is missing.
pub(super) fn manifest(cloud: &Cloud, digest: &str) -> Registered<Option<Vec<u8>>> {
    let hex = sha256(digest)?;
    match cloud.blobs().read_or_quarantine(hex) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) if is_damage(&error) => Err(damaged(digest)),
        Err(error) => Err(ApiError::from(error).into()),
    }
}

/// Serves GET and HEAD of a blob.
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
    let inner = cloud.clone();
    let opened = tokio::task::spawn_blocking(move || match inner.blobs().reader(&hex) {
        Err(error) if is_damage(&error) => inner.blobs().quarantine(&error).map(|()| None),
        opened => opened.map(Some),
    });
    let opened = opened
        .await
        .map_err(ApiError::internal)?
        .map_err(ApiError::from)?;
    let Some(file) = opened else {
        return Err(damaged(digest));
    };
    let mut file = tokio::fs::File::from_std(file);
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

/// One range of bytes as (start, end), end excluded. `None` if the header must be ignored, `Some(Err)` if
/// the range is outside the blob.
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
            // RFC 9110: a range that ends before it begins is ignored.
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
    use crate::test_cloud::TestCloud;

    #[test]
    fn a_damaged_layer_counts_as_missing_after_a_job_read_it() {
        let directory = TestCloud::new();
        let cloud = directory.cloud();
        let name = cloud.blobs().write(b"layer").unwrap();
        let digest = format!("sha256:{name}");
        let layer = Layer {
            size: 5,
            media_type: None,
            released: None,
        };
        let key = format!("app@{digest}");
        layer_records(&cloud).put(&key, &layer).unwrap();
        require_sound(cloud.blobs(), &name).unwrap();
        // The size is unchanged: only the digest detects the damage.
        std::fs::write(cloud.blobs().path(&name), b"lAyer").unwrap();
        assert!(find(&cloud, "app", &digest).unwrap().is_some());
        let error = require_sound(cloud.blobs(), &name).unwrap_err();
        assert!(error.message.contains("push the image again"), "{error}");
        assert!(find(&cloud, "app", &digest).unwrap().is_none());
        // A push uploads it again.
        cloud.blobs().write(b"layer").unwrap();
        assert!(find(&cloud, "app", &digest).unwrap().is_some());
        require_sound(cloud.blobs(), &name).unwrap();
        // The same applies to a configuration.
        std::fs::write(cloud.blobs().path(&name), b"lAyer").unwrap();
        let error = configuration(cloud.blobs(), &name).unwrap_err();
        assert!(error.message.contains("push the image again"), "{error}");
        assert!(find(&cloud, "app", &digest).unwrap().is_none());
    }

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
}
