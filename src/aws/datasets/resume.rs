//! Finds what an interrupted push left in the bucket: objects that no manifest references yet, and
//! unfinished uploads. S3 is the only source; nothing is stored on this machine.

use std::collections::BTreeMap;

use anyhow::Result;
use aws_sdk_s3::Client;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumMode, ChecksumType, EncodingType};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::reading::{Digests, crc64_text};
use crate::aws::s3::{self, S3Uri};
use crate::aws::{AwsResultExt, Expected, Missing};

/// An unfinished upload.
#[derive(Debug, Clone)]
pub(super) struct UnfinishedUpload {
    pub(super) id: String,
    /// Its parts by number.
    pub(super) parts: BTreeMap<i32, UploadedPart>,
}

/// A part that S3 already has.
#[derive(Debug, Clone)]
pub(super) struct UploadedPart {
    pub(super) size: u64,
    /// Base64.
    pub(super) crc64: String,
    pub(super) etag: Option<String>,
}

/// Returns the current objects under a prefix that were written at or after a time (seconds): size
/// by key.
pub(super) async fn objects(
    client: &Client,
    prefix: &S3Uri,
    since: i64,
) -> Result<BTreeMap<String, u64>> {
    Ok(s3::list(client, prefix)
        .await?
        .into_iter()
        .filter(|object| {
            object
                .last_modified
                .is_none_or(|modified| modified.secs() >= since)
        })
        .filter_map(|object| Some((object.key?, u64::try_from(object.size?).ok()?)))
        .collect())
}

/// Returns the version id of the current object, if S3's own checksum matches this content.
pub(super) async fn current(
    client: &Client,
    uri: &S3Uri,
    size: u64,
    digests: &Digests,
) -> Result<Option<String>> {
    let crc64 = crc64_text(digests.crc64);
    matching(client, uri, size, |sha256, crc| {
        sha256 == Some(&STANDARD.encode(digests.sha256)) || crc == Some(&crc64)
    })
    .await
}

/// Like [`current`], for an object that was uploaded in one request.
pub(super) async fn current_single(
    client: &Client,
    uri: &S3Uri,
    size: u64,
    sha256: &[u8; 32],
) -> Result<Option<String>> {
    matching(client, uri, size, |found, _crc| {
        found == Some(&STANDARD.encode(sha256))
    })
    .await
}

async fn matching(
    client: &Client,
    uri: &S3Uri,
    size: u64,
    same: impl Fn(Option<&String>, Option<&String>) -> bool,
) -> Result<Option<String>> {
    let answered = client
        .head_object()
        .bucket(&uri.bucket)
        .key(&uri.key)
        .checksum_mode(ChecksumMode::Enabled)
        .send()
        .await;
    // Damaged objects are uploaded again.
    if s3::is_damaged(&answered) {
        return Ok(None);
    }
    let found = answered
        // A HEAD response has no body to name the error: a missing key is `NotFound`.
        .aws_if_found(
            format!("cannot read the metadata of {uri}"),
            Missing::Object,
        )?;
    Ok(found
        .filter(|found| {
            let whole = found.checksum_type != Some(ChecksumType::Composite);
            let length = found.content_length.and_then(|n| u64::try_from(n).ok());
            whole
                && length == Some(size)
                && same(
                    found.checksum_sha256.as_ref(),
                    found.checksum_crc64_nvme.as_ref(),
                )
        })
        .and_then(|found| found.version_id)
        .filter(|id| id != "null"))
}

/// Lists the unfinished uploads below a prefix whose parts can be compared with a file's: ids by
/// key, newest first. Returns `None` if these credentials may not list them.
pub(super) async fn uploads(
    client: &Client,
    prefix: &S3Uri,
) -> Result<BTreeMap<String, Vec<String>>> {
    let (mut key_marker, mut id_marker) = (None, None);
    let mut found: BTreeMap<String, Vec<(i64, String)>> = BTreeMap::new();
    // The SDK has no paginator for ListMultipartUploads.
    loop {
        let page = client
            .list_multipart_uploads()
            .bucket(&prefix.bucket)
            .prefix(&prefix.key)
            .encoding_type(EncodingType::Url)
            .set_key_marker(key_marker)
            .set_upload_id_marker(id_marker)
            .send()
            .await
            .aws_unless(
                format!("cannot list the unfinished uploads of {prefix}"),
                &[Expected::AccessDenied, Expected::NotImplemented],
            )?;
        let Some(page) = page else {
            return Ok(BTreeMap::new());
        };
        for upload in page.uploads.unwrap_or_default() {
            if upload.checksum_algorithm == Some(ChecksumAlgorithm::Crc64Nvme)
                && upload.checksum_type == Some(ChecksumType::FullObject)
                && let (Some(key), Some(id)) = (upload.key, upload.upload_id)
            {
                let initiated = upload.initiated.map_or(0, |time| time.secs());
                let uploads = found.entry(s3::decode(&key)).or_default();
                uploads.push((initiated, id));
            }
        }
        if page.is_truncated != Some(true) {
            break;
        }
        key_marker = page.next_key_marker.map(|key| s3::decode(&key));
        id_marker = page.next_upload_id_marker;
    }
    Ok(found
        .into_iter()
        .map(|(key, mut uploads)| {
            uploads.sort_by(|a, b| b.cmp(a));
            (key, uploads.into_iter().map(|(_time, id)| id).collect())
        })
        .collect())
}

/// Returns the newest of these uploads that has a part with a checksum.
pub(super) async fn unfinished(
    client: &Client,
    uri: &S3Uri,
    ids: &[String],
) -> Result<Option<UnfinishedUpload>> {
    // Older uploads belong to abandoned pushes.
    for id in ids.iter().take(3) {
        let parts = parts(client, uri, id).await?;
        if !parts.is_empty() {
            let id = id.clone();
            return Ok(Some(UnfinishedUpload { id, parts }));
        }
    }
    Ok(None)
}

async fn parts(client: &Client, uri: &S3Uri, id: &str) -> Result<BTreeMap<i32, UploadedPart>> {
    let mut pages = client
        .list_parts()
        .bucket(&uri.bucket)
        .key(&uri.key)
        .upload_id(id)
        .into_paginator()
        .send();
    let mut found = BTreeMap::new();
    while let Some(page) = pages.next().await {
        let page = page.aws_unless(
            format!("cannot list the parts of {uri}"),
            &[Expected::Missing(Missing::Upload), Expected::AccessDenied],
        )?;
        let Some(page) = page else {
            return Ok(BTreeMap::new());
        };
        for part in page.parts.unwrap_or_default() {
            if let (Some(number), Some(size), Some(crc64)) =
                (part.part_number, part.size, part.checksum_crc64_nvme)
            {
                let known = UploadedPart {
                    size: u64::try_from(size)?,
                    crc64,
                    etag: part.e_tag,
                };
                found.insert(number, known);
            }
        }
    }
    Ok(found)
}
