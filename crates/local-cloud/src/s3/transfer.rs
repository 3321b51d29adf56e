//! `PutObject` and `CopyObject`.

use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result};

use super::buckets;
use super::checksums::{self, Algorithm};
use super::receive::{self, ExpectedBody};
use super::versions::{self, Details, NewVersion, Version, WriteCondition, shown_id, written_id};
use super::{announce, encryption, reading, stored, wire};
use crate::Cloud;
use crate::api::{ApiError, ApiResult};

/// Builds the details of a version from an input with the members of `PutObject`.
macro_rules! details {
    ($input:expr) => {{
        let input = &$input;
        $crate::s3::versions::Details {
            content_type: input.content_type.clone(),
            cache_control: input.cache_control.clone(),
            content_disposition: input.content_disposition.clone(),
            content_encoding: $crate::s3::transfer::content_encoding(
                input.content_encoding.as_deref(),
            ),
            content_language: input.content_language.clone(),
            expires: input.expires.as_ref().map($crate::s3::wire::seconds),
            storage_class: input
                .storage_class
                .as_ref()
                .map(|class| class.as_str().to_owned())
                .filter(|class| class != "STANDARD"),
            redirect: input.website_redirect_location.clone(),
            sse: input
                .server_side_encryption
                .as_ref()
                .map(|sse| sse.as_str().to_owned()),
            kms_key: input.ssekms_key_id.clone(),
            metadata: input
                .metadata
                .clone()
                .unwrap_or_default()
                .into_iter()
                .collect(),
            tags: input
                .tagging
                .as_deref()
                .map($crate::s3::tags::parse_header)
                .transpose()?
                .unwrap_or_default(),
            ..$crate::s3::versions::Details::default()
        }
    }};
}
pub(super) use details;

/// `Content-Encoding` without `aws-chunked`, which describes the request and not the object.
pub(super) fn content_encoding(header: Option<&str>) -> Option<String> {
    let header = header?;
    if !header
        .split(',')
        .any(|coding| coding.trim() == "aws-chunked")
    {
        return Some(header.to_owned());
    }
    let kept: Vec<_> = header
        .split(',')
        .map(str::trim)
        .filter(|coding| !coding.is_empty() && *coding != "aws-chunked")
        .collect();
    (!kept.is_empty()).then(|| kept.join(", "))
}

pub(super) async fn put(
    cloud: &Cloud,
    mut request: S3Request<PutObjectInput>,
) -> S3Result<S3Response<PutObjectOutput>> {
    let body = request.input.body.take();
    let input = &request.input;
    encryption::refuse_customer_key(input.sse_customer_algorithm.as_ref())?;
    if input.write_offset_bytes.is_some() {
        return Err(ApiError::not_implemented("appending to an object (write offset)").into());
    }
    let condition = WriteCondition::new(input.if_match.as_ref(), input.if_none_match.as_ref())?;
    let mut details = details!(input);
    details
        .content_type
        .get_or_insert_with(|| "binary/octet-stream".to_owned());
    encryption::check(&details)?;
    let expected = ExpectedBody::new(
        &request,
        checksums::sent!(input),
        input
            .checksum_algorithm
            .as_ref()
            .map(ChecksumAlgorithm::as_str),
        input.content_length,
        input.content_md5.clone(),
        Algorithm::Crc64nvme,
    )?;
    // Reports a missing bucket before the body is read.
    let name = input.bucket.clone();
    cloud
        .store()
        .transaction(|transaction| buckets::find(transaction, &name))?;
    let received = receive::receive(cloud, body, &expected).await?;

    let (cloud, key) = (cloud.clone(), input.key.clone());
    let (bucket, version) = receive::blocking(move || {
        details.checksums.clone_from(&received.checksums);
        details.whole = received.checksums;
        cloud.blobs().adopt(received.file, &received.sha256)?;
        cloud.store().transaction(|transaction| {
            let bucket = buckets::find(transaction, &name)?;
            encryption::apply_default(&mut details, &bucket);
            let new = NewVersion {
                key,
                size: received.size,
                etag: received.md5,
                sha256: received.sha256,
                details,
            };
            let version = versions::add(transaction, &bucket, new, &condition)?;
            announce::created(transaction, &cloud, &bucket, &version, "PutObject")?;
            Ok((bucket, version))
        })
    })
    .await?;
    let mut output = PutObjectOutput {
        e_tag: Some(ETag::Strong(version.etag.clone())),
        checksum_type: Some(ChecksumType::from_static(ChecksumType::FULL_OBJECT)),
        server_side_encryption: version.details.sse.clone().map(ServerSideEncryption::from),
        ssekms_key_id: version.details.kms_key.clone(),
        version_id: written_id(&bucket, &version),
        ..PutObjectOutput::default()
    };
    checksums::show!(output, &version.details.checksums);
    Ok(S3Response::new(output))
}

/// Bucket, key and version of a copy's source.
pub(super) fn source(source: &CopySource) -> ApiResult<(String, String, Option<String>)> {
    match source {
        CopySource::Bucket {
            bucket,
            key,
            version_id,
        } => Ok((
            bucket.to_string(),
            key.to_string(),
            version_id.as_ref().map(ToString::to_string),
        )),
        _ => Err(ApiError::not_implemented("copying from an access point")),
    }
}

#[expect(clippy::too_many_lines, reason = "one transaction")]
pub(super) async fn copy(
    cloud: &Cloud,
    request: S3Request<CopyObjectInput>,
) -> S3Result<S3Response<CopyObjectOutput>> {
    let input = &request.input;
    encryption::refuse_customer_key(input.sse_customer_algorithm.as_ref())?;
    encryption::refuse_customer_key(input.copy_source_sse_customer_algorithm.as_ref())?;
    let (source_bucket, source_key, source_id) = source(&input.copy_source)?;
    let replace = |directive: Option<&str>| directive == Some("REPLACE");
    let replace_metadata = replace(
        input
            .metadata_directive
            .as_ref()
            .map(MetadataDirective::as_str),
    );
    let replace_tags = replace(
        input
            .tagging_directive
            .as_ref()
            .map(TaggingDirective::as_str),
    );
    let unchanged = !replace_metadata
        && input.storage_class.is_none()
        && input.server_side_encryption.is_none()
        && input.website_redirect_location.is_none();
    if source_bucket == input.bucket && source_key == input.key && source_id.is_none() && unchanged
    {
        return Err(ApiError::new(
            "InvalidRequest",
            "This copy request is illegal because it is trying to copy an object to itself without \
             changing the object's metadata, storage class, website redirect location or encryption \
             attributes.",
        )
        .into());
    }
    let preconditions = reading::ReadConditions {
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
    // s3s has no members for the conditions on the target of a copy.
    let header = |name| -> Option<ETagCondition> {
        let value = request.headers.get(name)?;
        ETagCondition::parse_http_header(value.as_bytes()).ok()
    };
    let condition = WriteCondition::new(
        header(http::header::IF_MATCH).as_ref(),
        header(http::header::IF_NONE_MATCH).as_ref(),
    )?;
    let mut requested = details!(input);
    encryption::check(&requested)?;
    if let Some(name) = &input.checksum_algorithm {
        let algorithm = Algorithm::parse(name.as_str())?;
        requested.checksums = checksum_of(
            cloud,
            &source_bucket,
            &source_key,
            source_id.as_deref(),
            algorithm,
        )
        .await?;
    }

    let (bucket, version, source_id) = loop {
        let id = source_id.as_deref();
        let sequence = verified_source(cloud, &source_bucket, &source_key, id).await?;
        let outcome = cloud.store().transaction(|transaction| {
            let from = buckets::find(transaction, &source_bucket)?;
            let Some(found) = versions::by_sequence(transaction, sequence)? else {
                // The source was overwritten after its bytes were verified: start again.
                return Ok(None);
            };
            if preconditions.check(&found).is_err() {
                return Err(versions::precondition_failed());
            }
            let bucket = buckets::find(transaction, &input.bucket)?;
            let mut details = details_of_copy(&found, &requested, replace_metadata, replace_tags);
            encryption::apply_default(&mut details, &bucket);
            let etag = found.details.md5.as_ref().unwrap_or(&found.etag);
            let new = NewVersion {
                key: input.key.clone(),
                size: found.size,
                etag: etag.clone(),
                sha256: found.sha256.clone(),
                details,
            };
            let version = versions::add(transaction, &bucket, new, &condition)?;
            announce::created(transaction, cloud, &bucket, &version, "CopyObject")?;
            let source_id = shown_id(&from, &found);
            Ok(Some((bucket, version, source_id)))
        })?;
        if let Some(outcome) = outcome {
            break outcome;
        }
    };
    let mut result = CopyObjectResult {
        e_tag: Some(ETag::Strong(version.etag.clone())),
        last_modified: Some(wire::timestamp(version.modified)),
        checksum_type: (!version.details.checksums.is_empty())
            .then(|| ChecksumType::from_static(ChecksumType::FULL_OBJECT)),
        ..CopyObjectResult::default()
    };
    checksums::show!(result, &version.details.checksums);
    Ok(S3Response::new(CopyObjectOutput {
        copy_object_result: Some(result),
        copy_source_version_id: source_id,
        server_side_encryption: version.details.sse.clone().map(ServerSideEncryption::from),
        ssekms_key_id: version.details.kms_key.clone(),
        version_id: written_id(&bucket, &version),
        ..CopyObjectOutput::default()
    }))
}

/// The details of a copy.
fn details_of_copy(
    found: &Version,
    requested: &Details,
    replace_metadata: bool,
    replace_tags: bool,
) -> Details {
    let kept = &found.details;
    let mut details = if replace_metadata {
        Details {
            content_type: requested
                .content_type
                .clone()
                .or_else(|| Some("binary/octet-stream".to_owned())),
            ..requested.clone()
        }
    } else {
        kept.clone()
    };
    let tags = if replace_tags { requested } else { kept };
    details.tags.clone_from(&tags.tags);
    details.sse.clone_from(&requested.sse);
    details.kms_key.clone_from(&requested.kms_key);
    details.storage_class.clone_from(&requested.storage_class);
    details.redirect.clone_from(&requested.redirect);
    let checksums = if requested.checksums.is_empty() {
        &kept.whole
    } else {
        &requested.checksums
    };
    details.checksums.clone_from(checksums);
    details.whole.clone_from(checksums);
    // A copy has no parts: its ETag and checksum cover the full object.
    details.parts = Vec::new();
    details.upload = None;
    details.composite = false;
    details.md5 = None;
    details
}

/// Verifies the bytes of a copy's source and returns the version's sequence.
async fn verified_source(
    cloud: &Cloud,
    bucket: &str,
    key: &str,
    id: Option<&str>,
) -> ApiResult<i64> {
    let (_, found) = reading::find_object(cloud, bucket, key, id)?;
    stored::verify(cloud, bucket, &found).await?;
    Ok(found.sequence)
}

/// Computes a checksum that the object does not have yet.
async fn checksum_of(
    cloud: &Cloud,
    bucket: &str,
    key: &str,
    id: Option<&str>,
    algorithm: Algorithm,
) -> ApiResult<checksums::Checksums> {
    let (_, found) = reading::find_object(cloud, bucket, key, id)?;
    if let Some(known) = found.details.whole.get(&algorithm) {
        return Ok([(algorithm, known.clone())].into());
    }
    let (cloud, bucket) = (cloud.clone(), bucket.to_owned());
    receive::blocking(move || {
        let algorithms = [algorithm].into();
        let mut hasher = checksums::hasher(&algorithms);
        let mut file = stored::open(&cloud, &bucket, &found)?;
        let mut buffer = vec![0; 1 << 18];
        loop {
            match std::io::Read::read(&mut file, &mut buffer)? {
                0 => break,
                count => hasher.update(&buffer[..count]),
            }
        }
        Ok(checksums::finish(hasher, &algorithms, &found.sha256))
    })
    .await
}
