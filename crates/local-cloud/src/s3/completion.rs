//! `CompleteMultipartUpload`.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Read};

use md5::{Digest, Md5};
use rusqlite::Transaction;
use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result};

use super::buckets::{self, Bucket};
use super::checksums::{self, Algorithm, Checksums};
use super::multipart::{self, Part as Uploaded, Upload};
use super::multipart_api::checksum_type;
use super::receive::{self, Received, Writer};
use super::versions::{self, NewVersion, PartSize, Version, WriteCondition, written_id};
use super::{announce, listing, stored};
use crate::Cloud;
use crate::api::{ApiError, ApiResult};

/// Minimum size of every part except the last, in bytes.
const MIN_PART: u64 = 5 << 20;

/// Selects and checks the uploaded parts that a completion names.
fn select_parts(
    upload: &Upload,
    uploaded: &[Uploaded],
    named: &[CompletedPart],
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
        // A checksum that was not computed for the part cannot match.
        if sent
            .iter()
            .any(|(algorithm, value)| found.checksums.get(algorithm) != Some(value))
        {
            return Err(invalid());
        }
        if upload.composite && sent.is_empty() {
            return Err(ApiError::new(
                "InvalidRequest",
                format!(
                    "The upload was created using a {} checksum. The complete request must include \
                     the checksum for each part. It was missing for part {number} in the request.",
                    upload.algorithm().name().to_ascii_lowercase()
                ),
            ));
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

/// Concatenates the parts and hashes the object. Each part is compared with its MD5, because it may
/// have been damaged since it was received.
fn assemble(
    cloud: &Cloud,
    upload: &Upload,
    parts: &[Uploaded],
    algorithms: BTreeSet<Algorithm>,
) -> ApiResult<Received> {
    let mut writer = Writer::new(algorithms);
    let mut buffer = vec![0; 1 << 18];
    for part in parts {
        let damaged = || {
            ApiError::new(
                stored::DAMAGED,
                format!(
                    "part {} of the upload of s3://{}/{} is damaged in the local cloud's state \
                     directory: upload it again",
                    part.number, upload.bucket, upload.key
                ),
            )
            .status(500)
        };
        let path = multipart::path(cloud, &upload.id, &part.file);
        let mut file = match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(damaged()),
            opened => opened?,
        };
        let mut md5 = Md5::new();
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                count => {
                    md5.update(&buffer[..count]);
                    writer.write_slice(cloud, &buffer[..count])?;
                }
            }
        }
        if hex::encode(md5.finalize()) != part.etag {
            return Err(damaged());
        }
    }
    writer.finish(cloud)
}

/// The `ETag` of a multipart object: the MD5 of the parts' MD5s, and the number of parts.
fn etag(parts: &[Uploaded]) -> String {
    let mut md5 = Md5::new();
    for part in parts {
        md5.update(hex::decode(&part.etag).unwrap_or_default());
    }
    format!("{}-{}", hex::encode(md5.finalize()), parts.len())
}

/// A `CompleteMultipartUpload` request.
struct Completion {
    id: String,
    bucket: String,
    key: String,
    parts: Vec<CompletedPart>,
    /// Checksums of the object that the client expects.
    sent: Checksums,
    checksum_type: Option<ChecksumType>,
    size: Option<i64>,
    condition: WriteCondition,
}

/// The version that the same completion created before: a client that lost the response sends its
/// request again.
fn find_completed(
    transaction: &Transaction<'_>,
    bucket: &Bucket,
    completion: &Completion,
) -> ApiResult<Option<Version>> {
    let found = versions::of_upload(transaction, &bucket.name, &completion.key, &completion.id)?;
    Ok(found.filter(|version| {
        let parts = &version.details.parts;
        parts.len() == completion.parts.len()
            && completion.parts.iter().zip(parts).all(|(named, part)| {
                let etag = named.e_tag.as_ref().map(ETag::value);
                named.part_number == Some(part.number)
                    && etag.is_none_or(|etag| part.etag.as_deref() == Some(etag))
            })
    }))
}

/// Fails if the completion names a different checksum type than the upload has.
fn check_type(upload: &Upload, completion: &Completion) -> ApiResult<()> {
    if let Some(kind) = &completion.checksum_type
        && *kind != checksum_type(upload.composite)
    {
        return Err(ApiError::new(
            "InvalidRequest",
            format!(
                "The upload was created using the {} checksum mode. The complete request must use \
                 the same checksum mode.",
                checksum_type(upload.composite).as_str()
            ),
        ));
    }
    Ok(())
}

/// Completes an upload; must not run on an async thread.
fn finish(cloud: &Cloud, completion: &Completion) -> ApiResult<(Bucket, Version)> {
    let found = cloud.store().transaction(|transaction| {
        let bucket = buckets::find(transaction, &completion.bucket)?;
        match multipart::find(
            transaction,
            &completion.bucket,
            &completion.key,
            &completion.id,
        ) {
            Ok(upload) => {
                let parts = multipart::parts(transaction, &upload.id)?;
                Ok(Err((upload, parts)))
            }
            Err(missing) => match find_completed(transaction, &bucket, completion)? {
                Some(version) => Ok(Ok((bucket, version))),
                None => Err(missing),
            },
        }
    })?;
    let (upload, uploaded) = match found {
        Ok(completed) => return Ok(completed),
        Err(found) => found,
    };
    check_type(&upload, completion)?;
    let parts = select_parts(&upload, &uploaded, &completion.parts)?;
    let size: u64 = parts.iter().map(|part| part.size).sum();
    if let Some(promised) = completion.size
        && u64::try_from(promised) != Ok(size)
    {
        return Err(ApiError::new(
            "InvalidRequest",
            "The provided 'x-amz-mp-object-size' header does not match what was computed.",
        ));
    }
    let mut algorithms = BTreeSet::from([upload.algorithm()]);
    if upload.named.is_none() {
        algorithms.extend(completion.sent.keys());
    }
    let received = assemble(cloud, &upload, &parts, algorithms)?;
    let computed = if upload.composite {
        let of_parts: Vec<String> = parts
            .iter()
            .filter_map(|part| part.checksums.get(&upload.algorithm()).cloned())
            .collect();
        let value = checksums::composite(upload.algorithm(), &of_parts)?;
        Checksums::from([(upload.algorithm(), value)])
    } else {
        received.checksums.clone()
    };
    check_object(&completion.sent, &computed)?;
    let mut details = upload.details.clone();
    details.checksums = computed;
    details
        .checksums
        .retain(|algorithm, _| *algorithm == upload.algorithm());
    details.composite = upload.composite;
    details.whole = received.checksums;
    details.md5 = Some(received.md5);
    details.upload = Some(upload.id.clone());
    details.parts = parts
        .iter()
        .map(|part| PartSize {
            number: part.number,
            size: part.size,
            checksums: part
                .checksums
                .iter()
                .filter(|(algorithm, _)| **algorithm == upload.algorithm())
                .map(|(algorithm, value)| (*algorithm, value.clone()))
                .collect(),
            etag: Some(part.etag.clone()),
        })
        .collect();
    cloud.blobs().adopt(received.file, &received.sha256)?;
    let outcome = cloud.store().transaction(|transaction| {
        let bucket = buckets::find(transaction, &upload.bucket)?;
        // Of two concurrent completions, the second one finds the version of the first.
        if let Err(missing) = multipart::find(transaction, &upload.bucket, &upload.key, &upload.id)
        {
            let version = find_completed(transaction, &bucket, completion)?.ok_or(missing)?;
            return Ok((bucket, version));
        }
        let new = NewVersion {
            key: upload.key.clone(),
            size: received.size,
            etag: etag(&parts),
            sha256: received.sha256,
            details,
        };
        let version = versions::add(transaction, &bucket, new, &completion.condition)?;
        let reason = "CompleteMultipartUpload";
        announce::created(transaction, cloud, &bucket, &version, reason)?;
        multipart::remove(transaction, &upload.id)?;
        Ok((bucket, version))
    })?;
    multipart::remove_files(cloud, &[upload.id]);
    Ok(outcome)
}

/// Compares the checksums that a completion names with the computed ones.
fn check_object(sent: &Checksums, computed: &Checksums) -> ApiResult<()> {
    for (algorithm, value) in sent {
        // A client may omit the number of parts of a composite checksum.
        let full = computed.get(algorithm).map_or("", String::as_str);
        let bare = full.split_once('-').map_or(full, |(bare, _)| bare);
        if value != full && value != bare {
            return Err(ApiError::new(
                "BadDigest",
                format!(
                    "The {} you specified did not match the calculated checksum.",
                    algorithm.name()
                ),
            ));
        }
    }
    Ok(())
}

pub(super) async fn complete(
    cloud: &Cloud,
    request: S3Request<CompleteMultipartUploadInput>,
) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
    let input = request.input;
    let completion = Completion {
        condition: WriteCondition::new(input.if_match.as_ref(), input.if_none_match.as_ref())?,
        sent: checksums::sent!(input),
        id: input.upload_id,
        bucket: input.bucket,
        key: input.key.clone(),
        parts: input
            .multipart_upload
            .and_then(|upload| upload.parts)
            .unwrap_or_default(),
        checksum_type: input.checksum_type,
        size: input.mpu_object_size,
    };
    let worker = cloud.clone();
    let (bucket, version) = receive::blocking(move || finish(&worker, &completion)).await?;
    let mut output = CompleteMultipartUploadOutput {
        location: Some(format!(
            "{}/{}/{}",
            cloud.endpoint(),
            bucket.name,
            listing::encode(input.key.clone(), true)
        )),
        key: Some(input.key),
        checksum_type: Some(checksum_type(version.details.composite)),
        e_tag: Some(ETag::Strong(version.etag.clone())),
        server_side_encryption: version.details.sse.clone().map(ServerSideEncryption::from),
        ssekms_key_id: version.details.kms_key.clone(),
        version_id: written_id(&bucket, &version),
        ..CompleteMultipartUploadOutput::default()
    };
    output.bucket = Some(bucket.name);
    checksums::show!(output, &version.details.checksums);
    Ok(S3Response::new(output))
}
