//! The versions of objects: one row per version or delete marker. Everything here runs inside a
//! transaction, so that conditions and writes are atomic.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, Row, Transaction, params};
use serde::{Deserialize, Serialize};

use super::buckets::{Bucket, Versioning};
use super::checksums::Checksums;
use super::wire;
use crate::api::{ApiError, ApiResult};

/// The version id of objects that were written without versioning.
pub(super) const NULL: &str = "null";

/// Metadata of a version.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Details {
    pub(super) content_type: Option<String>,
    pub(super) cache_control: Option<String>,
    pub(super) content_disposition: Option<String>,
    pub(super) content_encoding: Option<String>,
    pub(super) content_language: Option<String>,
    /// Seconds since the epoch.
    pub(super) expires: Option<i64>,
    pub(super) storage_class: Option<String>,
    pub(super) redirect: Option<String>,
    pub(super) sse: Option<String>,
    pub(super) kms_key: Option<String>,
    /// User metadata, without the `x-amz-meta-` prefix.
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) checksums: Checksums,
    /// True if `checksums` are computed from the checksums of the parts.
    pub(super) composite: bool,
    /// Checksums of the full object.
    pub(super) whole: Checksums,
    /// The hex MD5 of the full object, if it differs from the `ETag`.
    pub(super) md5: Option<String>,
    /// The parts of a multipart object.
    pub(super) parts: Vec<PartSize>,
    pub(super) tags: Vec<(String, String)>,
    /// The id of the multipart upload that created it.
    pub(super) upload: Option<String>,
}

/// A part of a completed multipart object.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct PartSize {
    pub(super) number: i32,
    pub(super) size: u64,
    pub(super) checksums: Checksums,
    /// The MD5, hex.
    #[serde(default)]
    pub(super) etag: Option<String>,
}

/// One version of an object, or a delete marker.
#[derive(Debug, Clone)]
pub(super) struct Version {
    pub(super) sequence: i64,
    pub(super) key: String,
    /// [`NULL`] or a random id.
    pub(super) id: String,
    pub(super) latest: bool,
    pub(super) marker: bool,
    pub(super) size: u64,
    pub(super) etag: String,
    /// The hex SHA-256 of its bytes; empty for a delete marker.
    pub(super) sha256: String,
    /// Seconds since the epoch.
    pub(super) modified: i64,
    pub(super) details: Details,
}

/// The version id in the response to a write: none unless versioning is enabled. While versioning is
/// suspended, reads return `null` and writes return nothing.
pub(super) fn written_id(bucket: &Bucket, version: &Version) -> Option<String> {
    (bucket.versioning == Versioning::Enabled).then(|| version.id.clone())
}

/// The version id in the response to a read: none if versioning was never enabled.
pub(super) fn shown_id(bucket: &Bucket, version: &Version) -> Option<String> {
    (bucket.versioning != Versioning::Off).then(|| version.id.clone())
}

pub(super) const COLUMNS: &str =
    "sequence, key, version, latest, marker, size, etag, sha256, modified, details";

pub(super) fn from_row(row: &Row<'_>) -> rusqlite::Result<Version> {
    version(row, |text| serde_json::from_str(text))
}

/// Reads only the details that listings show: a page has a thousand rows.
pub(super) fn from_row_for_listing(row: &Row<'_>) -> rusqlite::Result<Version> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Shown {
        storage_class: Option<String>,
        checksums: Checksums,
        composite: bool,
    }

    version(row, |text| {
        let shown: Shown = serde_json::from_str(text)?;
        Ok(Details {
            storage_class: shown.storage_class,
            checksums: shown.checksums,
            composite: shown.composite,
            ..Details::default()
        })
    })
}

fn version(
    row: &Row<'_>,
    details: impl Fn(&str) -> serde_json::Result<Details>,
) -> rusqlite::Result<Version> {
    let text = row.get_ref(9)?.as_str()?;
    Ok(Version {
        sequence: row.get(0)?,
        key: row.get(1)?,
        id: row.get(2)?,
        latest: row.get(3)?,
        marker: row.get(4)?,
        size: u64::try_from(row.get::<_, i64>(5)?).unwrap_or_default(),
        etag: row.get(6)?,
        sha256: row.get(7)?,
        modified: row.get(8)?,
        details: details(text).map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(
                9,
                rusqlite::types::Type::Text,
                Box::new(error),
            )
        })?,
    })
}

/// The precondition of a write on the current version.
#[derive(Debug, Clone, Default)]
pub(super) struct WriteCondition {
    /// `If-None-Match: *`
    pub(super) absent: bool,
    /// `If-Match` without quotes; `*` matches any version.
    pub(super) etag: Option<String>,
}

impl WriteCondition {
    /// Parses the conditional headers; `If-None-Match` with an `ETag` is `NotImplemented`, as in
    /// AWS.
    pub(super) fn new(
        if_match: Option<&s3s::dto::ETagCondition>,
        if_none_match: Option<&s3s::dto::ETagCondition>,
    ) -> ApiResult<Self> {
        if if_none_match.is_some_and(|condition| !condition.is_any()) {
            return Err(ApiError::new(
                "NotImplemented",
                "A header you provided implies functionality that is not implemented: \
                 If-None-Match takes only `*` on a write",
            )
            .status(501));
        }
        Ok(Self {
            absent: if_none_match.is_some(),
            etag: if_match.map(|condition| {
                condition
                    .as_etag()
                    .map_or("*", |etag| etag.value())
                    .to_owned()
            }),
        })
    }

    fn check(&self, current: Option<&Version>) -> ApiResult<()> {
        let current = current.filter(|version| !version.marker);
        if self.absent && current.is_some() {
            return Err(precondition_failed());
        }
        match (&self.etag, current) {
            (None, _) => Ok(()),
            (Some(_), None) => Err(no_such_key()),
            (Some(wanted), Some(found)) if wanted == "*" || *wanted == found.etag => Ok(()),
            (Some(_), Some(_)) => Err(precondition_failed()),
        }
    }
}

pub(super) fn precondition_failed() -> ApiError {
    ApiError::new(
        "PreconditionFailed",
        "At least one of the pre-conditions you specified did not hold",
    )
    .status(412)
}

pub(super) fn no_such_key() -> ApiError {
    ApiError::not_found("NoSuchKey", "The specified key does not exist.").status(404)
}

pub(super) fn no_such_version() -> ApiError {
    ApiError::not_found("NoSuchVersion", "The specified version does not exist.").status(404)
}

/// The current version, which may be a delete marker.
pub(super) fn current(
    transaction: &Transaction<'_>,
    bucket: &str,
    key: &str,
) -> ApiResult<Option<Version>> {
    Ok(transaction
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM s3_versions WHERE bucket = ?1 AND key = ?2 AND latest = 1"
        ))?
        .query_row([bucket, key], from_row)
        .optional()?)
}

/// A version by its id.
pub(super) fn by_id(
    transaction: &Transaction<'_>,
    bucket: &str,
    key: &str,
    id: &str,
) -> ApiResult<Option<Version>> {
    Ok(transaction
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM s3_versions WHERE bucket = ?1 AND key = ?2 AND version = ?3"
        ))?
        .query_row([bucket, key, id], from_row)
        .optional()?)
}

/// A version by its sequence.
pub(super) fn by_sequence(
    transaction: &Transaction<'_>,
    sequence: i64,
) -> ApiResult<Option<Version>> {
    Ok(transaction
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM s3_versions WHERE sequence = ?1"
        ))?
        .query_row([sequence], from_row)
        .optional()?)
}

/// The version of a key that a multipart upload created.
pub(super) fn of_upload(
    transaction: &Transaction<'_>,
    bucket: &str,
    key: &str,
    upload: &str,
) -> ApiResult<Option<Version>> {
    Ok(transaction
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM s3_versions WHERE bucket = ?1 AND key = ?2
             AND json_extract(details, '$.upload') = ?3"
        ))?
        .query_row([bucket, key, upload], from_row)
        .optional()?)
}

/// A version to add.
pub(super) struct NewVersion {
    pub(super) key: String,
    pub(super) size: u64,
    pub(super) etag: String,
    pub(super) sha256: String,
    pub(super) details: Details,
}

/// Adds a version and makes it the current one.
pub(super) fn add(
    transaction: &Transaction<'_>,
    bucket: &Bucket,
    new: NewVersion,
    condition: &WriteCondition,
) -> ApiResult<Version> {
    condition.check(current(transaction, &bucket.name, &new.key)?.as_ref())?;
    insert(transaction, bucket, new, false)
}

fn insert(
    transaction: &Transaction<'_>,
    bucket: &Bucket,
    new: NewVersion,
    marker: bool,
) -> ApiResult<Version> {
    let id = match bucket.versioning {
        Versioning::Enabled => uuid::Uuid::new_v4().simple().to_string(),
        Versioning::Off | Versioning::Suspended => {
            transaction
                .prepare_cached(
                    "DELETE FROM s3_versions WHERE bucket = ?1 AND key = ?2 AND version = ?3",
                )?
                .execute([bucket.name.as_str(), &new.key, NULL])?;
            NULL.to_owned()
        }
    };
    transaction
        .prepare_cached(
            "UPDATE s3_versions SET latest = 0 WHERE bucket = ?1 AND key = ?2 AND latest = 1",
        )?
        .execute([bucket.name.as_str(), &new.key])?;
    let modified = wire::now();
    let details = serde_json::to_string(&new.details).map_err(ApiError::internal)?;
    transaction
        .prepare_cached(
            "INSERT INTO s3_versions
                 (bucket, key, version, latest, marker, size, etag, sha256, modified, details)
             VALUES (?1, ?2, ?3, 1, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            bucket.name,
            new.key,
            id,
            marker,
            i64::try_from(new.size).map_err(ApiError::internal)?,
            new.etag,
            new.sha256,
            modified,
            details,
        ])?;
    Ok(Version {
        sequence: transaction.last_insert_rowid(),
        key: new.key,
        id,
        latest: true,
        marker,
        size: new.size,
        etag: new.etag,
        sha256: new.sha256,
        modified,
        details: new.details,
    })
}

/// The result of a deletion.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Removed {
    /// True if a delete marker was created or removed.
    pub(super) marker: bool,
    /// The version that was created or removed, in a versioned bucket.
    pub(super) id: Option<String>,
}

/// Deletes the current version: permanently in an unversioned bucket, otherwise by adding a delete
/// marker.
pub(super) fn remove(
    transaction: &Transaction<'_>,
    bucket: &Bucket,
    key: &str,
    condition: &WriteCondition,
) -> ApiResult<Removed> {
    condition.check(current(transaction, &bucket.name, key)?.as_ref())?;
    if bucket.versioning == Versioning::Off {
        transaction
            .prepare_cached("DELETE FROM s3_versions WHERE bucket = ?1 AND key = ?2")?
            .execute([bucket.name.as_str(), key])?;
        return Ok(Removed::default());
    }
    let marker = NewVersion {
        key: key.to_owned(),
        size: 0,
        etag: String::new(),
        sha256: String::new(),
        details: Details::default(),
    };
    let version = insert(transaction, bucket, marker, true)?;
    Ok(Removed {
        marker: true,
        id: Some(version.id),
    })
}

/// Deletes one version permanently; the newest of the others becomes current. As in AWS, deleting a
/// version that does not exist succeeds.
pub(super) fn remove_version(
    transaction: &Transaction<'_>,
    bucket: &Bucket,
    key: &str,
    id: &str,
) -> ApiResult<Removed> {
    let Some(version) = by_id(transaction, &bucket.name, key, id)? else {
        return Ok(Removed {
            marker: false,
            id: Some(id.to_owned()),
        });
    };
    transaction
        .prepare_cached("DELETE FROM s3_versions WHERE sequence = ?1")?
        .execute([version.sequence])?;
    if version.latest {
        transaction
            .prepare_cached(
                "UPDATE s3_versions SET latest = 1 WHERE sequence =
                     (SELECT max(sequence) FROM s3_versions WHERE bucket = ?1 AND key = ?2)",
            )?
            .execute([bucket.name.as_str(), key])?;
    }
    Ok(Removed {
        marker: version.marker,
        id: Some(version.id),
    })
}

/// Replaces the metadata of a version.
pub(super) fn set_details(transaction: &Transaction<'_>, version: &Version) -> ApiResult<()> {
    let details = serde_json::to_string(&version.details).map_err(ApiError::internal)?;
    transaction
        .prepare_cached("UPDATE s3_versions SET details = ?2 WHERE sequence = ?1")?
        .execute(params![version.sequence, details])?;
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::store::Store;

    pub(in crate::s3) fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), [crate::s3::SERVICE.tables]).unwrap();
        (directory, store)
    }

    pub(in crate::s3) fn bucket(versioning: Versioning) -> Bucket {
        Bucket {
            name: "b".to_owned(),
            created: 0,
            region: "us-east-1".to_owned(),
            versioning,
            sse: "AES256".to_owned(),
            kms_key: None,
        }
    }

    pub(in crate::s3) fn object(key: &str, etag: &str) -> NewVersion {
        NewVersion {
            key: key.to_owned(),
            size: 1,
            etag: etag.to_owned(),
            sha256: String::new(),
            details: Details::default(),
        }
    }

    fn put(store: &Store, versioning: Versioning, etag: &str) -> Version {
        store
            .transaction(|t| {
                add(
                    t,
                    &bucket(versioning),
                    object("k", etag),
                    &WriteCondition::default(),
                )
            })
            .unwrap()
    }

    fn etag(store: &Store) -> Option<String> {
        store
            .transaction(|t| current(t, "b", "k"))
            .unwrap()
            .filter(|version| !version.marker)
            .map(|version| version.etag)
    }

    #[test]
    fn a_delete_marker_hides_and_its_removal_restores() {
        let (_directory, store) = store();
        let versioned = bucket(Versioning::Enabled);
        put(&store, Versioning::Enabled, "1");
        let second = put(&store, Versioning::Enabled, "2");
        let marker = store
            .transaction(|t| remove(t, &versioned, "k", &WriteCondition::default()))
            .unwrap();
        assert!(marker.marker);
        assert_eq!(etag(&store), None);
        let removed = store
            .transaction(|t| remove_version(t, &versioned, "k", &marker.id.unwrap()))
            .unwrap();
        assert!(removed.marker);
        assert_eq!(etag(&store).as_deref(), Some("2"));
        store
            .transaction(|t| remove_version(t, &versioned, "k", &second.id))
            .unwrap();
        assert_eq!(etag(&store).as_deref(), Some("1"));
    }

    #[test]
    fn suspended_versioning_overwrites_the_null_version_only() {
        let (_directory, store) = store();
        put(&store, Versioning::Off, "old null");
        let kept = put(&store, Versioning::Enabled, "kept");
        let null = put(&store, Versioning::Suspended, "new null");
        assert_eq!(null.id, NULL);
        assert_eq!(etag(&store).as_deref(), Some("new null"));
        let suspended = bucket(Versioning::Suspended);
        let marker = store
            .transaction(|t| remove(t, &suspended, "k", &WriteCondition::default()))
            .unwrap();
        assert_eq!(marker.id.as_deref(), Some(NULL));
        assert_eq!(etag(&store), None);
        store
            .transaction(|t| remove_version(t, &suspended, "k", NULL))
            .unwrap();
        assert_eq!(etag(&store).as_deref(), Some("kept"));
        let found = store.transaction(|t| by_id(t, "b", "k", &kept.id)).unwrap();
        assert!(found.unwrap().latest);
    }

    #[test]
    fn conditions_decide_before_anything_is_written() {
        let (_directory, store) = store();
        let plain = bucket(Versioning::Off);
        let attempt = |condition: WriteCondition, etag: &str| {
            store.transaction(|t| add(t, &plain, object("k", etag), &condition))
        };
        let absent = || WriteCondition {
            absent: true,
            etag: None,
        };
        let matching = |etag: &str| WriteCondition {
            absent: false,
            etag: Some(etag.to_owned()),
        };
        assert_eq!(attempt(matching("1"), "x").unwrap_err().code, "NoSuchKey");
        attempt(absent(), "1").unwrap();
        assert_eq!(attempt(absent(), "2").unwrap_err().status, 412);
        assert_eq!(attempt(matching("2"), "3").unwrap_err().status, 412);
        attempt(matching("1"), "4").unwrap();
        assert_eq!(etag(&store).as_deref(), Some("4"));
    }
}
