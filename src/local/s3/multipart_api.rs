//! The operations on multipart uploads.

use std::io::{Read, Seek};

use md5::{Digest, Md5};
use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result};

use super::bucket_api::owner;
use super::checksums::{self, Algorithm, Checksums};
use super::multipart::{self, Part as Uploaded, PartData, Upload};
use super::receive::{self, Promise, Received, Writer};
use super::transfer::{details, refuse_customer_key, shown_id, source};
use super::versions::{self, Condition, New, PartSize};
use super::{buckets, listing, reading, transfer, wire};
use crate::local::Cloud;
use crate::local::api::{ApiError, ApiResult};

/// Every part but the last has at least this size.
const MIN_PART: u64 = 5 << 20;

/// The highest part number.
const MAX_PARTS: i32 = 10_000;

pub(super) async fn create(
    cloud: &Cloud,
    request: S3Request<CreateMultipartUploadInput>,
) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
    let input = request.input;
    refuse_customer_key(input.sse_customer_algorithm.as_ref())?;
    let algorithm = match &input.checksum_algorithm {
        Some(name) => Algorithm::parse(name.as_str())?,
        None => Algorithm::Crc64nvme,
    };
    let composite = match input.checksum_type.as_ref().map(ChecksumType::as_str) {
        Some(asked) => asked == ChecksumType::COMPOSITE,
        None => algorithm != Algorithm::Crc64nvme,
    };
    let possible = match algorithm {
        Algorithm::Crc32 | Algorithm::Crc32c => true,
        Algorithm::Crc64nvme => !composite,
        Algorithm::Sha1 | Algorithm::Sha256 => composite,
    };
    if !possible {
        return Err(ApiError::new(
            "InvalidRequest",
            format!(
                "The {} checksum type cannot be used with the {} checksum algorithm.",
                if composite {
                    "COMPOSITE"
                } else {
                    "FULL_OBJECT"
                },
                algorithm.name()
            ),
        )
        .into());
    }
    let mut details = details!(input);
    details
        .content_type
        .get_or_insert_with(|| "binary/octet-stream".to_owned());
    let upload = cloud.store().transaction(|transaction| {
        let bucket = buckets::find(transaction, &input.bucket)?;
        transfer::encrypt(&mut details, &bucket);
        let upload = Upload {
            id: uuid::Uuid::new_v4().simple().to_string(),
            bucket: bucket.name,
            key: input.key.clone(),
            initiated: wire::now(),
            algorithm,
            composite,
            details,
        };
        multipart::start(transaction, &upload)?;
        Ok(upload)
    })?;
    Ok(S3Response::new(CreateMultipartUploadOutput {
        bucket: Some(upload.bucket),
        checksum_algorithm: input.checksum_algorithm,
        checksum_type: Some(checksum_type(composite)),
        key: Some(upload.key),
        server_side_encryption: upload.details.sse.map(ServerSideEncryption::from),
        ssekms_key_id: upload.details.kms_key,
        upload_id: Some(upload.id),
        ..CreateMultipartUploadOutput::default()
    }))
}

fn checksum_type(composite: bool) -> ChecksumType {
    ChecksumType::from_static(if composite {
        ChecksumType::COMPOSITE
    } else {
        ChecksumType::FULL_OBJECT
    })
}

fn check_number(number: i32) -> ApiResult<()> {
    if (1..=MAX_PARTS).contains(&number) {
        return Ok(());
    }
    Err(ApiError::new(
        "InvalidArgument",
        "Part number must be an integer between 1 and 10000, inclusive",
    ))
}

fn find(cloud: &Cloud, bucket: &str, key: &str, id: &str) -> ApiResult<Upload> {
    cloud.store().transaction(|transaction| {
        buckets::find(transaction, bucket)?;
        multipart::find(transaction, bucket, key, id)
    })
}

/// Keeps a received part.
async fn keep(
    cloud: &Cloud,
    upload: &Upload,
    number: i32,
    received: Received,
) -> ApiResult<Uploaded> {
    let (cloud, upload) = (cloud.clone(), upload.clone());
    receive::blocking(move || {
        let file = multipart::keep_file(&cloud, &upload.id, number, received.file)?;
        let data = PartData {
            size: received.size,
            md5: received.md5,
            checksums: received.checksums,
        };
        let part = multipart::new_part(number, file, data);
        let old = cloud.store().transaction(|transaction| {
            // It may have been completed or aborted meanwhile.
            multipart::find(transaction, &upload.bucket, &upload.key, &upload.id)?;
            multipart::keep_part(transaction, &upload.id, &part)
        });
        match old {
            Ok(Some(old)) => {
                drop(std::fs::remove_file(multipart::path(
                    &cloud, &upload.id, &old,
                )));
                Ok(part)
            }
            Ok(None) => Ok(part),
            Err(error) => {
                drop(std::fs::remove_file(multipart::path(
                    &cloud, &upload.id, &part.file,
                )));
                Err(error)
            }
        }
    })
    .await
}

pub(super) async fn upload(
    cloud: &Cloud,
    mut request: S3Request<UploadPartInput>,
) -> S3Result<S3Response<UploadPartOutput>> {
    let body = request.input.body.take();
    let input = &request.input;
    check_number(input.part_number)?;
    let upload = find(cloud, &input.bucket, &input.key, &input.upload_id)?;
    let promise = Promise::new(
        &request,
        checksums::sent!(input),
        input
            .checksum_algorithm
            .as_ref()
            .map(ChecksumAlgorithm::as_str),
        input.content_length,
        input.content_md5.clone(),
        upload.algorithm,
    )?;
    if !promise.computes(upload.algorithm) {
        return Err(ApiError::new(
            "InvalidRequest",
            format!(
                "Checksum Type mismatch occurred, expected checksum Type: {}",
                upload.algorithm.name().to_ascii_lowercase()
            ),
        )
        .into());
    }
    let received = receive::receive(cloud, body, &promise).await?;
    let part = keep(cloud, &upload, input.part_number, received).await?;
    let mut output = UploadPartOutput {
        e_tag: Some(ETag::Strong(part.etag)),
        server_side_encryption: upload.details.sse.map(ServerSideEncryption::from),
        ssekms_key_id: upload.details.kms_key,
        ..UploadPartOutput::default()
    };
    checksums::show!(output, &part.checksums);
    Ok(S3Response::new(output))
}

pub(super) async fn upload_copy(
    cloud: &Cloud,
    request: S3Request<UploadPartCopyInput>,
) -> S3Result<S3Response<UploadPartCopyOutput>> {
    let input = request.input;
    check_number(input.part_number)?;
    let upload = find(cloud, &input.bucket, &input.key, &input.upload_id)?;
    let (from, key, id) = source(&input.copy_source)?;
    let (from, found) = reading::find(cloud, &from, &key, id.as_deref())?;
    let conditions = reading::Conditions {
        if_match: input.copy_source_if_match.as_ref(),
        if_none_match: input.copy_source_if_none_match.as_ref(),
        if_modified_since: input
            .copy_source_if_modified_since
            .as_ref()
            .map(wire::seconds),
        if_unmodified_since: input
            .copy_source_if_unmodified_since
            .as_ref()
            .map(wire::seconds),
    };
    if conditions.check(&found).is_err() {
        return Err(versions::precondition_failed().into());
    }
    let (start, length) = match &input.copy_source_range {
        None => (0, found.size),
        Some(text) => Range::parse(text)
            .ok()
            .and_then(|range| match range {
                // Unlike GetObject, the last byte must exist.
                Range::Int {
                    last: Some(last), ..
                } if last >= found.size => None,
                range => range.check(found.size).ok(),
            })
            .map(|range| (range.start, range.end - range.start))
            .ok_or_else(|| {
                ApiError::new(
                    "InvalidArgument",
                    "The x-amz-copy-source-range value must be of the form bytes=first-last where \
                     first and last are the zero-based offsets of the first and last bytes to copy",
                )
            })?,
    };
    let path = cloud.blobs().path(&found.sha256);
    let (worker, algorithm) = (cloud.clone(), upload.algorithm);
    let received = receive::blocking(move || {
        let mut file = std::fs::File::open(path)?;
        file.seek(std::io::SeekFrom::Start(start))?;
        let mut writer = Writer::new([algorithm].into());
        writer.append(&worker, &mut file.take(length))?;
        writer.finish(&worker)
    })
    .await?;
    let part = keep(cloud, &upload, input.part_number, received).await?;
    let mut result = CopyPartResult {
        e_tag: Some(ETag::Strong(part.etag)),
        last_modified: Some(wire::timestamp(part.modified)),
        ..CopyPartResult::default()
    };
    checksums::show!(result, &part.checksums);
    Ok(S3Response::new(UploadPartCopyOutput {
        copy_part_result: Some(result),
        copy_source_version_id: shown_id(&from, &found),
        server_side_encryption: upload.details.sse.map(ServerSideEncryption::from),
        ..UploadPartCopyOutput::default()
    }))
}

/// The uploaded parts that a completion names, checked.
fn chosen(
    upload: &Upload,
    uploaded: &[Uploaded],
    named: Vec<CompletedPart>,
) -> ApiResult<Vec<Uploaded>> {
    if named.is_empty() {
        return Err(ApiError::new(
            "MalformedXML",
            "You must specify at least one part",
        ));
    }
    let invalid = || {
        ApiError::new(
            "InvalidPart",
            "One or more of the specified parts could not be found.  The part may not have been \
             uploaded, or the specified entity tag may not match the part's entity tag.",
        )
    };
    let mut parts: Vec<Uploaded> = Vec::with_capacity(named.len());
    for part in named {
        let number = part.part_number.ok_or_else(invalid)?;
        if parts.last().is_some_and(|last| last.number >= number) {
            return Err(ApiError::new(
                "InvalidPartOrder",
                "The list of parts was not in ascending order. Parts must be ordered by part \
                 number.",
            ));
        }
        let found = uploaded
            .iter()
            .find(|uploaded| uploaded.number == number)
            .ok_or_else(invalid)?;
        let etag = part.e_tag.as_ref().map(|etag| etag.value().to_owned());
        if etag.is_some_and(|etag| etag != found.etag) {
            return Err(invalid());
        }
        let sent: Checksums = checksums::sent!(part);
        if let Some(value) = sent.get(&upload.algorithm)
            && found.checksums.get(&upload.algorithm) != Some(value)
        {
            return Err(invalid());
        }
        parts.push(found.clone());
    }
    if let Some((_last, others)) = parts.split_last()
        && others.iter().any(|part| part.size < MIN_PART)
    {
        return Err(ApiError::new(
            "EntityTooSmall",
            "Your proposed upload is smaller than the minimum allowed size",
        ));
    }
    Ok(parts)
}

/// Joins the parts' bytes and hashes the whole.
fn join(cloud: &Cloud, upload: &Upload, parts: &[Uploaded]) -> ApiResult<Received> {
    let mut writer = Writer::new([upload.algorithm].into());
    for part in parts {
        let path = multipart::path(cloud, &upload.id, &part.file);
        writer.append(cloud, &mut std::fs::File::open(path)?)?;
    }
    writer.finish(cloud)
}

/// The `ETag` of a multipart object: the MD5 of the parts' MD5s, and their number.
fn etag(parts: &[Uploaded]) -> String {
    let mut md5 = Md5::new();
    for part in parts {
        md5.update(hex::decode(&part.etag).unwrap_or_default());
    }
    format!("{}-{}", hex::encode(md5.finalize()), parts.len())
}

pub(super) async fn complete(
    cloud: &Cloud,
    request: S3Request<CompleteMultipartUploadInput>,
) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
    let input = request.input;
    let condition = Condition::new(input.if_match.as_ref(), input.if_none_match.as_ref())?;
    let (name, key) = (input.bucket.clone(), input.key.clone());
    let (upload, uploaded) = cloud.store().transaction(|transaction| {
        buckets::find(transaction, &name)?;
        let upload = multipart::find(transaction, &name, &key, &input.upload_id)?;
        let parts = multipart::parts(transaction, &upload.id)?;
        Ok((upload, parts))
    })?;
    let sent: Checksums = checksums::sent!(input);
    let named = input.multipart_upload.and_then(|upload| upload.parts);
    let parts = chosen(&upload, &uploaded, named.unwrap_or_default())?;
    let size: u64 = parts.iter().map(|part| part.size).sum();
    if let Some(promised) = input.mpu_object_size
        && u64::try_from(promised) != Ok(size)
    {
        return Err(ApiError::new(
            "InvalidRequest",
            "The provided 'x-amz-mp-object-size' header does not match what was computed.",
        )
        .into());
    }
    let cloud = cloud.clone();
    let (bucket, version) = receive::blocking(move || {
        let received = join(&cloud, &upload, &parts)?;
        let shown = if upload.composite {
            let of_parts: Vec<String> = parts
                .iter()
                .filter_map(|part| part.checksums.get(&upload.algorithm).cloned())
                .collect();
            let value = checksums::composite(upload.algorithm, &of_parts)?;
            Checksums::from([(upload.algorithm, value)])
        } else {
            received.checksums.clone()
        };
        if let Some(value) = sent.get(&upload.algorithm) {
            // A client may leave out the number of parts of a composite checksum.
            let full = shown.get(&upload.algorithm).map_or("", String::as_str);
            let bare = full.split_once('-').map_or(full, |(bare, _)| bare);
            if value != full && value != bare {
                return Err(ApiError::new(
                    "BadDigest",
                    format!(
                        "The {} you specified did not match the calculated checksum.",
                        upload.algorithm.name()
                    ),
                ));
            }
        }
        let mut details = upload.details.clone();
        details.checksums = shown;
        details.composite = upload.composite;
        details.whole = received.checksums;
        details.md5 = Some(received.md5);
        details.parts = parts
            .iter()
            .map(|part| PartSize {
                number: part.number,
                size: part.size,
                checksums: part.checksums.clone(),
            })
            .collect();
        cloud.blobs().adopt(received.file, &received.sha256)?;
        let outcome = cloud.store().transaction(|transaction| {
            let bucket = buckets::find(transaction, &upload.bucket)?;
            // Two completions of one upload: the second finds nothing.
            multipart::find(transaction, &upload.bucket, &upload.key, &upload.id)?;
            let new = New {
                key: upload.key.clone(),
                size: received.size,
                etag: etag(&parts),
                sha256: received.sha256,
                details,
            };
            let version = versions::add(transaction, &bucket, new, &condition)?;
            multipart::forget(transaction, &upload.id)?;
            Ok((bucket, version))
        })?;
        multipart::remove_files(&cloud, &[upload.id]);
        Ok(outcome)
    })
    .await?;
    let mut output = CompleteMultipartUploadOutput {
        location: Some(format!(
            "/{}/{}",
            bucket.name,
            listing::encode(key.clone(), true)
        )),
        key: Some(key),
        checksum_type: Some(checksum_type(version.details.composite)),
        e_tag: Some(ETag::Strong(version.etag.clone())),
        server_side_encryption: version.details.sse.clone().map(ServerSideEncryption::from),
        ssekms_key_id: version.details.kms_key.clone(),
        version_id: shown_id(&bucket, &version),
        ..CompleteMultipartUploadOutput::default()
    };
    output.bucket = Some(bucket.name);
    checksums::show!(output, &version.details.checksums);
    Ok(S3Response::new(output))
}

pub(super) async fn abort(
    cloud: &Cloud,
    request: S3Request<AbortMultipartUploadInput>,
) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
    let input = request.input;
    let id = cloud.store().transaction(|transaction| {
        buckets::find(transaction, &input.bucket)?;
        let upload = multipart::find(transaction, &input.bucket, &input.key, &input.upload_id)?;
        multipart::forget(transaction, &upload.id)?;
        Ok(upload.id)
    })?;
    multipart::remove_files(cloud, &[id]);
    Ok(S3Response::with_status(
        AbortMultipartUploadOutput::default(),
        http::StatusCode::NO_CONTENT,
    ))
}

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
        checksum_algorithm: Some(ChecksumAlgorithm::from_static(upload.algorithm.name())),
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
            checksum_algorithm: Some(ChecksumAlgorithm::from_static(upload.algorithm.name())),
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
