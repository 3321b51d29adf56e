//! `GetObject`, `HeadObject`, `GetObjectAttributes`.

use std::io::{Read as _, Seek};

use bytes::Bytes;
use http::header::{CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, LAST_MODIFIED};
use rusqlite::Transaction;
use s3s::dto::*;
use s3s::{S3Error, S3Request, S3Response, S3Result};
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;

use super::buckets::{self, Bucket};
use super::checksums::Checksums;
use super::versions::{self, NULL, PartSize, Version, shown_id};
use super::{checksums, encryption, receive, stored, wire};
use crate::Cloud;
use crate::api::{ApiError, ApiResult};

/// Bodies of up to this many bytes are read into memory; larger ones are streamed.
const MAX_BUFFERED: u64 = 256 * 1024;

/// The result of selecting a key or one of its versions.
pub(super) enum Selected {
    Object(Version),
    /// A delete marker; `true` if it was requested by its version id.
    Marker(Version, bool),
}

impl Selected {
    /// The object or the marker.
    fn version(&self) -> &Version {
        match self {
            Self::Object(version) | Self::Marker(version, _) => version,
        }
    }

    /// The object; fails with `NoSuchKey` or `MethodNotAllowed` for a delete marker.
    pub(super) fn object(self) -> ApiResult<Version> {
        match self {
            Self::Object(version) => Ok(version),
            Self::Marker(_, true) => Err(ApiError::new(
                "MethodNotAllowed",
                "The specified method is not allowed against this resource.",
            )
            .status(405)),
            Self::Marker(_, false) => Err(versions::no_such_key()),
        }
    }

    /// The object; for a delete marker, the error with the headers that describe the marker.
    fn object_or_marker(self) -> S3Result<Version> {
        let (marker, by_id) = match &self {
            Self::Object(_) => return Ok(self.object()?),
            Self::Marker(version, by_id) => (version.clone(), *by_id),
        };
        let Err(error) = self.object() else {
            return Err(S3Error::from(versions::no_such_key()));
        };
        let mut error = S3Error::from(error);
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-delete-marker", HeaderValue::from_static("true"));
        if let Ok(id) = marker.id.parse() {
            headers.insert("x-amz-version-id", id);
        }
        if by_id {
            headers.extend(last_modified(marker.modified));
        }
        error.set_headers(headers);
        Err(error)
    }
}

/// The `Last-Modified` header for a time in seconds since the epoch.
fn last_modified(seconds: i64) -> Option<(http::HeaderName, HeaderValue)> {
    let mut text = Vec::new();
    wire::timestamp(seconds)
        .format(TimestampFormat::HttpDate, &mut text)
        .ok()?;
    Some((LAST_MODIFIED, HeaderValue::from_bytes(&text).ok()?))
}

/// Selects the current version of a key, or the version with an id; fails with `NoSuchKey` or
/// `NoSuchVersion`.
pub(super) fn select(
    transaction: &Transaction<'_>,
    bucket: &Bucket,
    key: &str,
    id: Option<&str>,
) -> ApiResult<Selected> {
    let found = match id {
        Some(id) => versions::by_id(transaction, &bucket.name, key, id)?
            .ok_or_else(versions::no_such_version)?,
        None => {
            versions::current(transaction, &bucket.name, key)?.ok_or_else(versions::no_such_key)?
        }
    };
    Ok(if found.marker {
        Selected::Marker(found, id.is_some())
    } else {
        Selected::Object(found)
    })
}

/// Finds a version for a request. Its bytes stay readable even if it is overwritten in the
/// meantime.
pub(super) fn find(
    cloud: &Cloud,
    bucket: &str,
    key: &str,
    id: Option<&str>,
) -> S3Result<(Bucket, Version)> {
    let look_up = || {
        cloud.store().transaction(|transaction| {
            let bucket = buckets::find(transaction, bucket)?;
            let selected = select(transaction, &bucket, key, id)?;
            Ok((bucket, selected))
        })
    };
    let (bucket, selected) = cloud
        .blobs()
        .leased(look_up, |(_, selected)| selected.version().sha256.clone())?;
    Ok((bucket, selected.object_or_marker()?))
}

/// Finds an object for the server itself, with the same guarantee as [`find`].
pub(super) fn find_object(
    cloud: &Cloud,
    bucket: &str,
    key: &str,
    id: Option<&str>,
) -> ApiResult<(Bucket, Version)> {
    let look_up = || {
        cloud.store().transaction(|transaction| {
            let bucket = buckets::find(transaction, bucket)?;
            let version = select(transaction, &bucket, key, id)?.object()?;
            Ok((bucket, version))
        })
    };
    cloud
        .blobs()
        .leased(look_up, |(_, version)| version.sha256.clone())
}

/// The reason why the conditions of a read are not met.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unmet {
    PreconditionFailed,
    NotModified,
}

/// The conditional headers of a read.
#[expect(clippy::struct_field_names, reason = "named after the headers")]
#[derive(Debug, Default)]
pub(super) struct ReadConditions<'a> {
    pub(super) if_match: Option<&'a ETagCondition>,
    pub(super) if_none_match: Option<&'a ETagCondition>,
    /// Seconds since the epoch.
    pub(super) if_modified_since: Option<i64>,
    pub(super) if_unmodified_since: Option<i64>,
}

impl ReadConditions<'_> {
    /// Checks the conditions in the order of RFC 9110, section 13.2.2.
    pub(super) fn check(&self, version: &Version) -> Result<(), Unmet> {
        let is = |condition: &ETagCondition| {
            condition
                .as_etag()
                .is_none_or(|etag| etag.value() == version.etag)
        };
        match (self.if_match, self.if_unmodified_since) {
            (Some(condition), _) if !is(condition) => return Err(Unmet::PreconditionFailed),
            (None, Some(time)) if version.modified > time => {
                return Err(Unmet::PreconditionFailed);
            }
            _ => {}
        }
        let not_modified = match (self.if_none_match, self.if_modified_since) {
            (Some(condition), _) => is(condition),
            (None, Some(time)) => version.modified <= time,
            (None, None) => false,
        };
        if not_modified {
            return Err(Unmet::NotModified);
        }
        Ok(())
    }

    /// [`ReadConditions::check`] for a response: `NotModified` carries the object's `ETag`, time
    /// and version.
    fn check_read(&self, bucket: &Bucket, version: &Version) -> S3Result<()> {
        match self.check(version) {
            Ok(()) => Ok(()),
            Err(Unmet::PreconditionFailed) => Err(versions::precondition_failed().into()),
            Err(Unmet::NotModified) => {
                let mut error =
                    S3Error::from(ApiError::new("NotModified", "Not Modified").status(304));
                let mut headers = HeaderMap::new();
                if let Ok(etag) = format!("\"{}\"", version.etag).parse() {
                    headers.insert(ETAG, etag);
                }
                headers.extend(last_modified(version.modified));
                if let Some(Ok(id)) = shown_id(bucket, version).map(|id| id.parse()) {
                    headers.insert("x-amz-version-id", id);
                }
                error.set_headers(headers);
                Err(error)
            }
        }
    }
}

/// The byte range that a response carries.
struct Span {
    start: u64,
    length: u64,
    /// `Content-Range`, unless the range is the whole object.
    range: Option<String>,
    parts: Option<i32>,
    /// The checksums of exactly these bytes, if known.
    checksums: Checksums,
}

fn span(version: &Version, range: Option<&Range>, part: Option<i32>) -> S3Result<Span> {
    let shown = |start: u64, length: u64| {
        format!(
            "bytes {start}-{}/{}",
            (start + length).saturating_sub(1),
            version.size
        )
    };
    if let Some(number) = part {
        if range.is_some() {
            return Err(ApiError::new(
                "InvalidRequest",
                "Cannot specify both Range header and partNumber query parameter",
            )
            .into());
        }
        let parts = &version.details.parts;
        let (start, length) = part_span(parts, version.size, number).ok_or_else(|| {
            ApiError::new(
                "InvalidPartNumber",
                "The requested partnumber is not satisfiable",
            )
            .status(416)
        })?;
        return Ok(Span {
            start,
            length,
            range: (version.size > 0).then(|| shown(start, length)),
            parts: (!parts.is_empty()).then(|| i32::try_from(parts.len()).unwrap_or(i32::MAX)),
            checksums: match parts.iter().find(|part| part.number == number) {
                Some(part) => part.checksums.clone(),
                None => version.details.checksums.clone(),
            },
        });
    }
    let Some(range) = range else {
        return Ok(Span {
            start: 0,
            length: version.size,
            range: None,
            parts: None,
            checksums: version.details.checksums.clone(),
        });
    };
    let unsatisfiable = || {
        let mut error = S3Error::from(
            ApiError::new("InvalidRange", "The requested range is not satisfiable").status(416),
        );
        let mut headers = HeaderMap::new();
        if let Ok(value) = format!("bytes */{}", version.size).parse() {
            headers.insert(CONTENT_RANGE, value);
        }
        error.set_headers(headers);
        error
    };
    // No range of an empty object is satisfiable, not even its last bytes.
    let found = match range.check(version.size) {
        Ok(found) if version.size > 0 => found,
        _ => return Err(unsatisfiable()),
    };
    let length = found.end - found.start;
    Ok(Span {
        start: found.start,
        length,
        range: Some(shown(found.start, length)),
        parts: None,
        checksums: Checksums::new(),
    })
}

/// Offset and length of a part. An object that was not uploaded in parts is its own part 1.
fn part_span(parts: &[PartSize], size: u64, number: i32) -> Option<(u64, u64)> {
    if parts.is_empty() {
        return (number == 1).then_some((0, size));
    }
    let mut start = 0;
    for part in parts {
        if part.number == number {
            return Some((start, part.size));
        }
        start += part.size;
    }
    None
}

fn checksum_type(version: &Version) -> Option<ChecksumType> {
    (!version.details.checksums.is_empty()).then(|| {
        ChecksumType::from_static(if version.details.composite {
            ChecksumType::COMPOSITE
        } else {
            ChecksumType::FULL_OBJECT
        })
    })
}

/// Fails if a read names an encryption, as in S3 (400).
fn refuse_encryption(headers: &HeaderMap) -> ApiResult<()> {
    let name = "x-amz-server-side-encryption";
    if !headers.contains_key(name) {
        return Ok(());
    }
    Err(ApiError::new(
        "InvalidArgument",
        format!("{name} header is not supported for this operation."),
    ))
}

fn wants_checksum(mode: Option<&ChecksumMode>) -> bool {
    mode.is_some_and(|mode| mode.as_str() == ChecksumMode::ENABLED)
}

/// A read of an object or of a part of its bytes.
struct Read<'a> {
    bucket: &'a str,
    key: &'a str,
    version_id: Option<&'a str>,
    customer_key: Option<&'a String>,
    conditions: ReadConditions<'a>,
    range: Option<&'a Range>,
    part_number: Option<i32>,
}

impl Read<'_> {
    /// Finds the version and the bytes to return.
    fn locate(&self, cloud: &Cloud, headers: &HeaderMap) -> S3Result<(Bucket, Version, Span)> {
        refuse_encryption(headers)?;
        encryption::refuse_customer_key(self.customer_key)?;
        let (bucket, version) = find(cloud, self.bucket, self.key, self.version_id)?;
        self.conditions.check_read(&bucket, &version)?;
        let span = span(&version, self.range, self.part_number)?;
        Ok((bucket, version, span))
    }
}

/// [`Read::locate`] for a `GetObject` or `HeadObject` request, whose inputs share these members.
macro_rules! locate {
    ($cloud:expr, $request:expr) => {{
        let input = &$request.input;
        let read = Read {
            bucket: &input.bucket,
            key: &input.key,
            version_id: input.version_id.as_deref(),
            customer_key: input.sse_customer_algorithm.as_ref(),
            conditions: ReadConditions {
                if_match: input.if_match.as_ref(),
                if_none_match: input.if_none_match.as_ref(),
                if_modified_since: input.if_modified_since.as_ref().map(wire::seconds),
                if_unmodified_since: input.if_unmodified_since.as_ref().map(wire::seconds),
            },
            range: input.range.as_ref(),
            part_number: input.part_number,
        };
        read.locate($cloud, &$request.headers)
    }};
}

/// Fills the members that the outputs of `GetObject` and `HeadObject` share.
macro_rules! describe {
    ($output:ident, $bucket:expr, $version:expr, $span:expr, $mode:expr) => {
        let details = &$version.details;
        $output.accept_ranges = Some("bytes".to_owned());
        $output.cache_control = details.cache_control.clone();
        $output.content_disposition = details.content_disposition.clone();
        $output.content_encoding = details.content_encoding.clone();
        $output.content_language = details.content_language.clone();
        $output.content_type = details.content_type.clone();
        $output.content_length = i64::try_from($span.length).ok();
        $output.content_range = $span.range.clone();
        $output.e_tag = Some(ETag::Strong($version.etag.clone()));
        $output.expires = details.expires.map(wire::timestamp);
        $output.last_modified = Some(wire::timestamp($version.modified));
        $output.metadata =
            (!details.metadata.is_empty()).then(|| details.metadata.clone().into_iter().collect());
        $output.parts_count = $span.parts;
        $output.server_side_encryption = details.sse.clone().map(ServerSideEncryption::from);
        $output.ssekms_key_id = details.kms_key.clone();
        $output.storage_class = details.storage_class.clone().map(StorageClass::from);
        $output.version_id = shown_id($bucket, $version);
        $output.website_redirect_location = details.redirect.clone();
        if wants_checksum($mode.as_ref()) && !$span.checksums.is_empty() {
            checksums::show!($output, &$span.checksums);
            $output.checksum_type = checksum_type($version);
        }
    };
}

pub(super) async fn get(
    cloud: &Cloud,
    request: S3Request<GetObjectInput>,
) -> S3Result<S3Response<GetObjectOutput>> {
    let (bucket, version, span) = locate!(cloud, request)?;
    let input = request.input;
    let mut output = GetObjectOutput {
        body: Some(body(cloud, &bucket, &version, &span).await?),
        tag_count: i32::try_from(version.details.tags.len())
            .ok()
            .filter(|count| *count > 0),
        ..GetObjectOutput::default()
    };
    describe!(output, &bucket, &version, &span, input.checksum_mode);
    Ok(S3Response::new(output))
}

async fn body(
    cloud: &Cloud,
    bucket: &Bucket,
    version: &Version,
    span: &Span,
) -> ApiResult<StreamingBlob> {
    let (start, length) = (span.start, span.length);
    if length <= MAX_BUFFERED {
        let (cloud, name, version) = (cloud.clone(), bucket.name.clone(), version.clone());
        let bytes = receive::blocking(move || {
            let mut file = stored::open(&cloud, &name, &version)?;
            file.seek(std::io::SeekFrom::Start(start))?;
            let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
            file.take(length).read_to_end(&mut bytes)?;
            Ok(bytes)
        })
        .await?;
        return Ok(StreamingBlob::from(s3s::Body::from(Bytes::from(bytes))));
    }
    let file = stored::open_at(cloud, &bucket.name, version, start).await?;
    Ok(StreamingBlob::wrap(ReaderStream::with_capacity(
        tokio::fs::File::from_std(file).take(length),
        128 * 1024,
    )))
}

pub(super) async fn head(
    cloud: &Cloud,
    request: S3Request<HeadObjectInput>,
) -> S3Result<S3Response<HeadObjectOutput>> {
    let (bucket, version, span) = locate!(cloud, request)?;
    let input = request.input;
    if wants_checksum(input.checksum_mode.as_ref()) {
        stored::verify(cloud, &bucket.name, &version).await?;
    } else {
        stored::check_length(cloud, &bucket.name, &version)?;
    }
    let mut output = HeadObjectOutput::default();
    describe!(output, &bucket, &version, &span, input.checksum_mode);
    let status = if span.range.is_some() {
        http::StatusCode::PARTIAL_CONTENT
    } else {
        http::StatusCode::OK
    };
    let mut response = S3Response::with_status(output, status);
    // s3s has no member for this header.
    if !version.details.tags.is_empty() {
        let count = HeaderValue::from(version.details.tags.len());
        response.headers.insert("x-amz-tagging-count", count);
    }
    Ok(response)
}

pub(super) async fn attributes(
    cloud: &Cloud,
    request: S3Request<GetObjectAttributesInput>,
) -> S3Result<S3Response<GetObjectAttributesOutput>> {
    let input = request.input;
    let (bucket, version) = find(
        cloud,
        &input.bucket,
        &input.key,
        input.version_id.as_deref(),
    )?;
    let requests = |name: &str| {
        input
            .object_attributes
            .iter()
            .flat_map(|attribute| attribute.as_str().split(','))
            .any(|attribute| attribute.trim() == name)
    };
    if requests(ObjectAttributes::CHECKSUM) {
        stored::verify(cloud, &bucket.name, &version).await?;
    } else {
        stored::check_length(cloud, &bucket.name, &version)?;
    }
    let details = &version.details;
    let checksum =
        (requests(ObjectAttributes::CHECKSUM) && !details.checksums.is_empty()).then(|| {
            let mut checksum = Checksum {
                checksum_type: checksum_type(&version),
                ..Checksum::default()
            };
            checksums::show!(checksum, &details.checksums);
            checksum
        });
    let object_parts = (requests(ObjectAttributes::OBJECT_PARTS) && !details.parts.is_empty())
        .then(|| parts(details, input.part_number_marker, input.max_parts));
    Ok(S3Response::new(GetObjectAttributesOutput {
        checksum,
        e_tag: requests(ObjectAttributes::ETAG).then(|| ETag::Strong(version.etag.clone())),
        last_modified: Some(wire::timestamp(version.modified)),
        object_parts,
        object_size: requests(ObjectAttributes::OBJECT_SIZE)
            .then(|| i64::try_from(version.size).unwrap_or(i64::MAX)),
        storage_class: requests(ObjectAttributes::STORAGE_CLASS).then(|| {
            StorageClass::from(
                details
                    .storage_class
                    .clone()
                    .unwrap_or_else(|| "STANDARD".to_owned()),
            )
        }),
        version_id: shown_id(&bucket, &version).filter(|id| id != NULL),
        ..GetObjectAttributesOutput::default()
    }))
}

/// A page of the parts of a multipart object.
fn parts(
    details: &versions::Details,
    marker: Option<i32>,
    max: Option<i32>,
) -> GetObjectAttributesParts {
    let marker = marker.unwrap_or(0);
    let max = max.unwrap_or(1000).clamp(1, 1000);
    let rest: Vec<_> = details
        .parts
        .iter()
        .filter(|part| part.number > marker)
        .collect();
    let shown = &rest[..rest.len().min(usize::try_from(max).unwrap_or(1))];
    GetObjectAttributesParts {
        is_truncated: Some(shown.len() < rest.len()),
        max_parts: Some(max),
        next_part_number_marker: shown.last().map(|part| part.number),
        part_number_marker: Some(marker),
        parts: Some(
            shown
                .iter()
                .map(|part| {
                    let mut shown = ObjectPart {
                        part_number: Some(part.number),
                        size: i64::try_from(part.size).ok(),
                        ..ObjectPart::default()
                    };
                    checksums::show!(shown, &part.checksums);
                    shown
                })
                .collect(),
        ),
        total_parts_count: i32::try_from(details.parts.len()).ok(),
    }
}
