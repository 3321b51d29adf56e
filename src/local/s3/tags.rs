//! Tags of objects.

use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result};

use super::transfer::shown_id;
use super::{buckets, reading, versions};
use crate::local::Cloud;
use crate::local::api::{ApiError, ApiResult};

/// The most tags of one object.
const MAX_TAGS: usize = 10;

fn check(tags: &[(String, String)]) -> ApiResult<()> {
    if tags.len() > MAX_TAGS {
        return Err(ApiError::new(
            "BadRequest",
            "Object tags cannot be greater than 10",
        ));
    }
    for (index, (key, value)) in tags.iter().enumerate() {
        if key.is_empty() || key.chars().count() > 128 {
            return Err(ApiError::new(
                "InvalidTag",
                "The TagKey you have provided is invalid",
            ));
        }
        if value.chars().count() > 256 {
            return Err(ApiError::new(
                "InvalidTag",
                "The TagValue you have provided is invalid",
            ));
        }
        if tags[..index].iter().any(|(other, _)| other == key) {
            return Err(ApiError::new(
                "InvalidTag",
                "Cannot provide multiple Tags with the same key",
            ));
        }
    }
    Ok(())
}

/// Reads the header `x-amz-tagging`: a URL query.
pub(super) fn parse_header(header: &str) -> ApiResult<Vec<(String, String)>> {
    let tags: Vec<(String, String)> = url::form_urlencoded::parse(header.as_bytes())
        .into_owned()
        .collect();
    check(&tags)?;
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
    check(&tags)?;
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
