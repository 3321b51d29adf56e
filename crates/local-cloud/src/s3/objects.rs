//! Access to objects for the other services of the local cloud (job inputs and outputs, data
//! capture).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;

use super::buckets::{self, Bucket};
use super::receive::{self, Received};
use super::versions::{self, Details, NewVersion, Version, WriteCondition};
use super::{announce, encryption, listing, permissions, reading, stored};
use crate::api::{ApiError, ApiResult};
use crate::cloud::caller::Caller;
use crate::{Cloud, kms};

/// One version of an object.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    /// Its bucket.
    bucket: String,
    /// Its key.
    pub(crate) key: String,
    /// Its version id.
    version: String,
    /// True if it was looked up by version id, which needs another permission.
    by_version: bool,
    /// Its `ETag` without quotes.
    pub(crate) etag: String,
    /// Its size in bytes.
    pub(crate) size: u64,
    /// The hex SHA-256 of its bytes, their name in `Cloud::blobs`.
    pub(crate) sha256: String,
}

impl Object {
    /// Its bucket.
    pub(crate) fn bucket(&self) -> &str {
        &self.bucket
    }

    /// Its version id, which is `null` in a bucket without versioning.
    pub(crate) fn version_id(&self) -> &str {
        &self.version
    }

    fn new(bucket: &Bucket, version: Version) -> Self {
        Self {
            bucket: bucket.name.clone(),
            key: version.key,
            version: version.id,
            by_version: false,
            etag: version.etag,
            size: version.size,
            sha256: version.sha256,
        }
    }
}

/// Opens an object's bytes, verified. A damaged object is an `InternalError` that names it; an
/// object that was deleted or overwritten since it was looked up can be `NoSuchKey` or
/// `NoSuchVersion`.
pub(crate) fn open(cloud: &Cloud, caller: &Caller, object: &Object) -> ApiResult<File> {
    let path = (object.bucket.as_str(), object.key.as_str());
    let version = object.by_version.then_some(object.version.as_str());
    permissions::object(cloud, caller, "GetObject", path, version)?;
    stored::open_bytes(
        cloud,
        &object.bucket,
        &object.key,
        &object.version,
        &object.sha256,
    )
}

/// Parses `s3://bucket/key` into bucket and key; anything else is a `ValidationException`.
pub(crate) fn parse_uri(uri: &str) -> ApiResult<(String, String)> {
    uri.strip_prefix("s3://")
        .map(|rest| rest.split_once('/').unwrap_or((rest, "")))
        .filter(|(bucket, _)| !bucket.is_empty())
        .map(|(bucket, key)| (bucket.to_owned(), key.to_owned()))
        .ok_or_else(|| ApiError::validation(format!("`{uri}` is not an S3 URI")))
}

/// Writes an object; fails with `NoSuchBucket`.
pub(crate) fn put(
    cloud: &Cloud,
    caller: &Caller,
    bucket: &str,
    key: &str,
    bytes: &[u8],
    content_type: &str,
) -> ApiResult<Object> {
    permissions::object(cloud, caller, "PutObject", (bucket, key), None)?;
    let received = receive::copy(cloud, &mut &bytes[..])?;
    store(cloud, bucket, key, received, content_type)
}

/// Writes the contents of a reader as an object, without holding them in memory.
pub(crate) fn put_from(
    cloud: &Cloud,
    caller: &Caller,
    bucket: &str,
    key: &str,
    reader: &mut impl Read,
) -> ApiResult<Object> {
    permissions::object(cloud, caller, "PutObject", (bucket, key), None)?;
    let received = receive::copy(cloud, reader)?;
    store(cloud, bucket, key, received, "binary/octet-stream")
}

/// [`put_from`] with user metadata (names without `x-amz-meta-`), encrypted with a key of KMS if one is given, by id,
/// ARN or alias.
pub(crate) fn put_with(
    cloud: &Cloud,
    caller: &Caller,
    (bucket, key): (&str, &str),
    reader: &mut impl Read,
    kms_key: Option<&str>,
    metadata: BTreeMap<String, String>,
) -> ApiResult<Object> {
    let mut details = Details {
        content_type: Some("binary/octet-stream".to_owned()),
        metadata,
        ..Details::default()
    };
    if let Some(name) = kms_key {
        let arn = kms::key_arn(cloud, name)?;
        let missing = || {
            ApiError::not_found(
                "KMS.NotFoundException",
                format!("Key '{name}' does not exist"),
            )
        };
        details.sse = Some("aws:kms".to_owned());
        details.kms_key = Some(arn.ok_or_else(missing)?);
    }
    permissions::writing(cloud, caller, (bucket, key), &details)?;
    let received = receive::copy(cloud, reader)?;
    store_with(cloud, bucket, key, received, details)
}

fn store(
    cloud: &Cloud,
    bucket: &str,
    key: &str,
    received: Received,
    content_type: &str,
) -> ApiResult<Object> {
    let details = Details {
        content_type: Some(content_type.to_owned()),
        ..Details::default()
    };
    store_with(cloud, bucket, key, received, details)
}

fn store_with(
    cloud: &Cloud,
    bucket: &str,
    key: &str,
    received: Received,
    mut details: Details,
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
        details.whole.clone_from(&received.checksums);
        details.checksums = received.checksums;
        encryption::apply_default(&mut details, &bucket);
        let new = NewVersion {
            key: key.to_owned(),
            size: received.size,
            etag: received.md5,
            sha256: received.sha256,
            details,
        };
        let version = versions::add(transaction, &bucket, new, &WriteCondition::default())?;
        announce::created(transaction, cloud, &bucket, &version, "PutObject")?;
        Ok(Object::new(&bucket, version))
    })
}

/// [`open`] for an object of a possibly old listing: opens the current version of the key if the
/// listed one was overwritten.
pub(crate) fn open_newest(cloud: &Cloud, caller: &Caller, object: &Object) -> ApiResult<File> {
    match open(cloud, caller, object) {
        Err(error) if error.status == 404 => {
            let newest = head(cloud, caller, &object.bucket, &object.key)?;
            open(cloud, caller, &newest)
        }
        opened => opened,
    }
}

/// The current version of an object; fails with `NoSuchBucket` or `NoSuchKey`. Its bytes stay
/// readable even if it is overwritten in the meantime.
pub(crate) fn head(cloud: &Cloud, caller: &Caller, bucket: &str, key: &str) -> ApiResult<Object> {
    permissions::object(cloud, caller, "HeadObject", (bucket, key), None)?;
    let (bucket, version) = reading::find_object(cloud, bucket, key, None)?;
    Ok(Object::new(&bucket, version))
}

/// A version of an object; fails with `NoSuchBucket`, `NoSuchKey` or `NoSuchVersion`.
pub(crate) fn version(
    cloud: &Cloud,
    caller: &Caller,
    bucket: &str,
    key: &str,
    id: &str,
) -> ApiResult<Object> {
    permissions::object(cloud, caller, "HeadObject", (bucket, key), Some(id))?;
    let (bucket, version) = reading::find_object(cloud, bucket, key, Some(id))?;
    Ok(Object {
        by_version: true,
        ..Object::new(&bucket, version)
    })
}

/// The bytes of the current version of an object; fails with `NoSuchBucket` or `NoSuchKey`.
pub(crate) fn read(cloud: &Cloud, caller: &Caller, bucket: &str, key: &str) -> ApiResult<Vec<u8>> {
    let mut bytes = Vec::new();
    let object = head(cloud, caller, bucket, key)?;
    open(cloud, caller, &object)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The current objects under a prefix, in key order; fails with `NoSuchBucket`.
pub(crate) fn list(
    cloud: &Cloud,
    caller: &Caller,
    bucket: &str,
    prefix: &str,
) -> ApiResult<Vec<Object>> {
    permissions::listing(cloud, caller, bucket, prefix)?;
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
    use crate::test_cloud::TestCloud;

    #[test]
    fn an_object_that_is_overwritten_between_look_up_and_open_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let looked_up = {
            let cloud = TestCloud::in_directory(directory.path());
            buckets::create(&cloud, "data").unwrap();
            put(&cloud, &Caller::Root, "data", "a", b"old", "text/plain").unwrap();
            head(&cloud, &Caller::Root, "data", "a").unwrap().sha256
        };
        // A server that has not used these bytes yet.
        let cloud = TestCloud::in_directory(directory.path());
        let object = head(&cloud, &Caller::Root, "data", "a").unwrap();
        put(&cloud, &Caller::Root, "data", "a", b"new", "text/plain").unwrap();
        // No record refers to the old bytes any more; the collector keeps them for the reader.
        let collection = cloud.blobs().begin_collection();
        let file = cloud.blobs().path(&looked_up);
        collection.remove(&looked_up, &file).unwrap();
        drop(collection);
        let mut bytes = Vec::new();
        open_newest(&cloud, &Caller::Root, &object)
            .unwrap()
            .read_to_end(&mut bytes)
            .unwrap();
        assert_eq!(bytes, b"old");
    }

    #[test]
    fn a_record_whose_bytes_were_collected_is_looked_up_again() {
        let directory = TestCloud::new();
        let cloud = directory.cloud();
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
        let directory = TestCloud::new();
        let cloud = directory.cloud();
        buckets::create(&cloud, "data").unwrap();
        let put = |text: &str| {
            put(
                &cloud,
                &Caller::Root,
                "data",
                "a",
                text.as_bytes(),
                "text/plain",
            )
            .unwrap()
        };
        let old = put("old");
        let new = put("new");
        // As the garbage collector would.
        std::fs::remove_file(cloud.blobs().path(&old.sha256)).unwrap();
        let error = open(&cloud, &Caller::Root, &old).unwrap_err();
        assert_eq!((error.code.as_str(), error.status), ("NoSuchKey", 404));
        assert!(
            error
                .message
                .contains("s3://data/a was deleted or overwritten")
        );
        assert_eq!(read(&cloud, &Caller::Root, "data", "a").unwrap(), b"new");
        let mut newest = Vec::new();
        open_newest(&cloud, &Caller::Root, &old)
            .unwrap()
            .read_to_end(&mut newest)
            .unwrap();
        assert_eq!(newest, b"new");
        // These are still referred to by a record.
        std::fs::remove_file(cloud.blobs().path(&new.sha256)).unwrap();
        assert_eq!(
            open(&cloud, &Caller::Root, &new).unwrap_err().code,
            stored::DAMAGED
        );
    }
}
