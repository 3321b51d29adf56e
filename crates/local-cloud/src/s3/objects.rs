//! Objects, for the other services of the local cloud (job inputs and outputs, data capture).

use std::fs::File;
use std::io::Read;

use super::buckets::{self, Bucket};
use super::receive::{self, Received};
use super::versions::{self, Condition, Details, New, Version};
use super::{listing, reading, stored, transfer};
use crate::Cloud;
use crate::api::{ApiError, ApiResult};

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

/// [`open`] for an object of a listing, which may be old: the current version of its key when it was
/// overwritten since.
pub(crate) fn open_newest(cloud: &Cloud, object: &Object) -> ApiResult<File> {
    match open(cloud, object) {
        Err(error) if error.status == 404 => {
            open(cloud, &head(cloud, &object.bucket, &object.key)?)
        }
        opened => opened,
    }
}

/// The current version of an object; `NoSuchBucket`, `NoSuchKey`. Its bytes can be read although it
/// is overwritten meanwhile.
pub(crate) fn head(cloud: &Cloud, bucket: &str, key: &str) -> ApiResult<Object> {
    let (bucket, version) = reading::find_object(cloud, bucket, key, None)?;
    Ok(Object::new(&bucket, version))
}

/// A version of an object; `NoSuchBucket`, `NoSuchKey`, `NoSuchVersion`.
pub(crate) fn version(cloud: &Cloud, bucket: &str, key: &str, id: &str) -> ApiResult<Object> {
    let (bucket, version) = reading::find_object(cloud, bucket, key, Some(id))?;
    Ok(Object::new(&bucket, version))
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
    fn an_object_that_is_overwritten_between_look_up_and_open_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let looked_up = {
            let cloud = Cloud::in_directory(directory.path());
            buckets::create(&cloud, "data").unwrap();
            put(&cloud, "data", "a", b"old", "text/plain").unwrap();
            head(&cloud, "data", "a").unwrap().sha256
        };
        // A server that has not used the bytes yet.
        let cloud = Cloud::in_directory(directory.path());
        let object = head(&cloud, "data", "a").unwrap();
        put(&cloud, "data", "a", b"new", "text/plain").unwrap();
        // No record names the old bytes any more; the collector keeps them for the reader.
        let collection = cloud.blobs().begin_collection();
        let file = cloud.blobs().path(&looked_up);
        collection.remove(&looked_up, &file).unwrap();
        drop(collection);
        let mut bytes = Vec::new();
        open_newest(&cloud, &object)
            .unwrap()
            .read_to_end(&mut bytes)
            .unwrap();
        assert_eq!(bytes, b"old");
    }

    #[test]
    fn a_record_whose_bytes_are_collected_already_is_looked_up_again() {
        let directory = tempfile::tempdir().unwrap();
        let cloud = Cloud::in_directory(directory.path());
        let names = [b"old", b"new"].map(|bytes| cloud.blobs().write(bytes).unwrap());
        std::fs::remove_file(cloud.blobs().path(&names[0])).unwrap();
        let turn = std::cell::Cell::new(0);
        let look_up = || ApiResult::Ok(&names[turn.replace(turn.get() + 1).min(1)]);
        let found = cloud
            .blobs()
            .leased(look_up, |name| (*name).clone())
            .unwrap();
        assert_eq!(found, &names[1]);
    }

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
        let mut newest = Vec::new();
        open_newest(&cloud, &old)
            .unwrap()
            .read_to_end(&mut newest)
            .unwrap();
        assert_eq!(newest, b"new");
        // A record names these.
        std::fs::remove_file(cloud.blobs().path(&new.sha256)).unwrap();
        assert_eq!(open(&cloud, &new).unwrap_err().code, stored::DAMAGED);
    }
}
