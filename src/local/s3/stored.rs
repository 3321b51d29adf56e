//! The stored bytes of objects. Every reader opens them here, verified: a damaged object is an
//! error that names it, and never data.

use std::fs::File;
use std::io::{Seek, SeekFrom};

use super::receive::blocking;
use super::versions::{NULL, Version};
use crate::local::Cloud;
use crate::local::api::{ApiError, ApiResult};
use crate::local::store::is_damage;

/// The error code of a damaged object; other faults of the server are `InternalFailure` here.
pub(super) const DAMAGED: &str = "InternalError";

/// The response header that tells a damaged object from other server faults. AWS does not have it.
pub(super) const DAMAGED_HEADER: &str = "x-mlops-damaged";

/// The request header with which a client has the bytes of listed objects verified. AWS ignores it.
pub(super) const VERIFY_HEADER: &str = "x-mlops-verify";

/// The error of an object whose bytes cannot be read.
pub(super) fn unreadable(
    bucket: &str,
    key: &str,
    version: &str,
    error: std::io::Error,
) -> ApiError {
    if !is_damage(&error) {
        return error.into();
    }
    let version = match version {
        NULL => String::new(),
        id => format!(" (version {id})"),
    };
    ApiError::new(
        DAMAGED,
        format!(
            "the object s3://{bucket}/{key}{version} is damaged in the local cloud's state \
             directory: upload it again"
        ),
    )
    .status(500)
}

/// Opens a version's bytes, verified. May read the whole file: call it off the async threads.
pub(super) fn open(cloud: &Cloud, bucket: &str, version: &Version) -> ApiResult<File> {
    cloud
        .blobs()
        .reader(&version.sha256)
        .map_err(|error| unreadable(bucket, &version.key, &version.id, error))
}

/// [`open`] at an offset, for async callers.
pub(super) async fn open_at(
    cloud: &Cloud,
    bucket: &str,
    version: &Version,
    start: u64,
) -> ApiResult<File> {
    let (cloud, bucket, version) = (cloud.clone(), bucket.to_owned(), version.clone());
    blocking(move || {
        let mut file = open(&cloud, &bucket, &version)?;
        file.seek(SeekFrom::Start(start))?;
        Ok(file)
    })
    .await
}

/// Fails with the error of a damaged object unless its bytes are sound.
pub(super) async fn verify(cloud: &Cloud, bucket: &str, version: &Version) -> ApiResult<()> {
    open_at(cloud, bucket, version, 0).await.map(drop)
}

/// The ids of those versions whose bytes are damaged.
pub(super) async fn damaged(cloud: &Cloud, versions: Vec<Version>) -> ApiResult<Vec<String>> {
    let cloud = cloud.clone();
    blocking(move || {
        let mut found = Vec::new();
        for version in versions {
            if !cloud.blobs().is_sound(&version.sha256)? {
                found.push(version.id);
            }
        }
        Ok(found)
    })
    .await
}
