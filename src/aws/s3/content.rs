//! The content of one object: its version, its size, and the checksum of its bytes.

use anyhow::{Context as _, Result};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{Builder, ResponseChecksumValidation};
use sha2::{Digest, Sha256};

use super::{Damaged, NO_KEY, NO_VERSION, S3Uri, is_damaged};
use crate::aws::AwsResultExt;

/// The metadata of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The version, if the bucket is versioned.
    pub version_id: Option<String>,
    /// The size in bytes.
    pub size: u64,
}

/// Returns the metadata of an object, or of one version of it; `None` if it does not exist, [`Damaged`] if
/// its bytes are damaged.
pub async fn head(
    client: &Client,
    object: &S3Uri,
    version_id: Option<&str>,
) -> Result<Option<Head>> {
    let answered = client
        .head_object()
        .bucket(&object.bucket)
        .key(&object.key)
        .set_version_id(version_id.map(str::to_owned))
        .send()
        .await;
    if is_damaged(&answered) {
        return Err(Damaged(object.clone()).into());
    }
    let found = answered.aws_unless(format!("cannot read {object}"), expected(version_id))?;
    Ok(found.map(|found| Head {
        version_id: found.version_id.filter(|id| id != "null"),
        size: found
            .content_length
            .and_then(|size| u64::try_from(size).ok())
            .unwrap_or_default(),
    }))
}

/// Reads an object, or one version of it, and returns the SHA-256 of its bytes in hexadecimal digits; `None`
/// if it does not exist, [`Damaged`] if its bytes are damaged. The bytes are streamed.
pub async fn sha256(
    client: &Client,
    object: &S3Uri,
    version_id: Option<&str>,
    read: &(dyn Fn(u64) + Sync),
) -> Result<Option<String>> {
    let request = client
        .get_object()
        .bucket(&object.bucket)
        .key(&object.key)
        .set_version_id(version_id.map(str::to_owned))
        .customize()
        // The bytes are hashed here.
        .config_override(
            Builder::new().response_checksum_validation(ResponseChecksumValidation::WhenRequired),
        );
    let answered = Box::pin(request.send()).await;
    if is_damaged(&answered) {
        return Err(Damaged(object.clone()).into());
    }
    let found = answered.aws_unless(format!("cannot read {object}"), expected(version_id))?;
    let Some(mut body) = found.map(|found| found.body) else {
        return Ok(None);
    };
    let mut hash = Sha256::new();
    while let Some(bytes) = body.next().await {
        let bytes = bytes.with_context(|| format!("cannot read {object}"))?;
        hash.update(&bytes);
        read(bytes.len() as u64);
    }
    Ok(Some(hex::encode(hash.finalize())))
}

/// The errors that mean that the object, or the version, does not exist.
fn expected(version_id: Option<&str>) -> &'static [crate::aws::Expected] {
    if version_id.is_some() {
        NO_VERSION
    } else {
        NO_KEY
    }
}
