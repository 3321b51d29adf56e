//! One file of a data set: its upload, its copy, its check.

use anyhow::{Context as _, Result, anyhow};
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::{ByteStream, Length};
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::{StreamExt, TryStreamExt};
use sha2::{Digest, Sha256};

use super::files::PART;
use super::{LocalFile, ManifestFile};
use crate::aws::AwsResultExt;
use crate::aws::s3::{self, S3Uri};

/// Files above this size are uploaded in parts.
const SINGLE: u64 = 64 << 20;

/// What `CopyObject` takes at most; larger objects are copied in parts.
const COPY: u64 = 5 << 30;

/// Parts of one file that are sent side by side.
const PARALLEL: usize = 4;

/// The ranges (start, length) of the parts of `size` bytes.
fn ranges(size: u64, part: u64) -> Vec<(u64, u64)> {
    (0..size.div_ceil(part))
        .map(|index| {
            let start = index * part;
            (start, part.min(size - start))
        })
        .collect()
}

/// Uploads a file, with its SHA-256, which S3 checks; answers the object's version id.
pub(super) async fn file(
    client: &Client,
    uri: &S3Uri,
    file: &LocalFile,
    sent: &(dyn Fn(u64) + Sync),
) -> Result<Option<String>> {
    let doing = || format!("cannot upload {} to {uri}", file.source.display());
    if file.size > SINGLE {
        return parts(client, uri, file, sent).await.with_context(doing);
    }
    let digest = hex::decode(&file.sha256)?;
    let body = ByteStream::from_path(&file.source)
        .await
        .with_context(doing)?;
    let output = client
        .put_object()
        .bucket(&uri.bucket)
        .key(&uri.key)
        .checksum_sha256(STANDARD.encode(digest))
        .body(body)
        .send()
        .await
        .aws(doing())?;
    sent(file.size);
    Ok(output.version_id)
}

async fn parts(
    client: &Client,
    uri: &S3Uri,
    file: &LocalFile,
    sent: &(dyn Fn(u64) + Sync),
) -> Result<Option<String>> {
    let started = client
        .create_multipart_upload()
        .bucket(&uri.bucket)
        .key(&uri.key)
        .checksum_algorithm(ChecksumAlgorithm::Sha256)
        .send()
        .await
        .aws("cannot start a multipart upload")?;
    let id = started
        .upload_id
        .ok_or_else(|| anyhow!("S3 named no upload"))?;
    let numbered: Vec<_> = (1..)
        .zip(ranges(file.size, PART))
        .zip(file.parts.iter().map(|digest| STANDARD.encode(digest)))
        .collect();
    let uploaded = futures::stream::iter(numbered)
        .map(|((number, (start, length)), sha256)| {
            let id = &id;
            async move {
                let body = ByteStream::read_from()
                    .path(&file.source)
                    .offset(start)
                    .length(Length::Exact(length))
                    .build()
                    .await?;
                let output = client
                    .upload_part()
                    .bucket(&uri.bucket)
                    .key(&uri.key)
                    .upload_id(id)
                    .part_number(number)
                    .checksum_sha256(sha256)
                    .body(body)
                    .send()
                    .await
                    .aws(format!("cannot upload part {number}"))?;
                sent(length);
                anyhow::Ok(
                    CompletedPart::builder()
                        .part_number(number)
                        .set_e_tag(output.e_tag)
                        .set_checksum_sha256(output.checksum_sha256)
                        .build(),
                )
            }
        })
        .buffered(PARALLEL)
        .try_collect()
        .await;
    finish(client, uri, &id, uploaded).await
}

/// Completes an upload, or aborts it when a part failed.
async fn finish(
    client: &Client,
    uri: &S3Uri,
    id: &str,
    parts: Result<Vec<CompletedPart>>,
) -> Result<Option<String>> {
    let completed = match parts {
        Ok(parts) => client
            .complete_multipart_upload()
            .bucket(&uri.bucket)
            .key(&uri.key)
            .upload_id(id)
            .multipart_upload(
                CompletedMultipartUpload::builder()
                    .set_parts(Some(parts))
                    .build(),
            )
            .send()
            .await
            .aws("cannot complete the multipart upload")
            .map(|output| output.version_id),
        Err(error) => Err(error),
    };
    let error = match completed {
        Ok(version_id) => return Ok(version_id),
        Err(error) => error,
    };
    let aborted = client
        .abort_multipart_upload()
        .bucket(&uri.bucket)
        .key(&uri.key)
        .upload_id(id)
        .send()
        .await;
    Err(match aborted {
        Ok(_) => error,
        Err(_) => error.context(format!(
            "the upload {id} of {uri} is left behind unfinished; the bucket's life cycle removes it"
        )),
    })
}

/// Copies a file's version to `key`, unless something is there already.
pub(super) async fn copy(
    client: &Client,
    bucket: &str,
    file: &ManifestFile,
    key: &str,
) -> Result<()> {
    let source = s3::copy_source(&S3Uri::new(bucket, &file.key), &file.version_id);
    if file.size > COPY {
        return copy_parts(client, bucket, file, key, &source).await;
    }
    client
        .copy_object()
        .bucket(bucket)
        .key(key)
        .copy_source(source)
        .if_none_match("*")
        .send()
        .await
        .aws_unless(
            format!("cannot copy {} to s3://{bucket}/{key}", file.key),
            // Another run makes the same snapshot: its copy has the same bytes.
            &["PreconditionFailed", "ConditionalRequestConflict"],
        )?;
    Ok(())
}

async fn copy_parts(
    client: &Client,
    bucket: &str,
    file: &ManifestFile,
    key: &str,
    source: &str,
) -> Result<()> {
    let started = client
        .create_multipart_upload()
        .bucket(bucket)
        .key(key)
        .send()
        .await
        .aws(format!("cannot copy {}", file.key))?;
    let id = started
        .upload_id
        .ok_or_else(|| anyhow!("S3 named no upload"))?;
    let numbered: Vec<_> = (1..).zip(ranges(file.size, 1 << 30)).collect();
    let copied = futures::stream::iter(numbered)
        .map(|(number, (start, length))| {
            let id = &id;
            async move {
                let output = client
                    .upload_part_copy()
                    .bucket(bucket)
                    .key(key)
                    .upload_id(id)
                    .part_number(number)
                    .copy_source(source)
                    .copy_source_range(format!("bytes={start}-{}", start + length - 1))
                    .send()
                    .await
                    .aws(format!("cannot copy part {number} of {}", file.key))?;
                let etag = output.copy_part_result.and_then(|result| result.e_tag);
                anyhow::Ok(
                    CompletedPart::builder()
                        .part_number(number)
                        .set_e_tag(etag)
                        .build(),
                )
            }
        })
        .buffered(PARALLEL)
        .try_collect()
        .await;
    finish(client, &S3Uri::new(bucket, key), &id, copied).await?;
    Ok(())
}

/// Reads a file's version; says what differs from the manifest.
pub(super) async fn check(
    client: &Client,
    bucket: &str,
    file: &ManifestFile,
    read: &(dyn Fn(u64) + Sync),
) -> Result<Option<String>> {
    let uri = S3Uri::new(bucket, &file.key);
    let Some(output) = client
        .get_object()
        .bucket(bucket)
        .key(&file.key)
        .version_id(&file.version_id)
        .send()
        .await
        .aws_unless(
            format!("cannot read {uri}"),
            &["NoSuchKey", "NoSuchVersion", "MethodNotAllowed"],
        )?
    else {
        return Ok(Some(format!("version {} is gone", file.version_id)));
    };
    let mut body = output.body;
    let (mut size, mut sha256) = (0, Sha256::new());
    while let Some(bytes) = body.next().await {
        let bytes = bytes.with_context(|| format!("cannot read {uri}"))?;
        size += bytes.len() as u64;
        sha256.update(&bytes);
        read(bytes.len() as u64);
    }
    if size != file.size {
        return Ok(Some(format!("has {size} bytes, not {}", file.size)));
    }
    let found = hex::encode(sha256.finalize());
    Ok((found != file.sha256).then(|| format!("has the SHA-256 {found}, not {}", file.sha256)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_the_file_once() {
        assert_eq!(ranges(10, 4), [(0, 4), (4, 4), (8, 2)]);
        assert_eq!(ranges(8, 4), [(0, 4), (4, 4)]);
        assert!(ranges(0, 4).is_empty());
    }
}
