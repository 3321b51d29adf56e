//! Reads the bytes of a version back.

use anyhow::{Context as _, Result};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{Builder, ResponseChecksumValidation};
use aws_sdk_s3::primitives::ByteStream;
use futures::{StreamExt, TryStreamExt};
use sha2::{Digest, Sha256};

use super::{DatasetVersion, Finding, ManifestFile, PARALLEL};
use crate::aws::s3::{self, S3Uri};
use crate::aws::{AwsResultExt, Expected, Missing};

/// The result of opening a file's version.
pub(super) enum Opened {
    Body(ByteStream),
    /// It is missing or damaged; the text states which.
    Lost(String),
}

/// Opens a file's version at an offset. The caller verifies the manifest's SHA-256, so the SDK does
/// not hash again.
pub(super) async fn open(
    client: &Client,
    bucket: &str,
    file: &ManifestFile,
    from: u64,
) -> Result<Opened> {
    let uri = S3Uri::new(bucket, &file.key);
    let answered = client
        .get_object()
        .bucket(bucket)
        .key(&file.key)
        .version_id(&file.version_id)
        .set_range((from > 0).then(|| format!("bytes={from}-")))
        .customize()
        .config_override(
            Builder::new().response_checksum_validation(ResponseChecksumValidation::WhenRequired),
        )
        .send()
        .await;
    if s3::is_damaged(&answered) {
        return Ok(Opened::Lost(format!(
            "version {} is damaged",
            file.version_id
        )));
    }
    let found = answered.aws_unless(
        format!("cannot read {uri}"),
        &[
            Expected::Missing(Missing::Object),
            Expected::Missing(Missing::ObjectVersion),
            // The version is a delete marker.
            Expected::code("MethodNotAllowed"),
        ],
    )?;
    Ok(match found {
        Some(output) => Opened::Body(output.body),
        None => Opened::Lost(format!("version {} was deleted", file.version_id)),
    })
}

/// Compares content with the manifest and describes the problem, if any.
pub(super) fn compare(file: &ManifestFile, size: u64, sha256: Sha256) -> Option<String> {
    if size != file.size {
        return Some(format!("has {size} bytes, not {}", file.size));
    }
    let found = hex::encode(sha256.finalize());
    (found != file.sha256).then(|| format!("has the SHA-256 {found}, not {}", file.sha256))
}

/// Reads every file of a version and verifies size and SHA-256 from the manifest.
pub async fn verify(
    client: &Client,
    bucket: &str,
    version: &DatasetVersion,
    read: &(dyn Fn(u64) + Sync),
) -> Result<Vec<Finding>> {
    let findings: Vec<Option<Finding>> = futures::stream::iter(&version.manifest.files)
        .map(|file| async move {
            let problem = check(client, bucket, file, read).await?;
            anyhow::Ok(problem.map(|problem| Finding {
                path: file.path.clone(),
                problem,
            }))
        })
        .buffered(PARALLEL)
        .try_collect()
        .await?;
    Ok(findings.into_iter().flatten().collect())
}

/// Reads a file's version and describes how it differs from the manifest.
async fn check(
    client: &Client,
    bucket: &str,
    file: &ManifestFile,
    read: &(dyn Fn(u64) + Sync),
) -> Result<Option<String>> {
    let mut body = match open(client, bucket, file, 0).await? {
        Opened::Body(body) => body,
        Opened::Lost(problem) => return Ok(Some(problem)),
    };
    let (mut size, mut sha256) = (0, Sha256::new());
    while let Some(bytes) = body.next().await {
        let bytes = bytes.with_context(|| format!("cannot read s3://{bucket}/{}", file.key))?;
        size += bytes.len() as u64;
        sha256.update(&bytes);
        read(bytes.len() as u64);
    }
    Ok(compare(file, size, sha256))
}
