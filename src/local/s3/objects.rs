//! Objects, for the other services of the local cloud (job inputs and outputs, data capture).

use std::fs::File;
use std::io::Read;

use super::buckets::{self, Bucket};
use super::receive::{self, Received};
use super::versions::{self, Condition, Details, New, Version};
use super::{listing, reading, stored, transfer};
use crate::local::Cloud;
use crate::local::api::{ApiError, ApiResult};

/// One version of an object.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    /// Its bucket.
    bucket: String,
    /// Its key.
    pub(crate) key: String,
    /// Its version id.
    version: String,
    /// Its `ETag`, with quotes removed.
    pub(crate) etag: String,
    /// Its bytes: the hex SHA-256 under which `Cloud::blobs` keeps them.
    pub(crate) sha256: String,
}

impl Object {
    fn new(bucket: &Bucket, version: Version) -> Self {
        Self {
            bucket: bucket.name.clone(),
            key: version.key,
            version: version.id,
            etag: version.etag,
            sha256: version.sha256,
        }
    }
}

/// Opens an object's bytes, verified; a damaged object is an `InternalError` that names it, one that
/// was deleted or overwritten since it was looked up may be `NoSuchKey` or `NoSuchVersion`.
pub(crate) fn open(cloud: &Cloud, object: &Object) -> ApiResult<File> {
    stored::open_bytes(
        cloud,
        &object.bucket,
        &object.key,
        &object.version,
        &object.sha256,
    )
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
    cloud: &Cloud,
    bucket: &str,
    key: &str,
    bytes: &[u8],
    content_type: &str,
) -> ApiResult<Object> {
    let received = receive::copy(cloud, &mut &bytes[..])?;
    keep(cloud, bucket, key, received, content_type)
}

/// Puts what a reader has, without holding it in memory.
pub(crate) fn put_from(
    cloud: &Cloud,
    bucket: &str,
    key: &str,
    reader: &mut impl Read,
) -> ApiResult<Object> {
    let received = receive::copy(cloud, reader)?;
    keep(cloud, bucket, key, received, "binary/octet-stream")
}

fn keep(
    cloud: &Cloud,
    bucket: &str,
    key: &str,
    received: Received,
    content_type: &str,
) -> ApiResult<Object> {
    if key.is_empty() || key.len() > 1024 {
        return Err(ApiError::new(
            "KeyTooLongError",
            "Your key is empty or longer than 1024 bytes",
        ));
    }
    cloud.blobs().adopt(received.file, &received.sha256)?;
    cloud.store().transaction(|transaction| {
        let bucket = buckets::find(transaction, bucket)?;
        let mut details = Details {
            content_type: Some(content_type.to_owned()),
            whole: received.checksums.clone(),
            checksums: received.checksums,
            ..Details::default()
        };
        transfer::encrypt(&mut details, &bucket);
        let new = New {
            key: key.to_owned(),
            size: received.size,
            etag: received.md5,
            sha256: received.sha256,
            details,
        };
        let version = versions::add(transaction, &bucket, new, &Condition::default())?;
        Ok(Object::new(&bucket, version))
    })
}

/// The current version of an object; `NoSuchBucket`, `NoSuchKey`.
pub(crate) fn head(cloud: &Cloud, bucket: &str, key: &str) -> ApiResult<Object> {
    cloud.store().transaction(|transaction| {
        let bucket = buckets::find(transaction, bucket)?;
        let version = reading::select(transaction, &bucket, key, None)?.object()?;
        Ok(Object::new(&bucket, version))
    })
}

/// A version of an object; `NoSuchBucket`, `NoSuchKey`, `NoSuchVersion`.
pub(crate) fn version(cloud: &Cloud, bucket: &str, key: &str, id: &str) -> ApiResult<Object> {
    cloud.store().transaction(|transaction| {
        let bucket = buckets::find(transaction, bucket)?;
        let version = reading::select(transaction, &bucket, key, Some(id))?.object()?;
        Ok(Object::new(&bucket, version))
    })
}

/// The bytes of the current version of an object; `NoSuchBucket`, `NoSuchKey`.
pub(crate) fn read(cloud: &Cloud, bucket: &str, key: &str) -> ApiResult<Vec<u8>> {
    let mut bytes = Vec::new();
    open(cloud, &head(cloud, bucket, key)?)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The current objects under a prefix, in key order; `NoSuchBucket`.
pub(crate) fn list(cloud: &Cloud, bucket: &str, prefix: &str) -> ApiResult<Vec<Object>> {
    cloud.store().transaction(|transaction| {
        let bucket = buckets::find(transaction, bucket)?;
        let mut found = Vec::new();
        let mut after = String::new();
        loop {
            let query = listing::Query {
                bucket: &bucket.name,
                prefix,
                after: &after,
                ..listing::Query::default()
            };
            let page = listing::objects(transaction, &query)?;
            found.extend(
                page.versions
                    .into_iter()
                    .map(|version| Object::new(&bucket, version)),
            );
            match page.next {
                Some(next) => after = next,
                None => return Ok(found),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_that_was_overwritten_since_it_was_looked_up_is_not_damaged() {
        let directory = tempfile::tempdir().unwrap();
        let cloud = Cloud::in_directory(directory.path());
        buckets::create(&cloud, "data").unwrap();
        let put = |text: &str| put(&cloud, "data", "a", text.as_bytes(), "text/plain").unwrap();
        let old = put("old");
        let new = put("new");
        // As the garbage collector does.
        std::fs::remove_file(cloud.blobs().path(&old.sha256)).unwrap();
        let error = open(&cloud, &old).unwrap_err();
        assert_eq!((error.code.as_str(), error.status), ("NoSuchKey", 404));
        assert!(
            error
                .message
                .contains("s3://data/a was deleted or overwritten")
        );
        assert_eq!(read(&cloud, "data", "a").unwrap(), b"new");
        // A record names these.
        std::fs::remove_file(cloud.blobs().path(&new.sha256)).unwrap();
        assert_eq!(open(&cloud, &new).unwrap_err().code, stored::DAMAGED);
    }
}
