//! Objects, for the other services of the local cloud (job inputs and outputs, data capture).

use std::path::Path;

use crate::local::Cloud;
use crate::local::api::{ApiError, ApiResult};

/// One version of an object.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    /// Its key.
    pub(crate) key: String,
    /// Its version, in a versioned bucket.
    pub(crate) version_id: Option<String>,
    /// Its size in bytes.
    pub(crate) size: u64,
    /// Its `ETag`, with quotes removed.
    pub(crate) etag: String,
    /// Its bytes: the hex SHA-256 under which `Cloud::blobs` keeps them.
    pub(crate) sha256: String,
}

/// The bucket and key of `s3://bucket/key`; `ValidationException` for anything else.
pub(crate) fn parse_uri(uri: &str) -> ApiResult<(String, String)> {
    uri.strip_prefix("s3://")
        .map(|rest| rest.split_once('/').unwrap_or((rest, "")))
        .filter(|(bucket, _)| !bucket.is_empty())
        .map(|(bucket, key)| (bucket.to_owned(), key.to_owned()))
        .ok_or_else(|| ApiError::validation(format!("`{uri}` is not an S3 URI")))
}

/// Puts bytes; `NoSuchBucket`.
pub(crate) fn put(
    _cloud: &Cloud,
    _bucket: &str,
    _key: &str,
    _bytes: &[u8],
    _content_type: &str,
) -> ApiResult<Object> {
    Err(ApiError::not_implemented("s3:PutObject"))
}

/// Puts a file's contents, without reading it into memory.
pub(crate) fn put_file(
    _cloud: &Cloud,
    _bucket: &str,
    _key: &str,
    _file: &Path,
) -> ApiResult<Object> {
    Err(ApiError::not_implemented("s3:PutObject"))
}

/// The current version of an object; `NoSuchBucket`, `NoSuchKey`.
pub(crate) fn head(_cloud: &Cloud, _bucket: &str, _key: &str) -> ApiResult<Object> {
    Err(ApiError::not_implemented("s3:HeadObject"))
}

/// The bytes of the current version of an object; `NoSuchBucket`, `NoSuchKey`.
pub(crate) fn read(cloud: &Cloud, bucket: &str, key: &str) -> ApiResult<Vec<u8>> {
    let object = head(cloud, bucket, key)?;
    Ok(cloud.blobs().read(&object.sha256)?)
}

/// The current objects under a prefix, in key order; `NoSuchBucket`.
pub(crate) fn list(_cloud: &Cloud, _bucket: &str, _prefix: &str) -> ApiResult<Vec<Object>> {
    Err(ApiError::not_implemented("s3:ListObjectsV2"))
}
