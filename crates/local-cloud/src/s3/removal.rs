//! `DeleteObject` and `DeleteObjects`.

use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result};

use super::versions::{self, Removed, WriteCondition};
use super::{announce, buckets, permissions};
use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::cloud::caller::Caller;

/// Maximum number of objects in one `DeleteObjects` request; S3's own limit.
const MAX_OBJECTS: usize = 1000;

fn remove(
    cloud: &Cloud,
    bucket: &str,
    key: &str,
    id: Option<&str>,
    condition: &WriteCondition,
) -> ApiResult<Removed> {
    cloud.store().transaction(|transaction| {
        let bucket = buckets::find(transaction, bucket)?;
        let existed = match id {
            Some(id) => versions::by_id(transaction, &bucket.name, key, id)?.is_some(),
            None => versions::current(transaction, &bucket.name, key)?.is_some(),
        };
        let removed = match id {
            Some(id) => versions::remove_version(transaction, &bucket, key, id),
            None => versions::remove(transaction, &bucket, key, condition),
        }?;
        if existed || removed.marker {
            let what = (&removed, id.is_some());
            announce::deleted(transaction, cloud, &bucket, key, what)?;
        }
        Ok(removed)
    })
}

pub(super) async fn delete(
    cloud: &Cloud,
    request: S3Request<DeleteObjectInput>,
) -> S3Result<S3Response<DeleteObjectOutput>> {
    let input = request.input;
    if input.if_match_size.is_some() || input.if_match_last_modified_time.is_some() {
        return Err(ApiError::not_implemented(
            "deleting under a condition on size or time (directory buckets)",
        )
        .into());
    }
    let condition = WriteCondition::new(input.if_match.as_ref(), None)?;
    let removed = remove(
        cloud,
        &input.bucket,
        &input.key,
        input.version_id.as_deref(),
        &condition,
    )?;
    Ok(S3Response::with_status(
        DeleteObjectOutput {
            delete_marker: removed.marker.then_some(true),
            version_id: removed.id,
            ..DeleteObjectOutput::default()
        },
        http::StatusCode::NO_CONTENT,
    ))
}

pub(super) async fn delete_many(
    cloud: &Cloud,
    request: S3Request<DeleteObjectsInput>,
) -> S3Result<S3Response<DeleteObjectsOutput>> {
    let input = request.input;
    cloud
        .store()
        .transaction(|transaction| buckets::find(transaction, &input.bucket))?;
    if input.delete.objects.is_empty() || input.delete.objects.len() > MAX_OBJECTS {
        return Err(ApiError::new(
            "MalformedXML",
            "a request deletes between 1 and 1000 objects",
        )
        .into());
    }
    let (mut deleted, mut errors) = (Vec::new(), Vec::new());
    for object in input.delete.objects {
        let condition = WriteCondition {
            absent: false,
            etag: object.e_tag.as_ref().map(|etag| etag.value().to_owned()),
        };
        let id = object.version_id.clone();
        let path = (input.bucket.as_str(), object.key.as_str());
        let allowed = permissions::object(
            cloud,
            &Caller::current(),
            "DeleteObject",
            path,
            id.as_deref(),
        );
        let removed = allowed
            .and_then(|()| remove(cloud, &input.bucket, &object.key, id.as_deref(), &condition));
        match removed {
            Ok(removed) => deleted.push(DeletedObject {
                delete_marker: removed.marker.then_some(true),
                delete_marker_version_id: removed.id.filter(|_| removed.marker),
                key: Some(object.key),
                version_id: id,
            }),
            Err(error) => errors.push(Error {
                code: Some(error.code),
                key: Some(object.key),
                message: Some(error.message),
                version_id: id,
            }),
        }
    }
    let quiet = input.delete.quiet == Some(true);
    Ok(S3Response::new(DeleteObjectsOutput {
        deleted: Some(if quiet { Vec::new() } else { deleted }),
        errors: Some(errors),
        ..DeleteObjectsOutput::default()
    }))
}
