//! Server-side encryption: the settings are checked and shown, the bytes are stored as they are.

use super::buckets::Bucket;
use super::versions::Details;
use crate::api::{ApiError, ApiResult};

/// Refuses keys that the client provides (SSE-C), which the local cloud does not support.
pub(super) fn refuse_customer_key(algorithm: Option<&String>) -> ApiResult<()> {
    match algorithm {
        Some(_) => Err(ApiError::not_implemented(
            "s3 encryption with customer-provided keys (SSE-C)",
        )),
        None => Ok(()),
    }
}

/// Refuses an encryption that S3 does not have, and a key without the encryption that uses it.
pub(super) fn check(details: &Details) -> ApiResult<()> {
    let by_key = match details.sse.as_deref() {
        None | Some("AES256") => false,
        Some("aws:kms" | "aws:kms:dsse") => true,
        Some(_) => {
            return Err(ApiError::new(
                "InvalidArgument",
                "The encryption method specified is not supported",
            ));
        }
    };
    if by_key || details.kms_key.is_none() {
        return Ok(());
    }
    Err(ApiError::new(
        "InvalidArgument",
        "Server Side Encryption with AWS KMS managed key requires HTTP header \
         x-amz-server-side-encryption : aws:kms",
    ))
}

/// Applies the bucket's encryption if the request names none.
pub(super) fn apply_default(details: &mut Details, bucket: &Bucket) {
    if details.sse.is_none() {
        details.sse = Some(bucket.sse.clone());
        details.kms_key.clone_from(&bucket.kms_key);
    }
}
