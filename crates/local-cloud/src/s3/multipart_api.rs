//! Operations on multipart uploads.

use std::io::Read;

use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result};

use super::checksums::{self, Algorithm, Checksums};
use super::multipart::{self, Part as Uploaded, PartData, Upload};
use super::receive::{self, ExpectedBody, Received, Writer};
use super::transfer::{details, source};
use super::versions::{self, shown_id};
use super::{buckets, encryption, reading, stored, wire};
use crate::Cloud;
use crate::api::{ApiError, ApiResult};

/// Maximum part number.
const MAX_PARTS: i32 = 10_000;

pub(super) async fn create(
    cloud: &Cloud,
    request: S3Request<CreateMultipartUploadInput>,
) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
    let input = request.input;
    encryption::refuse_customer_key(input.sse_customer_algorithm.as_ref())?;
    let named = match &input.checksum_algorithm {
        Some(name) => Some(Algorithm::parse(name.as_str())?),
        None if input.checksum_type.is_some() => {
            return Err(ApiError::new(
                "InvalidRequest",
                "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm \
                 header.",
            )
            .into());
        }
        None => None,
    };
    let algorithm = named.unwrap_or(multipart::DEFAULT_ALGORITHM);
    let composite = match input.checksum_type.as_ref().map(ChecksumType::as_str) {
        Some(requested) => requested == ChecksumType::COMPOSITE,
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
                checksum_type(composite).as_str(),
                algorithm.name().to_ascii_lowercase()
            ),
        )
        .into());
    }
    let mut details = details!(input);
    details
        .content_type
        .get_or_insert_with(|| "binary/octet-stream".to_owned());
    encryption::check(&details)?;
    let upload = cloud.store().transaction(|transaction| {
        let bucket = buckets::find(transaction, &input.bucket)?;
        encryption::apply_default(&mut details, &bucket);
        let upload = Upload {
            id: uuid::Uuid::new_v4().simple().to_string(),
            bucket: bucket.name,
            key: input.key.clone(),
            initiated: wire::now(),
            named,
            composite,
            details,
        };
        multipart::start(transaction, &upload)?;
        Ok(upload)
    })?;
    Ok(S3Response::new(CreateMultipartUploadOutput {
        bucket: Some(upload.bucket),
        checksum_algorithm: input.checksum_algorithm,
        checksum_type: named.map(|_| checksum_type(composite)),
        key: Some(upload.key),
        server_side_encryption: upload.details.sse.map(ServerSideEncryption::from),
        ssekms_key_id: upload.details.kms_key,
        upload_id: Some(upload.id),
        ..CreateMultipartUploadOutput::default()
    }))
}

pub(super) fn checksum_type(composite: bool) -> ChecksumType {
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

/// Stores a received part.
async fn store_part(
    cloud: &Cloud,
    upload: &Upload,
    number: i32,
    received: Received,
) -> ApiResult<Uploaded> {
    let (cloud, upload) = (cloud.clone(), upload.clone());
    receive::blocking(move || {
        let file = multipart::store_part_file(&cloud, &upload.id, number, received.file)?;
        let data = PartData {
            size: received.size,
            md5: received.md5,
            checksums: received.checksums,
        };
        let part = multipart::new_part(number, file, data);
        let old = cloud.store().transaction(|transaction| {
            // The upload may have been completed or aborted in the meantime.
            multipart::find(transaction, &upload.bucket, &upload.key, &upload.id)?;
            multipart::put_part(transaction, &upload.id, &part)
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
    let mut expected = ExpectedBody::new(
        &request,
        checksums::sent!(input),
        input
            .checksum_algorithm
            .as_ref()
            .map(ChecksumAlgorithm::as_str),
        input.content_length,
        input.content_md5.clone(),
        upload.algorithm(),
    )?;
    check_algorithm(&upload, &expected)?;
    let shown = expected.announced().cloned();
    expected.compute(upload.algorithm());
    let received = receive::receive(cloud, body, &expected).await?;
    let part = store_part(cloud, &upload, input.part_number, received).await?;
    let mut output = UploadPartOutput {
        e_tag: Some(ETag::Strong(part.etag)),
        server_side_encryption: upload.details.sse.map(ServerSideEncryption::from),
        ssekms_key_id: upload.details.kms_key,
        ..UploadPartOutput::default()
    };
    let mut shown_checksums: Checksums = part.checksums;
    if let Some(announced) = shown {
        shown_checksums.retain(|algorithm, _| announced.contains(algorithm));
    }
    checksums::show!(output, &shown_checksums);
    Ok(S3Response::new(output))
}

/// Fails if the checksum of a part has a different algorithm than the upload. An upload that names
/// none accepts any, because every SDK sends CRC32 with the parts by default. Parts of a composite
/// upload must have the checksum, because the checksum of the object is computed from them.
fn check_algorithm(upload: &Upload, expected: &ExpectedBody) -> ApiResult<()> {
    let Some(wanted) = upload.named else {
        return Ok(());
    };
    let actual = match expected.announced() {
        Some(announced) if announced.contains(&wanted) => return Ok(()),
        None if !upload.composite => return Ok(()),
        Some(announced) => announced.first().map(|algorithm| algorithm.name()),
        None => None,
    };
    Err(ApiError::new(
        "InvalidRequest",
        format!(
            "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
            wanted.name().to_ascii_lowercase(),
            actual.unwrap_or("null").to_ascii_lowercase()
        ),
    ))
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
    let conditions = reading::ReadConditions {
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
    let file = stored::open_at(cloud, &from.name, &found, start).await?;
    let (worker, algorithm) = (cloud.clone(), upload.algorithm());
    let received = receive::blocking(move || {
        let mut writer = Writer::new([algorithm].into());
        writer.append(&worker, &mut file.take(length))?;
        writer.finish(&worker)
    })
    .await?;
    let part = store_part(cloud, &upload, input.part_number, received).await?;
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
        ssekms_key_id: upload.details.kms_key,
        ..UploadPartCopyOutput::default()
    }))
}

pub(super) async fn abort(
    cloud: &Cloud,
    request: S3Request<AbortMultipartUploadInput>,
) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
    let input = request.input;
    let id = cloud.store().transaction(|transaction| {
        buckets::find(transaction, &input.bucket)?;
        let upload = multipart::find(transaction, &input.bucket, &input.key, &input.upload_id)?;
        multipart::remove(transaction, &upload.id)?;
        Ok(upload.id)
    })?;
    multipart::remove_files(cloud, &[id]);
    Ok(S3Response::with_status(
        AbortMultipartUploadOutput::default(),
        http::StatusCode::NO_CONTENT,
    ))
}
