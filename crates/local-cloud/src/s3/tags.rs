//! Tags of objects.

use std::collections::BTreeSet;

use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result};

use super::versions::{self, shown_id};
use super::{buckets, reading};
use crate::Cloud;
use crate::api::{ApiError, ApiResult};

/// Maximum number of tags of an object.
const MAX_TAGS: usize = 10;

/// Maximum number of tags of a bucket.
const MAX_BUCKET_TAGS: usize = 50;

fn invalid(message: &str) -> ApiError {
    ApiError::new("InvalidTag", message)
}

/// True if a tag may have this text: letters, digits, whitespace and `_ . : / = + - @`.
fn is_allowed(text: &str) -> bool {
    text.chars()
        .all(|c| c.is_alphanumeric() || c.is_whitespace() || "_.:/=+-@".contains(c))
}

fn check<'a>(tags: impl Iterator<Item = (&'a str, &'a str)>) -> ApiResult<()> {
    let mut keys = BTreeSet::new();
    for (key, value) in tags {
        if key.is_empty() || key.chars().count() > 128 || !is_allowed(key) {
            return Err(invalid("The TagKey you have provided is invalid"));
        }
        if value.chars().count() > 256 || !is_allowed(value) {
            return Err(invalid("The TagValue you have provided is invalid"));
        }
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(invalid("System tags cannot be added/updated by requester"));
        }
        if !keys.insert(key) {
            return Err(invalid("Cannot provide multiple Tags with the same key"));
        }
    }
    Ok(())
}

fn members(tags: &[Tag]) -> impl Iterator<Item = (&str, &str)> {
    tags.iter().map(|tag| {
        (
            tag.key.as_deref().unwrap_or_default(),
            tag.value.as_deref().unwrap_or_default(),
        )
    })
}

/// Fails if S3 would refuse the tags.
pub(super) fn check_set(tags: &[Tag]) -> ApiResult<()> {
    check(members(tags))
}

/// Fails if S3 would refuse the tags on a bucket.
pub(super) fn check_bucket(tags: &[Tag]) -> ApiResult<()> {
    if tags.len() > MAX_BUCKET_TAGS {
        return Err(ApiError::new(
            "BadRequest",
            "Bucket tag count cannot be greater than 50",
        ));
    }
    check_set(tags)
}

fn check_object(tags: &[(String, String)]) -> ApiResult<()> {
    if tags.len() > MAX_TAGS {
        return Err(ApiError::new(
            "BadRequest",
            "Object tags cannot be greater than 10",
        ));
    }
    check(
        tags.iter()
            .map(|(key, value)| (key.as_str(), value.as_str())),
    )
}

/// Parses the header `x-amz-tagging`, which is a URL query.
pub(super) fn parse_header(header: &str) -> ApiResult<Vec<(String, String)>> {
    let tags: Vec<(String, String)> = url::form_urlencoded::parse(header.as_bytes())
        .into_owned()
        .collect();
    let keys: BTreeSet<_> = tags.iter().map(|(key, _)| key).collect();
    if keys.len() < tags.len() || tags.iter().any(|(key, _)| key.is_empty()) {
        return Err(ApiError::new(
            "InvalidArgument",
            "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query \
             parameters without tag name duplicates.",
        ));
    }
    check_object(&tags)?;
    Ok(tags)
}

pub(super) async fn get(
    cloud: &Cloud,
    request: S3Request<GetObjectTaggingInput>,
) -> S3Result<S3Response<GetObjectTaggingOutput>> {
    let input = request.input;
    let (bucket, version) = reading::find(
        cloud,
        &input.bucket,
        &input.key,
        input.version_id.as_deref(),
    )?;
    let tag_set = version
        .details
        .tags
        .iter()
        .map(|(key, value)| Tag {
            key: Some(key.clone()),
            value: Some(value.clone()),
        })
        .collect();
    Ok(S3Response::new(GetObjectTaggingOutput {
        tag_set,
        version_id: shown_id(&bucket, &version),
    }))
}

fn set(
    cloud: &Cloud,
    bucket: &str,
    key: &str,
    id: Option<&str>,
    tags: Vec<(String, String)>,
) -> ApiResult<Option<String>> {
    cloud.store().transaction(|transaction| {
        let bucket = buckets::find(transaction, bucket)?;
        let mut version = reading::select(transaction, &bucket, key, id)?.object()?;
        version.details.tags = tags;
        versions::set_details(transaction, &version)?;
        Ok(shown_id(&bucket, &version))
    })
}

pub(super) async fn put(
    cloud: &Cloud,
    request: S3Request<PutObjectTaggingInput>,
) -> S3Result<S3Response<PutObjectTaggingOutput>> {
    let input = request.input;
    let tags: Vec<_> = input
        .tagging
        .tag_set
        .into_iter()
        .map(|tag| (tag.key.unwrap_or_default(), tag.value.unwrap_or_default()))
        .collect();
    check_object(&tags)?;
    let id = input.version_id.as_deref();
    let version_id = set(cloud, &input.bucket, &input.key, id, tags)?;
    Ok(S3Response::new(PutObjectTaggingOutput { version_id }))
}

pub(super) async fn delete(
    cloud: &Cloud,
    request: S3Request<DeleteObjectTaggingInput>,
) -> S3Result<S3Response<DeleteObjectTaggingOutput>> {
    let input = request.input;
    let id = input.version_id.as_deref();
    let version_id = set(cloud, &input.bucket, &input.key, id, Vec::new())?;
    Ok(S3Response::with_status(
        DeleteObjectTaggingOutput { version_id },
        http::StatusCode::NO_CONTENT,
    ))
}
