//! Buckets and their settings: what CloudFormation calls.

use serde_json::Value;

use crate::local::Cloud;
use crate::local::api::{ApiError, ApiResult};

/// Makes a bucket; `BucketAlreadyOwnedByYou` when it exists, `InvalidBucketName`.
pub(crate) fn create(_cloud: &Cloud, _name: &str) -> ApiResult<()> {
    Err(ApiError::not_implemented("s3:CreateBucket"))
}

/// Removes an empty bucket; `NoSuchBucket`, `BucketNotEmpty`.
pub(crate) fn delete(_cloud: &Cloud, _name: &str) -> ApiResult<()> {
    Err(ApiError::not_implemented("s3:DeleteBucket"))
}

/// True when the bucket is there.
pub(crate) fn exists(_cloud: &Cloud, _name: &str) -> ApiResult<bool> {
    Err(ApiError::not_implemented("s3:HeadBucket"))
}

/// Sets or removes one setting of a bucket. `setting` is one of `Versioning`, `Encryption`,
/// `PublicAccessBlock`, `Policy`, `Lifecycle`, `Tagging`, `OwnershipControls`, `Notification`;
/// `value` has the member names of the S3 API's own request shape for it
/// (`{"Status": "Enabled"}` for `Versioning`), `Policy` is the policy document as JSON.
pub(crate) fn set(
    _cloud: &Cloud,
    _name: &str,
    _setting: &str,
    _value: Option<Value>,
) -> ApiResult<()> {
    Err(ApiError::not_implemented("s3 bucket settings"))
}
