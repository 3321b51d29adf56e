//! Multipart uploads in progress: records, and one file per part in `uploads/ID/` of the state
//! directory.

use std::collections::BTreeSet;
use std::path::PathBuf;

use rusqlite::{OptionalExtension, Row, Transaction, params};
use tempfile::NamedTempFile;

use super::checksums::{Algorithm, Checksums};
use super::versions::Details;
use super::wire;
use crate::Cloud;
use crate::api::{ApiError, ApiResult};

/// An upload in progress.
#[derive(Debug, Clone)]
pub(super) struct Upload {
    pub(super) id: String,
    pub(super) bucket: String,
    pub(super) key: String,
    /// Seconds since the epoch.
    pub(super) initiated: i64,
    /// The checksum algorithm that the upload was created with.
    pub(super) named: Option<Algorithm>,
    /// True if the object's checksum is computed from those of its parts.
    pub(super) composite: bool,
    pub(super) details: Details,
}

/// The algorithm of an upload that names none; its checksum covers the full object.
pub(super) const DEFAULT_ALGORITHM: Algorithm = Algorithm::Crc64nvme;

impl Upload {
    /// The algorithm of the object's checksum.
    pub(super) fn algorithm(&self) -> Algorithm {
        self.named.unwrap_or(DEFAULT_ALGORITHM)
    }
}

/// An uploaded part.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) number: i32,
    /// The name of its file.
    pub(super) file: String,
    pub(super) size: u64,
    /// The MD5, hex.
    pub(super) etag: String,
    pub(super) checksums: Checksums,
    /// Seconds since the epoch.
    pub(super) modified: i64,
}

fn invalid_column(index: usize, error: serde_json::Error) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Text, Box::new(error))
}

fn upload_from_row(row: &Row<'_>) -> rusqlite::Result<Upload> {
    let algorithm: String = row.get(4)?;
    let details: String = row.get(6)?;
    Ok(Upload {
        id: row.get(0)?,
        bucket: row.get(1)?,
        key: row.get(2)?,
        initiated: row.get(3)?,
        named: Algorithm::parse(&algorithm).ok(),
        composite: row.get(5)?,
        details: serde_json::from_str(&details).map_err(|error| invalid_column(6, error))?,
    })
}

/// Starts an upload.
pub(super) fn start(transaction: &Transaction<'_>, upload: &Upload) -> ApiResult<()> {
    let details = serde_json::to_string(&upload.details).map_err(ApiError::internal)?;
    transaction.execute(
        "INSERT INTO s3_uploads VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            upload.id,
            upload.bucket,
            upload.key,
            upload.initiated,
            upload.named.map_or("", Algorithm::name),
            upload.composite,
            details
        ],
    )?;
    Ok(())
}

/// Finds an upload; fails with `NoSuchUpload`.
pub(super) fn find(
    transaction: &Transaction<'_>,
    bucket: &str,
    key: &str,
    id: &str,
) -> ApiResult<Upload> {
    transaction
        .prepare_cached("SELECT * FROM s3_uploads WHERE id = ?1 AND bucket = ?2 AND key = ?3")?
        .query_row([id, bucket, key], upload_from_row)
        .optional()?
        .ok_or_else(|| {
            ApiError::not_found(
                "NoSuchUpload",
                "The specified upload does not exist. The upload ID may be invalid, or the upload \
                 may have been aborted or completed.",
            )
            .status(404)
        })
}

/// The uploads of a bucket under a prefix, ordered by key, then by age.
pub(super) fn all(
    transaction: &Transaction<'_>,
    bucket: &str,
    prefix: &str,
) -> ApiResult<Vec<Upload>> {
    let mut statement = transaction.prepare_cached(
        "SELECT * FROM s3_uploads WHERE bucket = ?1 AND substr(key, 1, length(?2)) = ?2
         ORDER BY key, initiated, id",
    )?;
    let found = statement
        .query_map([bucket, prefix], upload_from_row)?
        .collect::<Result<_, _>>()?;
    Ok(found)
}

/// Records a part and returns the file of the part that it replaces, if any.
pub(super) fn put_part(
    transaction: &Transaction<'_>,
    upload: &str,
    part: &Part,
) -> ApiResult<Option<String>> {
    let old = transaction
        .prepare_cached("SELECT file FROM s3_parts WHERE upload = ?1 AND number = ?2")?
        .query_row(params![upload, part.number], |row| row.get(0))
        .optional()?;
    let checksums = serde_json::to_string(&part.checksums).map_err(ApiError::internal)?;
    transaction
        .prepare_cached("INSERT OR REPLACE INTO s3_parts VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
        .execute(params![
            upload,
            part.number,
            part.file,
            i64::try_from(part.size).map_err(ApiError::internal)?,
            part.etag,
            checksums,
            part.modified
        ])?;
    Ok(old)
}

/// The parts of an upload, in order.
pub(super) fn parts(transaction: &Transaction<'_>, upload: &str) -> ApiResult<Vec<Part>> {
    let mut statement = transaction.prepare_cached(
        "SELECT number, file, size, etag, checksums, modified FROM s3_parts WHERE upload = ?1
         ORDER BY number",
    )?;
    let found = statement
        .query_map([upload], |row| {
            let checksums: String = row.get(4)?;
            Ok(Part {
                number: row.get(0)?,
                file: row.get(1)?,
                size: u64::try_from(row.get::<_, i64>(2)?).unwrap_or_default(),
                etag: row.get(3)?,
                checksums: serde_json::from_str(&checksums)
                    .map_err(|error| invalid_column(4, error))?,
                modified: row.get(5)?,
            })
        })?
        .collect::<Result<_, _>>()?;
    Ok(found)
}

/// Removes the records of an upload and its parts.
pub(super) fn remove(transaction: &Transaction<'_>, id: &str) -> ApiResult<()> {
    transaction.execute("DELETE FROM s3_parts WHERE upload = ?1", [id])?;
    transaction.execute("DELETE FROM s3_uploads WHERE id = ?1", [id])?;
    Ok(())
}

/// Removes the records of all uploads of a bucket and returns their ids, for [`remove_files`].
pub(super) fn remove_all(transaction: &Transaction<'_>, bucket: &str) -> ApiResult<Vec<String>> {
    let ids: Vec<String> = all(transaction, bucket, "")?
        .into_iter()
        .map(|upload| upload.id)
        .collect();
    for id in &ids {
        remove(transaction, id)?;
    }
    Ok(ids)
}

/// The path of a part. `id` and `file` are names that this module generated.
pub(super) fn path(cloud: &Cloud, id: &str, file: &str) -> PathBuf {
    cloud.directory().join("uploads").join(id).join(file)
}

/// Moves a part's bytes into place and returns the name of their file.
pub(super) fn store_part_file(
    cloud: &Cloud,
    id: &str,
    number: i32,
    file: NamedTempFile,
) -> ApiResult<String> {
    let name = format!("{number}-{}", uuid::Uuid::new_v4().simple());
    let path = path(cloud, id, &name);
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    file.persist(&path)
        .map_err(|error| ApiError::from(error.error))?;
    Ok(name)
}

/// Removes files without a record, which an earlier server left. Only for the start of a server,
/// when no upload is in progress.
pub(super) fn remove_orphaned_parts(cloud: &Cloud) -> ApiResult<()> {
    let known: BTreeSet<PathBuf> = cloud.store().transaction(|transaction| {
        let mut statement = transaction.prepare("SELECT upload, file FROM s3_parts")?;
        let found = statement.query_map([], |row| {
            let (id, file): (String, String) = (row.get(0)?, row.get(1)?);
            Ok(path(cloud, &id, &file))
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    })?;
    let uploads = std::fs::read_dir(cloud.directory().join("uploads"));
    for upload in uploads.into_iter().flatten().flatten() {
        for part in std::fs::read_dir(upload.path())
            .into_iter()
            .flatten()
            .flatten()
        {
            if !known.contains(&part.path()) {
                // A file that remains costs disk space, nothing else.
                drop(std::fs::remove_file(part.path()));
            }
        }
        // Fails if parts remain, as intended.
        drop(std::fs::remove_dir(upload.path()));
    }
    Ok(())
}

/// Removes the files of uploads whose records are gone. A file that remains costs disk space,
/// nothing else.
pub(super) fn remove_files(cloud: &Cloud, ids: &[String]) {
    for id in ids {
        let directory = cloud.directory().join("uploads").join(id);
        drop(std::fs::remove_dir_all(directory));
    }
}

/// The record of a part that was just received.
pub(super) fn new_part(number: i32, file: String, received: PartData) -> Part {
    Part {
        number,
        file,
        size: received.size,
        etag: received.md5,
        checksums: received.checksums,
        modified: wire::now(),
    }
}

/// Size and hashes of a part.
pub(super) struct PartData {
    pub(super) size: u64,
    /// Hex.
    pub(super) md5: String,
    pub(super) checksums: Checksums,
}
