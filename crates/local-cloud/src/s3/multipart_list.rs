//! `ListParts` and `ListMultipartUploads`.

use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result};

use super::bucket_api::owner;
use super::multipart::{self, Upload};
use super::multipart_api::checksum_type;
use super::{buckets, checksums, listing, wire};
use crate::Cloud;
use crate::api::ApiError;

fn initiator() -> Initiator {
    let owner = owner();
    Initiator {
        display_name: owner.display_name,
        id: owner.id,
    }
}

fn storage_class(upload: &Upload) -> StorageClass {
    let class = upload.details.storage_class.clone();
    StorageClass::from(class.unwrap_or_else(|| "STANDARD".to_owned()))
}

pub(super) async fn list_parts(
    cloud: &Cloud,
    request: S3Request<ListPartsInput>,
) -> S3Result<S3Response<ListPartsOutput>> {
    let input = request.input;
    let marker = input.part_number_marker.unwrap_or(0);
    let max = input.max_parts.unwrap_or(1000).clamp(0, 1000);
    let (upload, mut parts) = cloud.store().transaction(|transaction| {
        buckets::find(transaction, &input.bucket)?;
        let upload = multipart::find(transaction, &input.bucket, &input.key, &input.upload_id)?;
        let parts = multipart::parts(transaction, &upload.id)?;
        Ok((upload, parts))
    })?;
    parts.retain(|part| part.number > marker);
    let count = usize::try_from(max).unwrap_or_default();
    let more = parts.len() > count;
    parts.truncate(count);
    let next = parts.last().map(|part| part.number);
    let shown = parts
        .into_iter()
        .map(|part| {
            let mut shown = Part {
                e_tag: Some(ETag::Strong(part.etag)),
                last_modified: Some(wire::timestamp(part.modified)),
                part_number: Some(part.number),
                size: i64::try_from(part.size).ok(),
                ..Part::default()
            };
            checksums::show!(shown, &part.checksums);
            shown
        })
        .collect();
    Ok(S3Response::new(ListPartsOutput {
        checksum_algorithm: Some(ChecksumAlgorithm::from_static(upload.algorithm().name())),
        checksum_type: Some(checksum_type(upload.composite)),
        storage_class: Some(storage_class(&upload)),
        bucket: Some(upload.bucket),
        initiator: Some(initiator()),
        is_truncated: Some(more),
        key: Some(upload.key),
        max_parts: Some(max),
        next_part_number_marker: next,
        owner: Some(owner()),
        part_number_marker: Some(marker),
        parts: Some(shown),
        upload_id: Some(upload.id),
        ..ListPartsOutput::default()
    }))
}

pub(super) async fn list(
    cloud: &Cloud,
    request: S3Request<ListMultipartUploadsInput>,
) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
    let input = request.input;
    if input.delimiter.as_deref().is_some_and(|d| !d.is_empty()) {
        return Err(ApiError::not_implemented("ListMultipartUploads with a delimiter").into());
    }
    let prefix = input.prefix.clone().unwrap_or_default();
    let mut found = cloud.store().transaction(|transaction| {
        buckets::find(transaction, &input.bucket)?;
        multipart::all(transaction, &input.bucket, &prefix)
    })?;
    if let Some(key) = input.key_marker.as_deref().filter(|key| !key.is_empty()) {
        let id = input
            .upload_id_marker
            .as_deref()
            .filter(|id| !id.is_empty());
        let seen = id.and_then(|id| {
            found
                .iter()
                .position(|upload| upload.key == key && upload.id == id)
        });
        match seen {
            Some(index) => drop(found.drain(..=index)),
            None => found.retain(|upload| upload.key.as_str() > key),
        }
    }
    let max = input.max_uploads.unwrap_or(1000).clamp(1, 1000);
    let count = usize::try_from(max).unwrap_or(1);
    let more = found.len() > count;
    found.truncate(count);
    let url = input
        .encoding_type
        .as_ref()
        .is_some_and(|encoding| encoding.as_str() == EncodingType::URL);
    let last = found.last().filter(|_| more).cloned();
    let uploads = found
        .into_iter()
        .map(|upload| MultipartUpload {
            checksum_algorithm: Some(ChecksumAlgorithm::from_static(upload.algorithm().name())),
            checksum_type: Some(checksum_type(upload.composite)),
            initiated: Some(wire::timestamp(upload.initiated)),
            initiator: Some(initiator()),
            storage_class: Some(storage_class(&upload)),
            key: Some(listing::encode(upload.key, url)),
            owner: Some(owner()),
            upload_id: Some(upload.id),
        })
        .collect();
    Ok(S3Response::new(ListMultipartUploadsOutput {
        bucket: Some(input.bucket),
        encoding_type: input.encoding_type,
        is_truncated: Some(more),
        key_marker: Some(input.key_marker.unwrap_or_default()),
        max_uploads: Some(max),
        next_key_marker: last
            .as_ref()
            .map(|upload| listing::encode(upload.key.clone(), url)),
        next_upload_id_marker: last.map(|upload| upload.id),
        prefix: Some(listing::encode(prefix, url)),
        upload_id_marker: input.upload_id_marker,
        uploads: Some(uploads),
        ..ListMultipartUploadsOutput::default()
    }))
}
