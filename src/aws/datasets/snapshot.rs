//! Snapshots: copies a version server-side to a separate prefix.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow, bail};
use aws_sdk_s3::Client;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use futures::{StreamExt, TryStreamExt};

use super::{DatasetVersion, ManifestFile, snapshot_uri};
use crate::aws::s3::{self, S3Uri};
use crate::aws::{AwsResultExt, Expected};

/// Maximum size in bytes for `CopyObject`; larger objects are copied in parts.
const COPY: u64 = 5 << 30;

/// Maximum number of files copied in parallel; the copies run in S3.
const PARALLEL: usize = 32;

/// Maximum number of parts of one file copied in parallel.
const PARALLEL_PARTS: usize = 8;

/// Copies a version to its snapshot unless that exists, and returns the snapshot's prefix. Never
/// overwrites; finally verifies that every file exists with the right size.
pub async fn snapshot(
    client: &Client,
    bucket: &str,
    version: &DatasetVersion,
    copied: &(dyn Fn(u64) + Sync),
) -> Result<S3Uri> {
    let manifest = &version.manifest;
    let target = snapshot_uri(bucket, &manifest.dataset, &version.id);
    let present = sizes(client, &target).await?;
    futures::stream::iter(&manifest.files)
        .map(|file| {
            let key = format!("{}{}", target.key, file.path);
            let present = present.contains_key(&key);
            async move {
                if !present {
                    copy(client, bucket, file, &key).await?;
                }
                copied(file.size);
                anyhow::Ok(())
            }
        })
        .buffer_unordered(PARALLEL)
        .try_collect::<Vec<()>>()
        .await?;
    let present = sizes(client, &target).await?;
    for file in &manifest.files {
        let key = format!("{}{}", target.key, file.path);
        match present.get(&key) {
            Some(size) if *size == file.size => {}
            Some(size) => bail!(
                "the snapshot {target} is damaged: {} has {size} bytes, not {}",
                file.path,
                file.size
            ),
            None => bail!(
                "the snapshot {target} is incomplete: {} is missing",
                file.path
            ),
        }
    }
    Ok(target)
}

async fn sizes(client: &Client, prefix: &S3Uri) -> Result<BTreeMap<String, u64>> {
    Ok(s3::list(client, prefix)
        .await?
        .into_iter()
        .filter_map(|object| {
            let size = u64::try_from(object.size?).ok()?;
            Some((object.key?, size))
        })
        .collect())
}

/// Returns the ranges (start, length) of the parts of `size` bytes.
fn ranges(size: u64, part: u64) -> Vec<(u64, u64)> {
    (0..size.div_ceil(part))
        .map(|index| {
            let start = index * part;
            (start, part.min(size - start))
        })
        .collect()
}

/// Copies a file's version to `key`, unless that exists.
async fn copy(client: &Client, bucket: &str, file: &ManifestFile, key: &str) -> Result<()> {
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
            // A concurrent run creates the same snapshot with the same content.
            &[
                Expected::code("PreconditionFailed"),
                Expected::code("ConditionalRequestConflict"),
            ],
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
        .ok_or_else(|| anyhow!("S3 returned no upload id"))?;
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
        .buffered(PARALLEL_PARTS)
        .try_collect()
        .await;
    finish(client, &S3Uri::new(bucket, key), &id, copied).await
}

/// Completes a copy in parts, or aborts it if a part failed.
async fn finish(
    client: &Client,
    uri: &S3Uri,
    id: &str,
    parts: Result<Vec<CompletedPart>>,
) -> Result<()> {
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
            .aws("cannot complete the copy"),
        Err(error) => Err(error),
    };
    let Err(error) = completed else {
        return Ok(());
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
            "the unfinished upload {id} of {uri} remains; the bucket's lifecycle rule removes it"
        )),
    })
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
