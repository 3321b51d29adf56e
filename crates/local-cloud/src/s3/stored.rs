//! The stored bytes of objects. Every reader opens them here, verified: a damaged object is an
//! error that names the object, never data.

use std::fs::File;
use std::io::{ErrorKind, Seek, SeekFrom};

use super::receive::blocking;
use super::versions::{self, NULL, Version};
use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::store::is_damage;

/// The error code of a damaged object; the local cloud reports its other faults as
/// `InternalFailure`.
pub(super) const DAMAGED: &str = "InternalError";

/// The response header that distinguishes a damaged object from other server faults. AWS does not
/// have it.
pub(super) const DAMAGED_HEADER: &str = "x-mlops-damaged";

/// The request header with which a client requests that the bytes of listed objects are verified.
/// AWS ignores it.
pub(super) const VERIFY_HEADER: &str = "x-mlops-verify";

/// The error for an object whose bytes cannot be read.
fn unreadable(bucket: &str, key: &str, version: &str, error: std::io::Error) -> ApiError {
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

/// The error for an object that was deleted or overwritten after it was looked up.
fn deleted(bucket: &str, key: &str, version: &str) -> ApiError {
    let error = match version {
        NULL => versions::no_such_key(),
        _ => versions::no_such_version(),
    };
    let message = format!(
        "{} The object s3://{bucket}/{key} was deleted or overwritten before it could be read.",
        error.message
    );
    ApiError { message, ..error }
}

/// Opens the bytes that an object's version had when it was looked up, verified. If no version
/// refers to them any more, the garbage collector may have removed them; that is not damage. Must
/// not be called in a transaction.
pub(super) fn open_bytes(
    cloud: &Cloud,
    bucket: &str,
    key: &str,
    version: &str,
    sha256: &str,
) -> ApiResult<File> {
    read_bytes(cloud, (bucket, key, version, sha256), || {
        cloud.blobs().reader(sha256)
    })
}

/// Reads the bytes, or their metadata, of an object's version (bucket, key, version, SHA-256).
fn read_bytes<T>(
    cloud: &Cloud,
    (bucket, key, version, sha256): (&str, &str, &str, &str),
    read: impl Fn() -> std::io::Result<T>,
) -> ApiResult<T> {
    let mut opened = read();
    if matches!(&opened, Err(error) if error.kind() == ErrorKind::NotFound) {
        let found = cloud
            .store()
            .transaction(|transaction| versions::by_id(transaction, bucket, key, version))?;
        if found.is_none_or(|found| found.sha256 != sha256) {
            return Err(deleted(bucket, key, version));
        }
        // The same bytes may have been stored again in the meantime.
        opened = read();
    }
    opened.map_err(|error| unreadable(bucket, key, version, error))
}

/// Opens a version's bytes, verified. May read the whole file: do not call it on an async thread.
pub(super) fn open(cloud: &Cloud, bucket: &str, version: &Version) -> ApiResult<File> {
    open_bytes(cloud, bucket, &version.key, &version.id, &version.sha256)
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

/// Fails if the bytes of an object are damaged.
pub(super) async fn verify(cloud: &Cloud, bucket: &str, version: &Version) -> ApiResult<()> {
    open_at(cloud, bucket, version, 0).await.map(drop)
}

/// Fails if the bytes of an object are missing or have a different length: all that can be checked
/// without reading them.
pub(super) fn check_length(cloud: &Cloud, bucket: &str, version: &Version) -> ApiResult<()> {
    let what = (
        bucket,
        version.key.as_str(),
        version.id.as_str(),
        version.sha256.as_str(),
    );
    read_bytes(cloud, what, || {
        cloud.blobs().check_length(&version.sha256, version.size)
    })
}

/// Returns the ids of the versions whose bytes are damaged.
pub(super) async fn damaged(
    cloud: &Cloud,
    bucket: &str,
    versions: Vec<Version>,
) -> ApiResult<Vec<String>> {
    let (cloud, bucket) = (cloud.clone(), bucket.to_owned());
    blocking(move || {
        let mut found = Vec::new();
        for version in versions {
            match open(&cloud, &bucket, &version) {
                Err(error) if error.code == DAMAGED => found.push(version.id),
                Err(error) if error.status != 404 => return Err(error),
                // Intact, or deleted since it was listed.
                _ => {}
            }
        }
        Ok(found)
    })
    .await
}
